/* spelling.c - UTF-8, and the printable spelling of bytes that byte-level BPE uses. */
#include "lm/tokenizer/tokenizer.h"

#include <utf8proc.h>

size_t az_utf8_length(const char *text, size_t length)
{
    utf8proc_int32_t character;
    const utf8proc_ssize_t bytes = utf8proc_iterate((const utf8proc_uint8_t *)text, length < 4 ? (utf8proc_ssize_t)length : 4, &character);
    return bytes > 0 ? (size_t)bytes : 1;
}

size_t az_utf8_prefix(const char *text, size_t length)
{
    size_t at = 0;
    while (at < length) {
        if ((unsigned char)text[at] < 128) {
            at++;
            continue;
        }
        const size_t bytes = az_utf8_length(text + at, length - at);
        if (bytes == 1) break;
        at += bytes;
    }
    return at;
}

/* Printable Latin-1 characters spell themselves; the 68 others take the characters from U+0100 on, in order. */
static bool spells_itself(int byte)
{
    return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

static int rank_among_others(int byte)
{
    if (byte <= 32) return byte;               /* 0 .. 32 */
    if (byte <= 160) return 33 + (byte - 127); /* 127 .. 160 */
    return 67;                                 /* 173 */
}

static int other_by_rank(int rank)
{
    if (rank <= 32) return rank;
    return rank <= 66 ? rank - 33 + 127 : 173;
}

void az_byte_spelling(unsigned char byte, char spelling[3])
{
    const int character = spells_itself(byte) ? byte : 256 + rank_among_others(byte);
    const bool ascii = character < 128;
    spelling[0] = (char)(ascii ? character : 0xc0 | character >> 6);
    spelling[1] = (char)(ascii ? 0 : 0x80 | (character & 0x3f));
    spelling[2] = 0;
}

int64_t az_spelled_bytes(az_text spelling, char *bytes)
{
    int64_t n = 0;
    for (size_t at = 0; at < spelling.length;) {
        utf8proc_int32_t character;
        const utf8proc_ssize_t used =
            utf8proc_iterate((const utf8proc_uint8_t *)spelling.data + at, (utf8proc_ssize_t)(spelling.length - at), &character);
        if (used <= 0) return -1;
        at += (size_t)used;
        if (character < 256 && spells_itself(character))
            bytes[n++] = (char)character;
        else if (character >= 256 && character < 256 + 68)
            bytes[n++] = (char)other_by_rank(character - 256);
        else
            return -1;
    }
    return n;
}
