/* table.h - the kernels of one real type; included by kernels.h once for each type.
 * Rows are contiguous; an output may be the input itself. */

/* A matrix with any strides, in elements. */
typedef struct NAME(az_matrix) {
    const REAL *data;
    int64_t row, column;
} NAME(az_matrix);

/* A row to be normalised: (x - shift) scale, then weight, and bias unless it is NULL. */
typedef struct NAME(az_norm_row) {
    const REAL *x, *weight, *bias;
    REAL shift, scale;
} NAME(az_norm_row);

typedef struct NAME(az_kernels) {
    int panel; /* columns that `block` likes best to find beside each other */
    void (*exp)(int64_t n, const REAL *x, REAL *y);
    void (*sigmoid)(int64_t n, const REAL *x, REAL *y);
    void (*tanh)(int64_t n, const REAL *x, REAL *y);
    void (*silu)(int64_t n, const REAL *x, REAL *y);                      /* x sigmoid(x) */
    void (*swiglu)(int64_t n, const REAL *gate, const REAL *up, REAL *y); /* silu(gate) up */
    /* Replaces gy in g_up by gy silu(gate) and writes gy up silu'(gate) to g_gate. */
    void (*swiglu_gradient)(int64_t n, const REAL *gate, const REAL *up, REAL *g_gate, REAL *g_up);
    void (*softmax)(int64_t n, const REAL *x, REAL *y);
    /* The gradient through a softmax row p, where inner is the sum of p gp: gp becomes p (gp - inner). */
    void (*softmax_gradient)(int64_t n, const REAL *p, REAL inner, REAL *gp);
    REAL (*max)(int64_t n, const REAL *x); /* -infinity for n = 0 */
    REAL (*sum)(int64_t n, const REAL *x);
    REAL (*sum_exp)(int64_t n, const REAL *x, REAL shift);                         /* sum of exp(x - shift) */
    REAL (*exp_shift)(int64_t n, const REAL *x, REAL shift, REAL *y);              /* y = exp(x - shift); returns the sum of y */
    void (*exp_scaled)(int64_t n, const REAL *x, REAL shift, REAL scale, REAL *y); /* y = scale exp(x - shift) */
    REAL (*sum_squares)(int64_t n, const REAL *x, REAL shift);                     /* sum of (x - shift)^2 */
    REAL (*dot)(int64_t n, const REAL *x, const REAL *y);
    void (*axpy)(int64_t n, REAL a, const REAL *x, REAL *y);  /* y += a x */
    void (*scale)(int64_t n, REAL a, const REAL *x, REAL *y); /* y = a x */
    /* y[i] = sum_j a[i][j] x[j] for a [m, n] whose rows lie lda apart. */
    void (*mat_vec)(int64_t m, int64_t n, const REAL *a, int64_t lda, const REAL *x, REAL *y);
    /* y[j] += sum_i x[i] a[i][j] for a [m, n] whose rows lie lda apart. */
    void (*vec_mat)(int64_t m, int64_t n, const REAL *x, const REAL *a, int64_t lda, REAL *y);
    /* c += a b for blocks that fit the cache: a [m, k] with any strides, b [k, n] and c [m, n] with contiguous rows. */
    void (*block)(int64_t m, int64_t n, int64_t k, NAME(az_matrix) a, const REAL *b, int64_t ldb, REAL *c, int64_t ldc);
    /* Lays scale * a [rows, columns] out in panels: `panel` columns, row after row; the last panel is filled up with zeros. */
    void (*pack)(int64_t rows, int64_t columns, NAME(az_matrix) a, REAL scale, REAL *panels);
    /* Normalised rows, z = (x - shift) scale. */
    void (*norm)(int64_t n, const NAME(az_norm_row) * row, REAL *y); /* y = z weight + bias */
    /* sums[0] = sum of weight gy, sums[1] = sum of weight gy z */
    void (*norm_sums)(int64_t n, const NAME(az_norm_row) * row, const REAL *gy, REAL sums[2]);
    /* gx = scale (weight gy - mean[0] - mean[1] z); g_weight += gy z */
    void (*norm_gradient)(int64_t n, const NAME(az_norm_row) * row, const REAL *gy, const REAL mean[2], REAL *gx, REAL *g_weight);
} NAME(az_kernels);
