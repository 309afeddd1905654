/* Servers: what is asked, what is made of replies of every kind, and how often it is tried. */
#include "adze/backend.h"
#include "support/folder.h"
#include "support/stub_server.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char good_body[] = "{\"choices\":[{\"message\":{\"role\":\"assistant\",\"content\":\"four\"},\"finish_reason\":\"stop\"}],"
                                "\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2}}";
static const az_backend_settings quick = {.wait = 0.001, .timeout = 5};
static const az_message question = {"user", "What is 2 + 2?"};

static az_request chat(int samples)
{
    return (az_request){.operation = AZ_CHAT, .message = &question, .messages = 1, .max_tokens = 8, .samples = samples};
}

/* Asks the script's server once. */
static const az_answer *ask_script(az_ctx *az, const stub_reply *script, int n, stub_server **server)
{
    *server = stub_start(az, script, n);
    az_backend *backend = az_backend_open(az, stub_spec(az, *server), &quick);
    const az_request request = chat(1);
    const az_reply *reply = az_backend_ask(backend, &request);
    return reply ? &reply->sample[0] : NULL;
}

Test(backend_http, a_chat_is_asked_and_read_as_the_protocol_says)
{
    az_ctx *az = az_open(NULL);
    setenv("TEST_KEY", "secret", 1);
    stub_server *server = stub_start(az, &(stub_reply){.body = good_body}, 1);
    az_backend_settings with_key = quick;
    with_key.key_env = "TEST_KEY";
    az_backend *backend = az_backend_open(az, stub_spec(az, server), &with_key);
    az_request request = chat(1);
    request.stop = (const char *const[]){"\n"}, request.stops = 1, request.seed = 11, request.temperature = 0.5;
    const az_reply *reply = az_backend_ask(backend, &request);
    cr_assert_not_null(reply, "%s", az_error(az));
    cr_assert_str_eq(reply->sample[0].text, "four");
    cr_assert_eq(reply->sample[0].prompt_tokens, 7);
    cr_assert_eq(reply->sample[0].completion_tokens, 2);
    cr_assert_not(reply->sample[0].estimated);
    cr_assert_str_eq(stub_path(server, 0), "/v1/chat/completions");
    cr_assert_str_eq(stub_authorization(server, 0), "Bearer secret");
    cr_assert_str_eq(stub_body(server, 0),
                     "{\"max_tokens\":8,\"messages\":[{\"content\":\"What is 2 + 2?\",\"role\":\"user\"}],\"model\":\"small\","
                     "\"seed\":11,\"stop\":[\"\\n\"],\"temperature\":0.5}");
    az_close(az);
}

/* The first bytes of a PNG file, and them as a data URL. */
static const char png[] = "\x89PNG\r\n\x1a\n", png_url[] = "data:image/png;base64,iVBORw0KGgo=";

static const char *file_of(az_ctx *az, const char *name, const char *bytes, size_t n)
{
    const char *path = test_path(az, test_folder(az), name);
    FILE *file = fopen(path, "wb");
    cr_assert(file && fwrite(bytes, 1, n, file) == n && fclose(file) == 0);
    return path;
}

Test(backend_http, images_are_parts_of_a_message)
{
    az_ctx *az = az_open(NULL);
    const char *url = az_image_url(az, file_of(az, "dot.png", png, sizeof png - 1));
    cr_assert_not_null(url, "%s", az_error(az));
    cr_assert_str_eq(url, png_url);
    const az_part part[] = {{.text = "What is"}, {.image = url}, {.text = "beside"}, {.image = "https://host/a.jpg"}};
    const az_message seen = {.role = "user", .part = part, .parts = 4};
    az_request request = chat(1);
    request.message = &seen;
    stub_server *server = stub_start(az, &(stub_reply){.body = good_body}, 1);
    az_backend_settings kept = quick;
    kept.cache = test_path(az, test_folder(az), "replies.db");
    az_backend *backend = az_backend_open(az, stub_spec(az, server), &kept);
    for (int again = 0; again < 2; again++) {
        const az_reply *reply = az_backend_ask(backend, &request);
        cr_assert(reply && !reply->sample[0].failure, "%s", az_error(az));
        cr_assert_eq(reply->sample[0].cached, again == 1);
    }
    cr_assert_eq(stub_requests(server), 1);
    cr_assert_str_eq(stub_body(server, 0),
                     "{\"max_tokens\":8,\"messages\":[{\"content\":[{\"text\":\"What is\",\"type\":\"text\"},"
                     "{\"image_url\":{\"url\":\"data:image/png;base64,iVBORw0KGgo=\"},\"type\":\"image_url\"},"
                     "{\"text\":\"beside\",\"type\":\"text\"},{\"image_url\":{\"url\":\"https://host/a.jpg\"},\"type\":\"image_url\"}],"
                     "\"role\":\"user\"}],\"model\":\"small\",\"seed\":0,\"temperature\":0.0}");
    /* the key has the hash of the bytes, not the bytes */
    char hash[65];
    az_sha256(png, sizeof png - 1, hash);
    const char *json = az_request_json(az, &request, "small");
    cr_assert_not_null(strstr(json, az_format_text(az, "{\"image\":\"sha256:%s\"}", hash)), "%s", json);
    cr_assert_null(strstr(json, "base64"));
    /* a dry run counts 1024 tokens an image */
    az_backend *dry = az_backend_open(az, stub_spec(az, server), &(az_backend_settings){.dry_run = true});
    cr_assert_geq(az_backend_ask(dry, &request)->sample[0].prompt_tokens, 2 * 1024);
    az_close(az);
}

Test(backend_http, what_is_no_image_or_sees_none_is_told)
{
    az_ctx *az = az_open(NULL);
    const char *const wrong[][2] = {{file_of(az, "dot.txt", "text", 4), "is no PNG, JPEG, GIF or WebP image"},
                                    {"/nowhere/a.png", "/nowhere/a.png"},
                                    {"data:text/plain;base64,AAAA", "neither an address"},
                                    {"data:image/png;base64,A*AA", "no base64"},
                                    {"data:image/png;base64,", "no base64"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        cr_assert_null(az_image_url(az, wrong[i][0]));
        cr_assert(strstr(az_error(az), wrong[i][1]), "%s", az_error(az));
        az_clear(az);
    }
    const az_part part[] = {{.text = "1 + 1"}, {.image = png_url}};
    const az_message seen = {.role = "user", .part = part, .parts = 2};
    az_request request = chat(1);
    request.message = &seen;
    az_backend *oracle = az_backend_open(az, "oracle:arith", NULL);
    cr_assert_null(az_backend_ask(oracle, &request));
    cr_assert(strstr(az_error(az), "needs a model that sees images, which the backend 'oracle:arith' does not give"), "%s", az_error(az));
    az_clear(az);
    const az_message text = {.role = "user", .part = part, .parts = 1}; /* parts of text are a text */
    request.message = &text;
    const az_reply *reply = az_backend_ask(oracle, &request);
    cr_assert(reply && strstr(reply->sample[0].text, "2"), "%s", az_error(az));
    az_close(az);
}

Test(backend_http, samples_are_calls_with_seeds_of_their_own)
{
    az_ctx *az = az_open(NULL);
    stub_server *server = stub_start(az, &(stub_reply){.body = good_body}, 1);
    az_backend_settings one_job = quick;
    one_job.jobs = 1;
    az_backend *backend = az_backend_open(az, stub_spec(az, server), &one_job);
    const az_request request = chat(3);
    const az_reply *reply = az_backend_ask(backend, &request);
    cr_assert_eq(reply->n, 3);
    cr_assert_eq(stub_requests(server), 3);
    for (int i = 0; i < 3; i++) cr_assert_not_null(strstr(stub_body(server, i), az_format_text(az, "\"seed\":%d", i)));
    az_close(az);
}

Test(backend_http, retries_wait_as_they_are_told)
{
    az_ctx *az = az_open(NULL);
    stub_server *server;
    const double began = az_seconds();
    const az_answer *a =
        ask_script(az, (const stub_reply[]){{.status = 429, .retry_after = "1", .body = "{}"}, {.body = good_body}}, 2, &server);
    cr_assert_str_eq(a->text, "four");
    cr_assert_eq(stub_requests(server), 2);
    cr_assert_geq(az_seconds() - began, 1.0); /* the server's word, not the wait of 0.001 s */
    az_close(az);
}

Test(backend_http, six_tries_are_all)
{
    az_ctx *az = az_open(NULL);
    stub_server *server;
    const az_answer *a = ask_script(az, &(stub_reply){.status = 500, .body = "{\"error\":{\"message\":\"on fire\"}}"}, 1, &server);
    cr_assert_eq(stub_requests(server), 6);
    cr_assert_null(a->text);
    cr_assert_not_null(strstr(a->failure, "after 6 tries: status 500: on fire"), "%s", a->failure);
    cr_assert(az_ok(az));
    az_close(az);
}

Test(backend_http, a_refused_key_ends_everything_and_is_not_told)
{
    az_ctx *az = az_open(NULL);
    setenv("ADZE_API_KEY", "very-secret", 1);
    stub_server *server;
    cr_assert_null(ask_script(az, &(stub_reply){.status = 401, .body = "{\"error\":{\"message\":\"bad key\"}}"}, 1, &server));
    cr_assert_eq(stub_requests(server), 1);
    cr_assert_not_null(strstr(az_error(az), "status 401: bad key"), "%s", az_error(az));
    cr_assert_null(strstr(az_error(az), "very-secret"));
    az_close(az);
}

Test(backend_http, a_bad_request_is_the_failure_of_its_call)
{
    az_ctx *az = az_open(NULL);
    stub_server *server;
    const az_answer *a =
        ask_script(az, &(stub_reply){.status = 400, .body = "{\"error\":{\"message\":\"context of 10 tokens\"}}"}, 1, &server);
    cr_assert_eq(stub_requests(server), 1);
    cr_assert_not_null(strstr(a->failure, "context of 10 tokens"), "%s", a->failure);
    az_close(az);
}

Test(backend_http, replies_that_cannot_be_read_are_failures)
{
    static const char *const bodies[][2] = {
        {"", "cannot be read"},
        {"{", "cannot be read"},
        {"<html>Welcome</html>", "cannot be read"},
        {"[]", "it is not an object"},
        {"null", "it is not an object"},
        {"{\"error\":{\"message\":\"no such model\"}}", "the server says: no such model"},
        {"{\"choices\":[]}", "it holds no choices"},
        {"{\"choices\":[{\"message\":{\"content\":3}}]}", "it holds no text"},
        {"{\"choices\":[{\"message\":{\"content\":null},\"finish_reason\":\"content_filter\"}]}",
         "no text (finish_reason: content_filter)"},
        {"{\"choices\":[{\"message\":{\"content\":\"a\\u0000b\"}}]}", "holds a zero byte"},
        {"{\"choices\":[{\"message\":{\"content\":\"a\"},\"finish_reason\":\"content_filter\"}]}", "filter cut its text"},
        {"{\"detail\":\"model \\u001b[31mis loading\"}", "the server says: model  [31mis loading"},
        {"{\"choices\":[{\"message\":{\"content\":\"\xff\xfe\"}}]}", "unable to decode"}};
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        az_ctx *az = az_open(NULL);
        stub_server *server;
        const az_answer *a = ask_script(az, &(stub_reply){.body = bodies[i][0]}, 1, &server);
        cr_assert_not_null(a, "%s", az_error(az));
        cr_assert_not_null(a->failure, "body %zu", i);
        cr_assert_not_null(strstr(a->failure, bodies[i][1]), "%s", a->failure);
        az_close(az);
    }
}

Test(backend_http, a_reply_of_another_kind_is_told)
{
    az_ctx *az = az_open(NULL);
    stub_server *server;
    const az_answer *a = ask_script(az, &(stub_reply){.body = "data: {\"choices\":[]}\n\n", .type = "text/event-stream"}, 1, &server);
    cr_assert_not_null(strstr(a->failure, "cannot be read: invalid token near 'data' (content type: text/event-stream)"), "%s", a->failure);
    a = ask_script(az, &(stub_reply){.body = good_body, .type = "text/html"}, 1, &server);
    cr_assert_str_eq(a->text, "four"); /* what it is counts, not what it is called */
    az_close(az);
}

/* Neither printed nor kept, whatever a server makes of it. */
Test(backend_http, a_key_that_a_reply_repeats_is_struck_out)
{
    az_ctx *az = az_open(NULL);
    setenv("ADZE_API_KEY", "sk-very-secret-key", 1);
    const char *db = test_path(az, test_folder(az), "replies.db");
    static const char text[] = "{\"choices\":[{\"message\":{\"content\":\"sk-very-secret-key, sk-very-secret-key\"}}]}";
    static const char error[] = "{\"error\":{\"message\":\"Bearer sk-very-secret-key is no key\"}}";
    stub_server *server =
        stub_start(az, (const stub_reply[]){{.body = text}, {.status = 400, .body = error}, {.status = 401, .body = error}}, 3);
    az_backend_settings kept = quick;
    kept.cache = db;
    az_backend *backend = az_backend_open(az, stub_spec(az, server), &kept);
    az_request request = chat(1);
    cr_assert_str_eq(az_backend_ask(backend, &request)->sample[0].text, "******************, ******************");
    request.first = 1;
    cr_assert_not_null(strstr(az_backend_ask(backend, &request)->sample[0].failure, "Bearer ****************** is no key"));
    request.first = 2;
    cr_assert_null(az_backend_ask(backend, &request));
    cr_assert_not_null(strstr(az_error(az), "Bearer ****************** is no key"), "%s", az_error(az));
    az_clear(az);
    setenv("ADZE_API_KEY", "four", 1); /* a word, such as servers without keys are given */
    server = stub_start(az, &(stub_reply){.body = good_body}, 1);
    cr_assert_str_eq(az_backend_ask(az_backend_open(az, stub_spec(az, server), &quick), &request)->sample[0].text, "four");
    az_close(az);
}

Test(backend_http, a_key_with_a_line_end_is_told)
{
    az_ctx *az = az_open(NULL);
    setenv("ADZE_API_KEY", "sk-very-secret-key\n", 1);
    cr_assert_null(az_backend_open(az, "http://127.0.0.1:1/v1#small", &quick));
    cr_assert_not_null(strstr(az_error(az), "ADZE_API_KEY holds a line end"), "%s", az_error(az));
    cr_assert_null(strstr(az_error(az), "secret"));
    az_close(az);
}

/* So that budgets hold where a server tells nothing, or nonsense. */
Test(backend_http, tokens_that_are_not_told_are_estimated)
{
    static const char *const usage[] = {"null", "{}", "{\"prompt_tokens\":-3,\"completion_tokens\":\"2\"}",
                                        "{\"prompt_tokens\":9223372036854775807,\"completion_tokens\":1e300}"};
    for (size_t i = 0; i < sizeof usage / sizeof *usage; i++) {
        az_ctx *az = az_open(NULL);
        const char *body = az_format_text(az, "{\"choices\":[{\"message\":{\"content\":\"twelve bytes\"}}],\"usage\":%s}", usage[i]);
        stub_server *server = stub_start(az, &(stub_reply){.body = body}, 1);
        az_backend_settings few = quick;
        few.max_tokens = 30, few.jobs = 1;
        az_backend *backend = az_backend_open(az, stub_spec(az, server), &few);
        const az_request request = chat(9);
        cr_assert_null(az_backend_ask(backend, &request));
        cr_assert(az_backend_exhausted(backend), "%s", az_error(az));
        cr_assert_eq(stub_requests(server), 2); /* 6 + 4 tokens each, and 6 + 8 have to fit before a call */
        cr_assert(az_backend_usage(backend).estimated);
        cr_assert_eq(az_backend_usage(backend).prompt_tokens, 2 * 6);
        cr_assert_eq(az_backend_usage(backend).completion_tokens, 2 * 4);
        az_close(az);
    }
}

Test(backend_http, deep_nesting_is_refused)
{
    az_ctx *az = az_open(NULL);
    stub_server *server;
    char deep[4001];
    memset(deep, '[', 4000);
    deep[4000] = '\0';
    const az_answer *a = ask_script(az, &(stub_reply){.body = deep}, 1, &server);
    cr_assert_not_null(strstr(a->failure, "nested too deeply"), "%s", a->failure);
    az_close(az);
}

Test(backend_http, chunked_and_long_bodies_arrive_whole)
{
    az_ctx *az = az_open(NULL);
    stub_server *server;
    const az_answer *a = ask_script(az, &(stub_reply){.body = good_body, .chunked = true}, 1, &server);
    cr_assert_str_eq(a->text, "four");
    enum { LONG = 10 << 20 };
    static const char head[] = "{\"choices\":[{\"message\":{\"content\":\"", tail[] = "\"},\"finish_reason\":\"length\"}]}";
    char *body = az_alloc(az, LONG + 200);
    strcpy(body, head);
    memset(body + sizeof head - 1, 'x', LONG);
    strcpy(body + sizeof head - 1 + LONG, tail);
    a = ask_script(az, &(stub_reply){.body = body}, 1, &server);
    cr_assert_null(a->failure, "%s", a->failure);
    cr_assert_eq(strlen(a->text), LONG);
    cr_assert_str_eq(a->finish, "length");
    cr_assert(a->estimated); /* the server told no usage */
    az_close(az);
}

Test(backend_http, a_connection_that_breaks_is_tried_again)
{
    az_ctx *az = az_open(NULL);
    stub_server *server;
    const az_answer *a = ask_script(az, (const stub_reply[]){{.body = good_body, .truncated = true}, {.body = good_body}}, 2, &server);
    cr_assert_null(a->failure, "%s", a->failure);
    cr_assert_eq(stub_requests(server), 2);
    az_close(az);
}

Test(backend_http, slow_bytes_end_at_the_deadline)
{
    az_ctx *az = az_open(NULL);
    stub_server *server = stub_start(az, (const stub_reply[]){{.body = good_body, .pause = 0.02}, {.body = good_body}}, 2);
    az_backend *backend = az_backend_open(az, stub_spec(az, server), &(az_backend_settings){.wait = 0.001, .timeout = 0.3});
    const az_request request = chat(1);
    const az_reply *reply = az_backend_ask(backend, &request);
    cr_assert_str_eq(reply->sample[0].text, "four"); /* of the second try */
    cr_assert_eq(stub_requests(server), 2);
    az_close(az);
}

Test(backend_http, a_server_that_cannot_be_reached_ends_everything)
{
    static const char *const nowhere[][2] = {{"http://127.0.0.1:1/v1#small", "http://127.0.0.1:1/v1 cannot be reached (tries: 6)"},
                                             {"http://[::1/v1#small", "cannot be reached (tries: 1)"}};
    for (size_t i = 0; i < sizeof nowhere / sizeof *nowhere; i++) {
        az_ctx *az = az_open(NULL);
        az_backend *backend = az_backend_open(az, nowhere[i][0], &quick);
        const az_request request = chat(3);
        cr_assert_null(az_backend_ask(backend, &request));
        cr_assert_not_null(strstr(az_error(az), nowhere[i][1]), "%s", az_error(az));
        cr_assert_not_null(strstr(az_error(az), "is the server running"), "%s", az_error(az));
        az_close(az);
    }
}

Test(backend_http, a_spec_names_its_model)
{
    az_ctx *az = az_open(NULL);
    cr_assert_null(az_backend_open(az, "http://127.0.0.1:1/v1", &quick));
    cr_assert_not_null(strstr(az_error(az), "#MODEL"), "%s", az_error(az));
    az_close(az);
}

Test(backend_http, a_redirection_is_told_and_not_followed)
{
    az_ctx *az = az_open(NULL);
    stub_server *server;
    cr_assert_null(ask_script(az, &(stub_reply){.status = 308, .location = "http://elsewhere/v1", .body = ""}, 1, &server));
    cr_assert_eq(stub_requests(server), 1);
    cr_assert_not_null(strstr(az_error(az), "'http://elsewhere/v1'; redirections are not followed"), "%s", az_error(az));
    az_close(az);
}

Test(backend_http, a_deadline_that_passes_six_times_is_the_failure_of_its_call)
{
    az_ctx *az = az_open(NULL);
    stub_server *server = stub_start(az, &(stub_reply){.body = good_body, .pause = 0.05}, 1);
    az_backend *backend = az_backend_open(az, stub_spec(az, server), &(az_backend_settings){.wait = 0.001, .timeout = 0.1});
    const az_request request = chat(1);
    const az_reply *reply = az_backend_ask(backend, &request);
    cr_assert_not_null(strstr(reply->sample[0].failure, "no answer within 0.1 s (--timeout)"), "%s", reply->sample[0].failure);
    cr_assert_eq(stub_requests(server), 6);
    az_close(az);
}

Test(backend_http, the_budget_of_calls_keeps_what_is_done)
{
    az_ctx *az = az_open(NULL);
    stub_server *server = stub_start(az, &(stub_reply){.body = good_body}, 1);
    az_backend_settings two = quick;
    two.max_calls = 2;
    az_backend *backend = az_backend_open(az, stub_spec(az, server), &two);
    const az_request request = chat(5);
    cr_assert_null(az_backend_ask(backend, &request));
    cr_assert(az_backend_exhausted(backend));
    cr_assert_eq(stub_requests(server), 2);
    cr_assert_eq(az_backend_usage(backend).calls, 2);
    az_close(az);
}

Test(backend_http, next_tokens_of_both_forms)
{
    az_ctx *az = az_open(NULL);
    stub_server *server;
    static const char chat_form[] =
        "{\"choices\":[{\"logprobs\":{\"content\":[{\"token\":\"no\",\"logprob\":-0.1,\"top_logprobs\":["
        "{\"token\":\" Yes\",\"logprob\":-3},{\"token\":\"no\",\"logprob\":-0.1},{\"token\":\"yes\",\"logprob\":-4}]}]}}]}";
    static const char completion_form[] = "{\"choices\":[{\"logprobs\":{\"top_logprobs\":[{\"yes\":-1.5,\" no\":-0.5}]}}]}";
    server = stub_start(az, (const stub_reply[]){{.body = chat_form}, {.body = completion_form}}, 2);
    az_backend *backend = az_backend_open(az, stub_spec(az, server), &quick);
    const az_request of_chat = {.operation = AZ_NEXT, .message = &question, .messages = 1, .top = 3};
    const az_answer *a = &az_backend_ask(backend, &of_chat)->sample[0];
    cr_assert_eq(a->n, 3, "%s", a->failure);
    cr_assert_str_eq(a->next[0].text, "no");
    bool found;
    cr_assert_float_eq(az_next_mass(a, "yes", &found), exp(-3) + exp(-4), 1e-12);
    cr_assert(found);
    cr_assert_float_eq(az_next_mass(a, "maybe", &found), exp(-4), 1e-12); /* no more than the least that is listed */
    cr_assert_not(found);
    const az_request of_prompt = {.operation = AZ_NEXT, .prompt = "2 + 2 =", .top = 2};
    a = &az_backend_ask(backend, &of_prompt)->sample[0];
    cr_assert_str_eq(stub_path(server, 1), "/v1/completions");
    cr_assert_float_eq(az_next_mass(a, "no", &found), exp(-0.5), 1e-12);
    az_close(az);
}

Test(backend_http, scores_come_from_an_echo_whose_tokens_give_the_text_back)
{
    az_ctx *az = az_open(NULL);
    static const char echo[] =
        "{\"choices\":[{\"text\":\"2+2=4\",\"logprobs\":{\"tokens\":[\"2+\",\"2=\",\"4\"],\"token_logprobs\":[null,-1,-0.25]}}]}";
    static const char merged[] = "{\"choices\":[{\"logprobs\":{\"tokens\":[\"2+2\",\"=4\"],\"token_logprobs\":[null,-1]}}]}";
    static const char other[] = "{\"choices\":[{\"logprobs\":{\"tokens\":[\"3+2=\",\"4\"],\"token_logprobs\":[null,-1]}}]}";
    stub_server *server = stub_start(az, (const stub_reply[]){{.body = echo}, {.body = merged}, {.body = other}}, 3);
    az_backend *backend = az_backend_open(az, stub_spec(az, server), &quick);
    const az_request request = {.operation = AZ_SCORE, .prompt = "2+2=", .continuation = "4"};
    const az_answer *a = &az_backend_ask(backend, &request)->sample[0];
    cr_assert_null(a->failure, "%s", a->failure);
    cr_assert_eq(a->n, 1);
    cr_assert_eq(a->total, -0.25);
    cr_assert_not_null(strstr(az_backend_ask(backend, &request)->sample[0].failure, "the end of the prompt"));
    cr_assert_not_null(strstr(az_backend_ask(backend, &request)->sample[0].failure, "do not give the text back"));
    az_close(az);
}

Test(backend_http, vectors_have_length_one)
{
    az_ctx *az = az_open(NULL);
    stub_server *server = stub_start(az, &(stub_reply){.body = "{\"data\":[{\"embedding\":[3,-4]}]}"}, 1);
    az_backend *backend = az_backend_open(az, stub_spec(az, server), &quick);
    const az_request request = {.operation = AZ_EMBED, .prompt = "words"};
    const az_answer *a = &az_backend_ask(backend, &request)->sample[0];
    cr_assert_eq(a->n, 2, "%s", a->failure);
    cr_assert_float_eq((double)a->vector[0], 0.6, 1e-6);
    cr_assert_float_eq((double)a->vector[1], -0.8, 1e-6);
    az_close(az);
}
