/* op_view.c - other shapes for the same data, and the operations whose derivatives they are. */
#include "tensor/tensor_internal.h"

#include <string.h>

enum { FORGETS_ALL = AZ_FORGETS_INPUTS | AZ_FORGETS_OUTPUT };

/* A header of its own with x's data, not tracked yet. */
static az_tensor view_of(const az_tensor *x)
{
    az_tensor view = *x;
    view.node = NULL;
    view.tape = 0;
    return view;
}

const az_tensor *az_packed(az_ctx *az, const az_tensor *x)
{
    if (!x) return NULL;
    const az_tensor *plain = x->node ? az_share(az, x) : x;
    return az_is_contiguous(x) ? plain : az_copy(az, plain);
}

az_tensor *az_contiguous(az_ctx *az, const az_tensor *x)
{
    if (!az_present(az, "az_contiguous", x)) return NULL;
    return az_is_contiguous(x) ? (az_tensor *)x : az_copy(az, x); /* the caller's own tensor: const only because it is not changed here */
}

/* ---- reshape ---- */

static void reshape_gradient(az_ctx *az, const az_node *node, const az_tensor *gy, az_tensor **gx)
{
    gx[0] = az_reshape(az, gy, node->input[0]->rank, node->input[0]->shape);
}

/* Replaces an extent of -1 by what is left over; false when the shape does not have `count` elements. */
static bool complete_shape(int rank, const int64_t *shape, int64_t count, int64_t *full)
{
    int64_t known = 1;
    int open = -1;
    for (int i = 0; i < rank; i++) {
        full[i] = shape[i];
        if (shape[i] == -1 && open < 0)
            open = i;
        else if (shape[i] < 0 || __builtin_mul_overflow(known, shape[i], &known))
            return false;
    }
    if (open < 0) return known == count;
    full[open] = known ? count / known : 0;
    return known && full[open] * known == count;
}

az_tensor *az_reshape(az_ctx *az, const az_tensor *x, int rank, const int64_t *shape)
{
    static const az_op op = {.name = "az_reshape", .gradient = reshape_gradient, .forgets = FORGETS_ALL};
    if (!az_present(az, op.name, x)) return NULL;
    int64_t full[AZ_MAX_RANK];
    if (rank < 0 || rank > AZ_MAX_RANK || !complete_shape(rank, shape, az_count(x), full)) {
        char wanted[AZ_SHAPE_TEXT];
        return az_fail(az, AZ_BAD_CALL, "az_reshape: %s cannot become %s", az_shape_text(az, x),
                       rank >= 0 && rank <= AZ_MAX_RANK ? az_print_shape(rank, shape, wanted) : "a tensor of that rank");
    }
    const az_tensor *packed = az_contiguous(az, x);
    if (!packed) return NULL;
    az_tensor view = view_of(packed);
    view.rank = rank;
    memcpy(view.shape, full, sizeof full[0] * (size_t)rank);
    az_set_contiguous(&view);
    return az_record(az, &op, az_header(az, &view), &packed, 1, NULL, 0);
}

/* ---- permute ---- */

static void permute_gradient(az_ctx *az, const az_node *node, const az_tensor *gy, az_tensor **gx)
{
    const int *axes = node->saved;
    int inverse[AZ_MAX_RANK];
    for (int i = 0; i < gy->rank; i++) inverse[axes[i]] = i;
    gx[0] = az_permute(az, gy, inverse);
}

az_tensor *az_permute(az_ctx *az, const az_tensor *x, const int *axes)
{
    static const az_op op = {.name = "az_permute", .gradient = permute_gradient, .forgets = FORGETS_ALL};
    if (!az_present(az, op.name, x)) return NULL;
    az_tensor view = view_of(x);
    int saved[AZ_MAX_RANK] = {0};
    unsigned seen = 0;
    for (int i = 0; i < x->rank; i++) {
        int axis = axes[i] < 0 ? axes[i] + x->rank : axes[i];
        if (axis < 0 || axis >= x->rank || seen & 1u << axis)
            return az_fail(az, AZ_BAD_CALL, "az_permute: the axes of %s must be named once each; axis %d of the result is %d",
                           az_shape_text(az, x), i, axes[i]);
        seen |= 1u << axis;
        saved[i] = axis;
        view.shape[i] = x->shape[axis];
        view.stride[i] = x->stride[axis];
    }
    return az_record(az, &op, az_header(az, &view), &x, 1, saved, sizeof saved);
}

az_tensor *az_transpose(az_ctx *az, const az_tensor *x)
{
    if (!az_present(az, "az_transpose", x)) return NULL;
    if (x->rank < 2) return az_fail(az, AZ_BAD_CALL, "az_transpose: shape %s has no two axes", az_shape_text(az, x));
    int axes[AZ_MAX_RANK];
    for (int i = 0; i < x->rank; i++) axes[i] = i;
    axes[x->rank - 2] = x->rank - 1;
    axes[x->rank - 1] = x->rank - 2;
    return az_permute(az, x, axes);
}

/* ---- slice and pad ---- */

typedef struct range {
    int axis;
    int64_t start;
} range;

static void slice_gradient(az_ctx *az, const az_node *node, const az_tensor *gy, az_tensor **gx)
{
    const range *r = node->saved;
    gx[0] = az_pad(az, gy, r->axis, r->start, node->input[0]->shape[r->axis] - r->start - gy->shape[r->axis]);
}

az_tensor *az_slice(az_ctx *az, const az_tensor *x, int axis, int64_t start, int64_t count)
{
    static const az_op op = {.name = "az_slice", .gradient = slice_gradient, .forgets = FORGETS_ALL};
    if (!az_present(az, op.name, x)) return NULL;
    range saved = {.axis = az_axis(az, op.name, x, axis), .start = start};
    if (saved.axis < 0) return NULL;
    if (start < 0 || count < 0 || start > x->shape[saved.axis] - count)
        return az_fail(az, AZ_BAD_CALL, "az_slice: %lld from %lld on along axis %d of shape %s", (long long)count, (long long)start, axis,
                       az_shape_text(az, x));
    az_tensor view = view_of(x);
    view.shape[saved.axis] = count;
    if (view.data && count > 0) view.data = (char *)view.data + start * x->stride[saved.axis] * (int64_t)az_dtype_size(x->dtype);
    return az_record(az, &op, az_header(az, &view), &x, 1, &saved, sizeof saved);
}

static void pad_gradient(az_ctx *az, const az_node *node, const az_tensor *gy, az_tensor **gx)
{
    const range *r = node->saved;
    gx[0] = az_slice(az, gy, r->axis, r->start, node->input[0]->shape[r->axis]);
}

/* Copies x to where its part of y starts. */
static void copy_to_part(az_ctx *az, az_tensor *y, const az_tensor *x, range at)
{
    if (!y || !x) return;
    az_tensor part = view_of(y);
    part.shape[at.axis] = x->shape[at.axis];
    part.data = (char *)part.data + at.start * y->stride[at.axis] * (int64_t)az_dtype_size(y->dtype);
    az_copy_into(az, &part, x);
}

az_tensor *az_pad(az_ctx *az, const az_tensor *x, int axis, int64_t before, int64_t after)
{
    static const az_op op = {.name = "az_pad", .gradient = pad_gradient, .forgets = FORGETS_ALL};
    if (!az_present(az, op.name, x)) return NULL;
    range saved = {.axis = az_axis(az, op.name, x, axis), .start = before};
    if (saved.axis < 0) return NULL;
    int64_t shape[AZ_MAX_RANK], total;
    memcpy(shape, x->shape, sizeof shape);
    if (before < 0 || after < 0 || __builtin_add_overflow(before, after, &total) ||
        __builtin_add_overflow(total, shape[saved.axis], &shape[saved.axis]))
        return az_fail(az, AZ_BAD_CALL, "az_pad: %lld before and %lld after axis %d of shape %s", (long long)before, (long long)after, axis,
                       az_shape_text(az, x));
    az_tensor *y = az_zeros(az, x->dtype, x->rank, shape);
    copy_to_part(az, y, x, saved);
    return az_record(az, &op, y, &x, 1, &saved, sizeof saved);
}

/* ---- broadcast ---- */

static void broadcast_gradient(az_ctx *az, const az_node *node, const az_tensor *gy, az_tensor **gx)
{
    gx[0] = az_sum_to(az, gy, node->input[0]->rank, node->input[0]->shape);
}

az_tensor *az_broadcast(az_ctx *az, const az_tensor *x, int rank, const int64_t *shape)
{
    static const az_op op = {.name = "az_broadcast", .gradient = broadcast_gradient, .forgets = FORGETS_ALL};
    if (!az_present(az, op.name, x)) return NULL;
    if (rank < x->rank || rank > AZ_MAX_RANK)
        return az_fail(az, AZ_BAD_CALL, "az_broadcast: shape %s to rank %d", az_shape_text(az, x), rank);
    az_tensor view = view_of(x);
    view.rank = rank;
    for (int i = 0; i < rank; i++) {
        int own = i - (rank - x->rank);
        int64_t extent = own < 0 ? 1 : x->shape[own];
        char wanted[AZ_SHAPE_TEXT];
        if (shape[i] < 0 || (extent != shape[i] && extent != 1))
            return az_fail(az, AZ_BAD_CALL, "az_broadcast: shape %s to %s", az_shape_text(az, x), az_print_shape(rank, shape, wanted));
        view.shape[i] = shape[i];
        view.stride[i] = own < 0 || extent == 1 ? 0 : x->stride[own];
    }
    return az_record(az, &op, az_header(az, &view), &x, 1, NULL, 0);
}

/* ---- concat ---- */

static void concat_gradient(az_ctx *az, const az_node *node, const az_tensor *gy, az_tensor **gx)
{
    int axis = *(const int *)node->saved;
    int64_t start = 0;
    for (int i = 0; i < node->inputs; i++) {
        int64_t count = node->input[i]->shape[axis];
        if (az_needs_gradient(node, i)) gx[i] = az_slice(az, gy, axis, start, count);
        start += count;
    }
}

/* The extent of the result along axis, -1 with an error if the parts do not fit together. */
static int64_t concat_extent(az_ctx *az, az_tensor *const *parts, int n, int axis)
{
    int64_t total = 0;
    for (int i = 0; i < n; i++) {
        bool fits = parts[i]->dtype == parts[0]->dtype && parts[i]->rank == parts[0]->rank;
        for (int k = 0; fits && k < parts[0]->rank; k++) fits = k == axis || parts[i]->shape[k] == parts[0]->shape[k];
        if (!fits || __builtin_add_overflow(total, parts[i]->shape[axis], &total)) {
            az_fail(az, AZ_BAD_CALL, "az_concat: part %d, %s %s, does not continue %s %s along axis %d", i, az_dtype_name(parts[i]->dtype),
                    az_shape_text(az, parts[i]), az_dtype_name(parts[0]->dtype), az_shape_text(az, parts[0]), axis);
            return -1;
        }
    }
    return total;
}

az_tensor *az_concat(az_ctx *az, az_tensor *const *parts, int n, int axis)
{
    static const az_op op = {.name = "az_concat", .gradient = concat_gradient, .forgets = FORGETS_ALL};
    if (n < 1) return az_fail(az, AZ_BAD_CALL, "az_concat: no parts");
    for (int i = 0; i < n; i++)
        if (!az_present(az, op.name, parts[i])) return NULL;
    range at = {.axis = az_axis(az, op.name, parts[0], axis)};
    int64_t total = at.axis < 0 ? -1 : concat_extent(az, parts, n, at.axis);
    if (total < 0) return NULL;
    int64_t shape[AZ_MAX_RANK];
    memcpy(shape, parts[0]->shape, sizeof shape);
    shape[at.axis] = total;
    az_tensor *y = az_tensor_new(az, parts[0]->dtype, parts[0]->rank, shape);
    for (int i = 0; i < n; i++) {
        copy_to_part(az, y, parts[i], at);
        at.start += parts[i]->shape[at.axis];
    }
    return az_record(az, &op, y, (const az_tensor *const *)parts, n, &at.axis, sizeof at.axis);
}
