/* arch.h - the architecture table: what distinguishes one family of transformers from another, as data.
 *
 * The forward pass, the loaders, the writers and the list of parameters read a row of this table; none of them knows a family by name. A
 * new family is a new row, and a new value of one of the enumerations below where it brings an idea that no row has yet. */
#ifndef ADZE_LM_ARCH_H
#define ADZE_LM_ARCH_H

#include "adze/lm.h"

typedef enum az_norm_kind { AZ_NORM_RMS, AZ_NORM_LAYER } az_norm_kind;

/* How gate and up become the hidden activations. The ungated kinds have no gate matrix. */
typedef enum az_mlp_kind { AZ_MLP_SWIGLU, AZ_MLP_GEGLU, AZ_MLP_GELU, AZ_MLP_GELU_TANH, AZ_MLP_RELU } az_mlp_kind;

typedef enum az_position_kind {
    AZ_POSITION_ROPE_PAIRS,  /* rotary, neighbours (2i, 2i+1) turn together */
    AZ_POSITION_ROPE_HALVES, /* rotary, (i, i + dims/2) turn together */
    AZ_POSITION_LEARNED,     /* a table added to the embedding */
    AZ_POSITION_ALIBI        /* a penalty on distance, its slope fixed by the head */
} az_position_kind;

/* What a tensor is for. From AZ_PART_ATTN_NORM on there is one in each block. */
typedef enum az_lm_part {
    AZ_PART_EMBEDDING,
    AZ_PART_POSITION,
    AZ_PART_EMBED_NORM,
    AZ_PART_PROJECT_IN, /* from the width of the embedding to that of the blocks, and back */
    AZ_PART_FINAL_NORM,
    AZ_PART_PROJECT_OUT,
    AZ_PART_HEAD,
    AZ_PART_ATTN_NORM,
    AZ_PART_Q,
    AZ_PART_K,
    AZ_PART_V,
    AZ_PART_Q_NORM, /* before rotation */
    AZ_PART_K_NORM,
    AZ_PART_O,
    AZ_PART_ATTN_POST_NORM, /* of what attention adds to the residual stream */
    AZ_PART_MLP_NORM,
    AZ_PART_GATE,
    AZ_PART_UP,
    AZ_PART_DOWN,
    AZ_PART_ROUTER, /* in a mixture of experts this and the next three take the place of the three before */
    AZ_PART_EXPERT_GATE,
    AZ_PART_EXPERT_UP,
    AZ_PART_EXPERT_DOWN,
    AZ_PART_MLP_POST_NORM,
    AZ_PARTS
} az_lm_part;

typedef enum az_presence { AZ_ABSENT, AZ_OPTIONAL, AZ_REQUIRED } az_presence;

/* What llama.cpp makes of GGUF files of an architecture: it obeys these keys, and takes a head that is the embedding, or only such a one.
 */
typedef enum az_elsewhere {
    AZ_ELSEWHERE_KNOWN = 1,
    AZ_ELSEWHERE_WINDOW = 2,
    AZ_ELSEWHERE_TIED = 4,
    AZ_ELSEWHERE_UNTIED = 8,
    AZ_ELSEWHERE_SCALE = 16, /* of the scores */
    AZ_ELSEWHERE_ATTENTION_SOFTCAP = 32,
    AZ_ELSEWHERE_LOGIT_SOFTCAP = 64
} az_elsewhere;

/* Names are without ".weight" and ".bias"; %d stands for the block, a second one for the expert. Parts of a block that share a name lie in
 * one tensor, the rows of one below those of the other. */
typedef struct az_lm_part_names {
    az_lm_part part;
    az_presence weight, bias;
    const char *gguf;
    const char *huggingface;
} az_lm_part_names;

struct az_lm_arch {
    const char *name; /* general.architecture of GGUF, and the prefix of its keys */
    az_norm_kind norm;
    az_mlp_kind mlp;
    az_position_kind position;
    bool pairs_in_gguf;           /* GGUF stores the rows of q and k so that neighbours turn together */
    bool parallel;                /* x + attn(norm x) + mlp(norm x) instead of one after the other */
    bool post_norm;               /* there are models whose norms come after the additions (config.post_norm) */
    bool wide_qk_norm;            /* norms of q and k are of all heads together, not of each */
    bool scales;                  /* files say how embedding, residual stream and logits are scaled */
    bool plain_in_window;         /* blocks with a window turn by rope_theta without its scaling */
    double embedding_scale_power; /* the embedding is multiplied by width to this power; 0 = not */
    int64_t position_offset;      /* learned positions: the row of position 0 */
    double norm_eps, rope_theta;  /* these and what follows: where a file is silent */
    int64_t window, window_pattern, rope_pattern;
    double rope_theta_local, attention_softcap, logit_softcap;
    int elsewhere;                 /* of az_elsewhere */
    int64_t wide_scale_blocks;     /* the model of so many blocks scales scores by 1/sqrt(width/heads); 0 = none does */
    const az_lm_part_names *parts; /* in the order of the forward pass; ends with an entry whose gguf is NULL */
};

/* NULL when the table has no such row. Of two rows of one name (q and k in the order of neighbours, or of halves) the one that GGUF means.
 */
const az_lm_arch *az_lm_arch_by_name(const char *name);
/* The row of that name whose q and k are in the order of Hugging Face: halves, where they turn at all. */
const az_lm_arch *az_lm_arch_by_halves(const char *name);
/* "llama, qwen2, ...", for messages. */
const char *az_lm_arch_names(az_ctx *az);
/* Whether q and k change the order of their rows on the way to a GGUF file or to a Hugging Face folder. */
bool az_lm_arch_reorders_gguf(const az_lm_arch *arch);
bool az_lm_arch_reorders_huggingface(const az_lm_arch *arch);
/* adze's own name of a part: "attn.q". Inside blocks it stands behind "blocks.<i>."; in the names of experts' parts %d is the expert. */
const char *az_lm_part_name(az_lm_part part);

static inline bool az_lm_part_in_block(az_lm_part part)
{
    return part >= AZ_PART_ATTN_NORM;
}
static inline bool az_lm_part_of_expert(az_lm_part part)
{
    return part >= AZ_PART_EXPERT_GATE && part <= AZ_PART_EXPERT_DOWN;
}
static inline bool az_lm_has_rope(const az_lm_arch *arch)
{
    return arch->position == AZ_POSITION_ROPE_PAIRS || arch->position == AZ_POSITION_ROPE_HALVES;
}
static inline bool az_lm_is_gated(const az_lm_arch *arch)
{
    return arch->mlp == AZ_MLP_SWIGLU || arch->mlp == AZ_MLP_GEGLU;
}

#endif
