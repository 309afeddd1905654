/* kro_sbl.c - posterior and updates of Kronecker-structured sparse Bayesian learning (He & Joseph, arXiv 2307.14719).
 *
 * E-step, without the large matrices: A_f Gamma_f A_f^H = U_f P_f U_f^H, d = 1 / (sigma^2 + kron P_f), B_f = Gamma_f A_f^H U_f,
 *     mean = (kron B_f)(d o (kron U_f)^H y), variance = gamma - (kron |B_f|^2) d.
 * M-step: the Kronecker gamma that minimises sum log gamma + moment / gamma, or the one nearest to the moments. */
#include "estimate/kro_sbl.h"

#include <cblas.h>
#include <lapacke.h>
#include <math.h>
#include <string.h>

const char *const az_sbl_names[AZ_SBL_KINDS + 1] = {"svd", "am", "am-block", "ksbl", "sbl", "pcsbl", "komp", "omp", "oracle", NULL};

/* ---- E-step ---- */

/* Eigenvectors U [m, m] and values P [m] of A Gamma A^H, and B = Gamma A^H U [n, m]. */
static bool decompose(az_ctx *az, const az_kron_factor *a, const double *gamma, az_complex **u, double **p, az_complex **b)
{
    const int m = (int)a->rows, n = (int)a->columns;
    const az_complex one = 1, zero = 0;
    az_complex *scaled = az_alloc_array(az, (size_t)m * (size_t)n, sizeof *scaled);
    *u = az_alloc_array(az, (size_t)m * (size_t)m, sizeof **u), *p = az_alloc_array(az, (size_t)m, sizeof **p);
    *b = az_alloc_array(az, (size_t)n * (size_t)m, sizeof **b);
    if (!scaled || !*u || !*p || !*b) return false;
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) scaled[i * n + j] = a->value[i * n + j] * gamma[j];
    cblas_zgemm(CblasRowMajor, CblasNoTrans, CblasConjTrans, m, m, n, &one, scaled, n, a->value, n, &zero, *u, m);
    if (LAPACKE_zheevd(LAPACK_ROW_MAJOR, 'V', 'L', m, *u, m, *p) != 0)
        return az_fail(az, AZ_NUMERIC, "the eigenvalues of a factor were not found");
    for (int i = 0; i < m; i++) (*p)[i] = fmax((*p)[i], 0);
    cblas_zgemm(CblasRowMajor, CblasConjTrans, CblasNoTrans, n, m, m, &one, scaled, n, *u, m, &zero, *b, m);
    return true;
}

static const az_complex *squares(az_ctx *az, const az_complex *b, int64_t n)
{
    az_complex *out = az_alloc_array(az, (size_t)n, sizeof *out);
    for (int64_t i = 0; out && i < n; i++) out[i] = creal(b[i]) * creal(b[i]) + cimag(b[i]) * cimag(b[i]);
    return out;
}

/* mean and variance from the decomposed factors; d overwrites p. */
static bool combine(az_ctx *az, const az_kron *a, const az_kron *u, const az_kron *b, az_complex *d, const az_complex *y,
                    double *const *gamma, az_sbl_posterior *out)
{
    const int64_t m = az_kron_rows(a), n = az_kron_columns(a);
    int64_t columns[AZ_KRON_MOST];
    az_kron square = *b;
    for (int f = 0; f < a->factors; f++) {
        columns[f] = a->factor[f].columns;
        square.factor[f].value = squares(az, b->factor[f].value, b->factor[f].rows * b->factor[f].columns);
        if (!square.factor[f].value) return false;
    }
    az_complex *turned = az_kron_adjoint_times(az, u, y);
    for (int64_t i = 0; turned && i < m; i++) {
        out->cost += log(1 / creal(d[i])) + creal(d[i]) * creal(turned[i] * conj(turned[i]));
        turned[i] *= d[i];
    }
    const az_complex *mean = az_kron_times(az, b, turned), *explained = az_kron_times(az, &square, d), *fit = az_kron_times(az, a, mean);
    const double *prior = az_kron_vectors(az, a->factors, columns, gamma);
    if (!fit || !explained || !prior) return false;
    for (int64_t j = 0; j < n; j++) {
        out->mean[j] = mean[j];
        out->variance[j] = prior[j] - creal(explained[j]);
        out->moment[j] = fmax(out->variance[j], 0) + creal(mean[j] * conj(mean[j]));
    }
    for (int64_t i = 0; i < m; i++) out->fit += creal((y[i] - fit[i]) * conj(y[i] - fit[i]));
    return true;
}

bool az_sbl_posterior_of(az_ctx *az, const az_kron *a, const az_complex *y, double *const *gamma, double noise, az_sbl_posterior *out)
{
    const size_t n = (size_t)az_kron_columns(a);
    *out = (az_sbl_posterior){.mean = az_alloc_array(az, n, sizeof(az_complex)),
                              .variance = az_alloc_array(az, n, sizeof(double)),
                              .moment = az_alloc_array(az, n, sizeof(double))};
    if (!az_ok(az)) return false;
    az_scope_push(az);
    az_kron u = {.factors = a->factors}, b = {.factors = a->factors};
    double *p[AZ_KRON_MOST];
    int64_t rows[AZ_KRON_MOST];
    bool done = true;
    for (int f = 0; done && f < a->factors; f++) {
        az_complex *vectors, *back;
        const int64_t m = rows[f] = a->factor[f].rows;
        done = decompose(az, &a->factor[f], gamma[f], &vectors, &p[f], &back);
        u.factor[f] = (az_kron_factor){m, m, vectors};
        b.factor[f] = (az_kron_factor){a->factor[f].columns, m, back};
    }
    const double *spectrum = done ? az_kron_vectors(az, a->factors, rows, p) : NULL;
    const int64_t m = az_kron_rows(a);
    az_complex *d = az_alloc_array(az, (size_t)m, sizeof *d);
    for (int64_t i = 0; spectrum && d && i < m; i++) d[i] = 1 / (noise + spectrum[i]);
    done = spectrum && d && combine(az, a, &u, &b, d, y, gamma, out);
    az_scope_pop(az);
    return done;
}

/* ---- M-steps ---- */

static double norm_of(const double *x, int64_t n)
{
    return cblas_dnrm2((int)n, x, 1);
}

/* Unit norms; the scale moves into the last factor. */
static void normalize(int factors, const int64_t *n, double **gamma)
{
    for (int f = 0; f + 1 < factors; f++) {
        const double norm = norm_of(gamma[f], n[f]);
        if (!(norm > 0)) continue;
        cblas_dscal((int)n[f], 1 / norm, gamma[f], 1);
        cblas_dscal((int)n[factors - 1], norm, gamma[factors - 1], 1);
    }
}

void az_sbl_alternate(az_ctx *az, int factors, const int64_t *n, const double *moment, double **gamma, int64_t sweeps, double tolerance)
{
    double *inverse[AZ_KRON_MOST] = {0}, total = 1;
    az_scope_push(az);
    for (int f = 0; f < factors; f++) {
        inverse[f] = az_alloc_array(az, (size_t)n[f], sizeof(double));
        total *= (double)n[f];
        for (int64_t i = 0; inverse[f] && i < n[f]; i++) inverse[f][i] = 1 / gamma[f][i];
    }
    for (int64_t sweep = 0; sweep < sweeps && az_ok(az); sweep++) {
        double moved = 0;
        for (int f = 0; f < factors; f++) {
            az_scope_push(az);
            const double *sum = az_kron_contract(az, factors, n, moment, inverse, f);
            for (int64_t i = 0; sum && i < n[f]; i++) {
                const double next = fmax(sum[i] * (double)n[f] / total, 1e-300);
                moved = fmax(moved, fabs(next - gamma[f][i]));
                gamma[f][i] = next;
                inverse[f][i] = 1 / next;
            }
            az_scope_pop(az);
        }
        normalize(factors, n, gamma);
        for (int f = 0; f < factors; f++)
            for (int64_t i = 0; i < n[f]; i++) inverse[f][i] = 1 / gamma[f][i];
        if (sweep > 0 && moved <= tolerance) break;
    }
    az_scope_pop(az);
}

/* Leading singular pair of x [m, n] with entries >= 0: |u| into u, |s v| into x's first row. */
static bool leading_pair(az_ctx *az, double *x, int64_t m, int64_t n, double *u)
{
    double *gram = az_alloc_array(az, (size_t)(m * m), sizeof *gram), *values = az_alloc_array(az, (size_t)m, sizeof *values);
    double *row = az_alloc_array(az, (size_t)n, sizeof *row);
    if (!gram || !values || !row) return false;
    cblas_dsyrk(CblasRowMajor, CblasLower, CblasNoTrans, (int)m, (int)n, 1, x, (int)n, 0, gram, (int)m);
    if (LAPACKE_dsyevd(LAPACK_ROW_MAJOR, 'V', 'L', (int)m, gram, (int)m, values) != 0)
        return az_fail(az, AZ_NUMERIC, "the singular vectors of the moments were not found");
    for (int64_t i = 0; i < m; i++) u[i] = fabs(gram[i * m + m - 1]); /* the Perron vector: one sign */
    cblas_dgemv(CblasRowMajor, CblasTrans, (int)m, (int)n, 1, x, (int)n, u, 1, 0, row, 1);
    memcpy(x, row, (size_t)n * sizeof *row);
    return true;
}

void az_sbl_rank_one(az_ctx *az, int factors, const int64_t *n, const double *moment, double **gamma)
{
    int64_t rest = 1;
    for (int f = 0; f < factors; f++) rest *= n[f];
    az_scope_push(az);
    double *x = az_alloc_array(az, (size_t)rest, sizeof *x);
    if (x) memcpy(x, moment, (size_t)rest * sizeof *x);
    for (int f = 0; x && f + 1 < factors; f++) {
        rest /= n[f];
        if (!leading_pair(az, x, n[f], rest, gamma[f])) break;
    }
    for (int64_t i = 0; x && i < n[factors - 1]; i++) gamma[factors - 1][i] = fabs(x[i]);
    az_scope_pop(az);
}
