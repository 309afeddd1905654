/* engine_http.c - servers that speak OpenAI's protocol: several calls under way at once in one thread, retries that wait as they are told,
 * limits of calls and tokens a minute.
 *
 * Retried are failed connections, timeouts and the states 408, 409, 429 and 5xx, up to six tries in all. A server that cannot be reached,
 * 401 to 405, 407 and redirections (which are not followed, so that the key goes to nobody else) would hinder every call and are errors;
 * other states are the call's own failure. Where a reply repeats the key, it is struck out before anything reads it.
 */
#include "lm/backend/backend_internal.h"
#include "lm/backend/curl_library.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TRIES = 6, LONGEST_WAIT = 60, LONGEST_TOLD_WAIT = 3600, POLL_MILLISECONDS = 200 };

/* A bucket of tokens: it fills at `rate` per second up to a minute's worth. */
typedef struct bucket {
    double rate, level, at;
} bucket;

typedef struct http_state {
    const char *base; /* "http://host/v1" */
    az_curl curl;
    CURLM *multi;
    struct curl_slist *headers;
    const char *key; /* of the environment; NULL = none */
    bucket calls, tokens;
} http_state;

typedef struct transfer {
    az_call *call; /* NULL = free */
    CURL *easy;
    char *body;  /* what is sent */
    char *reply; /* what came; grows by realloc, as the connection's thread of control is inside curl */
    size_t length, room;
    bool too_long, under_way;
    int tries;
    double not_before; /* s: when the next try may begin */
} transfer;

/* ---- buckets ---- */

static bucket new_bucket(double per_minute)
{
    return (bucket){.rate = per_minute / 60, .level = per_minute, .at = az_seconds()};
}

/* Seconds until `amount` may be taken. What is more than the bucket holds waits until it is full. */
static double seconds_until(bucket *b, double amount)
{
    if (b->rate <= 0) return 0;
    const double now = az_seconds(), size = 60 * b->rate, needed = amount < size ? amount : size;
    b->level = fmin(size, b->level + (now - b->at) * b->rate);
    b->at = now;
    return b->level < needed ? (needed - b->level) / b->rate : 0;
}

/* Seconds to wait before one more call; 0 = it is counted, and may begin. */
static double take(http_state *state, double tokens)
{
    const double wait = fmax(seconds_until(&state->tokens, tokens), seconds_until(&state->calls, 1));
    if (wait > 0) return wait;
    state->calls.level -= 1;
    state->tokens.level -= tokens;
    return 0;
}

/* ---- one transfer ---- */

static const az_curl *curl_of(const az_backend *backend)
{
    return &((const http_state *)backend->state)->curl;
}

static size_t receive(char *data, size_t size, size_t n, void *user)
{
    transfer *t = user;
    (void)size; /* 1 */
    if (t->length + n > AZ_REPLY_LIMIT) {
        t->too_long = true;
        return 0;
    }
    if (t->length + n + 1 > t->room) {
        const size_t room = 2 * (t->length + n) + 4096;
        char *longer = realloc(t->reply, room);
        if (!longer) return 0;
        t->reply = longer;
        t->room = room;
    }
    memcpy(t->reply + t->length, data, n);
    t->length += n;
    return n;
}

static bool start(az_backend *backend, transfer *t)
{
    http_state *state = backend->state;
    const az_curl *curl = &state->curl;
    az_ctx *az = backend->az;
    const char *path = NULL;
    if (!t->easy) t->easy = curl->easy_init();
    if (!t->body) t->body = az_http_body(az, t->call->request, backend->model, t->call->index, &path);
    if (!t->easy || !t->body) return az_fail(az, AZ_NO_MEMORY, "out of memory");
    t->length = 0;
    if (t->tries++ == 0) {
        curl->easy_setopt(t->easy, CURLOPT_URL, az_format_text(az, "%s%s", state->base, path));
        curl->easy_setopt(t->easy, CURLOPT_POSTFIELDS, t->body);
        curl->easy_setopt(t->easy, CURLOPT_HTTPHEADER, state->headers);
        curl->easy_setopt(t->easy, CURLOPT_PROTOCOLS_STR, "http,https");
        curl->easy_setopt(t->easy, CURLOPT_WRITEFUNCTION, receive);
        curl->easy_setopt(t->easy, CURLOPT_WRITEDATA, t);
        curl->easy_setopt(t->easy, CURLOPT_PRIVATE, t);
        curl->easy_setopt(t->easy, CURLOPT_NOSIGNAL, 1L);
        curl->easy_setopt(t->easy, CURLOPT_ACCEPT_ENCODING, "");
        curl->easy_setopt(t->easy, CURLOPT_TIMEOUT_MS, (long)(1e3 * backend->settings.timeout));
    }
    t->under_way = true;
    curl->multi_add_handle(state->multi, t->easy);
    return true;
}

static void forget(transfer *t)
{
    free(t->reply);
    t->call = NULL;
    t->body = t->reply = NULL;
    t->length = t->room = 0;
    t->tries = 0;
    t->too_long = false;
    t->not_before = 0;
}

/* Waits min(60, wait 2^k) U(0.5, 1) s before the next try, or as long as the server says. */
static void wait_for_retry(const az_backend *backend, transfer *t, double told)
{
    az_rng rng = az_rng_at((uint64_t)t->call->request->seed, az_stream("http retry", (uint64_t)(t->call->index * TRIES + t->tries)));
    const double wait = fmin(LONGEST_WAIT, backend->settings.wait * exp2(t->tries - 1)) * (0.5 + 0.5 * az_uniform(&rng));
    t->not_before = az_seconds() + (told > 0 ? fmin(told, LONGEST_TOLD_WAIT) : wait);
    if (told > LONGEST_WAIT) az_note(backend->az, "the server asks for a wait of %g s; Ctrl-C ends it", fmin(told, LONGEST_TOLD_WAIT));
}

static bool may_succeed_later(CURLcode code, long status)
{
    if (code != CURLE_OK)
        return code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST || code == CURLE_OPERATION_TIMEDOUT ||
               code == CURLE_PARTIAL_FILE || code == CURLE_RECV_ERROR || code == CURLE_SEND_ERROR || code == CURLE_GOT_NOTHING;
    return status == 408 || status == 409 || status == 429 || status >= 500;
}

static bool is_unreachable(CURLcode code)
{
    return code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST || code == CURLE_COULDNT_RESOLVE_PROXY ||
           code == CURLE_URL_MALFORMAT || code == CURLE_UNSUPPORTED_PROTOCOL || code == CURLE_SSL_CONNECT_ERROR ||
           code == CURLE_PEER_FAILED_VERIFICATION;
}

static bool is_redirection(long status)
{
    return status >= 300 && status < 400;
}

static bool hinders_all(long status)
{
    return (status >= 401 && status <= 405) || status == 407 || is_redirection(status);
}

static const char *what_happened(az_backend *backend, const transfer *t, CURLcode code, long status)
{
    az_ctx *az = backend->az;
    if (t->too_long) return az_format_text(az, "the reply is longer than %d MiB", AZ_REPLY_LIMIT >> 20);
    if (code == CURLE_OPERATION_TIMEDOUT) return az_format_text(az, "no answer within %g s (--timeout)", backend->settings.timeout);
    if (code != CURLE_OK) return curl_of(backend)->easy_strerror(code);
    return az_format_text(az, "status %ld: %s", status, az_http_error(az, t->reply ? t->reply : "", t->length));
}

/* The error of all calls, with what may be done about it. */
static bool fail_all(az_backend *backend, const transfer *t, CURLcode code, long status)
{
    az_ctx *az = backend->az;
    const char *base = ((const http_state *)backend->state)->base, *what = what_happened(backend, t, code, status);
    const char *to = NULL;
    if (code != CURLE_OK)
        return az_fail(az, AZ_IO, "%s cannot be reached (tries: %d): %s; is the server running, and is this its address?", base, t->tries,
                       what);
    curl_of(backend)->easy_getinfo(t->easy, CURLINFO_REDIRECT_URL, &to);
    if (is_redirection(status))
        return az_fail(az, AZ_BAD_INPUT, "%s: status %ld, which leads to '%s'; redirections are not followed, give the address itself",
                       base, status, to ? to : "");
    return az_fail(az, AZ_BAD_INPUT, "%s: %s%s", base, what,
                   status == 404 || status == 405
                       ? " (the address should end in /v1 or the like, and the model should be one that the server has)"
                   : status == 402 ? ""
                                   : " (the key is read from the environment variable that --key-env names)");
}

/* Strikes the key out of what a server sent: some repeat it in their errors. Short ones ("none") are no secrets, but words. */
static void strike_key(const http_state *state, transfer *t)
{
    enum { SECRET = 12 };
    const size_t length = state->key ? strlen(state->key) : 0;
    if (length < SECRET || !t->reply) return;
    for (char *at = t->reply; (at = memmem(at, t->length - (size_t)(at - t->reply), state->key, length)); at += length)
        memset(at, '*', length);
}

/* "application/json" is what a reply should be; another kind explains why it cannot be read. */
static const char *kind_of(const az_backend *backend, const transfer *t)
{
    const char *kind = NULL;
    curl_of(backend)->easy_getinfo(t->easy, CURLINFO_CONTENT_TYPE, &kind);
    return !kind || strstr(kind, "json") ? "" : az_format_text(backend->az, " (content type: %.100s)", kind);
}

/* A transfer has ended: its call is answered, waits for another try, has failed, or the error of all. */
static bool settle(az_backend *backend, transfer *t, CURLcode code)
{
    az_ctx *az = backend->az;
    const http_state *state = backend->state;
    const az_curl *curl = &state->curl;
    long status = 0;
    curl_off_t told = 0;
    curl->easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    curl->easy_getinfo(t->easy, CURLINFO_RETRY_AFTER, &told);
    curl->multi_remove_handle(state->multi, t->easy);
    t->under_way = false;
    strike_key(state, t);
    const bool good = code == CURLE_OK && status >= 200 && status < 300;
    if (!good && !t->too_long && t->tries < TRIES && may_succeed_later(code, status)) {
        wait_for_retry(backend, t, (double)told);
        return true;
    }
    if (is_unreachable(code) || (code == CURLE_OK && hinders_all(status))) return fail_all(backend, t, code, status);
    if (good) {
        az_http_read(az, t->call->request, t->reply ? t->reply : "", t->length, t->call->answer);
        const char *failure = t->call->answer->failure;
        if (failure) az_call_fail(backend, t->call, "%s: %s%s", state->base, failure, kind_of(backend, t));
    } else {
        az_call_fail(backend, t->call, "%s, after %d %s: %s", state->base, t->tries, t->tries == 1 ? "try" : "tries",
                     what_happened(backend, t, code, status));
    }
    const bool done = az_call_done(backend, t->call);
    forget(t);
    return done;
}

/* ---- many of them ---- */

/* Gives free transfers their calls and starts what may start. Returns how many calls are not answered yet; -1 on an error. *next: the first
 * call that nobody has taken. *pause: seconds until something more may start. */
static int begin_some(az_backend *backend, transfer *t, az_call *call, int n, int *next, double *pause)
{
    http_state *state = backend->state;
    int busy = 0;
    *pause = POLL_MILLISECONDS * 1e-3;
    for (int i = 0; i < backend->settings.jobs; i++) {
        if (!t[i].call && *next < n) {
            const az_request *r = call[*next].request;
            const double wait = take(state, state->tokens.rate > 0 ? (double)(az_question_tokens(backend, r) + r->max_tokens) : 0);
            if (wait > 0) *pause = fmin(*pause, wait);
            if (wait > 0) continue;
            if (!az_call_begin(backend, &call[*next])) return -1;
            t[i].call = &call[(*next)++];
        }
        if (!t[i].call) continue;
        busy++;
        const double left = t[i].not_before - az_seconds();
        if (t[i].under_way) continue;
        if (left > 0)
            *pause = fmin(*pause, left);
        else if (!start(backend, &t[i]))
            return -1;
    }
    return busy + n - *next;
}

static bool settle_ended(az_backend *backend, int *ended)
{
    const http_state *state = backend->state;
    int left = 0;
    *ended = 0;
    for (CURLMsg *message; (message = state->curl.multi_info_read(state->multi, &left));) {
        transfer *t = NULL;
        if (message->msg != CURLMSG_DONE) continue;
        const CURLcode code = message->data.result;
        state->curl.easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &t);
        if (!settle(backend, t, code)) return false;
        ++*ended;
    }
    return true;
}

/* What has come is read; where nothing has ended, so that nothing new may begin, more is waited for. */
static bool turn(az_backend *backend, double pause)
{
    const http_state *state = backend->state;
    int running = 0, ended = 0;
    if (state->curl.multi_perform(state->multi, &running) != CURLM_OK) return az_fail(backend->az, AZ_IO, "libcurl failed");
    if (!settle_ended(backend, &ended)) return false;
    if (ended == 0) state->curl.multi_poll(state->multi, NULL, 0, (int)(1e3 * pause) + 1, NULL);
    if (az_interrupted(backend->az)) return az_fail(backend->az, AZ_INTERRUPTED, "interrupted while a server was asked");
    return true;
}

/* What is under way is waited for when the budget ends the run: it is paid. */
static bool drain(az_backend *backend, transfer *t)
{
    char error[1024];
    const az_status status = az_status_of(backend->az);
    snprintf(error, sizeof error, "%s", az_error(backend->az));
    az_clear(backend->az);
    bool good = true;
    for (bool busy = true; busy && good;) {
        good = turn(backend, 0.01);
        busy = false;
        for (int i = 0; i < backend->settings.jobs; i++) busy = busy || t[i].under_way;
    }
    return good ? az_fail(backend->az, status, "%s", error) : false;
}

static bool answer_calls(az_backend *backend, az_call *call, int n)
{
    const http_state *state = backend->state;
    transfer *t = az_alloc_array(backend->az, (size_t)backend->settings.jobs, sizeof *t);
    bool good = t != NULL;
    int next = 0, busy = 1;
    while (good) {
        double pause = 0;
        busy = begin_some(backend, t, call, n, &next, &pause);
        if (busy < 0) good = backend->exhausted ? drain(backend, t) : false;
        if (busy == 0 || !good) break;
        good = turn(backend, pause);
    }
    for (int i = 0; t && i < backend->settings.jobs; i++) {
        if (t[i].under_way) state->curl.multi_remove_handle(state->multi, t[i].easy);
        free(t[i].reply);
        state->curl.easy_cleanup(t[i].easy);
    }
    return good;
}

static const az_engine http_engine = {.answer = answer_calls};

/* ---- opening ---- */

static void close_state(void *object)
{
    http_state *state = object;
    state->curl.slist_free_all(state->headers);
    state->curl.multi_cleanup(state->multi);
}

static struct curl_slist *headers_of(const az_backend *backend)
{
    const az_curl *curl = curl_of(backend);
    struct curl_slist *list = curl->slist_append(NULL, "Content-Type: application/json");
    const char *key = ((const http_state *)backend->state)->key;
    if (!key) return list;
    char *line = NULL;
    if (asprintf(&line, "Authorization: Bearer %s", key) < 0) return list;
    list = curl->slist_append(list, line);
    explicit_bzero(line, strlen(line));
    free(line);
    return list;
}

/* The key of the environment; NULL when there is none, or with an error for one that no header can hold. */
static const char *find_key(az_backend *backend)
{
    const char *name = backend->settings.key_env, *key = getenv(name);
    if (!key || !*key) return NULL;
    for (const char *c = key; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 127)
            return az_fail(backend->az, AZ_BAD_INPUT,
                           "the key in the environment variable %s holds a line end or another control character", name);
    return key;
}

/* "http://host" and "http://host/v1/" are the same server. */
static const char *base_of(az_ctx *az, const char *spec)
{
    char *base = az_format_text(az, "%.*s", (int)strcspn(spec, "#"), spec);
    if (!base) return NULL;
    for (size_t n = strlen(base); n > 0 && base[n - 1] == '/'; n--) base[n - 1] = '\0';
    const char *host = strstr(base, "://");
    return host && strchr(host + 3, '/') ? base : az_format_text(az, "%s/v1", base);
}

bool az_engine_http(az_backend *backend, const char *spec)
{
    az_ctx *az = backend->az;
    const char *hash = strchr(spec, '#');
    if (!hash || !hash[1]) return az_fail(az, AZ_BAD_INPUT, "'%s' does not name a model; write %s#MODEL", spec, spec);
    http_state *state = backend->state = az_alloc(az, sizeof *state);
    if (!state) return false;
    *state = (http_state){.base = base_of(az, spec),
                          .calls = new_bucket(backend->settings.calls_per_minute),
                          .tokens = new_bucket(backend->settings.tokens_per_minute)};
    state->key = find_key(backend);
    if (!az_ok(az) || !az_curl_load(az, &state->curl)) return false;
    state->multi = state->curl.multi_init();
    state->headers = headers_of(backend);
    if (!az_on_leave(az, close_state, state) || !state->base || !state->multi || !state->headers) return false;
    backend->model = backend->identity = az_strdup(az, hash + 1);
    backend->engine = &http_engine;
    backend->capabilities = AZ_CAN_CHAT | AZ_CAN_COMPLETE | AZ_CAN_SCORE | AZ_CAN_NEXT | AZ_CAN_EMBED | AZ_CAN_BIAS | AZ_CAN_IMAGES;
    return backend->model != NULL;
}
