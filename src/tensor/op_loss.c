/* op_loss.c - cross-entropy of rows of logits with integer targets. */
#include "tensor/kernels/kernels.h"
#include "tensor/layer.h"

#include <math.h>
#include <string.h>

typedef struct loss_job {
    const void *logits;    /* [rows, classes] */
    const int32_t *target; /* [rows]; negative = the row does not count */
    int64_t rows, classes;
    int threads;
} loss_job;

typedef struct loss_saved {
    const az_tensor *target, *norm; /* [rows], [rows, 2] */
} loss_saved;

#include "tensor/kernels/real_f32.h"
#include "tensor/kernels/cross_entropy.h"
#include "tensor/kernels/real_f64.h"
#include "tensor/kernels/cross_entropy.h"

static loss_job job_of(az_ctx *az, const az_tensor *logits, const az_tensor *target)
{
    return (loss_job){
        .logits = logits->data, .target = target->data, .rows = logits->shape[0], .classes = logits->shape[1], .threads = az_threads(az)};
}

static void cross_entropy_gradient(az_ctx *az, const az_node *node, const az_tensor *gy, az_tensor **gx)
{
    const loss_saved *saved = node->saved;
    gx[0] = az_gradient_room(az, node, 0);
    az_scope_push(az);
    const az_tensor *logits = az_operand(az, node->input[0]), *g = az_operand(az, gy);
    if (gx[0] && logits && g) {
        loss_job job = job_of(az, logits, saved->target);
        if (logits->dtype == AZ_F32)
            loss_rows_gradient_f32(&job, saved->norm->data, g->data, gx[0]->data);
        else
            loss_rows_gradient_f64(&job, saved->norm->data, g->data, gx[0]->data);
    }
    az_scope_pop(az);
}

/* The target's entry is picked from the flattened logits; a mask silences rows without a target. */
static az_tensor *cross_entropy_compose(az_ctx *az, const az_node *node, az_tensor *const *inputs)
{
    const loss_saved *saved = node->saved;
    const int64_t rows = inputs[0]->shape[0], classes = inputs[0]->shape[1];
    az_tensor *one_hot = az_zeros(az, inputs[0]->dtype, 2, (int64_t[]){rows, classes}), *counts = az_new2(az, AZ_U8, rows, 1);
    if (!one_hot || !counts) return NULL;
    for (int64_t row = 0; row < rows; row++) {
        int32_t target = ((const int32_t *)saved->target->data)[row];
        ((uint8_t *)counts->data)[row] = target >= 0;
        if (target >= 0 && one_hot->dtype == AZ_F32)
            az_f32_mut(one_hot)[row * classes + target] = 1;
        else if (target >= 0)
            az_f64_mut(one_hot)[row * classes + target] = 1;
    }
    az_tensor *picked = az_sum(az, az_mul(az, inputs[0], one_hot), -1, true);
    az_tensor *loss = az_sub(az, az_logsumexp(az, inputs[0], -1, true), picked);
    az_tensor *nothing = az_zeros(az, inputs[0]->dtype, 2, (int64_t[]){rows, 1});
    return az_reshape(az, az_where(az, counts, loss, nothing), 1, &rows);
}

static const az_op cross_entropy_op = {
    .name = "cross_entropy", .gradient = cross_entropy_gradient, .compose = cross_entropy_compose, .forgets = AZ_FORGETS_OUTPUT};

static bool fits(az_ctx *az, const az_tensor *logits, const az_tensor *target)
{
    if (!az_real(az, "az_cross_entropy", logits) || !az_present(az, "az_cross_entropy", target)) return false;
    if (logits->rank != 2 || logits->shape[1] < 1 || target->rank != 1 || target->shape[0] != logits->shape[0] || target->dtype != AZ_I32)
        return az_fail(az, AZ_BAD_CALL, "az_cross_entropy: logits %s need one i32 target a row, not %s %s", az_shape_text(az, logits),
                       az_dtype_name(target->dtype), az_shape_text(az, target));
    const int32_t *class = target->data;
    for (int64_t row = 0; row < target->shape[0]; row++)
        if (class[row * target->stride[0]] >= logits->shape[1])
            return az_fail(az, AZ_BAD_CALL, "az_cross_entropy: target %d of row %lld is beyond the %lld classes",
                           class[row * target->stride[0]], (long long)row, (long long)logits -> shape[1]);
    return true;
}

az_tensor *az_cross_entropy(az_ctx *az, const az_tensor *logits, const az_tensor *target)
{
    if (!fits(az, logits, target)) return NULL;
    az_scope_push(az);
    const az_tensor *x = az_operand(az, logits), *classes = az_operand(az, target);
    az_tensor *norm = az_new2(az, logits->dtype, logits->shape[0], 2), *loss = az_new1(az, logits->dtype, logits->shape[0]);
    if (!az_ok(az)) return az_keep(az, NULL);
    loss_job job = job_of(az, x, classes);
    if (x->dtype == AZ_F32)
        loss_rows_f32(&job, norm->data, loss->data);
    else
        loss_rows_f64(&job, norm->data, loss->data);
    if (az_tracked(az, &logits, 1)) {
        loss_saved saved = {.target = az_save(az, classes), .norm = az_save(az, norm)};
        loss = az_record(az, &cross_entropy_op, loss, &logits, 1, &saved, sizeof saved);
    }
    return az_keep(az, loss);
}
