/* distributions.c - distribution functions and quantiles of the normal, Student and beta distributions, to about 14 digits. */
#include "adze/data.h"

#include <float.h>
#include <math.h>

/* ---- normal ---- */

double az_normal_cdf(double x)
{
    return 0.5 * erfc(-x * 0.70710678118654752440);
}

double az_normal_quantile(double p)
{
    if (!(p >= 0 && p <= 1)) return NAN;
    if (p == 0 || p == 1) return p == 0 ? -INFINITY : INFINITY;
    if (p > 0.5) return -az_normal_quantile(1 - p);
    /* Abramowitz and Stegun 26.2.23 (error below 4.5e-4), then Halley's method on cdf(x) = p. */
    double t = sqrt(-2 * log(p));
    double x = (2.515517 + t * (0.802853 + t * 0.010328)) / (1 + t * (1.432788 + t * (0.189269 + t * 0.001308))) - t;
    for (int i = 0; i < 3; i++) {
        double density = exp(-0.5 * x * x) * 0.39894228040143267794;
        double error = density > 0 ? (az_normal_cdf(x) - p) / density : 0;
        x -= error / (1 + 0.5 * x * error);
    }
    return x;
}

/* ---- beta ---- */

/* log Gamma(x) - ((x - 1/2) log x - x + log(2 pi) / 2), Stirling's series; x >= 10. */
static double stirling_rest(double x)
{
    double y = 1 / (x * x);
    return (1. / 12 - y * (1. / 360 - y * (1. / 1260 - y * (1. / 1680 - y * (1. / 1188 - y * (691. / 360360)))))) / x;
}

static double log_gamma(double x)
{
    int sign;
    return lgamma_r(x, &sign);
}

/* log(x^a y^b / B(a, b)) with y = 1 - x. Large a and b are written about the mode x0 = a / (a + b), where the large terms cancel exactly.
 */
static double log_front(double x, double y, double a, double b)
{
    double p = fmin(a, b), q = fmax(a, b), log_x = x < 0.5 ? log(x) : log1p(-y), log_y = y < 0.5 ? log(y) : log1p(-x);
    if (q < 10) return a * log_x + b * log_y - log_gamma(p) - log_gamma(q) + log_gamma(p + q);
    double rest = stirling_rest(p + q) - stirling_rest(q);
    if (p < 10) return a * log_x + b * log_y + rest - log_gamma(p) - p + p * log(p + q) - (q - 0.5) * log1p(-p / (p + q));
    double away = (x * b - y * a) / (a + b); /* x - x0 */
    double log_ratio = a * log1p(away * (a + b) / a) + b * log1p(-away * (a + b) / b);
    return log_ratio + 0.5 * log(p * q / (p + q)) - 0.91893853320467274178 + rest - stirling_rest(p);
}

/* The continued fraction of the incomplete beta function (DLMF 8.17.22) by the method of Lentz; converges fast for x < (a + 1) / (a + b +
 * 2). */
static double beta_fraction(double x, double a, double b)
{
    double c = 1, d = 1 / fmax(fabs(1 - (a + b) * x / (a + 1)), DBL_MIN), value = d;
    for (int m = 1; m < 100000; m++) {
        double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
        double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
        d = 1 / (1 + even * d);
        c = 1 + even / c;
        value *= c * d;
        d = 1 / (1 + odd * d);
        c = 1 + odd / c;
        value *= c * d;
        if (fabs(c * d - 1) < 4 * DBL_EPSILON) break;
    }
    return value;
}

/* I_x(a, b), where y = 1 - x is given too, so that neither loses digits. */
static double beta_lower(double x, double y, double a, double b)
{
    if (x <= 0 || y <= 0) return x <= 0 ? 0 : 1;
    double front = exp(log_front(x, y, a, b));
    if (x < (a + 1) / (a + b + 2)) return front * beta_fraction(x, a, b) / a;
    return 1 - front * beta_fraction(y, b, a) / b;
}

double az_beta_cdf(double x, double a, double b)
{
    if (!(a > 0 && b > 0) || isnan(x)) return NAN;
    return beta_lower(x, 1 - x, a, b);
}

/* ---- Student ---- */

double az_student_cdf(double t, double degrees)
{
    if (!(degrees > 0) || isnan(t)) return NAN;
    if (isinf(t)) return t > 0 ? 1 : 0;
    if (isinf(degrees)) return az_normal_cdf(t);
    double square = t * t;
    double near = isinf(square) ? 1 : square / (degrees + square), far = degrees / (isinf(square) ? square : degrees + square);
    double tail = 0.5 * beta_lower(far, near, 0.5 * degrees, 0.5);
    return t < 0 ? tail : 1 - tail;
}

double az_student_quantile(double p, double degrees)
{
    if (!(degrees > 0) || !(p >= 0 && p <= 1)) return NAN;
    if (p == 0 || p == 1) return p == 0 ? -INFINITY : INFINITY;
    if (p == 0.5) return 0;
    if (p > 0.5) return -az_student_quantile(1 - p, degrees);
    double low = -1, high = 0;
    while (az_student_cdf(low, degrees) > p && low > -1e300) high = low, low *= 2;
    for (int i = 0; i < 200; i++) { /* until no number lies between */
        double middle = 0.5 * (low + high);
        if (middle <= low || middle >= high) break;
        *(az_student_cdf(middle, degrees) < p ? &low : &high) = middle;
    }
    return 0.5 * (low + high);
}
