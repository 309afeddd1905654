/* matrix.c - matrices of data, dense or sparse: products, selections, leading singular vectors of anything that can be multiplied. */
#include "linalg/linalg_internal.h"

#include "base/parallel.h"

#include <math.h>
#include <string.h>

/* ---- making ---- */

az_matrix *az_matrix_dense(az_ctx *az, const az_tensor *x)
{
    if (!x || !az_ok(az)) return NULL;
    if (x->rank != 2) return az_fail(az, AZ_BAD_CALL, "a matrix is wanted, not the shape %s", az_shape_text(az, x));
    az_matrix *m = az_alloc(az, sizeof *m);
    const az_tensor *dense = az_contiguous(az, x->dtype == AZ_F64 ? x : az_cast(az, x, AZ_F64));
    if (!m || !dense) return NULL;
    *m = (az_matrix){.rows = x->shape[0], .columns = x->shape[1], .dense = dense};
    return m;
}

/* The same entries, line by line of the other axis. */
static bool turn_lines(az_ctx *az, int64_t lines, int64_t others, const az_sparse_lines *from, az_sparse_lines *to)
{
    const int64_t count = from->start[lines];
    int64_t *start = az_alloc_array(az, (size_t)others + 2, sizeof *start), *other = az_alloc_array(az, (size_t)count + 1, sizeof *other);
    double *value = az_alloc_array(az, (size_t)count + 1, sizeof *value);
    if (!start || !other || !value) return false;
    for (int64_t e = 0; e < count; e++) start[from->other[e] + 2]++;
    for (int64_t o = 2; o <= others; o++) start[o] += start[o - 1]; /* start[o + 1]: where line o is filled next */
    for (int64_t i = 0; i < lines; i++) {
        for (int64_t e = from->start[i]; e < from->start[i + 1]; e++) {
            const int64_t at = start[from->other[e] + 1]++;
            other[at] = i;
            value[at] = from->value[e];
        }
    }
    *to = (az_sparse_lines){start, other, value};
    return true;
}

static bool valid_lines(const az_sparse_lines *lines, int64_t rows, int64_t columns)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t e = lines->start[i]; e < lines->start[i + 1]; e++)
            if (lines->other[e] < 0 || lines->other[e] >= columns || (e > lines->start[i] && lines->other[e] <= lines->other[e - 1]))
                return false;
    return true;
}

static const void *copied(az_ctx *az, const void *from, size_t count, size_t size)
{
    void *to = az_alloc_array(az, count + 1, size);
    return to ? memcpy(to, from, count * size) : NULL;
}

az_matrix *az_matrix_sparse(az_ctx *az, int64_t rows, int64_t columns, const az_sparse_lines *by_row)
{
    if (!az_ok(az)) return NULL;
    if (!valid_lines(by_row, rows, columns))
        return az_fail(az, AZ_BAD_CALL, "sparse matrix: entries that are not in order or lie outside of %lld x %lld", (long long)rows,
                       (long long)columns);
    az_matrix *m = az_alloc(az, sizeof *m);
    const size_t count = (size_t)by_row->start[rows];
    if (!m) return NULL;
    *m = (az_matrix){.rows = rows, .columns = columns};
    m->by_row.start = copied(az, by_row->start, (size_t)rows + 1, sizeof(int64_t));
    m->by_row.other = copied(az, by_row->other, count, sizeof(int64_t));
    m->by_row.value = copied(az, by_row->value, count, sizeof(double));
    return az_ok(az) && turn_lines(az, rows, columns, &m->by_row, &m->by_column) ? m : NULL;
}

static az_matrix *sparse_rows(az_ctx *az, const az_matrix *x, const int64_t *row, int64_t count)
{
    const az_sparse_lines *from = &x->by_row;
    int64_t entries = 0, *start = az_alloc_array(az, (size_t)count + 1, sizeof *start);
    for (int64_t i = 0; i < count; i++) entries += from->start[row[i] + 1] - from->start[row[i]];
    int64_t *other = az_alloc_array(az, (size_t)entries + 1, sizeof *other);
    double *value = az_alloc_array(az, (size_t)entries + 1, sizeof *value);
    for (int64_t i = 0; start && other && value && i < count; i++) {
        const int64_t first = from->start[row[i]], n = from->start[row[i] + 1] - first;
        memcpy(other + start[i], from->other + first, (size_t)n * sizeof *other);
        memcpy(value + start[i], from->value + first, (size_t)n * sizeof *value);
        start[i + 1] = start[i] + n;
    }
    return az_ok(az) ? az_matrix_sparse(az, count, x->columns, &(az_sparse_lines){start, other, value}) : NULL;
}

az_matrix *az_matrix_rows(az_ctx *az, const az_matrix *x, const int64_t *row, int64_t count)
{
    if (!x || !az_ok(az)) return NULL;
    if (!x->dense) return sparse_rows(az, x, row, count);
    az_tensor *out = az_new2(az, AZ_F64, count, x->columns);
    for (int64_t i = 0; out && i < count; i++)
        memcpy(az_f64_mut(out) + i * x->columns, az_f64(x->dense) + row[i] * x->columns, (size_t)x->columns * sizeof(double));
    return az_matrix_dense(az, out);
}

az_matrix *az_matrix_scaled(az_ctx *az, const az_matrix *x, double factor)
{
    if (!x || !az_ok(az)) return NULL;
    if (x->dense) return az_matrix_dense(az, az_affine(az, x->dense, factor, 0));
    const int64_t count = x->by_row.start[x->rows];
    double *value = az_alloc_array(az, (size_t)count + 1, sizeof *value);
    for (int64_t e = 0; value && e < count; e++) value[e] = factor * x->by_row.value[e];
    return value ? az_matrix_sparse(az, x->rows, x->columns, &(az_sparse_lines){x->by_row.start, x->by_row.other, value}) : NULL;
}

/* ---- products ---- */

typedef struct gather {
    const az_sparse_lines *lines;
    const double *v; /* [others, k] */
    double *out;     /* [lines, k] */
    int64_t k;
} gather;

static void gather_line(const void *job, int64_t i)
{
    const gather *g = job;
    double *out = g->out + i * g->k;
    for (int64_t c = 0; c < g->k; c++) out[c] = 0;
    for (int64_t e = g->lines->start[i]; e < g->lines->start[i + 1]; e++) {
        const double *v = g->v + g->lines->other[e] * g->k, value = g->lines->value[e];
        for (int64_t c = 0; c < g->k; c++) out[c] += value * v[c];
    }
}

static az_tensor *sparse_product(az_ctx *az, const az_sparse_lines *lines, int64_t rows, const az_tensor *v)
{
    const az_tensor *right = az_contiguous(az, v);
    az_tensor *out = right ? az_new2(az, AZ_F64, rows, v->shape[1]) : NULL;
    if (!out) return NULL;
    const gather job = {lines, az_f64(right), az_f64_mut(out), v->shape[1]};
    az_each_uneven(lines->start[rows] * job.k > 100000 ? az_threads(az) : 1, rows, gather_line, &job);
    return out;
}

static bool fits(az_ctx *az, const az_matrix *x, const az_tensor *v, int64_t extent)
{
    if (!x || !v || !az_ok(az)) return false;
    if (v->rank == 2 && v->shape[0] == extent && v->dtype == AZ_F64) return true;
    return az_fail(az, AZ_BAD_CALL, "product of a matrix %lld x %lld with %s", (long long)x->rows, (long long)x->columns,
                   az_shape_text(az, v));
}

az_tensor *az_matrix_times(az_ctx *az, const az_matrix *x, const az_tensor *v)
{
    if (!fits(az, x, v, x ? x->columns : 0)) return NULL;
    return x->dense ? az_matmul(az, x->dense, v) : sparse_product(az, &x->by_row, x->rows, v);
}

az_tensor *az_matrix_transposed_times(az_ctx *az, const az_matrix *x, const az_tensor *u)
{
    if (!fits(az, x, u, x ? x->rows : 0)) return NULL;
    return x->dense ? az_matmul(az, az_transpose(az, x->dense), u) : sparse_product(az, &x->by_column, x->columns, u);
}

double az_matrix_square(const az_matrix *x)
{
    const double *value = x->dense ? az_f64(x->dense) : x->by_row.value;
    const int64_t count = x->dense ? x->rows * x->columns : x->by_row.start[x->rows];
    double sum = 0;
    for (int64_t i = 0; i < count; i++) sum += value[i] * value[i];
    return sum;
}

static az_tensor *map_times(az_ctx *az, const az_tensor *v, const void *user)
{
    return az_matrix_times(az, user, v);
}

static az_tensor *map_transposed(az_ctx *az, const az_tensor *u, const void *user)
{
    return az_matrix_transposed_times(az, user, u);
}

az_linear_map az_matrix_map(const az_matrix *x)
{
    return (az_linear_map){x->rows, x->columns, map_times, map_transposed, x};
}

/* ---- leading vectors ---- */

/* One turn: u becomes the left singular vectors of M within the range of M M^T u, image = M^T u with it; their values are found by the
 * Gram matrix of the image. Returns the sum of the first `rank` squared values. */
static double turn(az_ctx *az, const az_linear_map *map, int64_t rank, az_tensor **u, az_tensor **image)
{
    az_tensor *q = NULL, *lambda = NULL, *rotation = NULL;
    double sum = 0;
    if (!az_qr(az, map->times(az, *image, map->user), &q, NULL)) return NAN;
    const az_tensor *turned = map->transposed(az, q, map->user);
    if (!az_eigh(az, az_matmul(az, az_transpose(az, turned), turned), &lambda, &rotation)) return NAN;
    const int64_t width = az_count(lambda);
    const az_tensor *order = rotation; /* ascending: the last columns are the leading ones */
    az_tensor *descending = az_new2(az, AZ_F64, width, width);
    for (int64_t i = 0; descending && i < width * width; i++)
        az_f64_mut(descending)[i] = az_f64(order)[i / width * width + width - 1 - i % width];
    for (int64_t i = 0; i < rank; i++) sum += az_item(lambda, width - 1 - i);
    *u = az_matmul(az, q, descending);
    *image = az_matmul(az, turned, descending);
    return sum;
}

bool az_leading_vectors(az_ctx *az, const az_linear_map *map, const az_leading *how, az_tensor **u, az_tensor **image)
{
    if (!az_ok(az)) return false;
    if (how->rank < 1 || how->rank > how->width || how->width > map->rows || how->width > map->columns)
        return az_fail(az, AZ_BAD_CALL, "%lld leading vectors (block of %lld) of a %lld x %lld map", (long long)how->rank,
                       (long long)how->width, (long long)map->rows, (long long)map->columns);
    az_scope_push(az);
    const int64_t shape[] = {map->rows, how->width};
    az_tensor *result[2] = {how->start ? az_copy(az, how->start)
                                       : az_randn(az, AZ_F64, 2, shape, 1, how->seed, az_stream("leading vectors", 0))};
    result[1] = result[0] ? az_copy(az, map->transposed(az, result[0], map->user)) : NULL;
    double before = 0;
    for (int64_t i = 0; i < how->most_turns && az_ok(az); i++) {
        az_scope_push(az);
        az_tensor *turned[2] = {result[0], result[1]};
        const double sum = turn(az, map, how->rank, &turned[0], &turned[1]);
        for (int k = 0; k < 2 && az_ok(az); k++) az_copy_into(az, result[k], turned[k]);
        az_scope_pop(az);
        if (!(fabs(sum - before) > how->tolerance * sum)) break;
        before = sum;
    }
    az_keep_all(az, result, az_ok(az) ? 2 : 0);
    *u = az_ok(az) ? result[0] : NULL;
    *image = az_ok(az) ? result[1] : NULL;
    return az_ok(az);
}

double az_largest_square(az_ctx *az, const az_linear_map *map, uint64_t seed)
{
    enum { MOST = 1000 };
    double value = 0;
    az_scope_push(az);
    az_tensor *v = az_randn(az, AZ_F64, 2, (int64_t[]){map->columns, 1}, 1, seed, az_stream("power iteration", 0));
    for (int i = 0; i < MOST && v; i++) {
        const double length = sqrt(az_to_double(az_dot(az, v, v))), before = value;
        if (!(length > 0)) break;
        az_scope_push(az);
        az_tensor *unit = az_affine(az, v, 1 / length, 0);
        az_tensor *next = map->transposed(az, map->times(az, unit, map->user), map->user);
        value = az_to_double(az_dot(az, unit, next));
        v = az_keep(az, next);
        if (fabs(value - before) <= 1e-10 * value) break;
    }
    az_scope_pop(az);
    return value;
}
