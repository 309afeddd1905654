/* axis.h - operations along one axis of a packed array, for both real types. */
#ifndef ADZE_TENSOR_AXIS_H
#define ADZE_TENSOR_AXIS_H

#include "adze/tensor.h"

/* An array seen as [outer, n, inner]; n is the axis that an operation works along. */
typedef struct extent {
    int64_t outer, n, inner;
} extent;

/* x, y, gy and gx are f32 or f64, of one type, contiguous. */
void az_axis_sum(az_ctx *az, az_tensor *y, const az_tensor *x, extent e); /* y [outer, inner] */
void az_axis_cumsum(az_tensor *y, const az_tensor *x, extent e, bool reverse);
/* inner = 1 from here on. The first maximum of each row; y may be NULL. */
void az_axis_max(az_ctx *az, az_tensor *y, az_tensor *position, const az_tensor *x, extent e);
void az_axis_logsumexp(az_ctx *az, az_tensor *y, const az_tensor *x, extent e);
void az_axis_softmax(az_ctx *az, az_tensor *y, const az_tensor *x, extent e);
void az_axis_log_softmax(az_ctx *az, az_tensor *y, const az_tensor *x, extent e);
void az_axis_softmax_gradient(az_ctx *az, az_tensor *gx, const az_tensor *gy, const az_tensor *y, extent e);     /* y (gy - <gy, y>) */
void az_axis_log_softmax_gradient(az_ctx *az, az_tensor *gx, const az_tensor *gy, const az_tensor *y, extent e); /* gy - e^y sum(gy) */

#endif
