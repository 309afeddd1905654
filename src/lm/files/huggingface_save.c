/* huggingface_save.c - writes a model as a folder: model.safetensors (several with an index when it is large), config.json,
 * generation_config.json and the tokenizer's files. One tensor at a time is in memory. */
#include "lm/files/huggingface.h"
#include "lm/tokenizer/tokenizer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A tensor of the file: the place whose rows come first, and behind it (up to end) those that may share the tensor. */
typedef struct output {
    const az_lm_slot *slot, *end;
    az_dtype dtype;
} output;

static bool is_filled(const az_lm_slot *slot)
{
    return slot->weight ? *slot->weight != NULL : *slot->vector != NULL;
}

static bool is_float_type(const az_format *format, az_dtype *dtype)
{
    static const az_dtype types[] = {AZ_F32, AZ_F64, AZ_F16, AZ_BF16};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strcmp(az_dtype_name(types[i]), format->name) != 0) continue;
        *dtype = types[i];
        return true;
    }
    return false;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const output *)a)->slot->huggingface, ((const output *)b)->slot->huggingface);
}

/* What is to be written, in the order of names. Matrices of block formats, for which safetensors has no type, become f32. */
static int list_outputs(az_ctx *az, const az_lm *lm, const az_format *format, az_lm_slot *slots, int n, output *list)
{
    int count = 0, decoded = 0;
    for (int i = 0; i < n; i++) {
        const az_lm_slot *slot = &slots[i];
        const bool tied_head = slot->part == AZ_PART_HEAD && lm->config.tied;
        if (!is_filled(slot) || tied_head || slot->huggingface_row > 0) continue;
        output *o = &list[count++];
        *o = (output){.slot = slot, .end = slots + n, .dtype = AZ_F32};
        if (slot->weight && !is_float_type(format ? format : (*slot->weight)->format, &o->dtype)) decoded++;
    }
    if (decoded > 0) az_note(az, "%d matrices are stored in blocks; they become f32", decoded);
    qsort(list, (size_t)count, sizeof *list, by_name);
    return count;
}

/* ---- tensors ---- */

static bool is_turned(const az_lm_family *family, const az_lm_slot *slot)
{
    return family->transposed && slot->weight && slot->block >= 0;
}

static bool declare(az_safetensors_writer *writer, const az_lm_family *family, const output *o)
{
    const az_lm_slot *slot = o->slot;
    const int64_t rows = slot->huggingface_rows;
    const int64_t shape[] = {rows, slot->cols}, turned[] = {slot->cols, rows};
    return az_safetensors_declare(writer, slot->huggingface, o->dtype, slot->weight ? 2 : 1, is_turned(family, slot) ? turned : shape);
}

/* The rows of one place, as a matrix; a vector has one column. */
static const az_tensor *rows_of(az_ctx *az, const az_lm *lm, const az_lm_family *family, const az_lm_slot *slot, az_dtype dtype)
{
    const az_tensor *x;
    if (slot->weight)
        x = az_weight_is_dense(*slot->weight) ? (*slot->weight)->part[0] : az_weight_decode(az, *slot->weight);
    else
        x = az_reshape(az, *slot->vector, 2, (const int64_t[]){slot->rows, 1});
    if (x && family->norm_shift != 0 && !slot->weight && !slot->bias) x = az_affine(az, x, 1, -family->norm_shift);
    if (x && x->dtype != dtype) x = az_cast(az, x, dtype);
    return az_lm_arch_reorders_huggingface(lm->arch) ? az_lm_reorder_rows(az, lm, slot, x) : x;
}

/* The parts one below the other, or q, k and v head by head. */
static az_tensor *join(az_ctx *az, const az_lm *lm, const az_lm_family *family, az_tensor **part, int parts)
{
    if (parts == 1) return part[0];
    if (!family->qkv_by_head) return az_concat(az, part, parts, 0);
    const int64_t cols = part[0] ? part[0]->shape[1] : 0;
    for (int i = 0; i < parts; i++) part[i] = az_reshape(az, part[i], 4, (const int64_t[]){lm->config.heads, 1, lm->config.head_dim, cols});
    return az_reshape(az, az_concat(az, part, parts, 1), 2, (const int64_t[]){-1, cols});
}

static bool write_tensor(az_ctx *az, az_safetensors_writer *writer, const az_lm *lm, const az_lm_family *family, const output *o)
{
    az_tensor *part[3];
    int parts = 0;
    for (const az_lm_slot *slot = o->slot; slot < o->end && parts < 3; slot++) {
        if (strcmp(slot->huggingface, o->slot->huggingface) != 0) continue;
        part[parts++] = (az_tensor *)(uintptr_t)rows_of(az, lm, family, slot, o->dtype);
        if (slot->huggingface_row + slot->rows == slot->huggingface_rows) break;
    }
    az_tensor *x = join(az, lm, family, part, parts);
    if (is_turned(family, o->slot)) x = az_transpose(az, x);
    if (!o->slot->weight) x = az_reshape(az, x, 1, &o->slot->huggingface_rows);
    if (x && az_safetensors_write(writer, x)) return true;
    az_fail_context(az, "writing '%s'", o->slot->huggingface);
    return false;
}

/* ---- files of tensors ---- */

static int64_t bytes_of(const output *o)
{
    return o->slot->huggingface_rows * (o->slot->weight ? o->slot->cols : 1) * (int64_t)az_dtype_size(o->dtype);
}

/* How many of the outputs fit into one file; at least one. */
static int fitting(const output *list, int count, int64_t limit)
{
    int64_t bytes = bytes_of(&list[0]);
    int n = 1;
    while (n < count && bytes + bytes_of(&list[n]) <= limit) bytes += bytes_of(&list[n++]);
    return n;
}

static bool write_file(az_ctx *az, const az_lm *lm, const az_lm_family *family, const char *path, const output *list, int count)
{
    az_safetensors_writer *writer = path ? az_safetensors_create(az, path) : NULL;
    if (!writer || !az_safetensors_put_metadata(writer, "format", "pt")) return false;
    for (int i = 0; i < count; i++)
        if (!declare(writer, family, &list[i])) return false;
    for (int i = 0; i < count; i++) {
        az_scope_push(az);
        const bool good = write_tensor(az, writer, lm, family, &list[i]);
        az_scope_pop(az);
        if (!good) return false;
    }
    return az_safetensors_commit(writer);
}

/* Frees json. */
static bool write_json(az_ctx *az, json_t *json, const char *folder, const char *name)
{
    const char *path = json ? az_format_text(az, "%s/%s", folder, name) : NULL;
    az_out *out = path ? az_create(az, path) : NULL;
    const bool good = out && json_dumpf(json, az_out_stream(out), JSON_INDENT(2)) == 0 && fputc('\n', az_out_stream(out)) != EOF;
    json_decref(json);
    return good && az_commit(out);
}

/* Of an earlier model in the same folder: readers would take it in place of the new one. */
static bool remove_old(az_ctx *az, const char *folder, const char *name)
{
    const char *path = az_format_text(az, "%s/%s", folder, name);
    return path && (remove(path) == 0 || errno == ENOENT || az_fail(az, AZ_IO, "'%s' cannot be removed: %s", path, strerror(errno)));
}

/* model-00001-of-00003.safetensors ..., and the index that says where each tensor is. */
static bool write_shards(az_ctx *az, const az_lm *lm, const az_lm_family *family, const char *folder, const output *list, int count,
                         int64_t limit)
{
    int files = 0;
    int64_t total = 0;
    for (int i = 0; i < count; i += fitting(list + i, count - i, limit)) files++;
    json_t *map = json_object();
    bool good = true;
    for (int i = 0, file = 1, n; good && i < count; i += n, file++) {
        n = fitting(list + i, count - i, limit);
        const char *name = az_format_text(az, "model-%05d-of-%05d.safetensors", file, files);
        good = name && write_file(az, lm, family, az_format_text(az, "%s/%s", folder, name), list + i, n);
        for (int j = i; good && j < i + n; j++) {
            total += bytes_of(&list[j]);
            json_object_set_new(map, list[j].slot->huggingface, json_string(name));
        }
    }
    json_t *index = json_pack("{s:{s:I},s:o}", "metadata", "total_size", (json_int_t)total, "weight_map", map);
    if (good) return write_json(az, index, folder, "model.safetensors.index.json") && remove_old(az, folder, "model.safetensors");
    json_decref(index);
    return false;
}

/* dtype: of the embedding. */
static bool write_tensors(az_ctx *az, const az_lm *lm, const az_lm_family *family, const char *folder, const az_format *format,
                          int64_t limit, az_dtype *dtype)
{
    az_lm_slot *slots;
    const int n = az_lm_slots(az, (az_lm *)(uintptr_t)lm, &slots);
    output *list = az_alloc_array(az, (size_t)n + 1, sizeof *list);
    if (!list || n == 0) return false;
    const int count = list_outputs(az, lm, format, slots, n, list);
    for (int i = 0; i < count; i++)
        if (list[i].slot->part == AZ_PART_EMBEDDING) *dtype = list[i].dtype;
    if (fitting(list, count, limit) < count) return write_shards(az, lm, family, folder, list, count, limit);
    return write_file(az, lm, family, az_format_text(az, "%s/model.safetensors", folder), list, count) &&
           remove_old(az, folder, "model.safetensors.index.json");
}

/* ---- the folder ---- */

static void put_ends(json_t *json, const az_tokenizer *tokenizer)
{
    const int32_t bos = az_token_bos(tokenizer), eos = az_token_eos(tokenizer);
    json_object_set_new(json, "bos_token_id", bos < 0 ? json_null() : json_integer(bos));
    json_object_set_new(json, "eos_token_id", eos < 0 ? json_null() : json_integer(eos));
}

static bool write_config(az_ctx *az, const az_lm *lm, const az_lm_family *family, const char *folder, az_dtype dtype)
{
    json_t *json = az_lm_config_to_json(az, family, lm, dtype);
    if (json && lm->tokenizer) put_ends(json, lm->tokenizer);
    return write_json(az, json, folder, "config.json");
}

static bool write_tokenizer(az_ctx *az, const az_lm *lm, const char *folder)
{
    if (!lm->tokenizer) return true;
    json_t *generation = json_pack("{s:b}", "_from_model_config", 1);
    put_ends(generation, lm->tokenizer);
    return write_json(az, generation, folder, "generation_config.json") &&
           az_tokenizer_write_folder(az, lm->tokenizer, folder, lm->config.context);
}

static bool save(az_ctx *az, const az_lm *lm, const char *folder, const az_format *format, int64_t limit)
{
    az_dtype dtype = AZ_F32;
    const az_lm_family *family = az_lm_family_of(az, lm);
    if (family && format && !is_float_type(format, &dtype))
        return az_fail(az, AZ_BAD_INPUT, "safetensors have no type for %s; choose f32, f16 or bf16, or write a .gguf file", format->name);
    if (!family || !az_make_folder(az, folder)) return false;
    return write_tensors(az, lm, family, folder, format, limit, &dtype) && write_config(az, lm, family, folder, dtype) &&
           write_tokenizer(az, lm, folder);
}

bool az_lm_save_shards(az_ctx *az, const az_lm *lm, const char *folder, const az_format *format, int64_t limit)
{
    if (!lm || !folder || !az_ok(az)) return false;
    az_scope_push(az);
    const bool good = save(az, lm, folder, format, limit);
    if (!good) az_fail_context(az, "writing the folder '%s'", folder);
    az_scope_pop(az);
    return good;
}

bool az_lm_save_folder(az_ctx *az, const az_lm *lm, const char *folder, const az_format *format)
{
    const int64_t usual = 5000000000; /* bytes; what Hugging Face's own writer takes */
    return az_lm_save_shards(az, lm, folder, format, usual);
}
