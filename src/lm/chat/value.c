/* value.c - values of chat templates: truth, text, items, slices, equality. */
#include "lm/chat/chat.h"

#include <string.h>

json_t *az_chat_keep(az_chat *chat, json_t *value, size_t bytes)
{
    if (!value) return az_ok(chat->az) ? az_chat_fail(chat, "a text that is not UTF-8, or no memory left") : NULL;
    chat->value_bytes += bytes + 64;
    bool room = chat->values < chat->value_room;
    if (!room && chat->value_bytes <= AZ_CHAT_VALUES) {
        const int64_t more = chat->value_room ? 2 * chat->value_room : 256;
        json_t **longer = az_alloc_array(chat->az, (size_t)more, sizeof *longer);
        if (longer && chat->values > 0) memcpy(longer, chat->value, (size_t)chat->values * sizeof *longer);
        if ((room = longer != NULL)) chat->value = longer, chat->value_room = more;
    }
    if (!room || chat->value_bytes > AZ_CHAT_VALUES) {
        json_decref(value);
        return az_chat_fail(chat, "its values take more than %d MiB", AZ_CHAT_VALUES >> 20);
    }
    return chat->value[chat->values++] = value;
}

json_t *az_chat_string(az_chat *chat, const char *text, size_t length)
{
    if (!az_ok(chat->az)) return NULL;
    return az_chat_keep(chat, json_stringn(text ? text : "", length), length);
}

bool az_chat_truth(const json_t *value)
{
    if (!value || json_is_null(value) || json_is_false(value)) return false;
    if (json_is_string(value)) return json_string_length(value) > 0;
    if (json_is_array(value)) return json_array_size(value) > 0;
    if (json_is_object(value)) return json_object_size(value) > 0;
    return !json_is_number(value) || json_number_value(value) < 0 || json_number_value(value) > 0;
}

bool az_chat_add_text(az_chat *chat, az_bytes *out, const json_t *value)
{
    if (!az_ok(chat->az)) return false;
    if (!value) return true;
    if (json_is_string(value)) return az_bytes_add(out, json_string_value(value), json_string_length(value));
    const char *text = NULL;
    if (json_is_null(value)) text = "None";
    if (json_is_boolean(value)) text = json_is_true(value) ? "True" : "False";
    if (json_is_integer(value)) text = az_format_text(chat->az, "%lld", (long long)json_integer_value(value));
    if (json_is_real(value)) text = az_format_text(chat->az, "%.17g", json_real_value(value));
    if (!text) return az_chat_fail(chat, "a list or dictionary is printed; the filter tojson does that");
    return az_bytes_add(out, text, strlen(text));
}

json_t *az_chat_text_of(az_chat *chat, json_t *value)
{
    if (json_is_string(value)) return value;
    az_bytes out = {.az = chat->az};
    return az_chat_add_text(chat, &out, value) ? az_chat_string(chat, out.data, out.length) : NULL;
}

/* ---- walking over values ---- */

static bool measure(az_chat *chat, const json_t *value, int depth, size_t *bytes)
{
    if (!az_chat_step(chat)) return false;
    if (depth > AZ_CHAT_DEPTH) return az_chat_fail(chat, "a value of more than %d levels", AZ_CHAT_DEPTH);
    if (json_is_string(value)) *bytes += json_string_length(value);
    if (*bytes > AZ_CHAT_VALUES) return az_chat_fail(chat, "a value of more than %d MiB", AZ_CHAT_VALUES >> 20);
    const char *key;
    json_t *item;
    size_t i;
    json_array_foreach((json_t *)(uintptr_t)value, i, item) if (!measure(chat, item, depth + 1, bytes)) return false;
    json_object_foreach((json_t *)(uintptr_t)value, key, item) if (!measure(chat, item, depth + 1, bytes)) return false;
    return true;
}

bool az_chat_measure(az_chat *chat, const json_t *value)
{
    size_t bytes = 0;
    return !value || measure(chat, value, 0, &bytes);
}

bool az_chat_equal(az_chat *chat, const json_t *a, const json_t *b)
{
    if (json_is_number(a) && json_is_number(b))
        return !(json_number_value(a) < json_number_value(b)) && !(json_number_value(a) > json_number_value(b));
    if (!a || !b) return a == b;
    return az_chat_measure(chat, a) && az_chat_measure(chat, b) && json_equal(a, b);
}

bool az_chat_is_plain(az_chat *chat, const json_t *value)
{
    for (int i = 0; i < chat->spaces; i++)
        if (chat->space[i] == value) return az_chat_fail(chat, "a namespace stands inside another value");
    return true;
}

bool az_chat_contains(az_chat *chat, const json_t *whole, const json_t *part)
{
    json_t *item;
    size_t i;
    if (json_is_object(whole)) return json_is_string(part) && json_object_getn(whole, json_string_value(part), json_string_length(part));
    if (json_is_string(whole))
        return json_is_string(part) &&
               memmem(json_string_value(whole), json_string_length(whole), json_string_value(part), json_string_length(part)) != NULL;
    json_array_foreach((json_t *)(uintptr_t)whole, i, item) if (az_chat_equal(chat, item, part)) return true;
    if (!json_is_array(whole)) az_chat_fail(chat, "'in' needs a text, a list or a dictionary");
    return false;
}

/* ---- items and slices ---- */

/* Characters of a text. */
static int64_t count_characters(const char *text, size_t length)
{
    int64_t n = 0;
    for (size_t i = 0; i < length; i++) n += ((unsigned char)text[i] & 0xc0) != 0x80;
    return n;
}

/* Byte where character i begins. */
static size_t character_at(const char *text, size_t length, int64_t i)
{
    size_t at = 0;
    for (; at < length; at++)
        if (((unsigned char)text[at] & 0xc0) != 0x80 && i-- == 0) return at;
    return length;
}

static int64_t size_of(const json_t *value)
{
    return json_is_string(value) ? count_characters(json_string_value(value), json_string_length(value)) : (int64_t)json_array_size(value);
}

json_t *az_chat_item(az_chat *chat, json_t *value, json_t *key)
{
    if (json_is_object(value)) return json_is_string(key) ? json_object_getn(value, json_string_value(key), json_string_length(key)) : NULL;
    if (!json_is_integer(key)) return az_chat_fail(chat, "an index is no whole number");
    int64_t i = json_integer_value(key);
    const int64_t n = size_of(value);
    if (i < 0) i += n;
    if (i < 0 || i >= n) return NULL;
    if (json_is_array(value)) return json_array_get(value, (size_t)i);
    const char *text = json_string_value(value);
    const size_t length = json_string_length(value), begin = character_at(text, length, i);
    return az_chat_string(chat, text + begin, character_at(text, length, i + 1) - begin);
}

static int64_t bounded(const json_t *bound, int64_t fallback, int64_t n)
{
    int64_t i = json_is_integer(bound) ? json_integer_value(bound) : fallback;
    if (i < 0 && json_is_integer(bound)) i += n;
    return i < 0 ? 0 : i > n ? n : i;
}

json_t *az_chat_slice(az_chat *chat, json_t *value, json_t *const bound[3])
{
    if (!json_is_string(value) && !json_is_array(value)) return az_chat_fail(chat, "only texts and lists have slices");
    const int64_t n = size_of(value), step = json_is_integer(bound[2]) ? json_integer_value(bound[2]) : 1;
    int64_t from = bounded(bound[0], 0, n), to = bounded(bound[1], n, n);
    if (step == -1 && json_is_array(value) && !bound[0] && !bound[1]) { /* turned round */
        json_t *turned = az_chat_keep(chat, json_array(), 16 * (size_t)n);
        for (int64_t i = n; turned && i-- > 0;) json_array_append(turned, json_array_get(value, (size_t)i));
        return turned;
    }
    if (step != 1) return az_chat_fail(chat, "slices go by steps of 1, lists also by [::-1]");
    if (from > to) to = from;
    if (json_is_string(value)) {
        const char *text = json_string_value(value);
        const size_t length = json_string_length(value), begin = character_at(text, length, from);
        return az_chat_string(chat, text + begin, character_at(text, length, to) - begin);
    }
    json_t *slice = az_chat_keep(chat, json_array(), 16 * (size_t)(to - from));
    for (int64_t i = from; slice && i < to; i++) json_array_append(slice, json_array_get(value, (size_t)i));
    return slice;
}

/* ---- variables ---- */

json_t *az_chat_get(const az_chat *chat, az_text name)
{
    for (int64_t i = chat->variables; i-- > 0;)
        if (az_text_equal(chat->variable[i].name, name)) return chat->variable[i].value;
    return NULL;
}

json_t *az_chat_set(az_chat *chat, az_text name, json_t *value)
{
    if (chat->variables == chat->variable_room) {
        const int64_t room = 2 * chat->variable_room + 32;
        az_chat_variable *longer = az_alloc_array(chat->az, (size_t)room, sizeof *longer);
        if (!longer) return NULL;
        if (chat->variables > 0) memcpy(longer, chat->variable, (size_t)chat->variables * sizeof *longer);
        chat->variable = longer;
        chat->variable_room = room;
    }
    chat->variable[chat->variables++] = (az_chat_variable){.name = name, .value = value};
    return value;
}
