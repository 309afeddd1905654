/* compressed.h - the compressed-tensors convention of Hugging Face folders (https://github.com/vllm-project/compressed-tensors): a matrix
 * "x.weight" is stored as several tensors "x.<part>", and config.json's "quantization_config" says how.
 *
 *   pack-quantized      weight_packed i32 [rows, ceil(cols bits / 32)]: value i of a row, plus 2^(bits - 1), in the bits i bits .. of the
 * row, lowest first; weight_scale [rows, groups] (or [rows, 1], [1]); weight_shape i64 {rows, cols}; where values are not symmetric
 * weight_zero_point i32 [ceil(rows bits / 32), groups], packed along the rows; where groups are not consecutive columns weight_g_idx i32
 * [cols] int-quantized       weight i8 [rows, cols], weight_scale; weight_zero_point i8 [rows, groups]; weight_g_idx sparse-24-bitmask
 * compressed [rows, cols / 2]: the kept values; bitmask u8 [rows, ceil(cols / 8)]: bit c % 8 of byte c / 8 for column c; shape i64 {rows,
 * cols}
 *
 * Written: q8_0, q5_0 and q4_0 as pack-quantized of 8, 5 and 4 bits in groups of 32; nm_f16 and nm_bf16 of a pattern 2:4 as
 * sparse-24-bitmask. */
#ifndef ADZE_LM_COMPRESSED_H
#define ADZE_LM_COMPRESSED_H

#include "lm/lm_internal.h"

#include <jansson.h>

/* ---- writing ---- */

/* A tensor of a compressed matrix that has a row for each of its rows. */
typedef struct az_compressed_part {
    const char *name;
    az_dtype dtype;
    int64_t width;
} az_compressed_part;

enum { AZ_COMPRESSED_PARTS = 2 };
typedef struct az_compressed_form {
    const char *format;     /* "pack-quantized"; NULL = the weight has no such form */
    int bits;               /* of a number; 0 when sparse */
    const char *shape_name; /* of the tensor that holds {rows, cols} */
    int shape_rank;
    az_compressed_part part[AZ_COMPRESSED_PARTS];
} az_compressed_form;

/* The form of a weight once it is in a format; w is looked at only when it is in that format already. */
az_compressed_form az_compressed_form_of(const az_format *format, const az_weight *w);
bool az_compressed_same(const az_compressed_form *a, const az_compressed_form *b);
/* Part `number` of a weight that has the form. */
const az_tensor *az_compressed_part_of(az_ctx *az, const az_weight *w, const az_compressed_form *form, int number);

/* Collects what config.json says: modules ("model.layers.0.mlp.up_proj") that are compressed, and linear ones that are not. */
typedef struct az_compressed_config {
    json_t *groups, *ignore, *sparse, *dense;
} az_compressed_config;
az_compressed_config az_compressed_config_new(void);
void az_compressed_config_add(az_compressed_config *config, const char *module, const az_compressed_form *form);
void az_compressed_config_free(az_compressed_config *config);
/* "quantization_config", NULL when nothing is compressed. */
json_t *az_compressed_config_to_json(const az_compressed_config *config);

/* ---- reading ---- */

/* Fails when config.json asks for another way of compression than those above. */
bool az_compressed_check(az_ctx *az, const json_t *config);

/* The tensors of a stored matrix; those that its form does not have are NULL. */
typedef struct az_compressed_tensors {
    const az_tensor *packed, *levels, *scale, *zero, *group, *values, *mask, *shape;
} az_compressed_tensors;
/* Finds tensor "module.part" of the folder; NULL when there is none. */
typedef const az_tensor *(*az_compressed_finder)(const void *folder, const char *name);
/* False when the module is not stored in this way. */
bool az_compressed_find(az_ctx *az, const char *module, az_compressed_finder find, const void *folder, az_compressed_tensors *out);
/* Whether "x.part" is a name of such a tensor. */
bool az_compressed_is_part(const char *part);

/* A weight stands in some rows of the stored matrix [all, cols]. */
typedef struct az_compressed_rows {
    int64_t all, cols, first, rows;
} az_compressed_rows;
/* Without loss: as q8_0, q5_0 or q4_0 where numbers, scales and groups allow; as nm_f16 or nm_bf16; or else as f32. */
az_weight *az_compressed_read(az_ctx *az, const az_compressed_tensors *from, const az_compressed_rows *rows);

#endif
