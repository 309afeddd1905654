/* safetensors_write.c - writes files of named tensors: a header padded with spaces so that the data begin at a multiple of 64 bytes (which
 * mapped data are read and copied faster at; the format asks for eight), then the tensors' bytes one after the other. */
#include "adze/data.h"
#include "data/safetensors.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* A declared tensor. */
typedef struct declared {
    struct declared *next;
    const char *name;
    az_dtype dtype;
    int rank;
    int64_t shape[AZ_MAX_RANK];
    size_t begin, end;
} declared;

struct az_safetensors_writer {
    az_ctx *az;
    az_out *out;
    json_t *metadata;             /* owned by the scope */
    declared *first, *last, *due; /* due: the next to be written; NULL before the first and after the last */
    size_t part;                  /* bytes of it that are written */
    bool header_written;
};

static void drop_json(void *object)
{
    json_decref(object);
}

az_safetensors_writer *az_safetensors_create(az_ctx *az, const char *path)
{
    az_safetensors_writer *writer = az_alloc(az, sizeof *writer);
    if (!writer) return NULL;
    json_t *metadata = json_object();
    if (!metadata) return az_fail(az, AZ_NO_MEMORY, "no memory for a header");
    if (!az_on_leave(az, drop_json, metadata)) {
        json_decref(metadata);
        return NULL;
    }
    *writer = (az_safetensors_writer){.az = az, .metadata = metadata, .out = az_create(az, path)};
    return writer->out ? writer : NULL;
}

bool az_safetensors_put_metadata(az_safetensors_writer *writer, const char *key, const char *value)
{
    if (!writer || !key || !value) return false;
    if (json_object_set_new(writer->metadata, key, json_string(value)) == 0) return true;
    return az_fail(writer->az, AZ_BAD_INPUT, "metadata '%s' is not valid UTF-8", key);
}

bool az_safetensors_declare(az_safetensors_writer *writer, const char *name, az_dtype dtype, int rank, const int64_t *shape)
{
    if (!writer || !az_ok(writer->az)) return false;
    const declared *last = writer->last;
    if (writer->header_written) return az_fail(writer->az, AZ_BAD_CALL, "'%s' is declared after data have been written", name);
    if (last && strcmp(last->name, name) >= 0)
        return az_fail(writer->az, AZ_BAD_CALL, "'%s' is declared after '%s'; names ascend", name, last->name);
    declared *d = az_alloc(writer->az, sizeof *d);
    if (!d) return false;
    *d = (declared){.name = az_strdup(writer->az, name), .dtype = dtype, .rank = rank, .begin = last ? last->end : 0};
    size_t bytes = az_dtype_size(dtype);
    for (int i = 0; i < rank; i++) {
        d->shape[i] = shape[i];
        if (shape[i] < 0 || __builtin_mul_overflow(bytes, (size_t)shape[i], &bytes))
            return az_fail(writer->az, AZ_BAD_CALL, "'%s' has an impossible shape", name);
    }
    if (__builtin_add_overflow(d->begin, bytes, &d->end) || d->end > INT64_MAX)
        return az_fail(writer->az, AZ_BAD_CALL, "the tensors are larger than a file can be");
    if (last)
        writer->last->next = d;
    else
        writer->first = d;
    writer->last = d;
    return d->name != NULL;
}

static json_t *describe(const declared *d)
{
    json_t *shape = json_array();
    for (int i = 0; i < d->rank; i++) json_array_append_new(shape, json_integer(d->shape[i]));
    return json_pack("{s:s, s:o, s:[I,I]}", "dtype", az_safetensors_type_of(d->dtype)->name, "shape", shape, "data_offsets",
                     (json_int_t)d->begin, (json_int_t)d->end);
}

static bool write_header(az_safetensors_writer *writer)
{
    json_t *header = json_object();
    if (json_object_size(writer->metadata) > 0) json_object_set(header, "__metadata__", writer->metadata);
    bool good = header != NULL;
    for (const declared *d = writer->first; good && d; d = d->next) good = json_object_set_new(header, d->name, describe(d)) == 0;
    char *text = good ? json_dumps(header, JSON_COMPACT) : NULL;
    json_decref(header);
    if (!text) return az_fail(writer->az, AZ_BAD_INPUT, "the header cannot be written: a name is not valid UTF-8, or memory is exhausted");
    const size_t length = strlen(text), padded = (8 + length + 63) / 64 * 64 - 8;
    good = padded <= AZ_SAFETENSORS_MAX_HEADER;
    if (good) {
        FILE *file = az_out_stream(writer->out);
        for (int i = 0; i < 8; i++) fputc((int)((uint64_t)padded >> (8 * i) & 255), file);
        fprintf(file, "%-*s", (int)padded, text);
    }
    free(text);
    writer->header_written = true;
    writer->due = writer->first;
    return good || az_fail(writer->az, AZ_BAD_INPUT, "the header is longer than %d bytes", AZ_SAFETENSORS_MAX_HEADER);
}

/* The tensor at hand, or NULL with an error when it is not of the value's type and shape, the first extent left out when `rows`. */
static const declared *expected(az_safetensors_writer *writer, const az_tensor *value, bool rows)
{
    if (!writer || !value || !az_ok(writer->az) || (!writer->header_written && !write_header(writer))) return NULL;
    const declared *d = writer->due;
    if (!d) return az_fail(writer->az, AZ_BAD_CALL, "more tensors are written than declared");
    bool same = value->dtype == d->dtype && value->rank == d->rank && (!rows || d->rank > 0);
    for (int i = rows; same && i < d->rank; i++) same = value->shape[i] == d->shape[i];
    return same ? d : az_fail(writer->az, AZ_BAD_CALL, "'%s' is not of the type and shape that were declared", d->name);
}

static bool write_values(az_safetensors_writer *writer, const az_tensor *value)
{
    const declared *d = writer->due;
    const size_t bytes = (size_t)az_count(value) * az_dtype_size(value->dtype);
    if (bytes > d->end - d->begin - writer->part) return az_fail(writer->az, AZ_BAD_CALL, "'%s' has more rows than were declared", d->name);
    az_scope_push(writer->az);
    const az_tensor *whole = az_contiguous(writer->az, value);
    const bool good = whole && az_out_write(writer->out, whole->data, bytes);
    az_scope_pop(writer->az);
    writer->part += bytes;
    if (writer->part < d->end - d->begin) return good;
    writer->due = d->next;
    writer->part = 0;
    return good;
}

bool az_safetensors_write_rows(az_safetensors_writer *writer, const az_tensor *rows)
{
    return expected(writer, rows, true) && write_values(writer, rows);
}

bool az_safetensors_write(az_safetensors_writer *writer, const az_tensor *value)
{
    return expected(writer, value, false) && write_values(writer, value);
}

bool az_safetensors_commit(az_safetensors_writer *writer)
{
    if (!writer || !az_ok(writer->az) || (!writer->header_written && !write_header(writer))) return false;
    if (writer->due)
        return az_fail(writer->az, AZ_BAD_CALL, "'%s' was declared, but not written%s", writer->due->name,
                       writer->part > 0 ? " to its end" : "");
    return az_commit(writer->out);
}
