/* fuzz_backend.c - what comes from outside into a backend: replies of servers, lines of programs and exports, templates, texts of models.
 * Whatever they are, they become an answer, a failure or an error, and what is found in a text lies in it. */
#include "lm/backend/backend_internal.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const az_message question = {"user", "2+2="};

static void read_as_reply(az_ctx *az, az_operation operation, const char *text, size_t size)
{
    const az_request request = {.operation = operation,
                                .prompt = "2+2=",
                                .continuation = "4",
                                .message = &question,
                                .messages = operation == AZ_CHAT,
                                .max_tokens = 4};
    az_answer answer = {0};
    az_http_read(az, &request, text, size, &answer);
    if (az_ok(az) && !answer.failure && !answer.text && !answer.next && !answer.vector && !answer.log_probability) abort();
    az_http_error(az, text, size);
}

static void read_as_line(az_ctx *az, const char *text, size_t size)
{
    const char *why = NULL;
    az_answer answer = {0};
    const json_t *object = az_json_read(az, text, size, &why);
    if (!object && !why && az_ok(az)) abort();
    if (object && az_answer_read(az, object, &answer, &why)) json_decref(az_answer_json(&answer));
}

static void search(az_ctx *az, const char *text)
{
    char *item[4];
    const char *found[] = {az_find_fence(az, text, NULL), az_find_json(az, text), az_find_label(az, text, "answer"),
                           az_find_boxed(az, text, true), az_find_number(az, text)};
    for (size_t i = 0; i < sizeof found / sizeof *found; i++)
        if (found[i] && !strstr(text, found[i])) abort();
    az_find_list(az, text, item, 4);
    az_find_choice(text, (const char *const[]){"yes", "no"}, 2);
}

/* The first byte tells what the others are read as. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size) return 0;
    az_ctx *az = az_open(&(az_settings){.threads = 1, .memory_limit = 64 << 20});
    char *text = az_alloc(az, size);
    memcpy(text, data + 1, size - 1);
    const int kind = data[0] % (AZ_OPERATIONS + 3);
    if (kind < AZ_OPERATIONS)
        read_as_reply(az, (az_operation)kind, text, size - 1);
    else if (kind == AZ_OPERATIONS)
        read_as_line(az, text, size - 1);
    else if (kind == AZ_OPERATIONS + 1)
        az_template_fill(az, text, "{\"x\": \"{{x}}\", \"list\": [{\"y\": 1}, {\"y\": 2}]}");
    else
        search(az, text);
    az_close(az);
    return 0;
}
