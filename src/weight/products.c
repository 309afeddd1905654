/* products.c - how products with a weight are cut into work for threads: rows for kernels when there are few vectors of activations;
 * panels (panels.c), or tiles of f32 for BLAS, when there are many.
 *
 * Tiles and chunks have sizes that depend on the shape alone, so results do not depend on the number of threads. */
#include "base/parallel.h"
#include "tensor/gemm.h"
#include "tensor/kernels/panels.h"
#include "weight/weight_internal.h"

#include <cblas.h>
#include <omp.h>
#include <string.h>

void *az_scratch(az_ctx *az, int64_t count, int64_t size)
{
    az_tensor *memory = az_new2(az, AZ_U8, count, size);
    return memory ? memory->data : NULL;
}

/* y [n, width] = x [n, depth] times w, a [width, depth] matrix when transposed, else [depth, width]; added to y when `add`. */
typedef struct block_product {
    int64_t n, width, depth;
    const float *x, *w;
    int64_t ldx, ldw, ldy;
    float *y;
    bool transposed, add;
} block_product;

/* By packed panels where that pays, as az_matmul does, otherwise by BLAS in pieces of fixed size, each by one thread: left to itself it
 * would cut by the number of threads. */
static void multiply(az_ctx *az, const block_product *p)
{
    if (az_gemm_pays(p->n, p->width, p->depth)) {
        const az_matrix_f32 w = {.data = p->w, .row = p->transposed ? 1 : p->ldw, .column = p->transposed ? p->ldw : 1};
        const az_matrix_f32 x = {.data = p->x, .row = p->ldx, .column = 1};
        az_gemm_run(az, &(az_gemm){.m = p->n, .n = p->width, .k = p->depth, .a = x, .b = w, .c = p->y, .ldc = p->ldy, .add = p->add});
        return;
    }
    enum { VECTORS = 256, WIDTH = 128 };
    const int64_t across = (p->width + WIDTH - 1) / WIDTH, pieces = across * ((p->n + VECTORS - 1) / VECTORS);
#pragma omp parallel for schedule(dynamic) num_threads(az_threads(az))
    for (int64_t piece = 0; piece < pieces; piece++) {
        const int64_t j = piece / across * VECTORS, r = piece % across * WIDTH;
        const int64_t n = j + VECTORS <= p->n ? VECTORS : p->n - j, width = r + WIDTH <= p->width ? WIDTH : p->width - r;
        cblas_sgemm(CblasRowMajor, CblasNoTrans, p->transposed ? CblasTrans : CblasNoTrans, (int)n, (int)width, (int)p->depth, 1,
                    p->x + j * p->ldx, (int)p->ldx, p->w + (p->transposed ? r * p->ldw : r), (int)p->ldw, p->add, p->y + j * p->ldy + r,
                    (int)p->ldy);
    }
}

/* Rows per tile: at most 8 MiB of f32, and 1024. */
static int64_t tile_rows(const az_weight *w)
{
    const int64_t fitting = (int64_t)(1 << 21) / w->cols;
    const int64_t tile = fitting < 16 ? 16 : fitting > 1024 ? 1024 : fitting;
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
    *room = in_place ? NULL : az_scratch(az, *tile, w->cols * (int64_t)sizeof(float));
    return in_place || *room;
}

/* For few vectors: each row is decoded where it stays in the first cache, and multiplied at once. */
static void decoded_rows_matmul(az_ctx *az, const az_weight *w, const float *x, int64_t n, float *y)
{
    enum { ROWS = 16 };
    const az_columns columns = {.n = n, .cols = w->cols, .value = x};
    az_scope_push(az);
    float *rooms = az_scratch(az, az_threads(az), w->cols * (int64_t)sizeof *rooms);
    if (rooms) {
#pragma omp parallel for schedule(static, ROWS) num_threads(az_threads(az))
        for (int64_t r = 0; r < w->rows; r++) {
            float *row = rooms + omp_get_thread_num() * w->cols;
            w->format->decode(w, r, 1, row);
            az_weight_kernels_here()->f32(row, 1, &columns, y + r, w->rows);
        }
    }
    az_scope_pop(az);
}

void az_tiles_matmul(az_ctx *az, const az_weight *w, const float *x, int64_t n, float *y)
{
    if (n <= AZ_FEW && w->format != &az_format_f32) {
        decoded_rows_matmul(az, w, x, n, y);
        return;
    }
    /* f32 matrices are multiplied as while a tape listens, so that the two give the same bits */
    if (n > AZ_FEW && w->format != &az_format_f32 && az_panel_kernels_for(w)) {
        az_panels_matmul(az, w, x, n, y);
        return;
    }
    int64_t tile;
    float *room;
    az_scope_push(az);
    if (tile_room(az, w, &tile, &room))
        for (int64_t first = 0; first < w->rows; first += tile) {
            block_product p = {.n = n, .depth = w->cols, .x = x, .ldx = w->cols, .ldw = w->cols, .transposed = true};
            p.width = first + tile <= w->rows ? tile : w->rows - first;
            p.w = tile_of(az, w, first, p.width, room);
            p.y = y + first, p.ldy = w->rows;
            multiply(az, &p);
        }
    az_scope_pop(az);
}

void az_tiles_matmul_t(az_ctx *az, const az_weight *w, const float *g, int64_t n, float *gx)
{
    int64_t tile;
    float *room;
    az_scope_push(az);
    if (tile_room(az, w, &tile, &room))
        for (int64_t first = 0; first < w->rows; first += tile) {
            block_product p = {.n = n, .width = w->cols, .x = g + first, .ldx = w->rows, .ldw = w->cols, .add = first > 0};
            p.depth = first + tile <= w->rows ? tile : w->rows - first;
            p.w = tile_of(az, w, first, p.depth, room);
            p.y = gx, p.ldy = w->cols;
            multiply(az, &p);
        }
    az_scope_pop(az);
}

/* Rows per unit of work: small enough to balance, large enough to prefetch through. From LARGE bytes on, what threads take shrinks with
 * what is left, so that one that lost its processor for a moment does not hold up the others; below, that costs more than it saves. */
enum {
    CHUNK = 64,
    LARGE = 1 << 20,
    LITTLE = 1 << 16,     /* multiply-adds that take less time than waking a team */
    PIECE = 8,            /* blocks that are rounded at a time */
    MANY_VALUES = 1 << 12 /* to be rounded; fewer take less time than waking a team too */
};

/* Vectors as values and rounded: each kernel reads what its format needs. */
typedef struct rows_job {
    const az_row_product *product;
    int count;
    const az_columns *x;
} rows_job;

static int64_t chunks_of(const az_weight *w)
{
    return (w->rows + CHUNK - 1) / CHUNK;
}

static int64_t row_bytes(const az_weight *w)
{
    return w->cols / w->format->block * w->format->block_bytes;
}

/* Chunks are counted through all products. */
static void product_chunk(const void *chunks, int64_t chunk)
{
    const rows_job *job = chunks;
    const az_row_product *product = job->product;
    for (; chunk >= chunks_of(product->w); product++) chunk -= chunks_of(product->w);
    const az_weight *w = product->w;
    const int64_t first = chunk * CHUNK, count = first + CHUNK <= w->rows ? CHUNK : w->rows - first;
    const int64_t arranged = product->arranged ? count - count % AZ_ARRANGED : 0;
    if (arranged > 0)
        product->arranged((const unsigned char *)w->arranged->data + first * row_bytes(w), arranged, job->x, product->y + first, w->rows);
    if (arranged < count)
        product->kernel((const unsigned char *)w->part[0]->data + (first + arranged) * row_bytes(w), count - arranged, job->x,
                        product->y + first + arranged, w->rows);
}

static void product_rows(az_ctx *az, const rows_job *job)
{
    int64_t chunks = 0, bytes = 0, work = 0;
    for (int i = 0; i < job->count; i++) {
        const az_weight *w = job->product[i].w;
        chunks += chunks_of(w);
        bytes += w->rows * row_bytes(w);
        work += w->rows * w->cols * job->x->n;
    }
    if (bytes < LARGE || az_threads(az) == 1) {
        az_each(work < LITTLE ? 1 : az_threads(az), chunks, product_chunk, job);
        return;
    }
#pragma omp parallel for schedule(guided) num_threads(az_threads(az))
    for (int64_t chunk = 0; chunk < chunks; chunk++) product_chunk(job, chunk);
}

bool az_worth_rounding(int64_t n)
{
    enum { BEFORE_TILES = 32 }; /* so many vectors pay for rows to be decoded for the tile unit */
    return n <= (az_cpu_features()->amx ? BEFORE_TILES : az_weight_kernels_here()->most_rounded);
}

az_rows_kernel *az_block_rows_kernel(const az_format *format, int64_t n, bool arranged)
{
    const az_blocks_kernels *kernels = &az_weight_kernels_here()->blocks[format->ggml_type];
    if (!az_worth_rounding(n)) return NULL;
    return arranged ? kernels->arranged : kernels->rows;
}

/* What is rounded at a time: blocks of all vectors, so that threads do not write to the same lines of memory. */
static void round_piece(const void *columns, int64_t piece)
{
    const az_columns *x = columns;
    const int64_t first = piece * PIECE, left = x->cols / AZ_BLOCK - first;
    az_weight_kernels_here()->round_to_bytes(x, first, left < PIECE ? left : PIECE);
}

bool az_round_columns(az_ctx *az, az_columns *x)
{
    const int64_t blocks = x->cols / AZ_BLOCK;
    x->q = az_scratch(az, x->n, x->cols);
    x->scale = az_scratch(az, x->n * blocks, sizeof(float));
    x->total = az_scratch(az, x->n * blocks, sizeof(float));
    x->halves = az_scratch(az, x->n * blocks, 2 * sizeof(float));
    x->less8 = az_scratch(az, x->n * blocks, sizeof(int32_t));
    x->less32 = az_scratch(az, x->n * blocks, 2 * sizeof(int32_t));
    x->pairs8 = az_scratch(az, x->n * blocks, 2 * sizeof(int16_t));
    x->pairs32 = az_scratch(az, x->n * blocks, 4 * sizeof(int16_t));
    if (!az_ok(az)) return false;
    az_each(x->n * x->cols >= MANY_VALUES ? az_threads(az) : 1, (blocks + PIECE - 1) / PIECE, round_piece, x);
    return true;
}

void az_rows_matmul(az_ctx *az, const az_row_product *product, int count, const float *x, int64_t n)
{
    az_columns columns = {.n = n, .cols = product->w->cols, .value = x};
    bool blocks = false;
    for (int i = 0; i < count; i++) blocks |= product[i].w->format->block > 1;
    az_scope_push(az);
    if (!blocks || az_round_columns(az, &columns)) product_rows(az, &(rows_job){.product = product, .count = count, .x = &columns});
    az_scope_pop(az);
}
