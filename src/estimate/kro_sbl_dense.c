/* kro_sbl_dense.c - baselines for sparse vectors: sparse Bayesian learning without Kronecker structure, orthogonal matching pursuit, least
 * squares on a known support. They form columns of the large matrix. */
#include "estimate/kro_sbl.h"

#include <cblas.h>
#include <lapacke.h>
#include <math.h>
#include <string.h>

enum { MOST_ENTRIES = 50000000 };

static double square(az_complex z)
{
    return creal(z) * creal(z) + cimag(z) * cimag(z);
}

static double norm(const az_complex *x, int64_t n)
{
    return cblas_dznrm2((int)n, x, 1);
}

/* ---- without structure ---- */

typedef struct dense {
    int64_t m, n, kept;
    az_complex *a;                   /* [kept, m] columns of A one after the other */
    az_complex *half;                /* [kept, m] L^-1 of them */
    az_complex *gram;                /* [m, m] sigma^2 I + A Gamma A^H, then its Cholesky factor */
    az_complex *white;               /* [m] L^-1 y */
    int64_t *place;                  /* [kept] */
    double *gamma, *before, *moment; /* [n]; before on the whole grid */
    double noise, lowest_noise;
} dense;

static bool begin(az_ctx *az, const az_kron *a, const az_complex *y, const az_sbl_how *how, dense *p)
{
    const int64_t m = az_kron_rows(a), n = az_kron_columns(a);
    *p = (dense){.m = m, .n = n, .kept = n};
    if (m * n > MOST_ENTRIES)
        return az_fail(az, AZ_BAD_INPUT, "method=%s forms the %lld x %lld matrix, which is too large: use svd or am",
                       az_sbl_names[how->kind], (long long)m, (long long)n);
    p->a = az_alloc_array(az, (size_t)(m * n), sizeof *p->a), p->half = az_alloc_array(az, (size_t)(m * n), sizeof *p->half);
    p->gram = az_alloc_array(az, (size_t)(m * m), sizeof *p->gram), p->white = az_alloc_array(az, (size_t)m, sizeof *p->white);
    p->place = az_alloc_array(az, (size_t)n, sizeof *p->place);
    p->gamma = az_alloc_array(az, (size_t)n, sizeof(double)), p->before = az_alloc_array(az, (size_t)n, sizeof(double));
    p->moment = az_alloc_array(az, (size_t)n, sizeof(double));
    if (!az_ok(az)) return false;
    const double spread = az_sbl_spread(y, m);
    p->noise = how->noise >= 0 ? how->noise : 0.1 * spread;
    p->lowest_noise = 1e-12 * spread;
    for (int64_t j = 0; j < n; j++) {
        az_kron_column(a, j, p->a + j * m);
        p->place[j] = j;
        p->gamma[j] = p->before[j] = 1;
    }
    return true;
}

/* Mean, variances and moments of the kept entries; the cost. mean [kept]. */
static bool posterior(az_ctx *az, dense *p, const az_complex *y, az_complex *mean, double *variance, double *cost)
{
    const int m = (int)p->m, k = (int)p->kept;
    const az_complex one = 1, zero = 0;
    for (int j = 0; j < k; j++)
        for (int i = 0; i < m; i++) p->half[(int64_t)j * m + i] = sqrt(p->gamma[j]) * p->a[(int64_t)j * m + i];
    cblas_zherk(CblasColMajor, CblasLower, CblasNoTrans, m, k, 1, p->half, m, 0, p->gram, m);
    for (int i = 0; i < m; i++) p->gram[(int64_t)i * (m + 1)] += p->noise;
    if (LAPACKE_zpotrf_work(LAPACK_COL_MAJOR, 'L', m, p->gram, m) != 0)
        return az_fail(az, AZ_NUMERIC, "the covariance of y is not positive definite: the noise variance is too small");
    memcpy(p->white, y, (size_t)m * sizeof *y);
    cblas_ztrsm(CblasColMajor, CblasLeft, CblasLower, CblasNoTrans, CblasNonUnit, m, k, &one, p->gram, m, p->half, m);
    cblas_ztrsm(CblasColMajor, CblasLeft, CblasLower, CblasNoTrans, CblasNonUnit, m, 1, &one, p->gram, m, p->white, m);
    cblas_zgemv(CblasColMajor, CblasConjTrans, m, k, &one, p->half, m, p->white, 1, &zero, mean, 1);
    *cost = norm(p->white, m) * norm(p->white, m);
    for (int i = 0; i < m; i++) *cost += 2 * log(creal(p->gram[(int64_t)i * (m + 1)]));
    for (int j = 0; j < k; j++) {
        const double explained = norm(p->half + (int64_t)j * m, m);
        mean[j] *= sqrt(p->gamma[j]);
        variance[j] = p->gamma[j] * (1 - explained * explained);
        p->moment[j] = fmax(variance[j], 0) + square(mean[j]);
    }
    return true;
}

static void update_noise(dense *p, const az_complex *y, const az_complex *mean, const double *variance, az_complex *residual)
{
    const az_complex minus = -1, one = 1;
    double free = 0;
    memcpy(residual, y, (size_t)p->m * sizeof *y);
    cblas_zgemv(CblasColMajor, CblasNoTrans, (int)p->m, (int)p->kept, &minus, p->a, (int)p->m, mean, 1, &one, residual, 1);
    for (int64_t j = 0; j < p->kept; j++) free += 1 - variance[j] / p->gamma[j];
    const double off = norm(residual, p->m);
    p->noise = fmax((off * off + p->noise * free) / (double)p->m, p->lowest_noise);
}

/* Precisions 1 / (moment + beta neighbours), themselves coupled (Fang, Shen, Li, Li 2015). */
static void couple(dense *p, double beta, double *precision)
{
    for (int64_t j = 0; j < p->kept; j++) {
        const bool left = j > 0 && p->place[j - 1] == p->place[j] - 1, right = j + 1 < p->kept && p->place[j + 1] == p->place[j] + 1;
        precision[j] = 1 / (p->moment[j] + beta * ((left ? p->moment[j - 1] : 0) + (right ? p->moment[j + 1] : 0)) + 2e-4);
    }
    for (int64_t j = 0; j < p->kept; j++) {
        const bool left = j > 0 && p->place[j - 1] == p->place[j] - 1, right = j + 1 < p->kept && p->place[j + 1] == p->place[j] + 1;
        p->gamma[j] = 1 / (precision[j] + beta * ((left ? precision[j - 1] : 0) + (right ? precision[j + 1] : 0)));
    }
}

static void prune(dense *p, double share)
{
    double largest = 0;
    int64_t kept = 0;
    for (int64_t j = 0; j < p->kept; j++) largest = fmax(largest, p->gamma[j]);
    for (int64_t j = 0; j < p->kept; j++) {
        if (!(p->gamma[j] >= share * largest)) continue;
        if (kept < j) memcpy(p->a + kept * p->m, p->a + j * p->m, (size_t)p->m * sizeof *p->a);
        p->gamma[kept] = p->gamma[j];
        p->place[kept++] = p->place[j];
    }
    p->kept = kept;
}

static double change(dense *p)
{
    double moved = 0, size = 0;
    int64_t at = 0;
    for (int64_t j = 0; j < p->n; j++) {
        const double now = at < p->kept && p->place[at] == j ? p->gamma[at++] : 0;
        moved += (now - p->before[j]) * (now - p->before[j]);
        size += p->before[j] * p->before[j];
        p->before[j] = now;
    }
    return size > 0 ? sqrt(moved / size) : INFINITY;
}

az_sbl_fit *az_sbl_dense(az_ctx *az, const az_kron *a, const az_complex *y, const az_sbl_how *how)
{
    dense p;
    az_sbl_fit *fit = az_alloc(az, sizeof *fit);
    if (!fit || !begin(az, a, y, how, &p) || !(fit->costs = az_alloc_array(az, (size_t)how->iterations, sizeof(double)))) return NULL;
    az_complex *mean = az_alloc_array(az, (size_t)p.n, sizeof *mean), *residual = az_alloc_array(az, (size_t)p.m, sizeof *residual);
    double *variance = az_alloc_array(az, (size_t)p.n, sizeof *variance), *precision = az_alloc_array(az, (size_t)p.n, sizeof *precision);
    fit->x = az_alloc_array(az, (size_t)p.n, sizeof *fit->x);
    if (!mean || !residual || !variance || !precision || !fit->x) return NULL;
    while (fit->iterations < how->iterations && !fit->converged) {
        if (!posterior(az, &p, y, mean, variance, &fit->costs[fit->iterations])) return NULL;
        fit->iterations++;
        if (how->noise < 0) update_noise(&p, y, mean, variance, residual);
        if (how->kind == AZ_SBL_COUPLED)
            couple(&p, how->beta, precision);
        else
            memcpy(p.gamma, p.moment, (size_t)p.kept * sizeof *p.gamma);
        prune(&p, how->prune[0]);
        if (p.kept == 0) return az_fail(az, AZ_NUMERIC, "nothing is left of the dictionary: lower prune");
        fit->converged = change(&p) <= how->tolerance;
        if (!az_progress(az, az_sbl_names[how->kind], fit->iterations, how->iterations, NULL))
            return az_fail(az, AZ_INTERRUPTED, "interrupted after %lld iterations", (long long)fit->iterations);
    }
    if (!posterior(az, &p, y, mean, variance, &fit->cost)) return NULL;
    for (int64_t j = 0; j < p.kept; j++) fit->x[p.place[j]] = mean[j];
    fit->gamma[0] = p.before, fit->noise = p.noise, fit->support = p.kept;
    return fit;
}

/* ---- greedy ---- */

/* Least squares on the given columns: x on the whole grid, the residual. */
static bool fit_support(az_ctx *az, const az_kron *a, const az_complex *y, const int64_t *support, int64_t count, az_complex *x,
                        az_complex *residual)
{
    const int64_t m = az_kron_rows(a), n = az_kron_columns(a), longest = m > count ? m : count;
    const az_complex minus = -1, one = 1;
    lapack_int rank = 0;
    az_scope_push(az);
    az_complex *columns = az_alloc_array(az, (size_t)(m * count), sizeof *columns),
               *work = az_alloc_array(az, (size_t)(m * count), sizeof *work);
    az_complex *right = az_alloc_array(az, (size_t)longest, sizeof *right);
    double *s = az_alloc_array(az, (size_t)longest, sizeof *s);
    bool done = columns && work && right && s;
    for (int64_t k = 0; done && k < count; k++) az_kron_column(a, support[k], columns + k * m);
    if (done) {
        memcpy(work, columns, (size_t)(m * count) * sizeof *work);
        memcpy(right, y, (size_t)m * sizeof *right);
        memset(x, 0, (size_t)n * sizeof *x);
        memcpy(residual, y, (size_t)m * sizeof *residual);
        /* zgels wants independent columns: sparse supports of random matrices are */
        done = count < m ? LAPACKE_zgels(LAPACK_COL_MAJOR, 'N', (int)m, (int)count, 1, work, (int)m, right, (int)longest) == 0
                         : LAPACKE_zgelss(LAPACK_COL_MAJOR, (int)m, (int)count, 1, work, (int)m, right, (int)longest, s, 1e-12, &rank) == 0;
        for (int64_t k = 0; k < count; k++) x[support[k]] = right[k];
        cblas_zgemv(CblasColMajor, CblasNoTrans, (int)m, (int)count, &minus, columns, (int)m, right, 1, &one, residual, 1);
    }
    az_scope_pop(az);
    return done || az_fail(az, AZ_NUMERIC, "the regression on %lld columns failed", (long long)count);
}

/* Norms of the columns of A, a Kronecker product themselves. */
static double *column_norms(az_ctx *az, const az_kron *a)
{
    double *norms[AZ_KRON_MOST];
    int64_t n[AZ_KRON_MOST];
    for (int f = 0; f < a->factors; f++) {
        n[f] = a->factor[f].columns;
        norms[f] = az_alloc_array(az, (size_t)n[f], sizeof(double));
        for (int64_t j = 0; norms[f] && j < n[f]; j++)
            norms[f][j] = cblas_dznrm2((int)a->factor[f].rows, a->factor[f].value + j, (int)n[f]);
    }
    return az_ok(az) ? az_kron_vectors(az, a->factors, n, norms) : NULL;
}

/* The column that correlates most with the residual; -1 when none does. */
static int64_t best_column(az_ctx *az, const az_kron *a, const az_complex *residual, const double *norms)
{
    int64_t best = -1;
    double most = 0;
    az_scope_push(az);
    const az_complex *products = az_kron_adjoint_times(az, a, residual);
    for (int64_t j = 0; products && j < az_kron_columns(a); j++) {
        const double size = norms[j] > 0 ? sqrt(square(products[j])) / norms[j] : 0;
        if (size > most) most = size, best = j;
    }
    az_scope_pop(az);
    return best;
}

static bool pursue(az_ctx *az, const az_kron *a, const az_complex *y, const az_sbl_how *how, az_sbl_fit *fit, az_complex *residual)
{
    const int64_t m = az_kron_rows(a);
    const double enough = how->noise >= 0 ? sqrt(how->noise * (double)m) : 1e-2 * norm(y, m);
    int64_t *support = az_alloc_array(az, (size_t)m, sizeof *support);
    const double *norms = column_norms(az, a);
    while (support && norms && fit->support < m && norm(residual, m) > enough) {
        const int64_t next = best_column(az, a, residual, norms);
        bool again = next < 0;
        for (int64_t k = 0; k < fit->support; k++) again = again || support[k] == next;
        if (again) break;
        support[fit->support++] = next;
        fit->iterations++;
        if (!fit_support(az, a, y, support, fit->support, fit->x, residual)) return false;
    }
    return az_ok(az);
}

enum { MOST_INDICES = 10 };

/* Chosen columns of each factor. */
typedef struct product_support {
    int64_t chosen[AZ_KRON_MOST][MOST_INDICES], count[AZ_KRON_MOST];
} product_support;

/* The chosen columns of a factor, and their pseudo-inverse [count, rows]. */
static bool invert(az_ctx *az, const az_kron_factor *a, const int64_t *chosen, int64_t count, az_kron_factor *columns,
                   az_kron_factor *inverse)
{
    const int64_t rows = a->rows, longest = rows > count ? rows : count;
    lapack_int rank = 0;
    az_complex *picked = az_alloc_array(az, (size_t)(rows * count), sizeof *picked),
               *work = az_alloc_array(az, (size_t)(rows * count), sizeof *work);
    az_complex *right = az_alloc_array(az, (size_t)(longest * rows), sizeof *right);
    double *s = az_alloc_array(az, (size_t)longest, sizeof *s);
    if (!picked || !work || !right || !s) return false;
    for (int64_t r = 0; r < rows; r++) {
        right[r * rows + r] = 1;
        for (int64_t k = 0; k < count; k++) picked[r * count + k] = work[r * count + k] = a->value[r * a->columns + chosen[k]];
    }
    *columns = (az_kron_factor){rows, count, picked};
    *inverse = (az_kron_factor){count, rows, right};
    return LAPACKE_zgelss(LAPACK_ROW_MAJOR, (int)rows, (int)count, (int)rows, work, (int)count, right, (int)rows, s, 1e-12, &rank) == 0 ||
           az_fail(az, AZ_NUMERIC, "the pseudo-inverse of a factor was not found");
}

/* Least squares on all combinations of the chosen columns: the pseudo-inverse of a Kronecker product is that of the factors. */
static bool fit_product(az_ctx *az, const az_kron *a, const az_complex *y, const product_support *on, az_complex *x, az_complex *residual)
{
    const int64_t m = az_kron_rows(a), n = az_kron_columns(a);
    az_kron columns = {.factors = a->factors}, inverse = {.factors = a->factors};
    az_scope_push(az);
    bool done = true;
    for (int f = 0; done && f < a->factors; f++)
        done = invert(az, &a->factor[f], on->chosen[f], on->count[f], &columns.factor[f], &inverse.factor[f]);
    const az_complex *coefficient = done ? az_kron_times(az, &inverse, y) : NULL;
    const az_complex *fit = coefficient ? az_kron_times(az, &columns, coefficient) : NULL;
    for (int64_t i = 0; fit && i < m; i++) residual[i] = y[i] - fit[i];
    if (fit) memset(x, 0, (size_t)n * sizeof *x);
    for (int64_t k = 0; fit && k < az_kron_columns(&columns); k++) {
        int64_t rest = k, at = 0, stride = 1;
        for (int f = a->factors - 1; f >= 0; f--) {
            at += stride * on->chosen[f][rest % on->count[f]];
            rest /= on->count[f];
            stride *= a->factor[f].columns;
        }
        x[at] = coefficient[k];
    }
    az_scope_pop(az);
    return fit != NULL;
}

static bool pursue_product(az_ctx *az, const az_kron *a, const az_complex *y, az_sbl_fit *fit, az_complex *residual)
{
    product_support on = {0};
    const double *norms = column_norms(az, a), whole = norm(y, az_kron_rows(a));
    while (norms && norm(residual, az_kron_rows(a)) > 1e-2 * whole) {
        int64_t next = best_column(az, a, residual, norms);
        bool added = false;
        if (next < 0) break;
        for (int f = a->factors - 1; f >= 0; f--) {
            const int64_t index = next % a->factor[f].columns;
            bool there = false;
            for (int64_t k = 0; k < on.count[f]; k++) there = there || on.chosen[f][k] == index;
            if (!there && on.count[f] < MOST_INDICES) on.chosen[f][on.count[f]++] = index, added = true;
            next /= a->factor[f].columns;
        }
        if (!added) break;
        fit->support = 1;
        for (int f = 0; f < a->factors; f++) fit->support *= on.count[f];
        fit->iterations++;
        if (!fit_product(az, a, y, &on, fit->x, residual)) return false;
    }
    return az_ok(az);
}

static bool use_truth(az_ctx *az, const az_kron *a, const az_complex *y, const az_complex *truth, az_sbl_fit *fit, az_complex *residual)
{
    int64_t *support = az_alloc_array(az, (size_t)az_kron_columns(a), sizeof *support);
    for (int64_t j = 0; support && j < az_kron_columns(a); j++)
        if (truth[j] != 0) support[fit->support++] = j;
    if (fit->support * az_kron_rows(a) > MOST_ENTRIES)
        return az_fail(az, AZ_BAD_INPUT, "the support of the truth is too large for least squares");
    return fit->support == 0 || fit_support(az, a, y, support, fit->support, fit->x, residual);
}

az_sbl_fit *az_sbl_greedy(az_ctx *az, const az_kron *a, const az_complex *y, const az_sbl_how *how)
{
    const int64_t m = az_kron_rows(a);
    az_sbl_fit *fit = az_alloc(az, sizeof *fit);
    az_complex *residual = az_alloc_array(az, (size_t)m, sizeof *residual);
    if (!fit || !residual || !(fit->x = az_alloc_array(az, (size_t)az_kron_columns(a), sizeof *fit->x))) return NULL;
    memcpy(residual, y, (size_t)m * sizeof *residual);
    bool done = how->kind == AZ_SBL_OMP    ? pursue(az, a, y, how, fit, residual)
                : how->kind == AZ_SBL_KOMP ? pursue_product(az, a, y, fit, residual)
                                           : use_truth(az, a, y, how->truth, fit, residual);
    const double off = norm(residual, m);
    fit->noise = off * off / (double)m, fit->cost = NAN, fit->converged = done;
    return done ? fit : NULL;
}
