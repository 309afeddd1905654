/* Private sparse regression: the randomiser's mean and likelihood ratio, the noise's true privacy, closed forms, errors, messages. */
#include "claims/splitmix.h"
#include "estimate/ldp.h"
#include "support/folder.h"
#include "support/matrix.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static ldp_settings settings(int64_t d, double eps)
{
    return (ldp_settings){.eps = eps,
                          .delta = 1e-5,
                          .radius = sqrt((double)d),
                          .tau1 = 1,
                          .tau2 = sqrt(3) + 0.3,
                          .sparsity = 3,
                          .kept = 6,
                          .lambda = -1,
                          .c = 1,
                          .eta = 2.0 / 3,
                          .rounds = 5};
}

/* x uniform on {-1, 1}^d, theta = (1, -1, 1, 0, ...) / sqrt(3), noise 0.1. */
static ldp_rows made(az_ctx *az, int64_t n, int64_t d, uint64_t seed, az_tensor **truth)
{
    const double *u = splitmix_uniform(az, seed, n * d), *e = splitmix_normal(az, seed + 1, n);
    double *x = az_alloc_array(az, (size_t)(n * d), sizeof *x), *y = az_alloc_array(az, (size_t)n, sizeof *y);
    *truth = az_zeros(az, AZ_F64, 1, &d);
    for (int j = 0; j < 3; j++) az_f64_mut(*truth)[j] = (j == 1 ? -1 : 1) / sqrt(3);
    for (int64_t i = 0; i < n; i++) {
        y[i] = 0.1 * e[i];
        for (int64_t j = 0; j < d; j++) {
            x[i * d + j] = u[i * d + j] < 0.5 ? -1 : 1;
            y[i] += x[i * d + j] * az_f64(*truth)[j];
        }
    }
    return (ldp_rows){.x = x, .y = y, .n = n, .d = d};
}

static double error_of(const az_tensor *theta, const az_tensor *truth)
{
    double sum = 0;
    for (int64_t j = 0; j < az_count(truth); j++) sum += pow(az_item(theta, j) - az_item(truth, j), 2);
    return sqrt(sum);
}

Test(ldp, the_randomiser_is_unbiased_and_of_one_length)
{
    enum { DRAWS = 400000 };
    static const double g[] = {.3, -.2, .5, .1};
    double mean[4] = {0};
    cr_assert_float_eq(ldp_ball_length(1, 1, 4), 5.098695110484, 1e-12);
    az_rng rng = az_rng_at(3, 1);
    for (int k = 0; k < DRAWS; k++) {
        double z[4], norm = 0;
        ldp_randomize(&rng, g, 4, 1, 1, z);
        for (int j = 0; j < 4; j++) norm += z[j] * z[j], mean[j] += z[j] / DRAWS;
        cr_assert_float_eq(sqrt(norm), 5.098695110484, 1e-11);
    }
    for (int j = 0; j < 4; j++) cr_assert_float_eq(mean[j], g[j], 4 * 5.0987 / 2 / sqrt(DRAWS), "coordinate %d: %g", j, mean[j]);
}

/* Of a hemisphere, under two gradients: at most e^eps apart. Also when a gradient is zero. */
Test(ldp, the_randomiser_is_private)
{
    enum { DRAWS = 200000 };
    static const double g[3][3] = {{1, 0, 0}, {-1, 0, 0}, {0, 0, 0}};
    double share[3] = {0};
    for (int v = 0; v < 3; v++) {
        az_rng rng = az_rng_at(5, (uint64_t)v);
        for (int k = 0; k < DRAWS; k++) {
            double z[3];
            ldp_randomize(&rng, g[v], 3, 1, 0.7, z);
            share[v] += z[0] > 0 ? 1.0 / DRAWS : 0;
        }
    }
    cr_assert_float_eq(log(share[0] / share[1]), 0.7, 0.03, "the worst case is reached");
    cr_assert_float_eq(share[2], 0.5, 0.006);
}

Test(ldp, the_noise_has_the_privacy_it_claims)
{
    const ldp_settings s = settings(5, 1);
    cr_assert_float_eq(pow(ldp_matrix_sigma(&s), 2), 32 * 25 * log(2.5 / 1e-5), 1e-8, "the paper's 32 r^4 log(2.5 / delta) / eps^2");
    cr_assert_float_eq(pow(ldp_vector_sigma(&s, 5, true), 2), 32 * 5 * s.tau2 * s.tau2 * log(2.5 / 1e-5), 1e-8);
    cr_assert_float_eq(pow(ldp_vector_sigma(&s, 5, false), 2), 8 * 5 * s.tau2 * s.tau2 * log(1.25 / 1e-5), 1e-8);
    static const double eps[] = {0.01, 0.5, 1, 2, 5, 20};
    for (int i = 0; i < 6; i++) {
        const double sigma = ldp_gaussian_sigma(1, eps[i], 1e-5);
        cr_assert_leq(ldp_gaussian_delta(1, sigma, eps[i]), 1e-5, "eps %g", eps[i]);
    }
    cr_assert_gt(ldp_gaussian_sigma(1, 20, 1e-5), sqrt(2 * log(1.25e5)) / 20, "the classical formula is too small there");
}

/* x x' of two users differs by 2 r^2 at most, x y by 2 sqrt(d) tau1 tau2; what is sent is symmetric and bounded without noise. */
Test(ldp, messages_are_bounded_and_symmetric)
{
    enum { D = 4 };
    const double x[] = {3, -4, 100, 0.5};
    ldp_settings s = settings(D, 1);
    s.eps = 1e9;
    double matrix[D * D], vector[D];
    az_rng rng = az_rng_at(1, 1);
    s.delta = 0.49;
    ldp_message(&s, x, 7, D, &rng, matrix, vector);
    double trace = 0;
    for (int i = 0; i < D; i++) {
        trace += matrix[i * D + i];
        for (int j = 0; j < D; j++) cr_assert_eq(matrix[i * D + j], matrix[j * D + i]);
    }
    cr_assert_float_eq(trace, s.radius * s.radius, 0.05, "|x| is cut to the radius");
    cr_assert_float_eq(vector[2], s.tau1 * s.tau2, 0.05, "x and y are cut coordinate by coordinate");
    cr_assert_float_eq(vector[3], 0.5 * s.tau2, 0.05);
}

/* Isotropic moments: the plain closed form soft-thresholds least squares; lambda = 0 is least squares. */
Test(ldp, without_noise_it_is_soft_thresholding)
{
    az_ctx *az = az_open(NULL);
    az_tensor *truth;
    const ldp_rows rows = made(az, 2000, 6, 9, &truth);
    ldp_settings s = settings(6, 1);
    s.tau2 = 100;
    s.lambda = 0;
    const az_tensor *ols = ldp_simulate(az, &s, LDP_OLS, &rows, NULL, 1);
    cr_assert_lt(matrix_difference(ols, ldp_simulate(az, &s, LDP_NONPRIVATE, &rows, NULL, 1)), 1e-12);
    cr_assert_lt(matrix_difference(ols, ldp_simulate(az, &s, LDP_LASSO, &rows, NULL, 1)), 1e-9);
    s.lambda = 0.2;
    const az_tensor *thresholded = ldp_simulate(az, &s, LDP_NONPRIVATE, &rows, NULL, 1);
    for (int j = 0; j < 6; j++) cr_assert_float_eq(az_item(thresholded, j), ldp_soft(az_item(ols, j), 0.2), 1e-12);
    const az_tensor *x = az_identity(az, AZ_F64, 4), *v = az_from(az, AZ_F64, 1, (int64_t[]){4}, (double[]){1, -0.1, 0.3, -2});
    const az_tensor *exact = ldp_solve(az, x, v, 0.25, 0, NULL);
    cr_assert(az_item(exact, 0) == 0.75 && az_item(exact, 1) == 0 && az_item(exact, 3) == -1.75);
    az_close(az);
}

Test(ldp, the_lasso_satisfies_its_conditions)
{
    az_ctx *az = az_open(NULL);
    az_tensor *truth;
    const ldp_rows rows = made(az, 500, 8, 4, &truth);
    ldp_settings s = settings(8, 1);
    s.lambda = 0.05;
    const az_tensor *b = ldp_simulate(az, &s, LDP_LASSO, &rows, NULL, 1);
    for (int j = 0; j < 8; j++) {
        double gradient = 0;
        for (int i = 0; i < 500; i++) {
            double e = -rows.y[i];
            for (int k = 0; k < 8; k++) e += rows.x[i * 8 + k] * az_item(b, k);
            gradient += rows.x[i * 8 + j] * e / 500;
        }
        if (az_item(b, j) != 0)
            cr_assert_float_eq(gradient, az_item(b, j) > 0 ? -0.05 : 0.05, 1e-10);
        else
            cr_assert_leq(fabs(gradient), 0.05 + 1e-12);
    }
    az_close(az);
}

/* scikit-learn 1.2.1: Lasso(alpha=0.1, fit_intercept=False, tol=1e-12).fit(A, A @ [1, -1, .5, 0, 0, 0] + 0.3 * G(32, 40)) with A = Gm(31,
 * 40, 6). */
Test(ldp, the_lasso_is_that_of_another_program)
{
    static const double want[] = {0.866546207334, -0.929434927045, 0.327193889141, 0, 0, 0}, truth[] = {1, -1, 0.5};
    az_ctx *az = az_open(NULL);
    const double *x = splitmix_normal(az, 31, 240);
    double *y = splitmix_normal(az, 32, 40);
    for (int i = 0; i < 40; i++) {
        y[i] *= 0.3;
        for (int j = 0; j < 3; j++) y[i] += truth[j] * x[i * 6 + j];
    }
    ldp_settings s = settings(6, 1);
    s.lambda = 0.1;
    const az_tensor *b = ldp_simulate(az, &s, LDP_LASSO, &(ldp_rows){.x = x, .y = y, .n = 40, .d = 6}, NULL, 1);
    for (int j = 0; j < 6; j++) cr_assert_float_eq(az_item(b, j), want[j], 1e-9);
    az_close(az);
}

/* Public rows beat none, four times the users halve the error, soft thresholding beats none. Means of four samples each. */
Test(ldp, errors_are_ordered_as_they_should_be)
{
    az_ctx *az = az_open(NULL);
    enum { D = 5, N = 40000, RUNS = 4 };
    double error[4] = {0}; /* nldp, public, iht, public with four times the users */
    ldp_settings s = settings(D, 4);
    for (int r = 0; r < RUNS; r++) {
        az_scope_push(az);
        az_tensor *truth;
        const ldp_rows many = made(az, 4 * N, D, 100 * (uint64_t)r, &truth), few = {.x = many.x, .y = many.y, .n = N, .d = D};
        const az_tensor *open = az_from(az, AZ_F64, 2, (int64_t[]){2000, D}, many.x);
        error[0] += error_of(ldp_simulate(az, &s, LDP_NLDP, &few, NULL, (uint64_t)r), truth) / RUNS;
        error[1] += error_of(ldp_simulate(az, &s, LDP_PUBLIC, &few, open, (uint64_t)r), truth) / RUNS;
        error[2] += error_of(ldp_simulate(az, &s, LDP_IHT, &few, NULL, (uint64_t)r), truth) / RUNS;
        error[3] += error_of(ldp_simulate(az, &s, LDP_PUBLIC, &many, open, (uint64_t)r), truth) / RUNS;
        cr_assert(az_ok(az), "%s", az_error(az));
        az_scope_pop(az);
    }
    cr_assert(error[1] < error[0] && error[2] < error[0], "%g %g %g", error[0], error[1], error[2]);
    cr_assert(error[3] < 0.75 * error[1], "%g %g", error[1], error[3]);
    cr_assert_lt(error[2], 0.5);
    az_close(az);
}

Test(ldp, too_few_users_are_refused_with_the_eigenvalue)
{
    az_ctx *az = az_open(NULL);
    az_tensor *truth;
    const ldp_rows rows = made(az, 200, 10, 3, &truth);
    ldp_settings s = settings(10, 0.5);
    cr_assert_null(ldp_simulate(az, &s, LDP_NLDP, &rows, NULL, 1));
    cr_assert_not_null(strstr(az_error(az), "not positive definite: its smallest eigenvalue is -"), "%s", az_error(az));
    az_clear(az);
    s.ridge = 1e4;
    cr_assert_not_null(ldp_simulate(az, &s, LDP_NLDP, &rows, NULL, 1), "%s", az_error(az));
    az_close(az);
}

Test(ldp, messages_survive_the_way_and_damage_is_seen)
{
    az_ctx *az = az_open(NULL);
    const char *path = test_path(az, test_folder(az), "m");
    double value[3 + 6];
    for (int i = 0; i < 9; i++) value[i] = i - 4.5;
    ldp_envelope e = {.protocol = LDP_NLDP, .settings = settings(3, 1), .d = 3, .round = 2, .user = "ann", .count = 9, .value = value};
    cr_assert(ldp_write(az, &e, path), "%s", az_error(az));
    const ldp_envelope *back = ldp_read(az, path);
    cr_assert_not_null(back, "%s", az_error(az));
    cr_assert_str_eq(back->user, "ann");
    cr_assert(back->round == 2 && back->settings.tau2 == e.settings.tau2 && back->value[8] == 3.5);
    size_t size;
    unsigned char *bytes = (unsigned char *)az_read_file(az, path, &size);
    for (size_t at = 0; at < size; at += 5) {
        bytes[at] ^= 4;
        cr_assert_null(ldp_parse(az, bytes, size));
        cr_assert_not(az_ok(az));
        az_clear(az);
        bytes[at] ^= 4;
    }
    cr_assert_null(ldp_parse(az, bytes, size - 1));
    az_close(az);
}
