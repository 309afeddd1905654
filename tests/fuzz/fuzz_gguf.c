/* fuzz_gguf.c - GGUF files: an error, or a model that runs and can be written. */
#include "lm/files/load.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(az_ctx *az, az_lm *lm)
{
    const int64_t vocabulary = lm->config.vocabulary;
    const int32_t token[] = {0, (int32_t)(vocabulary - 1), (int32_t)(vocabulary / 2)};
    const int64_t start[] = {0, 3};
    az_lm_forward(az, lm, &(az_lm_batch){.sequences = 1, .token = token, .start = start}, NULL);
    az_clear(az);
    az_lm_save(az, lm, "/dev/null", NULL);
    az_clear(az);
    az_lm_save(az, lm, "/dev/null", az_format_by_name("q8_0"));
    az_lm_free(az, lm);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    az_ctx *az = az_open(&(az_settings){.threads = 1, .memory_limit = (size_t)256 << 20});
    unsigned char *copy = az_alloc(az, size); /* aligned as a map would be */
    if (size) memcpy(copy, data, size);
    const az_gguf *gguf = az_gguf_parse(az, copy, size);
    az_lm *lm = az_lm_from_gguf(az, gguf);
    if (!lm && (az_ok(az) || !*az_error(az))) abort();
    if (lm) use(az, lm);
    az_close(az);
    return 0;
}
