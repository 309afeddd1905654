/* Regressions: closed forms, R's numbers, scores that vanish, and designs that cannot be solved. */
#include "adze/data.h"
#include "adze/linalg.h"
#include "claims/splitmix.h"
#include "support/matrix.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

/* y on an intercept and two columns. */
static void made(az_ctx *az, int64_t n, bool binary, az_tensor **x, az_tensor **y)
{
    const double *a = splitmix_normal(az, 1, n), *b = splitmix_uniform(az, 2, n), *e = splitmix_normal(az, 3, n),
                 *u = splitmix_uniform(az, 4, n);
    *x = az_new2(az, AZ_F64, n, 3);
    *y = az_new1(az, AZ_F64, n);
    for (int64_t i = 0; i < n; i++) {
        memcpy(az_f64_mut(*x) + 3 * i, (double[]){1, a[i], 100 * b[i]}, 3 * sizeof(double));
        const double eta = 0.5 + a[i] - 0.01 * 100 * b[i];
        az_f64_mut(*y)[i] = binary ? u[i] < 1 / (1 + exp(-eta)) : eta + e[i] * (1 + b[i]);
    }
}

Test(regress, least_squares_is_that_of_the_svd)
{
    az_ctx *az = az_open(NULL);
    az_tensor *x, *y;
    made(az, 200, false, &x, &y);
    const az_regression *r = az_regress(az, x, y, NULL);
    cr_assert_not_null(r, "%s", az_error(az));
    cr_assert_lt(matrix_difference(r->coefficient, az_least_squares(az, x, y, -1)), 1e-13);
    az_close(az);
}

/* HC0 and HC3 against the formulas written out; classical against sigma^2 (X'X)^-1. */
Test(regress, variances_are_their_formulas)
{
    az_ctx *az = az_open(NULL);
    az_tensor *x, *y;
    made(az, 50, false, &x, &y);
    const az_tensor *inverse = az_inverse(az, az_matmul(az, az_transpose(az, x), x));
    for (int v = AZ_HC0; v <= AZ_CLASSICAL; v++) {
        const az_regression *r = az_regress(az, x, y, &(az_regression_how){.variance = (az_variance)v});
        double meat[9] = {0}, sum = 0;
        for (int i = 0; i < 50; i++) {
            const double *row = az_f64(x) + 3 * i;
            double h = 0, e = az_f64(r->residual)[i];
            for (int j = 0; j < 9; j++) h += row[j / 3] * az_f64(inverse)[j] * row[j % 3];
            sum += e * e;
            if (v == AZ_HC3) e /= 1 - h;
            for (int j = 0; j < 9; j++) meat[j] += row[j / 3] * row[j % 3] * e * e * (v == AZ_HC1 ? 50.0 / 47 : 1);
        }
        const az_tensor *middle = az_from(az, AZ_F64, 2, (int64_t[]){3, 3}, meat);
        const az_tensor *expected =
            v == AZ_CLASSICAL ? az_affine(az, inverse, sum / 47, 0) : az_matmul(az, inverse, az_matmul(az, middle, inverse));
        cr_assert_lt(matrix_difference(r->covariance, expected), 1e-12, "variance %d", v);
    }
    az_close(az);
}

/* lm and glm(binomial) of R 4.2, vcov, vcovHC(type = "HC0", "HC1", "HC3") and vcovCL(type = "HC0", cadjust = FALSE; "HC1") of sandwich 3.0.
 */
Test(regress, numbers_of_r)
{
    static const double x[] = {.5, -1.2, .3, 2.2, -.7, .1, .9, -.4, -.2, 1.5, .8, -1.1}, z[] = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8};
    static const double outcome[] = {1, 0, 1, 1, 0, 0, 1, 0, 1, 1, 0, 1};
    static const int64_t cluster[] = {0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3};
    static const struct {
        az_variance variance;
        bool clustered;
        double se[2][3];
    } cases[] = {
        {AZ_HC0, false, {{.264865719528, .127346835657, .0603828280808}, {1.19335677829, .804102004313, .280437307233}}},
        {AZ_HC1, false, {{.305840588937, .147047459694, .0697240840938}, {1.37796971438, .928497017292, .323821109644}}},
        {AZ_HC3, false, {{.677363067875, .296720734684, .132440238865}, {2.97706944661, 1.57497124799, .598191900061}}},
        {AZ_CLASSICAL, false, {{.342089909539, .165583668255, .0671521580179}, {1.48676214317, .830608083352, .285348071407}}},
        {AZ_HC0, true, {{.151825889873, .126887500316, .0452853863222}, {.830710465308, .956029556928, .22834268943}}},
        {AZ_HC1, true, {{.193816296831, .161980709917, .0578099419334}, {1.06045962424, 1.22043815149, .291495307624}}},
    };
    static const double coefficient[2][3] = {{.663796473572, .186846563286, -.0282700654564}, {.90618460015, .99126967321, -.150069376915}};
    az_ctx *az = az_open(NULL);
    az_tensor *design = az_new2(az, AZ_F64, 12, 3), *y = az_from(az, AZ_F64, 1, (int64_t[]){12}, outcome);
    for (int i = 0; i < 12; i++) memcpy(az_f64_mut(design) + 3 * i, (double[]){1, x[i], z[i]}, 3 * sizeof(double));
    for (size_t i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
        const size_t k = i / 2, link = i % 2;
        const az_regression *r = az_regress(
            az, design, y,
            &(az_regression_how){.link = (az_link)link, .variance = cases[k].variance, .cluster = cases[k].clustered ? cluster : NULL});
        cr_assert_not_null(r, "%s", az_error(az));
        for (int j = 0; j < 3; j++) {
            cr_assert_float_eq(az_item(r->coefficient, j), coefficient[link][j], 1e-10);
            cr_assert_float_eq(sqrt(az_item(r->covariance, 4 * j)), cases[k].se[link][j], 1e-9, "case %d, %d", (int)i, j);
        }
    }
    az_close(az);
}

Test(regress, clusters_of_one_row_change_nothing_and_doubled_rows_make_clusters)
{
    az_ctx *az = az_open(NULL);
    az_tensor *x, *y;
    made(az, 60, true, &x, &y);
    int64_t own[60], twice[120];
    for (int i = 0; i < 60; i++) own[i] = twice[i] = twice[60 + i] = 59 - i;
    const az_regression_how how = {.link = AZ_LINK_LOGIT}, with_own = {.link = AZ_LINK_LOGIT, .cluster = own},
                            doubled = {.link = AZ_LINK_LOGIT, .cluster = twice};
    const az_regression *a = az_regress(az, x, y, &how), *b = az_regress(az, x, y, &with_own);
    const az_regression *c =
        az_regress(az, az_concat(az, (az_tensor *[]){x, x}, 2, 0), az_concat(az, (az_tensor *[]){y, y}, 2, 0), &doubled);
    cr_assert(az_ok(az), "%s", az_error(az));
    cr_assert_lt(matrix_difference(a->covariance, b->covariance), 1e-15);
    cr_assert_lt(matrix_difference(a->covariance, c->covariance), 1e-12);
    az_close(az);
}

Test(regress, scores_vanish_with_weights_of_either_sign_and_outcomes_outside)
{
    az_ctx *az = az_open(NULL);
    az_tensor *x, *y;
    made(az, 300, true, &x, &y);
    double weight[300], score[3] = {0};
    const double *u = splitmix_uniform(az, 9, 300);
    for (int i = 0; i < 300; i++) {
        weight[i] = u[i] < 0.1 ? -1 : 1 + u[i];
        if (i % 10 == 0) az_f64_mut(y)[i] = 1.7;
    }
    const az_regression *r = az_regress(az, x, y, &(az_regression_how){.link = AZ_LINK_LOGIT, .weight = weight});
    cr_assert_not_null(r, "%s", az_error(az));
    for (int i = 0; i < 900; i++) score[i % 3] += weight[i / 3] * az_f64(r->residual)[i / 3] * az_f64(x)[i];
    for (int j = 0; j < 3; j++) cr_assert_lt(fabs(score[j]), 1e-8, "score %d is %g", j, score[j]);
    az_close(az);
}

Test(regress, a_ridge_shrinks_and_spares_the_intercept)
{
    az_ctx *az = az_open(NULL);
    az_tensor *x, *y;
    made(az, 100, false, &x, &y);
    const az_regression *r = az_regress(az, x, y, &(az_regression_how){.ridge = 1e9});
    double mean = 0;
    for (int i = 0; i < 100; i++) mean += az_f64(y)[i] / 100;
    cr_assert_float_eq(az_item(r->coefficient, 0), mean, 1e-6);
    cr_assert_lt(fabs(az_item(r->coefficient, 1)), 1e-6);
    az_close(az);
}

Test(regress, what_has_no_solution_is_told)
{
    az_ctx *az = az_open(NULL);
    az_tensor *x, *y;
    static const char *const names[] = {"one", "a", "b"};
    made(az, 40, true, &x, &y);
    for (int i = 0; i < 40; i++) az_f64_mut(x)[3 * i + 2] = 2 - 3 * az_f64(x)[3 * i + 1];
    cr_assert_null(az_regress(az, x, y, &(az_regression_how){.name = names}));
    cr_assert_not_null(strstr(az_error(az), "columns that the ones before them determine: b"), "%s", az_error(az));
    az_clear(az);
    for (int i = 0; i < 40; i++) az_f64_mut(x)[3 * i + 2] = 0;
    cr_assert_null(az_regress(az, x, y, &(az_regression_how){.name = names}));
    cr_assert_not_null(strstr(az_error(az), "column b is zero in all rows"), "%s", az_error(az));
    az_clear(az);
    for (int i = 0; i < 40; i++) az_f64_mut(x)[3 * i + 2] = i * 1e-200;
    cr_assert_null(az_regress(az, x, y, &(az_regression_how){.name = names}));
    cr_assert_not_null(strstr(az_error(az), "column b: its numbers are too small for their squares"), "%s", az_error(az));
    az_clear(az);
    for (int i = 0; i < 40; i++) az_f64_mut(x)[3 * i + 2] = 10 * az_f64(y)[i] - 5;
    cr_assert_null(az_regress(az, x, y, &(az_regression_how){.link = AZ_LINK_LOGIT}));
    cr_assert_not_null(strstr(az_error(az), "separate the classes"), "%s", az_error(az));
    az_close(az);
}
