/* normal.c - rewrites a text before it is cut: Unicode forms, case, accents, replacements. Bytes that are no UTF-8 stay. */
#include "lm/tokenizer/tokenizer.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

bool az_bytes_add(az_bytes *bytes, const char *data, size_t length)
{
    if (length >= SIZE_MAX / 4 - bytes->length) return az_fail(bytes->az, AZ_NO_MEMORY, "a text grows beyond the address space");
    if (bytes->most > 0 && bytes->length + length > bytes->most)
        return az_fail(bytes->az, AZ_BAD_INPUT, "the tokenizer's normalizer makes more than %zu bytes of a text", bytes->most);
    if (bytes->length + length + 1 > bytes->room) {
        const size_t room = 2 * (bytes->length + length) + 64;
        char *longer = az_alloc(bytes->az, room);
        if (!longer) return false;
        if (bytes->length > 0) memcpy(longer, bytes->data, bytes->length);
        bytes->data = longer;
        bytes->room = room;
    }
    if (length > 0) memcpy(bytes->data + bytes->length, data, length);
    bytes->length += length;
    bytes->data[bytes->length] = '\0';
    return true;
}

static bool add_character(az_bytes *out, utf8proc_int32_t c)
{
    utf8proc_uint8_t utf8[4];
    return az_bytes_add(out, (const char *)utf8, (size_t)utf8proc_encode_char(c, utf8));
}

/* ---- kinds of characters ---- */

bool az_is_white(int32_t c)
{
    if ((c >= 9 && c <= 13) || c == 0x85) return true;
    const utf8proc_category_t category = utf8proc_category(c);
    return category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL || category == UTF8PROC_CATEGORY_ZP;
}

static bool is_control(utf8proc_int32_t c)
{
    const utf8proc_category_t category = utf8proc_category(c);
    return category == UTF8PROC_CATEGORY_CC || category == UTF8PROC_CATEGORY_CF || category == UTF8PROC_CATEGORY_CN ||
           category == UTF8PROC_CATEGORY_CO || category == UTF8PROC_CATEGORY_CS;
}

/* The blocks that BERT's tokenizer treats as ideographs. */
static bool is_ideograph(utf8proc_int32_t c)
{
    static const utf8proc_int32_t block[][2] = {{0x4e00, 0x9fff},   {0x3400, 0x4dbf},   {0x20000, 0x2a6df}, {0x2a700, 0x2b73f},
                                                {0x2b740, 0x2b81f}, {0x2b920, 0x2ceaf}, {0xf900, 0xfaff},   {0x2f800, 0x2fa1f}};
    for (size_t i = 0; i < sizeof block / sizeof *block; i++)
        if (c >= block[i][0] && c <= block[i][1]) return true;
    return false;
}

/* ---- character by character ---- */

static bool put_lower(az_bytes *out, utf8proc_int32_t c)
{
    if (c == 0x130) return az_bytes_add(out, "i\xcc\x87", 3); /* the one capital whose small letter is two characters */
    return add_character(out, utf8proc_tolower(c));
}

static bool put_unaccented(az_bytes *out, utf8proc_int32_t c)
{
    return utf8proc_category(c) == UTF8PROC_CATEGORY_MN || add_character(out, c);
}

static bool put_clean(az_bytes *out, utf8proc_int32_t c)
{
    if (az_is_white(c)) return add_character(out, ' ');
    return c == 0 || c == 0xfffd || is_control(c) || add_character(out, c);
}

static bool put_spaced_ideograph(az_bytes *out, utf8proc_int32_t c)
{
    if (!is_ideograph(c)) return add_character(out, c);
    return add_character(out, ' ') && add_character(out, c) && add_character(out, ' ');
}

static bool each_character(az_bytes *out, az_text text, bool (*put)(az_bytes *out, utf8proc_int32_t c))
{
    for (size_t at = 0; at < text.length;) {
        utf8proc_int32_t c;
        const utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)text.data + at, (utf8proc_ssize_t)(text.length - at), &c);
        if (!(n > 0 ? put(out, c) : az_bytes_add(out, text.data + at, 1))) return false;
        at += n > 0 ? (size_t)n : 1;
    }
    return true;
}

/* ---- Unicode forms ---- */

static bool put_form(az_bytes *out, const char *text, size_t length, int options)
{
    utf8proc_uint8_t *mapped = NULL;
    const utf8proc_ssize_t n = utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)length, &mapped, (utf8proc_option_t)options);
    if (n < 0) return az_fail(out->az, AZ_BAD_INPUT, "text cannot be normalised: %s", utf8proc_errmsg(n));
    const bool done = az_bytes_add(out, (const char *)mapped, (size_t)n);
    free(mapped);
    return done;
}

static bool unicode_form(az_bytes *out, az_text text, az_normal_kind kind)
{
    const bool compose = kind == AZ_NORMAL_NFC || kind == AZ_NORMAL_NFKC, compatible = kind == AZ_NORMAL_NFKC || kind == AZ_NORMAL_NFKD;
    const int options = UTF8PROC_STABLE | (compose ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE) | (compatible ? UTF8PROC_COMPAT : 0);
    for (size_t at = 0; at < text.length;) {
        const size_t valid = az_utf8_prefix(text.data + at, text.length - at);
        if (valid > 0 && !put_form(out, text.data + at, valid, options)) return false;
        at += valid;
        if (at < text.length && !az_bytes_add(out, text.data + at++, 1)) return false;
    }
    return true;
}

/* ---- replacements ---- */

static bool replace_matches(az_bytes *out, az_text text, const az_normal_step *step)
{
    az_words *words = az_words_new(out->az, step->code);
    if (!words) return false;
    az_words_begin(words, text.data, text.length);
    for (az_text piece; (piece = az_words_next(words)).length > 0;) {
        const az_text put = az_words_matched(words) ? step->to : piece;
        if (!az_bytes_add(out, put.data, put.length)) return false;
    }
    return az_ok(out->az);
}

static bool replace_text(az_bytes *out, az_text text, az_text from, az_text to)
{
    size_t begin = 0;
    while (from.length > 0 && begin < text.length) {
        const char *found = memmem(text.data + begin, text.length - begin, from.data, from.length);
        if (!found) break;
        const size_t at = (size_t)(found - text.data);
        if (!az_bytes_add(out, text.data + begin, at - begin) || !az_bytes_add(out, to.data, to.length)) return false;
        begin = at + from.length;
    }
    return az_bytes_add(out, text.data + begin, text.length - begin);
}

static bool replace_mapped(az_bytes *out, az_text text, az_text map)
{
    for (size_t at = 0; at < text.length;) {
        az_text to;
        const size_t n = az_charsmap_match(map, (az_text){.data = text.data + at, .length = text.length - at}, &to);
        const size_t character = n > 0 ? n : az_utf8_length(text.data + at, text.length - at);
        if (!(n > 0 ? az_bytes_add(out, to.data, to.length) : az_bytes_add(out, text.data + at, character))) return false;
        at += character;
    }
    return true;
}

static bool strip(az_bytes *out, az_text text, bool left, bool right)
{
    utf8proc_int32_t c;
    while (left && text.length > 0) {
        const utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)text.data, (utf8proc_ssize_t)text.length, &c);
        if (n <= 0 || !az_is_white(c)) break;
        text = (az_text){.data = text.data + n, .length = text.length - (size_t)n};
    }
    while (right && text.length > 0) {
        size_t n = 1;
        while (n < 4 && n < text.length && ((unsigned char)text.data[text.length - n] & 0xc0) == 0x80) n++;
        if (utf8proc_iterate((const utf8proc_uint8_t *)text.data + text.length - n, (utf8proc_ssize_t)n, &c) != (utf8proc_ssize_t)n) break;
        if (!az_is_white(c)) break;
        text.length -= n;
    }
    return az_bytes_add(out, text.data, text.length);
}

/* ---- all steps ---- */

static bool apply(az_bytes *out, az_text text, const az_normal_step *step)
{
    switch (step->kind) {
    case AZ_NORMAL_NFC:
    case AZ_NORMAL_NFD:
    case AZ_NORMAL_NFKC:
    case AZ_NORMAL_NFKD: return unicode_form(out, text, step->kind);
    case AZ_NORMAL_LOWERCASE: return each_character(out, text, put_lower);
    case AZ_NORMAL_STRIP_ACCENTS: return each_character(out, text, put_unaccented);
    case AZ_NORMAL_CLEAN: return each_character(out, text, put_clean);
    case AZ_NORMAL_IDEOGRAPHS: return each_character(out, text, put_spaced_ideograph);
    case AZ_NORMAL_PREPEND:
        return (text.length == 0 || az_bytes_add(out, step->to.data, step->to.length)) && az_bytes_add(out, text.data, text.length);
    case AZ_NORMAL_REPLACE: return step->code ? replace_matches(out, text, step) : replace_text(out, text, step->from, step->to);
    case AZ_NORMAL_STRIP: return strip(out, text, step->left, step->right);
    case AZ_NORMAL_CHARSMAP: return replace_mapped(out, text, step->from);
    }
    return false;
}

az_text az_normalize(az_ctx *az, const az_tokenizer_rules *rules, az_text text)
{
    const size_t most = 64 * 1024 + 256 * text.length; /* replacements of replacements could fill any memory */
    for (int i = 0; i < rules->normals; i++) {
        az_bytes out = {.az = az, .most = most};
        if (!apply(&out, text, &rules->normal[i])) return (az_text){.data = "", .length = 0};
        text = (az_text){.data = out.data ? out.data : "", .length = out.length};
    }
    return text;
}
