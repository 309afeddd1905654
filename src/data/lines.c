/* lines.c - JSON lines as items with names, and the journal of a job: a file of results that grows with the work. */
#include "data/documents.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_LEVELS = 64 };

static void drop_json(void *object)
{
    json_decref(object);
}

/* ---- one line ---- */

static bool too_deep(const char *text, size_t length)
{
    int depth = 0;
    bool quoted = false;
    for (size_t i = 0; i < length; i++) {
        if (quoted && text[i] == '\\')
            i++;
        else if (text[i] == '"')
            quoted = !quoted;
        else if (!quoted && (text[i] == '{' || text[i] == '['))
            depth++;
        else if (!quoted && (text[i] == '}' || text[i] == ']'))
            depth--;
        if (depth > MOST_LEVELS) return true;
    }
    return false;
}

/* The object, dropped with the scope; NULL and *why otherwise. */
static json_t *parse_line(az_ctx *az, const char *text, size_t length, const char **why)
{
    json_error_t error;
    *why = "is nested too deeply";
    if (too_deep(text, length)) return NULL;
    json_t *object = json_loadb(text, length, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &error);
    if (!object) {
        *why = az_format_text(az, "is not JSON: %s", error.text);
        return NULL;
    }
    if (!az_on_leave(az, drop_json, object)) json_decref(object);
    *why = "is not an object";
    return az_ok(az) && json_is_object(object) ? object : NULL;
}

static const char *id_of(az_ctx *az, const json_t *object, const char *field)
{
    const json_t *value = json_object_get(object, field);
    if (json_is_string(value)) return az_strdup(az, json_string_value(value));
    return json_is_integer(value) ? az_format_text(az, "%lld", (long long)json_integer_value(value)) : NULL;
}

bool documents_blank_line(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (text[i] != ' ' && text[i] != '\t' && text[i] != '\r') return false;
    return true;
}

/* ---- reading items ---- */

static int by_id(const void *a, const void *b)
{
    const az_json_line *x = *(const az_json_line *const *)a, *y = *(const az_json_line *const *)b;
    const int order = strcmp(x->id, y->id);
    return order ? order : (x->number > y->number) - (x->number < y->number);
}

static const az_json_line **sorted_by_id(az_ctx *az, const az_json_line *item, int64_t n)
{
    const az_json_line **sorted = az_alloc_array(az, (size_t)n + 1, sizeof *sorted);
    for (int64_t i = 0; sorted && i < n; i++) sorted[i] = &item[i];
    if (sorted) qsort(sorted, (size_t)n, sizeof *sorted, by_id);
    return sorted;
}

static bool check_ids(az_ctx *az, const az_json_lines *lines, const char *field)
{
    const az_json_line **sorted = sorted_by_id(az, lines->item, lines->count);
    for (int64_t i = 1; sorted && i < lines->count; i++)
        if (strcmp(sorted[i]->id, sorted[i - 1]->id) == 0)
            return az_fail(az, AZ_BAD_INPUT, "lines %lld and %lld have the same \"%s\", '%s'", (long long)sorted[i - 1]->number,
                           (long long)sorted[i]->number, field, sorted[i]->id);
    return sorted != NULL;
}

static bool add_line(az_ctx *az, const char *text, size_t length, const char *field, az_json_line *out)
{
    const char *why = NULL;
    out->object = parse_line(az, text, length, &why);
    if (out->object && field && !(out->id = id_of(az, out->object, field))) {
        why = az_format_text(az, "has no text or whole number \"%s\"", field);
        out->object = NULL;
    }
    return out->object || az_fail(az, AZ_BAD_INPUT, "line %lld %s", (long long)out->number, why);
}

static size_t count_lines(const char *text, const char *end)
{
    size_t lines = 1;
    for (; (text = memchr(text, '\n', (size_t)(end - text))); text++) lines++;
    return lines;
}

static bool read_lines(az_ctx *az, const char *text, size_t length, const char *field, bool skip_bad, az_json_lines *out)
{
    const char *end = text + length;
    int64_t bad = 0;
    out->item = az_alloc_array(az, count_lines(text, end), sizeof *out->item);
    if (!out->item) return false;
    for (int64_t number = 1; text < end; number++) {
        const char *stop = memchr(text, '\n', (size_t)(end - text));
        if (!stop) stop = end;
        az_json_line *line = &out->item[out->count];
        line->number = number;
        if (!documents_blank_line(text, (size_t)(stop - text))) {
            const bool good = add_line(az, text, (size_t)(stop - text), field, line);
            if (!good && (!skip_bad || az_status_of(az) != AZ_BAD_INPUT)) return false;
            if (!good) az_clear(az), bad++;
            out->count += good;
        }
        text = stop < end ? stop + 1 : end;
    }
    if (bad > 0) az_note(az, "'%s': %lld lines cannot be read and are left out", out->path, (long long)bad);
    return !field || check_ids(az, out, field);
}

az_json_lines *az_json_lines_read(az_ctx *az, const char *path, const char *id, bool skip_bad)
{
    size_t length = 0;
    const char *text = az_read_file(az, path, &length);
    az_json_lines *out = az_alloc(az, sizeof *out);
    if (!text || !out) return NULL;
    *out = (az_json_lines){.path = az_strdup(az, path)};
    bool good = out->path && read_lines(az, text, length, id, skip_bad, out);
    if (good && out->count == 0) good = az_fail(az, AZ_BAD_INPUT, "there is no line in it");
    if (!good) az_fail_context(az, "reading '%s'", path);
    return good ? out : NULL;
}

const char *az_json_line_text(const az_json_line *line, const char *field)
{
    return json_string_value(json_object_get(line->object, field));
}

/* ---- the journal ---- */

struct az_journal {
    az_ctx *az;
    const char *path, *field;
    FILE *file;
    json_t *known;  /* {id: object} */
    json_t *order;  /* [id] as they stand in the file */
    char about[17]; /* digest of what the lines depend on; "" = not told */
};

static void close_journal(void *object)
{
    az_journal *journal = object;
    if (journal->file) fclose(journal->file);
    json_decref(journal->known);
    json_decref(journal->order);
}

/* Remembers a line that is done. False when it has to be done again. */
static bool remember(az_journal *journal, json_t *object)
{
    az_scope_push(journal->az);
    const char *id = id_of(journal->az, object, journal->field);
    const bool good = id && !json_is_false(json_object_get(object, "ok")) && !json_object_get(journal->known, id);
    if (good) {
        json_object_set(journal->known, id, object);
        json_array_append_new(journal->order, json_string(id));
    }
    az_scope_pop(journal->az);
    return good;
}

/* What is whole in the file. *clean: nothing has to be dropped. */
static bool read_journal(az_journal *journal, bool *clean)
{
    az_ctx *az = journal->az;
    *clean = true;
    if (access(journal->path, F_OK) != 0) return true;
    size_t length = 0;
    const char *text = az_read_file(az, journal->path, &length), *end = text ? text + length : NULL;
    while (text && text < end) {
        const char *stop = memchr(text, '\n', (size_t)(end - text)), *why = NULL;
        if (!stop) { /* half-written */
            *clean = false;
            break;
        }
        az_scope_push(az);
        json_t *object = parse_line(az, text, (size_t)(stop - text), &why);
        *clean = object && remember(journal, object) && *clean;
        az_scope_pop(az);
        text = stop + 1;
    }
    return az_ok(az);
}

static bool write_line(FILE *out, const json_t *object)
{
    return json_dumpf(object, out, JSON_COMPACT | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(17)) == 0 && fputc('\n', out) != EOF;
}

/* The file anew: the known items in the order of `order`. */
static bool rewrite(az_journal *journal)
{
    size_t i;
    json_t *id;
    az_scope_push(journal->az);
    az_out *out = az_create(journal->az, journal->path);
    bool good = out != NULL;
    if (out)
        json_array_foreach(journal->order, i, id) good =
            good && write_line(az_out_stream(out), json_object_get(journal->known, json_string_value(id)));
    good = good && az_commit(out);
    az_scope_pop(journal->az);
    return good || az_fail(journal->az, AZ_IO, "cannot write '%s'", journal->path);
}

static bool open_to_append(az_journal *journal)
{
    journal->file = fopen(journal->path, "ae");
    return journal->file || az_fail(journal->az, AZ_IO, "cannot write '%s': %s", journal->path, strerror(errno));
}

az_journal *az_journal_open(az_ctx *az, const char *path, const char *id)
{
    if (!path || !az_ok(az)) return NULL;
    az_journal *journal = az_alloc(az, sizeof *journal);
    if (!journal) return NULL;
    *journal =
        (az_journal){.az = az, .path = az_strdup(az, path), .field = az_strdup(az, id), .known = json_object(), .order = json_array()};
    if (!az_on_leave(az, close_journal, journal) || !journal->field) return NULL;
    bool clean;
    if (!read_journal(journal, &clean) || (!clean && !rewrite(journal)) || !open_to_append(journal)) return NULL;
    return journal;
}

static bool is_of_another_run(const az_journal *journal)
{
    return az_fail(journal->az, AZ_BAD_INPUT,
                   "'%s' holds results of another run (other settings, another model or other items); remove it, or give another place",
                   journal->path);
}

bool az_journal_about(az_journal *journal, const char *settings)
{
    const char *id;
    json_t *line;
    if (!journal || !settings) return false;
    snprintf(journal->about, sizeof journal->about, "%016llx", (unsigned long long)az_stream(settings, 0));
    json_object_foreach(journal->known, id, line)
    {
        const char *about = json_string_value(json_object_get(line, "about"));
        if (about && strcmp(about, journal->about) != 0) return is_of_another_run(journal);
    }
    return true;
}

bool az_journal_same(const az_journal *journal, const char *id, const char *field, const char *text)
{
    const char *there = json_string_value(json_object_get(az_journal_find(journal, id), field));
    return !there || !text || strcmp(there, text) == 0 || is_of_another_run(journal);
}

const json_t *az_journal_find(const az_journal *journal, const char *id)
{
    return journal ? json_object_get(journal->known, id) : NULL;
}

bool az_journal_add(az_journal *journal, json_t *object)
{
    if (!journal || !object || !az_ok(journal->az)) {
        json_decref(object);
        return false;
    }
    if (*journal->about) json_object_set_new(object, "about", json_string(journal->about));
    const bool good = write_line(journal->file, object) && fflush(journal->file) == 0;
    az_scope_push(journal->az);
    const char *id = id_of(journal->az, object, journal->field);
    if (id && !json_object_get(journal->known, id)) json_array_append_new(journal->order, json_string(id));
    if (id) json_object_set(journal->known, id, object);
    az_scope_pop(journal->az);
    json_decref(object);
    return good || az_fail(journal->az, AZ_IO, "cannot write '%s': %s", journal->path, strerror(errno));
}

bool az_journal_finish(az_journal *journal, const az_json_lines *items)
{
    if (!journal || !items || !az_ok(journal->az)) return false;
    json_t *order = json_array();
    for (int64_t i = 0; i < items->count; i++)
        if (json_object_get(journal->known, items->item[i].id)) json_array_append_new(order, json_string(items->item[i].id));
    const bool same = json_equal(order, journal->order) != 0;
    json_decref(journal->order);
    journal->order = order;
    if (same) return true;
    fclose(journal->file);
    journal->file = NULL;
    return rewrite(journal) && open_to_append(journal);
}
