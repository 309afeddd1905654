/* weight.h - formats of a weight matrix.
 *
 * A linear layer holds an az_weight; the model never asks how it is stored. A compression method replaces one weight by another of a
 * different format; a new kernel is a new format. A weight's contents are its parts: named tensors (one for a dense matrix, a byte
 * matrix for block-quantized ones, two factors for low rank ...), so that saving and loading are the same code for every format. */
#ifndef ADZE_WEIGHT_H
#define ADZE_WEIGHT_H

#include "adze/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { AZ_WEIGHT_PARTS = 6 };

typedef struct az_format az_format;

typedef struct az_weight {
    const az_format *format;
    int64_t rows, cols;               /* outputs, inputs */
    az_tensor *part[AZ_WEIGHT_PARTS]; /* as format->part_name says */
    const az_tensor *arranged;        /* the rows again as az_weight_arrange lays them out, for products; or NULL */
} az_weight;

struct az_columns;
typedef void az_rows_kernel(const void *rows, int64_t count, const struct az_columns *x, float *y, int64_t y_stride);

/* What a format must know. Only `decode` is required: products that are NULL are done on decoded tiles through BLAS. */
struct az_format {
    const char *name; /* "f32", "q8_0": also on command lines and in files */
    const char *summary;
    const char *part_name[AZ_WEIGHT_PARTS]; /* NULL after the last */
    int ggml_type;                          /* number of the GGUF tensor type, -1 when there is none (then parts are saved) */
    int64_t block;                          /* values per block along a row: cols must be a multiple; 1 = any */
    int64_t block_bytes;                    /* bytes of such a block; 0 when storage is not a byte matrix of blocks */
    int halves;                             /* bytes of f16 numbers with which a block begins, where rows can be arranged */
    /* Rows first .. first + n - 1 as f32 into out [n, cols]. */
    void (*decode)(const az_weight *w, int64_t first, int64_t n, float *out);
    /* The kernel that multiplies single rows with n vectors (src/weight/kernels), NULL when n is too large for it. Formats of blocks get
     * the vectors rounded to bytes. Such weights that read the same x are multiplied in one pass. arranged: the one for arranged rows,
     * NULL where rows as they are serve as well. */
    az_rows_kernel *(*rows_kernel)(const az_format *format, int64_t n, bool arranged);
    /* Otherwise: y [n, rows] = x [n, cols] W^T ; and its adjoint gx [n, cols] = g [n, rows] W. Contiguous f32; threaded inside. */
    void (*matmul)(az_ctx *az, const az_weight *w, const float *x, int64_t n, float *y);
    void (*matmul_t)(az_ctx *az, const az_weight *w, const float *g, int64_t n, float *gx);
    /* The same as recorded operations on the parts, instead of the two above, where parts receive gradients of their own; or NULL. */
    az_tensor *(*apply)(az_ctx *az, const az_weight *w, const az_tensor *x);
    az_tensor *(*apply_t)(az_ctx *az, const az_weight *w, const az_tensor *g);
    /* A weight of this format nearest to a dense f32 matrix [rows, cols] in the format's own sense. importance[cols]: weight of each
     * input's squared error, or NULL. Or, block by block, finite x [block] to out [block_bytes]; false when a value is too large for the
     * format. Both NULL = made only by a method. */
    az_weight *(*encode)(az_ctx *az, const az_tensor *dense, const float *importance);
    bool (*encode_block)(const az_format *format, const float *x, const float *importance, unsigned char *out);
    /* Parts have the types and shapes that the format needs; az_fail otherwise. */
    bool (*check)(az_ctx *az, const az_weight *w);
    /* From values in full, with the settings of another weight of the format; NULL = encode has none. */
    az_weight *(*encode_as)(az_ctx *az, const az_tensor *dense, const az_weight *like);
    /* The same matrix with its parts in another format where its structure stays (low rank stays low rank); NULL = none to keep. */
    az_weight *(*recode)(az_ctx *az, const az_weight *w, const az_format *format, const float *importance);
    bool keeps_zeros; /* an exact zero is encoded as an exact zero: pruned matrices stay pruned */
};

/* Every format, NULL-terminated; by name; by GGUF type (NULL when unknown). */
const az_format *const *az_formats(void);
const az_format *az_format_by_name(const char *name);
const az_format *az_format_by_ggml(int type);
/* How many parts a weight of the format has. */
int az_format_parts(const az_format *format);

/* Whether az_weight_encode makes weights of this format. */
static inline bool az_format_encodes(const az_format *format)
{
    return format->encode || format->encode_block;
}

/* A dense weight around a matrix [rows, cols] of type f32, f64, f16 or bf16 (shared, not copied). */
az_weight *az_weight_dense(az_ctx *az, az_tensor *matrix);
/* A weight from its parts, checked. */
az_weight *az_weight_from_parts(az_ctx *az, const az_format *format, int64_t rows, int64_t cols, az_tensor *const *parts);
/* Re-encodes in another format (through f32). */
az_weight *az_weight_encode(az_ctx *az, const az_weight *w, const az_format *format, const float *importance);
/* Re-encodes in the format of another weight of the same shape, with the settings that this has beside its values (scheme, threshold and
 * listed columns of int8); whether its format can be made so. */
az_weight *az_weight_encode_as(az_ctx *az, const az_weight *w, const az_weight *like);
bool az_weight_encodes_as(const az_weight *like);
/* The same, but a structure that the weight has is kept where its format can: its parts are re-encoded. */
az_weight *az_weight_recode(az_ctx *az, const az_weight *w, const az_format *format, const float *importance);
/* The matrix as f32 [rows, cols], contiguous, a copy; the dense f32 part itself is never returned. */
az_tensor *az_weight_decode(az_ctx *az, const az_weight *w);
/* Rows first .. first + n - 1 as a weight: a view where the format stores row after row, otherwise decoded to f32. */
az_weight *az_weight_rows(az_ctx *az, const az_weight *w, int64_t first, int64_t n);
/* A weight with its own header and parts in the current scope or arena, sharing their data. */
az_weight *az_weight_share(az_ctx *az, const az_weight *w);
bool az_weight_is_dense(const az_weight *w);
/* True for f32 and f64: gradients with respect to the matrix exist. */
bool az_weight_is_trainable(const az_weight *w);
/* How many of its first parts are plain matrices, a model's parameters: 1 of a dense weight, 2 of a low-rank one with dense factors. */
int az_weight_plain_parts(const az_weight *w);
size_t az_weight_bytes(const az_weight *w);                /* of all parts */
double az_weight_sparsity(az_ctx *az, const az_weight *w); /* share of exact zeros */

/* Formats whose values are a scale times a whole number of so many bits: 8, 5 or 4 for q8_0, q5_0 and q4_0; 0 for the others. */
int az_format_level_bits(const az_format *format);
/* The numbers, i8 [rows, cols], and the scales, f16 [rows, cols / 32], of such a weight; and the weight that they make: no rounding. */
bool az_weight_levels(az_ctx *az, const az_weight *w, az_tensor **level, az_tensor **scale);
az_weight *az_weight_from_levels(az_ctx *az, const az_format *format, const az_tensor *level, const az_tensor *scale);

/* x [..., cols] -> x W^T [..., rows]. Recorded: gradients flow to x for every format, and to the matrix when it is trainable. */
az_tensor *az_weight_apply(az_ctx *az, const az_weight *w, const az_tensor *x);
/* The same for n weights that read the same x, into y[0 .. n - 1]: x is prepared once and the threads work on all of them together. */
bool az_weight_apply_many(az_ctx *az, const az_weight *const *w, int n, const az_tensor *x, az_tensor **y);
/* g [..., rows] -> g W [..., cols]: the adjoint. */
az_tensor *az_weight_apply_t(az_ctx *az, const az_weight *w, const az_tensor *g);
/* Lays the rows out again, blocks of sixteen rows side by side, where products with few vectors are faster so (formats of 4 and 5 bits);
 * other weights stay as they are. It takes memory as large as the part, in the current scope or arena; a file's
 * own pages are given back. False without memory. */
bool az_weight_arrange(az_ctx *az, az_weight *w);
/* Rows of the matrix named by index (i32 [n]): [n, cols], f32 (f64 for an f64 matrix). An embedding table. */
az_tensor *az_weight_gather(az_ctx *az, const az_weight *w, const az_tensor *index);

/* ---- low rank ---------------------------------------------------------------------------------------------------------------- */

/* W = U V of U [rows, rank] and V [rank, cols], both in formats that GGUF has (dense ones, or blocks): parts u, v and types. */
az_weight *az_weight_lowrank(az_ctx *az, const az_weight *u, const az_weight *v);
/* The factors of such a weight, around its own parts; false for other weights. */
bool az_weight_factors(const az_weight *w, az_weight *u, az_weight *v);
int64_t az_weight_rank(const az_weight *w); /* 0 for other weights */

/* ---- grids -------------------------------------------------------------------------------------------------------------------- */

/* A weight of format grid, w = scale (code - zero), everything 0: codes of 1 to 8 bits, scales and zeros f32 [rows, groups]. */
az_weight *az_grid_new(az_ctx *az, int64_t rows, int64_t cols, int bits, int64_t groups);
int az_grid_code(const az_weight *w, int64_t row, int64_t col);
void az_grid_set_code(az_weight *w, int64_t row, int64_t col, int code);

/* ---- bytes -------------------------------------------------------------------------------------------------------------------- */

/* How many scales there are: one for each vector of activations and each row of the weight; one for each vector and one for the matrix;
 * one each, symmetric or from the least to the largest value. */
typedef enum az_int8_scheme { AZ_INT8_VECTORWISE, AZ_INT8_ROWWISE, AZ_INT8_ABSMAX, AZ_INT8_ZEROPOINT } az_int8_scheme;
typedef struct az_int8_settings {
    az_int8_scheme scheme;
    double threshold;      /* a column of activations that reaches it is an outlier and stays out of the bytes; 0 = none does */
    bool paper;            /* scales leave outlier columns out; otherwise those of activations leave out values that reach the threshold,
                            * and those of weights nothing */
    bool fixed;            /* the outliers are the listed columns, whatever the activations */
    bool live;             /* the matrix stays f16 and becomes bytes at each product, scales without the outliers of that product */
    const int32_t *column; /* [listed] ascending: columns that are there as f16 too; unused with live */
    int64_t listed;
} az_int8_settings;
/* W as bytes, w = scale / 127 code with codes from -127 to 127, of format int8, int8_columns or int8_live. Its product rounds the
 * activations in the same way, adds up whole numbers, and adds the outlier columns in f32: as f16 weights where they are listed. */
az_weight *az_weight_int8(az_ctx *az, const az_weight *w, const az_int8_settings *settings);

/* W as whole numbers for products with rounded activations: scale_o (code_ok - zero_o) = step_k w_ok. The steps and shifts of the inputs
 * are known beforehand (format int8_static: x_k is rounded to a multiple of step_k beside shift_k), or there is one step for each token and
 * no shift (int8_token). Codes and zeros of b bits lie between -2^(b - 1) and 2^(b - 1) - 1. */
typedef struct az_int8_codes {
    az_tensor *codes;                 /* i8 [rows, cols] */
    az_tensor *scales;                /* f32 [rows] */
    az_tensor *zeros;                 /* i32 [rows] */
    az_tensor *channels;              /* f32 [2, cols], steps and shifts; NULL = int8_token */
    int weight_bits, activation_bits; /* 2 to 8 */
    int output_bits;                  /* 2 to 8: what a token's product is rounded to, with one scale; 0 = it is not */
} az_int8_codes;
az_weight *az_weight_int8_static(az_ctx *az, const az_int8_codes *from);

/* ---- planes of bits ------------------------------------------------------------------------------------------------------------- */

/* How the product of planes is computed; all ways give the same whole numbers. auto: lookup, or for wide codes with many vectors int8. */
typedef enum az_bipolar_kernel { AZ_BIPOLAR_AUTO, AZ_BIPOLAR_POPCOUNT, AZ_BIPOLAR_LOOKUP, AZ_BIPOLAR_INT8 } az_bipolar_kernel;
typedef struct az_bipolar_settings {
    int weight_bits, activation_bits; /* 1 to 8 */
    int64_t group;                    /* inputs that share a scale: 0 = a row's, otherwise a multiple of 8 up to 256, or of 256 */
    bool search;                      /* the scale is the share 1, 0.99 ... 0.21 of the largest with the least squared error */
    bool offset;                      /* weights from the least to the largest with an offset; an exact zero stays one */
    bool activation_offset;           /* the same for the activations of each vector */
    az_bipolar_kernel kernel;
} az_bipolar_settings;
/* W as odd whole numbers v from -(2^bits - 1) to 2^bits - 1, w = scale v + offset, in a plane for each bit; of one bit without offset
 * scale = mean |w|. The product rounds activations in the same way, vector by vector. */
az_weight *az_weight_bipolar(az_ctx *az, const az_weight *w, const az_bipolar_settings *settings);
/* The same without rounding from a weight that has codes already: q8_0, q5_0, q4_0, grid, int8_token, bipolar. weight_bits, group, search
 * and offset are those of the weight. */
az_weight *az_weight_bipolar_recode(az_ctx *az, const az_weight *w, const az_bipolar_settings *settings);

/* ---- masks ------------------------------------------------------------------------------------------------------------------- */

/* A keep mask is a u8 matrix [rows, cols]: 0 = dropped (the weight becomes zero), anything else = kept. */

typedef enum az_mask_scope { AZ_PER_ROW, AZ_PER_MATRIX } az_mask_scope;
typedef struct az_mask_how {
    double share;        /* of the weights to drop, 0 .. 1; unused with a pattern */
    az_pattern pattern;  /* {n, m}: exactly n of every m consecutive inputs are kept (2:4 keeps 2 of 4); {0, 0} = none */
    az_mask_scope scope; /* where the scores compete; unused with a pattern */
} az_mask_how;

/* The mask that drops the lowest scores [rows, cols] (f32, no NaN). Among equal scores the ones of lower index go first.
 *   per row: the floor(cols share) lowest of each row;
 *   per matrix: those at or below the threshold sorted[floor(numel share)], the threshold itself included (none when share = 0); of the
 *     entries equal to the threshold only the first in row-major order go, so that exactly min(numel, floor(numel share) + 1) are dropped;
 *   pattern n:m: the m - n lowest of each group. cols must be a multiple of m. */
az_tensor *az_mask_lowest(az_ctx *az, const az_tensor *scores, az_mask_how how);
/* The mask that drops exactly `count` of all scores, the lowest, by the same rule of ties. */
az_tensor *az_mask_lowest_count(az_ctx *az, const az_tensor *scores, int64_t count);
/* The mask that drops what is exactly zero: what earlier methods left of the matrix. */
az_tensor *az_mask_of(az_ctx *az, const az_weight *w);
/* The weight as a dense f32 matrix with zeros where the mask drops. */
az_weight *az_mask_apply(az_ctx *az, const az_weight *w, const az_tensor *mask);
/* The n:m with the least m among 2, 4, 8 and 16 that the mask holds to, n/m being the share of weights that it keeps up to 0.02;
 * {0, 0} = none. */
az_pattern az_mask_pattern(const az_tensor *mask);
/* True when no group of m keeps more than n; otherwise fails with the first row and group that do. */
bool az_mask_check(az_ctx *az, const az_tensor *mask, az_pattern pattern);

/* ---- half precision ------------------------------------------------------------------------------------------------------------ */

/* Conversions, rounding to nearest even. */
float az_half_to_float(uint16_t half);
uint16_t az_float_to_half(float value);
float az_bfloat_to_float(uint16_t bfloat);
uint16_t az_float_to_bfloat(float value);

#ifdef __cplusplus
}
#endif
#endif
