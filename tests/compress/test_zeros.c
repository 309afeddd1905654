/* Chains keep what earlier methods dropped. */
#include "compress/compress_internal.h"
#include "support/matrix.h"
#include "support/small_lm.h"

#include <criterion/criterion.h>
#include <string.h>

/* The smallest share of zeros among the linear layers. */
static double least_sparsity(az_ctx *az, az_lm *lm)
{
    az_lm_linear **linear;
    double least = 1;
    for (int i = az_lm_linears(az, lm, &linear) - 1; i >= 0; i--) {
        const double share = az_weight_sparsity(az, linear[i]->weight);
        if (share < least) least = share;
    }
    return least;
}

/* Whether every zero of a is a zero of b. */
static bool keeps_zeros(az_ctx *az, az_lm *a, az_lm *b)
{
    az_lm_linear **x, **y;
    bool keeps = true;
    const int n = az_lm_linears(az, a, &x);
    if (az_lm_linears(az, b, &y) != n) return false;
    for (int i = 0; i < n; i++) {
        const az_tensor *before = az_weight_decode(az, x[i]->weight), *after = az_weight_decode(az, y[i]->weight);
        for (int64_t j = 0; j < az_count(before); j++) keeps = keeps && (az_item(before, j) != 0 || az_item(after, j) == 0);
    }
    return keeps;
}

Test(zeros, survive_every_second_step)
{
    static const struct {
        const char *method, *options;
    } second[] = {
        {"quantize", "type=q8_0"},     {"quantize", "type=q4_0"},
        {"quantize", "type=q5_0"},     {"quantize", "type=f16"},
        {"sparsegpt", "sparsity=0.1"}, {"sparsegpt", "pattern=3:4"},
        {"wanda", "sparsity=0.25"},    {"magnitude", "sparsity=0.25"},
        {"sparsegpt", "sparsity=0.6"}, {"quantize", "type=q4_1,zeros=keep,importance=false"},
    };
    az_ctx *az = az_open(NULL);
    const az_documents *text = small_stories(az, 50, 40);
    az_lm *pruned = small_lm(az);
    cr_assert(small_compress(az, pruned, "wanda", "pattern=2:4,nsamples=8", text, NULL), "%s", az_error(az));
    cr_assert_eq(least_sparsity(az, pruned), 0.5);
    for (size_t i = 0; i < sizeof second / sizeof *second; i++) {
        az_lm *lm = az_lm_copy(az, pruned);
        const bool expected = !strstr(second[i].options, "q4_1");
        cr_assert_eq(small_compress(az, lm, second[i].method, second[i].options, text, NULL), expected, "%s: %s", second[i].options,
                     az_error(az));
        if (!expected) break;
        cr_assert(keeps_zeros(az, pruned, lm), "%s:%s", second[i].method, second[i].options);
    }
    cr_assert_eq(az_status_of(az), AZ_BAD_INPUT);
    cr_assert_not_null(strstr(az_error(az), "zeros=lose"), "%s", az_error(az));
    az_close(az);
}

Test(zeros, may_be_given_up)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az);
    cr_assert(small_compress(az, lm, "magnitude", "sparsity=0.5", NULL, NULL), "%s", az_error(az));
    cr_assert(small_compress(az, lm, "quantize", "type=q4_1,zeros=lose", NULL, NULL), "%s", az_error(az));
    cr_assert_str_eq(lm->block[0].q.weight->format->name, "q4_1");
    cr_assert(az_weight_sparsity(az, lm->block[0].q.weight) < 0.5);
    az_close(az);
}

/* A matrix whose zeros come from rounding is not a pruned one. */
Test(zeros, of_rounding_may_be_rounded_again)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az);
    cr_assert(small_compress(az, lm, "quantize", "type=q4_0", NULL, NULL), "%s", az_error(az));
    cr_assert(az_weight_sparsity(az, lm->block[0].q.weight) > 0.01);
    cr_assert(small_compress(az, lm, "quantize", "type=q4_1", NULL, NULL), "%s", az_error(az));
    az_close(az);
}

/* What was dropped before takes part in the compensation: pruning in two halves must not undo the first. */
Test(zeros, sparsegpt_prunes_a_pruned_matrix_further)
{
    az_ctx *az = az_open(NULL);
    az_tensor *w = az_cast(az, matrix_normal(az, AZ_F64, 24, 32, 7), AZ_F32), *gram = matrix_spd(az, AZ_F64, 32, 8);
    for (int64_t i = 0; i < 24 * 32; i += 3) az_f32_mut(w)[i] = 0;
    const az_sparsegpt_settings settings = {.sparsity = 0.5, .damp = 0.01, .blocksize = 16};
    const az_tensor *pruned = az_sparsegpt_prune(az, w, gram, &settings);
    cr_assert_not_null(pruned, "%s", az_error(az));
    int64_t zeros = 0;
    for (int64_t i = 0; i < 24 * 32; i++) {
        zeros += az_item(pruned, i) == 0;
        cr_assert(i % 3 != 0 || az_item(pruned, i) == 0, "entry %lld", (long long)i);
    }
    cr_assert(zeros >= 24 * 16 && zeros <= 24 * 16 + 4, "%lld", (long long)zeros); /* one more a block by the threshold rule */
    az_close(az);
}

Test(zeros, the_model_before_the_chain_is_at_hand)
{
    az_ctx *az = az_open(NULL);
    az_lm *given = small_lm(az), *lm = az_lm_copy(az, given);
    cr_assert(small_compress(az, lm, "magnitude", "sparsity=0.5", NULL, NULL), "%s", az_error(az));
    az_compress_job job = {.lm = lm, .original = given};
    cr_assert_eq(az_compress_original(az, &job, &lm->block[1].up), given->block[1].up.weight);
    job.original = NULL;
    cr_assert_eq(az_compress_original(az, &job, &lm->block[1].up), lm->block[1].up.weight);
    az_close(az);
}
