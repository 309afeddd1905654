/* volatility.c - stochastic volatility (Taylor 1982): x_{t+1} ~ N(phi x_t, sigma^2), y_t ~ N(0, beta^2 exp(x_t)), x_0 stationary. */
#include "estimate/ssm/ssm_internal.h"

#include <math.h>

enum { PHI, SIGMA, BETA, PARAMETERS };

typedef struct law {
    double phi, sigma, beta, stationary; /* stationary: standard deviation of x_0 */
    double log_peak;                     /* log density of a transition at its mean */
} law;

static const double log_two_pi = 1.8378770664093454836;

static const void *prepare(az_ctx *az, const az_ssm *model, const double *theta)
{
    law *l = az_alloc(az, sizeof *l);
    (void)model;
    if (!l) return NULL;
    *l = (law){.phi = theta[PHI], .sigma = theta[SIGMA], .beta = theta[BETA]};
    l->stationary = l->sigma / sqrt(1 - l->phi * l->phi);
    l->log_peak = -0.5 * log_two_pi - log(l->sigma);
    return l;
}

static void draw_start(const void *user, az_rng *rng, double *x)
{
    const law *l = user;
    *x = l->stationary * az_normal(rng);
}

static void draw_next(const void *user, int64_t t, const double *x, az_rng *rng, double *next)
{
    const law *l = user;
    (void)t;
    *next = l->phi * *x + l->sigma * az_normal(rng);
}

static double log_transition(const void *user, int64_t t, const double *x, const double *next)
{
    const law *l = user;
    const double z = (*next - l->phi * *x) / l->sigma;
    (void)t;
    return l->log_peak - 0.5 * z * z;
}

static double log_observation(const void *user, int64_t t, const double *x, const double *y)
{
    const law *l = user;
    const double z = *y / l->beta;
    (void)t;
    return -0.5 * (log_two_pi + *x + z * z * exp(-*x)) - log(l->beta);
}

static double log_bound(const void *user, int64_t t)
{
    (void)t;
    return ((const law *)user)->log_peak;
}

static void draw_observation(const void *user, int64_t t, const double *x, az_rng *rng, double *y)
{
    (void)t;
    *y = ((const law *)user)->beta * exp(0.5 * *x) * az_normal(rng);
}

static double log_start(const void *user, const double *x)
{
    const law *l = user;
    const double z = *x / l->stationary;
    return -0.5 * (log_two_pi + z * z) - log(l->stationary);
}

/* log p = -log sigma + log(1 - phi^2) / 2 - x^2 (1 - phi^2) / (2 sigma^2) + const */
static void score_start(const void *user, const az_ssm_point *point, double *sum)
{
    const law *l = user;
    const double z = *point->x / l->sigma, rest = 1 - l->phi * l->phi;
    sum[PHI] += point->weight * l->phi * (z * z - 1 / rest);
    sum[SIGMA] += point->weight * (z * z * rest - 1) / l->sigma;
}

static void score_transition(const void *user, const az_ssm_point *point, double *sum)
{
    const law *l = user;
    const double z = (*point->next - l->phi * *point->x) / l->sigma;
    sum[PHI] += point->weight * z * *point->x / l->sigma;
    sum[SIGMA] += point->weight * (z * z - 1) / l->sigma;
}

static void score_observation(const void *user, const az_ssm_point *point, double *sum)
{
    const law *l = user;
    const double z = *point->y / l->beta;
    sum[BETA] += point->weight * (z * z * exp(-*point->x) - 1) / l->beta;
}

az_ssm *az_ssm_volatility(az_ctx *az, double phi, double sigma, double beta)
{
    az_ssm *model = az_alloc(az, sizeof *model);
    az_ssm_parameter *parameter = az_alloc_array(az, PARAMETERS, sizeof *parameter);
    if (!model || !parameter) return NULL;
    parameter[PHI] = (az_ssm_parameter){"phi", AZ_SSM_UNIT, phi};
    parameter[SIGMA] = (az_ssm_parameter){"sigma", AZ_SSM_POSITIVE, sigma};
    parameter[BETA] = (az_ssm_parameter){"beta", AZ_SSM_POSITIVE, beta};
    *model = (az_ssm){.name = "sv",
                      .states = 1,
                      .observed = 1,
                      .parameters = PARAMETERS,
                      .parameter = parameter,
                      .prepare = prepare,
                      .draw_start = draw_start,
                      .draw_next = draw_next,
                      .log_transition = log_transition,
                      .log_observation = log_observation,
                      .log_bound = log_bound,
                      .draw_observation = draw_observation,
                      .log_start = log_start,
                      .score_start = score_start,
                      .score_transition = score_transition,
                      .score_observation = score_observation};
    return model;
}
