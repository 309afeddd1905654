/* engine_local.c - the project's own models behind the backend: sampling, scores, next tokens, hidden states. */
#include "lm/backend/backend_internal.h"
#include "lm/adapter.h"
#include "lm/tokenizer/tokenizer.h"

#include <dirent.h>
#include <math.h>
#include <nettle/sha2.h>
#include <stdlib.h>
#include <string.h>

typedef struct local_state {
    int64_t context; /* of a request, at most */
    const char *chat;
} local_state;

/* ---- questions as tokens ---- */

/* The texts of the messages one after the other. */
static char *raw_messages(az_ctx *az, const az_request *r)
{
    az_bytes all = {.az = az};
    for (int i = 0; i < r->messages; i++) {
        const char *text = az_message_text(az, &r->message[i]);
        if (text) az_bytes_add(&all, text, strlen(text));
    }
    az_bytes_add(&all, "", 1);
    return all.data;
}

/* The templates of the adapter, which take the place of a chat template that is not named. */
static const az_lm_form *form_of(const az_backend *backend)
{
    const local_state *state = backend->state;
    const az_adapter *adapter = backend->settings.adapter;
    const bool named = strcmp(state->chat, "auto") != 0 && strcmp(state->chat, "raw") != 0;
    return adapter && !named ? adapter->form : NULL;
}

static char *chat_text(az_backend *backend, const az_request *r)
{
    const local_state *state = backend->state;
    az_ctx *az = backend->az;
    const bool own = strcmp(state->chat, "auto") == 0;
    if (strcmp(state->chat, "raw") == 0 || (own && form_of(backend))) return raw_messages(az, r);
    json_t *messages = az_json_keep(az, json_array());
    for (int i = 0; messages && i < r->messages; i++)
        json_array_append_new(messages,
                              json_pack("{s:s, s:s?}", "role", r->message[i].role, "content", az_message_text(az, &r->message[i])));
    const char *text = az_json_dump(az, messages);
    if (own && !az_tokenizer_chat_template(backend->lm->tokenizer))
        return az_fail(az, AZ_BAD_INPUT, "the model '%s' has no chat template; name a form, local:MODEL?chat=chatml, or chat=raw",
                       backend->model);
    return text ? az_chat_render(az, backend->lm->tokenizer, own ? NULL : state->chat, text, true) : NULL;
}

static bool begins_with_bos(const az_lm *lm, const char *prompt)
{
    const int32_t bos = az_token_bos(lm->tokenizer);
    const char *text = bos >= 0 ? az_token_text(lm->tokenizer, bos) : "";
    return *text && strncmp(prompt, text, strlen(text)) == 0;
}

static az_tokens question_tokens(az_backend *backend, const az_request *r)
{
    const az_lm *lm = backend->lm;
    const bool chat = r->messages > 0;
    const char *text = chat ? chat_text(backend, r) : r->prompt;
    if (!text) return (az_tokens){0};
    if (form_of(backend)) return az_adapter_query(backend->az, lm, backend->settings.adapter, text);
    const bool wanted = az_tokenizer_wants_bos(lm->tokenizer) || !*text;
    const bool bos = wanted && !(chat && begins_with_bos(lm, text));
    return az_tokenize(backend->az, lm->tokenizer, text, strlen(text), (bos ? AZ_ADD_BOS : 0) | (chat ? AZ_PARSE_SPECIAL : 0));
}

static int64_t count_tokens(az_backend *backend, const az_request *r)
{
    return question_tokens(backend, r).n;
}

/* False, with the answer's failure, when the question leaves no room for one more token. */
static bool fits(az_backend *backend, az_call *call, int64_t tokens)
{
    const local_state *state = backend->state;
    if (tokens >= 1 && tokens < state->context) return true;
    if (tokens < 1)
        az_call_fail(backend, call, "the prompt is empty, and the model has no token to begin with");
    else
        az_call_fail(backend, call, "the prompt has %lld tokens, the context of %lld has no room for a reply", (long long)tokens,
                     (long long)state->context);
    return false;
}

static az_lm_run pass_of(const az_backend *backend, az_lm_output output)
{
    const az_adapter *const *adapter = &backend->settings.adapter;
    return (az_lm_run){.output = output, .adapter = adapter, .adapters = *adapter != NULL};
}

/* ---- chat, complete ---- */

typedef struct sample_text {
    az_bytes bytes;
    int32_t previous;
    int64_t tokens;
    bool stopped;
} sample_text;

typedef struct sampling {
    az_arena *arena; /* of the texts: they outlive the scopes of the steps that make them */
    const az_lm *lm;
    const az_request *request;
    sample_text *sample;
} sampling;

/* Cuts the text at the first of the texts that end it. */
static bool cut_at_stop(const az_request *r, az_bytes *text)
{
    size_t at = text->length;
    for (int i = 0; i < r->stops; i++) {
        const char *found = *r->stop[i] ? memmem(text->data, text->length, r->stop[i], strlen(r->stop[i])) : NULL;
        if (found && (size_t)(found - text->data) < at) at = (size_t)(found - text->data);
    }
    const bool cut = at < text->length;
    text->length = at;
    return cut;
}

static bool add_token(int s, int32_t id, void *user)
{
    const sampling *g = user;
    sample_text *sample = &g->sample[s];
    size_t length = 0;
    const char *bytes = az_token_bytes(g->lm->tokenizer, id, sample->previous, &length);
    sample->previous = id;
    sample->tokens++;
    az_arena_enter(sample->bytes.az, g->arena);
    if (length) az_bytes_add(&sample->bytes, bytes, length);
    az_arena_leave(sample->bytes.az);
    sample->stopped = g->request->stops > 0 && cut_at_stop(g->request, &sample->bytes);
    return !sample->stopped;
}

/* The bytes as text: what is not UTF-8 becomes U+FFFD, zeros end it. */
static const char *clean_text(az_ctx *az, const az_bytes *bytes)
{
    json_t *value = az_json_keep(az, az_json_string(bytes->data ? bytes->data : "", bytes->length));
    return value ? az_strdup(az, json_string_value(value)) : NULL;
}

/* The samples' texts, in g. */
static bool draw_samples(az_backend *backend, const az_call *call, int n, const az_tokens *prompt, sampling *g)
{
    const az_request *r = call->request;
    const local_state *state = backend->state;
    const int64_t room = state->context - prompt->n;
    const az_lm_generate_options how = {
        .max_tokens = r->max_tokens < room ? r->max_tokens : room,
        .samples = n,
        .sampler = {.temperature = r->temperature, .top_p = r->top_p, .top_k = r->top_k, .seed = r->seed + call->index},
        .sink = add_token,
        .user = g,
        .adapter = backend->settings.adapter,
    };
    for (int s = 0; s < n; s++) {
        g->sample[s].bytes.az = backend->az;
        g->sample[s].previous = prompt->id[prompt->n - 1];
    }
    if (!az_lm_generate(backend->az, backend->lm, prompt, &how)) return false;
    for (int s = 0; s < n; s++) {
        az_answer *a = call[s].answer;
        a->text = clean_text(backend->az, &g->sample[s].bytes);
        a->finish = g->sample[s].tokens == how.max_tokens && !g->sample[s].stopped ? "length" : "stop";
        a->prompt_tokens = prompt->n;
        a->completion_tokens = g->sample[s].tokens;
    }
    return az_ok(backend->az);
}

/* n samples of one request, made side by side. */
static bool generate(az_backend *backend, az_call *call, int n)
{
    az_ctx *az = backend->az;
    const az_tokens prompt = question_tokens(backend, call->request);
    if (!az_ok(az)) return false;
    if (!fits(backend, call, prompt.n)) {
        for (int s = 1; s < n; s++) call[s].answer->failure = call->answer->failure;
        return true;
    }
    sampling g = {
        .arena = az_arena_new(az), .lm = backend->lm, .request = call->request, .sample = az_alloc_array(az, (size_t)n, sizeof *g.sample)};
    if (!g.arena || !g.sample) return false;
    const bool good = draw_samples(backend, call, n, &prompt, &g);
    az_arena_free(az, g.arena);
    return good;
}

/* ---- score ---- */

/* log P of each token of `more` behind the prompt. */
static bool score_tokens(az_backend *backend, const az_tokens *prompt, const az_tokens *more, az_answer *a)
{
    az_ctx *az = backend->az;
    const int64_t n = prompt->n + more->n - 1;
    int32_t *token = az_alloc_array(az, (size_t)n + 1, sizeof *token);
    a->log_probability = az_alloc_array(az, (size_t)more->n, sizeof *a->log_probability);
    if (!token || !a->log_probability) return false;
    memcpy(token, prompt->id, (size_t)prompt->n * sizeof *token);
    memcpy(token + prompt->n, more->id, (size_t)more->n * sizeof *token);
    const az_lm_batch batch = {.sequences = 1, .token = token, .start = (const int64_t[]){0, n}};
    az_scope_push(az);
    const az_lm_run run = pass_of(backend, AZ_HIDDEN);
    az_tensor *hidden = az_lm_forward(az, backend->lm, &batch, &run);
    const az_pass_adapters *beside = az_pass_adapters_slice(az, az_pass_adapters_begin(az, &batch, &run), prompt->n - 1, more->n);
    az_tensor *logits = hidden ? az_lm_head_logits(az, backend->lm, beside, az_slice(az, hidden, 0, prompt->n - 1, more->n)) : NULL;
    az_tensor *loss = az_cross_entropy(az, logits, az_from(az, AZ_I32, 1, &more->n, token + prompt->n));
    for (int64_t i = 0; loss && i < more->n; i++) a->total += a->log_probability[i] = -az_item(loss, i);
    az_scope_pop(az);
    a->n = (int)more->n;
    a->prompt_tokens = prompt->n + more->n;
    return az_ok(az);
}

/* A tokenizer that puts a blank in front of every text gives the one that the continuation begins with. */
static az_tokens continuation_tokens(const az_backend *backend, const char *text, int32_t previous)
{
    const az_tokenizer *tokenizer = backend->lm->tokenizer;
    if (text[0] == ' ' && text[1] != ' ' && text[1]) {
        const az_tokens bare = az_tokenize(backend->az, tokenizer, text + 1, strlen(text + 1), 0);
        size_t length = 0;
        const char *first = bare.n > 0 ? az_token_bytes(tokenizer, bare.id[0], previous, &length) : NULL;
        if (length > 0 && first[0] == ' ') return bare;
    }
    return az_tokenize(backend->az, tokenizer, text, strlen(text), 0);
}

static bool score(az_backend *backend, az_call *call)
{
    const char *continuation = call->request->continuation;
    const local_state *state = backend->state;
    const az_tokens prompt = question_tokens(backend, call->request);
    if (!az_ok(backend->az)) return false;
    if (!fits(backend, call, prompt.n)) return true;
    const az_tokens more = continuation_tokens(backend, continuation, prompt.id[prompt.n - 1]);
    if (!az_ok(backend->az)) return false;
    if (prompt.n + more.n <= state->context) return score_tokens(backend, &prompt, &more, call->answer);
    az_call_fail(backend, call, "prompt and continuation have %lld tokens, the context holds %lld", (long long)(prompt.n + more.n),
                 (long long)state->context);
    return true;
}

/* ---- next tokens, vectors ---- */

/* log P of every token after the prompt. */
static double *next_log_probabilities(az_backend *backend, const az_tokens *prompt)
{
    az_ctx *az = backend->az;
    const int64_t vocabulary = backend->lm->config.vocabulary;
    double *p = az_alloc_array(az, (size_t)vocabulary, sizeof *p);
    const az_lm_batch batch = {.sequences = 1, .token = prompt->id, .start = (const int64_t[]){0, prompt->n}};
    az_scope_push(az);
    const az_lm_run run = pass_of(backend, AZ_LOGITS_LAST);
    az_tensor *logits = az_lm_forward(az, backend->lm, &batch, &run);
    const az_tensor *log_p = az_log_softmax(az, logits);
    for (int64_t i = 0; p && log_p && i < vocabulary; i++) p[i] = az_item(log_p, i);
    az_scope_pop(az);
    return az_ok(az) ? p : NULL;
}

/* The most likely tokens, the smaller number first among equals. */
static void top_tokens(az_backend *backend, double *p, int32_t previous, az_answer *a)
{
    for (int k = 0; k < a->n; k++) {
        int64_t best = 0;
        for (int64_t i = 1; i < backend->lm->config.vocabulary; i++)
            if (p[i] > p[best]) best = i;
        size_t length = 0;
        const char *bytes = az_token_bytes(backend->lm->tokenizer, (int32_t)best, previous, &length);
        a->next[k].text = az_format_text(backend->az, "%.*s", (int)length, length ? bytes : "");
        a->next[k].log_probability = p[best];
        p[best] = -INFINITY;
    }
}

static bool next(az_backend *backend, az_call *call)
{
    az_ctx *az = backend->az;
    az_answer *a = call->answer;
    const az_tokens prompt = question_tokens(backend, call->request);
    if (!az_ok(az)) return false;
    if (!fits(backend, call, prompt.n)) return true;
    const int wanted = call->request->top ? call->request->top : AZ_DEFAULT_TOP;
    a->n = wanted < backend->lm->config.vocabulary ? wanted : (int)backend->lm->config.vocabulary;
    a->next = az_alloc_array(az, (size_t)a->n, sizeof *a->next);
    double *log_p = next_log_probabilities(backend, &prompt);
    if (a->next && log_p) top_tokens(backend, log_p, prompt.id[prompt.n - 1], a);
    a->prompt_tokens = prompt.n;
    a->completion_tokens = 1;
    return az_ok(az);
}

/* sum [width] of the last hidden states. */
static bool sum_hidden(az_backend *backend, const az_tokens *prompt, double *sum)
{
    az_ctx *az = backend->az;
    const int64_t width = backend->lm->config.embed_width;
    const az_lm_batch batch = {.sequences = 1, .token = prompt->id, .start = (const int64_t[]){0, prompt->n}};
    az_scope_push(az);
    const az_lm_run run = pass_of(backend, AZ_HIDDEN);
    const az_tensor *hidden = az_lm_forward(az, backend->lm, &batch, &run);
    for (int64_t i = 0; hidden && i < prompt->n * width; i++) sum[i % width] += az_item(hidden, i);
    az_scope_pop(az);
    return az_ok(az);
}

/* The mean of the last hidden states, of length 1. */
static bool embed(az_backend *backend, az_call *call)
{
    az_ctx *az = backend->az;
    az_answer *a = call->answer;
    const int64_t width = backend->lm->config.embed_width;
    const az_tokens prompt = question_tokens(backend, call->request);
    if (!az_ok(az)) return false;
    if (!fits(backend, call, prompt.n)) return true;
    double *sum = az_alloc_array(az, (size_t)width, sizeof *sum), square = 0;
    a->vector = az_alloc_array(az, (size_t)width, sizeof *a->vector);
    if (!sum || !a->vector || !sum_hidden(backend, &prompt, sum)) return false;
    for (int64_t j = 0; j < width; j++) square += sum[j] * sum[j];
    for (int64_t j = 0; j < width; j++) a->vector[j] = (float)(square > 0 ? sum[j] / sqrt(square) : 0);
    a->n = (int)width;
    a->prompt_tokens = prompt.n;
    return true;
}

/* ---- the engine ---- */

/* Calls of one request, from the first of them on, whose samples follow each other. */
static int run_of(const az_call *call, int n)
{
    int run = 1;
    const bool draws = call->request->operation == AZ_CHAT || call->request->operation == AZ_COMPLETE;
    while (draws && run < n && call[run].request == call->request && call[run].index == call->index + run) run++;
    return run;
}

/* The answers are in the caller's scope, with the tensors that made them. */
static bool answer_run(az_backend *backend, az_call *call, int n)
{
    switch (call->request->operation) {
    case AZ_SCORE: return score(backend, call);
    case AZ_NEXT: return next(backend, call);
    case AZ_EMBED: return embed(backend, call);
    default: return generate(backend, call, n);
    }
}

static bool answer_calls(az_backend *backend, az_call *call, int n)
{
    for (int at = 0, run; at < n; at += run) {
        run = 1;
        const int most = run_of(call + at, n - at);
        if (!az_call_begin(backend, &call[at])) return false;
        while (run < most && az_call_begin(backend, &call[at + run])) run++;
        if (!az_ok(backend->az)) az_clear(backend->az); /* what is allowed is answered first; the next turn meets the error again */
        if (!answer_run(backend, call + at, run)) return false;
        for (int s = 0; s < run; s++)
            if (!az_call_done(backend, &call[at + s])) return false;
        if (az_interrupted(backend->az)) return az_fail(backend->az, AZ_INTERRUPTED, "interrupted while a model was asked");
    }
    return true;
}

static const az_engine local_engine = {.answer = answer_calls, .count = count_tokens};

static bool read_spec(az_backend *backend, const char *spec)
{
    az_ctx *az = backend->az;
    local_state *state = backend->state = az_alloc(az, sizeof *state);
    const char *context = az_spec_value(az, spec, "ctx"), *chat = az_spec_value(az, spec, "chat");
    if (!state || !az_spec_check(az, spec, (const char *const[]){"ctx", "chat", "adapter", NULL})) return false;
    state->chat = chat ? chat : "auto";
    state->context = backend->lm->config.context;
    if (context) {
        char *end = NULL;
        const long long n = strtoll(context, &end, 10);
        if (n < 2 || *end || n > state->context)
            return az_fail(az, AZ_BAD_INPUT, "ctx=%s: the model's context is %lld; write a number from 2 to that", context,
                           (long long)state->context);
        state->context = n;
    }
    return true;
}

/* The model of the spec's path, with the adapter of the folder that it names. */
static bool load_model(az_backend *backend, const char *path, const char *spec)
{
    az_ctx *az = backend->az;
    const char *folder = az_spec_value(az, spec, "adapter");
    az_lm *lm = az_lm_load(az, path);
    if (lm) az_lm_arrange(az, lm, lm->config.context); /* there will be many questions */
    backend->lm = lm;
    backend->identity = lm ? az_model_hash(az, path) : NULL;
    if (!lm || !folder) return backend->identity != NULL;
    const az_adapter *adapter = backend->settings.adapter = az_adapter_read(az, lm, folder);
    const char *hash = adapter ? az_model_hash(az, folder) : NULL;
    backend->identity = hash ? az_format_text(az, "%s+%s", backend->identity, hash) : NULL;
    return backend->identity != NULL;
}

bool az_engine_local(az_backend *backend, const char *spec)
{
    az_ctx *az = backend->az;
    const char *path = az_spec_name(az, spec);
    if (!path) return false;
    if (backend->lm && backend->settings.adapter) backend->keeps = false; /* the identity that was given does not tell it */
    if (!backend->lm && !load_model(backend, path, spec)) return false;
    backend->model = path;
    backend->engine = &local_engine;
    backend->capabilities = AZ_CAN_CHAT | AZ_CAN_COMPLETE | AZ_CAN_SCORE | AZ_CAN_NEXT | AZ_CAN_EMBED | AZ_CAN_SEED | AZ_CAN_INSPECT;
    const az_adapter *adapter = backend->settings.adapter;
    if (adapter && adapter->virtual_tokens > 0) backend->capabilities &= ~(unsigned)(AZ_CAN_SCORE | AZ_CAN_NEXT | AZ_CAN_EMBED);
    if (!backend->lm->tokenizer) return az_fail(az, AZ_BAD_INPUT, "the model '%s' brings no tokenizer, so it cannot read text", path);
    return read_spec(backend, spec);
}

/* ---- who a model is ---- */

static void add_file(az_ctx *az, const char *path, struct sha256_ctx *state)
{
    az_scope_push(az);
    const az_map *map = az_map_file(az, path);
    if (map) sha256_update(state, map->size, map->data);
    az_scope_pop(az);
}

static int keep_files(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

const char *az_model_hash(az_ctx *az, const char *path)
{
    struct sha256_ctx state;
    unsigned char hash[AZ_KEY_BYTES];
    sha256_init(&state);
    if (!az_is_folder(path)) {
        add_file(az, path, &state);
    } else {
        struct dirent **entry = NULL;
        const int n = scandir(path, &entry, keep_files, alphasort);
        for (int i = 0; i < n; i++) {
            const char *file = az_format_text(az, "%s/%s", path, entry[i]->d_name);
            sha256_update(&state, strlen(entry[i]->d_name) + 1, (const uint8_t *)entry[i]->d_name);
            if (file && !az_is_folder(file)) add_file(az, file, &state);
            free(entry[i]);
        }
        free(entry);
    }
    sha256_digest(&state, sizeof hash, hash);
    char *hex = az_alloc(az, 2 * sizeof hash + 1);
    if (hex) az_hex(hash, sizeof hash, hex);
    return az_ok(az) ? hex : NULL;
}
