/* options.c - settings described by tables: defaults, parsing, values as text, help. */
#include "adze/base.h"

#include <ctype.h>
#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_OPTIONS = 256, MAX_WORD = 64 };

static void *field(void *settings, const az_option *option)
{
    return (char *)settings + option->offset;
}

static const void *const_field(const void *settings, const az_option *option)
{
    return (const char *)settings + option->offset;
}

static int table_length(const az_option *table)
{
    int n = 0;
    while (table[n].name) n++;
    return n;
}

/* ---- the nearest name ---- */

static size_t least(size_t a, size_t b, size_t c)
{
    size_t ab = a < b ? a : b;
    return ab < c ? ab : c;
}

/* Edit distance with swaps of neighbours (optimal string alignment); both words shorter than MAX_WORD. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t rows[3][MAX_WORD], *two_back = rows[0], *back = rows[1], *now = rows[2], length = strlen(b);
    for (size_t j = 0; j <= length; j++) back[j] = j;
    for (size_t i = 1; a[i - 1]; i++) {
        now[0] = i;
        for (size_t j = 1; j <= length; j++) {
            now[j] = least(back[j] + 1, now[j - 1] + 1, back[j - 1] + (a[i - 1] != b[j - 1]));
            bool swap = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if (swap && two_back[j - 2] + 1 < now[j]) now[j] = two_back[j - 2] + 1;
        }
        size_t *free_row = two_back;
        two_back = back;
        back = now;
        now = free_row;
    }
    return back[length];
}

/* The one word that begins so: "con" is short for "context" rather than misspelt "json". */
static const char *only_beginning(const char *word, const char *const *words, int n)
{
    const char *found = NULL;
    const size_t length = strlen(word);
    for (int i = 0; i < n; i++) {
        if (length < 2 || strncmp(words[i], word, length) != 0) continue;
        if (found && strcmp(found, words[i]) != 0) return NULL;
        found = words[i];
    }
    return found;
}

const char *az_nearest(const char *word, const char *const *words, int n)
{
    size_t length = strlen(word), best = (length + 1) / 2 < 3 ? (length + 1) / 2 : 3;
    const char *nearest = NULL;
    if (length >= MAX_WORD) return NULL;
    if ((nearest = only_beginning(word, words, n))) return nearest;
    for (int i = 0; i < n; i++) {
        if (strlen(words[i]) >= MAX_WORD) continue;
        size_t distance = edit_distance(word, words[i]);
        if (distance >= best + (nearest == NULL)) continue;
        best = distance;
        nearest = words[i];
    }
    return nearest;
}

/* ---- setting one value ---- */

static bool parse_int(const char *text, int64_t *value)
{
    char *end;
    errno = 0;
    long long whole = strtoll(text, &end, 10);
    *value = whole;
    if (end != text && *end == '\0') return errno == 0;
    double real = strtod(text, &end); /* "1e6" */
    if (end == text || *end || !(fabs(real) < 0x1p53) || real != floor(real)) return false;
    *value = (int64_t)real;
    return true;
}

static bool parse_real(const char *text, double *value)
{
    char *end;
    *value = strtod(text, &end);
    return end != text && *end == '\0' && isfinite(*value);
}

static bool parse_bool(const char *text, bool *value)
{
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on", "0", "1"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcmp(text, words[i]) != 0) continue;
        *value = i % 2;
        return true;
    }
    return false;
}

static bool parse_pattern(const char *text, az_pattern *value)
{
    *value = (az_pattern){0};
    if (strcmp(text, "none") == 0) return true;
    char *end;
    if (!isdigit((unsigned char)*text)) return false;
    long n = strtol(text, &end, 10);
    if (*end != ':' || !isdigit((unsigned char)end[1])) return false;
    long m = strtol(end + 1, &end, 10);
    if (*end || n < 1 || m > 1 << 20 || n > m) return false;
    *value = (az_pattern){(int)n, (int)m};
    return true;
}

/* "1 to 8", "at least 1", "at most 8"; empty when any value will do. */
static const char *range_text(const az_option *option, char *out, size_t size)
{
    if (option->low == 0 && option->high == 0)
        *out = '\0';
    else if (isinf(option->high))
        snprintf(out, size, "at least %.10g", option->low);
    else if (isinf(option->low))
        snprintf(out, size, "at most %.10g", option->high);
    else
        snprintf(out, size, "%.10g to %.10g", option->low, option->high);
    return out;
}

const char *az_option_range(az_ctx *az, const az_option *option)
{
    char range[64];
    return az_strdup(az, range_text(option, range, sizeof range));
}

static bool in_range(az_ctx *az, const az_option *option, const char *owner, double value)
{
    if ((option->low == 0 && option->high == 0) || (value >= option->low && value <= option->high)) return true;
    char range[64];
    az_fail(az, AZ_BAD_INPUT, "%s: %s=%.15g is out of range: it must be %s", owner, option->name, value,
            range_text(option, range, sizeof range));
    return false;
}

static bool set_choice(az_ctx *az, const az_option *option, const char *owner, const char *value, int *out)
{
    int n = 0;
    for (; option->choices[n]; n++) {
        if (strcmp(option->choices[n], value) != 0) continue;
        *out = n;
        return true;
    }
    char list[512] = "";
    for (int i = 0, at = 0; i < n && at < (int)sizeof list; i++)
        at += snprintf(list + at, sizeof list - (size_t)at, "%s%s", i ? ", " : "", option->choices[i]);
    az_fail(az, AZ_BAD_INPUT, "%s: %s=%s is not one of %s", owner, option->name, value, list);
    return false;
}

static bool bad_value(az_ctx *az, const az_option *option, const char *owner, const char *value, const char *wanted)
{
    az_fail(az, AZ_BAD_INPUT, "%s: %s=%s is not %s", owner, option->name, value, wanted);
    return false;
}

static bool add_text(az_ctx *az, az_texts *list, const char *value)
{
    if (!*value) {
        list->count = 0;
        return true;
    }
    if (list->count == list->room) {
        const int room = list->room ? 2 * list->room : 4;
        const char **item = az_alloc_array(az, (size_t)room, sizeof *item);
        if (!item) return false;
        for (int i = 0; i < list->count; i++) item[i] = list->item[i];
        list->item = item;
        list->room = room;
    }
    return (list->item[list->count++] = az_strdup(az, value)) != NULL;
}

static bool set_value(az_ctx *az, const az_option *option, const char *owner, const char *value, void *settings)
{
    void *at = field(settings, option);
    int64_t whole;
    double real;
    switch (option->type) {
    case AZ_INT:
        if (!parse_int(value, &whole)) return bad_value(az, option, owner, value, "a whole number");
        if (!in_range(az, option, owner, (double)whole)) return false;
        *(int64_t *)at = whole;
        return true;
    case AZ_REAL:
        if (!parse_real(value, &real)) return bad_value(az, option, owner, value, "a number");
        if (!in_range(az, option, owner, real)) return false;
        *(double *)at = real;
        return true;
    case AZ_BOOL: return parse_bool(value, at) || bad_value(az, option, owner, value, "true or false");
    case AZ_TEXT: return (*(const char **)at = az_strdup(az, value)) != NULL;
    case AZ_CHOICE: return set_choice(az, option, owner, value, at);
    case AZ_PATTERN: return parse_pattern(value, at) || bad_value(az, option, owner, value, "a pattern such as 2:4, or none");
    case AZ_TEXTS: return add_text(az, at, value);
    }
    return false;
}

static const az_option *find_option(const az_option *table, const char *name)
{
    for (const az_option *option = table; option->name; option++)
        if (strcmp(option->name, name) == 0) return option;
    return NULL;
}

static bool unknown_option(az_ctx *az, const az_option *table, const char *owner, const char *name)
{
    const char *names[MAX_OPTIONS] = {NULL};
    int n = 0;
    for (; n < MAX_OPTIONS && table[n].name; n++) names[n] = table[n].name;
    const char *nearest = az_nearest(name, names, n);
    if (n == 0)
        az_fail(az, AZ_BAD_INPUT, "%s: unknown option '%s'; it has no options", owner, name);
    else if (nearest)
        az_fail(az, AZ_BAD_INPUT, "%s: unknown option '%s'; did you mean '%s'?", owner, name, nearest);
    else
        az_fail(az, AZ_BAD_INPUT, "%s: unknown option '%s'; `adze help %s` lists them", owner, name, owner);
    return false;
}

bool az_options_set(az_ctx *az, const az_option *table, const char *owner, const char *name, const char *value, void *settings)
{
    if (!az_ok(az)) return false;
    const az_option *option = find_option(table, name);
    if (!option) return unknown_option(az, table, owner, name);
    return set_value(az, option, owner, value, settings);
}

bool az_options_default(az_ctx *az, const az_option *table, void *settings)
{
    if (!az_ok(az)) return false;
    for (const az_option *option = table; option->name; option++) {
        if (option->type == AZ_TEXTS) *(az_texts *)field(settings, option) = (az_texts){0};
        if (option->fallback && !set_value(az, option, "the default", option->fallback, settings)) return false;
    }
    return true;
}

/* ---- parsing a list ---- */

/* The first n bytes of text as a word in the current scope. */
static char *word_of(az_ctx *az, const char *text, size_t n)
{
    char *word = az_alloc(az, n + 1);
    return word ? memcpy(word, text, n) : NULL;
}

/* Takes "name" or "name=value" off the list; value is NULL without "=". */
static bool next_item(az_ctx *az, const char *owner, const char **text, const char **name, const char **value)
{
    const char *at = *text;
    size_t length = strcspn(at, "=,");
    if (length == 0) az_fail(az, AZ_BAD_INPUT, "%s: an option without a name; options are written name=value,name=value", owner);
    *name = word_of(az, at, length);
    *value = NULL;
    at += length;
    if (*at == '=' && at[1] == '"') {
        const char *first = at + 2, *close = strchr(first, '"');
        if (!close || (close[1] && close[1] != ',')) {
            az_fail(az, AZ_BAD_INPUT, "%s: the quotes around the value of '%s' must close before the next comma", owner, *name);
            return false;
        }
        *value = word_of(az, first, (size_t)(close - first));
        at = close + 1;
    } else if (*at == '=') {
        length = strcspn(++at, ",");
        *value = word_of(az, at, length);
        at += length;
    }
    *text = *at == ',' ? at + 1 : at;
    return az_ok(az);
}

/* The option that an item names: itself, or for "no-name" the boolean `name`, to be set to false. */
static const az_option *named_option(const az_option *table, const char *name, const char **value)
{
    const az_option *option = find_option(table, name);
    if (option && option->type == AZ_BOOL && !*value) *value = "true";
    if (option || *value || strncmp(name, "no-", 3) != 0) return option;
    option = find_option(table, name + 3);
    if (!option || option->type != AZ_BOOL) return NULL;
    *value = "false";
    return option;
}

static bool check_required(az_ctx *az, const az_option *table, const char *owner, const bool *seen)
{
    for (const az_option *option = table; option->name; option++) {
        if (option->fallback || seen[option - table]) continue;
        az_fail(az, AZ_BAD_INPUT, "%s: %s must be given (%s)", owner, option->name, option->help);
        return false;
    }
    return true;
}

bool az_options_parse(az_ctx *az, const az_option *table, const char *owner, const char *text, void *settings)
{
    return az_options_default(az, table, settings) && az_options_read(az, table, owner, text, settings);
}

bool az_options_read(az_ctx *az, const az_option *table, const char *owner, const char *text, void *settings)
{
    bool seen[MAX_OPTIONS] = {false};
    if (table_length(table) > MAX_OPTIONS) az_fail(az, AZ_BAD_CALL, "%s: a table has at most %d options", owner, MAX_OPTIONS);
    if (!az_ok(az)) return false;
    while (text && *text) {
        const char *name, *value;
        if (!next_item(az, owner, &text, &name, &value)) return false;
        const az_option *option = named_option(table, name, &value);
        if (!option) return unknown_option(az, table, owner, name);
        if (seen[option - table] && option->type != AZ_TEXTS)
            az_fail(az, AZ_BAD_INPUT, "%s: %s is given twice", owner, option->name);
        else if (!value)
            az_fail(az, AZ_BAD_INPUT, "%s: %s needs a value: %s=...", owner, option->name, option->name);
        else
            set_value(az, option, owner, value, settings);
        if (!az_ok(az)) return false;
        seen[option - table] = true;
    }
    return check_required(az, table, owner, seen);
}

bool az_options_given(az_ctx *az, const az_option *table, const char *text, const char *name)
{
    bool given = false;
    az_scope_push(az);
    for (const char *item, *value; az_ok(az) && !given && text && *text;) {
        const az_option *option = next_item(az, "", &text, &item, &value) ? named_option(table, item, &value) : NULL;
        given = option && strcmp(option->name, name) == 0;
    }
    az_scope_pop(az);
    return given;
}

/* ---- values as text, help ---- */

static const char *texts_text(az_ctx *az, const az_texts *list)
{
    const char *text = "";
    for (int i = 0; i < list->count && text; i++) text = az_format_text(az, "%s%s%s", text, i ? "," : "", list->item[i]);
    return text ? text : "";
}

/* The shortest decimal that reads back as the same double. */
static char *real_text(az_ctx *az, double value)
{
    char text[40];
    for (int digits = 1; digits <= DBL_DECIMAL_DIG; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    return az_strdup(az, text);
}

const char *az_options_get(az_ctx *az, const az_option *option, const void *settings)
{
    const void *at = const_field(settings, option);
    const az_pattern *pattern = at;
    switch (option->type) {
    case AZ_INT: return az_format_text(az, "%lld", (long long)*(const int64_t *)at);
    case AZ_REAL: return real_text(az, *(const double *)at);
    case AZ_BOOL: return *(const bool *)at ? "true" : "false";
    case AZ_TEXT: return *(const char *const *)at ? *(const char *const *)at : "";
    case AZ_CHOICE: return option->choices[*(const int *)at];
    case AZ_PATTERN: return pattern->m == 0 ? "none" : az_format_text(az, "%d:%d", pattern->n, pattern->m);
    case AZ_TEXTS: return texts_text(az, at);
    }
    return "";
}

const char *az_option_type_name(const az_option *option)
{
    static const char *const names[] = {"int", "real", "bool", "text", "choice", "pattern", "texts"};
    return names[option->type];
}

/* "  name=real" or "  [no-]name" */
static int left_column(const az_option *option, char *out, size_t size)
{
    if (option->type == AZ_BOOL) return snprintf(out, size, "  [no-]%s", option->name);
    return snprintf(out, size, "  %s=%s", option->name, az_option_type_name(option));
}

/* A default as help shows it: blanks at an end, and line ends, would not be seen. */
static const char *default_text(const char *text, char *out, size_t size)
{
    const size_t length = strlen(text);
    if (length == 0) return "none";
    if (strcmp(text, "\n") == 0) return "a line end";
    if (text[0] != ' ' && text[length - 1] != ' ') return text;
    snprintf(out, size, "\"%s\"", text);
    return out;
}

void az_option_print_limits(const az_option *option, FILE *out)
{
    char range[64];
    fputc('(', out);
    for (const char *const *choice = option->choices; option->type == AZ_CHOICE && *choice; choice++)
        fprintf(out, "%s%s", *choice, choice[1] ? ", " : "; ");
    if (*range_text(option, range, sizeof range)) fprintf(out, "%s; ", range);
    if (!option->fallback)
        fputs("required)", out);
    else
        fprintf(out, "default %s)", default_text(option->fallback, range, sizeof range));
}

void az_options_help(const az_option *table, FILE *out)
{
    int width = 0;
    char left[128];
    for (const az_option *option = table; option->name; option++) {
        int length = left_column(option, left, sizeof left);
        if (length > width) width = length;
    }
    for (const az_option *option = table; option->name; option++) {
        left_column(option, left, sizeof left);
        fprintf(out, "%-*s  %s ", width, left, option->help);
        az_option_print_limits(option, out);
        fputc('\n', out);
    }
}
