/* nf4_portable.c - 4-bit NormalFloat in plain C, and the choice of the set of kernels. */
#include "adze/base.h"
#include "weight/kernels/nf4.h"

#include <stddef.h>

static void widen(const uint8_t *code, const float *scale, int64_t blocks, float *to)
{
    for (int64_t b = 0; b < blocks; b++, to += AZ_NF4_BLOCK, code += AZ_NF4_BLOCK / 2)
        for (int i = 0; i < AZ_NF4_BLOCK / 2; i++) {
            to[2 * i] = az_nf4_levels[code[i] >> 4] * scale[b];
            to[2 * i + 1] = az_nf4_levels[code[i] & 15] * scale[b];
        }
}

const az_nf4_kernels az_nf4_kernels_portable = {.multiply = NULL, .widen = widen};

const az_nf4_kernels *az_nf4_kernels_here(void)
{
#if defined(__x86_64__)
    const az_cpu *cpu = az_cpu_features();
    if (cpu->avx2 && cpu->fma) return &az_nf4_kernels_avx2;
#endif
    return &az_nf4_kernels_portable;
}
