/* programmable_vi.c - programmable variational inference (Becker et al., PLDI 2024, arXiv 2406.15742): fits of worked models under any
 * objective, and comparisons of gradient estimators. The language itself is adze/vi.h. */
#include "adze/method.h"
#include "adze/optim.h"
#include "estimate/vi/worked.h"

#include <math.h>
#include <stddef.h>

typedef enum objective { ELBO, IWELBO, QWAKE, PWAKE } objective;
typedef enum task { FIT, CHECK } task;

typedef struct vi_options {
    int model, objective, task, strategy, optimizer;
    double observation, lr;
    int64_t particles, inner, steps, batch, draws;
} vi_options;

static const char *const model_names[] = {"cone", "ring", "coin", NULL};
static const char *const objective_names[] = {"elbo", "iwelbo", "qwake", "pwake", NULL};
static const char *const task_names[] = {"fit", "check", NULL};
static const char *const strategy_names[] = {"auto", "reparam", "reinforce", "reinforce-loo", "enum", "mvd", NULL};
static const char *const optimizer_names[] = {"sgd", "adam", NULL};
static az_vi_program *const objectives[] = {[ELBO] = az_vi_elbo, [IWELBO] = az_vi_iwelbo, [QWAKE] = az_vi_qwake, [PWAKE] = az_vi_pwake};

static const az_option options[] = {
    {"model", AZ_CHOICE, offsetof(vi_options, model), "cone", 0, 0, model_names,
     "cone: a point seen through its squared distance, two normals as guide; ring: the same with a ring as guide; coin: the bias of a "
     "coin"},
    {"observation", AZ_REAL, offsetof(vi_options, observation), "-1", -1, 1e9, NULL,
     "what is seen: the squared distance (5), or the heads among 10 tosses (6); -1 = that default"},
    {"objective", AZ_CHOICE, offsetof(vi_options, objective), "elbo", 0, 0, objective_names,
     "elbo and iwelbo are raised, qwake and pwake lowered"},
    {"particles", AZ_INT, offsetof(vi_options, particles), "5", 1, 1024, NULL, "of iwelbo, qwake and pwake"},
    {"inner", AZ_INT, offsetof(vi_options, inner), "5", 1, 1024, NULL,
     "particles that integrate the ring's angle out; 1 = hierarchical VI"},
    {"task", AZ_CHOICE, offsetof(vi_options, task), "fit", 0, 0, task_names,
     "fit the guide, or check: mean and variance of the gradient by every strategy, at the start"},
    {"strategy", AZ_CHOICE, offsetof(vi_options, strategy), "auto", 0, 0, strategy_names,
     "how the gradient follows choices, where the distribution allows it"},
    {"steps", AZ_INT, offsetof(vi_options, steps), "5000", 1, 1e8, NULL, "gradient steps"},
    {"batch", AZ_INT, offsetof(vi_options, batch), "64", 1, 1 << 22, NULL, "copies of the program in a step"},
    {"lr", AZ_REAL, offsetof(vi_options, lr), "1e-3", 0, 100, NULL, "length of a step"},
    {"optimizer", AZ_CHOICE, offsetof(vi_options, optimizer), "sgd", 0, 0, optimizer_names, "sgd is a plain gradient step"},
    {"draws", AZ_INT, offsetof(vi_options, draws), "20000", 2, 1 << 22, NULL, "copies of the final estimate, or of each check"},
    {.name = NULL},
};

/* A worked model made ready: laws, data and variables point into each other. */
typedef struct subject {
    const vi_worked *worked;
    double radius; /* of the ring */
    az_vi_law model, guide;
    az_vi_inference inference;
    az_vi_variable variable[VI_MOST_VARIABLES];
    az_vi_problem problem;
} subject;

static az_tensor *observation_of(az_ctx *az, const vi_options *o, double seen)
{
    enum { TOSSES = 10 };
    if (o->model != VI_COIN) {
        if (!(isfinite(seen) && seen > 0)) return az_fail(az, AZ_BAD_INPUT, "observation=%g: a squared distance is above 0", seen);
        return az_scalar(az, AZ_F64, seen);
    }
    if (!(seen >= 0 && seen <= TOSSES && seen == floor(seen)))
        return az_fail(az, AZ_BAD_INPUT, "observation=%g: of %d tosses a whole number from 0 to %d are heads", seen, TOSSES, TOSSES);
    az_tensor *tosses = az_zeros(az, AZ_F64, 2, (int64_t[]){1, TOSSES});
    for (int i = 0; tosses && i < (int)seen; i++) az_f64_mut(tosses)[i] = 1;
    return tosses;
}

static bool prepare(az_ctx *az, const vi_options *o, subject *s)
{
    const vi_worked *worked = &vi_worked_models[o->model];
    const double seen = o->observation == -1 ? worked->observation : o->observation;
    az_vi_trace *data = az_vi_trace_new(az);
    *s = (subject){.worked = worked, .radius = sqrt(fabs(seen))};
    if (!az_vi_trace_set(data, worked->observed, observation_of(az, o, seen))) return false;
    if (o->objective == PWAKE)
        return az_fail(az, AZ_BAD_INPUT, "objective=pwake: the worked models have no variables of their own to learn; use qwake");
    s->model = (az_vi_law){.program = worked->model};
    s->guide = (az_vi_law){.program = worked->guide, .user = &s->radius, .keep = worked->keep, .particles = (int)o->inner};
    s->inference = (az_vi_inference){.model = &s->model, .guide = &s->guide, .data = data, .particles = (int)o->particles};
    for (int i = 0; i < worked->variables; i++)
        s->variable[i] = (az_vi_variable){worked->variable[i].name, az_scalar(az, AZ_F64, worked->variable[i].start)};
    s->problem = (az_vi_problem){.objective = objectives[o->objective],
                                 .user = &s->inference,
                                 .variable = s->variable,
                                 .variables = worked->variables,
                                 .copies = o->batch,
                                 .seed = az_seed(az),
                                 .strategy = (az_vi_strategy)o->strategy};
    return az_ok(az);
}

/* ---- fit ---- */

static void give_variables(az_ctx *az, const subject *s, az_estimate_job *job)
{
    const int n = s->worked->variables;
    const char *names[VI_MOST_VARIABLES];
    az_tensor *values = az_new1(az, AZ_F64, n);
    for (int i = 0; values && i < n; i++) {
        names[i] = s->variable[i].name;
        az_f64_mut(values)[i] = az_to_double(s->variable[i].value);
        az_report_row(job->report, "variables");
        az_report_text(job->report, "variable", names[i]);
        az_report_number(job->report, "start", s->worked->variable[i].start, "");
        az_report_number(job->report, "value", az_f64(values)[i], "");
    }
    az_results_array(job->results, "variables", values, names, NULL);
}

static bool fit(az_ctx *az, const vi_options *o, subject *s, az_estimate_job *job)
{
    const az_vi_fit_settings settings = {.steps = o->steps,
                                         .lr = o->lr,
                                         .optimizer = o->optimizer == 0 ? AZ_SGD : AZ_ADAMW,
                                         .lower = o->objective == QWAKE,
                                         .draws = o->draws};
    if (!az_vi_fit(az, &s->problem, 1, &settings, job->report)) return false;
    give_variables(az, s, job);
    return true;
}

/* ---- check ---- */

static void report_gradient(const subject *s, az_vi_strategy strategy, az_tensor *const *gradient, az_report *report)
{
    for (int i = 0; i < s->worked->variables; i++) {
        const int64_t n = az_count(gradient[i]);
        double sum = 0, square = 0;
        for (int64_t k = 0; k < n; k++) sum += az_item(gradient[i], k);
        const double mean = sum / (double)n;
        for (int64_t k = 0; k < n; k++) square += (az_item(gradient[i], k) - mean) * (az_item(gradient[i], k) - mean);
        az_report_row(report, "gradients");
        az_report_text(report, "variable", s->variable[i].name);
        az_report_text(report, "strategy", az_vi_strategy_name(strategy));
        az_report_number(report, "mean", mean, "");
        az_report_number(report, "se", sqrt(square / (double)n / (double)n), "");
        az_report_number(report, "variance", square / (double)n, "");
    }
}

/* The gradient at the start by each strategy that the model's choices can follow. */
static bool check(az_ctx *az, const vi_options *o, subject *s, az_estimate_job *job)
{
    static const az_vi_strategy all[] = {AZ_VI_REPARAM, AZ_VI_REINFORCE, AZ_VI_REINFORCE_LOO, AZ_VI_MVD};
    az_vi_problem problem = s->problem;
    problem.copies = o->draws;
    problem.each = true;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (o->model == VI_COIN && all[i] == AZ_VI_MVD) continue; /* a beta variable has no such derivative */
        az_tensor *gradient[VI_MOST_VARIABLES];
        az_vi_value value;
        problem.strategy = all[i];
        if (!az_vi_gradient(az, &problem, 0, &value, gradient)) return false;
        report_gradient(s, all[i], gradient, job->report);
    }
    return true;
}

static bool estimate(az_ctx *az, const void *settings, az_estimate_job *job)
{
    const vi_options *o = settings;
    subject s;
    if (!prepare(az, o, &s)) return false;
    return o->task == FIT ? fit(az, o, &s, job) : check(az, o, &s, job);
}

const az_method az_programmable_vi = {
    .name = "programmable-vi",
    .family = AZ_ESTIMATE,
    .summary = "variational inference whose models, guides and objectives are programs",
    .paper = "Becker et al.: Probabilistic Programming with Programmable Variational Inference, PLDI 2024, arXiv 2406.15742",
    .details = "Models, guides and objectives are C functions over named random choices (adze/vi.h); each choice names how the gradient of "
               "the expected objective follows it: reparameterisation, score function with or without a baseline, enumeration, or a "
               "measure-valued derivative. Guides may integrate choices out by importance sampling, and posteriors may be sampled by "
               "resampling. This command fits and checks three worked models; examples/ holds programs that show how to write others.",
    .example = "adze estimate programmable-vi:model=coin,steps=500",
    .options = options,
    .options_size = sizeof(vi_options),
    .estimate = estimate,
};
