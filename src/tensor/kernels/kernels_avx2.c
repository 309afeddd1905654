/* kernels_avx2.c - the kernels for x86-64 processors with AVX2 and FMA. */
#define VECTOR_BYTES 32
#include "tensor/kernels/both_types.h"

const az_kernels *az_kernels_avx2(void)
{
    return &table;
}
