/* ssm_data.h - a linear Gaussian series that any language can make again. */
#ifndef ADZE_CLAIMS_SSM_DATA_H
#define ADZE_CLAIMS_SSM_DATA_H

#include "adze/ssm.h"

enum { SSM_DATA_TIMES = 50 };
/* x_0 ~ N(0, q / (1 - a^2)), x_t = a x_{t-1} + N(0, q), y_t = x_t + N(0, r) with a = .95, q = .6, r = 1; normals of seeds 1 and 2: [n]. */
double *ssm_data_series(az_ctx *az, int64_t n);
/* The model with other values of a, q and r; p0 stays that of the data. */
az_ssm *ssm_data_model(az_ctx *az, double a, double q, double r);

#endif
