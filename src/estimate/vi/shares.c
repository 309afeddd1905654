/* shares.c - expectations over K independent weights, by Laplace transforms instead of K-fold sums.
 *
 * With psi(s) = E[exp(-s w)] and S the sum of K - 1 weights,
 *     E log(w + S) = int (exp(-s) - exp(-s w) psi(s)^(K-1)) ds / s        (Frullani's integral)
 *     E[1 / (w + S)] = int exp(-s w) psi(s)^(K-1) ds.
 * In t = log s the integrands are analytic within pi/2 of the real axis, where they stay bounded: the trapezoidal rule of step h has a
 * relative error of exp(-pi^2 / h). */
#include "estimate/vi/shares.h"

#include <math.h>

enum { MOST_STEPS = 1 << 20 };
static const double H = .35, EULER = .57721566490153286061;
/* exp(-exp(t)) is 1 below the one and 0 above the other, in double precision */
static const double ONE_BELOW = -39, ZERO_ABOVE = 4;
static const double NO_MASS = 1e-25;

/* The values of t; the window of a node is where its exp(-s w) is neither 1 nor 0. */
typedef struct steps {
    double first;
    int n;
} steps;

static int window_begin(const steps *t, double log_weight)
{
    return (int)fmax(0, ceil((ONE_BELOW - log_weight - t->first) / H));
}

static int window_end(const steps *t, double log_weight)
{
    return (int)fmin(t->n, floor((ZERO_ABOVE - log_weight - t->first) / H) + 1);
}

/* psi at every step: most of a node's part is 1 until its window and 0 behind it. */
static void transform(const vi_weights *w, const steps *t, double *psi)
{
    const double grow = exp(H);
    for (int m = 0; m <= t->n; m++) psi[m] = 0;
    for (int64_t i = 0; i < w->n; i++)
        if (w->mass[i] >= NO_MASS) psi[window_begin(t, w->log_weight[i])] += w->mass[i];
    for (int m = t->n - 1; m >= 0; m--) psi[m] += psi[m + 1];
    for (int m = 0; m < t->n; m++) psi[m] = psi[m + 1];
    for (int64_t i = 0; i < w->n; i++) {
        if (w->mass[i] < NO_MASS) continue;
        const int begin = window_begin(t, w->log_weight[i]), end = window_end(t, w->log_weight[i]);
        double sw = exp(t->first + begin * H + w->log_weight[i]);
        for (int m = begin; m < end; m++, sw *= grow) psi[m] += w->mass[i] * exp(-sw);
    }
}

bool vi_shares(az_ctx *az, const vi_weights *w, double *log_sum, double *share)
{
    const double grow = exp(H);
    double low = INFINITY, high = -INFINITY;
    for (int64_t i = 0; i < w->n; i++) {
        log_sum[i] = share[i] = 0;
        if (w->mass[i] < NO_MASS) continue;
        low = fmin(low, w->log_weight[i]);
        high = fmax(high, w->log_weight[i]);
    }
    const double first = ONE_BELOW - high - log(w->particles), reach = (ZERO_ABOVE - low - first) / H;
    if (!(reach < MOST_STEPS)) return false;
    const steps t = {first, (int)reach + 2};
    double *psi = az_alloc_array(az, (size_t)t.n + 1, sizeof *psi), *before = az_alloc_array(az, (size_t)t.n + 1, sizeof *before);
    if (!psi || !before) return false;
    transform(w, &t, psi);
    for (int m = 0; m < t.n; m++) psi[m] = pow(psi[m], w->particles - 1);
    before[0] = -.5 * psi[0]; /* half the weight of the end */
    for (int m = 0; m < t.n; m++) before[m + 1] = before[m] + psi[m];
    for (int64_t i = 0; i < w->n; i++) {
        if (w->mass[i] < NO_MASS) continue;
        const int begin = window_begin(&t, w->log_weight[i]), end = window_end(&t, w->log_weight[i]);
        double sw = exp(t.first + begin * H + w->log_weight[i]), sum = before[begin], inverse = 0;
        for (int m = begin; m < end; m++, sw *= grow) {
            const double part = psi[m] * exp(-sw);
            sum += part;
            inverse += sw * part;
        }
        log_sum[i] = -EULER - t.first - H * sum;
        share[i] = w->particles * H * inverse;
    }
    return true;
}
