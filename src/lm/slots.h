/* slots.h - the places of a model's tensors, one by one, without a list. */
#ifndef ADZE_LM_SLOTS_H
#define ADZE_LM_SLOTS_H

#include "lm/lm_internal.h"

/* Walks over the parts of the architecture that the model has: weight, then bias, of each part, and of each expert for experts' parts;
 * parts of a block that follow each other in the table are visited block by block. */
typedef struct az_lm_cursor {
    const az_lm_part_names *first, *at; /* first part of the present run of block parts */
    int block, expert;
    bool bias;
} az_lm_cursor;

az_lm_cursor az_lm_cursor_start(const az_lm *lm);
/* To the next place; behind the last one at->gguf is NULL. */
void az_lm_cursor_advance(const az_lm *lm, az_lm_cursor *cursor);

/* Everything about a place except its names. */
az_lm_slot az_lm_slot_at(az_lm *lm, const az_lm_cursor *cursor);
bool az_lm_slot_is_filled(const az_lm_slot *slot);
/* The head of a tied model, whose weight is the embedding. */
bool az_lm_slot_is_tied_head(const az_lm *lm, const az_lm_slot *slot);

/* NULL when the part is no norm, or no linear layer. */
az_lm_norm *az_lm_norm_of(az_lm *lm, az_lm_part part, int block);
az_lm_linear *az_lm_linear_of(az_lm *lm, az_lm_part part, int block, int expert);
/* "blocks.3.mlp.experts.5.gate" */
const char *az_lm_part_path(az_ctx *az, az_lm_part part, int block, int expert);

#endif
