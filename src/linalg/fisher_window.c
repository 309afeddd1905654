/* fisher_window.c - the inverse empirical Fisher matrix of the last m gradients.
 *
 * With K = m damp I + G G^T over the ring of gradients G [m, d]: F^-1 x = (x - G^T K^-1 G x) / damp. A push replaces a row of G and the
 * row and column of G G^T that belong to it. The order of the rows in the ring does not matter: F is a sum. Products of gradients,
 * their factor and vectors of m entries are double; only G is float.
 *
 * Frantar, Kurtic, Alistarh: "M-FAC: efficient matrix-free approximations of second-order information", NeurIPS 2021
 * (arXiv 2107.03356), section 4: their factors of S = m I + G G^T / damp follow from the Cholesky factor of K. */
#include "linalg/linalg_internal.h"

#include <string.h>

enum { BLOCK = 4096, LANES = 8 }; /* entries of x that a thread updates at a time; running sums of a dot product */

struct az_fisher_window {
    int64_t m, d;
    double damp;
    az_tensor *gradients; /* [m, d] f32 */
    az_tensor *gram;      /* [m, m] f64: G G^T */
    az_tensor *pushes;    /* [1] f64: how many so far, a number that may be saved like the rest */
    double *factor;       /* [m, m] Cholesky factor of K, lower */
    bool fresh;           /* factor belongs to the present gram */
};

az_fisher_window *az_fisher_window_new(az_ctx *az, int64_t m, int64_t d, double damp)
{
    if (!az_ok(az)) return NULL;
    if (m < 1 || d < 0) return az_fail(az, AZ_BAD_INPUT, "fisher: a window of %lld gradients of %lld entries", (long long)m, (long long)d);
    if (!(damp > 0 && damp < 1e300)) return az_fail(az, AZ_BAD_INPUT, "fisher: damp is %g, not above 0", damp);
    az_fisher_window *w = az_alloc(az, sizeof *w);
    if (!w) return NULL;
    *w = (az_fisher_window){
        .m = m,
        .d = d,
        .damp = damp,
        .gradients = az_zeros(az, AZ_F32, 2, (int64_t[]){m, d}),
        .gram = az_zeros(az, AZ_F64, 2, (int64_t[]){m, m}),
        .pushes = az_zeros(az, AZ_F64, 1, (int64_t[]){1}),
        .factor = az_alloc_array(az, (size_t)m * (size_t)m, sizeof *w->factor),
    };
    if (az_ok(az)) return w;
    az_fail_context(az, "a window of %lld gradients of %lld entries, %.3g GiB", (long long)m, (long long)d,
                    (double)m * (double)d * 4 / (1 << 30));
    return NULL;
}

static double dot(const float *a, const float *b, int64_t n)
{
    double lane[LANES] = {0}, sum = 0;
    const int64_t whole = n - n % LANES;
    for (int64_t j = 0; j < whole; j += LANES)
        for (int k = 0; k < LANES; k++) lane[k] += (double)a[j + k] * b[j + k];
    for (int64_t j = whole; j < n; j++) sum += (double)a[j] * b[j];
    for (int k = 0; k < LANES; k++) sum += lane[k];
    return sum;
}

/* p [m] = G x */
static void project(az_ctx *az, const az_fisher_window *w, const float *x, double *p)
{
    const float *g = az_f32(w->gradients);
#pragma omp parallel for schedule(static) num_threads(az_threads(az))
    for (int64_t i = 0; i < w->m; i++) p[i] = dot(g + i * w->d, x, w->d);
}

/* y = (x - G^T c) / damp */
static void expand(az_ctx *az, const az_fisher_window *w, const float *x, const double *c, float *y)
{
    const float *g = az_f32(w->gradients);
#pragma omp parallel for schedule(static) num_threads(az_threads(az))
    for (int64_t first = 0; first < w->d; first += BLOCK) {
        const int64_t n = w->d - first < BLOCK ? w->d - first : BLOCK;
        double sum[BLOCK];
        for (int64_t j = 0; j < n; j++) sum[j] = x[first + j];
        for (int64_t i = 0; i < w->m; i++) {
            const float *row = g + i * w->d + first;
            for (int64_t j = 0; j < n; j++) sum[j] -= c[i] * row[j];
        }
        for (int64_t j = 0; j < n; j++) y[first + j] = (float)(sum[j] / w->damp);
    }
}

static bool refactor(az_ctx *az, az_fisher_window *w)
{
    if (w->fresh) return true;
    memcpy(w->factor, az_f64(w->gram), (size_t)(w->m * w->m) * sizeof *w->factor);
    for (int64_t i = 0; i < w->m; i++) w->factor[i * w->m + i] += w->damp * (double)w->m;
    const lapack_int info = LAPACKE_dpotrf(LAPACK_ROW_MAJOR, 'L', (lapack_int)w->m, w->factor, (lapack_int)w->m);
    if (info != 0) return az_fail(az, AZ_NUMERIC, "fisher: damp = %g is lost beside gradients of this size; use a larger one", w->damp);
    return w->fresh = true;
}

static bool check_vector(az_ctx *az, const az_fisher_window *w, const az_tensor *x)
{
    if (!w || !x) return false;
    if (!az_f32(x) || x->rank != 1 || x->shape[0] != w->d)
        return az_fail(az, AZ_BAD_CALL, "fisher: a vector %s %s for a window of gradients of %lld f32 entries", az_dtype_name(x->dtype),
                       az_shape_text(az, x), (long long)w->d);
    return true;
}

/* F^-1 x when p = G x is known; p is overwritten. */
static az_tensor *finish(az_ctx *az, az_fisher_window *w, const az_tensor *x, double *p)
{
    az_tensor *y = az_new1(az, AZ_F32, w->d);
    if (!y || !refactor(az, w)) return NULL;
    LAPACKE_dpotrs(LAPACK_ROW_MAJOR, 'L', (lapack_int)w->m, 1, w->factor, (lapack_int)w->m, p, 1);
    expand(az, w, az_f32(x), p, az_f32_mut(y));
    return y;
}

/* The push, leaving p = G g with g in the window. */
static bool push(az_ctx *az, az_fisher_window *w, const az_tensor *g, double *p)
{
    const int64_t bad = az_first_nonfinite(g);
    if (bad >= 0) return az_fail(az, AZ_NUMERIC, "fisher: the gradient is not finite at entry %lld", (long long)bad);
    double *pushes = az_f64_mut(w->pushes);
    const int64_t row = (int64_t)*pushes % w->m;
    memcpy(az_f32_mut(w->gradients) + row * w->d, az_f32(g), (size_t)w->d * sizeof(float));
    project(az, w, az_f32(g), p);
    double *gram = az_f64_mut(w->gram);
    for (int64_t i = 0; i < w->m; i++) gram[row * w->m + i] = gram[i * w->m + row] = p[i];
    *pushes += 1;
    w->fresh = false;
    return true;
}

bool az_fisher_window_push(az_ctx *az, az_fisher_window *w, const az_tensor *g)
{
    if (!check_vector(az, w, g)) return false;
    az_scope_push(az);
    double *p = az_alloc_array(az, (size_t)w->m, sizeof *p);
    const bool good = p && push(az, w, g, p);
    az_scope_pop(az);
    return good;
}

az_tensor *az_fisher_window_push_solve(az_ctx *az, az_fisher_window *w, const az_tensor *g)
{
    if (!check_vector(az, w, g)) return NULL;
    az_scope_push(az);
    double *p = az_alloc_array(az, (size_t)w->m, sizeof *p);
    return az_keep(az, p && push(az, w, g, p) ? finish(az, w, g, p) : NULL);
}

az_tensor *az_fisher_window_solve(az_ctx *az, az_fisher_window *w, const az_tensor *x)
{
    if (!check_vector(az, w, x)) return NULL;
    az_scope_push(az);
    double *p = az_alloc_array(az, (size_t)w->m, sizeof *p);
    if (p) project(az, w, az_f32(x), p);
    return az_keep(az, p ? finish(az, w, x, p) : NULL);
}

void az_fisher_window_state(az_fisher_window *w, az_tensor *state[3])
{
    state[0] = w->gradients;
    state[1] = w->gram;
    state[2] = w->pushes;
    w->fresh = false; /* the caller may write into them */
}
