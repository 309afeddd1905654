/* kalman.c - linear Gaussian models exactly: Kalman's filter, the smoother of Rauch, Tung and Striebel, and sums under its law. */
#include "estimate/ssm/ssm_internal.h"

#include <cblas.h>
#include <lapacke.h>
#include <math.h>
#include <string.h>

/* c [rows, columns] = alpha op(a) op(b) + beta c for row-major matrices with inner dimension k. */
typedef struct product {
    int rows, columns, k;
    bool transpose_a, transpose_b;
    double alpha, beta;
} product;

static void multiply(product p, const double *a, const double *b, double *c)
{
    cblas_dgemm(CblasRowMajor, p.transpose_a ? CblasTrans : CblasNoTrans, p.transpose_b ? CblasTrans : CblasNoTrans, p.rows, p.columns, p.k,
                p.alpha, a, p.transpose_a ? p.rows : p.k, b, p.transpose_b ? p.k : p.columns, p.beta, c, p.columns);
}

static void copy(int64_t n, const double *from, double *to)
{
    memcpy(to, from, (size_t)n * sizeof *to);
}

static void symmetrise(int n, double *s)
{
    for (int i = 0; i < n; i++)
        for (int j = 0; j < i; j++) s[i * n + j] = s[j * n + i] = 0.5 * (s[i * n + j] + s[j * n + i]);
}

typedef struct filter {
    const az_ssm_linear *m;
    az_kalman *out;                                /* first given y_0 .. y_t, then smoothed in place */
    double *predicted_mean, *predicted_covariance; /* [n, d], [n, d, d] given y_0 .. y_{t-1} */
    double *innovation, *spread, *gain;            /* [k], [k, k], [k, d] of k observed numbers */
    double *work, *back;                           /* [d, d] each */
} filter;

static bool filter_new(az_ctx *az, const az_ssm_linear *m, int64_t n, filter *f)
{
    const size_t d = (size_t)m->states, k = (size_t)m->observed, times = (size_t)n;
    f->m = m;
    f->out->mean = az_alloc_array(az, times * d, sizeof(double));
    f->out->covariance = az_alloc_array(az, times * d * d, sizeof(double));
    f->out->cross = az_alloc_array(az, times * d * d, sizeof(double));
    f->predicted_mean = az_alloc_array(az, times * d, sizeof(double));
    f->predicted_covariance = az_alloc_array(az, times * d * d, sizeof(double));
    f->innovation = az_alloc_array(az, k, sizeof(double));
    f->spread = az_alloc_array(az, k * k, sizeof(double));
    f->gain = az_alloc_array(az, k * d, sizeof(double));
    f->work = az_alloc_array(az, d * d, sizeof(double));
    f->back = az_alloc_array(az, d * d, sizeof(double));
    return az_ok(az);
}

static void predict(filter *f, int64_t t)
{
    const int d = f->m->states;
    double *mean = f->predicted_mean + t * d, *covariance = f->predicted_covariance + t * d * d;
    if (t == 0) {
        copy(d, f->m->m0, mean);
        copy(d * d, f->m->p0, covariance);
    } else {
        multiply((product){d, 1, d, .alpha = 1}, f->m->a, f->out->mean + (t - 1) * d, mean);
        multiply((product){d, d, d, .alpha = 1}, f->m->a, f->out->covariance + (t - 1) * d * d, f->work);
        copy(d * d, f->m->q, covariance);
        multiply((product){d, d, d, .transpose_b = true, .alpha = 1, .beta = 1}, f->work, f->m->a, covariance);
        symmetrise(d, covariance);
    }
    copy(d, mean, f->out->mean + t * d);
    copy(d * d, covariance, f->out->covariance + t * d * d);
}

/* With the innovation's covariance L L^T, z = L^-1 (y - c mean) and G = L^-1 c P: mean += G^T z, P -= G^T G. Adds log p(y_t | before). */
static bool update(filter *f, int64_t t, const double *y)
{
    const int d = f->m->states, k = f->m->observed;
    double *mean = f->out->mean + t * d, *covariance = f->out->covariance + t * d * d;
    copy(k, y, f->innovation);
    multiply((product){k, 1, d, .alpha = -1, .beta = 1}, f->m->c, mean, f->innovation);
    multiply((product){k, d, d, .alpha = 1}, f->m->c, covariance, f->gain);
    copy(k * k, f->m->r, f->spread);
    multiply((product){k, k, d, .transpose_b = true, .alpha = 1, .beta = 1}, f->gain, f->m->c, f->spread);
    if (LAPACKE_dpotrf(LAPACK_ROW_MAJOR, 'L', k, f->spread, k) != 0) return false;
    cblas_dtrsm(CblasRowMajor, CblasLeft, CblasLower, CblasNoTrans, CblasNonUnit, k, d, 1, f->spread, k, f->gain, d);
    cblas_dtrsv(CblasRowMajor, CblasLower, CblasNoTrans, CblasNonUnit, k, f->spread, k, f->innovation, 1);
    multiply((product){d, 1, k, .transpose_a = true, .alpha = 1, .beta = 1}, f->gain, f->innovation, mean);
    multiply((product){d, d, k, .transpose_a = true, .alpha = -1, .beta = 1}, f->gain, f->gain, covariance);
    symmetrise(d, covariance);
    for (int i = 0; i < k; i++)
        f->out->log_likelihood -= log(f->spread[i * k + i]) + 0.5 * (f->innovation[i] * f->innovation[i] + log(2 * acos(-1)));
    return true;
}

/* With B = predicted^-1 a P of t, and what t + 1 lacks to its prediction: mean += B^T (mean' - predicted), P += B^T (P' - predicted) B; the
 * covariance of x_{t+1} with x_t is P' B. */
static bool smooth_back(filter *f, int64_t t)
{
    const int d = f->m->states;
    double *mean = f->out->mean + t * d, *covariance = f->out->covariance + t * d * d;
    const double *later_mean = mean + d, *later = covariance + d * d, *predicted = f->predicted_covariance + (t + 1) * d * d;
    double difference[AZ_SSM_MOST_STATES];
    multiply((product){d, d, d, .alpha = 1}, f->m->a, covariance, f->back);
    copy(d * d, predicted, f->work);
    if (LAPACKE_dposv(LAPACK_ROW_MAJOR, 'L', d, d, f->work, d, f->back, d) != 0) return false;
    for (int i = 0; i < d; i++) difference[i] = later_mean[i] - f->predicted_mean[(t + 1) * d + i];
    multiply((product){d, 1, d, .transpose_a = true, .alpha = 1, .beta = 1}, f->back, difference, mean);
    multiply((product){d, d, d, .alpha = 1}, later, f->back, f->out->cross + t * d * d);
    copy(d * d, f->out->cross + t * d * d, f->work);
    multiply((product){d, d, d, .alpha = -1, .beta = 1}, predicted, f->back, f->work);
    multiply((product){d, d, d, .transpose_a = true, .alpha = 1, .beta = 1}, f->back, f->work, covariance);
    symmetrise(d, covariance);
    return true;
}

az_kalman *az_kalman_smooth(az_ctx *az, const az_ssm_problem *problem)
{
    if (!problem->model->linear)
        return az_fail(az, AZ_BAD_INPUT, "method kalman is for linear Gaussian models; %s is none", problem->model->name);
    const void *law = az_ssm_law(az, problem->model, problem->theta);
    const az_ssm_linear *m = law ? problem->model->linear(law) : NULL;
    filter f = {.out = az_alloc(az, sizeof *f.out)};
    if (!m || !f.out || !filter_new(az, m, problem->n, &f)) return NULL;
    for (int64_t t = 0; t < problem->n; t++) {
        const double *y = az_ssm_seen(problem, t);
        predict(&f, t);
        if (y && !update(&f, t, y))
            return az_fail(az, AZ_NUMERIC, "the covariance of y at t = %lld is not positive definite", (long long)t);
    }
    for (int64_t t = problem->n - 2; t >= 0; t--)
        if (!smooth_back(&f, t))
            return az_fail(az, AZ_NUMERIC, "the covariance of x at t = %lld is not positive definite", (long long)t + 1);
    return f.out;
}

/* ---- sums ---------------------------------------------------------------------------------------------------------------------------- */

/* The normal law of x_t and x_{t+1} (or of x_0 alone) as points mean +- sqrt(size) column of equal weight, where the columns' products make
 * the covariance: exact for polynomials of degree 3. */
typedef struct cloud {
    int size;
    double *mean, *covariance, *variance, *below; /* [size], [size, size], factors */
} cloud;

static cloud *cloud_new(az_ctx *az, int size)
{
    const size_t n = (size_t)size;
    cloud *c = az_alloc(az, sizeof *c);
    if (!c) return NULL;
    *c = (cloud){.size = size, .mean = az_alloc_array(az, n, sizeof(double)), .covariance = az_alloc_array(az, n * n, sizeof(double))};
    c->variance = az_alloc_array(az, n, sizeof(double));
    c->below = az_alloc_array(az, n * n, sizeof(double));
    return az_ok(az) ? c : NULL;
}

static bool add_cloud(const az_ssm_problem *problem, const cloud *c, int64_t t, double *sum)
{
    const int d = problem->model->states;
    double x[2 * AZ_SSM_MOST_STATES];
    if (!az_noise_factor(c->size, c->covariance, c->variance, c->below)) return false;
    for (int i = 0; i < 2 * c->size; i++) {
        const int column = i / 2;
        const double length = (i % 2 ? -1 : 1) * sqrt(c->size * c->variance[column]);
        for (int j = 0; j < c->size; j++)
            x[j] = c->mean[j] + (j < column ? 0 : j == column ? length : length * c->below[j * (j - 1) / 2 + column]);
        const az_ssm_point point = {.t = t, .weight = 0.5 / c->size, .x = x, .next = c->size > d ? x + d : NULL};
        if (point.next)
            az_ssm_add_step(problem, &point, sum);
        else
            az_ssm_add_start(problem, &point, sum);
    }
    return true;
}

static void set_pair(const az_kalman *k, int64_t t, int d, cloud *pair)
{
    const int size = 2 * d;
    copy(size, k->mean + t * d, pair->mean);
    for (int i = 0; i < d; i++)
        for (int j = 0; j < d; j++) {
            pair->covariance[i * size + j] = k->covariance[(t * d + i) * d + j];
            pair->covariance[(d + i) * size + d + j] = k->covariance[((t + 1) * d + i) * d + j];
            pair->covariance[(d + i) * size + j] = pair->covariance[j * size + d + i] = k->cross[(t * d + i) * d + j];
        }
}

bool az_kalman_sums(az_ctx *az, const az_ssm_problem *problem, const az_kalman *k, double *sum)
{
    const int d = problem->model->states;
    cloud *start = cloud_new(az, d), *pair = cloud_new(az, 2 * d);
    if (!start || !pair) return false;
    copy(d, k->mean, start->mean);
    copy(d * d, k->covariance, start->covariance);
    bool ok = add_cloud(problem, start, 0, sum);
    for (int64_t t = 0; ok && t + 1 < problem->n; t++) {
        set_pair(k, t, d, pair);
        ok = add_cloud(problem, pair, t, sum);
    }
    return ok || az_fail(az, AZ_NUMERIC, "the smoothed states have no positive definite covariance: the noise is too small");
}
