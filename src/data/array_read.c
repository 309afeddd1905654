/* array_read.c - arrays and tables from files of any kind, by the ending of the name. */
#include "data/table_internal.h"

#include <math.h>
#include <string.h>

bool path_ends(const char *path, const char *ending)
{
    size_t length = strlen(path);
    const size_t n = strlen(ending);
    if (length > 3 && strcmp(path + length - 3, ".gz") == 0) length -= 3;
    return length >= n && memcmp(path + length - n, ending, n) == 0;
}

/* Behind the ending of an archive in "a.npz" or "a.npz:name"; NULL when there is none. */
static const char *archive_end(const char *path)
{
    static const char *const endings[] = {".npz", ".safetensors"};
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        for (const char *at = path; (at = strstr(at, endings[i])); at++) {
            const char *end = at + strlen(endings[i]);
            if (*end == '\0' || *end == ':') return end;
        }
    }
    return NULL;
}

bool path_is_array(const char *path)
{
    return path_ends(path, ".npy") || archive_end(path);
}

/* ---- archives ---- */

/* The array of that name, or the only one. */
static az_array *choose(az_ctx *az, const az_array *arrays, int count, const char *name)
{
    const char *list = "";
    for (int i = 0; i < count; i++) {
        az_array *found = (az_array *)&arrays[i];
        if (*name ? strcmp(found->name, name) == 0 : count == 1) return found;
        if (i < 20 && list) list = az_format_text(az, "%s%s%s", list, i ? ", " : "", found->name);
    }
    if (count == 0) return az_fail(az, AZ_BAD_INPUT, "there is no array in it");
    if (!*name) return az_fail(az, AZ_BAD_INPUT, "it holds %d arrays; add ':name' to the file's name: %s", count, list);
    return az_fail(az, AZ_BAD_INPUT, "it has no array '%s'; there are %s", name, list);
}

static bool read_safetensors(az_ctx *az, const char *path, az_array **arrays, int *count)
{
    const az_safetensors *file = az_safetensors_read(az, path);
    if (!file) return false;
    *count = (int)file->count;
    *arrays = az_alloc_array(az, (size_t)file->count + 1, sizeof **arrays);
    for (int i = 0; *arrays && i < *count; i++)
        (*arrays)[i] = (az_array){.name = file->item[i].name, .value = (az_tensor *)file->item[i].value};
    return az_ok(az);
}

static az_array *read_archive(az_ctx *az, const char *path, const char *end)
{
    const char *file = az_format_text(az, "%.*s", (int)(end - path), path);
    az_array *arrays = NULL;
    int count = 0;
    if (!file) return NULL;
    const bool npz = path_ends(file, ".npz");
    if (!(npz ? az_npz_read : read_safetensors)(az, file, &arrays, &count)) return NULL;
    return choose(az, arrays, count, *end ? end + 1 : "");
}

/* ---- tables and Matrix Market ---- */

static const char **column_names(az_ctx *az, const az_table *table, int first)
{
    const char **names = az_alloc_array(az, (size_t)table->columns + 1, sizeof *names);
    for (int i = first; names && i < table->columns; i++) names[i - first] = table->column[i].name;
    return names;
}

az_array *table_array(az_ctx *az, const az_table *table)
{
    if (!table) return NULL;
    const int first = table->columns > 1 && table->column[0].type == AZ_COLUMN_TEXT && table->column[0].missing == 0;
    const az_column **columns = az_alloc_array(az, (size_t)table->columns + 1, sizeof *columns);
    az_array *array = az_alloc(az, sizeof *array);
    if (!columns || !array) return NULL;
    for (int i = first; i < table->columns; i++) columns[i - first] = &table->column[i];
    *array = (az_array){
        .name = "", .value = az_table_matrix(az, table, columns, table->columns - first), .column_name = column_names(az, table, first)};
    if (first) array->row_name = az_alloc_array(az, (size_t)table->rows + 1, sizeof *array->row_name);
    for (int64_t i = 0; array->row_name && i < table->rows; i++) array->row_name[i] = az_column_text(az, &table->column[0], i);
    return az_ok(az) ? array : NULL;
}

static az_array *read_market(az_ctx *az, const char *path)
{
    az_triples *sparse = NULL;
    az_tensor *dense = NULL;
    size_t length = 0;
    const char *text = az_read_file(az, path, &length);
    az_array *array = az_alloc(az, sizeof *array);
    if (!text || !array || !az_matrix_market_parse(az, text, length, &sparse, &dense)) return NULL;
    *array = (az_array){.name = "", .value = sparse ? az_triples_dense(az, sparse, 0) : dense};
    return array->value ? array : NULL;
}

/* ---- any file ---- */

static az_array *read_any(az_ctx *az, const char *path, const az_table_how *how)
{
    const char *end = archive_end(path);
    if (end) return read_archive(az, path, end);
    if (path_ends(path, ".npy")) return az_npy_read(az, path);
    if (path_ends(path, ".mtx")) return read_market(az, path);
    return table_array(az, az_table_read(az, path, how));
}

static bool check_values(az_ctx *az, const az_tensor *value, bool allow_missing)
{
    const double *x = az_f64(value);
    const int64_t count = az_count(value);
    if (x && count == 0) return az_fail(az, AZ_BAD_INPUT, "an array of shape %s holds no numbers", az_shape_text(az, value));
    for (int64_t i = 0; x && i < count; i++) {
        if (isfinite(x[i]) || (allow_missing && isnan(x[i]))) continue;
        const int64_t width = value->rank > 1 ? value->shape[value->rank - 1] : 1;
        const char *where = az_format_text(az, value->rank > 1 ? "row %lld, column %lld" : "position %lld", (long long)(i / width) + 1,
                                           (long long)(i % width) + 1);
        return az_fail(az, AZ_BAD_INPUT, isnan(x[i]) ? "%s is missing (NaN)" : "%s is infinite", where);
    }
    return x != NULL;
}

az_array *az_array_read(az_ctx *az, const char *path, const az_table_how *how, bool allow_missing)
{
    if (!path || !az_ok(az)) return NULL;
    az_array *array = read_any(az, path, how);
    if (array) {
        array->value = array->value->dtype == AZ_F64 ? az_contiguous(az, array->value) : az_cast(az, array->value, AZ_F64);
        if (!check_values(az, array->value, allow_missing)) array = NULL;
    }
    if (!array) az_fail_context(az, "reading '%s'", path);
    return array;
}

az_table *array_table(az_ctx *az, const az_array *array, const char *path)
{
    if (!array) return NULL;
    const az_tensor *x = array->value;
    if (array->complex) return az_fail(az, AZ_BAD_INPUT, "'%s' holds complex numbers, which are no table", path);
    if (x->rank < 1 || x->rank > 2) return az_fail(az, AZ_BAD_INPUT, "'%s': an array of shape %s is no table", path, az_shape_text(az, x));
    const int64_t rows = x->shape[0], cols = x->rank == 2 ? x->shape[1] : 1;
    az_table *table = az_table_new(az, rows);
    double *column = az_alloc_array(az, (size_t)rows + 1, sizeof *column);
    const double *from = az_f64(x);
    for (int64_t c = 0; table && column && c < cols; c++) {
        for (int64_t i = 0; i < rows; i++) column[i] = from[i * cols + c];
        az_table_add(az, table, az_format_text(az, "x%lld", (long long)c + 1), column);
    }
    if (table) table->path = az_strdup(az, path);
    return az_ok(az) ? table : NULL;
}

az_table *az_table_read(az_ctx *az, const char *path, const az_table_how *how)
{
    if (!path || !az_ok(az)) return NULL;
    if (path_is_array(path) || path_ends(path, ".mtx")) return array_table(az, az_array_read(az, path, how, true), path);
    size_t length = 0;
    const char *text = az_read_file(az, path, &length);
    return text ? az_table_parse(az, path, text, length, how) : NULL;
}
