/* prune_scores.c - what dropping a weight costs, by the scores that several methods choose their masks by. */
#include "compress/compress_internal.h"

#include "adze/linalg.h"

#include <math.h>

az_tensor *az_wanda_scores(az_ctx *az, const az_tensor *w, const double *square)
{
    if (!w) return NULL;
    az_tensor *norm = az_new1(az, AZ_F32, w->shape[1]);
    for (int64_t j = 0; norm && j < w->shape[1]; j++) az_f32_mut(norm)[j] = (float)sqrt(square[j]);
    return az_mul(az, az_abs(az, w), norm);
}

/* The Hessian: a damped copy of the Gram matrix. Inputs that never fire get a 1 on the diagonal, which keeps it regular. */
static az_tensor *damped_hessian(az_ctx *az, const az_tensor *gram, double damp)
{
    az_tensor *h = az_copy(az, gram);
    if (!h) return NULL;
    const int64_t n = h->shape[0];
    double *value = az_f64_mut(h), mean = 0;
    for (int64_t j = 0; j < n; j++) {
        if (value[j * n + j] == 0) value[j * n + j] = 1;
        mean += value[j * n + j] / (double)n;
    }
    for (int64_t j = 0; j < n; j++) value[j * n + j] += damp * mean;
    return h;
}

/* The matrix with rows and columns in the opposite order. */
static az_tensor *reversed(az_ctx *az, const az_tensor *a)
{
    if (!a) return NULL;
    const int64_t n = a->shape[0];
    az_tensor *b = az_new2(az, AZ_F64, n, n);
    const double *from = az_f64(a);
    double *to = az_f64_mut(b);
    for (int64_t i = 0; b && i < n * n; i++) to[i] = from[n * n - 1 - i];
    return b;
}

/* In reversed order H's Cholesky factor is an upper R with R R^T = H, and U = R^-1: H is never inverted. */
az_tensor *az_inverse_factor(az_ctx *az, const az_tensor *gram, double damp)
{
    az_scope_push(az);
    const az_tensor *l = az_cholesky(az, reversed(az, damped_hessian(az, gram, damp)));
    az_tensor *u = NULL;
    if (l) {
        const az_tensor *identity = az_identity(az, AZ_F64, l->shape[0]);
        u = az_cast(az, az_solve_triangular(az, reversed(az, l), identity, (az_triangle){.upper = true}), AZ_F32);
    } else {
        az_fail_context(az, "the inputs' Hessian needs a larger damp");
    }
    return az_keep(az, u);
}

az_tensor *az_sparsegpt_scores(az_ctx *az, const az_tensor *w, const az_tensor *u)
{
    if (!w || !u) return NULL;
    const int64_t cols = w->shape[1];
    az_tensor *diagonal = az_new1(az, AZ_F32, cols);
    for (int64_t j = 0; diagonal && j < cols; j++) az_f32_mut(diagonal)[j] = az_f32(u)[j * cols + j];
    return az_square(az, az_div(az, w, diagonal));
}

const az_tensor *az_factor_of(az_ctx *az, az_factor_memo *memo, const az_lm_linear *linear, const az_tensor *gram, double damp)
{
    if (memo->u && memo->block == linear->block && memo->gram == gram) return memo->u;
    az_arena_free(az, memo->arena);
    *memo = (az_factor_memo){.block = linear->block, .gram = gram, .arena = az_arena_new(az)};
    const az_tensor *u = az_inverse_factor(az, gram, damp);
    if (!u || !memo->arena) return NULL;
    az_arena_enter(az, memo->arena);
    memo->u = az_share(az, u);
    az_arena_leave(az);
    return memo->u;
}
