/* formula_parse.c - reads a formula: "response ~ terms". Both sides are read by recursive descent; each level of precedence is a function.
 *   terms       sum: product (+ or - product)...   product: cell (* or / cell)...   cell: power (: power)...   power: atom [^ number]
 *   arithmetic  compare: total (< <= > >= == != total)   total: (+ -)   part: (* /)   signed: - signed   raised: ^   value */
#include "data/formula.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct parser {
    az_ctx *az;
    const char *text, *at;
    const az_table *table;
    struct az_formula *formula;
    int depth, operators;
} parser;

static expr *parse_compare(parser *p);
static bool parse_sum(parser *p, terms *out);

/* ---- words ---- */

static void *bad(const parser *p, const char *what)
{
    return az_fail(p->az, AZ_BAD_INPUT, "formula '%s', position %d: %s", p->text, (int)(p->at - p->text) + 1, what);
}

static char peek(parser *p)
{
    while (isspace((unsigned char)*p->at)) p->at++;
    return *p->at;
}

static bool take(parser *p, const char *mark)
{
    peek(p);
    const size_t length = strlen(mark);
    if (strncmp(p->at, mark, length) != 0) return false;
    p->at += length;
    return true;
}

static bool is_name_start(char c)
{
    return isalpha((unsigned char)c) || c == '_' || c == '`' || c == '.' || (unsigned char)c >= 0x80;
}

/* A name, or one in backquotes with any characters. */
static const char *take_name(parser *p)
{
    peek(p);
    const char *first = p->at;
    if (*first == '`') {
        const char *close = strchr(first + 1, '`');
        if (!close || close == first + 1) return bad(p, "a backquote does not close, or nothing is in it");
        p->at = close + 1;
        return az_format_text(p->az, "%.*s", (int)(close - first - 1), first + 1);
    }
    while (isalnum((unsigned char)*p->at) || *p->at == '_' || *p->at == '.' || (unsigned char)*p->at >= 0x80) p->at++;
    return az_format_text(p->az, "%.*s", (int)(p->at - first), first);
}

/* Digits with a point and an exponent. */
static bool take_number(parser *p, double *value)
{
    const char c = peek(p);
    if (!isdigit((unsigned char)c) && !(c == '.' && isdigit((unsigned char)p->at[1]))) return false;
    if (c == '0' && (p->at[1] == 'x' || p->at[1] == 'X')) return bad(p, "numbers are decimal");
    char *end;
    *value = strtod(p->at, &end);
    p->at = end;
    return true;
}

static bool enter(parser *p)
{
    if (++p->depth > MAX_DEPTH) return bad(p, "the formula is nested too deeply");
    return az_ok(p->az);
}

/* ---- arithmetic ---- */

static expr *make(parser *p, expr value)
{
    expr *e = az_alloc(p->az, sizeof *e);
    if (e) *e = value;
    return e;
}

static expr *binary(parser *p, const char *op, expr *a, expr *b)
{
    if (++p->operators > MAX_OPERATORS) return bad(p, "there are too many operators");
    return a && b ? make(p, (expr){.kind = EXPR_BINARY, .name = op, .a = a, .b = b}) : NULL;
}

static const struct {
    const char *name;
    double (*function)(double);
} functions[] = {{"log", log},  {"log2", log2}, {"log10", log10}, {"log1p", log1p}, {"exp", exp}, {"sqrt", sqrt},
                 {"abs", fabs}, {"sin", sin},   {"cos", cos},     {"tanh", tanh},   {"I", NULL}};
enum { FUNCTIONS = sizeof functions / sizeof *functions };

static expr *unknown_function(const parser *p, const char *name)
{
    const char *names[FUNCTIONS + 4] = {"C", "factor", "center", "scale"};
    for (int i = 0; i < FUNCTIONS; i++) names[i + 4] = functions[i].name;
    const char *nearest = az_nearest(name, names, FUNCTIONS + 4);
    const char *hint =
        az_format_text(p->az, nearest ? "there is no function '%s'; did you mean '%s'?" : "there is no function '%s'", name, nearest);
    return hint ? bad(p, hint) : NULL;
}

/* The level after "C(x," : a name, a text in quotes or a number as it is written. */
static const char *take_level(parser *p)
{
    const char quote = peek(p), *first = p->at;
    if (quote == '\'' || quote == '"') {
        const char *close = strchr(first + 1, quote);
        if (!close) return bad(p, "the quotes of a level do not close");
        p->at = close + 1;
        return az_format_text(p->az, "%.*s", (int)(close - first - 1), first + 1);
    }
    const size_t length = strcspn(first, ")");
    p->at += length;
    size_t end = length;
    while (end > 0 && isspace((unsigned char)first[end - 1])) end--;
    return end ? az_format_text(p->az, "%.*s", (int)end, first) : bad(p, "a level is missing");
}

static expr *parse_category(parser *p, const char *call)
{
    if (!is_name_start(peek(p))) return bad(p, "a category is made of a column");
    expr *column = make(p, (expr){.kind = EXPR_COLUMN, .name = take_name(p)});
    const char *level = take(p, ",") ? take_level(p) : NULL;
    if (!column || !az_ok(p->az)) return NULL;
    if (!take(p, ")")) return bad(p, "')' is missing");
    return make(p, (expr){.kind = EXPR_CATEGORY, .call = call, .name = level, .a = column});
}

/* Behind "name(". */
static expr *parse_call(parser *p, const char *name)
{
    if (strcmp(name, "C") == 0 || strcmp(name, "factor") == 0) return parse_category(p, name);
    expr call = {.kind = EXPR_CALL, .call = name};
    int known = 0;
    while (known < FUNCTIONS && strcmp(functions[known].name, name) != 0) known++;
    if (strcmp(name, "center") == 0 || strcmp(name, "scale") == 0)
        call.kind = EXPR_SCALE;
    else if (known == FUNCTIONS)
        return unknown_function(p, name);
    else
        call.function = functions[known].function;
    call.a = parse_compare(p);
    if (!call.a) return NULL;
    return take(p, ")") ? make(p, call) : bad(p, "')' is missing");
}

static expr *parse_value(parser *p)
{
    double number;
    if (take_number(p, &number)) return make(p, (expr){.kind = EXPR_NUMBER, .number = number});
    if (take(p, "(")) {
        expr *inside = parse_compare(p);
        if (!inside) return NULL;
        return take(p, ")") ? inside : bad(p, "')' is missing");
    }
    if (!is_name_start(peek(p))) return bad(p, "a column, a number or a function is expected");
    const bool quoted = *p->at == '`';
    const char *name = take_name(p);
    if (!name) return NULL;
    if (!quoted && take(p, "(")) return parse_call(p, name);
    return make(p, (expr){.kind = EXPR_COLUMN, .name = name});
}

static expr *parse_signed(parser *p)
{
    if (!enter(p)) return NULL;
    expr *e;
    if (take(p, "-")) {
        expr *inside = parse_signed(p);
        e = inside ? make(p, (expr){.kind = EXPR_NEGATE, .a = inside}) : NULL;
    } else {
        e = parse_value(p);
        if (e && (take(p, "**") || take(p, "^"))) e = binary(p, "^", e, parse_signed(p));
    }
    p->depth--;
    return e;
}

static expr *parse_part(parser *p)
{
    expr *e = parse_signed(p);
    while (e && (peek(p) == '*' || peek(p) == '/')) {
        const char *op = *p->at++ == '*' ? "*" : "/";
        e = binary(p, op, e, parse_signed(p));
    }
    return e;
}

static expr *parse_total(parser *p)
{
    expr *e = parse_part(p);
    while (e && (peek(p) == '+' || peek(p) == '-')) {
        const char *op = *p->at++ == '+' ? "+" : "-";
        e = binary(p, op, e, parse_part(p));
    }
    return e;
}

static expr *parse_compare(parser *p)
{
    static const char *const ops[] = {"<=", ">=", "==", "!=", "<", ">"};
    expr *e = parse_total(p);
    for (size_t i = 0; e && i < sizeof ops / sizeof *ops; i++)
        if (take(p, ops[i])) return binary(p, ops[i], e, parse_total(p));
    return e;
}

/* ---- terms ---- */

/* The number of a variable, which is entered when it is new. */
static int factor_number(parser *p, expr *e)
{
    struct az_formula *f = p->formula;
    const char *name = expr_text(p->az, e);
    if (!name) return -1;
    for (int i = 0; i < f->factors; i++)
        if (strcmp(f->factor[i].name, name) == 0) return i;
    if (f->factors == f->room) {
        const int room = f->room ? 2 * f->room : 8;
        factor *bigger = az_alloc_array(p->az, (size_t)room, sizeof *bigger);
        if (!bigger) return -1;
        if (f->factors > 0) memcpy(bigger, f->factor, (size_t)f->factors * sizeof *bigger);
        f->factor = bigger;
        f->room = room;
    }
    f->factor[f->factors] = (factor){.name = name, .expr = e};
    return f->factors++;
}

static bool add_variable(parser *p, expr *e, terms *out)
{
    const int number = e ? factor_number(p, e) : -1;
    return number >= 0 && terms_add(p->az, out, &(term){.degree = 1, .factor = {number}});
}

static bool reads_column(const expr *e, const char *name)
{
    if (!e) return false;
    return (e->kind == EXPR_COLUMN && strcmp(e->name, name) == 0) || reads_column(e->a, name) || reads_column(e->b, name);
}

/* ".": every column that the left side does not read. */
static bool add_all_columns(parser *p, terms *out)
{
    for (int c = 0; c < p->table->columns; c++) {
        const char *name = p->table->column[c].name;
        if (reads_column(p->formula->response, name)) continue;
        if (!add_variable(p, make(p, (expr){.kind = EXPR_COLUMN, .name = az_strdup(p->az, name)}), out)) return false;
    }
    return true;
}

static bool parse_atom(parser *p, terms *out)
{
    if (take(p, "(")) {
        if (!parse_sum(p, out)) return false;
        if (take(p, ")")) return true;
        return bad(p, "')' is missing");
    }
    if (!is_name_start(peek(p))) return bad(p, "a term is expected");
    const bool quoted = *p->at == '`';
    const char *name = take_name(p);
    if (!name) return false;
    if (!quoted && strcmp(name, ".") == 0) return add_all_columns(p, out);
    if (!quoted && take(p, "(")) return add_variable(p, parse_call(p, name), out);
    return add_variable(p, make(p, (expr){.kind = EXPR_COLUMN, .name = name}), out);
}

/* (a + b)^2: the terms, and products of up to so many of them. */
static bool parse_power(parser *p, terms *out)
{
    double degree;
    terms base = {0};
    if (!parse_atom(p, &base)) return false;
    if (!terms_unite(p->az, out, &base)) return false;
    if (!take(p, "**") && !take(p, "^")) return true;
    if (!take_number(p, &degree) || degree != floor(degree) || degree < 1 || degree > MAX_DEGREE)
        return bad(p, "the power of terms is a whole number from 1 to 8; the power of a column is written I(x^2)");
    terms product = base;
    for (int i = 1; i < (int)degree; i++) {
        terms next = {0};
        if (!terms_cross(p->az, &product, &base, &next) || !terms_unite(p->az, out, &next)) return false;
        product = next;
    }
    return true;
}

static bool parse_cell(parser *p, terms *out)
{
    terms left = {0};
    if (!parse_power(p, &left)) return false;
    while (take(p, ":")) {
        terms right = {0}, product = {0};
        if (!parse_power(p, &right) || !terms_cross(p->az, &left, &right, &product)) return false;
        left = product;
    }
    return terms_unite(p->az, out, &left);
}

/* One term with all variables of a set: what "/" nests in. */
static bool join(parser *p, const terms *set, terms *out)
{
    terms one = {0};
    if (!terms_add(p->az, &one, &(term){0})) return false;
    for (int i = 0; i < set->count; i++) {
        terms next = {0};
        const terms single = {.count = 1, .item = &set->item[i]};
        if (!terms_cross(p->az, &one, &single, &next)) return false;
        one = next;
    }
    return terms_unite(p->az, out, &one);
}

static bool parse_product(parser *p, terms *out)
{
    terms left = {0};
    if (!parse_cell(p, &left)) return false;
    while (peek(p) == '*' || peek(p) == '/') {
        const bool nested = *p->at++ == '/';
        terms right = {0}, outer = {0};
        if (!parse_cell(p, &right)) return false;
        if (nested && !join(p, &left, &outer)) return false;
        terms all = {0};
        if (!terms_unite(p->az, &all, &left) || (!nested && !terms_unite(p->az, &all, &right))) return false;
        if (!terms_cross(p->az, nested ? &outer : &left, &right, &all)) return false;
        left = all;
    }
    return terms_unite(p->az, out, &left);
}

/* 1 and 0 speak of the intercept. */
static bool parse_intercept(parser *p, bool minus, terms *out, bool *was)
{
    double number = 0;
    const terms one = {.count = 1, .item = &(term){0}};
    *was = take_number(p, &number);
    if (!*was) return az_ok(p->az);
    if (number != 0 && number != 1) return bad(p, "the only numbers among the terms are 0 and 1, which speak of the intercept");
    if ((number == 1) != minus) return terms_add(p->az, out, &(term){0});
    terms_remove(out, &one);
    return true;
}

static bool parse_sum(parser *p, terms *out)
{
    if (!enter(p)) return false;
    bool minus = take(p, "-");
    if (!minus) take(p, "+");
    do {
        bool number;
        if (!parse_intercept(p, minus, out, &number)) return false;
        terms next = {0};
        if (!number && !parse_product(p, &next)) return false;
        if (minus)
            terms_remove(out, &next);
        else if (!terms_unite(p->az, out, &next))
            return false;
        minus = peek(p) == '-';
    } while (take(p, "+") || take(p, "-"));
    p->depth--;
    return true;
}

/* ---- the whole ---- */

/* The left side, if there is one; behind the tilde. */
static bool parse_response(parser *p)
{
    if (take(p, "~")) return true;
    if (!strchr(p->text, '~')) return bad(p, "there is no '~' between response and terms");
    p->formula->response = parse_compare(p);
    if (!p->formula->response) return false;
    p->formula->response_name = expr_text(p->az, p->formula->response);
    if (take(p, "~")) return p->formula->response_name != NULL;
    return bad(p, "'~' is expected");
}

struct az_formula *formula_parse(az_ctx *az, const char *text, const az_table *table)
{
    if (!text || !table || !az_ok(az)) return NULL;
    struct az_formula *formula = az_alloc(az, sizeof *formula);
    if (!formula) return NULL;
    if (strlen(text) > MAX_LENGTH) return az_fail(az, AZ_BAD_INPUT, "a formula has at most %d characters", MAX_LENGTH);
    formula->text = az_strdup(az, text);
    parser p = {.az = az, .text = formula->text, .at = formula->text, .table = table, .formula = formula};
    if (!formula->text || !parse_response(&p) || !terms_add(az, &formula->terms, &(term){0})) return NULL;
    if (!parse_sum(&p, &formula->terms)) return NULL;
    if (peek(&p)) return bad(&p, "an operator is expected");
    if (formula->terms.count == 0) return bad(&p, "no term is left, not even the intercept");
    terms_sort(&formula->terms);
    for (int t = 0; t < formula->terms.count; t++)
        for (int i = 0; i < formula->terms.item[t].degree; i++) formula->factor[formula->terms.item[t].factor[i]].used = true;
    return formula;
}
