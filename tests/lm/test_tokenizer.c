/* Tokens of real vocabularies against the numbers their makers' programs give, laws that hold for every text, and hand-made cases. */
#include "lm/tokenizer.h"
#include "support/data.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <string.h>

/* ---- support ---- */

static az_tokenizer *read_gguf(az_ctx *az, const char *name)
{
    const az_map *map = az_map_file(az, test_data(az, name));
    const az_gguf *gguf = map ? az_gguf_parse(az, map->data, map->size) : NULL;
    az_tokenizer *tokenizer = az_tokenizer_from_gguf(az, gguf);
    cr_assert_not_null(tokenizer, "%s", az_error(az));
    return tokenizer;
}

/* "1 2 3" */
static const char *show(az_ctx *az, az_tokens tokens)
{
    const char *text = "";
    for (int64_t i = 0; i < tokens.n; i++) text = az_format_text(az, "%s %d", text, tokens.id[i]);
    return text;
}

static void expect_round_trip(az_ctx *az, const az_tokenizer *tokenizer, const char *text, size_t length)
{
    const az_tokens tokens = az_tokenize(az, tokenizer, text, length, 0);
    cr_assert(az_ok(az), "%s", az_error(az));
    size_t back_length;
    const char *back = az_detokenize(az, tokenizer, tokens.id, tokens.n, &back_length);
    cr_assert_eq(back_length, length, "'%s' became '%s'", text, back);
    cr_assert_eq(memcmp(back, text, length), 0, "'%s' became '%s'", text, back);
}

/* The strings of an .inp file against the token lines of its .out file. */
static void expect_fixtures(const char *vocabulary)
{
    az_ctx *az = az_open(NULL);
    const az_tokenizer *tokenizer = read_gguf(az, vocabulary);
    size_t length;
    char *input = az_read_file(az, test_data(az, az_format_text(az, "%s.inp", vocabulary)), &length);
    char *output = az_read_file(az, test_data(az, az_format_text(az, "%s.out", vocabulary)), NULL);
    const char mark[] = "\n__ggml_vocab_test__\n";
    int cases = 0;
    for (char *at = input; at; cases++) {
        char *end = strstr(at, mark);
        const size_t bytes = end ? (size_t)(end - at) : strlen(at);
        char *line_end = strchr(output, '\n');
        if (line_end) *line_end = '\0';
        while (*output && output[strlen(output) - 1] == ' ') output[strlen(output) - 1] = '\0';
        if (!end && bytes == 0) break;
        const char *got = show(az, az_tokenize(az, tokenizer, at, bytes, 0));
        cr_assert(az_ok(az), "%s", az_error(az));
        cr_expect_str_eq(got, output, "case %d, '%.*s': got%s, wanted%s", cases, (int)bytes, at, got, output);
        expect_round_trip(az, tokenizer, at, bytes);
        output = line_end ? line_end + 1 : output;
        at = end ? end + sizeof mark - 1 : NULL;
    }
    cr_assert_geq(cases, 40);
    az_close(az);
}

/* A random character of 1 to 4 bytes; with `plain` from a small alphabet, so that merges happen. */
static size_t random_character(az_rng *rng, char *out, bool plain)
{
    static const char alphabet[] = "  etaoinshrdlu,.'\n\tTHE01289";
    uint32_t c = plain ? (uint32_t)alphabet[az_below(rng, sizeof alphabet - 1)] : 0;
    while (c == 0 || (c >= 0xd800 && c < 0xe000))
        c = (uint32_t)az_below(rng, (uint64_t[]){0x80, 0x800, 0x10000, 0x110000}[az_below(rng, 4)]);
    if (c < 0x80) return out[0] = (char)c, 1;
    const size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n; i-- > 1; c >>= 6) out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)((n == 2 ? 0xc0 : n == 3 ? 0xe0 : 0xf0) | c);
    return n;
}

static void expect_random_round_trips(const char *vocabulary)
{
    az_ctx *az = az_open(NULL);
    const az_tokenizer *tokenizer = read_gguf(az, vocabulary);
    az_rng rng = az_rng_at(7, 0);
    for (int round = 0; round < 300; round++) {
        az_scope_push(az);
        const size_t characters = az_below(&rng, round < 290 ? 60 : 6000);
        char *text = az_alloc(az, 4 * characters + 1);
        size_t length = 0;
        for (size_t i = 0; i < characters; i++) length += random_character(&rng, text + length, az_below(&rng, 4) > 0);
        expect_round_trip(az, tokenizer, text, length);
        az_scope_pop(az);
    }
    az_close(az);
}

/* ---- real vocabularies ---- */

Test(tokenizer, gpt2_fixtures)
{
    expect_fixtures("models/gguf-vocab/ggml-vocab-gpt-2.gguf");
}

Test(tokenizer, phi3_fixtures)
{
    expect_fixtures("models/gguf-vocab/ggml-vocab-phi-3.gguf");
}

Test(tokenizer, gpt2_decoding_undoes_encoding)
{
    expect_random_round_trips("models/gguf-vocab/ggml-vocab-gpt-2.gguf");
}

Test(tokenizer, phi3_decoding_undoes_encoding)
{
    expect_random_round_trips("models/gguf-vocab/ggml-vocab-phi-3.gguf");
}

Test(tokenizer, stories_examples)
{
    az_ctx *az = az_open(NULL);
    const az_tokenizer *gguf = read_gguf(az, "models/stories260K/stories260K.gguf");
    const az_tokenizer *bin = az_tokenizer_read_llama2c(az, test_data(az, "models/stories260K/tok512.bin"), 512);
    cr_assert_not_null(bin, "%s", az_error(az));
    json_t *reference = json_load_file(test_data(az, "models/stories260K/reference.json"), 0, NULL);
    json_t *examples = json_object_get(reference, "encode_examples"), *example;
    size_t i, k;
    cr_assert_geq(json_array_size(examples), 3);
    json_array_foreach(examples, i, example)
    {
        const char *text = json_string_value(json_array_get(example, 0)), *wanted = "";
        json_t *ids = json_array_get(example, 1), *id;
        json_array_foreach(ids, k, id) wanted = az_format_text(az, "%s %d", wanted, (int)json_integer_value(id));
        cr_assert_str_eq(show(az, az_tokenize(az, gguf, text, strlen(text), AZ_ADD_BOS)), wanted);
        cr_assert_str_eq(show(az, az_tokenize(az, bin, text, strlen(text), AZ_ADD_BOS)), wanted);
    }
    json_decref(reference);
    az_close(az);
}

Test(tokenizer, llama2c_and_gguf_hold_the_same_vocabulary)
{
    az_ctx *az = az_open(NULL);
    const az_tokenizer *gguf = read_gguf(az, "models/stories260K/stories260K.gguf");
    const az_tokenizer *bin = az_tokenizer_read_llama2c(az, test_data(az, "models/stories260K/tok512.bin"), 512);
    cr_assert_eq(az_vocabulary(gguf), az_vocabulary(bin));
    for (int32_t i = 0; i < 512; i++) {
        cr_assert_str_eq(az_token_text(bin, i), az_token_text(gguf, i));
        cr_assert_eq(bin->score[i], gguf->score[i]);
        cr_assert_eq(bin->type[i], gguf->type[i]);
    }
    cr_assert_eq(az_token_bos(bin), 1);
    cr_assert_eq(az_token_eos(bin), 2);
    az_close(az);
}
