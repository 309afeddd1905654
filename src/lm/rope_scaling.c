/* rope_scaling.c - slower rotary frequencies for longer contexts: applied, and recognised in a model that has them. */
#include "lm/rope_scaling.h"

#include <math.h>

/* theta^(-2i / dims) */
static double unscaled(const az_lm_config *config, int64_t i)
{
    return (double)(float)pow(config->rope_theta, -2.0 * (double)i / (double)config->rope_dims);
}

/* The pair that turns so many times in the original context. */
static double pair_of_turns(const az_rope_scaling *how, const az_lm_config *c, double turns)
{
    const double pi = acos(-1);
    return (double)c->rope_dims * log(how->original / (turns * 2 * pi)) / (2 * log(c->rope_theta));
}

/* How much of the plain frequency pair i keeps under YaRN. */
static double yarn_share(const az_rope_scaling *how, const az_lm_config *c, int64_t i)
{
    const double high = pair_of_turns(how, c, how->high), low = pair_of_turns(how, c, how->low);
    const double first = fmax(how->exact ? high : floor(high), 0);
    const double last = fmin(how->exact ? low : ceil(low), (double)(c->rope_dims - 1));
    return 1 - fmin(fmax(((double)i - first) / fmax(last - first, 0.001), 0), 1);
}

static double wavelength_share(const az_rope_scaling *how, double f)
{
    const double wavelength = 2 * acos(-1) / f;
    if (wavelength < how->original / how->high) return 1;
    if (wavelength > how->original / how->low) return 0;
    return (how->original / wavelength - how->low) / (how->high - how->low);
}

/* Frequency f of pair i, scaled. */
static double scaled(const az_rope_scaling *how, const az_lm_config *c, int64_t i, double f)
{
    double share = 0;
    if (how->kind == AZ_ROPE_BY_WAVELENGTH) share = wavelength_share(how, f);
    if (how->kind == AZ_ROPE_YARN) share = yarn_share(how, c, i);
    return (1 - share) * f / how->factor + share * f;
}

void az_rope_scaling_keep(az_ctx *az, az_lm *lm, const az_rope_scaling *how)
{
    if (!how) return;
    az_arena_enter(az, lm->arena);
    az_rope_scaling *kept = az_alloc(az, sizeof *kept);
    az_arena_leave(az);
    if (kept) *kept = *how;
    lm->rope_scaling = kept;
}

bool az_rope_is_divisor(double x)
{
    return x >= 1e-6 && x <= 1e20;
}

bool az_rope_scale(az_ctx *az, az_lm *lm, const az_rope_scaling *how)
{
    if (!lm->rope_frequency) return true;
    const bool sound = az_rope_is_divisor(how->factor) && how->low >= 1e-6 && how->high > how->low && how->high <= 1e6 &&
                       how->original > 0 && how->original <= 1e12;
    if (!sound)
        return az_fail(az, AZ_BAD_INPUT, "rotary scaling with factor %g, low %g, high %g, original context %g makes no sense", how->factor,
                       how->low, how->high, how->original);
    float *f = az_f32_mut(lm->rope_frequency);
    for (int64_t i = 0; i < az_count(lm->rope_frequency); i++) f[i] = (float)scaled(how, &lm->config, i, (double)f[i]);
    if (how->kind != AZ_ROPE_LINEAR) az_rope_scaling_keep(az, lm, how);
    return az_ok(az);
}

bool az_rope_scale_long(az_ctx *az, az_lm *lm, const double *near, const double *far, int64_t original)
{
    const int64_t n = lm->config.rope_dims / 2;
    az_arena_enter(az, lm->arena);
    lm->rope_frequency_long = az_new1(az, AZ_F32, n);
    az_arena_leave(az);
    float *f = az_f32_mut(lm->rope_frequency), *g = az_f32_mut(lm->rope_frequency_long);
    for (int64_t i = 0; g && i < n; i++) {
        if (!az_rope_is_divisor(near[i]) || !az_rope_is_divisor(far[i]))
            return az_fail(az, AZ_BAD_INPUT, "rotary factors %g (short) and %g (long) at %lld: must be 1e-6 to 1e20", near[i], far[i],
                           (long long)i);
        g[i] = (float)((double)f[i] / far[i]);
        f[i] = (float)((double)f[i] / near[i]);
    }
    lm->config.rope_original = original;
    if (original < 1) az_fail(az, AZ_BAD_INPUT, "an original context of %lld tokens", (long long)original);
    return az_ok(az);
}

double az_rope_yarn_magnitude(double factor, double weight)
{
    return factor <= 1 ? 1 : 0.1 * weight * log(factor) + 1;
}

double az_rope_long_magnitude(double factor, double original)
{
    return factor <= 1 ? 1 : sqrt(1 + log(factor) / log(original));
}

az_tensor *az_rope_divisors(az_ctx *az, const az_lm *lm, const az_tensor *frequency)
{
    az_tensor *divisors = frequency ? az_new1(az, AZ_F32, lm->config.rope_dims / 2) : NULL;
    for (int64_t i = 0; divisors && i < az_count(divisors); i++) {
        const double ratio = unscaled(&lm->config, i) / (double)az_f32(frequency)[i];
        az_f32_mut(divisors)[i] = fabs(ratio - 1) < 1e-6 ? 1 : (float)ratio;
    }
    return divisors;
}

/* Whether the scaling explains the model's divisors. */
static bool explains(const az_rope_scaling *how, const az_lm *lm, const float *divisor)
{
    for (int64_t i = 0; i < lm->config.rope_dims / 2; i++) {
        const double f = unscaled(&lm->config, i), expected = f / scaled(how, &lm->config, i, f);
        if (fabs(expected - (double)divisor[i]) > 1e-4 * expected) return false;
    }
    return true;
}

/* The original context of a scaling by wavelength, from a pair that is scaled in part, whose place on the slope tells it; 0 without one. */
static double original_of(const az_rope_scaling *how, const az_lm *lm, const float *divisor)
{
    for (int64_t i = 0; i < lm->config.rope_dims / 2; i++) {
        const double share = (1 / (double)divisor[i] - 1 / how->factor) / (1 - 1 / how->factor);
        const double wavelength = 2 * acos(-1) / unscaled(&lm->config, i);
        if (share > 0.01 && share < 0.99) return round(wavelength * (how->low + share * (how->high - how->low)));
    }
    return 0;
}

/* Whether the divisors are those of a scaling by wavelength, whose original context is then set. Where no pair is scaled in part, several
 * contexts give the same divisors: a power of two is taken. */
static bool is_by_wavelength(az_rope_scaling *how, const az_lm *lm, const float *divisor)
{
    how->kind = AZ_ROPE_BY_WAVELENGTH;
    how->original = original_of(how, lm, divisor);
    if (how->original > 0) return explains(how, lm, divisor);
    for (how->original = 256; how->original <= 1 << 24; how->original *= 2)
        if (explains(how, lm, divisor)) return true;
    return false;
}

bool az_rope_scaling_of(az_ctx *az, const az_lm *lm, az_rope_scaling *how)
{
    *how = (az_rope_scaling){.kind = AZ_ROPE_LINEAR, .factor = 1, .low = 1, .high = 4};
    if (lm->rope_scaling) *how = *lm->rope_scaling;
    const float *divisor = az_f32(az_rope_divisors(az, lm, lm->rope_frequency));
    if (!divisor || lm->rope_scaling) return az_ok(az);
    const float last = divisor[lm->config.rope_dims / 2 - 1];
    how->factor = round((double)last) > 0 && fabs(round((double)last) - (double)last) < 1e-4 ? round((double)last) : (double)last;
    if (explains(how, lm, divisor) || is_by_wavelength(how, lm, divisor)) return true;
    return az_fail(az, AZ_BAD_INPUT, "the model's rotary frequencies are scaled in a way that config.json has no name for");
}
