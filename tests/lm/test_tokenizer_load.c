/* Tokenizers out of files that hold no weights, or nothing else. */
#include "lm/tokenizer/tokenizer.h"
#include "support/data.h"
#include "support/folder.h"
#include "support/models.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static const char text[] = "the cat sat on a mat, 12 times";

static void expect_same(az_ctx *az, const az_tokenizer *wanted, const char *path)
{
    const az_tokenizer *found = az_tokenizer_load(az, path);
    cr_assert_not_null(found, "%s", az_error(az));
    const az_tokens a = az_tokenize(az, wanted, text, strlen(text), AZ_ADD_BOS), b = az_tokenize(az, found, text, strlen(text), AZ_ADD_BOS);
    cr_assert_eq(a.n, b.n, "%s", path);
    cr_assert_eq(memcmp(a.id, b.id, (size_t)a.n * sizeof *a.id), 0, "%s", path);
}

Test(tokenizer_load, needs_no_weights)
{
    az_ctx *az = az_open(NULL);
    const az_tokenizer *t = test_llama(az, true)->tokenizer;
    const char *folder = test_folder(az), *gguf = test_path(az, folder, "vocabulary.gguf");
    az_gguf_writer *writer = az_gguf_create(az, gguf);
    az_gguf_put_string(writer, "general.architecture", az_text_of("llama"));
    cr_assert(az_tokenizer_to_gguf(az, t, az_vocabulary(t), writer) && az_gguf_commit(writer), "%s", az_error(az));
    cr_assert(az_tokenizer_write_folder(az, t, folder, 64), "%s", az_error(az));
    expect_same(az, t, gguf);
    expect_same(az, t, folder);
    expect_same(az, t, test_path(az, folder, "tokenizer.json"));
    az_close(az);
}

Test(tokenizer_load, takes_that_of_a_model)
{
    az_ctx *az = az_open(NULL);
    const char *path = test_path(az, test_folder(az), "model.gguf");
    az_lm *lm = test_llama(az, true);
    cr_assert(az_lm_save(az, lm, path, NULL), "%s", az_error(az));
    expect_same(az, lm->tokenizer, path);
    az_close(az);
}

Test(tokenizer_load, published_vocabularies_and_checkpoints)
{
    az_ctx *az = az_open(NULL);
    const az_tokenizer *gpt2 = az_tokenizer_load(az, test_data(az, "models/gguf-vocab/ggml-vocab-gpt-2.gguf"));
    cr_assert(gpt2 && az_vocabulary(gpt2) == 50257, "%s", az_error(az));
    const char *checkpoint = test_data(az, "models/stories260K/stories260K.bin");
    expect_same(az, az_lm_load(az, checkpoint)->tokenizer, checkpoint);
    az_close(az);
}

Test(tokenizer_load, says_what_is_missing)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az), *model = test_path(az, folder, "model.gguf");
    az_lm *silent = test_llama(az, false);
    silent->tokenizer = NULL;
    cr_assert(az_lm_save(az, silent, model, NULL), "%s", az_error(az));
    const char *cases[][2] = {{model, "brings no tokenizer"},
                              {folder, "brings no tokenizer (tokenizer.json"},
                              {test_path(az, folder, "none"), "none"},
                              {ADZE_SOURCE_DIR "/LICENSE", "neither a GGUF file nor a llama2.c checkpoint"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cr_assert_null(az_tokenizer_load(az, cases[i][0]));
        cr_assert(strstr(az_error(az), cases[i][1]), "%s", az_error(az));
        az_clear(az);
    }
    az_close(az);
}
