/* splitmix.h - data that any language can make again: SplitMix64 (Steele, Lea, Flood 2014) of a counter, and normals by Box and Muller.
 *
 * Claims and tests of statistical methods draw their data from here, so that numbers computed elsewhere can be compared to. */
#ifndef ADZE_CLAIMS_SPLITMIX_H
#define ADZE_CLAIMS_SPLITMIX_H

#include "adze/base.h"

/* z = seed + (i + 1) 0x9E3779B97F4A7C15, mixed. */
uint64_t splitmix(uint64_t seed, uint64_t i);
/* n values in the current scope. u_i = (splitmix(seed, i) >> 11) 2^-53. */
double *splitmix_uniform(az_ctx *az, uint64_t seed, int64_t n);
/* g_i = sqrt(-2 log(a + 2^-54)) cos(2 pi b) with a, b the uniforms number 2i and 2i + 1. */
double *splitmix_normal(az_ctx *az, uint64_t seed, int64_t n);
/* The positions 0 .. n-1 in ascending order of their uniforms. */
int *splitmix_order(az_ctx *az, uint64_t seed, int n);

#endif
