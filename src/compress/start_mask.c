/* start_mask.c - where learning or repairing a mask begins. */
#include "compress/start_mask.h"

#include <string.h>

const char *const az_start_names[] = {[AZ_START_AUTO] = "auto",
                                      [AZ_START_WANDA] = "wanda",
                                      [AZ_START_MAGNITUDE] = "magnitude",
                                      [AZ_START_SPARSEGPT] = "sparsegpt",
                                      [AZ_START_RANDOM] = "random",
                                      [AZ_START_MODEL] = "model",
                                      NULL};

static const double FEW = 0.01; /* a smaller share of zeros is nobody's mask: weights may happen to be zero */

/* ---- masks by scores ---- */

bool az_start_needs_gram(const az_start_settings *settings)
{
    return settings->init == AZ_START_SPARSEGPT;
}

static az_tensor *random_scores(az_ctx *az, const az_lm_linear *linear, int64_t seed)
{
    const int64_t shape[] = {linear->weight->rows, linear->weight->cols};
    return az_rand(az, AZ_F32, 2, shape, 0, 1, (uint64_t)seed, az_stream(linear->name, 0));
}

az_tensor *az_start_scores(az_ctx *az, const az_start_settings *settings, const az_lm_linear *linear, const az_lm_statistics *statistics,
                           az_factor_memo *memo)
{
    const az_tensor *w = az_prune_matrix(az, linear->weight); /* [rows, cols] */
    if (settings->init == AZ_START_SPARSEGPT)
        return az_sparsegpt_scores(az, w, az_factor_of(az, memo, linear, statistics->gram, settings->damp));
    if (settings->init == AZ_START_MAGNITUDE) return az_abs(az, w);
    if (settings->init == AZ_START_RANDOM) return random_scores(az, linear, settings->seed);
    return az_wanda_scores(az, w, statistics->square);
}

az_tensor *az_start_choose(az_ctx *az, const az_start_settings *settings, const az_tensor *scores)
{
    return az_mask_lowest(az, scores, (az_mask_how){.share = settings->sparsity, .pattern = settings->pattern, .scope = AZ_PER_ROW});
}

/* ---- masks that are there already ---- */

typedef struct zeros {
    double dropped, unknown; /* shares of the weights: zero now but not before the chain; zero before it */
} zeros;

static zeros count_zeros(az_ctx *az, const az_starts *starts)
{
    double dropped = 0, unknown = 0, all = 0;
    for (int i = 0; i < starts->n && az_ok(az); i++) {
        const az_start_layer *layer = &starts->layer[i];
        az_scope_push(az);
        const az_tensor *now = az_weight_decode(az, layer->linear->weight), *before = az_weight_decode(az, layer->dense);
        for (int64_t k = 0; now && before && k < az_count(now); k++) {
            const bool zero = az_f32(now)[k] == 0, was = az_f32(before)[k] == 0;
            dropped += zero && !was;
            unknown += zero && was;
        }
        all += (double)layer->linear->weight->rows * (double)layer->linear->weight->cols;
        az_scope_pop(az);
    }
    return all > 0 ? (zeros){dropped / all, unknown / all} : (zeros){0, 0};
}

static az_starts *list_layers(az_ctx *az, const az_compress_job *job)
{
    az_starts *starts = az_alloc(az, sizeof *starts);
    az_lm_linear **linear;
    const int n = az_lm_linears(az, job->lm, &linear);
    if (!starts || !az_ok(az)) return NULL;
    *starts = (az_starts){.n = n, .layer = az_alloc_array(az, (size_t)n, sizeof *starts->layer)};
    for (int i = 0; starts->layer && i < n; i++) {
        const az_weight *dense = az_compress_original(az, job, linear[i]);
        if (dense->rows != linear[i]->weight->rows || dense->cols != linear[i]->weight->cols)
            az_fail(az, AZ_BAD_INPUT, "%s has another shape than before the chain", linear[i]->name);
        starts->layer[i] = (az_start_layer){.linear = linear[i], .dense = az_weight_share(az, dense)};
    }
    return az_ok(az) ? starts : NULL;
}

/* The zeros of the present model are the masks; the model gets its former weights back. */
static bool take_from_model(az_ctx *az, const az_compress_job *job, az_starts *starts)
{
    for (int i = 0; i < starts->n && az_ok(az); i++) {
        az_start_layer *layer = &starts->layer[i];
        layer->keep = az_mask_of(az, layer->linear->weight);
        layer->sparse = az_weight_share(az, layer->linear->weight);
        az_arena_enter(az, job->lm->arena);
        az_weight *dense = az_weight_share(az, layer->dense);
        az_arena_leave(az);
        if (dense) layer->linear->weight = dense;
    }
    return az_ok(az);
}

static bool take_from_file(az_ctx *az, az_starts *starts, const char *path)
{
    const char *ending = strrchr(path, '.');
    const bool masks = ending && strcmp(ending, ".safetensors") == 0;
    const az_safetensors *file = masks ? az_safetensors_read(az, path) : NULL;
    az_lm *sparse = masks ? NULL : az_lm_load(az, path);
    az_lm_linear **linear = NULL;
    const int n = sparse ? az_lm_linears(az, sparse, &linear) : 0;
    if (sparse && n != starts->n) az_fail(az, AZ_BAD_INPUT, "it has %d linear layers, the model has %d", n, starts->n);
    for (int i = 0; i < starts->n && az_ok(az); i++) {
        az_start_layer *layer = &starts->layer[i];
        layer->dense = az_weight_share(az, layer->linear->weight);
        if (linear && (linear[i]->weight->rows != layer->dense->rows || linear[i]->weight->cols != layer->dense->cols))
            az_fail(az, AZ_BAD_INPUT, "%s has another shape there", layer->linear->name);
        layer->keep = linear ? az_mask_of(az, linear[i]->weight) : az_mask_file_find(az, file, layer->linear);
    }
    az_lm_free(az, sparse);
    az_fail_context(az, "the masks of '%s'", path);
    return az_ok(az);
}

static bool wants_model_zeros(az_ctx *az, const az_starts *starts, int init)
{
    if (init != AZ_START_AUTO && init != AZ_START_MODEL) return false;
    const zeros share = count_zeros(az, starts);
    if (share.dropped >= FEW) return true;
    if (share.unknown >= FEW)
        return az_fail(az, AZ_BAD_INPUT,
                       "%.0f %% of the weights are zero already and their former values are not known; give the dense model, and this one "
                       "as mask=FILE",
                       100 * share.unknown);
    if (init == AZ_START_MODEL)
        return az_fail(az, AZ_BAD_INPUT, "the model has no zeros to start from: let a pruning method go before, or choose another init");
    return false;
}

bool az_starts_check(az_ctx *az, const az_starts *starts, az_pattern pattern)
{
    for (int i = 0; i < starts->n && pattern.m && az_ok(az); i++) {
        az_mask_check(az, starts->layer[i].keep, pattern);
        az_fail_context(az, "%s", starts->layer[i].linear->name);
    }
    return az_ok(az);
}

az_starts *az_starts_find(az_ctx *az, const az_compress_job *job, const az_start_settings *settings)
{
    if (!job->lm || !az_ok(az)) return NULL;
    az_starts *starts = list_layers(az, job);
    if (!starts) return NULL;
    const bool file = settings->file && *settings->file;
    starts->taken = file || wants_model_zeros(az, starts, settings->init);
    if (!az_ok(az) || !starts->taken) return az_ok(az) ? starts : NULL;
    const bool good = file ? take_from_file(az, starts, settings->file) : take_from_model(az, job, starts);
    return good && az_starts_check(az, starts, settings->pattern) ? starts : NULL;
}

az_start_layer *az_start_of(const az_starts *starts, const az_lm_linear *linear)
{
    for (int i = 0; i < starts->n; i++)
        if (starts->layer[i].linear == linear) return &starts->layer[i];
    return NULL;
}

az_tensor *az_start_values(az_ctx *az, const az_start_layer *layer)
{
    const az_tensor *dense = az_weight_decode(az, layer->dense);
    if (!layer->sparse) return az_copy(az, dense);
    return az_where(az, layer->keep, az_weight_decode(az, layer->sparse), dense);
}
