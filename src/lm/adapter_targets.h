/* adapter_targets.h - which layers of a model an adapter sits beside, by adze's or Hugging Face's names. */
#ifndef ADZE_LM_ADAPTER_TARGETS_H
#define ADZE_LM_ADAPTER_TARGETS_H

#include "lm/lm_internal.h"

/* A place where an adapter can sit, and what is wanted there. */
typedef struct az_target {
    const char *name;        /* adze's: "blocks.3.attn.q" */
    const char *huggingface; /* module path: "model.layers.3.self_attn.q_proj"; NULL when there is none */
    az_lm_part part;
    int64_t in, out;
    const az_weight *weight; /* NULL = a norm */
    const az_tensor *gain;   /* of a norm */
    const az_tensor *bias;   /* of the model, or NULL */
    bool adapt, save;        /* gets a low-rank term; is trained whole */
    int64_t rank;
    double alpha;
} az_target;

/* The layer of adze's name; fails when the model has none. */
bool az_target_named(az_ctx *az, const az_lm *lm, const char *name, az_target *target);
/* Every place (linear layers inside blocks, head, embedding, norms), with what `how` wants there; fails when `how` matches
 * nothing. */
int az_targets(az_ctx *az, const az_lm *lm, const az_adapter_how *how, az_target **targets);
/* Every place, nothing wanted yet. */
int az_target_list(az_ctx *az, const az_lm *lm, az_target **targets);
/* Whether the whole of `path` matches; false with an error for what is no regular expression. */
bool az_matches_expression(az_ctx *az, const char *expression, const char *path);

#endif
