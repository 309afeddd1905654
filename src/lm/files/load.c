/* load.c - opens a model file: what kind it is, its name, its tokenizer, and who owns the map. */
#include "lm/files/huggingface.h"
#include "lm/files/load.h"
#include "lm/tokenizer/tokenizer.h"

#include <string.h>

az_tensor *az_lm_view(az_ctx *az, az_dtype dtype, int rank, const int64_t *shape, const void *data)
{
    az_buffer *buffer = az_buffer_wrap(az, (void *)(uintptr_t)data, 0, NULL, NULL);
    az_tensor *view = buffer ? az_wrap(az, dtype, rank, shape, buffer->data, buffer) : NULL;
    az_buffer_drop(buffer);
    return view;
}

az_tensor *az_lm_single_precision(az_ctx *az, const az_lm_slot *slot, const az_tensor *matrix)
{
    if (!matrix || matrix->dtype != AZ_F64) return (az_tensor *)(uintptr_t)matrix;
    if (slot->part == AZ_PART_EMBEDDING) az_note(az, "weights in double precision are read as f32");
    return az_cast(az, matrix, AZ_F32);
}

/* Other files that are taken for models, each with what to do about it. */
static bool refuse_other_kinds(az_ctx *az, const unsigned char *data, size_t size)
{
    static const struct {
        const char *mark, *message;
        size_t at, length;
    } kinds[] = {
        {"PK\3\4", "this is a PyTorch (zip) file; convert the model to GGUF", 0, 4},
        {"{\"", "this looks like a safetensors file; give the folder that holds it and its config.json", 8, 2},
        {"24ka", "llama2.c checkpoints of version 1 and later are not read; export version 0 (--version 0) or convert to GGUF", 0, 4},
        {"lmgg", "this is a GGML file of 2023; convert the model to GGUF", 0, 4},
        {"tjgg", "this is a GGJT file of 2023; convert the model to GGUF", 0, 4},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (size >= kinds[i].at + kinds[i].length && memcmp(data + kinds[i].at, kinds[i].mark, kinds[i].length) == 0)
            return az_fail(az, AZ_BAD_INPUT, "%s", kinds[i].message);
    return true;
}

az_lm *az_lm_from_bytes(az_ctx *az, const unsigned char *data, size_t size)
{
    if (!data || !az_ok(az)) return NULL;
    if (size == 0) return az_fail(az, AZ_BAD_INPUT, "the file is empty");
    if (az_gguf_is(data, size)) return az_lm_from_gguf(az, az_gguf_parse(az, data, size));
    if (!refuse_other_kinds(az, data, size)) return NULL;
    az_lm *lm = az_lm_from_llama2c(az, data, size);
    if (!lm) az_fail_context(az, "neither a GGUF file nor a llama2.c checkpoint");
    return lm;
}

/* ---- files ---- */

typedef struct owned_arena {
    az_ctx *az;
    az_arena *arena;
} owned_arena;

static void free_owned(void *object)
{
    const owned_arena *owned = object;
    az_arena_free(owned->az, owned->arena);
}

/* The folder part of a path with its slash. */
static int folder_length(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? (int)(slash - path) + 1 : 0;
}

static const char *stem(az_ctx *az, const char *path)
{
    if (az_is_folder(path)) { /* its own name, without the slashes that may follow it */
        size_t end = strlen(path);
        while (end > 1 && path[end - 1] == '/') end--;
        path = az_format_text(az, "%.*s", (int)end, path);
        return path ? path + folder_length(path) : NULL;
    }
    const char *file = path + folder_length(path), *dot = strrchr(file, '.');
    return az_format_text(az, "%.*s", (int)(dot && dot != file ? (size_t)(dot - file) : strlen(file)), file);
}

/* A checkpoint of llama2.c has its tokenizer beside it: tok<vocabulary>.bin or, for the vocabulary of Llama 2, tokenizer.bin. */
static az_tokenizer *tokenizer_beside(az_ctx *az, const char *path, int64_t vocabulary)
{
    const char *names[] = {az_format_text(az, "%.*stok%lld.bin", folder_length(path), path, (long long)vocabulary),
                           az_format_text(az, "%.*stokenizer.bin", folder_length(path), path)};
    for (int i = 0; i < 2; i++)
        if (az_is_file(names[i])) return az_tokenizer_read_llama2c(az, names[i], vocabulary);
    return NULL;
}

/* Makes the model the owner of the arena with its map, and gives it its name and tokenizer. */
static bool settle(az_ctx *az, az_lm *lm, az_arena *file, const char *path)
{
    az_arena_enter(az, lm->arena);
    owned_arena *owned = az_alloc(az, sizeof *owned);
    if (owned) *owned = (owned_arena){.az = az, .arena = file};
    const bool good = owned && az_on_leave(az, free_owned, owned);
    lm->name = good ? stem(az, path) : NULL;
    if (good && az_is_folder(path))
        lm->tokenizer = az_tokenizer_read_folder(az, path);
    else if (good && !lm->tokenizer && !lm->metadata)
        lm->tokenizer = tokenizer_beside(az, path, lm->config.vocabulary);
    if (lm->tokenizer && az_vocabulary(lm->tokenizer) > lm->config.vocabulary)
        az_fail(az, AZ_BAD_INPUT, "the tokenizer of '%s' has %lld tokens, but the embedding only %lld rows", path,
                (long long)az_vocabulary(lm->tokenizer), (long long)lm->config.vocabulary);
    az_arena_leave(az);
    if (!owned) az_arena_free(az, file);
    return az_ok(az);
}

/* A file, with the files beside it that belong to a split model. */
static az_lm *from_file(az_ctx *az, const char *path)
{
    const az_map *map = az_map_file(az, path);
    if (!map) return NULL;
    az_lm *lm = az_gguf_is(map->data, map->size)
                    ? az_lm_from_gguf(az, az_gguf_with_parts(az, az_gguf_parse(az, map->data, map->size), path))
                    : az_lm_from_bytes(az, map->data, map->size);
    az_fail_context(az, "reading '%s'", path);
    return lm;
}

az_lm *az_lm_load(az_ctx *az, const char *path)
{
    if (!path || !az_ok(az)) return NULL;
    az_arena *file = az_arena_new(az); /* older than the model's own arena, so that closing the context frees it later */
    if (!file) return NULL;
    az_arena_enter(az, file);
    az_lm *lm = NULL;
    if (az_is_folder(path)) {
        lm = az_lm_from_folder(az, path);
        az_fail_context(az, "reading the folder '%s'", path);
    } else {
        lm = from_file(az, path);
    }
    az_arena_leave(az);
    if (lm && settle(az, lm, file, path)) return lm;
    if (lm)
        az_lm_free(az, lm);
    else
        az_arena_free(az, file);
    return NULL;
}
