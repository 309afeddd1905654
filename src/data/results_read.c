/* results_read.c - an array of a result that was written before, whatever the file it went to. */
#include "base/json.h"
#include "data/table_internal.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

/* The shape of nested lists; false where they are no array. */
static bool shape_of(const json_t *list, int *rank, int64_t *shape)
{
    for (*rank = 0; json_is_array(list); list = json_array_get(list, 0)) {
        if (*rank == AZ_MAX_RANK || json_array_size(list) == 0) return false;
        shape[(*rank)++] = (int64_t)json_array_size(list);
    }
    return json_is_number(list) || json_is_null(list);
}

static bool fill(const json_t *list, int axis, int rank, const int64_t *shape, double **to)
{
    if (axis == rank) {
        if (!json_is_number(list) && !json_is_null(list)) return false;
        *(*to)++ = json_is_number(list) ? json_number_value(list) : NAN;
        return true;
    }
    if (!json_is_array(list) || (int64_t)json_array_size(list) != shape[axis]) return false;
    for (int64_t i = 0; i < shape[axis]; i++)
        if (!fill(json_array_get(list, (size_t)i), axis + 1, rank, shape, to)) return false;
    return true;
}

static const char **names_of(az_ctx *az, const json_t *list, int64_t n)
{
    if (!json_is_array(list) || (int64_t)json_array_size(list) != n) return NULL;
    const char **names = az_alloc_array(az, (size_t)n + 1, sizeof *names);
    for (int64_t i = 0; names && i < n; i++) {
        const json_t *one = json_array_get(list, (size_t)i);
        if (!json_is_string(one)) return NULL;
        names[i] = az_strdup(az, json_string_value(one));
    }
    return names;
}

static az_array *array_of(az_ctx *az, const json_t *value, const char *name)
{
    const json_t *list = json_is_object(value) ? json_object_get(value, "values") : value;
    int64_t shape[AZ_MAX_RANK];
    int rank = 0;
    if (!list || !shape_of(list, &rank, shape)) return az_fail(az, AZ_BAD_INPUT, "'%s' is no array of numbers", name);
    az_array *array = az_alloc(az, sizeof *array);
    az_tensor *x = az_tensor_new(az, AZ_F64, rank, shape);
    double *to = az_f64_mut(x);
    if (!array || !to) return NULL;
    if (!fill(list, 0, rank, shape, &to)) return az_fail(az, AZ_BAD_INPUT, "'%s' is no array of numbers: its lists differ in length", name);
    *array = (az_array){.name = name, .value = x};
    if (json_is_object(value) && rank > 0) array->row_name = names_of(az, json_object_get(value, "rows"), shape[0]);
    if (json_is_object(value) && rank > 1) array->column_name = names_of(az, json_object_get(value, "columns"), shape[1]);
    return az_ok(az) ? array : NULL;
}

static az_array *read_json(az_ctx *az, const char *path, const char *name)
{
    size_t length = 0;
    const char *text = az_read_file(az, path, &length);
    json_error_t error;
    if (!text) return NULL;
    json_t *all = json_loadb(text, length, 0, &error);
    const json_t *value = json_object_get(all, name);
    az_array *array = NULL;
    if (!all)
        az_fail(az, AZ_BAD_INPUT, "line %d: %s", error.line, error.text);
    else if (!value)
        az_fail(az, AZ_BAD_INPUT, "it has no array '%s'", name);
    else
        array = array_of(az, value, name);
    json_decref(all);
    return array;
}

static az_array *read_folder(az_ctx *az, const char *path, const char *name)
{
    const char *base = az_format_text(az, "%s%s%s", path, path[strlen(path) - 1] == '/' ? "" : "/", name);
    const char *npy = az_format_text(az, "%s.npy", base);
    return az_array_read(az, access(npy, F_OK) == 0 ? npy : az_format_text(az, "%s.csv", base), NULL, true);
}

az_array *az_results_read(az_ctx *az, const char *path, const char *name)
{
    if (!path || !*path || !name || !az_ok(az)) return NULL;
    if (az_is_folder(path)) return read_folder(az, path, name);
    if (path_ends(path, ".npz") || path_ends(path, ".safetensors"))
        return az_array_read(az, az_format_text(az, "%s:%s", path, name), NULL, true);
    if (!path_ends(path, ".json"))
        return az_fail(az, AZ_BAD_INPUT, "'%s': a result with several arrays is a .npz, .safetensors or .json file, or a folder", path);
    az_array *array = read_json(az, path, name);
    if (!array) az_fail_context(az, "reading '%s'", path);
    return array;
}
