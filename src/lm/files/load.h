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

/* A tensor over bytes that the model does not own. */
az_tensor *az_lm_view(az_ctx *az, az_dtype dtype, int rank, const int64_t *shape, const void *data);

#endif
