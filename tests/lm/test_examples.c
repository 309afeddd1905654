/* Examples as tokens and targets: borders, masks, truncation, conversations, and batches in which no example sees another. */
#include "data/documents.h"
#include "lm/lm_internal.h"
#include "support/models.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static az_examples *parsed(az_ctx *az, const char *text)
{
    return examples_parse(az, "x.jsonl", text, strlen(text));
}

static az_lm_examples *tokens_of(az_ctx *az, const az_lm *lm, const char *text, az_lm_example_options options)
{
    const az_examples *examples = parsed(az, text);
    cr_assert_not_null(examples, "%s", az_error(az));
    return az_lm_examples_of(az, lm, examples, &options);
}

static const char two[] = "{\"prompt\": \"one two\", \"response\": \" three\"}\n"
                          "{\"prompt\": \"a\", \"completion\": \"b c\", \"extra\": 1}\n\n"
                          "{\"text\": \"only a text\"}\n";

Test(examples, are_tokenized_piece_by_piece)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = test_llama(az, true);
    const az_lm_examples *all = tokens_of(az, lm, two, (az_lm_example_options){0});
    cr_assert_not_null(all, "%s", az_error(az));
    cr_assert_eq(all->count, 3);
    const az_tokens prompt = az_tokenize(az, lm->tokenizer, "one two", 7, 0), response = az_tokenize(az, lm->tokenizer, " three", 6, 0);
    const int64_t bos = az_token_bos(lm->tokenizer) >= 0, eos = az_token_eos(lm->tokenizer) >= 0;
    const az_lm_example *e = &all->item[0];
    cr_assert_eq(e->n, bos + prompt.n + response.n + eos - 1);
    cr_assert_eq(e->counted, response.n + eos);
    for (int64_t i = 0; i < e->n; i++) {
        const int64_t at = i + 1 - bos - prompt.n; /* of the next token in the response */
        if (at < 0)
            cr_assert_eq(e->target[i], -1);
        else
            cr_assert_eq(e->target[i], at < response.n ? response.id[at] : az_token_eos(lm->tokenizer));
    }
    const az_lm_example *whole = &all->item[2];
    cr_assert_eq(whole->counted, whole->n, "a text counts from its first predicted token on");
    const az_lm_examples *with_prompts = tokens_of(az, lm, two, (az_lm_example_options){.whole = true});
    cr_assert_eq(with_prompts->item[0].counted, e->n);
    az_close(az);
}

Test(examples, that_are_too_long_are_cut_or_skipped)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = test_llama(az, true);
    const az_lm_examples *all = tokens_of(az, lm, two, (az_lm_example_options){.length = 5});
    cr_assert_not_null(all, "%s", az_error(az));
    cr_assert_eq(all->count + all->skipped, 3);
    cr_assert_eq(all->skipped, 1, "the first prompt alone is longer");
    for (int64_t i = 0; i < all->count; i++) cr_assert(all->item[i].n <= 5 && all->item[i].counted > 0);
    cr_assert_null(tokens_of(az, lm, "{\"prompt\": \"a long prompt\", \"response\": \"x\"}", (az_lm_example_options){.length = 2}));
    cr_assert(strstr(az_error(az), "no example"), "%s", az_error(az));
    az_close(az);
}

static const char talk[] = "{\"messages\": [{\"role\": \"user\", \"content\": \"one\"}, {\"role\": \"assistant\", \"content\": \"two\"}, "
                           "{\"role\": \"user\", \"content\": \"three\"}, {\"role\": \"assistant\", \"content\": \"four\"}]}";

/* What counts is each answer with the mark behind it. */
static void hear(const az_progress_event *event, void *user)
{
    if (strcmp(event->task, "note") == 0) snprintf(user, 256, "%s", event->note);
}

/* An empty response teaches to say nothing, which is told. */
Test(examples, of_empty_responses_the_end_counts)
{
    static const char lines[] = "{\"prompt\": \"one two\", \"response\": \"\"}\n{\"prompt\": \"a\", \"response\": \"b\"}\n";
    char said[256] = "";
    az_ctx *az = az_open(&(az_settings){.progress = hear, .user = said});
    az_lm *lm = test_llama(az, true);
    cr_assert(az_token_eos(lm->tokenizer) >= 0);
    const az_lm_examples *all = tokens_of(az, lm, lines, (az_lm_example_options){0});
    cr_assert(all, "%s", az_error(az));
    cr_assert_eq(all->count, 2);
    cr_assert_eq(all->item[0].counted, 1);
    cr_assert_eq(all->item[0].target[all->item[0].n - 1], az_token_eos(lm->tokenizer));
    cr_assert(strstr(said, "'x.jsonl': 1 examples have a response without text, of which only the end counts"), "%s", said);
    az_close(az);
}

Test(examples, answers_of_conversations_count)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = test_llama(az, true);
    lm->config.context = 256; /* its tokens are short */
    static const char *const expected[] = {"two<|im_end|>\nfour<|im_end|>\n", "four<|im_end|>\n"};
    for (int last = 0; last < 2; last++) {
        const az_lm_examples *all = tokens_of(az, lm, talk, (az_lm_example_options){.chat = "chatml", .last_only = last});
        cr_assert_not_null(all, "%s", az_error(az));
        int32_t counted[256];
        int64_t n = 0;
        for (int64_t i = 0; i < all->item[0].n; i++)
            if (all->item[0].target[i] >= 0) counted[n++] = all->item[0].target[i];
        size_t length;
        const char *text = az_detokenize(az, lm->tokenizer, counted, n, &length);
        cr_assert_str_eq(text, expected[last]);
    }
    az_close(az);
}

/* Lists of parts are read as one text, and the calls of tools are put into words by the template, where they count like an answer. */
Test(examples, conversations_have_parts_and_tools)
{
    static const char *const calls =
        "{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"one \"}, {\"type\": \"text\", \"text\": "
        "\"two\"}]}, "
        "{\"role\": \"assistant\", \"content\": null, \"tool_calls\": [{\"function\": {\"name\": \"count\"}}]}, "
        "{\"role\": \"tool\", \"content\": \"2\"}, {\"role\": \"assistant\", \"content\": \"two\"}]}";
    static const char chat[] = "{% for m in messages %}[{{ m.role }}]{% if m.tool_calls %}call {{ m.tool_calls[0].function.name }}"
                               "{% else %}{{ m.content }}{% endif %}{% if m.role == 'assistant' %};{% endif %}{% endfor %}"
                               "{% if add_generation_prompt %}[assistant]{% endif %}";
    az_ctx *az = az_open(NULL);
    az_lm *lm = test_llama(az, true);
    lm->config.context = 256;
    const az_lm_examples *all = tokens_of(az, lm, calls, (az_lm_example_options){.chat = chat});
    cr_assert_not_null(all, "%s", az_error(az));
    int32_t counted[256];
    int64_t n = 0;
    size_t length;
    for (int64_t i = 0; i < all->item[0].n; i++)
        if (all->item[0].target[i] >= 0) counted[n++] = all->item[0].target[i];
    cr_assert_str_eq(az_detokenize(az, lm->tokenizer, all->item[0].token, all->item[0].n, &length),
                     "[user]one two[assistant]call count;[tool]2[assistant]two");
    cr_assert_str_eq(az_detokenize(az, lm->tokenizer, counted, n, &length), "call count;two;");
    az_close(az);
}

/* The loss of a batch is the sum of the losses of its examples alone, and prompts have no part in it. */
Test(examples, side_by_side_do_not_see_each_other)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = test_llama(az, true);
    const az_lm_examples *all = tokens_of(az, lm, two, (az_lm_example_options){0});
    double each[3];
    const double mean = az_lm_examples_loss(az, lm, all, NULL, each), together = az_lm_examples_loss(az, lm, all, NULL, NULL);
    cr_assert_float_eq(mean, (each[0] + each[1] + each[2]) / (double)all->counted, 1e-6);
    cr_assert_float_eq(together, mean, 1e-5);
    az_close(az);
}

Test(examples, come_in_another_order_each_round)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = test_llama(az, true);
    const az_lm_examples *all = tokens_of(az, lm, two, (az_lm_example_options){0});
    for (int round = 0; round < 3; round++) {
        int64_t tokens = 0;
        for (int64_t pass = 0; pass < 3; pass++) {
            const az_lm_lesson lesson = az_lm_lesson_drawn(az, all, 1, 3 * round + pass, 7);
            tokens += lesson.batch.start[1];
        }
        cr_assert_eq(tokens, all->tokens, "every example once a round");
    }
    az_close(az);
}

Test(examples, that_are_wrong_name_their_line)
{
    static const char *const wrong[] = {
        "{\"text\": \"a\"}\n{\"prompt\": \"a\"}",
        "{\"text\": \"a\"}\n[1]",
        "{\"text\": \"a\"}\nnot json",
        "{\"text\": \"a\"}\n{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}]}",
        "{\"text\": \"a\"}\n{\"messages\": [{\"role\": \"assistant\"}]}",
        "{\"text\": \"a\"}\n{\"text\": \"\xff\"}",
        "{\"text\": \"a\"}\n{\"text\": \"a\\u0000b\"}",
        "{\"text\": \"a\"}\n{\"messages\": [{\"role\": \"assistant\", \"content\": null}]}",
        "{\"text\": \"a\"}\n{\"messages\": [{\"role\": \"assistant\", \"content\": [{\"type\": \"image_url\"}]}]}",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        az_ctx *az = az_open(NULL);
        cr_assert_null(parsed(az, wrong[i]));
        cr_assert(strstr(az_error(az), "line 2"), "%s", az_error(az));
        az_close(az);
    }
    az_ctx *az = az_open(NULL);
    cr_assert_null(parsed(az, "\n\n"));
    az_close(az);
}

Test(examples, are_split_by_number)
{
    az_ctx *az = az_open(NULL);
    az_examples *first, *second, *all = parsed(az, two);
    cr_assert(az_examples_split(az, all, 0.5, 3, &first, &second));
    cr_assert_eq(first->count + second->count, 3);
    cr_assert_not(az_examples_split(az, all, 1.5, 3, &first, &second));
    az_close(az);
}
