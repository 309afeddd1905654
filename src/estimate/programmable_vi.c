/* programmable_vi.c - programmable variational inference (Becker et al., PLDI 2024, arXiv 2406.15742): fits of worked models under any
 * objective, and comparisons of gradient estimators. The language itself is adze/vi.h. */
#include "adze/method.h"
#include "adze/optim.h"
#include "estimate/vi/vi_internal.h"
#include "estimate/vi/worked.h"

#include <math.h>
#include <stddef.h>

typedef enum objective { ELBO, IWELBO, QWAKE, PWAKE, RWS } objective;
typedef enum task { FIT, CHECK } task;

typedef struct vi_options {
    int model, objective, task, strategy, optimizer;
    double observation, lr;
    int64_t particles, inner, steps, batch, draws;
} vi_options;

static const char *const model_names[] = {"cone", "ring", "coin", "lamp", NULL};
static const char *const objective_names[] = {"elbo", "iwelbo", "qwake", "pwake", "rws", NULL};
static const char *const task_names[] = {"fit", "check", NULL};
static const char *const strategy_names[] = {"auto", "reparam", "reinforce", "reinforce-loo", "enum", "mvd", NULL};
static const char *const optimizer_names[] = {"sgd", "adam", NULL};
static az_vi_program *const objectives[] = {[ELBO] = az_vi_elbo, [IWELBO] = az_vi_iwelbo, [QWAKE] = az_vi_qwake, [PWAKE] = az_vi_pwake};

static const az_option options[] = {
    {"model", AZ_FIELD(AZ_CHOICE, vi_options, model), "cone", 0, 0, model_names,
     "cone: a point seen through its squared distance, two normals as guide; ring: the same with a ring as guide; coin: the bias of a "
     "coin; lamp: whether a lamp was faulty, from how long it burned"},
    {"observation", AZ_FIELD(AZ_REAL, vi_options, observation), "-1", -1, 1e9, NULL,
     "what is seen: the squared distance (5), the heads among 10 tosses (6), or the time (1); -1 = that default"},
    {"objective", AZ_FIELD(AZ_CHOICE, vi_options, objective), "elbo", 0, 0, objective_names,
     "elbo and iwelbo are raised. Lowered are qwake, which teaches the guide by draws from the posterior, pwake, which by them teaches the "
     "model its own variable (the prior's spread of cone and ring and its mean of coin, the rate of lamp's faulty ones), and rws, "
     "reweighted wake-sleep: pwake and qwake take turns"},
    {"particles", AZ_FIELD(AZ_INT, vi_options, particles), "5", 1, 1024, NULL, "of iwelbo and the wake objectives"},
    {"inner", AZ_FIELD(AZ_INT, vi_options, inner), "5", 1, 1024, NULL,
     "particles that integrate the ring's angle out; 1 = hierarchical VI"},
    {"task", AZ_FIELD(AZ_CHOICE, vi_options, task), "fit", 0, 0, task_names,
     "fit, or check: mean and variance of the gradient at the start, by every strategy that fits (or the one asked for), beside the exact "
     "gradient (oracle) where sums or quadrature give it, or the reason why they do not"},
    {"strategy", AZ_FIELD(AZ_CHOICE, vi_options, strategy), "auto", 0, 0, strategy_names,
     "how the gradient follows choices; auto: reparam for continuous ones, enum for a flip. One that a choice of the guide cannot be "
     "followed by is an error: mvd is for normals and flips, enum for flips, reparam for what is continuous"},
    {"steps", AZ_FIELD(AZ_INT, vi_options, steps), "5000", 1, 1e8, NULL, "gradient steps, of rws both kinds together"},
    {"batch", AZ_FIELD(AZ_INT, vi_options, batch), "64", 1, 1 << 22, NULL, "copies of the program in a step"},
    {"lr", AZ_FIELD(AZ_REAL, vi_options, lr), "1e-3", 0, 100, NULL, "length of a step"},
    {"optimizer", AZ_FIELD(AZ_CHOICE, vi_options, optimizer), "sgd", 0, 0, optimizer_names, "sgd is a plain gradient step"},
    {"draws", AZ_FIELD(AZ_INT, vi_options, draws), "20000", 2, 1 << 22, NULL, "copies of the final estimate, or of each check"},
    {.name = NULL},
};

/* One objective and the variables that it moves. */
typedef struct part {
    const char *name;
    int first, count; /* of subject.variable */
} part;

/* A worked model made ready: laws, data and variables point into each other. */
typedef struct subject {
    const vi_worked *worked;
    vi_worked_user user;
    az_vi_law model, guide;
    az_vi_inference inference;
    vi_worked_variable declared[VI_MOST_VARIABLES + 1]; /* the guide's, and last the model's own where it is learnt */
    az_vi_variable variable[VI_MOST_VARIABLES + 1];
    az_vi_problem problem[2];
    part part[2];
    int variables, problems;
} subject;

static bool is_wake(const vi_options *o)
{
    return o->objective >= QWAKE;
}

static az_tensor *observation_of(az_ctx *az, const vi_options *o, double seen)
{
    enum { TOSSES = 10 };
    if (o->model != VI_COIN) {
        if (!(isfinite(seen) && seen > 0))
            return az_fail(az, AZ_BAD_INPUT, "observation=%g: a %s is above 0", seen, o->model == VI_LAMP ? "time" : "squared distance");
        return az_scalar(az, AZ_F64, seen);
    }
    if (!(seen >= 0 && seen <= TOSSES && seen == floor(seen)))
        return az_fail(az, AZ_BAD_INPUT, "observation=%g: of %d tosses a whole number from 0 to %d are heads", seen, TOSSES, TOSSES);
    az_tensor *tosses = az_zeros(az, AZ_F64, 2, (int64_t[]){1, TOSSES});
    for (int i = 0; tosses && i < (int)seen; i++) az_f64_mut(tosses)[i] = 1;
    return tosses;
}

static void add_problem(az_ctx *az, const vi_options *o, subject *s, objective which)
{
    const int guide = s->worked->variables;
    s->part[s->problems] = (part){objective_names[which], which == PWAKE ? guide : 0, which == PWAKE ? 1 : guide};
    s->problem[s->problems++] = (az_vi_problem){.objective = objectives[which],
                                                .user = &s->inference,
                                                .variable = s->variable,
                                                .variables = s->variables,
                                                .copies = o->batch,
                                                .seed = az_seed(az),
                                                .strategy = (az_vi_strategy)o->strategy};
}

/* A strategy that nothing would use is an error, like one that does not fit. */
static bool check_strategy(az_ctx *az, const vi_options *o, const subject *s)
{
    if (o->strategy == AZ_VI_AUTO) return true;
    int choices = 0;
    for (int i = 0; i < s->problems; i++) {
        az_vi_problem few = s->problem[i];
        vi_census census;
        few.copies = 2;
        if (!vi_take_census(az, &few, &census)) return false;
        choices += census.choices;
    }
    if (choices > 0) return true;
    return az_fail(az, AZ_BAD_INPUT, "strategy=%s: under objective=%s the gradient of the model %s follows no choice; leave it auto",
                   strategy_names[o->strategy], objective_names[o->objective], s->worked->name);
}

static bool prepare(az_ctx *az, const vi_options *o, subject *s)
{
    const vi_worked *worked = &vi_worked_models[o->model];
    const double seen = o->observation == -1 ? worked->observation : o->observation;
    const bool learns = o->objective == PWAKE || o->objective == RWS;
    az_vi_trace *data = az_vi_trace_new(az);
    *s = (subject){.worked = worked, .user = {.radius = sqrt(fabs(seen)), .learns = learns}, .variables = worked->variables + learns};
    if (!az_vi_trace_set(data, worked->observed, observation_of(az, o, seen))) return false;
    s->model = (az_vi_law){.program = worked->model, .user = &s->user};
    s->guide = (az_vi_law){.program = worked->guide, .user = &s->user, .keep = worked->keep, .particles = (int)o->inner};
    s->inference = (az_vi_inference){.model = &s->model, .guide = &s->guide, .data = data, .particles = (int)o->particles};
    for (int i = 0; i < s->variables; i++) {
        s->declared[i] = i < worked->variables ? worked->variable[i] : worked->own;
        s->variable[i] = (az_vi_variable){s->declared[i].name, az_scalar(az, AZ_F64, s->declared[i].start)};
    }
    if (o->objective != RWS) add_problem(az, o, s, (objective)o->objective);
    if (o->objective == RWS) add_problem(az, o, s, PWAKE), add_problem(az, o, s, QWAKE);
    return az_ok(az) && check_strategy(az, o, s);
}

/* ---- fit ---- */

static void give_variables(az_ctx *az, const subject *s, az_estimate_job *job)
{
    const int n = s->variables;
    const char *names[VI_MOST_VARIABLES + 1];
    az_tensor *values = az_new1(az, AZ_F64, n);
    for (int i = 0; values && i < n; i++) {
        names[i] = s->variable[i].name;
        az_f64_mut(values)[i] = az_to_double(s->variable[i].value);
        az_report_row(job->report, "variables");
        az_report_text(job->report, "variable", names[i]);
        az_report_text(job->report, "of", i < s->worked->variables ? "guide" : "model");
        az_report_number(job->report, "start", s->declared[i].start, "");
        az_report_number(job->report, "value", az_f64(values)[i], "");
    }
    az_results_array(job->results, "variables", values, names, NULL);
}

/* What a wake objective does not tell: the importance-weighted bound on the log evidence that was reached. */
static bool give_bound(az_ctx *az, const vi_options *o, const subject *s, az_report *report)
{
    az_vi_problem bound = s->problem[0];
    az_vi_value value;
    bound.objective = az_vi_iwelbo;
    bound.copies = o->draws;
    if (!az_vi_gradient(az, &bound, o->steps + 1, &value, NULL)) return false;
    az_report_row(report, "evidence");
    az_report_number(report, "iwelbo", value.mean, "nat");
    az_report_number(report, "iwelbo_se", value.se, "nat");
    return true;
}

static bool fit(az_ctx *az, const vi_options *o, subject *s, az_estimate_job *job)
{
    const az_vi_fit_settings settings = {
        .steps = o->steps, .lr = o->lr, .optimizer = o->optimizer == 0 ? AZ_SGD : AZ_ADAMW, .lower = is_wake(o), .draws = o->draws};
    if (!az_vi_fit(az, s->problem, s->problems, &settings, job->report)) return false;
    if (is_wake(o) && !give_bound(az, o, s, job->report)) return false;
    give_variables(az, s, job);
    return true;
}

/* ---- check ---- */

/* Of the gradient over draws, by variable. */
typedef struct moments {
    int64_t draws;
    double mean[VI_MOST_VARIABLES + 1], variance[VI_MOST_VARIABLES + 1];
} moments;

/* Draws come in parts, so that an enumeration of many paths does not hold the tapes of all of them. The squares are of differences from the
 * first draw, which keeps the digits of a small variance. */
static bool draw_gradients(az_ctx *az, az_vi_problem problem, double paths, const part *of, moments *m)
{
    const int64_t draws = m->draws, room = (int64_t)((1 << 18) / paths), most = room < 64 ? 64 : room, parts = (draws + most - 1) / most;
    double first[VI_MOST_VARIABLES + 1] = {0}, sum[VI_MOST_VARIABLES + 1] = {0}, square[VI_MOST_VARIABLES + 1] = {0};
    for (int64_t k = 0; k < parts; k++) {
        az_tensor *gradient[VI_MOST_VARIABLES + 1];
        problem.copies = draws * (k + 1) / parts - draws * k / parts;
        az_scope_push(az);
        const bool good = az_vi_gradient(az, &problem, k, NULL, gradient);
        for (int i = of->first; good && i < of->first + of->count; i++) {
            if (k == 0) first[i] = az_item(gradient[i], 0);
            for (int64_t c = 0; c < problem.copies; c++) {
                const double away = az_item(gradient[i], c) - first[i];
                sum[i] += away;
                square[i] += away * away;
            }
        }
        az_scope_pop(az);
        if (!good) return false;
    }
    for (int i = of->first; i < of->first + of->count; i++) {
        const double mean = sum[i] / (double)draws;
        m->mean[i] = first[i] + mean;
        m->variance[i] = fmax(square[i] / (double)draws - mean * mean, 0);
    }
    return true;
}

/* exact NULL: not known, the column stays empty */
static void report_gradient(const subject *s, const part *of, const char *strategy, const moments *m, const double *exact,
                            az_report *report)
{
    for (int i = of->first; i < of->first + of->count; i++) {
        az_report_row(report, "gradients");
        az_report_text(report, "objective", of->name);
        az_report_text(report, "variable", s->variable[i].name);
        az_report_text(report, "strategy", strategy);
        az_report_number(report, "mean", m->mean[i], "");
        az_report_number(report, "se", sqrt(m->variance[i] / (double)m->draws), "");
        az_report_number(report, "variance", m->variance[i], "");
        if (exact) az_report_number(report, "oracle", exact[i], "");
    }
}

/* NULL, or what stands against a strategy. */
static const char *against(az_ctx *az, const vi_census *census, az_vi_strategy strategy)
{
    if (census->refuses[strategy]) return census->refuses[strategy];
    if (strategy == AZ_VI_ENUM && census->paths > VI_MOST_BRANCHES)
        return az_format_text(az, "all: together they have more than %d values", VI_MOST_BRANCHES);
    if (strategy == AZ_VI_MVD && census->choices > VI_MOST_DEPTH) return az_format_text(az, "all: they are more than %d", VI_MOST_DEPTH);
    return NULL;
}

static bool check_one(az_ctx *az, const vi_options *o, const subject *s, int which, az_report *report)
{
    static const az_vi_strategy all[] = {AZ_VI_REPARAM, AZ_VI_REINFORCE, AZ_VI_REINFORCE_LOO, AZ_VI_ENUM, AZ_VI_MVD};
    const part *of = &s->part[which];
    double exact[VI_MOST_VARIABLES + 1];
    const char *unknown = vi_exact_gradient(az, s->worked, &s->problem[which], exact);
    az_vi_problem problem = s->problem[which];
    vi_census census;
    moments m = {.draws = o->draws};
    problem.copies = 2;
    problem.each = true;
    if (!az_ok(az) || !vi_take_census(az, &problem, &census)) return false;
    if (unknown) {
        az_report_row(report, "no oracle");
        az_report_text(report, "objective", of->name);
        az_report_text(report, "reason", unknown);
    }
    const int strategies = census.choices > 0 ? (int)(sizeof all / sizeof *all) : 1; /* without choices all are the same */
    for (int i = 0; i < strategies; i++) {
        const char *name = census.choices > 0 ? az_vi_strategy_name(all[i]) : "none", *refusal = against(az, &census, all[i]);
        problem.strategy = all[i];
        if (census.choices > 0 && o->strategy != AZ_VI_AUTO && o->strategy != (int)all[i]) continue;
        if (o->strategy == AZ_VI_AUTO && refusal) {
            az_report_row(report, "unsuitable");
            az_report_text(report, "strategy", name);
            az_report_text(report, "choice", refusal);
            continue;
        }
        if (!draw_gradients(az, problem, all[i] == AZ_VI_ENUM ? census.paths : 1, of, &m)) return false;
        report_gradient(s, of, name, &m, unknown ? NULL : exact, report);
    }
    return true;
}

/* The gradients at the start, by each strategy that the model's choices can be followed by. */
static bool check(az_ctx *az, const vi_options *o, const subject *s, az_estimate_job *job)
{
    for (int i = 0; i < s->problems; i++)
        if (!check_one(az, o, s, i, job->report)) return false;
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
               "resampling. This command fits and checks four worked models; examples/ holds programs that show how to write others.",
    .example = "adze estimate programmable-vi:model=coin,steps=500",
    .options = options,
    .options_size = sizeof(vi_options),
    .estimate = estimate,
};
