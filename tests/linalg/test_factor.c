/* Eigenvalues, QR and Cholesky: reconstruction, closed forms, what is refused. */
#include "adze/linalg.h"
#include "support/matrix.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

Test(eigh, reconstructs_and_reads_the_lower_triangle_only)
{
    az_ctx *az = az_open(NULL);
    for (int64_t n = 1; n <= 40; n += 13) {
        for (int type = 0; type < 2; type++) {
            const double tolerance = type ? 1e-13 : 2e-5;
            az_tensor *m = matrix_normal(az, type ? AZ_F64 : AZ_F32, n, n, (uint64_t)n), *values, *q;
            az_tensor *a = az_add(az, m, az_transpose(az, m)), *spoiled = az_copy(az, a);
            for (int64_t i = 0; i < n; i++)
                for (int64_t j = i + 1; j < n; j++) type ? (az_f64_mut(spoiled)[i * n + j] = 99) : (az_f32_mut(spoiled)[i * n + j] = 99);
            cr_assert(az_eigh(az, spoiled, &values, &q), "%s", az_error(az));
            cr_assert_leq(matrix_difference(az_matmul(az, az_mul(az, q, values), az_transpose(az, q)), a), tolerance);
            cr_assert_leq(matrix_orthonormality(az, q), tolerance);
            for (int64_t i = 1; i < n; i++) cr_assert_leq(az_item(values, i - 1), az_item(values, i));
        }
    }
    az_close(az);
}

/* The second difference [-1 2 -1] of size n has the eigenvalues 2 - 2 cos(k pi / (n + 1)). */
Test(eigh, knows_the_second_difference)
{
    enum { N = 20 };
    az_ctx *az = az_open(NULL);
    az_tensor *a = az_zeros(az, AZ_F64, 2, (int64_t[]){N, N}), *values;
    for (int i = 0; i < N; i++) {
        az_f64_mut(a)[i * N + i] = 2;
        if (i) az_f64_mut(a)[i * N + i - 1] = az_f64_mut(a)[(i - 1) * N + i] = -1;
    }
    cr_assert(az_eigh(az, a, &values, NULL));
    for (int k = 0; k < N; k++) cr_assert_float_eq(az_item(values, k), 2 - 2 * cos((k + 1) * acos(-1) / (N + 1)), 1e-13);
    az_close(az);
}

Test(qr, reconstructs_matrices_of_every_shape)
{
    const int64_t shape[][2] = {{1, 1}, {1, 6}, {6, 1}, {8, 8}, {30, 7}, {7, 30}, {0, 3}, {3, 0}};
    az_ctx *az = az_open(NULL);
    for (size_t i = 0; i < sizeof shape / sizeof *shape; i++) {
        for (int type = 0; type < 2; type++) {
            const double tolerance = type ? 1e-13 : 2e-5;
            az_tensor *a = matrix_normal(az, type ? AZ_F64 : AZ_F32, shape[i][0], shape[i][1], i), *q, *r;
            cr_assert(az_qr(az, a, &q, &r), "%s", az_error(az));
            cr_assert_leq(matrix_difference(az_matmul(az, q, r), a), tolerance);
            cr_assert_leq(matrix_orthonormality(az, q), tolerance);
            for (int64_t row = 1; row < r->shape[0]; row++)
                for (int64_t col = 0; col < row && col < r->shape[1]; col++) cr_assert_eq(az_item(r, row * r->shape[1] + col), 0);
        }
    }
    az_close(az);
}

Test(cholesky, reconstructs_and_is_lower)
{
    az_ctx *az = az_open(NULL);
    for (int64_t n = 0; n <= 40; n += 10) {
        for (int type = 0; type < 2; type++) {
            az_tensor *a = matrix_spd(az, type ? AZ_F64 : AZ_F32, n, (uint64_t)n), *l = az_cholesky(az, a);
            cr_assert_not_null(l, "%s", az_error(az));
            cr_assert_leq(matrix_difference(az_matmul(az, l, az_transpose(az, l)), a), type ? 1e-14 : 1e-5);
            for (int64_t i = 0; i < n; i++)
                for (int64_t j = i + 1; j < n; j++) cr_assert_eq(az_item(l, i * n + j), 0);
        }
    }
    az_close(az);
}

/* det H_n of the Hilbert matrix is a product of factorials: log det = 4 sum_{k<n} log k! - sum_{k<2n} log k! */
Test(cholesky, knows_the_determinant_of_hilbert_matrices)
{
    az_ctx *az = az_open(NULL);
    for (int n = 1; n <= 10; n++) {
        double expected = 0, found = 0;
        for (int k = 0; k < 2 * n; k++) expected += (k < n ? 3 : -1) * lgamma(k + 1.0);
        const az_tensor *l = az_cholesky(az, matrix_hilbert(az, n));
        cr_assert_not_null(l, "%s", az_error(az));
        for (int i = 0; i < n; i++) found += 2 * log(az_item(l, i * n + i));
        cr_assert_float_eq(found, expected, 1e-3, "%d: %g against %g", n, found, expected); /* cond(H_10) = 2e13 */
    }
    az_close(az);
}

Test(cholesky, names_the_pivot_that_is_not_positive)
{
    az_ctx *az = az_open(NULL);
    az_tensor *a = az_from(az, AZ_F64, 2, (int64_t[]){3, 3}, (double[]){4, 0, 0, 0, 1, 2, 0, 2, 1});
    cr_assert_null(az_cholesky(az, a));
    cr_assert_eq(az_status_of(az), AZ_NUMERIC);
    cr_assert_not_null(strstr(az_error(az), "3 x 3"), "%s", az_error(az));
    cr_assert_not_null(strstr(az_error(az), "pivot 3"), "%s", az_error(az));
    az_clear(az);
    cr_assert_null(az_cholesky(az, az_zeros(az, AZ_F64, 2, (int64_t[]){2, 3})));
    cr_assert_eq(az_status_of(az), AZ_BAD_CALL);
    az_close(az);
}
