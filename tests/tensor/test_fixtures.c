/* The reproducible random numbers of the tests, against their published values. */
#include "support/fixtures.h"

#include <criterion/criterion.h>

Test(fixtures, numbers_are_the_published_ones)
{
    cr_assert_eq(fixture_bits(0, 0), 0xe220a8397b1dcdafu); /* the first SplitMix64 output of seed 0 */
    cr_assert_eq(fixture_bits(1, 0), 0x910a2dec89025cc1u);
    cr_assert_eq(fixture_bits(1, 1), 0xbeeb8da1658eec67u);
    const double uniform[] = {0.56656158, 0.74578176, 0.97100275}, normal[] = {-0.02824975, -0.22791952, 0.10309095, -0.50620407};
    double out[4];
    fixture_uniform(1, 3, out);
    for (int i = 0; i < 3; i++) cr_assert_float_eq(out[i], uniform[i], 5e-9);
    fixture_normal(1, 4, out);
    for (int i = 0; i < 4; i++) cr_assert_float_eq(out[i], normal[i], 5e-9);
}
