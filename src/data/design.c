/* design.c - the matrix of a formula: variables evaluated, rows with missing values left out, categories coded, terms multiplied out. */
#include "data/formula.h"

#include <math.h>
#include <string.h>

/* The values of every variable for every row of a table. */
typedef struct values {
    double **number;          /* [factors]; NULL for categories */
    const az_column **column; /* [factors]; NULL for numbers */
    double *response;         /* [rows]; NULL without one */
} values;

typedef struct maker {
    az_ctx *az;
    struct az_formula *formula;
    const az_table *table;
    values v;
    int32_t **code; /* [factors] of categories: [rows of the table] level of the design, -1 = missing */
    az_design *design;
    bool first;            /* levels and scales are found here */
    const az_design *base; /* or NULL: what does not read the changed columns is copied from it */
    const bool *stale;     /* [terms] with base: those that read them */
    const bool *need;      /* [factors] with base: the variables of those terms */
    bool stale_response;
} maker;

/* ---- variables ---- */

static bool evaluate_response(maker *m, bool need)
{
    struct az_formula *f = m->formula;
    if (!f->response || !need || (m->base && !m->stale_response)) return true;
    m->v.response = expr_numbers(m->az, f->response, m->table, m->first);
    const bool text = m->v.response && expr_is_category(m->az, f->response, m->table);
    const az_column *column = text ? expr_categories(m->az, f->response, m->table) : NULL;
    if (!column) return m->v.response != NULL;
    if (m->first) f->response_level = column->level;
    if (strcmp(f->response_level[0], column->level[0]) == 0 && strcmp(f->response_level[1], column->level[1]) == 0) return true;
    return az_fail(m->az, AZ_BAD_INPUT, "column '%s' has other levels than before", column->name);
}

static bool evaluate(maker *m, bool need_y)
{
    struct az_formula *f = m->formula;
    const size_t n = (size_t)f->factors + 1;
    m->v.number = az_alloc_array(m->az, n, sizeof *m->v.number);
    m->v.column = az_alloc_array(m->az, n, sizeof *m->v.column);
    m->code = az_alloc_array(m->az, n, sizeof *m->code);
    if (!m->code) return false;
    for (int i = 0; i < f->factors && az_ok(m->az); i++) {
        factor *one = &f->factor[i];
        if (!one->used || (m->need && !m->need[i])) continue;
        if (m->first) one->category = expr_is_category(m->az, one->expr, m->table);
        if (one->category)
            m->v.column[i] = expr_categories(m->az, one->expr, m->table);
        else
            m->v.number[i] = expr_numbers(m->az, one->expr, m->table, m->first);
    }
    return az_ok(m->az) && evaluate_response(m, need_y);
}

/* ---- rows ---- */

/* Takes the mark from rows without a value. */
static void unmark(const double *value, const int32_t *code, int64_t rows, bool *whole)
{
    for (int64_t i = 0; value && i < rows; i++) whole[i] &= !isnan(value[i]);
    for (int64_t i = 0; code && i < rows; i++) whole[i] &= code[i] >= 0;
}

static bool choose_rows(maker *m)
{
    az_design *d = m->design;
    const int64_t rows = m->table->rows;
    int64_t *row = az_alloc_array(m->az, (size_t)rows + 1, sizeof *row);
    bool *whole = az_alloc_array(m->az, (size_t)rows + 1, sizeof *whole); /* has a value in every variable */
    if (!row || !whole) return false;
    memset(whole, true, (size_t)rows * sizeof *whole);
    unmark(m->v.response, NULL, rows, whole);
    for (int i = 0; i < m->formula->factors; i++)
        if (m->formula->factor[i].used) unmark(m->v.number[i], m->v.column[i] ? m->v.column[i]->code : NULL, rows, whole);
    for (int64_t i = 0; i < rows; i++)
        if (whole[i]) row[d->n++] = i;
    d->row = row;
    d->dropped = rows - d->n;
    if (d->n > 0) return true;
    return az_fail(m->az, AZ_BAD_INPUT, "no row has a value in every variable of '%s'", m->formula->text);
}

/* ---- levels ---- */

static const char *reference_of(const factor *one)
{
    return one->expr->kind == EXPR_CATEGORY ? one->expr->name : NULL;
}

/* The levels that the chosen rows have, the reference first, then as they are ordered in the column. */
static bool find_levels(maker *m, factor *one, const az_column *column)
{
    const char *reference = reference_of(one);
    bool *used = az_alloc_array(m->az, (size_t)column->levels + 1, sizeof *used);
    one->level = az_alloc_array(m->az, (size_t)column->levels + 1, sizeof *one->level);
    if (!used || !one->level) return false;
    for (int64_t i = 0; i < m->design->n; i++) used[column->code[m->design->row[i]]] = true;
    for (int32_t l = 0; l < column->levels; l++)
        if (used[l] && reference && strcmp(column->level[l], reference) == 0) one->level[one->levels++] = column->level[l];
    if (reference && one->levels == 0) return az_fail(m->az, AZ_BAD_INPUT, "%s: there is no level '%s'", one->name, reference);
    for (int32_t l = 0; l < column->levels; l++)
        if (used[l] && !(reference && strcmp(column->level[l], reference) == 0)) one->level[one->levels++] = column->level[l];
    return true;
}

/* The codes of the table in the design's levels. */
static bool recode(maker *m, int number)
{
    const factor *one = &m->formula->factor[number];
    const az_column *column = m->v.column[number];
    int32_t *map = az_alloc_array(m->az, (size_t)column->levels + 1, sizeof *map);
    int32_t *code = m->code[number] = az_alloc_array(m->az, (size_t)m->table->rows + 1, sizeof *code);
    if (!map || !code) return false;
    for (int32_t l = 0; l < column->levels; l++) {
        map[l] = -1;
        for (int32_t k = 0; k < one->levels && map[l] < 0; k++)
            if (strcmp(one->level[k], column->level[l]) == 0) map[l] = k;
    }
    for (int64_t i = 0; i < m->design->n; i++) {
        const int64_t row = m->design->row[i];
        code[row] = map[column->code[row]];
        if (code[row] < 0)
            return az_fail(m->az, AZ_BAD_INPUT, "row %lld: %s has the level '%s', which it had not before", (long long)row + 1, one->name,
                           column->level[column->code[row]]);
    }
    return true;
}

static bool code_categories(maker *m)
{
    for (int i = 0; i < m->formula->factors; i++) {
        factor *one = &m->formula->factor[i];
        if (!one->used || !one->category || !m->v.column[i]) continue;
        if (m->first && !find_levels(m, one, m->v.column[i])) return false;
        if (!recode(m, i)) return false;
    }
    return true;
}

/* ---- columns ---- */

/* The first category that is a term of its own; -1 when there is none. */
static int first_main_category(const struct az_formula *f)
{
    for (int t = 0; t < f->terms.count; t++)
        if (f->terms.item[t].degree == 1 && f->factor[f->terms.item[t].factor[0]].category) return t;
    return -1;
}

/* R's rule: without its reference level where the term less this category is in the model (nothing at all counts as being in it); without
 * an intercept the first category that is a term of its own has all levels. */
static bool leaves_reference_out(const struct az_formula *f, int t, int position)
{
    const term *whole = &f->terms.item[t];
    if (whole->degree == 1) return f->terms.item[0].degree == 0 || first_main_category(f) != t;
    term rest = {.degree = whole->degree - 1};
    for (int i = 0, n = 0; i < whole->degree; i++)
        if (i != position) rest.factor[n++] = whole->factor[i];
    return terms_have(&f->terms, &rest);
}

/* How a term multiplies out: factor i gives `width[i]` columns, from level `skip[i]` on. */
typedef struct layout {
    int64_t columns;
    int32_t width[MAX_DEGREE], skip[MAX_DEGREE];
} layout;

static layout layout_of(const struct az_formula *f, int t)
{
    layout l = {.columns = 1};
    const term *whole = &f->terms.item[t];
    for (int i = 0; i < whole->degree; i++) {
        const factor *one = &f->factor[whole->factor[i]];
        l.skip[i] = one->category && leaves_reference_out(f, t, i);
        l.width[i] = one->category ? one->levels - l.skip[i] : 1;
        if (__builtin_mul_overflow(l.columns, (int64_t)l.width[i], &l.columns)) l.columns = INT64_MAX;
    }
    return l;
}

static const char *name_column(maker *m, int t, const layout *l, int64_t column)
{
    const term *whole = &m->formula->terms.item[t];
    const char *name = whole->degree == 0 ? "(Intercept)" : "";
    for (int i = 0; i < whole->degree && name; i++) {
        const factor *one = &m->formula->factor[whole->factor[i]];
        const int64_t level = column % l->width[i] + l->skip[i];
        column /= l->width[i];
        const char *part = one->category ? az_format_text(m->az, "%s[%s]", one->name, one->level[level]) : one->name;
        name = az_format_text(m->az, "%s%s%s", name, i ? ":" : "", part);
    }
    return name;
}

/* Column `at` of x [n, p]: the intercept, or a number. */
static void fill_column(const az_design *d, const double *number, double *x, int64_t at)
{
    for (int64_t i = 0; i < d->n; i++) x[i * d->p + at] = number ? number[d->row[i]] : 1;
}

/* Fills column `at` + 0, 1, ... of x [n, p] with the products of the term; its first variable varies fastest. */
static void fill_term(const maker *m, int t, const layout *l, double *x, int64_t at)
{
    const term *whole = &m->formula->terms.item[t];
    const az_design *d = m->design;
    const double *number = whole->degree == 1 ? m->v.number[whole->factor[0]] : NULL;
    if (whole->degree == 0 || number) {
        fill_column(d, number, x, at);
        return;
    }
    for (int64_t i = 0; i < d->n; i++) {
        int64_t column = 0, stride = 1;
        double product = 1;
        for (int k = 0; k < whole->degree; k++) {
            const int f = whole->factor[k];
            if (m->v.number[f]) {
                product *= m->v.number[f][d->row[i]];
                continue;
            }
            const int32_t level = m->code[f][d->row[i]] - l->skip[k];
            if (level < 0) product = 0;
            column += stride * (level < 0 ? 0 : level);
            stride *= l->width[k];
        }
        if (l->columns > 0) x[i * d->p + at + column] = product;
    }
}

static const char *term_name(maker *m, const term *t)
{
    const char *name = t->degree == 0 ? "(Intercept)" : "";
    for (int i = 0; i < t->degree && name; i++)
        name = az_format_text(m->az, "%s%s%s", name, i ? ":" : "", m->formula->factor[t->factor[i]].name);
    return name;
}

/* A category of one level has nothing to tell, which should not happen unseen. */
static void note_vanished(maker *m, int t)
{
    const term *whole = &m->formula->terms.item[t];
    for (int i = 0; i < whole->degree; i++) {
        const factor *one = &m->formula->factor[whole->factor[i]];
        if (one->category && one->levels == 1)
            az_note(m->az, "%s has the level '%s' alone in the rows that take part: the term %s adds no column", one->name, one->level[0],
                    term_name(m, whole));
    }
}

static bool lay_out(maker *m, layout *l)
{
    az_design *d = m->design;
    d->terms = m->formula->terms.count;
    d->intercept = m->formula->terms.item[0].degree == 0;
    for (int t = 0; t < d->terms; t++) {
        l[t] = layout_of(m->formula, t);
        if (l[t].columns > INT32_MAX - d->p) return az_fail(m->az, AZ_BAD_INPUT, "'%s' makes too many columns", m->formula->text);
        d->p += l[t].columns;
        if (m->first && l[t].columns == 0) note_vanished(m, t);
    }
    d->name = az_alloc_array(m->az, (size_t)d->p + 1, sizeof *d->name);
    d->term = az_alloc_array(m->az, (size_t)d->p + 1, sizeof *d->term);
    d->term_name = az_alloc_array(m->az, (size_t)d->terms + 1, sizeof *d->term_name);
    if (!d->name || !d->term || !d->term_name) return false;
    int64_t at = 0;
    for (int t = 0; t < d->terms; t++) {
        d->term_name[t] = term_name(m, &m->formula->terms.item[t]);
        for (int64_t c = 0; c < l[t].columns; c++, at++) {
            d->name[at] = name_column(m, t, &l[t], c);
            d->term[at] = t;
        }
    }
    if (d->p == 0) return az_fail(m->az, AZ_BAD_INPUT, "'%s' makes no column: its categories have one level only", m->formula->text);
    return az_ok(m->az);
}

static bool fill(maker *m, const layout *l)
{
    az_design *d = m->design;
    d->x = m->base ? az_copy(m->az, m->base->x) : az_zeros(m->az, AZ_F64, 2, (int64_t[]){d->n, d->p});
    double *x = az_f64_mut(d->x);
    int64_t at = 0;
    for (int t = 0; x && t < d->terms; t++) {
        const bool again = m->stale && m->stale[t];
        for (int64_t i = 0; again && i < d->n; i++) memset(x + i * d->p + at, 0, (size_t)l[t].columns * sizeof *x);
        if (!m->stale || again) fill_term(m, t, &l[t], x, at);
        at += l[t].columns;
    }
    if (!m->v.response) return x != NULL;
    d->y = az_new1(m->az, AZ_F64, d->n);
    double *y = az_f64_mut(d->y);
    for (int64_t i = 0; y && i < d->n; i++) y[i] = m->v.response[d->row[i]];
    d->y_name = m->formula->response_name;
    return y != NULL;
}

static az_design *make(az_ctx *az, struct az_formula *formula, const az_table *table, bool first, bool need_y)
{
    maker m = {.az = az, .formula = formula, .table = table, .first = first, .design = az_alloc(az, sizeof *m.design)};
    layout *l = formula ? az_alloc_array(az, (size_t)formula->terms.count + 1, sizeof *l) : NULL;
    if (!m.design || !l || !evaluate(&m, need_y) || !choose_rows(&m) || !code_categories(&m) || !lay_out(&m, l) || !fill(&m, l))
        return NULL;
    m.design->formula = formula;
    return m.design;
}

az_design *az_design_new(az_ctx *az, const char *formula, const az_table *table)
{
    if (!formula || !table || !az_ok(az)) return NULL;
    return make(az, formula_parse(az, formula, table), table, true, true);
}

az_design *az_design_like(az_ctx *az, const az_design *first, const az_table *table, bool need_y)
{
    if (!first || !table || !az_ok(az)) return NULL;
    return make(az, (struct az_formula *)first->formula, table, false, need_y);
}

/* ---- the same rows again ---- */

static bool reads(const expr *e, const az_table *table, const int *column, int columns)
{
    if (!e) return false;
    for (int i = 0; e->kind == EXPR_COLUMN && i < columns; i++)
        if (strcmp(e->name, table->column[column[i]].name) == 0) return true;
    return reads(e->a, table, column, columns) || reads(e->b, table, column, columns);
}

/* Which terms read the columns, and which variables those have. */
static bool find_stale(maker *m, const int *column, int columns)
{
    const struct az_formula *f = m->formula;
    bool *stale = az_alloc_array(m->az, (size_t)f->terms.count + 1, sizeof *stale),
         *need = az_alloc_array(m->az, (size_t)f->factors + 1, sizeof *need);
    if (!stale || !need) return false;
    for (int t = 0; t < f->terms.count; t++) {
        const term *whole = &f->terms.item[t];
        for (int i = 0; i < whole->degree; i++) stale[t] |= reads(f->factor[whole->factor[i]].expr, m->table, column, columns);
        for (int i = 0; stale[t] && i < whole->degree; i++) need[whole->factor[i]] = true;
    }
    m->stale = stale;
    m->need = need;
    m->stale_response = reads(f->response, m->table, column, columns);
    return true;
}

az_design *az_design_again(az_ctx *az, const az_design *first, const az_table *table, const int *column, int columns)
{
    if (!first || !table || !az_ok(az)) return NULL;
    const int64_t rows = table->rows;
    if (first->n != rows || first->dropped > 0)
        return az_fail(az, AZ_BAD_CALL, "az_design_again: the first design has %lld of %lld rows", (long long)first->n, (long long)rows);
    maker m = {.az = az, .formula = (struct az_formula *)first->formula, .table = table, .base = first};
    layout *l = az_alloc_array(az, (size_t)m.formula->terms.count + 1, sizeof *l);
    m.design = az_alloc(az, sizeof *m.design);
    if (!l || !m.design || !find_stale(&m, column, columns) || !evaluate(&m, true) || !choose_rows(&m)) return NULL;
    if (m.design->n < rows)
        return az_fail(az, AZ_NUMERIC, "'%s' has no value any more in %lld rows", m.formula->text, (long long)(rows - m.design->n));
    const int64_t *row = m.design->row;
    *m.design = *first;
    m.design->row = row;
    for (int t = 0; t < first->terms; t++) l[t] = layout_of(m.formula, t);
    return code_categories(&m) && fill(&m, l) ? m.design : NULL;
}

/* ---- what a formula reads ---- */

static void collect(const expr *e, const char **names, int *count)
{
    if (!e) return;
    if (e->kind == EXPR_COLUMN) {
        for (int i = 0; i < *count; i++)
            if (strcmp(names[i], e->name) == 0) return;
        names[(*count)++] = e->name;
    }
    collect(e->a, names, count);
    collect(e->b, names, count);
}

static int leaves(const expr *e)
{
    return e ? (e->kind == EXPR_COLUMN) + leaves(e->a) + leaves(e->b) : 0;
}

bool az_formula_variables(az_ctx *az, const char *formula, const az_table *table, const char ***names, int *count)
{
    const struct az_formula *f = formula && table && az_ok(az) ? formula_parse(az, formula, table) : NULL;
    if (!f) return false;
    int most = leaves(f->response);
    for (int i = 0; i < f->factors; i++) most += leaves(f->factor[i].expr);
    *count = 0;
    *names = az_alloc_array(az, (size_t)most + 1, sizeof **names);
    if (!*names) return false;
    collect(f->response, *names, count);
    for (int i = 0; i < f->factors; i++)
        if (f->factor[i].used) collect(f->factor[i].expr, *names, count);
    return true;
}
