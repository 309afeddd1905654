/* The reproducible data of the statistical claims: published and computed values. */
#include "claims/splitmix.h"

#include <criterion/criterion.h>
#include <math.h>

Test(splitmix, known_values)
{
    az_ctx *az = az_open(NULL);
    cr_assert_eq(splitmix(0, 0), 0xe220a8397b1dcdaf); /* the first output of the published generator with seed 0 */
    cr_assert_eq(splitmix(1, 0), 0x910a2dec89025cc1);
    cr_assert_eq(splitmix(1, 1), 0xbeeb8da1658eec67);
    const double u[] = {0.56656158, 0.74578176, 0.97100275}, g[] = {-0.02824975, -0.22791952, 0.10309095, -0.50620407};
    const double *uniforms = splitmix_uniform(az, 1, 3), *normals = splitmix_normal(az, 1, 4);
    for (int i = 0; i < 3; i++) cr_assert_float_eq(uniforms[i], u[i], 1e-8);
    for (int i = 0; i < 4; i++) cr_assert_float_eq(normals[i], g[i], 1e-8);
    const int *order = splitmix_order(az, 1, 3);
    for (int i = 0; i < 3; i++) cr_assert_eq(order[i], i);
    az_close(az);
}
