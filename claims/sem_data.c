/* sem_data.c - random graphs, their weights, and samples along their order. */
#include "claims/sem_data.h"
#include "claims/splitmix.h"

#include <math.h>

static void draw_weights(az_ctx *az, sem_data *data, uint64_t seed, int k, const int *order)
{
    const int d = data->d;
    const double *u = splitmix_uniform(az, seed, (int64_t)d * d), *size = splitmix_uniform(az, seed + 1, (int64_t)d * d);
    const double *sign = splitmix_uniform(az, seed + 2, (int64_t)d * d), share = 2.0 * k / (d - 1);
    for (int a = 0; u && size && sign && a < d; a++)
        for (int b = a + 1; b < d; b++)
            if (u[a * d + b] < share) data->w[order[a] * d + order[b]] = (sign[a * d + b] < 0.5 ? 1 : -1) * (0.5 + 1.5 * size[a * d + b]);
}

sem_data *sem_data_new(az_ctx *az, uint64_t seed, int d, int k, int64_t n, double variance)
{
    sem_data *data = az_alloc(az, sizeof *data);
    const int *order = splitmix_order(az, seed + 3, d);
    const double *variances = splitmix_uniform(az, seed + 4, d);
    double *x = splitmix_normal(az, seed + 5, n * d);
    if (!data || !order || !variances || !x) return NULL;
    *data = (sem_data){.d = d, .n = n, .x = x};
    data->w = az_alloc_array(az, (size_t)(d * d), sizeof(double));
    data->sigma = az_alloc_array(az, (size_t)d, sizeof(double));
    if (!data->w || !data->sigma) return NULL;
    draw_weights(az, data, seed, k, order);
    for (int j = 0; j < d; j++) data->sigma[j] = sqrt(variance > 0 ? variance : 0.5 + 9.5 * variances[j]);
    for (int64_t row = 0; row < n; row++) {
        for (int place = 0; place < d; place++) {
            double *own = &x[row * d + order[place]];
            *own *= data->sigma[order[place]];
            for (int before = 0; before < place; before++) *own += data->w[order[before] * d + order[place]] * x[row * d + order[before]];
        }
    }
    return az_ok(az) ? data : NULL;
}
