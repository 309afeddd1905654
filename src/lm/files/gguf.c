/* gguf.c - what reading and writing GGUF share: texts, tensor types, values, lookup by name. */
#include "lm/files/gguf.h"

#include <string.h>
#include <utf8proc.h>

/* ---- texts ---- */

az_text az_text_of(const char *string)
{
    return (az_text){.data = string, .length = strlen(string)};
}

bool az_text_equal(az_text a, az_text b)
{
    return a.length == b.length && memcmp(a.data, b.data, a.length) == 0;
}

int az_text_compare(az_text a, az_text b)
{
    const int order = memcmp(a.data, b.data, a.length < b.length ? a.length : b.length);
    return order != 0 ? order : (a.length > b.length) - (a.length < b.length);
}

const char *az_text_show(az_ctx *az, az_text text)
{
    enum { SHOWN = 60 };
    char *shown = az_alloc(az, SHOWN + 4);
    if (!shown) return "?";
    size_t n = 0;
    for (size_t at = 0; at < text.length && n + 4 <= SHOWN;) {
        utf8proc_int32_t character;
        const size_t left = text.length - at;
        const utf8proc_ssize_t bytes =
            utf8proc_iterate((const utf8proc_uint8_t *)text.data + at, left < 4 ? (utf8proc_ssize_t)left : 4, &character);
        const bool printable = bytes > 1 ? character >= 0xa0 : bytes == 1 && character >= 32 && character != 127;
        if (printable)
            memcpy(shown + n, text.data + at, (size_t)bytes);
        else
            shown[n] = '?';
        n += printable ? (size_t)bytes : 1;
        at += bytes > 0 ? (size_t)bytes : 1;
        if (n + 4 > SHOWN && at < text.length) memcpy(shown + n, "...", 4);
    }
    return shown;
}

/* ---- tensor types ---- */

const az_ggml_type *az_ggml_type_of(uint32_t type)
{
    static const az_ggml_type types[] = {
        [0] = {"F32", 1, 4},         [1] = {"F16", 1, 2},         [2] = {"Q4_0", 32, 18},      [3] = {"Q4_1", 32, 20},
        [6] = {"Q5_0", 32, 22},      [7] = {"Q5_1", 32, 24},      [8] = {"Q8_0", 32, 34},      [9] = {"Q8_1", 32, 36},
        [10] = {"Q2_K", 256, 84},    [11] = {"Q3_K", 256, 110},   [12] = {"Q4_K", 256, 144},   [13] = {"Q5_K", 256, 176},
        [14] = {"Q6_K", 256, 210},   [15] = {"Q8_K", 256, 292},   [16] = {"IQ2_XXS", 256, 66}, [17] = {"IQ2_XS", 256, 74},
        [18] = {"IQ3_XXS", 256, 98}, [19] = {"IQ1_S", 256, 50},   [20] = {"IQ4_NL", 32, 18},   [21] = {"IQ3_S", 256, 110},
        [22] = {"IQ2_S", 256, 82},   [23] = {"IQ4_XS", 256, 136}, [24] = {"I8", 1, 1},         [25] = {"I16", 1, 2},
        [26] = {"I32", 1, 4},        [27] = {"I64", 1, 8},        [28] = {"F64", 1, 8},        [29] = {"IQ1_M", 256, 56},
        [30] = {"BF16", 1, 2},       [34] = {"TQ1_0", 256, 54},   [35] = {"TQ2_0", 256, 66},   [39] = {"MXFP4", 32, 17},
    };
    const size_t count = sizeof types / sizeof *types;
    return type < count && types[type].name ? &types[type] : NULL;
}

/* ---- lookup ---- */

/* The texts are first members of what is looked for. */
static const void *search(const az_text *const *sorted, int64_t n, const char *name)
{
    const az_text wanted = az_text_of(name);
    int64_t low = 0, high = n;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        const int order = az_text_compare(*sorted[middle], wanted);
        if (order == 0) return sorted[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

const az_gguf_key *az_gguf_find(const az_gguf *gguf, const char *name)
{
    return search(gguf->key_by_name, gguf->keys, name);
}

const az_gguf_tensor *az_gguf_find_tensor(const az_gguf *gguf, const char *name)
{
    return search(gguf->tensor_by_name, gguf->tensors, name);
}

/* ---- values ---- */

size_t az_gguf_scalar_bytes(az_gguf_type type)
{
    switch (type) {
    case AZ_GGUF_U8:
    case AZ_GGUF_I8:
    case AZ_GGUF_BOOL: return 1;
    case AZ_GGUF_U16:
    case AZ_GGUF_I16: return 2;
    case AZ_GGUF_U32:
    case AZ_GGUF_I32:
    case AZ_GGUF_F32: return 4;
    case AZ_GGUF_U64:
    case AZ_GGUF_I64:
    case AZ_GGUF_F64: return 8;
    default: return 0;
    }
}

static uint64_t little_endian(const unsigned char *bytes, int n)
{
    uint64_t value = 0;
    for (int i = n - 1; i >= 0; i--) value = value << 8 | bytes[i];
    return value;
}

static bool integer_at(az_gguf_type type, const unsigned char *data, int64_t *value)
{
    switch (type) {
    case AZ_GGUF_U8:
    case AZ_GGUF_BOOL: *value = data[0]; return true;
    case AZ_GGUF_I8: *value = (int8_t)data[0]; return true;
    case AZ_GGUF_U16: *value = (uint16_t)little_endian(data, 2); return true;
    case AZ_GGUF_I16: *value = (int16_t)little_endian(data, 2); return true;
    case AZ_GGUF_U32: *value = (uint32_t)little_endian(data, 4); return true;
    case AZ_GGUF_I32: *value = (int32_t)little_endian(data, 4); return true;
    case AZ_GGUF_U64:
    case AZ_GGUF_I64: *value = (int64_t)little_endian(data, 8); return type == AZ_GGUF_I64 || *value >= 0;
    default: return false;
    }
}

static bool real_at(az_gguf_type type, const unsigned char *data, double *value)
{
    int64_t integer;
    if (type == AZ_GGUF_F32) {
        float single;
        memcpy(&single, data, sizeof single);
        *value = (double)single;
        return true;
    }
    if (type == AZ_GGUF_F64) {
        memcpy(value, data, sizeof *value);
        return true;
    }
    if (!integer_at(type, data, &integer)) return false;
    *value = (double)integer;
    return true;
}

bool az_gguf_integer(const az_gguf_key *key, int64_t *value)
{
    return key && integer_at(key->type, key->data, value);
}

bool az_gguf_real(const az_gguf_key *key, double *value)
{
    return key && real_at(key->type, key->data, value);
}

bool az_gguf_bool(const az_gguf_key *key, bool *value)
{
    if (!key || key->type != AZ_GGUF_BOOL) return false;
    *value = key->data[0] != 0;
    return true;
}

bool az_gguf_string(const az_gguf_key *key, az_text *value)
{
    if (!key || key->type != AZ_GGUF_STRING) return false;
    const unsigned char *at = key->data;
    *value = az_gguf_next_string(&at);
    return true;
}

static bool check_type(az_ctx *az, const az_gguf_key *key, bool fits, const char *wanted)
{
    return !key || fits || az_fail(az, AZ_BAD_INPUT, "key '%s' is not %s", az_text_show(az, key->name), wanted);
}

bool az_gguf_read_integer(az_ctx *az, const az_gguf_key *key, int64_t *value)
{
    return check_type(az, key, az_gguf_integer(key, value), "an integer");
}

bool az_gguf_read_real(az_ctx *az, const az_gguf_key *key, double *value)
{
    return check_type(az, key, az_gguf_real(key, value), "a number");
}

bool az_gguf_read_string(az_ctx *az, const az_gguf_key *key, az_text *value)
{
    return check_type(az, key, az_gguf_string(key, value), "a text");
}

bool az_gguf_read_bool(az_ctx *az, const az_gguf_key *key, bool *value)
{
    return check_type(az, key, az_gguf_bool(key, value), "true or false");
}

double az_gguf_item(const az_gguf_key *key, uint64_t i)
{
    double value = 0;
    real_at(key->item, key->data + i * az_gguf_scalar_bytes(key->item), &value);
    return value;
}

az_text az_gguf_next_string(const unsigned char **at)
{
    const size_t length = (size_t)little_endian(*at, 8);
    const az_text text = {.data = (const char *)*at + 8, .length = length};
    *at += 8 + length;
    return text;
}
