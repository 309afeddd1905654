/* huggingface_config.c - config.json as a configuration, and back. */
#include "lm/files/huggingface.h"
#include "lm/lm_internal.h"

#include <math.h>
#include <string.h>

/* ---- reading ---- */

/* The first name of "n_embd|hidden_size"; how long it is. */
static int first_name(const char *keys)
{
    return (int)strcspn(keys, "|");
}

/* The field of the first of the keys alone, and *keys moved on to the next; NULL after the last. */
static const json_t *next_field(const json_t *json, const char **keys)
{
    const size_t length = (size_t)first_name(*keys);
    const json_t *field = json_object_getn(json, *keys, length);
    *keys += (*keys)[length] == '|' ? length + 1 : length;
    return field;
}

const json_t *az_lm_json_field(az_ctx *az, const json_t *json, const char *keys)
{
    const json_t *found = NULL;
    const char *name = keys;
    for (const char *at = keys; at && *at;) {
        const char *this = at;
        const json_t *field = next_field(json, &at);
        if (!field) continue;
        if (found && !json_equal(found, field))
            return az_fail(az, AZ_BAD_INPUT, "\"%.*s\" and \"%.*s\" are names of the same thing and say different things", first_name(name),
                           name, first_name(this), this);
        if (!found) name = this;
        found = field;
    }
    return found;
}

/* Silent is the assumed value, null is 0. */
static bool read_integer(az_ctx *az, const json_t *json, const char *keys, int64_t *value)
{
    const json_t *field = keys ? az_lm_json_field(az, json, keys) : NULL;
    if (!field) return az_ok(az);
    if (!json_is_integer(field) && !json_is_null(field))
        return az_fail(az, AZ_BAD_INPUT, "\"%.*s\" is not an integer", first_name(keys), keys);
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
    for (const char *at = family->keys->activation; at && *at;) {
        const char *key = at;
        const json_t *field = next_field(json, &at);
        const char *name = json_string_value(field);
        if (!field || json_is_null(field)) continue;
        if (!name) return az_fail(az, AZ_BAD_INPUT, "\"%.*s\" is not a text", first_name(key), key);
        if (strcmp(name, family->activation) == 0 || (!*at && family->alias && strcmp(name, family->alias) == 0)) return true;
        return az_fail(az, AZ_BAD_INPUT, "\"%.*s\" is '%.40s'; %s is known with '%s' only", first_name(key), key, name, family->model_type,
                       family->activation);
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
        if (name[i]) name[i] = az_format_text(az, "\"%.*s\"", first_name(name[i]), name[i]);
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

/* ---- writing ---- */

static void put(json_t *json, const char *keys, json_t *value)
{
    if (keys)
        json_object_setn_new(json, keys, (size_t)first_name(keys), value);
    else
        json_decref(value);
}

static void put_integer(json_t *json, const char *keys, int64_t value)
{
    put(json, keys, json_integer(value));
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
    put(json, key, json_real(value));
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
    put_real(json, keys->rope_theta_local, c->rope_theta_local);
}

/* The switches of the biases, where the model has some. */
static bool put_biases(az_ctx *az, const az_lm_family *family, const az_lm *lm, bool own, json_t *json)
{
    az_lm_slot *slots;
    az_scope_push(az);
    const int n = az_lm_slots(az, (az_lm *)(uintptr_t)lm, &slots);
    for (int i = 0; i < n; i++) {
        const char *key = az_lm_bias_switch(family, &slots[i]);
        if (!key || !*slots[i].vector) continue;
        if (*key) json_object_set_new(json, key, json_true());
        if (!*key && !own)
            az_fail(az, AZ_BAD_INPUT, "folders of %s have no bias '%s'; write a .gguf file instead", family->model_type, slots[i].name);
    }
    az_scope_pop(az);
    return az_ok(az);
}

static const char *torch_name(az_dtype dtype)
{
    return dtype == AZ_F16 ? "float16" : dtype == AZ_BF16 ? "bfloat16" : dtype == AZ_F64 ? "float64" : "float32";
}

static json_t *config_to_json(az_ctx *az, const az_lm_family *family, const az_lm *lm, az_dtype dtype, bool own)
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
    put_real(json, keys->norm_eps, c->norm_eps);
    for (const char *key = keys->activation; key && *key; next_field(json, &key)) put(json, key, json_string(family->activation));
    if (family->window) json_object_set_new(json, "sliding_window", c->window ? json_integer(c->window) : json_null());
    if (family->window_asked) json_object_set_new(json, "use_sliding_window", json_boolean(c->window > 0));
    if (keys->query_scalar) put_scores(json, keys, c);
    az_lm_layers_to_json(family, lm, json);
    put_real(json, keys->attention_scale, c->attention_scale);
    put_real(json, keys->embedding_scale, c->embedding_scale);
    put_real(json, keys->residual_scale, c->residual_scale);
    put_real(json, keys->logit_scale, c->logit_scale);
    put_integer(json, keys->experts, c->experts);
    if (keys->experts) put_integer(json, "num_experts_per_tok", c->experts_used);
    if (az_lm_knows_part(lm->arch, AZ_PART_PROJECT_IN)) put_integer(json, "word_embed_proj_dim", c->embed_width);
    if (lm->arch->post_norm) json_object_set_new(json, "do_layer_norm_before", json_boolean(!c->post_norm));
    if (lm->arch->parallel) json_object_set_new(json, "use_parallel_residual", json_boolean(!c->sequential));
    if (put_biases(az, family, lm, own, json) && put_rope(az, family, lm, json)) return json;
    json_decref(json);
    return NULL;
}

/* ---- the same again ---- */

static bool same(double a, double b)
{
    return a == b || fabs(a - b) <= 1e-5 * fmax(fabs(a), fabs(b)); /* frequencies are f32, scaled on the way */
}

/* Fails with the first field in which the model that config.json tells of is another one. */
static bool compare_fields(az_ctx *az, const az_lm_family *family, const az_lm *lm, const az_lm *back)
{
    const az_lm_config *c = &lm->config, *d = &back->config;
    const bool rope = az_lm_has_rope(lm->arch);
    const struct {
        const char *name;
        double value, read;
    } field[] = {
        {"width", (double)c->width, (double)d->width},
        {"heads", (double)c->heads, (double)d->heads},
        {"kv_heads", (double)c->kv_heads, (double)d->kv_heads},
        {"head_dim", (double)c->head_dim, (double)d->head_dim},
        {"hidden", (double)c->hidden, (double)d->hidden},
        {"context", (double)c->context, (double)d->context},
        {"embed_width", (double)c->embed_width, (double)d->embed_width},
        {"experts", (double)c->experts, (double)d->experts},
        {"experts_used", (double)c->experts_used, (double)d->experts_used},
        {"tied", c->tied, d->tied},
        {"sequential", c->sequential, d->sequential},
        {"post_norm", c->post_norm, d->post_norm},
        {"norm_eps", c->norm_eps, d->norm_eps},
        {"attention_scale", c->attention_scale, d->attention_scale},
        {"attention_softcap", c->attention_softcap, d->attention_softcap},
        {"logit_softcap", c->logit_softcap, d->logit_softcap},
        {"embedding_scale", c->embedding_scale, d->embedding_scale},
        {"residual_scale", c->residual_scale, d->residual_scale},
        {"logit_scale", c->logit_scale, d->logit_scale},
        {"rope_dims", rope ? (double)c->rope_dims : 0, rope ? (double)d->rope_dims : 0},
        {"rope_theta", rope ? c->rope_theta : 0, rope ? d->rope_theta : 0},
        {"rope_magnitude", c->rope_magnitude > 0 ? c->rope_magnitude : 1, d->rope_magnitude > 0 ? d->rope_magnitude : 1},
        {"rope_original", lm->rope_frequency_long ? (double)c->rope_original : 0, back->rope_frequency_long ? (double)d->rope_original : 0},
    };
    for (size_t i = 0; i < sizeof field / sizeof *field; i++)
        if (!same(field[i].value, field[i].read))
            return az_fail(az, AZ_BAD_INPUT,
                           "config.json of %s cannot say %s = %g: it would be read as %g; write a .gguf file instead, or take that value",
                           family->model_type, field[i].name, field[i].value, field[i].read);
    return true;
}

/* Whether queries and keys of block b turn alike in both: window, and frequencies. */
static bool compare_block(az_ctx *az, const az_lm_family *family, const az_lm *lm, const az_lm *back, int b)
{
    const az_lm_block *x = &lm->block[b], *y = &back->block[b];
    const int64_t window = x->windowed ? lm->config.window : 0, read = y->windowed ? back->config.window : 0;
    if (window != read)
        return az_fail(az, AZ_BAD_INPUT,
                       "config.json of %s cannot say that block %d has a window of %lld: it would be read as %lld (0 = none)",
                       family->model_type, b, (long long)window, (long long)read);
    if (!az_lm_has_rope(lm->arch)) return true;
    if (x->turned != y->turned)
        return az_fail(az, AZ_BAD_INPUT, "config.json of %s cannot say whether block %d has rotary embedding", family->model_type, b);
    const az_tensor *f = x->windowed && lm->rope_frequency_local ? lm->rope_frequency_local : lm->rope_frequency;
    const az_tensor *g = y->windowed && back->rope_frequency_local ? back->rope_frequency_local : back->rope_frequency;
    for (int64_t i = 0; i < lm->config.rope_dims / 2; i++)
        if (!same(az_item(f, i), az_item(g, i)))
            return az_fail(
                az, AZ_BAD_INPUT,
                "config.json of %s cannot say the rotary frequencies of block %d (rope_theta %g%s): number %lld is %g and would be "
                "read as %g; write a .gguf file instead",
                family->model_type, b, x->windowed && lm->rope_frequency_local ? lm->config.rope_theta_local : lm->config.rope_theta,
                x->windowed ? " under a window" : "", (long long)i, az_item(f, i), az_item(g, i));
    return true;
}

json_t *az_lm_config_to_json(az_ctx *az, const az_lm_family *family, const az_lm *lm, az_dtype dtype, bool own)
{
    json_t *json = config_to_json(az, family, lm, dtype, own);
    if (!json) return NULL;
    az_lm *back = az_lm_from_json(az, family, az_lm_arch_by_halves(family->arch), json, INT64_MAX);
    bool good = back && compare_fields(az, family, lm, back);
    if (!back) az_fail_context(az, "a folder of %s", family->model_type);
    for (int b = 0; good && b < lm->config.blocks; b++) good = compare_block(az, family, lm, back, b);
    az_lm_free(az, back);
    if (good) return json;
    json_decref(json);
    return NULL;
}
