/* sem.h - learning the weights of a linear structural equation model x = W^T x + z from the covariance C of its samples.
 *
 * W [d, d] row-major, W[i, j] the weight of the edge i -> j; z independent with standard deviations sigma [d].
 * r_j = [(I - W)^T C (I - W)]_jj is the variance that is left of variable j; products are C (I - W). */
#ifndef ADZE_ESTIMATE_SEM_H
#define ADZE_ESTIMATE_SEM_H

#include "adze/tensor.h"

typedef enum az_sem_score {
    AZ_SEM_COLIDE_NV, /* sum r_j / (2 sigma_j) + sigma_j / 2, one sigma a variable */
    AZ_SEM_COLIDE_EV, /* the same, one sigma for all */
    AZ_SEM_LS,        /* sum r_j / 2 */
    AZ_SEM_GOLEM_EV,  /* d/2 log sum r_j - log |det(I - W)| */
    AZ_SEM_GOLEM_NV,  /* 1/2 sum log r_j - log |det(I - W)| */
    AZ_SEM_NOTEARS,   /* sum r_j / 2, under the constraint tr exp(W o W) = d */
    AZ_SEM_SCORES
} az_sem_score;
extern const char *const az_sem_score_names[AZ_SEM_SCORES + 1]; /* NULL-terminated */

typedef struct az_sem_problem {
    int d;
    const double *cov;  /* [d, d] */
    double lambda;      /* factor of sum |W| */
    double sigma_floor; /* no noise level falls below it */
    az_sem_score score;
} az_sem_problem;

enum { AZ_SEM_MOST_STAGES = 16 };

typedef struct az_sem_path {
    int stages;
    double mu, mu_factor;         /* weight of the score in the first stage, and from stage to stage */
    double s[AZ_SEM_MOST_STAGES]; /* domain of the acyclicity term in each stage */
    int64_t warm_iterations, last_iterations, checkpoint;
    double lr, beta1, beta2, tolerance;
    double acyclicity; /* GOLEM: factor of tr exp(W o W) - d */
} az_sem_path;
extern const az_sem_path az_sem_paper_path; /* what CoLiDE's authors use throughout */

typedef struct az_sem_stage {
    double mu, s, objective, h;
    int64_t iterations;
} az_sem_stage;

typedef struct az_sem_fit {
    double *w;     /* [d, d] */
    double *sigma; /* [d], sqrt(r_j) for scores without noise levels of their own */
    double score, h;
    int64_t iterations;
    int stages; /* that were run; NOTEARS: rounds of the multiplier */
    az_sem_stage stage[AZ_SEM_MOST_STAGES];
    int64_t traced, room; /* points of the two below */
    double *trace_iteration, *trace_score;
} az_sem_fit;
/* An empty fit with room for that many points of its trace; further ones are dropped. */
az_sem_fit *az_sem_fit_new(az_ctx *az, int64_t room);
void az_sem_trace(az_sem_fit *fit, int64_t iteration, double score);

/* Fills a fit of the current scope. CoLiDE and LS follow the central path, GOLEM descends by Adam for last_iterations, NOTEARS raises its
 * multiplier. AZ_NUMERIC when no step is short enough to stay in the domain. */
az_sem_fit *az_sem_estimate(az_ctx *az, const az_sem_problem *problem, const az_sem_path *path);
/* Its two halves, by score. */
az_sem_fit *az_sem_follow_path(az_ctx *az, const az_sem_problem *problem, const az_sem_path *path);
az_sem_fit *az_sem_golem(az_ctx *az, const az_sem_problem *problem, const az_sem_path *path);
az_sem_fit *az_sem_notears(az_ctx *az, const az_sem_problem *problem, const az_sem_path *path);

/* C [d, d] of x [n, d], centred, divided by n. */
double *az_sem_covariance(az_ctx *az, const double *x, int64_t n, int d);
/* product [d, d] = C (I - W) and r [d]. */
void az_sem_residuals(const az_sem_problem *problem, const double *w, double *product, double *r);
/* The noise levels that minimise the score for given r; ones for scores without. */
void az_sem_noise(const az_sem_problem *problem, const double *r, double *sigma);
/* The smooth part of a CoLiDE or LS score; its gradient is -product diag(1 / sigma). */
double az_sem_smooth(const az_sem_problem *problem, const double *r, const double *sigma);
double az_sem_l1(const double *w, int64_t n);
/* h = d log s - log det(sI - W o W), and inverse [d, d] = (sI - W o W)^-1, whose transpose times 2 W (entrywise) is the gradient of h.
 * NaN when sI - W o W is not an M-matrix (an entry of the inverse below -1e-6) or not finite. pivot [d]; work [64 d]. */
double az_sem_log_det(int d, const double *w, double s, double *inverse, int *pivot, double *work);
/* tr exp(W o W) - d; gradient [d, d] (may be NULL) is 2 W o exp(W o W)^T. NaN when it overflows. */
double az_sem_trace_exp(az_ctx *az, int d, const double *w, double *gradient);

#endif
