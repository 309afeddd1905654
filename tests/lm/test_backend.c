/* Backends: the canonical request, the local engine against the model itself, the cache, replay, budgets, programs, simulated models. */
#include "adze/backend.h"
#include "lm/lm_internal.h"
#include "support/command.h"
#include "support/data.h"
#include "support/folder.h"
#include "support/models.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <math.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- the canonical request ---- */

Test(backend, canonical_json_is_fixed_to_the_byte)
{
    az_ctx *az = az_open(NULL);
    const az_message messages[] = {{"system", "be \"brief\""}, {"user", "h\xc3\xa9"}};
    az_request r = {.operation = AZ_CHAT,
                    .message = messages,
                    .messages = 2,
                    .max_tokens = 5,
                    .temperature = 0.1,
                    .seed = 3,
                    .stop = (const char *const[]){"\n"},
                    .stops = 1,
                    .samples = 4,
                    .stage = "a"};
    const char *text = az_request_json(az, &r, "m");
    cr_assert_str_eq(
        text, "{\"max_tokens\":5,\"messages\":[{\"content\":\"be \\\"brief\\\"\",\"role\":\"system\"},{\"content\":\"h\xc3\xa9\",\"role\":"
              "\"user\"}],\"model\":\"m\",\"op\":\"chat\",\"seed\":3,\"stop\":[\"\\n\"],\"temperature\":0.10000000000000001,\"top_k\":0,"
              "\"top_p\":0.0}");
    r.samples = 9, r.first = 2, r.stage = "b"; /* neither is part of the question */
    cr_assert_str_eq(az_request_json(az, &r, "m"), text);
    r.temperature = nextafter(0.1, 1);
    cr_assert_str_neq(az_request_json(az, &r, "m"), text);
    az_close(az);
}

Test(backend, requests_that_say_nothing_are_refused)
{
    const az_request bad[] = {
        {.operation = AZ_CHAT, .max_tokens = 5},
        {.operation = AZ_COMPLETE, .prompt = "a"},
        {.operation = AZ_COMPLETE, .prompt = "a", .max_tokens = 5, .temperature = NAN},
        {.operation = AZ_COMPLETE, .prompt = "a", .max_tokens = 5, .temperature = INFINITY},
        {.operation = AZ_COMPLETE, .prompt = "\xff", .max_tokens = 5},
        {.operation = AZ_SCORE, .prompt = "a"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        az_ctx *az = az_open(NULL);
        cr_assert_null(az_request_json(az, &bad[i], "m"), "request %zu", i);
        cr_assert(*az_error(az));
        az_close(az);
    }
}

Test(backend, sha256_of_the_standard)
{
    char hex[65];
    az_sha256("abc", 3, hex); /* FIPS 180-2, appendix B.1 */
    cr_assert_str_eq(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    cr_assert_neq(az_call_seed(1, "s", "id", 0), az_call_seed(1, "s", "id", 1));
    cr_assert_eq(az_call_seed(1, "s", "id", 0), az_call_seed(1, "s", "id", 0));
}

/* ---- the local engine ---- */

static az_backend *local(az_ctx *az, const az_backend_settings *settings)
{
    return az_backend_of_model(az, test_llama(az, false), "raw", "tiny", settings);
}

Test(backend, local_text_is_what_the_model_generates)
{
    az_ctx *az = az_open(NULL);
    const az_lm *lm = test_llama(az, false);
    az_backend *backend = az_backend_of_model(az, lm, "raw", NULL, NULL);
    const az_request r = {.operation = AZ_COMPLETE, .prompt = "the cat", .max_tokens = 12, .temperature = 1, .seed = 5, .samples = 3};
    const az_reply *reply = az_backend_ask(backend, &r);
    cr_assert_not_null(reply, "%s", az_error(az));
    const int flags = az_tokenizer_wants_bos(lm->tokenizer) ? AZ_ADD_BOS : 0;
    const az_tokens prompt = az_tokenize(az, lm->tokenizer, "the cat", 7, flags);
    const az_lm_generate_options how = {.max_tokens = 12, .samples = 3, .sampler = {.temperature = 1, .seed = 5}};
    const az_tokens *all = az_lm_generate(az, lm, &prompt, &how);
    for (int s = 0; s < 3; s++) cr_assert_eq(reply->sample[s].completion_tokens, all[s].n - prompt.n);
    cr_assert_eq(reply->sample[0].prompt_tokens, prompt.n);
    az_close(az);
}

Test(backend, local_samples_may_be_asked_in_parts)
{
    az_ctx *az = az_open(NULL);
    az_backend *backend = local(az, NULL);
    az_request r = {.operation = AZ_COMPLETE, .prompt = "a", .max_tokens = 10, .temperature = 1, .samples = 4};
    const az_reply *whole = az_backend_ask(backend, &r);
    r.first = 2, r.samples = 2;
    const az_reply *part = az_backend_ask(backend, &r);
    for (int s = 0; s < 2; s++) cr_assert_str_eq(part->sample[s].text, whole->sample[2 + s].text);
    az_close(az);
}

Test(backend, local_stops_before_the_text_that_ends_it)
{
    az_ctx *az = az_open(NULL);
    az_backend *backend = local(az, NULL);
    az_request r = {.operation = AZ_COMPLETE, .prompt = "a", .max_tokens = 24, .temperature = 1, .seed = 2};
    const char *whole = az_backend_ask(backend, &r)->sample[0].text;
    const char *letter = strpbrk(whole, "abcdefghijklmnopqrstuvwxyz");
    cr_assert_not_null(letter, "%s", whole);
    const char stop[2] = {*letter, '\0'};
    r.stop = (const char *const[]){stop}, r.stops = 1;
    const char *cut = az_backend_ask(backend, &r)->sample[0].text;
    cr_assert_eq(strlen(cut), strcspn(whole, stop));
    az_close(az);
}

Test(backend, local_scores_are_the_models_log_likelihoods)
{
    az_ctx *az = az_open(NULL);
    const az_lm *lm = test_llama(az, false);
    az_backend *backend = az_backend_of_model(az, lm, "raw", NULL, NULL);
    const az_request r = {.operation = AZ_SCORE, .prompt = "the cat", .continuation = " sat here"};
    const az_answer *a = &az_backend_ask(backend, &r)->sample[0];
    const int flags = az_tokenizer_wants_bos(lm->tokenizer) ? AZ_ADD_BOS : 0;
    const az_tokens prompt = az_tokenize(az, lm->tokenizer, "the cat", 7, flags), more = az_tokenize(az, lm->tokenizer, " sat here", 9, 0);
    int32_t id[64];
    memcpy(id, prompt.id, (size_t)prompt.n * sizeof *id);
    memcpy(id + prompt.n, more.id, (size_t)more.n * sizeof *id);
    const az_tokens all = {id, prompt.n + more.n};
    const double whole = az_lm_score_sequences(az, lm, &all, 1, true, NULL)->nll[0];
    const double first = prompt.n > 1 ? az_lm_score_sequences(az, lm, &prompt, 1, true, NULL)->nll[0] : 0;
    cr_assert_eq(a->n, more.n);
    cr_assert_float_eq(a->total, first - whole, 1e-4);
    az_close(az);
}

/* A tokenizer that begins every text with a blank does not double that of a continuation: the score is that of the two texts as one. */
Test(backend, local_scores_continue_the_text)
{
    az_ctx *az = az_open(NULL);
    const az_lm *lm = az_lm_load(az, test_data(az, "models/stories260K/stories260K.gguf"));
    cr_assert_not_null(lm, "%s", az_error(az));
    az_backend *backend = az_backend_of_model(az, lm, "raw", NULL, NULL);
    const az_request r = {.operation = AZ_SCORE, .prompt = "Once upon a time", .continuation = " there was"};
    const az_answer *a = &az_backend_ask(backend, &r)->sample[0];
    const az_tokens prompt = az_tokenize(az, lm->tokenizer, "Once upon a time", 16, AZ_ADD_BOS);
    const az_tokens whole = az_tokenize(az, lm->tokenizer, "Once upon a time there was", 26, AZ_ADD_BOS);
    const double both = az_lm_score_sequences(az, lm, &whole, 1, true, NULL)->nll[0];
    cr_assert_eq(a->n, whole.n - prompt.n);
    cr_assert_float_eq(a->total, az_lm_score_sequences(az, lm, &prompt, 1, true, NULL)->nll[0] - both, 1e-4);
    cr_assert_float_eq(a->total, -3.70036, 1e-4, "as computed by another program");
    az_close(az);
}

Test(backend, local_next_tokens_are_sorted_and_sum_to_one)
{
    az_ctx *az = az_open(NULL);
    az_backend *backend = local(az, NULL);
    const az_request r = {.operation = AZ_NEXT, .prompt = "the", .top = 100000};
    const az_answer *a = &az_backend_ask(backend, &r)->sample[0];
    double sum = 0;
    for (int i = 0; i < a->n; i++) {
        sum += exp(a->next[i].log_probability);
        if (i > 0) cr_assert_leq(a->next[i].log_probability, a->next[i - 1].log_probability);
    }
    cr_assert_float_eq(sum, 1, 1e-5);
    az_close(az);
}

Test(backend, a_prompt_beyond_the_context_is_the_failure_of_its_call)
{
    az_ctx *az = az_open(NULL);
    az_backend *backend = local(az, NULL);
    char *words = az_alloc(az, 20001);
    memset(words, 'z', 20000);
    const az_request r = {.operation = AZ_COMPLETE, .prompt = words, .max_tokens = 4};
    const az_answer *a = &az_backend_ask(backend, &r)->sample[0];
    cr_assert_not_null(strstr(a->failure, "tokens, the context of"), "%s", a->failure);
    cr_assert(az_ok(az));
    az_close(az);
}

/* ---- counting what is asked ---- */

typedef struct counted {
    int calls;
} counted;

/* "<text>/<sample>" */
static bool echo(az_ctx *az, const az_call_text *call, az_answer *answer, void *user)
{
    ((counted *)user)->calls++;
    answer->text = az_format_text(az, "%s/%d", call->text, call->sample);
    return true;
}

static az_request complete(const char *prompt, int samples)
{
    return (az_request){.operation = AZ_COMPLETE, .prompt = prompt, .max_tokens = 4, .samples = samples, .stage = "test"};
}

Test(backend, nothing_is_asked_twice)
{
    az_ctx *az = az_open(NULL);
    const char *db = test_path(az, test_folder(az), "replies.db");
    counted c = {0};
    az_backend *backend = az_backend_of_function(az, echo, &c, "echo", &(az_backend_settings){.cache = db});
    az_request r = complete("a", 8);
    az_backend_ask(backend, &r);
    cr_assert_eq(c.calls, 8);
    r.samples = 16; /* 16 after 8 cost 8 */
    const az_reply *reply = az_backend_ask(backend, &r);
    cr_assert_eq(c.calls, 16);
    cr_assert(reply->sample[7].cached && !reply->sample[8].cached);
    cr_assert_str_eq(reply->sample[7].text, "a/7");
    const az_request twins[] = {complete("b", 2), complete("b", 3)};
    az_reply both[2];
    cr_assert(az_backend_ask_all(backend, twins, 2, both), "%s", az_error(az));
    cr_assert_eq(c.calls, 19); /* the same question within one call is asked once, too */
    cr_assert_str_eq(both[1].sample[1].text, "b/1");
    const az_usage usage = az_backend_usage(backend);
    cr_assert_eq(usage.calls, 19);
    cr_assert_eq(usage.cached_calls, 10);
    az_close(az);
}

Test(backend, a_recording_answers_alone_and_shows_what_it_lacks)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az), *db = test_path(az, folder, "replies.db"), *lines = test_path(az, folder, "replies.jsonl");
    counted c = {0};
    az_scope_push(az);
    az_backend *backend = az_backend_of_function(az, echo, &c, "echo", &(az_backend_settings){.cache = db});
    const az_request r = complete("recorded", 2), other = complete("never asked", 1);
    az_backend_ask(backend, &r);
    az_scope_pop(az);
    FILE *out = fopen(lines, "w");
    cr_assert_eq(az_cache_export(az, db, out), 2);
    fclose(out);
    const char *const specs[] = {az_format_text(az, "replay:%s", db), az_format_text(az, "replay:%s", lines)};
    for (int i = 0; i < 2; i++) {
        az_backend *replay = az_backend_open(az, specs[i], NULL);
        const az_reply *reply = az_backend_ask(replay, &r);
        cr_assert_not_null(reply, "%s", az_error(az));
        cr_assert_str_eq(reply->sample[1].text, "recorded/1");
        cr_assert_null(az_backend_ask(replay, &other));
        cr_assert_not_null(strstr(az_error(az), "never asked"), "%s", az_error(az));
        az_clear(az);
    }
    cr_assert_eq(c.calls, 2);
    az_close(az);
}

Test(backend, an_import_checks_its_keys)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az), *lines = test_path(az, folder, "bad.jsonl");
    FILE *out = fopen(lines, "w");
    fputs("{\"key\":\"00\",\"sample\":0,\"model\":\"m\",\"op\":\"chat\",\"request\":\"{}\",\"reply\":{\"text\":\"x\"}}\n", out);
    fclose(out);
    cr_assert_eq(az_cache_import(az, test_path(az, folder, "a.db"), lines), -1);
    cr_assert_not_null(strstr(az_error(az), "line 1: the key is not the hash"), "%s", az_error(az));
    az_close(az);
}

Test(backend, another_file_is_not_taken_for_a_cache)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az), *file = test_path(az, folder, "text.db");
    FILE *out = fopen(file, "w");
    for (int i = 0; i < 200; i++) fputs("this is not a database\n", out);
    fclose(out);
    cr_assert_null(az_backend_of_function(az, echo, NULL, "echo", &(az_backend_settings){.cache = file}));
    cr_assert_not_null(strstr(az_error(az), file), "%s", az_error(az));
    az_close(az);
}

static const char *some_cache(az_ctx *az, const char *name)
{
    const char *db = test_path(az, test_folder(az), name);
    counted c = {0};
    az_scope_push(az);
    az_backend *backend = az_backend_of_function(az, echo, &c, "echo", &(az_backend_settings){.cache = db});
    for (int i = 0; i < 40; i++) {
        const az_request r = complete(az_format_text(az, "q%d", i), 1);
        az_backend_ask(backend, &r);
    }
    az_scope_pop(az);
    cr_assert(az_ok(az), "%s", az_error(az));
    return db;
}

/* Every byte behind the head is another one, or the end is missing. */
Test(backend, a_damaged_cache_is_told_and_left_alone)
{
    for (int turn = 0; turn < 2; turn++) {
        az_ctx *az = az_open(NULL);
        const char *db = some_cache(az, "replies.db");
        size_t length = 0;
        unsigned char *bytes = (unsigned char *)az_read_file(az, db, &length);
        for (size_t i = 4096; turn == 0 && i < length; i++) bytes[i] ^= 0x5a;
        if (turn == 1) length = 6000;
        FILE *out = fopen(db, "wb");
        fwrite(bytes, 1, length, out);
        fclose(out);
        const az_request r = complete("q1", 1);
        az_backend *backend = az_backend_of_function(az, echo, &(counted){0}, "echo", &(az_backend_settings){.cache = db});
        cr_assert(!backend || !az_backend_ask(backend, &r));
        cr_assert_not_null(strstr(az_error(az), "is no cache, or a damaged one"), "%s", az_error(az));
        az_clear(az);
        cr_assert_eq(az_cache_export(az, db, stderr), -1);
        az_clear(az);
        size_t after = 0;
        const char *same = az_read_file(az, db, &after);
        cr_assert(after == length && memcmp(same, bytes, length) == 0);
        az_close(az);
    }
}

/* A recording that belongs to somebody else is read where it lies. */
Test(backend, a_cache_that_cannot_be_written_is_replayed)
{
    az_ctx *az = az_open(NULL);
    const char *db = some_cache(az, "50% done?#.db");
    char *folder = az_strdup(az, db);
    *strrchr(folder, '/') = '\0';
    chmod(db, 0444);
    chmod(folder, 0555);
    const pid_t child = fork();
    if (child == 0) {
        if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)) _exit(9);
        az_ctx *own = az_open(&(az_settings){.threads = 1});
        counted c = {0};
        const az_request r = complete("q1", 1), other = complete("new", 1);
        az_backend *backend = az_backend_of_function(own, echo, &c, "echo", &(az_backend_settings){.cache = db, .replay = true});
        const az_reply *reply = az_backend_ask(backend, &r);
        if (!reply || strcmp(reply->sample[0].text, "q1/0") != 0) _exit(1);
        if (az_backend_ask(backend, &other)) _exit(2);
        az_clear(own);
        az_cache_size size = {0};
        if (!az_cache_stat(own, db, &size, NULL) || size.replies != 40) _exit(3);
        if (az_backend_of_function(own, echo, &c, "echo", &(az_backend_settings){.cache = db})) _exit(4);
        _exit(strstr(az_error(own), "with --replay it is only read") ? 0 : 5);
    }
    int status = 0;
    waitpid(child, &status, 0);
    chmod(folder, 0755);
    cr_assert_eq(WEXITSTATUS(status), 0);
    az_close(az);
}

/* While this one is answered, another process answers the same. */
static bool be_late(az_ctx *az, const az_call_text *call, az_answer *answer, void *user)
{
    az_ctx *other = az_open(&(az_settings){.threads = 1});
    counted c = {0};
    az_backend_ask(az_backend_of_function(other, echo, &c, "echo", &(az_backend_settings){.cache = user}), call->request);
    const bool good = az_ok(other);
    az_close(other);
    answer->text = az_strdup(az, "too late");
    return good;
}

Test(backend, what_is_said_is_what_the_cache_has)
{
    az_ctx *az = az_open(NULL);
    const char *db = test_path(az, test_folder(az), "replies.db");
    az_backend *backend = az_backend_of_function(az, be_late, (void *)db, "echo", &(az_backend_settings){.cache = db});
    const az_request r = complete("a", 1);
    const az_reply *reply = az_backend_ask(backend, &r);
    cr_assert_not_null(reply, "%s", az_error(az));
    cr_assert_str_eq(reply->sample[0].text, "a/0");
    cr_assert_not(reply->sample[0].cached); /* it was paid */
    cr_assert_eq(az_backend_usage(backend).calls, 1);
    az_close(az);
}

Test(backend, a_cache_of_another_version_is_refused)
{
    az_ctx *az = az_open(NULL);
    const char *db = some_cache(az, "replies.db");
    sqlite3 *open = NULL;
    cr_assert_eq(sqlite3_open(db, &open), SQLITE_OK);
    sqlite3_exec(open, "UPDATE meta SET v = '7'", NULL, NULL, NULL);
    sqlite3_close(open);
    const char *const spec[] = {"oracle:arith", az_format_text(az, "replay:%s", db)};
    for (int i = 0; i < 2; i++) {
        cr_assert_null(az_backend_open(az, spec[i], &(az_backend_settings){.cache = db}));
        cr_assert_not_null(strstr(az_error(az), "has the schema 7, this program writes 1; export it"), "%s", az_error(az));
        az_clear(az);
    }
    az_close(az);
}

Test(backend, a_dry_run_makes_no_cache)
{
    az_ctx *az = az_open(NULL);
    const char *db = test_path(az, test_folder(az), "replies.db");
    const az_request r = complete("a", 1);
    cr_assert_not_null(az_backend_ask(az_backend_open(az, "oracle:arith", &(az_backend_settings){.cache = db, .dry_run = true}), &r));
    cr_assert_neq(access(db, F_OK), 0);
    cr_assert_null(az_backend_open(az, "oracle:arith", &(az_backend_settings){.cache = db, .replay = true}));
    cr_assert_not_null(strstr(az_error(az), "there is no cache"), "%s", az_error(az));
    cr_assert_neq(access(db, F_OK), 0);
    az_close(az);
}

enum { WRITERS = 2, QUESTIONS = 100 };

static int ask_many(const char *db, int writer)
{
    az_ctx *az = az_open(&(az_settings){.threads = 1});
    counted c = {0};
    az_backend *backend = az_backend_of_function(az, echo, &c, "echo", &(az_backend_settings){.cache = db});
    for (int i = 0; i < QUESTIONS && az_ok(az); i++) {
        const az_request r = complete(az_format_text(az, "q%d", i + writer * QUESTIONS / 2), 2);
        az_backend_ask(backend, &r);
    }
    const bool good = az_ok(az);
    if (!good) fprintf(stderr, "%s\n", az_error(az));
    az_close(az);
    return good ? 0 : 1;
}

Test(backend, two_processes_share_a_cache)
{
    az_ctx *az = az_open(NULL);
    const char *db = test_path(az, test_folder(az), "replies.db");
    pid_t child[WRITERS];
    for (int w = 0; w < WRITERS; w++) {
        child[w] = fork();
        if (child[w] == 0) _exit(ask_many(db, w));
    }
    for (int w = 0; w < WRITERS; w++) {
        int status = 0;
        waitpid(child[w], &status, 0);
        cr_assert_eq(status, 0);
    }
    az_cache_size size;
    cr_assert(az_cache_stat(az, db, &size, NULL), "%s", az_error(az));
    cr_assert_eq(size.replies, 2 * (QUESTIONS + QUESTIONS / 2)); /* every question once, none lost */
    az_close(az);
}

Test(backend, budgets_of_tokens_and_cost_stop_before_the_call)
{
    az_ctx *az = az_open(NULL);
    const char *prices = test_path(az, test_folder(az), "prices.json");
    FILE *out = fopen(prices, "w");
    fputs("{\"echo\": {\"prompt\": 1000000, \"completion\": 2000000}}", out); /* 1 and 2 a token */
    fclose(out);
    counted c = {0};
    const az_request r = complete("abcdefgh", 10); /* at most 3 + 4 tokens each: 3 + 8 of cost; 3 + 3 tokens in fact */
    az_backend *by_tokens = az_backend_of_function(az, echo, &c, "echo", &(az_backend_settings){.max_tokens = 20});
    cr_assert_null(az_backend_ask(by_tokens, &r));
    cr_assert(az_backend_exhausted(by_tokens));
    cr_assert_eq(c.calls, 3); /* 12 used + 7 fit, 18 + 7 do not */
    az_clear(az);
    az_backend *by_cost = az_backend_of_function(az, echo, &c, "echo", &(az_backend_settings){.max_cost = 30, .prices = prices});
    cr_assert_null(az_backend_ask(by_cost, &r));
    cr_assert_eq(az_backend_usage(by_cost).calls, 3); /* 18 + 11 fit, 27 + 11 do not */
    cr_assert_float_eq(az_backend_usage(by_cost).cost, 27, 1e-9);
    az_clear(az);
    cr_assert_null(az_backend_of_function(az, echo, &c, "unknown", &(az_backend_settings){.max_cost = 30, .prices = prices}));
    cr_assert_not_null(strstr(az_error(az), "needs the price of 'unknown'"), "%s", az_error(az));
    az_close(az);
}

Test(backend, what_is_lacking_is_told_before_the_first_call)
{
    az_ctx *az = az_open(NULL);
    counted c = {0};
    az_backend *backend = az_backend_of_function(az, echo, &c, "echo", NULL);
    cr_assert(az_backend_need(backend, AZ_CAN_CHAT | AZ_CAN_SCORE, "this method"));
    cr_assert_not(az_backend_need(backend, AZ_CAN_CHAT | AZ_CAN_INSPECT, "this method"));
    cr_assert_str_eq(az_error(az), "this method needs a look inside the model, which the backend 'echo' does not give");
    az_close(az);
}

static bool third_time(az_ctx *az, const az_answer *answer, void *user)
{
    (void)az, (void)user;
    return strstr(answer->text, "/2") != NULL;
}

Test(backend, a_reply_that_does_not_parse_is_asked_again)
{
    az_ctx *az = az_open(NULL);
    counted c = {0};
    az_backend *backend = az_backend_of_function(az, echo, &c, "echo", NULL);
    const az_request r = complete("a", 1);
    az_reading enough = {.again = 2, .parse = third_time}, short_of = {.again = 1, .parse = third_time};
    cr_assert_str_eq(az_backend_ask_parsed(backend, &r, &enough)->text, "a/2");
    cr_assert(enough.done);
    cr_assert_str_eq(az_backend_ask_parsed(backend, &r, &short_of)->text, "a/1"); /* the raw text is kept */
    cr_assert_not(short_of.done);
    cr_assert_eq(c.calls, 5);
    az_close(az);
}

Test(backend, a_dry_run_counts_what_the_cache_lacks)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az), *db = test_path(az, folder, "replies.db"), *prices = test_path(az, folder, "prices.json");
    FILE *out = fopen(prices, "w");
    fputs("{\"echo\": {\"prompt\": 1000000, \"completion\": 2000000}}", out); /* 1 and 2 a token */
    fclose(out);
    counted c = {0};
    const az_request r = complete("abcdefgh", 2), more = complete("abcdefgh", 5);
    az_backend_ask(az_backend_of_function(az, echo, &c, "echo", &(az_backend_settings){.cache = db}), &r);
    const az_backend_settings how = {.cache = db, .prices = prices, .dry_run = true};
    az_backend *backend = az_backend_of_function(az, echo, &c, "echo", &how);
    const az_reply *reply = az_backend_ask(backend, &more);
    cr_assert_not_null(reply, "%s", az_error(az));
    cr_assert_eq(c.calls, 2); /* nobody was asked */
    cr_assert_str_eq(reply->sample[1].text, "abcdefgh/1");
    cr_assert_str_neq(reply->sample[2].text, reply->sample[3].text);
    const az_usage usage = az_backend_usage(backend);
    cr_assert_eq(usage.calls, 3);
    cr_assert_eq(usage.cached_calls, 2);
    cr_assert_eq(usage.completion_tokens, 3 * 4); /* as many as are allowed */
    cr_assert(usage.estimated);
    cr_assert_float_eq(usage.cost, 3 * (3 + 2 * 4), 1e-9);
    az_reading reading = {.again = 2, .parse = third_time};
    const az_request other = complete("b", 1);
    cr_assert_not_null(az_backend_ask_parsed(backend, &other, &reading));
    cr_assert_eq(az_backend_usage(backend).calls, 4); /* whether it would be asked again is not known */
    az_cache_size size;
    cr_assert(az_cache_stat(az, db, &size, NULL));
    cr_assert_eq(size.replies, 2); /* nothing was kept */
    az_close(az);
}

Test(backend, a_dry_run_needs_no_server)
{
    az_ctx *az = az_open(NULL);
    az_backend *backend = az_backend_open(az, "http://127.0.0.1:9/v1#model", &(az_backend_settings){.dry_run = true});
    const az_message message = {.role = "user", .text = "twelve bytes"};
    const az_request all[] = {{.operation = AZ_CHAT, .message = &message, .messages = 1, .max_tokens = 7},
                              {.operation = AZ_SCORE, .prompt = "a", .continuation = "b"},
                              {.operation = AZ_NEXT, .prompt = "a"},
                              {.operation = AZ_EMBED, .prompt = "a"}};
    az_reply reply[4];
    cr_assert(az_backend_ask_all(backend, all, 4, reply), "%s", az_error(az));
    cr_assert_eq(az_backend_usage(backend).completion_tokens, 7 + 1);
    for (int i = 0; i < 4; i++) cr_assert_null(reply[i].sample[0].failure);
    az_close(az);
}

/* ---- the record of a run ---- */

Test(backend, runs_are_recorded_one_behind_the_other)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az), *path = test_path(az, folder, "run.json"), *input = test_path(az, folder, "input");
    FILE *out = fopen(input, "w");
    fputs("abc", out);
    fclose(out);
    counted c = {0};
    az_backend *backend = az_backend_of_function(az, echo, &c, "echo", NULL);
    const az_request r = complete("a", 2);
    az_backend_ask(backend, &r);
    const az_backend_settings how = {.jobs = 3};
    const az_run_settings settings = {"backend", az_backend_options, &how};
    az_run_record record = {.task = "a test",
                            .status = "done",
                            .input = input,
                            .settings = &settings,
                            .n_settings = 1,
                            .backend = (const az_backend *const[]){backend, NULL},
                            .backends = 2,
                            .seed = 5};
    cr_assert(az_run_record_add(az, &record, path), "%s", az_error(az));
    cr_assert(az_run_record_add(az, &record, path), "%s", az_error(az));
    record.seed = 6;
    cr_assert(az_run_record_add(az, &record, path), "%s", az_error(az));
    json_t *all = json_load_file(path, 0, NULL), *runs = json_object_get(all, "runs");
    cr_assert_eq(json_array_size(runs), 3);
    const json_t *first = json_array_get(runs, 0), *asked = json_array_get(json_object_get(first, "backends"), 0);
    cr_assert_eq(json_array_size(json_object_get(first, "backends")), 1);
    cr_assert_str_eq(json_string_value(json_object_get(json_object_get(first, "input"), "sha256")),
                     "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    cr_assert_eq(json_integer_value(json_object_get(json_object_get(asked, "usage"), "calls")), 2);
    cr_assert_eq(json_integer_value(json_object_get(json_object_get(json_object_get(asked, "stages"), "test"), "calls")), 2);
    cr_assert_eq(json_integer_value(json_object_get(json_object_get(json_object_get(first, "settings"), "backend"), "jobs")), 3);
    const char *hash[3];
    for (size_t i = 0; i < 3; i++) hash[i] = json_string_value(json_object_get(json_array_get(runs, i), "config_sha256"));
    cr_assert_str_eq(hash[0], hash[1]);
    cr_assert_str_neq(hash[0], hash[2]);
    json_decref(all);
    cr_assert_not(az_run_record_add(az, &record, input)); /* another file is left alone */
    cr_assert_not_null(strstr(az_error(az), "is no record of runs"), "%s", az_error(az));
    az_close(az);
}

/* ---- programs ---- */

static const char *write_program(az_ctx *az, const char *folder, const char *text)
{
    const char *path = test_path(az, folder, "program");
    FILE *out = fopen(path, "w");
    fputs(text, out);
    fclose(out);
    chmod(path, 0755);
    return az_format_text(az, "exec:%s", path);
}

Test(backend, a_program_answers_lines)
{
    az_ctx *az = az_open(NULL);
    const char *spec = write_program(az, test_folder(az),
                                     "#!/bin/sh\nwhile read -r line; do case $line in *fail*) echo '{\"error\":\"will not\"}' ;; "
                                     "*junk*) echo nonsense ;; *) echo '{\"text\":\"heard\"}' ;; esac; done\n");
    az_backend *backend = az_backend_open(az, spec, NULL);
    const az_request r[] = {complete("hello", 2), complete("fail", 1), complete("junk", 1)};
    az_reply reply[3];
    cr_assert(az_backend_ask_all(backend, r, 3, reply), "%s", az_error(az));
    cr_assert_str_eq(reply[0].sample[1].text, "heard");
    cr_assert_not_null(strstr(reply[1].sample[0].failure, "will not"));
    cr_assert_not_null(strstr(reply[2].sample[0].failure, "cannot be read"));
    az_close(az);
}

Test(backend, an_answer_holds_one_list)
{
    az_ctx *az = az_open(NULL);
    const char *spec =
        write_program(az, test_folder(az), "#!/bin/sh\nwhile read -r line; do echo '{\"next\":[[\"a\",-2]],\"vector\":[1,5,7]}'; done\n");
    az_backend *backend = az_backend_open(az, spec, NULL);
    const az_request r = complete("hello", 1);
    const az_reply *reply = az_backend_ask(backend, &r);
    cr_assert_not_null(reply, "%s", az_error(az));
    cr_assert_not_null(strstr(reply->sample[0].failure, "more than one of"), "%s", reply->sample[0].failure);
    az_close(az);
}

Test(backend, a_program_that_ends_or_hangs_is_a_failure)
{
    static const char *const programs[] = {"#!/bin/sh\nexit 0\n", "#!/bin/sh\nread -r line\nexec sleep 30\n"};
    for (int i = 0; i < 2; i++) {
        az_ctx *az = az_open(NULL);
        az_backend *backend = az_backend_open(az, write_program(az, test_folder(az), programs[i]), &(az_backend_settings){.timeout = 0.3});
        const az_request r = complete("hello", 1);
        const az_reply *reply = az_backend_ask(backend, &r);
        cr_assert_not_null(reply, "%s", az_error(az));
        cr_assert_not_null(reply->sample[0].failure);
        az_close(az);
    }
}

Test(backend, specs_that_name_nothing)
{
    const struct {
        const char *spec, *why;
    } bad[] = {
        {"gpt", "names no backend"},         {"oracle:nobody", "there is no oracle"},    {"oracle:arith?x=1", "no parameter 'x'"},
        {"oracle:arith?e=2", "from 0 to 1"}, {"replay:/nowhere/a.db", "no recording"},   {"exec:/nowhere/program", "cannot run"},
        {"http://host/v1", "write http://"}, {"local:/nowhere/model.gguf", "/nowhere/"}, {"local:?ctx=4", "no name"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        az_ctx *az = az_open(NULL);
        cr_assert_null(az_backend_open(az, bad[i].spec, NULL), "%s", bad[i].spec);
        cr_assert_not_null(strstr(az_error(az), bad[i].why), "%s: %s", bad[i].spec, az_error(az));
        az_close(az);
    }
}
