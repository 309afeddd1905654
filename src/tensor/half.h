/* half.h - the 16-bit floating-point formats: IEEE binary16 (f16) and bfloat16 (the upper half of an f32).
 *
 * Conversions to 16 bits round to nearest, ties to even; values beyond the range become infinity; a NaN stays one and is made quiet. */
#ifndef ADZE_TENSOR_HALF_H
#define ADZE_TENSOR_HALF_H

#include <math.h>
#include <stdint.h>
#include <string.h>

static inline uint32_t az_bits_of_float(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float az_float_of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline float az_f16_widen(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16, magnitude = half & 0x7fffu;
    if (magnitude >= 0x7c00u)
        return az_float_of_bits(sign | 0x7f800000u | (magnitude & 0x3ffu) << 13 | (magnitude > 0x7c00u ? 0x400000u : 0));
    if (magnitude >= 0x0400u) return az_float_of_bits(sign | ((magnitude << 13) + (112u << 23)));
    float value = (float)magnitude * 0x1p-24f; /* subnormal: exact */
    return sign ? -value : value;
}

static inline uint16_t az_f16_round(float value)
{
    uint32_t bits = az_bits_of_float(value), magnitude = bits & 0x7fffffffu;
    uint16_t sign = (uint16_t)((bits >> 16) & 0x8000u);
    if (magnitude > 0x7f800000u) return (uint16_t)(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));
    if (magnitude >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u); /* 65520 and above */
    if (magnitude < 0x38800000u) { /* below 2^-14: adding 0.5 leaves the rounded multiple of 2^-24 in the low bits */
        float shifted = az_float_of_bits(magnitude) + 0.5f;
        return (uint16_t)(sign | (az_bits_of_float(shifted) - 0x3f000000u));
    }
    uint32_t odd = (magnitude >> 13) & 1;
    return (uint16_t)(sign | ((magnitude - (112u << 23) + 0xfffu + odd) >> 13));
}

static inline float az_bf16_widen(uint16_t half)
{
    return az_float_of_bits((uint32_t)half << 16);
}

static inline uint16_t az_bf16_round(float value)
{
    uint32_t bits = az_bits_of_float(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1)) >> 16);
}

/* Rounds to f32 so that a later rounding to 16 bits is right as well: an inexact result gets an odd last bit. */
static inline float az_float_to_odd(double value)
{
    float near = (float)value;
    if (isnan(value) || (double)near == value) return near;
    uint32_t bits = az_bits_of_float(near);
    if (isinf(near) || fabs((double)near) > fabs(value)) bits--; /* the neighbour towards zero */
    return az_float_of_bits(bits | 1u);
}

#endif
