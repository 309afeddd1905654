/* documents.c - reads texts that are made of documents, and splits them in two. */
#include "data/documents.h"
#include "data/paths.h"

#include <jansson.h>
#include <string.h>

static const char MARK[] = "<|endoftext|>";

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static az_document trimmed(const char *text, size_t length)
{
    while (length && is_blank(text[0])) text++, length--;
    while (length && is_blank(text[length - 1])) length--;
    return (az_document){.text = text, .length = length};
}

static int64_t line_of(const char *text, size_t at)
{
    int64_t line = 1;
    for (size_t i = 0; i < at; i++) line += text[i] == '\n';
    return line;
}

bool documents_check_text(az_ctx *az, const char *text, size_t length)
{
    size_t at;
    if (az_is_utf8(text, length, &at)) return true;
    return az_fail(az, AZ_BAD_INPUT, "line %lld is not UTF-8 text (byte 0x%02x)", (long long)line_of(text, at), (unsigned char)text[at]);
}

/* Appends to a list whose room was counted before; an empty document is dropped. */
static void append(az_documents *out, az_document document)
{
    if (document.length) out->item[out->count++] = document;
}

/* ---- text with marks ---- */

static const char *next_mark(const char *text, const char *end)
{
    return memmem(text, (size_t)(end - text), MARK, sizeof MARK - 1);
}

static bool read_marked(az_ctx *az, const char *text, size_t length, az_documents *out)
{
    const char *end = text + length;
    size_t pieces = 1;
    for (const char *mark = text; (mark = next_mark(mark, end)); mark += sizeof MARK - 1) pieces++;
    out->separated = pieces > 1;
    out->item = az_alloc_array(az, pieces, sizeof *out->item);
    if (!out->item) return false;
    while (text) {
        const char *mark = next_mark(text, end);
        append(out, trimmed(text, (size_t)((mark ? mark : end) - text)));
        text = mark ? mark + sizeof MARK - 1 : NULL;
    }
    return true;
}

/* ---- JSON lines ---- */

static char *copied(az_ctx *az, const json_t *first, const json_t *second, size_t *length)
{
    size_t a = json_string_length(first), b = second ? json_string_length(second) : 0;
    char *text = az_alloc(az, a + b + 1);
    if (!text) return NULL;
    memcpy(text, json_string_value(first), a);
    if (b) memcpy(text + a, json_string_value(second), b);
    *length = a + b;
    return text;
}

static bool read_object(az_ctx *az, const json_t *object, int64_t line, az_documents *out)
{
    const json_t *first = json_object_get(object, "text"), *second = NULL;
    if (!first) {
        first = json_object_get(object, "prompt");
        second = json_object_get(object, "completion");
        if (!second) second = json_object_get(object, "response");
        if (!second) first = NULL;
    }
    if (!json_is_string(first) || (second && !json_is_string(second)))
        return az_fail(az, AZ_BAD_INPUT, "line %lld has no string \"text\", nor \"prompt\" with \"completion\" or \"response\"",
                       (long long)line);
    size_t length;
    const char *text = copied(az, first, second, &length);
    if (!text) return false;
    append(out, trimmed(text, length));
    return true;
}

/* The object of a line; NULL with an error. */
static json_t *parse_line(az_ctx *az, const char *text, size_t length, int64_t line)
{
    json_error_t error;
    json_t *object = json_loadb(text, length, JSON_REJECT_DUPLICATES, &error);
    if (json_is_object(object)) return object;
    az_fail(az, AZ_BAD_INPUT, "line %lld is %s%s; JSON lines are one object a line", (long long)line,
            object ? "no object" : "not JSON: ", object ? "" : error.text);
    json_decref(object);
    return NULL;
}

static bool read_json_lines(az_ctx *az, const char *text, size_t length, az_documents *out)
{
    const char *end = text + length;
    size_t lines = 1;
    for (const char *c = text; (c = memchr(c, '\n', (size_t)(end - c))); c++) lines++;
    out->separated = true;
    out->item = az_alloc_array(az, lines, sizeof *out->item);
    if (!out->item) return false;
    for (int64_t line = 1; text < end; line++) {
        const char *stop = memchr(text, '\n', (size_t)(end - text));
        if (!stop) stop = end;
        az_document row = trimmed(text, (size_t)(stop - text));
        text = stop < end ? stop + 1 : end;
        if (!row.length) continue;
        json_t *object = parse_line(az, row.text, row.length, line);
        if (!object) return false;
        bool ok = read_object(az, object, line, out);
        json_decref(object);
        if (!ok) return false;
    }
    return true;
}

/* Whether the first line is an object: the standard input has no name that tells. */
static bool begins_with_object(const char *text, size_t length)
{
    const az_document rest = trimmed(text, length);
    const char *stop = memchr(rest.text, '\n', rest.length);
    json_t *object = json_loadb(rest.text, stop ? (size_t)(stop - rest.text) : rest.length, 0, NULL);
    const bool is_object = json_is_object(object);
    json_decref(object);
    return is_object;
}

/* ---- both ---- */

az_documents *documents_parse(az_ctx *az, const char *path, const char *text, size_t length)
{
    az_documents *out = az_alloc(az, sizeof *out);
    if (!text || !out) return NULL;
    *out = (az_documents){.path = az_strdup(az, path)};
    bool json = path_ends(path, ".jsonl") || path_ends(path, ".json") || (strcmp(path, "-") == 0 && begins_with_object(text, length));
    bool ok = documents_check_text(az, text, length) && (json ? read_json_lines : read_marked)(az, text, length, out);
    if (ok && out->count == 0) ok = az_fail(az, AZ_BAD_INPUT, "there is no text in it");
    if (!ok) az_fail_context(az, "reading '%s'", path);
    return ok && out->path ? out : NULL;
}

az_documents *az_documents_read(az_ctx *az, const char *path)
{
    size_t length;
    const char *text = az_read_file(az, path, &length);
    return text ? documents_parse(az, path, text, length) : NULL;
}

bool az_documents_split(az_ctx *az, const az_documents *all, double share, uint64_t seed, az_documents **first, az_documents **second)
{
    if (!all) return false;
    if (!(share >= 0 && share <= 1))
        return az_fail(az, AZ_BAD_CALL, "a share of %g of the documents cannot be split off: use 0 to 1", share);
    az_documents *part[2];
    for (int p = 0; p < 2; p++) {
        part[p] = az_alloc(az, sizeof **part);
        if (!part[p]) return false;
        *part[p] = (az_documents){.separated = all->separated, .path = all->path};
        part[p]->item = az_alloc_array(az, (size_t)all->count + 1, sizeof *all->item);
        if (!part[p]->item) return false;
    }
    for (int64_t i = 0; i < all->count; i++) {
        uint32_t word[4];
        az_philox(seed, az_stream("split", 0), (uint64_t)i, word);
        append(part[word[0] * 0x1p-32 < share], all->item[i]);
    }
    *first = part[0];
    *second = part[1];
    return true;
}
