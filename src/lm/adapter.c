/* adapter.c - adapters as objects: made beside chosen layers of a model, found by name, listed as parameters. */
#include "lm/adapter.h"

#include "lm/adapter_targets.h"

#include <math.h>
#include <string.h>
#include <zlib.h>

az_adapter *az_adapter_empty(az_ctx *az, const char *name, const char *kind)
{
    az_arena *arena = az_arena_new(az);
    if (!arena) return NULL;
    az_arena_enter(az, arena);
    az_adapter *adapter = az_alloc(az, sizeof *adapter);
    if (adapter) *adapter = (az_adapter){.name = az_strdup(az, name), .kind = az_strdup(az, kind), .arena = arena};
    az_arena_leave(az);
    if (!az_ok(az)) az_arena_free(az, arena);
    return az_ok(az) ? adapter : NULL;
}

void az_adapter_free(az_ctx *az, az_adapter *adapter)
{
    if (adapter) az_arena_free(az, adapter->arena);
}

az_adapter_layer *az_adapter_find(const az_adapter *adapter, const char *name)
{
    for (int i = 0; adapter && i < adapter->layers; i++)
        if (strcmp(adapter->layer[i].name, name) == 0) return &adapter->layer[i];
    return NULL;
}

static az_dtype activations_of(const az_lm *lm)
{
    return lm->embedding->part[0]->dtype == AZ_F64 ? AZ_F64 : AZ_F32;
}

/* Appends to the list, whose room grows by doubling. */
static az_adapter_layer *append(az_ctx *az, az_adapter *adapter)
{
    const int n = adapter->layers;
    if ((n & (n - 1)) == 0) { /* 0, 1, 2, 4, ... are full */
        az_adapter_layer *more = az_alloc_array(az, n ? 2 * (size_t)n : 1, sizeof *more);
        if (!more) return NULL;
        if (n) memcpy(more, adapter->layer, (size_t)n * sizeof *more);
        adapter->layer = more;
    }
    return &adapter->layer[adapter->layers++];
}

az_adapter_layer *az_adapter_add_layer(az_ctx *az, const az_lm *lm, az_adapter *adapter, const char *name, int64_t rank, double alpha)
{
    if (!lm || !adapter || !az_ok(az)) return NULL;
    az_adapter_layer *layer = az_adapter_find(adapter, name);
    az_target target;
    if (!az_target_named(az, lm, name, &target)) return NULL;
    if (rank < 0 || (rank > 0 && !target.weight)) return az_fail(az, AZ_BAD_CALL, "%s: rank %lld", name, (long long)rank);
    az_arena_enter(az, adapter->arena);
    if (!layer) {
        layer = append(az, adapter);
        if (layer) *layer = (az_adapter_layer){.name = az_strdup(az, name), .in = target.in, .out = target.out};
    }
    if (layer && rank > 0) {
        const az_dtype dtype = activations_of(lm);
        const bool table = az_adapter_is_table(name);
        layer->rank = rank;
        layer->alpha = alpha;
        layer->scale = alpha / (adapter->rank_stabilized ? sqrt((double)rank) : (double)rank);
        layer->a = az_zeros(az, dtype, 2, (int64_t[]){table ? layer->in : rank, table ? rank : layer->in});
        layer->b = az_zeros(az, dtype, 2, (int64_t[]){layer->out, rank});
    }
    az_arena_leave(az);
    return az_ok(az) ? layer : NULL;
}

/* ---- parameters ---- */

static const char *const suffix[AZ_ADAPTER_TENSORS] = {"lora_a", "lora_b", "lora_e", "magnitude", "lora_bias", "bias", "weight", "gain"};

void az_adapter_places(az_adapter_layer *layer, az_tensor **place[AZ_ADAPTER_TENSORS])
{
    az_tensor **all[AZ_ADAPTER_TENSORS] = {
        &layer->a,   &layer->b, &layer->e, &layer->magnitude, &layer->b_bias, &layer->bias, layer->weight ? &layer->weight->part[0] : NULL,
        &layer->gain};
    for (int k = 0; k < AZ_ADAPTER_TENSORS; k++) place[k] = all[k] && *all[k] ? all[k] : NULL;
}

/* The tensors of generators, each once. */
static int list_generators(az_ctx *az, az_generators *all, az_lm_parameter *list, int n)
{
    static const char *const names[AZ_GENERATOR_TENSORS] = {"down", "attend", "up", "numerator", "denominator"};
    for (int b = 0; b < all->blocks; b++) {
        az_tensor **place[AZ_GENERATOR_TENSORS];
        az_generator_places(all, b, place);
        for (int k = az_generator_is_first(all, b) ? 0 : AZ_GENERATOR_NETWORK_TENSORS; k < AZ_GENERATOR_TENSORS; k++)
            if (place[k]) list[n++] = (az_lm_parameter){.name = az_format_text(az, "blocks.%d.iapt.%s", b, names[k]), .slot = place[k]};
    }
    return n;
}

int az_adapter_parameters(az_ctx *az, az_adapter *adapter, az_lm_parameter **parameters)
{
    *parameters = NULL;
    if (!adapter) return 0;
    const size_t blocks = adapter->generators ? (size_t)adapter->generators->blocks : 0;
    az_lm_parameter *list =
        az_alloc_array(az, (size_t)adapter->layers * AZ_ADAPTER_TENSORS + 2 + AZ_GENERATOR_TENSORS * blocks, sizeof *list);
    int n = 0;
    if (list && adapter->prompt) list[n++] = (az_lm_parameter){.name = "prompt", .slot = &adapter->prompt};
    if (list && adapter->prefix) list[n++] = (az_lm_parameter){.name = "prefix", .slot = &adapter->prefix};
    if (list && adapter->generators) n = list_generators(az, adapter->generators, list, n);
    for (int i = 0; list && i < adapter->layers; i++) {
        az_tensor **place[AZ_ADAPTER_TENSORS];
        az_adapter_places(&adapter->layer[i], place);
        for (int k = 0; k < AZ_ADAPTER_TENSORS; k++)
            if (place[k])
                list[n++] = (az_lm_parameter){.name = az_format_text(az, "%s.%s", adapter->layer[i].name, suffix[k]), .slot = place[k]};
    }
    *parameters = az_ok(az) ? list : NULL;
    return az_ok(az) ? n : 0;
}

int64_t az_adapter_parameter_count(const az_adapter *adapter)
{
    int64_t count = 0;
    if (adapter && adapter->prompt) count += az_count(adapter->prompt);
    if (adapter && adapter->prefix) count += az_count(adapter->prefix);
    for (int b = 0; adapter && adapter->generators && b < adapter->generators->blocks; b++) {
        az_tensor **place[AZ_GENERATOR_TENSORS];
        az_generator_places(adapter->generators, b, place);
        for (int k = az_generator_is_first(adapter->generators, b) ? 0 : AZ_GENERATOR_NETWORK_TENSORS; k < AZ_GENERATOR_TENSORS; k++)
            if (place[k]) count += az_count(*place[k]);
    }
    for (int i = 0; adapter && i < adapter->layers; i++) {
        az_tensor **place[AZ_ADAPTER_TENSORS];
        az_adapter_places(&adapter->layer[i], place);
        for (int k = 0; k < AZ_ADAPTER_TENSORS; k++) count += place[k] ? az_count(*place[k]) : 0;
    }
    return count;
}

/* Sum over the rows, which may lie in another order in another file, of a checksum of each. */
static uint64_t sum_of_rows(az_ctx *az, const az_weight *w)
{
    uint64_t sum = 0;
    az_scope_push(az);
    const az_tensor *dense = az_weight_decode(az, w);
    for (int64_t r = 0; dense && r < w->rows; r++)
        sum += crc32_z(crc32(0, NULL, 0), (const Bytef *)(az_f32(dense) + r * w->cols), (size_t)w->cols * sizeof(float));
    az_scope_pop(az);
    return sum;
}

const char *az_adapter_base(az_ctx *az, const az_adapter *adapter, const az_lm *lm)
{
    uint64_t digest = 0;
    for (int i = 0; adapter && lm && i < adapter->layers; i++) {
        az_target target;
        if (!az_target_named(az, lm, adapter->layer[i].name, &target)) return NULL;
        if (target.weight) digest += az_stream(adapter->layer[i].name, sum_of_rows(az, target.weight));
    }
    return az_format_text(az, "%016llx", (unsigned long long)digest);
}

static bool check_base(az_ctx *az, const az_adapter *adapter, const az_lm *lm)
{
    if (!adapter->base) return true;
    az_scope_push(az);
    const char *digest = az_adapter_base(az, adapter, lm);
    const bool same = digest && strcmp(digest, adapter->base) == 0;
    if (digest && !same)
        az_fail(az, AZ_BAD_INPUT,
                "the adapter is for the residual model that was written with it (weights %s), and this model's weights are others (%s)",
                adapter->base, digest);
    az_scope_pop(az);
    return same;
}

bool az_adapter_check(az_ctx *az, const az_adapter *adapter, const az_lm *lm)
{
    if (!adapter || !lm) return false;
    for (int i = 0; i < adapter->layers; i++) {
        const az_adapter_layer *layer = &adapter->layer[i];
        az_target target;
        if (!az_target_named(az, lm, layer->name, &target)) return false;
        if (target.in != layer->in || target.out != layer->out)
            return az_fail(az, AZ_BAD_INPUT, "the adapter is for a layer %s of shape [%lld, %lld]; the model's is [%lld, %lld]",
                           layer->name, (long long)layer->out, (long long)layer->in, (long long)target.out, (long long)target.in);
    }
    const az_lm_config *c = &lm->config;
    const int64_t columns = c->blocks * 2 * c->kv_heads * c->head_dim;
    if (adapter->prompt && adapter->prompt->shape[1] != c->embed_width)
        return az_fail(az, AZ_BAD_INPUT, "the adapter's virtual tokens are %lld wide; the model's embedding is %lld wide",
                       (long long)adapter->prompt->shape[1], (long long)c->embed_width);
    const az_generators *g = adapter->generators;
    if (g && (g->blocks != c->blocks || g->network[0].down->shape[0] != c->width))
        return az_fail(az, AZ_BAD_INPUT, "the adapter makes virtual tokens for %d blocks, %lld wide; the model has %lld, %lld wide",
                       g->blocks, (long long)g->network[0].down->shape[0], (long long)c->blocks, (long long)c->width);
    if (adapter->prefix && adapter->prefix->shape[1] != columns)
        return az_fail(az, AZ_BAD_INPUT, "the adapter's prefix has %lld columns; the model wants %lld",
                       (long long)adapter->prefix->shape[1], (long long)columns);
    return check_base(az, adapter, lm);
}

az_tensor *az_adapter_delta(az_ctx *az, const az_adapter_layer *layer)
{
    if (!layer) return NULL;
    if (!layer->a) return az_zeros(az, AZ_F32, 2, (int64_t[]){layer->out, layer->in});
    const bool table = az_adapter_is_table(layer->name);
    az_tensor *b = layer->e ? az_mul(az, layer->b, layer->e) : layer->b;
    if (table) return az_affine(az, az_matmul_nt(az, layer->a, b), layer->scale, 0); /* [vocabulary, width] */
    return az_affine(az, az_matmul(az, b, layer->a), layer->scale, 0);
}

/* ---- making one ---- */

static bool initialise(az_ctx *az, az_adapter *adapter, az_adapter_layer *layer, const az_adapter_how *how)
{
    const bool table = az_adapter_is_table(layer->name);
    const az_dtype dtype = layer->a->dtype;
    const uint64_t stream = az_stream(layer->name, 1);
    const double bound = 1 / sqrt((double)layer->in);
    az_arena_enter(az, adapter->arena);
    if (table)
        layer->b = az_randn(az, dtype, 2, layer->b->shape, 1, how->seed, stream);
    else if (how->gaussian)
        layer->a = az_randn(az, dtype, 2, layer->a->shape, 1 / (double)layer->rank, how->seed, stream);
    else
        layer->a = az_rand(az, dtype, 2, layer->a->shape, -bound, bound, how->seed, stream);
    az_arena_leave(az);
    return az_ok(az);
}

/* The magnitude that leaves the layer as it is: |W|, since B is zero. */
static bool add_magnitude(az_ctx *az, az_adapter *adapter, az_adapter_layer *layer, const az_weight *w)
{
    az_arena_enter(az, adapter->arena);
    layer->magnitude = az_adapter_row_norm(az, w, layer);
    az_arena_leave(az);
    return layer->magnitude != NULL;
}

/* A copy of the model's own vector, which the adapter's stands in for. */
static bool add_vector(az_ctx *az, az_adapter *adapter, az_tensor **place, const az_tensor *own)
{
    az_arena_enter(az, adapter->arena);
    *place = az_copy(az, own);
    az_arena_leave(az);
    return *place != NULL;
}

static bool add_weight(az_ctx *az, az_adapter *adapter, az_adapter_layer *layer, const az_weight *w)
{
    az_arena_enter(az, adapter->arena);
    az_tensor *dense = w->format == az_format_by_name("f64") ? az_copy(az, w->part[0]) : az_weight_decode(az, w);
    layer->weight = az_weight_dense(az, dense);
    az_arena_leave(az);
    return layer->weight != NULL;
}

static bool add_target(az_ctx *az, const az_lm *lm, az_adapter *adapter, const az_target *target, const az_adapter_how *how)
{
    const int64_t rank = target->adapt ? target->rank : 0;
    const bool bias = target->bias && (target->save || how->bias == AZ_BIAS_ALL || (how->bias == AZ_BIAS_ADAPTED && target->adapt));
    if (rank == 0 && !bias && !target->save) return true;
    az_adapter_layer *layer = az_adapter_add_layer(az, lm, adapter, target->name, rank, target->alpha);
    if (!layer) return false;
    if (rank > 0 && !initialise(az, adapter, layer, how)) return false;
    if (rank > 0 && how->dora && !az_adapter_is_table(layer->name) && !add_magnitude(az, adapter, layer, target->weight)) return false;
    if (bias && !add_vector(az, adapter, &layer->bias, target->bias)) return false;
    if (target->save && target->gain) return add_vector(az, adapter, &layer->gain, target->gain);
    return !target->save || add_weight(az, adapter, layer, target->weight);
}

static bool check_how(az_ctx *az, const az_adapter_how *how)
{
    if (how->rank < 1) return az_fail(az, AZ_BAD_INPUT, "rank must be at least 1, it is %lld", (long long)how->rank);
    if (!(how->dropout >= 0 && how->dropout < 1))
        return az_fail(az, AZ_BAD_INPUT, "dropout must be from 0 to below 1, it is %g", how->dropout);
    if (!isfinite(how->alpha)) return az_fail(az, AZ_BAD_INPUT, "alpha is not finite");
    if (how->alpha == 0) az_note(az, "alpha is 0: the adapter changes nothing");
    return true;
}

/* One remark on the layers whose rank is more than their matrices can have. */
static void note_ranks(az_ctx *az, const az_adapter *adapter)
{
    const az_adapter_layer *first = NULL;
    int n = 0;
    for (int i = 0; i < adapter->layers; i++) {
        const az_adapter_layer *layer = &adapter->layer[i];
        if (layer->rank <= (layer->in < layer->out ? layer->in : layer->out)) continue;
        if (n++ == 0) first = layer;
    }
    if (n > 0)
        az_note(az, "%s%s: rank %lld is above what a matrix [%lld, %lld] can have", first->name,
                n > 1 ? az_format_text(az, " and %d more", n - 1) : "", (long long)first->rank, (long long)first->out,
                (long long)first->in);
}

az_adapter *az_adapter_new(az_ctx *az, const az_lm *lm, const az_adapter_how *how)
{
    if (!lm || !how || !check_how(az, how)) return NULL;
    az_adapter *adapter = az_adapter_empty(az, "adapter", "LORA");
    if (!adapter) return NULL;
    adapter->dropout = how->dropout;
    adapter->rank_stabilized = how->rank_stabilized;
    az_scope_push(az);
    az_target *target;
    const int n = az_targets(az, lm, how, &target);
    for (int i = 0; i < n && az_ok(az); i++) add_target(az, lm, adapter, &target[i], how);
    if (az_ok(az)) note_ranks(az, adapter);
    az_scope_pop(az);
    if (az_ok(az)) return adapter;
    az_adapter_free(az, adapter);
    return NULL;
}
