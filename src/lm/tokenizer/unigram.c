/* unigram.c - the unigram model (Kudo, ACL 2018): of all ways to write a word in pieces the one with the greatest sum of log
 * probabilities, by dynamic programming over the places between characters. A character that no piece covers counts as unknown, with a
 * score 10 below the least. */
#include "lm/tokenizer/tokenizer.h"

#include <math.h>
#include <string.h>

/* The best way to the end of a character: its last piece and where that begins. */
typedef struct way {
    double score;
    size_t begin;
    int32_t token; /* -1 = unknown character */
} way;

struct az_unigram {
    az_ctx *az;
    const az_tokenizer *tokenizer;
    way *ways;   /* [room + 1] by the byte where they end */
    size_t *cut; /* [room] ends of the best way's pieces, the last first */
    size_t room;
};

az_unigram *az_unigram_new(az_ctx *az, const az_tokenizer *tokenizer)
{
    az_unigram *unigram = az_alloc(az, sizeof *unigram);
    if (unigram) *unigram = (az_unigram){.az = az, .tokenizer = tokenizer};
    return unigram;
}

static bool make_room(az_unigram *u, size_t bytes)
{
    if (bytes <= u->room) return true;
    const size_t room = bytes < 64 ? 64 : bytes + bytes / 2;
    u->ways = az_alloc_array(u->az, room + 1, sizeof *u->ways);
    u->cut = az_alloc_array(u->az, room, sizeof *u->cut);
    u->room = u->ways && u->cut ? room : 0;
    return u->room > 0;
}

static void offer(way *ways, size_t begin, size_t end, int32_t token, double score)
{
    const double sum = ways[begin].score + score;
    if (sum > ways[end].score) ways[end] = (way){.score = sum, .begin = begin, .token = token};
}

static double token_score(const az_tokenizer *t, int32_t token)
{
    return t->type[token] == AZ_TOKEN_USER ? 0 : (double)t->score[token];
}

/* Offers all pieces that begin at `begin`. */
static void extend(const az_tokenizer *t, az_text word, size_t begin, way *ways)
{
    const size_t character = az_utf8_length(word.data + begin, word.length - begin);
    bool covered = false;
    az_prefix_walk walk = az_prefix_begin(&t->piece);
    while (begin + walk.length < word.length && az_prefix_step(&t->piece, &walk, (unsigned char)word.data[begin + walk.length])) {
        const int32_t token = az_prefix_token(&t->piece, &walk);
        if (token < 0) continue;
        offer(ways, begin, begin + walk.length, token, token_score(t, token));
        covered = covered || walk.length == character;
    }
    if (!covered) offer(ways, begin, begin + character, -1, (double)t->least_score - 10);
}

/* The bytes of an unknown character as byte tokens, or the unknown token, once for neighbours. */
static bool push_unknown(az_ctx *az, const az_tokenizer *t, az_text character, bool again, az_token_list *out)
{
    bool known = true;
    for (size_t i = 0; i < character.length; i++) known = known && t->byte[(unsigned char)character.data[i]] >= 0;
    if (!known && t->unknown < 0)
        return az_fail(az, AZ_BAD_INPUT, "the vocabulary has no piece for the character '%s' and no unknown token",
                       az_text_show(az, character));
    if (!known) return again || az_token_push(out, t->unknown);
    for (size_t i = 0; i < character.length; i++)
        if (!az_token_push(out, t->byte[(unsigned char)character.data[i]])) return false;
    return true;
}

bool az_unigram_word(az_unigram *u, az_text word, az_token_list *out)
{
    if (word.length == 0) return true;
    if (!make_room(u, word.length)) return false;
    u->ways[0] = (way){.score = 0};
    for (size_t i = 1; i <= word.length; i++) u->ways[i].score = -INFINITY;
    for (size_t begin = 0; begin < word.length; begin++)
        if (u->ways[begin].score > (double)-INFINITY) extend(u->tokenizer, word, begin, u->ways);
    size_t n = 0;
    for (size_t end = word.length; end > 0; end = u->ways[end].begin) u->cut[n++] = end;
    bool unknown = false;
    while (n-- > 0) {
        const way *last = &u->ways[u->cut[n]];
        const az_text piece = {.data = word.data + last->begin, .length = u->cut[n] - last->begin};
        const bool pushed = last->token >= 0 ? az_token_push(out, last->token) : push_unknown(u->az, u->tokenizer, piece, unknown, out);
        if (!pushed) return false;
        unknown = last->token < 0;
    }
    return true;
}
