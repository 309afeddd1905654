/* matrix.h - small helpers for tests of matrix computations. */
#ifndef ADZE_TEST_MATRIX_H
#define ADZE_TEST_MATRIX_H

#include "adze/tensor.h"

/* Largest |a - b| over all elements; infinite when the shapes differ or one is missing. */
double matrix_difference(const az_tensor *a, const az_tensor *b);
/* Largest |a^T a - I|: how far the columns are from orthonormal. */
double matrix_orthonormality(az_ctx *az, const az_tensor *a);
/* Standard normal entries. */
az_tensor *matrix_normal(az_ctx *az, az_dtype dtype, int64_t rows, int64_t cols, uint64_t seed);
/* M M^T / n + I of a normal M: symmetric positive definite, well conditioned. */
az_tensor *matrix_spd(az_ctx *az, az_dtype dtype, int64_t n, uint64_t seed);
/* 1 / (i + j + 1): condition number about exp(3.5 n). */
az_tensor *matrix_hilbert(az_ctx *az, int64_t n);

#endif
