/* grad_cases.c - the checks behind a row of a grad_case table. */
#include "support/grad_cases.h"

#include <criterion/criterion.h>
#include <math.h>

double largest_difference(const az_tensor *a, const az_tensor *b)
{
    if (!az_same_shape(a, b)) return INFINITY;
    double worst = 0, scale = 1;
    for (int64_t i = 0, n = az_count(b); i < n; i++) {
        double difference = fabs(az_item(a, i) - az_item(b, i));
        if (!(difference <= worst)) worst = isnan(difference) ? INFINITY : difference;
        scale = fmax(scale, fabs(az_item(b, i)));
    }
    return worst / scale;
}

static int make_inputs(az_ctx *az, const grad_case *c, az_tensor **x)
{
    int n = 0;
    for (; n < GRAD_CASE_INPUTS && (c->inputs[n].rank > 0 || c->inputs[n].scalar); n++) {
        const grad_shape *s = &c->inputs[n];
        uint64_t stream = az_stream(c->name, (uint64_t)n);
        x[n] = c->low < c->high ? az_rand(az, AZ_F64, s->rank, s->shape, c->low, c->high, 3, stream)
                                : az_randn(az, AZ_F64, s->rank, s->shape, 1, 3, stream);
    }
    return n;
}

/* f's value, and the gradients of <f, w> by all inputs cast to dtype, in the current scope. */
static az_tensor *value_and_gradient(az_ctx *az, const grad_case *c, az_tensor *const *inputs, int n, az_dtype dtype, az_tensor **g,
                                     int flags)
{
    az_tape_open(az);
    az_tensor *x[GRAD_CASE_INPUTS];
    for (int i = 0; i < n; i++) x[i] = az_watch(az, az_cast(az, inputs[i], dtype));
    az_tensor *y = c->f(az, x, n, c->user);
    if (y) az_grad(az, y, az_randn(az, dtype, y->rank, y->shape, 1, 5, 5), (const az_tensor *const *)x, n, g, flags);
    az_tape_close(az);
    return y;
}

void check_grad_case(const grad_case *c)
{
    az_ctx *az = az_open(NULL);
    size_t before = az_memory_now(az);
    az_scope_push(az);
    az_tensor *x[GRAD_CASE_INPUTS], *g64[GRAD_CASE_INPUTS], *other[GRAD_CASE_INPUTS];
    int n = make_inputs(az, c, x);
    double error = az_grad_check(az, c->f, x, n, c->user, !c->first_only);
    cr_assert(az_ok(az), "%s: %s", c->name, az_error(az));
    cr_assert_lt(error, 2e-7, "%s: derivative off by %g", c->name, error);

    const az_tensor *y64 = value_and_gradient(az, c, x, n, AZ_F64, g64, AZ_GRAD_FREE);
    if (!c->first_only) {
        value_and_gradient(az, c, x, n, AZ_F64, other, AZ_GRAD_RECORD);
        for (int i = 0; i < n; i++)
            cr_assert_lt(largest_difference(other[i], g64[i]), 1e-12, "%s: fast and recorded gradient of input %d differ", c->name, i);
    }
    double tolerance = c->f32_tolerance > 0 ? c->f32_tolerance : 2e-5;
    const az_tensor *y32 = value_and_gradient(az, c, x, n, AZ_F32, other, 0);
    cr_assert_eq(y32->dtype, AZ_F32);
    cr_assert_lt(largest_difference(y32, y64), tolerance, "%s: f32 is off by %g", c->name, largest_difference(y32, y64));
    for (int i = 0; i < n; i++) {
        double difference = largest_difference(other[i], g64[i]);
        cr_assert_lt(difference, tolerance, "%s: the f32 gradient of input %d is off by %g", c->name, i, difference);
    }
    cr_assert(az_ok(az), "%s: %s", c->name, az_error(az));
    az_scope_pop(az);
    cr_assert_eq(az_memory_now(az), before, "%s: memory is left behind", c->name);
    az_close(az);
}

void check_grad_cases(const grad_case *table)
{
    for (const grad_case *c = table; c->name; c++) check_grad_case(c);
}
