/* random_avx2.c - normal numbers, four at a time: Philox in the halves of 64-bit lanes, then Box-Muller in double precision with series for
 * the logarithm and the cosine, whose error is below 1e-15. */
#include "base/random_kernels.h"

#include <immintrin.h>

enum { LANES = 4, ROUNDS = 10 };

/* A counter of four words in each lane, in the low halves. */
typedef struct counters {
    __m256i word[4];
} counters;

static inline __m256i low_half(__m256i x)
{
    return _mm256_and_si256(x, _mm256_set1_epi64x(0xFFFFFFFF));
}

static inline __m256i exclusive_or(__m256i a, __m256i b, uint32_t key)
{
    return _mm256_xor_si256(_mm256_xor_si256(a, b), _mm256_set1_epi64x((long long)key));
}

/* As az_philox, for the counters index .. index + 3 of a stream. */
static inline counters philox(uint64_t seed, uint64_t stream, uint64_t index)
{
    const __m256i lane = _mm256_add_epi64(_mm256_set1_epi64x((long long)index), _mm256_set_epi64x(3, 2, 1, 0));
    counters c = {{low_half(lane), _mm256_srli_epi64(lane, 32), _mm256_set1_epi64x((long long)(uint32_t)stream),
                   _mm256_set1_epi64x((long long)(stream >> 32))}};
    uint32_t key0 = (uint32_t)seed, key1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < ROUNDS; round++) {
        const __m256i p0 = _mm256_mul_epu32(c.word[0], _mm256_set1_epi64x(0xD2511F53)),
                      p1 = _mm256_mul_epu32(c.word[2], _mm256_set1_epi64x(0xCD9E8D57));
        c.word[0] = exclusive_or(_mm256_srli_epi64(p1, 32), c.word[1], key0);
        c.word[2] = exclusive_or(_mm256_srli_epi64(p0, 32), c.word[3], key1);
        c.word[1] = low_half(p1);
        c.word[3] = low_half(p0);
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    return c;
}

/* Integers below 2^52 as doubles: they become the mantissa of 2^52 + x. */
static inline __m256d to_double(__m256i x)
{
    const __m256d two52 = _mm256_set1_pd(0x1p52);
    return _mm256_sub_pd(_mm256_castsi256_pd(_mm256_or_si256(x, _mm256_castpd_si256(two52))), two52);
}

/* 53 random bits in [0, 1). */
static inline __m256d unit(__m256i high, __m256i low)
{
    return _mm256_fmadd_pd(to_double(high), _mm256_set1_pd(0x1p-32),
                           _mm256_mul_pd(to_double(_mm256_srli_epi64(low, 11)), _mm256_set1_pd(0x1p-53)));
}

/* coefficient[0] + coefficient[1] x + ... */
static inline __m256d series(__m256d x, const double *coefficient, int n)
{
    __m256d sum = _mm256_set1_pd(coefficient[n - 1]);
    for (int i = n - 2; i >= 0; i--) sum = _mm256_fmadd_pd(sum, x, _mm256_set1_pd(coefficient[i]));
    return sum;
}

/* log x = e log 2 + log m with m from sqrt(1/2) to sqrt(2), and log m = 2 artanh f, f = (m - 1) / (m + 1). */
static inline __m256d logarithm(__m256d x)
{
    static const double artanh[] = {2, 2.0 / 3, 2.0 / 5, 2.0 / 7, 2.0 / 9, 2.0 / 11, 2.0 / 13, 2.0 / 15, 2.0 / 17, 2.0 / 19, 2.0 / 21};
    const __m256i bits = _mm256_castpd_si256(x), mantissa = _mm256_set1_epi64x(0xFFFFFFFFFFFFF);
    const __m256d one = _mm256_set1_pd(1);
    __m256d e = _mm256_sub_pd(to_double(_mm256_srli_epi64(bits, 52)), _mm256_set1_pd(1023));
    __m256d m = _mm256_or_pd(_mm256_castsi256_pd(_mm256_and_si256(bits, mantissa)), one);
    const __m256d large = _mm256_cmp_pd(m, _mm256_set1_pd(1.4142135623730951), _CMP_GT_OQ);
    m = _mm256_blendv_pd(m, _mm256_mul_pd(m, _mm256_set1_pd(0.5)), large);
    e = _mm256_add_pd(e, _mm256_and_pd(large, one));
    const __m256d f = _mm256_div_pd(_mm256_sub_pd(m, one), _mm256_add_pd(m, one));
    const __m256d log_m = _mm256_mul_pd(f, series(_mm256_mul_pd(f, f), artanh, sizeof artanh / sizeof *artanh));
    return _mm256_fmadd_pd(e, _mm256_set1_pd(0.6931471805599453), log_m);
}

/* cos 2 pi u for u in [0, 1]: with q the nearest quarter and t = 2 pi (u - q / 4), one of +-cos t and +-sin t, by their Taylor series. */
static inline __m256d cosine_of_turns(__m256d u)
{
    static const double sine[] = {
        1, -1.0 / 6, 1.0 / 120, -1.0 / 5040, 1.0 / 362880, -1.0 / 39916800, 1.0 / 6227020800.0, -1.0 / 1307674368000.0};
    static const double cosine[] = {
        1, -1.0 / 2, 1.0 / 24, -1.0 / 720, 1.0 / 40320, -1.0 / 3628800, 1.0 / 479001600.0, -1.0 / 87178291200.0, 1.0 / 20922789888000.0};
    const __m256d quarter = _mm256_round_pd(_mm256_mul_pd(u, _mm256_set1_pd(4)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const __m256d t = _mm256_mul_pd(_mm256_fnmadd_pd(quarter, _mm256_set1_pd(0.25), u), _mm256_set1_pd(6.283185307179586));
    const __m256d square = _mm256_mul_pd(t, t);
    const __m256d sin_t = _mm256_mul_pd(t, series(square, sine, sizeof sine / sizeof *sine));
    const __m256d cos_t = series(square, cosine, sizeof cosine / sizeof *cosine);
    const __m256i q = _mm256_cvtepi32_epi64(_mm256_cvtpd_epi32(quarter));
    const __m256d odd = _mm256_castsi256_pd(_mm256_slli_epi64(q, 63)); /* the sign bit chooses */
    const __m256i minus = _mm256_slli_epi64(_mm256_and_si256(_mm256_add_epi64(q, _mm256_set1_epi64x(1)), _mm256_set1_epi64x(2)), 62);
    return _mm256_xor_pd(_mm256_blendv_pd(cos_t, sin_t, odd), _mm256_castsi256_pd(minus));
}

static inline __m128 normals(uint64_t seed, uint64_t stream, uint64_t index)
{
    const counters c = philox(seed, stream, index);
    const __m256d u = unit(c.word[0], c.word[1]), v = _mm256_add_pd(unit(c.word[2], c.word[3]), _mm256_set1_pd(0x1p-54));
    const __m256d radius = _mm256_sqrt_pd(_mm256_mul_pd(_mm256_set1_pd(-2), logarithm(v)));
    return _mm256_cvtpd_ps(_mm256_mul_pd(radius, cosine_of_turns(u)));
}

void az_fill_normal_avx2(uint64_t seed, uint64_t stream, uint64_t first, int64_t n, float *out)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) _mm_storeu_ps(out + i, normals(seed, stream, first + (uint64_t)i));
    float rest[LANES];
    if (i < n) _mm_storeu_ps(rest, normals(seed, stream, first + (uint64_t)i));
    for (int lane = 0; i < n; i++, lane++) out[i] = rest[lane];
}
