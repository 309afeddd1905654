/* tales_entropy.c - exact entropy and mean length of a story.
 *
 * The grammar is walked once with a distribution over casts in place of one cast. A choice adds (mass that reaches it) * (its entropy given
 * the cast), so the sum is the entropy of a derivation and, derivations being unique, of a text. Only those roles are kept apart that a
 * later choice or a later template depends on; the others are merged, which keeps the distribution to some hundred states. Letters are
 * counted in one walk for each role, which keeps that role, counts the letters of its own entries and ends where none is to come; the first
 * walk counts the letters that belong to no role. */
#include "data/tales.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FORGOTTEN = UINT8_MAX }; /* chosen, but it no longer matters what */

typedef uint64_t role_set;

typedef struct state {
    tale_cast cast;
    role_set chosen; /* the roles that have a value */
    double mass;
} state;

typedef struct states {
    az_buffer *buffer; /* holds item */
    state *item;
    int64_t count, room;
} states;

typedef struct measurer {
    az_ctx *az;
    const az_tales *tales;
    int counted; /* the role whose letters are counted; -1: those of no role */
    double entropy, bytes;
} measurer;

static role_set one(int role)
{
    return role >= 0 ? (role_set)1 << role : 0;
}

/* What is still to come: the template from a piece on, then the rest of those around it. */
typedef struct rest {
    const tale_template *template;
    int piece;
    const struct rest *after;
} rest;

static bool measure(measurer *m, const tale_template *template, states *s, int owner, const rest *after);

/* What the rest of a text takes, given the roles that are chosen for certain. */
typedef struct demand {
    bool matters;       /* something is chosen or counted there */
    role_set mentioned; /* roles that stand there, so that it counts whether they are chosen */
    role_set values;    /* roles whose values decide about anything there */
} demand;

/* ---- sets of states ---- */

static bool add_state(az_ctx *az, states *s, const state *item)
{
    if (s->count == s->room) {
        int64_t room = 2 * s->room + 16;
        az_buffer *grown = az_buffer_new(az, (size_t)room * sizeof *s->item);
        if (!grown) return false;
        if (s->count) memcpy(grown->data, s->item, (size_t)s->count * sizeof *s->item);
        az_buffer_drop(s->buffer);
        s->buffer = grown;
        s->item = grown->data;
        s->room = room;
    }
    s->item[s->count++] = *item;
    return true;
}

static bool add_states(az_ctx *az, states *s, const states *more)
{
    for (int64_t i = 0; i < more->count; i++)
        if (!add_state(az, s, &more->item[i])) return false;
    return true;
}

static void drop_states(states *s)
{
    az_buffer_drop(s->buffer);
    *s = (states){0};
}

/* s becomes what `by` holds. */
static void replace_states(states *s, states *by)
{
    drop_states(s);
    *s = *by;
    *by = (states){0};
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

/* Merges the states that are equal, by open addressing. */
static bool merge_equal(az_ctx *az, states *s)
{
    size_t slots = 16;
    while (slots < 2 * (size_t)s->count) slots *= 2;
    az_buffer *table = az_buffer_new(az, slots * sizeof(int64_t)); /* 1 + the place of a state, 0 = free */
    if (!table) return false;
    int64_t *place = memset(table->data, 0, table->bytes), kept = 0;
    for (int64_t i = 0; i < s->count; i++) {
        size_t slot = hash_cast(&s->item[i].cast) & (slots - 1);
        while (place[slot] && memcmp(&s->item[place[slot] - 1].cast, &s->item[i].cast, sizeof(tale_cast))) slot = (slot + 1) & (slots - 1);
        if (place[slot]) {
            s->item[place[slot] - 1].mass += s->item[i].mass;
        } else {
            if (kept != i) s->item[kept] = s->item[i];
            place[slot] = ++kept;
        }
    }
    s->count = kept;
    az_buffer_drop(table);
    return true;
}

/* Forgets what the rest of the text does not ask for and merges the states that have become equal. */
static bool forget(az_ctx *az, states *s, demand later)
{
    tale_cast mentioned = {0}, values = {0}; /* masks of bytes */
    for (int r = 0; r < TALE_MAX_ROLES; r++) {
        mentioned.value[r] = later.mentioned >> r & 1 ? 0 : FORGOTTEN;
        values.value[r] = later.values >> r & 1 ? 0 : FORGOTTEN;
    }
    for (int64_t i = 0; i < s->count; i++) {
        uint8_t *value = s->item[i].cast.value;
        for (int r = 0; r < TALE_MAX_ROLES; r++) value[r] |= mentioned.value[r] | (value[r] ? values.value[r] : 0);
        s->item[i].chosen |= ~later.mentioned;
    }
    return s->count < 2 || merge_equal(az, s);
}

static double total_mass(const states *s)
{
    double mass = 0;
    for (int64_t i = 0; i < s->count; i++) mass += s->item[i].mass;
    return mass;
}

static role_set chosen_everywhere(const states *s)
{
    role_set chosen = ~(role_set)0;
    for (int64_t i = 0; i < s->count; i++) chosen &= s->item[i].chosen;
    return chosen;
}

/* ---- which roles matter ---- */

static demand template_demand(const measurer *m, const tale_template *template, int from, role_set chosen);

static demand template_demand(const measurer *m, const tale_template *template, int from, role_set chosen);

static void add_demand(demand *d, demand more)
{
    d->matters |= more.matters;
    d->mentioned |= more.mentioned;
    d->values |= more.values;
}

static demand slot_demand(const measurer *m, const tale_piece *slot, role_set chosen)
{
    const tale_part *role = slot->kind == TALE_ROLE ? &m->tales->role[slot->index] : NULL;
    const tale_choices *table = &m->tales->table[role ? role->table : slot->index];
    int first = role ? role->first : 0, last = role ? role->last : table->source->count - 1;
    demand d = {0};
    for (int e = first; e <= last; e++) add_demand(&d, template_demand(m, &table->form[e][slot->form], 0, chosen));
    if (!role || slot->index == m->counted) d.matters = true;
    if (role && d.matters) d.values |= one(slot->index);
    if (role) d.mentioned |= one(slot->index);
    if (role && !(chosen & one(slot->index))) {
        role_set parents = one(role->of) | one(role->of2);
        add_demand(&d, (demand){.matters = true, .mentioned = parents, .values = parents});
    }
    return d;
}

static demand rest_demand(const measurer *m, const rest *after, role_set chosen)
{
    demand d = {0};
    for (; after; after = after->after) add_demand(&d, template_demand(m, after->template, after->piece, chosen));
    return d;
}

static demand template_demand(const measurer *m, const tale_template *template, int from, role_set chosen)
{
    demand d = {0};
    for (int i = from; i < template->count; i++)
        if (template->piece[i].kind != TALE_LITERAL) add_demand(&d, slot_demand(m, &template->piece[i], chosen));
    return d;
}

/* ---- the walk ---- */

/* The part of the states that goes into entry e of a slot: of a free choice its probability, of a role the states in which it has that
 * value. */
static bool select_states(measurer *m, const tale_piece *slot, int e, const states *s, states *out)
{
    const tale_choices *table = &m->tales->table[slot->index];
    double share = slot->kind == TALE_ROLE ? 1 : (double)table->source->entry[e].weight / (double)table->total;
    for (int64_t i = 0; i < s->count; i++) {
        state item = s->item[i];
        if (slot->kind == TALE_ROLE && item.cast.value[slot->index] != e + 1) continue;
        item.mass *= share;
        if (!add_state(m->az, out, &item)) return false;
    }
    return true;
}

/* Replaces the states by what they become in the entries of a slot. */
static bool measure_entries(measurer *m, const tale_piece *slot, states *s, int owner, const rest *after)
{
    const tale_choices *table = &m->tales->table[slot->kind == TALE_ROLE ? m->tales->role[slot->index].table : slot->index];
    states out = {0};
    bool ok = true;
    for (int e = 0; ok && e < table->source->count; e++) {
        states inner = {0};
        ok = select_states(m, slot, e, s, &inner);
        if (ok && inner.count) ok = measure(m, &table->form[e][slot->form], &inner, owner, after) && add_states(m->az, &out, &inner);
        drop_states(&inner);
    }
    replace_states(s, &out);
    return ok && forget(m->az, s, rest_demand(m, after, chosen_everywhere(s)));
}

static bool is_literal(const tale_template *template)
{
    return template->count == 1 && template->piece[0].kind == TALE_LITERAL;
}

static bool measure_choice(measurer *m, const tale_piece *slot, states *s, int owner, const rest *after)
{
    const tale_choices *table = &m->tales->table[slot->index];
    double mass = total_mass(s), letters = 0;
    bool plain = true;
    for (int e = 0; e < table->source->count; e++) {
        const tale_template *template = &table->form[e][slot->form];
        double p = (double)table->source->entry[e].weight / (double)table->total;
        m->entropy -= mass * p * log(p);
        plain = plain && is_literal(template);
        if (plain) letters += p * (double)template->piece[0].length;
    }
    if (!plain) return measure_entries(m, slot, s, owner, after);
    if (owner == m->counted) m->bytes += mass * letters;
    return true;
}

/* Splits a state in which the role is open by the values that it may take. */
static bool split_state(measurer *m, int role, const state *from, states *out)
{
    const tale_part *part = &m->tales->role[role];
    int64_t total = tale_total(m->tales, role, &from->cast);
    if (total <= 0) return az_fail(m->az, AZ_BAD_CALL, "tales grammar: nothing may be left for role '%s'", part->source->name);
    for (int e = part->first; e <= part->last; e++) {
        double p = (double)tale_weight(m->tales, role, &from->cast, e) / (double)total;
        if (p <= 0) continue;
        state item = {.cast = from->cast, .chosen = from->chosen | one(role), .mass = from->mass * p};
        item.cast.value[role] = (uint8_t)(e + 1);
        m->entropy -= from->mass * p * log(p);
        if (!add_state(m->az, out, &item)) return false;
    }
    return true;
}

static bool measure_role(measurer *m, const tale_piece *slot, states *s, const rest *after)
{
    if (!slot_demand(m, slot, chosen_everywhere(s)).matters) return true;
    states out = {0};
    bool ok = true;
    for (int64_t i = 0; ok && i < s->count; i++) {
        bool open = s->item[i].cast.value[slot->index] == 0;
        ok = open ? split_state(m, slot->index, &s->item[i], &out) : add_state(m->az, &out, &s->item[i]);
    }
    replace_states(s, &out);
    bool inside = slot_demand(m, slot, chosen_everywhere(s)).matters;
    if (ok && inside) return measure_entries(m, slot, s, slot->index, after);
    return ok && forget(m->az, s, rest_demand(m, after, chosen_everywhere(s)));
}

/* owner: the role whose entry the template is, or -1. */
static bool measure(measurer *m, const tale_template *template, states *s, int owner, const rest *after)
{
    for (int i = 0; i < template->count; i++) {
        const tale_piece *piece = &template->piece[i];
        if (piece->kind == TALE_LITERAL) {
            if (owner == m->counted) m->bytes += total_mass(s) * (double)piece->length;
            continue;
        }
        rest now = {.template = template, .piece = i, .after = after}, next = {.template = template, .piece = i + 1, .after = after};
        if (m->counted >= 0 && owner < 0 && !(rest_demand(m, &now, 0).mentioned & one(m->counted))) {
            s->count = 0; /* none of the letters to be counted is to come */
            return true;
        }
        if (piece->kind == TALE_CHOICE ? !measure_choice(m, piece, s, owner, &next) : !measure_role(m, piece, s, &next)) return false;
    }
    return true;
}

double az_tales_entropy(az_ctx *az, const az_tales *tales, double *mean_bytes)
{
    if (!tales) return NAN;
    double entropy = NAN, bytes = 0;
    bool ok = true;
    tale_piece story = {.kind = TALE_CHOICE, .index = tales->start};
    tale_template whole = {.piece = &story, .count = 1};
    for (int counted = -1; ok && counted < (mean_bytes ? tales->roles : 0); counted++) {
        measurer m = {.az = az, .tales = tales, .counted = counted};
        states s = {0};
        ok = add_state(az, &s, &(state){.mass = 1}) && measure(&m, &whole, &s, -1, NULL);
        drop_states(&s);
        if (counted < 0) entropy = m.entropy;
        bytes += m.bytes;
    }
    if (mean_bytes) *mean_bytes = ok ? bytes : NAN;
    return ok ? entropy : NAN;
}
