/* tales_read.c - finds the derivations of a text: tries every choice against the letters and adds up the probabilities of those that reach
 * the end.
 *
 * Because the texts of a table form a prefix code, all but one alternative fail within a few letters, and the search does not branch. */
#include "data/tales.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

/* What is still to be matched: the rest of a template, then the rest of those around it. */
typedef struct todo {
    const tale_template *template;
    int piece;
    bool capital;
    const struct todo *after;
} todo;

typedef struct reader {
    const az_tales *tales;
    const char *text;
    size_t length, furthest;
    tale_cast cast;
    int64_t derivations;
    double log_sum; /* log of the sum of their probabilities */
} reader;

static void match(reader *r, todo next, size_t at, double log_probability);

static void accept(reader *r, double log_probability)
{
    double high = fmax(r->log_sum, log_probability), low = fmin(r->log_sum, log_probability);
    r->log_sum = r->derivations++ ? high + log1p(exp(low - high)) : log_probability;
}

/* Number of letters of the literal that agree with the text. */
static size_t agreement(const reader *r, const tale_piece *literal, bool capital, size_t at)
{
    size_t i = 0;
    for (; i < literal->length && at + i < r->length; i++) {
        unsigned char letter = (unsigned char)literal->text[i];
        if (capital && i == 0) letter = (unsigned char)toupper(letter);
        if (letter != (unsigned char)r->text[at + i]) break;
    }
    return i;
}

static void match_choice(reader *r, const tale_piece *slot, bool capital, const todo *after, size_t at, double log_probability)
{
    const tale_choices *table = &r->tales->table[slot->index];
    for (int e = 0; e < table->source->count; e++) {
        double log_weight = log((double)table->source->entry[e].weight / (double)table->total);
        match(r, (todo){.template = &table->form[e][slot->form], .capital = capital, .after = after}, at, log_probability + log_weight);
    }
}

static void match_role(reader *r, const tale_piece *slot, bool capital, const todo *after, size_t at, double log_probability)
{
    const tale_part *role = &r->tales->role[slot->index];
    const tale_choices *table = &r->tales->table[role->table];
    uint8_t *value = &r->cast.value[slot->index];
    if (*value) {
        match(r, (todo){.template = &table->form[*value - 1][slot->form], .capital = capital, .after = after}, at, log_probability);
        return;
    }
    double total = (double)tale_total(r->tales, slot->index, &r->cast);
    for (int e = role->first; e <= role->last; e++) {
        int weight = tale_weight(r->tales, slot->index, &r->cast, e);
        if (!weight) continue;
        *value = (uint8_t)(e + 1);
        match(r, (todo){.template = &table->form[e][slot->form], .capital = capital, .after = after}, at,
              log_probability + log(weight / total));
        *value = 0;
    }
}

static void match(reader *r, todo next, size_t at, double log_probability)
{
    for (;;) {
        while (next.piece == next.template->count && next.after) next = *next.after;
        if (next.piece == next.template->count) {
            if (at == r->length) accept(r, log_probability);
            return;
        }
        const tale_piece *piece = &next.template->piece[next.piece++];
        bool capital = next.capital || piece->capital;
        next.capital = false;
        if (piece->kind == TALE_CHOICE) {
            match_choice(r, piece, capital, &next, at, log_probability);
            return;
        }
        if (piece->kind == TALE_ROLE) {
            match_role(r, piece, capital, &next, at, log_probability);
            return;
        }
        size_t agreed = agreement(r, piece, capital, at);
        at += agreed;
        if (at > r->furthest) r->furthest = at;
        if (agreed < piece->length) return;
    }
}

int64_t tale_derivations(const az_tales *tales, const char *text, size_t length, double *log_probability, size_t *where)
{
    tale_piece story = {.kind = TALE_CHOICE, .index = tales->start};
    tale_template whole = {.piece = &story, .count = 1};
    reader r = {.tales = tales, .text = text, .length = length, .log_sum = -INFINITY};
    match(&r, (todo){.template = &whole}, 0, 0);
    if (log_probability) *log_probability = r.log_sum;
    if (where) *where = r.furthest;
    return r.derivations;
}

double az_tales_log_probability(az_ctx *az, const az_tales *tales, const char *text, size_t length, size_t *where)
{
    double log_probability = NAN;
    if (!tales || !text) {
        az_fail(az, AZ_BAD_CALL, "log-probability of a tale: no grammar or no text");
        return log_probability;
    }
    tale_derivations(tales, text, length, &log_probability, where);
    return log_probability;
}
