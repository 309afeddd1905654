/* words.c - regular expressions: a text as the words that match, and what lies between them. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "lm/tokenizer/tokenizer.h"

#include <string.h>

/* The characters of Unicode's White_Space, inside brackets. PCRE's own \s also takes U+180E, which left that class with Unicode 6.3. */
#define WHITE "\\p{Z}\\t-\\r\\x{85}"

/* The expression with \s and \S as other engines read them; a \S inside brackets stays. */
static char *own_white(az_ctx *az, az_text expression)
{
    az_bytes out = {.az = az};
    bool bracket = false;
    for (size_t i = 0; i < expression.length; i++) {
        const char *at = expression.data + i;
        const char next = i + 1 < expression.length ? at[1] : '\0';
        const char *white = NULL;
        if (*at == '\\' && next == 's') white = bracket ? WHITE : "[" WHITE "]";
        if (*at == '\\' && next == 'S' && !bracket) white = "[^" WHITE "]";
        const bool escape = *at == '\\' && next;
        if (!(white ? az_bytes_add(&out, white, strlen(white)) : az_bytes_add(&out, at, escape ? 2 : 1))) return NULL;
        if (!escape && *at == '[') bracket = true;
        if (!escape && *at == ']') bracket = false;
        i += escape;
    }
    return out.data ? out.data : az_strdup(az, "");
}

static void free_code(void *code)
{
    pcre2_code_free(code);
}

const void *az_regex(az_ctx *az, az_text expression)
{
    int error = 0;
    PCRE2_SIZE where = 0;
    PCRE2_UCHAR reason[128] = "";
    const char *own = own_white(az, expression);
    if (!own) return NULL;
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)own, strlen(own), PCRE2_UTF | PCRE2_UCP, &error, &where, NULL);
    if (!code) {
        pcre2_get_error_message(error, reason, sizeof reason);
        return az_fail(az, AZ_BAD_INPUT, "the regular expression '%s' cannot be used: %s", az_text_show(az, expression), (char *)reason);
    }
    pcre2_jit_compile(code, PCRE2_JIT_COMPLETE); /* without it matching is only slower */
    return az_on_leave(az, free_code, code) ? code : NULL;
}

const void *az_word_code(az_ctx *az, const az_word_pattern *pattern)
{
    return az_regex(az, az_text_of(pattern->expression[0]));
}

struct az_words {
    az_ctx *az;
    const pcre2_code *code;
    pcre2_match_data *match;
    const char *text;
    size_t length, at;
    size_t valid;      /* text[at .. valid - 1] is valid UTF-8 */
    size_t begin, end; /* the match found last; it may lie ahead of at */
    bool matched;      /* the word returned last */
};

static void free_match(void *match)
{
    pcre2_match_data_free(match);
}

az_words *az_words_new(az_ctx *az, const void *code)
{
    az_words *words = az_alloc(az, sizeof *words);
    if (!words) return NULL;
    *words = (az_words){.az = az, .code = code, .match = pcre2_match_data_create(1, NULL)};
    if (!words->match) return az_fail(az, AZ_NO_MEMORY, "out of memory");
    return az_on_leave(az, free_match, words->match) ? words : NULL;
}

void az_words_begin(az_words *words, const char *text, size_t length)
{
    words->text = text;
    words->length = length;
    words->at = words->valid = words->begin = words->end = 0;
    words->matched = false;
}

/* Finds the next match in the valid part from `at` on; without one the match is empty and at its end. */
static bool search(az_words *words)
{
    const PCRE2_SPTR subject = (PCRE2_SPTR)words->text;
    int found = pcre2_match(words->code, subject, words->valid, words->at, PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, words->match, NULL);
    if (found == PCRE2_ERROR_JIT_STACKLIMIT)
        found = pcre2_match(words->code, subject, words->valid, words->at, PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY | PCRE2_NO_JIT, words->match,
                            NULL);
    if (found < 0 && found != PCRE2_ERROR_NOMATCH)
        return az_fail(words->az, AZ_BAD_INPUT, "text cannot be cut into words at byte %zu (PCRE2 error %d)", words->at, found);
    const PCRE2_SIZE *range = pcre2_get_ovector_pointer(words->match);
    words->begin = found < 0 ? words->valid : range[0];
    words->end = found < 0 ? words->valid : range[1];
    return true;
}

az_text az_words_next(az_words *words)
{
    const az_text none = {.data = words->text, .length = 0};
    if (words->at == words->length) return none;
    const size_t at = words->at;
    words->matched = false;
    if (at == words->valid) words->valid = at + az_utf8_prefix(words->text + at, words->length - at);
    if (at == words->valid) { /* a byte that is no UTF-8 */
        words->valid = words->begin = words->end = ++words->at;
        return (az_text){.data = words->text + at, .length = 1};
    }
    if (at >= words->end && !search(words)) return none;
    words->matched = at == words->begin && at < words->end;
    words->at = at < words->begin ? words->begin : words->end;
    return (az_text){.data = words->text + at, .length = words->at - at};
}

bool az_words_matched(const az_words *words)
{
    return words->matched;
}
