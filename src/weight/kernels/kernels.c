/* kernels.c - which set of kernels runs here. */
#include "weight/kernels/kernels.h"

const az_weight_kernels *az_weight_kernels_here(void)
{
#if defined(__x86_64__)
    const az_cpu *cpu = az_cpu_features();
    if (cpu->avx2 && cpu->fma && cpu->f16c) return &az_weight_kernels_avx2;
#endif
    return &az_weight_kernels_portable;
}
