/* planted_ranks.h - regressions whose matrices have known ranks, learnt within a budget of ranks. */
#ifndef ADZE_CLAIMS_PLANTED_RANKS_H
#define ADZE_CLAIMS_PLANTED_RANKS_H

#include "adze/base.h"

enum { PLANTED_MATRICES = 8 };
/* Of 8 independent regressions y = D x + 0.05 noise with 16 inputs and outputs, whose D have 4, 3, 1, 0, 0, 0, 0 and 0 singular values
 * of 1. */
extern const int planted_rank[PLANTED_MATRICES];

typedef struct planted_result {
    int64_t rank[PLANTED_MATRICES]; /* that were left */
    double error;                   /* sum of |dW - D|^2 */
} planted_result;
/* 800 steps of 64 samples with AdamW: from rank 4 each to 8 ranks in all by AdaLoRA's allocator; or, with `uniform`, rank 1 each. */
bool planted_regressions(az_ctx *az, uint64_t seed, bool uniform, planted_result *out);

#endif
