/* gguf_write.c - tokenizers into GGUF metadata, so that other programs read the same tokens out of a text. */
#include "lm/tokenizer/tokenizer.h"

#include <stdlib.h>
#include <string.h>

/* ---- byte-level BPE ---- */

static bool write_merges(az_ctx *az, const az_tokenizer *t, az_gguf_writer *writer)
{
    if (!t->pattern)
        return az_fail(az, AZ_BAD_INPUT, "GGUF has no name for the way in which this tokenizer cuts words (names: %s)",
                       az_word_pattern_names(az));
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

/* ---- BPE over characters: ranks as scores ---- */

/* A token that several pairs can make has one score: every way to halve it must be a merge, or scores would join what ranks do not. */
static bool halves_are_merges(const az_tokenizer *t, int32_t id)
{
    const az_text bytes = t->bytes[id];
    for (size_t at = 1; at < bytes.length; at++) {
        if (((unsigned char)bytes.data[at] & 0xc0) == 0x80) continue;
        const int32_t left = az_tokenizer_find(t, (az_text){.data = bytes.data, .length = at});
        const int32_t right = az_tokenizer_find(t, (az_text){.data = bytes.data + at, .length = bytes.length - at});
        if (left >= 0 && right >= 0 && az_tokenizer_rank(t, left, right) < 0) return false;
    }
    return true;
}

/* Score = -number of the merged token in the order of the merges, which must list the pairs of one token together. */
static float *scores_of_ranks(az_ctx *az, const az_tokenizer *t)
{
    float *score = az_alloc_array(az, (size_t)t->size, sizeof *score);
    bool *done = az_alloc_array(az, (size_t)t->size, sizeof *done);
    int32_t number = 0;
    for (int32_t i = 0; score && done && i < t->merges; i++) {
        const int32_t id = t->merge[i].joined;
        if (i > 0 && t->merge[i - 1].joined == id) continue;
        if (done[id] || !halves_are_merges(t, id))
            return az_fail(az, AZ_BAD_INPUT, "the merges of '%s' cannot be told by a score, as GGUF needs it", t->text[id].data);
        done[id] = true;
        score[id] = -(float)number++;
    }
    for (int32_t i = 0; score && done && i < t->size; i++)
        if (!done[i] && t->type[i] == AZ_TOKEN_NORMAL) score[i] = -(float)(number + 1);
    return az_ok(az) ? score : NULL;
}

/* ---- preparation ---- */

static bool has_normal(const az_tokenizer *t, az_normal_kind kind)
{
    for (int i = 0; i < t->rules.normals; i++)
        if (t->rules.normal[i].kind == kind) return true;
    return false;
}

static bool has_space_prefix(const az_tokenizer *t)
{
    bool prefix = t->rules.add_space_prefix || has_normal(t, AZ_NORMAL_PREPEND);
    for (int i = 0; i < t->rules.cuts; i++) prefix = prefix || t->rules.cut[i].kind != AZ_CUT_SPLIT;
    return prefix;
}

/* Steps that GGUF has no key for change tokens only of texts that they change; which is said. */
static void note_lost_steps(az_ctx *az, const az_tokenizer *t)
{
    const bool forms = has_normal(t, AZ_NORMAL_NFC) || has_normal(t, AZ_NORMAL_NFKC) || has_normal(t, AZ_NORMAL_NFKD);
    if (forms || (t->kind != AZ_TOKENIZER_PIECES && has_normal(t, AZ_NORMAL_LOWERCASE)))
        az_note(az, "GGUF keeps no Unicode normalisation: texts that it would change are tokenized differently from the file");
}

/* Added tokens that take white space with them, stand for whole words only, or are looked for in normalised text. */
static void note_lost_flags(az_ctx *az, const az_tokenizer *t)
{
    const int lost = AZ_ADDED_LSTRIP | AZ_ADDED_RSTRIP | AZ_ADDED_SINGLE_WORD | (t->rules.normals > 0 ? AZ_ADDED_NORMALIZED : 0);
    int32_t count = 0, first = -1;
    for (int32_t i = 0; i < t->size; i++) {
        if (!(t->added[i] & lost)) continue;
        if (count++ == 0) first = i;
    }
    if (count > 0)
        az_note(az,
                "GGUF keeps of added tokens that they are special, not lstrip, rstrip, single_word and normalized: %d have such flags, "
                "the first is '%.60s'",
                count, t->text[first].data);
}

static bool write_unigram(az_ctx *az, const az_tokenizer *t, az_gguf_writer *writer)
{
    bool collapse = has_normal(t, AZ_NORMAL_STRIP);
    for (int i = 0; i < t->rules.normals; i++) {
        const az_normal_step *step = &t->rules.normal[i];
        if (step->kind == AZ_NORMAL_REPLACE && step->expression.length > 0) collapse = true;
        if (step->kind == AZ_NORMAL_CHARSMAP && !az_gguf_put_bytes(writer, "tokenizer.ggml.precompiled_charsmap", step->from)) return false;
    }
    note_lost_steps(az, t);
    return az_gguf_put_bool(writer, "tokenizer.ggml.remove_extra_whitespaces", collapse) &&
           az_gguf_put_bool(writer, "tokenizer.ggml.add_space_prefix", has_space_prefix(t));
}

static bool write_pieces(const az_tokenizer *t, az_gguf_writer *writer)
{
    return az_gguf_put_bool(writer, "tokenizer.ggml.normalizer.lowercase", has_normal(t, AZ_NORMAL_LOWERCASE)) &&
           az_gguf_put_bool(writer, "tokenizer.ggml.normalizer.strip_accents", has_normal(t, AZ_NORMAL_STRIP_ACCENTS)) &&
           (t->bos < 0 || az_gguf_put_integer(writer, "tokenizer.ggml.cls_token_id", t->bos)) &&
           (t->eos < 0 || az_gguf_put_integer(writer, "tokenizer.ggml.seperator_token_id", t->eos));
}

/* ---- the vocabulary ---- */

/* WordPiece in GGUF marks the beginning of a word, not what goes on inside. */
static az_text gguf_spelling(az_ctx *az, const az_tokenizer *t, int64_t i)
{
    return t->kind == AZ_TOKENIZER_PIECES && t->bytes[i].length > 0 ? az_mark_spaces(az, t->bytes[i]) : t->text[i];
}

/* One entry for each row of the embedding: spelling, score (NULL = none) and type. */
static bool write_tokens(az_ctx *az, const az_tokenizer *t, const float *scores, int64_t rows, az_gguf_writer *writer)
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
        text[i] = own ? gguf_spelling(az, t, i) : az_text_of(padding);
        score[i] = own && scores ? scores[i] : 0;
        type[i] = own ? t->type[i] : AZ_TOKEN_UNUSED;
    }
    return az_ok(az) && az_gguf_put_strings(writer, "tokenizer.ggml.tokens", text, n) &&
           (!scores || az_gguf_put_f32s(writer, "tokenizer.ggml.scores", score, n)) &&
           az_gguf_put_i32s(writer, "tokenizer.ggml.token_type", type, n);
}

static bool write_id(az_gguf_writer *writer, const char *name, int32_t id)
{
    return id < 0 || az_gguf_put_integer(writer, name, id);
}

/* The ends of a turn: GGUF has keys for two of them, llama.cpp knows others by their spelling. */
static bool write_ends(const az_tokenizer *t, az_gguf_writer *writer)
{
    const int32_t eot = t->stated_ends > 0 ? t->end[0] : -1, eom = t->stated_ends > 1 ? t->end[1] : -1;
    return write_id(writer, "tokenizer.ggml.eot_token_id", eot) && write_id(writer, "tokenizer.ggml.eom_token_id", eom) &&
           (t->stated_ends < 3 || az_gguf_put_i32s(writer, "adze.tokenizer.end_token_ids", t->end + 2, t->stated_ends - 2));
}

/* A setting that is as readers assume anyway is written only in place of another value. */
static bool write_setting(az_gguf_writer *writer, const char *name, bool value, bool assumed)
{
    return (value == assumed && !az_gguf_has(writer, name)) || az_gguf_put_bool(writer, name, value);
}

static bool write_settings(const az_tokenizer *t, const char *model, az_gguf_writer *writer)
{
    const bool scores = strcmp(model, "llama") == 0, pieces = t->kind == AZ_TOKENIZER_PIECES, unigram = t->kind == AZ_TOKENIZER_UNIGRAM;
    return write_id(writer, "tokenizer.ggml.bos_token_id", t->bos) && write_id(writer, "tokenizer.ggml.eos_token_id", t->eos) &&
           write_id(writer, "tokenizer.ggml.unknown_token_id", t->unknown) && write_ends(t, writer) &&
           write_setting(writer, "tokenizer.ggml.add_bos_token", t->add_bos, scores || pieces) &&
           (pieces || write_setting(writer, "tokenizer.ggml.add_eos_token", t->add_eos, unigram)) &&
           (unigram || write_setting(writer, "tokenizer.ggml.add_space_prefix", scores && has_space_prefix(t), scores)) &&
           (!t->chat_template || az_gguf_put_string(writer, "tokenizer.chat_template", az_text_of(t->chat_template)));
}

/* Whole words are no kind of GGUF's: other programs see a model without tokenizer. */
static const char *model_name(const az_tokenizer *t)
{
    switch (t->kind) {
    case AZ_TOKENIZER_SCORES: return "llama";
    case AZ_TOKENIZER_RANKS: return t->rules.characters ? "llama" : "gpt2";
    case AZ_TOKENIZER_UNIGRAM: return "t5";
    case AZ_TOKENIZER_PIECES: return "bert";
    case AZ_TOKENIZER_WORDS: return "none";
    }
    return "none";
}

/* What only this kind of model has. */
static bool write_model(az_ctx *az, const az_tokenizer *t, az_gguf_writer *writer)
{
    switch (t->kind) {
    case AZ_TOKENIZER_SCORES: return true;
    case AZ_TOKENIZER_RANKS: note_lost_steps(az, t); return t->rules.characters || write_merges(az, t, writer);
    case AZ_TOKENIZER_UNIGRAM: return write_unigram(az, t, writer);
    case AZ_TOKENIZER_PIECES: return write_pieces(t, writer);
    case AZ_TOKENIZER_WORDS:
        az_note(az, "GGUF has no tokenizer of whole words: other programs will take token ids only");
        return az_gguf_put_string(writer, "adze.tokenizer.model", az_text_of("words"));
    }
    return false;
}

bool az_tokenizer_to_gguf(az_ctx *az, const az_tokenizer *t, int64_t rows, az_gguf_writer *writer)
{
    if (!t || !writer) return false;
    const char *model = model_name(t);
    const bool ranks_as_scores = t->kind == AZ_TOKENIZER_RANKS && t->rules.characters;
    const bool scored = t->kind == AZ_TOKENIZER_SCORES || t->kind == AZ_TOKENIZER_UNIGRAM;
    const float *scores = ranks_as_scores ? scores_of_ranks(az, t) : scored ? t->score : NULL;
    if (ranks_as_scores && !scores) return false;
    note_lost_flags(az, t);
    return az_gguf_put_string(writer, "tokenizer.ggml.model", az_text_of(model)) && write_tokens(az, t, scores, rows, writer) &&
           write_model(az, t, writer) && write_settings(t, model, writer);
}
