/* eigen.c - the symmetric eigenproblem. */
#include "linalg/linalg_internal.h"

bool az_eigh(az_ctx *az, const az_tensor *a, az_tensor **values, az_tensor **q)
{
    az_scope_push(az);
    az_tensor *vectors = az_linalg_square(az, "eigh", a), *lambda = NULL;
    if (vectors) lambda = az_new1(az, vectors->dtype, vectors->shape[0]);
    if (lambda && az_count(lambda) > 0) {
        /* Row-major lower is LAPACK's upper; the vectors come back by columns of LAPACK's, that is as our rows. */
        const lapack_int n = (lapack_int)lambda->shape[0];
        const char job = q ? 'V' : 'N';
        const lapack_int info = vectors->dtype == AZ_F32 ? LAPACKE_ssyevd(LAPACK_COL_MAJOR, job, 'U', n, vectors->data, n, lambda->data)
                                                         : LAPACKE_dsyevd(LAPACK_COL_MAJOR, job, 'U', n, vectors->data, n, lambda->data);
        if (az_linalg_accepted(az, "eigh", info) && info > 0)
            az_fail(az, AZ_NUMERIC, "eigh: no convergence for a matrix %s (%d off-diagonals left)", az_shape_text(az, a), (int)info);
    }
    const bool ok = lambda && az_ok(az);
    az_tensor *kept[2] = {lambda, ok && q ? az_contiguous(az, az_transpose(az, vectors)) : NULL};
    az_keep_all(az, kept, ok ? (q ? 2 : 1) : 0);
    if (values) *values = ok ? kept[0] : NULL;
    if (q) *q = ok ? kept[1] : NULL;
    return ok && az_ok(az);
}
