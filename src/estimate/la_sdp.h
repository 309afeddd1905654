/* la_sdp.h - semidefinite programs for clustering n points.
 *
 * Likelihood adjusted: max sum_k <A_k, Z_k> over Z_k [n, n] positive semidefinite with entries >= 0, tr Z_k = 1, 1^T Z_k 1 >= m,
 * sum_k Z_k 1 = 1; a group of c points is Z_k = 1_G 1_G^T / c, with 1^T Z_k 1 = c, so that m is the fewest points of a group.
 * K-means: max <A, Z> over one such Z with tr Z = K, Z 1 = 1.
 *
 * Bound. For any vector l, numbers v_k >= 0 and symmetric matrices N_k with entries >= v_k,
 *     sum_k <A_k, Z_k> <= 1^T l + sum_k (tr Z_k) lambda_max(A_k + N_k - (l 1^T + 1 l^T) / 2) - m sum_k v_k
 * holds for every feasible Z, as <N_k, Z_k> >= v_k 1^T Z_k 1 >= m v_k, sum_k <(l 1^T + 1 l^T) / 2, Z_k> = 1^T l and <M, Z_k> <= (tr Z_k)
 * lambda_max(M) for positive semidefinite Z_k. No residual enters: the multipliers of an unfinished solution give a looser bound, never a
 * wrong one. */
#ifndef ADZE_ESTIMATE_LA_SDP_H
#define ADZE_ESTIMATE_LA_SDP_H

#include "estimate/clusters.h"

typedef struct az_la_sdp {
    int64_t n;
    int blocks; /* matrices Z_k: K, or 1 for the K-means program */
    int k;
    int64_t least;          /* m, the fewest points of a group; 0 or 1 = any; not for one block */
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
    double bound;        /* no feasible Z has a larger one, whether converged or not; NaN from the low-rank solver */
    double primal, dual; /* residuals */
    int64_t iterations;
    bool converged;
} az_la_sdp_fit;

/* Where the alternating direction method stands: another program of the same sizes starts there. */
typedef struct az_admm az_admm;
az_admm *az_admm_new(az_ctx *az, int64_t n, int blocks);
/* By the alternating direction method of multipliers; O(blocks n^3) an iteration. state: to start from and to leave the solution in (z of
 * the fit lies there), or NULL. */
az_la_sdp_fit *az_la_sdp_solve(az_ctx *az, const az_la_sdp *problem, const az_la_sdp_how *how, az_admm *state);
/* With Z_k = V_k V_k^T, V_k >= 0, by an augmented Lagrangian and projected quasi-Newton steps: not convex, no bound. labels start V. */
az_la_sdp_fit *az_la_sdp_low_rank(az_ctx *az, const az_la_sdp *problem, const az_la_sdp_how *how, const int *label);

/* The program does not change when a constant c is taken from all entries of A (n c from its value) and A is divided by a factor: the
 * largest entry, and the largest distance from it, so that units of the points do not enter. */
void az_la_sdp_units(const az_la_sdp *problem, double *shift, double *scale);
/* Projection of z (blocks one after the other) onto the affine constraints, in place. */
void az_la_sdp_project(int64_t n, int blocks, int k, double *const *z, double *row, double *slope);
/* A_k for covariances [k, p, p]: A[i, j] = -1/4 (x_i - x_j)^T S^-1 (x_i - x_j) - 1/2 log |S|. [k] matrices. */
double **az_la_sdp_costs(az_ctx *az, const az_points *points, int k, const double *covariance);

#endif
