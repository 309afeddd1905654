/* eva.c - LoRA whose A starts as the principal directions of what each layer reads, with ranks where those explain most.
 *
 * Start: for each layer the principal directions of its inputs x over batches of the training data, followed by an incremental
 *     decomposition of x - mean(x) until the cosine between each and what it was before reaches tau. A = the first rank_n of them, B = 0.
 * Ranks: of all layers' directions, each with its share in the variance of its layer's input, the sum of all ranks largest ones stay;
 *     rank_n is how many of them are layer n's, at most rho r; a layer without any is left alone.
 * Scale: alpha_n = alpha rank_n / r, so that alpha_n / rank_n is the same everywhere.
 *
 * Paischer et al.: "One initialization to rule them all: fine-tuning via explained variance adaptation", 2024 (arXiv 2410.07170). A
 * direction that only turned its sign counts as unmoved, which the published code takes for a change. */
#include "tune/eva.h"
#include "tune/tune_internal.h"

#include <math.h>
#include <string.h>

typedef struct eva_options {
    int64_t rank, svd_batch, max_batches, min_batches;
    double alpha, rho, tau, dropout;
    bool label_mask, skip_bos, adjust, rslora, dora;
    int scale, metric, svd;
    const char *targets, *exclude, *ranks, *state, *keep;
} eva_options;

enum { SCALE_UNIT, SCALE_WHITEN, SCALE_SINGULAR };
enum { SVD_EXACT, SVD_FAST };
static const char *const scales[] = {[SCALE_UNIT] = "unit", [SCALE_WHITEN] = "whiten", [SCALE_SINGULAR] = "singular", NULL};
static const char *const metrics[] = {[AZ_EVA_RATIO] = "ratio", [AZ_EVA_RAW] = "raw", [AZ_EVA_SUM] = "sum", [AZ_EVA_MAX] = "max", NULL};
static const char *const svds[] = {[SVD_EXACT] = "exact", [SVD_FAST] = "fast", NULL};

static const az_option options_table[] = {
    {"rank", AZ_FIELD(AZ_INT, eva_options, rank), "16", 1, 1 << 16, NULL, "rank r of a layer before ranks are shared anew"},
    {"alpha", AZ_FIELD(AZ_REAL, eva_options, alpha), "1", 0, 1e9, NULL, "the change is scaled by alpha / r"},
    {"rho", AZ_FIELD(AZ_REAL, eva_options, rho), "2", 1, 1000, NULL, "a layer's rank is at most rho r; 1 = r everywhere"},
    {"tau", AZ_FIELD(AZ_REAL, eva_options, tau), "0.99", 0, 1, NULL, "cosine at which a direction counts as found"},
    {"targets", AZ_FIELD(AZ_TEXT, eva_options, targets), "all-linear", 0, 0, NULL,
     "layers, by the ends of their names (\"q_proj,v_proj\") or a /regular expression/ of whole names"},
    {"exclude", AZ_FIELD(AZ_TEXT, eva_options, exclude), "", 0, 0, NULL, "layers that targets names but that are left alone"},
    {"ranks", AZ_FIELD(AZ_TEXT, eva_options, ranks), "", 0, 0, NULL, "other r for some layers: \"q_proj=4,down_proj=16\""},
    {"svd_batch", AZ_FIELD(AZ_INT, eva_options, svd_batch), "4", 1, 1 << 20, NULL, "examples in a batch of inputs"},
    {"max_batches", AZ_FIELD(AZ_INT, eva_options, max_batches), "500", 1, 1e7, NULL,
     "batches after which directions are taken as they are"},
    {"min_batches", AZ_FIELD(AZ_INT, eva_options, min_batches), "1", 1, 1e7, NULL, "batches at least"},
    {"label_mask", AZ_FIELD(AZ_BOOL, eva_options, label_mask), "true", 0, 0, NULL, "only the tokens of responses count"},
    {"skip_bos", AZ_FIELD(AZ_BOOL, eva_options, skip_bos), "false", 0, 0, NULL,
     "without label_mask: the token BOS, whose input is often far larger than all others, does not count"},
    {"scale", AZ_FIELD(AZ_CHOICE, eva_options, scale), "unit", 0, 0, scales,
     "row i of A: the direction itself; over sqrt(s_i), its singular value; or times s_i / s_1"},
    {"adjust", AZ_FIELD(AZ_BOOL, eva_options, adjust), "true", 0, 0, NULL, "alpha grows and falls with a layer's rank"},
    {"metric", AZ_FIELD(AZ_CHOICE, eva_options, metric), "ratio", 0, 0, metrics,
     "what shares the ranks: explained share of the input's variance; variance; share among the directions found; variance over the "
     "first's"},
    {"svd", AZ_FIELD(AZ_CHOICE, eva_options, svd), "exact", 0, 0, svds, "fast = randomized, of the wanted directions only"},
    {"keep", AZ_FIELD(AZ_TEXT, eva_options, keep), "", 0, 0, NULL, "write the rows of A, as training starts with them, to this file"},
    {"state", AZ_FIELD(AZ_TEXT, eva_options, state), "", 0, 0, NULL, "take them from such a file (or PEFT's) instead of finding them"},
    {"dropout", AZ_FIELD(AZ_REAL, eva_options, dropout), "0", 0, 0.999, NULL, "share of the inputs of A that are dropped in training"},
    {"rslora", AZ_FIELD(AZ_BOOL, eva_options, rslora), "false", 0, 0, NULL, "scale by alpha / sqrt(r)"},
    {"dora", AZ_FIELD(AZ_BOOL, eva_options, dora), "false", 0, 0, NULL, "train the norms of the rows as well"},
    {.name = NULL},
};

extern const az_method az_eva_method;

/* What the options ask of each layer, as an adapter that is not used. */
static az_adapter *wanted_layers(az_ctx *az, const eva_options *o, const az_lm *lm)
{
    const az_adapter_how how = {
        .rank = o->rank, .alpha = o->alpha, .targets = o->targets, .exclude = o->exclude, .ranks = o->ranks, .dropout = o->dropout};
    const az_adapter *adapter = az_adapter_new(az, lm, &how);
    for (int i = 0; adapter && i < adapter->layers; i++)
        if (strcmp(adapter->layer[i].name, "embed") == 0) az_fail(az, AZ_BAD_INPUT, "eva adapts linear layers, not the embedding");
    return az_ok(az) ? (az_adapter *)adapter : NULL;
}

static az_eva_place *places_of(az_ctx *az, const eva_options *o, const az_adapter *adapter)
{
    az_eva_place *place = az_alloc_array(az, (size_t)adapter->layers, sizeof *place);
    for (int i = 0; place && i < adapter->layers; i++) {
        const az_adapter_layer *layer = &adapter->layer[i];
        place[i] =
            (az_eva_place){.name = layer->name, .in = layer->in, .rank = layer->rank, .directions = llround(o->rho * (double)layer->rank)};
    }
    return place;
}

/* An adapter beside the layers that have a rank, beginning with their rows. */
static az_adapter *adapter_of(az_ctx *az, const eva_options *o, const az_tuning *tuning, const az_adapter *wanted,
                              const az_eva_start *start)
{
    const char *targets = "", *ranks = "", *alphas = "";
    for (int i = 0; i < wanted->layers; i++) {
        const az_adapter_layer *layer = &wanted->layer[i];
        const char *comma = *targets ? "," : "";
        if (start[i].rank == 0) continue;
        const double alpha = o->adjust ? o->alpha * (double)start[i].rank / (double)layer->rank : o->alpha;
        targets = az_format_text(az, "%s%s%s", targets, comma, layer->name);
        ranks = az_format_text(az, "%s%s%s=%lld", ranks, comma, layer->name, (long long)start[i].rank);
        alphas = az_format_text(az, "%s%s%s=%.17g", alphas, comma, layer->name, alpha);
    }
    const az_adapter_how how = {.rank = o->rank,
                                .alpha = o->alpha,
                                .dropout = o->dropout,
                                .rank_stabilized = o->rslora,
                                .dora = o->dora,
                                .targets = targets,
                                .ranks = ranks,
                                .alphas = alphas,
                                .seed = (uint64_t)tuning->settings.seed};
    az_adapter *adapter = az_adapter_new(az, tuning->job->lm, &how);
    for (int i = 0; adapter && i < wanted->layers; i++) {
        az_adapter_layer *layer = az_adapter_find(adapter, start[i].layer);
        if (layer && start[i].a) az_copy_into(az, layer->a, start[i].a);
    }
    return adapter;
}

/* The first directions, scaled. */
static az_tensor *rows_of(az_ctx *az, const eva_options *o, int64_t rank, const az_pca *pca)
{
    az_tensor *scale = az_new2(az, AZ_F64, rank, 1);
    const double *value = az_f64(pca->values);
    for (int64_t k = 0; scale && k < rank; k++) {
        const double whitened = value[k] > 0 ? 1 / sqrt(value[k]) : 1, relative = value[0] > 0 ? value[k] / value[0] : 1;
        az_f64_mut(scale)[k] = o->scale == SCALE_WHITEN ? whitened : o->scale == SCALE_SINGULAR ? relative : 1;
    }
    return az_mul(az, az_cast(az, az_slice(az, pca->vectors, 0, 0, rank), AZ_F64), scale);
}

static void report_places(az_report *report, const az_eva *eva, const az_eva_place *place, int n)
{
    for (int i = 0; report && i < n; i++) {
        const az_eva_input *input = &eva->input[place[i].input];
        double explained = 0;
        for (int64_t k = 0; k < place[i].rank; k++) explained += az_pca_ratio(input->pca, k);
        az_report_row(report, "layers");
        az_report_text(report, "layer", place[i].name);
        az_report_count(report, "rank", place[i].rank);
        az_report_number(report, "explained", explained, "");
        az_report_number(report, "first", az_pca_ratio(input->pca, 0), "");
        az_report_text(report, "input_of", input->leader);
        az_report_count(report, "batches", input->batches);
        az_report_bool(report, "converged", input->finished);
    }
}

/* Directions and ranks from the training data. */
static bool find_starts(az_ctx *az, const eva_options *o, const az_tuning *tuning, const az_adapter *wanted, az_eva_start *start)
{
    const uint64_t seed = (uint64_t)tuning->settings.seed;
    const az_range_finder fast = {.oversample = llround(o->rho * (double)o->rank), .power = 4, .seed = seed};
    const az_eva_how how = {.batch = o->svd_batch,
                            .max_batches = o->max_batches,
                            .min_batches = o->min_batches,
                            .tau = o->tau,
                            .answers_only = o->label_mask,
                            .skip_bos = o->skip_bos,
                            .fast = o->svd == SVD_FAST ? &fast : NULL,
                            .metric = (az_eva_metric)o->metric,
                            .seed = seed ^ az_stream("directions", 0)};
    az_eva_place *place = places_of(az, o, wanted);
    az_eva eva;
    if (!place || !az_eva_directions(az, tuning->job->lm, tuning->train, &how, place, wanted->layers, &eva)) return false;
    report_places(tuning->job->report, &eva, place, wanted->layers);
    for (int i = 0; i < wanted->layers; i++) {
        start[i].rank = place[i].rank;
        if (place[i].rank > 0) start[i].a = rows_of(az, o, place[i].rank, eva.input[place[i].input].pca);
    }
    return az_ok(az);
}

/* The adapter with which training starts. */
static az_adapter *begin(az_ctx *az, const eva_options *o, const az_tuning *tuning)
{
    const az_lm *lm = tuning->job->lm;
    az_adapter *wanted = wanted_layers(az, o, lm), *adapter = NULL;
    az_eva_start *start = wanted ? az_alloc_array(az, (size_t)wanted->layers, sizeof *start) : NULL;
    if (!start) return NULL;
    for (int i = 0; i < wanted->layers; i++)
        start[i] = (az_eva_start){.layer = wanted->layer[i].name, .in = wanted->layer[i].in, .rank = wanted->layer[i].rank};
    const bool found = *o->state ? az_eva_read(az, lm, o->state, start, wanted->layers) : find_starts(az, o, tuning, wanted, start);
    if (found && (!*o->keep || az_eva_write(az, lm, o->keep, start, wanted->layers))) adapter = adapter_of(az, o, tuning, wanted, start);
    az_adapter_free(az, wanted);
    return az_ok(az) ? adapter : NULL;
}

static bool tune(az_ctx *az, const void *settings, az_tune_job *job)
{
    az_tuning tuning;
    if (!az_tuning_begin(az, job, 0, &tuning)) return false;
    az_scope_push(az);
    tuning.adapter = begin(az, settings, &tuning);
    az_scope_pop(az);
    job->adapter = tuning.adapter;
    return tuning.adapter && az_tune_adapter(az, &tuning, az_method_text(az, &az_eva_method, settings));
}

const az_method az_eva_method = {
    .name = "eva",
    .family = AZ_TUNE,
    .summary = "train changes of low rank that start at the principal directions of what each layer reads",
    .paper = "Paischer et al.: One Initialization to Rule them All: Fine-tuning via Explained Variance Adaptation, 2024, arXiv 2410.07170",
    .details = "Runs batches of the training data through the model and follows the principal directions of each layer's input until they "
               "stay (tau). They become the rows of A; B starts at zero, so that training begins at the model itself. A total of r ranks a "
               "layer goes to the layers whose directions explain most of their input (at most rho r to one, none to some). The result is "
               "a plain LoRA adapter. The mean of the inputs is left out; where all prompts begin alike, label_mask or skip_bos keep the "
               "first token from filling the first direction.",
    .example = "adze tune tales eva:rank=8,alpha=16 -d train.jsonl -o adapter/ --steps 20 --lr 2e-3",
    .options = options_table,
    .options_size = sizeof(eva_options),
    .needs_data = true,
    .tune = tune,
};
