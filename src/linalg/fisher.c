/* fisher.c - products with the inverse of the empirical Fisher matrix of m gradients.
 *
 * F = damp I + G^T G / m for G [m, d]. With K = m damp I + G G^T (Woodbury):
 *     F^-1 x = (x - G^T K^-1 G x) / damp          [F^-1]_jj = (1 - |R^-1 g_j|^2) / damp,  K = R R^T, g_j the j-th column of G.
 * R is the Cholesky form of the paper's recurrence: its v_i / sqrt(q_i) are the rows of R^-1 G, up to a factor. A block of at most m
 * entries is cheaper as it is: F is formed and factored itself. Everything but G is double: with damp = 1e-5 the differences above lose
 * more digits than a float has.
 *
 * Frantar, Kurtic, Alistarh: "M-FAC: efficient matrix-free approximations of second-order information", NeurIPS 2021
 * (arXiv 2107.03356), section 3. */
#include "linalg/linalg_internal.h"
#include "tensor/half.h"

#include <math.h>
#include <omp.h>
#include <string.h>

/* Columns that are converted to double at a time, and rows of a Gram matrix that one thread computes at a time: the result depends on
 * neither. */
enum { CHUNK = 1024, TILE = 64 };

struct az_fisher {
    const az_tensor *gradients; /* [m, d] contiguous */
    int64_t m, d, block, blocks;
    double damp;
    int threads;
    int64_t order;  /* of the largest factor */
    double *factor; /* [blocks, order^2], or NULL: made when needed */
};

typedef struct fisher_block {
    int64_t first, n; /* entries */
    bool direct;      /* F itself is factored (n <= m), not K */
} fisher_block;

/* What a thread needs to work on a block. */
typedef struct workspace {
    double *chunk;  /* [m, CHUNK] columns of G; [n, m] of a direct block */
    double *factor; /* [order^2] */
    double *small;  /* [m] */
} workspace;

static fisher_block block_at(const az_fisher *f, int64_t b)
{
    const int64_t first = b * f->block, n = f->d - first < f->block ? f->d - first : f->block;
    return (fisher_block){.first = first, .n = n, .direct = n <= f->m};
}

static int64_t order_of(const az_fisher *f, const fisher_block *b)
{
    return b->direct ? b->n : f->m;
}

/* Columns first .. first + n - 1 of G as doubles, [m, n]. */
static void load_columns(const az_fisher *f, int64_t first, int64_t n, double *out)
{
    const az_tensor *g = f->gradients;
#pragma omp parallel for schedule(static) num_threads(f->threads)
    for (int64_t i = 0; i < f->m; i++) {
        const int64_t at = i * f->d + first;
        double *row = out + i * n;
        switch (g->dtype) {
        case AZ_F64: memcpy(row, (const double *)g->data + at, (size_t)n * sizeof *row); break;
        case AZ_F32:
            for (int64_t j = 0; j < n; j++) row[j] = ((const float *)g->data)[at + j];
            break;
        case AZ_F16:
            for (int64_t j = 0; j < n; j++) row[j] = az_f16_widen(((const uint16_t *)g->data)[at + j]);
            break;
        default:
            for (int64_t j = 0; j < n; j++) row[j] = az_bf16_widen(((const uint16_t *)g->data)[at + j]);
        }
    }
}

/* gram [m, m] (lower triangle) += X X^T for X [m, n] */
static void add_gram(const az_fisher *f, int64_t n, const double *x, double *gram)
{
    const int64_t m = f->m;
#pragma omp parallel for schedule(dynamic) num_threads(f->threads)
    for (int64_t first = 0; first < m; first += TILE) {
        const int64_t rows = m - first < TILE ? m - first : TILE;
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)rows, (int)(first + rows), (int)n, 1, x + first * n, (int)n, x, (int)n, 1,
                    gram + first * m, (int)m);
    }
}

/* The matrix that is factored: F of a direct block, K otherwise; lower triangle. */
static void form(const az_fisher *f, const fisher_block *b, double *chunk, double *a)
{
    const int64_t order = order_of(f, b);
    memset(a, 0, (size_t)(order * order) * sizeof *a);
    if (b->direct) {
        load_columns(f, b->first, b->n, chunk);
        cblas_dsyrk(CblasRowMajor, CblasLower, CblasTrans, (int)b->n, (int)f->m, f->m ? 1.0 / (double)f->m : 0, chunk, (int)b->n, 0, a,
                    (int)b->n);
    } else {
        for (int64_t at = 0; at < b->n; at += CHUNK) {
            const int64_t n = b->n - at < CHUNK ? b->n - at : CHUNK;
            load_columns(f, b->first + at, n, chunk);
            add_gram(f, n, chunk, a);
        }
    }
    const double shift = b->direct ? f->damp : f->damp * (double)f->m;
    for (int64_t i = 0; i < order; i++) a[i * order + i] += shift;
}

/* The lower Cholesky factor of a block, into `a`. The matrix is positive definite by at least the shift; false when rounding hides that. */
static bool factor(const az_fisher *f, const fisher_block *b, double *chunk, double *a)
{
    const lapack_int order = (lapack_int)order_of(f, b);
    if (order == 0) return true;
    form(f, b, chunk, a);
    return LAPACKE_dpotrf(LAPACK_ROW_MAJOR, 'L', order, a, order) == 0;
}

/* The block's factor: the kept one, or made in the workspace; NULL when it cannot be. */
static const double *factor_of(const az_fisher *f, int64_t index, const fisher_block *b, const workspace *work)
{
    if (f->factor) return f->factor + index * f->order * f->order;
    return factor(f, b, work->chunk, work->factor) ? work->factor : NULL;
}

/* y = F^-1 x on a block; x and y are whole vectors [d]. */
static void solve_block(const az_fisher *f, const fisher_block *b, const double *r, const workspace *work, const double *x, double *y)
{
    const int order = (int)order_of(f, b);
    if (b->direct) {
        memcpy(y + b->first, x + b->first, (size_t)b->n * sizeof *y);
        LAPACKE_dpotrs(LAPACK_ROW_MAJOR, 'L', order, 1, r, order, y + b->first, 1);
        return;
    }
    memset(work->small, 0, (size_t)f->m * sizeof *work->small);
    for (int pass = 0; pass < 2; pass++) { /* K^-1 G x, then x - G^T of it */
        for (int64_t at = 0; at < b->n; at += CHUNK) {
            const int64_t n = b->n - at < CHUNK ? b->n - at : CHUNK, first = b->first + at;
            load_columns(f, first, n, work->chunk);
            if (pass == 0) {
                cblas_dgemv(CblasRowMajor, CblasNoTrans, order, (int)n, 1, work->chunk, (int)n, x + first, 1, 1, work->small, 1);
            } else {
                for (int64_t j = first; j < first + n; j++) y[j] = x[j] / f->damp;
                cblas_dgemv(CblasRowMajor, CblasTrans, order, (int)n, -1 / f->damp, work->chunk, (int)n, work->small, 1, 1, y + first, 1);
            }
        }
        if (pass == 0 && order > 0) LAPACKE_dpotrs(LAPACK_ROW_MAJOR, 'L', order, 1, r, order, work->small, 1);
    }
}

/* Entries of the diagonal of F^-1. Rounding may eat one that is tiny beside 1/damp: it stays positive. */
static void diagonal_block(const az_fisher *f, const fisher_block *b, const double *r, const workspace *work, double *out)
{
    const int order = (int)order_of(f, b);
    for (int64_t at = 0; at < b->n; at += CHUNK) {
        const int64_t n = b->n - at < CHUNK ? b->n - at : CHUNK;
        double *w = work->chunk; /* R^-1 times columns of G, or of the identity */
        if (b->direct) {
            memset(w, 0, (size_t)(b->n * n) * sizeof *w);
            for (int64_t j = 0; j < n; j++) w[(at + j) * n + j] = 1;
        } else {
            load_columns(f, b->first + at, n, w);
        }
        if (order > 0) cblas_dtrsm(CblasRowMajor, CblasLeft, CblasLower, CblasNoTrans, CblasNonUnit, order, (int)n, 1, r, order, w, (int)n);
        for (int64_t j = 0; j < n; j++) {
            double square = 0;
            for (int64_t i = 0; i < order; i++) square += w[i * n + j] * w[i * n + j];
            out[b->first + at + j] = b->direct ? square : fmax(1 - square, 1e-15) / f->damp;
        }
    }
}

/* A workspace for each thread. */
static workspace *make_workspaces(az_ctx *az, const az_fisher *f)
{
    const int threads = az_threads(az);
    const int64_t widest = f->block < CHUNK ? f->block : CHUNK;
    const size_t chunk = (size_t)(f->order > f->m ? f->order : f->m) * (size_t)widest;
    workspace *work = az_alloc_array(az, (size_t)threads, sizeof *work);
    for (int t = 0; work && t < threads; t++) {
        if (f->blocks <= t) return work;
        work[t] = (workspace){
            .chunk = az_alloc_array(az, chunk, sizeof(double)),
            .factor = f->factor ? NULL : az_alloc_array(az, (size_t)(f->order * f->order), sizeof(double)),
            .small = az_alloc_array(az, (size_t)f->m, sizeof(double)),
        };
    }
    return az_ok(az) ? work : NULL;
}

/* Runs over all blocks, threads side by side (or, with one block, inside it): solves for x into y, or without x puts the diagonal into y;
 * without y only keeps the factors. */
static bool run_blocks(az_ctx *az, const az_fisher *f, const double *x, double *y)
{
    az_scope_push(az);
    const workspace *work = make_workspaces(az, f);
    int64_t failed = 0;
    if (work) {
#pragma omp parallel for schedule(static) reduction(+ : failed) num_threads(az_threads(az)) if (f->blocks > 1)
        for (int64_t i = 0; i < f->blocks; i++) {
            const fisher_block b = block_at(f, i);
            const workspace *mine = &work[omp_get_thread_num()];
            const double *r = y ? factor_of(f, i, &b, mine) : NULL;
            if (!y)
                failed += !factor(f, &b, mine->chunk, f->factor + i * f->order * f->order);
            else if (!r)
                failed++;
            else if (x)
                solve_block(f, &b, r, mine, x, y);
            else
                diagonal_block(f, &b, r, mine, y);
        }
    }
    az_scope_pop(az);
    if (failed) az_fail(az, AZ_NUMERIC, "fisher: damp = %g is lost beside gradients of this size; use a larger one", f->damp);
    return az_ok(az);
}

static bool check_gradients(az_ctx *az, const az_tensor *g, double damp)
{
    if (!g) return false;
    const bool type = g->dtype == AZ_F32 || g->dtype == AZ_F64 || g->dtype == AZ_F16 || g->dtype == AZ_BF16;
    if (!type || g->rank != 2 || !az_is_contiguous(g))
        return az_fail(az, AZ_BAD_CALL, "fisher: gradients are a contiguous real matrix [m, d], not %s %s", az_dtype_name(g->dtype),
                       az_shape_text(az, g));
    if (!(damp > 0 && isfinite(damp))) return az_fail(az, AZ_BAD_INPUT, "fisher: damp is %g, not above 0", damp);
    const int64_t bad = az_first_nonfinite(g);
    if (bad >= 0)
        return az_fail(az, AZ_NUMERIC, "fisher: gradient %lld is not finite at entry %lld", (long long)(bad / g->shape[1]),
                       (long long)(bad % g->shape[1]));
    return true;
}

az_fisher *az_fisher_new(az_ctx *az, const az_tensor *gradients, double damp, int64_t block)
{
    if (!check_gradients(az, gradients, damp)) return NULL;
    az_fisher *f = az_alloc(az, sizeof *f);
    if (!f) return NULL;
    const int64_t m = gradients->shape[0], d = gradients->shape[1];
    *f = (az_fisher){.gradients = az_share(az, gradients),
                     .m = m,
                     .d = d,
                     .damp = damp,
                     .block = block > 0 && block < d ? block : d,
                     .threads = az_threads(az)};
    if (d == 0) return f;
    f->blocks = (d + f->block - 1) / f->block;
    f->order = f->block < m ? f->block : m;
    if (f->order * f->order * f->blocks * 8 > m * d * (int64_t)az_dtype_size(gradients->dtype) && f->blocks > 1) return f;
    f->factor = az_alloc_array(az, (size_t)(f->blocks * f->order * f->order), sizeof *f->factor);
    return f->factor && run_blocks(az, f, NULL, NULL) ? f : NULL;
}

static bool check_vector(az_ctx *az, const az_fisher *f, const az_tensor *x)
{
    if (!f || !x) return false;
    if (x->rank == 1 && x->shape[0] == f->d && (x->dtype == AZ_F32 || x->dtype == AZ_F64)) return true;
    return az_fail(az, AZ_BAD_CALL, "fisher: a vector %s %s for gradients of %lld entries", az_dtype_name(x->dtype), az_shape_text(az, x),
                   (long long)f->d);
}

/* y += G^T G x / m on a block */
static void multiply_block(const az_fisher *f, const fisher_block *b, double *chunk, double *small, const double *x, double *y)
{
    const int m = (int)f->m;
    memset(small, 0, (size_t)m * sizeof *small);
    for (int pass = 0; pass < 2; pass++) { /* G x, then G^T of it */
        for (int64_t at = 0; at < b->n; at += CHUNK) {
            const int64_t first = b->first + at, n = b->n - at < CHUNK ? b->n - at : CHUNK;
            load_columns(f, first, n, chunk);
            if (pass == 0)
                cblas_dgemv(CblasRowMajor, CblasNoTrans, m, (int)n, 1, chunk, (int)n, x + first, 1, 1, small, 1);
            else
                cblas_dgemv(CblasRowMajor, CblasTrans, m, (int)n, 1.0 / m, chunk, (int)n, small, 1, 1, y + first, 1);
        }
    }
}

az_tensor *az_fisher_multiply(az_ctx *az, const az_fisher *f, const az_tensor *x)
{
    if (!check_vector(az, f, x)) return NULL;
    az_scope_push(az);
    const az_tensor *wide = az_contiguous(az, az_cast(az, az_detach(az, x), AZ_F64));
    az_tensor *y = az_affine(az, wide, f->damp, 0);
    double *chunk = az_alloc_array(az, (size_t)(f->m * CHUNK), sizeof *chunk), *small = az_alloc_array(az, (size_t)f->m, sizeof *small);
    for (int64_t i = 0; y && chunk && small && f->m > 0 && i < f->blocks; i++) {
        const fisher_block b = block_at(f, i);
        multiply_block(f, &b, chunk, small, az_f64(wide), az_f64_mut(y));
    }
    return az_keep(az, y && chunk && small ? az_cast(az, y, x->dtype) : NULL);
}

az_tensor *az_fisher_gradients(az_ctx *az, int64_t m, int64_t d, az_dtype dtype, const char *scratch)
{
    const int64_t shape[] = {m, d};
    const double bytes = (double)m * (double)d * (double)az_dtype_size(dtype);
    az_tensor *g = NULL;
    if (scratch && *scratch) {
        az_buffer *buffer = az_buffer_scratch(az, scratch, (size_t)bytes);
        g = buffer ? az_wrap(az, dtype, 2, shape, buffer->data, buffer) : NULL;
        if (buffer) az_buffer_drop(buffer);
    } else {
        g = az_tensor_new(az, dtype, 2, shape);
    }
    if (!g)
        az_fail_context(az, "%lld gradients of %lld weights are %.2f GiB: fewer grads, storage=bf16 or scratch=FOLDER need less memory",
                        (long long)m, (long long)d, bytes / (1 << 30));
    return g;
}

az_tensor *az_fisher_solve(az_ctx *az, const az_fisher *f, const az_tensor *x)
{
    if (!check_vector(az, f, x)) return NULL;
    az_scope_push(az);
    const az_tensor *wide = az_contiguous(az, az_cast(az, az_detach(az, x), AZ_F64));
    az_tensor *y = az_new1(az, AZ_F64, f->d);
    const bool good = wide && y && run_blocks(az, f, az_f64(wide), az_f64_mut(y));
    return az_keep(az, good ? az_cast(az, y, x->dtype) : NULL);
}

az_tensor *az_fisher_inverse_diagonal(az_ctx *az, const az_fisher *f)
{
    if (!f) return NULL;
    az_tensor *y = az_new1(az, AZ_F64, f->d);
    return y && run_blocks(az, f, NULL, az_f64_mut(y)) ? y : NULL;
}
