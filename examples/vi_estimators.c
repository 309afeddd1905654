/* vi_estimators.c - an objective of one's own, and what each gradient estimator costs in variance.
 *
 * A buyer orders with probability p and then asks for x ~ N(p, 1) pieces; the profit is b (4 - (x - 2)^2) - p / 4. Its expectation is
 * p (3 - (p - 2)^2) - p / 4, with derivative 2.88 at p = 0.7. */
#include <adze/adze.h>
#include <adze/vi.h>

#include <math.h>
#include <stdio.h>

typedef struct strategies {
    az_vi_strategy order, pieces;
} strategies;

static az_tensor *profit(az_vi *vi, void *user)
{
    const strategies *by = user;
    az_ctx *az = az_vi_context(vi);
    az_tensor *p = az_vi_parameter(vi, "p"), *one = az_vi_number(vi, 1);
    az_vi_cost(vi, az_affine(az, p, -0.25, 0)); /* known before the order: REINFORCE does not charge the choice for it */
    az_tensor *b = az_vi_sample(vi, "order", az_vi_flip(p), by->order);
    az_tensor *x = az_vi_sample(vi, "pieces", az_vi_normal(p, one), by->pieces);
    return az_mul(az, b, az_affine(az, az_square(az, az_affine(az, x, 1, -2)), -1, 4));
}

static void compare(az_ctx *az, strategies by)
{
    const az_vi_variable p = {"p", az_scalar(az, AZ_F64, 0.7)};
    const az_vi_problem problem = {.objective = profit, .user = &by, .variable = &p, .variables = 1, .copies = 50000, .each = true};
    az_tensor *gradient;
    if (!az_vi_gradient(az, &problem, 0, NULL, &gradient)) return;
    double sum = 0, square = 0;
    for (int64_t i = 0; i < az_count(gradient); i++) {
        sum += az_item(gradient, i);
        square += az_item(gradient, i) * az_item(gradient, i);
    }
    const double n = (double)az_count(gradient), mean = sum / n, variance = square / n - mean * mean;
    printf("%-14s %-10s %8.4f +- %.4f   variance %7.3f\n", az_vi_strategy_name(by.order), az_vi_strategy_name(by.pieces), mean,
           sqrt(variance / n), variance);
}

int main(void)
{
    static const az_vi_strategy of_order[] = {AZ_VI_ENUM, AZ_VI_MVD, AZ_VI_REINFORCE, AZ_VI_REINFORCE_LOO};
    az_ctx *az = az_open(NULL);
    puts("order          pieces     derivative");
    for (int i = 0; i < 4; i++) compare(az, (strategies){of_order[i], AZ_VI_REPARAM});
    compare(az, (strategies){AZ_VI_ENUM, AZ_VI_REINFORCE});
    compare(az, (strategies){AZ_VI_ENUM, AZ_VI_MVD});
    if (!az_ok(az)) fprintf(stderr, "%s\n", az_error(az));
    const int status = az_ok(az) ? 0 : 2;
    az_close(az);
    return status;
}
