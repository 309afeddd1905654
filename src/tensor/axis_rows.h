/* axis_rows.h - loops along one axis of an array seen as [outer, n, inner]; included once with REAL = float and once with REAL = double.
 * NAME(f) adds the type's suffix; ROWS is that type's part of the kernel table. Sums are pairwise and have a fixed order. */

/* Sums of this many elements are left to the row kernel, which keeps several partial sums itself. */
enum { NAME(RUN) = 128, NAME(COLUMNS) = 256, NAME(COLUMN_RUN) = 32, NAME(PIECE) = 1 << 16 };

static REAL NAME(pairwise_sum)(const REAL *x, int64_t n)
{
    if (n <= NAME(RUN)) return ROWS.sum(n, x);
    int64_t half = (n / 2 + NAME(RUN) - 1) / NAME(RUN) * NAME(RUN);
    return NAME(pairwise_sum)(x, half) + NAME(pairwise_sum)(x + half, n - half);
}

/* out[j] = sum_i x[i * stride + j]; at most COLUMNS columns. */
static void NAME(pairwise_columns)(const REAL *x, int64_t rows, int64_t stride, int64_t columns, REAL *out)
{
    if (rows <= NAME(COLUMN_RUN)) {
        for (int64_t j = 0; j < columns; j++) out[j] = 0;
        for (int64_t i = 0; i < rows; i++) ROWS.axpy(columns, 1, x + i * stride, out);
        return;
    }
    REAL rest[NAME(COLUMNS)];
    int64_t half = rows / 2;
    NAME(pairwise_columns)(x, half, stride, columns, out);
    NAME(pairwise_columns)(x + half * stride, rows - half, stride, columns, rest);
    ROWS.axpy(columns, 1, rest, out);
}

/* One long row: pieces in parallel; `partial` has room for one sum a piece. */
static REAL NAME(long_sum)(const az_ctx *az, const REAL *x, int64_t n, REAL *partial)
{
    int64_t pieces = (n + NAME(PIECE) - 1) / NAME(PIECE);
#pragma omp parallel for schedule(static) num_threads(az_threads(az))
    for (int64_t i = 0; i < pieces; i++) {
        int64_t first = i * NAME(PIECE), count = n - first < NAME(PIECE) ? n - first : NAME(PIECE);
        partial[i] = NAME(pairwise_sum)(x + first, count);
    }
    return NAME(pairwise_sum)(partial, pieces);
}

/* y [outer, inner] */
static void NAME(sum)(az_ctx *az, REAL *y, const REAL *x, extent e)
{
    if (e.inner > 1) {
        int64_t blocks = (e.inner + NAME(COLUMNS) - 1) / NAME(COLUMNS);
#pragma omp parallel for schedule(static) num_threads(az_threads(az)) if (e.outer * e.n * e.inner > PARALLEL_ELEMENTS)
        for (int64_t task = 0; task < e.outer * blocks; task++) {
            int64_t o = task / blocks, j = task % blocks * NAME(COLUMNS);
            int64_t columns = e.inner - j < NAME(COLUMNS) ? e.inner - j : NAME(COLUMNS);
            NAME(pairwise_columns)(x + o * e.n * e.inner + j, e.n, e.inner, columns, y + o * e.inner + j);
        }
        return;
    }
    REAL *partial = e.n > NAME(PIECE) ? az_alloc_array(az, (size_t)(e.n / NAME(PIECE) + 1), sizeof *partial) : NULL;
    for (int64_t o = 0; partial && o < e.outer; o++) y[o] = NAME(long_sum)(az, x + o * e.n, e.n, partial);
#pragma omp parallel for schedule(static) num_threads(az_threads(az)) if (e.outer * e.n > PARALLEL_ELEMENTS)
    for (int64_t o = 0; o < (e.n > NAME(PIECE) ? 0 : e.outer); o++) y[o] = NAME(pairwise_sum)(x + o * e.n, e.n);
}

/* Running sums along rows of one column each. */
static void NAME(cumsum_rows)(REAL *y, const REAL *x, extent e, bool reverse)
{
    for (int64_t o = 0; o < e.outer; o++) {
        REAL sum = 0;
        for (int64_t step = 0; step < e.n; step++) {
            int64_t i = o * e.n + (reverse ? e.n - 1 - step : step);
            y[i] = sum += x[i];
        }
    }
}

static void NAME(cumsum)(REAL *y, const REAL *x, extent e, bool reverse)
{
    if (e.inner == 1) {
        NAME(cumsum_rows)(y, x, e, reverse);
        return;
    }
    for (int64_t o = 0; o < e.outer; o++) {
        for (int64_t step = 0; step < e.n; step++) {
            int64_t row = (o * e.n + (reverse ? e.n - 1 - step : step)) * e.inner, before = reverse ? row + e.inner : row - e.inner;
            for (int64_t j = 0; j < e.inner; j++) y[row + j] = x[row + j] + (step > 0 ? y[before + j] : 0);
        }
    }
}

/* The first maximum of each row, and its position; NaN counts as the largest. y may be NULL. */
static void NAME(max)(const az_ctx *az, REAL *y, int32_t *position, const REAL *x, extent e)
{
#pragma omp parallel for schedule(static) num_threads(az_threads(az)) if (e.outer * e.n > PARALLEL_ELEMENTS)
    for (int64_t o = 0; o < e.outer; o++) {
        const REAL *row = x + o * e.n;
        int64_t at = 0;
        for (int64_t i = 1; i < e.n; i++)
            if (row[i] > row[at] || (row[i] != row[i] && row[at] == row[at])) at = i;
        position[o] = (int32_t)at;
        if (y) y[o] = row[at];
    }
}

static REAL NAME(row_logsumexp)(const REAL *x, int64_t n)
{
    REAL most = ROWS.max(n, x);
    if (!(most > -INFINITY && most < INFINITY)) return n > 0 ? most + 0 * x[0] : most; /* -infinity of nothing, or of zeros only */
    return most + NAME(log)(ROWS.sum_exp(n, x, most));
}

static void NAME(logsumexp)(const az_ctx *az, REAL *y, const REAL *x, extent e)
{
#pragma omp parallel for schedule(static) num_threads(az_threads(az)) if (e.outer * e.n > PARALLEL_ELEMENTS / 8)
    for (int64_t o = 0; o < e.outer; o++) y[o] = NAME(row_logsumexp)(x + o * e.n, e.n);
}

static void NAME(softmax)(const az_ctx *az, REAL *y, const REAL *x, extent e)
{
#pragma omp parallel for schedule(static) num_threads(az_threads(az)) if (e.outer * e.n > PARALLEL_ELEMENTS / 8)
    for (int64_t o = 0; o < e.outer; o++) ROWS.softmax(e.n, x + o * e.n, y + o * e.n);
}

static void NAME(log_softmax)(const az_ctx *az, REAL *y, const REAL *x, extent e)
{
#pragma omp parallel for schedule(static) num_threads(az_threads(az)) if (e.outer * e.n > PARALLEL_ELEMENTS / 8)
    for (int64_t o = 0; o < e.outer; o++) {
        const REAL shift = NAME(row_logsumexp)(x + o * e.n, e.n);
        for (int64_t i = 0; i < e.n; i++) y[o * e.n + i] = x[o * e.n + i] - shift;
    }
}

/* gx = y (gy - <gy, y>) */
static void NAME(softmax_gradient)(const az_ctx *az, REAL *gx, const REAL *gy, const REAL *y, extent e)
{
#pragma omp parallel for schedule(static) num_threads(az_threads(az)) if (e.outer * e.n > PARALLEL_ELEMENTS)
    for (int64_t o = 0; o < e.outer; o++) {
        int64_t row = o * e.n;
        const REAL dot = ROWS.dot(e.n, gy + row, y + row);
        for (int64_t i = row; i < row + e.n; i++) gx[i] = y[i] * (gy[i] - dot);
    }
}

/* gx = gy - e^y sum(gy) */
static void NAME(log_softmax_gradient)(const az_ctx *az, REAL *gx, const REAL *gy, const REAL *y, extent e)
{
#pragma omp parallel for schedule(static) num_threads(az_threads(az)) if (e.outer * e.n > PARALLEL_ELEMENTS / 8)
    for (int64_t o = 0; o < e.outer; o++) {
        int64_t row = o * e.n;
        const REAL sum = NAME(pairwise_sum)(gy + row, e.n);
        ROWS.exp(e.n, y + row, gx + row);
        for (int64_t i = row; i < row + e.n; i++) gx[i] = gy[i] - gx[i] * sum;
    }
}
