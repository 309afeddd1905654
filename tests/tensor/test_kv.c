/* Attention over a cache: the same bits as over tensors when the cache holds them whole, close when it rounds, for any number of threads.
 */
#include "support/layers.h"
#include "tensor/kernels/kernels.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

enum { SEQUENCES = 4, MOST_PAGES = 32 };

typedef struct kv_case {
    int64_t heads, kv_heads, dim, window;
    int64_t queries[SEQUENCES], keys[SEQUENCES];
    bool sloped;
    double softcap;
} kv_case;

static const kv_case cases[] = {
    {.heads = 2, .kv_heads = 2, .dim = 8, .queries = {1, 3, 0, 2}, .keys = {1, 9, 4, 130}},
    {.heads = 8, .kv_heads = 1, .dim = 32, .queries = {1, 1, 1, 1}, .keys = {64, 65, 200, 3}},
    {.heads = 6, .kv_heads = 2, .dim = 17, .window = 70, .queries = {1, 4, 5, 90}, .keys = {150, 300, 5, 280}},
    {.heads = 4, .kv_heads = 4, .dim = 64, .sloped = true, .queries = {1, 2, 300, 1}, .keys = {600, 2, 321, 63}},
    {.heads = 4, .kv_heads = 2, .dim = 48, .softcap = 2, .queries = {7, 1, 1, 0}, .keys = {260, 129, 1, 0}},
};
enum { CASES = sizeof cases / sizeof *cases };

/* A case with its operands, in a cache of one layer and as tensors. */
typedef struct kv_setup {
    const kv_case *c;
    az_tensor *q, *k, *v;
    int64_t query_start[SEQUENCES + 1], key_start[SEQUENCES + 1];
    float slope[8];
    az_kv kv;
} kv_setup;

static az_attention_how how_of(const kv_setup *s)
{
    return (az_attention_how){.sequences = SEQUENCES,
                              .query_start = s->query_start,
                              .key_start = s->key_start,
                              .key_count = s->c->keys,
                              .scale = 1 / sqrt((double)s->c->dim),
                              .softcap = s->c->softcap,
                              .window = s->c->window,
                              .slope = s->c->sloped ? s->slope : NULL};
}

/* Pages that lie apart from each other, for layer 1 of 2. */
static void make_pages(az_ctx *az, kv_setup *s, az_kv_type type)
{
    const size_t side = (size_t)(s->c->kv_heads * AZ_KV_PAGE) * az_kv_row_bytes(type, s->c->dim);
    char **page = az_alloc_array(az, MOST_PAGES, sizeof *page);
    int64_t *first = az_alloc_array(az, SEQUENCES, sizeof *first), n = 0;
    for (int i = 0; i < SEQUENCES; i++) {
        first[i] = n;
        for (int64_t token = 0; token < s->c->keys[i]; token += AZ_KV_PAGE) page[n++] = az_alloc(az, 4 * side);
    }
    cr_assert_leq(n, MOST_PAGES);
    s->kv = (az_kv){.type = type,
                    .kv_heads = s->c->kv_heads,
                    .dim = s->c->dim,
                    .page = page,
                    .first_page = first,
                    .keys = 2 * side,
                    .values = 3 * side};
}

static kv_setup set_up(az_ctx *az, const kv_case *c, az_dtype dtype, az_kv_type type)
{
    kv_setup s = {.c = c};
    for (int i = 0; i < SEQUENCES; i++) {
        s.query_start[i + 1] = s.query_start[i] + c->queries[i];
        s.key_start[i + 1] = s.key_start[i] + c->keys[i];
    }
    for (int h = 0; h < 8; h++) s.slope[h] = ldexpf(1, -h - 3);
    s.q = az_cast(az, az_randn(az, AZ_F64, 3, (int64_t[]){s.query_start[SEQUENCES], c->heads, c->dim}, 1, 3, 0), dtype);
    s.k = az_cast(az, az_randn(az, AZ_F64, 3, (int64_t[]){s.key_start[SEQUENCES], c->kv_heads, c->dim}, 1, 3, 1), dtype);
    s.v = az_cast(az, az_randn(az, AZ_F64, 3, (int64_t[]){s.key_start[SEQUENCES], c->kv_heads, c->dim}, 1, 3, 2), dtype);
    make_pages(az, &s, type);
    const az_attention_how all = {.sequences = SEQUENCES, .query_start = s.key_start, .key_count = c->keys};
    cr_assert(az_kv_store(az, &s.kv, s.k, s.v, &all), "%s", az_error(az));
    return s;
}

static az_tensor *from_tensors(az_ctx *az, const kv_setup *s)
{
    const az_attention_how how = how_of(s);
    return az_attention(az, s->q, s->k, s->v, &how);
}

static az_tensor *from_cache(az_ctx *az, const kv_setup *s)
{
    const az_attention_how how = how_of(s);
    return az_attention_kv(az, s->q, &s->kv, &how);
}

static void assert_same_bits(const az_tensor *a, const az_tensor *b)
{
    cr_assert(a && b && az_same_shape(a, b));
    cr_assert_eq(memcmp(a->data, b->data, (size_t)az_count(a) * az_dtype_size(a->dtype)), 0);
}

Test(kv, a_cache_of_whole_numbers_gives_the_bits_of_tensors)
{
    for (int i = 0; i < CASES; i++) {
        az_ctx *az = az_open(NULL);
        const kv_setup single = set_up(az, &cases[i], AZ_F32, AZ_KV_F32), twice = set_up(az, &cases[i], AZ_F64, AZ_KV_F64);
        assert_same_bits(from_cache(az, &single), from_tensors(az, &single));
        assert_same_bits(from_cache(az, &twice), from_tensors(az, &twice));
        az_close(az);
    }
}

/* Standard normal keys and values: f16 rounds to 2^-11 of a value, q8_0 to 1/254 of the largest of 32. */
Test(kv, rounding_costs_what_the_form_says)
{
    for (int i = 0; i < CASES; i++) {
        az_ctx *az = az_open(NULL);
        const kv_setup f16 = set_up(az, &cases[i], AZ_F32, AZ_KV_F16), q8_0 = set_up(az, &cases[i], AZ_F32, AZ_KV_Q8_0);
        const az_tensor *exact = from_tensors(az, &f16);
        cr_assert_lt(test_difference(from_cache(az, &f16), exact), 3e-3);
        cr_assert_lt(test_difference(from_cache(az, &q8_0), exact), 5e-2);
        cr_assert_gt(test_difference(from_cache(az, &q8_0), exact), 1e-4); /* it does round */
        az_close(az);
    }
}

Test(kv, threads_do_not_matter)
{
    const az_kv_type types[] = {AZ_KV_F16, AZ_KV_F32, AZ_KV_Q8_0};
    for (int i = 0; i < CASES * 3; i++) {
        az_ctx *one = az_open(&(az_settings){.threads = 1});
        const kv_setup alone = set_up(one, &cases[i / 3], AZ_F32, types[i % 3]);
        const az_tensor *first = from_cache(one, &alone);
        az_ctx *three = az_open(&(az_settings){.threads = 3});
        const kv_setup shared = set_up(three, &cases[i / 3], AZ_F32, types[i % 3]);
        assert_same_bits(from_cache(three, &shared), first);
        az_close(three);
        az_close(one);
    }
}

Test(kv, what_does_not_fit_is_refused)
{
    az_ctx *az = az_open(NULL);
    const kv_case one = {.heads = 1, .kv_heads = 1, .dim = 40, .queries = {1}, .keys = {1}};
    const az_kv_type types[] = {AZ_KV_F16, AZ_KV_Q8_0};
    const float bad[] = {1e9f, NAN, -INFINITY};
    for (int i = 0; i < 6; i++) {
        kv_setup s = set_up(az, &one, AZ_F32, types[i / 3]);
        az_f32_mut(s.v)[35] = bad[i % 3];
        const az_attention_how how = how_of(&s);
        cr_assert_not(az_kv_store(az, &s.kv, s.k, s.v, &how));
        cr_assert_eq(az_status_of(az), AZ_NUMERIC);
        az_clear(az);
    }
    kv_setup s = set_up(az, &one, AZ_F32, AZ_KV_F32);
    az_attention_how how = how_of(&s);
    cr_assert_not(az_kv_store(az, &s.kv, az_cast(az, s.k, AZ_F64), az_cast(az, s.v, AZ_F64), &how)); /* another type */
    cr_assert_eq(az_status_of(az), AZ_BAD_CALL);
    az_clear(az);
    cr_assert_null(az_attention_kv(az, az_zeros(az, AZ_F32, 3, (int64_t[]){1, 1, 39}), &s.kv, &how)); /* another width */
    cr_assert_eq(az_status_of(az), AZ_BAD_CALL);
    az_clear(az);
    how.key_count = (int64_t[]){0, 0, 0, 0}; /* a query without a key */
    cr_assert_null(az_attention_kv(az, s.q, &s.kv, &how));
    cr_assert_eq(az_status_of(az), AZ_BAD_CALL);
    az_close(az);
}

/* ---- rows ---- */

Test(kv, kernels_of_all_sets_round_alike)
{
    enum { LONGEST = 100 };
    const az_kernels_kv *portable = &az_kernels_portable()->kv, *best = &az_kernels_best()->kv;
    az_rng rng = az_rng_at(3, 11);
    for (int64_t n = 1; n <= LONGEST; n++) {
        float x[LONGEST], wide[2][LONGEST];
        uint16_t half[2][LONGEST], row[2][LONGEST];
        for (int64_t i = 0; i < n; i++) x[i] = (float)az_normal(&rng) * (n % 3 ? 1 : 1e-6f);
        cr_assert(portable->round_f16(n, x, half[0]) && best->round_f16(n, x, half[1]));
        cr_assert_arr_eq(half[0], half[1], (size_t)n * 2);
        portable->widen_f16(n, half[0], wide[0]), best->widen_f16(n, half[1], wide[1]);
        cr_assert_arr_eq(wide[0], wide[1], (size_t)n * 4);
        for (int64_t i = 0; i < n; i++) cr_assert_leq(fabsf(wide[0][i] - x[i]), fabsf(x[i]) * 0x1p-11f + 0x1p-25f);

        const size_t bytes = (size_t)n + 2 * (size_t)((n + 31) / 32);
        unsigned char *const rows[2] = {(unsigned char *)row[0], (unsigned char *)row[1]};
        cr_assert(portable->round_q8_0(n, x, rows[0]) && best->round_q8_0(n, x, rows[1]));
        cr_assert_arr_eq(rows[0], rows[1], bytes);
        portable->widen_q8_0(n, rows[0], wide[0]), best->widen_q8_0(n, rows[1], wide[1]);
        cr_assert_arr_eq(wide[0], wide[1], (size_t)n * 4);
        for (int64_t first = 0; first < n; first += 32) {
            float most = 0;
            for (int64_t i = first; i < n && i < first + 32; i++) most = fmaxf(most, fabsf(x[i]));
            for (int64_t i = first; i < n && i < first + 32; i++)
                cr_assert_leq(fabsf(wide[0][i] - x[i]), most * (0.5f / 127 + 0x1p-10f) + 127 * 0x1p-25f);
        }
    }
}
