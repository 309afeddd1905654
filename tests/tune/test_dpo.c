/* Losses that compare texts: the split gradient against differences, DPO against its closed form, and that training prefers the chosen. */
#include "tune/contrast.h"
#include "tune/tune_internal.h"

#include "support/models.h"
#include "support/small_lm.h"
#include "support/tiny_lm.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

extern const az_method az_dpo;

static az_example pair_of(az_ctx *az, const char *prompt, const char *chosen, const char *rejected)
{
    az_turn *turn = az_alloc_array(az, 2, sizeof *turn);
    turn[0] = (az_turn){"prompt", prompt, strlen(prompt)};
    turn[1] = (az_turn){"response", chosen, strlen(chosen)};
    const char *line = az_format_text(az, "{\"prompt\":\"%s\",\"chosen\":\"%s\",\"rejected\":\"%s\"}", prompt, chosen, rejected);
    return (az_example){.turns = 2, .turn = turn, .line = line};
}

static az_examples pairs(az_ctx *az)
{
    az_examples all = {.count = 4, .item = az_alloc_array(az, 4, sizeof *all.item), .path = "pairs"};
    all.item[0] = pair_of(az, "the cat", " sat", " ran off");
    all.item[1] = pair_of(az, "the dog", " sat", " ran off");
    all.item[2] = pair_of(az, "a cat", " sat down", " ran");
    all.item[3] = pair_of(az, "a dog", " sat", " ran");
    return all;
}

static az_tune_settings settings_of(const char *text)
{
    az_ctx *az = az_open(NULL);
    az_tune_settings s = {0};
    cr_assert(az_options_parse(az, az_tune_options, "tune", text, &s), "%s", az_error(az));
    s.training.resume = "";
    s.chat = "";
    az_close(az);
    return s;
}

static bool run_dpo(az_ctx *az, az_lm *lm, const char *options, const char *training, az_report *report, az_adapter **adapter)
{
    char own[256] = {0};
    const az_examples train = pairs(az);
    az_tune_settings s = settings_of(training);
    az_tune_job job = {.lm = lm, .train = &train, .valid = &train, .settings = &s, .model = "tiny", .report = report};
    cr_assert_leq(az_dpo.options_size, sizeof own);
    cr_assert(az_options_parse(az, az_dpo.options, "dpo", options, own), "%s", az_error(az));
    const bool good = az_dpo.tune(az, own, &job);
    *adapter = job.adapter;
    return good;
}

/* The same training with the chosen responses' own loss beside it leaves the model nearer to them. */
Test(dpo, an_own_loss_of_the_chosen_keeps_them_likely)
{
    double kl[2];
    for (int anchored = 0; anchored < 2; anchored++) {
        az_ctx *az = az_open(NULL);
        az_report *report = az_report_new(az, NULL);
        az_adapter *adapter;
        const char *options = anchored ? "rank=4,targets=all-linear,nll=1" : "rank=4,targets=all-linear";
        cr_assert(run_dpo(az, test_llama(az, false), options, "steps=30,batch=4,lr=1e-2", report, &adapter), "%s", az_error(az));
        cr_assert_gt(az_report_value(report, "preferences", "reward_accuracy"), 0.99);
        kl[anchored] = az_report_value(report, "preferences", "kl");
        az_close(az);
    }
    cr_assert_lt(kl[1], kl[0]);
}

Test(dpo, pairs_of_equal_responses_teach_nothing)
{
    az_ctx *az = az_open(NULL);
    az_examples train = pairs(az);
    for (int i = 0; i < 4; i++) train.item[i] = pair_of(az, "the cat", " sat", " sat");
    az_tune_settings s = settings_of("steps=1");
    char own[256] = {0};
    az_options_parse(az, az_dpo.options, "dpo", "", own);
    az_tune_job job = {.lm = test_llama(az, false), .train = &train, .settings = &s, .model = "tiny", .report = az_report_new(az, NULL)};
    cr_assert_not(az_dpo.tune(az, own, &job));
    cr_assert_not_null(strstr(az_error(az), "no pair has two different responses"), "%s", az_error(az));
    az_close(az);
}

Test(dpo, the_reference_itself_has_loss_ln_2_and_no_order)
{
    az_ctx *az = az_open(NULL);
    az_report *report = az_report_new(az, NULL);
    az_adapter *adapter;
    cr_assert(run_dpo(az, test_llama(az, false), "", "steps=1,batch=2,lr=0", report, &adapter), "%s", az_error(az));
    cr_assert_float_eq(az_report_value(report, "preferences", "loss"), log(2), 1e-6);
    cr_assert_float_eq(az_report_value(report, "preferences", "reward_accuracy"), 0.5, 1e-9); /* ties count half */
    cr_assert_float_eq(az_report_value(report, "preferences", "kl"), 0, 1e-6);
    az_close(az);
}

Test(dpo, log_sigmoid_of_the_closed_form)
{
    /* log pi(w) -12.3, log pi(l) -15.1, reference -13.0 and -14.2, beta 0.1: D = 0.16 */
    cr_assert_float_eq(-az_log_sigmoid(0.1 * ((-12.3 + 13.0) - (-15.1 + 14.2))), 0.616344, 1e-6);
    cr_assert_float_eq(az_log_sigmoid(-800), -800, 1e-9);
    cr_assert_float_eq(az_log_sigmoid(800), 0, 1e-12);
}

Test(dpo, training_prefers_the_chosen)
{
    az_ctx *az = az_open(NULL);
    az_report *report = az_report_new(az, NULL);
    az_adapter *adapter;
    cr_assert(run_dpo(az, test_llama(az, false), "beta=0.5,targets=all-linear", "steps=30,batch=4,lr=5e-3", report, &adapter), "%s",
              az_error(az));
    cr_assert_eq(az_report_value(report, "preferences", "reward_accuracy"), 1);
    cr_assert_lt(az_report_value(report, "preferences", "loss"), 0.5);
    cr_assert_gt(az_report_value(report, "preferences", "margin"), 0);
    cr_assert_not_null(adapter);
    az_close(az);
}

Test(dpo, examples_that_are_no_pairs_are_named)
{
    az_ctx *az = az_open(NULL);
    char own[256] = {0};
    az_examples train = pairs(az);
    train.item[2].line = "{\"prompt\":\"a cat\",\"response\":\" sat down\"}";
    az_tune_settings s = settings_of("steps=1");
    az_tune_job job = {.lm = test_llama(az, false), .train = &train, .settings = &s, .report = az_report_new(az, NULL)};
    cr_assert(az_options_parse(az, az_dpo.options, "dpo", "", own));
    cr_assert_not(az_dpo.tune(az, own, &job));
    cr_assert_not_null(strstr(az_error(az), "example 3 has no strings"), "%s", az_error(az));
    az_close(az);
}

/* ---- the split gradient ---- */

static az_lm_examples *texts_of(az_ctx *az, const az_lm *lm)
{
    static const int lengths[] = {5, 7, 4, 6};
    az_lm_examples *all = az_alloc(az, sizeof *all);
    *all = (az_lm_examples){.count = 4, .item = az_alloc_array(az, 4, sizeof *all->item)};
    for (int i = 0; i < 4; i++) {
        int32_t *token = tiny_tokens(az, lengths[i] + 1, lm->config.vocabulary, (uint64_t)i + 5),
                *target = az_alloc_array(az, 8, sizeof *target);
        for (int t = 0; t < lengths[i]; t++) target[t] = t < 2 ? -1 : token[t + 1];
        all->item[i] = (az_lm_example){.n = lengths[i], .token = token, .target = target, .counted = lengths[i] - 2, .source = i};
    }
    return all;
}

/* A loss that is not linear in the texts' losses. */
static double products(const int64_t *which, int n, const double *nll, double *weight, void *user)
{
    (void)which, (void)user;
    double loss = 0;
    for (int i = 0; i < n; i++) weight[i] = 0;
    for (int i = 0; i + 1 < n; i++) {
        loss += 0.01 * nll[i] * nll[i + 1];
        weight[i] += 0.01 * nll[i + 1];
        weight[i + 1] += 0.01 * nll[i];
    }
    return loss;
}

static double loss_now(az_ctx *az, const az_lm *lm, const az_lm_examples *texts)
{
    double nll[4], weight[4];
    cr_assert(az_contrast_losses(az, lm, texts, NULL, 3, nll), "%s", az_error(az));
    return products(NULL, 4, nll, weight, NULL);
}

Test(contrast, the_split_gradient_is_that_of_the_whole)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = tiny_llama(az, 3);
    cr_assert(az_lm_make_trainable(az, lm, AZ_F64));
    const az_lm_examples *texts = texts_of(az, lm);
    az_lm_parameter *parameter;
    const int n = az_lm_parameters(az, lm, &parameter);
    const az_lm_train_settings settings = {.batch = 4};
    const az_lm_fit_plan plan = {.lm = lm, .parameter = parameter, .n = n, .settings = &settings};
    const az_lm_fit fit = {.plan = &plan};
    const az_contrast contrast = {.examples = texts, .weigh = products};
    const int64_t which[] = {0, 1, 2, 3};
    az_tensor **gradient = az_alloc_array(az, (size_t)n, sizeof(az_tensor *));
    double loss = 0;
    const az_contrast_part part = {.which = which, .n = 4, .scale = 1, .first = true};
    cr_assert(az_contrast_gradient(az, &fit, &contrast, &part, gradient, &loss), "%s", az_error(az));
    cr_assert_float_eq(loss, loss_now(az, lm, texts), 1e-9);
    for (int i = 0; i < n; i += 3) {
        double *value = az_f64_mut(*parameter[i].slot), old = value[1];
        const double h = 1e-5;
        value[1] = old + h;
        const double up = loss_now(az, lm, texts);
        value[1] = old - h;
        const double down = loss_now(az, lm, texts);
        value[1] = old;
        const double numeric = (up - down) / (2 * h), exact = az_item(gradient[i], 1);
        cr_assert_lt(fabs(numeric - exact), 1e-5 * fmax(1, fabs(exact)), "%s: %g, by differences %g", parameter[i].name, exact, numeric);
    }
    az_close(az);
}

/* ---- beside weights of other formats ---- */

Test(dpo, beside_weights_of_any_format)
{
    static const char *const chains[][2] = {{"quantize", "type=q4_0"}, {"llm-int8", ""}, {"wanda", "pattern=2:4"}, {"welore", ""}};
    for (size_t i = 0; i < sizeof chains / sizeof *chains; i++) {
        az_ctx *az = az_open(NULL);
        az_report *report = az_report_new(az, NULL);
        az_adapter *adapter = NULL;
        az_lm *lm = small_lm(az);
        cr_assert(small_compress(az, lm, chains[i][0], chains[i][1], small_stories(az, 0, 20), NULL), "%s", az_error(az));
        cr_assert(run_dpo(az, lm, "beta=0.5,targets=all-linear", "steps=20,batch=4,lr=5e-3", report, &adapter), "%s: %s", chains[i][0],
                  az_error(az));
        cr_assert_gt(az_report_value(report, "preferences", "margin"), 0, "%s", chains[i][0]);
        cr_assert_eq(az_report_value(report, "preferences", "reward_accuracy"), 1, "%s", chains[i][0]);
        az_close(az);
    }
}
