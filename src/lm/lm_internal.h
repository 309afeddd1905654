/* lm_internal.h - how the files of this room put a model together. */
#ifndef ADZE_LM_INTERNAL_H
#define ADZE_LM_INTERNAL_H

#include "lm/arch.h"

/* Zero fields of a configuration become what the architecture says: kv_heads = heads, head_dim = width / heads, rope_dims = head_dim,
 * norm_eps and rope_theta from the table. */
void az_lm_config_defaults(const az_lm_arch *arch, az_lm_config *config);
/* The sizes of a configuration, and whether each is positive and bounded; names the first that is not as `name` has it, or, where that is
 * NULL, by its own name, with its limit. A size of 0 is one that is missing. */
typedef enum az_lm_size {
    AZ_LM_VOCABULARY,
    AZ_LM_WIDTH,
    AZ_LM_BLOCKS,
    AZ_LM_HEADS,
    AZ_LM_KV_HEADS,
    AZ_LM_HEAD_DIM,
    AZ_LM_HIDDEN,
    AZ_LM_CONTEXT,
    AZ_LM_EMBED_WIDTH,
    AZ_LM_SIZES
} az_lm_size;
bool az_lm_check_sizes(az_ctx *az, const az_lm_config *config, const char *const name[AZ_LM_SIZES]);
/* Sizes are positive and bounded, heads divide as they must; names the field and its limit otherwise. */
bool az_lm_validate(az_ctx *az, const az_lm_arch *arch, const az_lm_config *config);

/* A model in an arena of its own with every name and the rotary frequencies, but no weights. The configuration (after
 * az_lm_config_defaults) must be valid. The tokenizer and metadata are only pointed to. */
az_lm *az_lm_empty(az_ctx *az, const az_lm_arch *arch, const az_lm_config *config, az_tokenizer *tokenizer);

/* az_lm_new for a row that need not be in the table. */
az_lm *az_lm_initialised(az_ctx *az, const az_lm_arch *arch, const az_lm_config *config, az_tokenizer *tokenizer, uint64_t seed);

/* A place of the model that holds a tensor. A matrix lives in *weight, a norm's or bias's vector in *vector; the other is NULL. */
typedef struct az_lm_slot {
    const char *name;        /* "blocks.3.attn.q.weight" */
    const char *gguf;        /* "blk.3.attn_q.weight" */
    const char *huggingface; /* "model.layers.3.self_attn.q_proj.weight" */
    az_lm_part part;
    int block;  /* -1 outside blocks */
    int expert; /* 0 outside experts */
    bool bias, required;
    az_weight **weight;
    az_tensor **vector;
    int64_t rows, cols; /* shape of the matrix; a vector has `rows` entries */
    /* The tensors of the files may hold other places too: theirs has gguf_rows rows, of which this one begins at gguf_row. */
    int64_t gguf_row, gguf_rows, huggingface_row, huggingface_rows;
} az_lm_slot;

/* Every place that the architecture knows, filled or not, in the order of the forward pass, in the current scope. The head is among them
 * also when it is tied (its *weight is then the embedding, or NULL before az_lm_complete). Returns their number. */
int az_lm_slots(az_ctx *az, az_lm *lm, az_lm_slot **slots);

/* Rows of q or k (or of their biases), of whole heads, in the other order for rotary embedding: from halves to pairs, if that is how the
 * model has them, or back. Other places are returned as they are. The bytes of an encoded matrix do as well as its values. */
const az_tensor *az_lm_reorder_rows(az_ctx *az, const az_lm *lm, const az_lm_slot *slot, const az_tensor *rows);
static inline bool az_lm_has_rope_rows(const az_lm_slot *slot)
{
    return slot->part == AZ_PART_Q || slot->part == AZ_PART_K;
}

/* Whether the architecture has such a part at all. */
bool az_lm_knows_part(const az_lm_arch *arch, az_lm_part part);

/* Puts a weight or vector of the right shape into its place: a header of the model's arena that shares the data. */
bool az_lm_attach_weight(az_ctx *az, az_lm *lm, const az_lm_slot *slot, const az_weight *weight);
bool az_lm_attach_vector(az_ctx *az, az_lm *lm, const az_lm_slot *slot, const az_tensor *vector);

/* Ties the head to the embedding when it has no weight of its own (sets config.tied accordingly), and fails with the names of all tensors
 * that are still missing. Every way of making a model ends here. */
bool az_lm_complete(az_ctx *az, az_lm *lm);

/* Places of the tensors of a block that a tape tracks at present, in the current scope; returns their number. */
int az_lm_block_tracked(az_ctx *az, const az_lm *lm, int block, az_tensor ****slots);

/* Which blocks see only config->window tokens back, and which turn queries and keys, by the patterns of the configuration: all of them, or
 * all but the last of every so many. A file that says it block by block sets az_lm_block.windowed and .turned otherwise. */
static inline bool az_lm_window_by_rule(const az_lm_config *config, int b)
{
    return config->window > 0 && (config->window_pattern == 0 || b % config->window_pattern != config->window_pattern - 1);
}
static inline bool az_lm_turned_by_rule(const az_lm_config *config, int b)
{
    return config->rope_pattern == 0 || b % config->rope_pattern != config->rope_pattern - 1;
}
/* Whether all blocks follow their rule. */
bool az_lm_windows_are_regular(const az_lm *lm);
bool az_lm_turns_are_regular(const az_lm *lm);
/* The period of flags whose last of every so many is false: the number of them, INT32_MAX when all are true, 0 when it is not so. */
int64_t az_lm_period_of(const bool *flag, int64_t n);

/* ---- the cache's inside, which the forward pass reads and writes ---- */

/* page[0 .. pages - 1] hold tokens 0 .. length - 1, and perhaps room for more. */
typedef struct az_cached_sequence {
    int64_t length, pages;
    az_buffer **page;
} az_cached_sequence;

struct az_lm_cache {
    int sequences;
    az_kv_type type;
    int64_t capacity, blocks, kv_heads, dim;
    size_t side;                  /* bytes of the keys, or the values, of one layer in a page */
    int64_t pages;                /* in use, shared ones once */
    az_cached_sequence *sequence; /* [sequences] */
};

/* Pages for the next `tokens` tokens of sequence s, which then belong to it alone. */
bool az_lm_cache_make_room(az_ctx *az, az_lm_cache *cache, int s, int64_t tokens);
/* What attention reads and writes, for the first sequences, in the current scope. */
az_kv *az_lm_cache_view(az_ctx *az, const az_lm_cache *cache, int sequences);
/* Points the view to one layer. */
void az_lm_cache_layer(const az_lm_cache *cache, int block, az_kv *kv);

/* ---- pieces that scoring and training share ---- */

/* Logits of rows [n, width] that come from AZ_HIDDEN: the head alone, with the adapters of those rows (or NULL). */
typedef struct az_pass_adapters az_pass_adapters;
az_tensor *az_lm_head_logits(az_ctx *az, const az_lm *lm, const az_pass_adapters *adapters, az_tensor *hidden);

/* Sum of the losses of hidden [tokens, width] (AZ_HIDDEN). More than `rows` rows are done in pieces, each with its gradient at once, so
 * that the logits of one piece at a time are held. */
typedef struct az_hidden_rows {
    az_tensor *hidden;
    const int32_t *target;
    const float *weight;              /* of each row's loss; NULL = 1 */
    const az_pass_adapters *adapters; /* of these rows, or NULL */
} az_hidden_rows;
az_tensor *az_lm_hidden_loss(az_ctx *az, const az_lm *lm, const az_hidden_rows *from, int64_t rows);

/* az_lm_score_documents for sequences of tokens, whose first tokens are not scored. */
az_lm_score *az_lm_score_sequences(az_ctx *az, const az_lm *lm, const az_tokens *sequence, int64_t n, bool separated,
                                   const az_lm_score_options *options);

/* Documents as one stream of tokens: [BOS] document EOS [BOS] document EOS ...; where both are the same token it stands once between
 * documents. */
typedef struct az_lm_stream {
    int32_t *token; /* [n] */
    int64_t n;
    int64_t *start; /* [documents + 1] position of each document's first token (its BOS if there is one); last: n */
    int64_t documents;
} az_lm_stream;
az_lm_stream *az_lm_stream_of(az_ctx *az, const az_lm *lm, const az_documents *documents);

#endif
