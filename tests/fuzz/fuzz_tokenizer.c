/* fuzz_tokenizer.c - vocabularies and texts: u16 length of the text, the text, a GGUF file with a vocabulary.
 *
 * Where each byte has its token, decoding must undo encoding. The text's bytes also serve as token ids. */
#include "lm/tokenizer/tokenizer.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Normalising models change the text; user tokens make spaces at a text's beginning ambiguous; the unknown token forgets what it stands
 * for. */
static bool is_lossless(const az_tokenizer *t, az_tokens tokens)
{
    if (t->kind != AZ_TOKENIZER_SCORES && t->kind != AZ_TOKENIZER_RANKS) return false;
    for (int32_t i = 0; t->kind == AZ_TOKENIZER_SCORES && i < t->size; i++)
        if (t->type[i] == AZ_TOKEN_USER) return false;
    for (int64_t i = 0; i < tokens.n; i++)
        if (tokens.id[i] == t->unknown) return false;
    return true;
}

static void encode(az_ctx *az, const az_tokenizer *tokenizer, const char *text, size_t length)
{
    const az_tokens tokens = az_tokenize(az, tokenizer, text, length, 0);
    if (!az_ok(az)) return;
    for (int64_t i = 0; i < tokens.n; i++)
        if (tokens.id[i] < 0 || tokens.id[i] >= az_vocabulary(tokenizer)) abort();
    size_t back_length;
    const char *back = az_detokenize(az, tokenizer, tokens.id, tokens.n, &back_length);
    if (is_lossless(tokenizer, tokens) && (back_length != length || memcmp(back, text, length) != 0)) abort();
    az_tokenize(az, tokenizer, text, length, AZ_ADD_BOS | AZ_ADD_EOS | AZ_PARSE_SPECIAL);
}

static void decode(az_ctx *az, const az_tokenizer *tokenizer, const char *bytes, size_t n)
{
    int32_t *id = az_alloc_array(az, n, sizeof *id);
    for (size_t i = 0; i < n; i++) id[i] = (signed char)bytes[i] * 3;
    size_t length, total = 0, piece;
    const char *text = az_detokenize(az, tokenizer, id, (int64_t)n, &length);
    for (size_t i = 0; i < n; i++) {
        const char *added = az_token_bytes(tokenizer, id[i], i ? id[i - 1] : -1, &piece);
        if (total + piece > length || memcmp(text + total, added, piece) != 0) abort();
        total += piece;
    }
    if (total != length) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const size_t length = size < 2 ? 0 : (size_t)(data[0] | data[1] << 8);
    if (size < 2 + length) return 0;
    az_ctx *az = az_open(&(az_settings){.threads = 1, .memory_limit = (size_t)256 << 20});
    unsigned char *copy = az_alloc(az, size);
    memcpy(copy, data + 2 + length, size - 2 - length);
    const az_tokenizer *tokenizer = az_tokenizer_from_gguf(az, az_gguf_parse(az, copy, size - 2 - length));
    if (tokenizer) {
        decode(az, tokenizer, (const char *)data + 2, length);
        encode(az, tokenizer, (const char *)data + 2, length);
    }
    az_close(az);
    return 0;
}
