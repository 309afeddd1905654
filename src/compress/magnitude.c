/* magnitude.c - magnitude pruning: the smallest weights become zero.
 *
 * Problem: choose which share s of a matrix W to drop, without any data.
 * Rule: drop w_rj where |w_rj| is among the lowest: of the whole layer, of its row, or of each group of m consecutive
 *     inputs (a pattern n:m keeps n). Kept weights do not change.
 *
 * Han, Pool, Tran, Dally: "Learning both weights and connections for efficient neural networks", NeurIPS 2015
 * (arXiv 1506.02626), without its retraining. */
#include "compress/compress_internal.h"

typedef struct magnitude_options {
    double sparsity;
    az_pattern pattern;
    int scope; /* az_mask_scope */
    bool error;
    az_calibration calibration;
} magnitude_options;

static const char *const scopes[] = {[AZ_PER_ROW] = "row", [AZ_PER_MATRIX] = "layer", NULL};

static const az_option magnitude_table[] = {
    {"sparsity", AZ_FIELD(AZ_REAL, magnitude_options, sparsity), "0.5", 0, 0.9999, NULL, "share of the weights to drop"},
    {"pattern", AZ_FIELD(AZ_PATTERN, magnitude_options, pattern), "none", 0, 0, NULL,
     "n:m keeps n of every m consecutive inputs, instead of a share"},
    {"scope", AZ_FIELD(AZ_CHOICE, magnitude_options, scope), "layer", 0, 0, scopes,
     "where weights compete: within a row, or the whole layer"},
    {"error", AZ_FIELD(AZ_BOOL, magnitude_options, error), "false", 0, 0, NULL,
     "measure each layer's output error on the calibration text"},
    AZ_CALIBRATION_OPTIONS(magnitude_options, " (for error)"),
    {0},
};

static az_weight *prune_layer(az_ctx *az, const az_lm_linear *linear, const az_lm_statistics *statistics, const void *user)
{
    (void)statistics;
    const magnitude_options *o = user;
    const az_tensor *score = az_abs(az, az_prune_matrix(az, linear->weight)); /* [rows, cols] */
    const az_tensor *mask = az_mask_lowest(az, score, (az_mask_how){.share = o->sparsity, .pattern = o->pattern, .scope = o->scope});
    return az_prune_result(az, linear->weight, az_mask_apply(az, linear->weight, mask));
}

static bool magnitude_check(az_ctx *az, const void *options, az_lm *lm)
{
    const magnitude_options *o = options;
    return az_prune_check(az, lm, o->sparsity, o->pattern);
}

static bool magnitude_compress(az_ctx *az, const void *options, az_compress_job *job)
{
    const magnitude_options *o = options;
    if (!magnitude_check(az, o, job->lm)) return false;
    return az_compress_layers(az, job,
                              &(az_layer_walk){.task = "pruning",
                                               .step = prune_layer,
                                               .options = o,
                                               .calibrated = o->error,
                                               .error = o->error,
                                               .calibration = o->calibration});
}

const az_method az_magnitude = {
    .name = "magnitude",
    .family = AZ_COMPRESS,
    .summary = "drop the smallest weights",
    .paper = "Han et al.: Learning both weights and connections for efficient neural networks, NeurIPS 2015, arXiv 1506.02626",
    .details = "Drops the weights of least magnitude in each linear layer: a share of them (sparsity), or all but n of every m consecutive "
               "inputs (pattern n:m). It needs no data and takes no time, and is the baseline that every other pruning method is measured "
               "against: it does not know which inputs are large, so from 50 % on it loses much more than wanda or sparsegpt.",
    .example = "adze compress tales magnitude:sparsity=0.3 --eval calibration.txt -o pruned.gguf",
    .options = magnitude_table,
    .options_size = sizeof(magnitude_options),
    .check = magnitude_check,
    .compress = magnitude_compress,
};
