/* q8_k_avx2.c - rows_of_q8_k.h for AVX2. */
#define AZ_ROWS(format) az_rows_##format##_avx2
#include "weight/kernels/rows_of_q8_k.h"
