/* elementwise_portable.c - elementwise kernels for any processor, and the choice between the tables. */
#include "tensor/kernels/elementwise_table.h"

const az_elementwise *az_elementwise_portable(void)
{
    return table;
}

const az_elementwise *az_elementwise_for(az_dtype dtype)
{
    const az_elementwise *best = table;
#if defined(__x86_64__)
    const az_cpu *cpu = az_cpu_features();
    if (cpu->avx2 && cpu->fma) best = az_elementwise_avx2();
#elif defined(__aarch64__)
    if (az_cpu_features()->neon) best = az_elementwise_neon();
#endif
    return best + (dtype == AZ_F64);
}
