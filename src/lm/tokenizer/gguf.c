/* gguf.c - tokenizers out of GGUF metadata. */
#include "lm/tokenizer/tokenizer.h"

#include <string.h>

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
    const bool needed = parts->kind == AZ_TOKENIZER_SCORES || parts->kind == AZ_TOKENIZER_UNIGRAM;
    if (!key) return !needed || no_array(az, "tokenizer.ggml.scores");
    float *score = az_alloc_array(az, (size_t)parts->size, sizeof *score);
    for (int64_t i = 0; score && i < parts->size; i++) score[i] = (float)az_gguf_item(key, (uint64_t)i);
    parts->score = score;
    return score != NULL;
}

/* WordPiece in GGUF marks the beginning of a word (U+2581), not what goes on inside: the spellings of its maker's files. */
static bool respell_pieces(az_ctx *az, az_tokenizer_parts *parts)
{
    az_text *text = az_alloc_array(az, (size_t)parts->size, sizeof *text);
    for (int64_t i = 0; text && i < parts->size; i++) {
        const az_text old = parts->text[i];
        const bool begins = old.length > 3 && memcmp(old.data, "\u2581", 3) == 0;
        text[i] = old;
        if (begins) text[i] = (az_text){.data = old.data + 3, .length = old.length - 3};
        if (begins || parts->type[i] != AZ_TOKEN_NORMAL || (old.length > 2 && old.data[0] == '[' && old.data[old.length - 1] == ']'))
            continue;
        const char *inside = az_format_text(az, "##%.*s", (int)old.length, old.data);
        if (inside) text[i] = az_text_of(inside);
    }
    parts->text = text;
    return az_ok(az);
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
    if (!az_gguf_read_string(az, az_gguf_find(gguf, "tokenizer.ggml.pre"), &pre)) return false;
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
static int64_t read_id(az_ctx *az, const az_gguf *gguf, const char *name, int64_t fallback, int64_t size)
{
    int64_t id = fallback < size ? fallback : -1;
    az_gguf_read_integer(az, az_gguf_find(gguf, name), &id);
    return id == UINT32_MAX ? -1 : id;
}

static bool flag(az_ctx *az, const az_gguf *gguf, const char *name, bool fallback)
{
    az_gguf_read_bool(az, az_gguf_find(gguf, name), &fallback);
    return fallback;
}

static bool read_settings(az_ctx *az, const az_gguf *gguf, az_tokenizer_parts *parts)
{
    const bool scores = parts->kind == AZ_TOKENIZER_SCORES, pieces = parts->kind == AZ_TOKENIZER_PIECES;
    const bool unigram = parts->kind == AZ_TOKENIZER_UNIGRAM;
    const int64_t cls = read_id(az, gguf, "tokenizer.ggml.cls_token_id", 101, parts->size);
    const int64_t sep = read_id(az, gguf, "tokenizer.ggml.seperator_token_id", 102, parts->size);
    parts->bos = read_id(az, gguf, "tokenizer.ggml.bos_token_id", scores ? 1 : pieces ? cls : -1, parts->size);
    parts->eos = pieces ? sep : read_id(az, gguf, "tokenizer.ggml.eos_token_id", scores ? 2 : unigram ? 1 : -1, parts->size);
    parts->unknown = read_id(az, gguf, "tokenizer.ggml.unknown_token_id", scores ? 0 : unigram ? 2 : pieces ? 100 : -1, parts->size);
    parts->add_bos = flag(az, gguf, "tokenizer.ggml.add_bos_token", scores || pieces);
    parts->add_eos = pieces || flag(az, gguf, "tokenizer.ggml.add_eos_token", unigram);
    if (!unigram) parts->add_space_prefix = flag(az, gguf, "tokenizer.ggml.add_space_prefix", scores);
    az_text chat = {0};
    az_gguf_read_string(az, az_gguf_find(gguf, "tokenizer.chat_template"), &chat);
    parts->chat_template = chat;
    return az_ok(az);
}

/* ---- what happens to a text ---- */

static void bert_rules(az_ctx *az, const az_gguf *gguf, az_tokenizer_rules *rules)
{
    const bool lower = flag(az, gguf, "tokenizer.ggml.normalizer.lowercase", true);
    az_rules_bert(rules, lower, flag(az, gguf, "tokenizer.ggml.normalizer.strip_accents", lower));
}

/* SentencePiece's own preparation: its character map, one space between words, a space in front. */
static bool unigram_rules(az_ctx *az, const az_gguf *gguf, az_tokenizer_rules *rules)
{
    const az_gguf_key *map = az_gguf_find(gguf, "tokenizer.ggml.precompiled_charsmap");
    if (map && (map->type != AZ_GGUF_ARRAY || az_gguf_scalar_bytes(map->item) != 1))
        return no_array(az, "tokenizer.ggml.precompiled_charsmap");
    const az_text bytes = map ? (az_text){.data = (const char *)map->data, .length = map->bytes} : (az_text){0};
    az_rules_sentencepiece(rules, bytes, flag(az, gguf, "tokenizer.ggml.remove_extra_whitespaces", false),
                           flag(az, gguf, "tokenizer.ggml.add_space_prefix", false));
    return true;
}

static bool read_parts(az_ctx *az, const az_gguf *gguf, az_tokenizer_parts *parts, az_tokenizer_rules *rules)
{
    const az_gguf_key *tokens = strings_key(gguf, "tokenizer.ggml.tokens");
    if (!tokens) return no_array(az, "tokenizer.ggml.tokens");
    parts->size = (int64_t)tokens->count;
    parts->text = read_strings(az, tokens);
    parts->rules = rules;
    if (!read_settings(az, gguf, parts) || !parts->text || !read_scores(az, gguf, parts) || !read_types(az, gguf, parts)) return false;
    if (parts->kind == AZ_TOKENIZER_RANKS) return read_merges(az, gguf, parts);
    if (parts->kind == AZ_TOKENIZER_UNIGRAM) return unigram_rules(az, gguf, rules);
    if (parts->kind == AZ_TOKENIZER_PIECES) bert_rules(az, gguf, rules);
    if (parts->kind == AZ_TOKENIZER_WORDS) az_rules_words(rules);
    return parts->kind != AZ_TOKENIZER_PIECES || respell_pieces(az, parts);
}

/* Where GGUF has no key for more ends than two, adze has one of its own. */
static void read_ends(az_ctx *az, const az_gguf *gguf, az_tokenizer *t)
{
    static const char *const names[] = {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"};
    for (int i = 0; i < 2; i++) az_tokenizer_add_end(t, read_id(az, gguf, names[i], -1, t->size));
    const az_gguf_key *more = az_gguf_find(gguf, "adze.tokenizer.end_token_ids");
    const bool list = more && more->type == AZ_GGUF_ARRAY && az_gguf_scalar_bytes(more->item) > 0;
    for (uint64_t i = 0; list && i < more->count && i < AZ_TOKENIZER_ENDS; i++) {
        const double id = az_gguf_item(more, i);
        if (id >= 0 && id < t->size) az_tokenizer_add_end(t, (int64_t)id);
    }
    az_tokenizer_guess_ends(t);
}

static bool kind_of(az_ctx *az, az_text model, az_tokenizer_kind *kind)
{
    static const struct {
        const char *name;
        az_tokenizer_kind kind;
    } kinds[] = {{"llama", AZ_TOKENIZER_SCORES},
                 {"gpt2", AZ_TOKENIZER_RANKS},
                 {"bert", AZ_TOKENIZER_PIECES},
                 {"t5", AZ_TOKENIZER_UNIGRAM},
                 {"words", AZ_TOKENIZER_WORDS}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (az_text_equal(model, az_text_of(kinds[i].name))) return *kind = kinds[i].kind, true;
    return az_fail(
        az, AZ_BAD_INPUT,
        "tokenizer.ggml.model is '%s'; known are llama (SentencePiece BPE), gpt2 (byte-level BPE), bert (WordPiece) and t5 (Unigram)",
        az_text_show(az, model));
}

az_tokenizer *az_tokenizer_from_gguf(az_ctx *az, const az_gguf *gguf)
{
    az_text model = {0};
    az_tokenizer_kind kind = AZ_TOKENIZER_SCORES;
    const az_gguf_key *key = gguf ? az_gguf_find(gguf, "tokenizer.ggml.model") : NULL;
    if (!key || !az_ok(az) || !az_gguf_read_string(az, key, &model)) return NULL;
    if (!az_gguf_read_string(az, az_gguf_find(gguf, "adze.tokenizer.model"), &model)) return NULL;
    if (az_text_equal(model, az_text_of("none")) || az_text_equal(model, az_text_of("no_vocab"))) return NULL;
    if (!kind_of(az, model, &kind)) return NULL;
    az_tokenizer_parts parts = {.kind = kind};
    az_tokenizer_rules rules = {0};
    az_arena *scratch = az_arena_new(az);
    if (!scratch) return NULL;
    az_arena_enter(az, scratch);
    const bool good = read_parts(az, gguf, &parts, &rules);
    az_arena_leave(az);
    az_tokenizer *tokenizer = good ? az_tokenizer_build(az, &parts) : NULL;
    if (tokenizer) read_ends(az, gguf, tokenizer);
    az_arena_free(az, scratch);
    return tokenizer;
}
