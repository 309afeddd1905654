/* triples.c - sparse matrices as lists of entries: from Matrix Market files, arrays and tables. */
#include "data/triples.h"
#include "data/table_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

az_triples *triples_new(az_ctx *az, int64_t rows, int64_t cols, int64_t count)
{
    az_triples *t = az_alloc(az, sizeof *t);
    if (!t) return NULL;
    const size_t room = (size_t)(count ? count : 1);
    *t = (az_triples){.rows = rows,
                      .cols = cols,
                      .count = count,
                      .row = az_alloc_array(az, room, sizeof *t->row),
                      .col = az_alloc_array(az, room, sizeof *t->col),
                      .value = az_alloc_array(az, room, sizeof *t->value)};
    return az_ok(az) ? t : NULL;
}

typedef struct place {
    int64_t row, col;
    double value;
} place;

static int by_place(const void *a, const void *b)
{
    const place *x = a, *y = b;
    if (x->row != y->row) return x->row < y->row ? -1 : 1;
    return (x->col > y->col) - (x->col < y->col);
}

static bool is_sorted(const az_triples *t)
{
    for (int64_t i = 1; i < t->count; i++)
        if (t->row[i] < t->row[i - 1] || (t->row[i] == t->row[i - 1] && t->col[i] <= t->col[i - 1])) return false;
    return true;
}

static const char *name_of(az_ctx *az, const char *const *names, int64_t i)
{
    return names ? names[i] : az_format_text(az, "%lld", (long long)i);
}

static bool twice(az_ctx *az, const az_triples *t, const place *p)
{
    return az_fail(az, AZ_BAD_INPUT, "the entry of row %s, column %s is given twice, as %g and as %g", name_of(az, t->row_name, p->row),
                   name_of(az, t->col_name, p->col), p[-1].value, p->value);
}

bool triples_sort(az_ctx *az, az_triples *t)
{
    if (!t || is_sorted(t)) return t != NULL;
    az_buffer *buffer = az_buffer_new(az, (size_t)t->count * sizeof(place));
    if (!buffer) return false;
    place *places = buffer->data;
    for (int64_t i = 0; i < t->count; i++) places[i] = (place){t->row[i], t->col[i], t->value[i]};
    qsort(places, (size_t)t->count, sizeof *places, by_place);
    int64_t n = 0;
    bool ok = true;
    for (int64_t i = 0; ok && i < t->count; i++) {
        if (i > 0 && by_place(&places[i], &places[i - 1]) == 0) {
            if (places[i].value != places[i - 1].value) ok = twice(az, t, &places[i]);
            continue;
        }
        triples_put(t, n++, places[i].row, places[i].col, places[i].value);
    }
    t->count = n;
    az_buffer_drop(buffer);
    return ok;
}

/* ---- from arrays and tables ---- */

static az_triples *from_matrix(az_ctx *az, const az_array *array)
{
    if (!array) return NULL;
    if (array->value->rank != 2) return az_fail(az, AZ_BAD_INPUT, "an array of shape %s is no matrix", az_shape_text(az, array->value));
    const int64_t rows = array->value->shape[0], cols = array->value->shape[1];
    const double *x = az_f64(array->value);
    int64_t count = 0;
    for (int64_t i = 0; x && i < rows * cols; i++) count += !isnan(x[i]);
    az_triples *t = triples_new(az, rows, cols, count);
    int64_t n = 0;
    for (int64_t i = 0; x && t && i < rows * cols; i++)
        if (!isnan(x[i])) triples_put(t, n++, i / cols, i % cols, x[i]);
    if (t) t->row_name = array->row_name, t->col_name = array->column_name;
    return t;
}

static bool is_index(const az_table *table, const az_column *column)
{
    for (int64_t i = 0; column->value && i < table->rows; i++)
        if (!(column->value[i] >= 0) || column->value[i] != floor(column->value[i])) return false;
    return column->type == AZ_COLUMN_INTEGER;
}

/* The places that a column names, their number, and their names (NULL for indices). */
static bool read_places(az_ctx *az, const az_table *table, int c, az_index_base base, int64_t *index, int64_t *extent, const char ***names)
{
    const az_column *column = &table->column[c];
    *extent = 0;
    if (base == AZ_INDEX_LABELS) {
        const az_column *labels = az_column_categories(az, table, column);
        if (!labels) return false;
        for (int64_t i = 0; i < table->rows; i++) index[i] = labels->code[i];
        *extent = labels->levels;
        *names = labels->level;
        return true;
    }
    const double first = base == AZ_INDEX_ONE ? 1 : 0;
    for (int64_t i = 0; i < table->rows; i++) {
        const double value = column->value ? column->value[i] : NAN;
        if (!(value >= first && value < 0x1p31) || value != floor(value))
            return az_fail(az, AZ_BAD_INPUT, "row %lld: '%s' in column '%s' is no index (whole numbers from %g on)", (long long)i + 1,
                           az_column_text(az, column, i) ? az_column_text(az, column, i) : "NA", column->name, first);
        index[i] = (int64_t)(value - first);
        if (index[i] >= *extent) *extent = index[i] + 1;
    }
    return true;
}

/* Fractions are no places, nor are numbers that are missing here and there. */
static bool holds_values(const az_column *column)
{
    return column->type == AZ_COLUMN_REAL || (column->type == AZ_COLUMN_INTEGER && column->missing > 0);
}

static bool is_matrix(const az_table *table, az_index_base base)
{
    const bool values = table->columns > 1 && (holds_values(&table->column[0]) || holds_values(&table->column[1]));
    return base == AZ_INDEX_MATRIX || (base == AZ_INDEX_AUTO && values);
}

/* Places in whole numbers of which some are negative: neither positions nor, in all likelihood, labels. */
static bool check_positions(az_ctx *az, const az_table *table)
{
    for (int c = 0; c < 2; c++)
        if (table->column[c].type != AZ_COLUMN_INTEGER) return true;
    for (int c = 0; c < 2; c++)
        for (int64_t i = 0; table->column[c].value && i < table->rows; i++)
            if (table->column[c].value[i] < 0)
                return az_fail(
                    az, AZ_BAD_INPUT,
                    "row %lld: %g in column '%s' is no position (whole numbers from 0 on); if these are labels, say index=labels",
                    (long long)i + 1, table->column[c].value[i], table->column[c].name);
    return true;
}

static az_triples *from_table(az_ctx *az, const az_table *table, az_index_base base)
{
    enum { USUAL_COLUMNS = 4 }; /* row, column, value and perhaps when */
    if (!table) return NULL;
    if (is_matrix(table, base)) return from_matrix(az, table_array(az, table));
    if (table->columns < 2) return az_fail(az, AZ_BAD_INPUT, "entries need columns for row, column and value");
    if (table->columns > USUAL_COLUMNS && base == AZ_INDEX_AUTO)
        az_note(az, "'%s' is read as entries: row '%s', column '%s', value '%s'; with index=matrix it is the matrix itself", table->path,
                table->column[0].name, table->column[1].name, table->column[2].name);
    const double *value = table->columns > 2 ? az_column_numbers(az, table, &table->column[2]) : NULL;
    az_triples *t = triples_new(az, 0, 0, table->rows);
    if (!t || (table->columns > 2 && !value)) return NULL;
    if (base == AZ_INDEX_AUTO && !check_positions(az, table)) return NULL;
    if (base == AZ_INDEX_AUTO)
        base = is_index(table, &table->column[0]) && is_index(table, &table->column[1]) ? AZ_INDEX_ZERO : AZ_INDEX_LABELS;
    if (!read_places(az, table, 0, base, t->row, &t->rows, &t->row_name) ||
        !read_places(az, table, 1, base, t->col, &t->cols, &t->col_name))
        return NULL;
    int64_t n = 0;
    for (int64_t i = 0; i < table->rows; i++) {
        if (t->row[i] < 0 || t->col[i] < 0)
            return az_fail(az, AZ_BAD_INPUT, "row %lld names no place: a label is missing", (long long)i + 1);
        if (value && isnan(value[i])) continue;
        triples_put(t, n++, t->row[i], t->col[i], value ? value[i] : 1);
    }
    if (n < table->rows)
        az_note(az, "'%s': %lld of %lld entries have no value and are left out", table->path, (long long)(table->rows - n),
                (long long)table->rows);
    t->count = n;
    return triples_sort(az, t) ? t : NULL;
}

/* The first two columns in the order of the table, repetitions and all. */
static az_triples *places_from_table(az_ctx *az, const az_table *table, az_index_base base, const az_triples *like)
{
    if (!table) return NULL;
    if (table->columns < 2) return az_fail(az, AZ_BAD_INPUT, "places need columns for row and column");
    const az_index_base number = base == AZ_INDEX_ONE ? AZ_INDEX_ONE : AZ_INDEX_ZERO;
    az_triples *t = triples_new(az, 0, 0, table->rows);
    if (!t || !read_places(az, table, 0, like->row_name ? AZ_INDEX_LABELS : number, t->row, &t->rows, &t->row_name) ||
        !read_places(az, table, 1, like->col_name ? AZ_INDEX_LABELS : number, t->col, &t->cols, &t->col_name))
        return NULL;
    for (int64_t i = 0; i < table->rows; i++) {
        if (t->row[i] < 0 || t->col[i] < 0)
            return az_fail(az, AZ_BAD_INPUT, "row %lld names no place: a label is missing", (long long)i + 1);
        t->value[i] = 1;
    }
    return t;
}

static az_triples *read_market(az_ctx *az, const char *path)
{
    az_triples *sparse = NULL;
    az_tensor *dense = NULL;
    size_t length = 0;
    const char *text = az_read_file(az, path, &length);
    if (!text || !az_matrix_market_parse(az, text, length, &sparse, &dense)) return NULL;
    return sparse ? sparse : from_matrix(az, &(az_array){.value = dense});
}

static az_triples *read_file(az_ctx *az, const char *path, const az_table_how *how)
{
    return path_ends(path, ".mtx") ? read_market(az, path) : from_matrix(az, az_array_read(az, path, how, true));
}

static bool is_table(const char *path)
{
    return !path_ends(path, ".mtx") && !path_is_array(path);
}

az_triples *az_triples_read(az_ctx *az, const char *path, const az_table_how *how, az_index_base base)
{
    if (!path || !az_ok(az)) return NULL;
    az_triples *t = is_table(path) ? from_table(az, az_table_read(az, path, how), base) : read_file(az, path, how);
    if (!t) az_fail_context(az, "entries of '%s'", path);
    return t;
}

az_triples *az_places_read(az_ctx *az, const char *path, const az_table_how *how, az_index_base base, const az_triples *like)
{
    if (!path || !like || !az_ok(az)) return NULL;
    const bool table = is_table(path) && base != AZ_INDEX_MATRIX;
    az_triples *t = table            ? places_from_table(az, az_table_read(az, path, how), base, like)
                    : is_table(path) ? from_table(az, az_table_read(az, path, how), base)
                                     : read_file(az, path, how);
    if (!t) az_fail_context(az, "entries of '%s'", path);
    return t;
}

az_tensor *az_triples_dense(az_ctx *az, const az_triples *t, double absent)
{
    if (!t) return NULL;
    az_tensor *out = az_full(az, AZ_F64, 2, (int64_t[]){t->rows, t->cols}, absent);
    double *to = az_f64_mut(out);
    for (int64_t i = 0; to && i < t->count; i++) to[t->row[i] * t->cols + t->col[i]] = t->value[i];
    return out;
}
