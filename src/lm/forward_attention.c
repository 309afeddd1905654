/* forward_attention.c - the attention half of a block: projections, rotation, the cache, and which blocks look how far. */
#include "lm/forward.h"

#include <math.h>

/* Slopes of ALiBi (Press et al., ICLR 2022): 2^(-8 (h + 1) / n) for a power of two n; otherwise those of the power below, then every second
 * one of the power above. */
float *az_alibi_slopes(az_ctx *az, int64_t heads)
{
    float *slope = az_alloc_array(az, (size_t)heads, sizeof *slope);
    int64_t power = 1;
    while (2 * power <= heads) power *= 2;
    for (int64_t h = 0; slope && h < heads; h++) {
        const double exponent = h < power ? 8.0 * (double)(h + 1) / (double)power : 4.0 * (double)(2 * (h - power) + 1) / (double)power;
        slope[h] = (float)exp2(-exponent);
    }
    return slope;
}

static az_tensor *split_heads(az_ctx *az, const az_pass *pass, az_tensor *x, int64_t heads)
{
    return az_reshape(az, x, 3, (const int64_t[]){pass->tokens, heads, pass->lm->config.head_dim});
}

/* Queries or keys as heads, normalised where the model does that. */
static az_tensor *heads_of(az_ctx *az, const az_pass *pass, const az_lm_norm *norm, az_tensor *x, int64_t heads)
{
    const bool wide = pass->lm->arch->wide_qk_norm;
    if (norm->weight && wide) x = az_pass_norm(az, pass, norm, x);
    x = split_heads(az, pass, x, heads);
    return norm->weight && !wide ? az_pass_norm(az, pass, norm, x) : x;
}

static az_tensor *rotate(az_ctx *az, const az_pass *pass, int b, az_tensor *x)
{
    const az_lm *lm = pass->lm;
    if (!az_lm_has_rope(lm->arch) || !lm->block[b].turned) return x;
    const bool local = lm->rope_frequency_local && lm->block[b].windowed;
    const az_rope_how how = {.interleaved = lm->arch->position == AZ_POSITION_ROPE_PAIRS,
                             .dims = lm->config.rope_dims,
                             .magnitude = local ? 1 : lm->config.rope_magnitude};
    const az_tensor *frequency = pass->far && lm->rope_frequency_long ? lm->rope_frequency_long : lm->rope_frequency;
    return az_rope(az, x, pass->position, local ? lm->rope_frequency_local : frequency, how);
}

/* The heads' outputs: over the cache, which takes the new keys and values first, or over the batch alone. */
static az_tensor *look_back(az_ctx *az, const az_pass *pass, int b, az_tensor *const qkv[3])
{
    az_attention_how how = pass->attention;
    if (!pass->lm->block[b].windowed) how.window = 0;
    if (!pass->kv) return az_attention(az, qkv[0], qkv[1], qkv[2], &how);
    az_lm_cache_layer(pass->run.cache, b, pass->kv);
    if (az_kv_store(az, pass->kv, az_contiguous(az, qkv[1]), az_contiguous(az, qkv[2]), &how))
        return az_attention_kv(az, qkv[0], pass->kv, &how);
    az_fail_context(az, "block %d", b);
    return NULL;
}

az_tensor *az_pass_attend(az_ctx *az, const az_pass *pass, int b, az_tensor *x)
{
    const az_lm_config *c = &pass->lm->config;
    const az_lm_block *block = &pass->lm->block[b];
    az_tensor *flat[3];
    if (!az_pass_linears(az, pass, (const az_lm_linear *[]){&block->q, &block->k, &block->v}, 3, x, flat)) return NULL;
    az_tensor *q = heads_of(az, pass, &block->q_norm, flat[0], c->heads), *k = heads_of(az, pass, &block->k_norm, flat[1], c->kv_heads);
    q = rotate(az, pass, b, q);
    k = az_adapters_prefix(az, pass->adapters, b, 0, rotate(az, pass, b, k));
    az_tensor *v = az_adapters_prefix(az, pass->adapters, b, 1, split_heads(az, pass, flat[2], c->kv_heads));
    az_tensor *y = look_back(az, pass, b, (az_tensor *[]){q, k, v});
    y = az_reshape(az, y, 2, (const int64_t[]){pass->tokens, c->heads * c->head_dim});
    return az_pass_linear(az, pass, &block->o, y);
}
