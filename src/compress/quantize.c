/* quantize.c - rounding to a storage format: each weight to the nearest value that the format has.
 *
 * Problem: store the matrices of a model in fewer bits. Formats of blocks (q8_0, q4_0 ...) share a scale among 32 consecutive
 *     inputs of a row; the k formats (q4_k, q6_k ...) quantize scales and minima of such groups as well, in blocks of 256; f16
 *     and bf16 round each weight for itself.
 * Rule: the format's own encoder. With importance, the scale of a block minimises sum_j h_j (w_j - w'_j)^2, where h_j is
 *     the mean of x_j^2 over the calibration tokens, instead of the plain squared error.
 * Matrices whose rows are not whole blocks become f16.
 *
 * The formats are those of GGUF files. Importance: the diagonal of the Hessian, as in LeCun, Denker, Solla: "Optimal brain
 * damage", NeurIPS 1989. */
#include "compress/compress_internal.h"

#include <math.h>
#include <string.h>

typedef struct quantize_options {
    const char *type;
    bool embedding, head, importance, error;
    int zeros; /* az_zero_rule */
    az_calibration calibration;
} quantize_options;

static const az_option quantize_table[] = {
    {"type", AZ_FIELD(AZ_TEXT, quantize_options, type), "q8_0", 0, 0, NULL,
     "format: q8_0, q6_k, q5_k, q4_k, q3_k, q2_k, iq4_nl, q5_1, q5_0, q4_1, q4_0, nf4, f16, bf16 or f32"},
    {"embedding", AZ_FIELD(AZ_BOOL, quantize_options, embedding), "false", 0, 0, NULL, "the embedding too (and a head that is tied to it)"},
    {"head", AZ_FIELD(AZ_BOOL, quantize_options, head), "false", 0, 0, NULL, "the head too, where it is not the embedding"},
    {"importance", AZ_FIELD(AZ_BOOL, quantize_options, importance), "false", 0, 0, NULL,
     "weigh rounding errors by the squares of the inputs; needs calibration text"},
    {"zeros", AZ_FIELD(AZ_CHOICE, quantize_options, zeros), "keep", 0, 0, az_zero_choices,
     "of pruned matrices: keep refuses formats that have no exact zero, lose takes them"},
    {"error", AZ_FIELD(AZ_BOOL, quantize_options, error), "false", 0, 0, NULL, "measure each layer's output error on the calibration text"},
    AZ_CALIBRATION_OPTIONS(quantize_options, " (for importance and error)"),
    {0},
};

/* Double precision is for checks of gradients: activations beside it would have to have it too. */
static bool is_choice(const az_format *format)
{
    return az_format_encodes(format) && strcmp(format->name, "f64") != 0;
}

/* The format by name; fails with the names there are. */
static const az_format *chosen_format(az_ctx *az, const char *name)
{
    const az_format *format = az_format_by_name(name);
    if (format && is_choice(format)) return format;
    const char *names = "";
    for (const az_format *const *f = az_formats(); *f; f++)
        if (is_choice(*f)) names = az_format_text(az, "%s %s", names, (*f)->name);
    return az_fail(az, AZ_BAD_INPUT, "no format '%s' to quantize to; there are:%s", name, names);
}

/* The weight in the format, or in f16 when its rows are not whole blocks. */
static az_weight *encode(az_ctx *az, const az_weight *w, const char *type, const float *importance)
{
    const az_format *format = chosen_format(az, type);
    if (!format) return NULL;
    if (w->cols % format->block != 0) {
        format = az_format_by_name("f16");
        importance = NULL;
    }
    return az_weight_recode(az, w, format, importance);
}

static az_weight *quantize_layer(az_ctx *az, const az_lm_linear *linear, const az_lm_statistics *statistics, const void *user)
{
    const quantize_options *o = user;
    const int64_t cols = linear->weight->cols;
    float *importance = o->importance ? az_alloc_array(az, (size_t)cols, sizeof *importance) : NULL;
    for (int64_t j = 0; importance && j < cols; j++) importance[j] = (float)(statistics->square[j] / (double)statistics->tokens);
    return encode(az, linear->weight, o->type, importance);
}

/* A weight outside the blocks, with its row in the report. */
static bool quantize_outside(az_ctx *az, az_compress_job *job, const char *name, az_weight **weight, const char *type)
{
    const double start = az_seconds();
    az_arena_enter(az, job->lm->arena);
    az_weight *encoded = encode(az, *weight, type, NULL);
    az_arena_leave(az);
    if (!encoded) return false;
    *weight = encoded;
    az_compress_row(az, job->report, name, encoded, NAN, az_seconds() - start);
    return az_ok(az);
}

static bool quantize_check(az_ctx *az, const void *options, az_lm *lm)
{
    (void)lm;
    return chosen_format(az, ((const quantize_options *)options)->type) != NULL;
}

/* One remark on the matrices that the format does not fit. */
static void note_odd(az_ctx *az, az_lm *lm, const quantize_options *o)
{
    const az_format *format = chosen_format(az, o->type);
    const bool tied = lm->head.weight == lm->embedding;
    az_lm_linear **linear;
    const char *first = NULL;
    int odd = 0;
    const int n = az_lm_linears(az, lm, &linear);
    for (int i = 0; format && i < n; i++) {
        if (linear[i]->weight->cols % format->block == 0) continue;
        if (odd++ == 0) first = linear[i]->name;
    }
    if (format && o->embedding && lm->embedding->cols % format->block != 0 && odd++ == 0) first = "embedding";
    if (format && o->head && !tied && lm->head.weight->cols % format->block != 0 && odd++ == 0) first = "head";
    if (odd > 0)
        az_note(az, "%d matri%s (%s%s) ha%s rows that are no multiple of %lld: f16 instead of %s", odd, odd == 1 ? "x" : "ces", first,
                odd == 1 ? "" : ", ...", odd == 1 ? "s" : "ve", (long long)format->block, format->name);
}

static bool quantize_compress(az_ctx *az, const void *options, az_compress_job *job)
{
    const quantize_options *o = options;
    az_lm *lm = job->lm;
    if (!quantize_check(az, o, lm)) return false;
    const bool tied = lm->head.weight == lm->embedding;
    note_odd(az, lm, o);
    if (o->embedding && !quantize_outside(az, job, "embedding", &lm->embedding, o->type)) return false;
    if (tied) lm->head.weight = lm->embedding;
    if (o->head && !tied && !quantize_outside(az, job, "head", &lm->head.weight, o->type)) return false;
    return az_compress_layers(az, job,
                              &(az_layer_walk){.task = "quantizing",
                                               .step = quantize_layer,
                                               .options = o,
                                               .calibrated = o->importance || o->error,
                                               .error = o->error,
                                               .zeros = (az_zero_rule)o->zeros,
                                               .calibration = o->calibration});
}

const az_method az_quantize = {
    .name = "quantize",
    .family = AZ_COMPRESS,
    .summary = "round the weights to a smaller storage format",
    .paper = "the block formats of GGUF files; importance after LeCun et al.: Optimal brain damage, NeurIPS 1989",
    .details =
        "Stores each matrix inside the blocks in the given format: q8_0 (8 bits and a scale per 32 weights; next to no loss), q6_k, q5_k, "
        "q4_k, q3_k, q2_k (6 to 2 bits in blocks of 256, whose scales are quantized too), iq4_nl (4 bits in uneven steps), q5_1, q5_0, "
        "q4_1, q4_0, nf4 (4-bit NormalFloat), f16 or bf16. The embedding and the head stay as they are unless asked for. Formats of blocks "
        "need rows that are multiples of 32, the k formats of 256; other matrices become f16, which the report shows. With importance and "
        "calibration text, the scales favour the inputs that carry most. Matrices that were pruned keep their zeros; q2_k, q4_k, q5_k, "
        "iq4_nl, q4_1 and q5_1 have no exact zero and want zeros=lose. A matrix of low rank stays one: its factors are rounded.",
    .example = "adze compress tales quantize:type=q4_k,importance -d calibration.txt -o small.gguf",
    .options = quantize_table,
    .options_size = sizeof(quantize_options),
    .check = quantize_check,
    .compress = quantize_compress,
};
