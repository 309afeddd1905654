/* fuzz_backend.c - what comes from outside into a backend: replies of servers, lines of programs and exports, templates, texts of models.
 * Whatever they are, they become an answer, a failure or an error, and what is found in a text lies in it. */
#include "lm/backend/backend_internal.h"

#include <math.h>
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

/* Simulated models answer any question, and their laws are laws. */
static void ask_oracles(az_ctx *az, const char *text)
{
    static const char *const spec[] = {
        "oracle:icl-vote?err=0.5", "oracle:arith?e=0.5",  "oracle:mcq?accuracy=0.5&authority=0.5", "oracle:rater",
        "oracle:caption",          "oracle:choose?q=0.5", "oracle:rule?qh=0.5&qp=0.5&q0=0.5"};
    for (size_t i = 0; i < sizeof spec / sizeof *spec; i++) {
        az_backend *backend = az_backend_open(az, spec[i], NULL);
        const az_request ask = {.operation = AZ_COMPLETE, .prompt = text, .max_tokens = 1 << 20};
        const az_request next = {.operation = AZ_NEXT, .prompt = text, .top = 1 << 20};
        const az_reply *reply = az_backend_ask(backend, &ask);
        if (az_ok(az) && !reply->sample[0].text) abort();
        if (!(az_backend_capabilities(backend) & AZ_CAN_NEXT)) continue;
        double sum = 0;
        reply = az_backend_ask(backend, &next);
        for (int k = 0; reply && k < reply->sample[0].n; k++) sum += exp(reply->sample[0].next[k].log_probability);
        if (az_ok(az) && fabs(sum - 1) > 1e-6) abort();
    }
}

/* Texts are found by words of any kind. */
static void find(az_ctx *az, const char *text)
{
    const size_t half = strlen(text) / 2;
    az_document item[] = {{text, half}, {text + half, strlen(text) - half}, {"some words", 10}};
    const az_documents all = {.count = 3, .item = item};
    for (int kind = AZ_FIND_BM25; kind <= AZ_FIND_TFIDF; kind++) {
        az_found found[3];
        az_finder *finder = az_finder_new(az, &all, &(az_find_how){.kind = kind, .k1 = 1.5, .b = 0.75, .relevance = 1});
        const int64_t n = az_find(finder, text, NULL, 3, found);
        for (int64_t i = 0; az_ok(az) && i < 3; i++)
            if (n != 3 || !isfinite(found[i].score)) abort();
    }
}

/* The first byte tells what the others are read as. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size) return 0;
    az_ctx *az = az_open(&(az_settings){.threads = 1, .memory_limit = 64 << 20});
    char *text = az_alloc(az, size);
    memcpy(text, data + 1, size - 1);
    const int kind = data[0] % (AZ_OPERATIONS + 5);
    if (kind < AZ_OPERATIONS)
        read_as_reply(az, (az_operation)kind, text, size - 1);
    else if (kind == AZ_OPERATIONS)
        read_as_line(az, text, size - 1);
    else if (kind == AZ_OPERATIONS + 1)
        az_template_fill(az, text, "{\"x\": \"{{x}}\", \"list\": [{\"y\": 1}, {\"y\": 2}]}");
    else if (kind == AZ_OPERATIONS + 2)
        search(az, text);
    else if (kind == AZ_OPERATIONS + 3)
        ask_oracles(az, text);
    else
        find(az, text);
    az_close(az);
    return 0;
}
