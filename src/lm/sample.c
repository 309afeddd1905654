/* sample.c - from logits to a token: repetition penalty, temperature, top-k, typical, top-p, min-p, then a draw.
 *
 * Each filter keeps a leading part of the candidates under its own order and works on their probabilities, renormalised over what the
 * filters before it have left. */
#include "adze/lm.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const az_option az_sampler_options[] = {
    {"temperature", AZ_FIELD(AZ_REAL, az_sampler, temperature), "0.8", 0, 100, NULL, "divides the logits; 0 takes the most likely token"},
    {"top_k", AZ_FIELD(AZ_INT, az_sampler, top_k), "40", 0, 1 << 24, NULL, "keep the k most likely tokens; 0 = all"},
    {"typical", AZ_FIELD(AZ_REAL, az_sampler, typical), "1", 0, 1, NULL,
     "keep this mass of the tokens whose surprise is nearest to the entropy; 1 or 0 = all"},
    {"top_p", AZ_FIELD(AZ_REAL, az_sampler, top_p), "0.95", 0, 1, NULL, "keep the most likely tokens with this total mass; 1 or 0 = all"},
    {"min_p", AZ_FIELD(AZ_REAL, az_sampler, min_p), "0.05", 0, 1, NULL,
     "drop tokens less likely than this share of the most likely; 0 = none"},
    {"repeat_penalty", AZ_FIELD(AZ_REAL, az_sampler, repeat_penalty), "1", 0, 100, NULL,
     "weakens tokens that occurred lately; 1 or 0 = off"},
    {"repeat_last", AZ_FIELD(AZ_INT, az_sampler, repeat_last), "64", 0, 1 << 24, NULL, "how many tokens back that looks; 0 = all"},
    {"seed", AZ_FIELD(AZ_INT, az_sampler, seed), "0", 0, 0, NULL, "key of the draws"},
    {.name = NULL},
};

typedef struct az_candidate {
    int32_t id;
    float logit;
    double p;   /* probability among the present candidates */
    double key; /* what the typical filter sorts by */
} az_candidate;

typedef struct az_candidates {
    az_candidate *item;
    int64_t n;
} az_candidates;

static int by_logit(const void *a, const void *b)
{
    const az_candidate *x = a, *y = b;
    if (x->logit != y->logit) return x->logit > y->logit ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static int by_key(const void *a, const void *b)
{
    const az_candidate *x = a, *y = b;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    return by_logit(a, b);
}

static void sort(az_candidates *c, int (*order)(const void *, const void *))
{
    qsort(c->item, (size_t)c->n, sizeof *c->item, order);
}

static void normalise(az_candidates *c)
{
    float top = -INFINITY;
    double sum = 0;
    for (int64_t i = 0; i < c->n; i++) top = fmaxf(top, c->item[i].logit);
    for (int64_t i = 0; i < c->n; i++) sum += c->item[i].p = exp((double)c->item[i].logit - (double)top);
    for (int64_t i = 0; i < c->n; i++) c->item[i].p /= sum;
}

/* A copy of the logits in which those of recent tokens are weaker: positive ones divided by the penalty, negative ones multiplied (Keskar
 * et al. 2019), once for each token, however often it occurred. The logits themselves when there is nothing to do. */
static const float *penalised(az_ctx *az, const az_sampler *sampler, const float *logits, int64_t vocabulary, const az_tokens *history)
{
    const double penalty = sampler->repeat_penalty;
    if (penalty <= 0 || penalty == 1 || !history) return logits;
    float *weaker = az_alloc_array(az, (size_t)vocabulary, sizeof *weaker);
    bool *done = az_alloc_array(az, (size_t)vocabulary, sizeof *done);
    if (!weaker || !done) return NULL;
    memcpy(weaker, logits, (size_t)vocabulary * sizeof *weaker);
    const int64_t first = sampler->repeat_last > 0 && sampler->repeat_last < history->n ? history->n - sampler->repeat_last : 0;
    for (int64_t i = first; i < history->n; i++) {
        const int32_t id = history->id[i];
        if (id < 0 || id >= vocabulary || done[id]) continue;
        weaker[id] = (float)(weaker[id] > 0 ? weaker[id] / penalty : weaker[id] * penalty);
        done[id] = true;
    }
    return weaker;
}

static int32_t most_likely(const float *logits, int64_t vocabulary)
{
    int64_t best = 0;
    for (int64_t i = 1; i < vocabulary; i++)
        if (logits[i] > logits[best]) best = i;
    return (int32_t)best;
}

/* Restores the heap below position i: every candidate is less likely than those below it, the least likely at the top. */
static void sift(az_candidates *heap, int64_t i)
{
    for (int64_t child; (child = 2 * i + 1) < heap->n; i = child) {
        if (child + 1 < heap->n && by_logit(&heap->item[child + 1], &heap->item[child]) > 0) child++;
        if (by_logit(&heap->item[i], &heap->item[child]) > 0) return;
        const az_candidate t = heap->item[i];
        heap->item[i] = heap->item[child];
        heap->item[child] = t;
    }
}

/* The k most likely tokens, in any order. */
static az_candidates candidates_of(az_ctx *az, const float *logits, int64_t vocabulary, int64_t k)
{
    az_candidates c = {.item = az_alloc_array(az, (size_t)k, sizeof *c.item), .n = k};
    if (!c.item) return (az_candidates){0};
    for (int64_t i = 0; i < k; i++) c.item[i] = (az_candidate){.id = (int32_t)i, .logit = logits[i]};
    if (k == vocabulary) return c;
    for (int64_t i = k / 2; i-- > 0;) sift(&c, i);
    for (int64_t i = k; i < vocabulary; i++) {
        if (logits[i] <= c.item[0].logit) continue; /* at a tie the smaller token stays */
        c.item[0] = (az_candidate){.id = (int32_t)i, .logit = logits[i]};
        sift(&c, 0);
    }
    return c;
}

/* Keeps leading candidates until their mass reaches `mass`. */
static void keep_mass(az_candidates *c, double mass)
{
    double sum = 0;
    for (int64_t i = 0; i < c->n; i++) {
        sum += c->item[i].p;
        if (sum >= mass) c->n = i + 1;
    }
}

/* Locally typical sampling (Meister et al., TACL 2023): tokens whose surprise -log p is nearest to the entropy. */
static void keep_typical(az_candidates *c, double mass)
{
    normalise(c);
    double entropy = 0;
    for (int64_t i = 0; i < c->n; i++)
        if (c->item[i].p > 0) entropy -= c->item[i].p * log(c->item[i].p);
    for (int64_t i = 0; i < c->n; i++) c->item[i].key = fabs(-log(c->item[i].p) - entropy);
    sort(c, by_key);
    keep_mass(c, mass);
}

static void keep_top_p(az_candidates *c, double mass)
{
    normalise(c);
    sort(c, by_logit);
    keep_mass(c, mass);
}

static void keep_min_p(az_candidates *c, double share)
{
    normalise(c);
    double top = 0;
    for (int64_t i = 0; i < c->n; i++) top = fmax(top, c->item[i].p);
    int64_t n = 0;
    for (int64_t i = 0; i < c->n; i++)
        if (c->item[i].p >= share * top) c->item[n++] = c->item[i];
    c->n = n;
}

static int32_t draw(az_candidates *c, uint64_t seed, int64_t step)
{
    normalise(c);
    az_rng rng = az_rng_at(seed, az_stream("sample", (uint64_t)step));
    const double u = az_uniform(&rng);
    double sum = 0;
    int64_t last = 0; /* with a share of the mass: rounding must not draw an impossible token */
    for (int64_t i = 0; i < c->n; i++) {
        if (c->item[i].p == 0) continue;
        last = i;
        sum += c->item[i].p;
        if (u < sum) break;
    }
    return c->item[last].id;
}

static bool check_logits(az_ctx *az, const float *logits, int64_t vocabulary)
{
    bool possible = false;
    for (int64_t i = 0; i < vocabulary; i++) {
        if (isnan(logits[i]) || logits[i] == INFINITY)
            return az_fail(az, AZ_NUMERIC, "the logit of token %lld is %s", (long long)i, isnan(logits[i]) ? "not a number" : "infinite");
        possible = possible || logits[i] > -INFINITY;
    }
    if (!possible) return az_fail(az, AZ_NUMERIC, "every token has probability zero");
    return true;
}

static int32_t sample_from(az_ctx *az, const az_sampler *sampler, const float *logits, int64_t vocabulary, int64_t step)
{
    if (sampler->temperature == 0) return most_likely(logits, vocabulary);
    const bool few = sampler->top_k > 0 && sampler->top_k < vocabulary;
    az_candidates c = candidates_of(az, logits, vocabulary, few ? sampler->top_k : vocabulary);
    if (!c.item) return -1;
    for (int64_t i = 0; i < c.n; i++) c.item[i].logit = (float)(c.item[i].logit / sampler->temperature);
    if (sampler->typical > 0 && sampler->typical < 1) keep_typical(&c, sampler->typical);
    if (sampler->top_p > 0 && sampler->top_p < 1) keep_top_p(&c, sampler->top_p);
    if (sampler->min_p > 0) keep_min_p(&c, sampler->min_p);
    return draw(&c, (uint64_t)sampler->seed, step);
}

int32_t az_sample(az_ctx *az, const az_sampler *sampler, const float *logits, int64_t vocabulary, const az_tokens *history, int64_t step)
{
    if (!az_ok(az) || !logits || vocabulary < 1 || !check_logits(az, logits, vocabulary)) return -1;
    az_scope_push(az);
    const float *weighed = penalised(az, sampler, logits, vocabulary, history);
    const int32_t id = weighed ? sample_from(az, sampler, weighed, vocabulary, step) : -1;
    az_scope_pop(az);
    return id;
}
