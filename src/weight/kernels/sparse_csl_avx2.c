/* sparse_csl_avx2.c - products with tiles of words: half a tile is scattered into a dense one that the first cache holds, for few vectors;
 * for more, its rows are taken apart into values and columns. */
#include "weight/kernels/sparse.h"

#include <immintrin.h>
#include <string.h>

enum { AHEAD = 128, LANES = 8, VECTORS = AZ_TILE / LANES }; /* words of prefetch; registers of a column of half a tile */

/* Four values. */
static inline __m128 values_of(az_dtype type, __m128i words)
{
    if (type == AZ_BF16) return _mm_castsi128_ps(_mm_slli_epi32(words, 16));
    return _mm_cvtph_ps(_mm_packus_epi32(_mm_and_si128(words, _mm_set1_epi32(0xffff)), _mm_setzero_si128()));
}

/* ---- dense ---- */

/* Scatters the words of rows first .. first + 63 to tile [column][row]; returns where the next rows begin. A group of four words may reach
 * over the last of these rows: then it is read again for the next ones. */
static inline const uint32_t *scatter(az_dtype type, const uint32_t *word, const uint32_t *end, uint32_t first, float *tile)
{
    for (; word < end; word += 4) {
        float value[4];
        _mm_prefetch((const char *)(word + AHEAD), _MM_HINT_T0);
        _mm_storeu_ps(value, values_of(type, _mm_loadu_si128((const __m128i *)word)));
        for (int i = 0; i < 4; i++) {
            const uint32_t row = (word[i] >> 22) - first, column = word[i] >> 16 & 63;
            if (row < AZ_TILE) tile[column * AZ_TILE + row] = value[i];
        }
        if ((word[3] >> 22) - first >= AZ_TILE) break;
    }
    return word;
}

/* sum [64] += tile [column][row] times x [64] */
static inline void add_tile(const float *tile, const float *x, float *sum)
{
    __m256 total[VECTORS];
    for (int v = 0; v < VECTORS; v++) total[v] = _mm256_loadu_ps(sum + LANES * v);
    for (int c = 0; c < AZ_TILE; c++, tile += AZ_TILE) {
        const __m256 scale = _mm256_broadcast_ss(x + c);
        for (int v = 0; v < VECTORS; v++) total[v] = _mm256_fmadd_ps(scale, _mm256_load_ps(tile + LANES * v), total[v]);
    }
    for (int v = 0; v < VECTORS; v++) _mm256_storeu_ps(sum + LANES * v, total[v]);
}

static inline __attribute__((always_inline)) void dense(az_dtype type, const az_csl_strip *strip, const az_sparse_input *x, float *sums)
{
    _Alignas(32) float tile[AZ_TILE * AZ_TILE];
    memset(sums, 0, (size_t)(x->n * AZ_CSL_ROWS) * sizeof *sums);
    for (int64_t t = 0; t < strip->tiles; t++) {
        const uint32_t *word = az_csl_tile(strip, t), *end = az_csl_tile(strip, t + 1);
        for (uint32_t first = 0; first < AZ_CSL_ROWS; first += AZ_TILE) {
            memset(tile, 0, sizeof tile);
            word = scatter(type, word, end, first, tile);
            for (int64_t j = 0; j < x->n; j++) add_tile(tile, x->value + j * x->stride + t * AZ_TILE, sums + j * AZ_CSL_ROWS + first);
        }
    }
}

void az_csl_dense_avx2(const az_csl_strip *strip, const az_sparse_input *x, float *sums)
{
    strip->type == AZ_BF16 ? dense(AZ_BF16, strip, x, sums) : dense(AZ_F16, strip, x, sums);
}

/* ---- sparse: n groups of eight vectors ---- */

/* A tile taken apart: its words are few enough for a stack. */
typedef struct pieces {
    float value[AZ_CSL_ROWS * AZ_TILE];
    uint8_t column[AZ_CSL_ROWS * AZ_TILE];
    uint16_t end[AZ_CSL_ROWS]; /* words up to the last one of each row; 0 where a row has none */
} pieces;

static inline void take_apart(az_dtype type, const uint32_t *word, const uint32_t *end, pieces *p)
{
    const __m128i third_bytes = _mm_setr_epi8(2, 6, 10, 14, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    memset(p->end, 0, sizeof p->end);
    for (int64_t at = 0; word < end; word += 4, at += 4) {
        const __m128i words = _mm_loadu_si128((const __m128i *)word);
        _mm_prefetch((const char *)(word + AHEAD), _MM_HINT_T0);
        _mm_storeu_ps(p->value + at, values_of(type, words));
        _mm_storeu_si32(p->column + at, _mm_and_si128(_mm_shuffle_epi8(words, third_bytes), _mm_set1_epi8(63)));
        for (int i = 0; i < 4; i++) p->end[word[i] >> 22] = (uint16_t)(at + i + 1);
    }
}

/* sum [n][8] += the products of a row, two values at a time. */
static inline __attribute__((always_inline)) void add_row(int n, int count, const float *value, const uint8_t *column, const float *x,
                                                          float *sum)
{
    __m256 total[2][AZ_SPARSE_GROUPS];
    for (int g = 0; g < n; g++) total[0][g] = _mm256_loadu_ps(sum + LANES * g), total[1][g] = _mm256_setzero_ps();
    int i = 0;
    for (; i + 2 <= count; i += 2)
        for (int k = 0; k < 2; k++) {
            const float *row = x + (int64_t)column[i + k] * LANES * n;
            const __m256 w = _mm256_broadcast_ss(value + i + k);
            for (int g = 0; g < n; g++) total[k][g] = _mm256_fmadd_ps(w, _mm256_loadu_ps(row + LANES * g), total[k][g]);
        }
    if (i < count) {
        const __m256 w = _mm256_broadcast_ss(value + i);
        for (int g = 0; g < n; g++)
            total[0][g] = _mm256_fmadd_ps(w, _mm256_loadu_ps(x + (int64_t)column[i] * LANES * n + LANES * g), total[0][g]);
    }
    for (int g = 0; g < n; g++) _mm256_storeu_ps(sum + LANES * g, _mm256_add_ps(total[0][g], total[1][g]));
}

static inline __attribute__((always_inline)) void sparse(int n, const az_csl_strip *strip, const float *x, float *sums)
{
    pieces p;
    memset(sums, 0, (size_t)(AZ_CSL_ROWS * LANES * n) * sizeof *sums);
    for (int64_t t = 0; t < strip->tiles; t++, x += AZ_TILE * LANES * n) {
        const uint32_t *word = az_csl_tile(strip, t), *end = az_csl_tile(strip, t + 1);
        strip->type == AZ_BF16 ? take_apart(AZ_BF16, word, end, &p) : take_apart(AZ_F16, word, end, &p);
        for (int r = 0, at = 0; r < AZ_CSL_ROWS; r++) {
            if (p.end[r] <= at) continue;
            add_row(n, p.end[r] - at, p.value + at, p.column + at, x, sums + r * LANES * n);
            at = p.end[r];
        }
    }
}

void az_csl_sparse_avx2(const az_csl_strip *strip, const az_sparse_input *x, float *sums)
{
    switch (x->n) {
    case 1: sparse(1, strip, x->value, sums); break;
    case 2: sparse(2, strip, x->value, sums); break;
    case 3: sparse(3, strip, x->value, sums); break;
    default: sparse(4, strip, x->value, sums); break;
    }
}
