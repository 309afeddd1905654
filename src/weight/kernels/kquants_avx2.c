/* kquants_avx2.c - products with rows of q4_k and q6_k for AVX2; the layouts are those of format_k.c.
 *
 * As for q4_0, rows are one stream with a prefetch, and up to four vectors share a pass over a row. Products of bytes are added up exactly
 * in integers within 32 columns, where the activations share a scale. */
#include "weight/kernels/kernels.h"
#include "weight/weight_internal.h"

#include <immintrin.h>
#include <string.h>

enum { AHEAD = 2048, GROUP = 4, VALUES = 256, SUBS = VALUES / AZ_BLOCK, LINE = 64 };

static inline __attribute__((always_inline)) float sum_lanes(__m256 v)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

static inline __attribute__((always_inline)) __m256i load(const void *from)
{
    return _mm256_loadu_si256((const __m256i *)from);
}

static inline __attribute__((always_inline)) void prefetch(const unsigned char *block, int64_t bytes)
{
    for (int64_t at = 0; at < bytes; at += LINE) _mm_prefetch((const char *)block + AHEAD + at, _MM_HINT_T0);
}

/* The activations that multiply one block: of vector j, q + j cols, scale and total + j cols / 32. */
typedef struct block_columns {
    int64_t cols;
    const int8_t *q;
    const float *scale, *total;
} block_columns;

/* ---- q4_k ---------------------------------------------------------------------------------------------------------------------------- */

/* d s_j and m t_j of the eight sub-blocks */
static inline __attribute__((always_inline)) void scales_q4_k(const unsigned char *block, __m256 *scale, __m256 *minimum)
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

static inline __attribute__((always_inline)) void block_q4_k(int n, const unsigned char *block, const block_columns *x, __m256 *sum)
{
    const __m256i nibble = _mm256_set1_epi8(15), one = _mm256_set1_epi16(1);
    float factor[GROUP][SUBS]; /* scales of row and vector together */
    __m256 scale, minimum;
    scales_q4_k(block, &scale, &minimum);
    for (int j = 0; j < n; j++) {
        const int64_t at = j * (x->cols / AZ_BLOCK);
        _mm256_storeu_ps(factor[j], _mm256_mul_ps(scale, _mm256_loadu_ps(x->scale + at)));
        sum[j] = _mm256_fnmadd_ps(minimum, _mm256_loadu_ps(x->total + at), sum[j]);
    }
    for (int k = 0; k < SUBS; k += 2) {
        const __m256i both = load(block + 16 + AZ_BLOCK / 2 * k);
        const __m256i w[2] = {_mm256_and_si256(both, nibble), _mm256_and_si256(_mm256_srli_epi16(both, 4), nibble)};
        for (int j = 0; j < n; j++)
            for (int i = 0; i < 2; i++) {
                const __m256i pairs = _mm256_maddubs_epi16(w[i], load(x->q + j * x->cols + (k + i) * AZ_BLOCK));
                const __m256 products = _mm256_cvtepi32_ps(_mm256_madd_epi16(pairs, one));
                sum[j] = _mm256_fmadd_ps(_mm256_broadcast_ss(&factor[j][k + i]), products, sum[j]);
            }
    }
}

/* ---- q6_k ---------------------------------------------------------------------------------------------------------------------------- */

/* The q of four sub-blocks of 32, from 64 bytes of lower and 32 of upper bits. */
static inline __attribute__((always_inline)) void levels_q6_k(const unsigned char *low, const unsigned char *high, __m256i q[4])
{
    const __m256i nibble = _mm256_set1_epi8(15), l0 = load(low), l1 = load(low + 32), h = load(high);
    const __m256i up[4] = {_mm256_slli_epi16(_mm256_and_si256(h, _mm256_set1_epi8(3)), 4),
                           _mm256_slli_epi16(_mm256_and_si256(h, _mm256_set1_epi8(12)), 2), _mm256_and_si256(h, _mm256_set1_epi8(48)),
                           _mm256_and_si256(_mm256_srli_epi16(h, 2), _mm256_set1_epi8(48))};
    q[0] = _mm256_or_si256(_mm256_and_si256(l0, nibble), up[0]);
    q[1] = _mm256_or_si256(_mm256_and_si256(l1, nibble), up[1]);
    q[2] = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(l0, 4), nibble), up[2]);
    q[3] = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(l1, 4), nibble), up[3]);
}

/* The scales of sub-blocks 2 k and 2 k + 1 (of 16 values), as 16 bits eight times each. */
static inline __attribute__((always_inline)) __m256i pair_of_scales(__m128i scales, int k)
{
    const __m128i which = _mm_add_epi8(_mm_set1_epi8((char)(2 * k)), _mm_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1));
    return _mm256_cvtepi8_epi16(_mm_shuffle_epi8(scales, which));
}

static inline __attribute__((always_inline)) void block_q6_k(int n, const unsigned char *block, const block_columns *x, __m256 *sum)
{
    const __m256i offset = _mm256_set1_epi8(32);
    const __m128i scales = _mm_loadu_si128((const __m128i *)(block + 192));
    uint16_t half;
    memcpy(&half, block + 208, sizeof half);
    const __m256 d = _mm256_set1_ps(_cvtsh_ss(half));
    float factor[GROUP][SUBS]; /* scales of block and vector together */
    for (int j = 0; j < n; j++) _mm256_storeu_ps(factor[j], _mm256_mul_ps(d, _mm256_loadu_ps(x->scale + j * (x->cols / AZ_BLOCK))));
    for (int part = 0; part < 2; part++) {
        __m256i q[4];
        levels_q6_k(block + 64 * part, block + 128 + 32 * part, q);
        for (int i = 0; i < 4; i++) {
            const int k = 4 * part + i;
            const __m256i scale = pair_of_scales(scales, k);
            for (int j = 0; j < n; j++) {
                const __m256i xq = load(x->q + j * x->cols + k * AZ_BLOCK);
                const __m256i pairs = _mm256_sub_epi16(_mm256_maddubs_epi16(q[i], xq), _mm256_maddubs_epi16(offset, xq));
                const __m256 products = _mm256_cvtepi32_ps(_mm256_madd_epi16(pairs, scale));
                sum[j] = _mm256_fmadd_ps(_mm256_broadcast_ss(&factor[j][k]), products, sum[j]);
            }
        }
    }
}

/* ---- rows ---------------------------------------------------------------------------------------------------------------------------- */

typedef enum kquant { Q4_K, Q6_K } kquant;

static inline __attribute__((always_inline)) void row_blocks(kquant type, int n, const unsigned char *row, const az_columns *x,
                                                             int64_t first, float *y, int64_t y_stride)
{
    const int64_t blocks = x->cols / VALUES, bytes = type == Q4_K ? AZ_Q4_K_BYTES : AZ_Q6_K_BYTES;
    block_columns columns = {.cols = x->cols, .q = x->q + first * x->cols};
    columns.scale = x->scale + first * (x->cols / AZ_BLOCK), columns.total = x->total + first * (x->cols / AZ_BLOCK);
    __m256 sum[GROUP];
    for (int j = 0; j < n; j++) sum[j] = _mm256_setzero_ps();
    for (int64_t b = 0; b < blocks; b++, row += bytes) {
        prefetch(row, bytes);
        if (type == Q4_K)
            block_q4_k(n, row, &columns, sum);
        else
            block_q6_k(n, row, &columns, sum);
        columns.q += VALUES, columns.scale += SUBS, columns.total += SUBS;
    }
    for (int j = 0; j < n; j++) y[(first + j) * y_stride] = sum_lanes(sum[j]);
}

static inline __attribute__((always_inline)) void rows_blocks(kquant type, const void *rows, int64_t count, const az_columns *x, float *y,
                                                              int64_t y_stride)
{
    const int64_t bytes = x->cols / VALUES * (type == Q4_K ? AZ_Q4_K_BYTES : AZ_Q6_K_BYTES);
    const unsigned char *row = rows;
    for (int64_t r = 0; r < count; r++, row += bytes) {
        int64_t j = 0;
        for (; j + 4 <= x->n; j += 4) row_blocks(type, 4, row, x, j, y + r, y_stride);
        for (; j + 2 <= x->n; j += 2) row_blocks(type, 2, row, x, j, y + r, y_stride);
        for (; j < x->n; j++) row_blocks(type, 1, row, x, j, y + r, y_stride);
    }
}

void az_rows_q4_k_avx2(const void *rows, int64_t count, const az_columns *x, float *y, int64_t y_stride)
{
    rows_blocks(Q4_K, rows, count, x, y, y_stride);
}

void az_rows_q6_k_avx2(const void *rows, int64_t count, const az_columns *x, float *y, int64_t y_stride)
{
    rows_blocks(Q6_K, rows, count, x, y, y_stride);
}
