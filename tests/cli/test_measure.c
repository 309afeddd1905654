/* adze train, evaluate, compress on a tiny model: keys, measuring, resuming, interruption, files whole or not at all. */
#include "cli/models.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

Test(evaluate, one_row_a_model_with_the_promised_keys)
{
    static const char *const numbers[] = {"perplexity", "nll", "nll_se", "tokens", "documents"};
    az_ctx *az = az_open(NULL);
    test_run run = test_shell(az, test_models(az), "adze evaluate tiny.gguf -d text.txt --json");
    cr_assert_eq(run.code, 0, "%s", run.err);
    json_t *row = test_json(az, run.out, 0);
    cr_assert_str_eq(json_string_value(json_object_get(row, "model")), "tiny.gguf");
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) cr_assert_gt(test_json_number(row, numbers[i]), 0);
    cr_assert_float_eq(test_json_number(row, "perplexity"), exp(test_json_number(row, "nll")), 1e-6);
    cr_assert_eq(test_json_number(row, "documents"), 60);
    cr_assert_eq(test_lines(run.out), 1);
    az_close(az);
}

Test(evaluate, several_models_are_compared_in_pairs)
{
    az_ctx *az = az_open(NULL);
    test_run run = test_shell(az, test_models(az), "cp tiny.gguf twin.gguf; adze evaluate tiny.gguf twin.gguf -d text.txt --json");
    cr_assert_eq(run.code, 0, "%s", run.err);
    json_t *row = test_section(az, run.out, "differences");
    cr_assert_eq(test_json_number(row, "difference"), 0);
    cr_assert_eq(test_json_number(row, "low"), 0);
    cr_assert_str_eq(json_string_value(json_object_get(row, "verdict")), "no difference shown");
    az_close(az);
}

/* Stories stand in the file with a line end and a mark of 14 bytes behind each. */
Test(evaluate, models_with_different_tokens_are_compared_by_the_byte)
{
    az_ctx *az = az_open(NULL);
    test_run run = test_shell(az, test_models(az), "adze evaluate tales tiny.gguf -d text.txt --json; wc -c < text.txt");
    cr_assert_eq(run.code, 0, "%s", run.err);
    const json_t *tales = test_json(az, run.out, 0), *tiny = test_json(az, run.out, 1), *row = test_section(az, run.out, "differences");
    cr_assert_str_eq(json_string_value(json_object_get(row, "per")), "byte");
    const double bytes = atof(strrchr(run.out, '}') + 1) - 15 * test_json_number(tales, "documents");
    const double lost = test_json_number(tiny, "nll") * test_json_number(tiny, "tokens") -
                        test_json_number(tales, "nll") * test_json_number(tales, "tokens");
    cr_assert_float_eq(test_json_number(row, "difference"), lost / bytes, 1e-9);
    az_close(az);
}

Test(evaluate, a_missing_text_or_model_is_named)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_models(az);
    test_run run = test_shell(az, folder, "adze evaluate tiny.gguf -d absent.txt");
    cr_assert_eq(run.code, 2);
    cr_assert_not_null(strstr(run.err, "absent.txt"));
    run = test_shell(az, folder, "adze evaluate tiny.gguf absent.gguf -d text.txt");
    cr_assert_eq(run.code, 2);
    cr_assert_not_null(strstr(run.err, "absent.gguf"));
    cr_assert_str_empty(run.out, "no half of a result");
    az_close(az);
}

Test(compress, a_chain_reports_each_step)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_models(az);
    test_run run =
        test_shell(az, folder, "adze compress tiny.gguf magnitude:sparsity=0.5 quantize:type=q8_0 -d text.txt -o small.gguf --json");
    cr_assert_eq(run.code, 0, "%s", run.err);
    json_t *given = test_json(az, run.out, 0);
    int steps = 0;
    for (int i = 0; i < test_lines(run.out); i++) {
        json_t *row = test_json(az, run.out, i);
        if (strcmp(json_string_value(json_object_get(row, "section")), "steps") != 0) continue;
        cr_assert_eq(test_json_number(row, "step"), steps);
        cr_assert_gt(test_json_number(row, "perplexity"), 1);
        if (steps == 0) given = row;
        if (steps == 1) cr_assert_float_eq(test_json_number(row, "sparsity"), 0.5, 0.02);
        if (steps == 2) cr_assert_lt(test_json_number(row, "bytes"), 0.7 * test_json_number(given, "bytes"));
        steps++;
    }
    cr_assert_eq(steps, 3);
    double kept = test_json_number(test_section(az, run.out, "result"), "documents");
    cr_assert(kept >= 4 && kept <= 24, "about 0.2 of 60 documents");
    cr_assert_eq(test_shell(az, folder, "adze run small.gguf -p One -n 5").code, 0);
    az_close(az);
}

Test(compress, a_large_text_is_measured_on_few_of_its_documents)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_models(az);
    test_run run = test_shell(az, folder,
                              "yes 'A short one.' | head -6000 | sed 'a <|endoftext|>' >large.txt; "
                              "adze compress tiny.gguf quantize:type=q8_0 -d large.txt --share 0.9 --dry-run --json");
    cr_assert_eq(run.code, 0, "%s", run.err);
    double kept = test_json_number(test_section(az, run.out, "result"), "documents");
    cr_assert(kept >= 400 && kept <= 624, "about 512 of 6000 documents, not %g", kept);
    az_close(az);
}

/* The seed of the line is that of the methods, unless they have their own. */
Test(compress, the_seed_chooses_the_calibration_text)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_models(az), *line = "adze compress tiny.gguf wanda:nsamples=1,seqlen=8%s -d text.txt --share 0 -o %s.gguf %s";
    test_shell(az, folder, az_format_text(az, line, "", "plain", ""));
    test_shell(az, folder, az_format_text(az, line, "", "seven", "--seed 7"));
    test_shell(az, folder, az_format_text(az, line, ",seed=7", "own", "--seed 3"));
    cr_assert_eq(test_shell(az, folder, "cmp -s plain.gguf seven.gguf").code, 1);
    cr_assert_eq(test_shell(az, folder, "cmp -s own.gguf seven.gguf").code, 0);
    az_close(az);
}

Test(compress, what_cannot_work_is_refused_before_the_work)
{
    static const struct {
        const char *line, *says;
    } cases[] = {
        {"adze compress tiny.gguf magnitude -d text.txt", "-o OUT.gguf, or --dry-run"},
        {"adze compress tiny.gguf magnitud -d text.txt -o x.gguf", "did you mean 'magnitude'?"},
        {"adze compress tiny.gguf magnitude:sparsty=0.5 -d text.txt -o x.gguf", "did you mean 'sparsity'?"},
        {"adze compress tiny.gguf magnitude:sparsity=2 -d text.txt -o x.gguf", "out of range"},
        {"adze compress tiny.gguf wanda:sparsity=0.9,pattern=2:4 -d text.txt -o x.gguf", "sparsity=0.9 another share: give one of them"},
        {"adze compress tiny.gguf quantize:type=f64 -d text.txt -o x.gguf", "no format 'f64' to quantize to"},
        {"adze compress tiny.gguf wanda -o x.gguf", "needs calibration text"},
        {"adze compress tiny.gguf wanda quantize:type=q9 -d text.txt -o x.gguf --progress=json",
         "adze: step 2, quantize:type=q9: no format"},
        {"adze compress tiny.gguf magnitude wanda:pattern=2:5 -d text.txt -o x.gguf --progress=json", "adze: step 2, wanda:pattern=2:5: "},
        {"adze compress tiny.gguf magnitude -d text.txt -o nowhere/x.gguf", "there is no folder 'nowhere'"},
    };
    az_ctx *az = az_open(NULL);
    const char *folder = test_models(az);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        test_run run = test_shell(az, folder, cases[i].line);
        cr_assert_eq(run.code, 2, "'%s' ended in %d", cases[i].line, run.code);
        cr_assert_not_null(strstr(run.err, cases[i].says), "'%s' said: %s", cases[i].line, run.err);
        cr_assert_null(strstr(run.err, "\"task\""), "'%s' began to work: %s", cases[i].line, run.err);
    }
    cr_assert_str_eq(test_shell(az, folder, "ls -A").out, "text.txt\ntiny.gguf\n");
    az_close(az);
}

Test(train, a_run_that_is_cut_goes_on_bit_for_bit)
{
    static const char command[] = "adze train llama:width=16,blocks=1,heads=2,context=32,vocabulary=280 -d text.txt --batch 2 --length 32 "
                                  "--save-every 1 --quiet";
    az_ctx *az = az_open(NULL);
    const char *folder = test_models(az);
    test_run whole = test_shell(az, folder, az_format_text(az, "%s --steps 40 -o whole.gguf", command));
    cr_assert_eq(whole.code, 0, "%s", whole.err);
    test_run cut =
        test_shell(az, folder,
                   az_format_text(az,
                                  "%s --steps 40 -o cut.gguf --resume state >log & pid=$!\n"
                                  "while [ -z \"$(ls state 2>/dev/null)\" ]; do sleep 0.01; done; kill -9 $pid; wait $pid; ls cut.gguf\n"
                                  "%s --steps 40 -o cut.gguf --resume state >log && cmp whole.gguf cut.gguf && echo same",
                                  command, command));
    cr_assert_str_eq(cut.out, "same\n", "%s%s", cut.out, cut.err);
    az_close(az);
}

Test(train, an_interrupted_run_writes_what_is_done)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_models(az);
    test_run run =
        test_shell(az, folder,
                   "adze train tiny.gguf -d text.txt --steps 10000000 --batch 1 --length 16 -o more.gguf --progress json 2>log & pid=$!\n"
                   "while ! [ -s log ]; do sleep 0.02; done; kill -INT $pid; wait $pid; echo $?; adze info more.gguf > /dev/null; echo $?");
    cr_assert_not_null(strstr(run.out, "130\n0\n"), "%s%s", run.out, run.err);
    az_close(az);
}

Test(train, the_result_is_measured_on_text_kept_from_training)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_models(az);
    test_run run = test_shell(
        az, folder, "adze train tiny.gguf -d text.txt --valid-share 0.3 --steps 5 --batch 2 --length 32 --save-as f16 -o more.gguf --json");
    cr_assert_eq(run.code, 0, "%s", run.err);
    json_t *row = test_section(az, run.out, "result");
    cr_assert_gt(test_json_number(row, "documents"), 5);
    cr_assert_lt(test_json_number(row, "documents"), 31);
    cr_assert_gt(test_json_number(row, "nll"), 0);
    az_close(az);
}
