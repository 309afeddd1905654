/* layers.c - the checks of layers.h. */
#include "support/layers.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

void test_inputs(az_ctx *az, const test_layer *layer, az_dtype dtype, uint64_t seed, az_tensor **inputs)
{
    for (int i = 0; i < layer->n; i++)
        inputs[i] = az_cast(az, az_randn(az, AZ_F64, layer->input[i].rank, layer->input[i].shape, 1, seed, (uint64_t)i), dtype);
}

double test_difference(const az_tensor *a, const az_tensor *b)
{
    if (!a || !b || !az_same_shape(a, b)) return INFINITY;
    double worst = 0;
    for (int64_t i = 0; i < az_count(a); i++) {
        double x = az_item(a, i), y = az_item(b, i), error = fabs(x - y) / fmax(1, fabs(y));
        if (!(error <= worst)) worst = error; /* a NaN counts */
    }
    return worst;
}

/* y = f(inputs) and the gradients of <seed, y>; out[0] = y, out[1 ..] = gradients, all in the current scope. */
static void evaluate(az_ctx *az, const test_layer *layer, az_tensor *const *inputs, int flags, az_tensor *out[4])
{
    az_tape_open(az);
    az_tensor *watched[3];
    for (int i = 0; i < layer->n; i++) watched[i] = az_watch(az, inputs[i]);
    out[0] = layer->f(az, watched, layer->n, layer->user);
    cr_assert(az_ok(az), "%s", az_error(az));
    az_tensor *seed = az_cast(az, az_randn(az, AZ_F64, out[0]->rank, out[0]->shape, 1, 9, 9), out[0]->dtype);
    az_grad(az, out[0], seed, (const az_tensor *const *)watched, layer->n, out + 1, flags);
    cr_assert(az_ok(az), "%s", az_error(az));
    for (int i = 0; i <= layer->n; i++) out[i] = az_contiguous(az, az_detach(az, out[i]));
    az_tape_close(az);
}

void test_derivatives(const test_layer *layer)
{
    az_ctx *az = az_open(NULL);
    az_tensor *inputs[3];
    test_inputs(az, layer, AZ_F64, 1, inputs);
    double error = az_grad_check(az, layer->f, inputs, layer->n, layer->user, true);
    cr_assert(az_ok(az), "%s", az_error(az));
    cr_assert_lt(error, 2e-6);
    az_close(az);
}

void test_both_gradients(const test_layer *layer)
{
    az_ctx *az = az_open(NULL);
    az_tensor *inputs[3], *narrow[3], *fused[4], *composed[4], *single[4];
    test_inputs(az, layer, AZ_F64, 2, inputs);
    for (int i = 0; i < layer->n; i++) narrow[i] = az_cast(az, inputs[i], AZ_F32);
    evaluate(az, layer, inputs, 0, fused);
    evaluate(az, layer, inputs, AZ_GRAD_RECORD, composed);
    evaluate(az, layer, narrow, 0, single);
    for (int i = 0; i <= layer->n; i++) {
        cr_assert_lt(test_difference(fused[i], composed[i]), 1e-11, "result %d differs by %g", i, test_difference(fused[i], composed[i]));
        cr_assert_lt(test_difference(az_cast(az, single[i], AZ_F64), fused[i]), 2e-5, "f32 result %d differs", i);
    }
    az_close(az);
}

void test_strided_inputs(const test_layer *layer)
{
    az_ctx *az = az_open(NULL);
    az_tensor *inputs[3], *views[3], *plain[4], *strided[4];
    test_inputs(az, layer, AZ_F64, 3, inputs);
    for (int i = 0; i < layer->n; i++) { /* stored with its axes in reverse order */
        int axes[AZ_MAX_RANK];
        for (int axis = 0; axis < inputs[i]->rank; axis++) axes[axis] = inputs[i]->rank - 1 - axis;
        views[i] = az_permute(az, az_copy(az, az_permute(az, inputs[i], axes)), axes);
    }
    evaluate(az, layer, inputs, 0, plain);
    evaluate(az, layer, views, 0, strided);
    for (int i = 0; i <= layer->n; i++) cr_assert_lt(test_difference(strided[i], plain[i]), 1e-12);
    az_close(az);
}

void test_threads_agree(const test_layer *layer)
{
    az_ctx *one = az_open(&(az_settings){.threads = 1});
    az_tensor *inputs[3], *first[4], *second[4];
    test_inputs(one, layer, AZ_F32, 4, inputs);
    evaluate(one, layer, inputs, 0, first);
    az_ctx *two = az_open(&(az_settings){.threads = 2});
    test_inputs(two, layer, AZ_F32, 4, inputs);
    evaluate(two, layer, inputs, 0, second);
    for (int i = 0; i <= layer->n; i++)
        cr_assert_arr_eq(az_f32(first[i]), az_f32(second[i]), (size_t)az_count(first[i]) * sizeof(float),
                         "result %d depends on the threads", i);
    az_close(two);
    az_close(one);
}

void test_layer_fully(const test_layer *layer)
{
    test_derivatives(layer);
    test_both_gradients(layer);
    test_strided_inputs(layer);
    test_threads_agree(layer);
}
