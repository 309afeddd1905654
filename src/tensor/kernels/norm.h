/* norm.h - rms_norm and layer_norm over rows of length n, for the type REAL. z = (x - shift) scale is the normalised row; rms_norm has
 * shift 0. */

static void NAME(norm_row)(const void *rows, int64_t row)
{
    const norm_job *job = rows;
    const int64_t n = job->n;
    const REAL *x = (const REAL *)job->x->data + row * n;
    REAL *shift = job->shift ? job->shift->data : NULL, *scale = job->scale->data;
    const REAL mean = shift ? KERNELS->sum(n, x) / (REAL)n : 0, variance = KERNELS->sum_squares(n, x, mean) / (REAL)n;
    if (shift) shift[row] = mean;
    scale[row] = 1 / (REAL)sqrt(variance + (REAL)job->eps);
    const NAME(az_norm_row)
        all = {.x = x, .weight = job->weight->data, .bias = job->bias ? job->bias->data : NULL, .shift = mean, .scale = scale[row]};
    KERNELS->norm(n, &all, (REAL *)job->y->data + row * n);
}

/* Fills shift and scale [rows] and y [rows, n]. */
static void NAME(norm_rows)(const norm_job *job)
{
    az_each(job->rows * job->n > AZ_PARALLEL_WORK ? job->threads : 1, job->rows, NAME(norm_row), job);
}

/* gx [rows, n]; and for each block of rows its part of g_weight (and of g_bias, n further on) in part [blocks, 2 n]. */
static void NAME(norm_rows_gradient)(const norm_job *job, const void *gradient, void *part)
{
    const REAL *x = job->x->data, *weight = job->weight->data, *gy = gradient, *scale = job->scale->data;
    const REAL *shift = job->shift ? job->shift->data : NULL;
    REAL *gx = job->y->data;
    const int64_t n = job->n, blocks = norm_blocks(job->rows);
#pragma omp parallel for schedule(static) if (job->rows * n > AZ_PARALLEL_WORK) num_threads(job->threads)
    for (int64_t block = 0; block < blocks; block++) {
        REAL *g_weight = (REAL *)part + block * 2 * n, *g_bias = g_weight + n;
        memset(g_weight, 0, (size_t)(2 * n) * sizeof *g_weight);
        int64_t last = (block + 1) * NORM_BLOCK < job->rows ? (block + 1) * NORM_BLOCK : job->rows;
        for (int64_t row = block * NORM_BLOCK; row < last; row++) {
            const REAL *gr = gy + row * n;
            NAME(az_norm_row) r = {.x = x + row * n, .weight = weight, .shift = shift ? shift[row] : 0, .scale = scale[row]};
            REAL sums[2];
            KERNELS->norm_sums(n, &r, gr, sums);
            KERNELS->norm_gradient(n, &r, gr, (REAL[]){shift ? sums[0] / (REAL)n : 0, sums[1] / (REAL)n}, gx + row * n, g_weight);
            if (shift) KERNELS->axpy(n, 1, gr, g_bias);
        }
    }
}

/* Adds the parts of all blocks, in order, into g_weight and (unless NULL) g_bias. */
static void NAME(norm_add_parts)(const norm_job *job, const void *parts, void *g_weight, void *g_bias)
{
    const int64_t n = job->n;
    memset(g_weight, 0, (size_t)n * sizeof(REAL));
    if (g_bias) memset(g_bias, 0, (size_t)n * sizeof(REAL));
    for (int64_t block = 0; block < norm_blocks(job->rows); block++) {
        const REAL *part = (const REAL *)parts + block * 2 * n;
        KERNELS->axpy(n, 1, part, g_weight);
        if (g_bias) KERNELS->axpy(n, 1, part + n, g_bias);
    }
}
