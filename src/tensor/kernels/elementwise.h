/* elementwise.h - row kernels of elementwise operations on real numbers, per type (f32, f64) and per instruction set.
 *
 * The loops are written once, in elementwise_rows.h, with REAL for the type; elementwise_portable.c and its likes compile them. */
#ifndef ADZE_TENSOR_ELEMENTWISE_H
#define ADZE_TENSOR_ELEMENTWISE_H

#include "tensor/walk.h"

/* Functions of one number; param[0], param[1] as noted. */
typedef enum az_unary {
    AZ_UNARY_AFFINE, /* param[0] x + param[1] */
    AZ_UNARY_POW,    /* x ^ param[0] */
    AZ_UNARY_CLIP,   /* between param[0] and param[1] */
    AZ_UNARY_EXP,
    AZ_UNARY_LOG,
    AZ_UNARY_SQRT,
    AZ_UNARY_SQUARE,
    AZ_UNARY_ABS,
    AZ_UNARY_SIGN,
    AZ_UNARY_SIN,
    AZ_UNARY_COS,
    AZ_UNARY_ERF,
    AZ_UNARY_TANH,
    AZ_UNARY_SIGMOID,
    AZ_UNARY_SOFTPLUS,
    AZ_UNARY_RELU,
    AZ_UNARY_SILU,
    AZ_UNARY_GELU,
    AZ_UNARY_GELU_TANH,
    AZ_UNARY_STEP,   /* x > 0 */
    AZ_UNARY_INSIDE, /* param[0] <= x <= param[1] */
    AZ_UNARY_KINDS
} az_unary;

typedef enum az_binary {
    AZ_BINARY_ADD,
    AZ_BINARY_SUB,
    AZ_BINARY_MUL,
    AZ_BINARY_DIV,
    AZ_BINARY_MAX,
    AZ_BINARY_MIN,
    AZ_BINARY_FIRST_IS_MAX, /* 1 where the maximum is the first operand, 0 elsewhere */
    AZ_BINARY_FIRST_IS_MIN,
    AZ_BINARY_KINDS
} az_binary;

typedef struct az_elementwise {
    az_row_kernel unary;      /* lanes y, x; op: az_unary */
    az_row_kernel slope;      /* lanes gx, gy, v: gx = gy * f'(x); v is x, or y for exp, sqrt, tanh and sigmoid */
    az_row_kernel binary;     /* lanes y, a, b; op: az_binary */
    az_row_kernel select;     /* lanes y, mask (u8), a, b */
    az_row_kernel add_scaled; /* lanes y, x: y += param[0] x */
} az_elementwise;

/* [0] f32, [1] f64 */
const az_elementwise *az_elementwise_portable(void);
const az_elementwise *az_elementwise_avx2(void); /* only built for x86-64; call it only where the processor has AVX2 and FMA */
const az_elementwise *az_elementwise_neon(void); /* only built for aarch64 */
/* For f32 or f64, the fastest that this processor runs. */
const az_elementwise *az_elementwise_for(az_dtype dtype);

#endif
