/* solve.c - linear systems, inverse and determinant through LU with partial pivoting. */
#include "linalg/linalg_internal.h"

#include <math.h>

bool az_linalg_lu(az_ctx *az, const char *who, az_tensor *a, lapack_int **pivot, int64_t *zero)
{
    const lapack_int n = (lapack_int)a->shape[0];
    *pivot = az_alloc_array(az, (size_t)n, sizeof **pivot);
    *zero = 0;
    if (!*pivot) return false;
    if (n == 0) return true;
    const lapack_int info = a->dtype == AZ_F32 ? LAPACKE_sgetrf(LAPACK_COL_MAJOR, n, n, a->data, n, *pivot)
                                               : LAPACKE_dgetrf(LAPACK_COL_MAJOR, n, n, a->data, n, *pivot);
    *zero = info > 0 ? info : 0;
    return az_linalg_accepted(az, who, info);
}

/* LU of an operand that must not be singular. */
static az_tensor *regular_lu(az_ctx *az, const char *who, const az_tensor *a, lapack_int **pivot)
{
    az_tensor *lu = az_linalg_square(az, who, a);
    int64_t zero = 0;
    if (!lu || !az_linalg_lu(az, who, lu, pivot, &zero)) return NULL;
    if (zero > 0)
        return az_fail(az, AZ_NUMERIC, "%s: a %lld x %lld matrix is singular (pivot %lld is zero)", who, (long long)lu->shape[0],
                       (long long)lu->shape[1], (long long)zero);
    return lu;
}

/* LAPACK holds A^T = P L U and sees the right-hand side as B^T [k, n]; so X^T = B^T U^-1 L^-1 P^T, from right to left in place. */
static void solve_in_place(const az_tensor *lu, const lapack_int *pivot, az_tensor *b, int64_t columns)
{
    const int n = (int)lu->shape[0], k = (int)columns;
    if (lu->dtype == AZ_F32) {
        cblas_strsm(CblasColMajor, CblasRight, CblasUpper, CblasNoTrans, CblasNonUnit, k, n, 1, lu->data, n, b->data, k);
        cblas_strsm(CblasColMajor, CblasRight, CblasLower, CblasNoTrans, CblasUnit, k, n, 1, lu->data, n, b->data, k);
        for (int i = n - 1; i >= 0; i--)
            if (pivot[i] - 1 != i)
                cblas_sswap(k, (float *)b->data + (size_t)i * (size_t)k, 1, (float *)b->data + (size_t)(pivot[i] - 1) * (size_t)k, 1);
    } else {
        cblas_dtrsm(CblasColMajor, CblasRight, CblasUpper, CblasNoTrans, CblasNonUnit, k, n, 1, lu->data, n, b->data, k);
        cblas_dtrsm(CblasColMajor, CblasRight, CblasLower, CblasNoTrans, CblasUnit, k, n, 1, lu->data, n, b->data, k);
        for (int i = n - 1; i >= 0; i--)
            if (pivot[i] - 1 != i)
                cblas_dswap(k, (double *)b->data + (size_t)i * (size_t)k, 1, (double *)b->data + (size_t)(pivot[i] - 1) * (size_t)k, 1);
    }
}

/* A vector as a matrix of one column; a matrix as it is. */
static az_tensor *as_matrix(az_ctx *az, const az_tensor *x)
{
    return az_reshape(az, x, 2, (int64_t[]){x ? x->shape[0] : 0, x && x->rank == 2 ? x->shape[1] : 1});
}

/* a b^T for matrices or vectors. */
static az_tensor *outer(az_ctx *az, const az_tensor *a, const az_tensor *b)
{
    return az_matmul(az, as_matrix(az, a), az_transpose(az, as_matrix(az, b)));
}

/* gB = A^-T gX, gA = -gB X^T */
static void solve_gradient(az_ctx *az, const az_node *node, const az_tensor *gy, az_tensor **gx)
{
    gx[1] = az_solve(az, az_transpose(az, node->input[0]), gy);
    gx[0] = az_neg(az, outer(az, gx[1], node->output));
}

az_tensor *az_solve(az_ctx *az, const az_tensor *a, const az_tensor *b)
{
    static const az_op op = {.name = "solve", .gradient = solve_gradient};
    az_scope_push(az);
    lapack_int *pivot = NULL;
    int64_t columns = 0;
    az_tensor *lu = regular_lu(az, "solve", a, &pivot);
    az_tensor *x = lu ? az_linalg_right_side(az, "solve", b, lu->dtype, lu->shape[0], &columns) : NULL;
    if (x && az_count(x) > 0) solve_in_place(lu, pivot, x, columns);
    x = az_keep(az, x);
    return x ? az_record(az, &op, x, (const az_tensor *[]){a, b}, 2, NULL, 0) : NULL;
}

/* gA = -Y^T gY Y^T */
static void inverse_gradient(az_ctx *az, const az_node *node, const az_tensor *gy, az_tensor **gx)
{
    const az_tensor *yt = az_transpose(az, node->output);
    gx[0] = az_neg(az, az_matmul(az, yt, az_matmul(az, gy, yt)));
}

az_tensor *az_inverse(az_ctx *az, const az_tensor *a)
{
    static const az_op op = {.name = "inverse", .gradient = inverse_gradient};
    az_scope_push(az);
    lapack_int *pivot = NULL;
    az_tensor *y = regular_lu(az, "inverse", a, &pivot);
    if (y && az_count(y) > 0) {
        const lapack_int n = (lapack_int)y->shape[0];
        const lapack_int info = y->dtype == AZ_F32 ? LAPACKE_sgetri(LAPACK_COL_MAJOR, n, y->data, n, pivot)
                                                   : LAPACKE_dgetri(LAPACK_COL_MAJOR, n, y->data, n, pivot);
        if (!az_linalg_accepted(az, "inverse", info)) y = NULL;
    }
    y = az_keep(az, y);
    return y ? az_record(az, &op, y, &a, 1, NULL, 0) : NULL;
}

/* gA = gy A^-T */
static void log_det_gradient(az_ctx *az, const az_node *node, const az_tensor *gy, az_tensor **gx)
{
    gx[0] = az_mul(az, az_transpose(az, az_inverse(az, node->input[0])), gy);
}

az_tensor *az_log_det(az_ctx *az, const az_tensor *a, int *sign)
{
    static const az_op op = {.name = "log_det", .gradient = log_det_gradient};
    az_scope_push(az);
    lapack_int *pivot = NULL;
    int64_t zero = 0;
    az_tensor *lu = az_linalg_square(az, "log_det", a), *y = NULL;
    if (lu && az_linalg_lu(az, "log_det", lu, &pivot, &zero)) {
        const int64_t n = lu->shape[0];
        double sum = 0;
        int direction = 1;
        for (int64_t i = 0; i < n && !zero; i++) {
            const double u = az_item(lu, i * n + i);
            sum += log(fabs(u));
            if ((u < 0) != (pivot[i] != i + 1)) direction = -direction;
        }
        if (sign) *sign = zero ? 0 : direction;
        y = az_scalar(az, lu->dtype, zero ? -INFINITY : sum);
    }
    y = az_keep(az, y);
    return y ? az_record(az, &op, y, &a, 1, NULL, 0) : NULL;
}

/* For S X = B with S = T or T^T: gB = S^-T gX; gS = -gB X^T, of which T keeps its triangle. */
static void triangular_gradient(az_ctx *az, const az_node *node, const az_tensor *gy, az_tensor **gx)
{
    az_triangle how = *(const az_triangle *)node->saved;
    const az_tensor *t = node->input[0], *x = node->output;
    az_tensor *mask = az_linalg_triangle(az, t->dtype, t->shape[0], how.upper, how.unit_diagonal ? 0 : 1);
    const bool transposed = how.transposed;
    how.transposed = !transposed;
    gx[1] = az_solve_triangular(az, t, gy, how);
    gx[0] = az_neg(az, az_mul(az, transposed ? outer(az, x, gx[1]) : outer(az, gx[1], x), mask));
}

/* Position of the first zero on the diagonal, -1 when there is none. */
static int64_t zero_on_diagonal(const az_tensor *t)
{
    for (int64_t i = 0; i < t->shape[0]; i++)
        if (az_item(t, i * t->shape[0] + i) == 0) return i;
    return -1;
}

az_tensor *az_solve_triangular(az_ctx *az, const az_tensor *t, const az_tensor *b, az_triangle how)
{
    static const az_op op = {.name = "solve_triangular", .gradient = triangular_gradient};
    az_scope_push(az);
    int64_t columns = 0;
    const az_tensor *factor = az_linalg_square(az, "triangular solve", t);
    az_tensor *x = factor ? az_linalg_right_side(az, "triangular solve", b, factor->dtype, factor->shape[0], &columns) : NULL;
    if (x && !how.unit_diagonal && zero_on_diagonal(factor) >= 0) {
        const int64_t at = zero_on_diagonal(factor), n = factor->shape[0];
        x = az_fail(az, AZ_NUMERIC, "triangular solve: a %lld x %lld matrix is singular (pivot %lld is zero)", (long long)n, (long long)n,
                    (long long)at + 1);
    }
    if (x && az_count(x) > 0) {
        const int n = (int)factor->shape[0], k = (int)columns;
        const CBLAS_UPLO half = how.upper ? CblasUpper : CblasLower;
        const CBLAS_TRANSPOSE transposed = how.transposed ? CblasTrans : CblasNoTrans;
        const CBLAS_DIAG diagonal = how.unit_diagonal ? CblasUnit : CblasNonUnit;
        if (factor->dtype == AZ_F32)
            cblas_strsm(CblasRowMajor, CblasLeft, half, transposed, diagonal, n, k, 1, factor->data, n, x->data, k);
        else
            cblas_dtrsm(CblasRowMajor, CblasLeft, half, transposed, diagonal, n, k, 1, factor->data, n, x->data, k);
    }
    x = az_keep(az, x);
    return x ? az_record(az, &op, x, (const az_tensor *[]){t, b}, 2, &how, sizeof how) : NULL;
}
