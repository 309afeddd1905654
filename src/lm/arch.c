/* arch.c - the rows of the architecture table. */
#include "lm/arch.h"

#include <string.h>

/* GGUF stores q and k of this family with the rows of each head reordered so that neighbours turn together. */
static const az_lm_part_names llama_parts[] = {
    {AZ_PART_EMBEDDING, AZ_REQUIRED, AZ_ABSENT, "token_embd", "model.embed_tokens"},
    {AZ_PART_ATTN_NORM, AZ_REQUIRED, AZ_ABSENT, "blk.%d.attn_norm", "model.layers.%d.input_layernorm"},
    {AZ_PART_Q, AZ_REQUIRED, AZ_OPTIONAL, "blk.%d.attn_q", "model.layers.%d.self_attn.q_proj"},
    {AZ_PART_K, AZ_REQUIRED, AZ_OPTIONAL, "blk.%d.attn_k", "model.layers.%d.self_attn.k_proj"},
    {AZ_PART_V, AZ_REQUIRED, AZ_OPTIONAL, "blk.%d.attn_v", "model.layers.%d.self_attn.v_proj"},
    {AZ_PART_O, AZ_REQUIRED, AZ_OPTIONAL, "blk.%d.attn_output", "model.layers.%d.self_attn.o_proj"},
    {AZ_PART_MLP_NORM, AZ_REQUIRED, AZ_ABSENT, "blk.%d.ffn_norm", "model.layers.%d.post_attention_layernorm"},
    {AZ_PART_GATE, AZ_REQUIRED, AZ_OPTIONAL, "blk.%d.ffn_gate", "model.layers.%d.mlp.gate_proj"},
    {AZ_PART_UP, AZ_REQUIRED, AZ_OPTIONAL, "blk.%d.ffn_up", "model.layers.%d.mlp.up_proj"},
    {AZ_PART_DOWN, AZ_REQUIRED, AZ_OPTIONAL, "blk.%d.ffn_down", "model.layers.%d.mlp.down_proj"},
    {AZ_PART_FINAL_NORM, AZ_REQUIRED, AZ_ABSENT, "output_norm", "model.norm"},
    {AZ_PART_HEAD, AZ_OPTIONAL, AZ_ABSENT, "output", "lm_head"},
    {.gguf = NULL},
};

static const az_lm_arch architectures[] = {
    {
        .name = "llama",
        .norm = AZ_NORM_RMS,
        .mlp = AZ_MLP_SWIGLU,
        .position = AZ_POSITION_ROPE_PAIRS,
        .norm_eps = 1e-5,
        .rope_theta = 10000,
        .parts = llama_parts,
    },
};

enum { ARCHITECTURES = sizeof architectures / sizeof *architectures };

const az_lm_arch *az_lm_arch_by_name(const char *name)
{
    for (int i = 0; i < ARCHITECTURES; i++)
        if (strcmp(architectures[i].name, name) == 0) return &architectures[i];
    return NULL;
}

const char *az_lm_arch_names(az_ctx *az)
{
    const char *names = architectures[0].name;
    for (int i = 1; i < ARCHITECTURES && names; i++) names = az_format_text(az, "%s, %s", names, architectures[i].name);
    return names;
}

const char *az_lm_architecture(const az_lm *lm)
{
    return lm->arch->name;
}

bool az_lm_is_architecture(const char *name)
{
    return az_lm_arch_by_name(name) != NULL;
}

const char *az_lm_part_name(az_lm_part part)
{
    static const char *const names[AZ_PARTS] = {
        [AZ_PART_EMBEDDING] = "embed",
        [AZ_PART_POSITION] = "position",
        [AZ_PART_FINAL_NORM] = "final_norm",
        [AZ_PART_HEAD] = "head",
        [AZ_PART_ATTN_NORM] = "attn_norm",
        [AZ_PART_Q] = "attn.q",
        [AZ_PART_K] = "attn.k",
        [AZ_PART_V] = "attn.v",
        [AZ_PART_O] = "attn.o",
        [AZ_PART_MLP_NORM] = "mlp_norm",
        [AZ_PART_GATE] = "mlp.gate",
        [AZ_PART_UP] = "mlp.up",
        [AZ_PART_DOWN] = "mlp.down",
    };
    return names[part];
}
