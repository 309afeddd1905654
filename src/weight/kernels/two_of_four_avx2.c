/* two_of_four_avx2.c - products with rows that keep two of every four columns: the kept values stay side by side, and the activations that
 * they meet are picked to their places.
 *
 * Sixteen columns are four groups with eight kept values, one register. Their activations lie in the order of az_arrange_fours, groups 0
 * and 2 in one register, 1 and 3 in the next: a lane of 128 bits holds a group, and one register of choices, two bits a value, serves both.
 * The mask of 256 columns becomes the choices of its sixteen blocks at once, those of block b in bits 2 b and 2 b + 1 of each of the eight
 * values' words. */
#include "weight/kernels/kernels.h"
#include "weight/kernels/lanes_avx2.h"

#include <immintrin.h>
#include <string.h>

enum { BLOCKS = AZ_FOURS / 16, VALUES = AZ_FOURS / 2, MASK = AZ_FOURS / 8, ROWS = 4, VECTORS = 4 };
enum { AHEAD = 2048 }; /* bytes of prefetch */

/* How rows are read: constants where the loops are inlined. */
typedef struct reading {
    int rows, n; /* rows and vectors that are multiplied together */
    bool bf16;
} reading;

/* Eight values. */
static inline __m256 widen(bool bf16, const uint16_t *value)
{
    const __m128i half = _mm_loadu_si128((const __m128i *)value);
    if (!bf16) return _mm256_cvtph_ps(half);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}

/* 32 numbers of two bits, four to a byte: bytes 0, 4, 8 .. of the result, the others zero. */
static inline __m256i pack_twos(__m256i v)
{
    return _mm256_madd_epi16(_mm256_maddubs_epi16(v, _mm256_set1_epi16(4 << 8 | 1)), _mm256_set1_epi32(16 << 16 | 1));
}

/* The choices of 16 blocks. */
static inline __m256i choices(const uint8_t *mask)
{
    const __m256i nibble = _mm256_set1_epi8(15);
    /* column of the first and of the second bit that is set in the mask of a group */
    const __m256i first = _mm256_setr_epi8(0, 0, 1, 0, 2, 0, 1, 0, 3, 0, 1, 0, 2, 0, 1, 0, 0, 0, 1, 0, 2, 0, 1, 0, 3, 0, 1, 0, 2, 0, 1, 0);
    const __m256i second = _mm256_setr_epi8(0, 0, 0, 1, 0, 2, 2, 1, 0, 3, 3, 1, 3, 2, 2, 1, 0, 0, 0, 1, 0, 2, 2, 1, 0, 3, 3, 1, 3, 2, 2, 1);
    const __m256i halves =
        _mm256_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15, 0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
    /* the first bytes of all blocks, groups 0 and 1, in the lower lane; the second bytes, groups 2 and 3, in the upper one */
    const __m256i bytes =
        _mm256_permute4x64_epi64(_mm256_shuffle_epi8(_mm256_loadu_si256((const __m256i *)mask), halves), _MM_SHUFFLE(3, 1, 2, 0));
    const __m256i low = _mm256_and_si256(bytes, nibble), high = _mm256_and_si256(_mm256_srli_epi16(bytes, 4), nibble);
    const __m256i of_low = _mm256_packus_epi32(pack_twos(_mm256_shuffle_epi8(first, low)), pack_twos(_mm256_shuffle_epi8(second, low)));
    const __m256i of_high = _mm256_packus_epi32(pack_twos(_mm256_shuffle_epi8(first, high)), pack_twos(_mm256_shuffle_epi8(second, high)));
    return _mm256_packus_epi16(of_low, of_high);
}

/* sum [rows][n] += 256 columns; vectors are x_apart numbers apart. */
static inline __attribute__((always_inline)) void add_fours(reading how, const uint16_t *const *value, const uint8_t *const *mask,
                                                            const float *x, int64_t x_apart, __m256 sum[ROWS][VECTORS])
{
    __m256i choice[ROWS];
    for (int i = 0; i < how.rows; i++) choice[i] = choices(mask[i]);
    for (int b = 0; b < BLOCKS; b++) {
        __m256 w[ROWS];
        for (int i = 0; i < how.rows; i++) {
            if (b % 4 == 0) _mm_prefetch((const char *)(value[i] + 8 * b) + AHEAD, _MM_HINT_T0);
            w[i] = widen(how.bf16, value[i] + 8 * b);
        }
        for (int j = 0; j < how.n; j++) {
            const float *from = x + j * x_apart + 16 * b;
            const __m256 even = _mm256_loadu_ps(from), odd = _mm256_loadu_ps(from + 8);
            for (int i = 0; i < how.rows; i++) {
                const __m256 picked = _mm256_blend_ps(_mm256_permutevar_ps(even, choice[i]), _mm256_permutevar_ps(odd, choice[i]), 0xcc);
                sum[i][j] = _mm256_fmadd_ps(w[i], picked, sum[i][j]);
            }
        }
        for (int i = 0; i < how.rows; i++) choice[i] = _mm256_srli_epi32(choice[i], 2);
    }
}

/* Rows first, first + apart, .. with vectors j0 .. j0 + n - 1. A sum for each row and vector, for any number of them, so that a result does
 * not depend on the company it is computed in. */
static inline __attribute__((always_inline)) void multiply(reading how, const az_kept_rows *rows, int64_t first, int64_t apart,
                                                           const az_columns *x, int64_t j0, float *y, int64_t y_stride)
{
    const int64_t mask_bytes = (x->cols + 7) / 8, x_apart = az_fours(x->cols), rest = x->cols % AZ_FOURS;
    const float *vector = x->value + j0 * x_apart, *end = vector + x->cols - rest;
    const uint16_t *value[ROWS];
    const uint8_t *mask[ROWS];
    __m256 sum[ROWS][VECTORS];
    for (int i = 0; i < how.rows; i++) {
        value[i] = rows->value + (first + i * apart) * rows->per_row, mask[i] = rows->mask + (first + i * apart) * mask_bytes;
        for (int j = 0; j < how.n; j++) sum[i][j] = _mm256_setzero_ps();
    }
    for (; vector < end; vector += AZ_FOURS) {
        add_fours(how, value, mask, vector, x_apart, sum);
        for (int i = 0; i < how.rows; i++) value[i] += VALUES, mask[i] += MASK;
    }
    if (rest > 0) { /* filled up with zeros */
        uint16_t last_value[ROWS][VALUES] = {{0}};
        uint8_t last_mask[ROWS][MASK] = {{0}};
        for (int i = 0; i < how.rows; i++) {
            memcpy(last_value[i], value[i], (size_t)rest / 2 * sizeof **last_value), value[i] = last_value[i];
            memcpy(last_mask[i], mask[i], (size_t)(rest + 7) / 8), mask[i] = last_mask[i];
        }
        add_fours(how, value, mask, vector, x_apart, sum);
    }
    for (int i = 0; i < how.rows; i++)
        for (int j = 0; j < how.n; j++) y[(j0 + j) * y_stride + first + i * apart] = az_sum_lanes(sum[i][j]);
}

/* All rows with vectors j0 .. j0 + n - 1. */
static inline __attribute__((always_inline)) void multiply_all(reading how, const az_kept_rows *rows, const az_columns *x, int64_t j0,
                                                               float *y, int64_t y_stride)
{
    const int64_t apart = rows->count / how.rows;
    for (int64_t r = 0; r < apart; r++) multiply(how, rows, r, apart, x, j0, y, y_stride);
    for (int64_t r = how.rows * apart; r < rows->count; r++) multiply((reading){1, how.n, how.bf16}, rows, r, 0, x, j0, y, y_stride);
}

static inline __attribute__((always_inline)) void two_of_four(bool bf16, const az_kept_rows *rows, const az_columns *x, float *y,
                                                              int64_t y_stride)
{
    int64_t j = 0;
    for (; j + 4 <= x->n; j += 4) multiply_all((reading){2, 4, bf16}, rows, x, j, y, y_stride);
    for (; j + 2 <= x->n; j += 2) multiply_all((reading){4, 2, bf16}, rows, x, j, y, y_stride);
    for (; j < x->n; j++) multiply_all((reading){4, 1, bf16}, rows, x, j, y, y_stride);
}

void az_two_of_four_avx2(const az_kept_rows *rows, const az_columns *x, float *y, int64_t y_stride)
{
    rows->bf16 ? two_of_four(true, rows, x, y, y_stride) : two_of_four(false, rows, x, y, y_stride);
}
