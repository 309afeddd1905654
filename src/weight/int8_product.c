/* int8_product.c - y = x W^T of bytes: whole numbers exactly, then scales, then what the outlier columns add. */
#include "weight/int8.h"

#include "tensor/half.h"
#include "weight/kernels/int8.h"

#include <math.h>
#include <omp.h>

enum { ROWS = 64, VECTORS = 16 }; /* of a piece of work */

typedef struct product {
    const az_int8_rows *w;
    const az_int8_vectors *x;
    const int64_t *listed; /* [outliers] where an outlier column stands among the listed ones, -1 = nowhere */
    const int8_t *kept;    /* [cols] 0 for outlier columns, 1 for the others: only with offsets */
    float *y;
} product;

/* The weights of the outlier columns in rows first .. first + count - 1, [outliers, count]: as f16 where they are listed, else from the
 * bytes. */
static void outlier_weights(const product *p, int64_t first, int64_t count, float *out)
{
    const az_int8_rows *w = p->w;
    for (int64_t i = 0; i < p->x->outliers; i++) {
        const int64_t at = p->listed[i];
        for (int64_t r = first; r < first + count; r++) {
            const double code = w->code[r * w->cols + p->x->outlier[i]];
            *out++ = at >= 0 ? az_f16_widen(w->value[at * w->rows + r]) : (float)(w->scale[r] / 127.0 * (code + w->offset));
        }
    }
}

/* Adds what zero points contribute to sums of products of bytes. */
static double with_offsets(const product *p, int32_t sum, int32_t row_total, int64_t j)
{
    const double wo = p->w->offset, xo = p->x->offset;
    return sum + xo * row_total + wo * (double)p->x->total[j] + (double)(p->w->cols - p->x->outliers) * xo * wo;
}

/* Rows first .. first + count - 1 with vectors j .. j + n - 1. */
static void product_piece(const product *p, int64_t first, int64_t count, int64_t j, int64_t n, const float *outlier)
{
    const az_int8_rows *w = p->w;
    const az_int8_vectors *x = p->x;
    int32_t sum[ROWS * VECTORS], row_total[ROWS] = {0};
    az_int8_kernel *kernel = az_int8_here();
    kernel(w->code + first * w->cols, count, x->q + j * x->cols, n, x->cols, sum);
    if (p->kept) kernel(w->code + first * w->cols, count, p->kept, 1, x->cols, row_total);
    for (int64_t k = 0; k < n; k++) {
        float *restrict y = p->y + (j + k) * w->rows + first;
        for (int64_t r = 0; r < count; r++) {
            const float scale = (x->scale[j + k] / 127) * (w->scale[first + r] / 127);
            const int32_t bytes = sum[k * count + r];
            y[r] = p->kept ? (float)(scale * with_offsets(p, bytes, row_total[r], j + k)) : scale * (float)bytes;
        }
        const float *value = x->value + (j + k) * x->outliers;
        for (int64_t i = 0; i < x->outliers; i++)
            for (int64_t r = 0; r < count; r++) y[r] += value[i] * outlier[i * count + r];
    }
}

/* Where each outlier column stands among the listed ones: both ascend. */
static const int64_t *match_listed(az_ctx *az, const az_int8_rows *w, const az_int8_vectors *x)
{
    int64_t *at = az_alloc_array(az, (size_t)x->outliers + 1, sizeof *at);
    for (int64_t i = 0, k = 0; at && i < x->outliers; i++) {
        while (k < w->listed && w->column[k] < x->outlier[i]) k++;
        at[i] = k < w->listed && w->column[k] == x->outlier[i] ? k : -1;
    }
    return at;
}

static const int8_t *kept_columns(az_ctx *az, const az_int8_vectors *x)
{
    int8_t *kept = az_alloc(az, (size_t)x->cols);
    for (int64_t c = 0; kept && c < x->cols; c++) kept[c] = 1;
    for (int64_t i = 0; kept && i < x->outliers; i++) kept[x->outlier[i]] = 0;
    return kept;
}

void az_int8_multiply(az_ctx *az, const az_int8_rows *w, const az_int8_vectors *x, float *y)
{
    const bool offsets = w->offset != 0 || x->offset != 0;
    const int threads = az_threads(az);
    const product p = {.w = w, .x = x, .listed = match_listed(az, w, x), .kept = offsets ? kept_columns(az, x) : NULL, .y = y};
    const int64_t room = ROWS * (x->outliers + 1);
    float *rooms = az_alloc_array(az, (size_t)(threads * room), sizeof *rooms);
    if (!p.listed || !rooms || (offsets && !p.kept)) return;
#pragma omp parallel for schedule(guided) num_threads(threads)
    for (int64_t first = 0; first < w->rows; first += ROWS) {
        float *outlier = rooms + omp_get_thread_num() * room;
        const int64_t count = first + ROWS <= w->rows ? ROWS : w->rows - first;
        outlier_weights(&p, first, count, outlier);
        for (int64_t j = 0; j < x->n; j += VECTORS) product_piece(&p, first, count, j, x->n - j < VECTORS ? x->n - j : VECTORS, outlier);
    }
}
