/* blocks_avx2.c - rows_of_blocks.h for AVX2. */
#define AZ_KERNEL(name) name##_avx2
#include "weight/kernels/rows_of_blocks.h"
