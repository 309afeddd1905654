/* safetensors.c - reads files of named tensors: everything in the header is checked against the file before it is used. */
#include "adze/data.h"
#include "data/safetensors.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const az_safetensors_type types[] = {
    {"F64", AZ_F64}, {"F32", AZ_F32}, {"F16", AZ_F16}, {"BF16", AZ_BF16}, {"I64", AZ_I64},
    {"I32", AZ_I32}, {"I16", AZ_I16}, {"I8", AZ_I8},   {"U8", AZ_U8},     {"BOOL", AZ_U8},
};
enum { TYPES = sizeof types / sizeof *types };

const az_safetensors_type *az_safetensors_type_of(az_dtype dtype)
{
    for (int i = 0; i < TYPES; i++)
        if (types[i].dtype == dtype) return &types[i];
    return NULL;
}

/* A tensor as the header describes it. */
typedef struct entry {
    const char *name;
    az_dtype dtype;
    int rank;
    int64_t shape[AZ_MAX_RANK];
    size_t begin, end; /* in the data section */
} entry;

/* ---- one entry ---- */

static bool read_dtype(az_ctx *az, const json_t *object, entry *out)
{
    const char *name = json_string_value(json_object_get(object, "dtype"));
    if (!name) return az_fail(az, AZ_BAD_INPUT, "its \"dtype\" is missing");
    for (int i = 0; i < TYPES; i++) {
        if (strcmp(types[i].name, name) != 0) continue;
        out->dtype = types[i].dtype;
        return true;
    }
    return az_fail(az, AZ_BAD_INPUT, "its dtype '%.20s' is not read; F64 F32 F16 BF16 I64 I32 I16 I8 U8 BOOL are", name);
}

/* Reads the shape and how many bytes it takes. */
static bool read_shape(az_ctx *az, const json_t *object, entry *out, size_t *bytes)
{
    const json_t *shape = json_object_get(object, "shape");
    if (!json_is_array(shape)) return az_fail(az, AZ_BAD_INPUT, "its \"shape\" is missing");
    if (json_array_size(shape) > AZ_MAX_RANK)
        return az_fail(az, AZ_BAD_INPUT, "it has %zu axes; at most %d are read", json_array_size(shape), AZ_MAX_RANK);
    out->rank = (int)json_array_size(shape);
    *bytes = az_dtype_size(out->dtype);
    for (int i = 0; i < out->rank; i++) {
        const json_t *extent = json_array_get(shape, (size_t)i);
        out->shape[i] = json_is_integer(extent) ? json_integer_value(extent) : -1;
        if (out->shape[i] < 0 || __builtin_mul_overflow(*bytes, (size_t)out->shape[i], bytes) || *bytes > INT64_MAX)
            return az_fail(az, AZ_BAD_INPUT, "extent %d of its shape is no size", i);
    }
    return true;
}

static bool read_offsets(az_ctx *az, const json_t *object, size_t bytes, size_t room, entry *out)
{
    const json_t *offsets = json_object_get(object, "data_offsets");
    const json_t *begin = json_array_get(offsets, 0), *end = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(begin) || !json_is_integer(end))
        return az_fail(az, AZ_BAD_INPUT, "its \"data_offsets\" are no two numbers");
    const int64_t from = json_integer_value(begin), to = json_integer_value(end);
    if (from < 0 || to < from || (uint64_t)to > room)
        return az_fail(az, AZ_BAD_INPUT, "its data_offsets [%lld, %lld] do not lie in the %zu bytes of data", (long long)from,
                       (long long)to, room);
    out->begin = (size_t)from;
    out->end = (size_t)to;
    if (out->end - out->begin == bytes) return true;
    return az_fail(az, AZ_BAD_INPUT, "it has %zu bytes of data; its type and shape make %zu", out->end - out->begin, bytes);
}

static bool read_entry(az_ctx *az, const char *name, const json_t *object, size_t room, entry *out)
{
    size_t bytes = 0;
    out->name = az_strdup(az, name);
    if (out->name && read_dtype(az, object, out) && read_shape(az, object, out, &bytes) && read_offsets(az, object, bytes, room, out))
        return true;
    az_fail_context(az, "tensor '%.200s'", name);
    return false;
}

/* ---- the header ---- */

static bool read_metadata(az_ctx *az, json_t *object, az_safetensors *file)
{
    if (!object) return true;
    file->metadata = az_alloc_array(az, json_object_size(object) + 1, sizeof *file->metadata);
    if (!file->metadata) return false;
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        if (!json_is_string(value)) return az_fail(az, AZ_BAD_INPUT, "metadata '%.200s' is not a text", key);
        file->metadata[file->metadata_count++] = (az_metadata){az_strdup(az, key), az_strdup(az, json_string_value(value))};
    }
    return az_ok(az);
}

static int by_offset(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end); /* empty tensors first */
}

/* The tensors, put in order, fill the data section without holes and overlaps. */
static bool check_tiling(az_ctx *az, entry *list, size_t n, size_t room)
{
    if (n > 0) qsort(list, n, sizeof *list, by_offset);
    size_t at = 0;
    for (size_t i = 0; i < n; at = list[i++].end)
        if (list[i].begin != at)
            return az_fail(az, AZ_BAD_INPUT, "tensor '%.200s' begins at %zu, but the one before it ends at %zu", list[i].name,
                           list[i].begin, at);
    return at == room || az_fail(az, AZ_BAD_INPUT, "%zu bytes follow the last tensor", room - at);
}

static entry *read_entries(az_ctx *az, json_t *header, size_t room, az_safetensors *file)
{
    const size_t n = json_object_size(header);
    entry *list = az_alloc_array(az, n + 1, sizeof *list);
    if (!list) return NULL;
    const char *name;
    json_t *value;
    json_object_foreach(header, name, value)
    {
        if (strcmp(name, "__metadata__") == 0) continue;
        if (!read_entry(az, name, value, room, &list[file->count])) return NULL;
        file->count++;
    }
    const bool good = read_metadata(az, json_object_get(header, "__metadata__"), file) && check_tiling(az, list, (size_t)file->count, room);
    return good ? list : NULL;
}

/* ---- tensors ---- */

static const az_tensor *make_tensor(az_ctx *az, const entry *e, const unsigned char *data)
{
    const unsigned char *bytes = data + e->begin;
    if ((uintptr_t)bytes % az_dtype_size(e->dtype) != 0) {
        az_tensor *copy = az_tensor_new(az, e->dtype, e->rank, e->shape);
        if (copy && e->end > e->begin) memcpy(copy->data, bytes, e->end - e->begin);
        return copy;
    }
    az_buffer *buffer = az_buffer_wrap(az, (void *)(uintptr_t)bytes, e->end - e->begin, NULL, NULL);
    az_tensor *view = buffer ? az_wrap(az, e->dtype, e->rank, e->shape, buffer->data, buffer) : NULL;
    az_buffer_drop(buffer);
    return view;
}

static int by_name(const void *a, const void *b)
{
    const az_named_tensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static bool make_tensors(az_ctx *az, const entry *list, const unsigned char *data, az_safetensors *file)
{
    file->item = az_alloc_array(az, (size_t)file->count + 1, sizeof *file->item);
    file->by_name = az_alloc_array(az, (size_t)file->count + 1, sizeof(az_named_tensor *));
    if (!file->item || !file->by_name) return false;
    for (int64_t i = 0; i < file->count; i++) {
        file->item[i] = (az_named_tensor){list[i].name, make_tensor(az, &list[i], data)};
        file->by_name[i] = &file->item[i];
    }
    if (file->count > 0) qsort(file->by_name, (size_t)file->count, sizeof *file->by_name, by_name);
    return az_ok(az);
}

az_safetensors *az_safetensors_parse(az_ctx *az, const unsigned char *data, size_t size)
{
    if (!data || !az_ok(az)) return NULL;
    uint64_t length = 0;
    for (size_t i = 0; i < 8 && size >= 8; i++) length |= (uint64_t)data[i] << (8 * i);
    if (size < 9) return az_fail(az, AZ_BAD_INPUT, "%zu bytes are too few for a safetensors file", size);
    if (length > AZ_SAFETENSORS_MAX_HEADER || length > size - 8)
        return az_fail(az, AZ_BAD_INPUT,
                       "the header's length %llu exceeds the file's %zu bytes or the limit of %d; not a safetensors file?",
                       (unsigned long long)length, size, AZ_SAFETENSORS_MAX_HEADER);
    if (data[8] != '{') return az_fail(az, AZ_BAD_INPUT, "the header does not begin with '{'; not a safetensors file?");
    json_error_t error;
    json_t *header = json_loadb((const char *)data + 8, (size_t)length, JSON_REJECT_DUPLICATES, &error);
    if (!header) return az_fail(az, AZ_BAD_INPUT, "the header is not JSON: %s, at byte %d", error.text, error.position);
    az_safetensors *file = az_alloc(az, sizeof *file);
    const entry *list = file ? read_entries(az, header, size - 8 - (size_t)length, file) : NULL;
    json_decref(header);
    return list && make_tensors(az, list, data + 8 + length, file) ? file : NULL;
}

az_safetensors *az_safetensors_read(az_ctx *az, const char *path)
{
    const az_map *map = path ? az_map_file(az, path) : NULL;
    if (!map) return NULL;
    az_safetensors *file = az_safetensors_parse(az, map->data, map->size);
    if (!file) az_fail_context(az, "reading '%s'", path);
    return file;
}

const az_tensor *az_safetensors_find(const az_safetensors *file, const char *name)
{
    int64_t low = 0, high = file ? file->count : 0;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        const int order = strcmp(name, file->by_name[middle]->name);
        if (order == 0) return file->by_name[middle]->value;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}
