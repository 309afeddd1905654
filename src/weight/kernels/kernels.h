/* kernels.h - products of weight rows with a few vectors of activations, one set of functions per instruction set.
 *
 * All sets compute the same numbers up to the order of the sums. Which set runs is decided once, by az_weight_kernels_here. */
#ifndef ADZE_WEIGHT_KERNELS_H
#define ADZE_WEIGHT_KERNELS_H

#include "adze/base.h"

/* n vectors of activations. Products with q8_0 and q4_0 use them rounded to bytes, block by block of 32: value = scale q within scale / 2.
 */
typedef struct az_columns {
    int64_t n, cols;
    const float *value;    /* [n, cols] */
    const int8_t *q;       /* [n, cols], -127 .. 127; q, scale and eights are NULL for the other formats */
    const float *scale;    /* [n, cols / 32]: largest magnitude of the block / 127; NaN when the block is not finite */
    const int32_t *eights; /* [n, cols / 32, 8]: 8 times the sum of each four consecutive q, what the offset of q4_0 contributes */
} az_columns;

/* y[j y_stride + r] = row r of the weight . vector j, for r < count and j < x->n. `rows` points to the first of these rows. */
typedef void az_rows_kernel(const void *rows, int64_t count, const az_columns *x, float *y, int64_t y_stride);

typedef struct az_weight_kernels {
    const char *name;
    az_rows_kernel *f32, *f16, *bf16, *q8_0, *q4_0;
    /* Rounds blocks * 32 values to q, scale and eights. */
    void (*round_to_bytes)(const float *value, int64_t blocks, int8_t *q, float *scale, int32_t *eights);
    /* n values to f32 */
    void (*widen_f16)(const uint16_t *from, int64_t n, float *to);
    void (*widen_bf16)(const uint16_t *from, int64_t n, float *to);
    void (*widen_q8_0)(const unsigned char *blocks, int64_t n, float *to);
    void (*widen_q4_0)(const unsigned char *blocks, int64_t n, float *to);
} az_weight_kernels;

extern const az_weight_kernels az_weight_kernels_portable;
#if defined(__x86_64__)
extern const az_weight_kernels az_weight_kernels_avx2;
#endif

/* The fastest set that this processor runs. */
const az_weight_kernels *az_weight_kernels_here(void);

#endif
