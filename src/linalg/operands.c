/* operands.c - checks and copies of what goes into LAPACK; identity and diagonal. */
#include "linalg/linalg_internal.h"

#include <stdint.h>

static bool check_finite(az_ctx *az, const char *who, const az_tensor *x)
{
    const int64_t at = az_first_nonfinite(x);
    if (at < 0) return true;
    const char *shape = az_shape_text(az, x);
    if (x->rank == 2)
        return az_fail(az, AZ_NUMERIC, "%s: element [%lld, %lld] of the %s operand is not finite", who, (long long)(at / x->shape[1]),
                       (long long)(at % x->shape[1]), shape);
    return az_fail(az, AZ_NUMERIC, "%s: element [%lld] of the %s operand is not finite", who, (long long)at, shape);
}

static az_tensor *fresh_copy(az_ctx *az, const az_tensor *x)
{
    az_tensor *copy = az_tensor_new(az, x->dtype, x->rank, x->shape);
    if (copy) az_copy_into(az, copy, x);
    return copy;
}

az_tensor *az_linalg_matrix(az_ctx *az, const char *who, const az_tensor *a)
{
    if (!a || !az_ok(az)) return NULL;
    if (a->rank != 2 || (a->dtype != AZ_F32 && a->dtype != AZ_F64))
        return az_fail(az, AZ_BAD_CALL, "%s: wants an f32 or f64 matrix, got %s %s", who, az_dtype_name(a->dtype), az_shape_text(az, a));
    if (a->shape[0] > INT32_MAX || a->shape[1] > INT32_MAX)
        return az_fail(az, AZ_BAD_CALL, "%s: a matrix %s is beyond LAPACK's 32-bit sizes", who, az_shape_text(az, a));
    return check_finite(az, who, a) ? fresh_copy(az, a) : NULL;
}

az_tensor *az_linalg_square(az_ctx *az, const char *who, const az_tensor *a)
{
    if (a && a->rank == 2 && a->shape[0] != a->shape[1])
        return az_fail(az, AZ_BAD_CALL, "%s: wants a square matrix, got %s", who, az_shape_text(az, a));
    return az_linalg_matrix(az, who, a);
}

az_tensor *az_linalg_right_side(az_ctx *az, const char *who, const az_tensor *b, az_dtype dtype, int64_t n, int64_t *columns)
{
    if (!b || !az_ok(az)) return NULL;
    if ((b->rank != 1 && b->rank != 2) || b->shape[0] != n || b->dtype != dtype)
        return az_fail(az, AZ_BAD_CALL, "%s: the right-hand side is %s %s, the matrix %s with %lld rows", who, az_dtype_name(b->dtype),
                       az_shape_text(az, b), az_dtype_name(dtype), (long long)n);
    *columns = b->rank == 2 ? b->shape[1] : 1;
    if (*columns > INT32_MAX)
        return az_fail(az, AZ_BAD_CALL, "%s: a right-hand side %s is beyond LAPACK's 32-bit sizes", who, az_shape_text(az, b));
    return check_finite(az, who, b) ? fresh_copy(az, b) : NULL;
}

bool az_linalg_accepted(az_ctx *az, const char *who, lapack_int info)
{
    if (info >= 0) return true;
    if (info == LAPACK_WORK_MEMORY_ERROR || info == LAPACK_TRANSPOSE_MEMORY_ERROR)
        return az_fail(az, AZ_NO_MEMORY, "%s: out of memory for LAPACK's workspace", who);
    return az_fail(az, AZ_BAD_CALL, "%s: LAPACK refuses its argument %d", who, (int)-info);
}

az_tensor *az_linalg_triangle(az_ctx *az, az_dtype dtype, int64_t n, bool upper, double diagonal)
{
    az_tensor *mask = az_zeros(az, dtype, 2, (int64_t[]){n, n});
    for (int64_t i = 0; mask && i < n; i++) {
        const int64_t first = upper ? i + 1 : 0, last = upper ? n : i;
        if (dtype == AZ_F32) {
            float *row = az_f32_mut(mask) + i * n;
            for (int64_t j = first; j < last; j++) row[j] = 1;
            row[i] = (float)diagonal;
        } else {
            double *row = az_f64_mut(mask) + i * n;
            for (int64_t j = first; j < last; j++) row[j] = 1;
            row[i] = diagonal;
        }
    }
    return mask;
}

az_tensor *az_identity(az_ctx *az, az_dtype dtype, int64_t n)
{
    if (n < 0 || (dtype != AZ_F32 && dtype != AZ_F64))
        return az_fail(az, AZ_BAD_CALL, "identity: f32 or f64 and a size of at least 0 are wanted, got %s and %lld", az_dtype_name(dtype),
                       (long long)n);
    az_tensor *identity = az_zeros(az, dtype, 2, (int64_t[]){n, n});
    for (int64_t i = 0; identity && i < n; i++) {
        if (dtype == AZ_F32)
            az_f32_mut(identity)[i * n + i] = 1;
        else
            az_f64_mut(identity)[i * n + i] = 1;
    }
    return identity;
}

static void diagonal_gradient(az_ctx *az, const az_node *node, const az_tensor *gy, az_tensor **gx)
{
    const int64_t n = node->input[0]->shape[0];
    gx[0] = az_mul(az, az_identity(az, gy->dtype, n), az_reshape(az, gy, 2, (int64_t[]){n, 1}));
}

az_tensor *az_diagonal(az_ctx *az, const az_tensor *a)
{
    static const az_op op = {.name = "diagonal", .gradient = diagonal_gradient};
    if (!a) return NULL;
    if (a->rank != 2 || a->shape[0] != a->shape[1])
        return az_fail(az, AZ_BAD_CALL, "diagonal: wants a square matrix, got %s", az_shape_text(az, a));
    az_tensor *view = az_share(az, a);
    if (!view) return NULL;
    view->rank = 1;
    view->stride[0] = a->stride[0] + a->stride[1];
    az_scope_push(az);
    az_tensor *y = az_keep(az, az_copy(az, view));
    return az_record(az, &op, y, &a, 1, NULL, 0);
}
