/* The command line itself: help, exit codes, what mistyped and hostile arguments are told. */
#include "support/command.h"
#include "support/folder.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static const char *const verbs[] = {"run",      "train",    "tune",    "adapter", "tokenize", "corpus",  "info", "convert",
                                    "evaluate", "compress", "prepare", "prompt",  "estimate", "methods", "help", "claim"};

Test(usage, every_verb_has_help_and_a_place_in_the_manual)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    char *usage = test_shell(az, folder, "adze help").out, *manual = test_shell(az, folder, "adze help --man").out;
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        test_run a = test_shell(az, folder, az_format_text(az, "adze help %s", verbs[i]));
        test_run b = test_shell(az, folder, az_format_text(az, "adze %s --help", verbs[i]));
        cr_assert_eq(a.code, 0);
        cr_assert_eq(b.code, 0, "%s", b.err);
        cr_assert_str_eq(a.out, b.out);
        cr_assert_not_null(strstr(a.out, "--json"));
        cr_assert_not_null(strstr(usage, az_format_text(az, "\n  %s ", verbs[i])));
        cr_assert_not_null(strstr(manual, az_format_text(az, ".SS adze %s", verbs[i])));
    }
    az_close(az);
}

static bool takes_long(const char *name)
{
    return strcmp(name, "pv-tuning") == 0 || strcmp(name, "m-fac") == 0 || strcmp(name, "maskpro") == 0;
}

/* With less text and fewer steps than they have. */
Test(usage, the_example_of_every_method_works_as_it_stands)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    char *list = test_shell(az, folder, "adze methods --json").out;
    int tried = 0;
    for (int i = 0; i < test_lines(list); i++) {
        const char *name = json_string_value(json_object_get(test_json(az, list, i), "name"));
        cr_assert_not_null(strstr(test_shell(az, folder, az_format_text(az, "adze help %s", name)).out, "\nexample\n  "), "%s", name);
        if (takes_long(name)) continue;
        const char *shorten = "s/--stories 60/--stories 3/; s/--steps 20/--steps 1/";
        const test_run run =
            test_shell(az, folder,
                       az_format_text(az,
                                      "rm -rf try && mkdir try && cd try && adze help %s | sed -n '/^example$/,/^$/s/^  //p' | "
                                      "sed '%s' > example.sh && sh -e example.sh",
                                      name, shorten));
        cr_assert_eq(run.code, 0, "%s: %s", name, run.err);
        tried++;
    }
    cr_assert_gt(tried, 35);
    az_close(az);
}

Test(usage, the_completion_is_bash_and_completes)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    static const struct {
        const char *line, *offers;
    } cases[] = {
        {"eva", "evaluate"},
        {"run --temp", "--temperature= --template="},
        {"run ta", "tales"},
        {"compress tales wan", "wanda"},
        {"prepare questions lac", "lacie"},
        {"prompt te", "template"},
        {"adapter unm", "unmerge"},
        {"methods pre", "prepare"},
        {"help adap", "adapter adaptive-analysis"},
        {"claim quant", ""},
        {"claim pi", "pissa"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const test_run run = test_shell(
            az, folder,
            az_format_text(
                az,
                "adze help --completion > c.sh && bash -c 'source ./c.sh; COMP_WORDS=(adze %s); "
                "COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _adze 2>/dev/null; echo ${COMPREPLY[*]} | tr \" \" \"\\n\" | sort | xargs'",
                cases[i].line));
        cr_assert_eq(run.code, 0, "%s", run.err);
        cr_assert_str_eq(run.out, az_format_text(az, "%s\n", cases[i].offers), "%s: %s", cases[i].line, run.out);
    }
    az_close(az);
}

Test(usage, mistakes_end_in_2_with_what_to_do)
{
    static const struct {
        const char *line, *says;
    } cases[] = {
        {"adze", "usage: adze VERB"},
        {"adze evalaute x", "did you mean 'evaluate'?"},
        {"adze frobnicate", "`adze help` lists them"},
        {"adze help wandaa", "help:"},
        {"adze methods --jsno", "did you mean '--json'?"},
        {"adze methods forecast", "compress, tune, prepare and estimate"},
        {"adze evaluate tales --con 8", "did you mean '--context'?"},
        {"adze run tales --top-q 8", "unknown option '--top-q'; did you mean '--top-"},
        {"adze methods --plot drawing.txt", "ending in .svg or .png"},
        {"adze methods --plot nowhere/a.svg", "there is no folder 'nowhere'"},
        {"adze methods -x", "unknown option '-x'"},
        {"adze estimate dag-samples -o nowhere/new/", "there is no folder 'nowhere'"},
        {": > afile; adze estimate dag-samples -o afile/; c=$?; rm afile; exit $c", "'afile' is a file"},
        {"adze methods --threads", "needs a value"},
        {"adze methods --threads=two", "not a whole number"},
        {"adze methods --threads=-1", "out of range"},
        {"adze methods --json --json", "given twice"},
        {"adze methods --progress=loud", "not one of auto, bar, json, none"},
        {"adze methods a b c", "a word too many"},
        {"adze info", "something is missing; usage: adze info MODEL"},
        {"adze info -qx m", "takes no value"},
        {"adze info --", "something is missing"},
        {"adze claim nothing", "nothing is claimed of 'nothing'"},
        {"adze convert tales", "--output=text must be given"},
        {"adze evaluate tales", "--data=text must be given"},
        {"adze estimate wanda -d x.csv", "a method of the family compress, not of estimate"},
        {"adze estimate wandaa -d x.csv", "did you mean 'wanda'?"},
        {"adze corpus sagas", "there is: tales"},
        {"adze tokenize tales -p a -d b", "not both"},
        {"adze run tales < .", "cannot read the standard input"},
        {"adze convert tales -o m.safetensors", "would become a folder"},
        {": > none; adze info none; c=$?; rm none; exit $c", "the file is empty"},
        {"adze run tales -p a --memory=0.00001", "--memory=1e-05 GiB is too little"},
        {"adze compress tales wanda:sparsity=1 -d x -o y", "it must be 0 to 0.9999"},
        {"adze train lama:width=8 -d text -q -o y", "did you mean 'llama'?"},
        {"adze train xyzzy:width=8 -d text -q -o y", "there are: llama, qwen2,"},
        {"adze train llama:width=15,heads=2 -d text -q -o y", "no multiple of heads = 2"},
        {"adze train tales --tokenizer tales -d text -q -o y", "--tokenizer goes with a new model"},
    };
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    test_shell(az, folder, "adze corpus tales --stories 3 -o text");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        test_run run = test_shell(az, folder, cases[i].line);
        cr_assert_eq(run.code, 2, "'%s' ended in %d", cases[i].line, run.code);
        cr_assert_not_null(strstr(run.err, cases[i].says), "'%s' said: %s", cases[i].line, run.err);
        cr_assert(i == 0 || strncmp(run.err, "adze: ", 6) == 0, "%s", run.err);
        cr_assert_str_empty(run.out, "%s", run.out);
    }
    az_close(az);
}

Test(usage, hostile_arguments_are_only_refused)
{
    static const char *const lines[] = {
        "adze \"$(printf '%5000s' x)\"",
        "adze run \"$(printf '%5000s' x)\"",
        "adze methods \"--$(printf '%5000s' x)\"",
        "adze methods --=3",
        "adze methods ---",
        "adze info ''",
        "adze info /",
        "adze info /dev/null",
        "adze info '%s%n%s%n'",
        "adze corpus tales --stories=9e99",
        "adze corpus tales --stories=1 -o /nowhere/x",
        "adze corpus tales --stories=1 -o .",
        "adze compress tales wanda:sparsity=nan --dry-run",
        "adze compress tales ':' --dry-run",
        "adze compress tales '' --dry-run",
        "adze train llama:width=-5 -d x -o y",
        "adze train llama:width=99999999999999999999 -d x -o y",
    };
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        test_run run = test_shell(az, folder, lines[i]);
        cr_assert_eq(run.code, 2, "'%s' ended in %d: %s", lines[i], run.code, run.err);
        cr_assert(strncmp(run.err, "adze: ", 6) == 0, "'%s' said: %s", lines[i], run.err);
    }
    cr_assert_str_empty(test_shell(az, folder, "ls -A").out, "nothing was written");
    az_close(az);
}

Test(usage, a_method_is_explained)
{
    az_ctx *az = az_open(NULL);
    test_run run = test_shell(az, test_folder(az), "adze help wanda");
    cr_assert_eq(run.code, 0, "%s", run.err);
    cr_assert_not_null(strstr(run.out, "wanda (compress)"));
    cr_assert_not_null(strstr(run.out, "sparsity=real"));
    for (char *line = strtok(run.out, "\n"); line; line = strtok(NULL, "\n")) cr_assert_leq(strlen(line), 140);
    az_close(az);
}

Test(usage, methods_stand_under_the_verbs_that_take_them)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    const char *prepare = test_shell(az, folder, "adze methods prepare").out;
    cr_assert_eq(strncmp(prepare, "prepare\n", 8), 0, "%s", prepare);
    cr_assert_not_null(strstr(prepare, "\n  aops "));
    cr_assert_not_null(strstr(prepare, "\n  itertl "));
    cr_assert_null(strstr(prepare, "\n  lora "));
    const char *tune = test_shell(az, folder, "adze methods tune").out;
    cr_assert_not_null(strstr(tune, "\n  itertl "));
    cr_assert_null(strstr(tune, "\n  aops "));
    cr_assert_not_null(strstr(test_shell(az, folder, "adze help itertl").out, "itertl (tune, prepare) - "));
    const test_run run =
        test_shell(az, folder, "adze methods | grep -c '^  ' && adze methods --json | wc -l && adze methods prepare --json | wc -l");
    int rows, all, preparing;
    cr_assert_eq(sscanf(run.out, "%d %d %d", &rows, &all, &preparing), 3, "%s", run.out);
    cr_assert_eq(preparing, 3);
    cr_assert_eq(rows, all + 4 + 1, "four heads, and itertl stands under two verbs: %s", run.out);
    az_close(az);
}

Test(usage, a_default_of_blanks_can_be_seen)
{
    az_ctx *az = az_open(NULL);
    const test_run run = test_shell(az, test_folder(az), "adze help cpt");
    cr_assert_not_null(strstr(run.out, "text between both (default \" \")\n"), "%s", run.out);
    cr_assert_not_null(strstr(run.out, "(default a line end)\n"), "%s", run.out);
    az_close(az);
}

Test(usage, the_manual_tells_of_methods_and_exit_statuses_what_help_does)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    const char *manual = test_shell(az, folder, "adze help --man").out;
    cr_assert_not_null(strstr(manual, ".SS itertl (tune, prepare)\n"));
    cr_assert_not_null(strstr(manual, "Kept weights do not change."), "details of wanda");
    cr_assert_not_null(strstr(manual, ".B \\-d samples=FILE\n"), "files of colide");
    cr_assert_not_null(strstr(manual, ".B 3\n"));
    const test_run run =
        test_shell(az, folder, "adze help --man > a.1 && ! command -v man >/dev/null || LC_ALL=C man --warnings -l a.1 >/dev/null");
    cr_assert_eq(run.code, 0);
    cr_assert_str_eq(run.err, "");
    az_close(az);
}

Test(usage, version_names_processor_and_formats)
{
    az_ctx *az = az_open(NULL);
    test_run run = test_shell(az, test_folder(az), "adze --version");
    cr_assert_eq(run.code, 0);
    cr_assert_not_null(strstr(run.out, az_version()));
    cr_assert_not_null(strstr(run.out, "q8_0"));
    run = test_shell(az, test_folder(az), "ADZE_ISA=portable adze --version");
    cr_assert_not_null(strstr(run.out, "portable"));
    az_close(az);
}

Test(usage, methods_as_json_tell_all_about_their_options)
{
    az_ctx *az = az_open(NULL);
    test_run run = test_shell(az, test_folder(az), "adze methods --json");
    cr_assert_eq(run.code, 0);
    for (int i = 0; i < test_lines(run.out); i++) {
        json_t *method = test_json(az, run.out, i), *option;
        static const char *const keys[] = {"name", "family", "summary", "paper"};
        for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
            cr_assert_gt(json_string_length(json_object_get(method, keys[k])), 0, "%s of line %d", keys[k], i);
        size_t n;
        json_array_foreach(json_object_get(method, "options"), n, option)
        {
            cr_assert(json_is_string(json_object_get(option, "name")));
            cr_assert(json_is_string(json_object_get(option, "type")));
            cr_assert(json_is_string(json_object_get(option, "range")));
            cr_assert_gt(json_string_length(json_object_get(option, "help")), 0);
        }
    }
    az_close(az);
}

Test(usage, help_as_json_tells_all_about_options)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    test_run all = test_shell(az, folder, "adze help --json"), one = test_shell(az, folder, "adze run --help --json");
    cr_assert_eq(test_lines(all.out), sizeof verbs / sizeof *verbs);
    cr_assert_eq(test_lines(one.out), 1);
    cr_assert_not_null(strstr(all.out, one.out));
    const json_t *options = json_object_get(test_json(az, one.out, 0), "options");
    const json_t *option;
    size_t n;
    int seeds = 0;
    json_array_foreach((json_t *)(uintptr_t)options, n, option)
    {
        const char *name = json_string_value(json_object_get(option, "name"));
        seeds += strcmp(name, "seed") == 0;
        if (strcmp(name, "temperature") == 0) cr_assert_str_eq(json_string_value(json_object_get(option, "range")), "0 to 100");
        cr_assert_gt(json_string_length(json_object_get(option, "help")), 0, "%s", name);
    }
    cr_assert_eq(seeds, 1, "an option that the verb shares with all stands once");
    test_run method = test_shell(
        az, folder, "adze help wanda --json; adze methods --json | grep '^{.name.:.wanda.' > m; adze help wanda --json | cmp - m");
    cr_assert_eq(method.code, 0, "%s", method.err);
    cr_assert_null(strstr(strstr(test_shell(az, folder, "adze help train").out, "--seed") + 1, "--seed"));
    az_close(az);
}

Test(usage, output_that_does_not_arrive_is_an_error)
{
    static const char *const lines[] = {"adze --version > /dev/full",
                                        "adze run --help > /dev/full",
                                        "adze help > /dev/full",
                                        "adze run tales -p Once -n 3 > /dev/full",
                                        "adze run tales -p Once -n 3 >&-",
                                        "adze info tales > /dev/full",
                                        "adze tokenize tales -p Once > /dev/full",
                                        "adze convert tales -o /dev/full"};
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        test_run run = test_shell(az, folder, lines[i]);
        cr_assert_eq(run.code, 2, "'%s' ended in %d: %s", lines[i], run.code, run.err);
        cr_assert_not_null(strstr(run.err, "cannot write"), "'%s' said: %s", lines[i], run.err);
    }
    az_close(az);
}

Test(usage, an_empty_text_has_no_tokens)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    test_run run = test_shell(az, folder, "adze tokenize tales -p '' --json; adze tokenize tales -p '' --bos --json");
    cr_assert_eq(run.code, 0, "%s", run.err);
    cr_assert_eq(test_json_number(test_json(az, run.out, 0), "tokens"), 0);
    cr_assert_eq(test_json_number(test_json(az, run.out, 1), "tokens"), 1);
    run = test_shell(az, folder, "printf 'Once' | adze tokenize tales --json");
    cr_assert_eq(test_json_number(test_json(az, run.out, 0), "bytes"), 4, "%s", run.err);
    az_close(az);
}

Test(usage, a_closed_pipe_ends_quietly)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    test_run run = test_shell(az, folder, "adze corpus tales --stories 100000 | head -n 1 | wc -l");
    cr_assert_str_empty(run.err, "%s", run.err);
    cr_assert_eq(atoi(run.out), 1);
    run = test_shell(az, folder, "adze help > /dev/full");
    cr_assert_eq(run.code, 2);
    cr_assert_not_null(strstr(run.err, "standard output"));
    az_close(az);
}

/* OpenBLAS takes a processor that it does not know for a Prescott. */
Test(usage, blas_knows_a_processor_with_avx2)
{
    if (!az_cpu_features()->avx2) cr_skip_test("needs AVX2");
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    test_run run = test_shell(az, folder, "env -u OPENBLAS_CORETYPE adze --version");
    cr_assert(strstr(run.out, "OpenBLAS, as for ") && !strstr(run.out, "Prescott"), "%s", run.out);
    run = test_shell(az, folder, "OPENBLAS_CORETYPE=Haswell adze --version");
    cr_assert_not_null(strstr(run.out, "OpenBLAS, as for Haswell"));
    az_close(az);
}

Test(usage, idle_threads_sleep_soon_unless_the_user_says_otherwise)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    const char *told = "env -u OMP_WAIT_POLICY OMP_DISPLAY_ENV=verbose";
    cr_assert_not_null(strstr(test_shell(az, folder, az_format_text(az, "%s adze --version", told)).err, "GOMP_SPINCOUNT = '2000'"));
    cr_assert_not_null(strstr(test_shell(az, folder, az_format_text(az, "%s GOMP_SPINCOUNT=7 adze --version", told)).err, "COUNT = '7'"));
    cr_assert_null(strstr(test_shell(az, folder, az_format_text(az, "%s OMP_WAIT_POLICY=active adze --version", told)).err, "'2000'"));
    az_close(az);
}
