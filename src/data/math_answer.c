/* math_answer.c - whether two answers to a mathematical question are the same, whichever way they are written. */
#include "adze/data.h"
#include "data/math_expression.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST = 4096, MOST_ITEMS = 64 }; /* longer answers are compared as texts */

/* ---- the normal spelling ---- */

static void remove_range(char *text, size_t at, size_t length)
{
    memmove(text + at, text + at + length, strlen(text + at + length) + 1);
}

static void remove_all(char *text, const char *what)
{
    for (char *at = text; (at = strstr(at, what));) remove_range(text, (size_t)(at - text), strlen(what));
}

/* The new text is no longer than the old one. */
static void replace_all(char *text, const char *what, const char *with)
{
    const size_t old = strlen(what), new = strlen(with);
    for (char *at = text; (at = strstr(at, what)); at += new) {
        memcpy(at, with, new);
        remove_range(text, (size_t)(at - text) + new, old - new);
    }
}

/* Units and the like at the end, as long as something stands before them. */
static void strip_end(char *text)
{
    static const char *const ends[] = {".", "\\%", "%", "^\\circ", "^{\\circ}", "\\circ", "degrees", "degree", "units", "unit", "\\\\"};
    for (bool again = true; again;) {
        again = false;
        for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
            if (az_ends_with(text, ends[i]) && strlen(text) > strlen(ends[i])) text[strlen(text) - strlen(ends[i])] = '\0', again = true;
    }
}

/* "5\text{ cm}" is 5; a text that is all there is stays, without its command. */
static void strip_text(char *text)
{
    static const char *const commands[] = {"\\text{", "\\mathrm{", "\\textbf{", "\\mbox{", "\\mathbf{"};
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        char *at = strstr(text, commands[i]);
        char *close = at ? strchr(at, '}') : NULL;
        if (!close) continue;
        if (at > text && !close[1]) {
            *at = '\0';
            continue;
        }
        remove_range(text, (size_t)(close - text), 1);
        remove_range(text, (size_t)(at - text), strlen(commands[i]));
    }
}

/* "1,234,567" without its commas. */
static void strip_thousands(char *text)
{
    for (char *at = text; (at = strchr(at, ','));) {
        const bool before = at > text && isdigit((unsigned char)at[-1]);
        const bool group = isdigit((unsigned char)at[1]) && isdigit((unsigned char)at[2]) && isdigit((unsigned char)at[3]);
        size_t digits = 0; /* in front of the comma */
        while (at > text + digits && isdigit((unsigned char)at[-1 - (ptrdiff_t)digits])) digits++;
        const bool alone = at == text + digits || !strchr("([{,", at[-1 - (ptrdiff_t)digits]);
        if (before && group && !isdigit((unsigned char)at[4]) && digits <= 3 && text[0] != '0' && alone)
            remove_range(text, (size_t)(at - text), 1);
        else
            at++;
    }
}

/* "2.50" is 2.5, "3.0" is 3. */
static void strip_zeros(char *text)
{
    for (char *at = text; (at = strchr(at, '.'));) {
        const size_t digits = strspn(at + 1, "0123456789");
        size_t kept = digits;
        while (kept > 0 && at[kept] == '0') kept--;
        const size_t from = (size_t)(at - text) + 1 + kept;
        remove_range(text, kept ? from : from - 1, digits - kept + (kept == 0 && digits > 0));
        at += kept ? kept + 1 : digits == 0;
    }
}

/* "\frac12", "\frac1{72}" with braces. */
static char *brace_fractions(az_ctx *az, const char *text)
{
    char *out = az_alloc(az, 3 * strlen(text) + 1);
    size_t n = 0;
    for (int bare = 0; out && *text;) {
        if (strncmp(text, "\\frac", 5) == 0) {
            memcpy(out + n, text, 5);
            n += 5, text += 5, bare = 2;
            continue;
        }
        if (bare > 0 && isalnum((unsigned char)*text)) {
            out[n++] = '{', out[n++] = *text++, out[n++] = '}';
            bare--;
            continue;
        }
        if (bare > 0 && *text == '{') {
            const char *close = text;
            for (int depth = 0; *close; close++) {
                depth += (*close == '{') - (*close == '}');
                if (depth == 0) break;
            }
            const size_t length = (size_t)(close - text) + (*close != '\0');
            memcpy(out + n, text, length);
            n += length, text += length, bare--;
            continue;
        }
        bare = 0;
        out[n++] = *text++;
    }
    return out;
}

/* "3/4" of whole numbers is "\frac{3}{4}". */
static char *plain_fraction(az_ctx *az, char *text)
{
    const bool negative = *text == '-';
    const char *digits = text + negative;
    const size_t above = strspn(digits, "0123456789");
    const size_t below = above && digits[above] == '/' ? strspn(digits + above + 1, "0123456789") : 0;
    if (!below || digits[above + 1 + below]) return text;
    return az_format_text(az, "%s\\frac{%.*s}{%s}", negative ? "-" : "", (int)above, digits, digits + above + 1);
}

/* Whether a command's name, "\\pi", ends right before this place. */
static bool behind_command(const char *text, const char *at)
{
    const char *from = at;
    while (from > text && isalpha((unsigned char)from[-1])) from--;
    return from < at && from > text && from[-1] == '\\';
}

/* Blanks go, but the one that keeps a command's name apart from a letter; "\\ " is a blank, behind the end of a row it is not. */
static void strip_blanks(char *text)
{
    for (char *at = text; *at;) {
        const bool row_end = at[0] == '\\' && at[1] == '\\';
        if (row_end)
            at += 2;
        else if (at[0] == '\\' && at[1] == ' ')
            remove_range(text, (size_t)(at - text), 2);
        else if (isspace((unsigned char)*at) && !(behind_command(text, at) && isalpha((unsigned char)at[1])))
            remove_range(text, (size_t)(at - text), 1);
        else
            at++;
    }
}

char *az_answer_normal(az_ctx *az, const char *given)
{
    static const char *const nothing[] = {"\\left", "\\right", "\\!", "\\,", "\\;", "\\:", "\\displaystyle", "\\$", "$", "~"};
    char *text = az_strdup(az, given);
    if (!text || strlen(text) > LONGEST) return text;
    replace_all(text, "\\dfrac", "\\frac");
    replace_all(text, "\\tfrac", "\\frac");
    strip_text(text);
    for (size_t i = 0; i < sizeof nothing / sizeof *nothing; i++) remove_all(text, nothing[i]);
    strip_blanks(text);
    strip_end(text);
    strip_thousands(text);
    strip_zeros(text);
    text = brace_fractions(az, text);
    return text ? plain_fraction(az, text) : NULL;
}

/* ---- kinds ---- */

static bool is_number(const char *text)
{
    char *end = NULL;
    const char *digits = text + (*text == '-');
    if (!isdigit((unsigned char)*digits) && *digits != '.') return false;
    strtod(text, &end);
    return end > text && !*end && !strpbrk(text, "xXeEnN");
}

const char *az_answer_kind_name(az_answer_kind kind)
{
    static const char *const names[] = {"real", "equation", "tuple", "string"};
    return names[kind];
}

static int top_level_items(const char *text, const char *end, const char **item, size_t *length);

az_answer_kind az_answer_kind_of(const char *normal)
{
    const char *item[MOST_ITEMS];
    size_t length[MOST_ITEMS];
    const size_t n = strlen(normal);
    double none[AZ_MATH_VARIABLES] = {0}, value;
    bool constant;
    if (strchr(normal, '=')) return AZ_ANSWER_EQUATION;
    const bool enclosed = n > 2 && strchr("([", *normal) && strchr(")]", normal[n - 1]);
    if (top_level_items(normal + enclosed, normal + n - enclosed, item, length) > 1) return AZ_ANSWER_TUPLE;
    return az_math_value(normal, none, &value, &constant) && constant ? AZ_ANSWER_NUMBER : AZ_ANSWER_STRING;
}

/* ---- comparing ---- */

static bool equal_parts(az_ctx *az, const char *a, const char *b, int depth);

static bool numbers_equal(double a, double b)
{
    if (floor(a) == a && floor(b) == b) return a == b;
    return fabs(a - b) <= 1e-4 * fmax(fabs(a), fabs(b));
}

/* Items between commas outside of brackets, at most MOST_ITEMS. */
static int top_level_items(const char *text, const char *end, const char **item, size_t *length)
{
    int n = 0, depth = 0;
    const char *begin = text;
    for (const char *at = text; at <= end && n < MOST_ITEMS; at++) {
        if (at < end && strchr("([{", *at)) depth++;
        if (at < end && strchr(")]}", *at)) depth--;
        if (at < end && (*at != ',' || depth > 0)) continue;
        item[n] = begin;
        length[n++] = (size_t)(at - begin);
        begin = at + 1;
    }
    return n;
}

/* What encloses a list: "(" and ")", "[" and ")", "\{" and "\}", a matrix's \begin and \end; nothing. */
typedef struct list {
    char open, close; /* '(' '[' '{' or 'm' or 0 */
    int n;
    const char *item[MOST_ITEMS];
    size_t length[MOST_ITEMS];
} list;

/* Cells of "\begin{pmatrix}a&b\\c&d\end{pmatrix}"; the ends of rows are items of their own. */
static bool read_matrix(const char *text, list *l)
{
    const char *begin = strncmp(text, "\\begin{", 7) == 0 ? strchr(text, '}') : NULL, *end = strstr(text, "\\end{");
    if (!begin || !end || end < begin) return false;
    *l = (list){.open = 'm', .close = 'm'};
    const char *cell = begin + 1;
    for (const char *at = cell; at <= end && l->n + 1 < MOST_ITEMS; at++) {
        const bool row = strncmp(at, "\\\\", 2) == 0;
        if (at < end && *at != '&' && !row) continue;
        l->item[l->n] = cell, l->length[l->n++] = (size_t)(at - cell);
        if (row) l->item[l->n] = ";", l->length[l->n++] = 1;
        at += row;
        cell = at + 1;
    }
    return true;
}

static bool read_list(const char *text, list *l)
{
    const size_t n = strlen(text);
    if (read_matrix(text, l)) return true;
    *l = (list){0};
    const char *begin = text, *end = text + n;
    if (n > 4 && strncmp(text, "\\{", 2) == 0 && strcmp(text + n - 2, "\\}") == 0) {
        l->open = l->close = '{';
        begin += 2, end -= 2;
    } else if (n > 2 && strchr("([", text[0]) && strchr(")]", text[n - 1])) {
        l->open = text[0], l->close = text[n - 1];
        begin++, end--;
    }
    l->n = top_level_items(begin, end, l->item, l->length);
    return l->n > 1 || l->open == '{';
}

static bool items_equal(az_ctx *az, const list *a, int i, const list *b, int j, int depth)
{
    const char *x = az_format_text(az, "%.*s", (int)a->length[i], a->item[i]),
               *y = az_format_text(az, "%.*s", (int)b->length[j], b->item[j]);
    return x && y && equal_parts(az, x, y, depth + 1);
}

static bool lists_equal(az_ctx *az, const list *a, const list *b, int depth)
{
    bool used[MOST_ITEMS] = {false};
    if (a->open != b->open || a->close != b->close || a->n != b->n) return false;
    for (int i = 0; i < a->n; i++) {
        int j = a->open == '{' ? 0 : i;
        const int last = a->open == '{' ? b->n - 1 : i;
        while (j <= last && (used[j] || !items_equal(az, a, i, b, j, depth))) j++;
        if (j > last) return false;
        used[j] = true;
    }
    return true;
}

/* Whether the expressions, a - sign b, vanish at all points where both are defined, and are undefined together. */
static bool expressions_equal(const char *a, const char *b, double sign)
{
    enum { POINTS = 8 };
    int defined = 0;
    for (int point = 0; point < POINTS; point++) {
        az_rng rng = az_rng_at(20240101, (uint64_t)point);
        double at[AZ_MATH_VARIABLES], x, y;
        bool constant_a, constant_b;
        for (int i = 0; i < AZ_MATH_VARIABLES; i++) at[i] = (point < POINTS / 2 ? 0.3 : -2) + 2.5 * az_uniform(&rng);
        if (!az_math_value(a, at, &x, &constant_a) || !az_math_value(b, at, &y, &constant_b)) return false;
        if (isfinite(x) != isfinite(y)) return false;
        if (!isfinite(x)) continue;
        defined++;
        if (fabs(x - sign * y) > 1e-8 * fmax(1e-12, fmax(fabs(x), fabs(y)))) return false;
    }
    return defined > 0;
}

/* Left and right side; false without exactly one "=". */
static bool sides(az_ctx *az, const char *text, const char **left, const char **right)
{
    const char *mark = strchr(text, '=');
    if (!mark || strchr(mark + 1, '=') || mark == text || !mark[1] || strpbrk(text, "<>!")) return false;
    *left = az_format_text(az, "%.*s", (int)(mark - text), text);
    *right = az_strdup(az, mark + 1);
    return *left && *right;
}

/* "x=3" -> "3", for a name of one letter, as in f(x)= too. */
static const char *without_name(const char *text)
{
    const char *mark = strchr(text, '=');
    const bool name = mark && isalpha((unsigned char)*text) && (mark == text + 1 || (text[1] == '(' && mark[-1] == ')'));
    return name ? mark + 1 : text;
}

static bool equations_equal(az_ctx *az, const char *a, const char *b)
{
    const char *al, *ar, *bl, *br;
    if (!sides(az, a, &al, &ar) || !sides(az, b, &bl, &br)) return false;
    const char *x = az_format_text(az, "(%s)-(%s)", al, ar), *y = az_format_text(az, "(%s)-(%s)", bl, br);
    return x && y && (expressions_equal(x, y, 1) || expressions_equal(x, y, -1));
}

/* Two parts in their normal spellings. */
static bool equal_parts(az_ctx *az, const char *a, const char *b, int depth)
{
    enum { MOST_DEPTH = 8 };
    if (strcmp(a, b) == 0) return true;
    if (!*a || !*b || depth > MOST_DEPTH || strlen(a) > LONGEST || strlen(b) > LONGEST) return false;
    if (is_number(a) && is_number(b)) return numbers_equal(strtod(a, NULL), strtod(b, NULL));
    if (strchr(a, '=') && strchr(b, '=')) return equations_equal(az, a, b);
    if (strchr(a, '=') || strchr(b, '=')) {
        const char *x = without_name(a), *y = without_name(b);
        return (x != a || y != b) && equal_parts(az, x, y, depth + 1);
    }
    list la, lb;
    const bool is_list = read_list(a, &la);
    if (is_list != read_list(b, &lb)) return false;
    return is_list ? lists_equal(az, &la, &lb, depth) : expressions_equal(a, b, 1);
}

static bool is_percentage(const char *text)
{
    return strchr(text, '%') != NULL;
}

bool az_answers_equal(az_ctx *az, const char *a, const char *b)
{
    if (!a || !b || !az_ok(az)) return false;
    az_scope_push(az);
    const char *x = az_answer_normal(az, a), *y = az_answer_normal(az, b);
    bool equal = x && y && equal_parts(az, x, y, 0);
    if (x && y && !equal && is_percentage(a) != is_percentage(b)) {
        const char *percent = is_percentage(a) ? x : y, *other = is_percentage(a) ? y : x;
        const char *share = az_format_text(az, "(%s)/100", percent);
        double none[AZ_MATH_VARIABLES] = {0}, p, q;
        bool constant;
        equal = share && az_math_value(share, none, &p, &constant) && az_math_value(other, none, &q, &constant) && constant &&
                numbers_equal(p, q);
    }
    az_scope_pop(az);
    return equal;
}
