/* save.c - writes a model as GGUF, tensor by tensor; what has to be encoded is so in tiles of some rows.
 *
 * A model that came out of a GGUF file keeps the file's keys, their encoding and the order of keys and tensors; what the model itself knows
 * better (sizes, vocabulary) replaces what the file said. Saving an unchanged model thus gives the same file again. */
#include "lm/files/load.h"
#include "lm/files/own.h"
#include "lm/files/tiles.h"
#include "lm/tokenizer/tokenizer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* One tensor to be written: a matrix in a format, a vector, a part of a weight that GGUF has no type for, or bytes of the original file. A
 * matrix may hold several places of the model, the rows of one below those of the other. */
typedef struct output {
    const az_lm_slot *slot;         /* the first; NULL for a tensor of the file that the model has no place for */
    const az_tensor *divisors;      /* of the rotary frequencies, when they are what is written, by its name */
    const az_gguf_tensor *original; /* of the same name in the file, or NULL */
    const az_format *format;        /* of a matrix */
    const az_tensor *part;          /* of slot's weight, and its number and name */
    int number;
    const char *name;
    int64_t order;
} output;

enum { ROPE_TENSORS = 4 }; /* more than there are names for them */

typedef struct saving {
    az_lm *lm;
    const az_format *format; /* wanted; NULL = as they are */
    output *list;
    int n, own;      /* outputs; weights among them that are written by their parts */
    bool keep_order; /* q and k stay in the order of halves, since the parts of some cannot change places */
} saving;

/* ---- keys ---- */

/* A key that readers do without when it has the value that they assume. */
static bool put_assumed(az_gguf_writer *writer, const char *name, int64_t value, int64_t assumed)
{
    return (value == assumed && !az_gguf_has(writer, name)) || az_gguf_put_integer(writer, name, value);
}

static bool put_flag(az_ctx *az, az_gguf_writer *writer, const az_lm *lm, const char *name, bool value)
{
    const char *key = az_format_text(az, "%s.%s", lm->arch->name, name);
    return key && az_gguf_put_bool(writer, key, value);
}

/* Which blocks have the window: a number, or block by block. A file that has it says it in its own way: that stays. */
static bool put_window_pattern(az_ctx *az, az_gguf_writer *writer, const az_lm *lm)
{
    const int64_t blocks = lm->config.blocks;
    const char *name = az_format_text(az, "%s.attention.sliding_window_pattern", lm->arch->name);
    if (!name || az_gguf_has(writer, name)) return name != NULL;
    if (az_lm_windows_are_regular(lm))
        return lm->config.window_pattern == lm->arch->window_pattern || az_gguf_put_integer(writer, name, lm->config.window_pattern);
    unsigned char *flag = az_alloc_array(az, (size_t)blocks, sizeof *flag);
    for (int b = 0; flag && b < blocks; b++) flag[b] = lm->block[b].windowed;
    const az_gguf_key list = {.name = az_text_of(name),
                              .type = AZ_GGUF_ARRAY,
                              .item = AZ_GGUF_BOOL,
                              .count = (uint64_t)blocks,
                              .data = flag,
                              .bytes = (size_t)blocks};
    return flag && az_gguf_put(writer, &list);
}

static bool put_reals(az_ctx *az, az_gguf_writer *writer, const az_lm *lm)
{
    enum { ASSUMED_THETA = 10000 };
    const az_lm_config *c = &lm->config;
    const bool rms = lm->arch->norm == AZ_NORM_RMS, rope = az_lm_has_rope(lm->arch);
    az_lm_config usual = *c;
    usual.attention_scale = usual.embedding_scale = 0;
    az_lm_config_defaults(lm->arch, &usual);
    const struct {
        const char *name;
        double value, assumed;
    } reals[] = {
        {rms ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon", c->norm_eps, -1},
        {"rope.freq_base", c->rope_theta, rope ? ASSUMED_THETA : c->rope_theta},
        {"rope.freq_base_swa", c->rope_theta_local, lm->arch->rope_theta_local},
        {"attention.scale", c->attention_scale, usual.attention_scale},
        {"attn_logit_softcapping", c->attention_softcap, lm->arch->attention_softcap},
        {"final_logit_softcapping", c->logit_softcap, lm->arch->logit_softcap},
        {"embedding_scale", c->embedding_scale, lm->arch->scales ? -1 : usual.embedding_scale},
        {"residual_scale", c->residual_scale, lm->arch->scales ? -1 : 1},
        {"logit_scale", c->logit_scale, lm->arch->scales ? -1 : 1},
    };
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++) {
        const char *name = az_format_text(az, "%s.%s", lm->arch->name, reals[i].name);
        if (!name) return false;
        if (reals[i].value == reals[i].assumed && !az_gguf_has(writer, name)) continue;
        if (!az_gguf_put_real(writer, name, reals[i].value)) return false;
    }
    return az_ok(az);
}

static bool put_config(az_ctx *az, az_gguf_writer *writer, const az_lm *lm, bool own)
{
    const az_lm_config *c = &lm->config;
    const char *arch = lm->arch->name;
    const bool rope = az_lm_has_rope(lm->arch);
    const int64_t head_dim = c->width / c->heads;
    const bool counted =
        !own && lm->tokenizer && lm->tokenizer->kind != AZ_TOKENIZER_WORDS; /* others count the tokens of tokenizers they know */
    const struct {
        const char *name;
        int64_t value, assumed;
    } integers[] = {
        {"context_length", c->context, 0},
        {"embedding_length", c->width, 0},
        {"block_count", c->blocks, 0},
        {"feed_forward_length", c->hidden, 0},
        {"attention.head_count", c->heads, 0},
        {"attention.head_count_kv", c->kv_heads, 0},
        {"attention.key_length", c->head_dim, head_dim},
        {"attention.value_length", c->head_dim, head_dim},
        {"rope.dimension_count", c->rope_dims, rope ? 0 : c->rope_dims},
        {"attention.sliding_window", c->window, 0},
        {"expert_count", c->experts, 0},
        {"expert_used_count", c->experts_used, 0},
        {"vocab_size", c->vocabulary, counted ? c->vocabulary : 0},
    };
    for (size_t i = 0; i < sizeof integers / sizeof *integers; i++) {
        const char *name = az_format_text(az, "%s.%s", arch, integers[i].name);
        if (!name || !put_assumed(writer, name, integers[i].value, integers[i].assumed)) return false;
    }
    if (lm->arch->parallel && !put_flag(az, writer, lm, "use_parallel_residual", !c->sequential)) return false;
    if (!lm->metadata && !az_lm_rope_to_gguf(az, writer, lm)) return false;
    return put_window_pattern(az, writer, lm) && put_reals(az, writer, lm);
}

/* What llama.cpp calls the file as a whole: its LLAMA_FTYPE numbers. */
static int64_t file_type(const az_format *format)
{
    static const struct {
        const char *name;
        int64_t number;
    } types[] = {{"f32", 0},   {"f16", 1},   {"q4_0", 2},  {"q4_1", 3},  {"q8_0", 7},  {"q5_0", 8},    {"q5_1", 9},
                 {"q2_k", 10}, {"q3_k", 11}, {"q4_k", 14}, {"q5_k", 16}, {"q6_k", 18}, {"iq4_nl", 25}, {"bf16", 32}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i].name, format->name) == 0) return types[i].number;
    return -1;
}

/* The list of the weights that are written by their parts. */
static bool put_own_list(az_ctx *az, az_gguf_writer *writer, const saving *save)
{
    az_text *lines = az_alloc_array(az, (size_t)save->own, sizeof *lines);
    int64_t n = 0;
    for (int i = 0; lines && i < save->n; i++) {
        const output *o = &save->list[i];
        const char *line = o->part && o->number == 0 ? az_own_line(az, o->slot->name, *o->slot->weight) : NULL;
        if (line) lines[n++] = az_text_of(line);
    }
    if (!az_ok(az) || !az_gguf_put_strings(writer, "adze.weights", lines, n)) return false;
    return !save->keep_order || az_gguf_put_string(writer, "adze.rope_order", az_text_of("halves"));
}

/* Whether a key of the original file has nothing to say of the new one. */
static bool is_over(const saving *save, const az_gguf_key *key)
{
    if (az_text_equal(key->name, az_text_of("adze.weights"))) return save->own == 0;
    return az_text_equal(key->name, az_text_of("adze.rope_order")) && !save->keep_order;
}

static bool put_keys(az_ctx *az, az_gguf_writer *writer, const saving *save)
{
    const az_lm *lm = save->lm;
    const az_format *format = save->format;
    const az_gguf *file = lm->metadata ? lm->metadata->gguf : NULL;
    for (int64_t i = 0; file && i < file->keys; i++)
        if (!is_over(save, &file->key[i]) && !az_gguf_put(writer, &file->key[i])) return false;
    bool good = az_gguf_put_string(writer, "general.architecture", az_text_of(lm->arch->name));
    if (!az_gguf_has(writer, "general.name")) good = good && az_gguf_put_string(writer, "general.name", az_text_of(lm->name));
    const az_format *matrices = format ? format : file ? NULL : lm->block[0].q.weight->format;
    if (good && matrices && file_type(matrices) >= 0) good = az_gguf_put_integer(writer, "general.file_type", file_type(matrices));
    if (good && format && format->block > 1) good = az_gguf_put_integer(writer, "general.quantization_version", 2);
    if (!good || !put_config(az, writer, lm, save->own > 0)) return false;
    if (save->own > 0 && !put_own_list(az, writer, save)) return false;
    if (lm->tokenizer) return az_tokenizer_to_gguf(az, lm->tokenizer, lm->config.vocabulary, writer);
    return az_gguf_has(writer, "tokenizer.ggml.model") || az_gguf_put_string(writer, "tokenizer.ggml.model", az_text_of("none"));
}

/* ---- tensors ---- */

/* The format to write a matrix in. Embedding and head keep at least 8 bits; rows that are no whole blocks stay f16. */
static const az_format *choose_format(const az_lm_slot *slot, const az_format *wanted)
{
    const az_weight *w = *slot->weight;
    if (!wanted || slot->part == AZ_PART_POSITION || slot->part == AZ_PART_ROUTER) return w->format;
    const az_format *q8_0 = az_format_by_name("q8_0");
    const bool outer = slot->part == AZ_PART_EMBEDDING || slot->part == AZ_PART_HEAD;
    if (outer && wanted->block_bytes > 0 && wanted->block_bytes * q8_0->block < q8_0->block_bytes * wanted->block) wanted = q8_0;
    return w->cols % wanted->block == 0 ? wanted : az_format_by_name("f16");
}

static bool is_filled(const az_lm_slot *slot)
{
    return slot->weight ? *slot->weight != NULL : *slot->vector != NULL;
}

/* The place whose rows follow in the same tensor, or NULL. */
static const az_lm_slot *next_in_tensor(const az_lm_slot *slot)
{
    if (slot->gguf_row + slot->rows >= slot->gguf_rows) return NULL;
    const az_lm_slot *next = slot + 1; /* there is one, since its rows are counted */
    while (strcmp(next->gguf, slot->gguf) != 0) next++;
    return next;
}

/* The format of a tensor with several places: the one they have in common, or f32 where they differ. */
static const az_format *common_format(az_ctx *az, const az_lm_slot *first, const az_format *wanted)
{
    const az_format *format = choose_format(first, wanted);
    for (const az_lm_slot *slot = first; slot; slot = next_in_tensor(slot)) {
        if (!is_filled(slot)) return az_fail(az, AZ_BAD_INPUT, "'%s' is missing, which is part of the tensor '%s'", slot->name, slot->gguf);
        if (choose_format(slot, wanted) != format) format = az_format_by_name("f32");
    }
    return format;
}

static int by_order(const void *a, const void *b)
{
    const output *x = a, *y = b;
    if (x->order != y->order) return x->order > y->order ? 1 : -1;
    if (x->slot != y->slot) return x->slot > y->slot ? 1 : -1;
    return x->number - y->number;
}

/* The tensors of rotary scaling: those of the original file, or those that the model needs. */
static void add_rope_tensors(az_ctx *az, saving *save)
{
    const az_gguf *file = save->lm->metadata ? save->lm->metadata->gguf : NULL;
    az_rope_tensor own[AZ_ROPE_TENSORS] = {0};
    if (!file) az_lm_rope_tensors(az, save->lm, own);
    for (int i = 0; i < AZ_ROPE_TENSORS && own[i].name; i++)
        save->list[save->n++] = (output){.divisors = own[i].divisors, .name = own[i].name, .order = i - AZ_ROPE_TENSORS};
    for (int64_t i = 0; file && i < file->tensors; i++)
        if (az_lm_is_rope_tensor(file->tensor[i].name)) save->list[save->n++] = (output){.original = &file->tensor[i], .order = i};
}

/* Whether a tensor holds a weight that GGUF has no type for. */
static bool has_own(const az_lm_slot *first, const az_format *wanted)
{
    for (const az_lm_slot *slot = first; slot; slot = next_in_tensor(slot))
        if (slot->weight && *slot->weight && choose_format(slot, wanted)->ggml_type < 0) return true;
    return false;
}

/* All the places of such a tensor, by their parts. */
static void add_own(az_ctx *az, saving *save, const az_lm_slot *first, int64_t order)
{
    const az_gguf *file = save->lm->metadata ? save->lm->metadata->gguf : NULL;
    for (const az_lm_slot *slot = first; slot; slot = next_in_tensor(slot)) {
        const az_weight *w = *slot->weight;
        if (!w) continue;
        for (int p = 0; p < az_format_parts(w->format); p++) {
            const char *name = az_own_part_name(az, slot->name, w->format, p);
            const az_gguf_tensor *original = file && name ? az_gguf_find_tensor(file, name) : NULL;
            const int64_t place = original ? original - file->tensor : order;
            save->list[save->n++] = (output){.slot = slot, .part = w->part[p], .number = p, .name = name, .order = place};
        }
        save->own++;
        if (az_lm_has_rope_rows(slot)) save->keep_order = az_lm_arch_reorders_gguf(save->lm->arch);
    }
}

/* The tensor that begins with a place. */
static bool add_tensor(az_ctx *az, saving *save, const az_lm_slot *slot, int64_t number)
{
    const az_gguf *file = save->lm->metadata ? save->lm->metadata->gguf : NULL;
    const az_gguf_tensor *original = file ? az_gguf_find_tensor(file, slot->gguf) : NULL;
    const int64_t order = original ? original - file->tensor : INT32_MAX + number;
    if (has_own(slot, save->format)) {
        add_own(az, save, slot, order);
        return az_ok(az);
    }
    output *o = &save->list[save->n++];
    *o = (output){.slot = slot, .original = original, .order = order};
    o->format = slot->weight ? common_format(az, slot, save->format) : NULL;
    return az_ok(az);
}

/* Which tensors are written, in the order of the original file; what is new comes last. */
static bool list_outputs(az_ctx *az, saving *save)
{
    const az_lm *lm = save->lm;
    const az_format *format = save->format;
    az_lm_slot *slots;
    const int n = az_lm_slots(az, save->lm, &slots);
    save->list = az_alloc_array(az, (size_t)n + ROPE_TENSORS, AZ_WEIGHT_PARTS * sizeof *save->list);
    if (n == 0 || !save->list) return false;
    int odd = 0;
    for (int i = 0; i < n; i++) {
        const az_lm_slot *slot = &slots[i];
        if (slot->gguf_row > 0 || !is_filled(slot)) continue; /* a tensor is written with its first place */
        if (slot->part == AZ_PART_HEAD && slot->weight && *slot->weight == lm->embedding) continue;
        if (!add_tensor(az, save, slot, i)) return false;
        const az_format *chosen = save->list[save->n - 1].format;
        odd += format && format->block > 1 && chosen && chosen->block == 1 && slot->part != AZ_PART_POSITION;
    }
    add_rope_tensors(az, save);
    if (odd > 0) az_note(az, "%d matrices have rows that are no multiple of %lld and stay f16", odd, (long long)format->block);
    qsort(save->list, (size_t)save->n, sizeof *save->list, by_order);
    return az_ok(az);
}

/* ggml's number of a type; it has no unsigned bytes, which lie in its signed ones. */
static uint32_t ggml_type_of(az_dtype dtype)
{
    static const uint32_t types[AZ_DTYPES] = {
        [AZ_F32] = 0, [AZ_F64] = 28, [AZ_F16] = 1, [AZ_BF16] = 30, [AZ_I8] = 24, [AZ_U8] = 24, [AZ_I16] = 25, [AZ_I32] = 26, [AZ_I64] = 27};
    return types[dtype];
}

static bool declare_part(az_gguf_writer *writer, const output *o)
{
    uint64_t shape[AZ_MAX_RANK];
    for (int i = 0; i < o->part->rank; i++) shape[i] = (uint64_t)o->part->shape[o->part->rank - 1 - i];
    return az_gguf_declare(writer, az_text_of(o->name), o->part->rank, shape, ggml_type_of(o->part->dtype));
}

static bool declare(az_gguf_writer *writer, const output *o)
{
    const az_lm_slot *slot = o->slot;
    if (o->part) return declare_part(writer, o);
    if (o->divisors) {
        const uint64_t entries = (uint64_t)az_count(o->divisors);
        return az_gguf_declare(writer, az_text_of(o->name), 1, &entries, 0);
    }
    if (!slot) return az_gguf_declare(writer, o->original->name, o->original->rank, o->original->shape, o->original->type);
    const uint64_t matrix[] = {(uint64_t)slot->cols, (uint64_t)slot->gguf_rows};
    const uint64_t stack[] = {(uint64_t)slot->cols, (uint64_t)slot->rows, (uint64_t)(slot->gguf_rows / slot->rows)};
    if (az_lm_part_of_expert(slot->part)) return az_gguf_declare(writer, az_text_of(slot->gguf), 3, stack, (uint32_t)o->format->ggml_type);
    if (slot->weight) return az_gguf_declare(writer, az_text_of(slot->gguf), 2, matrix, (uint32_t)o->format->ggml_type);
    return az_gguf_declare(writer, az_text_of(slot->gguf), 1, &matrix[1], 0);
}

static bool is_reordered(const saving *save, const az_lm_slot *slot)
{
    return az_lm_arch_reorders_gguf(save->lm->arch) && !save->keep_order && az_lm_has_rope_rows(slot);
}

/* Rows first .. first + n - 1 of one place as they go into the file: bytes of a matrix in the format, or f32 of a vector. */
static const az_tensor *encoded_rows(az_ctx *az, const saving *save, const output *o, const az_lm_slot *slot, az_lm_tile tile)
{
    const az_tensor *rows;
    if (slot->weight) {
        const az_weight *w = az_weight_rows(az, *slot->weight, tile.first, tile.n);
        if (w && w->format != o->format) w = az_weight_encode(az, w, o->format, NULL);
        rows = w ? w->part[0] : NULL;
    } else {
        rows = az_slice(az, *slot->vector, 0, tile.first, tile.n);
        if (rows && rows->dtype != AZ_F32) rows = az_cast(az, rows, AZ_F32);
    }
    if (is_reordered(save, slot)) rows = az_lm_reorder_rows(az, save->lm, slot, rows);
    return rows ? az_contiguous(az, rows) : NULL;
}

static bool write_part(az_ctx *az, az_gguf_writer *writer, const az_tensor *part)
{
    az_scope_push(az);
    const az_tensor *x = az_contiguous(az, part);
    const bool good = x && az_gguf_write(writer, x->data, (size_t)az_count(x) * az_dtype_size(x->dtype));
    az_scope_pop(az);
    return good;
}

static bool write_place(az_ctx *az, az_gguf_writer *writer, const saving *save, const output *o, const az_lm_slot *slot)
{
    const bool whole = !slot->weight || (*slot->weight)->format == o->format;
    for (az_lm_tile tile = az_lm_first_tile(save->lm, slot, whole); tile.n > 0; tile = az_lm_next_tile(slot, tile)) {
        az_scope_push(az);
        const az_tensor *rows = encoded_rows(az, save, o, slot, tile);
        const bool good = rows && az_gguf_write_part(writer, rows->data, (size_t)az_count(rows) * az_dtype_size(rows->dtype));
        az_scope_pop(az);
        if (!good) return az_lm_fail_tile(az, slot, tile);
    }
    return true;
}

static bool write_tensor(az_ctx *az, az_gguf_writer *writer, const saving *save, const output *o)
{
    if (o->part) return write_part(az, writer, o->part);
    if (o->divisors) return az_gguf_write(writer, o->divisors->data, (size_t)az_count(o->divisors) * sizeof(float));
    if (!o->slot) return az_gguf_write(writer, o->original->data, o->original->bytes);
    for (const az_lm_slot *slot = o->slot; slot; slot = next_in_tensor(slot))
        if (!write_place(az, writer, save, o, slot)) return false;
    return true;
}

static bool save_file(az_ctx *az, saving *save, const char *path)
{
    if (save->format && save->format->ggml_type < 0)
        return az_fail(az, AZ_BAD_INPUT, "GGUF has no type for %s; `adze compress MODEL quantize:type=%s` makes such weights",
                       save->format->name, save->format->name);
    if (!az_lm_check_file(az, save->lm)) return false;
    az_gguf_writer *writer = list_outputs(az, save) ? az_gguf_create(az, path) : NULL;
    if (!writer || !put_keys(az, writer, save)) return false;
    az_lm_note_elsewhere(az, save->lm);
    for (int i = 0; i < save->n; i++)
        if (!declare(writer, &save->list[i])) return false;
    for (int i = 0; i < save->n; i++)
        if (!write_tensor(az, writer, save, &save->list[i])) return false;
    return az_gguf_commit(writer);
}

bool az_lm_save(az_ctx *az, const az_lm *lm, const char *path, const az_format *format)
{
    if (!lm || !path || !az_ok(az)) return false;
    az_scope_push(az);
    const bool good = save_file(az, &(saving){.lm = (az_lm *)(uintptr_t)lm, .format = format}, path);
    az_scope_pop(az);
    return good;
}
