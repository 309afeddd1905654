/* shares.h - how independent positive weights share their sum. */
#ifndef ADZE_VI_SHARES_H
#define ADZE_VI_SHARES_H

#include "adze/base.h"

/* The law of one weight: probability mass[i] (of sum 1) of exp(log_weight[i]); `particles` of them are drawn independently. */
typedef struct vi_weights {
    const double *mass, *log_weight;
    int64_t n;
    int particles;
} vi_weights;

/* For each value i of one of K weights, with S the sum of the K - 1 others: log_sum[i] = E log(w_i + S) and share[i] = E[K w_i / (w_i +
 * S)], to about 12 digits, [n] each; 0 where the mass is below 1e-25. False, without an error, where the weights span more than e^300000;
 * and out of memory. */
bool vi_shares(az_ctx *az, const vi_weights *weights, double *log_sum, double *share);

#endif
