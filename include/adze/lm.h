/* lm.h - language models: files, tokenizers, the forward pass, generation, scoring and training.
 *
 * There is one forward pass. It serves decoding (with a cache), batched evaluation, training (with an open tape), calibration and
 * study; what methods need to see or change, they reach through hooks on named sites. */
#ifndef ADZE_LM_H
#define ADZE_LM_H

#include "adze/data.h"
#include "adze/optim.h"
#include "adze/tensor.h"
#include "adze/weight.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- tokens ------------------------------------------------------------------------------------------------------------------ */

typedef struct az_tokens {
    int32_t *id;
    int64_t n;
} az_tokens;

typedef enum az_token_type {
    AZ_TOKEN_NORMAL = 1,
    AZ_TOKEN_UNKNOWN,
    AZ_TOKEN_CONTROL,
    AZ_TOKEN_USER,
    AZ_TOKEN_UNUSED,
    AZ_TOKEN_BYTE
} az_token_type;

/* Byte-level BPE (merges by rank), or SentencePiece-style BPE (merges by score, byte fallback). */
typedef struct az_tokenizer az_tokenizer;
/* BOS and EOS are added where the vocabulary has them; without AZ_PARSE_SPECIAL the spelling of a control token is plain text. */
typedef enum az_tokenize_flags { AZ_ADD_BOS = 1, AZ_ADD_EOS = 2, AZ_PARSE_SPECIAL = 4 } az_tokenize_flags;

az_tokens az_tokenize(az_ctx *az, const az_tokenizer *tokenizer, const char *text, size_t length, int flags);
/* Bytes of a sequence, zero-terminated; special tokens are left out. */
char *az_detokenize(az_ctx *az, const az_tokenizer *tokenizer, const int32_t *id, int64_t n, size_t *length);
/* Bytes that token id adds when it follows `previous` (-1 = nothing): not zero-terminated, may be part of a character; none for special
 * tokens and ids outside the vocabulary. */
const char *az_token_bytes(const az_tokenizer *tokenizer, int32_t id, int32_t previous, size_t *length);
int64_t az_vocabulary(const az_tokenizer *tokenizer);
int32_t az_token_bos(const az_tokenizer *tokenizer); /* -1 when there is none */
int32_t az_token_eos(const az_tokenizer *tokenizer);
/* Whether generation stops at the token: EOS, and the ends of a turn that the model's files name (several eos_token_id, GGUF's eot and eom)
 * or that are special tokens spelled like one ("<|im_end|>", "<end_of_turn>", ...). */
bool az_token_ends(const az_tokenizer *tokenizer, int32_t id);
bool az_tokenizer_wants_bos(const az_tokenizer *tokenizer);            /* the model's file asks for BOS in front of a prompt */
const char *az_token_text(const az_tokenizer *tokenizer, int32_t id);  /* as the vocabulary spells it */
const char *az_tokenizer_chat_template(const az_tokenizer *tokenizer); /* as the model's file states it, NULL = none */
/* Learns a byte-level BPE of `vocabulary` entries (256 bytes, <|endoftext|>, then merges by frequency, ties to the pair whose bytes sort
 * greater) on words as the GPT-2 pattern splits them. Fewer entries (noted) when the text has no more pairs. */
az_tokenizer *az_tokenizer_train(az_ctx *az, const az_documents *documents, int64_t vocabulary);
az_tokenizer *az_tokenizer_read_llama2c(az_ctx *az, const char *path, int64_t vocabulary);
/* Hugging Face's tokenizer.json. What cannot be expressed here is an error that names it. */
az_tokenizer *az_tokenizer_read_json(az_ctx *az, const char *path);
bool az_tokenizer_write_json(az_ctx *az, const az_tokenizer *tokenizer, const char *path);
/* SentencePiece's tokenizer.model (BPE and Unigram). */
az_tokenizer *az_tokenizer_read_sentencepiece(az_ctx *az, const char *path);
/* The tokenizer alone, of a model (whatever az_lm_load reads; its weights may be missing, as in a GGUF file of a vocabulary, or a folder
 * without them), of a tokenizer.json or of a tokenizer.model. An error where there is none. */
az_tokenizer *az_tokenizer_load(az_ctx *az, const char *path);

/* The prompt that a chat template makes of messages, a JSON list [{"role": "user", "content": "..."}, ...]. form: the name of a form
 * (chatml, llama2, llama3, mistral, gemma, phi3, zephyr), the text of a template, or NULL = the model's own. Templates are written in
 * Jinja; for, if, set, the filters, tests and methods that published ones use are known, others are errors that name them, as is what a
 * template refuses. Tokenize the prompt with AZ_PARSE_SPECIAL and without AZ_ADD_BOS when it begins with BOS. tokenizer may be NULL. */
char *az_chat_render(az_ctx *az, const az_tokenizer *tokenizer, const char *form, const char *messages, bool add_generation_prompt);

/* ---- the model --------------------------------------------------------------------------------------------------------------- */

typedef struct az_lm_arch az_lm_arch; /* a row of the architecture table, src/lm/arch.h */

typedef struct az_lm_config {
    int64_t vocabulary, width, blocks, heads, kv_heads, head_dim, hidden, context;
    double norm_eps, rope_theta;
    int64_t rope_dims;       /* turned dimensions of each head */
    int64_t window;          /* sliding attention window, 0 = none */
    int64_t window_pattern;  /* every window_pattern-th block has no window; 0 = all have it. az_lm_block.windowed decides */
    double rope_theta_local; /* of the blocks with a window; 0 = rope_theta */
    double attention_scale;  /* of the scores; 0 = 1/sqrt(head_dim) */
    double attention_softcap, logit_softcap; /* x becomes cap tanh(x / cap); 0 = x stays */
    int64_t experts, experts_used;           /* mixture of experts; 0 = none */
    bool tied;                               /* the head is the embedding */
    bool sequential;                         /* attention, then the network, in an architecture that has both side by side */
    bool post_norm;                          /* x becomes norm(x + attn(x)), then norm(x + mlp(x)); the last block has the last norm */
    int64_t embed_width;                     /* of a row of the embedding and of the head; 0 = width */
    double rope_magnitude;                   /* what turns is also multiplied by this; 0 = 1 */
    int64_t rope_original;                   /* longer sequences turn by az_lm.rope_frequency_long, where there is one */
    int64_t rope_pattern;                    /* every rope_pattern-th block does not turn queries and keys; 0 = all do */
    double embedding_scale;                  /* the embedding is multiplied by it; 0 = as the architecture does */
    double residual_scale;                   /* what each half of a block adds is multiplied by it; 0 = 1 */
    double logit_scale;                      /* logits are divided by it; 0 = 1 */
} az_lm_config;

typedef struct az_lm_norm {
    az_tensor *weight, *bias;
    const char *name; /* "blocks.3.attn_norm" */
} az_lm_norm;

typedef struct az_lm_linear {
    const char *name;  /* "blocks.3.attn.q": its sites are <name>.in and <name>.out */
    az_weight *weight; /* [out, in] */
    az_tensor *bias;   /* [out], or NULL */
    int block;         /* -1 for the head */
} az_lm_linear;

typedef struct az_lm_mlp {
    az_lm_linear gate, up, down;
} az_lm_mlp;

typedef struct az_lm_block {
    az_lm_norm attn_norm, mlp_norm;
    az_lm_norm attn_post_norm, mlp_post_norm; /* of what is added to the residual stream; NULL weights in most architectures */
    az_lm_norm q_norm, k_norm;                /* before rotation, of each head or of all together; NULL weights in most architectures */
    az_lm_linear q, k, v, o, gate, up, down;  /* gate, up and down have no weight in a mixture of experts */
    az_lm_linear router;                      /* [experts, width], in a mixture of experts */
    az_lm_mlp *expert;                        /* [config.experts], or NULL */
    bool windowed;                            /* sees config.window tokens back only */
    bool turned;                              /* has rotary embedding */
} az_lm_block;

typedef struct az_lm {
    const az_lm_arch *arch;
    az_lm_config config;
    az_weight *embedding;  /* [vocabulary, embed_width] */
    az_weight *position;   /* learned positions [context, width], or NULL */
    az_lm_norm embed_norm; /* of the embedding; a NULL weight in most architectures */
    az_lm_block *block;    /* [config.blocks] */
    az_lm_norm final_norm;
    az_lm_linear project_in, project_out;       /* [width, embed_width] and back; no weight where both are equal */
    az_lm_linear head;                          /* head.weight == embedding when tied */
    az_tensor *rope_frequency;                  /* [rope_dims / 2], f32; NULL without rotary embedding */
    az_tensor *rope_frequency_local;            /* of the blocks with a window; NULL = the same */
    az_tensor *rope_frequency_long;             /* where a sequence may grow beyond config.rope_original tokens; NULL = the same */
    const struct az_rope_scaling *rope_scaling; /* how the frequencies were scaled, as far as it is known; or NULL */
    az_tokenizer *tokenizer;                    /* NULL for a file that brings none */
    const char *name;                           /* file name without folder and ending */
    struct az_lm_metadata *metadata;            /* what else the file said, kept for writing it again */
    az_arena *arena;                            /* owns all of the above */
} az_lm;

/* Reads a GGUF file, a folder of Hugging Face (config.json, model.safetensors or several with an index, a tokenizer if there is one), or a
 * llama2.c checkpoint (.bin; its tokenizer is looked for beside it: tokenizer.bin or tok<vocabulary>.bin).
 * Weights stay mapped; they are read when used. */
az_lm *az_lm_load(az_ctx *az, const char *path);
/* An initialised model: normal(0, 0.02), residual outputs scaled by 1/sqrt(2 blocks); f32. `architecture` is a name of the table
 * ("llama"). Zero fields of the configuration take their defaults (kv_heads = heads, head_dim = width / heads, rope_dims = head_dim;
 * hidden = 8/3 width, rounded up to 32, of a gated network, 4 width of another; norm_eps, rope_theta, windows and soft caps of the
 * architecture). The tokenizer (may be NULL) is not copied: it must live as long as the model. */
az_lm *az_lm_new(az_ctx *az, const char *architecture, const az_lm_config *config, az_tokenizer *tokenizer, uint64_t seed);
/* A model of its own that shares the weights' data: compression works on a copy and leaves the original whole. Tokenizer and metadata
 * remain the original's, which must live as long as the copy. */
az_lm *az_lm_copy(az_ctx *az, const az_lm *lm);
/* az_weight_arrange for every matrix, where so many passes of a token to come are worth its time: from 32 on. Not in a context whose memory
 * is limited: mapped weights do not count there, arranged ones would. */
bool az_lm_arrange(az_ctx *az, az_lm *lm, int64_t passes);
void az_lm_free(az_ctx *az, az_lm *lm);
/* Writes GGUF v3. format: NULL keeps each matrix as it is; otherwise the matrices inside the blocks and the embedding are encoded (f32,
 * f16, q8_0 ...; the embedding and head stay at least q8_0; norms stay f32). Kept weights whose format has no GGUF type are written by
 * their parts, as tensors of adze's own. */
bool az_lm_save(az_ctx *az, const az_lm *lm, const char *path, const az_format *format);
/* Writes a folder as Hugging Face lays it out: config.json, model.safetensors (above 5 GB several with an index) and, with a tokenizer,
 * tokenizer.json, tokenizer_config.json (with the chat template) and generation_config.json. format: f32, f16 or bf16 for all matrices, or
 * q8_0, q5_0 or q4_0 for those inside the blocks; NULL keeps each as it is. Those three and patterns 2:4 are written as compressed tensors,
 * weights of adze's own formats by their parts, other block formats become f32 (noted). Fails on models that no model type of Hugging Face
 * can express: what config.json says is read again and compared, field by field. */
bool az_lm_save_folder(az_ctx *az, const az_lm *lm, const char *folder, const az_format *format);
/* Whether a GGUF file, or a folder, has keys for everything in the model's configuration: fails, as writing it would, with what it has none
 * for. For asking before a long computation whose result will be written. */
bool az_lm_check_file(az_ctx *az, const az_lm *lm);
bool az_lm_check_folder(az_ctx *az, const az_lm *lm);
/* Replaces every weight by its own dense copy (f32 or f64), ready for training; a low-rank one by a low-rank one with such factors. */
bool az_lm_make_trainable(az_ctx *az, az_lm *lm, az_dtype dtype);

/* Replaces every weight that is not dense by its matrix in f32, f16 or bf16. */
bool az_lm_make_dense(az_ctx *az, az_lm *lm, const az_format *format);

const char *az_lm_architecture(const az_lm *lm); /* "llama" */
bool az_lm_is_architecture(const char *name);
/* The names of all architectures, at most `most`; how many were given. */
int az_lm_architectures(const char **names, int most);
/* The linear layers inside the blocks, in the order of the forward pass; the head and the routers of experts are not among them. */
int az_lm_linears(az_ctx *az, az_lm *lm, az_lm_linear ***linears);
/* Whether the architecture has a place for a bias of this layer of the model: files keep no other biases. */
bool az_lm_has_bias(const az_lm *lm, const az_lm_linear *linear);
/* Every tensor of a model of dense matrices and dense factors with its name ("blocks.0.attn.q.weight", a factor of it "...weight.u") and
 * the place that holds it: store a watched header there, run, put the old one back. */
typedef struct az_lm_parameter {
    const char *name;
    az_tensor **slot;
} az_lm_parameter;
int az_lm_parameters(az_ctx *az, az_lm *lm, az_lm_parameter **parameters);
/* Makes trainable only the parameters whose names match one of the globs, separated by commas ("*.u,*.v,*norm*"; "" = all), and lists
 * them. Everything else stays as it is, in any format. Fails when nothing matches. */
int az_lm_choose_parameters(az_ctx *az, az_lm *lm, az_dtype dtype, const char *globs, az_lm_parameter **parameters);
/* Channel i of the block's network becomes what channel order[i] was, on both sides (rows of gate and up with their biases, columns of
 * down); head i of keys and values, with the queries that read it, what head order[i] was. Nothing that the model computes changes. Dense
 * weights only; heads of architectures with slopes of their own stay. */
bool az_lm_permute_channels(az_ctx *az, az_lm *lm, int block, const int32_t *order);
bool az_lm_permute_heads(az_ctx *az, az_lm *lm, int block, const int32_t *order);
int64_t az_lm_parameter_count(const az_lm *lm);
size_t az_lm_bytes(const az_lm *lm);

/* ---- adapters ---------------------------------------------------------------------------------------------------------------- */

/* What sits beside one linear layer, whose weight W [out, in] has any format and is never changed. A layer's y = W x + b becomes
 *     y = W x + b + s B (e * (A drop(x))),    s = alpha / rank, or alpha / sqrt(rank) when the adapter is rank-stabilized (rsLoRA)
 * and with a magnitude m (DoRA), V = W + s B diag(e) A and |V| the norms of its rows, which derivatives take for constants,
 *     y = m / |V| * (V x) + b.
 * Tensors that are NULL do not take part: without a there is no low-rank term. Types are those of the activations (f32, or f64). */
typedef struct az_adapter_layer {
    const char *name;     /* of the linear layer, "blocks.3.attn.q", "head"; or "embed"; or of a norm, which has gain and bias alone */
    int64_t in, out;      /* of the embedding: vocabulary, width */
    int64_t rank;         /* 0 = no low-rank term */
    double alpha, scale;  /* scale = s */
    az_tensor *a;         /* [rank, in]; of the embedding [vocabulary, rank]: row t is what token t gives */
    az_tensor *b;         /* [out, rank] */
    az_tensor *e;         /* [rank], or NULL = ones (AdaLoRA's singular values) */
    az_tensor *magnitude; /* [out], or NULL */
    az_tensor *b_bias;    /* [out], or NULL: added to B's output, before the scale (lora_bias) */
    az_tensor *bias;      /* [out], or NULL: stands in for the layer's own bias */
    az_weight *weight;    /* dense, or NULL: stands in for the layer's own weight (modules_to_save) */
    az_tensor *gain;      /* [out] of a norm, or NULL: stands in for the norm's own (modules_to_save) */
    az_tensor *row_norm;  /* [out] |V| as it was last computed, outside of training; NULL = not yet */
    az_tensor *from, *to; /* [rank] i32, or NULL (S2FT). from: B reads these inputs, as a matrix A of ones and zeros would pick them;
                           * with it, A may be NULL. to: A x is added to these outputs; with it, B may be NULL */
} az_adapter_layer;

/* Networks that make virtual tokens of an instruction, anew in front of every block (IAPT). With h [n, width] the stream at the
 * instruction's tokens, z = h down and A = softmax over the tokens of z attend, what takes the places of the virtual tokens is
 *     p = g(A^T z) up,    g(x) = sum_j numerator_j x^j / (1 + |sum_i denominator_i x^(i+1)|), x being clipped to +-10,
 * or another g. Blocks may share a network; a block without one goes on with the virtual tokens as the block before leaves them. */
typedef enum az_generator_activation {
    AZ_GENERATE_RATIONAL,
    AZ_GENERATE_RELU,
    AZ_GENERATE_GELU,
    AZ_GENERATE_SILU,
    AZ_GENERATE_TANH,
    AZ_GENERATE_IDENTITY,
    AZ_GENERATOR_ACTIVATIONS
} az_generator_activation;
extern const char *const az_generator_activations[]; /* "rational", ...; NULL after the last */
/* A^T z, or for each of t virtual tokens: one of the last t rows of z, or the mean or maximum over one of t stretches of equal length. */
typedef enum az_generator_pooler { AZ_POOL_ATTENTION, AZ_POOL_LAST, AZ_POOL_MEAN, AZ_POOL_MAX } az_generator_pooler;
extern const char *const az_generator_poolers[];
enum { AZ_GENERATOR_NUMERATOR = 7, AZ_GENERATOR_DENOMINATOR = 5 };

typedef struct az_generator_network {
    az_tensor *down, *attend, *up; /* [width, m], [m, virtual_tokens] (NULL with other poolers), [m, width] */
} az_generator_network;
typedef struct az_generator_block {
    int network; /* -1 = none */
    az_generator_activation activation;
    az_tensor *numerator, *denominator; /* [7], [5]; NULL with other activations */
} az_generator_block;
typedef struct az_generators {
    int64_t m;
    az_generator_pooler pooler;
    bool normalize; /* what is pooled is divided by its root mean square in front of g */
    bool unrotated; /* all virtual tokens stand at position 0 of rotary embedding; otherwise at 0, 1, ... The text stands behind them */
    int networks, blocks;
    az_generator_network *network;
    az_generator_block *block;
} az_generators;
az_tensor *az_generator_activate(az_ctx *az, const az_generator_block *block, az_tensor *x);
/* Section "activations": for each block the root mean squares over [-3, 3] of g minus GELU, ReLU, SiLU, x, and the first block's g. A curve
 * of each block's g over [-5, 5]. */
void az_generators_report(az_ctx *az, const az_generators *generators, az_report *report);

/* Templates that put a text and its answer into words, as an adapter was tuned to read them (CPT): input, within and output make a query
 * with its answer, "input: TEXT output: ANSWER" of "input: {}", " " and "output: {}"; between stands behind each example of a context. */
typedef struct az_lm_form {
    const char *input, *output, *within, *between;
} az_lm_form;
/* Fails unless input and output have one "{}" each. */
bool az_lm_form_check(az_ctx *az, const az_lm_form *form);
/* What a token of such words is for. */
enum { AZ_FORM_NOTHING, AZ_FORM_INPUT_FORM, AZ_FORM_INPUT, AZ_FORM_OUTPUT_FORM, AZ_FORM_LABEL, AZ_FORM_ROLES = 4 };
typedef struct az_lm_line {
    int64_t n;
    int32_t *id;   /* [n]; -1 = a soft token, which is no word */
    int32_t *type; /* [n] as above; methods may count on from there */
} az_lm_line;
/* A text up to where its answer begins, and an answer, with no BOS or EOS, in the current scope. Pieces are tokenized apart, so that a
 * query reads the same with and without its answer. Fail when input or answer is NULL. */
bool az_lm_form_query(az_ctx *az, const az_tokenizer *tokenizer, const az_lm_form *form, const char *input, az_lm_line *line);
bool az_lm_form_answer(az_ctx *az, const az_tokenizer *tokenizer, const az_lm_form *form, const char *answer, az_lm_line *line);
/* More tokens of one type behind a line: n given ones, or those of a text of `length` bytes. */
bool az_lm_line_add(az_ctx *az, az_lm_line *line, const int32_t *id, int64_t n, int32_t type);
bool az_lm_line_add_text(az_ctx *az, az_lm_line *line, const az_tokenizer *tokenizer, const char *text, size_t length, int32_t type);

/* An adapter belongs to a model's shape and names, not to one az_lm: it serves every copy and every format of it.
 * Virtual tokens are rows in front of a sequence that are no words. In a batch they are written as tokens -1, -2, ...: token -1 - j stands
 * for virtual token j, whose embedding is row j of `prompt` (0 without it) and whose key and value in block i are, where there is a prefix,
 * those of its row j: [block][key | value][kv_heads * head_dim], after rotation. */
typedef struct az_adapter {
    const char *name; /* of its folder, without the path */
    const char *kind; /* PEFT's peft_type: "LORA", "ADALORA", "PROMPT_TUNING", "PREFIX_TUNING", ... */
    int layers;
    az_adapter_layer *layer; /* [layers] in the order of the forward pass */
    double dropout;          /* of a layer's input in front of A, in training */
    bool rank_stabilized;
    int64_t virtual_tokens;
    az_tensor *prompt;         /* [virtual_tokens, width], or NULL */
    az_tensor *prefix;         /* [virtual_tokens, blocks * 2 * kv_heads * head_dim], or NULL */
    bool has_bos;              /* BOS is among the virtual tokens: what stands behind them begins without it */
    az_generators *generators; /* or NULL; with it a pass has all virtual tokens of a sequence, and its instruction, or none of them */
    const az_lm_form *form;    /* the templates that it was tuned with: scoring, classification and prompts use them; or NULL */
    const char *config;        /* further fields of its adapter_config.json, a JSON object; NULL = none */
    const char *base;          /* az_adapter_base of the only weights that it is for; NULL = for any of its shape */
    az_arena *arena;           /* owns all of the above */
} az_adapter;

/* Which biases of the model are trained: those of all layers and norms, or of layers with a low-rank term. */
typedef enum az_adapter_bias { AZ_BIAS_NONE, AZ_BIAS_ALL, AZ_BIAS_ADAPTED } az_adapter_bias;

/* Layers are named by adze's names, by those of Hugging Face, or by the end of one ("q_proj", "attn.q"), several separated by commas; a
 * text in "/" is a regular expression for a whole Hugging Face name. "all-linear" = every linear layer but the head; "" = the
 * architecture's usual ones (q and v, or the joint query_key_value). */
typedef struct az_adapter_how {
    int64_t rank;
    double alpha, dropout;
    bool rank_stabilized, dora, gaussian; /* gaussian: A ~ N(0, 1 / rank^2) instead of U(-1 / sqrt(in), 1 / sqrt(in)) */
    const char *targets, *exclude;        /* NULL = "" */
    const char *save;                     /* layers and norms that are trained whole: "lm_head", "model.norm"; NULL = none */
    const char *ranks, *alphas;           /* "q_proj=4,down_proj=16": other ranks, other alphas; NULL = none */
    az_adapter_bias bias;
    uint64_t seed;
} az_adapter_how;
/* An adapter that changes nothing yet (B = 0, of the embedding A = 0), trainable, of f32 tensors (f64 for an f64 model). rank 0 and no
 * targets, for methods that add what they want by az_adapter_add_layer. Fails when nothing matches, and names what there is. */
az_adapter *az_adapter_new(az_ctx *az, const az_lm *lm, const az_adapter_how *how);
/* An adapter without layers, for methods that fill it themselves; `kind` as in az_adapter. */
az_adapter *az_adapter_empty(az_ctx *az, const char *name, const char *kind);
/* A place beside the named layer of the model (adze's name), with a low-rank term of zeros unless rank is 0. NULL when there is no such
 * layer. Pointers to other layers of the adapter do not stay valid. */
az_adapter_layer *az_adapter_add_layer(az_ctx *az, const az_lm *lm, az_adapter *adapter, const char *name, int64_t rank, double alpha);
void az_adapter_free(az_ctx *az, az_adapter *adapter);
/* Generators of zeros, as `how` says (its networks' and activations' tensors are made here; how->block[b].network counts from 0 in the
 * order of their first blocks), and as many virtual tokens. */
bool az_adapter_add_generators(az_ctx *az, const az_lm *lm, az_adapter *adapter, const az_generators *how, int64_t virtual_tokens);
/* NULL when nothing sits beside the layer. */
az_adapter_layer *az_adapter_find(const az_adapter *adapter, const char *name);
/* Its tensors with their names ("blocks.3.attn.q.lora_a") and places, for az_lm_gradient and az_lm_fit; returns their number. */
int az_adapter_parameters(az_ctx *az, az_adapter *adapter, az_lm_parameter **parameters);
int64_t az_adapter_parameter_count(const az_adapter *adapter);
/* What Hugging Face calls a layer ("model.layers.3.self_attn.q_proj" for "blocks.3.attn.q"), in the current scope; NULL when it has no name
 * there. */
const char *az_lm_module(az_ctx *az, const az_lm *lm, const char *layer);
/* A digest of the values of the weights beside which the adapter's layers sit, whatever their format and the order of their rows. In the
 * current scope. */
const char *az_adapter_base(az_ctx *az, const az_adapter *adapter, const az_lm *lm);
/* Whether its layers are the model's, in name and shape, and the weights those that it is for; fails with the first that is not. */
bool az_adapter_check(az_ctx *az, const az_adapter *adapter, const az_lm *lm);
/* Reads a folder as PEFT writes it, adapter_config.json and adapter_model.safetensors, for this model: kinds LORA, ADALORA and the kinds of
 * virtual tokens. Rows of joint matrices (gpt2's c_attn) and of q and k go to their places. Fails on what would change the mathematics and
 * is not known here, on shapes that are not the model's, on a rank that the configuration does not explain, on a half of a pair, on modules
 * to save that are missing, and on values that are not finite; names the tensor or the key. The configuration decides as it does in PEFT:
 * pairs outside of target_modules and magnitudes without use_dora are left out, targets without a pair stay as they are (all noted). */
az_adapter *az_adapter_read(az_ctx *az, const az_lm *lm, const char *folder);
/* Writes such a folder: each file whole or not at all. base: the model's name for "base_model_name_or_path". dtype: f32, f16 or bf16.
 * Layers that Hugging Face has in one matrix become one pair with the sum of their ranks, or of theirs if A is the same. */
bool az_adapter_write(az_ctx *az, const az_lm *lm, const az_adapter *adapter, const char *folder, const char *base, az_dtype dtype);

/* Puts the adapter into the model's weights: W + s B diag(e) A, with a magnitude its rows scaled; biases and whole weights as well. A
 * weight of type f32, f64, f16 or bf16 is rounded once to its type. A sparse one keeps its mask: the change counts where it has values. One
 * of low rank U V gets the columns B and rows A, rank + r. Any other format is decoded, changed and encoded again with its settings, if it
 * can be; otherwise it becomes f32. Virtual tokens cannot be merged. Touches nothing when a value would not be finite.
 * Section "merge" of report has a row a layer. With D the change, W' the new weight as it is stored and C = W' - W: change = |D| / |W|,
 * error = |C - D| / |D|, kept = max(0, 1 - error^2), the share of |D|^2 that is there (Frobenius norms), cosine = <C, D> / (|C| |D|).
 * Steps of a format that are coarser than D round it away, or to something larger: kept is near 0, the error may be above 1. A note says
 * when less than half is kept. */
bool az_adapter_merge(az_ctx *az, az_lm *lm, const az_adapter *adapter, az_report *report);
/* The inverse for dense weights: exact up to the rounding of f32. A magnitude needs the norms of the weights before
 * the merge: an adapter that was read beside the merged model does not have them. */
bool az_adapter_unmerge(az_ctx *az, az_lm *lm, const az_adapter *adapter, az_report *report);

/* A prompt as an adapter with templates reads it: BOS, unless that is among its virtual tokens, and the query. In the current scope. */
az_tokens az_adapter_query(az_ctx *az, const az_lm *lm, const az_adapter *adapter, const char *prompt);

/* Takes the change of `out` from the model's own dense f32 weights (az_lm_make_trainable) and puts that of `in` there, without other
 * copies; either may be NULL. Low-rank terms alone; those of whole columns or rows (S2FT) touch nothing else. Changes nothing on an error.
 */
bool az_adapter_switch(az_ctx *az, az_lm *lm, const az_adapter *out, const az_adapter *in);

/* One adapter from n, by weight: cat (A stacked, B side by side: exactly the sum of the changes, rank the sum of the ranks); linear (A =
 * sum sign(w) sqrt|w s| A_i, B = sum sqrt|w s| B_i, equal ranks: what PEFT calls linear, with cross terms); svd (the best change of `rank`,
 * 0 = the largest of theirs). Without magnitudes, biases or virtual tokens. */
typedef enum az_adapter_mix { AZ_MIX_CAT, AZ_MIX_LINEAR, AZ_MIX_SVD } az_adapter_mix;
az_adapter *az_adapter_combine(az_ctx *az, const az_lm *lm, const az_adapter *const *adapter, const double *weight, int n,
                               az_adapter_mix how, int64_t rank);

/* s B diag(e) A as a dense f32 (or f64) matrix [out, in], without a magnitude; zeros without a low-rank term. */
az_tensor *az_adapter_delta(az_ctx *az, const az_adapter_layer *layer);

/* ---- forward ----------------------------------------------------------------------------------------------------------------- */

/* Sequences of different lengths, one after the other: sequence s has the tokens start[s] .. start[s+1] - 1. */
typedef struct az_lm_batch {
    int sequences;
    const int32_t *token;
    const int64_t *start;
} az_lm_batch;

/* Keys and values of earlier tokens, for `sequences` sequences of at most `capacity` tokens. AZ_KV_F32 keeps them as they are; AZ_KV_F16,
 * half of that, is what programs for inference use; AZ_KV_Q8_0 is about half of f16. An f64 model has an f64 cache. Memory is taken in
 * pages as sequences grow. */
typedef struct az_lm_cache az_lm_cache;
az_lm_cache *az_lm_cache_new(az_ctx *az, const az_lm *lm, int sequences, int64_t capacity, az_kv_type type);
int64_t az_lm_cache_length(const az_lm_cache *cache, int sequence);
int64_t az_lm_cache_capacity(const az_lm_cache *cache);
void az_lm_cache_trim(az_lm_cache *cache, int sequence, int64_t length); /* forgets what lies behind */
/* `to` becomes a copy of `from`. They share what both hold; the pass that makes them differ copies no more than a page. */
bool az_lm_cache_fork(az_ctx *az, az_lm_cache *cache, int from, int to);
size_t az_lm_cache_bytes(const az_lm_cache *cache); /* in use now; what sequences share counts once */

/* A hook sees the tensor x [tokens, ...] at each site whose name matches its glob ("blocks.*.mlp.down.in", "blocks.3.resid", "*"), and
 * returns the tensor to go on with: x itself, or a replacement of the same shape. Sites, in order: embed
 * [tokens, width] blocks.i.attn.{q,k,v}.in                normalised input (one tensor, three sites) blocks.i.attn.{q,k,v}.out
 * before rotation, [tokens, heads * head_dim] blocks.i.attn.o.in                      the heads' outputs side by side
 * blocks.i.attn.o.out                     what attention adds to the residual stream blocks.i.resid_mid                      the stream
 * after attention blocks.i.mlp.{gate,up}.in, .out         [tokens, hidden] for .out blocks.i.mlp.down.in, .out blocks.i.resid
 * the stream after the block head.in, head.out                       final norm's output; logits, before a soft cap. The experts of a
 * mixture have blocks.i.mlp.router and blocks.i.mlp.experts.e.{gate,up,down}, which see the tokens that were sent to them. */
typedef struct az_lm_hook {
    const char *site;
    az_tensor *(*see)(az_ctx *az, const char *site, az_tensor *x, void *user);
    void *user;
} az_lm_hook;

typedef enum az_lm_output { AZ_LOGITS_ALL, AZ_LOGITS_LAST /* of each sequence */, AZ_HIDDEN /* the final norm's output */ } az_lm_output;

typedef struct az_lm_run {
    az_lm_cache *cache; /* NULL: sequences start at position 0 and nothing is kept */
    const az_lm_hook *hooks;
    int n_hooks;
    az_lm_output output;
    bool checkpoint; /* with a tape: compute each block's inside again in the backward pass; hooks then see it again, and must
                      * live as long as the tape */
    const az_adapter *const *adapter; /* [adapters] what sits beside the layers; several serve one batch together */
    int adapters;
    const int *adapter_of;      /* [sequences] which of them a sequence uses, -1 = none; NULL = all of them the first */
    const int64_t *instruction; /* [sequences] how many tokens behind the virtual ones generators read; NULL = all */
    uint64_t dropout;           /* key of this pass's dropout in adapters (any number that no other pass has); 0 = none */
} az_lm_run;

/* Logits [tokens or sequences, vocabulary]; with AZ_LOGITS_LAST a sequence without new tokens has no row. run NULL = all zeros. Fails on
 * tokens outside the vocabulary and when a sequence outgrows the cache or (without one) the model's context. With a cache, sequence s of
 * the batch continues sequence s of the cache. */
az_tensor *az_lm_forward(az_ctx *az, const az_lm *lm, const az_lm_batch *batch, const az_lm_run *run);
/* The pieces of the forward pass, for methods that work block by block. A cache counts the new tokens when the head has run. */
az_tensor *az_lm_embed(az_ctx *az, const az_lm *lm, const az_lm_batch *batch, const az_lm_run *run);
/* The rows [n, width] that tokens have in the embedding, as virtual tokens stand in for them: scaled, without positions. */
az_tensor *az_lm_token_rows(az_ctx *az, const az_lm *lm, const int32_t *token, int64_t n);
az_tensor *az_lm_block_forward(az_ctx *az, const az_lm *lm, int block, az_tensor *x, const az_lm_batch *batch, const az_lm_run *run);
az_tensor *az_lm_head_forward(az_ctx *az, const az_lm *lm, az_tensor *x, const az_lm_batch *batch, const az_lm_run *run);

/* ---- scoring ----------------------------------------------------------------------------------------------------------------- */

typedef struct az_lm_score {
    int64_t documents, tokens; /* scored tokens */
    double *nll;               /* [documents] sum over the document's scored tokens, nats */
    double *weight;            /* [documents] number of scored tokens */
    az_estimate mean;          /* nats per token with its standard error over documents */
} az_lm_score;
/* Tokens of a window; by how many it advances; tokens per forward pass; documents. 0 = the model's context; context; automatic; all. */
typedef struct az_lm_score_options {
    int64_t context, stride, batch, limit;
    const az_adapter *adapter; /* beside the model; its virtual tokens stand in front of each window, which is shorter by them; or NULL */
} az_lm_score_options;
/* Every token of every document once, each document for itself, after BOS (without BOS the first token is not scored). Documents longer
 * than the context are cut into windows of `context` tokens that advance by `stride` and score what no earlier window has scored. A
 * single unseparated document counts as the sequence of its windows: each of them is an entry of nll and weight. */
az_lm_score *az_lm_score_documents(az_ctx *az, const az_lm *lm, const az_documents *documents, const az_lm_score_options *options);
/* The responses of examples, each behind its prompt, in the adapter's templates where it has some: an entry an example. context = tokens of
 * an example at most; stride and batch are not used. Examples whose response does not fit are left out (noted). */
az_lm_score *az_lm_score_examples(az_ctx *az, const az_lm *lm, const az_examples *examples, const az_lm_score_options *options);

/* Labels to choose among. */
typedef struct az_lm_labels {
    int n;
    const char **text; /* [n], none twice */
} az_lm_labels;
/* Every response of the examples, in the order in which they come; fails unless there are two. In the current scope. */
const az_lm_labels *az_lm_labels_of(az_ctx *az, const az_examples *examples);
/* -1 when it is none of them. */
int az_lm_label_place(const az_lm_labels *labels, const char *text);
typedef struct az_lm_classify_options {
    const az_adapter *adapter; /* beside the model, its virtual tokens in front; or NULL */
    const az_lm_form *form;    /* NULL = the adapter's; without any, a prompt and its label one behind the other */
    int64_t limit;             /* the first examples only; 0 = all */
    bool whole;                /* compare whole labels where first tokens would do */
    bool per_token;            /* whole labels by log p / tokens, for labels of different lengths */
} az_lm_classify_options;
typedef struct az_lm_classification {
    int64_t count, right; /* examples, and those whose response is the chosen label */
    int64_t unknown;      /* those whose response is no label: they count as wrong */
    int *choice;          /* [count] place of the label */
    double *score;        /* [count * labels] what they were chosen by, nats */
    az_estimate accuracy; /* right / count with Wilson's 95 % interval */
} az_lm_classification;
/* For each example the label l with the largest log p(label l | BOS, prompt) = sum over its tokens, or of its first token alone where that
 * tells all labels apart. Virtual tokens are read once; an adapter with generators makes them anew of each prompt. Prompts that do not fit
 * the context with the longest label are an error. Blau et al., arXiv 2410.17222 (step "predict"). */
az_lm_classification *az_lm_classify(az_ctx *az, const az_lm *lm, const az_examples *examples, const az_lm_labels *labels,
                                     const az_lm_classify_options *options);

/* Calibration sequences: `count` windows of `length` tokens from the documents joined by EOS, chosen by seed (fewer if the text is
 * short: noted). */
typedef struct az_lm_sequences {
    int64_t count, length;
    int32_t *token;
} az_lm_sequences;
az_lm_sequences *az_lm_sample_sequences(az_ctx *az, const az_lm *lm, const az_documents *documents, int64_t count, int64_t length,
                                        uint64_t seed);

/* ---- loss -------------------------------------------------------------------------------------------------------------------- */

/* A batch with what should follow each of its tokens: target [tokens]; a negative one does not count. */
typedef struct az_lm_lesson {
    az_lm_batch batch;
    const int32_t *target;
    const float *weight; /* [tokens] of each token's loss; NULL = 1 */
} az_lm_lesson;
/* Sequences first .. first + count - 1 of calibration text, each token but the first to be predicted from those before it. In the
 * current scope; without tokens when there is an error or sequences are shorter than two tokens. */
az_lm_lesson az_lm_lesson_of(az_ctx *az, const az_lm_sequences *sequences, int64_t first, int64_t count);

/* Sum over the tokens of -log p(target), each times its weight: a scalar, recorded when a tape is open. Logits of a large vocabulary exist
 * a part at a time; for the gradient they are made again. run (may be NULL): hooks and checkpointing; its output is ignored. */
az_tensor *az_lm_loss(az_ctx *az, const az_lm *lm, const az_lm_lesson *lesson, const az_lm_run *run);
/* The sum of -log p(target) of each sequence, [batch.sequences], without weights and outside of tapes. */
bool az_lm_sequence_losses(az_ctx *az, const az_lm *lm, const az_lm_lesson *lesson, const az_lm_run *run, double *loss);
/* scale * loss, and its gradient with respect to n parameters of the model, dense f32 or f64 tensors in the slots of az_lm_parameters or of
 * weights' parts: gradient[i] has the shape of *parameter[i].slot and lives in the current scope. loss may be NULL. */
typedef struct az_lm_objective {
    const az_lm *lm;
    az_lm_lesson lesson;
    double scale;
    az_lm_run run;
} az_lm_objective;
bool az_lm_gradient(az_ctx *az, const az_lm_objective *objective, const az_lm_parameter *parameter, int n, az_tensor **gradient,
                    double *loss);

/* ---- calibration ------------------------------------------------------------------------------------------------------------- */

/* What a linear layer reads, over all tokens of the calibration text; an expert's, over those that its router sends to it. */
typedef struct az_lm_statistics {
    int64_t sequences, tokens;
    const double *sum, *square; /* [in] sums over the tokens of x_j and of x_j^2 */
    const double *sum_square;   /* [in] sum over the sequences of (the sequence's own sum of x_j)^2 */
    az_tensor *gram;            /* [in, in] f64, sum of x x^T; NULL unless asked for */
} az_lm_statistics;
enum { AZ_CALIBRATE_GRAM = 1 };
/* What a whole block reads. */
typedef struct az_lm_block_inputs {
    int block;
    const az_lm_sequences *sequences;
    az_tensor *x; /* [count * length, width] */
} az_lm_block_inputs;
typedef struct az_lm_visitor {
    /* May replace linear->weight (in the model's arena). Returning false ends the drive. */
    bool (*layer)(az_ctx *az, az_lm_linear *linear, const az_lm_statistics *statistics, void *user);
    /* After the layers of a block, before it runs again: may change anything of this block. NULL = nothing to do. */
    bool (*block)(az_ctx *az, const az_lm_block_inputs *inputs, void *user);
    void *user;
} az_lm_visitor;
/* The block-by-block drive of pruning and quantization: each block runs on all sequences as it is, while the statistics of its linear
 * layers' inputs are gathered; the visitor sees the layers in the order of the forward pass (q, k and v share one set of statistics), then
 * the block; then the block, as changed, runs again and makes the next block's inputs (the last one does not). Embedding, norms, router
 * and head are not visited. Fails with layer and feature on activations that are not finite. Of experts without tokens (noted): one
 * token, sum 0, square 1, gram the identity. */
bool az_lm_calibrate(az_ctx *az, az_lm *lm, const az_lm_sequences *sequences, int flags, const az_lm_visitor *visitor);

/* ---- generation -------------------------------------------------------------------------------------------------------------- */

/* Applied in this order: repetition penalty, temperature, top-k, typical, top-p, min-p; then a draw. temperature 0 = greedy. */
typedef struct az_sampler {
    double temperature, top_p, min_p, typical, repeat_penalty;
    int64_t top_k, repeat_last, seed;
} az_sampler;
extern const az_option az_sampler_options[];
/* One token from logits [vocabulary]; history = tokens so far (for the penalty, may be NULL); step makes draws of one generation
 * independent. Settings of zero switch their filter off. Logits of -inf are impossible tokens; NaN and +inf are errors (returns -1). */
int32_t az_sample(az_ctx *az, const az_sampler *sampler, const float *logits, int64_t vocabulary, const az_tokens *history, int64_t step);

/* Called for each new token of a sample (counted from 0); returning false ends that sample. */
typedef bool (*az_token_sink)(int sample, int32_t id, void *user);
typedef struct az_lm_generate_options {
    int64_t max_tokens; /* of a continuation; negative: as many as fit the context */
    int samples;        /* continuations of the one prompt, made side by side; 0 = 1 */
    az_kv_type cache;
    az_sampler sampler; /* sample s draws with the seed sampler.seed + s */
    az_token_sink sink; /* or NULL */
    void *user;
    const az_adapter *adapter; /* beside the model; its virtual tokens are no part of prompt or result; or NULL */
} az_lm_generate_options;
/* Continues the prompt (at least one token) until a token that ends it (az_token_ends; not part of the result), max_tokens, the end of the
 * context, or an interruption, which keeps what is done. Returns prompt and new tokens of each sample [samples]; NULL on an error. The
 * prompt is read once: samples share its part of the cache. */
az_tokens *az_lm_generate(az_ctx *az, const az_lm *lm, const az_tokens *prompt, const az_lm_generate_options *options);

/* ---- training ---------------------------------------------------------------------------------------------------------------- */

typedef struct az_lm_train_settings {
    int64_t steps, batch, accumulate, length; /* optimizer steps; sequences per pass; passes per step; tokens per sequence */
    double lr, lr_floor, warmup;              /* floor as a share of lr, warmup as a share of the steps */
    double weight_decay, beta1, beta2, clip;
    double momentum, damp;               /* SGD and M-FAC; M-FAC */
    int64_t grads, plain_steps;          /* M-FAC: window; first steps along the gradient */
    int64_t galore_rank, galore_refresh; /* GaLore: of matrices inside the blocks; steps that a subspace lasts */
    double galore_scale;
    int optimizer;   /* az_optimizer_kind */
    int schedule;    /* az_schedule_kind */
    bool checkpoint; /* activation checkpointing */
    int64_t save_every, seed;
    const char *resume; /* folder of the training state; NULL or "" = none */
    const char *only;   /* globs of the parameters to train (az_lm_choose_parameters); NULL or "" = all */
} az_lm_train_settings;
extern const az_option az_lm_train_options[];
/* Trains the model on the documents joined by EOS, in windows drawn by (seed, step); its weights become its own (az_lm_make_trainable), or
 * those that `only` chooses, and the others are neither changed nor given a gradient or moments.
 * Inside a window documents do not see each other. With `resume`, the state is written there every save_every steps (atomically) and a
 * run that finds one goes on from it, bit for bit as if it had not stopped; a state of other settings or another text is refused. An
 * interrupted run fails with AZ_INTERRUPTED; the model then holds the last whole step. report receives the section "training" and the
 * loss curve. */
bool az_lm_train(az_ctx *az, az_lm *lm, const az_documents *documents, const az_lm_train_settings *settings, az_report *report);

/* ---- the loop under every kind of training ------------------------------------------------------------------------------------ */

/* A run under way, as its callbacks see it. */
typedef struct az_lm_fit {
    const struct az_lm_fit_plan *plan;
    int64_t step;            /* steps done */
    int64_t tokens;          /* tokens that counted in them */
    az_tensor **value;       /* [plan->n] what the parameters' slots hold; steps change their data in place */
    az_optimizer *optimizer; /* NULL when plan->advance takes the steps */
    double *loss;            /* [settings.steps] of each step done */
    int64_t validations;
    double *valid_step, *valid_loss; /* [validations] */
} az_lm_fit;

/* What to train on what, and what a method does differently. Callbacks that are NULL leave the usual way; those that return bool end the
 * run by returning false (with az_fail). Whatever they draw at random they draw by keys made of the settings' seed and fit->step, and what
 * else they remember from step to step they name in `state`, so that a run goes on bit for bit after a break. */
typedef struct az_lm_fit_plan {
    const az_lm *lm;
    const az_lm_parameter *parameter; /* [n] of the model, of an adapter, or tensors of the method's own */
    int n;
    const bool *decay;                    /* [n] which have weight decay; NULL = matrices */
    const az_lm_train_settings *settings; /* steps, accumulate, learning rate, optimizer, clip, checkpoint, save_every, seed, resume */
    az_lm_run run;                        /* adapters and hooks of the passes; its dropout key is set by the loop */
    const char *task;                     /* for the progress bar and the report's section: "training" */
    const char *identity;                 /* all that the numbers depend on besides the parameters: another one's state is refused */
    int64_t validate_every, patience;     /* steps between validations, 0 = none; validations without improvement that end the run, which
                                           * then, as at its end, goes back to its best parameters; 0 = never */
    void *user;
    /* Pass number `pass` of the run (step * accumulate + k), in the current scope. The loss of a step is the mean over all tokens with a
     * target in its passes. */
    bool (*lesson)(az_ctx *az, const az_lm_fit *fit, int64_t pass, az_lm_lesson *lesson);
    /* Instead of lessons: the step's loss and gradient, gradient[i] of the shape of value[i], contiguous, in the current scope. */
    bool (*gradient)(az_ctx *az, az_lm_fit *fit, az_tensor **gradient, double *loss);
    bool (*revise)(az_ctx *az, az_lm_fit *fit, az_tensor **gradient); /* before clipping and the step */
    /* Instead of gradient, clipping and optimizer: changes value[] itself (zeroth-order methods). */
    bool (*advance)(az_ctx *az, az_lm_fit *fit, double lr, double *loss);
    bool (*after)(az_ctx *az, az_lm_fit *fit); /* behind each step, which is counted already */
    /* More tensors that a break must not lose: their number; names are unique and none begins with "w." or "best.". */
    int (*state)(az_ctx *az, az_lm_fit *fit, az_tensor ***tensor, const char ***name);
    bool (*validate)(az_ctx *az, az_lm_fit *fit, double *loss);
} az_lm_fit_plan;
/* Runs the plan. Progress has the loss, the speed and the time left. report receives a row of the section `task` and the curves of the
 * losses. With settings->resume the state is written there every save_every steps, whole or not at all, and one that is found is taken up.
 * An interruption saves and fails with AZ_INTERRUPTED; the parameters are then those of the last whole step. */
bool az_lm_fit_run(az_ctx *az, const az_lm_fit_plan *plan, az_report *report);

/* ---- examples: what to say after what ------------------------------------------------------------------------------------------ */

typedef struct az_lm_example_options {
    int64_t length;   /* tokens of an example at most, virtual ones included; 0 = the model's context */
    bool whole;       /* tokens of prompts count as well */
    bool last_only;   /* of several answers in one conversation only the last counts */
    const char *chat; /* form or text of a chat template (az_chat_render); NULL or "" = the model's own */
    int64_t virtual_tokens;
    bool no_bos;            /* az_adapter.has_bos */
    const az_lm_form *form; /* az_adapter.form: prompts and responses stand in templates, without EOS; or NULL */
} az_lm_example_options;
/* An example as tokens: [virtual tokens] [BOS] prompt response [EOS]. A prompt and a response are tokenized apart, so that their border is
 * the same whatever follows. target[i] is the token behind token[i] where that counts, -1 elsewhere. */
typedef struct az_lm_example {
    int64_t n; /* tokens that are read; the last target is one further */
    const int32_t *token, *target;
    int64_t counted;
    int64_t source;      /* its place among the az_examples */
    const float *weight; /* [n] as in az_lm_lesson; NULL = ones */
} az_lm_example;
typedef struct az_lm_examples {
    int64_t count, skipped, truncated; /* skipped: no token of a response is left within `length` (or there is none) */
    int64_t tokens, counted;
    az_lm_example *item;
} az_lm_examples;
/* Examples that are too long lose tokens at their end. Of a response without text (noted) there is the end alone to learn: EOS, or the mark
 * that ends a turn; without either the example is skipped. Fails when none is left. */
az_lm_examples *az_lm_examples_of(az_ctx *az, const az_lm *lm, const az_examples *examples, const az_lm_example_options *options);
/* A lesson of n of them side by side, each a sequence of its own; in the current scope. */
az_lm_lesson az_lm_lesson_of_examples(az_ctx *az, const az_lm_examples *examples, const int64_t *which, int n);
/* Pass `pass` of an endless round through the examples, `batch` at a time, in an order of its own for each round by (seed, round). */
az_lm_lesson az_lm_lesson_drawn(az_ctx *az, const az_lm_examples *examples, int64_t batch, int64_t pass, uint64_t seed);
/* Mean loss over all counted tokens; run (may be NULL) as in az_lm_loss. loss_each (may be NULL) [count]: the sum of each example. */
double az_lm_examples_loss(az_ctx *az, const az_lm *lm, const az_lm_examples *examples, const az_lm_run *run, double *loss_each);

#ifdef __cplusplus
}
#endif
#endif
