/* guard_answer.c - what each mechanism answers, and what it charges for it. */
#include "estimate/guard.h"

/* ---- noise: a function of the seed, its purpose and the number of the question ---- */

static double laplace(const guard *g, const char *purpose, int64_t number, double scale)
{
    az_rng rng = az_rng_at(g->s.seed, az_stream(purpose, (uint64_t)number));
    const double u = az_uniform(&rng) - 0.5;
    return (u < 0 ? scale : -scale) * log1p(-2 * fabs(u));
}

static double noise(const guard *g, const char *purpose, int64_t number, double scale)
{
    az_rng rng = az_rng_at(g->s.seed, az_stream(purpose, (uint64_t)number));
    return g->s.gaussian ? scale * az_normal(&rng) : laplace(g, purpose, number, scale);
}

static double mean_of(const double *values, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += values[i];
    return sum / (double)n;
}

/* ---- the mechanisms ---- */

static guard_reply split(const guard *g, const guard_query *q)
{
    const int64_t rows = g->s.n / g->s.queries;
    return (guard_reply){.answer = mean_of(q->holdout + g->asked * rows, rows)};
}

/* The training mean, unless it is further from the holdout's than a noisy threshold. In the setting of the experiment in Science the noise
 * is normal and the threshold drawn for every question. */
static guard_reply thresholdout(const guard *g, const guard_query *q)
{
    const double holdout = mean_of(q->holdout, g->s.n), train = mean_of(q->train, g->s.n_train), sigma = g->s.sigma;
    const int64_t drawing = g->s.redraw ? g->asked : g->paid;
    const double threshold = g->s.threshold + noise(g, "threshold", drawing, g->s.redraw ? sigma : 2 * sigma);
    const double excess = g->s.redraw ? 0 : noise(g, "comparison", g->asked, 4 * sigma);
    if (fabs(holdout - train) <= threshold + excess) return (guard_reply){.answer = train};
    return (guard_reply){.answer = holdout + noise(g, "answer", g->asked, sigma), .paid = true};
}

static double guess_of(const guard *g, const guard_query *q)
{
    return isnan(q->guess) ? mean_of(q->train, g->s.n_train) : q->guess;
}

/* "Yes" to a guess that is near enough; otherwise the holdout's mean, on a grid. */
static guard_reply check(const guard *g, const guard_query *q)
{
    const double guess = guess_of(g, q), mean = mean_of(q->holdout, g->s.n), step = 1.0 / (double)g->s.levels;
    if (fabs(guess - mean) <= g->s.theta) return (guard_reply){.answer = guess};
    const double cell = fmin(floor(mean / step), (double)g->s.levels - 1);
    return (guard_reply){.answer = (cell + 0.5) * step, .paid = true};
}

/* The same with a fresh part of the holdout after every failure. */
static guard_reply rounds(const guard *g, const guard_query *q)
{
    const int64_t rows = g->s.n / g->s.budget;
    const double guess = guess_of(g, q), mean = mean_of(q->holdout + g->paid * rows, rows);
    if (fabs(guess - mean) <= g->s.theta) return (guard_reply){.answer = guess};
    return (guard_reply){.answer = mean, .paid = true};
}

static double dot(const double *a, const double *b, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

/* Multiplies what is believed of the rows that the question favours by exp(-eta), up or down, and normalises. */
static void update_belief(guard *g, const double *phi, double answer)
{
    const double eta = g->s.alpha / 2, believed = dot(phi, g->belief, g->s.domain);
    double sum = 0;
    for (int64_t x = 0; x < g->s.domain; x++) {
        const double r = answer < believed ? phi[x] : 1 - phi[x];
        g->belief[x] *= exp(-eta * r);
        sum += g->belief[x];
    }
    for (int64_t x = 0; x < g->s.domain; x++) g->belief[x] /= sum;
}

/* Private multiplicative weights by the numeric sparse vector: eight ninths of eps for comparisons, one for answers. */
static guard_reply pmw(guard *g, const guard_query *q)
{
    const double c = (double)guard_pmw_updates(&g->s), n = (double)g->s.n;
    const double compare = 2 * c / (8.0 / 9 * g->s.eps) / n, tell = 2 * c / (1.0 / 9 * g->s.eps) / n;
    const double mean = dot(q->domain, g->histogram, g->s.domain), believed = dot(q->domain, g->belief, g->s.domain);
    const double threshold = guard_pmw_threshold(&g->s) + laplace(g, "threshold", g->paid, compare);
    if (fabs(mean - believed) + laplace(g, "comparison", g->asked, 2 * compare) <= threshold) return (guard_reply){.answer = believed};
    const guard_reply reply = {.answer = fmin(fmax(mean + laplace(g, "answer", g->asked, tell), 0), 1), .paid = true};
    update_belief(g, q->domain, reply.answer);
    return reply;
}

/* ---- all of them ---- */

static bool needs_train(const guard *g, const guard_query *q)
{
    if (g->s.mechanism == GUARD_THRESHOLDOUT) return true;
    return (g->s.mechanism == GUARD_CHECK || g->s.mechanism == GUARD_ROUNDS) && isnan(q->guess);
}

static bool check_query(az_ctx *az, const guard *g, const guard_query *q)
{
    if (g->s.mechanism == GUARD_PMW && !q->domain)
        return az_fail(az, AZ_BAD_INPUT, "pmw needs the question's value for each of the %lld possible rows", (long long)g->s.domain);
    if (g->s.mechanism != GUARD_PMW && !q->holdout) return az_fail(az, AZ_BAD_INPUT, "the question's values for the holdout are missing");
    if (!needs_train(g, q) || q->train) return true;
    return az_fail(az, AZ_BAD_INPUT, "%s needs the question's values for the training rows%s", guard_mechanism_names[g->s.mechanism],
                   g->s.mechanism == GUARD_THRESHOLDOUT ? "" : ", or a guess");
}

bool guard_exhausted(const guard *g)
{
    const bool charges = g->s.mechanism == GUARD_THRESHOLDOUT || g->s.mechanism == GUARD_CHECK || g->s.mechanism == GUARD_ROUNDS;
    const int64_t budget = g->s.mechanism == GUARD_PMW ? guard_pmw_updates(&g->s) : g->s.budget;
    return g->asked >= g->s.queries || ((charges || g->s.mechanism == GUARD_PMW) && g->paid >= budget);
}

bool guard_answer(az_ctx *az, guard *g, const guard_query *q, guard_reply *reply)
{
    if (!az_ok(az) || !check_query(az, g, q)) return false;
    *reply = (guard_reply){.answer = NAN, .exhausted = true};
    if (guard_exhausted(g)) return true;
    switch ((guard_mechanism)g->s.mechanism) {
    case GUARD_THRESHOLDOUT: *reply = thresholdout(g, q); break;
    case GUARD_CHECK: *reply = check(g, q); break;
    case GUARD_ROUNDS: *reply = rounds(g, q); break;
    case GUARD_LAPLACE: *reply = (guard_reply){.answer = mean_of(q->holdout, g->s.n) + noise(g, "answer", g->asked, g->s.scale)}; break;
    case GUARD_PMW: *reply = pmw(g, q); break;
    case GUARD_SPLIT: *reply = split(g, q); break;
    case GUARD_NAIVE: *reply = (guard_reply){.answer = mean_of(q->holdout, g->s.n)}; break;
    case GUARD_MECHANISMS: break;
    }
    g->asked++;
    g->paid += reply->paid;
    return true;
}

void guard_replay(guard *g, bool paid, double answer, const double *domain)
{
    if (paid && g->s.mechanism == GUARD_PMW && domain) update_belief(g, domain, answer);
    g->asked++;
    g->paid += paid;
}

/* ---- setting up ---- */

static bool check_settings(az_ctx *az, const guard_settings *s)
{
    if (s->n < 1) return az_fail(az, AZ_BAD_INPUT, "the holdout has no rows");
    if (s->queries < 1) return az_fail(az, AZ_BAD_INPUT, "queries=...: how many questions will be asked must be declared");
    if (s->mechanism == GUARD_SPLIT && s->queries > s->n)
        return az_fail(az, AZ_BAD_INPUT, "%lld rows cannot be split for %lld questions", (long long)s->n, (long long)s->queries);
    if (s->mechanism == GUARD_ROUNDS && s->budget > s->n)
        return az_fail(az, AZ_BAD_INPUT, "%lld rows cannot be split in %lld rounds", (long long)s->n, (long long)s->budget);
    if (s->mechanism == GUARD_THRESHOLDOUT && s->n_train < 1) return az_fail(az, AZ_BAD_INPUT, "thresholdout needs a training set");
    if (s->mechanism == GUARD_PMW && s->domain < 2) return az_fail(az, AZ_BAD_INPUT, "pmw needs domain=..., the number of possible rows");
    return true;
}

bool guard_start(az_ctx *az, const guard_settings *settings, const int64_t *row, guard *out)
{
    *out = (guard){.s = *settings};
    if (!az_ok(az) || !check_settings(az, settings)) return false;
    if (settings->mechanism == GUARD_LAPLACE && settings->scale <= 0 && !settings->gaussian)
        guard_tolerance(settings, GUARD_LAPLACE, &out->s.scale);
    if (settings->mechanism != GUARD_PMW) return true;
    out->histogram = az_alloc_array(az, (size_t)settings->domain, sizeof(double));
    out->belief = az_alloc_array(az, (size_t)settings->domain, sizeof(double));
    if (!out->histogram || !out->belief) return false;
    for (int64_t x = 0; x < settings->domain; x++) out->belief[x] = 1 / (double)settings->domain;
    for (int64_t i = 0; row && i < settings->n; i++) {
        if (row[i] < 0 || row[i] >= settings->domain)
            return az_fail(az, AZ_BAD_INPUT, "row %lld of the holdout is %lld, outside of 0 to %lld", (long long)i + 1, (long long)row[i],
                           (long long)settings->domain - 1);
        out->histogram[row[i]] += 1 / (double)settings->n;
    }
    return true;
}
