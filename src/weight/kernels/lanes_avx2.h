/* lanes_avx2.h - sums across the lanes of a register; for files compiled for AVX2. */
#ifndef ADZE_LANES_AVX2_H
#define ADZE_LANES_AVX2_H

#include <immintrin.h>

static inline float az_sum_lanes(__m256 v)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

#endif
