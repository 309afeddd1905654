/* http_body.c - OpenAI's protocol as texts: the body of a request, and what a reply says. No connection here. */
#include "lm/backend/backend_internal.h"

#include <math.h>
#include <string.h>

/* ---- requests ---- */

static void set_sampling(json_t *body, const az_request *r, int sample)
{
    json_object_set_new(body, "max_tokens", json_integer(r->max_tokens));
    json_object_set_new(body, "temperature", json_real(r->temperature));
    if (r->top_p > 0) json_object_set_new(body, "top_p", json_real(r->top_p));
    if (r->top_k > 0) json_object_set_new(body, "top_k", json_integer(r->top_k));
    json_object_set_new(body, "seed", json_integer((r->seed + sample) & INT64_MAX));
    if (r->stops == 0) return;
    json_t *stop = json_array();
    for (int i = 0; i < r->stops; i++) json_array_append_new(stop, json_string(r->stop[i]));
    json_object_set_new(body, "stop", stop);
}

/* A text alone as a text, else [{"type": "text", ...}, {"type": "image_url", ...}, ...]. */
static json_t *content_of(const az_message *message)
{
    if (message->parts == 0) return json_string(message->text);
    json_t *list = json_array();
    for (int k = 0; k < message->parts; k++) {
        const az_part *part = &message->part[k];
        json_array_append_new(list, part->image ? json_pack("{s:s, s:{s:s}}", "type", "image_url", "image_url", "url", part->image)
                                                : json_pack("{s:s, s:s}", "type", "text", "text", part->text));
    }
    return list;
}

static void set_question(json_t *body, const az_request *r)
{
    if (r->messages == 0) {
        json_object_set_new(body, r->operation == AZ_EMBED ? "input" : "prompt", json_string(r->prompt));
        return;
    }
    json_t *list = json_array();
    for (int i = 0; i < r->messages; i++)
        json_array_append_new(list, json_pack("{s:s, s:o}", "role", r->message[i].role, "content", content_of(&r->message[i])));
    json_object_set_new(body, "messages", list);
}

static void set_next(json_t *body, const az_request *r)
{
    const int top = r->top ? r->top : AZ_DEFAULT_TOP;
    json_object_set_new(body, "max_tokens", json_integer(1));
    json_object_set_new(body, "temperature", json_real(0));
    json_object_set_new(body, "logprobs", r->messages > 0 ? json_true() : json_integer(top));
    if (r->messages > 0) json_object_set_new(body, "top_logprobs", json_integer(top));
}

/* Prompt and continuation come back as an echo with the log-probability of each token. */
static void set_score(az_ctx *az, json_t *body, const az_request *r)
{
    json_object_set_new(body, "prompt", json_string(az_format_text(az, "%s%s", r->prompt, r->continuation)));
    json_object_set_new(body, "max_tokens", json_integer(0));
    json_object_set_new(body, "echo", json_true());
    json_object_set_new(body, "logprobs", json_integer(1));
    json_object_set_new(body, "temperature", json_real(0));
}

static void set_bias(json_t *body, const az_request *r)
{
    json_t *bias = json_object();
    char token[16];
    for (int i = 0; i < r->biases; i++) {
        snprintf(token, sizeof token, "%d", (int)r->bias[i].token);
        json_object_set_new(bias, token, json_real(r->bias[i].bias));
    }
    json_object_set_new(body, "logit_bias", bias);
}

char *az_http_body(az_ctx *az, const az_request *r, const char *model, int sample, const char **path)
{
    json_t *body = az_json_keep(az, json_object());
    if (!body) return NULL;
    *path = r->operation == AZ_EMBED ? "/embeddings" : r->messages > 0 ? "/chat/completions" : "/completions";
    json_object_set_new(body, "model", json_string(r->model ? r->model : model));
    if (r->operation == AZ_SCORE)
        set_score(az, body, r);
    else
        set_question(body, r);
    if (r->operation == AZ_CHAT || r->operation == AZ_COMPLETE) set_sampling(body, r, sample);
    if (r->operation == AZ_NEXT) set_next(body, r);
    if (r->biases > 0) set_bias(body, r);
    return az_json_dump(az, body);
}

/* ---- replies ---- */

/* The value at a path of object keys, "0" being the first item of a list; NULL when it is not there. */
static const json_t *at(const json_t *value, const char *const *path)
{
    for (; value && *path; path++) value = strcmp(*path, "0") == 0 ? json_array_get(value, 0) : json_object_get(value, *path);
    return value;
}

static const char *text_at(const json_t *value, const char *const *path)
{
    return json_string_value(at(value, path));
}

static bool has_zero(const json_t *text)
{
    return strlen(json_string_value(text)) != json_string_length(text);
}

/* A number of tokens; 0, which az_call_done replaces by an estimate, for what cannot be one. */
static int64_t tokens_at(const json_t *usage, const char *key)
{
    const json_t *value = json_object_get(usage, key);
    const double tokens = json_number_value(value);
    return tokens >= 0 && tokens <= 0x1p40 ? (int64_t)tokens : 0;
}

static void read_usage(const json_t *reply, az_answer *a)
{
    const json_t *usage = json_object_get(reply, "usage");
    a->prompt_tokens = tokens_at(usage, "prompt_tokens");
    a->completion_tokens = tokens_at(usage, "completion_tokens");
}

static const char *read_text(az_ctx *az, const az_request *r, const json_t *reply, az_answer *a)
{
    const json_t *text = r->messages > 0 ? at(reply, (const char *const[]){"choices", "0", "message", "content", NULL})
                                         : at(reply, (const char *const[]){"choices", "0", "text", NULL});
    const char *finish = text_at(reply, (const char *const[]){"choices", "0", "finish_reason", NULL});
    if (json_array_size(json_object_get(reply, "choices")) == 0) return "it holds no choices";
    if (!json_is_string(text)) return finish ? az_format_text(az, "it holds no text (finish_reason: %.100s)", finish) : "it holds no text";
    if (has_zero(text)) return "its text holds a zero byte";
    if (finish && strcmp(finish, "content_filter") == 0) return "the server's filter cut its text (finish_reason: content_filter)";
    a->text = az_strdup(az, json_string_value(text));
    a->finish = finish && strcmp(finish, "length") == 0 ? "length" : "stop";
    return NULL;
}

static void add_next(az_ctx *az, az_answer *a, const char *text, const json_t *log)
{
    if (!text || !json_is_number(log)) return;
    int i = a->n++;
    for (; i > 0 && a->next[i - 1].log_probability < json_number_value(log); i--) a->next[i] = a->next[i - 1];
    a->next[i] = (az_next_token){.text = az_strdup(az, text), .log_probability = json_number_value(log)};
}

/* Chat: a list of {"token", "logprob"}; completions: an object {token: logprob}. */
static const char *read_next(az_ctx *az, const json_t *reply, az_answer *a)
{
    const json_t *list = at(reply, (const char *const[]){"choices", "0", "logprobs", "content", "0", "top_logprobs", NULL});
    const json_t *map = at(reply, (const char *const[]){"choices", "0", "logprobs", "top_logprobs", "0", NULL});
    const size_t n = list ? json_array_size(list) : json_object_size(map);
    if (n == 0) return "it holds no log-probabilities of next tokens; the server may not give them";
    a->next = az_alloc_array(az, n, sizeof *a->next);
    if (!a->next) return NULL;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        add_next(az, a, json_string_value(json_object_get(item, "token")), json_object_get(item, "logprob"));
    }
    const char *key;
    json_t *log;
    json_object_foreach(list ? NULL : (json_t *)map, key, log)
    {
        add_next(az, a, key, log);
    }
    return a->n > 0 ? NULL : "its log-probabilities of next tokens are no numbers";
}

/* The tokens give the text back, and one of them begins where the continuation does. */
static const char *read_score(az_ctx *az, const az_request *r, const json_t *reply, az_answer *a)
{
    const json_t *tokens = at(reply, (const char *const[]){"choices", "0", "logprobs", "tokens", NULL});
    const json_t *logs = at(reply, (const char *const[]){"choices", "0", "logprobs", "token_logprobs", NULL});
    const char *whole = az_format_text(az, "%s%s", r->prompt, r->continuation);
    const size_t n = json_array_size(tokens), begin = strlen(r->prompt);
    a->log_probability = az_alloc_array(az, n + 1, sizeof *a->log_probability);
    if (!whole || !a->log_probability) return NULL;
    if (n == 0 || json_array_size(logs) != n) return "it holds no echo with log-probabilities; the server cannot score texts";
    size_t where = 0;
    for (size_t i = 0; i < n; i++) {
        const json_t *token = json_array_get(tokens, i), *log = json_array_get(logs, i);
        const size_t length = json_string_length(token);
        if (!json_is_string(token) || strncmp(whole + where, json_string_value(token), length) != 0)
            return "its tokens do not give the text back";
        if (where < begin && where + length > begin) return "a token holds the end of the prompt and the beginning of the continuation";
        if (where >= begin && !json_is_number(log)) return "a token of the continuation has no log-probability";
        if (where >= begin) a->total += a->log_probability[a->n++] = json_number_value(log);
        where += length;
    }
    return whole[where] ? "its tokens end before the text does" : NULL;
}

static const char *read_vector(az_ctx *az, const json_t *reply, az_answer *a)
{
    const json_t *list = at(reply, (const char *const[]){"data", "0", "embedding", NULL});
    const size_t n = json_array_size(list);
    double square = 0;
    if (n == 0) return "it holds no vector";
    a->vector = az_alloc_array(az, n, sizeof *a->vector);
    for (size_t i = 0; a->vector && i < n; i++) {
        const json_t *x = json_array_get(list, i);
        if (!json_is_number(x)) return "its vector holds something else than numbers";
        a->vector[i] = (float)json_number_value(x);
        square += (double)a->vector[i] * (double)a->vector[i];
    }
    if (!isfinite(square)) return "its vector is not finite";
    for (size_t i = 0; a->vector && square > 0 && i < n; i++) a->vector[i] = (float)((double)a->vector[i] / sqrt(square));
    a->n = (int)n;
    return NULL;
}

/* The text of {"error": {"message": TEXT}}, {"error": TEXT}, {"message": TEXT} or {"detail": TEXT}; NULL when the reply is no such object.
 */
static const char *error_text(const json_t *reply)
{
    static const char *const path[][3] = {{"error", "message", NULL}, {"error", NULL}, {"message", NULL}, {"detail", NULL}};
    const char *text = NULL;
    for (size_t i = 0; !text && i < sizeof path / sizeof *path; i++) text = text_at(reply, path[i]);
    return text;
}

/* At most 300 bytes that a terminal prints as they are. */
static const char *printable(az_ctx *az, const char *text, size_t length)
{
    json_t *clean = az_json_keep(az, az_json_string(text, length < 300 ? length : 300));
    const size_t n = json_string_length(clean);
    char *out = az_alloc(az, n + 1);
    if (!clean || !out) return "";
    memcpy(out, json_string_value(clean), n);
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)out[i] < ' ' || out[i] == 127) out[i] = ' ';
    out[n] = '\0';
    return out;
}

void az_http_read(az_ctx *az, const az_request *r, const char *body, size_t length, az_answer *a)
{
    const char *why = NULL;
    const json_t *reply = az_json_read(az, body, length, &why);
    if (reply && !json_is_object(reply)) why = "it is not an object";
    if (!why) {
        read_usage(reply, a);
        switch (r->operation) {
        case AZ_SCORE: why = read_score(az, r, reply, a); break;
        case AZ_NEXT: why = read_next(az, reply, a); break;
        case AZ_EMBED: why = read_vector(az, reply, a); break;
        default: why = read_text(az, r, reply, a); break;
        }
    }
    const char *said = why && reply ? error_text(reply) : NULL;
    if (said)
        a->failure = az_format_text(az, "the server says: %s", printable(az, said, strlen(said)));
    else if (why)
        a->failure = az_format_text(az, "the server's reply cannot be read: %s", printable(az, why, strlen(why)));
}

const char *az_http_error(az_ctx *az, const char *body, size_t length)
{
    const char *why = NULL;
    const json_t *reply = az_json_read(az, body, length, &why);
    const char *text = reply ? error_text(reply) : NULL;
    return text ? printable(az, text, strlen(text)) : printable(az, body, length);
}
