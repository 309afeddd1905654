/* The block-by-block drive: statistics against hooks on the whole model, in a model that changes on the way. */
#include "support/tiny_lm.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SEQUENCES = 9, LENGTH = 20 };

static az_lm_sequences sequences_of(az_ctx *az)
{
    return (az_lm_sequences){.count = SEQUENCES, .length = LENGTH, .token = tiny_tokens(az, SEQUENCES * LENGTH, 40, 8)};
}

/* What the whole model, as it is now, has at a site. */
typedef struct az_seen {
    const char *site;
    double sum[64], square[64], sum_square[64], gram[64][64];
    int64_t sequences, tokens, in;
} az_seen;

static az_tensor *add_up(az_ctx *az, const char *site, az_tensor *x, void *user)
{
    (void)az, (void)site;
    az_seen *seen = user;
    double own[64] = {0}; /* x is of one sequence */
    seen->in = x->shape[1];
    seen->sequences++;
    for (int64_t r = 0; r < x->shape[0]; r++, seen->tokens++) {
        for (int64_t i = 0; i < seen->in; i++) {
            const double value = az_item(x, r * seen->in + i);
            seen->sum[i] += value;
            own[i] += value;
            seen->square[i] += value * value;
            for (int64_t j = 0; j < seen->in; j++) seen->gram[i][j] += value * az_item(x, r * seen->in + j);
        }
    }
    for (int64_t i = 0; i < seen->in; i++) seen->sum_square[i] += own[i] * own[i];
    return x;
}

static void look(az_ctx *az, const az_lm *lm, const az_lm_sequences *all, const char *site, az_seen *seen)
{
    memset(seen, 0, sizeof *seen);
    const az_lm_hook hook = {.site = site, .see = add_up, .user = seen};
    for (int s = 0; s < SEQUENCES; s++) {
        const az_lm_batch batch = {.sequences = 1, .token = all->token + s * LENGTH, .start = (int64_t[]){0, LENGTH}};
        az_lm_forward(az, lm, &batch, &(az_lm_run){.hooks = &hook, .n_hooks = 1});
    }
}

typedef struct az_check {
    az_lm *lm;
    const az_lm_sequences *all;
    int visits;
    bool gram;
} az_check;

static bool is_last(const az_lm *lm, const az_lm_linear *linear)
{
    const az_lm_block *block = &lm->block[linear->block];
    return linear == (block->expert ? &block->expert[lm->config.experts - 1].down : &block->down);
}

static void halve(az_ctx *az, az_lm *lm, int block)
{
    az_lm_linear **linear;
    const int n = az_lm_linears(az, lm, &linear);
    az_arena_enter(az, lm->arena);
    for (int i = 0; i < n; i++)
        if (linear[i]->block == block) linear[i]->weight = az_weight_dense(az, az_affine(az, linear[i]->weight->part[0], 0.5, 0));
    az_arena_leave(az);
}

/* Compares with the model before the visits of this block, whose layers are halved only when the block's last layer is visited. */
static bool compare_then_halve(az_ctx *az, az_lm_linear *linear, const az_lm_statistics *s, void *user)
{
    az_check *check = user;
    static az_seen seen;
    check->visits++;
    look(az, check->lm, check->all, az_format_text(az, "%s.in", linear->name), &seen);
    cr_assert_eq(s->tokens, seen.tokens);
    cr_assert_eq(s->sequences, seen.sequences);
    cr_assert_eq(linear->weight->cols, seen.in);
    for (int64_t i = 0; i < seen.in; i++) {
        cr_assert_float_eq(s->sum[i], seen.sum[i], 1e-3, "%s", linear->name);
        cr_assert_float_eq(s->square[i], seen.square[i], 1e-4 * (1 + seen.square[i]), "%s", linear->name);
        cr_assert_float_eq(s->sum_square[i], seen.sum_square[i], 1e-4 * (1 + seen.sum_square[i]), "%s", linear->name);
        for (int64_t j = 0; check->gram && j < seen.in; j++)
            cr_assert_float_eq(az_item(s->gram, i * seen.in + j), seen.gram[i][j], 1e-3, "%s", linear->name);
    }
    if (!check->gram) cr_assert_null(s->gram);
    if (is_last(check->lm, linear)) halve(az, check->lm, linear->block);
    return true;
}

Test(calibrate, every_layer_gets_the_statistics_of_what_it_reads_in_the_model_as_changed_so_far)
{
    for (int gram = 0; gram < 2; gram++) {
        az_ctx *az = az_open(NULL);
        const az_lm_sequences all = sequences_of(az);
        az_check check = {.lm = tiny_llama(az, 2), .all = &all, .gram = gram};
        cr_assert(az_lm_calibrate(az, check.lm, &all, gram ? AZ_CALIBRATE_GRAM : 0,
                                  &(az_lm_visitor){.layer = compare_then_halve, .user = &check}),
                  "%s", az_error(az));
        cr_assert_eq(check.visits, 14);
        az_close(az);
    }
}

/* ---- whole blocks ---- */

typedef struct az_block_check {
    az_check layers;
    int blocks;
} az_block_check;

static bool compare_only(az_ctx *az, az_lm_linear *linear, const az_lm_statistics *s, void *user)
{
    const az_block_check *check = user;
    static az_seen seen;
    look(az, check->layers.lm, check->layers.all, az_format_text(az, "%s.in", linear->name), &seen);
    for (int64_t i = 0; i < seen.in; i++) cr_assert_float_eq(s->sum[i], seen.sum[i], 1e-3, "%s", linear->name);
    return true;
}

static bool halve_block(az_ctx *az, const az_lm_block_inputs *inputs, void *user)
{
    az_block_check *check = user;
    static az_seen seen;
    const char *site = inputs->block == 0 ? "embed" : az_format_text(az, "blocks.%d.resid", inputs->block - 1);
    look(az, check->layers.lm, check->layers.all, site, &seen);
    cr_assert_eq(inputs->block, check->blocks++);
    cr_assert_eq(inputs->x->shape[0], seen.tokens);
    for (int64_t i = 0; i < seen.in; i++) {
        double sum = 0;
        for (int64_t t = 0; t < seen.tokens; t++) sum += az_item(inputs->x, t * seen.in + i);
        cr_assert_float_eq(sum, seen.sum[i], 1e-3);
    }
    halve(az, check->layers.lm, inputs->block);
    return true;
}

Test(calibrate, a_block_is_seen_with_its_inputs_and_what_becomes_of_it_makes_the_next_ones)
{
    az_ctx *az = az_open(NULL);
    const az_lm_sequences all = sequences_of(az);
    az_block_check check = {.layers = {.lm = tiny_llama(az, 2), .all = &all}};
    const az_lm_visitor visitor = {.layer = compare_only, .block = halve_block, .user = &check};
    cr_assert(az_lm_calibrate(az, check.layers.lm, &all, 0, &visitor), "%s", az_error(az));
    cr_assert_eq(check.blocks, 2);
    az_close(az);
}

static bool stop_at_third(az_ctx *az, az_lm_linear *linear, const az_lm_statistics *s, void *user)
{
    (void)az, (void)linear, (void)s;
    return ++*(int *)user < 3;
}

Test(calibrate, a_visit_may_end_it)
{
    az_ctx *az = az_open(NULL);
    const az_lm_sequences all = sequences_of(az);
    int visits = 0;
    cr_assert_not(az_lm_calibrate(az, tiny_llama(az, 2), &all, 0, &(az_lm_visitor){.layer = stop_at_third, .user = &visits}));
    cr_assert_eq(visits, 3);
    az_close(az);
}

Test(calibrate, activations_that_are_not_finite_name_layer_and_feature)
{
    az_ctx *az = az_open(NULL);
    const az_lm_sequences all = sequences_of(az);
    az_lm *lm = tiny_llama(az, 2);
    az_f32_mut(lm->block[1].mlp_norm.weight)[7] = INFINITY;
    int visits = -1000;
    cr_assert_not(az_lm_calibrate(az, lm, &all, 0, &(az_lm_visitor){.layer = stop_at_third, .user = &visits}));
    cr_assert(strstr(az_error(az), "blocks.1.mlp.gate") && strstr(az_error(az), "feature 7"), "%s", az_error(az));
    az_close(az);
}

/* ---- mixtures of experts ---- */

static az_lm *tiny_mixture(az_ctx *az, int experts_used)
{
    az_lm_config config = tiny_config();
    config.experts = 4;
    config.experts_used = experts_used;
    return tiny_lm(az, az_lm_arch_by_name("llama"), &config, 5);
}

Test(calibrate, experts_get_the_statistics_of_the_tokens_that_come_to_them)
{
    for (int gram = 0; gram < 2; gram++) {
        az_ctx *az = az_open(NULL);
        const az_lm_sequences all = sequences_of(az);
        az_check check = {.lm = tiny_mixture(az, 2), .all = &all, .gram = gram};
        cr_assert(az_lm_calibrate(az, check.lm, &all, gram ? AZ_CALIBRATE_GRAM : 0,
                                  &(az_lm_visitor){.layer = compare_then_halve, .user = &check}),
                  "%s", az_error(az));
        cr_assert_eq(check.visits, 2 * (4 + 4 * 3));
        az_close(az);
    }
}

/* Counts layers whose features all count alike. */
static bool count_alike(az_ctx *az, az_lm_linear *linear, const az_lm_statistics *s, void *user)
{
    (void)az;
    bool alike = s->sequences == 1 && s->tokens == 1;
    const int64_t in = linear->weight->cols;
    for (int64_t i = 0; i < in; i++) {
        alike = alike && s->sum[i] == 0 && s->square[i] == 1 && s->sum_square[i] == 0;
        for (int64_t j = 0; j < in; j++) alike = alike && az_item(s->gram, i * in + j) == (i == j);
    }
    *(int *)user += alike;
    return true;
}

/* A router of zeros sends every token to the first expert. */
Test(calibrate, inputs_of_experts_without_tokens_count_alike)
{
    az_ctx *az = az_open(NULL);
    const az_lm_sequences all = sequences_of(az);
    az_lm *lm = tiny_mixture(az, 1);
    for (int b = 0; b < 2; b++) {
        const az_tensor *router = lm->block[b].router.weight->part[0];
        memset(router->data, 0, (size_t)az_count(router) * sizeof(float));
    }
    int alike = 0;
    cr_assert(az_lm_calibrate(az, lm, &all, AZ_CALIBRATE_GRAM, &(az_lm_visitor){.layer = count_alike, .user = &alike}), "%s", az_error(az));
    cr_assert_eq(alike, 2 * 3 * 3);
    az_close(az);
}
