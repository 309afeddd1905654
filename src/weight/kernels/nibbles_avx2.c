/* nibbles_avx2.c - products with rows of q4_1, q5_0, q5_1 and iq4_nl for AVX2; the layouts are those of format_legacy.c and
 * format_iq4_nl.c. A block of 32 values is d q + lower with unsigned levels q, or d times a signed entry of the table. */
#include "weight/kernels/kernels.h"
#include "weight/kernels/lanes_avx2.h"
#include "weight/weight_internal.h"

#include <immintrin.h>
#include <string.h>

enum { AHEAD = 2048, GROUP = 4 };

typedef enum nibbles { Q4_1, Q5_0, Q5_1, IQ4_NL } nibbles;

static inline __attribute__((always_inline)) int64_t bytes_of(nibbles type)
{
    return (const int[]){20, 22, 24, 18}[type];
}

/* 16 where a bit is set: bit i of `bits` for byte i. */
static inline __attribute__((always_inline)) __m256i sixteens(const unsigned char *bits)
{
    int32_t all;
    memcpy(&all, bits, sizeof all);
    const __m256i from = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i each = _mm256_set1_epi64x((int64_t)0x8040201008040201u);
    const __m256i set = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32(all), from), each);
    return _mm256_and_si256(_mm256_cmpeq_epi8(set, each), _mm256_set1_epi8(16));
}

static inline __attribute__((always_inline)) __m256i levels(nibbles type, const unsigned char *block)
{
    const __m256i twice = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(block + bytes_of(type) - 16)));
    const __m256i low = _mm256_and_si256(_mm256_srlv_epi32(twice, _mm256_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4)), _mm256_set1_epi8(15));
    if (type == Q4_1) return low;
    if (type != IQ4_NL) return _mm256_or_si256(low, sixteens(block + bytes_of(type) - 20));
    const __m128i table = _mm_loadu_si128((const __m128i *)az_iq4_nl_levels);
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), low);
}

/* Sums of products of four consecutive values. A sign of w moves to x. */
static inline __attribute__((always_inline)) __m256 products_of(nibbles type, __m256i w, __m256i x)
{
    const __m256i pairs = type == IQ4_NL ? _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w)) : _mm256_maddubs_epi16(w, x);
    return _mm256_cvtepi32_ps(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

static inline __attribute__((always_inline)) void row_blocks(nibbles type, int n, const unsigned char *row, const az_columns *x,
                                                             int64_t first, float *y, int64_t y_stride)
{
    const int64_t count = x->cols / AZ_BLOCK;
    __m256 sum[GROUP];
    __m128 rest[GROUP];
    for (int j = 0; j < n; j++) sum[j] = _mm256_setzero_ps(), rest[j] = _mm_setzero_ps();
    for (int64_t b = 0; b < count; b++, row += bytes_of(type)) {
        _mm_prefetch((const char *)row + AHEAD, _MM_HINT_T0);
        const __m256i w = levels(type, row);
        const __m128 halves = _mm_cvtph_ps(_mm_loadl_epi64((const __m128i *)row));
        const __m256 d = _mm256_broadcastss_ps(halves);
        const __m128 lower = type == Q5_0 ? _mm_mul_ss(halves, _mm_set_ss(-16)) : _mm_movehdup_ps(halves);
        for (int j = 0; j < n; j++) {
            const int64_t at = (first + j) * count + b;
            const __m256 products = products_of(type, w, _mm256_loadu_si256((const __m256i *)(x->q + at * AZ_BLOCK)));
            sum[j] = _mm256_fmadd_ps(_mm256_mul_ps(d, _mm256_broadcast_ss(x->scale + at)), products, sum[j]);
            if (type != IQ4_NL) rest[j] = _mm_fmadd_ss(lower, _mm_load_ss(x->total + at), rest[j]);
        }
    }
    for (int j = 0; j < n; j++) y[(first + j) * y_stride] = az_sum_lanes(sum[j]) + _mm_cvtss_f32(rest[j]);
}

static inline __attribute__((always_inline)) void rows_blocks(nibbles type, const void *rows, int64_t count, const az_columns *x, float *y,
                                                              int64_t y_stride)
{
    const unsigned char *row = rows;
    for (int64_t r = 0; r < count; r++, row += x->cols / AZ_BLOCK * bytes_of(type)) {
        int64_t j = 0;
        for (; j + 4 <= x->n; j += 4) row_blocks(type, 4, row, x, j, y + r, y_stride);
        for (; j + 2 <= x->n; j += 2) row_blocks(type, 2, row, x, j, y + r, y_stride);
        for (; j < x->n; j++) row_blocks(type, 1, row, x, j, y + r, y_stride);
    }
}

void az_rows_q4_1_avx2(const void *rows, int64_t count, const az_columns *x, float *y, int64_t y_stride)
{
    rows_blocks(Q4_1, rows, count, x, y, y_stride);
}

void az_rows_q5_0_avx2(const void *rows, int64_t count, const az_columns *x, float *y, int64_t y_stride)
{
    rows_blocks(Q5_0, rows, count, x, y, y_stride);
}

void az_rows_q5_1_avx2(const void *rows, int64_t count, const az_columns *x, float *y, int64_t y_stride)
{
    rows_blocks(Q5_1, rows, count, x, y, y_stride);
}

void az_rows_iq4_nl_avx2(const void *rows, int64_t count, const az_columns *x, float *y, int64_t y_stride)
{
    rows_blocks(IQ4_NL, rows, count, x, y, y_stride);
}
