/* tape.h - the inside of a tape, for tape.c and az_grad. */
#ifndef ADZE_TENSOR_TAPE_H
#define ADZE_TENSOR_TAPE_H

#include "base/base_internal.h"
#include "tensor/tensor_internal.h"

/* Headers made by az_save, to be given back with the node that was recorded next. */
typedef struct az_save_list {
    struct az_save_list *next;
    az_tensor *tensor;
} az_save_list;

typedef struct az_tape {
    struct az_tape *outer;
    uint64_t number; /* what az_tensor.tape refers to */
    int paused;      /* nesting depth of az_tape_pause */
    az_arena *arena; /* nodes, headers, saved data */
    az_node **node;  /* [nodes], in the order of recording */
    int64_t nodes, room;
    az_save_list *saves; /* not yet taken by a node */
} az_tape;

static inline az_tape *az_tape_of(const az_ctx *az)
{
    return az->tape;
}

/* x's node on this tape, NULL when it has none there. */
static inline az_node *az_node_on(const az_tape *tape, const az_tensor *x)
{
    return tape && x && x->tape == tape->number ? x->node : NULL;
}

/* Gives back what the tape holds for this node; it cannot be differentiated again. */
void az_node_release(az_node *node);

#endif
