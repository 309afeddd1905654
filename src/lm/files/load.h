/* load.h - models out of files: what the readers of the containers share. */
#ifndef ADZE_LM_LOAD_H
#define ADZE_LM_LOAD_H

#include "lm/files/gguf.h"
#include "lm/lm_internal.h"

/* Everything that a GGUF file said, for writing it again. */
struct az_lm_metadata {
    const az_gguf *gguf;
};

/* A model whose weights are the bytes themselves. The bytes, and what is allocated in the present scope, must outlive it. */
az_lm *az_lm_from_bytes(az_ctx *az, const unsigned char *data, size_t size);

az_lm *az_lm_from_gguf(az_ctx *az, const az_gguf *gguf);
/* Version 0 of llama2.c's checkpoints; it has no mark of its own. */
az_lm *az_lm_from_llama2c(az_ctx *az, const unsigned char *data, size_t size);

/* Rotary scaling as GGUF has it. Reading applies it to the model's frequencies; writing puts keys and says which tensors there are (at most
 * AZ_ROPE_TENSORS; name NULL = no more), of models that did not come out of a GGUF file. */
bool az_lm_rope_from_gguf(az_ctx *az, az_lm *lm, const az_gguf *gguf);
bool az_lm_rope_to_gguf(az_ctx *az, az_gguf_writer *writer, const az_lm *lm);
enum { AZ_ROPE_TENSORS = 2 };
typedef struct az_rope_tensor {
    const char *name;
    const az_tensor *divisors; /* of the frequencies, f32 */
} az_rope_tensor;
void az_lm_rope_tensors(az_ctx *az, const az_lm *lm, az_rope_tensor tensors[AZ_ROPE_TENSORS]);
/* "rope_freqs.weight", "rope_factors_long.weight", ...: tensors beside the weights. */
bool az_lm_is_rope_tensor(az_text name);

/* Remarks on what llama.cpp computes otherwise, or refuses, of a GGUF file with this model. */
void az_lm_note_elsewhere(az_ctx *az, const az_lm *lm);

/* The matrix for a slot: itself, or in f32 when it is in double precision, which activations are not. */
az_tensor *az_lm_single_precision(az_ctx *az, const az_lm_slot *slot, const az_tensor *matrix);
/* A tensor over bytes that the model does not own. */
az_tensor *az_lm_view(az_ctx *az, az_dtype dtype, int rank, const int64_t *shape, const void *data);

#endif
