/* low_rank.h - matrices of low rank known at some entries, that any language can make again. */
#ifndef ADZE_CLAIMS_LOW_RANK_H
#define ADZE_CLAIMS_LOW_RANK_H

#include "estimate/completion.h"

typedef struct low_rank {
    int64_t m, n;
    double *value;       /* [m, n] the whole matrix */
    double *share;       /* [m, n] an entry is known when its number here is below the share asked for */
    az_entries *entries; /* with noise */
    double norm;         /* Frobenius, of value */
} low_rank;

/* left right^T / sqrt(rank) with normal factors from seed and seed + 1; known where uniforms from seed + 2 are below `share`; noise times
 * normals from seed + 3 on what is known. */
typedef struct low_rank_shape {
    int64_t m, n, rank;
    double share, noise;
} low_rank_shape;
low_rank *low_rank_new(az_ctx *az, uint64_t seed, const low_rank_shape *shape);
/* |U V^T - M| / |M|; root of the mean square over what is not known (share as given to low_rank_new). */
double low_rank_error(const low_rank *p, const az_completion *completion);
double low_rank_unknown_error(const low_rank *p, const az_completion *completion, double share);

#endif
