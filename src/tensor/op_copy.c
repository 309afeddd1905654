/* op_copy.c - copies and conversions between types. */
#include "tensor/half.h"
#include "tensor/tensor_internal.h"
#include "tensor/walk.h"

#include <string.h>

/* ---- row kernels ---- */

/* op: size of an element in bytes. */
static void copy_row(int op, const double *param, const az_lane *lane, int64_t n)
{
    (void)param;
    int64_t out = lane[0].stride, in = lane[1].stride;
    if (out == 1 && in == 1) {
        memcpy(lane[0].data, lane[1].data, (size_t)n * (size_t)op);
    } else if (op == 4) {
        uint32_t *to = lane[0].data;
        const uint32_t *from = lane[1].data;
        for (int64_t i = 0; i < n; i++) to[i * out] = from[i * in];
    } else if (op == 8) {
        uint64_t *to = lane[0].data;
        const uint64_t *from = lane[1].data;
        for (int64_t i = 0; i < n; i++) to[i * out] = from[i * in];
    } else {
        char *to = lane[0].data;
        const char *from = lane[1].data;
        for (int64_t i = 0; i < n; i++) memcpy(to + i * out * op, from + i * in * op, (size_t)op);
    }
}

/* The common conversions, without the detour through f64; false when this is none of them. */
static bool convert_float_row(az_dtype to, az_dtype from, const az_lane *lane, int64_t n)
{
    int64_t out = lane[0].stride, in = lane[1].stride;
    float *y = lane[0].data;
    const float *x = lane[1].data;
    uint16_t *y16 = lane[0].data;
    const uint16_t *x16 = lane[1].data;
    if (to == AZ_F32 && from == AZ_F64) {
        for (int64_t i = 0; i < n; i++) y[i * out] = (float)((const double *)lane[1].data)[i * in];
    } else if (to == AZ_F64 && from == AZ_F32) {
        for (int64_t i = 0; i < n; i++) ((double *)lane[0].data)[i * out] = (double)x[i * in];
    } else if (to == AZ_F32 && from == AZ_F16) {
        for (int64_t i = 0; i < n; i++) y[i * out] = az_f16_widen(x16[i * in]);
    } else if (to == AZ_F32 && from == AZ_BF16) {
        for (int64_t i = 0; i < n; i++) y[i * out] = az_bf16_widen(x16[i * in]);
    } else if (to == AZ_F16 && from == AZ_F32) {
        for (int64_t i = 0; i < n; i++) y16[i * out] = az_f16_round(x[i * in]);
    } else if (to == AZ_BF16 && from == AZ_F32) {
        for (int64_t i = 0; i < n; i++) y16[i * out] = az_bf16_round(x[i * in]);
    } else {
        return false;
    }
    return true;
}

/* op: type of the output + AZ_DTYPES * type of the input. */
static void convert_row(int op, const double *param, const az_lane *lane, int64_t n)
{
    (void)param;
    az_dtype to = (az_dtype)(op % AZ_DTYPES), from = (az_dtype)(op / AZ_DTYPES);
    if (convert_float_row(to, from, lane, n)) return;
    for (int64_t i = 0; i < n; i++) az_store(to, lane[0].data, i * lane[0].stride, az_load(from, lane[1].data, i * lane[1].stride));
}

/* ---- transposed copies ---- */

enum { TILE = 32 };

/* The axis along which the input is contiguous while the output is not, -1 if there is none: rows would jump through memory. */
static int crossing_axis(const az_walk *w)
{
    int last = w->rank - 1;
    if (w->stride[0][last] != w->size[0] || w->stride[1][last] <= w->size[1] || w->shape[last] < 4) return -1;
    for (int axis = 0; axis < last; axis++)
        if (w->stride[1][axis] == w->size[1] && w->shape[axis] >= 4) return axis;
    return -1;
}

/* One tile of rows along `axis` and columns along the last axis; small enough to stay in cache while it is turned. */
static void copy_tile(const az_walk *w, int axis, const int64_t *start)
{
    int last = w->rank - 1;
    const char *in = w->data[1];
    char *out = w->data[0];
    for (int i = 0; i < w->rank; i++) {
        out += start[i] * w->stride[0][i];
        in += start[i] * w->stride[1][i];
    }
    int64_t rows = w->shape[axis] - start[axis] < TILE ? w->shape[axis] - start[axis] : TILE;
    int64_t columns = w->shape[last] - start[last] < TILE ? w->shape[last] - start[last] : TILE;
    char turned[TILE * TILE * 8];
    for (int64_t j = 0; j < columns; j++) { /* every line of the input is read once, however its addresses collide in the cache */
        const az_lane lane[2] = {{turned + j * w->size[0], TILE}, {(char *)in + j * w->stride[1][last], 1}};
        copy_row((int)w->size[0], NULL, lane, rows);
    }
    for (int64_t i = 0; i < rows; i++) memcpy(out + i * w->stride[0][axis], turned + i * TILE * w->size[0], (size_t)(columns * w->size[0]));
}

static void copy_crossing(const az_walk *w, int axis)
{
    int64_t tiles[AZ_MAX_RANK], total = 1;
    for (int i = 0; i < w->rank; i++) {
        bool tiled = i == axis || i == w->rank - 1;
        tiles[i] = tiled ? (w->shape[i] + TILE - 1) / TILE : w->shape[i];
        total *= tiles[i];
    }
#pragma omp parallel for schedule(static) num_threads(w->threads) if (w->count > 1 << 15)
    for (int64_t tile = 0; tile < total; tile++) {
        int64_t start[AZ_MAX_RANK], rest = tile;
        for (int i = w->rank - 1; i >= 0; i--) {
            start[i] = rest % tiles[i] * (i == axis || i == w->rank - 1 ? TILE : 1);
            rest /= tiles[i];
        }
        copy_tile(w, axis, start);
    }
}

/* ---- operations ---- */

void az_copy_into(az_ctx *az, az_tensor *out, const az_tensor *x)
{
    if (!az_present(az, "az_copy_into", out) || !az_present(az, "az_copy_into", x)) return;
    if (!az_same_shape(out, x)) {
        az_fail(az, AZ_BAD_CALL, "az_copy_into: shapes %s and %s differ", az_shape_text(az, out), az_shape_text(az, x));
        return;
    }
    az_walk walk = az_walk_over(az, (const az_tensor *[]){out, x}, 2);
    int axis = out->dtype == x->dtype ? crossing_axis(&walk) : -1;
    if (axis >= 0) {
        copy_crossing(&walk, axis);
    } else if (out->dtype == x->dtype) {
        az_walk_run(&walk, copy_row, (int)az_dtype_size(x->dtype), NULL, 1);
    } else {
        az_walk_run(&walk, convert_row, (int)(out->dtype + AZ_DTYPES * x->dtype), NULL, 4);
    }
}

static void cast_gradient(az_ctx *az, const az_node *node, const az_tensor *gy, az_tensor **gx)
{
    gx[0] = az_cast(az, gy, node->input[0]->dtype);
}

static const az_op cast_op = {.name = "cast", .gradient = cast_gradient, .forgets = AZ_FORGETS_INPUTS | AZ_FORGETS_OUTPUT};

az_tensor *az_cast(az_ctx *az, const az_tensor *x, az_dtype dtype)
{
    if (!az_present(az, "az_cast", x)) return NULL;
    az_tensor *y = az_tensor_new(az, dtype, x->rank, x->shape);
    if (!y) return NULL;
    az_copy_into(az, y, x);
    bool real = dtype == AZ_F32 || dtype == AZ_F64;
    return real ? az_record(az, &cast_op, y, &x, 1, NULL, 0) : y;
}

az_tensor *az_copy(az_ctx *az, const az_tensor *x)
{
    return az_present(az, "az_copy", x) ? az_cast(az, x, x->dtype) : NULL;
}
