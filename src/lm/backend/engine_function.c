/* engine_function.c - a function in the place of a model. */
#include "lm/backend/backend_internal.h"
#include "lm/tokenizer/tokenizer.h"

#include <string.h>

typedef struct function_state {
    az_answer_function function;
    void *user;
} function_state;

/* The texts of a request in its order, a line end between them. */
static const char *text_of(az_ctx *az, const az_request *r)
{
    if (r->messages == 0) return r->prompt;
    az_bytes all = {.az = az};
    for (int i = 0; i < r->messages; i++) {
        if (i > 0) az_bytes_add(&all, "\n", 1);
        const char *text = az_message_text(az, &r->message[i]);
        if (text) az_bytes_add(&all, text, strlen(text));
    }
    az_bytes_add(&all, "", 1);
    return az_ok(az) ? all.data : NULL;
}

static bool answer_calls(az_backend *backend, az_call *call, int n)
{
    const function_state *state = backend->state;
    for (int i = 0; i < n; i++) {
        if (!az_call_begin(backend, &call[i])) return false;
        const az_call_text text = {.request = call[i].request, .text = text_of(backend->az, call[i].request), .sample = call[i].index};
        az_answer *a = call[i].answer;
        if (!text.text || !state->function(backend->az, &text, a, state->user)) return false;
        a->estimated = true;
        if (!az_call_done(backend, &call[i])) return false;
    }
    return true;
}

static const az_engine function_engine = {.answer = answer_calls};

bool az_engine_function(az_backend *backend, az_answer_function function, void *user, const char *identity)
{
    function_state *state = backend->state = az_alloc(backend->az, sizeof *state);
    if (!state) return false;
    *state = (function_state){.function = function, .user = user};
    backend->model = backend->identity = az_strdup(backend->az, identity);
    backend->engine = &function_engine;
    backend->capabilities = AZ_CAN_CHAT | AZ_CAN_COMPLETE | AZ_CAN_SCORE | AZ_CAN_NEXT | AZ_CAN_EMBED | AZ_CAN_SEED;
    return backend->model != NULL;
}
