/* gamma_shape.c - how a gamma variable moves with its shape parameter, at a fixed value of its distribution function.
 *
 * From P(a, x(a)) = u follows dx/da = -(dP/da) / (dP/dx), P the regularised lower incomplete gamma function (Figurnov, Mohamed, Mnih,
 * NeurIPS 2018). dP/da comes from differentiating the usual power series (x < a + 1) or continued fraction (otherwise) term by term. */
#include "estimate/vi/vi_internal.h"

#include <math.h>

enum { MOST_TERMS = 100000 };

/* A number with its derivative with respect to a. */
typedef struct dual {
    double v, d;
} dual;

static double digamma(double x)
{
    double below = 0;
    while (x < 12) {
        below += 1 / x;
        x += 1;
    }
    const double y = 1 / (x * x);
    return log(x) - 1 / (2 * x) - y * (1.0 / 12 - y * (1.0 / 120 - y * (1.0 / 252 - y * (1.0 / 240 - y / 132)))) - below;
}

/* sum_n x^n / (a (a+1) ... (a+n)): P = front * sum with front = x^a e^-x / Gamma(a). */
static dual power_series(double a, double x)
{
    dual term = {1 / a, -1 / (a * a)}, sum = term;
    for (int n = 1; n < MOST_TERMS; n++) {
        const double divisor = a + n;
        term.d = x * (term.d - term.v / divisor) / divisor;
        term.v *= x / divisor;
        sum.v += term.v;
        sum.d += term.d;
        if (fabs(term.v) < 1e-17 * sum.v && fabs(term.d) < 1e-17 * fabs(sum.d)) break;
    }
    return sum;
}

/* The continued fraction 1 / (x + 1 - a - 1 (1 - a) / (x + 3 - a - ...)), Q = front * fraction, by the modified Lentz recurrence. */
static dual continued_fraction(double a, double x)
{
    const double tiny = 1e-300;
    dual b = {x + 1 - a, -1};
    dual c = {1 / tiny, 0}, d = {1 / b.v, -b.d / (b.v * b.v)}, h = d;
    for (int n = 1; n < MOST_TERMS; n++) {
        const dual numerator = {-n * (n - a), n};
        b.v += 2;
        dual e = {numerator.v * d.v + b.v, numerator.d * d.v + numerator.v * d.d + b.d};
        if (fabs(e.v) < tiny) e.v = tiny;
        d = (dual){1 / e.v, -e.d / (e.v * e.v)};
        c = (dual){b.v + numerator.v / c.v, b.d + (numerator.d - numerator.v * c.d / c.v) / c.v};
        if (fabs(c.v) < tiny) c.v = tiny;
        const dual step = {c.v * d.v, c.d * d.v + c.v * d.d};
        h.d = h.d * step.v + h.v * step.d;
        h.v *= step.v;
        if (fabs(step.v - 1) < 1e-16 && fabs(h.v * step.d) < 1e-16 * (fabs(h.d) + tiny)) break;
    }
    return h;
}

double vi_gamma_slope(double a, double x)
{
    const double front = log(x) - digamma(a); /* derivative of log front; the density is front / x */
    if (x < a + 1) {
        const dual sum = power_series(a, x);
        return -x * (front * sum.v + sum.d);
    }
    const dual fraction = continued_fraction(a, x); /* P = 1 - Q */
    return x * (front * fraction.v + fraction.d);
}
