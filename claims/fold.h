/* fold.h - scales and shifts moved between a norm and the layers behind it, without a change of what a model computes. */
#ifndef ADZE_CLAIMS_FOLD_H
#define ADZE_CLAIMS_FOLD_H

#include "adze/lm.h"

/* What the layers behind a norm read, x, becomes (x - shift) / scale: gamma / scale, (beta - shift) / scale, W scale, b + W shift. Weights
 * and vectors become f32; a missing bias is made when there is a shift (NULL = none). network: the norm before gate and up, instead of that
 * before q, k and v. Not for mixtures of experts. */
bool claim_fold(az_ctx *az, az_lm *lm, int block, bool network, const float *scale, const float *shift);

/* SmoothQuant (Xiao et al. 2023): scale_k = sqrt(max |x_k| / max_o |w_ok|) on calibration text, no shifts, at every norm. */
bool claim_smooth(az_ctx *az, az_lm *lm, const az_documents *calibration);

#endif
