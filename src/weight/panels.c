/* panels.c - products with many vectors of activations by panels: 16 rows of the weight and 6 vectors at a time, both packed column by
 * column (tensor/kernels/panels.h, where the vectors are the rows and the rows of the weight the columns).
 *
 * The vectors are packed once; then each thread takes some rows, decodes and packs them where they stay in the second cache, and runs along
 * all vectors. Each value is the sum of what every DEPTH columns give, in order, whatever the company and the threads. */
#include "base/parallel.h"
#include "tensor/kernels/panels.h"
#include "weight/weight_internal.h"

#include <omp.h>
#include <string.h>

enum {
    ROWS = AZ_PANEL_COLUMNS,
    VECTORS = AZ_PANEL_ROWS,
    DEPTH = 256,          /* columns that are packed together */
    TURN_ROWS = 4 * ROWS, /* what a thread takes */
    TOGETHER = 16,        /* groups of vectors that pass by all panels of a turn before the next do */
    MOST = 192 * VECTORS  /* vectors that are packed at a time */
};

typedef struct panels_job {
    const az_weight *w;
    const float *x; /* [n, cols] */
    int64_t n, y_stride;
    int64_t parts; /* turns that share some rows, each with its part of the groups of vectors */
    float *packed; /* [columns / DEPTH][groups][DEPTH][VECTORS], the last columns fewer; vectors beyond n are 0 */
    float *room;   /* of room_values for each thread: packed columns of TURN_ROWS rows, and the rows decoded */
    int64_t room_values;
    float *y; /* [n, y_stride] */
} panels_job;

static int64_t groups_of(const panels_job *job)
{
    return (job->n + VECTORS - 1) / VECTORS;
}

static int64_t columns_at(const panels_job *job, int64_t first)
{
    return first + DEPTH <= job->w->cols ? DEPTH : job->w->cols - first;
}

static float *packed_group(const panels_job *job, int64_t first, int64_t group)
{
    return job->packed + (first * groups_of(job) + group * columns_at(job, first)) * VECTORS;
}

static void pack_group(const void *panels, int64_t group)
{
    const panels_job *job = panels;
    const int64_t cols = job->w->cols, count = job->n - group * VECTORS < VECTORS ? job->n - group * VECTORS : VECTORS;
    const float *from = job->x + group * VECTORS * cols;
    for (int64_t first = 0; first < cols; first += DEPTH) {
        const az_matrix_f32 vectors = {.data = from + first, .row = cols, .column = 1};
        az_panel_kernels_here()->pack_rows(count, columns_at(job, first), vectors, packed_group(job, first, group));
    }
}

/* Rows and vectors of a tile that exist. */
typedef struct extent {
    int64_t rows, vectors;
} extent;

/* A tile at an edge is made whole beside y. */
static void edge_product(const panels_job *job, const float *w, const float *x, int64_t depth, bool add, float *y, extent inside)
{
    float tile[VECTORS * ROWS] = {0};
    for (int64_t j = 0; j < inside.vectors && add; j++) memcpy(tile + j * ROWS, y + j * job->y_stride, (size_t)inside.rows * sizeof *y);
    az_panel_kernels_here()->product(depth, x, w, add, tile, ROWS);
    for (int64_t j = 0; j < inside.vectors; j++) memcpy(y + j * job->y_stride, tile + j * ROWS, (size_t)inside.rows * sizeof *y);
}

/* The rows of a turn as f32. */
static void decode_turn(const panels_job *job, int64_t first, int64_t count, float *to)
{
    const az_weight *w = job->w;
    for (int64_t r = 0; r < count; r += AZ_DECODE_ROWS)
        w->format->decode(w, first + r, r + AZ_DECODE_ROWS <= count ? AZ_DECODE_ROWS : count - r, to + r * w->cols);
}

/* Rows of a turn, packed for the columns from `column` on. */
typedef struct packed_rows {
    const float *panel;
    int64_t first, count, column;
} packed_rows;

/* Some groups of vectors with all panels of a turn. */
static void multiply_groups(const panels_job *job, const packed_rows *rows, int64_t group, int64_t end)
{
    const int64_t depth = columns_at(job, rows->column);
    const bool add = rows->column > 0;
    for (int64_t r = 0; r < rows->count; r += ROWS)
        for (int64_t g = group; g < end; g++) {
            const extent inside = {.rows = rows->count - r < ROWS ? rows->count - r : ROWS,
                                   .vectors = job->n - g * VECTORS < VECTORS ? job->n - g * VECTORS : VECTORS};
            const float *w = rows->panel + r * depth, *x = packed_group(job, rows->column, g);
            float *y = job->y + g * VECTORS * job->y_stride + rows->first + r;
            if (inside.rows == ROWS && inside.vectors == VECTORS)
                az_panel_kernels_here()->product(depth, x, w, add, y, job->y_stride);
            else
                edge_product(job, w, x, depth, add, y, inside);
        }
}

static void turn(const void *panels, int64_t i)
{
    const panels_job *job = panels;
    const int64_t first_row = i / job->parts * TURN_ROWS, part = i % job->parts, cols = job->w->cols;
    const int64_t first = groups_of(job) * part / job->parts, end = groups_of(job) * (part + 1) / job->parts;
    const int64_t count = first_row + TURN_ROWS <= job->w->rows ? TURN_ROWS : job->w->rows - first_row;
    float *panel = job->room + omp_get_thread_num() * job->room_values, *rows = panel + TURN_ROWS * DEPTH;
    decode_turn(job, first_row, count, rows);
    for (int64_t c = 0; c < cols; c += DEPTH) {
        const int64_t depth = columns_at(job, c);
        az_panel_kernels_here()->pack_columns(depth, count, (az_matrix_f32){.data = rows + c, .row = 1, .column = cols}, panel);
        const packed_rows packed = {.panel = panel, .first = first_row, .count = count, .column = c};
        for (int64_t g = first; g < end; g += TOGETHER) multiply_groups(job, &packed, g, g + TOGETHER < end ? g + TOGETHER : end);
    }
}

void az_panels_matmul(az_ctx *az, const az_weight *w, const float *x, int64_t n, float *y)
{
    const int64_t most = n < MOST ? (n + VECTORS - 1) / VECTORS * VECTORS : MOST, room = TURN_ROWS * (DEPTH + w->cols);
    az_scope_push(az);
    float *packed = az_scratch(az, most * w->cols, sizeof *packed), *rooms = az_scratch(az, az_threads(az) * room, sizeof *rooms);
    for (int64_t first = 0; packed && rooms && first < n; first += MOST) {
        panels_job job = {.w = w, .x = x + first * w->cols, .n = n - first < MOST ? n - first : MOST, .y = y + first * w->rows};
        job.y_stride = w->rows, job.packed = packed, job.room = rooms, job.room_values = room;
        az_each(az_threads(az), groups_of(&job), pack_group, &job);
        const int64_t turns = (w->rows + TURN_ROWS - 1) / TURN_ROWS;
        job.parts = turns >= 2 * az_threads(az) ? 1 : (groups_of(&job) + TOGETHER - 1) / TOGETHER;
        az_each_uneven(az_threads(az), turns * job.parts, turn, &job);
    }
    az_scope_pop(az);
}
