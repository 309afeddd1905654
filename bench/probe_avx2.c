/* probe_avx2.c - the processor's limits with AVX2 and FMA. */
#include "probe.h"

#include <immintrin.h>

enum { SUMS = 12 }; /* enough to cover the latency of two units, few enough for the registers */

static inline __attribute__((always_inline)) __m256i read_streams(const char *data, int64_t bytes, int streams, int64_t ahead)
{
    const int64_t each = bytes / streams;
    __m256i sum[4] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256()};
    for (int64_t i = 0; i < each; i += PROBE_LINE)
        for (int s = 0; s < streams; s++) {
            const char *at = data + s * each + i;
            if (ahead > 0)
                for (int line = 0; line < PROBE_LINE; line += 64) _mm_prefetch(at + ahead + line, _MM_HINT_T0);
            for (int k = 0; k < PROBE_LINE / 32; k++) sum[k] = _mm256_add_epi64(sum[k], _mm256_loadu_si256((const __m256i *)(at + 32 * k)));
        }
    return _mm256_add_epi64(_mm256_add_epi64(sum[0], sum[1]), _mm256_add_epi64(sum[2], sum[3]));
}

uint64_t probe_read_avx2(const char *data, int64_t bytes, read_pattern pattern)
{
    __m256i sum;
    switch (pattern.streams) {
    case 1: sum = read_streams(data, bytes, 1, pattern.ahead); break;
    case 2: sum = read_streams(data, bytes, 2, pattern.ahead); break;
    case 4: sum = read_streams(data, bytes, 4, pattern.ahead); break;
    default: sum = read_streams(data, bytes, pattern.streams, pattern.ahead); break;
    }
    uint64_t lane[4];
    _mm256_storeu_si256((__m256i *)lane, sum);
    return lane[0] + lane[1] + lane[2] + lane[3];
}

static double multiply_add_f32(int64_t steps, float *result)
{
    __m256 sum[SUMS], x = _mm256_set1_ps(0.999f), y = _mm256_set1_ps(0.001f);
    for (int i = 0; i < SUMS; i++) sum[i] = _mm256_set1_ps((float)i);
    for (int64_t s = 0; s < steps; s++)
        for (int i = 0; i < SUMS; i++) sum[i] = _mm256_fmadd_ps(sum[i], x, y);
    for (int i = 1; i < SUMS; i++) sum[0] = _mm256_add_ps(sum[0], sum[i]);
    *result = _mm256_cvtss_f32(sum[0]);
    return (double)steps * SUMS * 8;
}

/* The compiler must not see that the operand stays the same, or it would multiply once. */
static double multiply_add_int8(int64_t steps, int32_t *result)
{
    enum { BYTE_SUMS = 8 };
    __m256i sum[BYTE_SUMS], x = _mm256_set1_epi8(3), y = _mm256_set1_epi8(1);
    for (int i = 0; i < BYTE_SUMS; i++) sum[i] = _mm256_setzero_si256();
    for (int64_t s = 0; s < steps; s++)
        for (int i = 0; i < BYTE_SUMS; i++) {
            __asm__ volatile("" : "+x"(x));
            sum[i] = _mm256_add_epi16(sum[i], _mm256_maddubs_epi16(x, y));
        }
    for (int i = 1; i < BYTE_SUMS; i++) sum[0] = _mm256_add_epi16(sum[0], sum[i]);
    *result = _mm256_extract_epi32(sum[0], 0);
    return (double)steps * BYTE_SUMS * 32;
}

const bench_probe probe_avx2 = {
    .name = "avx2",
    .read = probe_read_avx2,
    .multiply_add_f32 = multiply_add_f32,
    .multiply_add_int8 = multiply_add_int8,
};
