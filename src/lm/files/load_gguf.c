/* load_gguf.c - a GGUF file as a model: its keys become the configuration, its tensors the weights. */
#include "lm/files/load.h"
#include "lm/files/own.h"
#include "lm/tokenizer/tokenizer.h"

#include <math.h>
#include <string.h>

/* ---- configuration ---- */

/* "llama.block_count" */
static const az_gguf_key *arch_key(az_ctx *az, const az_gguf *gguf, const az_lm_arch *arch, const char *name)
{
    const char *full = az_format_text(az, "%s.%s", arch->name, name);
    return full ? az_gguf_find(gguf, full) : NULL;
}

typedef struct config_key {
    const char *name;
    int64_t *value;
    bool required, by_block; /* by_block: or a list of one for each block, which must all be the same */
} config_key;

/* One number, or as many equal ones as there are blocks. */
static bool read_integer(az_ctx *az, const az_gguf_key *key, const config_key *wanted, int64_t blocks)
{
    if (!wanted->by_block || !key || key->type != AZ_GGUF_ARRAY) return az_gguf_read_integer(az, key, wanted->value);
    const az_gguf_type item = key->item;
    const bool whole = az_gguf_scalar_bytes(item) > 0 && item != AZ_GGUF_F32 && item != AZ_GGUF_F64;
    if (!whole || blocks < 1 || key->count != (uint64_t)blocks)
        return az_fail(az, AZ_BAD_INPUT, "key '%s' is not a list of an integer for each of %lld blocks", az_text_show(az, key->name),
                       (long long)blocks);
    const double first = az_gguf_item(key, 0);
    for (uint64_t b = 1; b < key->count; b++)
        if (az_gguf_item(key, b) != first)
            return az_fail(az, AZ_BAD_INPUT, "key '%s' is %g for block 0 and %g for block %llu; only blocks of one shape are read",
                           az_text_show(az, key->name), first, az_gguf_item(key, b), (unsigned long long)b);
    *wanted->value = fabs(first) < 1e15 ? (int64_t)first : -1;
    return true;
}

static bool read_integers(az_ctx *az, const az_gguf *gguf, const az_lm_arch *arch, az_lm_config *config)
{
    int64_t value_length = 0;
    if (az_gguf_parts(gguf) != 1)
        return az_fail(az, AZ_BAD_INPUT, "the model is split over %lld files; only from its files can it be loaded",
                       (long long)az_gguf_parts(gguf));
    const config_key keys[] = {
        {"context_length", &config->context, .required = true},
        {"embedding_length", &config->width, .required = true},
        {"block_count", &config->blocks, .required = true},
        {"feed_forward_length", &config->hidden, .required = true, .by_block = true},
        {"attention.head_count", &config->heads, .required = true, .by_block = true},
        {"attention.head_count_kv", &config->kv_heads, .by_block = true},
        {"attention.key_length", &config->head_dim},
        {"attention.value_length", &value_length},
        {"rope.dimension_count", &config->rope_dims},
        {"attention.sliding_window", &config->window},
        {"expert_count", &config->experts},
        {"expert_used_count", &config->experts_used},
    };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const az_gguf_key *key = arch_key(az, gguf, arch, keys[i].name);
        if (!key && keys[i].required) return az_fail(az, AZ_BAD_INPUT, "key '%s.%s' is missing", arch->name, keys[i].name);
        if (!read_integer(az, key, &keys[i], config->blocks)) return false;
    }
    const int64_t key_length = config->head_dim == 0 && config->heads > 0 ? config->width / config->heads : config->head_dim;
    if (value_length != 0 && value_length != key_length)
        return az_fail(az, AZ_BAD_INPUT, "keys have %lld dimensions a head and values %lld; different ones are not read",
                       (long long)key_length, (long long)value_length);
    return true;
}

/* Which blocks have the window: a number n (all but the last of every n), or a flag for each block, in *flag. */
static bool read_window_pattern(az_ctx *az, const az_gguf *gguf, const az_lm_arch *arch, az_lm_config *config, bool **flag)
{
    const az_gguf_key *key = arch_key(az, gguf, arch, "attention.sliding_window_pattern");
    if (!key || az_gguf_integer(key, &config->window_pattern)) {
        if (key && config->window_pattern == 0) config->window_pattern = INT32_MAX; /* no block is without */
        return true;
    }
    if (key->type != AZ_GGUF_ARRAY || az_gguf_scalar_bytes(key->item) == 0)
        return az_fail(az, AZ_BAD_INPUT, "key '%s.attention.sliding_window_pattern' is neither a number nor a list of them", arch->name);
    if (config->blocks < 0 || key->count != (uint64_t)config->blocks)
        return az_fail(az, AZ_BAD_INPUT, "key '%s.attention.sliding_window_pattern' has %llu entries for %lld blocks", arch->name,
                       (unsigned long long)key->count, (long long)config->blocks);
    *flag = az_alloc_array(az, (size_t)key->count, sizeof **flag);
    for (uint64_t b = 0; *flag && b < key->count; b++) (*flag)[b] = az_gguf_item(key, b) != 0;
    if (*flag) config->window_pattern = az_lm_period_of(*flag, config->blocks);
    return *flag != NULL;
}

static bool read_reals(az_ctx *az, const az_gguf *gguf, const az_lm_arch *arch, az_lm_config *config)
{
    const char *norm_eps = arch->norm == AZ_NORM_RMS ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon";
    const struct {
        const char *name;
        double *value;
    } keys[] = {
        {norm_eps, &config->norm_eps},
        {"rope.freq_base", &config->rope_theta},
        {"rope.freq_base_swa", &config->rope_theta_local},
        {"attention.scale", &config->attention_scale},
        {"attn_logit_softcapping", &config->attention_softcap},
        {"final_logit_softcapping", &config->logit_softcap},
        {"embedding_scale", &config->embedding_scale},
        {"residual_scale", &config->residual_scale},
        {"logit_scale", &config->logit_scale},
    };
    if (!arch_key(az, gguf, arch, norm_eps)) return az_fail(az, AZ_BAD_INPUT, "key '%s.%s' is missing", arch->name, norm_eps);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const az_gguf_key *key = arch_key(az, gguf, arch, keys[i].name);
        if (!az_gguf_read_real(az, key, keys[i].value)) return false;
        if (key && *keys[i].value == 0 && i < 2) /* 0 is what a configuration says of a value that is missing */
            return az_fail(az, AZ_BAD_INPUT, "key '%s.%s' is 0: must be positive", arch->name, keys[i].name);
    }
    return true;
}

/* The sizes by the names of their keys. */
static bool check_sizes(az_ctx *az, const az_lm_arch *arch, const az_lm_config *config)
{
    const char *name[AZ_LM_SIZES] = {[AZ_LM_WIDTH] = "embedding_length",        [AZ_LM_BLOCKS] = "block_count",
                                     [AZ_LM_HEADS] = "attention.head_count",    [AZ_LM_KV_HEADS] = "attention.head_count_kv",
                                     [AZ_LM_HEAD_DIM] = "attention.key_length", [AZ_LM_HIDDEN] = "feed_forward_length",
                                     [AZ_LM_CONTEXT] = "context_length"};
    for (int i = 0; i < AZ_LM_SIZES; i++)
        if (name[i]) name[i] = az_format_text(az, "%s.%s", arch->name, name[i]);
    return az_lm_check_sizes(az, config, name);
}

static bool read_switches(az_ctx *az, const az_gguf *gguf, const az_lm_arch *arch, az_lm_config *config)
{
    bool parallel = true, causal = true;
    if (!az_gguf_read_bool(az, arch_key(az, gguf, arch, "use_parallel_residual"), &parallel) ||
        !az_gguf_read_bool(az, arch_key(az, gguf, arch, "attention.causal"), &causal))
        return false;
    config->sequential = arch->parallel && !parallel;
    return causal || az_fail(az, AZ_BAD_INPUT,
                             "key '%s.attention.causal' is false: the model reads a text from both sides, as one for "
                             "embeddings does; only models that read from the left are known",
                             arch->name);
}

/* The rows of the embedding, or what the key says of an embedding that is stored by its parts. */
static bool read_vocabulary(az_ctx *az, const az_gguf *gguf, const az_lm_arch *arch, az_lm_config *config)
{
    const az_gguf_tensor *embedding = az_gguf_find_tensor(gguf, "token_embd.weight");
    const az_gguf_key *own = az_gguf_find(gguf, "adze.weights");
    if (!embedding && own && az_gguf_integer(arch_key(az, gguf, arch, "vocab_size"), &config->vocabulary)) return true;
    if (!embedding || embedding->rank != 2)
        return az_fail(az, AZ_BAD_INPUT, "tensor 'token_embd.weight' is %s",
                       embedding ? "not a matrix" : "missing; the file has no weights");
    config->vocabulary = embedding->shape[1] <= INT64_MAX ? (int64_t)embedding->shape[1] : -1;
    return true;
}

static bool read_config(az_ctx *az, const az_gguf *gguf, const az_lm_arch *arch, az_lm_config *config, bool **windowed)
{
    if (!read_integers(az, gguf, arch, config)) return false;
    if (!read_reals(az, gguf, arch, config) || !read_window_pattern(az, gguf, arch, config, windowed)) return false;
    if (!read_switches(az, gguf, arch, config) || !read_vocabulary(az, gguf, arch, config)) return false;
    az_lm_config_defaults(arch, config);
    if (!check_sizes(az, arch, config) || !az_lm_validate(az, arch, config)) return false;
    if (config->blocks > gguf->tensors)
        return az_fail(az, AZ_BAD_INPUT, "%s.block_count is %lld, but the file has only %lld tensors", arch->name,
                       (long long)config->blocks, (long long)gguf->tensors);
    return true;
}

/* ---- weights ---- */

static bool dense_type(uint32_t type, az_dtype *dtype)
{
    static const struct {
        uint32_t type;
        az_dtype dtype;
    } dense[] = {{0, AZ_F32}, {1, AZ_F16}, {28, AZ_F64}, {30, AZ_BF16}};
    for (size_t i = 0; i < sizeof dense / sizeof *dense; i++) {
        if (dense[i].type != type) continue;
        *dtype = dense[i].dtype;
        return true;
    }
    return false;
}

static bool unreadable(az_ctx *az, const az_gguf_tensor *tensor, const char *wanted)
{
    return az_fail(az, AZ_BAD_INPUT, "tensor '%s' is stored as %s, which is not read %s; convert the model, for example to q8_0",
                   az_text_show(az, tensor->name), az_ggml_type_of(tensor->type)->name, wanted);
}

static bool attach_matrix(az_ctx *az, az_lm *lm, const az_lm_slot *slot, const az_gguf_tensor *tensor)
{
    const bool stacked = az_lm_part_of_expert(slot->part); /* {cols, rows, experts} */
    const uint64_t rows = tensor->rank > 1 ? tensor->shape[1] * (stacked ? tensor->shape[2] : 1) : 0;
    if (tensor->rank != (stacked ? 3 : 2) || tensor->shape[0] != (uint64_t)slot->cols || rows != (uint64_t)slot->gguf_rows ||
        (stacked && tensor->shape[1] != (uint64_t)slot->rows))
        return az_fail(az, AZ_BAD_INPUT, "tensor '%s' must have the shape {%lld, %lld}, but has rank %d and begins {%llu, %llu}",
                       slot->gguf, (long long)slot->cols, (long long)slot->gguf_rows, tensor->rank, (unsigned long long)tensor->shape[0],
                       (unsigned long long)tensor->shape[1]);
    const az_format *format = az_format_by_ggml((int)tensor->type);
    if (!format) return unreadable(az, tensor, "as a matrix");
    az_dtype dtype = AZ_U8;
    const bool dense = dense_type(tensor->type, &dtype);
    const int64_t row = dense ? slot->cols : slot->cols / format->block * format->block_bytes;
    const char *data = (const char *)tensor->data + (size_t)(slot->gguf_row * row) * az_dtype_size(dtype);
    az_tensor *part = az_lm_view(az, dtype, 2, (const int64_t[]){slot->rows, row}, data);
    if (dense) return az_lm_attach_weight(az, lm, slot, az_weight_dense(az, az_lm_single_precision(az, slot, part)));
    return part && az_lm_attach_weight(az, lm, slot, az_weight_from_parts(az, format, slot->rows, slot->cols, &part));
}

static bool attach_vector(az_ctx *az, az_lm *lm, const az_lm_slot *slot, const az_gguf_tensor *tensor)
{
    az_dtype dtype;
    if (tensor->rank != 1 || tensor->shape[0] != (uint64_t)slot->gguf_rows)
        return az_fail(az, AZ_BAD_INPUT, "tensor '%s' must be a vector of %lld values, but has rank %d and begins {%llu}", slot->gguf,
                       (long long)slot->gguf_rows, tensor->rank, (unsigned long long)tensor->shape[0]);
    if (!dense_type(tensor->type, &dtype)) return unreadable(az, tensor, "as a vector");
    const char *data = (const char *)tensor->data + (size_t)slot->gguf_row * az_dtype_size(dtype);
    az_tensor *view = az_lm_view(az, dtype, 1, &slot->rows, data);
    return az_lm_attach_vector(az, lm, slot, dtype == AZ_F32 ? view : az_cast(az, view, AZ_F32));
}

/* ---- weights of adze's own ---- */

static bool read_own_list(az_ctx *az, const az_gguf *gguf, az_own_weights *out)
{
    const az_gguf_key *key = az_gguf_find(gguf, "adze.weights");
    *out = (az_own_weights){0};
    if (!key) return true;
    if (key->type != AZ_GGUF_ARRAY || key->item != AZ_GGUF_STRING || key->count > (uint64_t)gguf->tensors)
        return az_fail(az, AZ_BAD_INPUT, "key 'adze.weights' is not a list of weights whose tensors are in the file");
    out->item = az_alloc_array(az, (size_t)key->count, sizeof *out->item);
    const unsigned char *at = key->data;
    for (uint64_t i = 0; out->item && i < key->count; i++)
        if (!az_own_parse(az, az_gguf_next_string(&at), &out->item[out->n++])) return false;
    return out->item && az_own_sort(az, out);
}

/* ggml has no unsigned bytes: they lie in its signed ones. */
static bool holds(const az_gguf_tensor *tensor, az_dtype dtype)
{
    static const struct {
        uint32_t type;
        az_dtype dtype;
    } types[] = {{24, AZ_I8}, {24, AZ_U8}, {25, AZ_I16}, {26, AZ_I32}, {27, AZ_I64}};
    az_dtype dense;
    if (dense_type(tensor->type, &dense)) return dense == dtype;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].type == tensor->type && types[i].dtype == dtype) return true;
    return false;
}

static const az_tensor *find_own(az_ctx *az, const char *name, az_dtype dtype, const void *container)
{
    const az_gguf_tensor *tensor = az_gguf_find_tensor(container, name);
    if (!tensor) return NULL;
    if (!holds(tensor, dtype))
        return az_fail(az, AZ_BAD_INPUT, "tensor '%s' is stored as %s and should hold %s", name, az_ggml_type_of(tensor->type)->name,
                       az_dtype_name(dtype));
    int64_t shape[AZ_GGUF_MAX_RANK];
    for (int i = 0; i < tensor->rank; i++) {
        shape[i] = (int64_t)tensor->shape[tensor->rank - 1 - i];
        if (shape[i] < 1) return az_fail(az, AZ_BAD_INPUT, "tensor '%s' is empty", name);
    }
    return az_lm_view(az, dtype, tensor->rank, shape, tensor->data);
}

/* The file's tensors that have no place in the model. */
static bool refuse_unknown(az_ctx *az, const az_gguf *gguf, const az_own_weights *own, const bool *used)
{
    const char *names = NULL;
    int64_t count = 0;
    for (int64_t i = 0; i < gguf->tensors; i++) {
        if (used[i] || az_lm_is_rope_tensor(gguf->tensor[i].name)) continue;
        const az_text full = gguf->tensor[i].name;
        if (own->n > 0 && az_own_has_part(az, own, az_format_text(az, "%.*s", (int)full.length, full.data))) continue;
        const char *name = az_text_show(az, full);
        if (count++ < 4) names = names ? az_format_text(az, "%s, %s", names, name) : name;
    }
    if (count == 0) return true;
    return az_fail(az, AZ_BAD_INPUT, "%lld tensor%s no place in this architecture: %s%s", (long long)count, count == 1 ? " has" : "s have",
                   names, count > 4 ? ", ..." : "");
}

static bool attach_all(az_ctx *az, az_lm *lm, const az_gguf *gguf)
{
    az_lm_slot *slots;
    const int n = az_lm_slots(az, lm, &slots);
    bool *used = az_alloc_array(az, (size_t)gguf->tensors, sizeof *used);
    az_own_weights own_weights;
    if (n == 0 || !used || !read_own_list(az, gguf, &own_weights)) return false;
    for (int i = 0; i < n; i++) {
        az_own_weight *own = az_own_find(&own_weights, slots[i].name);
        if (own && !az_own_attach(az, lm, &slots[i], own, find_own, gguf)) return false;
        if (own) continue;
        const az_gguf_tensor *tensor = az_gguf_find_tensor(gguf, slots[i].gguf);
        if (!tensor) continue;
        used[tensor - gguf->tensor] = true;
        if (!(slots[i].weight ? attach_matrix : attach_vector)(az, lm, &slots[i], tensor)) return false;
    }
    return az_own_complete(az, &own_weights) && az_lm_complete(az, lm) && refuse_unknown(az, gguf, &own_weights, used);
}

/* ---- everything ---- */

/* What the model owns beside its weights. */
static bool add_rest(az_ctx *az, az_lm *lm, const az_gguf *gguf)
{
    az_arena_enter(az, lm->arena);
    lm->metadata = az_alloc(az, sizeof *lm->metadata);
    lm->tokenizer = az_tokenizer_from_gguf(az, gguf);
    az_arena_leave(az);
    if (!lm->metadata || !az_ok(az)) return false;
    lm->metadata->gguf = gguf;
    if (az_vocabulary(lm->tokenizer) > lm->config.vocabulary)
        return az_fail(az, AZ_BAD_INPUT, "the tokenizer has %lld tokens, but the embedding only %lld rows",
                       (long long)az_vocabulary(lm->tokenizer), (long long)lm->config.vocabulary);
    return true;
}

static const az_lm_arch *find_arch(az_ctx *az, const az_gguf *gguf)
{
    az_text name = {0};
    const az_gguf_key *key = az_gguf_find(gguf, "general.architecture");
    if (!key) return az_fail(az, AZ_BAD_INPUT, "key 'general.architecture' is missing; this is not a language model");
    if (!az_gguf_read_string(az, key, &name)) return NULL;
    const char *shown = az_text_show(az, name);
    const az_lm_arch *arch = strlen(shown) == name.length ? az_lm_arch_by_name(shown) : NULL;
    az_text order = {0};
    if (arch && az_gguf_string(az_gguf_find(gguf, "adze.rope_order"), &order) && az_text_equal(order, az_text_of("halves")))
        arch = az_lm_arch_by_halves(arch->name); /* the parts of a weight could not change places */
    return arch ? arch : az_fail(az, AZ_BAD_INPUT, "architecture '%s' is not known; there are: %s", shown, az_lm_arch_names(az));
}

az_lm *az_lm_from_gguf(az_ctx *az, const az_gguf *gguf)
{
    if (!gguf || !az_ok(az)) return NULL;
    az_lm_config config = {0};
    az_lm *lm = NULL;
    bool *windowed = NULL;
    az_scope_push(az);
    const az_lm_arch *arch = find_arch(az, gguf);
    if (arch && read_config(az, gguf, arch, &config, &windowed)) lm = az_lm_empty(az, arch, &config, NULL);
    for (int b = 0; lm && windowed && b < config.blocks; b++) lm->block[b].windowed = windowed[b] && config.window > 0;
    const bool good =
        lm && attach_all(az, lm, gguf) && (!lm->rope_frequency || az_lm_rope_from_gguf(az, lm, gguf)) && add_rest(az, lm, gguf);
    az_scope_pop(az);
    if (good) return lm;
    az_lm_free(az, lm);
    return NULL;
}
