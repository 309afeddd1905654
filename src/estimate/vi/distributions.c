/* distributions.c - the distributions of random choices: range checks, draws, log densities. */
#include "adze/linalg.h"
#include "estimate/vi/vi_internal.h"

#include <math.h>
#include <string.h>

static const double log_two_pi = 1.83787706640934548356;

az_vi_distribution az_vi_normal(const az_tensor *mean, const az_tensor *sd)
{
    return (az_vi_distribution){AZ_VI_NORMAL, mean, sd, 0};
}

az_vi_distribution az_vi_uniform(const az_tensor *low, const az_tensor *high)
{
    return (az_vi_distribution){AZ_VI_UNIFORM, low, high, 0};
}

az_vi_distribution az_vi_beta(const az_tensor *a, const az_tensor *b)
{
    return (az_vi_distribution){AZ_VI_BETA, a, b, 0};
}

az_vi_distribution az_vi_gamma(const az_tensor *shape, const az_tensor *rate)
{
    return (az_vi_distribution){AZ_VI_GAMMA, shape, rate, 0};
}

az_vi_distribution az_vi_mvnormal(const az_tensor *mean, const az_tensor *lower)
{
    return (az_vi_distribution){AZ_VI_MVNORMAL, mean, lower, lower && lower->rank > 0 ? lower->shape[0] : 0};
}

az_vi_distribution az_vi_flip(const az_tensor *p)
{
    return (az_vi_distribution){AZ_VI_FLIP, p, NULL, 0};
}

az_vi_distribution az_vi_categorical(const az_tensor *logits)
{
    return (az_vi_distribution){AZ_VI_CATEGORICAL, logits, NULL, 0};
}

az_vi_distribution az_vi_vector(az_vi_distribution distribution, int64_t size)
{
    distribution.size = size;
    return distribution;
}

/* ---- what is allowed ---- */

typedef enum range { ANY, POSITIVE, PROBABILITY } range;
static const char *const range_texts[] = {"finite", "above 0", "within 0 and 1"};

typedef struct family_row {
    const char *name;
    bool discrete;
    const char *a_name, *b_name; /* b NULL: there is none */
    range a, b;
} family_row;

static const family_row families[] = {
    [AZ_VI_NORMAL] = {"normal", false, "mean", "standard deviation", ANY, POSITIVE},
    [AZ_VI_UNIFORM] = {"uniform", false, "lower end", "upper end", ANY, ANY},
    [AZ_VI_BETA] = {"beta", false, "first parameter", "second parameter", POSITIVE, POSITIVE},
    [AZ_VI_GAMMA] = {"gamma", false, "shape", "rate", POSITIVE, POSITIVE},
    [AZ_VI_MVNORMAL] = {"mvnormal", false, "mean", "Cholesky factor", ANY, ANY},
    [AZ_VI_FLIP] = {"flip", true, "probability", NULL, PROBABILITY, ANY},
    [AZ_VI_CATEGORICAL] = {"categorical", true, "logit", NULL, ANY, ANY},
};

const char *vi_family_name(az_vi_family family)
{
    return families[family].name;
}

bool vi_is_discrete(az_vi_family family)
{
    return families[family].discrete;
}

int64_t vi_support(const az_vi_distribution *d)
{
    if (d->size > 0) return 0;
    if (d->family == AZ_VI_FLIP) return 2;
    return d->family == AZ_VI_CATEGORICAL && d->a ? d->a->shape[d->a->rank - 1] : 0;
}

static bool within(double value, range allowed)
{
    if (!isfinite(value)) return false;
    return allowed == ANY || (allowed == POSITIVE && value > 0) || (allowed == PROBABILITY && value >= 0 && value <= 1);
}

/* The values of a parameter, one after the other; NULL on an error. */
static const double *values_of(az_ctx *az, const az_tensor *x)
{
    const az_tensor *packed = x ? az_contiguous(az, az_share(az, x)) : NULL;
    return packed ? az_f64(packed) : NULL;
}

static bool check_parameter(az_ctx *az, const char *address, const char *name, const az_tensor *x, range allowed)
{
    if (x->dtype != AZ_F64) return az_fail(az, AZ_BAD_CALL, "'%s': the %s is not of type f64", address, name);
    const int64_t n = az_count(x);
    const double *value = values_of(az, x);
    for (int64_t i = 0; value && i < n; i++)
        if (!within(value[i], allowed))
            return az_fail(az, AZ_BAD_INPUT, "'%s': the %s is %g; it must be %s", address, name, value[i], range_texts[allowed]);
    return value != NULL;
}

static bool check_shapes(az_ctx *az, const char *address, const az_vi_distribution *d)
{
    if (d->family == AZ_VI_CATEGORICAL && (d->a->rank < 1 || d->a->rank > 2 || d->size > 0))
        return az_fail(az, AZ_BAD_CALL, "'%s': logits are [n] or [copies, n], not %s, and make no vectors", address,
                       az_shape_text(az, d->a));
    if (d->family == AZ_VI_MVNORMAL && (d->b->rank != 2 || d->b->shape[0] != d->b->shape[1] || d->size != d->b->shape[0]))
        return az_fail(az, AZ_BAD_CALL, "'%s': the Cholesky factor is a square matrix, not %s", address, az_shape_text(az, d->b));
    return true;
}

bool vi_check(az_ctx *az, const char *address, const az_vi_distribution *d)
{
    const family_row *row = &families[d->family];
    if (!d->a || (row->b_name && !d->b)) return az_ok(az) ? az_fail(az, AZ_BAD_CALL, "'%s': a parameter is missing", address) : NULL;
    az_scope_push(az);
    bool good = check_shapes(az, address, d) && check_parameter(az, address, row->a_name, d->a, row->a);
    if (good && d->b) good = check_parameter(az, address, row->b_name, d->b, row->b);
    if (good && d->family == AZ_VI_UNIFORM) {
        const az_tensor *width = az_sub(az, az_share(az, d->b), az_share(az, d->a));
        good = width && check_parameter(az, address, "width", width, POSITIVE);
    }
    az_scope_pop(az);
    return good;
}

/* ---- draws ---- */

static az_tensor *shaped(az_ctx *az, int64_t copies, int64_t size)
{
    return size > 0 ? az_new2(az, AZ_F64, copies, size) : az_new1(az, AZ_F64, copies);
}

/* A parameter repeated to the shape of the value. */
static const double *spread(az_ctx *az, const az_tensor *parameter, const az_tensor *like)
{
    const az_tensor *wide = az_broadcast(az, az_share(az, parameter), like->rank, like->shape);
    return values_of(az, wide);
}

/* The random numbers of one copy, whatever the number of copies. */
static az_rng rng_of(vi_key key, int64_t copy)
{
    enum { BLOCKS = 24 }; /* log2 of the blocks that a copy has for itself */
    az_rng rng = az_rng_at(key.seed, key.stream);
    rng.index = (uint64_t)copy << BLOCKS;
    return rng;
}

static az_tensor *noise(az_ctx *az, vi_key key, int64_t size, double (*draw)(az_rng *rng))
{
    az_tensor *x = shaped(az, key.copies, size);
    double *value = az_f64_mut(x);
    const int64_t each = size > 0 ? size : 1;
    for (int64_t c = 0; value && c < key.copies; c++) {
        az_rng rng = rng_of(key, c);
        for (int64_t i = 0; i < each; i++) value[c * each + i] = draw(&rng);
    }
    return x;
}

/* Marsaglia and Tsang 2000, for shapes of at least 1; below, by Gamma(a) = Gamma(a + 1) U^(1/a). */
static double draw_gamma(az_rng *rng, double a)
{
    const double boost = a < 1 ? pow(az_uniform(rng) + 0x1p-54, 1 / a) : 1;
    const double d = (a < 1 ? a + 1 : a) - 1.0 / 3, c = 1 / sqrt(9 * d);
    for (;;) {
        const double z = az_normal(rng), t = 1 + c * z, u = az_uniform(rng) + 0x1p-54;
        if (t <= 0) continue;
        const double v = t * t * t;
        if (log(u) < 0.5 * z * z + d - d * v + d * log(v)) return d * v * boost;
    }
}

/* A gamma variable of rate 1. Where it is to be followed it is v + slope (a - a'), a' = a cut off from the tape: v, with the right slope.
 */
static az_tensor *gamma_variable(az_ctx *az, const az_tensor *shape, int64_t size, vi_key key, bool follow)
{
    az_tensor *v = shaped(az, key.copies, size), *slope = shaped(az, key.copies, size);
    const double *a = v ? spread(az, shape, v) : NULL;
    const int64_t each = size > 0 ? size : 1;
    if (!slope || !a) return NULL;
    for (int64_t c = 0; c < key.copies; c++) {
        az_rng rng = rng_of(key, c);
        for (int64_t i = c * each; i < (c + 1) * each; i++) {
            az_f64_mut(v)[i] = draw_gamma(&rng, a[i]);
            az_f64_mut(slope)[i] = follow ? vi_gamma_slope(a[i], az_f64(v)[i]) : 0;
        }
    }
    return follow ? az_add(az, v, az_mul(az, slope, az_sub(az, shape, az_detach(az, shape)))) : v;
}

static az_tensor *draw_beta(az_ctx *az, const az_vi_distribution *d, vi_key key, bool follow)
{
    const vi_key second = {key.seed, az_stream("second", key.stream), key.copies};
    az_tensor *x = gamma_variable(az, d->a, d->size, key, follow), *y = gamma_variable(az, d->b, d->size, second, follow);
    return az_div(az, x, az_add(az, x, y));
}

static az_tensor *draw_flip(az_ctx *az, const az_vi_distribution *d, vi_key key)
{
    az_tensor *x = noise(az, key, d->size, az_uniform);
    const double *p = x ? spread(az, d->a, x) : NULL;
    double *value = az_f64_mut(x);
    for (int64_t i = 0; p && i < az_count(x); i++) value[i] = value[i] < p[i];
    return p ? x : NULL;
}

static az_tensor *draw_categorical(az_ctx *az, const az_vi_distribution *d, vi_key key)
{
    const int64_t n = vi_support(d), rows = d->a->rank == 2 ? d->a->shape[0] : 1;
    az_tensor *x = noise(az, key, 0, az_uniform);
    const double *p = values_of(az, az_softmax(az, az_share(az, d->a)));
    double *value = az_f64_mut(x);
    for (int64_t c = 0; p && value && c < key.copies; c++) {
        const double *row = p + (rows > 1 ? c * n : 0);
        double left = value[c];
        int64_t pick = 0;
        while (pick < n - 1 && left >= row[pick]) left -= row[pick++];
        value[c] = (double)pick;
    }
    return p ? x : NULL;
}

az_tensor *vi_draw(az_ctx *az, const az_vi_distribution *d, vi_key key, bool follow)
{
    az_tensor *x = NULL;
    switch (d->family) {
    case AZ_VI_NORMAL: x = az_add(az, d->a, az_mul(az, noise(az, key, d->size, az_normal), d->b)); break;
    case AZ_VI_UNIFORM: x = az_add(az, d->a, az_mul(az, noise(az, key, d->size, az_uniform), az_sub(az, d->b, d->a))); break;
    case AZ_VI_MVNORMAL: x = az_add(az, d->a, az_matmul_nt(az, noise(az, key, d->size, az_normal), d->b)); break;
    case AZ_VI_GAMMA: x = az_div(az, gamma_variable(az, d->a, d->size, key, follow), d->b); break;
    case AZ_VI_BETA: x = draw_beta(az, d, key, follow); break;
    case AZ_VI_FLIP: x = draw_flip(az, d, key); break;
    case AZ_VI_CATEGORICAL: x = draw_categorical(az, d, key); break;
    }
    return follow ? x : az_detach(az, x);
}

/* ---- log densities ---- */

/* 1 - x */
static az_tensor *complement(az_ctx *az, const az_tensor *x)
{
    return az_affine(az, x, -1, 1);
}

/* -((v - mean) / sd)^2 / 2 - log sd - log(2 pi) / 2 */
static az_tensor *normal_density(az_ctx *az, const az_vi_distribution *d, const az_tensor *v)
{
    az_tensor *z = az_div(az, az_sub(az, v, d->a), d->b);
    return az_sub(az, az_affine(az, az_square(az, z), -0.5, -0.5 * log_two_pi), az_log(az, d->b));
}

/* -log(b - a) inside; minus infinity outside */
static az_tensor *uniform_density(az_ctx *az, const az_vi_distribution *d, const az_tensor *v)
{
    az_tensor *outside = az_zeros(az, AZ_F64, v->rank, v->shape);
    const double *x = values_of(az, v), *a = outside ? spread(az, d->a, v) : NULL, *b = outside ? spread(az, d->b, v) : NULL;
    for (int64_t i = 0; x && a && b && i < az_count(v); i++)
        if (x[i] < a[i] || x[i] > b[i]) az_f64_mut(outside)[i] = -INFINITY;
    return az_sub(az, outside, az_log(az, az_sub(az, d->b, d->a)));
}

/* (a-1) log v + (b-1) log(1-v) + log Gamma(a+b) - log Gamma(a) - log Gamma(b) */
static az_tensor *beta_density(az_ctx *az, const az_vi_distribution *d, const az_tensor *v)
{
    az_tensor *kernel = az_add(az, az_mul(az, az_affine(az, d->a, 1, -1), az_log(az, v)),
                               az_mul(az, az_affine(az, d->b, 1, -1), az_log(az, complement(az, v))));
    az_tensor *norm = az_sub(az, az_lgamma(az, az_add(az, d->a, d->b)), az_add(az, az_lgamma(az, d->a), az_lgamma(az, d->b)));
    return az_add(az, kernel, norm);
}

/* a log b + (a-1) log v - b v - log Gamma(a) */
static az_tensor *gamma_density(az_ctx *az, const az_vi_distribution *d, const az_tensor *v)
{
    az_tensor *kernel = az_sub(az, az_mul(az, az_affine(az, d->a, 1, -1), az_log(az, v)), az_mul(az, d->b, v));
    return az_add(az, kernel, az_sub(az, az_mul(az, d->a, az_log(az, d->b)), az_lgamma(az, d->a)));
}

/* -|z|^2 / 2 - sum log |L_ii| - size log(2 pi) / 2 with L z = v - mean: [copies] */
static az_tensor *mvnormal_density(az_ctx *az, const az_vi_distribution *d, const az_tensor *v)
{
    az_tensor *z = az_solve_triangular(az, d->b, az_transpose(az, az_sub(az, v, d->a)), (az_triangle){0});
    az_tensor *volume = az_sum(az, az_log(az, az_abs(az, az_diagonal(az, d->b))), AZ_ALL_AXES, false);
    az_tensor *square = az_affine(az, az_sum(az, az_square(az, z), 0, false), -0.5, -0.5 * log_two_pi * (double)d->size);
    return az_sub(az, square, volume);
}

/* log(p) where v = 1, log(1 - p) where v = 0: one logarithm, so that the other branch brings no infinite slope. */
static az_tensor *flip_density(az_ctx *az, const az_vi_distribution *d, const az_tensor *v)
{
    return az_log(az, az_where(az, az_detach(az, v), d->a, complement(az, d->a)));
}

static az_tensor *categorical_density(az_ctx *az, const az_vi_distribution *d, const az_tensor *v)
{
    const int64_t n = vi_support(d), copies = az_count(v);
    az_tensor *chosen = az_zeros(az, AZ_F64, 2, (int64_t[]){copies, n});
    const double *value = values_of(az, v);
    for (int64_t c = 0; chosen && value && c < copies; c++) {
        if (!(value[c] >= 0 && value[c] < (double)n && value[c] == floor(value[c])))
            return az_fail(az, AZ_BAD_INPUT, "%g is not one of the values 0 .. %lld", value[c], (long long)n - 1);
        az_f64_mut(chosen)[c * n + (int64_t)value[c]] = 1;
    }
    return az_sum(az, az_mul(az, chosen, az_log_softmax(az, d->a)), 1, false);
}

az_tensor *az_vi_log_density(az_ctx *az, const az_vi_distribution *d, const az_tensor *value)
{
    az_tensor *y = NULL;
    if (!value) return NULL;
    switch (d->family) {
    case AZ_VI_NORMAL: y = normal_density(az, d, value); break;
    case AZ_VI_UNIFORM: y = uniform_density(az, d, value); break;
    case AZ_VI_BETA: y = beta_density(az, d, value); break;
    case AZ_VI_GAMMA: y = gamma_density(az, d, value); break;
    case AZ_VI_FLIP: y = flip_density(az, d, value); break;
    case AZ_VI_CATEGORICAL: return categorical_density(az, d, value);
    case AZ_VI_MVNORMAL: return mvnormal_density(az, d, value);
    }
    return y && d->size > 0 ? az_sum(az, y, -1, false) : y;
}

az_tensor *vi_probability(az_ctx *az, const az_vi_distribution *d, int64_t v)
{
    if (d->family == AZ_VI_FLIP) return v == 1 ? (az_tensor *)d->a : complement(az, d->a);
    az_tensor *p = az_slice(az, az_softmax(az, d->a), d->a->rank - 1, v, 1);
    return az_sum(az, p, -1, false);
}
