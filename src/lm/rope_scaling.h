/* rope_scaling.h - slower rotary frequencies for longer contexts. */
#ifndef ADZE_LM_ROPE_SCALING_H
#define ADZE_LM_ROPE_SCALING_H

#include "adze/lm.h"

/* Linear: every frequency is divided by the factor. By wavelength (Llama 3): with lambda = 2 pi / f, those with lambda < original / high
 * stay, those with lambda > original / low are divided, and those between get (1 - s) f / factor + s f, s = (original / lambda - low) /
 * (high - low). */
typedef struct az_rope_scaling {
    bool by_wavelength;
    double factor, low, high, original;
} az_rope_scaling;

bool az_rope_scale(az_ctx *az, az_tensor *frequency, const az_rope_scaling *how);
/* By how much each frequency [rope_dims / 2] of the model was divided, f32. */
az_tensor *az_rope_divisors(az_ctx *az, const az_lm *lm);
/* The scaling that gives the model its frequencies: linear, or by wavelength with the settings of Llama 3 (low 1, high 4, original 8192).
 * Fails when it is neither. */
bool az_rope_scaling_of(az_ctx *az, const az_lm *lm, az_rope_scaling *how);

#endif
