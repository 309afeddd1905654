/* fuzz_llama2c.c - llama2.c checkpoints (first byte even) and tokenizer files (odd; the next two bytes are the size of the vocabulary). */
#include "lm/files/load.h"
#include "lm/tokenizer/tokenizer.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void run(az_ctx *az, az_lm *lm)
{
    const int32_t token[] = {0, (int32_t)(lm->config.vocabulary - 1)};
    const int64_t start[] = {0, 2};
    az_lm_forward(az, lm, &(az_lm_batch){.sequences = 1, .token = token, .start = start}, NULL);
    az_lm_free(az, lm);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3) return 0;
    az_ctx *az = az_open(&(az_settings){.threads = 1, .memory_limit = (size_t)256 << 20});
    unsigned char *copy = az_alloc(az, size - 3);
    memcpy(copy, data + 3, size - 3);
    bool read;
    if (data[0] % 2 == 0) {
        az_lm *lm = az_lm_from_llama2c(az, copy, size - 3);
        read = lm != NULL;
        if (lm) run(az, lm);
    } else {
        const az_tokenizer *tokenizer = az_tokenizer_from_llama2c(az, copy, size - 3, data[1] | data[2] << 8);
        read = tokenizer != NULL;
        if (tokenizer) az_tokenize(az, tokenizer, "Once upon a\xff time", 16, AZ_ADD_BOS);
    }
    if (!read && (az_ok(az) || !*az_error(az))) abort();
    az_close(az);
    return 0;
}
