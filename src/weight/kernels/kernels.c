/* kernels.c - which set of kernels runs here. */
#include "weight/kernels/kernels.h"

void az_block_totals(const az_columns *x, int64_t at, const int16_t sum[2][2])
{
    const float scale = x->scale[at];
    for (int i = 0; i < 2; i++) {
        x->halves[2 * at + i] = scale * (float)(sum[i][0] + sum[i][1]);
        x->less32[2 * at + i] = -32 * (sum[i][0] + sum[i][1]);
        x->pairs8[2 * at + i] = (int16_t)(-8 * (sum[0][i] + sum[1][i]));
        for (int k = 0; k < 2; k++) x->pairs32[4 * at + 2 * i + k] = (int16_t)(-32 * sum[i][k]);
    }
    const int total = sum[0][0] + sum[0][1] + sum[1][0] + sum[1][1];
    x->less8[at] = -8 * total;
    x->total[at] = scale * (float)total;
}

const az_weight_kernels *az_weight_kernels_here(void)
{
#if defined(__x86_64__)
    const az_cpu *cpu = az_cpu_features();
    if (cpu->vnni) return &az_weight_kernels_vnni;
    if (cpu->avx2 && cpu->fma && cpu->f16c) return &az_weight_kernels_avx2;
#elif defined(__aarch64__)
    if (az_cpu_features()->neon) return &az_weight_kernels_neon;
#endif
    return &az_weight_kernels_portable;
}
