/* kquants_vnni.c - rows_of_kquants.h for AVX-512 with VNNI, whose instruction adds up four products of bytes. */
#define AZ_KERNEL(name) name##_vnni
#include "weight/kernels/rows_of_kquants.h"
