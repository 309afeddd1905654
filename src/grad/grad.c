/* grad.c - vector-Jacobian products: a walk over the tape from y back to the first of the x.
 *
 * Each node's gradient is collected from the nodes that used its output, handed to the operation's gradient function and then dropped. With
 * AZ_GRAD_RECORD the gradient functions run with recording on; an operation whose fast gradient cannot be recorded is first computed again
 * by its `compose`, in operations whose gradients can. */
#include "adze/grad.h"
#include "tensor/tape.h"

typedef struct walk {
    const az_tensor *const *x; /* [n]: whose gradients are asked for */
    int n;
    az_tape *tape;
    az_arena *arena;     /* headers of the gradients in work */
    int64_t first, last; /* orders of the nodes visited */
    int flags;
} walk;

/* ---- what to visit ---- */

static bool arguments_fit(az_ctx *az, const az_tensor *y, const az_tensor *seed, const az_tensor *const *x, int n)
{
    if (!az_real(az, "az_grad", y)) return false;
    const az_tape *tape = az_tape_of(az);
    if (!tape) return az_fail(az, AZ_BAD_CALL, "az_grad: no tape is open");
    if (!seed && az_count(y) != 1)
        return az_fail(az, AZ_BAD_CALL, "az_grad: y has shape %s; without a seed it must be a scalar", az_shape_text(az, y));
    if (seed && (!az_same_shape(y, seed) || seed->dtype != y->dtype))
        return az_fail(az, AZ_BAD_CALL, "az_grad: seed %s %s for y %s %s", az_dtype_name(seed->dtype), az_shape_text(az, seed),
                       az_dtype_name(y->dtype), az_shape_text(az, y));
    for (int i = 0; i < n; i++) {
        if (!az_present(az, "az_grad", x[i])) return false;
        if (!az_node_on(tape, x[i])) return az_fail(az, AZ_BAD_CALL, "az_grad: x[%d] is not on the open tape (see az_watch)", i);
    }
    return true;
}

/* Marks the nodes on paths from some x; only those need a gradient. */
static void mark_wanted(const walk *w)
{
    for (int i = 0; i < w->n; i++) az_node_on(w->tape, w->x[i])->wanted = true;
    for (int64_t k = w->first; k <= w->last; k++) {
        az_node *node = w->tape->node[k];
        for (int i = 0; i < node->inputs && !node->wanted; i++) node->wanted = az_needs_gradient(node, i);
    }
}

static bool is_target(const walk *w, const az_node *node)
{
    for (int i = 0; i < w->n; i++)
        if (az_node_on(w->tape, w->x[i]) == node) return true;
    return false;
}

/* ---- collecting ---- */

/* A header of g in the walk's arena. */
static az_tensor *keep_in_walk(az_ctx *az, const walk *w, const az_tensor *g)
{
    az_arena_enter(az, w->arena);
    az_tensor *kept = az_header(az, g);
    az_arena_leave(az);
    return kept;
}

/* Adds g to what the node has collected. */
static void collect(az_ctx *az, const walk *w, az_node *node, const az_tensor *g)
{
    az_tensor *sofar = node->gradient;
    if (!sofar) {
        node->gradient = keep_in_walk(az, w, g);
    } else if (!(w->flags & AZ_GRAD_RECORD) && az_owned_alone(sofar)) {
        az_add_into(az, sofar, g, 1);
    } else {
        node->gradient = keep_in_walk(az, w, az_add(az, sofar, g));
        az_release(sofar);
    }
}

/* ---- one node ---- */

/* The gradients of an operation through its plain form: it is computed again behind views of its inputs, which end this nested walk. */
static void compose_gradient(az_ctx *az, const az_node *node, const az_tensor *gy, az_tensor **gx)
{
    size_t inputs = (size_t)node->inputs;
    az_tensor **again = az_alloc_array(az, inputs, sizeof *again), **g = az_alloc_array(az, inputs, sizeof *g);
    const az_tensor **x = az_alloc_array(az, inputs, sizeof *x);
    if (!again || !g || !x) return;
    int wanted = 0;
    for (int i = 0; i < node->inputs; i++) {
        const az_tensor *input = node->input[i];
        again[i] = az_needs_gradient(node, i) ? az_broadcast(az, input, input->rank, input->shape) : (az_tensor *)input;
        if (az_needs_gradient(node, i)) x[wanted++] = again[i];
    }
    az_tensor *y = node->op->compose(az, node, again);
    if (!az_grad(az, y, gy, x, wanted, g, AZ_GRAD_RECORD)) return;
    for (int i = 0, k = 0; i < node->inputs; i++)
        if (az_needs_gradient(node, i)) gx[i] = g[k++];
}

/* Hands the gradient of the node's output on to its inputs. */
static void visit(az_ctx *az, const walk *w, const az_node *node)
{
    if (node->released) {
        az_fail(az, AZ_BAD_CALL, "az_grad: the tape was given back by an earlier AZ_GRAD_FREE");
        return;
    }
    az_scope_push(az);
    az_tensor **gx = az_alloc_array(az, (size_t)node->inputs, sizeof *gx);
    if (gx && w->flags & AZ_GRAD_RECORD && node->op->compose)
        compose_gradient(az, node, node->gradient, gx);
    else if (gx)
        node->op->gradient(az, node, node->gradient, gx);
    for (int i = 0; i < node->inputs && az_ok(az); i++) {
        if (!gx[i] || !az_needs_gradient(node, i) || node->input[i]->node->order < w->first) continue; /* before first: an outer walk's */
        if (az_same_shape(gx[i], node->input[i]))
            collect(az, w, node->input[i]->node, gx[i]);
        else
            az_fail(az, AZ_BAD_CALL, "az_grad: %s gave a gradient of shape %s for input %d of shape %s", node->op->name,
                    az_shape_text(az, gx[i]), i, az_shape_text(az, node->input[i]));
    }
    az_scope_pop(az);
}

/* ---- the walk ---- */

static void walk_back(az_ctx *az, const walk *w)
{
    for (int64_t k = w->last; k >= w->first && az_ok(az); k--) {
        az_node *node = w->tape->node[k];
        if (node->wanted && node->gradient && node->op) {
            node->last = w->flags & AZ_GRAD_FREE;
            visit(az, w, node);
            if (!is_target(w, node) && node->gradient) az_release(node->gradient);
        }
        if (w->flags & AZ_GRAD_FREE) az_node_release(w->tape->node[k]);
    }
}

/* The gradient of x as a tensor of the caller's scope, contiguous, and (unless recorded) with memory of its own. */
static az_tensor *result(az_ctx *az, const walk *w, const az_tensor *x)
{
    const az_tensor *g = az_node_on(w->tape, x)->gradient;
    if (!g) return az_zeros(az, x->dtype, x->rank, x->shape);
    if (w->flags & AZ_GRAD_RECORD) return az_is_contiguous(g) ? az_header(az, g) : az_copy(az, g);
    return az_owned_alone(g) ? az_header(az, g) : az_copy(az, g);
}

static void forget(const walk *w)
{
    for (int64_t k = w->first; k <= w->last; k++) {
        w->tape->node[k]->wanted = false;
        w->tape->node[k]->gradient = NULL;
    }
}

/* What the caller has of the gradients already begins them; its headers are given up, so that the walk can add in place. */
static void take_over(az_ctx *az, const walk *w, az_tensor **gradients)
{
    for (int i = 0; i < w->n; i++) {
        if (!gradients[i]) continue;
        collect(az, w, az_node_on(w->tape, w->x[i]), gradients[i]);
        az_release(gradients[i]);
    }
}

/* Everything between the checks and the clean-up. */
static void run(az_ctx *az, walk *w, const az_tensor *y, const az_tensor *seed, az_tensor **gradients)
{
    az_node *source = az_node_on(w->tape, y);
    w->first = w->last = w->tape->nodes - 1;
    for (int i = 0; i < w->n; i++) {
        int64_t order = az_node_on(w->tape, w->x[i])->order;
        if (order < w->first) w->first = order;
    }
    mark_wanted(w);
    if (w->flags & AZ_GRAD_ADD) take_over(az, w, gradients);
    if (source) {
        az_arena_enter(az, w->arena);
        source->gradient = seed ? az_header(az, seed) : az_full(az, y->dtype, y->rank, y->shape, 1);
        az_arena_leave(az);
        walk_back(az, w);
    }
    for (int i = 0; i < w->n && az_ok(az); i++) gradients[i] = result(az, w, w->x[i]);
    forget(w);
}

bool az_grad(az_ctx *az, const az_tensor *y, const az_tensor *seed, const az_tensor *const *x, int n, az_tensor **gradients, int flags)
{
    for (int i = 0; i < n && !(flags & AZ_GRAD_ADD); i++) gradients[i] = NULL;
    if (!arguments_fit(az, y, seed, x, n) || n < 1) return az_ok(az);
    bool record = flags & AZ_GRAD_RECORD;
    if (record && flags & (AZ_GRAD_FREE | AZ_GRAD_ADD))
        return az_fail(az, AZ_BAD_CALL, "az_grad: AZ_GRAD_RECORD goes with neither AZ_GRAD_FREE nor AZ_GRAD_ADD");
    walk w = {.x = x, .n = n, .tape = az->tape, .arena = az_arena_new(az), .flags = flags};
    if (!w.arena) return false;
    if (!record) az_tape_pause(az);
    run(az, &w, y, seed, gradients);
    if (!record) az_tape_resume(az);
    az_arena_free(az, w.arena);
    return az_ok(az);
}
