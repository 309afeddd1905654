/* Instruction-aware prompt tuning from end to end: what learns when, its sizes, folders, breaks, bases, and what is refused. */
#include "support/folder.h"
#include "support/matrix.h"
#include "support/small_lm.h"
#include "support/small_tune.h"
#include "support/words.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char quick[] = "steps=8,batch=4,lr=1e-2,schedule=constant,warmup=0,clip=0";

static const az_adapter *tuned(az_ctx *az, az_lm *lm, const char *options, const char *training)
{
    const az_adapter *adapter = small_tune(az, lm, "iapt", options, training);
    cr_assert_not_null(adapter, "%s: %s", options, az_error(az));
    return adapter;
}

/* Largest difference between two adapters' tensors; those of activations, or the others. */
static double difference(az_ctx *az, const az_adapter *a, const az_adapter *b, bool activations)
{
    az_lm_parameter *x, *y;
    const int n = az_adapter_parameters(az, (az_adapter *)(uintptr_t)a, &x);
    double most = 0;
    cr_assert_eq(n, az_adapter_parameters(az, (az_adapter *)(uintptr_t)b, &y));
    for (int i = 0; i < n; i++)
        if (!strstr(x[i].name, "ator") != activations) most = fmax(most, matrix_difference(*x[i].slot, *y[i].slot));
    return most;
}

Test(iapt, begins_close_to_gelu)
{
    az_ctx *az = az_open(NULL);
    const az_adapter *adapter = tuned(az, small_lm(az), "bottleneck=4", "steps=1,lr=0");
    const az_generator_block *block = &adapter->generators->block[1];
    az_tensor *x = az_new1(az, AZ_F32, 601);
    for (int i = 0; i <= 600; i++) az_f32_mut(x)[i] = (float)(i - 300) / 100;
    cr_assert_lt(matrix_difference(az_generator_activate(az, block, x), az_gelu(az, x)), 1.3e-4);
    az_close(az);
}

Test(iapt, has_the_size_that_its_formula_gives)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az); /* 2 blocks, 32 wide */
    static const struct {
        const char *options;
        int64_t size;
    } cases[] = {{"bottleneck=8,prompts=3", 2 * (2 * 32 * 8 + 8 * 3 + 12)},
                 {"bottleneck=8,prompts=3,share=0", 2 * 32 * 8 + 8 * 3 + 2 * 12},
                 {"bottleneck=8,prompts=3,share=2,activation=relu", 2 * 32 * 8 + 8 * 3},
                 {"bottleneck=8,prompts=3,layers=1", 2 * 32 * 8 + 8 * 3 + 12},
                 {"bottleneck=8,prompts=3,layers=0-1,pooler=mean", 2 * (2 * 32 * 8 + 12)}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        cr_assert_eq(az_adapter_parameter_count(tuned(az, lm, cases[i].options, "steps=1")), cases[i].size, "%s", cases[i].options);
    az_close(az);
}

/* bilevel moves the activations by their own rate, joint with the rest, fixed not at all; the networks never see the other half. */
Test(iapt, activations_learn_as_they_are_told)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az);
    const az_adapter *start = tuned(az, lm, "bottleneck=8,learning=fixed", "steps=1,lr=0");
    const az_adapter *still = tuned(az, lm, "bottleneck=8,lr_act=0", quick), *slow = tuned(az, lm, "bottleneck=8,lr_act=1e-5", quick),
                     *fast = tuned(az, lm, "bottleneck=8,lr_act=1e-3", quick), *joint = tuned(az, lm, "bottleneck=8,learning=joint", quick),
                     *fixed = tuned(az, lm, "bottleneck=8,learning=fixed", quick);
    cr_assert_eq(difference(az, still, start, true), 0);
    cr_assert_eq(difference(az, fixed, start, true), 0);
    cr_assert_leq(difference(az, slow, start, true), 8.1e-5); /* AdamW's steps are about as long as its rate */
    cr_assert_gt(difference(az, slow, start, true), 4e-5);
    cr_assert_gt(difference(az, fast, start, true), 4e-3);
    cr_assert_gt(difference(az, joint, start, true), 1e-2);
    cr_assert_gt(difference(az, still, start, false), 1e-2);
    cr_assert_gt(difference(az, fixed, joint, false), 1e-4);
    az_close(az);
}

Test(iapt, learnt_activations_are_taken_over)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az);
    const char *folder = test_path(az, test_folder(az), "first");
    const az_adapter *first = tuned(az, lm, "bottleneck=8,learning=joint", quick);
    cr_assert(az_adapter_write(az, lm, first, folder, "small", AZ_F32), "%s", az_error(az));
    const az_adapter *again = tuned(az, lm, az_format_text(az, "bottleneck=6,learning=fixed,activations=%s", folder), quick);
    for (int b = 0; b < 2; b++)
        cr_assert_eq(matrix_difference(again->generators->block[b].numerator, first->generators->block[b].numerator), 0);
    az_close(az);
}

static double loss_of(az_ctx *az, const az_lm *lm, const az_adapter *adapter, const az_examples *examples)
{
    const az_lm_example_options how = {.virtual_tokens = adapter->virtual_tokens};
    const az_lm_run run = {.adapter = &adapter, .adapters = 1};
    return az_lm_examples_loss(az, lm, az_lm_examples_of(az, lm, examples, &how), &run, NULL);
}

/* On what was learnt: soft tokens can do little to a model of random weights. */
Test(iapt, every_ablation_learns)
{
    static const char *const options[] = {"pooler=last",       "pooler=max",    "pooler=mean,normalize", "activation=relu",
                                          "activation=random", "position=none", "share=0,learning=joint"};
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az);
    const az_examples *examples = words_examples(az, 4);
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        const char *all = az_format_text(az, "bottleneck=8,%s", options[i]);
        const words_tuned before = words_tune(az, lm, "iapt", all, "steps=1,lr=0", examples, NULL, NULL),
                          after = words_tune(az, lm, "iapt", all, "steps=40,batch=2,lr=5e-2", examples, NULL, NULL);
        cr_assert(before.good && after.good, "%s: %s", options[i], az_error(az));
        const double first = loss_of(az, lm, before.job.adapter, examples), last = loss_of(az, lm, after.job.adapter, examples);
        cr_assert_lt(last, first - 0.02, "%s: from %g to %g", options[i], first, last);
    }
    az_close(az);
}

Test(iapt, tells_of_its_activations)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az);
    const claim_tuning what = {
        .lm = lm, .method = "iapt", .options = "bottleneck=4", .settings = "steps=1", .train = claim_strings(az, CLAIM_NEW, 1, 4, 8, 3)};
    claim_tuned run;
    int64_t n = 0;
    cr_assert(claim_tune(az, &what, 1, &run), "%s", az_error(az));
    const double *g = az_report_curve_of(run.report, "block 1", &n);
    cr_assert_eq(n, 101);
    cr_assert_float_eq(g[70], 2 * 0.5 * erfc(-2 / sqrt(2)), 2e-4); /* at 2 */
    az_close(az);
}

/* ---- breaks ---- */

Test(iapt, an_interrupted_run_goes_on_bit_for_bit)
{
    az_ctx *az = az_open(&(az_settings){.threads = 1});
    const char *training = az_format_text(az, "%s,resume=%s", quick, test_folder(az)), *options = "bottleneck=8,lr_act=1e-3";
    const pid_t child = fork();
    if (child == 0) {
        int times = 0;
        az_catch_interrupts();
        az_ctx *own = az_open(&(az_settings){.threads = 1, .progress = interrupt_training, .user = &times});
        _exit(!small_tune(own, small_lm(own), "iapt", options, training) && az_status_of(own) == AZ_INTERRUPTED ? 0 : 1);
    }
    int status = 0;
    waitpid(child, &status, 0);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %d", status);
    az_lm *lm = small_lm(az);
    const az_adapter *whole = tuned(az, lm, options, quick), *parts = tuned(az, lm, options, training);
    cr_assert_eq(difference(az, whole, parts, true), 0);
    cr_assert_eq(difference(az, whole, parts, false), 0);
    az_close(az);
}

/* ---- bases, bad input ---- */

Test(iapt, works_in_front_of_any_base)
{
    az_ctx *az = az_open(NULL);
    for (int base = 0; base < SMALL_BASES; base++) {
        az_lm *lm = small_base(az, base);
        const az_adapter *adapter = tuned(az, lm, "bottleneck=8", quick);
        const az_tokens prompt = {.id = (int32_t[]){3, 270, 5}, .n = 3};
        cr_assert_not_null(az_lm_generate(az, lm, &prompt, &(az_lm_generate_options){.max_tokens = 4, .adapter = adapter}), "%s: %s",
                           small_bases[base], az_error(az));
    }
    az_close(az);
}

static az_example conversation(az_ctx *az)
{
    static const char text[] = "[{\"role\": \"user\", \"content\": \"one\"}, {\"role\": \"assistant\", \"content\": \"two\"},"
                               " {\"role\": \"user\", \"content\": \"three\"}, {\"role\": \"assistant\", \"content\": \"four\"}]";
    static const char *const role[] = {"user", "assistant", "user", "assistant"};
    az_example e = {.turns = 4, .turn = az_alloc_array(az, 4, sizeof(az_turn)), .messages = text};
    for (int i = 0; i < 4; i++) e.turn[i] = (az_turn){.role = role[i], .text = "", .length = 0};
    return e;
}

Test(iapt, says_what_is_wrong)
{
    static const char *const wrong[][3] = {
        {"layers=0-2", "steps=1", "0 to 1"}, {"layers=1x", "steps=1", "0-3,6"},       {"activations=/nowhere", "steps=1", "/nowhere"},
        {"pooler=sum", "steps=1", "pooler"}, {"prompts=70", "steps=1", "70 virtual"}, {"", "steps=1,whole", "whole"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        az_ctx *az = az_open(NULL);
        cr_assert_null(small_tune(az, small_lm(az), "iapt", wrong[i][0], wrong[i][1]));
        cr_assert_eq(az_status_of(az), AZ_BAD_INPUT);
        cr_assert(strstr(az_error(az), wrong[i][2]), "%s", az_error(az));
        az_close(az);
    }
}

static void refused(az_example example, int64_t n, const char *options, const char *training, const char *word)
{
    az_ctx *az = az_open(NULL);
    az_examples *examples = words_examples(az, n);
    az_lm *lm = small_lm(az);
    lm->config.context = 256; /* conversations are long */
    if (example.turns > 0) examples->item[n - 1] = example;
    cr_assert_not(words_tune(az, lm, "iapt", options, training, examples, NULL, NULL).good, "%s", word);
    cr_assert_eq(az_status_of(az), AZ_BAD_INPUT);
    cr_assert(strstr(az_error(az), word), "'%s' does not speak of '%s'", az_error(az), word);
    az_close(az);
}

Test(iapt, examples_that_do_not_fit_are_refused)
{
    az_ctx *az = az_open(NULL);
    const az_example empty = {.turns = 2, .turn = (az_turn[]){{.role = "prompt", .text = ""}, {"response", "number", 6}}};
    const az_example talk = conversation(az);
    refused(empty, 3, "", "steps=1", "example 3");
    refused(talk, 3, "", "steps=1,template=chatml", "--last-only");
    refused((az_example){0}, 1, "", "steps=1", "learning=joint");
    cr_assert(words_tune(az, small_lm(az), "iapt", "learning=joint", "steps=1", words_examples(az, 1), NULL, NULL).good, "%s",
              az_error(az));
    az_close(az);
}

/* The log-likelihood of the label behind the example's prompt, put there as a response. */
static double continuation(az_ctx *az, const az_lm *lm, const az_adapter *adapter, const az_example *example, const char *label)
{
    static const az_lm_form bare = {.input = "{}", .output = "{}", .within = "", .between = ""};
    const az_lm_example_options how = {.virtual_tokens = adapter->virtual_tokens, .form = &bare};
    const az_lm_run run = {.adapter = &adapter, .adapters = 1};
    az_turn turn[] = {example->turn[0], {"response", label, strlen(label)}};
    const az_examples one = {.path = "labels", .count = 1, .item = &(az_example){.turns = 2, .turn = turn}};
    double nll = NAN;
    az_lm_examples_loss(az, lm, az_lm_examples_of(az, lm, &one, &how), &run, &nll);
    return -nll;
}

/* Labels of several tokens and of one, from first tokens, whole and per token: as the likelihoods of continuations have it. */
Test(iapt, labels_are_chosen_by_their_likelihood)
{
    const az_lm_labels several = {.n = 4, .text = (const char *[]){"number", "name", "colour", "verb"}},
                       single = {.n = 5, .text = (const char *[]){"c", "a", "n", "t", "x"}};
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az);
    const az_examples *examples = words_examples(az, 24);
    cr_assert(words_tune(az, lm, "full", "", "steps=40,batch=8,lr=1e-2", examples, NULL, NULL).good, "%s", az_error(az));
    const words_tuned t = words_tune(az, lm, "iapt", "bottleneck=8", "steps=8,batch=4,lr=5e-2", examples, NULL, NULL);
    cr_assert(t.good, "%s", az_error(az));
    bool chosen[5] = {false};
    for (int k = 0; k < 4; k++) {
        const az_lm_labels *labels = k % 3 == 0 ? &several : &single;
        const az_lm_classify_options how = {.adapter = t.job.adapter, .whole = k < 2, .per_token = k == 3};
        const az_lm_classification *c = az_lm_classify(az, lm, examples, labels, &how);
        cr_assert(c && c->count == 24, "%s", az_error(az));
        for (int i = 0; i < 24; i++) {
            for (int l = 0; l < labels->n; l++) {
                const double by_hand = continuation(az, lm, t.job.adapter, &examples->item[i], labels->text[l]) /
                                       (k == 3 ? (double)az_tokenize(az, lm->tokenizer, labels->text[l], strlen(labels->text[l]), 0).n : 1);
                cr_assert_float_eq(c->score[i * labels->n + l], by_hand, 1e-4, "case %d, example %d: %g, not %g", k, i,
                                   c->score[i * labels->n + l], by_hand);
                cr_assert_leq(c->score[i * labels->n + l], c->score[i * labels->n + c->choice[i]]);
            }
            chosen[c->choice[i]] |= k == 0;
        }
    }
    cr_assert(chosen[0] + chosen[1] + chosen[2] + chosen[3] > 1, "one label for all");
    az_close(az);
}

/* Documents have no instruction. */
Test(iapt, documents_are_not_scored)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az);
    const az_lm_score_options how = {.adapter = tuned(az, lm, "bottleneck=4", "steps=1")};
    cr_assert_null(az_lm_score_documents(az, lm, small_stories(az, 0, 2), &how));
    cr_assert(strstr(az_error(az), "instruction"), "%s", az_error(az));
    az_close(az);
}
