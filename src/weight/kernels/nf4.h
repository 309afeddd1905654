/* nf4.h - products with 4-bit NormalFloat: rows of blocks of 64 codes, two in a byte, the first in its upper half, and a scale each. */
#ifndef ADZE_WEIGHT_NF4_H
#define ADZE_WEIGHT_NF4_H

#include <stdint.h>

enum { AZ_NF4_BLOCK = 64, AZ_NF4_LANES = 8 };

/* What the codes stand for. */
extern const float az_nf4_levels[16];

typedef struct az_nf4_rows {
    const uint8_t *code; /* [count, cols / 2] */
    const float *scale;  /* [count, cols / 64] */
    int64_t count;
} az_nf4_rows;

/* n vectors rounded to bytes (az_columns), those of even and of odd columns apart as the halves of the codes' bytes are. */
typedef struct az_nf4_columns {
    int64_t n, cols;
    const int8_t *q;    /* [cols / 64, n, 2, 32] */
    const float *scale; /* [cols / 64, n, 8]: four times that of the first 32 columns, four times that of the last */
    const float *total; /* [n, cols / 64]: the sum of q times its scale */
} az_nf4_columns;

typedef struct az_nf4_kernels {
    /* y[j y_stride + r] = row r . vector j; NULL: rows are decoded instead */
    void (*multiply)(const az_nf4_rows *rows, const az_nf4_columns *x, float *y, int64_t y_stride);
    /* whole blocks to f32 */
    void (*widen)(const uint8_t *code, const float *scale, int64_t blocks, float *to);
} az_nf4_kernels;

extern const az_nf4_kernels az_nf4_kernels_portable;
#if defined(__x86_64__)
extern const az_nf4_kernels az_nf4_kernels_avx2;
#endif
const az_nf4_kernels *az_nf4_kernels_here(void);

#endif
