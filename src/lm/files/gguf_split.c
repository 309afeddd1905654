/* gguf_split.c - models whose tensors are shared out over several files, "<name>-00001-of-00003.gguf" and so on.
 *
 * Each part is a whole GGUF file with the keys split.no (from 0), split.count and split.tensors.count; the first one has all other keys. */
#include "lm/files/gguf.h"

#include <string.h>

enum { MOST_PARTS = 4096 };

static int64_t number(const az_gguf *gguf, const char *key, int64_t otherwise)
{
    int64_t value = otherwise;
    az_gguf_integer(az_gguf_find(gguf, key), &value);
    return value;
}

int64_t az_gguf_parts(const az_gguf *gguf)
{
    return number(gguf, "split.count", 1);
}

static bool is_split_key(const az_gguf_key *key)
{
    return key->name.length >= 6 && memcmp(key->name.data, "split.", 6) == 0;
}

/* All tensors of the parts behind the first part's keys. */
static az_gguf *join(az_ctx *az, az_gguf *const *part, int64_t parts)
{
    az_gguf *whole = az_alloc(az, sizeof *whole);
    if (!whole) return NULL;
    *whole = (az_gguf){.version = part[0]->version, .alignment = part[0]->alignment};
    int64_t tensors = 0;
    for (int64_t p = 0; p < parts; p++) tensors += part[p]->tensors;
    const int64_t promised = number(part[0], "split.tensors.count", tensors);
    if (promised != tensors)
        return az_fail(az, AZ_BAD_INPUT, "the parts hold %lld tensors, but split.tensors.count is %lld", (long long)tensors,
                       (long long)promised);
    whole->key = az_alloc_array(az, (size_t)part[0]->keys, sizeof *whole->key);
    whole->tensor = az_alloc_array(az, (size_t)tensors, sizeof *whole->tensor);
    if (!whole->key || !whole->tensor) return NULL;
    for (int64_t k = 0; k < part[0]->keys; k++)
        if (!is_split_key(&part[0]->key[k])) whole->key[whole->keys++] = part[0]->key[k];
    for (int64_t p = 0; p < parts; p++)
        for (int64_t t = 0; t < part[p]->tensors; t++) whole->tensor[whole->tensors++] = part[p]->tensor[t];
    return az_gguf_index(az, whole) ? whole : NULL;
}

/* "<name>-00002-of-00003.gguf" from the path of part 1; NULL when the path does not end as a first part's does. */
static const char *part_path(az_ctx *az, const char *first, int64_t part, int64_t parts)
{
    const char *ending = az_format_text(az, "-00001-of-%05lld.gguf", (long long)parts);
    if (!ending) return NULL;
    const size_t length = strlen(first), tail = strlen(ending);
    if (length < tail || strcmp(first + length - tail, ending) != 0)
        return az_fail(az, AZ_BAD_INPUT, "the model is split over %lld files; give the first one, whose name ends in %s", (long long)parts,
                       ending);
    return az_format_text(az, "%.*s-%05lld-of-%05lld.gguf", (int)(length - tail), first, (long long)part, (long long)parts);
}

static az_gguf *read_part(az_ctx *az, const char *path, int64_t part, int64_t parts)
{
    const az_map *map = path ? az_map_file(az, path) : NULL;
    az_gguf *gguf = map ? az_gguf_parse(az, map->data, map->size) : NULL;
    if (gguf && (number(gguf, "split.no", -1) != part - 1 || az_gguf_parts(gguf) != parts))
        az_fail(az, AZ_BAD_INPUT, "this is not part %lld of %lld by its keys split.no and split.count", (long long)part, (long long)parts);
    if (map) az_fail_context(az, "part '%s'", path);
    return az_ok(az) ? gguf : NULL;
}

az_gguf *az_gguf_with_parts(az_ctx *az, az_gguf *first, const char *path)
{
    if (!first || !az_ok(az)) return NULL;
    const int64_t parts = az_gguf_parts(first);
    if (parts == 1) return first;
    if (parts < 1 || parts > MOST_PARTS)
        return az_fail(az, AZ_BAD_INPUT, "split.count is %lld; 1 to %d are read", (long long)parts, MOST_PARTS);
    az_gguf **part = az_alloc_array(az, (size_t)parts, sizeof *part);
    if (!part) return NULL;
    part[0] = first;
    if (number(first, "split.no", -1) != 0)
        return az_fail(az, AZ_BAD_INPUT, "this is not the first of the model's %lld files", (long long)parts);
    for (int64_t p = 1; p < parts; p++) {
        part[p] = read_part(az, part_path(az, path, p + 1, parts), p + 1, parts);
        if (!part[p]) return NULL;
    }
    return join(az, part, parts);
}
