/* tokenizer.h - the inside of a tokenizer: its vocabulary, how text is normalised and cut into words, how words become tokens.
 *
 * A text goes through: special tokens (special.c), normalisation (normal.c), cutting (cut.c), and for each
 * word the model: joins by rank or score (join.c), the most probable pieces (unigram.c), or the longest pieces from
 * the left (pieces.c). SentencePiece's mark of a space, U+2581, is a plain space everywhere inside.
 *
 * Limits: 2^24 tokens, 2^24 merges, 16 steps of each kind, words of 2^29 bytes; a file's regular expression may take 10^7 steps a
 * match. */
#ifndef ADZE_LM_TOKENIZER_H
#define ADZE_LM_TOKENIZER_H

#include "adze/lm.h"
#include "lm/files/gguf.h"

typedef enum az_tokenizer_kind {
    AZ_TOKENIZER_SCORES,  /* GGUF model "llama": characters, joined by score, other characters as byte tokens */
    AZ_TOKENIZER_RANKS,   /* GGUF model "gpt2": bytes (or characters), joined by rank, inside words */
    AZ_TOKENIZER_UNIGRAM, /* GGUF model "t5": the pieces with the greatest sum of scores */
    AZ_TOKENIZER_PIECES,  /* GGUF model "bert", WordPiece: the longest piece from the left, "##" marks one inside a word */
    AZ_TOKENIZER_WORDS    /* whole words */
} az_tokenizer_kind;

/* How byte-level BPE cuts text into words (GGUF key tokenizer.ggml.pre): by one expression after the other. */
enum { AZ_WORD_EXPRESSIONS = 3 };
typedef struct az_word_pattern {
    const char *name;
    const char *expression[AZ_WORD_EXPRESSIONS]; /* as tokenizer files state them; NULL = no more */
    bool whole_first;                            /* a word that is a token is taken whole, without merges */
} az_word_pattern;
/* NULL for an unknown name. */
const az_word_pattern *az_word_pattern_by_name(az_text name);
const char *az_word_pattern_names(az_ctx *az);
/* The first pattern that consists of these expressions, NULL = none. */
const az_word_pattern *az_word_pattern_of(const az_text *expression, int n, bool whole_first);

/* A compiled regular expression (pcre2_code), freed with the current scope or arena. */
const void *az_regex(az_ctx *az, az_text expression);
/* The first expression of a pattern. */
const void *az_word_code(az_ctx *az, const az_word_pattern *pattern);

/* Walks over the words of a text, in the current scope. */
typedef struct az_words az_words;
az_words *az_words_new(az_ctx *az, const void *code);
void az_words_begin(az_words *words, const char *text, size_t length);
/* The next word; empty at the end of the text (or after an error). What the pattern leaves out, and each byte that is not UTF-8, are words
 * too. */
az_text az_words_next(az_words *words);
/* Whether the pattern matched the word that was returned last. */
bool az_words_matched(const az_words *words);

/* ---- steps before the model ---- */

typedef enum az_normal_kind {
    AZ_NORMAL_NFC,
    AZ_NORMAL_NFD,
    AZ_NORMAL_NFKC,
    AZ_NORMAL_NFKD,
    AZ_NORMAL_LOWERCASE,
    AZ_NORMAL_STRIP_ACCENTS, /* leaves out combining marks */
    AZ_NORMAL_PREPEND,       /* `to` in front of a text that is not empty */
    AZ_NORMAL_REPLACE,       /* each match of `expression`, or each `from`, becomes `to` */
    AZ_NORMAL_STRIP,         /* white space at the left and right end */
    AZ_NORMAL_CLEAN,         /* BERT: no control characters, every white space a space */
    AZ_NORMAL_IDEOGRAPHS,    /* BERT: spaces around CJK ideographs */
    AZ_NORMAL_CHARSMAP       /* SentencePiece's compiled map, `from` holds it */
} az_normal_kind;

typedef struct az_normal_step {
    az_normal_kind kind;
    az_text from, to, expression;
    bool left, right; /* STRIP */
    const void *code; /* of the expression */
} az_normal_step;

typedef enum az_split { AZ_SPLIT_REMOVED, AZ_SPLIT_ISOLATED, AZ_SPLIT_WITH_PREVIOUS, AZ_SPLIT_WITH_NEXT, AZ_SPLIT_CONTIGUOUS } az_split;
typedef enum az_cut_kind {
    AZ_CUT_SPLIT,
    AZ_CUT_SPACE_FIRST, /* a space in front of the text, unless there is one */
    AZ_CUT_SPACE_EACH   /* in front of each piece */
} az_cut_kind;

typedef struct az_cut_step {
    az_cut_kind kind;
    az_split split;
    bool invert; /* what does not match separates */
    az_text expression;
    const void *code;
} az_cut_step;

enum { AZ_TOKENIZER_STEPS = 16 };

/* How text is prepared, and what the model does besides its vocabulary. Texts point into the owner's memory. */
typedef struct az_tokenizer_rules {
    int normals, cuts;
    az_normal_step normal[AZ_TOKENIZER_STEPS];
    az_cut_step cut[AZ_TOKENIZER_STEPS];
    bool whole_first;      /* kind RANKS: a word that is a token is taken whole */
    bool characters;       /* kind RANKS: symbols are characters, tokens are spelled with SPACE marks */
    bool fuse_unknown;     /* neighbouring unknown characters become one unknown token */
    bool add_space_prefix; /* a space in front of each text, taken off again */
    bool strip_space;      /* decoding takes one space off the front */
    bool spaced;           /* kinds PIECES, WORDS: words are separated by spaces */
    bool glue_punctuation; /* kind PIECES: decoding puts no space in front of .?!, */
    int64_t longest_word;  /* kind PIECES, in characters: longer words are unknown */
    const char *frame;     /* the JSON file without model and added tokens, NULL = none */
} az_tokenizer_rules;

/* Bytes that grow, in the current scope or arena; zero-terminated. */
typedef struct az_bytes {
    az_ctx *az;
    char *data;
    size_t length, room;
    size_t most; /* longer is an error; 0 = no limit */
} az_bytes;
bool az_bytes_add(az_bytes *bytes, const char *data, size_t length);

/* SentencePiece's compiled character map: u32 size of the trie, the trie (Darts double array), replacements that end in a zero. */
bool az_charsmap_check(az_ctx *az, az_text map);
/* The replacement of the longest key at the beginning of text; the key's length, 0 = none. */
size_t az_charsmap_match(az_text map, az_text text, az_text *replacement);

bool az_is_white(int32_t character); /* white space of Unicode */
/* Copies a text into the current scope, with a zero behind it. */
bool az_text_copy(az_ctx *az, az_text *text);
extern const char az_punctuation[]; /* a class of characters */

/* Compiles the expressions and copies the texts into the current scope or arena. */
bool az_rules_copy(az_ctx *az, az_tokenizer_rules *to, const az_tokenizer_rules *from);
/* Rules of families; those of SentencePiece (`map` may be empty; `collapse`: one space between words, none at the ends). */
void az_rules_words(az_tokenizer_rules *rules); /* words between white space */
void az_rules_bert(az_tokenizer_rules *rules, bool lowercase, bool strip_accents);
void az_rules_sentencepiece(az_tokenizer_rules *rules, az_text map, bool collapse, bool space_prefix);
/* The normalised text, in the current scope; the text itself when there is nothing to do. */
az_text az_normalize(az_ctx *az, const az_tokenizer_rules *rules, az_text text);
/* Calls word() for each piece that the steps leave. `first`: the text begins the document. */
typedef struct az_cutter az_cutter;
az_cutter *az_cutter_new(az_ctx *az, const az_tokenizer_rules *rules);
bool az_cutter_text(az_cutter *cutter, az_text text, bool first, bool (*word)(void *user, az_text word), void *user);

/* ---- the vocabulary ---- */

/* Spellings in order, walked byte by byte: spelling[id[0]] <= spelling[id[1]] <= ... */
typedef struct az_prefix_index {
    const az_text *spelling; /* by token */
    int32_t *id;             /* [n] */
    int32_t n;
    bool first[256]; /* bytes with which one of them begins */
} az_prefix_index;
typedef struct az_prefix_walk {
    int32_t low, high;
    size_t length; /* bytes walked */
} az_prefix_walk;
/* Sorts and keeps `id`. */
void az_prefix_build(az_prefix_index *index, const az_text *spelling, int32_t *id, int32_t n);
az_prefix_walk az_prefix_begin(const az_prefix_index *index);
/* One byte on; false when no spelling goes on like that. */
bool az_prefix_step(const az_prefix_index *index, az_prefix_walk *walk, unsigned char byte);
/* The token that is spelled by the bytes walked, -1 = none. */
int32_t az_prefix_token(const az_prefix_index *index, const az_prefix_walk *walk);

/* How an added token is found in a text. */
enum { AZ_ADDED_LSTRIP = 1, AZ_ADDED_RSTRIP = 2, AZ_ADDED_SINGLE_WORD = 4, AZ_ADDED_NORMALIZED = 8 };

enum { AZ_TOKENIZER_ENDS = 32 };

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
    float *score;          /* [size], kinds SCORES and UNIGRAM */
    uint8_t *type;         /* [size] az_token_type */
    uint8_t *added;        /* [size] AZ_ADDED flags */
    az_token_table tokens; /* by bytes, of the tokens that text may become */
    int32_t merges;
    az_merge *merge;                /* [merges] by rank, kind RANKS */
    az_token_table ranks;           /* by (left, right), kind RANKS */
    int32_t byte[256];              /* token of a single byte, -1 = none */
    az_prefix_index special;        /* control, unknown and user tokens, by spelling: looked for in the text as it is */
    az_prefix_index late;           /* those that are looked for in the normalised text, by normalised spelling */
    az_prefix_index piece;          /* kinds UNIGRAM and PIECES: ordinary tokens, by bytes */
    float least_score;              /* kind UNIGRAM */
    bool word_safe;                 /* kind SCORES: no token has a space behind another character, so words can be joined one by one */
    const az_word_pattern *pattern; /* the known pattern that the cuts follow, NULL = none */
    az_tokenizer_rules rules;
    const char *chat_template;      /* NULL = none */
    int32_t bos, eos, unknown;      /* -1 = none */
    int32_t end[AZ_TOKENIZER_ENDS]; /* further tokens at which generation stops */
    int ends, stated_ends;          /* their number; so many of them, the first, are named by the model's files */
    bool add_bos, add_eos;
};

/* What a tokenizer is made from. Spellings are copied. */
typedef struct az_tokenizer_parts {
    az_tokenizer_kind kind;
    int64_t size;
    const az_text *text;  /* [size] */
    const float *score;   /* [size], kinds SCORES and UNIGRAM */
    const int32_t *type;  /* [size] az_token_type, or NULL = all normal */
    const uint8_t *added; /* [size] AZ_ADDED flags, or NULL */
    int64_t merges;
    const az_text *merge;            /* [merges] "left right", kind RANKS */
    const size_t *merge_space;       /* [merges] where the separating space is, or NULL = the first one behind the first byte */
    const az_word_pattern *pattern;  /* kind RANKS: stands for the cuts of the rules, or NULL */
    const az_tokenizer_rules *rules; /* NULL = none */
    az_text chat_template;           /* data NULL = none */
    int64_t bos, eos, unknown;
    bool add_bos, add_eos, add_space_prefix;
} az_tokenizer_parts;
/* In the current scope or arena. */
az_tokenizer *az_tokenizer_build(az_ctx *az, const az_tokenizer_parts *parts);

/* A further token at which generation stops; ids outside the vocabulary name nothing, nor does more than there is room for. */
void az_tokenizer_add_end(az_tokenizer *tokenizer, int64_t id);
/* Special tokens that are spelled like the end of a turn. */
void az_tokenizer_guess_ends(az_tokenizer *tokenizer);

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

/* The other models: tokens of one word. */
typedef struct az_unigram az_unigram;
az_unigram *az_unigram_new(az_ctx *az, const az_tokenizer *tokenizer);
bool az_unigram_word(az_unigram *unigram, az_text word, az_token_list *out);
bool az_pieces_word(az_ctx *az, const az_tokenizer *tokenizer, az_text word, az_token_list *out);

/* The next special token in text[from ..]: false when there is none. Control tokens count only with AZ_PARSE_SPECIAL. */
typedef struct az_special {
    int32_t id;
    size_t begin, end;
} az_special;
bool az_special_next(const az_tokenizer *tokenizer, const az_prefix_index *index, az_text text, size_t from, int flags, az_special *found);

/* SentencePiece's mark of a space as a plain space; `bytes` has room for the spelling. The number of bytes. */
size_t az_unmark_spaces(az_text text, char *bytes);
az_text az_mark_spaces(az_ctx *az, az_text text);

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

/* SentencePiece's tokenizer.model; at most 2^24 pieces. */
az_tokenizer *az_tokenizer_from_sentencepiece(az_ctx *az, const unsigned char *data, size_t size);
/* A folder as Hugging Face lays it out: tokenizer.json, else tokenizer.model, else vocab.json + merges.txt, else token_mappings.json,
 * with what tokenizer_config.json, special_tokens_map.json and generation_config.json say about BOS, EOS and the chat template. NULL
 * without an error when the folder brings none of them. In the current scope or arena. */
az_tokenizer *az_tokenizer_read_folder(az_ctx *az, const char *folder);
/* Whether JSON can hold its tokens and template: they are UTF-8. Names the first that is not. */
bool az_tokenizer_check_json(az_ctx *az, const az_tokenizer *tokenizer);
/* Writes tokenizer.json and tokenizer_config.json, and removes a chat_template.jinja, which readers would take instead. context: how long
 * a text may be, in tokens. */
bool az_tokenizer_write_folder(az_ctx *az, const az_tokenizer *tokenizer, const char *folder, int64_t context);

#endif
