/* tales_check.c - proves that a compiled grammar gives every text in exactly one way (see tales.h for the argument). */
#include "data/tales.h"

#include <ctype.h>

typedef struct checker {
    az_ctx *az;
    const az_tales *tales;
    uint64_t chosen; /* roles that are certainly chosen by now */
} checker;

/* A place in the expansion of a template. */
typedef struct cursor {
    const tale_template *template;
    int piece;
    size_t offset; /* within a literal */
    bool capital;
    const struct cursor *outer; /* where to go on after this template */
} cursor;

static bool check_template(checker *c, const tale_template *template);

/* ---- do two templates tell themselves apart? ---- */

/* The piece at the cursor, NULL at the very end. */
static const tale_piece *piece_at(cursor *at)
{
    while (at->piece == at->template->count) {
        if (!at->outer) return NULL;
        bool capital = at->capital;
        *at = *at->outer;
        at->capital |= capital;
    }
    return &at->template->piece[at->piece];
}

static void next_piece(cursor *at, bool capital)
{
    at->piece++;
    at->offset = 0;
    at->capital = capital;
}

static char letter_at(const cursor *at, const tale_piece *piece)
{
    char letter = piece->text[at->offset];
    return at->capital ? (char)toupper((unsigned char)letter) : letter;
}

static bool same_slot(const cursor *a, const tale_piece *p, const cursor *b, const tale_piece *q)
{
    return p->kind != TALE_LITERAL && p->kind == q->kind && p->index == q->index && p->form == q->form &&
           (a->capital | p->capital) == (b->capital | q->capital);
}

static bool apart(const az_tales *tales, cursor a, cursor b);

/* Every expansion of the slot at a is apart from b. */
static bool expansions_apart(const az_tales *tales, cursor a, const tale_piece *slot, const cursor *b)
{
    bool role = slot->kind == TALE_ROLE, capital = a.capital || slot->capital;
    int t = role ? tales->role[slot->index].table : slot->index;
    int first = role ? tales->role[slot->index].first : 0, last = role ? tales->role[slot->index].last : tales->table[t].source->count - 1;
    next_piece(&a, false);
    for (int e = first; e <= last; e++) {
        cursor inner = {.template = &tales->table[t].form[e][slot->form], .capital = capital, .outer = &a};
        if (!inner.template->count || !apart(tales, inner, *b)) return false;
    }
    return true;
}

/* No text of a begins a text of b or the other way round: after what they share, literal text differs. A slot that both share is passed
 * over, because its own texts form a prefix code; different slots are compared in all their expansions. */
static bool apart(const az_tales *tales, cursor a, cursor b)
{
    for (;;) {
        const tale_piece *p = piece_at(&a), *q = piece_at(&b);
        if (!p || !q) return false;
        if (a.offset == 0 && b.offset == 0 && same_slot(&a, p, &b, q)) {
            next_piece(&a, false);
            next_piece(&b, false);
            continue;
        }
        if (p->kind != TALE_LITERAL) return expansions_apart(tales, a, p, &b);
        if (q->kind != TALE_LITERAL) return expansions_apart(tales, b, q, &a);
        if (letter_at(&a, p) != letter_at(&b, q)) return true;
        a.capital = b.capital = false;
        if (++a.offset == p->length) next_piece(&a, false);
        if (++b.offset == q->length) next_piece(&b, false);
    }
}

static bool check_prefix_code(checker *c, int t, int form, int first, int last)
{
    const tale_choices *table = &c->tales->table[t];
    for (int i = first; i <= last; i++)
        for (int j = i + 1; j <= last; j++)
            if (!apart(c->tales, (cursor){.template = &table->form[i][form]}, (cursor){.template = &table->form[j][form]}))
                return az_fail(c->az, AZ_BAD_CALL, "tales grammar: table '%s': '%s' and '%s' begin alike", table->source->name,
                               table->source->entry[i].form[form], table->source->entry[j].form[form]);
    return true;
}

/* ---- walk over everything that can be written ---- */

/* Walks all entries of a table in one form; what is chosen in every one of them is chosen afterwards. */
static bool check_entries(checker *c, int t, int form, int first, int last)
{
    const tale_choices *table = &c->tales->table[t];
    uint64_t before = c->chosen, after = ~(uint64_t)0;
    for (int e = first; e <= last; e++) {
        const char *text = table->source->entry[e].form[form];
        if (!text || !*text)
            return az_fail(c->az, AZ_BAD_CALL, "tales grammar: entry %d of table '%s' has no form %d", e, table->source->name, form);
        c->chosen = before;
        if (!check_template(c, &table->form[e][form])) return false;
        after &= c->chosen;
    }
    c->chosen = after;
    return true;
}

static bool check_role(checker *c, int r, int form)
{
    const tale_part *role = &c->tales->role[r];
    tale_relation relation = role->source->relation;
    bool open = !(c->chosen >> r & 1), counted = relation == TALE_MINUS || relation == TALE_PLUS;
    uint64_t needed = (role->of >= 0 ? (uint64_t)1 << role->of : 0) | (role->of2 >= 0 ? (uint64_t)1 << role->of2 : 0);
    if (open && relation != TALE_DIFFERS && (c->chosen & needed) != needed)
        return az_fail(c->az, AZ_BAD_CALL, "tales grammar: role '%s' is used before the roles that it depends on", role->source->name);
    c->chosen |= (uint64_t)1 << r;
    if (!check_entries(c, role->table, form, role->first, role->last)) return false;
    return !open || counted || check_prefix_code(c, role->table, form, role->first, role->last);
}

static bool check_template(checker *c, const tale_template *template)
{
    for (int i = 0; i < template->count; i++) {
        const tale_piece *piece = &template->piece[i];
        int last = piece->kind == TALE_CHOICE ? c->tales->table[piece->index].source->count - 1 : 0;
        if (piece->kind == TALE_ROLE && !check_role(c, piece->index, piece->form)) return false;
        if (piece->kind == TALE_CHOICE &&
            !(check_entries(c, piece->index, piece->form, 0, last) && check_prefix_code(c, piece->index, piece->form, 0, last)))
            return false;
    }
    return true;
}

bool tale_check(az_ctx *az, const az_tales *tales)
{
    checker c = {.az = az, .tales = tales};
    int last = tales->table[tales->start].source->count - 1;
    return check_entries(&c, tales->start, 0, 0, last) && check_prefix_code(&c, tales->start, 0, 0, last);
}
