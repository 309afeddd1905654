/* lex.c - a chat template as tokens. White space around blocks goes as published templates expect it: the first line end behind a
 * block is dropped, so are blanks in front of a block that begins a line, and '-' beside a mark drops all white space on its side. */
#include "lm/chat/chat.h"

#include <string.h>

typedef struct lexer {
    az_ctx *az;
    const char *at;
    int line;
    az_chat_token *token;
    int64_t n, room;
    bool trim_next; /* '-' stood at the end of the mark before */
    bool after_block;
} lexer;

static void *fail(lexer *l, const char *what)
{
    return az_fail(l->az, AZ_BAD_INPUT, "chat template, line %d: %s", l->line, what);
}

static bool push(lexer *l, az_chat_kind kind, const char *text, size_t length)
{
    if (l->n == l->room) {
        const int64_t room = l->room ? 2 * l->room : 256;
        az_chat_token *longer = az_alloc_array(l->az, (size_t)room, sizeof *longer);
        if (!longer) return false;
        if (l->n > 0) memcpy(longer, l->token, (size_t)l->n * sizeof *longer);
        l->token = longer;
        l->room = room;
    }
    l->token[l->n++] = (az_chat_token){.kind = kind, .text = {.data = text, .length = length}, .line = l->line};
    return true;
}

static void count_lines(lexer *l, const char *begin, const char *end)
{
    for (const char *c = begin; c < end; c++) l->line += *c == '\n';
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_space(char c)
{
    return is_blank(c) || c == '\n' || c == '\r' || c == '\v' || c == '\f';
}

static const char *next_mark(const char *from)
{
    const char *at = from;
    while ((at = strchr(at, '{')) && at[1] != '{' && at[1] != '%' && at[1] != '#') at++;
    return at ? at : from + strlen(from);
}

/* Text up to the next mark. */
static bool lex_text(lexer *l)
{
    const char *begin = l->at, *mark = next_mark(begin), *end = mark;
    const bool line_begins = l->n == 0;
    count_lines(l, begin, mark);
    if (l->trim_next) {
        while (begin < end && is_space(*begin)) begin++;
    } else if (l->after_block && begin < end && *begin == '\n') {
        begin++;
    }
    if (*mark && mark[2] == '-') {
        while (end > begin && is_space(end[-1])) end--;
    } else if (*mark && mark[1] != '{' && mark[2] != '+') {
        const char *line = end;
        while (line > begin && is_blank(line[-1])) line--;
        if (line == begin ? line_begins || (begin > l->at && begin[-1] == '\n') : line[-1] == '\n') end = line;
    }
    l->at = mark;
    return end == begin || push(l, AZ_CHAT_TEXT, begin, (size_t)(end - begin));
}

static char escaped(char c)
{
    return c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c == '0' ? '\0' : c;
}

static bool lex_string(lexer *l)
{
    const char quote = *l->at++;
    const char *end = l->at;
    while (*end && *end != quote) end += *end == '\\' && end[1] ? 2 : 1;
    if (!*end) return fail(l, "a string does not end");
    char *text = az_alloc(l->az, (size_t)(end - l->at) + 1);
    size_t n = 0;
    for (; text && l->at < end; l->at++) {
        const bool escape = *l->at == '\\' && strchr("ntr0'\"\\", l->at[1]);
        text[n++] = escape ? escaped(*++l->at) : *l->at;
    }
    l->at = end + 1;
    return text && push(l, AZ_CHAT_STRING, text, n);
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool lex_operator(lexer *l)
{
    static const char *const longer[] = {"==", "!=", "<=", ">=", "//", "**"};
    for (size_t i = 0; i < sizeof longer / sizeof *longer; i++)
        if (strncmp(l->at, longer[i], 2) == 0) return l->at += 2, push(l, AZ_CHAT_OPERATOR, longer[i], 2);
    if (!strchr("+-*/%~()[]{}.,:|=<>", *l->at)) return fail(l, "a character that no expression has");
    return l->at++, push(l, AZ_CHAT_OPERATOR, l->at - 1, 1);
}

/* Names, literals and operators up to the closing mark. */
static bool lex_inside(lexer *l, const char *close)
{
    for (int braces = 0;;) { /* open { of dictionaries */
        while (is_space(*l->at)) l->line += *l->at++ == '\n';
        if (!*l->at) return fail(l, "a block does not end");
        const bool closes_dictionary = *l->at == '}' && braces > 0;
        braces += (*l->at == '{') - closes_dictionary;
        if ((l->trim_next = *l->at == '-' && strncmp(l->at + 1, close, 2) == 0)) return l->at += 3, true;
        if (strncmp(l->at, close, 2) == 0 && !closes_dictionary) return l->at += 2, true;
        const char *end = l->at;
        bool good;
        if (is_letter(*end)) {
            while (is_letter(*end) || is_digit(*end)) end++;
            good = push(l, AZ_CHAT_NAME, l->at, (size_t)(end - l->at));
            l->at = end;
        } else if (is_digit(*end)) {
            while (is_digit(*end)) end++;
            if (*end == '.' && is_digit(end[1]))
                for (end++; is_digit(*end);) end++;
            good = push(l, AZ_CHAT_NUMBER, l->at, (size_t)(end - l->at));
            l->at = end;
        } else {
            good = *end == '"' || *end == '\'' ? lex_string(l) : lex_operator(l);
        }
        if (!good) return false;
    }
}

static bool skip_comment(lexer *l)
{
    const char *end = strstr(l->at + 2, "#}");
    if (!end) return fail(l, "a comment does not end");
    count_lines(l, l->at, end);
    l->trim_next = end > l->at + 2 && end[-1] == '-';
    l->after_block = true;
    l->at = end + 2;
    return true;
}

static bool lex_mark(lexer *l)
{
    if (l->at[1] == '#') return skip_comment(l);
    const bool block = l->at[1] == '%';
    if (!push(l, block ? AZ_CHAT_BLOCK : AZ_CHAT_PRINT, l->at, 2)) return false;
    l->at += 2;
    if (*l->at == '-' || *l->at == '+') l->at++;
    l->after_block = block;
    return lex_inside(l, block ? "%}" : "}}") && push(l, block ? AZ_CHAT_BLOCK_END : AZ_CHAT_PRINT_END, l->at, 0);
}

az_chat_token *az_chat_lex(az_ctx *az, const char *text)
{
    lexer l = {.az = az, .at = text, .line = 1};
    while (*l.at) {
        if (!lex_text(&l)) return NULL;
        if (*l.at && !lex_mark(&l)) return NULL;
    }
    /* Jinja drops one line end at the end of a template. */
    az_chat_token *last = l.n > 0 ? &l.token[l.n - 1] : NULL;
    if (last && last->kind == AZ_CHAT_TEXT && last->text.data[last->text.length - 1] == '\n') last->text.length--;
    return push(&l, AZ_CHAT_END, l.at, 0) ? l.token : NULL;
}
