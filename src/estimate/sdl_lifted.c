/* sdl_lifted.c - supervised dictionary learning by projected gradients on matrices of low rank.
 *
 * Lifted unknowns: A = W beta (filter, p x kappa) or A^T = beta^T C^T (feature), B = W C^T (p x n). M = [A, B] or [A^T; B] has rank r, and
 *     F(M, gamma) = sum_i l(y_i, score_i) + xi |X^T - B|^2 + nu (|A|^2 + |gamma|^2)
 * is convex. A step takes tau times the gradient off, M is cut to its r leading singular triples. M is never formed: it is u g^T before
 * the cut, and with c = 1 - 2 xi tau its B is c B + (1 - c) X^T after the step, which multiplies like a sum of thin matrices and X. */
#include "estimate/sdl.h"

#include <string.h>

/* Rows of M whose Gram matrix is decomposed in full; at most for which it is formed; spare columns and turns of block iteration. */
enum { SMALL = 64, MOST_GRAM = 1024, EXTRA = 10, MOST_TURNS = 100 };

/* ---- the step's constants ---- */

static az_tensor *joined_times(az_ctx *az, const az_tensor *v, const void *user)
{
    const sdl_samples *s = user;
    return az_add(az, az_matrix_times(az, s->x, az_slice(az, v, 0, 0, s->p)), az_matmul(az, s->z, az_slice(az, v, 0, s->p, s->q)));
}

static az_tensor *joined_transposed(az_ctx *az, const az_tensor *u, const void *user)
{
    const sdl_samples *s = user;
    az_tensor *parts[] = {az_matrix_transposed_times(az, s->x, u), az_matmul(az, az_transpose(az, s->z), u)};
    return parts[0] && parts[1] ? az_concat(az, parts, 2, 0) : NULL;
}

/* A bound of the Hessian: max(2 xi, 2 nu + f lambda), f = 1/4 for two classes and 1/2 for more, lambda the largest eigenvalue of
 * [X Z]^T [X Z] (filter) or 1 + that of Z^T Z (feature). */
static double lipschitz(az_ctx *az, const sdl_samples *s, const sdl_how *how)
{
    const double f = s->classes == 2 ? 0.25 : 0.5;
    const az_linear_map both = {s->n, s->p + s->q, joined_times, joined_transposed, s};
    double lambda;
    if (how->kind == SDL_FILTER) {
        lambda = az_largest_square(az, &both, how->seed);
    } else {
        const az_matrix z = {.rows = s->n, .columns = s->q, .dense = s->z};
        const az_linear_map map = az_matrix_map(&z);
        lambda = 1 + az_largest_square(az, &map, how->seed);
    }
    return fmax(2 * how->xi, 2 * how->nu + f * lambda);
}

/* ---- the start ---- */

/* W and C uniform on (0, 1), beta on (-1, 1). */
static bool random_start(az_ctx *az, sdl_lifted *st)
{
    const sdl_samples *s = st->samples;
    const int64_t r = st->how->rank, w_shape[] = {s->p, r}, c_shape[] = {s->n, r}, b_shape[] = {r, st->kappa};
    az_tensor *w = az_rand(az, AZ_F64, 2, w_shape, 0, 1, st->how->seed, az_stream("sdl dictionary", 0));
    az_tensor *c = az_rand(az, AZ_F64, 2, c_shape, 0, 1, st->how->seed, az_stream("sdl code", 0));
    az_tensor *beta = az_rand(az, AZ_F64, 2, b_shape, -1, 1, st->how->seed, az_stream("sdl beta", 0));
    const bool feature = st->how->kind == SDL_FEATURE;
    az_tensor *left = feature && beta && w ? az_concat(az, (az_tensor *[]){az_transpose(az, beta), w}, 2, 0) : w, *right = NULL;
    if (!az_qr(az, left, &st->u, &right)) return false;
    st->code = az_matmul(az, c, az_transpose(az, right));
    st->a = feature ? az_matmul(az, c, beta) : az_matmul(az, w, beta);
    return st->a != NULL;
}

bool sdl_lifted_start(az_ctx *az, const sdl_samples *samples, const sdl_how *how, sdl_lifted *st)
{
    const int64_t kappa = samples->classes - 1, r = how->rank;
    const bool feature = how->kind == SDL_FEATURE;
    *st = (sdl_lifted){.samples = samples, .how = how, .kappa = kappa, .rows = samples->p + (feature ? kappa : 0)};
    st->tau = how->tau > 0 ? how->tau : 1 / lipschitz(az, samples, how);
    st->square = az_matrix_square(samples->x);
    st->gamma = az_zeros(az, AZ_F64, 2, (int64_t[]){samples->q, kappa});
    if (st->rows <= SMALL || (samples->x->dense && st->rows <= MOST_GRAM && st->rows <= samples->n)) {
        const az_tensor *unit = az_identity(az, AZ_F64, samples->p);
        st->gram = az_matrix_transposed_times(az, samples->x, az_matrix_times(az, samples->x, unit));
    }
    if (how->random_start) {
        if (!random_start(az, st)) return false;
        st->xu = az_matrix_times(az, samples->x, az_slice(az, st->u, 0, feature ? kappa : 0, samples->p));
        return st->xu != NULL;
    }
    st->u = az_zeros(az, AZ_F64, 2, (int64_t[]){st->rows, r});
    st->code = az_zeros(az, AZ_F64, 2, (int64_t[]){samples->n, r});
    st->a = az_zeros(az, AZ_F64, 2, (int64_t[]){feature ? samples->n : samples->p, kappa});
    st->xu = az_zeros(az, AZ_F64, 2, (int64_t[]){samples->n, r});
    return az_ok(az);
}

/* ---- objective ---- */

static const az_tensor *feature_rows(az_ctx *az, const sdl_lifted *st, const az_tensor *u)
{
    return st->how->kind == SDL_FEATURE ? az_slice(az, u, 0, st->kappa, st->samples->p) : u;
}

static az_tensor *scores(az_ctx *az, const sdl_lifted *st)
{
    const az_tensor *from_z = az_matmul(az, st->samples->z, st->gamma);
    if (st->how->kind == SDL_FEATURE) return az_add(az, st->a, from_z);
    return az_add(az, az_matmul(az, st->xu, az_matmul(az, az_transpose(az, st->u), st->a)), from_z); /* A lies in the range of u */
}

static double square_of(az_ctx *az, const az_tensor *x)
{
    return az_to_double(az_dot(az, x, x));
}

/* |B|^2 and <X^T, B>. */
static void products_of_b(az_ctx *az, const sdl_lifted *st, double *square, double *inner)
{
    const az_tensor *ub = feature_rows(az, st, st->u);
    *square = az_to_double(
        az_dot(az, az_matmul(az, az_transpose(az, st->code), st->code), az_contiguous(az, az_matmul(az, az_transpose(az, ub), ub))));
    *inner = az_to_double(az_dot(az, st->code, st->xu));
}

double sdl_lifted_objective(az_ctx *az, const sdl_lifted *st)
{
    double square, inner, value = NAN;
    az_scope_push(az);
    products_of_b(az, st, &square, &inner);
    const az_tensor *score = az_contiguous(az, scores(az, st));
    if (score)
        value = az_multinomial_loss(az_f64(score), st->samples->label, st->samples->n, st->samples->classes, NULL) +
                st->how->xi * fmax(st->square - 2 * inner + square, 0) + st->how->nu * (square_of(az, st->a) + square_of(az, st->gamma));
    az_scope_pop(az);
    return value;
}

/* ---- a step ---- */

/* M after the gradient: of B only the rule is kept. */
typedef struct moved {
    const sdl_lifted *from;
    const az_tensor *a; /* after the step */
    double keep, take;  /* B becomes keep B + take X^T */
} moved;

/* (keep g u_B^T + take X) v: [n, k] for v [p, k] */
static az_tensor *b_transposed(az_ctx *az, const moved *m, const az_tensor *v)
{
    const sdl_lifted *st = m->from;
    const az_tensor *inner = az_matmul(az, az_transpose(az, feature_rows(az, st, st->u)), v);
    return az_add(az, az_affine(az, az_matmul(az, st->code, inner), m->keep, 0),
                  az_affine(az, az_matrix_times(az, st->samples->x, v), m->take, 0));
}

/* (keep u_B g^T + take X^T) w: [p, k] for w [n, k] */
static az_tensor *b_times(az_ctx *az, const moved *m, const az_tensor *w)
{
    const sdl_lifted *st = m->from;
    const az_tensor *inner = az_matmul(az, az_transpose(az, st->code), w);
    return az_add(az, az_affine(az, az_matmul(az, feature_rows(az, st, st->u), inner), m->keep, 0),
                  az_affine(az, az_matrix_transposed_times(az, st->samples->x, w), m->take, 0));
}

static az_tensor *moved_transposed(az_ctx *az, const az_tensor *v, const void *user)
{
    const moved *m = user;
    const sdl_lifted *st = m->from;
    if (st->how->kind == SDL_FEATURE)
        return az_add(az, az_matmul(az, m->a, az_slice(az, v, 0, 0, st->kappa)),
                      b_transposed(az, m, az_slice(az, v, 0, st->kappa, st->samples->p)));
    az_tensor *parts[] = {az_matmul(az, az_transpose(az, m->a), v), b_transposed(az, m, v)};
    return parts[0] && parts[1] ? az_concat(az, parts, 2, 0) : NULL;
}

static az_tensor *moved_times(az_ctx *az, const az_tensor *w, const void *user)
{
    const moved *m = user;
    const sdl_lifted *st = m->from;
    if (st->how->kind == SDL_FILTER)
        return az_add(az, az_matmul(az, m->a, az_slice(az, w, 0, 0, st->kappa)),
                      b_times(az, m, az_slice(az, w, 0, st->kappa, st->samples->n)));
    az_tensor *parts[] = {az_matmul(az, az_transpose(az, m->a), w), b_times(az, m, w)};
    return parts[0] && parts[1] ? az_concat(az, parts, 2, 0) : NULL;
}

/* B B^T after the step, from X^T X. */
static az_tensor *gram_of_b(az_ctx *az, const moved *m)
{
    const sdl_lifted *st = m->from;
    const az_tensor *u = feature_rows(az, st, st->u), *ut = az_transpose(az, u);
    const az_tensor *inner = az_matmul(az, az_transpose(az, st->code), st->code);
    const az_tensor *cross = az_matmul(az, az_matrix_transposed_times(az, st->samples->x, st->code), ut); /* X^T g u^T */
    az_tensor *sum = az_affine(az, az_matmul(az, az_matmul(az, u, inner), ut), m->keep * m->keep, 0);
    sum = az_add(az, sum, az_affine(az, az_add(az, cross, az_transpose(az, cross)), m->keep * m->take, 0));
    return az_add(az, sum, az_affine(az, st->gram, m->take * m->take, 0));
}

static az_tensor *gram_of_m(az_ctx *az, const moved *m)
{
    const sdl_lifted *st = m->from;
    const az_tensor *b = gram_of_b(az, m), *at = az_transpose(az, m->a);
    if (st->how->kind == SDL_FILTER) return az_add(az, b, az_matmul(az, m->a, at));
    az_tensor *corner = az_matmul(az, at, m->a), *side = b_times(az, m, m->a); /* [kappa, kappa], [p, kappa] */
    az_tensor *top = corner && side ? az_concat(az, (az_tensor *[]){corner, az_transpose(az, side)}, 2, 1) : NULL;
    az_tensor *below = side && b ? az_concat(az, (az_tensor *[]){side, (az_tensor *)b}, 2, 1) : NULL;
    return top && below ? az_concat(az, (az_tensor *[]){top, below}, 2, 0) : NULL;
}

static az_tensor *gram_times(az_ctx *az, const az_tensor *v, const void *gram)
{
    return az_matmul(az, gram, v);
}

/* The r leading left singular vectors of M after the step: of its Gram matrix in full, or by block iteration from those before it. */
static az_tensor *leading(az_ctx *az, const moved *m)
{
    const sdl_lifted *st = m->from;
    const int64_t r = st->how->rank, columns = st->samples->n + (st->how->kind == SDL_FILTER ? st->kappa : 0);
    const az_tensor *gram = st->gram ? gram_of_m(az, m) : NULL;
    az_tensor *u = NULL, *image = NULL;
    if (gram && st->rows <= SMALL) {
        if (!az_eigh(az, gram, NULL, &u)) return NULL;
        return az_contiguous(az, az_slice(az, u, 1, st->rows - r, r));
    }
    if (!az_ok(az)) return NULL;
    const int64_t least = st->rows < columns ? st->rows : columns, width = r + EXTRA < least ? r + EXTRA : least;
    const az_linear_map plain = {st->rows, columns, moved_times, moved_transposed, m};
    const az_linear_map squared = {st->rows, st->rows, gram_times, gram_times, gram};
    az_tensor *start = az_randn(az, AZ_F64, 2, (int64_t[]){st->rows, width}, 1, st->how->seed, az_stream("sdl block", 0));
    if (start && az_to_double(az_dot(az, st->u, st->u)) > 0)
        start = az_concat(az, (az_tensor *[]){st->u, az_slice(az, start, 1, r, width - r)}, 2, 1);
    const az_leading how = {.rank = r, .width = width, .most_turns = MOST_TURNS, .tolerance = 1e-14, .start = start};
    if (!az_leading_vectors(az, gram ? &squared : &plain, &how, &u, &image)) return NULL;
    return az_contiguous(az, az_slice(az, u, 1, 0, r));
}

/* What M is multiplied by to lie in the ball. */
static double ball_factor(az_ctx *az, const moved *m)
{
    const sdl_lifted *st = m->from;
    double square, inner;
    if (!(st->how->ball > 0)) return 1;
    products_of_b(az, st, &square, &inner);
    const double whole = square_of(az, m->a) + m->keep * m->keep * square + 2 * m->keep * m->take * inner + m->take * m->take * st->square;
    return whole > st->how->ball * st->how->ball ? st->how->ball / sqrt(whole) : 1;
}

bool sdl_lifted_step(az_ctx *az, sdl_lifted *st)
{
    const sdl_samples *s = st->samples;
    const bool feature = st->how->kind == SDL_FEATURE;
    const double nu = st->how->nu, take = 2 * st->how->xi * st->tau;
    az_scope_push(az);
    az_tensor *difference = az_new2(az, AZ_F64, s->n, st->kappa);
    const az_tensor *score = az_contiguous(az, scores(az, st));
    if (score && difference) az_multinomial_loss(az_f64(score), s->label, s->n, s->classes, az_f64_mut(difference));
    const az_tensor *by_a = feature ? difference : az_matrix_transposed_times(az, s->x, difference);
    const az_tensor *by_gamma = az_matmul(az, az_transpose(az, s->z), difference);
    const az_tensor *a = az_sub(az, az_affine(az, st->a, 1 - 2 * nu * st->tau, 0), az_affine(az, by_a, st->tau, 0));
    az_tensor *gamma = az_sub(az, az_affine(az, st->gamma, 1 - 2 * nu * st->tau, 0), az_affine(az, by_gamma, st->tau, 0));
    const moved m = {.from = st, .a = a, .keep = 1 - take, .take = take};
    const double factor = az_ok(az) ? ball_factor(az, &m) : 1;
    az_tensor *u = az_ok(az) ? leading(az, &m) : NULL;
    const az_tensor *ub = u ? feature_rows(az, st, u) : NULL;
    az_tensor *xu = az_matrix_times(az, s->x, ub);
    const az_tensor *turned = az_matmul(az, st->code, az_matmul(az, az_transpose(az, feature_rows(az, st, st->u)), ub));
    az_tensor *code = az_add(az, az_affine(az, turned, m.keep * factor, 0), az_affine(az, xu, m.take * factor, 0));
    if (feature && u) {
        const az_tensor *ua = az_slice(az, u, 0, 0, st->kappa);
        code = az_add(az, code, az_affine(az, az_matmul(az, a, ua), factor, 0));
        a = az_matmul(az, code, az_transpose(az, ua));
    } else {
        a = az_affine(az, az_matmul(az, u, az_matmul(az, az_transpose(az, u), a)), factor, 0);
    }
    if (az_ok(az)) {
        az_copy_into(az, st->u, u);
        az_copy_into(az, st->code, code);
        az_copy_into(az, st->a, a);
        az_copy_into(az, st->gamma, gamma);
        az_copy_into(az, st->xu, xu);
    }
    az_scope_pop(az);
    return az_ok(az);
}

/* ---- factors ---- */

/* Each column's entry of largest size becomes positive; those of `with` and `too` [., r] turn along. */
static void fix_signs(az_tensor *w, az_tensor *with, az_tensor *beta)
{
    const int64_t r = w->shape[1], kappa = beta->shape[1];
    for (int64_t k = 0; k < r; k++) {
        double largest = 0;
        for (int64_t j = 0; j < w->shape[0]; j++) {
            const double value = az_f64(w)[j * r + k];
            if (fabs(value) > fabs(largest)) largest = value;
        }
        if (largest >= 0) continue;
        for (int64_t j = 0; j < w->shape[0]; j++) az_f64_mut(w)[j * r + k] *= -1;
        for (int64_t i = 0; i < with->shape[0]; i++) az_f64_mut(with)[i * r + k] *= -1;
        for (int64_t c = 0; c < kappa; c++) az_f64_mut(beta)[k * kappa + c] *= -1;
    }
}

sdl_fit *sdl_lifted_factors(az_ctx *az, const sdl_lifted *st)
{
    const bool feature = st->how->kind == SDL_FEATURE;
    const int64_t n = st->samples->n, kappa = st->kappa;
    az_tensor *right = st->code, *v = NULL, *s = NULL, *rotation = NULL;
    if (!feature) right = az_concat(az, (az_tensor *[]){az_matmul(az, az_transpose(az, st->a), st->u), st->code}, 2, 0);
    if (!az_svd(az, right, &v, &s, &rotation)) return NULL;
    const az_tensor *root = az_sqrt(az, s); /* [r], times the columns */
    const az_tensor *w = az_mul(az, az_matmul(az, st->u, az_transpose(az, rotation)), root), *codes = az_mul(az, v, root);
    const double c = sqrt(square_of(az, az_contiguous(az, feature_rows(az, st, w))));
    sdl_fit *fit = az_alloc(az, sizeof *fit);
    if (!fit || !az_ok(az)) return NULL;
    if (!(c > 0)) return az_fail(az, AZ_NUMERIC, "the dictionary became zero: the data, or xi, are too small");
    *fit = (sdl_fit){.kind = st->how->kind, .gamma = st->gamma, .xi = st->how->xi, .tau = st->tau};
    fit->dictionary = az_copy(az, az_affine(az, feature_rows(az, st, w), 1 / c, 0));
    fit->code = az_copy(az, az_affine(az, feature ? codes : az_slice(az, codes, 0, kappa, n), c, 0));
    fit->beta = az_copy(az, az_affine(az, az_transpose(az, az_slice(az, feature ? w : codes, 0, 0, kappa)), feature ? 1 / c : c, 0));
    if (!az_ok(az)) return NULL;
    fix_signs(fit->dictionary, fit->code, fit->beta);
    return fit;
}

/* ---- the iteration ---- */

sdl_fit *sdl_fit_lifted(az_ctx *az, const sdl_samples *samples, const sdl_how *how)
{
    sdl_lifted st;
    sdl_trace trace = {0};
    trace.iteration = az_alloc_array(az, (size_t)how->iterations + 1, sizeof(double));
    trace.objective = az_alloc_array(az, (size_t)how->iterations + 1, sizeof(double));
    if (!sdl_lifted_start(az, samples, how, &st)) return NULL;
    if (!trace.objective || !trace.iteration) return NULL;
    const double first = sdl_lifted_objective(az, &st);
    double value = first;
    bool converged = false;
    for (int64_t i = 0; i < how->iterations && !converged && az_ok(az); i++) {
        az_scope_push(az);
        const double before = value;
        value = sdl_lifted_step(az, &st) ? sdl_lifted_objective(az, &st) : NAN;
        if (!(value <= 1e6 * (first + 1)))
            az_fail(az, AZ_NUMERIC, "step %lld: the objective has grown from %g to %g; tau is too large", (long long)i + 1, first, value);
        trace.iteration[trace.count] = (double)(i + 1), trace.objective[trace.count++] = value;
        converged = how->tolerance > 0 && fabs(before - value) <= how->tolerance * fabs(value);
        if (az_ok(az) && !az_progress(az, "fitting", i + 1, how->iterations, az_format_text(az, "objective %.6g", value)))
            az_fail(az, AZ_INTERRUPTED, "interrupted");
        az_scope_pop(az);
    }
    sdl_fit *fit = sdl_lifted_factors(az, &st);
    if (!fit) return NULL;
    fit->objective = value, fit->iterations = trace.count, fit->converged = converged, fit->trace = trace;
    fit->lipschitz = how->tau > 0 ? lipschitz(az, samples, how) : 1 / st.tau;
    fit->mu = fmin(2 * how->xi, 2 * how->nu);
    return fit;
}
