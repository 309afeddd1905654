/* kv.h - rows of a cache between f32 and the forms they are stored in. With F16C, 8 values at a time. */
#include "tensor/half.h"
#include "tensor/kernels/kernels.h"

#ifdef __F16C__
#include <immintrin.h>
enum { AHEAD = 8192 }; /* bytes of prefetch: the rows of a page lie behind each other, then those of the next head */
#endif

static void kv_widen_f16(int64_t n, const uint16_t *from, float *to)
{
    int64_t i = 0;
#ifdef __F16C__
    for (; i + 32 <= n; i += 32) { /* a line of memory */
        _mm_prefetch((const char *)(from + i) + AHEAD, _MM_HINT_T0);
        for (int k = 0; k < 32; k += 8) _mm256_storeu_ps(to + i + k, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(from + i + k))));
    }
    for (; i + 8 <= n; i += 8) _mm256_storeu_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(from + i))));
#endif
    for (; i < n; i++) to[i] = az_f16_widen(from[i]);
}

/* False when a number is not finite or too large. */
static bool kv_round_f16(int64_t n, const float *from, uint16_t *to)
{
    int64_t i = 0;
    unsigned beyond = 0; /* its bit 15 is set once an exponent was all ones */
#ifdef __F16C__
    __m128i all = _mm_setzero_si128();
    for (; i + 8 <= n; i += 8) {
        const __m128i half = _mm256_cvtps_ph(_mm256_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT);
        _mm_storeu_si128((__m128i *)(to + i), half);
        all = _mm_or_si128(all, _mm_add_epi16(_mm_and_si128(half, _mm_set1_epi16(0x7fff)), _mm_set1_epi16(0x400)));
    }
    if (_mm_movemask_epi8(all) & 0xaaaa) beyond = 0x8000; /* what was stored is not read again: it may not have arrived yet */
#endif
    for (; i < n; i++) {
        to[i] = az_f16_round(from[i]);
        beyond |= (to[i] & 0x7fffu) + 0x400u;
    }
    return !(beyond & 0x8000u);
}

/* The scales of a row come first, then its bytes. */
static void kv_widen_q8_0(int64_t n, const unsigned char *row, float *to)
{
    const uint16_t *scale = (const uint16_t *)(const void *)row;
    const int8_t *q = (const int8_t *)(scale + (n + AZ_KV_BLOCK - 1) / AZ_KV_BLOCK);
    for (int64_t first = 0; first < n; first += AZ_KV_BLOCK) {
        const int64_t count = n - first < AZ_KV_BLOCK ? n - first : AZ_KV_BLOCK;
        float d;
        kv_widen_f16(1, scale + first / AZ_KV_BLOCK, &d);
#pragma omp simd
        for (int64_t i = 0; i < count; i++) to[first + i] = d * (float)q[first + i];
    }
}

static bool kv_round_q8_0(int64_t n, const float *from, unsigned char *row)
{
    uint16_t *scale = (uint16_t *)(void *)row;
    int8_t *q = (int8_t *)(scale + (n + AZ_KV_BLOCK - 1) / AZ_KV_BLOCK);
    for (int64_t first = 0; first < n; first += AZ_KV_BLOCK) {
        const int64_t count = n - first < AZ_KV_BLOCK ? n - first : AZ_KV_BLOCK;
        const float *x = from + first;
        float most = 0, poison = 0; /* 0, or NaN when a value is not finite */
#pragma omp simd reduction(max : most) reduction(+ : poison)
        for (int64_t i = 0; i < count; i++) {
            most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
            poison += x[i] * 0;
        }
        float d = most / 127 + poison;
        if (!kv_round_f16(1, &d, scale + first / AZ_KV_BLOCK)) return false;
        kv_widen_f16(1, scale + first / AZ_KV_BLOCK, &d);
        const float inverse = d > 0 ? 1 / d : 0;
#pragma omp simd
        for (int64_t i = 0; i < count; i++) {
            const float steps = rintf(x[i] * inverse);
            q[first + i] = (int8_t)(steps > 127 ? 127 : steps < -127 ? -127 : steps);
        }
    }
    return true;
}
