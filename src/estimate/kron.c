/* kron.c - Kronecker products of matrices times vectors. */
#include "estimate/kron.h"

#include <cblas.h>
#include <string.h>

int64_t az_kron_rows(const az_kron *a)
{
    int64_t rows = 1;
    for (int f = 0; f < a->factors; f++) rows *= a->factor[f].rows;
    return rows;
}

int64_t az_kron_columns(const az_kron *a)
{
    int64_t columns = 1;
    for (int f = 0; f < a->factors; f++) columns *= a->factor[f].columns;
    return columns;
}

/* y [left, m, right] = b or b^H along the middle axis of x [left, n, right]. */
static void along(const az_kron_factor *b, bool adjoint, int64_t left, int64_t right, const az_complex *x, az_complex *y)
{
    const az_complex one = 1, zero = 0;
    const int64_t n = adjoint ? b->rows : b->columns, m = adjoint ? b->columns : b->rows;
    for (int64_t l = 0; l < left; l++)
        cblas_zgemm(CblasRowMajor, adjoint ? CblasConjTrans : CblasNoTrans, CblasNoTrans, (int)m, (int)right, (int)n, &one, b->value,
                    (int)b->columns, x + l * n * right, (int)right, &zero, y + l * m * right, (int)right);
}

/* The last axis first, so that most axes are still (or already) short when they are passed over. */
static az_complex *times(az_ctx *az, const az_kron *a, bool adjoint, const az_complex *x)
{
    if (!x) return NULL;
    int64_t size[AZ_KRON_MOST];
    for (int f = 0; f < a->factors; f++) size[f] = adjoint ? a->factor[f].rows : a->factor[f].columns;
    az_complex *y = NULL;
    for (int f = a->factors - 1; f >= 0; f--) {
        int64_t left = 1, right = 1;
        const int64_t out = adjoint ? a->factor[f].columns : a->factor[f].rows;
        for (int g = 0; g < f; g++) left *= size[g];
        for (int g = f + 1; g < a->factors; g++) right *= size[g];
        y = az_alloc_array(az, (size_t)(left * out * right), sizeof *y);
        if (!y) return NULL;
        along(&a->factor[f], adjoint, left, right, x, y);
        size[f] = out;
        x = y;
    }
    return y;
}

az_complex *az_kron_times(az_ctx *az, const az_kron *a, const az_complex *x)
{
    return times(az, a, false, x);
}

az_complex *az_kron_adjoint_times(az_ctx *az, const az_kron *a, const az_complex *y)
{
    return times(az, a, true, y);
}

void az_kron_column(const az_kron *a, int64_t j, az_complex *out)
{
    int64_t index[AZ_KRON_MOST] = {0}, count = 1;
    for (int f = a->factors - 1; f >= 0; f--) index[f] = j % a->factor[f].columns, j /= a->factor[f].columns;
    out[0] = 1;
    for (int f = 0; f < a->factors; f++) { /* from the back, so that each entry is read before it is overwritten */
        const az_kron_factor *b = &a->factor[f];
        for (int64_t i = count - 1; i >= 0; i--)
            for (int64_t r = b->rows - 1; r >= 0; r--) out[i * b->rows + r] = out[i] * b->value[r * b->columns + index[f]];
        count *= b->rows;
    }
}

double *az_kron_vectors(az_ctx *az, int factors, const int64_t *n, double *const *x)
{
    int64_t total = 1, count = 1;
    for (int f = 0; f < factors; f++) total *= n[f];
    double *out = az_alloc_array(az, (size_t)total, sizeof *out);
    if (!out) return NULL;
    out[0] = 1;
    for (int f = 0; f < factors; f++) {
        for (int64_t i = count - 1; i >= 0; i--)
            for (int64_t r = n[f] - 1; r >= 0; r--) out[i * n[f] + r] = out[i] * x[f][r];
        count *= n[f];
    }
    return out;
}

double *az_kron_contract(az_ctx *az, int factors, const int64_t *n, const double *x, double *const *w, int kept)
{
    double *out = az_alloc_array(az, (size_t)n[kept], sizeof *out);
    int64_t total = 1;
    for (int f = 0; f < factors; f++) total *= n[f];
    az_scope_push(az);
    double *sum = az_alloc_array(az, (size_t)total, sizeof *sum);
    if (out && sum) {
        memcpy(sum, x, (size_t)total * sizeof *sum);
        int64_t left = total, right = 1;
        for (int f = factors - 1; f >= 0; f--) { /* axes behind f are gone, but for the kept one */
            left /= n[f];
            if (f == kept) {
                right = n[f];
                continue;
            }
            for (int64_t l = 0; l < left; l++)
                for (int64_t r = 0; r < right; r++) {
                    double add = 0;
                    for (int64_t i = 0; i < n[f]; i++) add += w[f][i] * sum[(l * n[f] + i) * right + r];
                    sum[l * right + r] = add;
                }
        }
        memcpy(out, sum, (size_t)n[kept] * sizeof *out);
    }
    az_scope_pop(az);
    return out;
}
