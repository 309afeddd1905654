/* linf_solve.c - least squares on a sketch, its standard errors, and the sketch of a Kronecker product. */
#include "estimate/linf.h"

#include <cblas.h>
#include <lapacke.h>
#include <math.h>
#include <string.h>

int64_t az_linf_rows(int64_t n, int64_t d, double eps, double delta, bool theory)
{
    const double wanted =
        theory ? (double)d * pow(log((double)n / delta), 3) / (eps * eps) : 2 * (double)d * log(2 * (double)d / delta) / (eps * eps);
    return wanted < (double)n ? (int64_t)ceil(wanted) : n;
}

/* The rank of R, its columns scaled to length 1: it does not depend on the units that they are given in. */
static bool find_rank(az_ctx *az, az_linf_fit *fit, int64_t d)
{
    az_tensor *scaled = az_from(az, AZ_F64, 2, (int64_t[]){d, d}, fit->r), *s = NULL;
    double *r = az_f64_mut(scaled);
    for (int64_t j = 0; r && j < d; j++) {
        const double length = cblas_dnrm2((int)d, r + j, (int)d);
        for (int64_t i = 0; length > 0 && i <= j; i++) r[i * d + j] /= length;
    }
    if (!az_svd(az, scaled, NULL, &s, NULL)) return false;
    while (fit->rank < d && az_item(s, fit->rank) > 1e-13 * az_item(s, 0)) fit->rank++;
    return true;
}

/* Singular values of R, and se from the rows of R^-1. */
static bool find_errors(az_ctx *az, az_linf_fit *fit, int64_t d, double deviation)
{
    az_tensor *s = NULL;
    if (!az_svd(az, az_from(az, AZ_F64, 2, (int64_t[]){d, d}, fit->r), NULL, &s, NULL) || !find_rank(az, fit, d)) return false;
    fit->largest = az_item(s, 0);
    fit->least = az_item(s, d - 1);
    if (fit->rank < d) return true;
    double *inverse = az_alloc_array(az, (size_t)(d * d), sizeof *inverse);
    if (!inverse) return false;
    memcpy(inverse, fit->r, (size_t)(d * d) * sizeof *inverse);
    LAPACKE_dtrtri_work(LAPACK_COL_MAJOR, 'L', 'N', (int)d, inverse, (int)d); /* row-major upper = column-major lower */
    for (int64_t j = 0; j < d; j++) fit->se[j] = deviation * cblas_dnrm2((int)(d - j), inverse + j * d + j, 1);
    return true;
}

/* The shortest x of those that minimise |R x - Q^T S b|, the right side being in fit->x. */
static az_linf_fit *minimum_norm_fit(az_ctx *az, az_linf_fit *fit, int64_t d)
{
    az_scope_push(az);
    const az_tensor *right = az_from(az, AZ_F64, 2, (int64_t[]){d, 1}, fit->x);
    const az_tensor *x = az_least_squares(az, az_from(az, AZ_F64, 2, (int64_t[]){d, d}, fit->r), right, 1e-13);
    for (int64_t j = 0; x && j < d; j++) fit->x[j] = az_item(x, j);
    az_scope_pop(az);
    fit->r = fit->se = NULL;
    return az_ok(az) ? fit : NULL;
}

az_rows az_linf_joint(const double *rows, int64_t n, int64_t d)
{
    return (az_rows){.x = rows, .count = n, .width = d, .stride = d + 1, .last = rows ? rows + d : NULL, .last_stride = d + 1};
}

/* The fit, whatever its rank. */
static az_linf_fit *solve(az_ctx *az, const az_rows *sketch, bool minimum_norm)
{
    const int64_t m = sketch->count, d = sketch->width;
    az_linf_fit *fit = az_alloc(az, sizeof *fit);
    if (!fit) return NULL;
    fit->x = az_alloc_array(az, (size_t)d, sizeof(double)), fit->se = az_alloc_array(az, (size_t)d, sizeof(double));
    fit->r = az_alloc_array(az, (size_t)(d * d), sizeof(double));
    az_scope_push(az);
    double *columns = az_alloc_array(az, (size_t)(m * (d + 1)), sizeof *columns), *tau = az_alloc_array(az, (size_t)d + 1, sizeof *tau);
    bool done = false;
    if (columns && tau) {
        for (int64_t t = 0; t < m; t++) {
            for (int64_t j = 0; j < d; j++) columns[j * m + t] = sketch->x[t * sketch->stride + j];
            columns[d * m + t] = sketch->last[t * sketch->last_stride];
        }
        /* R of (S A, S b): its last column holds Q^T S b, and below it what is left of S b */
        LAPACKE_dgeqrf(LAPACK_COL_MAJOR, (int)m, (int)d + 1, columns, (int)m, tau);
        for (int64_t i = 0; i < d; i++)
            for (int64_t j = i; j < d; j++) fit->r[i * d + j] = columns[j * m + i];
        const double left = m > d ? fabs(columns[d * m + d]) : 0;
        const double deviation = m > d ? left / sqrt((double)(m - d)) : NAN;
        fit->residual = deviation * sqrt((double)m);
        done = find_errors(az, fit, d, deviation);
        memcpy(fit->x, columns + d * m, (size_t)d * sizeof *fit->x);
        if (done && fit->rank == d) LAPACKE_dtrtrs_work(LAPACK_COL_MAJOR, 'L', 'T', 'N', (int)d, 1, fit->r, (int)d, fit->x, (int)d);
    }
    az_scope_pop(az);
    if (!done) return NULL;
    return fit->rank < d && minimum_norm ? minimum_norm_fit(az, fit, d) : fit;
}

az_linf_fit *az_linf_solve(az_ctx *az, const az_rows *rows, bool minimum_norm)
{
    const int64_t n = rows->count, d = rows->width;
    if (!az_ok(az) || !rows->x || !rows->last) return NULL;
    if (n < d) return az_fail(az, AZ_BAD_INPUT, "%lld rows do not determine %lld coefficients", (long long)n, (long long)d);
    az_linf_fit *fit = solve(az, rows, minimum_norm);
    if (fit && fit->rank < d && !minimum_norm)
        return az_fail(az, AZ_NUMERIC,
                       "the columns depend on each other: all %lld rows have rank %lld, not %lld; leave columns out, or take the shortest "
                       "solution (minimum_norm)",
                       (long long)n, (long long)fit->rank, (long long)d);
    if (fit) fit->residual = az_linf_residual(rows, fit->x);
    return fit;
}

double az_linf_residual(const az_rows *rows, const double *x)
{
    double square = 0;
    for (int64_t i = 0; i < rows->count; i++) {
        double left = rows->last[i * rows->last_stride];
        for (int64_t j = 0; j < rows->width; j++) left -= rows->x[i * rows->stride + j] * x[j];
        square += left * left;
    }
    return sqrt(square);
}

az_linf_fit *az_linf_solve_sketch(az_ctx *az, const az_rows *sketch, bool minimum_norm)
{
    const int64_t m = sketch->count, d = sketch->width;
    if (!az_ok(az) || !sketch->x || !sketch->last) return NULL;
    if (m < d)
        return az_fail(az, AZ_BAD_INPUT, "a sketch of %lld rows cannot tell %lld coefficients: rows=%lld or more", (long long)m,
                       (long long)d, (long long)(4 * d));
    az_linf_fit *fit = solve(az, sketch, minimum_norm);
    if (fit && fit->rank < d && !minimum_norm)
        return az_fail(az, AZ_NUMERIC,
                       "the %lld rows of the sketch have rank %lld, not %lld: take more of them (rows=), or a dense sketch; if the columns "
                       "themselves depend on each other, minimum_norm gives the shortest solution",
                       (long long)m, (long long)fit->rank, (long long)d);
    return fit;
}

az_linf_fit *az_linf_sketch_and_solve(az_ctx *az, const az_sketch *sketch, const az_rows *rows, bool minimum_norm)
{
    double *out = az_alloc_array(az, (size_t)(sketch->sketched * (rows->width + 1)), sizeof *out);
    if (!out || !az_sketch_add(az, sketch, rows, 0, out)) return NULL;
    const az_rows sketched = az_linf_joint(out, sketch->sketched, rows->width);
    return az_linf_solve_sketch(az, &sketched, minimum_norm);
}

/* ---- Kronecker products ---- */

static int64_t power_of_two(int64_t n)
{
    int64_t padded = 1;
    while (padded < n) padded *= 2;
    return padded;
}

/* H D x for x [n, columns], padded with zeros: [N, columns]. */
static double *transform(az_ctx *az, const double *x, int64_t n, int64_t columns, const double *sign)
{
    const int64_t padded = power_of_two(n);
    double *y = az_alloc_array(az, (size_t)(padded * columns), sizeof *y);
    for (int64_t i = 0; y && i < n; i++)
        for (int64_t c = 0; c < columns; c++) y[i * columns + c] = sign[i] * x[i * columns + c];
    if (y) az_walsh_hadamard(y, padded, columns, az_threads(az));
    return y;
}

static double *signs(az_ctx *az, int64_t n, uint64_t seed, uint64_t which)
{
    double *sign = az_alloc_array(az, (size_t)n, sizeof *sign);
    az_rng rng = az_rng_at(seed, az_stream("tensor srht signs", which));
    for (int64_t i = 0; sign && i < n; i++) sign[i] = az_random_bits(&rng) & 1 ? 1 : -1;
    return sign;
}

bool az_linf_tensor_sketch(az_ctx *az, const az_tensor_operands *in, int64_t m, uint64_t seed, double *sketch)
{
    const int64_t big1 = power_of_two(in->n1), big2 = power_of_two(in->n2), d = in->d1 * in->d2;
    az_scope_push(az);
    const double *sign1 = signs(az, in->n1, seed, 1), *sign2 = signs(az, in->n2, seed, 2);
    const double *first = sign1 ? transform(az, in->first, in->n1, in->d1, sign1) : NULL;
    const double *second = sign2 ? transform(az, in->second, in->n2, in->d2, sign2) : NULL;
    const double *half = first && second ? transform(az, in->b, in->n1, in->n2, sign1) : NULL; /* H D1 B [N1, n2] */
    double *across = az_alloc_array(az, (size_t)(in->n2 * big1), sizeof *across);
    for (int64_t i = 0; half && across && i < big1; i++)
        for (int64_t j = 0; j < in->n2; j++) across[j * big1 + i] = half[i * in->n2 + j];
    const double *b = half && across ? transform(az, across, in->n2, big1, sign2) : NULL; /* [N2, N1] */
    az_rng rng = az_rng_at(seed, az_stream("tensor srht rows", 0));
    const double scale = 1 / sqrt((double)m);
    for (int64_t t = 0; b && t < m; t++) {
        const int64_t p = (int64_t)az_below(&rng, (uint64_t)big1), q = (int64_t)az_below(&rng, (uint64_t)big2);
        double *row = sketch + t * (d + 1);
        for (int64_t i = 0; i < in->d1; i++)
            for (int64_t j = 0; j < in->d2; j++) row[i * in->d2 + j] = scale * first[p * in->d1 + i] * second[q * in->d2 + j];
        row[d] = scale * b[q * big1 + p];
    }
    az_scope_pop(az);
    return az_ok(az);
}
