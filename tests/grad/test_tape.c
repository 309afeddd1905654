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

/* ---- adding to gradients ---- */

/* What is handed in is added to and replaced, also where y does not depend on x. */
Test(tape, gradients_are_added_to_those_handed_in)
{
    az_ctx *az = az_open(NULL);
    for (int flags = 0; flags <= AZ_GRAD_FREE; flags += AZ_GRAD_FREE) {
        az_tape_open(az);
        const az_tensor *x[] = {az_watch(az, vector(az, 4, 1)), az_watch(az, vector(az, 4, 2)), az_watch(az, vector(az, 2, 3))};
        az_tensor *first[] = {vector(az, 4, 4), NULL, vector(az, 2, 5)}, *g[] = {az_copy(az, first[0]), NULL, az_copy(az, first[2])};
        const az_tensor *y = total(az, az_mul(az, az_square(az, x[0]), x[1]));
        cr_assert(az_grad(az, y, NULL, x, 3, g, flags | AZ_GRAD_ADD), "%s", az_error(az));
        for (int i = 0; i < 4; i++) {
            const double a = az_item(x[0], i), b = az_item(x[1], i);
            cr_assert_float_eq(az_item(g[0], i), az_item(first[0], i) + 2 * a * b, 1e-14);
            cr_assert_float_eq(az_item(g[1], i), a * a, 1e-14);
        }
        cr_assert_eq(az_item(g[2], 1), az_item(first[2], 1));
        cr_assert(!az_grad(az, y, NULL, x, 3, g, AZ_GRAD_ADD | AZ_GRAD_RECORD));
        cr_assert_str_eq(az_error(az), "az_grad: AZ_GRAD_RECORD goes with neither AZ_GRAD_FREE nor AZ_GRAD_ADD");
        az_clear(az);
        az_tape_close(az);
    }
    az_close(az);
}

/* A memory that is held elsewhere too is not written. */
Test(tape, a_shared_gradient_handed_in_stays_as_it_is)
{
    az_ctx *az = az_open(NULL);
    az_tape_open(az);
    const az_tensor *x = az_watch(az, vector(az, 4, 1));
    az_tensor *mine = az_full(az, AZ_F64, 1, (int64_t[]){4}, 3), *g = az_share(az, mine);
    cr_assert(az_grad(az, total(az, az_square(az, x)), NULL, &x, 1, &g, AZ_GRAD_ADD));
    for (int i = 0; i < 4; i++) {
        cr_assert_eq(az_item(mine, i), 3);
        cr_assert_float_eq(az_item(g, i), 3 + 2 * az_item(x, i), 1e-14);
    }
    az_close(az);
}

enum { TOKENS = 70, WIDTH = 96, WORDS = 130 }; /* products of this size are added to gradients in place */

/* A table [WORDS, WIDTH] that is read both by rows and as the head over them, as in a model with tied embeddings; x is used twice too. */
static az_tensor *tied(az_ctx *az, az_tensor *const *in, int n, void *user)
{
    const bool *reads_logits_again = user;
    az_tensor *index = az_new1(az, AZ_I32, TOKENS), *target = az_new1(az, AZ_I32, TOKENS);
    for (int i = 0; i < TOKENS; i++) {
        ((int32_t *)index->data)[i] = i * 7 % 50;
        ((int32_t *)target->data)[i] = i % 9 ? i * 11 % WORDS : -1;
    }
    (void)n;
    az_scope_push(az);
    az_tensor *x = az_add(az, az_gather(az, in[0], index), in[1]);
    az_tensor *logits = az_matmul_nt(az, az_add(az, x, az_matmul_nt(az, x, in[2])), in[0]);
    az_tensor *loss = az_sum(az, az_cross_entropy(az, logits, target), AZ_ALL_AXES, false);
    if (*reads_logits_again) loss = az_add(az, loss, az_sum(az, az_square(az, logits), AZ_ALL_AXES, false));
    return az_keep(az, loss);
}

/* Gradients that take the place of activations, or are added where others lie, are those that have memory of their own. */
Test(tape, gradients_in_the_place_of_activations)
{
    for (int again = 0; again < 2; again++) {
        az_ctx *az = az_open(NULL);
        az_tensor *in[] = {az_randn(az, AZ_F32, 2, (int64_t[]){WORDS, WIDTH}, 0.3, 1, 1),
                           az_randn(az, AZ_F32, 2, (int64_t[]){TOKENS, WIDTH}, 0.3, 1, 2),
                           az_randn(az, AZ_F32, 2, (int64_t[]){WIDTH, WIDTH}, 0.3, 1, 3)};
        const bool reads_again = again;
        az_tensor *g[3][3];
        for (int run = 0; run < 3; run++) { /* plain, freeing, and recorded in f64 */
            az_tape_open(az);
            az_tensor *x[3];
            for (int i = 0; i < 3; i++) x[i] = az_watch(az, run == 2 ? az_cast(az, in[i], AZ_F64) : in[i]);
            const az_tensor *y = tied(az, x, 3, (void *)&reads_again);
            const int flags = run == 0 ? 0 : run == 1 ? AZ_GRAD_FREE : AZ_GRAD_RECORD;
            cr_assert(az_grad(az, y, NULL, (const az_tensor *const *)x, 3, g[run], flags), "%s", az_error(az));
            az_tape_close(az);
        }
        for (int i = 0; i < 3; i++) {
            cr_assert_arr_eq(az_f32(g[1][i]), az_f32(g[0][i]), (size_t)az_count(g[0][i]) * sizeof(float));
            cr_assert_lt(largest_difference(g[0][i], g[2][i]), 2e-5);
        }
        az_close(az);
    }
}

/* ---- memory ---- */

/* The gradient of the logits of a cross-entropy takes their place when nobody else holds them. */
Test(memory, logits_are_held_once)
{
    enum { ROWS = 50, CLASSES = 20000 };
    az_ctx *az = az_open(NULL);
    const size_t bytes = (size_t)ROWS * CLASSES * sizeof(float);
    az_tensor *target = az_zeros(az, AZ_I32, 1, (int64_t[]){ROWS}), *x = az_randn(az, AZ_F32, 2, (int64_t[]){ROWS, CLASSES}, 1, 1, 1);
    const size_t before = az_memory_now(az);
    az_tape_open(az);
    az_tensor *w = az_watch(az, x);
    az_scope_push(az);
    const az_tensor *y = az_keep(az, total(az, az_cross_entropy(az, az_affine(az, w, 2, 0), target)));
    az_memory_reset_peak(az);
    const az_tensor *g = gradient(az, y, w, AZ_GRAD_FREE);
    cr_assert_leq(az_memory_peak(az), before + 2 * bytes * 5 / 4); /* logits or their gradient, and the gradient of x */
    double sum = 0;
    for (int64_t j = 0; j < CLASSES; j++) sum += exp(2 * az_item(x, j));
    for (int64_t j = 0; j < 9; j++) cr_assert_float_eq(az_item(g, j), 2 * (exp(2 * az_item(x, j)) / sum - (j == 0)), 1e-6);
    az_close(az);
}

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
