/* adze prepare and adze tune together: a game of lacie with the bundled model, pairs for dpo, the adapter beside the model in the next
 * game; and rounds of itertl. */
#include "support/command.h"
#include "support/folder.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static void write_file(az_ctx *az, const char *folder, const char *name, const char *text)
{
    FILE *out = fopen(test_path(az, folder, name), "w");
    fputs(text, out);
    fclose(out);
}

Test(prepare, pairs_are_learnt_from_and_the_adapter_answers)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    write_file(az, folder, "prefs.jsonl",
               "{\"prompt\": \"Once upon a time\", \"chosen\": \" there was a girl\", \"rejected\": \" there was a boy\"}\n"
               "{\"prompt\": \"The best thing\", \"chosen\": \" she had\", \"rejected\": \" he had\"}\n");
    test_run run =
        test_shell(az, folder, "adze tune tales dpo:rank=4 -d prefs.jsonl --valid-share 0 --steps 2 --lr 1e-3 -o adapter --json");
    cr_assert_eq(run.code, 0, "%s", run.err);
    cr_assert_eq(test_json_number(test_section(az, run.out, "preferences"), "pairs"), 2);
    run = test_shell(az, folder,
                     "adze prompt ask --complete -p 'Once upon a time' --tokens 4 --backend 'local:tales?adapter=adapter' --cache r.db");
    cr_assert_eq(run.code, 0, "%s", run.err);
    run = test_shell(az, folder, "adze prompt cache stat r.db --json");
    const char *model = json_string_value(json_object_get(test_section(az, run.out, "cache"), "model"));
    cr_assert(model && strchr(model, '+'), "%s", run.out); /* model and adapter */
    az_close(az);
}

Test(prepare, a_game_with_the_bundled_model)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    write_file(az, folder, "qa.jsonl", "{\"question\": \"Who?\", \"answers\": [\"Ruby\"]}\n");
    test_run run = test_shell(
        az, folder, "adze prepare qa.jsonl 'lacie:n=2,max_tokens=4,balance=false,pattern=(\\w+)' --backend local:tales -o game --json");
    cr_assert_eq(run.code, 0, "%s", run.err);
    const json_t *found = test_section(az, run.out, "calibration"); /* a model of stories may say neither yes nor no */
    cr_assert_eq(test_json_number(found, "answers") + test_json_number(found, "failed"), 2);
    run = test_shell(az, folder, "test -f game/game.jsonl && test -f game/prefs.jsonl");
    cr_assert_eq(run.code, 0);
    az_close(az);
}

Test(prepare, results_of_another_run_are_not_taken_for_ones_own)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    write_file(az, folder, "q.jsonl", "{\"id\": 1, \"question\": \"1 + 2\", \"answer\": \"3\"}\n");
    write_file(az, folder, "p.jsonl", "{\"id\": 1, \"question\": \"7 * 3\", \"answer\": \"21\"}\n");
    static const char *const same = "adze prompt math q.jsonl --backend oracle:arith -o out.jsonl";
    cr_assert_eq(test_shell(az, folder, same).code, 0);
    cr_assert_eq(test_shell(az, folder, same).code, 0);
    static const char *const other[] = {"adze prompt math p.jsonl --backend oracle:arith -o out.jsonl",
                                        "adze prompt math q.jsonl --backend 'oracle:arith?e=0.5' -o out.jsonl"};
    for (int i = 0; i < 2; i++) {
        const test_run run = test_shell(az, folder, other[i]);
        cr_assert_eq(run.code, 2, "%s", other[i]);
        cr_assert_not_null(strstr(run.err, "'out.jsonl' holds results of another run"), "%s", run.err);
    }
    az_close(az);
}

Test(prepare, a_dry_run_counts_and_leaves_nothing)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    write_file(az, folder, "qa.jsonl", "{\"question\": \"Who?\", \"answers\": [\"Ruby\"]}\n");
    static const char line[] = "TMPDIR=. adze prepare qa.jsonl lacie:n=2,max_tokens=4,balance=false --backend local:tales -o game --json";
    test_run run = test_shell(az, folder, az_format_text(az, "%s --dry-run", line));
    cr_assert_eq(run.code, 0, "%s", run.err);
    cr_assert_null(strstr(run.out, "calibration"), "%s", run.out);
    cr_assert_eq(test_json_number(test_section(az, run.out, "calls"), "calls"), 2); /* speak 2, extract 2, listen 2 */
    run = test_shell(az, folder, "adze prepare qa.jsonl lacie --backend local:tales -o game --dry-run && ls | wc -l");
    cr_assert_eq(run.code, 0, "%s", run.err); /* though replies that mean nothing make no pairs */
    run = test_shell(az, folder, "ls");
    cr_assert_str_eq(run.out, "qa.jsonl\n");
    run = test_shell(az, folder, line);
    cr_assert_eq(run.code, 0, "%s", run.err);
    run = test_shell(az, folder, az_format_text(az, "%s --dry-run", line));
    cr_assert_eq(run.code, 0, "%s", run.err);
    json_t *all = json_load_file(test_path(az, folder, "game/run.json"), 0, NULL);
    cr_assert_eq(json_array_size(json_object_get(all, "runs")), 1); /* dry runs are none */
    const json_t *first = json_array_get(json_object_get(all, "runs"), 0);
    cr_assert_str_eq(json_string_value(json_object_get(first, "task")), "prepare lacie");
    cr_assert_str_eq(json_string_value(json_object_get(first, "status")), "done");
    cr_assert_eq(json_integer_value(json_object_get(json_object_get(json_object_get(first, "settings"), "lacie"), "n")), 2);
    json_decref(all);
    az_close(az);
}

/* A run may end at any moment: every reply is in the folder as soon as it is there. */
Test(prepare, nothing_is_asked_twice_where_a_run_was_stopped)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    write_file(az, folder, "model", "#!/bin/sh\nwhile read -r line; do echo x >> asked; echo '{\"text\": \"\\\\boxed{0}\"}'; done\n");
    write_file(
        az, folder, "t.jsonl",
        "{\"topic_id\": 1, \"posts\": [{\"post_number\": 1, \"username\": \"a\", \"post_time\": \"2023-05-01\", \"text\": \"2+1?\"}]}\n"
        "{\"topic_id\": 2, \"posts\": [{\"post_number\": 1, \"username\": \"a\", \"post_time\": \"2023-05-01\", \"text\": \"2+2?\"}]}\n"
        "{\"topic_id\": 3, \"posts\": [{\"post_number\": 1, \"username\": \"a\", \"post_time\": \"2023-05-01\", \"text\": \"2+3?\"}]}\n");
    static const char line[] = "chmod +x model; adze prepare t.jsonl aops --backend exec:./model -o out --json";
    test_run run = test_shell(az, folder, az_format_text(az, "%s --max-calls 2", line));
    cr_assert_eq(run.code, 3, "%s", run.err);
    run = test_shell(az, folder, line);
    cr_assert_eq(run.code, 0, "%s", run.err);
    cr_assert_eq(test_json_number(test_section(az, run.out, "calls"), "cached_calls"), 2);
    run = test_shell(az, folder, "wc -l < asked");
    cr_assert_str_eq(run.out, "3\n");
    run = test_shell(az, folder, az_format_text(az, "rm out/classify.jsonl; %s --replay", line)); /* the recording alone */
    cr_assert_eq(run.code, 0, "%s", run.err);
    run = test_shell(az, folder, az_format_text(az, "sed -i s/2+3/3+3/ t.jsonl; %s", line));
    cr_assert_eq(run.code, 2, "%s", run.out); /* a topic of the same number is another one */
    cr_assert_not_null(strstr(run.err, "holds results of another run"), "%s", run.err);
    az_close(az);
}

/* The model kills the command that asks it, once, at its sixth question. */
Test(prepare, a_killed_run_goes_on_to_the_same_result)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    write_file(
        az, folder, "model",
        "#!/bin/sh\nwhile read -r line; do echo x >> asked; [ \"$(wc -l < asked)\" = 6 ] && [ ! -e killed ] && touch killed && kill -9 "
        "$PPID; echo '{\"text\": \"\\\\boxed{7}\"}'; done\n");
    const char *make = "chmod +x model; for i in 1 2 3 4 5 6 7 8 9; do echo \"{\\\"id\\\": $i, \\\"question\\\": \\\"$i + 2\\\", "
                       "\\\"answer\\\": \\\"7\\\"}\"; done > q.jsonl; ";
    static const char line[] = "adze prompt math q.jsonl --backend exec:./model -o p.jsonl -q";
    test_run run = test_shell(az, folder, az_format_text(az, "%s %s; [ $? = 137 ] && wc -l < p.jsonl", make, line));
    cr_assert_eq(run.code, 0, "%s", run.err);
    run = test_shell(az, folder, az_format_text(az, "%s; wc -l < asked", line));
    cr_assert_not_null(strstr(run.out, "\n10\n"), "%s", run.out); /* the sixth has been asked twice, the others once */
    run = test_shell(az, folder,
                     "mkdir new; cd new; cp ../model ../killed ../q.jsonl .; adze prompt math q.jsonl --backend exec:./model -o "
                     "p.jsonl -q > out; cmp p.jsonl ../p.jsonl");
    cr_assert_eq(run.code, 0, "%s%s", run.out, run.err);
    az_close(az);
}

Test(prepare, what_is_wrong_is_told)
{
    const struct {
        const char *line, *why;
    } bad[] = {
        {"adze prepare a.jsonl aops --backend oracle:arith -o out", "a.jsonl"},
        {"adze prepare a.jsonl wanda --backend oracle:arith -o out", "prepares nothing"},
        {"adze prepare a.jsonl aops -o out", "--backend"},
        {"touch a.jsonl; adze prepare a.jsonl aops:cutoff=soon --backend oracle:arith -o out", "'soon' is no month"},
        {"adze tune tales aops -d a.jsonl -o out", "aops"},
        {"adze tune tales itertl:checker=command -d prefs.jsonl -o out", ""},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        az_ctx *az = az_open(NULL);
        test_run run = test_shell(az, test_folder(az), bad[i].line);
        cr_assert_eq(run.code, 2, "%s: %s", bad[i].line, run.err);
        cr_assert_not_null(strstr(run.err, bad[i].why), "%s: %s", bad[i].line, run.err);
        az_close(az);
    }
}
