/* kernels.c - which set of kernels runs here. */
#include "weight/kernels/kernels.h"

void az_block_totals(int64_t blocks, const float *scale, const int32_t *eights, float *total, float *halves)
{
    for (int64_t b = 0; b < blocks; b++, eights += 8) {
        const int32_t first = eights[0] + eights[1] + eights[2] + eights[3], second = eights[4] + eights[5] + eights[6] + eights[7];
        halves[2 * b] = scale[b] * (float)(first / 8);
        halves[2 * b + 1] = scale[b] * (float)(second / 8);
        total[b] = scale[b] * (float)((first + second) / 8);
    }
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
