/* huggingface_config.c - config.json as a configuration, and back. */
#include "lm/files/huggingface.h"
#include "lm/lm_internal.h"

#include <math.h>
#include <string.h>

/* ---- reading ---- */

static bool read_integer(az_ctx *az, const json_t *json, const char *key, int64_t *value)
{
    const json_t *field = key ? json_object_get(json, key) : NULL;
    if (!field || json_is_null(field)) return true;
    if (!json_is_integer(field)) return az_fail(az, AZ_BAD_INPUT, "\"%s\" is not an integer", key);
    *value = json_integer_value(field);
    return true;
}

static void read_real(az_ctx *az, const json_t *json, const char *key, double *value)
{
    const json_t *field = key ? json_object_get(json, key) : NULL;
    if (json_is_number(field)) *value = json_number_value(field);
    if (field && !json_is_number(field) && !json_is_null(field)) az_fail(az, AZ_BAD_INPUT, "\"%s\" is not a number", key);
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

static bool check_activation(az_ctx *az, const az_lm_family *family, const json_t *json)
{
    const char *key = family->keys->activation;
    const json_t *field = key ? json_object_get(json, key) : NULL;
    const char *name = json_string_value(field);
    if (field && !name && !json_is_null(field)) return az_fail(az, AZ_BAD_INPUT, "\"%s\" is not a text", key);
    if (!name || strcmp(name, family->activation) == 0 || (family->alias && strcmp(name, family->alias) == 0)) return true;
    return az_fail(az, AZ_BAD_INPUT, "\"%s\" is '%.40s'; %s is known with '%s' only", key, name, family->model_type, family->activation);
}

/* sliding_window, unless it is switched off, and which blocks have it where a number says that. */
static bool read_window(az_ctx *az, const az_lm_family *family, const json_t *json, az_lm_config *config)
{
    if (!family->window || !read_switch(az, json, "use_sliding_window", !family->window_asked)) return az_ok(az);
    config->window = json_object_get(json, "sliding_window") ? 0 : family->assumed_window;
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
    read_real(az, json, keys->attention_scale, &config->attention_scale);
    read_real(az, json, keys->embedding_scale, &config->embedding_scale);
    read_real(az, json, keys->residual_scale, &config->residual_scale);
    read_real(az, json, keys->logit_scale, &config->logit_scale);
}

/* How much of each head turns. */
static double read_rope_share(az_ctx *az, const az_lm_family *family, const json_t *json)
{
    double share = family->rope_share > 0 ? family->rope_share : 1;
    read_real(az, json, "rotary_pct", &share);
    read_real(az, json, "partial_rotary_factor", &share);
    read_real(az, az_lm_rope_parameters(json, "full_attention"), "partial_rotary_factor", &share);
    if (!(share > 0 && share <= 1)) az_fail(az, AZ_BAD_INPUT, "a share %g of each head turns: must be above 0 and at most 1", share);
    return share;
}

bool az_lm_config_from_json(az_ctx *az, const az_lm_family *family, const json_t *json, az_lm_config *config)
{
    const az_lm_config_keys *keys = family->keys;
    if (family->assumed) *config = *family->assumed;
    const bool read = read_integer(az, json, "vocab_size", &config->vocabulary) && read_integer(az, json, keys->width, &config->width) &&
                      read_integer(az, json, keys->blocks, &config->blocks) && read_integer(az, json, keys->heads, &config->heads) &&
                      read_integer(az, json, keys->kv_heads, &config->kv_heads) &&
                      read_integer(az, json, keys->head_dim, &config->head_dim) && read_integer(az, json, keys->hidden, &config->hidden) &&
                      read_integer(az, json, keys->context, &config->context) && read_window(az, family, json, config) &&
                      read_integer(az, json, keys->rope_pattern, &config->rope_pattern) && read_scores(az, family, json, config);
    const az_lm_arch *arch = az_lm_arch_by_halves(family->arch);
    if (!read || !refuse_unusual(az, arch, json) || !check_activation(az, family, json)) return false;
    if (family->experts && !(read_integer(az, json, "num_local_experts", &config->experts) &&
                             read_integer(az, json, "num_experts_per_tok", &config->experts_used)))
        return false;
    config->tied = read_switch(az, json, "tie_word_embeddings", family->tied);
    config->sequential = !read_switch(az, json, "use_parallel_residual", true);
    if (config->hidden == 0 && config->width > 0 && config->width <= 1 << 18) config->hidden = 4 * config->width;
    if (config->context == 0 && !keys->rope_theta) config->context = 2048;
    read_real(az, json, keys->norm_eps, &config->norm_eps);
    read_real(az, json, keys->rope_theta, &config->rope_theta);
    read_real(az, json, keys->rope_theta_local, &config->rope_theta_local);
    read_real(az, az_lm_rope_parameters(json, "full_attention"), "rope_theta", &config->rope_theta);
    if (keys->rope_theta_local) read_real(az, az_lm_rope_parameters(json, "sliding_attention"), "rope_theta", &config->rope_theta_local);
    config->post_norm = !read_switch(az, json, "do_layer_norm_before", true);
    if (!read_integer(az, json, "word_embed_proj_dim", &config->embed_width)) return false;
    read_scales(az, keys, json, config);
    const double share = read_rope_share(az, family, json);
    az_lm_config_defaults(arch, config);
    if (share < 1 && config->rope_dims > 0) config->rope_dims = (int64_t)(share * (double)config->head_dim);
    return az_ok(az);
}

/* ---- writing ---- */

static void put_integer(json_t *json, const char *key, int64_t value)
{
    if (key) json_object_set_new(json, key, json_integer(value));
}

static bool put_rope(az_ctx *az, const az_lm_family *family, const az_lm *lm, json_t *json)
{
    const az_lm_config *c = &lm->config;
    if (!family->keys->rope_theta) return true;
    json_object_set_new(json, family->keys->rope_theta, json_real(c->rope_theta));
    const double share = (double)c->rope_dims / (double)c->head_dim;
    if (strcmp(family->model_type, "gpt_neox") == 0)
        json_object_set_new(json, "rotary_pct", json_real(share));
    else if (share != 1 || family->rope_share > 0)
        json_object_set_new(json, "partial_rotary_factor", json_real(share));
    return az_lm_rope_to_json(az, lm, json);
}

static void put_softcap(json_t *json, const char *key, double cap)
{
    json_object_set_new(json, key, cap > 0 ? json_real(cap) : json_null());
}

static void put_real(json_t *json, const char *key, double value)
{
    if (key) json_object_set_new(json, key, json_real(value));
}

/* What Gemma adds. */
static void put_scores(json_t *json, const az_lm_config_keys *keys, const az_lm_config *c)
{
    const double scalar = 1 / (c->attention_scale * c->attention_scale), whole = round(scalar);
    const bool is_whole = fabs(scalar - whole) < 1e-6 * scalar;
    json_object_set_new(json, keys->query_scalar, is_whole ? json_integer((json_int_t)whole) : json_real(scalar));
    put_softcap(json, keys->attention_softcap, c->attention_softcap);
    put_softcap(json, keys->logit_softcap, c->logit_softcap);
    put_integer(json, keys->window_pattern, c->window_pattern);
    if (keys->rope_theta_local) json_object_set_new(json, keys->rope_theta_local, json_real(c->rope_theta_local));
}

static const char *torch_name(az_dtype dtype)
{
    return dtype == AZ_F16 ? "float16" : dtype == AZ_BF16 ? "bfloat16" : dtype == AZ_F64 ? "float64" : "float32";
}

json_t *az_lm_config_to_json(az_ctx *az, const az_lm_family *family, const az_lm *lm, az_dtype dtype)
{
    const az_lm_config *c = &lm->config;
    const az_lm_config_keys *keys = family->keys;
    json_t *json = json_pack("{s:[s], s:s, s:s, s:I, s:b}", "architectures", family->class_name, "model_type", family->model_type,
                             "torch_dtype", torch_name(dtype), "vocab_size", (json_int_t)c->vocabulary, "tie_word_embeddings", c->tied);
    put_integer(json, keys->width, c->width);
    put_integer(json, keys->blocks, c->blocks);
    put_integer(json, keys->heads, c->heads);
    put_integer(json, keys->kv_heads, c->kv_heads);
    put_integer(json, keys->head_dim, c->head_dim);
    put_integer(json, keys->hidden, c->hidden);
    put_integer(json, keys->context, c->context);
    if (keys->norm_eps) json_object_set_new(json, keys->norm_eps, json_real(c->norm_eps));
    if (keys->activation) json_object_set_new(json, keys->activation, json_string(family->activation));
    if (family->window) json_object_set_new(json, "sliding_window", c->window ? json_integer(c->window) : json_null());
    if (family->window_asked) json_object_set_new(json, "use_sliding_window", json_boolean(c->window > 0));
    if (keys->query_scalar) put_scores(json, keys, c);
    az_lm_layers_to_json(family, lm, json);
    put_real(json, keys->attention_scale, c->attention_scale);
    put_real(json, keys->embedding_scale, c->embedding_scale);
    put_real(json, keys->residual_scale, c->residual_scale);
    put_real(json, keys->logit_scale, c->logit_scale);
    if (family->experts) put_integer(json, "num_local_experts", c->experts);
    if (family->experts) put_integer(json, "num_experts_per_tok", c->experts_used);
    if (az_lm_knows_part(lm->arch, AZ_PART_PROJECT_IN)) put_integer(json, "word_embed_proj_dim", c->embed_width);
    if (lm->arch->post_norm) json_object_set_new(json, "do_layer_norm_before", json_boolean(!c->post_norm));
    if (lm->arch->parallel) json_object_set_new(json, "use_parallel_residual", json_boolean(!c->sequential));
    const az_tensor *bias = lm->block[0].q.bias;
    if (strcmp(family->arch, "llama") == 0 && bias) json_object_set_new(json, "attention_bias", json_true());
    if (strcmp(family->arch, "llama") == 0 && lm->block[0].up.bias) json_object_set_new(json, "mlp_bias", json_true());
    if (put_rope(az, family, lm, json)) return json;
    json_decref(json);
    return NULL;
}
