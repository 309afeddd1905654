/* lbfgs.c - limited-memory BFGS (Nocedal & Wright, Numerical optimization, algorithm 7.4) with optional bounds x >= 0.
 *
 * With bounds the direction is the quasi-Newton one in the variables that are free (Bertsekas 1982: x_i > 0 or its slope is not positive),
 * and the line search follows its projection. */
#include "adze/optim.h"

#include <cblas.h>
#include <math.h>
#include <string.h>

typedef struct lbfgs {
    const az_lbfgs_options *options;
    int n, stored, next;                    /* pairs in memory; where the next one goes */
    double *s, *y, *scale;                  /* [memory, n] differences of points and gradients; [memory] 1 / s^T y */
    double *gradient, *slope, *direction;   /* [n]; slope: the gradient, zero where a bound holds */
    double *trial, *trial_gradient, *along; /* [n]; [memory] */
} lbfgs;

static bool prepare(az_ctx *az, lbfgs *p, int n, const az_lbfgs_options *options)
{
    const size_t memory = (size_t)options->memory;
    *p = (lbfgs){.options = options, .n = n};
    double **const pairs[] = {&p->s, &p->y}, **const few[] = {&p->scale, &p->along};
    double **const vectors[] = {&p->gradient, &p->slope, &p->direction, &p->trial, &p->trial_gradient};
    for (size_t i = 0; i < 2; i++) *pairs[i] = az_alloc_array(az, memory * (size_t)n, sizeof(double));
    for (size_t i = 0; i < 2; i++) *few[i] = az_alloc_array(az, memory, sizeof(double));
    for (size_t i = 0; i < 5; i++) *vectors[i] = az_alloc_array(az, (size_t)n, sizeof(double));
    return az_ok(az);
}

static bool held(const lbfgs *p, const double *x, int i)
{
    return p->options->nonnegative && x[i] <= 0 && p->gradient[i] > 0;
}

/* The largest entry of the gradient that a step could follow. */
static double find_slope(lbfgs *p, const double *x)
{
    double largest = 0;
    for (int i = 0; i < p->n; i++) {
        p->slope[i] = held(p, x, i) ? 0 : p->gradient[i];
        largest = fmax(largest, fabs(p->slope[i]));
    }
    return largest;
}

/* direction = -H slope by the two-loop recursion; the steepest descent when that does not lead down. */
static void find_direction(lbfgs *p, const double *x)
{
    const int n = p->n, memory = (int)p->options->memory;
    double *q = p->direction;
    memcpy(q, p->slope, (size_t)n * sizeof *q);
    for (int k = 1; k <= p->stored; k++) {
        const int i = (p->next - k + memory) % memory;
        p->along[i] = p->scale[i] * cblas_ddot(n, p->s + (size_t)i * (size_t)n, 1, q, 1);
        cblas_daxpy(n, -p->along[i], p->y + (size_t)i * (size_t)n, 1, q, 1);
    }
    if (p->stored > 0) {
        const double *y = p->y + (size_t)((p->next - 1 + memory) % memory) * (size_t)n;
        cblas_dscal(n, 1 / (p->scale[(p->next - 1 + memory) % memory] * cblas_ddot(n, y, 1, y, 1)), q, 1);
    }
    for (int k = p->stored; k >= 1; k--) {
        const int i = (p->next - k + memory) % memory;
        const double back = p->scale[i] * cblas_ddot(n, p->y + (size_t)i * (size_t)n, 1, q, 1);
        cblas_daxpy(n, p->along[i] - back, p->s + (size_t)i * (size_t)n, 1, q, 1);
    }
    for (int i = 0; i < n; i++) q[i] = held(p, x, i) ? 0 : -q[i];
    if (cblas_ddot(n, q, 1, p->slope, 1) < 0) return;
    p->stored = 0;
    for (int i = 0; i < n; i++) q[i] = -p->slope[i];
}

/* Keeps the pair of this step when it tells of positive curvature. */
static void remember(lbfgs *p, const double *x)
{
    const int n = p->n;
    double *s = p->s + (size_t)p->next * (size_t)n, *y = p->y + (size_t)p->next * (size_t)n;
    for (int i = 0; i < n; i++) s[i] = p->trial[i] - x[i], y[i] = p->trial_gradient[i] - p->gradient[i];
    const double curvature = cblas_ddot(n, s, 1, y, 1);
    if (!(curvature > 1e-12 * cblas_dnrm2(n, s, 1) * cblas_dnrm2(n, y, 1))) return;
    p->scale[p->next] = 1 / curvature;
    p->next = (p->next + 1) % (int)p->options->memory;
    if (p->stored < p->options->memory) p->stored++;
}

/* The point at `length` along the direction, projected; returns the fall that the gradient promises there. */
static double place_trial(lbfgs *p, const double *x, double length)
{
    double fall = 0;
    for (int i = 0; i < p->n; i++) {
        const double to = x[i] + length * p->direction[i];
        p->trial[i] = p->options->nonnegative && to < 0 ? 0 : to;
        fall += p->gradient[i] * (x[i] - p->trial[i]);
    }
    return fall;
}

/* Halves the step until it gains enough (Armijo); true with the new point in p->trial and its value in *value. */
static bool search_line(az_ctx *az, lbfgs *p, az_objective f, void *user, const double *x, az_lbfgs_result *result)
{
    enum { MOST_HALVINGS = 60 };
    double length = p->stored > 0 ? 1 : fmin(1, 1 / cblas_dasum(p->n, p->slope, 1));
    for (int halvings = 0; halvings < MOST_HALVINGS && az_ok(az); halvings++, length /= 2) {
        const double fall = place_trial(p, x, length);
        if (fall == 0) return false; /* too short to move */
        const double value = f(az, p->trial, p->trial_gradient, user);
        result->evaluations++;
        if (!(value <= result->value - 1e-4 * fall)) continue; /* NaN is no gain */
        result->value = value;
        return true;
    }
    return false;
}

static void iterate(az_ctx *az, lbfgs *p, az_objective f, void *user, double *x, az_lbfgs_result *result)
{
    const size_t bytes = (size_t)p->n * sizeof *x;
    result->value = f(az, x, p->gradient, user);
    result->evaluations = 1;
    while (az_ok(az)) {
        result->converged = find_slope(p, x) <= p->options->gradient_tolerance;
        if (result->converged || result->iterations >= p->options->iterations) return;
        const double before = result->value;
        find_direction(p, x);
        if (!search_line(az, p, f, user, x, result)) return;
        remember(p, x);
        memcpy(x, p->trial, bytes);
        memcpy(p->gradient, p->trial_gradient, bytes);
        result->iterations++;
        result->converged = before - result->value <= p->options->value_tolerance * fmax(fmax(fabs(before), fabs(result->value)), 1);
        if (result->converged) return;
    }
}

az_lbfgs_result az_lbfgs(az_ctx *az, az_objective f, void *user, int64_t n, double *x, const az_lbfgs_options *options)
{
    az_lbfgs_result result = {.value = NAN};
    if (!az_ok(az)) return result;
    if (n < 1 || n > INT32_MAX || options->memory < 1) {
        az_fail(az, AZ_BAD_CALL, "lbfgs: %lld variables, memory of %lld", (long long)n, (long long)options->memory);
        return result;
    }
    lbfgs p;
    az_scope_push(az);
    for (int64_t i = 0; options->nonnegative && i < n; i++) x[i] = fmax(x[i], 0);
    if (prepare(az, &p, (int)n, options)) iterate(az, &p, f, user, x, &result);
    az_scope_pop(az);
    return result;
}
