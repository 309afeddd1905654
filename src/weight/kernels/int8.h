/* int8.h - exact products of bytes: rows of a weight with vectors of rounded activations, summed in 32 bits. */
#ifndef ADZE_WEIGHT_KERNELS_INT8_H
#define ADZE_WEIGHT_KERNELS_INT8_H

#include <stdint.h>

/* cols 127^2 stays below 2^31 up to here */
enum { AZ_INT8_MOST_COLS = 133000 };

/* sum[j rows + r] = row r of w [rows, cols] . vector j of x [n, cols]. x does not hold -128. Every version gives the same integers. */
typedef void az_int8_kernel(const int8_t *w, int64_t rows, const int8_t *x, int64_t n, int64_t cols, int32_t *sum);

az_int8_kernel az_int8_portable;
#if defined(__x86_64__)
az_int8_kernel az_int8_avx2, az_int8_vnni;
#endif
/* The fastest that this processor runs. */
az_int8_kernel *az_int8_here(void);

#endif
