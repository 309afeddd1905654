/* tokenizer_files.c - vocabularies out of GGUF metadata and llama2.c's tokenizer.bin, and into GGUF metadata. */
#include "lm/tokenizer.h"

#include <string.h>

/* ---- GGUF: reading ---- */

static bool no_array(az_ctx *az, const char *name)
{
    return az_fail(az, AZ_BAD_INPUT, "%s is missing or not an array of the right kind and length", name);
}

static const az_gguf_key *strings_key(const az_gguf *gguf, const char *name)
{
    const az_gguf_key *key = az_gguf_find(gguf, name);
    return key && key->type == AZ_GGUF_ARRAY && key->item == AZ_GGUF_STRING ? key : NULL;
}

static az_text *read_strings(az_ctx *az, const az_gguf_key *key)
{
    az_text *text = az_alloc_array(az, key->count, sizeof *text);
    const unsigned char *at = key->data;
    for (uint64_t i = 0; text && i < key->count; i++) text[i] = az_gguf_next_string(&at);
    return text;
}

/* An optional array of numbers, one a token. False when it is there and does not fit. */
static bool numbers_key(az_ctx *az, const az_gguf *gguf, const char *name, int64_t size, const az_gguf_key **found)
{
    const az_gguf_key *key = az_gguf_find(gguf, name);
    *found = key;
    if (!key) return true;
    const bool fits = key->type == AZ_GGUF_ARRAY && az_gguf_scalar_bytes(key->item) > 0 && key->count == (uint64_t)size;
    return fits || no_array(az, name);
}

static bool read_scores(az_ctx *az, const az_gguf *gguf, az_tokenizer_parts *parts)
{
    const az_gguf_key *key;
    if (!numbers_key(az, gguf, "tokenizer.ggml.scores", parts->size, &key)) return false;
    if (!key) return parts->kind != AZ_TOKENIZER_SCORES || no_array(az, "tokenizer.ggml.scores");
    float *score = az_alloc_array(az, (size_t)parts->size, sizeof *score);
    for (int64_t i = 0; score && i < parts->size; i++) score[i] = (float)az_gguf_item(key, (uint64_t)i);
    parts->score = score;
    return score != NULL;
}

/* Files without types: the tokens that the settings name are special, and SentencePiece spells bytes as <0x0A>. */
static void guess_types(const az_tokenizer_parts *parts, int32_t *type)
{
    const int64_t special[] = {parts->bos, parts->eos};
    for (int64_t i = 0; parts->kind == AZ_TOKENIZER_SCORES && i < parts->size; i++)
        if (parts->text[i].length == 6 && memcmp(parts->text[i].data, "<0x", 3) == 0) type[i] = AZ_TOKEN_BYTE;
    for (int i = 0; i < 2; i++)
        if (special[i] >= 0 && special[i] < parts->size) type[special[i]] = AZ_TOKEN_CONTROL;
    if (parts->unknown >= 0 && parts->unknown < parts->size) type[parts->unknown] = AZ_TOKEN_UNKNOWN;
}

static bool read_types(az_ctx *az, const az_gguf *gguf, az_tokenizer_parts *parts)
{
    const az_gguf_key *key;
    if (!numbers_key(az, gguf, "tokenizer.ggml.token_type", parts->size, &key)) return false;
    int32_t *type = az_alloc_array(az, (size_t)parts->size, sizeof *type);
    for (int64_t i = 0; type && i < parts->size; i++) {
        const double value = key ? az_gguf_item(key, (uint64_t)i) : AZ_TOKEN_NORMAL;
        type[i] = value >= AZ_TOKEN_NORMAL && value <= AZ_TOKEN_BYTE ? (int32_t)value : 0;
    }
    if (type && !key) guess_types(parts, type);
    parts->type = type;
    return type != NULL;
}

static bool read_merges(az_ctx *az, const az_gguf *gguf, az_tokenizer_parts *parts)
{
    az_text pre = az_text_of("default");
    az_gguf_string(az_gguf_find(gguf, "tokenizer.ggml.pre"), &pre);
    parts->pattern = az_word_pattern_by_name(pre);
    if (!parts->pattern)
        return az_fail(az, AZ_BAD_INPUT, "tokenizer.ggml.pre is '%s', a way of cutting words that is not known here (known: %s)",
                       az_text_show(az, pre), az_word_pattern_names(az));
    const az_gguf_key *key = strings_key(gguf, "tokenizer.ggml.merges");
    if (!key) return no_array(az, "tokenizer.ggml.merges");
    parts->merges = (int64_t)key->count;
    parts->merge = read_strings(az, key);
    return parts->merge != NULL;
}

/* The token that a key names; the fallback without the key, -1 for 2^32 - 1 (none). */
static int64_t read_id(const az_gguf *gguf, const char *name, int64_t fallback, int64_t size)
{
    int64_t id;
    if (az_gguf_integer(az_gguf_find(gguf, name), &id)) return id == UINT32_MAX ? -1 : id;
    return fallback < size ? fallback : -1;
}

static void read_settings(const az_gguf *gguf, az_tokenizer_parts *parts)
{
    const bool scores = parts->kind == AZ_TOKENIZER_SCORES;
    parts->bos = read_id(gguf, "tokenizer.ggml.bos_token_id", scores ? 1 : -1, parts->size);
    parts->eos = read_id(gguf, "tokenizer.ggml.eos_token_id", scores ? 2 : -1, parts->size);
    parts->unknown = read_id(gguf, "tokenizer.ggml.unknown_token_id", scores ? 0 : -1, parts->size);
    parts->add_bos = parts->add_space_prefix = scores;
    az_gguf_bool(az_gguf_find(gguf, "tokenizer.ggml.add_bos_token"), &parts->add_bos);
    az_gguf_bool(az_gguf_find(gguf, "tokenizer.ggml.add_eos_token"), &parts->add_eos);
    az_gguf_bool(az_gguf_find(gguf, "tokenizer.ggml.add_space_prefix"), &parts->add_space_prefix);
}

static bool read_parts(az_ctx *az, const az_gguf *gguf, az_tokenizer_parts *parts)
{
    const az_gguf_key *tokens = strings_key(gguf, "tokenizer.ggml.tokens");
    if (!tokens) return no_array(az, "tokenizer.ggml.tokens");
    parts->size = (int64_t)tokens->count;
    parts->text = read_strings(az, tokens);
    read_settings(gguf, parts);
    return parts->text && read_scores(az, gguf, parts) && read_types(az, gguf, parts) &&
           (parts->kind != AZ_TOKENIZER_RANKS || read_merges(az, gguf, parts));
}

az_tokenizer *az_tokenizer_from_gguf(az_ctx *az, const az_gguf *gguf)
{
    az_text model;
    if (!gguf || !az_ok(az) || !az_gguf_string(az_gguf_find(gguf, "tokenizer.ggml.model"), &model)) return NULL;
    if (az_text_equal(model, az_text_of("none")) || az_text_equal(model, az_text_of("no_vocab"))) return NULL;
    const bool scores = az_text_equal(model, az_text_of("llama"));
    if (!scores && !az_text_equal(model, az_text_of("gpt2")))
        return az_fail(az, AZ_BAD_INPUT, "tokenizer.ggml.model is '%s'; known are llama (SentencePiece BPE) and gpt2 (byte-level BPE)",
                       az_text_show(az, model));
    az_tokenizer_parts parts = {.kind = scores ? AZ_TOKENIZER_SCORES : AZ_TOKENIZER_RANKS};
    az_arena *scratch = az_arena_new(az);
    if (!scratch) return NULL;
    az_arena_enter(az, scratch);
    const bool good = read_parts(az, gguf, &parts);
    az_arena_leave(az);
    az_tokenizer *tokenizer = good ? az_tokenizer_build(az, &parts) : NULL;
    az_arena_free(az, scratch);
    return tokenizer;
}

/* ---- GGUF: writing ---- */

/* One entry for each row of the embedding: spelling, score and type. */
static bool write_tokens(az_ctx *az, const az_tokenizer *t, int64_t rows, az_gguf_writer *writer)
{
    const int64_t n = rows > t->size ? rows : t->size;
    az_text *text = az_alloc_array(az, (size_t)n, sizeof *text);
    float *score = az_alloc_array(az, (size_t)n, sizeof *score);
    int32_t *type = az_alloc_array(az, (size_t)n, sizeof *type);
    if (!text || !score || !type) return false;
    for (int64_t i = 0; i < n; i++) {
        const bool own = i < t->size;
        const char *padding = own ? NULL : az_format_text(az, "[PAD%lld]", (long long)i);
        if (!own && !padding) return false;
        text[i] = own ? t->text[i] : az_text_of(padding);
        score[i] = own ? t->score[i] : 0;
        type[i] = own ? t->type[i] : AZ_TOKEN_UNUSED;
    }
    return az_gguf_put_strings(writer, "tokenizer.ggml.tokens", text, n) &&
           (t->kind != AZ_TOKENIZER_SCORES || az_gguf_put_f32s(writer, "tokenizer.ggml.scores", score, n)) &&
           az_gguf_put_i32s(writer, "tokenizer.ggml.token_type", type, n);
}

static bool write_merges(az_ctx *az, const az_tokenizer *t, az_gguf_writer *writer)
{
    az_text *merge = az_alloc_array(az, (size_t)t->merges, sizeof *merge);
    if (!merge) return false;
    for (int32_t i = 0; i < t->merges; i++) {
        const char *text = az_format_text(az, "%s %s", t->text[t->merge[i].left].data, t->text[t->merge[i].right].data);
        if (!text) return false;
        merge[i] = az_text_of(text);
    }
    return az_gguf_put_string(writer, "tokenizer.ggml.pre", az_text_of(t->pattern->name)) &&
           az_gguf_put_strings(writer, "tokenizer.ggml.merges", merge, t->merges);
}

static bool write_id(az_gguf_writer *writer, const char *name, int32_t id)
{
    return id < 0 || az_gguf_put_integer(writer, name, id);
}

/* A setting that is as readers assume anyway is written only in place of another value. */
static bool write_setting(az_gguf_writer *writer, const char *name, bool value, bool assumed)
{
    return (value == assumed && !az_gguf_has(writer, name)) || az_gguf_put_bool(writer, name, value);
}

bool az_tokenizer_to_gguf(az_ctx *az, const az_tokenizer *t, int64_t rows, az_gguf_writer *writer)
{
    if (!t || !writer) return false;
    const bool scores = t->kind == AZ_TOKENIZER_SCORES;
    return az_gguf_put_string(writer, "tokenizer.ggml.model", az_text_of(scores ? "llama" : "gpt2")) && write_tokens(az, t, rows, writer) &&
           (scores || write_merges(az, t, writer)) && write_id(writer, "tokenizer.ggml.bos_token_id", t->bos) &&
           write_id(writer, "tokenizer.ggml.eos_token_id", t->eos) && write_id(writer, "tokenizer.ggml.unknown_token_id", t->unknown) &&
           write_setting(writer, "tokenizer.ggml.add_bos_token", t->add_bos, scores) &&
           write_setting(writer, "tokenizer.ggml.add_eos_token", t->add_eos, false) &&
           write_setting(writer, "tokenizer.ggml.add_space_prefix", t->add_space_prefix, scores);
}

/* ---- llama2.c ---- */

enum { FIRST_BYTE = 3, BYTES = 256 }; /* <unk>, <s>, </s>, <0x00> .. <0xFF>, pieces */

static int32_t llama2c_type(int64_t id)
{
    if (id < FIRST_BYTE) return id == 0 ? AZ_TOKEN_UNKNOWN : AZ_TOKEN_CONTROL;
    return id < FIRST_BYTE + BYTES ? AZ_TOKEN_BYTE : AZ_TOKEN_NORMAL;
}

/* The file writes spaces as they are and puts control tokens on lines of their own: back to SentencePiece's spelling. */
static az_text sentencepiece_spelling(az_ctx *az, az_text text, int64_t id)
{
    if (id < FIRST_BYTE) {
        while (text.length > 0 && text.data[0] == '\n') text.data++, text.length--;
        while (text.length > 0 && text.data[text.length - 1] == '\n') text.length--;
        return text;
    }
    if (!memchr(text.data, ' ', text.length)) return text;
    char *marked = az_alloc(az, 3 * text.length);
    size_t n = 0;
    for (size_t i = 0; marked && i < text.length; i++) {
        if (text.data[i] != ' ') {
            marked[n++] = text.data[i];
            continue;
        }
        memcpy(marked + n, "\xe2\x96\x81", 3);
        n += 3;
    }
    return (az_text){.data = marked, .length = n};
}

static bool read_llama2c(az_ctx *az, const unsigned char *data, size_t size, az_tokenizer_parts *parts)
{
    size_t at = 4; /* behind the length of the longest token */
    if (size < at || (uint64_t)parts->size > (size - at) / 8)
        return az_fail(az, AZ_BAD_INPUT, "%zu bytes are too few for a llama2.c vocabulary of %lld tokens", size, (long long)parts->size);
    az_text *text = az_alloc_array(az, (size_t)parts->size, sizeof *text);
    float *score = az_alloc_array(az, (size_t)parts->size, sizeof *score);
    int32_t *type = az_alloc_array(az, (size_t)parts->size, sizeof *type);
    for (int64_t i = 0; text && score && type && i < parts->size; i++) {
        int32_t length = 0;
        if (size - at >= 8) {
            memcpy(&score[i], data + at, 4);
            memcpy(&length, data + at + 4, 4);
            at += 8;
        } else {
            length = -1;
        }
        if (length < 0 || (size_t)length > size - at)
            return az_fail(az, AZ_BAD_INPUT, "token %lld of %lld lies beyond the end of the file (position %zu of %zu)", (long long)i,
                           (long long)parts->size, at, size);
        text[i] = sentencepiece_spelling(az, (az_text){.data = (const char *)data + at, .length = (size_t)length}, i);
        type[i] = llama2c_type(i);
        at += (size_t)length;
    }
    parts->text = text;
    parts->score = score;
    parts->type = type;
    return az_ok(az);
}

az_tokenizer *az_tokenizer_from_llama2c(az_ctx *az, const unsigned char *data, size_t size, int64_t vocabulary)
{
    if (!data || !az_ok(az)) return NULL;
    if (vocabulary <= FIRST_BYTE + BYTES)
        return az_fail(az, AZ_BAD_INPUT, "a llama2.c vocabulary has more than %d tokens, not %lld", FIRST_BYTE + BYTES,
                       (long long)vocabulary);
    az_tokenizer_parts parts = {
        .kind = AZ_TOKENIZER_SCORES, .size = vocabulary, .bos = 1, .eos = 2, .add_bos = true, .add_space_prefix = true};
    az_arena *scratch = az_arena_new(az);
    if (!scratch) return NULL;
    az_arena_enter(az, scratch);
    const bool good = read_llama2c(az, data, size, &parts);
    az_arena_leave(az);
    az_tokenizer *tokenizer = good ? az_tokenizer_build(az, &parts) : NULL;
    az_arena_free(az, scratch);
    return tokenizer;
}

az_tokenizer *az_tokenizer_read_llama2c(az_ctx *az, const char *path, int64_t vocabulary)
{
    az_arena *scratch = az_arena_new(az);
    if (!scratch) return NULL;
    az_arena_enter(az, scratch);
    const az_map *map = az_map_file(az, path);
    az_arena_leave(az);
    az_tokenizer *tokenizer = map ? az_tokenizer_from_llama2c(az, map->data, map->size, vocabulary) : NULL;
    if (!tokenizer) az_fail_context(az, "reading '%s'", path);
    az_arena_free(az, scratch);
    return tokenizer;
}
