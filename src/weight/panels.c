/* panels.c - products with many vectors of activations by packed panels (tensor/kernels/panels.h, where the vectors are the rows and the
 * rows of the weight the columns).
 *
 * The vectors are packed once; then each thread takes some rows, decodes and packs them where they stay in the second cache, and runs along
 * all vectors. Each value is the sum of what every slice of columns gives, in order, whatever the company and the threads. */
#include "base/parallel.h"
#include "tensor/kernels/panels.h"
#include "weight/weight_internal.h"

#include <omp.h>

enum {
    TURN_ROWS = 64, /* what a thread takes: whole panels */
    TOGETHER = 96,  /* vectors, whole panels, that pass by all panels of a turn before the next do */
    MOST = 1152     /* vectors that are packed at a time: whole panels */
};

typedef struct panels_job {
    const az_weight *w;
    const float *x; /* [n, cols] */
    const az_panel_kernels *kernels;
    int64_t n, y_stride;
    int64_t depth; /* columns that are packed together */
    int64_t parts; /* turns that share some rows, each with its part of the groups of vectors */
    char *packed;  /* [columns / depth] panels of all groups of vectors, the last of fewer columns */
    char *room;    /* of room_bytes for each thread: packed columns of TURN_ROWS rows, and the rows decoded */
    int64_t room_bytes;
    float *y; /* [n, y_stride] */
} panels_job;

/* Vectors that share a panel are a group. */
static int64_t groups_of(const panels_job *job)
{
    return (job->n + job->kernels->rows - 1) / job->kernels->rows;
}

static int64_t columns_at(const panels_job *job, int64_t first)
{
    return first + job->depth <= job->w->cols ? job->depth : job->w->cols - first;
}

static char *packed_group(const panels_job *job, int64_t first, int64_t group)
{
    const int64_t vectors = job->kernels->rows;
    return job->packed + az_panel_bytes(job->kernels, groups_of(job) * vectors, first) +
           az_panel_bytes(job->kernels, group * vectors, columns_at(job, first));
}

static void pack_group(const void *panels, int64_t group)
{
    const panels_job *job = panels;
    const int64_t cols = job->w->cols, vector = group * job->kernels->rows, left = job->n - vector;
    for (int64_t first = 0; first < cols; first += job->depth) {
        const az_matrix_f32 vectors = {.data = job->x + vector * cols + first, .row = cols, .column = 1};
        job->kernels->pack_rows(left < job->kernels->rows ? left : job->kernels->rows, columns_at(job, first), vectors,
                                packed_group(job, first, group));
    }
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
    const char *panels;
    int64_t first, count, column;
} packed_rows;

/* Some groups of vectors with all panels of a turn. */
static void multiply_groups(const panels_job *job, const packed_rows *rows, int64_t group, int64_t end)
{
    const az_panel_kernels *kernels = job->kernels;
    const int64_t depth = columns_at(job, rows->column);
    for (int64_t r = 0; r < rows->count; r += kernels->columns)
        for (int64_t g = group; g < end; g++) {
            const int64_t left = rows->count - r, vector = g * kernels->rows, vectors = job->n - vector;
            const char *w = rows->panels + az_panel_bytes(kernels, r, depth), *x = packed_group(job, rows->column, g);
            const az_panel_part part = {.rows = vectors < kernels->rows ? vectors : kernels->rows,
                                        .columns = left < kernels->columns ? left : kernels->columns,
                                        .add = rows->column > 0,
                                        .c = job->y + vector * job->y_stride + rows->first + r,
                                        .ldc = job->y_stride};
            az_panel_multiply(kernels, depth, x, w, &part);
        }
}

static void turn(const void *panels, int64_t i)
{
    const panels_job *job = panels;
    const int64_t first_row = i / job->parts * TURN_ROWS, part = i % job->parts, cols = job->w->cols,
                  together = TOGETHER / job->kernels->rows;
    const int64_t first = groups_of(job) * part / job->parts, end = groups_of(job) * (part + 1) / job->parts;
    const int64_t count = first_row + TURN_ROWS <= job->w->rows ? TURN_ROWS : job->w->rows - first_row;
    char *packed = job->room + omp_get_thread_num() * job->room_bytes;
    float *rows = (float *)(void *)(packed + az_panel_bytes(job->kernels, TURN_ROWS, job->depth));
    decode_turn(job, first_row, count, rows);
    az_panel_begin(job->kernels);
    for (int64_t c = 0; c < cols; c += job->depth) {
        const az_matrix_f32 columns = {.data = rows + c, .row = 1, .column = cols};
        job->kernels->pack_columns(columns_at(job, c), count, columns, packed);
        const packed_rows panel = {.panels = packed, .first = first_row, .count = count, .column = c};
        for (int64_t g = first; g < end; g += together) multiply_groups(job, &panel, g, g + together < end ? g + together : end);
    }
    az_panel_end(job->kernels);
}

/* Formats of blocks have at most 8 bits a value, and their products with fewer vectors round those to 8 bits too. */
const az_panel_kernels *az_panel_kernels_for(const az_weight *w)
{
    if (w->format->block > 1) return az_panel_kernels_here(AZ_EXACT_8_BITS);
    const bool half = w->format == &az_format_f16 || w->format == &az_format_bf16;
    return az_panel_kernels_here(half ? AZ_EXACT_16_BITS : AZ_EXACT_F32);
}

void az_panels_matmul(az_ctx *az, const az_weight *w, const float *x, int64_t n, float *y)
{
    const az_panel_kernels *kernels = az_panel_kernels_for(w);
    const int64_t together = TOGETHER / kernels->rows, most = n < MOST ? (n + kernels->rows - 1) / kernels->rows * kernels->rows : MOST;
    panels_job job = {.w = w, .kernels = kernels, .depth = az_panel_slice(kernels, w->cols), .y_stride = w->rows};
    job.room_bytes = az_panel_bytes(kernels, TURN_ROWS, job.depth) + TURN_ROWS * w->cols * (int64_t)sizeof(float);
    az_scope_push(az);
    job.packed = az_scratch(az, 1, az_panel_bytes(kernels, most, w->cols)), job.room = az_scratch(az, az_threads(az), job.room_bytes);
    for (int64_t first = 0; job.packed && job.room && first < n; first += MOST) {
        job.x = x + first * w->cols, job.n = n - first < MOST ? n - first : MOST, job.y = y + first * w->rows;
        az_each(az_threads(az), groups_of(&job), pack_group, &job);
        const int64_t turns = (w->rows + TURN_ROWS - 1) / TURN_ROWS;
        job.parts = turns >= 2 * az_threads(az) ? 1 : (groups_of(&job) + together - 1) / together;
        az_each_uneven(az_threads(az), turns * job.parts, turn, &job);
    }
    az_scope_pop(az);
}
