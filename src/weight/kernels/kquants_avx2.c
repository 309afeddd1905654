/* kquants_avx2.c - rows_of_kquants.h for AVX2. */
#define AZ_KERNEL(name) name##_avx2
#include "weight/kernels/rows_of_kquants.h"
