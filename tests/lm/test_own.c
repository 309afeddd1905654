/* Weights that files have no type for: saved by their parts and read again. */
#include "lm/files/load.h"
#include "lm/lm_internal.h"
#include "support/families.h"
#include "support/folder.h"
#include "support/matrix.h"
#include "support/models.h"
#include "support/second_reader.h"

#include <criterion/criterion.h>
#include <string.h>

/* Prunes the linear layers whose name contains `which` and packs them. */
static void pack_to(az_ctx *az, az_lm *lm, const char *which, az_pattern pattern)
{
    az_lm_slot *slots;
    const int n = az_lm_slots(az, lm, &slots);
    for (int i = 0; i < n; i++) {
        if (!slots[i].weight || !*slots[i].weight || slots[i].block < 0 || !strstr(slots[i].name, which)) continue;
        const az_weight *w = *slots[i].weight;
        const az_tensor *mask = az_mask_lowest(az, az_abs(az, az_weight_decode(az, w)), (az_mask_how){.pattern = pattern});
        const az_weight *packed = az_weight_encode(az, az_mask_apply(az, w, mask), az_format_by_name("nm_f16"), NULL);
        cr_assert(az_lm_attach_weight(az, lm, &slots[i], packed), "%s", az_error(az));
    }
}

static void pack(az_ctx *az, az_lm *lm, const char *which)
{
    pack_to(az, lm, which, (az_pattern){2, 4});
}

static void check_same(az_ctx *az, const az_lm *lm, const char *path, double tolerance)
{
    const az_lm *again = az_lm_load(az, path);
    cr_assert_not_null(again, "%s", az_error(az));
    cr_assert_leq(matrix_difference(family_logits(az, lm), family_logits(az, again)), tolerance);
}

static size_t file_size(az_ctx *az, const char *path)
{
    const az_map *map = az_map_file(az, path);
    return map ? map->size : 0;
}

Test(own, gguf_reads_back_the_same)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az), *first = test_path(az, folder, "a.gguf"), *second = test_path(az, folder, "b.gguf"),
               *plain = test_path(az, folder, "plain.gguf");
    az_lm *lm = test_llama(az, true);
    pack(az, lm, "");
    cr_assert(az_lm_save(az, lm, first, NULL), "%s", az_error(az));
    check_same(az, lm, first, 0);
    az_lm *again = az_lm_load(az, first);
    cr_assert_str_eq(again->block[1].down.weight->format->name, "nm_f16");
    cr_assert(az_lm_save(az, again, second, NULL), "%s", az_error(az));
    const az_map *x = az_map_file(az, first), *y = az_map_file(az, second);
    cr_assert(x->size == y->size && memcmp(x->data, y->data, x->size) == 0, "a copy is the same file");
    cr_assert(az_lm_save(az, again, plain, az_format_by_name("f32")), "%s", az_error(az));
    check_same(az, lm, plain, 1e-5);
    cr_assert_null(az_gguf_find(az_gguf_parse(az, az_map_file(az, plain)->data, file_size(az, plain)), "adze.weights"));
    az_close(az);
}

Test(own, normal_floats_are_read_back_from_files_and_folders)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az), *file = test_path(az, folder, "a.gguf"), *hub = test_path(az, folder, "hub");
    az_lm *lm = test_llama(az, true);
    az_lm_linear **linear;
    const int n = az_lm_linears(az, lm, &linear);
    for (int i = 0; i < n; i++) linear[i]->weight = az_weight_encode(az, linear[i]->weight, az_format_by_name("nf4"), NULL);
    cr_assert(az_lm_save(az, lm, file, NULL) && az_lm_save_folder(az, lm, hub, NULL), "%s", az_error(az));
    check_same(az, lm, file, 0);
    check_same(az, lm, hub, 0);
    cr_assert_str_eq(az_lm_load(az, file)->block[1].down.weight->format->name, "nf4");
    az_close(az);
}

/* In this family's files q, k and v share a tensor, and so do gate and up; halves become pairs in those of llama. */
Test(own, families_with_shared_tensors_and_other_orders)
{
    az_ctx *az = az_open(NULL);
    for (int f = 0; f < FAMILIES; f++) {
        az_scope_push(az);
        const char *path = test_path(az, test_folder(az), "m.gguf");
        az_lm *lm = family_model(az, &families[f]);
        pack(az, lm, "attn.q");
        pack(az, lm, "up");
        cr_assert(az_lm_save(az, lm, path, NULL), "%s: %s", families[f].architecture, az_error(az));
        check_same(az, lm, path, 0);
        az_scope_pop(az);
    }
    az_close(az);
}

Test(own, q_and_k_keep_their_order_in_gguf)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az), *gguf = test_path(az, folder, "m.gguf"), *hf = test_path(az, folder, "hf");
    cr_assert(az_lm_save_folder(az, test_llama(az, true), hf, NULL), "%s", az_error(az));
    az_lm *lm = az_lm_load(az, hf); /* turns halves */
    cr_assert(az_lm_arch_reorders_gguf(lm->arch));
    pack(az, lm, "attn.k");
    cr_assert(az_lm_save(az, lm, gguf, NULL), "%s", az_error(az));
    check_same(az, lm, gguf, 0);
    az_lm *again = az_lm_load(az, gguf);
    const char *plain = test_path(az, folder, "plain.gguf");
    cr_assert(az_lm_save(az, again, plain, az_format_by_name("f32")), "%s", az_error(az));
    check_same(az, lm, plain, 1e-5);
    az_close(az);
}

Test(own, folders_read_back_the_same)
{
    az_ctx *az = az_open(NULL);
    for (int f = 0; f < FAMILIES; f++) {
        if (strcmp(families[f].architecture, "bloom") == 0) continue; /* its folders do not tell the hidden width */
        az_scope_push(az);
        const char *folder = test_folder(az);
        az_lm *lm = family_model(az, &families[f]);
        pack_to(az, lm, "attn.q", (az_pattern){1, 4});
        pack_to(az, lm, "down", (az_pattern){3, 8});
        cr_assert(az_lm_save_folder(az, lm, folder, NULL), "%s: %s", families[f].architecture, az_error(az));
        check_same(az, lm, folder, 0);
        az_scope_pop(az);
    }
    az_close(az);
}

Test(own, another_program_reads_folders)
{
    az_ctx *az = az_open(NULL);
    needs_numpy();
    const char *folder = test_folder(az);
    az_lm *lm = test_llama(az, true);
    pack(az, lm, "");
    cr_assert(az_lm_save_folder(az, lm, folder, NULL), "%s", az_error(az));
    check_safetensors(az, folder, NULL);
    az_close(az);
}

/* A llama out of GGUF turns pairs. */
Test(own, q_and_k_keep_their_order_in_folders)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    az_lm *lm = test_llama(az, true);
    cr_assert(az_lm_arch_reorders_huggingface(lm->arch));
    pack_to(az, lm, "attn.k", (az_pattern){1, 4});
    cr_assert(az_lm_save_folder(az, lm, folder, NULL), "%s", az_error(az));
    check_same(az, lm, folder, 0);
    const char *plain = test_path(az, folder, "plain");
    cr_assert(az_lm_save_folder(az, az_lm_load(az, folder), plain, az_format_by_name("f32")), "%s", az_error(az));
    check_same(az, lm, plain, 1e-5);
    az_close(az);
}

/* The first occurrence of `from` in the file becomes `to`, of the same length. */
static const char *damaged(az_ctx *az, const char *path, const char *from, const char *to)
{
    const az_map *map = az_map_file(az, path);
    unsigned char *copy = az_alloc(az, map->size), *at;
    memcpy(copy, map->data, map->size);
    at = memmem(copy, map->size, from, strlen(from));
    cr_assert_not_null(at, "%s", from);
    memcpy(at, to, strlen(to));
    cr_assert_null(az_lm_from_bytes(az, copy, map->size), "%s", to);
    cr_assert_eq(az_status_of(az), AZ_BAD_INPUT, "%s", az_error(az));
    const char *message = az_strdup(az, az_error(az));
    az_clear(az);
    return az_strdup(az, message ? message : "");
}

Test(own, damaged_lists_are_refused)
{
    static const struct {
        const char *from, *to, *message;
    } cases[] = {
        {"blocks.0.attn.q.weight nm_f16", "blocks.0.attn.q.weight xx_f16", "xx_f16"},
        {"blocks.0.attn.q.weight nm_f16", "blocks.0.attn.q.woight nm_f16", "no place"},
        {"nm_f16 f16 u8", "nm_f16 f16 f8", "f8"},
        {"nm_f16 f16 u8", "nm_f16 u8 f16", "hold"},
        {"nm_f16 f16 u8", "nm_f16 f16   ", "mask"},
        {"blocks.1.attn.q.weight nm_f16", "blocks.0.attn.q.weight nm_f16", "twice"},
        {"adze.blocks.0.attn.q.weight.mask", "adze.blocks.0.attn.q.weight.masc", "missing"},
    };
    az_ctx *az = az_open(NULL);
    const char *path = test_path(az, test_folder(az), "m.gguf");
    az_lm *lm = test_llama(az, true);
    pack(az, lm, "attn.q");
    cr_assert(az_lm_save(az, lm, path, NULL), "%s", az_error(az));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *message = damaged(az, path, cases[i].from, cases[i].to);
        cr_assert_not_null(strstr(message, cases[i].message), "%s: %s", cases[i].to, message);
    }
    az_close(az);
}
