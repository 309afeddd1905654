/* sparse_products.c - products with matrices of scattered zeros: which way is cheapest, and activations in the order that it wants. */
#include "weight/sparse_format.h"

#include <math.h>
#include <omp.h>
#include <string.h>

enum { LANES = 8, MOST_SUMS = AZ_CSL_ROWS * LANES * AZ_SPARSE_GROUPS };

bool az_sparse_holds(az_ctx *az, const az_tensor *dense, const az_format *format, az_dtype type)
{
    const int64_t bad = az_first_nonfinite(dense), cols = dense->shape[1];
    if (bad >= 0)
        return az_fail(az, AZ_NUMERIC, "weight %s cannot be stored as %s: the value at row %lld, column %lld is not finite",
                       az_shape_text(az, dense), format->name, (long long)(bad / cols), (long long)(bad % cols));
    return type != AZ_F16 || az_f16_holds(az, dense);
}

/* The vectors filled up with zeros: [n, stride]. */
static void lay_out_dense(const az_weight *w, const float *x, const az_sparse_input *to, float *room)
{
    for (int64_t j = 0; j < to->n; j++) {
        memcpy(room + j * to->stride, x + j * w->cols, (size_t)w->cols * sizeof *room);
        memset(room + j * to->stride + w->cols, 0, (size_t)(to->stride - w->cols) * sizeof *room);
    }
}

/* n vectors as [tiles * 64, stride]. */
static void lay_out_sparse(az_ctx *az, const az_weight *w, const float *x, int64_t n, const az_sparse_input *to, float *room)
{
    const int64_t cols = az_tiles(w->cols, AZ_TILE) * AZ_TILE;
#pragma omp parallel for schedule(static) num_threads(az_threads(az)) if (cols * to->stride > 1 << 16)
    for (int64_t c = 0; c < cols; c++)
        for (int64_t j = 0; j < to->stride; j++) room[c * to->stride + j] = c < w->cols && j < n ? x[j * w->cols + c] : 0;
}

/* n vectors at x; y [n, rows]. A strip is one thread's work, so that sums do not depend on their number. */
static void multiply_strips(az_ctx *az, const az_weight *w, const az_sparse_strips *how, const az_sparse_input *x, bool dense, int64_t n,
                            float *y)
{
#pragma omp parallel for schedule(dynamic) num_threads(az_threads(az))
    for (int64_t first = 0; first < w->rows; first += how->rows) {
        float sums[MOST_SUMS];
        const int64_t rows = first + how->rows <= w->rows ? how->rows : w->rows - first;
        dense ? how->dense(w, first / how->rows, x, sums) : how->sparse(w, first / how->rows, x, sums);
        for (int64_t j = 0; j < n; j++)
            for (int64_t r = 0; r < rows; r++) y[j * w->rows + first + r] = dense ? sums[j * how->rows + r] : sums[r * x->stride + j];
    }
}

/* How `some` vectors are laid out; their values are not there yet. */
static az_sparse_input arrangement(const az_sparse_strips *how, bool dense, int64_t some, int64_t cols)
{
    const int64_t groups = az_tiles(some, LANES);
    if (dense) return (az_sparse_input){.n = some, .stride = cols};
    if (!how->dense && some <= AZ_SPARSE_FEW) return (az_sparse_input){.n = 1, .stride = some == 1 ? 1 : AZ_SPARSE_FEW};
    return (az_sparse_input){.n = groups, .stride = LANES * groups};
}

/* Vectors in portions that a kernel takes at once. */
static void multiply_portions(az_ctx *az, const az_weight *w, const float *x, int64_t n, float *y, const az_sparse_strips *how, bool dense)
{
    const int64_t cols = az_tiles(w->cols, AZ_TILE) * AZ_TILE, most = dense ? AZ_SPARSE_FEW : LANES * AZ_SPARSE_GROUPS;
    const bool in_place = cols == w->cols && (dense || (n == 1 && !how->dense));
    az_scope_push(az);
    az_tensor *room = in_place ? NULL : az_new2(az, AZ_F32, most, cols);
    for (int64_t j = 0; j < n && (in_place || room); j += most) {
        const int64_t some = n - j < most ? n - j : most;
        az_sparse_input input = arrangement(how, dense, some, cols);
        const float *from = x + j * w->cols;
        input.value = in_place ? from : az_f32(room);
        if (dense && !in_place) lay_out_dense(w, from, &input, az_f32_mut(room));
        if (!dense && !in_place) lay_out_sparse(az, w, from, some, &input, az_f32_mut(room));
        multiply_strips(az, w, how, &input, dense, some, y + j * w->rows);
    }
    az_scope_pop(az);
}

/* Of BLAS on decoded tiles: the decoding, and each vector. */
static const double DECODE = 0.3, BLAS_VECTOR = 0.03;

void az_strips_matmul(az_ctx *az, const az_weight *w, const float *x, int64_t n, float *y, const az_sparse_strips *how, double density)
{
    const az_sparse_costs *c = &how->costs;
    const double groups = ceil((double)n / LANES), few = ceil((double)n / AZ_SPARSE_FEW), many = ceil(groups / AZ_SPARSE_GROUPS);
    const double dense = how->dense ? few * (c->expand + density * c->expand_kept) + (double)n * c->vector : INFINITY;
    const double sparse = density * (many * c->visit_kept + groups * c->visit_groups);
    if (n > AZ_FEW && DECODE + (double)n * BLAS_VECTOR < fmin(dense, sparse))
        az_tiles_matmul(az, w, x, n, y);
    else
        multiply_portions(az, w, x, n, y, how, how->dense && dense <= sparse);
}
