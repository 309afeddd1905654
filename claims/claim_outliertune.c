/* claim_outliertune.c - what OutlierTune (arXiv 2406.18832) promises: six bits of weights and activations lose next to nothing, with
 * outlier features or without, because each feature has a step and a shift of its own; and that costs nothing when the model runs. In a
 * layer whose inputs lie far from zero; in language models as they are and with planted outliers, beside a step for each token, features
 * without shifts and SmoothQuant; and in time, beside bf16. */
#include "claims/claims.h"
#include "claims/comparisons.h"
#include "compress/fold.h"
#include "compress/plant.h"
#include "claims/timing.h"
#include "compress/gptq.h"

#include <math.h>

enum { MODEL_SEEDS = 3 };

/* ---- a layer ---- */

enum { TOKENS = 256, INPUTS = 512, OUTPUTS = 256, OUTLIERS = 6, LAYER_SEEDS = 5, BITS = 6 };
enum { BY_TOKEN, UNSHIFTED, SHIFTED, WAYS };

static double relative_error(az_ctx *az, const az_tensor *y, const az_tensor *exact)
{
    const az_tensor *lost = az_square(az, az_sub(az, y, exact)), *all = az_square(az, exact);
    return lost ? sqrt(az_to_double(az_sum(az, lost, AZ_ALL_AXES, false)) / az_to_double(az_sum(az, all, AZ_ALL_AXES, false))) : NAN;
}

/* Steps and shifts by the largest magnitudes of x's columns. */
static az_tensor *channels_of(az_ctx *az, const az_tensor *x, bool shifted)
{
    az_tensor *channels = az_new2(az, AZ_F32, 2, INPUTS);
    for (int c = 0; channels && c < INPUTS; c++) {
        float low = INFINITY, high = -INFINITY;
        for (int t = 0; t < TOKENS; t++) {
            low = fminf(low, az_f32(x)[t * INPUTS + c]);
            high = fmaxf(high, az_f32(x)[t * INPUTS + c]);
        }
        const float shift = shifted ? 0.5f * (low + high) : 0;
        az_f32_mut(channels)[c] = fmaxf(high - shift, shift - low) / ((1 << (BITS - 1)) - 1);
        az_f32_mut(channels)[INPUTS + c] = shift;
    }
    return channels;
}

/* The error of a layer in six bits. The product of the shifts is exact, as the bias of the method makes it. */
static double layer_error(az_ctx *az, const az_tensor *w, const az_tensor *x, int way)
{
    const az_tensor *exact = az_matmul_nt(az, x, w), *channels = way == BY_TOKEN ? NULL : channels_of(az, x, way == SHIFTED);
    az_tensor *folded = az_copy(az, w);
    for (int64_t i = 0; channels && folded && i < az_count(folded); i++) az_f32_mut(folded)[i] *= az_f32(channels)[i % INPUTS];
    az_int8_codes codes = {.channels = (az_tensor *)(uintptr_t)channels, .weight_bits = BITS, .activation_bits = BITS};
    if (!az_grid_rows(az, folded, &(az_row_grid){.bits = BITS, .symmetric = true}, &codes.codes, &codes.scales, &codes.zeros)) return NAN;
    const az_weight *rounded = az_weight_int8_static(az, &codes);
    const az_tensor *y = az_weight_apply(az, rounded, x);
    if (way == SHIFTED && y) {
        const az_tensor *missing = az_sub(az, w, az_weight_decode(az, rounded));
        y = az_add(az, y, az_reshape(az, az_matmul_nt(az, az_slice(az, channels, 0, 1, 1), missing), 1, (const int64_t[]){OUTPUTS}));
    }
    return relative_error(az, y, exact);
}

/* Normal inputs of which six are shifted by 20 to 60, or (which shifts cannot help) as many times larger. */
static bool layer_row(az_ctx *az, az_report *report, uint64_t seed, bool shifted)
{
    double error[WAYS];
    az_scope_push(az);
    az_rng rng = az_rng_at(seed, az_stream("claim outliertune", shifted));
    const az_tensor *w = az_randn(az, AZ_F32, 2, (const int64_t[]){OUTPUTS, INPUTS}, 1 / sqrt(INPUTS), seed, 1);
    az_tensor *x = az_randn(az, AZ_F32, 2, (const int64_t[]){TOKENS, INPUTS}, 1, seed, 2);
    for (int i = 0; x && i < OUTLIERS; i++) {
        const float amount = (float)(20 + 40 * az_uniform(&rng)) * (az_uniform(&rng) < 0.5 ? -1 : 1);
        for (int64_t t = 0; t < TOKENS; t++) {
            float *at = &az_f32_mut(x)[t * INPUTS + i * 80 + 3];
            *at = shifted ? *at + amount : *at * amount;
        }
    }
    for (int way = 0; way < WAYS; way++) error[way] = layer_error(az, w, x, way);
    az_scope_pop(az);
    az_report_row(report, "layers");
    az_report_text(report, "outliers", shifted ? "shifted" : "scaled");
    az_report_count(report, "seed", (int64_t)seed);
    az_report_number(report, "error_by_token", error[BY_TOKEN], "");
    az_report_number(report, "error_unshifted", error[UNSHIFTED], "");
    az_report_number(report, "error_shifted", error[SHIFTED], "");
    return error[SHIFTED] <= 0.25 * error[UNSHIFTED];
}

/* ---- language models ---- */

#define TEXT "nsamples=64,seqlen=256,sym_samples=64,range_samples=32"
enum { FLOAT, TOKEN6, NO_SHIFT6, TUNE6, SMOOTH6, TOKEN8, TUNE8, DEFAULT6, KINDS };
static const struct {
    const char *label, *options; /* NULL = planted only */
    bool smooth;
} kinds[KINDS] = {
    [FLOAT] = {"float", NULL, false},
    [TOKEN6] = {"6 bits by token", "wbits=6,abits=6,activations=token,weights=rtn-sym", false},
    [NO_SHIFT6] = {"6 bits by feature, no shift", "wbits=6,abits=6,sym=no,weights=rtn-sym,range=max," TEXT, false},
    [TUNE6] = {"6 bits outliertune", "wbits=6,abits=6,weights=rtn-sym,range=max," TEXT, false},
    [SMOOTH6] = {"6 bits smoothquant", "wbits=6,abits=6,activations=token,weights=rtn-sym", true},
    [TOKEN8] = {"8 bits by token", "activations=token,weights=rtn-sym", false},
    [TUNE8] = {"8 bits outliertune", "weights=rtn-sym,range=max," TEXT, false},
    [DEFAULT6] = {"6 bits outliertune, gptq and mse", "wbits=6,abits=6," TEXT, false},
};

typedef struct change {
    az_planting_kind planting;
    int kind;
} change;

static bool smooth(az_ctx *az, az_compress_job *job)
{
    const az_method *method = az_method_by_name("smoothquant");
    void *settings = az_alloc(az, method->options_size);
    return settings && az_options_parse(az, method->options, method->name, "seqlen=256", settings) && method->compress(az, settings, job);
}

static bool plant_and_round(az_ctx *az, az_lm *lm, const claim_subject *on, int seed, void *user)
{
    const change *c = user;
    const az_method *method = az_method_by_name("outliertune");
    if (!az_plant_outliers(az, lm, &(az_planting){.kind = c->planting, .seed = (uint64_t)seed}, NULL, NULL)) return false;
    void *settings = az_alloc(az, method->options_size);
    az_compress_job job = {.lm = lm, .calibration = on->calibration};
    if (kinds[c->kind].smooth && !smooth(az, &job)) return false;
    const char *options = kinds[c->kind].options;
    return !options ||
           (settings && az_options_parse(az, method->options, method->name, options, settings) && method->compress(az, settings, &job));
}

/* All models of one subject. True when six bits lose less than 0.008 nats; when, with planted outliers, a step for each token loses 20
 * times more, and with shifted ones features without shifts lose 10 times more. */
static bool model_rows(az_ctx *az, az_report *report, const claim_subject *on, az_planting_kind planting)
{
    const claim_runs *run[KINDS];
    double lost[KINDS] = {0};
    for (int k = 0; k < KINDS; k++) {
        change c = {.planting = planting, .kind = k};
        const char *label = az_format_text(az, "%s, planted: %s", kinds[k].label, az_planting_name(planting));
        run[k] = claim_run_change(az, on, label, planting == AZ_PLANT_NOTHING ? 1 : MODEL_SEEDS, plant_and_round, &c);
        if (!run[k]) return false;
        if (k > FLOAT) lost[k] = claim_compare(az, report, on, run[k], run[FLOAT]).documents.value;
    }
    const double tuned = fmax(lost[TUNE6], 0);
    if (tuned > 0.008) return false;
    if (planting == AZ_PLANT_NOTHING) return true;
    const claim_difference better = claim_compare(az, report, on, run[TUNE6], run[TOKEN6]);
    if (planting == AZ_PLANT_SHIFT && lost[NO_SHIFT6] < 10 * tuned) return false;
    return lost[TOKEN6] >= 20 * tuned && claim_is_better(&better);
}

/* ---- time ---- */

/* Steps of 0.03 everywhere: what a product costs does not depend on them. */
static az_weight *rounded(az_ctx *az, const az_weight *w)
{
    const int64_t cols = w->cols;
    az_int8_codes codes = {.channels = az_zeros(az, AZ_F32, 2, (const int64_t[]){2, cols}), .weight_bits = 8, .activation_bits = 8};
    for (int64_t c = 0; codes.channels && c < cols; c++) az_f32_mut(codes.channels)[c] = 0.03f;
    const az_tensor *dense = az_weight_decode(az, w);
    if (!az_grid_rows(az, dense, &(az_row_grid){.bits = 8, .symmetric = true}, &codes.codes, &codes.scales, &codes.zeros)) return NULL;
    return az_weight_int8_static(az, &codes);
}

/* A product with one vector, whose share of rounding is what the method adds to a product of bytes. */
static bool rounding_time(az_ctx *az, az_report *report)
{
    enum { SIDE = 4096 };
    az_scope_push(az);
    const az_tensor *x = az_randn(az, AZ_F32, 2, (const int64_t[]){1, SIDE}, 1, 2, 1);
    az_weight *tall = az_weight_dense(az, az_randn(az, AZ_F32, 2, (const int64_t[]){SIDE, SIDE}, 0.02, 1, 1));
    az_weight *flat = az_weight_dense(az, az_randn(az, AZ_F32, 2, (const int64_t[]){1, SIDE}, 0.02, 1, 1));
    claim_contender c[3];
    const bool timed = claim_contend(az, &c[0], "bf16", az_weight_encode(az, tall, az_format_by_name("bf16"), NULL)) &&
                       claim_contend(az, &c[1], "int8_static", rounded(az, tall)) &&
                       claim_contend(az, &c[2], "one row", rounded(az, flat)) && claim_time_products(az, c, 3, x);
    for (int i = 0; timed && i < 3; i++) {
        az_report_row(report, "products");
        az_report_text(report, "weights", c[i].name);
        az_report_number(report, "bytes", c[i].bytes, "B");
        az_report_number(report, "time", c[i].seconds * 1e3, "ms");
        az_report_number(report, "bf16_beside_it", c[0].seconds / c[i].seconds, "");
    }
    az_scope_pop(az);
    return timed;
}

static bool decoding(az_ctx *az, az_report *report, claim_ratios *v)
{
    static const char *const names[] = {"bf16", "int8_static"};
    az_lm *dense = claim_large_lm(az), *small = NULL;
    if (!dense || !claim_change_model(az, dense, "quantize:type=bf16")) return false;
    small = az_lm_copy(az, dense);
    az_lm_linear **linear;
    const int n = small ? az_lm_linears(az, small, &linear) : 0;
    double bytes[2] = {0}, rates[2];
    for (int i = 0; i < n; i++) {
        bytes[0] += (double)az_weight_bytes(linear[i]->weight);
        az_arena_enter(az, small->arena);
        linear[i]->weight = rounded(az, linear[i]->weight);
        az_arena_leave(az);
        if (!linear[i]->weight) return false;
        bytes[1] += (double)az_weight_bytes(linear[i]->weight);
    }
    claim_decode(az, report, (const az_lm *const[]){dense, small}, names, rates);
    claim_ratio(report, v, "decoding: int8_static beside bf16", rates[1] / rates[0], 1.3);
    claim_ratio(report, v, "bytes of bf16 beside int8_static", bytes[0] / bytes[1], 1 / 0.51);
    az_lm_free(az, small);
    az_lm_free(az, dense);
    return az_ok(az);
}

static bool run(az_ctx *az, az_report *report)
{
    claim_subject subjects[CLAIM_MOST_SUBJECTS];
    claim_ratios v = {0};
    const int n = claim_subjects(az, subjects);
    int layers = 0, models = 0;
    for (uint64_t seed = 0; seed < LAYER_SEEDS; seed++) layers += layer_row(az, report, seed, true);
    layer_row(az, report, 0, false); /* shown, not judged: shifts do not help here */
    if (!rounding_time(az, report) || !decoding(az, report, &v)) return false;
    for (int i = 0; i < n * AZ_PLANTINGS && az_ok(az); i++)
        models += model_rows(az, report, &subjects[i / AZ_PLANTINGS], (az_planting_kind)(i % AZ_PLANTINGS));
    if (!az_ok(az)) return false;
    const bool fast = claim_ratios_held(report, &v);
    az_report_count(report, "layers", LAYER_SEEDS);
    az_report_count(report, "layers_good", layers);
    az_report_count(report, "models", (int64_t)n * AZ_PLANTINGS);
    az_report_count(report, "models_good", models);
    return fast && layers == LAYER_SEEDS && models == n * AZ_PLANTINGS;
}

const az_claim az_claim_outliertune = {
    .name = "outliertune",
    .statement =
        "in six bits with a step and a shift for each feature models lose at most 0.008 nats, with and without planted outliers, where "
        "a step for each token loses 20 times more and features without shifts, where they lie off zero, 10 times more; in eight "
        "bits a large model decodes 1.3 times as fast as in bf16",
    .run = run,
};
