/* huggingface_rope.c - "rope_scaling" of config.json (also "rope_parameters"), and back. */
#include "lm/files/huggingface.h"
#include "lm/rope_scaling.h"

#include <math.h>
#include <string.h>

static const json_t *rope_settings(const json_t *json)
{
    const json_t *scaling = json_object_get(json, "rope_scaling");
    return json_is_object(scaling) ? scaling : json_object_get(json, "rope_parameters");
}

const json_t *az_lm_rope_parameters(const json_t *json)
{
    const json_t *all = rope_settings(json), *some = json_object_get(all, "full_attention");
    return json_is_object(some) ? some : all;
}

const json_t *az_lm_rope_parameters_local(const json_t *json)
{
    return json_object_get(rope_settings(json), "sliding_attention");
}

static double real(az_ctx *az, const json_t *json, const char *key, double assumed)
{
    const json_t *field = json_object_get(json, key);
    if (field && !json_is_number(field) && !json_is_null(field))
        az_fail(az, AZ_BAD_INPUT, "\"%s\" of the rotary scaling is not a number", key);
    return json_is_number(field) ? json_number_value(field) : assumed;
}

/* ---- reading ---- */

static double factor_of(az_ctx *az, const json_t *scaling)
{
    if (!json_object_get(scaling, "factor")) az_fail(az, AZ_BAD_INPUT, "the rotary scaling has no \"factor\"");
    return real(az, scaling, "factor", 1);
}

static bool set_magnitude(az_ctx *az, az_lm *lm, double magnitude)
{
    if (!(magnitude >= 1e-30 && magnitude <= 1e30))
        return az_fail(az, AZ_BAD_INPUT, "rotary scaling multiplies by %g: must be from 1e-30 to 1e30", magnitude);
    lm->config.rope_magnitude = magnitude == 1 ? 0 : magnitude;
    return true;
}

static bool read_yarn(az_ctx *az, const json_t *scaling, az_lm *lm)
{
    const az_rope_scaling how = {.kind = AZ_ROPE_YARN,
                                 .factor = factor_of(az, scaling),
                                 .low = real(az, scaling, "beta_slow", 1),
                                 .high = real(az, scaling, "beta_fast", 32),
                                 .original = real(az, scaling, "original_max_position_embeddings", (double)lm->config.context),
                                 .exact = json_is_false(json_object_get(scaling, "truncate"))};
    const double weight = real(az, scaling, "mscale", 0), all = real(az, scaling, "mscale_all_dim", 0);
    const double usual = weight != 0 && all != 0 ? az_rope_yarn_magnitude(how.factor, weight) / az_rope_yarn_magnitude(how.factor, all)
                                                 : az_rope_yarn_magnitude(how.factor, 1);
    return set_magnitude(az, lm, real(az, scaling, "attention_factor", usual)) && az_rope_scale(az, lm, &how);
}

static double *read_factors(az_ctx *az, const json_t *scaling, const char *key, int64_t n)
{
    const json_t *list = json_object_get(scaling, key);
    if ((int64_t)json_array_size(list) != n)
        return az_fail(az, AZ_BAD_INPUT, "\"%s\" of the rotary scaling must list %lld numbers", key, (long long)n);
    double *factor = az_alloc_array(az, (size_t)n, sizeof *factor);
    for (int64_t i = 0; factor && i < n; i++) factor[i] = json_number_value(json_array_get(list, (size_t)i));
    return factor;
}

static bool read_long(az_ctx *az, const json_t *json, const json_t *scaling, int64_t assumed, az_lm *lm)
{
    const double context = (double)lm->config.context;
    double original = real(az, json, "original_max_position_embeddings", (double)assumed), factor = context / original;
    if (original == 0)
        original = real(az, scaling, "original_max_position_embeddings", context), factor = real(az, scaling, "factor", context / original);
    const double *near = read_factors(az, scaling, "short_factor", lm->config.rope_dims / 2);
    const double *far = near ? read_factors(az, scaling, "long_factor", lm->config.rope_dims / 2) : NULL;
    if (!far) return false;
    if (!(original > 1 && original < 1e9)) return az_fail(az, AZ_BAD_INPUT, "longrope with an original context of %g tokens", original);
    return set_magnitude(az, lm, real(az, scaling, "attention_factor", az_rope_long_magnitude(factor, original))) &&
           az_rope_scale_long(az, lm, near, far, (int64_t)original);
}

/* Inside the trained context it is no scaling at all; beyond it the angles would grow with the sequence, also of keys in the cache. */
static bool read_dynamic(az_ctx *az, const az_lm *lm)
{
    az_note(az, "dynamic rotary scaling begins behind %lld tokens, which is the context used", (long long)lm->config.context);
    return true;
}

/* The type of a scaling; NULL where it is none. */
static const char *type_of(az_ctx *az, const json_t *scaling)
{
    const json_t *named = json_object_get(scaling, "rope_type");
    if (!named) named = json_object_get(scaling, "type");
    const char *type = json_string_value(named);
    if (named && !type) az_fail(az, AZ_BAD_INPUT, "the type of the rotary scaling is not a text");
    return type && strcmp(type, "default") != 0 ? type : NULL;
}

bool az_lm_rope_from_json(az_ctx *az, const json_t *json, az_lm *lm)
{
    static const char *const keys[] = {"rope_scaling", "rope_parameters"};
    for (int i = 0; i < 2; i++) {
        const json_t *field = json_object_get(json, keys[i]);
        if (field && !json_is_object(field) && !json_is_null(field)) return az_fail(az, AZ_BAD_INPUT, "\"%s\" is no object", keys[i]);
    }
    const int64_t assumed = lm->config.rope_original; /* of the model type; it counts where sequences may outgrow it */
    lm->config.rope_original = 0;
    if (!lm->rope_frequency) return true;
    const json_t *scaling = az_lm_rope_parameters(json);
    const char *type = type_of(az, scaling), *local = type_of(az, az_lm_rope_parameters_local(json));
    if (local)
        return az_fail(az, AZ_BAD_INPUT, "rotary scaling ('%.40s') of the layers with a window (\"sliding_attention\") is not known",
                       local);
    if (!type) return az_ok(az);
    if (strcmp(type, "yarn") == 0) return read_yarn(az, scaling, lm);
    if (strcmp(type, "dynamic") == 0) return read_dynamic(az, lm);
    if (strcmp(type, "longrope") == 0 || strcmp(type, "su") == 0) return read_long(az, json, scaling, assumed, lm);
    if (strcmp(type, "llama3") != 0 && strcmp(type, "linear") != 0)
        return az_fail(az, AZ_BAD_INPUT, "rotary scaling of the type '%.40s' is not known; linear, dynamic, llama3, yarn and longrope are",
                       type);
    const az_rope_scaling how = {.kind = strcmp(type, "llama3") == 0 ? AZ_ROPE_BY_WAVELENGTH : AZ_ROPE_LINEAR,
                                 .factor = factor_of(az, scaling),
                                 .low = real(az, scaling, "low_freq_factor", 1),
                                 .high = real(az, scaling, "high_freq_factor", 4),
                                 .original = real(az, scaling, "original_max_position_embeddings", 8192)};
    return az_rope_scale(az, lm, &how);
}

/* ---- writing ---- */

static json_t *factor_list(const az_tensor *divisors)
{
    json_t *list = json_array();
    for (int64_t i = 0; divisors && i < az_count(divisors); i++) json_array_append_new(list, json_real(az_item(divisors, i)));
    return list;
}

/* Both lists of LongRoPE; its original context stands where Phi-3 has it. */
static bool put_long(az_ctx *az, const az_lm *lm, json_t *json, double magnitude)
{
    const az_tensor *near = az_rope_divisors(az, lm, lm->rope_frequency), *far = az_rope_divisors(az, lm, lm->rope_frequency_long);
    json_object_set_new(json, "original_max_position_embeddings", json_integer(lm->config.rope_original));
    json_object_set_new(json, "rope_scaling",
                        json_pack("{s:s, s:s, s:f, s:o, s:o}", "rope_type", "longrope", "type", "longrope", "attention_factor", magnitude,
                                  "short_factor", factor_list(near), "long_factor", factor_list(far)));
    return az_ok(az);
}

bool az_lm_rope_to_json(az_ctx *az, const az_lm *lm, json_t *json)
{
    const double magnitude = lm->config.rope_magnitude > 0 ? lm->config.rope_magnitude : 1;
    az_rope_scaling how;
    if (lm->rope_frequency_long) return put_long(az, lm, json, magnitude);
    if (!az_rope_scaling_of(az, lm, &how)) return false;
    if (how.kind != AZ_ROPE_YARN && magnitude != 1)
        return az_fail(az, AZ_BAD_INPUT, "config.json has no name for a rotary scaling that multiplies by %g", magnitude);
    if (how.kind == AZ_ROPE_YARN)
        json_object_set_new(json, "rope_scaling",
                            json_pack("{s:s, s:f, s:I, s:f, s:f, s:f, s:b}", "rope_type", "yarn", "factor", how.factor,
                                      "original_max_position_embeddings", (json_int_t)how.original, "beta_slow", how.low, "beta_fast",
                                      how.high, "attention_factor", magnitude, "truncate", !how.exact));
    else if (how.kind == AZ_ROPE_BY_WAVELENGTH)
        json_object_set_new(json, "rope_scaling",
                            json_pack("{s:s, s:f, s:f, s:f, s:I}", "rope_type", "llama3", "factor", how.factor, "low_freq_factor", how.low,
                                      "high_freq_factor", how.high, "original_max_position_embeddings", (json_int_t)how.original));
    else if (how.factor != 1)
        json_object_set_new(json, "rope_scaling", json_pack("{s:s, s:f}", "rope_type", "linear", "factor", how.factor));
    return true;
}
