/* op_reduce.c - sums, means, maxima and running sums along an axis. */
#include "tensor/axis.h"
#include "tensor/tensor_internal.h"

#include <string.h>

/* x seen along one of its axes. */
static extent extent_of(const az_tensor *x, int axis)
{
    extent e = {.outer = 1, .n = x->shape[axis], .inner = 1};
    for (int i = 0; i < axis; i++) e.outer *= x->shape[i];
    for (int i = axis + 1; i < x->rank; i++) e.inner *= x->shape[i];
    return e;
}

/* The shape of x with `axis` (or all, for AZ_ALL_AXES) of extent 1, or without it. */
static az_tensor reduced_shape(const az_tensor *x, int axis, bool keep)
{
    az_tensor y = {.dtype = x->dtype};
    for (int i = 0; i < x->rank; i++) {
        bool gone = axis == AZ_ALL_AXES || i == axis;
        if (!gone || keep) y.shape[y.rank++] = gone ? 1 : x->shape[i];
    }
    return y;
}

/* AZ_ALL_AXES stays; other axes are counted from the front. -1 with an error when out of range. */
static int checked_axis(az_ctx *az, const char *name, const az_tensor *x, int axis)
{
    return axis == AZ_ALL_AXES ? axis : az_axis(az, name, x, axis);
}

/* ---- sum and mean ---- */

static void sum_gradient(az_ctx *az, const az_node *node, const az_tensor *gy, az_tensor **gx)
{
    const az_tensor *x = node->input[0];
    az_tensor kept = reduced_shape(x, *(const int *)node->saved, true);
    gx[0] = az_broadcast(az, az_reshape(az, gy, kept.rank, kept.shape), x->rank, x->shape);
}

az_tensor *az_sum(az_ctx *az, const az_tensor *x, int axis, bool keep)
{
    static const az_op op = {.name = "az_sum", .gradient = sum_gradient, .forgets = AZ_FORGETS_INPUTS | AZ_FORGETS_OUTPUT};
    if (!az_real(az, op.name, x)) return NULL;
    axis = checked_axis(az, op.name, x, axis);
    if (axis == -1) return NULL;
    az_tensor shape = reduced_shape(x, axis, keep);
    az_tensor *y = az_tensor_new(az, x->dtype, shape.rank, shape.shape);
    const az_tensor *packed = az_packed(az, x);
    if (!y || !packed) return NULL;
    az_axis_sum(az, y, packed, axis == AZ_ALL_AXES ? (extent){1, az_count(x), 1} : extent_of(x, axis));
    return az_record(az, &op, y, &x, 1, &axis, sizeof axis);
}

az_tensor *az_mean(az_ctx *az, const az_tensor *x, int axis, bool keep)
{
    if (!az_real(az, "az_mean", x)) return NULL;
    axis = checked_axis(az, "az_mean", x, axis);
    if (axis == -1) return NULL;
    int64_t n = axis == AZ_ALL_AXES ? az_count(x) : x->shape[axis];
    return az_affine(az, az_sum(az, x, axis, keep), 1.0 / (double)n, 0);
}

az_tensor *az_sum_to(az_ctx *az, const az_tensor *x, int rank, const int64_t *shape)
{
    if (!az_real(az, "az_sum_to", x)) return NULL;
    int front = x->rank - rank;
    bool fits = rank >= 0 && front >= 0;
    for (int i = 0; fits && i < rank; i++) fits = shape[i] == x->shape[front + i] || shape[i] == 1;
    if (!fits) {
        char wanted[AZ_SHAPE_TEXT];
        bool printable = rank >= 0 && rank <= AZ_MAX_RANK;
        return az_fail(az, AZ_BAD_CALL, "az_sum_to: shape %s to %s", az_shape_text(az, x),
                       printable ? az_print_shape(rank, shape, wanted) : "a tensor of that rank");
    }
    const az_tensor *y = x;
    if (front > 0) { /* the leading axes together */
        int64_t merged[AZ_MAX_RANK + 1] = {1};
        for (int i = 0; i < front; i++) merged[0] *= x->shape[i];
        memcpy(merged + 1, x->shape + front, sizeof shape[0] * (size_t)rank);
        y = az_sum(az, az_reshape(az, x, rank + 1, merged), 0, false);
    }
    for (int i = rank - 1; i >= 0 && y; i--)
        if (y->shape[i] != shape[i]) y = az_sum(az, y, i, true);
    return (az_tensor *)y; /* x itself when nothing is to be done: only read from here on */
}

/* ---- running sums ---- */

typedef struct running {
    int axis;
    bool reverse;
} running;

static az_tensor *running_sum(az_ctx *az, const az_tensor *x, running how);

static void running_gradient(az_ctx *az, const az_node *node, const az_tensor *gy, az_tensor **gx)
{
    const running *how = node->saved;
    gx[0] = running_sum(az, gy, (running){how->axis, !how->reverse});
}

static az_tensor *running_sum(az_ctx *az, const az_tensor *x, running how)
{
    static const az_op op = {.name = "az_cumsum", .gradient = running_gradient, .forgets = AZ_FORGETS_INPUTS | AZ_FORGETS_OUTPUT};
    az_tensor *y = x ? az_tensor_new(az, x->dtype, x->rank, x->shape) : NULL;
    const az_tensor *packed = az_packed(az, x);
    if (!y || !packed) return NULL;
    az_axis_cumsum(y, packed, extent_of(x, how.axis), how.reverse);
    return az_record(az, &op, y, &x, 1, &how, sizeof how);
}

az_tensor *az_cumsum(az_ctx *az, const az_tensor *x, int axis)
{
    if (!az_real(az, "az_cumsum", x)) return NULL;
    running how = {.axis = az_axis(az, "az_cumsum", x, axis)};
    return how.axis < 0 ? NULL : running_sum(az, x, how);
}

/* ---- reductions written for the last axis ---- */

typedef az_tensor *(*row_reduction)(az_ctx *az, const az_tensor *x); /* [..., n] -> [...] */

/* Brings the axis (or all of them) to the end and applies f there. */
static az_tensor *along_axis(az_ctx *az, const char *name, const az_tensor *x, int axis, row_reduction f)
{
    if (axis == AZ_ALL_AXES) return f(az, az_reshape(az, x, 1, (int64_t[]){az_count(x)}));
    axis = az_axis(az, name, x, axis);
    if (axis < 0) return NULL;
    if (axis == x->rank - 1) return f(az, x);
    int axes[AZ_MAX_RANK] = {0};
    for (int i = 0; i < x->rank; i++) axes[i] = i < axis ? i : i + 1;
    axes[x->rank - 1] = axis;
    return f(az, az_permute(az, x, axes));
}

static az_tensor *reduce(az_ctx *az, const char *name, const az_tensor *x, int axis, bool keep, row_reduction f)
{
    if (!az_real(az, name, x)) return NULL;
    az_tensor *y = along_axis(az, name, x, axis, f);
    if (!y || !keep) return y;
    az_tensor kept = reduced_shape(x, axis == AZ_ALL_AXES ? axis : az_axis(az, name, x, axis), true);
    return az_reshape(az, y, kept.rank, kept.shape);
}

/* y [...] as [..., 1] */
static az_tensor *column(az_ctx *az, const az_tensor *y)
{
    if (!y) return NULL;
    int64_t shape[AZ_MAX_RANK + 1];
    memcpy(shape, y->shape, sizeof y->shape);
    shape[y->rank] = 1;
    return az_reshape(az, y, y->rank + 1, shape);
}

/* ---- max ---- */

/* position [...] as a mask [..., n] of the given type: 1 at the position, 0 elsewhere. */
static az_tensor *one_hot(az_ctx *az, const az_tensor *position, const az_tensor *like)
{
    az_tensor *mask = az_zeros(az, like->dtype, like->rank, like->shape);
    if (!mask) return NULL;
    int64_t n = like->shape[like->rank - 1];
    for (int64_t row = 0, rows = az_count(position); row < rows; row++)
        az_store(mask->dtype, mask->data, row * n + ((const int32_t *)position->data)[row], 1);
    return mask;
}

static void max_gradient(az_ctx *az, const az_node *node, const az_tensor *gy, az_tensor **gx)
{
    const az_tensor *position = *(const az_tensor *const *)node->saved;
    gx[0] = az_mul(az, column(az, gy), one_hot(az, position, node->input[0]));
}

/* Where the rows of x have their first maxima, and (y not NULL) how large those are. */
static az_tensor *max_positions(az_ctx *az, const char *name, const az_tensor *x, az_tensor *y)
{
    int64_t n = x->rank > 0 ? x->shape[x->rank - 1] : 0;
    if (n < 1 || n > INT32_MAX) return az_fail(az, AZ_BAD_CALL, "%s: shape %s has no element along the axis", name, az_shape_text(az, x));
    az_tensor *position = az_tensor_new(az, AZ_I32, x->rank - 1, x->shape);
    const az_tensor *packed = az_packed(az, x);
    if (position && packed) az_axis_max(az, y, position, packed, extent_of(x, x->rank - 1));
    return packed ? position : NULL;
}

static az_tensor *max_of_rows(az_ctx *az, const az_tensor *x)
{
    static const az_op op = {.name = "az_max", .gradient = max_gradient, .forgets = AZ_FORGETS_INPUTS | AZ_FORGETS_OUTPUT};
    az_tensor *y = x ? az_tensor_new(az, x->dtype, x->rank - 1, x->shape) : NULL;
    const az_tensor *position = y ? max_positions(az, op.name, x, y) : NULL;
    if (!position || !az_tracked(az, &x, 1)) return position ? y : NULL;
    position = az_save(az, position);
    return az_record(az, &op, y, &x, 1, &position, sizeof position);
}

az_tensor *az_max(az_ctx *az, const az_tensor *x, int axis, bool keep)
{
    if (az_real(az, "az_max", x) && x->rank == 0) return az_reshape(az, x, 0, NULL);
    return reduce(az, "az_max", x, axis, keep, max_of_rows);
}

az_tensor *az_argmax(az_ctx *az, const az_tensor *x)
{
    return az_real(az, "az_argmax", x) ? max_positions(az, "az_argmax", x, NULL) : NULL;
}

/* ---- log-sum-exp and softmax ---- */

static void logsumexp_gradient(az_ctx *az, const az_node *node, const az_tensor *gy, az_tensor **gx)
{
    az_tensor *weight = az_exp(az, az_sub(az, node->input[0], column(az, node->output)));
    gx[0] = az_mul(az, column(az, gy), weight);
}

static az_tensor *logsumexp_of_rows(az_ctx *az, const az_tensor *x)
{
    static const az_op op = {.name = "az_logsumexp", .gradient = logsumexp_gradient};
    const az_tensor *packed = az_packed(az, x);
    az_tensor *y = packed ? az_tensor_new(az, x->dtype, x->rank - 1, x->shape) : NULL;
    if (!y) return NULL;
    az_axis_logsumexp(az, y, packed, extent_of(x, x->rank - 1));
    return az_record(az, &op, y, &x, 1, NULL, 0);
}

az_tensor *az_logsumexp(az_ctx *az, const az_tensor *x, int axis, bool keep)
{
    if (az_real(az, "az_logsumexp", x) && x->rank == 0) return az_reshape(az, x, 0, NULL);
    return reduce(az, "az_logsumexp", x, axis, keep, logsumexp_of_rows);
}

static void softmax_gradient(az_ctx *az, const az_node *node, const az_tensor *gy, az_tensor **gx)
{
    const az_tensor *y = node->output;
    if (az_recording(az)) {
        gx[0] = az_mul(az, y, az_sub(az, gy, az_sum(az, az_mul(az, gy, y), -1, true)));
        return;
    }
    const az_tensor *g = az_packed(az, gy);
    gx[0] = az_tensor_new(az, y->dtype, y->rank, y->shape);
    if (g && gx[0]) az_axis_softmax_gradient(az, gx[0], g, y, extent_of(y, y->rank - 1));
}

static void log_softmax_gradient(az_ctx *az, const az_node *node, const az_tensor *gy, az_tensor **gx)
{
    const az_tensor *y = node->output;
    if (az_recording(az)) {
        gx[0] = az_sub(az, gy, az_mul(az, az_exp(az, y), az_sum(az, gy, -1, true)));
        return;
    }
    const az_tensor *g = az_packed(az, gy);
    gx[0] = az_tensor_new(az, y->dtype, y->rank, y->shape);
    if (g && gx[0]) az_axis_log_softmax_gradient(az, gx[0], g, y, extent_of(y, y->rank - 1));
}

/* softmax or log-softmax: an operation along rows that keeps the shape. */
static az_tensor *along_rows(az_ctx *az, const az_op *op, const az_tensor *x,
                             void (*f)(az_ctx *az, az_tensor *y, const az_tensor *x, extent e))
{
    if (!az_real(az, op->name, x)) return NULL;
    if (x->rank < 1) return az_fail(az, AZ_BAD_CALL, "%s: a scalar has no last axis", op->name);
    const az_tensor *packed = az_packed(az, x);
    az_tensor *y = packed ? az_tensor_new(az, x->dtype, x->rank, x->shape) : NULL;
    if (!y) return NULL;
    f(az, y, packed, extent_of(x, x->rank - 1));
    return az_record(az, op, y, &x, 1, NULL, 0);
}

az_tensor *az_softmax(az_ctx *az, const az_tensor *x)
{
    static const az_op op = {.name = "az_softmax", .gradient = softmax_gradient, .forgets = AZ_FORGETS_INPUTS};
    return along_rows(az, &op, x, az_axis_softmax);
}

az_tensor *az_log_softmax(az_ctx *az, const az_tensor *x)
{
    static const az_op op = {.name = "az_log_softmax", .gradient = log_softmax_gradient, .forgets = AZ_FORGETS_INPUTS};
    return along_rows(az, &op, x, az_axis_log_softmax);
}
