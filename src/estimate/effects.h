/* effects.h - what a row and a column add to each of their entries, taken off before a matrix is completed. */
#ifndef ADZE_ESTIMATE_EFFECTS_H
#define ADZE_ESTIMATE_EFFECTS_H

#include "estimate/completion.h"

typedef enum az_effects_kind { AZ_EFFECTS_NONE, AZ_EFFECTS_MEAN, AZ_EFFECTS_BOTH } az_effects_kind;

/* M_ij = row_i + column_j + rest; the mean is part of row. */
typedef struct az_effects {
    double *row, *column;
} az_effects;

/* Mean, or mean with effects of rows and columns that are shrunk as if each line had `shrinkage` more entries of effect zero. */
az_effects *az_effects_fit(az_ctx *az, const az_entries *entries, az_effects_kind kind, double shrinkage);
/* The entries without their effects. */
az_entries *az_effects_remove(az_ctx *az, const az_entries *entries, const az_effects *effects);

#endif
