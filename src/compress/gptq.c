/* gptq.c - whole numbers for the rows of a matrix, input by input, each rounding error passed on to the inputs that are still to come.
 *
 * Problem: codes on a grid for each row that minimise |(W - W') X|^2.
 * Symbols: H = X X^T + damping; U upper triangular with U^T U = H^-1.
 * Rule: e = (w_j - rounded w_j) / U_jj,  w_k -= e U_jk for k > j. Inputs in order of H_jj, the largest first.
 *
 * Frantar, Ashkboos, Hoefler, Alistarh: "GPTQ: accurate post-training quantization for generative pre-trained transformers", ICLR 2023
 * (arXiv 2210.17323). */
#include "compress/gptq.h"

#include "compress/channels.h"

#include <cblas.h>
#include <math.h>
#include <stdlib.h>

enum { ROWS = 64, BLOCK = 128 }; /* rows that a thread takes at a time; columns whose errors are gathered before they reach the rest */

/* ---- grids ---- */

typedef struct row_grid {
    float scale;
    int32_t zero, low, high; /* codes */
} row_grid;

static row_grid grid_for(const az_row_grid *how, float low, float high)
{
    const int half = 1 << (how->bits - 1);
    row_grid g = {.low = how->symmetric ? 1 - half : -half, .high = half - 1};
    if (how->symmetric) {
        g.scale = fmaxf(-low, high) / (float)(half - 1);
    } else {
        g.scale = (high - low) / (float)(2 * half - 1);
        g.zero = g.scale > 0 ? (int32_t)rintf(-low / g.scale) - half : 0;
        g.zero = g.zero < g.low ? g.low : g.zero > g.high ? g.high : g.zero;
    }
    return g;
}

static int code_of(const row_grid *g, float w)
{
    const float steps = g->scale > 0 ? rintf(w / g->scale) : 0, low = (float)(g->low - g->zero), high = (float)(g->high - g->zero);
    return g->zero + (int)(steps < low ? low : steps > high ? high : steps);
}

static double loss(const row_grid *g, const float *w, int64_t n)
{
    double sum = 0;
    for (int64_t c = 0; c < n; c++) sum += powf(fabsf(w[c] - g->scale * (float)(code_of(g, w[c]) - g->zero)), 2.4f);
    return sum;
}

static row_grid choose_grid(const az_row_grid *how, const float *w, int64_t n)
{
    float low = 0, high = 0;
    for (int64_t c = 0; c < n; c++) {
        low = fminf(low, w[c]);
        high = fmaxf(high, w[c]);
    }
    row_grid best = grid_for(how, low, high);
    double least = how->search ? loss(&best, w, n) : 0;
    for (int i = 1; how->search && i < 80; i++) {
        const float share = 1 - 0.01f * (float)i;
        const row_grid narrow = grid_for(how, share * low, share * high);
        const double lost = loss(&narrow, w, n);
        if (lost < least) least = lost, best = narrow;
    }
    return best;
}

bool az_grid_rows(az_ctx *az, const az_tensor *w, const az_row_grid *grid, az_tensor **codes, az_tensor **scales, az_tensor **zeros)
{
    if (!w) return false;
    const int64_t rows = w->shape[0], cols = w->shape[1], bad = az_first_nonfinite(w);
    if (bad >= 0)
        return az_fail(az, AZ_NUMERIC, "the weight at row %lld, column %lld is not finite", (long long)(bad / cols),
                       (long long)(bad % cols));
    *codes = az_new2(az, AZ_I8, rows, cols);
    *scales = az_new1(az, AZ_F32, rows);
    *zeros = az_new1(az, AZ_I32, rows);
    if (!*codes || !*scales || !*zeros) return false;
    int8_t *code = (*codes)->data;
    float *scale = az_f32_mut(*scales);
    int32_t *zero = (*zeros)->data;
#pragma omp parallel for schedule(static) num_threads(az_threads(az))
    for (int64_t r = 0; r < rows; r++) {
        const row_grid g = choose_grid(grid, az_f32(w) + r * cols, cols);
        scale[r] = g.scale;
        zero[r] = g.zero;
        for (int64_t c = 0; c < cols; c++) code[r * cols + c] = (int8_t)code_of(&g, az_f32(w)[r * cols + c]);
    }
    return true;
}

/* ---- order and factor ---- */

typedef struct input_size {
    double size;
    int32_t input;
} input_size;

static int larger_first(const void *a, const void *b)
{
    const input_size *x = a, *y = b;
    return x->size != y->size ? (x->size < y->size) - (x->size > y->size) : x->input - y->input;
}

static az_tensor *order_of(az_ctx *az, const az_tensor *hessian, bool by_size)
{
    const int64_t n = hessian->shape[0];
    input_size *all = az_alloc_array(az, (size_t)n, sizeof *all);
    az_tensor *order = az_new1(az, AZ_I32, n);
    if (!all || !order) return NULL;
    for (int64_t i = 0; i < n; i++) all[i] = (input_size){.size = by_size ? az_f64(hessian)[i * n + i] : 0, .input = (int32_t)i};
    qsort(all, (size_t)n, sizeof *all, larger_first);
    for (int64_t i = 0; i < n; i++) ((int32_t *)order->data)[i] = all[i].input;
    return order;
}

bool az_gptq_prepare(az_ctx *az, az_gptq_factor *factor, const az_tensor *hessian, double damp, bool by_size)
{
    const az_tensor *order = hessian ? order_of(az, hessian, by_size) : NULL;
    az_tensor *ordered = order ? az_new2(az, AZ_F64, hessian->shape[0], hessian->shape[0]) : NULL;
    if (!ordered) return false;
    const int64_t n = hessian->shape[0];
    const int32_t *at = order->data;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) az_f64_mut(ordered)[i * n + j] = az_f64(hessian)[at[i] * n + at[j]];
    const az_tensor *u = az_inverse_factor(az, ordered, damp);
    az_arena_free(az, factor->arena);
    factor->arena = az_arena_new(az);
    if (!u || !factor->arena) return false;
    az_arena_enter(az, factor->arena);
    factor->u = az_share(az, u);
    factor->order = az_share(az, order);
    az_arena_leave(az);
    return az_ok(az);
}

/* ---- rounding ---- */

/* Columns first .. first + count - 1 of the ordered matrix while they are rounded. */
typedef struct block {
    const az_row_grid *how;
    int64_t rows, cols, first, count;
    const float *given; /* [rows, cols] W, in its own order */
    float *w;           /* [rows, cols] ordered */
    const float *u, *scale;
    const int32_t *zero, *order;
    float *error; /* [rows, BLOCK] */
    int8_t *code; /* [rows, cols] in W's order */
} block;

static void round_row(const block *b, int64_t r)
{
    const int half = 1 << (b->how->bits - 1);
    const row_grid g = {.scale = b->scale[r], .zero = b->zero[r], .low = b->how->symmetric ? 1 - half : -half, .high = half - 1};
    float *w = b->w + r * b->cols + b->first, *error = b->error + r * BLOCK;
    for (int64_t j = 0; j < b->count; j++) {
        const float *u = b->u + (b->first + j) * b->cols + b->first; /* row j of the block's triangle */
        const int64_t at = r * b->cols + b->order[b->first + j];
        const int code = b->given[at] == 0 ? g.zero : code_of(&g, w[j]);
        b->code[at] = (int8_t)code;
        error[j] = (w[j] - g.scale * (float)(code - g.zero)) / u[j];
        for (int64_t k = j + 1; k < b->count; k++) w[k] -= error[j] * u[k];
    }
}

static void round_block(az_ctx *az, const block *b)
{
    const int64_t behind = b->first + b->count, left = b->cols - behind;
#pragma omp parallel for schedule(static) num_threads(az_threads(az))
    for (int64_t start = 0; start < b->rows; start += ROWS) {
        const int64_t end = start + ROWS < b->rows ? start + ROWS : b->rows;
        for (int64_t r = start; r < end; r++) round_row(b, r);
        if (left > 0)
            cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)(end - start), (int)left, (int)b->count, -1,
                        b->error + start * BLOCK, BLOCK, b->u + b->first * b->cols + behind, (int)b->cols, 1,
                        b->w + start * b->cols + behind, (int)b->cols);
    }
}

bool az_gptq_codes(az_ctx *az, const az_tensor *w, const az_gptq_factor *factor, const az_row_grid *grid, az_tensor *codes,
                   const az_tensor *scales, const az_tensor *zeros)
{
    const int64_t rows = w->shape[0], cols = w->shape[1];
    az_scope_push(az);
    az_tensor *ordered = az_new2(az, AZ_F32, rows, cols), *error = az_new2(az, AZ_F32, rows, BLOCK);
    if (ordered && error) {
        block b = {.how = grid,
                   .rows = rows,
                   .cols = cols,
                   .given = az_f32(w),
                   .w = az_f32_mut(ordered),
                   .u = az_f32(factor->u),
                   .scale = az_f32(scales),
                   .zero = zeros->data,
                   .order = factor->order->data,
                   .error = az_f32_mut(error),
                   .code = codes->data};
        for (int64_t r = 0; r < rows; r++)
            for (int64_t c = 0; c < cols; c++) b.w[r * cols + c] = b.given[r * cols + b.order[c]];
        for (; b.first < cols; b.first += BLOCK) {
            b.count = cols - b.first < BLOCK ? cols - b.first : BLOCK;
            round_block(az, &b);
        }
    }
    az_scope_pop(az);
    return az_ok(az);
}
