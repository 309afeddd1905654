/* nf4_avx2.c - products with 4-bit NormalFloat for AVX2.
 *
 * A level l becomes the whole number u = 2047 (l + 1) of twelve bits, which is off by at most 1/4094 and exact for -1, 0 and 1; two
 * look-ups give its upper and its lower six bits, and sum l q = sum u q / 2047 - sum q. */
#include "weight/kernels/lanes_avx2.h"
#include "weight/kernels/nf4.h"

#include <immintrin.h>
#include <string.h>

enum { CODES = AZ_NF4_BLOCK / 2, ROWS = 4, VECTORS = 4, AHEAD = 1024, UNIT = 2047 }; /* bytes of a block; bytes of prefetch */

/* u / 64 and u % 64 for each code */
static const uint8_t upper[16] = {0, 9, 15, 19, 22, 26, 29, 31, 34, 37, 39, 42, 46, 49, 55, 63};
static const uint8_t lower[16] = {0, 46, 12, 23, 57, 5, 5, 63, 34, 8, 55, 51, 5, 63, 7, 62};

/* The parts of 64 levels: upper and lower ones of even and odd columns. */
typedef struct parts {
    __m256i upper[2], lower[2];
} parts;

static inline __m256i table_of(const uint8_t *table)
{
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)table));
}

static inline parts look_up(const uint8_t *code)
{
    const __m256i nibble = _mm256_set1_epi8(15), both = _mm256_loadu_si256((const __m256i *)code);
    const __m256i index[2] = {_mm256_and_si256(_mm256_srli_epi16(both, 4), nibble), _mm256_and_si256(both, nibble)};
    parts p;
    for (int i = 0; i < 2; i++) {
        p.upper[i] = _mm256_shuffle_epi8(table_of(upper), index[i]);
        p.lower[i] = _mm256_shuffle_epi8(table_of(lower), index[i]);
    }
    return p;
}

/* sum of u q over each eight columns; sums of four products of six and seven bits fit into 16 bits */
static inline __m256i dot(const parts *p, const int8_t *q)
{
    const __m256i even = _mm256_loadu_si256((const __m256i *)q), odd = _mm256_loadu_si256((const __m256i *)(q + CODES));
    const __m256i u = _mm256_add_epi16(_mm256_maddubs_epi16(p->upper[0], even), _mm256_maddubs_epi16(p->upper[1], odd));
    const __m256i l = _mm256_add_epi16(_mm256_maddubs_epi16(p->lower[0], even), _mm256_maddubs_epi16(p->lower[1], odd));
    return _mm256_add_epi32(_mm256_madd_epi16(u, _mm256_set1_epi16(64)), _mm256_madd_epi16(l, _mm256_set1_epi16(1)));
}

/* sum of scale and total, which products are less by */
static inline float offset_of(const float *scale, const float *total, int64_t blocks)
{
    __m256 sum = _mm256_setzero_ps();
    int64_t b = 0;
    for (; b + 8 <= blocks; b += 8) sum = _mm256_fmadd_ps(_mm256_loadu_ps(scale + b), _mm256_loadu_ps(total + b), sum);
    float rest = az_sum_lanes(sum);
    for (; b < blocks; b++) rest += scale[b] * total[b];
    return rest;
}

/* `rows` rows, `apart` from each other, with n vectors from j0 on. A sum for each of them, so that a result does not depend on the company
 * it is computed in. */
static inline __attribute__((always_inline)) void multiply_some(int rows, int n, az_nf4_rows from, int64_t apart, const az_nf4_columns *x,
                                                                int64_t j0, float *y, int64_t y_stride)
{
    const int64_t blocks = x->cols / AZ_NF4_BLOCK;
    __m256 sum[ROWS][VECTORS];
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < n; j++) sum[r][j] = _mm256_setzero_ps();
    for (int64_t b = 0; b < blocks; b++)
        for (int r = 0; r < rows; r++) {
            const uint8_t *code = from.code + (r * apart * blocks + b) * CODES;
            _mm_prefetch((const char *)code + AHEAD, _MM_HINT_T0);
            const parts p = look_up(code);
            const __m256 scale = _mm256_broadcast_ss(from.scale + r * apart * blocks + b);
            for (int j = 0; j < n; j++) {
                const int64_t at = b * x->n + j0 + j;
                const __m256 products = _mm256_cvtepi32_ps(dot(&p, x->q + at * AZ_NF4_BLOCK));
                sum[r][j] = _mm256_fmadd_ps(_mm256_mul_ps(products, _mm256_loadu_ps(x->scale + AZ_NF4_LANES * at)), scale, sum[r][j]);
            }
        }
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < n; j++)
            y[(j0 + j) * y_stride + r * apart] =
                az_sum_lanes(sum[r][j]) / UNIT - offset_of(from.scale + r * apart * blocks, x->total + (j0 + j) * blocks, blocks);
}

static inline __attribute__((always_inline)) void multiply_all(int rows, int n, const az_nf4_rows *from, const az_nf4_columns *x,
                                                               int64_t j0, float *y, int64_t y_stride)
{
    const int64_t apart = from->count / rows;
    az_nf4_rows row = *from;
    for (int64_t r = 0; r < from->count; r++, row.code += x->cols / 2, row.scale += x->cols / AZ_NF4_BLOCK) {
        if (r < apart)
            multiply_some(rows, n, row, apart, x, j0, y + r, y_stride);
        else if (r >= rows * apart)
            multiply_some(1, n, row, 0, x, j0, y + r, y_stride);
    }
}

static void multiply(const az_nf4_rows *rows, const az_nf4_columns *x, float *y, int64_t y_stride)
{
    int64_t j = 0;
    for (; j + 4 <= x->n; j += 4) multiply_all(2, 4, rows, x, j, y, y_stride);
    for (; j + 2 <= x->n; j += 2) multiply_all(2, 2, rows, x, j, y, y_stride);
    for (; j < x->n; j++) multiply_all(ROWS, 1, rows, x, j, y, y_stride);
}

/* Eight codes at a time, those of four bytes: each lane shifts its own to the lowest bits. */
static void widen(const uint8_t *code, const float *scale, int64_t blocks, float *to)
{
    const __m256i shift = _mm256_setr_epi32(4, 0, 12, 8, 20, 16, 28, 24);
    const __m256 low = _mm256_loadu_ps(az_nf4_levels), high = _mm256_loadu_ps(az_nf4_levels + 8);
    for (int64_t b = 0; b < blocks; b++) {
        const __m256 d = _mm256_broadcast_ss(scale + b);
        for (int i = 0; i < AZ_NF4_BLOCK; i += 8, code += 4, to += 8) {
            int32_t four;
            memcpy(&four, code, sizeof four);
            const __m256i index = _mm256_srlv_epi32(_mm256_set1_epi32(four), shift);
            const __m256 upper_half = _mm256_castsi256_ps(_mm256_slli_epi32(index, 28));
            const __m256 level = _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, index), _mm256_permutevar8x32_ps(high, index), upper_half);
            _mm256_storeu_ps(to, _mm256_mul_ps(level, d));
        }
    }
}

const az_nf4_kernels az_nf4_kernels_avx2 = {.multiply = multiply, .widen = widen};
