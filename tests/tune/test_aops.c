/* aops on a forum whose truth is known: a function answers as a perfect model would, and every count, label and split has to be the
 * truth's. */
#include "tune/aops.h"

#include "support/folder.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

extern const az_method az_aops;

/* ---- a forum ---- */

/* Topic i is a question unless i % 5 == 4; its post 2 solves it, post 3 is a remark, post 5 (of every third) solves it again. Every fourth
 * topic is of 2024-01, every tenth of 2024-06, every 13th has no time, the others are of 2023. */
enum { TOPICS = 120, YEAR_2023 = 1680000000, JANUARY_2024 = 1705000000, JUNE_2024 = 1718000000 };

static bool is_question(int i)
{
    return i % 5 != 4;
}

static int64_t time_of(int i)
{
    return i % 13 == 0 ? AOPS_NO_TIME : i % 10 == 0 ? JUNE_2024 : i % 4 == 0 ? JANUARY_2024 : YEAR_2023;
}

static json_t *post(int number, const char *user, const char *text, int64_t time)
{
    json_t *out = json_pack("{s:i, s:s, s:s}", "post_number", number, "username", user, "text", text);
    if (time != AOPS_NO_TIME) json_object_set_new(out, "post_time", json_integer(time));
    return out;
}

static void put_topic(az_ctx *az, FILE *out, int i)
{
    const char *question =
        az_format_text(az, "[topic %d] %s", i,
                       is_question(i) ? az_format_text(az, "What is the value of %d plus %d in this sum of whole numbers?", i, i + 1)
                                      : "Hello everybody, how are you?");
    json_t *posts = json_pack("[o, o, o]", post(3, "cat", "nice \"one\"\n", time_of(i)),
                              post(2, "ben", az_format_text(az, "Adding gives the sum, %d.", 2 * i + 1), time_of(i)),
                              post(1, "ann", question, time_of(i)));
    if (i % 3 == 0) json_array_append_new(posts, post(5, "dan", az_format_text(az, "One adds and finds %d, too.", 2 * i + 1), time_of(i)));
    json_t *line = json_pack("{s:i, s:o}", "topic_id", i, "posts", posts);
    json_dumpf(line, out, JSON_COMPACT);
    fputc('\n', out);
    json_decref(line);
}

static const char *write_forum(az_ctx *az, const char *folder)
{
    const char *path = test_path(az, folder, "forum.jsonl");
    FILE *out = fopen(path, "w");
    for (int i = 0; i < TOPICS; i++) put_topic(az, out, i);
    fputs("{\"topic_id\": 900, \"posts\": []}\n{\"error_code\": \"E\", \"topic_id\": 901}\n", out);
    fclose(out);
    return path;
}

/* ---- a perfect model ---- */

typedef struct model {
    int calls, stop_after; /* 0 = never */
    int junk;              /* every junk-th reply is nonsense; 0 = none */
    const char *wrong;     /* takes the place of rewritten answers; NULL = right ones */
} model;

/* The number behind the last mark. */
static int number_behind(const char *text, const char *mark)
{
    const char *at = NULL;
    for (const char *next = text; (next = strstr(next, mark)); next++) at = next;
    return at ? atoi(at + strlen(mark)) : -1;
}

static bool reply(az_ctx *az, const az_call_text *call, az_answer *answer, void *user)
{
    model *m = user;
    const char *stage = call->request->stage;
    const int i = number_behind(call->text, "[topic ");
    if (m->stop_after && m->calls >= m->stop_after) return az_fail(az, AZ_INTERRUPTED, "stopped");
    m->calls++;
    if (m->junk && m->calls % m->junk == 0)
        answer->text = "```json\n{\"answers\": [{]\n```";
    else if (strcmp(stage, "classify") == 0)
        answer->text = is_question(i) ? "A problem. \\boxed{1}" : "Talk. \\boxed{0}";
    else if (strcmp(stage, "extract") == 0)
        answer->text = az_format_text(
            az, "```json\n{\"answers\": [{\"user\": \"ben\", \"post_number\": 2}, {\"user\": \"eve\", \"post_number\": 3}%s]}\n```",
            i % 3 == 0 ? ", {\"user\": \"dan\", \"post_number\": 5}" : "");
    else if (strcmp(stage, "rewrite-q") == 0)
        answer->text = az_format_text(az, "[topic %d] Compute $%d+%d$.", i, i, i + 1);
    else
        answer->text = az_format_text(az, "1. Add.\n\\boxed{%s}",
                                      m->wrong && strcmp(stage, "rewrite-b") == 0 ? m->wrong : az_format_text(az, "%d", 2 * i + 1));
    return true;
}

static bool run(az_ctx *az, const char *folder, const char *options, model *first, model *second)
{
    aops_options settings;
    cr_assert(az_options_parse(az, az_aops.options, "aops", options, &settings), "%s", az_error(az));
    az_prepare_job job = {.input = test_path(az, folder, "forum.jsonl"), .folder = folder, .report = az_report_new(az, NULL)};
    job.backend = az_backend_of_function(az, reply, first, NULL, NULL);
    if (second) job.second = az_backend_of_function(az, reply, second, NULL, NULL);
    return az_aops.prepare(az, &settings, &job);
}

static int lines_of(az_ctx *az, const char *folder, const char *name)
{
    int n = 0;
    for (const char *c = az_read_file(az, test_path(az, folder, name), NULL); *c; c++) n += *c == '\n';
    return n;
}

Test(aops, counts_and_splits_are_the_truths)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    write_forum(az, folder);
    model perfect = {0}, other = {0};
    cr_assert(run(az, folder, "", &perfect, &other), "%s", az_error(az));
    int train = 0, valid = 0, test = 0, undated = 0, bench = 0;
    for (int i = 0; i < TOPICS; i++) {
        const int solutions = i % 3 == 0 ? 2 : 1;
        if (!is_question(i)) continue;
        const int64_t t = time_of(i);
        bench += t != AOPS_NO_TIME;
        *(t == AOPS_NO_TIME ? &undated : t == JUNE_2024 ? &test : t == JANUARY_2024 ? &valid : &train) += t == AOPS_NO_TIME ? 1 : solutions;
    }
    cr_assert_eq(lines_of(az, folder, "train.jsonl"), train);
    cr_assert_eq(lines_of(az, folder, "val.jsonl"), valid);
    cr_assert_eq(lines_of(az, folder, "test.jsonl"), test);
    cr_assert_eq(lines_of(az, folder, "excluded.jsonl"), undated);
    cr_assert_eq(lines_of(az, folder, "bench.jsonl"), bench);
    cr_assert_not_null(az_examples_read(az, test_path(az, folder, "train.jsonl")), "%s", az_error(az)); /* adze tune reads it */
    az_close(az);
}

/* What is asked is the user's text: a name in it that there is not is told. */
Test(aops, templates_of_a_folder_take_the_built_in_ones_places)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    model m = {0};
    write_forum(az, folder);
    FILE *out = fopen(test_path(az, folder, "aops-classify.txt"), "w");
    fputs("Is {{post}} asked by {{nobody}}?\n", out);
    fclose(out);
    cr_assert_not(run(az, folder, az_format_text(az, "templates=%s", folder), &m, NULL));
    cr_assert(strstr(az_error(az), "'nobody'"), "%s", az_error(az));
    az_close(az);
}

Test(aops, an_interrupted_run_ends_as_an_uninterrupted_one)
{
    az_ctx *az = az_open(NULL);
    const char *whole = test_folder(az), *parts = test_folder(az);
    write_forum(az, whole), write_forum(az, parts);
    model all = {0}, some = {.stop_after = 150}, rest = {0};
    cr_assert(run(az, whole, "", &all, NULL), "%s", az_error(az));
    az_scope_push(az);
    cr_assert_not(run(az, parts, "", &some, NULL));
    az_scope_pop(az);
    az_clear(az);
    cr_assert(run(az, parts, "", &rest, NULL), "%s", az_error(az));
    cr_assert_lt(rest.calls, all.calls);
    const char *const names[] = {"classify.jsonl", "extract.jsonl", "rewrite-q.jsonl", "rewrite-a.jsonl",
                                 "train.jsonl",    "val.jsonl",     "test.jsonl"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        cr_assert_str_eq(az_read_file(az, test_path(az, parts, names[i]), NULL), az_read_file(az, test_path(az, whole, names[i]), NULL));
    az_close(az);
}

Test(aops, nonsense_is_counted_and_harms_nothing_else)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    write_forum(az, folder);
    model bad = {.junk = 10};
    cr_assert(run(az, folder, "keep_undecided=false", &bad, NULL), "%s", az_error(az));
    cr_assert_gt(lines_of(az, folder, "train.jsonl"), 20);
    az_close(az);
}

Test(aops, benchmarks_are_kept_out_of_the_training_set)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az), *benchmark = test_path(az, folder, "benchmark.jsonl");
    write_forum(az, folder);
    FILE *out = fopen(benchmark, "w");
    fputs("{\"question\": \"WHAT  is the value of 7 plus 8 in this sum of whole numbers?\"}\n", out); /* verbatim but for case and blanks */
    fputs("{\"question\": \"the value of 11 plus 12 in this sum and so on\"}\n{\"question\": \"2\"}\n",
          out); /* nine words in a row: fewer than ten */
    fclose(out);
    model perfect = {0};
    cr_assert(run(az, folder, az_format_text(az, "benchmarks=%s", benchmark), &perfect, NULL), "%s", az_error(az));
    const char *excluded = az_read_file(az, test_path(az, folder, "excluded.jsonl"), NULL);
    cr_assert_not_null(strstr(excluded, "{\"topic_id\":\"7\",\"reason\":\"holds a benchmark's question\""), "%s", excluded);
    cr_assert_null(strstr(excluded, "\"topic_id\":\"11\""));
    az_close(az);
}

/* ---- parts ---- */

static aops_topic topic_of(const char *original, const char *first, const char *second)
{
    static aops_post posts[2];
    static const char *answers[1], *seconds[1];
    static int solutions[1];
    posts[0] = (aops_post){.number = 1, .text = "What?"};
    posts[1] = (aops_post){.number = 2, .text = original};
    answers[0] = first, seconds[0] = second, solutions[0] = 1;
    return (aops_topic){.posts = 2, .post = posts, .solutions = 1, .solution = solutions, .answer = answers, .second = seconds};
}

Test(aops, votes)
{
    az_ctx *az = az_open(NULL);
    const struct {
        const char *original, *first, *second, *label;
    } cases[] = {
        {"it is 3", "\\boxed{3}", "\\boxed{3.0}", "3"},      /* the models agree */
        {"it is 3", "\\boxed{3}", "\\boxed{4}", NULL},       /* they do not */
        {"\\boxed{5}", "\\boxed{5}", "none", "5"},           /* the original's box is the label */
        {"\\boxed{5}", "\\boxed{6}", "\\boxed{6}", NULL},    /* against it nobody is believed */
        {"\\boxed{x=5}", "\\boxed{5}", "\\boxed{5}", "x=5"}, /* part of it */
        {"so", "\\boxed{\\text{no}}", "\\boxed{\\text{no}}", NULL},
        {"so", "no box", "\\boxed{1}", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const aops_topic topic = topic_of(cases[i].original, cases[i].first, cases[i].second);
        const char *why = NULL, *label = aops_vote(az, &topic, &why);
        cr_assert(cases[i].label ? label && strcmp(label, cases[i].label) == 0 : !label && why, "case %zu: %s, %s", i, label ? label : "-",
                  why ? why : "-");
    }
    az_close(az);
}

Test(aops, labels_of_replies)
{
    az_ctx *az = az_open(NULL);
    cr_assert_eq(aops_read_label(az, "yes \\boxed{1} or \\boxed{0}"), 1);
    cr_assert_eq(aops_read_label(az, "\\boxed{x} \\boxed{0}"), 0);
    cr_assert_eq(aops_read_label(az, "\\boxed{12}"), -1);
    cr_assert_eq(aops_read_label(az, "```output\n1\n```"), 1);
    cr_assert_eq(aops_read_label(az, "who knows"), -1);
    cr_assert_eq(aops_read_label(az, "  "), 0); /* too long for a reply */
    az_close(az);
}

Test(aops, solutions_are_posts_of_their_authors_that_say_something_themselves)
{
    az_ctx *az = az_open(NULL);
    aops_post posts[] = {{.number = 1, .user = "ann", .text = "What?"},
                         {.number = 2, .user = "b\"en", .text = "It is four, since two and two are four."},
                         {.number = 4, .user = "cat", .text = "[quote=b\"en]It is four, since two and two are four.[/quote] yes"}};
    const aops_topic topic = {.posts = 3, .post = posts};
    int solution[3];
    cr_assert_eq(
        aops_read_solutions(az, &topic,
                            "```json\n{\"answers\": [{\"user\": \"b\\\"en\", \"post_number\": 2}, {\"user\": \"cat\", \"post_number\": 4}, "
                            "{\"user\": \"ann\", \"post_number\": 1}, {\"user\": \"cat\", \"post_number\": 2}]}\n```",
                            solution, 3),
        1);
    cr_assert_eq(solution[0], 1);
    cr_assert_eq(
        aops_read_solutions(az, &topic, "```json\n{\"answers\": [{\"user\": \"b\\\"en\n\", \"post_number\": 2}]}\n```", solution, 3), 0);
    cr_assert_eq(aops_read_solutions(az, &topic, "no block", solution, 3), -1);
    az_close(az);
}

Test(aops, the_newest_snapshot_counts_and_both_layouts_are_read)
{
    az_ctx *az = az_open(NULL);
    const char *path = test_path(az, test_folder(az), "forum.jsonl");
    FILE *out = fopen(path, "w");
    fputs("{\"topic_id\": 1, \"crawl_time\": 10, \"posts\": [{\"post_number\": 1, \"username\": \"a\", \"post_time\": 1700000000, "
          "\"text\": \"old\"}]}\n"
          "{\"crawl_time\": 20, \"response\": {\"response\": {\"new_topic_settings\": {\"topic_id\": 1}, \"posts\": [{\"post_number\": 2, "
          "\"username\": \"b\", "
          "\"post_time\": 1700000000, \"post_canonical\": \"second\"}, {\"post_number\": 1, \"username\": \"a\", \"post_time\": "
          "\"1690000000\", \"post_canonical\": \"new\"}]}}}\n",
          out);
    fclose(out);
    const aops_forum *forum = aops_read(az, path, &(aops_options){.from = "", .until = ""});
    cr_assert_not_null(forum, "%s", az_error(az));
    cr_assert_eq(forum->count, 1);
    cr_assert_eq(forum->snapshots, 1);
    cr_assert_eq(forum->topic[0].posts, 2);
    cr_assert_str_eq(forum->topic[0].post[0].text, "new");
    cr_assert_eq(aops_month_of(&forum->topic[0]), 12 * 2023 + 6); /* July 2023, of the earliest post */
    az_close(az);
}

Test(aops, bad_input_is_told)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az), *path = test_path(az, folder, "forum.jsonl");
    model m = {0};
    FILE *out = fopen(path, "w");
    fputs("{\"posts\": 3}\n", out);
    fclose(out);
    cr_assert_not(run(az, folder, "", &m, NULL));
    cr_assert_not_null(strstr(az_error(az), "no topic with posts"), "%s", az_error(az));
    az_clear(az);
    cr_assert_not(run(az, folder, "cutoff=soon", &m, NULL));
    cr_assert_not_null(strstr(az_error(az), "'soon' is no month"), "%s", az_error(az));
    az_close(az);
}
