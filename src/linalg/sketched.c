/* sketched.c - least squares by conjugate gradients whose preconditioner comes from a small random projection (Rokhlin & Tygert 2008).
 *
 * S A is a subsampled randomized Hadamard transform of A [m, k]: random signs, the transform, `rows` rows of it at random. With S A = Q R
 * the columns of A R^-1 are nearly orthonormal, so few steps on y = R x reach any accuracy; y_0 = Q^T S b. */
#include "linalg/linalg_internal.h"

#include <math.h>
#include <string.h>

static int64_t padded(int64_t m)
{
    int64_t n = 1;
    while (n < m) n *= 2;
    return n;
}

/* Conjugate gradients on min |A R^-1 y - b|: the pieces of their workspace. */
typedef struct iteration {
    const double *a, *b, *r; /* [m, k], [m], [k, k] upper triangle with rows ldr apart */
    int64_t m, k, ldr;
    double *residual, *image;         /* [m] b - A x, A R^-1 p */
    double *slope, *direction, *step; /* [k] (A R^-1)^T residual, p, R^-1 p */
} iteration;

static iteration lay_out_iteration(const double *a, const double *b, int64_t m, int64_t k, double *work)
{
    iteration p = {.a = a, .b = b, .m = m, .k = k, .residual = work, .image = work + m, .slope = work + 2 * m};
    p.direction = p.slope + k, p.step = p.direction + k;
    return p;
}

/* The sketch of (A, b). */
typedef struct sketched {
    const double *a, *b; /* [m, k], [m] */
    int64_t m, k, rows;
    double *mixed;   /* [padded, k + 1] (A, b) after signs and transform */
    double *sketch;  /* [rows, k + 1], then Q R of its first k columns */
    double *scratch; /* [k] */
    uint64_t *taken; /* [padded / 64 + 1] rows already drawn */
    double *rest;    /* [2 m + 4 k] */
} sketched;

int64_t az_sketched_workspace(int64_t m, int64_t k, int64_t rows)
{
    const int64_t n = padded(m);
    return n * (k + 1) + (rows < m ? rows : m) * (k + 1) + k + n / 64 + 1 + 2 * m + 4 * k;
}

static sketched lay_out(const double *a, const double *b, int64_t m, int64_t k, int64_t rows, double *work)
{
    const int64_t n = padded(m);
    sketched p = {.a = a, .b = b, .m = m, .k = k, .rows = rows < m ? rows : m, .mixed = work};
    p.sketch = p.mixed + n * (k + 1);
    p.scratch = p.sketch + p.rows * (k + 1);
    p.taken = (uint64_t *)(void *)(p.scratch + k);
    p.rest = p.scratch + k + n / 64 + 1;
    return p;
}

static void mix(sketched *p, az_rng *rng)
{
    const int64_t n = padded(p->m), width = p->k + 1;
    uint32_t bits = 0;
    for (int64_t i = 0; i < p->m; i++) {
        if (i % 32 == 0) bits = az_random_bits(rng);
        const double sign = bits >> (i % 32) & 1 ? 1 : -1;
        for (int64_t j = 0; j < p->k; j++) p->mixed[i * width + j] = sign * p->a[i * p->k + j];
        p->mixed[i * width + p->k] = sign * p->b[i];
    }
    memset(p->mixed + p->m * width, 0, (size_t)((n - p->m) * width) * sizeof *p->mixed);
    az_walsh_hadamard(p->mixed, n, width, 1);
}

/* Different rows of the mixed matrix, times 1 / sqrt(rows). */
static void sample(sketched *p, az_rng *rng)
{
    const int64_t n = padded(p->m), width = p->k + 1;
    const double scale = 1 / sqrt((double)p->rows);
    memset(p->taken, 0, (size_t)(n / 64 + 1) * sizeof *p->taken);
    for (int64_t i = 0; i < p->rows;) {
        const uint64_t row = az_below(rng, (uint64_t)n), bit = (uint64_t)1 << (row % 64);
        if (p->taken[row / 64] & bit) continue;
        p->taken[row / 64] |= bit;
        for (int64_t j = 0; j < width; j++) p->sketch[i * width + j] = scale * p->mixed[(int64_t)row * width + j];
        i++;
    }
}

/* Leaves R in the upper triangle of the sketch and Q^T S b in its last column; false when a column depends on the others. */
static bool factor(sketched *p)
{
    const int rows = (int)p->rows, k = (int)p->k, width = k + 1;
    /* Householder vectors by hand: LAPACK would transpose a row-major matrix back and forth */
    double largest = 0;
    for (int j = 0; j < k; j++) {
        double norm = cblas_dnrm2(rows - j, p->sketch + j * width + j, width);
        largest = fmax(largest, norm);
        if (!(norm > 1e-13 * largest)) return false;
        double *column = p->sketch + j * width + j;
        const double alpha = *column > 0 ? -norm : norm, top = *column - alpha, beta = 1 / (norm * (norm + fabs(*column)));
        *column = top;
        cblas_dgemv(CblasRowMajor, CblasTrans, rows - j, width - j - 1, 1, column + 1, width, column, width, 0, p->scratch, 1);
        cblas_dger(CblasRowMajor, rows - j, width - j - 1, -beta, column, width, p->scratch, 1, column + 1, width);
        *column = alpha;
    }
    return true;
}

static void solve_r(const iteration *p, CBLAS_TRANSPOSE how, double *x)
{
    cblas_dtrsv(CblasRowMajor, CblasUpper, how, CblasNonUnit, (int)p->k, p->r, (int)p->ldr, x, 1);
}

static void times(const iteration *p, CBLAS_TRANSPOSE how, const double *x, double *y)
{
    cblas_dgemv(CblasRowMajor, how, (int)p->m, (int)p->k, 1, p->a, (int)p->k, x, 1, 0, y, 1);
}

/* slope = R^-T A^T residual; its norm. */
static double find_slope(iteration *p)
{
    times(p, CblasTrans, p->residual, p->slope);
    solve_r(p, CblasTrans, p->slope);
    return cblas_dnrm2((int)p->k, p->slope, 1);
}

static void step_along(iteration *p, double length, double *x)
{
    cblas_daxpy((int)p->k, length, p->step, 1, x, 1);
    cblas_daxpy((int)p->m, -length, p->image, 1, p->residual, 1);
}

/* Conjugate gradients (Hestenes & Stiefel's form for least squares), or steps of length one along the slope. */
static void polish(iteration *p, double *x, const az_sketched_how *how, az_sketched_result *result)
{
    const int k = (int)p->k;
    memcpy(p->residual, p->b, (size_t)p->m * sizeof *p->b);
    const double target = how->tolerance * find_slope(p);
    times(p, CblasNoTrans, x, p->image);
    cblas_daxpy((int)p->m, -1, p->image, 1, p->residual, 1);
    double norm = find_slope(p), before = norm;
    memcpy(p->direction, p->slope, (size_t)k * sizeof *p->slope);
    while (norm > target && result->steps < how->most_steps) {
        memcpy(p->step, p->direction, (size_t)k * sizeof *p->step);
        solve_r(p, CblasNoTrans, p->step);
        times(p, CblasNoTrans, p->step, p->image);
        const double ratio = before / cblas_dnrm2((int)p->m, p->image, 1); /* squares of small numbers would vanish */
        const double length = how->plain ? 1 : ratio * ratio;
        step_along(p, length, x);
        norm = find_slope(p);
        const double turn = how->plain ? 0 : norm / before * (norm / before);
        for (int j = 0; j < k; j++) p->direction[j] = p->slope[j] + turn * p->direction[j];
        before = norm;
        result->steps++;
    }
    result->converged = norm <= target;
    result->operations += (result->steps * 2 + 3) * (p->m * p->k + p->k * p->k / 2);
}

az_sketched_result az_preconditioned_least_squares(const double *a, const double *b, int64_t m, int64_t k, const double *r, int64_t ldr,
                                                   double *x, const az_sketched_how *how, double *work)
{
    az_sketched_result result = {.full_rank = true};
    iteration p = lay_out_iteration(a, b, m, k, work);
    p.r = r, p.ldr = ldr;
    polish(&p, x, how, &result);
    return result;
}

/* All of (A, b) instead of a sketch. */
static void copy_whole(sketched *p)
{
    for (int64_t i = 0; i < p->m; i++) {
        memcpy(p->sketch + i * (p->k + 1), p->a + i * p->k, (size_t)p->k * sizeof *p->a);
        p->sketch[i * (p->k + 1) + p->k] = p->b[i];
    }
}

az_sketched_result az_sketched_least_squares(const double *a, const double *b, int64_t m, int64_t k, double *x, const az_sketched_how *how,
                                             double *work)
{
    az_sketched_result result = {0};
    sketched p = lay_out(a, b, m, k, how->rows, work);
    az_rng rng = az_rng_at(how->seed, how->stream);
    const bool whole = p.rows == m;
    if (whole) {
        copy_whole(&p);
    } else {
        mix(&p, &rng);
        sample(&p, &rng);
        for (int64_t n = padded(m), h = 1; h < n; h *= 2) result.operations += n * (k + 1);
    }
    result.operations += 2 * p.rows * k * k;
    result.full_rank = m >= k && factor(&p);
    if (!result.full_rank) return result;
    iteration inner = lay_out_iteration(a, b, m, k, p.rest);
    inner.r = p.sketch, inner.ldr = k + 1;
    for (int64_t j = 0; j < k; j++) x[j] = p.sketch[j * (k + 1) + k];
    solve_r(&inner, CblasNoTrans, x);
    result.converged = whole;
    if (!whole) polish(&inner, x, how, &result);
    return result;
}
