/* sparse_bitmap_avx2.c - products with bitmap tiles: eight columns at a time are spread to their places for few vectors; for more, the bits
 * of a row name the rows of activations that its values multiply. */
#include "weight/kernels/expand.h"
#include "weight/kernels/lanes_avx2.h"
#include "weight/kernels/places.h"
#include "weight/kernels/sparse.h"

#include <immintrin.h>
#include <string.h>

enum { AHEAD = 8192, LANES = 8 }; /* bytes of prefetch */

static inline int64_t size_of(az_dtype type)
{
    return type == AZ_F32 ? 4 : 2;
}

/* Eight values. */
static inline __m256 widen(az_dtype type, const void *value)
{
    if (type == AZ_F32) return _mm256_loadu_ps(value);
    const __m128i half = _mm_loadu_si128(value);
    if (type == AZ_F16) return _mm256_cvtph_ps(half);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}

/* The weights of the eight columns of a mask, whose values begin at `value`. */
static inline __m256 spread(az_dtype type, const void *value, uint64_t mask)
{
    if (type == AZ_F32) {
        const __m256i bytes = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)az_expand[mask])),
                      dropped = _mm256_slli_epi32(bytes, 16);
        const __m256 all = _mm256_permutevar8x32_ps(_mm256_loadu_ps(value), _mm256_srli_epi32(bytes, 1));
        return _mm256_blendv_ps(all, _mm256_setzero_ps(), _mm256_castsi256_ps(dropped));
    }
    if (type == AZ_F16) return _mm256_cvtph_ps(_mm_shuffle_epi8(_mm_loadu_si128(value), _mm_loadu_si128((const __m128i *)az_expand[mask])));
    const __m256i both = _mm256_broadcastsi128_si256(_mm_loadu_si128(value)),
                  place = _mm256_loadu_si256((const __m256i *)az_upper_places[mask]);
    return _mm256_castsi256_ps(_mm256_shuffle_epi8(both, place));
}

/* Where the values behind those of a mask begin. */
static inline const char *behind(az_dtype type, const char *value, uint64_t mask)
{
    const uint64_t count = (uint64_t)_mm_popcnt_u64(mask);
    if (type == AZ_F32) return (const char *)((const float *)value + count);
    return (const char *)((const uint16_t *)value + count);
}

/* ---- dense ---- */

/* What is multiplied together, constants where this is inlined. Rows beside each other are independent work. */
typedef struct reading {
    az_dtype type;
    int rows, n; /* rows, at most 2; vectors */
} reading;

/* Sums of the lanes of columns that are eight apart. */
typedef float lane_sums[AZ_TILE][AZ_SPARSE_FEW][LANES];

/* Some rows of a tile, from row r on; returns where the next ones' values begin. */
static inline __attribute__((always_inline)) const char *add_rows(reading how, const uint8_t *mask, const char *value, const float *columns,
                                                                  int64_t stride, int r, lane_sums lanes)
{
    const char *at[2] = {value, value};
    __m256 sum[2][AZ_SPARSE_FEW];
    for (int i = 0; i < how.rows; i++) {
        uint64_t bits;
        memcpy(&bits, mask + 8 * i, sizeof bits);
        at[i] = value;
        value = behind(how.type, value, bits);
        for (int j = 0; j < how.n; j++) sum[i][j] = _mm256_load_ps(lanes[r + i][j]);
    }
    _mm_prefetch(value + AHEAD, _MM_HINT_T0);
    if (r % AZ_MASKS == 0) _mm_prefetch((const char *)mask + AHEAD, _MM_HINT_T0);
    for (int b = 0; b < 8; b++)
        for (int i = 0; i < how.rows; i++) {
            const uint64_t here = mask[8 * i + b];
            const __m256 w = spread(how.type, at[i], here);
            at[i] = behind(how.type, at[i], here);
            for (int j = 0; j < how.n; j++) sum[i][j] = _mm256_fmadd_ps(w, _mm256_loadu_ps(columns + j * stride + 8 * b), sum[i][j]);
        }
    for (int i = 0; i < how.rows; i++)
        for (int j = 0; j < how.n; j++) _mm256_store_ps(lanes[r + i][j], sum[i][j]);
    return value;
}

static inline __attribute__((always_inline)) void dense(reading how, const az_bitmap_strip *strip, const az_sparse_input *x, float *sums)
{
    _Alignas(32) lane_sums lanes;
    for (int r = 0; r < AZ_TILE; r++)
        for (int j = 0; j < how.n; j++) _mm256_store_ps(lanes[r][j], _mm256_setzero_ps());
    const char *value = strip->value;
    const uint8_t *mask = strip->mask;
    for (int64_t t = 0; t < strip->tiles; t++)
        for (int r = 0; r < AZ_TILE; r += how.rows, mask += 8 * how.rows)
            value = add_rows(how, mask, value, x->value + t * AZ_TILE, x->stride, r, lanes);
    for (int r = 0; r < AZ_TILE; r++)
        for (int j = 0; j < how.n; j++) sums[j * AZ_TILE + r] = az_sum_lanes(_mm256_load_ps(lanes[r][j]));
}

static inline __attribute__((always_inline)) void dense_of(az_dtype type, const az_bitmap_strip *strip, const az_sparse_input *x,
                                                           float *sums)
{
    const int rows = type == AZ_F32 ? 1 : 2; /* spreading f32 takes more registers */
    switch (x->n) {
    case 1: dense((reading){type, rows, 1}, strip, x, sums); break;
    case 2: dense((reading){type, rows, 2}, strip, x, sums); break;
    case 3: dense((reading){type, 1, 3}, strip, x, sums); break;
    default: dense((reading){type, 1, 4}, strip, x, sums); break;
    }
}

static void bitmap_dense(const az_bitmap_strip *strip, const az_sparse_input *x, float *sums)
{
    if (strip->type == AZ_F32)
        dense_of(AZ_F32, strip, x, sums);
    else if (strip->type == AZ_F16)
        dense_of(AZ_F16, strip, x, sums);
    else
        dense_of(AZ_BF16, strip, x, sums);
}

/* ---- sparse: n groups of eight vectors ---- */

/* sum [n][8] += the products of a row of a tile with the rows of x [64, 8 n] that its bits name. Values are taken `ways` at a time, into
 * sums of their own; behind the last one stand zeros, which meet the last row of x. */
static inline __attribute__((always_inline)) void add_row(int n, uint64_t bits, const float *value, const float *x, float *sum)
{
    enum { WAYS = 4 };
    const int ways = n <= 2 ? WAYS : 2;
    __m256 total[WAYS][AZ_SPARSE_GROUPS];
    for (int k = 0; k < ways; k++)
        for (int g = 0; g < n; g++) total[k][g] = k == 0 ? _mm256_loadu_ps(sum + LANES * g) : _mm256_setzero_ps();
    for (; bits; value += ways)
        for (int k = 0; k < ways; k++) {
            const float *row = x + (int64_t)__builtin_ctzll(bits | 1ull << 63) * LANES * n;
            bits &= bits - 1;
            const __m256 w = _mm256_broadcast_ss(value + k);
            for (int g = 0; g < n; g++) total[k][g] = _mm256_fmadd_ps(w, _mm256_loadu_ps(row + LANES * g), total[k][g]);
        }
    for (int g = 0; g < n; g++) {
        __m256 all = _mm256_add_ps(total[0][g], total[1][g]);
        if (ways == 4) all = _mm256_add_ps(all, _mm256_add_ps(total[2][g], total[3][g]));
        _mm256_storeu_ps(sum + LANES * g, all);
    }
}

static inline __attribute__((always_inline)) void sparse(az_dtype type, int n, const az_bitmap_strip *strip, const float *x, float *sums)
{
    memset(sums, 0, (size_t)(AZ_TILE * LANES * n) * sizeof *sums);
    const char *value = strip->value;
    const uint8_t *mask = strip->mask;
    for (int64_t t = 0; t < strip->tiles; t++, x += AZ_TILE * LANES * n)
        for (int r = 0; r < AZ_TILE; r++, mask += 8) {
            uint64_t bits;
            float wide[AZ_TILE + LANES];
            memcpy(&bits, mask, sizeof bits);
            const int64_t count = __builtin_popcountll(bits);
            _mm_prefetch(value + AHEAD, _MM_HINT_T0);
            if (r % AZ_MASKS == 0) _mm_prefetch((const char *)mask + AHEAD, _MM_HINT_T0);
            for (int64_t i = 0; i < count; i += LANES) _mm256_storeu_ps(wide + i, widen(type, value + i * size_of(type)));
            _mm256_storeu_ps(wide + count, _mm256_setzero_ps());
            value += count * size_of(type);
            add_row(n, bits, wide, x, sums + r * LANES * n);
        }
}

static inline __attribute__((always_inline)) void sparse_of(az_dtype type, const az_bitmap_strip *strip, const az_sparse_input *x,
                                                            float *sums)
{
    switch (x->n) {
    case 1: sparse(type, 1, strip, x->value, sums); break;
    case 2: sparse(type, 2, strip, x->value, sums); break;
    case 3: sparse(type, 3, strip, x->value, sums); break;
    default: sparse(type, 4, strip, x->value, sums); break;
    }
}

void az_bitmap_sparse_avx2(const az_bitmap_strip *strip, const az_sparse_input *x, float *sums)
{
    if (strip->type == AZ_F32)
        sparse_of(AZ_F32, strip, x, sums);
    else if (strip->type == AZ_F16)
        sparse_of(AZ_F16, strip, x, sums);
    else
        sparse_of(AZ_BF16, strip, x, sums);
}

const az_sparse_kernels az_sparse_kernels_avx2 = {
    .bitmap_dense = bitmap_dense,
    .bitmap_sparse = az_bitmap_sparse_avx2,
    .csl = az_csl_avx2,
    .bitmap_costs = {.expand = 0.055, .vector = 0.023, .visit_kept = 1.55, .visit_groups = 0.25},
};
