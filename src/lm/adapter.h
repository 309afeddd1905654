/* adapter.h - adapters inside a forward pass: which rows of the batch use which, and what they add beside a layer. */
#ifndef ADZE_LM_ADAPTER_H
#define ADZE_LM_ADAPTER_H

#include "lm/lm_internal.h"

#include <string.h>

static const char AZ_EMBEDDING_NAME[] = "embed";
/* Whether the layer is the embedding, whose A has a row for each token. */
static inline bool az_adapter_is_table(const char *name)
{
    return strcmp(name, AZ_EMBEDDING_NAME) == 0;
}

/* The rows of a pass that use one adapter. */
typedef struct az_adapted_rows {
    const az_adapter *adapter;
    int64_t n;
    const int32_t *row;                         /* [n]; NULL = all rows of the pass */
    int64_t virtual_rows;                       /* virtual tokens among them */
    const int32_t *virtual_row, *virtual_token; /* [virtual_rows] row of the pass, row of the prompt */
    int64_t instructions;                       /* sequences for which a generator makes virtual tokens */
    const int64_t *instruction, *instructed;    /* [instructions] first row of the pass that it reads, how many */
} az_adapted_rows;

struct az_pass_adapters {
    int groups;
    az_adapted_rows *group; /* [groups], none empty */
    int64_t rows;           /* of the pass */
    uint64_t dropout;
};

/* Fails on more than what az_lm_run promises. NULL without failing when no row uses an adapter. In the current scope. */
const az_pass_adapters *az_pass_adapters_begin(az_ctx *az, const az_lm_batch *batch, const az_lm_run *run);
/* The same for a pass over some of the rows, in their order; and a copy that lives as long as the tape. NULL in -> NULL out. */
const az_pass_adapters *az_pass_adapters_take(az_ctx *az, const az_pass_adapters *all, const int32_t *row, int64_t n);
const az_pass_adapters *az_pass_adapters_save(az_ctx *az, const az_pass_adapters *adapters);

/* Rows first .. first + n - 1. */
const az_pass_adapters *az_pass_adapters_slice(az_ctx *az, const az_pass_adapters *all, int64_t first, int64_t n);

/* Whether something sits beside the layer. */
bool az_adapters_touch(const az_pass_adapters *adapters, const char *name);
/* y = W x of a layer with `bias` (or NULL) -> the layer's output. */
az_tensor *az_adapters_linear(az_ctx *az, const az_pass_adapters *adapters, const az_lm_linear *linear, az_tensor *x, az_tensor *y);
/* Embedded tokens [rows, width] -> with what adapters add to the table, and virtual tokens in their places. token: as in the batch. */
az_tensor *az_adapters_embed(az_ctx *az, const az_pass_adapters *adapters, const int32_t *token, az_tensor *x);
az_tensor *az_adapters_prompt(az_ctx *az, const az_pass_adapters *adapters, az_tensor *x);
/* Keys (side 0) or values (side 1) of a block [rows, kv_heads, head_dim], with those of prefixes in the places of virtual tokens. */
az_tensor *az_adapters_prefix(az_ctx *az, const az_pass_adapters *adapters, int block, int side, az_tensor *x);
/* The stream [rows, width] in front of a block, with what generators make of their instructions in the places of virtual tokens. */
az_tensor *az_adapters_generate(az_ctx *az, const az_pass_adapters *adapters, int block, az_tensor *x);
/* Instructions of a pass: the group's sequences, as run says. Fails where virtual tokens are not whole, or nothing is to be read. */
bool az_adapter_instructions(az_ctx *az, const az_lm_batch *batch, const az_lm_run *run, int which, az_adapted_rows *group);
/* run.instruction of a lesson, where an adapter has generators: each sequence up to its first token with a target. */
const int64_t *az_lesson_instructions(az_ctx *az, const az_lm_lesson *lesson, const az_lm_run *run);
/* rows of y [rows, ...] replaced by those of part, which belong to `row`. */
az_tensor *az_adapters_put(az_ctx *az, const az_pass_adapters *adapters, az_tensor *y, az_tensor *part, const int32_t *row, int64_t n);
/* Whether virtual tokens of sequence s stand at position 0. */
bool az_adapter_unrotated(const az_lm_run *run, int s);
/* Places of the tensors that generators have for a block: down, attend, up, numerator, denominator; NULL where there is none. */
/* The places of a layer's tensors; NULL where there is none. */
enum { AZ_ADAPTER_TENSORS = 8 };
void az_adapter_places(az_adapter_layer *layer, az_tensor **place[AZ_ADAPTER_TENSORS]);

enum { AZ_GENERATOR_TENSORS = 5, AZ_GENERATOR_NETWORK_TENSORS = 3 };
void az_generator_places(az_generators *generators, int block, az_tensor **place[AZ_GENERATOR_TENSORS]);
/* Whether the block is the first that uses its network, under whose number parameters and files have it. */
bool az_generator_is_first(const az_generators *generators, int block);
/* Places of the adapters' tensors that matter inside a block (-1: in the head) and are tracked by a tape: their number. In the current
 * scope. */
int az_adapters_tracked(az_ctx *az, const az_pass_adapters *adapters, int block, az_tensor ****slots);

/* |V| of the rows of V = W + s B diag(e) A, of type f32 or f64 as W's activations; not recorded. */
az_tensor *az_adapter_row_norm(az_ctx *az, const az_weight *w, const az_adapter_layer *layer);

#endif
