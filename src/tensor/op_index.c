/* op_index.c - rows picked by index, and rows added where an index says: each the derivative of the other. */
#include "tensor/kernels/elementwise.h"
#include "tensor/tensor_internal.h"

#include <string.h>

enum { PARALLEL_BYTES = 1 << 18, COLUMN_BLOCK = 256 };

typedef struct indexed {
    const az_tensor *index; /* i32, contiguous */
    int64_t rows;           /* of the indexed tensor */
} indexed;

/* The index contiguous and checked, NULL with an error otherwise. */
static const az_tensor *checked_index(az_ctx *az, const char *name, const az_tensor *index, int64_t rows)
{
    if (!az_present(az, name, index)) return NULL;
    if (index->dtype != AZ_I32)
        return az_fail(az, AZ_BAD_CALL, "%s: an index of type %s; i32 is needed", name, az_dtype_name(index->dtype));
    const az_tensor *packed = az_packed(az, index);
    for (int64_t i = 0, n = packed ? az_count(packed) : 0; i < n; i++) {
        int32_t at = ((const int32_t *)packed->data)[i];
        if (at < 0 || at >= rows)
            return az_fail(az, AZ_BAD_CALL, "%s: index %d at position %lld; there are %lld rows", name, at, (long long)i, (long long)rows);
    }
    return packed;
}

/* Elements in one row of x. */
static int64_t row_width(const az_tensor *x, int from_axis)
{
    int64_t width = 1;
    for (int i = from_axis; i < x->rank; i++) width *= x->shape[i];
    return width;
}

/* Adds rows of `width` elements in the order of the index; threads share columns, so the order of each sum is fixed. */
static void add_rows(az_ctx *az, az_tensor *out, const az_tensor *y, const int32_t *at, int64_t n, int64_t width)
{
    int64_t size = (int64_t)az_dtype_size(y->dtype), blocks = (width + COLUMN_BLOCK - 1) / COLUMN_BLOCK;
    const az_row_kernel add = az_elementwise_for(y->dtype)->add_scaled;
    const double one = 1;
#pragma omp parallel for num_threads(az_threads(az)) if (n * width * size > PARALLEL_BYTES)
    for (int64_t block = 0; block < blocks; block++) {
        int64_t first = block * COLUMN_BLOCK, count = width - first < COLUMN_BLOCK ? width - first : COLUMN_BLOCK;
        for (int64_t i = 0; i < n; i++) {
            az_lane lane[2] = {{(char *)out->data + (at[i] * width + first) * size, 1}, {(char *)y->data + (i * width + first) * size, 1}};
            add(0, &one, lane, count);
        }
    }
}

static void gather_gradient(az_ctx *az, const az_node *node, const az_tensor *gy, az_tensor **gx)
{
    const indexed *s = node->saved;
    az_tensor *sum = az_gradient_so_far(az, node, 0);
    const az_tensor *rows = sum ? az_packed(az, gy) : NULL;
    if (rows)
        add_rows(az, sum, rows, s->index->data, az_count(s->index), row_width(node->input[0], 1));
    else
        gx[0] = az_scatter_add(az, gy, s->index, s->rows);
}

az_tensor *az_gather(az_ctx *az, const az_tensor *x, const az_tensor *index)
{
    static const az_op op = {.name = "az_gather", .gradient = gather_gradient, .forgets = AZ_FORGETS_INPUTS | AZ_FORGETS_OUTPUT};
    if (!az_present(az, op.name, x) || !az_present(az, op.name, index)) return NULL;
    if (x->rank < 1 || index->rank + x->rank - 1 > AZ_MAX_RANK)
        return az_fail(az, AZ_BAD_CALL, "az_gather: rows of shape %s by index of shape %s", az_shape_text(az, x), az_shape_text(az, index));
    indexed saved = {.index = checked_index(az, op.name, index, x->shape[0]), .rows = x->shape[0]};
    const az_tensor *source = az_packed(az, x);
    if (!saved.index || !source) return NULL;
    int64_t shape[2 * AZ_MAX_RANK];
    memcpy(shape, index->shape, sizeof index->shape);
    memcpy(shape + index->rank, x->shape + 1, sizeof shape[0] * (size_t)(x->rank - 1));
    az_tensor *y = az_tensor_new(az, x->dtype, index->rank + x->rank - 1, shape);
    if (!y) return NULL;
    const int32_t *at = saved.index->data;
    size_t bytes = (size_t)row_width(x, 1) * az_dtype_size(x->dtype);
    int64_t n = az_count(index);
#pragma omp parallel for num_threads(az_threads(az)) if (y->buffer->bytes > PARALLEL_BYTES)
    for (int64_t i = 0; i < n; i++) memcpy((char *)y->data + (size_t)i * bytes, (const char *)source->data + (size_t)at[i] * bytes, bytes);
    if (!az_tracked(az, &x, 1)) return y;
    saved.index = az_save(az, saved.index);
    return az_record(az, &op, y, &x, 1, &saved, sizeof saved);
}

static void scatter_gradient(az_ctx *az, const az_node *node, const az_tensor *gy, az_tensor **gx)
{
    gx[0] = az_gather(az, gy, ((const indexed *)node->saved)->index);
}

az_tensor *az_scatter_add(az_ctx *az, const az_tensor *y, const az_tensor *index, int64_t n)
{
    static const az_op op = {.name = "az_scatter_add", .gradient = scatter_gradient, .forgets = AZ_FORGETS_INPUTS | AZ_FORGETS_OUTPUT};
    if (!az_real(az, op.name, y) || !az_present(az, op.name, index)) return NULL;
    if (index->rank > y->rank || !az_has_shape(index, index->rank, y->shape) || 1 + y->rank - index->rank > AZ_MAX_RANK)
        return az_fail(az, AZ_BAD_CALL, "az_scatter_add: index of shape %s for rows of shape %s", az_shape_text(az, index),
                       az_shape_text(az, y));
    indexed saved = {.index = checked_index(az, op.name, index, n), .rows = n};
    const az_tensor *source = az_packed(az, y);
    if (!saved.index || !source) return NULL;
    int64_t shape[AZ_MAX_RANK] = {n};
    memcpy(shape + 1, y->shape + index->rank, sizeof shape[0] * (size_t)(y->rank - index->rank));
    az_tensor *out = az_zeros(az, y->dtype, 1 + y->rank - index->rank, shape);
    if (!out) return NULL;
    add_rows(az, out, source, saved.index->data, az_count(index), row_width(y, index->rank));
    if (!az_tracked(az, &y, 1)) return out;
    saved.index = az_save(az, saved.index);
    return az_record(az, &op, out, &y, 1, &saved, sizeof saved);
}
