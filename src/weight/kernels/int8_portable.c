/* int8_portable.c - products of bytes on any processor, and which version runs here. */
#include "weight/kernels/int8.h"

#include "adze/base.h"

void az_int8_portable(const int8_t *w, int64_t rows, const int8_t *x, int64_t n, int64_t cols, int32_t *sum)
{
    for (int64_t j = 0; j < n; j++)
        for (int64_t r = 0; r < rows; r++) {
            int32_t total = 0;
            for (int64_t c = 0; c < cols; c++) total += (int32_t)w[r * cols + c] * x[j * cols + c];
            sum[j * rows + r] = total;
        }
}

az_int8_kernel *az_int8_here(void)
{
#if defined(__x86_64__)
    if (az_cpu_features()->vnni) return az_int8_vnni;
    if (az_cpu_features()->avx2) return az_int8_avx2;
#endif
    return az_int8_portable;
}
