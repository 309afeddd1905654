/* formula_eval.c - the values of a formula's variables, row by row, and their names. */
#include "data/formula.h"

#include <math.h>
#include <string.h>

/* ---- names ---- */

static bool is_plain_name(const char *name)
{
    return name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.")] == '\0';
}

static const char *operand_text(az_ctx *az, const expr *e)
{
    const char *text = expr_text(az, e);
    const bool plain = e->kind != EXPR_BINARY && e->kind != EXPR_NEGATE;
    return plain || !text ? text : az_format_text(az, "(%s)", text);
}

const char *expr_text(az_ctx *az, const expr *e)
{
    if (!e || !az_ok(az)) return NULL;
    switch (e->kind) {
    case EXPR_NUMBER: return az_format_text(az, "%.15g", e->number);
    case EXPR_COLUMN: return is_plain_name(e->name) ? e->name : az_format_text(az, "`%s`", e->name);
    case EXPR_NEGATE: return az_format_text(az, "-%s", operand_text(az, e->a));
    case EXPR_BINARY: return az_format_text(az, "%s%s%s", operand_text(az, e->a), e->name, operand_text(az, e->b));
    case EXPR_CALL:
    case EXPR_SCALE: return az_format_text(az, "%s(%s)", e->call, expr_text(az, e->a));
    case EXPR_CATEGORY:
        return e->name ? az_format_text(az, "%s(%s, %s)", e->call, expr_text(az, e->a), e->name)
                       : az_format_text(az, "%s(%s)", e->call, expr_text(az, e->a));
    }
    return NULL;
}

/* ---- numbers ---- */

static double apply(const char *op, double a, double b)
{
    if (isnan(a) || isnan(b)) return NAN;
    switch (op[0]) {
    case '+': return a + b;
    case '-': return a - b;
    case '*': return a * b;
    case '/': return a / b;
    case '^': return pow(a, b);
    case '<': return op[1] ? a <= b : a < b;
    case '>': return op[1] ? a >= b : a > b;
    case '=': return a == b;
    default: return a != b;
    }
}

/* Where every operand has a value, the result must have one. */
static bool check_row(az_ctx *az, const expr *e, double value, double a, double b, int64_t row)
{
    if (isfinite(value) || isnan(a) || isnan(b)) return true;
    if (e->kind == EXPR_CALL) return az_fail(az, AZ_BAD_INPUT, "row %lld: %s of %g is no finite number", (long long)row + 1, e->call, a);
    return az_fail(az, AZ_BAD_INPUT, "row %lld: %g %s %g is no finite number", (long long)row + 1, a, e->name, b);
}

static double *column_numbers(az_ctx *az, const expr *e, const az_table *table)
{
    const az_column *column = az_table_find(az, table, e->name);
    const double *from = az_column_numbers(az, table, column);
    double *value = from ? az_alloc_array(az, (size_t)table->rows + 1, sizeof *value) : NULL;
    for (int64_t i = 0; value && i < table->rows; i++) {
        value[i] = from[i];
        if (isinf(from[i])) return az_fail(az, AZ_BAD_INPUT, "row %lld: column '%s' is infinite", (long long)i + 1, e->name);
    }
    return value;
}

/* Centre and scale as R's scale(): mean, and the deviation with n - 1; of the rows that have a value. */
static bool learn_scale(az_ctx *az, expr *e, const double *value, int64_t rows)
{
    double sum = 0, squares = 0;
    int64_t n = 0;
    for (int64_t i = 0; i < rows; i++)
        if (!isnan(value[i])) sum += value[i], n++;
    e->shift = n > 0 ? sum / (double)n : 0;
    for (int64_t i = 0; i < rows; i++)
        if (!isnan(value[i])) squares += (value[i] - e->shift) * (value[i] - e->shift);
    e->scale = strcmp(e->call, "scale") == 0 ? sqrt(squares / (double)(n - 1)) : 1;
    e->learnt = true;
    if (e->scale > 0 && isfinite(e->scale)) return true;
    return az_fail(az, AZ_BAD_INPUT, "%s: all values are equal, so they have no scale", expr_text(az, e));
}

double *expr_numbers(az_ctx *az, expr *e, const az_table *table, bool learn)
{
    if (!e || !az_ok(az)) return NULL;
    if (e->kind == EXPR_COLUMN) return column_numbers(az, e, table);
    if (e->kind == EXPR_CATEGORY) return az_fail(az, AZ_BAD_INPUT, "%s is a category where a number is needed", expr_text(az, e));
    double *value = az_alloc_array(az, (size_t)table->rows + 1, sizeof *value);
    const double *a = e->a ? expr_numbers(az, e->a, table, learn) : value, *b = e->b ? expr_numbers(az, e->b, table, learn) : value;
    if (!value || !a || !b) return NULL;
    if (e->kind == EXPR_SCALE && learn && !learn_scale(az, e, a, table->rows)) return NULL;
    for (int64_t i = 0; i < table->rows; i++) {
        switch (e->kind) {
        case EXPR_NUMBER: value[i] = e->number; break;
        case EXPR_NEGATE: value[i] = -a[i]; break;
        case EXPR_CALL: value[i] = e->function ? e->function(a[i]) : a[i]; break;
        case EXPR_SCALE: value[i] = (a[i] - e->shift) / e->scale; break;
        default: value[i] = apply(e->name, a[i], b[i]);
        }
        if ((e->kind == EXPR_CALL || e->kind == EXPR_BINARY) && !check_row(az, e, value[i], a[i], e->b ? b[i] : 0, i)) return NULL;
    }
    return value;
}

/* ---- categories ---- */

bool expr_is_category(az_ctx *az, const expr *e, const az_table *table)
{
    if (e->kind == EXPR_CATEGORY) return true;
    const az_column *column = e->kind == EXPR_COLUMN ? az_table_find(az, table, e->name) : NULL;
    return column && column->type == AZ_COLUMN_TEXT;
}

const az_column *expr_categories(az_ctx *az, const expr *e, const az_table *table)
{
    const char *name = e->kind == EXPR_CATEGORY ? e->a->name : e->name;
    return az_column_categories(az, table, az_table_find(az, table, name));
}
