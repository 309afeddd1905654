/* panels_avx2.c - products of packed panels of f32 for AVX2 with FMA: twelve registers of sums, two of weights, one of a vector's value. */
#include "weight/kernels/kernels.h"

#include <immintrin.h>

void az_panel_product_avx2(const float *w, const float *x, int64_t depth, bool add, float *y, int64_t y_stride)
{
    __m256 low[AZ_PANEL_VECTORS], high[AZ_PANEL_VECTORS];
#pragma GCC unroll 6
    for (int j = 0; j < AZ_PANEL_VECTORS; j++) {
        low[j] = high[j] = _mm256_setzero_ps();
        _mm_prefetch((const char *)(y + j * y_stride), _MM_HINT_T0); /* arrives while sums are made */
    }
    for (int64_t c = 0; c < depth; c++, w += AZ_PANEL_ROWS, x += AZ_PANEL_VECTORS) {
        const __m256 w0 = _mm256_loadu_ps(w), w1 = _mm256_loadu_ps(w + 8);
#pragma GCC unroll 6
        for (int j = 0; j < AZ_PANEL_VECTORS; j++) {
            const __m256 xj = _mm256_broadcast_ss(x + j);
            low[j] = _mm256_fmadd_ps(w0, xj, low[j]);
            high[j] = _mm256_fmadd_ps(w1, xj, high[j]);
        }
    }
#pragma GCC unroll 6
    for (int j = 0; j < AZ_PANEL_VECTORS; j++) {
        float *to = y + j * y_stride;
        _mm256_storeu_ps(to, add ? _mm256_add_ps(_mm256_loadu_ps(to), low[j]) : low[j]);
        _mm256_storeu_ps(to + 8, add ? _mm256_add_ps(_mm256_loadu_ps(to + 8), high[j]) : high[j]);
    }
}

/* Eight columns of eight rows, each column 16 values behind the one before. */
static inline void pack_square(const float *rows, int64_t stride, float *to)
{
    __m256 r[8], pair[8];
    for (int i = 0; i < 8; i++) r[i] = _mm256_loadu_ps(rows + i * stride);
    for (int i = 0; i < 8; i += 2) {
        pair[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        pair[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 4; i++) { /* columns i and i + 4 */
        const __m256 *p = pair + i / 2;
        const __m256 first = i % 2 ? _mm256_shuffle_ps(p[0], p[2], 0xee) : _mm256_shuffle_ps(p[0], p[2], 0x44);
        const __m256 last = i % 2 ? _mm256_shuffle_ps(p[4], p[6], 0xee) : _mm256_shuffle_ps(p[4], p[6], 0x44);
        _mm256_storeu_ps(to + i * AZ_PANEL_ROWS, _mm256_permute2f128_ps(first, last, 0x20));
        _mm256_storeu_ps(to + (i + 4) * AZ_PANEL_ROWS, _mm256_permute2f128_ps(first, last, 0x31));
    }
}

void az_pack_panel_avx2(const float *rows, int64_t stride, int64_t depth, float *to)
{
    int64_t c = 0;
    for (; c + 8 <= depth; c += 8)
        for (int half = 0; half < AZ_PANEL_ROWS; half += 8) pack_square(rows + half * stride + c, stride, to + c * AZ_PANEL_ROWS + half);
    for (; c < depth; c++)
        for (int r = 0; r < AZ_PANEL_ROWS; r++) to[c * AZ_PANEL_ROWS + r] = rows[r * stride + c];
}
