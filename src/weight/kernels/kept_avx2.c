/* kept_avx2.c - products with rows of an n:m pattern: eight columns at a time, the kept values are spread to their places and the rest is
 * zero. */
#include "tensor/half.h"
#include "weight/kernels/expand.h"
#include "weight/kernels/kernels.h"
#include "weight/kernels/lanes_avx2.h"

#include <immintrin.h>
#include <string.h>

enum { AHEAD = 2048, GROUP = 2, SUMS = 4 }; /* bytes of prefetch; vectors that share a pass over a row; sums of a vector */

/* How a row is read: constants where the loops are inlined. */
typedef struct reading {
    int n;        /* vectors */
    int per_byte; /* values of each byte of the mask; 0 = it varies */
    bool bf16;
} reading;

/* The weights of the eight columns of a mask, whose values begin at `value`; 8 may be read there. */
static inline __m256 spread(const reading *how, const uint16_t *value, uint8_t mask)
{
    const __m128i place = _mm_loadu_si128((const __m128i *)az_expand[mask]);
    const __m128i half = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)value), place);
    if (!how->bf16) return _mm256_cvtph_ps(half);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}

/* The same where fewer values may be read. */
static inline __m256 spread_last(const reading *how, const uint16_t *value, const uint16_t *end, uint8_t mask)
{
    uint16_t room[8] = {0};
    const ptrdiff_t left = end - value;
    memcpy(room, value, (size_t)(left < 8 ? left : 8) * sizeof *room);
    return spread(how, room, mask);
}

static inline int64_t values_of(const reading *how, uint64_t mask)
{
    return how->per_byte ? how->per_byte : _mm_popcnt_u64(mask);
}

/* Eight columns of vector j, those beyond the last as zero. */
static inline __m256 columns_last(const az_columns *x, int64_t j, int64_t from)
{
    float room[8] = {0};
    const int64_t left = x->cols - from;
    memcpy(room, x->value + j * x->cols + from, (size_t)(left < 8 ? left : 8) * sizeof *room);
    return _mm256_loadu_ps(room);
}

/* One row with vectors j0 .. j0 + n - 1. As many sums a vector for any n, so that a result does not depend on the company it is computed
 * in.
 */
static inline __attribute__((always_inline)) void row_kept(reading how, const uint16_t *value, const uint16_t *end, const uint8_t *mask,
                                                           const az_columns *x, int64_t j0, float *y, int64_t y_stride)
{
    const int64_t whole = x->cols / 8, cols = x->cols;
    const float *vector = x->value + j0 * cols;
    __m256 sum[SUMS][GROUP];
    for (int k = 0; k < SUMS; k++)
        for (int j = 0; j < how.n; j++) sum[k][j] = _mm256_setzero_ps();
    int64_t b = 0;
    for (; b + SUMS <= whole && end - value >= 8 * SUMS; b += SUMS) {
        _mm_prefetch((const char *)value + AHEAD, _MM_HINT_T0);
        for (int k = 0; k < SUMS; k++) {
            const __m256 w = spread(&how, value, mask[b + k]);
            value += values_of(&how, mask[b + k]);
            for (int j = 0; j < how.n; j++) sum[k][j] = _mm256_fmadd_ps(w, _mm256_loadu_ps(vector + j * cols + 8 * (b + k)), sum[k][j]);
        }
    }
    for (; 8 * b < cols; b++) {
        const __m256 w = spread_last(&how, value, end, mask[b]);
        value += values_of(&how, mask[b]);
        for (int j = 0; j < how.n; j++) sum[b % SUMS][j] = _mm256_fmadd_ps(w, columns_last(x, j0 + j, 8 * b), sum[b % SUMS][j]);
    }
    for (int j = 0; j < how.n; j++) {
        const __m256 even = _mm256_add_ps(sum[0][j], sum[2][j]), odd = _mm256_add_ps(sum[1][j], sum[3][j]);
        y[(j0 + j) * y_stride] = az_sum_lanes(_mm256_add_ps(even, odd));
    }
}

static inline __attribute__((always_inline)) void rows_kept(int per_byte, bool bf16, const az_kept_rows *rows, const az_columns *x,
                                                            float *y, int64_t y_stride)
{
    const int64_t mask_bytes = (x->cols + 7) / 8;
    for (int64_t r = 0; r < rows->count; r++) {
        const uint16_t *value = rows->value + r * rows->per_row;
        const uint8_t *mask = rows->mask + r * mask_bytes;
        int64_t j = 0;
        for (; j + 2 <= x->n; j += 2) row_kept((reading){2, per_byte, bf16}, value, rows->end, mask, x, j, y + r, y_stride);
        for (; j < x->n; j++) row_kept((reading){1, per_byte, bf16}, value, rows->end, mask, x, j, y + r, y_stride);
    }
}

void az_kept_avx2(const az_kept_rows *rows, const az_columns *x, float *y, int64_t y_stride)
{
    const int per_byte = rows->per_byte;
    if (per_byte == 4)
        rows->bf16 ? rows_kept(4, true, rows, x, y, y_stride) : rows_kept(4, false, rows, x, y, y_stride);
    else if (per_byte == 2)
        rows->bf16 ? rows_kept(2, true, rows, x, y, y_stride) : rows_kept(2, false, rows, x, y, y_stride);
    else
        rows->bf16 ? rows_kept(0, true, rows, x, y, y_stride) : rows_kept(0, false, rows, x, y, y_stride);
}

static inline __attribute__((always_inline)) void widen(bool bf16, const az_kept_rows *rows, int64_t cols, float *to)
{
    const reading how = {.bf16 = bf16};
    for (int64_t r = 0; r < rows->count; r++, to += cols) {
        const uint16_t *value = rows->value + r * rows->per_row;
        const uint8_t *mask = rows->mask + r * ((cols + 7) / 8);
        int64_t c = 0;
        for (; c + 8 <= cols && rows->end - value >= 8; c += 8, mask++) {
            _mm256_storeu_ps(to + c, spread(&how, value, *mask));
            value += values_of(&how, *mask);
        }
        for (; c < cols; c += 8, mask++) {
            float room[8];
            _mm256_storeu_ps(room, spread_last(&how, value, rows->end, *mask));
            memcpy(to + c, room, (size_t)(cols - c < 8 ? cols - c : 8) * sizeof *room);
            value += values_of(&how, *mask);
        }
    }
}

void az_widen_kept_avx2(const az_kept_rows *rows, int64_t cols, float *to)
{
    rows->bf16 ? widen(true, rows, cols, to) : widen(false, rows, cols, to);
}
