/* json.h - a tokenizer.json while it is being read: what the parts of the reader share. */
#ifndef ADZE_LM_TOKENIZER_JSON_H
#define ADZE_LM_TOKENIZER_JSON_H

#include "lm/tokenizer/tokenizer.h"

#include <jansson.h>

/* Vocabulary and settings as they are gathered; memory of the current arena. */
typedef struct az_json_tokenizer {
    az_ctx *az;
    az_tokenizer_parts parts;
    az_tokenizer_rules rules;
    bool byte_level;  /* the pre-tokenizer or normaliser turns bytes into printable characters */
    bool byte_tokens; /* "<0x0A>" stands for a byte */
    int64_t room;     /* tokens allocated */
    az_text *text;    /* [room] data NULL = no token has this id */
    float *score;     /* [room] */
    int32_t *type;    /* [room] */
    uint8_t *added;   /* [room] */
    int64_t tokens;   /* ids in use */
} az_json_tokenizer;

/* A string member of an object with its length, {NULL, 0} when it is absent; no error. */
az_text az_json_text(const json_t *object, const char *name);
bool az_json_bool(const json_t *object, const char *name, bool fallback);
/* "type" of an object, "" when there is none. */
const char *az_json_type(const json_t *object);
/* Copies into the current scope, with SentencePiece's marks as spaces. */
az_text az_json_unmarked(az_ctx *az, az_text text);

/* Enters a token; an id may be entered twice with the same spelling. The strings of the JSON value must stay. */
bool az_json_token(az_json_tokenizer *t, int64_t id, az_text text, int32_t type);

/* The sections of the file. False with an error that names what cannot be expressed. */
bool az_json_normalizer(az_json_tokenizer *t, const json_t *section);
bool az_json_pre_tokenizer(az_json_tokenizer *t, const json_t *section);
bool az_json_model(az_json_tokenizer *t, const json_t *section);
bool az_json_added(az_json_tokenizer *t, const json_t *section);
bool az_json_post_processor(az_json_tokenizer *t, const json_t *section);
bool az_json_decoder(az_json_tokenizer *t, const json_t *section);

/* The tokenizer that an object describes, which loses its model and added tokens; of a file's text. */
az_tokenizer *az_tokenizer_from_object(az_ctx *az, json_t *root);
az_tokenizer *az_tokenizer_from_json(az_ctx *az, const char *text, size_t length);

#endif
