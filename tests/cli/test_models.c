/* adze info, convert, tokenize, run on a tiny model. */
#include "cli/models.h"

#include <criterion/criterion.h>
#include <string.h>

const char *test_models(az_ctx *az)
{
    const char *folder = test_folder(az);
    test_run run =
        test_shell(az, folder,
                   "adze corpus tales --seed 3 --stories 60 -o text.txt && adze train "
                   "llama:width=32,blocks=1,heads=2,kv_heads=1,hidden=64,context=64,vocabulary=300 -d text.txt --steps 3 --batch 2 "
                   "--length 32 --valid-share 0 -o tiny.gguf");
    cr_assert_eq(run.code, 0, "%s", run.err);
    return folder;
}

Test(models, info_tells_configuration_tokenizer_and_tensors)
{
    az_ctx *az = az_open(NULL);
    test_run run = test_shell(az, test_models(az), "adze info tiny.gguf --json --sparsity");
    cr_assert_eq(run.code, 0, "%s", run.err);
    json_t *model = test_section(az, run.out, "model"), *tokenizer = test_section(az, run.out, "tokenizer");
    cr_assert_str_eq(json_string_value(json_object_get(model, "architecture")), "llama");
    cr_assert_eq(test_json_number(model, "width"), 32);
    cr_assert_eq(test_json_number(model, "kv_heads"), 1);
    cr_assert_eq(test_json_number(model, "vocabulary"), 300);
    cr_assert_eq(test_json_number(tokenizer, "vocabulary"), 300);
    /* embedding, q, k, v, o, gate, up, down; two norms and the last one */
    cr_assert_eq(test_json_number(model, "parameters"), 300 * 32 + 32 * (32 + 16 + 16 + 32) + 3 * 32 * 64 + 3 * 32);
    cr_assert_eq(test_json_number(test_section(az, run.out, "tensors"), "sparsity"), 0);
    az_close(az);
}

/* As many top values as there are hold everything, and span the same space for every gradient; fewer do not. */
Test(models, info_tells_spectra_of_weights_and_gradients)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_models(az);
    test_run run = test_shell(az, folder, "adze info tiny.gguf --spectra --top 100 -d text.txt --batch 2 --json");
    cr_assert_eq(run.code, 0, "%s", run.err);
    json_t *weight = test_section(az, run.out, "spectra"), *gradient = test_section(az, run.out, "gradients");
    cr_assert_eq(test_json_number(weight, "full_rank"), 32);
    cr_assert_float_eq(test_json_number(weight, "top_share"), 1, 1e-6);
    cr_assert_float_eq(test_json_number(gradient, "top_share"), 1, 1e-6);
    cr_assert_float_eq(test_json_number(gradient, "overlap"), 1, 1e-4);
    cr_assert(test_json_number(gradient, "cosine") > -1 && test_json_number(gradient, "cosine") < 1);
    run = test_shell(az, folder, "adze info tiny.gguf --spectra --top 4 -d text.txt --batch 2 --json");
    gradient = test_section(az, run.out, "gradients");
    cr_assert_lt(test_json_number(gradient, "top_share"), 0.9999);
    cr_assert(test_json_number(gradient, "overlap") > 0 && test_json_number(gradient, "overlap") < 0.9999);
    const char *wrong[][2] = {{"adze info tiny.gguf -d text.txt", "--spectra"},
                              {"adze info tiny.gguf --spectra -d text.txt --batch 100000", "two are needed"},
                              {"adze info tiny.gguf --spectra -d nowhere.txt", "nowhere.txt"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        run = test_shell(az, folder, wrong[i][0]);
        cr_assert_eq(run.code, 2, "%s", wrong[i][0]);
        cr_assert(strstr(run.err, wrong[i][1]), "%s: %s", wrong[i][0], run.err);
    }
    az_close(az);
}

static json_t *last_of_section(az_ctx *az, const char *text, const char *section)
{
    json_t *last = NULL;
    for (int i = 0; i < test_lines(text); i++) {
        json_t *line = test_json(az, text, i);
        const char *name = json_string_value(json_object_get(line, "section"));
        if (name && strcmp(name, section) == 0) last = line;
    }
    cr_assert_not_null(last);
    return last;
}

/* Against itself a gradient is the same; after some steps it is not, and neither are the weights. */
Test(models, info_follows_gradients_along_checkpoints)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_models(az), *follow = "adze info later.gguf --spectra --top 4 -d text.txt --batches 2 --batch 2 --json";
    cr_assert_eq(test_shell(az, folder, "adze train tiny.gguf -d text.txt -o later.gguf --steps 8 --length 16 --batch 2 --lr 0.01").code,
                 0);
    test_run run = test_shell(az, folder, az_format_text(az, "%s --plot ranks.svg --checkpoints later.gguf", follow));
    cr_assert_eq(run.code, 0, "%s", run.err);
    json_t *last = last_of_section(az, run.out, "checkpoints");
    cr_assert_float_eq(test_json_number(last, "cosine"), 1, 1e-5);
    cr_assert_float_eq(test_json_number(last, "overlap"), 1, 1e-5);
    cr_assert_not_null(strstr(run.out, "attn.q share"), "the curves of the plot");
    run = test_shell(az, folder, az_format_text(az, "%s --checkpoints tiny.gguf", follow));
    cr_assert_eq(run.code, 0, "%s", run.err);
    json_t *moved = last_of_section(az, run.out, "checkpoints");
    cr_assert_lt(test_json_number(moved, "cosine"), 0.9999);
    cr_assert(test_json_number(moved, "overlap") > 0 && test_json_number(moved, "overlap") < 0.9999);
    cr_assert_eq(test_json_number(moved, "gradient_rank_90"), test_json_number(last, "gradient_rank_90"), "of the same model");
    const char *wrong[][2] = {{"adze info tiny.gguf --spectra --checkpoints later.gguf", "--data"},
                              {"adze info tiny.gguf --spectra -d text.txt --batch 2 --checkpoints later.gguf,", "empty name"},
                              {"adze info tiny.gguf --spectra -d text.txt --batch 2 --checkpoints nowhere.gguf", "nowhere.gguf"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        run = test_shell(az, folder, wrong[i][0]);
        cr_assert_eq(run.code, 2, "%s", wrong[i][0]);
        cr_assert(strstr(run.err, wrong[i][1]), "%s: %s", wrong[i][0], run.err);
    }
    az_close(az);
}

Test(models, a_bundled_model_is_found_by_its_name)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_models(az);
    cr_assert_eq(test_shell(az, folder, "mkdir -p sub/tiny && cd sub && ADZE_MODELS=$OLDPWD adze info tiny").code, 0,
                 "a folder of that name is no model");
    test_run run = test_shell(az, folder, "adze info tiny");
    cr_assert_eq(run.code, 2);
    cr_assert_not_null(strstr(run.err, "no model 'tiny'"));
    az_close(az);
}

Test(models, convert_keeps_the_model_and_changes_its_size)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_models(az);
    test_run half = test_shell(az, folder, "adze convert tiny.gguf --format f16 -o half.gguf --json");
    test_run again = test_shell(az, folder, "adze convert half.gguf -o again.gguf && cmp half.gguf again.gguf");
    cr_assert_eq(half.code, 0, "%s", half.err);
    cr_assert_eq(again.code, 0, "unchanged means unchanged: %s%s", again.out, again.err);
    json_t *row = test_json(az, half.out, 0);
    cr_assert_lt(test_json_number(row, "bytes_after"), 0.6 * test_json_number(row, "bytes_before"));
    test_run dense = test_shell(az, folder, "adze convert tiny.gguf --dense -o dense.gguf --json");
    cr_assert_not_null(strstr(dense.out, "\"format\":\"dense\""), "%s%s", dense.out, dense.err);
    test_run bad = test_shell(az, folder, "adze convert tiny.gguf --format q8_1 -o bad.gguf; echo $?; ls bad.gguf");
    cr_assert_str_eq(bad.out, "2\n");
    cr_assert_not_null(strstr(bad.err, "did you mean 'q8_0'?"), "%s", bad.err);
    az_close(az);
}

Test(models, a_damaged_model_is_an_error_and_writes_nothing)
{
    az_ctx *az = az_open(NULL);
    test_run run = test_shell(az, test_models(az),
                              "head -c 3000 tiny.gguf > cut.gguf; echo nonsense > text.gguf; : > empty.gguf\n"
                              "for m in cut text empty; do adze convert $m.gguf -o out.gguf; echo $?; done; ls out.gguf");
    cr_assert_str_eq(run.out, "2\n2\n2\n");
    cr_assert_not_null(strstr(run.err, "cut.gguf"), "%s", run.err);
    az_close(az);
}

Test(models, tokens_give_the_text_back)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_models(az);
    test_run run = test_shell(az, folder, "adze tokenize tiny.gguf -p 'Once upon a t\xC3\xAFme' --json");
    cr_assert_eq(run.code, 0, "%s", run.err);
    json_t *row = test_json(az, run.out, 0);
    size_t n = json_array_size(json_object_get(row, "ids"));
    cr_assert_gt(n, 0);
    cr_assert_eq(json_array_size(json_object_get(row, "pieces")), n);
    cr_assert_eq(json_array_size(json_object_get(row, "offsets")), n);
    cr_assert(json_is_true(json_object_get(row, "round_trip")));
    run = test_shell(az, folder, "adze tokenize tiny.gguf -d text.txt --json");
    cr_assert_eq(run.code, 0, "%s", run.err);
    cr_assert_eq(test_lines(run.out), 60);
    cr_assert_eq(test_shell(az, folder, "adze tokenize tiny.gguf -d text.txt -p both").code, 2);
    cr_assert_eq(test_shell(az, folder, "adze tokenize tiny.gguf").code, 2);
    const char *alone =
        "adze convert tiny.gguf -o all -q && mkdir alone && cp all/tokenizer*.json alone && adze tokenize tiny.gguf -p 'A cat' "
        "--json > a && for f in alone alone/tokenizer.json; do adze tokenize $f -p 'A cat' --json | cmp - a || exit 1; done";
    run = test_shell(az, folder, alone);
    cr_assert_eq(run.code, 0, "%s", run.err);
    az_close(az);
}

Test(models, run_makes_samples_that_follow_the_seed)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_models(az);
    test_run both = test_shell(az, folder, "adze run tiny.gguf -p 'Once upon' -n 12 --seed 4 --samples 2 --cache f32 --quiet");
    test_run first = test_shell(az, folder, "adze run tiny.gguf -p 'Once upon' -n 12 --seed 4 --cache f32 --quiet; echo ---");
    test_run second = test_shell(az, folder, "adze run tiny.gguf -p 'Once upon' -n 12 --seed 5 --cache f32 --quiet");
    cr_assert_eq(both.code, 0, "%s", both.err);
    cr_assert_str_eq(both.out, az_format_text(az, "%s%s", first.out, second.out));
    test_run json = test_shell(az, folder, "adze run tiny.gguf -p 'Once upon' -n 12 --samples 3 --cache q8_0 --json");
    cr_assert_eq(json.code, 0, "%s", json.err);
    cr_assert_eq(test_lines(json.out), 3);
    az_close(az);
}

Test(models, run_streams_the_text_it_reports_as_json)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_models(az);
    test_run text = test_shell(az, folder, "adze run tiny.gguf -p 'Once upon' -n 20 --seed 4");
    test_run same = test_shell(az, folder, "adze run tiny.gguf -p 'Once upon' -n 20 --seed 4 --quiet --no-echo");
    test_run json = test_shell(az, folder, "adze run tiny.gguf -p 'Once upon' -n 20 --seed 4 --json");
    cr_assert_eq(text.code, 0, "%s", text.err);
    cr_assert(strncmp(text.out, "Once upon", 9) == 0);
    cr_assert_str_eq(text.out + 9, same.out);
    cr_assert_str_empty(same.err);
    cr_assert_not_null(strstr(text.err, "tokens/s"));
    json_t *row = test_json(az, json.out, 0);
    const char *continuation = json_string_value(json_object_get(row, "text"));
    cr_assert_str_eq(az_format_text(az, "%s\n", continuation), same.out);
    cr_assert_str_eq(json_string_value(json_object_get(row, "prompt")), "Once upon");
    cr_assert_eq(json_array_size(json_object_get(row, "ids")), (size_t)test_json_number(row, "tokens"));
    az_close(az);
}

Test(models, a_model_on_the_standard_output_is_nothing_but_the_model)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_models(az);
    test_run run = test_shell(az, folder,
                              "adze convert tiny.gguf --format f16 -o - > a 2>log && adze convert tiny.gguf --format f16 -o b.gguf -q && "
                              "cmp a b.gguf && adze compress tiny.gguf magnitude -o - > c 2>>log && adze compress tiny.gguf magnitude -o "
                              "d.gguf -q && cmp c d.gguf && grep -c 'n/a' log");
    cr_assert_eq(run.code, 0, "%s%s", run.out, run.err);
    az_close(az);
}

/* Compressed, told matrix by matrix, and made plain again. */
Test(models, compressed_models_are_described_and_restored)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_models(az);
    test_run run =
        test_shell(az, folder,
                   "adze compress tiny.gguf wanda:pattern=2:4,nsamples=8 quantize:type=nm_f16 -d text.txt -o small.gguf -q > /dev/null && "
                   "adze info small.gguf --against tiny.gguf --sparsity --json --plot plot.svg && [ -s plot.svg ]");
    cr_assert_eq(run.code, 0, "%s", run.err);
    bool seen = false;
    for (int i = 0; i < test_lines(run.out); i++) {
        json_t *row = test_json(az, run.out, i);
        const char *tensor = json_string_value(json_object_get(row, "tensor"));
        if (!tensor || strcmp(tensor, "blocks.0.mlp.up") != 0) continue;
        cr_assert_str_eq(json_string_value(json_object_get(row, "format")), "nm_f16");
        cr_assert_eq(test_json_number(row, "bits_per_weight"), 9);
        cr_assert_eq(test_json_number(row, "sparsity"), 0.5);
        cr_assert(test_json_number(row, "error") > 0.1 && test_json_number(row, "error") < 0.6);
        seen = true;
    }
    cr_assert(seen);
    run = test_shell(
        az, folder,
        "adze convert small.gguf --dense -o plain.gguf -q > /dev/null && adze info plain.gguf --against small.gguf --json | grep -c "
        "'\"error\":0.0}' && "
        "adze info plain.gguf --json | grep -c nm_f16; adze convert small.gguf --dense --format q8_0 -o x.gguf; echo $?; ls x.gguf");
    cr_assert_str_eq(run.out, "8\n0\n2\n", "%s", run.err);
    cr_assert_not_null(strstr(run.err, "q8_0 is not dense"), "%s", run.err);
    run = test_shell(az, folder, "adze info small.gguf --against text.txt; echo $?; adze info small.gguf --against tales; echo $?");
    cr_assert_str_eq(run.out, "2\n2\n");
    cr_assert_not_null(strstr(run.err, "other matrices"), "%s", run.err);
    az_close(az);
}

Test(models, a_folder_and_gguf_are_converted_into_each_other)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_models(az);
    test_run run = test_shell(az, folder, "adze convert tiny.gguf -o folder && adze convert folder -o back.gguf && ls folder");
    cr_assert_eq(run.code, 0, "%s", run.err);
    cr_assert_not_null(strstr(run.out, "config.json\ngeneration_config.json\nmodel.safetensors\ntokenizer.json\ntokenizer_config.json\n"),
                       "%s", run.out);
    run = test_shell(
        az, folder,
        "for m in tiny.gguf folder back.gguf; do adze run $m -p 'One day' -n 5 --temperature 0 2>/dev/null; done | uniq | wc -l");
    cr_assert_str_eq(run.out, "1\n", "%s", run.out);
    run = test_shell(az, folder, "adze info folder --json");
    cr_assert_str_eq(json_string_value(json_object_get(test_section(az, run.out, "model"), "architecture")), "llama");
    az_close(az);
}

Test(models, a_shape_that_the_output_cannot_hold_is_refused_before_training)
{
    static const char *const lines[][2] = {
        {"adze train bloom:width=16,blocks=1,heads=2,context=32,vocabulary=260 -d text.txt --steps 1 --batch 1 --length 16 -o bloom "
         "&& adze info bloom",
         NULL},
        {"adze train gpt2:width=16,blocks=1,heads=2,kv_heads=1,context=32,vocabulary=260 -d text.txt --steps 1000000 -o gpt2",
         "config.json of gpt2 cannot say kv_heads = 1"},
        {"adze train bloom:width=16,blocks=1,heads=2,hidden=24,context=32,vocabulary=260 -d text.txt --steps 1000000 -o b", "hidden = 24"},
    };
    az_ctx *az = az_open(NULL);
    const char *folder = test_models(az);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        test_run run = test_shell(az, folder, lines[i][0]);
        cr_assert_eq(run.code, lines[i][1] ? 2 : 0, "%s", run.err);
        cr_assert(!lines[i][1] || strstr(run.err, lines[i][1]), "%s", run.err);
    }
    cr_assert_eq(test_shell(az, folder, "test -e gpt2 || test -e b").code, 1);
    az_close(az);
}

Test(models, what_llama_cpp_makes_of_a_file_is_told_when_it_is_written)
{
    static const char *const cases[][2] = {
        {"model_type\": \"llama\"", NULL},
        {"model_type\": \"mistral\", \"sliding_window\": 8", "lets all blocks see the whole context, without the window"},
        {"model_type\": \"mistral\", \"sliding_window\": null", NULL},
    };
    az_ctx *az = az_open(NULL);
    const char *folder = test_models(az);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        test_run run = test_shell(az, folder,
                                  az_format_text(az,
                                                 "rm -rf f && adze convert tiny.gguf -o f && sed -i 's/model_type\": \"llama\"/%s/' "
                                                 "f/config.json && adze convert f -o f.gguf",
                                                 cases[i][0]));
        cr_assert_eq(run.code, 0, "%s", run.err);
        cr_assert_eq(strstr(run.err, "llama.cpp") != NULL, cases[i][1] != NULL, "%s", run.err);
        cr_assert(!cases[i][1] || strstr(run.err, cases[i][1]), "%s", run.err);
    }
    test_run run = test_shell(az, folder,
                              "adze train gptneox:width=16,blocks=1,heads=2,context=32,vocabulary=260 -d text.txt --steps 1 --batch 1 "
                              "--length 16 -o x.gguf");
    cr_assert(run.code == 0 && strstr(run.err, "llama.cpp refuses it without a head of its own"), "%s", run.err);
    az_close(az);
}

Test(models, a_pipe_in_a_folder_is_no_file_of_it)
{
    az_ctx *az = az_open(NULL);
    test_run run = test_shell(az, test_models(az),
                              "adze convert tiny.gguf -o folder && rm folder/model.safetensors && mkfifo folder/model.safetensors\n"
                              "adze info folder");
    cr_assert_eq(run.code, 2);
    cr_assert_not_null(strstr(run.err, "has neither model.safetensors nor"), "%s", run.err);
    az_close(az);
}

Test(models, each_line_of_the_standard_input_is_a_prompt)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_models(az);
    test_run run = test_shell(az, folder, "printf 'One\\n\\nTwo' | adze run tiny.gguf -n 3 --json");
    cr_assert_eq(run.code, 0, "%s", run.err);
    cr_assert_eq(test_lines(run.out), 2);
    cr_assert_str_eq(json_string_value(json_object_get(test_json(az, run.out, 1), "prompt")), "Two");
    run = test_shell(az, folder, "printf 'Two' > p.txt; adze run tiny.gguf --prompt-file p.txt -n 3 --json");
    cr_assert_str_eq(json_string_value(json_object_get(test_json(az, run.out, 0), "prompt")), "Two");
    az_close(az);
}

/* The prompt of the only answer. */
static const char *prompt_of(az_ctx *az, const char *folder, const char *arguments)
{
    test_run run = test_shell(az, folder, az_format_text(az, "adze run %s -n 3 --json", arguments));
    cr_assert_eq(run.code, 0, "%s", run.err);
    cr_assert_eq(test_lines(run.out), 1);
    return json_string_value(json_object_get(test_json(az, run.out, 0), "prompt"));
}

Test(models, chat_puts_the_prompt_into_a_template)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_models(az);
    cr_assert_str_eq(prompt_of(az, folder, "tiny.gguf -p 'A \"B\"' --chat --template phi3 --system Brief"),
                     "<|system|>\nBrief<|end|>\n<|user|>\nA \"B\"<|end|>\n<|assistant|>\n");
    test_shell(az, folder, "printf 'Q: {{ messages[0].content }} A:' > form.jinja");
    cr_assert_str_eq(prompt_of(az, folder, "tiny.gguf -p Why --chat --template form.jinja"), "Q: Why A:");
    test_run run = test_shell(az, folder, "adze run tiny.gguf -p Why --chat");
    cr_assert_eq(run.code, 2);
    cr_assert_not_null(strstr(run.err, "brings no chat template; choose a form: chatml"), "%s", run.err);
    run = test_shell(az, folder, "adze run tiny.gguf -p Why --system Short.");
    cr_assert_eq(run.code, 2);
    cr_assert_not_null(strstr(run.err, "--system goes with --chat"), "%s", run.err);
    az_close(az);
}

Test(models, chat_takes_the_template_of_the_model_and_one_bos)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_models(az);
    test_run run = test_shell(az, folder,
                              "adze convert tiny.gguf -o chat && cat > chat/tokenizer_config.json <<'END'\n"
                              "{\"bos_token\": \"<|endoftext|>\", \"add_bos_token\": true,\n"
                              "\"chat_template\": \"{{ bos_token }}{{ messages[-1].content }}!\"}\nEND\n"
                              "adze convert chat -o chat.gguf && adze convert chat.gguf -o again");
    cr_assert_eq(run.code, 0, "%s", run.err);
    static const char *const models[] = {"chat", "chat.gguf", "again"};
    for (int i = 0; i < 3; i++) {
        run = test_shell(az, folder, az_format_text(az, "adze run %s -p Why --chat -n 2 --json", models[i]));
        cr_assert_eq(run.code, 0, "%s", run.err);
        json_t *row = test_json(az, run.out, 0), *ids = json_object_get(row, "prompt_ids");
        cr_assert_str_eq(json_string_value(json_object_get(row, "prompt")), "<|endoftext|>Why!");
        cr_assert_neq(json_integer_value(json_array_get(ids, 0)), json_integer_value(json_array_get(ids, 1)), "BOS stands there once");
    }
    test_run text = test_shell(az, folder, "adze run chat -p Why --chat -n 5 --quiet --seed 3");
    cr_assert_eq(text.code, 0, "%s", text.err);
    cr_assert_null(strstr(text.out, "Why!"), "the question is not repeated");
    az_close(az);
}
