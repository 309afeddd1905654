/* load_tokenizer.c - the tokenizer of a file alone: of a model, with or without weights, or of a tokenizer's own file. */
#include "lm/files/gguf.h"
#include "lm/tokenizer/tokenizer.h"

#include <ctype.h>

static az_tokenizer *from_gguf(az_ctx *az, const char *path, const az_map *map)
{
    az_tokenizer *tokenizer = az_tokenizer_from_gguf(az, az_gguf_parse(az, map->data, map->size));
    if (!tokenizer) az_fail_context(az, "reading '%s'", path);
    return tokenizer;
}

static az_tokenizer *from_file(az_ctx *az, const char *path)
{
    const az_map *map = az_map_file(az, path);
    size_t at = 0;
    if (!map) return NULL;
    while (at < map->size && isspace(map->data[at])) at++;
    if (az_gguf_is(map->data, map->size)) return from_gguf(az, path, map);
    if (at < map->size && map->data[at] == '{') return az_tokenizer_read_json(az, path);
    if (az_ends_with(path, ".model")) return az_tokenizer_read_sentencepiece(az, path);
    const az_lm *lm = az_lm_load(az, path);
    return lm ? lm->tokenizer : NULL;
}

az_tokenizer *az_tokenizer_load(az_ctx *az, const char *path)
{
    if (!path || !az_ok(az)) return NULL;
    az_tokenizer *tokenizer = az_is_folder(path) ? az_tokenizer_read_folder(az, path) : from_file(az, path);
    if (tokenizer || !az_ok(az)) return tokenizer;
    return az_fail(az, AZ_BAD_INPUT, "'%s' brings no tokenizer%s", path,
                   az_is_folder(path) ? " (tokenizer.json, tokenizer.model, or vocab.json with merges.txt)" : "");
}
