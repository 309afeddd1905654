/* generate.c - continuing a prompt: it goes through the model once, in chunks; then its samples go on together, one token each a pass, from
 * a cache whose beginning they share. */
#include "lm/lm_internal.h"

#include <string.h>

enum { PREFILL_CHUNK = 512 };

typedef struct az_generation {
    const az_lm *lm;
    const az_lm_generate_options *options;
    int samples;
    int64_t room; /* tokens of a sample at most */
    az_lm_cache *cache;
    az_tokens *all; /* [samples] */
    bool *ended;    /* [samples] */
} az_generation;

static int64_t virtual_tokens(const az_lm_generate_options *options)
{
    return options->adapter ? options->adapter->virtual_tokens : 0;
}

static az_lm_run run_of(const az_generation *g, az_lm_output output)
{
    return (az_lm_run){.cache = g->cache, .output = output, .adapter = &g->options->adapter, .adapters = g->options->adapter ? 1 : 0};
}

/* One pass; the logits after the last token of each sequence that has some, [rows, vocabulary] in the current scope. */
static const float *advance(az_ctx *az, const az_generation *g, const az_lm_batch *batch)
{
    const az_lm_run run = run_of(g, AZ_LOGITS_LAST);
    az_tensor *logits = az_lm_forward(az, g->lm, batch, &run);
    if (logits && logits->dtype != AZ_F32) logits = az_cast(az, logits, AZ_F32);
    return logits ? az_f32(logits) : NULL;
}

/* All of the prompt but its last chunk, whose logits are wanted. Returns where that chunk begins, -1 on an error or interruption. */
static int64_t prefill(az_ctx *az, const az_generation *g, const az_tokens *prompt)
{
    int64_t at = 0;
    const bool whole = g->options->adapter && g->options->adapter->generators; /* which read the prompt in one piece */
    for (; !whole && prompt->n - at > PREFILL_CHUNK; at += PREFILL_CHUNK) {
        const az_lm_batch batch = {.sequences = 1, .token = prompt->id + at, .start = (const int64_t[]){0, PREFILL_CHUNK}};
        const az_lm_run run = run_of(g, AZ_HIDDEN); /* no head */
        az_scope_push(az);
        const bool good = az_lm_forward(az, g->lm, &batch, &run) != NULL;
        az_scope_pop(az);
        if (!good || az_interrupted(az)) return -1;
    }
    return at;
}

/* Draws the next token of sample s. */
static void take(az_ctx *az, az_generation *g, int s, const float *logits)
{
    az_tokens *all = &g->all[s];
    az_sampler sampler = g->options->sampler;
    sampler.seed += s;
    const int32_t id = logits ? az_sample(az, &sampler, logits, g->lm->config.vocabulary, all, all->n) : -1;
    g->ended[s] = id < 0 || az_token_ends(g->lm->tokenizer, id);
    if (g->ended[s]) return;
    all->id[all->n++] = id;
    g->ended[s] = all->n == g->room;
    if (g->options->sink && !g->options->sink(s, id, g->options->user)) g->ended[s] = true;
}

/* The prompt's last chunk, and the first token of every sample. */
static bool begin(az_ctx *az, az_generation *g, const az_tokens *prompt)
{
    const int64_t at = prefill(az, g, prompt);
    if (at < 0) return false;
    az_scope_push(az);
    const az_lm_batch batch = {.sequences = 1, .token = prompt->id + at, .start = (int64_t[]){0, prompt->n - at}};
    const float *logits = advance(az, g, &batch);
    for (int s = 0; s < g->samples; s++) {
        if (s > 0) az_lm_cache_fork(az, g->cache, 0, s);
        take(az, g, s, logits);
    }
    az_scope_pop(az);
    return az_ok(az);
}

/* One token for each sample that has not ended; false when there is none. */
static bool go_on(az_ctx *az, az_generation *g)
{
    int32_t *token = az_alloc_array(az, (size_t)g->samples, sizeof *token);
    int64_t *start = az_alloc_array(az, (size_t)g->samples + 1, sizeof *start);
    if (!token || !start) return false;
    for (int s = 0; s < g->samples; s++) {
        start[s + 1] = start[s] + !g->ended[s];
        if (!g->ended[s]) token[start[s]] = g->all[s].id[g->all[s].n - 1];
    }
    if (start[g->samples] == 0) return false;
    const az_lm_batch batch = {.sequences = g->samples, .token = token, .start = start};
    const float *logits = advance(az, g, &batch);
    for (int s = 0; logits && s < g->samples; s++)
        if (!g->ended[s]) take(az, g, s, logits + start[s] * g->lm->config.vocabulary);
    return logits && az_ok(az);
}

/* The prompt behind the adapter's virtual tokens, where BOS stands once. */
static az_tokens whole_prompt(az_ctx *az, const az_generation *g, const az_tokens *prompt)
{
    const int64_t in_front = virtual_tokens(g->options);
    if (in_front == 0) return *prompt;
    const bool twice = g->options->adapter->has_bos && prompt->id[0] == az_token_bos(g->lm->tokenizer);
    const int64_t words = prompt->n - twice;
    az_tokens all = {.id = az_alloc_array(az, (size_t)(in_front + words), sizeof *all.id), .n = in_front + words};
    if (!all.id) return (az_tokens){0};
    for (int64_t i = 0; i < in_front; i++) all.id[i] = (int32_t)(-1 - i);
    memcpy(all.id + in_front, prompt->id + twice, (size_t)words * sizeof *all.id);
    return all;
}

static void run(az_ctx *az, az_generation *g, const az_tokens *prompt)
{
    g->cache = az_lm_cache_new(az, g->lm, g->samples, g->room + virtual_tokens(g->options), g->options->cache);
    if (!g->cache || g->room == prompt->n) return;
    const az_tokens whole = whole_prompt(az, g, prompt);
    bool more = whole.n > 0 && begin(az, g, &whole);
    while (more && !az_interrupted(az)) {
        az_scope_push(az);
        more = go_on(az, g);
        az_scope_pop(az);
    }
}

static bool prompt_fits(az_ctx *az, const az_lm *lm, const az_tokens *prompt, int64_t in_front)
{
    if (prompt->n < 1) return az_fail(az, AZ_BAD_INPUT, "the prompt has no token to continue");
    if (prompt->n + in_front <= lm->config.context) return true;
    return az_fail(az, AZ_BAD_INPUT, "the prompt has %lld tokens, but the model's context holds %lld; shorten it",
                   (long long)(prompt->n + in_front), (long long)lm->config.context);
}

az_tokens *az_lm_generate(az_ctx *az, const az_lm *lm, const az_tokens *prompt, const az_lm_generate_options *options)
{
    if (!lm || !az_ok(az) || !prompt_fits(az, lm, prompt, virtual_tokens(options))) return NULL;
    if (options->samples < 0) return az_fail(az, AZ_BAD_CALL, "%d samples", options->samples);
    const int64_t left = lm->config.context - prompt->n - virtual_tokens(options), wanted = options->max_tokens;
    az_generation g = {.lm = lm,
                       .options = options,
                       .samples = options->samples > 0 ? options->samples : 1,
                       .room = prompt->n + (wanted >= 0 && wanted < left ? wanted : left)};
    g.all = az_alloc_array(az, (size_t)g.samples, sizeof *g.all);
    g.ended = az_alloc_array(az, (size_t)g.samples, sizeof *g.ended);
    for (int s = 0; g.all && s < g.samples; s++) {
        g.all[s] = (az_tokens){.id = az_alloc_array(az, (size_t)g.room, sizeof *g.all->id), .n = prompt->n};
        if (!g.all[s].id) return NULL;
        memcpy(g.all[s].id, prompt->id, (size_t)prompt->n * sizeof *prompt->id);
    }
    if (!g.all || !g.ended) return NULL;
    az_scope_push(az);
    run(az, &g, prompt);
    az_scope_pop(az);
    return az_ok(az) ? g.all : NULL;
}
