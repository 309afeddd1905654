/* First and second derivatives of the tracked functions against central differences, in f64. */
#include "adze/grad.h"
#include "adze/linalg.h"
#include "support/matrix.h"

#include <criterion/criterion.h>

/* M M^T + I, so that the operand of the functions below is symmetric positive definite whatever M is. */
static az_tensor *positive(az_ctx *az, const az_tensor *m)
{
    return az_add(az, az_matmul(az, m, az_transpose(az, m)), az_identity(az, AZ_F64, m->shape[0]));
}

static az_tensor *cholesky(az_ctx *az, az_tensor *const *in, int n, void *user)
{
    (void)n, (void)user;
    return az_cholesky(az, positive(az, in[0]));
}

static az_tensor *solve_spd(az_ctx *az, az_tensor *const *in, int n, void *user)
{
    (void)n, (void)user;
    return az_solve_spd(az, positive(az, in[0]), in[1]);
}

static az_tensor *solve(az_ctx *az, az_tensor *const *in, int n, void *user)
{
    (void)n, (void)user;
    return az_solve(az, in[0], in[1]);
}

static az_tensor *triangular(az_ctx *az, az_tensor *const *in, int n, void *user)
{
    (void)n;
    return az_solve_triangular(az, in[0], in[1], *(const az_triangle *)user);
}

static az_tensor *inverse(az_ctx *az, az_tensor *const *in, int n, void *user)
{
    (void)n, (void)user;
    return az_inverse(az, in[0]);
}

static az_tensor *log_det(az_ctx *az, az_tensor *const *in, int n, void *user)
{
    (void)n, (void)user;
    return az_log_det(az, in[0], NULL);
}

static az_tensor *diagonal(az_ctx *az, az_tensor *const *in, int n, void *user)
{
    (void)n, (void)user;
    return az_square(az, az_diagonal(az, in[0]));
}

/* Far from singular: 0.3 normal + 2 I. */
static az_tensor *regular(az_ctx *az, int64_t n)
{
    return az_add(az, az_affine(az, matrix_normal(az, AZ_F64, n, n, 4), 0.3, 0), az_affine(az, az_identity(az, AZ_F64, n), 2, 0));
}

static void check(az_ctx *az, az_segment f, az_tensor *a, az_tensor *b, void *user)
{
    az_tensor *const in[2] = {a, b};
    cr_assert_leq(az_grad_check(az, f, in, b ? 2 : 1, user, true), 1e-6, "%s", az_error(az));
    cr_assert(az_ok(az), "%s", az_error(az));
}

Test(linalg_gradients, factor_and_solve)
{
    az_ctx *az = az_open(NULL);
    az_tensor *matrix = matrix_normal(az, AZ_F64, 4, 2, 5), *vector = az_randn(az, AZ_F64, 1, (int64_t[]){4}, 1, 6, 0);
    check(az, cholesky, matrix_normal(az, AZ_F64, 4, 4, 3), NULL, NULL);
    check(az, solve_spd, matrix_normal(az, AZ_F64, 4, 4, 3), matrix, NULL);
    check(az, solve, regular(az, 4), matrix, NULL);
    check(az, solve, regular(az, 4), vector, NULL);
    az_close(az);
}

Test(linalg_gradients, every_kind_of_triangle)
{
    az_ctx *az = az_open(NULL);
    for (int kind = 0; kind < 8; kind++) {
        az_triangle how = {.upper = kind & 1, .transposed = kind & 2, .unit_diagonal = kind & 4};
        check(az, triangular, regular(az, 4), matrix_normal(az, AZ_F64, 4, 2, 5), &how);
        check(az, triangular, regular(az, 4), az_randn(az, AZ_F64, 1, (int64_t[]){4}, 1, 6, 0), &how);
    }
    az_close(az);
}

Test(linalg_gradients, inverse_determinant_and_diagonal)
{
    az_ctx *az = az_open(NULL);
    check(az, inverse, regular(az, 4), NULL, NULL);
    check(az, log_det, regular(az, 4), NULL, NULL);
    check(az, diagonal, regular(az, 4), NULL, NULL);
    az_close(az);
}
