/* ssm_data.c - the series of the particle smoothers. */
#include "claims/ssm_data.h"
#include "claims/splitmix.h"

#include <math.h>

static const double a = 0.95, q = 0.6, r = 1;

double *ssm_data_series(az_ctx *az, int64_t n)
{
    const double *state = splitmix_normal(az, 1, n), *noise = splitmix_normal(az, 2, n);
    double *y = az_alloc_array(az, (size_t)n, sizeof *y), x = 0;
    for (int64_t t = 0; state && noise && y && t < n; t++) {
        x = t == 0 ? sqrt(q / (1 - a * a)) * state[0] : a * x + sqrt(q) * state[t];
        y[t] = x + sqrt(r) * noise[t];
    }
    return y;
}

az_ssm *ssm_data_model(az_ctx *az, double own_a, double own_q, double own_r)
{
    const double c = 1, p0 = q / (1 - a * a);
    return az_ssm_linear_gaussian(az,
                                  &(az_ssm_linear){.states = 1, .observed = 1, .a = &own_a, .c = &c, .q = &own_q, .r = &own_r, .p0 = &p0});
}
