/* scalar_more.h - more functions of one number beside those of scalar_f32.h, again without branches or calls in f32, so that loops over
 * them become vector code. The f32 functions are polynomials fitted for least maximum error and stay within a few units in the last place,
 * infinities and NaN included; their f64 partners are the C library's but for exp and sigmoid. */
#ifndef ADZE_TENSOR_SCALAR_MORE_H
#define ADZE_TENSOR_SCALAR_MORE_H

#include "tensor/kernels/scalar_f32.h"
#include "tensor/kernels/scalar_f64.h"

#include <math.h>

/* ---- f32 ---- */

/* log x = e ln 2 + log m with m in [sqrt(1/2), sqrt(2)). */
static inline float log_f32(float x)
{
    int tiny = x < 1.17549435e-38f;
    uint32_t bits = (uint32_t)bits_of_float(tiny ? x * 8388608.0f : x) - 0x3f3504f3u;
    float e = (float)((int32_t)bits >> 23) - (tiny ? 23.0f : 0.0f);
    float f = float_of_bits((int32_t)((bits & 0x7fffffu) + 0x3f3504f3u)) - 1.0f;
    float p = f * -0.0785961747f + 0.128816451f;
    p = p * f - 0.131287513f;
    p = p * f + 0.141811922f;
    p = p * f - 0.166245545f;
    p = p * f + 0.200022863f;
    p = p * f - 0.250008104f;
    p = p * f + 0.333333167f;
    float square = f * f;
    float tail = p * f * square + (e * -2.12194440e-4f - 0.5f * square);
    float y = e * 0.693359375f + (f + tail);
    y = x == 0.0f ? -INFINITY : x < 0.0f ? NAN : y;
    return x < INFINITY ? y : x; /* infinity and NaN stay */
}

/* log(1 + x) for 0 <= x <= 1. */
static inline float log1p_unit_f32(float x)
{
    float u = 1.0f + x;
    return log_f32(u) + (x - (u - 1.0f)) / u; /* what rounding u lost */
}

static inline float softplus_f32(float x)
{
    return (x > 0.0f ? x : 0.0f) + log1p_unit_f32(exp_f32(-fabsf(x)));
}

/* erfc(a) for a >= 0, given e = exp(-a^2): e t P(t), t = 1 / (1 + a/2). */
static inline float erfc_tail_f32(float a, float e)
{
    float t = 1.0f / (0.5f * a + 1.0f);
    float p = t * -0.0593638311f + 0.286013938f;
    p = p * t - 0.490179536f;
    p = p * t + 0.281475185f;
    p = p * t - 0.0289719557f;
    p = p * t + 0.203678471f;
    p = p * t + 0.242853621f;
    p = p * t + 0.282409592f;
    p = p * t + 0.282084472f;
    return e * (t * p);
}

static inline float erf_f32(float x)
{
    float a = fabsf(x), u = x * x;
    float p = u * 8.51310459e-05f - 0.000817563943f;
    p = p * u + 0.00520385917f;
    p = p * u - 0.0268605085f;
    p = p * u + 0.11283715f;
    p = p * u - 0.37612635f;
    p = p * u + 1.12837917f;
    float large = 1.0f - erfc_tail_f32(a, exp_f32(-u));
    return a < 0.9f ? x * p : x < 0.0f ? -large : large;
}

/* Phi(x), the normal distribution function, given e = exp(-x^2 / 2). */
static inline float normal_cdf_f32(float x, float e)
{
    float tail = 0.5f * erfc_tail_f32(fabsf(x) * 0.707106781f, e);
    return x < 0.0f ? tail : 1.0f - tail;
}

static inline float gelu_f32(float x)
{
    float bounded = x < -1e4f ? -1e4f : x; /* keeps -infinity from 0 * infinity */
    return bounded * normal_cdf_f32(x, exp_f32(-0.5f * x * x));
}

static inline float gelu_slope_f32(float x)
{
    x = x < -1e4f ? -1e4f : x > 1e4f ? 1e4f : x;
    float e = exp_f32(-0.5f * x * x);
    return normal_cdf_f32(x, e) + x * e * 0.398942280f;
}

/* Calls of the C library. */
static inline float sqrt_f32(float x)
{
    return sqrtf(x);
}
static inline float sin_f32(float x)
{
    return sinf(x);
}
static inline float cos_f32(float x)
{
    return cosf(x);
}
static inline float pow_f32(float x, double exponent)
{
    return powf(x, (float)exponent);
}

/* ---- f64 ---- */

static inline double sqrt_f64(double x)
{
    return sqrt(x);
}
static inline double sin_f64(double x)
{
    return sin(x);
}
static inline double cos_f64(double x)
{
    return cos(x);
}
static inline double pow_f64(double x, double exponent)
{
    return pow(x, exponent);
}

static inline double log_f64(double x)
{
    return log(x);
}

static inline double tanh_f64(double x)
{
    return tanh(x);
}

static inline double softplus_f64(double x)
{
    return (x > 0 ? x : 0) + log1p(exp(-fabs(x)));
}

static inline double erf_f64(double x)
{
    return erf(x);
}

static inline double gelu_f64(double x)
{
    return (x < -1e4 ? -1e4 : x) * (0.5 * erfc(-x * 0.70710678118654752440));
}

static inline double gelu_slope_f64(double x)
{
    x = x < -1e4 ? -1e4 : x > 1e4 ? 1e4 : x;
    return 0.5 * erfc(-x * 0.70710678118654752440) + x * exp_f64(-0.5 * x * x) * 0.39894228040143267794;
}

#endif
