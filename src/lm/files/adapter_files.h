/* adapter_files.h - adapters as PEFT's folders: adapter_config.json and adapter_model.safetensors, whose tensors are named by modules of
 * Hugging Face. A module may hold several of adze's layers (the joint matrix of q, k and v), and its rows may be in another order. */
#ifndef ADZE_LM_ADAPTER_FILES_H
#define ADZE_LM_ADAPTER_FILES_H

#include "lm/adapter.h"
#include "lm/adapter_targets.h"

#include <jansson.h>

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

/* The kind of a configuration, one that is known; and whether its keys and their types are such as are known. Keys of kinds other than LORA
 * that have no meaning here are kept in adapter->config. */
const char *az_config_kind(az_ctx *az, const json_t *config);
bool az_config_check(az_ctx *az, const json_t *config, az_adapter *adapter);

/* What a configuration says of modules: whether it names those that get a pair at all; whether a module gets one; whether it is replaced
 * whole. A remark on names of the latter that are no modules. */
bool az_scope_is_told(const json_t *config);
bool az_scope_targets(az_ctx *az, const json_t *config, const az_module *module);
bool az_scope_saves(const json_t *config, const az_module *module);
void az_scope_note_saved(az_ctx *az, const json_t *config, const az_module *module, int modules);

/* An adapter's generators into a configuration; out of one (without tensors) for the model; their tensors by the files' names, which
 * reading fills; and whether the file has networks of the sizes that the configuration tells. */
void az_generators_describe(const az_adapter *adapter, json_t *config);
bool az_generators_read_config(az_ctx *az, const json_t *config, const az_lm *lm, az_generators *out);
int az_generator_tensors(az_ctx *az, const az_adapter *adapter, az_lm_parameter **tensors);
bool az_generator_sizes(az_ctx *az, const az_safetensors *file, const az_generators *how, int64_t virtual_tokens, const az_lm *lm);

#endif
