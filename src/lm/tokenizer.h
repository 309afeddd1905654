/* tokenizer.h - the inside of a tokenizer: its vocabulary, how text is cut into words, and how words become tokens.
 *
 * Two kinds share one machine. Both begin with the smallest symbols (bytes, or characters) and join the neighbours of least cost until
 * no join is left: the cost is the rank of the merge (byte-level BPE) or the negative score of the joined token (SentencePiece). */
#ifndef ADZE_LM_TOKENIZER_H
#define ADZE_LM_TOKENIZER_H

#include "adze/lm.h"
#include "lm/gguf.h"

typedef enum az_tokenizer_kind {
    AZ_TOKENIZER_SCORES, /* GGUF model "llama": characters, joined by score, other characters as byte tokens */
    AZ_TOKENIZER_RANKS   /* GGUF model "gpt2": bytes, joined by rank, inside the words of a pattern */
} az_tokenizer_kind;

/* How byte-level BPE cuts text into words (GGUF key tokenizer.ggml.pre). */
typedef struct az_word_pattern {
    const char *name;
    const char *pattern; /* PCRE2, with Unicode properties */
    bool whole_first;    /* a word that is a token is taken whole, without merges */
} az_word_pattern;
/* NULL for an unknown name. */
const az_word_pattern *az_word_pattern_by_name(az_text name);
const char *az_word_pattern_names(az_ctx *az);

/* The compiled pattern (pcre2_code), freed with the current scope or arena. */
const void *az_word_code(az_ctx *az, const az_word_pattern *pattern);

/* Walks over the words of a text, in the current scope. */
typedef struct az_words az_words;
az_words *az_words_new(az_ctx *az, const void *code);
void az_words_begin(az_words *words, const char *text, size_t length);
/* The next word; empty at the end of the text (or after an error). What the pattern leaves out, and each byte that is not UTF-8, are words
 * too. */
az_text az_words_next(az_words *words);

/* Hash tables without deletion: slots are a power of two, at most half full. The hash beside the entry spares most looks at the entry. */
typedef struct az_token_slot {
    int32_t entry; /* a token or a rank, -1 = free */
    uint32_t hash;
} az_token_slot;

typedef struct az_token_table {
    az_token_slot *slot;
    uint32_t mask;
} az_token_table;

typedef struct az_merge {
    int32_t left, right, joined;
} az_merge;

struct az_tokenizer {
    az_tokenizer_kind kind;
    int32_t size;
    az_text *text;         /* [size] as the vocabulary spells it, zero-terminated */
    az_text *bytes;        /* [size] what it stands for in text */
    float *score;          /* [size], kind SCORES */
    uint8_t *type;         /* [size] az_token_type */
    az_token_table tokens; /* by bytes, of the tokens that text may become */
    int32_t merges;
    az_merge *merge;      /* [merges] by rank, kind RANKS */
    az_token_table ranks; /* by (left, right), kind RANKS */
    int32_t byte[256];    /* token of a single byte, -1 = none */
    int32_t specials;
    int32_t *special;        /* [specials] control, unknown and user tokens, sorted by spelling */
    bool special_first[256]; /* bytes with which one of them begins */
    bool word_safe;          /* kind SCORES: no token has a space behind another character, so words can be joined one by one */
    const az_word_pattern *pattern;
    const void *word_code;
    int32_t bos, eos, unknown; /* -1 = none */
    bool add_bos, add_eos, add_space_prefix;
};

/* What a tokenizer is made from. Spellings are copied. */
typedef struct az_tokenizer_parts {
    az_tokenizer_kind kind;
    int64_t size;
    const az_text *text; /* [size] */
    const float *score;  /* [size], kind SCORES */
    const int32_t *type; /* [size] az_token_type, or NULL = all normal */
    int64_t merges;
    const az_text *merge;           /* [merges] "left right", kind RANKS */
    const az_word_pattern *pattern; /* kind RANKS */
    int64_t bos, eos, unknown;
    bool add_bos, add_eos, add_space_prefix;
} az_tokenizer_parts;
/* In the current scope or arena. */
az_tokenizer *az_tokenizer_build(az_ctx *az, const az_tokenizer_parts *parts);

/* The token that stands for these bytes, -1 = none; control, unknown and byte tokens are not found. */
int32_t az_tokenizer_find(const az_tokenizer *tokenizer, az_text bytes);
/* The rank at which two tokens merge, -1 = never. */
int32_t az_tokenizer_rank(const az_tokenizer *tokenizer, int32_t left, int32_t right);

/* A growing list of tokens in the current arena. */
typedef struct az_token_list {
    az_ctx *az;
    int32_t *id;
    int64_t n, room;
} az_token_list;
bool az_token_push(az_token_list *list, int32_t id);

/* Joins the symbols of one word and appends its tokens. */
typedef struct az_joiner az_joiner;
az_joiner *az_joiner_new(az_ctx *az, const az_tokenizer *tokenizer);
bool az_joiner_word(az_joiner *joiner, const char *word, size_t length, az_token_list *out);

/* Number of bytes of the UTF-8 character at the beginning of text, 1 for a byte that begins none; length >= 1. */
size_t az_utf8_length(const char *text, size_t length);
/* Length of the longest valid UTF-8 at the beginning of text. */
size_t az_utf8_prefix(const char *text, size_t length);

/* Byte-level BPE spells bytes as printable characters (GPT-2): the spelling of a byte, at most 2 bytes and a zero. */
void az_byte_spelling(unsigned char byte, char spelling[3]);
/* Undoes it; the length of the result (not more than the spelling's), or -1 when a character spells no byte. */
int64_t az_spelled_bytes(az_text spelling, char *bytes);

/* ---- files ---- */

/* The tokenizer that a GGUF file describes; NULL without an error when it describes none. */
az_tokenizer *az_tokenizer_from_gguf(az_ctx *az, const az_gguf *gguf);
/* `rows` of the embedding: readers want a token for each, so unused ones ("[PAD300]") follow the tokenizer's own. */
bool az_tokenizer_to_gguf(az_ctx *az, const az_tokenizer *tokenizer, int64_t rows, az_gguf_writer *writer);
/* llama2.c: u32 longest token; `vocabulary` times f32 score, i32 length, bytes. */
az_tokenizer *az_tokenizer_from_llama2c(az_ctx *az, const unsigned char *data, size_t size, int64_t vocabulary);

/* A folder as Hugging Face lays it out: tokenizer.json, else tokenizer.model, else vocab.json + merges.txt, else token_mappings.json,
 * with what tokenizer_config.json, special_tokens_map.json and generation_config.json say about BOS, EOS and the chat template. NULL
 * without an error when the folder brings none of them. In the current scope or arena. */
az_tokenizer *az_tokenizer_read_folder(az_ctx *az, const char *folder);

#endif
