/* backend.c - asking: what the cache does not know goes to the engine, within the budget, and is counted and kept. */
#include "lm/backend/backend_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const az_option az_backend_options[] = {
    {"key_env", AZ_FIELD(AZ_TEXT, az_backend_settings, key_env), "ADZE_API_KEY", 0, 0, NULL,
     "name of the environment variable that holds a server's key"},
    {"cache", AZ_FIELD(AZ_TEXT, az_backend_settings, cache), "", 0, 0, NULL, "keep replies in this file (SQLite), and ask nothing twice"},
    {"replay", AZ_FIELD(AZ_BOOL, az_backend_settings, replay), "false", 0, 0, NULL, "answer from the cache only"},
    {"dry_run", AZ_FIELD(AZ_BOOL, az_backend_settings, dry_run), "false", 0, 0, NULL,
     "ask nothing and write nothing: count the calls, and the tokens and the cost that they would take at most"},
    {"prices", AZ_FIELD(AZ_TEXT, az_backend_settings, prices), "", 0, 0, NULL,
     "JSON file {\"MODEL\": {\"prompt\": P, \"completion\": C}}, per million tokens"},
    {"max_cost", AZ_FIELD(AZ_REAL, az_backend_settings, max_cost), "0", 0, 1e12, NULL, "stop before more is spent; 0 = no limit"},
    {"max_calls", AZ_FIELD(AZ_INT, az_backend_settings, max_calls), "0", 0, 1e15, NULL, "stop before more calls are made; 0 = no limit"},
    {"max_tokens", AZ_FIELD(AZ_INT, az_backend_settings, max_tokens), "0", 0, 1e15, NULL,
     "stop before more tokens are used, of prompts and replies; 0 = no limit"},
    {"jobs", AZ_FIELD(AZ_INT, az_backend_settings, jobs), "4", 1, 256, NULL, "requests under way at once to a server"},
    {"timeout", AZ_FIELD(AZ_REAL, az_backend_settings, timeout), "120", 0.01, 86400, NULL, "seconds that a call may last"},
    {"wait", AZ_FIELD(AZ_REAL, az_backend_settings, wait), "1", 0, 60, NULL,
     "seconds before the first retry; each further wait doubles, up to 60"},
    {"calls_per_minute", AZ_FIELD(AZ_REAL, az_backend_settings, calls_per_minute), "0", 0, 1e9, NULL,
     "calls begun in a minute; 0 = no limit"},
    {"tokens_per_minute", AZ_FIELD(AZ_REAL, az_backend_settings, tokens_per_minute), "0", 0, 1e12, NULL,
     "tokens that those calls may take; 0 = no limit"},
    {0},
};

/* ---- opening ---- */

static void close_arena(void *object)
{
    az_backend *backend = object;
    az_arena_free(backend->az, backend->arena);
}

/* An empty backend in the current scope, whose arena goes with it. */
static az_backend *new_backend(az_ctx *az, const az_backend_settings *settings)
{
    az_backend *backend = az_alloc(az, sizeof *backend);
    if (!backend) return NULL;
    *backend = (az_backend){.az = az, .arena = az_arena_new(az), .keeps = true};
    if (!backend->arena || !az_on_leave(az, close_arena, backend)) return NULL;
    if (settings) backend->settings = *settings;
    az_backend_settings *s = &backend->settings;
    if (s->jobs < 1) s->jobs = 4;
    if (s->timeout <= 0) s->timeout = 120;
    if (!settings || s->wait <= 0) s->wait = 1;
    if (!s->key_env || !*s->key_env) s->key_env = "ADZE_API_KEY";
    return backend;
}

static bool read_price(az_backend *backend)
{
    az_ctx *az = backend->az;
    const char *path = backend->settings.prices, *why = NULL;
    size_t length = 0;
    if (path && *path) {
        const char *text = az_read_file(az, path, &length);
        json_t *all = text ? az_json_read(az, text, length, &why) : NULL;
        if (!text) return false;
        if (!json_is_object(all))
            return az_fail(az, AZ_BAD_INPUT, "the prices '%s' are no JSON object: %s", path, why ? why : "another value");
        const json_t *price = json_object_get(all, backend->model);
        const json_t *prompt = json_object_get(price, "prompt"), *completion = json_object_get(price, "completion");
        if (price && (!json_is_number(prompt) || !json_is_number(completion)))
            return az_fail(az, AZ_BAD_INPUT, "the prices '%s': \"%s\" needs the numbers \"prompt\" and \"completion\"", path,
                           backend->model);
        if (json_number_value(prompt) < 0 || json_number_value(completion) < 0)
            return az_fail(az, AZ_BAD_INPUT, "the prices '%s': \"%s\" has a negative one", path, backend->model);
        backend->priced = price != NULL;
        backend->price_prompt = json_number_value(prompt) / 1e6;
        backend->price_completion = json_number_value(completion) / 1e6;
    }
    if (backend->settings.max_cost > 0 && !backend->priced)
        return az_fail(az, AZ_BAD_INPUT, "a limit of cost needs the price of '%s'; name a file that has it with --prices", backend->model);
    return true;
}

static bool open_engine(az_backend *backend, const char *spec)
{
    const struct {
        const char *scheme;
        bool (*open)(az_backend *backend, const char *rest);
        int skip; /* bytes of the scheme that the engine does not want */
    } engine[] = {
        {"local:", az_engine_local, 6},   {"http://", az_engine_http, 0},   {"https://", az_engine_http, 0},
        {"http:http", az_engine_http, 5}, {"replay:", az_engine_replay, 7}, {"oracle:", az_engine_oracle, 7},
        {"exec:", az_engine_exec, 5},
    };
    for (size_t i = 0; i < sizeof engine / sizeof *engine; i++)
        if (strncmp(spec, engine[i].scheme, strlen(engine[i].scheme)) == 0) return engine[i].open(backend, spec + engine[i].skip);
    return az_fail(backend->az, AZ_BAD_INPUT,
                   "'%s' names no backend; write local:MODEL, http://HOST/v1#MODEL, replay:FILE, oracle:NAME or exec:PROGRAM", spec);
}

/* Price and cache, once the engine is there. */
static bool finish_opening(az_backend *backend)
{
    const char *cache = backend->settings.cache;
    if (!read_price(backend)) return false;
    const bool reads = backend->settings.replay || backend->settings.dry_run, absent = cache && access(cache, F_OK) != 0;
    if (cache && *cache && !backend->cache && backend->keeps && !(backend->settings.dry_run && absent)) /* a dry run makes no file */
        backend->cache = (reads ? az_cache_open_to_read : az_cache_open)(backend->az, cache);
    if (backend->settings.replay && !backend->cache && az_ok(backend->az))
        return az_fail(backend->az, AZ_BAD_INPUT, "--replay needs a cache that holds the replies");
    return az_ok(backend->az);
}

az_backend *az_backend_open(az_ctx *az, const char *spec, const az_backend_settings *settings)
{
    if (!spec || !az_ok(az)) return NULL;
    az_backend *backend = new_backend(az, settings);
    if (!backend) return NULL;
    az_arena_enter(az, backend->arena);
    const bool good = open_engine(backend, spec) && finish_opening(backend);
    az_arena_leave(az);
    return good ? backend : NULL;
}

unsigned az_backend_capabilities(const az_backend *backend)
{
    return backend ? backend->capabilities : 0;
}

bool az_backend_need(az_backend *backend, unsigned capabilities, const char *who)
{
    static const char *const what[] = {"chat",
                                       "completions",
                                       "scores of given texts",
                                       "log-probabilities of next tokens",
                                       "embeddings",
                                       "biases of logits",
                                       "seeds",
                                       "a look inside the model",
                                       "a model that sees images"};
    if (!backend) return false;
    for (int i = 0; i < (int)(sizeof what / sizeof *what); i++)
        if ((capabilities & ~backend->capabilities) >> i & 1)
            return az_fail(backend->az, AZ_BAD_INPUT, "%s needs %s, which the backend '%s' does not give", who, what[i], backend->model);
    return true;
}

const az_lm *az_backend_model(const az_backend *backend)
{
    return backend ? backend->lm : NULL;
}

const char *az_backend_identity(const az_backend *backend)
{
    return backend ? backend->identity : NULL;
}

az_backend *az_backend_of_model(az_ctx *az, const az_lm *lm, const char *chat, const char *identity, const az_backend_settings *settings)
{
    if (!lm || !az_ok(az)) return NULL;
    az_backend *backend = new_backend(az, settings);
    if (!backend) return NULL;
    az_arena_enter(az, backend->arena);
    backend->lm = lm;
    backend->keeps = identity != NULL;
    backend->identity = identity ? az_strdup(az, identity) : "";
    const bool good = az_engine_local(backend, az_format_text(az, "model?chat=%s", chat ? chat : "auto")) && finish_opening(backend);
    az_arena_leave(az);
    return good ? backend : NULL;
}

az_backend *az_backend_of_function(az_ctx *az, az_answer_function function, void *user, const char *identity,
                                   const az_backend_settings *settings)
{
    if (!function || !az_ok(az)) return NULL;
    az_backend *backend = new_backend(az, settings);
    if (!backend) return NULL;
    az_arena_enter(az, backend->arena);
    backend->keeps = identity != NULL;
    const bool good = az_engine_function(backend, function, user, identity ? identity : "function") && finish_opening(backend);
    az_arena_leave(az);
    return good ? backend : NULL;
}

/* ---- counting ---- */

static az_stage *stage_of(az_backend *backend, const char *name)
{
    if (!name) name = "calls";
    az_stage **at = &backend->stages;
    for (; *at; at = &(*at)->next)
        if (strcmp((*at)->name, name) == 0) return *at;
    az_arena_enter(backend->az, backend->arena);
    az_stage *stage = az_alloc(backend->az, sizeof *stage);
    if (stage) *stage = (az_stage){.name = az_strdup(backend->az, name)};
    az_arena_leave(backend->az);
    return *at = stage;
}

static void add_latency(az_backend *backend, az_stage *stage, double milliseconds)
{
    if (stage->usage.calls > stage->room) {
        az_arena_enter(backend->az, backend->arena);
        double *longer = az_alloc_array(backend->az, (size_t)(2 * stage->usage.calls + 30), sizeof *longer);
        az_arena_leave(backend->az);
        if (!longer) return;
        if (stage->milliseconds) memcpy(longer, stage->milliseconds, (size_t)(stage->usage.calls - 1) * sizeof *longer);
        stage->milliseconds = longer;
        stage->room = 2 * stage->usage.calls + 30;
    }
    stage->milliseconds[stage->usage.calls - 1] = milliseconds;
}

double az_backend_cost(const az_backend *backend, int64_t prompt, int64_t completion)
{
    if (!backend->priced) return NAN;
    return (double)prompt * backend->price_prompt + (double)completion * backend->price_completion;
}

static void count(az_backend *backend, const az_request *request, const az_answer *answer)
{
    az_stage *stage = stage_of(backend, request->stage);
    if (!stage) return;
    az_usage *u = &stage->usage;
    const double cost = az_backend_cost(backend, answer->prompt_tokens, answer->completion_tokens);
    if (answer->cached) {
        u->cached_calls++;
        u->cached_cost += cost;
        return;
    }
    u->calls++;
    u->failed_calls += answer->failure != NULL;
    u->prompt_tokens += answer->prompt_tokens;
    u->completion_tokens += answer->completion_tokens;
    u->cost += cost;
    u->estimated = u->estimated || answer->estimated;
    add_latency(backend, stage, answer->milliseconds);
}

az_usage az_backend_usage(const az_backend *backend)
{
    az_usage all = {0};
    for (const az_stage *s = backend ? backend->stages : NULL; s; s = s->next) {
        all.calls += s->usage.calls;
        all.cached_calls += s->usage.cached_calls;
        all.failed_calls += s->usage.failed_calls;
        all.prompt_tokens += s->usage.prompt_tokens;
        all.completion_tokens += s->usage.completion_tokens;
        all.cost += s->usage.cost;
        all.cached_cost += s->usage.cached_cost;
        all.estimated = all.estimated || s->usage.estimated;
    }
    return all;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile(az_ctx *az, const double *x, int64_t n, double p)
{
    double *sorted = n > 0 ? az_alloc_array(az, (size_t)n, sizeof *sorted) : NULL;
    if (!sorted) return NAN;
    memcpy(sorted, x, (size_t)n * sizeof *sorted);
    qsort(sorted, (size_t)n, sizeof *sorted, ascending);
    return sorted[(int64_t)ceil(p * (double)n) - 1];
}

void az_backend_report(const az_backend *backend, az_report *report)
{
    for (const az_stage *s = backend ? backend->stages : NULL; s; s = s->next) {
        const az_usage *u = &s->usage;
        az_report_row(report, "calls");
        az_report_text(report, "stage", s->name);
        az_report_count(report, "calls", u->calls);
        az_report_count(report, "cached_calls", u->cached_calls);
        az_report_count(report, "failed_calls", u->failed_calls);
        az_report_count(report, "prompt_tokens", u->prompt_tokens);
        az_report_count(report, "completion_tokens", u->completion_tokens);
        az_report_bool(report, "estimated", u->estimated);
        az_report_number(report, "cost", u->cost, "");
        az_report_number(report, "cached_cost", u->cached_cost, "");
        az_report_number(report, "latency_median", quantile(backend->az, s->milliseconds, u->calls, 0.5), "ms");
        az_report_number(report, "latency_p95", quantile(backend->az, s->milliseconds, u->calls, 0.95), "ms");
    }
}

/* ---- the budget ---- */

static size_t bytes_of(const az_request *r)
{
    size_t bytes = (r->prompt ? strlen(r->prompt) : 0) + (r->continuation ? strlen(r->continuation) : 0);
    for (int i = 0; i < r->messages; i++) {
        az_part alone;
        int n;
        const az_part *part = az_message_parts(&r->message[i], &alone, &n);
        for (int k = 0; k < n; k++) bytes += part[k].image ? (size_t)AZ_IMAGE_TOKENS * AZ_TOKEN_BYTES : strlen(part[k].text);
        bytes += 8;
    }
    return bytes;
}

static int64_t tokens_of(int64_t bytes)
{
    return bytes / AZ_TOKEN_BYTES + 1;
}

int64_t az_question_tokens(az_backend *backend, const az_request *r)
{
    return backend->engine->count ? backend->engine->count(backend, r) : tokens_of((int64_t)bytes_of(r));
}

static bool exhausted(az_backend *backend, const char *what, double limit, const char *option)
{
    backend->exhausted = true;
    return az_fail(backend->az, AZ_BAD_INPUT, "the budget of %g %s (--%s) does not allow the next call; what is done is kept", limit, what,
                   option);
}

bool az_call_begin(az_backend *backend, az_call *call)
{
    const az_backend_settings *s = &backend->settings;
    const az_usage used = az_backend_usage(backend);
    const az_request *r = call->request;
    const bool limited = s->max_cost > 0 || s->max_tokens > 0;
    int64_t prompt = 0;
    if (limited) prompt = az_question_tokens(backend, r);
    if (!az_ok(backend->az)) return false;
    const double cost = s->max_cost > 0 ? az_backend_cost(backend, prompt, r->max_tokens) : 0;
    if (s->max_calls > 0 && used.calls + backend->reserved_calls + 1 > s->max_calls)
        return exhausted(backend, "calls", (double)s->max_calls, "max-calls");
    const int64_t tokens = used.prompt_tokens + used.completion_tokens + backend->reserved_tokens + prompt + r->max_tokens;
    if (s->max_tokens > 0 && tokens > s->max_tokens) return exhausted(backend, "tokens", (double)s->max_tokens, "max-tokens");
    if (s->max_cost > 0 && used.cost + backend->reserved_cost + cost > s->max_cost)
        return exhausted(backend, "cost", s->max_cost, "max-cost");
    call->reserved_tokens = prompt + r->max_tokens;
    call->reserved_cost = cost;
    backend->reserved_calls++;
    backend->reserved_tokens += call->reserved_tokens;
    backend->reserved_cost += cost;
    call->began = az_seconds();
    return true;
}

/* Counts that the engine did not give. */
static void estimate_tokens(az_backend *backend, const az_request *request, az_answer *answer)
{
    const bool told = answer->prompt_tokens > 0, wrote = answer->text && *answer->text && answer->completion_tokens <= 0;
    if (!told) answer->prompt_tokens = az_question_tokens(backend, request);
    if (wrote) answer->completion_tokens = tokens_of((int64_t)strlen(answer->text));
    answer->estimated = answer->estimated || !told || wrote;
}

/* Where another process has answered the same meanwhile, its answer counts for all: what a run says can be found in the cache. */
static bool keep_answer(az_backend *backend, az_call *call)
{
    bool stored = false;
    if (!az_cache_store(backend->cache, call, backend->identity, &stored)) return false;
    az_answer kept = {0};
    if (!stored && az_cache_find(backend->cache, call->key, call->index, &kept)) {
        kept.cached = false; /* this one was paid, too */
        *call->answer = kept;
    }
    return az_ok(backend->az);
}

bool az_call_done(az_backend *backend, az_call *call)
{
    az_answer *answer = call->answer;
    if (!answer->failure) estimate_tokens(backend, call->request, answer);
    backend->reserved_calls--;
    backend->reserved_tokens -= call->reserved_tokens;
    backend->reserved_cost -= call->reserved_cost;
    answer->milliseconds = 1e3 * (az_seconds() - call->began);
    if (!answer->finish) answer->finish = "stop";
    count(backend, call->request, answer);
    return answer->failure || !backend->cache ? az_ok(backend->az) : keep_answer(backend, call);
}

void az_call_fail(az_backend *backend, az_call *call, const char *format, ...)
{
    char text[600];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    call->answer->failure = az_strdup(backend->az, text);
}

bool az_backend_exhausted(const az_backend *backend)
{
    return backend && backend->exhausted;
}

/* ---- asking ---- */

/* The reply's place, its key, and a call for each sample. */
static bool set_up_reply(az_backend *backend, const az_request *request, az_reply *reply, az_call *call)
{
    az_ctx *az = backend->az;
    const int n = request->samples > 0 ? request->samples : 1;
    if (az_request_has_images(request) && !az_backend_need(backend, AZ_CAN_IMAGES, "a message with an image")) return false;
    const char *json = az_request_json(az, request, request->model ? request->model : backend->identity);
    *reply = (az_reply){.n = n, .sample = az_alloc_array(az, (size_t)n, sizeof *reply->sample)};
    if (!json || !reply->sample) return false;
    az_sha256(json, strlen(json), reply->key);
    for (int s = 0; s < n; s++) {
        call[s] = (az_call){.request = request, .index = request->first + s, .json = json, .answer = &reply->sample[s]};
        az_sha256_bytes(json, strlen(json), call[s].key);
    }
    return true;
}

static int same_call(const void *a, const void *b)
{
    const az_call *x = *(az_call *const *)a, *y = *(az_call *const *)b;
    const int keys = memcmp(x->key, y->key, AZ_KEY_BYTES);
    if (keys) return keys;
    if (x->index != y->index) return x->index < y->index ? -1 : 1;
    return x < y ? -1 : x > y;
}

/* twin[i] = the first call with the same key and sample, itself when it is the first. */
static int *find_twins(az_ctx *az, az_call *call, int n)
{
    int *twin = az_alloc_array(az, (size_t)n + 1, sizeof *twin);
    az_call **sorted = az_alloc_array(az, (size_t)n + 1, sizeof(az_call *));
    if (!twin || !sorted) return NULL;
    for (int i = 0; i < n; i++) sorted[i] = &call[i];
    qsort(sorted, (size_t)n, sizeof(az_call *), same_call);
    for (int i = 0; i < n; i++) {
        const bool same = i > 0 && sorted[i]->index == sorted[i - 1]->index && !memcmp(sorted[i]->key, sorted[i - 1]->key, AZ_KEY_BYTES);
        twin[sorted[i] - call] = same ? twin[sorted[i - 1] - call] : (int)(sorted[i] - call);
    }
    return twin;
}

static bool missing(az_backend *backend, const az_call *call)
{
    return az_fail(backend->az, AZ_BAD_INPUT, "the recording has no reply to sample %d of this request: %.700s", call->index, call->json);
}

/* What the cache has; the others are gathered in `open`, or are an error when nothing may be asked. Returns their number, -1 on an error.
 */
static int look_up(az_backend *backend, az_call *call, const int *twin, int n, az_call *open)
{
    int left = 0;
    for (int i = 0; i < n; i++) {
        if (twin[i] != i) continue;
        if (backend->cache && az_cache_find(backend->cache, call[i].key, call[i].index, call[i].answer)) {
            count(backend, call[i].request, call[i].answer);
            continue;
        }
        const bool closed = backend->settings.replay && !backend->settings.dry_run;
        if (!az_ok(backend->az) || (closed && !missing(backend, &call[i]))) return -1;
        open[left++] = call[i];
    }
    return left;
}

static bool answer_open(az_backend *backend, az_call *open, int n)
{
    if (!backend->settings.dry_run) return backend->engine->answer(backend, open, n);
    for (int i = 0; i < n; i++)
        if (az_stand_in(backend, &open[i])) count(backend, open[i].request, open[i].answer);
    return az_ok(backend->az);
}

bool az_backend_ask_all(az_backend *backend, const az_request *request, int n, az_reply *reply)
{
    if (!backend || !az_ok(backend->az)) return false;
    az_ctx *az = backend->az;
    int total = 0;
    for (int i = 0; i < n; i++) total += request[i].samples > 0 ? request[i].samples : 1;
    az_call *call = az_alloc_array(az, (size_t)total + 1, sizeof *call), *open = az_alloc_array(az, (size_t)total + 1, sizeof *open);
    if (!call || !open) return false;
    for (int i = 0, at = 0; i < n; at += reply[i].n, i++)
        if (!set_up_reply(backend, &request[i], &reply[i], call + at)) return false;
    const int *twin = find_twins(az, call, total);
    const int left = twin ? look_up(backend, call, twin, total, open) : -1;
    if (left < 0 || (left > 0 && !answer_open(backend, open, left))) return false;
    for (int i = 0; i < total; i++) {
        if (twin[i] == i) continue;
        *call[i].answer = *call[twin[i]].answer;
        call[i].answer->cached = true;
        count(backend, call[i].request, call[i].answer);
    }
    return az_ok(az);
}

az_reply *az_backend_ask(az_backend *backend, const az_request *request)
{
    if (!backend || !request) return NULL;
    az_reply *reply = az_alloc(backend->az, sizeof *reply);
    return reply && az_backend_ask_all(backend, request, 1, reply) ? reply : NULL;
}

const az_answer *az_backend_ask_parsed(az_backend *backend, const az_request *request, az_reading *reading)
{
    if (!backend || !request) return NULL;
    az_request one = *request;
    const az_answer *answer = NULL;
    one.samples = 1;
    reading->done = false;
    for (int attempt = 0; attempt <= reading->again && !reading->done; attempt++, one.first++) {
        const az_reply *reply = az_backend_ask(backend, &one);
        if (!reply) return NULL;
        answer = &reply->sample[0];
        reading->done = !answer->failure && reading->parse(backend->az, answer, reading->user);
        if (!az_ok(backend->az)) return NULL;
        if (backend->settings.dry_run) break; /* whether it would be asked again is not known */
    }
    return answer;
}
