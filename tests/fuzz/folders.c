/* folders.c - inputs that stand for several files, and the folder they are written to. */
#include "folders.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *const fuzz_folder_files[FUZZ_FOLDER_FILES] = {
    "config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-00001-of-00002.safetensors",
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "token_mappings.json",
    "generation_config.json",
    "tokenizer_config.json",
    "model-00002-of-00002.safetensors",
    "special_tokens_map.json",
    "chat_template.jinja",
};
const char *const fuzz_split_files[FUZZ_SPLIT_FILES] = {"m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"};

const char *const fuzz_adapter_files[FUZZ_ADAPTER_FILES] = {"adapter_config.json", "adapter_model.safetensors"};
const az_lm_config fuzz_adapter_model = {.vocabulary = 12, .width = 8, .blocks = 2, .heads = 2, .kv_heads = 1, .hidden = 8, .context = 16};

void fuzz_cut(const uint8_t *input, size_t size, fuzz_file *file, int count)
{
    fuzz_file *open = NULL;
    memset(file, 0, (size_t)count * sizeof *file);
    for (size_t at = 0; at < size;) {
        const uint8_t *mark = memmem(input + at, size - at, FUZZ_MARK, FUZZ_MARK_BYTES);
        const size_t end = mark ? (size_t)(mark - input) : size;
        if (open) *open = (fuzz_file){.data = input + at, .size = end - at};
        if (!mark || end + FUZZ_MARK_BYTES >= size) return;
        const int which = input[end + FUZZ_MARK_BYTES] - 'a';
        open = which >= 0 && which < count ? &file[which] : NULL;
        at = end + FUZZ_MARK_BYTES + 1;
        if (open) *open = (fuzz_file){.data = input + at - 1, .size = 0};
    }
}

static char folder_name[256];
static pid_t owner;

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)info, (void)kind, (void)place;
    return remove(path);
}

static void remove_folder(void)
{
    if (getpid() == owner) nftw(folder_name, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

const char *fuzz_folder(void)
{
    if (*folder_name) return folder_name;
    const char *parent = getenv("TMPDIR");
    snprintf(folder_name, sizeof folder_name, "%s/adze-fuzz-XXXXXX", parent ? parent : "/dev/shm");
    if (!mkdtemp(folder_name)) abort();
    owner = getpid();
    atexit(remove_folder);
    return folder_name;
}

bool fuzz_is_tensors(const char *name)
{
    const size_t length = strlen(name);
    return length > 12 && strcmp(name + length - 12, ".safetensors") == 0;
}

/* Of what begins like a header: up to the brace that closes it, with the spaces behind; 0 for other files. */
static size_t header_length(fuzz_file content)
{
    size_t at = 0;
    int depth = 0;
    if (content.size == 0 || *content.data != '{') return 0;
    do depth += (content.data[at] == '{') - (content.data[at] == '}');
    while (++at < content.size && depth > 0);
    while (at < content.size && content.data[at] == ' ') at++;
    return at;
}

static void write_file(const char *path, fuzz_file content, bool tensors)
{
    FILE *out = fopen(path, "wb");
    if (!out) abort();
    const size_t length = tensors ? header_length(content) : 0;
    for (int i = 0; length > 0 && i < 8; i++) fputc((int)(length >> 8 * i & 0xff), out);
    if (fwrite(content.data, 1, content.size, out) != content.size || fclose(out) != 0) abort();
}

void fuzz_put(const char *folder, const char *name, int slot, fuzz_file content)
{
    static uint8_t *present[FUZZ_MOST_FILES]; /* what is in the files */
    static size_t size[FUZZ_MOST_FILES];
    if (!content.data && !present[slot]) return;
    if (content.data && present[slot] && size[slot] == content.size && memcmp(present[slot], content.data, content.size) == 0) return;
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    free(present[slot]);
    present[slot] = NULL;
    if (!content.data) {
        unlink(path);
        return;
    }
    write_file(path, content, fuzz_is_tensors(name));
    present[slot] = malloc(content.size + 1);
    if (!present[slot]) abort();
    memcpy(present[slot], content.data, content.size);
    size[slot] = content.size;
}
