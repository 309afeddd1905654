/* text.c - whether bytes are UTF-8, and what is made of those that are not; endings of names. */
#include "adze/base.h"

#include <string.h>
#include <utf8proc.h>

bool az_is_utf8(const char *text, size_t length, size_t *where)
{
    const utf8proc_uint8_t *bytes = (const utf8proc_uint8_t *)text;
    size_t at = 0;
    while (at < length) {
        if (bytes[at] - 1u < 0x7f) { /* ASCII, but for the zero byte */
            at++;
            continue;
        }
        utf8proc_int32_t code;
        const size_t left = length - at;
        const utf8proc_ssize_t step = utf8proc_iterate(bytes + at, left < 4 ? (utf8proc_ssize_t)left : 4, &code);
        if (step <= 0 || code == 0) break;
        at += (size_t)step;
    }
    if (where) *where = at;
    return at == length;
}

const char *az_utf8(az_ctx *az, const char *text, size_t *length)
{
    if (!text || az_is_utf8(text, *length, NULL)) return text;
    char *out = az_alloc(az, 2 * *length + 1);
    size_t n = 0;
    for (size_t i = 0; out && i < *length; i++) {
        const unsigned char c = (unsigned char)text[i];
        if (c >= 0x80) out[n++] = (char)(0xC0 | c >> 6);
        out[n++] = (char)(c < 0x80 ? c : 0x80 | (c & 0x3F));
    }
    *length = n;
    return out;
}

bool az_ends_with(const char *text, const char *end)
{
    const size_t length = strlen(text), n = strlen(end);
    return length >= n && strcmp(text + length - n, end) == 0;
}
