/* PiSSA as a method: what its two kinds of result compute, gradients at the start, bases of every format, bad input. */
#include "support/folder.h"
#include "support/matrix.h"
#include "support/small_lm.h"
#include "support/small_tune.h"
#include "tune/pissa.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

static const char *const twelve_steps = "steps=12,batch=4,lr=5e-3";

/* The adapter of rank 2 r beside the model computes what the adapter of rank r computes beside the residual. */
Test(pissa, both_results_compute_the_same)
{
    az_ctx *az = az_open(NULL);
    for (int which = 0; which < SMALL_BASES; which++) {
        az_scope_push(az);
        const char *path = test_path(az, test_folder(az), "residual.gguf");
        az_lm *lm = small_base(az, which);
        const az_adapter *plain = small_tune(az, lm, "pissa", "rank=3", twelve_steps);
        const az_adapter *principal = small_tune(az, lm, "pissa", az_format_text(az, "rank=3,residual=%s", path), twelve_steps);
        cr_assert(plain && principal, "%s: %s", small_bases[which], az_error(az));
        cr_assert_eq(plain->layer[0].rank, 6);
        cr_assert_eq(principal->layer[0].rank, 3);
        const az_lm *residual = az_lm_load(az, path);
        cr_assert_not_null(residual, "%s", az_error(az));
        const az_tensor *a = small_logits(az, lm, plain), *b = small_logits(az, residual, principal);
        /* products with bytes and blocks round the activations, which those of the dense residual do not */
        const double tolerance = which == 1 || which == 2 ? 0.1 : 1e-4;
        cr_assert_leq(matrix_difference(a, b), tolerance, "%s", small_bases[which]);
        cr_assert_gt(matrix_difference(a, small_logits(az, lm, NULL)), 3e-3, "%s", small_bases[which]);
        az_scope_pop(az);
    }
    az_close(az);
}

Test(pissa, nothing_changes_before_the_first_step)
{
    static const char *const ways[] = {"rank=3", "rank=3,svd=fast,niter=2", "rank=3,which=minor", "rank=3,alpha=7",
                                       "rank=32,exclude=down_proj"};
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az);
    for (int i = 0; i < 5; i++) {
        const char *path = test_path(az, test_folder(az), "residual.gguf");
        if (i == 4) { /* more than k and v can have */
            cr_assert_null(small_tune(az, lm, "pissa", ways[i], "steps=1,lr=0"));
            cr_assert_not_null(strstr(az_error(az), "rank 32 of a matrix"), "%s", az_error(az));
            az_clear(az);
            continue;
        }
        const az_adapter *plain = small_tune(az, lm, "pissa", ways[i], "steps=1,lr=0");
        const az_adapter *principal = small_tune(az, lm, "pissa", az_format_text(az, "%s,residual=%s", ways[i], path), "steps=1,lr=0");
        cr_assert(plain && principal, "%s: %s", ways[i], az_error(az));
        cr_assert_leq(matrix_difference(small_logits(az, lm, plain), small_logits(az, lm, NULL)), 1e-5, "%s", ways[i]);
        const az_lm *residual = az_lm_load(az, path);
        cr_assert_leq(matrix_difference(small_logits(az, residual, principal), small_logits(az, lm, NULL)), 1e-5, "%s", ways[i]);
        cr_assert_gt(matrix_difference(small_logits(az, residual, NULL), small_logits(az, lm, NULL)), 1e-4, "%s", ways[i]);
    }
    az_close(az);
}

/* dL/dA = s B^T (dL/dW) and dL/dB = s (dL/dW) A^T, both nonzero at the start, which is what the start is for. */
Test(pissa, the_first_gradients_are_those_of_the_weight_through_the_factors)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az), *residual = az_lm_copy(az, lm);
    cr_assert(az_lm_make_trainable(az, lm, AZ_F32) && az_lm_make_trainable(az, residual, AZ_F32));
    const az_adapter_how how = {.rank = 3, .alpha = 6, .targets = "up_proj"};
    az_adapter *adapter = az_adapter_new(az, lm, &how);
    az_adapter_layer *layer = az_adapter_find(adapter, "blocks.1.mlp.up");
    az_pissa_split split;
    cr_assert(az_pissa_start_of(az, lm->block[1].up.weight->part[0], &(az_pissa_how){.scale = 2, .rank = 3}, &split));
    az_copy_into(az, layer->a, split.a);
    az_copy_into(az, layer->b, split.b);
    const az_lm_parameter whole = {.name = "up", .slot = &lm->block[1].up.weight->part[0]};
    const az_lm_parameter factors[2] = {{.name = "a", .slot = &layer->a}, {.name = "b", .slot = &layer->b}};
    residual->block[1].up.weight = split.residual;
    const az_lm_sequences text = {.count = 2, .length = 6, .token = (int32_t[]){3, 270, 5, 9, 130, 2, 11, 97, 98, 99, 4, 8}};
    az_lm_objective objective = {.lm = lm, .lesson = az_lm_lesson_of(az, &text, 0, 2), .scale = 0.1};
    az_tensor *g, *gf[2];
    cr_assert(az_lm_gradient(az, &objective, &whole, 1, &g, NULL), "%s", az_error(az));
    objective.lm = residual;
    objective.run = (az_lm_run){.adapter = (const az_adapter *const *)&adapter, .adapters = 1};
    cr_assert(az_lm_gradient(az, &objective, factors, 2, gf, NULL), "%s", az_error(az));
    const az_tensor *a = az_affine(az, az_matmul(az, az_transpose(az, layer->b), g), 2, 0);
    const az_tensor *b = az_affine(az, az_matmul(az, g, az_transpose(az, layer->a)), 2, 0);
    cr_assert_leq(matrix_difference(gf[0], a), 1e-5);
    cr_assert_leq(matrix_difference(gf[1], b), 1e-5);
    cr_assert_gt(az_to_double(az_dot(az, a, a)), 1e-8);
    cr_assert_gt(az_to_double(az_dot(az, b, b)), 1e-8);
    az_close(az);
}

Test(pissa, a_quantized_residual_is_kept_in_its_format)
{
    az_ctx *az = az_open(NULL);
    const char *path = test_path(az, test_folder(az), "residual.gguf");
    az_lm *lm = small_lm(az);
    const char *options = az_format_text(az, "rank=3,quant=nf4,iters=3,error,residual=%s", path);
    cr_assert_not_null(small_tune(az, lm, "pissa", options, twelve_steps), "%s", az_error(az));
    az_lm *residual = az_lm_load(az, path);
    cr_assert_not_null(residual, "%s", az_error(az));
    cr_assert_str_eq(residual->block[0].q.weight->format->name, "nf4");
    cr_assert_not_null(small_tune(az, lm, "pissa", "rank=3,quant=q4_0,start=loss", "steps=2,batch=4"), "%s", az_error(az));
    az_close(az);
}

/* An adapter for the residual says so in its folder, and is refused beside other weights. */
Test(pissa, an_adapter_for_the_residual_is_read_beside_that_alone)
{
    az_ctx *az = az_open(NULL);
    const char *path = test_path(az, test_folder(az), "residual.gguf"), *folder = test_path(az, test_folder(az), "adapter");
    az_lm *lm = small_lm(az);
    const az_adapter *adapter = small_tune(az, lm, "pissa", az_format_text(az, "rank=3,residual=%s", path), twelve_steps);
    az_lm *residual = az_lm_load(az, path);
    cr_assert(adapter && residual, "%s", az_error(az));
    cr_assert(az_adapter_write(az, residual, adapter, folder, path, AZ_F32), "%s", az_error(az));
    const az_adapter *read = az_adapter_read(az, residual, folder);
    cr_assert_not_null(read, "%s", az_error(az));
    cr_assert_leq(matrix_difference(small_logits(az, residual, read), small_logits(az, residual, adapter)), 1e-6);
    const char *hub = test_path(az, test_folder(az), "hub"); /* the rows of q and k lie in another order there */
    cr_assert(az_lm_save_folder(az, residual, hub, NULL), "%s", az_error(az));
    cr_assert_not_null(az_adapter_read(az, az_lm_load(az, hub), folder), "%s", az_error(az));
    cr_assert_null(az_adapter_read(az, lm, folder));
    cr_assert_eq(az_status_of(az), AZ_BAD_INPUT);
    cr_assert_not_null(strstr(az_error(az), "residual model"), "%s", az_error(az));
    az_close(az);
}

Test(pissa, refuses_what_it_cannot_do_before_training)
{
    static const struct {
        const char *options, *message;
    } bad[] = {
        {"rank=3,svd=fast,which=minor", "principal triples only"},         {"quant=q9", "no format quant=q9"},
        {"rank=3,targets=embed_tokens", "no linear layer inside a block"}, {"rank=3,targets=nothing", "nothing"},
        {"rank=3,residual=/nowhere/at/all.gguf", "/nowhere/at/all.gguf"},
    };
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_assert_null(small_tune(az, lm, "pissa", bad[i].options, "steps=1"), "%s", bad[i].options);
        cr_assert_not_null(strstr(az_error(az), bad[i].message), "%s: %s", bad[i].options, az_error(az));
        az_clear(az);
    }
    az_close(az);
}
