/* kquants_avx2.c - products with rows of q2_k .. q6_k for AVX2; the layouts are those of format_k.c.
 *
 * As for q4_0, rows are one stream with a prefetch, and up to four vectors share a pass over a row. Products of bytes are added up exactly
 * in integers within 32 columns, where the activations share a scale; two sums a block and vector keep the chain of additions short. */
#include "weight/kernels/kernels.h"
#include "weight/kernels/lanes_avx2.h"
#include "weight/weight_internal.h"

#include <immintrin.h>
#include <string.h>

enum { AHEAD = 2048, GROUP = 4, VALUES = 256, SUBS = VALUES / AZ_BLOCK, LINE = 64 };

static inline __attribute__((always_inline)) __m256i load(const void *from)
{
    return _mm256_loadu_si256((const __m256i *)from);
}

static inline __attribute__((always_inline)) void prefetch(const unsigned char *block, int64_t bytes)
{
    for (int64_t at = 0; at < bytes; at += LINE) _mm_prefetch((const char *)block + AHEAD + at, _MM_HINT_T0);
}

/* The activations that multiply one block: of vector j, q + j cols, scale and total + j cols / 32, halves + j cols / 16. */
typedef struct block_columns {
    int64_t cols;
    const int8_t *q;
    const float *scale, *total, *halves;
} block_columns;

/* ---- q4_k, q5_k: a scale and a minimum for 32 values ------------------------------------------------------------------------------- */

typedef enum kquant { Q2_K, Q3_K, Q4_K, Q5_K, Q6_K } kquant;

/* d s_j and m t_j of the eight sub-blocks */
static inline __attribute__((always_inline)) void wide_scales(const unsigned char *block, __m256 *scale, __m256 *minimum)
{
    uint32_t packed[3];
    memcpy(packed, block + 4, sizeof packed);
    const uint32_t sixes = 0x3f3f3f3f, twos = 0x03030303, fours = 0x0f0f0f0f;
    const uint32_t s[2] = {packed[0] & sixes, (packed[2] & fours) | (packed[0] >> 6 & twos) << 4};
    const uint32_t t[2] = {packed[1] & sixes, (packed[2] >> 4 & fours) | (packed[1] >> 6 & twos) << 4};
    const __m128 halves = _mm_cvtph_ps(_mm_loadl_epi64((const __m128i *)block));
    const __m256 d = _mm256_broadcastss_ps(halves), m = _mm256_broadcastss_ps(_mm_movehdup_ps(halves));
    *scale = _mm256_mul_ps(d, _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)s))));
    *minimum = _mm256_mul_ps(m, _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)t))));
}

/* Sub-blocks k and k + 1 share 32 bytes; their fifth bits are bits k and k + 1 of 32 more. */
static inline __attribute__((always_inline)) void wide_levels(kquant type, const unsigned char *block, int k, __m256i q[2])
{
    const __m256i nibble = _mm256_set1_epi8(15), both = load(block + (type == Q5_K ? 48 : 16) + 16 * k);
    q[0] = _mm256_and_si256(both, nibble);
    q[1] = _mm256_and_si256(_mm256_srli_epi16(both, 4), nibble);
    if (type == Q4_K) return;
    const __m256i fifth = _mm256_srli_epi16(load(block + 16), k);
    q[0] = _mm256_or_si256(q[0], _mm256_slli_epi16(_mm256_and_si256(fifth, _mm256_set1_epi8(1)), 4));
    q[1] = _mm256_or_si256(q[1], _mm256_slli_epi16(_mm256_and_si256(fifth, _mm256_set1_epi8(2)), 3));
}

static inline __attribute__((always_inline)) void wide_block(kquant type, int n, const unsigned char *block, const block_columns *x,
                                                             __m256 *sum)
{
    float factor[GROUP][SUBS]; /* scales of row and vector together */
    __m256 scale, minimum, part[GROUP][2];
    wide_scales(block, &scale, &minimum);
    for (int j = 0; j < n; j++) {
        const int64_t at = j * (x->cols / AZ_BLOCK);
        _mm256_storeu_ps(factor[j], _mm256_mul_ps(scale, _mm256_loadu_ps(x->scale + at)));
        sum[j] = _mm256_fnmadd_ps(minimum, _mm256_loadu_ps(x->total + at), sum[j]);
        part[j][0] = part[j][1] = _mm256_setzero_ps();
    }
#pragma GCC unroll 4
    for (int k = 0; k < SUBS; k += 2) {
        __m256i q[2];
        wide_levels(type, block, k, q);
        for (int j = 0; j < n; j++)
            for (int i = 0; i < 2; i++) {
                const __m256i pairs = _mm256_maddubs_epi16(q[i], load(x->q + j * x->cols + (k + i) * AZ_BLOCK));
                const __m256 products = _mm256_cvtepi32_ps(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
                part[j][i] = _mm256_fmadd_ps(_mm256_broadcast_ss(&factor[j][k + i]), products, part[j][i]);
            }
    }
    for (int j = 0; j < n; j++) sum[j] = _mm256_add_ps(sum[j], _mm256_add_ps(part[j][0], part[j][1]));
}

/* ---- q2_k, q3_k, q6_k: a scale for 16 values --------------------------------------------------------------------------------------- */

/* Bits 2 k and 2 k + 1 of each byte, moved to bits 4 and 5. */
static inline __attribute__((always_inline)) __m256i upper_pair(__m256i bytes, int k)
{
    const __m256i moved = k < 2 ? _mm256_slli_epi16(bytes, 4 - 2 * k) : _mm256_srli_epi16(bytes, 2 * k - 4);
    return _mm256_and_si256(moved, _mm256_set1_epi8(48));
}

/* The unsigned levels of group k of four in half `part` of a block: 32 values. */
static inline __attribute__((always_inline)) __m256i fine_levels(kquant type, const unsigned char *block, int part, int k)
{
    if (type == Q6_K) {
        const __m256i low = load(block + 64 * part + 32 * (k % 2)), high = load(block + 128 + 32 * part);
        const __m256i nibbles = _mm256_and_si256(k < 2 ? low : _mm256_srli_epi16(low, 4), _mm256_set1_epi8(15));
        return _mm256_or_si256(nibbles, upper_pair(high, k));
    }
    const __m256i twos = _mm256_srli_epi16(load(block + (type == Q3_K ? 32 : 16) + 32 * part), 2 * k);
    const __m256i low = _mm256_and_si256(twos, _mm256_set1_epi8(3));
    if (type == Q2_K) return low;
    const __m256i third = _mm256_srli_epi16(load(block), 4 * part + k);
    return _mm256_or_si256(low, _mm256_slli_epi16(_mm256_and_si256(third, _mm256_set1_epi8(1)), 2));
}

/* The 16 scales; for q2_k also the minima. */
static inline __attribute__((always_inline)) __m128i fine_scales(kquant type, const unsigned char *block, __m128i *minima)
{
    if (type == Q6_K) return _mm_loadu_si128((const __m128i *)(block + 192));
    if (type == Q2_K) {
        const __m128i both = _mm_loadu_si128((const __m128i *)block), nibble = _mm_set1_epi8(15);
        *minima = _mm_and_si128(_mm_srli_epi16(both, 4), nibble);
        return _mm_and_si128(both, nibble);
    }
    uint32_t packed[3];
    memcpy(packed, block + 96, sizeof packed);
    const uint32_t twos = 0x03030303, fours = 0x0f0f0f0f, up = packed[2];
    const __m128i s =
        _mm_setr_epi32((int)((packed[0] & fours) | (up & twos) << 4), (int)((packed[1] & fours) | (up >> 2 & twos) << 4),
                       (int)((packed[0] >> 4 & fours) | (up >> 4 & twos) << 4), (int)((packed[1] >> 4 & fours) | (up >> 6 & twos) << 4));
    return _mm_sub_epi8(s, _mm_set1_epi8(32));
}

/* As 16 bits: those of even index in the lower lane, the odd ones in the upper. */
static inline __attribute__((always_inline)) __m256i evens_and_odds(__m128i scales)
{
    return _mm256_cvtepi8_epi16(_mm_shuffle_epi8(scales, _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15)));
}

/* Number 2 k throughout the lower lane, number 2 k + 1 throughout the upper. */
static inline __attribute__((always_inline)) __m256i pair_of(__m256i evens_odds, int k)
{
    return _mm256_shuffle_epi8(evens_odds, _mm256_set1_epi16((short)(2 * k | (2 * k + 1) << 8)));
}

static inline __attribute__((always_inline)) __m256 half_of(const unsigned char *at)
{
    uint16_t half;
    memcpy(&half, at, sizeof half);
    return _mm256_set1_ps(_cvtsh_ss(half));
}

/* What is subtracted for each 16 values of activations that sum to 1: m t, or the offset of signed levels times d s. */
static inline __attribute__((always_inline)) void fine_offsets(kquant type, const unsigned char *block, __m128i numbers, __m256 offset[2])
{
    const __m256 unit = type == Q2_K ? half_of(block + 82)
                                     : _mm256_mul_ps(_mm256_set1_ps(type == Q6_K ? 32 : 4), half_of(block + (type == Q6_K ? 208 : 108)));
    offset[0] = _mm256_mul_ps(unit, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(numbers)));
    offset[1] = _mm256_mul_ps(unit, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(numbers, 8))));
}

static inline __attribute__((always_inline)) void fine_block(kquant type, int n, const unsigned char *block, const block_columns *x,
                                                             __m256 *sum)
{
    __m128i minima = _mm_setzero_si128();
    const __m128i scales = fine_scales(type, block, &minima);
    const __m256 d = half_of(block + (type == Q6_K ? 208 : type == Q3_K ? 108 : 80));
    float factor[GROUP][SUBS]; /* scales of block and vector together */
    const __m256i spread = evens_and_odds(scales);
    __m256 offset[2], part[GROUP][2];
    fine_offsets(type, block, type == Q2_K ? minima : scales, offset);
    for (int j = 0; j < n; j++) {
        const int64_t at = j * (x->cols / AZ_BLOCK);
        _mm256_storeu_ps(factor[j], _mm256_mul_ps(d, _mm256_loadu_ps(x->scale + at)));
        sum[j] = _mm256_fnmadd_ps(offset[0], _mm256_loadu_ps(x->halves + 2 * at), sum[j]);
        sum[j] = _mm256_fnmadd_ps(offset[1], _mm256_loadu_ps(x->halves + 2 * at + 8), sum[j]);
        part[j][0] = part[j][1] = _mm256_setzero_ps();
    }
#pragma GCC unroll 8
    for (int k = 0; k < SUBS; k++) {
        const __m256i q = fine_levels(type, block, k / 4, k % 4), scale = pair_of(spread, k);
        for (int j = 0; j < n; j++) {
            const __m256i pairs = _mm256_maddubs_epi16(q, load(x->q + j * x->cols + k * AZ_BLOCK));
            const __m256 products = _mm256_cvtepi32_ps(_mm256_madd_epi16(pairs, scale));
            part[j][k % 2] = _mm256_fmadd_ps(_mm256_broadcast_ss(&factor[j][k]), products, part[j][k % 2]);
        }
    }
    for (int j = 0; j < n; j++) sum[j] = _mm256_add_ps(sum[j], _mm256_add_ps(part[j][0], part[j][1]));
}

/* ---- rows ---------------------------------------------------------------------------------------------------------------------------- */

static inline __attribute__((always_inline)) int64_t bytes_of(kquant type)
{
    return (const int[]){84, 110, AZ_Q4_K_BYTES, 176, AZ_Q6_K_BYTES}[type];
}

static inline __attribute__((always_inline)) void row_blocks(kquant type, int n, const unsigned char *row, const az_columns *x,
                                                             int64_t first, float *y, int64_t y_stride)
{
    const int64_t blocks = x->cols / VALUES, bytes = bytes_of(type);
    block_columns columns = {.cols = x->cols, .q = x->q + first * x->cols};
    const int64_t at = first * (x->cols / AZ_BLOCK);
    columns.scale = x->scale + at, columns.total = x->total + at, columns.halves = x->halves + 2 * at;
    __m256 sum[GROUP];
    for (int j = 0; j < n; j++) sum[j] = _mm256_setzero_ps();
    for (int64_t b = 0; b < blocks; b++, row += bytes) {
        prefetch(row, bytes);
        if (type == Q4_K || type == Q5_K)
            wide_block(type, n, row, &columns, sum);
        else
            fine_block(type, n, row, &columns, sum);
        columns.q += VALUES, columns.scale += SUBS, columns.total += SUBS, columns.halves += 2 * SUBS;
    }
    for (int j = 0; j < n; j++) y[(first + j) * y_stride] = az_sum_lanes(sum[j]);
}

static inline __attribute__((always_inline)) void rows_blocks(kquant type, const void *rows, int64_t count, const az_columns *x, float *y,
                                                              int64_t y_stride)
{
    const int64_t bytes = x->cols / VALUES * bytes_of(type);
    const unsigned char *row = rows;
    for (int64_t r = 0; r < count; r++, row += bytes) {
        int64_t j = 0;
        for (; j + 4 <= x->n; j += 4) row_blocks(type, 4, row, x, j, y + r, y_stride);
        for (; j + 2 <= x->n; j += 2) row_blocks(type, 2, row, x, j, y + r, y_stride);
        for (; j < x->n; j++) row_blocks(type, 1, row, x, j, y + r, y_stride);
    }
}

void az_rows_q2_k_avx2(const void *rows, int64_t count, const az_columns *x, float *y, int64_t y_stride)
{
    rows_blocks(Q2_K, rows, count, x, y, y_stride);
}

void az_rows_q3_k_avx2(const void *rows, int64_t count, const az_columns *x, float *y, int64_t y_stride)
{
    rows_blocks(Q3_K, rows, count, x, y, y_stride);
}

void az_rows_q4_k_avx2(const void *rows, int64_t count, const az_columns *x, float *y, int64_t y_stride)
{
    rows_blocks(Q4_K, rows, count, x, y, y_stride);
}

void az_rows_q5_k_avx2(const void *rows, int64_t count, const az_columns *x, float *y, int64_t y_stride)
{
    rows_blocks(Q5_K, rows, count, x, y, y_stride);
}

void az_rows_q6_k_avx2(const void *rows, int64_t count, const az_columns *x, float *y, int64_t y_stride)
{
    rows_blocks(Q6_K, rows, count, x, y, y_stride);
}
