/* axis.c - operations along one axis of a packed array: the loops of axis_rows.h for f32 and f64, and the choice between them. */
#include "tensor/axis.h"
#include "tensor/kernels/kernels.h"
#include "tensor/kernels/scalar_more.h"

enum { PARALLEL_ELEMENTS = 1 << 16 }; /* additions from which a second thread pays */

#define REAL    float
#define NAME(x) x##_f32
#define ROWS    az_kernels_best()->f32
#include "tensor/axis_rows.h"
#undef REAL
#undef NAME
#undef ROWS

#define REAL    double
#define NAME(x) x##_f64
#define ROWS    az_kernels_best()->f64
#include "tensor/axis_rows.h"
#undef REAL
#undef NAME
#undef ROWS

void az_axis_sum(az_ctx *az, az_tensor *y, const az_tensor *x, extent e)
{
    if (az_count(y) == 0) return;
    if (x->dtype == AZ_F32)
        sum_f32(az, y->data, x->data, e);
    else
        sum_f64(az, y->data, x->data, e);
}

void az_axis_cumsum(az_tensor *y, const az_tensor *x, extent e, bool reverse)
{
    if (x->dtype == AZ_F32)
        cumsum_f32(y->data, x->data, e, reverse);
    else
        cumsum_f64(y->data, x->data, e, reverse);
}

void az_axis_max(az_ctx *az, az_tensor *y, az_tensor *position, const az_tensor *x, extent e)
{
    if (x->dtype == AZ_F32)
        max_f32(az, y ? y->data : NULL, position->data, x->data, e);
    else
        max_f64(az, y ? y->data : NULL, position->data, x->data, e);
}

void az_axis_logsumexp(az_ctx *az, az_tensor *y, const az_tensor *x, extent e)
{
    if (x->dtype == AZ_F32)
        logsumexp_f32(az, y->data, x->data, e);
    else
        logsumexp_f64(az, y->data, x->data, e);
}

void az_axis_softmax(az_ctx *az, az_tensor *y, const az_tensor *x, extent e)
{
    if (x->dtype == AZ_F32)
        softmax_f32(az, y->data, x->data, e);
    else
        softmax_f64(az, y->data, x->data, e);
}

void az_axis_log_softmax(az_ctx *az, az_tensor *y, const az_tensor *x, extent e)
{
    if (x->dtype == AZ_F32)
        log_softmax_f32(az, y->data, x->data, e);
    else
        log_softmax_f64(az, y->data, x->data, e);
}

void az_axis_softmax_gradient(az_ctx *az, az_tensor *gx, const az_tensor *gy, const az_tensor *y, extent e)
{
    if (y->dtype == AZ_F32)
        softmax_gradient_f32(az, gx->data, gy->data, y->data, e);
    else
        softmax_gradient_f64(az, gx->data, gy->data, y->data, e);
}

void az_axis_log_softmax_gradient(az_ctx *az, az_tensor *gx, const az_tensor *gy, const az_tensor *y, extent e)
{
    if (y->dtype == AZ_F32)
        log_softmax_gradient_f32(az, gx->data, gy->data, y->data, e);
    else
        log_softmax_gradient_f64(az, gx->data, gy->data, y->data, e);
}
