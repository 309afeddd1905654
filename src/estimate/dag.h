/* dag.h - directed graphs as matrices of weights w [d, d]: w[i, j] != 0 is the edge i -> j. */
#ifndef ADZE_ESTIMATE_DAG_H
#define ADZE_ESTIMATE_DAG_H

#include "adze/base.h"

/* Fills order [d] with a topological order and returns true; of a graph with a cycle returns false, and *cycle (when not NULL) is the
 * length of one whose nodes then begin order. */
bool az_dag_order(az_ctx *az, int d, const double *w, int *order, int *cycle);
/* Zeroes |w| <= threshold. */
void az_dag_threshold(int d, double *w, double threshold);
/* The same, and then, weakest first, edges until no cycle is left. Returns how many the second step took. */
int64_t az_dag_prune(az_ctx *az, int d, double *w, double threshold);
int64_t az_dag_edges(int d, const double *w);

typedef struct az_dag_comparison {
    int64_t predicted, truth, correct, reversed, extra, missing; /* extra and missing: adjacencies that only one of them has */
    int64_t shd;                                                 /* extra + missing + reversed */
    double tpr, fdr, fpr;
    double weight_error; /* |W - truth| / |truth|, Frobenius */
} az_dag_comparison;
az_dag_comparison az_dag_compare(int d, const double *w, const double *truth);

/* Weights of the least-squares regression of each variable on its parents in w, from the covariance cov [d, d]: [d, d]. Where a
 * variable's parents are collinear the weights of w stay. */
double *az_dag_refit(az_ctx *az, int d, const double *w, const double *cov);

#endif
