/* rope_scaling.c - slower rotary frequencies for longer contexts: applied, and recognised in a model that has them. */
#include "lm/rope_scaling.h"

#include <math.h>

static double scaled(const az_rope_scaling *how, double f)
{
    if (!how->by_wavelength) return f / how->factor;
    const double wavelength = 2 * acos(-1) / f;
    if (wavelength < how->original / how->high) return f;
    if (wavelength > how->original / how->low) return f / how->factor;
    const double s = (how->original / wavelength - how->low) / (how->high - how->low);
    return (1 - s) * f / how->factor + s * f;
}

bool az_rope_scale(az_ctx *az, az_tensor *frequency, const az_rope_scaling *how)
{
    if (!frequency) return true;
    const bool sound = how->factor > 0 && isfinite(how->factor) && how->low > 0 && how->high > how->low && how->original > 0;
    if (!sound)
        return az_fail(az, AZ_BAD_INPUT, "rotary scaling with factor %g, low %g, high %g, original context %g makes no sense", how->factor,
                       how->low, how->high, how->original);
    float *f = az_f32_mut(frequency);
    for (int64_t i = 0; i < az_count(frequency); i++) f[i] = (float)scaled(how, (double)f[i]);
    return true;
}

/* theta^(-2i / dims) */
static double unscaled(const az_lm_config *config, int64_t i)
{
    return (double)(float)pow(config->rope_theta, -2.0 * (double)i / (double)config->rope_dims);
}

az_tensor *az_rope_divisors(az_ctx *az, const az_lm *lm)
{
    az_tensor *divisors = lm->rope_frequency ? az_new1(az, AZ_F32, lm->config.rope_dims / 2) : NULL;
    for (int64_t i = 0; divisors && i < az_count(divisors); i++) {
        const double ratio = unscaled(&lm->config, i) / (double)az_f32(lm->rope_frequency)[i];
        az_f32_mut(divisors)[i] = fabs(ratio - 1) < 1e-6 ? 1 : (float)ratio;
    }
    return divisors;
}

/* Whether the scaling explains the model's divisors. */
static bool explains(const az_rope_scaling *how, const az_lm *lm, const float *divisor)
{
    for (int64_t i = 0; i < lm->config.rope_dims / 2; i++) {
        const double f = unscaled(&lm->config, i), expected = f / scaled(how, f);
        if (fabs(expected - (double)divisor[i]) > 1e-4 * expected) return false;
    }
    return true;
}

bool az_rope_scaling_of(az_ctx *az, const az_lm *lm, az_rope_scaling *how)
{
    *how = (az_rope_scaling){.factor = 1, .low = 1, .high = 4, .original = 8192};
    const float *divisor = az_f32(az_rope_divisors(az, lm));
    if (!divisor) return az_ok(az);
    const float last = divisor[lm->config.rope_dims / 2 - 1];
    how->factor = round((double)last) > 0 && fabs(round((double)last) - (double)last) < 1e-4 ? round((double)last) : (double)last;
    for (int kind = 0; kind < 2; kind++) {
        how->by_wavelength = kind == 1;
        if (explains(how, lm, divisor)) return true;
    }
    return az_fail(az, AZ_BAD_INPUT, "the model's rotary frequencies are scaled in a way that config.json has no name for");
}
