/* fuzz_folder.c - Hugging Face folders: an error, or a model that runs, reads a text and can be written. */
#include "folders.h"
#include "lm/files/load.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(az_ctx *az, az_lm *lm)
{
    const int32_t token[] = {0, (int32_t)(lm->config.vocabulary - 1)};
    const int64_t start[] = {0, 2};
    az_lm_forward(az, lm, &(az_lm_batch){.sequences = 1, .token = token, .start = start}, NULL);
    az_clear(az);
    if (lm->tokenizer) az_tokenize(az, lm->tokenizer, "ab <|end|>a\xff 12", 16, AZ_ADD_BOS | AZ_ADD_EOS | AZ_PARSE_SPECIAL);
    az_clear(az);
    az_lm_save(az, lm, "/dev/null", NULL);
    az_lm_free(az, lm);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_file file[FUZZ_FOLDER_FILES];
    const char *folder = fuzz_folder();
    fuzz_cut(data, size, file, FUZZ_FOLDER_FILES);
    for (int i = 0; i < FUZZ_FOLDER_FILES; i++) fuzz_put(folder, fuzz_folder_files[i], i, file[i]);
    az_ctx *az = az_open(&(az_settings){.threads = 1, .memory_limit = (size_t)256 << 20});
    az_lm *lm = az_lm_load(az, folder);
    if (!lm && (az_ok(az) || !*az_error(az))) abort();
    if (lm) use(az, lm);
    az_close(az);
    return 0;
}
