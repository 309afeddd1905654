/* rollout.c - sums over the smoothed path: one pass of PaRIS, forward filtering and backward simulation, or sweeps of particle Gibbs whose
 * estimates are averaged once the frozen path has forgotten where it began (PPG). */
#include "estimate/ssm/ssm_internal.h"

#include "base/parallel.h"

#include <math.h>
#include <string.h>

const char *const az_ssm_method_names[] = {
    [AZ_SSM_PPG] = "ppg", [AZ_SSM_PARIS] = "paris", [AZ_SSM_PG] = "pg", [AZ_SSM_FFBS] = "ffbs", [AZ_SSM_KALMAN] = "kalman", NULL};

/* ---- sums of a finished pass ---------------------------------------------------------------------------------------------------- */

static double *normalised(const az_pass *pass, double *weights)
{
    const double *w = az_pass_weight(pass, pass->problem->n - 1);
    double total = 0;
    for (int64_t i = 0; i < pass->particles; i++) total += w[i];
    for (int64_t i = 0; i < pass->particles; i++) weights[i] = w[i] / total;
    return weights;
}

/* Particle i of generation t counts with the share of the final particles' backward draws that lead to it. This is the recursion of PaRIS
 * run from its end, so that a term costs once for a particle that counts, however many entries the sums have. */
void az_pass_collect(const az_pass *pass, double *weights, double *sum)
{
    const int64_t particles = pass->particles;
    double *now = normalised(pass, weights), *before = weights + particles;
    for (int64_t t = pass->problem->n - 2; t >= 0; t--) {
        const int32_t *back = az_pass_back(pass, t + 1);
        const double *x = az_pass_x(pass, t), *next = az_pass_x(pass, t + 1);
        memset(before, 0, (size_t)particles * sizeof *before);
        for (int64_t i = 0; i < particles; i++) {
            const double share = now[i] / pass->draws;
            for (int j = 0; share > 0 && j < pass->draws; j++) {
                const int64_t from = back[i * pass->draws + j];
                before[from] += share;
                const az_ssm_point point = {.t = t, .weight = share, .x = x + from * pass->width, .next = next + i * pass->width};
                az_ssm_add_step(pass->problem, &point, sum);
            }
        }
        double *other = now;
        now = before, before = other;
    }
    for (int64_t i = 0; i < particles; i++) {
        const az_ssm_point point = {.weight = now[i], .x = az_pass_x(pass, 0) + i * pass->width};
        if (now[i] > 0) az_ssm_add_start(pass->problem, &point, sum);
    }
}

static void sums_carried(const az_pass *pass, double *weights, double *sum)
{
    const double *w = normalised(pass, weights), *carried = pass->sum + (pass->problem->n - 1) % 2 * pass->particles * pass->count;
    for (int64_t i = 0; i < pass->particles; i++)
        for (int64_t k = 0; k < pass->count; k++) sum[k] += w[i] * carried[i * pass->count + k];
}

static void sums_of_path(const az_pass *pass, double *sum)
{
    const int d = pass->problem->model->states;
    az_ssm_add_start(pass->problem, &(az_ssm_point){.weight = 1, .x = pass->path}, sum);
    for (int64_t t = 0; t + 1 < pass->problem->n; t++) {
        const double *x = pass->path + t * d;
        az_ssm_add_step(pass->problem, &(az_ssm_point){.t = t, .weight = 1, .x = x, .next = x + d}, sum);
    }
}

/* A final particle by weight. */
static int64_t draw_last(az_pass *pass, az_rng *rng)
{
    az_urn_set(&pass->urn, az_pass_weight(pass, pass->problem->n - 1));
    return az_urn_draw(&pass->urn, az_uniform(rng));
}

void az_pass_draw_path(az_pass *pass)
{
    const int d = pass->problem->model->states;
    az_rng rng = az_pass_rng(pass, pass->problem->n, 0);
    int64_t i = draw_last(pass, &rng);
    for (int64_t t = pass->problem->n - 1; t >= 0; t--) {
        memcpy(pass->path + t * d, az_pass_x(pass, t) + i * pass->width, (size_t)d * sizeof(double));
        if (t > 0) i = az_pass_back(pass, t)[i * pass->draws];
    }
}

/* As many paths as particles, each drawn backward through the generations. */
static az_pass_status sums_of_backward_paths(az_pass *pass, double *sum)
{
    const double share = 1.0 / (double)pass->particles;
    az_pass_status status = AZ_PASS_OK;
    int32_t *at = pass->ancestor;
    int64_t counter[2] = {0};
    for (int64_t b = 0; b < pass->particles; b++) {
        az_rng rng = az_pass_rng(pass, pass->problem->n, b);
        at[b] = (int32_t)(b == 0 ? draw_last(pass, &rng) : az_urn_draw(&pass->urn, az_uniform(&rng)));
    }
    for (int64_t t = pass->problem->n - 2; t >= 0; t--) {
        az_urn_set(&pass->urn, az_pass_weight(pass, t));
        const az_backward backward = az_backward_at(pass, t);
        const double *generation = az_pass_x(pass, t + 1);
        pass->failed_at = t + 1;
        for (int64_t b = 0; b < pass->particles; b++) {
            az_rng rng = az_pass_rng(pass, pass->problem->n + 1 + t, b);
            const double *next = generation + at[b] * pass->width;
            const int64_t from = az_backward_draw(&backward, next, &rng, pass->scratch, counter, &status);
            if (from < 0) return status;
            const az_ssm_point point = {.t = t, .weight = share, .x = backward.x + from * pass->width, .next = next};
            az_ssm_add_step(pass->problem, &point, sum);
            at[b] = (int32_t)from;
        }
    }
    for (int64_t b = 0; b < pass->particles; b++)
        az_ssm_add_start(pass->problem, &(az_ssm_point){.weight = share, .x = az_pass_x(pass, 0) + at[b] * pass->width}, sum);
    pass->proposals += counter[0], pass->drawn += counter[1];
    return AZ_PASS_OK;
}

/* ---- chains ----------------------------------------------------------------------------------------------------------------------- */

typedef struct chain {
    int64_t number;
    double *each; /* [sweeps, count] */
    double *path; /* [n, states] the caller's, or NULL */
    /* results */
    double log_likelihood; /* of the unconditional pass */
    int64_t failed_at;
    az_pass_status status;
} chain;

/* Chains take turns in the workers' memory; their random numbers tell them apart. */
typedef struct worker {
    az_pass pass;
    double *weights; /* [2, particles] */
} worker;

typedef struct chains_run {
    az_ctx *az; /* only to see an interruption */
    const az_ssm_problem *problem;
    const az_ssm_how *how;
    int64_t count, sweeps, chains;
    int workers;
    chain *chain;
    worker *worker;
} chains_run;

static bool is_gibbs(const az_ssm_how *how)
{
    return how->method == AZ_SSM_PPG || how->method == AZ_SSM_PG;
}

static az_pass_status run_pass(worker *w, const chain *c, int64_t sweep, bool conditional)
{
    const uint64_t number = (uint64_t)c->number << 40 | (uint64_t)(w->pass.how->first_sweep + sweep);
    w->pass.stream = az_stream(conditional ? "conditional particles" : "particles", number);
    return az_pass_run(&w->pass, conditional);
}

static az_pass_status first_path(worker *w, chain *c)
{
    const az_pass_status status = run_pass(w, c, 0, false);
    c->log_likelihood = w->pass.log_likelihood;
    if (status == AZ_PASS_OK) az_pass_draw_path(&w->pass);
    return status;
}

static az_pass_status gibbs_sweeps(const chains_run *run, worker *w, chain *c)
{
    az_pass *pass = &w->pass;
    const size_t bytes = (size_t)(run->problem->n * run->problem->model->states) * sizeof(double);
    az_pass_status status = AZ_PASS_OK;
    if (run->how->warm)
        memcpy(pass->path, c->path, bytes);
    else
        status = first_path(w, c);
    for (int64_t s = 0; s < run->sweeps && status == AZ_PASS_OK && !az_interrupted(run->az); s++) {
        status = run_pass(w, c, s, true);
        if (status != AZ_PASS_OK) break;
        az_pass_draw_path(pass);
        if (run->how->method == AZ_SSM_PPG)
            az_pass_collect(pass, w->weights, c->each + s * run->count);
        else
            sums_of_path(pass, c->each + s * run->count);
        if (run->workers == 1) az_progress(run->az, "smoothing", c->number * run->sweeps + s + 1, run->chains * run->sweeps, NULL);
    }
    if (c->path) memcpy(c->path, pass->path, bytes);
    return status;
}

static az_pass_status single_pass(const chains_run *run, worker *w, chain *c)
{
    const az_pass_status status = run_pass(w, c, 0, false);
    c->log_likelihood = w->pass.log_likelihood;
    if (status != AZ_PASS_OK) return status;
    if (run->how->method == AZ_SSM_FFBS) return sums_of_backward_paths(&w->pass, c->each);
    if (run->how->online)
        sums_carried(&w->pass, w->weights, c->each);
    else
        az_pass_collect(&w->pass, w->weights, c->each);
    return AZ_PASS_OK;
}

static void run_worker(const void *user, int64_t k)
{
    const chains_run *run = user;
    worker *w = &run->worker[k];
    for (int64_t i = k; i < run->chains && !az_interrupted(run->az); i += run->workers) {
        chain *c = &run->chain[i];
        c->status = is_gibbs(run->how) ? gibbs_sweeps(run, w, c) : single_pass(run, w, c);
        c->failed_at = w->pass.failed_at;
    }
}

/* ---- the interface ---------------------------------------------------------------------------------------------------------------- */

static bool check_observations(az_ctx *az, const az_ssm_problem *p)
{
    const int m = p->model->observed;
    for (int64_t t = 0; t < p->n; t++) {
        int missing = 0;
        for (int i = 0; i < m; i++) {
            missing += isnan(p->y[t * m + i]);
            if (isinf(p->y[t * m + i])) return az_fail(az, AZ_BAD_INPUT, "observation %lld is infinite", (long long)t);
        }
        if (missing > 0 && !p->missing)
            return az_fail(az, AZ_BAD_INPUT, "observation %lld is missing: with the option missing it counts as not seen", (long long)t);
        if (missing > 0 && missing < m)
            return az_fail(az, AZ_BAD_INPUT, "observation %lld has %d of its %d numbers: all or none are wanted", (long long)t, m - missing,
                           m);
    }
    return true;
}

static bool check_how(az_ctx *az, const az_ssm_how *how)
{
    if (how->method == AZ_SSM_KALMAN) return true;
    const int64_t least = is_gibbs(how) ? 2 : 1;
    if (how->particles < least || how->particles > INT32_MAX)
        return az_fail(az, AZ_BAD_INPUT, "%lld particles: %s needs at least %lld (with one beside the frozen path nothing ever moves)",
                       (long long)how->particles, az_ssm_method_names[how->method], (long long)least);
    if (how->draws < 1 || how->draws > 1024) return az_fail(az, AZ_BAD_INPUT, "%d backward draws: 1 to 1024 are possible", how->draws);
    if (is_gibbs(how) && (how->burn < 0 || how->burn >= how->sweeps))
        return az_fail(az, AZ_BAD_INPUT, "burn=%lld of %lld sweeps: at least one sweep must be left to average", (long long)how->burn,
                       (long long)how->sweeps);
    if (how->systematic && how->method != AZ_SSM_PARIS)
        return az_fail(az, AZ_BAD_INPUT, "systematic resampling is for method paris: the others' laws rest on independent draws");
    if (how->online && how->method != AZ_SSM_PARIS)
        return az_fail(az, AZ_BAD_INPUT, "online is for method paris: the others keep the particles");
    if (how->warm && !how->path) return az_fail(az, AZ_BAD_CALL, "warm without a path");
    return true;
}

static void fail_status(az_ctx *az, const az_ssm_problem *problem, const chain *c)
{
    const long long t = c->failed_at;
    switch (c->status) {
    case AZ_PASS_NO_WEIGHT:
        az_fail(az, AZ_NUMERIC, "all particles have weight zero at t = %lld: take more particles, or parameters under which y is possible",
                t);
        break;
    case AZ_PASS_NOT_A_NUMBER:
        az_fail(az, AZ_NUMERIC, "model %s: a log density is not a number at t = %lld", problem->model->name, t);
        break;
    case AZ_PASS_NO_ANCESTOR:
        az_fail(az, AZ_NUMERIC, "model %s: a particle at t = %lld has density zero from every particle before it", problem->model->name, t);
        break;
    case AZ_PASS_ABOVE_BOUND:
        az_fail(az, AZ_BAD_CALL, "model %s: log_transition exceeds log_bound at t = %lld; draws by rejection would be biased",
                problem->model->name, t);
        break;
    case AZ_PASS_OK: break;
    }
}

static az_ssm_smoothing *smoothing_new(az_ctx *az, int64_t count, int64_t sweeps, int64_t chains)
{
    az_ssm_smoothing *s = az_alloc(az, sizeof *s);
    if (!s) return NULL;
    *s = (az_ssm_smoothing){.count = count, .sweeps = sweeps, .chains = chains, .log_likelihood = NAN, .tries = NAN};
    s->value = az_alloc_array(az, (size_t)count + 1, sizeof(double));
    s->se = az_alloc_array(az, (size_t)count + 1, sizeof(double));
    s->each = az_alloc_array(az, (size_t)(chains * sweeps) + 1, ((size_t)count + 1) * sizeof(double));
    return az_ok(az) ? s : NULL;
}

/* Mean of the sweeps after the burn-in, over chains, and its standard error. */
static void average(const chains_run *run, az_ssm_smoothing *s)
{
    const int64_t burn = is_gibbs(run->how) ? run->how->burn : 0;
    for (int64_t k = 0; k < s->count; k++) {
        double sum = 0, square = 0;
        for (int64_t c = 0; c < s->chains; c++) {
            double mean = 0;
            for (int64_t l = burn; l < s->sweeps; l++) mean += s->each[(c * s->sweeps + l) * s->count + k] / (double)(s->sweeps - burn);
            const double off = mean - (c > 0 ? sum / (double)c : 0); /* Welford */
            sum += mean;
            if (c > 0) square += off * off * (double)c / (double)(c + 1);
        }
        s->value[k] = sum / (double)s->chains;
        s->se[k] = s->chains > 1 ? sqrt(square / (double)(s->chains - 1) / (double)s->chains) : NAN;
    }
}

static bool hire(chains_run *run, az_ssm_smoothing *s, const void *law)
{
    az_ctx *az = run->az;
    const int threads = az_threads(az), inner = s->chains > 1 ? 1 : threads;
    run->workers = s->chains < threads ? (int)s->chains : threads;
    run->chain = az_alloc_array(az, (size_t)s->chains, sizeof *run->chain);
    run->worker = az_alloc_array(az, (size_t)run->workers, sizeof *run->worker);
    for (int64_t k = 0; az_ok(az) && k < s->chains; k++) {
        run->chain[k] = (chain){.number = k, .each = s->each + k * s->sweeps * s->count, .log_likelihood = NAN};
        if (run->how->path) run->chain[k].path = run->how->path + k * run->problem->n * run->problem->model->states;
    }
    for (int k = 0; az_ok(az) && k < run->workers; k++) {
        run->worker[k].weights = az_alloc_array(az, 2, (size_t)run->how->particles * sizeof(double));
        az_pass_new(az, run->problem, run->how, law, inner, &run->worker[k].pass);
    }
    return az_ok(az);
}

static bool run_chains(chains_run *run, az_ssm_smoothing *s)
{
    az_ctx *az = run->az;
    int64_t proposals = 0, drawn = 0;
    double log_likelihood = 0;
    az_each(run->workers, run->workers, run_worker, run);
    for (int64_t k = 0; k < s->chains; k++) {
        if (run->chain[k].status != AZ_PASS_OK) fail_status(az, run->problem, &run->chain[k]);
        log_likelihood += run->chain[k].log_likelihood / (double)s->chains;
    }
    for (int k = 0; k < run->workers; k++) {
        proposals += run->worker[k].pass.proposals;
        drawn += run->worker[k].pass.drawn;
    }
    if (az_interrupted(az)) az_fail(az, AZ_INTERRUPTED, "interrupted");
    s->tries = drawn > 0 ? (double)proposals / (double)drawn : NAN;
    s->log_likelihood = log_likelihood;
    return az_ok(az);
}

static az_ssm_smoothing *smooth_exactly(az_ctx *az, const az_ssm_problem *problem)
{
    az_ssm_smoothing *s = smoothing_new(az, az_ssm_count(problem), 1, 1);
    const az_kalman *kalman = s ? az_kalman_smooth(az, problem) : NULL;
    if (!kalman || !az_kalman_sums(az, problem, kalman, s->value)) return NULL;
    memcpy(s->each, s->value, (size_t)s->count * sizeof *s->each);
    s->log_likelihood = kalman->log_likelihood;
    return s;
}

az_ssm_smoothing *az_ssm_smooth(az_ctx *az, const az_ssm_problem *problem, const az_ssm_how *how)
{
    if (!az_ok(az) || !problem || !how || !az_ssm_check(az, problem->model)) return NULL;
    if (problem->n < 1) return az_fail(az, AZ_BAD_INPUT, "there are no observations");
    if (!check_observations(az, problem) || !check_how(az, how)) return NULL;
    if (how->method == AZ_SSM_KALMAN) return smooth_exactly(az, problem);
    chains_run run = {.az = az,
                      .problem = problem,
                      .how = how,
                      .count = az_ssm_count(problem),
                      .sweeps = is_gibbs(how) ? how->sweeps : 1,
                      .chains = how->chains > 1 ? how->chains : 1};
    az_ssm_smoothing *s = smoothing_new(az, run.count, run.sweeps, run.chains);
    if (!s) return NULL;
    az_scope_push(az);
    const void *law = az_ssm_law(az, problem->model, problem->theta);
    if (law && hire(&run, s, law) && run_chains(&run, s)) average(&run, s);
    az_scope_pop(az);
    return az_ok(az) ? s : NULL;
}
