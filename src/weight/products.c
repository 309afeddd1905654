/* products.c - how products with a weight are cut into work for threads: rows for kernels when there are few vectors of activations,
 * tiles of f32 for BLAS when there are many.
 *
 * Tiles and chunks have sizes that depend on the shape alone, so results do not depend on the number of threads. */
#include "weight/weight_internal.h"

#include <cblas.h>

/* Rows per tile: at most 4 MiB of f32, and 512. */
static int64_t tile_rows(const az_weight *w)
{
    const int64_t fitting = (int64_t)(1 << 20) / w->cols;
    const int64_t tile = fitting < 16 ? 16 : fitting > 512 ? 512 : fitting;
    return tile < w->rows ? tile : w->rows;
}

/* Rows first .. first + count - 1 as f32: where they lie when they are f32 already, else in `room`. */
static const float *tile_of(az_ctx *az, const az_weight *w, int64_t first, int64_t count, float *room)
{
    if (w->format == &az_format_f32) return (const float *)w->part[0]->data + first * w->cols;
#pragma omp parallel for schedule(static) num_threads(az_threads(az))
    for (int64_t r = 0; r < count; r++) w->format->decode(w, first + r, 1, room + r * w->cols);
    return room;
}

/* Room for a tile of `tile` rows; an f32 matrix is one tile and needs none. */
static bool tile_room(az_ctx *az, const az_weight *w, int64_t *tile, float **room)
{
    const bool in_place = w->format == &az_format_f32;
    *tile = in_place ? w->rows : tile_rows(w);
    *room = in_place ? NULL : az_alloc_array(az, (size_t)*tile, (size_t)w->cols * sizeof(float));
    return in_place || *room;
}

void az_tiles_matmul(az_ctx *az, const az_weight *w, const float *x, int64_t n, float *y)
{
    const int64_t rows = w->rows, cols = w->cols;
    int64_t tile;
    float *room;
    az_scope_push(az);
    if (tile_room(az, w, &tile, &room))
        for (int64_t first = 0; first < rows; first += tile) {
            const int64_t count = first + tile <= rows ? tile : rows - first;
            const float *rows_here = tile_of(az, w, first, count, room);
            cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)n, (int)count, (int)cols, 1, x, (int)cols, rows_here, (int)cols, 0,
                        y + first, (int)rows);
        }
    az_scope_pop(az);
}

void az_tiles_matmul_t(az_ctx *az, const az_weight *w, const float *g, int64_t n, float *gx)
{
    const int64_t rows = w->rows, cols = w->cols;
    int64_t tile;
    float *room;
    az_scope_push(az);
    if (tile_room(az, w, &tile, &room))
        for (int64_t first = 0; first < rows; first += tile) {
            const int64_t count = first + tile <= rows ? tile : rows - first;
            const float *rows_here = tile_of(az, w, first, count, room);
            cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)n, (int)cols, (int)count, 1, g + first, (int)rows, rows_here,
                        (int)cols, first > 0, gx, (int)cols);
        }
    az_scope_pop(az);
}

enum { CHUNK = 16 }; /* rows per unit of work: small enough to balance, large enough to prefetch through */

static void product_rows(az_ctx *az, const az_weight *w, const az_columns *x, az_rows_kernel *kernel, float *y)
{
    const unsigned char *data = w->part[0]->data;
    const int64_t rows = w->rows, row_bytes = w->cols / w->format->block * w->format->block_bytes;
#pragma omp parallel for schedule(static) num_threads(az_threads(az))
    for (int64_t first = 0; first < rows; first += CHUNK)
        kernel(data + first * row_bytes, first + CHUNK <= rows ? CHUNK : rows - first, x, y + first, rows);
}

void az_rows_matmul(az_ctx *az, const az_weight *w, const float *x, int64_t n, float *y, az_rows_kernel *kernel)
{
    product_rows(az, w, &(az_columns){.n = n, .cols = w->cols, .value = x}, kernel, y);
}

void az_bytes_matmul(az_ctx *az, const az_weight *w, const float *x, int64_t n, float *y, az_rows_kernel *kernel)
{
    const size_t blocks = (size_t)(n * (w->cols / AZ_BLOCK));
    az_scope_push(az);
    int8_t *q = az_alloc_array(az, blocks, AZ_BLOCK);
    float *scale = az_alloc_array(az, blocks, sizeof *scale);
    int32_t *eights = az_alloc_array(az, blocks, 8 * sizeof *eights);
    if (eights) {
        az_weight_kernels_here()->round_to_bytes(x, (int64_t)blocks, q, scale, eights);
        product_rows(az, w, &(az_columns){.n = n, .cols = w->cols, .value = x, .q = q, .scale = scale, .eights = eights}, kernel, y);
    }
    az_scope_pop(az);
}
