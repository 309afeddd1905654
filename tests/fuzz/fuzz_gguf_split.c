/* fuzz_gguf_split.c - models split over several GGUF files: an error, or a model that runs. */
#include "folders.h"
#include "lm/files/load.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_file file[FUZZ_SPLIT_FILES];
    const char *folder = fuzz_folder();
    fuzz_cut(data, size, file, FUZZ_SPLIT_FILES);
    for (int i = 0; i < FUZZ_SPLIT_FILES; i++) fuzz_put(folder, fuzz_split_files[i], i, file[i]);
    az_ctx *az = az_open(&(az_settings){.threads = 1, .memory_limit = (size_t)256 << 20});
    az_lm *lm = az_lm_load(az, az_format_text(az, "%s/%s", folder, fuzz_split_files[0]));
    if (!lm && (az_ok(az) || !*az_error(az))) abort();
    if (lm) {
        const int32_t token[] = {0, (int32_t)(lm->config.vocabulary - 1)};
        const int64_t start[] = {0, 2};
        az_lm_forward(az, lm, &(az_lm_batch){.sequences = 1, .token = token, .start = start}, NULL);
        az_lm_free(az, lm);
    }
    az_close(az);
    return 0;
}
