/* dry_run.c - answers that stand in for those that nobody was asked for. */
#include "lm/backend/backend_internal.h"

#include <math.h>
#include <string.h>

/* A text as long as the reply may be, which begins with its request's key. */
static char *stand_in_text(az_ctx *az, const az_call *call)
{
    enum { KEY = 8, SHORTEST = 24, LONGEST = 1 << 16 };
    const int64_t wanted = call->request->max_tokens < LONGEST ? call->request->max_tokens * AZ_TOKEN_BYTES : LONGEST;
    const size_t length = (size_t)(wanted > SHORTEST ? wanted : SHORTEST);
    char *text = az_alloc(az, length + 1), key[2 * KEY + 1];
    if (!text) return NULL;
    az_hex(call->key, KEY, key);
    snprintf(text, length + 1, "%s/%d", key, call->index);
    for (size_t at = strlen(text); at < length; at++) text[at] = " word"[at % 5];
    return text;
}

bool az_stand_in(az_backend *backend, az_call *call)
{
    const az_request *r = call->request;
    az_answer *answer = call->answer;
    const bool writes = r->operation == AZ_CHAT || r->operation == AZ_COMPLETE;
    *answer = (az_answer){
        .finish = writes ? "length" : "stop", .estimated = true, .prompt_tokens = az_question_tokens(backend, r), .milliseconds = NAN};
    if (writes) answer->text = stand_in_text(backend->az, call);
    answer->completion_tokens = writes ? r->max_tokens : r->operation == AZ_NEXT;
    if (r->operation == AZ_SCORE || r->operation == AZ_EMBED) answer->n = 1;
    if (r->operation == AZ_SCORE) answer->log_probability = az_alloc(backend->az, sizeof *answer->log_probability);
    if (r->operation == AZ_EMBED) answer->vector = az_alloc(backend->az, sizeof *answer->vector);
    return az_ok(backend->az);
}
