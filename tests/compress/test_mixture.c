/* Mixtures of experts: methods that read calibration text work on experts that many tokens, few or none come to. */
#include "support/families.h"
#include "support/small_lm.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

/* Four experts, of which two work for a token. In block 1 the router sends all tokens to the first two. */
static az_lm *mixture(az_ctx *az)
{
    int f = 0;
    while (families[f].config.experts == 0) f++;
    az_lm *lm = family_model_with(az, &families[f], az_tokenizer_train(az, small_stories(az, 0, 30), 300));
    const az_tensor *router = lm->block[1].router.weight->part[0];
    memset(router->data, 0, (size_t)az_count(router) * sizeof(float));
    return lm;
}

/* The share of zeros of every layer, which a method left finite. */
static double sparsity_of_all(az_ctx *az, az_lm *lm, double *largest)
{
    az_lm_linear **linear;
    const int n = az_lm_linears(az, lm, &linear);
    cr_assert_eq(n, 2 * (4 + 4 * 3));
    double least = 1;
    *largest = 0;
    for (int i = 0; i < n; i++) {
        const az_tensor *w = az_weight_decode(az, linear[i]->weight);
        for (int64_t k = 0; k < az_count(w); k++) cr_assert(isfinite(az_item(w, k)), "%s", linear[i]->name);
        const double share = az_weight_sparsity(az, linear[i]->weight);
        least = fmin(least, share);
        *largest = fmax(*largest, share);
    }
    return least;
}

Test(mixture, calibrated_methods_prune_every_expert)
{
    static const char *const cases[][2] = {
        {"wanda", "sparsity=0.5"},    {"wanda", "pattern=2:4"}, {"sparsegpt", "sparsity=0.5"},
        {"sparsegpt", "pattern=2:4"}, {"dsnot", "pattern=2:4"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        az_ctx *az = az_open(NULL);
        az_lm *lm = mixture(az);
        const char *options = az_format_text(az, "%s,nsamples=6,seqlen=32", cases[i][1]);
        cr_assert(small_compress(az, lm, cases[i][0], options, small_stories(az, 50, 40), NULL), "%s %s: %s", cases[i][0], options,
                  az_error(az));
        double largest;
        const double least = sparsity_of_all(az, lm, &largest);
        cr_assert(least > 0.49 && largest < 0.51, "%s %s: %g to %g", cases[i][0], options, least, largest);
        az_close(az);
    }
}

Test(mixture, quantization_weighs_by_what_each_expert_reads)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = mixture(az), *plain = az_lm_copy(az, lm);
    const az_documents *text = small_stories(az, 50, 40);
    cr_assert(small_compress(az, lm, "quantize", "type=q4_0,importance,nsamples=6,seqlen=32", text, NULL), "%s", az_error(az));
    cr_assert(small_compress(az, plain, "quantize", "type=q4_0", NULL, NULL), "%s", az_error(az));
    double largest;
    sparsity_of_all(az, lm, &largest);
    cr_assert_str_eq(lm->block[0].expert[3].up.weight->format->name, "q4_0");
    cr_assert_gt(small_difference(az, lm, plain), 0);
    az_close(az);
}

/* Experts that no token comes to have no gradient and keep their values; a router learns with the rest of its block. */
Test(mixture, blocks_are_fitted_with_the_experts_that_tokens_come_to)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = mixture(az), *plain = az_lm_copy(az, lm), *rest = az_lm_copy(az, lm);
    const az_tensor *router = az_copy(az, lm->block[0].router.weight->part[0]);
    const az_documents *text = small_stories(az, 50, 40);
    const char *start = "bits=4,group=4,kmeans=20,epochs=0,nsamples=16,seqlen=32,batch=4,mode=none",
               *fit = az_format_text(az, "%s,block_epochs=4,block_lr=1e-3", start);
    az_report *report = az_report_new(az, "mixture");
    cr_assert(small_compress(az, plain, "pv-tuning", start, text, NULL), "%s", az_error(az));
    cr_assert(small_compress(az, lm, "pv-tuning", az_format_text(az, "%s,no-rest", fit), text, report), "%s", az_error(az));
    cr_assert_lt(az_report_value(report, "blocks", "error"), az_report_value(report, "blocks", "error_before"));
    cr_assert_eq(memcmp(router->data, lm->block[0].router.weight->part[0]->data, (size_t)az_count(router) * sizeof(float)), 0);
    const az_lm_mlp *now = lm->block[1].expert, *then = plain->block[1].expert;
    for (int e = 0; e < 4; e++) {
        const az_tensor *d = az_sub(az, az_weight_decode(az, now[e].down.weight), az_weight_decode(az, then[e].down.weight));
        cr_assert_eq(az_to_double(az_dot(az, d, d)) > 0, e < 2, "expert %d", e);
    }
    cr_assert(small_compress(az, rest, "pv-tuning", fit, text, NULL), "%s", az_error(az));
    cr_assert_neq(memcmp(router->data, rest->block[0].router.weight->part[0]->data, (size_t)az_count(router) * sizeof(float)), 0);
    az_close(az);
}
