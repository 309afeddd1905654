/* walk.c - the loop nest under every elementwise operation. */
#include "tensor/walk.h"

enum {
    PIECE = 1 << 13,        /* elements a thread takes at once */
    PARALLEL_WORK = 1 << 16 /* additions from which a second thread pays */
};

/* Byte stride of lane `t` along axis `axis` of a frame of `rank` axes; 0 where it is stretched. */
static int64_t lane_stride(const az_tensor *t, int rank, int axis)
{
    int own = axis - (rank - t->rank);
    return own < 0 || t->shape[own] == 1 ? 0 : t->stride[own] * (int64_t)az_dtype_size(t->dtype);
}

/* True if the last axis kept and the next one walk through memory as one, in every lane. */
static bool mergeable(const az_walk *w, const int64_t *stride)
{
    for (int lane = 0; lane < w->lanes; lane++)
        if (w->stride[lane][w->rank - 1] != stride[lane]) return false;
    return true;
}

az_walk az_walk_over(const az_ctx *az, const az_tensor *const *tensors, int lanes)
{
    const az_tensor *frame = tensors[0];
    az_walk w = {.threads = az_threads(az), .lanes = lanes, .count = az_count(frame)};
    for (int lane = 0; lane < lanes; lane++) {
        w.data[lane] = tensors[lane]->data;
        w.size[lane] = (int64_t)az_dtype_size(tensors[lane]->dtype);
    }
    for (int axis = 0; axis < frame->rank; axis++) {
        if (frame->shape[axis] == 1) continue;
        int64_t stride[AZ_MAX_LANES], span[AZ_MAX_LANES];
        for (int lane = 0; lane < lanes; lane++) {
            stride[lane] = lane_stride(tensors[lane], frame->rank, axis);
            span[lane] = stride[lane] * frame->shape[axis];
        }
        if (w.rank > 0 && mergeable(&w, span))
            w.shape[w.rank - 1] *= frame->shape[axis];
        else
            w.shape[w.rank++] = frame->shape[axis];
        for (int lane = 0; lane < lanes; lane++) w.stride[lane][w.rank - 1] = stride[lane];
    }
    if (w.rank == 0) w.shape[w.rank++] = 1;
    return w;
}

/* Elements first .. end-1 of the walk, row by row. */
static void run_piece(const az_walk *w, az_row_kernel kernel, int op, const double *param, const int64_t range[2])
{
    int last = w->rank - 1;
    int64_t width = w->shape[last], index[AZ_MAX_RANK] = {0}, rest = range[0] / width;
    index[last] = range[0] % width;
    for (int axis = last - 1; axis >= 0; axis--) {
        index[axis] = rest % w->shape[axis];
        rest /= w->shape[axis];
    }
    for (int64_t at = range[0]; at < range[1];) {
        int64_t n = width - index[last] < range[1] - at ? width - index[last] : range[1] - at;
        az_lane lane[AZ_MAX_LANES];
        for (int i = 0; i < w->lanes; i++) {
            int64_t offset = 0;
            for (int axis = 0; axis <= last; axis++) offset += index[axis] * w->stride[i][axis];
            lane[i] = (az_lane){.data = w->data[i] + offset, .stride = w->stride[i][last] / w->size[i]};
        }
        kernel(op, param, lane, n);
        at += n;
        index[last] = 0;
        for (int axis = last - 1; axis >= 0 && ++index[axis] == w->shape[axis]; axis--) index[axis] = 0;
    }
}

void az_walk_run(const az_walk *walk, az_row_kernel kernel, int op, const double *param, int cost)
{
    if (walk->count <= PIECE || walk->count <= PARALLEL_WORK / cost) { /* spares small tensors the visit to the threads */
        if (walk->count > 0) run_piece(walk, kernel, op, param, (int64_t[]){0, walk->count});
        return;
    }
    int64_t pieces = (walk->count + PIECE - 1) / PIECE;
#pragma omp parallel for schedule(static) num_threads(walk->threads)
    for (int64_t piece = 0; piece < pieces; piece++) {
        int64_t end = (piece + 1) * PIECE;
        run_piece(walk, kernel, op, param, (int64_t[]){piece * PIECE, end < walk->count ? end : walk->count});
    }
}
