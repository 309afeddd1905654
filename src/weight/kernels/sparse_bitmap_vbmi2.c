/* sparse_bitmap_vbmi2.c - products of few vectors with bitmap tiles for AVX-512 with VBMI2: one instruction spreads the values of 32
 * columns to their places. The activations of a tile stay in registers while its 64 rows pass. */
#include "weight/kernels/sparse.h"

#include <immintrin.h>
#include <string.h>

enum { AHEAD = 8192, LANES = 16, PARTS = AZ_TILE / LANES }; /* bytes of prefetch */

/* The 64 weights of a row in the order of the parts below; returns where the next row's values begin. Loads touch kept values alone. */
static inline __attribute__((always_inline)) const char *spread_row(az_dtype type, const char *value, uint64_t bits, __m512 *w)
{
    if (type == AZ_F32) {
        for (int k = 0; k < PARTS; k++, bits >>= LANES) {
            w[k] = _mm512_maskz_expandloadu_ps((__mmask16)bits, value);
            value += 4 * _mm_popcnt_u32((uint16_t)bits);
        }
        return value;
    }
    for (int k = 0; k < PARTS; k += 2, bits >>= 32) {
        const __m512i half = _mm512_maskz_expandloadu_epi16((__mmask32)bits, value);
        value += 2 * _mm_popcnt_u32((uint32_t)bits);
        if (type == AZ_F16) {
            w[k] = _mm512_cvtph_ps(_mm512_castsi512_si256(half));
            w[k + 1] = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(half, 1));
        } else {
            w[k] = _mm512_castsi512_ps(_mm512_slli_epi32(half, 16));
            w[k + 1] = _mm512_castsi512_ps(_mm512_and_si512(half, _mm512_set1_epi32((int)0xffff0000)));
        }
    }
    return value;
}

/* The 64 activations in the order of spread_row: part k holds columns 16 k on, for bf16 the even and then the odd ones of 32. */
static inline __attribute__((always_inline)) void order_columns(az_dtype type, const float *x, __m512 *part)
{
    for (int k = 0; k < PARTS; k++) part[k] = _mm512_loadu_ps(x + LANES * k);
    if (type != AZ_BF16) return;
    const __m512i even = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    for (int k = 0; k < PARTS; k += 2) {
        const __m512 low = part[k], high = part[k + 1];
        part[k] = _mm512_permutex2var_ps(low, even, high);
        part[k + 1] = _mm512_permutex2var_ps(low, odd, high);
    }
}

static inline __attribute__((always_inline)) void dense(az_dtype type, int n, const az_bitmap_strip *strip, const az_sparse_input *x,
                                                        float *sums)
{
    _Alignas(64) float lanes[AZ_TILE][AZ_SPARSE_FEW][LANES]; /* sums of columns that are as far apart as the parts are long */
    for (int r = 0; r < AZ_TILE; r++)
        for (int j = 0; j < n; j++) _mm512_store_ps(lanes[r][j], _mm512_setzero_ps());
    const char *value = strip->value;
    const uint8_t *mask = strip->mask;
    for (int64_t t = 0; t < strip->tiles; t++) {
        __m512 part[AZ_SPARSE_FEW][PARTS];
        for (int j = 0; j < n; j++) order_columns(type, x->value + j * x->stride + t * AZ_TILE, part[j]);
        for (int r = 0; r < AZ_TILE; r++, mask += 8) {
            uint64_t bits;
            __m512 w[PARTS];
            memcpy(&bits, mask, sizeof bits);
            _mm_prefetch(value + AHEAD, _MM_HINT_T0);
            if (r % AZ_MASKS == 0) _mm_prefetch((const char *)mask + AHEAD, _MM_HINT_T0);
            value = spread_row(type, value, bits, w);
            for (int j = 0; j < n; j++) {
                __m512 sum = _mm512_load_ps(lanes[r][j]);
                for (int k = 0; k < PARTS; k++) sum = _mm512_fmadd_ps(w[k], part[j][k], sum);
                _mm512_store_ps(lanes[r][j], sum);
            }
        }
    }
    for (int r = 0; r < AZ_TILE; r++)
        for (int j = 0; j < n; j++) sums[j * AZ_TILE + r] = _mm512_reduce_add_ps(_mm512_load_ps(lanes[r][j]));
}

static inline __attribute__((always_inline)) void dense_of(az_dtype type, const az_bitmap_strip *strip, const az_sparse_input *x,
                                                           float *sums)
{
    switch (x->n) {
    case 1: dense(type, 1, strip, x, sums); break;
    case 2: dense(type, 2, strip, x, sums); break;
    case 3: dense(type, 3, strip, x, sums); break;
    default: dense(type, 4, strip, x, sums); break;
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

const az_sparse_kernels az_sparse_kernels_vbmi2 = {
    .bitmap_dense = bitmap_dense,
    .bitmap_sparse = az_bitmap_sparse_avx2,
    .csl = az_csl_avx2,
    .bitmap_costs = {.expand = 0.022, .expand_kept = 0.15, .vector = 0.01, .visit_kept = 0.8, .visit_groups = 0.3},
};
