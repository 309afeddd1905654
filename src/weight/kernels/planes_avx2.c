/* planes_avx2.c - planes_x86.h for AVX2. */
#include "weight/kernels/planes_x86.h"

const az_plane_kernels az_plane_kernels_avx2 = {.name = "avx2", .popcount = popcount, .lookup = lookup, .codes = codes};
