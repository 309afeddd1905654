/* galore.h - the part of an optimizer that GaLore needs: AdamW in subspaces of the gradients of matrices. */
#ifndef ADZE_OPTIM_GALORE_H
#define ADZE_OPTIM_GALORE_H

#include "adze/optim.h"

typedef struct az_galore_state az_galore_state;
/* decay [n]: which parameters decay. */
az_galore_state *az_galore_new(az_ctx *az, const az_optimizer_options *options, az_tensor *const *parameters, int n, const bool *decay);
/* One step with gradients of the parameters' shapes; `step` counts from 0. A gradient of a matrix that is not finite is refused when its
 * subspace is due, and changes nothing. */
bool az_galore_step(az_ctx *az, az_galore_state *galore, az_tensor *const *gradient, double lr, int64_t step);
/* The tensors to save, and their names; returns their number. */
int az_galore_tensors(az_ctx *az, az_galore_state *galore, az_tensor ***tensors, const char ***names);

#endif
