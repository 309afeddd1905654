/* Planes of bits for whole models: widths, kernels, codes taken over from other methods, files, gradients, zeros, refusals. */
#include "support/families.h"
#include "support/folder.h"
#include "support/matrix.h"
#include "support/small_lm.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

Test(bipolar_int, more_bits_lose_less)
{
    static const char *const options[] = {"wbits=8,abits=8", "wbits=4,abits=8", "wbits=2,abits=8"};
    static const double most[] = {0.003, 0.03, 0.3};
    az_ctx *az = az_open(NULL);
    const az_documents *test = small_stories(az, 500, 3);
    const az_lm *plain = small_lm(az);
    const double before = small_loss(az, plain, test);
    for (int i = 0; i < 3; i++) {
        az_lm *lm = az_lm_copy(az, plain);
        cr_assert(small_compress(az, lm, "bipolar-int", options[i], NULL, NULL), "%s", az_error(az));
        cr_assert_str_eq(lm->block[0].up.weight->format->name, "bipolar");
        cr_assert_float_eq(small_loss(az, lm, test), before, most[i], "%s: %g", options[i], small_loss(az, lm, test) - before);
    }
    az_close(az);
}

Test(bipolar_int, kernels_predict_the_same)
{
    static const char *const kernels[] = {"auto", "popcount", "lookup", "int8"};
    az_ctx *az = az_open(NULL);
    const az_tensor *first = NULL;
    for (int k = 0; k < 4; k++) {
        az_lm *lm = small_lm(az);
        const char *options = az_format_text(az, "wbits=3,abits=6,search,group=16,kernel=%s", kernels[k]);
        cr_assert(small_compress(az, lm, "bipolar-int", options, NULL, NULL), "%s", az_error(az));
        const az_tensor *y = family_logits(az, lm);
        cr_assert_not_null(y, "%s", az_error(az));
        if (first) cr_assert_eq(matrix_difference(y, first), 0, "%s", kernels[k]);
        first = y;
    }
    az_close(az);
}

/* Codes of other methods: the same matrices, to the last bits of f32. */
Test(bipolar_int, codes_of_other_methods_are_taken_over)
{
    static const char *const before[][2] = {{"quantize", "type=q4_0"},
                                            {"quantize", "type=q5_0"},
                                            {"quantize", "type=q8_0"},
                                            {"outliertune", "activations=token,wbits=3,nsamples=4"},
                                            {"outliertune", "activations=token,wbits=4,weights=rtn-sym"},
                                            {"bipolar-int", "wbits=5,offset"}};
    az_ctx *az = az_open(NULL);
    const az_documents *text = small_stories(az, 0, 40);
    for (size_t i = 0; i < sizeof before / sizeof *before; i++) {
        az_lm *lm = small_lm(az);
        cr_assert(small_compress(az, lm, before[i][0], before[i][1], text, NULL), "%s", az_error(az));
        az_lm *planes = az_lm_copy(az, lm);
        const bool whole = strcmp(before[i][0], "quantize") == 0; /* 48 inputs are no whole blocks: f16, which has no codes */
        cr_assert(small_compress(az, planes, "bipolar-int", whole ? "wbits=0,abits=4,skip=down" : "wbits=0,abits=4", NULL, NULL), "%s",
                  az_error(az));
        cr_assert_leq(small_difference(az, lm, planes), whole ? 0 : 1e-7, "%s", before[i][1]);
        cr_assert_str_eq(planes->block[1].q.weight->format->name, "bipolar");
    }
    az_close(az);
}

Test(bipolar_int, every_architecture_is_saved_and_read_again)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    for (int f = 0; f < FAMILIES; f++) {
        az_lm *lm = family_model(az, &families[f]);
        const char *gguf = test_path(az, folder, az_format_text(az, "%s.gguf", families[f].architecture)),
                   *hf = test_path(az, folder, families[f].architecture);
        cr_assert(small_compress(az, lm, "bipolar-int", f % 2 ? "wbits=3,abits=5,group=16" : "wbits=4,offset", NULL, NULL), "%s",
                  az_error(az));
        const az_tensor *want = family_logits(az, lm);
        cr_assert(az_lm_save(az, lm, gguf, NULL), "%s", az_error(az));
        cr_assert_eq(matrix_difference(want, family_logits(az, az_lm_load(az, gguf))), 0, "%s: %s", families[f].architecture, az_error(az));
        if (strcmp(families[f].architecture, "bloom") == 0) continue; /* its folders do not tell the hidden width */
        cr_assert(az_lm_save_folder(az, lm, hf, NULL), "%s", az_error(az));
        cr_assert_eq(matrix_difference(want, family_logits(az, az_lm_load(az, hf))), 0, "%s: %s", families[f].architecture, az_error(az));
    }
    az_close(az);
}

Test(bipolar_int, gradients_flow_through_the_planes)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az);
    const az_lm_lesson lesson = az_lm_lesson_of(az, az_lm_sample_sequences(az, lm, small_stories(az, 0, 40), 2, 32, 1), 0, 2);
    double ab = 0, aa = 0, bb = 0;
    az_tensor *gradient[2];
    for (int i = 0; i < 2; i++) {
        if (i == 1) cr_assert(small_compress(az, lm, "bipolar-int", "wbits=8,abits=8", NULL, NULL));
        az_lm_parameter *parameter;
        cr_assert_eq(az_lm_choose_parameters(az, lm, AZ_F32, "blocks.0.attn_norm*", &parameter), 1, "%s", az_error(az));
        const az_lm_objective objective = {.lm = lm, .lesson = lesson, .scale = 1};
        cr_assert(az_lm_gradient(az, &objective, parameter, 1, &gradient[i], NULL), "%s", az_error(az));
    }
    for (int c = 0; c < 32; c++) {
        const double a = az_item(gradient[0], c), b = az_item(gradient[1], c);
        ab += a * b, aa += a * a, bb += b * b;
    }
    cr_assert_gt(ab / sqrt(aa * bb), 0.98);
    az_close(az);
}

Test(bipolar_int, pruned_weights_need_an_offset)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az);
    cr_assert(small_compress(az, lm, "wanda", "pattern=2:4,nsamples=8", small_stories(az, 0, 40), NULL));
    az_lm *copy = az_lm_copy(az, lm);
    cr_assert_not(small_compress(az, copy, "bipolar-int", "wbits=4", NULL, NULL));
    cr_assert_not_null(strstr(az_error(az), "zeros=lose"), "%s", az_error(az));
    az_clear(az);
    cr_assert(small_compress(az, az_lm_copy(az, lm), "bipolar-int", "wbits=4,zeros=lose", NULL, NULL), "%s", az_error(az));
    cr_assert(small_compress(az, lm, "bipolar-int", "wbits=4,offset", NULL, NULL), "%s", az_error(az));
    cr_assert(az_mask_check(az, az_mask_of(az, lm->block[1].down.weight), (az_pattern){2, 4}));
    az_close(az);
}

Test(bipolar_int, what_cannot_be_is_refused)
{
    static const char *const bad[][2] = {{"wbits=9", "wbits"},         {"abits=0", "abits"},          {"group=12", "groups of 12"},
                                         {"wbits=0", "no codes"},      {"wbits=0,offset", "wbits=0"}, {"skip=[", "expression"},
                                         {"error", "calibration text"}};
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_assert_not(small_compress(az, az_lm_copy(az, lm), "bipolar-int", bad[i][0], NULL, NULL), "%s", bad[i][0]);
        cr_assert_eq(az_status_of(az), AZ_BAD_INPUT);
        cr_assert_not_null(strstr(az_error(az), bad[i][1]), "%s", az_error(az));
        az_clear(az);
    }
    az_lm *low = az_lm_copy(az, lm);
    cr_assert(small_compress(az, low, "welore", "reduction=0.7", NULL, NULL), "%s", az_error(az));
    cr_assert_not(small_compress(az, low, "bipolar-int", "", NULL, NULL));
    cr_assert_not_null(strstr(az_error(az), "low rank"), "%s", az_error(az));
    az_close(az);
}
