/* Matrices of more values than a writer encodes at a time: what comes out is what encoding them whole gives. */
#include "adze/lm.h"
#include "lm/files/tiles.h"
#include "support/folder.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

/* The embedding and the queries take several tiles; a tile of queries is not all heads. */
static az_lm *large(az_ctx *az, const char *architecture)
{
    const az_lm_config config = {.width = 1056, .blocks = 1, .heads = 33, .kv_heads = 3, .hidden = 32, .vocabulary = 1100, .context = 8};
    az_lm *lm = az_lm_new(az, architecture, &config, NULL, 1);
    cr_assert_not_null(lm, "%s", az_error(az));
    cr_assert_gt(az_count(lm->block[0].q.weight->part[0]), AZ_TILE_VALUES);
    return lm;
}

static void expect_encoded(az_ctx *az, const az_weight *found, const az_weight *original, const az_format *format)
{
    const az_weight *expected = az_weight_encode(az, original, format, NULL);
    cr_assert(found && found->format == format && found->rows == original->rows, "%s: %s", format->name, az_error(az));
    cr_assert_eq(memcmp(found->part[0]->data, expected->part[0]->data, az_weight_bytes(expected)), 0, "%s", format->name);
}

static void expect_saved(az_ctx *az, const az_lm *lm, const char *path, bool folder, const char *name)
{
    const az_format *format = az_format_by_name(name);
    cr_assert((folder ? az_lm_save_folder : az_lm_save)(az, lm, path, format), "%s", az_error(az));
    const az_lm *saved = az_lm_load(az, path);
    cr_assert_not_null(saved, "%s", az_error(az));
    expect_encoded(az, saved->block[0].q.weight, lm->block[0].q.weight, format);
    expect_encoded(az, saved->embedding, lm->embedding, folder && format->block > 1 ? az_format_by_name("f16") : format);
}

Test(tiles, gguf_files_hold_what_encoding_whole_matrices_gives)
{
    az_ctx *az = az_open(NULL);
    const char *path = test_path(az, test_folder(az), "large.gguf");
    for (int i = 0; i < 3; i++) expect_saved(az, large(az, "llama"), path, false, (const char *const[]){"q8_0", "f16", "bf16"}[i]);
    az_close(az);
}

Test(tiles, folders_hold_what_encoding_whole_matrices_gives)
{
    az_ctx *az = az_open(NULL);
    const char *path = test_path(az, test_folder(az), "large");
    for (int i = 0; i < 3; i++) expect_saved(az, large(az, "qwen2"), path, true, (const char *const[]){"q8_0", "f16", "bf16"}[i]);
    az_close(az);
}

/* Rows of queries change their order between the two. */
Test(tiles, a_folder_of_a_gguf_file_makes_the_same_file)
{
    az_ctx *az = az_open(NULL);
    const char *home = test_folder(az), *first = test_path(az, home, "a.gguf"), *folder = test_path(az, home, "b");
    cr_assert(az_lm_save(az, large(az, "llama"), first, az_format_by_name("f16")), "%s", az_error(az));
    const az_lm *lm = az_lm_load(az, first);
    cr_assert(az_lm_save_folder(az, lm, folder, az_format_by_name("f32")), "%s", az_error(az));
    cr_assert(az_lm_save(az, az_lm_load(az, folder), test_path(az, home, "c.gguf"), az_format_by_name("f16")), "%s", az_error(az));
    const az_lm *again = az_lm_load(az, test_path(az, home, "c.gguf"));
    expect_encoded(az, again->block[0].q.weight, lm->block[0].q.weight, az_format_by_name("f16"));
    expect_encoded(az, again->embedding, lm->embedding, az_format_by_name("f16"));
    az_close(az);
}

Test(tiles, a_value_out_of_range_is_placed)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = large(az, "llama");
    const char *path = test_path(az, test_folder(az), "large.gguf");
    az_f32_mut(lm->embedding->part[0])[1000 * 1056 + 7] = 1e6f;
    cr_assert_not(az_lm_save(az, lm, path, az_format_by_name("f16")));
    cr_assert_not_null(strstr(az_error(az), "row 8, column 7"), "%s", az_error(az));
    cr_assert_not_null(strstr(az_error(az), "counted from row 992"), "%s", az_error(az));
    az_clear(az);
    cr_assert_not(az_lm_save_folder(az, lm, test_path(az, test_folder(az), "large"), az_format_by_name("f16")));
    cr_assert_not_null(strstr(az_error(az), "row 8, column 7"), "%s", az_error(az));
    az_close(az);
}
