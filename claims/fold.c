/* fold.c - the surgery behind a norm, and the scales that SmoothQuant chooses for it. */
#include "claims/fold.h"

#include <math.h>

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
    if (!linear->weight) return;
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

bool claim_fold(az_ctx *az, az_lm *lm, int block, bool network, const float *scale, const float *shift)
{
    az_lm_block *b = &lm->block[block];
    az_lm_linear *const attention[] = {&b->q, &b->k, &b->v}, *const feed[] = {&b->gate, &b->up};
    az_arena_enter(az, lm->arena);
    fold_norm(az, network ? &b->mlp_norm : &b->attn_norm, scale, shift);
    for (int i = 0; i < (network ? 2 : 3); i++) fold_linear(az, network ? feed[i] : attention[i], scale, shift);
    az_arena_leave(az);
    return az_ok(az);
}

/* ---- SmoothQuant ---- */

enum { SEQUENCES = 32 };

/* The largest magnitudes of what one layer reads. */
typedef struct largest {
    int64_t cols;
    float *most;
} largest;

static az_tensor *watch(az_ctx *az, const char *site, az_tensor *x, void *user)
{
    (void)site;
    const largest *to = user;
    const az_tensor *rows = az_contiguous(az, x);
    for (int64_t i = 0; rows && i < az_count(rows); i++) to->most[i % to->cols] = fmaxf(to->most[i % to->cols], fabsf(az_f32(rows)[i]));
    return x;
}

static float largest_weight(az_ctx *az, const az_lm_linear *linear, int64_t c)
{
    float most = 0;
    if (!linear->weight) return 0;
    az_scope_push(az);
    const az_tensor *w = az_weight_decode(az, linear->weight);
    for (int64_t r = 0; w && r < w->shape[0]; r++) most = fmaxf(most, fabsf(az_f32(w)[r * w->shape[1] + c]));
    az_scope_pop(az);
    return most;
}

static bool smooth_norm(az_ctx *az, az_lm *lm, int block, bool network, const largest *x)
{
    const az_lm_block *b = &lm->block[block];
    float *scale = az_alloc_array(az, (size_t)x->cols, sizeof *scale);
    for (int64_t c = 0; scale && c < x->cols; c++) {
        const az_lm_linear *const attention[] = {&b->q, &b->k, &b->v}, *const feed[] = {&b->gate, &b->up};
        float w = 0;
        for (int i = 0; i < (network ? 2 : 3); i++) w = fmaxf(w, largest_weight(az, network ? feed[i] : attention[i], c));
        scale[c] = x->most[c] > 0 && w > 0 ? sqrtf(x->most[c] / w) : 1;
    }
    return scale && claim_fold(az, lm, block, network, scale, NULL);
}

bool claim_smooth(az_ctx *az, az_lm *lm, const az_documents *calibration)
{
    const int blocks = (int)lm->config.blocks;
    const int64_t width = lm->config.width, length = lm->config.context < 256 ? lm->config.context : 256;
    const az_lm_sequences *text = az_lm_sample_sequences(az, lm, calibration, SEQUENCES, length, 0);
    largest *all = az_alloc_array(az, (size_t)(2 * blocks), sizeof *all);
    az_lm_hook *hooks = az_alloc_array(az, (size_t)(2 * blocks), sizeof *hooks);
    for (int i = 0; all && hooks && i < 2 * blocks; i++) {
        const az_lm_block *b = &lm->block[i / 2];
        const az_lm_linear *reader = i % 2 == 0 ? &b->q : &b->up;
        all[i] = (largest){.cols = width, .most = az_alloc_array(az, (size_t)width, sizeof(float))};
        hooks[i] = (az_lm_hook){.site = az_format_text(az, "%s.in", reader->name), .see = watch, .user = &all[i]};
    }
    const az_lm_run run = {.hooks = hooks, .n_hooks = 2 * blocks, .output = AZ_HIDDEN};
    for (int64_t s = 0; text && s < text->count && az_ok(az); s++) {
        const az_lm_batch batch = {.sequences = 1, .token = text->token + s * length, .start = (const int64_t[]){0, length}};
        az_scope_push(az);
        az_lm_forward(az, lm, &batch, &run);
        az_scope_pop(az);
    }
    for (int i = 0; i < 2 * blocks && az_ok(az); i++)
        if (!smooth_norm(az, lm, i / 2, i % 2 == 1, &all[i])) return false;
    return az_ok(az);
}
