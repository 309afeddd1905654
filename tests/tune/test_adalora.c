/* AdaLoRA as a method: planted ranks, what its result computes, going on after a break, bases of every format, bad input. */
#include "claims/planted_ranks.h"
#include "support/folder.h"
#include "support/matrix.h"
#include "support/small_lm.h"
#include "support/small_tune.h"
#include "tune/adalora.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

Test(adalora, finds_the_ranks_of_regressions)
{
    az_ctx *az = az_open(NULL);
    planted_result result;
    cr_assert(planted_regressions(az, 1, false, &result), "%s", az_error(az));
    for (int k = 0; k < PLANTED_MATRICES; k++) cr_assert_eq(result.rank[k], planted_rank[k], "matrix %d", k);
    cr_assert_lt(result.error, 0.01);
    cr_assert(planted_regressions(az, 1, true, &result), "%s", az_error(az));
    cr_assert_float_eq(result.error, 5, 0.05);
    az_close(az);
}

static const az_adalora_options some = {.init_rank = 4,
                                        .target_rank = 2,
                                        .tinit = 4,
                                        .tfinal = 6,
                                        .every = 2,
                                        .beta1 = 0.85,
                                        .beta2 = 0.85,
                                        .orth_reg = 0.1,
                                        .alpha = 8,
                                        .targets = "all-linear",
                                        .exclude = ""};
enum { STEPS = 24, BREAK = 13 };

/* The tuning stands first in az_adalora, and that here. */
typedef struct breaking {
    az_adalora run;
    int64_t stop; /* step at which the lessons end with an error */
    az_lm_examples *examples;
} breaking;

static bool draw(az_ctx *az, const az_lm_fit *fit, int64_t pass, az_lm_lesson *lesson)
{
    const breaking *b = fit->plan->user;
    if (fit->step == b->stop) return az_fail(az, AZ_INTERRUPTED, "stopped here");
    *lesson = az_lm_lesson_drawn(az, b->examples, 4, pass, 1);
    return lesson->target != NULL;
}

/* One run, which may break; its adapter as it was trained. */
static bool run_once(az_ctx *az, az_lm *lm, breaking *b, const char *folder)
{
    b->run = (az_adalora){.options = &some};
    b->examples = az_lm_examples_of(az, lm, claim_strings(az, CLAIM_NEW, 1, 4, 64, 3), &(az_lm_example_options){0});
    az_lm_train_settings *s = &b->run.tuning.settings;
    *s = (az_lm_train_settings){.steps = STEPS,
                                .accumulate = 1,
                                .lr = 2e-2,
                                .schedule = AZ_LINEAR,
                                .optimizer = AZ_ADAMW,
                                .beta1 = 0.9,
                                .beta2 = 0.999,
                                .clip = 1,
                                .save_every = 4,
                                .resume = folder};
    az_lm_parameter *parameter;
    int n;
    if (!az_adalora_begin(az, &b->run, lm, &parameter, &n)) return false;
    az_lm_fit_plan plan = {.lm = lm,
                           .parameter = parameter,
                           .n = n,
                           .settings = s,
                           .task = "training",
                           .identity = "test",
                           .user = b,
                           .run = {.adapter = (const az_adapter *const *)&b->run.tuning.adapter, .adapters = 1},
                           .lesson = draw};
    az_adalora_complete(&plan);
    return az_lm_fit_run(az, &plan, NULL);
}

Test(adalora, the_result_computes_what_was_trained)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az);
    breaking b = {.stop = -1};
    cr_assert(run_once(az, lm, &b, NULL), "%s", az_error(az));
    const az_adapter *trained = b.run.tuning.adapter, *plain = az_adalora_plain(az, &b.run, lm);
    cr_assert_not_null(plain, "%s", az_error(az));
    cr_assert_leq(matrix_difference(small_logits(az, lm, trained), small_logits(az, lm, plain)), 1e-5);
    cr_assert_gt(matrix_difference(small_logits(az, lm, plain), small_logits(az, lm, NULL)), 1e-3);
    int64_t ranks = 0;
    for (int i = 0; i < plain->layers; i++) {
        ranks += plain->layer[i].rank;
        cr_assert_float_eq(plain->layer[i].scale, 8 / (4 + 1e-5), 1e-12, "the scale is that of training");
    }
    cr_assert_eq(ranks, 2 * trained->layers);
    az_close(az);
}

/* Averages, masks and moments come back from the state: the adapter is the same to the last bit. */
Test(adalora, a_broken_run_goes_on_bit_for_bit)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_path(az, test_folder(az), "state");
    az_lm *lm = small_lm(az);
    breaking whole = {.stop = -1}, broken = {.stop = BREAK};
    cr_assert(run_once(az, lm, &whole, NULL), "%s", az_error(az));
    cr_assert_not(run_once(az, lm, &broken, folder));
    az_clear(az);
    broken.stop = -1;
    cr_assert(run_once(az, lm, &broken, folder), "%s", az_error(az));
    for (int i = 0; i < whole.run.tuning.adapter->layers; i++) {
        const az_adapter_layer *x = &whole.run.tuning.adapter->layer[i], *y = &broken.run.tuning.adapter->layer[i];
        cr_assert_eq(matrix_difference(x->a, y->a), 0);
        cr_assert_eq(matrix_difference(x->b, y->b), 0);
        cr_assert_eq(matrix_difference(x->e, y->e), 0);
    }
    for (int64_t t = 0; t < STEPS; t++) {
        const double x = az_item(whole.run.penalty, t), y = az_item(broken.run.penalty, t);
        cr_assert_eq(x, y, "step %d", (int)t);
    }
    az_close(az);
}

Test(adalora, tunes_beside_weights_of_every_format)
{
    static const char *const ways[SMALL_BASES] = {"init_rank=3,target_rank=1", "init_rank=3,target_rank=2,score=sensitivity,orth=squared",
                                                  "init_rank=3,target_rank=3", "init_rank=2,total_rank=5,score=magnitude",
                                                  "init_rank=3,target_rank=1,sensitivity=clipped,delta_t=3,dropout=0.1"};
    static const int64_t total[SMALL_BASES] = {14, 28, 42, 5, 14};
    az_ctx *az = az_open(NULL);
    for (int which = 0; which < SMALL_BASES; which++) {
        az_lm *lm = small_base(az, which);
        const az_adapter *adapter = small_tune(az, lm, "adalora", ways[which], "steps=20,batch=4,lr=1e-2");
        cr_assert_not_null(adapter, "%s: %s", ways[which], az_error(az));
        int64_t ranks = 0;
        for (int i = 0; i < adapter->layers; i++) ranks += adapter->layer[i].rank;
        cr_assert_eq(ranks, total[which], "%s", ways[which]);
        cr_assert_gt(matrix_difference(small_logits(az, lm, adapter), small_logits(az, lm, NULL)), 1e-4, "%s", small_bases[which]);
    }
    az_close(az);
}

/* PEFT's layout holds what is left of each layer, says which triplets that is, and is read with the scale of training. */
Test(adalora, both_layouts_are_read_as_what_was_trained)
{
    static const char *const options = "init_rank=4,target_rank=1,as=%s", *const settings = "steps=20,batch=4,lr=2e-2";
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az);
    const az_adapter *plain = small_tune(az, lm, "adalora", az_format_text(az, options, "lora"), settings);
    const az_adapter *trained = small_tune(az, lm, "adalora", az_format_text(az, options, "adalora"), settings);
    cr_assert(plain && trained, "%s", az_error(az));
    const char *folder = test_path(az, test_folder(az), "adapter"), *again = test_path(az, test_folder(az), "again");
    cr_assert(az_adapter_write(az, lm, trained, folder, "small", AZ_F32), "%s", az_error(az));
    const az_adapter *read = az_adapter_read(az, lm, folder);
    cr_assert_not_null(read, "%s", az_error(az));
    cr_assert(az_adapter_write(az, lm, read, again, "small", AZ_F32), "%s", az_error(az));
    const az_tensor *wanted = small_logits(az, lm, plain);
    cr_assert_leq(matrix_difference(small_logits(az, lm, trained), wanted), 1e-5);
    cr_assert_leq(matrix_difference(small_logits(az, lm, read), wanted), 1e-5);
    cr_assert_leq(matrix_difference(small_logits(az, lm, az_adapter_read(az, lm, again)), wanted), 1e-5);
    int64_t ranks = 0;
    for (int i = 0; i < read->layers; i++) ranks += read->layer[i].rank;
    cr_assert_eq(ranks, trained->layers);
    const char *config = az_read_file(az, az_format_text(az, "%s/adapter_config.json", folder), NULL);
    cr_assert_not_null(strstr(config, "\"peft_type\": \"ADALORA\""));
    cr_assert_not_null(strstr(config, "\"init_r\": 4"));
    cr_assert_not_null(strstr(config, "\"total_step\": 20"));
    cr_assert_not_null(strstr(config, ".lora_E\": ["));
    az_close(az);
}

Test(adalora, refuses_schedules_and_ranks_that_do_not_fit)
{
    static const struct {
        const char *options, *settings, *message;
    } bad[] = {
        {"init_rank=2,target_rank=3", "steps=20", "are more than the 28 at the start"},
        {"tinit=12,tfinal=8", "steps=20", "no steps are left for pruning"},
        {"beta1=1", "steps=20", "must lie between 0 and 1"},
        {"init_rank=4,target_rank=2", "steps=20,patience=3", "patience"},
        {"targets=embed_tokens", "steps=20", "not the embedding"},
    };
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_assert_null(small_tune(az, lm, "adalora", bad[i].options, bad[i].settings), "%s", bad[i].options);
        cr_assert_eq(az_status_of(az), AZ_BAD_INPUT);
        cr_assert_not_null(strstr(az_error(az), bad[i].message), "%s: %s", bad[i].options, az_error(az));
        az_clear(az);
    }
    az_close(az);
}
