/* kernels.h - products of weight rows with a few vectors of activations, one set of functions per instruction set.
 *
 * All sets compute the same numbers up to the order of the sums. Which set runs is decided once, by az_weight_kernels_here. */
#ifndef ADZE_WEIGHT_KERNELS_H
#define ADZE_WEIGHT_KERNELS_H

#include "adze/base.h"

/* n vectors of activations. Products with formats of blocks use them rounded to bytes, block by block of 32: value = scale q within
 * scale / 2.
 */
typedef struct az_columns {
    int64_t n, cols;
    const float *value;    /* [n, cols] */
    const int8_t *q;       /* [n, cols], -127 .. 127; q and what follows are NULL for the other formats */
    const float *scale;    /* [n, cols / 32]: largest magnitude of the block / 127; NaN when the block is not finite */
    const int32_t *eights; /* [n, cols / 32, 8]: 8 times the sum of each four consecutive q, what the offset of q4_0 contributes */
    const float *total;    /* [n, cols / 32]: scale times the sum of the block's q, what a minimum of 1 contributes */
    const float *halves;   /* [n, cols / 32, 2]: the same for each half of the block */
} az_columns;

/* y[j y_stride + r] = row r of the weight . vector j, for r < count and j < x->n. `rows` points to the first of these rows. */
typedef void az_rows_kernel(const void *rows, int64_t count, const az_columns *x, float *y, int64_t y_stride);

/* Products with many vectors of rounded activations. Rows are repacked into panels of 16 and vectors into groups of 3 (the missing ones are
 * zero), which are then multiplied one pair after the other. */
enum { AZ_PANEL_ROWS = 16, AZ_PANEL_VECTORS = 3 };
typedef struct az_panel_kernel {
    int64_t value_bytes; /* of a value in a panel or a group */
    /* count <= 16 rows into panel [16 cols] (32-byte aligned) and scale [cols / 32, 16] */
    void (*pack_rows)(const unsigned char *rows, int64_t count, int64_t cols, void *panel, float *scale);
    /* vectors j0, j0 + 1, j0 + 2 into packed [3 cols] and scale [cols / 32, 6] */
    void (*pack_vectors)(const az_columns *x, int64_t j0, void *packed, float *scale);
    /* y[v 16 + r] = row r . vector v over `blocks` blocks of 32 columns */
    void (*multiply)(int64_t blocks, const void *panel, const float *row_scale, const void *packed, const float *scale, float *y);
} az_panel_kernel;

/* Rows of a pattern n:m: their kept values, one row after the other, and a bit for each column (bit c % 8 of byte c / 8 of a row's mask).
 */
typedef struct az_kept_rows {
    const uint16_t *value, *end; /* f16 or bf16; end of the whole matrix */
    const uint8_t *mask;         /* [count, (cols + 7) / 8] */
    int64_t count, per_row;      /* rows; values of a row */
    int per_byte;                /* values of every byte of the mask, at most 4; 0 = it varies */
    bool bf16;
} az_kept_rows;
typedef void az_kept_kernel(const az_kept_rows *rows, const az_columns *x, float *y, int64_t y_stride);

typedef struct az_weight_kernels {
    const char *name;
    az_rows_kernel *f32, *f16, *bf16, *q8_0, *q4_0;
    az_rows_kernel *q4_1, *q5_0, *q5_1, *iq4_nl; /* NULL: rows are decoded instead */
    az_rows_kernel *k[5];                        /* q2_k .. q6_k, or NULL */
    az_kept_kernel *kept;
    const az_panel_kernel *panel_q8_0, *panel_q4_0; /* NULL: many vectors are left to f32 tiles and BLAS */
    /* Rounds blocks * 32 values to q, scale and eights. */
    void (*round_to_bytes)(const float *value, int64_t blocks, int8_t *q, float *scale, int32_t *eights);
    /* n values to f32 */
    void (*widen_f16)(const uint16_t *from, int64_t n, float *to);
    void (*widen_bf16)(const uint16_t *from, int64_t n, float *to);
    void (*widen_q8_0)(const unsigned char *blocks, int64_t n, float *to);
    void (*widen_q4_0)(const unsigned char *blocks, int64_t n, float *to);
} az_weight_kernels;

extern const az_weight_kernels az_weight_kernels_portable;
az_rows_kernel az_rows_q4_k_portable, az_rows_q6_k_portable;
az_kept_kernel az_kept_portable;
#if defined(__x86_64__)
extern const az_weight_kernels az_weight_kernels_avx2;
az_kept_kernel az_kept_avx2;
extern const az_panel_kernel az_panel_q8_0_avx2, az_panel_q4_0_avx2;
az_rows_kernel az_rows_q4_0_avx2, az_rows_q4_1_avx2, az_rows_q5_0_avx2, az_rows_q5_1_avx2, az_rows_iq4_nl_avx2;
az_rows_kernel az_rows_q2_k_avx2, az_rows_q3_k_avx2, az_rows_q4_k_avx2, az_rows_q5_k_avx2, az_rows_q6_k_avx2;
#elif defined(__aarch64__)
extern const az_weight_kernels az_weight_kernels_neon;
#endif

/* total and halves from scale and eights, for a number of blocks. */
void az_block_totals(int64_t blocks, const float *scale, const int32_t *eights, float *total, float *halves);

/* The fastest set that this processor runs. */
const az_weight_kernels *az_weight_kernels_here(void);

#endif
