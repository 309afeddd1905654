/* scalar_f64.h - exp and sigmoid for one double without branches or calls, so that loops over them become vector code. */
#ifndef ADZE_TENSOR_SCALAR_F64_H
#define ADZE_TENSOR_SCALAR_F64_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* 2^n for a whole number -1022 <= n <= 1023: adding the constant leaves n + 1023 in the low bits, of which the shift makes an exponent. */
static inline double power_of_two_f64(double n)
{
    double shifted = n + (0x1.8p52 + 1023);
    uint64_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits <<= 52;
    memcpy(&shifted, &bits, sizeof bits);
    return shifted;
}

/* e^x within one unit in the last place, subnormal results, infinities and NaN included: x = n ln2 + r, |r| <= ln2 / 2, and the series of
 * e^r up to r^13, whose next term is 5e-18. */
static inline double exp_f64(double x)
{
    const double round = 0x1.8p52; /* adding it leaves a whole number */
    x = x < -746 ? -746 : x;
    x = x > 710 ? 710 : x;
    double n = (x * 0x1.71547652b82fep+0 + round) - round;
    double r = x - n * 0x1.62e42fefap-1; /* ln 2 in two parts; the first has 37 bits, so n times it is exact */
    r = r - n * 0x1.cf79abc9e3b39p-40;
    double p = 1.0 / 6227020800;
    p = p * r + 1.0 / 479001600;
    p = p * r + 1.0 / 39916800;
    p = p * r + 1.0 / 3628800;
    p = p * r + 1.0 / 362880;
    p = p * r + 1.0 / 40320;
    p = p * r + 1.0 / 5040;
    p = p * r + 1.0 / 720;
    p = p * r + 1.0 / 120;
    p = p * r + 1.0 / 24;
    p = p * r + 1.0 / 6;
    p = p * r + 0.5;
    p = 1 + (r + r * r * p);
    double half = (n * 0.5 + round) - round; /* 2^n in two factors, so that both are normal numbers */
    return p * power_of_two_f64(half) * power_of_two_f64(n - half);
}

/* From the exponential that does not overflow. */
static inline double sigmoid_f64(double x)
{
    double e = exp_f64(-fabs(x)), r = 1 / (1 + e);
    return x < 0 ? e * r : r;
}

#endif
