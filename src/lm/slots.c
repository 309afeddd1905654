/* slots.c - the places of a model's tensors: walking over them, their shapes, and their names here and in files. */
#include "lm/slots.h"

#include <string.h>

az_lm_cursor az_lm_cursor_start(const az_lm *lm)
{
    return (az_lm_cursor){.first = lm->arch->parts, .at = lm->arch->parts};
}

az_lm_norm *az_lm_norm_of(az_lm *lm, az_lm_part part, int block)
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

az_lm_linear *az_lm_linear_of(az_lm *lm, az_lm_part part, int block, int expert)
{
    switch (part) {
    case AZ_PART_PROJECT_IN: return &lm->project_in;
    case AZ_PART_PROJECT_OUT: return &lm->project_out;
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

bool az_lm_has_bias(const az_lm *lm, const az_lm_linear *linear)
{
    for (const az_lm_part_names *at = lm->arch->parts; at->gguf; at++)
        if (az_lm_part_in_block(at->part) && !az_lm_part_of_expert(at->part) && linear->block >= 0 &&
            az_lm_linear_of((az_lm *)(uintptr_t)lm, at->part, linear->block, 0) == linear)
            return at->bias != AZ_ABSENT;
    return false;
}

static void shape_of(const az_lm *lm, az_lm_part part, int64_t *rows, int64_t *cols)
{
    const az_lm_config *c = &lm->config;
    const int64_t q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
    *cols = c->width;
    switch (part) {
    case AZ_PART_EMBEDDING:
    case AZ_PART_HEAD: *rows = c->vocabulary, *cols = c->embed_width; break;
    case AZ_PART_PROJECT_IN: *rows = c->width, *cols = c->embed_width; break;
    case AZ_PART_PROJECT_OUT: *rows = c->embed_width; break;
    case AZ_PART_POSITION: *rows = c->context + lm->arch->position_offset; break;
    case AZ_PART_Q: *rows = q; break;
    case AZ_PART_K:
    case AZ_PART_V: *rows = kv; break;
    case AZ_PART_Q_NORM: *rows = lm->arch->wide_qk_norm ? q : c->head_dim; break;
    case AZ_PART_K_NORM: *rows = lm->arch->wide_qk_norm ? kv : c->head_dim; break;
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

az_lm_slot az_lm_slot_at(az_lm *lm, const az_lm_cursor *cursor)
{
    const az_lm_part_names *names = cursor->at;
    az_lm_slot slot = {.part = names->part,
                       .block = az_lm_part_in_block(names->part) ? cursor->block : -1,
                       .expert = cursor->expert,
                       .bias = cursor->bias,
                       .required = (cursor->bias ? names->bias : names->weight) == AZ_REQUIRED};
    shape_of(lm, slot.part, &slot.rows, &slot.cols);
    az_lm_norm *norm = az_lm_norm_of(lm, slot.part, slot.block);
    az_lm_linear *linear = az_lm_linear_of(lm, slot.part, slot.block, slot.expert);
    if (norm)
        slot.vector = slot.bias ? &norm->bias : &norm->weight;
    else if (linear && slot.bias)
        slot.vector = &linear->bias;
    else
        slot.weight = linear ? &linear->weight : slot.part == AZ_PART_POSITION ? &lm->position : &lm->embedding;
    return slot;
}

/* A block has either one network of gate, up and down or experts; projections and the last norm are not in every model. */
static bool part_is_used(const az_lm_config *config, az_lm_part part)
{
    if (part == AZ_PART_PROJECT_IN || part == AZ_PART_PROJECT_OUT) return config->embed_width != config->width;
    if (part == AZ_PART_FINAL_NORM) return !config->post_norm;
    if (part == AZ_PART_GATE || part == AZ_PART_UP || part == AZ_PART_DOWN) return config->experts == 0;
    return config->experts > 0 || (part != AZ_PART_ROUTER && !az_lm_part_of_expert(part));
}

static void cursor_step(const az_lm *lm, az_lm_cursor *cursor)
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

void az_lm_cursor_advance(const az_lm *lm, az_lm_cursor *cursor)
{
    do cursor_step(lm, cursor);
    while (cursor->at->gguf && !part_is_used(&lm->config, cursor->at->part));
}

bool az_lm_slot_is_filled(const az_lm_slot *slot)
{
    return slot->weight ? *slot->weight != NULL : *slot->vector != NULL;
}

bool az_lm_slot_is_tied_head(const az_lm *lm, const az_lm_slot *slot)
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

const char *az_lm_part_path(az_ctx *az, az_lm_part part, int block, int expert)
{
    const char *name = az_format_text(az, az_lm_part_name(part), expert);
    return az_lm_part_in_block(part) ? az_format_text(az, "blocks.%d.%s", block, name ? name : "") : name;
}

int az_lm_slots(az_ctx *az, az_lm *lm, az_lm_slot **slots)
{
    *slots = NULL;
    if (!lm) return 0;
    int n = 0;
    for (az_lm_cursor c = az_lm_cursor_start(lm); c.at->gguf; az_lm_cursor_advance(lm, &c)) n++;
    *slots = az_alloc_array(az, (size_t)n, sizeof **slots);
    if (!*slots) return 0;
    int i = 0;
    for (az_lm_cursor c = az_lm_cursor_start(lm); c.at->gguf; az_lm_cursor_advance(lm, &c)) {
        az_lm_slot slot = az_lm_slot_at(lm, &c);
        const char *part = az_lm_part_path(az, slot.part, slot.block, slot.expert);
        slot.name = az_format_text(az, "%s.%s", part ? part : "", slot.bias ? "bias" : "weight");
        slot.gguf = full_name(az, c.at->gguf, &slot);
        slot.huggingface = full_name(az, c.at->huggingface, &slot);
        (*slots)[i++] = slot;
    }
    if (!az_ok(az)) return 0;
    for (i = 0; i < n; i++) find_rows(lm, *slots, n, i);
    return n;
}
