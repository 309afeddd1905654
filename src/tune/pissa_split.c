/* pissa_split.c - one matrix as a residual and two factors, the residual quantized where that is asked. */
#include "tune/pissa.h"

#include <float.h>
#include <math.h>

/* Place of the first triple of the wanted part among k. */
static int64_t first_triple(const az_pissa_how *how, int64_t k)
{
    switch (how->part) {
    case AZ_PISSA_MEDIUM: return (k - how->rank) / 2;
    case AZ_PISSA_MINOR: return k - how->rank;
    default: return 0;
    }
}

/* The wanted triples: u [out, rank], s [rank], vt [rank, in]. */
static bool triples(az_ctx *az, const az_tensor *x, const az_pissa_how *how, az_tensor **u, az_tensor **s, az_tensor **vt)
{
    if (how->finder) {
        az_range_finder finder = *how->finder;
        finder.rank = how->rank;
        return az_svd_range(az, x, &finder, u, s, vt);
    }
    if (!az_svd(az, x, u, s, vt)) return false;
    const int64_t first = first_triple(how, (*s)->shape[0]);
    *u = az_slice(az, *u, 1, first, how->rank);
    *s = az_slice(az, *s, 0, first, how->rank);
    *vt = az_slice(az, *vt, 0, first, how->rank);
    return az_ok(az);
}

/* A triple of singular value zero would never learn, for both its gradients are zero: it starts as LoRA does. */
static int64_t revive(az_ctx *az, const az_pissa_how *how, const az_tensor *s, double least, az_tensor *a)
{
    const double bound = 1 / sqrt((double)a->shape[1]);
    int64_t dead = 0;
    for (int64_t i = 0; i < how->rank; i++) {
        if (az_item(s, i) > least) continue;
        const az_tensor *row = az_rand(az, a->dtype, 2, (int64_t[]){1, a->shape[1]}, -bound, bound, how->seed, (uint64_t)i);
        if (row) az_copy_into(az, az_slice(az, a, 0, i, 1), row);
        dead++;
    }
    return dead;
}

/* B and A of x; both have the root of S / s. */
static bool factor(az_ctx *az, const az_tensor *x, const az_pissa_how *how, az_pissa_split *out)
{
    az_tensor *u, *s, *vt;
    if (!triples(az, x, how, &u, &s, &vt)) return false;
    const double eps = x->dtype == AZ_F32 ? FLT_EPSILON : DBL_EPSILON;
    const int64_t longer = x->shape[0] > x->shape[1] ? x->shape[0] : x->shape[1];
    const double least = eps * (double)longer * sqrt(az_to_double(az_dot(az, x, x))); /* |x| is at least the largest singular value */
    const az_tensor *root = az_sqrt(az, az_affine(az, az_maximum(az, s, az_scalar(az, s->dtype, 0)), 1 / how->scale, 0));
    const az_tensor *alive = az_where(az, az_relu(az, az_affine(az, s, 1, -least)), root, az_scalar(az, s->dtype, 0));
    out->b = az_mul(az, u, alive);
    out->a = az_mul(az, vt, az_reshape(az, alive, 2, (int64_t[]){how->rank, 1}));
    out->dead = out->a ? revive(az, how, s, least, out->a) : 0;
    return az_ok(az);
}

/* A matrix in the residual's format. */
static az_weight *stored(az_ctx *az, const az_pissa_how *how, az_tensor *x)
{
    az_weight *dense = az_weight_dense(az, x);
    if (!how->format || !dense) return dense;
    const az_format *format = dense->cols % how->format->block == 0 ? how->format : az_format_by_name("f16");
    return az_weight_encode(az, dense, format, NULL);
}

/* w - what is stored, of the type of w. */
static az_tensor *lost(az_ctx *az, const az_tensor *w, const az_weight *stored_weight)
{
    return stored_weight ? az_sub(az, w, az_cast(az, az_weight_decode(az, stored_weight), w->dtype)) : NULL;
}

bool az_pissa_start_of(az_ctx *az, const az_tensor *w, const az_pissa_how *how, az_pissa_split *out)
{
    if (!w || !az_ok(az)) return false;
    const int64_t most = w->shape[0] < w->shape[1] ? w->shape[0] : w->shape[1];
    if (how->rank < 1 || how->rank > most)
        return az_fail(az, AZ_BAD_INPUT, "rank %lld of a matrix %s, which has %lld singular values", (long long)how->rank,
                       az_shape_text(az, w), (long long)most);
    const int64_t rounds = how->format && how->iterations > 1 ? how->iterations : 1;
    *out = (az_pissa_split){0};
    const az_tensor *target = w;
    if (how->format && how->start == AZ_PISSA_OF_LOSS) target = lost(az, w, stored(az, how, az_copy(az, w)));
    for (int64_t i = 0; i < rounds && target && factor(az, target, how, out); i++) {
        out->residual = stored(az, how, az_sub(az, w, az_affine(az, az_matmul(az, out->b, out->a), how->scale, 0)));
        if (i + 1 < rounds) target = lost(az, w, out->residual);
    }
    return az_ok(az) && out->residual;
}

double az_nuclear_norm(az_ctx *az, const az_tensor *x)
{
    az_tensor *s = NULL;
    az_scope_push(az);
    const double norm = az_svd(az, x, NULL, &s, NULL) ? az_to_double(az_sum(az, az_cast(az, s, AZ_F64), AZ_ALL_AXES, false)) : NAN;
    az_scope_pop(az);
    return norm;
}
