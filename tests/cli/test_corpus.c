/* adze corpus: stories with their exact probability, whole files, interruption. */
#include "adze/data.h"
#include "support/command.h"
#include "support/folder.h"

#include <criterion/criterion.h>
#include <string.h>

Test(corpus, the_same_seed_gives_the_same_stories)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    test_run file = test_shell(az, folder, "adze corpus tales --seed 5 --stories 20 -o a.txt && cat a.txt");
    test_run pipe = test_shell(az, folder, "adze corpus tales --seed 5 --stories 20");
    cr_assert_eq(file.code, 0, "%s", file.err);
    cr_assert_str_eq(file.out, pipe.out);
    cr_assert_str_neq(pipe.out, test_shell(az, folder, "adze corpus tales --seed 6 --stories 20").out);
    test_run tail = test_shell(az, folder, "adze corpus tales --seed 5 --stories 15 --first 5");
    cr_assert_str_eq(tail.out, pipe.out + strlen(pipe.out) - strlen(tail.out));
    az_close(az);
}

Test(corpus, generated_and_parsed_probabilities_agree)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    test_run made = test_shell(az, folder, "adze corpus tales --stories 12 --json -o a.txt");
    test_run scored = test_shell(az, folder, "adze corpus tales --score a.txt --json");
    cr_assert_eq(made.code, 0, "%s", made.err);
    cr_assert_eq(scored.code, 0, "%s", scored.err);
    double sum = 0;
    for (int i = 0; i < 12; i++) {
        double a = test_json_number(test_json(az, made.out, i), "log_probability");
        double b = test_json_number(test_json(az, scored.out, i), "log_probability");
        cr_assert_float_eq(a, b, 1e-9);
        sum += b;
    }
    cr_assert_float_eq(test_json_number(test_section(az, scored.out, "sum"), "log_probability"), sum, 1e-9);
    az_close(az);
}

Test(corpus, a_text_outside_the_grammar_has_no_probability)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    test_run run = test_shell(az, folder, "echo 'zebras do not occur' > z.txt; adze corpus tales --score z.txt --json");
    cr_assert_eq(run.code, 0, "%s", run.err);
    json_t *row = test_section(az, run.out, "documents");
    cr_assert(json_is_null(json_object_get(row, "log_probability")));
    cr_assert_eq(test_json_number(row, "left_at"), 0);
    cr_assert_eq(test_json_number(test_section(az, run.out, "sum"), "outside"), 1);
    az_close(az);
}

Test(corpus, the_entropy_is_what_the_library_says)
{
    az_ctx *az = az_open(NULL);
    test_run run = test_shell(az, test_folder(az), "adze corpus tales --entropy --json");
    double bytes, entropy = az_tales_entropy(az, az_tales_new(az), &bytes);
    json_t *row = test_json(az, run.out, 0);
    cr_assert_float_eq(test_json_number(row, "entropy"), entropy, 1e-9);
    cr_assert_float_eq(test_json_number(row, "mean_bytes"), bytes, 1e-9);
    az_close(az);
}

Test(corpus, an_interrupted_run_leaves_no_file)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    /* the signal comes when the work has begun: before, a shell's background process does not listen to it */
    static const char begun[] = "mkdir in; adze corpus tales --stories 100000000 -o in/big.txt --progress json 2> log & pid=$!; "
                                "while ! [ -s log ]; do sleep 0.02; done;";
    test_run run = test_shell(az, folder, az_format_text(az, "%s kill -INT $pid; wait $pid; echo $?; ls -A in", begun));
    cr_assert_str_eq(run.out, "130\n", "%s", run.out);
    run = test_shell(az, folder, az_format_text(az, "rm -r in log; %s kill -KILL $pid; wait $pid; ls -A in", begun));
    cr_assert_str_empty(run.out, "%s", run.out);
    az_close(az);
}

Test(corpus, progress_can_be_read_by_programs)
{
    az_ctx *az = az_open(NULL);
    test_run run = test_shell(az, test_folder(az), "adze corpus tales --stories 2000 --progress json > /dev/null");
    cr_assert_geq(test_lines(run.err), 1);
    json_t *last = test_json(az, run.err, test_lines(run.err) - 1);
    cr_assert_str_eq(json_string_value(json_object_get(last, "task")), "writing stories");
    cr_assert_eq(test_json_number(last, "done"), 2000);
    cr_assert(json_is_true(json_object_get(last, "finished")));
    run = test_shell(az, test_folder(az), "adze corpus tales --stories 2000 > /dev/null");
    cr_assert_str_empty(run.err, "silence in a pipe");
    az_close(az);
}
