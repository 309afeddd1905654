#include "support/matrix.h"

#include "adze/linalg.h"

#include <math.h>

double matrix_difference(const az_tensor *a, const az_tensor *b)
{
    if (!a || !b || !az_same_shape(a, b)) return INFINITY;
    double most = 0;
    for (int64_t i = 0; i < az_count(a); i++) {
        const double difference = fabs(az_item(a, i) - az_item(b, i));
        if (!(difference <= most)) most = difference;
    }
    return most;
}

double matrix_orthonormality(az_ctx *az, const az_tensor *a)
{
    return matrix_difference(az_matmul(az, az_transpose(az, a), a), az_identity(az, a->dtype, a->shape[1]));
}

az_tensor *matrix_normal(az_ctx *az, az_dtype dtype, int64_t rows, int64_t cols, uint64_t seed)
{
    return az_randn(az, dtype, 2, (int64_t[]){rows, cols}, 1, seed, az_stream("test matrix", 0));
}

az_tensor *matrix_spd(az_ctx *az, az_dtype dtype, int64_t n, uint64_t seed)
{
    const az_tensor *m = matrix_normal(az, dtype, n, n, seed);
    return az_add(az, az_affine(az, az_matmul(az, m, az_transpose(az, m)), 1.0 / (double)n, 0), az_identity(az, dtype, n));
}

az_tensor *matrix_hilbert(az_ctx *az, int64_t n)
{
    az_tensor *h = az_new2(az, AZ_F64, n, n);
    for (int64_t i = 0; i < n * n; i++) az_f64_mut(h)[i] = 1.0 / (double)(i / n + i % n + 1);
    return h;
}
