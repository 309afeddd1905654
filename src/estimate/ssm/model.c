/* model.c - what holds for every state-space model: its parameters, its observations, drawing from it. */
#include "estimate/ssm/ssm_internal.h"

#include <math.h>

bool az_ssm_check(az_ctx *az, const az_ssm *m)
{
    if (!m || !az_ok(az)) return false;
    const char *name = m->name ? m->name : "without a name";
    if (m->states < 1 || m->states > AZ_SSM_MOST_STATES || m->observed < 1 || m->observed > AZ_SSM_MOST_STATES)
        return az_fail(az, AZ_BAD_CALL, "model %s: %d states and %d observed numbers; 1 to %d are possible", name, m->states, m->observed,
                       AZ_SSM_MOST_STATES);
    if (!m->draw_start || !m->draw_next || !m->log_transition || !m->log_observation)
        return az_fail(az, AZ_BAD_CALL, "model %s needs draw_start, draw_next, log_transition and log_observation", name);
    if (m->extra < 0 || m->extra > AZ_SSM_MOST_STATES || (m->extra > 0) != (m->extend != NULL))
        return az_fail(az, AZ_BAD_CALL, "model %s: extra numbers (at most %d) and extend go together", name, AZ_SSM_MOST_STATES);
    if (!m->score_start != !m->score_transition || !m->score_start != !m->score_observation)
        return az_fail(az, AZ_BAD_CALL, "model %s: the three scores go together", name);
    return true;
}

double *az_ssm_values(az_ctx *az, const az_ssm *model)
{
    double *theta = az_alloc_array(az, (size_t)model->parameters + 1, sizeof *theta);
    for (int i = 0; theta && i < model->parameters; i++) theta[i] = model->parameter[i].value;
    return theta;
}

static bool check_values(az_ctx *az, const az_ssm *model, const double *theta)
{
    for (int i = 0; i < model->parameters; i++) {
        const az_ssm_parameter *p = &model->parameter[i];
        if (!isfinite(theta[i])) return az_fail(az, AZ_NUMERIC, "parameter %s is %g", p->name, theta[i]);
        if (p->kind == AZ_SSM_POSITIVE && !(theta[i] > 0))
            return az_fail(az, AZ_BAD_INPUT, "parameter %s = %g: it must be positive", p->name, theta[i]);
        if (p->kind == AZ_SSM_UNIT && !(fabs(theta[i]) < 1))
            return az_fail(az, AZ_BAD_INPUT, "parameter %s = %g: it must lie between -1 and 1, so that the process is stationary", p->name,
                           theta[i]);
    }
    return true;
}

const void *az_ssm_law(az_ctx *az, const az_ssm *model, const double *theta)
{
    if (!az_ssm_check(az, model)) return NULL;
    if (!theta) theta = az_ssm_values(az, model);
    if (!theta || !check_values(az, model, theta)) return NULL;
    return model->prepare ? model->prepare(az, model, theta) : theta;
}

const double *az_ssm_seen(const az_ssm_problem *problem, int64_t t)
{
    const double *y = problem->y + t * problem->model->observed;
    return problem->missing && isnan(y[0]) ? NULL : y;
}

bool az_ssm_simulate(az_ctx *az, const az_ssm *model, const double *theta, uint64_t seed, int64_t n, double *x, double *y)
{
    const void *law = az_ssm_law(az, model, theta);
    if (!law) return false;
    if (!model->draw_observation) return az_fail(az, AZ_BAD_CALL, "model %s has no draw_observation: it cannot be simulated", model->name);
    double now[2 * AZ_SSM_MOST_STATES], next[2 * AZ_SSM_MOST_STATES];
    for (int64_t t = 0; t < n; t++) {
        az_rng rng = az_rng_at(seed, az_stream("simulated states", (uint64_t)t));
        if (t == 0)
            model->draw_start(law, &rng, next);
        else
            model->draw_next(law, t - 1, now, &rng, next);
        for (int i = 0; i < model->states; i++) x[t * model->states + i] = now[i] = next[i];
        if (model->extra) model->extend(law, t, now);
        model->draw_observation(law, t, now, &rng, y + t * model->observed);
    }
    return true;
}
