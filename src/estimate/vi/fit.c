/* fit.c - stochastic gradient steps on one objective, or on several that take turns. */
#include "adze/optim.h"
#include "estimate/vi/vi_internal.h"

#include <math.h>

typedef struct fit {
    const az_vi_problem *problem;
    int problems;
    const az_vi_fit_settings *settings;
    az_optimizer **optimizer; /* [problems] */
    double *step, *trace;     /* [turns] number of the first problem's steps, its objective there */
    int64_t turns;
} fit;

static az_optimizer *optimizer_of(az_ctx *az, const az_vi_problem *problem, const az_vi_fit_settings *settings)
{
    az_tensor **value = az_alloc_array(az, (size_t)problem->variables + 1, sizeof *value);
    for (int i = 0; value && i < problem->variables; i++) value[i] = problem->variable[i].value;
    const az_optimizer_options options = {
        .kind = (az_optimizer_kind)settings->optimizer,
        .beta1 = settings->optimizer == AZ_ADAMW ? 0.9 : 0,
        .beta2 = 0.999,
        .eps = 1e-8,
    };
    return value ? az_optimizer_new(az, &options, value, problem->variables, NULL) : NULL;
}

static bool step(az_ctx *az, const fit *f, int64_t number)
{
    const int turn = (int)(number % f->problems);
    const az_vi_problem *problem = &f->problem[turn];
    az_tensor **gradient = az_alloc_array(az, (size_t)problem->variables + 1, sizeof *gradient);
    az_vi_value value;
    if (!gradient || !az_vi_gradient(az, problem, number, &value, gradient)) return false;
    for (int i = 0; i < problem->variables; i++) {
        if (az_first_nonfinite(gradient[i]) >= 0)
            return az_fail(az, AZ_NUMERIC, "the gradient of '%s' is not finite in step %lld; a lower learning rate may help",
                           problem->variable[i].name, (long long)number + 1);
        double *g = az_f64_mut(gradient[i]);
        for (int64_t k = 0; !f->settings->lower && k < az_count(gradient[i]); k++) g[k] = -g[k]; /* optimizers go down */
    }
    if (turn == 0) {
        f->step[number / f->problems] = (double)number + 1;
        f->trace[number / f->problems] = value.mean;
    }
    return az_optimizer_step(az, f->optimizer[turn], gradient, f->settings->lr);
}

static bool run_steps(az_ctx *az, const fit *f)
{
    for (int64_t i = 0; i < f->settings->steps; i++) {
        az_scope_push(az);
        const bool good = step(az, f, i);
        az_scope_pop(az);
        if (!good) return false;
        if (!az_progress(az, "fitting", i + 1, f->settings->steps, NULL) && i + 1 < f->settings->steps)
            return az_fail(az, AZ_INTERRUPTED, "interrupted after step %lld of %lld", (long long)i + 1, (long long)f->settings->steps);
    }
    return true;
}

/* The objective with fresh draws. */
static bool final_value(az_ctx *az, const fit *f, az_vi_value *value)
{
    az_vi_problem problem = f->problem[0];
    if (problem.copies > 1 || f->settings->draws < 1) {
        problem.copies = f->settings->draws > 0 ? f->settings->draws : problem.copies;
        problem.runs = 1;
    } else {
        problem.runs = f->settings->draws;
    }
    return az_vi_gradient(az, &problem, f->settings->steps, value, NULL);
}

static void report_fit(const fit *f, const az_vi_value *value, double seconds, az_report *report)
{
    const int64_t tail = (f->turns + 9) / 10;
    double recent = 0;
    for (int64_t i = f->turns - tail; i < f->turns; i++) recent += f->trace[i] / (double)tail;
    az_report_row(report, "fit");
    az_report_count(report, "steps", f->settings->steps);
    az_report_number(report, "last_tenth", recent, "nat");
    az_report_number(report, "objective", value->mean, "nat");
    az_report_number(report, "objective_se", value->se, "nat");
    az_report_number(report, "seconds", seconds, "s");
    az_report_curve(report, "objective", "step", "nats", f->turns, f->step, f->trace);
}

bool az_vi_fit(az_ctx *az, const az_vi_problem *problem, int problems, const az_vi_fit_settings *settings, az_report *report)
{
    if (!az_ok(az)) return false;
    if (problems < 1 || settings->steps < problems)
        return az_fail(az, AZ_BAD_CALL, "steps=%lld: at least one for each of the %d objectives", (long long)settings->steps, problems);
    fit f = {.problem = problem, .problems = problems, .settings = settings, .turns = (settings->steps + problems - 1) / problems};
    az_scope_push(az);
    f.optimizer = az_alloc_array(az, (size_t)problems, sizeof(az_optimizer *));
    f.step = az_alloc_array(az, (size_t)f.turns, sizeof *f.step);
    f.trace = az_alloc_array(az, (size_t)f.turns, sizeof *f.trace);
    for (int i = 0; f.optimizer && i < problems; i++) f.optimizer[i] = optimizer_of(az, &problem[i], settings);
    const double began = az_seconds();
    az_vi_value value;
    const bool good = f.trace && az_ok(az) && run_steps(az, &f) && final_value(az, &f, &value);
    if (good) report_fit(&f, &value, az_seconds() - began, report);
    az_scope_pop(az);
    return good;
}
