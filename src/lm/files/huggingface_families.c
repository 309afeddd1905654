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
};

static const az_lm_config_keys gpt2_keys = {
    .width = "n_embd",
    .blocks = "n_layer",
    .heads = "n_head",
    .hidden = "n_inner",
    .context = "n_positions",
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
    .width = "hidden_size",
    .blocks = "n_layer",
    .heads = "n_head",
    .context = "seq_length",
    .norm_eps = "layer_norm_epsilon",
};

/* Folders of Gemma 3 for text and images say only what differs from this. */
static const az_lm_config gemma3_config = {
    .vocabulary = 262208, .width = 2304, .blocks = 26, .heads = 8, .kv_heads = 4, .head_dim = 256, .hidden = 9216, .context = 131072};

static const az_lm_family families[] = {
    {"llama", "LlamaForCausalLM", "llama", &llama_keys, "silu", "swish", .window = false},
    {"mistral", "MistralForCausalLM", "llama", &llama_keys, "silu", "swish", .window = true},
    {"mixtral", "MixtralForCausalLM", "llama", &llama_keys, "silu", "swish", .window = true, .experts = true},
    {"qwen2", "Qwen2ForCausalLM", "qwen2", &llama_keys, "silu", "swish", .window = true, .window_asked = true, .window_first = true},
    {"qwen3", "Qwen3ForCausalLM", "qwen3", &llama_keys, "silu", "swish", .window = true, .window_asked = true, .window_first = true},
    {"smollm3", "SmolLM3ForCausalLM", "smollm3", &smollm3_keys, "silu", "swish", .window = true, .window_asked = true, .tied = true},
    {"granite", "GraniteForCausalLM", "granite", &granite_keys, "silu", "swish"},
    {"olmo2", "Olmo2ForCausalLM", "olmo2", &llama_keys, "silu", "swish"},
    {"olmo3", "Olmo3ForCausalLM", "olmo2", &llama_keys, "silu", "swish", .window = true, .assumed_window = 4096},
    {"stablelm", "StableLmForCausalLM", "stablelm", &stablelm_keys, "silu", "swish", .rope_share = 0.25},
    {"phi3", "Phi3ForCausalLM", "phi3", &llama_keys, "silu", "swish", .window = true},
    {"gemma", "GemmaForCausalLM", "gemma", &llama_keys, "gelu_pytorch_tanh", "gelu", .tied = true, .norm_shift = 1},
    {"gemma2", "Gemma2ForCausalLM", "gemma2", &gemma2_keys, "gelu_pytorch_tanh", NULL, .window = true, .assumed_window = 4096, .tied = true,
     .norm_shift = 1},
    {"gemma3_text", "Gemma3ForCausalLM", "gemma3", &gemma3_keys, "gelu_pytorch_tanh", NULL, .window = true, .assumed_window = 4096,
     .tied = true, .norm_shift = 1, .whole = "gemma3", .assumed = &gemma3_config},
    {"gpt2", "GPT2LMHeadModel", "gpt2", &gpt2_keys, "gelu_new", "gelu_pytorch_tanh", .tied = true, .transposed = true},
    {"gpt_neox", "GPTNeoXForCausalLM", "gptneox", &gpt_neox_keys, "gelu", NULL, .qkv_by_head = true, .rope_share = 0.25},
    {"opt", "OPTForCausalLM", "opt", &opt_keys, "relu", NULL, .tied = true},
    {"bloom", "BloomForCausalLM", "bloom", &bloom_keys, "gelu", NULL, .tied = true, .qkv_by_head = true},
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
        const bool same = strcmp(family->arch, lm->arch->name) == 0 && family->experts == (lm->config.experts > 0);
        if (same && (lm->config.window == 0 || family->window)) return family;
    }
    return az_fail(az, AZ_BAD_INPUT, "Hugging Face has no model type for %s%s%s", lm->arch->name, lm->config.experts ? " with experts" : "",
                   lm->config.window ? " with a sliding window" : "");
}
