/* smoothquant.c - the method smoothquant: what is uneven in activations moves into the weights, where rounding bears it better.
 *
 * Symbols: x_k, feature k of what the layers behind a norm read; w_ok the weights of all of them.
 * Rule: x_k / s_k and W s, with s_k = max |x_k|^alpha / max_o |w_ok|^(1 - alpha) on calibration text; the norm divides, so that nothing is
 *     left to do when the model runs. The function stays what it is.
 *
 * Xiao, Lin, Seznec, Wu, Demouth, Han: "SmoothQuant: accurate and efficient post-training quantization for large language models", ICML
 * 2023 (arXiv 2211.10438). */
#include "compress/column_scan.h"
#include "compress/fold.h"

#include <math.h>

typedef struct smooth_options {
    double alpha;
    az_calibration calibration;
} smooth_options;

static const az_option smooth_table[] = {
    {"alpha", AZ_FIELD(AZ_REAL, smooth_options, alpha), "0.5", 0, 1, NULL, "how much moves into the weights: 0 = nothing, 1 = all"},
    {"nsamples", AZ_FIELD(AZ_INT, smooth_options, calibration.samples), "32", 1, 1e6, NULL, "calibration sequences"},
    {"seqlen", AZ_FIELD(AZ_INT, smooth_options, calibration.length), "0", 0, 1e6, NULL,
     "tokens of a calibration sequence; 0 = the model's context, at most 2048"},
    {"seed", AZ_FIELD(AZ_INT, smooth_options, calibration.seed), "0", 0, 0, NULL,
     "of the choice of calibration sequences; without it that of --seed"},
    {0},
};

/* The largest magnitudes of what one norm gives. */
typedef struct largest {
    int64_t cols;
    float *most;
} largest;

static az_tensor *watch(az_ctx *az, const char *site, az_tensor *x, void *user)
{
    const largest *to = user;
    const az_tensor *rows = az_watched_rows(az, site, x);
    if (!rows) return NULL;
    for (int64_t i = 0; i < az_count(rows); i += to->cols)
        for (int64_t c = 0; c < to->cols; c++) to->most[c] = fmaxf(to->most[c], fabsf(az_f32(rows)[i + c]));
    return x;
}

static void add_weights(az_ctx *az, const az_weight *weight, float *most)
{
    az_scope_push(az);
    const az_tensor *w = az_weight_decode(az, weight);
    for (int64_t r = 0; w && r < weight->rows; r++)
        for (int64_t c = 0; c < weight->cols; c++) most[c] = fmaxf(most[c], fabsf(az_f32(w)[r * weight->cols + c]));
    az_scope_pop(az);
}

static bool smooth_norm(az_ctx *az, az_lm *lm, int b, bool network, double alpha, const largest *x, az_report *report)
{
    az_lm_block *block = &lm->block[b];
    az_lm_linear **readers;
    const az_lm_norm *norm = network ? &block->mlp_norm : &block->attn_norm;
    if (!norm->weight) return true;
    const int n = az_fold_readers(az, block, network, &readers);
    float *scale = az_alloc_array(az, (size_t)x->cols, sizeof *scale), *most = az_alloc_array(az, (size_t)x->cols, sizeof *most);
    if (!scale || !most || !readers) return false;
    for (int i = 0; i < n; i++) add_weights(az, readers[i]->weight, most);
    float low = INFINITY, high = 0;
    for (int64_t c = 0; c < x->cols; c++) {
        const bool alive = x->most[c] > 0 && most[c] > 0;
        const double wanted = alive ? pow((double)x->most[c], alpha) / pow((double)most[c], 1 - alpha) : 1;
        scale[c] = (float)fmin(fmax(wanted, 1e-5), 1e5);
        low = fminf(low, scale[c]), high = fmaxf(high, scale[c]);
    }
    if (report) {
        az_report_row(report, "scales");
        az_report_text(report, "norm", norm->name);
        az_report_number(report, "least", low, "");
        az_report_number(report, "most", high, "");
    }
    return az_fold(az, lm, b, network, scale, NULL);
}

static bool smooth_check(az_ctx *az, const void *options, az_lm *lm)
{
    (void)options;
    return az_fold_check(az, lm);
}

static bool smooth_model(az_ctx *az, const smooth_options *o, az_compress_job *job)
{
    az_lm *lm = job->lm;
    az_lm_linear **linear, **readers;
    const int n = az_lm_linears(az, lm, &linear), halves = 2 * (int)lm->config.blocks;
    const az_lm_sequences *text = az_calibration_sequences(az, job, &o->calibration);
    largest *all = az_alloc_array(az, (size_t)halves, sizeof *all);
    void **user = az_alloc_array(az, (size_t)n, sizeof *user);
    if (!text || !all || !user) return false;
    for (int i = 0; i < halves; i++) {
        all[i] = (largest){.cols = lm->config.width, .most = az_alloc_array(az, (size_t)lm->config.width, sizeof(float))};
        const int count = all[i].most ? az_fold_readers(az, &lm->block[i / 2], i % 2, &readers) : 0;
        for (int r = 0; r < count; r++)
            for (int l = 0; l < n; l++)
                if (linear[l] == readers[r]) user[l] = &all[i];
    }
    if (!az_ok(az) || !az_watch_inputs(az, lm, text, watch, user)) return false;
    for (int i = 0; i < halves; i++)
        if (!smooth_norm(az, lm, i / 2, i % 2, o->alpha, &all[i], job->report)) return false;
    return true;
}

static bool smooth_compress(az_ctx *az, const void *options, az_compress_job *job)
{
    if (!job->lm || !smooth_check(az, options, job->lm)) return false;
    az_scope_push(az);
    const bool good = smooth_model(az, options, job);
    az_scope_pop(az);
    return good && az_ok(az);
}

const az_method az_smoothquant = {
    .name = "smoothquant",
    .family = AZ_COMPRESS,
    .summary = "move what is uneven in activations into the weights, in front of a method that rounds both",
    .paper = "Xiao et al.: SmoothQuant: accurate and efficient post-training quantization for large language models, ICML 2023, "
             "arXiv 2211.10438",
    .details =
        "Divides each feature behind a norm by s = max |x|^alpha / max |w|^(1 - alpha), measured on calibration text, and multiplies "
        "the columns of the layers that read it. The model computes the same; what methods that round activations token by token "
        "lose to large features becomes less: follow it by outliertune:activations=token, llm-int8:threshold=0 or bipolar-int. "
        "Inputs of the attention's output and of the network's second layer have no norm in front and stay as they are. Weights "
        "become f32.",
    .example = "adze compress tales smoothquant outliertune:wbits=6,abits=6,activations=token -d calibration.txt -o small.gguf",
    .options = smooth_table,
    .options_size = sizeof(smooth_options),
    .needs_data = true,
    .check = smooth_check,
    .compress = smooth_compress,
};
