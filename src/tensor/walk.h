/* walk.h - visiting strided tensors together, row by row, on all threads.
 *
 * A walk goes over the elements of lane 0 (an output) in row-major order; the other lanes broadcast to its shape. Axes that can be merged
 * are, so contiguous operands become one long row. A row kernel handles n elements of every lane. */
#ifndef ADZE_TENSOR_WALK_H
#define ADZE_TENSOR_WALK_H

#include "adze/tensor.h"

enum { AZ_MAX_LANES = 4 };

typedef struct az_lane {
    void *data;     /* first element of the row */
    int64_t stride; /* in elements */
} az_lane;

/* op and param select what is computed; their meaning is the kernel's. */
typedef void (*az_row_kernel)(int op, const double *param, const az_lane *lane, int64_t n);

typedef struct az_walk {
    int threads, lanes, rank;
    int64_t count; /* elements */
    int64_t shape[AZ_MAX_RANK];
    int64_t stride[AZ_MAX_LANES][AZ_MAX_RANK]; /* in bytes */
    char *data[AZ_MAX_LANES];
    int64_t size[AZ_MAX_LANES]; /* of an element, bytes */
} az_walk;

/* tensors[0] has the shape of the walk; the others must broadcast to it. */
az_walk az_walk_over(const az_ctx *az, const az_tensor *const *tensors, int lanes);
/* cost: rough time of one element, in additions; decides from which size threads are worth it. */
void az_walk_run(const az_walk *walk, az_row_kernel kernel, int op, const double *param, int cost);

#endif
