/* claim_lora.c - the headline of LoRA (Hu et al. 2022): a change of low rank, with a tenth of the parameters or less, teaches as much as
 * training all weights; of DoRA (Liu et al. 2024) likewise; and beside a quantized model it needs less than half of the memory. */
#include "claims/claims.h"
#include "claims/comparisons.h"
#include "claims/small_world.h"
#include "claims/tuning.h"

#include <string.h>

enum { LETTERS = 4, EXAMPLES = 8000, TEST = 400 };

typedef struct way {
    const char *label, *method, *options, *lr;
    double trained, right[CLAIM_TUNED_SEEDS];
} way;

static bool learn(az_ctx *az, const az_lm *lm, way *w, int seed)
{
    az_report *own = az_report_new(az, NULL);
    small_tuning tuning = {.examples = claim_strings(az, CLAIM_NEW, 1, LETTERS, EXAMPLES, 100 + (uint64_t)seed),
                           .method = w->method,
                           .options = w->options,
                           .settings = az_format_text(az, "steps=600,batch=32,lr=%s,schedule=cosine", w->lr),
                           .seed = seed,
                           .report = own};
    const az_examples *test = claim_strings(az, CLAIM_NEW, 1, LETTERS, TEST, 7);
    const az_lm *tuned = tuning.examples && test ? small_world_tune(az, lm, &tuning) : NULL;
    if (!tuned) return false;
    w->right[seed] = claim_exact_match(az, tuned, tuning.adapter, test);
    w->trained = az_report_value(own, "training", "trained");
    az_adapter_free(az, tuning.adapter);
    return az_ok(az);
}

static bool compare_answers(az_ctx *az, claim_checks *checks, const az_lm *lm)
{
    way all[] = {{.label = "full", .method = "full", .options = "", .lr = "1e-3"},
                 {.label = "LoRA, rank 4", .method = "lora", .options = "rank=4,alpha=8,targets=all-linear", .lr = "5e-3"},
                 {.label = "DoRA, rank 4", .method = "lora", .options = "rank=4,alpha=8,targets=all-linear,dora", .lr = "5e-3"},
                 {.label = "LoRA, rank 1", .method = "lora", .options = "rank=1,alpha=2,targets=all-linear", .lr = "5e-3"}};
    for (int i = 0; i < 4; i++) {
        for (int seed = 0; seed < CLAIM_TUNED_SEEDS; seed++) {
            az_scope_push(az);
            const bool good = learn(az, lm, &all[i], seed);
            az_scope_pop(az);
            if (!good) return false;
        }
        az_report_row(checks->report, "strings");
        az_report_text(checks->report, "way", all[i].label);
        az_report_text(checks->report, "lr", all[i].lr);
        az_report_number(checks->report, "trained", all[i].trained, "");
        az_report_number(checks->report, "share", all[i].trained / all[0].trained, "");
        az_report_number(checks->report, "exact_match", claim_mean(all[i].right), "");
        for (int seed = 0; seed < CLAIM_TUNED_SEEDS; seed++)
            az_report_number(checks->report, az_format_text(az, "exact_%d", seed), all[i].right[seed], "");
    }
    for (int i = 1; i < 3; i++)
        claim_check(checks, az_format_text(az, "%s: exact answers at least 0.95 times those of full tuning", all[i].label),
                    claim_mean(all[i].right) >= 0.95 * claim_mean(all[0].right));
    claim_check(checks, "LoRA, rank 4: at most a tenth of the parameters", all[1].trained <= 0.1 * all[0].trained);
    return az_ok(az);
}

/* ---- memory ---- */

/* The most bytes that two steps need: what they take beyond the model that is given, and that model, of which full tuning makes its own. */
static double peak_of(az_ctx *az, const char *format, const char *method, const char *options)
{
    az_ctx *own = az_open(NULL);
    az_lm *lm = own ? claim_random_model(own, 6, 256, format) : NULL;
    az_memory_reset_peak(own);
    const double before = (double)az_memory_now(own) - (strcmp(method, "full") == 0 ? 0 : (double)az_lm_bytes(lm));
    small_tuning tuning = {.examples = claim_strings(own, CLAIM_NEW, 1, LETTERS, 64, 1),
                           .method = method,
                           .options = options,
                           .settings = "steps=2,batch=4,lr=1e-3"};
    if (lm && tuning.examples) small_world_tune(own, lm, &tuning);
    const double peak = (double)az_memory_peak(own) - before;
    if (!az_ok(own)) az_fail(az, az_status_of(own), "%s", az_error(own));
    az_close(own);
    return peak;
}

static bool compare_memory(az_ctx *az, claim_checks *checks)
{
    static const char *const ways[][3] = {
        {"", "full", ""}, {"", "lora", "rank=8,targets=all-linear"}, {"q4_0", "lora", "rank=8,targets=all-linear"}};
    double peak[3];
    for (int i = 0; i < 3; i++) {
        peak[i] = peak_of(az, ways[i][0], ways[i][1], ways[i][2]);
        az_report_row(checks->report, "memory");
        az_report_text(checks->report, "weights", *ways[i][0] ? ways[i][0] : "f32");
        az_report_text(checks->report, "way", ways[i][1]);
        az_report_number(checks->report, "peak", peak[i], "B");
    }
    claim_check(checks, "memory: LoRA beside q4_0 below half of full tuning in f32", peak[2] < peak[0] / 2);
    return az_ok(az);
}

static bool run(az_ctx *az, az_report *report)
{
    claim_checks checks = {.report = report};
    if (!compare_memory(az, &checks)) return false;
    const az_lm *lm = claim_string_model(az);
    if (!lm || !compare_answers(az, &checks, lm)) return false;
    return claim_decide(az, report, checks.asked, checks.held);
}

const az_claim az_claim_lora = {
    .name = "lora",
    .statement = "LoRA and DoRA of rank 4, with a tenth of the parameters, answer a new task at least 0.95 times as often exactly as "
                 "full tuning does, and LoRA beside 4-bit weights needs less than half of its memory",
    .run = run,
};
