/* ssm_internal.h - the parts of smoothing that do not belong to the interface. */
#ifndef ADZE_ESTIMATE_SSM_INTERNAL_H
#define ADZE_ESTIMATE_SSM_INTERNAL_H

#include "adze/optim.h"
#include "adze/ssm.h"

/* ---- noise.c: N(0, S), S = U D U^T with unit lower triangular U ---------------------------------------------------------------- */

typedef struct az_noise {
    int n;
    const double *variance; /* [n] D > 0 */
    const double *below;    /* [n (n - 1) / 2] U below its diagonal, row by row */
    double log_peak;        /* log density at 0 */
} az_noise;
az_noise az_noise_of(int n, const double *variance, const double *below);
/* The factors of a covariance [n, n]; false when it is not positive definite. */
bool az_noise_factor(int n, const double *covariance, double *variance, double *below);
void az_noise_dense(const az_noise *noise, double *covariance);
double az_noise_log_density(const az_noise *noise, const double *e);
void az_noise_draw(const az_noise *noise, az_rng *rng, double *e);
/* v = S^-1 e = -grad_e of the log density; adds weight times its gradients by D and U (either NULL = not wanted). */
void az_noise_score(const az_noise *noise, const double *e, double weight, double *variance, double *below, double *v);

/* ---- urn.c: draws from weights in constant expected time ------------------------------------------------------------------- */

typedef struct az_urn {
    int64_t n, last; /* items; the last one of positive weight */
    double total;
    double *sum;    /* [n] running sums of the weights */
    int32_t *guide; /* [n] where the search for the k-th n-th part of the total begins */
} az_urn;
bool az_urn_new(az_ctx *az, int64_t n, az_urn *urn);
void az_urn_set(az_urn *urn, const double *weight);
int64_t az_urn_draw(const az_urn *urn, double u); /* u in [0, 1) */

/* ---- model.c ------------------------------------------------------------------------------------------------------------------- */

const void *az_ssm_law(az_ctx *az, const az_ssm *model, const double *theta);
double *az_ssm_values(az_ctx *az, const az_ssm *model); /* the parameters' values [parameters] */
bool az_ssm_check(az_ctx *az, const az_ssm *model);
/* y_t, or NULL where it was not seen. */
const double *az_ssm_seen(const az_ssm_problem *problem, int64_t t);

/* ---- functional.c --------------------------------------------------------------------------------------------------------------- */

int64_t az_ssm_count(const az_ssm_problem *problem); /* entries of all functionals */
void az_ssm_add_start(const az_ssm_problem *problem, const az_ssm_point *point, double *sum);
void az_ssm_add_step(const az_ssm_problem *problem, const az_ssm_point *point, double *sum);
/* Gradient of log p(x, y) by theta along the path, of the problem's observations: [parameters]. */
typedef struct az_ssm_score {
    const az_ssm_problem *problem;
    const void *law;
    const void **above, **under; /* [parameters] laws for central differences, when the model has no scores */
    double *width;               /* [parameters] distance of both */
} az_ssm_score;
bool az_ssm_score_new(az_ctx *az, const az_ssm_problem *problem, const double *theta, az_ssm_score *score);
az_ssm_functional az_ssm_score_functional(const az_ssm_score *score); /* of which score is the user */

/* ---- pass.c: one generation of particles after the other ----------------------------------------------------------------------- */

typedef enum az_pass_status {
    AZ_PASS_OK,
    AZ_PASS_NO_WEIGHT,
    AZ_PASS_NOT_A_NUMBER,
    AZ_PASS_NO_ANCESTOR,
    AZ_PASS_ABOVE_BOUND
} az_pass_status;

/* What a pass keeps: generations [kept ? n : 2], generation t at az_pass_x(pass, t) and so on. Allocated once, run many times; running does
 * not touch the context. */
typedef struct az_pass {
    const az_ssm_problem *problem;
    const az_ssm_how *how;
    const void *law;
    bool kept, weights_kept;
    int threads, draws;
    int64_t particles, count; /* count: entries of the sums that are carried, 0 = none */
    int width;                /* states + extra */
    double *x;                /* [.., particles, width] */
    double *weight;           /* [.., particles] relative to the largest */
    double *sum;              /* [2, particles, count] carried sums */
    int32_t *back;            /* [.., particles, draws] of generation t: backward draws among t - 1 */
    int32_t *ancestor;        /* [particles] of systematic resampling */
    double *scratch;          /* [threads, particles] */
    int64_t *counter;         /* [threads, 2] proposals, draws */
    double *path;             /* [n, states] frozen */
    az_urn urn;               /* of the weights of the generation before */
    az_pass_status *status;   /* [threads] */
    uint64_t stream;          /* of this pass's random numbers */
    /* results */
    double log_likelihood;
    int64_t proposals, drawn; /* over all passes */
    int64_t failed_at;        /* t, when a pass ends with a status */
} az_pass;

bool az_pass_new(az_ctx *az, const az_ssm_problem *problem, const az_ssm_how *how, const void *law, int threads, az_pass *pass);
/* Unconditional, or given pass->path. */
az_pass_status az_pass_run(az_pass *pass, bool conditional);
double *az_pass_x(const az_pass *pass, int64_t t);
double *az_pass_weight(const az_pass *pass, int64_t t);
int32_t *az_pass_back(const az_pass *pass, int64_t t);
/* The random numbers of particle i at time t; i = particles, particles + 1 belong to the generation as a whole. */
az_rng az_pass_rng(const az_pass *pass, int64_t t, int64_t i);

/* ---- backward.c ---------------------------------------------------------------------------------------------------------------- */

/* One draw J with probability proportional to w_J q(x_J, next) among a generation. */
typedef struct az_backward {
    const az_ssm *model;
    const void *law;
    int64_t t;       /* of the generation */
    const double *x; /* [particles, width] */
    const double *weight;
    const az_urn *urn;
    int width;
    bool by_rejection;
    double log_bound;
    int64_t most_tries;
} az_backward;
az_backward az_backward_at(const az_pass *pass, int64_t t);
/* J, or -1 with a status. scratch [particles]; counter[0] += proposals, counter[1] += 1. */
int64_t az_backward_draw(const az_backward *backward, const double *next, az_rng *rng, double *scratch, int64_t *counter,
                         az_pass_status *status);

/* ---- rollout.c, kalman.c ------------------------------------------------------------------------------------------------------- */

/* Sums over the edges that backward draws chose, particles weighted: adds to sum [count]. weights [2, particles] is scratch. */
void az_pass_collect(const az_pass *pass, double *weights, double *sum);
/* Draws a path by weight and first backward draws into pass->path. */
void az_pass_draw_path(az_pass *pass);

typedef struct az_kalman {
    double log_likelihood;
    double *mean, *covariance, *cross; /* [n, d], [n, d, d], [n - 1, d, d] of x_{t+1} with x_t; given all observations */
} az_kalman;
az_kalman *az_kalman_smooth(az_ctx *az, const az_ssm_problem *problem);
/* The exact sums of functionals of degree 3 at most under the smoothing law. */
bool az_kalman_sums(az_ctx *az, const az_ssm_problem *problem, const az_kalman *kalman, double *sum);

/* ---- learn.c: ascent along estimated slopes -------------------------------------------------------------------------------------- */

typedef struct az_ascent {
    const az_ssm_learning *learning;
    az_tensor *place, *slope; /* [count] f64 */
    double *mean;             /* [count] of the last places */
    az_optimizer *optimizer;
} az_ascent;
bool az_ascent_new(az_ctx *az, const az_ssm_learning *learning, int64_t count, az_ascent *ascent);
/* Moves along scale times the slope, which is overwritten. */
bool az_ascent_step(az_ctx *az, az_ascent *ascent, int64_t step, double scale);
const double *az_ascent_result(const az_ascent *ascent);
/* How a step smooths: with random numbers of its own, from the path of the step before. */
az_ssm_how az_ascent_how(const az_ascent *ascent, int64_t step, double *path);
double *az_ascent_path(az_ctx *az, const az_ssm_problem *problem, const az_ssm_learning *learning);

#endif
