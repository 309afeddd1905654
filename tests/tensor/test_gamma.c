/* log Gamma and the polygamma functions: values to many digits, derivatives of every order by differences. */
#include "adze/tensor.h"
#include "support/grad_cases.h"

#include <criterion/criterion.h>
#include <math.h>

static az_tensor *log_gamma(az_ctx *az, az_tensor *const *x, int n, void *user)
{
    (void)n, (void)user;
    return az_lgamma(az, x[0]);
}

static az_tensor *digamma(az_ctx *az, az_tensor *const *x, int n, void *user)
{
    (void)n, (void)user;
    return az_polygamma(az, 0, x[0]);
}

static const grad_case cases[] = {
    {.name = "lgamma", .f = log_gamma, .inputs = {{2, {3, 4}}}, .low = 0.5, .high = 4},
    {.name = "digamma", .f = digamma, .inputs = {{1, {5}}}, .low = 0.5, .high = 4, .f32_tolerance = 1e-4},
    {0},
};

Test(gamma_functions, derivatives)
{
    check_grad_cases(cases);
}

Test(gamma_functions, values)
{
    /* order, x, psi^(order)(x): mpmath.polygamma with 40 digits */
    static const struct {
        int order;
        double x, value;
    } known[] = {
        {0, 1, -0.57721566490153286},   {0, 0.01, -100.56088545786867}, {0, 30, 3.3844381326855249},  {1, 0.5, 4.9348022005446793},
        {1, 7.25, 0.14787923315893217}, {2, 3, -0.15411380631918857},   {5, 1.5, 11.113548602435496}, {5, 40, 2.4938943509996702e-7},
    };
    az_ctx *az = az_open(NULL);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const double got = az_to_double(az_polygamma(az, known[i].order, az_scalar(az, AZ_F64, known[i].x)));
        cr_expect(fabs(got / known[i].value - 1) < 1e-13, "order %d at %g: %.17g", known[i].order, known[i].x, got);
    }
    cr_expect_float_eq(az_to_double(az_lgamma(az, az_scalar(az, AZ_F64, 5))), log(24), 1e-14);
    cr_expect(isnan(az_to_double(az_lgamma(az, az_scalar(az, AZ_F64, -1)))));
    az_close(az);
}
