/* linf.h - least squares min |A x - b| for A [n, d], n >> d, solved on a sketch (S A, S b) with an error bound for each coefficient. */
#ifndef ADZE_ESTIMATE_LINF_H
#define ADZE_ESTIMATE_LINF_H

#include "adze/linalg.h"

/* Rows of a dense sketch for |x' - x*|_inf <= eps / sqrt(d) |A x* - b| |A^+| with probability 1 - delta: 2 d log(2 d / delta) / eps^2,
 * which is what Gaussian errors of the coefficients need, or with `theory` d log^3(n / delta) / eps^2; at most n. */
int64_t az_linf_rows(int64_t n, int64_t d, double eps, double delta, bool theory);

typedef struct az_linf_fit {
    double *x, *se;        /* [d]; standard errors of x as an estimate of the solution for all rows */
    double *r;             /* [d, d] of S A = Q R, row-major */
    double residual;       /* |A x* - b|: an estimate of a sketch, exact of all rows */
    double largest, least; /* singular values of R */
    int64_t rank;
} az_linf_fit;
/* Rows [n, d + 1] of (A, b) side by side. */
az_rows az_linf_joint(const double *rows, int64_t n, int64_t d);
/* Solves on all rows (A, b), b being the last column. AZ_BAD_INPUT when there are fewer than d; AZ_NUMERIC when A has not rank d, unless
 * minimum_norm (r and se are NULL then). */
az_linf_fit *az_linf_solve(az_ctx *az, const az_rows *rows, bool minimum_norm);
/* |A x - b| */
double az_linf_residual(const az_rows *rows, const double *x);
/* Solves on the rows of a sketch (S A, S b). For a Gaussian S, given S A, x - x* is normal with covariance
 * |A x* - b|^2 / m (A^T S^T S A)^-1; se estimates the roots of its diagonal. Errors as above. */
az_linf_fit *az_linf_solve_sketch(az_ctx *az, const az_rows *sketch, bool minimum_norm);
/* Solves (S A, S b) made from all rows (A, b) at once. */
az_linf_fit *az_linf_sketch_and_solve(az_ctx *az, const az_sketch *sketch, const az_rows *rows, bool minimum_norm);

/* sketch [m, d1 d2 + 1] of A = A1 kron A2 and b [n1, n2]: row t of the sketch of a column a1 kron a2 is m^-1/2 (H D1 a1)[p_t] (H D2
 * a2)[q_t]; A is never formed. */
typedef struct az_tensor_operands {
    const double *first, *second, *b; /* [n1, d1], [n2, d2], [n1, n2] */
    int64_t n1, d1, n2, d2;
} az_tensor_operands;
bool az_linf_tensor_sketch(az_ctx *az, const az_tensor_operands *in, int64_t m, uint64_t seed, double *sketch);

#endif
