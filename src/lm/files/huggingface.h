/* huggingface.h - folders as Hugging Face lays them out: config.json, model.safetensors (or several, with an index), a tokenizer.
 *
 * A family is a model_type of config.json: which row of the architecture table it is, and how its files differ from it. */
#ifndef ADZE_LM_HUGGINGFACE_H
#define ADZE_LM_HUGGINGFACE_H

#include "lm/files/load.h"

#include <jansson.h>

/* What config.json calls the fields of a configuration; NULL where a family has no such key. "n_embd|hidden_size": either is read, the
 * first is written. */
typedef struct az_lm_config_keys {
    const char *width, *blocks, *heads, *kv_heads, *head_dim, *hidden, *context, *norm_eps, *rope_theta;
    const char *activation; /* of several the first that is there counts; all are written */
    const char *experts;
    const char *attention_bias, *mlp_bias; /* switches: the linear layers of attention, of the network, have biases */
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
    const char *activation; /* what config.json calls the row's activation */
    const char *alias;      /* another name of it, or NULL */
    bool window;            /* sliding_window counts */
    bool window_asked;      /* but only with use_sliding_window */
    int64_t window_first;   /* where there is no layer_types, layers from max_window_layers on have it: this, where that is silent */
    bool window_unturned;   /* where there is no layer_types, layers without rotary embedding have it */
    bool hidden_by_width;   /* the network is four times as wide as the residual stream, where the file is silent */
    bool tied;              /* where tie_word_embeddings is silent */
    bool transposed;        /* matrices of the blocks are [in, out] */
    bool qkv_by_head;       /* rows: q, k and v of the first head, then those of the second ... */
    double norm_shift;      /* norms are stored less this */
    double rope_share;      /* of a head turns where the file is silent; 0 = all */
    const char *whole;      /* model type of a folder that holds this one as "text_config" beside an image encoder, or NULL */
    az_lm_config assumed;   /* where config.json is silent, as transformers' configuration class says; 0 = the row's */
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

/* Of "n_embd|hidden_size": how long the first name is, and the names behind it; NULL after the last. */
int az_lm_first_key(const char *keys);
const char *az_lm_next_key(const char *keys);
/* The field that one of the keys names ("n_embd|hidden_size"); NULL when there is none, and with an error when two say different things. */
const json_t *az_lm_json_field(az_ctx *az, const json_t *json, const char *keys);
/* Reads a configuration; fails on settings that the row cannot express. */
bool az_lm_config_from_json(az_ctx *az, const az_lm_family *family, const json_t *json, az_lm_config *config);
/* A model without weights as config.json describes it, of a row of the family. tensors: how many the weights lie in, which bounds how many
 * blocks there can be. */
az_lm *az_lm_from_json(az_ctx *az, const az_lm_family *family, const az_lm_arch *arch, const json_t *json, int64_t tensors);
/* The switch that says whether a linear layer has the bias of this place; NULL where a bias needs none, and "" where there can be no bias
 * in a folder. */
const char *az_lm_bias_switch(const az_lm_family *family, const az_lm_slot *slot);
/* What holds for some blocks only: which have the window, and which rotary embedding. From config.json, and back. */
bool az_lm_layers_from_json(az_ctx *az, const az_lm_family *family, const json_t *json, az_lm *lm);
void az_lm_layers_to_json(const az_lm_family *family, const az_lm *lm, json_t *json);
/* Settings of the rotary embedding ("rope_scaling" or "rope_parameters"): of the layers without a window, or of those with one where they
 * have settings of their own. */
const json_t *az_lm_rope_parameters(const json_t *json);
const json_t *az_lm_rope_parameters_local(const json_t *json);
/* Applies rope_scaling to the model's frequencies; puts it. Fails on what is not known, or has no name there. */
bool az_lm_rope_from_json(az_ctx *az, const json_t *json, az_lm *lm);
bool az_lm_rope_to_json(az_ctx *az, const az_lm *lm, json_t *json);
/* The files of tensors of a folder. */
enum { AZ_LM_MAX_SHARDS = 1000 };
typedef struct az_lm_shards {
    int n;
    bool text_part; /* only the tensors of the text part of a larger model count */
    const az_safetensors *file[AZ_LM_MAX_SHARDS];
    const char *name[AZ_LM_MAX_SHARDS];
    json_t *map; /* by the index: the file of each tensor, as its number, to be freed; NULL where there is one file */
} az_lm_shards;
bool az_lm_open_shards(az_ctx *az, const char *folder, az_lm_shards *all);
/* By its name in a model of the text part alone. Files may lack the first word of names, or have more in front. */
const az_tensor *az_lm_find_shard_tensor(const az_lm_shards *all, const char *name);
/* Whether a tensor of this name in a file is the one that the index means. */
bool az_lm_is_meant(const az_lm_shards *all, int file, const char *name);
/* The name without its first word; the name as the text part alone has it, NULL for a tensor of another part of the model. */
const char *az_lm_bare_name(const char *name);
const char *az_lm_text_name(az_ctx *az, const char *name);
/* A JSON object in a file of a folder, to be freed. */
json_t *az_lm_read_json(az_ctx *az, const char *folder, const char *name);

/* config.json of a model, to be freed with json_decref. NULL with an error when what is read from it would compute something else. dtype:
 * of the matrices. own: some are in formats of adze's own, so that other programs refuse the folder, and biases need no switch in it. */
json_t *az_lm_config_to_json(az_ctx *az, const az_lm_family *family, const az_lm *lm, az_dtype dtype, bool own);

/* az_lm_save_folder with files of tensors of at most `limit` bytes, as long as no tensor alone has more. */
bool az_lm_save_shards(az_ctx *az, const az_lm *lm, const char *folder, const az_format *format, int64_t limit);

az_lm *az_lm_from_folder(az_ctx *az, const char *folder);

#endif
