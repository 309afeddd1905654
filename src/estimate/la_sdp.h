/* la_sdp.h - semidefinite programs for clustering n points.
 *
 * Likelihood adjusted: max sum_k <A_k, Z_k> over Z_k [n, n] positive semidefinite with entries >= 0, tr Z_k = 1, sum_k Z_k 1 = 1.
 * K-means: max <A, Z> over one such Z with tr Z = K, Z 1 = 1. */
#ifndef ADZE_ESTIMATE_LA_SDP_H
#define ADZE_ESTIMATE_LA_SDP_H

#include "estimate/clusters.h"

typedef struct az_la_sdp {
    int64_t n;
    int blocks; /* matrices Z_k: K, or 1 for the K-means program */
    int k;
    const double *const *a; /* [blocks] symmetric [n, n] */
} az_la_sdp;

typedef struct az_la_sdp_how {
    double tolerance; /* of primal and dual residuals */
    int64_t iterations;
    uint64_t seed; /* low rank: of its start */
    int64_t rank;  /* low rank: columns of V_k */
} az_la_sdp_how;

typedef struct az_la_sdp_fit {
    double **z;          /* [blocks] symmetric [n, n] */
    double objective;    /* sum <A_k, Z_k> */
    double primal, dual; /* residuals */
    int64_t iterations;
    bool converged;        /* only then objective bounds every partition from above */
    struct az_admm *state; /* for a warm start of the same sizes */
} az_la_sdp_fit;

/* By the alternating direction method of multipliers; O(blocks n^3) an iteration. warm: the fit to start from, or NULL. */
az_la_sdp_fit *az_la_sdp_solve(az_ctx *az, const az_la_sdp *problem, const az_la_sdp_how *how, const az_la_sdp_fit *warm);
/* With Z_k = V_k V_k^T, V_k >= 0, by an augmented Lagrangian and projected quasi-Newton steps: not convex, no bound. labels start V. */
az_la_sdp_fit *az_la_sdp_low_rank(az_ctx *az, const az_la_sdp *problem, const az_la_sdp_how *how, const int *label);

/* Projection of z (blocks one after the other) onto the affine constraints, in place. */
void az_la_sdp_project(int64_t n, int blocks, int k, double *const *z, double *row, double *slope);
/* A_k for covariances [k, p, p]: A[i, j] = -1/4 (x_i - x_j)^T S^-1 (x_i - x_j) - 1/2 log |S|. [k] matrices. */
double **az_la_sdp_costs(az_ctx *az, const az_points *points, int k, const double *covariance);

#endif
