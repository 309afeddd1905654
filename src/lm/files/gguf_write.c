/* gguf_write.c - writes a GGUF file (version 3) from front to back: keys, descriptions of the tensors, then the tensors' data as they come.
 */
#include "lm/files/gguf.h"

#include <string.h>

struct az_gguf_writer {
    az_ctx *az;
    az_out *out;
    size_t alignment;
    az_gguf_key *key;
    int64_t keys, key_room;
    az_gguf_tensor *tensor;
    int64_t tensors, tensor_room;
    uint64_t data_bytes; /* declared so far, with padding */
    int64_t written;     /* tensors whose data are complete */
    size_t part;         /* bytes of the next tensor that are written already */
    bool data_began;
};

az_gguf_writer *az_gguf_create(az_ctx *az, const char *path)
{
    az_gguf_writer *writer = az_alloc(az, sizeof *writer);
    az_out *out = az_create(az, path);
    if (!writer || !out) return NULL;
    *writer = (az_gguf_writer){.az = az, .out = out, .alignment = AZ_GGUF_ALIGNMENT};
    return writer;
}

/* ---- keys ---- */

/* The list with room for one more entry. */
static void *grow(az_ctx *az, void *list, int64_t n, int64_t *room, size_t size)
{
    if (n < *room) return list;
    const int64_t wanted = *room ? 2 * *room : 64;
    void *longer = az_alloc_array(az, (size_t)wanted, size);
    if (!longer) return NULL;
    if (n > 0) memcpy(longer, list, (size_t)n * size);
    *room = wanted;
    return longer;
}

static az_gguf_key *find(const az_gguf_writer *writer, az_text name)
{
    for (int64_t i = 0; i < writer->keys; i++)
        if (az_text_equal(writer->key[i].name, name)) return &writer->key[i];
    return NULL;
}

bool az_gguf_has(const az_gguf_writer *writer, const char *name)
{
    return writer && find(writer, az_text_of(name));
}

bool az_gguf_put(az_gguf_writer *writer, const az_gguf_key *key)
{
    if (!writer || !az_ok(writer->az)) return false;
    if (writer->data_began || writer->tensors > 0)
        return az_fail(writer->az, AZ_BAD_CALL, "key '%s' is put behind tensors", az_text_show(writer->az, key->name));
    az_gguf_key *present = find(writer, key->name);
    if (!present) {
        az_gguf_key *list = grow(writer->az, writer->key, writer->keys, &writer->key_room, sizeof *list);
        if (!list) return false;
        writer->key = list;
        present = &list[writer->keys++];
    }
    *present = *key;
    int64_t alignment;
    if (az_text_equal(key->name, az_text_of("general.alignment")) && az_gguf_integer(key, &alignment))
        writer->alignment = (size_t)alignment;
    return true;
}

/* Puts a value whose bytes are copied. */
static bool put_bytes(az_gguf_writer *writer, const char *name, az_gguf_type type, const void *data, size_t bytes)
{
    if (!writer) return false;
    unsigned char *copy = az_alloc(writer->az, bytes);
    const char *own_name = az_strdup(writer->az, name);
    if (!copy || !own_name) return false;
    memcpy(copy, data, bytes);
    return az_gguf_put(writer,
                       &(az_gguf_key){.name = az_text_of(own_name), .type = type, .item = type, .count = 1, .data = copy, .bytes = bytes});
}

bool az_gguf_put_integer(az_gguf_writer *writer, const char *name, int64_t value)
{
    if (!writer) return false;
    int64_t present;
    if (az_gguf_integer(find(writer, az_text_of(name)), &present) && present == value) return az_ok(writer->az);
    if (value < 0 || value > UINT32_MAX) return az_fail(writer->az, AZ_BAD_CALL, "%s = %lld does not fit 32 bits", name, (long long)value);
    const uint32_t stored = (uint32_t)value;
    return put_bytes(writer, name, AZ_GGUF_U32, &stored, sizeof stored);
}

bool az_gguf_put_real(az_gguf_writer *writer, const char *name, double value)
{
    if (!writer) return false;
    double present;
    if (az_gguf_real(find(writer, az_text_of(name)), &present) && present == value) return az_ok(writer->az);
    const float stored = (float)value;
    return put_bytes(writer, name, AZ_GGUF_F32, &stored, sizeof stored);
}

bool az_gguf_put_bool(az_gguf_writer *writer, const char *name, bool value)
{
    const unsigned char stored = value;
    return put_bytes(writer, name, AZ_GGUF_BOOL, &stored, 1);
}

static unsigned char *encode_string(unsigned char *at, az_text text)
{
    const uint64_t length = text.length;
    memcpy(at, &length, 8);
    if (length > 0) memcpy(at + 8, text.data, text.length);
    return at + 8 + text.length;
}

bool az_gguf_put_string(az_gguf_writer *writer, const char *name, az_text value)
{
    if (!writer) return false;
    unsigned char *bytes = az_alloc(writer->az, 8 + value.length);
    if (!bytes) return false;
    encode_string(bytes, value);
    return put_bytes(writer, name, AZ_GGUF_STRING, bytes, 8 + value.length);
}

static bool put_array(az_gguf_writer *writer, const char *name, az_gguf_key array)
{
    const char *own_name = az_strdup(writer->az, name);
    if (!own_name) return false;
    array.name = az_text_of(own_name);
    array.type = AZ_GGUF_ARRAY;
    return az_gguf_put(writer, &array);
}

bool az_gguf_put_strings(az_gguf_writer *writer, const char *name, const az_text *value, int64_t n)
{
    if (!writer) return false;
    size_t bytes = 0;
    for (int64_t i = 0; i < n; i++) bytes += 8 + value[i].length;
    unsigned char *data = az_alloc(writer->az, bytes), *at = data;
    for (int64_t i = 0; data && i < n; i++) at = encode_string(at, value[i]);
    return data && put_array(writer, name, (az_gguf_key){.item = AZ_GGUF_STRING, .count = (uint64_t)n, .data = data, .bytes = bytes});
}

/* n numbers of 4 bytes, copied. */
static bool put_numbers(az_gguf_writer *writer, const char *name, az_gguf_type item, const void *value, int64_t n)
{
    if (!writer) return false;
    unsigned char *data = az_alloc_array(writer->az, (size_t)n, 4);
    if (!data) return false;
    memcpy(data, value, (size_t)n * 4);
    return put_array(writer, name, (az_gguf_key){.item = item, .count = (uint64_t)n, .data = data, .bytes = (size_t)n * 4});
}

bool az_gguf_put_i32s(az_gguf_writer *writer, const char *name, const int32_t *value, int64_t n)
{
    return put_numbers(writer, name, AZ_GGUF_I32, value, n);
}

bool az_gguf_put_f32s(az_gguf_writer *writer, const char *name, const float *value, int64_t n)
{
    return put_numbers(writer, name, AZ_GGUF_F32, value, n);
}

bool az_gguf_put_bytes(az_gguf_writer *writer, const char *name, az_text value)
{
    if (!writer) return false;
    unsigned char *data = az_alloc(writer->az, value.length + 1);
    if (!data) return false;
    memcpy(data, value.data, value.length);
    return put_array(writer, name, (az_gguf_key){.item = AZ_GGUF_U8, .count = value.length, .data = data, .bytes = value.length});
}

/* ---- tensors ---- */

static uint64_t padding(uint64_t bytes, size_t alignment)
{
    return (alignment - bytes % alignment) % alignment;
}

bool az_gguf_declare(az_gguf_writer *writer, az_text name, int rank, const uint64_t *shape, uint32_t type)
{
    if (!writer || !az_ok(writer->az)) return false;
    const az_ggml_type *stored = az_ggml_type_of(type);
    if (writer->data_began || !stored || rank < 0 || rank > AZ_GGUF_MAX_RANK)
        return az_fail(writer->az, AZ_BAD_CALL, "tensor '%s' cannot be declared (type %u, rank %d)", az_text_show(writer->az, name), type,
                       rank);
    az_gguf_tensor *list = grow(writer->az, writer->tensor, writer->tensors, &writer->tensor_room, sizeof *list);
    if (!list) return false;
    writer->tensor = list;
    az_gguf_tensor *tensor = &list[writer->tensors++];
    *tensor = (az_gguf_tensor){.name = name, .rank = rank, .type = type, .offset = writer->data_bytes};
    uint64_t values = 1;
    for (int i = 0; i < rank; i++) values *= tensor->shape[i] = shape[i];
    tensor->bytes = (size_t)(values / stored->block * stored->bytes);
    writer->data_bytes += tensor->bytes + padding(tensor->bytes, writer->alignment);
    return true;
}

static void write_bytes(az_gguf_writer *writer, const void *data, size_t bytes)
{
    az_out_write(writer->out, data, bytes); /* az_commit fails after an error */
}

static void write_integer(az_gguf_writer *writer, uint64_t value, int bytes)
{
    write_bytes(writer, &value, (size_t)bytes);
}

static void write_text(az_gguf_writer *writer, az_text text)
{
    write_integer(writer, text.length, 8);
    write_bytes(writer, text.data, text.length);
}

static void write_zeros(az_gguf_writer *writer, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) write_bytes(writer, "", 1);
}

static void write_key(az_gguf_writer *writer, const az_gguf_key *key)
{
    write_text(writer, key->name);
    write_integer(writer, key->type, 4);
    if (key->type == AZ_GGUF_ARRAY) {
        write_integer(writer, key->item, 4);
        write_integer(writer, key->count, 8);
    }
    write_bytes(writer, key->data, key->bytes);
}

static void write_head(az_gguf_writer *writer)
{
    uint64_t bytes = 4 + 4 + 8 + 8;
    write_bytes(writer, "GGUF", 4);
    write_integer(writer, 3, 4);
    write_integer(writer, (uint64_t)writer->tensors, 8);
    write_integer(writer, (uint64_t)writer->keys, 8);
    for (int64_t i = 0; i < writer->keys; i++) {
        const az_gguf_key *key = &writer->key[i];
        write_key(writer, key);
        bytes += 8 + key->name.length + 4 + (key->type == AZ_GGUF_ARRAY ? 12 : 0) + key->bytes;
    }
    for (int64_t i = 0; i < writer->tensors; i++) {
        const az_gguf_tensor *tensor = &writer->tensor[i];
        write_text(writer, tensor->name);
        write_integer(writer, (uint64_t)tensor->rank, 4);
        for (int axis = 0; axis < tensor->rank; axis++) write_integer(writer, tensor->shape[axis], 8);
        write_integer(writer, tensor->type, 4);
        write_integer(writer, tensor->offset, 8);
        bytes += 8 + tensor->name.length + 4 + 8 * (uint64_t)tensor->rank + 4 + 8;
    }
    if (writer->tensors > 0) write_zeros(writer, padding(bytes, writer->alignment));
    writer->data_began = true;
}

bool az_gguf_write_part(az_gguf_writer *writer, const void *data, size_t bytes)
{
    if (!writer || !data || !az_ok(writer->az)) return false;
    if (!writer->data_began) write_head(writer);
    const az_gguf_tensor *tensor = writer->written < writer->tensors ? &writer->tensor[writer->written] : NULL;
    if (!tensor || bytes > tensor->bytes - writer->part)
        return az_fail(writer->az, AZ_BAD_CALL, "tensor '%s' was declared with %zu bytes, not %zu",
                       tensor ? az_text_show(writer->az, tensor->name) : "?", tensor ? tensor->bytes : 0, writer->part + bytes);
    write_bytes(writer, data, bytes);
    writer->part += bytes;
    if (writer->part < tensor->bytes) return true;
    write_zeros(writer, padding(tensor->bytes, writer->alignment));
    writer->part = 0;
    writer->written++;
    return true;
}

bool az_gguf_write(az_gguf_writer *writer, const void *data, size_t bytes)
{
    if (!writer || !data || !az_ok(writer->az)) return false;
    const az_gguf_tensor *tensor = writer->written < writer->tensors ? &writer->tensor[writer->written] : NULL;
    if (tensor && bytes < tensor->bytes)
        return az_fail(writer->az, AZ_BAD_CALL, "tensor '%s' was declared with %zu bytes, not %zu", az_text_show(writer->az, tensor->name),
                       tensor->bytes, bytes);
    return az_gguf_write_part(writer, data, bytes);
}

bool az_gguf_commit(az_gguf_writer *writer)
{
    if (!writer || !az_ok(writer->az)) return false;
    if (writer->written != writer->tensors)
        return az_fail(writer->az, AZ_BAD_CALL, "%lld of %lld tensors were written", (long long)writer->written,
                       (long long)writer->tensors);
    if (!writer->data_began) write_head(writer);
    return az_commit(writer->out);
}
