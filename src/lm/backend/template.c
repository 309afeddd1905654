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
    if (json_is_string(value)) {
        const size_t length = json_string_length(value);
        if (strlen(json_string_value(value)) != length)
            return az_fail(t->az, AZ_BAD_INPUT, "the template inserts '%s', which holds a zero byte", name);
        return put(t, json_string_value(value), length);
    }
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

/* The template without a byte order mark, its lines ended by "\n" alone; NULL with an error where it is not UTF-8. */
static const char *clean(az_ctx *az, const char *text)
{
    if (strncmp(text, "\xEF\xBB\xBF", 3) == 0) text += 3;
    const size_t length = strlen(text), good = az_utf8_prefix(text, length);
    if (good < length) {
        int64_t line = 1;
        for (size_t i = 0; i < good; i++) line += text[i] == '\n';
        return az_fail(az, AZ_BAD_INPUT, "the template is not UTF-8: line %lld holds the byte 0x%02x", (long long)line,
                       (unsigned)(unsigned char)text[good]);
    }
    char *out = az_alloc(az, length + 1), *to = out;
    for (; out && *text; text++)
        if (text[0] != '\r' || text[1] != '\n') *to++ = *text;
    if (out) *to = '\0';
    return out;
}

static az_messages *fill_all(template_state *t, const char *text)
{
    az_messages *all = az_alloc(t->az, sizeof *all);
    t->used = az_json_keep(t->az, json_object());
    text = clean(t->az, text);
    if (!all || !t->used || !text) return NULL;
    int roles = 1; /* a role is a line of its own, so there are no more */
    for (const char *line = text; (line = strstr(line, "@@")); line += 2) roles++;
    all->item = az_alloc_array(t->az, (size_t)(roles < MOST_MESSAGES ? roles : MOST_MESSAGES), sizeof *all->item);
    return all->item && add_messages(t, text, all) ? all : NULL;
}

static az_messages *fill_and_note(az_ctx *az, const char *text, const char *variables, bool note)
{
    if (!text || !variables || !az_ok(az)) return NULL;
    const char *why = NULL;
    const json_t *object = az_json_read(az, variables, strlen(variables), &why);
    if (!json_is_object(object))
        return az_fail(az, AZ_BAD_INPUT, "the variables of a template are no JSON object: %s", why ? why : "another value");
    template_state t = {.az = az, .variables = object};
    az_messages *all = fill_all(&t, text);
    if (all && note) note_unused(&t);
    return all;
}

az_messages *az_template_fill(az_ctx *az, const char *text, const char *variables)
{
    return fill_and_note(az, text, variables, true);
}

az_messages *az_template_fill_again(az_ctx *az, const char *text, const char *variables)
{
    return fill_and_note(az, text, variables, false);
}

/* ---- rows ---- */

static const char demos[] = "demos";

/* The texts that demonstrations are found by. */
static az_documents *texts_of(az_ctx *az, const az_json_lines *lines, const char *field)
{
    az_documents *texts = az_alloc(az, sizeof *texts);
    if (!texts) return NULL;
    *texts = (az_documents){.item = az_alloc_array(az, (size_t)lines->count + 1, sizeof *texts->item), .path = lines->path};
    for (int64_t i = 0; texts->item && i < lines->count; i++) {
        const char *text = az_json_line_text(&lines->item[i], field);
        if (!text)
            return az_fail(az, AZ_BAD_INPUT, "'%s', line %lld has no text \"%s\"", lines->path, (long long)lines->item[i].number, field);
        texts->item[texts->count++] = (az_document){.text = text, .length = strlen(text)};
    }
    return az_ok(az) ? texts : NULL;
}

static bool same_id(const json_t *a, const json_t *b)
{
    const json_t *x = json_object_get(a, "id"), *y = json_object_get(b, "id");
    return x && y && json_equal(x, y);
}

/* The row with its demonstrations, the nearest last; itself and copies of its text are not among them. */
static json_t *with_demos(az_ctx *az, const az_template_job *job, az_finder *finder, const az_documents *texts, const az_json_line *row)
{
    const az_json_lines *all = job->demos;
    const char *question = az_json_line_text(row, job->field);
    bool *left_out = az_alloc_array(az, (size_t)all->count, sizeof *left_out);
    az_found *found = az_alloc_array(az, (size_t)job->shots + 1, sizeof *found);
    if (!question) return az_fail(az, AZ_BAD_INPUT, "it has no text \"%s\", by which demonstrations are found", job->field);
    if (!left_out || !found) return NULL;
    for (int64_t i = 0; i < all->count; i++)
        left_out[i] = same_id(row->object, all->item[i].object) || strcmp(texts->item[i].text, question) == 0;
    const int64_t n = az_find(finder, question, left_out, job->shots, found);
    json_t *out = az_json_keep(az, json_copy(row->object)), *list = json_array();
    for (int64_t i = n - 1; i >= 0; i--) json_array_append(list, all->item[found[i].text].object);
    if (!out || json_object_set_new(out, demos, list) != 0) return NULL;
    return n < 0 ? NULL : out;
}

/* {"id", "messages": [{"role", "content"}, ...]} */
static bool write_row(az_ctx *az, const json_t *row, const az_messages *messages, FILE *out)
{
    json_t *line = az_json_keep(az, json_object()), *list = json_array(), *id = json_object_get(row, "id");
    if (!line) return false;
    if (id) json_object_set(line, "id", id);
    for (int i = 0; i < messages->n; i++)
        json_array_append_new(list, json_pack("{s:s, s:s}", "role", messages->item[i].role, "content", messages->item[i].text));
    json_object_set_new(line, "messages", list);
    const char *text = az_json_dump(az, line);
    return text && fprintf(out, "%s\n", text) >= 0;
}

static bool fill_row(az_ctx *az, const az_template_job *job, az_finder *finder, const az_documents *texts, int64_t i, FILE *out)
{
    const az_json_line *row = &job->rows->item[i];
    template_state t = {.az = az, .variables = finder ? with_demos(az, job, finder, texts, row) : row->object};
    const az_messages *all = t.variables ? fill_all(&t, job->text) : NULL;
    if (!all) az_fail_context(az, "'%s', line %lld", job->rows->path, (long long)row->number);
    if (!all) return false;
    if (i == 0) json_object_set_new(t.used, "id", json_true()); /* it goes into the result */
    if (i == 0) note_unused(&t);
    return write_row(az, row->object, all, out);
}

int64_t az_template_fill_rows(az_ctx *az, const az_template_job *job, FILE *out)
{
    az_documents *texts = NULL;
    az_finder *finder = NULL;
    if (!job || !job->text || !job->rows || !az_ok(az)) return -1;
    if (job->demos && !((texts = texts_of(az, job->demos, job->field)) && (finder = az_finder_new(az, texts, job->how)))) return -1;
    for (int64_t i = 0; i < job->rows->count; i++) {
        az_scope_push(az);
        const bool good = fill_row(az, job, finder, texts, i, out);
        az_scope_pop(az);
        if (!good) return -1;
        if (!az_progress(az, "rows", i + 1, job->rows->count, NULL)) return az_fail(az, AZ_INTERRUPTED, "interrupted"), -1;
    }
    return job->rows->count;
}
