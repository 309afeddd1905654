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
    {AZ_PART_ROUTER, AZ_REQUIRED, AZ_ABSENT, "blk.%d.ffn_gate_inp", "model.layers.%d.block_sparse_moe.gate"},
    {AZ_PART_EXPERT_GATE, AZ_REQUIRED, AZ_ABSENT, "blk.%d.ffn_gate_exps", "model.layers.%d.block_sparse_moe.experts.%d.w1"},
    {AZ_PART_EXPERT_UP, AZ_REQUIRED, AZ_ABSENT, "blk.%d.ffn_up_exps", "model.layers.%d.block_sparse_moe.experts.%d.w3"},
    {AZ_PART_EXPERT_DOWN, AZ_REQUIRED, AZ_ABSENT, "blk.%d.ffn_down_exps", "model.layers.%d.block_sparse_moe.experts.%d.w2"},
    {AZ_PART_FINAL_NORM, AZ_REQUIRED, AZ_ABSENT, "output_norm", "model.norm"},
    {AZ_PART_HEAD, AZ_OPTIONAL, AZ_ABSENT, "output", "lm_head"},
    {.gguf = NULL},
};

static const az_lm_part_names qwen2_parts[] = {
    {AZ_PART_EMBEDDING, AZ_REQUIRED, AZ_ABSENT, "token_embd", "model.embed_tokens"},
    {AZ_PART_ATTN_NORM, AZ_REQUIRED, AZ_ABSENT, "blk.%d.attn_norm", "model.layers.%d.input_layernorm"},
    {AZ_PART_Q, AZ_REQUIRED, AZ_REQUIRED, "blk.%d.attn_q", "model.layers.%d.self_attn.q_proj"},
    {AZ_PART_K, AZ_REQUIRED, AZ_REQUIRED, "blk.%d.attn_k", "model.layers.%d.self_attn.k_proj"},
    {AZ_PART_V, AZ_REQUIRED, AZ_REQUIRED, "blk.%d.attn_v", "model.layers.%d.self_attn.v_proj"},
    {AZ_PART_O, AZ_REQUIRED, AZ_ABSENT, "blk.%d.attn_output", "model.layers.%d.self_attn.o_proj"},
    {AZ_PART_MLP_NORM, AZ_REQUIRED, AZ_ABSENT, "blk.%d.ffn_norm", "model.layers.%d.post_attention_layernorm"},
    {AZ_PART_GATE, AZ_REQUIRED, AZ_ABSENT, "blk.%d.ffn_gate", "model.layers.%d.mlp.gate_proj"},
    {AZ_PART_UP, AZ_REQUIRED, AZ_ABSENT, "blk.%d.ffn_up", "model.layers.%d.mlp.up_proj"},
    {AZ_PART_DOWN, AZ_REQUIRED, AZ_ABSENT, "blk.%d.ffn_down", "model.layers.%d.mlp.down_proj"},
    {AZ_PART_FINAL_NORM, AZ_REQUIRED, AZ_ABSENT, "output_norm", "model.norm"},
    {AZ_PART_HEAD, AZ_OPTIONAL, AZ_ABSENT, "output", "lm_head"},
    {.gguf = NULL},
};

static const az_lm_part_names qwen3_parts[] = {
    {AZ_PART_EMBEDDING, AZ_REQUIRED, AZ_ABSENT, "token_embd", "model.embed_tokens"},
    {AZ_PART_ATTN_NORM, AZ_REQUIRED, AZ_ABSENT, "blk.%d.attn_norm", "model.layers.%d.input_layernorm"},
    {AZ_PART_Q, AZ_REQUIRED, AZ_ABSENT, "blk.%d.attn_q", "model.layers.%d.self_attn.q_proj"},
    {AZ_PART_K, AZ_REQUIRED, AZ_ABSENT, "blk.%d.attn_k", "model.layers.%d.self_attn.k_proj"},
    {AZ_PART_V, AZ_REQUIRED, AZ_ABSENT, "blk.%d.attn_v", "model.layers.%d.self_attn.v_proj"},
    {AZ_PART_Q_NORM, AZ_REQUIRED, AZ_ABSENT, "blk.%d.attn_q_norm", "model.layers.%d.self_attn.q_norm"},
    {AZ_PART_K_NORM, AZ_REQUIRED, AZ_ABSENT, "blk.%d.attn_k_norm", "model.layers.%d.self_attn.k_norm"},
    {AZ_PART_O, AZ_REQUIRED, AZ_ABSENT, "blk.%d.attn_output", "model.layers.%d.self_attn.o_proj"},
    {AZ_PART_MLP_NORM, AZ_REQUIRED, AZ_ABSENT, "blk.%d.ffn_norm", "model.layers.%d.post_attention_layernorm"},
    {AZ_PART_GATE, AZ_REQUIRED, AZ_ABSENT, "blk.%d.ffn_gate", "model.layers.%d.mlp.gate_proj"},
    {AZ_PART_UP, AZ_REQUIRED, AZ_ABSENT, "blk.%d.ffn_up", "model.layers.%d.mlp.up_proj"},
    {AZ_PART_DOWN, AZ_REQUIRED, AZ_ABSENT, "blk.%d.ffn_down", "model.layers.%d.mlp.down_proj"},
    {AZ_PART_FINAL_NORM, AZ_REQUIRED, AZ_ABSENT, "output_norm", "model.norm"},
    {AZ_PART_HEAD, AZ_OPTIONAL, AZ_ABSENT, "output", "lm_head"},
    {.gguf = NULL},
};

static const az_lm_part_names phi3_parts[] = {
    {AZ_PART_EMBEDDING, AZ_REQUIRED, AZ_ABSENT, "token_embd", "model.embed_tokens"},
    {AZ_PART_ATTN_NORM, AZ_REQUIRED, AZ_ABSENT, "blk.%d.attn_norm", "model.layers.%d.input_layernorm"},
    {AZ_PART_Q, AZ_REQUIRED, AZ_ABSENT, "blk.%d.attn_qkv", "model.layers.%d.self_attn.qkv_proj"},
    {AZ_PART_K, AZ_REQUIRED, AZ_ABSENT, "blk.%d.attn_qkv", "model.layers.%d.self_attn.qkv_proj"},
    {AZ_PART_V, AZ_REQUIRED, AZ_ABSENT, "blk.%d.attn_qkv", "model.layers.%d.self_attn.qkv_proj"},
    {AZ_PART_O, AZ_REQUIRED, AZ_ABSENT, "blk.%d.attn_output", "model.layers.%d.self_attn.o_proj"},
    {AZ_PART_MLP_NORM, AZ_REQUIRED, AZ_ABSENT, "blk.%d.ffn_norm", "model.layers.%d.post_attention_layernorm"},
    {AZ_PART_GATE, AZ_REQUIRED, AZ_ABSENT, "blk.%d.ffn_up", "model.layers.%d.mlp.gate_up_proj"},
    {AZ_PART_UP, AZ_REQUIRED, AZ_ABSENT, "blk.%d.ffn_up", "model.layers.%d.mlp.gate_up_proj"},
    {AZ_PART_DOWN, AZ_REQUIRED, AZ_ABSENT, "blk.%d.ffn_down", "model.layers.%d.mlp.down_proj"},
    {AZ_PART_FINAL_NORM, AZ_REQUIRED, AZ_ABSENT, "output_norm", "model.norm"},
    {AZ_PART_HEAD, AZ_OPTIONAL, AZ_ABSENT, "output", "lm_head"},
    {.gguf = NULL},
};

static const az_lm_part_names gpt2_parts[] = {
    {AZ_PART_EMBEDDING, AZ_REQUIRED, AZ_ABSENT, "token_embd", "transformer.wte"},
    {AZ_PART_POSITION, AZ_REQUIRED, AZ_ABSENT, "position_embd", "transformer.wpe"},
    {AZ_PART_ATTN_NORM, AZ_REQUIRED, AZ_REQUIRED, "blk.%d.attn_norm", "transformer.h.%d.ln_1"},
    {AZ_PART_Q, AZ_REQUIRED, AZ_REQUIRED, "blk.%d.attn_qkv", "transformer.h.%d.attn.c_attn"},
    {AZ_PART_K, AZ_REQUIRED, AZ_REQUIRED, "blk.%d.attn_qkv", "transformer.h.%d.attn.c_attn"},
    {AZ_PART_V, AZ_REQUIRED, AZ_REQUIRED, "blk.%d.attn_qkv", "transformer.h.%d.attn.c_attn"},
    {AZ_PART_O, AZ_REQUIRED, AZ_REQUIRED, "blk.%d.attn_output", "transformer.h.%d.attn.c_proj"},
    {AZ_PART_MLP_NORM, AZ_REQUIRED, AZ_REQUIRED, "blk.%d.ffn_norm", "transformer.h.%d.ln_2"},
    {AZ_PART_UP, AZ_REQUIRED, AZ_REQUIRED, "blk.%d.ffn_up", "transformer.h.%d.mlp.c_fc"},
    {AZ_PART_DOWN, AZ_REQUIRED, AZ_REQUIRED, "blk.%d.ffn_down", "transformer.h.%d.mlp.c_proj"},
    {AZ_PART_FINAL_NORM, AZ_REQUIRED, AZ_REQUIRED, "output_norm", "transformer.ln_f"},
    {AZ_PART_HEAD, AZ_OPTIONAL, AZ_ABSENT, "output", "lm_head"},
    {.gguf = NULL},
};

static const az_lm_part_names gptneox_parts[] = {
    {AZ_PART_EMBEDDING, AZ_REQUIRED, AZ_ABSENT, "token_embd", "gpt_neox.embed_in"},
    {AZ_PART_ATTN_NORM, AZ_REQUIRED, AZ_REQUIRED, "blk.%d.attn_norm", "gpt_neox.layers.%d.input_layernorm"},
    {AZ_PART_Q, AZ_REQUIRED, AZ_REQUIRED, "blk.%d.attn_qkv", "gpt_neox.layers.%d.attention.query_key_value"},
    {AZ_PART_K, AZ_REQUIRED, AZ_REQUIRED, "blk.%d.attn_qkv", "gpt_neox.layers.%d.attention.query_key_value"},
    {AZ_PART_V, AZ_REQUIRED, AZ_REQUIRED, "blk.%d.attn_qkv", "gpt_neox.layers.%d.attention.query_key_value"},
    {AZ_PART_O, AZ_REQUIRED, AZ_REQUIRED, "blk.%d.attn_output", "gpt_neox.layers.%d.attention.dense"},
    {AZ_PART_MLP_NORM, AZ_REQUIRED, AZ_REQUIRED, "blk.%d.ffn_norm", "gpt_neox.layers.%d.post_attention_layernorm"},
    {AZ_PART_UP, AZ_REQUIRED, AZ_REQUIRED, "blk.%d.ffn_up", "gpt_neox.layers.%d.mlp.dense_h_to_4h"},
    {AZ_PART_DOWN, AZ_REQUIRED, AZ_REQUIRED, "blk.%d.ffn_down", "gpt_neox.layers.%d.mlp.dense_4h_to_h"},
    {AZ_PART_FINAL_NORM, AZ_REQUIRED, AZ_REQUIRED, "output_norm", "gpt_neox.final_layer_norm"},
    {AZ_PART_HEAD, AZ_OPTIONAL, AZ_ABSENT, "output", "embed_out"},
    {.gguf = NULL},
};

static const az_lm_part_names opt_parts[] = {
    {AZ_PART_EMBEDDING, AZ_REQUIRED, AZ_ABSENT, "token_embd", "model.decoder.embed_tokens"},
    {AZ_PART_POSITION, AZ_REQUIRED, AZ_ABSENT, "position_embd", "model.decoder.embed_positions"},
    {AZ_PART_PROJECT_IN, AZ_REQUIRED, AZ_ABSENT, "project_in", "model.decoder.project_in"},
    {AZ_PART_ATTN_NORM, AZ_REQUIRED, AZ_REQUIRED, "blk.%d.attn_norm", "model.decoder.layers.%d.self_attn_layer_norm"},
    {AZ_PART_Q, AZ_REQUIRED, AZ_REQUIRED, "blk.%d.attn_q", "model.decoder.layers.%d.self_attn.q_proj"},
    {AZ_PART_K, AZ_REQUIRED, AZ_REQUIRED, "blk.%d.attn_k", "model.decoder.layers.%d.self_attn.k_proj"},
    {AZ_PART_V, AZ_REQUIRED, AZ_REQUIRED, "blk.%d.attn_v", "model.decoder.layers.%d.self_attn.v_proj"},
    {AZ_PART_O, AZ_REQUIRED, AZ_REQUIRED, "blk.%d.attn_output", "model.decoder.layers.%d.self_attn.out_proj"},
    {AZ_PART_MLP_NORM, AZ_REQUIRED, AZ_REQUIRED, "blk.%d.ffn_norm", "model.decoder.layers.%d.final_layer_norm"},
    {AZ_PART_UP, AZ_REQUIRED, AZ_REQUIRED, "blk.%d.ffn_up", "model.decoder.layers.%d.fc1"},
    {AZ_PART_DOWN, AZ_REQUIRED, AZ_REQUIRED, "blk.%d.ffn_down", "model.decoder.layers.%d.fc2"},
    {AZ_PART_FINAL_NORM, AZ_REQUIRED, AZ_REQUIRED, "output_norm", "model.decoder.final_layer_norm"},
    {AZ_PART_PROJECT_OUT, AZ_REQUIRED, AZ_ABSENT, "project_out", "model.decoder.project_out"},
    {AZ_PART_HEAD, AZ_OPTIONAL, AZ_ABSENT, "output", "lm_head"},
    {.gguf = NULL},
};

static const az_lm_part_names bloom_parts[] = {
    {AZ_PART_EMBEDDING, AZ_REQUIRED, AZ_ABSENT, "token_embd", "transformer.word_embeddings"},
    {AZ_PART_EMBED_NORM, AZ_REQUIRED, AZ_REQUIRED, "token_embd_norm", "transformer.word_embeddings_layernorm"},
    {AZ_PART_ATTN_NORM, AZ_REQUIRED, AZ_REQUIRED, "blk.%d.attn_norm", "transformer.h.%d.input_layernorm"},
    {AZ_PART_Q, AZ_REQUIRED, AZ_REQUIRED, "blk.%d.attn_qkv", "transformer.h.%d.self_attention.query_key_value"},
    {AZ_PART_K, AZ_REQUIRED, AZ_REQUIRED, "blk.%d.attn_qkv", "transformer.h.%d.self_attention.query_key_value"},
    {AZ_PART_V, AZ_REQUIRED, AZ_REQUIRED, "blk.%d.attn_qkv", "transformer.h.%d.self_attention.query_key_value"},
    {AZ_PART_O, AZ_REQUIRED, AZ_REQUIRED, "blk.%d.attn_output", "transformer.h.%d.self_attention.dense"},
    {AZ_PART_MLP_NORM, AZ_REQUIRED, AZ_REQUIRED, "blk.%d.ffn_norm", "transformer.h.%d.post_attention_layernorm"},
    {AZ_PART_UP, AZ_REQUIRED, AZ_REQUIRED, "blk.%d.ffn_up", "transformer.h.%d.mlp.dense_h_to_4h"},
    {AZ_PART_DOWN, AZ_REQUIRED, AZ_REQUIRED, "blk.%d.ffn_down", "transformer.h.%d.mlp.dense_4h_to_h"},
    {AZ_PART_FINAL_NORM, AZ_REQUIRED, AZ_REQUIRED, "output_norm", "transformer.ln_f"},
    {AZ_PART_HEAD, AZ_OPTIONAL, AZ_ABSENT, "output", "lm_head"},
    {.gguf = NULL},
};

static const az_lm_part_names gemma_parts[] = {
    {AZ_PART_EMBEDDING, AZ_REQUIRED, AZ_ABSENT, "token_embd", "model.embed_tokens"},
    {AZ_PART_ATTN_NORM, AZ_REQUIRED, AZ_ABSENT, "blk.%d.attn_norm", "model.layers.%d.input_layernorm"},
    {AZ_PART_Q, AZ_REQUIRED, AZ_ABSENT, "blk.%d.attn_q", "model.layers.%d.self_attn.q_proj"},
    {AZ_PART_K, AZ_REQUIRED, AZ_ABSENT, "blk.%d.attn_k", "model.layers.%d.self_attn.k_proj"},
    {AZ_PART_V, AZ_REQUIRED, AZ_ABSENT, "blk.%d.attn_v", "model.layers.%d.self_attn.v_proj"},
    {AZ_PART_O, AZ_REQUIRED, AZ_ABSENT, "blk.%d.attn_output", "model.layers.%d.self_attn.o_proj"},
    {AZ_PART_MLP_NORM, AZ_REQUIRED, AZ_ABSENT, "blk.%d.ffn_norm", "model.layers.%d.post_attention_layernorm"},
    {AZ_PART_GATE, AZ_REQUIRED, AZ_ABSENT, "blk.%d.ffn_gate", "model.layers.%d.mlp.gate_proj"},
    {AZ_PART_UP, AZ_REQUIRED, AZ_ABSENT, "blk.%d.ffn_up", "model.layers.%d.mlp.up_proj"},
    {AZ_PART_DOWN, AZ_REQUIRED, AZ_ABSENT, "blk.%d.ffn_down", "model.layers.%d.mlp.down_proj"},
    {AZ_PART_FINAL_NORM, AZ_REQUIRED, AZ_ABSENT, "output_norm", "model.norm"},
    {AZ_PART_HEAD, AZ_OPTIONAL, AZ_ABSENT, "output", "lm_head"},
    {.gguf = NULL},
};

static const az_lm_part_names gemma2_parts[] = {
    {AZ_PART_EMBEDDING, AZ_REQUIRED, AZ_ABSENT, "token_embd", "model.embed_tokens"},
    {AZ_PART_ATTN_NORM, AZ_REQUIRED, AZ_ABSENT, "blk.%d.attn_norm", "model.layers.%d.input_layernorm"},
    {AZ_PART_Q, AZ_REQUIRED, AZ_ABSENT, "blk.%d.attn_q", "model.layers.%d.self_attn.q_proj"},
    {AZ_PART_K, AZ_REQUIRED, AZ_ABSENT, "blk.%d.attn_k", "model.layers.%d.self_attn.k_proj"},
    {AZ_PART_V, AZ_REQUIRED, AZ_ABSENT, "blk.%d.attn_v", "model.layers.%d.self_attn.v_proj"},
    {AZ_PART_O, AZ_REQUIRED, AZ_ABSENT, "blk.%d.attn_output", "model.layers.%d.self_attn.o_proj"},
    {AZ_PART_ATTN_POST_NORM, AZ_REQUIRED, AZ_ABSENT, "blk.%d.post_attention_norm", "model.layers.%d.post_attention_layernorm"},
    {AZ_PART_MLP_NORM, AZ_REQUIRED, AZ_ABSENT, "blk.%d.ffn_norm", "model.layers.%d.pre_feedforward_layernorm"},
    {AZ_PART_GATE, AZ_REQUIRED, AZ_ABSENT, "blk.%d.ffn_gate", "model.layers.%d.mlp.gate_proj"},
    {AZ_PART_UP, AZ_REQUIRED, AZ_ABSENT, "blk.%d.ffn_up", "model.layers.%d.mlp.up_proj"},
    {AZ_PART_DOWN, AZ_REQUIRED, AZ_ABSENT, "blk.%d.ffn_down", "model.layers.%d.mlp.down_proj"},
    {AZ_PART_MLP_POST_NORM, AZ_REQUIRED, AZ_ABSENT, "blk.%d.post_ffw_norm", "model.layers.%d.post_feedforward_layernorm"},
    {AZ_PART_FINAL_NORM, AZ_REQUIRED, AZ_ABSENT, "output_norm", "model.norm"},
    {AZ_PART_HEAD, AZ_OPTIONAL, AZ_ABSENT, "output", "lm_head"},
    {.gguf = NULL},
};

static const az_lm_part_names gemma3_parts[] = {
    {AZ_PART_EMBEDDING, AZ_REQUIRED, AZ_ABSENT, "token_embd", "model.embed_tokens"},
    {AZ_PART_ATTN_NORM, AZ_REQUIRED, AZ_ABSENT, "blk.%d.attn_norm", "model.layers.%d.input_layernorm"},
    {AZ_PART_Q, AZ_REQUIRED, AZ_ABSENT, "blk.%d.attn_q", "model.layers.%d.self_attn.q_proj"},
    {AZ_PART_K, AZ_REQUIRED, AZ_ABSENT, "blk.%d.attn_k", "model.layers.%d.self_attn.k_proj"},
    {AZ_PART_V, AZ_REQUIRED, AZ_ABSENT, "blk.%d.attn_v", "model.layers.%d.self_attn.v_proj"},
    {AZ_PART_Q_NORM, AZ_REQUIRED, AZ_ABSENT, "blk.%d.attn_q_norm", "model.layers.%d.self_attn.q_norm"},
    {AZ_PART_K_NORM, AZ_REQUIRED, AZ_ABSENT, "blk.%d.attn_k_norm", "model.layers.%d.self_attn.k_norm"},
    {AZ_PART_O, AZ_REQUIRED, AZ_ABSENT, "blk.%d.attn_output", "model.layers.%d.self_attn.o_proj"},
    {AZ_PART_ATTN_POST_NORM, AZ_REQUIRED, AZ_ABSENT, "blk.%d.post_attention_norm", "model.layers.%d.post_attention_layernorm"},
    {AZ_PART_MLP_NORM, AZ_REQUIRED, AZ_ABSENT, "blk.%d.ffn_norm", "model.layers.%d.pre_feedforward_layernorm"},
    {AZ_PART_GATE, AZ_REQUIRED, AZ_ABSENT, "blk.%d.ffn_gate", "model.layers.%d.mlp.gate_proj"},
    {AZ_PART_UP, AZ_REQUIRED, AZ_ABSENT, "blk.%d.ffn_up", "model.layers.%d.mlp.up_proj"},
    {AZ_PART_DOWN, AZ_REQUIRED, AZ_ABSENT, "blk.%d.ffn_down", "model.layers.%d.mlp.down_proj"},
    {AZ_PART_MLP_POST_NORM, AZ_REQUIRED, AZ_ABSENT, "blk.%d.post_ffw_norm", "model.layers.%d.post_feedforward_layernorm"},
    {AZ_PART_FINAL_NORM, AZ_REQUIRED, AZ_ABSENT, "output_norm", "model.norm"},
    {AZ_PART_HEAD, AZ_OPTIONAL, AZ_ABSENT, "output", "lm_head"},
    {.gguf = NULL},
};

/* Norms stand behind the halves of a block, and those of q and k are of all heads together. */
static const az_lm_part_names olmo2_parts[] = {
    {AZ_PART_EMBEDDING, AZ_REQUIRED, AZ_ABSENT, "token_embd", "model.embed_tokens"},
    {AZ_PART_Q, AZ_REQUIRED, AZ_OPTIONAL, "blk.%d.attn_q", "model.layers.%d.self_attn.q_proj"},
    {AZ_PART_K, AZ_REQUIRED, AZ_OPTIONAL, "blk.%d.attn_k", "model.layers.%d.self_attn.k_proj"},
    {AZ_PART_V, AZ_REQUIRED, AZ_OPTIONAL, "blk.%d.attn_v", "model.layers.%d.self_attn.v_proj"},
    {AZ_PART_Q_NORM, AZ_REQUIRED, AZ_ABSENT, "blk.%d.attn_q_norm", "model.layers.%d.self_attn.q_norm"},
    {AZ_PART_K_NORM, AZ_REQUIRED, AZ_ABSENT, "blk.%d.attn_k_norm", "model.layers.%d.self_attn.k_norm"},
    {AZ_PART_O, AZ_REQUIRED, AZ_OPTIONAL, "blk.%d.attn_output", "model.layers.%d.self_attn.o_proj"},
    {AZ_PART_ATTN_POST_NORM, AZ_REQUIRED, AZ_ABSENT, "blk.%d.post_attention_norm", "model.layers.%d.post_attention_layernorm"},
    {AZ_PART_GATE, AZ_REQUIRED, AZ_ABSENT, "blk.%d.ffn_gate", "model.layers.%d.mlp.gate_proj"},
    {AZ_PART_UP, AZ_REQUIRED, AZ_ABSENT, "blk.%d.ffn_up", "model.layers.%d.mlp.up_proj"},
    {AZ_PART_DOWN, AZ_REQUIRED, AZ_ABSENT, "blk.%d.ffn_down", "model.layers.%d.mlp.down_proj"},
    {AZ_PART_MLP_POST_NORM, AZ_REQUIRED, AZ_ABSENT, "blk.%d.post_ffw_norm", "model.layers.%d.post_feedforward_layernorm"},
    {AZ_PART_FINAL_NORM, AZ_REQUIRED, AZ_ABSENT, "output_norm", "model.norm"},
    {AZ_PART_HEAD, AZ_OPTIONAL, AZ_ABSENT, "output", "lm_head"},
    {.gguf = NULL},
};

static const az_lm_part_names stablelm_parts[] = {
    {AZ_PART_EMBEDDING, AZ_REQUIRED, AZ_ABSENT, "token_embd", "model.embed_tokens"},
    {AZ_PART_ATTN_NORM, AZ_REQUIRED, AZ_REQUIRED, "blk.%d.attn_norm", "model.layers.%d.input_layernorm"},
    {AZ_PART_Q, AZ_REQUIRED, AZ_OPTIONAL, "blk.%d.attn_q", "model.layers.%d.self_attn.q_proj"},
    {AZ_PART_K, AZ_REQUIRED, AZ_OPTIONAL, "blk.%d.attn_k", "model.layers.%d.self_attn.k_proj"},
    {AZ_PART_V, AZ_REQUIRED, AZ_OPTIONAL, "blk.%d.attn_v", "model.layers.%d.self_attn.v_proj"},
    {AZ_PART_O, AZ_REQUIRED, AZ_ABSENT, "blk.%d.attn_output", "model.layers.%d.self_attn.o_proj"},
    {AZ_PART_MLP_NORM, AZ_REQUIRED, AZ_REQUIRED, "blk.%d.ffn_norm", "model.layers.%d.post_attention_layernorm"},
    {AZ_PART_GATE, AZ_REQUIRED, AZ_ABSENT, "blk.%d.ffn_gate", "model.layers.%d.mlp.gate_proj"},
    {AZ_PART_UP, AZ_REQUIRED, AZ_ABSENT, "blk.%d.ffn_up", "model.layers.%d.mlp.up_proj"},
    {AZ_PART_DOWN, AZ_REQUIRED, AZ_ABSENT, "blk.%d.ffn_down", "model.layers.%d.mlp.down_proj"},
    {AZ_PART_FINAL_NORM, AZ_REQUIRED, AZ_REQUIRED, "output_norm", "model.norm"},
    {AZ_PART_HEAD, AZ_OPTIONAL, AZ_ABSENT, "output", "lm_head"},
    {.gguf = NULL},
};

static const az_lm_arch architectures[] = {
    {
        .name = "llama",
        .norm = AZ_NORM_RMS,
        .mlp = AZ_MLP_SWIGLU,
        .position = AZ_POSITION_ROPE_PAIRS,
        .pairs_in_gguf = true,
        .norm_eps = 1e-5,
        .rope_theta = 10000,
        .elsewhere = AZ_ELSEWHERE_KNOWN | AZ_ELSEWHERE_TIED | AZ_ELSEWHERE_UNTIED,
        .parts = llama_parts,
    },
    {
        .name = "llama", /* as a Hugging Face folder stores it */
        .norm = AZ_NORM_RMS,
        .mlp = AZ_MLP_SWIGLU,
        .position = AZ_POSITION_ROPE_HALVES,
        .pairs_in_gguf = true,
        .norm_eps = 1e-5,
        .rope_theta = 10000,
        .elsewhere = AZ_ELSEWHERE_KNOWN | AZ_ELSEWHERE_TIED | AZ_ELSEWHERE_UNTIED,
        .parts = llama_parts,
    },
    {
        .name = "qwen2",
        .norm = AZ_NORM_RMS,
        .mlp = AZ_MLP_SWIGLU,
        .position = AZ_POSITION_ROPE_HALVES,
        .norm_eps = 1e-6,
        .rope_theta = 10000,
        .elsewhere = AZ_ELSEWHERE_KNOWN | AZ_ELSEWHERE_TIED | AZ_ELSEWHERE_UNTIED,
        .parts = qwen2_parts,
    },
    {
        .name = "qwen3",
        .norm = AZ_NORM_RMS,
        .mlp = AZ_MLP_SWIGLU,
        .position = AZ_POSITION_ROPE_HALVES,
        .norm_eps = 1e-6,
        .rope_theta = 10000,
        .elsewhere = AZ_ELSEWHERE_KNOWN | AZ_ELSEWHERE_TIED | AZ_ELSEWHERE_UNTIED,
        .parts = qwen3_parts,
    },
    {
        .name = "phi3",
        .norm = AZ_NORM_RMS,
        .mlp = AZ_MLP_SWIGLU,
        .position = AZ_POSITION_ROPE_HALVES,
        .norm_eps = 1e-5,
        .rope_theta = 10000,
        .elsewhere = AZ_ELSEWHERE_KNOWN | AZ_ELSEWHERE_TIED | AZ_ELSEWHERE_UNTIED,
        .parts = phi3_parts,
    },
    {
        .name = "gemma",
        .norm = AZ_NORM_RMS,
        .mlp = AZ_MLP_GEGLU,
        .position = AZ_POSITION_ROPE_HALVES,
        .embedding_scale_power = 0.5,
        .norm_eps = 1e-6,
        .rope_theta = 10000,
        .elsewhere = AZ_ELSEWHERE_KNOWN | AZ_ELSEWHERE_TIED,
        .parts = gemma_parts,
    },
    {
        .name = "gemma2",
        .norm = AZ_NORM_RMS,
        .mlp = AZ_MLP_GEGLU,
        .position = AZ_POSITION_ROPE_HALVES,
        .embedding_scale_power = 0.5,
        .norm_eps = 1e-6,
        .rope_theta = 10000,
        .window = 4096,
        .window_pattern = 2,
        .attention_softcap = 50,
        .logit_softcap = 30,
        .wide_scale_blocks = 46,
        .elsewhere =
            AZ_ELSEWHERE_KNOWN | AZ_ELSEWHERE_TIED | AZ_ELSEWHERE_WINDOW | AZ_ELSEWHERE_ATTENTION_SOFTCAP | AZ_ELSEWHERE_LOGIT_SOFTCAP,
        .parts = gemma2_parts,
    },
    {
        .name = "gemma3",
        .norm = AZ_NORM_RMS,
        .mlp = AZ_MLP_GEGLU,
        .position = AZ_POSITION_ROPE_HALVES,
        .embedding_scale_power = 0.5,
        .norm_eps = 1e-6,
        .rope_theta = 1000000,
        .window_pattern = 6,
        .rope_theta_local = 10000,
        .wide_scale_blocks = 62,
        .elsewhere = AZ_ELSEWHERE_KNOWN | AZ_ELSEWHERE_TIED | AZ_ELSEWHERE_UNTIED | AZ_ELSEWHERE_WINDOW | AZ_ELSEWHERE_LOGIT_SOFTCAP,
        .parts = gemma3_parts,
    },
    {
        .name = "gpt2",
        .norm = AZ_NORM_LAYER,
        .mlp = AZ_MLP_GELU_TANH,
        .position = AZ_POSITION_LEARNED,
        .norm_eps = 1e-5,
        .rope_theta = 10000,
        .elsewhere = AZ_ELSEWHERE_KNOWN | AZ_ELSEWHERE_TIED | AZ_ELSEWHERE_UNTIED,
        .parts = gpt2_parts,
    },
    {
        .name = "gptneox",
        .norm = AZ_NORM_LAYER,
        .mlp = AZ_MLP_GELU,
        .position = AZ_POSITION_ROPE_HALVES,
        .parallel = true,
        .norm_eps = 1e-5,
        .rope_theta = 10000,
        .elsewhere = AZ_ELSEWHERE_KNOWN | AZ_ELSEWHERE_UNTIED,
        .parts = gptneox_parts,
    },
    {
        .name = "opt",
        .norm = AZ_NORM_LAYER,
        .mlp = AZ_MLP_RELU,
        .position = AZ_POSITION_LEARNED,
        .position_offset = 2,
        .post_norm = true,
        .norm_eps = 1e-5,
        .rope_theta = 10000,
        .parts = opt_parts,
    },
    {
        .name = "smollm3",
        .norm = AZ_NORM_RMS,
        .mlp = AZ_MLP_SWIGLU,
        .position = AZ_POSITION_ROPE_PAIRS,
        .pairs_in_gguf = true,
        .norm_eps = 1e-6,
        .rope_theta = 10000,
        .rope_pattern = 4,
        .elsewhere = AZ_ELSEWHERE_KNOWN | AZ_ELSEWHERE_TIED | AZ_ELSEWHERE_UNTIED,
        .parts = llama_parts,
    },
    {
        .name = "smollm3",
        .norm = AZ_NORM_RMS,
        .mlp = AZ_MLP_SWIGLU,
        .position = AZ_POSITION_ROPE_HALVES,
        .pairs_in_gguf = true,
        .norm_eps = 1e-6,
        .rope_theta = 10000,
        .rope_pattern = 4,
        .elsewhere = AZ_ELSEWHERE_KNOWN | AZ_ELSEWHERE_TIED | AZ_ELSEWHERE_UNTIED,
        .parts = llama_parts,
    },
    {
        .name = "granite",
        .norm = AZ_NORM_RMS,
        .mlp = AZ_MLP_SWIGLU,
        .position = AZ_POSITION_ROPE_PAIRS,
        .pairs_in_gguf = true,
        .scales = true,
        .norm_eps = 1e-6,
        .rope_theta = 10000,
        .elsewhere = AZ_ELSEWHERE_KNOWN | AZ_ELSEWHERE_TIED | AZ_ELSEWHERE_UNTIED | AZ_ELSEWHERE_SCALE,
        .parts = llama_parts,
    },
    {
        .name = "granite",
        .norm = AZ_NORM_RMS,
        .mlp = AZ_MLP_SWIGLU,
        .position = AZ_POSITION_ROPE_HALVES,
        .pairs_in_gguf = true,
        .scales = true,
        .norm_eps = 1e-6,
        .rope_theta = 10000,
        .elsewhere = AZ_ELSEWHERE_KNOWN | AZ_ELSEWHERE_TIED | AZ_ELSEWHERE_UNTIED | AZ_ELSEWHERE_SCALE,
        .parts = llama_parts,
    },
    {
        .name = "olmo2",
        .norm = AZ_NORM_RMS,
        .mlp = AZ_MLP_SWIGLU,
        .position = AZ_POSITION_ROPE_HALVES,
        .wide_qk_norm = true,
        .plain_in_window = true,
        .norm_eps = 1e-5,
        .rope_theta = 10000,
        .window_pattern = 4,
        .elsewhere = AZ_ELSEWHERE_KNOWN | AZ_ELSEWHERE_UNTIED | AZ_ELSEWHERE_WINDOW,
        .parts = olmo2_parts,
    },
    {
        .name = "stablelm",
        .norm = AZ_NORM_LAYER,
        .mlp = AZ_MLP_SWIGLU,
        .position = AZ_POSITION_ROPE_HALVES,
        .norm_eps = 1e-5,
        .rope_theta = 10000,
        .elsewhere = AZ_ELSEWHERE_KNOWN | AZ_ELSEWHERE_UNTIED,
        .parts = stablelm_parts,
    },
    {
        .name = "bloom",
        .norm = AZ_NORM_LAYER,
        .mlp = AZ_MLP_GELU_TANH,
        .position = AZ_POSITION_ALIBI,
        .norm_eps = 1e-5,
        .rope_theta = 10000,
        .elsewhere = AZ_ELSEWHERE_KNOWN | AZ_ELSEWHERE_TIED | AZ_ELSEWHERE_UNTIED,
        .parts = bloom_parts,
    },
};

enum { ARCHITECTURES = sizeof architectures / sizeof *architectures };

const az_lm_arch *az_lm_arch_by_name(const char *name)
{
    for (int i = 0; i < ARCHITECTURES; i++)
        if (strcmp(architectures[i].name, name) == 0) return &architectures[i];
    return NULL;
}

const az_lm_arch *az_lm_arch_by_halves(const char *name)
{
    for (int i = 0; i < ARCHITECTURES; i++)
        if (strcmp(architectures[i].name, name) == 0 && architectures[i].position != AZ_POSITION_ROPE_PAIRS) return &architectures[i];
    return NULL;
}

bool az_lm_arch_reorders_gguf(const az_lm_arch *arch)
{
    return arch->pairs_in_gguf && arch->position == AZ_POSITION_ROPE_HALVES;
}

bool az_lm_arch_reorders_huggingface(const az_lm_arch *arch)
{
    return arch->position == AZ_POSITION_ROPE_PAIRS;
}

int az_lm_architectures(const char **names, int most)
{
    int n = 0;
    for (int i = 0; i < ARCHITECTURES && n < most; i++)
        if (i == 0 || strcmp(architectures[i].name, architectures[i - 1].name) != 0) names[n++] = architectures[i].name;
    return n;
}

const char *az_lm_arch_names(az_ctx *az)
{
    const char *name[ARCHITECTURES], *names = NULL;
    const int n = az_lm_architectures(name, ARCHITECTURES);
    for (int i = 0; i < n; i++) names = names ? az_format_text(az, "%s, %s", names, name[i]) : name[i];
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
        [AZ_PART_EMBED_NORM] = "embed_norm",
        [AZ_PART_PROJECT_IN] = "project_in",
        [AZ_PART_FINAL_NORM] = "final_norm",
        [AZ_PART_PROJECT_OUT] = "project_out",
        [AZ_PART_HEAD] = "head",
        [AZ_PART_ATTN_NORM] = "attn_norm",
        [AZ_PART_Q] = "attn.q",
        [AZ_PART_K] = "attn.k",
        [AZ_PART_V] = "attn.v",
        [AZ_PART_Q_NORM] = "attn.q_norm",
        [AZ_PART_K_NORM] = "attn.k_norm",
        [AZ_PART_O] = "attn.o",
        [AZ_PART_ATTN_POST_NORM] = "attn_post_norm",
        [AZ_PART_MLP_NORM] = "mlp_norm",
        [AZ_PART_GATE] = "mlp.gate",
        [AZ_PART_UP] = "mlp.up",
        [AZ_PART_DOWN] = "mlp.down",
        [AZ_PART_ROUTER] = "mlp.router",
        [AZ_PART_EXPERT_GATE] = "mlp.experts.%d.gate",
        [AZ_PART_EXPERT_UP] = "mlp.experts.%d.up",
        [AZ_PART_EXPERT_DOWN] = "mlp.experts.%d.down",
        [AZ_PART_MLP_POST_NORM] = "mlp_post_norm",
    };
    return names[part];
}
