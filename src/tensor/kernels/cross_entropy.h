/* cross_entropy.h - rows of the negative log-likelihood and of its derivative, for the type REAL. */

/* norm [rows, 2] receives each row's maximum and the logarithm of its sum of exp(x - maximum); kept apart, they stay exact for large
 * logits. */
static void NAME(loss_rows)(const loss_job *job, void *norms, void *losses)
{
    const REAL *logits = job->logits;
    const int64_t n = job->classes;
#pragma omp parallel for schedule(static) if (job->rows * n > AZ_PARALLEL_WORK) num_threads(job->threads)
    for (int64_t row = 0; row < job->rows; row++) {
        REAL *norm = (REAL *)norms + 2 * row, *loss = (REAL *)losses + row;
        norm[0] = norm[1] = *loss = 0;
        if (job->target[row] < 0) continue;
        const REAL *x = logits + row * n;
        norm[0] = KERNELS->max(n, x);
        norm[1] = (REAL)log(KERNELS->sum_exp(n, x, norm[0]));
        *loss = norm[1] + (norm[0] - x[job->target[row]]);
    }
}

/* gx = (softmax - one-hot) gy */
static void NAME(loss_rows_gradient)(const loss_job *job, const void *norms, const void *gradient, void *result)
{
    const REAL *logits = job->logits;
    const int64_t n = job->classes;
#pragma omp parallel for schedule(static) if (job->rows * n > AZ_PARALLEL_WORK) num_threads(job->threads)
    for (int64_t row = 0; row < job->rows; row++) {
        const REAL *norm = (const REAL *)norms + 2 * row, gy = ((const REAL *)gradient)[row];
        REAL *gx = (REAL *)result + row * n;
        if (job->target[row] < 0) {
            memset(gx, 0, (size_t)n * sizeof *gx);
            continue;
        }
        KERNELS->exp_scaled(n, logits + row * n, norm[0], gy * (REAL)exp(-norm[1]), gx);
        gx[job->target[row]] -= gy;
    }
}
