/* claim_s2ft.c - the headlines of S2FT (Yang et al. 2024): at as many trained numbers it learns faster than LoRA, its steps need less
 * memory and time than LoRA's and those less than full tuning's, its adapters change places in the weights five times as fast, and ten of
 * them in one batch decode faster. What is forgotten and which channels are best is reported, not claimed: small models do not decide it.
 */
#include "claims/claims.h"
#include "claims/comparisons.h"
#include "claims/small_world.h"
#include "claims/tuning.h"

#include <math.h>
#include <string.h>

/* As many numbers in the model of strings: 9760 of LoRA, 9600 of 75 of the 172 channels in both blocks. */
static const char *const lora_way = "rank=4,alpha=4,targets=all-linear", *const s2_way = "d_ratio=0.44,scope=layer";

static bool compare_learning(az_ctx *az, claim_checks *checks, az_lm *lm)
{
    claim_losses lora, s2, other;
    az_report *report = checks->report;
    if (!claim_learn(az, report, lm, "lora", lora_way, 1e-2, &lora) || !claim_learn(az, report, lm, "s2ft", s2_way, 1e-2, &s2) ||
        !claim_learn(az, report, lm, "lora", lora_way, 2e-3, &other) || !claim_learn(az, report, lm, "s2ft", s2_way, 2e-3, &other) ||
        !claim_learn(az, report, lm, "full", "", 1e-3, &other))
        return false;
    claim_check(checks, "half-time loss below LoRA's for 4 of 5 seeds", claim_wins(s2.half, lora.half) >= CLAIM_TUNED_SEEDS - 1);
    return az_ok(az);
}

/* Small channels and large ones by every score. */
static bool report_choices(az_ctx *az, az_report *report, az_lm *lm)
{
    static const char *const score[] = {"random", "weight", "activation", "product", "gradient"};
    for (int i = 0; i < 5; i++)
        for (int large = 0; large < (i ? 2 : 1); large++) {
            claim_losses losses;
            const char *way = az_format_text(az, "d_ratio=0.1,scope=layer,select=%s,which=%s", score[i], large ? "large" : "small");
            if (!claim_learn(az, report, lm, "s2ft", way, 1e-2, &losses)) return false;
        }
    return az_ok(az);
}

/* ---- forgetting ---- */

/* A model that learns the new task on strings, and what it knew before: examples, or a text. */
typedef struct learner {
    const char *name;
    const az_lm *lm;
    const az_examples *old;
    const az_documents *text;
    int64_t steps, batch;
    int seeds;
} learner;

typedef struct forgetting {
    int64_t steps; /* until the new loss was 0.15, or all */
    double new_loss, old_loss;
} forgetting;

/* The first step at which the mean loss of the last 20 is at most 0.15; all when none is. */
static int64_t learnt_at(const double *loss, int64_t steps)
{
    enum { WINDOW = 20 };
    double sum = 0;
    for (int64_t i = 0; i < steps; i++) {
        sum += loss[i] - (i >= WINDOW ? loss[i - WINDOW] : 0);
        if (i + 1 >= WINDOW && sum <= 0.15 * WINDOW) return i + 1;
    }
    return steps;
}

/* Trains to that step: a run of as many steps is the beginning of a longer one. */
static const az_lm *train_to(az_ctx *az, const learner *who, small_tuning *tuning, double lr, int64_t *steps)
{
    const az_lm *tuned = NULL;
    int64_t wanted = who->steps;
    do {
        *steps = wanted;
        tuning->report = az_report_new(az, NULL);
        tuning->settings =
            az_format_text(az, "steps=%lld,batch=%lld,lr=%g,schedule=constant,warmup=0", (long long)wanted, (long long)who->batch, lr);
        tuned = small_world_tune(az, who->lm, tuning);
        int64_t n = 0;
        const double *loss = az_report_curve_of(tuning->report, "training loss", &n);
        wanted = loss ? learnt_at(loss, n) : *steps;
    } while (tuned && wanted < *steps);
    return tuned;
}

static bool forget(az_ctx *az, const learner *who, const char *const way[2], double lr, int seed, forgetting *out)
{
    small_tuning tuning = {
        .examples = claim_strings(az, CLAIM_NEW, 1, 4, 8000, 100 + (uint64_t)seed), .method = way[0], .options = way[1], .seed = seed};
    const az_examples *fresh = claim_strings(az, CLAIM_NEW, 1, 4, 300, 7);
    const az_lm *tuned = tuning.examples && fresh ? train_to(az, who, &tuning, lr, &out->steps) : NULL;
    if (!tuned) return false;
    const az_lm_score_options how = {.adapter = tuning.adapter, .limit = 20, .context = 256};
    const az_lm_score *now = az_lm_score_examples(az, tuned, fresh, &how);
    const az_lm_score *then =
        who->old ? az_lm_score_examples(az, tuned, who->old, &how) : az_lm_score_documents(az, tuned, who->text, &how);
    if (now && then) out->new_loss = now->mean.value, out->old_loss = then->mean.value;
    az_adapter_free(az, tuning.adapter);
    return az_ok(az);
}

/* The loss on what the model knew, once the new task is learnt, over rates of learning. */
static bool report_forgetting(az_ctx *az, az_report *report, const learner *who, const double rates[3])
{
    static const char *const ways[][2] = {{"full", ""},
                                          {"lora", "rank=4,alpha=4,targets=all-linear"},
                                          {"s2ft", "d_ratio=0.44,scope=layer"},
                                          {"s2ft", "d_ratio=0.06,o_ratio=0.06,scope=layer"},
                                          {"s2ft", "d_ratio=0.02,scope=layer"}};
    for (int w = 0; w < 5; w++)
        for (int r = 0; r < 3; r++)
            for (int seed = 0; seed < who->seeds; seed++) {
                forgetting found = {0};
                az_scope_push(az);
                const bool good = forget(az, who, ways[w], w == 0 ? rates[r] / 10 : rates[r], seed, &found);
                az_scope_pop(az);
                if (!good) return false;
                az_report_row(report, "forgetting");
                az_report_text(report, "model", who->name);
                az_report_text(report, "way", az_format_text(az, "%s %s", ways[w][0], ways[w][1]));
                az_report_number(report, "lr", w == 0 ? rates[r] / 10 : rates[r], "");
                az_report_count(report, "seed", seed);
                az_report_count(report, "steps", found.steps);
                az_report_number(report, "new_loss", found.new_loss, "nat");
                az_report_number(report, "old_loss", found.old_loss, "nat");
            }
    return az_ok(az);
}

/* The model of strings; and the largest at hand, whose stories the strings may drive out. */
static bool report_both(az_ctx *az, az_report *report, const az_lm *strings)
{
    static const double rates[] = {1e-3, 3e-3, 1e-2};
    const learner small = {.name = "strings",
                           .lm = strings,
                           .old = claim_strings(az, CLAIM_COPY, CLAIM_NEW, 4, 400, 9),
                           .steps = 300,
                           .batch = 32,
                           .seeds = 3};
    if (!small.old || !report_forgetting(az, report, &small, rates)) return false;
    claim_subject subjects[CLAIM_MOST_SUBJECTS];
    const int n = claim_subjects(az, subjects);
    if (n == 0) return false;
    const claim_subject *on = &subjects[n - 1];
    const learner large = {.name = on->name, .lm = on->lm, .text = on->test, .steps = 120, .batch = 8, .seeds = 1};
    return report_forgetting(az, report, &large, rates);
}

/* ---- cost ---- */

typedef struct cost {
    const char *label, *method, *options;
    double trained, bytes, seconds; /* seconds of a step, the fastest of the rounds */
} cost;

static bool spend(az_ctx *az, cost *c)
{
    for (int round = 0; round < 3 && az_ok(az); round++) {
        az_ctx *own = az_open(NULL);
        az_lm *lm = own ? claim_random_model(own, 4, 256, "") : NULL;
        az_memory_reset_peak(own);
        small_tuning tuning = {.examples = claim_strings(own, CLAIM_NEW, 1, 12, 64, 1),
                               .method = c->method,
                               .options = c->options,
                               .settings = "steps=6,batch=16,lr=1e-3",
                               .report = az_report_new(own, NULL)};
        if (lm && tuning.examples) small_world_tune(own, lm, &tuning);
        c->bytes = (double)az_memory_peak(own);
        c->trained = az_report_value(tuning.report, "training", "trained");
        c->seconds = fmin(c->seconds, az_report_value(tuning.report, "training", "seconds") / 6);
        if (!az_ok(own)) az_fail(az, az_status_of(own), "%s", az_error(own));
        az_close(own);
    }
    return az_ok(az);
}

/* 112 channels of 768 of a block's down: 28672 numbers; LoRA of rank 14 on its q, k, v and o as many. */
static bool compare_cost(az_ctx *az, claim_checks *checks)
{
    cost all[] = {{"s2ft", "s2ft", "d_ratio=0.146,scope=layer", .seconds = INFINITY},
                  {"lora", "lora", "rank=14,targets=/.*self_attn.*/", .seconds = INFINITY},
                  {"full", "full", "", .seconds = INFINITY}};
    for (int i = 0; i < 3; i++) {
        if (!spend(az, &all[i])) return false;
        az_report_row(checks->report, "cost");
        az_report_text(checks->report, "way", all[i].label);
        az_report_number(checks->report, "trained", all[i].trained, "");
        az_report_number(checks->report, "peak", all[i].bytes, "B");
        az_report_number(checks->report, "step", 1000 * all[i].seconds, "ms");
    }
    claim_check(checks, "memory: s2ft < LoRA < full", all[0].bytes < all[1].bytes && all[1].bytes < all[2].bytes);
    claim_check(checks, "time of a step: s2ft < LoRA < full", all[0].seconds < all[1].seconds && all[1].seconds < all[2].seconds);
    return true;
}

/* ---- serving ---- */

/* An adapter beside every layer called `layer` of the model: of S2FT when picked > 0, otherwise of LoRA of that rank. Random values. */
static az_adapter *beside(az_ctx *az, const az_lm *lm, const char *layer, int64_t picked, int64_t rank, uint64_t seed)
{
    az_adapter *adapter = az_adapter_empty(az, "a", "LORA");
    for (int b = 0; adapter && b < lm->config.blocks; b++) {
        const int64_t n = picked > 0 ? picked : rank;
        az_adapter_layer *l = az_adapter_add_layer(az, lm, adapter, az_format_text(az, "blocks.%d.%s", b, layer), n, (double)n);
        if (!l) return NULL;
        az_copy_into(az, l->b, az_randn(az, AZ_F32, 2, l->b->shape, 0.02, seed, (uint64_t)b));
        if (picked == 0) az_copy_into(az, l->a, az_randn(az, AZ_F32, 2, l->a->shape, 0.02, seed, 1000 + (uint64_t)b));
        if (picked == 0) continue;
        az_arena_enter(az, adapter->arena);
        l->from = az_new1(az, AZ_I32, picked);
        for (int64_t k = 0; l->from && k < picked; k++) ((int32_t *)l->from->data)[k] = (int32_t)((k * l->in) / picked + (int64_t)seed);
        az_arena_leave(az);
        l->a = NULL;
    }
    return az_ok(az) ? adapter : NULL;
}

static az_lm *one_layer_of_2048(az_ctx *az)
{
    const az_lm_config config = {.vocabulary = 256, .width = 2048, .blocks = 1, .heads = 16, .hidden = 32, .context = 64, .tied = true};
    az_lm *lm = az_lm_new(az, "llama", &config, NULL, 1);
    return lm && az_lm_make_trainable(az, lm, AZ_F32) ? lm : NULL;
}

static bool compare_switching(az_ctx *az, claim_checks *checks)
{
    double best[2] = {INFINITY, INFINITY};
    az_lm *lm = one_layer_of_2048(az);
    for (int kind = 0; lm && kind < 2; kind++) {
        const az_adapter *a = beside(az, lm, "attn.o", kind ? 0 : 64, 32, 1), *b = beside(az, lm, "attn.o", kind ? 0 : 64, 32, 2);
        if (!a || !b || !az_adapter_switch(az, lm, NULL, a)) return false;
        for (int round = 0; round < 9; round++) {
            const double began = az_seconds();
            az_adapter_switch(az, lm, round % 2 ? b : a, round % 2 ? a : b);
            best[kind] = fmin(best[kind], az_seconds() - began);
        }
    }
    if (!az_ok(az)) return false;
    az_report_row(checks->report, "switching");
    az_report_text(checks->report, "layer", "2048 x 2048");
    az_report_number(checks->report, "s2ft_64", 1000 * best[0], "ms");
    az_report_number(checks->report, "lora_32", 1000 * best[1], "ms");
    az_report_number(checks->report, "ratio", best[1] / best[0], "");
    claim_check(checks, "an adapter of 64 columns changes place 5 times as fast as one of rank 32", best[1] >= 5 * best[0]);
    return true;
}

enum { TENANTS = 10, TOKENS = 24 };

/* Seconds of one pass for a token of each tenant, the fastest of TOKENS. */
static double serve(az_ctx *az, const az_lm *lm, const az_adapter *const *tenant)
{
    int32_t token[TENANTS];
    int64_t start[TENANTS + 1] = {0};
    int which[TENANTS];
    for (int s = 0; s < TENANTS; s++) token[s] = 40 + s, start[s + 1] = s + 1, which[s] = s;
    const az_lm_batch batch = {.sequences = TENANTS, .token = token, .start = start};
    const az_lm_run run = {.cache = az_lm_cache_new(az, lm, TENANTS, TOKENS, AZ_KV_F16),
                           .adapter = tenant,
                           .adapters = TENANTS,
                           .adapter_of = which,
                           .output = AZ_LOGITS_LAST};
    double best = INFINITY;
    for (int t = 0; run.cache && t < TOKENS && az_ok(az); t++) {
        az_scope_push(az);
        const double began = az_seconds();
        az_lm_forward(az, lm, &batch, &run);
        best = fmin(best, az_seconds() - began);
        az_scope_pop(az);
    }
    return best;
}

/* On o and down alike: as many columns as give LoRA's numbers of rank 16. */
static bool compare_serving(az_ctx *az, claim_checks *checks)
{
    const az_lm_config config = {.vocabulary = 512, .width = 512, .blocks = 8, .heads = 8, .hidden = 1024, .context = 64, .tied = true};
    const az_lm *lm = az_lm_new(az, "llama", &config, NULL, 1);
    const az_adapter *tenant[2][TENANTS];
    for (int i = 0; i < TENANTS; i++) {
        tenant[0][i] = lm ? beside(az, lm, "mlp.down", 48, 0, (uint64_t)i) : NULL;
        tenant[1][i] = lm ? beside(az, lm, "mlp.down", 0, 16, (uint64_t)i) : NULL;
        if (!tenant[0][i] || !tenant[1][i]) return false;
    }
    double seconds[2] = {INFINITY, INFINITY};
    for (int round = 0; round < 3; round++)
        for (int k = 0; k < 2; k++) seconds[k] = fmin(seconds[k], serve(az, lm, tenant[k]));
    for (int k = 0; k < 2; k++) {
        az_report_row(checks->report, "tenants");
        az_report_text(checks->report, "adapter", k ? "lora, rank 16" : "s2ft, 48 columns");
        az_report_count(checks->report, "parameters", az_adapter_parameter_count(tenant[k][0]));
        az_report_number(checks->report, "tokens_per_second", TENANTS / seconds[k], "1/s");
    }
    claim_check(checks, "10 adapters in one batch decode faster than LoRA's of equal size", seconds[0] < seconds[1]);
    return az_ok(az);
}

static bool run(az_ctx *az, az_report *report)
{
    claim_checks checks = {.report = report};
    if (!compare_cost(az, &checks) || !compare_switching(az, &checks) || !compare_serving(az, &checks)) return false;
    az_lm *lm = claim_string_model(az);
    if (!lm || !compare_learning(az, &checks, lm) || !report_choices(az, report, lm) || !report_both(az, report, lm)) return false;
    return claim_decide(az, report, checks.asked, checks.held);
}

const az_claim az_claim_s2ft = {
    .name = "s2ft",
    .statement =
        "at as many trained numbers and a rate of 1e-2, S2FT learns faster than LoRA; its steps need less memory and time than LoRA's, "
        "its adapters change places in the weights 5 times as fast, and ten in one batch decode faster",
    .run = run,
};
