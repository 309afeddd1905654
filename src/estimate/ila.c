/* ila.c - likelihood-adjusted programs one after the other (Zhuang, Chen, Yang 2023, algorithm 1), and rounding.
 *
 * Z given the covariances maximises sum_k <A_k, Z_k>, which for a partition is its profile log-likelihood; then
 *     S_k = X^T (diag(Z_k 1) - Z_k) X / (1^T Z_k 1)
 * maximises the same sum over the covariances. */
#include "estimate/ila.h"

#include <cblas.h>
#include <lapacke.h>
#include <math.h>
#include <string.h>

/* membership [n, k] from blocks; for one block the labels give it. */
static void sum_rows(const az_la_sdp_fit *z, int64_t n, int k, double *membership)
{
    for (int c = 0; c < k; c++)
        for (int64_t i = 0; i < n; i++) {
            double sum = 0;
            for (int64_t j = 0; j < n; j++) sum += z->z[c][i * n + j];
            membership[i * k + c] = sum;
        }
}

/* K-means on the leading k eigenvectors of sum_k Z_k. */
static int *round_by_vectors(az_ctx *az, const az_la_sdp_fit *z, int64_t n, int blocks, int k, uint64_t seed)
{
    const int size = (int)n;
    double *sum = az_alloc_array(az, (size_t)(n * n), sizeof *sum), *values = az_alloc_array(az, (size_t)n, sizeof *values);
    double *vectors = az_alloc_array(az, (size_t)(n * k), sizeof *vectors), cost;
    lapack_int *support = az_alloc_array(az, 2 * (size_t)n, sizeof *support), found = 0;
    if (!sum || !values || !vectors || !support) return NULL;
    for (int b = 0; b < blocks; b++) cblas_daxpy(size * size, 1, z->z[b], 1, sum, 1);
    if (LAPACKE_dsyevr(LAPACK_ROW_MAJOR, 'V', 'I', 'L', size, sum, size, 0, 0, size - k + 1, size, 0, &found, values, vectors, k,
                       support) != 0)
        return az_fail(az, AZ_NUMERIC, "the leading eigenvectors of Z were not found");
    const az_points spectral = {.n = n, .p = k, .x = vectors};
    return az_kmeans(az, &spectral, k, 20, seed, &cost);
}

/* Second over first eigenvalue below 1e-3 in each block. */
static bool is_integral(az_ctx *az, const az_la_sdp_fit *z, int64_t n, int blocks)
{
    bool integral = true;
    az_scope_push(az);
    double *copy = az_alloc_array(az, (size_t)(n * n), sizeof *copy), *values = az_alloc_array(az, (size_t)n, sizeof *values), vectors[1];
    lapack_int *support = az_alloc_array(az, 2 * (size_t)n, sizeof *support), found = 0;
    for (int b = 0; copy && values && support && integral && b < blocks; b++) {
        memcpy(copy, z->z[b], (size_t)(n * n) * sizeof *copy);
        integral = LAPACKE_dsyevr(LAPACK_ROW_MAJOR, 'N', 'I', 'L', (int)n, copy, (int)n, 0, 0, (int)n - 1, (int)n, 0, &found, values,
                                  vectors, 1, support) == 0 &&
                   values[0] < 1e-3 * values[1];
    }
    az_scope_pop(az);
    return integral && az_ok(az);
}

/* The group with the largest membership of each point; by eigenvectors when a group would be empty. */
static bool round_labels(az_ctx *az, const az_la_sdp_fit *z, int64_t n, const az_ila_how *how, az_ila_fit *fit)
{
    const int k = how->k;
    bool empty = false;
    fit->ambiguous = 0;
    for (int64_t i = 0; i < n; i++) {
        double first = -INFINITY, second = -INFINITY;
        for (int c = 0; c < k; c++) {
            const double m = fit->membership[i * k + c];
            if (m > first)
                second = first, first = m, fit->label[i] = c;
            else
                second = fmax(second, m);
        }
        fit->ambiguous += first - second < 0.1;
    }
    for (int c = 0; c < k; c++) {
        int64_t count = 0;
        for (int64_t i = 0; i < n; i++) count += fit->label[i] == c;
        empty = empty || count == 0;
    }
    if (!empty) return true;
    const int *label = round_by_vectors(az, z, n, k, k, how->program.seed);
    if (label) memcpy(fit->label, label, (size_t)n * sizeof *label);
    return label != NULL;
}

/* S_k = X^T (diag(Z_k 1) - Z_k) X / (1^T Z_k 1), restrained. */
static bool update_covariances(az_ctx *az, const az_points *points, const az_la_sdp_fit *z, const az_ila_how *how, az_ila_fit *fit)
{
    const int64_t n = points->n;
    const int p = points->p, k = how->k;
    az_scope_push(az);
    double *product = az_alloc_array(az, (size_t)(n * p), sizeof *product), *mass = az_alloc_array(az, (size_t)k, sizeof *mass);
    for (int c = 0; product && mass && c < k; c++) {
        double *s = fit->covariance + (size_t)c * (size_t)(p * p);
        for (int64_t i = 0; i < n; i++) {
            mass[c] += fit->membership[i * k + c];
            for (int j = 0; j < p; j++) product[i * p + j] = fit->membership[i * k + c] * points->x[i * p + j];
        }
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)n, p, (int)n, -1, z->z[c], (int)n, points->x, p, 1, product, p);
        cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, p, p, (int)n, 1 / fmax(mass[c], 1e-300), points->x, p, product, p, 0, s, p);
    }
    int floored = 0;
    if (az_ok(az)) az_restrain_covariances(az, points, k, how->covariance, mass, fit->covariance, &floored);
    fit->floored += floored;
    az_scope_pop(az);
    return az_ok(az);
}

static az_ila_fit *new_fit(az_ctx *az, const az_points *points, const az_ila_how *how)
{
    const size_t n = (size_t)points->n, k = (size_t)how->k;
    az_ila_fit *fit = az_alloc(az, sizeof *fit);
    if (!fit) return NULL;
    fit->label = az_alloc_array(az, n, sizeof *fit->label);
    fit->membership = az_alloc_array(az, n * k, sizeof(double));
    fit->objective = az_alloc_array(az, (size_t)how->iterations, sizeof(double));
    fit->exact = true;
    return az_ok(az) ? fit : NULL;
}

/* One program with the present covariances. */
static az_la_sdp_fit *solve(az_ctx *az, const az_points *points, const az_ila_how *how, az_ila_fit *fit, const az_la_sdp_fit *warm)
{
    double **cost = az_la_sdp_costs(az, points, how->k, fit->covariance);
    if (!cost) return NULL;
    const az_la_sdp problem = {.n = points->n, .blocks = how->k, .k = how->k, .a = (const double *const *)cost};
    az_la_sdp_fit *z =
        how->low_rank ? az_la_sdp_low_rank(az, &problem, &how->program, fit->label) : az_la_sdp_solve(az, &problem, &how->program, warm);
    if (!z) return NULL;
    fit->exact = fit->exact && z->converged;
    fit->program_steps += (int)z->iterations;
    fit->objective[fit->iterations++] = z->objective;
    fit->bound = z->converged && !how->low_rank ? z->objective : NAN;
    return z;
}

az_ila_fit *az_ila_sdp(az_ctx *az, const az_points *points, const int *start, const az_ila_how *how)
{
    const int64_t n = points->n;
    az_ila_fit *fit = new_fit(az, points, how);
    int *before = az_alloc_array(az, (size_t)n, sizeof *before), floored;
    if (!fit || !before || !start) return NULL;
    memcpy(fit->label, start, (size_t)n * sizeof *start);
    fit->covariance = az_partition_covariances(az, points, how->k, start, how->covariance, &floored);
    if (!fit->covariance) return NULL;
    fit->floored = floored;
    const az_la_sdp_fit *z = NULL;
    while (fit->iterations < how->iterations && !fit->repeated) {
        memcpy(before, fit->label, (size_t)n * sizeof *before);
        if (!(z = solve(az, points, how, fit, z))) return NULL;
        sum_rows(z, n, how->k, fit->membership);
        if (!round_labels(az, z, n, how, fit)) return NULL;
        const double now = fit->objective[fit->iterations - 1],
                     last = fit->iterations > 1 ? fit->objective[fit->iterations - 2] : -INFINITY;
        fit->repeated = fit->iterations > 1 &&
                        (memcmp(before, fit->label, (size_t)n * sizeof *before) == 0 || fabs(now - last) <= how->tolerance * fabs(now));
        if (!fit->repeated && fit->iterations < how->iterations && !update_covariances(az, points, z, how, fit)) return NULL;
        if (!az_progress(az, "ila-sdp", fit->iterations, how->iterations, NULL)) return az_fail(az, AZ_INTERRUPTED, "interrupted");
    }
    fit->integral = is_integral(az, z, n, how->k);
    fit->likelihood = az_partition_likelihood(az, points, how->k, fit->label, fit->covariance);
    return az_ok(az) ? fit : NULL;
}

/* The program does not see where the origin lies, its numbers do: points - mean; the mean is left in `mean`. */
static void centre(const az_points *points, double *centred, double *mean)
{
    const int64_t n = points->n;
    const int p = points->p;
    for (int j = 0; j < p; j++) {
        mean[j] = 0;
        for (int64_t i = 0; i < n; i++) mean[j] += points->x[i * p + j] / (double)n;
        for (int64_t i = 0; i < n; i++) centred[i * p + j] = points->x[i * p + j] - mean[j];
    }
}

az_ila_fit *az_kmeans_sdp(az_ctx *az, const az_points *points, const double *covariance, const int *start, const az_ila_how *how)
{
    const int64_t n = points->n;
    const int p = points->p, k = how->k;
    az_ila_fit *fit = new_fit(az, points, how);
    double *white = az_alloc_array(az, (size_t)(n * p), sizeof *white), *factor = az_alloc_array(az, (size_t)(p * p), sizeof *factor),
           *mean = az_alloc_array(az, (size_t)p, sizeof *mean), log_det;
    double *gram = az_alloc_array(az, (size_t)(n * n), sizeof *gram);
    if (!fit || !white || !factor || !mean || !gram) return NULL;
    centre(points, white, mean);
    if (covariance) {
        if (!az_cov_factor(p, covariance, factor, &log_det)) return az_fail(az, AZ_NUMERIC, "the covariance is not positive definite");
        cblas_dtrsm(CblasRowMajor, CblasRight, CblasLower, CblasTrans, CblasNonUnit, (int)n, p, 1, factor, p, white, p);
        cblas_dtrsv(CblasRowMajor, CblasLower, CblasNoTrans, CblasNonUnit, p, factor, p, mean, 1);
    }
    const double shift = (double)n * cblas_ddot(p, mean, 1, mean, 1); /* <1 m^T m 1^T, Z> = n |m|^2, as Z 1 = 1 */
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)n, (int)n, p, 1, white, p, white, p, 0, gram, (int)n);
    const az_la_sdp problem = {.n = n, .blocks = 1, .k = k, .a = (const double *const[]){gram}};
    const az_la_sdp_fit *z =
        how->low_rank ? az_la_sdp_low_rank(az, &problem, &how->program, start) : az_la_sdp_solve(az, &problem, &how->program, NULL);
    int *label = z ? round_by_vectors(az, z, n, 1, k, how->program.seed) : NULL;
    if (!label) return NULL;
    int floored;
    fit->label = label, fit->exact = z->converged, fit->program_steps = (int)z->iterations,
    fit->objective[fit->iterations++] = z->objective + shift;
    fit->bound = z->converged && !how->low_rank ? z->objective + shift : NAN;
    for (int64_t i = 0; i < n; i++) fit->membership[i * k + label[i]] = 1;
    fit->covariance = az_partition_covariances(az, points, k, label, how->covariance, &floored);
    fit->likelihood = fit->covariance ? az_partition_likelihood(az, points, k, label, fit->covariance) : NAN;
    /* of rank k with equal eigenvalues, when it is that of a partition: |Z|^2 = k */
    fit->integral = fabs(cblas_ddot((int)(n * n), z->z[0], 1, z->z[0], 1) - k) < 1e-2;
    return az_ok(az) ? fit : NULL;
}
