/* tales_states.c - sets of weighted casts that grow, forget and merge. */
#include "data/tales_states.h"

#include <string.h>

enum { FORGOTTEN = UINT8_MAX }; /* chosen, but it no longer matters what */

static bool grow(az_ctx *az, tale_states *s)
{
    size_t count = (size_t)s->count, room = 2 * (size_t)s->room + 16, row = (size_t)s->width * sizeof *s->letters;
    az_buffer *items = az_buffer_new(az, room * sizeof *s->item), *numbers = az_buffer_new(az, room * row + sizeof *s->letters);
    if (!items || !numbers) {
        az_buffer_drop(items);
        az_buffer_drop(numbers);
        return false;
    }
    if (count) {
        memcpy(items->data, s->item, count * sizeof *s->item);
        memcpy(numbers->data, s->letters, count * row);
    }
    az_buffer_drop(s->items);
    az_buffer_drop(s->numbers);
    *s = (tale_states){.item = items->data,
                       .letters = numbers->data,
                       .count = s->count,
                       .room = (int64_t)room,
                       .width = s->width,
                       .items = items,
                       .numbers = numbers};
    return true;
}

double *tale_states_add(az_ctx *az, tale_states *s, const tale_state *item, const double *letters, double share)
{
    if (s->count == s->room && !grow(az, s)) return NULL;
    double *row = s->letters + s->count * s->width;
    for (int k = 0; k < s->width; k++) row[k] = letters ? share * letters[k] : 0;
    s->item[s->count++] = *item;
    return row;
}

bool tale_states_add_all(az_ctx *az, tale_states *s, const tale_states *more)
{
    for (int64_t i = 0; i < more->count; i++)
        if (!tale_states_add(az, s, &more->item[i], more->letters + i * more->width, 1)) return false;
    return true;
}

void tale_states_drop(tale_states *s)
{
    az_buffer_drop(s->items);
    az_buffer_drop(s->numbers);
    *s = (tale_states){.width = s->width};
}

void tale_states_replace(tale_states *s, tale_states *by)
{
    tale_states_drop(s);
    *s = *by;
    *by = (tale_states){.width = s->width};
}

static uint64_t hash_cast(const tale_cast *cast)
{
    uint64_t hash = 0xcbf29ce484222325u, word;
    for (size_t i = 0; i < sizeof *cast; i += sizeof word) {
        memcpy(&word, cast->value + i, sizeof word);
        hash = (hash ^ word) * 0x9E3779B97F4A7C15u;
        hash ^= hash >> 29;
    }
    return hash;
}

/* State i joins state `into`, which comes before it or is itself free to be overwritten. */
static void join(tale_states *s, int64_t into, int64_t i, bool fresh)
{
    double *to = s->letters + into * s->width;
    const double *from = s->letters + i * s->width;
    if (fresh && into == i) return;
    if (fresh) {
        s->item[into] = s->item[i];
        memmove(to, from, (size_t)s->width * sizeof *to);
        return;
    }
    s->item[into].mass += s->item[i].mass;
    for (int k = 0; k < s->width; k++) to[k] += from[k];
}

/* Merges the states whose casts are equal, by open addressing. */
static bool merge_equal(az_ctx *az, tale_states *s)
{
    size_t slots = 16;
    while (slots < 2 * (size_t)s->count) slots *= 2;
    az_buffer *table = az_buffer_new(az, slots * sizeof(int64_t)); /* 1 + the place of a state, 0 = free */
    if (!table) return false;
    int64_t *place = memset(table->data, 0, slots * sizeof(int64_t)), kept = 0;
    for (int64_t i = 0; i < s->count; i++) {
        size_t slot = hash_cast(&s->item[i].cast) & (slots - 1);
        while (place[slot] && memcmp(&s->item[place[slot] - 1].cast, &s->item[i].cast, sizeof(tale_cast)) != 0)
            slot = (slot + 1) & (slots - 1);
        bool fresh = place[slot] == 0;
        if (fresh) place[slot] = ++kept;
        join(s, place[slot] - 1, i, fresh);
    }
    s->count = kept;
    az_buffer_drop(table);
    return true;
}

bool tale_states_forget(az_ctx *az, tale_states *s, tale_roles mentioned, tale_roles values)
{
    tale_cast wholly = {0}, value = {0}; /* masks of bytes */
    for (int r = 0; r < TALE_MAX_ROLES; r++) {
        wholly.value[r] = mentioned >> r & 1 ? 0 : FORGOTTEN;
        value.value[r] = values >> r & 1 ? 0 : FORGOTTEN;
    }
    for (int64_t i = 0; i < s->count; i++) {
        uint8_t *cast = s->item[i].cast.value;
        for (int r = 0; r < TALE_MAX_ROLES; r++) cast[r] |= wholly.value[r] | (cast[r] ? value.value[r] : 0);
        s->item[i].chosen |= ~mentioned;
    }
    return s->count < 2 || merge_equal(az, s);
}

double tale_states_mass(const tale_states *s)
{
    double mass = 0;
    for (int64_t i = 0; i < s->count; i++) mass += s->item[i].mass;
    return mass;
}

tale_roles tale_states_chosen(const tale_states *s)
{
    tale_roles chosen = ~(tale_roles)0;
    for (int64_t i = 0; i < s->count; i++) chosen &= s->item[i].chosen;
    return chosen;
}
