/* panels_avx2.c - products of packed panels for AVX2 with FMA: twelve registers of sums, two of a row of columns, one of a value. Rows are
 * packed column by column, [depth][6], columns row by row, [depth][16]. */
#include "tensor/kernels/panels.h"

#include <immintrin.h>
#include <string.h>

enum { ROWS = 6, COLUMNS = 16, DEPTH = 320 /* a panel of each fills 28 KiB */, AHEAD = 12 /* lines to what is read in some steps */ };

static inline void fetch(const float *x)
{
    _mm_prefetch((const char *)x, _MM_HINT_T0);
}

/* ---- the product ---- */

static void product(int64_t depth, const void *packed_rows, const void *packed_columns, bool add, float *c, int64_t ldc)
{
    const float *rows = packed_rows, *columns = packed_columns;
    __m256 low[ROWS], high[ROWS];
#pragma GCC unroll 6
    for (int i = 0; i < ROWS; i++) {
        low[i] = high[i] = _mm256_setzero_ps();
        if (add) fetch(c + i * ldc); /* arrives while the sums are made */
    }
    for (int64_t p = 0; p < depth; p++, rows += ROWS, columns += COLUMNS) {
        const __m256 b0 = _mm256_loadu_ps(columns), b1 = _mm256_loadu_ps(columns + 8);
#pragma GCC unroll 6
        for (int i = 0; i < ROWS; i++) {
            const __m256 a = _mm256_broadcast_ss(rows + i);
            low[i] = _mm256_fmadd_ps(a, b0, low[i]);
            high[i] = _mm256_fmadd_ps(a, b1, high[i]);
        }
    }
#pragma GCC unroll 6
    for (int i = 0; i < ROWS; i++, c += ldc) {
        _mm256_storeu_ps(c, add ? _mm256_add_ps(_mm256_loadu_ps(c), low[i]) : low[i]);
        _mm256_storeu_ps(c + 8, add ? _mm256_add_ps(_mm256_loadu_ps(c + 8), high[i]) : high[i]);
    }
}

/* ---- packing: what comes next is asked for early, since lines far apart are not foreseen by the processor ---- */

/* out[j] = column j of eight rows of eight values */
static inline void turn_square(const __m256 row[8], __m256 out[8])
{
    __m256 pair[8];
    for (int i = 0; i < 8; i += 2) {
        pair[i] = _mm256_unpacklo_ps(row[i], row[i + 1]);
        pair[i + 1] = _mm256_unpackhi_ps(row[i], row[i + 1]);
    }
    for (int i = 0; i < 4; i++) { /* columns i and i + 4 */
        const __m256 *p = pair + i / 2;
        const __m256 first = i % 2 ? _mm256_shuffle_ps(p[0], p[2], 0xee) : _mm256_shuffle_ps(p[0], p[2], 0x44);
        const __m256 last = i % 2 ? _mm256_shuffle_ps(p[4], p[6], 0xee) : _mm256_shuffle_ps(p[4], p[6], 0x44);
        out[i] = _mm256_permute2f128_ps(first, last, 0x20);
        out[i + 4] = _mm256_permute2f128_ps(first, last, 0x31);
    }
}

/* Any panel, value by value: `width` lines of which `count` exist, `depth` long. */
static void pack_plain(int width, int64_t count, int64_t depth, az_matrix_f32 lines, float *to)
{
    for (int64_t p = 0; p < depth; p++, to += width)
        for (int i = 0; i < width; i++) to[i] = i < count ? lines.data[i * lines.row + p * lines.column] : 0;
}

/* Eight columns of six rows; of the eight values stored for each column the next one's overwrite the last two. */
static inline void pack_six(const float *from, int64_t stride, float *to)
{
    __m256 row[8], column[8];
    for (int i = 0; i < 8; i++) row[i] = _mm256_loadu_ps(from + (i < ROWS ? i : ROWS - 1) * stride);
    for (int i = 0; i < ROWS; i++) fetch(from + (ROWS + i) * stride);
    turn_square(row, column);
    for (int p = 0; p < 7; p++) _mm256_storeu_ps(to + p * ROWS, column[p]);
    _mm_storeu_ps(to + 7 * ROWS, _mm256_castps256_ps128(column[7]));
    _mm_storel_pi((__m64 *)(void *)(to + 7 * ROWS + 4), _mm256_extractf128_ps(column[7], 1));
}

/* Whole panels of rows whose elements lie together. */
static void pack_long_rows(int64_t panels, int64_t depth, az_matrix_f32 a, float *to)
{
    for (int64_t panel = 0; panel < panels; panel++, to += ROWS * depth, a.data += ROWS * a.row) {
        int64_t p = 0;
        for (; p + 8 <= depth; p += 8) pack_six(a.data + p, a.row, to + p * ROWS);
        pack_plain(ROWS, ROWS, depth - p, (az_matrix_f32){a.data + p, a.row, 1}, to + p * ROWS);
    }
}

/* Whole panels of rows that lie side by side: one column after the other, as they follow each other in memory. */
static void pack_side_by_side(int64_t panels, int64_t depth, az_matrix_f32 a, float *to)
{
    for (int64_t p = 0; p < depth; p++)
        for (int64_t panel = 0; panel < panels; panel++) {
            const float *from = a.data + p * a.column + panel * ROWS;
            float *at = to + (panel * depth + p) * ROWS;
            fetch(from + AHEAD * a.column);
            _mm_storeu_ps(at, _mm_loadu_ps(from));
            memcpy(at + 4, from + 4, 2 * sizeof *at);
        }
}

static void pack_rows(int64_t rows, int64_t depth, az_matrix_f32 a, void *panels)
{
    float *to = panels;
    int64_t whole = a.column == 1 || a.row == 1 ? rows / ROWS : 0;
    if (a.column == 1)
        pack_long_rows(whole, depth, a, to);
    else
        pack_side_by_side(whole, depth, a, to);
    for (int64_t i = whole * ROWS; i < rows; i += ROWS)
        pack_plain(ROWS, rows - i, depth, (az_matrix_f32){a.data + i * a.row, a.row, a.column}, to + i * depth);
}

/* Whole panels of columns whose rows lie together. */
static void copy_columns(int64_t depth, int64_t panels, az_matrix_f32 b, float *to)
{
    for (int64_t p = 0; p < depth; p++)
        for (int64_t panel = 0; panel < panels; panel++) {
            const float *from = b.data + p * b.row + panel * COLUMNS;
            float *at = to + (panel * depth + p) * COLUMNS;
            fetch(from + AHEAD * b.row);
            _mm256_storeu_ps(at, _mm256_loadu_ps(from));
            _mm256_storeu_ps(at + 8, _mm256_loadu_ps(from + 8));
        }
}

/* Whole panels of columns that lie each in one piece. */
static void turn_columns(int64_t depth, int64_t panels, az_matrix_f32 b, float *to)
{
    for (int64_t panel = 0; panel < panels; panel++, to += COLUMNS * depth, b.data += COLUMNS * b.column) {
        int64_t p = 0;
        for (; p + 8 <= depth; p += 8)
            for (int half = 0; half < COLUMNS; half += 8) {
                __m256 row[8], column[8];
                for (int i = 0; i < 8; i++) row[i] = _mm256_loadu_ps(b.data + (half + i) * b.column + p);
                for (int i = 0; i < 8; i++) fetch(b.data + (COLUMNS + half + i) * b.column + p);
                turn_square(row, column);
                for (int i = 0; i < 8; i++) _mm256_storeu_ps(to + (p + i) * COLUMNS + half, column[i]);
            }
        pack_plain(COLUMNS, COLUMNS, depth - p, (az_matrix_f32){b.data + p, b.column, 1}, to + p * COLUMNS);
    }
}

static void pack_columns(int64_t depth, int64_t columns, az_matrix_f32 b, void *panels)
{
    float *to = panels;
    int64_t whole = b.column == 1 || b.row == 1 ? columns / COLUMNS : 0;
    if (b.column == 1)
        copy_columns(depth, whole, b, to);
    else
        turn_columns(depth, whole, b, to);
    for (int64_t j = whole * COLUMNS; j < columns; j += COLUMNS)
        pack_plain(COLUMNS, columns - j, depth, (az_matrix_f32){b.data + j * b.column, b.column, b.row}, to + j * depth);
}

const az_panel_kernels az_panel_kernels_avx2 = {.name = "avx2",
                                                .rows = ROWS,
                                                .columns = COLUMNS,
                                                .depth = DEPTH,
                                                .turn = 8 * ROWS,
                                                .fill = 1,
                                                .bytes = sizeof(float),
                                                .pack_rows = pack_rows,
                                                .pack_columns = pack_columns,
                                                .product = product};
