/* The inverse empirical Fisher matrix: static and dynamic forms against dense solves and against the paper's recurrence. */
#include "adze/linalg.h"
#include "support/matrix.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

/* F = damp I + G^T G / m over blocks of consecutive entries */
static az_tensor *dense_fisher(az_ctx *az, const az_tensor *g, double damp, int64_t block)
{
    const int64_t m = g->shape[0], d = g->shape[1];
    az_tensor *f = az_zeros(az, AZ_F64, 2, (int64_t[]){d, d});
    for (int64_t a = 0; a < d; a++)
        for (int64_t b = 0; b < d; b++) {
            double sum = a == b ? damp : 0;
            for (int64_t i = 0; a / block == b / block && i < m; i++) sum += az_item(g, i * d + a) * az_item(g, i * d + b) / (double)m;
            az_f64_mut(f)[a * d + b] = sum;
        }
    return f;
}

/* |a - b| relative to the largest |b| */
static double relative(az_ctx *az, const az_tensor *a, const az_tensor *b)
{
    const az_tensor *wide = az_cast(az, a, AZ_F64);
    return matrix_difference(wide, b) / az_to_double(az_max(az, az_abs(az, b), AZ_ALL_AXES, false));
}

Test(fisher, static_form_agrees_with_dense_solves)
{
    static const int64_t cases[][3] = {{0, 20, 0},    {1, 1, 0},     {5, 40, 0},    {64, 30, 0},
                                       {16, 130, 32}, {40, 130, 32}, {12, 200, 50}, {33, 33, 7}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        az_ctx *az = az_open(NULL);
        const int64_t m = cases[c][0], d = cases[c][1], block = cases[c][2] ? cases[c][2] : d;
        const az_tensor *g = az_randn(az, AZ_F64, 2, (int64_t[]){m, d}, 1, 5, c), *x = az_randn(az, AZ_F64, 1, &d, 1, 6, c);
        const az_tensor *f = dense_fisher(az, g, 0.01, block), *inverse = az_inverse(az, f);
        const az_fisher *fisher = az_fisher_new(az, g, 0.01, cases[c][2]);
        cr_assert(fisher, "%s", az_error(az));
        cr_assert_lt(relative(az, az_fisher_solve(az, fisher, x), az_solve(az, f, x)), 1e-10);
        cr_assert_lt(relative(az, az_fisher_inverse_diagonal(az, fisher), az_diagonal(az, inverse)), 1e-10);
        cr_assert_lt(relative(az, az_fisher_multiply(az, fisher, az_fisher_solve(az, fisher, x)), x), 1e-10);
        az_close(az);
    }
}

/* More columns than are converted at a time. Single precision gradients: F (F^-1 x) = x. */
Test(fisher, wide_matrices_invert_their_product)
{
    az_ctx *az = az_open(NULL);
    const int64_t m = 70, d = 2500;
    const az_tensor *g = az_randn(az, AZ_F32, 2, (int64_t[]){m, d}, 0.1, 5, 0), *x = az_randn(az, AZ_F32, 1, &d, 1, 6, 0);
    const az_tensor *y = az_fisher_solve(az, az_fisher_new(az, g, 1e-3, 0), x);
    const az_tensor *column = az_reshape(az, y, 2, (int64_t[]){d, 1});
    const az_tensor *product = az_matmul(az, az_transpose(az, g), az_matmul(az, g, column));
    const az_tensor *back = az_add(az, az_affine(az, product, 1.0 / (double)m, 0), az_affine(az, column, 1e-3, 0));
    cr_assert_lt(matrix_difference(az_reshape(az, back, 1, &d), x), 2e-3);
    az_close(az);
}

Test(fisher, half_precision_gradients_are_what_they_round_to)
{
    for (int type = 0; type < 2; type++) {
        az_ctx *az = az_open(NULL);
        const int64_t d = 90;
        const az_tensor *g = az_cast(az, az_randn(az, AZ_F32, 2, (int64_t[]){20, d}, 1, 5, 0), type ? AZ_F16 : AZ_BF16);
        const az_tensor *x = az_randn(az, AZ_F64, 1, &d, 1, 6, 0);
        const az_tensor *y = az_fisher_solve(az, az_fisher_new(az, g, 0.1, 32), x);
        const az_tensor *z = az_fisher_solve(az, az_fisher_new(az, az_cast(az, g, AZ_F64), 0.1, 32), x);
        cr_assert_lt(matrix_difference(y, z), 1e-12);
        az_close(az);
    }
}

/* v_i = F_{i-1}^-1 g_i and q_i = m + g_i^T v_i by the paper's recurrence; K = R R^T has R_ii^2 = damp q_i. */
Test(fisher, agrees_with_the_recurrence_of_the_paper)
{
    enum { M = 4, D = 7 };
    static const double expected[D] = {9.15172264, 1.74564902, -1.34554083, 0.44501935, 2.30359603, -0.76290509, -8.53219327};
    static const double expected_q[M] = {39.56800278, 21.12962697, 12.85733774, 7.99062267};
    const double damp = 0.1;
    double g[M][D], x[D], v[M][D], q[M], y[D];
    for (int i = 0; i < M; i++)
        for (int j = 0; j < D; j++) g[i][j] = sin(1 + 7 * i + j);
    for (int j = 0; j < D; j++) x[j] = cos(j / 2.0);
    for (int i = 0; i <= M; i++) { /* the last round applies F_M^-1 to x */
        const double *of = i < M ? g[i] : x;
        double *to = i < M ? v[i] : y;
        for (int j = 0; j < D; j++) to[j] = of[j] / damp;
        for (int k = 0; k < i; k++) {
            double dot = 0;
            for (int j = 0; j < D; j++) dot += v[k][j] * of[j];
            for (int j = 0; j < D; j++) to[j] -= dot / q[k] * v[k][j];
        }
        if (i == M) break;
        q[i] = M;
        for (int j = 0; j < D; j++) q[i] += g[i][j] * v[i][j];
    }
    az_ctx *az = az_open(NULL);
    const az_tensor *gradients = az_from(az, AZ_F64, 2, (int64_t[]){M, D}, g), *vector = az_from(az, AZ_F64, 1, (int64_t[]){D}, x);
    const az_fisher *fisher = az_fisher_new(az, gradients, damp, 0);
    const az_tensor *solved = az_fisher_solve(az, fisher, vector), *diagonal = az_fisher_inverse_diagonal(az, fisher);
    const az_tensor *k = az_add(az, az_matmul_nt(az, gradients, gradients), az_affine(az, az_identity(az, AZ_F64, M), M * damp, 0));
    const az_tensor *r = az_cholesky(az, k);
    for (int j = 0; j < D; j++) {
        double at = 1 / damp;
        for (int i = 0; i < M; i++) at -= v[i][j] * v[i][j] / q[i];
        cr_assert_float_eq(y[j], expected[j], 1e-7);
        cr_assert_float_eq(az_item(solved, j), y[j], 1e-11);
        cr_assert_float_eq(az_item(diagonal, j), at, 1e-11);
    }
    for (int i = 0; i < M; i++) {
        cr_assert_float_eq(q[i], expected_q[i], 1e-7);
        cr_assert_float_eq(az_item(r, i * M + i) * az_item(r, i * M + i) / damp, q[i], 1e-11);
    }
    az_close(az);
}

/* 3 m + 2 pushes leave the window that the last m gradients make in any order; a zero gradient changes nothing but the count. */
Test(fisher, window_is_the_static_form_of_the_last_gradients)
{
    az_ctx *az = az_open(NULL);
    const int64_t m = 6, d = 5000, pushes = 3 * m + 2;
    const az_tensor *all = az_randn(az, AZ_F32, 2, (int64_t[]){pushes, d}, 0.2, 5, 0), *x = az_randn(az, AZ_F32, 1, &d, 1, 6, 0);
    az_fisher_window *window = az_fisher_window_new(az, m, d, 0.01);
    for (int64_t i = 0; i < pushes; i++) {
        const az_tensor *g = az_reshape(az, az_slice(az, all, 0, i, 1), 1, &d);
        if (i + 1 < pushes) {
            cr_assert(az_fisher_window_push(az, window, g), "%s", az_error(az));
            continue;
        }
        const az_tensor *direct = az_fisher_window_push_solve(az, window, g);
        cr_assert_eq(matrix_difference(direct, az_fisher_window_solve(az, window, g)), 0);
    }
    const az_tensor *last = az_contiguous(az, az_slice(az, all, 0, pushes - m, m));
    const az_tensor *expected = az_fisher_solve(az, az_fisher_new(az, last, 0.01, 0), az_cast(az, x, AZ_F64));
    cr_assert_lt(relative(az, az_fisher_window_solve(az, window, x), expected), 1e-5);
    az_close(az);
}

Test(fisher, window_starts_with_zeros_and_comes_back_from_its_state)
{
    az_ctx *az = az_open(NULL);
    const int64_t m = 4, d = 50;
    const az_tensor *x = az_randn(az, AZ_F32, 1, &d, 1, 6, 0), *g = az_randn(az, AZ_F32, 1, &d, 1, 7, 0);
    az_fisher_window *one = az_fisher_window_new(az, m, d, 0.5), *two = az_fisher_window_new(az, m, d, 0.5);
    cr_assert_lt(matrix_difference(az_fisher_window_solve(az, one, x), az_affine(az, x, 2, 0)), 1e-6);
    az_fisher_window_push(az, one, g);
    az_tensor *from[3], *to[3];
    az_fisher_window_state(one, from);
    az_fisher_window_state(two, to);
    for (int i = 0; i < 3; i++) az_copy_into(az, to[i], from[i]);
    cr_assert_eq(matrix_difference(az_fisher_window_push_solve(az, one, x), az_fisher_window_push_solve(az, two, x)), 0);
    az_close(az);
}

Test(fisher, threads_change_no_bit)
{
    az_tensor *y[2], *diagonal[2];
    az_ctx *az[2];
    for (int t = 0; t < 2; t++) {
        az[t] = az_open(&(az_settings){.threads = 1 + 3 * t});
        const int64_t d = 3000;
        const az_tensor *g = az_randn(az[t], AZ_F32, 2, (int64_t[]){24, d}, 1, 5, 0);
        const az_fisher *fisher = az_fisher_new(az[t], g, 0.1, 100);
        y[t] = az_fisher_solve(az[t], fisher, az_randn(az[t], AZ_F32, 1, &d, 1, 6, 0));
        diagonal[t] = az_fisher_inverse_diagonal(az[t], fisher);
    }
    cr_assert_eq(matrix_difference(y[0], y[1]), 0);
    cr_assert_eq(matrix_difference(diagonal[0], diagonal[1]), 0);
    for (int t = 0; t < 2; t++) az_close(az[t]);
}

Test(fisher, bad_operands_are_refused)
{
    az_ctx *az = az_open(NULL);
    const int64_t d = 3;
    az_tensor *g = az_zeros(az, AZ_F32, 2, (int64_t[]){2, d});
    cr_assert_null(az_fisher_new(az, g, 0, 0));
    cr_assert_eq(az_status_of(az), AZ_BAD_INPUT);
    az_clear(az);
    az_f32_mut(g)[4] = NAN;
    cr_assert_null(az_fisher_new(az, g, 1, 0));
    cr_assert_not_null(strstr(az_error(az), "gradient 1 is not finite at entry 1"), "%s", az_error(az));
    az_clear(az);
    az_fisher_window *window = az_fisher_window_new(az, 2, d, 1);
    const az_tensor *x = az_full(az, AZ_F32, 1, &d, 1), *bad = az_reshape(az, az_slice(az, g, 0, 1, 1), 1, &d);
    az_fisher_window_push(az, window, x);
    const az_tensor *before = az_fisher_window_solve(az, window, x);
    cr_assert_not(az_fisher_window_push(az, window, bad));
    cr_assert_eq(az_status_of(az), AZ_NUMERIC);
    az_clear(az);
    cr_assert_eq(matrix_difference(before, az_fisher_window_solve(az, window, x)), 0);
    az_close(az);
}
