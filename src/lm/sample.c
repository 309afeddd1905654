/* sample.c - from logits to a token: repetition penalty, temperature, top-k, typical, top-p, min-p, then a draw.
 *
 * Each filter keeps a leading part of the candidates under its own order and works on their probabilities, renormalised over what the
 * filters before it have left. */
#include "lm/lm_internal.h"

#include <math.h>
#include <stdlib.h>

const az_option az_sampler_options[] = {
    {"temperature", AZ_REAL, offsetof(az_sampler, temperature), "0.8", 0, 100, NULL, "divides the logits; 0 takes the most likely token"},
    {"top_k", AZ_INT, offsetof(az_sampler, top_k), "40", 0, 1 << 24, NULL, "keep the k most likely tokens; 0 = all"},
    {"typical", AZ_REAL, offsetof(az_sampler, typical), "1", 0, 1, NULL,
     "keep this mass of the tokens whose surprise is nearest to the entropy; 1 = all"},
    {"top_p", AZ_REAL, offsetof(az_sampler, top_p), "0.95", 0, 1, NULL, "keep the most likely tokens with this total mass; 1 = all"},
    {"min_p", AZ_REAL, offsetof(az_sampler, min_p), "0.05", 0, 1, NULL,
     "drop tokens less likely than this share of the most likely; 0 = none"},
    {"repeat_penalty", AZ_REAL, offsetof(az_sampler, repeat_penalty), "1", 0, 100, NULL, "weakens tokens that occurred lately; 1 = off"},
    {"repeat_last", AZ_INT, offsetof(az_sampler, repeat_last), "64", 0, 1 << 24, NULL, "how many tokens back that looks; 0 = all"},
    {"seed", AZ_INT, offsetof(az_sampler, seed), "0", 0, 0, NULL, "key of the draws"},
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

/* Positive logits are divided by the penalty, negative ones multiplied (Keskar et al. 2019); once for each token, however often it
 * occurred. */
static void penalise(const az_sampler *sampler, const az_tokens *history, az_candidates *c)
{
    const double penalty = sampler->repeat_penalty;
    if (penalty <= 0 || penalty == 1 || !history) return;
    int64_t first = sampler->repeat_last > 0 ? history->n - sampler->repeat_last : 0;
    if (first < 0) first = 0;
    for (int64_t i = first; i < history->n; i++)
        if (history->id[i] >= 0 && history->id[i] < c->n) c->item[history->id[i]].key = 1; /* candidates are still in order of their ids */
    for (int64_t i = 0; i < c->n; i++) {
        az_candidate *item = &c->item[i];
        if (item->key == 1) item->logit = (float)(item->logit > 0 ? item->logit / penalty : item->logit * penalty);
    }
}

static int32_t most_likely(const az_candidates *c)
{
    const az_candidate *best = &c->item[0];
    for (int64_t i = 1; i < c->n; i++)
        if (c->item[i].logit > best->logit) best = &c->item[i];
    return best->id;
}

static void swap(az_candidate *a, az_candidate *b)
{
    const az_candidate t = *a;
    *a = *b;
    *b = t;
}

/* Hoare's selection: afterwards the k first are the k most likely, in any order. */
static void select_top(az_candidates *c, int64_t k)
{
    int64_t low = 0, high = c->n - 1;
    while (low < high) {
        const az_candidate pivot = c->item[low + (high - low) / 2];
        int64_t i = low, j = high;
        while (i <= j) {
            while (by_logit(&c->item[i], &pivot) < 0) i++;
            while (by_logit(&c->item[j], &pivot) > 0) j--;
            if (i <= j) swap(&c->item[i++], &c->item[j--]);
        }
        if (k - 1 <= j)
            high = j;
        else if (k - 1 >= i)
            low = i;
        else
            break;
    }
    c->n = k;
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

int32_t az_sample(az_ctx *az, const az_sampler *sampler, const float *logits, int64_t vocabulary, const az_tokens *history, int64_t step)
{
    if (!az_ok(az) || !logits || vocabulary < 1 || !check_logits(az, logits, vocabulary)) return -1;
    az_scope_push(az);
    az_candidates c = {.item = az_alloc_array(az, (size_t)vocabulary, sizeof *c.item), .n = vocabulary};
    int32_t id = -1;
    if (c.item) {
        for (int64_t i = 0; i < vocabulary; i++) c.item[i] = (az_candidate){.id = (int32_t)i, .logit = logits[i]};
        penalise(sampler, history, &c);
        if (sampler->temperature == 0) {
            id = most_likely(&c);
        } else {
            for (int64_t i = 0; i < c.n; i++) c.item[i].logit = (float)(c.item[i].logit / sampler->temperature);
            if (sampler->top_k > 0 && sampler->top_k < c.n) select_top(&c, sampler->top_k);
            if (sampler->typical > 0 && sampler->typical < 1) keep_typical(&c, sampler->typical);
            if (sampler->top_p > 0 && sampler->top_p < 1) keep_top_p(&c, sampler->top_p);
            if (sampler->min_p > 0) keep_min_p(&c, sampler->min_p);
            id = draw(&c, (uint64_t)sampler->seed, step);
        }
    }
    az_scope_pop(az);
    return id;
}
