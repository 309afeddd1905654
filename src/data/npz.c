/* npz.c - NumPy's .npz files: zip archives of .npy files, stored or deflated (APPNOTE.TXT of PKWARE; sizes beyond 4 GiB are read). */
#include "data/npy.h"

#include <string.h>
#include <zlib.h>

enum {
    END_SIZE = 22,
    CENTRAL_SIZE = 46,
    LOCAL_SIZE = 30,
    MAX_COMMENT = 65535,
    MAX_ENTRIES = 65535,
    DEFLATE_RATIO = 1032 /* no deflated data are shorter than that share of what they hold */
};

static uint32_t u16(const unsigned char *at)
{
    return at[0] | (uint32_t)at[1] << 8;
}

static uint32_t u32(const unsigned char *at)
{
    return u16(at) | u16(at + 2) << 16;
}

static uint64_t u64(const unsigned char *at)
{
    return u32(at) | (uint64_t)u32(at + 4) << 32;
}

static void *damaged(az_ctx *az, const char *what)
{
    return az_fail(az, AZ_BAD_INPUT, "the archive is damaged: %s", what);
}

typedef struct entry {
    const char *name;
    size_t name_length;
    uint32_t method, crc;
    uint64_t packed, size, local; /* bytes in the file and unpacked; offset of the local header */
} entry;

/* The sizes that did not fit into 32 bits lie in the extra field 1, in this order. */
static bool read_large_sizes(const unsigned char *extra, size_t length, entry *e)
{
    uint64_t *const wanted[] = {&e->size, &e->packed, &e->local};
    while (length >= 4) {
        const size_t size = u16(extra + 2);
        if (size > length - 4) return false;
        if (u16(extra) == 1) {
            size_t at = 0;
            for (int i = 0; i < 3; i++) {
                if (*wanted[i] != UINT32_MAX) continue;
                if (at + 8 > size) return false;
                *wanted[i] = u64(extra + 4 + at);
                at += 8;
            }
            return true;
        }
        extra += 4 + size;
        length -= 4 + size;
    }
    return e->size != UINT32_MAX && e->packed != UINT32_MAX && e->local != UINT32_MAX;
}

/* Reads one entry of the directory and steps behind it. */
static bool read_entry(az_ctx *az, const unsigned char *data, size_t size, size_t *at, entry *e)
{
    const unsigned char *head = data + *at;
    if (size - *at < CENTRAL_SIZE || memcmp(head, "PK\1\2", 4) != 0) return damaged(az, "its directory ends too early");
    const size_t name = u16(head + 28), extra = u16(head + 30), comment = u16(head + 32);
    if (size - *at - CENTRAL_SIZE < name + extra + comment) return damaged(az, "its directory ends too early");
    *e = (entry){.name = (const char *)head + CENTRAL_SIZE,
                 .name_length = name,
                 .method = u16(head + 10),
                 .crc = u32(head + 16),
                 .packed = u32(head + 20),
                 .size = u32(head + 24),
                 .local = u32(head + 42)};
    if (u16(head + 8) & 1) return az_fail(az, AZ_BAD_INPUT, "the archive is encrypted");
    if (!read_large_sizes(head + CENTRAL_SIZE + name, extra, e)) return damaged(az, "an entry's sizes are missing");
    *at += CENTRAL_SIZE + name + extra + comment;
    return true;
}

/* The bytes of an entry as they lie in the file. */
static const unsigned char *packed_bytes(az_ctx *az, const unsigned char *data, size_t size, const entry *e)
{
    if (e->local > size || size - e->local < LOCAL_SIZE || memcmp(data + e->local, "PK\3\4", 4) != 0)
        return damaged(az, "an entry does not begin where the directory says");
    const unsigned char *head = data + e->local;
    const uint64_t start = e->local + LOCAL_SIZE + u16(head + 26) + u16(head + 28);
    if (start > size || e->packed > size - start) return damaged(az, "an entry ends behind the file");
    return data + start;
}

static bool inflate_all(const unsigned char *from, const entry *e, unsigned char *to)
{
    z_stream z = {0};
    if (inflateInit2(&z, -MAX_WBITS) != Z_OK) return false;
    uint64_t in = 0, out = 0;
    int code = Z_OK;
    while (code == Z_OK) {
        const uint64_t give = e->packed - in < UINT32_MAX ? e->packed - in : UINT32_MAX;
        const uint64_t room = e->size - out < UINT32_MAX ? e->size - out : UINT32_MAX;
        z.next_in = (Bytef *)(uintptr_t)(from + in);
        z.avail_in = (uInt)give;
        z.next_out = to + out;
        z.avail_out = (uInt)room;
        code = inflate(&z, Z_NO_FLUSH);
        in += give - z.avail_in;
        out += room - z.avail_out;
        if (code == Z_OK && give == z.avail_in && room == z.avail_out) break;
    }
    inflateEnd(&z);
    return code == Z_STREAM_END && out == e->size;
}

/* The entry's content, of the file itself when it is stored. */
static const unsigned char *unpack(az_ctx *az, const unsigned char *data, size_t size, const entry *e)
{
    const unsigned char *from = packed_bytes(az, data, size, e);
    if (!from) return NULL;
    if (e->method == 0 && e->packed != e->size) return damaged(az, "a stored entry has two sizes");
    if (e->method != 0 && e->method != 8)
        return az_fail(az, AZ_BAD_INPUT, "an entry is compressed in a way that is not read (%u)", e->method);
    const unsigned char *content = from;
    if (e->method == 8) {
        if (e->size / DEFLATE_RATIO > e->packed + 1) return damaged(az, "an entry claims to be larger than it can be");
        unsigned char *to = az_alloc(az, (size_t)e->size + 1);
        if (!to) return NULL;
        if (!inflate_all(from, e, to)) return damaged(az, "an entry cannot be inflated");
        content = to;
    }
    uLong crc = crc32_z(0, content, (z_size_t)e->size);
    return (uint32_t)crc == e->crc ? content : damaged(az, "an entry's checksum is wrong");
}

/* Where the directory begins and how many entries it has. */
static bool find_directory(az_ctx *az, const unsigned char *data, size_t size, size_t *offset, int64_t *entries)
{
    if (size < END_SIZE) return az_fail(az, AZ_BAD_INPUT, "this is no .npz archive");
    const size_t lowest = size > END_SIZE + MAX_COMMENT ? size - END_SIZE - MAX_COMMENT : 0;
    size_t at = size - END_SIZE;
    while (memcmp(data + at, "PK\5\6", 4) != 0) {
        if (at == lowest) return az_fail(az, AZ_BAD_INPUT, "this is no .npz archive");
        at--;
    }
    *entries = u16(data + at + 10);
    *offset = u32(data + at + 16);
    if (*offset == UINT32_MAX && at >= 20 && memcmp(data + at - 20, "PK\6\7", 4) == 0) { /* zip64 */
        const uint64_t end = u64(data + at - 12);
        if (end > size || size - end < 56 || memcmp(data + end, "PK\6\6", 4) != 0) return damaged(az, "its end is not where it should be");
        *entries = (int64_t)u64(data + end + 32);
        *offset = (size_t)u64(data + end + 48);
    }
    if (*offset > size || *entries < 0 || *entries > MAX_ENTRIES) return damaged(az, "its directory is not where it should be");
    return true;
}

bool az_npz_parse(az_ctx *az, const void *bytes, size_t size, az_array **arrays, int *count)
{
    const unsigned char *data = bytes;
    size_t at = 0;
    int64_t entries = 0;
    *count = 0;
    if (!data || !az_ok(az) || !find_directory(az, data, size, &at, &entries)) return false;
    *arrays = az_alloc_array(az, (size_t)entries + 1, sizeof **arrays);
    for (int64_t i = 0; *arrays && i < entries; i++) {
        entry e = {0};
        if (!read_entry(az, data, size, &at, &e)) return false;
        if (e.name_length < 4 || memcmp(e.name + e.name_length - 4, ".npy", 4) != 0) continue;
        const char *name = az_format_text(az, "%.*s", (int)e.name_length - 4, e.name);
        const unsigned char *content = unpack(az, data, size, &e);
        const az_array *array = content ? az_npy_parse(az, content, (size_t)e.size) : NULL;
        if (!array || !name) {
            az_fail_context(az, "array '%.*s'", (int)e.name_length - 4, e.name);
            return false;
        }
        (*arrays)[*count] = *array;
        (*arrays)[(*count)++].name = name;
    }
    return az_ok(az);
}

bool az_npz_read(az_ctx *az, const char *path, az_array **arrays, int *count)
{
    const az_map *map = az_map_file(az, path);
    const bool ok = map && az_npz_parse(az, map->data, map->size, arrays, count);
    if (!ok) az_fail_context(az, "reading '%s'", path);
    return ok;
}

/* ---- writing ---- */

static unsigned char *put16(unsigned char *at, uint32_t value)
{
    at[0] = (unsigned char)value;
    at[1] = (unsigned char)(value >> 8);
    return at + 2;
}

static unsigned char *put32(unsigned char *at, uint32_t value)
{
    return put16(put16(at, value & 0xffff), value >> 16);
}

typedef struct packed_array {
    const az_tensor *value; /* contiguous */
    npy_bytes bytes;
    const char *name; /* with .npy */
    uint32_t crc, offset;
} packed_array;

/* The fields that local header and directory have in common, from the version needed on: a stored entry of 1980-01-01. */
static unsigned char *put_common(unsigned char *at, const packed_array *p)
{
    const uint32_t size = (uint32_t)(p->bytes.header_size + p->bytes.data_size);
    at = put16(at, 20);
    at = put16(at, 0x0800); /* names are UTF-8 */
    at = put16(put16(put16(at, 0), 0), 0x0021);
    at = put32(put32(put32(at, p->crc), size), size);
    return put16(put16(at, (uint32_t)strlen(p->name)), 0);
}

static bool write_entry(az_out *out, const packed_array *p)
{
    unsigned char head[LOCAL_SIZE] = "PK\3\4";
    put_common(head + 4, p);
    return az_out_write(out, head, sizeof head) && az_out_write(out, p->name, strlen(p->name)) &&
           az_out_write(out, p->bytes.header, p->bytes.header_size) && az_out_write(out, p->value->data, p->bytes.data_size);
}

static bool write_directory(az_out *out, const packed_array *p, int count, uint32_t offset)
{
    uint32_t size = 0;
    for (int i = 0; i < count; i++) {
        unsigned char head[CENTRAL_SIZE] = "PK\1\2";
        put16(head + 4, 20);
        put_common(head + 6, &p[i]);
        put32(head + 42, p[i].offset);
        if (!az_out_write(out, head, sizeof head) || !az_out_write(out, p[i].name, strlen(p[i].name))) return false;
        size += (uint32_t)(sizeof head + strlen(p[i].name));
    }
    unsigned char end[END_SIZE] = "PK\5\6";
    put16(put16(end + 8, (uint32_t)count), (uint32_t)count);
    put32(put32(end + 12, size), offset);
    return az_out_write(out, end, sizeof end);
}

/* Headers, checksums and places of all arrays; the end of the last in *end. */
static packed_array *pack(az_ctx *az, const az_array *arrays, int count, uint32_t *end)
{
    packed_array *p = az_alloc_array(az, (size_t)count + 1, sizeof *p);
    uint64_t at = 0;
    for (int i = 0; p && i < count; i++) {
        p[i] = (packed_array){.value = az_contiguous(az, arrays[i].value), .name = az_format_text(az, "%s.npy", arrays[i].name)};
        if (!p[i].value || !p[i].name || !npy_make_header(az, p[i].value, &p[i].bytes)) return NULL;
        p[i].crc = (uint32_t)crc32_z(0, (const Bytef *)p[i].bytes.header, p[i].bytes.header_size);
        p[i].crc = (uint32_t)crc32_z(p[i].crc, p[i].value->data, p[i].bytes.data_size);
        p[i].offset = (uint32_t)at;
        at += LOCAL_SIZE + strlen(p[i].name) + p[i].bytes.header_size + p[i].bytes.data_size;
        if (at > UINT32_MAX / 2) return az_fail(az, AZ_BAD_INPUT, "more than 2 GiB do not go into an .npz archive; use .safetensors");
    }
    *end = (uint32_t)at;
    return p;
}

bool az_npz_write(az_ctx *az, const az_array *arrays, int count, const char *path)
{
    if (!path || !az_ok(az)) return false;
    if (count > MAX_ENTRIES) return az_fail(az, AZ_BAD_INPUT, "an .npz archive holds at most %d arrays", MAX_ENTRIES);
    az_scope_push(az);
    uint32_t end = 0;
    const packed_array *p = pack(az, arrays, count, &end);
    az_out *out = p ? az_create(az, path) : NULL;
    bool ok = out != NULL;
    for (int i = 0; ok && i < count; i++) ok = write_entry(out, &p[i]);
    ok = ok && write_directory(out, p, count, end) && az_commit(out);
    az_scope_pop(az);
    return ok;
}
