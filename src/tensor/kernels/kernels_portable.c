/* kernels_portable.c - the kernels for any processor: 16-byte vectors, which every x86-64 and aarch64 has. */
#define VECTOR_BYTES 16
#include "tensor/kernels/both_types.h"

const az_kernels *az_kernels_portable(void)
{
    return &table;
}
