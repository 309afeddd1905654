/* product.h - one matrix product c = op(a) op(b) for the type REAL: BLAS for matrices, own kernels where one side is a vector. */

/* y = a x (or a^T x) for a stored [rows, columns], in blocks of fixed size so that the result does not depend on the threads. */
static void NAME(matrix_times_vector)(const REAL *a, int64_t rows, int64_t columns, int64_t lda, bool transposed, const REAL *x, REAL *y,
                                      int threads)
{
    enum { BLOCK = 128 };
    int64_t n = transposed ? columns : rows;
    bool parallel = rows * columns > AZ_PARALLEL_WORK && !omp_in_parallel();
    if (transposed) memset(y, 0, (size_t)n * sizeof *y);
#pragma omp parallel for schedule(static) num_threads(threads) if (parallel)
    for (int64_t i = 0; i < n; i += BLOCK) {
        int64_t count = n - i < BLOCK ? n - i : BLOCK;
        if (transposed)
            KERNELS->vec_mat(rows, count, x, a + i, lda, y + i);
        else
            KERNELS->mat_vec(count, columns, a + i * lda, lda, x, y + i);
    }
}

static void NAME(product)(const product *p, const void *left, const void *right, void *result)
{
    const REAL *a = left, *b = right;
    REAL *c = result;
    if (p->k == 0)
        memset(c, 0, (size_t)(p->m * p->n) * sizeof *c);
    else if (p->m == 1 && (!p->a.transposed || p->a.ld == 1))
        NAME(matrix_times_vector)
    (b, p->b.transposed ? p->n : p->k, p->b.transposed ? p->k : p->n, p->b.ld, !p->b.transposed, a, c, p->threads);
    else if (p->n == 1 && p->ldc == 1 && (p->b.transposed || p->b.ld == 1)) NAME(matrix_times_vector)(
        a, p->a.transposed ? p->k : p->m, p->a.transposed ? p->m : p->k, p->a.ld, p->a.transposed, b, c, p->threads);
    else GEMM(CblasRowMajor, p->a.transposed ? CblasTrans : CblasNoTrans, p->b.transposed ? CblasTrans : CblasNoTrans, (int)p->m, (int)p->n,
              (int)p->k, 1, a, (int)p->a.ld, b, (int)p->b.ld, p->add, c, (int)p->ldc);
}
