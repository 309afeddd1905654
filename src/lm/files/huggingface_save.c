/* huggingface_save.c - writes a model as a folder: model.safetensors (several with an index when it is large), config.json,
 * generation_config.json and the tokenizer's files. What has to be encoded is so in tiles of some rows. Quantized and sparse matrices are
 * written as compressed tensors where that convention has a form for them, weights of adze's own formats by their parts. */
#include "lm/files/compressed.h"
#include "lm/files/huggingface.h"
#include "lm/files/own.h"
#include "lm/files/tiles.h"
#include "lm/tokenizer/tokenizer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* How a place of the model becomes a tensor of the file. */
typedef enum output_kind {
    OUTPUT_WHOLE,      /* the matrix or vector itself */
    OUTPUT_COMPRESSED, /* a part of a compressed matrix */
    OUTPUT_SHAPE,      /* the shape of a compressed matrix */
    OUTPUT_OWN         /* a part of a weight that only adze knows */
} output_kind;

/* A tensor of the file: the place whose rows come first, and behind it (up to end) those that may share the tensor. */
typedef struct output {
    output_kind kind;
    const char *name;
    const az_lm_slot *slot, *end;
    az_dtype dtype;
    az_compressed_form form;
    const az_tensor *own;
    int part; /* of the compressed matrix, or of the weight */
} output;

typedef struct saving {
    const az_lm *lm;
    const az_lm_family *family;
    const az_format *format; /* wanted; NULL = as they are */
    output *list;
    int count, decoded; /* outputs; matrices that become f32 because safetensors have no type for theirs */
    json_t *own;        /* lines of the weights that only adze knows */
    az_compressed_config compressed;
    bool keep_order; /* q and k stay in the order of pairs, since the parts of some cannot change places */
} saving;

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
    return strcmp(((const output *)a)->name, ((const output *)b)->name);
}

/* The next place whose rows lie in the same tensor; NULL after the last. */
static const az_lm_slot *next_in_tensor(const az_lm_slot *slot, const az_lm_slot *end)
{
    if (slot->huggingface_row + slot->rows == slot->huggingface_rows) return NULL;
    for (const az_lm_slot *next = slot + 1; next < end; next++)
        if (strcmp(next->huggingface, slot->huggingface) == 0) return next;
    return NULL;
}

static const az_format *format_of(const saving *s, const az_lm_slot *slot)
{
    return s->format ? s->format : (*slot->weight)->format;
}

/* ---- which tensors ---- */

/* "model.layers.0.mlp.up_proj" of "model.layers.0.mlp.up_proj.weight" */
static const char *module_of(az_ctx *az, const az_lm_slot *slot)
{
    return az_format_text(az, "%.*s", (int)(strlen(slot->huggingface) - strlen(".weight")), slot->huggingface);
}

/* The compressed form that all the places of a tensor have in common; no form where other programs would not look for one. */
static az_compressed_form form_of(const saving *s, const az_lm_slot *first, const az_lm_slot *end)
{
    const bool linear =
        first->weight && (first->block >= 0 || (first->part == AZ_PART_HEAD && !s->format)) && first->part != AZ_PART_ROUTER;
    const bool scattered = s->family->qkv_by_head && first->rows != first->huggingface_rows;
    az_compressed_form common = {0};
    if (!linear || scattered || s->family->transposed) return common;
    for (const az_lm_slot *slot = first; slot; slot = next_in_tensor(slot, end)) {
        const az_format *format = *slot->weight ? format_of(s, slot) : NULL;
        const az_compressed_form form =
            format && slot->cols % format->block == 0 ? az_compressed_form_of(format, *slot->weight) : (az_compressed_form){0};
        if (slot == first) common = form;
        if (!az_compressed_same(&form, &common)) return (az_compressed_form){0};
    }
    return common;
}

static bool has_own(const saving *s, const az_lm_slot *first, const az_lm_slot *end)
{
    for (const az_lm_slot *slot = first; slot && !s->format; slot = next_in_tensor(slot, end))
        if (slot->weight && *slot->weight && (*slot->weight)->format->ggml_type < 0) return true;
    return false;
}

static void add_own(az_ctx *az, saving *s, const az_lm_slot *first, const az_lm_slot *end)
{
    for (const az_lm_slot *slot = first; slot; slot = next_in_tensor(slot, end)) {
        const az_weight *w = *slot->weight;
        const char *line = w ? az_own_line(az, slot->name, w) : NULL;
        if (!line) continue;
        json_array_append_new(s->own, json_string(line));
        for (int p = 0; p < az_format_parts(w->format); p++)
            s->list[s->count++] = (output){.kind = OUTPUT_OWN,
                                           .name = az_own_part_name(az, slot->name, w->format, p),
                                           .slot = slot,
                                           .own = w->part[p],
                                           .dtype = w->part[p]->dtype};
        if (az_lm_has_rope_rows(slot) && az_lm_arch_reorders_huggingface(s->lm->arch)) s->keep_order = true;
    }
}

static void add_compressed(az_ctx *az, saving *s, const output *whole, const char *module)
{
    const az_compressed_form *form = &whole->form;
    for (int p = 0; p < AZ_COMPRESSED_PARTS; p++) {
        output *o = &s->list[s->count++];
        *o = *whole;
        o->kind = OUTPUT_COMPRESSED;
        o->part = p;
        o->dtype = form->part[p].dtype;
        o->name = az_format_text(az, "%s.%s", module, form->part[p].name);
    }
    output *shape = &s->list[s->count++];
    *shape = *whole;
    shape->kind = OUTPUT_SHAPE;
    shape->dtype = AZ_I64;
    shape->name = az_format_text(az, "%s.%s", module, form->shape_name);
}

/* The type of a tensor that is written whole. Matrices of block formats become f32, or f16 where blocks were wanted but do not fit. */
static az_dtype dtype_of(saving *s, const az_lm_slot *slot)
{
    az_dtype dtype = AZ_F32;
    if (!slot->weight || is_float_type(format_of(s, slot), &dtype)) return dtype;
    if (s->format) return AZ_F16;
    s->decoded++;
    return AZ_F32;
}

static bool add_tensor(az_ctx *az, saving *s, const az_lm_slot *slot, const az_lm_slot *end)
{
    if (has_own(s, slot, end) && !form_of(s, slot, end).format) {
        add_own(az, s, slot, end);
        return az_ok(az);
    }
    output whole = {.name = slot->huggingface, .slot = slot, .end = end, .form = form_of(s, slot, end)};
    const bool linear = slot->weight && (slot->block >= 0 || slot->part == AZ_PART_HEAD);
    const char *module = linear ? module_of(az, slot) : NULL;
    if (module) az_compressed_config_add(&s->compressed, module, &whole.form);
    if (whole.form.format) {
        add_compressed(az, s, &whole, module);
        return az_ok(az);
    }
    whole.dtype = dtype_of(s, slot);
    s->list[s->count++] = whole;
    return az_ok(az);
}

/* What is to be written, in the order of names. */
static bool list_outputs(az_ctx *az, saving *s)
{
    az_lm_slot *slots;
    const int n = az_lm_slots(az, (az_lm *)(uintptr_t)s->lm, &slots);
    s->list = az_alloc_array(az, (size_t)n + 1, AZ_WEIGHT_PARTS * sizeof *s->list);
    if (!s->list || n == 0) return false;
    for (int i = 0; i < n; i++) {
        const az_lm_slot *slot = &slots[i];
        const bool tied_head = slot->part == AZ_PART_HEAD && s->lm->config.tied;
        if (!is_filled(slot) || tied_head || slot->huggingface_row > 0) continue;
        if (!add_tensor(az, s, slot, slots + n)) return false;
    }
    if (s->decoded > 0) az_note(az, "%d matrices are stored in blocks that safetensors have no type for; they become f32", s->decoded);
    qsort(s->list, (size_t)s->count, sizeof *s->list, by_name);
    return az_ok(az);
}

/* ---- tensors ---- */

static bool is_turned(const az_lm_family *family, const az_lm_slot *slot)
{
    return family->transposed && slot->weight && slot->block >= 0;
}

/* The shape of a tensor in the file; returns its rank. */
static int shape_of(const saving *s, const output *o, int64_t shape[AZ_MAX_RANK])
{
    const az_lm_slot *slot = o->slot;
    const int64_t rows = slot->huggingface_rows;
    const bool turned = is_turned(s->family, slot);
    if (o->kind == OUTPUT_OWN) {
        for (int i = 0; i < o->own->rank; i++) shape[i] = o->own->shape[i];
        return o->own->rank;
    }
    shape[0] = o->kind == OUTPUT_SHAPE ? 2 : turned ? slot->cols : rows;
    shape[1] = o->kind == OUTPUT_SHAPE ? 1 : o->kind == OUTPUT_COMPRESSED ? o->form.part[o->part].width : turned ? rows : slot->cols;
    return o->kind == OUTPUT_SHAPE ? o->form.shape_rank : slot->weight ? 2 : 1;
}

static bool declare(az_safetensors_writer *writer, const saving *s, const output *o)
{
    int64_t shape[AZ_MAX_RANK];
    const int rank = shape_of(s, o, shape);
    return az_safetensors_declare(writer, o->name, o->dtype, rank, shape);
}

static bool is_reordered(const saving *s, const az_lm_slot *slot)
{
    return az_lm_arch_reorders_huggingface(s->lm->arch) && !s->keep_order && az_lm_has_rope_rows(slot);
}

/* Rows of a matrix. */
static const az_tensor *tile_of(az_ctx *az, const saving *s, const az_lm_slot *slot, const output *o, az_lm_tile tile)
{
    const az_weight *w = *slot->weight;
    const az_format *format = o->kind == OUTPUT_COMPRESSED ? format_of(s, slot) : az_format_by_name(az_dtype_name(o->dtype));
    if (w && tile.n < w->rows) w = az_weight_rows(az, w, tile.first, tile.n);
    if (w && w->format != format) w = az_weight_encode(az, w, format, NULL);
    return !w ? NULL : o->kind == OUTPUT_COMPRESSED ? az_compressed_part_of(az, w, &o->form, o->part) : w->part[0];
}

/* All rows of one place, as a matrix; a vector has one column. */
static const az_tensor *rows_of(az_ctx *az, const saving *s, const az_lm_slot *slot, const output *o)
{
    const az_tensor *x;
    if (slot->weight) {
        x = tile_of(az, s, slot, o, az_lm_first_tile(s->lm, slot, true));
    } else {
        x = az_reshape(az, *slot->vector, 2, (const int64_t[]){slot->rows, 1});
        if (s->family->norm_shift != 0 && !slot->bias) x = az_affine(az, x, 1, -s->family->norm_shift);
        if (x && x->dtype != o->dtype) x = az_cast(az, x, o->dtype);
    }
    return is_reordered(s, slot) ? az_lm_reorder_rows(az, s->lm, slot, x) : x;
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

static const az_tensor *tensor_of(az_ctx *az, const saving *s, const output *o)
{
    if (o->kind == OUTPUT_OWN) return o->own;
    int64_t shape[AZ_MAX_RANK];
    const int rank = shape_of(s, o, shape);
    if (o->kind == OUTPUT_SHAPE) return az_from(az, AZ_I64, rank, shape, (const int64_t[]){o->slot->huggingface_rows, o->slot->cols});
    az_tensor *part[3];
    int parts = 0;
    for (const az_lm_slot *slot = o->slot; slot && parts < 3; slot = next_in_tensor(slot, o->end))
        part[parts++] = (az_tensor *)(uintptr_t)rows_of(az, s, slot, o);
    az_tensor *x = join(az, s->lm, s->family, part, parts);
    if (is_turned(s->family, o->slot)) x = az_transpose(az, x);
    return o->slot->weight ? x : az_reshape(az, x, 1, &o->slot->huggingface_rows);
}

/* Whether the rows of a tensor are those of its places one after the other. */
static bool is_stacked(const saving *s, const output *o)
{
    const bool matrix = o->slot && o->slot->weight && (o->kind == OUTPUT_WHOLE || o->kind == OUTPUT_COMPRESSED);
    return matrix && !is_turned(s->family, o->slot) && (!s->family->qkv_by_head || !next_in_tensor(o->slot, o->end));
}

static bool write_place(az_ctx *az, az_safetensors_writer *writer, const saving *s, const output *o, const az_lm_slot *slot)
{
    const az_weight *w = *slot->weight;
    az_dtype dtype;
    const bool same = w && (o->kind == OUTPUT_COMPRESSED ? o->form.bits == 0 : is_float_type(w->format, &dtype) && dtype == o->dtype);
    for (az_lm_tile tile = az_lm_first_tile(s->lm, slot, same); tile.n > 0; tile = az_lm_next_tile(slot, tile)) {
        az_scope_push(az);
        const az_tensor *x = tile_of(az, s, slot, o, tile);
        if (is_reordered(s, slot)) x = az_lm_reorder_rows(az, s->lm, slot, x);
        const bool good = x && az_safetensors_write_rows(writer, x);
        az_scope_pop(az);
        if (!good) return az_lm_fail_tile(az, slot, tile);
    }
    return true;
}

static bool write_stacked(az_ctx *az, az_safetensors_writer *writer, const saving *s, const output *o)
{
    for (const az_lm_slot *slot = o->slot; slot; slot = next_in_tensor(slot, o->end))
        if (!write_place(az, writer, s, o, slot)) return false;
    return true;
}

static bool write_tensor(az_ctx *az, az_safetensors_writer *writer, const saving *s, const output *o)
{
    if (is_stacked(s, o)) return write_stacked(az, writer, s, o);
    const az_tensor *x = tensor_of(az, s, o);
    if (x && az_safetensors_write(writer, az_contiguous(az, x))) return true;
    az_fail_context(az, "writing '%s'", o->name);
    return false;
}

/* ---- files of tensors ---- */

static int64_t bytes_of(const saving *s, const output *o)
{
    int64_t shape[AZ_MAX_RANK], count = 1;
    const int rank = shape_of(s, o, shape);
    for (int i = 0; i < rank; i++) count *= shape[i];
    return count * (int64_t)az_dtype_size(o->dtype);
}

/* How many of the outputs from `first` on fit into one file; at least one. */
static int fitting(const saving *s, int first, int64_t limit)
{
    int64_t bytes = bytes_of(s, &s->list[first]);
    int n = 1;
    while (first + n < s->count && bytes + bytes_of(s, &s->list[first + n]) <= limit) bytes += bytes_of(s, &s->list[first + n++]);
    return n;
}

static bool write_file(az_ctx *az, const saving *s, const char *path, int first, int n)
{
    az_safetensors_writer *writer = path ? az_safetensors_create(az, path) : NULL;
    if (!writer || !az_safetensors_put_metadata(writer, "format", "pt")) return false;
    for (int i = first; i < first + n; i++)
        if (!declare(writer, s, &s->list[i])) return false;
    for (int i = first; i < first + n; i++) {
        az_scope_push(az);
        const bool good = write_tensor(az, writer, s, &s->list[i]);
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
static bool write_shards(az_ctx *az, const saving *s, const char *folder, int64_t limit)
{
    int files = 0;
    int64_t total = 0;
    for (int i = 0; i < s->count; i += fitting(s, i, limit)) files++;
    json_t *map = json_object();
    bool good = true;
    for (int i = 0, file = 1, n; good && i < s->count; i += n, file++) {
        n = fitting(s, i, limit);
        const char *name = az_format_text(az, "model-%05d-of-%05d.safetensors", file, files);
        good = name && write_file(az, s, az_format_text(az, "%s/%s", folder, name), i, n);
        for (int j = i; good && j < i + n; j++) {
            total += bytes_of(s, &s->list[j]);
            json_object_set_new(map, s->list[j].name, json_string(name));
        }
    }
    json_t *index = json_pack("{s:{s:I},s:o}", "metadata", "total_size", (json_int_t)total, "weight_map", map);
    if (good) return write_json(az, index, folder, "model.safetensors.index.json") && remove_old(az, folder, "model.safetensors");
    json_decref(index);
    return false;
}

static bool write_tensors(az_ctx *az, const saving *s, const char *folder, int64_t limit)
{
    if (fitting(s, 0, limit) < s->count) return write_shards(az, s, folder, limit);
    return write_file(az, s, az_format_text(az, "%s/model.safetensors", folder), 0, s->count) &&
           remove_old(az, folder, "model.safetensors.index.json");
}

/* ---- the folder ---- */

static void put_ends(json_t *json, const az_tokenizer *tokenizer)
{
    const int32_t bos = az_token_bos(tokenizer), eos = az_token_eos(tokenizer);
    json_object_set_new(json, "bos_token_id", bos < 0 ? json_null() : json_integer(bos));
    json_t *list = json_array();
    if (eos >= 0) json_array_append_new(list, json_integer(eos));
    for (int i = 0; i < tokenizer->ends; i++) json_array_append_new(list, json_integer(tokenizer->end[i]));
    json_object_set_new(json, "eos_token_id", tokenizer->ends > 0 ? json_incref(list) : eos < 0 ? json_null() : json_integer(eos));
    json_decref(list);
}

/* config.json, to be freed. Made before anything is written, for it is what may fail. */
static json_t *config_of(az_ctx *az, const saving *s)
{
    az_dtype dtype = AZ_F32;
    for (int i = 0; i < s->count; i++)
        if (s->list[i].kind == OUTPUT_WHOLE && s->list[i].slot->part == AZ_PART_EMBEDDING) dtype = s->list[i].dtype;
    json_t *json = az_lm_config_to_json(az, s->family, s->lm, dtype, json_array_size(s->own) > 0);
    if (json && s->lm->tokenizer) put_ends(json, s->lm->tokenizer);
    json_t *quantization = json ? az_compressed_config_to_json(&s->compressed) : NULL;
    if (quantization) json_object_set_new(json, "quantization_config", quantization);
    if (json && json_array_size(s->own) > 0)
        json_object_set_new(json, "adze", json_pack("{s:O, s:s*}", "weights", s->own, "rope_order", s->keep_order ? "pairs" : NULL));
    return json;
}

static bool write_tokenizer(az_ctx *az, const az_lm *lm, const char *folder)
{
    if (!lm->tokenizer) return true;
    if (!az_tokenizer_write_folder(az, lm->tokenizer, folder, lm->config.context)) return false;
    json_t *generation = json_pack("{s:b}", "_from_model_config", 1);
    put_ends(generation, lm->tokenizer);
    return write_json(az, generation, folder, "generation_config.json");
}

static bool save(az_ctx *az, saving *s, const char *folder, int64_t limit)
{
    az_dtype dtype;
    s->family = az_lm_family_of(az, s->lm);
    if (s->family && s->format && !is_float_type(s->format, &dtype) && az_format_level_bits(s->format) == 0)
        return az_fail(az, AZ_BAD_INPUT,
                       "safetensors have no type for %s; choose f32, f16, bf16, q8_0, q5_0 or q4_0, or write a .gguf file",
                       s->format->name);
    json_t *config = s->family && list_outputs(az, s) ? config_of(az, s) : NULL;
    const bool fits = config && (!s->lm->tokenizer || az_tokenizer_check_json(az, s->lm->tokenizer));
    if (fits && az_make_folder(az, folder) && write_tensors(az, s, folder, limit))
        return write_json(az, config, folder, "config.json") && write_tokenizer(az, s->lm, folder);
    json_decref(config);
    return false;
}

bool az_lm_check_folder(az_ctx *az, const az_lm *lm)
{
    if (!lm || !az_ok(az)) return false;
    az_scope_push(az);
    az_lm_slot *slots;
    bool own = false;
    const int n = az_lm_slots(az, (az_lm *)(uintptr_t)lm, &slots);
    for (int i = 0; i < n; i++) own = own || (slots[i].weight && *slots[i].weight && (*slots[i].weight)->format->ggml_type < 0);
    const az_lm_family *family = az_lm_family_of(az, lm);
    json_t *json = family ? az_lm_config_to_json(az, family, lm, AZ_F32, own) : NULL;
    json_decref(json);
    az_scope_pop(az);
    return json != NULL;
}

bool az_lm_save_shards(az_ctx *az, const az_lm *lm, const char *folder, const az_format *format, int64_t limit)
{
    if (!lm || !folder || !az_ok(az)) return false;
    az_scope_push(az);
    saving s = {.lm = lm, .format = format, .own = json_array(), .compressed = az_compressed_config_new()};
    const bool good = save(az, &s, folder, limit);
    json_decref(s.own);
    az_compressed_config_free(&s.compressed);
    if (!good) az_fail_context(az, "writing the folder '%s'", folder);
    az_scope_pop(az);
    return good;
}

bool az_lm_save_folder(az_ctx *az, const az_lm *lm, const char *folder, const az_format *format)
{
    const int64_t usual = 5000000000; /* bytes; what Hugging Face's own writer takes */
    return az_lm_save_shards(az, lm, folder, format, usual);
}
