/* checkpoint.c - computing a segment again in the backward pass instead of keeping its inside. */
#include "adze/grad.h"
#include "tensor/tensor_internal.h"

typedef struct segment {
    az_segment f;
    void *user;
} segment;

static az_tensor *segment_again(az_ctx *az, const az_node *node, az_tensor *const *inputs)
{
    const segment *s = node->saved;
    return s->f(az, inputs, node->inputs, s->user);
}

/* Records the segment on a tape of its own and differentiates that. */
static void segment_gradient(az_ctx *az, const az_node *node, const az_tensor *gy, az_tensor **gx)
{
    size_t inputs = (size_t)node->inputs;
    az_tensor **again = az_alloc_array(az, inputs, sizeof *again), **g = az_alloc_array(az, inputs, sizeof *g);
    const az_tensor **x = az_alloc_array(az, inputs, sizeof *x);
    if (!again || !g || !x) return;
    int wanted = 0;
    az_tape_open(az);
    for (int i = 0; i < node->inputs; i++) {
        const az_tensor *input = node->input[i];
        again[i] = az_needs_gradient(node, i) ? az_watch(az, input) : input ? az_share(az, input) : NULL;
        if (az_needs_gradient(node, i)) x[wanted++] = again[i];
    }
    az_scope_push(az);
    az_tensor *y = segment_again(az, node, again);
    if (!y || !az_grad(az, y, gy, x, wanted, g, AZ_GRAD_FREE)) wanted = 0;
    az_keep_all(az, g, wanted);
    az_tape_close(az);
    for (int i = 0, k = 0; i < node->inputs && k < wanted; i++)
        if (az_needs_gradient(node, i)) gx[i] = g[k++];
}

az_tensor *az_checkpoint(az_ctx *az, az_segment f, az_tensor *const *inputs, int n, void *user)
{
    static const az_op op = {.name = "az_checkpoint", .gradient = segment_gradient, .compose = segment_again, .forgets = AZ_FORGETS_OUTPUT};
    const az_tensor *const *x = (const az_tensor *const *)inputs;
    if (!az_tracked(az, x, n)) return f(az, inputs, n, user);
    az_tape_pause(az);
    az_scope_push(az);
    az_tensor *y = az_keep(az, f(az, inputs, n, user));
    az_tape_resume(az);
    if (!y) return NULL;
    segment saved = {.f = f, .user = user};
    return az_record(az, &op, az_share(az, y), x, n, &saved, sizeof saved);
}
