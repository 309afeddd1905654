/* softimpute.c - two other ways to complete a matrix: soft thresholding of singular values, and one truncated decomposition. */
#include "estimate/completion.h"

#include <cblas.h>
#include <lapacke.h>
#include <math.h>
#include <string.h>

/* The filled matrix Z, stored with its shorter side as rows. */
typedef struct filled {
    const az_lines *lines;
    int64_t m, n; /* m <= n */
    double lambda;
    double *z, *x; /* [m, n] Z; P_Omega(M) + Z - P_Omega(Z) */
} filled;

static void fill(const filled *p)
{
    memcpy(p->x, p->z, (size_t)(p->m * p->n) * sizeof *p->x);
    for (int64_t i = 0; i < p->m; i++)
        for (int64_t e = p->lines->start[i]; e < p->lines->start[i + 1]; e++) p->x[i * p->n + p->lines->other[e]] = p->lines->value[e];
}

/* Eigenvalues of X X^T above lambda^2, ascending, and their vectors in columns q [m, rank] (by columns); the number of them, -1 on failure.
 */
static int leading(az_ctx *az, const filled *p, double *values, double *q)
{
    const int m = (int)p->m, n = (int)p->n;
    double *gram = az_alloc_array(az, (size_t)m * (size_t)m, sizeof *gram), trace = 0;
    lapack_int *support = az_alloc_array(az, 2 * (size_t)m, sizeof *support), found = 0;
    if (!gram || !support) return -1;
    cblas_dsyrk(CblasColMajor, CblasLower, CblasTrans, m, n, 1, p->x, n, 0, gram, m);
    for (int i = 0; i < m; i++) trace += gram[(size_t)i * (size_t)(m + 1)];
    const double low = p->lambda * p->lambda;
    if (trace <= low) return 0;
    const lapack_int info =
        LAPACKE_dsyevr(LAPACK_COL_MAJOR, 'V', 'V', 'L', m, gram, m, low, 2 * trace, 0, 0, 0, &found, values, q, m, support);
    if (info == 0) return found;
    az_fail(az, AZ_NUMERIC, "the singular values of the filled matrix were not found (LAPACK: %d)", (int)info);
    return -1;
}

/* left [m, r] with columns Q_a (sigma_a - lambda), right [r, n] = Sigma^-1 Q^T X, so that Z = left right; through X X^T = Q Sigma^2 Q^T. */
static bool threshold(az_ctx *az, const filled *p, az_tensor **left, az_tensor **right)
{
    const int m = (int)p->m, n = (int)p->n;
    double *values = az_alloc_array(az, (size_t)m, sizeof *values), *q = az_alloc_array(az, (size_t)m * (size_t)m, sizeof *q);
    const int rank = values && q ? leading(az, p, values, q) : -1;
    if (rank < 0) return false;
    *left = az_new2(az, AZ_F64, m, rank);
    *right = az_new2(az, AZ_F64, rank, n);
    if (!*left || !*right) return false;
    for (int a = 0; a < rank; a++) {
        const double sigma = sqrt(values[a]);
        double *vector = q + (size_t)a * (size_t)m;
        for (int i = 0; i < m; i++) {
            az_f64_mut(*left)[i * rank + a] = vector[i] * (sigma - p->lambda);
            vector[i] /= sigma;
        }
    }
    if (rank > 0) cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, rank, n, m, 1, q, m, p->x, n, 0, az_f64_mut(*right), n);
    return az_ok(az);
}

/* Z <- left right; |Z - Z'| / |Z|. */
static double replace(filled *p, const az_tensor *left, const az_tensor *right)
{
    const int m = (int)p->m, n = (int)p->n, rank = (int)left->shape[1];
    double moved = 0, norm = 0;
    if (rank > 0)
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, m, n, rank, 1, az_f64(left), rank, az_f64(right), n, 0, p->x, n);
    else
        memset(p->x, 0, (size_t)(p->m * p->n) * sizeof *p->x);
    for (int64_t i = 0; i < p->m * p->n; i++) {
        moved += (p->x[i] - p->z[i]) * (p->x[i] - p->z[i]);
        norm += p->x[i] * p->x[i];
    }
    double *swap = p->z;
    p->z = p->x, p->x = swap;
    return norm > 0 ? sqrt(moved / norm) : 0;
}

static double observed_error(const filled *p)
{
    double sum = 0;
    for (int64_t i = 0; i < p->m; i++)
        for (int64_t e = p->lines->start[i]; e < p->lines->start[i + 1]; e++) {
            const double off = p->z[i * p->n + p->lines->other[e]] - p->lines->value[e];
            sum += off * off;
        }
    return sqrt(sum);
}

/* One turn; in the last one the factors of Z stay in out. */
static bool run_turn(az_ctx *az, filled *p, bool wide, int64_t iterations, double stop, az_completion *out)
{
    az_tensor *left = NULL, *right = NULL, *factors[2] = {0};
    az_scope_push(az);
    fill(p);
    if (threshold(az, p, &left, &right)) {
        out->converged = replace(p, left, right) <= stop;
        out->residual[out->iterations++] = observed_error(p);
        if (out->converged || out->iterations == iterations) {
            factors[wide ? 0 : 1] = left;
            factors[wide ? 1 : 0] = az_contiguous(az, az_transpose(az, right));
        }
    }
    az_keep_all(az, factors, 2);
    out->u = factors[0], out->v = factors[1];
    return az_ok(az);
}

az_completion *az_complete_softimpute(az_ctx *az, const az_entries *entries, double lambda, int64_t iterations, double stop)
{
    if (!entries) return NULL;
    const bool wide = entries->rows.lines <= entries->columns.lines;
    const az_lines *lines = wide ? &entries->rows : &entries->columns;
    filled p = {.lines = lines, .m = lines->lines, .n = lines->others, .lambda = lambda};
    az_completion *out = az_alloc(az, sizeof *out);
    if (!out || !(out->residual = az_alloc_array(az, (size_t)iterations, sizeof(double)))) return NULL;
    p.z = az_alloc_array(az, (size_t)(p.m * p.n), sizeof *p.z), p.x = az_alloc_array(az, (size_t)(p.m * p.n), sizeof *p.x);
    const double norm = cblas_dnrm2((int)entries->count, entries->rows.value, 1);
    while (p.z && p.x && out->iterations < iterations && !out->converged) {
        if (!run_turn(az, &p, wide, iterations, stop, out)) return NULL;
        out->residual[out->iterations - 1] /= norm;
        if (!az_progress(az, "softimpute", out->iterations, iterations, NULL))
            return az_fail(az, AZ_INTERRUPTED, "interrupted after %lld iterations", (long long)out->iterations);
    }
    return az_ok(az) ? out : NULL;
}

az_completion *az_complete_svd(az_ctx *az, const az_entries *entries, int64_t rank, uint64_t seed)
{
    az_completion *out = az_alloc(az, sizeof *out);
    az_tensor *s = NULL;
    if (!out || !entries || !az_entries_svd(az, entries, rank, seed, &out->u, &s, &out->v)) return NULL;
    const double share = (double)entries->count / ((double)entries->rows.lines * (double)entries->columns.lines);
    out->u = az_contiguous(az, az_mul(az, out->u, az_affine(az, s, 1 / share, 0)));
    out->residual = az_alloc(az, sizeof(double));
    if (!out->u || !out->residual) return NULL;
    out->iterations = 1;
    out->residual[0] = az_completion_error(out, entries, false) / cblas_dnrm2((int)entries->count, entries->rows.value, 1);
    out->converged = true;
    return out;
}
