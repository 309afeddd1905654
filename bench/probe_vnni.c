/* probe_vnni.c - the processor's limits with AVX-512 and VNNI; memory gives no more by wider reads. */
#include "probe.h"

#include <immintrin.h>

enum { SUMS = 12 }; /* enough to cover the latency of two units */

static double multiply_add_f32(int64_t steps, float *result)
{
    __m512 sum[SUMS], x = _mm512_set1_ps(0.999f), y = _mm512_set1_ps(0.001f);
    for (int i = 0; i < SUMS; i++) sum[i] = _mm512_set1_ps((float)i);
    for (int64_t s = 0; s < steps; s++)
#pragma GCC unroll 12
        for (int i = 0; i < SUMS; i++) sum[i] = _mm512_fmadd_ps(sum[i], x, y);
    for (int i = 1; i < SUMS; i++) sum[0] = _mm512_add_ps(sum[0], sum[i]);
    *result = _mm512_cvtss_f32(sum[0]);
    return (double)steps * SUMS * 16;
}

static double multiply_add_int8(int64_t steps, int32_t *result)
{
    __m512i sum[SUMS], x = _mm512_set1_epi8(3), y = _mm512_set1_epi8(1);
    for (int i = 0; i < SUMS; i++) sum[i] = _mm512_setzero_si512();
    for (int64_t s = 0; s < steps; s++)
#pragma GCC unroll 12
        for (int i = 0; i < SUMS; i++) sum[i] = _mm512_dpbusd_epi32(sum[i], x, y);
    for (int i = 1; i < SUMS; i++) sum[0] = _mm512_add_epi32(sum[0], sum[i]);
    *result = _mm_cvtsi128_si32(_mm512_castsi512_si128(sum[0]));
    return (double)steps * SUMS * 64;
}

const bench_probe probe_vnni = {
    .name = "avx512, vnni",
    .read = probe_read_avx2,
    .multiply_add_f32 = multiply_add_f32,
    .multiply_add_int8 = multiply_add_int8,
};
