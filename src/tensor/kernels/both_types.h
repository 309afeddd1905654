/* both_types.h - all kernels for float and double, as functions of the including file, and their table `table`. VECTOR_BYTES is the width
 * that the instruction set of that file has. */
#include "tensor/kernels/kernels.h"
#include "tensor/kernels/scalar_f32.h"
#include "tensor/kernels/scalar_f64.h"

#include <math.h>

static inline double tanh_f64(double x)
{
    return tanh(x);
}

#include "tensor/kernels/real_f32.h"
#include "tensor/kernels/rows.h"
#include "tensor/kernels/blocks.h"
#include "tensor/kernels/real_f64.h"
#include "tensor/kernels/rows.h"
#include "tensor/kernels/blocks.h"
#include "tensor/kernels/real_done.h"

#include "tensor/kernels/kv.h"

static const az_kernels table = {
    .f32 = {.panel = 2 * LANES_f32,
            .exp = row_exp_f32,
            .sigmoid = row_sigmoid_f32,
            .tanh = row_tanh_f32,
            .silu = row_silu_f32,
            .swiglu = row_swiglu_f32,
            .swiglu_gradient = row_swiglu_gradient_f32,
            .softmax = row_softmax_f32,
            .max = row_max_f32,
            .sum = row_sum_f32,
            .sum_exp = row_sum_exp_f32,
            .exp_shift = row_exp_shift_f32,
            .dot = row_dot_f32,
            .axpy = row_axpy_f32,
            .scale = row_scale_f32,
            .mat_vec = mat_vec_f32,
            .vec_mat = vec_mat_f32,
            .block = block_f32,
            .pack = pack_f32,
            .softmax_gradient = row_softmax_gradient_f32,
            .exp_scaled = row_exp_scaled_f32,
            .sum_squares = row_sum_squares_f32,
            .norm = row_norm_f32,
            .norm_sums = row_norm_sums_f32,
            .norm_gradient = row_norm_gradient_f32},
    .f64 = {.panel = 2 * LANES_f64,
            .exp = row_exp_f64,
            .sigmoid = row_sigmoid_f64,
            .tanh = row_tanh_f64,
            .silu = row_silu_f64,
            .swiglu = row_swiglu_f64,
            .swiglu_gradient = row_swiglu_gradient_f64,
            .softmax = row_softmax_f64,
            .max = row_max_f64,
            .sum = row_sum_f64,
            .sum_exp = row_sum_exp_f64,
            .exp_shift = row_exp_shift_f64,
            .dot = row_dot_f64,
            .axpy = row_axpy_f64,
            .scale = row_scale_f64,
            .mat_vec = mat_vec_f64,
            .vec_mat = vec_mat_f64,
            .block = block_f64,
            .pack = pack_f64,
            .softmax_gradient = row_softmax_gradient_f64,
            .exp_scaled = row_exp_scaled_f64,
            .sum_squares = row_sum_squares_f64,
            .norm = row_norm_f64,
            .norm_sums = row_norm_sums_f64,
            .norm_gradient = row_norm_gradient_f64},
    .kv = {.widen_f16 = kv_widen_f16, .round_f16 = kv_round_f16, .widen_q8_0 = kv_widen_q8_0, .round_q8_0 = kv_round_q8_0},
};
