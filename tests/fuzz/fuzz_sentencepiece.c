/* fuzz_sentencepiece.c - tokenizer.model: u8 length of a text, the text, the message. */
#include "lm/tokenizer/tokenizer.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const size_t length = size < 1 ? 0 : data[0];
    if (size < 1 + length) return 0;
    az_ctx *az = az_open(&(az_settings){.threads = 1, .memory_limit = (size_t)256 << 20});
    unsigned char *copy = az_alloc(az, size);
    memcpy(copy, data + 1 + length, size - 1 - length);
    const az_tokenizer *tokenizer = az_tokenizer_from_sentencepiece(az, copy, size - 1 - length);
    if (tokenizer) {
        const az_tokens tokens = az_tokenize(az, tokenizer, (const char *)data + 1, length, AZ_ADD_BOS | AZ_ADD_EOS | AZ_PARSE_SPECIAL);
        for (int64_t i = 0; i < tokens.n; i++)
            if (tokens.id[i] < 0 || tokens.id[i] >= az_vocabulary(tokenizer)) abort();
        az_detokenize(az, tokenizer, tokens.id, tokens.n, NULL);
    }
    az_close(az);
    return 0;
}
