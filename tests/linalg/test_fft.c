/* Transforms against the defining sum, Parseval's identity and their inverse. */
#include "adze/linalg.h"
#include "support/matrix.h"

#include <criterion/criterion.h>
#include <math.h>

static const double two_pi = 6.283185307179586;

Test(fft, equals_the_defining_sum)
{
    az_ctx *az = az_open(NULL);
    for (int64_t n = 1; n <= 33; n = n * 2 + 1) {
        for (int64_t even = 0; even < 2; even++) {
            const int64_t length = n + even;
            az_tensor *x = matrix_normal(az, AZ_F64, 3, length, (uint64_t)length), *y = az_rfft(az, x);
            cr_assert_not_null(y, "%s", az_error(az));
            cr_assert_eq(y->rank, 3);
            cr_assert_eq(y->shape[1], length / 2 + 1);
            for (int64_t row = 0; row < 3; row++)
                for (int64_t k = 0; k <= length / 2; k++) {
                    double re = 0, im = 0;
                    for (int64_t t = 0; t < length; t++) {
                        const double angle = two_pi * (double)(k * t % length) / (double)length, value = az_item(x, row * length + t);
                        re += value * cos(angle);
                        im -= value * sin(angle);
                    }
                    const int64_t at = (row * (length / 2 + 1) + k) * 2;
                    cr_assert_float_eq(az_item(y, at), re, 1e-12);
                    cr_assert_float_eq(az_item(y, at + 1), im, 1e-12);
                }
        }
    }
    az_close(az);
}

/* sum |x|^2 = 1/n sum |X|^2, where bins other than 0 and n/2 stand for two. */
Test(fft, keeps_the_energy)
{
    enum { N = 1000 };
    az_ctx *az = az_open(NULL);
    az_tensor *x = az_randn(az, AZ_F64, 1, (int64_t[]){N}, 1, 1, 0), *y = az_rfft(az, x);
    double time = az_to_double(az_dot(az, x, x)), frequency = 0;
    for (int k = 0; k <= N / 2; k++)
        frequency += (k % (N / 2) ? 2 : 1) * (az_item(y, 2 * k) * az_item(y, 2 * k) + az_item(y, 2 * k + 1) * az_item(y, 2 * k + 1));
    cr_assert_float_eq(frequency / N, time, 1e-10);
    az_close(az);
}

Test(fft, comes_back)
{
    az_ctx *az = az_open(NULL);
    const int64_t lengths[] = {1, 2, 7, 64, 1001};
    for (int i = 0; i < 5; i++) {
        const int64_t n = lengths[i];
        az_tensor *x = az_randn(az, AZ_F64, 3, (int64_t[]){4, 5, n}, 1, 2, 0), *f = az_cast(az, x, AZ_F32);
        cr_assert_leq(matrix_difference(az_irfft(az, az_rfft(az, x), n), x), 1e-14);
        cr_assert_leq(matrix_difference(az_irfft(az, az_rfft(az, f), n), f), 1e-6);
        az_tensor *turned = az_transpose(az, az_randn(az, AZ_F64, 2, (int64_t[]){n, 3}, 1, 2, 0));
        cr_assert_leq(matrix_difference(az_irfft(az, az_rfft(az, turned), n), turned), 1e-14);
    }
    az_close(az);
}

Test(fft, lengths_that_do_not_fit_are_refused)
{
    az_ctx *az = az_open(NULL);
    cr_assert_null(az_rfft(az, az_zeros(az, AZ_F64, 2, (int64_t[]){3, 0})));
    cr_assert_eq(az_status_of(az), AZ_BAD_CALL);
    az_clear(az);
    cr_assert_null(az_irfft(az, az_zeros(az, AZ_F64, 2, (int64_t[]){5, 2}), 10));
    cr_assert_eq(az_status_of(az), AZ_BAD_CALL);
    az_close(az);
}
