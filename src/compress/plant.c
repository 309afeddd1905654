/* plant.c - the method plant-outliers: features that are much larger than others, or lie far from zero, behind each norm of a model that
 * computes the same as before. For studies of quantizers: small models lack what makes large ones hard to quantize.
 *
 * Rule: for features k drawn by seed, the norms multiply x_k by a, and the columns k of the layers behind are divided by a (scale); or the
 *     norms add a, and the layers' biases lose a w_k (shift).
 *
 * After what Dettmers et al. found in large models: "LLM.int8()", NeurIPS 2022 (arXiv 2208.07339). */
#include "compress/plant.h"

#include "compress/fold.h"

typedef struct plant_options {
    az_planting how;
    int kind;
    int64_t seed;
} plant_options;

static const char *const names[] = {[AZ_PLANT_NOTHING] = "none", [AZ_PLANT_SCALE] = "scale", [AZ_PLANT_SHIFT] = "shift", NULL};

const char *az_planting_name(az_planting_kind kind)
{
    return names[kind];
}

static const az_option plant_table[] = {
    {"kind", AZ_FIELD(AZ_CHOICE, plant_options, kind), "scale", 0, 0, names + AZ_PLANT_SCALE,
     "features multiplied by a factor, or shifted by an amount of either sign"},
    {"features", AZ_FIELD(AZ_INT, plant_options, how.features), "6", 1, 1e6, NULL, "how many, the same in every block"},
    {"least", AZ_FIELD(AZ_REAL, plant_options, how.least), "10", 1e-6, 1e6, NULL, "smallest factor or amount"},
    {"most", AZ_FIELD(AZ_REAL, plant_options, how.most), "40", 1e-6, 1e6, NULL, "largest"},
    {"seed", AZ_FIELD(AZ_INT, plant_options, seed), "0", 0, 0, NULL, "of features and factors; without it that of --seed"},
    {0},
};

/* Features in ascending order, and their amounts. */
static bool draw(az_ctx *az, const az_planting *how, int64_t width, int64_t *feature, double *amount)
{
    az_rng rng = az_rng_at(how->seed, az_stream("planted outliers", (uint64_t)how->kind));
    bool *taken = az_alloc_array(az, (size_t)width, sizeof *taken);
    if (!taken) return false;
    for (int64_t i = 0; i < how->features; i++) {
        int64_t c = (int64_t)az_below(&rng, (uint64_t)width);
        while (taken[c]) c = (c + 1) % width;
        taken[c] = true;
    }
    for (int64_t c = 0, i = 0; c < width; c++)
        if (taken[c]) feature[i++] = c;
    for (int64_t i = 0; i < how->features; i++) {
        amount[i] = how->least + (how->most - how->least) * az_uniform(&rng);
        if (how->kind == AZ_PLANT_SHIFT && az_uniform(&rng) < 0.5) amount[i] = -amount[i];
    }
    return true;
}

static bool plant(az_ctx *az, az_lm *lm, const az_planting *how, int64_t *feature, double *amount)
{
    const int64_t width = lm->config.width;
    int64_t *features = az_alloc_array(az, (size_t)how->features, sizeof *features);
    double *amounts = az_alloc_array(az, (size_t)how->features, sizeof *amounts);
    float *scale = az_alloc_array(az, (size_t)width, sizeof *scale), *shift = az_alloc_array(az, (size_t)width, sizeof *shift);
    if (!features || !amounts || !scale || !shift || !draw(az, how, width, features, amounts)) return false;
    for (int64_t c = 0; c < width; c++) scale[c] = 1;
    for (int64_t i = 0; i < how->features; i++) {
        if (how->kind == AZ_PLANT_SCALE) scale[features[i]] = (float)(1 / amounts[i]);
        if (how->kind == AZ_PLANT_SHIFT) shift[features[i]] = (float)-amounts[i];
        if (feature) feature[i] = features[i];
        if (amount) amount[i] = amounts[i];
    }
    for (int i = 0; i < 2 * lm->config.blocks; i++)
        if (!az_fold(az, lm, i / 2, i % 2, scale, how->kind == AZ_PLANT_SHIFT ? shift : NULL)) return false;
    return true;
}

bool az_plant_outliers(az_ctx *az, az_lm *lm, const az_planting *given, int64_t *feature, double *amount)
{
    if (!lm || !az_fold_check(az, lm)) return false;
    const az_planting whole = {.kind = given->kind,
                               .features = given->features ? given->features : AZ_PLANTED_FEATURES,
                               .least = given->least > 0 ? given->least : 10,
                               .most = given->most > 0 ? given->most : 40,
                               .seed = given->seed},
                      *how = &whole;
    if (how->kind == AZ_PLANT_NOTHING) return true;
    if (how->features > lm->config.width)
        return az_fail(az, AZ_BAD_INPUT, "%lld features are to be outliers, the model's width is %lld", (long long)how->features,
                       (long long)lm->config.width);
    az_scope_push(az);
    const bool good = plant(az, lm, how, feature, amount);
    az_scope_pop(az);
    return good;
}

/* Shifts need places for biases, or files would lose them. */
static bool check_biases(az_ctx *az, az_lm *lm)
{
    az_scope_push(az);
    for (int b = 0; b < lm->config.blocks && az_ok(az); b++)
        for (int network = 0; network < 2; network++) {
            az_lm_block *block = &lm->block[b];
            const az_lm_norm *norm = network ? &block->mlp_norm : &block->attn_norm;
            az_lm_linear **readers;
            const int n = norm->weight ? az_fold_readers(az, block, network, &readers) : 0;
            bool good = !norm->weight || norm->bias;
            for (int i = 0; i < n; i++) good = good && az_lm_has_bias(lm, readers[i]);
            if (!good)
                az_fail(az, AZ_BAD_INPUT, "the architecture %s has no biases that a shift of %s could go into; kind=scale needs none",
                        az_lm_architecture(lm), norm->name);
        }
    az_scope_pop(az);
    return az_ok(az);
}

static bool plant_check(az_ctx *az, const void *options, az_lm *lm)
{
    const plant_options *o = options;
    const az_planting *how = &o->how;
    if (how->most < how->least) return az_fail(az, AZ_BAD_INPUT, "least is %g, above most, %g", how->least, how->most);
    return az_fold_check(az, lm) && (o->kind + AZ_PLANT_SCALE == AZ_PLANT_SCALE || check_biases(az, lm));
}

static bool plant_compress(az_ctx *az, const void *options, az_compress_job *job)
{
    const plant_options *o = options;
    az_planting how = o->how;
    how.kind = (az_planting_kind)(o->kind + AZ_PLANT_SCALE);
    how.seed = (uint64_t)o->seed;
    if (!job->lm || !plant_check(az, o, job->lm)) return false;
    az_scope_push(az);
    int64_t *feature = az_alloc_array(az, (size_t)how.features, sizeof *feature);
    double *amount = az_alloc_array(az, (size_t)how.features, sizeof *amount);
    const bool good = feature && amount && az_plant_outliers(az, job->lm, &how, feature, amount);
    for (int64_t i = 0; good && i < how.features; i++) {
        az_report_row(job->report, "planted");
        az_report_count(job->report, "feature", feature[i]);
        az_report_number(job->report, "amount", amount[i], "");
    }
    az_scope_pop(az);
    return good;
}

const az_method az_plant = {
    .name = "plant-outliers",
    .family = AZ_COMPRESS,
    .summary = "make some features outliers without a change of what the model computes, to study quantizers",
    .paper = "Dettmers et al.: LLM.int8(): 8-bit matrix multiplication for transformers at scale, NeurIPS 2022, arXiv 2208.07339",
    .details = "Multiplies some features behind every norm by 10 to 40 and divides the columns of the layers that read them, or adds 10 to "
               "40 and takes it off in the layers' biases (kind=shift, where the architecture has them). In exact arithmetic the model "
               "stays as it is; its activations become as uneven as those of large models, which is what rounding them suffers from. Put "
               "it in front of llm-int8, outliertune, smoothquant or bipolar-int in a chain. Weights become f32.",
    .example = "adze compress tales plant-outliers llm-int8:threshold=6 -d calibration.txt --dry-run",
    .options = plant_table,
    .options_size = sizeof(plant_options),
    .check = plant_check,
    .compress = plant_compress,
};
