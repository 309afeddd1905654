/* functional.c - sums over the path: sufficient statistics, moments at each time, and the score of the complete data. */
#include "estimate/ssm/ssm_internal.h"

#include <math.h>
#include <string.h>

int64_t az_ssm_count(const az_ssm_problem *problem)
{
    int64_t count = 0;
    for (int i = 0; i < problem->functionals; i++) count += problem->functional[i].count;
    return count;
}

void az_ssm_add_start(const az_ssm_problem *problem, const az_ssm_point *point, double *sum)
{
    for (int i = 0; i < problem->functionals; i++) {
        const az_ssm_functional *f = &problem->functional[i];
        if (f->start) f->start(f->user, point, sum);
        sum += f->count;
    }
}

void az_ssm_add_step(const az_ssm_problem *problem, const az_ssm_point *point, double *sum)
{
    for (int i = 0; i < problem->functionals; i++) {
        const az_ssm_functional *f = &problem->functional[i];
        if (f->step) f->step(f->user, point, sum);
        sum += f->count;
    }
}

/* ---- sufficient statistics, moments ------------------------------------------------------------------------------------------- */

typedef struct sizes {
    int states;
    int64_t n;
} sizes;

static sizes *sizes_new(az_ctx *az, const az_ssm *model, int64_t n)
{
    sizes *s = az_alloc(az, sizeof *s);
    if (s) *s = (sizes){model->states, n};
    return s;
}

static void sufficient_start(const void *user, const az_ssm_point *point, double *sum)
{
    const sizes *s = user;
    for (int i = 0; i < s->states; i++) {
        sum[i] += point->weight * point->x[i];
        sum[s->states + i] += point->weight * point->x[i] * point->x[i];
    }
}

static void sufficient_step(const void *user, const az_ssm_point *point, double *sum)
{
    const sizes *s = user;
    for (int i = 0; i < s->states; i++) {
        sum[i] += point->weight * point->next[i];
        sum[s->states + i] += point->weight * point->next[i] * point->next[i];
        sum[2 * s->states + i] += point->weight * point->x[i] * point->next[i];
    }
}

az_ssm_functional az_ssm_sufficient(az_ctx *az, const az_ssm *model)
{
    return (az_ssm_functional){3 * model->states, sizes_new(az, model, 0), sufficient_start, sufficient_step};
}

static void add_moments(const sizes *s, int64_t t, double weight, const double *x, double *sum)
{
    const int64_t d = s->states;
    double *mean = sum + t * d, *square = sum + s->n * d + t * d * d;
    for (int64_t i = 0; i < d; i++) {
        mean[i] += weight * x[i];
        for (int64_t j = 0; j < d; j++) square[i * d + j] += weight * x[i] * x[j];
    }
}

static void moments_start(const void *user, const az_ssm_point *point, double *sum)
{
    add_moments(user, 0, point->weight, point->x, sum);
}

static void moments_step(const void *user, const az_ssm_point *point, double *sum)
{
    add_moments(user, point->t + 1, point->weight, point->next, sum);
}

az_ssm_functional az_ssm_moments(az_ctx *az, const az_ssm *model, int64_t n)
{
    const int64_t d = model->states;
    return (az_ssm_functional){n * d * (1 + d), sizes_new(az, model, n), moments_start, moments_step};
}

/* ---- the score ------------------------------------------------------------------------------------------------------------------ */

bool az_ssm_score_new(az_ctx *az, const az_ssm_problem *problem, const double *theta, az_ssm_score *score)
{
    const az_ssm *model = problem->model;
    const size_t p = (size_t)model->parameters;
    *score = (az_ssm_score){.problem = problem, .law = az_ssm_law(az, model, theta)};
    if (!score->law || model->score_transition) return az_ok(az);
    if (!model->log_start) return az_fail(az, AZ_BAD_CALL, "model %s has no log_start: learning needs it", model->name);
    score->above = az_alloc_array(az, p, sizeof *score->above);
    score->under = az_alloc_array(az, p, sizeof *score->under);
    score->width = az_alloc_array(az, p, sizeof *score->width);
    for (size_t i = 0; az_ok(az) && i < p; i++) { /* each law keeps its own values: without prepare it is them */
        double *high = az_alloc_array(az, p, sizeof *high), *low = az_alloc_array(az, p, sizeof *low);
        if (!high || !low) return false;
        for (size_t k = 0; k < p; k++) high[k] = low[k] = theta[k];
        const double step = 1e-6 * (fabs(theta[i]) + 1e-3);
        high[i] += step, low[i] -= step;
        score->width[i] = high[i] - low[i];
        score->above[i] = az_ssm_law(az, model, high);
        score->under[i] = az_ssm_law(az, model, low);
    }
    return az_ok(az);
}

static double log_transition(const az_ssm *model, const void *law, const az_ssm_point *point)
{
    double x[2 * AZ_SSM_MOST_STATES]; /* what follows the states belongs to this law */
    if (!model->extra) return model->log_transition(law, point->t, point->x, point->next);
    memcpy(x, point->x, (size_t)model->states * sizeof *x);
    model->extend(law, point->t, x);
    return model->log_transition(law, point->t, x, point->next);
}

/* log p(x_0) + log g_0(x_0), or log q(x, next) + log g(next). */
static double log_terms(const az_ssm_score *score, const void *law, const az_ssm_point *point)
{
    const az_ssm *model = score->problem->model;
    const int64_t t = point->next ? point->t + 1 : 0;
    const double *x = point->next ? point->next : point->x, *y = az_ssm_seen(score->problem, t);
    return (point->next ? log_transition(model, law, point) : model->log_start(law, point->x)) +
           (y ? model->log_observation(law, t, x, y) : 0);
}

static void add_differences(const az_ssm_score *score, const az_ssm_point *point, double *sum)
{
    for (int i = 0; i < score->problem->model->parameters; i++)
        sum[i] += point->weight * (log_terms(score, score->above[i], point) - log_terms(score, score->under[i], point)) / score->width[i];
}

static void score_start(const void *user, const az_ssm_point *point, double *sum)
{
    const az_ssm_score *score = user;
    const az_ssm *model = score->problem->model;
    if (score->above) {
        add_differences(score, point, sum);
        return;
    }
    const double *y = az_ssm_seen(score->problem, 0);
    model->score_start(score->law, point, sum);
    if (y) model->score_observation(score->law, &(az_ssm_point){.weight = point->weight, .x = point->x, .y = y}, sum);
}

static void score_step(const void *user, const az_ssm_point *point, double *sum)
{
    const az_ssm_score *score = user;
    const az_ssm *model = score->problem->model;
    if (score->above) {
        add_differences(score, point, sum);
        return;
    }
    const int64_t t = point->t + 1;
    const double *y = az_ssm_seen(score->problem, t);
    model->score_transition(score->law, point, sum);
    if (y) model->score_observation(score->law, &(az_ssm_point){.t = t, .weight = point->weight, .x = point->next, .y = y}, sum);
}

az_ssm_functional az_ssm_score_functional(const az_ssm_score *score)
{
    return (az_ssm_functional){score->problem->model->parameters, score, score_start, score_step};
}
