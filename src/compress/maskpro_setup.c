/* maskpro_setup.c - where mask learning begins: the start masks, and the memory of the layers that learn. */
#include "compress/maskpro.h"

/* A tensor of bits for the weight. */
static az_tensor *bits_for(az_ctx *az, const az_weight *w)
{
    const int64_t bytes = (w->rows * w->cols + 7) / 8;
    return az_zeros(az, AZ_U8, 1, &bytes);
}

/* What weights are when kept, in the type that the model stores; shared with the model where nothing has changed it. */
static az_tensor *values_of(az_ctx *az, const az_start_layer *start)
{
    const bool dense = az_weight_is_dense(start->dense);
    if (dense && !start->sparse) return az_share(az, start->dense->part[0]);
    az_scope_push(az);
    az_tensor *value = az_start_values(az, start);
    if (dense && value && start->dense->part[0]->dtype != AZ_F32) value = az_cast(az, value, start->dense->part[0]->dtype);
    return az_keep(az, value);
}

/* Bits of a mask whose blocks keep at most n; a block that keeps fewer, where weights happen to be zero, is filled up. */
static void pack_start(const az_tensor *keep, az_pattern pattern, unsigned char *bits)
{
    const unsigned char *k = keep->data;
    for (int64_t at = 0; at < az_count(keep); at += pattern.m) {
        unsigned set = 0;
        for (int j = 0; j < pattern.m; j++) set |= (unsigned)(k[at + j] != 0) << j;
        for (int j = 0; __builtin_popcount(set) < pattern.n; j++) set |= 1U << j;
        az_bits_put(bits, at, pattern.m, set);
    }
}

/* Memory of a layer that learns, in the run's arena. own: the matrix in the model is a copy already, made for the start mask. */
static bool add_layer(az_ctx *az, az_maskpro_run *run, const az_start_layer *start, bool own)
{
    az_lm_linear *linear = start->linear;
    az_maskpro_layer *layer = &run->layer[run->n++];
    az_arena_enter(az, run->arena);
    *layer = (az_maskpro_layer){.linear = linear,
                                .dense = az_weight_share(az, start->dense),
                                .value = values_of(az, start),
                                .logit = az_new2(az, AZ_F32, start->dense->rows, start->dense->cols),
                                .kept = bits_for(az, start->dense),
                                .start = bits_for(az, start->dense),
                                .best = bits_for(az, start->dense)};
    az_arena_leave(az);
    az_arena_enter(az, run->lm->arena);
    az_weight *weight = own ? linear->weight : az_weight_dense(az, layer->value ? az_copy(az, layer->value) : NULL);
    az_arena_leave(az);
    if (!weight || !layer->value || !az_ok(az)) return false;
    az_tensor *masked = weight->part[0];
    linear->weight = weight;
    layer->blocks = (az_nm_matrix){.pattern = run->pattern,
                                   .clamp = run->options->clamp,
                                   .rows = weight->rows,
                                   .cols = weight->cols,
                                   .first_block = run->blocks,
                                   .logit = az_f32_mut(layer->logit),
                                   .kept = layer->kept->data,
                                   .value = layer->value->data,
                                   .masked = masked->data,
                                   .size = az_dtype_size(masked->dtype)};
    run->blocks += weight->rows * weight->cols / run->pattern.m;
    return true;
}

/* The drive that chooses start masks: each goes at once into the model, so that later blocks see what pruning does to their inputs. */
typedef struct chooser {
    az_lm *lm;
    const az_start_settings *settings;
    const az_starts *starts;
    az_factor_memo memo;
    az_arena *arena; /* of the masks */
} chooser;

static bool choose_layer(az_ctx *az, az_lm_linear *linear, const az_lm_statistics *statistics, void *user)
{
    chooser *c = user;
    az_start_layer *start = az_start_of(c->starts, linear);
    az_scope_push(az);
    const az_tensor *keep = az_start_choose(az, c->settings, az_start_scores(az, c->settings, linear, statistics, &c->memo));
    const az_weight *masked = az_prune_result(az, start->dense, az_mask_apply(az, start->dense, keep));
    az_arena_enter(az, c->arena);
    if (keep) start->keep = az_share(az, keep);
    az_arena_leave(az);
    az_arena_enter(az, c->lm->arena);
    if (masked) linear->weight = az_weight_share(az, masked);
    az_arena_leave(az);
    az_scope_pop(az);
    return az_ok(az);
}

static bool choose_masks(az_ctx *az, az_maskpro_run *run, const az_start_settings *settings, const az_starts *starts, az_arena *arena)
{
    chooser c = {.lm = run->lm, .settings = settings, .starts = starts, .arena = arena};
    const bool reads = settings->init != AZ_START_MAGNITUDE && settings->init != AZ_START_RANDOM;
    const int flags = az_start_needs_gram(settings) ? AZ_CALIBRATE_GRAM : 0;
    bool good = true;
    if (reads) good = az_lm_calibrate(az, run->lm, run->sequences, flags, &(az_lm_visitor){.layer = choose_layer, .user = &c});
    for (int i = 0; !reads && good && i < starts->n; i++) good = choose_layer(az, starts->layer[i].linear, NULL, &c);
    az_arena_free(az, c.memo.arena);
    return good;
}

/* A layer that does not learn. */
static bool settle_layer(az_ctx *az, const az_maskpro_run *run, const az_start_layer *start)
{
    az_scope_push(az);
    az_weight *weight = start->dense;
    if (run->options->others == AZ_OTHERS_START)
        weight = az_prune_result(az, start->dense, az_mask_apply(az, az_weight_dense(az, az_start_values(az, start)), start->keep));
    az_arena_enter(az, run->lm->arena);
    if (weight) start->linear->weight = az_weight_share(az, weight);
    az_arena_leave(az);
    az_scope_pop(az);
    return az_ok(az);
}

/* Start masks become bits, layers that learn their memory, the others what they stay. */
static bool set_up_layers(az_ctx *az, az_maskpro_run *run, const az_starts *starts)
{
    const az_layer_filter *filter = az_layer_filter_new(az, run->options->layers);
    az_arena_enter(az, run->arena);
    run->layer = az_alloc_array(az, (size_t)starts->n, sizeof *run->layer);
    az_arena_leave(az);
    for (int i = 0; filter && run->layer && i < starts->n && az_ok(az); i++) {
        const az_start_layer *start = &starts->layer[i];
        if (!az_layer_matches(filter, start->linear->name)) {
            settle_layer(az, run, start);
            continue;
        }
        if (!add_layer(az, run, start, !starts->taken)) return false;
        pack_start(start->keep, run->pattern, run->layer[run->n - 1].start->data);
    }
    if (az_ok(az) && run->n == 0) az_fail(az, AZ_BAD_INPUT, "no layer's name matches layers='%s'", run->options->layers);
    return az_ok(az);
}

/* The pattern that is asked for, that of the masks that are there, or 2:4. */
static az_pattern pattern_of(const az_maskpro_options *o, const az_starts *starts)
{
    if (o->start.pattern.m) return o->start.pattern;
    const az_pattern found = starts->taken && starts->n > 0 ? az_mask_pattern(starts->layer[0].keep) : (az_pattern){0};
    return found.m && found.m <= AZ_NM_MOST && found.n <= AZ_NM_MOST_KEPT ? found : (az_pattern){2, 4};
}

static bool set_up(az_ctx *az, const az_compress_job *job, az_maskpro_run *run)
{
    az_start_settings settings = run->options->start;
    settings.seed = run->options->seed;
    const az_starts *starts = az_starts_find(az, job, &settings);
    if (!starts) return false;
    settings.pattern = run->pattern = pattern_of(run->options, starts);
    if (starts->taken && !az_starts_check(az, starts, run->pattern)) return false;
    az_arena *masks = az_arena_new(az);
    const bool good = masks && (starts->taken || choose_masks(az, run, &settings, starts, masks)) && set_up_layers(az, run, starts);
    az_arena_free(az, masks);
    return good;
}

bool az_maskpro_set_up(az_ctx *az, const az_compress_job *job, az_maskpro_run *run)
{
    az_scope_push(az);
    const bool good = set_up(az, job, run);
    az_scope_pop(az);
    return good;
}
