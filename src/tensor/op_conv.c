/* op_conv.c - convolution and pooling over images [batch, channels, height, width].
 *
 * Convolution is a matrix product with the image unfolded into columns. Unfolding and its adjoint, folding, are a pair of linear
 * operations, each the other's derivative; so convolutions have derivatives of every order. */
#include "tensor/layer.h"

#include <limits.h>
#include <string.h>

/* Windows of size[0] x size[1] over images [images, channels, height, width]. */
typedef struct window {
    int64_t images, channels, height, width;
    int64_t size[2], out[2]; /* extent of a window; number of windows down and across */
    az_conv how;
} window;

typedef struct extent {
    int64_t low, high; /* high is excluded */
} extent;

/* The windows along one axis whose element number `offset` falls inside an image of extent n. */
static extent inside(const window *w, int axis, int64_t offset, int64_t n)
{
    const int64_t step = w->how.stride[axis], before = w->how.padding[axis] - offset, last = n - 1 + before;
    extent range = {.low = before > 0 ? (before + step - 1) / step : 0, .high = last < 0 ? 0 : last / step + 1};
    if (range.high > w->out[axis]) range.high = w->out[axis];
    return range;
}

#include "tensor/kernels/real_f32.h"
#include "tensor/kernels/unfold.h"
#include "tensor/kernels/real_f64.h"
#include "tensor/kernels/unfold.h"

/* False with an error when no window fits. */
static bool place_windows(az_ctx *az, const char *name, const az_tensor *x, window *w)
{
    *w = (window){.images = x->shape[0],
                  .channels = x->shape[1],
                  .height = x->shape[2],
                  .width = x->shape[3],
                  .size = {w->size[0], w->size[1]},
                  .how = w->how};
    for (int axis = 0; axis < 2; axis++) {
        int64_t n = x->shape[2 + axis] + 2 * (int64_t)w->how.padding[axis];
        if (w->how.stride[axis] < 1 || w->how.padding[axis] < 0 || w->size[axis] < 1 || w->size[axis] > n)
            return az_fail(az, AZ_BAD_CALL, "%s: windows of %lld x %lld do not fit images %s", name, (long long)w->size[0],
                           (long long)w->size[1], az_shape_text(az, x));
        w->out[axis] = (n - w->size[axis]) / w->how.stride[axis] + 1;
    }
    return true;
}

/* ---- the pair of operations ---- */

static az_tensor *unfold(az_ctx *az, const az_tensor *x, const window *w);
static az_tensor *fold(az_ctx *az, const az_tensor *columns, const window *w);

static void unfold_gradient(az_ctx *az, const az_node *node, const az_tensor *gy, az_tensor **gx)
{
    gx[0] = fold(az, gy, node->saved);
}

static void fold_gradient(az_ctx *az, const az_node *node, const az_tensor *gy, az_tensor **gx)
{
    gx[0] = unfold(az, gy, node->saved);
}

static const az_op unfold_op = {.name = "unfold", .gradient = unfold_gradient, .forgets = AZ_FORGETS_INPUTS | AZ_FORGETS_OUTPUT};
static const az_op fold_op = {.name = "fold", .gradient = fold_gradient, .forgets = AZ_FORGETS_INPUTS | AZ_FORGETS_OUTPUT};

/* [images, channels, height, width] -> [images, channels * window, windows] */
static az_tensor *unfold(az_ctx *az, const az_tensor *x, const window *w)
{
    const int64_t shape[] = {w->images, w->channels * w->size[0] * w->size[1], w->out[0] * w->out[1]};
    az_tensor *columns = x ? az_tensor_new(az, x->dtype, 3, shape) : NULL;
    if (!columns) return NULL;
    az_scope_push(az);
    const az_tensor *images = az_operand(az, x);
    if (images && x->dtype == AZ_F32)
        unfold_planes_f32(w, false, images->data, columns->data, az_threads(az));
    else if (images)
        unfold_planes_f64(w, false, images->data, columns->data, az_threads(az));
    az_scope_pop(az);
    return images ? az_record(az, &unfold_op, columns, &x, 1, w, sizeof *w) : NULL;
}

static az_tensor *fold(az_ctx *az, const az_tensor *columns, const window *w)
{
    const int64_t shape[] = {w->images, w->channels, w->height, w->width};
    az_tensor *y = columns ? az_zeros(az, columns->dtype, 4, shape) : NULL;
    if (!y) return NULL;
    az_scope_push(az);
    const az_tensor *input = az_operand(az, columns);
    if (input && y->dtype == AZ_F32)
        unfold_planes_f32(w, true, y->data, input->data, az_threads(az));
    else if (input)
        unfold_planes_f64(w, true, y->data, input->data, az_threads(az));
    az_scope_pop(az);
    return input ? az_record(az, &fold_op, y, &columns, 1, w, sizeof *w) : NULL;
}

/* ---- convolution and pooling ---- */

az_tensor *az_conv2d(az_ctx *az, const az_tensor *x, const az_tensor *w, az_conv how)
{
    if (!az_same_real(az, "az_conv2d", x, w)) return NULL;
    if (x->rank != 4 || w->rank != 4 || x->shape[1] != w->shape[1])
        return az_fail(az, AZ_BAD_CALL, "az_conv2d: images %s do not fit filters %s", az_shape_text(az, x), az_shape_text(az, w));
    window at = {.size = {w->shape[2], w->shape[3]}, .how = how};
    if (!place_windows(az, "az_conv2d", x, &at)) return NULL;
    az_scope_push(az);
    az_tensor *filters = az_reshape(az, w, 2, (int64_t[]){w->shape[0], w->shape[1] * w->shape[2] * w->shape[3]});
    az_tensor *y = az_matmul(az, filters, unfold(az, x, &at)); /* [images, filters, windows] */
    return az_keep(az, az_reshape(az, y, 4, (int64_t[]){at.images, w->shape[0], at.out[0], at.out[1]}));
}

static bool place_pool(az_ctx *az, const char *name, const az_tensor *x, int size, int stride, window *w)
{
    if (!az_real(az, name, x)) return false;
    if (x->rank != 4) return az_fail(az, AZ_BAD_CALL, "%s: %s is not [batch, channels, height, width]", name, az_shape_text(az, x));
    *w = (window){.size = {size, size}, .how = {.stride = {stride, stride}}};
    return place_windows(az, name, x, w);
}

az_tensor *az_mean_pool2d(az_ctx *az, const az_tensor *x, int size, int stride)
{
    window w;
    if (!place_pool(az, "az_mean_pool2d", x, size, stride, &w)) return NULL;
    az_scope_push(az);
    az_tensor *columns = unfold(az, x, &w);
    columns = az_reshape(az, columns, 4, (int64_t[]){w.images, w.channels, (int64_t)size * size, w.out[0] * w.out[1]});
    az_tensor *y = az_mean(az, columns, 2, false);
    return az_keep(az, az_reshape(az, y, 4, (int64_t[]){w.images, w.channels, w.out[0], w.out[1]}));
}

/* The maxima are found first and then gathered, so the derivative is that of gathering. */
az_tensor *az_max_pool2d(az_ctx *az, const az_tensor *x, int size, int stride)
{
    window w;
    if (!place_pool(az, "az_max_pool2d", x, size, stride, &w)) return NULL;
    if (az_count(x) > INT32_MAX) return az_fail(az, AZ_BAD_CALL, "az_max_pool2d: %s has too many elements", az_shape_text(az, x));
    az_scope_push(az);
    const az_tensor *images = az_operand(az, x);
    az_tensor *found = az_tensor_new(az, AZ_I32, 4, (int64_t[]){w.images, w.channels, w.out[0], w.out[1]});
    if (images && found && x->dtype == AZ_F32)
        find_maxima_f32(&w, images->data, found->data);
    else if (images && found)
        find_maxima_f64(&w, images->data, found->data);
    return az_keep(az, az_gather(az, az_reshape(az, x, 1, (int64_t[]){az_count(x)}), found));
}
