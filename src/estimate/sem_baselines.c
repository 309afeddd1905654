/* sem_baselines.c - earlier estimators of structural equation models, on the same problem.
 *
 * GOLEM (Ng, Ghassami, Zhang 2020): a Gaussian likelihood with tr exp(W o W) - d as a soft penalty, by Adam from W = 0; with unequal
 *     variances from the result for equal ones.
 * NOTEARS (Zheng, Aragam, Ravikumar, Xing 2018): least squares under tr exp(W o W) = d by an augmented Lagrangian; the l1 norm is made
 *     smooth by W = P - N with P, N >= 0. */
#include "estimate/sem.h"

#include "adze/optim.h"

#include <lapacke.h>
#include <math.h>
#include <string.h>

static void clear_diagonal(int d, double *w)
{
    for (int i = 0; i < d; i++) w[i * d + i] = 0;
}

static bool allocate(az_ctx *az, double **const *arrays, size_t n, size_t each)
{
    for (size_t i = 0; i < n; i++) *arrays[i] = az_alloc_array(az, each, sizeof(double));
    return az_ok(az);
}

/* ---- GOLEM ---- */

typedef struct golem {
    const az_sem_problem *problem;
    double acyclicity;
    double *w, *gradient, *product, *inverse; /* [d, d] */
    double *r, *work;                         /* [d], [64 d] */
    int *pivot;
} golem;

/* log |det(I - W)|, and (I - W)^-1 in p->inverse; NaN when it is singular. */
static double log_det_residual(golem *p)
{
    const int d = p->problem->d;
    double log_det = 0;
    for (int i = 0; i < d * d; i++) p->inverse[i] = -p->w[i];
    for (int i = 0; i < d; i++) p->inverse[i * d + i] += 1;
    if (LAPACKE_dgetrf_work(LAPACK_COL_MAJOR, d, d, p->inverse, d, p->pivot) != 0) return NAN;
    for (int i = 0; i < d; i++) log_det += log(fabs(p->inverse[i * d + i]));
    return LAPACKE_dgetri_work(LAPACK_COL_MAJOR, d, p->inverse, d, p->pivot, p->work, 64 * d) == 0 ? log_det : NAN;
}

/* The penalised negative log-likelihood and its gradient; the diagonal stays zero. */
static double golem_objective(az_ctx *az, golem *p, double *h)
{
    const az_sem_problem *o = p->problem;
    const int d = o->d;
    az_sem_residuals(o, p->w, p->product, p->r);
    double sum = 0, logs = 0;
    for (int j = 0; j < d; j++) sum += p->r[j], logs += log(p->r[j]);
    const double log_det = log_det_residual(p);
    *h = az_sem_trace_exp(az, d, p->w, p->gradient);
    for (int i = 0; i < d; i++) {
        for (int j = 0; j < d; j++) {
            const int at = i * d + j;
            const double variance = o->score == AZ_SEM_GOLEM_EV ? sum / d : p->r[j], sign = (p->w[at] > 0) - (p->w[at] < 0);
            p->gradient[at] = p->acyclicity * p->gradient[at] - p->product[at] / variance + p->inverse[j * d + i] + o->lambda * sign;
        }
    }
    clear_diagonal(d, p->gradient);
    const double fit = o->score == AZ_SEM_GOLEM_EV ? 0.5 * d * log(sum) : 0.5 * logs;
    return fit - log_det + o->lambda * az_sem_l1(p->w, (int64_t)d * d) + p->acyclicity * *h;
}

/* From w on, by Adam with its usual constants. */
static az_sem_stage descend_golem(az_ctx *az, golem *p, const az_sem_path *path, az_sem_fit *fit)
{
    az_sem_stage stage = {.mu = 1};
    const int64_t n = (int64_t)p->problem->d * p->problem->d;
    az_tensor *w = az_wrap(az, AZ_F64, 1, &n, p->w, NULL), *gradient = az_wrap(az, AZ_F64, 1, &n, p->gradient, NULL);
    az_optimizer *adam = az_optimizer_new(az, &(az_optimizer_options){.kind = AZ_ADAMW, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8}, &w, 1,
                                          (const bool[]){false});
    double before = 1e16;
    while (stage.iterations < path->last_iterations && az_ok(az)) {
        stage.objective = golem_objective(az, p, &stage.h);
        if (!isfinite(stage.objective))
            az_fail(az, AZ_NUMERIC, "the likelihood is not finite after %lld steps", (long long)stage.iterations);
        if (!az_optimizer_step(az, adam, &gradient, path->lr) || ++stage.iterations % path->checkpoint) continue;
        if (!az_progress(az, "golem", stage.iterations, path->last_iterations, NULL))
            az_fail(az, AZ_INTERRUPTED, "interrupted after %lld steps", (long long)stage.iterations);
        az_sem_trace(fit, fit->iterations + stage.iterations, stage.objective);
        if (fabs(before - stage.objective) <= path->tolerance * fabs(before)) break;
        before = stage.objective;
    }
    fit->iterations += stage.iterations;
    fit->stage[fit->stages++] = stage;
    return stage;
}

static void finish_golem(golem *p, az_sem_stage last, az_sem_fit *fit)
{
    const int d = p->problem->d;
    double mean = 0;
    az_sem_residuals(p->problem, p->w, p->product, p->r);
    for (int j = 0; j < d; j++) mean += p->r[j] / d;
    for (int j = 0; j < d; j++) p->r[j] = sqrt(p->problem->score == AZ_SEM_GOLEM_EV ? mean : p->r[j]);
    fit->w = p->w, fit->sigma = p->r, fit->score = last.objective, fit->h = last.h;
}

az_sem_fit *az_sem_golem(az_ctx *az, const az_sem_problem *problem, const az_sem_path *path)
{
    const size_t d = (size_t)problem->d;
    golem p = {.acyclicity = path->acyclicity, .pivot = az_alloc_array(az, d, sizeof(int))};
    if (!p.pivot || !allocate(az, (double **const[]){&p.w, &p.gradient, &p.product, &p.inverse}, 4, d * d) ||
        !allocate(az, (double **const[]){&p.r, &p.work}, 2, 64 * d))
        return NULL;
    az_sem_problem equal = *problem;
    az_sem_fit *fit = az_sem_fit_new(az, 2 * (path->last_iterations / path->checkpoint + 1));
    if (!fit) return NULL;
    if (problem->score == AZ_SEM_GOLEM_NV) {
        equal.score = AZ_SEM_GOLEM_EV;
        p.problem = &equal;
        descend_golem(az, &p, path, fit);
    }
    p.problem = problem;
    finish_golem(&p, descend_golem(az, &p, path, fit), fit);
    return az_ok(az) ? fit : NULL;
}

/* ---- NOTEARS ---- */

typedef struct notears {
    const az_sem_problem *problem;
    double rho, alpha;
    double *w, *slope, *product; /* [d, d] */
    double *r, *sigma;           /* [d] */
} notears;

static void combine(const notears *p, const double *halves)
{
    const int64_t n = (int64_t)p->problem->d * p->problem->d;
    for (int64_t i = 0; i < n; i++) p->w[i] = halves[i] - halves[n + i];
    clear_diagonal(p->problem->d, p->w);
}

/* Least squares + lambda sum(P + N) + rho/2 h^2 + alpha h at halves = (P, N) [2, d, d]. */
static double lagrangian(az_ctx *az, const double *halves, double *gradient, void *user)
{
    const notears *p = user;
    const az_sem_problem *o = p->problem;
    const int d = o->d;
    const int64_t n = (int64_t)d * d;
    combine(p, halves);
    az_sem_residuals(o, p->w, p->product, p->r);
    const double h = az_sem_trace_exp(az, d, p->w, p->slope);
    double sum = az_sem_smooth(o, p->r, p->sigma) + 0.5 * p->rho * h * h + p->alpha * h;
    for (int64_t i = 0; i < n; i++) {
        const bool diagonal = i % (d + 1) == 0;
        const double g = (p->rho * h + p->alpha) * p->slope[i] - p->product[i];
        gradient[i] = diagonal ? 0 : g + o->lambda;
        gradient[n + i] = diagonal ? 0 : o->lambda - g;
        sum += diagonal ? 0 : o->lambda * (halves[i] + halves[n + i]);
    }
    return sum;
}

/* One round: rho rises until the minimiser has at most a quarter of the violation. */
static double tighten(az_ctx *az, notears *p, double *halves, double h, az_sem_stage *stage)
{
    enum { MOST_STEPS = 15000 };
    const double highest = 1e16;
    const int64_t n = 2 * (int64_t)p->problem->d * p->problem->d;
    const az_lbfgs_options how = {
        .memory = 10, .iterations = MOST_STEPS, .gradient_tolerance = 1e-5, .value_tolerance = 2e-9, .nonnegative = true};
    double violation = INFINITY;
    while (p->rho < highest && az_ok(az)) {
        const az_lbfgs_result result = az_lbfgs(az, lagrangian, p, n, halves, &how);
        combine(p, halves);
        violation = az_sem_trace_exp(az, p->problem->d, p->w, NULL);
        stage->objective = result.value;
        stage->iterations += result.iterations;
        if (violation <= 0.25 * h) break;
        p->rho *= 10;
    }
    stage->mu = p->rho;
    stage->h = violation;
    return violation;
}

az_sem_fit *az_sem_notears(az_ctx *az, const az_sem_problem *problem, const az_sem_path *path)
{
    enum { MOST_ROUNDS = 100 };
    (void)path; /* its constants are those of its paper */
    const size_t d = (size_t)problem->d;
    az_sem_fit *fit = az_sem_fit_new(az, MOST_ROUNDS);
    notears p = {.problem = problem, .rho = 1};
    double *halves = NULL, h = INFINITY;
    if (!fit || !allocate(az, (double **const[]){&p.w, &p.slope, &p.product, &halves}, 4, 2 * d * d) ||
        !allocate(az, (double **const[]){&p.r, &p.sigma}, 2, d))
        return NULL;
    for (int j = 0; j < problem->d; j++) p.sigma[j] = 1;
    for (int round = 0; round < MOST_ROUNDS && h > 1e-8 && p.rho < 1e16 && az_ok(az); round++) {
        az_sem_stage stage = {0};
        h = tighten(az, &p, halves, h, &stage);
        p.alpha += p.rho * h;
        fit->iterations += stage.iterations;
        fit->stages = round < AZ_SEM_MOST_STAGES ? round + 1 : AZ_SEM_MOST_STAGES;
        fit->stage[fit->stages - 1] = stage;
        az_sem_trace(fit, fit->iterations, stage.objective);
        if (!az_progress(az, "notears", round + 1, MOST_ROUNDS, NULL))
            return az_fail(az, AZ_INTERRUPTED, "interrupted after %d rounds", round + 1);
    }
    if (!az_ok(az)) return NULL;
    az_sem_residuals(problem, p.w, p.product, p.r);
    fit->score = az_sem_smooth(problem, p.r, p.sigma) + problem->lambda * az_sem_l1(p.w, (int64_t)(d * d));
    for (int j = 0; j < problem->d; j++) p.sigma[j] = sqrt(p.r[j]);
    fit->w = p.w, fit->sigma = p.sigma, fit->h = h;
    return fit;
}

/* ---- by score ---- */

az_sem_fit *az_sem_estimate(az_ctx *az, const az_sem_problem *problem, const az_sem_path *path)
{
    switch (problem->score) {
    case AZ_SEM_GOLEM_EV:
    case AZ_SEM_GOLEM_NV: return az_sem_golem(az, problem, path);
    case AZ_SEM_NOTEARS: return az_sem_notears(az, problem, path);
    default: return az_sem_follow_path(az, problem, path);
    }
}
