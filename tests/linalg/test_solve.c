/* Systems, inverses and determinants against their definitions. */
#include "adze/linalg.h"
#include "support/matrix.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

Test(solve, satisfies_the_system_for_vectors_and_matrices)
{
    az_ctx *az = az_open(NULL);
    for (int64_t n = 0; n <= 36; n += 9) {
        for (int type = 0; type < 2; type++) {
            const az_dtype dtype = type ? AZ_F64 : AZ_F32;
            const double tolerance = type ? 1e-11 : 2e-3; /* random matrices: condition numbers of some hundreds */
            az_tensor *a = matrix_normal(az, dtype, n, n, (uint64_t)n + 1), *b = matrix_normal(az, dtype, n, 5, 2);
            cr_assert_leq(matrix_difference(az_matmul(az, a, az_solve(az, a, b)), b), tolerance);
            az_tensor *at = az_transpose(az, a), *v = az_contiguous(az, az_reshape(az, az_slice(az, b, 1, 2, 1), 1, (int64_t[]){n}));
            az_tensor *x = az_solve(az, at, v);
            cr_assert_eq(x->rank, 1);
            cr_assert_leq(
                matrix_difference(az_matmul(az, at, az_reshape(az, x, 2, (int64_t[]){n, 1})), az_reshape(az, v, 2, (int64_t[]){n, 1})),
                tolerance);
        }
    }
    az_close(az);
}

Test(solve, positive_definite_systems_agree_with_the_general_way)
{
    az_ctx *az = az_open(NULL);
    az_tensor *a = matrix_spd(az, AZ_F64, 25, 1), *b = matrix_normal(az, AZ_F64, 25, 3, 2);
    cr_assert_leq(matrix_difference(az_solve_spd(az, a, b), az_solve(az, a, b)), 1e-13);
    az_close(az);
}

/* Integer solutions of Hilbert systems come back to cond(H) eps. */
Test(solve, hilbert_systems_lose_no_more_digits_than_their_condition)
{
    az_ctx *az = az_open(NULL);
    az_tensor *h = matrix_hilbert(az, 8), *ones = az_full(az, AZ_F64, 2, (int64_t[]){8, 1}, 1);
    cr_assert_leq(matrix_difference(az_solve(az, h, az_matmul(az, h, ones)), ones), 1.5e10 * 2.2e-16 * 8);
    az_close(az);
}

Test(solve, singular_and_misshapen_systems_are_refused)
{
    az_ctx *az = az_open(NULL);
    az_tensor *a = az_from(az, AZ_F64, 2, (int64_t[]){2, 2}, (double[]){1, 2, 2, 4}), *b = az_zeros(az, AZ_F64, 1, (int64_t[]){2});
    cr_assert_null(az_solve(az, a, b));
    cr_assert_eq(az_status_of(az), AZ_NUMERIC);
    cr_assert_not_null(strstr(az_error(az), "pivot 2"), "%s", az_error(az));
    az_clear(az);
    cr_assert_null(az_inverse(az, a));
    cr_assert_eq(az_status_of(az), AZ_NUMERIC);
    az_clear(az);
    cr_assert_null(az_solve(az, az_identity(az, AZ_F64, 3), b));
    cr_assert_eq(az_status_of(az), AZ_BAD_CALL);
    az_clear(az);
    cr_assert_null(az_solve_triangular(az, az_zeros(az, AZ_F64, 2, (int64_t[]){2, 2}), b, (az_triangle){0}));
    cr_assert_eq(az_status_of(az), AZ_NUMERIC);
    az_close(az);
}

/* Every kind of triangle against the general solver on the triangle written out in full. */
Test(solve_triangular, agrees_with_the_general_solver)
{
    enum { N = 9 };
    az_ctx *az = az_open(NULL);
    for (int kind = 0; kind < 16; kind++) {
        const az_triangle how = {.upper = kind & 1, .transposed = kind & 2, .unit_diagonal = kind & 4};
        const az_dtype dtype = kind & 8 ? AZ_F64 : AZ_F32;
        az_tensor *t = az_add(az, az_affine(az, matrix_normal(az, dtype, N, N, 1), 0.3, 0), az_affine(az, az_identity(az, dtype, N), 2, 0));
        az_tensor *full = az_zeros(az, dtype, 2, (int64_t[]){N, N}), *b = matrix_normal(az, dtype, N, 4, 2);
        for (int i = 0; i < N; i++)
            for (int j = 0; j < N; j++) {
                const double value = i == j && how.unit_diagonal ? 1 : (how.upper ? j >= i : j <= i) ? az_item(t, i * N + j) : 0;
                dtype == AZ_F64 ? (az_f64_mut(full)[i * N + j] = value) : (az_f32_mut(full)[i * N + j] = (float)value);
            }
        az_tensor *expected = az_solve(az, how.transposed ? az_transpose(az, full) : full, b);
        cr_assert_leq(matrix_difference(az_solve_triangular(az, t, b, how), expected), dtype == AZ_F64 ? 1e-13 : 1e-5);
    }
    az_close(az);
}

Test(inverse, times_the_matrix_is_the_identity)
{
    az_ctx *az = az_open(NULL);
    for (int64_t n = 1; n < 30; n += 7) {
        az_tensor *a = matrix_normal(az, AZ_F64, n, n, (uint64_t)n), *y = az_inverse(az, a);
        cr_assert_leq(matrix_difference(az_matmul(az, a, y), az_identity(az, AZ_F64, n)), 1e-11);
        cr_assert_leq(matrix_difference(az_matmul(az, y, a), az_identity(az, AZ_F64, n)), 1e-11);
    }
    az_close(az);
}

/* The sign is that of the permutation times those of the factors; the value is the sum of the logarithms of the singular values. */
Test(log_det, has_the_right_value_and_sign)
{
    az_ctx *az = az_open(NULL);
    int sign;
    cr_assert_float_eq(az_to_double(az_log_det(az, az_from(az, AZ_F64, 2, (int64_t[]){2, 2}, (double[]){1, 2, 3, 4}), &sign)), log(2),
                       1e-15);
    cr_assert_eq(sign, -1);
    cr_assert_float_eq(az_to_double(az_log_det(az, az_from(az, AZ_F64, 2, (int64_t[]){2, 2}, (double[]){3, 4, 1, 2}), &sign)), log(2),
                       1e-15);
    cr_assert_eq(sign, 1);
    cr_assert_eq(az_to_double(az_log_det(az, az_zeros(az, AZ_F64, 2, (int64_t[]){3, 3}), &sign)), -INFINITY);
    cr_assert_eq(sign, 0);
    az_tensor *a = matrix_normal(az, AZ_F64, 17, 17, 5), *s;
    az_svd(az, a, NULL, &s, NULL);
    cr_assert_float_eq(az_to_double(az_log_det(az, a, NULL)), az_to_double(az_sum(az, az_log(az, s), AZ_ALL_AXES, false)), 1e-12);
    az_close(az);
}

Test(diagonal, reads_what_identity_writes)
{
    az_ctx *az = az_open(NULL);
    for (int64_t n = 0; n < 4; n++) {
        az_tensor *d = az_diagonal(az, az_affine(az, az_identity(az, AZ_F32, n), 3, 1));
        cr_assert_eq(az_count(d), n);
        for (int64_t i = 0; i < n; i++) cr_assert_eq(az_item(d, i), 4);
    }
    cr_assert_null(az_diagonal(az, az_zeros(az, AZ_F32, 2, (int64_t[]){2, 3})));
    cr_assert_eq(az_status_of(az), AZ_BAD_CALL);
    az_close(az);
}
