/* pass.c - one run of particles through the observations: a bootstrap filter whose particles also draw ancestors backward (PaRIS, Olsson
 * and Westerborn 2017), with or without a frozen path among them (conditional PaRIS, Cardoso et al. 2023).
 *
 * Generation t + 1, for each particle i: an ancestor I by weight, x ~ q(x_I, .), its weight g(x); then J_1 .. J_M with probability
 * proportional to w_J q(x_J, x), which are what sums over the path follow:
 *     sum_i = 1/M sum_j [ sum_{J_j} + step(x_{J_j}, x) ].
 * The frozen path takes a place that is drawn anew each time; everything else treats it like any particle. */
#include "estimate/ssm/ssm_internal.h"

#include "base/parallel.h"

#include <math.h>
#include <string.h>

/* Each particle's random numbers are a block of the counter of its own. */
enum { BLOCK_BITS = 24 };

az_rng az_pass_rng(const az_pass *pass, int64_t t, int64_t i)
{
    const uint64_t place = (uint64_t)t * (uint64_t)(pass->particles + 2) + (uint64_t)i;
    return (az_rng){.seed = pass->how->seed, .stream = pass->stream, .index = place << BLOCK_BITS};
}

static int64_t generation(int64_t t, bool kept)
{
    return kept ? t : t % 2;
}

double *az_pass_x(const az_pass *pass, int64_t t)
{
    return pass->x + generation(t, pass->kept) * pass->particles * pass->width;
}

double *az_pass_weight(const az_pass *pass, int64_t t)
{
    return pass->weight + generation(t, pass->weights_kept) * pass->particles;
}

int32_t *az_pass_back(const az_pass *pass, int64_t t)
{
    return pass->back + generation(t, pass->kept) * pass->particles * pass->draws;
}

static double *sums_at(const az_pass *pass, int64_t t)
{
    return pass->sum + generation(t, false) * pass->particles * pass->count;
}

bool az_pass_new(az_ctx *az, const az_ssm_problem *problem, const az_ssm_how *how, const void *law, int threads, az_pass *pass)
{
    enum { WORTH_SHARING = 512 }; /* particles for each thread */
    const int64_t n = problem->n, shares = how->particles / WORTH_SHARING;
    const bool online = how->method == AZ_SSM_PARIS && how->online, ffbs = how->method == AZ_SSM_FFBS;
    *pass = (az_pass){.problem = problem,
                      .how = how,
                      .law = law,
                      .kept = !online,
                      .weights_kept = ffbs,
                      .threads = shares < 1         ? 1
                                 : shares < threads ? (int)shares
                                                    : threads,
                      .draws = ffbs                       ? 0
                               : how->method == AZ_SSM_PG ? 1
                                                          : how->draws,
                      .particles = how->particles,
                      .count = online ? az_ssm_count(problem) : 0,
                      .width = problem->model->states + problem->model->extra};
    const size_t size = (size_t)how->particles, generations = pass->kept ? (size_t)n : 2, threads_used = (size_t)pass->threads;
    pass->x = az_alloc_array(az, generations * (size_t)pass->width, size * sizeof(double));
    pass->weight = az_alloc_array(az, (ffbs ? (size_t)n : 2) * size, sizeof(double));
    pass->back = az_alloc_array(az, generations * (size_t)pass->draws + 1, size * sizeof(int32_t));
    pass->sum = az_alloc_array(az, 2 * (size_t)pass->count + 1, size * sizeof(double));
    pass->ancestor = az_alloc_array(az, size, sizeof(int32_t));
    pass->scratch = az_alloc_array(az, threads_used * size, sizeof(double));
    pass->counter = az_alloc_array(az, threads_used * 2, sizeof(int64_t));
    pass->status = az_alloc_array(az, threads_used, sizeof(az_pass_status));
    pass->path = az_alloc_array(az, (size_t)n * (size_t)problem->model->states, sizeof(double));
    return az_urn_new(az, how->particles, &pass->urn) && az_ok(az);
}

/* ---- one generation ---------------------------------------------------------------------------------------------------------- */

typedef struct generation_job {
    const az_pass *pass;
    int64_t t;         /* of the generation that is made */
    int64_t frozen_at; /* -1 = none */
    az_backward backward;
} generation_job;

/* The log weight of particle i goes where its weight will be. */
static void move_particle(const generation_job *job, int64_t i, az_rng *rng)
{
    const az_pass *pass = job->pass;
    const az_ssm *model = pass->problem->model;
    double *x = az_pass_x(pass, job->t) + i * pass->width;
    if (i == job->frozen_at) {
        memcpy(x, pass->path + job->t * model->states, (size_t)model->states * sizeof *x);
    } else if (job->t == 0) {
        model->draw_start(pass->law, rng, x);
    } else {
        const int64_t from = pass->how->systematic ? pass->ancestor[i] : az_urn_draw(&pass->urn, az_uniform(rng));
        model->draw_next(pass->law, job->t - 1, job->backward.x + from * pass->width, rng, x);
    }
    if (model->extra) model->extend(pass->law, job->t, x);
    const double *y = az_ssm_seen(pass->problem, job->t);
    az_pass_weight(pass, job->t)[i] = y ? model->log_observation(pass->law, job->t, x, y) : 0;
}

static void carry_sums(const generation_job *job, int64_t i, const int32_t *back)
{
    const az_pass *pass = job->pass;
    const double share = 1.0 / pass->draws, *before = sums_at(pass, job->t - 1);
    double *sum = sums_at(pass, job->t) + i * pass->count;
    memset(sum, 0, (size_t)pass->count * sizeof *sum);
    for (int j = 0; j < pass->draws; j++) {
        const double *from = before + back[j] * pass->count;
        for (int64_t k = 0; k < pass->count; k++) sum[k] += share * from[k];
        az_ssm_add_step(pass->problem,
                        &(az_ssm_point){.t = job->t - 1,
                                        .weight = share,
                                        .x = job->backward.x + back[j] * pass->width,
                                        .next = az_pass_x(pass, job->t) + i * pass->width},
                        sum);
    }
}

/* The k-th share of the particles. */
static void make_share(const void *user, int64_t k)
{
    const generation_job *job = user;
    const az_pass *pass = job->pass;
    const int64_t n = pass->particles, first = n * k / pass->threads, end = n * (k + 1) / pass->threads;
    for (int64_t i = first; i < end; i++) {
        az_rng rng = az_pass_rng(pass, job->t, i);
        const double *x = az_pass_x(pass, job->t) + i * pass->width;
        move_particle(job, i, &rng);
        if (job->t == 0) {
            if (pass->count) az_ssm_add_start(pass->problem, &(az_ssm_point){.weight = 1, .x = x}, sums_at(pass, 0) + i * pass->count);
            continue;
        }
        int32_t *back = az_pass_back(pass, job->t) + i * pass->draws;
        for (int j = 0; j < pass->draws; j++) {
            const int64_t from = az_backward_draw(&job->backward, x, &rng, pass->scratch + k * n, pass->counter + 2 * k, &pass->status[k]);
            if (from < 0) return;
            back[j] = (int32_t)from;
        }
        if (pass->count) carry_sums(job, i, back);
    }
}

/* Log weights become weights relative to the largest; the log-likelihood grows by the log of their mean. */
static az_pass_status normalise(az_pass *pass, int64_t t)
{
    double *weight = az_pass_weight(pass, t), largest = -INFINITY, total = 0;
    for (int64_t i = 0; i < pass->particles; i++) {
        if (isnan(weight[i]) || weight[i] == INFINITY) return AZ_PASS_NOT_A_NUMBER;
        if (weight[i] > largest) largest = weight[i];
    }
    if (largest == -INFINITY) return AZ_PASS_NO_WEIGHT;
    for (int64_t i = 0; i < pass->particles; i++) total += weight[i] = exp(weight[i] - largest);
    pass->log_likelihood += largest + log(total / (double)pass->particles);
    return AZ_PASS_OK;
}

static void resample_systematically(az_pass *pass, int64_t t)
{
    az_rng rng = az_pass_rng(pass, t, pass->particles + 1);
    const double u = az_uniform(&rng);
    for (int64_t i = 0; i < pass->particles; i++)
        pass->ancestor[i] = (int32_t)az_urn_draw(&pass->urn, ((double)i + u) / (double)pass->particles);
}

static int64_t place_of_frozen(const az_pass *pass, int64_t t)
{
    az_rng rng = az_pass_rng(pass, t, pass->particles);
    return (int64_t)az_below(&rng, (uint64_t)pass->particles);
}

static az_pass_status make_generation(az_pass *pass, int64_t t, bool conditional)
{
    generation_job job = {.pass = pass, .t = t, .frozen_at = conditional ? place_of_frozen(pass, t) : -1};
    if (t > 0) {
        az_urn_set(&pass->urn, az_pass_weight(pass, t - 1));
        if (pass->how->systematic) resample_systematically(pass, t);
        job.backward = az_backward_at(pass, t - 1);
    } else if (pass->count) {
        memset(sums_at(pass, 0), 0, (size_t)(pass->particles * pass->count) * sizeof(double));
    }
    az_each(pass->threads, pass->threads, make_share, &job);
    for (int k = 0; k < pass->threads; k++)
        if (pass->status[k] != AZ_PASS_OK) return pass->status[k];
    return normalise(pass, t);
}

az_pass_status az_pass_run(az_pass *pass, bool conditional)
{
    az_pass_status status = AZ_PASS_OK;
    memset(pass->counter, 0, (size_t)pass->threads * 2 * sizeof *pass->counter);
    memset(pass->status, 0, (size_t)pass->threads * sizeof *pass->status);
    pass->log_likelihood = 0;
    for (int64_t t = 0; t < pass->problem->n && status == AZ_PASS_OK; t++) {
        status = make_generation(pass, t, conditional);
        pass->failed_at = t;
    }
    for (int k = 0; k < pass->threads; k++) pass->proposals += pass->counter[2 * k], pass->drawn += pass->counter[2 * k + 1];
    return status;
}
