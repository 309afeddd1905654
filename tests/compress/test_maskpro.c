/* MaskPro on whole models: what it learns, that it goes on bit for bit, its files, and what it refuses. */
#include "compress/maskpro.h"
#include "support/command.h"
#include "support/folder.h"
#include "support/matrix.h"
#include "support/small_lm.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

/* Small minibatches of short sequences. */
static const char *const quick = "samples=8,batch=4,seqlen=12,logits=auto:40,lr=auto";

Test(maskpro, the_factor_is_the_loss_its_residual_or_the_residual_minus_its_average)
{
    az_maskpro_tracker vanilla = {.estimator = AZ_MASKPRO_VANILLA, .decay = 0.99},
                       residual = {.estimator = AZ_MASKPRO_RESIDUAL, .decay = 0.99},
                       tracked = {.estimator = AZ_MASKPRO_TRACKED, .decay = 0.99};
    double delta = 0;
    for (int k = 0; k < 50; k++) {
        const double f0 = 2 + 0.1 * k, f = f0 + sin(k);
        const double found[] = {az_maskpro_factor(&vanilla, f, f0), az_maskpro_factor(&residual, f, f0),
                                az_maskpro_factor(&tracked, f, f0)};
        delta = 0.99 * delta + 0.01 * (f - f0);
        cr_assert_eq(found[0], f);
        cr_assert_float_eq(found[1], f - f0, 1e-12);
        cr_assert_float_eq(found[2], f - f0 - delta, 1e-12);
    }
}

/* ---- a loss that is a sum over weights: what is dropped costs its own price ---- */

enum { BLOCKS = 32, WEIGHTS = 4 * BLOCKS, STEPS = 4000 };

static double price(int j)
{
    return 1 + sin(3 + 1.9 * j);
}

static double planted_loss(const unsigned char *bits)
{
    double lost = 0;
    for (int j = 0; j < WEIGHTS; j++) lost += az_bits_get(bits, j, 1) ? 0 : price(j);
    return 3 + lost / BLOCKS;
}

/* From the first two of every four, the masks of the two dearest are learnt. */
Test(maskpro, a_planted_mask_is_found)
{
    az_ctx *az = az_open(NULL);
    float logit[WEIGHTS], prices[WEIGHTS];
    unsigned char kept[WEIGHTS / 8] = {0}, best[WEIGHTS / 8] = {0}, start[WEIGHTS / 8], final[WEIGHTS / 8] = {0};
    const az_nm_matrix x = {.pattern = {2, 4}, .clamp = 1e-8, .rows = 1, .cols = WEIGHTS, .logit = logit, .kept = kept};
    memset(start, 0x33, sizeof start);
    for (int j = 0; j < WEIGHTS; j++) prices[j] = (float)price(j), logit[j] = j % 4 < 2 ? 3 : 0;
    for (int at = 0; at < WEIGHTS; at += 4) az_bits_put(best, at, 4, az_nm_top(prices + at, x.pattern));
    az_nm_set(&x, start);
    az_maskpro_tracker tracker = {.estimator = AZ_MASKPRO_TRACKED, .decay = 0.99};
    for (uint64_t k = 0; k < STEPS; k++) az_nm_move(az, &x, 2 * az_maskpro_factor(&tracker, planted_loss(kept), planted_loss(start)), 1, k);
    az_nm_final(&x, final);
    const double gap = planted_loss(start) - planted_loss(best);
    cr_assert_gt((planted_loss(start) - planted_loss(final)) / gap, 0.9, "%g", planted_loss(final));
    az_close(az);
}

/* ---- whole models ---- */

static az_lm *learnt(az_ctx *az, const char *options, az_report *report)
{
    az_lm *lm = az_lm_copy(az, small_lm(az));
    const bool done = small_compress(az, lm, "maskpro", options, small_stories(az, 50, 40), report);
    return done ? lm : NULL;
}

static void check_pattern(az_ctx *az, az_lm *lm, az_pattern pattern)
{
    az_lm_linear **linear;
    const int n = az_lm_linears(az, lm, &linear);
    for (int i = 0; i < n; i++) cr_assert(az_mask_check(az, az_mask_of(az, linear[i]->weight), pattern), "%s", az_error(az));
}

Test(maskpro, masks_hold_to_the_pattern_and_the_report_tells_what_was_done)
{
    az_ctx *az = az_open(NULL);
    az_report *report = az_report_new(az, "maskpro");
    az_lm *lm = learnt(az, az_format_text(az, "%s,init=random,steps=60", quick), report);
    cr_assert_not_null(lm, "%s", az_error(az));
    check_pattern(az, lm, (az_pattern){2, 4});
    cr_assert_gt(az_report_value(report, "learning", "start_loss"), 1);
    cr_assert_lt(az_report_value(report, "learning", "moment_ratio"), 0.01);
    const double flips = az_report_value(report, "learning", "flips");
    cr_assert(flips > 60 && flips < 100, "%g", flips); /* two draws differ by about twice as many blocks as one from the start */
    az_close(az);
}

/* Weights of layers that learn are the model's own or zero; others are pruned by the start mask, or dense. */
Test(maskpro, only_chosen_layers_learn)
{
    az_ctx *az = az_open(NULL);
    az_lm *original = small_lm(az);
    for (int dense = 0; dense < 2; dense++) {
        az_lm *lm = learnt(az, az_format_text(az, "%s,steps=60,layers=attn\\.o$,others=%s", quick, dense ? "dense" : "start"), NULL);
        cr_assert_not_null(lm, "%s", az_error(az));
        az_lm_linear **after, **before;
        const int n = az_lm_linears(az, lm, &after);
        az_lm_linears(az, original, &before);
        for (int i = 0; i < n; i++) {
            const bool learns = strstr(after[i]->name, "attn.o") != NULL;
            const az_tensor *w = az_weight_decode(az, after[i]->weight), *was = az_weight_decode(az, before[i]->weight);
            cr_assert_eq(az_weight_sparsity(az, after[i]->weight), learns || !dense ? 0.5 : 0);
            for (int64_t k = 0; k < az_count(w); k++) cr_assert(az_item(w, k) == 0 || az_item(w, k) == az_item(was, k));
        }
    }
    az_close(az);
}

Test(maskpro, the_zeros_of_the_chain_are_the_start_and_their_pattern_is_found)
{
    az_ctx *az = az_open(NULL);
    az_lm *original = small_lm(az), *lm = az_lm_copy(az, original);
    const az_documents *text = small_stories(az, 50, 40);
    cr_assert(small_compress(az, lm, "wanda", "pattern=1:4,nsamples=8,seqlen=32", text, NULL));
    az_lm *pruned = az_lm_copy(az, lm);
    const az_method *method = az_method_by_name("maskpro");
    void *settings = az_alloc(az, method->options_size);
    cr_assert(az_options_parse(az, method->options, "maskpro", "samples=8,batch=4,seqlen=12,logits=0.2,lr=auto,steps=60", settings));
    az_compress_job job = {.lm = lm, .original = original, .calibration = text};
    cr_assert(method->compress(az, settings, &job), "%s", az_error(az));
    check_pattern(az, lm, (az_pattern){1, 4});
    cr_assert_gt(small_difference(az, pruned, lm), 0);
    az_close(az);
}

Test(maskpro, any_number_of_threads_gives_the_same_bits)
{
    az_lm *lm[2];
    az_ctx *az[2];
    for (int i = 0; i < 2; i++) {
        az[i] = az_open(&(az_settings){.threads = i + 1});
        lm[i] = learnt(az[i], az_format_text(az[i], "%s,pattern=4:8,steps=45", quick), NULL);
        cr_assert_not_null(lm[i], "%s", az_error(az[i]));
    }
    cr_assert_eq(small_difference(az[0], lm[0], lm[1]), 0);
    az_close(az[0]);
    az_close(az[1]);
}

/* A run of 70 steps, and one that was stopped after 45 and went on: the same masks and the same log. */
Test(maskpro, a_stopped_run_goes_on_bit_for_bit)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az), *logs[2];
    az_lm *lm[2];
    for (int stopped = 0; stopped < 2; stopped++) {
        const char *state = test_path(az, folder, stopped ? "a.safetensors" : "b.safetensors");
        logs[stopped] = test_path(az, folder, stopped ? "a.csv" : "b.csv");
        const char *all = az_format_text(az, "%s,steps=70,resume=%s,log=%s", quick, state, logs[stopped]);
        if (stopped) cr_assert_not_null(learnt(az, az_format_text(az, "%s,steps=45,resume=%s", quick, state), NULL), "%s", az_error(az));
        lm[stopped] = learnt(az, all, NULL);
        cr_assert_not_null(lm[stopped], "%s", az_error(az));
    }
    cr_assert_eq(small_difference(az, lm[0], lm[1]), 0);
    const char *one = az_read_file(az, logs[0], NULL), *two = az_read_file(az, logs[1], NULL);
    cr_assert_str_eq(one, two);
    cr_assert_eq(test_lines(one), 71);
    cr_assert(strncmp(one, "step,loss,initial_loss,residual,tracker,flipped_blocks\n0,", 57) == 0);
    az_close(az);
}

/* Each with the words that its error must contain. */
Test(maskpro, what_cannot_be_done_is_told)
{
    static const char *const cases[][2] = {{"pattern=4:3", "4:3"},
                                           {"pattern=12:16", "12:16"},
                                           {"pattern=2:7", "2:7"},
                                           {"lr=fast", "lr is 'fast'"},
                                           {"logits=auto:x", "logits is"},
                                           {"logits=auto:1e9", "at most a share"},
                                           {"layers=[", "regular expression"},
                                           {"layers=nothing,samples=4", "no layer"},
                                           {"lr=auto,steps=20", "41 steps"},
                                           {"init=model,samples=4", "no zeros"},
                                           {"mask=nowhere.gguf,samples=4", "nowhere"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        az_ctx *az = az_open(NULL);
        cr_assert_null(learnt(az, cases[i][0], NULL), "%s", cases[i][0]);
        cr_assert_not_null(strstr(az_error(az), cases[i][1]), "%s: %s", cases[i][0], az_error(az));
        az_close(az);
    }
}

Test(maskpro, a_start_mask_off_the_pattern_names_row_and_group)
{
    az_ctx *az = az_open(NULL);
    az_lm *sparse = az_lm_copy(az, small_lm(az));
    const char *path = test_path(az, test_folder(az), "sparse.gguf");
    cr_assert(small_compress(az, sparse, "magnitude", "sparsity=0.5", NULL, NULL) && az_lm_save(az, sparse, path, NULL));
    cr_assert_null(learnt(az, az_format_text(az, "%s,mask=%s", quick, path), NULL));
    cr_assert(strstr(az_error(az), "blocks.0.attn.q") && strstr(az_error(az), "row 0"), "%s", az_error(az));
    az_close(az);
}

Test(maskpro, a_state_of_another_run_or_a_damaged_one_is_refused)
{
    az_ctx *az = az_open(NULL);
    const char *state = test_path(az, test_folder(az), "s.safetensors");
    cr_assert_not_null(learnt(az, az_format_text(az, "%s,steps=50,resume=%s", quick, state), NULL), "%s", az_error(az));
    static const char *const cases[][2] = {
        {"samples=8,batch=2,seqlen=12,logits=auto:40,lr=auto", "initial losses were made for 8 sequences"},
        {"samples=8,batch=4,seqlen=12,logits=auto:40,lr=1", "other settings"},
        {"samples=8,batch=4,seqlen=12,logits=auto:40,lr=auto,seed=1", "other settings"}};
    for (int i = 0; i < 3; i++) {
        cr_assert_null(learnt(az, az_format_text(az, "%s,steps=60,resume=%s", cases[i][0], state), NULL));
        cr_assert_not_null(strstr(az_error(az), cases[i][1]), "%s", az_error(az));
        az_clear(az);
    }
    cr_assert_null(learnt(az, az_format_text(az, "%s,steps=45,resume=%s", quick, state), NULL));
    cr_assert_not_null(strstr(az_error(az), "its step is 50"), "%s", az_error(az));
    az_clear(az);
    cr_assert_eq(truncate(state, 3000), 0);
    cr_assert_null(learnt(az, az_format_text(az, "%s,steps=60,resume=%s", quick, state), NULL));
    cr_assert_not_null(strstr(az_error(az), "going on from"), "%s", az_error(az));
    az_close(az);
}

/* A guard so tight that chance alone trips it: the run ends early and hands out an earlier mask. */
Test(maskpro, the_guard_ends_a_run_whose_residuals_rise)
{
    az_ctx *az = az_open(NULL);
    az_report *report = az_report_new(az, "maskpro");
    az_lm *lm = learnt(az, az_format_text(az, "%s,steps=1000,guard=1e-9", quick), report);
    cr_assert_not_null(lm, "%s", az_error(az));
    cr_assert_lt(az_report_value(report, "learning", "steps"), 1000);
    cr_assert_eq(az_report_value(report, "learning", "drifted"), 1);
    check_pattern(az, lm, (az_pattern){2, 4});
    az_close(az);
}
