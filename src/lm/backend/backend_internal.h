/* backend_internal.h - what the files of the backend share: calls, engines, the cache, JSON of answers. */
#ifndef ADZE_LM_BACKEND_INTERNAL_H
#define ADZE_LM_BACKEND_INTERNAL_H

#include "adze/backend.h"

#include <jansson.h>

enum {
    AZ_JSON_DEPTH = 64,        /* of what comes from outside */
    AZ_REPLY_LIMIT = 32 << 20, /* bytes of one reply */
    AZ_KEY_BYTES = 32,
    AZ_DEFAULT_TOP = 20,
    AZ_TOKEN_BYTES = 4,    /* where nobody can count tokens */
    AZ_IMAGE_TOKENS = 1024 /* likewise, of an image of about a megapixel */
};

/* One sample of one request. */
typedef struct az_call {
    const az_request *request;
    int index;                       /* of the sample */
    const char *json;                /* the request, canonical */
    unsigned char key[AZ_KEY_BYTES]; /* its hash */
    az_answer *answer;
    double began, reserved_cost;
    int64_t reserved_tokens;
} az_call;

typedef struct az_engine {
    /* Answers calls, each between az_call_begin and az_call_done. False with an error for what would hinder all. */
    bool (*answer)(az_backend *backend, az_call *call, int n);
    /* Tokens of the question; NULL = an estimate from its bytes. */
    int64_t (*count)(az_backend *backend, const az_request *request);
} az_engine;

typedef struct az_cache az_cache;

typedef struct az_stage {
    struct az_stage *next;
    const char *name;
    az_usage usage;
    double *milliseconds; /* [usage.calls] */
    int64_t room;
} az_stage;

struct az_backend {
    az_ctx *az;
    az_arena *arena; /* the backend's own memory */
    const az_engine *engine;
    void *state; /* the engine's */
    unsigned capabilities;
    const char *model, *identity; /* as the engine calls it; as the cache does */
    const az_lm *lm;              /* of the local engine */
    bool keeps;                   /* replies may be kept: the identity tells the model */
    az_backend_settings settings;
    az_cache *cache;
    bool priced;
    double price_prompt, price_completion; /* per token */
    az_stage *stages;
    int64_t reserved_tokens, reserved_calls; /* of calls under way */
    double reserved_cost;
    bool exhausted;
};

/* Tokens of a question, an estimate where the engine cannot count them. */
int64_t az_question_tokens(az_backend *backend, const az_request *request);
/* Fills the call's answer as a dry run does; does not count it. */
bool az_stand_in(az_backend *backend, az_call *call);
/* NaN when the price is not known. */
double az_backend_cost(const az_backend *backend, int64_t prompt_tokens, int64_t completion_tokens);
/* Reserves the call's budget and starts its clock; false with the budget's error. */
bool az_call_begin(az_backend *backend, az_call *call);
/* Settles the budget, counts the call and keeps its answer. */
bool az_call_done(az_backend *backend, az_call *call);
/* The whole answer is this failure. */
void az_call_fail(az_backend *backend, az_call *call, const char *format, ...) AZ_PRINTF(3, 4);

/* ---- engines: each fills backend's engine, state, capabilities and identity ---- */

bool az_engine_local(az_backend *backend, const char *spec);
bool az_engine_http(az_backend *backend, const char *spec);
bool az_engine_replay(az_backend *backend, const char *path);
bool az_engine_oracle(az_backend *backend, const char *spec);
bool az_engine_exec(az_backend *backend, const char *program);
bool az_engine_function(az_backend *backend, az_answer_function function, void *user, const char *identity);

/* "name?key=value&key=value" cut at '?'; the value of a key, NULL when it is not given. */
const char *az_spec_name(az_ctx *az, const char *spec);
const char *az_spec_value(az_ctx *az, const char *spec, const char *key);
/* Fails on keys that are not in the list, which ends with NULL. */
bool az_spec_check(az_ctx *az, const char *spec, const char *const *keys);

/* SHA-256 of a model's file, or of the files of its folder, in hexadecimal. */
const char *az_model_hash(az_ctx *az, const char *path);

/* ---- parts of messages ---- */

/* The message's parts, n of them; a text alone is one, in *alone. */
const az_part *az_message_parts(const az_message *message, az_part *alone, int *n);
/* Its texts, one behind the other. */
const char *az_message_text(az_ctx *az, const az_message *message);
bool az_request_has_images(const az_request *request);
/* What stands for an image in the canonical request; NULL with an error. */
const char *az_image_identity(az_ctx *az, const char *url);

/* ---- HTTP: texts only, no connection ---- */

/* The body of the call and the end of the address it goes to ("/chat/completions"). */
char *az_http_body(az_ctx *az, const az_request *request, const char *model, int sample, const char **path);
/* Reads a reply; what is wrong with it becomes the answer's failure. */
void az_http_read(az_ctx *az, const az_request *request, const char *body, size_t length, az_answer *answer);
/* The "error" of a reply that has one, at most 300 bytes of it; else its beginning. */
const char *az_http_error(az_ctx *az, const char *body, size_t length);

/* ---- JSON ---- */

/* Parses bytes from outside: UTF-8, at most AZ_JSON_DEPTH levels. NULL and *why otherwise, without an error. Dropped with the scope. */
json_t *az_json_read(az_ctx *az, const char *text, size_t length, const char **why);
/* Has the scope drop the value. */
json_t *az_json_keep(az_ctx *az, json_t *value);
/* Compact, keys sorted, %.17g; in the current scope. */
char *az_json_dump(az_ctx *az, const json_t *value);
/* The bytes as a JSON string; what is not UTF-8 becomes U+FFFD. */
json_t *az_json_string(const char *text, size_t length);
/* {"text", "finish", "prompt_tokens", "completion_tokens", and of scores, tokens, vectors "log_probability", "next", "vector"} */
json_t *az_answer_json(const az_answer *answer);
/* False and *why when it is not such an object. */
bool az_answer_read(az_ctx *az, const json_t *object, az_answer *answer, const char **why);

/* ---- the cache ---- */

/* All are closed with the scope or arena. */
az_cache *az_cache_open(az_ctx *az, const char *path);
az_cache *az_cache_open_to_read(az_ctx *az, const char *path); /* one that is there, and perhaps cannot be written */
az_cache *az_cache_of_lines(az_ctx *az, const char *lines);    /* of an export, in memory */
/* Whether the row is there; then the answer is filled. */
bool az_cache_find(az_cache *cache, const unsigned char key[AZ_KEY_BYTES], int index, az_answer *answer);
/* *stored: false where the row is there already, and stays as it is. */
bool az_cache_store(az_cache *cache, const az_call *call, const char *model, bool *stored);
/* The only model whose replies the cache holds; NULL with an error that lists them when there are several. */
const char *az_cache_model(az_cache *cache);

void az_sha256_bytes(const void *data, size_t bytes, unsigned char out[AZ_KEY_BYTES]);
void az_hex(const unsigned char *bytes, size_t n, char *out);

#endif
