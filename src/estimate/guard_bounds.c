/* guard_bounds.c - finite-sample guarantees: union bounds with Hoeffding's inequality, and, where answers are private, the bound on how
 * much a private transcript can know (max-information of pure differential privacy, Dwork et al. 2015, Rogers et al. 2016). */
#include "estimate/guard.h"

enum { GRID = 600 };

const char *const guard_mechanism_names[] = {"thresholdout", "check", "rounds", "laplace", "pmw", "split", "naive", NULL};

/* How far a mean of n values may be off when the question was one of exp(log_count). */
static double hoeffding(double log_count, double beta, double n)
{
    return n > 0 ? sqrt((log(2 / beta) + log_count) / (2 * n)) : INFINITY;
}

/* log of sum over i <= budget of C(m, i) levels^i: how many transcripts there can be. */
static double log_transcripts(int64_t m, int64_t budget, double levels)
{
    double sum = 0, choose = 0; /* log C(m, i) + i log levels; the sum so far */
    for (int64_t i = 1; i <= budget && i <= m; i++) {
        choose += log((double)(m - i + 1) / (double)i) + log(levels);
        const double high = fmax(sum, choose), low = fmin(sum, choose);
        sum = high + log1p(exp(low - high));
    }
    return sum;
}

/* Nats that an eps-private transcript of n rows knows, except with probability beta. */
static double information(double eps, double n, double beta)
{
    return fmin(eps * n, eps * eps * n / 2 + eps * sqrt(n * log(2 / beta) / 2));
}

/* Of questions that were chosen by an eps-private transcript: holdout against population, m times, with probability 1 - beta / 2. */
static double private_generalization(double eps, double n, double m, double beta)
{
    return sqrt((log(8 * m / beta) + information(eps, n, beta / (4 * m))) / (2 * n));
}

static double laplace_at(const guard_settings *s, double b)
{
    const double n = (double)s->n, m = (double)s->queries;
    return b * log(2 * m / s->beta) + private_generalization(m / (n * b), n, m, s->beta);
}

static double laplace(const guard_settings *s, double *scale)
{
    double best = s->scale > 0 ? laplace_at(s, s->scale) : INFINITY, b = s->scale;
    for (int i = 0; s->scale <= 0 && i <= GRID; i++) { /* 1e-6 to 1 */
        const double here = pow(10, -6 + 6.0 * i / GRID), tolerance = laplace_at(s, here);
        if (tolerance >= best) continue;
        best = tolerance;
        b = here;
    }
    if (scale) *scale = b;
    return best;
}

/* Below the threshold the answer is the training mean, which lies within T and two draws of noise of the holdout's, above it within one
 * draw: 3 m draws at most, each beyond its scale log(6 m / beta) with probability beta / (6 m). The transcript is 2 B / (sigma n) private.
 */
static double thresholdout(const guard_settings *s)
{
    const double n = (double)s->n, m = (double)s->queries, noise = log(6 * m / s->beta);
    return s->threshold + 6 * s->sigma * noise + private_generalization(guard_privacy(s, GUARD_THRESHOLDOUT), n, m, s->beta);
}

/* Numeric sparse vector: answers within the threshold of the holdout's values, with probability 1 - beta / 2. */
static double pmw(const guard_settings *s)
{
    return guard_pmw_threshold(s) + private_generalization(s->eps, (double)s->n, (double)s->queries, s->beta);
}

int64_t guard_pmw_updates(const guard_settings *s)
{
    return (int64_t)ceil(4 * log((double)s->domain) / (s->alpha * s->alpha));
}

double guard_pmw_threshold(const guard_settings *s)
{
    const double c = (double)guard_pmw_updates(s);
    return 18 * c * (log(2 * (double)s->queries) + log(4 * c / s->beta)) / (s->eps * (double)s->n);
}

double guard_privacy(const guard_settings *s, guard_mechanism mechanism)
{
    const double n = (double)s->n, b = s->scale;
    switch (mechanism) {
    case GUARD_LAPLACE: return s->gaussian || b <= 0 ? INFINITY : (double)s->queries / (n * b);
    case GUARD_THRESHOLDOUT: return s->gaussian ? INFINITY : 2 * (double)s->budget / (s->sigma * n);
    case GUARD_PMW: return s->eps;
    default: return INFINITY;
    }
}

guard_cost guard_composition(const guard_settings *s, int64_t asked, double delta)
{
    const double one = 1 / ((double)s->n * s->scale), k = (double)asked, rho = k * one * one / 2;
    if (s->gaussian) return (guard_cost){.each = NAN, .basic = NAN, .advanced = rho + 2 * sqrt(rho * log(1 / delta)), .rho = rho};
    return (guard_cost){.each = one, .basic = k * one, .advanced = sqrt(2 * k * log(1 / delta)) * one + k * one * expm1(one), .rho = NAN};
}

double guard_tolerance(const guard_settings *s, guard_mechanism mechanism, double *scale)
{
    const double n = (double)s->n, m = (double)s->queries, r = (double)s->budget;
    switch (mechanism) {
    case GUARD_NAIVE: return hoeffding(log(m), s->beta, n);
    case GUARD_SPLIT: return hoeffding(log(m), s->beta, floor(n / m));
    case GUARD_ROUNDS: return s->theta + hoeffding(log(m * r), s->beta, floor(n / r));
    case GUARD_CHECK:
        return s->theta + 0.5 / (double)s->levels +
               hoeffding(log(m) + log_transcripts(s->queries, s->budget, (double)s->levels), s->beta, n);
    case GUARD_LAPLACE: return s->gaussian ? INFINITY : laplace(s, scale);
    case GUARD_THRESHOLDOUT: return s->gaussian ? INFINITY : thresholdout(s);
    case GUARD_PMW: return s->domain > 1 ? pmw(s) : INFINITY;
    default: return INFINITY;
    }
}
