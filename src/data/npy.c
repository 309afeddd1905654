/* npy.c - NumPy's .npy files: a dictionary that tells type, order and shape, then the elements
 * (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html). */
#include "data/npy.h"

#include <stdlib.h>
#include <string.h>

static const char MAGIC[] = "\x93NUMPY";
enum { MAGIC_SIZE = 6, MAX_HEADER = 1 << 20 };

/* ---- the dictionary ---- */

typedef struct reader {
    az_ctx *az;
    const char *at, *end;
} reader;

static void *bad_header(const reader *r, const char *what)
{
    return az_fail(r->az, AZ_BAD_INPUT, "the header of the .npy data is damaged: %s", what);
}

static void skip_blanks(reader *r)
{
    while (r->at < r->end && strchr(" \t\r\n", *r->at) && *r->at) r->at++;
}

static bool take(reader *r, char c)
{
    skip_blanks(r);
    if (r->at == r->end || *r->at != c) return false;
    r->at++;
    return true;
}

/* A text in either kind of quotes, without escapes. */
static bool take_text(reader *r, const char **text, size_t *length)
{
    skip_blanks(r);
    if (r->at == r->end || (*r->at != '\'' && *r->at != '"')) return false;
    const char quote = *r->at++;
    const char *close = memchr(r->at, quote, (size_t)(r->end - r->at));
    if (!close) return false;
    *text = r->at;
    *length = (size_t)(close - r->at);
    r->at = close + 1;
    return true;
}

static bool take_word(reader *r, const char *word)
{
    skip_blanks(r);
    const size_t length = strlen(word);
    if ((size_t)(r->end - r->at) < length || memcmp(r->at, word, length) != 0) return false;
    r->at += length;
    return true;
}

static bool take_count(reader *r, int64_t *value)
{
    skip_blanks(r);
    int digits = 0;
    for (*value = 0; r->at < r->end && *r->at >= '0' && *r->at <= '9' && digits < 18; r->at++, digits++)
        *value = *value * 10 + (*r->at - '0');
    return digits > 0;
}

static bool read_descr(reader *r, npy_head *head)
{
    const char *text;
    size_t length;
    if (!take_text(r, &text, &length)) return bad_header(r, "the type is not a simple one (records are not read)");
    if (length < 3 || length > 4 || !strchr("<>|=", text[0]) || !strchr("fiubc", text[1]))
        return az_fail(r->az, AZ_BAD_INPUT, "elements of type '%.*s' are not read", (int)(length < 20 ? length : 20), text);
    head->swapped = text[0] == '>';
    head->kind = text[1];
    head->width = atoi(az_format_text(r->az, "%.*s", (int)length - 2, text + 2));
    static const char *const known = " f2 f4 f8 i1 i2 i4 i8 u1 u2 u4 u8 b1 c8 c16 ";
    const char *name = az_format_text(r->az, " %c%d ", head->kind, head->width);
    if (name && strstr(known, name)) return true;
    return az_fail(r->az, AZ_BAD_INPUT, "elements of type '%.*s' are not read", (int)length, text);
}

static bool read_shape(reader *r, npy_head *head)
{
    head->rank = 0;
    head->count = 1;
    if (!take(r, '(')) return bad_header(r, "the shape is no tuple");
    while (!take(r, ')')) {
        int64_t extent;
        if (!take_count(r, &extent)) return bad_header(r, "an extent of the shape is no number");
        if (head->rank == AZ_MAX_RANK) return az_fail(r->az, AZ_BAD_INPUT, "the array has more than %d axes", AZ_MAX_RANK);
        head->shape[head->rank++] = extent;
        if (__builtin_mul_overflow(head->count, extent, &head->count) || head->count > INT64_MAX / 32)
            return bad_header(r, "the shape is too large");
        take(r, ',');
    }
    return true;
}

static bool read_dictionary(reader *r, npy_head *head)
{
    bool descr = false, order = false, shape = false;
    if (!take(r, '{')) return bad_header(r, "it is no dictionary");
    while (!take(r, '}')) {
        const char *key;
        size_t length;
        if (!take_text(r, &key, &length) || !take(r, ':')) return bad_header(r, "a key is missing");
        if (length == 5 && memcmp(key, "descr", 5) == 0) {
            if (!(descr = read_descr(r, head))) return false;
        } else if (length == 13 && memcmp(key, "fortran_order", 13) == 0) {
            head->fortran = take_word(r, "True");
            if (!head->fortran && !take_word(r, "False")) return bad_header(r, "the order is neither True nor False");
            order = true;
        } else if (length == 5 && memcmp(key, "shape", 5) == 0) {
            if (!(shape = read_shape(r, head))) return false;
        } else {
            return bad_header(r, "it has an unknown key");
        }
        take(r, ',');
    }
    if (!descr || !order || !shape) return bad_header(r, "type, order or shape is missing");
    return true;
}

bool npy_read_head(az_ctx *az, const unsigned char *data, size_t size, npy_head *head)
{
    *head = (npy_head){0};
    if (!az_ok(az)) return false;
    if (size < 10 || memcmp(data, MAGIC, MAGIC_SIZE) != 0) return az_fail(az, AZ_BAD_INPUT, "this is no .npy data");
    const int version = data[6];
    if (version < 1 || version > 3) return az_fail(az, AZ_BAD_INPUT, ".npy data of version %d are not read", version);
    const size_t start = version == 1 ? 10 : 12;
    if (size < start) return az_fail(az, AZ_BAD_INPUT, "the .npy data end in their header");
    size_t length = data[8] | (size_t)data[9] << 8;
    if (version > 1) length |= (size_t)data[10] << 16 | (size_t)data[11] << 24;
    if (length > size - start || length > MAX_HEADER) return az_fail(az, AZ_BAD_INPUT, "the .npy data end in their header");
    reader r = {.az = az, .at = (const char *)data + start, .end = (const char *)data + start + length};
    if (!read_dictionary(&r, head)) return false;
    head->offset = start + length;
    const uint64_t bytes = (uint64_t)head->count * (uint64_t)head->width;
    if (bytes != size - head->offset)
        return az_fail(az, AZ_BAD_INPUT, "the shape needs %llu bytes of .npy data, there are %zu", (unsigned long long)bytes,
                       size - head->offset);
    return true;
}

/* ---- elements ---- */

static void copy_swapped(unsigned char *to, const unsigned char *from, int64_t count, int unit)
{
    for (int64_t i = 0; i < count; i++)
        for (int b = 0; b < unit; b++) to[i * unit + b] = from[i * unit + unit - 1 - b];
}

/* Unsigned numbers in the signed type of twice the width (u8 in i64). */
static bool widen(az_ctx *az, const npy_head *head, const unsigned char *from, az_tensor *out)
{
    for (int64_t i = 0; i < head->count; i++) {
        uint64_t value = 0;
        memcpy(&value, from + i * head->width, (size_t)head->width);
        if (value > INT64_MAX) return az_fail(az, AZ_BAD_INPUT, "element %lld is beyond 64-bit signed numbers", (long long)i);
        if (head->width == 2)
            ((int32_t *)out->data)[i] = (int32_t)value;
        else
            ((int64_t *)out->data)[i] = (int64_t)value;
    }
    return true;
}

static az_dtype type_of(const npy_head *head)
{
    switch (head->kind) {
    case 'f': return head->width == 2 ? AZ_F16 : head->width == 4 ? AZ_F32 : AZ_F64;
    case 'c': return head->width == 8 ? AZ_F32 : AZ_F64;
    case 'i': return head->width == 1 ? AZ_I8 : head->width == 2 ? AZ_I16 : head->width == 4 ? AZ_I32 : AZ_I64;
    case 'u': return head->width == 1 ? AZ_U8 : head->width == 2 ? AZ_I32 : AZ_I64;
    default: return AZ_U8;
    }
}

/* Unsigned numbers of several bytes have no type here. */
static bool is_wide(const npy_head *head)
{
    return head->kind == 'u' && head->width > 1;
}

/* Bytes of a number; a complex one is two. */
static int unit_of(const npy_head *head)
{
    return head->kind == 'c' ? head->width / 2 : head->width;
}

/* The axes as the numbers lie in memory, the last one runs fastest. */
static bool axes_of(az_ctx *az, const npy_head *head, int *rank, int64_t shape[AZ_MAX_RANK])
{
    *rank = head->rank + (head->kind == 'c');
    if (*rank > AZ_MAX_RANK) return az_fail(az, AZ_BAD_INPUT, "an array of complex numbers has at most %d axes", AZ_MAX_RANK - 1);
    for (int i = 0; i < head->rank; i++) shape[i] = head->fortran ? head->shape[head->rank - 1 - i] : head->shape[i];
    if (head->kind == 'c') shape[head->rank] = 2;
    return true;
}

/* The axes back in their order, when the first ran fastest. */
static az_tensor *in_order(az_ctx *az, const npy_head *head, az_tensor *value)
{
    if (!value || !head->fortran || head->rank < 2) return value;
    int axes[AZ_MAX_RANK];
    for (int i = 0; i < head->rank; i++) axes[i] = head->rank - 1 - i;
    if (value->rank > head->rank) axes[head->rank] = head->rank;
    return az_contiguous(az, az_permute(az, value, axes));
}

az_tensor *npy_elements(az_ctx *az, const npy_head *head, const unsigned char *from)
{
    int rank;
    int64_t shape[AZ_MAX_RANK];
    az_tensor *out = axes_of(az, head, &rank, shape) ? az_tensor_new(az, type_of(head), rank, shape) : NULL;
    const size_t bytes = (size_t)head->count * (size_t)head->width;
    if (!out || bytes == 0) return out;
    unsigned char *native = is_wide(head) || head->swapped ? az_alloc(az, bytes) : NULL;
    if ((is_wide(head) || head->swapped) && !native) return NULL;
    if (head->swapped)
        copy_swapped(native, from, head->count * (head->kind == 'c' ? 2 : 1), unit_of(head));
    else if (is_wide(head))
        memcpy(native, from, bytes);
    if (is_wide(head) && !widen(az, head, native, out)) return NULL;
    if (!is_wide(head)) memcpy(out->data, native ? native : from, bytes);
    return in_order(az, head, out);
}

/* The elements where they lie in the file, if they lie there as they do in memory; else a copy. */
static az_tensor *elements_in_place(az_ctx *az, const npy_head *head, az_buffer *file)
{
    unsigned char *from = (unsigned char *)file->data + head->offset;
    int rank;
    int64_t shape[AZ_MAX_RANK];
    if (head->swapped || is_wide(head) || head->count == 0 || head->offset % (size_t)unit_of(head) != 0)
        return npy_elements(az, head, from);
    if (!axes_of(az, head, &rank, shape)) return NULL;
    return in_order(az, head, az_wrap(az, type_of(head), rank, shape, from, file));
}

static az_array *array_of(az_ctx *az, const npy_head *head, az_tensor *value)
{
    az_array *array = value ? az_alloc(az, sizeof *array) : NULL;
    if (array) *array = (az_array){.name = "", .value = value, .complex = head->kind == 'c'};
    return array;
}

az_array *az_npy_parse(az_ctx *az, const void *data, size_t size)
{
    npy_head head;
    if (!data || !npy_read_head(az, data, size, &head)) return NULL;
    return array_of(az, &head, npy_elements(az, &head, (const unsigned char *)data + head.offset));
}

az_array *az_npy_read(az_ctx *az, const char *path)
{
    npy_head head;
    az_buffer *file = az_buffer_file(az, path);
    az_array *array = NULL;
    if (file && npy_read_head(az, file->data, file->bytes, &head)) array = array_of(az, &head, elements_in_place(az, &head, file));
    az_buffer_drop(file);
    if (!array) az_fail_context(az, "reading '%s'", path);
    return array;
}

/* ---- writing ---- */

static const char *descr_of(az_dtype type)
{
    switch (type) {
    case AZ_F32: return "<f4";
    case AZ_F64: return "<f8";
    case AZ_F16: return "<f2";
    case AZ_I8: return "|i1";
    case AZ_U8: return "|u1";
    case AZ_I16: return "<i2";
    case AZ_I32: return "<i4";
    case AZ_I64: return "<i8";
    default: return NULL;
    }
}

bool npy_make_header(az_ctx *az, const az_tensor *value, npy_bytes *out)
{
    const char *descr = descr_of(value->dtype), *shape = "";
    if (!descr) return az_fail(az, AZ_BAD_CALL, "NumPy has no type for %s", az_dtype_name(value->dtype));
    for (int i = 0; i < value->rank && shape; i++)
        shape = az_format_text(az, "%s%s%lld%s", shape, i ? " " : "", (long long)value->shape[i], i + 1 < value->rank || i == 0 ? "," : "");
    const char *text = az_format_text(az, "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", descr, shape);
    if (!text) return false;
    const size_t total = (10 + strlen(text) + 1 + 63) / 64 * 64, length = total - 10; /* data begin at a multiple of 64 */
    char *header = az_alloc(az, total);
    if (!header) return false;
    memcpy(header, MAGIC, MAGIC_SIZE);
    header[6] = 1;
    header[8] = (char)(length & 255);
    header[9] = (char)(length >> 8);
    memset(header + 10, ' ', length);
    memcpy(header + 10, text, strlen(text));
    header[total - 1] = '\n';
    *out = (npy_bytes){.header = header, .header_size = total, .data_size = (size_t)az_count(value) * az_dtype_size(value->dtype)};
    return true;
}

bool az_npy_write(az_ctx *az, const az_tensor *value, const char *path)
{
    if (!value || !path || !az_ok(az)) return false;
    az_scope_push(az);
    npy_bytes bytes;
    value = az_contiguous(az, value);
    az_out *file = value && npy_make_header(az, value, &bytes) ? az_create(az, path) : NULL;
    const bool ok =
        file && az_out_write(file, bytes.header, bytes.header_size) && az_out_write(file, value->data, bytes.data_size) && az_commit(file);
    az_scope_pop(az);
    return ok;
}
