/* llama2c.c - vocabularies out of llama2.c's tokenizer.bin. */
#include "lm/tokenizer/tokenizer.h"

#include <string.h>

enum { FIRST_BYTE = 3, BYTES = 256 }; /* <unk>, <s>, </s>, <0x00> .. <0xFF>, pieces */

static int32_t llama2c_type(int64_t id)
{
    if (id < FIRST_BYTE) return id == 0 ? AZ_TOKEN_UNKNOWN : AZ_TOKEN_CONTROL;
    return id < FIRST_BYTE + BYTES ? AZ_TOKEN_BYTE : AZ_TOKEN_NORMAL;
}

/* The file writes spaces as they are and puts control tokens on lines of their own: back to SentencePiece's spelling. */
static az_text sentencepiece_spelling(az_ctx *az, az_text text, int64_t id)
{
    if (id < FIRST_BYTE) {
        while (text.length > 0 && text.data[0] == '\n') text.data++, text.length--;
        while (text.length > 0 && text.data[text.length - 1] == '\n') text.length--;
        return text;
    }
    if (!memchr(text.data, ' ', text.length)) return text;
    char *marked = az_alloc(az, 3 * text.length);
    size_t n = 0;
    for (size_t i = 0; marked && i < text.length; i++) {
        if (text.data[i] != ' ') {
            marked[n++] = text.data[i];
            continue;
        }
        memcpy(marked + n, "\xe2\x96\x81", 3);
        n += 3;
    }
    return (az_text){.data = marked, .length = n};
}

static bool read_llama2c(az_ctx *az, const unsigned char *data, size_t size, az_tokenizer_parts *parts)
{
    size_t at = 4; /* behind the length of the longest token */
    if (size < at || (uint64_t)parts->size > (size - at) / 8)
        return az_fail(az, AZ_BAD_INPUT, "%zu bytes are too few for a llama2.c vocabulary of %lld tokens", size, (long long)parts->size);
    az_text *text = az_alloc_array(az, (size_t)parts->size, sizeof *text);
    float *score = az_alloc_array(az, (size_t)parts->size, sizeof *score);
    int32_t *type = az_alloc_array(az, (size_t)parts->size, sizeof *type);
    for (int64_t i = 0; text && score && type && i < parts->size; i++) {
        int32_t length = 0;
        if (size - at >= 8) {
            memcpy(&score[i], data + at, 4);
            memcpy(&length, data + at + 4, 4);
            at += 8;
        } else {
            length = -1;
        }
        if (length < 0 || (size_t)length > size - at)
            return az_fail(az, AZ_BAD_INPUT, "token %lld of %lld lies beyond the end of the file (position %zu of %zu)", (long long)i,
                           (long long)parts->size, at, size);
        text[i] = sentencepiece_spelling(az, (az_text){.data = (const char *)data + at, .length = (size_t)length}, i);
        type[i] = llama2c_type(i);
        at += (size_t)length;
    }
    parts->text = text;
    parts->score = score;
    parts->type = type;
    return az_ok(az);
}

az_tokenizer *az_tokenizer_from_llama2c(az_ctx *az, const unsigned char *data, size_t size, int64_t vocabulary)
{
    if (!data || !az_ok(az)) return NULL;
    if (vocabulary <= FIRST_BYTE + BYTES)
        return az_fail(az, AZ_BAD_INPUT, "a llama2.c vocabulary has more than %d tokens, not %lld", FIRST_BYTE + BYTES,
                       (long long)vocabulary);
    az_tokenizer_parts parts = {
        .kind = AZ_TOKENIZER_SCORES, .size = vocabulary, .bos = 1, .eos = 2, .add_bos = true, .add_space_prefix = true};
    az_arena *scratch = az_arena_new(az);
    if (!scratch) return NULL;
    az_arena_enter(az, scratch);
    const bool good = read_llama2c(az, data, size, &parts);
    az_arena_leave(az);
    az_tokenizer *tokenizer = good ? az_tokenizer_build(az, &parts) : NULL;
    az_arena_free(az, scratch);
    return tokenizer;
}

az_tokenizer *az_tokenizer_read_llama2c(az_ctx *az, const char *path, int64_t vocabulary)
{
    az_arena *scratch = az_arena_new(az);
    if (!scratch) return NULL;
    az_arena_enter(az, scratch);
    const az_map *map = az_map_file(az, path);
    az_arena_leave(az);
    az_tokenizer *tokenizer = map ? az_tokenizer_from_llama2c(az, map->data, map->size, vocabulary) : NULL;
    if (!tokenizer) az_fail_context(az, "reading '%s'", path);
    az_arena_free(az, scratch);
    return tokenizer;
}
