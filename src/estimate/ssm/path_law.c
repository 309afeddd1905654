/* path_law.c - Markov score climbing: a Gaussian law of the path fitted to the smoothing law by ascending the expected score of the law
 * under it. Where the model is linear Gaussian, the best law is the smoothing law itself.
 *
 * x_0 ~ N(b_0, S_0), x_t ~ N(A_t x_{t-1} + b_t, S_t), S_t = U_t D_t U_t^T. A block of parameters for each t: b, log D, U, A. */
#include "estimate/ssm/ssm_internal.h"

#include <cblas.h>
#include <math.h>
#include <string.h>

static int below_size(int d)
{
    return d * (d - 1) / 2;
}

static int block_size(int d)
{
    return 2 * d + below_size(d) + d * d;
}

/* The functional: gradients by the blocks at the present parameters. */
typedef struct climb {
    int d, block;
    const double *parameter; /* [n, block] */
    double *variance;        /* [n, d] exp(log D) */
} climb;

static void add_block_score(const climb *c, int64_t t, double weight, const double *before, const double *x, double *sum)
{
    const int d = c->d;
    const double *p = c->parameter + t * c->block, *a = p + 2 * d + below_size(d), *variance = c->variance + t * d;
    double *out = sum + t * c->block, e[AZ_SSM_MOST_STATES] = {0}, v[AZ_SSM_MOST_STATES], by_variance[AZ_SSM_MOST_STATES] = {0};
    const az_noise noise = {.n = d, .variance = variance, .below = p + 2 * d};
    for (int i = 0; i < d; i++) {
        e[i] = x[i] - p[i];
        for (int j = 0; before && j < d; j++) e[i] -= a[i * d + j] * before[j];
    }
    az_noise_score(&noise, e, weight, by_variance, out + 2 * d, v);
    for (int i = 0; i < d; i++) {
        out[i] += weight * v[i];
        out[d + i] += by_variance[i] * variance[i];
        for (int j = 0; before && j < d; j++) out[2 * d + below_size(d) + i * d + j] += weight * v[i] * before[j];
    }
}

static void climb_start(const void *user, const az_ssm_point *point, double *sum)
{
    add_block_score(user, 0, point->weight, NULL, point->x, sum);
}

static void climb_step(const void *user, const az_ssm_point *point, double *sum)
{
    add_block_score(user, point->t + 1, point->weight, point->x, point->next, sum);
}

/* Means, covariances and neighbours' covariances of the law, by its recursion. */
static bool add_moments(az_ctx *az, az_ssm_path_law *law)
{
    const int d = law->states, block = block_size(d);
    const size_t n = (size_t)law->n, square = (size_t)(d * d);
    law->mean = az_alloc_array(az, n * (size_t)d, sizeof(double));
    law->covariance = az_alloc_array(az, n * square, sizeof(double));
    law->cross = az_alloc_array(az, n * square, sizeof(double));
    if (!az_ok(az)) return false;
    for (int64_t t = 0; t < law->n; t++) {
        const double *p = law->parameter + t * block, *a = p + 2 * d + below_size(d);
        double *mean = law->mean + t * d, *covariance = law->covariance + (size_t)t * square, variance[AZ_SSM_MOST_STATES];
        for (int i = 0; i < d; i++) mean[i] = p[i], variance[i] = exp(p[d + i]);
        az_noise_dense(&(az_noise){.n = d, .variance = variance, .below = p + 2 * d}, covariance);
        if (t == 0) continue;
        double *cross = covariance - square - law->covariance + law->cross;
        cblas_dgemv(CblasRowMajor, CblasNoTrans, d, d, 1, a, d, mean - d, 1, 1, mean, 1);
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, d, d, d, 1, a, d, covariance - square, d, 0, cross, d);
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, d, d, d, 1, cross, d, a, d, 1, covariance, d);
    }
    return true;
}

static bool climb_one_step(az_ctx *az, const az_ssm_problem *problem, az_ascent *ascent, const climb *c, int64_t step, double *path)
{
    const az_ssm_functional functional = {problem->n * c->block, c, climb_start, climb_step};
    az_ssm_problem here = *problem;
    const az_ssm_how how = az_ascent_how(ascent, step, path);
    here.functional = &functional, here.functionals = 1;
    for (int64_t t = 0; t < problem->n; t++)
        for (int i = 0; i < c->d; i++) c->variance[t * c->d + i] = exp(c->parameter[t * c->block + c->d + i]);
    az_scope_push(az);
    const az_ssm_smoothing *s = az_ssm_smooth(az, &here, &how);
    if (s) memcpy(az_f64_mut(ascent->slope), s->value, (size_t)functional.count * sizeof(double));
    az_scope_pop(az);
    return az_ok(az);
}

static double norm_of(const az_tensor *x)
{
    double square = 0;
    for (int64_t i = 0; i < az_count(x); i++) square += az_f64(x)[i] * az_f64(x)[i];
    return sqrt(square);
}

az_ssm_path_law *az_ssm_climb(az_ctx *az, const az_ssm_problem *problem, const az_ssm_learning *learning)
{
    if (!az_ok(az) || !problem || !learning || !az_ssm_check(az, problem->model)) return NULL;
    const int d = problem->model->states, block = block_size(d);
    const int64_t count = problem->n * block;
    az_ascent ascent;
    az_ssm_path_law *law = az_alloc(az, sizeof *law);
    if (!law || !az_ascent_new(az, learning, count, &ascent)) return NULL;
    *law = (az_ssm_path_law){.n = problem->n, .states = d, .parameter = az_alloc_array(az, (size_t)count, sizeof(double))};
    law->score_size = az_alloc_array(az, (size_t)learning->steps, sizeof(double));
    double *path = az_ascent_path(az, problem, learning);
    const climb c = {d, block, az_f64(ascent.place), az_alloc_array(az, (size_t)(problem->n * d), sizeof(double))};
    if (!az_ok(az)) return NULL;
    for (int64_t step = 0; step < learning->steps; step++) {
        if (!climb_one_step(az, problem, &ascent, &c, step, path)) return NULL;
        law->score_size[step] = norm_of(ascent.slope);
        if (!az_ascent_step(az, &ascent, step, 1)) return NULL;
        if (!az_progress(az, "climbing", step + 1, learning->steps, NULL)) return az_fail(az, AZ_INTERRUPTED, "interrupted");
    }
    memcpy(law->parameter, az_ascent_result(&ascent), (size_t)count * sizeof(double));
    return add_moments(az, law) ? law : NULL;
}
