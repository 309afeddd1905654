/* expression.c - expressions of chat templates, evaluated as they are read, weakest operator first. */
#include "lm/chat/chat.h"

#include <stdlib.h>
#include <string.h>

bool az_chat_is(const az_chat *chat, az_chat_kind kind, const char *text)
{
    const az_chat_token *token = &chat->token[chat->at];
    return token->kind == kind && (!text || az_text_equal(token->text, az_text_of(text)));
}

bool az_chat_take(az_chat *chat, az_chat_kind kind, const char *text)
{
    if (!az_chat_is(chat, kind, text)) return false;
    chat->at++;
    return true;
}

bool az_chat_expect(az_chat *chat, az_chat_kind kind, const char *text)
{
    if (!az_ok(chat->az)) return false;
    if (az_chat_take(chat, kind, text)) return true;
    return az_chat_fail(chat, "expected '%s' instead of '%s'",
                        text                   ? text
                        : kind == AZ_CHAT_NAME ? "a name"
                                               : "the end of the block",
                        az_text_show(chat->az, chat->token[chat->at].text));
}

static bool take_operator(az_chat *chat, const char *text)
{
    return az_chat_take(chat, AZ_CHAT_OPERATOR, text);
}

static bool take_name(az_chat *chat, const char *text)
{
    return az_chat_take(chat, AZ_CHAT_NAME, text);
}

static json_t *boolean(bool value)
{
    return json_boolean(value); /* true and false are never freed */
}

/* ---- calls ---- */

/* (a, b, key=c) */
static bool arguments(az_chat *chat, az_chat_call *call)
{
    if (!take_operator(chat, "(")) return true;
    while (!az_chat_is(chat, AZ_CHAT_OPERATOR, ")")) {
        if (call->n == AZ_CHAT_ARGUMENTS) return az_chat_fail(chat, "more than %d arguments", AZ_CHAT_ARGUMENTS);
        const az_chat_token *next = &chat->token[chat->at + 1];
        if (az_chat_is(chat, AZ_CHAT_NAME, NULL) && next->kind == AZ_CHAT_OPERATOR && az_text_equal(next->text, az_text_of("="))) {
            call->keyword[call->n] = chat->token[chat->at].text;
            chat->at += 2;
        }
        call->argument[call->n++] = az_chat_expression(chat);
        if (!az_ok(chat->az)) return false;
        if (!take_operator(chat, ",")) break;
    }
    return az_chat_expect(chat, AZ_CHAT_OPERATOR, ")");
}

static bool called_name(az_chat *chat, az_chat_call *call)
{
    call->name = chat->token[chat->at].text;
    return az_chat_expect(chat, AZ_CHAT_NAME, NULL);
}

static json_t *apply_filter(az_chat *chat, json_t *value)
{
    az_chat_call call = {.value = value};
    if (!called_name(chat, &call) || !arguments(chat, &call) || chat->skip) return NULL;
    return az_chat_filter(chat, &call);
}

static json_t *member(az_chat *chat, json_t *value)
{
    az_chat_call call = {.value = value};
    if (!called_name(chat, &call)) return NULL;
    if (az_chat_is(chat, AZ_CHAT_OPERATOR, "(")) {
        if (!arguments(chat, &call) || chat->skip) return NULL;
        return az_chat_method(chat, &call);
    }
    if (chat->skip) return NULL;
    if (!value) return az_chat_fail(chat, "'.%s' of an undefined value", az_text_show(chat->az, call.name));
    return json_is_object(value) ? json_object_getn(value, call.name.data, call.name.length) : NULL;
}

/* [index] or [from:to:step] */
static json_t *subscript(az_chat *chat, json_t *value)
{
    json_t *bound[3] = {NULL, NULL, NULL};
    int n = 0;
    bool slice = false;
    while (!az_chat_is(chat, AZ_CHAT_OPERATOR, "]") && n < 3) {
        if (take_operator(chat, ":")) {
            slice = true;
            n++;
            continue;
        }
        bound[n] = az_chat_expression(chat);
        if (!az_ok(chat->az)) return NULL;
        if (!az_chat_is(chat, AZ_CHAT_OPERATOR, ":")) break;
    }
    if (!az_chat_expect(chat, AZ_CHAT_OPERATOR, "]") || chat->skip) return NULL;
    if (!value) return az_chat_fail(chat, "an item of an undefined value");
    return slice ? az_chat_slice(chat, value, bound) : az_chat_item(chat, value, bound[0]);
}

static json_t *postfix(az_chat *chat, json_t *value)
{
    while (az_chat_step(chat)) {
        if (take_operator(chat, "."))
            value = member(chat, value);
        else if (take_operator(chat, "["))
            value = subscript(chat, value);
        else if (take_operator(chat, "|"))
            value = apply_filter(chat, value);
        else
            return value;
    }
    return NULL;
}

/* ---- literals ---- */

static json_t *number(az_chat *chat)
{
    char digits[32];
    const az_text text = chat->token[chat->at++].text;
    if (text.length >= sizeof digits) return az_chat_fail(chat, "the number '%s' is too long", az_text_show(chat->az, text));
    memcpy(digits, text.data, text.length);
    digits[text.length] = '\0';
    const bool real = strchr(digits, '.') != NULL;
    return az_chat_keep(chat, real ? json_real(strtod(digits, NULL)) : json_integer(strtoll(digits, NULL, 10)), 16);
}

static json_t *list(az_chat *chat, const char *close)
{
    json_t *items = az_chat_keep(chat, json_array(), 32);
    while (az_chat_step(chat) && !az_chat_is(chat, AZ_CHAT_OPERATOR, close)) {
        json_t *item = az_chat_expression(chat);
        if (item && !chat->skip && az_chat_is_plain(chat, item)) json_array_append(items, item);
        if (!take_operator(chat, ",")) break;
    }
    return az_chat_expect(chat, AZ_CHAT_OPERATOR, close) ? items : NULL;
}

static json_t *dictionary(az_chat *chat)
{
    json_t *items = az_chat_keep(chat, json_object(), 32);
    while (az_chat_step(chat) && !az_chat_is(chat, AZ_CHAT_OPERATOR, "}")) {
        json_t *key = az_chat_expression(chat);
        if (!az_chat_expect(chat, AZ_CHAT_OPERATOR, ":")) return NULL;
        json_t *value = az_chat_expression(chat);
        if (!chat->skip && !json_is_string(key)) return az_chat_fail(chat, "a key of a dictionary is no string");
        if (!chat->skip && value && az_chat_is_plain(chat, value))
            json_object_setn(items, json_string_value(key), json_string_length(key), value);
        if (!take_operator(chat, ",")) break;
    }
    return az_chat_expect(chat, AZ_CHAT_OPERATOR, "}") ? items : NULL;
}

static json_t *named(az_chat *chat)
{
    az_chat_call call = {.name = chat->token[chat->at++].text};
    static const struct {
        const char *name;
        int value;
    } constants[] = {{"true", 1}, {"True", 1}, {"false", 0}, {"False", 0}, {"none", 2}, {"None", 2}};
    for (size_t i = 0; i < sizeof constants / sizeof *constants; i++)
        if (az_text_equal(call.name, az_text_of(constants[i].name)))
            return constants[i].value == 2 ? json_null() : boolean(constants[i].value);
    if (!az_chat_is(chat, AZ_CHAT_OPERATOR, "(")) return chat->skip ? NULL : az_chat_get(chat, call.name);
    return arguments(chat, &call) && !chat->skip ? az_chat_function(chat, &call) : NULL;
}

static json_t *primary(az_chat *chat)
{
    if (az_chat_is(chat, AZ_CHAT_NUMBER, NULL)) return number(chat);
    if (az_chat_is(chat, AZ_CHAT_NAME, NULL)) return named(chat);
    if (az_chat_is(chat, AZ_CHAT_STRING, NULL)) {
        az_bytes joined = {.az = chat->az};
        while (az_chat_is(chat, AZ_CHAT_STRING, NULL)) { /* neighbours are one string */
            const az_text text = chat->token[chat->at++].text;
            if (!az_bytes_add(&joined, text.data, text.length)) return NULL;
        }
        return az_chat_string(chat, joined.data, joined.length);
    }
    if (take_operator(chat, "[")) return list(chat, "]");
    if (take_operator(chat, "{")) return dictionary(chat);
    if (take_operator(chat, "(")) {
        json_t *value = az_chat_expression(chat);
        if (!az_chat_is(chat, AZ_CHAT_OPERATOR, ",")) return az_chat_expect(chat, AZ_CHAT_OPERATOR, ")") ? value : NULL;
        chat->at++;
        json_t *items = list(chat, ")");
        if (items && value) json_array_insert(items, 0, value);
        return items;
    }
    return az_chat_fail(chat, "an expression cannot begin with '%s'", az_text_show(chat->az, chat->token[chat->at].text));
}

/* ---- operators ---- */

static json_t *unary(az_chat *chat)
{
    const bool minus = take_operator(chat, "-");
    json_t *value = postfix(chat, primary(chat));
    if (!minus || chat->skip || !az_ok(chat->az)) return value;
    if (json_is_integer(value)) return az_chat_keep(chat, json_integer((json_int_t)(0 - (uint64_t)json_integer_value(value))), 16);
    return json_is_real(value) ? az_chat_keep(chat, json_real(-json_real_value(value)), 16) : az_chat_fail(chat, "'-' needs a number");
}

static json_t *whole_numbers(az_chat *chat, char operation, int64_t a, int64_t b)
{
    const uint64_t x = (uint64_t)a, y = (uint64_t)b;
    int64_t result = 0;
    if ((operation == '/' || operation == '%') && (b == 0 || b == -1)) {
        if (b == 0) return az_chat_fail(chat, "a division by zero");
        result = operation == '/' ? (int64_t)(0 - x) : 0;
    } else if (operation == '/' || operation == '%') { /* rounded down, as Python does it */
        const int64_t rest = a % b, down = rest != 0 && (rest < 0) != (b < 0);
        result = operation == '/' ? a / b - down : rest + down * b;
    } else {
        result = (int64_t)(operation == '+' ? x + y : operation == '-' ? x - y : x * y);
    }
    return az_chat_keep(chat, json_integer(result), 16);
}

static json_t *add(az_chat *chat, json_t *a, json_t *b)
{
    if (json_is_string(a) && json_is_string(b)) {
        az_bytes joined = {.az = chat->az};
        if (!az_bytes_add(&joined, json_string_value(a), json_string_length(a)) ||
            !az_bytes_add(&joined, json_string_value(b), json_string_length(b)))
            return NULL;
        return az_chat_string(chat, joined.data, joined.length);
    }
    if (json_is_array(a) && json_is_array(b)) {
        json_t *joined = az_chat_keep(chat, json_copy(a), 16 * (json_array_size(a) + json_array_size(b)));
        if (joined) json_array_extend(joined, b);
        return joined;
    }
    return az_chat_fail(chat, "'+' needs two strings, two lists or two numbers");
}

static json_t *calculate(az_chat *chat, char operation, json_t *a, json_t *b)
{
    if (chat->skip || !az_ok(chat->az)) return NULL;
    if (json_is_integer(a) && json_is_integer(b)) return whole_numbers(chat, operation, json_integer_value(a), json_integer_value(b));
    if (json_is_number(a) && json_is_number(b) && strchr("+-*", operation)) {
        const double x = json_number_value(a), y = json_number_value(b);
        return az_chat_keep(chat, json_real(operation == '+' ? x + y : operation == '-' ? x - y : x * y), 16);
    }
    return operation == '+' ? add(chat, a, b) : az_chat_fail(chat, "'%c' needs whole numbers", operation);
}

static json_t *product(az_chat *chat)
{
    json_t *value = unary(chat);
    while (az_chat_step(chat)) {
        const char operation = take_operator(chat, "*") ? '*' : take_operator(chat, "//") ? '/' : take_operator(chat, "%") ? '%' : 0;
        if (!operation) return value;
        value = calculate(chat, operation, value, unary(chat));
    }
    return NULL;
}

static json_t *concatenation(az_chat *chat)
{
    json_t *value = product(chat);
    while (az_chat_step(chat) && take_operator(chat, "~")) {
        json_t *right = product(chat);
        if (!chat->skip) value = add(chat, az_chat_text_of(chat, value), az_chat_text_of(chat, right));
    }
    return value;
}

static json_t *sum(az_chat *chat)
{
    json_t *value = concatenation(chat);
    while (az_chat_step(chat)) {
        const char operation = take_operator(chat, "+") ? '+' : take_operator(chat, "-") ? '-' : 0;
        if (!operation) return value;
        value = calculate(chat, operation, value, concatenation(chat));
    }
    return NULL;
}

/* < 0, 0, > 0 */
static int order(az_chat *chat, const json_t *a, const json_t *b)
{
    if (json_is_number(a) && json_is_number(b)) {
        const double x = json_number_value(a), y = json_number_value(b);
        return (x > y) - (x < y);
    }
    if (json_is_string(a) && json_is_string(b)) return strcmp(json_string_value(a), json_string_value(b));
    az_chat_fail(chat, "values that have no order are compared");
    return 0;
}

static json_t *test(az_chat *chat, json_t *value)
{
    const bool negated = take_name(chat, "not");
    az_chat_call call = {.value = value};
    if (!called_name(chat, &call)) return NULL;
    if (az_chat_is(chat, AZ_CHAT_OPERATOR, "(")) {
        if (!arguments(chat, &call)) return NULL;
    }
    return chat->skip ? NULL : boolean(az_chat_test(chat, &call) != negated);
}

static json_t *comparison(az_chat *chat)
{
    static const char *const operators[] = {"==", "!=", "<=", ">=", "<", ">"};
    json_t *value = sum(chat);
    while (az_chat_step(chat)) {
        int found = 0;
        while (found < 6 && !take_operator(chat, operators[found])) found++;
        const az_chat_token *next = &chat->token[chat->at + 1];
        const bool not_in =
            az_chat_is(chat, AZ_CHAT_NAME, "not") && next->kind == AZ_CHAT_NAME && az_text_equal(next->text, az_text_of("in"));
        if (not_in) chat->at++;
        if (found < 6) {
            json_t *right = sum(chat);
            if (chat->skip || !az_ok(chat->az)) continue;
            const int by = found < 2 ? 0 : order(chat, value, right);
            const bool same = found < 2 && az_chat_equal(chat, value, right);
            const bool holds[] = {same, !same, by <= 0, by >= 0, by<0, by> 0};
            value = boolean(holds[found]);
        } else if (take_name(chat, "in")) {
            json_t *whole = sum(chat);
            value = chat->skip ? NULL : boolean(az_chat_contains(chat, whole, value) != not_in);
        } else if (take_name(chat, "is")) {
            value = test(chat, value);
        } else {
            return value;
        }
    }
    return NULL;
}

static json_t *negation(az_chat *chat)
{
    if (!take_name(chat, "not")) return comparison(chat);
    if (!az_chat_step(chat) || ++chat->depth > AZ_CHAT_DEPTH) return az_chat_fail(chat, "more than %d levels", AZ_CHAT_DEPTH);
    json_t *value = negation(chat);
    chat->depth--;
    return chat->skip ? NULL : boolean(!az_chat_truth(value));
}

/* The right side is evaluated only where it decides. */
static json_t *conjunction(az_chat *chat)
{
    json_t *value = negation(chat);
    while (az_chat_step(chat) && take_name(chat, "and")) {
        const bool decided = !chat->skip && !az_chat_truth(value);
        chat->skip += decided;
        json_t *right = negation(chat);
        chat->skip -= decided;
        if (!decided) value = right;
    }
    return value;
}

json_t *az_chat_condition(az_chat *chat)
{
    json_t *value = conjunction(chat);
    while (az_chat_step(chat) && take_name(chat, "or")) {
        const bool decided = !chat->skip && az_chat_truth(value);
        chat->skip += decided;
        json_t *right = conjunction(chat);
        chat->skip -= decided;
        if (!decided) value = right;
    }
    return value;
}

/* Whether "a if b else c" begins here: the word "if" before this expression ends. In `for x in list if ...` it belongs to the loop. */
static bool has_condition(const az_chat *chat)
{
    int open = 0;
    for (int64_t at = chat->at; chat->token[at].kind > AZ_CHAT_BLOCK_END && chat->token[at].kind != AZ_CHAT_END; at++) {
        const az_chat_token *token = &chat->token[at];
        const char c = token->kind == AZ_CHAT_OPERATOR && token->text.length == 1 ? token->text.data[0] : 0;
        if (c && strchr("([{", c)) open++;
        if (c && strchr(")]}", c) && open-- == 0) return false;
        if (open > 0) continue;
        if (c && strchr(",:", c)) return false;
        if (token->kind == AZ_CHAT_NAME && az_text_equal(token->text, az_text_of("if"))) return true;
        if (token->kind == AZ_CHAT_NAME && az_text_equal(token->text, az_text_of("else"))) return false;
    }
    return false;
}

static json_t *conditional(az_chat *chat)
{
    const int64_t begin = chat->at;
    chat->skip++;
    az_chat_condition(chat);
    chat->skip--;
    if (!az_ok(chat->az) || !take_name(chat, "if")) return NULL;
    const bool holds = az_chat_truth(az_chat_condition(chat)) && !chat->skip;
    const int64_t behind = chat->at;
    json_t *value = NULL;
    if (holds) {
        chat->at = begin;
        value = az_chat_condition(chat);
        chat->at = behind;
    }
    if (!az_ok(chat->az) || !take_name(chat, "else")) return value;
    chat->skip += holds;
    json_t *other = az_chat_expression(chat);
    chat->skip -= holds;
    return holds ? value : other;
}

json_t *az_chat_expression(az_chat *chat)
{
    if (!az_chat_step(chat)) return NULL;
    if (++chat->depth > AZ_CHAT_DEPTH) return az_chat_fail(chat, "more than %d levels of nesting", AZ_CHAT_DEPTH);
    json_t *value = has_condition(chat) ? conditional(chat) : az_chat_condition(chat);
    chat->depth--;
    return az_ok(chat->az) ? value : NULL;
}
