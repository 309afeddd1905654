/* huggingface_families.c - the model types of config.json that are known. */
#include "lm/files/huggingface.h"

#include <string.h>

static const az_lm_config_keys llama_keys = {
    .width = "hidden_size",
    .blocks = "num_hidden_layers",
    .heads = "num_attention_heads",
    .kv_heads = "num_key_value_heads",
    .head_dim = "head_dim",
    .hidden = "intermediate_size",
    .context = "max_position_embeddings",
    .norm_eps = "rms_norm_eps",
    .rope_theta = "rope_theta",
    .activation = "hidden_act",
};

static const az_lm_config_keys mixtral_keys = {
    .width = "hidden_size",
    .blocks = "num_hidden_layers",
    .heads = "num_attention_heads",
    .kv_heads = "num_key_value_heads",
    .head_dim = "head_dim",
    .hidden = "intermediate_size",
    .context = "max_position_embeddings",
    .norm_eps = "rms_norm_eps",
    .rope_theta = "rope_theta",
    .activation = "hidden_act",
    .experts = "num_local_experts|num_experts",
};

/* Biases by switches. */
static const az_lm_config_keys biased_keys = {
    .width = "hidden_size",
    .blocks = "num_hidden_layers",
    .heads = "num_attention_heads",
    .kv_heads = "num_key_value_heads",
    .head_dim = "head_dim",
    .hidden = "intermediate_size",
    .context = "max_position_embeddings",
    .norm_eps = "rms_norm_eps",
    .rope_theta = "rope_theta",
    .activation = "hidden_act",
    .attention_bias = "attention_bias",
    .mlp_bias = "mlp_bias",
};

static const az_lm_config_keys olmo2_keys = {
    .width = "hidden_size",
    .blocks = "num_hidden_layers",
    .heads = "num_attention_heads",
    .kv_heads = "num_key_value_heads",
    .head_dim = "head_dim",
    .hidden = "intermediate_size",
    .context = "max_position_embeddings",
    .norm_eps = "rms_norm_eps",
    .rope_theta = "rope_theta",
    .activation = "hidden_act",
    .attention_bias = "attention_bias",
};

/* Where hidden_activation is silent, hidden_act speaks. */
static const az_lm_config_keys gemma_keys = {
    .width = "hidden_size",
    .blocks = "num_hidden_layers",
    .heads = "num_attention_heads",
    .kv_heads = "num_key_value_heads",
    .head_dim = "head_dim",
    .hidden = "intermediate_size",
    .context = "max_position_embeddings",
    .norm_eps = "rms_norm_eps",
    .rope_theta = "rope_theta",
    .activation = "hidden_activation|hidden_act",
};

static const az_lm_config_keys gemma2_keys = {
    .width = "hidden_size",
    .blocks = "num_hidden_layers",
    .heads = "num_attention_heads",
    .kv_heads = "num_key_value_heads",
    .head_dim = "head_dim",
    .hidden = "intermediate_size",
    .context = "max_position_embeddings",
    .norm_eps = "rms_norm_eps",
    .rope_theta = "rope_theta",
    .activation = "hidden_activation",
    .attention_softcap = "attn_logit_softcapping",
    .logit_softcap = "final_logit_softcapping",
    .query_scalar = "query_pre_attn_scalar",
};

static const az_lm_config_keys gemma3_keys = {
    .width = "hidden_size",
    .blocks = "num_hidden_layers",
    .heads = "num_attention_heads",
    .kv_heads = "num_key_value_heads",
    .head_dim = "head_dim",
    .hidden = "intermediate_size",
    .context = "max_position_embeddings",
    .norm_eps = "rms_norm_eps",
    .rope_theta = "rope_theta",
    .activation = "hidden_activation",
    .rope_theta_local = "rope_local_base_freq",
    .window_pattern = "sliding_window_pattern",
    .attention_softcap = "attn_logit_softcapping",
    .logit_softcap = "final_logit_softcapping",
    .query_scalar = "query_pre_attn_scalar",
};

static const az_lm_config_keys smollm3_keys = {
    .width = "hidden_size",
    .blocks = "num_hidden_layers",
    .heads = "num_attention_heads",
    .kv_heads = "num_key_value_heads",
    .head_dim = "head_dim",
    .hidden = "intermediate_size",
    .context = "max_position_embeddings",
    .norm_eps = "rms_norm_eps",
    .rope_theta = "rope_theta",
    .activation = "hidden_act",
    .attention_bias = "attention_bias",
    .mlp_bias = "mlp_bias",
    .unturned = "no_rope_layers",
    .rope_pattern = "no_rope_layer_interval",
};

static const az_lm_config_keys granite_keys = {
    .width = "hidden_size",
    .blocks = "num_hidden_layers",
    .heads = "num_attention_heads",
    .kv_heads = "num_key_value_heads",
    .head_dim = "head_dim",
    .hidden = "intermediate_size",
    .context = "max_position_embeddings",
    .norm_eps = "rms_norm_eps",
    .rope_theta = "rope_theta",
    .activation = "hidden_act",
    .attention_bias = "attention_bias",
    .mlp_bias = "mlp_bias",
    .attention_scale = "attention_multiplier",
    .embedding_scale = "embedding_multiplier",
    .residual_scale = "residual_multiplier",
    .logit_scale = "logits_scaling",
};

static const az_lm_config_keys stablelm_keys = {
    .width = "hidden_size",
    .blocks = "num_hidden_layers",
    .heads = "num_attention_heads",
    .kv_heads = "num_key_value_heads",
    .hidden = "intermediate_size",
    .context = "max_position_embeddings",
    .norm_eps = "layer_norm_eps",
    .rope_theta = "rope_theta",
    .activation = "hidden_act",
    .attention_bias = "use_qkv_bias",
};

static const az_lm_config_keys gpt2_keys = {
    .width = "n_embd|hidden_size",
    .blocks = "n_layer|num_hidden_layers",
    .heads = "n_head|num_attention_heads",
    .hidden = "n_inner",
    .context = "n_positions|max_position_embeddings",
    .norm_eps = "layer_norm_epsilon",
    .activation = "activation_function",
};

static const az_lm_config_keys gpt_neox_keys = {
    .width = "hidden_size",
    .blocks = "num_hidden_layers",
    .heads = "num_attention_heads",
    .hidden = "intermediate_size",
    .context = "max_position_embeddings",
    .norm_eps = "layer_norm_eps",
    .rope_theta = "rotary_emb_base",
    .activation = "hidden_act",
};

static const az_lm_config_keys opt_keys = {
    .width = "hidden_size",
    .blocks = "num_hidden_layers",
    .heads = "num_attention_heads",
    .hidden = "ffn_dim",
    .context = "max_position_embeddings",
    .activation = "activation_function",
};

static const az_lm_config_keys bloom_keys = {
    .width = "hidden_size|n_embed",
    .blocks = "n_layer|num_hidden_layers",
    .heads = "n_head|num_attention_heads",
    .context = "seq_length",
    .norm_eps = "layer_norm_epsilon",
};

static const az_lm_family families[] = {
    {"llama", "LlamaForCausalLM", "llama", &biased_keys, "silu", "swish", .assumed = {.context = 2048, .norm_eps = 1e-6}},
    {"mistral", "MistralForCausalLM", "llama", &llama_keys, "silu", "swish", .window = true,
     .assumed = {.kv_heads = 8, .context = 131072, .norm_eps = 1e-6, .window = 4096}},
    {"mixtral", "MixtralForCausalLM", "llama", &mixtral_keys, "silu", "swish", .window = true,
     .assumed = {.kv_heads = 8, .context = 131072, .norm_eps = 1e-5, .rope_theta = 1e6, .experts = 8, .experts_used = 2}},
    {"qwen2", "Qwen2ForCausalLM", "qwen2", &llama_keys, "silu", "swish", .window = true, .window_asked = true, .window_first = 28,
     .assumed = {.kv_heads = 32, .context = 32768, .norm_eps = 1e-6, .window = 4096}},
    {"qwen3", "Qwen3ForCausalLM", "qwen3", &llama_keys, "silu", "swish", .window = true, .window_asked = true, .window_first = 28,
     .assumed = {.kv_heads = 32, .head_dim = 128, .context = 32768, .norm_eps = 1e-6, .window = 4096}},
    {"smollm3", "SmolLM3ForCausalLM", "smollm3", &smollm3_keys, "silu", "swish", .window = true, .window_asked = true,
     .window_unturned = true, .tied = true, .assumed = {.kv_heads = 4, .context = 32768, .norm_eps = 1e-6, .rope_theta = 2e6}},
    {"granite", "GraniteForCausalLM", "granite", &granite_keys, "silu", "swish",
     .assumed = {.context = 2048, .norm_eps = 1e-6, .attention_scale = 1}},
    {"olmo2", "Olmo2ForCausalLM", "olmo2", &olmo2_keys, "silu", "swish", .assumed = {.context = 2048, .norm_eps = 1e-5}},
    {"olmo3", "Olmo3ForCausalLM", "olmo2", &olmo2_keys, "silu", "swish", .window = true,
     .assumed = {.context = 2048, .norm_eps = 1e-5, .rope_theta = 500000, .window = 4096}},
    {"stablelm", "StableLmForCausalLM", "stablelm", &stablelm_keys, "silu", "swish", .rope_share = 0.25,
     .assumed = {.kv_heads = 32, .context = 4096, .norm_eps = 1e-5}},
    {"phi3", "Phi3ForCausalLM", "phi3", &llama_keys, "silu", "swish", .window = true,
     .assumed = {.context = 4096, .norm_eps = 1e-5, .rope_original = 4096}},
    {"gemma", "GemmaForCausalLM", "gemma", &gemma_keys, "gelu_pytorch_tanh", "gelu", .tied = true, .norm_shift = 1,
     .assumed = {.kv_heads = 16, .head_dim = 256, .context = 8192, .norm_eps = 1e-6}},
    {"gemma2", "Gemma2ForCausalLM", "gemma2", &gemma2_keys, "gelu_pytorch_tanh", NULL, .window = true, .tied = true, .norm_shift = 1,
     .assumed = {.kv_heads = 4, .head_dim = 256, .context = 8192, .norm_eps = 1e-6, .window = 4096}},
    {"gemma3_text", "Gemma3ForCausalLM", "gemma3", &gemma3_keys, "gelu_pytorch_tanh", NULL, .window = true, .tied = true, .norm_shift = 1,
     .whole = "gemma3", /* folders for text and images say only what differs from this */
     .assumed = {.vocabulary = 262208,
                 .width = 2304,
                 .blocks = 26,
                 .heads = 8,
                 .kv_heads = 4,
                 .head_dim = 256,
                 .hidden = 9216,
                 .context = 131072,
                 .norm_eps = 1e-6,
                 .rope_theta = 1e6,
                 .window = 4096}},
    {"gpt2", "GPT2LMHeadModel", "gpt2", &gpt2_keys, "gelu_new", "gelu_pytorch_tanh", .tied = true, .transposed = true,
     .hidden_by_width = true, .assumed = {.context = 1024, .norm_eps = 1e-5}},
    {"gpt_neox", "GPTNeoXForCausalLM", "gptneox", &gpt_neox_keys, "gelu", NULL, .qkv_by_head = true, .rope_share = 0.25,
     .assumed = {.context = 2048, .norm_eps = 1e-5}},
    {"opt", "OPTForCausalLM", "opt", &opt_keys, "relu", NULL, .tied = true, .assumed = {.context = 2048, .norm_eps = 1e-5}},
    {"bloom", "BloomForCausalLM", "bloom", &bloom_keys, "gelu", NULL, .tied = true, .qkv_by_head = true, .hidden_by_width = true,
     .assumed = {.context = 2048, .norm_eps = 1e-5}},
};
enum { FAMILIES = sizeof families / sizeof *families };

const az_lm_family *az_lm_family_by_type(const char *model_type)
{
    for (int i = 0; i < FAMILIES; i++)
        if (strcmp(families[i].model_type, model_type) == 0) return &families[i];
    return NULL;
}

const az_lm_family *az_lm_family_by_arch(const char *arch)
{
    for (int i = 0; i < FAMILIES; i++)
        if (strcmp(families[i].arch, arch) == 0) return &families[i];
    return NULL;
}

const az_lm_family *az_lm_family_by_whole(const char *model_type)
{
    for (int i = 0; i < FAMILIES; i++)
        if (families[i].whole && strcmp(families[i].whole, model_type) == 0) return &families[i];
    return NULL;
}

const char *az_lm_family_types(az_ctx *az)
{
    const char *types = families[0].model_type;
    for (int i = 1; i < FAMILIES && types; i++) types = az_format_text(az, "%s, %s", types, families[i].model_type);
    return types;
}

const az_lm_family *az_lm_family_of(az_ctx *az, const az_lm *lm)
{
    for (int i = 0; i < FAMILIES; i++) {
        const az_lm_family *family = &families[i];
        const bool same = strcmp(family->arch, lm->arch->name) == 0 && (family->keys->experts != NULL) == (lm->config.experts > 0);
        if (same && (lm->config.window == 0 || family->window)) return family;
    }
    return az_fail(az, AZ_BAD_INPUT, "Hugging Face has no model type for %s%s%s", lm->arch->name, lm->config.experts ? " with experts" : "",
                   lm->config.window ? " with a sliding window" : "");
}

const char *az_lm_bias_switch(const az_lm_family *family, const az_lm_slot *slot)
{
    if (!slot->bias || slot->required) return NULL;
    const bool network = slot->part == AZ_PART_GATE || slot->part == AZ_PART_UP || slot->part == AZ_PART_DOWN;
    const char *key = network ? family->keys->mlp_bias : family->keys->attention_bias;
    return key ? key : "";
}
