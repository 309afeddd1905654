/* kernels_avx512.c - the kernels for x86-64 processors with AVX-512. */
#define VECTOR_BYTES 64
#include "tensor/kernels/both_types.h"

const az_kernels *az_kernels_avx512(void)
{
    return &table;
}
