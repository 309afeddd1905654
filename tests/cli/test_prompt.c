/* adze prompt: one question, the cache and its lines, the exit status of a budget. */
#include "support/command.h"
#include "support/folder.h"
#include "support/stub_server.h"

#include <criterion/criterion.h>
#include <string.h>

Test(prompt, a_question_is_answered_once_and_replayed_from_its_lines)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    static const char ask[] = "adze prompt ask --complete -p 'Compute:\n7 + 3 * 2 =' --backend ";
    test_run run = test_shell(az, folder, az_format_text(az, "%s oracle:arith --cache r.db", ask));
    cr_assert_eq(run.code, 0, "%s", run.err);
    cr_assert_str_eq(run.out, "The answer is 20.\n");
    run = test_shell(az, folder,
                     "adze prompt cache export r.db -o r.jsonl && adze prompt cache import s.db r.jsonl && adze prompt cache export s.db | "
                     "cmp - r.jsonl");
    cr_assert_eq(run.code, 0, "%s", run.err);
    run = test_shell(az, folder, az_format_text(az, "%s replay:r.jsonl --json", ask));
    cr_assert_eq(run.code, 0, "%s", run.err);
    cr_assert(json_is_true(json_object_get(test_section(az, run.out, "answers"), "cached")));
    cr_assert_eq(test_json_number(test_section(az, run.out, "calls"), "cached_calls"), 1);
    run = test_shell(az, folder, "adze prompt ask --complete -p other --backend replay:r.jsonl");
    cr_assert_eq(run.code, 2);
    cr_assert_not_null(strstr(run.err, "\"prompt\":\"other\""), "%s", run.err); /* shows what is missing */
    run = test_shell(az, folder, "adze prompt cache drop r.db && ls");
    cr_assert_str_eq(run.out, "r.jsonl\ns.db\n");
    az_close(az);
}

Test(prompt, a_budget_has_an_exit_status_of_its_own)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    test_run run =
        test_shell(az, folder, "adze prompt ask --complete -p '1 + 1' --samples 3 --backend oracle:arith --max-calls 2 --cache r.db");
    cr_assert_eq(run.code, 3);
    cr_assert_not_null(strstr(run.err, "--max-calls"), "%s", run.err);
    run = test_shell(az, folder, "adze prompt cache stat r.db --json");
    cr_assert_eq(test_json_number(test_section(az, run.out, "file"), "replies"), 2); /* what was paid is kept */
    az_close(az);
}

Test(prompt, runs_of_a_benchmark_are_recorded_and_may_be_dry)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    test_run run = test_shell(az, folder,
                              "echo '{\"id\": 1, \"question\": \"1 + 2\", \"answer\": \"3\"}' > q.jsonl; echo '{\"id\": 2, \"question\": "
                              "\"7 * 3\", \"answer\": \"21\"}' >> q.jsonl; adze prompt math q.jsonl --backend oracle:arith -o p.jsonl "
                              "--tokens 50 --dry-run --json");
    cr_assert_eq(run.code, 0, "%s", run.err);
    cr_assert_eq(test_json_number(test_section(az, run.out, "calls"), "calls"), 2);
    cr_assert_eq(test_json_number(test_section(az, run.out, "calls"), "completion_tokens"), 100);
    cr_assert_null(strstr(run.out, "accuracy"), "%s", run.out);
    static const char line[] = "adze prompt math q.jsonl --backend oracle:arith -o p.jsonl --cache r.db --json";
    run = test_shell(az, folder, az_format_text(az, "%s --max-calls 1", line));
    cr_assert_eq(run.code, 3, "%s", run.err);
    run = test_shell(az, folder, az_format_text(az, "%s --dry-run", line));
    cr_assert_eq(test_json_number(test_section(az, run.out, "calls"), "calls"), 1, "%s", run.out); /* the one that is left */
    run = test_shell(az, folder, line);
    cr_assert_eq(test_json_number(test_section(az, run.out, "accuracy"), "correct"), 2);
    json_t *all = json_load_file(test_path(az, folder, "p.jsonl.run.json"), 0, NULL), *runs = json_object_get(all, "runs");
    cr_assert_eq(json_array_size(runs), 2);
    cr_assert_str_eq(json_string_value(json_object_get(json_array_get(runs, 0), "status")), "budget");
    cr_assert_str_eq(json_string_value(json_object_get(json_array_get(runs, 1), "status")), "done");
    json_decref(all);
    run = test_shell(az, folder, "grep -c '\"calls\":\\[\"[0-9a-f]*\"\\]' p.jsonl");
    cr_assert_str_eq(run.out, "2\n"); /* every answer names its request */
    az_close(az);
}

Test(prompt, templates_are_filled_from_rows_and_asked)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    test_run run = test_shell(az, folder,
                              "printf '@@system\nTalk.\n@@user\n{{#each demos}}{{x}} -> {{y}}\n{{/each}}{{x}} ->\n' > t.txt; "
                              "printf '{\"x\":\"red cat\",\"y\":\"1\"}\n{\"x\":\"blue dog\",\"y\":\"2\"}\n' > demos.jsonl; "
                              "printf '{\"id\":7,\"x\":\"blue bird\"}\n' > rows.jsonl; "
                              "adze prompt template t.txt --rows rows.jsonl --demos demos.jsonl --field x --shots 1 -o out.jsonl");
    cr_assert_eq(run.code, 0, "%s", run.err);
    cr_assert_str_eq(run.err, "");
    run = test_shell(az, folder, "cat out.jsonl");
    cr_assert_str_eq(run.out, "{\"id\":7,\"messages\":[{\"content\":\"Talk.\",\"role\":\"system\"},{\"content\":\"blue dog -> "
                              "2\\nblue bird ->\",\"role\":\"user\"}]}\n");
    run = test_shell(
        az, folder,
        "echo '{\"x\": \"red\", \"demos\": [{\"x\": \"red\", \"y\": \"hot\"}]}' > v.json; adze prompt template t.txt --vars v.json; "
        "adze prompt ask --template t.txt --vars v.json --backend oracle:icl-vote");
    cr_assert_str_eq(run.out, "@@system\nTalk.\n@@user\nred -> hot\nred ->\nhot\n");
    az_close(az);
}

Test(prompt, built_in_templates_are_told_and_can_be_replaced)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    test_run run = test_shell(az, folder, "adze prompt template --json");
    cr_assert_eq(run.code, 0, "%s", run.err);
    cr_assert_eq(test_lines(run.out), 8);
    cr_assert_str_eq(json_string_value(json_object_get(test_json(az, run.out, 7), "template")), "math");
    run = test_shell(az, folder, "adze prompt template math");
    cr_assert_str_eq(run.out, "{{question}}\n\nReason step by step, and put the final answer within \\boxed{}.\n");
    run = test_shell(az, folder,
                     "adze prompt template aops-classify -o own.txt && echo '{\"post\": \"Hello\"}' >v.json && "
                     "adze prompt template aops-classify --vars v.json >a && adze prompt template own.txt --vars v.json >b && "
                     "cmp a b && tail -n 2 a");
    cr_assert_str_eq(run.out, "Post: Hello\nReply:\n", "%s", run.err);
    run = test_shell(
        az, folder,
        "printf '1 + 1 = \\n{{question}} =\\n' >t.txt; echo '{\"id\": \"a\", \"question\": \"7 * 3\", \"answer\": \"21\"}' >q.jsonl; "
        "adze prompt math q.jsonl --backend oracle:arith --template t.txt -o p.jsonl --json");
    cr_assert_eq(run.code, 0, "%s", run.err);
    cr_assert_eq(test_json_number(test_section(az, run.out, "accuracy"), "accuracy"), 1);
    run = test_shell(az, folder, "adze prompt math q.jsonl --backend oracle:arith -o p.jsonl"); /* other words, another journal */
    cr_assert_eq(run.code, 2);
    run = test_shell(az, folder, "adze prompt template lacie");
    cr_assert_eq(run.code, 2);
    cr_assert(strstr(run.err, "'lacie'"), "%s", run.err);
    az_close(az);
}

Test(prompt, texts_are_found)
{
    az_ctx *az = az_open(NULL);
    const test_run run =
        test_shell(az, test_folder(az),
                   "for t in 'alpha beta beta' 'beta gamma' 'gamma gamma delta epsilon' zeta; do echo "
                   "\"{\\\"text\\\":\\\"$t\\\"}\"; done > t.jsonl; adze prompt find t.jsonl -p 'beta gamma' --shots 2 --json");
    cr_assert_eq(run.code, 0, "%s", run.err);
    cr_assert_eq(test_lines(run.out), 2);
    cr_assert_eq(test_json_number(test_json(az, run.out, 0), "text"), 2);
    cr_assert_float_eq(test_json_number(test_json(az, run.out, 1), "score"), 0.930399, 1e-6);
    az_close(az);
}

Test(prompt, oracles_tell_what_is_expected)
{
    az_ctx *az = az_open(NULL);
    test_run run = test_shell(az, test_folder(az), "adze prompt oracle 'rule?qh=0.15&qp=0.35&m=8&n=8' --json");
    cr_assert_eq(run.code, 0, "%s", run.err);
    cr_assert_float_eq(test_json_number(test_json(az, run.out, 0), "solved"), 0.715007, 5e-7);
    run = test_shell(az, test_folder(az), "adze prompt oracle");
    cr_assert_not_null(strstr(run.out, "choose"), "%s", run.out);
    az_close(az);
}

static const char ask_line[] = "adze prompt ask --wait 0.001 -p hi --backend";

Test(prompt, a_question_without_an_answer_has_status_two)
{
    static const struct {
        stub_reply reply;
        const char *why;
    } bad[] = {{{.status = 401, .body = "{\"error\":{\"message\":\"bad key\"}}"}, "--key-env"},
               {{.status = 404, .body = "not found"}, "status 404: not found"},
               {{.status = 400, .body = "{\"error\":\"too long\"}"}, "status 400: too long"},
               {{.status = 503, .body = ""}, "after 6 tries: status 503"},
               {{.body = "{"}, "cannot be read"},
               {{.body = "{\"choices\":[]}"}, "it holds no choices"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        az_ctx *az = az_open(NULL);
        const stub_server *server = stub_start(az, &bad[i].reply, 1);
        const test_run run = test_shell(az, test_folder(az), az_format_text(az, "%s %s", ask_line, stub_spec(az, server)));
        cr_assert_eq(run.code, 2, "%s", bad[i].why);
        cr_assert_str_eq(run.out, "");
        cr_assert_not_null(strstr(run.err, bad[i].why), "%s", run.err);
        cr_assert_not_null(strstr(run.err, "http://127.0.0.1:"), "%s", run.err); /* where it happened */
        az_close(az);
    }
}

Test(prompt, a_server_that_is_not_there_is_told)
{
    az_ctx *az = az_open(NULL);
    const test_run run = test_shell(az, test_folder(az), az_format_text(az, "%s 'http://127.0.0.1:1/v1#small' --json", ask_line));
    cr_assert_eq(run.code, 2);
    cr_assert_str_eq(run.out, "");
    cr_assert_not_null(strstr(run.err, "http://127.0.0.1:1/v1 cannot be reached"), "%s", run.err);
    az_close(az);
}

Test(prompt, of_several_samples_those_that_came_are_printed)
{
    static const stub_reply script[] = {{.body = "{\"choices\":[{\"message\":{\"content\":\"four\"}}]}"}, {.body = "{}"}};
    az_ctx *az = az_open(NULL);
    const stub_server *server = stub_start(az, script, 2);
    const char *line = az_format_text(az, "%s %s --samples 2 --jobs 1 --json", ask_line, stub_spec(az, server));
    const test_run run = test_shell(az, test_folder(az), line);
    cr_assert_eq(run.code, 2);
    cr_assert_str_eq(json_string_value(json_object_get(test_json(az, run.out, 0), "text")), "four");
    cr_assert_not_null(strstr(run.err, "it holds no choices"), "%s", run.err);
    az_close(az);
}

Test(prompt, images_are_shown_behind_the_question)
{
    static const stub_reply script = {.body = "{\"choices\":[{\"message\":{\"content\":\"a dot\"}}]}"};
    az_ctx *az = az_open(NULL);
    const stub_server *server = stub_start(az, &script, 1);
    const char *line = az_format_text(
        az,
        "printf '\\211PNG\\r\\n\\032\\n' >dot.png; %s %s --image dot.png --image https://host/b.png --image 'data:image/gif;base64,R0lG'",
        ask_line, stub_spec(az, server));
    const test_run run = test_shell(az, test_folder(az), line);
    cr_assert_eq(run.code, 0, "%s", run.err);
    cr_assert_str_eq(run.out, "a dot\n");
    cr_assert(strstr(stub_body(server, 0),
                     "\"content\":[{\"text\":\"hi\",\"type\":\"text\"},{\"image_url\":{\"url\":\"data:image/png;base64,"
                     "iVBORw0KGgo=\"},\"type\":\"image_url\"},{\"image_url\":{\"url\":\"https://host/b.png\"},\"type\":\"image_url\"},"
                     "{\"image_url\":{\"url\":\"data:image/gif;base64,R0lG\"}"),
              "%s", stub_body(server, 0));
    az_close(az);
}

Test(prompt, what_is_wrong_is_told)
{
    const struct {
        const char *line, *why;
    } bad[] = {
        {"adze prompt ask -p hi", "--backend"},
        {"adze prompt ask --backend oracle:arith", "-p"},
        {"adze prompt ask --backend oracle:arith -p hi --replay", "--replay needs a cache"},
        {"adze prompt ask --backend local:nothing -p hi", "there is no model 'nothing'"},
        {"adze prompt cache stat none.db", "there is no cache"},
        {"adze prompt cache", "export FILE"},
        {"adze prompt dance", "adze prompt ask"},
        {"adze prompt oracle nobody", "there is no oracle 'nobody'"},
        {"adze prompt template none.txt", "none.txt"},
        {"echo '{{x}}' > t; adze prompt template t", "the template names 'x'"},
        {"echo a > t; adze prompt template t --demos t", "--rows"},
        {"echo a > t; echo '{}' > r; cp r s; adze prompt template t --rows r -o r; cmp r s || echo lost >&2; exit 2", "'r' is read here"},
        {"echo '{{x}}' > t; echo '{}' > r; adze prompt template t --rows r -o new; ls new; exit 2", "new': No such file"},
        {"echo a > t.txt; adze prompt find t.txt", "-p"},
        {"echo cat > t.txt; adze prompt find t.txt -p cat --by dense", "--backend"},
        {"adze prompt ask --backend oracle:arith -p '1 + 1' --image https://host/a.png", "needs a model that sees images"},
        {"adze prompt ask --backend http://127.0.0.1:1/v1#m -p hi --image nothing.png", "nothing.png"},
        {"adze prompt ask --backend http://127.0.0.1:1/v1#m -p hi --complete --image https://h/a.png", "--image goes with messages"},
        {"adze prompt ask --backend oracle:arith -p '1 + 1' --score 2", "needs scores of given texts"},
        {"echo 'SELECT' > q.sql; adze prompt cache drop q.sql", "q.sql"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        az_ctx *az = az_open(NULL);
        test_run run = test_shell(az, test_folder(az), bad[i].line);
        cr_assert_eq(run.code, 2, "%s", bad[i].line);
        cr_assert_not_null(strstr(run.err, bad[i].why), "%s: %s", bad[i].line, run.err);
        az_close(az);
    }
}
