/* One small model of each architecture: logits as PyTorch computes them, the cache, and files that lose nothing. */
#include "lm/files/load.h"
#include "support/families.h"
#include "support/folder.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS = 16, VOCABULARY = 40 };

static const int32_t token[TOKENS] = {3, 1, 4, 15, 9, 26, 5, 35, 8, 9, 7, 32, 38, 4, 6, 26};

static az_tensor *logits_of(az_ctx *az, const az_lm *lm)
{
    const az_lm_batch batch = {.sequences = 1, .token = token, .start = (int64_t[]){0, TOKENS}};
    az_tensor *logits = az_lm_forward(az, lm, &batch, NULL);
    cr_assert_not_null(logits, "%s", az_error(az));
    return logits;
}

static az_lm *model(az_ctx *az, const family *which)
{
    az_lm *lm = family_model(az, which);
    cr_assert_not_null(lm, "%s", az_error(az));
    return lm;
}

static double difference(const az_tensor *a, const az_tensor *b)
{
    double most = 0;
    cr_assert_eq(az_count(a), az_count(b));
    for (int64_t i = 0; i < az_count(a); i++) most = fmax(most, fabs(az_item(a, i) - az_item(b, i)));
    return most;
}

/* The numbers of one model in tests/fixtures/families.txt, made by make_families.py beside it. */
static void read_expected(const char *name, double *expected)
{
    FILE *file = fopen(ADZE_SOURCE_DIR "/tests/fixtures/families.txt", "r");
    cr_assert_not_null(file);
    char found[32] = "";
    int n = 0;
    while (strcmp(found, name) != 0) {
        cr_assert_eq(fscanf(file, "%31s %d", found, &n), 2, "no logits of %s", name);
        cr_assert_eq(n, TOKENS * VOCABULARY);
        for (int i = 0; i < n; i++) cr_assert_eq(fscanf(file, "%lf", &expected[i]), 1);
    }
    fclose(file);
}

Test(architectures, give_the_logits_of_pytorch)
{
    for (int f = 0; f < FAMILIES; f++) {
        az_ctx *az = az_open(NULL);
        double expected[TOKENS * VOCABULARY];
        read_expected(families[f].architecture, expected);
        const az_tensor *logits = logits_of(az, model(az, &families[f]));
        for (int i = 0; i < TOKENS * VOCABULARY; i++)
            cr_assert_float_eq(az_item(logits, i), expected[i], 1e-4, "%s: %g instead of %g at %d", families[f].architecture,
                               az_item(logits, i), expected[i], i);
        az_close(az);
    }
}

Test(architectures, continue_from_a_cache_as_if_all_came_at_once)
{
    for (int f = 0; f < FAMILIES; f++) {
        az_ctx *az = az_open(NULL);
        const az_lm *lm = model(az, &families[f]);
        const az_tensor *all = logits_of(az, lm);
        const az_lm_run run = {.cache = az_lm_cache_new(az, lm, 1, TOKENS, AZ_KV_F32)};
        for (int64_t i = 0; i < TOKENS; i++) {
            const az_lm_batch next = {.sequences = 1, .token = token + i, .start = (int64_t[]){0, 1}};
            const az_tensor *logits = az_lm_forward(az, lm, &next, &run);
            cr_assert_lt(difference(logits, az_slice(az, all, 0, i, 1)), 1e-4, "%s, token %d", families[f].architecture, (int)i);
        }
        az_close(az);
    }
}

/* Whether two files have the same bytes. */
static void expect_same_bytes(az_ctx *az, const char *a, const char *b)
{
    const az_map *x = az_map_file(az, a), *y = az_map_file(az, b);
    cr_assert(x && y, "%s", az_error(az));
    cr_assert_eq(x->size, y->size);
    cr_assert_eq(memcmp(x->data, y->data, x->size), 0);
}

Test(architectures, come_back_from_a_file_bit_for_bit)
{
    for (int f = 0; f < FAMILIES; f++) {
        az_ctx *az = az_open(NULL);
        const char *folder = test_folder(az), *first = test_path(az, folder, "first.gguf"), *second = test_path(az, folder, "second.gguf");
        az_lm *lm = model(az, &families[f]);
        cr_assert(az_lm_save(az, lm, first, NULL), "%s", az_error(az));
        az_lm *back = az_lm_load(az, first);
        cr_assert_not_null(back, "%s", az_error(az));
        cr_assert_eq(difference(logits_of(az, lm), logits_of(az, back)), 0, "%s", families[f].architecture);
        cr_assert(az_lm_save(az, back, second, NULL), "%s", az_error(az));
        expect_same_bytes(az, first, second);
        az_lm *copy = az_lm_copy(az, back);
        cr_assert_eq(difference(logits_of(az, copy), logits_of(az, back)), 0, "%s", families[f].architecture);
        az_close(az);
    }
}

/* Tensors that hold several matrices are encoded and cut by rows. */
Test(architectures, are_quantized_with_their_fused_tensors)
{
    for (int f = 0; f < FAMILIES; f++) {
        az_ctx *az = az_open(NULL);
        const char *path = test_path(az, test_folder(az), "q8_0.gguf");
        az_lm *lm = model(az, &families[f]);
        cr_assert(az_lm_save(az, lm, path, az_format_by_name("q8_0")), "%s", az_error(az));
        az_lm *back = az_lm_load(az, path);
        cr_assert_not_null(back, "%s", az_error(az));
        cr_assert_str_eq(back->block[1].v.weight->format->name, "q8_0");
        const az_tensor *fine = az_weight_decode(az, lm->block[1].v.weight), *coarse = az_weight_decode(az, back->block[1].v.weight);
        cr_assert_lt(difference(fine, coarse), 0.45 / 127, "%s", families[f].architecture);
        if (families[f].config.experts > 0) cr_assert_str_eq(back->block[1].router.weight->format->name, "f32");
        az_close(az);
    }
}

/* ---- other spellings of files, and wrong ones ---- */

static const family *family_of(const char *architecture)
{
    for (int f = 0; f < FAMILIES; f++)
        if (strcmp(families[f].architecture, architecture) == 0) return &families[f];
    return NULL;
}

/* The model's file with one key replaced (NULL: none), and one tensor's shape. */
static const char *rewritten(az_ctx *az, const family *which, const az_gguf_key *key, const az_gguf_tensor *shape)
{
    const char *folder = test_folder(az), *plain = test_path(az, folder, "plain.gguf"), *path = test_path(az, folder, "rewritten.gguf");
    az_lm *lm = model(az, which);
    cr_assert(az_lm_save(az, lm, plain, NULL), "%s", az_error(az));
    const az_lm *back = az_lm_load(az, plain);
    const az_gguf *gguf = back->metadata->gguf;
    az_gguf_writer *writer = az_gguf_create(az, path);
    for (int64_t k = 0; k < gguf->keys; k++) az_gguf_put(writer, key && az_text_equal(gguf->key[k].name, key->name) ? key : &gguf->key[k]);
    for (int64_t i = 0; i < gguf->tensors; i++) {
        const az_gguf_tensor *t = &gguf->tensor[i], *as = shape && az_text_equal(t->name, shape->name) ? shape : t;
        az_gguf_declare(writer, t->name, as->rank, as->shape, t->type);
    }
    for (int64_t i = 0; i < gguf->tensors; i++) az_gguf_write(writer, gguf->tensor[i].data, gguf->tensor[i].bytes);
    cr_assert(az_gguf_commit(writer), "%s", az_error(az));
    return path;
}

/* sliding_window_pattern as a flag for each block. */
static az_gguf_key pattern_key(const unsigned char flag[2])
{
    return (az_gguf_key){.name = az_text_of("gemma3.attention.sliding_window_pattern"),
                         .type = AZ_GGUF_ARRAY,
                         .item = AZ_GGUF_BOOL,
                         .count = 2,
                         .data = flag,
                         .bytes = 2};
}

Test(architectures, windows_block_by_block_mean_the_same_and_stay_in_the_file)
{
    az_ctx *az = az_open(NULL);
    const family *gemma3 = family_of("gemma3");
    const az_gguf_key regular = pattern_key((const unsigned char[]){1, 0});
    const char *path = rewritten(az, gemma3, &regular, NULL), *again = test_path(az, test_folder(az), "again.gguf");
    az_lm *lm = az_lm_load(az, path);
    cr_assert_not_null(lm, "%s", az_error(az));
    cr_assert_eq(lm->config.window_pattern, 2);
    cr_assert_eq(difference(logits_of(az, lm), logits_of(az, model(az, gemma3))), 0);
    cr_assert(az_lm_save(az, lm, again, NULL), "%s", az_error(az));
    expect_same_bytes(az, path, again);

    const az_gguf_key irregular = pattern_key((const unsigned char[]){0, 1});
    path = rewritten(az, gemma3, &irregular, NULL);
    lm = az_lm_load(az, path);
    cr_assert_not_null(lm, "%s", az_error(az));
    cr_assert(!lm->block[0].windowed && lm->block[1].windowed);
    cr_assert_gt(difference(logits_of(az, lm), logits_of(az, model(az, gemma3))), 1e-3);
    cr_assert_eq(difference(logits_of(az, lm), logits_of(az, az_lm_copy(az, lm))), 0);
    cr_assert(az_lm_save(az, lm, again, NULL), "%s", az_error(az));
    expect_same_bytes(az, path, again);

    az_gguf_key short_list = irregular;
    short_list.count = short_list.bytes = 1;
    cr_assert_null(az_lm_load(az, rewritten(az, gemma3, &short_list, NULL)));
    cr_assert(strstr(az_error(az), "has 1 entries for 2 blocks"), "%s", az_error(az));
    az_close(az);
}

Test(architectures, stacked_experts_of_another_shape_are_refused)
{
    az_ctx *az = az_open(NULL);
    const az_gguf_tensor shapes[] = {{.name = az_text_of("blk.1.ffn_up_exps.weight"), .rank = 3, .shape = {32, 24, 8}},
                                     {.name = az_text_of("blk.1.ffn_up_exps.weight"), .rank = 2, .shape = {32, 192}}};
    for (int i = 0; i < 2; i++) {
        cr_assert_null(az_lm_load(az, rewritten(az, family_of("llama"), NULL, &shapes[i])));
        cr_assert(strstr(az_error(az), "blk.1.ffn_up_exps.weight"), "%s", az_error(az));
        az_clear(az);
    }
    az_close(az);
}

Test(architectures, impossible_mixtures_and_caps_are_named)
{
    const struct {
        az_lm_config config;
        const char *architecture, *why;
    } wrong[] = {
        {{.experts = 4}, "llama", "0 of 4 experts are used"},
        {{.experts = 4, .experts_used = 5}, "llama", "5 of 4 experts are used"},
        {{.experts = 4, .experts_used = 2}, "gemma", "not known as a mixture of experts"},
        {{.attention_softcap = -1}, "gemma2", "soft caps -1"},
        {{.window = 4, .window_pattern = -2}, "gemma2", "window"},
        {{.embed_width = 8}, "llama", "an embedding of another width (8)"},
        {{.post_norm = true}, "llama", "norms after the additions"},
        {{.residual_scale = 0.5}, "llama", "scales of its own"},
        {{.residual_scale = -1}, "granite", "must be from 1e-30 to 1e30"},
        {{.rope_pattern = -1}, "smollm3", "is negative"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        az_ctx *az = az_open(NULL);
        cr_assert_null(family_model(az, &(family){wrong[i].architecture, wrong[i].config}));
        cr_assert(strstr(az_error(az), wrong[i].why), "%s", az_error(az));
        az_close(az);
    }
}
