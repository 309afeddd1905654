/* huggingface_config_write.c - a model's configuration as config.json. What was written is read again and compared, so that a folder says
 * all of its model or is not written. */
#include "lm/files/huggingface.h"

#include <math.h>
#include <string.h>

/* ---- writing ---- */

static void put(json_t *json, const char *keys, json_t *value)
{
    if (keys)
        json_object_setn_new(json, keys, (size_t)az_lm_first_key(keys), value);
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
    for (const char *key = keys->activation; key; key = az_lm_next_key(key)) put(json, key, json_string(family->activation));
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
