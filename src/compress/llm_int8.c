/* llm_int8.c - weights and activations as bytes, outlier features in half precision.
 *
 * Problem: y = x W^T in bytes although a few features of x are tens of times larger than the others, and would coarsen the scale of all.
 * Symbols: s_t = max_k |x_tk| of a token, c_o = max_k |w_ok| of an output; O = {k : max_t |x_tk| >= threshold}, the outlier columns of a
 *     call.
 * Rule: y_to = s_t c_o / 127^2 sum over k not in O of rint(127 x_tk / s_t) rint(127 w_ok / c_o)  +  sum over k in O of x_tk w_ok.
 * Scales: by the paper (mode=paper) both leave columns of O out; its program (mode=bnb) leaves values below the threshold in O's columns
 *     in s_t, and all columns in c_o, which is then known before the call.
 *
 * Dettmers, Lewis, Belkada, Zettlemoyer: "LLM.int8(): 8-bit matrix multiplication for transformers at scale", NeurIPS 2022. */
#include "compress/column_scan.h"
#include "compress/outlier_study.h"

#include <math.h>

enum { MODE_BNB, MODE_PAPER };
enum { OUTLIERS_DYNAMIC, OUTLIERS_STATIC };
enum { COLUMNS_INT8, COLUMNS_16BIT };

typedef struct int8_options {
    double threshold, magnitude, layers, positions;
    int mode, scheme, outliers, columns;
    bool live, study, error;
    const char *skip;
    az_calibration calibration;
} int8_options;

static const char *const mode_choices[] = {[MODE_BNB] = "bnb", [MODE_PAPER] = "paper", NULL};
static const char *const scheme_choices[] = {[AZ_INT8_VECTORWISE] = "vectorwise",
                                             [AZ_INT8_ROWWISE] = "rowwise",
                                             [AZ_INT8_ABSMAX] = "absmax",
                                             [AZ_INT8_ZEROPOINT] = "zeropoint",
                                             NULL};
static const char *const outlier_choices[] = {[OUTLIERS_DYNAMIC] = "dynamic", [OUTLIERS_STATIC] = "static", NULL};
static const char *const column_choices[] = {[COLUMNS_INT8] = "int8", [COLUMNS_16BIT] = "16bit", NULL};

static const az_option int8_table[] = {
    {"threshold", AZ_FIELD(AZ_REAL, int8_options, threshold), "6", 0, INFINITY, NULL,
     "a column of activations that reaches it stays out of the bytes; 0 = none does"},
    {"mode", AZ_FIELD(AZ_CHOICE, int8_options, mode), "bnb", 0, 0, mode_choices,
     "scales as in the paper's program, or without the outlier columns as in the paper"},
    {"scheme", AZ_FIELD(AZ_CHOICE, int8_options, scheme), "vectorwise", 0, 0, scheme_choices,
     "a scale for each token and each output; each token; one for all; one with a zero point"},
    {"outliers", AZ_FIELD(AZ_CHOICE, int8_options, outliers), "dynamic", 0, 0, outlier_choices,
     "columns found in each batch, or listed once from calibration text"},
    {"columns", AZ_FIELD(AZ_CHOICE, int8_options, columns), "int8", 0, 0, column_choices,
     "weights of outlier columns: from the bytes, or kept as f16 for those that calibration text shows"},
    {"live", AZ_FIELD(AZ_BOOL, int8_options, live), "false", 0, 0, NULL, "keep weights as f16 and round them at each product"},
    {"skip", AZ_FIELD(AZ_TEXT, int8_options, skip), "", 0, 0, NULL, "layers whose names match this expression stay as they are"},
    {"study", AZ_FIELD(AZ_BOOL, int8_options, study), "false", 0, 0, NULL,
     "report the outlier features and what the model is without them; needs calibration text"},
    {"magnitude", AZ_FIELD(AZ_REAL, int8_options, magnitude), "6", 1e-6, 1e9, NULL, "of an outlier feature (for study)"},
    {"layers", AZ_FIELD(AZ_REAL, int8_options, layers), "0.25", 0, 1, NULL, "share of the inputs of blocks that it shows in (for study)"},
    {"positions", AZ_FIELD(AZ_REAL, int8_options, positions), "0.06", 0, 1, NULL, "share of the tokens that it shows at (for study)"},
    {"error", AZ_FIELD(AZ_BOOL, int8_options, error), "false", 0, 0, NULL,
     "measure each layer's output error from rounded weights on the calibration text"},
    AZ_CALIBRATION_OPTIONS(int8_options, " (for static, 16bit, study and error)"),
    {0},
};

/* What the layers need to know. */
typedef struct plan {
    const int8_options *options;
    const az_layer_filter *skip; /* NULL = none */
    az_lm_linear **linear;
    const az_column_scan *scan; /* [layers] of their inputs, or NULL */
    az_report *report;
} plan;

static bool lists_columns(const int8_options *o)
{
    return o->outliers == OUTLIERS_STATIC || o->columns == COLUMNS_16BIT;
}

/* The columns that reach the threshold on the calibration text. */
static bool list_columns(az_ctx *az, const plan *p, const az_column_scan *scan, az_int8_settings *settings)
{
    int32_t *column = az_alloc_array(az, (size_t)scan->cols, sizeof *column);
    for (int64_t c = 0; column && c < scan->cols; c++)
        if (scan->most[c] >= (float)p->options->threshold) column[settings->listed++] = (int32_t)c;
    settings->column = column;
    return column != NULL;
}

static void report_columns(const plan *p, const az_lm_linear *linear, int64_t listed)
{
    if (!p->report) return;
    az_report_row(p->report, "outlier_columns");
    az_report_text(p->report, "layer", linear->name);
    az_report_count(p->report, "columns", listed);
    az_report_number(p->report, "share", (double)listed / (double)linear->weight->cols, "");
}

static az_weight *round_layer(az_ctx *az, const az_lm_linear *linear, const az_lm_statistics *statistics, const void *user)
{
    (void)statistics;
    const plan *p = user;
    const int8_options *o = p->options;
    const az_weight *w = linear->weight;
    if (p->skip && az_layer_matches(p->skip, linear->name)) return az_weight_share(az, w);
    if (az_weight_rank(w) > 0)
        return az_fail(az, AZ_BAD_INPUT,
                       "a matrix of low rank has factors: quantize:type=q8_0 rounds them to bytes, skip=... leaves it out");
    az_int8_settings settings = {.scheme = (az_int8_scheme)o->scheme,
                                 .threshold = o->threshold,
                                 .paper = o->mode == MODE_PAPER,
                                 .live = o->live,
                                 .fixed = o->outliers == OUTLIERS_STATIC};
    if (p->scan) {
        int i = 0;
        while (p->linear[i] != linear) i++;
        if (!list_columns(az, p, &p->scan[i], &settings)) return NULL;
        report_columns(p, linear, settings.listed);
    }
    if (!lists_columns(o)) settings.column = NULL, settings.listed = 0;
    return az_weight_int8(az, w, &settings);
}

static bool int8_check(az_ctx *az, const void *options, az_lm *lm)
{
    const int8_options *o = options;
    if (lists_columns(o) && o->threshold == 0) return az_fail(az, AZ_BAD_INPUT, "without a threshold there are no outlier columns to list");
    if (lists_columns(o) && o->live)
        return az_fail(az, AZ_BAD_INPUT, "live keeps all weights as f16: outliers=static and columns=16bit do not go with it");
    if (lm && az_weight_is_dense(lm->embedding) && lm->embedding->part[0]->dtype == AZ_F64)
        return az_fail(az, AZ_BAD_INPUT, "activations of an f64 model are not rounded to bytes; convert the model to f32 first");
    az_scope_push(az);
    const bool good = !*o->skip || az_layer_filter_new(az, o->skip);
    az_scope_pop(az);
    return good;
}

static bool round_model(az_ctx *az, const int8_options *o, az_compress_job *job)
{
    plan p = {.options = o, .report = job->report};
    az_column_scan *scan = NULL;
    az_lm_linears(az, job->lm, &p.linear);
    if (*o->skip && !(p.skip = az_layer_filter_new(az, o->skip))) return false;
    const az_lm_sequences *sequences = lists_columns(o) || o->study ? az_calibration_sequences(az, job, &o->calibration) : NULL;
    const az_outlier_rule rule = {.magnitude = o->magnitude, .layers = o->layers, .positions = o->positions};
    if (o->study && !az_outlier_study(az, job->lm, sequences, &rule, (uint64_t)o->calibration.seed, job->report)) return false;
    if (sequences && !az_scan_columns(az, job->lm, sequences, 0, &scan)) return false;
    p.scan = scan;
    return az_compress_layers(az, job,
                              &(az_layer_walk){.task = "rounding to bytes",
                                               .step = round_layer,
                                               .options = &p,
                                               .calibrated = o->error,
                                               .error = o->error,
                                               .calibration = o->calibration});
}

static bool int8_compress(az_ctx *az, const void *options, az_compress_job *job)
{
    if (!job->lm || !int8_check(az, options, job->lm)) return false;
    az_scope_push(az);
    const bool done = round_model(az, options, job);
    az_scope_pop(az);
    return done;
}

const az_method az_llm_int8 = {
    .name = "llm-int8",
    .family = AZ_COMPRESS,
    .summary = "weights and activations as bytes, features with outliers in higher precision",
    .paper = "Dettmers et al.: LLM.int8(): 8-bit matrix multiplication for transformers at scale, NeurIPS 2022, arXiv 2208.07339",
    .details =
        "Stores each matrix inside the blocks as bytes with a scale for each output. A product rounds the activations to bytes too, with a "
        "scale for each token, and adds whole numbers; the columns in which some activation of the batch reaches the threshold are left "
        "out of that and multiplied as they are, so that a few large features do not coarsen all others. It needs no data. Which columns "
        "these are depends on the tokens of a batch, so a token's result depends a little on its company; outliers=static lists them once "
        "from calibration text. columns=16bit keeps their weights in half precision. scheme=absmax, zeropoint or rowwise and threshold=0 "
        "are what the paper compares with. study reports which features are outliers and what setting them to zero costs.",
    .example = "adze compress tales llm-int8:study -d calibration.txt -o small.gguf",
    .options = int8_table,
    .options_size = sizeof(int8_options),
    .check = int8_check,
    .compress = int8_compress,
};
