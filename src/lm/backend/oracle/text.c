/* text.c - reading the texts that simulated models are asked: lines, labels, lists. */
#include "lm/backend/oracle/oracle.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

oracle_piece oracle_trimmed(const char *text, const char *end)
{
    while (text < end && isspace((unsigned char)*text)) text++;
    while (end > text && isspace((unsigned char)end[-1])) end--;
    return (oracle_piece){.text = text, .length = (size_t)(end - text)};
}

bool oracle_same(oracle_piece a, oracle_piece b)
{
    return a.length == b.length && memcmp(a.text, b.text, a.length) == 0;
}

bool oracle_is(oracle_piece piece, const char *text)
{
    return strlen(text) == piece.length && memcmp(piece.text, text, piece.length) == 0;
}

char *oracle_copy(az_ctx *az, oracle_piece piece)
{
    return az_format_text(az, "%.*s", (int)piece.length, piece.text);
}

bool oracle_next_line(const char **at, oracle_piece *line)
{
    if (!**at) return false;
    const char *end = *at + strcspn(*at, "\n");
    *line = oracle_trimmed(*at, end);
    *at = end + (*end == '\n');
    return true;
}

bool oracle_labelled(oracle_piece line, const char *label, oracle_piece *rest)
{
    const size_t length = strlen(label);
    if (line.length <= length || strncasecmp(line.text, label, length) != 0 || line.text[length] != ':') return false;
    *rest = oracle_trimmed(line.text + length + 1, line.text + line.length);
    return true;
}

static bool begins(const char *text, const char *end, const char *word)
{
    const size_t length = strlen(word);
    return (size_t)(end - text) >= length && strncasecmp(text, word, length) == 0;
}

bool oracle_next_item(oracle_piece *at, oracle_piece *item)
{
    static const char *const article[] = {"a ", "an ", "the "};
    const char *text = at->text, *const end = at->text + at->length;
    while (text < end) {
        const char *stop = text;
        while (stop < end && *stop != ',' && !begins(stop, end, " and ")) stop++;
        const char *after = stop == end ? end : *stop == ',' ? stop + 1 : stop + 5;
        oracle_piece piece = oracle_trimmed(text, stop);
        if (piece.length >= 4 && strncasecmp(piece.text, "and ", 4) == 0) piece = oracle_trimmed(piece.text + 4, piece.text + piece.length);
        for (int i = 0; i < 3; i++)
            if (begins(piece.text, piece.text + piece.length, article[i]))
                piece = oracle_trimmed(piece.text + strlen(article[i]), piece.text + piece.length);
        while (piece.length > 0 && piece.text[piece.length - 1] == '.') piece.length--;
        text = after;
        if (!piece.length) continue;
        *item = piece;
        *at = (oracle_piece){.text = text, .length = (size_t)(end - text)};
        return true;
    }
    *at = (oracle_piece){.text = end};
    return false;
}

static bool is_word_byte(char c)
{
    return isalnum((unsigned char)c) || c == '_' || (unsigned char)c >= 128;
}

bool oracle_has_word(oracle_piece piece, oracle_piece word)
{
    if (!word.length) return false;
    for (size_t i = 0; i + word.length <= piece.length; i++) {
        const char *at = piece.text + i;
        if (strncasecmp(at, word.text, word.length) != 0) continue;
        const bool left = i == 0 || !is_word_byte(at[-1]) || !is_word_byte(word.text[0]);
        const bool right = i + word.length == piece.length || !is_word_byte(at[word.length]) || !is_word_byte(word.text[word.length - 1]);
        if (left && right) return true;
    }
    return false;
}
