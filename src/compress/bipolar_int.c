/* bipolar_int.c - weights and activations of any widths from 1 to 8 bits, as planes of bits that count +1 or -1.
 *
 * Problem: products of integers narrower than a byte, of any pair of widths, without unpacking them to bytes.
 * Symbols: a code u of n bits b_j stands for v = sum over j of (2 b_j - 1) 2^j = 2 u - (2^n - 1): odd numbers, symmetric about zero, every
 *     plane alike. w = scale v + offset.
 * Rule: sum over k of v_w v_x = K (2^n - 1) (2^m - 1) - 2 sum over planes i, j of 2^(i + j) popcount(W_j xor X_i).
 * Signed codes x are u = x + 2^(n - 1), v = 2 x + 1; with their scales and zero points they are taken over without loss (wbits=0).
 *
 * "Efficient arbitrary precision acceleration for large language models on GPU tensor cores" (arXiv 2409.17870). */
#include "compress/compress_internal.h"

typedef struct bipolar_options {
    int64_t wbits, abits, group;
    bool search, offset, activation_offset, error;
    int kernel, zeros;
    const char *skip;
    az_calibration calibration;
} bipolar_options;

static const char *const kernel_choices[] = {
    [AZ_BIPOLAR_AUTO] = "auto", [AZ_BIPOLAR_POPCOUNT] = "popcount", [AZ_BIPOLAR_LOOKUP] = "lookup", [AZ_BIPOLAR_INT8] = "int8", NULL};

static const az_option bipolar_table[] = {
    {"wbits", AZ_FIELD(AZ_INT, bipolar_options, wbits), "2", 0, 8, NULL, "of a weight; 0 = the codes that the weights have, unchanged"},
    {"abits", AZ_FIELD(AZ_INT, bipolar_options, abits), "8", 1, 8, NULL, "of an activation"},
    {"group", AZ_FIELD(AZ_INT, bipolar_options, group), "0", 0, 1 << 20, NULL,
     "inputs that share a scale: a multiple of 8 up to 256, or of 256; 0 = all of a row"},
    {"search", AZ_FIELD(AZ_BOOL, bipolar_options, search), "false", 0, 0, NULL,
     "the range of weights is the share of the largest with the least squared error, instead of all of it"},
    {"offset", AZ_FIELD(AZ_BOOL, bipolar_options, offset), "false", 0, 0, NULL,
     "weights from the least to the largest with an offset; zero is one of the values"},
    {"activation_offset", AZ_FIELD(AZ_BOOL, bipolar_options, activation_offset), "false", 0, 0, NULL,
     "the same for each token's activations"},
    {"kernel", AZ_FIELD(AZ_CHOICE, bipolar_options, kernel), "auto", 0, 0, kernel_choices,
     "how products are computed: count bits, look up sums of four, multiply bytes; all give the same numbers"},
    {"zeros", AZ_FIELD(AZ_CHOICE, bipolar_options, zeros), "keep", 0, 0, az_zero_choices,
     "of pruned matrices: keep refuses codes without an exact zero (offset has one), lose takes them"},
    {"skip", AZ_FIELD(AZ_TEXT, bipolar_options, skip), "", 0, 0, NULL, "layers whose names match this expression stay as they are"},
    {"error", AZ_FIELD(AZ_BOOL, bipolar_options, error), "false", 0, 0, NULL, "measure each layer's output error on the calibration text"},
    AZ_CALIBRATION_OPTIONS(bipolar_options, " (for error)"),
    {0},
};

typedef struct plan {
    const bipolar_options *options;
    const az_layer_filter *skip; /* NULL = none */
} plan;

static az_weight *code_layer(az_ctx *az, const az_lm_linear *linear, const az_lm_statistics *statistics, const void *user)
{
    (void)statistics;
    const plan *p = user;
    const bipolar_options *o = p->options;
    if (p->skip && az_layer_matches(p->skip, linear->name)) return az_weight_share(az, linear->weight);
    if (az_weight_rank(linear->weight) > 0)
        return az_fail(az, AZ_BAD_INPUT, "a matrix of low rank has factors: quantize:type=q4_0 rounds them, skip=... leaves it out");
    const az_bipolar_settings settings = {.weight_bits = (int)o->wbits,
                                          .activation_bits = (int)o->abits,
                                          .group = o->group,
                                          .search = o->search,
                                          .offset = o->offset,
                                          .activation_offset = o->activation_offset,
                                          .kernel = (az_bipolar_kernel)o->kernel};
    return o->wbits == 0 ? az_weight_bipolar_recode(az, linear->weight, &settings) : az_weight_bipolar(az, linear->weight, &settings);
}

static bool bipolar_check(az_ctx *az, const void *options, az_lm *lm)
{
    const bipolar_options *o = options;
    if (o->wbits == 0 && (o->group != 0 || o->search || o->offset))
        return az_fail(az, AZ_BAD_INPUT, "wbits=0 takes codes over as they are: group, search and offset do not go with it");
    if (lm && az_weight_is_dense(lm->embedding) && lm->embedding->part[0]->dtype == AZ_F64)
        return az_fail(az, AZ_BAD_INPUT, "activations of an f64 model are not rounded; convert the model to f32 first");
    az_scope_push(az);
    const bool good = !*o->skip || az_layer_filter_new(az, o->skip);
    az_scope_pop(az);
    return good;
}

static bool bipolar_compress(az_ctx *az, const void *options, az_compress_job *job)
{
    const bipolar_options *o = options;
    if (!job->lm || !bipolar_check(az, o, job->lm)) return false;
    plan p = {.options = o};
    az_scope_push(az);
    const bool done =
        (!*o->skip || (p.skip = az_layer_filter_new(az, o->skip))) && az_compress_layers(az, job,
                                                                                         &(az_layer_walk){.task = "making planes of bits",
                                                                                                          .step = code_layer,
                                                                                                          .options = &p,
                                                                                                          .calibrated = o->error,
                                                                                                          .error = o->error,
                                                                                                          .zeros = (az_zero_rule)o->zeros,
                                                                                                          .calibration = o->calibration});
    az_scope_pop(az);
    return done;
}

const az_method az_bipolar_int = {
    .name = "bipolar-int",
    .family = AZ_COMPRESS,
    .summary = "weights and activations of 1 to 8 bits each, multiplied bit by bit",
    .paper = "Efficient arbitrary precision acceleration for large language models on GPU tensor cores, arXiv 2409.17870",
    .details =
        "Stores each matrix inside the blocks as planes of bits, a bit counting +1 or -1 times its power of two: odd numbers from -(2^n - "
        "1) to 2^n - 1 with a scale for each output, or for each group of inputs. Activations are rounded to abits bits in the same way, "
        "token by token; a product then counts the bits that differ, or looks up sums of four. Two bits of weights and activations take a "
        "quarter of the bytes of int8. Without data, weights of three or fewer bits lose much: wbits=0 takes over the codes of a model "
        "that another method quantized (quantize:type=q4_0, pv-tuning with grids, outliertune:activations=token), zero points included, "
        "without loss. The numbers have no zero unless offset gives them one, so pruned matrices want offset or zeros=lose.",
    .example = "adze compress tales quantize:type=q4_0 bipolar-int:wbits=0 -d calibration.txt -o small.gguf",
    .options = bipolar_table,
    .options_size = sizeof(bipolar_options),
    .check = bipolar_check,
    .compress = bipolar_compress,
};
