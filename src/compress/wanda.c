/* wanda.c - pruning by weights and activations.
 *
 * Problem: choose, for each output row r of W, which share s of the weights to drop so that the layer's output changes
 *     least, knowing only the norms of the inputs.
 * Score: S_rj = |w_rj| |X_j| with |X_j|^2 = sum of x_j^2 over the calibration tokens: what dropping w_rj alone costs.
 * Rule: in each row drop the floor(s cols) lowest scores; with a pattern n:m, all but the n highest of every m
 *     consecutive inputs. Kept weights do not change.
 *
 * Sun, Liu, Bair, Kolter: "A simple and effective pruning approach for large language models", ICLR 2024
 * (arXiv 2306.11695), section 3. */
#include "compress/compress_internal.h"

typedef struct wanda_options {
    double sparsity;
    az_pattern pattern;
    bool error;
    az_calibration calibration;
} wanda_options;

static const az_option wanda_table[] = {
    {"sparsity", AZ_FIELD(AZ_REAL, wanda_options, sparsity), "0.5", 0, 0.9999, NULL, "share of the weights to drop in each row"},
    {"pattern", AZ_FIELD(AZ_PATTERN, wanda_options, pattern), "none", 0, 0, NULL,
     "n:m keeps n of every m consecutive inputs, instead of a share"},
    {"error", AZ_FIELD(AZ_BOOL, wanda_options, error), "true", 0, 0, NULL,
     "measure each layer's output error (needs a Gram matrix per layer)"},
    AZ_CALIBRATION_OPTIONS(wanda_options, ""),
    {0},
};

static az_weight *prune_layer(az_ctx *az, const az_lm_linear *linear, const az_lm_statistics *statistics, const void *user)
{
    const wanda_options *o = user;
    const az_tensor *score = az_wanda_scores(az, az_prune_matrix(az, linear->weight), statistics->square); /* [rows, cols] */
    const az_tensor *mask = az_mask_lowest(az, score, (az_mask_how){.share = o->sparsity, .pattern = o->pattern, .scope = AZ_PER_ROW});
    return az_prune_result(az, linear->weight, az_mask_apply(az, linear->weight, mask));
}

static bool wanda_check(az_ctx *az, const void *options, az_lm *lm)
{
    const wanda_options *o = options;
    return az_prune_check(az, lm, o->sparsity, o->pattern);
}

static bool wanda_compress(az_ctx *az, const void *options, az_compress_job *job)
{
    const wanda_options *o = options;
    if (!wanda_check(az, o, job->lm)) return false;
    return az_compress_layers(
        az, job,
        &(az_layer_walk){
            .task = "pruning", .step = prune_layer, .options = o, .calibrated = true, .error = o->error, .calibration = o->calibration});
}

const az_method az_wanda = {
    .name = "wanda",
    .family = AZ_COMPRESS,
    .summary = "drop the weights whose products with their inputs are smallest",
    .paper = "Sun et al.: A simple and effective pruning approach for large language models, ICLR 2024, arXiv 2306.11695",
    .details =
        "Scores each weight by its magnitude times the norm of its input over the calibration text, and drops the lowest scores of each "
        "output row (sparsity), or all but n of every m consecutive inputs (pattern n:m). Kept weights do not change. It costs two passes "
        "over the calibration text and is close to sparsegpt up to 50 %; beyond that, and at 2:4, sparsegpt usually loses less.",
    .example = "adze compress tales wanda:pattern=2:4 -d calibration.txt -o pruned.gguf",
    .options = wanda_table,
    .options_size = sizeof(wanda_options),
    .needs_data = true,
    .check = wanda_check,
    .compress = wanda_compress,
};
