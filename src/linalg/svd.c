/* svd.c - singular values: LAPACK's divide and conquer, the randomized range finder, and least squares through them. */
#include "linalg/linalg_internal.h"

#include <float.h>

/* The transpose that LAPACK sees has the same singular values and the roles of U and V swapped: its left vectors, by columns, are the rows
 * of V^T. */
static lapack_int divide_and_conquer(az_tensor *a, az_tensor *u, az_tensor *s, az_tensor *vt)
{
    const lapack_int m = (lapack_int)a->shape[0], n = (lapack_int)a->shape[1], k = m < n ? m : n;
    if (a->dtype == AZ_F32) return LAPACKE_sgesdd(LAPACK_COL_MAJOR, 'S', n, m, a->data, n, s->data, vt->data, n, u->data, k);
    return LAPACKE_dgesdd(LAPACK_COL_MAJOR, 'S', n, m, a->data, n, s->data, vt->data, n, u->data, k);
}

/* Singular values alone: the vectors' buffers stay as they are. */
static lapack_int values_only(az_tensor *a, az_tensor *s)
{
    const lapack_int m = (lapack_int)a->shape[0], n = (lapack_int)a->shape[1];
    if (a->dtype == AZ_F32) return LAPACKE_sgesdd(LAPACK_COL_MAJOR, 'N', n, m, a->data, n, s->data, NULL, 1, NULL, 1);
    return LAPACKE_dgesdd(LAPACK_COL_MAJOR, 'N', n, m, a->data, n, s->data, NULL, 1, NULL, 1);
}

/* The QR iteration: slower, and it converges where divide and conquer does not. */
static lapack_int qr_iteration(az_ctx *az, az_tensor *a, az_tensor *u, az_tensor *s, az_tensor *vt)
{
    const lapack_int m = (lapack_int)a->shape[0], n = (lapack_int)a->shape[1], k = m < n ? m : n;
    void *superdiagonal = az_alloc_array(az, (size_t)k, az_dtype_size(a->dtype));
    if (!superdiagonal) return LAPACK_WORK_MEMORY_ERROR;
    if (a->dtype == AZ_F32)
        return LAPACKE_sgesvd(LAPACK_COL_MAJOR, 'S', 'S', n, m, a->data, n, s->data, vt->data, n, u->data, k, superdiagonal);
    return LAPACKE_dgesvd(LAPACK_COL_MAJOR, 'S', 'S', n, m, a->data, n, s->data, vt->data, n, u->data, k, superdiagonal);
}

static bool svd_into(az_ctx *az, const az_tensor *a, bool vectors, az_tensor *u, az_tensor *s, az_tensor *vt)
{
    az_tensor *work = az_linalg_matrix(az, "svd", a);
    if (!work || !u || !s || !vt) return false;
    if (az_count(s) == 0) return true;
    lapack_int info = vectors ? divide_and_conquer(work, u, s, vt) : values_only(work, s);
    if (info > 0) {
        az_copy_into(az, work, a);
        info = qr_iteration(az, work, u, s, vt);
    }
    if (!az_linalg_accepted(az, "svd", info)) return false;
    return info == 0 ||
           az_fail(az, AZ_NUMERIC, "svd: no convergence for a matrix %s (%d superdiagonals left)", az_shape_text(az, a), (int)info);
}

/* Leaves the scope, keeping the results whose place is not NULL (none after an error). */
static bool deliver(az_ctx *az, az_tensor **result, az_tensor ***place, int n)
{
    az_tensor *kept[3];
    int count = 0;
    const bool ok = az_ok(az);
    for (int i = 0; i < n; i++)
        if (place[i] && ok) kept[count++] = result[i];
    az_keep_all(az, kept, count);
    count = 0;
    for (int i = 0; i < n; i++)
        if (place[i]) *place[i] = ok ? kept[count++] : NULL;
    return ok;
}

bool az_svd(az_ctx *az, const az_tensor *a, az_tensor **u, az_tensor **s, az_tensor **vt)
{
    az_scope_push(az);
    az_tensor *result[3] = {NULL, NULL, NULL};
    if (a && a->rank == 2) {
        const int64_t m = a->shape[0], n = a->shape[1], k = m < n ? m : n;
        result[0] = az_new2(az, a->dtype, m, k);
        result[1] = az_new1(az, a->dtype, k);
        result[2] = az_new2(az, a->dtype, k, n);
    }
    const bool done = svd_into(az, a, u || vt, result[0], result[1], result[2]);
    return deliver(az, result, (az_tensor * *[]){u, s, vt}, 3) && done;
}

/* An orthonormal basis Q [m, l] that nearly spans A's leading left singular vectors: algorithm 4.4 of Halko, Martinsson & Tropp 2011. */
static az_tensor *range_basis(az_ctx *az, const az_tensor *a, int64_t columns, int power, uint64_t seed)
{
    const az_tensor *at = az_transpose(az, a);
    az_tensor *omega = az_randn(az, a->dtype, 2, (int64_t[]){a->shape[1], columns}, 1, seed, az_stream("randomized svd", 0));
    az_tensor *q = NULL, *z = NULL;
    az_qr(az, az_matmul(az, a, omega), &q, NULL);
    for (int i = 0; i < power; i++) {
        az_qr(az, az_matmul(az, at, q), &z, NULL);
        az_qr(az, az_matmul(az, a, z), &q, NULL);
    }
    return q;
}

bool az_svd_range(az_ctx *az, const az_tensor *a, const az_range_finder *how, az_tensor **u, az_tensor **s, az_tensor **vt)
{
    az_scope_push(az);
    const int64_t rank = how->rank, columns = rank + how->oversample;
    az_tensor *result[3] = {NULL, NULL, NULL};
    az_tensor *fixed = az_linalg_matrix(az, "randomized svd", a);
    const int64_t most = !fixed ? 0 : fixed->shape[0] < fixed->shape[1] ? fixed->shape[0] : fixed->shape[1];
    if (fixed && (rank < 0 || rank > most || how->power < 0 || how->oversample < 0))
        az_fail(az, AZ_BAD_CALL, "randomized svd: rank %lld with %lld more columns and %d power iterations of a matrix %s", (long long)rank,
                (long long)how->oversample, how->power, az_shape_text(az, a));
    if (az_ok(az) && fixed) {
        az_tensor *q = range_basis(az, fixed, columns < most ? columns : most, how->power, how->seed);
        az_tensor *small_u = NULL, *values = NULL, *rows = NULL;
        az_svd(az, az_matmul(az, az_transpose(az, q), fixed), &small_u, &values, &rows);
        result[0] = az_contiguous(az, az_slice(az, az_matmul(az, q, small_u), 1, 0, rank));
        result[1] = az_contiguous(az, az_slice(az, values, 0, 0, rank));
        result[2] = az_contiguous(az, az_slice(az, rows, 0, 0, rank));
    }
    return deliver(az, result, (az_tensor * *[]){u, s, vt}, 3) && fixed;
}

bool az_svd_randomized(az_ctx *az, const az_tensor *a, int64_t rank, int power, uint64_t seed, az_tensor **u, az_tensor **s, az_tensor **vt)
{
    return az_svd_range(az, a, &(az_range_finder){.rank = rank, .oversample = 10, .power = power, .seed = seed}, u, s, vt);
}

/* 1/s where s is above the cut, 0 elsewhere. */
static az_tensor *pseudo_inverse_values(az_ctx *az, const az_tensor *s, double rcond)
{
    az_tensor *inverse = az_new1(az, s->dtype, s->shape[0]);
    const double cut = s->shape[0] ? rcond * az_item(s, 0) : 0;
    for (int64_t i = 0; inverse && i < s->shape[0]; i++) {
        const double value = az_item(s, i), reciprocal = value > cut ? 1 / value : 0;
        if (s->dtype == AZ_F32)
            az_f32_mut(inverse)[i] = (float)reciprocal;
        else
            az_f64_mut(inverse)[i] = reciprocal;
    }
    return inverse;
}

az_tensor *az_least_squares(az_ctx *az, const az_tensor *a, const az_tensor *b, double rcond)
{
    if (!a || !b) return NULL;
    az_scope_push(az);
    az_tensor *u = NULL, *s = NULL, *vt = NULL, *x = NULL;
    int64_t columns = 0;
    if (az_svd(az, a, &u, &s, &vt)) {
        const int64_t m = a->shape[0], n = a->shape[1];
        const double eps = a->dtype == AZ_F32 ? FLT_EPSILON : DBL_EPSILON;
        az_tensor *right = az_linalg_right_side(az, "least squares", b, a->dtype, m, &columns);
        az_tensor *inverse = pseudo_inverse_values(az, s, rcond < 0 ? eps * (double)(m > n ? m : n) : rcond);
        az_tensor *c = az_matmul(az, az_transpose(az, u), az_reshape(az, right, 2, (int64_t[]){m, columns}));
        c = az_mul(az, c, az_reshape(az, inverse, 2, (int64_t[]){-1, 1}));
        x = az_matmul(az, az_transpose(az, vt), c);
        if (b->rank == 1) x = az_reshape(az, x, 1, (int64_t[]){n});
    }
    return az_keep(az, x);
}
