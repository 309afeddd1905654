/* elementwise_table.h - the elementwise row kernels of one instruction set, as functions of the including file, and their table. */
#include "tensor/kernels/elementwise.h"
#include "tensor/kernels/scalar_more.h"

#define REAL    float
#define NAME(x) x##_f32
#include "tensor/kernels/elementwise_rows.h"
#undef REAL
#undef NAME

#define REAL    double
#define NAME(x) x##_f64
#include "tensor/kernels/elementwise_rows.h"
#undef REAL
#undef NAME

static const az_elementwise table[2] = {
    {.unary = unary_f32, .slope = slope_f32, .binary = binary_f32, .select = select_f32, .add_scaled = add_scaled_f32},
    {.unary = unary_f64, .slope = slope_f64, .binary = binary_f64, .select = select_f64, .add_scaled = add_scaled_f64},
};
