/* scalar_f32.h - exp and its relatives for one float without branches or calls, so that loops over them become vector code. */
#ifndef ADZE_TENSOR_SCALAR_F32_H
#define ADZE_TENSOR_SCALAR_F32_H

#include <stdint.h>
#include <string.h>

static inline float float_of_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline int32_t bits_of_float(float x)
{
    int32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* e^x within 2 units in the last place, subnormal results, infinities and NaN included: x = n ln2 + r, |r| <= ln2 / 2, and a polynomial for
 * e^r. */
static inline float exp_f32(float x)
{
    const float round = 0x1.8p23f; /* adding it leaves the rounded integer in the low bits */
    x = x < -104.0f ? -104.0f : x;
    x = x > 89.0f ? 89.0f : x;
    float shifted = x * 0x1.715476p+0f + round;
    float n = shifted - round;
    int32_t exponent = bits_of_float(shifted) - bits_of_float(round);
    float r = x - n * 0x1.62ep-1f; /* ln 2 in two parts; the first has 11 bits, so n times it is exact */
    r = r - n * 0x1.0bfbe8p-15f;
    float p = 0x1.6a2352p-10f; /* minimax: relative error 3e-9 */
    p = p * r + 0x1.123a6cp-7f;
    p = p * r + 0x1.5558f4p-5f;
    p = p * r + 0x1.555490p-3f;
    p = p * r + 0x1.fffffcp-2f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    int32_t half = exponent >> 1; /* 2^n in two factors, so that both are normal numbers */
    return p * float_of_bits((uint32_t)(half + 127) << 23) * float_of_bits((uint32_t)(exponent - half + 127) << 23);
}

static inline float sigmoid_f32(float x)
{
    return 1.0f / (1.0f + exp_f32(-x));
}

/* Near 0 the odd series of tanh up to x^11 (nearest-fit coefficients of Cephes' tanhf), elsewhere 1 - 2 / (e^2x + 1). */
static inline float tanh_f32(float x)
{
    float z = x * x;
    float p = -5.70498872745e-3f;
    p = p * z + 2.06390887954e-2f;
    p = p * z - 5.37397155531e-2f;
    p = p * z + 1.33314422036e-1f;
    p = p * z - 3.33332819422e-1f;
    float near = x + x * z * p;
    float far = 1.0f - 2.0f / (exp_f32(2.0f * x) + 1.0f);
    return z < 0.390625f ? near : far;
}

#endif
