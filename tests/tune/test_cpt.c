/* Context-aware prompt tuning: the untouched context is in-context learning, what may move and how far, the weights of labels, and what is
 * written and refused. */
#include "lm/lm_internal.h"
#include "tune/cpt.h"

#include "support/folder.h"
#include "support/matrix.h"
#include "support/small_lm.h"
#include "support/words.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

static const az_lm_form form = {.input = "{}:", .output = "={}", .within = " ", .between = "\n"};
#define FORM "input={}:,output=\"={}\""
static const char quick[] = "steps=12,batch=2,lr=1e-2,schedule=constant,warmup=0";

static az_lm_examples *lessons_of(az_ctx *az, const az_lm *lm, az_cpt_weights weights, az_lm_line *context)
{
    const az_examples *examples = words_examples(az, 3);
    cr_assert(az_cpt_context(az, lm->tokenizer, &form, examples, 3, 0, context), "%s", az_error(az));
    az_lm_examples *lessons = az_cpt_lessons(az, lm, &form, context, &weights, examples, 3);
    cr_assert(lessons, "%s", az_error(az));
    return lessons;
}

Test(cpt, tokens_have_the_roles_of_their_pieces)
{
    az_ctx *az = az_open(NULL);
    const az_lm *lm = small_lm(az);
    az_lm_line line, label;
    cr_assert(az_lm_form_query(az, lm->tokenizer, &form, "one", &line));
    cr_assert(az_lm_form_answer(az, lm->tokenizer, &form, "number", &label));
    cr_assert_eq(line.type[0], AZ_FORM_INPUT);
    cr_assert_eq(line.type[line.n - 1], AZ_FORM_OUTPUT_FORM);
    for (int64_t j = 0; j < label.n; j++) cr_assert_eq(label.type[j], AZ_FORM_LABEL);
    az_lm_line context;
    lessons_of(az, lm, (az_cpt_weights){.decay = 1, .context_loss = true}, &context);
    int64_t most = 0;
    for (int64_t j = 0; j < context.n; j++) most = context.type[j] > most ? context.type[j] : most;
    cr_assert_eq(most, AZ_FORM_LABEL + 2 * AZ_FORM_ROLES);
    cr_assert_eq(context.type[context.n - 1], AZ_FORM_NOTHING);
    az_close(az);
}

/* Three examples and decay 0.9: the query's label counts 1, those of the context 0.9, 0.81 and 0.729, the nearest most. */
Test(cpt, labels_weigh_by_how_far_back_they_are)
{
    az_ctx *az = az_open(NULL);
    const az_lm *lm = small_lm(az);
    az_lm_line context;
    const az_lm_examples *lessons = lessons_of(az, lm, (az_cpt_weights){.decay = 0.9, .context_loss = true}, &context);
    for (int64_t i = 0; i < 3; i++) {
        const az_lm_example *e = &lessons->item[i];
        for (int64_t t = 0; t < e->n; t++) {
            const int64_t at = t + 1; /* of the target */
            const int32_t type = at < context.n ? context.type[at] : -1;
            if (type >= 0) cr_assert_eq(e->target[t] >= 0, type > 0 && type % 4 == 0, "token %lld", (long long)at);
            if (e->target[t] < 0) continue;
            const double expected = type < 0 ? 1 : pow(0.9, 3 - (type - 1) / 4);
            cr_assert_float_eq(e->weight[t], expected, 1e-6, "token %lld: %g, not %g", (long long)at, e->weight[t], expected);
            if (type >= 0) cr_assert_eq(e->target[t], context.id[at]);
        }
    }
    const az_lm_examples *left = lessons_of(az, lm, (az_cpt_weights){.decay = 0.9, .context_loss = true, .leave_out = true}, &context);
    for (int64_t t = 0; t < left->item[1].n; t++) {
        const int32_t token = left->item[1].token[t];
        if (token < 0) cr_assert(context.type[-1 - token] == 0 || (context.type[-1 - token] - 1) / 4 != 1, "token %d is there", token);
    }
    const az_lm_examples *alone = lessons_of(az, lm, (az_cpt_weights){.decay = 0.9}, &context);
    for (int64_t t = 0; t + 1 < context.n; t++) cr_assert_lt(alone->item[0].target[t], 0);
    az_close(az);
}

/* The loss of a lesson against logits of plain tokens, summed by hand. */
Test(cpt, the_untouched_context_is_in_context_learning)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az);
    const words_tuned t = words_tune(az, lm, "cpt", "variant=icl," FORM, quick, words_examples(az, 3), NULL, NULL);
    cr_assert(t.good, "%s", az_error(az));
    az_lm_line context;
    const az_lm_examples *lessons = lessons_of(az, lm, (az_cpt_weights){.decay = 0.9, .context_loss = true}, &context);
    const az_lm_lesson lesson = az_lm_lesson_of_examples(az, lessons, (int64_t[]){1}, 1);
    const int64_t n = lesson.batch.start[1];
    int32_t *plain = az_alloc_array(az, (size_t)n, sizeof *plain);
    for (int64_t i = 0; i < n; i++) plain[i] = lesson.batch.token[i] < 0 ? context.id[-1 - lesson.batch.token[i]] : lesson.batch.token[i];
    const az_adapter *adapter = t.job.adapter;
    const az_lm_run run = {.adapter = &adapter, .adapters = 1};
    const az_lm_batch words = {.sequences = 1, .token = plain, .start = lesson.batch.start};
    const az_tensor *tuned = az_lm_forward(az, lm, &lesson.batch, &run), *given = az_lm_forward(az, lm, &words, NULL);
    cr_assert_eq(matrix_difference(tuned, given), 0);
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        if (lesson.target[i] >= 0) sum -= lesson.weight[i] * az_item(az_log_softmax(az, az_slice(az, given, 0, i, 1)), lesson.target[i]);
    cr_assert_float_eq(az_to_double(az_lm_loss(az, lm, &lesson, &run)), sum, 1e-4 * sum);
    az_close(az);
}

Test(cpt, tokens_stay_in_their_balls_and_labels_where_they_are)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az);
    az_report *report = az_report_new(az, NULL);
    const char *options = "eps_input=0.2,eps_format=0.1," FORM;
    const words_tuned t = words_tune(az, lm, "cpt", options, quick, words_examples(az, 3), NULL, report);
    cr_assert(t.good, "%s", az_error(az));
    az_lm_line context;
    lessons_of(az, lm, (az_cpt_weights){.decay = 1}, &context);
    const az_tensor *start = az_lm_token_rows(az, lm, context.id, context.n), *prompt = t.job.adapter->prompt;
    int at_the_edge = 0;
    for (int64_t j = 0; j < context.n; j++) {
        double square = 0, size = 0;
        for (int64_t c = 0; c < 32; c++) {
            square += pow(az_item(prompt, j * 32 + c) - az_item(start, j * 32 + c), 2);
            size += pow(az_item(start, j * 32 + c), 2);
        }
        const int role = context.type[j] > 0 ? context.type[j] % 4 : -1;
        const double radius = role == AZ_FORM_INPUT ? 0.2 / 8 : role == 1 || role == 3 ? 0.1 / 8 : 0; /* sqrt(32 / 2048) = 1/8 */
        /* the row is stored as a sum, rounded to f32 */
        cr_assert_leq(sqrt(square), radius * (1 + 1e-6) + (radius > 0 ? 2e-7 * sqrt(size) : 0), "token %lld", (long long)j);
        at_the_edge += radius > 0 && sqrt(square) > 0.99 * radius;
    }
    cr_assert_gt(at_the_edge, 2);
    int64_t n = 0;
    const double *loss = az_report_curve_of(report, "training loss", &n);
    cr_assert_eq(n, 12);
    cr_assert(loss[11] < loss[0] || loss[10] < loss[0], "from %g to %g", loss[0], loss[11]);
    az_close(az);
}

Test(cpt, balls_without_extent_leave_everything_as_it_is)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az);
    const char *options = "eps_input=0,eps_format=0," FORM;
    const words_tuned t = words_tune(az, lm, "cpt", options, quick, words_examples(az, 3), NULL, NULL);
    cr_assert(t.good, "%s", az_error(az));
    az_lm_line context;
    lessons_of(az, lm, (az_cpt_weights){.decay = 1}, &context);
    cr_assert_eq(matrix_difference(t.job.adapter->prompt, az_lm_token_rows(az, lm, context.id, context.n)), 0);
    az_close(az);
}

/* The loss of a label in the context does not depend on what comes later. */
Test(cpt, earlier_labels_do_not_see_later_tokens)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az);
    const words_tuned t = words_tune(az, lm, "cpt", "variant=icl," FORM, quick, words_examples(az, 3), NULL, NULL);
    cr_assert(t.good, "%s", az_error(az));
    az_lm_line context;
    const az_lm_examples *lessons = lessons_of(az, lm, (az_cpt_weights){.decay = 1, .context_loss = true}, &context);
    az_lm_lesson lesson = az_lm_lesson_of_examples(az, lessons, (int64_t[]){0}, 1);
    int32_t *target = az_alloc_array(az, (size_t)lesson.batch.start[1], sizeof *target);
    for (int64_t i = 0; i < lesson.batch.start[1]; i++) /* the label of example 1 alone */
        target[i] = i + 1 < context.n && context.type[i + 1] == AZ_FORM_LABEL + AZ_FORM_ROLES ? lesson.target[i] : -1;
    lesson.target = target;
    const az_adapter *adapter = t.job.adapter;
    const az_lm_objective objective = {.lm = lm, .lesson = lesson, .scale = 1, .run = {.adapter = &adapter, .adapters = 1}};
    az_tensor *g;
    cr_assert(az_lm_gradient(az, &objective, &(az_lm_parameter){.name = "prompt", .slot = &t.job.adapter->prompt}, 1, &g, NULL));
    double before = 0, behind = 0;
    for (int64_t j = 0; j < context.n; j++)
        for (int64_t c = 0; c < 32; c++)
            *(context.type[j] > AZ_FORM_LABEL + AZ_FORM_ROLES ? &behind : &before) += fabs(az_item(g, j * 32 + c));
    cr_assert_eq(behind, 0);
    cr_assert_gt(before, 0);
    az_close(az);
}

Test(cpt, a_written_prompt_chooses_the_same_labels)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az);
    const az_examples *examples = words_examples(az, 12);
    az_report *report = az_report_new(az, NULL);
    const words_tuned t = words_tune(az, lm, "cpt", "shots=2,soft=3," FORM, quick, words_examples(az, 4), examples, report);
    cr_assert(t.good, "%s", az_error(az));
    const char *folder = test_path(az, test_folder(az), "cpt");
    cr_assert(az_adapter_write(az, lm, t.job.adapter, folder, "small", AZ_F32), "%s", az_error(az));
    const az_adapter *read = az_adapter_read(az, lm, folder);
    cr_assert(read, "%s", az_error(az));
    cr_assert_str_eq(read->kind, "CPT");
    cr_assert_eq(matrix_difference(read->prompt, t.job.adapter->prompt), 0);
    static const char *const keys[] = {"cpt_token_ids", "cpt_mask", "cpt_tokens_type_mask", "opt_projection_epsilon",
                                       "\"num_virtual_tokens\""};
    const char *config = az_read_file(az, test_path(az, folder, "adapter_config.json"), NULL);
    for (int i = 0; i < 5; i++) cr_assert(strstr(config, keys[i]), "no %s", keys[i]);
    cr_assert(read->form, "no templates");
    cr_assert_str_eq(read->form->input, form.input);
    cr_assert_str_eq(read->form->within, form.within);
    const az_lm_labels *labels = az_lm_labels_of(az, words_examples(az, 4));
    cr_assert(labels && labels->n == 4, "%s", az_error(az));
    const az_lm_classification *tuned = az_lm_classify(az, lm, examples, labels, &(az_lm_classify_options){.adapter = t.job.adapter}),
                               *again = az_lm_classify(az, lm, examples, labels, &(az_lm_classify_options){.adapter = read});
    cr_assert(tuned && again, "%s", az_error(az));
    cr_assert_eq(again->count, 12);
    cr_assert_arr_eq(tuned->choice, again->choice, 12 * sizeof(int));
    /* whole labels instead of their first tokens: a choice all the same */
    again = az_lm_classify(az, lm, examples, labels, &(az_lm_classify_options){.adapter = read, .whole = true});
    cr_assert(again, "%s", az_error(az));
    for (int i = 0; i < 12; i++) cr_assert(again->choice[i] >= 0 && again->choice[i] < 4);
    az_close(az);
}

/* The context has BOS; a prompt or a text behind it begins without another. */
Test(cpt, bos_stands_once)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az);
    const int32_t bos = az_token_bos(lm->tokenizer);
    const words_tuned t = words_tune(az, lm, "cpt", "variant=icl," FORM, quick, words_examples(az, 3), NULL, NULL);
    cr_assert(t.good && bos >= 0, "%s", az_error(az));
    const char *folder = test_path(az, test_folder(az), "cpt");
    cr_assert(az_adapter_write(az, lm, t.job.adapter, folder, "small", AZ_F32), "%s", az_error(az));
    const az_adapter *read = az_adapter_read(az, lm, folder);
    const az_tokens with = {.id = (int32_t[]){bos, 101, 102}, .n = 3}, without = {.id = (int32_t[]){101, 102}, .n = 2};
    const az_lm_generate_options how = {.max_tokens = 5, .adapter = read};
    const az_tokens *a = az_lm_generate(az, lm, &with, &how), *b = az_lm_generate(az, lm, &without, &how);
    cr_assert(a && b, "%s", az_error(az));
    cr_assert_eq(a->n, b->n + 1);
    cr_assert_arr_eq(a->id + 1, b->id, (size_t)b->n * sizeof *b->id);
    /* behind the last virtual token, which stands in the place of BOS, both words are told */
    int32_t token[64], target[64];
    const int64_t n = read->virtual_tokens;
    for (int64_t i = 0; i < n; i++) token[i] = (int32_t)(-1 - i), target[i] = -1;
    token[n] = target[n - 1] = 101, target[n] = 102;
    const az_lm_lesson lesson = {.batch = {.sequences = 1, .token = token, .start = (int64_t[]){0, n + 1}}, .target = target};
    const az_lm_score *score = az_lm_score_sequences(az, lm, &with, 1, true, &(az_lm_score_options){.adapter = read});
    cr_assert(score, "%s", az_error(az));
    cr_assert_float_eq(score->nll[0], az_to_double(az_lm_loss(az, lm, &lesson, &(az_lm_run){.adapter = &read, .adapters = 1})), 1e-4);
    az_close(az);
}

Test(cpt, the_baselines_train_soft_tokens_alone)
{
    static const char *const variants[] = {"pt", "ipt"};
    for (int v = 0; v < 2; v++) {
        az_ctx *az = az_open(NULL);
        az_lm *lm = small_lm(az);
        const char *options = az_format_text(az, "variant=%s,soft=4," FORM, variants[v]);
        const words_tuned t = words_tune(az, lm, "cpt", options, quick, words_examples(az, 3), NULL, NULL);
        cr_assert(t.good, "%s: %s", variants[v], az_error(az));
        cr_assert_str_eq(t.job.adapter->kind, "PROMPT_TUNING");
        az_lm_line context;
        cr_assert(az_cpt_context(az, lm->tokenizer, &form, words_examples(az, 3), v ? 3 : 0, 4, &context));
        cr_assert_eq(t.job.adapter->virtual_tokens, context.n);
        const az_tensor *behind = az_slice(az, t.job.adapter->prompt, 0, 4, context.n - 4);
        if (context.n > 4)
            cr_assert_eq(matrix_difference(az_contiguous(az, behind), az_lm_token_rows(az, lm, context.id + 4, context.n - 4)), 0);
        az_close(az);
    }
}

static void refused(const char *options, const az_examples *examples, const char *word)
{
    az_ctx *az = az_open(NULL);
    const words_tuned t = words_tune(az, small_lm(az), "cpt", options, quick, examples, NULL, NULL);
    cr_assert_not(t.good, "%s went well", options);
    cr_assert_eq(az_status_of(az), AZ_BAD_INPUT, "%s", az_error(az));
    cr_assert(strstr(az_error(az), word), "'%s' does not speak of '%s'", az_error(az), word);
    az_close(az);
}

Test(cpt, what_cannot_be_is_refused)
{
    az_ctx *az = az_open(NULL);
    az_examples *one = words_examples(az, 1), *empty = words_examples(az, 3), *text = words_examples(az, 3);
    empty->item[1].turn[1].length = 0;
    text->item[2].turn[1].role = "text";
    refused(FORM, one, "one label");
    refused(FORM, empty, "empty");
    refused(FORM, text, "example 3");
    refused("input=words", words_examples(az, 3), "input=\"words\"");
    refused("output={}{}", words_examples(az, 3), "output");
    refused(FORM, words_examples(az, 12), "shots");
    refused(FORM, NULL, "-d FILE");
    refused("context=/nowhere/few.jsonl," FORM, words_examples(az, 3), "/nowhere/few.jsonl");
    refused("variant=cp", words_examples(az, 3), "cpt");
    az_close(az);
}

Test(cpt, rows_come_back_to_their_ball)
{
    const float start[3] = {1, 0, -1};
    float row[3] = {1, 3, 3}; /* off by (0, 3, 4) */
    az_cpt_project(start, row, 3, 10);
    cr_assert_eq(row[1], 3);
    az_cpt_project(start, row, 3, 1);
    cr_assert_float_eq(row[1], 0.6, 1e-6);
    cr_assert_float_eq(row[2], -0.2, 1e-6);
    az_cpt_project(start, row, 3, 0);
    cr_assert_arr_eq(row, start, sizeof row);
}
