/* exp(A) against closed forms. */
#include "adze/linalg.h"
#include "support/matrix.h"

#include <criterion/criterion.h>
#include <math.h>

Test(exponential, of_rotations_jordan_blocks_and_inverses)
{
    az_ctx *az = az_open(NULL);
    for (double angle = 0.01; angle < 100; angle *= 7) { /* exp of [0 -a; a 0] turns by a */
        const az_tensor *turn = az_exponential(az, az_from(az, AZ_F64, 2, (int64_t[]){2, 2}, (double[]){0, -angle, angle, 0}));
        const double want[] = {cos(angle), -sin(angle), sin(angle), cos(angle)};
        for (int i = 0; i < 4; i++) cr_assert_float_eq(az_item(turn, i), want[i], 1e-13 * (1 + angle));
    }
    const az_tensor *jordan = az_exponential(az, az_from(az, AZ_F64, 2, (int64_t[]){3, 3}, (double[]){0, 1, 0, 0, 0, 1, 0, 0, 0}));
    const double want[] = {1, 1, 0.5, 0, 1, 1, 0, 0, 1};
    for (int i = 0; i < 9; i++) cr_assert_float_eq(az_item(jordan, i), want[i], 1e-15);
    const az_tensor *a = matrix_normal(az, AZ_F64, 15, 15, 3);
    const az_tensor *product = az_matmul(az, az_exponential(az, a), az_exponential(az, az_neg(az, a)));
    cr_assert_lt(matrix_difference(product, az_identity(az, AZ_F64, 15)), 1e-9);
    cr_assert_null(az_exponential(az, matrix_normal(az, AZ_F64, 3, 4, 1)));
    cr_assert_eq(az_status_of(az), AZ_BAD_CALL);
    az_close(az);
}
