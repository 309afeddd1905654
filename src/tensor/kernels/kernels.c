/* kernels.c - which table of kernels this processor gets. */
#include "tensor/kernels/kernels.h"

const az_kernels *az_kernels_best(void)
{
#if defined(__x86_64__)
    const az_cpu *cpu = az_cpu_features();
    if (cpu->avx512) return az_kernels_avx512();
    if (cpu->avx2 && cpu->fma && cpu->f16c) return az_kernels_avx2();
#elif defined(__aarch64__)
    if (az_cpu_features()->neon) return az_kernels_neon();
#endif
    return az_kernels_portable();
}
