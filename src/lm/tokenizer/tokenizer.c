/* tokenizer.c - text to tokens and back. */
#include "lm/tokenizer/tokenizer.h"

#include <string.h>

/* ---- token lists ---- */

bool az_token_push(az_token_list *list, int32_t id)
{
    if (list->n == list->room) {
        const int64_t room = list->room ? 2 * list->room : 256;
        int32_t *longer = az_alloc_array(list->az, (size_t)room, sizeof *longer);
        if (!longer) return false;
        if (list->n > 0) memcpy(longer, list->id, (size_t)list->n * sizeof *longer);
        list->id = longer;
        list->room = room;
    }
    list->id[list->n++] = id;
    return true;
}

/* ---- words that came before ---- */

/* Words repeat. Where a word was seen before, its tokens are copied from the list that is being written. */
typedef struct seen_word {
    az_text word;
    int64_t first, tokens;
} seen_word;

enum { SEEN_WORDS = 1 << 14, SEEN_LONGEST = 64, SEEN_FROM = 4096 /* bytes of text from which remembering pays */ };

typedef struct encoder {
    az_ctx *az;
    const az_tokenizer *tokenizer;
    az_joiner *joiner;   /* kinds SCORES and RANKS */
    az_unigram *unigram; /* kind UNIGRAM */
    az_cutter *cutter;
    seen_word *seen; /* [SEEN_WORDS], or NULL for short texts */
    int flags;
    bool begun; /* something of the text has been encoded */
    az_token_list out;
} encoder;

static seen_word *seen_slot(encoder *e, az_text word)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < word.length; i++) hash = (hash ^ (unsigned char)word.data[i]) * 16777619u;
    return &e->seen[(hash ^ hash >> 15) % SEEN_WORDS];
}

static bool encode_new_word(encoder *e, az_text word)
{
    switch (e->tokenizer->kind) {
    case AZ_TOKENIZER_SCORES:
    case AZ_TOKENIZER_RANKS: return az_joiner_word(e->joiner, word.data, word.length, &e->out);
    case AZ_TOKENIZER_UNIGRAM: return az_unigram_word(e->unigram, word, &e->out);
    case AZ_TOKENIZER_PIECES:
    case AZ_TOKENIZER_WORDS: return az_pieces_word(e->az, e->tokenizer, word, &e->out);
    }
    return false;
}

static bool encode_word(void *user, az_text word)
{
    encoder *e = user;
    if (!e->seen || word.length > SEEN_LONGEST) return encode_new_word(e, word);
    seen_word *seen = seen_slot(e, word);
    if (seen->tokens > 0 && az_text_equal(seen->word, word)) {
        for (int64_t i = 0; i < seen->tokens; i++)
            if (!az_token_push(&e->out, e->out.id[seen->first + i])) return false;
        return true;
    }
    const int64_t first = e->out.n;
    if (!encode_new_word(e, word)) return false;
    *seen = (seen_word){.word = word, .first = first, .tokens = e->out.n - first};
    return true;
}

/* ---- ordinary text ---- */

/* Spaces belong to the word behind them. */
static size_t spaced_word(az_text text, size_t begin)
{
    size_t at = begin;
    while (at < text.length && text.data[at] == ' ') at++;
    while (at < text.length && text.data[at] != ' ') at++;
    return at - begin;
}

/* A text that no step cuts; where no token goes over the beginning of a word, words are taken one by one, which lets them be remembered. */
static bool encode_uncut(encoder *e, az_text text)
{
    for (size_t at = 0; at < text.length;) {
        const size_t word = e->tokenizer->word_safe ? spaced_word(text, at) : text.length - at;
        if (!encode_word(e, (az_text){.data = text.data + at, .length = word})) return false;
        at += word;
    }
    return true;
}

/* Text at the beginning, and behind a special token, gets a space in front. */
static bool encode_ordinary(encoder *e, az_text text)
{
    const az_tokenizer_rules *rules = &e->tokenizer->rules;
    if (text.length == 0) return true;
    if (rules->add_space_prefix) {
        char *spaced = az_alloc(e->az, text.length + 1);
        if (!spaced) return false;
        spaced[0] = ' ';
        memcpy(spaced + 1, text.data, text.length);
        text = (az_text){.data = spaced, .length = text.length + 1};
    }
    const bool first = !e->begun;
    e->begun = true;
    return rules->cuts > 0 ? az_cutter_text(e->cutter, text, first, encode_word, e) : encode_uncut(e, text);
}

/* ---- special tokens ---- */

/* Special tokens, and what lies between them by `between`. */
static bool encode_around(encoder *e, const az_prefix_index *index, az_text text, bool (*between)(encoder *e, az_text text))
{
    size_t begin = 0;
    for (az_special found; az_special_next(e->tokenizer, index, text, begin, e->flags, &found); begin = found.end) {
        if (!between(e, (az_text){.data = text.data + begin, .length = found.begin - begin})) return false;
        if (!az_token_push(&e->out, found.id)) return false;
        e->begun = true;
    }
    return between(e, (az_text){.data = text.data + begin, .length = text.length - begin});
}

static bool encode_raw(encoder *e, az_text text)
{
    if (text.length == 0) return true;
    const az_text normal = az_normalize(e->az, &e->tokenizer->rules, text);
    return az_ok(e->az) && encode_around(e, &e->tokenizer->late, normal, encode_ordinary);
}

static bool encode(encoder *e, az_text text)
{
    const az_tokenizer *t = e->tokenizer;
    if ((e->flags & AZ_ADD_BOS) && t->bos >= 0 && !az_token_push(&e->out, t->bos)) return false;
    if (!encode_around(e, &t->special, text, encode_raw)) return false;
    return !(e->flags & AZ_ADD_EOS) || t->eos < 0 || az_token_push(&e->out, t->eos);
}

static bool encoder_ready(encoder *e, size_t length)
{
    const az_tokenizer *t = e->tokenizer;
    if (t->kind == AZ_TOKENIZER_SCORES || t->kind == AZ_TOKENIZER_RANKS) e->joiner = az_joiner_new(e->az, t);
    if (t->kind == AZ_TOKENIZER_UNIGRAM) e->unigram = az_unigram_new(e->az, t);
    if (t->rules.cuts > 0) e->cutter = az_cutter_new(e->az, &t->rules);
    if (length >= SEEN_FROM) e->seen = az_alloc_array(e->az, SEEN_WORDS, sizeof *e->seen);
    return az_ok(e->az);
}

az_tokens az_tokenize(az_ctx *az, const az_tokenizer *tokenizer, const char *text, size_t length, int flags)
{
    az_tokens tokens = {0};
    if (!tokenizer || !text || !az_ok(az)) return tokens;
    az_arena *scratch = az_arena_new(az);
    if (!scratch) return tokens;
    az_arena_enter(az, scratch);
    encoder e = {.az = az, .tokenizer = tokenizer, .flags = flags, .out = {.az = az}};
    const bool done = encoder_ready(&e, length) && encode(&e, (az_text){.data = text, .length = length});
    az_arena_leave(az);
    if (done) {
        tokens.id = az_alloc_array(az, (size_t)e.out.n, sizeof *tokens.id);
        tokens.n = tokens.id ? e.out.n : 0;
        if (tokens.n > 0) memcpy(tokens.id, e.out.id, (size_t)e.out.n * sizeof *tokens.id);
    }
    az_arena_free(az, scratch);
    return tokens;
}

/* ---- tokens to text ---- */

/* Where encoding put a space in front, or a joined word follows nothing, decoding takes it off. */
static bool begins_text(const az_tokenizer *t, int32_t previous)
{
    if (!t->rules.strip_space) return false;
    const int type = previous >= 0 && previous < t->size ? t->type[previous] : AZ_TOKEN_CONTROL;
    return type == AZ_TOKEN_CONTROL || type == AZ_TOKEN_USER;
}

static bool is_glued(const az_tokenizer *t, az_text bytes)
{
    return t->rules.glue_punctuation && bytes.length == 2 && memchr(".?!,", bytes.data[1], 4);
}

const char *az_token_bytes(const az_tokenizer *tokenizer, int32_t id, int32_t previous, size_t *length)
{
    *length = 0;
    if (!tokenizer || id < 0 || id >= tokenizer->size) return "";
    const az_text bytes = tokenizer->bytes[id];
    *length = bytes.length;
    if (bytes.length == 0 || bytes.data[0] != ' ' || tokenizer->type[id] == AZ_TOKEN_USER) return bytes.data;
    if (!(begins_text(tokenizer, previous) || is_glued(tokenizer, bytes))) return bytes.data;
    *length = bytes.length - 1;
    return bytes.data + 1;
}

char *az_detokenize(az_ctx *az, const az_tokenizer *tokenizer, const int32_t *id, int64_t n, size_t *length)
{
    if (length) *length = 0;
    if (!tokenizer || (n > 0 && !id)) return NULL;
    size_t total = 0, bytes;
    for (int64_t i = 0; i < n; i++) {
        az_token_bytes(tokenizer, id[i], i ? id[i - 1] : -1, &bytes);
        total += bytes;
    }
    char *text = az_alloc(az, total + 1);
    if (!text) return NULL;
    char *end = text;
    for (int64_t i = 0; i < n; i++) {
        const char *piece = az_token_bytes(tokenizer, id[i], i ? id[i - 1] : -1, &bytes);
        memcpy(end, piece, bytes);
        end += bytes;
    }
    if (length) *length = total;
    return text;
}

const char *az_tokenizer_chat_template(const az_tokenizer *tokenizer)
{
    return tokenizer ? tokenizer->chat_template : NULL;
}

int64_t az_vocabulary(const az_tokenizer *tokenizer)
{
    return tokenizer ? tokenizer->size : 0;
}

int32_t az_token_bos(const az_tokenizer *tokenizer)
{
    return tokenizer ? tokenizer->bos : -1;
}

int32_t az_token_eos(const az_tokenizer *tokenizer)
{
    return tokenizer ? tokenizer->eos : -1;
}

bool az_tokenizer_wants_bos(const az_tokenizer *tokenizer)
{
    return tokenizer && tokenizer->add_bos && tokenizer->bos >= 0;
}

const char *az_token_text(const az_tokenizer *tokenizer, int32_t id)
{
    return tokenizer && id >= 0 && id < tokenizer->size ? tokenizer->text[id].data : "";
}
