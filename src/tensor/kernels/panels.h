/* panels.h - kernels of large products of f32 matrices, which work on packed panels: 6 rows of the left matrix column by column,
 * [depth][6], and 16 columns of the right one row by row, [depth][16]. */
#ifndef ADZE_TENSOR_PANELS_H
#define ADZE_TENSOR_PANELS_H

#include "tensor/kernels/kernels.h"

enum { AZ_PANEL_ROWS = 6, AZ_PANEL_COLUMNS = 16 };

typedef struct az_panel_kernels {
    /* Packs a [rows, depth] into panels that follow each other, to[6 p + i] = a[i][p] in the first; rows beyond the last are 0. */
    void (*pack_rows)(int64_t rows, int64_t depth, az_matrix_f32 a, float *to);
    /* Packs b [depth, columns] likewise, to[16 p + j] = b[p][j] in the first. */
    void (*pack_columns)(int64_t depth, int64_t columns, az_matrix_f32 b, float *to);
    /* c [6, 16], rows ldc apart, (+)= the product of a panel of rows and one of columns. */
    void (*product)(int64_t depth, const float *rows, const float *columns, bool add, float *c, int64_t ldc);
} az_panel_kernels;

/* NULL where BLAS does better: it has kernels for AVX-512 and for processors without AVX2, this library has not. */
const az_panel_kernels *az_panel_kernels_here(void);
extern const az_panel_kernels az_panel_kernels_avx2; /* only built for x86-64 */

#endif
