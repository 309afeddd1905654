/* Models split over several GGUF files: the whole is what it was, and parts that are missing, swapped or alone are refused. */
#include "lm/files/load.h"
#include "support/folder.h"
#include "support/models.h"

#include <criterion/criterion.h>
#include <string.h>

enum { PARTS = 3 };

static az_gguf_key u32_key(az_ctx *az, const char *name, uint32_t value)
{
    unsigned char *bytes = az_alloc(az, 4);
    for (int i = 0; i < 4; i++) bytes[i] = (unsigned char)(value >> 8 * i);
    return (az_gguf_key){.name = az_text_of(name), .type = AZ_GGUF_U32, .item = AZ_GGUF_U32, .count = 1, .data = bytes, .bytes = 4};
}

/* Writes part `no`: every third tensor, and all keys in the first. */
static void write_part(az_ctx *az, const az_gguf *gguf, int no, const char *path)
{
    az_gguf_writer *writer = az_gguf_create(az, path);
    for (int64_t k = 0; no == 0 && k < gguf->keys; k++) az_gguf_put(writer, &gguf->key[k]);
    const az_gguf_key split[] = {u32_key(az, "split.no", (uint32_t)no), u32_key(az, "split.count", PARTS),
                                 u32_key(az, "split.tensors.count", (uint32_t)gguf->tensors)};
    for (int i = 0; i < 3; i++) az_gguf_put(writer, &split[i]);
    for (int64_t t = no; t < gguf->tensors; t += PARTS)
        az_gguf_declare(writer, gguf->tensor[t].name, gguf->tensor[t].rank, gguf->tensor[t].shape, gguf->tensor[t].type);
    for (int64_t t = no; t < gguf->tensors; t += PARTS) az_gguf_write(writer, gguf->tensor[t].data, gguf->tensor[t].bytes);
    cr_assert(az_gguf_commit(writer), "%s", az_error(az));
}

static const char *part_path(az_ctx *az, const char *folder, int no)
{
    return az_format_text(az, "%s/m-%05d-of-%05d.gguf", folder, no + 1, PARTS);
}

/* A small model saved whole as whole.gguf, and in three parts beside it. */
static const char *split_model(az_ctx *az)
{
    const char *folder = test_folder(az), *whole = test_path(az, folder, "whole.gguf");
    const az_lm_config config = {.vocabulary = 280, .width = 32, .blocks = 2, .heads = 4, .hidden = 32, .context = 16, .tied = true};
    az_lm *lm = az_lm_new(az, "llama", &config, test_tokenizer(az), 1);
    cr_assert(az_lm_save(az, lm, whole, NULL), "%s", az_error(az));
    az_lm *loaded = az_lm_load(az, whole);
    cr_assert(loaded, "%s", az_error(az));
    for (int no = 0; no < PARTS; no++) write_part(az, loaded->metadata->gguf, no, part_path(az, folder, no));
    return folder;
}

Test(gguf_split, the_parts_make_the_whole)
{
    az_ctx *az = az_open(NULL);
    const char *folder = split_model(az), *again = test_path(az, folder, "again.gguf");
    az_lm *lm = az_lm_load(az, part_path(az, folder, 0));
    cr_assert(lm && az_lm_save(az, lm, again, NULL), "%s", az_error(az));
    az_lm *whole = az_lm_load(az, test_path(az, folder, "whole.gguf")), *back = az_lm_load(az, again);
    cr_assert(whole && back, "%s", az_error(az));
    const az_gguf *a = whole->metadata->gguf, *b = back->metadata->gguf;
    cr_assert_eq(a->tensors, b->tensors);
    cr_assert_null(az_gguf_find(b, "split.count"));
    for (int64_t t = 0; t < a->tensors; t++) {
        char name[128];
        snprintf(name, sizeof name, "%.*s", (int)a->tensor[t].name.length, a->tensor[t].name.data);
        const az_gguf_tensor *other = az_gguf_find_tensor(b, name);
        cr_assert(other && other->bytes == a->tensor[t].bytes && memcmp(other->data, a->tensor[t].data, other->bytes) == 0, "%s", name);
    }
    az_close(az);
}

static void refused(az_ctx *az, const char *path, const char *why)
{
    cr_assert_null(az_lm_load(az, path));
    cr_assert(strstr(az_error(az), why), "%s", az_error(az));
    az_clear(az);
}

Test(gguf_split, parts_alone_swapped_or_missing_are_refused)
{
    az_ctx *az = az_open(NULL);
    const char *folder = split_model(az), *first = part_path(az, folder, 0), *second = part_path(az, folder, 1);
    const char *renamed = test_path(az, folder, "renamed.gguf"), *third = part_path(az, folder, 2);
    refused(az, second, "not the first");
    cr_assert_eq(rename(first, renamed), 0);
    refused(az, renamed, "ends in -00001-of-00003.gguf");
    cr_assert_eq(rename(renamed, first), 0);
    cr_assert_eq(rename(second, renamed), 0);
    refused(az, first, "m-00002-of-00003.gguf");
    cr_assert_eq(rename(third, second), 0);
    refused(az, first, "not part 2 of 3");
    az_close(az);
}
