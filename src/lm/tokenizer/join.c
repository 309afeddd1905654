/* join.c - joins the symbols of a word, cheapest pair first, leftmost on ties: O(n log n) with a heap of candidate pairs.
 *
 * A pair is a candidate while both its symbols are as they were when it was found; outdated ones are recognised when they reach the top. */
#include "lm/tokenizer/tokenizer.h"

#include <string.h>

typedef struct symbol {
    size_t begin, length; /* in the word; length 0 = joined to its left neighbour */
    int32_t previous, next;
    int32_t token; /* -1 = a character that is no token */
} symbol;

typedef struct candidate {
    float cost;
    int32_t left, right;
    int32_t token;
    size_t length; /* of both symbols together: outdated when it no longer is */
} candidate;

struct az_joiner {
    az_ctx *az;
    const az_tokenizer *tokenizer;
    const char *word;
    symbol *symbols;
    candidate *heap;
    size_t room; /* symbols allocated; the heap has three times as many entries */
    size_t waiting;
};

az_joiner *az_joiner_new(az_ctx *az, const az_tokenizer *tokenizer)
{
    az_joiner *joiner = az_alloc(az, sizeof *joiner);
    if (joiner) *joiner = (az_joiner){.az = az, .tokenizer = tokenizer};
    return joiner;
}

/* ---- heap ---- */

static bool before(const candidate *a, const candidate *b)
{
    return a->cost != b->cost ? a->cost < b->cost : a->left < b->left;
}

static void heap_push(az_joiner *joiner, candidate c)
{
    candidate *heap = joiner->heap;
    size_t i = joiner->waiting++;
    for (; i > 0 && before(&c, &heap[(i - 1) / 2]); i = (i - 1) / 2) heap[i] = heap[(i - 1) / 2];
    heap[i] = c;
}

static candidate heap_pop(az_joiner *joiner)
{
    candidate *heap = joiner->heap;
    const candidate top = heap[0], last = heap[--joiner->waiting];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < joiner->waiting; i = child) {
        if (child + 1 < joiner->waiting && before(&heap[child + 1], &heap[child])) child++;
        if (!before(&heap[child], &last)) break;
        heap[i] = heap[child];
    }
    heap[i] = last;
    return top;
}

/* ---- pairs ---- */

static void consider(az_joiner *joiner, int32_t left, int32_t right)
{
    if (left < 0 || right < 0) return;
    const az_tokenizer *t = joiner->tokenizer;
    const symbol *a = &joiner->symbols[left], *b = &joiner->symbols[right];
    candidate c = {.left = left, .right = right, .length = a->length + b->length};
    if (t->kind == AZ_TOKENIZER_RANKS) {
        const int32_t rank = az_tokenizer_rank(t, a->token, b->token);
        if (rank < 0) return;
        c.token = t->merge[rank].joined;
        c.cost = (float)rank; /* exact: fewer than 2^24 merges */
    } else {
        c.token = az_tokenizer_find(t, (az_text){.data = joiner->word + a->begin, .length = c.length});
        if (c.token < 0) return;
        c.cost = -t->score[c.token];
    }
    heap_push(joiner, c);
}

static void join_all(az_joiner *joiner)
{
    symbol *s = joiner->symbols;
    while (joiner->waiting > 0) {
        const candidate c = heap_pop(joiner);
        symbol *left = &s[c.left], *right = &s[c.right];
        if (left->length == 0 || left->next != c.right || left->length + right->length != c.length) continue;
        left->length = c.length;
        left->token = c.token;
        left->next = right->next;
        right->length = 0;
        if (right->next >= 0) s[right->next].previous = c.left;
        consider(joiner, left->previous, c.left);
        consider(joiner, c.left, left->next);
    }
}

/* ---- words ---- */

static bool make_room(az_joiner *joiner, size_t symbols)
{
    if (symbols <= joiner->room) return true;
    if (symbols > INT32_MAX / 4) return az_fail(joiner->az, AZ_BAD_INPUT, "a word of %zu bytes is too long to be tokenized", symbols);
    const size_t room = symbols < 64 ? 64 : symbols + symbols / 2;
    joiner->symbols = az_alloc_array(joiner->az, room, sizeof *joiner->symbols);
    joiner->heap = az_alloc_array(joiner->az, room, 3 * sizeof *joiner->heap);
    joiner->room = joiner->symbols && joiner->heap ? room : 0;
    return joiner->room > 0;
}

/* Bytes, or characters: the number of symbols. */
static int32_t split(az_joiner *joiner, size_t length)
{
    const az_tokenizer *t = joiner->tokenizer;
    const bool bytewise = t->kind == AZ_TOKENIZER_RANKS && !t->rules.characters;
    int32_t n = 0;
    for (size_t at = 0; at < length; n++) {
        symbol *s = &joiner->symbols[n];
        const size_t bytes = bytewise ? 1 : az_utf8_length(joiner->word + at, length - at);
        *s = (symbol){.begin = at, .length = bytes, .previous = n - 1, .next = n + 1};
        s->token = bytewise ? t->byte[(unsigned char)joiner->word[at]]
                            : az_tokenizer_find(t, (az_text){.data = joiner->word + at, .length = bytes});
        at += bytes;
    }
    if (n > 0) joiner->symbols[n - 1].next = -1;
    return n;
}

/* A symbol that is no token becomes one token a byte, or the unknown token; `again`: the one before it was no token either. */
static bool push_fallback(az_joiner *joiner, const symbol *s, bool again, az_token_list *out)
{
    const az_tokenizer *t = joiner->tokenizer;
    bool known = true;
    for (size_t i = 0; i < s->length; i++) known = known && t->byte[(unsigned char)joiner->word[s->begin + i]] >= 0;
    if (!known && t->unknown >= 0) return (again && t->rules.fuse_unknown) || az_token_push(out, t->unknown);
    if (!known)
        return az_fail(joiner->az, AZ_BAD_INPUT, "the vocabulary has no token for the character '%.*s' and no unknown token",
                       (int)s->length, joiner->word + s->begin);
    for (size_t i = 0; i < s->length; i++)
        if (!az_token_push(out, t->byte[(unsigned char)joiner->word[s->begin + i]])) return false;
    return true;
}

bool az_joiner_word(az_joiner *joiner, const char *word, size_t length, az_token_list *out)
{
    const az_tokenizer *t = joiner->tokenizer;
    const bool whole = t->kind == AZ_TOKENIZER_RANKS && t->rules.whole_first;
    if (!make_room(joiner, length)) return false;
    joiner->word = word;
    joiner->waiting = 0;
    const int32_t n = split(joiner, length);
    const int32_t token = whole ? az_tokenizer_find(t, (az_text){.data = word, .length = length}) : -1;
    if (token >= 0) return az_token_push(out, token);
    for (int32_t i = 1; i < n; i++) consider(joiner, i - 1, i);
    join_all(joiner);
    bool unknown = false;
    for (int32_t i = n > 0 ? 0 : -1; i >= 0; i = joiner->symbols[i].next) {
        const symbol *s = &joiner->symbols[i];
        if (!(s->token >= 0 ? az_token_push(out, s->token) : push_fallback(joiner, s, unknown, out))) return false;
        unknown = s->token < 0;
    }
    return true;
}
