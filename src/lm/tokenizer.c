/* tokenizer.c - text to tokens and back. */
#include "lm/tokenizer.h"

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
    az_joiner *joiner;
    az_words *words; /* kind RANKS */
    seen_word *seen; /* [SEEN_WORDS], or NULL for short texts */
    az_token_list out;
} encoder;

static seen_word *seen_slot(encoder *e, az_text word)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < word.length; i++) hash = (hash ^ (unsigned char)word.data[i]) * 16777619u;
    return &e->seen[(hash ^ hash >> 15) % SEEN_WORDS];
}

static bool encode_word(encoder *e, az_text word)
{
    if (!e->seen || word.length > SEEN_LONGEST) return az_joiner_word(e->joiner, word.data, word.length, &e->out);
    seen_word *seen = seen_slot(e, word);
    if (seen->tokens > 0 && az_text_equal(seen->word, word)) {
        for (int64_t i = 0; i < seen->tokens; i++)
            if (!az_token_push(&e->out, e->out.id[seen->first + i])) return false;
        return true;
    }
    const int64_t first = e->out.n;
    if (!az_joiner_word(e->joiner, word.data, word.length, &e->out)) return false;
    *seen = (seen_word){.word = word, .first = first, .tokens = e->out.n - first};
    return true;
}

/* ---- ordinary text ---- */

static bool encode_ranks(encoder *e, const char *text, size_t length)
{
    az_words_begin(e->words, text, length);
    for (az_text word; (word = az_words_next(e->words)).length > 0;)
        if (!encode_word(e, word)) return false;
    return az_ok(e->az);
}

/* Spaces belong to the word behind them. */
static size_t spaced_word(const char *text, size_t length)
{
    size_t at = 0;
    while (at < length && text[at] == ' ') at++;
    while (at < length && text[at] != ' ') at++;
    return at;
}

/* Text at the beginning, and behind a special token, gets a space in front. */
static bool encode_scores(encoder *e, const char *text, size_t length)
{
    if (e->tokenizer->add_space_prefix) {
        char *spaced = az_alloc(e->az, length + 1);
        if (!spaced) return false;
        spaced[0] = ' ';
        memcpy(spaced + 1, text, length);
        text = spaced;
        length++;
    }
    for (size_t at = 0; at < length;) {
        const size_t word = e->tokenizer->word_safe ? spaced_word(text + at, length - at) : length - at;
        if (!encode_word(e, (az_text){.data = text + at, .length = word})) return false;
        at += word;
    }
    return true;
}

static bool encode_plain(encoder *e, const char *text, size_t length)
{
    if (length == 0) return true;
    return e->tokenizer->kind == AZ_TOKENIZER_RANKS ? encode_ranks(e, text, length) : encode_scores(e, text, length);
}

/* ---- special tokens ---- */

static int first_byte_order(const az_text *special, az_text text, size_t at)
{
    if (special->length <= at) return -1;
    return (int)(unsigned char)special->data[at] - (int)(unsigned char)text.data[at];
}

/* In special[low .. high - 1], which agree in their first `at` bytes: the first whose next byte is not less than (above: greater than) the
 * text's. */
static int32_t bound(const az_tokenizer *t, int32_t low, int32_t high, az_text text, size_t at, bool above)
{
    while (low < high) {
        const int32_t middle = low + (high - low) / 2;
        const int order = first_byte_order(&t->text[t->special[middle]], text, at);
        if (order < 0 || (above && order == 0))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The longest special token at the beginning of text, -1 = none. Control tokens count only with AZ_PARSE_SPECIAL. */
static int32_t special_at(const az_tokenizer *t, az_text text, int flags)
{
    int32_t found = -1, low = 0, high = t->specials;
    for (size_t at = 0; at < text.length && low < high; at++) {
        low = bound(t, low, high, text, at, false);
        high = bound(t, low, high, text, at, true);
        if (low == high) break;
        const int32_t id = t->special[low]; /* the shortest of those that agree so far */
        if (t->text[id].length == at + 1 && (t->type[id] == AZ_TOKEN_USER || (flags & AZ_PARSE_SPECIAL))) found = id;
    }
    return found;
}

static bool encode(encoder *e, const char *text, size_t length, int flags)
{
    const az_tokenizer *t = e->tokenizer;
    if ((flags & AZ_ADD_BOS) && t->bos >= 0 && !az_token_push(&e->out, t->bos)) return false;
    size_t begin = 0;
    for (size_t at = 0; at < length;) {
        const bool possible = t->special_first[(unsigned char)text[at]];
        const int32_t id = possible ? special_at(t, (az_text){.data = text + at, .length = length - at}, flags) : -1;
        if (id < 0) {
            at++;
            continue;
        }
        if (!encode_plain(e, text + begin, at - begin) || !az_token_push(&e->out, id)) return false;
        at += t->text[id].length;
        begin = at;
    }
    if (!encode_plain(e, text + begin, length - begin)) return false;
    return !(flags & AZ_ADD_EOS) || t->eos < 0 || az_token_push(&e->out, t->eos);
}

az_tokens az_tokenize(az_ctx *az, const az_tokenizer *tokenizer, const char *text, size_t length, int flags)
{
    az_tokens tokens = {0};
    if (!tokenizer || !text || !az_ok(az)) return tokens;
    az_arena *scratch = az_arena_new(az);
    if (!scratch) return tokens;
    az_arena_enter(az, scratch);
    encoder e = {.az = az, .tokenizer = tokenizer, .out = {.az = az}};
    e.joiner = az_joiner_new(az, tokenizer);
    if (tokenizer->kind == AZ_TOKENIZER_RANKS) e.words = az_words_new(az, tokenizer->word_code);
    if (length >= SEEN_FROM) e.seen = az_alloc_array(az, SEEN_WORDS, sizeof *e.seen);
    const bool done = az_ok(az) && encode(&e, text, length, flags);
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

const char *az_token_bytes(const az_tokenizer *tokenizer, int32_t id, int32_t previous, size_t *length)
{
    *length = 0;
    if (!tokenizer || id < 0 || id >= tokenizer->size) return "";
    const az_text bytes = tokenizer->bytes[id];
    *length = bytes.length;
    if (tokenizer->kind != AZ_TOKENIZER_SCORES || !tokenizer->add_space_prefix) return bytes.data;
    const int type = previous >= 0 && previous < tokenizer->size ? tokenizer->type[previous] : AZ_TOKEN_CONTROL;
    const bool prefixed = type == AZ_TOKEN_CONTROL || type == AZ_TOKEN_USER;
    if (!prefixed || tokenizer->type[id] == AZ_TOKEN_USER || bytes.length == 0 || bytes.data[0] != ' ') return bytes.data;
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
