/* gemm.c - large products of f32 matrices (Goto & van de Geijn, 2008): a slab of columns is packed into panels for all threads; each then
 * packs some rows, which stay in its second cache, and passes them by one panel of columns, in the first, after the other. */
#include "tensor/gemm.h"

#include "adze/tensor.h"
#include "base/parallel.h"
#include "tensor/kernels/panels.h"

#include <omp.h>
#include <string.h>

enum {
    ROWS = AZ_PANEL_ROWS,
    COLUMNS = AZ_PANEL_COLUMNS,
    DEPTH = 320,         /* most of k that is packed together: a panel of rows and one of columns fill 28 KiB */
    SLAB_COLUMNS = 2048, /* that are packed together */
    PACK_COLUMNS = 64,   /* that a thread packs at a time */
    TURN_ROWS = 48,      /* that a thread multiplies at a time: whole panels, and whole cache lines where rows lie side by side */
    PART_COLUMNS = 256,  /* least of a turn's columns, where there are few rows to share out */
    TURNS = 8            /* for each thread, or columns are shared out as well */
};

/* Columns j .. j + n - 1 of c and the part p .. p + k - 1 of the sums. */
typedef struct slab {
    const az_gemm *whole;
    const az_panel_kernels *kernels;
    int64_t j, p, n, k;
    int64_t parts;  /* turns that share rows, each with its part of the columns */
    float *columns; /* packed: [panels, k, COLUMNS] */
    float *rows;    /* packed: [threads, TURN_ROWS, DEPTH] */
    int threads;
} slab;

/* Rows first .. first + m - 1 of c, packed. */
typedef struct block {
    int64_t first, m;
    const float *packed;
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
    s->kernels->pack_columns(s->k, up_to(PACK_COLUMNS, s->n - j), b, s->columns + j * s->k);
}

/* A tile at an edge of c is made whole beside it. */
static void edge_tile(const slab *s, const block *rows, int64_t i, int64_t j, bool add)
{
    const int64_t ldc = s->whole->ldc, m = up_to(ROWS, rows->m - i);
    const size_t bytes = (size_t)up_to(COLUMNS, s->n - j) * sizeof(float);
    float *c = s->whole->c + (rows->first + i) * ldc + s->j + j, tile[ROWS * COLUMNS] = {0};
    for (int64_t r = 0; r < m && add; r++) memcpy(tile + r * COLUMNS, c + r * ldc, bytes);
    s->kernels->product(s->k, rows->packed + i * s->k, s->columns + j * s->k, add, tile, COLUMNS);
    for (int64_t r = 0; r < m; r++) memcpy(c + r * ldc, tile + r * COLUMNS, bytes);
}

/* One panel of columns, from column j of the slab on, with all panels of rows. */
static void multiply_panel(const slab *s, const block *rows, int64_t j)
{
    const bool add = s->whole->add || s->p > 0;
    for (int64_t i = 0; i < rows->m; i += ROWS) {
        float *c = s->whole->c + (rows->first + i) * s->whole->ldc + s->j + j;
        if (i + ROWS <= rows->m && j + COLUMNS <= s->n)
            s->kernels->product(s->k, rows->packed + i * s->k, s->columns + j * s->k, add, c, s->whole->ldc);
        else
            edge_tile(s, rows, i, j, add);
    }
}

static void multiply_turn(const void *slabs, int64_t turn)
{
    const slab *s = slabs;
    const int64_t first = turn / s->parts * TURN_ROWS, part = turn % s->parts, panels = pieces(s->n, COLUMNS);
    float *room = s->rows + (s->threads > 1 ? omp_get_thread_num() : 0) * TURN_ROWS * DEPTH;
    const block rows = {.first = first, .m = up_to(TURN_ROWS, s->whole->m - first), .packed = room};
    az_matrix_f32 a = s->whole->a;
    a.data += first * a.row + s->p * a.column;
    s->kernels->pack_rows(rows.m, s->k, a, room);
    for (int64_t panel = panels * part / s->parts; panel < panels * (part + 1) / s->parts; panel++)
        multiply_panel(s, &rows, panel * COLUMNS);
}

static void run_slab(slab *s)
{
    const int64_t turns = pieces(s->whole->m, TURN_ROWS), wanted = s->threads > 1 ? TURNS * s->threads : 1;
    s->parts = turns < wanted ? up_to(pieces(s->n, PART_COLUMNS), pieces(wanted, turns)) : 1;
    az_each(s->threads, pieces(s->n, PACK_COLUMNS), pack_columns, s);
    az_each_uneven(s->threads, turns * s->parts, multiply_turn, s);
}

bool az_gemm_pays(int64_t m, int64_t n, int64_t k)
{
    return az_panel_kernels_here() && m > 1 && n > 1 && k > 0 && m * n * k > (int64_t)1 << 18;
}

/* Slices of k of nearly equal depth, a multiple of 8. */
static int64_t slice_depth(int64_t k)
{
    return pieces(pieces(k, pieces(k, DEPTH)), 8) * 8;
}

bool az_gemm_run(az_ctx *az, const az_gemm *product)
{
    const int64_t depth = slice_depth(product->k), columns = pieces(up_to(SLAB_COLUMNS, product->n), COLUMNS) * COLUMNS;
    slab s = {.whole = product, .kernels = az_panel_kernels_here(), .threads = az_threads(az)};
    az_scope_push(az);
    az_tensor *packed = az_new1(az, AZ_F32, columns * depth), *rows = az_new2(az, AZ_F32, s.threads, TURN_ROWS * DEPTH);
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
