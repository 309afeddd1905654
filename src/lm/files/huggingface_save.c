/* huggingface_save.c - writes a model as a folder: config.json, model.safetensors, tokenizer.json. One tensor at a time is in memory. */
#include "lm/files/huggingface.h"

#include <math.h>
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

static bool write_tensors(az_ctx *az, const az_lm *lm, const az_lm_family *family, const char *path, const az_format *format,
                          az_dtype *dtype)
{
    az_lm_slot *slots;
    const int n = az_lm_slots(az, (az_lm *)(uintptr_t)lm, &slots);
    output *list = az_alloc_array(az, (size_t)n + 1, sizeof *list);
    az_safetensors_writer *writer = list && n > 0 ? az_safetensors_create(az, path) : NULL;
    if (!writer || !az_safetensors_put_metadata(writer, "format", "pt")) return false;
    const int count = list_outputs(az, lm, format, slots, n, list);
    for (int i = 0; i < count; i++) {
        if (list[i].slot->part == AZ_PART_EMBEDDING) *dtype = list[i].dtype;
        if (!declare(writer, family, &list[i])) return false;
    }
    for (int i = 0; i < count; i++) {
        az_scope_push(az);
        const bool good = write_tensor(az, writer, lm, family, &list[i]);
        az_scope_pop(az);
        if (!good) return false;
    }
    return az_safetensors_commit(writer);
}

/* ---- the folder ---- */

static bool write_config(az_ctx *az, const az_lm *lm, const az_lm_family *family, const char *path, az_dtype dtype)
{
    json_t *json = az_lm_config_to_json(az, family, lm, dtype);
    if (json && lm->tokenizer) {
        const int32_t bos = az_token_bos(lm->tokenizer), eos = az_token_eos(lm->tokenizer);
        json_object_set_new(json, "bos_token_id", bos < 0 ? json_null() : json_integer(bos));
        json_object_set_new(json, "eos_token_id", eos < 0 ? json_null() : json_integer(eos));
    }
    az_out *out = json ? az_create(az, path) : NULL;
    const bool good = out && json_dumpf(json, az_out_stream(out), JSON_INDENT(2)) == 0 && fputc('\n', az_out_stream(out)) != EOF;
    json_decref(json);
    return good && az_commit(out);
}

static bool save(az_ctx *az, const az_lm *lm, const char *folder, const az_format *format)
{
    az_dtype dtype = AZ_F32;
    const az_lm_family *family = az_lm_family_of(az, lm);
    if (family && format && !is_float_type(format, &dtype))
        return az_fail(az, AZ_BAD_INPUT, "safetensors have no type for %s; choose f32, f16 or bf16, or write a .gguf file", format->name);
    if (!family || !az_make_folder(az, folder)) return false;
    if (!write_tensors(az, lm, family, az_format_text(az, "%s/model.safetensors", folder), format, &dtype)) return false;
    if (!write_config(az, lm, family, az_format_text(az, "%s/config.json", folder), dtype)) return false;
    return !lm->tokenizer || az_tokenizer_write_json(az, lm->tokenizer, az_format_text(az, "%s/tokenizer.json", folder));
}

bool az_lm_save_folder(az_ctx *az, const az_lm *lm, const char *folder, const az_format *format)
{
    if (!lm || !folder || !az_ok(az)) return false;
    az_scope_push(az);
    const bool good = save(az, lm, folder, format);
    if (!good) az_fail_context(az, "writing the folder '%s'", folder);
    az_scope_pop(az);
    return good;
}
