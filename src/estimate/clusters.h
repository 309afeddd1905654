/* clusters.h - partitions of points x [n, p] into k groups: K-means, Gaussian mixtures, hierarchical clustering, and their comparison. */
#ifndef ADZE_ESTIMATE_CLUSTERS_H
#define ADZE_ESTIMATE_CLUSTERS_H

#include "adze/tensor.h"

typedef struct az_points {
    int64_t n;
    int p;
    const double *x; /* [n, p] */
} az_points;

/* How covariances are restrained. In units of the columns' standard deviations over all points, in which t is its own trace / p, every one
 * gets a ridge of 1e-6 t + 1e-10 and no eigenvalue below 1e-4 t + 1e-8: no unit of a column enters, and a group may be 10^4 times as narrow
 * as all points together. */
typedef enum az_cov_kind { AZ_COV_FULL, AZ_COV_DIAGONAL, AZ_COV_SHARED, AZ_COV_SHRINK } az_cov_kind;

/* Labels [n] of the best of `restarts` runs of Lloyd's algorithm from k-means++ starts. *cost: sum of squared distances to the means. */
int *az_kmeans(az_ctx *az, const az_points *points, int k, int restarts, uint64_t seed, double *cost);
/* Labels by Ward's linkage (nearest-neighbour chains), cut at k groups. O(n^2) memory. */
int *az_ward(az_ctx *az, const az_points *points, int k);
/* Labels by the mixture of k Gaussians that expectation-maximisation reaches from the given ones; *likelihood: mean log density. Its
 * covariances get 1e-6 of each column's variance over all points on the diagonal. Every group must have a point to start from. */
int *az_mixture(az_ctx *az, const az_points *points, int k, const int *start, int iterations, double tolerance, double *likelihood);

/* Standard deviations of the columns over all points [p]; 1 of a constant column. */
double *az_points_spread(az_ctx *az, const az_points *points);
/* Covariances [k, p, p] from weights: z_k 1 = mass [k, n] and scatter [k, p, p] not yet divided; *floored counts eigenvalues lifted. */
void az_restrain_covariances(az_ctx *az, const az_points *points, int k, az_cov_kind kind, const double *mass, double *covariance,
                             int *floored);
/* Covariances of a partition, restrained. [k, p, p] */
double *az_partition_covariances(az_ctx *az, const az_points *points, int k, const int *label, az_cov_kind kind, int *floored);
/* -1/2 sum_k [sum_{i in G_k} (x_i - mean_k)^T S_k^-1 (x_i - mean_k) + |G_k| log |S_k|] */
double az_partition_likelihood(az_ctx *az, const az_points *points, int k, const int *label, const double *covariance);
/* Lower Cholesky factor [p, p] row-major of a covariance, and log |S|; false when it is not positive definite. */
bool az_cov_factor(int p, const double *covariance, double *factor, double *log_det);

/* Coordinates in which the groups of a labeling differ most: points are centred, whitened by the covariance within groups (shrunken by
 * Ledoit & Wolf's weight, so that there may be more columns than points), and turned to their leading right singular vectors. The
 * projection of x is (x - mean) direction. */
typedef struct az_projection {
    az_tensor *mean, *direction; /* [1, p], [p, rank] */
} az_projection;
az_projection *az_project_points(az_ctx *az, const az_points *points, int k, const int *label, int rank);
bool az_project(az_ctx *az, const az_projection *projection, const az_points *from, az_points *to);

/* Columns matched to rows at the least total cost [k, k] (Hungarian method): column[i] of row i; the total. */
double az_match(az_ctx *az, const double *cost, int k, int *column);
/* Share of points on which two labelings disagree, for the best matching of their groups (Hungarian method). */
double az_label_error(az_ctx *az, const int *a, const int *b, int64_t n, int k);

#endif
