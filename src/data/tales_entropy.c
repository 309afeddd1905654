/* tales_entropy.c - exact entropy and mean length of a story.
 *
 * The grammar is walked once with a distribution over casts in place of one cast. A choice adds (mass that reaches it) * (its entropy given
 * the cast), so the sum is the entropy of a derivation and, derivations being unique, of a text. A role's value is kept only as long as a
 * later choice or the shape of a later template depends on it, which leaves some hundred states; letters are carried along as expectations
 * (see tales_states.h). */
#include "data/tales_states.h"

#include <math.h>

typedef struct measurer {
    az_ctx *az;
    const az_tales *tales;
    bool counting;             /* letters too */
    int first[TALE_MAX_ROLES]; /* where the forms of a role stand among the letters of a state */
    int width;
    double entropy, bytes;
} measurer;

/* What is still to come: the template from a piece on, then the rest of those around it. */
typedef struct rest {
    const tale_template *template;
    int piece;
    const struct rest *after;
} rest;

/* What the rest of a text asks for. */
typedef struct demand {
    bool matters;         /* there is something to be chosen, or letters to be counted that depend on the values */
    tale_roles mentioned; /* roles that stand there, so that it counts whether they are chosen */
    tale_roles values;    /* roles whose values decide about anything there */
} demand;

/* ---- what matters ---- */

static demand template_demand(const measurer *m, const tale_template *template, int from, tale_roles chosen);

static void add_demand(demand *d, demand more)
{
    d->matters |= more.matters;
    d->mentioned |= more.mentioned;
    d->values |= more.values;
}

static bool has_slots(const tale_template *template)
{
    return template->count > 1 || template->piece[0].kind != TALE_LITERAL;
}

/* chosen: the roles that are chosen for certain when the slot is reached. */
static demand inside_demand(const measurer *m, const tale_piece *slot, tale_roles chosen)
{
    const tale_part *role = slot->kind == TALE_ROLE ? &m->tales->role[slot->index] : NULL;
    const tale_choices *table = &m->tales->table[role ? role->table : slot->index];
    int first = role ? role->first : 0, last = role ? role->last : table->source->count - 1;
    demand d = {0};
    for (int e = first; e <= last; e++) {
        add_demand(&d, template_demand(m, &table->form[e][slot->form], 0, chosen));
        d.matters |= m->counting && has_slots(&table->form[e][slot->form]);
    }
    if (role && d.matters) d.values |= tale_one(slot->index);
    return d;
}

static demand slot_demand(const measurer *m, const tale_piece *slot, tale_roles chosen)
{
    demand d = inside_demand(m, slot, chosen);
    if (slot->kind == TALE_CHOICE) {
        d.matters = true;
        return d;
    }
    d.mentioned |= tale_one(slot->index);
    if (!(chosen & tale_one(slot->index))) {
        tale_roles parents = tale_one(m->tales->role[slot->index].of) | tale_one(m->tales->role[slot->index].of2);
        add_demand(&d, (demand){.matters = true, .mentioned = parents, .values = parents});
    }
    return d;
}

static demand template_demand(const measurer *m, const tale_template *template, int from, tale_roles chosen)
{
    demand d = {0};
    for (int i = from; i < template->count; i++)
        if (template->piece[i].kind != TALE_LITERAL) add_demand(&d, slot_demand(m, &template->piece[i], chosen));
    return d;
}

static bool forget(measurer *m, tale_states *s, const rest *after)
{
    demand d = {0};
    tale_roles chosen = tale_states_chosen(s);
    for (; after; after = after->after) add_demand(&d, template_demand(m, after->template, after->piece, chosen));
    return tale_states_forget(m->az, s, d.mentioned, d.values);
}

/* ---- the walk ---- */

static bool measure(measurer *m, const tale_template *template, tale_states *s, bool count, const rest *after);

/* The part of the states that goes into entry e of a slot: of a free choice its probability, of a role the states in which it has that
 * value. */
static bool select_states(measurer *m, const tale_piece *slot, int e, const tale_states *s, tale_states *out)
{
    bool role = slot->kind == TALE_ROLE;
    const tale_choices *table = &m->tales->table[slot->index];
    double share = role ? 1 : (double)table->source->entry[e].weight / (double)table->total;
    for (int64_t i = 0; i < s->count; i++) {
        tale_state item = s->item[i];
        if (role && item.cast.value[slot->index] != e + 1) continue;
        item.mass *= share;
        if (!tale_states_add(m->az, out, &item, s->letters + i * s->width, share)) return false;
    }
    return true;
}

/* Replaces the states by what they become in the entries of a slot. The letters of a role's own entries have been counted by then. */
static bool measure_entries(measurer *m, const tale_piece *slot, tale_states *s, const rest *after)
{
    bool role = slot->kind == TALE_ROLE, ok = true;
    const tale_choices *table = &m->tales->table[role ? m->tales->role[slot->index].table : slot->index];
    tale_states out = {.width = m->width};
    for (int e = 0; ok && e < table->source->count; e++) {
        tale_states inner = {.width = m->width};
        ok = select_states(m, slot, e, s, &inner);
        if (ok && inner.count)
            ok = measure(m, &table->form[e][slot->form], &inner, !role, after) && tale_states_add_all(m->az, &out, &inner);
        tale_states_drop(&inner);
    }
    tale_states_replace(s, &out);
    return ok && forget(m, s, after);
}

static bool measure_choice(measurer *m, const tale_piece *slot, tale_states *s, const rest *after)
{
    const tale_choices *table = &m->tales->table[slot->index];
    double mass = tale_states_mass(s), letters = 0;
    bool plain = true;
    for (int e = 0; e < table->source->count; e++) {
        const tale_template *template = &table->form[e][slot->form];
        double p = (double)table->source->entry[e].weight / (double)table->total;
        m->entropy -= mass * p * log(p);
        plain = plain && !has_slots(template);
        letters += p * (double)template->piece[0].length;
    }
    if (!plain) return measure_entries(m, slot, s, after);
    m->bytes += mass * letters;
    return true;
}

static int form_count(const tale_table *table)
{
    int count = 0;
    while (count < TALE_FORMS && table->entry[0].form[count]) count++;
    return count;
}

static double literal_letters(const tale_template *template)
{
    double letters = 0;
    for (int i = 0; i < template->count; i++) letters += (double)template->piece[i].length;
    return letters;
}

/* Splits state i, in which the role is open, by the values that it may take. */
static bool split_state(measurer *m, int role, const tale_states *s, int64_t i, tale_states *out)
{
    const tale_part *part = &m->tales->role[role];
    const tale_choices *table = &m->tales->table[part->table];
    const tale_state *from = &s->item[i];
    int64_t total = tale_total(m->tales, role, &from->cast);
    if (total <= 0) return az_fail(m->az, AZ_BAD_CALL, "tales grammar: nothing may be left for role '%s'", part->source->name);
    for (int e = part->first; e <= part->last; e++) {
        double p = (double)tale_weight(m->tales, role, &from->cast, e) / (double)total;
        if (p <= 0) continue;
        tale_state item = {.cast = from->cast, .chosen = from->chosen | tale_one(role), .mass = from->mass * p};
        item.cast.value[role] = (uint8_t)(e + 1);
        m->entropy -= from->mass * p * log(p);
        double *letters = tale_states_add(m->az, out, &item, s->letters + i * s->width, p);
        if (!letters) return false;
        for (int f = 0; m->counting && f < form_count(table->source); f++)
            letters[m->first[role] + f] = item.mass * literal_letters(&table->form[e][f]);
    }
    return true;
}

static bool choose_role(measurer *m, int role, tale_states *s)
{
    tale_states out = {.width = m->width};
    bool ok = true;
    for (int64_t i = 0; ok && i < s->count; i++) {
        bool open = s->item[i].cast.value[role] == 0;
        ok = open ? split_state(m, role, s, i, &out) : tale_states_add(m->az, &out, &s->item[i], s->letters + i * s->width, 1) != NULL;
    }
    tale_states_replace(s, &out);
    return ok;
}

static bool measure_role(measurer *m, const tale_piece *slot, tale_states *s, const rest *after)
{
    bool open = !(tale_states_chosen(s) & tale_one(slot->index));
    if (open && !choose_role(m, slot->index, s)) return false;
    for (int64_t i = 0; m->counting && i < s->count; i++) m->bytes += s->letters[i * s->width + m->first[slot->index] + slot->form];
    if (inside_demand(m, slot, tale_states_chosen(s)).matters) return measure_entries(m, slot, s, after);
    return !open || forget(m, s, after);
}

/* count: whether literal text is to be counted here. */
static bool measure(measurer *m, const tale_template *template, tale_states *s, bool count, const rest *after)
{
    for (int i = 0; i < template->count; i++) {
        const tale_piece *piece = &template->piece[i];
        rest next = {.template = template, .piece = i + 1, .after = after};
        if (piece->kind == TALE_LITERAL && count) m->bytes += tale_states_mass(s) * (double)piece->length;
        if (piece->kind == TALE_CHOICE && !measure_choice(m, piece, s, &next)) return false;
        if (piece->kind == TALE_ROLE && !measure_role(m, piece, s, &next)) return false;
    }
    return true;
}

double az_tales_entropy(az_ctx *az, const az_tales *tales, double *mean_bytes)
{
    if (!tales) return NAN;
    measurer m = {.az = az, .tales = tales, .counting = mean_bytes != NULL};
    for (int r = 0; m.counting && r < tales->roles; r++) {
        m.first[r] = m.width;
        m.width += form_count(tales->table[tales->role[r].table].source);
    }
    tale_piece story = {.kind = TALE_CHOICE, .index = tales->start};
    tale_template whole = {.piece = &story, .count = 1};
    tale_states s = {.width = m.width};
    bool ok = tale_states_add(az, &s, &(tale_state){.mass = 1}, NULL, 0) && measure(&m, &whole, &s, true, NULL);
    tale_states_drop(&s);
    if (mean_bytes) *mean_bytes = ok ? m.bytes : NAN;
    return ok ? m.entropy : NAN;
}
