/* json_write.c - any tokenizer as Hugging Face's tokenizer.json: the sections that it was read from, or those that its kind
 * stands for. */
#include "lm/tokenizer/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- vocabulary ---- */

static json_t *spelling(const az_tokenizer *t, int32_t id)
{
    return json_stringn(t->text[id].data, t->text[id].length);
}

bool az_tokenizer_check_json(az_ctx *az, const az_tokenizer *t)
{
    json_t *text = NULL;
    for (int32_t i = 0; i < t->size; i++, json_decref(text))
        if (!(text = spelling(t, i)))
            return az_fail(az, AZ_BAD_INPUT, "token %d ('%s') is not UTF-8, JSON cannot hold it", i, az_text_show(az, t->text[i]));
    text = t->chat_template ? json_string(t->chat_template) : json_null();
    json_decref(text);
    return text || az_fail(az, AZ_BAD_INPUT, "the chat template is not UTF-8");
}

static json_t *vocabulary_object(const az_tokenizer *t)
{
    json_t *vocabulary = json_object();
    for (int32_t i = 0; i < t->size; i++) json_object_setn_new(vocabulary, t->text[i].data, t->text[i].length, json_integer(i));
    return vocabulary;
}

static json_t *scored_pieces(const az_tokenizer *t)
{
    json_t *pieces = json_array();
    for (int32_t i = 0; i < t->size; i++) json_array_append_new(pieces, json_pack("[o,f]", spelling(t, i), (double)t->score[i]));
    return pieces;
}

static json_t *added_tokens(const az_tokenizer *t)
{
    json_t *added = json_array();
    for (int32_t i = 0; added && i < t->size; i++) {
        if (t->type[i] != AZ_TOKEN_CONTROL && t->type[i] != AZ_TOKEN_USER && t->type[i] != AZ_TOKEN_UNKNOWN) continue;
        const int flags = t->added[i];
        json_array_append_new(added,
                              json_pack("{s:i,s:o,s:b,s:b,s:b,s:b,s:b}", "id", i, "content", spelling(t, i), "single_word",
                                        flags & AZ_ADDED_SINGLE_WORD, "lstrip", flags & AZ_ADDED_LSTRIP, "rstrip", flags & AZ_ADDED_RSTRIP,
                                        "normalized", flags & AZ_ADDED_NORMALIZED, "special", t->type[i] != AZ_TOKEN_USER));
    }
    return added;
}

/* ---- merges ---- */

static json_t *pair_of(const az_tokenizer *t, int32_t left, int32_t right)
{
    return json_pack("[o,o]", spelling(t, left), spelling(t, right));
}

static json_t *ranked_merges(const az_tokenizer *t)
{
    json_t *merges = json_array();
    for (int32_t i = 0; merges && i < t->merges; i++) json_array_append_new(merges, pair_of(t, t->merge[i].left, t->merge[i].right));
    return merges;
}

static int by_score(const void *a, const void *b, void *tokenizer)
{
    const az_tokenizer *t = tokenizer;
    const int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    if (t->score[x] != t->score[y]) return t->score[x] > t->score[y] ? -1 : 1;
    return (x > y) - (x < y);
}

/* Every way to halve the token into two tokens. */
static void push_halves(const az_tokenizer *t, int32_t id, json_t *merges)
{
    const az_text bytes = t->bytes[id];
    for (size_t at = 1; at < bytes.length; at++) {
        if (((unsigned char)bytes.data[at] & 0xc0) == 0x80) continue;
        const int32_t left = az_tokenizer_find(t, (az_text){.data = bytes.data, .length = at});
        const int32_t right = az_tokenizer_find(t, (az_text){.data = bytes.data + at, .length = bytes.length - at});
        if (left >= 0 && right >= 0) json_array_append_new(merges, pair_of(t, left, right));
    }
}

/* Joining by score is merging by rank when the pairs stand in the order of their tokens' scores. */
static json_t *scored_merges(az_ctx *az, const az_tokenizer *t)
{
    int32_t *order = az_alloc_array(az, (size_t)t->size, sizeof *order);
    json_t *merges = json_array();
    if (!order || !merges) return merges;
    int32_t n = 0;
    for (int32_t i = 0; i < t->size; i++)
        if (t->type[i] == AZ_TOKEN_NORMAL || t->type[i] == AZ_TOKEN_USER || t->type[i] == AZ_TOKEN_UNUSED) order[n++] = i;
    qsort_r(order, (size_t)n, sizeof *order, by_score, (void *)(uintptr_t)t);
    for (int32_t i = 0; i < n; i++) push_halves(t, order[i], merges);
    return merges;
}

static bool has_bytes(const az_tokenizer *t)
{
    for (int32_t i = 0; i < t->size; i++)
        if (t->type[i] == AZ_TOKEN_BYTE) return true;
    return false;
}

static json_t *unknown_text(const az_tokenizer *t)
{
    return t->unknown >= 0 ? spelling(t, t->unknown) : json_null();
}

static json_t *model_object(az_ctx *az, const az_tokenizer *t)
{
    switch (t->kind) {
    case AZ_TOKENIZER_SCORES:
    case AZ_TOKENIZER_RANKS:
        return json_pack("{s:s,s:o,s:b,s:b,s:b,s:o*,s:o}", "type", "BPE", "unk_token", unknown_text(t), "fuse_unk", t->rules.fuse_unknown,
                         "byte_fallback", has_bytes(t), "ignore_merges", t->rules.whole_first, "vocab", vocabulary_object(t), "merges",
                         t->kind == AZ_TOKENIZER_RANKS ? ranked_merges(t) : scored_merges(az, t));
    case AZ_TOKENIZER_UNIGRAM:
        return json_pack("{s:s,s:o,s:b,s:o*}", "type", "Unigram", "unk_id", t->unknown >= 0 ? json_integer(t->unknown) : json_null(),
                         "byte_fallback", has_bytes(t), "vocab", scored_pieces(t));
    case AZ_TOKENIZER_PIECES:
        return json_pack("{s:s,s:o,s:s,s:I,s:o*}", "type", "WordPiece", "unk_token", unknown_text(t), "continuing_subword_prefix", "##",
                         "max_input_chars_per_word", (json_int_t)t->rules.longest_word, "vocab", vocabulary_object(t));
    case AZ_TOKENIZER_WORDS:
        return json_pack("{s:s,s:o,s:o*}", "type", "WordLevel", "unk_token", unknown_text(t), "vocab", vocabulary_object(t));
    }
    return NULL;
}

/* ---- the other sections, of tokenizers that no JSON file brought ---- */

static json_t *template_item(const az_tokenizer *t, int32_t id)
{
    return json_pack("{s:{s:o,s:i}}", "SpecialToken", "id", spelling(t, id), "type_id", 0);
}

static json_t *post_processor(const az_tokenizer *t)
{
    const int32_t ids[] = {t->add_bos ? t->bos : -1, t->add_eos ? t->eos : -1};
    json_t *single = json_array(), *pair = json_array(), *special = json_object();
    for (int i = 0; i < 2; i++) {
        if (i == 1) json_array_append_new(single, json_pack("{s:{s:s,s:i}}", "Sequence", "id", "A", "type_id", 0));
        if (ids[i] < 0) continue;
        json_array_append_new(single, template_item(t, ids[i]));
        json_object_set_new(special, t->text[ids[i]].data,
                            json_pack("{s:o,s:[i],s:[o]}", "id", spelling(t, ids[i]), "ids", ids[i], "tokens", spelling(t, ids[i])));
    }
    json_array_extend(pair, single);
    json_array_append_new(pair, json_pack("{s:{s:s,s:i}}", "Sequence", "id", "B", "type_id", 1));
    return json_pack("{s:s,s:o,s:o,s:o}", "type", "TemplateProcessing", "single", single, "pair", pair, "special_tokens", special);
}

static json_t *split_of(const char *expression)
{
    return json_pack("{s:s,s:{s:s},s:s,s:b}", "type", "Split", "pattern", "Regex", expression, "behavior", "Isolated", "invert", 0);
}

static void frame_byte_level(const az_tokenizer *t, json_t *root)
{
    json_t *cuts = json_array();
    for (int i = 0; i < t->rules.cuts; i++) json_array_append_new(cuts, split_of(t->rules.cut[i].expression.data));
    json_array_append_new(cuts,
                          json_pack("{s:s,s:b,s:b,s:b}", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1, "use_regex", 0));
    json_object_set_new(root, "pre_tokenizer", json_pack("{s:s,s:o}", "type", "Sequence", "pretokenizers", cuts));
    json_object_set_new(root, "decoder", json_pack("{s:s}", "type", "ByteLevel"));
}

/* The space in front is put there by the normaliser, as SentencePiece does it. */
static void frame_scores(const az_tokenizer *t, json_t *root)
{
    json_t *normal = json_array();
    const int prefix = t->rules.add_space_prefix;
    if (prefix) json_array_append_new(normal, json_pack("{s:s,s:s}", "type", "Prepend", "prepend", "\u2581"));
    json_array_append_new(normal, json_pack("{s:s,s:{s:s},s:s}", "type", "Replace", "pattern", "String", " ", "content", "\u2581"));
    json_object_set_new(root, "normalizer", json_pack("{s:s,s:o}", "type", "Sequence", "normalizers", normal));
    json_object_set_new(root, "decoder",
                        json_pack("{s:s,s:[{s:s,s:{s:s},s:s},{s:s},{s:s},{s:s,s:s,s:i,s:i}]}", "type", "Sequence", "decoders", "type",
                                  "Replace", "pattern", "String", "\u2581", "content", " ", "type", "ByteFallback", "type", "Fuse", "type",
                                  "Strip", "content", " ", "start", prefix, "stop", 0));
}

static json_t *base64(az_ctx *az, az_text bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *code = az_alloc(az, (bytes.length + 2) / 3 * 4 + 1);
    size_t n = 0;
    for (size_t i = 0; code && i < bytes.length; i += 3) {
        const size_t here = bytes.length - i < 3 ? bytes.length - i : 3;
        uint32_t bits = 0;
        for (size_t k = 0; k < 3; k++) bits = bits << 8 | (k < here ? (unsigned char)bytes.data[i + k] : 0u);
        for (size_t k = 0; k < 4; k++) code[n++] = k <= here ? digits[bits >> (18 - 6 * k) & 63] : '=';
    }
    return code ? json_stringn(code, n) : NULL;
}

static void frame_unigram(az_ctx *az, const az_tokenizer *t, json_t *root)
{
    json_t *normal = json_array();
    bool prefix = false;
    for (int i = 0; i < t->rules.normals; i++) {
        const az_normal_step *step = &t->rules.normal[i];
        json_t *put = NULL;
        if (step->kind == AZ_NORMAL_CHARSMAP)
            put = json_pack("{s:s,s:o}", "type", "Precompiled", "precompiled_charsmap", base64(az, step->from));
        if (step->kind == AZ_NORMAL_STRIP) put = json_pack("{s:s,s:b,s:b}", "type", "Strip", "strip_left", 1, "strip_right", 1);
        if (step->kind == AZ_NORMAL_REPLACE && step->expression.length > 0)
            put = json_pack("{s:s,s:{s:s},s:s}", "type", "Replace", "pattern", "Regex", step->expression.data, "content", step->to.data);
        prefix = prefix || step->kind == AZ_NORMAL_PREPEND;
        if (put) json_array_append_new(normal, put);
    }
    const char *scheme = prefix ? "always" : "never";
    json_t *space =
        json_pack("{s:s,s:s,s:s,s:b}", "type", "Metaspace", "replacement", "\u2581", "prepend_scheme", scheme, "split", t->word_safe);
    json_object_set_new(root, "normalizer", json_pack("{s:s,s:o}", "type", "Sequence", "normalizers", normal));
    json_object_set(root, "pre_tokenizer", space);
    json_object_set_new(root, "decoder", space);
}

static void frame_pieces(const az_tokenizer *t, json_t *root)
{
    bool lower = false, accents = false;
    for (int i = 0; i < t->rules.normals; i++) {
        lower = lower || t->rules.normal[i].kind == AZ_NORMAL_LOWERCASE;
        accents = accents || t->rules.normal[i].kind == AZ_NORMAL_STRIP_ACCENTS;
    }
    json_object_set_new(root, "normalizer",
                        json_pack("{s:s,s:b,s:b,s:b,s:b}", "type", "BertNormalizer", "clean_text", 1, "handle_chinese_chars", 1,
                                  "strip_accents", accents, "lowercase", lower));
    json_object_set_new(root, "pre_tokenizer", json_pack("{s:s}", "type", "BertPreTokenizer"));
    json_object_set_new(root, "decoder", json_pack("{s:s,s:s,s:b}", "type", "WordPiece", "prefix", "##", "cleanup", 1));
}

static json_t *make_frame(az_ctx *az, const az_tokenizer *t)
{
    if (t->rules.frame) return json_loads(t->rules.frame, JSON_ALLOW_NUL, NULL);
    json_t *root = json_pack("{s:s,s:n,s:n,s:n,s:n}", "version", "1.0", "truncation", "padding", "normalizer", "pre_tokenizer");
    json_object_set_new(root, "post_processor", post_processor(t));
    switch (t->kind) {
    case AZ_TOKENIZER_SCORES: frame_scores(t, root); break;
    case AZ_TOKENIZER_RANKS: frame_byte_level(t, root); break;
    case AZ_TOKENIZER_UNIGRAM: frame_unigram(az, t, root); break;
    case AZ_TOKENIZER_PIECES: frame_pieces(t, root); break;
    case AZ_TOKENIZER_WORDS: json_object_set_new(root, "pre_tokenizer", json_pack("{s:s}", "type", "WhitespaceSplit")); break;
    }
    return root;
}

bool az_tokenizer_write_json(az_ctx *az, const az_tokenizer *tokenizer, const char *path)
{
    if (!tokenizer || !path || !az_ok(az) || !az_tokenizer_check_json(az, tokenizer)) return false;
    az_scope_push(az);
    json_t *root = make_frame(az, tokenizer), *model = model_object(az, tokenizer);
    if (model) json_object_set_new(root, "added_tokens", added_tokens(tokenizer));
    if (model) json_object_set_new(root, "model", model);
    if (!root || !model) az_fail(az, AZ_BAD_INPUT, "the tokenizer cannot be written as JSON");
    az_out *out = az_create(az, path);
    if (out && json_dumpf(root, az_out_stream(out), JSON_INDENT(2)) != 0) az_fail(az, AZ_IO, "writing '%s' failed", path);
    const bool done = out && az_commit(out);
    json_decref(root);
    az_scope_pop(az);
    return done;
}
