/* op_norm.c - RMS normalisation and layer normalisation over the last axis.
 *
 * With z = (x - mean) / sqrt(var + eps), y = weight z + bias and g = weight gy, the derivative of a row of length n is
 *     gx = (g - mean(g) - z mean(g z)) / sqrt(var + eps),
 * and the same without both means of the first kind for RMS normalisation. */
#include "tensor/kernels/kernels.h"
#include "tensor/layer.h"

#include <math.h>
#include <string.h>

enum { NORM_BLOCK = 32 }; /* rows whose gradients of the weight are added up together */

typedef struct norm_job {
    const az_tensor *x, *weight, *bias; /* [rows, n], [n], [n] or NULL */
    az_tensor *shift, *scale, *y;       /* [rows] or NULL (RMS), [rows]; y or gx [rows, n] */
    int64_t rows, n;
    double eps;
    int threads;
} norm_job;

/* What the derivative needs besides x and weight. */
typedef struct norm_saved {
    const az_tensor *shift, *scale;
    double eps;
} norm_saved;

static int64_t norm_blocks(int64_t rows)
{
    return (rows + NORM_BLOCK - 1) / NORM_BLOCK;
}

#include "tensor/kernels/real_f32.h"
#include "tensor/kernels/norm.h"
#include "tensor/kernels/real_f64.h"
#include "tensor/kernels/norm.h"

static bool fits(az_ctx *az, const char *name, const az_tensor *x, const az_tensor *vector)
{
    if (!az_same_real(az, name, x, vector)) return false;
    if (x->rank >= 1 && vector->rank == 1 && vector->shape[0] == x->shape[x->rank - 1] && vector->shape[0] > 0) return true;
    return az_fail(az, AZ_BAD_CALL, "%s: weight or bias %s does not fit the rows of %s", name, az_shape_text(az, vector),
                   az_shape_text(az, x));
}

static norm_job job_of(az_ctx *az, const az_tensor *x, const az_tensor *weight, const az_tensor *bias)
{
    int64_t n = x->shape[x->rank - 1];
    return (norm_job){.x = az_operand(az, x),
                      .weight = az_operand(az, weight),
                      .bias = bias ? az_operand(az, bias) : NULL,
                      .rows = az_count(x) / n,
                      .n = n,
                      .threads = az_threads(az)};
}

/* The job with y, shift and scale filled; y is NULL after an error. */
static norm_job normalise(az_ctx *az, const az_tensor *x, const az_tensor *weight, const az_tensor *bias, bool centred, double eps)
{
    norm_job job = job_of(az, x, weight, bias);
    job.eps = eps;
    job.scale = az_new1(az, x->dtype, job.rows);
    job.shift = centred ? az_new1(az, x->dtype, job.rows) : NULL;
    job.y = az_new_like(az, x);
    if (!az_ok(az))
        job.y = NULL;
    else if (x->dtype == AZ_F32)
        norm_rows_f32(&job);
    else
        norm_rows_f64(&job);
    return job;
}

/* Fused gradient for both kinds; inputs are x, weight and perhaps bias. */
static void norm_gradient(az_ctx *az, const az_node *node, const az_tensor *gy, az_tensor **gx)
{
    const norm_saved *saved = node->saved;
    const az_tensor *x = node->input[0], *weight = node->input[1];
    gx[0] = az_new_like(az, x);
    gx[1] = az_new_like(az, weight);
    if (node->inputs > 2) gx[2] = az_new_like(az, weight);
    az_scope_push(az);
    norm_job job = job_of(az, x, weight, NULL);
    job.shift = (az_tensor *)saved->shift;
    job.scale = (az_tensor *)saved->scale;
    job.y = gx[0];
    az_tensor *parts = az_new2(az, x->dtype, norm_blocks(job.rows), 2 * job.n);
    const az_tensor *g = az_operand(az, gy);
    if (az_ok(az) && x->dtype == AZ_F32) {
        norm_rows_gradient_f32(&job, g->data, parts->data);
        norm_add_parts_f32(&job, parts->data, gx[1]->data, node->inputs > 2 ? gx[2]->data : NULL);
    } else if (az_ok(az)) {
        norm_rows_gradient_f64(&job, g->data, parts->data);
        norm_add_parts_f64(&job, parts->data, gx[1]->data, node->inputs > 2 ? gx[2]->data : NULL);
    }
    az_scope_pop(az);
}

/* ---- az_rms_norm ---- */

static az_tensor *rms_norm_compose(az_ctx *az, const az_node *node, az_tensor *const *inputs)
{
    const norm_saved *saved = node->saved;
    az_tensor *mean = az_mean(az, az_square(az, inputs[0]), -1, true);
    az_tensor *scale = az_pow(az, az_affine(az, mean, 1, saved->eps), -0.5);
    return az_mul(az, az_mul(az, inputs[0], scale), inputs[1]);
}

static const az_op rms_norm_op = {.name = "rms_norm", .gradient = norm_gradient, .compose = rms_norm_compose, .forgets = AZ_FORGETS_OUTPUT};

az_tensor *az_rms_norm(az_ctx *az, const az_tensor *x, const az_tensor *weight, double eps)
{
    if (!fits(az, "az_rms_norm", x, weight)) return NULL;
    az_scope_push(az);
    norm_job job = normalise(az, x, weight, NULL, false, eps);
    const az_tensor *inputs[] = {x, weight};
    if (job.y && az_tracked(az, inputs, 2)) {
        norm_saved saved = {.scale = az_save(az, job.scale), .eps = eps};
        job.y = az_record(az, &rms_norm_op, job.y, inputs, 2, &saved, sizeof saved);
    }
    return az_keep(az, job.y);
}

/* ---- az_layer_norm ---- */

static az_tensor *layer_norm_compose(az_ctx *az, const az_node *node, az_tensor *const *inputs)
{
    const norm_saved *saved = node->saved;
    az_tensor *centred = az_sub(az, inputs[0], az_mean(az, inputs[0], -1, true));
    az_tensor *variance = az_mean(az, az_square(az, centred), -1, true);
    az_tensor *scale = az_pow(az, az_affine(az, variance, 1, saved->eps), -0.5);
    az_tensor *y = az_mul(az, az_mul(az, centred, scale), inputs[1]);
    return node->inputs > 2 ? az_add(az, y, inputs[2]) : y;
}

static const az_op layer_norm_op = {
    .name = "layer_norm", .gradient = norm_gradient, .compose = layer_norm_compose, .forgets = AZ_FORGETS_OUTPUT};

az_tensor *az_layer_norm(az_ctx *az, const az_tensor *x, const az_tensor *weight, const az_tensor *bias, double eps)
{
    if (!fits(az, "az_layer_norm", x, weight) || (bias && !fits(az, "az_layer_norm", x, bias))) return NULL;
    az_scope_push(az);
    norm_job job = normalise(az, x, weight, bias, true, eps);
    const az_tensor *inputs[] = {x, weight, bias};
    const int n = bias ? 3 : 2;
    if (job.y && az_tracked(az, inputs, n)) {
        norm_saved saved = {.shift = az_save(az, job.shift), .scale = az_save(az, job.scale), .eps = eps};
        job.y = az_record(az, &layer_norm_op, job.y, inputs, n, &saved, sizeof saved);
    }
    return az_keep(az, job.y);
}
