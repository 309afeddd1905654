/* sdl_descent.c - supervised dictionary learning by turns through the blocks W, C and (beta, gamma), with penalties and signs.
 *
 *     F = sum_i l(y_i, score_i) + xi |X - C W^T|^2 + l1 |.| + l2 |.|^2 of W, C, beta, gamma (not of the constant)
 * over |W| <= 1, which settles the scale between W, C and beta. W takes projected gradient steps whose lengths are found by halving, C goes
 * through its coordinates, beta and gamma are the logistic regression that they solve. With a radius, a block moves no farther than
 * iterations |X| k^-b / log(k + 1) in turn k: shortening a step between two feasible points keeps it feasible, and F convex in each
 * block, so F never rises. */
#include "estimate/sdl.h"

#include "base/parallel.h"

#include <string.h>

enum { DICTIONARY_STEPS = 5, CODE_TURNS = 2, MOST_HALVINGS = 60 };

typedef struct descent {
    const sdl_samples *samples;
    const sdl_how *how;
    int64_t r, kappa;
    double xi, square;       /* xi as it is now; |X|^2 */
    az_tensor *w, *c;        /* [p, r], [n, r] */
    az_tensor *beta, *gamma; /* [r, kappa], [q, kappa] */
    az_tensor *xw, *xc;      /* [n, r] X W, [p, r] X^T C, at the present W and C */
    double length;           /* of the last step of W */
} descent;

/* ---- small things ---- */

static double prox(double value, double threshold, bool nonnegative)
{
    if (nonnegative) return fmax(value - threshold, 0);
    return copysign(fmax(fabs(value) - threshold, 0), value);
}

static double inner(az_ctx *az, const az_tensor *a, const az_tensor *b)
{
    return az_to_double(az_dot(az, a, b));
}

static az_tensor *gram(az_ctx *az, const az_tensor *x)
{
    return az_matmul(az, az_transpose(az, x), x);
}

static double penalty(const az_tensor *x, const sdl_bound *bound)
{
    double sum = 0;
    const double *value = x ? az_f64(x) : NULL;
    for (int64_t i = 0, n = x ? az_count(x) : 0; i < n; i++) sum += bound->l1 * fabs(value[i]) + bound->l2 * value[i] * value[i];
    return sum;
}

/* Of beta and gamma; the first covariate is the constant. */
static double beta_penalty(az_ctx *az, const az_tensor *beta, const az_tensor *gamma, const sdl_bound *bound)
{
    const int64_t q = gamma ? gamma->shape[0] : 0;
    const az_tensor *rest = q > 1 ? az_contiguous(az, az_slice(az, gamma, 0, 1, q - 1)) : NULL;
    return penalty(beta, bound) + penalty(rest, bound);
}

/* scores = features beta + Z gamma, [n, kappa] */
static az_tensor *scores(az_ctx *az, const descent *d, const az_tensor *features)
{
    return az_add(az, az_matmul(az, features, d->beta), az_matmul(az, d->samples->z, d->gamma));
}

/* The radius of turn k, from 1; infinity without one. */
static double radius_of(const descent *d, int64_t k)
{
    const double b = d->how->radius;
    return b > 0 ? (double)d->how->iterations * sqrt(d->square) * pow((double)k, -b) / log((double)k + 1) : INFINITY;
}

/* Shortens the way from `before` to x to the radius. */
static void shorten(az_tensor *x, const az_tensor *before, double radius)
{
    double square = 0;
    double *to = az_f64_mut(x);
    const double *from = az_f64(before);
    const int64_t n = az_count(x);
    for (int64_t i = 0; i < n; i++) square += (to[i] - from[i]) * (to[i] - from[i]);
    if (!(sqrt(square) > radius)) return;
    const double factor = radius / sqrt(square);
    for (int64_t i = 0; i < n; i++) to[i] = from[i] + factor * (to[i] - from[i]);
}

/* ---- the dictionary ---- */

/* The smooth part of F in W, up to a constant; of the filter model also difference [n, kappa], the loss' derivative by the scores. */
static double dictionary_value(az_ctx *az, const descent *d, const az_tensor *w, const az_tensor *inner_code, az_tensor *difference)
{
    const sdl_samples *s = d->samples;
    az_scope_push(az);
    const az_tensor *wq = az_matmul(az, w, inner_code);
    double value = d->xi * (inner(az, w, wq) - 2 * inner(az, w, d->xc)) + d->how->dictionary.l2 * inner(az, w, w);
    if (d->how->kind == SDL_FILTER) {
        const az_tensor *score = az_add(az, az_matrix_times(az, s->x, az_matmul(az, w, d->beta)), az_matmul(az, s->z, d->gamma));
        if (score) value += az_multinomial_loss(az_f64(score), s->label, s->n, s->classes, az_f64_mut(difference));
    }
    az_scope_pop(az);
    return value;
}

/* Its gradient [p, r] at W, where the loss has that derivative. */
static void dictionary_gradient(az_ctx *az, const descent *d, const az_tensor *inner_code, const az_tensor *difference, az_tensor *gradient)
{
    az_scope_push(az);
    const az_tensor *wq = az_matmul(az, d->w, inner_code), *pull = NULL; /* [p, r] of the labels */
    if (d->how->kind == SDL_FILTER)
        pull = az_matmul(az, az_matrix_transposed_times(az, d->samples->x, difference), az_transpose(az, d->beta));
    if (az_ok(az)) {
        const double *at = az_f64(d->w), *product = az_f64(wq), *data = az_f64(d->xc), *labels = pull ? az_f64(pull) : NULL;
        double *out = az_f64_mut(gradient);
        for (int64_t i = 0, n = az_count(d->w); i < n; i++)
            out[i] = 2 * d->xi * (product[i] - data[i]) + 2 * d->how->dictionary.l2 * at[i] + (labels ? labels[i] : 0);
    }
    az_scope_pop(az);
}

/* to = the point of the constraint set that is nearest to w - length gradient, after the threshold of l1. */
static void project_step(const sdl_bound *bound, const az_tensor *w, const az_tensor *gradient, double length, az_tensor *to)
{
    const int64_t n = az_count(w);
    const double *from = az_f64(w), *slope = az_f64(gradient);
    double *out = az_f64_mut(to), square = 0;
    for (int64_t i = 0; i < n; i++) {
        out[i] = prox(from[i] - length * slope[i], length * bound->l1, bound->nonnegative);
        square += out[i] * out[i];
    }
    const double shrink = 1 / sqrt(square);
    for (int64_t i = 0; square > 1 && i < n; i++) out[i] *= shrink;
}

/* Where W is on its way, and where it may go: the value there, and the derivative by the scores. */
typedef struct dictionary_point {
    double value;
    az_tensor *difference;
} dictionary_point;

/* One step of W, its length halved until the quadratic bound holds; false when none does. */
static bool dictionary_step(az_ctx *az, descent *d, const az_tensor *inner_code, dictionary_point at[2], az_tensor *gradient,
                            az_tensor *trial)
{
    dictionary_gradient(az, d, inner_code, at[0].difference, gradient);
    for (int halvings = 0; halvings < MOST_HALVINGS && az_ok(az); halvings++, d->length /= 2) {
        project_step(&d->how->dictionary, d->w, gradient, d->length, trial);
        double slope = 0, square = 0;
        const double *from = az_f64(d->w), *to = az_f64(trial), *g = az_f64(gradient);
        for (int64_t i = 0, n = az_count(trial); i < n; i++) {
            slope += (to[i] - from[i]) * g[i];
            square += (to[i] - from[i]) * (to[i] - from[i]);
        }
        if (square == 0) return false;
        at[1].value = dictionary_value(az, d, trial, inner_code, at[1].difference);
        if (!(at[1].value <= at[0].value + slope + square / (2 * d->length))) continue;
        az_copy_into(az, d->w, trial);
        const dictionary_point left = at[0];
        at[0] = at[1], at[1] = left;
        d->length *= 2;
        return true;
    }
    return false;
}

static void update_dictionary(az_ctx *az, descent *d, double radius)
{
    az_scope_push(az);
    const az_tensor *inner_code = gram(az, d->c), *before = az_copy(az, d->w);
    az_tensor *gradient = az_zeros(az, AZ_F64, 2, d->w->shape), *trial = az_zeros(az, AZ_F64, 2, d->w->shape);
    dictionary_point at[2] = {{.difference = az_new2(az, AZ_F64, d->samples->n, d->kappa)},
                              {.difference = az_new2(az, AZ_F64, d->samples->n, d->kappa)}};
    if (az_ok(az)) at[0].value = dictionary_value(az, d, d->w, inner_code, at[0].difference);
    for (int i = 0; i < DICTIONARY_STEPS && az_ok(az); i++)
        if (!dictionary_step(az, d, inner_code, at, gradient, trial)) break;
    if (az_ok(az)) shorten(d->w, before, radius);
    if (az_ok(az)) az_copy_into(az, d->xw, az_matrix_times(az, d->samples->x, d->w));
    az_scope_pop(az);
}

/* ---- codes ---- */

/* Of the feature model: coordinate k of sample i moves by the bound 2 xi Q_kk + f |beta_k|^2 + 2 l2 of its curvature. */
typedef struct code_job {
    const descent *d;
    const double *q, *xw, *beta;    /* [r, r] W^T W, [n, r], [r, kappa] */
    double *c, *score, *difference; /* [n, r], [n, kappa] twice */
    uint64_t stream;
} code_job;

static bool is_chosen(const code_job *job, uint64_t coordinate)
{
    const double share = job->d->how->subsample;
    if (share >= 1) return true;
    az_rng rng = az_rng_at(job->d->how->seed, job->stream);
    rng.index = coordinate;
    return az_uniform(&rng) < share;
}

static void code_of_sample(const void *user, int64_t i)
{
    const code_job *job = user;
    const descent *d = job->d;
    const sdl_samples *s = d->samples;
    const sdl_bound *bound = &d->how->code;
    const int64_t r = d->r, kappa = d->kappa;
    const double f = s->classes == 2 ? 0.25 : 0.5;
    double *c = job->c + i * r, *score = job->score + i * kappa, *difference = job->difference + i * kappa;
    for (int64_t k = 0; k < r; k++) {
        if (!is_chosen(job, (uint64_t)(i * r + k))) continue;
        const double *beta = job->beta + k * kappa, *row = job->q + k * r;
        az_multinomial_loss(score, &s->label[i], 1, s->classes, difference);
        double slope = -job->xw[i * r + k], size = 0, pull = 0;
        for (int64_t j = 0; j < r; j++) slope += row[j] * c[j];
        for (int64_t a = 0; a < kappa; a++) pull += beta[a] * difference[a], size += beta[a] * beta[a];
        const double bend = 2 * d->xi * row[k] + f * size + 2 * bound->l2;
        if (!(bend > 0)) continue;
        const double to = prox(c[k] - (2 * d->xi * slope + pull + 2 * bound->l2 * c[k]) / bend, bound->l1 / bend, bound->nonnegative);
        for (int64_t a = 0; a < kappa; a++) score[a] += beta[a] * (to - c[k]);
        c[k] = to;
    }
}

static void feature_codes(az_ctx *az, descent *d, int64_t turn)
{
    const az_tensor *q = gram(az, d->w);
    az_tensor *difference = az_new2(az, AZ_F64, d->samples->n, d->kappa);
    for (int sweep = 0; sweep < CODE_TURNS && az_ok(az); sweep++) {
        az_tensor *score = scores(az, d, d->c);
        if (!score || !difference) return;
        const code_job job = {.d = d,
                              .q = az_f64(q),
                              .xw = az_f64(d->xw),
                              .beta = az_f64(d->beta),
                              .c = az_f64_mut(d->c),
                              .score = az_f64_mut(score),
                              .difference = az_f64_mut(difference),
                              .stream = az_stream("sdl subsample", (uint64_t)(turn * CODE_TURNS + sweep))};
        az_each(az_threads(az), d->samples->n, code_of_sample, &job);
    }
}

/* The quadratic problem of codes: Q = 2 xi W^T W + 2 l2. */
static bool code_problem(az_ctx *az, const az_tensor *w, const sdl_bound *bound, double xi, az_quadratic *out)
{
    const int64_t r = w->shape[1];
    az_tensor *q = az_affine(az, gram(az, w), 2 * xi, 0);
    double *l1 = az_alloc_array(az, (size_t)r, sizeof *l1);
    bool *nonnegative = az_alloc_array(az, (size_t)r, sizeof *nonnegative);
    if (!q || !l1 || !nonnegative) return false;
    for (int64_t k = 0; k < r; k++) {
        az_f64_mut(q)[k * (r + 1)] += 2 * bound->l2;
        l1[k] = bound->l1;
        nonnegative[k] = bound->nonnegative;
    }
    *out = (az_quadratic){.r = r, .q = az_f64(q), .l1 = l1, .nonnegative = nonnegative};
    return true;
}

static void filter_codes(az_ctx *az, descent *d)
{
    az_quadratic problem;
    const az_tensor *b = az_affine(az, d->xw, 2 * d->xi, 0);
    if (!code_problem(az, d->w, &d->how->code, d->xi, &problem) || !b) return;
    problem.most_turns = CODE_TURNS;
    az_quadratic_descend(az, &problem, d->samples->n, az_f64(b), az_f64_mut(d->c));
}

static void update_codes(az_ctx *az, descent *d, int64_t turn, double radius)
{
    az_scope_push(az);
    const az_tensor *before = az_copy(az, d->c);
    if (d->how->kind == SDL_FEATURE)
        feature_codes(az, d, turn);
    else
        filter_codes(az, d);
    if (az_ok(az)) shorten(d->c, before, radius);
    if (az_ok(az)) az_copy_into(az, d->xc, az_matrix_transposed_times(az, d->samples->x, d->c));
    az_scope_pop(az);
}

/* ---- the regression ---- */

static void update_beta(az_ctx *az, descent *d)
{
    const sdl_bound *bound = &d->how->beta;
    const int64_t r = d->r, q = d->samples->q, kappa = d->kappa;
    az_scope_push(az);
    const az_tensor *features = d->how->kind == SDL_FILTER ? d->xw : d->c;
    const az_matrix *x = az_matrix_dense(az, az_concat(az, (az_tensor *[]){(az_tensor *)features, (az_tensor *)d->samples->z}, 2, 1));
    az_tensor *b = az_concat(az, (az_tensor *[]){d->beta, d->gamma}, 2, 0);
    double *l1 = az_alloc_array(az, (size_t)(r + q), sizeof *l1), *l2 = az_alloc_array(az, (size_t)(r + q), sizeof *l2);
    bool *nonnegative = az_alloc_array(az, (size_t)(r + q), sizeof *nonnegative);
    if (az_ok(az)) {
        for (int64_t j = 0; j < r + q; j++) {
            l1[j] = j == r ? 0 : bound->l1;
            l2[j] = j == r ? 0 : bound->l2;
            nonnegative[j] = j < r && bound->nonnegative;
        }
        const az_multinomial problem = {.x = x,
                                        .label = d->samples->label,
                                        .classes = d->samples->classes,
                                        .l2 = l2,
                                        .l1 = bound->l1 > 0 ? l1 : NULL,
                                        .nonnegative = bound->nonnegative ? nonnegative : NULL,
                                        .most_steps = 100,
                                        .tolerance = 1e-10};
        az_multinomial_fit(az, &problem, b);
    }
    if (az_ok(az)) {
        memcpy(az_f64_mut(d->beta), az_f64(b), (size_t)(r * kappa) * sizeof(double));
        memcpy(az_f64_mut(d->gamma), az_f64(b) + r * kappa, (size_t)(q * kappa) * sizeof(double));
    }
    az_scope_pop(az);
}

/* ---- objective and stationarity ---- */

static double reconstruction(az_ctx *az, const descent *d)
{
    return fmax(d->square - 2 * inner(az, d->xw, d->c) + inner(az, gram(az, d->w), gram(az, d->c)), 0);
}

static double objective(az_ctx *az, const descent *d)
{
    double value = NAN;
    az_scope_push(az);
    const az_tensor *score = scores(az, d, d->how->kind == SDL_FILTER ? d->xw : d->c);
    if (score)
        value = az_multinomial_loss(az_f64(score), d->samples->label, d->samples->n, d->samples->classes, NULL) +
                d->xi * reconstruction(az, d) + penalty(d->w, &d->how->dictionary) + penalty(d->c, &d->how->code) +
                beta_penalty(az, d->beta, d->gamma, &d->how->beta);
    az_scope_pop(az);
    return value;
}

/* What of the slope can be followed from x: the shortest subgradient within the signs. */
static double followed(double x, double slope, const sdl_bound *bound)
{
    if (x > 0) return slope + bound->l1;
    if (bound->nonnegative) return fmin(slope + bound->l1, 0);
    if (x < 0) return slope - bound->l1;
    return copysign(fmax(fabs(slope) - bound->l1, 0), slope);
}

/* The length of the slope of F in W and C that the constraints leave: 0 at a stationary point. */
static double stationarity(az_ctx *az, const descent *d)
{
    const sdl_samples *s = d->samples;
    az_scope_push(az);
    az_tensor *by_w = az_zeros(az, AZ_F64, 2, d->w->shape), *difference = az_new2(az, AZ_F64, s->n, d->kappa);
    const az_tensor *inner_code = gram(az, d->c), *cq = az_matmul(az, d->c, gram(az, d->w)), *score = scores(az, d, d->c);
    double square = 0, along = 0, norm = 0;
    if (by_w && difference && score && cq) {
        dictionary_value(az, d, d->w, inner_code, difference);
        dictionary_gradient(az, d, inner_code, difference, by_w);
        az_multinomial_loss(az_f64(score), s->label, s->n, s->classes, az_f64_mut(difference));
        const az_tensor *pull = d->how->kind == SDL_FEATURE ? az_matmul(az, difference, az_transpose(az, d->beta)) : NULL;
        const double *c = az_f64(d->c), *product = az_f64(cq), *data = az_f64(d->xw), *labels = pull ? az_f64(pull) : NULL;
        for (int64_t i = 0, n = az_count(d->c); i < n; i++) {
            const double slope = 2 * d->xi * (product[i] - data[i]) + 2 * d->how->code.l2 * c[i] + (labels ? labels[i] : 0);
            const double g = followed(c[i], slope, &d->how->code);
            square += g * g;
        }
        const double *w = az_f64(d->w);
        double *g = az_f64_mut(by_w);
        const int64_t n = az_count(d->w);
        for (int64_t i = 0; i < n; i++) {
            g[i] = followed(w[i], g[i], &d->how->dictionary);
            along += g[i] * w[i];
            norm += w[i] * w[i];
        }
        const double out = norm > 1 - 1e-9 && along < 0 ? along / norm : 0; /* the ball holds what points out of it */
        for (int64_t i = 0; i < n; i++) square += (g[i] - out * w[i]) * (g[i] - out * w[i]);
    }
    az_scope_pop(az);
    return sqrt(square);
}

double sdl_objective(az_ctx *az, const sdl_samples *samples, const sdl_how *how, const sdl_fit *fit)
{
    descent d = {.samples = samples, .how = how, .r = how->rank, .kappa = samples->classes - 1, .xi = how->xi};
    az_scope_push(az);
    d.square = az_matrix_square(samples->x);
    d.w = fit->dictionary, d.c = fit->code, d.beta = fit->beta, d.gamma = fit->gamma;
    d.xw = az_matrix_times(az, samples->x, d.w);
    const double value = objective(az, &d);
    az_scope_pop(az);
    return value;
}

/* ---- the iteration ---- */

static bool start(az_ctx *az, descent *d)
{
    const sdl_samples *s = d->samples;
    const int64_t w_shape[] = {s->p, d->r}, c_shape[] = {s->n, d->r}, b_shape[] = {d->r, d->kappa};
    const uint64_t seed = d->how->seed;
    az_tensor *w = az_rand(az, AZ_F64, 2, w_shape, 0, 1, seed, az_stream("sdl dictionary", 0));
    d->w = az_affine(az, w, 1 / sqrt(inner(az, w, w)), 0);
    d->c = az_rand(az, AZ_F64, 2, c_shape, 0, 1, seed, az_stream("sdl code", 0));
    d->beta = az_rand(az, AZ_F64, 2, b_shape, d->how->beta.nonnegative ? 0 : -1, 1, seed, az_stream("sdl beta", 0));
    d->gamma = az_zeros(az, AZ_F64, 2, (int64_t[]){s->q, d->kappa});
    d->xw = az_matrix_times(az, s->x, d->w);
    d->xc = az_matrix_transposed_times(az, s->x, d->c);
    d->square = az_matrix_square(s->x);
    d->length = 1;
    return az_ok(az) && d->xc;
}

static void turn(az_ctx *az, descent *d, int64_t k)
{
    const double radius = radius_of(d, k);
    update_dictionary(az, d, radius);
    if (d->how->kind == SDL_FEATURE) update_beta(az, d);
    update_codes(az, d, k, radius);
    if (d->how->kind == SDL_FILTER) update_beta(az, d);
    if (d->how->update_xi) d->xi = (double)(d->samples->n * d->samples->p) / (2 * fmax(reconstruction(az, d), 1e-300));
}

sdl_fit *sdl_fit_descent(az_ctx *az, const sdl_samples *samples, const sdl_how *how)
{
    enum { LOOK = 10 }; /* turns between looks at the stationarity */
    descent d = {.samples = samples, .how = how, .r = how->rank, .kappa = samples->classes - 1, .xi = how->xi};
    sdl_fit *fit = az_alloc(az, sizeof *fit);
    if (!fit || !start(az, &d)) return NULL;
    *fit = (sdl_fit){.kind = how->kind, .stationarity = 1};
    fit->trace.iteration = az_alloc_array(az, (size_t)how->iterations, sizeof(double));
    fit->trace.objective = az_alloc_array(az, (size_t)how->iterations, sizeof(double));
    double before = INFINITY, first = 0;
    for (int64_t k = 1; k <= how->iterations && az_ok(az) && !fit->converged; k++) {
        az_scope_push(az);
        turn(az, &d, k);
        fit->objective = objective(az, &d);
        if (az_ok(az) && !isfinite(fit->objective)) az_fail(az, AZ_NUMERIC, "turn %lld: the objective is not finite", (long long)k);
        if (az_ok(az)) fit->trace.iteration[k - 1] = (double)k, fit->trace.objective[k - 1] = fit->objective;
        fit->iterations = fit->trace.count = k;
        if (k == 1) first = stationarity(az, &d);
        if (k % LOOK == 0) fit->stationarity = first > 0 ? stationarity(az, &d) / first : 0;
        fit->converged = how->tolerance > 0 && fit->stationarity <= how->tolerance;
        if (az_ok(az) && !az_progress(az, "fitting", k, how->iterations, az_format_text(az, "objective %.6g", fit->objective)))
            az_fail(az, AZ_INTERRUPTED, "interrupted");
        az_scope_pop(az);
        if (fit->objective > before + 0.1 * fabs(before)) break; /* a xi that moves: no more is gained */
        before = fit->objective;
    }
    fit->dictionary = d.w, fit->code = d.c, fit->beta = d.beta, fit->gamma = d.gamma, fit->xi = d.xi;
    return az_ok(az) ? fit : NULL;
}

/* ---- codes of given dictionaries, factors without labels ---- */

az_tensor *sdl_codes(az_ctx *az, const az_tensor *dictionary, const sdl_bound *bound, double xi, const az_matrix *x)
{
    if (!dictionary || !x || !az_ok(az)) return NULL;
    az_scope_push(az);
    az_quadratic problem;
    const az_tensor *b = az_affine(az, az_matrix_times(az, x, dictionary), 2 * xi, 0);
    az_tensor *c = az_zeros(az, AZ_F64, 2, (int64_t[]){x->rows, dictionary->shape[1]});
    if (b && c && code_problem(az, dictionary, bound, xi, &problem)) {
        problem.most_turns = 10000, problem.tolerance = 1e-9;
        az_quadratic_descend(az, &problem, x->rows, az_f64(b), az_f64_mut(c));
    }
    return az_keep(az, c);
}

bool sdl_factorize(az_ctx *az, const az_matrix *x, int64_t rank, int64_t iterations, uint64_t seed, az_tensor **dictionary,
                   az_tensor **code)
{
    const sdl_bound bound = {.nonnegative = true};
    az_tensor *w = az_rand(az, AZ_F64, 2, (int64_t[]){x->columns, rank}, 0, 1, seed, az_stream("nmf dictionary", 0));
    az_tensor *c = az_rand(az, AZ_F64, 2, (int64_t[]){x->rows, rank}, 0, 1, seed, az_stream("nmf code", 0));
    const double square = az_matrix_square(x);
    double before = INFINITY;
    for (int64_t i = 0; i < iterations && az_ok(az); i++) {
        az_quadratic problem;
        az_scope_push(az);
        const az_tensor *xw = az_affine(az, az_matrix_times(az, x, w), 2, 0);
        if (xw && code_problem(az, w, &bound, 1, &problem)) {
            problem.most_turns = 1;
            az_quadratic_descend(az, &problem, x->rows, az_f64(xw), az_f64_mut(c));
        }
        const az_tensor *xc = az_affine(az, az_matrix_transposed_times(az, x, c), 2, 0);
        if (xc && code_problem(az, c, &bound, 1, &problem)) {
            problem.most_turns = 1;
            az_quadratic_descend(az, &problem, x->columns, az_f64(xc), az_f64_mut(w));
        }
        const double error = az_ok(az) ? square - inner(az, xc, w) + inner(az, gram(az, w), gram(az, c)) : NAN;
        az_scope_pop(az);
        if (!(before - error > 1e-7 * square)) break;
        before = error;
    }
    *dictionary = w, *code = c;
    return az_ok(az);
}
