/* gemm.c - large products of f32 matrices (Goto & van de Geijn, 2008): a slab of columns is packed into panels for all threads; each then
 * packs some rows, which stay in its second cache, and passes them by one panel of columns, in the first, after the other. */
#include "tensor/gemm.h"

#include "adze/tensor.h"
#include "base/parallel.h"
#include "tensor/kernels/panels.h"

#include <omp.h>

enum {
    SLAB_COLUMNS = 2048, /* that are packed together */
    PACK_COLUMNS = 64,   /* that a thread packs at a time: whole panels */
    PART_COLUMNS = 256,  /* least of a turn's columns, where there are few rows to share out */
    TURNS = 8            /* for each thread, or columns are shared out as well */
};

/* Columns j .. j + n - 1 of c and the part p .. p + k - 1 of the sums. */
typedef struct slab {
    const az_gemm *whole;
    const az_panel_kernels *kernels;
    int64_t j, p, n, k;
    int64_t parts;        /* turns that share rows, each with its part of the columns */
    char *columns, *rows; /* packed; rows of each thread */
    int64_t rows_bytes;   /* of a thread's */
    int threads;
} slab;

/* Rows first .. first + m - 1 of c, packed. */
typedef struct block {
    int64_t first, m;
    const char *packed;
} block;

static int64_t pieces(int64_t n, int64_t size)
{
    return (n + size - 1) / size;
}

static int64_t up_to(int64_t most, int64_t left)
{
    return left < most ? left : most;
}

static void pack_columns(const void *slabs, int64_t turn)
{
    const slab *s = slabs;
    const int64_t j = turn * PACK_COLUMNS;
    az_matrix_f32 b = s->whole->b;
    b.data += s->p * b.row + (s->j + j) * b.column;
    s->kernels->pack_columns(s->k, up_to(PACK_COLUMNS, s->n - j), b, s->columns + az_panel_bytes(s->kernels, j, s->k));
}

/* One tile of c, from row i of `rows` and column j of the slab on. */
static void multiply_tile(const slab *s, const block *rows, int64_t i, int64_t j)
{
    const az_panel_kernels *kernels = s->kernels;
    const int64_t ldc = s->whole->ldc;
    const az_panel_part part = {.rows = up_to(kernels->rows, rows->m - i),
                                .columns = up_to(kernels->columns, s->n - j),
                                .add = s->whole->add || s->p > 0,
                                .c = s->whole->c + (rows->first + i) * ldc + s->j + j,
                                .ldc = ldc};
    az_panel_multiply(kernels, s->k, rows->packed + az_panel_bytes(kernels, i, s->k), s->columns + az_panel_bytes(kernels, j, s->k), &part);
}

static void multiply_turn(const void *slabs, int64_t turn)
{
    const slab *s = slabs;
    const int64_t first = turn / s->parts * s->kernels->turn, part = turn % s->parts, panels = pieces(s->n, s->kernels->columns);
    char *room = s->rows + (s->threads > 1 ? omp_get_thread_num() : 0) * s->rows_bytes;
    const block rows = {.first = first, .m = up_to(s->kernels->turn, s->whole->m - first), .packed = room};
    az_matrix_f32 a = s->whole->a;
    a.data += first * a.row + s->p * a.column;
    s->kernels->pack_rows(rows.m, s->k, a, room);
    az_panel_begin(s->kernels);
    for (int64_t panel = panels * part / s->parts; panel < panels * (part + 1) / s->parts; panel++)
        for (int64_t i = 0; i < rows.m; i += s->kernels->rows) multiply_tile(s, &rows, i, panel * s->kernels->columns);
    az_panel_end(s->kernels);
}

static void run_slab(slab *s)
{
    const int64_t turns = pieces(s->whole->m, s->kernels->turn), wanted = s->threads > 1 ? TURNS * s->threads : 1;
    s->parts = turns < wanted ? up_to(pieces(s->n, PART_COLUMNS), pieces(wanted, turns)) : 1;
    az_each(s->threads, pieces(s->n, PACK_COLUMNS), pack_columns, s);
    az_each_uneven(s->threads, turns * s->parts, multiply_turn, s);
}

bool az_gemm_pays(int64_t m, int64_t n, int64_t k)
{
    return az_panel_kernels_here(AZ_EXACT_F32) && m > 1 && n > 1 && k > 0 && m * n * k > (int64_t)1 << 18;
}

bool az_gemm_run(az_ctx *az, const az_gemm *product)
{
    slab s = {.whole = product, .kernels = az_panel_kernels_here(AZ_EXACT_F32), .threads = az_threads(az)};
    const int64_t depth = az_panel_slice(s.kernels, product->k);
    const int64_t columns = pieces(up_to(SLAB_COLUMNS, product->n), s.kernels->columns) * s.kernels->columns;
    s.rows_bytes = az_panel_bytes(s.kernels, s.kernels->turn, depth);
    az_scope_push(az);
    az_tensor *packed = az_new1(az, AZ_U8, az_panel_bytes(s.kernels, columns, depth)), *rows = az_new2(az, AZ_U8, s.threads, s.rows_bytes);
    const bool ready = packed && rows;
    if (ready) s.columns = packed->data, s.rows = rows->data;
    for (s.j = 0; ready && s.j < product->n; s.j += SLAB_COLUMNS)
        for (s.p = 0; s.p < product->k; s.p += depth) {
            s.n = up_to(SLAB_COLUMNS, product->n - s.j);
            s.k = up_to(depth, product->k - s.p);
            run_slab(&s);
        }
    az_scope_pop(az);
    return ready;
}
