/* ldp_noise.c - clipping, thresholds, and the two ways a user's message is made private. */
#include "estimate/ldp.h"

double ldp_clip(double v, double bound)
{
    return v > bound ? bound : v < -bound ? -bound : v;
}

double ldp_soft(double v, double lambda)
{
    return v > lambda ? v - lambda : v < -lambda ? v + lambda : 0;
}

double ldp_gaussian_delta(double sensitivity, double sigma, double eps)
{
    const double a = sensitivity / (2 * sigma), b = eps * sigma / sensitivity;
    return az_normal_cdf(a - b) - exp(eps) * az_normal_cdf(-a - b);
}

double ldp_gaussian_sigma(double sensitivity, double eps, double delta)
{
    double sigma = sensitivity * sqrt(2 * log(1.25 / delta)) / eps;
    while (ldp_gaussian_delta(sensitivity, sigma, eps) > delta) sigma *= 1.01;
    return sigma;
}

double ldp_matrix_sigma(const ldp_settings *s)
{
    return ldp_gaussian_sigma((s->tight ? sqrt(2) : 2) * s->radius * s->radius, s->eps / 2, s->delta / 2);
}

double ldp_vector_sigma(const ldp_settings *s, int64_t d, bool with_matrix)
{
    const double share = with_matrix ? 0.5 : 1;
    return ldp_gaussian_sigma(2 * sqrt((double)d) * s->tau1 * s->tau2, s->eps * share, s->delta * share);
}

double ldp_gradient_bound(const ldp_settings *s, int64_t d)
{
    const double kept = (double)(s->kept < d ? s->kept : d);
    return sqrt((double)d) * s->tau1 * (sqrt(kept) * s->tau1 + s->tau2);
}

/* R (e^eps + 1) / (e^eps - 1) sqrt(pi) Gamma((d + 1) / 2) / Gamma(d / 2): the mean of |u_1| on the sphere is 1 / (sqrt(pi) Gamma ratio). */
double ldp_ball_length(double bound, double eps, int64_t d)
{
    const double ratio = exp(lgamma((double)(d + 1) / 2) - lgamma((double)d / 2));
    return bound / tanh(eps / 2) * sqrt(3.14159265358979323846) * ratio;
}

/* Rounds g to +-g / |g| with the right mean (a random direction where g = 0), then picks a point of the hemisphere around it, or, with
 * probability 1 / (1 + e^eps), of the opposite one (Duchi, Jordan, Wainwright 2018). */
void ldp_randomize(az_rng *rng, const double *g, int64_t d, double bound, double eps, double *z)
{
    double norm = 0, length = 0, dot = 0;
    for (int64_t j = 0; j < d; j++) norm += g[j] * g[j];
    norm = sqrt(norm);
    const double sign = az_uniform(rng) < 0.5 + norm / (2 * bound) ? 1 : -1;
    const bool same_side = az_uniform(rng) < 1 / (1 + exp(-eps));
    for (int64_t j = 0; j < d; j++) {
        z[j] = az_normal(rng);
        length += z[j] * z[j];
        dot += z[j] * g[j] * sign;
    }
    const bool on_side = norm > 0 ? dot > 0 : az_uniform(rng) < 0.5;
    const double scale = ldp_ball_length(bound, eps, d) / sqrt(length) * (on_side == same_side ? 1 : -1);
    for (int64_t j = 0; j < d; j++) z[j] *= scale;
}
