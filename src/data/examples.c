/* examples.c - reads what a model should say after what: prompts with responses, and conversations, as JSON lines. */
#include "data/documents.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static az_turn turn_of(az_ctx *az, const char *role, const json_t *text)
{
    const size_t length = json_string_length(text);
    char *copy = az_alloc(az, length + 1);
    if (copy && length) memcpy(copy, json_string_value(text), length);
    return (az_turn){.role = az_strdup(az, role), .text = copy, .length = length};
}

static const char *kept_json(az_ctx *az, const json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT | JSON_PRESERVE_ORDER);
    const char *kept = text ? az_strdup(az, text) : NULL;
    free(text);
    return kept;
}

/* The texts of a list [{"type": "text", "text": ...}, ...] as one; NULL with an error for other parts. */
static json_t *joined_parts(az_ctx *az, const json_t *parts, int64_t line)
{
    const char *text = "";
    size_t i;
    const json_t *part;
    json_array_foreach(parts, i, part)
    {
        const char *type = json_string_value(json_object_get(part, "type")), *more = json_string_value(json_object_get(part, "text"));
        if (!type || strcmp(type, "text") != 0 || !more)
            return az_fail(az, AZ_BAD_INPUT, "line %lld: a message has a part of the type \"%s\"; only texts are read", (long long)line,
                           type ? type : "");
        text = az_format_text(az, "%s%s", text, more);
    }
    return text ? json_string(text) : NULL;
}

/* The messages with a text each, or null beside calls of tools, which the chat template puts into words. NULL with an error. */
static json_t *plain_messages(az_ctx *az, const json_t *messages, int64_t line)
{
    json_t *all = json_deep_copy(messages), *message;
    size_t i;
    json_array_foreach(all, i, message)
    {
        const json_t *content = json_object_get(message, "content");
        const bool calls = json_array_size(json_object_get(message, "tool_calls")) > 0;
        bool good = json_is_string(json_object_get(message, "role"));
        if (json_is_array(content)) {
            json_t *text = joined_parts(az, content, line);
            json_object_set_new(message, "content", text);
            good = good && text;
        } else if (!content && calls) {
            json_object_set_new(message, "content", json_null());
        } else {
            good = good && (json_is_string(content) || (json_is_null(content) && calls));
        }
        if (good) continue;
        az_fail(az, AZ_BAD_INPUT, "line %lld: message %zu has no string \"role\" and \"content\"", (long long)line, i + 1);
        json_decref(all);
        return NULL;
    }
    return all;
}

static bool read_messages(az_ctx *az, const json_t *given, int64_t line, az_example *out)
{
    json_t *messages = plain_messages(az, given, line);
    if (!messages) return false;
    const size_t n = json_array_size(messages);
    bool answered = false;
    out->turn = az_alloc_array(az, n + 1, sizeof *out->turn);
    for (size_t i = 0; out->turn && i < n; i++) {
        const json_t *message = json_array_get(messages, i);
        const char *role = json_string_value(json_object_get(message, "role"));
        answered = answered || strcmp(role, "assistant") == 0;
        out->turn[out->turns++] = turn_of(az, role, json_object_get(message, "content"));
    }
    out->messages = kept_json(az, messages);
    json_decref(messages);
    return answered || az_fail(az, AZ_BAD_INPUT, "line %lld: no message has the role \"assistant\"", (long long)line);
}

static bool read_object(az_ctx *az, const json_t *object, int64_t line, az_example *out)
{
    const json_t *messages = json_object_get(object, "messages"), *text = json_object_get(object, "text");
    const json_t *prompt = json_object_get(object, "prompt"), *response = json_object_get(object, "response");
    if (!response) response = json_object_get(object, "completion");
    if (!response) response = json_object_get(object, "chosen"); /* of a preference pair */
    if (json_is_array(messages)) return read_messages(az, messages, line, out);
    out->turn = az_alloc_array(az, 2, sizeof *out->turn);
    if (!out->turn) return false;
    if (json_is_string(prompt) && json_is_string(response)) {
        out->turn[out->turns++] = turn_of(az, "prompt", prompt);
        out->turn[out->turns++] = turn_of(az, "response", response);
    } else if (json_is_string(text)) {
        out->turn[out->turns++] = turn_of(az, "text", text);
    } else {
        return az_fail(az, AZ_BAD_INPUT,
                       "line %lld has neither a list \"messages\", nor the strings \"prompt\" and \"response\" (or \"completion\", or "
                       "\"chosen\"), nor a string \"text\"",
                       (long long)line);
    }
    return az_ok(az);
}

static bool read_line(az_ctx *az, const char *text, size_t length, int64_t line, az_example *out)
{
    json_error_t error;
    json_t *object = json_loadb(text, length, JSON_REJECT_DUPLICATES, &error);
    if (!object && json_error_code(&error) == json_error_null_character)
        return az_fail(az, AZ_BAD_INPUT, "line %lld has a text with the character U+0000, which texts may not have", (long long)line);
    if (!object) return az_fail(az, AZ_BAD_INPUT, "line %lld is not JSON: %s; examples are one object a line", (long long)line, error.text);
    if (!json_is_object(object)) {
        json_decref(object);
        return az_fail(az, AZ_BAD_INPUT, "line %lld is no JSON object; examples are one object a line", (long long)line);
    }
    char *kept = az_alloc(az, length + 1);
    if (kept) memcpy(kept, text, length);
    *out = (az_example){.line = kept};
    const bool good = kept && read_object(az, object, line, out);
    json_decref(object);
    return good;
}

static bool read_lines(az_ctx *az, const char *text, size_t length, az_examples *out)
{
    const char *end = text + length;
    size_t lines = 1;
    for (const char *c = text; (c = memchr(c, '\n', (size_t)(end - c))); c++) lines++;
    out->item = az_alloc_array(az, lines, sizeof *out->item);
    if (!out->item) return false;
    for (int64_t line = 1; text < end; line++) {
        const char *stop = memchr(text, '\n', (size_t)(end - text));
        if (!stop) stop = end;
        const size_t n = (size_t)(stop - text);
        if (!documents_blank_line(text, n) && !read_line(az, text, n, line, &out->item[out->count++])) return false;
        text = stop < end ? stop + 1 : end;
    }
    if (out->count == 0) return az_fail(az, AZ_BAD_INPUT, "there are no examples in it");
    return true;
}

az_examples *examples_parse(az_ctx *az, const char *path, const char *text, size_t length)
{
    az_examples *out = az_alloc(az, sizeof *out);
    if (!text || !out) return NULL;
    *out = (az_examples){.path = az_strdup(az, path)};
    const bool good = documents_check_text(az, text, length) && read_lines(az, text, length, out);
    if (!good) az_fail_context(az, "reading '%s'", path);
    return good && out->path ? out : NULL;
}

az_examples *az_examples_read(az_ctx *az, const char *path)
{
    size_t length;
    const char *text = az_read_file(az, path, &length);
    return text ? examples_parse(az, path, text, length) : NULL;
}

bool az_examples_split(az_ctx *az, const az_examples *all, double share, uint64_t seed, az_examples **first, az_examples **second)
{
    if (!all) return false;
    if (!(share >= 0 && share <= 1))
        return az_fail(az, AZ_BAD_CALL, "a share of %g of the examples cannot be split off: use 0 to 1", share);
    az_examples *part[2];
    for (int p = 0; p < 2; p++) {
        part[p] = az_alloc(az, sizeof **part);
        if (!part[p]) return false;
        *part[p] = (az_examples){.path = all->path, .item = az_alloc_array(az, (size_t)all->count + 1, sizeof *all->item)};
        if (!part[p]->item) return false;
    }
    for (int64_t i = 0; i < all->count; i++) {
        uint32_t word[4];
        az_philox(seed, az_stream("split", 0), (uint64_t)i, word);
        az_examples *to = part[word[0] * 0x1p-32 < share];
        to->item[to->count++] = all->item[i];
    }
    *first = part[0];
    *second = part[1];
    return true;
}

/* ---- turns ---- */

static const char *turn_called(az_ctx *az, const az_examples *examples, int64_t i, const char *role)
{
    const az_example *example = &examples->item[i];
    for (int t = 0; t < example->turns; t++) {
        if (strcmp(example->turn[t].role, role) != 0) continue;
        if (example->turn[t].length > 0) return az_format_text(az, "%.*s", (int)example->turn[t].length, example->turn[t].text);
        return az_fail(az, AZ_BAD_INPUT, "'%s': the %s of example %lld is empty", examples->path, role, (long long)i + 1);
    }
    return az_fail(az, AZ_BAD_INPUT, "'%s': example %lld has no prompt with a response", examples->path, (long long)i + 1);
}

const char *az_example_prompt(az_ctx *az, const az_examples *examples, int64_t i)
{
    return turn_called(az, examples, i, "prompt");
}

const char *az_example_response(az_ctx *az, const az_examples *examples, int64_t i)
{
    return turn_called(az, examples, i, "response");
}
