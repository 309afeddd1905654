/* L-BFGS on functions whose minima are known, with and without bounds. */
#include "adze/optim.h"

#include <criterion/criterion.h>
#include <math.h>

static const az_lbfgs_options plain = {.memory = 10, .iterations = 1000, .gradient_tolerance = 1e-9};

/* sum 100 (x_{i+1} - x_i^2)^2 + (1 - x_i)^2: minimum 0 at ones. */
static double rosenbrock(az_ctx *az, const double *x, double *gradient, void *user)
{
    (void)az;
    const int n = *(const int *)user;
    double sum = 0;
    for (int i = 0; i < n; i++) gradient[i] = 0;
    for (int i = 0; i + 1 < n; i++) {
        const double a = x[i + 1] - x[i] * x[i], b = 1 - x[i];
        sum += 100 * a * a + b * b;
        gradient[i] -= 400 * a * x[i] + 2 * b;
        gradient[i + 1] += 200 * a;
    }
    return sum;
}

Test(lbfgs, finds_the_end_of_a_curved_valley)
{
    az_ctx *az = az_open(NULL);
    int n = 20;
    double x[20];
    for (int i = 0; i < n; i++) x[i] = i % 2 ? 1 : -1.2;
    const az_lbfgs_result result = az_lbfgs(az, rosenbrock, &n, n, x, &plain);
    cr_assert(result.converged);
    cr_assert_lt(result.evaluations, 400);
    for (int i = 0; i < n; i++) cr_assert_float_eq(x[i], 1, 1e-8);
    az_close(az);
}

/* (x - c)^T A (x - c) / 2 with A tridiagonal (2, -1): with x >= 0 the minimum satisfies the optimality conditions. */
static double quadratic(az_ctx *az, const double *x, double *gradient, void *user)
{
    (void)az;
    enum { N = 12 };
    const double *c = user;
    double sum = 0;
    for (int i = 0; i < N; i++) {
        const double left = i > 0 ? x[i - 1] - c[i - 1] : 0, right = i + 1 < N ? x[i + 1] - c[i + 1] : 0;
        gradient[i] = 2 * (x[i] - c[i]) - left - right;
        sum += 0.5 * (x[i] - c[i]) * gradient[i];
    }
    return sum;
}

Test(lbfgs, bounds_hold_and_the_conditions_of_optimality_too)
{
    az_ctx *az = az_open(NULL);
    double x[12], gradient[12], c[12];
    int at_bound = 0;
    for (int i = 0; i < 12; i++) c[i] = sin(3.0 * i), x[i] = 1;
    az_lbfgs_options how = plain;
    how.nonnegative = true;
    cr_assert(az_lbfgs(az, quadratic, c, 12, x, &how).converged);
    quadratic(az, x, gradient, c);
    for (int i = 0; i < 12; i++) {
        cr_assert_geq(x[i], 0);
        cr_assert(x[i] > 0 ? fabs(gradient[i]) < 1e-8 : gradient[i] >= -1e-8, "%d: x %g, slope %g", i, x[i], gradient[i]);
        at_bound += x[i] == 0;
    }
    cr_assert(at_bound > 2 && at_bound < 10);
    az_close(az);
}

static double not_a_number(az_ctx *az, const double *x, double *gradient, void *user)
{
    (void)az, (void)user;
    gradient[0] = 1;
    return x[0] < 1 ? NAN : x[0];
}

Test(lbfgs, stops_where_no_step_goes_down)
{
    az_ctx *az = az_open(NULL);
    double x[1] = {1};
    const az_lbfgs_result result = az_lbfgs(az, not_a_number, NULL, 1, x, &plain);
    cr_assert(az_ok(az) && !result.converged);
    cr_assert_eq(x[0], 1);
    az_lbfgs(az, not_a_number, NULL, 0, x, &plain);
    cr_assert_eq(az_status_of(az), AZ_BAD_CALL);
    az_close(az);
}
