/* outliertune.c - activations rounded feature by feature with steps known beforehand, at no cost when the model runs.
 *
 * Problem: y = W x + b in whole numbers although a few features x_k are much larger than the others or lie far from zero, and would
 *     coarsen the one scale that a token otherwise has.
 * Symbols: z_k the middle of feature k on calibration text, s_k its range / (2^(bits - 1) - 1), both fixed; q_k = rint((x_k - z_k) / s_k).
 * Rule: symmetrization: W x + b = W (x - z) + (b + W z). Pre-execution of dequantization: the matrix s_k w_ok is rounded instead of W, to
 *     c_o (code_ok - zero_o), so that sum over k of w_ok s_k q_k needs the one scale c_o.
 * Layers behind a norm get this; the inputs of the attention's output and of the network's second layer are rounded with a scale a token.
 * The exact W z stays, although W is rounded: the part of it that the rounded matrix misses goes into the layer's bias.
 *
 * "OutlierTune: efficient channel-wise quantization for large language models" (arXiv 2406.18832). */
#include "compress/channels.h"
#include "compress/gptq.h"

#include <math.h>

enum { WEIGHTS_GPTQ, WEIGHTS_SYMMETRIC, WEIGHTS_ASYMMETRIC };
enum { RANGE_MSE, RANGE_MAX };
enum { BY_CHANNEL, BY_TOKEN };
enum { CLIP_SEQUENCES = 8 }; /* that show how many values lie outside the ranges */
static const double CLIP_NOTE = 0.001;

typedef struct outliertune_options {
    int64_t wbits, abits, sym_samples, range_samples;
    bool sym, clip, act_order, skip_first, quant_attn, error;
    int range, weights, activations;
    double damp;
    const char *skip;
    az_calibration calibration;
} outliertune_options;

static const char *const range_choices[] = {[RANGE_MSE] = "mse", [RANGE_MAX] = "max", NULL};
static const char *const weight_choices[] = {
    [WEIGHTS_GPTQ] = "gptq", [WEIGHTS_SYMMETRIC] = "rtn-sym", [WEIGHTS_ASYMMETRIC] = "rtn-asym", NULL};
static const char *const activation_choices[] = {[BY_CHANNEL] = "channel", [BY_TOKEN] = "token", NULL};

static const az_option outliertune_table[] = {
    {"wbits", AZ_FIELD(AZ_INT, outliertune_options, wbits), "8", 2, 8, NULL, "of a weight"},
    {"abits", AZ_FIELD(AZ_INT, outliertune_options, abits), "8", 2, 8, NULL, "of an activation"},
    {"sym", AZ_FIELD(AZ_BOOL, outliertune_options, sym), "true", 0, 0, NULL, "shift each feature so that its middle is zero"},
    {"range", AZ_FIELD(AZ_CHOICE, outliertune_options, range), "mse", 0, 0, range_choices,
     "of a feature: the share of its largest magnitude that loses least, or all of it"},
    {"weights", AZ_FIELD(AZ_CHOICE, outliertune_options, weights), "gptq", 0, 0, weight_choices,
     "rounded so that later ones make up for errors, or to the nearest on a grid about zero or from end to end"},
    {"clip", AZ_FIELD(AZ_BOOL, outliertune_options, clip), "false", 0, 0, NULL, "search the range of each row of weights too"},
    {"activations", AZ_FIELD(AZ_CHOICE, outliertune_options, activations), "channel", 0, 0, activation_choices,
     "a fixed step for each feature, or one for each token (what the method is compared with)"},
    {"sym_samples", AZ_FIELD(AZ_INT, outliertune_options, sym_samples), "128", 1, 1e6, NULL, "sequences that tell the middles"},
    {"range_samples", AZ_FIELD(AZ_INT, outliertune_options, range_samples), "32", 1, 1e6, NULL, "sequences that tell the ranges"},
    {"skip_first", AZ_FIELD(AZ_BOOL, outliertune_options, skip_first), "false", 0, 0, NULL,
     "the first token of a sequence has no say in middles and ranges"},
    {"damp", AZ_FIELD(AZ_REAL, outliertune_options, damp), "0.01", 0, 1e6, NULL,
     "added to the diagonal of the Hessian, in units of its mean (for gptq)"},
    {"act_order", AZ_FIELD(AZ_BOOL, outliertune_options, act_order), "true", 0, 0, NULL,
     "round the weights of the largest inputs first (for gptq)"},
    {"quant_attn", AZ_FIELD(AZ_BOOL, outliertune_options, quant_attn), "false", 0, 0, NULL,
     "round queries, keys and values too, with a scale a token, before a bias is added"},
    {"skip", AZ_FIELD(AZ_TEXT, outliertune_options, skip), "", 0, 0, NULL, "layers whose names match this expression stay as they are"},
    {"error", AZ_FIELD(AZ_BOOL, outliertune_options, error), "false", 0, 0, NULL, "measure each layer's output error from rounded weights"},
    AZ_CALIBRATION_OPTIONS(outliertune_options, " (of the Hessian)"),
    {0},
};

/* What the layers need to know. */
typedef struct plan {
    const outliertune_options *options;
    const az_layer_filter *skip; /* NULL = none */
    az_lm *lm;
    az_lm_linear **linear;
    const az_channels *channels; /* [layers]; NULL = a step for each token */
    az_gptq_factor *factor;
} plan;

static az_row_grid grid_of(const outliertune_options *o)
{
    return (az_row_grid){.bits = (int)o->wbits, .symmetric = o->weights == WEIGHTS_SYMMETRIC, .search = o->clip};
}

/* The Hessian of what is added up, q: that of (x - z) / s, and n / 12 on the diagonal for the rounding errors, which have the variance 1/12
 * and hang together with nothing. */
static az_tensor *rounded_hessian(az_ctx *az, const az_lm_statistics *s, const az_channels *ch)
{
    az_tensor *h = az_copy(az, s->gram);
    if (!h || ch->cols == 0) return h;
    const int64_t n = ch->cols;
    const double tokens = (double)s->tokens;
    double *value = az_f64_mut(h);
    for (int64_t i = 0; i < n; i++) {
        const double zi = ch->shift[i], si = s->sum[i];
        for (int64_t j = 0; j < n; j++) {
            const double zj = ch->shift[j];
            value[i * n + j] += tokens * zi * zj - zi * s->sum[j] - si * zj;
            value[i * n + j] /= (double)ch->step[i] * ch->step[j];
        }
        value[i * n + i] += tokens / 12;
    }
    return h;
}

/* W with its columns multiplied by the steps. */
static az_tensor *folded(az_ctx *az, const az_tensor *w, const az_channels *ch)
{
    az_tensor *f = az_copy(az, w);
    for (int64_t r = 0; f && ch->cols > 0 && r < w->shape[0]; r++)
        for (int64_t c = 0; c < ch->cols; c++) az_f32_mut(f)[r * ch->cols + c] *= ch->step[c];
    return f;
}

static bool choose_codes(az_ctx *az, const plan *p, const az_tensor *w, const az_lm_linear *linear, const az_lm_statistics *statistics,
                         const az_channels *ch, az_int8_codes *out)
{
    const outliertune_options *o = p->options;
    const az_row_grid grid = grid_of(o);
    const az_tensor *f = folded(az, w, ch);
    if (!az_grid_rows(az, f, &grid, &out->codes, &out->scales, &out->zeros)) return false;
    if (o->weights != WEIGHTS_GPTQ) return true;
    az_gptq_factor *factor = p->factor;
    if (factor->gram != statistics->gram || factor->block != linear->block || !factor->u) {
        if (!az_gptq_prepare(az, factor, rounded_hessian(az, statistics, ch), o->damp, o->act_order)) return false;
        factor->gram = statistics->gram, factor->block = linear->block;
    }
    return az_gptq_codes(az, f, factor, &grid, out->codes, out->scales, out->zeros);
}

static az_tensor *steps_and_shifts(az_ctx *az, const az_channels *ch)
{
    az_tensor *x = az_new2(az, AZ_F32, 2, ch->cols);
    for (int64_t c = 0; x && c < ch->cols; c++) {
        az_f32_mut(x)[c] = ch->step[c];
        az_f32_mut(x)[ch->cols + c] = ch->shift[c];
    }
    return x;
}

/* Adds (W - W') z to the layer's bias, in the model's arena, so that the product of the middles stays what it was. Where the architecture
 * has no such bias the rounded matrix has to do. */
static bool correct_bias(az_ctx *az, const plan *p, az_lm_linear *linear, const az_tensor *w, const az_weight *after, const az_channels *ch)
{
    if (!p->options->sym || !p->channels || !az_lm_has_bias(p->lm, linear)) return true;
    const int64_t rows = linear->weight->rows, cols = linear->weight->cols;
    const az_tensor *rounded = az_weight_decode(az, after);
    az_arena_enter(az, p->lm->arena);
    az_tensor *bias = linear->bias ? az_copy(az, az_cast(az, linear->bias, AZ_F32)) : az_zeros(az, AZ_F32, 1, &rows);
    az_arena_leave(az);
    if (!rounded || !bias) return false;
    for (int64_t r = 0; ch->cols > 0 && r < rows; r++) {
        double missing = 0;
        for (int64_t c = 0; c < cols; c++)
            missing += ((double)az_f32(w)[r * cols + c] - (double)az_f32(rounded)[r * cols + c]) * ch->shift[c];
        az_f32_mut(bias)[r] += (float)missing;
    }
    linear->bias = bias;
    return true;
}

static bool is_attention_operand(const az_lm *lm, const az_lm_linear *linear)
{
    const az_lm_block *block = &lm->block[linear->block];
    return linear == &block->q || linear == &block->k || linear == &block->v;
}

static az_weight *round_layer(az_ctx *az, const az_lm_linear *linear, const az_lm_statistics *statistics, const void *user)
{
    const plan *p = user;
    const outliertune_options *o = p->options;
    if (p->skip && az_layer_matches(p->skip, linear->name)) return az_weight_share(az, linear->weight);
    if (az_weight_rank(linear->weight) > 0)
        return az_fail(az, AZ_BAD_INPUT,
                       "a matrix of low rank has factors: quantize:type=q8_0 rounds them to bytes, skip=... leaves it out");
    int i = 0;
    while (p->linear[i] != linear) i++;
    const az_channels none = {0}, *ch = p->channels ? &p->channels[i] : &none;
    const az_tensor *w = az_weight_decode(az, linear->weight);
    az_int8_codes codes = {.weight_bits = (int)o->wbits,
                           .activation_bits = (int)o->abits,
                           .output_bits = o->quant_attn && is_attention_operand(p->lm, linear) ? (int)o->abits : 0};
    if (!choose_codes(az, p, w, linear, statistics, ch, &codes)) return NULL;
    if (ch->cols > 0) codes.channels = steps_and_shifts(az, ch);
    az_weight *after = az_weight_int8_static(az, &codes);
    return after && correct_bias(az, p, p->linear[i], w, after, ch) ? after : NULL;
}

/* ---- report ---- */

static void report_channels(az_ctx *az, az_report *report, const char *layer, const az_channels *ch)
{
    float least = INFINITY, most = 0, shift = 0;
    for (int64_t c = 0; c < ch->cols; c++) {
        least = fminf(least, ch->step[c]);
        most = fmaxf(most, ch->step[c]);
        shift = fmaxf(shift, fabsf(ch->shift[c]));
    }
    if (ch->clipped > CLIP_NOTE)
        az_note(az, "%s: %.2g %% of the activations lie outside their ranges; range=max or more range_samples widens them", layer,
                100 * ch->clipped);
    if (!report) return;
    az_report_row(report, "activations");
    az_report_text(report, "layer", layer);
    az_report_number(report, "least_step", least, "");
    az_report_number(report, "largest_step", most, "");
    az_report_number(report, "largest_shift", shift, "");
    az_report_number(report, "clipped", ch->clipped, "");
}

static bool report_activations(az_ctx *az, const plan *p, const az_lm_sequences *sequences, const az_channel_how *how, az_channels *ch,
                               az_report *report)
{
    const int64_t used = how->range_sequences < sequences->count ? how->range_sequences : 0, left = sequences->count - used;
    const az_lm_sequences others = {.count = left < CLIP_SEQUENCES ? left : CLIP_SEQUENCES,
                                    .length = sequences->length,
                                    .token = sequences->token + used * sequences->length};
    az_lm_linear **linear;
    const int n = az_lm_linears(az, p->lm, &linear);
    if (!az_channels_clipped(az, p->lm, &others, how, ch)) return false;
    for (int i = 0; i < n; i++)
        if (ch[i].cols > 0 && (i == 0 || ch[i].step != ch[i - 1].step)) report_channels(az, report, linear[i]->name, &ch[i]);
    return az_ok(az);
}

/* ---- the method ---- */

static bool outliertune_check(az_ctx *az, const void *options, az_lm *lm)
{
    const outliertune_options *o = options;
    if (lm && az_weight_is_dense(lm->embedding) && lm->embedding->part[0]->dtype == AZ_F64)
        return az_fail(az, AZ_BAD_INPUT, "activations of an f64 model are not rounded to bytes; convert the model to f32 first");
    az_scope_push(az);
    const bool good = !*o->skip || az_layer_filter_new(az, o->skip);
    az_scope_pop(az);
    return good;
}

static bool round_model(az_ctx *az, const outliertune_options *o, az_compress_job *job, az_gptq_factor *factor)
{
    plan p = {.options = o, .lm = job->lm, .factor = factor};
    const az_channel_how how = {.bits = (int)o->abits,
                                .shift = o->sym,
                                .search = o->range == RANGE_MSE,
                                .skip_first = o->skip_first,
                                .shift_sequences = o->sym_samples,
                                .range_sequences = o->range_samples};
    az_calibration wanted = o->calibration;
    wanted.samples = o->sym && o->sym_samples > o->range_samples ? o->sym_samples : o->range_samples + CLIP_SEQUENCES;
    az_channels *channels = NULL;
    az_lm_linears(az, job->lm, &p.linear);
    if (*o->skip && !(p.skip = az_layer_filter_new(az, o->skip))) return false;
    const az_lm_sequences *sequences = o->activations == BY_CHANNEL ? az_calibration_sequences(az, job, &wanted) : NULL;
    if (o->activations == BY_CHANNEL && !az_channels_find(az, job->lm, sequences, &how, &channels)) return false;
    p.channels = channels;
    const bool calibrated = o->weights == WEIGHTS_GPTQ || o->error;
    return az_compress_layers(az, job,
                              &(az_layer_walk){.task = "rounding weights and activations",
                                               .step = round_layer,
                                               .options = &p,
                                               .calibrated = calibrated,
                                               .gram = o->weights == WEIGHTS_GPTQ,
                                               .error = o->error,
                                               .calibration = o->calibration}) &&
           (!channels || report_activations(az, &p, sequences, &how, channels, job->report));
}

static bool outliertune_compress(az_ctx *az, const void *options, az_compress_job *job)
{
    if (!job->lm || !outliertune_check(az, options, job->lm)) return false;
    az_gptq_factor factor = {0};
    az_scope_push(az);
    const bool done = round_model(az, options, job, &factor);
    az_scope_pop(az);
    az_arena_free(az, factor.arena);
    return done;
}

const az_method az_outliertune = {
    .name = "outliertune",
    .family = AZ_COMPRESS,
    .summary = "weights and activations of 2 to 8 bits, each feature with a fixed step and shift of its own",
    .paper = "OutlierTune: efficient channel-wise quantization for large language models, arXiv 2406.18832",
    .details = "Rounds what the layers behind a norm read feature by feature: (x - z) / s to a whole number, with the middle z and the "
               "step s of each feature from calibration text. The steps are multiplied into the weights before these are rounded, and W z "
               "is added as a bias, so that a product adds up whole numbers and has one scale for each output. Features that are much "
               "larger than others, or lie far from zero, then cost nothing: they neither coarsen the others nor need another precision. "
               "The other layers' inputs are rounded with a scale for each token. Weights are rounded by GPTQ unless weights= says "
               "otherwise. The report tells each input's steps and shifts, and the share of values of other text that lie outside their "
               "ranges. 6 bits: wbits=6,abits=6. activations=token is what the paper compares with.",
    .example = "adze compress tales outliertune:wbits=6,abits=6 -d calibration.txt -o small.gguf",
    .options = outliertune_table,
    .options_size = sizeof(outliertune_options),
    .needs_data = true,
    .check = outliertune_check,
    .compress = outliertune_compress,
};
