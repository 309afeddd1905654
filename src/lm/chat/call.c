/* call.c - what chat templates can call: filters, methods of texts and dictionaries, functions, tests. */
#include "lm/chat/chat.h"

#include <stdlib.h>
#include <string.h>

static bool is(az_text name, const char *text)
{
    return az_text_equal(name, az_text_of(text));
}

static void *unknown(az_chat *chat, const char *what, az_text name)
{
    return az_chat_fail(chat, "the %s '%s' is not known here", what, az_text_show(chat->az, name));
}

static az_text text_of(const json_t *value)
{
    return (az_text){.data = json_string_value(value), .length = json_string_length(value)};
}

/* Argument i without keyword, or the one with it. */
static json_t *argument(const az_chat_call *call, int i, const char *keyword)
{
    for (int k = 0; k < call->n; k++)
        if (call->keyword[k].length > 0 ? keyword && is(call->keyword[k], keyword) : k == i) return call->argument[k];
    return NULL;
}

/* ---- texts ---- */

static json_t *strip(az_chat *chat, az_text text, az_text set, bool left, bool right)
{
    if (!set.data) set = az_text_of(" \t\n\r\v\f");
    while (left && text.length > 0 && memchr(set.data, text.data[0], set.length)) text.data++, text.length--;
    while (right && text.length > 0 && memchr(set.data, text.data[text.length - 1], set.length)) text.length--;
    return az_chat_string(chat, text.data, text.length);
}

/* ASCII letters; first: 'U' makes the first one of the text large, 'T' that of each word, the others small. */
static json_t *change_case(az_chat *chat, az_text text, char way)
{
    az_bytes out = {.az = chat->az};
    bool begins = true;
    for (size_t i = 0; i < text.length; i++) {
        char c = text.data[i];
        const bool small = c >= 'a' && c <= 'z', large = c >= 'A' && c <= 'Z';
        const bool up = way == 'u' || ((way == 'U' || way == 'T') && begins);
        if (small && up) c = (char)(c - 'a' + 'A');
        if (large && !up) c = (char)(c - 'A' + 'a');
        begins = way == 'T' && !small && !large;
        if (!az_bytes_add(&out, &c, 1)) return NULL;
    }
    return az_chat_string(chat, out.data, out.length);
}

static bool begins_with(az_text text, az_text part)
{
    return part.data && text.length >= part.length && memcmp(text.data, part.data, part.length) == 0;
}

static bool ends_with(az_text text, az_text part)
{
    return part.data && text.length >= part.length && memcmp(text.data + text.length - part.length, part.data, part.length) == 0;
}

static json_t *replace(az_chat *chat, az_text text, az_text from, az_text to)
{
    az_bytes out = {.az = chat->az};
    if (!from.data || !to.data || from.length == 0) return az_chat_fail(chat, "replace needs two texts");
    for (const char *found; az_chat_step(chat) && (found = memmem(text.data, text.length, from.data, from.length));) {
        const size_t before = (size_t)(found - text.data);
        if (!az_bytes_add(&out, text.data, before) || !az_bytes_add(&out, to.data, to.length)) return NULL;
        if (out.length > AZ_CHAT_OUTPUT) return az_chat_fail(chat, "a text longer than %d MiB", AZ_CHAT_OUTPUT >> 20);
        text = (az_text){.data = found + from.length, .length = text.length - before - from.length};
    }
    return az_bytes_add(&out, text.data, text.length) ? az_chat_string(chat, out.data, out.length) : NULL;
}

/* At a separator, or at white space without one; at most `limit` cuts unless it is negative. */
static json_t *split(az_chat *chat, az_text text, az_text at, int64_t limit)
{
    json_t *parts = az_chat_keep(chat, json_array(), 16);
    while (az_chat_step(chat)) {
        size_t end = 0, gap = at.length;
        if (at.length == 0) {
            while (text.length > 0 && strchr(" \t\n\r", text.data[0])) text.data++, text.length--;
            if (text.length == 0) return parts;
            while (end < text.length && !strchr(" \t\n\r", text.data[end])) end++;
            gap = end < text.length;
        } else {
            const char *found = memmem(text.data, text.length, at.data, at.length);
            end = found ? (size_t)(found - text.data) : text.length;
        }
        const bool last = end == text.length || limit-- == 0;
        json_t *part = az_chat_string(chat, text.data, last ? text.length : end);
        if (!part || json_array_append(parts, part) != 0) return NULL;
        if (last) return parts;
        text = (az_text){.data = text.data + end + gap, .length = text.length - end - gap};
    }
    return NULL;
}

static json_t *text_method(az_chat *chat, const az_chat_call *call)
{
    const az_text text = text_of(call->value), first = text_of(argument(call, 0, NULL)), second = text_of(argument(call, 1, NULL));
    const json_t *limit = argument(call, 1, "maxsplit");
    if (is(call->name, "strip")) return strip(chat, text, first, true, true);
    if (is(call->name, "lstrip")) return strip(chat, text, first, true, false);
    if (is(call->name, "rstrip")) return strip(chat, text, first, false, true);
    if (is(call->name, "startswith")) return json_boolean(begins_with(text, first));
    if (is(call->name, "endswith")) return json_boolean(ends_with(text, first));
    if (is(call->name, "upper")) return change_case(chat, text, 'u');
    if (is(call->name, "lower")) return change_case(chat, text, 'l');
    if (is(call->name, "title")) return change_case(chat, text, 'T');
    if (is(call->name, "capitalize")) return change_case(chat, text, 'U');
    if (is(call->name, "replace")) return replace(chat, text, first, second);
    if (is(call->name, "split")) return split(chat, text, first, json_is_integer(limit) ? json_integer_value(limit) : -1);
    return unknown(chat, "method", call->name);
}

/* ---- dictionaries ---- */

/* which: 'k' keys, 'v' values, 'i' pairs. */
static json_t *entries(az_chat *chat, json_t *object, char which)
{
    json_t *list = az_chat_keep(chat, json_array(), 64 * json_object_size(object)), *value;
    const char *key;
    size_t length;
    json_object_keylen_foreach(object, key, length, value)
    {
        if (!list) break;
        json_t *name = json_stringn(key, length);
        if (which == 'v') json_array_append(list, value);
        if (which == 'k') json_array_append(list, name);
        if (which == 'i') json_array_append_new(list, json_pack("[O,O]", name, value));
        json_decref(name);
    }
    return list;
}

json_t *az_chat_method(az_chat *chat, const az_chat_call *call)
{
    if (json_is_string(call->value)) return text_method(chat, call);
    if (!json_is_object(call->value)) return unknown(chat, "method", call->name);
    if (is(call->name, "items")) return entries(chat, call->value, 'i');
    if (is(call->name, "keys")) return entries(chat, call->value, 'k');
    if (is(call->name, "values")) return entries(chat, call->value, 'v');
    if (!is(call->name, "get")) return unknown(chat, "method", call->name);
    const az_text key = text_of(argument(call, 0, NULL));
    json_t *found = key.data ? json_object_getn(call->value, key.data, key.length) : NULL;
    return found ? found : call->n > 1 ? argument(call, 1, NULL) : json_null();
}

/* ---- filters ---- */

static json_t *to_json(az_chat *chat, const az_chat_call *call)
{
    const json_t *indent = argument(call, 0, "indent");
    const size_t spaces = json_is_integer(indent) && json_integer_value(indent) > 0 ? (size_t)json_integer_value(indent) & 31 : 0;
    if (!call->value || !az_chat_measure(chat, call->value)) return az_chat_fail(chat, "tojson of an undefined value");
    char *dump = json_dumps(call->value, JSON_ENCODE_ANY | JSON_INDENT(spaces));
    json_t *text = dump ? az_chat_string(chat, dump, strlen(dump)) : NULL;
    free(dump);
    return text;
}

static json_t *join(az_chat *chat, const az_chat_call *call)
{
    const az_text between = text_of(argument(call, 0, "d"));
    az_bytes out = {.az = chat->az};
    for (size_t i = 0; i < json_array_size(call->value) && az_chat_step(chat); i++) {
        if (i > 0 && between.data && !az_bytes_add(&out, between.data, between.length)) return NULL;
        if (!az_chat_add_text(chat, &out, json_array_get(call->value, i))) return NULL;
        if (out.length > AZ_CHAT_OUTPUT) return az_chat_fail(chat, "a text longer than %d MiB", AZ_CHAT_OUTPUT >> 20);
    }
    return az_chat_string(chat, out.data, out.length);
}

static json_t *length(az_chat *chat, const json_t *value)
{
    size_t n = json_is_object(value) ? json_object_size(value) : json_array_size(value);
    for (size_t i = 0; i < json_string_length(value); i++) n += ((unsigned char)json_string_value(value)[i] & 0xc0) != 0x80;
    if (!json_is_object(value) && !json_is_array(value) && !json_is_string(value)) return az_chat_fail(chat, "a value without length");
    return az_chat_keep(chat, json_integer((json_int_t)n), 16);
}

/* Objects of a list whose attribute equals a value, or is set; `keep` = false: the others. */
static json_t *select_by(az_chat *chat, const az_chat_call *call, bool keep)
{
    const az_text name = text_of(argument(call, 0, NULL)), by = text_of(argument(call, 1, NULL));
    json_t *chosen = az_chat_keep(chat, json_array(), 16 * json_array_size(call->value)), *wanted = argument(call, 2, NULL);
    if (!name.data) return az_chat_fail(chat, "a selection needs the name of an attribute");
    for (size_t i = 0; chosen && i < json_array_size(call->value) && az_chat_step(chat); i++) {
        json_t *item = json_array_get(call->value, i);
        const az_chat_call test = {.name = by.data ? by : az_text_of("true"),
                                   .value = json_object_getn(item, name.data, name.length),
                                   .n = wanted ? 1 : 0,
                                   .argument = {wanted}};
        const bool holds = by.data ? az_chat_test(chat, &test) : az_chat_truth(test.value);
        if (holds == keep) json_array_append(chosen, item);
    }
    return az_ok(chat->az) ? chosen : NULL;
}

json_t *az_chat_filter(az_chat *chat, const az_chat_call *call)
{
    json_t *value = call->value;
    if (is(call->name, "default") || is(call->name, "d")) {
        const bool falsy = az_chat_truth(argument(call, 1, "boolean")) && !az_chat_truth(value);
        return value && !falsy ? value : argument(call, 0, "default_value");
    }
    if (is(call->name, "tojson")) return to_json(chat, call);
    if (is(call->name, "join")) return join(chat, call);
    if (is(call->name, "length") || is(call->name, "count")) return length(chat, value);
    if (is(call->name, "string")) return az_chat_text_of(chat, value);
    if (is(call->name, "safe")) return value;
    if (is(call->name, "list")) return json_is_object(value) ? entries(chat, value, 'k') : value;
    if (is(call->name, "items") && json_is_object(value)) return entries(chat, value, 'i');
    if (is(call->name, "selectattr")) return select_by(chat, call, true);
    if (is(call->name, "rejectattr")) return select_by(chat, call, false);
    if (is(call->name, "first")) return json_array_get(value, 0);
    if (is(call->name, "last")) return json_array_size(value) > 0 ? json_array_get(value, json_array_size(value) - 1) : NULL;
    if (is(call->name, "int") && json_is_string(value))
        return az_chat_keep(chat, json_integer(strtoll(json_string_value(value), NULL, 10)), 16);
    if (is(call->name, "int") && json_is_number(value)) return az_chat_keep(chat, json_integer((json_int_t)json_number_value(value)), 16);
    static const char *const texts[] = {"upper", "lower", "title", "capitalize", "replace"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (is(call->name, texts[i]) && json_is_string(value)) return text_method(chat, call);
    if (is(call->name, "trim")) return strip(chat, text_of(az_chat_text_of(chat, value)), (az_text){0}, true, true);
    return unknown(chat, "filter", call->name);
}

/* ---- functions and tests ---- */

static json_t *new_namespace(az_chat *chat, const az_chat_call *call)
{
    enum { SPACES = sizeof chat->space / sizeof *chat->space };
    if (chat->spaces == SPACES) return az_chat_fail(chat, "more than %d namespaces", SPACES);
    json_t *space = az_chat_keep(chat, json_object(), 64);
    for (int i = 0; space && i < call->n; i++)
        if (call->keyword[i].length > 0 && call->argument[i] && az_chat_is_plain(chat, call->argument[i]))
            json_object_setn(space, call->keyword[i].data, call->keyword[i].length, call->argument[i]);
    if (space) chat->space[chat->spaces++] = space;
    return space;
}

static json_t *range(az_chat *chat, const az_chat_call *call)
{
    const json_t *a = argument(call, 0, NULL), *b = argument(call, 1, NULL);
    const int64_t from = b ? json_integer_value(a) : 0, to = json_integer_value(b ? b : a);
    json_t *list = az_chat_keep(chat, json_array(), 16);
    for (int64_t i = from; list && i < to && az_chat_step(chat); i++) {
        json_t *number = az_chat_keep(chat, json_integer(i), 16);
        if (!number) return NULL;
        json_array_append(list, number);
    }
    return az_ok(chat->az) ? list : NULL;
}

json_t *az_chat_function(az_chat *chat, const az_chat_call *call)
{
    if (is(call->name, "namespace")) return new_namespace(chat, call);
    if (is(call->name, "range")) return range(chat, call);
    if (is(call->name, "raise_exception")) {
        const az_text why = text_of(argument(call, 0, NULL));
        return az_chat_fail(chat, "%.*s", (int)(why.length < 500 ? why.length : 500), why.data ? why.data : "refused");
    }
    return unknown(chat, "function", call->name);
}

bool az_chat_test(az_chat *chat, const az_chat_call *call)
{
    const json_t *value = call->value;
    if (is(call->name, "defined")) return value != NULL;
    if (is(call->name, "undefined")) return value == NULL;
    if (is(call->name, "none")) return json_is_null(value);
    if (is(call->name, "string")) return json_is_string(value);
    if (is(call->name, "number")) return json_is_number(value);
    if (is(call->name, "integer")) return json_is_integer(value);
    if (is(call->name, "boolean")) return json_is_boolean(value);
    if (is(call->name, "true")) return json_is_true(value);
    if (is(call->name, "false")) return json_is_false(value);
    if (is(call->name, "mapping")) return json_is_object(value);
    if (is(call->name, "iterable") || is(call->name, "sequence"))
        return json_is_array(value) || json_is_string(value) || json_is_object(value);
    if (is(call->name, "odd") || is(call->name, "even")) return (json_integer_value(value) % 2 != 0) == is(call->name, "odd");
    if (is(call->name, "equalto") || is(call->name, "eq")) return az_chat_equal(chat, value, argument(call, 0, NULL));
    if (is(call->name, "in")) return az_chat_contains(chat, argument(call, 0, NULL), value);
    return unknown(chat, "test", call->name) != NULL;
}
