/* rope_gguf.c - rotary scaling in GGUF files: keys <architecture>.rope.scaling.*, and tensors that divide the frequencies one by one
 * (rope_freqs: always, which is how Llama 3's scaling is stored; rope_factors_short and _long: LongRoPE). */
#include "lm/files/load.h"
#include "lm/rope_scaling.h"

#include <math.h>

static const char each_name[] = "rope_freqs.weight";
static const char near_name[] = "rope_factors_short.weight", far_name[] = "rope_factors_long.weight";

bool az_lm_is_rope_tensor(az_text name)
{
    return az_text_equal(name, az_text_of(each_name)) || az_text_equal(name, az_text_of(near_name)) ||
           az_text_equal(name, az_text_of(far_name));
}

/* ---- reading ---- */

static const az_gguf_key *scaling_key(az_ctx *az, const az_gguf *gguf, const az_lm *lm, const char *name)
{
    const char *full = az_format_text(az, "%s.rope.scaling.%s", lm->arch->name, name);
    return full ? az_gguf_find(gguf, full) : NULL;
}

static double read_real(az_ctx *az, const az_gguf *gguf, const az_lm *lm, const char *name, double assumed)
{
    az_gguf_read_real(az, scaling_key(az, gguf, lm, name), &assumed);
    return assumed;
}

/* By how much all frequencies are divided: the key of today, or that of 2023; 0 is as good as none. */
static double read_factor(az_ctx *az, const az_gguf *gguf, const az_lm *lm)
{
    const char *old = az_format_text(az, "%s.rope.scale_linear", lm->arch->name);
    double factor = 0;
    if (old && !scaling_key(az, gguf, lm, "factor")) az_gguf_read_real(az, az_gguf_find(gguf, old), &factor);
    factor = read_real(az, gguf, lm, "factor", factor);
    return factor == 0 ? 1 : factor;
}

/* The values of a tensor that divides the frequencies; NULL without an error when there is none. */
static double *read_divisors(az_ctx *az, const az_lm *lm, const az_gguf *gguf, const char *name)
{
    const int64_t n = lm->config.rope_dims / 2;
    const az_gguf_tensor *tensor = az_gguf_find_tensor(gguf, name);
    if (!tensor) return NULL;
    if (tensor->type != 0 || tensor->rank != 1 || tensor->shape[0] != (uint64_t)n)
        return az_fail(az, AZ_BAD_INPUT, "tensor '%s' must be a vector of %lld F32 values", name, (long long)n);
    double *divisor = az_alloc_array(az, (size_t)n, sizeof *divisor);
    for (int64_t i = 0; divisor && i < n; i++) {
        divisor[i] = (double)((const float *)tensor->data)[i];
        if (!az_rope_is_divisor(divisor[i]))
            return az_fail(az, AZ_BAD_INPUT, "%s[%lld] = %g: must be 1e-6 to 1e20", name, (long long)i, divisor[i]);
    }
    return divisor;
}

/* What YaRN multiplies by: the key of Hugging Face's number wins over the formula, whose second weight divides. */
static double read_yarn_magnitude(az_ctx *az, const az_lm *lm, const az_gguf *gguf, double factor)
{
    const double weight = read_real(az, gguf, lm, "yarn_log_multiplier", 0);
    const double magnitude = az_rope_yarn_magnitude(factor, 1) / az_rope_yarn_magnitude(factor, weight);
    return read_real(az, gguf, lm, "yarn_attn_factor", magnitude);
}

static bool read_scaling(az_ctx *az, az_lm *lm, const az_gguf *gguf, az_text type)
{
    const bool yarn = az_text_equal(type, az_text_of("yarn")), none = az_text_equal(type, az_text_of("none"));
    if (!yarn && !none && !az_text_equal(type, az_text_of("linear")) && !az_text_equal(type, az_text_of("longrope")))
        return az_fail(az, AZ_BAD_INPUT, "%s.rope.scaling.type is '%s'; none, linear, yarn and longrope are known", lm->arch->name,
                       az_text_show(az, type));
    const double original = read_real(az, gguf, lm, "original_context_length", (double)lm->config.context);
    az_rope_scaling how = {.kind = yarn ? AZ_ROPE_YARN : AZ_ROPE_LINEAR, .factor = 1, .low = 1, .high = 32, .original = original};
    if (!none) how.factor = read_factor(az, gguf, lm);
    if (!(how.factor > 0) || !isfinite(how.factor))
        return az_fail(az, AZ_BAD_INPUT, "%s.rope.scaling.factor = %g: must be positive", lm->arch->name, how.factor);
    if (yarn) how.low = read_real(az, gguf, lm, "yarn_beta_slow", how.low);
    if (yarn) how.high = read_real(az, gguf, lm, "yarn_beta_fast", how.high);
    bool truncate = true; /* adze's own key */
    az_gguf_read_bool(az, scaling_key(az, gguf, lm, "yarn_truncate"), &truncate);
    how.exact = yarn && !truncate;
    if (yarn && read_real(az, gguf, lm, "yarn_ext_factor", 1) != 1)
        return az_fail(az, AZ_BAD_INPUT, "%s.rope.scaling.yarn_ext_factor other than 1 is not known", lm->arch->name);
    const double more = read_real(az, gguf, lm, "attn_factor", 1);
    const double magnitude = more * (yarn ? read_yarn_magnitude(az, lm, gguf, how.factor) : 1);
    if (!(magnitude >= 1e-30 && magnitude <= 1e30))
        return az_fail(az, AZ_BAD_INPUT, "the rotary scaling of %s multiplies by %g: must be from 1e-30 to 1e30", lm->arch->name,
                       magnitude);
    lm->config.rope_magnitude = magnitude == 1 ? 0 : magnitude;
    return az_rope_scale(az, lm, &how);
}

bool az_lm_rope_from_gguf(az_ctx *az, az_lm *lm, const az_gguf *gguf)
{
    az_text type = az_text_of("linear");
    if (!az_gguf_read_string(az, scaling_key(az, gguf, lm, "type"), &type) || !read_scaling(az, lm, gguf, type)) return false;
    const double *each = read_divisors(az, lm, gguf, each_name);
    const double *near = read_divisors(az, lm, gguf, near_name), *far = read_divisors(az, lm, gguf, far_name);
    if (!az_ok(az)) return false;
    float *frequency = az_f32_mut(lm->rope_frequency);
    for (int64_t i = 0; each && i < lm->config.rope_dims / 2; i++) frequency[i] = (float)((double)frequency[i] / each[i]);
    if (!near && !far) return true;
    if (!near || !far) return az_fail(az, AZ_BAD_INPUT, "of '%s' and '%s' one is missing", near_name, far_name);
    return az_rope_scale_long(az, lm, near, far, (int64_t)read_real(az, gguf, lm, "original_context_length", (double)lm->config.context));
}

/* ---- writing ---- */

static bool put_real(az_ctx *az, az_gguf_writer *writer, const az_lm *lm, const char *name, double value)
{
    const char *key = az_format_text(az, "%s.rope.scaling.%s", lm->arch->name, name);
    return key && az_gguf_put_real(writer, key, value);
}

static bool put_type(az_ctx *az, az_gguf_writer *writer, const az_lm *lm, const char *type)
{
    const char *key = az_format_text(az, "%s.rope.scaling.type", lm->arch->name);
    return key && az_gguf_put_string(writer, key, az_text_of(type));
}

static bool put_original(az_ctx *az, az_gguf_writer *writer, const az_lm *lm, double original)
{
    const char *key = az_format_text(az, "%s.rope.scaling.original_context_length", lm->arch->name);
    return key && az_gguf_put_integer(writer, key, (int64_t)original);
}

/* Other programs know YaRN with whole pairs only. */
static bool put_exact(az_ctx *az, az_gguf_writer *writer, const az_lm *lm)
{
    const char *key = az_format_text(az, "%s.rope.scaling.yarn_truncate", lm->arch->name);
    az_note(az, "other programs round where YaRN's scaling begins and ends (\"truncate\": false has no key that they know)");
    return key && az_gguf_put_bool(writer, key, false);
}

/* Of what a model may keep, GGUF has keys for YaRN; the rest is in its frequencies. */
static bool is_yarn(const az_lm *lm)
{
    return lm->rope_scaling && lm->rope_scaling->kind == AZ_ROPE_YARN;
}

/* Readers multiply by YaRN's own magnitude; attn_factor is what is left. */
static bool put_yarn(az_ctx *az, az_gguf_writer *writer, const az_lm *lm)
{
    const az_rope_scaling *how = lm->rope_scaling;
    const double magnitude = lm->config.rope_magnitude > 0 ? lm->config.rope_magnitude : 1;
    const double left = magnitude / az_rope_yarn_magnitude(how->factor, 1);
    return put_type(az, writer, lm, "yarn") && put_real(az, writer, lm, "factor", how->factor) &&
           put_original(az, writer, lm, how->original) && (!how->exact || put_exact(az, writer, lm)) &&
           (how->low == 1 || put_real(az, writer, lm, "yarn_beta_slow", how->low)) &&
           (how->high == 32 || put_real(az, writer, lm, "yarn_beta_fast", how->high)) &&
           (fabs(left - 1) < 1e-6 || put_real(az, writer, lm, "attn_factor", left));
}

bool az_lm_rope_to_gguf(az_ctx *az, az_gguf_writer *writer, const az_lm *lm)
{
    if (is_yarn(lm)) return put_yarn(az, writer, lm);
    if (lm->rope_frequency_long)
        return put_type(az, writer, lm, "longrope") && put_original(az, writer, lm, (double)lm->config.rope_original) &&
               (lm->config.rope_magnitude == 0 || put_real(az, writer, lm, "attn_factor", lm->config.rope_magnitude));
    const float *divisor = az_f32(az_rope_divisors(az, lm, lm->rope_frequency));
    if (!divisor || divisor[0] == 1) return az_ok(az);
    return put_type(az, writer, lm, "linear") && put_real(az, writer, lm, "factor", (double)divisor[0]);
}

void az_lm_rope_tensors(az_ctx *az, const az_lm *lm, az_rope_tensor tensors[AZ_ROPE_TENSORS])
{
    tensors[0] = tensors[1] = (az_rope_tensor){0};
    if (is_yarn(lm)) return;
    const az_tensor *divisors = az_rope_divisors(az, lm, lm->rope_frequency);
    if (lm->rope_frequency_long) {
        tensors[0] = (az_rope_tensor){.name = far_name, .divisors = az_rope_divisors(az, lm, lm->rope_frequency_long)};
        tensors[1] = (az_rope_tensor){.name = near_name, .divisors = divisors};
        return;
    }
    for (int64_t i = 1; divisors && i < az_count(divisors); i++) /* a single one for all is a key */
        if (fabsf(az_f32(divisors)[i] / az_f32(divisors)[0] - 1) > 1e-5f)
            tensors[0] = (az_rope_tensor){.name = each_name, .divisors = divisors};
}
