/* forward_mlp.c - the feed-forward half of a block: one network for all tokens, or a few of many chosen for each token. */
#include "lm/forward.h"

static az_tensor *network(az_ctx *az, const az_pass *pass, const az_lm_mlp *mlp, az_tensor *x)
{
    az_tensor *both[2] = {NULL, NULL}; /* gate, unless there is none, and up */
    const int first = az_lm_is_gated(pass->lm->arch) ? 0 : 1;
    const az_lm_linear *const linear[] = {&mlp->gate, &mlp->up};
    if (!az_pass_linears(az, pass, linear + first, 2 - first, x, both + first)) return NULL;
    az_tensor *gate = both[0], *h = both[1];
    switch (pass->lm->arch->mlp) {
    case AZ_MLP_SWIGLU: h = az_swiglu(az, gate, h); break;
    case AZ_MLP_GEGLU: h = az_mul(az, az_gelu_tanh(az, gate), h); break;
    case AZ_MLP_GELU: h = az_gelu(az, h); break;
    case AZ_MLP_GELU_TANH: h = az_gelu_tanh(az, h); break;
    case AZ_MLP_RELU: h = az_relu(az, h); break;
    }
    return az_pass_linear(az, pass, &mlp->down, h);
}

/* ---- mixture of experts ---- */

/* Marks with 1 the `used` largest of each row of p [tokens, experts]; of equal ones the first. */
static az_tensor *mark_largest(az_ctx *az, const az_tensor *p, int64_t used)
{
    az_tensor *mark = p ? az_zeros(az, AZ_F32, 2, p->shape) : NULL;
    float *m = az_f32_mut(mark);
    const int64_t experts = p ? p->shape[1] : 0;
    for (int64_t t = 0; m && t < p->shape[0]; t++, m += experts) {
        for (int64_t i = 0; i < used; i++) {
            int64_t best = -1;
            for (int64_t e = 0; e < experts; e++)
                if (m[e] == 0 && (best < 0 || az_item(p, t * experts + e) > az_item(p, t * experts + best))) best = e;
            m[best] = 1;
        }
    }
    return mark;
}

/* The tokens that expert e works for: those with a mark in column e. */
static az_tensor *rows_of_expert(az_ctx *az, const az_tensor *mark, int64_t e)
{
    const int64_t tokens = mark->shape[0], experts = mark->shape[1];
    int32_t *row = az_alloc_array(az, (size_t)tokens, sizeof *row);
    int64_t n = 0;
    for (int64_t t = 0; row && t < tokens; t++)
        if (az_f32(mark)[t * experts + e] != 0) row[n++] = (int32_t)t;
    return row && n > 0 ? az_from(az, AZ_I32, 1, &n, row) : NULL;
}

/* Each token goes through the experts that its router scores highest; their results add up with softmax weights that are scaled to sum to
 * one over the experts used (Mixtral, Jiang et al. 2024). */
static az_tensor *mix_experts(az_ctx *az, const az_pass *pass, const az_lm_block *block, az_tensor *x)
{
    const az_lm_config *c = &pass->lm->config;
    az_tensor *p = az_softmax(az, az_pass_linear(az, pass, &block->router, x));
    az_tensor *mark = mark_largest(az, p, c->experts_used);
    if (!mark) return NULL;
    az_tensor *kept = az_mul(az, p, az_cast(az, mark, p->dtype));
    az_tensor *share = az_div(az, kept, az_sum(az, kept, -1, true));
    az_tensor *sum = NULL;
    for (int64_t e = 0; e < c->experts && az_ok(az); e++) {
        const az_tensor *row = rows_of_expert(az, mark, e);
        if (!row) continue;
        az_pass sent = *pass;
        sent.adapters = az_pass_adapters_take(az, pass->adapters, row->data, row->shape[0]);
        az_tensor *y = network(az, &sent, &block->expert[e], az_gather(az, x, row));
        y = az_mul(az, y, az_gather(az, az_contiguous(az, az_slice(az, share, 1, e, 1)), row));
        y = az_scatter_add(az, y, row, pass->tokens);
        sum = sum ? az_add(az, sum, y) : y;
    }
    return sum;
}

az_tensor *az_pass_feed_forward(az_ctx *az, const az_pass *pass, int b, az_tensor *x)
{
    const az_lm_block *block = &pass->lm->block[b];
    if (pass->lm->config.experts > 0) return mix_experts(az, pass, block, x);
    const az_lm_mlp whole = {.gate = block->gate, .up = block->up, .down = block->down};
    return network(az, pass, &whole, x);
}
