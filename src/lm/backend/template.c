/* template.c - prompts from a text with {{names}}, {{#each list}} ... {{/each}} and lines "@@role". What is inserted is never read as a
 * template again. */
#include "lm/backend/backend_internal.h"
#include "lm/tokenizer/tokenizer.h"

#include <string.h>

enum { MOST_MESSAGES = 1024, OUTPUT_LIMIT = 64 << 20 };

typedef struct template_state {
    az_ctx *az;
    const json_t *variables;
    json_t *used; /* {name: true} */
    az_bytes out;
} template_state;

/* Where a row of a list is: its fields, and its number from 1. */
typedef struct template_row {
    const json_t *fields;
    int number;
} template_row;

static bool put(template_state *t, const char *text, size_t length)
{
    if (t->out.length + length > OUTPUT_LIMIT)
        return az_fail(t->az, AZ_BAD_INPUT, "a filled template is longer than %d MiB", OUTPUT_LIMIT >> 20);
    return length == 0 || az_bytes_add(&t->out, text, length);
}

static bool put_value(template_state *t, const json_t *value, const char *name)
{
    if (json_is_string(value)) return put(t, json_string_value(value), json_string_length(value));
    if (json_is_array(value) || json_is_object(value))
        return az_fail(t->az, AZ_BAD_INPUT, "the template inserts '%s', which is a list or an object", name);
    const char *text = az_json_dump(t->az, value);
    return text && put(t, text, strlen(text));
}

/* A field of the row, else a variable. */
static const json_t *look_up(template_state *t, const char *name, const template_row *row)
{
    const json_t *value = row ? json_object_get(row->fields, name) : NULL;
    if (value) return value;
    value = json_object_get(t->variables, name);
    if (value) json_object_set_new(t->used, name, json_true());
    return value;
}

static bool insert(template_state *t, const char *name, const template_row *row)
{
    char number[16];
    if (row && strcmp(name, "@index") == 0) return put(t, number, (size_t)snprintf(number, sizeof number, "%d", row->number));
    const json_t *value = look_up(t, name, row);
    if (!value) return az_fail(t->az, AZ_BAD_INPUT, "the template names '%s', which is not among its variables", name);
    return put_value(t, value, name);
}

/* The name inside {{ }}, which both lie before `limit`, without spaces around it; *after points behind the braces. NULL with an error. */
static const char *read_name(az_ctx *az, const char *open, const char *limit, const char **after)
{
    const char *close = memmem(open, (size_t)(limit - open), "}}", 2);
    if (!close) return az_fail(az, AZ_BAD_INPUT, "the template has '{{' without '}}'");
    const char *begin = open + 2, *end = close;
    while (begin < end && *begin == ' ') begin++;
    while (end > begin && end[-1] == ' ') end--;
    *after = close + 2;
    return az_format_text(az, "%.*s", (int)(end - begin), begin);
}

static bool fill(template_state *t, const char *text, const char *end, const template_row *row);

static bool fill_each(template_state *t, const char *list_name, const char *body, const char *end)
{
    const json_t *list = look_up(t, list_name, NULL);
    if (!json_is_array(list))
        return az_fail(t->az, AZ_BAD_INPUT, "the template repeats '%s', which is not a list among its variables", list_name);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const template_row row = {.fields = json_array_get(list, i), .number = (int)i + 1};
        if (!json_is_object(row.fields)) return az_fail(t->az, AZ_BAD_INPUT, "item %zu of '%s' is not an object", i + 1, list_name);
        if (!fill(t, body, end, &row)) return false;
    }
    return true;
}

/* Fills the text up to `end`. Inside a row there is no further repetition. */
static bool fill(template_state *t, const char *text, const char *end, const template_row *row)
{
    while (text < end) {
        const char *open = memmem(text, (size_t)(end - text), "{{", 2), *after = NULL;
        if (!open) return put(t, text, (size_t)(end - text));
        const char *name = read_name(t->az, open, end, &after);
        if (!name || !put(t, text, (size_t)(open - text))) return false;
        text = after;
        if (strncmp(name, "#each ", 6) != 0) {
            if (!insert(t, name, row)) return false;
            continue;
        }
        const char *close = memmem(text, (size_t)(end - text), "{{/each}}", 9);
        if (!close || row)
            return az_fail(t->az, AZ_BAD_INPUT, "the template has '{{%s}}' %s", name, row ? "inside another" : "without '{{/each}}'");
        if (!fill_each(t, name + 6 + strspn(name + 6, " "), text, close)) return false;
        text = close + 9;
    }
    return true;
}

/* The role that a line "@@role" opens; NULL for other lines. */
static const char *role_of(az_ctx *az, const char *line)
{
    if (strncmp(line, "@@", 2) != 0) return NULL;
    const char *role = az_format_text(az, "%.*s", (int)strcspn(line + 2, " \r\n"), line + 2);
    if (!role) return NULL;
    if (strcmp(role, "system") == 0 || strcmp(role, "user") == 0 || strcmp(role, "assistant") == 0) return role;
    return az_fail(az, AZ_BAD_INPUT, "the template opens '@@%s'; a message is @@system, @@user or @@assistant", role);
}

/* One message of the template, its last line end left out. */
static bool add_message(template_state *t, const char *role, const char *text, const char *end, az_messages *all)
{
    if (end > text && end[-1] == '\n') end--;
    t->out = (az_bytes){.az = t->az};
    if (!fill(t, text, end, NULL) || !az_bytes_add(&t->out, "", 1)) return false;
    if (all->n == MOST_MESSAGES) return az_fail(t->az, AZ_BAD_INPUT, "the template has more than %d messages", MOST_MESSAGES);
    all->item[all->n++] = (az_message){.role = role, .text = t->out.data};
    return true;
}

static bool add_messages(template_state *t, const char *text, az_messages *all)
{
    const char *role = NULL, *begin = text, *line = text;
    while (*line) {
        const char *next = line + strcspn(line, "\n");
        next += *next == '\n';
        const char *opened = role_of(t->az, line);
        if (!az_ok(t->az)) return false;
        if (opened) {
            if (role && !add_message(t, role, begin, line, all)) return false;
            if (!role && line > text) return az_fail(t->az, AZ_BAD_INPUT, "the template has text before its first '@@' line");
            role = opened;
            begin = next;
        }
        line = next;
    }
    return add_message(t, role ? role : "user", begin, line, all);
}

static void note_unused(const template_state *t)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)t->variables, name, value) if (!json_object_get(t->used, name))
        az_note(t->az, "the template does not use the variable '%s'", name);
}

az_messages *az_template_fill(az_ctx *az, const char *text, const char *variables)
{
    if (!text || !variables || !az_ok(az)) return NULL;
    const char *why = NULL;
    const json_t *object = az_json_read(az, variables, strlen(variables), &why);
    if (!json_is_object(object))
        return az_fail(az, AZ_BAD_INPUT, "the variables of a template are no JSON object: %s", why ? why : "another value");
    template_state t = {.az = az, .variables = object, .used = az_json_keep(az, json_object())};
    az_messages *all = az_alloc(az, sizeof *all);
    if (!all || !t.used) return NULL;
    all->item = az_alloc_array(az, MOST_MESSAGES, sizeof *all->item);
    if (!all->item || !add_messages(&t, text, all)) return NULL;
    note_unused(&t);
    return all;
}
