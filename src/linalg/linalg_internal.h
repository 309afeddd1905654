/* linalg_internal.h - what the factorizations share: checking operands, reporting LAPACK's verdicts.
 *
 * LAPACK stores by columns: to it, the memory of a row-major A [m, n] is A^T (n x m). The files of this room factor that transpose and read
 * the factors accordingly, so that nothing is transposed back and forth. */
#ifndef ADZE_LINALG_INTERNAL_H
#define ADZE_LINALG_INTERNAL_H

#include "adze/linalg.h"

#include <cblas.h>
#include <lapacke.h>

/* A fresh contiguous copy of a matrix for LAPACK to overwrite; NULL and an error unless it is f32 or f64, finite, and square where that is
 * asked. */
az_tensor *az_linalg_matrix(az_ctx *az, const char *who, const az_tensor *a);
az_tensor *az_linalg_square(az_ctx *az, const char *who, const az_tensor *a);
/* A fresh contiguous copy of a right-hand side [n] or [n, k] for an n x n matrix of the given type; *columns receives k (1 for a vector).
 */
az_tensor *az_linalg_right_side(az_ctx *az, const char *who, const az_tensor *b, az_dtype dtype, int64_t n, int64_t *columns);
/* Turns a negative return code of LAPACKE (a bad argument, no memory) into an error; true when info >= 0. */
bool az_linalg_accepted(az_ctx *az, const char *who, lapack_int info);

/* LU with partial pivoting of the transpose that LAPACK sees, in place; *pivot [n] receives the interchanges, *zero the first zero pivot
 * (1-based, 0 = none). */
bool az_linalg_lu(az_ctx *az, const char *who, az_tensor *a, lapack_int **pivot, int64_t *zero);
/* 1 in the lower (or upper) triangle, `diagonal` on the diagonal, 0 elsewhere: [n, n]. */
az_tensor *az_linalg_triangle(az_ctx *az, az_dtype dtype, int64_t n, bool upper, double diagonal);

#endif
