/* The cache: what its forms cost, and sequences that share a beginning. */
#include "support/tiny_lm.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

enum { PREFIX = 100, TAIL = 30, CONTEXT = 160 };

static az_lm *model(az_ctx *az)
{
    az_lm_config config = tiny_config();
    config.context = CONTEXT;
    return tiny_lm(az, az_lm_arch_by_name("llama"), &config, 1);
}

static az_tensor *run(az_ctx *az, const az_lm *lm, az_lm_cache *cache, int sequences, const int32_t *token, const int64_t *start)
{
    const az_lm_batch batch = {.sequences = sequences, .token = token, .start = start};
    return az_lm_forward(az, lm, &batch, &(az_lm_run){.cache = cache});
}

static double difference(const az_tensor *a, const az_tensor *b)
{
    double most = 0;
    cr_assert(a && b && az_same_shape(a, b));
    for (int64_t i = 0; i < az_count(a); i++) most = fmax(most, fabs(az_item(a, i) - az_item(b, i)));
    return most;
}

static size_t page_bytes(const az_lm *lm, size_t row)
{
    return 2 * (size_t)(lm->config.blocks * lm->config.kv_heads) * AZ_KV_PAGE * row;
}

/* Logits of the tail, decoded token by token behind the prefix. */
static az_tensor *decoded(az_ctx *az, const az_lm *lm, az_kv_type type, const int32_t *token)
{
    az_lm_cache *cache = az_lm_cache_new(az, lm, 1, CONTEXT, type);
    run(az, lm, cache, 1, token, (int64_t[]){0, PREFIX});
    az_tensor *logits[TAIL];
    for (int i = 0; i < TAIL; i++) logits[i] = run(az, lm, cache, 1, token + PREFIX + i, (int64_t[]){0, 1});
    return az_concat(az, logits, TAIL, 0);
}

Test(cache, f16_and_q8_0_are_near_f32)
{
    az_ctx *az = az_open(NULL);
    const az_lm *lm = model(az);
    const int32_t *token = tiny_tokens(az, PREFIX + TAIL, 40, 6);
    az_tensor *whole = run(az, lm, NULL, 1, token, (int64_t[]){0, PREFIX + TAIL});
    const az_tensor *exact = az_slice(az, whole, 0, PREFIX, TAIL);
    cr_assert_lt(difference(decoded(az, lm, AZ_KV_F32, token), exact), 2e-5);
    /* logits have a deviation of about 2 */
    const double f16 = difference(decoded(az, lm, AZ_KV_F16, token), exact), q8_0 = difference(decoded(az, lm, AZ_KV_Q8_0, token), exact);
    cr_assert_lt(f16, 0.01, "%g", f16);
    cr_assert_lt(q8_0, 0.1, "%g", q8_0);
    cr_assert_lt(f16, q8_0);
    az_close(az);
}

Test(cache, memory_grows_with_the_tokens_and_by_the_form)
{
    az_ctx *az = az_open(NULL);
    const az_lm *lm = model(az);
    const int32_t *token = tiny_tokens(az, PREFIX, 40, 6);
    const az_kv_type types[] = {AZ_KV_F32, AZ_KV_F16, AZ_KV_Q8_0};
    const size_t rows[] = {6 * 4, 6 * 2, 6 + 2}; /* head_dim 6 */
    for (int i = 0; i < 3; i++) {
        const size_t before = az_memory_now(az);
        az_scope_push(az);
        az_lm_cache *cache = az_lm_cache_new(az, lm, 2, CONTEXT, types[i]);
        cr_assert_eq(az_lm_cache_bytes(cache), 0);
        run(az, lm, cache, 1, token, (int64_t[]){0, PREFIX});
        cr_assert_eq(az_lm_cache_bytes(cache), 2 * page_bytes(lm, rows[i]));
        az_lm_cache_trim(cache, 0, AZ_KV_PAGE);
        cr_assert_eq(az_lm_cache_bytes(cache), page_bytes(lm, rows[i]));
        cr_assert_geq(az_memory_now(az), before + page_bytes(lm, rows[i]));
        az_scope_pop(az);
        cr_assert_eq(az_memory_now(az), before, "pages outlive their cache");
    }
    az_close(az);
}

/* Forks of one prefix go different ways together, and give what each gives alone, bit for bit. */
Test(cache, a_shared_prefix_gives_the_logits_of_separate_passes)
{
    enum { FORKS = 4, NEW = 3 };
    const az_kv_type types[] = {AZ_KV_F32, AZ_KV_F16, AZ_KV_Q8_0};
    for (int i = 0; i < 3; i++) {
        az_ctx *az = az_open(NULL);
        const az_lm *lm = model(az);
        const int32_t *token = tiny_tokens(az, PREFIX, 40, 6), *tails = tiny_tokens(az, FORKS * NEW, 40, 7);
        az_lm_cache *shared = az_lm_cache_new(az, lm, FORKS, CONTEXT, types[i]);
        run(az, lm, shared, 1, token, (int64_t[]){0, PREFIX});
        const size_t prefix = az_lm_cache_bytes(shared);
        for (int f = 1; f < FORKS; f++) cr_assert(az_lm_cache_fork(az, shared, 0, f));
        cr_assert_eq(az_lm_cache_bytes(shared), prefix, "forks copy");
        az_tensor *together = run(az, lm, shared, FORKS, tails, (int64_t[]){0, NEW, 2 * NEW, 3 * NEW, 4 * NEW});
        cr_assert_eq(az_lm_cache_bytes(shared), prefix / 2 * (1 + FORKS), "a full page stays shared, the other one is copied");
        for (int f = 0; f < FORKS; f++) {
            az_lm_cache *alone = az_lm_cache_new(az, lm, 1, CONTEXT, types[i]);
            run(az, lm, alone, 1, token, (int64_t[]){0, PREFIX});
            az_tensor *y = run(az, lm, alone, 1, tails + f * NEW, (int64_t[]){0, NEW});
            cr_assert_eq(difference(az_slice(az, together, 0, f * NEW, NEW), y), 0, "fork %d", f);
        }
        az_close(az);
    }
}

/* Writing after a trim into a page that another sequence holds must not reach it. */
Test(cache, a_trimmed_fork_leaves_its_origin_alone)
{
    az_ctx *az = az_open(NULL);
    const az_lm *lm = model(az);
    const int32_t *token = tiny_tokens(az, PREFIX + 1, 40, 6), *other = tiny_tokens(az, 50, 40, 8);
    az_lm_cache *cache = az_lm_cache_new(az, lm, 2, CONTEXT, AZ_KV_F32);
    run(az, lm, cache, 1, token, (int64_t[]){0, PREFIX});
    az_lm_cache_fork(az, cache, 0, 1);
    az_lm_cache_trim(cache, 1, 20);
    run(az, lm, cache, 2, other, (int64_t[]){0, 0, 50});
    const az_tensor *next = run(az, lm, cache, 1, token + PREFIX, (int64_t[]){0, 1});
    az_tensor *whole = run(az, lm, NULL, 1, token, (int64_t[]){0, PREFIX + 1});
    cr_assert_lt(difference(next, az_slice(az, whole, 0, PREFIX, 1)), 2e-5);
    cr_assert_eq(az_lm_cache_length(cache, 1), 70);
    az_close(az);
}

Test(cache, a_model_of_f64_keeps_its_numbers)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = model(az);
    cr_assert(az_lm_make_trainable(az, lm, AZ_F64));
    const int32_t *token = tiny_tokens(az, PREFIX, 40, 6);
    az_lm_cache *cache = az_lm_cache_new(az, lm, 1, CONTEXT, AZ_KV_F16);
    const int64_t half[] = {0, PREFIX / 2};
    run(az, lm, cache, 1, token, half);
    const az_tensor *second = run(az, lm, cache, 1, token + PREFIX / 2, half);
    az_tensor *whole = run(az, lm, NULL, 1, token, (int64_t[]){0, PREFIX});
    cr_assert_lt(difference(second, az_slice(az, whole, 0, PREFIX / 2, PREFIX / 2)), 1e-12);
    az_close(az);
}

Test(cache, values_beyond_f16_are_an_error_that_names_the_block)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = model(az);
    float *v = az_f32_mut(lm->block[1].v.weight->part[0]);
    for (int64_t i = 0; i < 16; i++) v[i] *= 1e8f;
    const int32_t *token = tiny_tokens(az, 5, 40, 6);
    cr_assert_null(run(az, lm, az_lm_cache_new(az, lm, 1, CONTEXT, AZ_KV_F16), 1, token, (int64_t[]){0, 5}));
    cr_assert(strstr(az_error(az), "block 1") && strstr(az_error(az), "f16"), "%s", az_error(az));
    az_close(az);
}
