/* m_fac.h - the part of an optimizer that M-FAC needs: one window of gradients over all parameters. */
#ifndef ADZE_OPTIM_M_FAC_H
#define ADZE_OPTIM_M_FAC_H

#include "adze/optim.h"

typedef struct az_m_fac_state az_m_fac_state;
/* decay [n]: which parameters decay. Parameters are f32. */
az_m_fac_state *az_m_fac_new(az_ctx *az, const az_optimizer_options *options, az_tensor *const *parameters, int n, const bool *decay);
/* One step with contiguous gradients of the parameters' shapes; `step` counts from 0. */
bool az_m_fac_step(az_ctx *az, az_m_fac_state *m_fac, const void *const *gradient, double lr, int64_t step);
enum { AZ_M_FAC_TENSORS = 4 };
/* The tensors to save, and their names; the velocity only with momentum. Returns their number. */
int az_m_fac_tensors(az_m_fac_state *m_fac, az_tensor *tensor[AZ_M_FAC_TENSORS], const char *name[AZ_M_FAC_TENSORS]);

#endif
