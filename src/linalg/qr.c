/* qr.c - the thin QR factorization. */
#include "linalg/linalg_internal.h"

#include <string.h>

/* A^T = L Q' is what LAPACK factors, so that A = Q'^T L^T. On return `a` holds R = L^T in its upper triangle and `q` [m, k] holds Q. */
static bool factor_qr(az_ctx *az, az_tensor *a, az_tensor *q)
{
    const lapack_int m = (lapack_int)a->shape[0], n = (lapack_int)a->shape[1], k = m < n ? m : n;
    void *tau = az_alloc_array(az, (size_t)k, az_dtype_size(a->dtype));
    if (!tau) return false;
    lapack_int info = a->dtype == AZ_F32 ? LAPACKE_sgelqf(LAPACK_COL_MAJOR, n, m, a->data, n, tau)
                                         : LAPACKE_dgelqf(LAPACK_COL_MAJOR, n, m, a->data, n, tau);
    if (!az_linalg_accepted(az, "qr", info)) return false;
    az_copy_into(az, q, az_slice(az, a, 1, 0, k));
    info = a->dtype == AZ_F32 ? LAPACKE_sorglq(LAPACK_COL_MAJOR, k, m, k, q->data, k, tau)
                              : LAPACKE_dorglq(LAPACK_COL_MAJOR, k, m, k, q->data, k, tau);
    return az_linalg_accepted(az, "qr", info);
}

/* The upper triangle of the first k rows of the factored matrix. */
static az_tensor *upper_factor(az_ctx *az, const az_tensor *a, int64_t k)
{
    az_tensor *r = az_zeros(az, a->dtype, 2, (int64_t[]){k, a->shape[1]});
    const size_t size = az_dtype_size(a->dtype), n = (size_t)a->shape[1];
    for (size_t i = 0; r && i < (size_t)k; i++)
        memcpy((char *)r->data + (i * n + i) * size, (const char *)a->data + (i * n + i) * size, (n - i) * size);
    return r;
}

bool az_qr(az_ctx *az, const az_tensor *a, az_tensor **q, az_tensor **r)
{
    az_scope_push(az);
    az_tensor *work = az_linalg_matrix(az, "qr", a), *basis = NULL, *upper = NULL;
    if (work) {
        const int64_t m = work->shape[0], k = m < work->shape[1] ? m : work->shape[1];
        basis = az_new2(az, work->dtype, m, k);
        if (basis && k > 0) factor_qr(az, work, basis);
        upper = r ? upper_factor(az, work, k) : NULL;
    }
    const bool ok = basis && az_ok(az);
    az_tensor *kept[2] = {q ? basis : upper, upper};
    az_keep_all(az, kept, ok ? (q != NULL) + (r != NULL) : 0);
    if (q) *q = ok ? kept[0] : NULL;
    if (r) *r = ok ? kept[q ? 1 : 0] : NULL;
    return ok;
}
