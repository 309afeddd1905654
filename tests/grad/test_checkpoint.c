/* A checkpointed segment gives the numbers of the plain one, bit for bit, from less memory. */
#include "support/grad_cases.h"

#include <criterion/criterion.h>

/* x [n], scale [n] -> x + layers of tanh(scale * x); user counts the calls. */
static az_tensor *block(az_ctx *az, az_tensor *const *inputs, int n, void *user)
{
    (void)n;
    if (user) ++*(int *)user;
    az_tensor *x = inputs[0];
    for (int i = 0; i < 6; i++) x = az_tanh(az, az_mul(az, inputs[1], az_affine(az, x, 1.5, 0.1)));
    return az_softmax(az, x);
}

static az_tensor *checkpointed(az_ctx *az, az_tensor *const *inputs, int n, void *user)
{
    az_tensor *y = inputs[0];
    for (int i = 0; i < 3; i++) y = az_checkpoint(az, block, (az_tensor *[]){y, inputs[1]}, n, user);
    return y;
}

static az_tensor *plain(az_ctx *az, az_tensor *const *inputs, int n, void *user)
{
    az_tensor *y = inputs[0];
    for (int i = 0; i < 3; i++) y = block(az, (az_tensor *[]){y, inputs[1]}, n, user);
    return y;
}

/* The output and the gradients by both inputs; returns the memory that the tape holds before the gradient is taken. */
static size_t run(az_ctx *az, az_segment f, az_dtype dtype, void *user, az_tensor *result[3])
{
    az_scope_push(az);
    az_tape_open(az);
    az_tensor *x[] = {az_watch(az, az_randn(az, dtype, 1, (int64_t[]){40000}, 1, 1, 1)),
                      az_watch(az, az_randn(az, dtype, 1, (int64_t[]){40000}, 1, 1, 2))};
    az_scope_push(az);
    result[0] = az_keep(az, f(az, x, 2, user));
    size_t held = az_memory_now(az);
    az_grad(az, result[0], az_randn(az, dtype, 1, (int64_t[]){40000}, 1, 1, 3), (const az_tensor *const *)x, 2, result + 1, 0);
    az_tape_close(az);
    az_keep_all(az, result, 3);
    return held;
}

Test(checkpoint, equals_the_plain_segment_bit_for_bit)
{
    for (int type = AZ_F32; type <= AZ_F64; type++) {
        az_ctx *az = az_open(NULL);
        az_tensor *a[3], *b[3];
        int calls = 0;
        size_t held_plain = run(az, plain, (az_dtype)type, NULL, a);
        size_t held = run(az, checkpointed, (az_dtype)type, &calls, b);
        cr_assert(az_ok(az), "%s", az_error(az));
        cr_assert_eq(calls, 6); /* three forward, three again */
        cr_assert_lt(held, held_plain / 2);
        cr_assert_arr_eq(a[0]->data, b[0]->data, 40000 * az_dtype_size((az_dtype)type));
        cr_assert_arr_eq(a[1]->data, b[1]->data, 40000 * az_dtype_size((az_dtype)type));
        cr_assert_lt(largest_difference(b[2], a[2]), type == AZ_F32 ? 1e-6 : 1e-15); /* summed in another order over the blocks */
        az_close(az);
    }
}

static az_tensor *last_of_three(az_ctx *az, az_tensor *const *inputs, int n, void *user)
{
    (void)user;
    az_tensor *once = az_checkpoint(az, block, inputs, n, NULL);
    return az_mul(az, once, inputs[0]);
}

static az_tensor *identity(az_ctx *az, az_tensor *const *inputs, int n, void *user)
{
    (void)az;
    (void)n;
    (void)user;
    return inputs[0];
}

static az_tensor *nested(az_ctx *az, az_tensor *const *inputs, int n, void *user)
{
    az_tensor *same = az_checkpoint(az, identity, inputs, n, user);
    return az_checkpoint(az, last_of_three, (az_tensor *[]){same, inputs[1]}, n, user);
}

Test(checkpoint, has_derivatives_of_both_orders_and_nests)
{
    check_grad_cases((const grad_case[]){
        {.name = "checkpoint", .f = checkpointed, .inputs = {{2, {2, 3}}, {1, {3}}}},
        {.name = "nested checkpoint", .f = nested, .inputs = {{2, {2, 3}}, {1, {3}}}},
        {0},
    });
}

Test(checkpoint, is_the_segment_itself_without_a_tape)
{
    az_ctx *az = az_open(NULL);
    int calls = 0;
    az_tensor *x = az_full(az, AZ_F64, 1, (int64_t[]){3}, 0.5);
    const az_tensor *y = az_checkpoint(az, block, (az_tensor *[]){x, x}, 2, &calls);
    cr_assert_eq(calls, 1);
    cr_assert(y && !y->node);
    az_close(az);
}
