/* claim_wanda.c - the headline of Wanda (Sun et al. 2024, tables 2 and 3): better than magnitude pruning, at 50 % and at 2:4. */
#include "claims/claims.h"
#include "claims/comparisons.h"

static bool run(az_ctx *az, az_report *report)
{
    static const char *const settings[] = {"sparsity=0.5", "pattern=2:4", NULL};
    return claim_beats(az, report, "wanda", "magnitude", settings);
}

const az_claim az_claim_wanda = {
    .name = "wanda",
    .statement = "pruned by wanda, at 50 % and at 2:4, a model predicts held-out text better than pruned by magnitude",
    .run = run,
};
