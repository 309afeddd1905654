/* Files that llama.cpp reads and writes. ADZE_LLAMA_CPP names the folder of its programs (llama-tokenize, llama-quantize, llama-simple);
 * without it these tests are skipped. */
#include "support/data.h"
#include "support/folder.h"
#include "support/models.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What a llama.cpp program prints on its standard output. */
static char *llama_cpp(az_ctx *az, const char *arguments)
{
    const char *folder = getenv("ADZE_LLAMA_CPP");
    if (!folder) cr_skip_test("skipped: ADZE_LLAMA_CPP names no folder");
    FILE *pipe = popen(az_format_text(az, "%s/%s 2>/dev/null </dev/null", folder, arguments), "r");
    cr_assert_not_null(pipe);
    enum { ROOM = 1 << 16 };
    char *text = az_alloc(az, ROOM);
    const size_t n = fread(text, 1, ROOM - 1, pipe);
    cr_assert_eq(pclose(pipe), 0, "%s: %s", arguments, text);
    text[n] = '\0';
    return text;
}

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
    const az_sampler greedy = {.temperature = 0, .top_p = 1, .typical = 1, .repeat_penalty = 1};
    const az_tokens all = az_lm_generate(az, lm, &start, tokens, &greedy, NULL, NULL);
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
