/* claim_sparsegpt.c - the headline of SparseGPT (Frantar & Alistarh 2023, tables 1 and 2): better than magnitude pruning, at 50 % and at
 * 2:4. */
#include "claims/claims.h"
#include "claims/comparisons.h"

static bool run(az_ctx *az, az_report *report)
{
    static const char *const settings[] = {"sparsity=0.5", "pattern=2:4", NULL};
    return claim_beats(az, report, "sparsegpt", "magnitude", settings);
}

const az_claim az_claim_sparsegpt = {
    .name = "sparsegpt",
    .statement = "pruned by sparsegpt, at 50 % and at 2:4, a model predicts held-out text better than pruned by magnitude",
    .run = run,
};
