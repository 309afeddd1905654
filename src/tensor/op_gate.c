/* op_gate.c - the gated activation silu(gate) * up of llama-style feed-forward layers, in one pass. */
#include "tensor/kernels/kernels.h"
#include "tensor/layer.h"

#include <string.h>

enum { GATE_BLOCK = 4096 }; /* elements a thread takes at a time */

typedef struct gate_job {
    const az_tensor *gate, *up;
    az_tensor *y;
} gate_job;

static void forward_block(const void *blocks, int64_t block)
{
    const gate_job *job = blocks;
    const az_kernels *kernels = az_kernels_best();
    const int64_t n = az_count(job->y), i = block * GATE_BLOCK, count = n - i < GATE_BLOCK ? n - i : GATE_BLOCK;
    if (job->y->dtype == AZ_F32)
        kernels->f32.swiglu(count, az_f32(job->gate) + i, az_f32(job->up) + i, az_f32_mut(job->y) + i);
    else
        kernels->f64.swiglu(count, az_f64(job->gate) + i, az_f64(job->up) + i, az_f64_mut(job->y) + i);
}

static void forward(int threads, const az_tensor *gate, const az_tensor *up, az_tensor *y)
{
    const int64_t n = az_count(y);
    az_each(n > AZ_PARALLEL_WORK ? threads : 1, (n + GATE_BLOCK - 1) / GATE_BLOCK, forward_block, &(gate_job){gate, up, y});
}

/* One block of g_gate and g_up; the kernel finds gy in g_up. */
static void backward_block(const az_tensor *const in[3], az_tensor *const out[2], int64_t i, int64_t count)
{
    const az_kernels *kernels = az_kernels_best();
    size_t size = az_dtype_size(in[0]->dtype);
    memcpy((char *)out[1]->data + (size_t)i * size, (const char *)in[2]->data + (size_t)i * size, (size_t)count * size);
    if (in[0]->dtype == AZ_F32)
        kernels->f32.swiglu_gradient(count, az_f32(in[0]) + i, az_f32(in[1]) + i, az_f32_mut(out[0]) + i, az_f32_mut(out[1]) + i);
    else
        kernels->f64.swiglu_gradient(count, az_f64(in[0]) + i, az_f64(in[1]) + i, az_f64_mut(out[0]) + i, az_f64_mut(out[1]) + i);
}

static void swiglu_gradient(az_ctx *az, const az_node *node, const az_tensor *gy, az_tensor **gx)
{
    gx[0] = az_new_like(az, node->input[0]);
    gx[1] = az_new_like(az, node->input[1]);
    az_scope_push(az);
    const az_tensor *in[] = {az_operand(az, node->input[0]), az_operand(az, node->input[1]), az_operand(az, gy)};
    if (az_ok(az)) {
        const int64_t n = az_count(gy);
#pragma omp parallel for schedule(static) if (n > AZ_PARALLEL_WORK) num_threads(az_threads(az))
        for (int64_t i = 0; i < n; i += GATE_BLOCK) backward_block(in, gx, i, n - i < GATE_BLOCK ? n - i : GATE_BLOCK);
    }
    az_scope_pop(az);
}

static az_tensor *swiglu_compose(az_ctx *az, const az_node *node, az_tensor *const *inputs)
{
    (void)node;
    return az_mul(az, az_silu(az, inputs[0]), inputs[1]);
}

static const az_op swiglu_op = {.name = "swiglu", .gradient = swiglu_gradient, .compose = swiglu_compose, .forgets = AZ_FORGETS_OUTPUT};

az_tensor *az_swiglu(az_ctx *az, const az_tensor *gate, const az_tensor *up)
{
    if (!az_same_real(az, "az_swiglu", gate, up)) return NULL;
    if (!az_same_shape(gate, up))
        return az_fail(az, AZ_BAD_CALL, "az_swiglu: shapes %s and %s differ", az_shape_text(az, gate), az_shape_text(az, up));
    az_tensor *y = az_new_like(az, gate);
    if (!y) return NULL;
    az_scope_push(az);
    const az_tensor *g = az_operand(az, gate), *u = az_operand(az, up);
    if (g && u) forward(az_threads(az), g, u, y);
    az_scope_pop(az);
    return az_ok(az) ? az_record(az, &swiglu_op, y, (const az_tensor *[]){gate, up}, 2, NULL, 0) : NULL;
}
