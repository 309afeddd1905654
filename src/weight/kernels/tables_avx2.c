/* tables_avx2.c - sums of table entries for AVX2: eight outputs at a time, gathered from four tables in a row. */
#include "weight/kernels/kernels.h"

#include <immintrin.h>

enum { TABLE = 256, TOGETHER = 4, LANES = 8 };

static inline __m256 gather(const float *table, const uint8_t *codes)
{
    const __m256i index = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)codes));
    return _mm256_i32gather_ps(table, index, 4);
}

void az_look_up_avx2(const float *table, int64_t tables, const uint8_t *codes, int64_t stride, int64_t count, float *y)
{
    const int64_t whole = count / LANES * LANES;
    for (int64_t o = 0; o < whole; o += LANES) _mm256_storeu_ps(y + o, _mm256_setzero_ps());
    for (int64_t o = whole; o < count; o++) y[o] = 0;
    for (int64_t t = 0; t < tables; t += TOGETHER) {
        const int64_t n = tables - t < TOGETHER ? tables - t : TOGETHER;
        for (int64_t o = 0; o < whole; o += LANES) {
            __m256 sum = _mm256_loadu_ps(y + o);
            for (int64_t k = 0; k < n; k++) sum = _mm256_add_ps(sum, gather(table + k * TABLE, codes + k * stride + o));
            _mm256_storeu_ps(y + o, sum);
        }
        for (int64_t o = whole; o < count; o++)
            for (int64_t k = 0; k < n; k++) y[o] += table[k * TABLE + codes[k * stride + o]];
        table += n * TABLE;
        codes += n * stride;
    }
}
