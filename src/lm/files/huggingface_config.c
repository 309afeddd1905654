/* huggingface_config.c - config.json as a configuration, and as a model without weights. */
#include "lm/files/huggingface.h"
#include "lm/lm_internal.h"

#include <math.h>
#include <string.h>

int az_lm_first_key(const char *keys)
{
    return (int)strcspn(keys, "|");
}

const char *az_lm_next_key(const char *keys)
{
    const char *rest = keys + az_lm_first_key(keys);
    return *rest ? rest + 1 : NULL;
}

/* The field of the first of the keys alone. */
static const json_t *first_field(const json_t *json, const char *keys)
{
    return json_object_getn(json, keys, (size_t)az_lm_first_key(keys));
}

const json_t *az_lm_json_field(az_ctx *az, const json_t *json, const char *keys)
{
    const json_t *found = NULL;
    const char *name = keys;
    for (const char *key = keys; key; key = az_lm_next_key(key)) {
        const json_t *field = first_field(json, key);
        if (!field || (found && json_is_null(field))) continue;
        if (found && !json_is_null(found) && !json_equal(found, field))
            return az_fail(az, AZ_BAD_INPUT, "\"%.*s\" and \"%.*s\" are names of the same thing and say different things",
                           az_lm_first_key(name), name, az_lm_first_key(key), key);
        found = field;
        name = key;
    }
    return found;
}

/* Silent is the assumed value, null is 0. */
static bool read_integer(az_ctx *az, const json_t *json, const char *keys, int64_t *value)
{
    const json_t *field = keys ? az_lm_json_field(az, json, keys) : NULL;
    if (!field) return az_ok(az);
    if (!json_is_integer(field) && !json_is_null(field))
        return az_fail(az, AZ_BAD_INPUT, "\"%.*s\" is not an integer", az_lm_first_key(keys), keys);
    *value = json_integer_value(field);
    return true;
}

static void read_real(az_ctx *az, const json_t *json, const char *key, double *value)
{
    const json_t *field = key ? json_object_get(json, key) : NULL;
    if (json_is_number(field)) *value = json_number_value(field);
    if (field && !json_is_number(field) && !json_is_null(field)) az_fail(az, AZ_BAD_INPUT, "\"%s\" is not a number", key);
}

/* A number that stands for "missing" when it is 0, which it therefore must not be. */
static void read_positive(az_ctx *az, const json_t *json, const char *key, double *value)
{
    read_real(az, json, key, value);
    if (key && json_is_number(json_object_get(json, key)) && *value == 0) az_fail(az, AZ_BAD_INPUT, "\"%s\" is 0: must be positive", key);
}

/* A switch; silent or null is the assumed value. */
static bool read_switch(az_ctx *az, const json_t *json, const char *key, bool assumed)
{
    const json_t *field = json_object_get(json, key);
    if (field && !json_is_boolean(field) && !json_is_null(field)) az_fail(az, AZ_BAD_INPUT, "\"%s\" is neither true nor false", key);
    return json_is_boolean(field) ? json_is_true(field) : assumed;
}

/* Settings that families have and the architecture table has not, with the only value that is understood (also the usual one). */
static bool refuse_unusual(az_ctx *az, const az_lm_arch *arch, const json_t *json)
{
    static const struct {
        const char *key;
        bool value;
    } usual[] = {
        {"layer_norm_elementwise_affine", true},
        {"scale_attn_weights", true},
        {"scale_attn_by_inverse_layer_idx", false},
        {"apply_residual_connection_post_layernorm", false},
        {"add_cross_attention", false},
        {"_remove_final_layer_norm", false},
        {"use_bidirectional_attention", false},
        {"qk_layernorm", false},
    };
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++) {
        const json_t *field = json_object_get(json, usual[i].key);
        if (json_is_boolean(field) && json_boolean_value(field) != usual[i].value)
            return az_fail(az, AZ_BAD_INPUT, "models with \"%s\": %s are not known", usual[i].key, usual[i].value ? "false" : "true");
    }
    if (arch->parallel || !json_is_true(json_object_get(json, "use_parallel_residual"))) return true;
    return az_fail(az, AZ_BAD_INPUT, "%s is not known with attention and network side by side (\"use_parallel_residual\")", arch->name);
}

/* Of several keys the first that says something counts; an alias is known of the last one. */
static bool check_activation(az_ctx *az, const az_lm_family *family, const json_t *json)
{
    for (const char *key = family->keys->activation; key; key = az_lm_next_key(key)) {
        const json_t *field = first_field(json, key);
        const char *name = json_string_value(field);
        if (!field || json_is_null(field)) continue;
        if (!name) return az_fail(az, AZ_BAD_INPUT, "\"%.*s\" is not a text", az_lm_first_key(key), key);
        if (strcmp(name, family->activation) == 0 || (!az_lm_next_key(key) && family->alias && strcmp(name, family->alias) == 0))
            return true;
        return az_fail(az, AZ_BAD_INPUT, "\"%.*s\" is '%.40s'; %s is known with '%s' only", az_lm_first_key(key), key, name,
                       family->model_type, family->activation);
    }
    return true;
}

/* sliding_window, unless it is switched off, and which blocks have it where a number says that. */
static bool read_window(az_ctx *az, const az_lm_family *family, const json_t *json, az_lm_config *config)
{
    if (!family->window || !read_switch(az, json, "use_sliding_window", !family->window_asked)) {
        config->window = 0;
        return az_ok(az);
    }
    return read_integer(az, json, "sliding_window", &config->window) &&
           read_integer(az, json, family->keys->window_pattern, &config->window_pattern);
}

/* What Gemma adds: the scale of the scores, and soft caps, which the row may have to have. */
static bool read_scores(az_ctx *az, const az_lm_family *family, const json_t *json, az_lm_config *config)
{
    const az_lm_config_keys *keys = family->keys;
    const az_lm_arch *arch = az_lm_arch_by_halves(family->arch);
    double scalar = 256;
    if (!keys->query_scalar) return true;
    read_real(az, json, keys->query_scalar, &scalar);
    if (!(scalar > 0)) return az_fail(az, AZ_BAD_INPUT, "\"%s\" is %g: must be positive", keys->query_scalar, scalar);
    config->attention_scale = 1 / sqrt(scalar);
    read_real(az, json, keys->attention_softcap, &config->attention_softcap);
    read_real(az, json, keys->logit_softcap, &config->logit_softcap);
    const bool off = json_object_get(json, keys->attention_softcap) && config->attention_softcap == 0 && arch->attention_softcap > 0;
    if (off || (json_object_get(json, keys->logit_softcap) && config->logit_softcap == 0 && arch->logit_softcap > 0))
        return az_fail(az, AZ_BAD_INPUT, "%s is not known without its soft cap (\"%s\")", family->model_type,
                       off ? keys->attention_softcap : keys->logit_softcap);
    return az_ok(az);
}

/* Factors of Granite. */
static void read_scales(az_ctx *az, const az_lm_config_keys *keys, const json_t *json, az_lm_config *config)
{
    read_positive(az, json, keys->attention_scale, &config->attention_scale);
    read_positive(az, json, keys->embedding_scale, &config->embedding_scale);
    read_positive(az, json, keys->residual_scale, &config->residual_scale);
    read_positive(az, json, keys->logit_scale, &config->logit_scale);
}

/* How much of each head turns. */
static double read_rope_share(az_ctx *az, const az_lm_family *family, const json_t *json)
{
    double share = family->rope_share > 0 ? family->rope_share : 1;
    read_real(az, json, "rotary_pct", &share);
    read_real(az, json, "partial_rotary_factor", &share);
    read_real(az, az_lm_rope_parameters(json), "partial_rotary_factor", &share);
    if (!(share > 0 && share <= 1)) az_fail(az, AZ_BAD_INPUT, "a share %g of each head turns: must be above 0 and at most 1", share);
    return share;
}

/* The base of the frequencies, which stands alone or among the settings of the rotary embedding. */
static bool read_theta(az_ctx *az, const json_t *json, const char *key, const json_t *settings, double *theta)
{
    double inner = 0, outer = 0;
    read_positive(az, json, key, &outer);
    read_positive(az, settings, "rope_theta", &inner);
    if (inner != 0 && outer != 0 && inner != outer)
        return az_fail(az, AZ_BAD_INPUT, "\"%s\" is %g, but the settings of the rotary embedding say %g; take out the wrong one", key,
                       outer, inner);
    if (inner != 0 || outer != 0) *theta = inner != 0 ? inner : outer;
    return az_ok(az);
}

/* The sizes that a file must tell are there, and those that it tells are possible. */
static bool check_sizes(az_ctx *az, const az_lm_family *family, const az_lm_config *config)
{
    const az_lm_config_keys *keys = family->keys;
    const char *name[AZ_LM_SIZES] = {[AZ_LM_VOCABULARY] = "vocab_size", [AZ_LM_WIDTH] = keys->width,      [AZ_LM_BLOCKS] = keys->blocks,
                                     [AZ_LM_HEADS] = keys->heads,       [AZ_LM_HIDDEN] = keys->hidden,    [AZ_LM_CONTEXT] = keys->context,
                                     [AZ_LM_KV_HEADS] = keys->kv_heads, [AZ_LM_HEAD_DIM] = keys->head_dim};
    for (int i = 0; i < AZ_LM_SIZES; i++)
        if (name[i]) name[i] = az_format_text(az, "\"%.*s\"", az_lm_first_key(name[i]), name[i]);
    return az_lm_check_sizes(az, config, name);
}

bool az_lm_config_from_json(az_ctx *az, const az_lm_family *family, const json_t *json, az_lm_config *config)
{
    const az_lm_config_keys *keys = family->keys;
    *config = family->assumed;
    const bool read = read_integer(az, json, "vocab_size", &config->vocabulary) && read_integer(az, json, keys->width, &config->width) &&
                      read_integer(az, json, keys->blocks, &config->blocks) && read_integer(az, json, keys->heads, &config->heads) &&
                      read_integer(az, json, keys->kv_heads, &config->kv_heads) &&
                      read_integer(az, json, keys->head_dim, &config->head_dim) && read_integer(az, json, keys->hidden, &config->hidden) &&
                      read_integer(az, json, keys->context, &config->context) && read_window(az, family, json, config) &&
                      read_integer(az, json, keys->rope_pattern, &config->rope_pattern) && read_scores(az, family, json, config);
    const az_lm_arch *arch = az_lm_arch_by_halves(family->arch);
    if (!read || !refuse_unusual(az, arch, json) || !check_activation(az, family, json)) return false;
    if (keys->experts &&
        !(read_integer(az, json, keys->experts, &config->experts) && read_integer(az, json, "num_experts_per_tok", &config->experts_used)))
        return false;
    config->tied = read_switch(az, json, "tie_word_embeddings", family->tied);
    config->sequential = arch->parallel && !read_switch(az, json, "use_parallel_residual", true);
    if (config->hidden == 0 && family->hidden_by_width && config->width <= 1 << 18) config->hidden = 4 * config->width;
    read_positive(az, json, keys->norm_eps, &config->norm_eps);
    if (keys->rope_theta && !read_theta(az, json, keys->rope_theta, az_lm_rope_parameters(json), &config->rope_theta)) return false;
    if (family->window && !read_theta(az, json, keys->rope_theta_local ? keys->rope_theta_local : "", az_lm_rope_parameters_local(json),
                                      &config->rope_theta_local))
        return false;
    config->post_norm = !read_switch(az, json, "do_layer_norm_before", true);
    if (!read_integer(az, json, "word_embed_proj_dim", &config->embed_width)) return false;
    read_scales(az, keys, json, config);
    const double share = read_rope_share(az, family, json);
    az_lm_config_defaults(arch, config);
    if (share < 1 && config->rope_dims > 0) config->rope_dims = (int64_t)(share * (double)config->head_dim);
    return az_ok(az) && check_sizes(az, family, config);
}

az_lm *az_lm_from_json(az_ctx *az, const az_lm_family *family, const az_lm_arch *arch, const json_t *json, int64_t tensors)
{
    az_lm_config config;
    if (!az_lm_config_from_json(az, family, json, &config) || !az_lm_validate(az, arch, &config)) return NULL;
    const int64_t least = config.experts > 0 ? 3 * config.experts : 1; /* tensors of a block */
    if (config.blocks > tensors / least)
        return az_fail(az, AZ_BAD_INPUT, "config.json tells of %lld layers with %lld experts, but there are only %lld tensors",
                       (long long)config.blocks, (long long)config.experts, (long long)tensors);
    if (family->qkv_by_head && config.kv_heads != config.heads)
        return az_fail(az, AZ_BAD_INPUT, "%s with fewer key-value heads than heads is not known", family->model_type);
    az_lm *lm = az_lm_empty(az, arch, &config, NULL);
    az_scope_push(az);
    const bool good = lm && az_lm_layers_from_json(az, family, json, lm) && az_lm_rope_from_json(az, json, lm);
    az_scope_pop(az);
    if (good) return lm;
    az_lm_free(az, lm);
    return NULL;
}
