/* programmable_vi.c - programmable variational inference (Becker et al., PLDI 2024, arXiv 2406.15742): fits of worked models under any
 * objective, and comparisons of gradient estimators. The language itself is adze/vi.h. */
#include "adze/optim.h"
#include "estimate/estimate_internal.h"
#include "estimate/vi/vi_internal.h"
#include "estimate/vi/worked.h"

#include <stddef.h>
#include <string.h>

typedef enum objective { ELBO, IWELBO, QWAKE, PWAKE, RWS } objective;
typedef enum task { FIT, CHECK } task;

typedef struct vi_options {
    int model, objective, task, strategy, optimizer;
    const char *column;
    double observation, lr;
    int64_t particles, inner, steps, batch, draws;
} vi_options;

static const char *const model_names[] = {"cone", "ring", "coin", "mixture", NULL};
static const char *const objective_names[] = {"elbo", "iwelbo", "qwake", "pwake", "rws", NULL};
static const char *const task_names[] = {"fit", "check", NULL};
static const char *const strategy_names[] = {"auto", "reparam", "reinforce", "reinforce-loo", "enum", "mvd", NULL};
static const char *const optimizer_names[] = {"sgd", "adam", NULL};
static az_vi_program *const objectives[] = {[ELBO] = az_vi_elbo, [IWELBO] = az_vi_iwelbo, [QWAKE] = az_vi_qwake, [PWAKE] = az_vi_pwake};

static const az_option options[] = {
    {"model", AZ_CHOICE, offsetof(vi_options, model), "cone", 0, 0, model_names,
     "cone: a point seen through its squared distance, two normals as guide; ring: the same with a ring as guide; coin: the bias of a "
     "coin; mixture: two normals that points of a file come from, all of it to be learnt"},
    {"observation", AZ_REAL, offsetof(vi_options, observation), "-1", -1, 1e9, NULL,
     "what is seen: the squared distance (5), or the heads among 10 tosses (6); -1 = that default"},
    {"column", AZ_TEXT, offsetof(vi_options, column), "", 0, 0, NULL, "mixture: the column of the points; none = the only one"},
    {"objective", AZ_CHOICE, offsetof(vi_options, objective), "elbo", 0, 0, objective_names,
     "elbo and iwelbo are raised, qwake (of the guide) and pwake (of the model) lowered; rws: pwake and qwake in turn, which is reweighted "
     "wake-sleep"},
    {"particles", AZ_INT, offsetof(vi_options, particles), "5", 1, 1024, NULL, "of all objectives but elbo"},
    {"inner", AZ_INT, offsetof(vi_options, inner), "5", 1, 1024, NULL,
     "particles that integrate the ring's angle out; 1 = hierarchical VI"},
    {"task", AZ_CHOICE, offsetof(vi_options, task), "fit", 0, 0, task_names,
     "fit, or check: mean and variance of the gradient by every strategy, at the start, beside the exact gradient where it can be had"},
    {"strategy", AZ_CHOICE, offsetof(vi_options, strategy), "auto", 0, 0, strategy_names,
     "how the gradient follows the choices; one that a choice's distribution does not allow is an error"},
    {"steps", AZ_INT, offsetof(vi_options, steps), "5000", 1, 1e8, NULL, "gradient steps"},
    {"batch", AZ_INT, offsetof(vi_options, batch), "64", 1, 1 << 22, NULL, "copies of the program in a step; mixture: points"},
    {"lr", AZ_REAL, offsetof(vi_options, lr), "1e-3", 0, 100, NULL, "length of a step"},
    {"optimizer", AZ_CHOICE, offsetof(vi_options, optimizer), "sgd", 0, 0, optimizer_names, "sgd is a plain gradient step"},
    {"draws", AZ_INT, offsetof(vi_options, draws), "20000", 2, 1 << 22, NULL, "copies of the final estimate, or of each check"},
    {.name = NULL},
};
static const az_input_slot slots[] = {
    {"points", AZ_INPUT_TABLE, 0, 1, "mixture: a table with the points in a column"},
    {0},
};

/* An objective; its guide may look at the points of its run. */
typedef struct turn {
    az_vi_law guide;
    vi_points points;
} turn;

/* A worked model made ready: laws, data and variables point into each other. */
typedef struct subject {
    const vi_worked *worked;
    double radius; /* of the ring */
    az_vi_law model;
    turn turn[2];
    double mean, sd; /* of the points, which the program sees in these units */
    az_vi_variable variable[VI_MOST_VARIABLES];
    az_vi_problem problem[2]; /* two take turns */
    int problems;
} subject;

/* ---- what is seen ---- */

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

/* The points less their mean, in standard deviations. */
static az_tensor *read_points(az_ctx *az, const vi_options *o, const az_table *table, subject *s)
{
    const az_column *column = *o->column ? az_table_find(az, table, o->column) : &table->column[0];
    if (!*o->column && table->columns != 1)
        return az_fail(az, AZ_BAD_INPUT, "'%s' has %d columns: column=NAME says which holds the points", table->path, table->columns);
    const double *x = column ? az_column_numbers(az, table, column) : NULL;
    const int64_t n = table->rows;
    if (!x) return NULL;
    if (n < 2) return az_fail(az, AZ_BAD_INPUT, "'%s' has %lld row: at least 2 points are wanted", table->path, (long long)n);
    if (!check_samples(az, (const char *[]){column->name}, x, n, 1)) return NULL;
    double square = 0;
    s->mean = 0;
    for (int64_t i = 0; i < n; i++) s->mean += x[i] / (double)n;
    for (int64_t i = 0; i < n; i++) square += (x[i] - s->mean) * (x[i] - s->mean) / (double)n;
    s->sd = sqrt(square);
    az_tensor *points = az_new1(az, AZ_F64, n);
    for (int64_t i = 0; points && i < n; i++) az_f64_mut(points)[i] = (x[i] - s->mean) / s->sd;
    return points;
}

static bool check_inputs(az_ctx *az, const vi_options *o, const vi_worked *worked, const az_input *file)
{
    const bool points = isnan(worked->observation);
    if (points && !file) return az_fail(az, AZ_BAD_INPUT, "model=%s needs a table of points: -d FILE", worked->name);
    if (!points && file) return az_fail(az, AZ_BAD_INPUT, "model=%s reads no file: what is seen is observation=NUMBER", worked->name);
    if (!points && *o->column) return az_fail(az, AZ_BAD_INPUT, "column=%s: model=%s reads no file", o->column, worked->name);
    if (points && o->observation != -1)
        return az_fail(az, AZ_BAD_INPUT, "observation=%g: model=%s sees the points of its file", o->observation, worked->name);
    if (!worked->learns && (o->objective == PWAKE || o->objective == RWS))
        return az_fail(az, AZ_BAD_INPUT,
                       "objective=%s: it learns the model's variables, and model=%s has none; take model=mixture, or objective=qwake",
                       objective_names[o->objective], worked->name);
    return true;
}

/* ---- the problems ---- */

/* Of points, or of one observation in data. */
static void make_problem(az_ctx *az, const vi_options *o, subject *s, objective which, const az_tensor *points, const az_vi_trace *data)
{
    const int at = s->problems++;
    turn *t = &s->turn[at];
    t->guide = (az_vi_law){.program = s->worked->guide,
                           .user = points ? (void *)&t->points : (void *)&s->radius,
                           .keep = s->worked->keep,
                           .particles = (int)o->inner};
    t->points = (vi_points){
        .objective = objectives[which],
        .inference = {.model = &s->model, .guide = &t->guide, .data = data, .particles = (int)o->particles},
        .observed = s->worked->observed,
        .all = points,
    };
    s->problem[at] = (az_vi_problem){.objective = points ? vi_on_points : objectives[which],
                                     .user = points ? (void *)&t->points : (void *)&t->points.inference,
                                     .variable = s->variable,
                                     .variables = s->worked->variables,
                                     .copies = o->batch,
                                     .seed = az_seed(az) + (uint64_t)at,
                                     .strategy = (az_vi_strategy)o->strategy,
                                     .name = o->objective == RWS ? objective_names[which] : NULL};
}

static bool prepare(az_ctx *az, const vi_options *o, const az_input *file, subject *s)
{
    const vi_worked *worked = &vi_worked_models[o->model];
    const double seen = o->observation == -1 ? worked->observation : o->observation;
    az_vi_trace *data = NULL;
    const az_tensor *points = NULL;
    *s = (subject){.worked = worked, .radius = sqrt(fabs(seen))};
    if (!check_inputs(az, o, worked, file)) return false;
    if (file) {
        if (!(points = read_points(az, o, file->table, s))) return false;
    } else if (!(data = az_vi_trace_new(az)) || !az_vi_trace_set(data, worked->observed, observation_of(az, o, seen))) {
        return false;
    }
    s->model = (az_vi_law){.program = worked->model};
    for (int i = 0; i < worked->variables; i++)
        s->variable[i] = (az_vi_variable){worked->variable[i].name, az_scalar(az, AZ_F64, worked->variable[i].start)};
    if (o->objective == RWS) make_problem(az, o, s, PWAKE, points, data);
    make_problem(az, o, s, o->objective == RWS ? QWAKE : (objective)o->objective, points, data);
    return az_ok(az);
}

/* ---- fit ---- */

/* log p(point) of the mixture, a mean over the points, in their own units. */
static double log_likelihood(const subject *s, double weight, const double mean[2], double sd)
{
    const az_tensor *points = s->turn[0].points.all;
    const int64_t n = az_count(points);
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        const double a = (az_item(points, i) - mean[0]) / sd, b = (az_item(points, i) - mean[1]) / sd;
        const double first = log1p(-weight) - a * a / 2, second = log(weight) - b * b / 2, high = fmax(first, second);
        sum += high + log1p(exp(fmin(first, second) - high));
    }
    return sum / (double)n - log(sd * s->sd) - 0.5 * log(2 * acos(-1));
}

static void report_mixture(const subject *s, az_report *report)
{
    const az_vi_variable *v = s->variable;
    const double weight = 1 / (1 + exp(-az_to_double(v[0].value))), sd = exp(az_to_double(v[3].value));
    const double mean[] = {az_to_double(v[1].value), az_to_double(v[2].value)};
    for (int k = 0; k < 2; k++) {
        az_report_row(report, "components");
        az_report_count(report, "component", k + 1);
        az_report_number(report, "weight", k ? weight : 1 - weight, "");
        az_report_number(report, "mean", s->mean + s->sd * mean[k], "");
        az_report_number(report, "sd", s->sd * sd, "");
    }
    az_report_row(report, "points");
    az_report_count(report, "points", az_count(s->turn[0].points.all));
    az_report_number(report, "log_likelihood", log_likelihood(s, weight, mean, sd), "nat/point");
}

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
                                         .lower = o->objective != ELBO && o->objective != IWELBO,
                                         .draws = o->draws};
    if (o->steps < s->problems) return az_fail(az, AZ_BAD_INPUT, "steps=1: rws takes two objectives in turn");
    if (!az_vi_fit(az, s->problem, s->problems, &settings, job->report)) return false;
    give_variables(az, s, job);
    if (o->model == VI_MIXTURE) report_mixture(s, job->report);
    return az_ok(az);
}

/* ---- check ---- */

/* exact NULL: not known */
static void report_gradient(const subject *s, const char *strategy, az_tensor *const *gradient, az_tensor *const *exact, az_report *report)
{
    for (int i = 0; i < s->worked->variables; i++) {
        const int64_t n = az_count(gradient[i]);
        double sum = 0, square = 0;
        for (int64_t k = 0; k < n; k++) sum += az_item(gradient[i], k);
        const double mean = sum / (double)n;
        for (int64_t k = 0; k < n; k++) square += (az_item(gradient[i], k) - mean) * (az_item(gradient[i], k) - mean);
        az_report_row(report, "gradients");
        az_report_text(report, "variable", s->variable[i].name);
        az_report_text(report, "strategy", strategy);
        az_report_number(report, "mean", mean, "");
        az_report_number(report, "se", sqrt(square / (double)n / (double)n), "");
        if (exact) az_report_number(report, "exact", az_to_double(exact[i]), "");
        az_report_number(report, "variance", square / (double)n, "");
    }
}

/* The first choice that the strategy cannot follow; NULL = none. */
static const vi_site *unfit_site(const vi_site *site, int sites, az_vi_strategy strategy)
{
    for (int k = 0; k < sites; k++)
        if (site[k].open && !site[k].rows && !vi_can_follow(&site[k], strategy)) return &site[k];
    return NULL;
}

static void report_unfit(az_ctx *az, const vi_site *site, az_vi_strategy strategy, az_report *report)
{
    az_report_row(report, "left_out");
    az_report_text(report, "strategy", az_vi_strategy_name(strategy));
    az_report_text(report, "choice", site->address);
    az_report_text(report, "distribution", vi_site_text(az, site));
    az_report_text(report, "followed_by", vi_strategies_text(az, site));
}

static bool report_exact(az_ctx *az, const vi_options *o, const vi_exact *exact, az_report *report)
{
    if (exact->why) {
        az_note(az, "no exact gradient: %s", exact->why);
        return false;
    }
    az_report_row(report, "exact");
    az_report_text(report, "objective", objective_names[o->objective]);
    az_report_number(report, "value", exact->value, "nat");
    az_report_text(report, "by", exact->quadrature ? "quadrature" : "enumeration");
    az_report_count(report, "values", exact->values);
    return true;
}

/* The gradient at the start by each strategy that all choices of the model can follow. */
static bool check_problem(az_ctx *az, const vi_options *o, const subject *s, az_vi_problem problem, az_report *report)
{
    az_tensor *exact[VI_MOST_VARIABLES], *gradient[VI_MOST_VARIABLES];
    vi_exact how;
    vi_site *site;
    int sites, open = 0;
    problem.copies = o->draws;
    problem.each = true;
    problem.strategy = AZ_VI_AUTO;
    if (!vi_integrate(az, &problem, &how, exact) || !vi_survey(az, &problem, &site, &sites)) return false;
    const bool known = report_exact(az, o, &how, report);
    for (int k = 0; k < sites; k++) open += site[k].open && !site[k].rows;
    /* of a wake objective no choice is followed, whatever the strategy */
    for (int i = open > 0 ? AZ_VI_REPARAM : AZ_VI_AUTO; i <= (open > 0 ? AZ_VI_MVD : AZ_VI_AUTO); i++) {
        const vi_site *unfit = i == AZ_VI_AUTO ? NULL : unfit_site(site, sites, (az_vi_strategy)i);
        if (unfit) {
            report_unfit(az, unfit, (az_vi_strategy)i, report);
            continue;
        }
        problem.strategy = (az_vi_strategy)i;
        az_vi_value value;
        if (!az_vi_gradient(az, &problem, 0, &value, gradient)) return false;
        report_gradient(s, open > 0 ? az_vi_strategy_name(problem.strategy) : "(none needed)", gradient, known ? exact : NULL, report);
    }
    return true;
}

static bool check(az_ctx *az, const vi_options *o, subject *s, az_estimate_job *job)
{
    if (o->objective == RWS) return az_fail(az, AZ_BAD_INPUT, "task=check looks at one objective: pwake or qwake, of which rws is made");
    if (o->strategy != AZ_VI_AUTO)
        return az_fail(az, AZ_BAD_INPUT, "task=check compares all strategies: leave strategy=%s out", strategy_names[o->strategy]);
    return check_problem(az, o, s, s->problem[0], job->report);
}

static bool estimate(az_ctx *az, const void *settings, az_estimate_job *job)
{
    const vi_options *o = settings;
    subject s;
    if (!prepare(az, o, az_job_input(job, 0, 0), &s)) return false;
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
               "resampling. This command fits and checks four worked models; examples/ holds programs that show how to write others. "
               "task=check puts every "
               "strategy beside the exact gradient, by enumeration or quadrature where the choices have few enough values together; "
               "strategies that a choice cannot be followed by are listed as left_out.",
    .example = "adze estimate programmable-vi:model=coin,steps=500\n"
               "adze estimate programmable-vi:model=mixture,column=y,objective=rws,optimizer=adam,lr=0.02,steps=2000 -d numbers.csv",
    .options = options,
    .options_size = sizeof(vi_options),
    .inputs = slots,
    .estimate = estimate,
};
