/* urn.c - draws from given weights: inversion with a table that tells where to begin (Chen, Asau 1974). */
#include "estimate/ssm/ssm_internal.h"

bool az_urn_new(az_ctx *az, int64_t n, az_urn *urn)
{
    *urn = (az_urn){.n = n};
    urn->sum = az_alloc_array(az, (size_t)n, sizeof(double));
    urn->guide = az_alloc_array(az, (size_t)n, sizeof(int32_t));
    return az_ok(az);
}

void az_urn_set(az_urn *urn, const double *weight)
{
    double total = 0;
    for (int64_t i = 0; i < urn->n; i++) {
        urn->sum[i] = total += weight[i];
        if (weight[i] > 0) urn->last = i;
    }
    urn->total = total;
    for (int64_t k = 0, i = 0; k < urn->n; k++) {
        const double from = total * (double)k / (double)urn->n;
        while (i < urn->last && urn->sum[i] <= from) i++;
        urn->guide[k] = (int32_t)i;
    }
}

int64_t az_urn_draw(const az_urn *urn, double u)
{
    const double at = u * urn->total;
    int64_t k = (int64_t)(u * (double)urn->n);
    if (k >= urn->n) k = urn->n - 1;
    int64_t i = urn->guide[k];
    /* rounding may have put the k-th part's beginning above `at` */
    while (i > 0 && urn->sum[i - 1] > at) i--;
    while (i < urn->last && urn->sum[i] <= at) i++;
    return i;
}
