/* panels.c - whether this processor multiplies large matrices by packed panels. */
#include "tensor/kernels/panels.h"

const az_panel_kernels *az_panel_kernels_here(void)
{
#if defined(__x86_64__)
    const az_cpu *cpu = az_cpu_features();
    if (cpu->avx2 && cpu->fma && !cpu->avx512) return &az_panel_kernels_avx2;
#endif
    return NULL;
}
