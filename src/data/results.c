/* results.c - what a method hands over, and the files it goes to. */
#include "base/json.h"
#include "data/table_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

typedef struct result {
    struct result *next;
    const char *name;
    az_array array;  /* array.value NULL = none */
    az_table *table; /* NULL = none */
    const char *text;
} result;

struct az_results {
    az_ctx *az;
    az_arena *arena;
    result *first, **last;
};

static void free_results(void *object)
{
    az_results *results = object;
    az_arena_free(results->az, results->arena);
}

az_results *az_results_new(az_ctx *az)
{
    if (!az_ok(az)) return NULL;
    az_results *results = az_alloc(az, sizeof *results);
    if (!results) return NULL;
    *results = (az_results){.az = az, .arena = az_arena_new(az)};
    results->last = &results->first;
    return results->arena && az_on_leave(az, free_results, results) ? results : NULL;
}

/* ---- filling ---- */

/* Appends an entry; the arena is entered when it succeeds. */
static result *enter(az_results *results, const char *name)
{
    if (!results || !az_ok(results->az)) return NULL;
    az_arena_enter(results->az, results->arena);
    result *r = az_alloc(results->az, sizeof *r);
    if (r) r->name = az_strdup(results->az, name);
    if (r && r->name) {
        *results->last = r;
        results->last = &r->next;
        return r;
    }
    az_arena_leave(results->az);
    return NULL;
}

static const char **copy_names(az_ctx *az, const char *const *names, int64_t n)
{
    if (!names) return NULL;
    const char **copy = az_alloc_array(az, (size_t)n + 1, sizeof *copy);
    for (int64_t i = 0; copy && i < n; i++) copy[i] = names[i] ? az_strdup(az, names[i]) : NULL;
    return copy;
}

void az_results_array(az_results *results, const char *name, const az_tensor *value, const char *const *row_names,
                      const char *const *column_names)
{
    result *r = value ? enter(results, name) : NULL;
    if (!r) return;
    az_ctx *az = results->az;
    r->array = (az_array){.name = r->name, .value = az_share(az, az_contiguous(az, value))};
    if (value->rank > 0) r->array.row_name = copy_names(az, row_names, value->shape[0]);
    if (value->rank > 1) r->array.column_name = copy_names(az, column_names, value->shape[1]);
    az_arena_leave(az);
}

void az_results_table(az_results *results, const char *name, const az_table *table)
{
    result *r = table ? enter(results, name) : NULL;
    if (!r) return;
    az_ctx *az = results->az;
    int64_t *all = az_alloc_array(az, (size_t)table->rows + 1, sizeof *all);
    for (int64_t i = 0; all && i < table->rows; i++) all[i] = i;
    r->table = all ? az_table_rows(az, table, all, table->rows) : NULL;
    for (int c = 0; r->table && c < r->table->columns; c++) {
        az_column *column = &r->table->column[c];
        if (column->code) column->level = copy_names(az, column->level, column->levels);
    }
    az_arena_leave(az);
}

void az_results_text(az_results *results, const char *name, const char *text)
{
    result *r = text ? enter(results, name) : NULL;
    if (!r) return;
    r->text = az_strdup(results->az, text);
    az_arena_leave(results->az);
}

/* ---- finding ---- */

static const result *find(const az_results *results, const char *name)
{
    for (const result *r = results ? results->first : NULL; r; r = r->next)
        if (strcmp(r->name, name) == 0) return r;
    return NULL;
}

const az_tensor *az_results_find_array(const az_results *results, const char *name)
{
    const result *r = find(results, name);
    return r ? r->array.value : NULL;
}

const az_table *az_results_find_table(const az_results *results, const char *name)
{
    const result *r = find(results, name);
    return r ? r->table : NULL;
}

const char *az_results_find_text(const az_results *results, const char *name)
{
    const result *r = find(results, name);
    return r ? r->text : NULL;
}

/* ---- as JSON ---- */

static json_t *axis_json(const az_tensor *x, int axis, int64_t at)
{
    if (axis == x->rank) return az_number_json(az_item(x, at));
    json_t *list = json_array();
    for (int64_t i = 0; i < x->shape[axis]; i++) json_array_append_new(list, axis_json(x, axis + 1, at * x->shape[axis] + i));
    return list;
}

static json_t *names_json(az_ctx *az, const char *const *names, int64_t n)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < n; i++) json_array_append_new(list, az_text_json(az, names[i]));
    return list;
}

static json_t *array_json(az_ctx *az, const az_array *array)
{
    json_t *values = axis_json(array->value, 0, 0);
    if (!array->row_name && !array->column_name) return values;
    json_t *object = json_object();
    if (array->row_name) json_object_set_new(object, "rows", names_json(az, array->row_name, array->value->shape[0]));
    if (array->column_name) json_object_set_new(object, "columns", names_json(az, array->column_name, array->value->shape[1]));
    json_object_set_new(object, "values", values);
    return object;
}

static json_t *table_json(az_ctx *az, const az_table *table)
{
    json_t *object = json_object();
    for (int c = 0; c < table->columns; c++) {
        const az_column *column = &table->column[c];
        json_t *list = json_array();
        for (int64_t i = 0; i < table->rows; i++) {
            const bool number = column->type == AZ_COLUMN_REAL || column->type == AZ_COLUMN_INTEGER;
            json_array_append_new(list, number ? az_number_json(column->value[i]) : az_text_json(az, az_column_text(az, column, i)));
        }
        size_t length = strlen(column->name);
        json_object_set_new(object, az_utf8(az, column->name, &length), list);
    }
    return object;
}

static bool write_json(az_ctx *az, const az_results *results, const char *path)
{
    json_t *object = json_object();
    for (const result *r = results->first; r; r = r->next)
        json_object_set_new(object, r->name,
                            r->array.value ? array_json(az, &r->array)
                            : r->table     ? table_json(az, r->table)
                                           : az_text_json(az, r->text));
    az_out *out = az_create(az, path);
    bool ok = out != NULL;
    if (ok && json_dumpf(object, az_out_stream(out), JSON_INDENT(1) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(17)) != 0)
        ok = az_fail(az, AZ_IO, "cannot write '%s': %s", path, strerror(errno));
    json_decref(object);
    if (ok) fputc('\n', az_out_stream(out));
    return ok && az_commit(out);
}

/* ---- as a table ---- */

/* A vector or matrix as columns, the names of its rows first. */
static const az_table *table_of(az_ctx *az, const result *r)
{
    if (r->table) return r->table;
    const az_tensor *x = r->array.value;
    if (!x || x->rank > 2) return az_fail(az, AZ_BAD_INPUT, "the result '%s' is no table; write .json, .npz or .safetensors", r->name);
    const int64_t rows = x->rank > 0 ? x->shape[0] : 1, cols = x->rank > 1 ? x->shape[1] : 1;
    az_table *table = az_table_new(az, rows);
    double *column = az_alloc_array(az, (size_t)rows + 1, sizeof *column);
    if (!table || !column) return NULL;
    if (r->array.row_name) az_table_add_text(az, table, "name", r->array.row_name);
    for (int64_t c = 0; c < cols; c++) {
        for (int64_t i = 0; i < rows; i++) column[i] = az_item(x, i * cols + c);
        const char *name = r->array.column_name ? r->array.column_name[c]
                           : x->rank < 2        ? r->name
                                                : az_format_text(az, "x%lld", (long long)c + 1);
        az_table_add(az, table, name, column);
    }
    return az_ok(az) ? table : NULL;
}

static bool write_folder(az_ctx *az, const az_results *results, const char *path)
{
    if (!az_make_folder(az, az_format_text(az, "%.*s", (int)strlen(path) - 1, path))) return false;
    for (const result *r = results->first; r && az_ok(az); r = r->next) {
        if (r->text) {
            az_out *out = az_create(az, az_format_text(az, "%s%s", path, r->name));
            if (out) az_out_write(out, r->text, strlen(r->text));
            az_commit(out);
        } else if (r->array.value && r->array.value->rank > 2) {
            az_npy_write(az, r->array.value, az_format_text(az, "%s%s.npy", path, r->name));
        } else {
            az_table_write(az, table_of(az, r), az_format_text(az, "%s%s.csv", path, r->name));
        }
    }
    return az_ok(az);
}

/* ---- as arrays ---- */

static az_array *all_arrays(az_ctx *az, const az_results *results, int *count)
{
    *count = 0;
    for (const result *r = results->first; r; r = r->next) *count += r->array.value != NULL;
    az_array *arrays = az_alloc_array(az, (size_t)*count + 1, sizeof *arrays);
    int n = 0;
    for (const result *r = results->first; arrays && r; r = r->next)
        if (r->array.value) arrays[n++] = r->array;
    if (*count == 0) return az_fail(az, AZ_BAD_INPUT, "there is no array among the results; write .json or .csv");
    return arrays;
}

static bool write_safetensors(az_ctx *az, const az_array *arrays, int count, const char *path)
{
    az_safetensors_writer *writer = az_safetensors_create(az, path);
    const az_array **order = az_alloc_array(az, (size_t)count + 1, sizeof *order);
    if (!writer || !order) return false;
    for (int i = 0; i < count; i++) { /* by name */
        int at = i;
        for (; at > 0 && strcmp(order[at - 1]->name, arrays[i].name) > 0; at--) order[at] = order[at - 1];
        order[at] = &arrays[i];
    }
    for (int i = 0; i < count; i++) {
        const az_tensor *x = order[i]->value;
        if (!az_safetensors_declare(writer, order[i]->name, x->dtype, x->rank, x->shape)) return false;
    }
    for (int i = 0; i < count; i++)
        if (!az_safetensors_write(writer, order[i]->value)) return false;
    return az_safetensors_commit(writer);
}

static const az_tensor *first_array(az_ctx *az, const az_results *results, const char *path)
{
    if (results->first && results->first->array.value) return results->first->array.value;
    return az_fail(az, AZ_BAD_INPUT, "'%s': the result is no array; write .csv or .json", path);
}

static bool write_market(az_ctx *az, const az_results *results, const char *path)
{
    const az_tensor *x = first_array(az, results, path);
    if (!x) return false;
    if (x->rank != 2) return az_fail(az, AZ_BAD_INPUT, "'%s': the result of shape %s is no matrix", path, az_shape_text(az, x));
    const int64_t cols = x->shape[1], n = az_count(x);
    az_triples t = {.rows = x->shape[0], .cols = cols};
    t.row = az_alloc_array(az, (size_t)n + 1, sizeof *t.row);
    t.col = az_alloc_array(az, (size_t)n + 1, sizeof *t.col);
    t.value = az_alloc_array(az, (size_t)n + 1, sizeof *t.value);
    for (int64_t i = 0; az_ok(az) && i < n; i++) {
        const double value = az_item(x, i);
        if (value == 0) continue;
        t.row[t.count] = i / cols;
        t.col[t.count] = i % cols;
        t.value[t.count++] = value;
    }
    return az_matrix_market_write(az, &t, path);
}

/* ---- by name ---- */

/* The text result whose name ends as the path does: "graph.dot" for "x.dot". */
static const char *text_for(const az_results *results, const char *path)
{
    for (const result *r = results->first; r; r = r->next) {
        const char *ending = r->text ? strrchr(r->name, '.') : NULL;
        if (ending && path_ends(path, ending)) return r->text;
    }
    return NULL;
}

bool az_results_check(az_ctx *az, const char *path)
{
    if (!az_ok(az)) return false;
    const size_t length = strlen(path);
    if (strcmp(path, "-") == 0 || (length > 1 && path[length - 1] == '/')) return true;
    if (length > 3 && strcmp(path + length - 3, ".gz") == 0)
        return az_fail(az, AZ_BAD_INPUT, "'%s': results are not compressed; leave .gz out", path);
    static const char *const endings[] = {".json", ".csv", ".tsv", ".npy", ".npz", ".safetensors", ".mtx", ".dot"};
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (path_ends(path, endings[i])) return true;
    return az_fail(
        az, AZ_BAD_INPUT,
        "'%s': the ending tells how a result is written: .json, .csv, .tsv, .npy, .npz, .safetensors, .mtx, .dot of graphs, or / "
        "for a folder",
        path);
}

static bool write_by_ending(az_ctx *az, const az_results *results, const char *path)
{
    int count = 0;
    const char *text = text_for(results, path);
    if (path[strlen(path) - 1] == '/') return write_folder(az, results, path);
    if (path_ends(path, ".json") || strcmp(path, "-") == 0) return write_json(az, results, path);
    if (path_ends(path, ".csv") || path_ends(path, ".tsv")) return az_table_write(az, table_of(az, results->first), path);
    if (path_ends(path, ".npy")) return az_npy_write(az, first_array(az, results, path), path);
    if (path_ends(path, ".mtx")) return write_market(az, results, path);
    if (path_ends(path, ".npz")) {
        const az_array *arrays = all_arrays(az, results, &count);
        return arrays && az_npz_write(az, arrays, count, path);
    }
    if (path_ends(path, ".safetensors")) {
        const az_array *arrays = all_arrays(az, results, &count);
        return arrays && write_safetensors(az, arrays, count, path);
    }
    if (!text) return az_fail(az, AZ_BAD_INPUT, "'%s': no result is written with this ending; try .json or .csv", path);
    az_out *out = az_create(az, path);
    return out && az_out_write(out, text, strlen(text)) && az_commit(out);
}

bool az_results_write(az_ctx *az, const az_results *results, const char *path)
{
    if (!results || !path || !az_results_check(az, path)) return false;
    if (!results->first) return az_fail(az, AZ_BAD_INPUT, "'%s': the method has no result to write", path);
    az_scope_push(az);
    const bool ok = write_by_ending(az, results, path);
    az_scope_pop(az);
    return ok;
}
