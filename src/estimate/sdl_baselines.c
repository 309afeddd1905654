/* sdl_baselines.c - what supervised dictionaries are compared with: dictionaries that do not see the labels, and none. */
#include "estimate/sdl.h"

#include <string.h>

const char *const sdl_way_names[] = {[SDL_OWN] = "sdl", [SDL_PCA] = "pca", [SDL_NMF] = "nmf", [SDL_LOGISTIC] = "logistic", NULL};

/* ---- regressions ---- */

/* beta and gamma of the regression on features and covariates, side by side in x. */
static bool regress(az_ctx *az, const az_matrix *x, const sdl_samples *s, double l2, az_tensor **beta, az_tensor **gamma)
{
    const int64_t p = x->columns - s->q, kappa = s->classes - 1;
    az_tensor *b = az_zeros(az, AZ_F64, 2, (int64_t[]){x->columns, kappa});
    double *penalty = az_alloc_array(az, (size_t)x->columns, sizeof *penalty);
    if (!b || !penalty) return false;
    for (int64_t j = 0; j < x->columns; j++) penalty[j] = j == p ? 0 : l2; /* not the constant */
    const az_multinomial problem = {.x = x, .label = s->label, .classes = s->classes, .l2 = penalty, .most_steps = 100, .tolerance = 1e-10};
    az_multinomial_fit(az, &problem, b);
    *beta = az_contiguous(az, az_slice(az, b, 0, 0, p));
    *gamma = az_contiguous(az, az_slice(az, b, 0, p, s->q));
    return az_ok(az);
}

static const az_matrix *beside(az_ctx *az, const az_tensor *features, const az_tensor *z)
{
    if (!features || !z) return NULL;
    return az_matrix_dense(az, az_concat(az, (az_tensor *[]){(az_tensor *)features, (az_tensor *)z}, 2, 1));
}

/* [X Z] of sparse rows. */
static const az_matrix *sparse_beside(az_ctx *az, const sdl_samples *s)
{
    const az_sparse_lines *from = &s->x->by_row;
    const int64_t count = from->start[s->n] + s->n * s->q;
    int64_t *start = az_alloc_array(az, (size_t)s->n + 1, sizeof *start), *other = az_alloc_array(az, (size_t)count + 1, sizeof *other);
    double *value = az_alloc_array(az, (size_t)count + 1, sizeof *value);
    int64_t at = 0;
    for (int64_t i = 0; start && other && value && i < s->n; i++) {
        const int64_t n = from->start[i + 1] - from->start[i];
        memcpy(other + at, from->other + from->start[i], (size_t)n * sizeof *other);
        memcpy(value + at, from->value + from->start[i], (size_t)n * sizeof *value);
        at += n;
        for (int64_t c = 0; c < s->q; c++, at++) other[at] = s->p + c, value[at] = az_f64(s->z)[i * s->q + c];
        start[i + 1] = at;
    }
    return az_ok(az) ? az_matrix_sparse(az, s->n, s->p + s->q, &(az_sparse_lines){start, other, value}) : NULL;
}

/* Features [n, r] of root mean square 1, so that l2 weighs little on them whatever their scale; *scale [r] is what they were divided by. */
static az_tensor *unit_columns(az_ctx *az, const az_tensor *features, const az_tensor **scale)
{
    if (!features) return NULL;
    const double smallest = 1e-300;
    az_tensor *squares = az_mean(az, az_square(az, features), 0, true);
    *scale = az_sqrt(az, az_maximum(az, squares, az_full(az, AZ_F64, 2, (int64_t[]){1, features->shape[1]}, smallest)));
    return az_div(az, features, *scale);
}

/* ---- principal directions ---- */

/* The transpose of X - 1 m^T with the means m of its columns. */
typedef struct centred {
    const az_matrix *x;
    const az_tensor *mean; /* [1, p] */
} centred;

static const az_tensor *means(az_ctx *az, const az_matrix *x)
{
    const az_tensor *share = az_full(az, AZ_F64, 2, (int64_t[]){x->rows, 1}, 1 / (double)x->rows);
    return az_contiguous(az, az_transpose(az, az_matrix_transposed_times(az, x, share)));
}

static az_tensor *centred_times(az_ctx *az, const az_tensor *u, const void *user)
{
    const centred *c = user;
    const az_tensor *sums = az_sum(az, u, 0, true); /* [1, k] */
    return az_sub(az, az_matrix_transposed_times(az, c->x, u), az_matmul(az, az_transpose(az, c->mean), sums));
}

static az_tensor *centred_transposed(az_ctx *az, const az_tensor *v, const void *user)
{
    const centred *c = user;
    return az_sub(az, az_matrix_times(az, c->x, v), az_matmul(az, c->mean, v));
}

static az_tensor *principal_directions(az_ctx *az, const az_matrix *x, int64_t rank, uint64_t seed)
{
    const centred c = {x, means(az, x)};
    const az_linear_map map = {x->columns, x->rows, centred_times, centred_transposed, &c};
    const int64_t least = x->rows < x->columns ? x->rows : x->columns, width = rank + 10 < least ? rank + 10 : least;
    az_tensor *u = NULL, *image = NULL;
    const az_leading how = {.rank = rank, .width = width, .most_turns = 200, .tolerance = 1e-12, .seed = seed};
    return az_leading_vectors(az, &map, &how, &u, &image) ? az_contiguous(az, az_slice(az, u, 1, 0, rank)) : NULL;
}

/* ---- models ---- */

static const az_matrix *features_of(az_ctx *az, sdl_way way, const sdl_samples *s, const sdl_how *how, sdl_model *m,
                                    const az_tensor **scale)
{
    enum { FACTOR_TURNS = 1000 };
    az_tensor *code = NULL;
    switch (way) {
    case SDL_PCA:
        m->kind = SDL_FILTER;
        m->dictionary = principal_directions(az, s->x, how->rank, how->seed);
        return beside(az, unit_columns(az, az_matrix_times(az, s->x, m->dictionary), scale), s->z);
    case SDL_NMF:
        m->kind = SDL_FEATURE;
        m->code = (sdl_bound){.nonnegative = true};
        if (!sdl_factorize(az, s->x, how->rank, FACTOR_TURNS, how->seed, &m->dictionary, &code)) return NULL;
        return beside(az, unit_columns(az, sdl_codes(az, m->dictionary, &m->code, m->xi, s->x), scale), s->z);
    default: m->dictionary = NULL; return s->x->dense ? beside(az, s->x->dense, s->z) : sparse_beside(az, s);
    }
}

sdl_model *sdl_baseline(az_ctx *az, sdl_way way, const sdl_samples *train, const sdl_how *how, const sdl_model *like)
{
    sdl_model *m = az_alloc(az, sizeof *m);
    if (!m) return NULL;
    *m = *like;
    m->coding = SDL_NAIVE, m->code = (sdl_bound){0}, m->xi = 1;
    const az_tensor *scale = NULL;
    const az_matrix *x = features_of(az, way, train, how, m, &scale);
    const double l2 = how->beta.l2 > 0 ? how->beta.l2 : 1e-6;
    if (!x || !regress(az, x, train, l2, &m->beta, &m->gamma)) return NULL;
    if (scale) m->beta = az_div(az, m->beta, az_transpose(az, scale));
    return az_ok(az) ? m : NULL;
}

double sdl_baseline_reconstruction(az_ctx *az, sdl_way way, const sdl_model *model, const sdl_samples *train, const sdl_samples *samples,
                                   const sdl_prediction *prediction)
{
    if (way == SDL_LOGISTIC) return NAN;
    if (way != SDL_PCA) return sdl_reconstruction(az, samples->x, model->dictionary, prediction->code);
    az_scope_push(az);
    const az_tensor *mean = means(az, train->x), *own = means(az, samples->x);
    const centred c = {samples->x, mean};
    const az_tensor *image = centred_transposed(az, model->dictionary, &c);
    const double square = az_matrix_square(samples->x), n = (double)samples->n;
    const double whole = square - 2 * n * az_to_double(az_dot(az, own, mean)) + n * az_to_double(az_dot(az, mean, mean));
    const double error = whole - az_to_double(az_dot(az, image, image));
    az_scope_pop(az);
    return fmax(error, 0) / square;
}
