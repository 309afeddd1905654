/* table.c - tables in memory: columns added, found, and seen as numbers, categories, text or a matrix. */
#include "data/table_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *az_column_type_name(az_column_type type)
{
    static const char *const names[] = {"real", "integer", "date", "text"};
    return names[type];
}

/* ---- making ---- */

az_table *az_table_new(az_ctx *az, int64_t rows)
{
    if (!az_ok(az)) return NULL;
    if (rows < 0) return az_fail(az, AZ_BAD_CALL, "a table of %lld rows", (long long)rows);
    az_table *table = az_alloc(az, sizeof *table);
    if (table) *table = (az_table){.rows = rows};
    return table;
}

az_column *table_append(az_ctx *az, az_table *table, az_column column)
{
    if (!table || !az_ok(az)) return NULL;
    if (!column.name) return az_fail(az, AZ_BAD_CALL, "a column needs a name");
    if (table->columns == table->room) {
        if (table->room > INT32_MAX / 2) return az_fail(az, AZ_BAD_INPUT, "a table has at most %d columns", INT32_MAX);
        table->room = table->room ? 2 * table->room : 8;
        az_column *bigger = az_alloc_array(az, (size_t)table->room, sizeof *bigger);
        if (!bigger) return NULL;
        if (table->columns > 0) memcpy(bigger, table->column, (size_t)table->columns * sizeof *bigger);
        table->column = bigger;
    }
    column.name = az_strdup(az, column.name);
    table->column[table->columns] = column;
    return column.name ? &table->column[table->columns++] : NULL;
}

void column_count_missing(az_column *column, int64_t rows)
{
    column->missing = 0;
    for (int64_t i = 0; i < rows; i++) column->missing += column->code ? column->code[i] < 0 : isnan(column->value[i]);
}

static bool all_whole(const double *values, int64_t rows)
{
    bool any = false;
    for (int64_t i = 0; i < rows; i++) {
        if (isnan(values[i])) continue;
        if (!(fabs(values[i]) <= 0x1p53) || values[i] != floor(values[i])) return false;
        any = true;
    }
    return any;
}

bool az_table_add(az_ctx *az, az_table *table, const char *name, const double *values)
{
    if (!table || !values || !az_ok(az)) return false;
    az_column column = {.name = name, .value = az_alloc_array(az, (size_t)table->rows, sizeof *column.value)};
    if (!column.value) return false;
    if (table->rows > 0) memcpy(column.value, values, (size_t)table->rows * sizeof *values);
    column.type = all_whole(values, table->rows) ? AZ_COLUMN_INTEGER : AZ_COLUMN_REAL;
    column_count_missing(&column, table->rows);
    return table_append(az, table, column) != NULL;
}

bool az_table_add_text(az_ctx *az, az_table *table, const char *name, const char *const *texts)
{
    if (!table || !texts || !az_ok(az)) return false;
    text_set set = {0};
    az_column column = {.name = name, .type = AZ_COLUMN_TEXT, .code = az_alloc_array(az, (size_t)table->rows, sizeof *column.code)};
    if (!column.code) return false;
    for (int64_t i = 0; i < table->rows; i++) {
        column.code[i] = texts[i] ? text_set_add(az, &set, texts[i], strlen(texts[i])) : -1;
        if (texts[i] && column.code[i] < 0) return false;
    }
    column.level = set.text;
    column.levels = set.count;
    column_count_missing(&column, table->rows);
    return column_sort_levels(az, &column, table->rows) && table_append(az, table, column);
}

/* ---- levels ---- */

static int by_text(const void *a, const void *b)
{
    return strcmp(**(const char *const *const *)a, **(const char *const *const *)b);
}

bool column_sort_levels(az_ctx *az, az_column *column, int64_t rows)
{
    const size_t n = (size_t)column->levels;
    const char ***order = az_alloc_array(az, n + 1, sizeof *order); /* pointers into level, so that a place tells the old code */
    const char **sorted = az_alloc_array(az, n + 1, sizeof *sorted);
    int32_t *renamed = az_alloc_array(az, n + 1, sizeof *renamed);
    if (!order || !sorted || !renamed) return false;
    for (size_t i = 0; i < n; i++) order[i] = &column->level[i];
    qsort(order, n, sizeof *order, by_text);
    for (size_t i = 0; i < n; i++) {
        renamed[order[i] - column->level] = (int32_t)i;
        sorted[i] = *order[i];
    }
    for (int64_t i = 0; i < rows; i++)
        if (column->code[i] >= 0) column->code[i] = renamed[column->code[i]];
    column->level = sorted;
    return true;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The different values, ascending; returns their number. */
static int64_t distinct_values(const double *value, int64_t rows, double *out)
{
    int64_t n = 0, distinct = 0;
    for (int64_t i = 0; i < rows; i++)
        if (!isnan(value[i])) out[n++] = value[i];
    qsort(out, (size_t)n, sizeof *out, by_value);
    for (int64_t i = 0; i < n; i++)
        if (distinct == 0 || out[i] != out[distinct - 1]) out[distinct++] = out[i];
    return distinct;
}

const az_column *az_column_categories(az_ctx *az, const az_table *table, const az_column *column)
{
    if (!table || !column || !az_ok(az) || column->type == AZ_COLUMN_TEXT) return column;
    az_column *out = az_alloc(az, sizeof *out);
    double *values = az_alloc_array(az, (size_t)table->rows, sizeof *values);
    if (!out || !values) return NULL;
    const int64_t levels = distinct_values(column->value, table->rows, values);
    if (levels > INT32_MAX) return az_fail(az, AZ_BAD_INPUT, "column '%s' has too many different values for a category", column->name);
    *out = (az_column){.name = column->name, .type = AZ_COLUMN_TEXT, .missing = column->missing, .levels = (int32_t)levels};
    out->code = az_alloc_array(az, (size_t)table->rows, sizeof *out->code);
    out->level = az_alloc_array(az, (size_t)levels + 1, sizeof *out->level);
    if (!out->code || !out->level) return NULL;
    for (int64_t i = 0; i < levels; i++) {
        const az_column one = {.type = column->type, .value = &values[i]};
        out->level[i] = az_column_text(az, &one, 0);
    }
    for (int64_t i = 0; i < table->rows; i++) {
        const double *at = isnan(column->value[i]) ? NULL : bsearch(&column->value[i], values, (size_t)levels, sizeof *values, by_value);
        out->code[i] = at ? (int32_t)(at - values) : -1;
    }
    return az_ok(az) ? out : NULL;
}

/* ---- looking ---- */

const az_column *az_table_find(az_ctx *az, const az_table *table, const char *name)
{
    if (!table || !name || !az_ok(az)) return NULL;
    const az_column *found = NULL;
    for (int i = 0; i < table->columns; i++) {
        if (strcmp(table->column[i].name, name) != 0) continue;
        if (found)
            return az_fail(az, AZ_BAD_INPUT, "two columns are named '%s': %lld and %d", name, (long long)(found - table->column) + 1,
                           i + 1);
        found = &table->column[i];
    }
    if (found) return found;
    const char **names = az_alloc_array(az, (size_t)table->columns + 1, sizeof *names);
    for (int i = 0; names && i < table->columns; i++) names[i] = table->column[i].name;
    const char *nearest = names ? az_nearest(name, names, table->columns) : NULL;
    if (nearest) return az_fail(az, AZ_BAD_INPUT, "there is no column '%s'; did you mean '%s'?", name, nearest);
    return az_fail(az, AZ_BAD_INPUT, "there is no column '%s' among the %d", name, table->columns);
}

/* Takes the next name off a list; NULL at its end, and with an error when backquotes do not close. */
static const char *next_name(az_ctx *az, const char **list)
{
    static const char marks[] = ",+ \t\n";
    const char *at = *list + strspn(*list, marks);
    *list = at;
    if (!*at) return NULL;
    const bool quoted = *at == '`';
    at += quoted;
    const size_t length = strcspn(at, quoted ? "`" : marks);
    if (quoted && !at[length]) return az_fail(az, AZ_BAD_INPUT, "a backquote in a list of columns does not close: %s", at - 1);
    *list = at + length + quoted;
    return az_format_text(az, "%.*s", (int)length, at);
}

bool az_table_columns(az_ctx *az, const az_table *table, const char *list, const az_column ***columns, int *count)
{
    *columns = az_alloc_array(az, strlen(list) / 2 + 1, sizeof **columns);
    *count = 0;
    if (!table || !*columns) return false;
    for (const char *name; (name = next_name(az, &list));) {
        const az_column *column = az_table_find(az, table, name);
        if (!column) return false;
        (*columns)[(*count)++] = column;
    }
    return az_ok(az);
}

/* What shows that a column is text: its first level that is no number. */
static const char *telling_level(const az_column *column)
{
    for (int32_t i = 0; i < column->levels; i++) {
        double value;
        bool whole;
        const csv_field field = {.text = column->level[i], .length = (uint32_t)strlen(column->level[i])};
        if (!csv_number(field, &value, &whole)) return column->level[i];
    }
    return column->levels ? column->level[0] : "";
}

const double *az_column_numbers(az_ctx *az, const az_table *table, const az_column *column)
{
    if (!table || !column || !az_ok(az)) return NULL;
    if (column->type != AZ_COLUMN_TEXT) return column->value;
    if (column->levels != 2)
        return az_fail(az, AZ_BAD_INPUT, "column '%s' holds text ('%s' ...) with %d levels; numbers or two levels are needed", column->name,
                       telling_level(column), column->levels);
    double *value = az_alloc_array(az, (size_t)table->rows, sizeof *value);
    for (int64_t i = 0; value && i < table->rows; i++) value[i] = column->code[i] < 0 ? NAN : column->code[i];
    return value;
}

/* The shortest decimal that reads back as the same double. */
static const char *number_text(az_ctx *az, double value)
{
    char text[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    return az_strdup(az, text);
}

static const char *date_text(az_ctx *az, double value)
{
    int64_t year;
    int month, day;
    double whole = floor(value), seconds = round((value - whole) * 86400e3) / 1e3; /* to a millisecond, what a double of days can hold */
    if (seconds >= 86400) whole += 1, seconds -= 86400;
    date_of_days((int64_t)whole, &year, &month, &day);
    if (seconds == 0) return az_format_text(az, "%04lld-%02d-%02d", (long long)year, month, day);
    const int minutes = (int)(seconds / 60);
    const double rest = seconds - 60.0 * minutes;
    const char *date = az_format_text(az, "%04lld-%02d-%02dT%02d:%02d", (long long)year, month, day, minutes / 60, minutes % 60);
    return az_format_text(az, rest == floor(rest) ? "%s:%02.0fZ" : "%s:%06.3fZ", date, rest);
}

const char *az_column_text(az_ctx *az, const az_column *column, int64_t row)
{
    if (!column) return NULL;
    if (column->type == AZ_COLUMN_TEXT) return column->code[row] < 0 ? NULL : column->level[column->code[row]];
    if (isnan(column->value[row])) return NULL;
    return column->type == AZ_COLUMN_DATE ? date_text(az, column->value[row]) : number_text(az, column->value[row]);
}

az_tensor *az_table_matrix(az_ctx *az, const az_table *table, const az_column *const *columns, int count)
{
    if (!table || !az_ok(az)) return NULL;
    if (!columns) count = table->columns;
    az_tensor *out = az_new2(az, AZ_F64, table->rows, count);
    double *to = az_f64_mut(out); /* [rows, count] */
    for (int c = 0; to && c < count; c++) {
        const az_column *column = columns ? columns[c] : &table->column[c];
        if (column->type == AZ_COLUMN_TEXT)
            return az_fail(az, AZ_BAD_INPUT, "column '%s' holds text ('%s' ...) where numbers are needed", column->name,
                           telling_level(column));
        for (int64_t i = 0; i < table->rows; i++) to[i * count + c] = column->value[i];
    }
    return out;
}

az_table *az_table_rows(az_ctx *az, const az_table *table, const int64_t *row, int64_t count)
{
    az_table *out = table ? az_table_new(az, count) : NULL;
    if (!out) return NULL;
    for (int c = 0; c < table->columns; c++) {
        const az_column *from = &table->column[c];
        az_column column = *from;
        if (from->code) column.code = az_alloc_array(az, (size_t)count, sizeof *column.code);
        if (from->value) column.value = az_alloc_array(az, (size_t)count, sizeof *column.value);
        if (!az_ok(az)) return NULL;
        for (int64_t i = 0; i < count; i++) {
            if (row[i] < 0 || row[i] >= table->rows)
                return az_fail(az, AZ_BAD_CALL, "row %lld of a table of %lld", (long long)row[i], (long long)table->rows);
            if (from->code) column.code[i] = from->code[row[i]];
            if (from->value) column.value[i] = from->value[row[i]];
        }
        column_count_missing(&column, count);
        table_append(az, out, column);
    }
    out->path = table->path;
    return az_ok(az) ? out : NULL;
}
