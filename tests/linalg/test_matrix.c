/* Dense and sparse matrices of data: products, selections, leading vectors; quadratic functions by coordinates. */
#include "adze/linalg.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

enum { ROWS = 40, COLUMNS = 25 };

/* The same numbers, a third of them zero, in both forms. */
static void make_both(az_ctx *az, const az_matrix *both[2])
{
    az_tensor *x = az_randn(az, AZ_F64, 2, (int64_t[]){ROWS, COLUMNS}, 1, 1, 1);
    int64_t start[ROWS + 1] = {0}, *other = az_alloc_array(az, ROWS * COLUMNS, sizeof *other);
    double *value = az_alloc_array(az, ROWS * COLUMNS, sizeof *value);
    for (int i = 0; i < ROWS; i++) {
        start[i + 1] = start[i];
        for (int j = 0; j < COLUMNS; j++) {
            if ((i + j) % 3 == 0) {
                az_f64_mut(x)[i * COLUMNS + j] = 0;
                continue;
            }
            other[start[i + 1]] = j;
            value[start[i + 1]++] = az_item(x, i * COLUMNS + j);
        }
    }
    both[0] = az_matrix_dense(az, x);
    both[1] = az_matrix_sparse(az, ROWS, COLUMNS, &(az_sparse_lines){start, other, value});
    cr_assert(both[0] && both[1], "%s", az_error(az));
}

static void same(const az_tensor *a, const az_tensor *b, double tolerance)
{
    cr_assert(a && b && az_same_shape(a, b));
    for (int64_t i = 0; i < az_count(a); i++) cr_assert_float_eq(az_item(a, i), az_item(b, i), tolerance);
}

Test(matrix, sparse_and_dense_products_agree)
{
    az_ctx *az = az_open(NULL);
    const az_matrix *m[2];
    make_both(az, m);
    const az_tensor *v = az_randn(az, AZ_F64, 2, (int64_t[]){COLUMNS, 3}, 1, 2, 1),
                    *u = az_randn(az, AZ_F64, 2, (int64_t[]){ROWS, 3}, 1, 3, 1);
    same(az_matrix_times(az, m[0], v), az_matrix_times(az, m[1], v), 1e-13);
    same(az_matrix_transposed_times(az, m[0], u), az_matrix_transposed_times(az, m[1], u), 1e-13);
    same(az_matrix_times(az, m[0], v), az_matmul(az, m[0]->dense, v), 0);
    cr_assert_float_eq(az_matrix_square(m[0]), az_matrix_square(m[1]), 1e-11);
    const int64_t row[] = {7, 0, 39, 7};
    const az_matrix *part[2] = {az_matrix_rows(az, m[0], row, 4), az_matrix_rows(az, az_matrix_scaled(az, m[1], 2), row, 4)};
    same(az_affine(az, az_matrix_times(az, part[0], v), 2, 0), az_matrix_times(az, part[1], v), 1e-13);
    cr_assert_null(az_matrix_times(az, m[0], u));
    cr_assert_eq(az_status_of(az), AZ_BAD_CALL);
    az_clear(az);
    cr_assert_null(az_matrix_sparse(az, 1, 2, &(az_sparse_lines){(int64_t[]){0, 2}, (int64_t[]){1, 0}, (double[]){1, 1}}));
    az_clear(az);
    az_close(az);
}

Test(matrix, leading_vectors_are_those_of_the_decomposition)
{
    az_ctx *az = az_open(NULL);
    const az_matrix *m[2];
    az_tensor *s, *u, *image;
    make_both(az, m);
    cr_assert(az_svd(az, m[0]->dense, NULL, &s, NULL));
    for (int k = 0; k < 2; k++) {
        const az_linear_map map = az_matrix_map(m[k]);
        cr_assert_float_eq(az_largest_square(az, &map, 1), pow(az_item(s, 0), 2), 1e-6);
        cr_assert(az_leading_vectors(az, &map, &(az_leading){.rank = 3, .width = 12, .most_turns = 300, .tolerance = 1e-15}, &u, &image));
        same(az_matmul(az, az_transpose(az, u), u), az_identity(az, AZ_F64, 12), 1e-12);
        same(image, az_matrix_transposed_times(az, m[k], u), 1e-12);
        const az_tensor *squares = az_sum(az, az_square(az, image), 0, false);
        for (int i = 0; i < 3; i++) cr_assert_float_eq(sqrt(az_item(squares, i)), az_item(s, i), 1e-7);
    }
    const az_linear_map map = az_matrix_map(m[0]);
    cr_assert_not(az_leading_vectors(az, &map, &(az_leading){.rank = 3, .width = 99, .most_turns = 1}, &u, &image));
    az_close(az);
}

/* At the minimum the slope is within l1 where x = 0, and against the sign of x elsewhere. */
Test(matrix, quadratic_functions_end_at_their_optimality_conditions)
{
    az_ctx *az = az_open(NULL);
    enum { R = 6, N = 30 };
    const az_tensor *a = az_randn(az, AZ_F64, 2, (int64_t[]){10, R}, 1, 4, 1), *b = az_randn(az, AZ_F64, 2, (int64_t[]){N, R}, 3, 5, 1);
    const az_tensor *q = az_matmul(az, az_transpose(az, a), a);
    const double l1[R] = {0, 0.5, 0.5, 1, 0, 2};
    const bool sign[R] = {false, false, true, true, true, false};
    az_tensor *x = az_zeros(az, AZ_F64, 2, (int64_t[]){N, R});
    const az_quadratic p = {.r = R, .q = az_f64(q), .l1 = l1, .nonnegative = sign, .most_turns = 10000, .tolerance = 1e-14};
    az_quadratic_descend(az, &p, N, az_f64(b), az_f64_mut(x));
    int zeros = 0;
    const az_tensor *slope = az_sub(az, az_matmul(az, x, q), b);
    for (int i = 0; i < N * R; i++) {
        const double value = az_item(x, i), g = az_item(slope, i), t = l1[i % R];
        zeros += value == 0;
        if (value > 0) cr_assert_float_eq(g, -t, 1e-9);
        if (value < 0) cr_assert(!sign[i % R] && fabs(g - t) < 1e-9);
        if (value == 0) cr_assert(sign[i % R] ? g >= -t - 1e-9 : fabs(g) <= t + 1e-9);
    }
    cr_assert_gt(zeros, 20);
    const az_quadratic plain = {.r = R, .q = az_f64(q), .most_turns = 100000, .tolerance = 1e-15};
    az_quadratic_descend(az, &plain, N, az_f64(b), az_f64_mut(x));
    same(az_matmul(az, x, q), b, 1e-8);
    az_close(az);
}
