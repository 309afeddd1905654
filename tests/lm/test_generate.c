/* Generation: what comes out, when it stops, and the stored continuation of a real model. */
#include "support/data.h"
#include "support/folder.h"
#include "support/tiny_lm.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* The greedy continuation by running the whole sequence again for each token. */
static void plain_greedy(const az_lm *lm, int32_t *token, int64_t from, int64_t to)
{
    for (int64_t n = from; n < to; n++) {
        double *logits = plain_logits(lm, token, n);
        const double *last = logits + (n - 1) * lm->config.vocabulary;
        int32_t best = 0;
        for (int32_t i = 1; i < lm->config.vocabulary; i++)
            if (last[i] > last[best]) best = i;
        token[n] = best;
        free(logits);
    }
}

Test(generate, greedy_equals_running_everything_again)
{
    az_ctx *az = az_open(NULL);
    const az_lm *lm = tiny_llama(az, 3);
    int32_t expected[40] = {5, 17, 2};
    plain_greedy(lm, expected, 3, 40);
    const az_tokens prompt = {(int32_t[]){5, 17, 2}, 3};
    const az_tokens all = *az_lm_generate(az, lm, &prompt, &(az_lm_generate_options){.max_tokens = 37});
    cr_assert_eq(all.n, 40, "%s", az_error(az));
    cr_assert_arr_eq(all.id, expected, sizeof expected);
    az_close(az);
}

Test(generate, a_prompt_of_several_chunks_equals_one_pass)
{
    az_ctx *az = az_open(NULL);
    az_lm_config config = tiny_config();
    config.context = 1200;
    const az_lm *lm = tiny_lm(az, az_lm_arch_by_name("llama"), &config, 3);
    const az_tokens prompt = {tiny_tokens(az, 1100, 40, 1), 1100};
    const az_lm_batch batch = {.sequences = 1, .token = prompt.id, .start = (int64_t[]){0, 1100}};
    const az_tensor *logits = az_lm_forward(az, lm, &batch, &(az_lm_run){.output = AZ_LOGITS_LAST});
    const int32_t best = (int32_t)az_item(az_argmax(az, logits), 0);
    const az_tokens all = *az_lm_generate(az, lm, &prompt, &(az_lm_generate_options){.max_tokens = 1});
    cr_assert_eq(all.n, 1101, "%s", az_error(az));
    cr_assert_eq(all.id[1100], best);
    az_close(az);
}

/* A copy shares what is arranged; where few tokens are to come, or memory is limited, nothing is. */
Test(generate, arranged_matrices_give_the_same_text)
{
    az_ctx *az = az_open(NULL);
    const char *path = test_path(az, test_folder(az), "model.gguf");
    az_lm_config config = {.vocabulary = 40, .width = 64, .blocks = 2, .heads = 4, .hidden = 96, .context = 64, .tied = true};
    const az_lm *made = tiny_lm(az, az_lm_arch_by_name("llama"), &config, 3);
    cr_assert(az_lm_save(az, made, path, az_format_by_name("q4_0")), "%s", az_error(az));
    az_lm *lm = az_lm_load(az, path);
    cr_assert(az_lm_arrange(az, lm, 8) && !lm->block[0].q.weight->arranged);
    const az_tokens prompt = {(int32_t[]){5, 17, 2}, 3};
    const az_lm_generate_options options = {.max_tokens = 37};
    const az_tokens before = *az_lm_generate(az, lm, &prompt, &options);
    const az_format *format = lm->block[0].q.weight->format;
    const bool can = format->rows_kernel(format, 1, true) != NULL; /* this processor */
    cr_assert(az_lm_arrange(az, lm, 37) && !lm->block[0].q.weight->arranged == !can, "%s", az_error(az));
    const az_tokens after = *az_lm_generate(az, az_lm_copy(az, lm), &prompt, &options);
    cr_assert_arr_eq(before.id, after.id, 40 * sizeof *before.id);
    az_ctx *limited = az_open(&(az_settings){.memory_limit = (size_t)1 << 30});
    az_lm *there = az_lm_load(limited, path);
    cr_assert(az_lm_arrange(limited, there, 37) && !there->block[0].q.weight->arranged, "%s", az_error(limited));
    az_close(limited);
    az_close(az);
}

typedef struct az_collected {
    int n, stop_after;
    int32_t id[64];
} az_collected;

static bool collect(int sample, int32_t id, void *user)
{
    cr_assert_eq(sample, 0);
    az_collected *c = user;
    c->id[c->n++] = id;
    return c->n != c->stop_after;
}

static bool collect_sample(int sample, int32_t id, void *user)
{
    return collect(0, id, (az_collected *)user + sample);
}

Test(generate, the_sink_sees_each_token_and_may_end_it)
{
    az_ctx *az = az_open(NULL);
    const az_lm *lm = tiny_llama(az, 3);
    const az_tokens prompt = {(int32_t[]){5, 17, 2}, 3};
    const az_sampler sampler = {.temperature = 1, .seed = 4};
    az_collected all = {0}, some = {.stop_after = 6};
    const az_tokens whole =
        *az_lm_generate(az, lm, &prompt, &(az_lm_generate_options){.max_tokens = 20, .sampler = sampler, .sink = collect, .user = &all});
    const az_tokens part =
        *az_lm_generate(az, lm, &prompt, &(az_lm_generate_options){.max_tokens = 20, .sampler = sampler, .sink = collect, .user = &some});
    cr_assert_eq(whole.n, 23);
    cr_assert_eq(all.n, 20);
    cr_assert_arr_eq(all.id, whole.id + 3, 20 * sizeof *all.id);
    cr_assert_eq(part.n, 9);
    cr_assert_arr_eq(part.id, whole.id, 9 * sizeof *part.id);
    az_close(az);
}

/* Samples that are made together are those that each seed gives alone, also when some end before others. */
Test(generate, samples_of_one_prompt_equal_separate_runs)
{
    enum { SAMPLES = 4, MOST = 40 };
    az_ctx *az = az_open(NULL);
    const az_lm *lm = tiny_llama(az, 3);
    const az_tokens prompt = {(int32_t[]){5, 17, 2}, 3};
    az_lm_generate_options how = {.max_tokens = MOST, .samples = SAMPLES, .sampler = {.temperature = 1, .seed = 4}};
    az_collected ended[SAMPLES] = {{.stop_after = 3}, {.stop_after = 40}, {.stop_after = 11}, {.stop_after = 25}};
    how.sink = collect_sample, how.user = ended;
    const az_tokens *together = az_lm_generate(az, lm, &prompt, &how);
    cr_assert_not_null(together, "%s", az_error(az));
    how.samples = 1, how.sink = NULL;
    for (int s = 0; s < SAMPLES; s++, how.sampler.seed++) {
        const az_tokens *alone = az_lm_generate(az, lm, &prompt, &how);
        cr_assert_eq(together[s].n, 3 + ended[s].stop_after);
        cr_assert_arr_eq(together[s].id, alone->id, (size_t)together[s].n * sizeof(int32_t), "sample %d", s);
    }
    cr_assert(memcmp(together[0].id + 3, together[1].id + 3, 3 * sizeof(int32_t)) != 0);
    az_close(az);
}

Test(generate, it_ends_with_the_context)
{
    az_ctx *az = az_open(NULL);
    const az_lm *lm = tiny_llama(az, 3);
    const az_tokens prompt = {tiny_tokens(az, 60, 40, 1), 60};
    cr_assert_eq(az_lm_generate(az, lm, &prompt, &(az_lm_generate_options){.max_tokens = 1000})->n, 64);
    cr_assert_eq(az_lm_generate(az, lm, &prompt, &(az_lm_generate_options){.max_tokens = -1})->n, 64);
    cr_assert_eq(az_lm_generate(az, lm, &prompt, &(az_lm_generate_options){.max_tokens = 0})->n, 60);
    cr_assert(az_ok(az), "%s", az_error(az));
    az_close(az);
}

Test(generate, a_prompt_that_does_not_fit_is_an_error)
{
    const int64_t lengths[2] = {0, 65};
    for (int i = 0; i < 2; i++) {
        az_ctx *az = az_open(NULL);
        const az_lm *lm = tiny_llama(az, 3);
        const az_tokens prompt = {tiny_tokens(az, 65, 40, 1), lengths[i]};
        cr_assert_null(az_lm_generate(az, lm, &prompt, &(az_lm_generate_options){.max_tokens = 5}));
        cr_assert_eq(az_status_of(az), AZ_BAD_INPUT);
        az_close(az);
    }
}

/* ---- a real model, in both of its files ---- */

static json_t *reference_of(az_ctx *az)
{
    json_t *reference = json_load_file(test_data(az, "models/stories260K/reference.json"), 0, NULL);
    cr_assert_not_null(reference);
    return reference;
}

static void assert_stored_continuation(az_ctx *az, const az_lm *lm, const json_t *reference)
{
    const json_t *ids = json_object_get(reference, "greedy_from_bos_ids");
    const int64_t n = (int64_t)json_array_size(ids);
    const az_tokens bos = {(int32_t[]){1}, 1};
    const az_tokens all = *az_lm_generate(az, lm, &bos, &(az_lm_generate_options){.max_tokens = n - 1});
    cr_assert_eq(all.n, n, "%s", az_error(az));
    for (int64_t i = 0; i < n; i++) cr_assert_eq(all.id[i], json_integer_value(json_array_get(ids, (size_t)i)), "token %lld", (long long)i);
    const char *text = az_detokenize(az, lm->tokenizer, all.id, all.n, NULL);
    cr_assert_str_eq(text, json_string_value(json_object_get(reference, "greedy_from_bos_text")));
}

static void assert_first_logits(az_ctx *az, const az_lm *lm, const json_t *reference)
{
    const json_t *top = json_object_get(reference, "first_logits_top8");
    const az_lm_batch batch = {.sequences = 1, .token = (int32_t[]){1}, .start = (int64_t[]){0, 1}};
    const az_tensor *logits = az_lm_forward(az, lm, &batch, NULL);
    cr_assert_not_null(logits, "%s", az_error(az));
    for (size_t i = 0; i < json_array_size(top); i++) {
        const json_t *pair = json_array_get(top, i);
        const int64_t id = json_integer_value(json_array_get(pair, 0));
        cr_assert_float_eq(az_item(logits, id), json_real_value(json_array_get(pair, 1)), 1e-4);
    }
}

Test(generate, stories260k_continues_as_stored)
{
    static const char *const files[2] = {"models/stories260K/stories260K.gguf", "models/stories260K/stories260K.bin"};
    for (int i = 0; i < 2; i++) {
        az_ctx *az = az_open(NULL);
        json_t *reference = reference_of(az);
        const az_lm *lm = az_lm_load(az, test_data(az, files[i]));
        cr_assert_not_null(lm, "%s", az_error(az));
        assert_first_logits(az, lm, reference);
        assert_stored_continuation(az, lm, reference);
        json_decref(reference);
        az_close(az);
    }
}
