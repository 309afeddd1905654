/* outlier_study.h - which features of a model are outliers, and what it is without them. */
#ifndef ADZE_COMPRESS_OUTLIER_STUDY_H
#define ADZE_COMPRESS_OUTLIER_STUDY_H

#include "compress/column_scan.h"

/* A feature of the blocks' inputs is an outlier when it reaches `magnitude` in at least the share `layers` of them, and there at the share
 * `positions` of the tokens. */
typedef struct az_outlier_rule {
    double magnitude, layers, positions;
} az_outlier_rule;

typedef struct az_outlier_feature {
    int64_t feature;
    double layers, positions; /* shares: of the inputs that it reaches the magnitude in, of the tokens there */
    double quartile[3];       /* of its magnitude, mean over those inputs */
    double one_sided;         /* share of the larger side */
} az_outlier_feature;

/* The outliers among `inputs` scans of one width, ascending, in the current scope; their number goes to *n. */
az_outlier_feature *az_find_outliers(az_ctx *az, const az_column_scan *const *input, int inputs, const az_outlier_rule *rule, int *n);

/* Adds the sections "outliers", a row for each feature, and "ablation": perplexity and mean probability of the likeliest token, as it is,
 * with the outliers set to zero in front of the projections, and with as many other features drawn by seed. */
bool az_outlier_study(az_ctx *az, az_lm *lm, const az_lm_sequences *sequences, const az_outlier_rule *rule, uint64_t seed,
                      az_report *report);

#endif
