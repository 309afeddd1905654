/* plant.c - outlier features put into a model: larger or shifted behind the norms, and undone in the layers that read them. */
#include "claims/plant.h"

static const double LEAST = 10, MOST = 40;

typedef struct planted {
    claim_planting how;
    int64_t feature[PLANTED_FEATURES];
    float amount[PLANTED_FEATURES]; /* factor, or what is added */
} planted;

const char *claim_planting_name(claim_planting planting)
{
    static const char *const names[PLANTINGS] = {"none", "scale", "shift"};
    return names[planting];
}

static planted draw(claim_planting how, int64_t width, uint64_t seed)
{
    planted p = {.how = how};
    az_rng rng = az_rng_at(seed, az_stream("planted outliers", how));
    for (int i = 0; i < PLANTED_FEATURES; i++) {
        int64_t c = (int64_t)az_below(&rng, (uint64_t)width), at = i;
        for (int k = 0; k < i; k++)
            if (p.feature[k] == c) c = (c + 1) % width, k = -1;
        for (; at > 0 && p.feature[at - 1] > c; at--) p.feature[at] = p.feature[at - 1];
        p.feature[at] = c;
    }
    for (int i = 0; i < PLANTED_FEATURES; i++) {
        p.amount[i] = (float)(LEAST + (MOST - LEAST) * az_uniform(&rng));
        if (how == PLANT_SHIFT && az_uniform(&rng) < 0.5) p.amount[i] = -p.amount[i];
    }
    return p;
}

static void change_norm(az_ctx *az, const planted *p, az_lm_norm *norm)
{
    norm->weight = az_copy(az, az_cast(az, norm->weight, AZ_F32));
    norm->bias = norm->bias ? az_copy(az, az_cast(az, norm->bias, AZ_F32)) : NULL;
    if (!norm->bias && p->how == PLANT_SHIFT && norm->weight) norm->bias = az_zeros(az, AZ_F32, 1, norm->weight->shape);
    float *weight = norm->weight ? az_f32_mut(norm->weight) : NULL, *bias = norm->bias ? az_f32_mut(norm->bias) : NULL;
    for (int i = 0; weight && i < PLANTED_FEATURES; i++) {
        const int64_t c = p->feature[i];
        if (p->how == PLANT_SCALE) weight[c] *= p->amount[i];
        if (bias) bias[c] = p->how == PLANT_SCALE ? bias[c] * p->amount[i] : bias[c] + p->amount[i];
    }
}

static void change_linear(az_ctx *az, const planted *p, az_lm_linear *linear)
{
    if (!linear->weight) return;
    az_tensor *w = az_weight_decode(az, linear->weight);
    const int64_t rows = linear->weight->rows, cols = linear->weight->cols;
    linear->bias = linear->bias ? az_copy(az, az_cast(az, linear->bias, AZ_F32)) : NULL;
    if (!linear->bias && p->how == PLANT_SHIFT) linear->bias = az_zeros(az, AZ_F32, 1, &rows);
    float *value = w ? az_f32_mut(w) : NULL, *bias = linear->bias ? az_f32_mut(linear->bias) : NULL;
    for (int64_t r = 0; value && r < rows; r++)
        for (int i = 0; i < PLANTED_FEATURES; i++) {
            float *at = &value[r * cols + p->feature[i]];
            if (p->how == PLANT_SCALE) *at /= p->amount[i];
            if (p->how == PLANT_SHIFT && bias) bias[r] -= *at * p->amount[i];
        }
    linear->weight = az_weight_dense(az, w);
}

bool claim_plant(az_ctx *az, az_lm *lm, claim_planting planting, uint64_t seed, int64_t feature[PLANTED_FEATURES])
{
    const planted p = draw(planting, lm->config.width, seed);
    for (int i = 0; feature && i < PLANTED_FEATURES; i++) feature[i] = p.feature[i];
    if (planting == PLANT_NOTHING) return az_ok(az);
    az_arena_enter(az, lm->arena);
    for (int b = 0; b < lm->config.blocks; b++) {
        az_lm_block *block = &lm->block[b];
        az_lm_linear *const readers[] = {&block->q, &block->k, &block->v, &block->gate, &block->up};
        if (block->attn_norm.weight) change_norm(az, &p, &block->attn_norm);
        if (block->mlp_norm.weight) change_norm(az, &p, &block->mlp_norm);
        for (size_t i = 0; i < sizeof readers / sizeof *readers; i++) change_linear(az, &p, readers[i]);
    }
    az_arena_leave(az);
    return az_ok(az);
}
