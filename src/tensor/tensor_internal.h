/* tensor_internal.h - what the files of this room, and az_grad, share beyond the public header. */
#ifndef ADZE_TENSOR_INTERNAL_H
#define ADZE_TENSOR_INTERNAL_H

#include "adze/tensor.h"

/* A header of the current scope with the fields of `model`; holds model->buffer until the scope ends. NULL model -> NULL. */
az_tensor *az_header(az_ctx *az, const az_tensor *model);
/* Gives the data of a header back before its scope ends; its shape stays. */
void az_release(az_tensor *x);

/* For gradient functions: a tensor shaped like input i of the node, not initialised. It is the memory of that input itself when the walk
 * gives it back after this visit and nothing else reads it, so what is computed from the input must be computed in place. */
az_tensor *az_gradient_room(az_ctx *az, const az_node *node, int i);
/* For gradient functions: what has been collected as the gradient of input i, when more may be added to it in place; NULL otherwise. */
az_tensor *az_gradient_so_far(az_ctx *az, const az_node *node, int i);
/* Contiguous, in memory that no other header refers to. */
bool az_owned_alone(const az_tensor *x);

/* Row-major strides for the shape of x. */
void az_set_contiguous(az_tensor *x);
/* True when x is not NULL; otherwise an error is there (that of the operation that made x, or a complaint by `name`). */
bool az_present(az_ctx *az, const char *name, const az_tensor *x);
/* As az_present, and x is f32 or f64. */
bool az_real(az_ctx *az, const char *name, const az_tensor *x);
/* As az_real for both, and of one type. */
bool az_same_real(az_ctx *az, const char *name, const az_tensor *a, const az_tensor *b);
/* The values of x, contiguous and not tracked; shared when they already are contiguous. */
const az_tensor *az_packed(az_ctx *az, const az_tensor *x);
/* The shape that a and b broadcast to, in frame (type of a, no data); false with an error that names both shapes. */
bool az_broadcast_shapes(az_ctx *az, const char *name, const az_tensor *a, const az_tensor *b, az_tensor *frame);
/* An axis counted from the front, from one that may count from the end; -1 with an error when out of range. */
int az_axis(az_ctx *az, const char *name, const az_tensor *x, int axis);
/* True when x has this shape. */
bool az_has_shape(const az_tensor *x, int rank, const int64_t *shape);
/* "[3, 4]" into text (of AZ_SHAPE_TEXT bytes). */
enum { AZ_SHAPE_TEXT = 22 * AZ_MAX_RANK + 3 };
const char *az_print_shape(int rank, const int64_t *shape, char *text);

double az_load(az_dtype dtype, const void *data, int64_t index);
void az_store(az_dtype dtype, void *data, int64_t index, double value);

#endif
