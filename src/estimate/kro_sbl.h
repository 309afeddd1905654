/* kro_sbl.h - sparse vectors behind measurements y = (A_1 kron ... kron A_F) x + noise, by sparse Bayesian learning.
 *
 * x ~ N(0, diag gamma), noise ~ N(0, sigma^2 I), real or complex. With gamma = gamma_1 kron ... kron gamma_F its support is a Kronecker
 * product too. */
#ifndef ADZE_ESTIMATE_KRO_SBL_H
#define ADZE_ESTIMATE_KRO_SBL_H

#include "estimate/kron.h"

typedef enum az_sbl_kind {
    AZ_SBL_SVD,     /* gamma: rank-one approximations of the second moments */
    AZ_SBL_AM,      /* gamma: alternating minimisation of sum log gamma + moment / gamma */
    AZ_SBL_BLOCK,   /* the same with neighbours of the first and last factor coupled */
    AZ_SBL_KSBL,    /* one sweep of it */
    AZ_SBL_CLASSIC, /* gamma: the second moments, without structure */
    AZ_SBL_COUPLED, /* without Kronecker structure, neighbours of the whole vector coupled (Fang et al. 2015) */
    AZ_SBL_KOMP,    /* greedy, support a Kronecker product */
    AZ_SBL_OMP,     /* greedy */
    AZ_SBL_ORACLE,  /* least squares on the support of the truth */
    AZ_SBL_KINDS
} az_sbl_kind;
extern const char *const az_sbl_names[AZ_SBL_KINDS + 1];

typedef struct az_sbl_how {
    az_sbl_kind kind;
    double noise; /* variance; negative = unknown */
    int64_t iterations, sweeps;
    double tolerance, inner_tolerance; /* relative change of gamma; absolute change of its factors */
    double prune[AZ_KRON_MOST];        /* entries of a factor below this share of its largest are dropped */
    double alpha, beta;                /* coupling of neighbours in the first and the last factor */
    const az_complex *truth;           /* [columns]; for the oracle */
} az_sbl_how;

typedef struct az_sbl_fit {
    az_complex *x;               /* [columns] */
    double *gamma[AZ_KRON_MOST]; /* [n_f] of the Kronecker kinds; [0] = the whole gamma [columns] of the others; NULL of greedy ones */
    double noise, cost;          /* variance; log |sigma^2 I + A Gamma A^H| + y^H (...)^-1 y, NaN of greedy ones */
    int64_t iterations, support; /* entries that are kept */
    bool converged;
    double *costs; /* [iterations] */
} az_sbl_fit;

/* The estimate turns with the units of y and of the factors: it is found in those in which their entries have a mean square of one, where
 * gamma starts at ones. AZ_BAD_INPUT when y is too large for dense baselines, AZ_NUMERIC when nothing is left. */
az_sbl_fit *az_sbl_solve(az_ctx *az, const az_kron *a, const az_complex *y, const az_sbl_how *how);
/* What unknown noise is measured by: the variance of y, its mean square where all entries are equal. */
double az_sbl_spread(const az_complex *y, int64_t n);
/* The greedy ones and the oracle; the ones without structure. */
az_sbl_fit *az_sbl_greedy(az_ctx *az, const az_kron *a, const az_complex *y, const az_sbl_how *how);
az_sbl_fit *az_sbl_dense(az_ctx *az, const az_kron *a, const az_complex *y, const az_sbl_how *how);

/* Posterior of x for a Kronecker gamma: mean mu [columns], variances [columns]. */
typedef struct az_sbl_posterior {
    az_complex *mean;
    double *variance, *moment; /* moment = variance + |mean|^2 */
    double cost, fit;          /* fit: |y - A mean|^2 */
} az_sbl_posterior;
bool az_sbl_posterior_of(az_ctx *az, const az_kron *a, const az_complex *y, double *const *gamma, double noise, az_sbl_posterior *out);
/* The next gamma from moments [n_1, ..., n_F], in place; by one kind. coupled (AZ_SBL_BLOCK) holds the coupled factors, NULL otherwise. */
void az_sbl_alternate(az_ctx *az, int factors, const int64_t *n, const double *moment, double **gamma, int64_t sweeps, double tolerance);
void az_sbl_rank_one(az_ctx *az, int factors, const int64_t *n, const double *moment, double **gamma);

#endif
