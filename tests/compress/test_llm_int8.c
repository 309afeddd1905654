/* LLM.int8(): whole models in bytes, planted outliers, lists of columns from text, the study of outliers, chains and refusals. */
#include "compress/plant.h"
#include "compress/outlier_study.h"
#include "support/small_lm.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

Test(llm_int8, planting_does_not_change_the_function)
{
    az_ctx *az = az_open(NULL);
    const az_documents *text = small_stories(az, 500, 3);
    az_lm *lm = small_lm(az);
    const double before = small_loss(az, lm, text);
    for (int how = 0; how < AZ_PLANTINGS; how++) {
        az_lm *planted = az_lm_copy(az, lm);
        int64_t feature[AZ_PLANTED_FEATURES];
        cr_assert(az_plant_outliers(az, planted, &(az_planting){.kind = how, .seed = 3}, feature, NULL), "%s", az_error(az));
        for (int i = 1; how && i < AZ_PLANTED_FEATURES; i++) cr_assert_gt(feature[i], feature[i - 1]);
        cr_assert_float_eq(small_loss(az, planted, text), before, 1e-5, "%d", how);
    }
    az_close(az);
}

Test(llm_int8, every_choice_makes_a_model_that_predicts_alike)
{
    static const char *const options[] = {"",
                                          "threshold=0",
                                          "mode=paper,live",
                                          "columns=16bit,nsamples=2,seqlen=32",
                                          "outliers=static,mode=paper,nsamples=2,seqlen=32",
                                          "outliers=static,nsamples=2,seqlen=32",
                                          "scheme=rowwise",
                                          "scheme=absmax",
                                          "scheme=zeropoint",
                                          "scheme=zeropoint,live",
                                          "skip=attn",
                                          "error,nsamples=2,seqlen=32"};
    az_ctx *az = az_open(NULL);
    const az_documents *text = small_stories(az, 0, 40), *test = small_stories(az, 500, 3);
    const az_lm *plain = small_lm(az);
    const double before = small_loss(az, plain, test);
    for (int how = 0; how < AZ_PLANTINGS; how++)
        for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
            az_lm *lm = az_lm_copy(az, plain);
            az_plant_outliers(az, lm, &(az_planting){.kind = how, .seed = 3}, NULL, NULL);
            cr_assert(small_compress(az, lm, "llm-int8", options[i], text, NULL), "%s: %s", options[i], az_error(az));
            cr_assert_float_eq(small_loss(az, lm, test), before, 0.03, "%s", options[i]);
            az_lm_free(az, lm);
        }
    az_close(az);
}

Test(llm_int8, layers_are_stored_as_asked)
{
    az_ctx *az = az_open(NULL);
    const az_documents *text = small_stories(az, 0, 40);
    az_lm *lm = small_lm(az);
    int64_t feature[AZ_PLANTED_FEATURES];
    az_plant_outliers(az, lm, &(az_planting){.kind = AZ_PLANT_SCALE, .seed = 3}, feature, NULL);
    cr_assert(small_compress(az, lm, "llm-int8", "columns=16bit,nsamples=8,skip=attn.o|down", text, NULL), "%s", az_error(az));
    const az_weight *q = lm->block[1].q.weight;
    cr_assert_str_eq(q->format->name, "int8_columns");
    for (int i = 0, found = 0; i < q->part[3]->shape[0]; i++) {
        found += ((const int32_t *)q->part[3]->data)[i] == feature[found < AZ_PLANTED_FEATURES ? found : 0];
        if (i == q->part[3]->shape[0] - 1) cr_assert_geq(found, AZ_PLANTED_FEATURES - 1);
    }
    cr_assert_str_eq(lm->block[1].o.weight->format->name, "f32");
    cr_assert_str_eq(lm->block[0].down.weight->format->name, "f32");
    az_close(az);
}

Test(llm_int8, bytes_take_half_of_sixteen_bits)
{
    az_ctx *az = az_open(NULL);
    const int64_t rows = 512, cols = 512;
    az_weight *w = az_weight_dense(az, az_randn(az, AZ_F32, 2, (const int64_t[]){rows, cols}, 1, 1, 1));
    const az_weight *small = az_weight_int8(az, w, &(az_int8_settings){.threshold = 6});
    cr_assert_leq((double)az_weight_bytes(small), 0.51 * 2 * (double)(rows * cols));
    az_close(az);
}

Test(llm_int8, scans_are_those_of_the_inputs)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az);
    const az_lm_sequences *sequences = az_lm_sample_sequences(az, lm, small_stories(az, 0, 20), 3, 16, 1);
    az_column_scan *scan;
    cr_assert(az_scan_columns(az, lm, sequences, 1.5, &scan), "%s", az_error(az));
    cr_assert_eq(scan[0].tokens, 48);
    cr_assert_eq(scan[0].sequences, 3);
    double middle = 0, most = 0; /* of feature 5 of what the first block reads: the normalised embedding */
    int64_t large = 0;
    for (int s = 0; s < 3; s++) {
        const az_lm_batch batch = {.sequences = 1, .token = sequences->token + 16 * s, .start = (const int64_t[]){0, 16}};
        const az_tensor *x = az_rms_norm(az, az_lm_embed(az, lm, &batch, NULL), lm->block[0].attn_norm.weight, lm->config.norm_eps);
        double low = INFINITY, high = -INFINITY;
        for (int t = 0; t < 16; t++) {
            const double v = az_item(x, t * x->shape[1] + 5);
            low = fmin(low, v), high = fmax(high, v), large += fabs(v) >= 1.5;
        }
        middle += (low + high) / 2, most = fmax(most, fmax(-low, high));
    }
    cr_assert_float_eq(scan[0].middle[5], middle, 1e-5);
    cr_assert_float_eq(scan[0].most[5], most, 1e-5);
    cr_assert_eq(scan[0].large[5], large);
    az_close(az);
}

Test(llm_int8, the_study_finds_what_was_planted)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az);
    int64_t feature[AZ_PLANTED_FEATURES];
    az_plant_outliers(az, lm, &(az_planting){.kind = AZ_PLANT_SHIFT, .seed = 5}, feature, NULL);
    const az_lm_sequences *sequences = az_lm_sample_sequences(az, lm, small_stories(az, 0, 20), 4, 32, 1);
    az_report *report = az_report_new(az, "study");
    const az_outlier_rule rule = {.magnitude = 7, .layers = 0.25, .positions = 0.06};
    cr_assert(az_outlier_study(az, lm, sequences, &rule, 1, report), "%s", az_error(az));
    cr_assert_eq(az_report_value(report, "outliers", "feature"), feature[AZ_PLANTED_FEATURES - 1]);
    cr_assert_eq(az_report_value(report, "outliers", "layers"), 1);
    cr_assert_eq(az_report_value(report, "outliers", "one_sided"), 1);
    const double median = az_report_value(report, "outliers", "median");
    cr_assert(median >= 8 && median <= 42, "%g", median);
    cr_assert_eq(az_report_value(report, "ablation", "features"), AZ_PLANTED_FEATURES);
    az_close(az);
}

Test(llm_int8, pruned_weights_stay_zero)
{
    az_ctx *az = az_open(NULL);
    const az_documents *text = small_stories(az, 0, 40);
    az_lm *lm = small_lm(az);
    cr_assert(small_compress(az, lm, "wanda", "pattern=2:4,nsamples=8", text, NULL));
    static const char *const options[] = {"", "scheme=zeropoint", "columns=16bit,threshold=2,nsamples=2,seqlen=32"};
    for (int i = 0; i < 3; i++) {
        az_lm *copy = az_lm_copy(az, lm);
        cr_assert(small_compress(az, copy, "llm-int8", options[i], text, NULL), "%s", az_error(az));
        const az_weight *w = copy->block[0].q.weight;
        cr_assert_geq(az_weight_sparsity(az, w), 0.5);
        cr_assert(az_mask_check(az, az_mask_of(az, w), (az_pattern){2, 4}));
    }
    az_close(az);
}

Test(llm_int8, what_cannot_be_is_refused)
{
    static const char *const bad[][2] = {{"threshold=-1", "threshold"},
                                         {"outliers=static,threshold=0", "threshold"},
                                         {"columns=16bit,live,nsamples=2", "live"},
                                         {"skip=[", "expression"},
                                         {"study", "calibration text"},
                                         {"outliers=static", "calibration text"}};
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_assert_not(small_compress(az, lm, "llm-int8", bad[i][0], NULL, NULL), "%s", bad[i][0]);
        cr_assert_eq(az_status_of(az), AZ_BAD_INPUT);
        cr_assert_not_null(strstr(az_error(az), bad[i][1]), "%s", az_error(az));
        az_clear(az);
    }
    cr_assert(small_compress(az, lm, "welore", "reduction=0.7", NULL, NULL), "%s", az_error(az));
    cr_assert_not(small_compress(az, lm, "llm-int8", "", NULL, NULL));
    cr_assert_not_null(strstr(az_error(az), "low rank"), "%s", az_error(az));
    az_clear(az);
    az_lm *broken = small_lm(az);
    az_f32_mut(broken->block[0].attn_norm.weight)[3] = INFINITY;
    cr_assert(small_compress(az, broken, "llm-int8", "", NULL, NULL));
    cr_assert_null(az_lm_score_documents(az, broken, small_stories(az, 0, 1), NULL));
    cr_assert_not_null(strstr(az_error(az), "blocks.0.attn.q"), "%s", az_error(az));
    az_close(az);
}
