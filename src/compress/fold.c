/* fold.c - the surgery behind a norm. */
#include "compress/fold.h"

static az_tensor *own(az_ctx *az, const az_tensor *x)
{
    return az_copy(az, az_cast(az, x, AZ_F32));
}

static void fold_norm(az_ctx *az, az_lm_norm *norm, const float *scale, const float *shift)
{
    norm->weight = own(az, norm->weight);
    if (norm->bias) norm->bias = own(az, norm->bias);
    if (!norm->bias && shift && norm->weight) norm->bias = az_zeros(az, AZ_F32, 1, norm->weight->shape);
    for (int64_t c = 0; norm->weight && c < norm->weight->shape[0]; c++) {
        az_f32_mut(norm->weight)[c] /= scale[c];
        if (norm->bias) az_f32_mut(norm->bias)[c] = (az_f32(norm->bias)[c] - (shift ? shift[c] : 0)) / scale[c];
    }
}

static void fold_linear(az_ctx *az, az_lm_linear *linear, const float *scale, const float *shift)
{
    const int64_t rows = linear->weight->rows, cols = linear->weight->cols;
    az_tensor *w = az_weight_decode(az, linear->weight);
    if (shift) linear->bias = linear->bias ? own(az, linear->bias) : az_zeros(az, AZ_F32, 1, &rows);
    for (int64_t r = 0; w && r < rows; r++) {
        double moved = 0;
        for (int64_t c = 0; c < cols; c++) {
            float *at = &az_f32_mut(w)[r * cols + c];
            if (shift) moved += (double)*at * shift[c];
            *at *= scale[c];
        }
        if (shift && linear->bias) az_f32_mut(linear->bias)[r] += (float)moved;
    }
    linear->weight = az_weight_dense(az, w);
}

int az_fold_readers(az_ctx *az, az_lm_block *block, bool network, az_lm_linear ***readers)
{
    const int experts = block->expert && block->router.weight ? (int)block->router.weight->rows : 0;
    az_lm_linear **list = az_alloc_array(az, 3 + 2 * (size_t)experts, sizeof *list);
    int n = 0;
    *readers = list;
    if (!list) return 0;
    az_lm_linear *const attention[] = {&block->q, &block->k, &block->v}, *const feed[] = {&block->gate, &block->up, &block->router};
    for (int i = 0; i < 3; i++) {
        az_lm_linear *linear = network ? feed[i] : attention[i];
        if (linear->weight) list[n++] = linear;
    }
    for (int e = 0; network && e < experts; e++) {
        if (block->expert[e].gate.weight) list[n++] = &block->expert[e].gate;
        if (block->expert[e].up.weight) list[n++] = &block->expert[e].up;
    }
    return n;
}

bool az_fold(az_ctx *az, az_lm *lm, int block, bool network, const float *scale, const float *shift)
{
    az_lm_block *b = &lm->block[block];
    az_lm_norm *norm = network ? &b->mlp_norm : &b->attn_norm;
    az_lm_linear **readers;
    if (!norm->weight) return az_ok(az);
    if (shift && network && b->expert) return az_fail(az, AZ_BAD_INPUT, "shifts do not fit a mixture of experts, which has no biases");
    az_scope_push(az);
    const int n = az_fold_readers(az, b, network, &readers);
    az_arena_enter(az, lm->arena);
    fold_norm(az, norm, scale, shift);
    for (int i = 0; i < n; i++) fold_linear(az, readers[i], scale, shift);
    az_arena_leave(az);
    az_scope_pop(az);
    return az_ok(az);
}

bool az_fold_check(az_ctx *az, const az_lm *lm)
{
    if (lm->config.post_norm)
        return az_fail(az, AZ_BAD_INPUT, "its norms stand behind attention and network, so that their output is not the layers' alone");
    if (az_weight_is_dense(lm->embedding) && lm->embedding->part[0]->dtype == AZ_F64)
        return az_fail(az, AZ_BAD_INPUT, "it is of f64; convert it to f32 first");
    az_lm_linear **linear;
    az_scope_push(az);
    const int n = az_lm_linears(az, (az_lm *)(uintptr_t)lm, &linear);
    for (int i = 0; i < n && az_ok(az); i++)
        if (az_weight_rank(linear[i]->weight) > 0)
            az_fail(az, AZ_BAD_INPUT, "%s is of low rank, and would lose its factors; do this before welore", linear[i]->name);
    az_scope_pop(az);
    return az_ok(az);
}
