/* claim_pissa.c - the headlines of PiSSA (Meng, Wang, Zhang 2024): at equal rank, learning rate, batches and steps it learns faster than
 * LoRA; the principal triples are the ones to train; a quantized residual loses less than a quantized model, and tunes no worse. */
#include "claims/claims.h"
#include "claims/comparisons.h"
#include "claims/tuning.h"
#include "tune/pissa.h"

static const char *const lora_way = "rank=4,alpha=4,targets=all-linear", *const pissa_way = "rank=4";

/* At the learning rate of an adapter, and (for the record) at one at which LoRA catches up; full fine-tuning beside them. */
static bool compare_starts(az_ctx *az, claim_checks *checks, az_lm *lm)
{
    claim_losses lora, pissa, medium, minor, other;
    az_report *report = checks->report;
    if (!claim_learn(az, report, lm, "lora", lora_way, 2e-3, &lora) || !claim_learn(az, report, lm, "pissa", pissa_way, 2e-3, &pissa) ||
        !claim_learn(az, report, lm, "pissa", "rank=4,which=medium", 2e-3, &medium) ||
        !claim_learn(az, report, lm, "pissa", "rank=4,which=minor", 2e-3, &minor) ||
        !claim_learn(az, report, lm, "lora", lora_way, 1e-2, &other) || !claim_learn(az, report, lm, "pissa", pissa_way, 1e-2, &other) ||
        !claim_learn(az, report, lm, "full", "", 1e-3, &other))
        return false;
    claim_check(checks, "half-time loss below LoRA's for 4 of 5 seeds", claim_wins(pissa.half, lora.half) >= CLAIM_TUNED_SEEDS - 1);
    claim_check(checks, "half-time loss at most half of LoRA's", claim_mean(pissa.half) <= claim_mean(lora.half) / 2);
    claim_check(checks, "last loss no higher than LoRA's", claim_mean(pissa.end) <= claim_mean(lora.end));
    claim_check(checks, "principal triples before medium ones", claim_mean(pissa.half) < claim_mean(medium.half));
    claim_check(checks, "principal triples before minor ones", claim_mean(pissa.half) < claim_mean(minor.half));
    return az_ok(az);
}

/* ---- quantized ---- */

/* Each matrix inside the blocks as quantized residual + B A, made dense again. */
static bool split_all(az_ctx *az, az_lm *lm, const claim_subject *on, int seed, void *user)
{
    (void)on, (void)seed;
    const az_pissa_how *how = user;
    az_lm_linear **linear;
    const int n = az_lm_linears(az, lm, &linear);
    for (int i = 0; i < n && az_ok(az); i++) {
        az_pissa_split split;
        az_scope_push(az);
        if (az_pissa_start_of(az, az_weight_decode(az, linear[i]->weight), how, &split)) {
            const az_tensor *product = az_affine(az, az_matmul(az, split.b, split.a), how->scale, 0);
            az_tensor *sum = az_add(az, az_weight_decode(az, split.residual), product);
            az_arena_enter(az, lm->arena);
            linear[i]->weight = az_weight_dense(az, az_share(az, sum));
            az_arena_leave(az);
        }
        az_scope_pop(az);
    }
    return az_ok(az);
}

/* Before tuning: a quantized residual with its adapter predicts text better than the quantized model. */
static bool compare_quantized(az_ctx *az, claim_checks *checks, const claim_subject *on)
{
    az_pissa_how how = {.scale = 1, .rank = 8, .format = az_format_by_name("nf4"), .iterations = 1};
    const claim_runs *plain = claim_run_chain(az, on, "quantize:type=nf4", 1);
    const claim_runs *once = claim_run_change(az, on, "pissa, nf4 residual, 1 round", 1, split_all, &how);
    how.iterations = 5;
    const claim_runs *five = claim_run_change(az, on, "pissa, nf4 residual, 5 rounds", 1, split_all, &how);
    if (!plain || !once || !five) return false;
    const claim_difference first = claim_compare(az, checks->report, on, once, plain),
                           more = claim_compare(az, checks->report, on, five, plain);
    claim_check(checks, az_format_text(az, "%s: nf4 residual and adapter predict better than nf4, 1 round", on->name),
                first.documents.high < 0);
    claim_check(checks, az_format_text(az, "%s: the same with 5 rounds", on->name), more.documents.high < 0);
    return az_ok(az);
}

static bool tune_quantized(az_ctx *az, claim_checks *checks, az_lm *lm)
{
    claim_losses lora, pissa;
    if (!claim_learn(az, checks->report, lm, "pissa", "rank=4,quant=nf4", 2e-3, &pissa)) return false;
    az_lm *quantized = az_lm_copy(az, lm);
    az_lm_linear **linear;
    const int n = az_lm_linears(az, quantized, &linear);
    for (int i = 0; i < n; i++) linear[i]->weight = az_weight_encode(az, linear[i]->weight, az_format_by_name("nf4"), NULL);
    if (!az_ok(az) || !claim_learn(az, checks->report, quantized, "lora", lora_way, 2e-3, &lora)) return false;
    claim_check(checks, "beside nf4 weights: last loss no higher than LoRA's", claim_mean(pissa.end) <= claim_mean(lora.end));
    return true;
}

static bool run(az_ctx *az, az_report *report)
{
    claim_checks checks = {.report = report};
    claim_subject subjects[CLAIM_MOST_SUBJECTS];
    az_lm *lm = claim_string_model(az);
    if (!lm || !compare_starts(az, &checks, lm) || !tune_quantized(az, &checks, lm)) return false;
    const int n = claim_subjects(az, subjects);
    for (int i = 0; i < n; i++)
        if (!compare_quantized(az, &checks, &subjects[i])) return false;
    return az_ok(az) && claim_decide(az, report, checks.asked, checks.held);
}

const az_claim az_claim_pissa = {
    .name = "pissa",
    .statement = "at equal rank, learning rate and batches, PiSSA halves LoRA's loss at half-time; principal triples beat others; and a "
                 "quantized residual with its adapter predicts text better than a quantized model",
    .run = run,
};
