/* cholesky.c - the Cholesky factor and what is solved with it. */
#include "linalg/linalg_internal.h"

#include <string.h>

/* Phi(L^T gL), between the inverse factors: gA = sym(L^-T Phi(L^T gL) L^-1), Phi = lower triangle with the diagonal halved (Murray 2016,
 * eq. 10). */
static void cholesky_gradient(az_ctx *az, const az_node *node, const az_tensor *gy, az_tensor **gx)
{
    const az_tensor *l = node->output;
    const az_triangle transposed = {.transposed = true};
    az_tensor *phi = az_mul(az, az_matmul(az, az_transpose(az, l), gy), az_linalg_triangle(az, gy->dtype, gy->shape[0], false, 0.5));
    az_tensor *left = az_solve_triangular(az, l, phi, transposed);
    az_tensor *s = az_solve_triangular(az, l, az_transpose(az, left), transposed); /* (left L^-1)^T */
    gx[0] = az_affine(az, az_add(az, s, az_transpose(az, s)), 0.5, 0);
}

/* The factor, in place; LAPACK's upper triangle is our lower one. */
static bool factor_cholesky(az_ctx *az, az_tensor *a)
{
    const lapack_int n = (lapack_int)a->shape[0];
    const lapack_int info =
        a->dtype == AZ_F32 ? LAPACKE_spotrf(LAPACK_COL_MAJOR, 'U', n, a->data, n) : LAPACKE_dpotrf(LAPACK_COL_MAJOR, 'U', n, a->data, n);
    if (!az_linalg_accepted(az, "cholesky", info)) return false;
    if (info > 0)
        return az_fail(az, AZ_NUMERIC, "cholesky: a %d x %d matrix is not positive definite (pivot %d)", (int)n, (int)n, (int)info);
    const size_t size = az_dtype_size(a->dtype);
    for (size_t i = 0; i < (size_t)n; i++) memset((char *)a->data + (i * (size_t)n + i + 1) * size, 0, ((size_t)n - i - 1) * size);
    return true;
}

az_tensor *az_cholesky(az_ctx *az, const az_tensor *a)
{
    static const az_op op = {.name = "cholesky", .gradient = cholesky_gradient};
    az_scope_push(az);
    az_tensor *l = az_linalg_square(az, "cholesky", a);
    if (l && az_count(l) > 0 && !factor_cholesky(az, l)) l = NULL;
    l = az_keep(az, l);
    return l ? az_record(az, &op, l, &a, 1, NULL, 0) : NULL;
}

az_tensor *az_solve_spd(az_ctx *az, const az_tensor *a, const az_tensor *b)
{
    az_tensor *l = az_cholesky(az, a);
    az_tensor *half = az_solve_triangular(az, l, b, (az_triangle){0});
    return az_solve_triangular(az, l, half, (az_triangle){.transposed = true});
}
