/* panels_avx512.c - products of packed panels for AVX-512: twenty-four registers of sums, two of a row of columns, one of a value. Rows are
 * packed column by column, [depth][12], columns row by row, [depth][32]. */
#include "tensor/kernels/panels.h"
#include "tensor/kernels/squares_avx512.h"

enum { ROWS = 12, COLUMNS = 32, LANES = 16, DEPTH = 256 /* a panel of each fills 44 KiB */ };

static void product(int64_t depth, const void *packed_rows, const void *packed_columns, bool add, float *c, int64_t ldc)
{
    const float *rows = packed_rows, *columns = packed_columns;
    __m512 low[ROWS], high[ROWS];
#pragma GCC unroll 12
    for (int i = 0; i < ROWS; i++) {
        low[i] = high[i] = _mm512_setzero_ps();
        _mm_prefetch((const char *)(c + i * ldc), _MM_HINT_T0); /* arrives while the sums are made */
        _mm_prefetch((const char *)(c + i * ldc + LANES), _MM_HINT_T0);
    }
    for (int64_t p = 0; p < depth; p++, rows += ROWS, columns += COLUMNS) {
        const __m512 b0 = _mm512_loadu_ps(columns), b1 = _mm512_loadu_ps(columns + LANES);
#pragma GCC unroll 12
        for (int i = 0; i < ROWS; i++) {
            const __m512 a = _mm512_set1_ps(rows[i]);
            low[i] = _mm512_fmadd_ps(a, b0, low[i]);
            high[i] = _mm512_fmadd_ps(a, b1, high[i]);
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < ROWS; i++, c += ldc) {
        _mm512_storeu_ps(c, add ? _mm512_add_ps(_mm512_loadu_ps(c), low[i]) : low[i]);
        _mm512_storeu_ps(c + LANES, add ? _mm512_add_ps(_mm512_loadu_ps(c + LANES), high[i]) : high[i]);
    }
}

/* `width` <= 16 lines of x, of which `count` exist, into lanes first .. of panels that are `across` wide; neighbours lie along `depth`. */
static inline __attribute__((always_inline)) void pack_lines(int width, int64_t count, int64_t depth, az_matrix_f32 x, int across,
                                                             float *to)
{
    for (int64_t p = 0; p < depth; p += AZ_SQUARE) {
        const int64_t values = depth - p < AZ_SQUARE ? depth - p : AZ_SQUARE;
        __m512i line[AZ_SQUARE];
        if (x.row == 1) { /* what a panel has side by side lies so already */
            for (int64_t k = 0; k < values; k++)
                line[k] = _mm512_castps_si512(_mm512_maskz_loadu_ps(az_first_lanes(count), x.data + (p + k) * x.column));
        } else {
            az_load_square(x, count, p, depth, line);
            az_turn_square(line);
        }
        for (int64_t k = 0; k < values; k++)
            _mm512_mask_storeu_ps(to + (p + k) * across, az_first_lanes(width), _mm512_castsi512_ps(line[k]));
    }
}

static void pack_rows(int64_t rows, int64_t depth, az_matrix_f32 a, void *panels)
{
    float *to = panels;
    for (int64_t i = 0; i < rows; i += ROWS, a.data += ROWS * a.row, to += ROWS * depth)
        pack_lines(ROWS, rows - i < ROWS ? rows - i : ROWS, depth, a, ROWS, to);
}

static void pack_columns(int64_t depth, int64_t columns, az_matrix_f32 b, void *panels)
{
    float *to = panels;
    for (int64_t j = 0; j < columns; j += COLUMNS, to += COLUMNS * depth)
        for (int half = 0; half < COLUMNS; half += LANES) {
            const az_matrix_f32 lines = {.data = b.data + (j + half) * b.column, .row = b.column, .column = b.row};
            pack_lines(LANES, columns - j - half, depth, lines, COLUMNS, to + half);
        }
}

const az_panel_kernels az_panel_kernels_avx512 = {.name = "avx512",
                                                  .rows = ROWS,
                                                  .columns = COLUMNS,
                                                  .depth = DEPTH,
                                                  .turn = 4 * ROWS,
                                                  .fill = 1,
                                                  .bytes = sizeof(float),
                                                  .pack_rows = pack_rows,
                                                  .pack_columns = pack_columns,
                                                  .product = product};
