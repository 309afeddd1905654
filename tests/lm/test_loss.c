/* The loss of a lesson: against the logits of the forward pass, in pieces, and its gradient on a model whose head is quantized. */
#include "support/tiny_lm.h"

#include "adze/grad.h"

#include <criterion/criterion.h>
#include <math.h>

/* -log softmax(row)[target] */
static double row_loss(const az_tensor *logits, int64_t row, int32_t target)
{
    const int64_t n = logits->shape[1];
    double most = -INFINITY, sum = 0;
    for (int64_t j = 0; j < n; j++) most = fmax(most, az_item(logits, row * n + j));
    for (int64_t j = 0; j < n; j++) sum += exp(az_item(logits, row * n + j) - most);
    return most + log(sum) - az_item(logits, row * n + target);
}

/* Every architecture: soft caps and biases of the head are part of the loss. Targets below zero do not count. */
Test(loss, is_that_of_the_logits)
{
    static const char *const names[] = {"llama", "gemma2", "gpt2", "bloom"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        az_ctx *az = az_open(NULL);
        az_lm_config config = tiny_config();
        if (i == 1) config.logit_softcap = 0.5;
        az_lm *lm = tiny_lm(az, az_lm_arch_by_name(names[i]), &config, 3);
        int32_t *token = tiny_tokens(az, 12, config.vocabulary, 1), *target = tiny_tokens(az, 12, config.vocabulary, 2);
        target[4] = -1;
        const az_lm_lesson lesson = {.batch = {.sequences = 2, .token = token, .start = (const int64_t[]){0, 5, 12}}, .target = target};
        const double loss = az_to_double(az_lm_loss(az, lm, &lesson, NULL));
        const az_tensor *logits = az_lm_forward(az, lm, &lesson.batch, NULL);
        cr_assert(logits, "%s: %s", names[i], az_error(az));
        double expected = 0;
        for (int64_t t = 0; t < 12; t++) expected += target[t] < 0 ? 0 : row_loss(logits, t, target[t]);
        cr_assert_float_eq(loss, expected, 1e-4, "%s: %g, not %g", names[i], loss, expected);
        az_close(az);
    }
}

/* The loss in pieces of 7 rows of 20, and in one: same sum, same gradients of hidden states and head. */
Test(loss, the_loss_in_pieces_is_the_loss)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = tiny_llama(az, 1);
    az_lm_make_trainable(az, lm, AZ_F64);
    az_tensor **head = &lm->head.weight->part[0], *kept = *head;
    const az_tensor *hidden = az_randn(az, AZ_F64, 2, (int64_t[]){20, 16}, 1, 3, 0);
    const int32_t *target = tiny_tokens(az, 20, lm->config.vocabulary, 1);
    az_tensor *gradient[2][2];
    double loss[2];
    for (int i = 0; i < 2; i++) {
        az_tape_open(az);
        az_tensor *x = az_watch(az, hidden), *w = *head = az_watch(az, kept);
        const az_tensor *sum = az_lm_hidden_loss(az, lm, &(az_hidden_rows){.hidden = x, .target = target}, i ? 7 : 20);
        loss[i] = az_to_double(sum);
        cr_assert(az_grad(az, sum, NULL, (const az_tensor *[]){x, w}, 2, gradient[i], AZ_GRAD_FREE), "%s", az_error(az));
        az_tape_close(az);
        *head = kept;
    }
    cr_assert_float_eq(loss[0], loss[1], 1e-10);
    for (int k = 0; k < 2; k++)
        for (int64_t j = 0; j < az_count(gradient[0][k]); j++)
            cr_assert_float_eq(az_item(gradient[0][k], j), az_item(gradient[1][k], j), 1e-12);
    az_close(az);
}

/* The gradient of a norm when everything else is quantized is close to that of the dense model with the same values. */
Test(loss, gradient_flows_through_quantized_weights)
{
    az_ctx *az = az_open(NULL);
    az_lm_config config = tiny_config();
    config.width = 64, config.hidden = 64, config.head_dim = 16;
    az_lm *lm[2];
    for (int i = 0; i < 2; i++) lm[i] = tiny_lm(az, az_lm_arch_by_name("llama"), &config, 3);
    const az_format *q8 = az_format_by_name("q8_0");
    lm[0]->embedding = az_weight_encode(az, lm[0]->embedding, q8, NULL);
    lm[1]->embedding = az_weight_dense(az, az_weight_decode(az, lm[0]->embedding));
    for (int i = 0; i < 2; i++) lm[i]->head.weight = lm[i]->embedding;
    int32_t *token = tiny_tokens(az, 10, config.vocabulary, 1), *target = tiny_tokens(az, 10, config.vocabulary, 2);
    az_tensor *gradient[2];
    for (int i = 0; i < 2; i++) {
        const az_lm_objective objective = {
            .lm = lm[i],
            .lesson = {.batch = {.sequences = 1, .token = token, .start = (const int64_t[]){0, 10}}, .target = target},
            .scale = 0.1,
        };
        cr_assert(az_lm_gradient(az, &objective, &(az_lm_parameter){.slot = &lm[i]->final_norm.weight}, 1, &gradient[i], NULL), "%s",
                  az_error(az));
    }
    for (int64_t j = 0; j < config.width; j++) cr_assert_float_eq(az_item(gradient[0], j), az_item(gradient[1], j), 2e-2);
    az_close(az);
}
