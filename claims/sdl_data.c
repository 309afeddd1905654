/* sdl_data.c - samples with labels, from counters. */
#include "claims/sdl_data.h"

#include "claims/splitmix.h"

#include <math.h>

static double logistic(double t)
{
    return 1 / (1 + exp(-t));
}

/* The n samples from `first` on, given as the columns of values [p, all]. */
static sdl_samples *samples_of(az_ctx *az, const az_tensor *values, int64_t first, int64_t n, const az_tensor *z, const int32_t *label)
{
    sdl_samples *s = az_alloc(az, sizeof *s);
    const az_tensor *x = az_contiguous(az, az_transpose(az, az_slice(az, values, 1, first, n)));
    if (!s || !x) return NULL;
    *s = (sdl_samples){.n = n, .p = x->shape[1], .q = z->shape[1], .x = az_matrix_dense(az, x), .z = z, .label = label, .classes = 2};
    return s;
}

static az_tensor *filled(az_ctx *az, const double *values, int64_t rows, int64_t columns)
{
    return az_from(az, AZ_F64, 2, (int64_t[]){rows, columns}, values);
}

static double spectral_norm(az_ctx *az, const az_tensor *x)
{
    az_tensor *s = NULL;
    return az_svd(az, x, NULL, &s, NULL) ? az_item(s, 0) : NAN;
}

sdl_samples *sdl_fixture(az_ctx *az)
{
    enum { P = 30, N = 120, R = 3 };
    const double *h = splitmix_uniform(az, 72, R * N), *covariate = splitmix_normal(az, 74, N), *u = splitmix_uniform(az, 75, N);
    const az_tensor *exact = az_matmul(az, filled(az, splitmix_uniform(az, 71, P * R), P, R), filled(az, h, R, N));
    const az_tensor *x = az_add(az, exact, az_affine(az, filled(az, splitmix_normal(az, 73, P * N), P, N), 0.05, 0));
    az_tensor *z = az_new2(az, AZ_F64, N, 2);
    int32_t *label = az_alloc_array(az, N, sizeof *label);
    if (!x || !z || !label) return NULL;
    for (int i = 0; i < N; i++) {
        az_f64_mut(z)[2 * i] = 1, az_f64_mut(z)[2 * i + 1] = covariate[i];
        label[i] = u[i] < logistic(2 * h[i] - 2 * h[N + i] + h[2 * N + i] + covariate[i]);
    }
    return samples_of(az, az_affine(az, x, 1 / spectral_norm(az, x), 0), 0, N, z, label);
}

sdl_samples *sdl_discrepancy_of(az_ctx *az, uint64_t seed, sdl_samples **test)
{
    enum { P = 30, N = 600, R = 4, TRAIN = 400 };
    static const double strength[R] = {10, 6, 3, 1.5};
    const uint64_t base = 171 + 10 * seed;
    const az_tensor *w = az_affine(az, filled(az, splitmix_normal(az, base, P * R), P, R), 1 / sqrt(P), 0);
    double *h = splitmix_normal(az, base + 1, R * N);
    for (int i = 0; h && i < R * N; i++) h[i] *= strength[i / N];
    const az_tensor *noise = az_affine(az, filled(az, splitmix_normal(az, base + 2, P * N), P, N), 0.3, 0);
    const az_tensor *x = az_add(az, az_matmul(az, w, filled(az, h, R, N)), noise), *code = az_least_squares(az, w, x, -1);
    const double *u = splitmix_uniform(az, base + 4, N);
    int32_t *label = az_alloc_array(az, N, sizeof *label);
    if (!code || !u || !label) return NULL;
    for (int i = 0; i < N; i++) label[i] = u[i] < logistic(2.5 * az_f64(code)[3 * N + i]);
    const az_tensor *scaled = az_affine(az, x, 10 / spectral_norm(az, x), 0);
    const az_tensor *ones = az_full(az, AZ_F64, 2, (int64_t[]){N, 1}, 1), *z = az_contiguous(az, az_slice(az, ones, 0, 0, TRAIN));
    *test = samples_of(az, scaled, TRAIN, N - TRAIN, az_contiguous(az, az_slice(az, ones, 0, TRAIN, N - TRAIN)), label + TRAIN);
    return samples_of(az, scaled, 0, TRAIN, z, label);
}

sdl_samples *sdl_discrepancy(az_ctx *az, sdl_samples **test)
{
    return sdl_discrepancy_of(az, 0, test);
}
