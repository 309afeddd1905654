/* entries.c - the known entries of a matrix, by rows and by columns; parts of them; their leading singular vectors. */
#include "estimate/completion.h"

#include "adze/linalg.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct entry {
    int64_t row, column;
    double value;
} entry;

static int by_place(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    if (x->row != y->row) return x->row < y->row ? -1 : 1;
    return (x->column > y->column) - (x->column < y->column);
}

/* Drops repetitions from a sorted list; returns how many entries are left, -1 with an error where two disagree. */
static int64_t merge(az_ctx *az, entry *list, int64_t count)
{
    int64_t kept = 0;
    for (int64_t e = 0; e < count; e++) {
        const bool again = kept > 0 && by_place(&list[kept - 1], &list[e]) == 0;
        if (again && list[kept - 1].value != list[e].value) {
            az_fail(az, AZ_BAD_INPUT, "the entry at row %lld, column %lld is given twice, as %g and as %g: keep one of them",
                    (long long)list[e].row, (long long)list[e].column, list[kept - 1].value, list[e].value);
            return -1;
        }
        if (!again) list[kept++] = list[e];
    }
    return kept;
}

/* Lines of one orientation from entries in row order: a counting sort, so that positions along a line ascend. */
static bool sort_lines(az_ctx *az, const entry *list, int64_t count, int64_t lines, int64_t others, bool by_column, az_lines *out)
{
    int64_t *start = az_alloc_array(az, (size_t)lines + 1, sizeof *start), *other = az_alloc_array(az, (size_t)count, sizeof *other);
    double *value = az_alloc_array(az, (size_t)count, sizeof *value);
    int64_t *next = az_alloc_array(az, (size_t)lines + 1, sizeof *next);
    if (!start || !other || !value || !next) return false;
    for (int64_t e = 0; e < count; e++) start[(by_column ? list[e].column : list[e].row) + 1]++;
    for (int64_t i = 0; i < lines; i++) start[i + 1] += start[i];
    memcpy(next, start, ((size_t)lines + 1) * sizeof *next);
    for (int64_t e = 0; e < count; e++) {
        const int64_t at = next[by_column ? list[e].column : list[e].row]++;
        other[at] = by_column ? list[e].row : list[e].column;
        value[at] = list[e].value;
    }
    *out = (az_lines){.lines = lines, .others = others, .start = start, .other = other, .value = value};
    return true;
}

static az_entries *from_sorted(az_ctx *az, const entry *list, int64_t count, int64_t m, int64_t n)
{
    az_entries *entries = az_alloc(az, sizeof *entries);
    if (!entries) return NULL;
    entries->count = count;
    const bool done =
        sort_lines(az, list, count, m, n, false, &entries->rows) && sort_lines(az, list, count, n, m, true, &entries->columns);
    return done ? entries : NULL;
}

az_entries *az_entries_new(az_ctx *az, int64_t m, int64_t n, int64_t count, const int64_t *row, const int64_t *column, const double *value)
{
    if (!row || !column || !value) return NULL;
    entry *list = az_alloc_array(az, (size_t)count, sizeof *list);
    for (int64_t e = 0; list && e < count; e++) {
        if (row[e] < 0 || row[e] >= m || column[e] < 0 || column[e] >= n)
            return az_fail(az, AZ_BAD_INPUT, "entry %lld is at row %lld, column %lld, outside of a %lld x %lld matrix (counted from 0)",
                           (long long)e + 1, (long long)row[e], (long long)column[e], (long long)m, (long long)n);
        if (!isfinite(value[e])) return az_fail(az, AZ_BAD_INPUT, "entry %lld is not a finite number", (long long)e + 1);
        list[e] = (entry){row[e], column[e], value[e]};
    }
    if (!list) return NULL;
    qsort(list, (size_t)count, sizeof *list, by_place);
    const int64_t kept = merge(az, list, count);
    return kept < 0 ? NULL : from_sorted(az, list, kept, m, n);
}

/* The entries whose part, by their own random number, is this one. bound: ascending ends of the parts' shares of [0, 1). */
static az_entries *pick(az_ctx *az, const az_entries *all, double low, double high, uint64_t seed)
{
    entry *list = az_alloc_array(az, (size_t)all->count, sizeof *list);
    int64_t kept = 0;
    for (int64_t i = 0; list && i < all->rows.lines; i++) {
        for (int64_t e = all->rows.start[i]; e < all->rows.start[i + 1]; e++) {
            az_rng rng = az_rng_at(seed, az_stream("part of entries", (uint64_t)(i * all->rows.others + all->rows.other[e])));
            const double u = az_uniform(&rng);
            if (u >= low && u < high) list[kept++] = (entry){i, all->rows.other[e], all->rows.value[e]};
        }
    }
    return list ? from_sorted(az, list, kept, all->rows.lines, all->columns.lines) : NULL;
}

bool az_entries_split(az_ctx *az, const az_entries *all, int parts, uint64_t seed, az_entries **part)
{
    for (int i = 0; all && i < parts; i++) {
        part[i] = pick(az, all, (double)i / parts, (double)(i + 1) / parts, seed);
        if (!part[i]) return false;
    }
    return all != NULL;
}

bool az_entries_hold_out(az_ctx *az, const az_entries *all, double share, uint64_t seed, az_entries **kept, az_entries **held)
{
    if (!all) return false;
    *kept = pick(az, all, share, 1, seed);
    *held = pick(az, all, 0, share, seed);
    return *kept && *held;
}

/* ---- leading singular vectors ---- */

static az_matrix as_matrix(const az_entries *e)
{
    return (az_matrix){.rows = e->rows.lines,
                       .columns = e->columns.lines,
                       .by_row = {e->rows.start, e->rows.other, e->rows.value},
                       .by_column = {e->columns.start, e->columns.other, e->columns.value}};
}

/* Columns to unit length, those of zeros left alone; their lengths. */
static az_tensor *normalize(az_ctx *az, az_tensor *x)
{
    const int64_t rows = x ? x->shape[0] : 0, n = x ? x->shape[1] : 0;
    az_tensor *length = x ? az_new1(az, AZ_F64, n) : NULL;
    for (int64_t j = 0; length && j < n; j++) {
        double square = 0;
        for (int64_t i = 0; i < rows; i++) square += az_f64(x)[i * n + j] * az_f64(x)[i * n + j];
        az_f64_mut(length)[j] = sqrt(square);
        for (int64_t i = 0; square > 0 && i < rows; i++) az_f64_mut(x)[i * n + j] /= sqrt(square);
    }
    return length;
}

bool az_entries_check_rank(az_ctx *az, const az_entries *entries, int64_t rank)
{
    const int64_t m = entries->rows.lines, n = entries->columns.lines;
    if (rank >= 1 && rank <= m && rank <= n) return true;
    return az_fail(az, AZ_BAD_INPUT, "a %lld x %lld matrix has no approximation of rank %lld", (long long)m, (long long)n, (long long)rank);
}

bool az_entries_svd(az_ctx *az, const az_entries *entries, int64_t rank, uint64_t seed, az_tensor **u, az_tensor **s, az_tensor **v)
{
    enum { EXTRA = 10, MOST_TURNS = 200 };
    const az_matrix matrix = as_matrix(entries);
    const az_linear_map map = az_matrix_map(&matrix);
    const int64_t least = map.rows < map.columns ? map.rows : map.columns, width = rank + EXTRA < least ? rank + EXTRA : least;
    const az_leading how = {.rank = rank, .width = width, .most_turns = MOST_TURNS, .tolerance = 1e-13, .seed = seed};
    az_tensor *left, *image, *result[3] = {0}; /* image = V S */
    if (!az_entries_check_rank(az, entries, rank)) return false;
    az_scope_push(az);
    if (az_leading_vectors(az, &map, &how, &left, &image)) {
        result[0] = az_contiguous(az, az_slice(az, left, 1, 0, rank));
        result[2] = az_copy(az, az_slice(az, image, 1, 0, rank));
        result[1] = normalize(az, result[2]);
    }
    az_keep_all(az, result, 3);
    *u = result[0], *s = result[1], *v = result[2];
    return az_ok(az) && *u;
}
