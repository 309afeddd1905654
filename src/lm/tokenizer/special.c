/* special.c - finds special and added tokens in a text: the longest at the leftmost place. */
#include "lm/tokenizer/tokenizer.h"

#include <utf8proc.h>

static bool is_word(utf8proc_int32_t c)
{
    const utf8proc_category_t category = utf8proc_category(c);
    return (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_NO) || category == UTF8PROC_CATEGORY_PC;
}

/* The character that begins at text[at], or that ends before it; its length, 0 when there is none. */
static size_t next_character(az_text text, size_t at, utf8proc_int32_t *c)
{
    if (at >= text.length) return 0;
    const utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)text.data + at, (utf8proc_ssize_t)(text.length - at), c);
    return n > 0 ? (size_t)n : 0;
}

static size_t previous_character(az_text text, size_t at, utf8proc_int32_t *c)
{
    for (size_t n = 1; n <= 4 && n <= at; n++)
        if (((unsigned char)text.data[at - n] & 0xc0) != 0x80)
            return next_character((az_text){.data = text.data, .length = at}, at - n, c) == n ? n : 0;
    return 0;
}

/* The longest token at text[at], -1 = none. */
static int32_t special_at(const az_tokenizer *t, const az_prefix_index *index, az_text text, size_t at, int flags)
{
    int32_t found = -1;
    az_prefix_walk walk = az_prefix_begin(index);
    while (at + walk.length < text.length && az_prefix_step(index, &walk, (unsigned char)text.data[at + walk.length])) {
        const int32_t id = az_prefix_token(index, &walk);
        if (id >= 0 && (t->type[id] == AZ_TOKEN_USER || (flags & AZ_PARSE_SPECIAL))) found = id;
    }
    return found;
}

static bool stands_alone(az_text text, const az_special *found)
{
    utf8proc_int32_t c;
    if (previous_character(text, found->begin, &c) > 0 && is_word(c)) return false;
    return next_character(text, found->end, &c) == 0 || !is_word(c);
}

/* Takes white space beside the token where its flags say so, but not what lies before `from`. */
static void take_white(az_text text, size_t from, int added, az_special *found)
{
    utf8proc_int32_t c;
    for (size_t n;
         (added & AZ_ADDED_LSTRIP) && found->begin > from && (n = previous_character(text, found->begin, &c)) > 0 && az_is_white(c);)
        found->begin -= n;
    for (size_t n; (added & AZ_ADDED_RSTRIP) && (n = next_character(text, found->end, &c)) > 0 && az_is_white(c);) found->end += n;
}

bool az_special_next(const az_tokenizer *t, const az_prefix_index *index, az_text text, size_t from, int flags, az_special *found)
{
    for (size_t at = from; index->n > 0 && at < text.length; at++) {
        if (!index->first[(unsigned char)text.data[at]]) continue;
        const int32_t id = special_at(t, index, text, at, flags);
        if (id < 0) continue;
        *found = (az_special){.id = id, .begin = at, .end = at + index->spelling[id].length};
        if ((t->added[id] & AZ_ADDED_SINGLE_WORD) && !stands_alone(text, found)) continue;
        take_white(text, from, t->added[id], found);
        return true;
    }
    return false;
}
