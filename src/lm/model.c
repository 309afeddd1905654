/* model.c - what a model is made of: its configuration, the places of its tensors, and making, copying and counting them. */
#include "lm/lm_internal.h"

#include <math.h>
#include <string.h>

/* ---- configuration ---- */

void az_lm_config_defaults(const az_lm_arch *arch, az_lm_config *config)
{
    if (!config->kv_heads) config->kv_heads = config->heads;
    if (!config->head_dim && config->heads > 0) config->head_dim = config->width / config->heads;
    if (!config->rope_dims && az_lm_has_rope(arch)) config->rope_dims = config->head_dim;
    if (config->norm_eps == 0) config->norm_eps = arch->norm_eps;
    if (config->rope_theta == 0) config->rope_theta = arch->rope_theta;
    if (config->rope_theta_local == 0) config->rope_theta_local = arch->rope_theta_local;
    if (config->window == 0) config->window = arch->window;
    if (config->window_pattern == 0) config->window_pattern = arch->window_pattern;
    if (config->attention_softcap == 0) config->attention_softcap = arch->attention_softcap;
    if (config->logit_softcap == 0) config->logit_softcap = arch->logit_softcap;
    const bool wide = arch->wide_scale_blocks > 0 && config->blocks == arch->wide_scale_blocks && config->heads > 0;
    if (config->attention_scale == 0)
        config->attention_scale = 1 / sqrt(wide ? (double)config->width / (double)config->heads : (double)config->head_dim);
}

bool az_lm_knows_part(const az_lm_arch *arch, az_lm_part part)
{
    for (const az_lm_part_names *names = arch->parts; names->gguf; names++)
        if (names->part == part) return true;
    return false;
}

typedef struct az_limit {
    const char *name;
    int64_t value, high;
} az_limit;

bool az_lm_validate(az_ctx *az, const az_lm_arch *arch, const az_lm_config *config)
{
    const az_limit limits[] = {
        {"vocabulary", config->vocabulary, 1 << 24}, {"width", config->width, 1 << 18},       {"blocks", config->blocks, 4096},
        {"heads", config->heads, 1 << 14},           {"kv_heads", config->kv_heads, 1 << 14}, {"head_dim", config->head_dim, 1 << 14},
        {"hidden", config->hidden, 1 << 20},         {"context", config->context, 1 << 26},
    };
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        const az_limit *l = &limits[i];
        if (l->value < 1 || l->value > l->high)
            return az_fail(az, AZ_BAD_INPUT, "%s = %lld: must be from 1 to %lld", l->name, (long long)l->value, (long long)l->high);
    }
    if (config->heads % config->kv_heads != 0)
        return az_fail(az, AZ_BAD_INPUT, "heads = %lld is not a multiple of kv_heads = %lld", (long long)config->heads,
                       (long long)config->kv_heads);
    if (az_lm_has_rope(arch) && (config->rope_dims < 2 || config->rope_dims > config->head_dim || config->rope_dims % 2 != 0))
        return az_fail(az, AZ_BAD_INPUT, "rope_dims = %lld: must be even and from 2 to head_dim = %lld", (long long)config->rope_dims,
                       (long long)config->head_dim);
    if (config->experts < 0 || config->experts > 65536 / config->blocks || (config->experts > 0) != (config->experts_used > 0) ||
        config->experts_used > config->experts)
        return az_fail(az, AZ_BAD_INPUT,
                       "%lld of %lld experts are used: at least one must be, and all blocks can have 65536 experts at most",
                       (long long)config->experts_used, (long long)config->experts);
    if (config->experts > 0 && !az_lm_knows_part(arch, AZ_PART_ROUTER))
        return az_fail(az, AZ_BAD_INPUT, "architecture '%s' is not known as a mixture of experts", arch->name);
    if (config->window < 0 || config->window_pattern < 0)
        return az_fail(az, AZ_BAD_INPUT, "window = %lld is negative", (long long)config->window);
    if (!(config->attention_softcap >= 0 && config->attention_softcap < 1e30 && config->logit_softcap >= 0 && config->logit_softcap < 1e30))
        return az_fail(az, AZ_BAD_INPUT, "soft caps %g (attention) and %g (logits): must not be negative", config->attention_softcap,
                       config->logit_softcap);
    if (!isfinite(config->attention_scale)) return az_fail(az, AZ_BAD_INPUT, "attention_scale = %g", config->attention_scale);
    if (!(config->norm_eps >= 0 && config->norm_eps < 1))
        return az_fail(az, AZ_BAD_INPUT, "norm_eps = %g: must be in [0, 1)", config->norm_eps);
    if (az_lm_has_rope(arch) && !(config->rope_theta_local >= 0 && isfinite(config->rope_theta_local)))
        return az_fail(az, AZ_BAD_INPUT, "rope_theta_local = %g: must be positive", config->rope_theta_local);
    if (az_lm_has_rope(arch) && !(config->rope_theta > 0 && isfinite(config->rope_theta)))
        return az_fail(az, AZ_BAD_INPUT, "rope_theta = %g: must be positive", config->rope_theta);
    return true;
}

/* ---- the places of a model ---- */

/* Walks over the parts of the architecture that the model has: weight, then bias, of each part, and of each expert for experts' parts;
 * parts of a block that follow each other in the table are visited block by block. */
typedef struct az_cursor {
    const az_lm_part_names *first, *at; /* first part of the present run of block parts */
    int block, expert;
    bool bias;
} az_cursor;

static az_cursor cursor_start(const az_lm *lm)
{
    return (az_cursor){.first = lm->arch->parts, .at = lm->arch->parts};
}

static az_lm_norm *norm_of(az_lm *lm, az_lm_part part, int block)
{
    switch (part) {
    case AZ_PART_EMBED_NORM: return &lm->embed_norm;
    case AZ_PART_FINAL_NORM: return &lm->final_norm;
    case AZ_PART_ATTN_NORM: return &lm->block[block].attn_norm;
    case AZ_PART_ATTN_POST_NORM: return &lm->block[block].attn_post_norm;
    case AZ_PART_MLP_NORM: return &lm->block[block].mlp_norm;
    case AZ_PART_MLP_POST_NORM: return &lm->block[block].mlp_post_norm;
    case AZ_PART_Q_NORM: return &lm->block[block].q_norm;
    case AZ_PART_K_NORM: return &lm->block[block].k_norm;
    default: return NULL;
    }
}

static az_lm_linear *linear_of(az_lm *lm, az_lm_part part, int block, int expert)
{
    switch (part) {
    case AZ_PART_HEAD: return &lm->head;
    case AZ_PART_Q: return &lm->block[block].q;
    case AZ_PART_K: return &lm->block[block].k;
    case AZ_PART_V: return &lm->block[block].v;
    case AZ_PART_O: return &lm->block[block].o;
    case AZ_PART_GATE: return &lm->block[block].gate;
    case AZ_PART_UP: return &lm->block[block].up;
    case AZ_PART_DOWN: return &lm->block[block].down;
    case AZ_PART_ROUTER: return &lm->block[block].router;
    case AZ_PART_EXPERT_GATE: return &lm->block[block].expert[expert].gate;
    case AZ_PART_EXPERT_UP: return &lm->block[block].expert[expert].up;
    case AZ_PART_EXPERT_DOWN: return &lm->block[block].expert[expert].down;
    default: return NULL;
    }
}

static void shape_of(const az_lm *lm, az_lm_part part, int64_t *rows, int64_t *cols)
{
    const az_lm_config *c = &lm->config;
    const int64_t q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
    *cols = c->width;
    switch (part) {
    case AZ_PART_EMBEDDING:
    case AZ_PART_HEAD: *rows = c->vocabulary; break;
    case AZ_PART_POSITION: *rows = c->context + lm->arch->position_offset; break;
    case AZ_PART_Q: *rows = q; break;
    case AZ_PART_K:
    case AZ_PART_V: *rows = kv; break;
    case AZ_PART_Q_NORM:
    case AZ_PART_K_NORM: *rows = c->head_dim; break;
    case AZ_PART_O: *rows = c->width, *cols = q; break;
    case AZ_PART_ROUTER: *rows = c->experts; break;
    case AZ_PART_GATE:
    case AZ_PART_UP:
    case AZ_PART_EXPERT_GATE:
    case AZ_PART_EXPERT_UP: *rows = c->hidden; break;
    case AZ_PART_EXPERT_DOWN:
    case AZ_PART_DOWN: *rows = c->width, *cols = c->hidden; break;
    default: *rows = c->width; break; /* norms */
    }
}

/* Everything about a place except its names. */
static az_lm_slot slot_at(az_lm *lm, const az_cursor *cursor)
{
    const az_lm_part_names *names = cursor->at;
    az_lm_slot slot = {.part = names->part,
                       .block = az_lm_part_in_block(names->part) ? cursor->block : -1,
                       .expert = cursor->expert,
                       .bias = cursor->bias,
                       .required = (cursor->bias ? names->bias : names->weight) == AZ_REQUIRED};
    shape_of(lm, slot.part, &slot.rows, &slot.cols);
    az_lm_norm *norm = norm_of(lm, slot.part, slot.block);
    az_lm_linear *linear = linear_of(lm, slot.part, slot.block, slot.expert);
    if (norm)
        slot.vector = slot.bias ? &norm->bias : &norm->weight;
    else if (linear && slot.bias)
        slot.vector = &linear->bias;
    else
        slot.weight = linear ? &linear->weight : slot.part == AZ_PART_POSITION ? &lm->position : &lm->embedding;
    return slot;
}

/* A block has either one network of gate, up and down or experts. */
static bool part_is_used(const az_lm_config *config, az_lm_part part)
{
    if (part == AZ_PART_GATE || part == AZ_PART_UP || part == AZ_PART_DOWN) return config->experts == 0;
    return config->experts > 0 || (part != AZ_PART_ROUTER && !az_lm_part_of_expert(part));
}

static void cursor_step(const az_lm *lm, az_cursor *cursor)
{
    if (!cursor->bias && cursor->at->bias != AZ_ABSENT) {
        cursor->bias = true;
        return;
    }
    cursor->bias = false;
    if (az_lm_part_of_expert(cursor->at->part) && cursor->expert + 1 < lm->config.experts) {
        cursor->expert++;
        return;
    }
    cursor->expert = 0;
    const bool in_block = az_lm_part_in_block(cursor->at->part);
    cursor->at++;
    const bool run_ends = in_block && (!cursor->at->gguf || !az_lm_part_in_block(cursor->at->part));
    if (run_ends && cursor->block + 1 < lm->config.blocks) {
        cursor->block++;
        cursor->at = cursor->first;
    } else if (run_ends || !in_block) {
        cursor->block = 0;
        cursor->first = cursor->at;
    }
}

static void cursor_advance(const az_lm *lm, az_cursor *cursor)
{
    do cursor_step(lm, cursor);
    while (cursor->at->gguf && !part_is_used(&lm->config, cursor->at->part));
}

static bool slot_is_filled(const az_lm_slot *slot)
{
    return slot->weight ? *slot->weight != NULL : *slot->vector != NULL;
}

static bool slot_is_tied_head(const az_lm *lm, const az_lm_slot *slot)
{
    return slot->part == AZ_PART_HEAD && slot->weight && *slot->weight == lm->embedding;
}

static const char *full_name(az_ctx *az, const char *stem, const az_lm_slot *slot)
{
    if (!stem) return NULL;
    const char *name = slot->block < 0 ? stem : az_format_text(az, stem, slot->block, slot->expert);
    return az_format_text(az, "%s.%s", name ? name : "", slot->bias ? "bias" : "weight");
}

static bool same_name(const char *a, const char *b)
{
    return a && b && strcmp(a, b) == 0;
}

/* Places that share a tensor are near each other in the list: finds which rows of it belong to slot i. */
static void find_rows(const az_lm *lm, az_lm_slot *slots, int n, int i)
{
    enum { NEAR = 4 }; /* from the weight of q to the weight of v, with the biases between */
    az_lm_slot *slot = &slots[i];
    const int near = lm->config.experts > NEAR ? (int)lm->config.experts : NEAR;
    slot->gguf_rows = slot->gguf_row = slot->huggingface_rows = slot->huggingface_row = 0;
    for (int j = i > near ? i - near : 0; j < n && j <= i + near; j++) {
        const int64_t rows = slots[j].rows;
        if (same_name(slots[j].gguf, slot->gguf)) slot->gguf_rows += rows, slot->gguf_row += j < i ? rows : 0;
        if (same_name(slots[j].huggingface, slot->huggingface)) slot->huggingface_rows += rows, slot->huggingface_row += j < i ? rows : 0;
    }
}

/* "blocks.3.mlp.experts.5.gate" */
static const char *part_path(az_ctx *az, az_lm_part part, int block, int expert)
{
    const char *name = az_format_text(az, az_lm_part_name(part), expert);
    return az_lm_part_in_block(part) ? az_format_text(az, "blocks.%d.%s", block, name ? name : "") : name;
}

int az_lm_slots(az_ctx *az, az_lm *lm, az_lm_slot **slots)
{
    *slots = NULL;
    if (!lm) return 0;
    int n = 0;
    for (az_cursor c = cursor_start(lm); c.at->gguf; cursor_advance(lm, &c)) n++;
    *slots = az_alloc_array(az, (size_t)n, sizeof **slots);
    if (!*slots) return 0;
    int i = 0;
    for (az_cursor c = cursor_start(lm); c.at->gguf; cursor_advance(lm, &c)) {
        az_lm_slot slot = slot_at(lm, &c);
        const char *part = part_path(az, slot.part, slot.block, slot.expert);
        slot.name = az_format_text(az, "%s.%s", part ? part : "", slot.bias ? "bias" : "weight");
        slot.gguf = full_name(az, c.at->gguf, &slot);
        slot.huggingface = full_name(az, c.at->huggingface, &slot);
        (*slots)[i++] = slot;
    }
    if (!az_ok(az)) return 0;
    for (i = 0; i < n; i++) find_rows(lm, *slots, n, i);
    return n;
}

/* ---- putting a model together ---- */

/* theta^(-2i / dims), the angle per position of pair i. */
static az_tensor *rope_frequencies(az_ctx *az, const az_lm_config *config, double theta)
{
    az_tensor *frequency = az_new1(az, AZ_F32, config->rope_dims / 2);
    float *f = az_f32_mut(frequency);
    for (int64_t i = 0; f && i < config->rope_dims / 2; i++) f[i] = (float)pow(theta, -2.0 * (double)i / (double)config->rope_dims);
    return frequency;
}

static bool name_linears(az_ctx *az, az_lm *lm)
{
    lm->head = (az_lm_linear){.name = "head", .block = -1};
    for (int b = 0; b < lm->config.blocks; b++) {
        const size_t experts = (size_t)lm->config.experts;
        if (experts > 0) lm->block[b].expert = az_alloc_array(az, experts, sizeof *lm->block[b].expert);
        for (int part = AZ_PART_ATTN_NORM; part < AZ_PARTS && az_ok(az); part++) {
            const int most = az_lm_part_of_expert((az_lm_part)part) ? (int)experts : 1;
            for (int e = 0; e < most; e++) {
                az_lm_linear *linear = linear_of(lm, (az_lm_part)part, b, e);
                if (linear) *linear = (az_lm_linear){.name = part_path(az, (az_lm_part)part, b, e), .block = b};
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
        if (az_lm_has_rope(arch)) lm->rope_frequency = rope_frequencies(az, config, config->rope_theta);
        if (az_lm_has_rope(arch) && config->rope_theta_local > 0)
            lm->rope_frequency_local = rope_frequencies(az, config, config->rope_theta_local);
        if (!lm->block || !name_linears(az, lm)) lm = NULL;
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
    const char *missing = NULL;
    int count = 0;
    for (int i = 0; i < n; i++) {
        if (!slots[i].required || slot_is_filled(&slots[i])) continue;
        if (count++ < 8) missing = missing ? az_format_text(az, "%s, %s", missing, slots[i].gguf) : slots[i].gguf;
    }
    if (count > 8) az_fail(az, AZ_BAD_INPUT, "%d tensors are missing: %s and %d more", count, missing, count - 8);
    if (count > 0) az_fail(az, AZ_BAD_INPUT, "%d tensor%s missing: %s", count, count == 1 ? " is" : "s are", missing);
    az_scope_pop(az);
    return az_ok(az);
}

/* ---- making, copying, freeing ---- */

static bool initialise_slot(az_ctx *az, az_lm *lm, const az_lm_slot *slot, uint64_t seed)
{
    if (!slot->weight) {
        const bool ones = norm_of(lm, slot->part, slot->block) && !slot->bias;
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
    az_arena_leave(az);
    az_cursor to = cursor_start(copy);
    for (az_cursor from = cursor_start(lm); from.at->gguf; cursor_advance(lm, &from), cursor_advance(copy, &to)) {
        const az_lm_slot source = slot_at((az_lm *)lm, &from), target = slot_at(copy, &to);
        if (!slot_is_filled(&source) || slot_is_tied_head(lm, &source)) continue;
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
    for (az_cursor c = cursor_start(lm); good && c.at->gguf; cursor_advance(lm, &c)) {
        const az_lm_slot slot = slot_at(lm, &c);
        if (!slot_is_filled(&slot) || (tied && slot.part == AZ_PART_HEAD)) continue;
        az_scope_push(az);
        good = make_slot_trainable(az, lm, &slot, dtype);
        az_scope_pop(az);
    }
    if (tied) lm->head.weight = lm->embedding;
    return good;
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
    for (az_cursor c = cursor_start(lm); c.at->gguf; cursor_advance(lm, &c)) {
        const bool whole = az_lm_part_in_block(c.at->part) && c.at->part != AZ_PART_ROUTER && !c.bias;
        az_lm_linear *linear = whole ? linear_of(lm, c.at->part, c.block, c.expert) : NULL;
        if (linear && linear->weight) (*linears)[n++] = linear;
    }
    return n;
}

int az_lm_parameters(az_ctx *az, az_lm *lm, az_lm_parameter **parameters)
{
    *parameters = NULL;
    az_lm_slot *slots;
    const int n = az_lm_slots(az, lm, &slots);
    az_lm_parameter *list = az_alloc_array(az, (size_t)n, sizeof *list);
    if (!list) return 0;
    int count = 0;
    for (int i = 0; i < n; i++) {
        const az_lm_slot *slot = &slots[i];
        if (!slot_is_filled(slot) || slot_is_tied_head(lm, slot)) continue;
        if (slot->weight && !az_weight_is_dense(*slot->weight)) {
            az_fail(az, AZ_BAD_CALL, "'%s' is stored as %s and has no plain parameters; make the model trainable first", slot->name,
                    (*slot->weight)->format->name);
            return 0;
        }
        list[count++] = (az_lm_parameter){.name = slot->name, .slot = slot->weight ? &(*slot->weight)->part[0] : slot->vector};
    }
    *parameters = list;
    return count;
}

int az_lm_block_tracked(az_ctx *az, const az_lm *lm, int block, az_tensor ****slots)
{
    int most = 0, n = 0;
    for (az_cursor c = cursor_start(lm); c.at->gguf; cursor_advance(lm, &c)) most += az_lm_part_in_block(c.at->part) && c.block == block;
    *slots = az_alloc_array(az, (size_t)most, sizeof **slots);
    for (az_cursor c = cursor_start(lm); *slots && c.at->gguf; cursor_advance(lm, &c)) {
        if (!az_lm_part_in_block(c.at->part) || c.block != block) continue;
        const az_lm_slot slot = slot_at((az_lm *)lm, &c);
        if (!slot_is_filled(&slot) || (slot.weight && !az_weight_is_dense(*slot.weight))) continue;
        az_tensor **place = slot.weight ? &(*slot.weight)->part[0] : slot.vector;
        if ((*place)->node) (*slots)[n++] = place;
    }
    return n;
}

int64_t az_lm_parameter_count(const az_lm *lm)
{
    int64_t count = 0;
    for (az_cursor c = cursor_start(lm); c.at->gguf; cursor_advance(lm, &c)) {
        const az_lm_slot slot = slot_at((az_lm *)lm, &c);
        if (!slot_is_filled(&slot) || slot_is_tied_head(lm, &slot)) continue;
        count += slot.weight ? slot.rows * slot.cols : slot.rows;
    }
    return count;
}

size_t az_lm_bytes(const az_lm *lm)
{
    size_t bytes = 0;
    for (az_cursor c = cursor_start(lm); c.at->gguf; cursor_advance(lm, &c)) {
        const az_lm_slot slot = slot_at((az_lm *)lm, &c);
        if (!slot_is_filled(&slot) || slot_is_tied_head(lm, &slot)) continue;
        bytes += slot.weight ? az_weight_bytes(*slot.weight) : (size_t)slot.rows * az_dtype_size((*slot.vector)->dtype);
    }
    return bytes;
}
