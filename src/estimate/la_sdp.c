/* la_sdp.c - the alternating direction method for clustering programs: copies Y_k (semidefinite) and W_k (entries >= 0) of each Z_k.
 *
 *     Z = projection onto the affine constraints of (Y - P + W - Q) / 2 + A / (2 rho)
 *     Y_k = positive part of Z_k + P_k,  W_k = max(Z_k + Q_k, 0),  P += Z - Y,  Q += Z - W
 * A is scaled by its largest entry; rho doubles or halves when one residual is ten times the other. */
#include "estimate/la_sdp.h"

#include <cblas.h>
#include <lapacke.h>
#include <math.h>
#include <string.h>

typedef struct az_admm {
    int64_t n;
    int blocks, k;
    double **z, **y, **w, **p, **q; /* [blocks] of [n, n] */
    double rho;
} az_admm;

/* What one iteration works in. */
typedef struct workspace {
    double *values, *vectors, *copy, *row, *slope; /* [n], [n, n], [n, n], [n], [n] */
    lapack_int *support;                           /* [2 n] */
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

static az_admm *new_state(az_ctx *az, const az_la_sdp *problem)
{
    az_admm *s = az_alloc(az, sizeof *s);
    if (!s) return NULL;
    *s = (az_admm){.n = problem->n, .blocks = problem->blocks, .k = problem->k, .rho = 1};
    double ***const parts[] = {&s->z, &s->y, &s->w, &s->p, &s->q};
    for (size_t i = 0; i < 5; i++) {
        *parts[i] = az_alloc_array(az, (size_t)s->blocks, sizeof **parts[i]);
        for (int b = 0; *parts[i] && b < s->blocks; b++) (*parts[i])[b] = az_alloc_array(az, (size_t)(s->n * s->n), sizeof(double));
    }
    return az_ok(az) ? s : NULL;
}

/* The positive part of m, from whichever of its positive eigenpairs there are; |new - old|^2 of y. */
static bool project_positive(az_ctx *az, const double *m, int n, double *y, workspace *ws, double *moved)
{
    double bound = 0;
    lapack_int found = 0;
    for (int i = 0; i < n; i++) {
        double sum = 0;
        for (int j = 0; j < n; j++) sum += fabs(m[(int64_t)i * n + j]);
        bound = fmax(bound, sum);
    }
    memcpy(ws->copy, m, (size_t)n * (size_t)n * sizeof *m);
    if (bound > 0 && LAPACKE_dsyevr(LAPACK_COL_MAJOR, 'V', 'V', 'L', n, ws->copy, n, 0, 2 * bound, 0, 0, 0, &found, ws->values, ws->vectors,
                                    n, ws->support) != 0)
        return az_fail(az, AZ_NUMERIC, "the eigenvalues of a block were not found");
    for (int a = 0; a < found; a++) cblas_dscal(n, sqrt(ws->values[a]), ws->vectors + (int64_t)a * n, 1);
    if (found > 0) cblas_dsyrk(CblasColMajor, CblasLower, CblasNoTrans, n, found, 1, ws->vectors, n, 0, ws->copy, n);
    for (int j = 0; j < n; j++) {
        for (int i = j; i < n; i++) {
            const double value = found > 0 ? ws->copy[(int64_t)j * n + i] : 0, off = value - y[(int64_t)j * n + i];
            *moved += (i == j ? 1 : 2) * off * off;
            y[(int64_t)j * n + i] = y[(int64_t)i * n + j] = value;
        }
    }
    return true;
}

static bool iterate(az_ctx *az, const az_la_sdp *problem, az_admm *s, double scale, workspace *ws)
{
    const int64_t cells = s->n * s->n;
    for (int b = 0; b < s->blocks; b++)
        for (int64_t e = 0; e < cells; e++)
            s->z[b][e] = 0.5 * (s->y[b][e] - s->p[b][e] + s->w[b][e] - s->q[b][e]) + problem->a[b][e] / (2 * scale * s->rho);
    az_la_sdp_project(s->n, s->blocks, s->k, s->z, ws->row, ws->slope);
    double primal = 0, dual = 0;
    for (int b = 0; b < s->blocks; b++) {
        double *z = s->z[b], *y = s->y[b], *w = s->w[b], *p = s->p[b], *q = s->q[b];
        for (int64_t e = 0; e < cells; e++) p[e] += z[e];
        if (!project_positive(az, p, (int)s->n, y, ws, &dual)) return false;
        for (int64_t e = 0; e < cells; e++) {
            const double value = fmax(z[e] + q[e], 0);
            dual += (value - w[e]) * (value - w[e]);
            w[e] = value;
            p[e] -= y[e];
            q[e] += z[e] - w[e];
            primal += (z[e] - y[e]) * (z[e] - y[e]) + (z[e] - w[e]) * (z[e] - w[e]);
        }
    }
    ws->primal = sqrt(primal);
    ws->dual = s->rho * sqrt(dual);
    return true;
}

/* Keeps the residuals within a factor of ten; the scaled multipliers change with rho. */
static void balance(az_admm *s, const workspace *ws)
{
    const double factor = ws->primal > 10 * ws->dual ? 2 : ws->dual > 10 * ws->primal ? 0.5 : 1;
    s->rho *= factor;
    for (int b = 0; b < s->blocks && factor != 1; b++) {
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

static bool prepare(az_ctx *az, int64_t n, workspace *ws)
{
    const size_t cells = (size_t)(n * n), size = (size_t)n;
    *ws = (workspace){.values = az_alloc_array(az, size, sizeof(double)),
                      .vectors = az_alloc_array(az, cells, sizeof(double)),
                      .copy = az_alloc_array(az, cells, sizeof(double)),
                      .row = az_alloc_array(az, size, sizeof(double)),
                      .slope = az_alloc_array(az, size, sizeof(double)),
                      .support = az_alloc_array(az, 2 * size, sizeof(lapack_int))};
    return az_ok(az);
}

az_la_sdp_fit *az_la_sdp_solve(az_ctx *az, const az_la_sdp *problem, const az_la_sdp_how *how, const az_la_sdp_fit *warm)
{
    enum { BALANCE_EVERY = 50 };
    workspace ws;
    az_la_sdp_fit *fit = az_alloc(az, sizeof *fit);
    if (!fit || problem->n < 2 || problem->blocks > 64 || problem->n > 30000)
        return az_fail(az, AZ_BAD_CALL, "la_sdp: %lld points in %d blocks", (long long)problem->n, problem->blocks);
    const bool reuse = warm && warm->state && warm->state->n == problem->n && warm->state->blocks == problem->blocks;
    az_admm *s = fit->state = reuse ? warm->state : new_state(az, problem);
    if (!s || !prepare(az, problem->n, &ws)) return NULL;
    double scale = 0;
    for (int b = 0; b < problem->blocks; b++)
        for (int64_t e = 0; e < problem->n * problem->n; e++) scale = fmax(scale, fabs(problem->a[b][e]));
    if (scale == 0) scale = 1;
    while (fit->iterations < how->iterations && !fit->converged) {
        if (!iterate(az, problem, s, scale, &ws)) return NULL;
        fit->converged = ws.primal < how->tolerance && ws.dual < how->tolerance;
        if (++fit->iterations % BALANCE_EVERY == 0 && !fit->converged) balance(s, &ws);
        if (!az_progress(az, "semidefinite program", fit->iterations, how->iterations, NULL))
            return az_fail(az, AZ_INTERRUPTED, "interrupted after %lld iterations", (long long)fit->iterations);
    }
    fit->z = s->z, fit->primal = ws.primal, fit->dual = ws.dual;
    fit->objective = objective_of(problem, fit->z);
    return fit;
}
