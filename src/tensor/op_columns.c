/* op_columns.c - some of the last axis: values picked by index, and values put where an index says; each the derivative of the other. */
#include "tensor/tensor_internal.h"

#include <string.h>

enum { PARALLEL = 1 << 16 };

typedef struct columns {
    const az_tensor *index; /* [n] i32 */
    int64_t width;          /* of the axis that the index points into */
} columns;

static bool check_index(az_ctx *az, const char *name, const az_tensor *index, int64_t width)
{
    if (index->dtype != AZ_I32 || index->rank != 1 || !az_is_contiguous(index))
        return az_fail(az, AZ_BAD_CALL, "%s: an index is a list of i32, this is %s %s", name, az_dtype_name(index->dtype),
                       az_shape_text(az, index));
    const int32_t *at = index->data;
    for (int64_t i = 0; i < index->shape[0]; i++)
        if (at[i] < 0 || at[i] >= width)
            return az_fail(az, AZ_BAD_CALL, "%s: index %d at position %lld; there are %lld columns", name, at[i], (long long)i,
                           (long long)width);
    return true;
}

static az_tensor *like_with_width(az_ctx *az, const az_tensor *x, int64_t width, bool zeros)
{
    int64_t shape[AZ_MAX_RANK];
    memcpy(shape, x->shape, sizeof shape);
    shape[x->rank - 1] = width;
    return zeros ? az_zeros(az, x->dtype, x->rank, shape) : az_tensor_new(az, x->dtype, x->rank, shape);
}

static void gather_gradient(az_ctx *az, const az_node *node, const az_tensor *gy, az_tensor **gx)
{
    const columns *s = node->saved;
    gx[0] = az_scatter_columns(az, gy, s->index, s->width);
}

az_tensor *az_gather_columns(az_ctx *az, const az_tensor *x, const az_tensor *index)
{
    static const az_op op = {.name = "az_gather_columns", .gradient = gather_gradient, .forgets = AZ_FORGETS_INPUTS | AZ_FORGETS_OUTPUT};
    if (!az_real(az, op.name, x) || !az_present(az, op.name, index)) return NULL;
    if (x->rank < 1) return az_fail(az, AZ_BAD_CALL, "%s: a scalar has no columns", op.name);
    const int64_t width = x->shape[x->rank - 1];
    const az_tensor *from = az_packed(az, x);
    if (!check_index(az, op.name, index, width) || !from) return NULL;
    const int64_t n = index->shape[0], rows = width > 0 ? az_count(x) / width : 0;
    az_tensor *y = like_with_width(az, x, n, false);
    if (!y) return NULL;
    const int32_t *at = index->data;
    const bool wide = x->dtype == AZ_F64;
#pragma omp parallel for schedule(static) num_threads(az_threads(az)) if (rows * n > PARALLEL)
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < n; i++) {
            if (wide)
                ((double *)y->data)[r * n + i] = ((const double *)from->data)[r * width + at[i]];
            else
                ((float *)y->data)[r * n + i] = ((const float *)from->data)[r * width + at[i]];
        }
    if (!az_tracked(az, &x, 1)) return y;
    const columns saved = {.index = az_save(az, index), .width = width};
    return az_record(az, &op, y, &x, 1, &saved, sizeof saved);
}

static void scatter_gradient(az_ctx *az, const az_node *node, const az_tensor *gy, az_tensor **gx)
{
    gx[0] = az_gather_columns(az, gy, ((const columns *)node->saved)->index);
}

az_tensor *az_scatter_columns(az_ctx *az, const az_tensor *y, const az_tensor *index, int64_t width)
{
    static const az_op op = {.name = "az_scatter_columns", .gradient = scatter_gradient, .forgets = AZ_FORGETS_INPUTS | AZ_FORGETS_OUTPUT};
    if (!az_real(az, op.name, y) || !az_present(az, op.name, index)) return NULL;
    if (!check_index(az, op.name, index, width)) return NULL;
    const int64_t n = index->shape[0];
    if (y->rank < 1 || y->shape[y->rank - 1] != n)
        return az_fail(az, AZ_BAD_CALL, "%s: %lld columns are named for values of shape %s", op.name, (long long)n, az_shape_text(az, y));
    const az_tensor *from = az_packed(az, y);
    az_tensor *x = like_with_width(az, y, width, true);
    if (!from || !x) return NULL;
    const int64_t rows = n > 0 ? az_count(y) / n : 0;
    const int32_t *at = index->data;
    const bool wide = y->dtype == AZ_F64;
#pragma omp parallel for schedule(static) num_threads(az_threads(az)) if (rows * n > PARALLEL)
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < n; i++) {
            if (wide)
                ((double *)x->data)[r * width + at[i]] += ((const double *)from->data)[r * n + i];
            else
                ((float *)x->data)[r * width + at[i]] += ((const float *)from->data)[r * n + i];
        }
    if (!az_tracked(az, &y, 1)) return x;
    const columns saved = {.index = az_save(az, index), .width = width};
    return az_record(az, &op, x, &y, 1, &saved, sizeof saved);
}
