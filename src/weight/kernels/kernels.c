/* kernels.c - which set of kernels runs here. */
#include "weight/kernels/kernels.h"

void az_block_totals(int64_t blocks, const float *scale, const int32_t *eights, float *total)
{
    for (int64_t b = 0; b < blocks; b++, eights += 8) {
        int32_t sum = 0;
        for (int i = 0; i < 8; i++) sum += eights[i];
        total[b] = scale[b] * (float)(sum / 8);
    }
}

const az_weight_kernels *az_weight_kernels_here(void)
{
#if defined(__x86_64__)
    const az_cpu *cpu = az_cpu_features();
    if (cpu->avx2 && cpu->fma && cpu->f16c) return &az_weight_kernels_avx2;
#endif
    return &az_weight_kernels_portable;
}
