/* data.h - text and tables that methods read, generators that make them, and the statistics that describe results. */
#ifndef ADZE_DATA_H
#define ADZE_DATA_H

#include "adze/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- documents --------------------------------------------------------------------------------------------------------------- */

typedef struct az_document {
    const char *text;
    size_t length;
} az_document;
typedef struct az_documents {
    int64_t count;
    az_document *item;
    bool separated; /* false: the file has no document marks and is one document */
    const char *path;
} az_documents;
/* Reads .txt (documents end at "<|endoftext|>"; white space around them is dropped, empty ones are skipped) or .jsonl / .json lines with a
 * "text" field (or "prompt" + "completion" or "response"); gzip is undone. Fails on files without text, on bytes that are not UTF-8 (names
 * the line) or zero, on lines without such fields. */
az_documents *az_documents_read(az_ctx *az, const char *path);
/* A deterministic split: document i goes to the second part with probability `share` (0 to 1) by (seed, i); the order is kept. A part may
 * be empty. */
bool az_documents_split(az_ctx *az, const az_documents *all, double share, uint64_t seed, az_documents **first, az_documents **second);

/* ---- tales: synthetic stories whose exact probability is known ------------------------------------------------------------------ */

/* A probabilistic grammar of short English stories with long-range agreement (who owns what, how many are left, who did what and
 * why). Every text has exactly one derivation, so log p(text) is exact. */
typedef struct az_tales az_tales;
az_tales *az_tales_new(az_ctx *az);
/* Story number `index` of the corpus `seed`: the same text for ever. log_probability in nats, may be NULL. */
char *az_tales_story(az_ctx *az, const az_tales *tales, uint64_t seed, uint64_t index, double *log_probability);
/* log p(text) in nats by parsing; -INFINITY when the grammar cannot produce the text, and then *where (may be NULL) is the position
 * reached. */
double az_tales_log_probability(az_ctx *az, const az_tales *tales, const char *text, size_t length, size_t *where);
/* Exact entropy of one story in nats and, when mean_bytes is not NULL, its expected length in bytes. */
double az_tales_entropy(az_ctx *az, const az_tales *tales, double *mean_bytes);

/* ---- safetensors: named tensors in a file --------------------------------------------------------------------------------------- */

/* Layout: u64 little-endian length n of the header; n bytes of JSON, {name: {"dtype", "shape", "data_offsets": [begin, end]}, ...,
 * "__metadata__": {text: text}}; the tensors' bytes, row by row, little-endian (https://github.com/huggingface/safetensors). */
typedef struct az_named_tensor {
    const char *name;
    const az_tensor *value;
} az_named_tensor;
typedef struct az_metadata {
    const char *key, *value;
} az_metadata;
typedef struct az_safetensors {
    int64_t count, metadata_count;
    az_named_tensor *item;           /* [count] in the order of their bytes in the file */
    az_metadata *metadata;           /* [metadata_count] */
    const az_named_tensor **by_name; /* [count] sorted */
} az_safetensors;

enum { AZ_SAFETENSORS_MAX_HEADER = 100000000 };

/* Maps the file into the current scope or arena; the tensors are views of the map, except those whose bytes are not aligned to their
 * type: they are copied. Types: F64 F32 F16 BF16 I64 I32 I16 I8 U8, and BOOL as u8. Errors: a header longer than the file or than
 * AZ_SAFETENSORS_MAX_HEADER, names given twice, other types, ranks above AZ_MAX_RANK, sizes that do not fit the shape, tensors that
 * overlap or leave holes. */
az_safetensors *az_safetensors_read(az_ctx *az, const char *path);
/* The same for bytes in memory, which must outlive the result. */
az_safetensors *az_safetensors_parse(az_ctx *az, const unsigned char *data, size_t size);
/* NULL when there is none of that name. */
const az_tensor *az_safetensors_find(const az_safetensors *file, const char *name);

/* Writing: metadata and declarations, in ascending order of the names (strcmp); then the bytes of each tensor in the same order. Nothing
 * but the header is kept in memory, and the file appears only when it is whole. */
typedef struct az_safetensors_writer az_safetensors_writer;
az_safetensors_writer *az_safetensors_create(az_ctx *az, const char *path);
bool az_safetensors_put_metadata(az_safetensors_writer *writer, const char *key, const char *value);
bool az_safetensors_declare(az_safetensors_writer *writer, const char *name, az_dtype dtype, int rank, const int64_t *shape);
/* The next tensor; it has the declared type and shape. */
bool az_safetensors_write(az_safetensors_writer *writer, const az_tensor *value);
/* Fails when a declared tensor has not been written. */
bool az_safetensors_commit(az_safetensors_writer *writer);

/* ---- statistics -------------------------------------------------------------------------------------------------------------- */

/* NaN outside of the domain; p = 0 and 1 give infinities. */
double az_normal_quantile(double p);
double az_normal_cdf(double x);
double az_student_quantile(double p, double degrees);
double az_student_cdf(double t, double degrees);
double az_beta_cdf(double x, double a, double b); /* regularised incomplete beta function */

typedef struct az_estimate {
    double value, se, low, high;
    int64_t n;
} az_estimate; /* se, low, high are NaN when n < 2 */
/* Mean with standard error sd/sqrt(n) and a t interval. */
az_estimate az_mean_estimate(const double *x, int64_t n, double confidence);
/* Ratio of sums R = sum(a) / sum(w), delta method: se = sqrt(n/(n-1) sum (a_i - R w_i)^2) / sum(w). */
az_estimate az_ratio_estimate(const double *a, const double *w, int64_t n, double confidence);
/* R_a - R_b for two systems measured on the same items with the same weights. */
az_estimate az_paired_ratio_estimate(const double *a, const double *b, const double *w, int64_t n, double confidence);

#ifdef __cplusplus
}
#endif
#endif
