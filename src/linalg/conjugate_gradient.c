/* conjugate_gradient.c - the method of Hestenes and Stiefel (1952) for an operator that is only known by its products. */
#include "adze/linalg.h"

#include <math.h>
#include <string.h>

enum { BLOCK = 4096 };

/* Sums of fixed-size blocks, added in order: the same for any number of threads. part has one entry per block. */
static double dot(az_ctx *az, int64_t n, const double *x, const double *y, double *part)
{
    const int64_t blocks = (n + BLOCK - 1) / BLOCK;
#pragma omp parallel for schedule(static) num_threads(az_threads(az)) if (blocks > 8)
    for (int64_t b = 0; b < blocks; b++) {
        const int64_t end = (b + 1) * BLOCK < n ? (b + 1) * BLOCK : n;
        double sum = 0;
        for (int64_t i = b * BLOCK; i < end; i++) sum += x[i] * y[i];
        part[b] = sum;
    }
    double sum = 0;
    for (int64_t b = 0; b < blocks; b++) sum += part[b];
    return sum;
}

/* y = x * scale + y * keep */
static void combine(az_ctx *az, int64_t n, double scale, const double *x, double keep, double *y)
{
#pragma omp parallel for simd schedule(static) num_threads(az_threads(az)) if (n > 8 * BLOCK)
    for (int64_t i = 0; i < n; i++) y[i] = scale * x[i] + keep * y[i];
}

typedef struct work {
    double *r, *p, *ap; /* residual, direction, A p: [n] */
    double *part;       /* of dot */
} work;

/* r = b - A x; returns r^T r. */
static double residual(az_ctx *az, az_operator a, void *user, int64_t n, const double *b, const double *x, const work *w)
{
    a(az, n, x, w->ap, user);
    memcpy(w->r, b, sizeof *b * (size_t)n);
    combine(az, n, -1, w->ap, 1, w->r);
    return dot(az, n, w->r, w->r, w->part);
}

/* Iterates from the residual in w, whose square is rr, until the recurrence's square is at most `goal` or the budget is spent. */
static void iterate(az_ctx *az, az_operator a, void *user, int64_t n, double *x, const work *w, double rr, double goal, int budget,
                    int *used)
{
    memcpy(w->p, w->r, sizeof *w->p * (size_t)n);
    while (rr > goal && *used < budget && az_ok(az) && !az_interrupted(az)) {
        a(az, n, w->p, w->ap, user);
        const double curvature = dot(az, n, w->p, w->ap, w->part);
        ++*used;
        if (!(curvature > 0)) {
            az_fail(az, AZ_NUMERIC, "conjugate gradients: a %lld x %lld operator is not positive definite (p^T A p = %g in iteration %d)",
                    (long long)n, (long long)n, curvature, *used);
            break;
        }
        combine(az, n, rr / curvature, w->p, 1, x);
        combine(az, n, -rr / curvature, w->ap, 1, w->r);
        const double next = dot(az, n, w->r, w->r, w->part);
        combine(az, n, 1, w->r, next / rr, w->p);
        rr = next;
    }
}

az_cg_result az_conjugate_gradient(az_ctx *az, az_operator a, void *user, int64_t n, const double *b, double *x, double tolerance,
                                   int max_iterations)
{
    az_cg_result result = {.residual = NAN};
    if (!az_ok(az) || !b || !x || n < 0) return result;
    az_scope_push(az);
    const size_t count = (size_t)n;
    const work w = {.r = az_alloc_array(az, count, sizeof *w.r),
                    .p = az_alloc_array(az, count, sizeof *w.p),
                    .ap = az_alloc_array(az, count, sizeof *w.ap),
                    .part = az_alloc_array(az, count / BLOCK + 1, sizeof *w.part)};
    if (az_ok(az)) {
        const double norm = sqrt(dot(az, n, b, b, w.part)), goal = tolerance * norm * tolerance * norm;
        double rr = residual(az, a, user, n, b, x, &w), before = INFINITY;
        /* The recurrence drifts from the true residual: restart from that as long as it helps. */
        while (rr > goal && rr < 0.25 * before && result.iterations < max_iterations && az_ok(az)) {
            before = rr;
            iterate(az, a, user, n, x, &w, rr, goal, max_iterations, &result.iterations);
            rr = residual(az, a, user, n, b, x, &w);
        }
        if (!isfinite(rr))
            az_fail(az, AZ_NUMERIC, "conjugate gradients: the residual of a %lld x %lld operator is not finite", (long long)n,
                    (long long)n);
        result.residual = sqrt(rr);
        result.converged = az_ok(az) && rr <= goal;
    }
    az_scope_pop(az);
    return result;
}
