/* claim_iapt.c - the headlines of IAPT (Zhu et al. 2024): at equal size, soft tokens made of the instruction learn more than fixed ones;
 * learnt activations are no worse than the best fixed one; tenants with soft tokens decode faster than tenants with unmerged LoRA.
 *
 * Soft tokens reach a frozen model through its attention alone, so they can call up what it knows and not teach it more. The model here
 * knows four tasks by their words, and heeds such words in front of a word that it does not know, as larger models heed what stands before
 * an instruction. (One that has never read anything there stays near guessing with either kind of soft tokens.) */
#include "claims/claims.h"
#include "claims/comparisons.h"
#include "claims/small_world.h"
#include "claims/timing.h"
#include "claims/tuning.h"
#include "tune/tune_internal.h"

#include <math.h>
#include <string.h>

enum { TASKS = 3, LETTERS = 4, EXAMPLES = 8000, HELD_OUT = 600, SEEDS = 3, RATES = 2 };
static const double rate[RATES] = {3e-3, 1e-2};

/* ---- a model that heeds what stands in front ---- */

/* The question announced by these words instead of its own: " y y w" for " y". */
static void announce(az_ctx *az, az_example *e, const char *words)
{
    az_turn *question = &e->turn[0];
    const char *text = az_format_text(az, "%s%s", words, question->text + 2);
    if (text) question->text = text, question->length = strlen(text);
}

/* Examples of the known tasks: by their words, or by one to four of their words and a word that means nothing. */
static az_examples *known_strings(az_ctx *az, int64_t count, uint64_t seed)
{
    enum { MOST = 4 };
    az_examples *all = claim_strings(az, CLAIM_COPY, CLAIM_NEW, LETTERS, count, seed);
    for (int64_t i = 0; all && i < count && az_ok(az); i++) {
        az_rng rng = az_rng_at(seed, az_stream("announced", (uint64_t)i));
        const char word = all->item[i].turn[0].text[1];
        const char *words = "";
        if (az_below(&rng, 8) < 3) continue;
        for (int k = 1 + (int)az_below(&rng, MOST); k > 0 && words; k--) words = az_format_text(az, "%s %c", words, word);
        announce(az, &all->item[i], az_format_text(az, "%s %c", words, "wut"[az_below(&rng, 3)]));
    }
    return az_ok(az) ? all : NULL;
}

/* Three known tasks, each announced by one of the words that mean nothing. */
static az_examples *new_strings(az_ctx *az, int64_t count, uint64_t seed)
{
    az_examples *all = claim_strings(az, CLAIM_REVERSE, TASKS, LETTERS, count, seed);
    for (int64_t i = 0; all && i < count; i++) {
        const char word = all->item[i].turn[0].text[1];
        announce(az, &all->item[i], word == 'y' ? " w" : word == 'z' ? " u" : " t");
    }
    return az_ok(az) ? all : NULL;
}

static az_lm *heeding_model(az_ctx *az, az_report *report)
{
    const az_lm *start = claim_random_model(az, 2, 64, "");
    small_tuning tuning = {.examples = known_strings(az, 4 * EXAMPLES, 1),
                           .method = "full",
                           .options = "",
                           .settings = "steps=1500,batch=48,lr=3e-3,schedule=cosine,beta2=0.95",
                           .report = az_report_new(az, NULL)};
    az_lm *lm = start && tuning.examples ? small_world_tune(az, start, &tuning) : NULL;
    az_report_row(report, "model");
    az_report_count(report, "parameters", lm ? az_lm_parameter_count(lm) : 0);
    az_report_number(report, "loss", az_report_value(tuning.report, "training", "loss"), "nat");
    return lm;
}

/* ---- one adapter for three new words ---- */

/* A way to tune: options of iapt, or so many soft tokens that are the same for all instructions. */
typedef struct way {
    const char *label, *options;
    int64_t fixed_tokens;
    int64_t parameters;
    double rate;          /* the better one */
    double losses[SEEDS]; /* held-out, at that rate */
} way;

/* A prefix of trained keys and values in every block (deep prompts, as P-tuning v2 has them), begun as PEFT begins it. */
static az_adapter *tune_prefix(az_ctx *az, az_lm *lm, int64_t tokens, const az_examples *train, const char *settings, int seed)
{
    az_tune_settings s = {0};
    if (!az_options_parse(az, az_tune_options, "tune", settings, &s)) return NULL;
    s.training.seed = seed;
    az_tune_job job = {.lm = lm, .train = train, .settings = &s, .model = "strings", .report = az_report_new(az, NULL)};
    az_tuning tuning;
    if (!az_tuning_begin(az, &job, tokens, &tuning)) return NULL;
    tuning.adapter = az_adapter_empty(az, "prefix", "PREFIX_TUNING");
    if (!tuning.adapter) return NULL;
    const az_lm_config *c = &lm->config;
    az_arena_enter(az, tuning.adapter->arena);
    tuning.adapter->virtual_tokens = tokens;
    tuning.adapter->prefix =
        az_randn(az, AZ_F32, 2, (int64_t[]){tokens, c->blocks * 2 * c->kv_heads * c->head_dim}, 1, (uint64_t)seed, az_stream("prefix", 0));
    az_arena_leave(az);
    return az_tune_adapter(az, &tuning, "prefix") ? tuning.adapter : NULL;
}

static az_adapter *learn(az_ctx *az, az_lm *lm, const way *w, double lr, int seed)
{
    const az_examples *train = new_strings(az, EXAMPLES, 100 + (uint64_t)seed);
    const char *settings = az_format_text(az, "steps=500,batch=32,lr=%g,schedule=cosine,warmup=0.06", lr);
    if (!train || !settings) return NULL;
    if (w->fixed_tokens > 0) return tune_prefix(az, lm, w->fixed_tokens, train, settings, seed);
    /* the activations' own rate, where they have one: a tenth */
    const bool bilevel = strstr(w->options, "bilevel") != NULL;
    const char *options = bilevel ? az_format_text(az, "%s,lr_act=%g", w->options, lr / 10) : w->options;
    const claim_tuning what = {.lm = lm, .method = "iapt", .options = options, .settings = settings, .train = train};
    claim_tuned run;
    return claim_tune(az, &what, seed, &run) ? run.adapter : NULL;
}

static double held_out_loss(az_ctx *az, const az_lm *lm, const az_adapter *adapter)
{
    const az_examples *test = new_strings(az, HELD_OUT, 7);
    const az_lm_example_options how = {.virtual_tokens = adapter->virtual_tokens};
    const az_lm_run run = {.adapter = &adapter, .adapters = 1};
    return test ? az_lm_examples_loss(az, lm, az_lm_examples_of(az, lm, test, &how), &run, NULL) : NAN;
}

static double mean(const double x[SEEDS])
{
    double sum = 0;
    for (int i = 0; i < SEEDS; i++) sum += x[i] / SEEDS;
    return sum;
}

/* What the activations of the first seed have become. */
static void report_activations(az_ctx *az, az_report *report, const way *w, double lr, const az_adapter *adapter)
{
    if (!adapter->generators || !strstr(w->options, "rational")) return;
    az_report *own = az_report_new(az, NULL);
    az_generators_report(az, adapter->generators, own);
    for (int b = 0; b < adapter->generators->blocks; b++) {
        int64_t n = 0, first = 0;
        const double *g = az_report_curve_of(own, az_format_text(az, "block %d", b), &n), *g0 = az_report_curve_of(own, "block 0", &first);
        if (!g || !g0) return;
        double apart = 0, from_gelu = 0;
        for (int64_t i = 0; i < n; i++) {
            const double x = -5 + 10 * (double)i / (double)(n - 1), gelu = x * 0.5 * erfc(-x / sqrt(2));
            if (fabs(x) > 3 + 1e-9) continue;
            apart = fmax(apart, fabs(g[i] - g0[i]));
            from_gelu = fmax(from_gelu, fabs(g[i] - gelu));
        }
        az_report_row(report, "activations");
        az_report_text(report, "way", w->label);
        az_report_number(report, "lr", lr, "");
        az_report_count(report, "block", b);
        az_report_number(report, "from_gelu", from_gelu, "");
        az_report_number(report, "from_first_block", apart, "");
    }
}

/* Every rate with every seed; the rate with the lower mean stays. */
static bool compete(az_ctx *az, az_report *report, az_lm *lm, way *w)
{
    double best = INFINITY;
    for (int r = 0; r < RATES; r++) {
        double losses[SEEDS];
        for (int seed = 0; seed < SEEDS; seed++) {
            az_scope_push(az);
            az_adapter *adapter = learn(az, lm, w, rate[r], seed);
            losses[seed] = adapter ? held_out_loss(az, lm, adapter) : NAN;
            if (adapter) w->parameters = az_adapter_parameter_count(adapter);
            if (adapter && seed == 0) report_activations(az, report, w, rate[r], adapter);
            az_adapter_free(az, adapter);
            az_scope_pop(az);
            if (!az_ok(az)) return false;
        }
        az_report_row(report, "strings");
        az_report_text(report, "way", w->label);
        az_report_count(report, "parameters", w->parameters);
        az_report_number(report, "lr", rate[r], "");
        az_report_number(report, "loss", mean(losses), "nat");
        for (int seed = 0; seed < SEEDS; seed++) az_report_number(report, az_format_text(az, "loss_%d", seed), losses[seed], "nat");
        if (mean(losses) >= best) continue;
        best = mean(losses);
        w->rate = rate[r];
        memcpy(w->losses, losses, sizeof losses);
    }
    return true;
}

#define SIZE "bottleneck=32,prompts=4,"
static bool compare_ways(az_ctx *az, claim_checks *checks, az_lm *lm)
{
    enum { FEW, MANY, JOINT, BILEVEL, IDENTITY, FIXED /* more of them */ };
    way all[] = {[FEW] = {.label = "fixed, 4 tokens", .fixed_tokens = 4},
                 [MANY] = {.label = "fixed, 33 tokens", .fixed_tokens = 33},
                 [JOINT] = {.label = "iapt, joint", .options = SIZE "activation=rational,learning=joint"},
                 [BILEVEL] = {.label = "iapt, bilevel", .options = SIZE "activation=rational,learning=bilevel"},
                 [IDENTITY] = {.label = "iapt, identity", .options = SIZE "activation=identity"},
                 {.label = "iapt, relu", .options = SIZE "activation=relu"},
                 {.label = "iapt, gelu", .options = SIZE "activation=gelu"},
                 {.label = "iapt, silu", .options = SIZE "activation=silu"},
                 {.label = "iapt, tanh", .options = SIZE "activation=tanh"},
                 {.label = "iapt, random", .options = SIZE "activation=random"}};
    const int n = sizeof all / sizeof *all;
    for (int i = 0; i < n; i++)
        if (!compete(az, checks->report, lm, &all[i])) return false;
    int best = IDENTITY, seeds = 0;
    for (int i = FIXED; i < n; i++)
        if (mean(all[i].losses) < mean(all[best].losses)) best = i;
    for (int seed = 0; seed < SEEDS; seed++) seeds += all[JOINT].losses[seed] <= all[MANY].losses[seed] / 2;
    double difference[SEEDS];
    for (int seed = 0; seed < SEEDS; seed++) difference[seed] = all[BILEVEL].losses[seed] - all[best].losses[seed];
    const az_estimate noise = az_mean_estimate(difference, SEEDS, 0.95);
    claim_check(checks, "loss at most half of fixed tokens' at equal size, in the mean",
                mean(all[JOINT].losses) <= mean(all[MANY].losses) / 2);
    claim_check(checks, "and for every seed", seeds == SEEDS);
    claim_check(checks, "learnt activations (bilevel) before identity", mean(all[BILEVEL].losses) < mean(all[IDENTITY].losses));
    claim_check(checks, az_format_text(az, "learnt activations (bilevel) no worse than %s, the best fixed one", all[best].label),
                noise.low <= 0);
    return az_ok(az);
}

/* ---- tenants ---- */

enum { TENANTS = 8, PROMPT = 16, STEPS = 32, ROUNDS = 5 };

/* Seconds that the fastest of the rounds took for STEPS tokens of all tenants. */
static double decode(az_ctx *az, const az_lm *lm, az_adapter *const *tenant)
{
    const int64_t made = tenant[0]->virtual_tokens, each = made + PROMPT;
    int32_t prompt[TENANTS * (PROMPT + 16)], next[TENANTS];
    int64_t start[TENANTS + 1] = {0}, one[TENANTS + 1] = {0};
    int which[TENANTS];
    for (int s = 0; s < TENANTS; s++) {
        for (int64_t i = 0; i < each; i++) prompt[s * each + i] = i < made ? (int32_t)(-1 - i) : (int32_t)(i + s);
        start[s + 1] = (s + 1) * each;
        one[s + 1] = s + 1;
        which[s] = s;
        next[s] = 40 + s;
    }
    az_lm_run run = {.cache = az_lm_cache_new(az, lm, TENANTS, each + STEPS, AZ_KV_F16),
                     .adapter = (const az_adapter *const *)tenant,
                     .adapters = TENANTS,
                     .adapter_of = which,
                     .output = AZ_LOGITS_LAST};
    const az_lm_batch first = {.sequences = TENANTS, .token = prompt, .start = start}, go_on = {TENANTS, next, one};
    if (!run.cache || !az_lm_forward(az, lm, &first, &run)) return NAN;
    const double began = az_seconds();
    for (int i = 0; i < STEPS && az_ok(az); i++) {
        az_scope_push(az);
        az_lm_forward(az, lm, &go_on, &run);
        az_scope_pop(az);
    }
    return az_seconds() - began;
}

/* Random weights everywhere: time does not ask for their values. */
static bool fill(az_ctx *az, az_adapter *adapter)
{
    az_lm_parameter *p;
    const int n = az_adapter_parameters(az, adapter, &p);
    for (int i = 0; i < n; i++)
        az_copy_into(az, *p[i].slot, az_randn(az, AZ_F32, (*p[i].slot)->rank, (*p[i].slot)->shape, 0.05, 1, (uint64_t)i));
    return az_ok(az);
}

static az_adapter *iapt_tenant(az_ctx *az, const az_lm *lm)
{
    az_generator_block *block = az_alloc_array(az, (size_t)lm->config.blocks, sizeof *block);
    for (int b = 0; block && b < lm->config.blocks; b++) block[b] = (az_generator_block){.network = b};
    const az_generators how = {.m = 256, .blocks = (int)lm->config.blocks, .block = block};
    az_adapter *adapter = block ? az_adapter_empty(az, "iapt", "IAPT") : NULL;
    return adapter && az_adapter_add_generators(az, lm, adapter, &how, 4) && fill(az, adapter) ? adapter : NULL;
}

static az_adapter *lora_tenant(az_ctx *az, const az_lm *lm, int64_t parameters)
{
    const az_adapter_how thin = {.rank = 1, .alpha = 1, .targets = "all-linear"};
    az_adapter *one = az_adapter_new(az, lm, &thin);
    az_adapter_how how = thin;
    how.rank = one ? parameters / az_adapter_parameter_count(one) : 1;
    az_adapter_free(az, one);
    az_adapter *adapter = az_adapter_new(az, lm, &how);
    return adapter && fill(az, adapter) ? adapter : NULL;
}

static bool compare_serving(az_ctx *az, claim_checks *checks)
{
    const az_lm_config config = {.vocabulary = 2048, .width = 512, .blocks = 8, .heads = 8, .hidden = 1376, .context = 256, .tied = true};
    const az_lm *lm = az_lm_new(az, "llama", &config, NULL, 1);
    az_adapter *tenant[2][TENANTS];
    double best[2] = {INFINITY, INFINITY};
    for (int i = 0; i < TENANTS; i++) {
        tenant[0][i] = lm ? iapt_tenant(az, lm) : NULL;
        tenant[1][i] = tenant[0][i] ? lora_tenant(az, lm, az_adapter_parameter_count(tenant[0][i])) : NULL;
        if (!tenant[1][i]) return false;
    }
    for (int round = 0; round < ROUNDS && az_ok(az); round++)
        for (int k = 0; k < 2; k++) {
            az_scope_push(az);
            best[k] = fmin(best[k], decode(az, lm, tenant[k]));
            az_scope_pop(az);
        }
    for (int k = 0; k < 2; k++) {
        az_report_row(checks->report, "tenants");
        az_report_text(checks->report, "adapter", k ? "lora, not merged" : "iapt");
        az_report_count(checks->report, "tenants", TENANTS);
        az_report_count(checks->report, "parameters", az_adapter_parameter_count(tenant[k][0]));
        az_report_number(checks->report, "bytes_each", 4.0 * (double)az_adapter_parameter_count(tenant[k][0]), "B");
        az_report_number(checks->report, "tokens_per_second", TENANTS * STEPS / best[k], "1/s");
    }
    claim_check(checks, "8 tenants decode 1.1 times as fast as with unmerged LoRA of equal size", best[1] >= 1.1 * best[0]);
    return az_ok(az);
}

static bool run(az_ctx *az, az_report *report)
{
    claim_checks checks = {.report = report};
    if (!compare_serving(az, &checks)) return false;
    az_lm *lm = heeding_model(az, report);
    if (!lm || !compare_ways(az, &checks, lm)) return false;
    return claim_decide(az, report, checks.asked, checks.held);
}

const az_claim az_claim_iapt = {
    .name = "iapt",
    .statement =
        "soft tokens made of the instruction learn what three new words mean to at most half the loss of as many fixed numbers, learnt "
        "activations are before identity and no worse than the best fixed one, and tenants decode 1.1 times as fast as unmerged LoRA",
    .run = run,
};
