/* recurrent.c - a recurrent network with noise, chaotic when its weights are large: x_{t+1} ~ N(tanh(w x_t), q I), y_t ~ N(c x_t, r I). */
#include "estimate/ssm/ssm_internal.h"

#include <math.h>
#include <string.h>

typedef struct law {
    int d, m;
    const double *w, *c; /* [d, d], [m, d] */
    double q, r, p0;
    double log_q, log_r, log_p0; /* log densities at 0 of all entries */
} law;

static double log_peak(int n, double variance)
{
    return -0.5 * n * log(2 * acos(-1) * variance);
}

/* The parameters are w, q, r, p0. */
static const void *prepare(az_ctx *az, const az_ssm *model, const double *theta)
{
    const int d = model->states, m = model->observed;
    const double *rest = theta + d * d;
    law *l = az_alloc(az, sizeof *l);
    if (!l) return NULL;
    *l = (law){.d = d, .m = m, .w = theta, .c = model->user, .q = rest[0], .r = rest[1], .p0 = rest[2]};
    l->log_q = log_peak(d, l->q), l->log_r = log_peak(m, l->r), l->log_p0 = log_peak(d, l->p0);
    return l;
}

static void activate(const law *l, const double *x, double *out)
{
    for (int i = 0; i < l->d; i++) {
        double sum = 0;
        for (int j = 0; j < l->d; j++) sum += l->w[i * l->d + j] * x[j];
        out[i] = tanh(sum);
    }
}

/* tanh(w x) follows x in memory. */
static void extend(const void *user, int64_t t, double *x)
{
    const law *l = user;
    (void)t;
    activate(l, x, x + l->d);
}

static void draw_start(const void *user, az_rng *rng, double *x)
{
    const law *l = user;
    for (int i = 0; i < l->d; i++) x[i] = sqrt(l->p0) * az_normal(rng);
}

static void draw_next(const void *user, int64_t t, const double *x, az_rng *rng, double *next)
{
    const law *l = user;
    (void)t;
    for (int i = 0; i < l->d; i++) next[i] = x[l->d + i] + sqrt(l->q) * az_normal(rng);
}

static double log_transition(const void *user, int64_t t, const double *x, const double *next)
{
    const law *l = user;
    double square = 0;
    (void)t;
    for (int i = 0; i < l->d; i++) square += (next[i] - x[l->d + i]) * (next[i] - x[l->d + i]);
    return l->log_q - 0.5 * square / l->q;
}

static double log_bound(const void *user, int64_t t)
{
    (void)t;
    return ((const law *)user)->log_q;
}

static double seen_through(const law *l, const double *x, int i)
{
    double sum = 0;
    for (int j = 0; j < l->d; j++) sum += l->c[i * l->d + j] * x[j];
    return sum;
}

static double squared_residual(const law *l, const double *x, const double *y)
{
    double square = 0;
    for (int i = 0; i < l->m; i++) {
        const double e = y[i] - seen_through(l, x, i);
        square += e * e;
    }
    return square;
}

static double log_observation(const void *user, int64_t t, const double *x, const double *y)
{
    const law *l = user;
    (void)t;
    return l->log_r - 0.5 * squared_residual(l, x, y) / l->r;
}

static void draw_observation(const void *user, int64_t t, const double *x, az_rng *rng, double *y)
{
    const law *l = user;
    (void)t;
    for (int i = 0; i < l->m; i++) y[i] = seen_through(l, x, i) + sqrt(l->r) * az_normal(rng);
}

static double squared_norm(int n, const double *x)
{
    double square = 0;
    for (int i = 0; i < n; i++) square += x[i] * x[i];
    return square;
}

static double log_start(const void *user, const double *x)
{
    const law *l = user;
    return l->log_p0 - 0.5 * squared_norm(l->d, x) / l->p0;
}

/* d/dv of -n log(v) / 2 - square / (2 v) */
static double variance_score(int n, double square, double v)
{
    return 0.5 * (square / v - n) / v;
}

static void score_start(const void *user, const az_ssm_point *point, double *sum)
{
    const law *l = user;
    sum[l->d * l->d + 2] += point->weight * variance_score(l->d, squared_norm(l->d, point->x), l->p0);
}

static void score_transition(const void *user, const az_ssm_point *point, double *sum)
{
    const law *l = user;
    const int d = l->d;
    double mean[AZ_SSM_MOST_STATES], square = 0;
    activate(l, point->x, mean);
    for (int i = 0; i < d; i++) {
        const double e = point->next[i] - mean[i], slope = point->weight * e / l->q * (1 - mean[i] * mean[i]);
        square += e * e;
        for (int j = 0; j < d; j++) sum[i * d + j] += slope * point->x[j];
    }
    sum[d * d] += point->weight * variance_score(d, square, l->q);
}

static void score_observation(const void *user, const az_ssm_point *point, double *sum)
{
    const law *l = user;
    sum[l->d * l->d + 1] += point->weight * variance_score(l->m, squared_residual(l, point->x, point->y), l->r);
}

static az_ssm_parameter *parameters_of(az_ctx *az, const az_ssm_network *network)
{
    const int d = network->states;
    az_ssm_parameter *p = az_alloc_array(az, (size_t)(d * d + 3), sizeof *p);
    for (int i = 0; p && i < d * d; i++)
        p[i] = (az_ssm_parameter){az_format_text(az, "w[%d][%d]", i / d + 1, i % d + 1), AZ_SSM_REAL, network->w[i]};
    if (!p) return NULL;
    p[d * d] = (az_ssm_parameter){"q", AZ_SSM_POSITIVE, network->q};
    p[d * d + 1] = (az_ssm_parameter){"r", AZ_SSM_POSITIVE, network->r};
    p[d * d + 2] = (az_ssm_parameter){"p0", AZ_SSM_POSITIVE, network->p0};
    return p;
}

az_ssm *az_ssm_recurrent(az_ctx *az, const az_ssm_network *network)
{
    const int d = network->states, m = network->observed;
    if (d < 1 || d > AZ_SSM_MOST_STATES || m < 1 || m > AZ_SSM_MOST_STATES)
        return az_fail(az, AZ_BAD_INPUT, "a network of %d units seen through %d numbers: 1 to %d are possible", d, m, AZ_SSM_MOST_STATES);
    az_ssm *model = az_alloc(az, sizeof *model);
    double *c = az_alloc_array(az, (size_t)(m * d), sizeof *c);
    if (!model || !c) return NULL;
    for (int i = 0; i < m * d; i++) c[i] = network->c ? network->c[i] : i / d == i % d;
    *model = (az_ssm){.name = "recurrent",
                      .states = d,
                      .observed = m,
                      .parameters = d * d + 3,
                      .parameter = parameters_of(az, network),
                      .user = c,
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
                      .score_observation = score_observation};
    return az_ok(az) ? model : NULL;
}
