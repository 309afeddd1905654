/* random_kernels.h - fills of random numbers for processors with vector units; the portable ones are in random.c. */
#ifndef ADZE_BASE_RANDOM_KERNELS_H
#define ADZE_BASE_RANDOM_KERNELS_H

#include "adze/base.h"

/* out[i] = the normal number of counter first + i; as az_fill_normal, up to the last bit of a float. */
void az_fill_normal_portable(uint64_t seed, uint64_t stream, uint64_t first, int64_t n, float *out);
#if defined(__x86_64__)
void az_fill_normal_avx2(uint64_t seed, uint64_t stream, uint64_t first, int64_t n, float *out);
#endif

#endif
