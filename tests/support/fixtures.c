/* fixtures.c - reproducible random numbers. */
#include "support/fixtures.h"

#include <math.h>

uint64_t fixture_bits(uint64_t seed, uint64_t i)
{
    uint64_t z = seed + (i + 1) * 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static double unit(uint64_t seed, uint64_t i)
{
    return (double)(fixture_bits(seed, i) >> 11) * 0x1p-53;
}

void fixture_uniform(uint64_t seed, int64_t n, double *out)
{
    for (int64_t i = 0; i < n; i++) out[i] = unit(seed, (uint64_t)i);
}

void fixture_normal(uint64_t seed, int64_t n, double *out)
{
    for (int64_t i = 0; i < n; i++) {
        double a = unit(seed, 2 * (uint64_t)i), b = unit(seed, 2 * (uint64_t)i + 1);
        out[i] = sqrt(-2 * log(a + 0x1p-54)) * cos(6.283185307179586 * b);
    }
}

az_tensor *fixture_uniform_tensor(az_ctx *az, uint64_t seed, int rank, const int64_t *shape)
{
    az_tensor *x = az_tensor_new(az, AZ_F64, rank, shape);
    if (x) fixture_uniform(seed, az_count(x), az_f64_mut(x));
    return x;
}

az_tensor *fixture_normal_tensor(az_ctx *az, uint64_t seed, int rank, const int64_t *shape)
{
    az_tensor *x = az_tensor_new(az, AZ_F64, rank, shape);
    if (x) fixture_normal(seed, az_count(x), az_f64_mut(x));
    return x;
}
