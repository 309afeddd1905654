/* kernels_neon.c - the kernels for aarch64: 16-byte vectors, products and sums fused. */
#define VECTOR_BYTES 16
#include "tensor/kernels/both_types.h"

const az_kernels *az_kernels_neon(void)
{
    return &table;
}
