/* claim_llm_int8.c - what LLM.int8() (Dettmers et al. 2022) promises: products of bytes lose nothing once outlier features stay out of
 * them, where plain products of bytes lose much. In a layer whose inputs have outliers; and in language models as they are and with
 * planted outliers, which do not change what they compute. */
#include "claims/claims.h"
#include "claims/comparisons.h"
#include "compress/plant.h"

#include <math.h>

enum { TOKENS = 256, INPUTS = 512, OUTPUTS = 256, OUTLIERS = 6, LAYER_SEEDS = 5, MODEL_SEEDS = 3 };

/* ---- a layer ---- */

static double relative_error(az_ctx *az, const az_tensor *y, const az_tensor *exact)
{
    const az_tensor *lost = az_square(az, az_sub(az, y, exact)), *all = az_square(az, exact);
    return lost ? sqrt(az_to_double(az_sum(az, lost, AZ_ALL_AXES, false)) / az_to_double(az_sum(az, all, AZ_ALL_AXES, false))) : NAN;
}

/* Normal inputs, of which 6 are 20 to 60 times larger. True when the decomposition errs 10 times less than plain bytes with the scales of
 * the paper, and 4 times less with those of its program. */
static bool layer_row(az_ctx *az, az_report *report, uint64_t seed)
{
    const az_int8_settings settings[] = {
        {.threshold = 0}, {.threshold = 6}, {.threshold = 6, .paper = true, .live = true}}; /* plain, bnb, paper */
    double error[3] = {NAN, NAN, NAN};
    az_scope_push(az);
    az_rng rng = az_rng_at(seed, az_stream("claim llm-int8", 0));
    az_weight *w = az_weight_dense(az, az_randn(az, AZ_F32, 2, (const int64_t[]){OUTPUTS, INPUTS}, 1 / sqrt(INPUTS), seed, 1));
    az_tensor *x = az_randn(az, AZ_F32, 2, (const int64_t[]){TOKENS, INPUTS}, 1, seed, 2);
    for (int i = 0; x && i < OUTLIERS; i++) {
        const double factor = 20 + 40 * az_uniform(&rng);
        for (int64_t t = 0; t < TOKENS; t++) az_f32_mut(x)[t * INPUTS + i * 80 + 3] *= (float)factor;
    }
    const az_tensor *exact = az_weight_apply(az, w, x);
    for (int i = 0; i < 3; i++) error[i] = relative_error(az, az_weight_apply(az, az_weight_int8(az, w, &settings[i]), x), exact);
    az_scope_pop(az);
    az_report_row(report, "layers");
    az_report_count(report, "seed", (int64_t)seed);
    az_report_number(report, "error_vectorwise", error[0], "");
    az_report_number(report, "error_bnb", error[1], "");
    az_report_number(report, "error_paper", error[2], "");
    return error[0] >= 4 * error[1] && error[0] >= 10 * error[2];
}

/* ---- language models ---- */

enum { FLOAT, ABSMAX, VECTORWISE, BNB, PAPER, KINDS };
static const char *const options[KINDS] = {NULL, "scheme=absmax,threshold=0", "threshold=0", "threshold=6", "mode=paper,live"};
static const char *const labels[KINDS] = {"float", "absmax", "vectorwise", "llm-int8 bnb", "llm-int8 paper"};

typedef struct change {
    az_planting_kind planting;
    const char *options; /* NULL = planted only */
} change;

static bool plant_and_round(az_ctx *az, az_lm *lm, const claim_subject *on, int seed, void *user)
{
    const change *c = user;
    const az_method *method = az_method_by_name("llm-int8");
    if (!az_plant_outliers(az, lm, &(az_planting){.kind = c->planting, .seed = (uint64_t)seed}, NULL, NULL)) return false;
    void *settings = az_alloc(az, method->options_size);
    az_compress_job job = {.lm = lm, .calibration = on->calibration};
    return !c->options ||
           (settings && az_options_parse(az, method->options, method->name, c->options, settings) && method->compress(az, settings, &job));
}

/* Five models of one subject. True when the paper's scales lose less than 0.002 nats; when plain products of bytes lose at least four times
 * more than the decomposition if outliers are planted, and less than 0.003 otherwise. */
static bool model_rows(az_ctx *az, az_report *report, const claim_subject *on, az_planting_kind planting)
{
    const claim_runs *run[KINDS];
    double lost[KINDS] = {0};
    claim_difference better = {0};
    for (int k = 0; k < KINDS; k++) {
        change c = {.planting = planting, .options = options[k]};
        const char *label = az_format_text(az, "%s, planted: %s", labels[k], az_planting_name(planting));
        run[k] = claim_run_change(az, on, label, planting == AZ_PLANT_NOTHING ? 1 : MODEL_SEEDS, plant_and_round, &c);
        if (!run[k]) return false;
        if (k > FLOAT) lost[k] = claim_compare(az, report, on, run[k], run[FLOAT]).documents.value;
    }
    if (planting == AZ_PLANT_NOTHING) return lost[PAPER] <= 0.002 && lost[VECTORWISE] <= 0.003 && lost[BNB] <= 0.003;
    better = claim_compare(az, report, on, run[BNB], run[VECTORWISE]);
    return lost[PAPER] <= 0.002 && lost[VECTORWISE] >= 4 * lost[BNB] && claim_is_better(&better);
}

static bool run(az_ctx *az, az_report *report)
{
    claim_subject subjects[CLAIM_MOST_SUBJECTS];
    const int n = claim_subjects(az, subjects);
    int layers = 0, models = 0;
    for (uint64_t seed = 0; seed < LAYER_SEEDS; seed++) layers += layer_row(az, report, seed);
    for (int i = 0; i < n * AZ_PLANTINGS && az_ok(az); i++)
        models += model_rows(az, report, &subjects[i / AZ_PLANTINGS], (az_planting_kind)(i % AZ_PLANTINGS));
    if (!az_ok(az)) return false;
    az_report_row(report, "decision");
    az_report_count(report, "layers", LAYER_SEEDS);
    az_report_count(report, "layers_good", layers);
    az_report_count(report, "models", (int64_t)n * AZ_PLANTINGS);
    az_report_count(report, "models_good", models);
    return layers == LAYER_SEEDS && models == n * AZ_PLANTINGS;
}

const az_claim az_claim_llm_int8 = {
    .name = "llm-int8",
    .statement = "in bytes with outlier features apart, models predict as in float to 0.002 nats, with and without planted outliers, where "
                 "plain products of bytes lose at least four times more; in a layer with outliers they err a quarter to a tenth as much",
    .run = run,
};
