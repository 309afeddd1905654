/* Networks that make virtual tokens of the instruction: against their definition in plain loops, what may and may not change them, the
 * cache, several tenants in a batch, gradients, folders. */
#include "lm/adapter.h"
#include "support/folder.h"
#include "support/matrix.h"
#include "support/tiny_lm.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

enum { WIDTH = 16, BLOCKS = 2, M = 5, MADE = 3 };

static az_lm *base(az_ctx *az)
{
    const az_lm_config config = tiny_config();
    az_lm *lm = tiny_lm(az, az_lm_arch_by_name("llama"), &config, 3);
    cr_assert(az_lm_make_trainable(az, lm, AZ_F64), "%s", az_error(az));
    return lm;
}

/* Networks of random tensors; g = the settings, whose blocks may be NULL: one network each, rational. */
static az_adapter *random_adapter(az_ctx *az, const az_lm *lm, az_generators g, uint64_t seed)
{
    az_generator_block usual[BLOCKS] = {{.network = 0}, {.network = 1}};
    if (!g.block) g.block = usual;
    g.blocks = BLOCKS;
    g.m = M;
    az_adapter *adapter = az_adapter_empty(az, "iapt", "IAPT");
    cr_assert(az_adapter_add_generators(az, lm, adapter, &g, MADE), "%s", az_error(az));
    az_lm_parameter *p;
    const int n = az_adapter_parameters(az, adapter, &p);
    for (int i = 0; i < n; i++) {
        az_tensor *x = *p[i].slot;
        az_copy_into(az, x, az_randn(az, x->dtype, x->rank, x->shape, 0.5, seed, (uint64_t)i));
    }
    return adapter;
}

/* Two sequences of 4 and 2 tokens behind virtual ones, of which 3 and 1 are the instruction. */
enum { TOKENS = 12 };
static const int32_t words[TOKENS] = {-1, -2, -3, 11, 5, 6, 9, -1, -2, -3, 8, 4};
static const int32_t targets[TOKENS] = {-1, -1, -1, -1, -1, 9, 1, -1, -1, -1, 4, 7};
static const int64_t starts[3] = {0, 7, 12}, lengths[2] = {3, 1};
static const az_lm_batch batch = {.sequences = 2, .token = words, .start = starts};

static az_tensor *logits_of(az_ctx *az, const az_lm *lm, const az_adapter *adapter, const az_lm_batch *b, const int64_t *instruction)
{
    az_tensor *y = az_lm_forward(az, lm, b, &(az_lm_run){.adapter = &adapter, .adapters = 1, .instruction = instruction});
    cr_assert_not_null(y, "%s", az_error(az));
    return y;
}

/* ---- the definition once more ---- */

static double item(const az_tensor *x, int64_t r, int64_t c)
{
    return az_item(x, r * x->shape[1] + c);
}

static double activate(const az_generator_block *block, double x)
{
    switch (block->activation) {
    case AZ_GENERATE_RELU: return x > 0 ? x : 0;
    case AZ_GENERATE_GELU: return x * 0.5 * erfc(-x / sqrt(2));
    case AZ_GENERATE_SILU: return x / (1 + exp(-x));
    case AZ_GENERATE_TANH: return tanh(x);
    case AZ_GENERATE_IDENTITY: return x;
    default: break;
    }
    double above = 0, below = 0;
    x = fmax(-10, fmin(10, x));
    for (int j = 0; j < 7; j++) above += az_item(block->numerator, j) * pow(x, j);
    for (int i = 1; i <= 5; i++) below += az_item(block->denominator, i - 1) * pow(x, i);
    return above / (1 + fabs(below));
}

/* How much row t of n counts for virtual token j; -1 for the maximum. */
static double share(const az_generators *g, const az_generator_network *network, double z[][M], int64_t n, int j, int64_t t)
{
    double own = 0, all = 0;
    const int64_t first = j * n / MADE, end = (j + 1) * n / MADE > first ? (j + 1) * n / MADE : first + 1;
    switch (g->pooler) {
    case AZ_POOL_LAST: return t == (n - MADE + j > 0 ? n - MADE + j : 0);
    case AZ_POOL_MEAN: return t >= first && t < end ? 1.0 / (double)(end - first) : 0;
    case AZ_POOL_MAX: return t >= first && t < end ? -1 : 0;
    default: break;
    }
    for (int64_t s = 0; s < n; s++) {
        double u = 0;
        for (int k = 0; k < M; k++) u += z[s][k] * item(network->attend, k, j);
        all += exp(u);
        if (s == t) own = exp(u);
    }
    return own / all;
}

/* Virtual token j of an instruction whose rows of the stream begin at x [n, WIDTH]. */
static void generate(const az_generators *g, const az_generator_block *block, const double *x, int64_t n, int j, double *out)
{
    enum { MOST = 8 };
    const az_generator_network *network = &g->network[block->network];
    double z[MOST][M] = {{0}}, pooled[M] = {0}, square = 0;
    for (int64_t t = 0; t < n; t++)
        for (int k = 0; k < M; k++)
            for (int c = 0; c < WIDTH; c++) z[t][k] += x[t * WIDTH + c] * item(network->down, c, k);
    for (int k = 0; k < M; k++) {
        double largest = -INFINITY;
        for (int64_t t = 0; t < n; t++) {
            const double a = share(g, network, z, n, j, t);
            pooled[k] += a < 0 ? 0 : a * z[t][k];
            if (a < 0) largest = fmax(largest, z[t][k]);
        }
        if (isfinite(largest)) pooled[k] = largest;
        square += pooled[k] * pooled[k] / M;
    }
    for (int c = 0; c < WIDTH; c++) out[c] = 0;
    for (int k = 0; k < M; k++) {
        const double y = activate(block, g->normalize ? pooled[k] / sqrt(square + 1e-6) : pooled[k]);
        for (int c = 0; c < WIDTH; c++) out[c] += y * item(network->up, k, c);
    }
}

/* The stream in front of the next block, whose virtual tokens are put there by hand. */
typedef struct by_hand {
    const az_generators *g;
    const int64_t *instruction;
} by_hand;

static az_tensor *put_by_hand(az_ctx *az, const char *site, az_tensor *x, void *user)
{
    const by_hand *how = user;
    const int b = strcmp(site, "embed") == 0 ? 0 : site[strlen("blocks.")] - '0' + 1;
    if (b >= BLOCKS || how->g->block[b].network < 0) return x;
    az_tensor *y = az_copy(az, x);
    double *at = az_f64_mut(y);
    for (int s = 0; s < 2; s++)
        for (int j = 0; j < MADE; j++)
            generate(how->g, &how->g->block[b], at + (starts[s] + MADE) * WIDTH, how->instruction[s], j, at + (starts[s] + j) * WIDTH);
    return y;
}

/* The text's logits of a model with virtual tokens of zeros, into which hooks put what networks make. */
static az_tensor *logits_by_hand(az_ctx *az, const az_lm *lm, const az_generators *g)
{
    az_adapter *zeros = az_adapter_empty(az, "zeros", "PROMPT_TUNING");
    zeros->virtual_tokens = MADE;
    by_hand how = {.g = g, .instruction = lengths};
    const az_lm_hook hooks[] = {{.site = "embed", .see = put_by_hand, .user = &how},
                                {.site = "blocks.?.resid", .see = put_by_hand, .user = &how}};
    az_tensor *y = az_lm_forward(az, lm, &batch,
                                 &(az_lm_run){.adapter = (const az_adapter *const *)&zeros, .adapters = 1, .hooks = hooks, .n_hooks = 2});
    cr_assert_not_null(y, "%s", az_error(az));
    return y;
}

/* Rows of the text alone: what the last block makes of virtual tokens is nobody's concern. */
static az_tensor *text_rows(az_ctx *az, const az_tensor *x)
{
    az_tensor *part[] = {az_slice(az, x, 0, MADE, 4), az_slice(az, x, 0, 7 + MADE, 2)};
    return az_concat(az, part, 2, 0);
}

static void expect_by_hand(az_ctx *az, az_generators settings, const char *what)
{
    az_lm *lm = base(az);
    const az_adapter *adapter = random_adapter(az, lm, settings, 5);
    const az_tensor *ours = text_rows(az, logits_of(az, lm, adapter, &batch, lengths));
    cr_assert_lt(matrix_difference(ours, text_rows(az, logits_by_hand(az, lm, adapter->generators))), 1e-9, "%s", what);
}

Test(generators, follow_their_definition)
{
    az_ctx *az = az_open(NULL);
    for (int pooler = AZ_POOL_ATTENTION; pooler <= AZ_POOL_MAX; pooler++)
        expect_by_hand(az, (az_generators){.pooler = (az_generator_pooler)pooler, .normalize = pooler % 2}, az_generator_poolers[pooler]);
    for (int activation = 0; activation < AZ_GENERATOR_ACTIVATIONS; activation++) {
        az_generator_block block[BLOCKS] = {{.network = 0, .activation = (az_generator_activation)activation}, {.network = 1}};
        expect_by_hand(az, (az_generators){.block = block}, az_generator_activations[activation]);
    }
    az_generator_block shared[BLOCKS] = {{.network = 0}, {.network = 0}}, second[BLOCKS] = {{.network = -1}, {.network = 0}},
                       first[BLOCKS] = {{.network = 0}, {.network = -1}};
    expect_by_hand(az, (az_generators){.block = shared}, "one network for both");
    expect_by_hand(az, (az_generators){.block = second}, "second block alone");
    expect_by_hand(az, (az_generators){.block = first}, "first block alone");
    az_close(az);
}

/* W_up = 0 leaves virtual tokens of zeros in front of each block. */
Test(generators, without_an_output_they_are_zeros)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = base(az);
    az_adapter *adapter = random_adapter(az, lm, (az_generators){0}, 5);
    for (int k = 0; k < BLOCKS; k++) az_copy_into(az, adapter->generators->network[k].up, az_zeros(az, AZ_F64, 2, (int64_t[]){M, WIDTH}));
    const az_tensor *ours = text_rows(az, logits_of(az, lm, adapter, &batch, lengths));
    cr_assert_lt(matrix_difference(ours, text_rows(az, logits_by_hand(az, lm, adapter->generators))), 1e-12);
    az_close(az);
}

/* ---- what may change them ---- */

/* The stream with virtual tokens in front of block 0, for rows x of the batch. */
static az_tensor *made_of(az_ctx *az, const az_adapter *adapter, az_tensor *x)
{
    const az_lm_run run = {.adapter = &adapter, .adapters = 1, .instruction = lengths};
    return az_adapters_generate(az, az_pass_adapters_begin(az, &batch, &run), 0, x);
}

Test(generators, do_not_ask_for_the_order_of_the_instruction)
{
    az_ctx *az = az_open(NULL);
    const az_adapter *adapter = random_adapter(az, base(az), (az_generators){0}, 5);
    az_tensor *x = matrix_normal(az, AZ_F64, TOKENS, WIDTH, 3), *turned = az_copy(az, x), *other = az_copy(az, x);
    for (int c = 0; c < WIDTH; c++) {
        double *column = az_f64_mut(turned) + c;
        const double third = column[3 * WIDTH]; /* rows 3, 4 and 5 are the first instruction */
        column[3 * WIDTH] = column[4 * WIDTH], column[4 * WIDTH] = column[5 * WIDTH], column[5 * WIDTH] = third;
        az_f64_mut(other)[6 * WIDTH + c] += 1; /* behind it */
        az_f64_mut(other)[11 * WIDTH + c] -= 1;
    }
    const az_tensor *p = az_slice(az, made_of(az, adapter, x), 0, 0, MADE);
    cr_assert_lt(matrix_difference(az_slice(az, made_of(az, adapter, turned), 0, 0, MADE), p), 1e-12);
    cr_assert_eq(matrix_difference(az_slice(az, made_of(az, adapter, other), 0, 0, MADE), p), 0, "the response takes no part");
    cr_assert_gt(matrix_difference(az_slice(az, made_of(az, adapter, x), 0, 7, MADE), p), 1e-3);
    az_close(az);
}

static az_tensor *remember(az_ctx *az, const char *site, az_tensor *x, void *user)
{
    (void)site;
    az_copy_into(az, user, x);
    return x;
}

/* What the last block makes of the virtual tokens shows all that went into them. */
static az_tensor *trace_of(az_ctx *az, const az_lm *lm, const az_adapter *adapter, const int32_t *token)
{
    az_tensor *last = az_new2(az, AZ_F64, TOKENS, WIDTH);
    const az_lm_hook hook = {.site = "blocks.1.resid", .see = remember, .user = last};
    const az_lm_batch other = {.sequences = 2, .token = token, .start = starts};
    const az_lm_lesson lesson = {.batch = other, .target = targets};
    cr_assert_not_null(az_lm_loss(az, lm, &lesson, &(az_lm_run){.adapter = &adapter, .adapters = 1, .hooks = &hook, .n_hooks = 1}), "%s",
                       az_error(az));
    return az_slice(az, last, 0, 0, MADE);
}

/* A lesson's instruction goes up to the first token that is to be told. */
Test(generators, never_read_the_response)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = base(az);
    const az_adapter *adapter = random_adapter(az, lm, (az_generators){0}, 5);
    int32_t response[TOKENS], instruction[TOKENS];
    memcpy(response, words, sizeof words);
    memcpy(instruction, words, sizeof words);
    response[6] = 30;
    instruction[5] = 30;
    const az_tensor *usual = trace_of(az, lm, adapter, words);
    cr_assert_eq(matrix_difference(trace_of(az, lm, adapter, response), usual), 0);
    cr_assert_gt(matrix_difference(trace_of(az, lm, adapter, instruction), usual), 1e-3);
    az_close(az);
}

/* Virtual tokens that are not rotated have no order. */
Test(generators, may_stand_all_at_the_first_position)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = base(az);
    for (int unrotated = 0; unrotated < 2; unrotated++) {
        az_adapter *adapter = random_adapter(az, lm, (az_generators){.unrotated = unrotated}, 5);
        const az_tensor *before = text_rows(az, logits_of(az, lm, adapter, &batch, lengths));
        for (int k = 0; k < BLOCKS; k++) {
            const az_tensor *swap = az_from(az, AZ_I32, 1, (int64_t[]){MADE}, (int32_t[]){2, 0, 1});
            az_copy_into(az, adapter->generators->network[k].attend, az_gather_columns(az, adapter->generators->network[k].attend, swap));
        }
        const double moved = matrix_difference(text_rows(az, logits_of(az, lm, adapter, &batch, lengths)), before);
        cr_assert(unrotated ? moved < 1e-10 : moved > 1e-4, "%g", moved);
    }
    az_close(az);
}

/* ---- batches and caches ---- */

Test(generators, serve_several_tenants_in_one_batch)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = base(az);
    const az_adapter *const tenant[] = {random_adapter(az, lm, (az_generators){0}, 5), random_adapter(az, lm, (az_generators){0}, 6),
                                        random_adapter(az, lm, (az_generators){.pooler = AZ_POOL_MEAN}, 7)};
    static const int32_t all[] = {-1, -2, -3, 11, 5, 6, 2, 3, -1, -2, -3, 8, -1, -2, -3, 8, 4};
    static const int64_t start[] = {0, 6, 8, 12, 17};
    const az_lm_batch together = {.sequences = 4, .token = all, .start = start};
    const az_lm_run run = {.adapter = tenant, .adapters = 3, .adapter_of = (const int[]){2, -1, 0, 1}};
    const az_tensor *mixed = az_lm_forward(az, lm, &together, &run);
    cr_assert_not_null(mixed, "%s", az_error(az));
    for (int s = 0; s < 4; s++) {
        const int64_t n = start[s + 1] - start[s];
        const az_lm_batch one = {.sequences = 1, .token = all + start[s], .start = (const int64_t[]){0, n}};
        const az_tensor *alone = s == 1 ? az_lm_forward(az, lm, &one, NULL) : logits_of(az, lm, tenant[run.adapter_of[s]], &one, NULL);
        cr_assert_lt(matrix_difference(az_contiguous(az, az_slice(az, mixed, 0, start[s], n)), alone), 1e-10, "request %d", s);
    }
    az_close(az);
}

Test(generators, are_kept_by_the_cache)
{
    for (int unrotated = 0; unrotated < 2; unrotated++) {
        az_ctx *az = az_open(NULL);
        az_lm *lm = base(az);
        const az_adapter *adapter = random_adapter(az, lm, (az_generators){.unrotated = unrotated}, 5);
        const az_lm_batch whole = {.sequences = 1, .token = words, .start = starts};
        const az_tensor *expected = logits_of(az, lm, adapter, &whole, lengths);
        az_lm_cache *cache = az_lm_cache_new(az, lm, 1, 8, AZ_KV_F32);
        const az_lm_run run = {.cache = cache, .adapter = &adapter, .adapters = 1};
        const az_lm_batch prompt = {.sequences = 1, .token = words, .start = (const int64_t[]){0, 6}},
                          next = {.sequences = 1, .token = words + 6, .start = (const int64_t[]){0, 1}};
        cr_assert_lt(matrix_difference(az_lm_forward(az, lm, &prompt, &run), az_slice(az, expected, 0, 0, 6)), 1e-10);
        cr_assert_lt(matrix_difference(az_lm_forward(az, lm, &next, &run), az_slice(az, expected, 0, 6, 1)), 1e-10);
        az_close(az);
    }
}

/* A prompt longer than generation reads at a time otherwise is read whole. */
Test(generators, read_long_prompts_whole)
{
    enum { LONG = 600 };
    az_ctx *az = az_open(NULL);
    az_lm_config config = tiny_config();
    config.context = 1024;
    az_lm *lm = tiny_lm(az, az_lm_arch_by_name("llama"), &config, 3);
    const az_adapter *adapter = random_adapter(az, lm, (az_generators){0}, 5);
    const az_tokens prompt = {.id = tiny_tokens(az, LONG, 40, 8), .n = LONG};
    const az_lm_generate_options options = {.max_tokens = 1, .adapter = adapter};
    const az_tokens *made = az_lm_generate(az, lm, &prompt, &options);
    cr_assert_not_null(made, "%s", az_error(az));
    int32_t all[LONG + MADE];
    for (int j = 0; j < MADE; j++) all[j] = -1 - j;
    memcpy(all + MADE, prompt.id, LONG * sizeof *all);
    const az_lm_batch whole = {.sequences = 1, .token = all, .start = (const int64_t[]){0, LONG + MADE}};
    const az_tensor *last = az_slice(az, logits_of(az, lm, adapter, &whole, NULL), 0, LONG + MADE - 1, 1);
    cr_assert_eq(made[0].n, LONG + 1);
    cr_assert_eq(made[0].id[LONG], (int32_t)az_item(az_argmax(az, last), 0));
    az_close(az);
}

/* ---- gradients ---- */

static double loss_of(az_ctx *az, const az_lm_objective *o)
{
    az_scope_push(az);
    const double loss = az_to_double(az_lm_loss(az, o->lm, &o->lesson, &o->run));
    az_scope_pop(az);
    return loss;
}

static void expect_gradient(az_ctx *az, az_lm *lm, az_generators settings)
{
    az_adapter *adapter = random_adapter(az, lm, settings, 5);
    az_lm_objective objective = {.lm = lm,
                                 .lesson = {.batch = batch, .target = targets},
                                 .scale = 1,
                                 .run = {.adapter = (const az_adapter *const *)&adapter, .adapters = 1}};
    az_lm_parameter *p;
    const int n = az_adapter_parameters(az, adapter, &p);
    az_tensor *gradient[10], *again[10];
    cr_assert_leq(n, 10);
    cr_assert(az_lm_gradient(az, &objective, p, n, gradient, NULL), "%s", az_error(az));
    objective.run.checkpoint = true;
    cr_assert(az_lm_gradient(az, &objective, p, n, again, NULL), "%s", az_error(az));
    for (int i = 0; i < n; i++) {
        az_tensor *x = *p[i].slot;
        const az_tensor *direction = az_randn(az, AZ_F64, x->rank, x->shape, 1, 9, (uint64_t)i);
        const double analytic = az_to_double(az_dot(az, gradient[i], direction)), h = 1e-6;
        az_add_into(az, x, direction, h);
        const double above = loss_of(az, &objective);
        az_add_into(az, x, direction, -2 * h);
        const double numeric = (above - loss_of(az, &objective)) / (2 * h);
        az_add_into(az, x, direction, h);
        cr_assert_float_eq(analytic, numeric, 1e-6 * fmax(1, fabs(numeric)), "%s: %.12g instead of %.12g", p[i].name, analytic, numeric);
        cr_assert_lt(matrix_difference(again[i], gradient[i]), 1e-11, "%s", p[i].name);
    }
}

Test(generators, gradients_agree_with_finite_differences)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = base(az);
    az_generator_block shared[BLOCKS] = {{.network = 0}, {.network = 0, .activation = AZ_GENERATE_GELU}};
    expect_gradient(az, lm, (az_generators){0});
    expect_gradient(az, lm, (az_generators){.normalize = true, .block = shared});
    expect_gradient(az, lm, (az_generators){.pooler = AZ_POOL_MAX});
    az_close(az);
}

/* ---- folders ---- */

static az_adapter *there_and_back(az_ctx *az, const az_lm *lm, const az_adapter *adapter, const char *folder)
{
    cr_assert(az_adapter_write(az, lm, adapter, folder, "tiny", AZ_F32), "%s", az_error(az));
    az_adapter *read = az_adapter_read(az, lm, folder);
    cr_assert_not_null(read, "%s", az_error(az));
    return read;
}

Test(generators, are_written_and_read)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = tiny_llama(az, 3);
    az_generator_block mixed[BLOCKS] = {{.network = 0, .activation = AZ_GENERATE_TANH}, {.network = 0}},
                       second[BLOCKS] = {{.network = -1}, {.network = 0}};
    const az_generators settings[] = {
        {0}, {.pooler = AZ_POOL_LAST, .normalize = true, .block = mixed}, {.unrotated = true, .block = second}};
    for (int i = 0; i < 3; i++) {
        const az_adapter *adapter = random_adapter(az, lm, settings[i], 5);
        const az_adapter *read = there_and_back(az, lm, adapter, test_path(az, test_folder(az), az_format_text(az, "%d", i)));
        cr_assert_str_eq(read->kind, "IAPT");
        cr_assert_eq(az_adapter_parameter_count(read), az_adapter_parameter_count(adapter));
        cr_assert_eq(matrix_difference(logits_of(az, lm, read, &batch, lengths), logits_of(az, lm, adapter, &batch, lengths)), 0);
        if (i == 0) cr_assert_eq(az_adapter_parameter_count(read), BLOCKS * (2 * WIDTH * M + M * MADE + 12));
    }
    az_close(az);
}

/* Rewrites the first `from` of adapter_config.json by `to`. */
static void change(az_ctx *az, const char *folder, const char *from, const char *to)
{
    const char *path = test_path(az, folder, "adapter_config.json"), *text = az_read_file(az, path, NULL);
    const char *at = strstr(text, from);
    cr_assert_not_null(at, "%s in %s", from, text);
    az_out *out = az_create(az, path);
    az_out_write(out, text, (size_t)(at - text));
    az_out_write(out, to, strlen(to));
    az_out_write(out, at + strlen(from), strlen(at + strlen(from)));
    cr_assert(az_commit(out));
}

Test(generators, folders_that_cannot_be_meant_are_refused)
{
    static const char *const wrong[][3] = {
        {"\"bottleneck\": 5", "\"bottleneck\": 6", "iapt.0.down"},
        {"\"pooler\": \"attention\"", "\"pooler\": \"sum\"", "pooler"},
        {"\"pooler\": \"attention\"", "\"pooler\": \"max\"", "iapt.0.sa"},
        {"\"position\": \"text\"", "\"position\": 3", "position"},
        {"\"rational\"", "\"tan\"", "activations"},
        {"\"rational\"", "\"tanh\"", "iapt.0.act_a"},
        {"\"num_virtual_tokens\": 3", "\"num_virtual_tokens\": 64", "num_virtual_tokens"},
        {"\"num_virtual_tokens\": 3", "\"num_virtual_tokens\": 2", "iapt.0.sa"},
        {"\"networks\"", "\"nets\"", "networks"},
        {"\"rational\",", "", "activations"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        az_ctx *az = az_open(NULL);
        az_lm *lm = tiny_llama(az, 3);
        const char *folder = test_folder(az);
        there_and_back(az, lm, random_adapter(az, lm, (az_generators){0}, 5), folder);
        change(az, folder, wrong[i][0], wrong[i][1]);
        cr_assert_null(az_adapter_read(az, lm, folder), "%s", wrong[i][1]);
        cr_assert_eq(az_status_of(az), AZ_BAD_INPUT);
        cr_assert(strstr(az_error(az), wrong[i][2]), "'%s' does not name %s", az_error(az), wrong[i][2]);
        az_close(az);
    }
}

Test(generators, belong_to_models_of_their_size)
{
    az_ctx *az = az_open(NULL);
    az_lm_config config = tiny_config();
    config.blocks = 3;
    az_lm *lm = tiny_llama(az, 3), *other = tiny_lm(az, az_lm_arch_by_name("llama"), &config, 3);
    const az_adapter *adapter = random_adapter(az, lm, (az_generators){0}, 5);
    cr_assert_not(az_adapter_check(az, adapter, other));
    cr_assert(strstr(az_error(az), "3"), "%s", az_error(az));
    az_clear(az);
    const int32_t half[] = {-1, -2, 4};
    const az_lm_batch cut = {.sequences = 1, .token = half, .start = (const int64_t[]){0, 3}},
                      empty = {.sequences = 1, .token = words, .start = (const int64_t[]){0, 3}};
    const az_lm_run run = {.adapter = &adapter, .adapters = 1};
    cr_assert_null(az_lm_forward(az, lm, &cut, &run));
    az_clear(az);
    cr_assert_null(az_lm_forward(az, lm, &empty, &run), "no instruction");
    cr_assert(strstr(az_error(az), "instruction"), "%s", az_error(az));
    az_close(az);
}
