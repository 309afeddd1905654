/* fold.h - scales and shifts moved between a norm and the layers behind it, without a change of what a model computes. */
#ifndef ADZE_COMPRESS_FOLD_H
#define ADZE_COMPRESS_FOLD_H

#include "compress/compress_internal.h"

/* What the layers behind a norm read, x, becomes (x - shift) / scale: gamma / scale, (beta - shift) / scale, W scale, b + W shift. Weights
 * and vectors become f32; a missing bias is made when there is a shift (NULL = none; not for mixtures of experts). network: the norm before
 * the feed-forward network, instead of that before q, k and v. Nothing happens where there is no such norm. */
bool az_fold(az_ctx *az, az_lm *lm, int block, bool network, const float *scale, const float *shift);
/* The layers that read the norm, their number; in the current scope. */
int az_fold_readers(az_ctx *az, az_lm_block *block, bool network, az_lm_linear ***readers);
/* Refuses models whose norms stand behind the layers, f64, and matrices of low rank. */
bool az_fold_check(az_ctx *az, const az_lm *lm);

#endif
