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
    double bound; /* no partition with `least` points a group has a higher likelihood with these covariances (la_sdp.h); NaN from low rank.
                   * Of the K-means program: no partition has a larger <X S^-1 X^T, Z>. */
    double gap;   /* bound - what it bounds, of the labels; >= 0. When 0, no partition is better */
    double *objective;                                 /* [iterations] */
    int iterations, floored, ambiguous, program_steps; /* points without a clear group; steps of all programs together */
    int least;                                         /* fewest points that a group may have */
    bool integral, exact, repeated, by_vectors;        /* Z_k of rank one; all programs solved; labels came back; labels by eigenvectors */
} az_ila_fit;

/* Fewest points of a group: p + 1 for a full covariance of its own (fewer have a singular one, whose likelihood has no bound), 2 for a
 * diagonal or shrunken one, 1 for a shared one. */
int az_ila_least(az_cov_kind covariance, int p);
/* From labels on: solve for Z with the covariances, covariances from Z, until labels repeat. With equal covariances, in which groups cannot
 * be told apart, the program is solved for the one matrix sum_k Z_k. Each point's label is the group of its largest membership; when a
 * point has no clear one (largest - second < 0.1) or a group too few points, K-means on the leading k eigenvectors of sum_k Z_k gives a
 * second labeling, matched to the groups at the highest likelihood, and the more likely labeling with enough points is kept. Errors: a
 * group of `start` without points, fewer than k `least` points. */
az_ila_fit *az_ila_sdp(az_ctx *az, const az_points *points, const int *start, const az_ila_how *how);
/* The K-means program max <X S^-1 X^T, Z>; covariance [p, p], NULL = identity. */
az_ila_fit *az_kmeans_sdp(az_ctx *az, const az_points *points, const double *covariance, const int *start, const az_ila_how *how);

#endif
