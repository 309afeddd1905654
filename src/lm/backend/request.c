/* request.c - what a request is, as canonical text, and the keys and seeds that follow from it. */
#include "lm/backend/backend_internal.h"

#include <math.h>
#include <nettle/sha2.h>
#include <string.h>

static const char *const names[AZ_OPERATIONS] = {"chat", "complete", "score", "next_logprobs", "embed"};

const char *az_operation_name(az_operation operation)
{
    return operation < AZ_OPERATIONS ? names[operation] : "unknown";
}

/* ---- hashes ---- */

void az_sha256_bytes(const void *data, size_t bytes, unsigned char out[AZ_KEY_BYTES])
{
    struct sha256_ctx state;
    sha256_init(&state);
    sha256_update(&state, bytes, data);
    sha256_digest(&state, AZ_KEY_BYTES, out);
}

void az_hex(const unsigned char *bytes, size_t n, char *out)
{
    for (size_t i = 0; i < n; i++) snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

void az_sha256(const void *data, size_t bytes, char hex[65])
{
    unsigned char hash[AZ_KEY_BYTES];
    az_sha256_bytes(data, bytes, hash);
    az_hex(hash, sizeof hash, hex);
}

static void add_text(struct sha256_ctx *state, const char *text)
{
    sha256_update(state, strlen(text) + 1, (const uint8_t *)text); /* its zero keeps neighbours apart */
}

int64_t az_call_seed(int64_t seed, const char *stage, const char *id, int64_t sample)
{
    struct sha256_ctx state;
    unsigned char hash[AZ_KEY_BYTES];
    char number[32];
    sha256_init(&state);
    snprintf(number, sizeof number, "%lld", (long long)seed);
    add_text(&state, number);
    add_text(&state, stage);
    add_text(&state, id);
    snprintf(number, sizeof number, "%lld", (long long)sample);
    add_text(&state, number);
    sha256_digest(&state, sizeof hash, hash);
    uint64_t first = 0;
    for (int i = 0; i < 8; i++) first = first << 8 | hash[i];
    return (int64_t)(first >> 1); /* servers read a signed number */
}

/* ---- JSON ---- */

static void drop_json(void *object)
{
    json_decref(object);
}

json_t *az_json_keep(az_ctx *az, json_t *value)
{
    if (!value) return az_fail(az, AZ_NO_MEMORY, "out of memory");
    if (az_on_leave(az, drop_json, value)) return value;
    json_decref(value);
    return NULL;
}

char *az_json_dump(az_ctx *az, const json_t *value)
{
    const size_t flags = JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(17) | JSON_ENCODE_ANY;
    const size_t length = value && az_ok(az) ? json_dumpb(value, NULL, 0, flags) : 0;
    char *text = length ? az_alloc(az, length + 1) : NULL;
    if (text) json_dumpb(value, text, length, flags);
    return text;
}

/* The deepest level of brackets outside of strings. */
static int depth_of(const char *text, size_t length)
{
    int depth = 0, deepest = 0;
    bool quoted = false;
    for (size_t i = 0; i < length; i++) {
        const char c = text[i];
        if (quoted && c == '\\')
            i++;
        else if (c == '"')
            quoted = !quoted;
        else if (!quoted && (c == '[' || c == '{'))
            depth++;
        else if (!quoted && (c == ']' || c == '}'))
            depth--;
        if (depth > deepest) deepest = depth;
    }
    return deepest;
}

json_t *az_json_read(az_ctx *az, const char *text, size_t length, const char **why)
{
    json_error_t error;
    if (length >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0) text += 3, length -= 3; /* a byte order mark */
    *why = "it is nested too deeply";
    if (depth_of(text, length) > AZ_JSON_DEPTH) return NULL;
    json_t *value = json_loadb(text, length, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    *why = value ? NULL : az_strdup(az, error.text);
    return value ? az_json_keep(az, value) : NULL;
}

/* ---- the canonical request ---- */

static json_t *parts_json(az_ctx *az, const az_message *message)
{
    if (message->parts == 0) return json_string(message->text);
    json_t *list = json_array();
    for (int k = 0; k < message->parts; k++) {
        const az_part *part = &message->part[k];
        const char *image = part->image ? az_image_identity(az, part->image) : NULL;
        json_array_append_new(list, image ? json_pack("{s:s}", "image", image) : json_pack("{s:s?}", "text", part->text));
    }
    return list;
}

static json_t *messages_json(az_ctx *az, const az_request *r)
{
    json_t *list = json_array();
    for (int i = 0; i < r->messages; i++)
        json_array_append_new(list, json_pack("{s:s, s:o}", "role", r->message[i].role, "content", parts_json(az, &r->message[i])));
    return list;
}

static json_t *texts_json(const char *const *text, int n)
{
    json_t *list = json_array();
    for (int i = 0; i < n; i++) json_array_append_new(list, json_string(text[i]));
    return list;
}

static json_t *bias_json(const az_request *r)
{
    json_t *list = json_array();
    for (int i = 0; i < r->biases; i++) json_array_append_new(list, json_pack("[i, f]", (int)r->bias[i].token, r->bias[i].bias));
    return list;
}

static bool utf8(const char *text)
{
    json_t *value = json_string(text);
    json_decref(value);
    return value != NULL;
}

static bool message_is_utf8(const az_message *message)
{
    az_part alone;
    int n;
    const az_part *part = az_message_parts(message, &alone, &n);
    bool good = utf8(message->role);
    for (int k = 0; good && k < n; k++) good = utf8(part[k].image ? part[k].image : part[k].text);
    return good;
}

static bool texts_are_utf8(const az_request *r)
{
    bool good = (!r->prompt || utf8(r->prompt)) && (!r->continuation || utf8(r->continuation));
    for (int i = 0; good && i < r->messages; i++) good = message_is_utf8(&r->message[i]);
    for (int i = 0; good && i < r->stops; i++) good = utf8(r->stop[i]);
    return good;
}

static bool operands_are_there(const az_request *r)
{
    switch (r->operation) {
    case AZ_CHAT: return r->messages > 0 && r->max_tokens > 0;
    case AZ_COMPLETE: return r->prompt && r->max_tokens > 0;
    case AZ_SCORE: return r->prompt && r->continuation && *r->continuation;
    case AZ_NEXT: return r->prompt || r->messages > 0;
    case AZ_EMBED: return r->prompt != NULL;
    default: return false;
    }
}

static bool check_request(az_ctx *az, const az_request *r)
{
    if (!operands_are_there(r))
        return az_fail(az, AZ_BAD_CALL, "a request (%s) lacks its text, or the number of tokens that are wanted",
                       az_operation_name(r->operation));
    if (!isfinite(r->temperature) || !isfinite(r->top_p) || r->temperature < 0 || r->top_p < 0 || r->top_p > 1)
        return az_fail(az, AZ_BAD_INPUT, "a request has temperature %g and top_p %g; the first is at least 0, the second from 0 to 1",
                       r->temperature, r->top_p);
    for (int i = 0; i < r->biases; i++)
        if (!isfinite(r->bias[i].bias)) return az_fail(az, AZ_BAD_INPUT, "the bias of token %d is not finite", (int)r->bias[i].token);
    if (r->samples < 0 || r->first < 0 || r->top < 0) return az_fail(az, AZ_BAD_CALL, "a request for a negative number of samples");
    return texts_are_utf8(r) || az_fail(az, AZ_BAD_INPUT, "a request holds text that is not UTF-8");
}

/* How samples are drawn: of operations that draw. */
static void set_sampling(json_t *object, const az_request *r)
{
    json_object_set_new(object, "max_tokens", json_integer(r->max_tokens));
    json_object_set_new(object, "temperature", json_real(r->temperature));
    json_object_set_new(object, "top_p", json_real(r->top_p));
    json_object_set_new(object, "top_k", json_integer(r->top_k));
    json_object_set_new(object, "seed", json_integer(r->seed));
    json_object_set_new(object, "stop", texts_json(r->stop, r->stops));
}

char *az_request_json(az_ctx *az, const az_request *r, const char *model)
{
    if (!r || !az_ok(az) || !check_request(az, r)) return NULL;
    json_t *object = az_json_keep(az, json_object());
    if (!object) return NULL;
    json_object_set_new(object, "op", json_string(az_operation_name(r->operation)));
    json_object_set_new(object, "model", json_string(model ? model : ""));
    if (r->messages > 0)
        json_object_set_new(object, "messages", messages_json(az, r));
    else
        json_object_set_new(object, "prompt", json_string(r->prompt));
    if (r->operation == AZ_CHAT || r->operation == AZ_COMPLETE) set_sampling(object, r);
    if (r->operation == AZ_SCORE) json_object_set_new(object, "continuation", json_string(r->continuation));
    if (r->operation == AZ_NEXT) json_object_set_new(object, "top", json_integer(r->top ? r->top : AZ_DEFAULT_TOP));
    if (r->biases > 0) json_object_set_new(object, "logit_bias", bias_json(r));
    return az_json_dump(az, object);
}

/* ---- classes among next tokens ---- */

/* Whether the token spells the word: with or without a space before it, its first letter small or capital. */
static bool spells(const char *token, const char *word)
{
    if (*token == ' ') token++;
    const char a = *token, b = *word;
    const bool same_letter = a == b || ((a ^ b) == 0x20 && ((a | 0x20) >= 'a' && (a | 0x20) <= 'z'));
    return a && same_letter && strcmp(token + 1, word + 1) == 0;
}

double az_next_mass(const az_answer *answer, const char *word, bool *found)
{
    double mass = 0, least = 0;
    bool any = false;
    for (int i = 0; i < answer->n; i++) {
        const double p = exp(answer->next[i].log_probability);
        least = i == 0 || p < least ? p : least;
        if (!spells(answer->next[i].text, word)) continue;
        mass += p;
        any = true;
    }
    if (found) *found = any;
    return any ? mass : least;
}
