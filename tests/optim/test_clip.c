/* The joint norm against a plain sum; scaling; what is left alone. */
#include "adze/optim.h"

#include <criterion/criterion.h>
#include <math.h>

Test(clip, scales_the_joint_norm_down_to_the_limit)
{
    az_ctx *az = az_open(NULL);
    az_tensor *g[2] = {az_from(az, AZ_F32, 1, (int64_t[]){2}, (float[]){3, 0}), az_from(az, AZ_F64, 1, (int64_t[]){1}, (double[]){4})};
    cr_assert_float_eq(az_clip_gradients(az, g, 2, 0), 5, 1e-15);
    cr_assert_eq(az_item(g[0], 0), 3);
    cr_assert_float_eq(az_clip_gradients(az, g, 2, 10), 5, 1e-15);
    cr_assert_eq(az_item(g[1], 0), 4);
    const double before = az_clip_gradients(az, g, 2, 1);
    cr_assert_float_eq(before, 5, 1e-15);
    cr_assert_float_eq(az_item(g[0], 0), 0.6, 1e-7);
    cr_assert_float_eq(az_item(g[1], 0), 0.8, 1e-15);
    az_close(az);
}

Test(clip, the_norm_is_right_and_the_same_for_any_number_of_threads)
{
    const int64_t shape[2] = {123, 457};
    double norm[2];
    for (int threads = 1; threads <= 2; threads++) {
        az_ctx *az = az_open(&(az_settings){.threads = threads});
        az_tensor *g = az_randn(az, AZ_F32, 2, shape, 1, 9, 0);
        double sum = 0;
        for (int64_t i = 0; i < az_count(g); i++) sum += az_item(g, i) * az_item(g, i);
        norm[threads - 1] = az_clip_gradients(az, &g, 1, 0);
        cr_assert_float_eq(norm[threads - 1], sqrt(sum), 1e-10);
        az_close(az);
    }
    cr_assert_eq(norm[0], norm[1]);
}

Test(clip, a_gradient_that_two_parameters_share_is_scaled_once)
{
    az_ctx *az = az_open(NULL);
    az_tensor *g = az_from(az, AZ_F32, 1, (int64_t[]){1}, (float[]){sqrtf(8)});
    const double before = az_clip_gradients(az, (az_tensor *[]){g, az_share(az, g)}, 2, 2);
    cr_assert_float_eq(before, 4, 1e-6);
    cr_assert_float_eq(az_item(g, 0), sqrt(2), 1e-6);
    az_close(az);
}

Test(clip, a_norm_that_is_not_finite_is_told_and_changes_nothing)
{
    az_ctx *az = az_open(NULL);
    az_tensor *g = az_from(az, AZ_F32, 1, (int64_t[]){2}, (float[]){3, NAN});
    cr_assert(isnan(az_clip_gradients(az, &g, 1, 1)));
    cr_assert_eq(az_item(g, 0), 3);
    cr_assert(az_ok(az));
    az_close(az);
}
