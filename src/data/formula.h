/* formula.h - a model formula taken apart: expressions, terms, and what was learnt from the first table. Private to data/. */
#ifndef ADZE_DATA_FORMULA_H
#define ADZE_DATA_FORMULA_H

#include "adze/data.h"

enum { MAX_DEGREE = 8, MAX_TERMS = 4096, MAX_PRODUCTS = 1 << 18, MAX_DEPTH = 64, MAX_OPERATORS = 1000, MAX_LENGTH = 65536 };

typedef enum expr_kind { EXPR_NUMBER, EXPR_COLUMN, EXPR_NEGATE, EXPR_BINARY, EXPR_CALL, EXPR_CATEGORY, EXPR_SCALE } expr_kind;

typedef struct expr {
    expr_kind kind;
    double number;                /* EXPR_NUMBER */
    const char *name;             /* of the column; the reference level of a category (NULL = the first); the operator "+", "<=" ... */
    double (*function)(double x); /* EXPR_CALL; NULL for I() */
    const char *call;             /* EXPR_CALL, EXPR_SCALE, EXPR_CATEGORY: "log", "center", "C" */
    struct expr *a, *b;           /* operands */
    bool learnt;                  /* EXPR_SCALE: the next two are set */
    double shift, scale;
} expr;

/* A variable of the formula: a number or a category for each row. */
typedef struct factor {
    const char *name; /* as it is written, without superfluous blanks */
    expr *expr;
    bool used; /* in a term; one that was taken away again, by "- x", is not */
    bool category;
    const char **level; /* [levels], the reference first; set from the rows of the first design */
    int32_t levels;
} factor;

typedef struct term {
    int degree;
    int factor[MAX_DEGREE]; /* ascending */
} term;

typedef struct terms {
    int count, room;
    term *item;
} terms;

struct az_formula {
    const char *text;
    factor *factor; /* [factors] */
    int factors, room;
    terms terms;    /* by degree; the intercept, if any, is the term of degree 0 */
    expr *response; /* NULL without a left side */
    const char *response_name;
    const char **response_level; /* of a category of two levels */
};

/* ---- formula_parse.c ---- */

/* The table tells what "." stands for. */
struct az_formula *formula_parse(az_ctx *az, const char *text, const az_table *table);

/* ---- formula_terms.c ---- */

bool terms_add(az_ctx *az, terms *set, const term *t);
bool terms_unite(az_ctx *az, terms *set, const terms *more);
void terms_remove(terms *set, const terms *less);
/* Every term of one with every term of the other. */
bool terms_cross(az_ctx *az, const terms *a, const terms *b, terms *out);
bool terms_have(const terms *set, const term *t);
void terms_sort(terms *set);

/* ---- formula_eval.c ---- */

/* Numbers of an expression for each row [rows]; NaN where a column has no value. learn: centres and scales are taken from these rows.
 * Fails where a function has no finite value, naming the row. */
double *expr_numbers(az_ctx *az, expr *e, const az_table *table, bool learn);
/* The column behind a category, as categories. */
const az_column *expr_categories(az_ctx *az, const expr *e, const az_table *table);
bool expr_is_category(az_ctx *az, const expr *e, const az_table *table);
/* The expression as text of the current scope. */
const char *expr_text(az_ctx *az, const expr *e);

#endif
