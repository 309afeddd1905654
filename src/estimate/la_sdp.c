/* la_sdp.c - the alternating direction method for clustering programs: copies Y_k (semidefinite) and W_k (entries >= 0) of each Z_k.
 *
 *     Z = projection onto the affine constraints of (Y - P + W - Q) / 2 + A / (2 rho)
 *     Y_k = positive part of Z_k + P_k,  W_k = max(Z_k + Q_k + v_k, 0),  P += Z - Y,  Q += Z - W
 * with v_k >= 0 the least number for which 1^T W_k 1 >= m. A is scaled; rho doubles or halves when one residual is ten times the other.
 * The multipliers of the bound (la_sdp.h) are N_k = -rho Q_k, rho v_k, and l = -2 rho times the slope of the projection. */
#include "estimate/la_sdp.h"

#include <cblas.h>
#include <float.h>
#include <lapacke.h>
#include <math.h>
#include <string.h>

struct az_admm {
    int64_t n;
    int blocks;
    double **z, **y, **w, **p, **q; /* [blocks] of [n, n] */
    double *raise;                  /* [blocks] v_k */
    double rho, shift, scale;       /* of A: (A - shift) / scale is what is iterated on */
};

/* What one iteration works in. */
typedef struct block_space {
    double *values, *vectors, *copy; /* [n], [n, n], [n, n] */
    int positive;                    /* eigenvalues above 0 at the last step; 0 at first */
    lapack_int *support;             /* [2 n] */
    double primal, dual;             /* squares of the residuals */
    bool failed;
} block_space;

typedef struct workspace {
    block_space *block; /* [blocks] */
    double *row, *slope;
    double primal, dual;
} workspace;

void az_la_sdp_project(int64_t n, int blocks, int k, double *const *z, double *row, double *slope)
{
    double trace = 0, mass = 0, shifts = 0;
    memset(row, 0, (size_t)n * sizeof *row);
    for (int b = 0; b < blocks; b++) {
        for (int64_t i = 0; i < n; i++) {
            trace += z[b][i * n + i];
            for (int64_t j = 0; j < n; j++) row[i] += z[b][i * n + j];
        }
    }
    for (int64_t i = 0; i < n; i++) mass += row[i];
    const double want = blocks > 1 ? 1 : k; /* the trace of each block */
    const double s = ((double)n - mass - k + trace) / ((double)blocks * (double)(n - 1));
    double shift[64];
    for (int b = 0; b < blocks; b++) {
        double own = 0;
        for (int64_t i = 0; i < n; i++) own += z[b][i * n + i];
        shift[b] = (want - own - s) / (double)n;
        shifts += shift[b];
    }
    for (int64_t i = 0; i < n; i++) slope[i] = (2 * (1 - row[i] - shifts) / blocks - s) / (double)n;
    for (int b = 0; b < blocks; b++)
        for (int64_t i = 0; i < n; i++) {
            for (int64_t j = 0; j < n; j++) z[b][i * n + j] += 0.5 * (slope[i] + slope[j]);
            z[b][i * n + i] += shift[b];
        }
}

double **az_la_sdp_costs(az_ctx *az, const az_points *points, int k, const double *covariance)
{
    const int64_t n = points->n;
    const int p = points->p;
    double **a = az_alloc_array(az, (size_t)k, sizeof *a);
    for (int c = 0; a && c < k; c++) {
        double log_det, *white = az_alloc_array(az, (size_t)(n * p), sizeof *white),
                        *factor = az_alloc_array(az, (size_t)(p * p), sizeof *factor);
        a[c] = az_alloc_array(az, (size_t)(n * n), sizeof **a);
        if (!white || !factor || !a[c]) return NULL;
        if (!az_cov_factor(p, covariance + (size_t)c * (size_t)(p * p), factor, &log_det))
            return az_fail(az, AZ_NUMERIC, "the covariance of group %d is not positive definite", c + 1);
        memcpy(white, points->x, (size_t)(n * p) * sizeof *white); /* X L^-T */
        cblas_dtrsm(CblasRowMajor, CblasRight, CblasLower, CblasTrans, CblasNonUnit, (int)n, p, 1, factor, p, white, p);
        for (int64_t i = 0; i < n; i++) {
            for (int64_t j = 0; j <= i; j++) {
                double square = 0;
                for (int d = 0; d < p; d++) square += (white[i * p + d] - white[j * p + d]) * (white[i * p + d] - white[j * p + d]);
                a[c][i * n + j] = a[c][j * n + i] = -0.25 * square - 0.5 * log_det;
            }
        }
    }
    return a;
}

/* ---- iterations ---- */

az_admm *az_admm_new(az_ctx *az, int64_t n, int blocks)
{
    az_admm *s = az_alloc(az, sizeof *s);
    if (!s) return NULL;
    *s = (az_admm){.n = n, .blocks = blocks, .rho = 1};
    s->raise = az_alloc_array(az, (size_t)s->blocks, sizeof(double));
    double ***const parts[] = {&s->z, &s->y, &s->w, &s->p, &s->q};
    for (size_t i = 0; i < 5; i++) {
        *parts[i] = az_alloc_array(az, (size_t)s->blocks, sizeof **parts[i]);
        for (int b = 0; *parts[i] && b < s->blocks; b++) (*parts[i])[b] = az_alloc_array(az, (size_t)(s->n * s->n), sizeof(double));
    }
    return az_ok(az) ? s : NULL;
}

/* Eigenpairs of m with positive (or else, negative) values into values and vectors; how many, or -1. */
static int signed_pairs(const double *m, int n, bool positive, block_space *ws)
{
    const size_t bytes = (size_t)n * (size_t)n * sizeof *m;
    double bound = 0;
    lapack_int found = 0;
    for (int i = 0; i < n; i++) {
        double sum = 0;
        for (int j = 0; j < n; j++) sum += fabs(m[(int64_t)i * n + j]);
        bound = fmax(bound, sum);
    }
    if (bound == 0) return 0;
    memcpy(ws->copy, m, bytes);
    if (LAPACKE_dsyevr(LAPACK_COL_MAJOR, 'V', 'V', 'L', n, ws->copy, n, positive ? 0 : -2 * bound, positive ? 2 * bound : 0, 0, 0, 0,
                       &found, ws->values, ws->vectors, n, ws->support) == 0)
        return found;
    memcpy(ws->vectors, m, bytes); /* points that lie on each other: many equal eigenvalues, on which that algorithm may fail */
    if (LAPACKE_dsyevd(LAPACK_COL_MAJOR, 'V', 'L', n, ws->vectors, n, ws->values) != 0) return -1;
    int below = 0;
    while (below < n && ws->values[below] <= 0) below++;
    if (!positive) return below;
    memmove(ws->values, ws->values + below, (size_t)(n - below) * sizeof *m);
    memmove(ws->vectors, ws->vectors + (size_t)below * (size_t)n, (size_t)(n - below) * (size_t)n * sizeof *m);
    return n - below;
}

/* y becomes the positive part of m, by those eigenpairs of which there were fewer at the last step: m = positive part - negative part.
 * |new - old|^2 is added to the dual residual. */
static void project_positive(const double *m, int n, double *y, block_space *ws)
{
    const bool positive = 2 * ws->positive <= n;
    const int found = signed_pairs(m, n, positive, ws);
    if (found < 0) ws->failed = true;
    ws->positive = positive ? found : n - found;
    for (int a = 0; a < found; a++) cblas_dscal(n, sqrt(fabs(ws->values[a])), ws->vectors + (int64_t)a * n, 1);
    if (found > 0) cblas_dsyrk(CblasColMajor, CblasLower, CblasNoTrans, n, found, 1, ws->vectors, n, 0, ws->copy, n);
    for (int j = 0; j < n; j++) {
        for (int i = j; i < n; i++) {
            const int64_t e = (int64_t)j * n + i;
            const double part = found > 0 ? ws->copy[e] : 0, value = positive ? part : m[e] + part, off = value - y[e];
            ws->dual += (i == j ? 1 : 2) * off * off;
            y[e] = y[(int64_t)i * n + j] = value;
        }
    }
}

/* The least v >= 0 with sum max(x + v, 0) >= least: Newton's steps from above on a convex function with finitely many pieces. */
static double raise_to(const double *x, int64_t cells, double least)
{
    double low = INFINITY, sum = 0, before = INFINITY;
    for (int64_t e = 0; e < cells; e++) low = fmin(low, x[e]), sum += fmax(x[e], 0);
    if (sum >= least) return 0;
    double v = fmax(-low, 0) + least / (double)cells;
    while (v < before) {
        double slope = 0;
        before = v, sum = -least;
        for (int64_t e = 0; e < cells; e++)
            if (x[e] + v > 0) sum += x[e] + v, slope++;
        if (slope > 0) v -= sum / slope;
    }
    return fmax(v, 0);
}

/* Copies and multipliers of one block. */
static void step_block(const az_la_sdp *problem, az_admm *s, int b, block_space *ws)
{
    const int64_t cells = s->n * s->n;
    double *z = s->z[b], *y = s->y[b], *w = s->w[b], *p = s->p[b], *q = s->q[b];
    ws->primal = ws->dual = 0;
    for (int64_t e = 0; e < cells; e++) p[e] += z[e], q[e] += z[e];
    project_positive(p, (int)s->n, y, ws);
    s->raise[b] = s->blocks > 1 && problem->least > 1 ? raise_to(q, cells, (double)problem->least) : 0;
    for (int64_t e = 0; e < cells; e++) {
        const double value = fmax(q[e] + s->raise[b], 0);
        ws->dual += (value - w[e]) * (value - w[e]);
        w[e] = value;
        p[e] -= y[e];
        q[e] -= w[e];
        ws->primal += (z[e] - y[e]) * (z[e] - y[e]) + (z[e] - w[e]) * (z[e] - w[e]);
    }
}

static bool iterate(az_ctx *az, const az_la_sdp *problem, az_admm *s, workspace *ws)
{
    const int64_t cells = s->n * s->n;
    for (int b = 0; b < s->blocks; b++)
        for (int64_t e = 0; e < cells; e++)
            s->z[b][e] =
                0.5 * (s->y[b][e] - s->p[b][e] + s->w[b][e] - s->q[b][e]) + (problem->a[b][e] - s->shift) / (2 * s->scale * s->rho);
    az_la_sdp_project(s->n, s->blocks, problem->k, s->z, ws->row, ws->slope);
    double primal = 0, dual = 0;
    bool failed = false;
#pragma omp parallel for num_threads(az_threads(az)) schedule(static) if (s->blocks > 1)
    for (int b = 0; b < s->blocks; b++) step_block(problem, s, b, &ws->block[b]);
    for (int b = 0; b < s->blocks; b++) {
        primal += ws->block[b].primal, dual += ws->block[b].dual;
        failed = failed || ws->block[b].failed;
    }
    ws->primal = sqrt(primal);
    ws->dual = s->rho * sqrt(dual);
    return !failed || az_fail(az, AZ_NUMERIC, "the eigenvalues of a block were not found");
}

/* Keeps the residuals within a factor of ten; the scaled multipliers change with rho. */
static void balance(az_admm *s, workspace *ws)
{
    const double factor = ws->primal > 10 * ws->dual ? 2 : ws->dual > 10 * ws->primal ? 0.5 : 1;
    s->rho *= factor;
    cblas_dscal((int)s->n, 1 / factor, ws->slope, 1);
    for (int b = 0; b < s->blocks && factor != 1; b++) {
        s->raise[b] /= factor;
        cblas_dscal((int)(s->n * s->n), 1 / factor, s->p[b], 1);
        cblas_dscal((int)(s->n * s->n), 1 / factor, s->q[b], 1);
    }
}

static double objective_of(const az_la_sdp *problem, double *const *z)
{
    double sum = 0;
    for (int b = 0; b < problem->blocks; b++) sum += cblas_ddot((int)(problem->n * problem->n), problem->a[b], 1, z[b], 1);
    return sum;
}

void az_la_sdp_units(const az_la_sdp *problem, double *shift, double *scale)
{
    *shift = -INFINITY, *scale = 0;
    for (int b = 0; b < problem->blocks; b++)
        for (int64_t e = 0; e < problem->n * problem->n; e++) *shift = fmax(*shift, problem->a[b][e]);
    for (int b = 0; b < problem->blocks; b++)
        for (int64_t e = 0; e < problem->n * problem->n; e++) *scale = fmax(*scale, *shift - problem->a[b][e]);
    if (*scale == 0) *scale = 1;
}

/* The bound of la_sdp.h from the present multipliers, enlarged by what rounding may have taken from it. NaN on failure. */
static double bound_of(az_ctx *az, const az_la_sdp *problem, const az_admm *s, workspace *ws)
{
    const int n = (int)s->n;
    const double trace = s->blocks > 1 ? 1 : problem->k, unit = s->rho * s->scale;
    double bound = 0, size = 0;
    for (int i = 0; i < n; i++) bound -= 2 * unit * ws->slope[i], size += fabs(2 * unit * ws->slope[i]);
    for (int b = 0; b < s->blocks; b++) {
        block_space *w = &ws->block[b];
        const double raise = unit * s->raise[b];
        lapack_int found = 0;
        for (int64_t i = 0, e = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++, e++)
                w->copy[e] = problem->a[b][e] - s->shift + fmax(-unit * s->q[b][e], raise) + unit * (ws->slope[i] + ws->slope[j]);
        size += trace * cblas_dnrm2(n * n, w->copy, 1) + raise * (double)problem->least;
        if (LAPACKE_dsyevr(LAPACK_COL_MAJOR, 'N', 'I', 'L', n, w->copy, n, 0, 0, n, n, 0, &found, w->values, w->vectors, n, w->support) !=
            0) {
            az_fail(az, AZ_NUMERIC, "the largest eigenvalue of a bound was not found");
            return NAN;
        }
        bound += trace * w->values[0] - raise * (double)problem->least;
    }
    return bound + n * s->shift + n * DBL_EPSILON * (size + n * fabs(s->shift));
}

static bool prepare(az_ctx *az, int64_t n, int blocks, workspace *ws)
{
    const size_t cells = (size_t)(n * n), size = (size_t)n;
    *ws = (workspace){.block = az_alloc_array(az, (size_t)blocks, sizeof *ws->block),
                      .row = az_alloc_array(az, size, sizeof(double)),
                      .slope = az_alloc_array(az, size, sizeof(double))};
    for (int b = 0; ws->block && b < blocks; b++)
        ws->block[b] = (block_space){.values = az_alloc_array(az, size, sizeof(double)),
                                     .vectors = az_alloc_array(az, cells, sizeof(double)),
                                     .copy = az_alloc_array(az, cells, sizeof(double)),
                                     .support = az_alloc_array(az, 2 * size, sizeof(lapack_int))};
    return az_ok(az);
}

az_la_sdp_fit *az_la_sdp_solve(az_ctx *az, const az_la_sdp *problem, const az_la_sdp_how *how, az_admm *s)
{
    enum { BALANCE_EVERY = 50 };
    workspace ws;
    az_la_sdp_fit *fit = az_alloc(az, sizeof *fit);
    if (!fit || problem->n < 2 || problem->blocks > 64 || problem->n > 30000)
        return az_fail(az, AZ_BAD_CALL, "la_sdp: %lld points in %d blocks", (long long)problem->n, problem->blocks);
    if (!s) s = az_admm_new(az, problem->n, problem->blocks);
    if (!s || !prepare(az, problem->n, problem->blocks, &ws)) return NULL;
    az_la_sdp_units(problem, &s->shift, &s->scale);
    while (fit->iterations < how->iterations && !fit->converged) {
        if (!iterate(az, problem, s, &ws)) return NULL;
        fit->converged = ws.primal < how->tolerance && ws.dual < how->tolerance;
        if (++fit->iterations % BALANCE_EVERY == 0 && !fit->converged) balance(s, &ws);
        if (!az_progress(az, "semidefinite program", fit->iterations, how->iterations, NULL))
            return az_fail(az, AZ_INTERRUPTED, "interrupted after %lld iterations", (long long)fit->iterations);
    }
    fit->z = s->z, fit->primal = ws.primal, fit->dual = ws.dual;
    fit->objective = objective_of(problem, fit->z);
    fit->bound = bound_of(az, problem, s, &ws);
    return az_ok(az) ? fit : NULL;
}
