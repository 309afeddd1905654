/* sentencepiece.c - SentencePiece's tokenizer.model: a Protocol Buffers message, read field by field.
 *
 * ModelProto: 1 = pieces (1 = piece, 2 = score, 3 = type), 2 = trainer (3 = model type, 40 to 43 = ids of unk, bos, eos, pad),
 * 3 = normalizer (2 = character map, 3 = dummy prefix, 4 = remove extra spaces).
 * https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto */
#include "lm/tokenizer/tokenizer.h"

#include <string.h>

/* ---- wire format ---- */

typedef struct field {
    uint32_t number;
    uint64_t integer; /* varints and 4- and 8-byte numbers */
    az_text bytes;    /* length-delimited */
} field;

static bool read_varint(az_text *message, uint64_t *value)
{
    *value = 0;
    for (int shift = 0; shift < 64 && message->length > 0; shift += 7) {
        const unsigned char byte = (unsigned char)*message->data++;
        message->length--;
        *value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 128) return true;
    }
    return false;
}

static bool read_fixed(az_text *message, size_t bytes, uint64_t *value)
{
    if (message->length < bytes) return false;
    *value = 0;
    for (size_t i = 0; i < bytes; i++) *value |= (uint64_t)(unsigned char)message->data[i] << 8 * i;
    message->data += bytes;
    message->length -= bytes;
    return true;
}

static bool read_bytes(az_text *message, az_text *bytes)
{
    uint64_t length;
    if (!read_varint(message, &length) || length > message->length) return false;
    *bytes = (az_text){.data = message->data, .length = (size_t)length};
    message->data += length;
    message->length -= (size_t)length;
    return true;
}

/* The next field of a message that is not empty; false when it is damaged. */
static bool next_field(az_text *message, field *f)
{
    enum { VARINT = 0, EIGHT_BYTES = 1, DELIMITED = 2, FOUR_BYTES = 5 };
    uint64_t key;
    *f = (field){0};
    if (!read_varint(message, &key) || key >> 3 == 0 || key >> 3 > UINT32_MAX) return false;
    f->number = (uint32_t)(key >> 3);
    switch (key & 7) {
    case VARINT: return read_varint(message, &f->integer);
    case EIGHT_BYTES: return read_fixed(message, 8, &f->integer);
    case DELIMITED: return read_bytes(message, &f->bytes);
    case FOUR_BYTES: return read_fixed(message, 4, &f->integer);
    default: return false;
    }
}

/* ---- the model ---- */

typedef struct model {
    az_ctx *az;
    int64_t pieces, room;
    az_text *text;
    float *score;
    int32_t *type;
    uint64_t kind; /* 1 Unigram, 2 BPE */
    int64_t unknown, bos, eos;
    az_text map;
    bool space_prefix, collapse;
} model;

static bool damaged(const model *m, const char *what)
{
    return az_fail(m->az, AZ_BAD_INPUT, "the %s message is damaged (piece %lld)", what, (long long)m->pieces);
}

static bool read_piece(model *m, az_text message)
{
    const int64_t i = m->pieces++;
    uint32_t bits = 0;
    m->type[i] = AZ_TOKEN_NORMAL;
    m->text[i] = (az_text){.data = "", .length = 0};
    for (field f; message.length > 0;) {
        if (!next_field(&message, &f)) return damaged(m, "piece");
        if (f.number == 1) m->text[i] = f.bytes.data ? f.bytes : m->text[i];
        if (f.number == 2) bits = (uint32_t)f.integer;
        if (f.number == 3) m->type[i] = f.integer <= AZ_TOKEN_BYTE ? (int32_t)f.integer : 0;
    }
    memcpy(&m->score[i], &bits, sizeof bits);
    return true;
}

static bool read_trainer(model *m, az_text message)
{
    for (field f; message.length > 0;) {
        if (!next_field(&message, &f)) return damaged(m, "trainer");
        if (f.number == 3) m->kind = f.integer;
        if (f.number == 40) m->unknown = (int32_t)f.integer;
        if (f.number == 41) m->bos = (int32_t)f.integer;
        if (f.number == 42) m->eos = (int32_t)f.integer;
    }
    return true;
}

static bool read_normalizer(model *m, az_text message)
{
    for (field f; message.length > 0;) {
        if (!next_field(&message, &f)) return damaged(m, "normalizer");
        if (f.number == 2) m->map = f.bytes;
        if (f.number == 3) m->space_prefix = f.integer != 0;
        if (f.number == 4) m->collapse = f.integer != 0;
    }
    return true;
}

static bool count_pieces(model *m, az_text message)
{
    for (field f; message.length > 0;) {
        if (!next_field(&message, &f)) return damaged(m, "model");
        m->room += f.number == 1;
    }
    m->text = az_alloc_array(m->az, (size_t)m->room, sizeof *m->text);
    m->score = az_alloc_array(m->az, (size_t)m->room, sizeof *m->score);
    m->type = az_alloc_array(m->az, (size_t)m->room, sizeof *m->type);
    return m->text && m->score && m->type;
}

static bool read_model(model *m, az_text message)
{
    if (!count_pieces(m, message)) return false;
    for (field f; message.length > 0;) {
        if (!next_field(&message, &f)) return damaged(m, "model");
        if (f.number == 1 && !read_piece(m, f.bytes)) return false;
        if (f.number == 2 && !read_trainer(m, f.bytes)) return false;
        if (f.number == 3 && !read_normalizer(m, f.bytes)) return false;
    }
    if (m->kind == 1 || m->kind == 2) return true;
    return az_fail(m->az, AZ_BAD_INPUT, "the SentencePiece model type %llu is not known here (known: 1 Unigram, 2 BPE)",
                   (unsigned long long)m->kind);
}

/* An id that the trainer named; one outside the pieces means none. */
static int64_t piece_id(const model *m, int64_t id)
{
    return id >= 0 && id < m->pieces ? id : -1;
}

static az_tokenizer *build(az_ctx *az, const model *m)
{
    const bool unigram = m->kind == 1;
    az_tokenizer_rules rules = {0};
    az_rules_sentencepiece(&rules, m->map, m->collapse, unigram && m->space_prefix);
    const az_tokenizer_parts parts = {.kind = unigram ? AZ_TOKENIZER_UNIGRAM : AZ_TOKENIZER_SCORES,
                                      .size = m->pieces,
                                      .text = m->text,
                                      .score = m->score,
                                      .type = m->type,
                                      .rules = &rules,
                                      .bos = piece_id(m, m->bos),
                                      .eos = piece_id(m, m->eos),
                                      .unknown = piece_id(m, m->unknown),
                                      .add_bos = !unigram && piece_id(m, m->bos) >= 0,
                                      .add_eos = unigram,
                                      .add_space_prefix = !unigram && m->space_prefix};
    return az_tokenizer_build(az, &parts);
}

az_tokenizer *az_tokenizer_from_sentencepiece(az_ctx *az, const unsigned char *data, size_t size)
{
    if (!data || !az_ok(az)) return NULL;
    model m = {.az = az, .kind = 1, .unknown = 0, .bos = 1, .eos = 2, .space_prefix = true, .collapse = true};
    az_arena *scratch = az_arena_new(az);
    if (!scratch) return NULL;
    az_arena_enter(az, scratch);
    const bool good = read_model(&m, (az_text){.data = (const char *)data, .length = size});
    az_arena_leave(az);
    az_tokenizer *tokenizer = good ? build(az, &m) : NULL;
    az_arena_free(az, scratch);
    return tokenizer;
}

az_tokenizer *az_tokenizer_read_sentencepiece(az_ctx *az, const char *path)
{
    if (!path || !az_ok(az)) return NULL;
    az_arena *scratch = az_arena_new(az);
    if (!scratch) return NULL;
    az_arena_enter(az, scratch);
    const az_map *map = az_map_file(az, path);
    az_arena_leave(az);
    az_tokenizer *tokenizer = map ? az_tokenizer_from_sentencepiece(az, map->data, map->size) : NULL;
    if (map && !tokenizer) az_fail_context(az, "reading '%s'", path);
    az_arena_free(az, scratch);
    return tokenizer;
}
