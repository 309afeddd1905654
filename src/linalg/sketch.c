/* sketch.c - random projections S x [m, width] of x [n, width] with E S^T S = I.
 *
 * srht     sqrt(N / m) P H D: random signs, the orthonormal Walsh-Hadamard transform of N = 2^k >= n rows, m rows of it at random
 * sign     entries +-1 / sqrt(m)          gauss    entries N(0, 1 / m)
 * count    one +-1 a column of S, in a random row
 * osnap    s entries +-1 / sqrt(s) a column, one in each of s blocks of rows */
#include "base/parallel.h"
#include "linalg/linalg_internal.h"

#include <math.h>
#include <omp.h>
#include <string.h>

const char *const az_sketch_names[] = {"srht", "sign", "gauss", "count", "osnap", NULL};

static int64_t whole_width(const az_rows *x)
{
    return x->width + (x->last != NULL);
}

/* ---- subsampled randomized Hadamard transform ---- */

enum { COLUMNS_AT_ONCE = 8 };

typedef struct srht {
    const az_sketch *sketch;
    const az_rows *x;
    int64_t width, padded; /* width: with the last column */
    double *out, *work;    /* work [threads, padded, COLUMNS_AT_ONCE] */
    const int64_t *chosen; /* [m] rows of the transform */
    const double *sign;    /* [n] */
} srht;

static void turn_columns(const void *job, int64_t chunk)
{
    const srht *p = job;
    const int64_t n = p->sketch->rows, m = p->sketch->sketched, first = chunk * COLUMNS_AT_ONCE;
    const int64_t columns = p->width - first < COLUMNS_AT_ONCE ? p->width - first : COLUMNS_AT_ONCE;
    const int64_t inner = p->x->width - first < columns ? p->x->width - first : columns; /* the last one may lie elsewhere */
    double *y = p->work + omp_get_thread_num() * p->padded * COLUMNS_AT_ONCE;
    for (int64_t i = 0; i < n; i++) {
        for (int64_t c = 0; c < inner; c++) y[i * columns + c] = p->sign[i] * p->x->x[i * p->x->stride + first + c];
        if (inner < columns) y[i * columns + inner] = p->sign[i] * p->x->last[i * p->x->last_stride];
    }
    memset(y + n * columns, 0, (size_t)((p->padded - n) * columns) * sizeof *y);
    az_walsh_hadamard(y, p->padded, columns, 1);
    const double scale = 1 / sqrt((double)m); /* sqrt(N / m) / sqrt(N) */
    for (int64_t t = 0; t < m; t++)
        for (int64_t c = 0; c < columns; c++) p->out[t * p->width + first + c] = scale * y[p->chosen[t] * columns + c];
}

static bool apply_srht(az_ctx *az, const az_sketch *sketch, const az_rows *x, double *out)
{
    const int64_t n = sketch->rows, m = sketch->sketched, width = whole_width(x), chunks = (width + COLUMNS_AT_ONCE - 1) / COLUMNS_AT_ONCE;
    int64_t padded = 1;
    while (padded < n) padded *= 2;
    az_scope_push(az);
    double *sign = az_alloc_array(az, (size_t)n, sizeof *sign);
    int64_t *chosen = az_alloc_array(az, (size_t)m, sizeof *chosen);
    const size_t room = (size_t)padded * COLUMNS_AT_ONCE;
    double *work = az_alloc_array(az, (size_t)az_threads(az) * room, sizeof *work);
    if (sign && chosen && work) {
        az_rng rng = az_rng_at(sketch->seed, az_stream("srht signs", 0));
        for (int64_t i = 0; i < n; i++) sign[i] = az_random_bits(&rng) & 1 ? 1 : -1;
        rng = az_rng_at(sketch->seed, az_stream("srht rows", 0));
        for (int64_t t = 0; t < m; t++) chosen[t] = (int64_t)az_below(&rng, (uint64_t)padded);
        const srht job = {sketch, x, width, padded, out, work, chosen, sign};
        az_each_uneven(az_threads(az), chunks, turn_columns, &job);
    }
    az_scope_pop(az);
    return az_ok(az);
}

/* ---- dense entries ---- */

enum { ROWS_AT_ONCE = 64 }; /* of the sketch, for one thread */

typedef struct dense {
    const az_sketch *sketch;
    const az_rows *x;
    int64_t first;
    double *out, *work; /* work [threads, ROWS_AT_ONCE, AZ_SKETCH_BLOCK] */
} dense;

/* Entries of S for `rows` rows of the sketch from row `top` on, and the block of rows of x that begins at `at`. */
static void draw(const az_sketch *sketch, int64_t top, int64_t at, int64_t rows, double *s)
{
    const uint64_t chunks = (uint64_t)((sketch->sketched + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE);
    const uint64_t place = (uint64_t)(at / AZ_SKETCH_BLOCK) * chunks + (uint64_t)(top / ROWS_AT_ONCE);
    az_rng rng = az_rng_at(sketch->seed, az_stream("dense sketch", place));
    const double scale = 1 / sqrt((double)sketch->sketched);
    uint32_t bits = 0;
    for (int64_t e = 0; e < rows * AZ_SKETCH_BLOCK; e++) {
        if (sketch->kind == AZ_SKETCH_GAUSS) {
            s[e] = scale * az_normal(&rng);
            continue;
        }
        if (e % 32 == 0) bits = az_random_bits(&rng);
        s[e] = bits & 1 ? scale : -scale;
        bits >>= 1;
    }
}

static void turn_rows(const void *job, int64_t chunk)
{
    const dense *p = job;
    const int64_t top = chunk * ROWS_AT_ONCE, left = p->sketch->sketched - top, rows = left < ROWS_AT_ONCE ? left : ROWS_AT_ONCE;
    const az_rows *x = p->x;
    const int width = (int)whole_width(x);
    double *s = p->work + omp_get_thread_num() * ROWS_AT_ONCE * AZ_SKETCH_BLOCK, *out = p->out + top * width;
    for (int64_t at = 0; at < x->count; at += AZ_SKETCH_BLOCK) {
        const int64_t count = x->count - at < AZ_SKETCH_BLOCK ? x->count - at : AZ_SKETCH_BLOCK;
        draw(p->sketch, top, p->first + at, rows, s);
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)rows, (int)x->width, (int)count, 1, s, AZ_SKETCH_BLOCK,
                    x->x + at * x->stride, (int)x->stride, 1, out, width);
        if (x->last)
            cblas_dgemv(CblasRowMajor, CblasNoTrans, (int)rows, (int)count, 1, s, AZ_SKETCH_BLOCK, x->last + at * x->last_stride,
                        (int)x->last_stride, 1, out + x->width, width);
    }
}

static bool add_dense(az_ctx *az, const az_sketch *sketch, const az_rows *x, int64_t first, double *out)
{
    const int64_t chunks = (sketch->sketched + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE;
    az_scope_push(az);
    double *work = az_alloc_array(az, (size_t)az_threads(az) * ROWS_AT_ONCE * AZ_SKETCH_BLOCK, sizeof *work);
    const dense job = {sketch, x, first, out, work};
    if (work) az_each_uneven(az_threads(az), chunks, turn_rows, &job);
    az_scope_pop(az);
    return az_ok(az);
}

/* ---- sparse entries ---- */

static void add_sparse(const az_sketch *sketch, const az_rows *x, int64_t first, double *out)
{
    const int64_t s = sketch->kind == AZ_SKETCH_COUNT ? 1 : sketch->per_row, block = sketch->sketched / s, width = whole_width(x);
    const double size = 1 / sqrt((double)s);
    for (int64_t i = 0; i < x->count; i++) {
        az_rng rng = az_rng_at(sketch->seed, az_stream("sparse sketch", (uint64_t)(first + i)));
        for (int64_t k = 0; k < s; k++) {
            const double sign = az_random_bits(&rng) & 1 ? size : -size;
            const int64_t rows = k == s - 1 ? sketch->sketched - k * block : block;
            double *to = out + (k * block + (int64_t)az_below(&rng, (uint64_t)rows)) * width;
            for (int64_t c = 0; c < x->width; c++) to[c] += sign * x->x[i * x->stride + c];
            if (x->last) to[x->width] += sign * x->last[i * x->last_stride];
        }
    }
}

/* ---- by kind ---- */

bool az_sketch_add(az_ctx *az, const az_sketch *sketch, const az_rows *x, int64_t first, double *out)
{
    if (!az_ok(az) || !x->x || !out) return false;
    if (sketch->kind == AZ_SKETCH_SRHT && (first != 0 || x->count != sketch->rows))
        return az_fail(az, AZ_BAD_CALL, "sketch: srht mixes all rows and wants them at once");
    if (first % AZ_SKETCH_BLOCK)
        return az_fail(az, AZ_BAD_CALL, "sketch: blocks of rows begin at multiples of %d, not at %lld", AZ_SKETCH_BLOCK, (long long)first);
    if (sketch->sketched < 1 || (sketch->kind == AZ_SKETCH_OSNAP && (sketch->per_row < 1 || sketch->per_row > sketch->sketched)))
        return az_fail(az, AZ_BAD_CALL, "sketch: %lld rows with %lld entries a column", (long long)sketch->sketched,
                       (long long)sketch->per_row);
    switch (sketch->kind) {
    case AZ_SKETCH_SRHT: return apply_srht(az, sketch, x, out);
    case AZ_SKETCH_SIGN:
    case AZ_SKETCH_GAUSS: return add_dense(az, sketch, x, first, out);
    case AZ_SKETCH_COUNT:
    case AZ_SKETCH_OSNAP: add_sparse(sketch, x, first, out);
    }
    return true;
}
