/* tape.c - recording. A tape is a list of nodes in an arena of its own.
 *
 * A node has headers of its inputs and of its output in that arena. Those of tracked inputs are the output headers of the nodes that made
 * them, so an activation is held once, and only if some operation's gradient reads it (az_op.forgets); otherwise it goes with its scope. */
#include "tensor/tape.h"

#include <string.h>

void az_tape_open(az_ctx *az)
{
    az_arena *arena = az_arena_new(az);
    if (!arena) return;
    az_arena_enter(az, arena);
    az_tape *tape = az_alloc(az, sizeof *tape);
    az_arena_leave(az);
    if (!tape) {
        az_arena_free(az, arena);
        return;
    }
    *tape = (az_tape){.outer = az->tape, .number = ++az->tapes, .arena = arena};
    az->tape = tape;
}

void az_tape_close(az_ctx *az)
{
    az_tape *tape = az_tape_of(az);
    if (!tape) return;
    az->tape = tape->outer;
    az_arena_free(az, tape->arena);
}

bool az_tape_is_open(const az_ctx *az)
{
    return az->tape;
}

void az_tape_pause(az_ctx *az)
{
    if (az->tape) az_tape_of(az)->paused++;
}

void az_tape_resume(az_ctx *az)
{
    if (az->tape && az_tape_of(az)->paused > 0) az_tape_of(az)->paused--;
}

bool az_recording(const az_ctx *az)
{
    return az->tape && az_tape_of(az)->paused == 0;
}

bool az_tracked(az_ctx *az, const az_tensor *const *inputs, int n)
{
    if (!az_recording(az)) return false;
    for (int i = 0; i < n; i++)
        if (az_node_on(az->tape, inputs[i])) return true;
    return false;
}

bool az_needs_gradient(const az_node *node, int i)
{
    const az_tensor *input = node->input[i];
    return input && input->node && input->node->wanted;
}

/* Appends an empty node; the tape's arena is entered. */
static az_node *node_new(az_ctx *az, az_tape *tape)
{
    if (tape->nodes == tape->room) {
        int64_t room = tape->room ? 2 * tape->room : 64;
        az_node **node = az_alloc_array(az, (size_t)room, sizeof *node);
        if (!node) return NULL;
        if (tape->nodes) memcpy(node, tape->node, (size_t)tape->nodes * sizeof *node);
        tape->node = node;
        tape->room = room;
    }
    az_node *node = az_alloc(az, sizeof *node);
    if (!node) return NULL;
    node->order = tape->nodes;
    return node;
}

/* The tape's header for input x of a node: the output header of its own node, or a new one for a constant. */
static const az_tensor *input_header(az_ctx *az, az_tape *tape, const az_tensor *x, bool with_data)
{
    az_node *source = az_node_on(tape, x);
    if (!source) {
        az_tensor model = *x;
        model.node = NULL;
        model.tape = 0;
        if (!with_data) model.data = model.buffer = NULL;
        return az_header(az, &model);
    }
    az_tensor *header = (az_tensor *)source->output; /* made by this file, not const */
    source->readers += with_data;
    if (with_data && !header->data) {
        header->data = x->data;
        header->buffer = az_buffer_hold(x->buffer);
    }
    return header;
}

/* Does the gradient of some other input, or of any, read the data of input i? */
static bool reads_input(const az_tape *tape, const az_op *op, const az_tensor *const *inputs, int n, int i)
{
    if (op->forgets & AZ_FORGETS_INPUTS) return false;
    if (!(op->forgets & AZ_FORGETS_OWN_INPUT)) return true;
    for (int other = 0; other < n; other++)
        if (other != i && az_node_on(tape, inputs[other])) return true;
    return false;
}

/* The node's own header of its output. */
static az_tensor *output_header(az_ctx *az, const az_tape *tape, az_node *node, const az_tensor *y, bool with_data)
{
    az_tensor model = *y;
    model.node = node;
    model.tape = tape->number;
    if (!with_data) model.data = model.buffer = NULL;
    return az_header(az, &model);
}

/* Fills a node in; the tape's arena is entered. */
static bool node_fill(az_ctx *az, az_tape *tape, az_node *node, const az_tensor *y, const az_tensor *const *inputs)
{
    node->input = az_alloc_array(az, (size_t)node->inputs, sizeof *node->input);
    for (int i = 0; i < node->inputs && node->input; i++) {
        bool with_data = reads_input(tape, node->op, inputs, node->inputs, i);
        node->input[i] = inputs[i] ? input_header(az, tape, inputs[i], with_data) : NULL;
        if (inputs[i] && !node->input[i]) return false;
    }
    node->output = output_header(az, tape, node, y, !(node->op->forgets & AZ_FORGETS_OUTPUT));
    node->saves = tape->saves;
    tape->saves = NULL;
    return node->input && node->output;
}

az_tensor *az_record(az_ctx *az, const az_op *op, az_tensor *y, const az_tensor *const *inputs, int n, const void *saved, size_t size)
{
    if (!y || !az_tracked(az, inputs, n)) return y;
    az_tape *tape = az_tape_of(az);
    az_arena_enter(az, tape->arena);
    az_node *node = node_new(az, tape);
    bool done = false;
    if (node) {
        node->op = op;
        node->inputs = n;
        node->saved = size ? az_save_memory(az, saved, size) : NULL;
        done = node_fill(az, tape, node, y, inputs) && (!size || node->saved);
    }
    az_arena_leave(az);
    if (!done) return NULL;
    tape->node[tape->nodes++] = node;
    y->node = node;
    y->tape = tape->number;
    return y;
}

az_tensor *az_watch(az_ctx *az, const az_tensor *x)
{
    if (!az_real(az, "az_watch", x)) return NULL;
    az_tape *tape = az_tape_of(az);
    if (!tape) return az_fail(az, AZ_BAD_CALL, "az_watch: no tape is open");
    az_arena_enter(az, tape->arena);
    az_node *node = node_new(az, tape);
    az_tensor *header = node ? output_header(az, tape, node, x, true) : NULL;
    az_arena_leave(az);
    if (!header) return NULL;
    node->output = header;
    tape->node[tape->nodes++] = node;
    return header;
}

const az_tensor *az_save(az_ctx *az, const az_tensor *x)
{
    if (!az_present(az, "az_save", x)) return NULL;
    az_tape *tape = az_tape_of(az);
    if (!tape) return x;
    az_arena_enter(az, tape->arena);
    az_tensor *header = az_header(az, x);
    az_save_list *entry = az_alloc(az, sizeof *entry);
    az_arena_leave(az);
    if (!header || !entry) return NULL;
    *entry = (az_save_list){.next = tape->saves, .tensor = header};
    tape->saves = entry;
    return header;
}

void *az_save_memory(az_ctx *az, const void *data, size_t bytes)
{
    az_tape *tape = az_tape_of(az);
    if (tape) az_arena_enter(az, tape->arena);
    void *copy = az_alloc(az, bytes);
    if (tape) az_arena_leave(az);
    return copy ? memcpy(copy, data, bytes) : NULL;
}

/* ---- for gradient functions ---- */

bool az_owned_alone(const az_tensor *x)
{
    return x->buffer && x->buffer->references == 1 && az_is_contiguous(x);
}

az_tensor *az_gradient_room(az_ctx *az, const az_node *node, int i)
{
    const az_tensor *x = node->input[i];
    const az_node *source = x->node;
    const bool read_later = !source || !source->op || !(source->op->forgets & AZ_FORGETS_OUTPUT) || source->readers > 1;
    return node->last && !read_later && az_owned_alone(x) ? az_share(az, x) : az_tensor_new(az, x->dtype, x->rank, x->shape);
}

az_tensor *az_gradient_so_far(az_ctx *az, const az_node *node, int i)
{
    az_tensor *sum = az_needs_gradient(node, i) && !az_recording(az) ? node->input[i]->node->gradient : NULL;
    return sum && az_owned_alone(sum) ? sum : NULL;
}

void az_node_release(az_node *node)
{
    if (!node->op) return; /* watched tensors stay */
    for (int i = 0; i < node->inputs; i++)
        if (node->input[i] && !node->input[i]->node) az_release((az_tensor *)node->input[i]);
    for (az_save_list *save = node->saves; save; save = save->next) az_release(save->tensor);
    az_release((az_tensor *)node->output);
    node->released = true;
}
