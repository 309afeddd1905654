/* kernels.c - which set of kernels runs here. */
#include "weight/kernels/kernels.h"

void az_block_totals(const az_columns *x, int64_t at, int32_t first, int32_t second)
{
    x->halves[2 * at] = x->scale[at] * (float)first;
    x->halves[2 * at + 1] = x->scale[at] * (float)second;
    x->total[at] = x->scale[at] * (float)(first + second);
}

const az_weight_kernels *az_weight_kernels_here(void)
{
#if defined(__x86_64__)
    const az_cpu *cpu = az_cpu_features();
    if (cpu->avx2 && cpu->fma && cpu->f16c) return &az_weight_kernels_avx2;
#elif defined(__aarch64__)
    if (az_cpu_features()->neon) return &az_weight_kernels_neon;
#endif
    return &az_weight_kernels_portable;
}
