/* rope_scaling.h - slower rotary frequencies for longer contexts. */
#ifndef ADZE_LM_ROPE_SCALING_H
#define ADZE_LM_ROPE_SCALING_H

#include "adze/lm.h"

/* Linear: every frequency is divided by the factor. By wavelength (Llama 3): with lambda = 2 pi / f, those with lambda < original / high
 * stay, those with lambda > original / low are divided, and those between get (1 - s) f / factor + s f, s = (original / lambda - low) /
 * (high - low). YaRN (Peng et al., ICLR 2024): pair i gets (1 - s) f / factor + s f, where s falls from 1 to 0 between the pairs that turn
 * `high` and `low` times in the original context (beta_fast, beta_slow); what turns is also multiplied by a magnitude. */
typedef enum az_rope_scaling_kind { AZ_ROPE_LINEAR, AZ_ROPE_BY_WAVELENGTH, AZ_ROPE_YARN } az_rope_scaling_kind;
typedef struct az_rope_scaling {
    az_rope_scaling_kind kind;
    double factor, low, high, original;
    bool exact; /* YaRN: the pairs between which s falls are not rounded to whole ones */
} az_rope_scaling;

/* Whether a frequency can be divided by x: 1e-6 to 1e20. Beyond that it would leave f32 sooner or later, and writing it again would fail.
 */
bool az_rope_is_divisor(double x);
/* Applies it to the model's frequencies. All but linear is kept in lm->rope_scaling; the magnitude of YaRN is for the caller to set. */
bool az_rope_scale(az_ctx *az, az_lm *lm, const az_rope_scaling *how);
/* Stores a copy (of NULL: nothing) in the model's arena. */
void az_rope_scaling_keep(az_ctx *az, az_lm *lm, const az_rope_scaling *how);
/* LongRoPE (Ding et al., 2024): the frequencies are divided by one list of factors [rope_dims / 2], in sequences that may grow beyond
 * `original` tokens by another. */
bool az_rope_scale_long(az_ctx *az, az_lm *lm, const double *near, const double *far, int64_t original);
/* 0.1 weight ln(factor) + 1, the magnitude of YaRN; and that of LongRoPE, sqrt(1 + ln(factor) / ln(original)); 1 for factors up to 1. */
double az_rope_yarn_magnitude(double factor, double weight);
double az_rope_long_magnitude(double factor, double original);
/* By how much each of some frequencies [rope_dims / 2] of the model was divided, f32; NULL when frequency is. */
az_tensor *az_rope_divisors(az_ctx *az, const az_lm *lm, const az_tensor *frequency);
/* The scaling that gives the model its frequencies: the one that is kept, or linear, or by wavelength as Llama 3 has it (low 1, high 4).
 * Fails when it is none of them. */
bool az_rope_scaling_of(az_ctx *az, const az_lm *lm, az_rope_scaling *how);

#endif
