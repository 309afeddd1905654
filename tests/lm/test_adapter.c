/* Adapters in the forward pass: against merged weights, alone and mixed in one batch, with virtual tokens, and their gradients. */
#include "support/tiny_lm.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

static const int64_t starts[4] = {0, 5, 9, 12};
enum { TOKENS = 12, SEQUENCES = 3 };

/* Every tensor of the adapter becomes normal with deviation 0.2, magnitudes and e around 1. */
static void fill(az_ctx *az, az_adapter *adapter, uint64_t seed)
{
    az_lm_parameter *p;
    const int n = az_adapter_parameters(az, adapter, &p);
    for (int i = 0; i < n; i++) {
        const az_tensor *old = *p[i].slot;
        const bool around_one = strstr(p[i].name, "magnitude") || strstr(p[i].name, "lora_e");
        az_copy_into(az, *p[i].slot,
                     az_affine(az, az_randn(az, old->dtype, old->rank, old->shape, 0.2, seed, (uint64_t)i), 1, around_one ? 1 : 0));
    }
}

static az_lm *base(az_ctx *az, bool tied)
{
    az_lm_config config = tiny_config();
    config.tied = tied;
    az_lm *lm = tiny_lm(az, az_lm_arch_by_name("llama"), &config, 3);
    cr_assert(az_lm_make_trainable(az, lm, AZ_F64), "%s", az_error(az));
    return lm;
}

/* Low rank beside every linear layer, the head and the embedding; magnitudes and biases where asked for. */
static az_adapter *everywhere(az_ctx *az, const az_lm *lm, bool dora, uint64_t seed)
{
    const az_adapter_how how = {
        .rank = 3, .alpha = 5, .dora = dora, .targets = "/.*/", .ranks = "down_proj=2,embed_tokens=4", .seed = seed};
    az_adapter *adapter = az_adapter_new(az, lm, &how);
    cr_assert_not_null(adapter, "%s", az_error(az));
    fill(az, adapter, seed);
    return adapter;
}

static az_lm_batch batch_of(az_ctx *az)
{
    return (az_lm_batch){.sequences = SEQUENCES, .token = tiny_tokens(az, TOKENS + 1, 40, 4), .start = starts};
}

static void expect_close(const az_tensor *a, const az_tensor *b, double tolerance)
{
    cr_assert(a && b && az_same_shape(a, b));
    for (int64_t i = 0; i < az_count(a); i++)
        cr_assert_float_eq(az_item(a, i), az_item(b, i), tolerance * fmax(1, fabs(az_item(b, i))), "at %lld: %g and %g", (long long)i,
                           az_item(a, i), az_item(b, i));
}

static az_tensor *logits_with(az_ctx *az, const az_lm *lm, const az_lm_batch *batch, const az_adapter *adapter)
{
    az_tensor *y = az_lm_forward(az, lm, batch, &(az_lm_run){.adapter = &adapter, .adapters = 1});
    cr_assert_not_null(y, "%s", az_error(az));
    return y;
}

Test(adapter, a_new_one_changes_no_bit)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = tiny_llama(az, 1);
    const az_lm_batch batch = batch_of(az);
    const az_adapter_how how = {.rank = 4, .alpha = 8, .targets = "all-linear"};
    const az_adapter *adapter = az_adapter_new(az, lm, &how);
    const az_tensor *plain = az_lm_forward(az, lm, &batch, NULL), *with = logits_with(az, lm, &batch, adapter);
    cr_assert_arr_eq(plain->data, with->data, (size_t)az_count(plain) * sizeof(float));
    cr_assert_eq(az_adapter_parameter_count(adapter), 2 * 4 * ((16 + 24) + 2 * (16 + 12) + (24 + 16) + 3 * (16 + 24)));
    az_close(az);
}

/* The model with the change of every layer in its matrices; with a magnitude W' = m / |V| V. */
static az_lm *merged_by_hand(az_ctx *az, az_lm *lm, const az_adapter *adapter)
{
    az_lm *out = az_lm_copy(az, lm);
    az_lm_parameter *p;
    const int n = az_lm_parameters(az, out, &p);
    for (int i = 0; i < n; i++) {
        char name[96];
        snprintf(name, sizeof name, "%s", p[i].name);
        char *dot = strrchr(name, '.');
        *dot = '\0';
        const az_adapter_layer *layer = az_adapter_find(adapter, name);
        if (!layer || strcmp(dot + 1, "weight") != 0) continue;
        az_tensor *v = az_add(az, *p[i].slot, az_adapter_delta(az, layer));
        az_tensor *norm = az_sqrt(az, az_sum(az, az_square(az, v), -1, true));
        if (layer->magnitude) v = az_mul(az, v, az_div(az, az_reshape(az, layer->magnitude, 2, (int64_t[]){-1, 1}), norm));
        az_arena_enter(az, out->arena);
        *p[i].slot = az_copy(az, v);
        az_arena_leave(az);
    }
    return out;
}

Test(adapter, acts_like_the_merged_matrices)
{
    for (int dora = 0; dora < 2; dora++) {
        az_ctx *az = az_open(NULL);
        az_lm *lm = base(az, false);
        const az_lm_batch batch = batch_of(az);
        const az_adapter *adapter = everywhere(az, lm, dora, 7);
        expect_close(logits_with(az, lm, &batch, adapter), az_lm_forward(az, merged_by_hand(az, lm, adapter), &batch, NULL), 1e-10);
        az_close(az);
    }
}

/* Rows of a tensor that belong to one sequence. */
static az_tensor *rows_of(az_ctx *az, const az_tensor *x, int s)
{
    return az_contiguous(az, az_slice(az, x, 0, starts[s], starts[s + 1] - starts[s]));
}

Test(adapter, each_request_of_a_batch_has_its_own)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = base(az, false);
    const az_lm_batch batch = batch_of(az);
    const az_adapter *const both[] = {everywhere(az, lm, false, 7), everywhere(az, lm, true, 8)};
    static const int which[SEQUENCES] = {1, -1, 0};
    for (int output = AZ_LOGITS_ALL; output <= AZ_LOGITS_LAST; output++) {
        const az_lm_run run = {.adapter = both, .adapters = 2, .adapter_of = which, .output = (az_lm_output)output};
        const az_tensor *mixed = az_lm_forward(az, lm, &batch, &run);
        cr_assert_not_null(mixed, "%s", az_error(az));
        for (int s = 0; s < SEQUENCES; s++) {
            const az_tensor *whole = which[s] < 0 ? az_lm_forward(az, lm, &batch, NULL) : logits_with(az, lm, &batch, both[which[s]]);
            const az_tensor *alone = rows_of(az, whole, s);
            if (output == AZ_LOGITS_ALL)
                expect_close(rows_of(az, mixed, s), alone, 1e-10);
            else
                expect_close(az_slice(az, mixed, 0, s, 1), az_slice(az, alone, 0, alone->shape[0] - 1, 1), 1e-10);
        }
    }
    const az_lm_run wrong = {.adapter = both, .adapters = 1, .adapter_of = which};
    cr_assert_null(az_lm_forward(az, lm, &batch, &wrong));
    az_close(az);
}

/* ---- virtual tokens ---- */

static az_adapter *virtual_adapter(az_ctx *az, const az_lm *lm, bool prefix)
{
    enum { N = 3 };
    const az_lm_config *c = &lm->config;
    az_adapter *adapter = az_adapter_empty(az, "a", prefix ? "PREFIX_TUNING" : "PROMPT_TUNING");
    adapter->virtual_tokens = N;
    az_arena_enter(az, adapter->arena);
    if (prefix)
        adapter->prefix = az_randn(az, AZ_F64, 2, (int64_t[]){N, c->blocks * 2 * c->kv_heads * c->head_dim}, 0.5, 1, 2);
    else
        adapter->prompt = az_randn(az, AZ_F64, 2, (int64_t[]){N, c->width}, 0.5, 1, 2);
    az_arena_leave(az);
    return adapter;
}

/* A prompt made of the embeddings of words acts as those words. */
Test(adapter, virtual_tokens_stand_for_their_embeddings)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = base(az, true);
    az_adapter *adapter = virtual_adapter(az, lm, false);
    const int32_t words[] = {7, 30, 2, 11, 5, 6}, behind[] = {-1, -2, -3, 11, 5, 6};
    const az_tensor *index = az_from(az, AZ_I32, 1, (int64_t[]){3}, words);
    az_copy_into(az, adapter->prompt, az_weight_gather(az, lm->embedding, index));
    const az_lm_batch as_words = {.sequences = 1, .token = words, .start = (int64_t[]){0, 6}};
    const az_lm_batch as_virtual = {.sequences = 1, .token = behind, .start = (int64_t[]){0, 6}};
    expect_close(logits_with(az, lm, &as_virtual, adapter), az_lm_forward(az, lm, &as_words, NULL), 1e-12);
    cr_assert_null(az_lm_forward(az, lm, &as_virtual, NULL), "negative tokens need an adapter");
    az_close(az);
}

/* A prefix made of the keys and values of words acts as those words, in blocks that see it; through the cache as well. */
Test(adapter, a_cache_keeps_what_virtual_tokens_are)
{
    for (int prefix = 0; prefix < 2; prefix++) {
        az_ctx *az = az_open(NULL);
        az_lm *lm = base(az, true);
        const az_adapter *adapter = virtual_adapter(az, lm, prefix);
        const int32_t token[] = {-1, -2, -3, 11, 5, 6};
        const az_lm_batch whole = {.sequences = 1, .token = token, .start = (int64_t[]){0, 6}};
        const az_tensor *expected = logits_with(az, lm, &whole, adapter);
        az_lm_cache *cache = az_lm_cache_new(az, lm, 1, 8, AZ_KV_F32);
        const az_lm_run run = {.cache = cache, .adapter = &adapter, .adapters = 1};
        const az_lm_batch first = {.sequences = 1, .token = token, .start = (int64_t[]){0, 4}};
        const az_lm_batch rest = {.sequences = 1, .token = token + 4, .start = (int64_t[]){0, 2}};
        cr_assert_not_null(az_lm_forward(az, lm, &first, &run), "%s", az_error(az));
        expect_close(az_lm_forward(az, lm, &rest, &run), az_slice(az, expected, 0, 4, 2), 1e-10);
        az_close(az);
    }
}

/* ---- gradients ---- */

static double loss_with(az_ctx *az, const az_lm_objective *objective)
{
    az_scope_push(az);
    const double loss = az_to_double(az_lm_loss(az, objective->lm, &objective->lesson, &objective->run)) * objective->scale;
    az_scope_pop(az);
    return loss;
}

/* Each parameter but those in `frozen` moves along a random direction; central differences follow the loss. */
static void expect_gradient(az_ctx *az, az_lm *lm, az_adapter *adapter, az_lm_lesson lesson, const char *const *frozen)
{
    const az_lm_objective objective = {
        .lm = lm, .lesson = lesson, .scale = 0.1, .run = {.adapter = (const az_adapter *const *)&adapter, .adapters = 1, .dropout = 77}};
    az_lm_parameter *p;
    const int n = az_adapter_parameters(az, adapter, &p);
    az_tensor **gradient = az_alloc_array(az, (size_t)n, sizeof *gradient), **again = az_alloc_array(az, (size_t)n, sizeof *again);
    cr_assert(az_lm_gradient(az, &objective, p, n, gradient, NULL), "%s", az_error(az));
    az_lm_objective twice = objective;
    twice.run.checkpoint = true;
    cr_assert(az_lm_gradient(az, &twice, p, n, again, NULL), "%s", az_error(az));
    for (int i = 0; i < n; i++) {
        expect_close(again[i], gradient[i], 1e-12);
        az_tensor *x = *p[i].slot;
        bool skip = false;
        for (const char *const *f = frozen; f && *f; f++) skip = skip || strstr(p[i].name, *f);
        if (skip) continue;
        const az_tensor *direction = az_randn(az, AZ_F64, x->rank, x->shape, 1, 9, (uint64_t)i);
        const double analytic = az_to_double(az_dot(az, gradient[i], direction)), h = 1e-5;
        az_add_into(az, x, direction, h);
        const double above = loss_with(az, &objective);
        az_add_into(az, x, direction, -2 * h);
        const double below = loss_with(az, &objective), numeric = (above - below) / (2 * h);
        az_add_into(az, x, direction, h);
        cr_assert_float_eq(analytic, numeric, 1e-6 * fmax(1, fabs(numeric)), "%s: %.12g instead of %.12g", p[i].name, analytic, numeric);
    }
}

static az_lm_lesson lesson_of(const az_lm_batch *batch)
{
    return (az_lm_lesson){.batch = *batch, .target = batch->token + 1};
}

Test(adapter, gradients_agree_with_finite_differences)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = base(az, false);
    const az_lm_batch batch = batch_of(az);
    az_adapter *adapter = everywhere(az, lm, false, 7);
    adapter->dropout = 0.3;
    az_adapter_layer *up = az_adapter_find(adapter, "blocks.1.mlp.up"), *o = az_adapter_find(adapter, "blocks.0.attn.o");
    az_arena_enter(az, adapter->arena);
    up->e = az_randn(az, AZ_F64, 1, &up->rank, 1, 5, 6);
    up->bias = az_randn(az, AZ_F64, 1, &up->out, 1, 5, 7);
    o->b_bias = az_randn(az, AZ_F64, 1, &o->out, 1, 5, 8);
    o->weight = az_weight_dense(az, az_randn(az, AZ_F64, 2, (int64_t[]){o->out, o->in}, 0.3, 5, 9));
    az_arena_leave(az);
    expect_gradient(az, lm, adapter, lesson_of(&batch), NULL);
    az_close(az);
}

/* A model whose norms have biases, which the adapter has its own of. */
static az_lm *biased(az_ctx *az, az_adapter **adapter)
{
    az_lm_config config = tiny_config();
    config.kv_heads = config.heads;
    config.head_dim = 4;
    az_lm *lm = az_lm_new(az, "gpt2", &config, NULL, 1);
    cr_assert(az_lm_make_trainable(az, lm, AZ_F64), "%s", az_error(az));
    *adapter = az_adapter_new(az, lm, &(az_adapter_how){.rank = 2, .alpha = 3, .targets = "attn.o", .bias = AZ_BIAS_ALL});
    cr_assert_not_null(*adapter, "%s", az_error(az));
    fill(az, *adapter, 3);
    return lm;
}

Test(adapter, biases_of_norms_are_those_of_each_request)
{
    az_ctx *az = az_open(NULL);
    az_adapter *mine;
    const az_lm *lm = biased(az, &mine);
    const az_lm_batch batch = batch_of(az);
    int *which = az_alloc_array(az, SEQUENCES, sizeof *which);
    for (int s = 0; s < SEQUENCES; s++) which[s] = s % 2 ? 0 : -1;
    const az_adapter *list = mine;
    const az_lm_run run = {.adapter = &list, .adapters = 1, .adapter_of = which};
    const az_tensor *mixed = az_lm_forward(az, lm, &batch, &run), *with = logits_with(az, lm, &batch, mine),
                    *without = az_lm_forward(az, lm, &batch, NULL);
    cr_assert_not_null(mixed, "%s", az_error(az));
    for (int s = 0; s < SEQUENCES; s++) expect_close(rows_of(az, mixed, s), rows_of(az, s % 2 ? with : without, s), 1e-10);
    az_close(az);
}

Test(adapter, gradients_of_biases_of_norms_agree_with_finite_differences)
{
    az_ctx *az = az_open(NULL);
    az_adapter *mine;
    az_lm *lm = biased(az, &mine);
    const az_lm_batch batch = batch_of(az);
    expect_gradient(az, lm, mine, lesson_of(&batch), NULL);
    az_close(az);
}

/* The norm of V counts as a constant, so only the magnitudes follow the loss. */
Test(adapter, gradients_of_magnitudes_agree_with_finite_differences)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = base(az, false);
    const az_lm_batch batch = batch_of(az);
    static const char *const frozen[] = {"lora_", NULL};
    for (int dropout = 0; dropout < 2; dropout++) {
        az_adapter *adapter = everywhere(az, lm, true, 7);
        adapter->dropout = 0.4 * dropout;
        expect_gradient(az, lm, adapter, lesson_of(&batch), frozen);
    }
    az_close(az);
}

Test(adapter, gradients_of_virtual_tokens_agree_with_finite_differences)
{
    static const int32_t token[] = {-1, -2, -3, 11, 5, 6, -1, -2, -3, 8}, target[] = {-1, -1, 11, 5, 6, 1, -1, -1, 8, 4};
    const az_lm_batch batch = {.sequences = 2, .token = token, .start = (int64_t[]){0, 6, 10}};
    for (int prefix = 0; prefix < 2; prefix++) {
        az_ctx *az = az_open(NULL);
        az_lm *lm = base(az, true);
        expect_gradient(az, lm, virtual_adapter(az, lm, prefix), (az_lm_lesson){.batch = batch, .target = target}, NULL);
        az_close(az);
    }
}
