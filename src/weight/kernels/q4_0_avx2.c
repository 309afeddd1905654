/* q4_0_avx2.c - rows of q4_0 for AVX2, four blocks at a time.
 *
 * Two blocks share a register, so that all work behind the products of bytes is paid once for both. Their levels q are multiplied as they
 * are, 0 .. 15; the 8 that each is too large by is taken off at the end: y = sum d s (q . x) - 8 sum d (s total of x). */
#include "weight/kernels/kernels.h"
#include "weight/kernels/lanes_avx2.h"
#include "weight/weight_internal.h"

#include <immintrin.h>
#include <string.h>

enum { AHEAD = 2048, GROUP = 4, BYTES = AZ_Q4_0_BYTES }; /* bytes of prefetch; vectors of activations that share a pass over a row */

/* Sums of one row with one vector: products by lanes, and what the offset of the levels contributes. */
typedef struct row_sums {
    __m256 products;
    __m128 offset;
} row_sums;

/* Sixteen bytes from each of two places. */
static inline __m256i two_halves(const void *low, const void *high)
{
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128(low)), _mm_loadu_si128(high), 1);
}

static inline uint64_t scale_bits(const unsigned char *block)
{
    uint16_t half;
    memcpy(&half, block, sizeof half);
    return half;
}

/* The scales of four blocks. */
static inline __m128 four_scales(const unsigned char *block)
{
    const uint64_t low = scale_bits(block) | scale_bits(block + BYTES) << 16;
    const uint64_t high = scale_bits(block + 2 * BYTES) | scale_bits(block + 3 * BYTES) << 16;
    return _mm_cvtph_ps(_mm_cvtsi64_si128((int64_t)(low | high << 32)));
}

/* Lanes 2 pair and 2 pair + 1 of v, four times each. */
static inline __m256 spread(__m128 v, int pair)
{
    const __m256i lanes = _mm256_add_epi32(_mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1), _mm256_set1_epi32(2 * pair));
    return _mm256_permutevar8x32_ps(_mm256_castps128_ps256(v), lanes);
}

/* Exact sums of products, [4] of the block whose x begins at q and [4] of the next; each 16-bit lane holds at most 4 * 15 * 127. */
static inline __m256i pair_products(__m256i low, __m256i high, const int8_t *q)
{
    const __m256i first = _mm256_maddubs_epi16(low, two_halves(q, q + AZ_BLOCK));
    const __m256i second = _mm256_maddubs_epi16(high, two_halves(q + 16, q + AZ_BLOCK + 16));
    return _mm256_madd_epi16(_mm256_add_epi16(first, second), _mm256_set1_epi16(1));
}

/* How many rows and vectors are in work together: two rows share one vector, or up to GROUP vectors a row. */
typedef struct row_group {
    int rows, n;
    int64_t bytes; /* of a row */
} row_group;

/* Blocks b .. b + 3 of the rows, with vectors j0 .. j0 + n - 1; sums [rows, n]. */
static inline __attribute__((always_inline)) void four_blocks(row_group group, const unsigned char *first, const az_columns *x, int64_t j0,
                                                              int64_t b, row_sums *sums)
{
    const int64_t count = x->cols / AZ_BLOCK;
    const __m256i nibble = _mm256_set1_epi8(15);
    for (int r = 0; r < group.rows; r++, sums += group.n) {
        const unsigned char *row = first + r * group.bytes;
        const __m128 d = four_scales(row);
        __m128 scale[GROUP];
        for (int j = 0; j < group.n; j++) {
            const int64_t at = (j0 + j) * count + b;
            scale[j] = _mm_mul_ps(d, _mm_loadu_ps(x->scale + at));
            sums[j].offset = _mm_fmadd_ps(d, _mm_loadu_ps(x->total + at), sums[j].offset);
        }
        for (int pair = 0; pair < 2; pair++, row += 2 * BYTES) {
            const __m256i levels = two_halves(row + 2, row + 2 + BYTES);
            const __m256i low = _mm256_and_si256(levels, nibble), high = _mm256_and_si256(_mm256_srli_epi16(levels, 4), nibble);
            for (int j = 0; j < group.n; j++) {
                const __m256i products = pair_products(low, high, x->q + (j0 + j) * x->cols + (b + 2 * pair) * AZ_BLOCK);
                sums[j].products = _mm256_fmadd_ps(spread(scale[j], pair), _mm256_cvtepi32_ps(products), sums[j].products);
            }
        }
    }
}

/* A single block, where fewer than four are left. */
static inline void one_block(const unsigned char *block, const az_columns *x, int64_t j, int64_t b, row_sums *sums)
{
    const int64_t at = j * (x->cols / AZ_BLOCK) + b;
    const __m128i levels = _mm_loadu_si128((const __m128i *)(block + 2));
    const __m256i q = _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(levels, 4), levels), _mm256_set1_epi8(15));
    const __m256i pairs = _mm256_maddubs_epi16(q, _mm256_loadu_si256((const __m256i *)(x->q + j * x->cols + b * AZ_BLOCK)));
    const __m128 d = _mm_cvtph_ps(_mm_cvtsi32_si128((int)scale_bits(block)));
    const __m256 scale = _mm256_broadcastss_ps(_mm_mul_ss(d, _mm_load_ss(x->scale + at)));
    sums->products = _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1))), sums->products);
    sums->offset = _mm_fmadd_ps(d, _mm_load_ss(x->total + at), sums->offset);
}

static inline __attribute__((always_inline)) void row_products(row_group group, const unsigned char *row, const az_columns *x, int64_t j0,
                                                               float *y, int64_t y_stride)
{
    const int64_t count = x->cols / AZ_BLOCK;
    row_sums sums[GROUP];
    for (int i = 0; i < group.rows * group.n; i++) sums[i] = (row_sums){_mm256_setzero_ps(), _mm_setzero_ps()};
    int64_t b = 0;
    for (; b + 4 <= count; b += 4, row += 4 * BYTES) {
        for (int r = 0; r < group.rows; r++) _mm_prefetch((const char *)row + r * group.bytes + AHEAD, _MM_HINT_T0);
        four_blocks(group, row, x, j0, b, sums);
    }
    for (; b < count; b++, row += BYTES)
        for (int i = 0; i < group.rows * group.n; i++) one_block(row + i / group.n * group.bytes, x, j0 + i % group.n, b, &sums[i]);
    for (int i = 0; i < group.rows * group.n; i++) {
        const __m256 offset = _mm256_zextps128_ps256(sums[i].offset);
        y[(j0 + i % group.n) * y_stride + i / group.n] = az_sum_lanes(_mm256_fnmadd_ps(_mm256_set1_ps(8), offset, sums[i].products));
    }
}

void az_rows_q4_0_avx2(const void *rows, int64_t count, const az_columns *x, float *y, int64_t y_stride)
{
    const int64_t bytes = x->cols / AZ_BLOCK * BYTES;
    const unsigned char *row = rows;
    int64_t r = 0;
    if (x->n == 1)
        for (; r + 2 <= count; r += 2, row += 2 * bytes) row_products((row_group){2, 1, bytes}, row, x, 0, y + r, y_stride);
    for (; r < count; r++, row += bytes) {
        int64_t j = 0;
        for (; j + 4 <= x->n; j += 4) row_products((row_group){1, 4, bytes}, row, x, j, y + r, y_stride);
        for (; j + 2 <= x->n; j += 2) row_products((row_group){1, 2, bytes}, row, x, j, y + r, y_stride);
        for (; j < x->n; j++) row_products((row_group){1, 1, bytes}, row, x, j, y + r, y_stride);
    }
}
