/* make_corpus_folders.c - seeds that stand for folders: a small model of each family, one with two files of tensors, one split over three
 * GGUF files; an adapter of each kind. */
#include "folders.h"
#include "lm/files/huggingface.h"
#include "make_corpus.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct {
    const char *architecture;
    az_lm_config config; /* what differs from the others */
} families[] = {
    {"llama", {.kv_heads = 1}},
    {"llama", {.kv_heads = 1, .experts = 2, .experts_used = 1}},
    {"qwen2", {.kv_heads = 1, .tied = true}},
    {"qwen3", {.kv_heads = 1}},
    {"phi3", {.kv_heads = 1}},
    {"gemma2", {.kv_heads = 1, .tied = true, .window = 5}},
    {"gemma3", {.kv_heads = 1, .tied = true, .window = 5, .window_pattern = 2}},
    {"gpt2", {.tied = true}},
    {"gptneox", {.rope_dims = 2}},
    {"opt", {.tied = true}},
    {"bloom", {.tied = true, .hidden = 32}},
};
enum { FAMILIES = sizeof families / sizeof *families };

static az_lm *family(az_ctx *az, int k)
{
    az_lm_config config = families[k].config;
    config.vocabulary = 12, config.width = 8, config.blocks = 1, config.heads = 2, config.context = 16;
    if (config.hidden == 0) config.hidden = 8;
    return az_lm_new(az, families[k].architecture, &config, k % 2 ? corpus_scores(az) : corpus_ranks(az), 1);
}

static void append(FILE *out, int which, const void *data, size_t size)
{
    fwrite(FUZZ_MARK, 1, FUZZ_MARK_BYTES, out);
    fputc('a' + which, out);
    fwrite(data, 1, size, out);
}

/* The files of the folder behind one another; what was packed is removed. */
static void pack(az_ctx *az, const char *const *names, int n, const char *path)
{
    az_out *out = az_create(az, path);
    for (int i = 0; out && i < n; i++) {
        const char *name = az_format_text(az, "%s/%s", fuzz_folder(), names[i]);
        if (!name || access(name, R_OK) != 0) continue;
        const az_map *map = az_map_file(az, name);
        const size_t head = fuzz_is_tensors(names[i]) ? 8 : 0;
        if (map) append(az_out_stream(out), i, (const char *)map->data + head, map->size - head);
        unlink(name);
    }
    az_commit(out);
}

static void put_text(az_ctx *az, const char *name, const char *text)
{
    corpus_put(az, az_format_text(az, "%s/%s", fuzz_folder(), name), text, strlen(text), "", 0);
}

/* The other files that a folder may have; they are read beside tokenizer.json or instead of it. */
static void put_settings(az_ctx *az)
{
    put_text(az, "generation_config.json", "{\"bos_token_id\":1,\"eos_token_id\":[6,2],\"pad_token_id\":0}");
    put_text(az, "special_tokens_map.json", "{\"bos_token\":{\"content\":\"<s>\"},\"eos_token\":\"<|end|>\",\"unk_token\":\"<unk>\"}");
    put_text(az, "chat_template.jinja", "{% for m in messages %}{{ m['role'] + ': ' + m.content | trim }}{% endfor %}");
}

static void put_words(az_ctx *az)
{
    unlink(az_format_text(az, "%s/tokenizer.json", fuzz_folder()));
    put_text(az, "token_mappings.json", "{\"token2id\":{\"<|end|>\":0,\"a\":1,\"ab\":2,\"<unk>\":3,\"12\":11}}");
}

static void put_pair(az_ctx *az)
{
    unlink(az_format_text(az, "%s/tokenizer.json", fuzz_folder()));
    put_text(az, "vocab.json", "{\"a\":0,\"b\":1,\"\u0120\":2,\"ab\":3,\"\u0120ab\":4,\"<|endoftext|>\":11}");
    put_text(az, "merges.txt", "#version: 0.2\na b\n\u0120 ab\n");
}

static void put_family(az_ctx *az, const char *corpus, int k)
{
    const az_lm *lm = family(az, k);
    const bool words = strcmp(families[k].architecture, "opt") == 0, pair = strcmp(families[k].architecture, "gpt2") == 0;
    if (!lm || !az_lm_save_folder(az, lm, fuzz_folder(), az_format_by_name(k % 3 ? "f16" : "bf16"))) return;
    if (k % 2) put_settings(az);
    if (words) put_words(az);
    if (pair) put_pair(az);
    const char *kind = families[k].config.experts ? "mixture" : families[k].architecture;
    pack(az, fuzz_folder_files, FUZZ_FOLDER_FILES, az_format_text(az, "%s/fuzz_folder/%s", corpus, kind));
}

static void put_shards(az_ctx *az, const char *corpus)
{
    if (!az_lm_save_shards(az, family(az, 0), fuzz_folder(), az_format_by_name("f16"), 800)) return;
    pack(az, fuzz_folder_files, FUZZ_FOLDER_FILES, az_format_text(az, "%s/fuzz_folder/shards", corpus));
}

/* ---- split GGUF ---- */

static az_gguf_key u32_key(az_ctx *az, const char *name, int64_t value)
{
    unsigned char *bytes = az_alloc(az, 4);
    for (int i = 0; i < 4; i++) bytes[i] = (unsigned char)(value >> 8 * i);
    return (az_gguf_key){.name = az_text_of(name), .type = AZ_GGUF_U32, .item = AZ_GGUF_U32, .count = 1, .data = bytes, .bytes = 4};
}

/* Every third tensor, and all keys in the first part. */
static void put_part(az_ctx *az, const az_gguf *gguf, int no)
{
    az_gguf_writer *writer = az_gguf_create(az, az_format_text(az, "%s/%s", fuzz_folder(), fuzz_split_files[no]));
    for (int64_t k = 0; no == 0 && k < gguf->keys; k++) az_gguf_put(writer, &gguf->key[k]);
    const az_gguf_key split[] = {u32_key(az, "split.no", no), u32_key(az, "split.count", FUZZ_SPLIT_FILES),
                                 u32_key(az, "split.tensors.count", gguf->tensors)};
    for (int i = 0; i < 3; i++) az_gguf_put(writer, &split[i]);
    for (int64_t t = no; t < gguf->tensors; t += FUZZ_SPLIT_FILES)
        az_gguf_declare(writer, gguf->tensor[t].name, gguf->tensor[t].rank, gguf->tensor[t].shape, gguf->tensor[t].type);
    for (int64_t t = no; t < gguf->tensors; t += FUZZ_SPLIT_FILES) az_gguf_write(writer, gguf->tensor[t].data, gguf->tensor[t].bytes);
    az_gguf_commit(writer);
}

static void put_split(az_ctx *az, const char *corpus)
{
    const char *whole = az_format_text(az, "%s/whole.gguf", fuzz_folder());
    az_lm_save(az, family(az, 0), whole, az_format_by_name("f16"));
    const az_lm *lm = az_lm_load(az, whole);
    for (int no = 0; lm && no < FUZZ_SPLIT_FILES; no++) put_part(az, lm->metadata->gguf, no);
    pack(az, fuzz_split_files, FUZZ_SPLIT_FILES, az_format_text(az, "%s/fuzz_gguf_split/three", corpus));
}

/* ---- adapters ---- */

static void put_adapter(az_ctx *az, const az_lm *lm, const az_adapter *adapter, const char *corpus, const char *name)
{
    if (!adapter || !az_adapter_write(az, lm, adapter, fuzz_folder(), "model", AZ_F16)) return;
    pack(az, fuzz_adapter_files, FUZZ_ADAPTER_FILES, az_format_text(az, "%s/fuzz_adapter/%s", corpus, name));
}

static void put_virtual(az_ctx *az, const az_lm *lm, const char *corpus)
{
    az_adapter *prompt = az_adapter_empty(az, "a", "PROMPT_TUNING"), *prefix = az_adapter_empty(az, "a", "PREFIX_TUNING"),
               *made = az_adapter_empty(az, "a", "IAPT");
    az_generator_block block[2] = {{.network = 0}, {.network = 0, .activation = AZ_GENERATE_RELU}};
    if (!made || !az_adapter_add_generators(az, lm, made, &(az_generators){.m = 2, .blocks = 2, .block = block}, 2)) return;
    prompt->virtual_tokens = prefix->virtual_tokens = 2;
    prompt->prompt = az_randn(az, AZ_F32, 2, (int64_t[]){2, lm->config.width}, 1, 1, 1);
    prefix->prefix = az_randn(az, AZ_F32, 2, (int64_t[]){2, 2 * 2 * lm->config.head_dim}, 1, 1, 2);
    put_adapter(az, lm, prompt, corpus, "prompt");
    put_adapter(az, lm, prefix, corpus, "prefix");
    put_adapter(az, lm, made, corpus, "iapt");
}

static void put_adapters(az_ctx *az, const char *corpus)
{
    static const struct {
        const char *name;
        az_adapter_how how;
    } ways[] = {{"lora", {.rank = 1, .alpha = 2, .targets = "q_proj,down_proj", .ranks = "down_proj=2"}},
                {"dora", {.rank = 1, .alpha = 2, .dora = true, .rank_stabilized = true, .targets = "v_proj"}},
                {"whole", {.rank = 1, .alpha = 2, .targets = "embed_tokens", .save = "lm_head", .bias = AZ_BIAS_ALL}}};
    const az_lm *lm = az_lm_new(az, "llama", &fuzz_adapter_model, NULL, 1);
    for (int i = 0; lm && i < 3; i++) put_adapter(az, lm, az_adapter_new(az, lm, &ways[i].how), corpus, ways[i].name);
    az_adapter *ada = lm ? az_adapter_new(az, lm, &ways[0].how) : NULL;
    if (ada) ada->kind = "ADALORA";
    put_adapter(az, lm, ada, corpus, "adalora");
    if (lm) put_virtual(az, lm, corpus);
}

void make_folders(az_ctx *az, const char *corpus)
{
    az_make_folder(az, az_format_text(az, "%s/fuzz_adapter", corpus));
    put_adapters(az, corpus);
    az_make_folder(az, az_format_text(az, "%s/fuzz_folder", corpus));
    az_make_folder(az, az_format_text(az, "%s/fuzz_gguf_split", corpus));
    for (int k = 0; k < FAMILIES; k++) put_family(az, corpus, k);
    put_shards(az, corpus);
    put_split(az, corpus);
}
