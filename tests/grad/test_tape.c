/* The tape and az_grad: what is tracked and when, scopes that come and go, memory that comes back, and what is refused. */
#include "adze/grad.h"
#include "support/grad_cases.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

static az_tensor *vector(az_ctx *az, int64_t n, uint64_t stream)
{
    return az_randn(az, AZ_F64, 1, &n, 1, 1, stream);
}

static az_tensor *total(az_ctx *az, const az_tensor *x)
{
    return az_sum(az, x, AZ_ALL_AXES, false);
}

static az_tensor *gradient(az_ctx *az, const az_tensor *y, const az_tensor *x, int flags)
{
    az_tensor *g;
    az_grad(az, y, NULL, &x, 1, &g, flags);
    return g;
}

Test(tape, nothing_is_tracked_without_one)
{
    az_ctx *az = az_open(NULL);
    const az_tensor *x = vector(az, 3, 1), *y = az_exp(az, x);
    cr_assert(!az_tape_is_open(az) && !az_tracked(az, &x, 1) && !y->node);
    cr_assert_null(az_watch(az, x));
    cr_assert_str_eq(az_error(az), "az_watch: no tape is open");
    az_clear(az);
    cr_assert(!az_grad(az, y, x, &x, 1, (az_tensor *[]){NULL}, 0));
    cr_assert_str_eq(az_error(az), "az_grad: no tape is open");
    az_close(az);
}

Test(tape, gradients_of_several_tensors_and_of_intermediate_results)
{
    az_ctx *az = az_open(NULL);
    az_tape_open(az);
    az_tensor *a = az_watch(az, vector(az, 4, 1)), *b = az_watch(az, vector(az, 4, 2)), *unused = az_watch(az, vector(az, 2, 3));
    az_tensor *product = az_mul(az, a, b), *y = total(az, az_square(az, product)), *g[5];
    cr_assert(az_grad(az, y, NULL, (const az_tensor *[]){a, b, product, unused, a}, 5, g, 0));
    for (int i = 0; i < 4; i++) {
        double p = az_item(product, i);
        cr_assert_float_eq(az_item(g[0], i), 2 * p * az_item(b, i), 1e-14);
        cr_assert_float_eq(az_item(g[1], i), 2 * p * az_item(a, i), 1e-14);
        cr_assert_float_eq(az_item(g[2], i), 2 * p, 1e-14);
        cr_assert_eq(az_item(g[4], i), az_item(g[0], i));
    }
    cr_assert_eq(az_item(g[3], 1), 0);
    cr_assert(!g[0]->node && g[0]->buffer != g[4]->buffer);
    az_tape_close(az);
    cr_assert_float_eq(az_item(g[2], 0), 2 * az_item(product, 0), 1e-14);
    az_close(az);
}

Test(tape, a_seed_weights_the_outputs)
{
    az_ctx *az = az_open(NULL);
    az_tape_open(az);
    const az_tensor *x = az_watch(az, vector(az, 3, 1)), *y = az_exp(az, x), *seed = vector(az, 3, 2);
    az_tensor *g;
    cr_assert(az_grad(az, y, seed, &x, 1, &g, 0));
    for (int i = 0; i < 3; i++) cr_assert_float_eq(az_item(g, i), az_item(seed, i) * exp(az_item(x, i)), 1e-14);
    cr_assert(!az_grad(az, y, NULL, &x, 1, &g, 0));
    cr_assert_str_eq(az_error(az), "az_grad: y has shape [3]; without a seed it must be a scalar");
    az_clear(az);
    cr_assert(!az_grad(az, y, vector(az, 4, 1), &x, 1, &g, 0));
    cr_assert_str_eq(az_error(az), "az_grad: seed f64 [4] for y f64 [3]");
    az_clear(az);
    const az_tensor *stranger = vector(az, 3, 1);
    cr_assert(!az_grad(az, y, seed, &stranger, 1, &g, 0));
    cr_assert_str_eq(az_error(az), "az_grad: x[0] is not on the open tape (see az_watch)");
    cr_assert_null(g);
    az_close(az);
}

/* The sum's gradient is one number stretched over x; what comes out must be ordinary memory that can be written. */
Test(tape, gradients_own_their_memory)
{
    az_ctx *az = az_open(NULL);
    az_tape_open(az);
    az_tensor *a = az_watch(az, vector(az, 4, 1)), *b = az_watch(az, vector(az, 4, 2)), *g[2];
    cr_assert(az_grad(az, total(az, az_add(az, a, b)), NULL, (const az_tensor *[]){a, b}, 2, g, 0));
    cr_assert(az_is_contiguous(g[0]) && az_is_contiguous(g[1]));
    az_f64_mut(g[0])[2] = 5;
    for (int i = 0; i < 4; i++) {
        cr_assert_eq(az_item(g[0], i), i == 2 ? 5 : 1);
        cr_assert_eq(az_item(g[1], i), 1);
    }
    const az_tensor *seed = vector(az, 4, 3);
    cr_assert(az_grad(az, a, seed, (const az_tensor *[]){a}, 1, g, 0));
    cr_assert_neq(g[0]->data, seed->data);
    az_close(az);
}

Test(tape, scopes_may_be_popped_while_it_is_open)
{
    az_ctx *az = az_open(NULL);
    az_tape_open(az);
    az_tensor *x = az_watch(az, vector(az, 1000, 1)), *y = x;
    for (int layer = 0; layer < 5; layer++) {
        az_scope_push(az);
        az_tensor *inside = az_sin(az, az_affine(az, y, 1.5, 0.1));
        vector(az, 100000, 9); /* takes the place of what was given back */
        y = az_keep(az, az_mul(az, az_where(az, y, inside, y), az_max(az, az_reshape(az, y, 2, (int64_t[]){10, 100}), AZ_ALL_AXES, true)));
        y = az_reshape(az, y, 1, (int64_t[]){1000});
    }
    az_tensor *all_at_once = az_watch(az, x), *z = all_at_once;
    for (int layer = 0; layer < 5; layer++) {
        az_tensor *inside = az_sin(az, az_affine(az, z, 1.5, 0.1));
        z = az_mul(az, az_where(az, z, inside, z), az_max(az, z, 0, true));
    }
    cr_assert(az_ok(az), "%s", az_error(az));
    const az_tensor *g = gradient(az, total(az, y), x, 0), *expected = gradient(az, total(az, z), all_at_once, 0);
    cr_assert_leq(largest_difference(g, expected), 0);
    az_close(az);
}

Test(tape, pauses_nest_and_give_constants)
{
    az_ctx *az = az_open(NULL);
    az_tape_open(az);
    const az_tensor *x = az_watch(az, vector(az, 3, 1));
    az_tape_pause(az);
    az_tape_pause(az);
    az_tape_resume(az);
    cr_assert(!az_recording(az));
    const az_tensor *constant = az_exp(az, x);
    az_tape_resume(az);
    cr_assert(az_recording(az) && !constant->node);
    const az_tensor *g = gradient(az, total(az, az_mul(az, constant, x)), x, 0);
    const az_tensor *detached = gradient(az, total(az, az_mul(az, az_detach(az, az_exp(az, x)), x)), x, 0);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(az_item(g, i), az_item(constant, i));
        cr_assert_eq(az_item(detached, i), az_item(constant, i));
        cr_assert_eq(az_item(gradient(az, total(az, az_detach(az, x)), x, 0), i), 0);
    }
    az_close(az);
}

/* A header that outlives its tape is a constant, also on a later tape whose memory is the same. */
Test(tape, closing_makes_constants)
{
    az_ctx *az = az_open(NULL);
    az_tape_open(az);
    az_scope_push(az);
    az_tensor *kept = az_keep(az, az_exp(az, az_watch(az, vector(az, 3, 1))));
    az_tape_close(az);
    az_tape_open(az);
    const az_tensor *x = az_watch(az, vector(az, 3, 2)), *product = az_mul(az, kept, x);
    cr_assert(!az_tracked(az, (const az_tensor *[]){kept}, 1));
    const az_tensor *g = gradient(az, total(az, product), x, 0);
    for (int i = 0; i < 3; i++) cr_assert_eq(az_item(g, i), az_item(kept, i));
    az_close(az);
}

Test(tape, inner_tapes_see_outer_results_as_constants)
{
    az_ctx *az = az_open(NULL);
    az_tape_open(az);
    const az_tensor *x = az_watch(az, vector(az, 3, 1)), *outer = az_square(az, x);
    az_tape_open(az);
    const az_tensor *v = az_watch(az, x), *inner = total(az, az_mul(az, v, outer)), *g = gradient(az, inner, v, 0);
    for (int i = 0; i < 3; i++) cr_assert_eq(az_item(g, i), az_item(outer, i));
    az_tape_close(az);
    const az_tensor *h = gradient(az, total(az, az_mul(az, x, outer)), x, 0);
    for (int i = 0; i < 3; i++) cr_assert_float_eq(az_item(h, i), 3 * az_item(outer, i), 1e-14);
    az_close(az);
}

/* ---- memory ---- */

static az_tensor *deep(az_ctx *az, az_tensor *x, int layers)
{
    for (int i = 0; i < layers; i++) {
        az_scope_push(az);
        x = az_keep(az, az_tanh(az, az_affine(az, x, 1.1, 0)));
    }
    return x;
}

Test(memory, comes_back_when_the_tape_closes)
{
    az_ctx *az = az_open(NULL);
    az_tensor *x = vector(az, 50000, 1);
    size_t before = az_memory_now(az);
    for (int flags = 0; flags <= AZ_GRAD_FREE; flags++) {
        az_scope_push(az);
        az_tape_open(az);
        const az_tensor *w = az_watch(az, x);
        cr_assert_not_null(gradient(az, total(az, deep(az, (az_tensor *)w, 10)), w, flags));
        az_tape_close(az);
        az_scope_pop(az);
        cr_assert_eq(az_memory_now(az), before);
    }
    az_close(az);
}

/* Of affine and tanh only the output of tanh is read again: one activation a layer stays. */
Test(memory, only_what_gradients_read_is_kept)
{
    az_ctx *az = az_open(NULL);
    enum { N = 50000, LAYERS = 20 };
    const size_t bytes = N * sizeof(double);
    az_tensor *x = vector(az, N, 1);
    size_t before = az_memory_now(az);
    az_scope_push(az);
    az_tape_open(az);
    az_tensor *w = az_watch(az, x);
    az_scope_push(az);
    az_tensor *y = az_keep(az, total(az, deep(az, w, LAYERS)));
    cr_assert_leq(az_memory_now(az), before + (LAYERS + 1) * bytes * 5 / 4);
    az_memory_reset_peak(az);
    cr_assert_not_null(gradient(az, y, w, AZ_GRAD_FREE));
    cr_assert_leq(az_memory_now(az), before + 2 * bytes); /* the gradient itself */
    cr_assert_leq(az_memory_peak(az), before + (LAYERS + 4) * bytes * 5 / 4);
    az_tensor *again;
    cr_assert(!az_grad(az, y, NULL, (const az_tensor *[]){w}, 1, &again, 0));
    cr_assert_str_eq(az_error(az), "az_grad: the tape was given back by an earlier AZ_GRAD_FREE");
    az_close(az);
}

Test(memory, exhaustion_in_the_middle_is_an_error_and_nothing_leaks)
{
    for (size_t limit = 100000; limit < 3000000; limit += 100000) {
        az_ctx *az = az_open(&(az_settings){.memory_limit = limit});
        az_scope_push(az);
        size_t before = az_memory_now(az);
        az_scope_push(az);
        az_tape_open(az);
        az_tensor *w = az_watch(az, vector(az, 20000, 1)), *g = NULL;
        if (w) az_grad(az, total(az, deep(az, w, 5)), NULL, (const az_tensor *[]){w}, 1, &g, limit % 200000 ? AZ_GRAD_RECORD : 0);
        cr_assert_eq(g != NULL, az_ok(az));
        if (!g) cr_assert_eq(az_status_of(az), AZ_NO_MEMORY);
        az_tape_close(az);
        az_scope_pop(az);
        cr_assert_eq(az_memory_now(az), before);
        az_close(az);
    }
}
