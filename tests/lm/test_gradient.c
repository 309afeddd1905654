/* The gradient of the whole model: against finite differences, against PyTorch, and with activations computed twice. */
#include "adze/grad.h"
#include "support/families.h"
#include "support/tiny_lm.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Mean loss of a batch and its gradient with respect to every parameter. */
static double gradient_of(az_ctx *az, az_lm *lm, const az_lm_batch *batch, const int32_t *target, bool checkpoint, az_tensor **gradient)
{
    az_lm_parameter *parameter;
    const int n = az_lm_parameters(az, lm, &parameter);
    const az_tensor **watched = az_alloc_array(az, (size_t)n, sizeof *watched);
    az_tensor **kept = az_alloc_array(az, (size_t)n, sizeof *kept);
    az_tape_open(az);
    for (int i = 0; i < n; i++) {
        kept[i] = *parameter[i].slot;
        watched[i] = *parameter[i].slot = az_watch(az, kept[i]);
    }
    const int64_t tokens = batch->start[batch->sequences];
    az_tensor *logits = az_lm_forward(az, lm, batch, &(az_lm_run){.checkpoint = checkpoint});
    az_tensor *loss = az_mean(az, az_cross_entropy(az, logits, az_from(az, AZ_I32, 1, &tokens, target)), AZ_ALL_AXES, false);
    cr_assert(az_grad(az, loss, NULL, watched, n, gradient, 0), "%s", az_error(az));
    const double value = az_to_double(loss);
    az_tape_close(az);
    for (int i = 0; i < n; i++) *parameter[i].slot = kept[i];
    return value;
}

static double loss_of(az_ctx *az, const az_lm *lm, const az_lm_batch *batch, const int32_t *target)
{
    const int64_t tokens = batch->start[batch->sequences];
    az_scope_push(az);
    az_tensor *logits = az_lm_forward(az, lm, batch, NULL);
    const double loss =
        az_to_double(az_mean(az, az_cross_entropy(az, logits, az_from(az, AZ_I32, 1, &tokens, target)), AZ_ALL_AXES, false));
    az_scope_pop(az);
    return loss;
}

static const int64_t start[3] = {0, 9, 14};

/* Every parameter moves along a random direction; central differences in f64 follow the loss. */
static void expect_finite_differences(az_ctx *az, az_lm *lm)
{
    cr_assert(az_lm_make_trainable(az, lm, AZ_F64), "%s", az_error(az));
    const int32_t *token = tiny_tokens(az, 15, 40, 2);
    const az_lm_batch batch = {.sequences = 2, .token = token, .start = start};
    az_lm_parameter *parameter;
    const int n = az_lm_parameters(az, lm, &parameter);
    az_tensor *gradient[64];
    cr_assert_leq(n, 64);
    gradient_of(az, lm, &batch, token + 1, false, gradient);
    for (int i = 0; i < n; i++) {
        az_tensor *x = *parameter[i].slot;
        const int64_t count = az_count(x);
        const az_tensor *direction = az_randn(az, AZ_F64, x->rank, x->shape, 1, 9, (uint64_t)i);
        double analytic = 0, value[2];
        for (int64_t j = 0; j < count; j++) analytic += az_item(gradient[i], j) * az_item(direction, j);
        const double h = 1e-5;
        for (int side = 0; side < 2; side++) {
            for (int64_t j = 0; j < count; j++) az_f64_mut(x)[j] += (side ? -2 : 1) * h * az_item(direction, j);
            value[side] = loss_of(az, lm, &batch, token + 1);
        }
        for (int64_t j = 0; j < count; j++) az_f64_mut(x)[j] += h * az_item(direction, j);
        const double numeric = (value[0] - value[1]) / (2 * h);
        cr_assert_float_eq(analytic, numeric, 1e-6 * fmax(1, fabs(numeric)), "%s %s: %.12g instead of %.12g", az_lm_architecture(lm),
                           parameter[i].name, analytic, numeric);
    }
}

Test(gradient, agrees_with_finite_differences)
{
    for (int tied = 0; tied < 2; tied++) {
        az_ctx *az = az_open(NULL);
        az_lm_config config = tiny_config();
        config.tied = tied;
        expect_finite_differences(az, tiny_lm(az, az_lm_arch_by_name("llama"), &config, 4));
        az_close(az);
    }
}

Test(gradient, of_every_architecture_agrees_with_finite_differences)
{
    for (int f = 0; f < FAMILIES; f++) {
        az_ctx *az = az_open(NULL);
        expect_finite_differences(az, family_model(az, &families[f]));
        az_close(az);
    }
}

Test(gradient, through_projections_and_norms_after_the_additions_agrees_with_finite_differences)
{
    az_ctx *az = az_open(NULL);
    const family opt = {"opt", {.kv_heads = 4, .tied = true, .embed_width = 20, .post_norm = true}};
    expect_finite_differences(az, family_model(az, &opt));
    az_close(az);
}

/* The same loss and gradient, to rounding, with the inside of each block computed again: soft caps, post norms, routing and all. */
Test(gradient, of_every_architecture_survives_checkpointing)
{
    for (int f = 0; f < FAMILIES; f++) {
        az_ctx *az = az_open(NULL);
        az_lm *lm = family_model(az, &families[f]);
        const int32_t *token = tiny_tokens(az, 61, 40, 2);
        const az_lm_batch batch = {.sequences = 2, .token = token, .start = (int64_t[]){0, 40, 60}};
        az_tensor *plain[64], *twice[64];
        az_lm_parameter *parameter;
        const int n = az_lm_parameters(az, lm, &parameter);
        cr_assert_leq(n, 64);
        const double a = gradient_of(az, lm, &batch, token + 1, false, plain), b = gradient_of(az, lm, &batch, token + 1, true, twice);
        cr_assert_float_eq(a, b, 1e-5);
        for (int i = 0; i < n; i++)
            for (int64_t j = 0; j < az_count(plain[i]); j++)
                cr_assert_float_eq(az_item(plain[i], j), az_item(twice[i], j), 1e-4, "%s %s", families[f].architecture, parameter[i].name);
        az_close(az);
    }
}

/* With a few tokens the bits may differ: without a tape, products with few rows have kernels of their own. */
Test(gradient, activations_computed_twice_change_no_bit)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = tiny_llama(az, 4);
    const int32_t *token = tiny_tokens(az, 101, 40, 2);
    const az_lm_batch batch = {.sequences = 2, .token = token, .start = (int64_t[]){0, 60, 100}};
    az_tensor *plain[64], *twice[64];
    const double a = gradient_of(az, lm, &batch, token + 1, false, plain), b = gradient_of(az, lm, &batch, token + 1, true, twice);
    cr_assert_eq(a, b);
    az_lm_parameter *parameter;
    const int n = az_lm_parameters(az, lm, &parameter);
    for (int i = 0; i < n; i++)
        cr_assert_arr_eq(plain[i]->data, twice[i]->data, (size_t)az_count(plain[i]) * sizeof(float), "%s", parameter[i].name);
    az_close(az);
}

Test(gradient, computing_activations_twice_saves_memory)
{
    size_t peak[2];
    for (int checkpoint = 0; checkpoint < 2; checkpoint++) {
        az_ctx *az = az_open(NULL);
        const az_lm_config config = {.vocabulary = 16, .width = 64, .blocks = 8, .heads = 4, .hidden = 192, .context = 512};
        az_lm *lm = az_lm_new(az, "llama", &config, NULL, 1);
        const int32_t *token = tiny_tokens(az, 257, 16, 2);
        const az_lm_batch batch = {.sequences = 1, .token = token, .start = (int64_t[]){0, 256}};
        az_tensor *gradient[256];
        const size_t before = az_memory_now(az);
        az_memory_reset_peak(az);
        gradient_of(az, lm, &batch, token + 1, checkpoint, gradient);
        peak[checkpoint] = az_memory_peak(az) - before;
        az_close(az);
    }
    cr_assert_lt(peak[1], peak[0] / 2, "%zu bytes instead of %zu", peak[1], peak[0]);
}

/* ---- PyTorch ---- */

/* Reads the next "name count" and its numbers. */
static double *read_numbers(FILE *file, const char *name, int64_t count)
{
    char found[64];
    long long n;
    cr_assert_eq(fscanf(file, "%63s %lld", found, &n), 2);
    cr_assert_str_eq(found, name);
    cr_assert_eq(n, count);
    double *value = malloc((size_t)n * sizeof *value);
    for (int64_t i = 0; i < n; i++) cr_assert_eq(fscanf(file, "%lf", &value[i]), 1);
    return value;
}

static double largest(const double *x, int64_t n)
{
    double top = 0;
    for (int64_t i = 0; i < n; i++) top = fmax(top, fabs(x[i]));
    return top;
}

Test(gradient, agrees_with_pytorch)
{
    az_ctx *az = az_open(NULL);
    const az_lm_config config = {.vocabulary = 16, .width = 8, .blocks = 2, .heads = 2, .kv_heads = 1, .hidden = 12, .context = 16};
    az_lm *lm = az_lm_new(az, "llama", &config, NULL, 0);
    az_lm_parameter *parameter;
    const int n = az_lm_parameters(az, lm, &parameter);
    for (int k = 0; k < n; k++) {
        az_tensor *x = *parameter[k].slot;
        for (int64_t i = 0; i < az_count(x); i++) az_f32_mut(x)[i] = (float)((x->rank == 1) + 0.4 * sin(0.7 * (double)i + 1.3 * (double)k));
    }
    const int32_t token[14] = {3, 1, 4, 1, 5, 9, 2, 6, 5, 8, 9, 7, 9, 3}, target[14] = {1, 4, 1, 5, 9, 2, 6, 5, 3, 9, 7, 9, 3, 2};
    const az_lm_batch batch = {.sequences = 2, .token = token, .start = start};
    az_tensor *gradient[64];
    const double loss = gradient_of(az, lm, &batch, target, false, gradient);

    FILE *file = fopen(ADZE_SOURCE_DIR "/tests/fixtures/llama_gradient.txt", "r");
    cr_assert_not_null(file);
    double *expected = read_numbers(file, "loss", 1);
    cr_assert_float_eq(loss, expected[0], 1e-6 * expected[0]);
    free(expected);
    expected = read_numbers(file, "logits", 14 * 16);
    cr_assert_lt(distance_to_numbers(az_lm_forward(az, lm, &batch, NULL), expected, 14 * 16), 1e-5 * largest(expected, 14 * 16));
    free(expected);
    for (int k = 0; k < n; k++) {
        const int64_t count = az_count(gradient[k]);
        expected = read_numbers(file, parameter[k].name, count);
        const double error = distance_to_numbers(gradient[k], expected, count) / largest(expected, count);
        cr_assert_lt(error, 1e-4, "%s: relative error %g", parameter[k].name, error);
        free(expected);
    }
    fclose(file);
    az_close(az);
}
