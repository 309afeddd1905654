/* pieces.c - a sum of scalars whose gradient is taken piece by piece while the sum is computed. */
#include "adze/grad.h"
#include "tensor/tensor_internal.h"

typedef struct sum {
    az_piece f;
    int64_t pieces;
    void *user;
    az_tensor *const *gradient; /* [inputs], of the sum; NULL where none was needed */
} sum;

/* Without gradients, or recorded as it stands. */
static az_tensor *add_pieces(az_ctx *az, const sum *s, az_tensor *const *inputs, int n)
{
    az_tensor *total = NULL;
    for (int64_t k = 0; k < s->pieces && az_ok(az); k++) {
        az_scope_push(az);
        az_tensor *part = az_keep(az, s->f(az, inputs, n, k, s->user));
        total = k == 0 ? part : az_add(az, total, part);
    }
    return az_ok(az) ? total : NULL;
}

static az_tensor *sum_again(az_ctx *az, const az_node *node, az_tensor *const *inputs)
{
    return add_pieces(az, node->saved, inputs, node->inputs);
}

static void sum_gradient(az_ctx *az, const az_node *node, const az_tensor *gy, az_tensor **gx)
{
    const sum *s = node->saved;
    for (int i = 0; i < node->inputs; i++)
        if (az_needs_gradient(node, i)) gx[i] = az_affine(az, s->gradient[i], az_to_double(gy), 0);
}

/* Piece k on a tape of its own: adds its gradients by the tracked inputs to total[0 .. n - 1], its value to total[n]; NULL = nothing yet.
 */
static bool differentiate_piece(az_ctx *az, const sum *s, int64_t k, az_tensor *const *inputs, int n, az_tensor **total)
{
    az_tensor **again = az_alloc_array(az, (size_t)n, sizeof *again), **g = az_alloc_array(az, (size_t)n, sizeof *g);
    const az_tensor **x = az_alloc_array(az, (size_t)n, sizeof *x);
    bool *tracked = az_alloc_array(az, (size_t)n, sizeof *tracked);
    if (!again || !g || !x || !tracked) return false;
    for (int i = 0; i < n; i++) tracked[i] = az_tracked(az, (const az_tensor *const *)inputs + i, 1);
    int found = 0;
    az_tape_open(az);
    for (int i = 0; i < n; i++) {
        again[i] = tracked[i] ? az_watch(az, inputs[i]) : inputs[i];
        if (!tracked[i]) continue;
        g[found] = total[i];
        x[found++] = again[i];
    }
    const az_tensor *y = s->f(az, again, n, k, s->user);
    const bool good = y && az_grad(az, y, NULL, x, found, g, AZ_GRAD_FREE | AZ_GRAD_ADD);
    for (int i = 0, at = 0; i < n; i++) total[i] = good && tracked[i] ? g[at++] : NULL;
    const az_tensor *value = good ? az_detach(az, y) : NULL;
    az_tape_close(az);
    total[n] = !good ? NULL : total[n] ? az_add(az, total[n], value) : az_copy(az, value);
    return az_ok(az);
}

/* Of all pieces, likewise. */
static bool differentiate_sum(az_ctx *az, const sum *s, az_tensor *const *inputs, int n, az_tensor **total)
{
    for (int64_t k = 0; k < s->pieces && az_ok(az); k++) {
        az_scope_push(az);
        differentiate_piece(az, s, k, inputs, n, total);
        az_keep_all(az, total, n + 1);
    }
    return az_ok(az);
}

az_tensor *az_sum_at_once(az_ctx *az, az_piece f, int64_t pieces, az_tensor *const *inputs, int n, void *user)
{
    static const az_op op = {.name = "az_sum_at_once", .gradient = sum_gradient, .compose = sum_again, .forgets = AZ_FORGETS_OUTPUT};
    const az_tensor *const *x = (const az_tensor *const *)inputs;
    sum s = {.f = f, .pieces = pieces, .user = user};
    if (pieces < 1) return az_fail(az, AZ_BAD_CALL, "az_sum_at_once: %lld pieces", (long long)pieces);
    if (!az_tracked(az, x, n)) return add_pieces(az, &s, inputs, n);
    az_scope_push(az);
    az_tensor **total = az_alloc_array(az, (size_t)n + 1, sizeof *total), *value = NULL;
    if (total && differentiate_sum(az, &s, inputs, n, total)) {
        value = total[n];
        for (int i = 0; i < n; i++) total[i] = total[i] ? (az_tensor *)az_save(az, total[i]) : NULL;
        s.gradient = az_save_memory(az, total, (size_t)n * sizeof *total);
        value = s.gradient ? az_record(az, &op, value, x, n, &s, sizeof s) : NULL;
    }
    return az_keep(az, value);
}
