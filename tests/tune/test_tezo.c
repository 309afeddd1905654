/* Tuning by losses alone, from end to end on a small model: what the loop does with the optimizer that tests/optim checks, directions
 * beside weights of any format, records, and what it refuses. */
#include "tune/zeroth.h"
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

static const char quick[] = "steps=6,batch=4,lr=1e-3,schedule=constant,warmup=0";

static double loss_of(az_ctx *az, const az_lm *lm, const az_adapter *adapter, const az_examples *examples)
{
    const az_lm_examples *tokens = az_lm_examples_of(az, lm, examples, NULL);
    const az_lm_run run = {.adapter = &adapter, .adapters = adapter ? 1 : 0};
    return az_lm_examples_loss(az, lm, tokens, &run, NULL);
}

/* Largest difference of any parameter. */
static double parameter_difference(az_ctx *az, az_lm *a, az_lm *b)
{
    az_lm_parameter *x, *y;
    const int n = az_lm_parameters(az, a, &x);
    double most = az_lm_parameters(az, b, &y) == n ? 0 : INFINITY;
    for (int i = 0; i < n; i++) most = fmax(most, matrix_difference(*x[i].slot, *y[i].slot));
    return most;
}

Test(tezo, every_method_and_variant_brings_the_loss_down)
{
    static const char *const runs[][3] = {
        {"tezo", "variant=m,store,queries=2", "lr=3e-3"},
        {"tezo", "variant=adam,rank=8", "lr=5e-3"},
        {"tezo", "rank=4,params=lora,targets=all-linear,lora_rank=4", "lr=1e-2"},
        {"mezo", "variant=adam", "lr=3e-3"},
        {"lozo", "renew=20,exact", "lr=1e-3"},
        {"subzo", "rank=4,renew=20", "lr=1e-3"},
    };
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        az_ctx *az = az_open(NULL);
        az_lm *lm = small_lm(az);
        const az_examples *examples = words_examples(az, 12);
        const double before = loss_of(az, lm, NULL, examples);
        const char *training = az_format_text(az, "steps=40,batch=12,schedule=constant,warmup=0,%s", runs[i][2]);
        const words_tuned t = words_tune(az, lm, runs[i][0], runs[i][1], training, examples, NULL, NULL);
        cr_assert(t.good, "%s: %s", runs[i][0], az_error(az));
        const double after = loss_of(az, lm, t.job.adapter, examples);
        cr_assert_lt(after, before - 0.01, "%s:%s: from %g to %g", runs[i][0], runs[i][1], before, after);
        az_close(az);
    }
}

/* The same draws, explicitly in the weights or as numbers beside them. */
Test(tezo, numbers_beside_the_weights_are_the_perturbation_of_the_weights)
{
    static const char *const variants[] = {"sgd", "m"};
    for (int v = 0; v < 2; v++) {
        az_ctx *az = az_open(NULL);
        az_lm *explicit = small_lm(az), *folded = small_lm(az), *given = small_lm(az);
        const az_examples *examples = words_examples(az, 12);
        const char *common = az_format_text(az, "variant=%s,rank=0,theta=0.6,radius=1e-2", variants[v]);
        const char *only = "only=\"blocks.*.attn.?.weight,blocks.*.mlp.*.weight\"";
        const words_tuned a = words_tune(az, explicit, "tezo", az_format_text(az, "%s,%s", common, only), quick, examples, NULL, NULL);
        cr_assert(a.good && !a.job.adapter, "%s", az_error(az));
        const words_tuned b = words_tune(az, folded, "tezo", az_format_text(az, "%s,params=fold", common), quick, examples, NULL, NULL);
        cr_assert(b.good && b.job.adapter, "%s", az_error(az));
        cr_assert_eq(parameter_difference(az, folded, given), 0);
        for (int i = 0; i < b.job.adapter->layers; i++) {
            const az_adapter_layer *layer = &b.job.adapter->layer[i];
            az_lm_linear **x, **y;
            const int n = az_lm_linears(az, explicit, &x);
            az_lm_linears(az, given, &y);
            for (int k = 0; k < n; k++) {
                if (strcmp(x[k]->name, layer->name) != 0) continue;
                const az_tensor *moved = az_sub(az, az_weight_decode(az, x[k]->weight), az_weight_decode(az, y[k]->weight));
                const az_tensor *delta = az_adapter_delta(az, layer);
                const double size = az_to_double(az_max(az, az_abs(az, moved), AZ_ALL_AXES, false));
                cr_assert_gt(size, 1e-4);
                cr_assert_lt(matrix_difference(moved, delta), 2e-2 * size, "%s: %g of %g", layer->name, matrix_difference(moved, delta),
                             size);
            }
        }
        az_close(az);
    }
}

Test(tezo, numbers_beside_weights_of_any_format_leave_them_and_make_an_adapter)
{
    for (int base = 0; base < SMALL_BASES; base++) {
        az_ctx *az = az_open(NULL);
        az_lm *lm = small_base(az, base);
        const az_examples *examples = words_examples(az, 12);
        const az_tensor *before = small_logits(az, lm, NULL);
        const char *training = "steps=10,batch=12,lr=5e-3,schedule=constant,warmup=0";
        const words_tuned t = words_tune(az, lm, "tezo", "variant=adam,rank=8,params=fold", training, examples, NULL, NULL);
        cr_assert(t.good, "%s: %s", small_bases[base], az_error(az));
        cr_assert_eq(matrix_difference(before, small_logits(az, lm, NULL)), 0, "%s", small_bases[base]);
        cr_assert_gt(matrix_difference(before, small_logits(az, lm, t.job.adapter)), 1e-3, "%s", small_bases[base]);
        cr_assert_lt(loss_of(az, lm, t.job.adapter, examples), loss_of(az, lm, NULL, examples) + 0.05, "%s", small_bases[base]);
        cr_assert_null(t.job.adapter->layer[0].e);
        az_close(az);
    }
}

/* kappa of the model's loss against <gradient, Z> by the tape, at two radii. */
typedef struct subject {
    const az_lm *lm;
    az_lm_lesson lesson;
} subject;

static double loss_on(az_ctx *az, void *user)
{
    const subject *s = user;
    az_scope_push(az);
    const double loss = az_to_double(az_lm_loss(az, s->lm, &s->lesson, NULL));
    az_scope_pop(az);
    return loss;
}

Test(tezo, the_difference_of_two_losses_is_the_derivative_along_the_direction)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az);
    az_lm_parameter *p;
    const int n = az_lm_choose_parameters(az, lm, AZ_F32, "", &p);
    const az_lm_examples *examples = az_lm_examples_of(az, lm, words_examples(az, 12), NULL);
    subject s = {.lm = lm, .lesson = az_lm_lesson_of_examples(az, examples, (int64_t[]){0, 1, 2, 3}, 4)};
    const az_lm_objective objective = {.lm = lm, .lesson = s.lesson, .scale = 1};
    az_tensor **g = az_alloc_array(az, (size_t)n, sizeof *g), **value = az_alloc_array(az, (size_t)n, sizeof *value);
    int64_t *rank = az_alloc_array(az, (size_t)n, sizeof *rank);
    cr_assert(az_lm_gradient(az, &objective, p, n, g, NULL), "%s", az_error(az));
    for (int i = 0; i < n; i++) value[i] = *p[i].slot, rank[i] = value[i]->rank == 2 ? 3 : 0;
    for (int kind = AZ_ZO_DENSE; kind <= AZ_ZO_SUBSPACE; kind++) {
        double error[2], slope = 0;
        for (int k = 0; k < 2; k++) {
            const az_zo_options o = {
                .kind = (az_zo_kind)kind, .radius = k ? 5e-4 : 1e-3, .queries = 1, .renew = 1, .exact = true, .seed = 3};
            az_zo *zo = az_zo_new(az, &o, value, n, rank);
            az_tensor **before = az_alloc_array(az, (size_t)n, sizeof *before);
            for (int i = 0; i < n; i++) before[i] = az_copy(az, value[i]);
            cr_assert(az_zo_perturb(az, zo, 0, 1 / o.radius));
            slope = 0;
            for (int i = 0; i < n; i++) slope += az_to_double(az_dot(az, g[i], az_sub(az, value[i], before[i])));
            for (int i = 0; i < n; i++) az_copy_into(az, value[i], before[i]);
            az_zo_record record;
            cr_assert(az_zo_step(az, zo, loss_on, &s, 0, &record), "%s", az_error(az));
            error[k] = fabs(record.kappa[0] - slope);
        }
        cr_assert_lt(error[1], 0.05 * (1 + fabs(slope)), "kind %d: off by %g from %g", kind, error[1], slope);
        cr_assert_lt(error[1], 0.4 * error[0] + 1e-2 * (1 + fabs(slope)), "kind %d: %g, then %g", kind, error[0], error[1]);
    }
    az_close(az);
}

Test(tezo, a_record_makes_the_result_again_without_data)
{
    static const char *const runs[][2] = {
        {"tezo", "variant=adam,queries=2"}, {"mezo", "variant=m"}, {"lozo", "variant=m,renew=4"}, {"subzo", "renew=4"}, {"tezo", "exact"}};
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        az_ctx *az = az_open(NULL);
        az_lm *tuned = small_lm(az), *again = small_lm(az), *given = small_lm(az);
        const char *log = test_path(az, test_folder(az), "zo.log");
        const char *write = az_format_text(az, "%s,log=%s", runs[i][1], log), *read = az_format_text(az, "%s,replay=%s", runs[i][1], log);
        cr_assert(words_tune(az, tuned, runs[i][0], write, quick, words_examples(az, 12), NULL, NULL).good, "%s", az_error(az));
        cr_assert(words_tune(az, again, runs[i][0], read, "", NULL, NULL, NULL).good, "%s", az_error(az));
        cr_assert_eq(parameter_difference(az, tuned, again), 0, "%s", runs[i][0]);
        cr_assert_gt(parameter_difference(az, tuned, given), 1e-4);
        az_close(az);
    }
}

/* In a process of its own; what is left is the state. */
static void run_and_interrupt(const char *options, const char *training)
{
    const pid_t child = fork();
    if (child == 0) {
        int times = 0;
        az_catch_interrupts();
        az_ctx *az = az_open(&(az_settings){.threads = 1, .progress = interrupt_training, .user = &times});
        const words_tuned t = words_tune(az, small_lm(az), "tezo", options, training, words_examples(az, 12), NULL, NULL);
        _exit(!t.good && az_status_of(az) == AZ_INTERRUPTED ? 0 : 1);
    }
    int status = 0;
    waitpid(child, &status, 0);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %d", status);
}

Test(tezo, an_interrupted_run_goes_on_bit_for_bit)
{
    az_ctx *az = az_open(&(az_settings){.threads = 1});
    const char *folder = test_folder(az), *log[2] = {test_path(az, folder, "a.log"), test_path(az, folder, "b.log")};
    const char *options[2], *training = az_format_text(az, "%s,resume=%s", quick, folder);
    for (int i = 0; i < 2; i++) options[i] = az_format_text(az, "variant=adam,queries=2,log=%s", log[i]);
    run_and_interrupt(options[1], training);
    az_lm *whole = small_lm(az), *parts = small_lm(az);
    const az_examples *examples = words_examples(az, 12);
    cr_assert(words_tune(az, whole, "tezo", options[0], quick, examples, NULL, NULL).good, "%s", az_error(az));
    cr_assert(words_tune(az, parts, "tezo", options[1], training, examples, NULL, NULL).good, "%s", az_error(az));
    cr_assert_eq(parameter_difference(az, whole, parts), 0);
    cr_assert_str_eq(az_read_file(az, log[0], NULL), az_read_file(az, log[1], NULL));
    az_close(az);
}

Test(tezo, pruned_weights_stay_pruned)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az);
    cr_assert(small_compress(az, lm, "magnitude", "pattern=2:4", NULL, az_report_new(az, NULL)), "%s", az_error(az));
    az_lm *given = az_lm_copy(az, lm);
    cr_assert(words_tune(az, lm, "tezo", "", quick, words_examples(az, 12), NULL, NULL).good, "%s", az_error(az));
    az_lm_linear **a, **b;
    const int n = az_lm_linears(az, lm, &a);
    az_lm_linears(az, given, &b);
    for (int i = 0; i < n; i++) {
        const az_tensor *x = az_weight_decode(az, a[i]->weight), *y = az_weight_decode(az, b[i]->weight);
        for (int64_t j = 0; j < az_count(x); j++) cr_assert_eq(az_item(x, j) == 0, az_item(y, j) == 0, "%s", a[i]->name);
    }
    cr_assert_gt(small_difference(az, lm, given), 1e-5);
    az_close(az);
}

/* A model large enough for its weights to matter, and one step. */
static double peak_of(const char *method, const char *options)
{
    az_ctx *az = az_open(NULL);
    const az_lm_config config = {.vocabulary = 300, .width = 192, .blocks = 4, .heads = 4, .hidden = 512, .context = 64, .tied = true};
    az_lm *lm = az_lm_new(az, "llama", &config, az_tokenizer_train(az, small_stories(az, 0, 30), config.vocabulary), 5);
    const az_examples *examples = words_examples(az, 4);
    az_memory_reset_peak(az);
    const double before = (double)az_memory_now(az); /* with the model as it came, which may be a mapped file */
    const words_tuned t = words_tune(az, lm, method, options, "steps=1,batch=1", examples, NULL, NULL);
    const double peak = (double)az_memory_peak(az) - before;
    cr_assert(t.good, "%s", az_error(az));
    az_close(az);
    return peak;
}

Test(tezo, adam_of_the_numbers_takes_a_third_of_the_memory)
{
    const double numbers = peak_of("tezo", "variant=adam,rank=8"), weights = peak_of("mezo", "variant=adam"), plain = peak_of("mezo", "");
    cr_assert_leq(numbers, 0.4 * weights, "%g of %g bytes", numbers, weights);
    cr_assert_leq(numbers, 1.1 * plain, "%g, without moments %g", numbers, plain);
}

Test(tezo, the_rank_is_the_least_of_the_block)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az);
    az_report *report = az_report_new(az, NULL);
    az_tensor *q = lm->block[1].q.weight->part[0]; /* five equal singular values, no others */
    memset(q->data, 0, (size_t)az_count(q) * sizeof(float));
    for (int i = 0; i < 5; i++) az_f32_mut(q)[i * 32 + i] = 1;
    const char *options = "theta=0.01,only=blocks.1.*.weight";
    cr_assert(words_tune(az, lm, "tezo", options, "steps=1,batch=1", words_examples(az, 12), NULL, report).good, "%s", az_error(az));
    cr_assert_eq(az_report_value(report, "directions", "mean_rank"), 5);
    az_close(az);
}

static double share_of_misses(az_ctx *az, const az_lm *lm, const az_examples *examples)
{
    const az_lm_examples *tokens = az_lm_examples_of(az, lm, examples, NULL);
    double misses = 0;
    for (int64_t i = 0; i < tokens->count; i++) {
        const az_lm_lesson lesson = az_lm_lesson_of_examples(az, tokens, &i, 1);
        const az_tensor *logits = az_lm_forward(az, lm, &lesson.batch, NULL);
        for (int64_t t = 0; t < logits->shape[0]; t++) {
            int best = 0;
            for (int v = 1; v < logits->shape[1]; v++)
                if (az_item(logits, t * logits->shape[1] + v) > az_item(logits, t * logits->shape[1] + best)) best = v;
            misses += lesson.target[t] >= 0 && lesson.target[t] != best;
        }
    }
    return misses / (double)tokens->counted;
}

Test(tezo, accuracy_can_be_what_is_made_better)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az);
    az_report *report = az_report_new(az, NULL);
    const az_examples *examples = words_examples(az, 12);
    cr_assert(words_tune(az, lm, "full", "", "steps=12,batch=12,lr=1e-2", examples, NULL, NULL).good, "%s", az_error(az));
    const double before = share_of_misses(az, lm, examples);
    cr_assert(before > 0.05 && before < 0.95, "%g", before);
    const char *options = "objective=accuracy,radius=1e-7";
    cr_assert(words_tune(az, lm, "tezo", options, "steps=1,batch=12,lr=1e-9", examples, NULL, report).good, "%s", az_error(az));
    cr_assert_float_eq(az_report_value(report, "training", "loss"), before, 1e-9);
    az_close(az);
}

Test(tezo, f1_counts_what_two_answers_have_in_common)
{
    cr_assert_float_eq(az_zeroth_f1((int32_t[]){5, 3, 3, 9}, 4, (int32_t[]){3, 9, 7}, 3), 4.0 / 7, 1e-12);
    cr_assert_eq(az_zeroth_f1((int32_t[]){2, 1}, 2, (int32_t[]){1, 2}, 2), 1);
    cr_assert_eq(az_zeroth_f1(NULL, 0, (int32_t[]){1}, 1), 0);
    cr_assert_eq(az_zeroth_f1(NULL, 0, NULL, 0), 1);
    /* a model that knows all answers has nothing left to learn; one that knows some, the share of the others at most */
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az);
    const az_examples *examples = words_examples(az, 12);
    double lost[2];
    for (int k = 0; k < 2; k++) {
        az_report *report = az_report_new(az, NULL);
        cr_assert(words_tune(az, lm, "full", "", k ? "steps=80,batch=12,lr=1e-2" : "steps=12,batch=12,lr=1e-2", examples, NULL, NULL).good);
        cr_assert(words_tune(az, lm, "tezo", "objective=f1,radius=1e-7", "steps=1,batch=12,lr=1e-9", examples, NULL, report).good, "%s",
                  az_error(az));
        lost[k] = az_report_value(report, "training", "loss");
    }
    cr_assert(lost[0] > 0.01 && lost[0] <= 1, "%g", lost[0]);
    cr_assert_lt(lost[1], 1e-9, "%g", lost[1]);
    az_close(az);
}

/* ---- what is refused ---- */

static void refused(const char *method, const char *options, const char *training, bool data, const char *word)
{
    az_ctx *az = az_open(NULL);
    const words_tuned t = words_tune(az, small_lm(az), method, options, training, data ? words_examples(az, 12) : NULL, NULL, NULL);
    cr_assert_not(t.good, "%s:%s went well", method, options);
    cr_assert_eq(az_status_of(az), AZ_BAD_INPUT, "%s", az_error(az));
    cr_assert(strstr(az_error(az), word), "'%s' does not speak of '%s'", az_error(az), word);
    az_close(az);
}

Test(tezo, what_cannot_be_is_refused)
{
    refused("tezo", "radius=0", quick, true, "radius");
    refused("tezo", "", "lr=0", true, "lr");
    refused("tezo", "", quick, false, "-d FILE");
    refused("tezo", "only=nothing.*", quick, true, "nothing.*");
    refused("tezo", "variant=sdg", quick, true, "sgd");
    refused("lozo", "variant=adam", quick, true, "variant");
    refused("tezo", "params=fold,targets=nothing", quick, true, "nothing");
    refused("tezo", "replay=/nowhere/zo.log", quick, false, "/nowhere/zo.log");
}

Test(tezo, damaged_records_are_refused)
{
    static const char *const text[][2] = {{"", "empty"},
                                          {"[1]\n", "line 1"},
                                          {"{\"x\": 1}\n", "no record"},
                                          {"{\"run\": \"mezo\", \"queries\": 1}\n", "another run"},
                                          {"HEAD{\"step\": 0, \"lr\": 1}\n", "line 2"},
                                          {"HEAD{\"step\": 1, \"lr\": 1, \"kappa\": [1]}\n", "\"step\" is not 0"},
                                          {"HEAD{\"step\": 0, \"lr\": 1, \"kappa\": [\"a\"]}\n", "no number"},
                                          {"HEAD{\"step\": 0, \"lr\": 1, \"kappa\": [1, 2]}\n", "of 1 numbers"},
                                          {"HEAD{\"step\": 0, \"lr\"", "line 2"}};
    az_ctx *az = az_open(NULL);
    const char *path = test_path(az, test_folder(az), "zo.log");
    cr_assert(words_tune(az, small_lm(az), "tezo", az_format_text(az, "log=%s", path), quick, words_examples(az, 12), NULL, NULL).good);
    char *head = az_read_file(az, path, NULL);
    head[strcspn(head, "\n") + 1] = 0;
    for (size_t i = 0; i < sizeof text / sizeof *text; i++) {
        const bool whole = strncmp(text[i][0], "HEAD", 4) == 0;
        FILE *file = fopen(path, "w");
        fprintf(file, "%s%s", whole ? head : "", text[i][0] + (whole ? 4 : 0));
        fclose(file);
        az_ctx *other = az_open(NULL);
        const char *options = az_format_text(other, "replay=%s", path);
        cr_assert_not(words_tune(other, small_lm(other), "tezo", options, "", NULL, NULL, NULL).good, "case %zu", i);
        cr_assert(strstr(az_error(other), text[i][1]), "case %zu: '%s' does not speak of '%s'", i, az_error(other), text[i][1]);
        az_close(other);
    }
    az_close(az);
}

Test(tezo, a_model_whose_loss_is_not_finite_is_refused)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az);
    az_f32_mut(lm->final_norm.weight)[0] = NAN;
    cr_assert_not(words_tune(az, lm, "tezo", "", quick, words_examples(az, 12), NULL, NULL).good);
    cr_assert_eq(az_status_of(az), AZ_NUMERIC, "%s", az_error(az));
    az_close(az);
}
