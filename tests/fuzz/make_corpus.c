/* make_corpus.c - writes the seeds of the fuzz targets for binary formats: make_corpus tests/fuzz/corpus */
#include "lm/files/load.h"
#include "lm/tokenizer/tokenizer.h"
#include "make_corpus.h"

#include <string.h>

static const az_lm_config tiny = {.vocabulary = 12, .width = 8, .blocks = 1, .heads = 2, .kv_heads = 1, .hidden = 8, .context = 16};

/* SentencePiece-style: three control tokens, a few bytes, a few pieces. */
az_tokenizer *corpus_scores(az_ctx *az)
{
    static const char *const spelling[] = {"<unk>", "<s>", "</s>", "<0x0A>", "<0x41>", "\u2581", "a", "b", "ab", "\u2581ab", "<user>", "c"};
    static const int32_t type[] = {2, 3, 3, 6, 6, 1, 1, 1, 1, 1, 4, 1};
    static const float score[] = {0, 0, 0, 0, 0, -5, -6, -7, -1, -2, 0, -8};
    az_text text[12];
    for (int i = 0; i < 12; i++) text[i] = az_text_of(spelling[i]);
    return az_tokenizer_build(az, &(az_tokenizer_parts){.kind = AZ_TOKENIZER_SCORES,
                                                        .size = 12,
                                                        .text = text,
                                                        .score = score,
                                                        .type = type,
                                                        .bos = 1,
                                                        .eos = 2,
                                                        .unknown = 0,
                                                        .add_bos = true,
                                                        .add_space_prefix = true});
}

/* Byte-level: letters and two merges. */
az_tokenizer *corpus_ranks(az_ctx *az)
{
    static const char *const spelling[] = {"a", "b", "c", "\u0120", "ab", "\u0120ab", "<|end|>", "<user>", "1", "'", "s", "\u010a"};
    static const int32_t type[] = {1, 1, 1, 1, 1, 1, 3, 4, 1, 1, 1, 1};
    az_text text[12];
    for (int i = 0; i < 12; i++) text[i] = az_text_of(spelling[i]);
    const az_text merge[] = {az_text_of("a b"), az_text_of("\u0120 ab")};
    return az_tokenizer_build(az, &(az_tokenizer_parts){.kind = AZ_TOKENIZER_RANKS,
                                                        .size = 12,
                                                        .text = text,
                                                        .type = type,
                                                        .merges = 2,
                                                        .merge = merge,
                                                        .pattern = az_word_pattern_by_name(az_text_of("llama-bpe")),
                                                        .bos = 6,
                                                        .eos = 6,
                                                        .unknown = -1});
}

void corpus_put(az_ctx *az, const char *path, const void *head, size_t head_bytes, const void *data, size_t bytes)
{
    az_out *out = az_create(az, path);
    if (!out) return;
    fwrite(head, 1, head_bytes, az_out_stream(out));
    fwrite(data, 1, bytes, az_out_stream(out));
    az_commit(out);
}

static void put_vocabulary(az_ctx *az, const char *folder, const char *name, const az_tokenizer *tokenizer, const char *text)
{
    const char *path = az_format_text(az, "%s/fuzz_tokenizer/%s", folder, name);
    az_gguf_writer *writer = az_gguf_create(az, path);
    az_tokenizer_to_gguf(az, tokenizer, az_vocabulary(tokenizer), writer);
    az_gguf_commit(writer);
    const az_map *map = az_map_file(az, path);
    unsigned char head[64] = {(unsigned char)strlen(text), 0};
    memcpy(head + 2, text, strlen(text));
    if (map) corpus_put(az, path, head, 2 + strlen(text), map->data, map->size);
}

static void put_llama2c(az_ctx *az, const char *folder)
{
    static const int32_t field[2][7] = {{4, 4, 1, 2, 1, 5, 4}, {4, 4, 1, 2, 2, -5, 4}};
    float value[400];
    for (int i = 0; i < 400; i++) value[i] = 0.1f * (float)(i % 7) - 0.3f;
    for (int k = 0; k < 2; k++) {
        unsigned char head[3 + 28] = {0};
        memcpy(head + 3, field[k], 28);
        const int kv = 2 * field[k][4], values = 5 * 4 + (4 + 16 + 2 * 4 * kv + 16 + 4 + 3 * 16) + 4 + 4 * 2 + (k ? 5 * 4 : 0);
        corpus_put(az, az_format_text(az, "%s/fuzz_llama2c/%s", folder, k ? "untied" : "tied"), head, sizeof head, value,
                   (size_t)values * 4);
    }
    unsigned char vocabulary[4096] = {0};
    size_t n = 4;
    for (int i = 0; i < 262; i++) {
        const char *token =
            i < 3 ? (const char *const[]){"<unk>", "\n<s>\n", "\n</s>\n"}[i] : az_format_text(az, i < 259 ? "<0x%02X>" : "a b%d", i - 3);
        const int32_t length = (int32_t)strlen(token);
        memcpy(vocabulary + n, &(float){-(float)i}, 4);
        memcpy(vocabulary + n + 4, &length, 4);
        memcpy(vocabulary + n + 8, token, (size_t)length);
        n += 8 + (size_t)length;
    }
    corpus_put(az, az_format_text(az, "%s/fuzz_llama2c/tokenizer", folder), "\1\6\1", 3, vocabulary, n);
}

static void put_safetensors(az_ctx *az, const char *folder)
{
    az_safetensors_writer *writer = az_safetensors_create(az, az_format_text(az, "%s/fuzz_safetensors/three", folder));
    az_safetensors_put_metadata(writer, "format", "pt");
    az_safetensors_declare(writer, "a", AZ_F32, 2, (const int64_t[]){2, 3});
    az_safetensors_declare(writer, "b", AZ_U8, 1, (const int64_t[]){3});
    az_safetensors_declare(writer, "c", AZ_BF16, 0, NULL);
    az_safetensors_write(writer, az_zeros(az, AZ_F32, 2, (const int64_t[]){2, 3}));
    az_safetensors_write(writer, az_zeros(az, AZ_U8, 1, (const int64_t[]){3}));
    az_safetensors_write(writer, az_zeros(az, AZ_BF16, 0, NULL));
    az_safetensors_commit(writer);
}

int main(int count, char **arguments)
{
    az_ctx *az = az_open(NULL);
    const char *folder = count > 1 ? arguments[1] : "tests/fuzz/corpus";
    static const char *const targets[] = {"fuzz_gguf", "fuzz_llama2c", "fuzz_safetensors", "fuzz_tokenizer", "fuzz_train"};
    for (int i = 0; i < 5; i++) az_make_folder(az, az_format_text(az, "%s/%s", folder, targets[i]));
    az_lm_config untied = tiny;
    az_lm_config tied = tiny;
    tied.tied = true;
    const az_lm *with_scores = az_lm_new(az, "llama", &tied, corpus_scores(az), 1),
                *with_ranks = az_lm_new(az, "llama", &untied, corpus_ranks(az), 2);
    az_lm_save(az, with_scores, az_format_text(az, "%s/fuzz_gguf/scores", folder), NULL);
    az_lm_save(az, with_ranks, az_format_text(az, "%s/fuzz_gguf/ranks", folder), az_format_by_name("f16"));
    put_vocabulary(az, folder, "scores", corpus_scores(az), "ab <user>a\nA b");
    put_vocabulary(az, folder, "ranks", corpus_ranks(az), "ab ab's<|end|> 1\n");
    put_llama2c(az, folder);
    put_safetensors(az, folder);
    const char text[] = "\xffhow much wood would a woodchuck chuck, if a woodchuck could chuck wood? 12345  \n\n\xc3\xa9t\xc3\xa9";
    corpus_put(az, az_format_text(az, "%s/fuzz_train/wood", folder), text, sizeof text - 1, "", 0);
    make_folders(az, folder);
    if (!az_ok(az)) fprintf(stderr, "make_corpus: %s\n", az_error(az));
    const bool good = az_ok(az);
    az_close(az);
    return good ? 0 : 1;
}
