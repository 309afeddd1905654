/* ldp_estimate.c - messages of users, and what a server makes of them. */
#include "estimate/ldp.h"

#include <stdlib.h>
#include <string.h>

enum { LASSO_SWEEPS = 10000 };

const char *const ldp_protocol_names[] = {"nldp", "nldp-public", "iht", "nonprivate", "ols", "lasso", NULL};

/* ---- users ---- */

/* The factor that brings x into the ball of that radius. */
static double shrink(const double *x, int64_t d, double radius)
{
    double norm = 0;
    for (int64_t j = 0; j < d; j++) norm += x[j] * x[j];
    norm = sqrt(norm);
    return norm > radius ? radius / norm : 1;
}

void ldp_message(const ldp_settings *s, const double *x, double y, int64_t d, az_rng *rng, double *matrix, double *vector)
{
    const double f = shrink(x, d, s->radius), sigma1 = matrix ? ldp_matrix_sigma(s) : 0, sigma2 = ldp_vector_sigma(s, d, matrix != NULL);
    for (int64_t i = 0; matrix && i < d; i++)
        for (int64_t j = i; j < d; j++) matrix[i * d + j] = matrix[j * d + i] = f * x[i] * f * x[j] + sigma1 * az_normal(rng);
    for (int64_t j = 0; j < d; j++) vector[j] = ldp_clip(x[j], s->tau1) * ldp_clip(y, s->tau2) + sigma2 * az_normal(rng);
}

void ldp_gradient_message(const ldp_settings *s, const double *x, double y, int64_t d, const double *theta, az_rng *rng, double *z)
{
    double error = -ldp_clip(y, s->tau2), norm = 0;
    const double bound = ldp_gradient_bound(s, d);
    for (int64_t j = 0; j < d; j++) error += ldp_clip(x[j], s->tau1) * theta[j];
    double *g = z; /* the gradient first, then what is sent */
    for (int64_t j = 0; j < d; j++) {
        g[j] = ldp_clip(x[j], s->tau1) * error;
        norm += g[j] * g[j];
    }
    norm = sqrt(norm);
    for (int64_t j = 0; norm > bound && j < d; j++) g[j] *= bound / norm;
    double copy[LDP_MOST_COLUMNS];
    memcpy(copy, g, (size_t)d * sizeof *g);
    ldp_randomize(rng, copy, d, bound, s->eps, z);
}

/* ---- server ---- */

double ldp_lambda(const ldp_settings *s, ldp_protocol protocol, int64_t n, int64_t d)
{
    if (s->lambda >= 0) return s->lambda;
    const double rate = s->c / (sqrt((double)n) * s->eps);
    return protocol == LDP_NLDP     ? rate * (double)d
           : protocol == LDP_PUBLIC ? rate * sqrt((double)d)
                                    : s->c * sqrt(2 * log((double)d) / (double)n);
}

/* Whether M is positive definite by more than rounding, whatever the units of its columns: by the least eigenvalue of D^-1/2 M D^-1/2,
 * D = diag(M), which has ones on its diagonal. */
static bool is_definite(az_ctx *az, const az_tensor *m)
{
    const int64_t d = m->shape[0];
    az_tensor *scaled = az_copy(az, m), *values;
    double *x = az_f64_mut(scaled);
    const double *of = az_f64(m);
    for (int64_t i = 0; x && i < d; i++) {
        if (!(of[i * d + i] > 0)) return false;
        for (int64_t j = 0; j < d; j++) x[i * d + j] /= sqrt(of[i * d + i]) * sqrt(of[j * d + j]);
    }
    return x && az_eigh(az, scaled, &values, NULL) && az_item(values, 0) > 1e-9;
}

az_tensor *ldp_solve(az_ctx *az, const az_tensor *matrix, const az_tensor *vector, double lambda, double ridge, double *smallest)
{
    az_tensor *values;
    if (!matrix || !az_eigh(az, matrix, &values, NULL)) return NULL;
    const int64_t d = matrix->shape[0];
    const double low = az_item(values, 0) + ridge;
    az_tensor *ridged = az_add(az, matrix, az_affine(az, az_identity(az, AZ_F64, d), ridge, 0));
    if (smallest) *smallest = low;
    if (!ridged || !is_definite(az, ridged)) {
        const double enough = fmax(2 * fabs(low), 1e-6 * az_item(values, d - 1)); /* for is_definite */
        return az_fail(
            az, AZ_NUMERIC,
            "the matrix of moments is not positive definite: its smallest eigenvalue is %.4g; more users are needed, columns that "
            "the others do not determine, or regularise=%.2g",
            low, ridge + enough);
    }
    az_tensor *theta = az_solve(az, ridged, vector);
    for (int64_t j = 0; theta && j < d; j++) az_f64_mut(theta)[j] = ldp_soft(az_f64(theta)[j], lambda);
    return theta;
}

static int descending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

void ldp_threshold_step(const ldp_settings *s, const double *mean, int64_t d, double *theta)
{
    double size[LDP_MOST_COLUMNS] = {0}, norm = 0;
    for (int64_t j = 0; j < d; j++) {
        theta[j] -= s->eta * mean[j];
        size[j] = fabs(theta[j]);
    }
    qsort(size, (size_t)d, sizeof *size, descending);
    const double bar = s->kept < d ? size[s->kept] : -1;
    for (int64_t j = 0; j < d; j++) {
        if (fabs(theta[j]) <= bar) theta[j] = 0;
        norm += theta[j] * theta[j];
    }
    norm = sqrt(norm);
    for (int64_t j = 0; norm > 1 && j < d; j++) theta[j] /= norm;
}

/* ---- both sides at once ---- */

/* Means of x x' within the radius, and of clipped x y. */
static bool moments(az_ctx *az, const ldp_settings *s, const ldp_rows *rows, bool clipped, az_tensor **matrix, az_tensor **vector)
{
    const int64_t n = rows->n, d = rows->d;
    az_tensor *x = az_new2(az, AZ_F64, n, d), *c = az_new2(az, AZ_F64, n, d), *y = az_new2(az, AZ_F64, n, 1);
    if (!x || !c || !y) return false;
    for (int64_t i = 0; i < n; i++) {
        const double *row = rows->x + i * d, f = clipped ? shrink(row, d, s->radius) : 1;
        for (int64_t j = 0; j < d; j++) {
            az_f64_mut(x)[i * d + j] = f * row[j];
            az_f64_mut(c)[i * d + j] = clipped ? ldp_clip(row[j], s->tau1) : row[j];
        }
        az_f64_mut(y)[i] = clipped ? ldp_clip(rows->y[i], s->tau2) : rows->y[i];
    }
    *matrix = az_affine(az, az_matmul(az, az_transpose(az, x), x), 1 / (double)n, 0);
    *vector = az_reshape(az, az_affine(az, az_matmul(az, az_transpose(az, c), y), 1 / (double)n, 0), 1, &d);
    return *matrix && *vector;
}

/* The mean of n independent messages has the mean of the data and noise of sigma / sqrt(n). */
static void add_noise(az_tensor *matrix, az_tensor *vector, double sigma1, double sigma2, int64_t n, az_rng *rng)
{
    const int64_t d = az_count(vector);
    const double root = sqrt((double)n);
    for (int64_t i = 0; sigma1 > 0 && i < d; i++) {
        for (int64_t j = i; j < d; j++) {
            const double e = sigma1 / root * az_normal(rng);
            az_f64_mut(matrix)[i * d + j] += e;
            if (j > i) az_f64_mut(matrix)[j * d + i] += e;
        }
    }
    for (int64_t j = 0; j < d; j++) az_f64_mut(vector)[j] += sigma2 / root * az_normal(rng);
}

/* Of x alone, which is free where its rows are public. */
static az_tensor *public_moments(az_ctx *az, const az_tensor *x)
{
    if (!x) return az_fail(az, AZ_BAD_INPUT, "nldp-public needs unlabelled public rows: -d public=FILE");
    return az_affine(az, az_matmul(az, az_transpose(az, x), x), 1 / (double)x->shape[0], 0);
}

/* Users in groups, one for each round; every user draws from a stream of their own, so that threads do not matter. */
static az_tensor *hard_thresholding(az_ctx *az, const ldp_settings *s, const ldp_rows *rows, uint64_t seed)
{
    const int64_t d = rows->d, group = rows->n / s->rounds;
    enum { PIECE = 4096 };
    az_tensor *theta = az_zeros(az, AZ_F64, 1, &d);
    const int64_t pieces = (group + PIECE - 1) / PIECE;
    double *sums = az_alloc_array(az, (size_t)(pieces * d) + 1, sizeof *sums), *mean = az_alloc_array(az, (size_t)d, sizeof *mean);
    if (!theta || !sums || !mean) return NULL;
    if (group < 1) return az_fail(az, AZ_BAD_INPUT, "%lld users are too few for %lld rounds", (long long)rows->n, (long long)s->rounds);
    for (int64_t t = 0; t < s->rounds; t++) {
        memset(sums, 0, (size_t)(pieces * d) * sizeof *sums);
#pragma omp parallel for num_threads(az_threads(az)) schedule(static)
        for (int64_t p = 0; p < pieces; p++) {
            double z[LDP_MOST_COLUMNS];
            for (int64_t i = p * PIECE; i < group && i < (p + 1) * PIECE; i++) {
                const int64_t user = t * group + i;
                az_rng rng = az_rng_at(seed, az_stream("ldp user", (uint64_t)user));
                ldp_gradient_message(s, rows->x + user * d, rows->y[user], d, az_f64(theta), &rng, z);
                for (int64_t j = 0; j < d; j++) sums[p * d + j] += z[j];
            }
        }
        memset(mean, 0, (size_t)d * sizeof *mean);
        for (int64_t p = 0; p < pieces; p++)
            for (int64_t j = 0; j < d; j++) mean[j] += sums[p * d + j] / (double)group;
        ldp_threshold_step(s, mean, d, az_f64_mut(theta));
    }
    return theta;
}

/* min 1/2 b'Mb - v'b + lambda |b|_1 by coordinate descent. */
static az_tensor *lasso(az_ctx *az, const az_tensor *matrix, const az_tensor *vector, double lambda)
{
    const int64_t d = az_count(vector);
    az_tensor *b = az_zeros(az, AZ_F64, 1, &d);
    const double *m = az_f64(matrix), *v = az_f64(vector);
    double *at = az_f64_mut(b), moved = INFINITY;
    for (int sweep = 0; at && sweep < LASSO_SWEEPS && moved > 1e-13; sweep++) {
        moved = 0;
        for (int64_t j = 0; j < d; j++) {
            double rest = v[j];
            for (int64_t k = 0; k < d; k++) rest -= k == j ? 0 : m[j * d + k] * at[k];
            const double next = m[j * d + j] > 0 ? ldp_soft(rest, lambda) / m[j * d + j] : 0;
            moved = fmax(moved, fabs(next - at[j]));
            at[j] = next;
        }
    }
    return b;
}

static az_tensor *simulate(az_ctx *az, const ldp_settings *s, ldp_protocol protocol, const ldp_rows *rows, const az_tensor *public_x,
                           uint64_t seed)
{
    az_tensor *matrix, *vector;
    az_rng rng = az_rng_at(seed, az_stream("ldp noise", (uint64_t)protocol));
    const double lambda = ldp_lambda(s, protocol, rows->n, rows->d);
    if (protocol == LDP_IHT) return hard_thresholding(az, s, rows, seed);
    if (!moments(az, s, rows, protocol < LDP_OLS, &matrix, &vector)) return NULL;
    switch (protocol) {
    case LDP_NLDP:
        add_noise(matrix, vector, ldp_matrix_sigma(s), ldp_vector_sigma(s, rows->d, true), rows->n, &rng);
        return ldp_solve(az, matrix, vector, lambda, s->ridge, NULL);
    case LDP_PUBLIC:
        add_noise(matrix, vector, 0, ldp_vector_sigma(s, rows->d, false), rows->n, &rng);
        return ldp_solve(az, public_moments(az, public_x), vector, lambda, s->ridge, NULL);
    case LDP_NONPRIVATE: return ldp_solve(az, matrix, vector, lambda, s->ridge, NULL);
    case LDP_OLS: return ldp_solve(az, matrix, vector, 0, s->ridge, NULL);
    default: return lasso(az, matrix, vector, lambda);
    }
}

az_tensor *ldp_simulate(az_ctx *az, const ldp_settings *s, ldp_protocol protocol, const ldp_rows *rows, const az_tensor *public_x,
                        uint64_t seed)
{
    if (!az_ok(az)) return NULL;
    az_scope_push(az);
    return az_keep(az, simulate(az, s, protocol, rows, public_x, seed));
}
