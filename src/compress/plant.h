/* plant.h - outlier features for a language model that does not have them, without a change of what it computes. */
#ifndef ADZE_COMPRESS_PLANT_H
#define ADZE_COMPRESS_PLANT_H

#include "compress/compress_internal.h"

/* Scaled features: the norms in front of attention and network multiply them, and the layers behind divide. Shifted ones: the norms add
 * with either sign, and the layers' biases take it off again; an RMS norm gets a bias for it. */
typedef enum az_planting_kind { AZ_PLANT_NOTHING, AZ_PLANT_SCALE, AZ_PLANT_SHIFT, AZ_PLANTINGS } az_planting_kind;
const char *az_planting_name(az_planting_kind kind);
enum { AZ_PLANTED_FEATURES = 6 };
typedef struct az_planting {
    az_planting_kind kind;
    int64_t features;   /* 0 = AZ_PLANTED_FEATURES */
    double least, most; /* of the factors, or of what is added; drawn evenly. 0 = 10, 40 */
    uint64_t seed;
} az_planting;

/* Plants features drawn by seed, the same in every block, into lm, whose weights become f32. feature and amount [features] (may be NULL)
 * receive their numbers, ascending, and factors. */
bool az_plant_outliers(az_ctx *az, az_lm *lm, const az_planting *how, int64_t *feature, double *amount);

#endif
