/* panels_amx.c - products of packed panels by the tile unit of x86 processors (AMX), which multiplies bfloat16 and adds up f32.
 *
 * A number is one part, a bfloat16 of 8 bits, or the sum of two, which have 16 bits of it; the product of two second parts is below the
 * last bit and left out. A panel holds, for every 32 of its depth, part after part, two tiles of sixteen lines: a line of the left matrix
 * is a row of 32 values, columns of the right one lie side by side in pairs of values, [16][columns][2]. Numbers below 2^-126 count as
 * zeros, those beyond 3.39e38 as infinite; a result that meets an infinity is infinite or not a number. */
#include "tensor/kernels/panels.h"
#include "tensor/kernels/squares_avx512.h"

enum { LINES = 32, STEP = 32, TILE = 1024 /* bytes */, TILE_ROW = 64, PAIR = 2 * TILE };

/* ---- the product: sums in tiles 0 .. 3, two tiles of rows in 4 and 5, two of columns in 6 and 7 ---- */

/* What the instruction that sets up tiles reads: each has 16 rows of 64 bytes. A constant, since GCC 12 takes it to read 8 bytes of these
 * and would leave out stores of the rest. */
typedef struct tile_shapes {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_shapes;
static const tile_shapes shapes = {.palette = 1, .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64}, .rows = {16, 16, 16, 16, 16, 16, 16, 16}};

/* To set tiles up takes as long as half a product. */
static void begin(void)
{
    _tile_loadconfig(&shapes);
}

static void end(void)
{
    _tile_release();
}

static inline __attribute__((always_inline)) void load_rows(const char *from)
{
    _tile_loadd(4, from, TILE_ROW);
    _tile_loadd(5, from + TILE, TILE_ROW);
}

static inline __attribute__((always_inline)) void load_columns(const char *from)
{
    _tile_loadd(6, from, TILE_ROW);
    _tile_loadd(7, from + TILE, TILE_ROW);
}

static inline __attribute__((always_inline)) void multiply(void)
{
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
}

/* The products of parts that count: small, large, small; each time one side stays. */
static inline __attribute__((always_inline)) void multiply_parts(int parts, const char *rows, const char *columns)
{
    load_rows(rows + (parts - 1) * PAIR);
    load_columns(columns);
    multiply();
    if (parts == 1) return;
    load_rows(rows);
    multiply();
    load_columns(columns + PAIR);
    multiply();
}

static inline __attribute__((always_inline)) void product(int parts, int64_t depth, const char *rows, const char *columns, bool add,
                                                          float *c, int64_t ldc)
{
    const int64_t line = ldc * (int64_t)sizeof *c;
    float *below = c + LINES / 2 * ldc;
    if (add) {
        _tile_loadd(0, c, line);
        _tile_loadd(1, c + LINES / 2, line);
        _tile_loadd(2, below, line);
        _tile_loadd(3, below + LINES / 2, line);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    for (int64_t p = 0; p < depth; p += STEP, rows += parts * PAIR, columns += parts * PAIR) multiply_parts(parts, rows, columns);
    _tile_stored(0, c, line);
    _tile_stored(1, c + LINES / 2, line);
    _tile_stored(2, below, line);
    _tile_stored(3, below + LINES / 2, line);
}

/* ---- packing ---- */

/* What sixteen bfloat16 leave of x. */
static inline __m512i rest_of(__m512i x, __m256i rounded)
{
    const __m512 value = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(rounded), 16));
    return _mm512_castps_si512(_mm512_sub_ps(_mm512_castsi512_ps(x), value));
}

/* The 32 numbers of a line in parts, each what comes nearest to the rest. */
static inline __attribute__((always_inline)) void split(int parts, __m512i low, __m512i high, __m512i part[])
{
    for (int i = 0; i < parts; i++) {
        part[i] = (__m512i)_mm512_cvtne2ps_pbh(_mm512_castsi512_ps(high), _mm512_castsi512_ps(low));
        low = rest_of(low, _mm512_castsi512_si256(part[i])), high = rest_of(high, _mm512_extracti64x4_epi64(part[i], 1));
    }
}

/* Lines (rows of x) as panels. `paired`: as columns of the right matrix. */
static inline __attribute__((always_inline)) void pack(int parts, bool paired, int64_t lines, int64_t depth, az_matrix_f32 x, char *to)
{
    for (; lines > 0; lines -= LINES, x.data += LINES * x.row)
        for (int64_t p = 0; p < depth; p += STEP, to += parts * PAIR)
            for (int half = 0; half < 2; half++) {
                const az_matrix_f32 from = {.data = x.data + half * AZ_SQUARE * x.row, .row = x.row, .column = x.column};
                const int64_t count = lines - half * AZ_SQUARE;
                __m512i low[AZ_SQUARE], high[AZ_SQUARE], tile[2][AZ_SQUARE];
                az_load_square(from, count, p, depth, low);
                az_load_square(from, count, p + AZ_SQUARE, depth, high);
                for (int i = 0; i < AZ_SQUARE; i++) {
                    __m512i part[2];
                    split(parts, low[i], high[i], part);
                    for (int k = 0; k < parts; k++) tile[k][i] = part[k];
                }
                for (int k = 0; k < parts; k++) {
                    if (paired) az_turn_square(tile[k]);
                    for (int i = 0; i < AZ_SQUARE; i++) _mm512_storeu_si512(to + k * PAIR + half * TILE + i * TILE_ROW, tile[k][i]);
                }
            }
}

/* ---- one part and two ---- */

#define PARTS(n)                                                                                                                           \
    static void pack_rows_##n(int64_t rows, int64_t depth, az_matrix_f32 a, void *to)                                                      \
    {                                                                                                                                      \
        pack(n, false, rows, depth, a, to);                                                                                                \
    }                                                                                                                                      \
    static void pack_columns_##n(int64_t depth, int64_t columns, az_matrix_f32 b, void *to)                                                \
    {                                                                                                                                      \
        pack(n, true, columns, depth, (az_matrix_f32){.data = b.data, .row = b.column, .column = b.row}, to);                              \
    }                                                                                                                                      \
    static void product_##n(int64_t depth, const void *rows, const void *columns, bool add, float *c, int64_t ldc)                         \
    {                                                                                                                                      \
        product(n, depth, rows, columns, add, c, ldc);                                                                                     \
    }
PARTS(1)
PARTS(2)

/* Panels of rows and of columns fill 48 KiB, and 64 with two parts. */
#define KERNELS(n, most, error)                                                                                                            \
    {                                                                                                                                      \
        .name = "amx", .rows = LINES, .columns = LINES, .depth = most, .turn = 2 * LINES, .fill = STEP, .bytes = 2 * (n),                  \
        .rounding = error, .begin = begin, .end = end, .pack_rows = pack_rows_##n, .pack_columns = pack_columns_##n,                       \
        .product = product_##n                                                                                                             \
    }
const az_panel_kernels az_panel_kernels_amx[2] = {KERNELS(1, 384, 0x1p-9), KERNELS(2, 256, 0x1p-18)};
