/* dsnot.c - dynamic sparse no training: repairs a pruning mask by swaps, without gradients and without changing weights.
 *
 * Problem: a one-shot mask leaves an error in each output's mean, e = sum over the dropped weights of w_j E[x_j].
 * Rule: per output row, swap a dropped weight for a kept one while that brings e towards 0: grow by the largest gain over the variance of
 *     the input, prune by the least |w_j| |X_j|. Few swaps do: T is about 1 % of a row.
 * Statistics, in the authors' scale: a_j = S_j / sequences (the mean times the length L of a sequence), so epsilon is in units of L.
 * Start: any mask. As a later step of a chain the zeros that the steps before left are the mask, and a weight grows back with the value
 *     it had before the chain; kept weights that were changed (sparsegpt) stay as they are, and their part of e is counted.
 *
 * Zhang, Zhao, Lin, Sun, Yao, Han, Tanner, Liu, Ji: "Dynamic sparse no training: training-free fine-tuning for sparse LLMs", ICLR 2024
 * (arXiv 2310.08915), algorithm 1. */
#include "compress/dsnot.h"
#include "compress/start_mask.h"

#include <math.h>
#include <string.h>

typedef enum variance_kind { VARIANCE_ALL, VARIANCE_WITHIN } variance_kind;
static const char *const variance_names[] = {[VARIANCE_ALL] = "all", [VARIANCE_WITHIN] = "within", NULL};

typedef struct dsnot_options {
    az_start_settings start;
    az_dsnot_settings repair;
    bool per_token, error;
    int variance; /* variance_kind */
    const char *skip, *save_mask;
    az_calibration calibration;
} dsnot_options;

static const az_option dsnot_table[] = {
    {"init", AZ_FIELD(AZ_CHOICE, dsnot_options, start.init), "auto", 0, 0, az_start_names,
     "the mask to repair; auto = what the chain has pruned, or wanda's"},
    {"mask", AZ_FIELD(AZ_TEXT, dsnot_options, start.file), "", 0, 0, NULL, "a mask file, or a sparse model whose zeros are the mask"},
    {"sparsity", AZ_FIELD(AZ_REAL, dsnot_options, start.sparsity), "0.5", 0, 1, NULL,
     "share of the weights to drop in each row, below 1 (where init chooses)"},
    {"pattern", AZ_FIELD(AZ_PATTERN, dsnot_options, start.pattern), "none", 0, 0, NULL,
     "n:m keeps n of every m consecutive inputs; of a mask that is there already it is found out"},
    {"cycles", AZ_FIELD(AZ_INT, dsnot_options, repair.cycles), "-1", -1, 1e9, NULL,
     "most swaps of a row; -1 = 0.0122 of its inputs, 1 to 50"},
    {"threshold", AZ_FIELD(AZ_REAL, dsnot_options, repair.threshold), "0.1", 0, INFINITY, NULL,
     "rows whose expected error over a sequence is at most this stay as they are"},
    {"per_token", AZ_FIELD(AZ_BOOL, dsnot_options, per_token), "false", 0, 0, NULL, "threshold is of the error of one token"},
    {"var_power", AZ_FIELD(AZ_REAL, dsnot_options, repair.var_power), "1", 0, 8, NULL,
     "power of the input's variance in the growing order"},
    {"variance", AZ_FIELD(AZ_CHOICE, dsnot_options, variance), "all", 0, 0, variance_names,
     "of all tokens, or the mean of the variances within sequences"},
    {"same_sign", AZ_FIELD(AZ_BOOL, dsnot_options, repair.same_sign), "false", 0, 0, NULL,
     "end a row before a swap that turns the sign of its error (always with a pattern)"},
    {"skip", AZ_FIELD(AZ_TEXT, dsnot_options, skip), "mlp", 0, 0, NULL,
     "layers that keep the start mask: mlp, self_attn, none, or a regular expression"},
    {"save_mask", AZ_FIELD(AZ_TEXT, dsnot_options, save_mask), "", 0, 0, NULL, "also write the masks to this .safetensors file"},
    {"damp", AZ_FIELD(AZ_REAL, dsnot_options, start.damp), "0.01", 0, 1e6, NULL,
     "of init=sparsegpt, in units of the Hessian's mean diagonal"},
    {"error", AZ_FIELD(AZ_BOOL, dsnot_options, error), "true", 0, 0, NULL,
     "measure each layer's output error, before and after (needs a Gram matrix per layer)"},
    AZ_CALIBRATION_OPTIONS(dsnot_options, ""),
    {0},
};

/* A run under way. */
typedef struct dsnot_run {
    const dsnot_options *options;
    const az_starts *starts;
    const az_layer_filter *skip;
    az_report *report;
    az_factor_memo *memo;
    az_arena *arena;      /* of the masks to save */
    az_named_mask *masks; /* [starts->n], NULL when they are not asked for */
    int done;
} dsnot_run;

/* The expression that --skip stands for. */
static const char *skip_expression(const char *skip)
{
    if (strcmp(skip, "mlp") == 0) return "\\.mlp\\.";
    if (strcmp(skip, "self_attn") == 0 || strcmp(skip, "attn") == 0) return "\\.attn\\.";
    if (strcmp(skip, "none") == 0) return "(?!)";
    return skip;
}

/* ---- one layer ---- */

typedef struct moments {
    double *mean, *variance; /* [cols] a_j, v_j */
    double share;            /* sum of squared means over sum of mean squares: what DSnoT has to work with */
} moments;

static moments moments_of(az_ctx *az, const az_lm_statistics *s, int64_t cols, variance_kind kind)
{
    moments m = {.mean = az_alloc_array(az, (size_t)cols, sizeof *m.mean),
                 .variance = az_alloc_array(az, (size_t)cols, sizeof *m.variance)};
    const double tokens = (double)s->tokens, sequences = (double)s->sequences, length = tokens / sequences;
    double means = 0, squares = 0;
    for (int64_t j = 0; m.mean && m.variance && j < cols; j++) {
        const double mean = s->sum[j] / tokens;
        const double explained = kind == VARIANCE_WITHIN ? s->sum_square[j] / length / tokens : mean * mean;
        m.mean[j] = s->sum[j] / sequences;
        m.variance[j] = fmax(s->square[j] / tokens - explained, 0);
        means += mean * mean;
        squares += s->square[j] / tokens;
    }
    m.share = squares > 0 ? means / squares : 0;
    return m;
}

/* Per row, the expected error that the kept weights make by not being what they were: sum of (dense - sparse) a over the mask. */
static double *shift_of(az_ctx *az, const az_start_layer *start, const az_tensor *values, const double *mean)
{
    if (!start->sparse) return NULL;
    const int64_t rows = values->shape[0], cols = values->shape[1];
    const az_tensor *dense = az_weight_decode(az, start->dense);
    double *shift = az_alloc_array(az, (size_t)rows, sizeof *shift);
    for (int64_t i = 0; dense && shift && i < rows * cols; i++)
        shift[i / cols] += ((double)az_f32(dense)[i] - (double)az_f32(values)[i]) * mean[i % cols];
    return shift;
}

/* What a row of the report needs beyond the usual. */
typedef struct outcome {
    az_pattern pattern;
    az_dsnot_change change;
    double error_before, mean_share, threshold;
} outcome;

static void report_layer(az_ctx *az, az_report *report, const char *layer, const outcome *o)
{
    if (!report) return;
    az_report_row(report, "repair");
    az_report_text(report, "layer", layer);
    az_report_text(report, "pattern", o->pattern.m ? az_format_text(az, "%d:%d", o->pattern.n, o->pattern.m) : "none");
    az_report_number(report, "swaps", o->change.swaps, "per row");
    az_report_number(report, "expected_before", o->change.before, "");
    az_report_number(report, "expected_after", o->change.after, "");
    az_report_number(report, "threshold", o->threshold, "");
    az_report_number(report, "error_before", o->error_before, "");
    az_report_number(report, "mean_share", o->mean_share, "");
}

static bool remember_mask(az_ctx *az, dsnot_run *run, const char *layer, const az_tensor *keep)
{
    if (!run->masks || !keep) return az_ok(az);
    az_arena_enter(az, run->arena);
    run->masks[run->done++] = (az_named_mask){.layer = layer, .keep = az_share(az, keep)};
    az_arena_leave(az);
    return az_ok(az);
}

static az_weight *masked(az_ctx *az, const az_start_layer *start, const az_tensor *values, const az_tensor *keep)
{
    if (!values) return NULL;
    return az_prune_result(az, start->dense, az_mask_apply(az, az_weight_dense(az, az_share(az, values)), keep));
}

/* The mask after the swaps; *o receives what they did. */
static az_tensor *repaired(az_ctx *az, const dsnot_run *run, const az_start_layer *start, const az_dsnot_layer *given,
                           const az_lm_statistics *statistics, outcome *o)
{
    az_dsnot_settings how = run->options->repair;
    az_dsnot_layer layer = *given;
    const moments m = moments_of(az, statistics, start->dense->cols, (variance_kind)run->options->variance);
    if (!az_ok(az)) return NULL;
    const double length = (double)statistics->tokens / (double)statistics->sequences;
    layer.mean = m.mean;
    layer.variance = m.variance;
    layer.shift = shift_of(az, start, layer.values, m.mean);
    how.pattern = o->pattern;
    if (run->options->per_token) how.threshold *= length;
    o->threshold = how.threshold;
    o->mean_share = m.share;
    return az_dsnot_repair(az, &layer, &how, &o->change);
}

static az_weight *repair_layer(az_ctx *az, const az_lm_linear *linear, const az_lm_statistics *statistics, const void *user)
{
    dsnot_run *run = *(dsnot_run *const *)user;
    const dsnot_options *options = run->options;
    const az_start_layer *start = az_start_of(run->starts, linear);
    const bool scored = !start->keep && options->start.init != AZ_START_RANDOM;
    const az_tensor *scores = start->keep ? NULL : az_start_scores(az, &options->start, linear, statistics, run->memo);
    az_dsnot_layer layer = {.values = az_start_values(az, start),
                            .keep = start->keep ? start->keep : az_start_choose(az, &options->start, scores)};
    if (!layer.values || !layer.keep) return NULL;
    const az_pattern known = options->start.pattern;
    outcome o = {.pattern = known.m ? known : az_mask_pattern(layer.keep)};
    /* a pattern prunes in the order of the start mask, where that has one */
    layer.score = scored && o.pattern.m ? scores : az_wanda_scores(az, layer.values, statistics->square);
    az_tensor *keep =
        az_layer_matches(run->skip, linear->name) ? az_copy(az, layer.keep) : repaired(az, run, start, &layer, statistics, &o);
    if (options->error && run->report)
        o.error_before = az_compress_error(az, start->dense, masked(az, start, layer.values, layer.keep), statistics->gram);
    if (!keep || !remember_mask(az, run, linear->name, keep)) return NULL;
    report_layer(az, run->report, linear->name, &o);
    return masked(az, start, layer.values, keep);
}

/* ---- the method ---- */

static bool dsnot_check(az_ctx *az, const void *options, az_lm *lm)
{
    const dsnot_options *o = options;
    az_scope_push(az);
    az_layer_filter_new(az, skip_expression(o->skip));
    az_fail_context(az, "skip");
    az_scope_pop(az);
    return az_ok(az) && az_prune_check(az, lm, o->start.sparsity, o->start.pattern);
}

static bool dsnot_run_all(az_ctx *az, az_compress_job *job, dsnot_run *run)
{
    const dsnot_options *o = run->options;
    const az_layer_walk walk = {.task = "repairing masks",
                                .step = repair_layer,
                                .options = &run,
                                .calibrated = true,
                                .gram = az_start_needs_gram(&o->start) && !run->starts->taken,
                                .error = o->error,
                                .zeros = AZ_MOVE_ZEROS,
                                .calibration = o->calibration};
    if (*o->save_mask) run->masks = az_alloc_array(az, (size_t)run->starts->n, sizeof *run->masks);
    if (!az_compress_layers(az, job, &walk)) return false;
    return !run->masks || az_mask_file_write(az, o->save_mask, run->masks, run->done);
}

static bool dsnot_compress(az_ctx *az, const void *options, az_compress_job *job)
{
    const dsnot_options *o = options;
    if (!dsnot_check(az, o, job->lm)) return false;
    az_factor_memo memo = {0};
    az_scope_push(az);
    az_start_settings start = o->start;
    start.seed = o->calibration.seed;
    dsnot_run run = {.options = o,
                     .starts = az_starts_find(az, job, &start),
                     .skip = az_layer_filter_new(az, skip_expression(o->skip)),
                     .report = job->report,
                     .memo = &memo,
                     .arena = az_arena_new(az)};
    const bool done = run.starts && run.skip && run.arena && dsnot_run_all(az, job, &run);
    az_arena_free(az, run.arena);
    az_arena_free(az, memo.arena);
    az_scope_pop(az);
    return done;
}

const az_method az_dsnot = {
    .name = "dsnot",
    .family = AZ_COMPRESS,
    .summary = "repair a pruning mask by swapping kept and dropped weights",
    .paper = "Zhang et al.: Dynamic sparse no training: training-free fine-tuning for sparse LLMs, ICLR 2024, arXiv 2310.08915",
    .details = "Pruning leaves an error in the mean of each output. dsnot swaps a few weights of each row, one grown back for one dropped, "
               "so that these errors shrink; weights do not change and no gradient is needed. It goes behind a pruning method "
               "(`wanda:pattern=2:4 dsnot`) and repairs the mask that it left, or makes a start mask of its own "
               "(`dsnot:init=magnitude,sparsity=0.6`). It acts through the means of the inputs alone: section \"repair\" of the report "
               "shows mean_share, the means' share of the inputs' energy; where that is near 0 nothing can be gained. cycles and threshold "
               "were chosen by the authors for rows of 4096 inputs and sequences of 2048 tokens; cycles is scaled to the rows' length "
               "here, the threshold is not, and grows with the length of a sequence; per_token states it for the mean output.",
    .example = "adze compress tales wanda:pattern=2:4 dsnot:skip=none -d calibration.txt -o pruned.gguf",
    .options = dsnot_table,
    .options_size = sizeof(dsnot_options),
    .needs_data = true,
    .check = dsnot_check,
    .compress = dsnot_compress,
};
