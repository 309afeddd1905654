/* sem_path.c - the central path to an acyclic graph (Bello, Aragam, Ravikumar 2022; CoLiDE, algorithm 1).
 *
 * Stage k minimises mu_k (score(W, sigma) + lambda |W|_1) + h(W; s_k) from the result of the stage before, with mu falling by a constant
 * factor: Adam steps in W, after each of which sigma takes its closed form. */
#include "estimate/sem.h"

#include <math.h>
#include <string.h>

const az_sem_path az_sem_paper_path = {.stages = 4,
                                       .mu = 1,
                                       .mu_factor = 0.1,
                                       .s = {1, 0.9, 0.8, 0.7},
                                       .warm_iterations = 20000,
                                       .last_iterations = 70000,
                                       .checkpoint = 1000,
                                       .lr = 3e-4,
                                       .beta1 = 0.99,
                                       .beta2 = 0.999,
                                       .tolerance = 1e-6,
                                       .acyclicity = 5};

typedef enum stage_end { STAGE_DONE, STAGE_OUTSIDE, STAGE_INTERRUPTED } stage_end;

typedef struct descent {
    const az_sem_problem *problem;
    const az_sem_path *path;
    az_sem_fit *fit;
    int64_t n;                         /* d * d */
    double *w, *first, *second, *step; /* [d, d]: weights, Adam's moments, its last direction */
    double *product, *inverse;         /* [d, d]: C (I - W), (sI - W o W)^-1 */
    double *r, *sigma;                 /* [d] */
    double *start_w, *start_sigma;     /* where the stage began */
    int *pivot;                        /* [d] */
    double *work;                      /* [64 d] */
} descent;

static bool prepare(az_ctx *az, descent *p, const az_sem_problem *problem, const az_sem_path *path)
{
    const size_t d = (size_t)problem->d;
    *p = (descent){.problem = problem, .path = path, .n = (int64_t)(d * d)};
    double **const squares[] = {&p->w, &p->first, &p->second, &p->step, &p->product, &p->inverse, &p->start_w};
    double **const rows[] = {&p->r, &p->sigma, &p->start_sigma};
    for (size_t i = 0; i < sizeof squares / sizeof *squares; i++) *squares[i] = az_alloc_array(az, d * d, sizeof(double));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) *rows[i] = az_alloc_array(az, d, sizeof(double));
    p->pivot = az_alloc_array(az, d, sizeof *p->pivot);
    p->work = az_alloc_array(az, 64 * d, sizeof *p->work);
    return az_ok(az);
}

/* W = 0, and noise levels as if no variable had a parent; one level for all is that of the quietest variable. */
static void begin(descent *p)
{
    const int d = p->problem->d;
    double least = INFINITY;
    for (int j = 0; j < d; j++) p->r[j] = p->problem->cov[j * d + j], least = fmin(least, p->r[j]);
    for (int j = 0; p->problem->score == AZ_SEM_COLIDE_EV && j < d; j++) p->r[j] = least;
    az_sem_noise(p->problem, p->r, p->sigma);
}

static void refresh(descent *p)
{
    az_sem_residuals(p->problem, p->w, p->product, p->r);
    az_sem_noise(p->problem, p->r, p->sigma);
}

static void move(descent *p, double distance)
{
    for (int64_t i = 0; i < p->n; i++) p->w[i] -= distance * p->step[i];
}

/* Adam's direction (Kingma & Ba 2015) along the gradient of the stage's objective. */
static void find_step(descent *p, double mu, int64_t iteration)
{
    const int d = p->problem->d;
    const double b1 = p->path->beta1, b2 = p->path->beta2, lambda = p->problem->lambda;
    const double correct1 = 1 / (1 - pow(b1, (double)iteration)), correct2 = 1 / (1 - pow(b2, (double)iteration));
    for (int i = 0; i < d; i++) {
        for (int j = 0; j < d; j++) {
            const int64_t at = (int64_t)i * d + j;
            const double w = p->w[at], sign = (w > 0) - (w < 0);
            const double g = mu * (lambda * sign - p->product[at] / p->sigma[j]) + 2 * w * p->inverse[(int64_t)j * d + i];
            p->first[at] = b1 * p->first[at] + (1 - b1) * g;
            p->second[at] = b2 * p->second[at] + (1 - b2) * g * g;
            p->step[at] = correct1 * p->first[at] / (sqrt(correct2 * p->second[at]) + 1e-8);
        }
    }
}

static double domain(descent *p, double s)
{
    return az_sem_log_det(p->problem->d, p->w, s, p->inverse, p->pivot, p->work);
}

/* Steps back halfway until W is in the domain again. STAGE_OUTSIDE when the stage must begin anew with a shorter step; STAGE_DONE with
 * *lr = 0 when the step has vanished. */
static stage_end back_into_domain(descent *p, const az_sem_stage *stage, double *lr)
{
    while (isnan(domain(p, stage->s))) {
        if (stage->iterations == 0 || stage->s <= 0.9) return STAGE_OUTSIDE;
        move(p, -*lr);
        *lr /= 2;
        if (*lr <= 1e-16) {
            *lr = 0;
            return STAGE_DONE;
        }
        move(p, *lr);
        refresh(p);
    }
    return STAGE_DONE;
}

static void measure(descent *p, az_sem_stage *stage)
{
    stage->h = domain(p, stage->s);
    const double score = az_sem_smooth(p->problem, p->r, p->sigma) + p->problem->lambda * az_sem_l1(p->w, p->n);
    stage->objective = stage->mu * score + stage->h;
    az_sem_trace(p->fit, p->fit->iterations + stage->iterations, score);
}

static stage_end run_stage(az_ctx *az, descent *p, az_sem_stage *stage, int64_t iterations, double lr)
{
    memset(p->first, 0, (size_t)p->n * sizeof *p->first);
    memset(p->second, 0, (size_t)p->n * sizeof *p->second);
    stage->iterations = 0;
    az_sem_residuals(p->problem, p->w, p->product, p->r); /* sigma is as the stage before left it */
    double before = 1e16;
    while (stage->iterations < iterations) {
        if (back_into_domain(p, stage, &lr) == STAGE_OUTSIDE) return STAGE_OUTSIDE;
        if (lr == 0) break;
        find_step(p, stage->mu, ++stage->iterations);
        move(p, lr);
        refresh(p);
        if (stage->iterations % p->path->checkpoint && stage->iterations < iterations) continue;
        measure(p, stage);
        if (!az_progress(az, "central path", stage->iterations, iterations, az_format_text(az, "mu %g", stage->mu)))
            return STAGE_INTERRUPTED;
        if (fabs(before - stage->objective) <= p->path->tolerance * fabs(before)) break;
        before = stage->objective;
    }
    return STAGE_DONE;
}

/* A stage, begun again with half the step and a wider domain as long as its first steps lead out of the domain. */
static bool finish_stage(az_ctx *az, descent *p, az_sem_stage *stage, int64_t iterations)
{
    const size_t square = (size_t)p->n * sizeof *p->w, row = (size_t)p->problem->d * sizeof *p->sigma;
    memcpy(p->start_w, p->w, square);
    memcpy(p->start_sigma, p->sigma, row);
    double lr = p->path->lr;
    while (lr > 1e-16) {
        const stage_end end = run_stage(az, p, stage, iterations, lr);
        if (end == STAGE_INTERRUPTED) return az_fail(az, AZ_INTERRUPTED, "interrupted on the central path, at mu = %g", stage->mu);
        if (end == STAGE_DONE) return az_ok(az);
        memcpy(p->w, p->start_w, square);
        memcpy(p->sigma, p->start_sigma, row);
        lr /= 2;
        stage->s += 0.1;
    }
    return az_fail(az, AZ_NUMERIC, "no step is short enough to stay where sI - W o W is an M-matrix (mu = %g)", stage->mu);
}

az_sem_fit *az_sem_follow_path(az_ctx *az, const az_sem_problem *problem, const az_sem_path *path)
{
    descent p;
    const int64_t looks =
        (path->stages - 1) * (path->warm_iterations / path->checkpoint + 2) + path->last_iterations / path->checkpoint + 2;
    az_sem_fit *fit = az_sem_fit_new(az, looks);
    if (!fit || !prepare(az, &p, problem, path)) return NULL;
    p.fit = fit;
    begin(&p);
    double mu = path->mu;
    for (int k = 0; k < path->stages; k++, mu *= path->mu_factor) {
        az_sem_stage *stage = &fit->stage[fit->stages++];
        *stage = (az_sem_stage){.mu = mu, .s = path->s[k]};
        if (!finish_stage(az, &p, stage, k == path->stages - 1 ? path->last_iterations : path->warm_iterations)) return NULL;
        fit->iterations += stage->iterations;
        fit->h = stage->h;
    }
    fit->w = p.w, fit->sigma = p.sigma;
    fit->score = az_sem_smooth(problem, p.r, p.sigma) + problem->lambda * az_sem_l1(p.w, p.n);
    for (int j = 0; problem->score == AZ_SEM_LS && j < problem->d; j++) fit->sigma[j] = sqrt(p.r[j]);
    return fit;
}
