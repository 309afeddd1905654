/* extract.c - what a reply holds: fenced blocks, JSON, labelled lines, lists, boxed answers, numbers, choices. */
#include "lm/backend/backend_internal.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

static char *copy(az_ctx *az, const char *text, size_t length)
{
    return az_format_text(az, "%.*s", (int)length, text);
}

static char *copy_trimmed(az_ctx *az, const char *text, const char *end)
{
    while (text < end && isspace((unsigned char)*text)) text++;
    while (end > text && isspace((unsigned char)end[-1])) end--;
    return copy(az, text, (size_t)(end - text));
}

/* The start of the next line, or the end of the text. */
static const char *next_line(const char *line)
{
    line += strcspn(line, "\n");
    return line + (*line == '\n');
}

/* ---- blocks ---- */

static const char *fence_at(const char *line)
{
    const char *mark = line + strspn(line, " \t");
    return strncmp(mark, "```", 3) == 0 ? mark + 3 : NULL;
}

char *az_find_fence(az_ctx *az, const char *text, const char *language)
{
    for (const char *line = text; *line; line = next_line(line)) {
        const char *name = fence_at(line);
        if (!name) continue;
        const size_t length = strcspn(name, " \r\n");
        const bool wanted = !language || (strlen(language) == length && strncasecmp(name, language, length) == 0);
        const char *begin = next_line(line), *end = begin;
        while (*end && !fence_at(end)) end = next_line(end);
        if (wanted) return copy(az, begin, (size_t)(end - begin));
        if (!*end) return NULL;
        line = end; /* the closing fence */
    }
    return NULL;
}

/* Length of the balanced value that begins here, 0 when it is not closed. */
static size_t balanced(const char *text)
{
    int depth = 0;
    bool quoted = false;
    for (size_t i = 0; text[i]; i++) {
        if (quoted && text[i] == '\\' && text[i + 1])
            i++;
        else if (text[i] == '"')
            quoted = !quoted;
        else if (!quoted && (text[i] == '{' || text[i] == '['))
            depth++;
        else if (!quoted && (text[i] == '}' || text[i] == ']') && --depth == 0)
            return i + 1;
    }
    return 0;
}

enum { JSON_ATTEMPTS = 64 }; /* beginnings that are tried: the search stays linear in the text */

char *az_find_json(az_ctx *az, const char *text)
{
    int attempts = 0;
    for (const char *at = strpbrk(text, "{["); at && attempts < JSON_ATTEMPTS; at = strpbrk(at + 1, "{["), attempts++) {
        const size_t length = balanced(at);
        const char *why = NULL;
        if (length && az_json_read(az, at, length, &why)) return copy(az, at, length);
    }
    return NULL;
}

char *az_find_label(az_ctx *az, const char *text, const char *label)
{
    const size_t length = strlen(label);
    for (const char *line = text; *line; line = next_line(line)) {
        const char *at = line + strspn(line, " \t*");
        if (strncasecmp(at, label, length) != 0) continue;
        at += length + strspn(at + length, " \t*");
        if (*at == ':') return copy_trimmed(az, at + 1, at + strcspn(at, "\n"));
    }
    return NULL;
}

int az_find_list(az_ctx *az, const char *text, char **item, int most)
{
    int n = 0;
    for (const char *line = text; *line && n < most; line = next_line(line)) {
        const char *at = line + strspn(line, " \t");
        const size_t digits = strspn(at, "0123456789");
        if (digits == 0 || (at[digits] != '.' && at[digits] != ')')) continue;
        item[n++] = copy_trimmed(az, at + digits + 1, at + strcspn(at, "\n"));
    }
    return n;
}

/* ---- answers ---- */

char *az_find_boxed(az_ctx *az, const char *text, bool last)
{
    static const char mark[] = "\\boxed";
    char *found = NULL;
    for (const char *at = text; (at = strstr(at, mark)); at += sizeof mark - 1) {
        const char *open = at + sizeof mark - 1 + strspn(at + sizeof mark - 1, " ");
        int depth = 0;
        const char *end = open;
        if (*open != '{') continue;
        for (; *end; end++) {
            if (*end == '\\' && (end[1] == '{' || end[1] == '}')) {
                end++; /* \{ is a brace of the text */
                continue;
            }
            depth += (*end == '{') - (*end == '}');
            if (depth == 0) break;
        }
        if (!*end) break;
        found = copy(az, open + 1, (size_t)(end - open - 1));
        if (!last) break;
    }
    return found;
}

/* Length of the number that begins here: digits, with commas between groups of three, a point, a sign before; 0 = none. */
static size_t number_length(const char *text)
{
    const char *at = text + (*text == '-');
    const size_t digits = strspn(at, "0123456789");
    if (digits == 0) return 0;
    at += digits;
    while (digits <= 3 && *at == ',' && strspn(at + 1, "0123456789") == 3) at += 4;
    if (*at == '.' && isdigit((unsigned char)at[1])) at += 1 + strspn(at + 1, "0123456789");
    return (size_t)(at - text);
}

char *az_find_number(az_ctx *az, const char *text)
{
    const char *found = NULL;
    size_t found_length = 0;
    for (const char *at = text; *at;) {
        const size_t length = number_length(at);
        if (length) found = at, found_length = length;
        at += length ? length : 1;
    }
    return found ? copy(az, found, found_length) : NULL;
}

/* ---- choices ---- */

static bool is_word_byte(char c)
{
    return isalnum((unsigned char)c) || c == '_' || (unsigned char)c >= 128;
}

static bool has_word(const char *text, const char *word)
{
    const size_t length = strlen(word);
    for (const char *at = text; length && (at = strcasestr(at, word)); at++) {
        const bool begins = at == text || !is_word_byte(at[-1]) || !is_word_byte(word[0]);
        const bool ends = !is_word_byte(at[length]) || !is_word_byte(word[length - 1]);
        if (begins && ends) return true;
    }
    return false;
}

/* Whether the text, without blanks around it, is the choice. */
static bool equals(const char *text, const char *choice, bool fold)
{
    const char *end = text + strlen(text);
    while (isspace((unsigned char)*text)) text++;
    while (end > text && isspace((unsigned char)end[-1])) end--;
    const size_t length = (size_t)(end - text);
    return strlen(choice) == length && (fold ? strncasecmp : strncmp)(text, choice, length) == 0;
}

int az_find_choice(const char *text, const char *const *choice, int n)
{
    for (int fold = 0; fold < 2; fold++)
        for (int i = 0; i < n; i++)
            if (equals(text, choice[i], fold)) return i;
    int found = -1;
    for (int i = 0; i < n; i++) {
        if (!has_word(text, choice[i])) continue;
        if (found >= 0) return -2;
        found = i;
    }
    return found;
}
