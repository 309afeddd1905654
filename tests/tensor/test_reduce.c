/* Reductions against plain loops in f64; accuracy of long f32 sums; independence of the number of threads; empty axes and NaN. */
#include "adze/tensor.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

typedef enum kind { SUM, MEAN, MAX, LOGSUMEXP, KINDS } kind;

/* The reduction of n values that lie `step` apart. */
static double plain(kind k, const double *x, int64_t n, int64_t step)
{
    double sum = 0, most = -INFINITY;
    for (int64_t i = 0; i < n; i++) most = fmax(most, x[i * step]);
    for (int64_t i = 0; i < n; i++) sum += k == LOGSUMEXP ? exp(x[i * step] - most) : x[i * step];
    return k == SUM ? sum : k == MEAN ? sum / (double)n : k == MAX ? most : most + log(sum);
}

static az_tensor *reduction(az_ctx *az, kind k, const az_tensor *x, int axis, bool keep)
{
    switch (k) {
    case SUM: return az_sum(az, x, axis, keep);
    case MEAN: return az_mean(az, x, axis, keep);
    case MAX: return az_max(az, x, axis, keep);
    default: return az_logsumexp(az, x, axis, keep);
    }
}

Test(reduce, agrees_with_plain_loops)
{
    az_ctx *az = az_open(NULL);
    const int64_t shapes[][3] = {{2, 3, 4}, {1, 5, 1}, {70, 33, 300}, {3, 1000, 2}, {2, 2, 3000}};
    for (int s = 0; s < 5; s++) {
        az_scope_push(az);
        const az_tensor *x = az_randn(az, AZ_F64, 3, shapes[s], 1, 1, (uint64_t)s), *x32 = az_cast(az, x, AZ_F32);
        for (int axis = 0; axis < 3; axis++) {
            int64_t n = shapes[s][axis], inner = 1;
            for (int i = axis + 1; i < 3; i++) inner *= shapes[s][i];
            for (int k = 0; k < KINDS; k++) {
                const az_tensor *y = reduction(az, (kind)k, x, axis, false), *kept = reduction(az, (kind)k, x32, axis - 3, true);
                cr_assert_eq(y->rank, 2);
                cr_assert(kept->rank == 3 && kept->shape[axis] == 1);
                for (int64_t i = 0; i < az_count(y); i++) {
                    double exact = plain((kind)k, az_f64(x) + i / inner * n * inner + i % inner, n, inner);
                    cr_assert_float_eq(az_item(y, i), exact, 1e-12 * fmax(1, fabs(exact)));
                    cr_assert_float_eq(az_item(kept, i), exact, 2e-6 * fmax(sqrt((double)n), fabs(exact)));
                }
            }
        }
        for (int k = 0; k < KINDS; k++) {
            double exact = plain((kind)k, az_f64(x), az_count(x), 1);
            cr_assert_float_eq(az_to_double(reduction(az, (kind)k, x, AZ_ALL_AXES, false)), exact, 1e-12 * fmax(1, fabs(exact)) * 100);
        }
        az_scope_pop(az);
    }
    cr_assert(az_ok(az));
    az_close(az);
}

/* 4 million times 0.1: a running f32 sum would be off by percents. */
Test(reduce, long_sums_are_pairwise)
{
    az_ctx *az = az_open(NULL);
    enum { N = 4000000 };
    const az_tensor *x = az_full(az, AZ_F32, 2, (int64_t[]){N / 2, 2}, 0.1);
    double exact = (double)0.1f * N;
    cr_assert_float_eq(az_to_double(az_sum(az, x, AZ_ALL_AXES, false)), exact, 5e-6 * exact);
    cr_assert_float_eq(az_item(az_sum(az, x, 0, false), 1), exact / 2, 5e-6 * exact);
    cr_assert_float_eq(az_item(az_sum(az, az_transpose(az, x), 1, false), 1), exact / 2, 5e-6 * exact);
    az_close(az);
}

Test(reduce, results_do_not_depend_on_threads)
{
    const int64_t shape[] = {7, 300, 130};
    az_ctx *az[3];
    const az_tensor *y[3][8];
    for (int t = 0; t < 3; t++) {
        az[t] = az_open(&(az_settings){.threads = t + 1});
        const az_tensor *x = az_randn(az[t], AZ_F32, 3, shape, 1, 1, 1);
        y[t][0] = az_sum(az[t], x, AZ_ALL_AXES, false);
        for (int axis = 0; axis < 3; axis++) y[t][1 + axis] = az_sum(az[t], x, axis, false);
        y[t][4] = az_softmax(az[t], x);
        y[t][5] = az_log_softmax(az[t], x);
        y[t][6] = az_logsumexp(az[t], x, 1, false);
        y[t][7] = az_cumsum(az[t], x, 1);
        for (int k = 0; k < 8; k++) cr_assert_arr_eq(az_f32(y[t][k]), az_f32(y[0][k]), (size_t)az_count(y[0][k]) * 4, "case %d", k);
    }
    for (int t = 0; t < 3; t++) az_close(az[t]);
}

Test(reduce, softmax_is_a_distribution_even_far_from_zero)
{
    az_ctx *az = az_open(NULL);
    for (int type = AZ_F32; type <= AZ_F64; type++) {
        const az_tensor *x = az_randn(az, (az_dtype)type, 2, (int64_t[]){50, 77}, 30, 1, 1), *far = az_affine(az, x, 1, 1024);
        const az_tensor *p = az_softmax(az, x), *log_p = az_log_softmax(az, x), *total = az_sum(az, p, -1, false),
                        *far_p = az_softmax(az, far);
        double tolerance = type == AZ_F32 ? 2e-6 : 1e-14;
        for (int64_t i = 0; i < 50; i++) cr_assert_float_eq(az_item(total, i), 1, tolerance);
        for (int64_t i = 0; i < 50 * 77; i++) {
            cr_assert_float_eq(exp(az_item(log_p, i)), az_item(p, i), 20 * tolerance);
            cr_assert_float_eq(az_item(far_p, i), az_item(p, i), type == AZ_F32 ? 1e-4 : 1e-12);
        }
    }
    const az_tensor *masked = az_from(az, AZ_F32, 1, (int64_t[]){3}, (float[]){-INFINITY, 2, -INFINITY});
    cr_assert_eq(az_item(az_softmax(az, masked), 1), 1);
    cr_assert_eq(az_item(az_softmax(az, masked), 0), 0);
    cr_assert_eq(az_to_double(az_logsumexp(az, masked, 0, false)), 2);
    cr_assert_null(az_softmax(az, az_scalar(az, AZ_F32, 1)));
    cr_assert_str_eq(az_error(az), "az_softmax: a scalar has no last axis");
    az_close(az);
}

Test(reduce, maxima_and_positions)
{
    az_ctx *az = az_open(NULL);
    const float data[] = {1, 5, 5, -2, -1, -1, 0, NAN, 9, -INFINITY, -INFINITY, -INFINITY};
    const az_tensor *x = az_from(az, AZ_F32, 2, (int64_t[]){4, 3}, data), *at = az_argmax(az, x), *y = az_max(az, x, -1, false);
    const double positions[] = {1, 1, 1, 0}, values[] = {5, -1, NAN, -INFINITY};
    cr_assert_eq(at->dtype, AZ_I32);
    for (int i = 0; i < 4; i++) {
        cr_assert_eq(az_item(at, i), positions[i]);
        cr_assert(isnan(values[i]) ? isnan(az_item(y, i)) : az_item(y, i) == values[i]);
    }
    cr_assert_eq(az_to_double(az_max(az, az_scalar(az, AZ_F64, -4), AZ_ALL_AXES, false)), -4);
    cr_assert_null(az_max(az, az_new2(az, AZ_F32, 3, 0), 1, false));
    cr_assert_str_eq(az_error(az), "az_max: shape [3, 0] has no element along the axis");
    az_clear(az);
    cr_assert_null(az_sum(az, x, 2, false));
    cr_assert_str_eq(az_error(az), "az_sum: axis 2 of shape [4, 3]");
    az_close(az);
}

Test(reduce, empty_axes)
{
    az_ctx *az = az_open(NULL);
    const az_tensor *x = az_new3(az, AZ_F64, 2, 0, 3);
    for (int i = 0; i < 6; i++) cr_assert_eq(az_item(az_sum(az, x, 1, false), i), 0);
    cr_assert_eq(az_count(az_sum(az, x, 0, false)), 0);
    cr_assert_eq(az_count(az_sum(az, x, 2, true)), 0);
    cr_assert_eq(az_to_double(az_sum(az, x, AZ_ALL_AXES, false)), 0);
    cr_assert_eq(az_to_double(az_logsumexp(az, az_new1(az, AZ_F64, 0), 0, false)), -INFINITY);
    cr_assert_eq(az_count(az_softmax(az, x)), 0);
    cr_assert_eq(az_count(az_cumsum(az, x, 1)), 0);
    cr_assert(az_ok(az));
    az_close(az);
}

Test(reduce, sum_to_and_running_sums)
{
    az_ctx *az = az_open(NULL);
    az_tensor *x = az_new3(az, AZ_F64, 2, 3, 2);
    for (int i = 0; i < 12; i++) az_f64_mut(x)[i] = i;
    const az_tensor *y = az_sum_to(az, x, 2, (int64_t[]){3, 1}), *running = az_cumsum(az, x, 1);
    const double expected[] = {0 + 1 + 6 + 7, 2 + 3 + 8 + 9, 4 + 5 + 10 + 11}, sums[] = {0, 1, 2, 4, 6, 9, 6, 7, 14, 16, 24, 27};
    for (int i = 0; i < 3; i++) cr_assert_eq(az_item(y, i), expected[i]);
    for (int i = 0; i < 12; i++) cr_assert_eq(az_item(running, i), sums[i]);
    cr_assert_eq(az_item(az_cumsum(az, az_transpose(az, x), -1), 5), 9);
    cr_assert_null(az_sum_to(az, x, 2, (int64_t[]){2, 2}));
    cr_assert_str_eq(az_error(az), "az_sum_to: shape [2, 3, 2] to [2, 2]");
    az_close(az);
}
