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

/* The first hundred stories, each with BOS and cut to 512 tokens. */
Test(score, stories260k_has_its_stored_loss)
{
    enum { STORIES = 100, CUT = 512 };
    az_ctx *az = az_open(NULL);
    const az_lm *lm = az_lm_load(az, test_data(az, "models/stories260K/stories260K.gguf"));
    cr_assert_not_null(lm, "%s", az_error(az));
    const az_documents *stories = az_documents_read(az, test_data(az, "text/tinystories/tinystories_sample.txt"));
    cr_assert(stories && stories->count >= STORIES, "%s", az_error(az));
    az_tokens sequence[STORIES];
    for (int i = 0; i < STORIES; i++) {
        sequence[i] = az_tokenize(az, lm->tokenizer, stories->item[i].text, stories->item[i].length, AZ_ADD_BOS);
        if (sequence[i].n > CUT) sequence[i].n = CUT;
    }
    const az_lm_score *score = az_lm_score_sequences(az, lm, sequence, STORIES, true, NULL);
    cr_assert_not_null(score, "%s", az_error(az));
    cr_assert_eq(score->tokens, 37072);
    cr_assert_float_eq(score->mean.value, 1.407617, 2e-6, "%.7f", score->mean.value);
    cr_assert_float_eq(score->nll[0] / score->weight[0], 1.230415, 2e-6);
    az_close(az);
}

/* A story that fits into the context counts the same as a document and as its tokens. */
Test(score, documents_are_scored_after_bos)
{
    az_ctx *az = az_open(NULL);
    const az_lm *lm = az_lm_load(az, test_data(az, "models/stories260K/stories260K.gguf"));
    az_document item[2] = {{"Once upon a time", 16}, {"Lily went to the park.", 22}};
    const az_documents documents = {.count = 2, .item = item, .separated = true};
    const az_tokens second = az_tokenize(az, lm->tokenizer, item[1].text, item[1].length, AZ_ADD_BOS);
    const az_lm_score *both = az_lm_score_documents(az, lm, &documents, NULL), *one = az_lm_score_sequences(az, lm, &second, 1, true, NULL);
    cr_assert(both && one, "%s", az_error(az));
    cr_assert_eq(both->documents, 2);
    cr_assert_eq(both->weight[0], 4);
    cr_assert_float_eq(both->nll[1], one->nll[0], 1e-4);
    const az_lm_score *limited = az_lm_score_documents(az, lm, &documents, &(az_lm_score_options){.limit = 1});
    cr_assert_eq(limited->documents, 1);
    az_close(az);
}
