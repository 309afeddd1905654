/* render.c - messages as the prompt that a chat template makes of them: the template's statements. */
#include "lm/chat/chat.h"

#include <string.h>

void *az_chat_fail(az_chat *chat, const char *format, ...)
{
    va_list arguments;
    char why[1024];
    va_start(arguments, format);
    vsnprintf(why, sizeof why, format, arguments);
    va_end(arguments);
    return az_fail(chat->az, AZ_BAD_INPUT, "chat template, line %d: %s", chat->token[chat->at].line, why);
}

bool az_chat_step(az_chat *chat)
{
    if (!az_ok(chat->az)) return false;
    return chat->steps++ < AZ_CHAT_STEPS || az_chat_fail(chat, "it does not end within %d steps", AZ_CHAT_STEPS);
}

static bool run(az_chat *chat);

/* "%}" */
static bool block_end(az_chat *chat)
{
    return az_chat_expect(chat, AZ_CHAT_BLOCK_END, NULL);
}

/* A body, with what is not wanted skipped; stops at the block that ends it. */
static bool body(az_chat *chat, bool wanted)
{
    if (++chat->depth > AZ_CHAT_DEPTH) return az_chat_fail(chat, "more than %d levels of nesting", AZ_CHAT_DEPTH);
    chat->skip += !wanted;
    const bool good = run(chat);
    chat->skip -= !wanted;
    chat->depth--;
    return good;
}

/* Whether the block that follows begins with this word, which is taken then. */
static bool next_block(az_chat *chat, const char *word)
{
    const az_chat_token *name = &chat->token[chat->at + 1];
    if (!az_chat_is(chat, AZ_CHAT_BLOCK, NULL) || name->kind != AZ_CHAT_NAME || !az_text_equal(name->text, az_text_of(word))) return false;
    chat->at += 2;
    return true;
}

static bool end_of(az_chat *chat, const char *word)
{
    if (next_block(chat, word)) return block_end(chat);
    return az_ok(chat->az) ? (az_chat_fail(chat, "'%s' is missing", word) != NULL) : false;
}

static bool run_if(az_chat *chat)
{
    bool taken = false;
    do {
        const bool holds = az_chat_truth(az_chat_expression(chat));
        if (!block_end(chat) || !body(chat, holds && !taken)) return false;
        taken = taken || holds;
    } while (next_block(chat, "elif"));
    if (next_block(chat, "else") && !(block_end(chat) && body(chat, !taken))) return false;
    return end_of(chat, "endif");
}

/* ---- for ---- */

typedef struct loop {
    az_text name[2];
    int names;
    json_t *items;
    int64_t condition; /* token where "if ..." begins, -1 = none */
    int64_t body;      /* token where the body begins */
    int64_t variables; /* before the loop */
} loop;

static bool bind_item(az_chat *chat, const loop *l, json_t *item)
{
    if (l->names == 1) {
        az_chat_set(chat, l->name[0], item);
    } else {
        if (json_array_size(item) != 2) return az_chat_fail(chat, "a loop over pairs meets an item that is none");
        for (int i = 0; i < 2; i++) az_chat_set(chat, l->name[i], json_array_get(item, (size_t)i));
    }
    return az_ok(chat->az);
}

static json_t *loop_object(az_chat *chat, const json_t *items, size_t i)
{
    const size_t n = json_array_size(items);
    json_t *object = az_chat_keep(chat,
                                  json_pack("{s:I,s:I,s:I,s:I,s:b,s:b}", "index", (json_int_t)i + 1, "index0", (json_int_t)i, "revindex0",
                                            (json_int_t)(n - i - 1), "length", (json_int_t)n, "first", i == 0, "last", i + 1 == n),
                                  512);
    if (object && i > 0) json_object_set(object, "previtem", json_array_get(items, i - 1));
    if (object && i + 1 < n) json_object_set(object, "nextitem", json_array_get(items, i + 1));
    return object;
}

/* The items for which the loop's condition holds. */
static json_t *filtered(az_chat *chat, const loop *l)
{
    json_t *kept = az_chat_keep(chat, json_array(), 16 * json_array_size(l->items));
    for (size_t i = 0; kept && i < json_array_size(l->items); i++) {
        json_t *item = json_array_get(l->items, i);
        if (!bind_item(chat, l, item)) return NULL;
        chat->at = l->condition;
        if (az_chat_truth(az_chat_condition(chat))) json_array_append(kept, item);
        chat->variables = l->variables;
        if (!az_ok(chat->az)) return NULL;
    }
    return kept;
}

static bool repeat(az_chat *chat, const loop *l)
{
    for (size_t i = 0; i < json_array_size(l->items); i++) {
        if (!az_chat_step(chat) || !bind_item(chat, l, json_array_get(l->items, i))) return false;
        az_chat_set(chat, az_text_of("loop"), loop_object(chat, l->items, i));
        chat->at = l->body;
        if (!az_ok(chat->az) || !body(chat, true)) return false;
        chat->variables = l->variables;
    }
    return true;
}

static bool loop_head(az_chat *chat, loop *l)
{
    do {
        l->name[l->names++] = chat->token[chat->at].text;
        if (!az_chat_expect(chat, AZ_CHAT_NAME, NULL)) return false;
    } while (l->names < 2 && az_chat_take(chat, AZ_CHAT_OPERATOR, ","));
    if (!az_chat_expect(chat, AZ_CHAT_NAME, "in")) return false;
    l->items = az_chat_condition(chat);
    l->condition = -1;
    if (az_chat_take(chat, AZ_CHAT_NAME, "if")) {
        l->condition = chat->at;
        chat->skip++;
        az_chat_condition(chat);
        chat->skip--;
    }
    l->body = chat->at + 1;
    return block_end(chat);
}

static bool run_for(az_chat *chat)
{
    loop l = {.variables = chat->variables};
    if (!loop_head(chat, &l)) return false;
    if (!chat->skip && json_is_object(l.items)) {
        const az_chat_call keys = {.name = az_text_of("keys"), .value = l.items};
        l.items = az_chat_method(chat, &keys);
    }
    if (!chat->skip && !json_is_array(l.items)) return az_chat_fail(chat, "a loop needs a list");
    if (!chat->skip && l.condition >= 0) l.items = filtered(chat, &l);
    const bool any = !chat->skip && json_array_size(l.items) > 0;
    if (!az_ok(chat->az) || (any && !repeat(chat, &l))) return false;
    if (!any) {
        chat->at = l.body;
        if (!body(chat, false)) return false;
    }
    if (next_block(chat, "else") && !(block_end(chat) && body(chat, !any))) return false;
    return end_of(chat, "endfor");
}

/* ---- set ---- */

/* A variable of this level takes the new value; one of a level outside stays as it is there. */
static void assign(az_chat *chat, az_text name, json_t *value, int64_t level)
{
    for (int64_t i = chat->variables; i-- > level;)
        if (az_text_equal(chat->variable[i].name, name)) {
            chat->variable[i].value = value;
            return;
        }
    az_chat_set(chat, name, value);
}

static bool assign_attribute(az_chat *chat, az_text name, az_text attribute, json_t *value)
{
    json_t *space = az_chat_get(chat, name);
    bool is_space = false;
    for (int i = 0; i < chat->spaces; i++) is_space = is_space || chat->space[i] == space;
    if (!is_space) return az_chat_fail(chat, "'%s' is no namespace", az_text_show(chat->az, name));
    if (!value || !az_chat_is_plain(chat, value)) return az_ok(chat->az);
    chat->value_bytes += attribute.length;
    return json_object_setn(space, attribute.data, attribute.length, value) == 0;
}

static bool run_set(az_chat *chat, int64_t level)
{
    const az_text name = chat->token[chat->at].text;
    az_text attribute = {0};
    if (!az_chat_expect(chat, AZ_CHAT_NAME, NULL)) return false;
    if (az_chat_take(chat, AZ_CHAT_OPERATOR, ".")) {
        attribute = chat->token[chat->at].text;
        if (!az_chat_expect(chat, AZ_CHAT_NAME, NULL)) return false;
    }
    if (!az_chat_expect(chat, AZ_CHAT_OPERATOR, "=")) return false;
    json_t *value = az_chat_expression(chat);
    if (!az_ok(chat->az) || !block_end(chat)) return false;
    if (chat->skip) return true;
    if (attribute.data) return assign_attribute(chat, name, attribute, value);
    assign(chat, name, value, level);
    return az_ok(chat->az);
}

/* ---- all statements ---- */

static bool print(az_chat *chat, bool text)
{
    const az_text plain = chat->token[chat->at++].text;
    json_t *value = text ? NULL : az_chat_expression(chat);
    if (!az_ok(chat->az) || (!text && !az_chat_expect(chat, AZ_CHAT_PRINT_END, NULL))) return false;
    if (chat->skip) return true;
    if (!(text ? az_bytes_add(&chat->out, plain.data, plain.length) : az_chat_add_text(chat, &chat->out, value))) return false;
    return chat->out.length <= AZ_CHAT_OUTPUT || az_chat_fail(chat, "more than %d MiB of output", AZ_CHAT_OUTPUT >> 20);
}

/* Words that end a body, or part it. */
static bool ends_body(const az_chat *chat)
{
    static const char *const words[] = {"elif", "else", "endif", "endfor", "endgeneration"};
    const az_chat_token *name = &chat->token[chat->at + 1];
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (name->kind == AZ_CHAT_NAME && az_text_equal(name->text, az_text_of(words[i]))) return true;
    return false;
}

static bool statement(az_chat *chat, int64_t level)
{
    chat->at++;
    if (az_chat_take(chat, AZ_CHAT_NAME, "if")) return run_if(chat);
    if (az_chat_take(chat, AZ_CHAT_NAME, "for")) return run_for(chat);
    if (az_chat_take(chat, AZ_CHAT_NAME, "set")) return run_set(chat, level);
    if (az_chat_take(chat, AZ_CHAT_NAME, "generation")) return block_end(chat) && body(chat, true) && end_of(chat, "endgeneration");
    return az_chat_fail(chat, "the statement '%s' is not known here", az_text_show(chat->az, chat->token[chat->at].text));
}

static bool run(az_chat *chat)
{
    const int64_t level = chat->variables;
    while (az_chat_step(chat) && chat->token[chat->at].kind != AZ_CHAT_END) {
        const az_chat_kind kind = chat->token[chat->at].kind;
        if (kind == AZ_CHAT_BLOCK && ends_body(chat)) return true;
        if (!(kind == AZ_CHAT_BLOCK ? statement(chat, level) : print(chat, kind == AZ_CHAT_TEXT))) return false;
    }
    return az_ok(chat->az);
}

/* ---- the prompt ---- */

static const char *token_spelling(const az_tokenizer *tokenizer, int32_t id)
{
    return tokenizer && id >= 0 ? az_token_text(tokenizer, id) : "";
}

static bool set_inputs(az_chat *chat, const az_tokenizer *tokenizer, const char *messages, bool add_generation_prompt)
{
    json_error_t error;
    json_t *list = json_loads(messages, JSON_REJECT_DUPLICATES, &error);
    if (!list) return az_fail(chat->az, AZ_BAD_INPUT, "the messages are no JSON: %s (line %d)", error.text, error.line);
    if (!json_is_array(list)) {
        json_decref(list);
        return az_fail(chat->az, AZ_BAD_INPUT, "the messages are no list [{\"role\": ..., \"content\": ...}, ...]");
    }
    az_chat_set(chat, az_text_of("messages"), az_chat_keep(chat, list, strlen(messages)));
    const char *bos = token_spelling(tokenizer, az_token_bos(tokenizer)), *eos = token_spelling(tokenizer, az_token_eos(tokenizer));
    az_chat_set(chat, az_text_of("bos_token"), az_chat_string(chat, bos, strlen(bos)));
    az_chat_set(chat, az_text_of("eos_token"), az_chat_string(chat, eos, strlen(eos)));
    az_chat_set(chat, az_text_of("add_generation_prompt"), json_boolean(add_generation_prompt));
    return az_ok(chat->az);
}

static bool render(az_chat *chat, const az_tokenizer *tokenizer, const char *messages, bool add_generation_prompt)
{
    if (!chat->token || !set_inputs(chat, tokenizer, messages, add_generation_prompt) || !run(chat)) return false;
    if (chat->token[chat->at].kind == AZ_CHAT_END) return az_bytes_add(&chat->out, "", 0);
    return az_chat_fail(chat, "'%s' ends nothing", az_text_show(chat->az, chat->token[chat->at + 1].text));
}

/* The template's text: of a form by name, given itself, or the model's own. */
static const char *template_text(az_ctx *az, const az_tokenizer *tokenizer, const char *form)
{
    if (!form) form = az_tokenizer_chat_template(tokenizer);
    if (!form) return az_fail(az, AZ_BAD_INPUT, "the model brings no chat template; choose a form: %s", az_chat_form_names(az));
    const char *known = az_chat_form(form);
    if (known || strchr(form, '{')) return known ? known : form;
    return az_fail(az, AZ_BAD_INPUT, "'%s' is neither a chat template nor the name of a form (%s)", form, az_chat_form_names(az));
}

char *az_chat_render(az_ctx *az, const az_tokenizer *tokenizer, const char *form, const char *messages, bool add_generation_prompt)
{
    if (!messages || !az_ok(az)) return NULL;
    az_arena *scratch = az_arena_new(az);
    if (!scratch) return NULL;
    az_arena_enter(az, scratch);
    az_chat chat = {.az = az, .out = {.az = az}};
    const char *text = template_text(az, tokenizer, form);
    chat.token = text ? az_chat_lex(az, text) : NULL;
    const bool good = render(&chat, tokenizer, messages, add_generation_prompt);
    for (int64_t i = chat.values; i-- > 0;) json_decref(chat.value[i]); /* the newest first: no value is freed inside another */
    az_arena_leave(az);
    char *prompt = good ? az_strdup(az, chat.out.data) : NULL;
    az_arena_free(az, scratch);
    return prompt;
}
