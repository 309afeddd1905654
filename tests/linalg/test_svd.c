/* Singular value decompositions: reconstruction, orthonormality, ranks and shapes at the edge, least squares. */
#include "adze/linalg.h"
#include "support/matrix.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

/* U diag(s) V^T */
static az_tensor *product(az_ctx *az, const az_tensor *u, const az_tensor *s, const az_tensor *vt)
{
    return az_matmul(az, az_mul(az, u, s), vt);
}

static void check_svd(az_ctx *az, const az_tensor *a, double tolerance)
{
    az_tensor *u, *s, *vt;
    cr_assert(az_svd(az, a, &u, &s, &vt), "%s", az_error(az));
    cr_assert_leq(matrix_difference(product(az, u, s, vt), a), tolerance);
    cr_assert_leq(matrix_orthonormality(az, u), tolerance);
    cr_assert_leq(matrix_orthonormality(az, az_transpose(az, vt)), tolerance);
    for (int64_t i = 1; i < s->shape[0]; i++) cr_assert_geq(az_item(s, i - 1), az_item(s, i));
    if (s->shape[0] > 0) cr_assert_geq(az_item(s, s->shape[0] - 1), 0);
}

Test(svd, reconstructs_matrices_of_every_shape)
{
    const int64_t shape[][2] = {{1, 1}, {1, 7}, {7, 1}, {5, 5}, {12, 4}, {4, 12}, {60, 33}};
    az_ctx *az = az_open(NULL);
    for (size_t i = 0; i < sizeof shape / sizeof *shape; i++) {
        check_svd(az, matrix_normal(az, AZ_F64, shape[i][0], shape[i][1], i), 1e-13);
        check_svd(az, matrix_normal(az, AZ_F32, shape[i][0], shape[i][1], i), 2e-5);
    }
    check_svd(az, az_transpose(az, matrix_normal(az, AZ_F64, 9, 6, 3)), 1e-13);
    az_close(az);
}

Test(svd, finds_the_rank_of_a_deficient_matrix)
{
    az_ctx *az = az_open(NULL);
    az_tensor *a = az_matmul(az, matrix_normal(az, AZ_F64, 20, 3, 1), matrix_normal(az, AZ_F64, 3, 15, 2)), *s;
    check_svd(az, a, 1e-12);
    cr_assert(az_svd(az, a, NULL, &s, NULL));
    cr_assert_gt(az_item(s, 2), 1);
    cr_assert_lt(az_item(s, 3), 1e-13);
    check_svd(az, az_zeros(az, AZ_F64, 2, (int64_t[]){4, 6}), 1e-13);
    az_close(az);
}

Test(svd, an_empty_matrix_has_no_singular_values)
{
    az_ctx *az = az_open(NULL);
    az_tensor *u, *s, *vt;
    cr_assert(az_svd(az, az_zeros(az, AZ_F64, 2, (int64_t[]){0, 5}), &u, &s, &vt), "%s", az_error(az));
    cr_assert_eq(az_count(s), 0);
    cr_assert_eq(vt->shape[1], 5);
    az_close(az);
}

Test(svd, refuses_what_is_not_finite_or_not_a_matrix)
{
    az_ctx *az = az_open(NULL);
    az_tensor *u = NULL, *s = NULL, *vt = NULL, *a = matrix_normal(az, AZ_F64, 3, 4, 1);
    az_f64_mut(a)[6] = NAN;
    cr_assert_not(az_svd(az, a, &u, &s, &vt));
    cr_assert_eq(az_status_of(az), AZ_NUMERIC);
    cr_assert_not_null(strstr(az_error(az), "[1, 2]"), "%s", az_error(az));
    cr_assert_null(u);
    az_clear(az);
    cr_assert_not(az_svd(az, az_zeros(az, AZ_F64, 1, (int64_t[]){4}), &u, &s, &vt));
    cr_assert_eq(az_status_of(az), AZ_BAD_CALL);
    az_close(az);
}

/* A = Q1 diag(2^-i) Q2^T: the leading triples are known to the size of the next singular value. */
Test(svd, the_randomized_one_finds_the_leading_triples)
{
    enum { M = 80, N = 60, RANK = 8 };
    az_ctx *az = az_open(NULL);
    az_tensor *q1, *q2, *decay = az_new1(az, AZ_F64, N), *u, *s, *vt;
    az_qr(az, matrix_normal(az, AZ_F64, M, N, 1), &q1, NULL);
    az_qr(az, matrix_normal(az, AZ_F64, N, N, 2), &q2, NULL);
    for (int i = 0; i < N; i++) az_f64_mut(decay)[i] = exp2(-i);
    az_tensor *a = product(az, q1, decay, az_transpose(az, q2));
    cr_assert(az_svd_randomized(az, a, RANK, 2, 7, &u, &s, &vt), "%s", az_error(az));
    for (int i = 0; i < RANK; i++) cr_assert_float_eq(az_item(s, i), exp2(-i), 1e-10);
    cr_assert_leq(matrix_difference(product(az, u, s, vt), a), exp2(-RANK) * 1.001);
    cr_assert_leq(matrix_orthonormality(az, u), 1e-13);
    az_tensor *again;
    az_svd_randomized(az, a, RANK, 2, 7, &again, NULL, NULL);
    cr_assert_eq(matrix_difference(u, again), 0);
    cr_assert_not(az_svd_randomized(az, a, N + 1, 2, 7, &u, &s, &vt));
    cr_assert_eq(az_status_of(az), AZ_BAD_CALL);
    az_close(az);
}

/* |A - U diag(s) V^T| of the range finder over the least that its rank allows, with `power` iterations and columns to spare. */
static double excess(az_ctx *az, const az_tensor *a, az_range_finder how)
{
    az_tensor *u, *s, *vt, *all;
    cr_assert(az_svd_range(az, a, &how, &u, &s, &vt), "%s", az_error(az));
    az_svd(az, a, NULL, &all, NULL);
    double least = 0;
    for (int64_t i = how.rank; i < az_count(all); i++) least += az_item(all, i) * az_item(all, i);
    const az_tensor *left = az_sub(az, a, product(az, u, s, vt));
    return sqrt(az_to_double(az_dot(az, left, left)) / least);
}

Test(svd, iterations_bring_the_range_finder_to_the_optimum)
{
    az_ctx *az = az_open(NULL);
    az_tensor *q1, *q2, *decay = az_new1(az, AZ_F64, 90);
    az_qr(az, matrix_normal(az, AZ_F64, 120, 90, 1), &q1, NULL);
    az_qr(az, matrix_normal(az, AZ_F64, 90, 90, 2), &q2, NULL);
    for (int i = 0; i < 90; i++) az_f64_mut(decay)[i] = exp(-i / 20.0);
    az_tensor *a = product(az, q1, decay, az_transpose(az, q2));
    cr_assert_gt(excess(az, a, (az_range_finder){.rank = 16, .power = 0, .seed = 3}), 1.1);
    cr_assert_lt(excess(az, a, (az_range_finder){.rank = 16, .power = 4, .seed = 3}), 1.02);
    cr_assert_lt(excess(az, a, (az_range_finder){.rank = 16, .power = 16, .seed = 3}), 1.001);
    cr_assert_lt(excess(az, a, (az_range_finder){.rank = 16, .oversample = 10, .power = 4, .seed = 3}), 1.001);
    az_close(az);
}

/* The normal equations A^T (A x - b) = 0 hold at the minimum. */
Test(least_squares, satisfies_the_normal_equations)
{
    az_ctx *az = az_open(NULL);
    const int64_t shape[][2] = {{30, 7}, {7, 7}, {7, 30}, {1, 4}};
    for (int i = 0; i < 4; i++) {
        az_tensor *a = matrix_normal(az, AZ_F64, shape[i][0], shape[i][1], 3), *b = matrix_normal(az, AZ_F64, shape[i][0], 2, 4);
        az_tensor *x = az_least_squares(az, a, b, -1);
        az_tensor *slope = az_matmul(az, az_transpose(az, a), az_sub(az, az_matmul(az, a, x), b));
        cr_assert_leq(matrix_difference(slope, az_zeros(az, AZ_F64, 2, slope->shape)), 1e-12);
    }
    az_close(az);
}

/* Of all minimizers of a rank-deficient problem the one of least norm lies in the row space: x = A^T y for some y. */
Test(least_squares, takes_the_shortest_of_all_minimizers)
{
    az_ctx *az = az_open(NULL);
    az_tensor *a = az_from(az, AZ_F64, 2, (int64_t[]){3, 2}, (double[]){1, 1, 2, 2, 3, 3});
    az_tensor *x = az_least_squares(az, a, az_from(az, AZ_F64, 1, (int64_t[]){3}, (double[]){2, 4, 6}), -1);
    cr_assert_eq(x->rank, 1);
    cr_assert_float_eq(az_item(x, 0), 1, 1e-14);
    cr_assert_float_eq(az_item(x, 1), 1, 1e-14);
    cr_assert_null(az_least_squares(az, a, az_zeros(az, AZ_F64, 1, (int64_t[]){2}), -1));
    cr_assert_eq(az_status_of(az), AZ_BAD_CALL);
    az_close(az);
}

Test(svd, gives_the_same_bits_with_any_number_of_threads)
{
    az_ctx *one = az_open(&(az_settings){.threads = 1});
    az_tensor *u, *s, *vt, *other_u, *other_s, *other_vt;
    cr_assert(az_svd(one, matrix_normal(one, AZ_F64, 300, 260, 4), &u, &s, &vt), "%s", az_error(one));
    for (int threads = 2; threads <= 3; threads++) {
        az_ctx *az = az_open(&(az_settings){.threads = threads});
        cr_assert(az_svd(az, matrix_normal(az, AZ_F64, 300, 260, 4), &other_u, &other_s, &other_vt), "%s", az_error(az));
        cr_assert_arr_eq(other_u->data, u->data, (size_t)az_count(u) * sizeof(double));
        cr_assert_arr_eq(other_s->data, s->data, (size_t)az_count(s) * sizeof(double));
        cr_assert_arr_eq(other_vt->data, vt->data, (size_t)az_count(vt) * sizeof(double));
        az_close(az);
    }
    az_close(one);
}
