/* gguf.h - the GGUF container: metadata keys and tensors, read from a mapped file and written again.
 *
 * Reading copies nothing: names, values and tensor data point into the bytes that were parsed, which must outlive the az_gguf. Values
 * keep their encoding, so what one does not understand can still be written back byte for byte.
 * Layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (version 3, little-endian; version 2 is the same on disk). */
#ifndef ADZE_LM_GGUF_H
#define ADZE_LM_GGUF_H

#include "adze/base.h"

/* Bytes that need not end in a zero nor be valid UTF-8. */
typedef struct az_text {
    const char *data;
    size_t length;
} az_text;

az_text az_text_of(const char *string);
bool az_text_equal(az_text a, az_text b);
int az_text_compare(az_text a, az_text b);
/* For messages: at most 60 bytes of valid UTF-8 in the current scope; control characters and other bytes show as '?'. */
const char *az_text_show(az_ctx *az, az_text text);

typedef enum az_gguf_type {
    AZ_GGUF_U8,
    AZ_GGUF_I8,
    AZ_GGUF_U16,
    AZ_GGUF_I16,
    AZ_GGUF_U32,
    AZ_GGUF_I32,
    AZ_GGUF_F32,
    AZ_GGUF_BOOL,
    AZ_GGUF_STRING,
    AZ_GGUF_ARRAY,
    AZ_GGUF_U64,
    AZ_GGUF_I64,
    AZ_GGUF_F64,
    AZ_GGUF_TYPES
} az_gguf_type;

typedef struct az_gguf_key {
    az_text name;
    az_gguf_type type;
    az_gguf_type item;         /* type of an array's items */
    uint64_t count;            /* items of an array */
    const unsigned char *data; /* the value as it lies in the file, behind its type; of an array, its items */
    size_t bytes;
} az_gguf_key;

enum { AZ_GGUF_MAX_RANK = 4, AZ_GGUF_ALIGNMENT = 32 };

typedef struct az_gguf_tensor {
    az_text name;
    int rank;
    uint64_t shape[AZ_GGUF_MAX_RANK]; /* fastest axis first: a matrix [out, in] has the shape {in, out} */
    uint32_t type;                    /* ggml's number */
    uint64_t offset;                  /* from the beginning of the data section */
    const void *data;
    size_t bytes;
} az_gguf_tensor;

typedef struct az_gguf {
    uint32_t version;
    size_t alignment;
    int64_t keys, tensors;
    az_gguf_key *key;            /* in the order of the file */
    az_gguf_tensor *tensor;      /* in the order of the file */
    const az_text **key_by_name; /* sorted pointers to the names inside key[] */
    const az_text **tensor_by_name;
} az_gguf;

size_t az_gguf_scalar_bytes(az_gguf_type type); /* 0 for strings, arrays and unknown types */

/* How ggml stores a tensor type: `bytes` for each `block` values of a row. NULL for a number that has no meaning. */
typedef struct az_ggml_type {
    const char *name;
    uint32_t block, bytes;
} az_ggml_type;
const az_ggml_type *az_ggml_type_of(uint32_t type);

/* ---- reading ---- */

/* Checks every count, length and offset against size before it is used; memory needed is a small multiple of size. Errors name the key or
 * tensor and the position in the file. */
az_gguf *az_gguf_parse(az_ctx *az, const unsigned char *data, size_t size);
/* True if the bytes begin like a GGUF file of any version or byte order. */
bool az_gguf_is(const unsigned char *data, size_t size);

/* Files of a split model say how many there are; others are 1. */
int64_t az_gguf_parts(const az_gguf *gguf);
/* The whole of a split model, whose first file, at `path`, is `first`: maps and parses the others beside it. A file that is not split is
 * returned as it is. */
az_gguf *az_gguf_with_parts(az_ctx *az, az_gguf *first, const char *path);
/* Sorts the names of keys and tensors for finding; fails on one that stands twice. */
bool az_gguf_index(az_ctx *az, az_gguf *gguf);

const az_gguf_key *az_gguf_find(const az_gguf *gguf, const char *name);
const az_gguf_tensor *az_gguf_find_tensor(const az_gguf *gguf, const char *name);

/* Reads a value if the key is there (not NULL) and has a fitting type: any integer type (and bool), any number, string, bool. */
bool az_gguf_integer(const az_gguf_key *key, int64_t *value);
bool az_gguf_real(const az_gguf_key *key, double *value);
bool az_gguf_string(const az_gguf_key *key, az_text *value);
bool az_gguf_bool(const az_gguf_key *key, bool *value);
/* The same of a key that may be missing (NULL), when the value stays; one of another type is an error that names it. */
bool az_gguf_read_integer(az_ctx *az, const az_gguf_key *key, int64_t *value);
bool az_gguf_read_real(az_ctx *az, const az_gguf_key *key, double *value);
bool az_gguf_read_string(az_ctx *az, const az_gguf_key *key, az_text *value);
bool az_gguf_read_bool(az_ctx *az, const az_gguf_key *key, bool *value);
/* Item i of an array of numbers. */
double az_gguf_item(const az_gguf_key *key, uint64_t i);
/* Walks over an array of strings: *at begins as key->data and moves on; key->count calls. */
az_text az_gguf_next_string(const unsigned char **at);

/* ---- writing ---- */

/* Keys, then declarations of all tensors, then their data in the same order. What was put twice under one name stands at the place of
 * the first; a number that is put again with its present value keeps its encoding. Peak memory is that of the keys. */
typedef struct az_gguf_writer az_gguf_writer;
az_gguf_writer *az_gguf_create(az_ctx *az, const char *path);

/* A key with its encoding; its bytes must stay until the data begin. */
bool az_gguf_put(az_gguf_writer *writer, const az_gguf_key *key);
/* Whether a key has been put. */
bool az_gguf_has(const az_gguf_writer *writer, const char *name);
bool az_gguf_put_integer(az_gguf_writer *writer, const char *name, int64_t value); /* as u32; 0 <= value < 2^32 */
bool az_gguf_put_real(az_gguf_writer *writer, const char *name, double value);     /* as f32 */
bool az_gguf_put_bool(az_gguf_writer *writer, const char *name, bool value);
bool az_gguf_put_string(az_gguf_writer *writer, const char *name, az_text value);
bool az_gguf_put_strings(az_gguf_writer *writer, const char *name, const az_text *value, int64_t n);
bool az_gguf_put_i32s(az_gguf_writer *writer, const char *name, const int32_t *value, int64_t n);
bool az_gguf_put_f32s(az_gguf_writer *writer, const char *name, const float *value, int64_t n);
bool az_gguf_put_bytes(az_gguf_writer *writer, const char *name, az_text value); /* an array of u8 */

/* shape: fastest axis first. */
bool az_gguf_declare(az_gguf_writer *writer, az_text name, int rank, const uint64_t *shape, uint32_t type);
/* The next tensor's bytes, as many as declared. */
bool az_gguf_write(az_gguf_writer *writer, const void *data, size_t bytes);
/* The same in parts, one after the other. */
bool az_gguf_write_part(az_gguf_writer *writer, const void *data, size_t bytes);
/* Fails if a declared tensor is still without its data. */
bool az_gguf_commit(az_gguf_writer *writer);

#endif
