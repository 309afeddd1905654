/* ila.c - likelihood-adjusted programs one after the other (Zhuang, Chen, Yang 2023, algorithm 1), and rounding.
 *
 * Z given the covariances maximises sum_k <A_k, Z_k>, which for a partition is its profile log-likelihood; then
 *     S_k = X^T (diag(Z_k 1) - Z_k) X / (1^T Z_k 1)
 * maximises the same sum over the covariances. */
#include "estimate/ila.h"

#include <cblas.h>
#include <float.h>
#include <lapacke.h>
#include <math.h>
#include <string.h>

int az_ila_least(az_cov_kind covariance, int p)
{
    return covariance == AZ_COV_FULL ? p + 1 : covariance == AZ_COV_SHARED ? 1 : 2;
}

/* ---- from Z to labels ---- */

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

/* Second over first eigenvalue below 1e-3 in each block. One block is that of a partition when its rank is k with equal eigenvalues, which
 * is |Z|^2 = k. */
static bool is_integral(az_ctx *az, const az_la_sdp_fit *z, int64_t n, int blocks, int k)
{
    if (blocks == 1) return fabs(cblas_ddot((int)(n * n), z->z[0], 1, z->z[0], 1) - k) < 1e-2;
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

/* Groups of a labeling renamed so that sum_k <A_k, Z_k> is largest; that sum. */
static double match_groups(az_ctx *az, const az_la_sdp *problem, int *label)
{
    const int64_t n = problem->n;
    const int k = problem->k;
    double *cost = az_alloc_array(az, (size_t)(k * k), sizeof *cost), *count = az_alloc_array(az, (size_t)k, sizeof *count);
    int *match = az_alloc_array(az, (size_t)k, sizeof *match);
    if (!cost || !count || !match) return NAN;
    for (int64_t i = 0; i < n; i++) count[label[i]]++;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++)
            for (int c = 0; label[i] == label[j] && c < k; c++) cost[label[i] * k + c] -= problem->a[c][i * n + j] / count[label[i]];
    const double value = -az_match(az, cost, k, match);
    for (int64_t i = 0; i < n; i++) label[i] = match[label[i]];
    return value;
}

/* sum_k <A_k, Z_k> of a labeling; one block is every group's. */
static double value_of(az_ctx *az, const az_la_sdp *problem, const int *label)
{
    const int64_t n = problem->n;
    double sum = 0, *count = az_alloc_array(az, (size_t)problem->k, sizeof *count);
    if (!count) return NAN;
    for (int64_t i = 0; i < n; i++) count[label[i]]++;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++)
            if (label[i] == label[j]) sum += problem->a[problem->blocks > 1 ? label[i] : 0][i * n + j] / count[label[i]];
    return sum;
}

/* Points of the smallest group. */
static int64_t smallest_group(const int *label, int64_t n, int k)
{
    int64_t smallest = n;
    for (int c = 0; c < k; c++) {
        int64_t count = 0;
        for (int64_t i = 0; i < n; i++) count += label[i] == c;
        if (count < smallest) smallest = count;
    }
    return smallest;
}

/* Groups of too few points get those with the largest membership there from groups that can spare one. */
static bool fill_groups(az_ctx *az, const double *membership, int64_t n, int k, int64_t least, int *label)
{
    int64_t *count = az_alloc_array(az, (size_t)k, sizeof *count);
    for (int64_t i = 0; count && i < n; i++) count[label[i]]++;
    for (int c = 0; count && c < k; c++) {
        while (count[c] < least) {
            int64_t best = -1;
            for (int64_t i = 0; i < n; i++)
                if (count[label[i]] > least && (best < 0 || membership[i * k + c] > membership[best * k + c])) best = i;
            if (best < 0) return az_fail(az, AZ_BAD_CALL, "clusters: %lld points for %d groups", (long long)n, k);
            count[label[best]]--, count[c]++;
            label[best] = c;
        }
    }
    return count != NULL;
}

/* Labels from Z, as ila.h says. */
static bool round_labels(az_ctx *az, const az_la_sdp *problem, const az_la_sdp_fit *z, const az_ila_how *how, az_ila_fit *fit)
{
    const int64_t n = problem->n;
    const int k = how->k;
    const size_t bytes = (size_t)n * sizeof *fit->label;
    fit->ambiguous = 0;
    fit->by_vectors = problem->blocks == 1;
    if (fit->by_vectors) {
        const int *label = round_by_vectors(az, z, n, 1, k, how->program.seed);
        memset(fit->membership, 0, (size_t)(n * k) * sizeof *fit->membership);
        for (int64_t i = 0; label && i < n; i++) fit->membership[i * k + label[i]] = 1;
        if (label) memcpy(fit->label, label, bytes);
        return label && fill_groups(az, fit->membership, n, k, fit->least, fit->label);
    }
    sum_rows(z, n, k, fit->membership);
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
    const bool enough = smallest_group(fit->label, n, k) >= fit->least;
    if (fit->ambiguous == 0 && enough) return true;
    int *label = round_by_vectors(az, z, n, k, k, how->program.seed);
    if (!label) return false;
    if (smallest_group(label, n, k) >= fit->least) {
        const double value = match_groups(az, problem, label);
        fit->by_vectors = !enough || value > value_of(az, problem, fit->label);
        if (fit->by_vectors) memcpy(fit->label, label, bytes);
    }
    return az_ok(az) && fill_groups(az, fit->membership, n, k, fit->least, fit->label);
}

/* ---- from Z to covariances ---- */

/* S [p, p] = X^T (diag(w) - Z) X / (1^T w), with weights w = membership[i * step]; 1^T w. */
static double scatter(const az_points *points, const double *z, const double *membership, int step, double *product, double *s)
{
    const int64_t n = points->n;
    const int p = points->p;
    double mass = 0;
    for (int64_t i = 0; i < n; i++) {
        mass += membership[i * step];
        for (int j = 0; j < p; j++) product[i * p + j] = membership[i * step] * points->x[i * p + j];
    }
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)n, p, (int)n, -1, z, (int)n, points->x, p, 1, product, p);
    cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, p, p, (int)n, 1 / fmax(mass, 1e-300), points->x, p, product, p, 0, s, p);
    return mass;
}

/* From the program's solution, restrained; those of one block are equal, or of the labels when there is to be one a group. */
static bool update_covariances(az_ctx *az, const az_points *points, const az_la_sdp *problem, const az_la_sdp_fit *z, const az_ila_how *how,
                               az_ila_fit *fit)
{
    const int64_t n = points->n;
    const int p = points->p, k = how->k;
    const size_t cells = (size_t)p * (size_t)p, rows = (size_t)(n > k ? n : k);
    int floored = 0;
    if (problem->blocks == 1 && how->covariance != AZ_COV_SHARED && k > 1) {
        const double *s = az_partition_covariances(az, points, k, fit->label, how->covariance, &floored);
        if (s) memcpy(fit->covariance, s, (size_t)k * cells * sizeof *s);
    } else {
        double *product = az_alloc_array(az, (size_t)(n * p), sizeof *product), *mass = az_alloc_array(az, rows, sizeof *mass);
        if (!product || !mass) return false;
        if (problem->blocks == 1) {
            for (int64_t i = 0; i < n; i++) mass[i] = 1;
            scatter(points, z->z[0], mass, 1, product, fit->covariance);
            for (int c = 0; c < k; c++) mass[c] = (double)n / k;
            for (int c = 1; c < k; c++) memcpy(fit->covariance + (size_t)c * cells, fit->covariance, cells * sizeof(double));
        } else {
            for (int c = 0; c < k; c++)
                mass[c] = scatter(points, z->z[c], fit->membership + c, k, product, fit->covariance + (size_t)c * cells);
        }
        az_restrain_covariances(az, points, k, how->covariance, mass, fit->covariance, &floored);
    }
    fit->floored += floored;
    return az_ok(az);
}

/* ---- the iteration ---- */

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

static bool are_equal(const double *covariance, int k, int p)
{
    const size_t cells = (size_t)p * (size_t)p;
    for (size_t e = cells; e < (size_t)k * cells; e++)
        if (fabs(covariance[e] - covariance[e % cells]) > 1e-12 * fabs(covariance[e % cells])) return false;
    return true;
}

/* One program with the present covariances, labels and new covariances from it. */
static bool turn(az_ctx *az, const az_points *points, const az_ila_how *how, az_admm *state, bool one, az_ila_fit *fit)
{
    const int64_t n = points->n;
    const int k = how->k;
    int *before = az_alloc_array(az, (size_t)n, sizeof *before);
    double **cost = az_la_sdp_costs(az, points, one ? 1 : k, fit->covariance);
    const az_la_sdp problem = {.n = n, .blocks = one ? 1 : k, .k = k, .least = fit->least, .a = (const double *const *)cost};
    if (!cost || !before) return false;
    memcpy(before, fit->label, (size_t)n * sizeof *before);
    const az_la_sdp_fit *z =
        how->low_rank ? az_la_sdp_low_rank(az, &problem, &how->program, fit->label) : az_la_sdp_solve(az, &problem, &how->program, state);
    if (!z || !round_labels(az, &problem, z, how, fit)) return false;
    const double last = fit->iterations > 0 ? fit->objective[fit->iterations - 1] : -INFINITY;
    fit->exact = fit->exact && z->converged;
    fit->program_steps += (int)z->iterations;
    fit->objective[fit->iterations++] = z->objective;
    fit->bound = z->bound;
    fit->integral = is_integral(az, z, n, problem.blocks, k);
    fit->repeated = fit->iterations > 1 && (memcmp(before, fit->label, (size_t)n * sizeof *before) == 0 ||
                                            fabs(z->objective - last) <= how->tolerance * fabs(z->objective));
    return fit->repeated || fit->iterations == how->iterations || update_covariances(az, points, &problem, z, how, fit);
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

az_ila_fit *az_ila_sdp(az_ctx *az, const az_points *points, const int *start, const az_ila_how *how)
{
    const int64_t n = points->n;
    const int p = points->p, k = how->k;
    az_ila_fit *fit = new_fit(az, points, how);
    double *centred = az_alloc_array(az, (size_t)(n * p), sizeof *centred), *mean = az_alloc_array(az, (size_t)p, sizeof *mean);
    if (!fit || !centred || !mean || !start) return NULL;
    fit->least = az_ila_least(how->covariance, p);
    if (n < (int64_t)k * fit->least)
        return az_fail(az, AZ_BAD_INPUT, "%d groups of at least %d points each, as their covariances want: there are %lld points", k,
                       fit->least, (long long)n);
    if (smallest_group(start, n, k) == 0) return az_fail(az, AZ_BAD_INPUT, "a group of the start has no points");
    centre(points, centred, mean);
    const az_points about = {.n = n, .p = p, .x = centred};
    memcpy(fit->label, start, (size_t)n * sizeof *start);
    fit->covariance = az_partition_covariances(az, &about, k, start, how->covariance, &fit->floored);
    if (!fit->covariance) return NULL;
    az_admm *state = NULL;
    for (int blocks = 0; fit->iterations < how->iterations && !fit->repeated && az_ok(az);) {
        const bool one = are_equal(fit->covariance, k, p);
        if (!how->low_rank && blocks != (one ? 1 : k)) state = az_admm_new(az, n, blocks = one ? 1 : k);
        az_scope_push(az);
        turn(az, &about, how, state, one, fit);
        az_scope_pop(az);
        if (!az_progress(az, "ila-sdp", fit->iterations, how->iterations, NULL)) return az_fail(az, AZ_INTERRUPTED, "interrupted");
    }
    fit->likelihood = az_partition_likelihood(az, &about, k, fit->label, fit->covariance);
    fit->gap = fit->bound - fit->likelihood;
    return az_ok(az) ? fit : NULL;
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
    fit->bound = z->bound + shift + 8 * DBL_EPSILON * shift, fit->gap = z->bound - value_of(az, &problem, label);
    for (int64_t i = 0; i < n; i++) fit->membership[i * k + label[i]] = 1;
    fit->covariance = az_partition_covariances(az, points, k, label, how->covariance, &floored);
    fit->likelihood = fit->covariance ? az_partition_likelihood(az, points, k, label, fit->covariance) : NAN;
    fit->integral = is_integral(az, z, n, 1, k), fit->by_vectors = true, fit->least = 1;
    return az_ok(az) ? fit : NULL;
}
