/* gemm.h - large products of f32 matrices by packed panels. */
#ifndef ADZE_TENSOR_GEMM_H
#define ADZE_TENSOR_GEMM_H

#include "tensor/kernels/kernels.h"

/* c [m, n], rows ldc apart, = a [m, k] b [k, n], or added to what is there. Neighbours in memory are neighbours in a row or in a column
 * of a and of b. */
typedef struct az_gemm {
    int64_t m, n, k;
    az_matrix_f32 a, b;
    float *c;
    int64_t ldc;
    bool add;
} az_gemm;

/* Whether panels are worth it for this size on this processor; otherwise a product is BLAS's. */
bool az_gemm_pays(int64_t m, int64_t n, int64_t k);
/* Each element of c is one chain of sums over k in slices that depend on k alone: its bits are the same whatever the other rows and columns
 * and the threads. False without memory. */
bool az_gemm_run(az_ctx *az, const az_gemm *product);

#endif
