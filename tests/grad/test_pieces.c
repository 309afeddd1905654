/* A sum of pieces whose gradients are taken at once has the value and the derivatives of the plain sum, from less memory. */
#include "support/grad_cases.h"

#include <criterion/criterion.h>

enum { PIECES = 20, LENGTH = 40000 };

/* x [n], scale [n] -> the sum of tanh of a multiple of x scale; user counts the calls. */
static az_tensor *piece(az_ctx *az, az_tensor *const *inputs, int n, int64_t k, void *user)
{
    (void)n;
    if (user) ++*(int *)user;
    return az_sum(az, az_tanh(az, az_affine(az, az_mul(az, inputs[0], inputs[1]), 0.5 + 0.1 * (double)k, 0.1)), AZ_ALL_AXES, false);
}

static az_tensor *plain(az_ctx *az, az_tensor *const *inputs, int n, void *user)
{
    az_tensor *total = piece(az, inputs, n, 0, user);
    for (int64_t k = 1; k < PIECES; k++) total = az_add(az, total, piece(az, inputs, n, k, user));
    return total;
}

static az_tensor *at_once(az_ctx *az, az_tensor *const *inputs, int n, void *user)
{
    return az_sum_at_once(az, piece, PIECES, inputs, n, user);
}

/* The value and the gradients of its square by both inputs; returns the memory that the tape holds before the gradient is taken. */
static size_t run(az_ctx *az, az_segment f, void *user, az_tensor *result[3])
{
    az_scope_push(az);
    az_tape_open(az);
    az_tensor *x[] = {az_watch(az, az_randn(az, AZ_F64, 1, (int64_t[]){LENGTH}, 1, 1, 1)),
                      az_watch(az, az_randn(az, AZ_F64, 1, (int64_t[]){LENGTH}, 1, 1, 2))};
    az_scope_push(az);
    result[0] = az_keep(az, f(az, x, 2, user));
    const size_t held = az_memory_now(az);
    az_grad(az, az_square(az, result[0]), NULL, (const az_tensor *const *)x, 2, result + 1, AZ_GRAD_FREE);
    az_tape_close(az);
    az_keep_all(az, result, 3);
    return held;
}

Test(pieces, equal_the_plain_sum)
{
    az_ctx *az = az_open(NULL);
    az_tensor *a[3], *b[3];
    int calls = 0;
    const size_t held_plain = run(az, plain, NULL, a), held = run(az, at_once, &calls, b);
    cr_assert(az_ok(az), "%s", az_error(az));
    cr_assert_eq(calls, PIECES);
    cr_assert_lt(held, held_plain / 2);
    for (int i = 0; i < 3; i++) cr_assert_lt(largest_difference(b[i], a[i]), 1e-9);
    az_close(az);
}

Test(pieces, have_derivatives_of_both_orders)
{
    check_grad_cases((const grad_case[]){
        {.name = "sum at once", .f = at_once, .inputs = {{1, {4}}, {1, {4}}}},
        {0},
    });
}

/* An input that nothing watches gets no gradient; without a tape there is none at all. */
Test(pieces, leave_constants_alone)
{
    az_ctx *az = az_open(NULL);
    az_tensor *x = az_full(az, AZ_F64, 1, (int64_t[]){3}, 0.5), *g;
    const az_tensor *constant = az_sum_at_once(az, piece, PIECES, (az_tensor *[]){x, x}, 2, NULL);
    cr_assert(constant && !constant->node);
    az_tape_open(az);
    az_tensor *watched = az_watch(az, x);
    const az_tensor *y = az_sum_at_once(az, piece, PIECES, (az_tensor *[]){x, watched}, 2, NULL);
    cr_assert_float_eq(az_to_double(y), az_to_double(constant), 1e-15);
    cr_assert(az_grad(az, y, NULL, (const az_tensor *[]){watched}, 1, &g, 0), "%s", az_error(az));
    az_tape_close(az);
    cr_assert_null(az_sum_at_once(az, piece, 0, (az_tensor *[]){x, x}, 2, NULL));
    cr_assert_eq(az_status_of(az), AZ_BAD_CALL);
    az_close(az);
}
