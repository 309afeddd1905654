/* plant.h - outlier features for a language model that does not have them, without a change of what it computes. */
#ifndef ADZE_CLAIMS_PLANT_H
#define ADZE_CLAIMS_PLANT_H

#include "adze/lm.h"

enum { PLANTED_FEATURES = 6 };

/* Scaled features: the norms in front of attention and network multiply them by 10 to 40, and the layers behind divide. Shifted ones: the
 * norms add 10 to 40 with either sign, and the layers' biases take it off again; an RMS norm gets a bias for it. */
typedef enum claim_planting { PLANT_NOTHING, PLANT_SCALE, PLANT_SHIFT, PLANTINGS } claim_planting;
const char *claim_planting_name(claim_planting planting);

/* Plants features drawn by seed, the same in every block, into lm, whose weights become f32. feature (may be NULL) receives their numbers,
 * ascending. */
bool claim_plant(az_ctx *az, az_lm *lm, claim_planting planting, uint64_t seed, int64_t feature[PLANTED_FEATURES]);

#endif
