/* Attention: naive loops over every feature, derivatives of both kinds, ragged batches, caches, extreme scores, threads. */
#include "support/layers.h"

#include <criterion/criterion.h>
#include <math.h>

/* A batch of attention with its shapes. */
typedef struct attention_case {
    int64_t heads, kv_heads, dim;
    int64_t query_start[5], key_start[4], key_count[4];
    float slope[8];
    az_attention_how how; /* sequences, scale, window, bidirectional; the arrays are those above */
    bool sloped;
} attention_case;

static az_attention_how how_of(const attention_case *c)
{
    az_attention_how how = c->how;
    how.query_start = c->query_start;
    how.key_start = c->key_start;
    how.key_count = c->key_count;
    how.slope = c->sloped ? c->slope : NULL;
    return how;
}

static int64_t key_rows(const attention_case *c)
{
    int64_t rows = 0;
    for (int s = 0; s < c->how.sequences; s++)
        if (c->key_start[s] + c->key_count[s] > rows) rows = c->key_start[s] + c->key_count[s];
    return rows + 1; /* one row that belongs to nobody */
}

static az_tensor *attention(az_ctx *az, az_tensor *const *in, int n, void *user)
{
    (void)n;
    const az_attention_how how = how_of(user);
    return az_attention(az, in[0], in[1], in[2], &how);
}

static test_layer layer_of(const attention_case *c)
{
    const int64_t rows = key_rows(c), tokens = c->query_start[c->how.sequences];
    return (test_layer){.f = attention,
                        .user = (void *)c,
                        .n = 3,
                        .input = {{3, {tokens, c->heads, c->dim}}, {3, {rows, c->kv_heads, c->dim}}, {3, {rows, c->kv_heads, c->dim}}}};
}

static const attention_case small[] = {
    {.heads = 2, .kv_heads = 2, .dim = 3, .query_start = {0, 5}, .key_count = {5}, .how = {.sequences = 1, .scale = 0.5}},
    /* ragged, grouped heads, a cache, one query alone, an empty sequence */
    {.heads = 4,
     .kv_heads = 2,
     .dim = 5,
     .query_start = {0, 6, 7, 7, 9},
     .key_start = {2, 10, 0, 14},
     .key_count = {8, 3, 0, 2},
     .how = {.sequences = 4, .scale = 0.4}},
    /* window and slopes */
    {.heads = 3,
     .kv_heads = 1,
     .dim = 4,
     .query_start = {0, 7, 9},
     .key_start = {0, 9},
     .key_count = {9, 4},
     .sloped = true,
     .slope = {0.5f, 0.25f, 1.5f},
     .how = {.sequences = 2, .scale = 0.7, .window = 3}},
    /* both directions, with slopes and fewer keys than queries */
    {.heads = 2,
     .kv_heads = 1,
     .dim = 8,
     .query_start = {0, 6, 8},
     .key_start = {0, 4},
     .key_count = {4, 5},
     .sloped = true,
     .slope = {0.5f, 0.125f},
     .how = {.sequences = 2, .scale = 0.3, .bidirectional = true}},
    /* capped scores, with slopes and a window */
    {.heads = 2,
     .kv_heads = 1,
     .dim = 6,
     .query_start = {0, 7, 9},
     .key_start = {0, 8},
     .key_count = {8, 3},
     .sloped = true,
     .slope = {0.5f, 0.125f},
     .how = {.sequences = 2, .scale = 0.8, .softcap = 1.5, .window = 5}},
    /* two sequences that share their keys */
    {.heads = 2,
     .kv_heads = 1,
     .dim = 4,
     .query_start = {0, 5, 8},
     .key_start = {0, 0},
     .key_count = {6, 5},
     .how = {.sequences = 2, .scale = 0.5}},
};
enum { SMALL = sizeof small / sizeof *small };

/* More than one tile, block of keys and unit of queries, with remainders. */
static const attention_case large[] = {
    {.heads = 2,
     .kv_heads = 1,
     .dim = 32,
     .query_start = {0, 201, 240},
     .key_start = {0, 290},
     .key_count = {283, 39},
     .how = {.sequences = 2, .scale = 0.18}},
    {.heads = 2,
     .kv_heads = 2,
     .dim = 24,
     .query_start = {0, 300, 303},
     .key_start = {0, 300},
     .key_count = {300, 530},
     .sloped = true,
     .slope = {0.01f, 0.3f},
     .how = {.sequences = 2, .scale = 0.2, .window = 100}},
    {.heads = 1,
     .kv_heads = 1,
     .dim = 17,
     .query_start = {0, 65},
     .key_count = {600},
     .how = {.sequences = 1, .scale = 0.25, .bidirectional = true}},
    {.heads = 2,
     .kv_heads = 1,
     .dim = 16,
     .query_start = {0, 90},
     .key_count = {310},
     .how = {.sequences = 1, .scale = 0.25, .softcap = 2}},
};
enum { LARGE = sizeof large / sizeof *large };

/* ---- naive ---- */

static bool sees(const attention_case *c, int64_t position, int64_t key)
{
    if (c->how.bidirectional) return true;
    return key <= position && (c->how.window == 0 || key > position - c->how.window);
}

/* One query, one head, into y [dim]. */
static void naive_row(const attention_case *c, az_tensor *const *in, int s, int64_t query, int64_t head, double *y)
{
    const int64_t position = c->key_count[s] - (c->query_start[s + 1] - c->query_start[s]) + query, kv_head = head * c->kv_heads / c->heads;
    double weight[1000], sum = 0, most = -INFINITY;
    for (int64_t j = 0; j < c->key_count[s]; j++) {
        weight[j] = 0;
        for (int64_t i = 0; i < c->dim; i++)
            weight[j] += c->how.scale * az_item(in[0], ((c->query_start[s] + query) * c->heads + head) * c->dim + i) *
                         az_item(in[1], ((c->key_start[s] + j) * c->kv_heads + kv_head) * c->dim + i);
        if (c->how.softcap > 0) weight[j] = c->how.softcap * tanh(weight[j] / c->how.softcap);
        if (c->sloped) weight[j] -= (double)c->slope[head] * fabs((double)(position - j));
        if (!sees(c, position, j)) weight[j] = -INFINITY;
        most = fmax(most, weight[j]);
    }
    for (int64_t j = 0; j < c->key_count[s]; j++) sum += weight[j] = exp(weight[j] - most);
    for (int64_t i = 0; i < c->dim; i++) {
        y[i] = 0;
        for (int64_t j = 0; j < c->key_count[s]; j++)
            y[i] += weight[j] / sum * az_item(in[2], ((c->key_start[s] + j) * c->kv_heads + kv_head) * c->dim + i);
    }
}

static void check_naive(const attention_case *c)
{
    az_ctx *az = az_open(NULL);
    const test_layer layer = layer_of(c);
    az_tensor *in[3], *narrow[3];
    test_inputs(az, &layer, AZ_F64, 5, in);
    for (int i = 0; i < 3; i++) narrow[i] = az_cast(az, in[i], AZ_F32);
    az_tensor *y = attention(az, in, 3, (void *)c), *single = attention(az, narrow, 3, (void *)c);
    cr_assert(az_ok(az), "%s", az_error(az));
    for (int s = 0; s < c->how.sequences; s++)
        for (int64_t query = 0; query < c->query_start[s + 1] - c->query_start[s]; query++)
            for (int64_t head = 0; head < c->heads; head++) {
                double expected[64];
                naive_row(c, in, s, query, head, expected);
                for (int64_t i = 0; i < c->dim; i++) {
                    int64_t at = ((c->query_start[s] + query) * c->heads + head) * c->dim + i;
                    cr_assert_float_eq(az_item(y, at), expected[i], 1e-12, "sequence %d, query %d", s, (int)query);
                    cr_assert_float_eq(az_item(single, at), expected[i], 1e-5);
                }
            }
    az_close(az);
}

Test(attention, matches_naive_loops)
{
    for (int i = 0; i < SMALL; i++) check_naive(&small[i]);
    for (int i = 0; i < LARGE; i++) check_naive(&large[i]);
}

/* ---- derivatives ---- */

Test(attention, first_and_second_derivatives)
{
    for (int i = 0; i < SMALL; i++) {
        const test_layer layer = layer_of(&small[i]);
        test_derivatives(&layer);
        test_strided_inputs(&layer);
    }
}

Test(attention, fused_gradient_equals_composed)
{
    for (int i = 0; i < SMALL + LARGE; i++) {
        const test_layer layer = layer_of(i < SMALL ? &small[i] : &large[i - SMALL]);
        test_both_gradients(&layer);
    }
}

Test(attention, threads_do_not_matter)
{
    for (int i = 0; i < SMALL + LARGE; i++) {
        const test_layer layer = layer_of(i < SMALL ? &small[i] : &large[i - SMALL]);
        test_threads_agree(&layer);
    }
}

/* ---- batches and caches ---- */

Test(attention, a_ragged_batch_equals_its_sequences)
{
    az_ctx *az = az_open(NULL);
    const attention_case *c = &large[0];
    const test_layer layer = layer_of(c);
    az_tensor *in[3];
    test_inputs(az, &layer, AZ_F32, 6, in);
    az_tensor *together = attention(az, in, 3, (void *)c);
    for (int s = 0; s < c->how.sequences; s++) {
        int64_t first = c->query_start[s], queries = c->query_start[s + 1] - first;
        az_attention_how alone = {.sequences = 1,
                                  .query_start = (int64_t[]){0, queries},
                                  .key_start = (int64_t[]){0},
                                  .key_count = &c->key_count[s],
                                  .scale = c->how.scale};
        az_tensor *y = az_attention(az, az_slice(az, in[0], 0, first, queries), az_slice(az, in[1], 0, c->key_start[s], c->key_count[s]),
                                    az_slice(az, in[2], 0, c->key_start[s], c->key_count[s]), &alone);
        cr_assert_eq(test_difference(y, az_slice(az, together, 0, first, queries)), 0);
    }
    az_close(az);
}

Test(attention, one_query_at_a_time_equals_all_at_once)
{
    az_ctx *az = az_open(NULL);
    const int64_t tokens = 70;
    az_tensor *in[3];
    for (int i = 0; i < 3; i++) in[i] = az_randn(az, AZ_F32, 3, (int64_t[]){tokens, i ? 2 : 4, 16}, 1, 8, (uint64_t)i);
    az_attention_how how = {
        .sequences = 1, .query_start = (int64_t[]){0, tokens}, .key_start = (int64_t[]){0}, .key_count = &tokens, .scale = 0.25};
    az_tensor *full = az_attention(az, in[0], in[1], in[2], &how);
    for (int64_t i = 0; i < tokens; i++) {
        const int64_t seen = i + 1;
        az_attention_how one = {
            .sequences = 1, .query_start = (int64_t[]){0, 1}, .key_start = (int64_t[]){0}, .key_count = &seen, .scale = 0.25};
        az_tensor *y = az_attention(az, az_slice(az, in[0], 0, i, 1), in[1], in[2], &one);
        cr_assert_lt(test_difference(y, az_slice(az, full, 0, i, 1)), 2e-6);
    }
    az_close(az);
}

Test(attention, extreme_scores_stay_finite)
{
    az_ctx *az = az_open(NULL);
    az_tape_open(az);
    az_tensor *in[3], *g[3];
    for (int i = 0; i < 3; i++) in[i] = az_watch(az, az_randn(az, AZ_F32, 3, (int64_t[]){40, 1, 4}, i < 2 ? 70 : 1, 8, (uint64_t)i));
    az_attention_how how = {
        .sequences = 1, .query_start = (int64_t[]){0, 40}, .key_start = (int64_t[]){0}, .key_count = (int64_t[]){40}, .scale = 1};
    az_tensor *y = az_attention(az, in[0], in[1], in[2], &how); /* scores up to about 1e4 */
    cr_assert(az_grad(az, az_sum(az, y, AZ_ALL_AXES, false), NULL, (const az_tensor *const *)in, 3, g, 0));
    cr_assert_eq(az_first_nonfinite(y), -1);
    for (int i = 0; i < 3; i++) cr_assert_eq(az_first_nonfinite(g[i]), -1);
    double sum = 0; /* the weights of a row add up to one, so dV adds up to the number of outputs */
    for (int64_t i = 0; i < 160; i++) sum += az_item(g[2], i);
    cr_assert_float_eq(sum, 160, 1e-3);
    az_tape_close(az);
    az_close(az);
}

Test(attention, what_does_not_fit_is_refused)
{
    az_ctx *az = az_open(NULL);
    az_tensor *q = az_zeros(az, AZ_F32, 3, (int64_t[]){4, 3, 2}), *k = az_zeros(az, AZ_F32, 3, (int64_t[]){4, 2, 2});
    az_attention_how how = {
        .sequences = 1, .query_start = (int64_t[]){0, 4}, .key_start = (int64_t[]){0}, .key_count = (int64_t[]){4}, .scale = 1};
    cr_assert_null(az_attention(az, q, k, k, &how)); /* 3 heads over 2 */
    cr_assert_eq(az_status_of(az), AZ_BAD_CALL);
    az_clear(az);
    how.key_count = (int64_t[]){3};
    cr_assert_null(az_attention(az, q, q, q, &how)); /* a causal query without a key */
    cr_assert_eq(az_status_of(az), AZ_BAD_CALL);
    az_clear(az);
    how.key_count = (int64_t[]){5};
    cr_assert_null(az_attention(az, q, q, q, &how)); /* beyond the rows */
    cr_assert_eq(az_status_of(az), AZ_BAD_CALL);
    az_close(az);
}
