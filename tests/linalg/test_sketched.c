/* The Walsh-Hadamard transform and least squares preconditioned by a sketch. */
#include "adze/linalg.h"
#include "claims/splitmix.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

static int parity(uint64_t bits)
{
    return __builtin_popcountll(bits) & 1;
}

Test(hadamard, every_entry_has_the_sign_of_common_bits)
{
    az_ctx *az = az_open(NULL);
    for (int64_t n = 1; n <= 64; n *= 2) {
        for (int64_t i = 0; i < n; i++) {
            double x[64 * 3] = {0};
            x[i * 3 + 1] = 1;
            az_walsh_hadamard(x, n, 3, 1);
            for (int64_t j = 0; j < n; j++) {
                cr_assert_eq(x[j * 3 + 1], parity((uint64_t)(i & j)) ? -1 : 1);
                cr_assert(x[j * 3] == 0 && x[j * 3 + 2] == 0);
            }
        }
    }
    az_close(az);
}

Test(hadamard, is_its_own_inverse_and_the_same_for_any_number_of_threads)
{
    enum { N = 1 << 15, COLUMNS = 3 };
    az_ctx *az = az_open(NULL);
    const double *x = splitmix_normal(az, 5, (int64_t)N * COLUMNS);
    double *one = az_alloc_array(az, (size_t)N * COLUMNS, sizeof *one), *four = az_alloc_array(az, (size_t)N * COLUMNS, sizeof *four);
    memcpy(one, x, (size_t)N * COLUMNS * sizeof *one);
    memcpy(four, x, (size_t)N * COLUMNS * sizeof *one);
    az_walsh_hadamard(one, N, COLUMNS, 1);
    az_walsh_hadamard(four, N, COLUMNS, 4);
    cr_assert_arr_eq(one, four, (size_t)N * COLUMNS * sizeof *one);
    az_walsh_hadamard(one, N, COLUMNS, 2);
    for (int64_t i = 0; i < (int64_t)N * COLUMNS; i++) cr_assert_float_eq(one[i] / N, x[i], 1e-12);
    az_close(az);
}

enum { M = 1000, K = 20 };

/* Singular values from 1 to 1e-6. */
static az_tensor *ill_conditioned(az_ctx *az)
{
    az_tensor *left, *right, *r;
    az_qr(az, az_from(az, AZ_F64, 2, (int64_t[]){M, K}, splitmix_normal(az, 1, M * K)), &left, &r);
    az_qr(az, az_from(az, AZ_F64, 2, (int64_t[]){K, K}, splitmix_normal(az, 2, K * K)), &right, &r);
    double scale[K];
    for (int j = 0; j < K; j++) scale[j] = pow(10, -6.0 * j / (K - 1));
    return az_contiguous(az, az_matmul(az, az_mul(az, left, az_from(az, AZ_F64, 1, (int64_t[]){K}, scale)), right));
}

static double largest_difference(az_ctx *az, const az_tensor *a, const double *x, const az_tensor *exact)
{
    const az_tensor *fit = az_matmul(az, a, az_from(az, AZ_F64, 2, (int64_t[]){K, 1}, x)), *want = az_matmul(az, a, exact);
    double largest = 0;
    for (int i = 0; i < M; i++) largest = fmax(largest, fabs(az_item(fit, i) - az_item(want, i)));
    return largest;
}

Test(sketched, reaches_the_exact_fit_of_an_ill_conditioned_problem_in_few_steps)
{
    az_ctx *az = az_open(NULL);
    const az_tensor *a = ill_conditioned(az);
    const double *b = splitmix_normal(az, 3, M);
    const az_tensor *exact = az_least_squares(az, a, az_from(az, AZ_F64, 2, (int64_t[]){M, 1}, b), 0);
    double *work = az_alloc_array(az, (size_t)az_sketched_workspace(M, K, M), sizeof *work), x[K];
    for (uint64_t seed = 0; seed < 50; seed++) {
        /* neither slope nor fit come closer than some times rounding times the condition number: it is the steps that end this */
        const az_sketched_how how = {.rows = 4 * K, .tolerance = 1e-12, .most_steps = 25, .seed = seed};
        cr_assert(az_sketched_least_squares(az_f64(a), b, M, K, x, &how, work).full_rank);
        cr_assert_lt(largest_difference(az, a, x, exact), 3e-9);
    }
    const az_sketched_how whole = {.rows = M, .tolerance = 1e-12, .most_steps = 50};
    cr_assert_eq(az_sketched_least_squares(az_f64(a), b, M, K, x, &whole, work).steps, 0);
    cr_assert_lt(largest_difference(az, a, x, exact), 1e-9);
    const az_sketched_how plain = {.rows = 40 * K, .tolerance = 1e-9, .most_steps = 200, .plain = true};
    cr_assert(az_sketched_least_squares(az_f64(a), b, M, K, x, &plain, work).converged);
    cr_assert_lt(largest_difference(az, a, x, exact), 1e-7);
    az_close(az);
}

/* Their squares vanish; the steps do not. */
Test(sketched, small_right_sides_take_the_same_steps)
{
    az_ctx *az = az_open(NULL);
    const az_tensor *a = az_from(az, AZ_F64, 2, (int64_t[]){M, K}, splitmix_normal(az, 1, M * K));
    double *b = splitmix_normal(az, 3, M), *work = az_alloc_array(az, (size_t)az_sketched_workspace(M, K, M), sizeof *work), x[K], small[K];
    const az_sketched_how how = {.rows = 4 * K, .tolerance = 1e-9, .most_steps = 50};
    cr_assert(az_sketched_least_squares(az_f64(a), b, M, K, x, &how, work).converged);
    for (int i = 0; i < M; i++) b[i] *= 0x1p-830;
    cr_assert(az_sketched_least_squares(az_f64(a), b, M, K, small, &how, work).converged);
    for (int j = 0; j < K; j++) cr_assert_float_eq(small[j] * 0x1p830, x[j], 1e-12 * fabs(x[j]));
    az_close(az);
}

Test(sketched, dependent_columns_are_reported)
{
    az_ctx *az = az_open(NULL);
    double *a = splitmix_normal(az, 1, M * K);
    const double *b = splitmix_normal(az, 3, M);
    for (int i = 0; i < M; i++) a[i * K + 7] = a[i * K + 3] - a[i * K + 5];
    double *work = az_alloc_array(az, (size_t)az_sketched_workspace(M, K, M), sizeof *work), x[K];
    for (int64_t rows = 80; rows <= M; rows += M - 80) {
        const az_sketched_how how = {.rows = rows, .tolerance = 1e-9, .most_steps = 50};
        cr_assert_not(az_sketched_least_squares(a, b, M, K, x, &how, work).full_rank);
    }
    az_close(az);
}

/* Of 4096 rows: the normal equations take k^2 operations a row. */
Test(sketched, operations_grow_little_faster_than_the_number_of_columns)
{
    enum { ROWS = 4096 };
    az_ctx *az = az_open(NULL);
    double operations[2];
    for (int i = 0; i < 2; i++) {
        const int64_t k = i ? 64 : 8;
        const double *a = splitmix_normal(az, 1, ROWS * k), *b = splitmix_normal(az, 2, ROWS);
        double *work = az_alloc_array(az, (size_t)az_sketched_workspace(ROWS, k, 4 * k), sizeof *work), x[64];
        const az_sketched_how how = {.rows = 4 * k, .tolerance = 1e-2, .most_steps = 50};
        operations[i] = (double)az_sketched_least_squares(a, b, ROWS, k, x, &how, work).operations;
    }
    const double exponent = log(operations[1] / operations[0]) / log(8);
    cr_assert(exponent > 0.9 && exponent <= 1.3, "%g", exponent);
    az_close(az);
}
