/* sparse_csl_avx2.c - products with slices of eight rows of words: the lanes of a register are the rows where there is one vector, and a
 * word's activations lie side by side where there are more. */
#include "weight/kernels/sparse.h"

#include <immintrin.h>
#include <string.h>

enum { AHEAD = 2048, LANES = AZ_CSL_LANES }; /* words of prefetch */

/* The steps of a slice. */
typedef struct steps {
    const uint32_t *word, *end;
    az_dtype type;
} steps;

/* The values of a step. */
static inline __m256 values_of(az_dtype type, const uint32_t *word)
{
    const __m256i words = _mm256_loadu_si256((const __m256i *)word);
    _mm_prefetch((const char *)(word + AHEAD), _MM_HINT_T0);
    if (type == AZ_BF16) return _mm256_castsi256_ps(_mm256_slli_epi32(words, 16));
    const __m256i low = _mm256_blend_epi16(words, _mm256_setzero_si256(), 0xaa);
    return _mm256_cvtph_ps(_mm_packus_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1)));
}

/* ---- one vector ---- */

/* The activations at the columns of four words. Two words are read at a time: gather instructions take twice as long. */
static inline __m128 pick(const float *x, const uint32_t *word)
{
    uint64_t first, second;
    memcpy(&first, word, sizeof first);
    memcpy(&second, word + 2, sizeof second);
    return _mm_setr_ps(x[first >> 16 & 0xffff], x[first >> 48], x[second >> 16 & 0xffff], x[second >> 48]);
}

static inline __attribute__((always_inline)) __m256 slice_with_one(steps s, const float *x)
{
    __m256 sum = _mm256_setzero_ps();
    for (; s.word < s.end; s.word += LANES)
        sum = _mm256_fmadd_ps(values_of(s.type, s.word), _mm256_set_m128(pick(x, s.word + 4), pick(x, s.word)), sum);
    return sum;
}

/* ---- up to four vectors, x [columns, 4] ---- */

static inline __attribute__((always_inline)) void slice_with_four(steps s, const float *x, __m128 sum[LANES])
{
    for (int i = 0; i < LANES; i++) sum[i] = _mm_setzero_ps();
    for (; s.word < s.end; s.word += LANES) {
        const __m256 w = values_of(s.type, s.word);
        const __m128 half[2] = {_mm256_castps256_ps128(w), _mm256_extractf128_ps(w, 1)};
        for (int i = 0; i < LANES; i++) {
            const __m128 value = _mm_permutevar_ps(half[i / 4], _mm_set1_epi32(i % 4));
            sum[i] = _mm_fmadd_ps(value, _mm_loadu_ps(x + 4 * (size_t)(s.word[i] >> 16)), sum[i]);
        }
    }
}

/* ---- groups of eight vectors, x [columns, 8 groups] ---- */

/* Of a slice the rows first .. first + rows - 1. */
static inline __attribute__((always_inline)) void slice_with_groups(steps s, int first, int rows, int groups, const float *x, __m256 *sum)
{
    for (int i = 0; i < rows * groups; i++) sum[i] = _mm256_setzero_ps();
    for (; s.word < s.end; s.word += LANES) {
        const __m256 w = values_of(s.type, s.word);
        const __m256 half[2] = {_mm256_permute2f128_ps(w, w, 0x00), _mm256_permute2f128_ps(w, w, 0x11)};
        for (int i = 0; i < rows; i++) {
            const int lane = first + i;
            const __m256 value = _mm256_permutevar_ps(half[lane / 4], _mm256_set1_epi32(lane % 4));
            const float *at = x + (size_t)(s.word[lane] >> 16) * (size_t)(LANES * groups);
            for (int g = 0; g < groups; g++)
                sum[i * groups + g] = _mm256_fmadd_ps(value, _mm256_loadu_ps(at + LANES * g), sum[i * groups + g]);
        }
    }
}

/* As many rows at a time as leave their sums in registers. */
static inline __attribute__((always_inline)) void slice_by_groups(steps s, int groups, const float *x, const uint8_t *row, float *sums)
{
    enum { MOST = LANES };
    const int rows = groups == 1 ? LANES : groups == 2 ? LANES / 2 : LANES / 4;
    for (int first = 0; first < LANES; first += rows) {
        __m256 sum[MOST];
        slice_with_groups(s, first, rows, groups, x, sum);
        for (int i = 0; i < rows * groups; i++) _mm256_storeu_ps(sums + (row[first + i / groups] * groups + i % groups) * LANES, sum[i]);
    }
}

/* ---- strips ---- */

static inline __attribute__((always_inline)) void slice(steps s, const az_sparse_input *x, const uint8_t *row, float *sums)
{
    float one[LANES];
    __m128 four[LANES];
    switch (x->stride) {
    case 1:
        _mm256_storeu_ps(one, slice_with_one(s, x->value));
        for (int i = 0; i < LANES; i++) sums[row[i]] = one[i];
        break;
    case 4:
        slice_with_four(s, x->value, four);
        for (int i = 0; i < LANES; i++) _mm_storeu_ps(sums + 4 * row[i], four[i]);
        break;
    case 8: slice_by_groups(s, 1, x->value, row, sums); break;
    case 16: slice_by_groups(s, 2, x->value, row, sums); break;
    case 24: slice_by_groups(s, 3, x->value, row, sums); break;
    default: slice_by_groups(s, 4, x->value, row, sums); break;
    }
}

void az_csl_avx2(const az_csl_strip *strip, const az_sparse_input *x, float *sums)
{
    for (int64_t i = 0; i < strip->slices; i++) {
        const steps s = {.word = strip->words + LANES * (int64_t)strip->offsets[i],
                         .end = strip->words + LANES * (int64_t)strip->offsets[i + 1],
                         .type = strip->type};
        const uint8_t *row = strip->order + LANES * i;
        s.type == AZ_BF16 ? slice((steps){s.word, s.end, AZ_BF16}, x, row, sums) : slice((steps){s.word, s.end, AZ_F16}, x, row, sums);
    }
}
