/* Norms, the gated activation, rotary embedding and cross-entropy: naive loops, derivatives, threads, extreme values. */
#include "support/layers.h"

#include <criterion/criterion.h>
#include <math.h>

/* ---- norms ---- */

static az_tensor *rms_norm(az_ctx *az, az_tensor *const *in, int n, void *user)
{
    (void)n, (void)user;
    return az_rms_norm(az, in[0], in[1], 1e-3);
}

static az_tensor *layer_norm(az_ctx *az, az_tensor *const *in, int n, void *user)
{
    (void)user;
    return az_layer_norm(az, in[0], in[1], n > 2 ? in[2] : NULL, 1e-3);
}

Test(norm, matches_naive_loops)
{
    az_ctx *az = az_open(NULL);
    const int64_t rows = 5, n = 37;
    az_tensor *x = az_randn(az, AZ_F32, 2, (int64_t[]){rows, n}, 2, 1, 1), *w = az_randn(az, AZ_F32, 1, &n, 1, 1, 2);
    az_tensor *b = az_randn(az, AZ_F32, 1, &n, 1, 1, 3), *rms = az_rms_norm(az, x, w, 1e-5), *layer = az_layer_norm(az, x, w, b, 1e-5);
    for (int64_t row = 0; row < rows; row++) {
        double sum = 0, squares = 0, variance = 0;
        for (int64_t i = 0; i < n; i++) sum += az_item(x, row * n + i), squares += pow(az_item(x, row * n + i), 2);
        for (int64_t i = 0; i < n; i++) variance += pow(az_item(x, row * n + i) - sum / (double)n, 2);
        for (int64_t i = 0; i < n; i++) {
            double value = az_item(x, row * n + i), weight = az_item(w, i);
            cr_assert_float_eq(az_item(rms, row * n + i), value / sqrt(squares / (double)n + 1e-5) * weight, 1e-5);
            double expected = (value - sum / (double)n) / sqrt(variance / (double)n + 1e-5) * weight + az_item(b, i);
            cr_assert_float_eq(az_item(layer, row * n + i), expected, 1e-5);
        }
    }
    az_close(az);
}

Test(norm, derivatives_and_threads)
{
    test_layer_fully(&(test_layer){.f = rms_norm, .n = 2, .input = {{2, {5, 7}}, {1, {7}}}});
    test_layer_fully(&(test_layer){.f = layer_norm, .n = 2, .input = {{3, {2, 3, 6}}, {1, {6}}}});
    test_layer_fully(&(test_layer){.f = layer_norm, .n = 3, .input = {{2, {4, 5}}, {1, {5}}, {1, {5}}}});
    test_threads_agree(&(test_layer){.f = rms_norm, .n = 2, .input = {{2, {513, 96}}, {1, {96}}}});
    test_both_gradients(&(test_layer){.f = rms_norm, .n = 2, .input = {{2, {70, 96}}, {1, {96}}}});
}

Test(norm, one_tracked_input_gets_its_gradient)
{
    az_ctx *az = az_open(NULL);
    az_tape_open(az);
    az_tensor *x = az_randn(az, AZ_F64, 2, (int64_t[]){4, 6}, 1, 1, 1), *w = az_watch(az, az_full(az, AZ_F64, 1, (int64_t[]){6}, 1)), *g;
    az_tensor *y = az_sum(az, az_rms_norm(az, x, w, 1e-5), AZ_ALL_AXES, false);
    cr_assert(az_grad(az, y, NULL, (const az_tensor *[]){w}, 1, &g, 0));
    cr_assert_lt(test_difference(g, az_sum(az, az_rms_norm(az, x, w, 1e-5), 0, false)), 1e-12);
    az_tape_close(az);
    az_close(az);
}

/* ---- swiglu ---- */

static az_tensor *swiglu(az_ctx *az, az_tensor *const *in, int n, void *user)
{
    (void)n, (void)user;
    return az_swiglu(az, in[0], in[1]);
}

Test(swiglu, matches_its_formula_and_derivatives)
{
    az_ctx *az = az_open(NULL);
    az_tensor *g = az_randn(az, AZ_F32, 2, (int64_t[]){3, 41}, 3, 1, 1), *u = az_randn(az, AZ_F32, 2, (int64_t[]){3, 41}, 1, 1, 2);
    az_tensor *y = az_swiglu(az, g, u);
    for (int64_t i = 0; i < 123; i++) cr_assert_float_eq(az_item(y, i), az_item(g, i) / (1 + exp(-az_item(g, i))) * az_item(u, i), 1e-5);
    az_close(az);
    test_layer_fully(&(test_layer){.f = swiglu, .n = 2, .input = {{2, {3, 5}}, {2, {3, 5}}}});
    test_threads_agree(&(test_layer){.f = swiglu, .n = 2, .input = {{2, {100, 777}}, {2, {100, 777}}}});
}

/* ---- rope ---- */

typedef struct rope_case {
    int32_t position[5];
    az_rope_how how;
} rope_case;

static az_tensor *rope(az_ctx *az, az_tensor *const *in, int n, void *user)
{
    (void)n;
    const rope_case *c = user;
    az_tensor *position = az_from(az, AZ_I32, 1, (int64_t[]){5}, c->position);
    az_tensor *frequency = az_from(az, AZ_F64, 1, (int64_t[]){3}, (double[]){1, 0.1, 0.01});
    return az_rope(az, in[0], position, frequency, c->how);
}

static const rope_case rope_cases[] = {
    {.position = {0, 1, 2, 0, 1}, .how = {.interleaved = true, .dims = 6}},
    {.position = {7, 100000, -3, 12, 5}, .how = {.interleaved = false, .dims = 4}},
    {.position = {3, 4, 5, 6, 7}, .how = {.interleaved = true, .dims = 0}},
};

Test(rope, turns_pairs_by_their_angle)
{
    az_ctx *az = az_open(NULL);
    az_tensor *x = az_randn(az, AZ_F64, 3, (int64_t[]){5, 2, 6}, 1, 1, 1);
    for (int which = 0; which < 3; which++) {
        const rope_case *c = &rope_cases[which];
        const int64_t dims = c->how.dims;
        az_tensor *y = rope(az, &x, 1, (void *)c);
        for (int64_t row = 0; row < 10; row++)
            for (int64_t i = 0; i < 6; i++) {
                int64_t pair = c->how.interleaved ? i / 2 : i % (dims / 2), first = c->how.interleaved ? 2 * pair : pair;
                int64_t second = c->how.interleaved ? first + 1 : first + dims / 2;
                double angle = i < dims ? c->position[row / 2] * pow(0.1, (double)pair) : 0;
                double a = az_item(x, row * 6 + (i < dims ? first : i)), b = i < dims ? az_item(x, row * 6 + second) : 0;
                double expected = i == second && i < dims ? a * sin(angle) + b * cos(angle) : a * cos(angle) - b * sin(angle);
                cr_assert_float_eq(az_item(y, row * 6 + i), expected, 1e-11);
            }
    }
    az_close(az);
}

Test(rope, derivatives_and_threads)
{
    for (int which = 0; which < 3; which++)
        test_layer_fully(&(test_layer){.f = rope, .user = (void *)&rope_cases[which], .n = 1, .input = {{3, {5, 2, 6}}}});
}

/* ---- cross-entropy ---- */

static az_tensor *cross_entropy(az_ctx *az, az_tensor *const *in, int n, void *user)
{
    (void)n, (void)user;
    az_tensor *target = az_new1(az, AZ_I32, in[0]->shape[0]);
    for (int32_t row = 0; row < in[0]->shape[0]; row++)
        ((int32_t *)target->data)[row] = row % 4 == 2 ? -1 : (int32_t)(row * 5 % in[0]->shape[1]);
    return az_cross_entropy(az, in[0], target);
}

Test(cross_entropy, matches_naive_loops)
{
    az_ctx *az = az_open(NULL);
    az_tensor *x = az_randn(az, AZ_F32, 2, (int64_t[]){9, 53}, 4, 1, 1), *y = cross_entropy(az, &x, 1, NULL);
    for (int64_t row = 0; row < 9; row++) {
        double sum = 0;
        for (int64_t i = 0; i < 53; i++) sum += exp(az_item(x, row * 53 + i));
        cr_assert_float_eq(az_item(y, row), row % 4 == 2 ? 0 : log(sum) - az_item(x, row * 53 + row * 5 % 53), 2e-6);
    }
    az_close(az);
}

Test(cross_entropy, derivatives_and_threads)
{
    test_layer_fully(&(test_layer){.f = cross_entropy, .n = 1, .input = {{2, {6, 7}}}});
    test_both_gradients(&(test_layer){.f = cross_entropy, .n = 1, .input = {{2, {40, 130}}}});
    test_threads_agree(&(test_layer){.f = cross_entropy, .n = 1, .input = {{2, {130, 500}}}});
}

Test(cross_entropy, extreme_logits)
{
    az_ctx *az = az_open(NULL);
    az_tape_open(az);
    const float logits[] = {1e4f, -1e4f, 1e4f, 0, 1e4f, 9999, -INFINITY, 5};
    az_tensor *x = az_watch(az, az_from(az, AZ_F32, 2, (int64_t[]){2, 4}, logits)), *g;
    az_tensor *target = az_from(az, AZ_I32, 1, (int64_t[]){2}, (int32_t[]){1, 1}), *y = az_cross_entropy(az, x, target);
    cr_assert_float_eq(az_item(y, 0), 2e4 + log(2), 2e-3);
    cr_assert_float_eq(az_item(y, 1), 1 + log1p(exp(-1)), 1e-6);
    cr_assert(az_grad(az, az_sum(az, y, AZ_ALL_AXES, false), NULL, (const az_tensor *[]){x}, 1, &g, 0));
    const double expected[] = {0.5, -1, 0.5, 0, 1 / (1 + exp(-1)), 1 / (1 + exp(1)) - 1, 0, 0};
    for (int i = 0; i < 8; i++) cr_assert_float_eq(az_item(g, i), expected[i], 1e-6);
    az_tape_close(az);
    az_close(az);
}

Test(cross_entropy, targets_beyond_the_classes_are_refused)
{
    az_ctx *az = az_open(NULL);
    az_tensor *x = az_zeros(az, AZ_F32, 2, (int64_t[]){2, 4});
    cr_assert_null(az_cross_entropy(az, x, az_from(az, AZ_I32, 1, (int64_t[]){2}, (int32_t[]){0, 4})));
    cr_assert_eq(az_status_of(az), AZ_BAD_CALL);
    az_close(az);
}
