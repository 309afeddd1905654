/* linear_gaussian.c - x_0 ~ N(m0, p0), x_{t+1} ~ N(a x_t, q), y_t ~ N(c x_t, r), of any dimensions. */
#include "estimate/ssm/ssm_internal.h"

#include <cblas.h>
#include <math.h>
#include <string.h>

/* Where the parts lie among the parameters: matrices by row, covariances as D, then U. */
typedef struct layout {
    int d, m;
    int a, c, q, r, m0, p0, end;
} layout;

static int triangle(int n)
{
    return n * (n - 1) / 2;
}

static layout layout_of(int d, int m)
{
    layout at = {.d = d, .m = m};
    at.c = at.a + d * d;
    at.q = at.c + m * d;
    at.r = at.q + d + triangle(d);
    at.m0 = at.r + m + triangle(m);
    at.p0 = at.m0 + d;
    at.end = at.p0 + d + triangle(d);
    return at;
}

typedef struct law {
    layout at;
    const double *theta;
    az_noise q, r, p0;
    az_ssm_linear dense;
} law;

static const double *dense_of(az_ctx *az, const az_noise *noise)
{
    double *covariance = az_alloc_array(az, (size_t)(noise->n * noise->n), sizeof *covariance);
    if (covariance) az_noise_dense(noise, covariance);
    return covariance;
}

static const void *prepare(az_ctx *az, const az_ssm *model, const double *theta)
{
    const layout at = layout_of(model->states, model->observed);
    const int d = at.d, m = at.m;
    law *l = az_alloc(az, sizeof *l);
    if (!l) return NULL;
    *l = (law){.at = at, .theta = theta};
    l->q = az_noise_of(d, theta + at.q, theta + at.q + d);
    l->r = az_noise_of(m, theta + at.r, theta + at.r + m);
    l->p0 = az_noise_of(d, theta + at.p0, theta + at.p0 + d);
    l->dense = (az_ssm_linear){.states = d, .observed = m, .a = theta + at.a, .c = theta + at.c, .m0 = theta + at.m0};
    l->dense.q = dense_of(az, &l->q), l->dense.r = dense_of(az, &l->r), l->dense.p0 = dense_of(az, &l->p0);
    return az_ok(az) ? l : NULL;
}

static const az_ssm_linear *linear(const void *user)
{
    return &((const law *)user)->dense;
}

/* e = y - matrix x */
static void residual(int rows, int columns, const double *matrix, const double *x, const double *y, double *e)
{
    for (int i = 0; i < rows; i++) {
        e[i] = y[i];
        for (int j = 0; j < columns; j++) e[i] -= matrix[i * columns + j] * x[j];
    }
}

/* a x follows x in memory. */
static void extend(const void *user, int64_t t, double *x)
{
    const law *l = user;
    const int d = l->at.d;
    (void)t;
    for (int i = 0; i < d; i++) {
        x[d + i] = 0;
        for (int j = 0; j < d; j++) x[d + i] += l->theta[i * d + j] * x[j];
    }
}

static void draw_start(const void *user, az_rng *rng, double *x)
{
    const law *l = user;
    az_noise_draw(&l->p0, rng, x);
    for (int i = 0; i < l->at.d; i++) x[i] += l->theta[l->at.m0 + i];
}

static void draw_next(const void *user, int64_t t, const double *x, az_rng *rng, double *next)
{
    const law *l = user;
    (void)t;
    az_noise_draw(&l->q, rng, next);
    for (int i = 0; i < l->at.d; i++) next[i] += x[l->at.d + i];
}

static double log_transition(const void *user, int64_t t, const double *x, const double *next)
{
    const law *l = user;
    const int d = l->at.d;
    double e[AZ_SSM_MOST_STATES];
    (void)t;
    if (d == 1) return l->q.log_peak - 0.5 * (*next - x[1]) * (*next - x[1]) / *l->q.variance;
    for (int i = 0; i < d; i++) e[i] = next[i] - x[d + i];
    return az_noise_log_density(&l->q, e);
}

static double log_bound(const void *user, int64_t t)
{
    (void)t;
    return ((const law *)user)->q.log_peak;
}

static double log_observation(const void *user, int64_t t, const double *x, const double *y)
{
    const law *l = user;
    double e[AZ_SSM_MOST_STATES];
    (void)t;
    residual(l->at.m, l->at.d, l->theta + l->at.c, x, y, e);
    return az_noise_log_density(&l->r, e);
}

static void draw_observation(const void *user, int64_t t, const double *x, az_rng *rng, double *y)
{
    const law *l = user;
    (void)t;
    az_noise_draw(&l->r, rng, y);
    for (int i = 0; i < l->at.m; i++)
        for (int j = 0; j < l->at.d; j++) y[i] += l->theta[l->at.c + i * l->at.d + j] * x[j];
}

static double log_start(const void *user, const double *x)
{
    const law *l = user;
    double e[AZ_SSM_MOST_STATES];
    for (int i = 0; i < l->at.d; i++) e[i] = x[i] - l->theta[l->at.m0 + i];
    return az_noise_log_density(&l->p0, e);
}

/* Scores of N(y; matrix x, noise) by the matrix and the noise. */
static void score_regression(const az_noise *noise, const double *e, int columns, const az_ssm_point *point, double *matrix, double *cov)
{
    double v[AZ_SSM_MOST_STATES];
    az_noise_score(noise, e, point->weight, cov, cov + noise->n, v);
    for (int i = 0; i < noise->n; i++)
        for (int j = 0; j < columns; j++) matrix[i * columns + j] += point->weight * v[i] * point->x[j];
}

static void score_start(const void *user, const az_ssm_point *point, double *sum)
{
    const law *l = user;
    double e[AZ_SSM_MOST_STATES] = {0}, v[AZ_SSM_MOST_STATES];
    for (int i = 0; i < l->at.d; i++) e[i] = point->x[i] - l->theta[l->at.m0 + i];
    az_noise_score(&l->p0, e, point->weight, sum + l->at.p0, sum + l->at.p0 + l->at.d, v);
    for (int i = 0; i < l->at.d; i++) sum[l->at.m0 + i] += point->weight * v[i];
}

static void score_transition(const void *user, const az_ssm_point *point, double *sum)
{
    const law *l = user;
    double e[AZ_SSM_MOST_STATES] = {0};
    residual(l->at.d, l->at.d, l->theta, point->x, point->next, e);
    score_regression(&l->q, e, l->at.d, point, sum, sum + l->at.q);
}

static void score_observation(const void *user, const az_ssm_point *point, double *sum)
{
    const law *l = user;
    double e[AZ_SSM_MOST_STATES] = {0};
    residual(l->at.m, l->at.d, l->theta + l->at.c, point->x, point->y, e);
    score_regression(&l->r, e, l->at.d, point, sum + l->at.c, sum + l->at.r);
}

/* ---- making one ------------------------------------------------------------------------------------------------------------------ */

/* P = a P a^T + q by doubling: P += F P F^T, F = F F. False when a's powers do not vanish. */
static bool stationary(az_ctx *az, int d, const double *a, const double *q, double *p)
{
    enum { MOST_DOUBLINGS = 60 };
    const size_t size = (size_t)(d * d);
    double *f = az_alloc_array(az, size, sizeof *f), *work = az_alloc_array(az, size, sizeof *work);
    double *next = az_alloc_array(az, size, sizeof *next), norm = INFINITY;
    if (!f || !work || !next) return false;
    memcpy(f, a, size * sizeof *f);
    memcpy(p, q, size * sizeof *p);
    for (int k = 0; k < MOST_DOUBLINGS && norm > 1e-300 && !(k > 0 && isinf(norm)); k++) {
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, d, d, d, 1, f, d, p, d, 0, work, d);
        memcpy(next, p, size * sizeof *p);
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, d, d, d, 1, work, d, f, d, 1, next, d);
        memcpy(p, next, size * sizeof *p);
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, d, d, d, 1, f, d, f, d, 0, work, d);
        memcpy(f, work, size * sizeof *f);
        norm = 0;
        for (size_t i = 0; i < size; i++) norm += f[i] * f[i];
    }
    return norm <= 1e-300;
}

static bool set_covariance(az_ctx *az, const char *name, int n, const double *covariance, double *theta)
{
    for (int i = 0; i < n * n; i++)
        if (!isfinite(covariance[i])) return az_fail(az, AZ_BAD_INPUT, "%s has an entry that is not finite", name);
    if (az_noise_factor(n, covariance, theta, theta + n)) return true;
    return az_fail(az, AZ_BAD_INPUT, n == 1 ? "%s = %g: a variance is positive" : "%s is not positive definite", name, covariance[0]);
}

static bool set_values(az_ctx *az, const az_ssm_linear *given, const layout *at, double *theta)
{
    const int d = at->d;
    const double *p0 = given->p0;
    memcpy(theta + at->a, given->a, (size_t)(d * d) * sizeof *theta);
    memcpy(theta + at->c, given->c, (size_t)(at->m * d) * sizeof *theta);
    if (given->m0) memcpy(theta + at->m0, given->m0, (size_t)d * sizeof *theta);
    if (!set_covariance(az, "q", d, given->q, theta + at->q) || !set_covariance(az, "r", at->m, given->r, theta + at->r)) return false;
    if (!p0) {
        double *own = az_alloc_array(az, (size_t)(d * d), sizeof *own);
        if (!own) return false;
        if (!stationary(az, d, given->a, given->q, own))
            return az_fail(az, AZ_BAD_INPUT, "a has no stationary law (its powers do not vanish): give p0, the covariance of x_0");
        p0 = own;
    }
    return set_covariance(az, "p0", d, p0, theta + at->p0);
}

static void name_matrix(az_ctx *az, const char *name, int rows, int columns, az_ssm_parameter *p)
{
    for (int i = 0; i < rows * columns; i++) {
        p[i].name = rows * columns == 1 ? name
                    : columns == 1      ? az_format_text(az, "%s[%d]", name, i + 1)
                                        : az_format_text(az, "%s[%d][%d]", name, i / columns + 1, i % columns + 1);
        p[i].kind = AZ_SSM_REAL;
    }
}

static void name_covariance(az_ctx *az, const char *name, int n, az_ssm_parameter *p)
{
    name_matrix(az, name, n, 1, p);
    for (int i = 0; i < n; i++) p[i].kind = AZ_SSM_POSITIVE;
    for (int i = 1, k = n; i < n; i++)
        for (int j = 0; j < i; j++, k++) p[k] = (az_ssm_parameter){az_format_text(az, "%s[%d][%d]", name, i + 1, j + 1), AZ_SSM_REAL, 0};
}

static az_ssm_parameter *parameters_of(az_ctx *az, const az_ssm_linear *given, const layout *at)
{
    az_ssm_parameter *p = az_alloc_array(az, (size_t)at->end, sizeof *p);
    double *theta = az_alloc_array(az, (size_t)at->end, sizeof *theta);
    if (!p || !theta || !set_values(az, given, at, theta)) return NULL;
    name_matrix(az, "a", at->d, at->d, p + at->a);
    name_matrix(az, "c", at->m, at->d, p + at->c);
    name_covariance(az, "q", at->d, p + at->q);
    name_covariance(az, "r", at->m, p + at->r);
    name_matrix(az, "m0", at->d, 1, p + at->m0);
    name_covariance(az, "p0", at->d, p + at->p0);
    for (int i = 0; i < at->end; i++) p[i].value = theta[i];
    return p;
}

az_ssm *az_ssm_linear_gaussian(az_ctx *az, const az_ssm_linear *given)
{
    const int d = given->states, m = given->observed;
    if (d < 1 || d > AZ_SSM_MOST_STATES || m < 1 || m > AZ_SSM_MOST_STATES)
        return az_fail(az, AZ_BAD_INPUT, "%d states and %d observed numbers: 1 to %d are possible", d, m, AZ_SSM_MOST_STATES);
    const layout at = layout_of(d, m);
    az_ssm *model = az_alloc(az, sizeof *model);
    if (!model) return NULL;
    *model = (az_ssm){.name = "lgssm",
                      .states = d,
                      .observed = m,
                      .parameters = at.end,
                      .parameter = parameters_of(az, given, &at),
                      .prepare = prepare,
                      .draw_start = draw_start,
                      .draw_next = draw_next,
                      .log_transition = log_transition,
                      .log_observation = log_observation,
                      .log_bound = log_bound,
                      .extra = d,
                      .extend = extend,
                      .draw_observation = draw_observation,
                      .log_start = log_start,
                      .score_start = score_start,
                      .score_transition = score_transition,
                      .score_observation = score_observation,
                      .linear = linear};
    return az_ok(az) ? model : NULL;
}
