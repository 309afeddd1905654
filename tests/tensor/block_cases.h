/* block_cases.h - one comparison of the block kernels with naive sums, for the type REAL; included by test_kernels.c. */

static void NAME(block_case)(const NAME(az_kernels) * kernels, int m, int n, int k)
{
    enum { LD = 80 };
    const double error = sizeof(REAL) == sizeof(float) ? 1e-5 : 1e-13;
    REAL a[16 * 16], b[16 * LD], c[16 * LD], x[LD], y[LD], z[LD];
    az_rng rng = az_rng_at((uint64_t)m, (uint64_t)n);
    for (int i = 0; i < 16 * 16; i++) a[i] = (REAL)az_normal(&rng);
    for (int i = 0; i < 16 * LD; i++) b[i] = (REAL)az_normal(&rng), c[i] = i;
    for (int i = 0; i < LD; i++) x[i] = (REAL)az_normal(&rng), y[i] = i, z[i] = i;
    NAME(az_matrix) left = m % 2 ? (NAME(az_matrix)){a, 16, 1} : (NAME(az_matrix)){a, 1, 16};
    kernels->block(m, n, k, left, b, LD, c, LD);
    kernels->mat_vec(k, n, b, LD, x, y);
    kernels->vec_mat(k, n, x, b, LD, z);
    for (int i = 0; i < 16; i++)
        for (int j = 0; j < LD; j++) {
            double sum = i * LD + j;
            for (int p = 0; p < k && i < m && j < n; p++) sum += (double)left.data[i * left.row + p * left.column] * b[p * LD + j];
            cr_assert_float_eq(c[i * LD + j], sum, error * (1 + fabs(sum)), "c[%d][%d] of %d x %d x %d", i, j, m, n, k);
        }
    for (int j = 0; j < LD; j++) {
        double dot = 0, column = j;
        for (int p = 0; p < n && j < k; p++) dot += (double)b[j * LD + p] * x[p];
        for (int p = 0; p < k && j < n; p++) column += (double)x[p] * b[p * LD + j];
        cr_assert_float_eq(y[j], j < k ? dot : j, 2 * error * (1 + fabs(dot)));
        cr_assert_float_eq(z[j], column, error * (1 + fabs(column)));
    }
}
