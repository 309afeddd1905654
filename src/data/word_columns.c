/* word_columns.c - documents as counts of words: the words that make the columns, and sparse rows of counts or TF-IDF weights. */
#include "adze/data.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

static const char *const function_words[] = {
    "about",   "above",   "after",   "again", "against", "all",      "also",   "am",      "an",    "and",    "any",   "are",     "as",
    "at",      "be",      "because", "been",  "before",  "being",    "below",  "between", "both",  "but",    "by",    "can",     "cannot",
    "could",   "did",     "do",      "does",  "doing",   "don",      "down",   "during",  "each",  "ever",   "every", "few",     "for",
    "from",    "further", "get",     "had",   "has",     "have",     "having", "he",      "her",   "here",   "hers",  "herself", "him",
    "himself", "his",     "how",     "if",    "in",      "into",     "is",     "it",      "its",   "itself", "just",  "ll",      "may",
    "me",      "might",   "more",    "most",  "must",    "my",       "myself", "no",      "nor",   "not",    "now",   "of",      "off",
    "on",      "once",    "only",    "or",    "other",   "our",      "ours",   "out",     "over",  "own",    "re",    "same",    "shall",
    "she",     "should",  "so",      "some",  "such",    "than",     "that",   "the",     "their", "theirs", "them",  "then",    "there",
    "these",   "they",    "this",    "those", "through", "to",       "too",    "under",   "until", "up",     "upon",  "us",      "ve",
    "very",    "was",     "we",      "were",  "what",    "when",     "where",  "which",   "while", "who",    "whom",  "why",     "will",
    "with",    "would",   "you",     "your",  "yours",   "yourself",
};

/* ---- words ---- */

typedef struct reader {
    const utf8proc_uint8_t *at, *end;
    char *word; /* room for the longest one of the document */
    size_t length;
} reader;

static bool is_word_character(utf8proc_int32_t code)
{
    switch (utf8proc_category(code)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
    case UTF8PROC_CATEGORY_PC: return true;
    default: return false;
    }
}

/* The next word of at least two characters, in r->word; false at the end. */
static bool next_word(reader *r)
{
    int64_t characters = 0;
    r->length = 0;
    while (r->at < r->end) {
        utf8proc_int32_t code;
        const utf8proc_ssize_t step = utf8proc_iterate(r->at, r->end - r->at, &code);
        r->at += step > 0 ? step : 1;
        if (step > 0 && is_word_character(code)) {
            r->length += (size_t)utf8proc_encode_char(utf8proc_tolower(code), (utf8proc_uint8_t *)r->word + r->length);
            characters++;
        } else if (characters >= 2) {
            break;
        } else {
            r->length = 0, characters = 0;
        }
    }
    r->word[r->length] = '\0';
    return characters >= 2;
}

/* Lower case may take more bytes than the text did, never more than four a character. */
static bool open_document(az_ctx *az, const az_document *document, reader *r)
{
    *r = (reader){.at = (const utf8proc_uint8_t *)document->text, .end = (const utf8proc_uint8_t *)document->text + document->length};
    r->word = az_alloc(az, 4 * document->length + 1);
    return r->word != NULL;
}

/* ---- the vocabulary ---- */

typedef struct entry {
    const char *word; /* NULL = free */
    uint64_t hash;
    int64_t documents, last; /* the last document, plus 1, that it was seen in */
} entry;

typedef struct table {
    entry *entry; /* [room], a power of two, at most half full */
    size_t room, used;
} table;

static uint64_t hash_of(const char *word)
{
    uint64_t h = 0xcbf29ce484222325; /* FNV-1a, then a finish that spreads it */
    for (; *word; word++) h = (h ^ (unsigned char)*word) * 0x100000001b3;
    h ^= h >> 32;
    return h * 0x9e3779b97f4a7c15;
}

static entry *place_of(const table *t, const char *word, uint64_t hash)
{
    size_t at = hash & (t->room - 1);
    while (t->entry[at].word && (t->entry[at].hash != hash || strcmp(t->entry[at].word, word) != 0)) at = (at + 1) & (t->room - 1);
    return &t->entry[at];
}

static bool grow(az_ctx *az, table *t)
{
    const table old = *t;
    t->room = old.room ? 2 * old.room : 1024;
    t->entry = az_alloc_array(az, t->room, sizeof *t->entry);
    for (size_t i = 0; t->entry && i < old.room; i++)
        if (old.entry[i].word) *place_of(t, old.entry[i].word, old.entry[i].hash) = old.entry[i];
    return t->entry != NULL;
}

static bool count_word(az_ctx *az, table *t, const char *word, int64_t document)
{
    if (2 * t->used >= t->room && !grow(az, t)) return false;
    const uint64_t hash = hash_of(word);
    entry *e = place_of(t, word, hash);
    if (!e->word) {
        *e = (entry){.word = az_strdup(az, word), .hash = hash};
        t->used++;
    }
    e->documents += e->last != document + 1;
    e->last = document + 1;
    return e->word != NULL;
}

static bool is_function_word(const char *word)
{
    for (size_t i = 0; i < sizeof function_words / sizeof *function_words; i++)
        if (strcmp(word, function_words[i]) == 0) return true;
    return false;
}

static int by_documents(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    if (x->documents != y->documents) return x->documents > y->documents ? -1 : 1;
    return strcmp(x->word, y->word);
}

static int by_word(const void *a, const void *b)
{
    return strcmp(((const entry *)a)->word, ((const entry *)b)->word);
}

/* The entries that stay, at the front of the table in the order of their words; their number. */
static int64_t choose(table *t, const az_word_columns_how *how, int64_t documents)
{
    int64_t kept = 0;
    for (size_t i = 0; i < t->room; i++) {
        const entry *e = &t->entry[i];
        if (!e->word || e->documents < how->least_documents || (double)e->documents > how->most_share * (double)documents) continue;
        if (!how->keep_function_words && is_function_word(e->word)) continue;
        t->entry[kept++] = *e;
    }
    qsort(t->entry, (size_t)kept, sizeof *t->entry, by_documents);
    if (how->most_words > 0 && kept > how->most_words) kept = how->most_words;
    qsort(t->entry, (size_t)kept, sizeof *t->entry, by_word);
    return kept;
}

az_word_columns *az_word_columns_new(az_ctx *az, const az_documents *documents, const az_word_columns_how *how)
{
    if (!documents || !az_ok(az)) return NULL;
    table t = {0};
    for (int64_t d = 0; d < documents->count; d++) {
        reader r;
        if (!open_document(az, &documents->item[d], &r)) return NULL;
        while (next_word(&r))
            if (!count_word(az, &t, r.word, d)) return NULL;
    }
    const int64_t count = t.room ? choose(&t, how, documents->count) : 0;
    if (count == 0)
        return az_fail(az, AZ_BAD_INPUT, "no word is in at least %lld and at most %g of the %lld documents",
                       (long long)how->least_documents, how->most_share * (double)documents->count, (long long)documents->count);
    az_word_columns *v = az_alloc(az, sizeof *v);
    if (!v) return NULL;
    *v = (az_word_columns){.count = count, .word = az_alloc_array(az, (size_t)count, sizeof *v->word)};
    v->idf = az_alloc_array(az, (size_t)count, sizeof *v->idf);
    for (int64_t w = 0; v->word && v->idf && w < count; w++) {
        v->word[w] = t.entry[w].word;
        v->idf[w] = log((1 + (double)documents->count) / (1 + (double)t.entry[w].documents)) + 1;
    }
    return az_ok(az) ? v : NULL;
}

/* ---- rows ---- */

static int64_t position_of(const az_word_columns *v, const char *word)
{
    int64_t low = 0, high = v->count;
    while (low < high) {
        const int64_t middle = (low + high) / 2;
        const int order = strcmp(v->word[middle], word);
        if (order == 0) return middle;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return -1;
}

/* Of the growing list of entries. */
typedef struct entries {
    int64_t count, room;
    int64_t *other;
    double *value;
} entries;

static bool make_room(az_ctx *az, entries *e, int64_t more)
{
    if (e->count + more <= e->room) return true;
    const entries old = *e;
    e->room = 2 * (e->count + more);
    e->other = az_alloc_array(az, (size_t)e->room, sizeof *e->other);
    e->value = az_alloc_array(az, (size_t)e->room, sizeof *e->value);
    if (!e->other || !e->value) return false;
    if (old.count) memcpy(e->other, old.other, (size_t)old.count * sizeof *e->other);
    if (old.count) memcpy(e->value, old.value, (size_t)old.count * sizeof *e->value);
    return true;
}

/* Appends the words of a document, of which `seen` [count] holds how often each occurs and is zero again afterwards. */
static bool append_row(az_ctx *az, const az_word_columns *v, bool tfidf, double *seen, entries *e)
{
    int64_t different = 0;
    double square = 0;
    for (int64_t w = 0; w < v->count; w++) different += seen[w] > 0;
    if (!make_room(az, e, different)) return false;
    const int64_t first = e->count;
    for (int64_t w = 0; w < v->count; w++) {
        if (seen[w] == 0) continue;
        const double value = tfidf ? seen[w] * v->idf[w] : seen[w];
        square += value * value;
        e->other[e->count] = w;
        e->value[e->count++] = value;
        seen[w] = 0;
    }
    for (int64_t i = first; tfidf && i < e->count; i++) e->value[i] /= sqrt(square);
    return true;
}

az_matrix *az_word_rows(az_ctx *az, const az_word_columns *v, const az_documents *documents, bool tfidf)
{
    if (!v || !documents || !az_ok(az)) return NULL;
    int64_t *start = az_alloc_array(az, (size_t)documents->count + 1, sizeof *start);
    double *seen = az_alloc_array(az, (size_t)v->count, sizeof *seen);
    entries e = {0};
    if (!start || !seen || !make_room(az, &e, 1024)) return NULL;
    for (int64_t d = 0; d < documents->count; d++) {
        reader r;
        if (!open_document(az, &documents->item[d], &r)) return NULL;
        while (next_word(&r)) {
            const int64_t at = position_of(v, r.word);
            if (at >= 0) seen[at]++;
        }
        if (!append_row(az, v, tfidf, seen, &e)) return NULL;
        start[d + 1] = e.count;
    }
    return az_matrix_sparse(az, documents->count, v->count, &(az_sparse_lines){start, e.other, e.value});
}
