/* huggingface.h - folders as Hugging Face lays them out: config.json, model.safetensors (or several, with an index), a tokenizer.
 *
 * A family is a model_type of config.json: which row of the architecture table it is, and how its files differ from it. */
#ifndef ADZE_LM_HUGGINGFACE_H
#define ADZE_LM_HUGGINGFACE_H

#include "lm/files/load.h"

#include <jansson.h>

/* What config.json calls the fields of a configuration; NULL where a family has no such key. */
typedef struct az_lm_config_keys {
    const char *width, *blocks, *heads, *kv_heads, *head_dim, *hidden, *context, *norm_eps, *rope_theta, *activation;
    const char *rope_theta_local, *window_pattern, *attention_softcap, *logit_softcap;
    const char *query_scalar; /* scores are divided by its square root */
    const char *attention_scale, *embedding_scale, *residual_scale, *logit_scale;
    const char *unturned;     /* which blocks have rotary embedding: a list of 1 and 0; where it is silent, all but every so many-th ... */
    const char *rope_pattern; /* ... which this key says */
} az_lm_config_keys;

typedef struct az_lm_family {
    const char *model_type, *class_name; /* "llama", "LlamaForCausalLM" */
    const char *arch;                    /* name of the row */
    const az_lm_config_keys *keys;
    const char *activation;      /* what config.json calls the row's activation */
    const char *alias;           /* another name of it, or NULL */
    bool window;                 /* sliding_window counts */
    bool window_asked;           /* but only with use_sliding_window */
    bool window_first;           /* layers from max_window_layers on have it, where there is no layer_types */
    int64_t assumed_window;      /* where sliding_window is silent */
    bool experts;                /* a mixture of num_local_experts */
    bool tied;                   /* where tie_word_embeddings is silent */
    bool transposed;             /* matrices of the blocks are [in, out] */
    bool qkv_by_head;            /* rows: q, k and v of the first head, then those of the second ... */
    double norm_shift;           /* norms are stored less this */
    double rope_share;           /* of a head turns where the file is silent; 0 = all */
    const char *whole;           /* model type of a folder that holds this one as "text_config" beside an image encoder, or NULL */
    const az_lm_config *assumed; /* where config.json is silent, or NULL */
} az_lm_family;

/* NULL when there is none. The second: of the text part of a folder for text and images. */
const az_lm_family *az_lm_family_by_whole(const char *model_type);
const az_lm_family *az_lm_family_by_type(const char *model_type);
/* The first of that row of the architecture table. */
const az_lm_family *az_lm_family_by_arch(const char *arch);
/* "llama, mistral, ...", for messages. */
const char *az_lm_family_types(az_ctx *az);
/* The family to write a model as; NULL with an error when there is none. */
const az_lm_family *az_lm_family_of(az_ctx *az, const az_lm *lm);

/* Reads a configuration; fails on settings that the row cannot express. */
bool az_lm_config_from_json(az_ctx *az, const az_lm_family *family, const json_t *json, az_lm_config *config);
/* What holds for some blocks only: which have the window, and which rotary embedding. From config.json, and back. */
bool az_lm_layers_from_json(az_ctx *az, const az_lm_family *family, const json_t *json, az_lm *lm);
void az_lm_layers_to_json(const az_lm_family *family, const az_lm *lm, json_t *json);
/* Settings of the rotary embedding, of all layers or of some ("full_attention", "sliding_attention"). */
const json_t *az_lm_rope_parameters(const json_t *json, const char *layers);
/* Applies rope_scaling to the model's frequencies; puts it. Fails on what is not known, or has no name there. */
bool az_lm_rope_from_json(az_ctx *az, const json_t *json, az_lm *lm);
bool az_lm_rope_to_json(az_ctx *az, const az_lm *lm, json_t *json);
/* config.json of a model, to be freed with json_decref. NULL with an error when its rotary scaling has no name there. dtype: of the
 * matrices. */
json_t *az_lm_config_to_json(az_ctx *az, const az_lm_family *family, const az_lm *lm, az_dtype dtype);

/* az_lm_save_folder with files of tensors of at most `limit` bytes, as long as no tensor alone has more. */
bool az_lm_save_shards(az_ctx *az, const az_lm *lm, const char *folder, const az_format *format, int64_t limit);

az_lm *az_lm_from_folder(az_ctx *az, const char *folder);

#endif
