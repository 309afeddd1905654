/* train.c - learns a byte-level BPE: the most frequent pair of neighbours becomes a token, again and again.
 *
 * Equal words are counted once. Each pair knows how often it occurs and where, and each merge changes only the pairs around the places
 * where it happens; the pair to merge next comes from a heap whose outdated entries are put right when they reach the top. The work is thus
 * proportional to the text's distinct words, not to the number of merges times the text. */
#include "lm/tokenizer/tokenizer.h"

#include <stdlib.h>
#include <string.h>

enum { BYTE_TOKENS = 256, END_OF_TEXT = 256, FIRST_MERGED = 257 };

/* Distinct texts, numbered as they come, found by a hash table (a power of two of slots, at most half full). */
typedef struct text_index {
    az_text *text;
    int64_t n, room;
    int32_t *slot;
    int64_t slots;
} text_index;

/* A place in a distinct word. Absorbed places have token -1. */
typedef struct place {
    int32_t token, previous, next; /* -1 at the ends of the word */
    int32_t word;
} place;

typedef struct pair {
    int32_t left, right;
    int64_t count;       /* occurrences in the text */
    int32_t first, last; /* list of places of the left token, in `at`; -1 = empty. Some may be outdated */
    bool changed;        /* gained places since it was last put on the heap */
} pair;

typedef struct occurrence {
    int32_t place, next;
} occurrence;

typedef struct ranked {
    int64_t count;
    int32_t pair;
} ranked;

typedef struct trainer {
    az_ctx *az;
    text_index words, tokens; /* what each token stands for; END_OF_TEXT for nothing */
    int64_t *count;           /* of each word */
    int64_t count_room;
    place *place;
    int32_t places;
    pair *pair;
    int64_t pairs, pair_room;
    int32_t *pair_slot; /* hash table of pairs */
    int64_t pair_slots;
    occurrence *at; /* three times as many as places: each merge makes two new ones and removes a place */
    int32_t occurrences;
    ranked *heap;
    int64_t waiting, heap_room;
    int32_t *changed; /* pairs that gained places in the present merge */
    int64_t changes, change_room;
    int32_t *found; /* places of the pair that is being merged */
    int64_t found_room;
    az_merge *merge;
    int64_t merges, merge_room;
} trainer;

/* The list with room for one more entry, NULL when memory is exhausted. */
static void *grow(az_ctx *az, void *list, int64_t n, int64_t *room, size_t size)
{
    if (n < *room) return list;
    const int64_t wanted = *room ? 2 * *room : 1024;
    void *longer = az_alloc_array(az, (size_t)wanted, size);
    if (!longer) return NULL;
    if (n > 0) memcpy(longer, list, (size_t)n * size);
    *room = wanted;
    return longer;
}

/* ---- distinct texts ---- */

static int64_t text_slot(const text_index *index, az_text text)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < text.length; i++) hash = (hash ^ (unsigned char)text.data[i]) * 0x100000001b3u;
    int64_t at = (int64_t)(hash >> 32 ^ hash) & (index->slots - 1);
    while (index->slot[at] >= 0 && !az_text_equal(index->text[index->slot[at]], text)) at = (at + 1) & (index->slots - 1);
    return at;
}

static bool enlarge_index(az_ctx *az, text_index *index)
{
    index->slots = index->slots ? 4 * index->slots : 1 << 14;
    index->slot = az_alloc_array(az, (size_t)index->slots, sizeof *index->slot);
    if (!index->slot) return false;
    memset(index->slot, 0xff, (size_t)index->slots * sizeof *index->slot);
    for (int64_t i = 0; i < index->n; i++) index->slot[text_slot(index, index->text[i])] = (int32_t)i;
    return true;
}

/* Number of a text, which is added if it is new; -1 when memory is exhausted. */
static int32_t index_text(az_ctx *az, text_index *index, az_text text)
{
    if (2 * index->n >= index->slots && !enlarge_index(az, index)) return -1;
    const int64_t slot = text_slot(index, text);
    if (index->slot[slot] >= 0) return index->slot[slot];
    az_text *list = grow(az, index->text, index->n, &index->room, sizeof *list);
    if (!list) return -1;
    index->text = list;
    list[index->n] = text;
    return index->slot[slot] = (int32_t)index->n++;
}

static bool count_word(trainer *t, az_text word)
{
    const int64_t known = t->words.n;
    const int32_t i = index_text(t->az, &t->words, word);
    if (i < 0) return false;
    if (t->words.n > known) {
        int64_t *count = grow(t->az, t->count, known, &t->count_room, sizeof *count);
        if (!count) return false;
        t->count = count;
        count[i] = 0;
    }
    t->count[i]++;
    return true;
}

static bool interrupted(trainer *t)
{
    return az_fail(t->az, AZ_INTERRUPTED, "training of the tokenizer was interrupted");
}

static bool count_words(trainer *t, const az_documents *documents, const az_word_pattern *pattern)
{
    az_words *words = az_words_new(t->az, az_word_code(t->az, pattern));
    if (!words) return false;
    for (int64_t i = 0; i < documents->count; i++) {
        az_words_begin(words, documents->item[i].text, documents->item[i].length);
        for (az_text word; (word = az_words_next(words)).length > 0;)
            if (!count_word(t, word)) return false;
        if (!az_progress(t->az, "counting words", i + 1, documents->count, NULL)) return interrupted(t);
    }
    return az_ok(t->az);
}

/* ---- pairs ---- */

static int64_t pair_slot(const trainer *t, int32_t left, int32_t right)
{
    const uint64_t hash = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9e3779b97f4a7c15u;
    int64_t at = (int64_t)(hash >> 20) & (t->pair_slots - 1);
    for (int32_t i; (i = t->pair_slot[at]) >= 0; at = (at + 1) & (t->pair_slots - 1))
        if (t->pair[i].left == left && t->pair[i].right == right) break;
    return at;
}

static bool enlarge_pairs(trainer *t)
{
    t->pair_slots = t->pair_slots ? 4 * t->pair_slots : 1 << 14;
    t->pair_slot = az_alloc_array(t->az, (size_t)t->pair_slots, sizeof *t->pair_slot);
    if (!t->pair_slot) return false;
    memset(t->pair_slot, 0xff, (size_t)t->pair_slots * sizeof *t->pair_slot);
    for (int64_t i = 0; i < t->pairs; i++) t->pair_slot[pair_slot(t, t->pair[i].left, t->pair[i].right)] = (int32_t)i;
    return true;
}

/* The pair, made if it is new; NULL when memory is exhausted. */
static pair *pair_of(trainer *t, int32_t left, int32_t right)
{
    const int64_t slot = pair_slot(t, left, right);
    if (t->pair_slot[slot] >= 0) return &t->pair[t->pair_slot[slot]];
    pair *list = grow(t->az, t->pair, t->pairs, &t->pair_room, sizeof *list);
    if (!list) return NULL;
    t->pair = list;
    t->pair_slot[slot] = (int32_t)t->pairs;
    list[t->pairs++] = (pair){.left = left, .right = right, .first = -1, .last = -1};
    if (2 * t->pairs >= t->pair_slots && !enlarge_pairs(t)) return NULL;
    return &t->pair[t->pairs - 1];
}

/* The tokens at a place and at the next one have become neighbours. */
static bool add_occurrence(trainer *t, int32_t at)
{
    const place *left = &t->place[at];
    pair *p = pair_of(t, left->token, t->place[left->next].token);
    if (!p) return false;
    p->count += t->count[left->word];
    t->at[t->occurrences] = (occurrence){.place = at, .next = -1};
    if (p->last >= 0)
        t->at[p->last].next = t->occurrences;
    else
        p->first = t->occurrences;
    p->last = t->occurrences++;
    if (p->changed) return true;
    p->changed = true;
    int32_t *list = grow(t->az, t->changed, t->changes, &t->change_room, sizeof *list);
    if (!list) return false;
    t->changed = list;
    list[t->changes++] = (int32_t)(p - t->pair);
    return true;
}

/* The tokens at a place and at the next one cease to be neighbours; the list of places keeps an outdated entry. */
static void remove_occurrence(trainer *t, int32_t at)
{
    const place *left = &t->place[at];
    t->pair[t->pair_slot[pair_slot(t, left->token, t->place[left->next].token)]].count -= t->count[left->word];
}

/* ---- heap: most frequent first; ties to the pair whose bytes (left, then right) sort greater ---- */

static bool before(const trainer *t, ranked a, ranked b)
{
    if (a.count != b.count) return a.count > b.count;
    const pair *x = &t->pair[a.pair], *y = &t->pair[b.pair];
    const int order = az_text_compare(t->tokens.text[x->left], t->tokens.text[y->left]);
    return (order ? order : az_text_compare(t->tokens.text[x->right], t->tokens.text[y->right])) > 0;
}

static bool heap_push(trainer *t, int32_t which)
{
    ranked *heap = grow(t->az, t->heap, t->waiting, &t->heap_room, sizeof *heap);
    if (!heap) return false;
    t->heap = heap;
    const ranked entry = {.count = t->pair[which].count, .pair = which};
    int64_t i = t->waiting++;
    for (; i > 0 && before(t, entry, heap[(i - 1) / 2]); i = (i - 1) / 2) heap[i] = heap[(i - 1) / 2];
    heap[i] = entry;
    return true;
}

static ranked heap_pop(trainer *t)
{
    ranked *heap = t->heap;
    const ranked top = heap[0], last = heap[--t->waiting];
    int64_t i = 0;
    for (int64_t child; (child = 2 * i + 1) < t->waiting; i = child) {
        if (child + 1 < t->waiting && before(t, heap[child + 1], heap[child])) child++;
        if (!before(t, heap[child], last)) break;
        heap[i] = heap[child];
    }
    heap[i] = last;
    return top;
}

static bool push_changed(trainer *t)
{
    for (int64_t i = 0; i < t->changes; i++) {
        t->pair[t->changed[i]].changed = false;
        if (!heap_push(t, t->changed[i])) return false;
    }
    t->changes = 0;
    return true;
}

/* The pair to merge next, -1 when none is left. */
static int32_t most_frequent(trainer *t)
{
    while (t->waiting > 0) {
        const ranked top = heap_pop(t);
        const int64_t count = t->pair[top.pair].count;
        if (count > 0 && count == top.count) return top.pair;
        if (count > 0 && count < top.count && !heap_push(t, top.pair)) return -1; /* it has lost places meanwhile */
    }
    return -1;
}

/* ---- merging ---- */

static bool split_words(trainer *t)
{
    size_t bytes = 0;
    for (int64_t i = 0; i < t->words.n; i++) bytes += t->words.text[i].length;
    if (bytes > INT32_MAX / 3) return az_fail(t->az, AZ_BAD_INPUT, "%zu bytes of distinct words are too many; train on less text", bytes);
    t->place = az_alloc_array(t->az, bytes, sizeof *t->place);
    t->at = az_alloc_array(t->az, 3 * bytes, sizeof *t->at);
    if (!t->place || !t->at || !enlarge_pairs(t)) return false;
    for (int32_t w = 0; w < t->words.n; w++) {
        const az_text word = t->words.text[w];
        for (size_t i = 0; i < word.length; i++, t->places++)
            t->place[t->places] = (place){.token = (unsigned char)word.data[i],
                                          .previous = i > 0 ? t->places - 1 : -1,
                                          .next = i + 1 < word.length ? t->places + 1 : -1,
                                          .word = w};
    }
    for (int32_t i = 0; i < t->places; i++)
        if (t->place[i].next >= 0 && !add_occurrence(t, i)) return false;
    return push_changed(t);
}

/* Joins the token at a place with the next one. */
static bool merge_at(trainer *t, int32_t at, int32_t joined)
{
    place *left = &t->place[at], *right = &t->place[left->next];
    remove_occurrence(t, at);
    if (left->previous >= 0) remove_occurrence(t, left->previous);
    if (right->next >= 0) remove_occurrence(t, left->next);
    left->token = joined;
    left->next = right->next;
    right->token = -1;
    if (left->next >= 0) t->place[left->next].previous = at;
    return (left->previous < 0 || add_occurrence(t, left->previous)) && (left->next < 0 || add_occurrence(t, at));
}

static int by_number(const void *a, const void *b)
{
    const int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

/* The places of a pair, in trainer->found; returns their number, -1 when memory is exhausted. The pair's list is empty then. */
static int64_t take_places(trainer *t, pair *p)
{
    int64_t n = 0;
    for (int32_t i = p->first; i >= 0; i = t->at[i].next) {
        int32_t *list = grow(t->az, t->found, n, &t->found_room, sizeof *list);
        if (!list) return -1;
        t->found = list;
        list[n++] = t->at[i].place;
    }
    p->first = p->last = -1;
    if (p->left == p->right && n > 0) qsort(t->found, (size_t)n, sizeof *t->found, by_number); /* aaa: the left pair merges */
    return n;
}

/* The token that stands for left and right together. It is new unless other merges have led to the same bytes. */
static int32_t joined_token(trainer *t, int32_t left, int32_t right)
{
    const az_text a = t->tokens.text[left], b = t->tokens.text[right];
    char *bytes = az_alloc(t->az, a.length + b.length);
    if (!bytes) return -1;
    memcpy(bytes, a.data, a.length);
    memcpy(bytes + a.length, b.data, b.length);
    return index_text(t->az, &t->tokens, (az_text){.data = bytes, .length = a.length + b.length});
}

static bool merge_everywhere(trainer *t, int32_t which)
{
    const int32_t left = t->pair[which].left, right = t->pair[which].right, joined = joined_token(t, left, right);
    const int64_t n = take_places(t, &t->pair[which]);
    az_merge *list = grow(t->az, t->merge, t->merges, &t->merge_room, sizeof *list);
    if (joined < 0 || n < 0 || !list) return false;
    t->merge = list;
    list[t->merges++] = (az_merge){.left = left, .right = right, .joined = joined};
    for (int64_t i = 0; i < n; i++) {
        const place *at = &t->place[t->found[i]];
        const bool outdated = at->token != left || at->next < 0 || t->place[at->next].token != right;
        if (!outdated && !merge_at(t, t->found[i], joined)) return false;
    }
    return push_changed(t);
}

static bool learn(trainer *t, const az_documents *documents, const az_word_pattern *pattern, int64_t vocabulary)
{
    for (int i = 0; i < BYTE_TOKENS; i++) {
        char *byte = az_alloc(t->az, 1);
        if (!byte) return false;
        *byte = (char)i;
        if (index_text(t->az, &t->tokens, (az_text){.data = byte, .length = 1}) < 0) return false;
    }
    if (index_text(t->az, &t->tokens, az_text_of("")) != END_OF_TEXT) return false;
    if (!count_words(t, documents, pattern) || !split_words(t)) return false;
    while (t->tokens.n < vocabulary) {
        const int32_t next = most_frequent(t);
        if (next < 0) break;
        if (!merge_everywhere(t, next)) return false;
        if (!az_progress(t->az, "merging", t->tokens.n, vocabulary, NULL)) return interrupted(t);
    }
    if (az_ok(t->az) && t->tokens.n < vocabulary)
        az_note(t->az, "the text has no more pairs: %lld tokens instead of %lld", (long long)t->tokens.n, (long long)vocabulary);
    return az_ok(t->az);
}

/* ---- result ---- */

/* The bytes of a token in printable characters. */
static az_text spell(az_ctx *az, az_text bytes)
{
    char *text = az_alloc(az, 2 * bytes.length + 1), character[3];
    size_t n = 0;
    for (size_t i = 0; text && i < bytes.length; i++) {
        az_byte_spelling((unsigned char)bytes.data[i], character);
        for (const char *c = character; *c; c++) text[n++] = *c;
    }
    return (az_text){.data = text, .length = n};
}

static az_tokenizer_parts describe(trainer *t, const az_word_pattern *pattern)
{
    az_text *text = az_alloc_array(t->az, (size_t)t->tokens.n, sizeof *text);
    az_text *merge = az_alloc_array(t->az, (size_t)t->merges, sizeof *merge);
    int32_t *type = az_alloc_array(t->az, (size_t)t->tokens.n, sizeof *type);
    for (int64_t i = 0; text && type && i < t->tokens.n; i++) {
        text[i] = i == END_OF_TEXT ? az_text_of("<|endoftext|>") : spell(t->az, t->tokens.text[i]);
        type[i] = i == END_OF_TEXT ? AZ_TOKEN_CONTROL : AZ_TOKEN_NORMAL;
    }
    for (int64_t i = 0; merge && az_ok(t->az) && i < t->merges; i++) {
        const char *pair_text = az_format_text(t->az, "%s %s", text[t->merge[i].left].data, text[t->merge[i].right].data);
        if (pair_text) merge[i] = az_text_of(pair_text);
    }
    return (az_tokenizer_parts){.kind = AZ_TOKENIZER_RANKS,
                                .size = t->tokens.n,
                                .text = text,
                                .type = type,
                                .merges = t->merges,
                                .merge = merge,
                                .pattern = pattern,
                                .bos = END_OF_TEXT,
                                .eos = END_OF_TEXT,
                                .unknown = -1,
                                .add_bos = true};
}

az_tokenizer *az_tokenizer_train(az_ctx *az, const az_documents *documents, int64_t vocabulary)
{
    if (!documents || !az_ok(az)) return NULL;
    if (vocabulary < FIRST_MERGED || vocabulary > 1 << 24)
        return az_fail(az, AZ_BAD_INPUT, "a byte-level vocabulary has from %d to 2^24 tokens, not %lld", FIRST_MERGED,
                       (long long)vocabulary);
    const az_word_pattern *pattern = az_word_pattern_by_name(az_text_of("gpt-2"));
    az_arena *scratch = az_arena_new(az);
    if (!scratch) return NULL;
    az_arena_enter(az, scratch);
    trainer t = {.az = az};
    const bool learned = learn(&t, documents, pattern, vocabulary);
    const az_tokenizer_parts parts = learned ? describe(&t, pattern) : (az_tokenizer_parts){0};
    az_arena_leave(az);
    az_tokenizer *tokenizer = learned && az_ok(az) ? az_tokenizer_build(az, &parts) : NULL;
    az_arena_free(az, scratch);
    return tokenizer;
}
