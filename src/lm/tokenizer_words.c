/* tokenizer_words.c - cuts text into the words inside which byte-level BPE merges. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "lm/tokenizer.h"

#include <string.h>

/* The characters of Unicode's White_Space, inside brackets. PCRE's own \s also takes U+180E, which left that class with Unicode 6.3. */
#define WHITE "\\p{Z}\\t-\\r\\x{85}"

static const char gpt2[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+"
                           "| ?[^" WHITE "\\p{L}\\p{N}]+|[" WHITE "]+(?![^" WHITE "])|[" WHITE "]+";

/* Patterns as the models' own tokenizer files state them. */
static const az_word_pattern patterns[] = {
    {"gpt-2", gpt2, false},
    {"default", gpt2, false},
    {"llama-bpe",
     "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}"
     "| ?[^" WHITE "\\p{L}\\p{N}]+[\\r\\n]*|[" WHITE "]*[\\r\\n]+|[" WHITE "]+(?![^" WHITE "])|[" WHITE "]+",
     true},
    {"qwen2",
     "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}"
     "| ?[^" WHITE "\\p{L}\\p{N}]+[\\r\\n]*|[" WHITE "]*[\\r\\n]+|[" WHITE "]+(?![^" WHITE "])|[" WHITE "]+",
     false},
};

enum { PATTERNS = sizeof patterns / sizeof *patterns };

const az_word_pattern *az_word_pattern_by_name(az_text name)
{
    for (int i = 0; i < PATTERNS; i++)
        if (az_text_equal(name, az_text_of(patterns[i].name))) return &patterns[i];
    return NULL;
}

const char *az_word_pattern_names(az_ctx *az)
{
    const char *names = patterns[0].name;
    for (int i = 1; i < PATTERNS && names; i++) names = az_format_text(az, "%s, %s", names, patterns[i].name);
    return names;
}

static void free_code(void *code)
{
    pcre2_code_free(code);
}

const void *az_word_code(az_ctx *az, const az_word_pattern *pattern)
{
    int error = 0;
    PCRE2_SIZE where = 0;
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)pattern->pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &error, &where, NULL);
    if (!code) return az_fail(az, AZ_BAD_CALL, "the word pattern '%s' does not compile at %zu (error %d)", pattern->name, where, error);
    pcre2_jit_compile(code, PCRE2_JIT_COMPLETE); /* without it matching is only slower */
    return az_on_leave(az, free_code, code) ? code : NULL;
}

struct az_words {
    az_ctx *az;
    const pcre2_code *code;
    pcre2_match_data *match;
    const char *text;
    size_t length, at;
    size_t valid;      /* text[at .. valid - 1] is valid UTF-8 */
    size_t begin, end; /* the match found last; it may lie ahead of at */
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
}

/* Finds the next match in the valid part from `at` on; without one the match is empty and at its end. */
static bool search(az_words *words)
{
    const PCRE2_SPTR subject = (PCRE2_SPTR)words->text;
    int found = pcre2_match(words->code, subject, words->valid, words->at, PCRE2_NO_UTF_CHECK, words->match, NULL);
    if (found == PCRE2_ERROR_JIT_STACKLIMIT)
        found = pcre2_match(words->code, subject, words->valid, words->at, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, words->match, NULL);
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
    if (at == words->valid) words->valid = at + az_utf8_prefix(words->text + at, words->length - at);
    if (at == words->valid) { /* a byte that is no UTF-8 */
        words->valid = words->begin = words->end = ++words->at;
        return (az_text){.data = words->text + at, .length = 1};
    }
    if (at >= words->end && !search(words)) return none;
    words->at = at < words->begin ? words->begin : words->end;
    return (az_text){.data = words->text + at, .length = words->at - at};
}
