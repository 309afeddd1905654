/* smoothquant and plant-outliers: the function stays, what is uneven moves, and what cannot be done is refused. */
#include "compress/plant.h"
#include "support/families.h"
#include "support/folder.h"
#include "support/matrix.h"
#include "support/small_lm.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

/* Logits after a method are those before, for every architecture that it takes. */
static void keeps_the_function(const char *method, const char *options, double tolerance)
{
    az_ctx *az = az_open(NULL);
    az_tokenizer *tokenizer = az_tokenizer_train(az, small_stories(az, 0, 30), 300);
    const az_documents *text = small_stories(az, 0, 40);
    int changed = 0;
    for (int f = 0; f < FAMILIES; f++) {
        az_lm *lm = family_model_with(az, &families[f], tokenizer);
        if (lm->config.post_norm) continue;
        const az_tensor *before = family_logits(az, lm), *norm = az_copy(az, lm->block[0].attn_norm.weight);
        cr_assert(small_compress(az, lm, method, options, text, NULL), "%s: %s", families[f].architecture, az_error(az));
        const double difference = matrix_difference(family_logits(az, lm), before);
        cr_assert_leq(difference, tolerance, "%s: %g", families[f].architecture, difference);
        changed += matrix_difference(norm, lm->block[0].attn_norm.weight) > 0;
    }
    cr_assert_geq(changed, 5);
    az_close(az);
}

Test(smoothquant, the_function_stays)
{
    keeps_the_function("smoothquant", "nsamples=4,seqlen=32", 3e-4);
}

Test(smoothquant, planted_features_leave_the_function)
{
    keeps_the_function("plant-outliers", "features=4,seed=3", 3e-4);
}

/* What planting did to rounding by tokens is undone for the most part; alpha=0 leaves the activations as uneven as they are. */
Test(smoothquant, rounding_by_tokens_gets_better)
{
    static const char *const rounding = "wbits=8,abits=6,activations=token,weights=rtn-sym,skip=down|attn.o";
    az_ctx *az = az_open(NULL);
    const az_documents *text = small_stories(az, 0, 40);
    double error[2];
    for (int smooth = 0; smooth < 2; smooth++) {
        az_lm *lm = small_lm(az);
        cr_assert(small_compress(az, lm, "plant-outliers", "features=3,seed=1", text, NULL), "%s", az_error(az));
        const az_tensor *before = family_logits(az, lm);
        if (smooth) cr_assert(small_compress(az, lm, "smoothquant", "nsamples=8,seqlen=32", text, NULL), "%s", az_error(az));
        cr_assert(small_compress(az, lm, "outliertune", rounding, text, NULL), "%s", az_error(az));
        error[smooth] = matrix_difference(family_logits(az, lm), before);
    }
    cr_assert_lt(error[1], 0.5 * error[0], "%g, then %g", error[0], error[1]);
    az_close(az);
}

Test(smoothquant, what_cannot_be_done_is_refused)
{
    static const struct {
        const char *method, *options, *why;
    } wrong[] = {{"plant-outliers", "features=33", "width is 32"},
                 {"plant-outliers", "least=5,most=2", "above most"},
                 {"plant-outliers", "kind=shift", "kind=scale needs none"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        az_ctx *az = az_open(NULL);
        cr_assert_not(small_compress(az, small_lm(az), wrong[i].method, wrong[i].options, small_stories(az, 0, 4), NULL));
        cr_assert_not_null(strstr(az_error(az), wrong[i].why), "%s: %s", wrong[i].options, az_error(az));
        az_close(az);
    }
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az);
    cr_assert(small_compress(az, lm, "welore", "reduction=0.7", NULL, NULL), "%s", az_error(az));
    cr_assert_not(small_compress(az, lm, "smoothquant", "", small_stories(az, 0, 4), NULL));
    cr_assert_not_null(strstr(az_error(az), "before welore"), "%s", az_error(az));
    az_close(az);
}

/* Where files have the biases, shifts are saved with the model. */
Test(smoothquant, shifts_are_saved_where_there_are_biases)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    az_tokenizer *tokenizer = az_tokenizer_train(az, small_stories(az, 0, 30), 300);
    int seen = 0;
    for (int f = 0; f < FAMILIES; f++) {
        if (strcmp(families[f].architecture, "bloom") != 0) continue;
        az_lm *lm = family_model_with(az, &families[f], tokenizer);
        const az_tensor *before = family_logits(az, lm);
        cr_assert(small_compress(az, lm, "plant-outliers", "kind=shift,features=4", small_stories(az, 0, 4), NULL), "%s", az_error(az));
        const char *path = test_path(az, folder, "shifted.gguf");
        cr_assert(az_lm_save(az, lm, path, NULL), "%s", az_error(az));
        cr_assert_leq(matrix_difference(family_logits(az, az_lm_load(az, path)), before), 1e-3);
        seen++;
    }
    cr_assert_gt(seen, 0);
    az_close(az);
}
