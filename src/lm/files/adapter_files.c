/* adapter_files.c - modules of Hugging Face and adze's layers: which belong together, and in which order their rows lie. */
#include "lm/files/adapter_files.h"

#include "lm/files/huggingface.h"

#include <string.h>

int az_modules(az_ctx *az, const az_lm *lm, az_module **modules)
{
    az_target *target;
    const int n = az_target_list(az, lm, &target);
    az_module *list = az_alloc_array(az, (size_t)n, sizeof *list);
    const az_lm_family *family = az_lm_family_by_arch(az_lm_architecture(lm));
    int count = 0;
    for (int i = 0; list && i < n; i++) {
        az_target *t = &target[i];
        const char *path = t->huggingface ? t->huggingface : t->name;
        az_module *last = count > 0 ? &list[count - 1] : NULL;
        if (last && last->parts < AZ_MODULE_PARTS && strcmp(last->path, path) == 0) {
            last->part[last->parts++] = t;
            last->out += t->out;
            last->by_head = family && family->qkv_by_head;
            continue;
        }
        const bool inside = strncmp(t->name, "blocks.", 7) == 0;
        list[count++] = (az_module){.path = path,
                                    .parts = 1,
                                    .part = {t},
                                    .in = t->in,
                                    .out = t->out,
                                    .turned = family && family->transposed && inside,
                                    .table = t->part == AZ_PART_EMBEDDING};
    }
    *modules = az_ok(az) ? list : NULL;
    return az_ok(az) ? count : 0;
}

/* The rows of a part in the order of the files: pairs become halves. */
static az_tensor *reorder(az_ctx *az, const az_lm *lm, const az_target *part, az_tensor *rows)
{
    if (!rows || !az_lm_arch_reorders_huggingface(lm->arch)) return rows;
    const az_lm_slot slot = {.name = part->name, .part = part->part, .rows = part->out};
    return (az_tensor *)(uintptr_t)az_lm_reorder_rows(az, lm, &slot, rows);
}

/* From the order of files: halves become pairs. */
static az_tensor *reorder_back(az_ctx *az, const az_lm *lm, const az_target *part, az_tensor *rows)
{
    if (!rows || !az_lm_arch_reorders_huggingface(lm->arch)) return rows;
    if (part->part != AZ_PART_Q && part->part != AZ_PART_K) return rows;
    const int64_t dim = lm->config.head_dim, cols = rows->rank == 2 ? rows->shape[1] : 1;
    az_tensor *x = az_reshape(az, rows, 4, (int64_t[]){part->out / dim, 2, dim / 2, cols});
    x = az_contiguous(az, az_permute(az, x, (const int[]){0, 2, 1, 3}));
    return az_reshape(az, x, rows->rank, rows->shape);
}

az_tensor *az_module_join(az_ctx *az, const az_lm *lm, const az_module *module, az_tensor *const *part)
{
    az_tensor *rows[AZ_MODULE_PARTS] = {NULL};
    for (int k = 0; k < module->parts; k++) rows[k] = reorder(az, lm, module->part[k], part[k]);
    if (module->parts == 1) return rows[0];
    if (!module->by_head) return az_concat(az, rows, module->parts, 0);
    const int64_t dim = lm->config.head_dim, cols = rows[0] && rows[0]->rank == 2 ? rows[0]->shape[1] : 1;
    const bool vector = rows[0] && rows[0]->rank == 1;
    for (int k = 0; k < module->parts; k++) rows[k] = az_reshape(az, rows[k], 4, (int64_t[]){-1, 1, dim, cols});
    az_tensor *x = az_concat(az, rows, module->parts, 1);
    return vector ? az_reshape(az, x, 1, (int64_t[]){-1}) : az_reshape(az, x, 2, (int64_t[]){-1, cols});
}

az_tensor *az_module_part(az_ctx *az, const az_lm *lm, const az_module *module, const az_tensor *whole, int k)
{
    if (!whole) return NULL;
    const az_target *part = module->part[k];
    const int64_t dim = lm->config.head_dim, cols = whole->rank == 2 ? whole->shape[1] : 1;
    az_tensor *x;
    if (module->parts > 1 && module->by_head) {
        x = az_reshape(az, whole, 4, (int64_t[]){-1, module->parts, dim, cols});
        x = az_contiguous(az, az_slice(az, x, 1, k, 1));
    } else {
        int64_t first = 0;
        for (int i = 0; i < k; i++) first += module->part[i]->out;
        x = az_contiguous(az, az_slice(az, whole, 0, first, part->out));
    }
    x = whole->rank == 1 ? az_reshape(az, x, 1, (int64_t[]){-1}) : az_reshape(az, x, 2, (int64_t[]){-1, cols});
    return reorder_back(az, lm, part, x);
}

az_tensor *az_prefix_reorder(az_ctx *az, const az_lm *lm, az_tensor *prefix, bool to_file)
{
    if (!prefix || !az_lm_arch_reorders_huggingface(lm->arch)) return prefix;
    const int64_t dim = lm->config.head_dim, rows = az_count(prefix) / dim, side = lm->config.kv_heads;
    const size_t size = az_dtype_size(prefix->dtype);
    az_tensor *out = az_copy(az, prefix);
    for (int64_t r = 0; out && r < rows; r++) {
        if (r / side % 2 == 1) continue; /* values stay as they are */
        const char *from = (const char *)prefix->data + (size_t)(r * dim) * size;
        char *to = (char *)out->data + (size_t)(r * dim) * size;
        for (int64_t pair = 0; pair < dim; pair++) {
            const int64_t half = pair / 2 + (pair % 2) * (dim / 2);
            memcpy(to + (size_t)(to_file ? half : pair) * size, from + (size_t)(to_file ? pair : half) * size, size);
        }
    }
    return out;
}
