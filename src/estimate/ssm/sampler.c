/* sampler.c - draws from given weights: inversion with a table that tells where to begin (Chen, Asau 1974). */
#include "estimate/ssm/ssm_internal.h"

bool az_sampler_new(az_ctx *az, int64_t n, az_sampler *sampler)
{
    *sampler = (az_sampler){.n = n};
    sampler->sum = az_alloc_array(az, (size_t)n, sizeof(double));
    sampler->guide = az_alloc_array(az, (size_t)n, sizeof(int32_t));
    return az_ok(az);
}

void az_sampler_set(az_sampler *sampler, const double *weight)
{
    double total = 0;
    for (int64_t i = 0; i < sampler->n; i++) {
        sampler->sum[i] = total += weight[i];
        if (weight[i] > 0) sampler->last = i;
    }
    sampler->total = total;
    for (int64_t k = 0, i = 0; k < sampler->n; k++) {
        const double from = total * (double)k / (double)sampler->n;
        while (i < sampler->last && sampler->sum[i] <= from) i++;
        sampler->guide[k] = (int32_t)i;
    }
}

int64_t az_sampler_draw(const az_sampler *sampler, double u)
{
    const double at = u * sampler->total;
    int64_t k = (int64_t)(u * (double)sampler->n);
    if (k >= sampler->n) k = sampler->n - 1;
    int64_t i = sampler->guide[k];
    /* rounding may have put the k-th part's beginning above `at` */
    while (i > 0 && sampler->sum[i - 1] > at) i--;
    while (i < sampler->last && sampler->sum[i] <= at) i++;
    return i;
}
