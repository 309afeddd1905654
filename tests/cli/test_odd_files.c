/* Files as people have them: byte order marks, JSON lines from a pipe, Latin-1, a stray text among numbers, pictures that were cut off. */
#include "cli/models.h"

#include <criterion/criterion.h>
#include <string.h>

static double nll(az_ctx *az, const char *folder, const char *line)
{
    test_run run = test_shell(az, folder, line);
    cr_assert_eq(run.code, 0, "'%s': %s", line, run.err);
    return test_json_number(test_section(az, run.out, "models"), "nll");
}

Test(odd_files, a_byte_order_mark_is_no_text)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_models(az);
    test_shell(az, folder,
               "printf 'A small cat.' > plain.txt; printf '\\357\\273\\277A small cat.' > mark.txt;"
               "printf '\\357\\273\\277{\"text\": \"A small cat.\"}\\n' > mark.jsonl; gzip -k mark.jsonl");
    const double plain = nll(az, folder, "adze evaluate tiny.gguf -d plain.txt --json");
    cr_assert_eq(nll(az, folder, "adze evaluate tiny.gguf -d mark.txt --json"), plain);
    cr_assert_eq(nll(az, folder, "adze evaluate tiny.gguf -d mark.jsonl --json"), plain);
    cr_assert_eq(nll(az, folder, "adze evaluate tiny.gguf -d mark.jsonl.gz --json"), plain);
    az_close(az);
}

Test(odd_files, json_lines_are_known_without_a_name)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_models(az);
    test_shell(az, folder, "printf '\\n {\"text\": \"A small cat.\"}\\n{\"text\": \"A dog.\"}\\n' > two.jsonl");
    const double named = nll(az, folder, "adze evaluate tiny.gguf -d two.jsonl --json");
    cr_assert_eq(nll(az, folder, "adze evaluate tiny.gguf -d - --json < two.jsonl"), named);
    az_close(az);
}

Test(odd_files, what_is_wrong_with_json_lines_is_told)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"[{\\\"text\\\": \\\"a\\\"}]", "line 1 is no object; JSON lines are one object a line"},
        {"{\\n\\\"text\\\": \\\"a\\\"}", "line 1 is not JSON"},
        {"{\\\"text\\\": \\\"a\\\", \\\"text\\\": \\\"b\\\"}", "duplicate object key"},
    };
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        test_run run = test_shell(az, folder, az_format_text(az, "printf \"%s\" > x.jsonl; adze evaluate tales -d x.jsonl", cases[i].text));
        cr_assert_eq(run.code, 2);
        cr_assert_not_null(strstr(run.err, cases[i].says), "%s", run.err);
    }
    az_close(az);
}

/* A table of 40 rows y, g, s, z in which g is known for half of the rows. */
static const char *table_folder(az_ctx *az)
{
    const char *folder = test_folder(az);
    test_run run =
        test_shell(az, folder,
                   "awk 'BEGIN { print \"y,g,s,z\"; for (i = 0; i < 40; i++) { g = int(i / 2) % 2; printf \"%d.%d,%s,%d,%.3f\\n\", "
                   "g + i % 3, i % 7, i % 2 ? \"\" : g, i % 9 ? g : 1 - g, sin(i) } }' > t.csv");
    cr_assert_eq(run.code, 0, "%s", run.err);
    return folder;
}

Test(odd_files, a_stray_text_among_numbers_is_told_and_can_be_left_out)
{
    az_ctx *az = az_open(NULL);
    const char *folder = table_folder(az);
    test_shell(az, folder, "sed '8s/[^,]*$/abc/' t.csv > stray.csv");
    const char *fit = "adze estimate 'dsl:formula=y ~ g + z,gold=g,surrogate=s,folds=2' -d stray.csv";
    test_run run = test_shell(az, folder, fit);
    cr_assert_not_null(strstr(run.err, "column 'z' is read as text: line 8 has 'abc', where 39 other fields are numbers"), "%s", run.err);
    cr_assert_eq(run.code, 2, "a category of as many levels as rows has no regression");
    cr_assert_not_null(strstr(run.err, "40 rows do not determine"), "%s", run.err);
    run = test_shell(az, folder, az_format_text(az, "%s --na=abc --json", fit));
    cr_assert_eq(run.code, 0, "%s", run.err);
    cr_assert_eq(test_json_number(test_section(az, run.out, "data"), "dropped"), 1);
    run = test_shell(az, folder, "adze estimate colide -d stray.csv");
    cr_assert_not_null(strstr(run.err, "holds text ('abc' ...)"), "%s", run.err);
    az_close(az);
}

Test(odd_files, latin_1_arrives_as_utf_8)
{
    az_ctx *az = az_open(NULL);
    const char *folder = table_folder(az);
    test_run run = test_shell(az, folder,
                              "printf 'row,col,v\\nM\\374n,a,1\\nM\\374n,b,2\\nUlm,a,3\\nUlm,b,4\\n' > l.csv;"
                              "adze estimate matrix-completion:rank=1,ridge=0.1 -d l.csv -o u.json && cat u.json");
    cr_assert_eq(run.code, 0, "%s", run.err);
    cr_assert_not_null(strstr(run.err, "read as Latin-1"), "%s", run.err);
    cr_assert_not_null(strstr(run.out, "M\xc3\xbcn"), "%s", run.out);
    az_close(az);
}

Test(odd_files, a_picture_without_its_end_is_an_error)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_models(az);
    test_run run = test_shell(az, folder,
                              "mkdir bin; printf '#!/bin/sh\\necho \"<svg>\"\\n' > bin/gnuplot; chmod +x bin/gnuplot;"
                              "PATH=$PWD/bin:$PATH adze evaluate tiny.gguf -d text.txt --plot x.svg");
    cr_assert_eq(run.code, 2);
    cr_assert_not_null(strstr(run.err, "gnuplot did not finish the picture"), "%s", run.err);
    cr_assert_eq(test_shell(az, folder, "test -e x.svg").code, 1, "nothing half-written");
    az_close(az);
}

Test(odd_files, a_folder_of_the_users_own_comes_before_a_bundled_model)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_models(az);
    test_run run = test_shell(az, folder, "adze convert tiny.gguf -o tales -q > log && adze info tales --json");
    cr_assert_eq(run.code, 0, "%s", run.err);
    cr_assert_eq(test_json_number(test_section(az, run.out, "model"), "width"), 32);
    run = test_shell(az, folder, "mkdir models; cp tiny.gguf models; adze info ./models");
    cr_assert_eq(run.code, 2);
    cr_assert_not_null(strstr(run.err, "give the file: ./models/tiny.gguf"), "%s", run.err);
    az_close(az);
}

Test(odd_files, what_would_be_in_vain_is_refused)
{
    static const struct {
        const char *line, *says;
    } cases[] = {
        {"adze corpus tales --entropy -o x", "-o is for stories"},
        {"adze prepare absent.jsonl lacie --backend oracle:judge -o made", "cannot read 'absent.jsonl'"},
        {"adze run tiny.gguf -p a --adapter model", "the folder of a model, not of an adapter"},
        {"adze run tiny.gguf -p a --plot x.svg", "nothing to plot"},
        {"printf 'a\\0b\n' | adze run tiny.gguf -n 1", "holds a zero byte"},
    };
    az_ctx *az = az_open(NULL);
    const char *folder = test_models(az);
    test_shell(az, folder, "adze convert tiny.gguf -o model");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        test_run run = test_shell(az, folder, cases[i].line);
        cr_assert_eq(run.code, 2, "'%s' ended in %d", cases[i].line, run.code);
        cr_assert_not_null(strstr(run.err, cases[i].says), "'%s' said: %s", cases[i].line, run.err);
        cr_assert_str_empty(run.out, "%s", run.out);
    }
    cr_assert_eq(test_shell(az, folder, "test -e x || test -e made || test -e x.svg").code, 1);
    az_close(az);
}

Test(odd_files, claims_are_listed_as_json_too)
{
    az_ctx *az = az_open(NULL);
    test_run run = test_shell(az, test_folder(az), "adze claim --list --json");
    cr_assert_eq(run.code, 0);
    for (int i = 0; i < test_lines(run.out); i++)
        cr_assert_not_null(json_string_value(json_object_get(test_json(az, run.out, i), "statement")));
    az_close(az);
}

Test(odd_files, a_prompt_that_is_too_long_is_not_shown)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_models(az);
    test_run run = test_shell(az, folder, "adze run tiny.gguf --prompt-file text.txt");
    cr_assert_eq(run.code, 2);
    cr_assert_str_empty(run.out, "%s", run.out);
    run = test_shell(az, folder, "adze run tiny.gguf -p 'A cat' -n 0 -q");
    cr_assert_eq(run.code, 0);
    cr_assert_str_eq(run.out, "A cat\n");
    az_close(az);
}

Test(odd_files, a_context_beyond_the_models_is_told)
{
    az_ctx *az = az_open(NULL);
    test_run run = test_shell(az, test_models(az), "adze evaluate tiny.gguf -d text.txt --context 100000 --limit 1");
    cr_assert_eq(run.code, 0);
    cr_assert_not_null(strstr(run.err, "tokens at most, not on 100000"), "%s", run.err);
    az_close(az);
}

Test(odd_files, what_was_found_is_told_even_when_it_cannot_be_written)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    test_shell(az, folder, "printf 'a,b\\n1,2\\n2,4.5\\n3,6\\n' > m.csv");
    test_run run = test_shell(az, folder, "adze estimate matrix-completion:rank=1,ridge=0.1 -d m.csv -o x.dot");
    cr_assert_eq(run.code, 2);
    cr_assert_not_null(strstr(run.out, "rmse"), "%s", run.out);
    cr_assert_not_null(strstr(run.err, "no result is written with this ending"), "%s", run.err);
    run = test_shell(az, folder, "adze estimate matrix-completion:rank=1,ridge=0.1 -d m.csv -o x.txt");
    cr_assert_eq(run.code, 2);
    cr_assert_str_empty(run.out, "an ending that nothing has is refused before the work");
    az_close(az);
}

Test(odd_files, a_table_with_gaps_is_a_matrix_to_be_filled)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    test_run run = test_shell(az, folder,
                              "printf 'a,b,c,d,e\\n1,2,3,4,5\\n2,4,6,8,10\\n3,,9,12,15\\n,8,12,16,20\\n' > m.csv;"
                              "adze estimate matrix-completion:rank=1,fill -d m.csv -o full.csv && cat full.csv");
    cr_assert_eq(run.code, 0, "%s", run.err);
    const char *third = strchr(strstr(run.out, "\n2,4,6,8,10\n") + 1, '\n');
    double b, a, rest[4];
    cr_assert_eq(sscanf(third, "\n3,%lf,9,12,15\n%lf,%lf,%lf,%lf,%lf", &b, &a, rest, rest + 1, rest + 2, rest + 3), 6, "%s", run.out);
    cr_assert_float_eq(b, 6, 1e-6);
    cr_assert_float_eq(a, 4, 1e-6);
    az_close(az);
}
