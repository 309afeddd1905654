/* adze tune and adze adapter on a tiny model: from examples to an adapter, to a merged model and back; breaks; what is refused. */
#include "cli/models.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

/* The folder of test_models with forty examples in train.jsonl. */
static const char *with_examples(az_ctx *az)
{
    const char *folder = test_models(az);
    const test_run made = test_shell(az, folder,
                                     "i=0; while [ $i -lt 40 ]; do i=$((i+1)); "
                                     "echo \"{\\\"prompt\\\": \\\"Who is number $i?\\\", \\\"response\\\": \\\" Tom $((i % 7)).\\\"}\"; "
                                     "done >train.jsonl");
    cr_assert_eq(made.code, 0, "%s", made.err);
    return folder;
}

static test_run expect(az_ctx *az, const char *folder, const char *line, int code)
{
    const test_run run = test_shell(az, folder, line);
    cr_assert_eq(run.code, code, "'%s' ended in %d: %s", line, run.code, run.err);
    return run;
}

static double nll_of(az_ctx *az, const char *folder, const char *arguments)
{
    const test_run run = expect(az, folder, az_format_text(az, "adze evaluate %s -d train.jsonl --examples --json", arguments), 0);
    return test_json_number(test_json(az, run.out, 0), "nll");
}

Test(tune, results_that_could_not_be_written_are_refused_before_the_work)
{
    static const struct {
        const char *line, *says;
    } cases[] = {
        {"tune tiny.gguf lora -d train.jsonl -o text.txt", "is a file; give the name of a folder"},
        {"tune tiny.gguf lora -d train.jsonl -o new.gguf", "would become a folder"},
        {"tune tiny.gguf lora -d train.jsonl -o -", "cannot go to the standard output"},
        {"tune tiny.gguf tezo:params=lora -d train.jsonl -o new.gguf", "would become a folder"},
        {"tune tiny.gguf full -d train.jsonl -o new.safetensors", "would become a folder"},
        {"tune tiny.gguf full -d train.jsonl -o train.jsonl", "is read here and would be written over"},
        {"tune tiny.gguf full -d train.jsonl --valid text.txt -o ./text.txt", "is read here and would be written over"},
        {"compress tiny.gguf wanda -d train.jsonl -o train.jsonl", "is read here and would be written over"},
        {"train llama:width=8 -d train.jsonl -o train.jsonl", "is read here and would be written over"},
        {"tune tiny.gguf tezo:log=train.jsonl -d train.jsonl -o new.gguf", "is read here and would be written over"},
        {"tune tiny.gguf tezo:log=nowhere/log -d train.jsonl -o new.gguf", "nowhere/log"},
        {"tune tiny.gguf aops -d train.jsonl -o new", "adze prepare INPUT aops"},
        {"tune tiny.gguf dpo -d train.jsonl -o new", "adze: dpo: example 1 has no strings"},
        {"adapter merge tiny.gguf nowhere", "where does the result go? -o NAME.gguf"},
        {"adapter info tiny.gguf nowhere -o x", "info has no use for --output"},
        {"adapter merge tiny.gguf nowhere -o x.gguf --rank 3", "merge has no use for --rank"},
        {"adapter add tiny.gguf nowhere -o train.jsonl", "is a file; give the name of a folder"},
    };
    az_ctx *az = az_open(NULL);
    const char *folder = with_examples(az);
    const char *before = test_shell(az, folder, "ls -A").out;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const test_run run = expect(az, folder, az_format_text(az, "adze %s", cases[i].line), 2);
        cr_assert_not_null(strstr(run.err, cases[i].says), "'%s' said: %s", cases[i].line, run.err);
        cr_assert_str_empty(run.out, "%s", run.out);
    }
    cr_assert_str_eq(test_shell(az, folder, "ls -A").out, before);
    az_close(az);
}

Test(tune, examples_become_an_adapter)
{
    az_ctx *az = az_open(NULL);
    const char *folder = with_examples(az);
    const test_run run =
        expect(az, folder, "adze tune tiny.gguf lora:rank=4,targets=all-linear -d train.jsonl -o out --steps 30 --lr 1e-2 --json", 0);
    json_t *examples = test_section(az, run.out, "examples");
    cr_assert_eq(test_json_number(examples, "train") + test_json_number(examples, "valid"), 40);
    cr_assert_gt(test_json_number(examples, "valid"), 0);
    cr_assert_eq(test_json_number(test_section(az, run.out, "training"), "steps"), 30);
    cr_assert_gt(test_json_number(test_section(az, run.out, "training"), "best_valid_loss"), 0);
    cr_assert_not_null(strstr(run.out, "\"training loss\""));
    cr_assert_gt(test_json_number(test_section(az, run.out, "result"), "adapter_parameters"), 1000);
    cr_assert_str_eq(expect(az, folder, "ls out", 0).out, "adapter_config.json\nadapter_model.safetensors\n");
    const test_run measured = expect(az, folder, "adze evaluate tiny.gguf --adapter out -d train.jsonl --examples --json", 0);
    json_t *difference = test_section(az, measured.out, "differences");
    cr_assert_str_eq(json_string_value(json_object_get(difference, "verdict")), "better", "%s", measured.out);
    const char *tell = "adze run tiny.gguf -p 'Who is number 3?' -n 4 --temperature 0 -q";
    const char *plain = expect(az, folder, tell, 0).out, *taught = expect(az, folder, az_format_text(az, "%s --adapter out", tell), 0).out;
    cr_assert_str_neq(plain, taught);
    cr_assert_not_null(strstr(taught, "Tom"), "%s", taught);
    az_close(az);
}

/* The norms that DoRA divides by are gone after the merge; and what a command reads it does not write over. */
Test(adapter, what_cannot_be_undone_is_refused)
{
    static const struct {
        const char *line, *says;
    } cases[] = {
        {"adze adapter unmerge merged.gguf out -o back.gguf", "the norms that DoRA divided by are not known any more"},
        {"adze adapter merge tiny.gguf out -o ./tiny.gguf", "would be written over"},
        {"adze compress tiny.gguf magnitude -d train.jsonl -o tiny.gguf", "would be written over"},
        {"adze convert tiny.gguf --format f16 -o tiny.gguf", "would be written over"},
        {"adze tune folder lora -d train.jsonl -o folder/", "would be written over"},
        {"adze adapter add tiny.gguf out out -o ./out", "would be written over"},
    };
    az_ctx *az = az_open(NULL);
    const char *folder = with_examples(az);
    expect(az, folder, "adze tune tiny.gguf lora:rank=2,dora -d train.jsonl -o out --steps 2 -q && cp tiny.gguf before.gguf", 0);
    expect(az, folder, "adze adapter merge tiny.gguf out -o merged.gguf -q && adze convert tiny.gguf -o folder -q", 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const test_run run = expect(az, folder, cases[i].line, 2);
        cr_assert_not_null(strstr(run.err, cases[i].says), "'%s' said: %s", cases[i].line, run.err);
    }
    expect(az, folder, "cmp tiny.gguf before.gguf && ! test -e back.gguf", 0);
    az_close(az);
}

Test(adapter, goes_into_the_weights_and_out_again)
{
    az_ctx *az = az_open(NULL);
    const char *folder = with_examples(az);
    expect(az, folder, "adze tune tiny.gguf lora:rank=2,targets=all-linear -d train.jsonl -o out --steps 10 --lr 1e-2 -q", 0);
    json_t *info = test_section(az, expect(az, folder, "adze adapter info tiny.gguf out --json", 0).out, "adapters");
    cr_assert_str_eq(json_string_value(json_object_get(info, "kind")), "LORA");
    cr_assert_eq(test_json_number(info, "largest_rank"), 2);
    expect(az, folder, "adze adapter merge tiny.gguf out -o merged.gguf -q && adze adapter unmerge merged.gguf out -o back.gguf -q", 0);
    const double given = nll_of(az, folder, "tiny.gguf"), beside = nll_of(az, folder, "tiny.gguf --adapter out") /* first row: alone */;
    cr_assert_eq(given, beside);
    cr_assert_float_eq(nll_of(az, folder, "back.gguf"), given, 1e-4);
    const test_run both = expect(az, folder, "adze evaluate merged.gguf tiny.gguf --adapter out -d train.jsonl --examples --json", 0);
    double merged = NAN, adapted = NAN;
    for (int i = 0; i < test_lines(both.out); i++) {
        json_t *row = test_json(az, both.out, i);
        const char *model = json_string_value(json_object_get(row, "model"));
        if (strcmp(json_string_value(json_object_get(row, "section")), "models") != 0) continue;
        if (strcmp(model, "merged.gguf") == 0) merged = test_json_number(row, "nll");
        if (strcmp(model, "tiny.gguf + out") == 0) adapted = test_json_number(row, "nll");
    }
    cr_assert_float_eq(merged, adapted, 1e-4);
    cr_assert(fabs(merged - given) > 0.05, "%g and %g", merged, given);
    az_close(az);
}

/* The sum of an adapter and its negative changes nothing. */
Test(adapter, several_make_one)
{
    az_ctx *az = az_open(NULL);
    const char *folder = with_examples(az);
    expect(az, folder,
           "adze tune tiny.gguf lora:rank=2 -d train.jsonl -o out --steps 10 --lr 1e-2 -q &&"
           "adze adapter add tiny.gguf out out --weights 1,-1 -o nothing -q && adze adapter convert tiny.gguf out --scale 0.5 -o half -q &&"
           "adze adapter add tiny.gguf half half --how svd -o again -q",
           0);
    const test_run run = expect(az, folder, "adze evaluate tiny.gguf --adapter nothing,out,again -d train.jsonl --examples --json", 0);
    double difference[3];
    int n = 0;
    for (int i = 0; i < test_lines(run.out); i++) {
        json_t *row = test_json(az, run.out, i);
        if (strcmp(json_string_value(json_object_get(row, "section")), "differences") == 0 && n < 3)
            difference[n++] = test_json_number(row, "difference");
    }
    cr_assert_eq(n, 3);
    cr_assert_float_eq(difference[0], 0, 1e-4);
    cr_assert_lt(difference[1], -0.01);
    cr_assert_float_eq(difference[2], difference[1], 1e-3);
    az_close(az);
}

static json_t *last_section(az_ctx *az, const char *text, const char *section)
{
    const char *rest = text, *last = text, *key = az_format_text(az, "{\"section\":\"%s\"", section);
    while ((rest = strstr(rest, key))) last = rest++;
    return test_section(az, last, section);
}

/* Soft tokens made of each prompt choose labels like any other adapter. */
Test(tune, networks_of_instructions_classify_from_the_command_line)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_models(az);
    expect(az, folder,
           "for i in 1 2 3 4; do echo \"{\\\"prompt\\\": \\\"word $i\\\", \\\"response\\\": \\\"$([ $i -gt 2 ] && echo even || echo "
           "odd)\\\"}\"; done >labels.jsonl",
           0);
    expect(az, folder, "adze tune tiny.gguf iapt:bottleneck=4,prompts=2 -d labels.jsonl -o out --steps 3 --batch 2 --lr 1e-3", 0);
    const test_run measured = expect(az, folder, "adze evaluate tiny.gguf -d labels.jsonl --examples --classify --adapter out --json", 0);
    json_t *with = last_section(az, measured.out, "classification");
    cr_assert_eq(test_json_number(with, "labels"), 2, "%s", measured.out);
    cr_assert_eq(test_json_number(with, "examples"), 4);
    az_close(az);
}

/* The folder brings its templates: measured later, the prompt is as good as it was when it was tuned. */
Test(tune, a_tuned_context_classifies_from_the_command_line)
{
    static const struct {
        const char *options, *says;
    } refused[] = {
        {"--classify", "--classify goes with --examples"},
        {"--examples --labels a,b", "--labels goes with --classify"},
        {"--examples --per-token", "--per-token goes with --classify"},
        {"--examples --classify --labels Tom", "one label only"},
        {"--examples --classify --labels Tom,,Ann", "an empty one"},
        {"--examples --classify --labels Tom,Tom", "'Tom' twice"},
    };
    az_ctx *az = az_open(NULL);
    const char *folder = test_models(az);
    expect(az, folder,
           "for i in 1 2 3 4 5 6 7 8; do echo \"{\\\"prompt\\\": \\\"word $i\\\", \\\"response\\\": \\\"$([ $((i % 2)) = 0 ] && echo even "
           "|| echo "
           "odd)\\\"}\"; done >labels.jsonl",
           0);
    const test_run tuned =
        expect(az, folder,
               "adze tune tiny.gguf cpt:shots=2,input='in {}',output='is {}' -d labels.jsonl --valid labels.jsonl -o out "
               "--steps 6 --batch 1 --lr 1e-3 --json",
               0);
    const char *measure = "adze evaluate tiny.gguf -d labels.jsonl --examples --classify --adapter out --json";
    const test_run measured = expect(az, folder, measure, 0);
    json_t *with = last_section(az, measured.out, "classification"), *said = last_section(az, tuned.out, "classification");
    cr_assert_eq(test_json_number(with, "accuracy"), test_json_number(said, "valid_accuracy"), "%s", measured.out);
    cr_assert_eq(test_json_number(with, "labels"), 2);
    const double loss = test_json_number(test_section(az, tuned.out, "training"), "valid_loss");
    cr_assert_float_eq(test_json_number(last_section(az, measured.out, "models"), "nll"), loss, 1e-5 * loss, "%s", measured.out);
    const test_run other = expect(az, folder, az_format_text(az, "%s --labels even,other", measure), 0);
    cr_assert_not_null(strstr(other.err, "4 examples are none of the labels"), "%s", other.err);
    const test_run half = expect(az, folder, "adze adapter convert tiny.gguf out --scale 0.5 -o half", 2);
    cr_assert_not_null(strstr(half.err, "virtual tokens, which cannot be scaled"), "%s", half.err);
    /* a prompt stands in the templates: its tokens are those of "in word 1 is " */
    json_t *told = test_json(az, expect(az, folder, "adze run tiny.gguf --adapter out -p 'word 1' -n 1 --json", 0).out, 0);
    json_t *bare = test_json(az, expect(az, folder, "adze run tiny.gguf -p 'word 1' -n 1 --json", 0).out, 0);
    cr_assert_gt(json_array_size(json_object_get(told, "prompt_ids")), json_array_size(json_object_get(bare, "prompt_ids")));
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        const test_run run = expect(az, folder, az_format_text(az, "adze evaluate tiny.gguf -d labels.jsonl %s", refused[i].options), 2);
        cr_assert_not_null(strstr(run.err, refused[i].says), "'%s' said: %s", refused[i].options, run.err);
    }
    az_close(az);
}

Test(tune, instructions_become_soft_tokens)
{
    az_ctx *az = az_open(NULL);
    const char *folder = with_examples(az);
    const test_run run =
        expect(az, folder, "adze tune tiny.gguf iapt:bottleneck=8,prompts=2 -d train.jsonl -o out --steps 60 --lr 3e-2 --json", 0);
    cr_assert_not_null(strstr(run.out, "\"block 0\""), "a curve of each activation");
    const test_run info = expect(az, folder, "adze adapter info tiny.gguf out --json", 0);
    cr_assert_eq(test_json_number(test_section(az, info.out, "adapters"), "virtual_tokens"), 2);
    cr_assert_lt(test_json_number(test_section(az, info.out, "activations"), "gelu"), 1e-2);
    const test_run measured = expect(az, folder, "adze evaluate tiny.gguf --adapter out -d train.jsonl --examples --json", 0);
    cr_assert_lt(test_json_number(test_section(az, measured.out, "differences"), "difference"), 0);
    expect(az, folder, "adze run tiny.gguf --adapter out -p 'Who is number 3?' -n 4 -q", 0);
    cr_assert_not_null(strstr(expect(az, folder, "adze evaluate tiny.gguf --adapter out -d text.txt", 2).err, "instruction"));
    cr_assert_not_null(strstr(expect(az, folder, "adze adapter merge tiny.gguf out -o m.gguf", 2).err, "virtual tokens"));
    az_close(az);
}

Test(tune, a_model_can_be_changed_itself)
{
    az_ctx *az = az_open(NULL);
    const char *folder = with_examples(az);
    expect(az, folder, "adze tune tiny.gguf full -d train.jsonl -o taught.gguf --steps 20 --lr 3e-3 --valid train.jsonl -q", 0);
    cr_assert_lt(nll_of(az, folder, "taught.gguf"), nll_of(az, folder, "tiny.gguf") - 0.5);
    az_close(az);
}

Test(tune, a_run_that_is_killed_goes_on_bit_for_bit)
{
    static const char command[] = "adze tune tiny.gguf iapt:bottleneck=8 -d train.jsonl --steps 40 --batch 2 --save-every 1 -o";
    az_ctx *az = az_open(NULL);
    const char *folder = with_examples(az);
    expect(az, folder, az_format_text(az, "%s whole", command), 0);
    const test_run cut =
        test_shell(az, folder,
                   az_format_text(az,
                                  "%s cut --resume state >log & pid=$!\n"
                                  "while [ -z \"$(ls state 2>/dev/null)\" ]; do sleep 0.01; done; kill -9 $pid; wait $pid; ls cut\n"
                                  "%s cut --resume state >log && cmp whole/adapter_model.safetensors cut/adapter_model.safetensors "
                                  "&& echo same",
                                  command, command));
    cr_assert_str_eq(cut.out, "same\n", "%s%s", cut.out, cut.err);
    az_close(az);
}

Test(tune, an_interrupted_run_writes_what_is_done)
{
    az_ctx *az = az_open(NULL);
    const char *folder = with_examples(az);
    const test_run run = test_shell(az, folder,
                                    "adze tune tiny.gguf lora -d train.jsonl --steps 10000000 -o out --progress json 2>log & pid=$!\n"
                                    "while ! grep -q training log; do sleep 0.02; done; kill -INT $pid; wait $pid; echo $?\n"
                                    "adze adapter info tiny.gguf out >/dev/null; echo $?");
    cr_assert_not_null(strstr(run.out, "130\n0\n"), "%s%s", run.out, run.err);
    az_close(az);
}

Test(tune, what_cannot_work_is_refused_before_the_work)
{
    static const struct {
        const char *line, *says;
    } cases[] = {
        {"adze tune tiny.gguf lora -o out", "-d FILE"},
        {"adze tune tiny.gguf lora -d train.jsonl", "-o FOLDER"},
        {"adze tune tiny.gguf wanda -d train.jsonl -o out", "family compress"},
        {"adze tune tiny.gguf lara -d train.jsonl -o out", "did you mean 'lora'?"},
        {"adze tune tiny.gguf lora:rnk=3 -d train.jsonl -o out", "did you mean 'rank'?"},
        {"adze tune tiny.gguf lora:rank=0 -d train.jsonl -o out", "out of range"},
        {"adze tune tiny.gguf lora:targets=q_prox -d train.jsonl -o out", "q_proj"},
        {"adze tune tiny.gguf lora -d train.jsonl -o nowhere/out", "there is no folder 'nowhere'"},
        {"adze tune tiny.gguf lora -d absent.jsonl -o out", "absent.jsonl"},
        {"adze tune tiny.gguf lora -d bad.jsonl -o out", "line 2"},
        {"adze tune tiny.gguf lora -d empty.jsonl -o out", "empty.jsonl"},
        {"adze tune tiny.gguf lora -d text.txt -o out", "text.txt"},
        {"adze tune absent.gguf lora -d train.jsonl -o out", "absent.gguf"},
        {"adze tune tiny.gguf lora -d train.jsonl -o out --length 1", "by length"},
        {"adze adapter merge tiny.gguf absent -o out.gguf", "absent"},
        {"adze adapter merge tiny.gguf", "usage"},
        {"adze adapter mingle tiny.gguf out -o out.gguf", "none of merge"},
        {"adze run tiny.gguf --adapter absent -p One", "absent"},
    };
    az_ctx *az = az_open(NULL);
    const char *folder = with_examples(az);
    expect(az, folder, "echo '{\"prompt\": \"a\", \"response\": \"b\"}' >bad.jsonl; echo '{\"prompt\": \"a\"' >>bad.jsonl; : >empty.jsonl",
           0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const test_run run = expect(az, folder, cases[i].line, 2);
        cr_assert_not_null(strstr(run.err, cases[i].says), "'%s' said: %s", cases[i].line, run.err);
        cr_assert_str_empty(run.out, "no half of a result");
    }
    cr_assert_str_eq(expect(az, folder, "ls -A", 0).out, "bad.jsonl\nempty.jsonl\ntext.txt\ntiny.gguf\ntrain.jsonl\n");
    az_close(az);
}

/* A damaged folder, and one for another model: nothing is written. */
Test(adapter, what_does_not_fit_is_refused)
{
    az_ctx *az = az_open(NULL);
    const char *folder = with_examples(az);
    expect(az, folder,
           "adze tune tiny.gguf lora -d train.jsonl -o out --steps 2 -q; cp -r out cut;"
           "head -c 200 out/adapter_model.safetensors >cut/adapter_model.safetensors; cp -r out other; sed -i 's/\"r\": 8/\"r\": 4/' "
           "other/adapter_config.json; adze train llama:width=16,blocks=1,heads=2,context=32,vocabulary=280 -d text.txt --steps 1 "
           "--batch 1 --length 16 -o small.gguf -q",
           0);
    cr_assert_not_null(strstr(expect(az, folder, "adze adapter merge tiny.gguf cut -o m.gguf", 2).err, "cut"));
    cr_assert_not_null(strstr(expect(az, folder, "adze adapter merge tiny.gguf other -o m.gguf", 2).err, "rank 4"));
    cr_assert_not_null(strstr(expect(az, folder, "adze run small.gguf --adapter out -p One", 2).err, "shape"));
    cr_assert_not_null(strstr(expect(az, folder, "adze adapter add tiny.gguf out out --weights 1 -o sum", 2).err, "1 weights for 2"));
    expect(az, folder, "! ls m.gguf sum 2>/dev/null", 0);
    az_close(az);
}
