/* generate.c - continuing a prompt: the prompt goes through the model in chunks, then one token at a time. */
#include "lm/lm_internal.h"

#include <string.h>

enum { PREFILL_CHUNK = 512 };

/* Runs the tokens through the model; the logits after the last one, in the current scope. */
static const float *advance(az_ctx *az, const az_lm *lm, az_lm_cache *cache, const int32_t *token, int64_t n)
{
    const az_lm_batch batch = {.sequences = 1, .token = token, .start = (const int64_t[]){0, n}};
    const az_lm_run run = {.cache = cache, .output = AZ_LOGITS_LAST};
    az_tensor *logits = az_lm_forward(az, lm, &batch, &run);
    if (logits && logits->dtype != AZ_F32) logits = az_cast(az, logits, AZ_F32);
    return logits ? az_f32(logits) : NULL;
}

/* All of the prompt but its last chunk, whose logits are wanted. Returns where that chunk begins, -1 on an error or interruption. */
static int64_t prefill(az_ctx *az, const az_lm *lm, az_lm_cache *cache, const az_tokens *prompt)
{
    int64_t at = 0;
    for (; prompt->n - at > PREFILL_CHUNK; at += PREFILL_CHUNK) {
        const az_lm_batch batch = {.sequences = 1, .token = prompt->id + at, .start = (const int64_t[]){0, PREFILL_CHUNK}};
        const az_lm_run run = {.cache = cache, .output = AZ_HIDDEN}; /* no head */
        az_scope_push(az);
        const bool good = az_lm_forward(az, lm, &batch, &run) != NULL;
        az_scope_pop(az);
        if (!good || az_interrupted(az)) return -1;
    }
    return at;
}

static az_tokens with_room(az_ctx *az, const az_tokens *prompt, int64_t room)
{
    az_tokens all = {.id = az_alloc_array(az, (size_t)room, sizeof *all.id)};
    if (!all.id) return all;
    memcpy(all.id, prompt->id, (size_t)prompt->n * sizeof *all.id);
    all.n = prompt->n;
    return all;
}

az_tokens az_lm_generate(az_ctx *az, const az_lm *lm, const az_tokens *prompt, int64_t max_tokens, const az_sampler *sampler,
                         az_token_sink sink, void *user)
{
    const az_tokens none = {0};
    if (!lm || !az_ok(az)) return none;
    if (prompt->n < 1) az_fail(az, AZ_BAD_INPUT, "the prompt has no token to continue");
    if (prompt->n > lm->config.context)
        az_fail(az, AZ_BAD_INPUT, "the prompt has %lld tokens, but the model's context holds %lld; shorten it", (long long)prompt->n,
                (long long)lm->config.context);
    if (!az_ok(az)) return none;
    const int64_t left = lm->config.context - prompt->n;
    const int64_t room = prompt->n + (max_tokens >= 0 && max_tokens < left ? max_tokens : left);
    az_tokens all = with_room(az, prompt, room);
    az_scope_push(az);
    az_lm_cache *cache = all.id ? az_lm_cache_new(az, lm, 1, room, AZ_KV_F16) : NULL;
    int64_t done = cache ? prefill(az, lm, cache, prompt) : -1;
    while (done >= 0 && all.n < room && !az_interrupted(az)) {
        az_scope_push(az);
        const float *logits = advance(az, lm, cache, all.id + done, all.n - done);
        const int32_t id = logits ? az_sample(az, sampler, logits, lm->config.vocabulary, &all, all.n) : -1;
        az_scope_pop(az);
        if (id < 0 || az_token_ends(lm->tokenizer, id)) break;
        done = all.n;
        all.id[all.n++] = id;
        if (sink && !sink(id, user)) break;
    }
    az_scope_pop(az);
    return az_ok(az) ? all : none;
}
