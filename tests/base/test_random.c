/* Philox against its published test vectors; fills against single draws; moments. */
#include "base/random_kernels.h"

#include <criterion/criterion.h>
#include <math.h>

Test(random, philox_matches_the_published_vectors)
{
    uint32_t out[4];
    az_philox(0, 0, 0, out);
    cr_assert_eq(out[0], 0x6627e8d5u);
    cr_assert_eq(out[1], 0xe169c58du);
    cr_assert_eq(out[2], 0xbc57ac4cu);
    cr_assert_eq(out[3], 0x9b00dbd8u);
    az_philox(UINT64_MAX, UINT64_MAX, UINT64_MAX, out);
    cr_assert_eq(out[0], 0x408f276du);
    cr_assert_eq(out[1], 0x41c83b0eu);
    cr_assert_eq(out[2], 0xa20bc7c6u);
    cr_assert_eq(out[3], 0x6d5451fdu);
}

Test(random, a_part_of_a_fill_can_be_made_again)
{
    az_ctx *az = az_open(NULL);
    float all[100], part[40];
    az_fill_normal(az, 7, 3, 0, 100, all);
    az_fill_normal(az, 7, 3, 50, 40, part);
    for (int i = 0; i < 40; i++) cr_assert_eq(all[50 + i], part[i]);
    az_fill_uniform(az, 7, 3, 0, 100, all);
    az_fill_uniform(az, 7, 3, 33, 40, part);
    for (int i = 0; i < 40; i++) cr_assert_eq(all[33 + i], part[i]);
    az_close(az);
}

/* Vector units round the last bit of a double otherwise, which a float shows about once in a hundred million. */
Test(random, fills_are_the_same_on_every_processor)
{
    enum { N = 100003 };
    static float here[N], portable[N];
    const uint64_t seeds[] = {0, 7, UINT64_MAX}, firsts[] = {0, 0xFFFFFFFEu, UINT64_MAX - 1};
    for (int k = 0; k < 3; k++) {
        int64_t other = 0;
        az_fill_normal(NULL, seeds[k], az_stream("fills", (uint64_t)k), firsts[k], N, here);
        az_fill_normal_portable(seeds[k], az_stream("fills", (uint64_t)k), firsts[k], N, portable);
        for (int64_t i = 0; i < N; i++) {
            other += here[i] != portable[i];
            cr_assert(fabsf(here[i] - portable[i]) <= 1.2e-7f * fabsf(portable[i]) + 1e-15f, "%g %g", (double)here[i], (double)portable[i]);
        }
        cr_assert_leq(other, 2);
    }
}

Test(random, moments_are_those_of_the_laws)
{
    az_rng rng = az_rng_at(1, az_stream("moments", 0));
    double sum = 0, square = 0, uniform = 0;
    enum { N = 200000 };
    for (int i = 0; i < N; i++) {
        double x = az_normal(&rng);
        sum += x;
        square += x * x;
        uniform += az_uniform(&rng);
    }
    cr_assert_float_eq(sum / N, 0, 5 / sqrt(N));
    cr_assert_float_eq(square / N, 1, 5 * sqrt(2.0 / N));
    cr_assert_float_eq(uniform / N, 0.5, 5 * sqrt(1 / 12.0 / N));
}

Test(random, below_is_unbiased_and_shuffle_permutes)
{
    az_rng rng = az_rng_at(5, 0);
    int count[7] = {0};
    for (int i = 0; i < 70000; i++) count[az_below(&rng, 7)]++;
    for (int i = 0; i < 7; i++) cr_assert_float_eq(count[i], 10000, 500);
    int64_t items[50], seen[50] = {0};
    for (int i = 0; i < 50; i++) items[i] = i;
    az_shuffle(&rng, items, 50);
    for (int i = 0; i < 50; i++) seen[items[i]]++;
    for (int i = 0; i < 50; i++) cr_assert_eq(seen[i], 1);
}
