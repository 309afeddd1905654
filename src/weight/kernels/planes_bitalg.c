/* planes_bitalg.c - planes_x86.h for AVX-512 with BITALG. */
#include "weight/kernels/planes_x86.h"

const az_plane_kernels az_plane_kernels_bitalg = {.name = "bitalg", .popcount = popcount, .lookup = lookup, .codes = codes};
