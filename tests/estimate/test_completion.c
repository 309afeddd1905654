/* Matrix completion: known errors of exact alternating minimisation, inexact regressions, noise, refusals. */
#include "claims/low_rank.h"
#include "estimate/completion.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

enum { ROWS = 200, COLUMNS = 150, RANK = 3 };

/* A matrix of rank 3, a quarter of it known, with noise on what is known. */
static low_rank *plant(az_ctx *az, double noise)
{
    return low_rank_new(az, 61, &(low_rank_shape){ROWS, COLUMNS, RANK, 0.25, noise});
}

static const az_completion_how exact = {.rank = RANK, .iterations = 20, .regression = AZ_SOLVE_QR, .most_steps = 50, .sketch = 4};

static double error_after(az_ctx *az, const low_rank *p, az_completion_how how, int64_t iterations, az_completion **out)
{
    how.iterations = iterations;
    az_completion *c = az_complete_alternating(az, p->entries, &how);
    cr_assert(c, "%s", az_error(az));
    if (out) *out = c;
    return low_rank_error(p, c);
}

Test(completion, the_start_and_each_exact_iteration_have_their_known_errors)
{
    az_ctx *az = az_open(NULL);
    const low_rank *p = plant(az, 0);
    az_tensor *u, *s, *v;
    cr_assert_eq(p->entries->count, 7442);
    cr_assert(az_entries_svd(az, p->entries, RANK + 1, 0, &u, &s, &v));
    const double singular[] = {135.095133048, 115.300925465, 100.530105740, 64.233410645};
    for (int i = 0; i < 4; i++) cr_assert_float_eq(az_item(s, i) / (7442.0 / 30000), singular[i], i < 3 ? 1e-7 : 1e-2);
    const double errors[] = {1.30e-1, 3.11e-2, 8.69e-3, 2.62e-3, 8.28e-4, 2.69e-4};
    for (int t = 0; t < 6; t++) cr_assert_float_eq(error_after(az, p, exact, t + 1, NULL), errors[t], 0.01 * errors[t]);
    cr_assert_float_eq(error_after(az, p, exact, 20, NULL), 2.3e-10, 0.05e-10);
    az_completion_how normal = exact;
    normal.regression = AZ_SOLVE_CHOLESKY;
    cr_assert_float_eq(error_after(az, p, normal, 6, NULL), errors[5], 0.01 * errors[5]);
    az_close(az);
}

Test(completion, crude_regressions_converge_as_fast)
{
    az_ctx *az = az_open(NULL);
    const low_rank *p = plant(az, 0);
    const double tolerance[] = {1e-1, 1e-2, 1e-10}, most_error[] = {2e-8, 2e-8, 2e-9}, most_steps[] = {0.2, 0.5, 5};
    for (int i = 0; i < 3; i++) {
        az_completion_how how = exact;
        how.regression = AZ_SOLVE_PCG, how.tolerance = tolerance[i];
        az_completion *c;
        cr_assert_lt(error_after(az, p, how, 19, &c), most_error[i]);
        cr_assert_lt(c->steps, most_steps[i], "%g", c->steps);
    }
    az_close(az);
}

Test(completion, with_noise_it_is_closer_than_soft_thresholding)
{
    az_ctx *az = az_open(NULL);
    const low_rank *p = plant(az, 0.1);
    const double lambda[] = {4}, want[] = {0.217};
    double best = INFINITY;
    for (int i = 0; i < 2; i++) { /* the root of the mean square over what is not known */
        const az_completion *c =
            i < 1 ? az_complete_softimpute(az, p->entries, lambda[i], 400, 1e-5) : az_complete_alternating(az, p->entries, &exact);
        const double error = low_rank_unknown_error(p, c, 0.25);
        if (i < 1) {
            cr_assert_float_eq(error, want[i], 0.002, "lambda %g: %g", lambda[i], error);
            best = fmin(best, error);
        } else {
            cr_assert_float_eq(error, 0.0413, 0.0005, "%g", error);
            cr_assert_leq(error, 0.25 * best);
        }
    }
    az_close(az);
}

Test(completion, one_decomposition_is_the_truncated_one)
{
    az_ctx *az = az_open(NULL);
    const low_rank *p = plant(az, 0);
    const az_completion *c = az_complete_svd(az, p->entries, RANK, 1);
    double norm = 0; /* of U V^T: the three singular values */
    for (int at = 0; at < ROWS * COLUMNS; at++) norm += pow(az_completion_value(c, at / COLUMNS, at % COLUMNS), 2);
    cr_assert_float_eq(sqrt(norm), sqrt(pow(135.095133048, 2) + pow(115.300925465, 2) + pow(100.530105740, 2)), 1e-6);
    az_close(az);
}

Test(completion, too_few_entries_are_refused_unless_there_is_a_ridge)
{
    az_ctx *az = az_open(NULL);
    const low_rank *p = plant(az, 0);
    az_completion_how how = exact;
    how.split = true, how.iterations = 5;
    cr_assert_null(az_complete_alternating(az, p->entries, &how));
    cr_assert_eq(az_status_of(az), AZ_BAD_INPUT);
    cr_assert(strstr(az_error(az), "fewer than the rank 3"), "%s", az_error(az));
    az_clear(az);
    how.ridge = 1e-3;
    cr_assert(az_complete_alternating(az, p->entries, &how), "%s", az_error(az));
    how.rank = COLUMNS + 1;
    cr_assert_null(az_complete_alternating(az, p->entries, &how));
    az_close(az);
}

Test(completion, entries_given_twice_must_agree)
{
    az_ctx *az = az_open(NULL);
    const int64_t row[] = {1, 0, 1}, column[] = {2, 0, 2};
    cr_assert_eq(az_entries_new(az, 2, 3, 3, row, column, (double[]){5, 1, 5})->count, 2);
    cr_assert_null(az_entries_new(az, 2, 3, 3, row, column, (double[]){5, 1, 4}));
    cr_assert(strstr(az_error(az), "row 1, column 2"), "%s", az_error(az));
    az_clear(az);
    cr_assert_null(az_entries_new(az, 2, 2, 3, row, column, (double[]){5, 1, 5}));
    cr_assert(strstr(az_error(az), "outside of a 2 x 2 matrix"), "%s", az_error(az));
    az_clear(az);
    cr_assert_null(az_entries_new(az, 2, 3, 3, row, column, (double[]){5, NAN, 5}));
    az_close(az);
}
