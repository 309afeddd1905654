/* huggingface_load.c - a folder as a model. Matrices stay views of the mapped files, except where a family stores them in another shape. */
#include "lm/files/compressed.h"
#include "lm/files/huggingface.h"
#include "lm/files/load.h"
#include "lm/files/own.h"

#include <dirent.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

/* ---- names ---- */

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static const az_tensor *find_for_compressed(const void *folder, const char *name)
{
    return az_lm_find_shard_tensor(folder, name);
}

/* The tensors of the matrix "x.weight" when it is compressed. */
static bool find_compressed(az_ctx *az, const az_lm_shards *all, const az_lm_slot *slot, az_compressed_tensors *out)
{
    const char *ending = strrchr(slot->huggingface, '.');
    if (!slot->weight || !ending || strcmp(ending, ".weight") != 0) return false;
    const char *module = az_format_text(az, "%.*s", (int)(ending - slot->huggingface), slot->huggingface);
    return module && az_compressed_find(az, module, find_for_compressed, all, out);
}

/* Whether a tensor is a part of a compressed matrix "x.weight" of a known name. */
static bool is_compressed_part(az_ctx *az, const char *name, const char *const *known, size_t n)
{
    const char *dot = strrchr(name, '.');
    if (!dot || !az_compressed_is_part(dot + 1)) return false;
    const char *matrix = az_format_text(az, "%.*s.weight", (int)(dot - name), name);
    return matrix && bsearch(&matrix, known, n, sizeof *known, compare_names);
}

/* Tensors that files carry beside the weights: masks and tables that follow from the configuration. */
static bool is_derived(const char *name)
{
    static const char *const derived[] = {"*.attn.bias", "*.attn.masked_bias", "*.attention.bias", "*.attention.masked_bias",
                                          "*rotary_emb.inv_freq"};
    for (size_t i = 0; i < sizeof derived / sizeof *derived; i++)
        if (fnmatch(derived[i], name, 0) == 0) return true;
    return false;
}

/* ", name", for a list in an error. */
static const char *append(az_ctx *az, const char *list, const char *name)
{
    return az_format_text(az, "%s%s%.100s", list ? list : "", list ? ", " : "", name);
}

/* Biases that the configuration knows nothing of: other programs would leave them out. */
static bool check_biases(az_ctx *az, const az_lm_family *family, const json_t *json, const az_lm_slot *slots, int n,
                         const az_lm_shards *all)
{
    for (int i = 0; i < n && az_ok(az); i++) {
        const char *key = az_lm_bias_switch(family, &slots[i]);
        if (!key || !az_lm_find_shard_tensor(all, slots[i].huggingface) || (*key && json_is_true(json_object_get(json, key)))) continue;
        if (*key)
            az_fail(az, AZ_BAD_INPUT, "there is a tensor '%s', but \"%s\" of config.json is not true: one of them is wrong",
                    slots[i].huggingface, key);
        else
            az_fail(az, AZ_BAD_INPUT, "there is a tensor '%s', but %s has no such bias", slots[i].huggingface, family->model_type);
    }
    return az_ok(az);
}

/* The names of the tensors of all files that have no place; those that the index does not mean are only counted. */
static const char *unexpected_names(az_ctx *az, const az_lm_shards *all, const char *const *known, size_t n, const az_own_weights *own)
{
    const char *unexpected = NULL;
    int64_t left_out = 0, unmeant = 0;
    for (int i = 0; i < all->n; i++) {
        for (int64_t j = 0; j < all->file[i]->count; j++) {
            const char *name = all->file[i]->item[j].name;
            const bool meant = az_lm_is_meant(all, i, name);
            unmeant += !meant;
            if (meant && all->text_part) name = az_lm_text_name(az, name);
            left_out += name == NULL;
            if (!meant || !name || is_derived(name) || bsearch(&name, known, n, sizeof *known, compare_names)) continue;
            if (az_own_has_part(az, own, name) || is_compressed_part(az, name, known, n)) continue;
            unexpected = append(az, unexpected, name);
        }
    }
    if (left_out > 0) az_note(az, "only the text part is read; %lld tensors of the image encoder are left out", (long long)left_out);
    if (unmeant > 0) az_note(az, "%lld tensors are left out, since the index names another file for them", (long long)unmeant);
    return unexpected;
}

/* Fails with the names of all tensors that are missing and of all that have no place. */
static bool check_names(az_ctx *az, const az_lm *lm, const az_lm_slot *slots, int n, const az_lm_shards *all, const az_own_weights *own)
{
    az_compressed_tensors compressed;
    const char **known = az_alloc_array(az, 2 * (size_t)n, sizeof(char *));
    const char *missing = NULL;
    if (!known) return false;
    for (int i = 0; i < n; i++) {
        known[2 * i] = slots[i].huggingface;
        known[2 * i + 1] = az_lm_bare_name(slots[i].huggingface);
        const bool wanted = slots[i].part == AZ_PART_HEAD && !slots[i].bias ? !lm->config.tied : slots[i].required;
        if (wanted && slots[i].huggingface_row == 0 && !az_lm_find_shard_tensor(all, slots[i].huggingface) &&
            !az_own_find(own, slots[i].name) && !find_compressed(az, all, &slots[i], &compressed))
            missing = append(az, missing, slots[i].huggingface);
    }
    qsort(known, 2 * (size_t)n, sizeof *known, compare_names);
    const char *unexpected = unexpected_names(az, all, known, 2 * (size_t)n, own);
    if (!missing && !unexpected) return az_ok(az);
    return az_fail(az, AZ_BAD_INPUT, "the tensors are not those of %s:%s%s%s%s", lm->arch->name, missing ? " missing " : "",
                   missing ? missing : "", unexpected ? " unexpected " : "", unexpected ? unexpected : "");
}

/* ---- tensors ---- */

/* The rows [rows, cols] of a place in a tensor of the file; a vector counts as a matrix of one column. */
static const az_tensor *rows_of(az_ctx *az, const az_lm *lm, const az_lm_family *family, const az_lm_slot *slot, const az_tensor *tensor)
{
    const int64_t cols = slot->weight ? slot->cols : 1, rows = slot->huggingface_rows, dim = lm->config.head_dim;
    const bool turned = family->transposed && slot->weight && slot->block >= 0;
    const az_tensor *x = slot->weight ? tensor : az_reshape(az, tensor, 2, (const int64_t[]){-1, 1});
    if (turned && x && x->rank == 2) x = az_transpose(az, x);
    if (!x || tensor->rank != (slot->weight ? 2 : 1) || x->shape[0] != rows || x->shape[1] != cols)
        return az_fail(az, AZ_BAD_INPUT, "tensor '%s' has the shape %s; the model wants %s[%lld, %lld]%s", slot->huggingface,
                       az_shape_text(az, tensor), slot->weight ? "" : "a vector, as ", (long long)rows, (long long)cols,
                       turned ? ", transposed" : "");
    if (rows == slot->rows) return az_contiguous(az, x);
    if (!family->qkv_by_head) return az_contiguous(az, az_slice(az, x, 0, slot->huggingface_row, slot->rows));
    const int64_t which = slot->huggingface_row / slot->rows;
    x = az_reshape(az, x, 4, (const int64_t[]){lm->config.heads, 3, dim, cols});
    x = az_contiguous(az, az_slice(az, x, 1, which, 1));
    return az_reshape(az, x, 2, (const int64_t[]){slot->rows, cols});
}

static bool attach(az_ctx *az, az_lm *lm, const az_lm_family *family, const az_lm_slot *slot, const az_tensor *tensor)
{
    const az_tensor *x = rows_of(az, lm, family, slot, tensor);
    if (!x) return false;
    if (tensor->dtype != AZ_F32 && tensor->dtype != AZ_F16 && tensor->dtype != AZ_BF16 && tensor->dtype != AZ_F64)
        return az_fail(az, AZ_BAD_INPUT, "tensor '%s' is stored as %s; f32, f16, bf16 and f64 are read", slot->huggingface,
                       az_dtype_name(tensor->dtype));
    if (slot->weight) return az_lm_attach_weight(az, lm, slot, az_weight_dense(az, az_lm_single_precision(az, slot, x)));
    az_tensor *vector = az_reshape(az, x, 1, &slot->rows);
    if (vector && vector->dtype != AZ_F32) vector = az_cast(az, vector, AZ_F32);
    if (family->norm_shift != 0 && !slot->bias) vector = az_affine(az, vector, 1, family->norm_shift);
    return az_lm_attach_vector(az, lm, slot, vector);
}

static bool attach_compressed(az_ctx *az, az_lm *lm, const az_lm_family *family, const az_lm_slot *slot, const az_compressed_tensors *from)
{
    const int64_t all = slot->huggingface_rows;
    if (family->transposed || (family->qkv_by_head && all != slot->rows))
        return az_fail(az, AZ_BAD_INPUT, "'%s' is compressed, which is not read of %s", slot->huggingface, family->model_type);
    const az_compressed_rows rows = {.all = all, .cols = slot->cols, .first = slot->huggingface_row, .rows = slot->rows};
    az_scope_push(az);
    const az_weight *w = az_compressed_read(az, from, &rows);
    const bool good = w && az_lm_attach_weight(az, lm, slot, w);
    az_scope_pop(az);
    az_fail_context(az, "'%s'", slot->huggingface);
    return good;
}

static const az_tensor *find_own(az_ctx *az, const char *name, az_dtype dtype, const void *container)
{
    const az_tensor *tensor = az_lm_find_shard_tensor(container, name);
    if (!tensor || tensor->dtype == dtype) return tensor;
    return az_fail(az, AZ_BAD_INPUT, "tensor '%s' is stored as %s and should hold %s", name, az_dtype_name(tensor->dtype),
                   az_dtype_name(dtype));
}

static bool attach_slot(az_ctx *az, az_lm *lm, const az_lm_family *family, const az_lm_slot *slot, const az_lm_shards *all,
                        const az_own_weights *own_weights)
{
    az_own_weight *own = az_own_find(own_weights, slot->name);
    if (own) return az_own_attach(az, lm, slot, own, find_own, all);
    az_compressed_tensors compressed;
    if (find_compressed(az, all, slot, &compressed)) return attach_compressed(az, lm, family, slot, &compressed);
    const az_tensor *tensor = az_lm_find_shard_tensor(all, slot->huggingface);
    return !tensor || attach(az, lm, family, slot, tensor);
}

static bool attach_all(az_ctx *az, az_lm *lm, const az_lm_family *family, const json_t *json, const az_lm_shards *all,
                       const az_own_weights *own)
{
    az_lm_slot *slots;
    const int n = az_lm_slots(az, lm, &slots);
    if (n == 0 || !check_names(az, lm, slots, n, all, own) || (own->n == 0 && !check_biases(az, family, json, slots, n, all))) return false;
    for (int i = 0; i < n; i++) {
        if (slots[i].part == AZ_PART_HEAD && lm->config.tied) continue;
        if (!attach_slot(az, lm, family, &slots[i], all, own)) return false;
    }
    return az_own_complete(az, own) && az_lm_complete(az, lm);
}

/* The list of adze's own weights in config.json. */
static bool read_own_list(az_ctx *az, const json_t *json, az_own_weights *out)
{
    const json_t *list = json_object_get(json_object_get(json, "adze"), "weights");
    const size_t n = json_array_size(list);
    *out = (az_own_weights){.item = az_alloc_array(az, n + 1, sizeof *out->item)};
    for (size_t i = 0; out->item && i < n; i++) {
        const char *line = json_string_value(json_array_get(list, i));
        if (!line) return az_fail(az, AZ_BAD_INPUT, "config.json lists weights of adze's own, but entry %lld is no text", (long long)i + 1);
        if (!az_own_parse(az, az_text_of(line), &out->item[out->n++])) return false;
    }
    return out->item && az_own_sort(az, out);
}

/* ---- everything ---- */

static const az_lm_family *find_family(az_ctx *az, const json_t *json)
{
    const char *type = json_string_value(json_object_get(json, "model_type"));
    if (!type) return az_fail(az, AZ_BAD_INPUT, "config.json has no \"model_type\"");
    const az_lm_family *family = az_lm_family_by_type(type);
    if (family) return family;
    return az_fail(az, AZ_BAD_INPUT, "the model type '%.60s' is not known; there are: %s", type, az_lm_family_types(az));
}

/* The family of a folder for text and images, and the configuration of its text part; NULL for other folders. */
static const az_lm_family *text_part(const json_t **json)
{
    const char *type = json_string_value(json_object_get(*json, "model_type"));
    const json_t *text = json_object_get(*json, "text_config");
    const az_lm_family *family = type && json_is_object(text) ? az_lm_family_by_whole(type) : NULL;
    if (family) *json = text;
    return family;
}

static az_lm *build(az_ctx *az, const json_t *json, az_lm_shards *all)
{
    const az_lm_family *family = text_part(&json);
    all->text_part = family != NULL;
    if (!family) family = find_family(az, json);
    if (!family) return NULL;
    const char *order = json_string_value(json_object_get(json_object_get(json, "adze"), "rope_order"));
    const bool pairs = order && strcmp(order, "pairs") == 0; /* the parts of a weight could not change places */
    const az_lm_arch *arch = pairs ? az_lm_arch_by_name(family->arch) : az_lm_arch_by_halves(family->arch);
    int64_t tensors = 0;
    for (int i = 0; i < all->n; i++) tensors += all->file[i]->count;
    az_own_weights own;
    if (!az_compressed_check(az, json) || !read_own_list(az, json, &own)) return NULL;
    az_lm *lm = az_lm_from_json(az, family, arch, json, tensors);
    az_scope_push(az);
    const bool good = lm && attach_all(az, lm, family, json, all, &own);
    az_scope_pop(az);
    if (good) return lm;
    az_lm_free(az, lm);
    return NULL;
}

static int ends_in_gguf(const struct dirent *entry)
{
    const size_t length = strlen(entry->d_name);
    return length > 5 && strcmp(entry->d_name + length - 5, ".gguf") == 0;
}

/* A folder that is no model, perhaps one of model files. */
static void *no_config(az_ctx *az, const char *folder)
{
    struct dirent **found = NULL;
    const int n = scandir(folder, &found, ends_in_gguf, alphasort);
    const char *one = n > 0 ? az_strdup(az, found[0]->d_name) : NULL;
    for (int i = 0; i < n; i++) free(found[i]);
    free(found);
    if (one) return az_fail(az, AZ_BAD_INPUT, "there is no config.json in it; give the file: %s/%s", folder, one);
    return az_fail(az, AZ_BAD_INPUT, "there is no config.json in it, so it is no model's folder");
}

az_lm *az_lm_from_folder(az_ctx *az, const char *folder)
{
    if (!az_is_file(az_format_text(az, "%s/config.json", folder))) return no_config(az, folder);
    az_lm_shards *all = az_alloc(az, sizeof *all);
    json_t *json = all ? az_lm_read_json(az, folder, "config.json") : NULL;
    az_lm *lm = json && az_lm_open_shards(az, folder, all) ? build(az, json, all) : NULL;
    json_decref(json);
    if (all) json_decref(all->map);
    return lm;
}
