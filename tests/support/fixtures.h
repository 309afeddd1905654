/* fixtures.h - random numbers that any language can make again, for tests whose expected values were computed elsewhere: SplitMix64 of a
 * counter, uniforms of its upper 53 bits, normals by Box-Muller of two neighbouring uniforms. */
#ifndef ADZE_TESTS_FIXTURES_H
#define ADZE_TESTS_FIXTURES_H

#include "adze/tensor.h"

uint64_t fixture_bits(uint64_t seed, uint64_t i);
/* out[i], i = 0 .. n-1: on [0, 1); standard normal. */
void fixture_uniform(uint64_t seed, int64_t n, double *out);
void fixture_normal(uint64_t seed, int64_t n, double *out);
/* The same numbers as an f64 tensor, row by row. */
az_tensor *fixture_uniform_tensor(az_ctx *az, uint64_t seed, int rank, const int64_t *shape);
az_tensor *fixture_normal_tensor(az_ctx *az, uint64_t seed, int rank, const int64_t *shape);

#endif
