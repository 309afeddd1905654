/* tales.c - writes stories: walks the grammar from its start and makes the choices with random numbers keyed by (seed, index). */
#include "data/tales.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

typedef struct writer {
    az_ctx *az;
    const az_tales *tales;
    az_rng rng;
    tale_cast cast;
    double log_probability;
    bool capital; /* the next letter is to be raised */
    char *text;
    size_t length, room;
} writer;

az_tales *az_tales_new(az_ctx *az)
{
    return tale_compile(az, &tale_english);
}

static bool put(writer *w, const char *text, size_t length)
{
    if (w->room - w->length < length + 1) {
        size_t room = 2 * w->room + length + 256;
        char *grown = az_alloc(w->az, room);
        if (!grown) return false;
        if (w->length) memcpy(grown, w->text, w->length);
        w->text = grown;
        w->room = room;
    }
    memcpy(w->text + w->length, text, length);
    if (w->capital && length) w->text[w->length] = (char)toupper((unsigned char)text[0]);
    if (length) w->capital = false;
    w->length += length;
    return true;
}

static int choose(writer *w, int t)
{
    const tale_choices *table = &w->tales->table[t];
    int64_t ticket = (int64_t)az_below(&w->rng, (uint64_t)table->total);
    int e = 0;
    while (ticket >= table->source->entry[e].weight) ticket -= table->source->entry[e++].weight;
    w->log_probability += log((double)table->source->entry[e].weight / (double)table->total);
    return e;
}

static bool cast_role(writer *w, int r)
{
    int64_t total = tale_total(w->tales, r, &w->cast);
    if (total <= 0) return az_fail(w->az, AZ_BAD_CALL, "tales grammar: nothing is left for role '%s'", w->tales->role[r].source->name);
    int64_t ticket = (int64_t)az_below(&w->rng, (uint64_t)total);
    int e = w->tales->role[r].first, weight;
    while (ticket >= (weight = tale_weight(w->tales, r, &w->cast, e))) ticket -= weight, e++;
    w->log_probability += log((double)weight / (double)total);
    w->cast.value[r] = (uint8_t)(e + 1);
    return true;
}

static bool write_template(writer *w, const tale_template *template)
{
    for (int i = 0; i < template->count; i++) {
        const tale_piece *piece = &template->piece[i];
        if (piece->kind == TALE_LITERAL) {
            if (!put(w, piece->text, piece->length)) return false;
            continue;
        }
        w->capital |= piece->capital;
        int table = piece->index, entry;
        if (piece->kind == TALE_ROLE) {
            if (!w->cast.value[piece->index] && !cast_role(w, piece->index)) return false;
            table = w->tales->role[piece->index].table;
            entry = w->cast.value[piece->index] - 1;
        } else {
            entry = choose(w, table);
        }
        if (!write_template(w, &w->tales->table[table].form[entry][piece->form])) return false;
    }
    return true;
}

char *az_tales_story(az_ctx *az, const az_tales *tales, uint64_t seed, uint64_t index, double *log_probability)
{
    if (!tales) return NULL;
    writer w = {.az = az, .tales = tales, .rng = az_rng_at(seed, az_stream("tales", index))};
    int story = choose(&w, tales->start);
    if (!write_template(&w, &tales->table[tales->start].form[story][0]) || !put(&w, "", 0)) return NULL;
    w.text[w.length] = 0;
    if (log_probability) *log_probability = w.log_probability;
    return w.text;
}
