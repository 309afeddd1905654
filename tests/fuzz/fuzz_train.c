/* fuzz_train.c - the tokenizer's trainer: whatever it learns from a text, decoding that text's tokens gives the text. */
#include "lm/tokenizer/tokenizer.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) return 0;
    az_ctx *az = az_open(&(az_settings){.threads = 1, .memory_limit = (size_t)256 << 20});
    az_document document = {(const char *)data + 1, size - 1};
    const az_documents documents = {.count = 1, .item = &document};
    const az_tokenizer *tokenizer = az_tokenizer_train(az, &documents, 257 + data[0]);
    if (!tokenizer) abort();
    const az_tokens tokens = az_tokenize(az, tokenizer, document.text, document.length, 0);
    size_t length;
    const char *back = az_detokenize(az, tokenizer, tokens.id, tokens.n, &length);
    if (length != document.length || memcmp(back, document.text, length) != 0) abort();
    az_close(az);
    return 0;
}
