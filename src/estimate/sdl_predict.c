/* sdl_predict.c - probabilities, codes and calls of new samples, and how good they are.
 *
 * A filter scores x W. A feature model needs the code of x: naive, the one that reconstructs x best; exhaustive, for every class a the code
 * that makes xi |x - c W^T|^2 + l(a, score) least, and then P(a) is proportional to exp(-least). That minimum is found by bounding l from
 * above by quadratics of curvature f, so that all samples share one matrix 2 xi W^T W + f beta beta^T. */
#include "estimate/sdl.h"

#include <string.h>

/* ---- scores and probabilities ---- */

/* Probabilities [n, classes] of scores [n, kappa]. */
static az_tensor *probabilities(az_ctx *az, const az_tensor *score)
{
    if (!score) return NULL;
    const int64_t n = score->shape[0], kappa = score->shape[1];
    az_tensor *p = az_new2(az, AZ_F64, n, kappa), *out = az_new2(az, AZ_F64, n, kappa + 1);
    const az_tensor *packed = az_contiguous(az, score);
    if (!p || !out || !packed) return NULL;
    az_multinomial_loss(az_f64(packed), NULL, n, (int)kappa + 1, az_f64_mut(p));
    for (int64_t i = 0; i < n; i++) {
        double rest = 1;
        for (int64_t a = 0; a < kappa; a++) {
            az_f64_mut(out)[i * (kappa + 1) + a + 1] = az_f64(p)[i * kappa + a];
            rest -= az_f64(p)[i * kappa + a];
        }
        az_f64_mut(out)[i * (kappa + 1)] = fmax(rest, 0);
    }
    return out;
}

/* ---- exhaustive codes ---- */

typedef struct search {
    const sdl_model *model;
    const az_matrix *x;
    const az_tensor *offset; /* [n, kappa] z gamma */
    const az_tensor *xw;     /* [n, r] 2 xi x W */
    az_tensor *q;            /* [r, r] */
    const double *squares;   /* [n] |x|^2 */
} search;

static double *row_squares(az_ctx *az, const az_matrix *x)
{
    double *out = az_alloc_array(az, (size_t)x->rows + 1, sizeof *out);
    for (int64_t i = 0; out && i < x->rows; i++) {
        const int64_t first = x->dense ? i * x->columns : x->by_row.start[i], last = x->dense ? first + x->columns : x->by_row.start[i + 1];
        const double *value = x->dense ? az_f64(x->dense) : x->by_row.value;
        for (int64_t e = first; e < last; e++) out[i] += value[e] * value[e];
    }
    return out;
}

/* Codes [n, r] for the label `class` of every sample, from the naive ones. */
static az_tensor *codes_given(az_ctx *az, const search *s, int32_t class, const az_tensor *from)
{
    enum { MOST = 500 };
    const int64_t n = s->x->rows, r = s->q->shape[0], kappa = s->offset->shape[1];
    const double f = kappa == 1 ? 0.25 : 0.5;
    const az_tensor *beta = s->model->beta, *bt = az_transpose(az, beta);
    az_tensor *c = az_copy(az, from);
    int32_t *label = az_alloc_array(az, (size_t)n + 1, sizeof *label);
    double *l1 = az_alloc_array(az, (size_t)r, sizeof *l1);
    bool *nonnegative = az_alloc_array(az, (size_t)r, sizeof *nonnegative);
    if (!c || !label || !l1 || !nonnegative) return NULL;
    for (int64_t i = 0; i < n; i++) label[i] = class;
    for (int64_t k = 0; k < r; k++) l1[k] = s->model->code.l1, nonnegative[k] = s->model->code.nonnegative;
    const az_quadratic problem = {.r = r, .q = az_f64(s->q), .l1 = l1, .nonnegative = nonnegative, .most_turns = 10, .tolerance = 1e-10};
    double before = INFINITY;
    for (int i = 0; i < MOST && az_ok(az); i++) {
        az_scope_push(az);
        const az_tensor *inner = az_matmul(az, c, beta), *score = az_add(az, inner, s->offset);
        az_tensor *difference = az_new2(az, AZ_F64, n, kappa);
        double loss = NAN;
        if (score && difference) loss = az_multinomial_loss(az_f64(score), label, n, (int)kappa + 1, az_f64_mut(difference));
        const az_tensor *pull = az_sub(az, az_affine(az, inner, f, 0), difference);
        const az_tensor *b = az_add(az, s->xw, az_matmul(az, pull, bt)), *old = az_copy(az, c);
        double moved = 0, largest = 0;
        if (b && old) az_quadratic_descend(az, &problem, n, az_f64(b), az_f64_mut(c));
        for (int64_t e = 0; old && e < n * r; e++) {
            moved = fmax(moved, fabs(az_f64(c)[e] - az_f64(old)[e]));
            largest = fmax(largest, fabs(az_f64(c)[e]));
        }
        az_scope_pop(az);
        if (moved <= 1e-8 * largest && fabs(before - loss) <= 1e-10 * fabs(loss)) break;
        before = loss;
    }
    return c;
}

/* xi |x - c W^T|^2 + penalties + l(class, score) of each sample: cost[i * classes + class]. */
static bool add_costs(az_ctx *az, const search *s, int32_t class, const az_tensor *c, double *cost)
{
    const sdl_model *m = s->model;
    const int64_t n = s->x->rows, r = c->shape[1], kappa = s->offset->shape[1];
    const az_tensor *score = az_add(az, az_matmul(az, c, m->beta), s->offset);
    const az_tensor *cq = az_matmul(az, c, az_matmul(az, az_transpose(az, m->dictionary), m->dictionary));
    if (!score || !cq) return false;
    for (int64_t i = 0; i < n; i++) {
        double sum = m->xi * s->squares[i];
        for (int64_t k = 0; k < r; k++) {
            const double value = az_f64(c)[i * r + k];
            sum +=
                value * (m->xi * az_f64(cq)[i * r + k] - az_f64(s->xw)[i * r + k]) + m->code.l2 * value * value + m->code.l1 * fabs(value);
        }
        cost[i * (kappa + 1) + class] = sum + az_multinomial_loss(az_f64(score) + i * kappa, &class, 1, (int)kappa + 1, NULL);
    }
    return true;
}

/* Probabilities from the costs, and the codes of the cheapest class. */
static bool search_classes(az_ctx *az, const search *s, sdl_prediction *out)
{
    const int64_t n = s->x->rows, r = s->q->shape[0];
    const int classes = s->model->classes;
    double *cost = az_alloc_array(az, (size_t)n * (size_t)classes + 1, sizeof *cost);
    az_tensor **codes = az_alloc_array(az, (size_t)classes, sizeof(az_tensor *));
    out->probability = az_new2(az, AZ_F64, n, classes);
    if (!cost || !codes || !out->probability) return false;
    for (int32_t a = 0; a < classes; a++)
        if (!(codes[a] = codes_given(az, s, a, out->code)) || !add_costs(az, s, a, codes[a], cost)) return false;
    for (int64_t i = 0; i < n; i++) {
        double sum = 0;
        int best = 0;
        for (int a = 1; a < classes; a++)
            if (cost[i * classes + a] < cost[i * classes + best]) best = a;
        double *p = az_f64_mut(out->probability) + i * classes;
        for (int a = 0; a < classes; a++) sum += p[a] = exp(cost[i * classes + best] - cost[i * classes + a]);
        for (int a = 0; a < classes; a++) p[a] /= sum;
        memcpy(az_f64_mut(out->code) + i * r, az_f64(codes[best]) + i * r, (size_t)r * sizeof(double));
    }
    return true;
}

static bool exhaustive(az_ctx *az, const sdl_model *m, const sdl_samples *samples, sdl_prediction *out)
{
    const int64_t r = m->dictionary->shape[1];
    const double f = m->classes == 2 ? 0.25 : 0.5;
    search s = {.model = m, .x = samples->x, .offset = az_matmul(az, samples->z, m->gamma), .squares = row_squares(az, samples->x)};
    s.xw = az_affine(az, az_matrix_times(az, samples->x, m->dictionary), 2 * m->xi, 0);
    s.q = az_add(az, az_affine(az, az_matmul(az, az_transpose(az, m->dictionary), m->dictionary), 2 * m->xi, 0),
                 az_affine(az, az_matmul(az, m->beta, az_transpose(az, m->beta)), f, 0));
    for (int64_t k = 0; s.q && k < r; k++) az_f64_mut(s.q)[k * (r + 1)] += 2 * m->code.l2;
    return az_ok(az) && search_classes(az, &s, out);
}

/* ---- predictions ---- */

void sdl_call(const az_tensor *probability, double threshold, int32_t *called)
{
    const int64_t classes = probability->shape[1];
    for (int64_t i = 0; i < probability->shape[0]; i++) {
        const double *p = az_f64(probability) + i * classes;
        int32_t best = 0;
        for (int32_t a = 1; a < classes; a++)
            if (p[a] > p[best]) best = a;
        called[i] = classes == 2 ? p[1] >= threshold : best;
    }
}

sdl_prediction *sdl_predict(az_ctx *az, const sdl_model *m, const sdl_samples *samples)
{
    sdl_prediction *out = az_alloc(az, sizeof *out);
    if (!out || !az_ok(az)) return NULL;
    out->called = az_alloc_array(az, (size_t)samples->n + 1, sizeof *out->called);
    if (m->dictionary) out->code = sdl_codes(az, m->dictionary, &m->code, m->xi, samples->x);
    if (!out->called || !az_ok(az)) return NULL;
    if (!m->dictionary) {
        out->probability = probabilities(az, az_add(az, az_matrix_times(az, samples->x, m->beta), az_matmul(az, samples->z, m->gamma)));
    } else if (m->kind == SDL_FEATURE && m->coding == SDL_EXHAUSTIVE) {
        if (!exhaustive(az, m, samples, out)) return NULL;
    } else {
        const az_tensor *features = m->kind == SDL_FILTER ? az_matrix_times(az, samples->x, m->dictionary) : out->code;
        out->probability = probabilities(az, az_add(az, az_matmul(az, features, m->beta), az_matmul(az, samples->z, m->gamma)));
    }
    if (out->probability) sdl_call(out->probability, m->threshold, out->called);
    return az_ok(az) ? out : NULL;
}

double sdl_threshold(az_ctx *az, const az_tensor *probability, const int32_t *label)
{
    if (!probability || probability->shape[1] != 2) return 0.5;
    const int64_t n = probability->shape[0];
    double *score = az_alloc_array(az, (size_t)n + 1, sizeof *score);
    bool *positive = az_alloc_array(az, (size_t)n + 1, sizeof *positive);
    if (!score || !positive) return NAN;
    for (int64_t i = 0; i < n; i++) score[i] = az_f64(probability)[2 * i + 1], positive[i] = label[i] == 1;
    return az_roc_threshold(score, positive, n);
}

/* ---- how good they are ---- */

double sdl_reconstruction(az_ctx *az, const az_matrix *x, const az_tensor *dictionary, const az_tensor *code)
{
    if (!dictionary || !code) return NAN;
    az_scope_push(az);
    const double square = az_matrix_square(x);
    const az_tensor *wq = az_matmul(az, az_transpose(az, dictionary), dictionary), *cq = az_matmul(az, az_transpose(az, code), code);
    const double cross = az_to_double(az_dot(az, az_matrix_times(az, x, dictionary), code));
    const double error = fmax(square - 2 * cross + az_to_double(az_dot(az, wq, cq)), 0);
    az_scope_pop(az);
    return square > 0 ? error / square : NAN;
}

static double mean_auc(az_ctx *az, const sdl_samples *samples, const az_tensor *probability)
{
    const int64_t n = samples->n, classes = probability->shape[1];
    double *score = az_alloc_array(az, (size_t)n + 1, sizeof *score), sum = 0;
    bool *positive = az_alloc_array(az, (size_t)n + 1, sizeof *positive);
    int counted = 0;
    for (int64_t a = classes == 2; score && positive && a < classes; a++) {
        for (int64_t i = 0; i < n; i++) score[i] = az_f64(probability)[i * classes + a], positive[i] = samples->label[i] == a;
        const double auc = az_auroc(score, positive, n);
        if (!isnan(auc)) sum += auc, counted++;
    }
    return counted > 0 ? sum / counted : NAN;
}

sdl_score sdl_score_of(az_ctx *az, const sdl_samples *samples, const sdl_prediction *p)
{
    const int64_t n = samples->n, classes = p->probability->shape[1];
    const az_call_score calls = az_score_calls(samples->label, p->called, n, (int)classes);
    sdl_score out = {.accuracy = calls.accuracy, .precision = calls.precision, .recall = calls.recall, .f = calls.f};
    out.auc = mean_auc(az, samples, p->probability);
    for (int64_t i = 0; i < n; i++) out.log_loss -= log(fmax(az_f64(p->probability)[i * classes + samples->label[i]], 1e-300)) / (double)n;
    out.reconstruction = NAN;
    return out;
}
