/* layer.h - what the files of products and fused layers share. */
#ifndef ADZE_TENSOR_LAYER_H
#define ADZE_TENSOR_LAYER_H

#include "base/parallel.h"
#include "tensor/tensor_internal.h"

/* Below this many multiplications a loop is not worth waking other threads for. */
enum { AZ_PARALLEL_WORK = 1 << 15 };

/* The values of x, contiguous and off the tape: what a kernel reads. */
static inline const az_tensor *az_operand(az_ctx *az, const az_tensor *x)
{
    return x && az_is_contiguous(x) ? x : az_contiguous(az, az_share(az, x));
}

/* An uninitialised tensor shaped like x. */
static inline az_tensor *az_new_like(az_ctx *az, const az_tensor *x)
{
    return az_tensor_new(az, x->dtype, x->rank, x->shape);
}

#endif
