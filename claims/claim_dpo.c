/* claim_dpo.c - what DPO promises (Rafailov et al. 2023): trained on preferences alone, the policy becomes the optimum of reward under a
 * bound on its distance from the reference, pi(y) ~ ref(y) exp(r(y) / beta), without a model of the reward.
 *
 * A small llama answers a letter with any letter alike. Of two random answers one is preferred by a known reward, with the odds of Bradley
 * and Terry. After DPO the policy's distribution over all answers is read off its logits and compared with the optimum. */
#include "claims/claims.h"
#include "claims/comparisons.h"
#include "claims/small_world.h"
#include "claims/tuning.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LETTERS = 10, PAIRS = 6000, SEEDS = 3 };
static const double beta = 1;

/* Of the answer to a question: highest two places on. */
static double reward(int question, int answer)
{
    return 2 * cos(2 * M_PI * (answer - question - 2) / LETTERS);
}

static const char *letter(az_ctx *az, const char *before, int which)
{
    return az_format_text(az, "%s %c", before, 'a' + which);
}

/* Questions of two kinds: to x any answer is as good, to y the next letter alone, so that the model has learnt to read letters. */
static az_examples *any_answers(az_ctx *az, int64_t count, uint64_t seed)
{
    az_examples *all = az_alloc(az, sizeof *all);
    az_example *item = az_alloc_array(az, (size_t)count, sizeof *item);
    for (int64_t i = 0; item && i < count; i++) {
        az_rng rng = az_rng_at(seed, az_stream("answers", (uint64_t)i));
        const int question = (int)az_below(&rng, LETTERS), answer = (int)az_below(&rng, LETTERS);
        item[i] = i % 2 ? small_example(az, letter(az, " y", question), letter(az, "", (question + 1) % LETTERS))
                        : small_example(az, letter(az, " x", question), letter(az, "", answer));
    }
    if (all) *all = (az_examples){.count = count, .item = item, .path = "answers"};
    return az_ok(az) ? all : NULL;
}

/* Two answers, the chosen one with probability 1 / (1 + exp(its reward's lack)). */
static az_example pair_of(az_ctx *az, az_rng *rng)
{
    const int question = (int)az_below(rng, LETTERS);
    int a = (int)az_below(rng, LETTERS), b = (int)az_below(rng, LETTERS - 1);
    b += b >= a;
    const bool first = az_uniform(rng) < 1 / (1 + exp(reward(question, b) - reward(question, a)));
    const char *prompt = letter(az, " x", question), *chosen = letter(az, "", first ? a : b), *rejected = letter(az, "", first ? b : a);
    az_example out = small_example(az, prompt, chosen);
    json_t *line = json_pack("{s:s, s:s, s:s}", "prompt", prompt, "chosen", chosen, "rejected", rejected);
    char *text = json_dumps(line, JSON_COMPACT);
    out.line = text ? az_strdup(az, text) : NULL;
    free(text);
    json_decref(line);
    return out;
}

static az_examples *preferences(az_ctx *az, uint64_t seed)
{
    az_examples *all = az_alloc(az, sizeof *all);
    az_example *item = az_alloc_array(az, PAIRS, sizeof *item);
    for (int64_t i = 0; item && i < PAIRS; i++) {
        az_rng rng = az_rng_at(seed, az_stream("preferences", (uint64_t)i));
        item[i] = pair_of(az, &rng);
    }
    if (all) *all = (az_examples){.count = PAIRS, .item = item, .path = "preferences"};
    return az_ok(az) ? all : NULL;
}

/* log p of each answer to each question, and of its end behind it. */
static bool answers_of(az_ctx *az, const az_lm *lm, const az_adapter *adapter, double log_p[LETTERS][LETTERS])
{
    const az_lm_run run = {.adapter = &adapter, .adapters = adapter != NULL};
    for (int q = 0; q < LETTERS && az_ok(az); q++) {
        az_example item[LETTERS];
        for (int a = 0; a < LETTERS; a++) item[a] = small_example(az, letter(az, " x", q), letter(az, "", a));
        const az_lm_examples *tokens = az_lm_examples_of(az, lm, &(az_examples){.count = LETTERS, .item = item, .path = "answers"}, NULL);
        if (tokens) az_lm_examples_loss(az, lm, tokens, &run, log_p[q]);
        for (int a = 0; a < LETTERS; a++) log_p[q][a] = -log_p[q][a];
    }
    return az_ok(az);
}

/* How a policy stands to the reference and to the reward; all answers have the total `mass`. */
typedef struct standing {
    double reward, kl, mass, slope;
} standing;

static standing stand(double log_p[LETTERS][LETTERS], double log_ref[LETTERS][LETTERS])
{
    standing s = {0};
    double xy = 0, xx = 0;
    for (int q = 0; q < LETTERS; q++) {
        double sum = 0, mean = 0;
        for (int a = 0; a < LETTERS; a++) sum += exp(log_p[q][a]), mean += beta * (log_p[q][a] - log_ref[q][a]) / LETTERS;
        s.mass += sum / LETTERS;
        for (int a = 0; a < LETTERS; a++) {
            const double p = exp(log_p[q][a]) / sum, r = reward(q, a); /* rewards of all answers sum to 0 */
            s.reward += p * r / LETTERS;
            s.kl += p * (log_p[q][a] - log(sum) - log_ref[q][a]) / LETTERS;
            xy += r * (beta * (log_p[q][a] - log_ref[q][a]) - mean);
            xx += r * r;
        }
    }
    s.slope = xy / xx;
    return s;
}

static void optimum_of(double log_ref[LETTERS][LETTERS], double log_p[LETTERS][LETTERS])
{
    for (int q = 0; q < LETTERS; q++) {
        double sum = 0;
        for (int a = 0; a < LETTERS; a++) sum += exp(log_ref[q][a] + reward(q, a) / beta);
        for (int a = 0; a < LETTERS; a++) log_p[q][a] = log_ref[q][a] + reward(q, a) / beta - log(sum);
    }
}

static void report_standing(az_report *report, const char *policy, int seed, const standing *s)
{
    az_report_row(report, "policies");
    az_report_text(report, "policy", policy);
    az_report_count(report, "seed", seed);
    az_report_number(report, "reward", s->reward, "");
    az_report_number(report, "kl", s->kl, "nat");
    az_report_number(report, "reward_slope", s->slope, "");
    az_report_number(report, "mass", s->mass, "");
}

/* DPO and, on the chosen answers alone, LoRA, for one seed. */
static bool compete(az_ctx *az, az_report *report, const az_lm *lm, int seed, standing out[3])
{
    static const char settings[] = "steps=800,batch=32,lr=1e-3,schedule=cosine";
    double ref[LETTERS][LETTERS], log_p[LETTERS][LETTERS];
    small_tuning dpo = {.examples = preferences(az, 10 + (uint64_t)seed),
                        .method = "dpo",
                        .options = az_format_text(az, "beta=%g,rank=16,alpha=32,targets=all-linear", beta),
                        .settings = settings,
                        .seed = seed};
    small_tuning chosen = dpo;
    chosen.method = "lora";
    chosen.options = "rank=16,alpha=32,targets=all-linear";
    if (!dpo.examples || !small_world_tune(az, lm, &dpo) || !small_world_tune(az, lm, &chosen)) return false;
    if (!answers_of(az, lm, NULL, ref)) return false;
    optimum_of(ref, log_p);
    out[0] = stand(log_p, ref);
    answers_of(az, lm, dpo.adapter, log_p);
    out[1] = stand(log_p, ref);
    answers_of(az, lm, chosen.adapter, log_p);
    out[2] = stand(log_p, ref);
    static const char *const names[] = {"optimum", "dpo", "chosen answers alone"};
    for (int i = 0; i < 3; i++) report_standing(report, names[i], seed, &out[i]);
    az_adapter_free(az, dpo.adapter);
    az_adapter_free(az, chosen.adapter);
    return az_ok(az);
}

static bool run(az_ctx *az, az_report *report)
{
    claim_checks checks = {.report = report};
    const small_world world = {.width = 64,
                               .blocks = 2,
                               .context = 16,
                               .vocabulary = 270,
                               .settings = "steps=600,batch=64,lr=3e-3,schedule=cosine",
                               .examples = any_answers(az, 20000, 1)};
    const az_lm *lm = world.examples ? small_world_model(az, &world, 0) : NULL;
    if (!lm) return false;
    int near = 0, slope = 0, ahead = 0;
    for (int seed = 0; seed < SEEDS; seed++) {
        standing s[3];
        az_scope_push(az);
        const bool good = compete(az, report, lm, seed, s);
        az_scope_pop(az);
        if (!good) return false;
        near += s[1].reward >= 0.9 * s[0].reward && s[1].kl <= 1.2 * s[0].kl;
        slope += s[1].slope >= 0.8 && s[1].slope <= 1.2;
        ahead += s[1].reward > s[2].reward;
    }
    claim_check(&checks, "reward at least 0.9 of the optimum's, distance at most 1.2 of its, for every seed", near == SEEDS);
    claim_check(&checks, "beta log(pi / ref) grows with the reward, slope from 0.8 to 1.2, for every seed", slope == SEEDS);
    claim_check(&checks, "more reward than by learning the chosen answers, for every seed", ahead == SEEDS);
    return claim_decide(az, report, checks.asked, checks.held);
}

const az_claim az_claim_dpo = {
    .name = "dpo",
    .statement =
        "from preferences alone DPO comes to the policy that is best for the reward at its distance from the reference: at least 0.9 "
        "of its reward within 1.2 of its distance, with beta log(pi / ref) for a reward, and ahead of learning the chosen answers",
    .run = run,
};
