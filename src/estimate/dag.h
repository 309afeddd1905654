/* dag.h - directed graphs as matrices of weights w [d, d]: w[i, j] != 0 is the edge i -> j. */
#ifndef ADZE_ESTIMATE_DAG_H
#define ADZE_ESTIMATE_DAG_H

#include "adze/tensor.h"

/* Fills order [d] with a topological order and returns true; of a graph with a cycle returns false, and *cycle (when not NULL) is the
 * length of one whose nodes then begin order. */
bool az_dag_order(az_ctx *az, int d, const double *w, int *order, int *cycle);
/* "a -> b -> a", a cycle of the graph by its names, in the current scope; NULL when there is none. */
const char *az_dag_cycle(az_ctx *az, int d, const double *w, const char *const *name);
/* Zeroes |w| <= threshold. */
void az_dag_drop(int d, double *w, double threshold);
/* Zeroes |w| <= threshold and then, weakest first, edges until no cycle is left. Returns how many the second step took. */
int64_t az_dag_prune(az_ctx *az, int d, double *w, double threshold);
int64_t az_dag_edges(int d, const double *w);

typedef struct az_dag_comparison {
    int64_t predicted, truth, correct, reversed, extra, missing; /* extra and missing: adjacencies that only one of them has */
    int64_t shd;                                                 /* extra + missing + reversed */
    double tpr, fdr, fpr;
    double weight_error; /* |W - truth| / |truth|, Frobenius */
} az_dag_comparison;
az_dag_comparison az_dag_compare(int d, const double *w, const double *truth);
/* mean over j of (sigma_j^2 / true_j^2 - 1)^2, for d positive noise levels. */
double az_dag_noise_error(int d, const az_tensor *sigma, const az_tensor *truth);

/* Weights of the least-squares regression of each variable on its parents in w, from the covariance cov [d, d]: [d, d]. Where a
 * variable's parents are collinear the weights of w stay. */
double *az_dag_refit(az_ctx *az, int d, const double *w, const double *cov);

#endif
