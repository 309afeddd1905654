/* kernels.h - inner loops that exist once for each instruction set, behind one table. They work on rows and cache-sized blocks, start no
 * threads and give the same result for the same operands. The table is chosen at the first use by az_cpu_features(). */
#ifndef ADZE_TENSOR_KERNELS_H
#define ADZE_TENSOR_KERNELS_H

#include "adze/base.h"

/* A matrix with any strides, in elements. */
typedef struct az_matrix_f32 {
    const float *data;
    int64_t row, column;
} az_matrix_f32;
typedef struct az_matrix_f64 {
    const double *data;
    int64_t row, column;
} az_matrix_f64;

/* A row to be normalised: (x - shift) scale, then weight, and bias unless it is NULL. */
typedef struct az_norm_row_f32 {
    const float *x, *weight, *bias;
    float shift, scale;
} az_norm_row_f32;
typedef struct az_norm_row_f64 {
    const double *x, *weight, *bias;
    double shift, scale;
} az_norm_row_f64;

#define REAL        float
#define AZ_TABLE    az_kernels_f32
#define AZ_MATRIX   az_matrix_f32
#define AZ_NORM_ROW az_norm_row_f32
#include "tensor/kernels/table.h"
#undef REAL
#undef AZ_TABLE
#undef AZ_MATRIX
#undef AZ_NORM_ROW

#define REAL        double
#define AZ_TABLE    az_kernels_f64
#define AZ_MATRIX   az_matrix_f64
#define AZ_NORM_ROW az_norm_row_f64
#include "tensor/kernels/table.h"
#undef REAL
#undef AZ_TABLE
#undef AZ_MATRIX
#undef AZ_NORM_ROW

typedef struct az_kernels {
    az_kernels_f32 f32;
    az_kernels_f64 f64;
} az_kernels;

const az_kernels *az_kernels_best(void); /* the fastest that this processor runs */
const az_kernels *az_kernels_portable(void);
const az_kernels *az_kernels_avx2(void); /* only built for x86-64; call it only where the processor has AVX2 and FMA */

#endif
