/* config.c - the configuration of a model: what fills its gaps, and what it must be like. */
#include "lm/lm_internal.h"

#include <math.h>

void az_lm_config_defaults(const az_lm_arch *arch, az_lm_config *config)
{
    if (!config->kv_heads) config->kv_heads = config->heads;
    if (!config->embed_width) config->embed_width = config->width;
    if (!config->head_dim && config->heads > 0) config->head_dim = config->width / config->heads;
    if (!config->rope_dims && az_lm_has_rope(arch)) config->rope_dims = config->head_dim;
    if (config->norm_eps == 0) config->norm_eps = arch->norm_eps;
    if (config->rope_theta == 0) config->rope_theta = arch->rope_theta;
    if (config->rope_theta_local == 0) config->rope_theta_local = arch->rope_theta_local;
    if (config->window == 0) config->window = arch->window;
    if (config->window_pattern == 0) config->window_pattern = arch->window_pattern;
    if (config->attention_softcap == 0) config->attention_softcap = arch->attention_softcap;
    if (config->logit_softcap == 0) config->logit_softcap = arch->logit_softcap;
    if (config->rope_pattern == 0) config->rope_pattern = arch->rope_pattern;
    if (config->rope_theta_local == 0 && arch->plain_in_window && config->window > 0) config->rope_theta_local = config->rope_theta;
    if (config->embedding_scale == 0) config->embedding_scale = pow((double)config->width, arch->embedding_scale_power);
    if (config->residual_scale == 0) config->residual_scale = 1;
    if (config->logit_scale == 0) config->logit_scale = 1;
    const bool wide = arch->wide_scale_blocks > 0 && config->blocks == arch->wide_scale_blocks && config->heads > 0;
    if (config->attention_scale == 0)
        config->attention_scale = 1 / sqrt(wide ? (double)config->width / (double)config->heads : (double)config->head_dim);
}

bool az_lm_knows_part(const az_lm_arch *arch, az_lm_part part)
{
    for (const az_lm_part_names *names = arch->parts; names->gguf; names++)
        if (names->part == part) return true;
    return false;
}

int64_t az_lm_period_of(const bool *flag, int64_t n)
{
    int64_t period = 1;
    while (period <= n && flag[period - 1]) period++;
    for (int64_t b = 0; b < n; b++)
        if (flag[b] != (b % period != period - 1)) return 0;
    return period <= n ? period : INT32_MAX;
}

bool az_lm_windows_are_regular(const az_lm *lm)
{
    for (int b = 0; b < lm->config.blocks; b++)
        if (lm->block[b].windowed != az_lm_window_by_rule(&lm->config, b)) return false;
    return true;
}

bool az_lm_turns_are_regular(const az_lm *lm)
{
    for (int b = 0; b < lm->config.blocks; b++)
        if (lm->block[b].turned != az_lm_turned_by_rule(&lm->config, b)) return false;
    return true;
}

bool az_lm_check_sizes(az_ctx *az, const az_lm_config *config, const char *const name[AZ_LM_SIZES])
{
    const struct {
        const char *name;
        int64_t value, high;
    } limits[AZ_LM_SIZES] = {
        [AZ_LM_VOCABULARY] = {"vocabulary", config->vocabulary, 1 << 24},
        [AZ_LM_WIDTH] = {"width", config->width, 1 << 18},
        [AZ_LM_BLOCKS] = {"blocks", config->blocks, 4096},
        [AZ_LM_HEADS] = {"heads", config->heads, 1 << 14},
        [AZ_LM_KV_HEADS] = {"kv_heads", config->kv_heads, 1 << 14},
        [AZ_LM_HEAD_DIM] = {"head_dim", config->head_dim, 1 << 14},
        [AZ_LM_HIDDEN] = {"hidden", config->hidden, 1 << 20},
        [AZ_LM_CONTEXT] = {"context", config->context, 1 << 26},
        [AZ_LM_EMBED_WIDTH] = {"embed_width", config->embed_width, 1 << 18},
    };
    for (int i = 0; i < AZ_LM_SIZES; i++)
        if (limits[i].value < 1 || limits[i].value > limits[i].high)
            return az_fail(az, AZ_BAD_INPUT, "%s = %lld%s: must be from 1 to %lld", name[i] ? name[i] : limits[i].name,
                           (long long)limits[i].value, limits[i].value == 0 ? " or missing" : "", (long long)limits[i].high);
    return true;
}

/* Files keep reals in single precision: what does not fit there would come back as 0 or infinite. */
static bool fits(double x)
{
    return x >= 1e-30 && x <= 1e30;
}

bool az_lm_validate(az_ctx *az, const az_lm_arch *arch, const az_lm_config *config)
{
    if (!az_lm_check_sizes(az, config, (const char *const[AZ_LM_SIZES]){NULL})) return false;
    if (config->heads % config->kv_heads != 0)
        return az_fail(az, AZ_BAD_INPUT, "heads = %lld is not a multiple of kv_heads = %lld", (long long)config->heads,
                       (long long)config->kv_heads);
    if (az_lm_has_rope(arch) && (config->rope_dims < 2 || config->rope_dims > config->head_dim || config->rope_dims % 2 != 0))
        return az_fail(az, AZ_BAD_INPUT, "rope_dims = %lld: must be even and from 2 to head_dim = %lld", (long long)config->rope_dims,
                       (long long)config->head_dim);
    if (config->experts < 0 || config->experts > 65536 / config->blocks || (config->experts > 0) != (config->experts_used > 0) ||
        config->experts_used > config->experts)
        return az_fail(az, AZ_BAD_INPUT,
                       "%lld of %lld experts are used: at least one must be, and all blocks can have 65536 experts at most",
                       (long long)config->experts_used, (long long)config->experts);
    if (config->experts > 0 && !az_lm_knows_part(arch, AZ_PART_ROUTER))
        return az_fail(az, AZ_BAD_INPUT, "architecture '%s' is not known as a mixture of experts", arch->name);
    if (config->embed_width != config->width && !az_lm_knows_part(arch, AZ_PART_PROJECT_IN))
        return az_fail(az, AZ_BAD_INPUT, "architecture '%s' is not known with an embedding of another width (%lld) than its blocks (%lld)",
                       arch->name, (long long)config->embed_width, (long long)config->width);
    if (config->post_norm && !arch->post_norm)
        return az_fail(az, AZ_BAD_INPUT, "architecture '%s' is not known with norms after the additions", arch->name);
    if (config->window < 0 || config->window_pattern < 0 || config->rope_pattern < 0)
        return az_fail(az, AZ_BAD_INPUT, "window = %lld, or which blocks have it or turn (%lld, %lld), is negative",
                       (long long)config->window, (long long)config->window_pattern, (long long)config->rope_pattern);
    const double scales[] = {config->embedding_scale, config->residual_scale, config->logit_scale};
    for (int i = 0; i < 3; i++)
        if (!fits(scales[i]))
            return az_fail(az, AZ_BAD_INPUT, "scales %g (embedding), %g (residual stream) and %g (logits): must be from 1e-30 to 1e30",
                           scales[0], scales[1], scales[2]);
    const double usual = pow((double)config->width, arch->embedding_scale_power);
    if (!arch->scales && (fabs(scales[0] - usual) > 1e-6 * usual || scales[1] != 1 || scales[2] != 1))
        return az_fail(az, AZ_BAD_INPUT,
                       "architecture '%s' is not known with scales of its own: %g (embedding), %g (residual stream), %g (logits)",
                       arch->name, scales[0], scales[1], scales[2]);
    const double caps[] = {config->attention_softcap, config->logit_softcap};
    for (int i = 0; i < 2; i++)
        if (caps[i] != 0 && !fits(caps[i]))
            return az_fail(az, AZ_BAD_INPUT, "soft caps %g (attention) and %g (logits): must be 0 (none), or from 1e-30 to 1e30", caps[0],
                           caps[1]);
    if (!(config->rope_magnitude >= 0 && isfinite(config->rope_magnitude)) || config->rope_original < 0)
        return az_fail(az, AZ_BAD_INPUT, "rotary embedding of magnitude %g, original context %lld: must not be negative",
                       config->rope_magnitude, (long long)config->rope_original);
    if (!fits(fabs(config->attention_scale)))
        return az_fail(az, AZ_BAD_INPUT, "attention_scale = %g: its size must be from 1e-30 to 1e30", config->attention_scale);
    if (!(fits(config->norm_eps) && config->norm_eps < 1))
        return az_fail(az, AZ_BAD_INPUT, "norm_eps = %g: must be from 1e-30 to less than 1", config->norm_eps);
    if (az_lm_has_rope(arch) && config->rope_theta_local != 0 && !fits(config->rope_theta_local))
        return az_fail(az, AZ_BAD_INPUT, "rope_theta_local = %g: must be from 1e-30 to 1e30", config->rope_theta_local);
    if (az_lm_has_rope(arch) && !fits(config->rope_theta))
        return az_fail(az, AZ_BAD_INPUT, "rope_theta = %g: must be from 1e-30 to 1e30", config->rope_theta);
    return true;
}
