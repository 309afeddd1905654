/* chat.h - the part of Jinja that published chat templates use: what its pieces share.
 *
 * A template is cut into tokens once; statements and expressions run straight over the tokens, loops go back to where their body begins,
 * and what is not taken runs with `skip` set, which evaluates nothing. Values are JSON values; NULL is undefined.
 * Limits: 2^20 steps, 16 MiB of output and 64 MiB of values, 64 levels of nesting. */
#ifndef ADZE_LM_CHAT_H
#define ADZE_LM_CHAT_H

#include "lm/tokenizer/tokenizer.h"

#include <jansson.h>

typedef enum az_chat_kind {
    AZ_CHAT_TEXT,
    AZ_CHAT_PRINT,     /* {{ */
    AZ_CHAT_PRINT_END, /* }} */
    AZ_CHAT_BLOCK,     /* {% */
    AZ_CHAT_BLOCK_END, /* %} */
    AZ_CHAT_NAME,
    AZ_CHAT_STRING, /* text: with its escapes resolved */
    AZ_CHAT_NUMBER,
    AZ_CHAT_OPERATOR,
    AZ_CHAT_END
} az_chat_kind;

typedef struct az_chat_token {
    az_chat_kind kind;
    az_text text;
    int line;
} az_chat_token;

typedef struct az_chat_variable {
    az_text name;
    json_t *value;
} az_chat_variable;

typedef struct az_chat {
    az_ctx *az;
    const az_chat_token *token; /* ends with AZ_CHAT_END */
    int64_t at;
    int skip;  /* > 0: nothing is evaluated */
    int depth; /* of nesting */
    int64_t steps;
    size_t value_bytes;
    az_bytes out;
    az_chat_variable *variable; /* the innermost last */
    int64_t variables, variable_room;
    json_t *space[16]; /* namespaces */
    int spaces;
    json_t **value; /* every value that was made, dropped at the end */
    int64_t values, value_room;
} az_chat;

enum { AZ_CHAT_STEPS = 1 << 20, AZ_CHAT_OUTPUT = 16 << 20, AZ_CHAT_VALUES = 64 << 20, AZ_CHAT_DEPTH = 64 };

/* Tokens of a template, with Jinja's trim_blocks and lstrip_blocks; NULL with an error. */
az_chat_token *az_chat_lex(az_ctx *az, const char *text);

/* An error with the line of the present token; returns NULL. */
void *az_chat_fail(az_chat *chat, const char *format, ...) AZ_PRINTF(2, 3);
/* Counts a step; false once an error or the limit is there. */
bool az_chat_step(az_chat *chat);
/* Takes over a new value, `bytes` long; returns it. */
json_t *az_chat_keep(az_chat *chat, json_t *value, size_t bytes);
json_t *az_chat_string(az_chat *chat, const char *text, size_t length);

/* ---- tokens ---- */

bool az_chat_is(const az_chat *chat, az_chat_kind kind, const char *text);
/* Goes on if the token is there. */
bool az_chat_take(az_chat *chat, az_chat_kind kind, const char *text);
bool az_chat_expect(az_chat *chat, az_chat_kind kind, const char *text);

/* ---- values ---- */

bool az_chat_truth(const json_t *value);
/* As printed; false with an error for lists and objects. */
bool az_chat_add_text(az_chat *chat, az_bytes *out, const json_t *value);
json_t *az_chat_text_of(az_chat *chat, json_t *value);
/* object.name, list[i], text[i]; undefined when it is not there. */
json_t *az_chat_item(az_chat *chat, json_t *value, json_t *key);
/* value[from:to:step]; bounds may be undefined. */
json_t *az_chat_slice(az_chat *chat, json_t *value, json_t *const bound[3]);
bool az_chat_contains(az_chat *chat, const json_t *whole, const json_t *part);
bool az_chat_equal(az_chat *chat, const json_t *a, const json_t *b);
/* False with an error for a namespace: only variables hold one, so that no value can contain itself. */
bool az_chat_is_plain(az_chat *chat, const json_t *value);
/* False with an error for a value of more than AZ_CHAT_DEPTH levels, or too many items: it could not be walked over safely. */
bool az_chat_measure(az_chat *chat, const json_t *value);
json_t *az_chat_set(az_chat *chat, az_text name, json_t *value);
json_t *az_chat_get(const az_chat *chat, az_text name);

enum { AZ_CHAT_ARGUMENTS = 8 };
typedef struct az_chat_call {
    az_text name;
    json_t *value; /* what the method or filter works on */
    int n;
    json_t *argument[AZ_CHAT_ARGUMENTS];
    az_text keyword[AZ_CHAT_ARGUMENTS]; /* empty for plain arguments */
} az_chat_call;
json_t *az_chat_filter(az_chat *chat, const az_chat_call *call);
json_t *az_chat_method(az_chat *chat, const az_chat_call *call);
json_t *az_chat_function(az_chat *chat, const az_chat_call *call);
bool az_chat_test(az_chat *chat, const az_chat_call *call);

json_t *az_chat_expression(az_chat *chat);
/* Without "a if b else c". */
json_t *az_chat_condition(az_chat *chat);

/* The template of a well-known form, NULL for an unknown name; the names. */
const char *az_chat_form(const char *name);
const char *az_chat_form_names(az_ctx *az);

#endif
