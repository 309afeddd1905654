/* learn.c - maximum likelihood by noisy ascent: Fisher's identity makes the score of the likelihood a sum over the smoothed path,
 *     grad log p(y) = E[ grad log p(x_0) + sum_t grad log q(x_t, x_{t+1}) + sum_t grad log g_t(x_t) | y ],
 * which each step estimates with the frozen path of the step before. Parameters with bounds move on a scale without them. */
#include "estimate/ssm/ssm_internal.h"

#include <math.h>
#include <string.h>

static double to_line(az_ssm_kind kind, double value)
{
    return kind == AZ_SSM_POSITIVE ? log(value) : kind == AZ_SSM_UNIT ? atanh(value) : value;
}

static double from_line(az_ssm_kind kind, double u)
{
    return kind == AZ_SSM_POSITIVE ? exp(u) : kind == AZ_SSM_UNIT ? tanh(u) : u;
}

/* d value / d u */
static double slope_at(az_ssm_kind kind, double value)
{
    return kind == AZ_SSM_POSITIVE ? value : kind == AZ_SSM_UNIT ? 1 - value * value : 1;
}

bool az_ascent_new(az_ctx *az, const az_ssm_learning *learning, int64_t count, az_ascent *ascent)
{
    if (learning->steps < 1) return az_fail(az, AZ_BAD_INPUT, "%lld steps: at least one is needed", (long long)learning->steps);
    if (!(learning->average >= 0 && learning->average <= 1))
        return az_fail(az, AZ_BAD_INPUT, "average=%g: a share of the steps, from 0 to 1", learning->average);
    const az_optimizer_options adam = {.kind = AZ_ADAMW, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8}, plain = {.kind = AZ_SGD};
    *ascent = (az_ascent){.learning = learning, .place = az_zeros(az, AZ_F64, 1, &count), .slope = az_zeros(az, AZ_F64, 1, &count)};
    ascent->mean = az_alloc_array(az, (size_t)count, sizeof(double));
    if (az_ok(az)) ascent->optimizer = az_optimizer_new(az, learning->adam ? &adam : &plain, &ascent->place, 1, NULL);
    return az_ok(az);
}

bool az_ascent_step(az_ctx *az, az_ascent *ascent, int64_t step, double scale)
{
    const az_ssm_learning *how = ascent->learning;
    const int64_t n = az_count(ascent->place), first = how->steps - (int64_t)ceil(how->average * (double)how->steps);
    double *slope = az_f64_mut(ascent->slope);
    for (int64_t i = 0; i < n; i++) slope[i] *= -scale; /* the optimizer goes down */
    const double length = how->adam ? how->lr : how->gamma0 * pow((double)(step + 1), -0.6);
    if (!az_optimizer_step(az, ascent->optimizer, &ascent->slope, length)) return false;
    for (int64_t i = 0; i < n && step >= first; i++)
        ascent->mean[i] += (az_f64(ascent->place)[i] - ascent->mean[i]) / (double)(step - first + 1);
    return true;
}

const double *az_ascent_result(const az_ascent *ascent)
{
    return ascent->learning->average > 0 ? ascent->mean : az_f64(ascent->place);
}

az_ssm_how az_ascent_how(const az_ascent *ascent, int64_t step, double *path)
{
    az_ssm_how how = ascent->learning->how;
    const bool gibbs = how.method == AZ_SSM_PPG || how.method == AZ_SSM_PG;
    how.first_sweep += step * (gibbs ? how.sweeps : 1);
    how.warm = gibbs && step > 0;
    how.path = gibbs ? path : NULL;
    return how;
}

double *az_ascent_path(az_ctx *az, const az_ssm_problem *problem, const az_ssm_learning *learning)
{
    const size_t chains = learning->how.chains > 1 ? (size_t)learning->how.chains : 1;
    return az_alloc_array(az, chains * (size_t)problem->n, (size_t)problem->model->states * sizeof(double));
}

/* The score of the likelihood at theta, with the frozen path moved on. */
static const double *score_at(az_ctx *az, const az_ssm_problem *problem, const az_ssm_how *how, const double *theta)
{
    az_ssm_problem here = *problem;
    az_ssm_score score;
    here.theta = theta;
    if (!az_ssm_score_new(az, &here, theta, &score)) return NULL;
    const az_ssm_functional functional = az_ssm_score_functional(&score);
    here.functional = &functional, here.functionals = 1;
    const az_ssm_smoothing *s = az_ssm_smooth(az, &here, how);
    return s ? s->value : NULL;
}

/* theta from the line, for the free parameters. */
static void set_theta(const az_ssm *model, const bool *free, const double *line, double *theta)
{
    for (int i = 0; i < model->parameters; i++)
        if (!free || free[i]) theta[i] = from_line(model->parameter[i].kind, line[i]);
}

static bool learn_step(az_ctx *az, const az_ssm_problem *problem, az_ascent *ascent, int64_t step, double *theta, double *path)
{
    const az_ssm *model = problem->model;
    const bool *free = ascent->learning->free;
    const az_ssm_how how = az_ascent_how(ascent, step, path);
    az_scope_push(az);
    const double *score = score_at(az, problem, &how, theta);
    double *slope = az_f64_mut(ascent->slope);
    for (int i = 0; score && i < model->parameters; i++)
        slope[i] = !free || free[i] ? score[i] * slope_at(model->parameter[i].kind, theta[i]) : 0;
    az_scope_pop(az);
    if (!az_ok(az) || !az_ascent_step(az, ascent, step, ascent->learning->adam ? 1 : 1 / (double)problem->n)) return false;
    set_theta(model, free, az_f64(ascent->place), theta);
    return true;
}

az_ssm_fit *az_ssm_learn(az_ctx *az, const az_ssm_problem *problem, const az_ssm_learning *learning)
{
    if (!az_ok(az) || !problem || !learning || !az_ssm_check(az, problem->model)) return NULL;
    const az_ssm *model = problem->model;
    const size_t p = (size_t)model->parameters;
    az_ascent ascent;
    az_ssm_fit *fit = az_alloc(az, sizeof *fit);
    if (model->parameters < 1) return az_fail(az, AZ_BAD_CALL, "model %s has no parameters to learn", model->name);
    if (!fit || !az_ascent_new(az, learning, model->parameters, &ascent)) return NULL;
    fit->theta = az_ssm_values(az, model);
    fit->trace = az_alloc_array(az, ((size_t)learning->steps + 1) * p, sizeof *fit->trace);
    double *path = az_ascent_path(az, problem, learning);
    if (!az_ok(az) || !az_ssm_law(az, model, problem->theta)) return NULL;
    if (problem->theta) memcpy(fit->theta, problem->theta, p * sizeof *fit->theta);
    for (size_t i = 0; i < p; i++) az_f64_mut(ascent.place)[i] = to_line(model->parameter[i].kind, fit->theta[i]);
    memcpy(fit->trace, fit->theta, p * sizeof *fit->theta);
    for (int64_t step = 0; step < learning->steps; step++) {
        if (!learn_step(az, problem, &ascent, step, fit->theta, path)) {
            az_fail_context(az, "step %lld", (long long)step + 1);
            return NULL;
        }
        memcpy(fit->trace + (size_t)(step + 1) * p, fit->theta, p * sizeof *fit->theta);
        if (!az_progress(az, "learning", step + 1, learning->steps, NULL)) return az_fail(az, AZ_INTERRUPTED, "interrupted");
    }
    set_theta(model, learning->free, az_ascent_result(&ascent), fit->theta);
    return az_ssm_law(az, model, fit->theta) ? fit : NULL;
}
