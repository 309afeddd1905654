/* forward.c - the one forward pass: embedding, blocks, head, written from the architecture table.
 *
 * Activations are [tokens, width] for a ragged batch; positions, the key-value cache and attention alone know where sequences begin. */
#include "lm/forward.h"

#include "adze/grad.h"

#include <fnmatch.h>
#include <string.h>

/* ---- sites ---- */

static az_tensor *visit_hooks(az_ctx *az, const az_pass *pass, const char *site, az_tensor *x)
{
    for (int i = 0; x && i < pass->run.n_hooks; i++) {
        const az_lm_hook *hook = &pass->run.hooks[i];
        if (fnmatch(hook->site, site, 0) != 0) continue;
        az_tensor *y = hook->see(az, site, x, hook->user);
        if (!y && az_ok(az)) return az_fail(az, AZ_BAD_CALL, "the hook at %s returned nothing", site);
        if (y && y != x && (!az_same_shape(x, y) || x->dtype != y->dtype))
            return az_fail(az, AZ_BAD_CALL, "the hook at %s returned %s %s instead of %s %s", site, az_dtype_name(y->dtype),
                           az_shape_text(az, y), az_dtype_name(x->dtype), az_shape_text(az, x));
        x = y;
    }
    return x;
}

az_tensor *az_pass_site(az_ctx *az, const az_pass *pass, az_tensor *x, const char *format, ...)
{
    if (pass->run.n_hooks == 0 || !x) return x;
    char site[128];
    va_list args;
    va_start(args, format);
    vsnprintf(site, sizeof site, format, args);
    va_end(args);
    return visit_hooks(az, pass, site, x);
}

/* ---- the beginning of a pass ---- */

/* Virtual tokens are negative and belong to the adapter of their sequence. */
static bool check_tokens(az_ctx *az, const az_lm *lm, const az_lm_batch *batch, int s, const az_lm_run *run)
{
    const int which = run->adapters < 1 ? -1 : run->adapter_of ? run->adapter_of[s] : 0;
    const int64_t lowest = which >= 0 && which < run->adapters ? -run->adapter[which]->virtual_tokens : 0;
    for (int64_t i = batch->start[s]; i < batch->start[s + 1]; i++)
        if (batch->token[i] < lowest || batch->token[i] >= lm->config.vocabulary)
            return az_fail(az, AZ_BAD_INPUT, "token %d at %lld is outside the vocabulary of %lld", batch->token[i], (long long)i,
                           (long long)lm->config.vocabulary);
    return true;
}

static bool check_batch(az_ctx *az, const az_lm *lm, const az_lm_batch *batch, const az_lm_run *run)
{
    const az_lm_cache *cache = run->cache;
    if (batch->sequences < 1 || batch->start[0] != 0 || batch->start[batch->sequences] < 1)
        return az_fail(az, AZ_BAD_CALL, "a batch without tokens");
    if (cache && batch->sequences > cache->sequences)
        return az_fail(az, AZ_BAD_CALL, "%d sequences, but the cache holds %d", batch->sequences, cache->sequences);
    if (cache && az_tape_is_open(az)) return az_fail(az, AZ_BAD_CALL, "derivatives do not flow through a cache");
    for (int s = 0; s < batch->sequences; s++) {
        const int64_t fresh = batch->start[s + 1] - batch->start[s], before = az_lm_cache_length(cache, s);
        const int64_t room = cache ? cache->capacity : lm->config.context;
        if (fresh < 0) return az_fail(az, AZ_BAD_CALL, "sequence %d ends before it starts", s);
        if (before + fresh > room)
            return az_fail(az, AZ_BAD_INPUT, "a sequence of %lld tokens outgrows the %s of %lld", (long long)(before + fresh),
                           cache ? "cache" : "model's context", (long long)room);
        if (lm->position && before + fresh > lm->config.context)
            return az_fail(az, AZ_BAD_INPUT, "a sequence of %lld tokens outgrows the model's %lld learned positions",
                           (long long)(before + fresh), (long long)lm->config.context);
        if (!check_tokens(az, lm, batch, s, run)) return false;
    }
    return true;
}

static az_tensor *positions(az_ctx *az, const az_lm_batch *batch, const az_lm_run *run)
{
    az_tensor *position = az_new1(az, AZ_I32, batch->start[batch->sequences]);
    if (!position) return NULL;
    int32_t *p = position->data;
    for (int s = 0; s < batch->sequences; s++) {
        const int64_t before = az_lm_cache_length(run->cache, s);
        const bool unrotated = az_adapter_unrotated(run, s);
        for (int64_t i = batch->start[s]; i < batch->start[s + 1]; i++)
            p[i] = unrotated && batch->token[i] < 0 ? 0 : (int32_t)(before + i - batch->start[s]);
    }
    return position;
}

/* The pass lives in the current scope. */
static const az_pass *pass_begin(az_ctx *az, const az_lm *lm, const az_lm_batch *batch, const az_lm_run *run)
{
    if (!lm || !batch) return NULL;
    az_pass pass = {.lm = lm, .batch = batch, .tokens = batch->start[batch->sequences]};
    if (run) pass.run = *run;
    az_lm_cache *cache = pass.run.cache;
    if (!check_batch(az, lm, batch, &pass.run)) return NULL;
    const size_t sequences = (size_t)batch->sequences;
    int64_t *key_start = az_alloc_array(az, 3 * sequences + 1, sizeof *key_start);
    if (!key_start) return NULL;
    int64_t *key_count = key_start + sequences, *query_start = key_count + sequences;
    memcpy(query_start, batch->start, (sequences + 1) * sizeof *query_start);
    for (int s = 0; s < batch->sequences; s++) {
        const int64_t fresh = batch->start[s + 1] - batch->start[s];
        key_start[s] = batch->start[s];
        key_count[s] = az_lm_cache_length(cache, s) + fresh;
        if (cache && !az_lm_cache_make_room(az, cache, s, fresh)) return NULL;
    }
    pass.kv = cache ? az_lm_cache_view(az, cache, batch->sequences) : NULL;
    int64_t longest = cache ? az_lm_cache_capacity(cache) : 0;
    for (int s = 0; s < batch->sequences; s++) longest = key_count[s] > longest ? key_count[s] : longest;
    pass.far = longest > lm->config.rope_original;
    pass.position = positions(az, batch, &pass.run);
    pass.attention = (az_attention_how){.sequences = batch->sequences,
                                        .query_start = query_start,
                                        .key_start = key_start,
                                        .key_count = key_count,
                                        .scale = lm->config.attention_scale,
                                        .softcap = lm->config.attention_softcap,
                                        .window = lm->config.window};
    if (lm->arch->position == AZ_POSITION_ALIBI) pass.attention.slope = az_alibi_slopes(az, lm->config.heads);
    pass.adapters = az_pass_adapters_begin(az, batch, &pass.run);
    az_pass *kept = az_alloc(az, sizeof *kept);
    if (kept) *kept = pass;
    return az_ok(az) ? kept : NULL;
}

/* ---- layers ---- */

/* With the norm's own gain and bias, or with those that a layer of an adapter (or NULL) has in their place. */
static az_tensor *normalise(az_ctx *az, const az_pass *pass, const az_lm_norm *norm, const az_adapter_layer *layer, az_tensor *x)
{
    const az_tensor *gain = layer && layer->gain ? layer->gain : norm->weight, *bias = layer && layer->bias ? layer->bias : norm->bias;
    const double eps = pass->lm->config.norm_eps;
    if (pass->lm->arch->norm != AZ_NORM_RMS) return az_layer_norm(az, x, gain, bias, eps);
    az_tensor *y = az_rms_norm(az, x, gain, eps);
    return bias ? az_add(az, y, bias) : y; /* files have none; methods may add one */
}

az_tensor *az_pass_norm(az_ctx *az, const az_pass *pass, const az_lm_norm *norm, az_tensor *x)
{
    const az_pass_adapters *all = pass->adapters;
    const az_adapter_layer *only =
        all && all->groups == 1 && !all->group[0].row ? az_adapter_find(all->group[0].adapter, norm->name) : NULL;
    az_tensor *y = normalise(az, pass, norm, only, x);
    for (int g = 0; all && !only && y && g < all->groups; g++) {
        const az_adapted_rows *group = &all->group[g];
        const az_adapter_layer *layer = group->row ? az_adapter_find(group->adapter, norm->name) : NULL;
        if (!layer || (!layer->bias && !layer->gain)) continue;
        az_tensor *rows = az_gather(az, x, az_from(az, AZ_I32, 1, &group->n, group->row));
        y = az_adapters_put(az, all, y, normalise(az, pass, norm, layer, rows), group->row, group->n);
    }
    return y;
}

/* y = W x -> the layer's output: with its bias, and what sits beside it. */
static az_tensor *complete(az_ctx *az, const az_pass *pass, const az_lm_linear *linear, az_tensor *x, az_tensor *y)
{
    if (az_adapters_touch(pass->adapters, linear->name)) return az_adapters_linear(az, pass->adapters, linear, x, y);
    return linear->bias ? az_add(az, y, linear->bias) : y;
}

bool az_pass_linears(az_ctx *az, const az_pass *pass, const az_lm_linear *const *linear, int n, az_tensor *x, az_tensor **y)
{
    enum { MOST = 3 };
    const az_weight *weight[MOST] = {NULL};
    if (pass->run.n_hooks > 0) { /* a hook may give each its own input */
        for (int i = 0; i < n; i++) y[i] = az_pass_linear(az, pass, linear[i], x);
        return az_ok(az);
    }
    for (int i = 0; i < n; i++) weight[i] = linear[i]->weight, y[i] = NULL;
    if (!az_weight_apply_many(az, weight, n, x, y)) {
        int failed = 0;
        while (failed < n - 1 && y[failed]) failed++;
        if (x) az_fail_context(az, "%s", linear[failed]->name);
        return false;
    }
    for (int i = 0; i < n; i++) y[i] = complete(az, pass, linear[i], x, y[i]);
    return az_ok(az);
}

az_tensor *az_pass_linear(az_ctx *az, const az_pass *pass, const az_lm_linear *linear, az_tensor *x)
{
    x = az_pass_site(az, pass, x, "%s.in", linear->name);
    az_tensor *y = az_weight_apply(az, linear->weight, x);
    if (x && !y) az_fail_context(az, "%s", linear->name);
    return az_pass_site(az, pass, complete(az, pass, linear, x, y), "%s.out", linear->name);
}

/* cap tanh(x / cap); x itself when cap is 0. */
static az_tensor *soft_cap(az_ctx *az, az_tensor *x, double cap)
{
    return cap == 0 ? x : az_affine(az, az_tanh(az, az_affine(az, x, 1 / cap, 0)), cap, 0);
}

/* What a half of the block reads: the residual stream, normalised where the model has a norm in front of it. */
static az_tensor *half_input(az_ctx *az, const az_pass *pass, const az_lm_norm *norm, az_tensor *x)
{
    return pass->lm->config.post_norm || !norm->weight ? x : az_pass_norm(az, pass, norm, x);
}

/* The residual stream x with what a half of the block adds to it, y: each normalised where the model does that. */
static az_tensor *add_half(az_ctx *az, const az_pass *pass, const az_lm_norm *norm, const az_lm_norm *post_norm, az_tensor *const xy[2])
{
    az_tensor *y = post_norm->weight ? az_pass_norm(az, pass, post_norm, xy[1]) : xy[1];
    if (pass->lm->config.residual_scale != 1) y = az_affine(az, y, pass->lm->config.residual_scale, 0);
    az_tensor *sum = az_add(az, xy[0], y);
    return pass->lm->config.post_norm ? az_pass_norm(az, pass, norm, sum) : sum;
}

/* Whether both halves of a block read its input. */
static bool side_by_side(const az_lm *lm)
{
    return lm->arch->parallel && !lm->config.sequential;
}

static az_tensor *block_inside(az_ctx *az, const az_pass *pass, int b, az_tensor *x)
{
    const az_lm_block *block = &pass->lm->block[b];
    x = az_adapters_generate(az, pass->adapters, b, x);
    az_tensor *attention = az_pass_attend(az, pass, b, half_input(az, pass, &block->attn_norm, x));
    az_tensor *mid = add_half(az, pass, &block->attn_norm, &block->attn_post_norm, (az_tensor *[]){x, attention});
    mid = az_pass_site(az, pass, mid, "blocks.%d.resid_mid", b);
    az_tensor *mlp = az_pass_feed_forward(az, pass, b, half_input(az, pass, &block->mlp_norm, side_by_side(pass->lm) ? x : mid));
    az_tensor *out = add_half(az, pass, &block->mlp_norm, &block->mlp_post_norm, (az_tensor *[]){mid, mlp});
    return az_pass_site(az, pass, out, "blocks.%d.resid", b);
}

/* ---- checkpointing: a block whose inside is computed again in the backward pass ---- */

typedef struct az_block_segment {
    const az_pass *pass;
    int block;
    az_tensor ***slot; /* places of the block's tracked parameters: where inputs 1, 2, ... of the segment go */
} az_block_segment;

/* A copy of the pass that lives as long as the tape. */
static const az_pass *pass_save(az_ctx *az, const az_pass *pass)
{
    az_pass saved = *pass;
    const size_t sequences = (size_t)pass->attention.sequences;
    saved.batch = NULL;
    saved.position = az_save(az, pass->position);
    saved.adapters = az_pass_adapters_save(az, pass->adapters);
    saved.attention.query_start = az_save_memory(az, pass->attention.query_start, (sequences + 1) * sizeof(int64_t));
    saved.attention.key_start = az_save_memory(az, pass->attention.key_start, sequences * sizeof(int64_t));
    saved.attention.key_count = az_save_memory(az, pass->attention.key_count, sequences * sizeof(int64_t));
    if (saved.attention.slope)
        saved.attention.slope = az_save_memory(az, pass->attention.slope, (size_t)pass->lm->config.heads * sizeof(float));
    return az_save_memory(az, &saved, sizeof saved);
}

static az_tensor *run_segment(az_ctx *az, az_tensor *const *inputs, int n, void *user)
{
    const az_block_segment *segment = user;
    az_tensor **outside = az_alloc_array(az, (size_t)n, sizeof *outside);
    if (!outside) return NULL;
    for (int i = 1; i < n; i++) {
        outside[i] = *segment->slot[i - 1];
        *segment->slot[i - 1] = inputs[i];
    }
    az_tensor *y = block_inside(az, segment->pass, segment->block, inputs[0]);
    for (int i = 1; i < n; i++) *segment->slot[i - 1] = outside[i];
    return y;
}

static az_tensor *block_checkpointed(az_ctx *az, const az_pass *pass, int b, az_tensor *x)
{
    az_tensor ***own, ***beside;
    const int n_own = az_lm_block_tracked(az, pass->lm, b, &own), n_beside = az_adapters_tracked(az, pass->adapters, b, &beside);
    const int n = n_own + n_beside;
    az_tensor ***slots = az_alloc_array(az, (size_t)n + 1, sizeof *slots);
    az_tensor **inputs = az_alloc_array(az, (size_t)n + 1, sizeof *inputs);
    if (!own || !beside || !slots || !inputs) return NULL;
    memcpy(slots, own, (size_t)n_own * sizeof *slots);
    memcpy(slots + n_own, beside, (size_t)n_beside * sizeof *slots);
    inputs[0] = x;
    for (int i = 0; i < n; i++) inputs[i + 1] = *slots[i];
    const az_block_segment segment = {.pass = pass, .block = b, .slot = az_save_memory(az, slots, (size_t)n * sizeof *slots)};
    void *user = az_save_memory(az, &segment, sizeof segment);
    return user ? az_checkpoint(az, run_segment, inputs, n + 1, user) : NULL;
}

/* ---- the pieces ---- */

/* Rows of the embedding; virtual tokens borrow one until they get theirs. */
static az_tensor *look_up(az_ctx *az, const az_pass *pass)
{
    az_tensor *index = az_from(az, AZ_I32, 1, &pass->tokens, pass->batch->token);
    int32_t *id = index ? index->data : NULL;
    for (int64_t i = 0; id && i < pass->tokens; i++) id[i] = id[i] < 0 ? 0 : id[i];
    az_tensor *x = az_weight_gather(az, pass->lm->embedding, index);
    return az_adapters_embed(az, pass->adapters, pass->batch->token, x);
}

static az_tensor *scale_embedding(az_ctx *az, const az_lm *lm, az_tensor *x)
{
    return lm->config.embedding_scale == 1 ? x : az_affine(az, x, lm->config.embedding_scale, 0);
}

az_tensor *az_lm_token_rows(az_ctx *az, const az_lm *lm, const int32_t *token, int64_t n)
{
    return scale_embedding(az, lm, az_weight_gather(az, lm->embedding, az_from(az, AZ_I32, 1, &n, token)));
}

static az_tensor *embed(az_ctx *az, const az_pass *pass)
{
    const az_lm *lm = pass->lm;
    az_tensor *x = scale_embedding(az, lm, look_up(az, pass));
    x = az_adapters_prompt(az, pass->adapters, x);
    if (lm->project_in.weight) x = az_pass_linear(az, pass, &lm->project_in, x);
    if (lm->position) {
        const az_tensor *row = pass->position;
        az_tensor *shifted = lm->arch->position_offset ? az_copy(az, row) : NULL;
        int32_t *p = shifted ? shifted->data : NULL;
        for (int64_t i = 0; p && i < pass->tokens; i++) p[i] += (int32_t)lm->arch->position_offset;
        x = az_add(az, x, az_weight_gather(az, lm->position, shifted ? shifted : row));
    }
    if (lm->embed_norm.weight) x = az_pass_norm(az, pass, &lm->embed_norm, x);
    return az_pass_site(az, pass, x, "embed");
}

/* Whether a block's input is needed after the block: by a tape, or by a hook that may have taken a reference to it. */
static bool stream_is_shared(az_ctx *az, const az_pass *pass)
{
    return pass->run.n_hooks > 0 || az_tape_is_open(az);
}

static az_tensor *run_block(az_ctx *az, const az_pass *pass, int b, az_tensor *x)
{
    if (!x) return NULL;
    if (pass->run.checkpoint && az_tape_is_open(az)) return block_checkpointed(az, pass, b, x);
    az_scope_push(az);
    return az_keep(az, block_inside(az, pass, b, x));
}

/* All blocks. Where nobody else holds the residual stream, its memory serves every block. */
static az_tensor *run_blocks(az_ctx *az, const az_pass *pass, az_tensor *x)
{
    const bool shared = stream_is_shared(az, pass);
    for (int b = 0; x && b < pass->lm->config.blocks; b++) {
        if (shared) {
            x = run_block(az, pass, b, x);
            continue;
        }
        az_scope_push(az);
        az_tensor *y = block_inside(az, pass, b, x);
        if (y) az_copy_into(az, x, y);
        az_scope_pop(az);
        if (!y) return NULL;
    }
    return x;
}

/* The last row of every sequence that has tokens; the pass goes on with those. */
static az_tensor *last_rows(az_ctx *az, az_pass *pass, az_tensor *x)
{
    const az_lm_batch *batch = pass->batch;
    if (pass->tokens == 1) return x;
    int32_t *row = az_alloc_array(az, (size_t)batch->sequences, sizeof *row);
    int64_t n = 0;
    for (int s = 0; row && s < batch->sequences; s++)
        if (batch->start[s + 1] > batch->start[s]) row[n++] = (int32_t)(batch->start[s + 1] - 1);
    if (row) pass->adapters = az_pass_adapters_take(az, pass->adapters, row, n);
    return row ? az_gather(az, x, az_from(az, AZ_I32, 1, &n, row)) : NULL;
}

static az_tensor *logits_of(az_ctx *az, const az_pass *pass, az_tensor *hidden)
{
    const az_lm_config *c = &pass->lm->config;
    az_tensor *logits = az_pass_linear(az, pass, &pass->lm->head, hidden);
    if (c->logit_scale != 1) logits = az_affine(az, logits, 1 / c->logit_scale, 0);
    return soft_cap(az, logits, c->logit_softcap);
}

static az_tensor *head(az_ctx *az, const az_pass *whole, az_tensor *x)
{
    az_pass rows = *whole;
    const az_pass *pass = &rows;
    if (pass->run.output == AZ_LOGITS_LAST) x = last_rows(az, &rows, x);
    if (pass->lm->final_norm.weight) x = az_pass_norm(az, pass, &pass->lm->final_norm, x);
    if (pass->lm->project_out.weight) x = az_pass_linear(az, pass, &pass->lm->project_out, x);
    x = pass->run.output == AZ_HIDDEN ? az_pass_site(az, pass, x, "head.in") : logits_of(az, pass, x);
    az_lm_cache *cache = pass->run.cache;
    for (int s = 0; x && cache && s < pass->batch->sequences; s++)
        cache->sequence[s].length += pass->batch->start[s + 1] - pass->batch->start[s];
    return x;
}

az_tensor *az_lm_embed(az_ctx *az, const az_lm *lm, const az_lm_batch *batch, const az_lm_run *run)
{
    const az_pass *pass = pass_begin(az, lm, batch, run);
    return pass ? embed(az, pass) : NULL;
}

az_tensor *az_lm_block_forward(az_ctx *az, const az_lm *lm, int block, az_tensor *x, const az_lm_batch *batch, const az_lm_run *run)
{
    const az_pass *pass = x ? pass_begin(az, lm, batch, run) : NULL;
    if (!pass) return NULL;
    if (block < 0 || block >= lm->config.blocks)
        return az_fail(az, AZ_BAD_CALL, "a model of %lld blocks has no block %d", (long long)lm->config.blocks, block);
    return run_block(az, pass->run.checkpoint && az_tape_is_open(az) ? pass_save(az, pass) : pass, block, x);
}

az_tensor *az_lm_head_forward(az_ctx *az, const az_lm *lm, az_tensor *x, const az_lm_batch *batch, const az_lm_run *run)
{
    const az_pass *pass = x ? pass_begin(az, lm, batch, run) : NULL;
    return pass ? head(az, pass, x) : NULL;
}

az_tensor *az_lm_head_logits(az_ctx *az, const az_lm *lm, const az_pass_adapters *adapters, az_tensor *hidden)
{
    const az_pass pass = {.lm = lm, .adapters = adapters};
    return logits_of(az, &pass, hidden);
}

az_tensor *az_lm_forward(az_ctx *az, const az_lm *lm, const az_lm_batch *batch, const az_lm_run *run)
{
    az_scope_push(az);
    const az_pass *pass = pass_begin(az, lm, batch, run);
    az_tensor *y = NULL;
    if (pass) {
        az_tensor *x = embed(az, pass);
        const az_pass *inner = pass->run.checkpoint && az_tape_is_open(az) ? pass_save(az, pass) : pass;
        x = run_blocks(az, inner, x);
        y = x ? head(az, pass, x) : NULL;
    }
    return az_keep(az, y);
}
