/* gguf_read.c - parses a GGUF file out of the bytes of a map. Nothing that the file says is believed before it is checked. */
#include "lm/files/gguf.h"

#include <stdlib.h>
#include <string.h>

enum { NESTING = 4, LEAST_KEY = 8 + 4 + 1, LEAST_TENSOR = 8 + 4 + 4 + 8 /* bytes of the shortest entries */ };

typedef struct reader {
    az_ctx *az;
    const unsigned char *data;
    size_t size, at;
    const char *kind;       /* what is being read, for messages */
    int64_t number;         /* its position in the file's list, from 1; 0 outside lists */
    const az_text *subject; /* its name, once known */
} reader;

/* "key 'general.name'", "tensor 3": what is being read. */
static const char *what(reader *r)
{
    if (r->subject) return az_format_text(r->az, "%s '%s'", r->kind, az_text_show(r->az, *r->subject));
    return r->number ? az_format_text(r->az, "%s %lld", r->kind, (long long)r->number) : r->kind;
}

static void begin(reader *r, const char *kind, int64_t number)
{
    r->kind = kind;
    r->number = number;
    r->subject = NULL;
}

static size_t left(const reader *r)
{
    return r->size - r->at;
}

static const unsigned char *take(reader *r, uint64_t bytes)
{
    if (bytes > left(r))
        return az_fail(r->az, AZ_BAD_INPUT,
                       "the file ends inside %s: %llu bytes wanted at position %zu, %zu left; it is damaged or was not copied to its end",
                       what(r), (unsigned long long)bytes, r->at, left(r));
    const unsigned char *data = r->data + r->at;
    r->at += (size_t)bytes;
    return data;
}

static uint64_t take_integer(reader *r, int bytes)
{
    const unsigned char *data = take(r, (uint64_t)bytes);
    uint64_t value = 0;
    for (int i = bytes - 1; data && i >= 0; i--) value = value << 8 | data[i];
    return value;
}

static bool take_text(reader *r, az_text *text)
{
    const uint64_t length = take_integer(r, 8);
    const unsigned char *data = take(r, length);
    *text = (az_text){.data = (const char *)data, .length = (size_t)length};
    return data && az_ok(r->az);
}

/* ---- header ---- */

bool az_gguf_is(const unsigned char *data, size_t size)
{
    return size >= 4 && memcmp(data, "GGUF", 4) == 0;
}

static bool read_header(reader *r, az_gguf *gguf)
{
    begin(r, "the header", 0);
    const unsigned char *magic = take(r, 4);
    if (!magic) return false;
    if (!az_gguf_is(magic, 4)) return az_fail(r->az, AZ_BAD_INPUT, "not a GGUF file: it does not begin with \"GGUF\"");
    gguf->version = (uint32_t)take_integer(r, 4);
    if (!az_ok(r->az)) return false;
    if ((gguf->version & 0xffff) == 0 && gguf->version != 0)
        return az_fail(r->az, AZ_BAD_INPUT, "the file is big-endian; convert it with gguf_convert_endian.py of gguf-py to little-endian");
    if (gguf->version == 1)
        return az_fail(r->az, AZ_BAD_INPUT, "GGUF version 1 is not read; convert the model again with a present converter");
    if (gguf->version != 2 && gguf->version != 3)
        return az_fail(r->az, AZ_BAD_INPUT, "GGUF version %u is unknown; versions 2 and 3 are read", gguf->version);
    const uint64_t tensors = take_integer(r, 8), keys = take_integer(r, 8);
    if (!az_ok(r->az)) return false;
    if (keys > left(r) / LEAST_KEY || tensors > left(r) / LEAST_TENSOR)
        return az_fail(r->az, AZ_BAD_INPUT,
                       "the header promises %llu keys and %llu tensors, more than %zu bytes can hold; the file is damaged",
                       (unsigned long long)keys, (unsigned long long)tensors, r->size);
    gguf->keys = (int64_t)keys;
    gguf->tensors = (int64_t)tensors;
    return true;
}

/* ---- keys ---- */

/* Passes over count values of one type. */
static bool skip_values(reader *r, az_gguf_type type, uint64_t count, int depth)
{
    const size_t scalar = az_gguf_scalar_bytes(type);
    const size_t least = scalar ? scalar : type == AZ_GGUF_STRING ? 8 : 12;
    if (count > left(r) / least)
        return az_fail(r->az, AZ_BAD_INPUT, "%s promises %llu values at position %zu, but only %zu bytes are left; the file is damaged",
                       what(r), (unsigned long long)count, r->at, left(r));
    if (scalar) return take(r, count * scalar) != NULL;
    for (uint64_t i = 0; i < count; i++) {
        az_text text;
        if (type == AZ_GGUF_STRING) {
            if (!take_text(r, &text)) return false;
            continue;
        }
        if (depth == NESTING) return az_fail(r->az, AZ_BAD_INPUT, "%s holds arrays nested more than %d deep", what(r), NESTING);
        const uint64_t item = take_integer(r, 4), items = take_integer(r, 8);
        if (!az_ok(r->az)) return false;
        if (item >= AZ_GGUF_TYPES)
            return az_fail(r->az, AZ_BAD_INPUT, "%s has items of unknown type %llu", what(r), (unsigned long long)item);
        if (!skip_values(r, (az_gguf_type)item, items, depth + 1)) return false;
    }
    return true;
}

static bool read_key(reader *r, az_gguf_key *key, int64_t number)
{
    begin(r, "key", number);
    if (!take_text(r, &key->name)) return false;
    r->subject = &key->name;
    uint64_t type = take_integer(r, 4), item = type, count = 1;
    if (type == AZ_GGUF_ARRAY) {
        item = take_integer(r, 4);
        count = take_integer(r, 8);
    }
    if (!az_ok(r->az)) return false;
    if (type >= AZ_GGUF_TYPES || item >= AZ_GGUF_TYPES)
        return az_fail(r->az, AZ_BAD_INPUT, "%s has the unknown type %llu at position %zu", what(r),
                       (unsigned long long)(type < AZ_GGUF_TYPES ? item : type), r->at);
    key->type = (az_gguf_type)type;
    key->item = (az_gguf_type)item;
    key->count = count;
    key->data = r->data + r->at;
    const size_t start = r->at;
    if (!skip_values(r, key->item, count, 1)) return false;
    key->bytes = r->at - start;
    return true;
}

static int by_name(const void *a, const void *b)
{
    return az_text_compare(**(const az_text *const *)a, **(const az_text *const *)b);
}

/* Sorted pointers to the names at the beginning of n structs of the given size; fails when a name stands twice. */
static const az_text **sort_names(az_ctx *az, const void *first, int64_t n, size_t size, const char *kind)
{
    const az_text **sorted = az_alloc_array(az, (size_t)n, sizeof *sorted);
    if (!sorted) return NULL;
    for (int64_t i = 0; i < n; i++) sorted[i] = (const az_text *)(const void *)((const char *)first + (size_t)i * size);
    qsort(sorted, (size_t)n, sizeof *sorted, by_name);
    for (int64_t i = 1; i < n; i++)
        if (az_text_equal(*sorted[i - 1], *sorted[i]))
            return az_fail(az, AZ_BAD_INPUT, "%s '%s' stands twice in the file", kind, az_text_show(az, *sorted[i]));
    return sorted;
}

bool az_gguf_index(az_ctx *az, az_gguf *gguf)
{
    gguf->key_by_name = sort_names(az, gguf->key, gguf->keys, sizeof *gguf->key, "key");
    gguf->tensor_by_name = sort_names(az, gguf->tensor, gguf->tensors, sizeof *gguf->tensor, "tensor");
    return gguf->key_by_name && gguf->tensor_by_name;
}

static bool read_keys(reader *r, az_gguf *gguf)
{
    gguf->key = az_alloc_array(r->az, (size_t)gguf->keys, sizeof *gguf->key);
    for (int64_t i = 0; gguf->key && i < gguf->keys; i++)
        if (!read_key(r, &gguf->key[i], i + 1)) return false;
    gguf->key_by_name = gguf->key ? sort_names(r->az, gguf->key, gguf->keys, sizeof *gguf->key, "key") : NULL;
    return gguf->key_by_name != NULL;
}

static bool read_alignment(reader *r, az_gguf *gguf)
{
    int64_t alignment = AZ_GGUF_ALIGNMENT;
    const az_gguf_key *key = az_gguf_find(gguf, "general.alignment");
    if (key && !az_gguf_integer(key, &alignment)) return az_fail(r->az, AZ_BAD_INPUT, "general.alignment is not an integer");
    if (alignment < 8 || alignment > 1 << 30 || (alignment & (alignment - 1)) != 0)
        return az_fail(r->az, AZ_BAD_INPUT, "general.alignment is %lld; it must be a power of two from 8 to 2^30", (long long)alignment);
    gguf->alignment = (size_t)alignment;
    return true;
}

/* ---- tensors ---- */

/* Bytes of a tensor whose rows are whole blocks. */
static bool measure(reader *r, az_gguf_tensor *tensor)
{
    const az_ggml_type *type = az_ggml_type_of(tensor->type);
    if (!type)
        return az_fail(r->az, AZ_BAD_INPUT, "%s has the unknown type %u; convert the model to a type that is known, such as q8_0", what(r),
                       tensor->type);
    uint64_t values = 1;
    for (int i = 0; i < tensor->rank; i++) {
        if (tensor->shape[i] == 0) return az_fail(r->az, AZ_BAD_INPUT, "%s has an empty axis", what(r));
        if (__builtin_mul_overflow(values, tensor->shape[i], &values) || values > INT64_MAX)
            return az_fail(r->az, AZ_BAD_INPUT, "%s has more than 2^63 values; the file is damaged", what(r));
    }
    if ((tensor->rank ? tensor->shape[0] : 1) % type->block != 0)
        return az_fail(r->az, AZ_BAD_INPUT, "%s is %s, whose rows are multiples of %u values, but has rows of %llu", what(r), type->name,
                       type->block, (unsigned long long)tensor->shape[0]);
    uint64_t bytes;
    if (__builtin_mul_overflow(values / type->block, (uint64_t)type->bytes, &bytes) || bytes > r->size)
        return az_fail(r->az, AZ_BAD_INPUT, "%s wants more bytes than the file's %zu; the file is damaged or was not copied to its end",
                       what(r), r->size);
    tensor->bytes = (size_t)bytes;
    return true;
}

static bool read_tensor(reader *r, az_gguf_tensor *tensor, int64_t number)
{
    begin(r, "tensor", number);
    if (!take_text(r, &tensor->name)) return false;
    r->subject = &tensor->name;
    const uint64_t rank = take_integer(r, 4);
    if (!az_ok(r->az)) return false;
    if (rank > AZ_GGUF_MAX_RANK)
        return az_fail(r->az, AZ_BAD_INPUT, "%s has %llu axes, more than %d", what(r), (unsigned long long)rank, AZ_GGUF_MAX_RANK);
    tensor->rank = (int)rank;
    for (int axis = 0; axis < tensor->rank; axis++) tensor->shape[axis] = take_integer(r, 8);
    tensor->type = (uint32_t)take_integer(r, 4);
    tensor->offset = take_integer(r, 8);
    return az_ok(r->az) && measure(r, tensor);
}

static int by_offset(const void *a, const void *b)
{
    const az_gguf_tensor *x = *(const az_gguf_tensor *const *)a, *y = *(const az_gguf_tensor *const *)b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

/* Gives each tensor its data, which lie inside the file, are aligned and share no byte. */
static bool place_tensors(reader *r, az_gguf *gguf)
{
    const size_t start = (r->at + gguf->alignment - 1) & ~(gguf->alignment - 1);
    const az_gguf_tensor **sorted = az_alloc_array(r->az, (size_t)gguf->tensors, sizeof *sorted);
    for (int64_t i = 0; sorted && i < gguf->tensors; i++) {
        az_gguf_tensor *t = &gguf->tensor[i];
        sorted[i] = t;
        if (t->offset % gguf->alignment != 0)
            return az_fail(r->az, AZ_BAD_INPUT, "tensor '%s' begins at %llu, which is no multiple of the alignment %zu",
                           az_text_show(r->az, t->name), (unsigned long long)t->offset, gguf->alignment);
        if (start > r->size || t->offset > r->size - start || t->bytes > r->size - start - t->offset)
            return az_fail(
                r->az, AZ_BAD_INPUT,
                "tensor '%s' (%zu bytes at %llu of the data, which begin at %zu) lies beyond the file's %zu bytes; it was not copied to "
                "its end",
                az_text_show(r->az, t->name), t->bytes, (unsigned long long)t->offset, start, r->size);
        t->data = r->data + start + t->offset;
    }
    if (!sorted) return false;
    qsort(sorted, (size_t)gguf->tensors, sizeof *sorted, by_offset);
    for (int64_t i = 1; i < gguf->tensors; i++)
        if (sorted[i]->offset - sorted[i - 1]->offset < sorted[i - 1]->bytes)
            return az_fail(r->az, AZ_BAD_INPUT, "tensors '%s' and '%s' overlap; the file is damaged",
                           az_text_show(r->az, sorted[i - 1]->name), az_text_show(r->az, sorted[i]->name));
    return true;
}

static bool read_tensors(reader *r, az_gguf *gguf)
{
    gguf->tensor = az_alloc_array(r->az, (size_t)gguf->tensors, sizeof *gguf->tensor);
    for (int64_t i = 0; gguf->tensor && i < gguf->tensors; i++)
        if (!read_tensor(r, &gguf->tensor[i], i + 1)) return false;
    if (!gguf->tensor) return false;
    gguf->tensor_by_name = sort_names(r->az, gguf->tensor, gguf->tensors, sizeof *gguf->tensor, "tensor");
    return gguf->tensor_by_name && place_tensors(r, gguf);
}

az_gguf *az_gguf_parse(az_ctx *az, const unsigned char *data, size_t size)
{
    if (!data || !az_ok(az)) return NULL;
    az_gguf *gguf = az_alloc(az, sizeof *gguf);
    reader r = {.az = az, .data = data, .size = size};
    if (!gguf || !read_header(&r, gguf) || !read_keys(&r, gguf) || !read_alignment(&r, gguf) || !read_tensors(&r, gguf)) return NULL;
    return gguf;
}
