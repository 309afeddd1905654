/* tales.h - the grammar of the tales, as it is written and as it is compiled. Private to data/.
 *
 * A grammar is a set of tables. A table has weighted entries, an entry has one or more forms ("Mia", "she", "her"), and a form is a
 * template: text with slots. {opening}      chooses an entry of the table `opening` anew {hero}         a role: the first use chooses an
 * entry and remembers it, later uses repeat it {hero.his}     the same entry in its form `his`
 *   {^hero.he}     with a capital letter
 * Nothing is chosen that is not written at that place of the text, so a text is read off choice by choice. Agreement is a matter of forms:
 * a number knows whether its noun is plural, a person knows the pronoun, an event knows how the story ends.
 *
 * The compiler proves that no two derivations give the same text: wherever a choice is made, the templates to choose from first differ at a
 * letter, so the texts of a table form a prefix code, and templates are sequences of prefix codes. */
#ifndef ADZE_DATA_TALES_H
#define ADZE_DATA_TALES_H

#include "adze/data.h"

enum { TALE_FORMS = 6, TALE_MAX_ROLES = 64 };

/* ---- as written ---- */

typedef struct tale_entry {
    int weight;
    const char *form[TALE_FORMS];
} tale_entry;

typedef struct tale_table {
    const char *name;
    const char *forms; /* names of form 1, 2, ... separated by blanks; form 0 has none */
    const tale_entry *entry;
    int count;
} tale_table;

typedef enum tale_relation {
    TALE_FREE,
    TALE_DIFFERS, /* another entry than those of `of` and `of2` (when given) */
    TALE_LESS,    /* an entry before that of `of` */
    TALE_MINUS,   /* entries counted from one: of - of2 */
    TALE_PLUS     /* of + of2 */
} tale_relation;

typedef struct tale_role {
    const char *name, *table;
    tale_relation relation;
    const char *of, *of2; /* other roles, or NULL */
    int first, last;      /* range of entries, counted from one; 0, 0 = all */
} tale_role;

typedef struct tale_grammar {
    const tale_table *tables[2]; /* each ends with an entry without a name; the second may be NULL */
    const tale_role *role;
    int roles;
    const char *start; /* the table whose entries are whole stories */
} tale_grammar;

extern const tale_grammar tale_english;
extern const tale_table tale_words[], tale_plots[];

/* ---- compiled ---- */

typedef enum tale_kind { TALE_LITERAL, TALE_CHOICE, TALE_ROLE } tale_kind;

typedef struct tale_piece {
    tale_kind kind;
    bool capital;
    int index, form;  /* table or role */
    const char *text; /* literal, not terminated */
    size_t length;
} tale_piece;

typedef struct tale_template {
    tale_piece *piece;
    int count;
} tale_template;

typedef struct tale_choices {
    const tale_table *source;
    tale_template (*form)[TALE_FORMS]; /* [count] */
    int64_t total;                     /* of the weights */
} tale_choices;

typedef struct tale_part {
    const tale_role *source;
    int table, of, of2; /* -1 = none */
    int first, last;    /* entries counted from zero, inclusive */
} tale_part;

struct az_tales {
    tale_choices *table;
    tale_part *role;
    int tables, roles, start;
};

/* The values of the roles: 0 = not chosen yet, else entry + 1. */
typedef struct tale_cast {
    uint8_t value[TALE_MAX_ROLES];
} tale_cast;

az_tales *tale_compile(az_ctx *az, const tale_grammar *grammar);
/* Fails unless every text of the grammar has one derivation, every role is chosen after those that it depends on, and every form in use
 * exists. */
bool tale_check(az_ctx *az, const az_tales *tales);
/* Weight of an entry for a role that is still open, and the sum over entries. */
int tale_weight(const az_tales *tales, int role, const tale_cast *cast, int entry);
int64_t tale_total(const az_tales *tales, int role, const tale_cast *cast);
const tale_entry *tale_entry_of(const az_tales *tales, int role, int entry);
/* Number of derivations of a text and, in *log_probability, log of the sum of their probabilities. */
int64_t tale_derivations(const az_tales *tales, const char *text, size_t length, double *log_probability, size_t *where);

#endif
