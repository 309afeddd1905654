/* The forward pass against its definition in plain double precision, and against itself: cached, chunked, batched, hooked. */
#include "support/tiny_lm.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS = 23 };

static az_lm_batch one(const int32_t *token, const int64_t start[2])
{
    return (az_lm_batch){.sequences = 1, .token = token, .start = start};
}

static az_tensor *logits_of(az_ctx *az, const az_lm *lm, const int32_t *token, int64_t n)
{
    const az_lm_batch batch = one(token, (int64_t[]){0, n});
    return az_lm_forward(az, lm, &batch, NULL);
}

static void assert_close(const az_tensor *a, const az_tensor *b, double tolerance)
{
    cr_assert(a && b && az_same_shape(a, b));
    for (int64_t i = 0; i < az_count(a); i++) cr_assert_float_eq(az_item(a, i), az_item(b, i), tolerance, "at %lld", (long long)i);
}

/* ---- every value of the architecture table ---- */

typedef struct az_variant {
    const char *what;
    az_norm_kind norm;
    az_mlp_kind mlp;
    az_position_kind position;
    bool parallel, biased;
    double scale_power;
    int64_t offset, window, rope_dims;
    bool untied;
} az_variant;

static const az_variant variants[] = {
    {.what = "llama", .mlp = AZ_MLP_SWIGLU, .position = AZ_POSITION_ROPE_PAIRS},
    {.what = "untied head", .untied = true},
    {.what = "halves, biases", .position = AZ_POSITION_ROPE_HALVES, .biased = true},
    {.what = "some dimensions turn", .position = AZ_POSITION_ROPE_HALVES, .rope_dims = 4},
    {.what = "some pairs turn", .rope_dims = 2},
    {.what = "sliding window", .window = 5},
    {.what = "scaled embedding", .mlp = AZ_MLP_GEGLU, .scale_power = 0.5},
    {.what = "learned positions", .norm = AZ_NORM_LAYER, .mlp = AZ_MLP_GELU_TANH, .position = AZ_POSITION_LEARNED, .biased = true},
    {.what = "positions with offset", .norm = AZ_NORM_LAYER, .mlp = AZ_MLP_RELU, .position = AZ_POSITION_LEARNED, .offset = 2},
    {.what = "parallel", .norm = AZ_NORM_LAYER, .mlp = AZ_MLP_GELU, .position = AZ_POSITION_ROPE_HALVES, .parallel = true, .biased = true},
    {.what = "alibi", .norm = AZ_NORM_LAYER, .mlp = AZ_MLP_GELU_TANH, .position = AZ_POSITION_ALIBI, .biased = true},
};
enum { VARIANTS = sizeof variants / sizeof *variants };

/* A row of the table that has what the variant says; in the current scope. */
static az_lm_arch *variant_arch(az_ctx *az, const az_variant *v)
{
    const az_lm_part_names *llama = az_lm_arch_by_name("llama")->parts;
    az_lm_part_names *parts = az_alloc_array(az, AZ_PARTS + 1, sizeof *parts);
    az_lm_arch *arch = az_alloc(az, sizeof *arch);
    int n = 0;
    if (v->position == AZ_POSITION_LEARNED)
        parts[n++] = (az_lm_part_names){AZ_PART_POSITION, AZ_REQUIRED, AZ_ABSENT, "position_embd", "wpe"};
    for (; llama->gguf; llama++) {
        if (llama->part == AZ_PART_GATE && v->mlp != AZ_MLP_SWIGLU && v->mlp != AZ_MLP_GEGLU) continue;
        parts[n] = *llama;
        const bool is_norm = llama->part == AZ_PART_ATTN_NORM || llama->part == AZ_PART_MLP_NORM || llama->part == AZ_PART_FINAL_NORM;
        if (v->biased && llama->part != AZ_PART_EMBEDDING && llama->part != AZ_PART_HEAD) parts[n].bias = AZ_REQUIRED;
        if (v->norm == AZ_NORM_LAYER && is_norm) parts[n].bias = v->biased ? AZ_REQUIRED : AZ_ABSENT;
        n++;
    }
    *arch = (az_lm_arch){.name = "variant",
                         .norm = v->norm,
                         .mlp = v->mlp,
                         .position = v->position,
                         .parallel = v->parallel,
                         .embedding_scale_power = v->scale_power,
                         .position_offset = v->offset,
                         .norm_eps = 1e-5,
                         .rope_theta = 100,
                         .parts = parts};
    return arch;
}

static az_lm *variant_model(az_ctx *az, const az_variant *v)
{
    az_lm_config config = tiny_config();
    config.window = v->window;
    config.rope_dims = v->rope_dims;
    config.tied = !v->untied;
    if (v->norm == AZ_NORM_RMS && v->biased) { /* RMS norms have no bias; the linear layers do */
        az_lm_arch *arch = variant_arch(az, v);
        for (az_lm_part_names *p = (az_lm_part_names *)arch->parts; p->gguf; p++)
            if (p->part == AZ_PART_ATTN_NORM || p->part == AZ_PART_MLP_NORM || p->part == AZ_PART_FINAL_NORM) p->bias = AZ_ABSENT;
        return tiny_lm(az, arch, &config, 5);
    }
    return tiny_lm(az, variant_arch(az, v), &config, 5);
}

Test(forward, every_kind_of_architecture_equals_its_definition)
{
    for (int i = 0; i < VARIANTS; i++) {
        az_ctx *az = az_open(NULL);
        az_lm *lm = variant_model(az, &variants[i]);
        cr_assert_not_null(lm, "%s: %s", variants[i].what, az_error(az));
        const int32_t *token = tiny_tokens(az, TOKENS, 40, 6);
        double *plain = plain_logits(lm, token, TOKENS);
        const double f32 = distance_to_numbers(logits_of(az, lm, token, TOKENS), plain, TOKENS * 40);
        cr_assert_lt(f32, 1e-4, "%s in f32: %g (%s)", variants[i].what, f32, az_error(az));
        az_lm_make_trainable(az, lm, AZ_F64);
        const az_tensor *wide = logits_of(az, lm, token, TOKENS);
        cr_assert(wide && wide->dtype == AZ_F64, "%s", az_error(az));
        const double f64 = distance_to_numbers(wide, plain, TOKENS * 40);
        cr_assert_lt(f64, 1e-6, "%s in f64: %g", variants[i].what, f64); /* the frequencies are f32 */
        free(plain);
        az_close(az);
    }
}

/* ---- the cache ---- */

/* Feeds the tokens in the given chunks and compares each chunk's logits with those of the whole. */
static void assert_chunks_equal_whole(const az_variant *v, const int64_t *chunk, int chunks)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = variant_model(az, v);
    const int32_t *token = tiny_tokens(az, TOKENS, 40, 6);
    az_tensor *whole = logits_of(az, lm, token, TOKENS);
    az_lm_cache *cache = az_lm_cache_new(az, lm, 1, TOKENS, AZ_KV_F32);
    int64_t at = 0;
    for (int i = 0; i < chunks; at += chunk[i++]) {
        const az_lm_batch batch = one(token + at, (int64_t[]){0, chunk[i]});
        az_tensor *part = az_lm_forward(az, lm, &batch, &(az_lm_run){.cache = cache});
        assert_close(part, az_slice(az, whole, 0, at, chunk[i]), 2e-5);
    }
    cr_assert_eq(at, TOKENS);
    cr_assert_eq(az_lm_cache_length(cache, 0), TOKENS);
    az_close(az);
}

Test(forward, chunks_through_the_cache_equal_the_whole)
{
    int64_t singles[TOKENS];
    for (int i = 0; i < TOKENS; i++) singles[i] = 1;
    for (int i = 0; i < VARIANTS; i++) {
        assert_chunks_equal_whole(&variants[i], singles, TOKENS);
        assert_chunks_equal_whole(&variants[i], (int64_t[]){16, 1, 1, 5}, 4);
    }
}

Test(forward, a_trimmed_and_a_forked_cache_go_on_from_where_they_are)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = tiny_llama(az, 1);
    const int32_t *token = tiny_tokens(az, TOKENS, 40, 6);
    az_tensor *whole = logits_of(az, lm, token, TOKENS);
    az_lm_cache *cache = az_lm_cache_new(az, lm, 3, TOKENS, AZ_KV_F32);
    const int32_t other[4] = {1, 2, 3, 4};
    const int64_t start[4] = {0, 0, 0, TOKENS};
    const az_lm_batch first = {.sequences = 3, .token = token, .start = start};
    az_lm_forward(az, lm, &first, &(az_lm_run){.cache = cache});
    az_lm_cache_trim(cache, 2, 15);
    az_lm_cache_fork(az, cache, 2, 0);
    cr_assert_eq(az_lm_cache_length(cache, 0), 15);
    /* sequence 0 goes on as before, sequence 2 elsewhere: they must not disturb each other */
    int32_t both[12];
    memcpy(both, token + 15, 8 * sizeof *both);
    memcpy(both + 8, other, sizeof other);
    const az_lm_batch second = {.sequences = 3, .token = both, .start = (int64_t[]){0, 8, 8, 12}};
    az_tensor *part = az_lm_forward(az, lm, &second, &(az_lm_run){.cache = cache});
    assert_close(az_slice(az, part, 0, 0, 8), az_slice(az, whole, 0, 15, 8), 2e-5);
    cr_assert_eq(az_lm_cache_length(cache, 1), 0);
    cr_assert_eq(az_lm_cache_length(cache, 2), 19);
    cr_assert_eq(az_lm_cache_bytes(cache), 2 * (2 * 2 * AZ_KV_PAGE * 12 * sizeof(float))); /* two pages */
    az_close(az);
}

/* Sequences at different positions, each with one new token, decode in one pass as each would by itself. */
Test(forward, sequences_at_different_positions_decode_together)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = tiny_llama(az, 1);
    const int32_t *token = tiny_tokens(az, TOKENS, 40, 6);
    az_tensor *whole = logits_of(az, lm, token, TOKENS);
    az_lm_cache *cache = az_lm_cache_new(az, lm, 3, TOKENS, AZ_KV_F32);
    const int64_t before[3] = {3, 7, 12};
    int32_t prompts[22];
    for (int s = 0, at = 0; s < 3; at += (int)before[s++]) memcpy(prompts + at, token, (size_t)before[s] * sizeof *prompts);
    const az_lm_batch prefill = {.sequences = 3, .token = prompts, .start = (int64_t[]){0, 3, 10, 22}};
    az_lm_forward(az, lm, &prefill, &(az_lm_run){.cache = cache});
    for (int step = 0; step < 4; step++) {
        const int32_t next[3] = {token[before[0] + step], token[before[1] + step], token[before[2] + step]};
        const az_lm_batch batch = {.sequences = 3, .token = next, .start = (int64_t[]){0, 1, 2, 3}};
        az_tensor *logits = az_lm_forward(az, lm, &batch, &(az_lm_run){.cache = cache, .output = AZ_LOGITS_LAST});
        for (int s = 0; s < 3; s++) assert_close(az_slice(az, logits, 0, s, 1), az_slice(az, whole, 0, before[s] + step, 1), 2e-5);
    }
    cr_assert(az_ok(az), "%s", az_error(az));
    az_close(az);
}

Test(forward, what_does_not_fit_is_an_error_that_says_why)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = tiny_llama(az, 1);
    const int32_t *token = tiny_tokens(az, 65, 40, 6);
    cr_assert_null(logits_of(az, lm, token, 65));
    cr_assert(strstr(az_error(az), "context"), "%s", az_error(az));
    az_clear(az);
    az_lm_cache *cache = az_lm_cache_new(az, lm, 1, 10, AZ_KV_F32);
    const az_lm_batch batch = one(token, (int64_t[]){0, 11});
    cr_assert_null(az_lm_forward(az, lm, &batch, &(az_lm_run){.cache = cache}));
    cr_assert(strstr(az_error(az), "cache"), "%s", az_error(az));
    cr_assert_eq(az_lm_cache_length(cache, 0), 0);
    az_clear(az);
    cr_assert_null(logits_of(az, lm, (int32_t[]){3, 40}, 2));
    cr_assert(strstr(az_error(az), "vocabulary"), "%s", az_error(az));
    az_clear(az);
    cr_assert_null(logits_of(az, lm, (int32_t[]){-1}, 1));
    az_clear(az);
    cr_assert_null(logits_of(az, lm, token, 0));
    cr_assert_not(az_ok(az));
    az_close(az);
}

/* ---- batches and outputs ---- */

Test(forward, sequences_of_a_batch_do_not_see_each_other)
{
    const int64_t start[5] = {0, 7, 8, 20, TOKENS};
    for (int i = 0; i < VARIANTS; i++) {
        az_ctx *az = az_open(NULL);
        az_lm *lm = variant_model(az, &variants[i]);
        const int32_t *token = tiny_tokens(az, TOKENS, 40, 6);
        const az_lm_batch batch = {.sequences = 4, .token = token, .start = start};
        az_tensor *all = az_lm_forward(az, lm, &batch, NULL);
        az_tensor *last = az_lm_forward(az, lm, &batch, &(az_lm_run){.output = AZ_LOGITS_LAST});
        cr_assert(last && last->shape[0] == 4);
        for (int s = 0; s < 4; s++) {
            const int64_t n = start[s + 1] - start[s];
            az_tensor *alone = logits_of(az, lm, token + start[s], n);
            assert_close(az_slice(az, all, 0, start[s], n), alone, 2e-5);
            assert_close(az_slice(az, last, 0, s, 1), az_slice(az, alone, 0, n - 1, 1), 2e-5);
        }
        az_close(az);
    }
}

Test(forward, the_head_on_hidden_states_gives_the_logits)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = tiny_llama(az, 1);
    const int32_t *token = tiny_tokens(az, TOKENS, 40, 6);
    const az_lm_batch batch = one(token, (int64_t[]){0, TOKENS});
    az_tensor *hidden = az_lm_forward(az, lm, &batch, &(az_lm_run){.output = AZ_HIDDEN});
    cr_assert(hidden && hidden->shape[1] == 16);
    assert_close(az_lm_head_logits(az, lm, NULL, hidden), az_lm_forward(az, lm, &batch, NULL), 1e-6);
    az_close(az);
}

Test(forward, its_pieces_put_together_are_the_whole)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = tiny_llama(az, 1);
    const int32_t *token = tiny_tokens(az, TOKENS, 40, 6);
    const az_lm_batch batch = one(token, (int64_t[]){0, TOKENS});
    az_tensor *x = az_lm_embed(az, lm, &batch, NULL);
    for (int b = 0; b < 2; b++) x = az_lm_block_forward(az, lm, b, x, &batch, NULL);
    assert_close(az_lm_head_forward(az, lm, x, &batch, NULL), az_lm_forward(az, lm, &batch, NULL), 0);
    cr_assert_null(az_lm_block_forward(az, lm, 2, x, &batch, NULL));
    az_close(az);
}

Test(forward, one_and_two_threads_give_the_same_bits)
{
    az_tensor *result[2];
    az_ctx *context[2];
    for (int t = 0; t < 2; t++) {
        context[t] = az_open(&(az_settings){.threads = t + 1});
        az_lm *lm = tiny_llama(context[t], 1);
        result[t] = logits_of(context[t], lm, tiny_tokens(context[t], TOKENS, 40, 6), TOKENS);
        cr_assert_not_null(result[t]);
    }
    cr_assert_arr_eq(result[0]->data, result[1]->data, TOKENS * 40 * sizeof(float));
    az_close(context[0]);
    az_close(context[1]);
}

/* ---- hooks ---- */

typedef struct az_visits {
    int n;
    char name[64][48];
} az_visits;

static az_tensor *note_site(az_ctx *az, const char *site, az_tensor *x, void *user)
{
    (void)az;
    az_visits *visits = user;
    if (visits->n < 64) snprintf(visits->name[visits->n++], sizeof visits->name[0], "%s", site);
    return x;
}

Test(hooks, every_documented_site_is_passed_in_order)
{
    static const char *const in_block[] = {"attn.q.in",  "attn.q.out",  "attn.k.in",    "attn.k.out",  "attn.v.in",    "attn.v.out",
                                           "attn.o.in",  "attn.o.out",  "resid_mid",    "mlp.gate.in", "mlp.gate.out", "mlp.up.in",
                                           "mlp.up.out", "mlp.down.in", "mlp.down.out", "resid"};
    enum { IN_BLOCK = sizeof in_block / sizeof *in_block };
    az_ctx *az = az_open(NULL);
    az_lm *lm = tiny_llama(az, 1);
    az_visits visits = {0};
    const az_lm_hook hook = {.site = "*", .see = note_site, .user = &visits};
    const az_lm_batch batch = one(tiny_tokens(az, 3, 40, 6), (int64_t[]){0, 3});
    cr_assert(az_lm_forward(az, lm, &batch, &(az_lm_run){.hooks = &hook, .n_hooks = 1}));
    cr_assert_eq(visits.n, 1 + 2 * IN_BLOCK + 2);
    cr_assert_str_eq(visits.name[0], "embed");
    for (int i = 0; i < 2 * IN_BLOCK; i++) {
        char expected[48];
        snprintf(expected, sizeof expected, "blocks.%d.%s", i / IN_BLOCK, in_block[i % IN_BLOCK]);
        cr_assert_str_eq(visits.name[1 + i], expected);
    }
    cr_assert_str_eq(visits.name[visits.n - 2], "head.in");
    cr_assert_str_eq(visits.name[visits.n - 1], "head.out");
    az_close(az);
}

Test(hooks, a_glob_chooses_sites)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = tiny_llama(az, 1);
    az_visits visits = {0};
    const az_lm_hook hook = {.site = "blocks.*.mlp.down.in", .see = note_site, .user = &visits};
    const az_lm_batch batch = one(tiny_tokens(az, 3, 40, 6), (int64_t[]){0, 3});
    az_lm_forward(az, lm, &batch, &(az_lm_run){.hooks = &hook, .n_hooks = 1});
    cr_assert_eq(visits.n, 2);
    cr_assert_str_eq(visits.name[1], "blocks.1.mlp.down.in");
    az_close(az);
}

static az_tensor *halve(az_ctx *az, const char *site, az_tensor *x, void *user)
{
    (void)site, (void)user;
    return az_affine(az, x, 0.5, 0);
}

/* Halving a layer's output is the same as halving its weight; done at every linear layer of the model. */
Test(hooks, what_a_hook_returns_is_what_goes_on)
{
    az_ctx *az = az_open(NULL);
    const az_lm_batch batch = one(tiny_tokens(az, TOKENS, 40, 6), (int64_t[]){0, TOKENS});
    const char *parts[] = {"attn.q", "attn.k", "attn.v", "attn.o", "mlp.gate", "mlp.up", "mlp.down"};
    for (int i = 0; i < 14; i++) {
        az_lm *lm = tiny_llama(az, 1), *halved = tiny_llama(az, 1);
        az_lm_linear **linears;
        az_lm_linears(az, halved, &linears);
        az_tensor *w = linears[i]->weight->part[0];
        for (int64_t j = 0; j < az_count(w); j++) az_f32_mut(w)[j] *= 0.5f;
        for (int end = 0; end < 2; end++) {
            const az_lm_hook hook = {.site = az_format_text(az, "blocks.%d.%s.%s", i / 7, parts[i % 7], end ? "out" : "in"), .see = halve};
            az_tensor *hooked = az_lm_forward(az, lm, &batch, &(az_lm_run){.hooks = &hook, .n_hooks = 1});
            assert_close(hooked, az_lm_forward(az, halved, &batch, NULL), 2e-5);
        }
    }
    az_close(az);
}

static az_tensor *cut_off(az_ctx *az, const char *site, az_tensor *x, void *user)
{
    (void)site, (void)user;
    return az_slice(az, x, 0, 0, 1);
}

Test(hooks, a_replacement_of_another_shape_is_an_error)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = tiny_llama(az, 1);
    const az_lm_hook hook = {.site = "blocks.1.resid", .see = cut_off};
    const az_lm_batch batch = one(tiny_tokens(az, 3, 40, 6), (int64_t[]){0, 3});
    cr_assert_null(az_lm_forward(az, lm, &batch, &(az_lm_run){.hooks = &hook, .n_hooks = 1}));
    cr_assert(strstr(az_error(az), "blocks.1.resid") && strstr(az_error(az), "[1, 16]"), "%s", az_error(az));
    az_close(az);
}
