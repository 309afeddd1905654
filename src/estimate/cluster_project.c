/* cluster_project.c - few coordinates in which groups differ, for points of many columns. */
#include "estimate/clusters.h"

#include "adze/linalg.h"

#include <math.h>
#include <string.h>

/* Points without the mean of their group. */
static const double *residuals(az_ctx *az, const az_points *points, int k, const int *label)
{
    const int p = points->p;
    double *x = az_alloc_array(az, (size_t)(points->n * p), sizeof *x), *mean = az_alloc_array(az, (size_t)(k * p), sizeof *mean);
    double *count = az_alloc_array(az, (size_t)k, sizeof *count);
    if (!x || !mean || !count) return NULL;
    for (int64_t i = 0; i < points->n; i++) count[label[i]]++;
    for (int64_t i = 0; i < points->n; i++)
        for (int j = 0; j < p; j++) mean[label[i] * p + j] += points->x[i * p + j] / count[label[i]];
    for (int64_t i = 0; i < points->n; i++)
        for (int j = 0; j < p; j++) x[i * p + j] = points->x[i * p + j] - mean[label[i] * p + j];
    return x;
}

/* L with L L^T the shrunken covariance within groups. */
static const az_tensor *within_factor(az_ctx *az, const az_points *points, int k, const int *label)
{
    const int p = points->p;
    int floored;
    double log_det;
    const az_points left = {.n = points->n, .p = p, .x = residuals(az, points, k, label)};
    const int *one = az_alloc_array(az, (size_t)points->n, sizeof *one);
    const double *covariance = left.x && one ? az_partition_covariances(az, &left, 1, one, AZ_COV_SHRINK, &floored) : NULL;
    az_tensor *l = az_zeros(az, AZ_F64, 2, (int64_t[]){p, p});
    if (!covariance || !l) return NULL;
    if (!az_cov_factor(p, covariance, az_f64_mut(l), &log_det))
        return az_fail(az, AZ_NUMERIC, "the covariance within groups is not positive definite");
    return l;
}

az_projection *az_project_points(az_ctx *az, const az_points *points, int k, const int *label, int rank)
{
    const int64_t n = points->n, p = points->p;
    if (!az_ok(az)) return NULL;
    if (rank < 1 || rank > p || rank > n)
        return az_fail(az, AZ_BAD_INPUT, "%lld points of %lld columns have no %d directions", (long long)n, (long long)p, rank);
    az_projection *out = az_alloc(az, sizeof *out);
    const az_tensor *x = az_from(az, AZ_F64, 2, (int64_t[]){n, p}, points->x), *l = within_factor(az, points, k, label);
    if (!out || !x || !l) return NULL;
    out->mean = az_mean(az, x, 0, true);
    const az_triangle lower = {0};
    const az_tensor *white = az_solve_triangular(az, l, az_contiguous(az, az_transpose(az, az_sub(az, x, out->mean))), lower); /* [p, n] */
    az_tensor *left = NULL;
    if (!az_svd(az, white, &left, NULL, NULL)) return NULL;
    const az_tensor *leading = az_contiguous(az, az_slice(az, left, 1, 0, rank));
    out->direction = az_solve_triangular(az, l, leading, (az_triangle){.transposed = true});
    return az_ok(az) ? out : NULL;
}

bool az_project(az_ctx *az, const az_projection *projection, const az_points *from, az_points *to)
{
    const az_tensor *x = az_from(az, AZ_F64, 2, (int64_t[]){from->n, from->p}, from->x);
    const az_tensor *y = az_matmul(az, az_sub(az, x, projection->mean), projection->direction);
    if (!y) return false;
    *to = (az_points){.n = from->n, .p = (int)y->shape[1], .x = az_f64(y)};
    return true;
}
