/* pruning.h - what the claims about pruning methods share: models with disjoint calibration and test text, and paired comparisons on them.
 */
#ifndef ADZE_CLAIMS_PRUNING_H
#define ADZE_CLAIMS_PRUNING_H

#include "adze/method.h"

/* Prunes the bundled model, and stories260K when ADZE_DATA has it, by magnitude and by `method`, at 50 % and at 2:4, and scores all of them
 * on held-out documents. One row a comparison: perplexities, and the difference method - magnitude in nat per token with its paired 95 %
 * interval. True when every interval lies below 0. */
bool claim_beats_magnitude(az_ctx *az, az_report *report, const char *method);

#endif
