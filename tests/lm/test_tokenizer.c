/* Tokens of real vocabularies against the numbers their makers' programs give, laws that hold for every text, and hand-made cases. */
#include "lm/tokenizer/tokenizer.h"
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

/* ---- hand-made vocabularies ---- */

/* A byte-level vocabulary: 256 bytes, "<|end|>", then the results of the merges. */
static az_tokenizer *byte_level(az_ctx *az, const char *pattern, const char *const *merges, int n)
{
    az_text *text = az_alloc_array(az, 257 + (size_t)n, sizeof *text), *merge = az_alloc_array(az, (size_t)n, sizeof *merge);
    int32_t *type = az_alloc_array(az, 257 + (size_t)n, sizeof *type);
    for (int i = 0; i < 257 + n; i++) type[i] = i == 256 ? AZ_TOKEN_CONTROL : AZ_TOKEN_NORMAL;
    for (int i = 0; i < 256; i++) {
        char spelling[3];
        az_byte_spelling((unsigned char)i, spelling);
        text[i] = az_text_of(az_strdup(az, spelling));
    }
    text[256] = az_text_of("<|end|>");
    for (int i = 0; i < n; i++) {
        const char *space = strchr(merges[i], ' ');
        merge[i] = az_text_of(merges[i]);
        text[257 + i] = az_text_of(az_format_text(az, "%.*s%s", (int)(space - merges[i]), merges[i], space + 1));
    }
    const az_tokenizer_parts parts = {.kind = AZ_TOKENIZER_RANKS,
                                      .size = 257 + n,
                                      .text = text,
                                      .type = type,
                                      .merges = n,
                                      .merge = merge,
                                      .pattern = az_word_pattern_by_name(az_text_of(pattern)),
                                      .bos = 256,
                                      .eos = 256,
                                      .unknown = -1};
    az_tokenizer *tokenizer = az_tokenizer_build(az, &parts);
    cr_assert_not_null(tokenizer, "%s", az_error(az));
    return tokenizer;
}

static const char *const low_merges[] = {"l o", "lo w", "e r", "n e", "ne w", "low er"};
enum { LO = 257, LOW, ER, NE, NEW, LOWER };

/* The tokens' bytes between bars. */
static const char *pieces(az_ctx *az, const az_tokenizer *tokenizer, const char *text, int flags)
{
    const az_tokens tokens = az_tokenize(az, tokenizer, text, strlen(text), flags);
    cr_assert(az_ok(az), "%s", az_error(az));
    const char *out = "";
    for (int64_t i = 0; i < tokens.n; i++) out = az_format_text(az, "%s%s%s", out, i ? "|" : "", az_token_text(tokenizer, tokens.id[i]));
    return out;
}

Test(tokenizer, merges_go_by_rank_then_from_the_left)
{
    az_ctx *az = az_open(NULL);
    const az_tokenizer *tokenizer = byte_level(az, "gpt-2", low_merges, 6);
    cr_assert_str_eq(pieces(az, tokenizer, "lower", 0), "lower");
    cr_assert_str_eq(pieces(az, tokenizer, "newer", 0), "new|er");
    cr_assert_str_eq(pieces(az, tokenizer, "lowlower", 0), "low|lower");
    cr_assert_str_eq(pieces(az, tokenizer, "slow new", 0), "s|low|\xc4\xa0|new");
    az_close(az);
}

Test(tokenizer, special_tokens_are_found_only_on_request)
{
    az_ctx *az = az_open(NULL);
    const az_tokenizer *tokenizer = byte_level(az, "gpt-2", low_merges, 6);
    cr_assert_str_eq(pieces(az, tokenizer, "low<|end|>er", AZ_PARSE_SPECIAL), "low|<|end|>|er");
    cr_assert_str_eq(pieces(az, tokenizer, "<|end|>", 0), "<|||e|n|d|||>");
    cr_assert_str_eq(pieces(az, tokenizer, "low", AZ_ADD_BOS | AZ_ADD_EOS), "<|end|>|low|<|end|>");
    const int32_t ids[] = {256, LOW, 256, ER};
    cr_assert_str_eq(az_detokenize(az, tokenizer, ids, 4, NULL), "lower");
    az_close(az);
}

static const char *words(az_ctx *az, const char *pattern, const char *text)
{
    az_words *walk = az_words_new(az, az_word_code(az, az_word_pattern_by_name(az_text_of(pattern))));
    az_words_begin(walk, text, strlen(text));
    const char *out = "";
    for (az_text word; (word = az_words_next(walk)).length > 0;) out = az_format_text(az, "%s[%.*s]", out, (int)word.length, word.data);
    cr_assert(az_ok(az), "%s", az_error(az));
    return out;
}

Test(tokenizer, patterns_cut_words_as_the_models_do)
{
    az_ctx *az = az_open(NULL);
    const char *text = "Hello  world! It's 12345,\n\n  ok_y";
    cr_assert_str_eq(words(az, "gpt-2", text), "[Hello][ ][ world][!][ It]['s][ 12345][,][\n\n ][ ok][_][y]");
    cr_assert_str_eq(words(az, "llama-bpe", text), "[Hello][ ][ world][!][ It]['s][ ][123][45][,\n\n][ ][ ok][_y]");
    cr_assert_str_eq(words(az, "qwen2", text), "[Hello][ ][ world][!][ It]['s][ ][1][2][3][4][5][,\n\n][ ][ ok][_y]");
    /* no-break space and ideographic space are white space, U+180E is not */
    cr_assert_str_eq(words(az, "gpt-2",
                           "a\xc2\xa0\xe3\x80\x80"
                           "b\xe1\xa0\x8e"
                           "c"),
                     "[a][\xc2\xa0][\xe3\x80\x80][b][\xe1\xa0\x8e][c]");
    az_close(az);
}

Test(tokenizer, bytes_that_are_not_utf8_survive)
{
    az_ctx *az = az_open(NULL);
    const az_tokenizer *ranks = byte_level(az, "gpt-2", low_merges, 6);
    const az_tokenizer *scores = read_gguf(az, "models/stories260K/stories260K.gguf");
    const char *texts[] = {"\xff", "low\xc3low", "\xe2\x82", "a\x80\x80z", "\xf4\x90\x80\x80", "\xed\xa0\x80", "\xc0\xaf lower"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        expect_round_trip(az, ranks, texts[i], strlen(texts[i]));
        expect_round_trip(az, scores, texts[i], strlen(texts[i]));
    }
    expect_round_trip(az, ranks, "zero\0inside", 11);
    expect_round_trip(az, scores, "zero\0inside", 11);
    az_close(az);
}

Test(tokenizer, pieces_of_a_stream_join_to_the_text)
{
    az_ctx *az = az_open(NULL);
    const az_tokenizer *tokenizer = read_gguf(az, "models/stories260K/stories260K.gguf");
    const char *text = " Once, \xc3\xbc"
                       "ber 3 hills ";
    const az_tokens tokens = az_tokenize(az, tokenizer, text, strlen(text), AZ_ADD_BOS | AZ_ADD_EOS);
    char joined[64];
    size_t n = 0, bytes;
    for (int64_t i = 0; i < tokens.n; i++) {
        const char *piece = az_token_bytes(tokenizer, tokens.id[i], i ? tokens.id[i - 1] : -1, &bytes);
        memcpy(joined + n, piece, bytes);
        n += bytes;
    }
    cr_assert_eq(n, strlen(text));
    cr_assert_eq(memcmp(joined, text, n), 0);
    az_token_bytes(tokenizer, 512, 1, &bytes);
    cr_assert_eq(bytes, 0);
    az_close(az);
}

Test(tokenizer, long_texts_repeat_what_short_ones_give)
{
    az_ctx *az = az_open(NULL);
    const az_tokenizer *both[] = {byte_level(az, "gpt-2", low_merges, 6), read_gguf(az, "models/stories260K/stories260K.gguf")};
    const char *piece = "newer slow, lower Lily.\n";
    for (int k = 0; k < 2; k++) {
        const az_tokens one = az_tokenize(az, both[k], piece, strlen(piece), 0);
        enum { TIMES = 1000 };
        char *text = az_alloc(az, TIMES * strlen(piece) + 1);
        for (int i = 0; i < TIMES; i++) memcpy(text + (size_t)i * strlen(piece), piece, strlen(piece));
        const az_tokens all = az_tokenize(az, both[k], text, TIMES * strlen(piece), 0);
        size_t bytes;
        const char *back = az_detokenize(az, both[k], all.id, all.n, &bytes);
        cr_assert_eq(bytes, TIMES * strlen(piece));
        cr_assert_eq(memcmp(back, text, bytes), 0);
        for (int64_t i = 0; i + 8 < one.n; i++) cr_assert_eq(all.id[i], one.id[i]);
        if (k == 0) cr_assert_eq(all.n, TIMES * one.n);
    }
    az_close(az);
}

Test(tokenizer, a_word_of_a_million_letters)
{
    az_ctx *az = az_open(NULL);
    const az_tokenizer *tokenizer = byte_level(az, "gpt-2", (const char *const[]){"a a", "aa aa", "aaaa aaaa"}, 3);
    enum { N = 1000003 };
    char *text = az_alloc(az, N);
    memset(text, 'a', N);
    const az_tokens tokens = az_tokenize(az, tokenizer, text, N, 0);
    cr_assert_eq(tokens.n, N / 8 + 2); /* eights, then aa and a */
    cr_assert_eq(tokens.id[tokens.n - 1], 'a');
    az_close(az);
}

/* ---- training ---- */

Test(tokenizer, training_gives_the_reference_merges)
{
    az_ctx *az = az_open(NULL);
    az_document corpus;
    corpus.text = az_read_file(az, test_data(az, "models/bpe-reference/corpus.en"), &corpus.length);
    const char *reference = az_read_file(az, test_data(az, "models/bpe-reference/train-bpe-reference-merges.txt"), NULL);
    const az_documents documents = {.count = 1, .item = &corpus};
    const az_tokenizer *tokenizer = az_tokenizer_train(az, &documents, 500);
    cr_assert_not_null(tokenizer, "%s", az_error(az));
    cr_assert_eq(az_vocabulary(tokenizer), 500);
    for (int i = 0; i < tokenizer->merges; i++) {
        const char *merge = az_format_text(az, "%s %s\n", az_token_text(tokenizer, tokenizer->merge[i].left),
                                           az_token_text(tokenizer, tokenizer->merge[i].right));
        cr_assert_eq(strncmp(reference, merge, strlen(merge)), 0, "merge %d is %s", i, merge);
        reference += strlen(merge);
    }
    cr_assert_str_eq(reference, "");
    cr_assert_str_eq(az_token_text(tokenizer, az_token_eos(tokenizer)), "<|endoftext|>");
    az_close(az);
}

/* What the trainer does, by counting everything again for each merge. */
static const char *train_by_brute_force(az_ctx *az, const char *text, int merges)
{
    const size_t n = strlen(text);
    const char **token = az_alloc_array(az, n, sizeof *token), *list = "";
    size_t left = n;
    for (size_t i = 0; i < n; i++) token[i] = az_format_text(az, "%c", text[i]);
    for (int m = 0; m < merges; m++) {
        const char *best_a = NULL, *best_b = NULL;
        int best = 0;
        for (size_t i = 0; i + 1 < left; i++) {
            int count = 0;
            for (size_t k = 0; k + 1 < left; k++) count += strcmp(token[k], token[i]) == 0 && strcmp(token[k + 1], token[i + 1]) == 0;
            const int order = best_a ? strcmp(token[i], best_a) ? strcmp(token[i], best_a) : strcmp(token[i + 1], best_b) : 1;
            if (count < best || (count == best && order <= 0)) continue;
            best = count, best_a = token[i], best_b = token[i + 1];
        }
        size_t kept = 0;
        for (size_t i = 0; i < left; i++) {
            const bool pair = i + 1 < left && strcmp(token[i], best_a) == 0 && strcmp(token[i + 1], best_b) == 0;
            token[kept++] = pair ? az_format_text(az, "%s%s", best_a, best_b) : token[i];
            i += pair;
        }
        left = kept;
        list = az_format_text(az, "%s%s %s\n", list, best_a, best_b);
    }
    return list;
}

Test(tokenizer, training_agrees_with_brute_force)
{
    az_rng rng = az_rng_at(11, 0);
    for (int round = 0; round < 40; round++) {
        az_ctx *az = az_open(NULL);
        char text[200] = "";
        const uint64_t letters = 1 + az_below(&rng, 3); /* few, so that runs and ties are frequent */
        for (int i = 0; i < 150; i++) text[i] = (char)('a' + az_below(&rng, letters));
        const az_document document = {text, strlen(text)};
        const az_documents documents = {.count = 1, .item = (az_document *)&document};
        const az_tokenizer *tokenizer = az_tokenizer_train(az, &documents, 257 + 6);
        cr_assert_not_null(tokenizer, "%s", az_error(az));
        const char *merges = "";
        for (int i = 0; i < tokenizer->merges; i++)
            merges = az_format_text(az, "%s%s %s\n", merges, az_token_text(tokenizer, tokenizer->merge[i].left),
                                    az_token_text(tokenizer, tokenizer->merge[i].right));
        cr_assert_str_eq(merges, train_by_brute_force(az, text, tokenizer->merges));
        expect_round_trip(az, tokenizer, text, strlen(text));
        az_close(az);
    }
}

Test(tokenizer, training_ends_when_no_pair_is_left)
{
    az_ctx *az = az_open(NULL);
    const az_document document = {"ab ab", 5};
    const az_documents documents = {.count = 1, .item = (az_document *)&document};
    const az_tokenizer *tokenizer = az_tokenizer_train(az, &documents, 1000);
    cr_assert_not_null(tokenizer, "%s", az_error(az));
    cr_assert_eq(az_vocabulary(tokenizer), 257 + 2); /* "ab" and " ab" */
    cr_assert_null(az_tokenizer_train(az, &documents, 256));
    cr_assert_eq(az_status_of(az), AZ_BAD_INPUT);
    az_close(az);
}

/* ---- damaged vocabularies ---- */

static void expect_refusal(const az_tokenizer_parts *parts, const char *why)
{
    az_ctx *az = az_open(NULL);
    cr_assert_null(az_tokenizer_build(az, parts));
    cr_assert_eq(az_status_of(az), AZ_BAD_INPUT);
    cr_assert(strstr(az_error(az), why), "'%s' does not say '%s'", az_error(az), why);
    az_close(az);
}

Test(tokenizer, impossible_vocabularies_are_refused)
{
    const az_text text[] = {{"a", 1}, {"b", 1}}, merge[] = {{"a c", 3}}, shapeless[] = {{"ab", 2}};
    const float score[] = {0, 0.0f / 0.0f};
    const int32_t type[] = {AZ_TOKEN_NORMAL, 9};
    const az_tokenizer_parts good = {.kind = AZ_TOKENIZER_SCORES, .size = 2, .text = text, .bos = -1, .eos = -1, .unknown = -1};
    az_tokenizer_parts bad = good;
    bad.size = 0;
    expect_refusal(&bad, "from 1 to 2^24");
    bad = good, bad.bos = 2;
    expect_refusal(&bad, "the BOS token is 2");
    bad = good, bad.score = score;
    expect_refusal(&bad, "score of token 1");
    bad = good, bad.type = type;
    expect_refusal(&bad, "unknown type 9");
    bad = good, bad.kind = AZ_TOKENIZER_RANKS, bad.pattern = az_word_pattern_by_name(az_text_of("gpt-2")), bad.merges = 1,
    bad.merge = merge;
    expect_refusal(&bad, "not in the vocabulary");
    bad.merge = shapeless;
    expect_refusal(&bad, "not of the form");
}

Test(tokenizer, a_character_without_token_is_an_error)
{
    az_ctx *az = az_open(NULL);
    const az_text text[] = {{"a", 1}, {"b", 1}};
    const az_tokenizer_parts parts = {.kind = AZ_TOKENIZER_SCORES, .size = 2, .text = text, .bos = -1, .eos = -1, .unknown = -1};
    const az_tokenizer *tokenizer = az_tokenizer_build(az, &parts);
    cr_assert_eq(az_tokenize(az, tokenizer, "abba", 4, 0).n, 4);
    cr_assert_eq(az_tokenize(az, tokenizer, "abc", 3, 0).n, 0);
    cr_assert(strstr(az_error(az), "no token for the character 'c'"), "%s", az_error(az));
    az_close(az);
}
