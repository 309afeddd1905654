/* Second and third derivatives against closed forms, Jacobian-vector products, and the compose form of fused operations. */
#include "support/fixtures.h"
#include "support/grad_cases.h"

#include <criterion/criterion.h>
#include <math.h>

static az_tensor *total(az_ctx *az, const az_tensor *x)
{
    return az_sum(az, x, AZ_ALL_AXES, false);
}

/* A x in plain operations, for A [n, n] and x [n]. */
static az_tensor *apply_matrix(az_ctx *az, const az_tensor *a, const az_tensor *x)
{
    return az_sum(az, az_mul(az, a, x), 1, false);
}

/* H of x^T A x is A + A^T, whatever x. */
Test(higher, hessian_of_a_quadratic_form)
{
    az_ctx *az = az_open(NULL);
    enum { N = 6 };
    const az_tensor *a = fixture_normal_tensor(az, 1, 2, (int64_t[]){N, N}), *v = fixture_normal_tensor(az, 2, 1, (int64_t[]){N});
    az_tape_open(az);
    const az_tensor *x = az_watch(az, fixture_normal_tensor(az, 3, 1, (int64_t[]){N}));
    const az_tensor *y = total(az, az_mul(az, x, apply_matrix(az, a, x)));
    az_tensor *hv;
    cr_assert(az_hessian_vector(az, y, &x, &v, 1, &hv), "%s", az_error(az));
    const az_tensor *expected = apply_matrix(az, az_add(az, a, az_transpose(az, a)), v);
    cr_assert_lt(largest_difference(hv, expected), 1e-13);
    cr_assert(!az_hessian_vector(az, y, &x, (const az_tensor *[]){a}, 1, &hv));
    cr_assert_str_eq(az_error(az), "direction 0 has shape [6, 6]; its tensor has [6]");
    az_close(az);
}

/* f(x, y) = sum x^3 y^2: blocks 6 x y^2, 6 x^2 y and 2 x^3 on the diagonals. */
Test(higher, hessian_with_two_blocks)
{
    az_ctx *az = az_open(NULL);
    az_tape_open(az);
    const az_tensor *x = az_watch(az, fixture_normal_tensor(az, 1, 1, (int64_t[]){5})),
                    *y = az_watch(az, fixture_normal_tensor(az, 2, 1, (int64_t[]){5}));
    const az_tensor *u = fixture_normal_tensor(az, 3, 1, (int64_t[]){5}), *v = fixture_normal_tensor(az, 4, 1, (int64_t[]){5});
    const az_tensor *f = total(az, az_mul(az, az_pow(az, x, 3), az_square(az, y)));
    az_tensor *hv[2];
    cr_assert(az_hessian_vector(az, f, (const az_tensor *[]){x, y}, (const az_tensor *[]){u, v}, 2, hv));
    for (int i = 0; i < 5; i++) {
        double a = az_item(x, i), b = az_item(y, i), p = az_item(u, i), q = az_item(v, i);
        cr_assert_float_eq(az_item(hv[0], i), 6 * a * b * b * p + 6 * a * a * b * q, 1e-12);
        cr_assert_float_eq(az_item(hv[1], i), 6 * a * a * b * p + 2 * a * a * a * q, 1e-12);
    }
    /* Linear functions have none. */
    cr_assert(az_hessian_vector(az, total(az, x), &x, &u, 1, hv));
    for (int i = 0; i < 5; i++) cr_assert_eq(az_item(hv[0], i), 0);
    az_close(az);
}

Test(higher, fourth_derivative_of_a_sine)
{
    az_ctx *az = az_open(NULL);
    az_tape_open(az);
    const az_tensor *x = az_watch(az, fixture_normal_tensor(az, 1, 1, (int64_t[]){7})), *y = total(az, az_sin(az, x));
    for (int order = 1; order <= 4; order++) {
        az_tensor *g;
        cr_assert(az_grad(az, y, NULL, &x, 1, &g, AZ_GRAD_RECORD));
        for (int i = 0; i < 7; i++) cr_assert_float_eq(az_item(g, i), sin(az_item(x, i) + order * acos(0)), 1e-14);
        y = total(az, g);
    }
    az_close(az);
}

/* Against central differences of f itself. */
Test(higher, jacobian_vector_product)
{
    az_ctx *az = az_open(NULL);
    const az_tensor *at = fixture_normal_tensor(az, 1, 2, (int64_t[]){3, 4}), *v = fixture_normal_tensor(az, 2, 2, (int64_t[]){3, 4});
    const double h = 1e-5;
    const az_tensor *f[2];
    for (int side = 0; side < 2; side++) {
        const az_tensor *moved = az_add(az, at, az_affine(az, v, side ? h : -h, 0));
        f[side] = az_mul(az, az_softmax(az, moved), az_cumsum(az, az_exp(az, moved), 0));
    }
    az_tape_open(az);
    const az_tensor *x = az_watch(az, at), *y = az_mul(az, az_softmax(az, x), az_cumsum(az, az_exp(az, x), 0));
    const az_tensor *jv = az_jvp(az, y, &x, &v, 1);
    cr_assert(az_ok(az), "%s", az_error(az));
    cr_assert_lt(largest_difference(jv, az_affine(az, az_sub(az, f[1], f[0]), 1 / (2 * h), 0)), 1e-9);
    const az_tensor *constant = az_jvp(az, az_detach(az, y), &x, &v, 1);
    for (int i = 0; i < 12; i++) cr_assert_eq(az_item(constant, i), 0);
    az_close(az);
}

/* ---- an operation with a fast gradient and a compose form ---- */

/* y = x^3 by hand; its gradient reads data directly and so cannot be recorded. */
static az_tensor *cube(az_ctx *az, const az_tensor *x);

static void cube_gradient(az_ctx *az, const az_node *node, const az_tensor *gy, az_tensor **gx)
{
    const az_tensor *x = node->input[0], *seed = az_contiguous(az, gy);
    gx[0] = az_tensor_new(az, AZ_F64, x->rank, x->shape);
    for (int64_t i = 0; i < az_count(x); i++) az_f64_mut(gx[0])[i] = 3 * az_f64(x)[i] * az_f64(x)[i] * az_f64(seed)[i];
}

static az_tensor *cube_compose(az_ctx *az, const az_node *node, az_tensor *const *inputs)
{
    (void)node;
    return az_mul(az, inputs[0], az_square(az, inputs[0]));
}

static az_tensor *cube(az_ctx *az, const az_tensor *x)
{
    static const az_op op = {.name = "cube", .gradient = cube_gradient, .compose = cube_compose};
    az_tensor *y = az_tensor_new(az, AZ_F64, x->rank, x->shape);
    for (int64_t i = 0; i < az_count(x); i++) az_f64_mut(y)[i] = pow(az_f64(x)[i], 3);
    return az_record(az, &op, y, &x, 1, NULL, 0);
}

static az_tensor *cube_of_sine(az_ctx *az, az_tensor *const *x, int n, void *user)
{
    (void)n;
    (void)user;
    return az_mul(az, cube(az, az_sin(az, x[0])), cube(az, x[0])); /* the compose form is met twice in one walk */
}

Test(higher, compose_takes_over_when_recording)
{
    az_ctx *az = az_open(NULL);
    az_tensor *x = fixture_normal_tensor(az, 1, 1, (int64_t[]){6});
    double error = az_grad_check(az, cube_of_sine, &x, 1, NULL, true);
    cr_assert(az_ok(az), "%s", az_error(az));
    cr_assert_lt(error, 1e-7);
    az_close(az);
}

/* The check itself must notice a wrong derivative. */
static void wrong_gradient(az_ctx *az, const az_node *node, const az_tensor *gy, az_tensor **gx)
{
    (void)node;
    gx[0] = az_affine(az, gy, 2.001, 0);
}

static az_tensor *wrongly_doubled(az_ctx *az, az_tensor *const *x, int n, void *user)
{
    static const az_op op = {.name = "wrong", .gradient = wrong_gradient};
    (void)n;
    (void)user;
    az_tape_pause(az);
    az_tensor *y = az_affine(az, x[0], 2, 0);
    az_tape_resume(az);
    return az_record(az, &op, y, (const az_tensor *const *)x, 1, NULL, 0);
}

Test(higher, a_wrong_derivative_is_noticed)
{
    az_ctx *az = az_open(NULL);
    az_tensor *x = az_full(az, AZ_F64, 1, (int64_t[]){4}, 1);
    cr_assert_gt(az_grad_check(az, wrongly_doubled, &x, 1, NULL, false), 1e-4);
    az_close(az);
}
