/* Scoring: windows against a loop over tokens, and the stored log-likelihood of a real model. */
#include "support/data.h"
#include "support/tiny_lm.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static double plain_nll(const az_lm *lm, const int32_t *context, int64_t n, int32_t next)
{
    double *logits = plain_logits(lm, context, n), sum = 0;
    const double *last = logits + (n - 1) * lm->config.vocabulary;
    for (int64_t i = 0; i < lm->config.vocabulary; i++) sum += exp(last[i]);
    const double nll = log(sum) - last[next];
    free(logits);
    return nll;
}

/* Token t is predicted by the first window whose predictions reach it, from what that window holds. */
static double plain_score(const az_lm *lm, const az_tokens *tokens, int64_t context, int64_t stride)
{
    double nll = 0;
    for (int64_t t = 1; t < tokens->n; t++) {
        int64_t first = 0;
        while (t > first + context) first += stride;
        nll += plain_nll(lm, tokens->id + first, t - first, tokens->id[t]);
    }
    return nll;
}

Test(score, windows_equal_a_loop_over_tokens)
{
    az_ctx *az = az_open(NULL);
    const az_lm *lm = tiny_llama(az, 3);
    const int64_t lengths[5] = {40, 2, 1, 17, 9}, context[4] = {8, 8, 64, 1}, stride[4] = {8, 3, 64, 1};
    az_tokens sequence[5];
    for (int i = 0; i < 5; i++) sequence[i] = (az_tokens){tiny_tokens(az, lengths[i], 40, (uint64_t)i), lengths[i]};
    for (int how = 0; how < 4; how++) {
        for (int64_t batch = 1; batch < 100; batch += 40) {
            const az_lm_score_options options = {.context = context[how], .stride = stride[how], .batch = batch};
            const az_lm_score *score = az_lm_score_sequences(az, lm, sequence, 5, true, &options);
            cr_assert_not_null(score, "%s", az_error(az));
            cr_assert_eq(score->documents, 5);
            cr_assert_eq(score->tokens, 39 + 1 + 0 + 16 + 8);
            double sum = 0;
            for (int i = 0; i < 5; i++) {
                cr_assert_float_eq(score->nll[i], plain_score(lm, &sequence[i], context[how], stride[how]), 1e-4);
                cr_assert_eq(score->weight[i], (double)lengths[i] - 1);
                sum += score->nll[i];
            }
            cr_assert_float_eq(score->mean.value, sum / 64, 1e-9);
        }
    }
    az_close(az);
}

Test(score, one_unseparated_text_counts_as_its_windows)
{
    az_ctx *az = az_open(NULL);
    const az_lm *lm = tiny_llama(az, 3);
    const az_tokens text = {tiny_tokens(az, 50, 40, 1), 50};
    const az_lm_score_options options = {.context = 16};
    const az_lm_score *score = az_lm_score_sequences(az, lm, &text, 1, false, &options);
    cr_assert_eq(score->documents, 4);
    cr_assert_eq(score->tokens, 49);
    cr_assert_eq(score->weight[3], 1);
    cr_assert_float_eq(score->nll[0] + score->nll[1] + score->nll[2] + score->nll[3], plain_score(lm, &text, 16, 16), 1e-4);
    cr_assert(isfinite(score->mean.se));
    az_close(az);
}

Test(score, what_cannot_be_scored_is_an_error)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = tiny_llama(az, 3);
    const az_tokens text = {tiny_tokens(az, 50, 40, 1), 1};
    cr_assert_null(az_lm_score_sequences(az, lm, &text, 1, true, NULL));
    cr_assert_eq(az_status_of(az), AZ_BAD_INPUT);
    az_clear(az);
    const az_lm_score_options options = {.context = 16, .stride = 17};
    cr_assert_null(az_lm_score_sequences(az, lm, &text, 1, true, &options));
    az_clear(az);
    const az_documents documents = {.count = 1, .item = &(az_document){"text", 4}};
    cr_assert_null(az_lm_score_documents(az, lm, &documents, NULL));
    cr_assert(strstr(az_error(az), "tokenizer"));
    az_close(az);
}
