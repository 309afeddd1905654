/* adapter_files.h - adapters as PEFT's folders: adapter_config.json and adapter_model.safetensors, whose tensors are named by modules of
 * Hugging Face. A module may hold several of adze's layers (the joint matrix of q, k and v), and its rows may be in another order. */
#ifndef ADZE_LM_ADAPTER_FILES_H
#define ADZE_LM_ADAPTER_FILES_H

#include "lm/adapter.h"
#include "lm/adapter_targets.h"

enum { AZ_MODULE_PARTS = 3 };
/* key of az_adapter.base in the metadata of adapter_model.safetensors */
#define AZ_BASE_KEY "adze.base"

typedef struct az_module {
    const char *path; /* "model.layers.0.self_attn.q_proj" */
    int parts;
    const az_target *part[AZ_MODULE_PARTS]; /* whose rows lie one below the other */
    int64_t in, out;
    bool by_head; /* q, k and v of the first head, then those of the second, ... */
    bool turned;  /* the weight is stored as [in, out] */
    bool table;
} az_module;

/* Every place of the model as a module; in the current scope. */
int az_modules(az_ctx *az, const az_lm *lm, az_module **modules);
/* The rows [out, ...] or [out] of a module from those of its parts, and back (part k of `whole`). Order of rows as in the files. */
az_tensor *az_module_join(az_ctx *az, const az_lm *lm, const az_module *module, az_tensor *const *part);
az_tensor *az_module_part(az_ctx *az, const az_lm *lm, const az_module *module, const az_tensor *whole, int k);
/* A prefix (contiguous) with its keys in the order of the files, or of memory. */
az_tensor *az_prefix_reorder(az_ctx *az, const az_lm *lm, az_tensor *prefix, bool to_file);

#endif
