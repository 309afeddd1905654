/* elementwise_avx2.c - elementwise kernels for x86-64 processors with AVX2 and FMA. */
#include "tensor/kernels/elementwise_table.h"

const az_elementwise *az_elementwise_avx2(void)
{
    return table;
}
