/* op_binary.c - arithmetic of two tensors whose shapes broadcast, with derivatives, and choice by a mask. */
#include "tensor/kernels/elementwise.h"
#include "tensor/tensor_internal.h"

bool az_broadcast_shapes(az_ctx *az, const char *name, const az_tensor *a, const az_tensor *b, az_tensor *frame)
{
    *frame = (az_tensor){.dtype = a->dtype, .rank = a->rank > b->rank ? a->rank : b->rank};
    for (int back = 1; back <= frame->rank; back++) {
        int64_t na = back <= a->rank ? a->shape[a->rank - back] : 1, nb = back <= b->rank ? b->shape[b->rank - back] : 1;
        if (na != nb && na != 1 && nb != 1) {
            char left[AZ_SHAPE_TEXT], right[AZ_SHAPE_TEXT];
            az_fail(az, AZ_BAD_CALL, "%s: shapes %s and %s do not broadcast", name, az_print_shape(a->rank, a->shape, left),
                    az_print_shape(b->rank, b->shape, right));
            return false;
        }
        frame->shape[frame->rank - back] = na == 1 ? nb : na;
    }
    return true;
}

/* The result of a kernel on broadcast operands, not recorded. */
static az_tensor *apply(az_ctx *az, const char *name, az_binary kind, const az_tensor *a, const az_tensor *b)
{
    az_tensor frame;
    if (!az_broadcast_shapes(az, name, a, b, &frame)) return NULL;
    az_tensor *y = az_tensor_new(az, a->dtype, frame.rank, frame.shape);
    if (!y) return NULL;
    az_walk walk = az_walk_over(az, (const az_tensor *[]){y, a, b}, 3);
    az_walk_run(&walk, az_elementwise_for(a->dtype)->binary, (int)kind, NULL, 1);
    return y;
}

/* g summed over the axes along which x was stretched. */
static az_tensor *shrink(az_ctx *az, const az_tensor *g, const az_tensor *x)
{
    return az_sum_to(az, g, x->rank, x->shape);
}

/* ---- gradients ---- */

static void add_gradient(az_ctx *az, const az_node *node, const az_tensor *gy, az_tensor **gx)
{
    for (int i = 0; i < 2; i++)
        if (az_needs_gradient(node, i)) gx[i] = shrink(az, gy, node->input[i]);
}

static void sub_gradient(az_ctx *az, const az_node *node, const az_tensor *gy, az_tensor **gx)
{
    if (az_needs_gradient(node, 0)) gx[0] = shrink(az, gy, node->input[0]);
    if (az_needs_gradient(node, 1)) gx[1] = az_neg(az, shrink(az, gy, node->input[1]));
}

static void mul_gradient(az_ctx *az, const az_node *node, const az_tensor *gy, az_tensor **gx)
{
    for (int i = 0; i < 2; i++)
        if (az_needs_gradient(node, i)) gx[i] = shrink(az, az_mul(az, gy, node->input[1 - i]), node->input[i]);
}

static void div_gradient(az_ctx *az, const az_node *node, const az_tensor *gy, az_tensor **gx)
{
    const az_tensor *b = node->input[1];
    az_tensor *g = az_div(az, gy, b);
    if (az_needs_gradient(node, 0)) gx[0] = shrink(az, g, node->input[0]);
    if (az_needs_gradient(node, 1)) gx[1] = az_neg(az, shrink(az, az_mul(az, g, node->output), b));
}

/* The gradient goes where mask is 1 to the first operand, where it is 0 to the second. */
static void split_by_mask(az_ctx *az, const az_node *node, const az_tensor *gy, az_binary mask_kind, az_tensor **gx)
{
    az_tensor *mask = apply(az, node->op->name, mask_kind, node->input[0], node->input[1]);
    if (az_needs_gradient(node, 0)) gx[0] = shrink(az, az_mul(az, gy, mask), node->input[0]);
    if (az_needs_gradient(node, 1)) gx[1] = shrink(az, az_mul(az, gy, az_affine(az, mask, -1, 1)), node->input[1]);
}

static void maximum_gradient(az_ctx *az, const az_node *node, const az_tensor *gy, az_tensor **gx)
{
    split_by_mask(az, node, gy, AZ_BINARY_FIRST_IS_MAX, gx);
}

static void minimum_gradient(az_ctx *az, const az_node *node, const az_tensor *gy, az_tensor **gx)
{
    split_by_mask(az, node, gy, AZ_BINARY_FIRST_IS_MIN, gx);
}

/* ---- the functions ---- */

static az_tensor *binary(az_ctx *az, const az_op *op, az_binary kind, const az_tensor *a, const az_tensor *b)
{
    if (!az_same_real(az, op->name, a, b)) return NULL;
    az_tensor *y = apply(az, op->name, kind, a, b);
    return az_record(az, op, y, (const az_tensor *[]){a, b}, 2, NULL, 0);
}

az_tensor *az_add(az_ctx *az, const az_tensor *a, const az_tensor *b)
{
    static const az_op op = {.name = "az_add", .gradient = add_gradient, .forgets = AZ_FORGETS_INPUTS | AZ_FORGETS_OUTPUT};
    return binary(az, &op, AZ_BINARY_ADD, a, b);
}

az_tensor *az_sub(az_ctx *az, const az_tensor *a, const az_tensor *b)
{
    static const az_op op = {.name = "az_sub", .gradient = sub_gradient, .forgets = AZ_FORGETS_INPUTS | AZ_FORGETS_OUTPUT};
    return binary(az, &op, AZ_BINARY_SUB, a, b);
}

az_tensor *az_mul(az_ctx *az, const az_tensor *a, const az_tensor *b)
{
    static const az_op op = {.name = "az_mul", .gradient = mul_gradient, .forgets = AZ_FORGETS_OWN_INPUT | AZ_FORGETS_OUTPUT};
    return binary(az, &op, AZ_BINARY_MUL, a, b);
}

az_tensor *az_div(az_ctx *az, const az_tensor *a, const az_tensor *b)
{
    static const az_op op = {.name = "az_div", .gradient = div_gradient};
    return binary(az, &op, AZ_BINARY_DIV, a, b);
}

az_tensor *az_maximum(az_ctx *az, const az_tensor *a, const az_tensor *b)
{
    static const az_op op = {.name = "az_maximum", .gradient = maximum_gradient, .forgets = AZ_FORGETS_OUTPUT};
    return binary(az, &op, AZ_BINARY_MAX, a, b);
}

az_tensor *az_minimum(az_ctx *az, const az_tensor *a, const az_tensor *b)
{
    static const az_op op = {.name = "az_minimum", .gradient = minimum_gradient, .forgets = AZ_FORGETS_OUTPUT};
    return binary(az, &op, AZ_BINARY_MIN, a, b);
}

/* ---- choice ---- */

/* op: type of the mask. */
static void nonzero_row(int op, const double *param, const az_lane *lane, int64_t n)
{
    (void)param;
    uint8_t *y = lane[0].data;
    for (int64_t i = 0; i < n; i++) y[i * lane[0].stride] = az_load((az_dtype)op, lane[1].data, i * lane[1].stride) != 0;
}

static void where_gradient(az_ctx *az, const az_node *node, const az_tensor *gy, az_tensor **gx)
{
    const az_tensor *mask = *(const az_tensor *const *)node->saved, *zero = az_scalar(az, gy->dtype, 0);
    if (az_needs_gradient(node, 0)) gx[0] = shrink(az, az_where(az, mask, gy, zero), node->input[0]);
    if (az_needs_gradient(node, 1)) gx[1] = shrink(az, az_where(az, mask, zero, gy), node->input[1]);
}

az_tensor *az_where(az_ctx *az, const az_tensor *mask, const az_tensor *a, const az_tensor *b)
{
    static const az_op op = {.name = "az_where", .gradient = where_gradient, .forgets = AZ_FORGETS_INPUTS | AZ_FORGETS_OUTPUT};
    if (!az_present(az, op.name, mask) || !az_same_real(az, op.name, a, b)) return NULL;
    az_tensor values, frame;
    if (!az_broadcast_shapes(az, op.name, a, b, &values) || !az_broadcast_shapes(az, op.name, mask, &values, &frame)) return NULL;
    az_tensor *chosen = az_tensor_new(az, AZ_U8, mask->rank, mask->shape);
    az_tensor *y = az_tensor_new(az, a->dtype, frame.rank, frame.shape);
    if (!chosen || !y) return NULL;
    az_walk nonzero = az_walk_over(az, (const az_tensor *[]){chosen, mask}, 2);
    az_walk_run(&nonzero, nonzero_row, (int)mask->dtype, NULL, 2);
    az_walk walk = az_walk_over(az, (const az_tensor *[]){y, chosen, a, b}, 4);
    az_walk_run(&walk, az_elementwise_for(a->dtype)->select, 0, NULL, 2);
    const az_tensor *inputs[] = {a, b};
    if (!az_tracked(az, inputs, 2)) return y;
    const az_tensor *saved = az_save(az, chosen);
    return az_record(az, &op, y, inputs, 2, &saved, sizeof saved);
}

/* ---- in place ---- */

void az_add_into(az_ctx *az, az_tensor *out, const az_tensor *x, double scale)
{
    if (!az_same_real(az, "az_add_into", out, x)) return;
    az_tensor frame;
    if (!az_broadcast_shapes(az, "az_add_into", out, x, &frame)) return;
    if (!az_has_shape(out, frame.rank, frame.shape)) {
        az_fail(az, AZ_BAD_CALL, "az_add_into: shape %s does not broadcast to %s", az_shape_text(az, x), az_shape_text(az, out));
        return;
    }
    az_walk walk = az_walk_over(az, (const az_tensor *[]){out, x}, 2);
    az_walk_run(&walk, az_elementwise_for(out->dtype)->add_scaled, 0, &scale, 1);
}
