/* ila.h - clustering by iterated likelihood-adjusted semidefinite programs. */
#ifndef ADZE_ESTIMATE_ILA_H
#define ADZE_ESTIMATE_ILA_H

#include "estimate/la_sdp.h"

typedef struct az_ila_how {
    int k, iterations;
    double tolerance; /* relative change of the objective that ends the iteration */
    az_cov_kind covariance;
    bool low_rank;
    az_la_sdp_how program;
} az_ila_how;

typedef struct az_ila_fit {
    int *label;         /* [n] */
    double *membership; /* [n, k] rows of Z_k 1 */
    double *covariance; /* [k, p, p] */
    double likelihood;  /* of the labels with these covariances (clusters.h) */
    double bound;       /* the last program's optimum: no partition has a higher likelihood with its covariances; NaN when inexact */
    double *objective;  /* [iterations] */
    int iterations, floored, ambiguous, program_steps; /* points without a clear group; steps of all programs together */
    bool integral, exact, repeated;                    /* Z_k of rank one; all programs solved; labels came back */
} az_ila_fit;

/* From labels on: solve for Z with the covariances, covariances from Z, until labels repeat. */
az_ila_fit *az_ila_sdp(az_ctx *az, const az_points *points, const int *start, const az_ila_how *how);
/* The K-means program max <X S^-1 X^T, Z>; covariance [p, p], NULL = identity. */
az_ila_fit *az_kmeans_sdp(az_ctx *az, const az_points *points, const double *covariance, const int *start, const az_ila_how *how);

#endif
