/* ppg.c - state-space models, smoothed and learnt by bias-reduced particle estimates.
 *
 * Sums over the path given all observations, E[sum_t h(x_t, x_{t+1}) | y], by PaRIS (every particle draws `draws` ancestors backward and
 * averages their sums) inside particle Gibbs (one particle follows a frozen path, a new one is drawn after each sweep). PaRIS alone has a
 * bias of order n / particles; that of sweep l falls geometrically in l, and the sweeps after the burn-in are averaged.
 *
 * Cardoso, El Idrissi, Le Corff, Moulines, Olsson: "State and parameter learning with PaRIS particle Gibbs", ICML 2023 (arXiv 2301.00900).
 */
#include "estimate/ssm/spec.h"
#include "estimate/ssm/ssm_report.h"

#include "adze/method.h"

#include <math.h>
#include <string.h>

enum { SIMULATE, SMOOTH, LEARN };
enum { MLE, MSC };

typedef struct ppg_options {
    az_ssm_spec spec;
    int task, method, functional, backward, resampling, objective, optimizer;
    int64_t n, particles, draws, sweeps, burn, chains, steps;
    bool missing, online, stable;
    double lr, gamma0, average;
    const char *free, *beside;
} ppg_options;

static const char *const task_names[] = {[SIMULATE] = "simulate", [SMOOTH] = "smooth", [LEARN] = "learn", NULL};
static const char *const functional_names[] = {"suff", "score", NULL};
static const char *const backward_names[] = {"ar", "exact", NULL};
static const char *const resampling_names[] = {"multinomial", "systematic", NULL};
static const char *const objective_names[] = {[MLE] = "mle", [MSC] = "msc", NULL};
static const char *const optimizer_names[] = {"adam", "gain", NULL};

static const az_option ppg_table[] = {
    {"task", AZ_FIELD(AZ_CHOICE, ppg_options, task), "smooth", 0, 0, task_names,
     "simulate draws a series; smooth tells states and sums given y; learn fits parameters, or a Gaussian law of the path"},
    {"model", AZ_FIELD(AZ_CHOICE, ppg_options, spec.family), "lgssm", 0, 0, az_ssm_family_names,
     "linear Gaussian; stochastic volatility; recurrent network x' = tanh(w x) + noise, y = c x + noise"},
    {"params", AZ_FIELD(AZ_TEXT, ppg_options, spec.params), "", 0, 0, NULL,
     "numbers: lgssm a, c, q, r, m0, p0 (times the identity where no file gives a matrix); sv phi, sigma, beta; recurrent gain, q, r, p0"},
    {"states", AZ_FIELD(AZ_INT, ppg_options, spec.states), "0", 0, AZ_SSM_MOST_STATES, NULL,
     "numbers in a state; 0 = as files say, 1 or 5"},
    {"observed", AZ_FIELD(AZ_INT, ppg_options, spec.observed), "0", 0, AZ_SSM_MOST_STATES, NULL,
     "numbers in an observation; 0 = as files say"},
    {"n", AZ_FIELD(AZ_INT, ppg_options, n), "100", 1, 1e8, NULL, "simulate: times"},
    {"missing", AZ_FIELD(AZ_BOOL, ppg_options, missing), "false", 0, 0, NULL, "rows of y without values were not seen"},
    {"method", AZ_FIELD(AZ_CHOICE, ppg_options, method), "ppg", 0, 0, az_ssm_method_names,
     "ppg; paris = one pass; pg = the sweeps' paths alone; ffbs = paths drawn backward; kalman = exact, lgssm only"},
    {"functional", AZ_FIELD(AZ_CHOICE, ppg_options, functional), "suff", 0, 0, functional_names,
     "smooth: sums of x, x^2 and x x', or the score of the likelihood"},
    {"particles", AZ_FIELD(AZ_INT, ppg_options, particles), "64", 1, 1 << 24, NULL, "in a pass"},
    {"draws", AZ_FIELD(AZ_INT, ppg_options, draws), "2", 1, 1024, NULL, "backward draws of each particle"},
    {"sweeps", AZ_FIELD(AZ_INT, ppg_options, sweeps), "8", 1, 1e8, NULL, "of ppg and pg"},
    {"burn", AZ_FIELD(AZ_INT, ppg_options, burn), "-1", -1, 1e8, NULL, "first sweeps that are not averaged; -1 = half of them"},
    {"chains", AZ_FIELD(AZ_INT, ppg_options, chains), "1", 1, 1e6, NULL, "independent repetitions; two or more give standard errors"},
    {"backward", AZ_FIELD(AZ_CHOICE, ppg_options, backward), "ar", 0, 0, backward_names, "draws by rejection, or over all particles"},
    {"resampling", AZ_FIELD(AZ_CHOICE, ppg_options, resampling), "multinomial", 0, 0, resampling_names, "systematic is for paris alone"},
    {"online", AZ_FIELD(AZ_BOOL, ppg_options, online), "false", 0, 0, NULL,
     "paris in memory that does not grow with n: sums alone, no states"},
    {"beside", AZ_FIELD(AZ_TEXT, ppg_options, beside), "", 0, 0, NULL, "smooth: other methods to run and compare, joined by +, or all"},
    {"objective", AZ_FIELD(AZ_CHOICE, ppg_options, objective), "mle", 0, 0, objective_names,
     "learn: the likelihood, or Markov score climbing of a Gaussian law of the path"},
    {"free", AZ_FIELD(AZ_TEXT, ppg_options, free), "", 0, 0, NULL,
     "learn: parameters that move, joined by + (a matrix's name means all its entries); nothing = all but c, m0, p0"},
    {"stable", AZ_FIELD(AZ_BOOL, ppg_options, stable), "false", 0, 0, NULL, "learn: lgssm of one state keeps |a| < 1"},
    {"steps", AZ_FIELD(AZ_INT, ppg_options, steps), "300", 1, 1e8, NULL, "learn: of ascent"},
    {"optimizer", AZ_FIELD(AZ_CHOICE, ppg_options, optimizer), "adam", 0, 0, optimizer_names,
     "learn: gain = steps gamma0 i^-0.6 along the score / n"},
    {"lr", AZ_FIELD(AZ_REAL, ppg_options, lr), "1e-2", 0, 100, NULL, "learn: length of a step of adam"},
    {"gamma0", AZ_FIELD(AZ_REAL, ppg_options, gamma0), "0.1", 0, 1e6, NULL, "learn: first gain"},
    {"average", AZ_FIELD(AZ_REAL, ppg_options, average), "0", 0, 1, NULL,
     "learn: the result is the mean over this last share of the steps"},
    {0},
};

/* ---- simulate --------------------------------------------------------------------------------------------------------------------- */

static const char **labels(az_ctx *az, const char *name, int count)
{
    const char **label = az_alloc_array(az, (size_t)count, sizeof *label);
    for (int i = 0; label && i < count; i++) label[i] = az_ssm_label(az, name, i, count);
    return label;
}

static void give_parameters(az_ctx *az, const az_ssm *model, const double *theta, az_results *results)
{
    const int64_t p = model->parameters;
    const char **name = az_alloc_array(az, (size_t)p, sizeof *name);
    for (int64_t i = 0; name && i < p; i++) name[i] = model->parameter[i].name;
    if (name) az_results_array(results, "parameters", az_from(az, AZ_F64, 1, &p, theta), name, NULL);
}

static bool simulate(az_ctx *az, const ppg_options *o, const az_ssm *model, az_estimate_job *job)
{
    if (az_job_input(job, AZ_SSM_SLOT_Y, 0)) return az_fail(az, AZ_BAD_INPUT, "task=simulate makes y: it reads none");
    const int d = model->states, m = model->observed;
    az_tensor *x = az_new2(az, AZ_F64, o->n, d), *y = az_new2(az, AZ_F64, o->n, m);
    double *theta = az_alloc_array(az, (size_t)model->parameters, sizeof *theta), *time = az_alloc_array(az, (size_t)o->n, sizeof *time);
    double *shown = az_alloc_array(az, (size_t)o->n, sizeof *shown);
    if (!shown || !theta || !time || !az_ssm_simulate(az, model, NULL, az_seed(az), o->n, az_f64_mut(x), az_f64_mut(y))) return false;
    for (int i = 0; i < model->parameters; i++) theta[i] = model->parameter[i].value;
    az_report_row(job->report, "series");
    az_report_text(job->report, "model", model->name);
    az_report_count(job->report, "times", o->n);
    az_report_count(job->report, "states", d);
    az_report_count(job->report, "observed", m);
    for (int64_t t = 0; t < o->n; t++) time[t] = (double)t, shown[t] = az_f64(x)[t * d];
    az_report_curve(job->report, az_ssm_label(az, "x", 0, d), "t", "state", o->n, time, shown);
    az_results_array(job->results, "y", y, NULL, labels(az, "y", m));
    az_results_array(job->results, "states", x, NULL, labels(az, "x", d));
    give_parameters(az, model, theta, job->results);
    return az_ok(az);
}

/* ---- smooth -------------------------------------------------------------------------------------------------------------------------- */

static az_ssm_how how_of(az_ctx *az, const ppg_options *o)
{
    return (az_ssm_how){.method = (az_ssm_method)o->method,
                        .particles = o->particles,
                        .draws = (int)o->draws,
                        .sweeps = o->sweeps,
                        .burn = o->burn < 0 ? o->sweeps / 2 : o->burn,
                        .exact = o->backward == 1,
                        .systematic = o->resampling == 1,
                        .online = o->online,
                        .chains = o->chains,
                        .seed = az_seed(az)};
}

static bool run_beside(az_ctx *az, const ppg_options *o, const az_ssm_study *study, az_estimate_job *job)
{
    bool wanted[AZ_SSM_KALMAN + 1], any = false;
    const alternatives there = {"method", az_ssm_method_names, AZ_SSM_KALMAN + 1, o->method};
    if (!read_beside(az, o->beside, &there, wanted)) return false;
    if (!study->problem->model->linear && strcmp(o->beside, "all") == 0) wanted[AZ_SSM_KALMAN] = false;
    for (int i = 0; i <= AZ_SSM_KALMAN; i++) {
        if (!wanted[i]) continue;
        if (!any) az_ssm_report_method(az, study, job->report);
        any = true;
        az_ssm_study other = *study;
        other.how.method = (az_ssm_method)i;
        other.how.systematic = other.how.online = false;
        if (!az_ssm_run_study(az, &other)) return false;
        az_ssm_report_method(az, &other, job->report);
    }
    return true;
}

static bool smooth(az_ctx *az, const ppg_options *o, az_ssm_problem *problem, az_estimate_job *job)
{
    az_ssm_score score;
    az_ssm_study study = {.problem = problem, .how = how_of(az, o), .score = o->functional == 1, .states = !o->online};
    const az_ssm_functional sums = !study.score ? az_ssm_sufficient(az, problem->model) : (az_ssm_functional){0};
    az_ssm_functional functional[] = {sums, az_ssm_moments(az, problem->model, problem->n)};
    if (study.score) {
        const double *theta = az_ssm_values(az, problem->model);
        if (!theta || !az_ssm_score_new(az, problem, theta, &score)) return false;
        functional[0] = az_ssm_score_functional(&score);
    }
    problem->functional = functional, problem->functionals = study.states ? 2 : 1;
    if (!az_ssm_run_study(az, &study)) return false;
    return az_ssm_report_study(az, &study, job) && run_beside(az, o, &study, job);
}

/* ---- learn -----------------------------------------------------------------------------------------------------------------------------
 */

/* "a" and "a[1][2]" for the word a. */
static bool is_part_of(const char *name, const char *word, size_t length)
{
    return strncmp(name, word, length) == 0 && (!name[length] || name[length] == '[');
}

static bool choose_free(az_ctx *az, const char *list, const az_ssm *model, bool *free)
{
    static const char *const held[] = {"c", "m0", "p0"};
    for (int i = 0; i < model->parameters && !*list; i++) {
        free[i] = true;
        for (size_t k = 0; k < sizeof held / sizeof *held; k++)
            free[i] = free[i] && !is_part_of(model->parameter[i].name, held[k], strlen(held[k]));
    }
    for (const char *at = list; *at; at += strspn(at, "+, ")) {
        const size_t length = strcspn(at, "+, ");
        bool found = false;
        for (int i = 0; i < model->parameters; i++)
            if (is_part_of(model->parameter[i].name, at, length)) free[i] = found = true;
        if (!found) return az_fail(az, AZ_BAD_INPUT, "free=%s: model %s has no parameter '%.*s'", list, model->name, (int)length, at);
        at += length;
    }
    return true;
}

/* The law of the first state is that of the first parameters; a is kept between -1 and 1 where asked. */
static bool keep_stable(az_ctx *az, az_ssm *model)
{
    if (!model->linear || model->states > 1) return az_fail(az, AZ_BAD_INPUT, "stable is for lgssm of one state");
    az_ssm_parameter *copy = az_alloc_array(az, (size_t)model->parameters, sizeof *copy);
    if (!copy) return false;
    memcpy(copy, model->parameter, (size_t)model->parameters * sizeof *copy);
    copy[0].kind = AZ_SSM_UNIT; /* a */
    model->parameter = copy;
    return true;
}

static bool learn(az_ctx *az, const ppg_options *o, const az_ssm_problem *problem, az_estimate_job *job)
{
    const az_ssm *model = problem->model;
    bool *free = az_alloc_array(az, (size_t)model->parameters + 1, sizeof *free);
    if (!free || !choose_free(az, o->free, model, free)) return false;
    const az_ssm_learning learning = {.free = free,
                                      .steps = o->steps,
                                      .adam = o->optimizer == 0,
                                      .lr = o->lr,
                                      .gamma0 = o->gamma0,
                                      .average = o->average,
                                      .how = how_of(az, o)};
    const double began = az_seconds();
    if (o->objective == MSC) {
        const az_ssm_path_law *law = az_ssm_climb(az, problem, &learning);
        return law && az_ssm_report_path_law(az, problem, &learning, law, az_seconds() - began, job);
    }
    const az_ssm_fit *fit = az_ssm_learn(az, problem, &learning);
    if (!fit || !az_ssm_report_fit(az, problem, &learning, fit, az_seconds() - began, job)) return false;
    return az_ok(az);
}

static bool ppg_estimate(az_ctx *az, const void *options, az_estimate_job *job)
{
    const ppg_options *o = options;
    az_ssm *model = az_ssm_of_spec(az, &o->spec, job);
    if (!model || (o->stable && !keep_stable(az, model))) return false;
    if (o->task == SIMULATE) return simulate(az, o, model, job);
    az_ssm_problem problem = {.model = model, .missing = o->missing};
    problem.y = az_ssm_observations(az, model, job, &problem.n);
    if (!problem.y) return false;
    return o->task == SMOOTH ? smooth(az, o, &problem, job) : learn(az, o, &problem, job);
}

const az_method az_ppg = {
    .name = "ppg",
    .family = AZ_ESTIMATE,
    .summary = "smooth and learn state-space models by particle Gibbs around PaRIS",
    .paper = "Cardoso, El Idrissi, Le Corff, Moulines, Olsson: State and parameter learning with PaRIS particle Gibbs, ICML 2023, "
             "arXiv 2301.00900",
    .details = "For x_0 ~ p, x_{t+1} ~ q(x_t, .), y_t ~ g(x_t, .): the states and sums over the path given y, or the parameters.\n"
               "lgssm: x' ~ N(a x, q), y ~ N(c x, r), of any dimension; unless p0 says otherwise, x_0 has the stationary law of the given "
               "a and q, held fixed while learning. sv: x' ~ N(phi x, sigma^2), y ~ N(0, beta^2 exp(x)). recurrent: x' ~ N(tanh(w x), q), "
               "y ~ N(c x, r). A covariance q = U D U^T has the parameters q[i] = D_i and q[i][j] = U_ij, U unit lower triangular. Other "
               "models are C functions (adze/ssm.h, examples/ssm_population.c).",
    .example = "adze estimate 'ppg:task=simulate,params=\"a=.95,q=.6,r=1\",n=50' --seed 1 -o y.csv\n"
               "adze estimate 'ppg:params=\"a=.95,q=.6,r=1\",chains=8' -d y.csv -o states.csv\n"
               "adze estimate 'ppg:task=learn,params=\"a=.9,q=1,r=1\",free=a+q+r,steps=50' -d y.csv",
    .options = ppg_table,
    .options_size = sizeof(ppg_options),
    .inputs = az_ssm_slots,
    .estimate = ppg_estimate,
};
