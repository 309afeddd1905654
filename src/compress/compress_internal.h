/* compress_internal.h - what the methods of this family share: the walk over a model's linear layers, and the mathematics of a single layer
 * where a test looks at it without a model around. */
#ifndef ADZE_COMPRESS_INTERNAL_H
#define ADZE_COMPRESS_INTERNAL_H

#include "adze/method.h"

/* Which part of the calibration text a method reads: `samples` sequences of `length` tokens (0 = the model's context, at most 2048). */
typedef struct az_calibration {
    int64_t samples, length, seed;
} az_calibration;
/* Its options, for the member `calibration` of a method's struct of options; `use` says in brackets what reads the text, or is "". */
/* clang-format off */
#define AZ_CALIBRATION_OPTIONS(type, use) \
    {"nsamples", AZ_FIELD(AZ_INT, type, calibration.samples), "128", 1, 1e6, NULL, "calibration sequences" use}, \
    {"seqlen", AZ_FIELD(AZ_INT, type, calibration.length), "0", 0, 1e6, NULL, \
     "tokens of a calibration sequence; 0 = the model's context, at most 2048"}, \
    {"seed", AZ_FIELD(AZ_INT, type, calibration.seed), "0", 0, 0, NULL, "of the choice of calibration sequences; without it that of --seed"}
/* clang-format on */
/* The sequences that it names; fails without calibration text. */
az_lm_sequences *az_calibration_sequences(az_ctx *az, const az_compress_job *job, const az_calibration *calibration);

/* What becomes of the exact zeros that an earlier method left in a matrix (docs/compose.md). */
typedef enum az_zero_rule {
    AZ_KEEP_ZEROS, /* they stay zero */
    AZ_LOSE_ZEROS, /* the user said that they need not stay */
    AZ_MOVE_ZEROS  /* the method moves a mask: it may give a dropped weight its value back */
} az_zero_rule;
/* For an option "zeros" of methods whose results may be unable to hold a zero: keep (the default), lose. */
extern const char *const az_zero_choices[];
/* `after`, made from `before`, with exact zeros wherever `before` has them. A dense matrix is masked. Another one is accepted as it is
 * unless `before` was pruned (a quarter or more of it is zero) and loses a zero: that is an error. */
az_weight *az_compress_keep_zeros(az_ctx *az, const az_weight *before, az_weight *after);

/* Makes the new weight of one layer, in the current scope. statistics is NULL when no calibration text was run. */
typedef az_weight *(*az_layer_step)(az_ctx *az, const az_lm_linear *linear, const az_lm_statistics *statistics, const void *options);
/* What is done to a block whose layers have their new weights, before the inputs of the next block are made. */
typedef bool (*az_block_step)(az_ctx *az, const az_compress_job *job, const az_lm_block_inputs *inputs, const void *options);
typedef struct az_layer_walk {
    const char *task; /* for progress: "pruning" */
    az_layer_step step;
    az_block_step block; /* of calibrated walks; may be NULL */
    const void *options; /* passed to step and block */
    bool calibrated;     /* run the calibration text, block by block */
    bool gram;           /* the step needs Gram matrices */
    bool error;          /* measure each layer's output error; gathers Gram matrices too */
    az_zero_rule zeros;
    az_calibration calibration;
} az_layer_walk;
/* Replaces every linear layer inside the blocks and adds a row per layer to the section "layers" of the report: layer, format, sparsity,
 * error = |(W - W') X|^2 / |W X|^2 (NaN when not measured), seconds. Errors name the layer. */
bool az_compress_layers(az_ctx *az, az_compress_job *job, const az_layer_walk *walk);
/* The weight that a layer of job->lm had before the first step of the chain. */
const az_weight *az_compress_original(az_ctx *az, const az_compress_job *job, const az_lm_linear *linear);
/* |(W - W') X|^2 / |W X|^2 for inputs with the Gram matrix X X^T; NaN when gram is NULL. */
double az_compress_error(az_ctx *az, const az_weight *before, const az_weight *after, const az_tensor *gram);
/* One such row, for a weight outside the blocks. */
void az_compress_row(az_ctx *az, az_report *report, const char *layer, const az_weight *weight, double error, double seconds);

/* Refuses a sparsity outside [0, 1) and a pattern n:m that does not divide the inputs of some layer (named). */
bool az_prune_check(az_ctx *az, az_lm *lm, double sparsity, az_pattern pattern);
/* The matrix that is to be pruned, f32. A value that is not finite is an error: it has no place among others. */
const az_tensor *az_prune_matrix(az_ctx *az, const az_weight *weight);
/* A pruned matrix (f32) in the format of the weight it comes from where that is dense; otherwise as f32. */
az_weight *az_prune_result(az_ctx *az, const az_weight *from, az_weight *pruned);

/* Layers by name: a regular expression (PCRE) that matches anywhere in it. */
typedef struct az_layer_filter az_layer_filter;
az_layer_filter *az_layer_filter_new(az_ctx *az, const char *expression); /* lives in the current scope */
bool az_layer_matches(const az_layer_filter *filter, const char *layer);

/* ---- scores: what dropping a weight costs ---- */

/* Wanda: |w_rj| sqrt(square[j]): [rows, cols]. */
az_tensor *az_wanda_scores(az_ctx *az, const az_tensor *w, const double *square);
/* SparseGPT: w_rj^2 / U_jj^2, with U from az_inverse_factor. */
az_tensor *az_sparsegpt_scores(az_ctx *az, const az_tensor *w, const az_tensor *u);
/* Upper triangular U (f32) with U^T U = H^-1, H = gram + damp * mean(diagonal) on the diagonal; inputs that never fire count as 1. */
az_tensor *az_inverse_factor(az_ctx *az, const az_tensor *gram, double damp);
/* U of the inputs seen last: q, k and v read the same ones, and so do gate and up. Starts as zeros; the arena is its user's to free. */
typedef struct az_factor_memo {
    int block;
    const az_tensor *gram, *u;
    az_arena *arena;
} az_factor_memo;
const az_tensor *az_factor_of(az_ctx *az, az_factor_memo *memo, const az_lm_linear *linear, const az_tensor *gram, double damp);

typedef struct az_sparsegpt_settings {
    double sparsity, damp; /* share to drop; added to the diagonal of H, in units of its mean */
    az_pattern pattern;
    int64_t blocksize; /* columns whose updates are gathered before they reach the rest */
} az_sparsegpt_settings;
/* W [rows, cols] (f32, its zeros are dropped already) pruned for inputs with the Gram matrix sum x x^T [cols, cols] (f64). */
az_tensor *az_sparsegpt_prune(az_ctx *az, const az_tensor *w, const az_tensor *gram, const az_sparsegpt_settings *settings);

/* ---- flash-llm ---- */

/* The format that multiplies a matrix with that share of zeros faster by one vector; its values are f16, bf16 or f32. */
const az_format *az_flash_llm_format(int64_t cols, double zeros, az_dtype values);

/* ---- welore ---- */

/* What a singular value sigma_i of a descending spectrum counts for, beside those of other matrices: (sigma_i - sigma_r) / (sigma_1 -
 * sigma_r), 1 everywhere when they are all alike; sigma_i / sigma_1; or sigma_i itself. */
typedef enum az_spectrum_scale { AZ_SCALE_MINMAX, AZ_SCALE_MAX, AZ_SCALE_NONE } az_spectrum_scale;
void az_scale_spectrum(double *sigma, int64_t r, az_spectrum_scale scale);
typedef struct az_spectrum {
    int64_t r;
    const double *value; /* [r] scaled, descending */
} az_spectrum;
/* How many values stay at a threshold: those not below it, the first one always. */
int64_t az_spectrum_rank(const az_spectrum *spectrum, double threshold);
/* The threshold below which lies the share `reduction` of all values of n spectra: just above the (reduction * total)-th smallest of them.
 * Values that are equal to that one go with it. */
double az_spectrum_threshold(az_ctx *az, const az_spectrum *spectra, int n, double reduction);
/* W as U_k sqrt(S_k) times sqrt(S_k) V_k^T, both f32. randomized: by the range finder of az_svd_randomized. */
bool az_truncate(az_ctx *az, const az_tensor *w, int64_t rank, bool randomized, az_tensor **u, az_tensor **v);

#endif
