/* panels_avx2.c - products of q8_0 and q4_0 with many vectors of activations, in integers, for AVX2.
 *
 * A panel holds 16 rows, transposed so that a register has the next few columns of 8 rows: two 16-bit values each for q8_0, four bytes
 * for q4_0. A step multiplies it with the same columns of one vector, broadcast. Within a block of 32 columns sums are exact integers:
 * 32 bits for q8_0; 16 bits for q4_0, whose 8 steps add at most 8 * 2 * 15 * 127 = 30480. */
#include "weight/kernels/kernels.h"
#include "weight/weight_internal.h"

#include <immintrin.h>
#include <string.h>

enum { ROWS = AZ_PANEL_ROWS, VECTORS = AZ_PANEL_VECTORS, REGISTER = 32 /* bytes */ };

/* Dwords (i, j) of eight registers to (j, i). */
static inline void transpose_dwords(__m256i v[8])
{
    __m256i pair[8], four[8];
    for (int i = 0; i < 8; i += 2) {
        pair[i] = _mm256_unpacklo_epi32(v[i], v[i + 1]);
        pair[i + 1] = _mm256_unpackhi_epi32(v[i], v[i + 1]);
    }
    for (int i = 0; i < 8; i += 4)
        for (int k = 0; k < 2; k++) {
            four[i + 2 * k] = _mm256_unpacklo_epi64(pair[i + k], pair[i + k + 2]);
            four[i + 2 * k + 1] = _mm256_unpackhi_epi64(pair[i + k], pair[i + k + 2]);
        }
    for (int i = 0; i < 4; i++) {
        v[i] = _mm256_permute2x128_si256(four[i], four[i + 4], 0x20);
        v[i + 4] = _mm256_permute2x128_si256(four[i], four[i + 4], 0x31);
    }
}

/* Transposes eight rows' pieces into every second register from `to` on. */
static inline void store_transposed(__m256i v[8], char *to)
{
    transpose_dwords(v);
    for (int k = 0; k < 8; k++) _mm256_store_si256((__m256i *)(to + (int64_t)k * 2 * REGISTER), v[k]);
}

static inline float scale_of(const unsigned char *block)
{
    uint16_t half;
    memcpy(&half, block, sizeof half);
    return _cvtsh_ss(half);
}

static void pack_rows_q8_0(const unsigned char *rows, int64_t count, int64_t cols, void *panel, float *scale)
{
    const int64_t blocks = cols / AZ_BLOCK, row_bytes = blocks * AZ_Q8_0_BYTES;
    for (int64_t b = 0; b < blocks; b++)
        for (int half = 0; half < 2; half++)       /* of the panel: 8 rows */
            for (int part = 0; part < 2; part++) { /* of the block: 16 columns */
                __m256i v[8];
                for (int i = 0; i < 8; i++) {
                    const int64_t r = half * 8 + i;
                    const unsigned char *block = rows + r * row_bytes + b * AZ_Q8_0_BYTES;
                    scale[b * ROWS + r] = r < count ? scale_of(block) : 0;
                    v[i] = r < count ? _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(block + 2 + 16 * part)))
                                     : _mm256_setzero_si256();
                }
                store_transposed(v, (char *)panel + ((b * 2 + part) * 16 + half) * REGISTER);
            }
}

static void pack_rows_q4_0(const unsigned char *rows, int64_t count, int64_t cols, void *panel, float *scale)
{
    const int64_t blocks = cols / AZ_BLOCK, row_bytes = blocks * AZ_Q4_0_BYTES;
    for (int64_t b = 0; b < blocks; b++)
        for (int half = 0; half < 2; half++) {
            __m256i v[8];
            for (int i = 0; i < 8; i++) {
                const int64_t r = half * 8 + i;
                const unsigned char *block = rows + r * row_bytes + b * AZ_Q4_0_BYTES;
                scale[b * ROWS + r] = r < count ? scale_of(block) : 0;
                const __m128i packed = r < count ? _mm_loadu_si128((const __m128i *)(block + 2)) : _mm_setzero_si128();
                v[i] = _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(packed, 4), packed), _mm256_set1_epi8(15));
            }
            store_transposed(v, (char *)panel + (b * 16 + half) * REGISTER);
        }
}

/* Scales of a block for VECTORS vectors, then 8 times the sum of the block's values: what the offset of q4_0 contributes. */
static void pack_scales(const az_columns *x, int64_t j0, int64_t b, float scale[2 * VECTORS])
{
    const int64_t blocks = x->cols / AZ_BLOCK;
    for (int64_t v = 0; v < VECTORS; v++) {
        const int64_t at = (j0 + v) * blocks + b;
        int32_t sum = 0;
        for (int i = 0; i < 8 && j0 + v < x->n; i++) sum += x->eights[at * 8 + i];
        scale[v] = j0 + v < x->n ? x->scale[at] : 0;
        scale[VECTORS + v] = scale[v] * (float)sum;
    }
}

static void pack_vectors_q8_0(const az_columns *x, int64_t j0, void *packed, float *scale)
{
    int16_t *to = packed; /* [cols / 2][VECTORS][2] */
    for (int64_t k = 0; k < x->cols; k += 2)
        for (int64_t v = 0; v < VECTORS; v++)
            for (int i = 0; i < 2; i++) *to++ = j0 + v < x->n ? x->q[(j0 + v) * x->cols + k + i] : 0;
    for (int64_t b = 0; b < x->cols / AZ_BLOCK; b++) pack_scales(x, j0, b, scale + b * 2 * VECTORS);
}

static void pack_vectors_q4_0(const az_columns *x, int64_t j0, void *packed, float *scale)
{
    char *to = packed; /* [cols / 4][VECTORS][4] */
    for (int64_t k = 0; k < x->cols; k += 4)
        for (int64_t v = 0; v < VECTORS; v++, to += 4)
            if (j0 + v < x->n)
                memcpy(to, x->q + (j0 + v) * x->cols + k, 4);
            else
                memset(to, 0, 4);
    for (int64_t b = 0; b < x->cols / AZ_BLOCK; b++) pack_scales(x, j0, b, scale + b * 2 * VECTORS);
}

static inline __m256i broadcast_dword(const void *from)
{
    int32_t value;
    memcpy(&value, from, sizeof value);
    return _mm256_set1_epi32(value);
}

/* y += scale of the rows * block */
static inline void add_block(float *y, const float *row_scale, __m256 block)
{
    _mm256_storeu_ps(y, _mm256_fmadd_ps(_mm256_loadu_ps(row_scale), block, _mm256_loadu_ps(y)));
}

static void multiply_q8_0(int64_t blocks, const void *panel, const float *row_scale, const void *packed, const float *scale, float *y)
{
    const char *w = panel, *x = packed;
    for (int i = 0; i < VECTORS * ROWS; i++) y[i] = 0;
    for (int64_t b = 0; b < blocks; b++, row_scale += ROWS, scale += 2 * VECTORS) {
        __m256i sum[VECTORS][2];
        for (int v = 0; v < VECTORS; v++) sum[v][0] = sum[v][1] = _mm256_setzero_si256();
#pragma GCC unroll 4
        for (int step = 0; step < 16; step++, w += 2 * REGISTER, x += 4 * VECTORS) {
            const __m256i low = _mm256_load_si256((const __m256i *)w), high = _mm256_load_si256((const __m256i *)(w + REGISTER));
            for (int v = 0; v < VECTORS; v++) {
                const __m256i two = broadcast_dword(x + 4 * v);
                sum[v][0] = _mm256_add_epi32(sum[v][0], _mm256_madd_epi16(low, two));
                sum[v][1] = _mm256_add_epi32(sum[v][1], _mm256_madd_epi16(high, two));
            }
        }
        for (int v = 0; v < VECTORS; v++)
            for (int half = 0; half < 2; half++)
                add_block(y + v * ROWS + 8 * half, row_scale + 8 * half,
                          _mm256_mul_ps(_mm256_broadcast_ss(scale + v), _mm256_cvtepi32_ps(sum[v][half])));
    }
}

static void multiply_q4_0(int64_t blocks, const void *panel, const float *row_scale, const void *packed, const float *scale, float *y)
{
    const char *w = panel, *x = packed;
    for (int i = 0; i < VECTORS * ROWS; i++) y[i] = 0;
    for (int64_t b = 0; b < blocks; b++, row_scale += ROWS, scale += 2 * VECTORS) {
        __m256i sum[VECTORS][2];
        for (int v = 0; v < VECTORS; v++) sum[v][0] = sum[v][1] = _mm256_setzero_si256();
#pragma GCC unroll 2
        for (int step = 0; step < 8; step++, w += 2 * REGISTER, x += 4 * VECTORS) {
            const __m256i low = _mm256_load_si256((const __m256i *)w), high = _mm256_load_si256((const __m256i *)(w + REGISTER));
            for (int v = 0; v < VECTORS; v++) {
                const __m256i four = broadcast_dword(x + 4 * v);
                sum[v][0] = _mm256_add_epi16(sum[v][0], _mm256_maddubs_epi16(low, four));
                sum[v][1] = _mm256_add_epi16(sum[v][1], _mm256_maddubs_epi16(high, four));
            }
        }
        for (int v = 0; v < VECTORS; v++)
            for (int half = 0; half < 2; half++) {
                const __m256 products = _mm256_cvtepi32_ps(_mm256_madd_epi16(sum[v][half], _mm256_set1_epi16(1)));
                add_block(y + v * ROWS + 8 * half, row_scale + 8 * half,
                          _mm256_fmsub_ps(products, _mm256_broadcast_ss(scale + v), _mm256_broadcast_ss(scale + VECTORS + v)));
            }
    }
}

const az_panel_kernel az_panel_q8_0_avx2 = {
    .value_bytes = 2,
    .pack_rows = pack_rows_q8_0,
    .pack_vectors = pack_vectors_q8_0,
    .multiply = multiply_q8_0,
};

const az_panel_kernel az_panel_q4_0_avx2 = {
    .value_bytes = 1,
    .pack_rows = pack_rows_q4_0,
    .pack_vectors = pack_vectors_q4_0,
    .multiply = multiply_q4_0,
};
