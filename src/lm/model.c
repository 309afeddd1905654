/* model.c - making a model out of its parts: putting it together, copying, freeing, training it, and counting what it has. */
#include "lm/rope_scaling.h"
#include "lm/slots.h"

#include <fnmatch.h>
#include <math.h>
#include <string.h>

/* ---- putting a model together ---- */

/* theta^(-2i / dims), the angle per position of pair i. */
static az_tensor *rope_frequencies(az_ctx *az, const az_lm_config *config, double theta)
{
    az_tensor *frequency = az_new1(az, AZ_F32, config->rope_dims / 2);
    float *f = az_f32_mut(frequency);
    for (int64_t i = 0; f && i < config->rope_dims / 2; i++) f[i] = (float)pow(theta, -2.0 * (double)i / (double)config->rope_dims);
    return frequency;
}

static bool name_norms(az_ctx *az, az_lm *lm)
{
    lm->embed_norm.name = az_lm_part_name(AZ_PART_EMBED_NORM);
    lm->final_norm.name = az_lm_part_name(AZ_PART_FINAL_NORM);
    for (int b = 0; b < lm->config.blocks; b++)
        for (int part = AZ_PART_ATTN_NORM; part < AZ_PARTS; part++) {
            az_lm_norm *norm = az_lm_norm_of(lm, (az_lm_part)part, b);
            if (norm) norm->name = az_lm_part_path(az, (az_lm_part)part, b, 0);
        }
    return az_ok(az);
}

static bool name_linears(az_ctx *az, az_lm *lm)
{
    lm->head = (az_lm_linear){.name = "head", .block = -1};
    lm->project_in = (az_lm_linear){.name = "project_in", .block = -1};
    lm->project_out = (az_lm_linear){.name = "project_out", .block = -1};
    for (int b = 0; b < lm->config.blocks; b++) {
        const size_t experts = (size_t)lm->config.experts;
        if (experts > 0) lm->block[b].expert = az_alloc_array(az, experts, sizeof *lm->block[b].expert);
        for (int part = AZ_PART_ATTN_NORM; part < AZ_PARTS && az_ok(az); part++) {
            const int most = az_lm_part_of_expert((az_lm_part)part) ? (int)experts : 1;
            for (int e = 0; e < most; e++) {
                az_lm_linear *linear = az_lm_linear_of(lm, (az_lm_part)part, b, e);
                if (linear) *linear = (az_lm_linear){.name = az_lm_part_path(az, (az_lm_part)part, b, e), .block = b};
            }
        }
    }
    return az_ok(az);
}

az_lm *az_lm_empty(az_ctx *az, const az_lm_arch *arch, const az_lm_config *config, az_tokenizer *tokenizer)
{
    az_arena *arena = az_arena_new(az);
    if (!arena) return NULL;
    az_arena_enter(az, arena);
    az_lm *lm = az_alloc(az, sizeof *lm);
    if (lm) {
        *lm = (az_lm){.arch = arch, .config = *config, .tokenizer = tokenizer, .name = "", .arena = arena};
        lm->block = az_alloc_array(az, (size_t)config->blocks, sizeof *lm->block);
        for (int b = 0; lm->block && b < config->blocks; b++) {
            lm->block[b].windowed = az_lm_window_by_rule(config, b);
            lm->block[b].turned = az_lm_turned_by_rule(config, b);
        }
        if (az_lm_has_rope(arch)) lm->rope_frequency = rope_frequencies(az, config, config->rope_theta);
        if (az_lm_has_rope(arch) && config->rope_theta_local > 0)
            lm->rope_frequency_local = rope_frequencies(az, config, config->rope_theta_local);
        if (!lm->block || !name_linears(az, lm) || !name_norms(az, lm)) lm = NULL;
    }
    az_arena_leave(az);
    if (!lm) az_arena_free(az, arena);
    return lm;
}

bool az_lm_attach_weight(az_ctx *az, az_lm *lm, const az_lm_slot *slot, const az_weight *weight)
{
    if (!lm || !weight) return false;
    if (!slot->weight || weight->rows != slot->rows || weight->cols != slot->cols)
        return az_fail(az, AZ_BAD_INPUT, "tensor '%s' is a matrix [%lld, %lld]; the model wants %s[%lld, %lld]", slot->name,
                       (long long)weight->rows, (long long)weight->cols, slot->weight ? "" : "a vector of ", (long long)slot->rows,
                       (long long)slot->cols);
    az_arena_enter(az, lm->arena);
    *slot->weight = az_weight_share(az, weight);
    az_arena_leave(az);
    return *slot->weight != NULL;
}

bool az_lm_attach_vector(az_ctx *az, az_lm *lm, const az_lm_slot *slot, const az_tensor *vector)
{
    if (!lm || !vector) return false;
    if (!slot->vector || vector->rank != 1 || vector->shape[0] != slot->rows)
        return az_fail(az, AZ_BAD_INPUT, "tensor '%s' has the shape %s; the model wants %lld values", slot->name, az_shape_text(az, vector),
                       (long long)slot->rows);
    az_arena_enter(az, lm->arena);
    *slot->vector = az_share(az, vector);
    az_arena_leave(az);
    return *slot->vector != NULL;
}

bool az_lm_complete(az_ctx *az, az_lm *lm)
{
    if (!lm) return false;
    if (!lm->head.weight) lm->head.weight = lm->embedding;
    lm->config.tied = lm->head.weight == lm->embedding;
    az_scope_push(az);
    az_lm_slot *slots;
    const int n = az_lm_slots(az, lm, &slots);
    const char *missing = NULL, *last = "";
    int count = 0;
    for (int i = 0; i < n; i++) {
        if (!slots[i].required || az_lm_slot_is_filled(&slots[i])) continue;
        if (strcmp(last, slots[i].gguf) == 0) continue; /* several places of one tensor */
        last = slots[i].gguf;
        if (count++ < 8) missing = missing ? az_format_text(az, "%s, %s", missing, slots[i].gguf) : slots[i].gguf;
    }
    if (count > 8) az_fail(az, AZ_BAD_INPUT, "%d tensors are missing: %s and %d more", count, missing, count - 8);
    if (count > 0) az_fail(az, AZ_BAD_INPUT, "%d tensor%s missing: %s", count, count == 1 ? " is" : "s are", missing);
    az_scope_pop(az);
    return az_ok(az);
}

bool az_lm_arrange(az_ctx *az, az_lm *lm, int64_t passes)
{
    enum { WORTH = 32 }; /* arranging takes as long as some 20 passes gain */
    if (!lm || passes < WORTH || az_memory_limit(az) > 0) return lm != NULL;
    az_arena_enter(az, lm->arena);
    az_lm_cursor cursor = az_lm_cursor_start(lm);
    for (; cursor.at->gguf && az_ok(az); az_lm_cursor_advance(lm, &cursor)) {
        const az_lm_slot slot = az_lm_slot_at(lm, &cursor);
        az_weight *w = slot.weight ? *slot.weight : NULL;
        const bool table = w == lm->position || (w == lm->embedding && !lm->config.tied); /* rows are looked up */
        if (w && !table) az_weight_arrange(az, w);
    }
    az_arena_leave(az);
    return az_ok(az);
}

/* ---- making, copying, freeing ---- */

static bool initialise_slot(az_ctx *az, az_lm *lm, const az_lm_slot *slot, uint64_t seed)
{
    if (!slot->weight) {
        const bool ones = az_lm_norm_of(lm, slot->part, slot->block) && !slot->bias;
        return az_lm_attach_vector(az, lm, slot, az_full(az, AZ_F32, 1, &slot->rows, ones ? 1 : 0));
    }
    const bool residual = slot->part == AZ_PART_O || slot->part == AZ_PART_DOWN || slot->part == AZ_PART_EXPERT_DOWN;
    const double scale = residual ? 0.02 / sqrt(2.0 * (double)lm->config.blocks) : 0.02;
    az_tensor *matrix = az_randn(az, AZ_F32, 2, (const int64_t[]){slot->rows, slot->cols}, scale, seed, az_stream(slot->name, 0));
    return az_lm_attach_weight(az, lm, slot, az_weight_dense(az, matrix));
}

az_lm *az_lm_new(az_ctx *az, const char *architecture, const az_lm_config *config, az_tokenizer *tokenizer, uint64_t seed)
{
    if (!az_ok(az)) return NULL;
    const az_lm_arch *arch = az_lm_arch_by_name(architecture);
    if (!arch) return az_fail(az, AZ_BAD_INPUT, "architecture '%s' is unknown; there are: %s", architecture, az_lm_arch_names(az));
    return az_lm_initialised(az, arch, config, tokenizer, seed);
}

az_lm *az_lm_initialised(az_ctx *az, const az_lm_arch *arch, const az_lm_config *config, az_tokenizer *tokenizer, uint64_t seed)
{
    az_lm_config complete = *config;
    const bool sound = complete.width > 0 && complete.width <= 1 << 18;
    if (complete.hidden == 0 && sound)
        complete.hidden = az_lm_is_gated(arch) ? (complete.width * 8 / 3 + 31) / 32 * 32 : 4 * complete.width;
    az_lm_config_defaults(arch, &complete);
    if (!az_lm_validate(az, arch, &complete)) return NULL;
    az_lm *lm = az_lm_empty(az, arch, &complete, tokenizer);
    az_scope_push(az);
    az_lm_slot *slots;
    const int n = az_lm_slots(az, lm, &slots);
    bool good = n > 0;
    for (int i = 0; good && i < n; i++) {
        const bool wanted = slots[i].required || (slots[i].part == AZ_PART_HEAD && !complete.tied);
        if (wanted) good = initialise_slot(az, lm, &slots[i], seed);
    }
    az_scope_pop(az);
    if (good && az_lm_complete(az, lm)) return lm;
    az_lm_free(az, lm);
    return NULL;
}

az_lm *az_lm_copy(az_ctx *az, const az_lm *lm)
{
    if (!lm) return NULL;
    az_lm *copy = az_lm_empty(az, lm->arch, &lm->config, lm->tokenizer);
    if (!copy) return NULL;
    copy->metadata = lm->metadata;
    az_arena_enter(az, copy->arena);
    copy->name = az_strdup(az, lm->name);
    if (lm->rope_frequency) copy->rope_frequency = az_share(az, lm->rope_frequency);
    if (lm->rope_frequency_local) copy->rope_frequency_local = az_share(az, lm->rope_frequency_local);
    if (lm->rope_frequency_long) copy->rope_frequency_long = az_share(az, lm->rope_frequency_long);
    az_rope_scaling_keep(az, copy, lm->rope_scaling);
    az_arena_leave(az);
    for (int b = 0; b < lm->config.blocks; b++) {
        copy->block[b].windowed = lm->block[b].windowed;
        copy->block[b].turned = lm->block[b].turned;
    }
    az_lm_cursor to = az_lm_cursor_start(copy);
    for (az_lm_cursor from = az_lm_cursor_start(lm); from.at->gguf; az_lm_cursor_advance(lm, &from), az_lm_cursor_advance(copy, &to)) {
        const az_lm_slot source = az_lm_slot_at((az_lm *)lm, &from), target = az_lm_slot_at(copy, &to);
        if (!az_lm_slot_is_filled(&source) || az_lm_slot_is_tied_head(lm, &source)) continue;
        if (source.weight)
            az_lm_attach_weight(az, copy, &target, *source.weight);
        else
            az_lm_attach_vector(az, copy, &target, *source.vector);
    }
    if (az_ok(az) && az_lm_complete(az, copy)) return copy;
    az_lm_free(az, copy);
    return NULL;
}

void az_lm_free(az_ctx *az, az_lm *lm)
{
    if (lm) az_arena_free(az, lm->arena);
}

/* ---- training ---- */

static bool make_slot_trainable(az_ctx *az, az_lm *lm, const az_lm_slot *slot, az_dtype dtype)
{
    if (!slot->weight) {
        const az_tensor *old = *slot->vector;
        return az_lm_attach_vector(az, lm, slot, old->dtype == dtype ? az_copy(az, old) : az_cast(az, old, dtype));
    }
    const az_weight *old = *slot->weight;
    if (old->format->recode)
        return az_lm_attach_weight(az, lm, slot, az_weight_recode(az, old, az_format_by_name(az_dtype_name(dtype)), NULL));
    const bool exact = az_weight_is_dense(old) && old->part[0]->dtype == dtype; /* no way through f32 */
    az_tensor *dense = exact ? az_copy(az, old->part[0]) : az_weight_decode(az, old);
    if (dense && dense->dtype != dtype) dense = az_cast(az, dense, dtype);
    return az_lm_attach_weight(az, lm, slot, az_weight_dense(az, dense));
}

bool az_lm_make_trainable(az_ctx *az, az_lm *lm, az_dtype dtype)
{
    if (!lm) return false;
    if (dtype != AZ_F32 && dtype != AZ_F64)
        return az_fail(az, AZ_BAD_CALL, "a model is trained in f32 or f64, not in %s", az_dtype_name(dtype));
    const bool tied = lm->config.tied;
    bool good = true;
    for (az_lm_cursor c = az_lm_cursor_start(lm); good && c.at->gguf; az_lm_cursor_advance(lm, &c)) {
        const az_lm_slot slot = az_lm_slot_at(lm, &c);
        if (!az_lm_slot_is_filled(&slot) || (tied && slot.part == AZ_PART_HEAD)) continue;
        az_scope_push(az);
        good = make_slot_trainable(az, lm, &slot, dtype);
        az_scope_pop(az);
    }
    if (tied) lm->head.weight = lm->embedding;
    return good;
}

bool az_lm_make_dense(az_ctx *az, az_lm *lm, const az_format *format)
{
    if (!lm || !format) return false;
    const bool tied = lm->config.tied;
    for (az_lm_cursor c = az_lm_cursor_start(lm); c.at->gguf && az_ok(az); az_lm_cursor_advance(lm, &c)) {
        const az_lm_slot slot = az_lm_slot_at(lm, &c);
        if (!slot.weight || !*slot.weight || az_weight_is_dense(*slot.weight) || (tied && slot.part == AZ_PART_HEAD)) continue;
        az_scope_push(az);
        az_lm_attach_weight(az, lm, &slot, az_weight_encode(az, *slot.weight, format, NULL));
        az_scope_pop(az);
        az_fail_context(az, "%s", slot.name);
    }
    if (tied) lm->head.weight = lm->embedding;
    return az_ok(az);
}

/* ---- lists and counts ---- */

int az_lm_linears(az_ctx *az, az_lm *lm, az_lm_linear ***linears)
{
    *linears = NULL;
    if (!lm) return 0;
    const int most = (AZ_PARTS - AZ_PART_ATTN_NORM + 3 * (int)lm->config.experts) * (int)lm->config.blocks;
    *linears = az_alloc_array(az, (size_t)most, sizeof **linears);
    if (!*linears) return 0;
    int n = 0;
    for (az_lm_cursor c = az_lm_cursor_start(lm); c.at->gguf; az_lm_cursor_advance(lm, &c)) {
        const bool whole = az_lm_part_in_block(c.at->part) && c.at->part != AZ_PART_ROUTER && !c.bias;
        az_lm_linear *linear = whole ? az_lm_linear_of(lm, c.at->part, c.block, c.expert) : NULL;
        if (linear && linear->weight) (*linears)[n++] = linear;
    }
    return n;
}

/* The parameters of one slot: a vector, or the plain parts of a weight. Returns their number, 0 for a weight without. */
static int slot_parameters(az_ctx *az, const az_lm_slot *slot, az_lm_parameter *out)
{
    if (!slot->weight) {
        out[0] = (az_lm_parameter){.name = slot->name, .slot = slot->vector};
        return 1;
    }
    az_weight *w = *slot->weight;
    const int n = az_weight_plain_parts(w);
    for (int i = 0; i < n; i++) {
        const char *name = n == 1 ? slot->name : az_format_text(az, "%s.%s", slot->name, w->format->part_name[i]);
        out[i] = (az_lm_parameter){.name = name, .slot = &w->part[i]};
    }
    return n;
}

int az_lm_parameters(az_ctx *az, az_lm *lm, az_lm_parameter **parameters)
{
    *parameters = NULL;
    az_lm_slot *slots;
    const int n = az_lm_slots(az, lm, &slots);
    az_lm_parameter *list = az_alloc_array(az, (size_t)n, AZ_WEIGHT_PARTS * sizeof *list);
    if (!list) return 0;
    int count = 0;
    for (int i = 0; i < n; i++) {
        const az_lm_slot *slot = &slots[i];
        if (!az_lm_slot_is_filled(slot) || az_lm_slot_is_tied_head(lm, slot)) continue;
        const int found = slot_parameters(az, slot, list + count);
        if (found == 0) {
            az_fail(az, AZ_BAD_CALL, "'%s' is stored as %s and has no plain parameters; make the model trainable first", slot->name,
                    (*slot->weight)->format->name);
            return 0;
        }
        count += found;
    }
    *parameters = az_ok(az) ? list : NULL;
    return az_ok(az) ? count : 0;
}

/* The globs are separated by commas. */
static bool matches(az_ctx *az, const char *globs, const char *name)
{
    char *rest = az_strdup(az, globs);
    for (const char *glob; rest && (glob = strsep(&rest, ","));)
        if (fnmatch(glob, name, 0) == 0) return true;
    return false;
}

/* The matching parameters of one slot, which becomes trainable if there are any. */
static int choose_in_slot(az_ctx *az, az_lm *lm, const az_lm_slot *slot, az_dtype dtype, const char *globs, az_lm_parameter *out)
{
    const az_weight *w = slot->weight ? *slot->weight : NULL;
    const int parts = az_weight_rank(w) > 0 ? 2 : 1;
    bool any = parts == 1 && matches(az, globs, slot->name);
    for (int i = 0; w && i < parts && parts > 1; i++)
        any = any || matches(az, globs, az_format_text(az, "%s.%s", slot->name, w->format->part_name[i]));
    if (!any || !make_slot_trainable(az, lm, slot, dtype)) return 0;
    const int n = slot_parameters(az, slot, out);
    int chosen = 0;
    for (int i = 0; i < n; i++)
        if (matches(az, globs, out[i].name)) out[chosen++] = out[i];
    return chosen;
}

int az_lm_choose_parameters(az_ctx *az, az_lm *lm, az_dtype dtype, const char *globs, az_lm_parameter **parameters)
{
    *parameters = NULL;
    if (!lm) return 0;
    if (!globs || !*globs) return az_lm_make_trainable(az, lm, dtype) ? az_lm_parameters(az, lm, parameters) : 0;
    az_lm_slot *slots;
    const int n = az_lm_slots(az, lm, &slots);
    az_lm_parameter *list = az_alloc_array(az, (size_t)n, AZ_WEIGHT_PARTS * sizeof *list);
    int count = 0;
    const bool tied = lm->config.tied;
    for (int i = 0; list && i < n; i++)
        if (az_lm_slot_is_filled(&slots[i]) && !(tied && slots[i].part == AZ_PART_HEAD && slots[i].weight))
            count += choose_in_slot(az, lm, &slots[i], dtype, globs, list + count);
    if (tied) lm->head.weight = lm->embedding;
    if (count == 0 && az_ok(az))
        az_fail(az, AZ_BAD_INPUT, "no parameter's name matches '%s'; names look like '%s'", globs, n > 1 ? slots[1].name : "");
    *parameters = az_ok(az) ? list : NULL;
    return az_ok(az) ? count : 0;
}

int az_lm_block_tracked(az_ctx *az, const az_lm *lm, int block, az_tensor ****slots)
{
    int most = 0, n = 0;
    for (az_lm_cursor c = az_lm_cursor_start(lm); c.at->gguf; az_lm_cursor_advance(lm, &c))
        most += az_lm_part_in_block(c.at->part) && c.block == block ? AZ_WEIGHT_PARTS : 0;
    *slots = az_alloc_array(az, (size_t)most, sizeof **slots);
    for (az_lm_cursor c = az_lm_cursor_start(lm); *slots && c.at->gguf; az_lm_cursor_advance(lm, &c)) {
        if (!az_lm_part_in_block(c.at->part) || c.block != block) continue;
        const az_lm_slot slot = az_lm_slot_at((az_lm *)lm, &c);
        if (!az_lm_slot_is_filled(&slot)) continue;
        const int parts = slot.weight ? az_weight_plain_parts(*slot.weight) : 1;
        for (int i = 0; i < parts; i++) {
            az_tensor **place = slot.weight ? &(*slot.weight)->part[i] : slot.vector;
            if ((*place)->node) (*slots)[n++] = place;
        }
    }
    return n;
}

int64_t az_lm_parameter_count(const az_lm *lm)
{
    int64_t count = 0;
    for (az_lm_cursor c = az_lm_cursor_start(lm); c.at->gguf; az_lm_cursor_advance(lm, &c)) {
        const az_lm_slot slot = az_lm_slot_at((az_lm *)lm, &c);
        if (!az_lm_slot_is_filled(&slot) || az_lm_slot_is_tied_head(lm, &slot)) continue;
        count += slot.weight ? slot.rows * slot.cols : slot.rows;
    }
    return count;
}

size_t az_lm_bytes(const az_lm *lm)
{
    size_t bytes = 0;
    for (az_lm_cursor c = az_lm_cursor_start(lm); c.at->gguf; az_lm_cursor_advance(lm, &c)) {
        const az_lm_slot slot = az_lm_slot_at((az_lm *)lm, &c);
        if (!az_lm_slot_is_filled(&slot) || az_lm_slot_is_tied_head(lm, &slot)) continue;
        bytes += slot.weight ? az_weight_bytes(*slot.weight) : (size_t)slot.rows * az_dtype_size((*slot.vector)->dtype);
    }
    return bytes;
}
