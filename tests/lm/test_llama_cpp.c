/* Files that llama.cpp reads and writes. ADZE_LLAMA_CPP names the folder of its programs (llama-tokenize, llama-quantize, llama-simple,
 * llama-perplexity); without it these tests are skipped. */
#include "support/data.h"
#include "support/folder.h"
#include "support/llama_cpp.h"
#include "support/models.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* "[1, 2, 3]" as llama-tokenize --ids prints it. */
static const char *show(az_ctx *az, az_tokens tokens)
{
    const char *text = "[";
    for (int64_t i = 0; i < tokens.n; i++) text = az_format_text(az, "%s%s%d", text, i ? ", " : "", tokens.id[i]);
    return az_format_text(az, "%s]\n", text);
}

static void expect_same_tokens(az_ctx *az, const az_lm *lm, const char *path)
{
    static const char *const prompts[] = {"the cat sat on the mat", "  two  spaces, 12345 and caf\xc3\xa9!",
                                          "It's \xf0\x9f\x9a\x80 \t tabs"};
    for (int i = 0; i < 3; i++) {
        const char *theirs = llama_cpp(az, az_format_text(az, "llama-tokenize -m %s --ids --no-escape -p \"%s\"", path, prompts[i]));
        cr_assert_str_eq(show(az, az_tokenize(az, lm->tokenizer, prompts[i], strlen(prompts[i]), AZ_ADD_BOS)), theirs);
    }
}

Test(llama_cpp, reads_a_byte_level_tokenizer_trained_here)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = test_llama(az, true);
    const char *path = test_path(az, test_folder(az), "small.gguf");
    cr_assert(az_lm_save(az, lm, path, NULL), "%s", az_error(az));
    expect_same_tokens(az, lm, path);
    az_close(az);
}

Test(llama_cpp, reads_a_converted_checkpoint_with_its_tokenizer)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = az_lm_load(az, test_data(az, "models/stories260K/stories260K.bin"));
    const char *path = test_path(az, test_folder(az), "stories.gguf");
    cr_assert(az_lm_save(az, lm, path, NULL), "%s", az_error(az));
    expect_same_tokens(az, lm, path);
    az_close(az);
}

/* Greedy continuation of a prompt, as text. */
static const char *continuation(az_ctx *az, const az_lm *lm, const char *prompt, int64_t tokens)
{
    const az_tokens start = az_tokenize(az, lm->tokenizer, prompt, strlen(prompt), AZ_ADD_BOS);
    const az_tokens all = *az_lm_generate(az, lm, &start, &(az_lm_generate_options){.max_tokens = tokens});
    cr_assert(az_ok(az), "%s", az_error(az));
    return az_detokenize(az, lm->tokenizer, all.id, all.n, NULL);
}

static void expect_same_continuation(az_ctx *az, const char *path)
{
    const char *prompt = "Once upon a time";
    const char *theirs = llama_cpp(az, az_format_text(az, "llama-simple -m %s -n 24 '%s'", path, prompt));
    const az_lm *lm = az_lm_load(az, path);
    cr_assert_not_null(lm, "%s", az_error(az));
    const char *ours = continuation(az, lm, prompt, 24);
    cr_assert(strstr(theirs, ours), "'%s' is not in '%s'", ours, theirs);
}

Test(llama_cpp, continues_like_adze_in_every_shared_format)
{
    static const char *const formats[] = {"f32", "f16", "q8_0", "q4_0"};
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    az_lm *lm = az_lm_load(az, test_data(az, "models/stories260K/stories260K.gguf"));
    for (int i = 0; i < 4; i++) {
        const char *path = test_path(az, folder, az_format_text(az, "%s.gguf", formats[i]));
        cr_assert(az_lm_save(az, lm, path, az_format_by_name(formats[i])), "%s", az_error(az));
        expect_same_continuation(az, path);
    }
    az_close(az);
}

Test(llama_cpp, quantized_files_of_it_run_here)
{
    static const char *const formats[] = {"q8_0", "q4_0", "f16"};
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az), *source = test_data(az, "models/stories260K/stories260K.gguf");
    for (int i = 0; i < 3; i++) {
        const char *path = test_path(az, folder, az_format_text(az, "theirs-%s.gguf", formats[i]));
        llama_cpp(az, az_format_text(az, "llama-quantize %s %s %s", source, path, formats[i]));
        expect_same_continuation(az, path);
    }
    az_close(az);
}

/* A random llama whose rows are whole blocks of every format, with weights large enough for predictions that differ. */
static az_lm *wide_llama(az_ctx *az)
{
    const az_lm_config config = {.vocabulary = 272, .width = 256, .blocks = 2, .heads = 8, .kv_heads = 4, .hidden = 512, .context = 128};
    az_lm *lm = az_lm_new(az, "llama", &config, test_tokenizer(az), 5);
    az_lm_parameter *parameters;
    const int n = az_lm_parameters(az, lm, &parameters);
    for (int i = 0; i < n; i++) {
        az_tensor *tensor = *parameters[i].slot;
        for (int64_t k = 0; tensor->rank == 2 && k < az_count(tensor); k++) az_f32_mut(tensor)[k] *= 2;
    }
    cr_assert(az_ok(az), "%s", az_error(az));
    return lm;
}

enum { WINDOW = 64 };

/* As llama-perplexity does it for one chunk: of WINDOW tokens the second half is scored. */
static double perplexity(az_ctx *az, const az_lm *lm, const char *text)
{
    const az_tokens tokens = az_tokenize(az, lm->tokenizer, text, strlen(text), AZ_ADD_BOS);
    const az_lm_batch batch = {.sequences = 1, .token = tokens.id, .start = (const int64_t[]){0, WINDOW}};
    const float *logits = az_f32(az_lm_forward(az, lm, &batch, NULL));
    cr_assert(az_ok(az) && tokens.n >= 2 * WINDOW, "%s", az_error(az));
    double nll = 0;
    for (int t = WINDOW / 2; t < WINDOW - 1; t++) {
        const float *row = logits + t * lm->config.vocabulary;
        double sum = 0;
        for (int64_t i = 0; i < lm->config.vocabulary; i++) sum += exp((double)row[i]);
        nll += log(sum) - (double)row[tokens.id[t + 1]];
    }
    return exp(nll / (WINDOW - 1 - WINDOW / 2));
}

/* Of the first chunk. The program may end before its log is written: then it is asked again. */
static double their_perplexity(az_ctx *az, const char *model, const char *text)
{
    const char *call = az_format_text(az, "llama-perplexity -m %s -f %s -c %d -b %d --chunks 2", model, text, WINDOW, WINDOW);
    const char *said = NULL;
    for (int attempt = 0; !said && attempt < 30; attempt++) said = strstr(llama_cpp(az, call), "[1]");
    cr_assert_not_null(said, "%s says nothing", call);
    return strtod(said + 3, NULL);
}

/* Both programs round activations to bytes, in different blocks: hence 1 percent. The formats themselves are up to 10 percent apart. */
static void expect_same_perplexity(az_ctx *az, const char *model, const char *story, const char *text)
{
    const double theirs = their_perplexity(az, model, story), ours = perplexity(az, az_lm_load(az, model), text);
    cr_assert_float_eq(log(ours), log(theirs), 0.01, "%s: %g here, %g there", model, ours, theirs);
}

Test(llama_cpp, scores_files_of_every_block_format_alike)
{
    static const char *const formats[] = {"f32",  "q8_0", "q6_k", "q5_k", "q5_1", "q5_0", "q4_k",
                                          "q4_1", "q4_0", "q3_k", "q2_k", "f16",  "bf16", "iq4_nl"};
    static const char *const theirs[] = {"Q2_K", "Q3_K_L", "Q4_K_M", "Q5_K_S", "Q6_K", "IQ4_NL"};
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az), *story = test_path(az, folder, "story.txt"), *text = "";
    for (int i = 0; i < 12; i++) text = az_format_text(az, "%sthe rat sat on %d mats, the cat on %d and that was that. ", text, i, i * i);
    FILE *file = fopen(story, "w");
    cr_assert(file && fputs(text, file) >= 0 && fclose(file) == 0);
    az_lm *wide = wide_llama(az);
    const char *source = NULL;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        const char *path = test_path(az, folder, az_format_text(az, "wide-%s.gguf", formats[i]));
        cr_assert(az_lm_save(az, wide, path, az_format_by_name(formats[i])), "%s", az_error(az));
        expect_same_perplexity(az, path, story, text);
        if (i == 0) source = path;
    }
    for (size_t i = 0; i < sizeof theirs / sizeof *theirs; i++) {
        const char *path = test_path(az, folder, az_format_text(az, "theirs-%s.gguf", theirs[i]));
        llama_cpp(az, az_format_text(az, "llama-quantize %s %s %s", source, path, theirs[i]));
        expect_same_perplexity(az, path, story, text);
    }
    az_close(az);
}
