/* GGUF files: round trips to the byte, every kind of damage, and models that other programs wrote and read. */
#include "lm/files/gguf.h"
#include "lm/files/load.h"
#include "support/data.h"
#include "support/folder.h"
#include "support/models.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- support ---- */

static az_gguf_key raw_key(const char *name, az_gguf_type type, az_gguf_type item, uint64_t count, const void *data, size_t bytes)
{
    return (az_gguf_key){.name = az_text_of(name), .type = type, .item = item, .count = count, .data = data, .bytes = bytes};
}

/* Keys of every type and three tensors. */
static void write_sample(az_ctx *az, const char *path)
{
    az_gguf_writer *writer = az_gguf_create(az, path);
    const unsigned char bytes[8] = {1, 2, 3, 4, 5, 6, 7, 128};
    static const az_gguf_type scalars[] = {AZ_GGUF_U8,  AZ_GGUF_I8,   AZ_GGUF_U16, AZ_GGUF_I16, AZ_GGUF_U32, AZ_GGUF_I32,
                                           AZ_GGUF_F32, AZ_GGUF_BOOL, AZ_GGUF_U64, AZ_GGUF_I64, AZ_GGUF_F64};
    for (size_t i = 0; i < sizeof scalars / sizeof *scalars; i++) {
        const size_t size = az_gguf_scalar_bytes(scalars[i]);
        const az_gguf_key scalar = raw_key(az_format_text(az, "scalar.%d", scalars[i]), scalars[i], scalars[i], 1, bytes, size);
        const az_gguf_key array = raw_key(az_format_text(az, "array.%d", scalars[i]), AZ_GGUF_ARRAY, scalars[i], 8 / size, bytes, 8);
        cr_assert(az_gguf_put(writer, &scalar) && az_gguf_put(writer, &array));
    }
    const az_text texts[] = {az_text_of("one"), az_text_of(""), {"\xff\0z", 3}};
    cr_assert(az_gguf_put_strings(writer, "strings", texts, 3));
    cr_assert(az_gguf_put_string(writer, "text", texts[2]));
    /* an array of two arrays: {u8 {7, 8}} and {} */
    const unsigned char nested[] = {0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    const az_gguf_key arrays = raw_key("nested", AZ_GGUF_ARRAY, AZ_GGUF_ARRAY, 2, nested, sizeof nested);
    cr_assert(az_gguf_put(writer, &arrays));
    cr_assert(az_gguf_put_integer(writer, "general.alignment", 64));
    const float data[96] = {1, -2, 3};
    cr_assert(az_gguf_declare(writer, az_text_of("vector"), 1, (const uint64_t[]){5}, 0));
    cr_assert(az_gguf_declare(writer, az_text_of("matrix"), 2, (const uint64_t[]){32, 3}, 8));
    cr_assert(az_gguf_declare(writer, az_text_of("scalar"), 0, NULL, 28));
    cr_assert(az_gguf_write(writer, data, 20) && az_gguf_write(writer, data, 102) && az_gguf_write(writer, data, 8));
    cr_assert(az_gguf_commit(writer), "%s", az_error(az));
}

static void copy_file(az_ctx *az, const az_gguf *gguf, const char *path)
{
    az_gguf_writer *writer = az_gguf_create(az, path);
    for (int64_t i = 0; i < gguf->keys; i++) az_gguf_put(writer, &gguf->key[i]);
    for (int64_t i = 0; i < gguf->tensors; i++)
        az_gguf_declare(writer, gguf->tensor[i].name, gguf->tensor[i].rank, gguf->tensor[i].shape, gguf->tensor[i].type);
    for (int64_t i = 0; i < gguf->tensors; i++) az_gguf_write(writer, gguf->tensor[i].data, gguf->tensor[i].bytes);
    cr_assert(az_gguf_commit(writer), "%s", az_error(az));
}

static void expect_same_file(az_ctx *az, const char *a, const char *b)
{
    const az_map *x = az_map_file(az, a), *y = az_map_file(az, b);
    cr_assert(x && y, "%s", az_error(az));
    cr_assert_eq(x->size, y->size);
    for (size_t i = 0; i < x->size; i++) cr_assert_eq(x->data[i], y->data[i], "byte %zu", i);
}

static void expect_copy(az_ctx *az, const char *path)
{
    const char *copy = test_path(az, test_folder(az), "copy.gguf");
    const az_map *map = az_map_file(az, path);
    const az_gguf *gguf = map ? az_gguf_parse(az, map->data, map->size) : NULL;
    cr_assert_not_null(gguf, "%s", az_error(az));
    copy_file(az, gguf, copy);
    expect_same_file(az, path, copy);
}

static const char *sample(az_ctx *az)
{
    const char *path = test_path(az, test_folder(az), "sample.gguf");
    write_sample(az, path);
    return path;
}

/* ---- the container ---- */

Test(gguf, values_read_back)
{
    az_ctx *az = az_open(NULL);
    const az_map *map = az_map_file(az, sample(az));
    const az_gguf *gguf = az_gguf_parse(az, map->data, map->size);
    cr_assert_not_null(gguf, "%s", az_error(az));
    cr_assert_eq(gguf->version, 3);
    cr_assert_eq(gguf->alignment, 64);
    int64_t integer;
    double real;
    az_text text;
    bool truth;
    cr_assert(az_gguf_integer(az_gguf_find(gguf, "scalar.0"), &integer) && integer == 1);
    cr_assert(az_gguf_integer(az_gguf_find(gguf, "scalar.4"), &integer) && integer == 0x04030201);
    cr_assert(!az_gguf_integer(az_gguf_find(gguf, "scalar.10"), &integer), "2^63 and more is no int64");
    cr_assert(az_gguf_integer(az_gguf_find(gguf, "scalar.11"), &integer) && integer < 0);
    cr_assert(az_gguf_real(az_gguf_find(gguf, "scalar.6"), &real) && real != 0);
    cr_assert(az_gguf_bool(az_gguf_find(gguf, "scalar.7"), &truth) && truth);
    cr_assert(az_gguf_string(az_gguf_find(gguf, "text"), &text) && text.length == 3 && memcmp(text.data, "\xff\0z", 3) == 0);
    cr_assert_eq(az_gguf_item(az_gguf_find(gguf, "array.2"), 1), 0x0403);
    cr_assert_eq(az_gguf_find(gguf, "nested")->count, 2);
    cr_assert_null(az_gguf_find(gguf, "absent"));
    const az_gguf_tensor *matrix = az_gguf_find_tensor(gguf, "matrix");
    cr_assert(matrix && matrix->rank == 2 && matrix->shape[0] == 32 && matrix->shape[1] == 3 && matrix->bytes == 102);
    cr_assert_eq(((const float *)az_gguf_find_tensor(gguf, "vector")->data)[1], -2);
    az_close(az);
}

Test(gguf, a_copy_is_the_same_file)
{
    az_ctx *az = az_open(NULL);
    expect_copy(az, sample(az));
    az_close(az);
}

Test(gguf, copies_of_other_programs_files_are_the_same)
{
    az_ctx *az = az_open(NULL);
    expect_copy(az, test_data(az, "models/stories260K/stories260K.gguf"));
    expect_copy(az, test_data(az, "models/gguf-vocab/ggml-vocab-phi-3.gguf"));
    az_close(az);
}

Test(gguf, a_key_put_twice_stands_once)
{
    az_ctx *az = az_open(NULL);
    const char *path = test_path(az, test_folder(az), "twice.gguf");
    az_gguf_writer *writer = az_gguf_create(az, path);
    const unsigned char seven[8] = {7};
    const az_gguf_key wide = raw_key("n", AZ_GGUF_U64, AZ_GGUF_U64, 1, seven, 8);
    cr_assert(az_gguf_put(writer, &wide) && az_gguf_put_string(writer, "s", az_text_of("old")));
    cr_assert(az_gguf_put_integer(writer, "n", 7) && az_gguf_put_string(writer, "s", az_text_of("new")));
    cr_assert(az_gguf_commit(writer));
    const az_map *map = az_map_file(az, path);
    const az_gguf *gguf = az_gguf_parse(az, map->data, map->size);
    az_text text;
    cr_assert_eq(gguf->keys, 2);
    cr_assert_eq(az_gguf_find(gguf, "n")->type, AZ_GGUF_U64);
    cr_assert(az_gguf_string(az_gguf_find(gguf, "s"), &text) && az_text_equal(text, az_text_of("new")));
    az_close(az);
}

Test(gguf, an_unfinished_file_is_not_written)
{
    az_ctx *az = az_open(NULL);
    const char *path = test_path(az, test_folder(az), "unfinished.gguf");
    az_gguf_writer *writer = az_gguf_create(az, path);
    az_gguf_declare(writer, az_text_of("t"), 1, (const uint64_t[]){4}, 0);
    cr_assert(!az_gguf_write(writer, "123", 3));
    cr_assert(strstr(az_error(az), "declared with 16 bytes, not 3"), "%s", az_error(az));
    az_clear(az);
    cr_assert(!az_gguf_commit(writer));
    az_clear(az);
    cr_assert_null(az_map_file(az, path));
    az_close(az);
}

/* ---- damage ---- */

/* Parses the sample with `bytes` written over its position. */
static void expect_damage(size_t at, const void *bytes, size_t n, const char *why)
{
    az_ctx *az = az_open(NULL);
    const az_map *map = az_map_file(az, sample(az));
    unsigned char *copy = az_alloc(az, map->size);
    memcpy(copy, map->data, map->size);
    memcpy(copy + at, bytes, n);
    cr_assert_null(az_gguf_parse(az, copy, map->size));
    cr_assert_eq(az_status_of(az), AZ_BAD_INPUT);
    cr_assert(strstr(az_error(az), why), "'%s' does not say '%s'", az_error(az), why);
    az_close(az);
}

/* Where a text stands in the sample. */
static size_t position(const char *text, size_t length)
{
    az_ctx *az = az_open(NULL);
    const az_map *map = az_map_file(az, sample(az));
    const unsigned char *found = memmem(map->data, map->size, text, length);
    cr_assert_not_null(found);
    const size_t at = (size_t)(found - map->data);
    az_close(az);
    return at;
}

Test(gguf, damage_is_named)
{
    const uint64_t huge = UINT64_MAX, many = 1 << 20, two_to_62 = (uint64_t)1 << 62;
    const size_t vector = position("vector", 6) + 6, matrix = position("matrix", 6) + 6;
    expect_damage(0, "GGML", 4, "does not begin with");
    expect_damage(4, "\1\0\0\0", 4, "version 1");
    expect_damage(4, "\0\0\0\3", 4, "big-endian");
    expect_damage(4, "\4\0\0\0", 4, "version 4 is unknown");
    expect_damage(8, &huge, 8, "promises");
    expect_damage(16, &many, 8, "promises");
    expect_damage(24, &huge, 8, "ends inside key 1");
    expect_damage(position("scalar.0", 8) + 8, "\x0d", 1, "'scalar.0' has the unknown type 13");
    expect_damage(position("array.6", 7) + 7 + 8, &huge, 8, "'array.6' promises");
    expect_damage(position("strings", 7) + 7 + 8, &many, 8, "'strings' promises");
    expect_damage(position("scalar.1", 8), "scalar.0", 8, "key 'scalar.0' stands twice");
    expect_damage(position("general.alignment", 17) + 17 + 4, "\x30", 1, "alignment is 48");
    expect_damage(vector, "\5", 1, "'vector' has 5 axes");
    expect_damage(vector + 4, "\0", 1, "'vector' has an empty axis");
    expect_damage(vector + 4, &two_to_62, 8, "'vector' wants more bytes");
    expect_damage(vector + 4 + 8, "\4", 1, "'vector' has the unknown type 4");
    expect_damage(vector + 4 + 8, "\10", 1, "'vector' is Q8_0, whose rows");
    expect_damage(vector + 4 + 8 + 4, "\10", 1, "no multiple of the alignment");
    expect_damage(vector + 4 + 8 + 4, "\100", 1, "overlap");
    expect_damage(matrix + 4 + 16 + 4, "\0\0\1", 3, "lies beyond");
    expect_damage(position("matrix", 6), "vector", 6, "tensor 'vector' stands twice");
}

Test(gguf, every_truncation_is_an_error)
{
    az_ctx *az = az_open(NULL);
    const az_map *map = az_map_file(az, sample(az));
    for (size_t size = 0; size < map->size - 56; size++) { /* the last tensor is 8 bytes, its padding 56 */
        az_scope_push(az);
        unsigned char *copy = az_alloc(az, size); /* of its own, so that the sanitizer sees reads behind it */
        memcpy(copy, map->data, size);
        cr_assert_null(az_gguf_parse(az, copy, size), "%zu bytes", size);
        cr_assert_eq(az_status_of(az), AZ_BAD_INPUT);
        az_clear(az);
        az_scope_pop(az);
    }
    az_close(az);
}

/* ---- models ---- */

static az_tensor *logits(az_ctx *az, const az_lm *lm, int n)
{
    int32_t token[16];
    for (int i = 0; i < n; i++) token[i] = (int32_t)((i * 37 + 5) % lm->config.vocabulary);
    const int64_t start[] = {0, n};
    return az_lm_forward(az, lm, &(az_lm_batch){.sequences = 1, .token = token, .start = start}, NULL);
}

Test(gguf, a_model_reads_back_the_same)
{
    for (int tied = 0; tied < 2; tied++) {
        az_ctx *az = az_open(NULL);
        az_lm *lm = test_llama(az, tied);
        const char *folder = test_folder(az), *path = test_path(az, folder, "small.gguf"), *again = test_path(az, folder, "again.gguf");
        cr_assert(az_lm_save(az, lm, path, NULL), "%s", az_error(az));
        az_lm *back = az_lm_load(az, path);
        cr_assert_not_null(back, "%s", az_error(az));
        cr_assert_str_eq(back->name, "small");
        cr_assert_eq(back->config.tied, tied);
        cr_assert_eq(back->config.kv_heads, 2);
        cr_assert_eq(back->config.context, 128);
        cr_assert_float_eq(back->config.norm_eps, lm->config.norm_eps, 1e-12);
        az_lm_slot *a, *b;
        const int n = az_lm_slots(az, lm, &a);
        cr_assert_eq(az_lm_slots(az, back, &b), n);
        for (int i = 0; i < n; i++) {
            if (!(a[i].weight ? (void *)*a[i].weight : *a[i].vector)) continue;
            const az_tensor *x = a[i].weight ? (*a[i].weight)->part[0] : *a[i].vector,
                            *y = b[i].weight ? (*b[i].weight)->part[0] : *b[i].vector;
            cr_assert(az_same_shape(x, y) && memcmp(x->data, y->data, (size_t)az_count(x) * 4) == 0, "%s", a[i].name);
        }
        cr_assert(az_lm_save(az, back, again, NULL), "%s", az_error(az));
        expect_same_file(az, path, again);
        az_close(az);
    }
}

Test(gguf, stories_is_written_back_to_the_byte)
{
    az_ctx *az = az_open(NULL);
    const char *path = test_data(az, "models/stories260K/stories260K.gguf"), *copy = test_path(az, test_folder(az), "stories.gguf");
    az_lm *lm = az_lm_load(az, path);
    cr_assert_not_null(lm, "%s", az_error(az));
    cr_assert(az_lm_save(az, lm, copy, NULL), "%s", az_error(az));
    expect_same_file(az, path, copy);
    az_close(az);
}

Test(gguf, a_tokenizer_keeps_its_tokens_in_a_file)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = test_llama(az, true);
    const char *path = test_path(az, test_folder(az), "small.gguf"), *text = "the cat and the hat \xc3\xa9 sat\n";
    cr_assert(az_lm_save(az, lm, path, NULL), "%s", az_error(az));
    const az_lm *back = az_lm_load(az, path);
    const az_tokens a = az_tokenize(az, lm->tokenizer, text, strlen(text), AZ_ADD_BOS);
    const az_tokens b = az_tokenize(az, back->tokenizer, text, strlen(text), AZ_ADD_BOS);
    cr_assert_eq(a.n, b.n);
    cr_assert_eq(memcmp(a.id, b.id, (size_t)a.n * sizeof *a.id), 0);
    cr_assert(az_tokenizer_wants_bos(back->tokenizer));
    az_close(az);
}

Test(gguf, quantized_copies_keep_norms_embedding_and_head)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = test_llama(az, false);
    const char *path = test_path(az, test_folder(az), "q4.gguf");
    cr_assert(az_lm_save(az, lm, path, az_format_by_name("q4_0")), "%s", az_error(az));
    const az_lm *back = az_lm_load(az, path);
    cr_assert_not_null(back, "%s", az_error(az));
    cr_assert_str_eq(back->block[0].q.weight->format->name, "q4_0");
    cr_assert_str_eq(back->block[1].down.weight->format->name, "q4_0");
    cr_assert_str_eq(back->embedding->format->name, "q8_0");
    cr_assert_str_eq(back->head.weight->format->name, "q8_0");
    cr_assert_eq(back->block[0].attn_norm.weight->dtype, AZ_F32);
    az_close(az);
}

Test(gguf, rows_that_are_no_whole_blocks_stay_f16)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = az_lm_load(az, test_data(az, "models/stories260K/stories260K.gguf"));
    const char *path = test_path(az, test_folder(az), "q8.gguf");
    cr_assert(az_lm_save(az, lm, path, az_format_by_name("q8_0")), "%s", az_error(az));
    const az_lm *back = az_lm_load(az, path);
    cr_assert_not_null(back, "%s", az_error(az));
    cr_assert_str_eq(back->block[0].gate.weight->format->name, "q8_0"); /* rows of 64 */
    cr_assert_str_eq(back->block[0].down.weight->format->name, "f16");  /* rows of 172 */
    az_close(az);
}

Test(gguf, loading_copies_no_weights)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = az_lm_load(az, test_data(az, "models/stories260K/stories260K.gguf"));
    cr_assert_not_null(lm, "%s", az_error(az));
    cr_assert_lt(az_memory_peak(az), az_lm_bytes(lm) / 2);
    const size_t held = az_memory_now(az);
    az_lm_free(az, lm);
    cr_assert_lt(az_memory_now(az), held);
    az_close(az);
}

static void expect_load_error(az_ctx *az, const char *path, const char *why)
{
    cr_assert_null(az_lm_load(az, path));
    cr_assert(strstr(az_error(az), why), "'%s' does not say '%s'", az_error(az), why);
    az_clear(az);
}

Test(gguf, other_files_are_refused_with_a_reason)
{
    az_ctx *az = az_open(NULL);
    expect_load_error(az, test_data(az, "models/gguf-vocab/ggml-vocab-phi-3.gguf"), "tensor 'token_embd.weight' is missing");
    expect_load_error(az, test_data(az, "models/mnist-mlp/mnist_mlp.safetensors"), "safetensors");
    expect_load_error(az, test_data(az, "models/bpe-reference/corpus.en"), "neither a GGUF file nor a llama2.c checkpoint");
    expect_load_error(az, test_data(az, "models"), "folder");
    expect_load_error(az, "/no/such/file", "No such file");
    az_close(az);
}

/* The sample model with more keys and, if `divisors` is not NULL, a tensor rope_freqs.weight of 4 values. */
static az_lm *load_with(az_ctx *az, const char *text_key, const char *text, const char *real_key, double real, const float *divisors)
{
    const char *folder = test_folder(az), *path = test_path(az, folder, "plain.gguf"), *more = test_path(az, folder, "more.gguf");
    cr_assert(az_lm_save(az, test_llama(az, true), path, NULL), "%s", az_error(az));
    const az_map *map = az_map_file(az, path);
    const az_gguf *gguf = az_gguf_parse(az, map->data, map->size);
    az_gguf_writer *writer = az_gguf_create(az, more);
    for (int64_t i = 0; i < gguf->keys; i++) az_gguf_put(writer, &gguf->key[i]);
    if (text_key) az_gguf_put_string(writer, text_key, az_text_of(text));
    if (real_key) az_gguf_put_real(writer, real_key, real);
    if (divisors) az_gguf_declare(writer, az_text_of("rope_freqs.weight"), 1, (const uint64_t[]){4}, 0);
    for (int64_t i = 0; i < gguf->tensors; i++)
        az_gguf_declare(writer, gguf->tensor[i].name, gguf->tensor[i].rank, gguf->tensor[i].shape, gguf->tensor[i].type);
    if (divisors) az_gguf_write(writer, divisors, 16);
    for (int64_t i = 0; i < gguf->tensors; i++) az_gguf_write(writer, gguf->tensor[i].data, gguf->tensor[i].bytes);
    cr_assert(az_gguf_commit(writer), "%s", az_error(az));
    az_lm *lm = az_lm_load(az, more);
    const char *again = test_path(az, folder, "again.gguf");
    if (lm && az_lm_save(az, lm, again, NULL)) expect_same_file(az, more, again);
    return lm;
}

Test(gguf, rotary_scaling_divides_the_frequencies)
{
    az_ctx *az = az_open(NULL);
    const float divisors[] = {1, 2, 4, 8};
    const az_lm *linear = load_with(az, "llama.rope.scaling.type", "linear", "llama.rope.scaling.factor", 4, NULL);
    const az_lm *each = load_with(az, NULL, NULL, NULL, 0, divisors);
    cr_assert(linear && each, "%s", az_error(az));
    for (int i = 0; i < 4; i++) {
        const double plain = pow(10000, -i / 4.0);
        cr_assert_float_eq(az_item(linear->rope_frequency, i), plain / 4, 1e-7 * plain);
        cr_assert_float_eq(az_item(each->rope_frequency, i), plain / (1 << i), 1e-7 * plain);
    }
    const float zero[] = {1, 0, 1, 1};
    cr_assert_null(load_with(az, NULL, NULL, NULL, 0, zero));
    cr_assert(strstr(az_error(az), "rope_freqs.weight[1] = 0"), "%s", az_error(az));
    az_clear(az);
    cr_assert_null(load_with(az, "llama.rope.scaling.type", "dynamic", NULL, 0, NULL));
    cr_assert(strstr(az_error(az), "'dynamic'"), "%s", az_error(az));
    az_close(az);
}

Test(gguf, rotary_scaling_that_no_model_has_is_refused)
{
    static const struct {
        const char *type, *key;
        double value;
    } cases[] = {
        {"yarn", "llama.rope.scaling.original_context_length", 1e30},
        {"yarn", "llama.rope.scaling.yarn_beta_fast", 1e30},
        {"longrope", "llama.rope.scaling.original_context_length", 1e30},
        {"linear", "llama.rope.scaling.factor", 1e30},
        {"linear", "llama.rope.scaling.factor", -1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        az_ctx *az = az_open(NULL);
        cr_assert_null(load_with(az, "llama.rope.scaling.type", cases[i].type, cases[i].key, cases[i].value, NULL), "%s", cases[i].key);
        cr_assert_eq(az_status_of(az), AZ_BAD_INPUT);
        cr_assert(strstr(az_error(az), "scaling"), "%s", az_error(az));
        az_close(az);
    }
    az_ctx *az = az_open(NULL);
    cr_assert_null(load_with(az, NULL, NULL, NULL, 0, (const float[]){1, 1, 1, 1e30f}));
    cr_assert(strstr(az_error(az), "rope_freqs.weight[3]"), "%s", az_error(az));
    az_close(az);
}

/* The sample model with one key in another way, or without it (its type is none). */
static az_lm *load_with_key(az_ctx *az, const az_gguf_key *key)
{
    const char *folder = test_folder(az), *path = test_path(az, folder, "plain.gguf"), *changed = test_path(az, folder, "changed.gguf");
    cr_assert(az_lm_save(az, test_llama(az, true), path, NULL), "%s", az_error(az));
    const az_map *map = az_map_file(az, path);
    const az_gguf *gguf = az_gguf_parse(az, map->data, map->size);
    az_gguf_writer *writer = az_gguf_create(az, changed);
    for (int64_t i = 0; i < gguf->keys; i++)
        if (!az_text_equal(gguf->key[i].name, key->name)) az_gguf_put(writer, &gguf->key[i]);
    if (key->type != AZ_GGUF_TYPES) az_gguf_put(writer, key);
    for (int64_t i = 0; i < gguf->tensors; i++)
        az_gguf_declare(writer, gguf->tensor[i].name, gguf->tensor[i].rank, gguf->tensor[i].shape, gguf->tensor[i].type);
    for (int64_t i = 0; i < gguf->tensors; i++) az_gguf_write(writer, gguf->tensor[i].data, gguf->tensor[i].bytes);
    cr_assert(az_gguf_commit(writer), "%s", az_error(az));
    return az_lm_load(az, changed);
}

Test(gguf, keys_of_the_wrong_kind_are_named_and_lists_of_one_number_are_read)
{
    static const uint32_t same[] = {4, 4}, kv[] = {2, 2}, other[] = {4, 2}, hidden[] = {64, 64};
    static const float real[] = {4, 4}, four = 4, zero = 0;
    static const unsigned char no = 0;
    const struct {
        const char *name, *says; /* NULL = it is read */
        az_gguf_type type, item;
        uint64_t count;
        const void *data;
        size_t bytes;
    } cases[] = {
        {"llama.attention.head_count", NULL, AZ_GGUF_ARRAY, AZ_GGUF_U32, 2, same, sizeof same},
        {"llama.attention.head_count_kv", NULL, AZ_GGUF_ARRAY, AZ_GGUF_U32, 2, kv, sizeof kv},
        {"llama.feed_forward_length", NULL, AZ_GGUF_ARRAY, AZ_GGUF_U32, 2, hidden, sizeof hidden},
        {"llama.attention.head_count", "is 4 for block 0 and 2 for block 1", AZ_GGUF_ARRAY, AZ_GGUF_U32, 2, other, sizeof other},
        {"llama.attention.head_count", "is not a list of an integer for each of 2 blocks", AZ_GGUF_ARRAY, AZ_GGUF_U32, 1, same, 4},
        {"llama.attention.head_count", "is not a list of an integer", AZ_GGUF_ARRAY, AZ_GGUF_F32, 2, real, sizeof real},
        {"llama.embedding_length", "key 'llama.embedding_length' is not an integer", AZ_GGUF_ARRAY, AZ_GGUF_U32, 2, same, sizeof same},
        {"llama.rope.freq_base", "key 'llama.rope.freq_base' is not a number", AZ_GGUF_ARRAY, AZ_GGUF_F32, 2, real, sizeof real},
        {"llama.rope.scaling.factor", "key 'llama.rope.scaling.factor' is not a number", AZ_GGUF_ARRAY, AZ_GGUF_F32, 2, real, sizeof real},
        {"llama.rope.scaling.type", "key 'llama.rope.scaling.type' is not a text", AZ_GGUF_F32, AZ_GGUF_F32, 1, &four, 4},
        {"llama.attention.value_length", "keys have 8 dimensions a head and values 4", AZ_GGUF_U32, AZ_GGUF_U32, 1, same, 4},
        {"llama.rope.freq_base", "key 'llama.rope.freq_base' is 0: must be positive", AZ_GGUF_F32, AZ_GGUF_F32, 1, &zero, 4},
        {"llama.attention.layer_norm_rms_epsilon", "is 0: must be positive", AZ_GGUF_F32, AZ_GGUF_F32, 1, &zero, 4},
        {"llama.block_count", "llama.block_count = 0 or missing: must be", AZ_GGUF_U32, AZ_GGUF_U32, 1, &zero, 4},
        {"general.architecture", "key 'general.architecture' is not a text", AZ_GGUF_U32, AZ_GGUF_U32, 1, &zero, 4},
        {"tokenizer.ggml.model", "key 'tokenizer.ggml.model' is not a text", AZ_GGUF_U32, AZ_GGUF_U32, 1, &zero, 4},
        {"tokenizer.chat_template", "key 'tokenizer.chat_template' is not a text", AZ_GGUF_U32, AZ_GGUF_U32, 1, &zero, 4},
        {"tokenizer.ggml.eos_token_id", "key 'tokenizer.ggml.eos_token_id' is not an integer", AZ_GGUF_F32, AZ_GGUF_F32, 1, &zero, 4},
        {"tokenizer.ggml.add_bos_token", "key 'tokenizer.ggml.add_bos_token' is not true or false", AZ_GGUF_U32, AZ_GGUF_U32, 1, same, 4},
        {"llama.use_parallel_residual", "is not true or false", AZ_GGUF_F32, AZ_GGUF_F32, 1, &four, 4},
        {"llama.attention.causal", "'llama.attention.causal' is false", AZ_GGUF_BOOL, AZ_GGUF_BOOL, 1, &no, 1},
        {"llama.attention.layer_norm_rms_epsilon", "key 'llama.attention.layer_norm_rms_epsilon' is missing", AZ_GGUF_TYPES, 0, 0, NULL, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        az_ctx *az = az_open(NULL);
        const az_gguf_key key = {.name = az_text_of(cases[i].name),
                                 .type = cases[i].type,
                                 .item = cases[i].item,
                                 .count = cases[i].count,
                                 .data = cases[i].data,
                                 .bytes = cases[i].bytes};
        const az_lm *lm = load_with_key(az, &key);
        cr_assert_eq(lm != NULL, cases[i].says == NULL, "%s: %s", cases[i].name, az_error(az));
        cr_assert(lm || strstr(az_error(az), cases[i].says), "'%s' does not say '%s'", az_error(az), cases[i].says);
        az_close(az);
    }
}

Test(gguf, the_old_key_of_linear_scaling_is_read)
{
    az_ctx *az = az_open(NULL);
    const az_lm *old = load_with(az, NULL, NULL, "llama.rope.scale_linear", 4, NULL);
    const az_lm *none = load_with(az, NULL, NULL, "llama.rope.scaling.factor", 0, NULL);
    cr_assert(old && none, "%s", az_error(az));
    for (int i = 0; i < 4; i++) cr_assert_float_eq(4 * az_item(old->rope_frequency, i), az_item(none->rope_frequency, i), 1e-7);
    az_close(az);
}

Test(gguf, rows_without_a_token_are_padded_in_the_file)
{
    az_ctx *az = az_open(NULL);
    const az_lm_config config = {.vocabulary = 280, .width = 32, .blocks = 1, .heads = 4, .hidden = 32, .context = 16, .tied = true};
    az_lm *lm = az_lm_new(az, "llama", &config, test_tokenizer(az), 1);
    const char *path = test_path(az, test_folder(az), "padded.gguf");
    cr_assert(az_lm_save(az, lm, path, NULL), "%s", az_error(az));
    const az_lm *back = az_lm_load(az, path);
    cr_assert_not_null(back, "%s", az_error(az));
    cr_assert_eq(az_vocabulary(back->tokenizer), 280);
    cr_assert_str_eq(az_token_text(back->tokenizer, 279), "[PAD279]");
    az_close(az);
}

/* A file whose tensors or keys are not those of the model it claims to be. */
static az_lm *load_changed(az_ctx *az, const char *from, const char *to)
{
    az_lm *lm = test_llama(az, true);
    const char *path = test_path(az, test_folder(az), "changed.gguf");
    cr_assert(az_lm_save(az, lm, path, NULL), "%s", az_error(az));
    const az_map *map = az_map_file(az, path);
    unsigned char *copy = az_alloc(az, map->size);
    memcpy(copy, map->data, map->size);
    unsigned char *found = memmem(copy, map->size, from, strlen(from));
    cr_assert_not_null(found);
    memcpy(found, to, strlen(to));
    return az_lm_from_bytes(az, copy, map->size);
}

Test(gguf, what_does_not_fit_the_architecture_is_named)
{
    const char *const changes[][3] = {
        {"blk.1.ffn_up", "blk.7.ffn_up", "1 tensor is missing: blk.1.ffn_up.weight"},
        {"llama.block_count\4", "llama.block_kount\4", "'llama.block_count' is missing"},
        {"general.architecture", "general.architektur_", "'general.architecture' is missing"},
        {"llama.attention.head_count\4\0\0\0\4", "llama.attention.head_count\4\0\0\0\3", ""},
        {"token_embd", "token_embb", "'token_embd.weight' is missing"},
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        az_ctx *az = az_open(NULL);
        az_lm *lm = load_changed(az, changes[i][0], changes[i][1]);
        if (*changes[i][2]) {
            cr_assert_null(lm);
            cr_assert(strstr(az_error(az), changes[i][2]), "'%s' does not say '%s'", az_error(az), changes[i][2]);
        }
        az_close(az);
    }
}

/* Random damage to a model: an error, or a model that runs. */
Test(gguf, damaged_models_fail_or_run)
{
    az_ctx *az = az_open(&(az_settings){.threads = 1, .memory_limit = (size_t)256 << 20});
    az_lm *lm = test_llama(az, true);
    const char *path = test_path(az, test_folder(az), "small.gguf");
    cr_assert(az_lm_save(az, lm, path, NULL), "%s", az_error(az));
    const az_map *map = az_map_file(az, path);
    const az_gguf *gguf = az_gguf_parse(az, map->data, map->size);
    const size_t head = (size_t)((const unsigned char *)gguf->tensor[0].data - map->data);
    az_rng rng = az_rng_at(3, 0);
    int loaded = 0;
    for (int round = 0; round < 3000; round++) {
        az_scope_push(az);
        unsigned char *copy = az_alloc(az, map->size);
        memcpy(copy, map->data, map->size);
        const size_t where = round % 2 ? head : map->size; /* keys and descriptions, or anywhere */
        for (uint64_t flips = 1 + az_below(&rng, 3); flips > 0; flips--)
            copy[az_below(&rng, where)] ^= (unsigned char)(1 << az_below(&rng, 8));
        az_lm *damaged = az_lm_from_bytes(az, copy, map->size);
        if (damaged) {
            loaded++;
            logits(az, damaged, 5);
            az_lm_free(az, damaged);
        } else {
            cr_assert(!az_ok(az) && *az_error(az));
        }
        az_clear(az);
        az_scope_pop(az);
    }
    cr_assert_gt(loaded, 300, "%d", loaded);
    cr_assert_lt(loaded, 2700);
    az_close(az);
}
