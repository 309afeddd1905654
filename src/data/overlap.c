/* overlap.c - finds texts that repeat parts of a set of others: whole texts, or n words in a row. Two tables of 64-bit hashes lead to
 * candidates: of the first bytes of every text, and of every n-gram; what they share is then compared byte by byte. */
#include "adze/data.h"

#include <ctype.h>
#include <string.h>

typedef struct overlap_text {
    const char *source, *text; /* text: normal */
    size_t length;
} overlap_text;

typedef struct overlap_entry {
    uint64_t hash; /* 0 = free */
    int32_t item;
    uint32_t at, length; /* within the item's text */
} overlap_entry;

typedef struct overlap_table {
    overlap_entry *entry; /* [room], a power of two, at most half full */
    size_t room, used;
} overlap_table;

struct az_overlap {
    az_ctx *az;
    az_arena *arena;
    int n, items, items_room;
    overlap_text *item;
    overlap_table start, words;
};

/* ---- texts ---- */

/* Lower-case, blanks squeezed to single ones, none at the ends. */
static char *normal_text(az_ctx *az, const char *text)
{
    char *out = az_alloc(az, strlen(text) + 1);
    size_t n = 0;
    for (; out && *text; text++) {
        if (!isspace((unsigned char)*text))
            out[n++] = (char)tolower((unsigned char)*text);
        else if (n > 0 && out[n - 1] != ' ')
            out[n++] = ' ';
    }
    if (n > 0 && out[n - 1] == ' ') out[n - 1] = '\0';
    return out;
}

static uint64_t hash_of(const char *text, size_t length)
{
    uint64_t h = 0xcbf29ce484222325; /* FNV-1a, then a finish that spreads it */
    for (size_t i = 0; i < length; i++) h = (h ^ (unsigned char)text[i]) * 0x100000001b3;
    h ^= h >> 32;
    h *= 0x9e3779b97f4a7c15;
    return h ? h : 1;
}

/* The first n words from here on; 0 when there are fewer. */
static size_t span_of_words(const char *text, int n)
{
    const char *at = text;
    for (int i = 0; i < n; i++) {
        at += strcspn(at, " ");
        if (i + 1 < n && !*at++) return 0;
    }
    return (size_t)(at - text);
}

/* ---- tables ---- */

static void put(overlap_table *table, overlap_entry entry)
{
    size_t at = entry.hash & (table->room - 1);
    while (table->entry[at].hash) at = (at + 1) & (table->room - 1);
    table->entry[at] = entry;
    table->used++;
}

static bool add_entry(az_overlap *o, overlap_table *table, overlap_entry entry)
{
    if (2 * (table->used + 1) > table->room) {
        const overlap_table old = *table;
        table->room = old.room ? 2 * old.room : 1024;
        table->used = 0;
        table->entry = az_alloc_array(o->az, table->room, sizeof *table->entry);
        if (!table->entry) return false;
        for (size_t i = 0; i < old.room; i++)
            if (old.entry[i].hash) put(table, old.entry[i]);
    }
    put(table, entry);
    return true;
}

/* The entry whose text stands at `text` in full; with `whole`, the item's whole text does. */
static const overlap_entry *find_entry(const az_overlap *o, const overlap_table *table, const char *text, size_t length, bool whole)
{
    if (table->room == 0) return NULL;
    const uint64_t hash = hash_of(text, length);
    for (size_t at = hash & (table->room - 1); table->entry[at].hash; at = (at + 1) & (table->room - 1)) {
        const overlap_entry *e = &table->entry[at];
        const overlap_text *item = &o->item[e->item];
        if (e->hash != hash || e->length != length || memcmp(item->text + e->at, text, length) != 0) continue;
        if (!whole || strncmp(text, item->text, item->length) == 0) return e;
    }
    return NULL;
}

/* ---- the set ---- */

static void free_arena(void *object)
{
    az_overlap *o = object;
    az_arena_free(o->az, o->arena);
}

az_overlap *az_overlap_new(az_ctx *az, int n)
{
    if (n < 1) return az_fail(az, AZ_BAD_CALL, "overlaps of %d words", n);
    az_overlap *o = az_alloc(az, sizeof *o);
    if (!o) return NULL;
    *o = (az_overlap){.az = az, .arena = az_arena_new(az), .n = n};
    return o->arena && az_on_leave(az, free_arena, o) ? o : NULL;
}

static bool add_item(az_overlap *o, const char *source, const char *text)
{
    if (o->items == o->items_room) {
        overlap_text *more = az_alloc_array(o->az, (size_t)(2 * o->items_room + 64), sizeof *more);
        if (!more) return false;
        if (o->items) memcpy(more, o->item, (size_t)o->items * sizeof *more);
        o->item = more;
        o->items_room = 2 * o->items_room + 64;
    }
    const char *normal = normal_text(o->az, text);
    if (!normal) return false;
    const int32_t i = o->items++;
    o->item[i] = (overlap_text){.source = az_strdup(o->az, source), .text = normal, .length = strlen(normal)};
    if (o->item[i].length >= AZ_OVERLAP_BYTES &&
        !add_entry(o, &o->start, (overlap_entry){hash_of(normal, AZ_OVERLAP_BYTES), i, 0, AZ_OVERLAP_BYTES}))
        return false;
    for (const char *at = normal; *at; at += strcspn(at, " "), at += *at == ' ') {
        const size_t length = span_of_words(at, o->n);
        if (length == 0) break;
        if (find_entry(o, &o->words, at, length, false)) continue;
        if (!add_entry(o, &o->words, (overlap_entry){hash_of(at, length), i, (uint32_t)(at - normal), (uint32_t)length})) return false;
    }
    return az_ok(o->az);
}

bool az_overlap_add(az_overlap *o, const char *source, const char *text)
{
    if (!o || !az_ok(o->az)) return false;
    if (strlen(text) > UINT32_MAX) return az_fail(o->az, AZ_BAD_INPUT, "a text is longer than 4 GiB");
    az_arena_enter(o->az, o->arena);
    const bool good = add_item(o, source, text);
    az_arena_leave(o->az);
    return good;
}

bool az_overlap_find(az_overlap *o, const char *text, az_overlap_hit *hit)
{
    if (!o || !az_ok(o->az)) return false;
    az_scope_push(o->az);
    const char *normal = normal_text(o->az, text);
    const size_t length = normal ? strlen(normal) : 0;
    const overlap_entry *found = NULL;
    bool whole = false;
    for (size_t at = 0; !found && at + AZ_OVERLAP_BYTES <= length; at++)
        found = find_entry(o, &o->start, normal + at, AZ_OVERLAP_BYTES, true), whole = found != NULL;
    for (const char *at = normal; !found && at && *at; at += strcspn(at, " "), at += *at == ' ') {
        const size_t words = span_of_words(at, o->n);
        if (words == 0) break;
        found = find_entry(o, &o->words, at, words, false);
    }
    az_scope_pop(o->az);
    if (!found || !hit) return found != NULL;
    const overlap_text *item = &o->item[found->item];
    hit->source = item->source;
    hit->whole = whole;
    hit->shared = whole ? item->text : az_format_text(o->az, "%.*s", (int)found->length, item->text + found->at);
    return true;
}
