/* regress.c - linear and logistic regression as moment equations, with variances that hold under heteroskedasticity and within clusters.
 *
 * The columns are divided by their root mean squares first, so that pivots and steps can be judged. */
#include "adze/data.h"
#include "adze/linalg.h"

#include <math.h>
#include <string.h>

enum { MOST_STEPS = 100, MOST_HALVINGS = 40 };
static const double DEPENDENT = 1e-13; /* squared length of what a column adds to those before it, of 1 */

typedef struct solver {
    az_ctx *az;
    const az_regression_how *how;
    int64_t n, p;
    az_tensor *z;       /* [n, p] columns of root mean square 1 */
    double *scale;      /* [p] x = z scale */
    double *penalty;    /* [p] of the scaled coefficients */
    const double *y;    /* [n] */
    double *b;          /* [p] scaled coefficients */
    az_tensor *mean;    /* [n] m(z b) */
    double score_scale; /* sum |w| (|y| + 1): what a score is small against */
} solver;

static double weight(const solver *s, int64_t i)
{
    return s->how->weight ? s->how->weight[i] : 1;
}

static const char *column_name(const solver *s, int64_t j)
{
    return s->how->name ? s->how->name[j] : az_format_text(s->az, "%lld", (long long)j + 1);
}

/* ---- preparation ---- */

static bool scale_columns(solver *s, const az_tensor *x)
{
    const double *from = az_f64(x);
    double *to = az_f64_mut(s->z);
    for (int64_t i = 0; i < s->n; i++)
        for (int64_t j = 0; j < s->p; j++) s->scale[j] += from[i * s->p + j] * from[i * s->p + j];
    for (int64_t j = 0; j < s->p; j++) {
        s->scale[j] = sqrt(s->scale[j] / (double)s->n);
        if (s->scale[j] == 0) return az_fail(s->az, AZ_BAD_INPUT, "column %s is zero in all %lld rows", column_name(s, j), (long long)s->n);
    }
    for (int64_t i = 0; i < s->n; i++)
        for (int64_t j = 0; j < s->p; j++) to[i * s->p + j] = from[i * s->p + j] / s->scale[j];
    return true;
}

/* ridge n var(z_j) for columns that vary. */
static void set_penalty(solver *s)
{
    const double *z = az_f64(s->z);
    for (int64_t j = 0; j < s->p && s->how->ridge > 0; j++) {
        double mean = 0;
        for (int64_t i = 0; i < s->n; i++) mean += z[i * s->p + j];
        mean /= (double)s->n;
        s->penalty[j] = s->how->ridge * (double)s->n * fmax(1 - mean * mean, 0);
    }
}

/* By the Cholesky factor of Z'Z / n, whose pivots are what each column adds. */
static bool check_independent(solver *s)
{
    const int64_t p = s->p;
    az_tensor *gram = az_matmul(s->az, az_transpose(s->az, s->z), s->z);
    double *g = az_f64_mut(gram); /* [p, p] */
    const char *names = "";
    for (int64_t j = 0; g && names && j < p; j++) {
        double pivot = g[j * p + j] / (double)s->n;
        for (int64_t k = 0; k < j; k++) pivot -= g[j * p + k] * g[j * p + k];
        const bool dependent = pivot < DEPENDENT;
        if (dependent) names = az_format_text(s->az, "%s%s%s", names, *names ? ", " : "", column_name(s, j));
        for (int64_t i = j + 1; i < p; i++) {
            double entry = g[i * p + j] / (double)s->n;
            for (int64_t k = 0; k < j; k++) entry -= g[i * p + k] * g[j * p + k];
            g[i * p + j] = dependent ? 0 : entry / sqrt(pivot);
        }
    }
    if (!g || !names) return false;
    if (*names) return az_fail(s->az, AZ_BAD_INPUT, "columns that the ones before them determine: %s", names);
    return true;
}

static bool check_shapes(az_ctx *az, const az_tensor *x, const az_tensor *y)
{
    if (!x || !y || !az_ok(az)) return false;
    if (x->rank != 2 || y->rank != 1 || x->shape[0] != y->shape[0] || !az_f64(x) || !az_f64(y))
        return az_fail(az, AZ_BAD_CALL, "regression of %s on %s", az_shape_text(az, y), az_shape_text(az, x));
    if (az_first_nonfinite(x) >= 0 || az_first_nonfinite(y) >= 0)
        return az_fail(az, AZ_NUMERIC, "regression on numbers that are not finite");
    if (x->shape[0] < x->shape[1] || x->shape[1] < 1)
        return az_fail(az, AZ_BAD_INPUT, "%lld rows do not determine %lld coefficients", (long long)x->shape[0], (long long)x->shape[1]);
    return true;
}

/* ---- the equation ---- */

/* Means at b, and the scores' sum [p] with the penalty; returns its largest entry. */
static double evaluate(solver *s, const double *b, double *score)
{
    const double *z = az_f64(s->z);
    double *mean = az_f64_mut(s->mean), largest = 0;
    const int64_t p = s->p;
    const bool logit = s->how->link == AZ_LINK_LOGIT;
    for (int64_t j = 0; j < p; j++) score[j] = -s->penalty[j] * b[j];
    for (int64_t i = 0; i < s->n; i++) {
        const double *row = z + i * p;
        double eta = 0;
        for (int64_t j = 0; j < p; j++) eta += row[j] * b[j];
        mean[i] = logit ? 1 / (1 + exp(-eta)) : eta;
        const double r = weight(s, i) * (s->y[i] - mean[i]);
        for (int64_t j = 0; j < p; j++) score[j] += row[j] * r;
    }
    for (int64_t j = 0; j < p; j++) largest = fmax(largest, fabs(score[j]));
    return isfinite(largest) ? largest : INFINITY;
}

static double slope(const solver *s, double mean)
{
    return s->how->link == AZ_LINK_LOGIT ? mean * (1 - mean) : 1;
}

/* Z' diag(w m') Z + penalty, at the means that were evaluated last. */
static az_tensor *jacobian(solver *s)
{
    az_tensor *weighted = az_copy(s->az, s->z);
    double *row = az_f64_mut(weighted);
    const double *mean = az_f64(s->mean);
    for (int64_t i = 0; row && i < s->n; i++, row += s->p) {
        const double factor = weight(s, i) * slope(s, mean[i]);
        for (int64_t j = 0; j < s->p; j++) row[j] *= factor;
    }
    az_tensor *out = az_matmul(s->az, az_transpose(s->az, s->z), weighted);
    for (int64_t j = 0; out && j < s->p; j++) az_f64_mut(out)[j * s->p + j] += s->penalty[j];
    return out;
}

/* One step along Newton's direction, halved so often at most until the scores fall. Returns their largest entry after it, the old one when
 * nothing helped.
 */
static double take_step(solver *s, double before, int halvings, double *score)
{
    az_ctx *az = s->az;
    az_scope_push(az);
    const double *direction = az_f64(az_solve(az, jacobian(s), az_from(az, AZ_F64, 1, &s->p, score)));
    double *trial = az_alloc_array(az, (size_t)s->p, sizeof *trial), step = 1, after = before;
    bool better = false;
    for (int halving = 0; direction && trial && !better && halving <= halvings; halving++, step /= 2) {
        for (int64_t j = 0; j < s->p; j++) trial[j] = s->b[j] + step * direction[j];
        after = evaluate(s, trial, score);
        better = after < before;
    }
    if (better)
        memcpy(s->b, trial, (size_t)s->p * sizeof *trial);
    else
        after = evaluate(s, s->b, score);
    az_scope_pop(az);
    return after;
}

/* Whether nearly every mean is 0 or 1, so that the equation has lost its slope. */
static bool is_flat(const solver *s)
{
    double sum = 0;
    const double *mean = az_f64(s->mean);
    for (int64_t i = 0; i < s->n; i++) sum += slope(s, mean[i]);
    return sum < 1e-8 * (double)s->n;
}

static bool solve(solver *s, int *iterations)
{
    double *score = az_alloc_array(s->az, (size_t)s->p, sizeof *score);
    if (!score) return false;
    double now = evaluate(s, s->b, score);
    for (*iterations = 0; *iterations < MOST_STEPS && now > 0; (*iterations)++) {
        const double before = now;
        const bool near = before < 1e-10 * s->score_scale; /* one step more is as exact as rounding allows */
        if (is_flat(s)) return az_fail(s->az, AZ_NUMERIC, "the regression has no solution: its columns separate the classes");
        now = take_step(s, before, near ? 0 : MOST_HALVINGS, score);
        if (!az_ok(s->az)) {
            az_fail_context(s->az, "regression");
            return false;
        }
        if (near || !(now < before)) break;
    }
    if (now < 1e-8 * s->score_scale) return true;
    return az_fail(s->az, AZ_NUMERIC, "the regression does not converge: perhaps its columns nearly separate the classes");
}

/* ---- variances ---- */

/* Residuals, divided by 1 - leverage for HC3. */
static double *scaled_residuals(solver *s, const az_tensor *inverse)
{
    const double *z = az_f64(s->z), *mean = az_f64(s->mean), *v = az_f64(inverse);
    double *r = az_alloc_array(s->az, (size_t)s->n, sizeof *r);
    for (int64_t i = 0; r && i < s->n; i++) {
        r[i] = s->y[i] - mean[i];
        if (s->how->variance != AZ_HC3) continue;
        const double *row = z + i * s->p;
        double leverage = 0;
        for (int64_t j = 0; j < s->p; j++)
            for (int64_t k = 0; k < s->p; k++) leverage += row[j] * v[j * s->p + k] * row[k];
        r[i] /= 1 - leverage * weight(s, i) * slope(s, mean[i]);
    }
    return r;
}

/* The scores of rows, or summed within clusters: [n or clusters, p]. */
static az_tensor *score_rows(solver *s, const double *residual)
{
    const int64_t *cluster = s->how->cluster;
    int64_t groups = cluster ? 0 : s->n;
    for (int64_t i = 0; cluster && i < s->n; i++)
        if (cluster[i] >= groups) groups = cluster[i] + 1;
    az_tensor *out = az_zeros(s->az, AZ_F64, 2, (int64_t[]){groups, s->p});
    double *to = az_f64_mut(out);
    const double *z = az_f64(s->z);
    for (int64_t i = 0; to && i < s->n; i++) {
        double *row = to + (cluster ? cluster[i] : i) * s->p;
        const double r = weight(s, i) * residual[i];
        for (int64_t j = 0; j < s->p; j++) row[j] += z[i * s->p + j] * r;
    }
    return out;
}

static int64_t nonempty(const solver *s, const az_tensor *scores)
{
    bool *seen = s->how->cluster ? az_alloc_array(s->az, (size_t)scores->shape[0], sizeof *seen) : NULL;
    int64_t count = 0;
    for (int64_t i = 0; seen && i < s->n; i++) {
        count += !seen[s->how->cluster[i]];
        seen[s->how->cluster[i]] = true;
    }
    return count;
}

static az_tensor *robust(solver *s, const az_tensor *inverse)
{
    az_ctx *az = s->az;
    const double n = (double)s->n, p = (double)s->p;
    if (s->how->variance == AZ_HC3 && s->how->cluster) return az_fail(az, AZ_BAD_CALL, "HC3 is not defined with clusters");
    const double *residual = scaled_residuals(s, inverse);
    az_tensor *scores = residual ? score_rows(s, residual) : NULL;
    az_tensor *influence = az_matmul(az, scores, az_transpose(az, inverse)); /* rows J^-1 s */
    az_tensor *v = az_matmul(az, az_transpose(az, influence), influence);
    if (!v || s->how->variance != AZ_HC1) return v;
    const double c = s->how->cluster ? (double)nonempty(s, scores) : 0;
    return az_affine(az, v, s->how->cluster ? c / (c - 1) * (n - 1) / (n - p) : n / (n - p), 0);
}

static az_tensor *classical(solver *s, const az_tensor *inverse)
{
    double sum = 0;
    for (int64_t i = 0; i < s->n; i++) sum += weight(s, i) * pow(s->y[i] - az_f64(s->mean)[i], 2);
    return az_affine(s->az, inverse, s->how->link == AZ_LINK_LOGIT ? 1 : sum / (double)(s->n - s->p), 0);
}

/* ---- back to the given columns ---- */

/* a[j] * m[j, k] * a[k] with a = scale^power */
static az_tensor *rescaled(const solver *s, const az_tensor *m, double power)
{
    az_tensor *out = az_copy(s->az, m);
    for (int64_t j = 0; out && j < s->p; j++)
        for (int64_t k = 0; k < s->p; k++) az_f64_mut(out)[j * s->p + k] *= pow(s->scale[j] * s->scale[k], power);
    return out;
}

/* Coefficients, covariance, Jacobian, residuals. */
static bool collect(solver *s, az_tensor *out[4])
{
    az_ctx *az = s->az;
    az_tensor *j = jacobian(s), *inverse = az_inverse(az, j);
    az_tensor *v = s->how->variance == AZ_CLASSICAL ? classical(s, inverse) : robust(s, inverse);
    if (!v) return false;
    out[0] = az_from(az, AZ_F64, 1, &s->p, s->b);
    out[1] = rescaled(s, v, -1);
    out[2] = rescaled(s, j, 1);
    out[3] = az_from(az, AZ_F64, 1, &s->n, s->y);
    if (!az_ok(az)) return false;
    for (int64_t k = 0; k < s->p; k++) az_f64_mut(out[0])[k] /= s->scale[k];
    double *residual = az_f64_mut(out[3]);
    for (int64_t i = 0; i < s->n; i++) residual[i] -= az_f64(s->mean)[i];
    return true;
}

/* Everything in the current scope; the four results in out. */
static bool regress(solver *s, const az_tensor *x, int *iterations, az_tensor *out[4])
{
    const size_t p = (size_t)s->p;
    s->z = az_new2(s->az, AZ_F64, s->n, s->p);
    s->mean = az_new1(s->az, AZ_F64, s->n);
    s->scale = az_alloc_array(s->az, p, sizeof *s->scale);
    s->penalty = az_alloc_array(s->az, p, sizeof *s->penalty);
    s->b = az_alloc_array(s->az, p, sizeof *s->b);
    if (!az_ok(s->az) || !scale_columns(s, x)) return false;
    for (int64_t j = 0; s->how->start && j < s->p; j++) s->b[j] = s->how->start[j] * s->scale[j];
    set_penalty(s);
    for (int64_t i = 0; i < s->n; i++) s->score_scale += fabs(weight(s, i)) * (fabs(s->y[i]) + 1);
    if (s->how->ridge <= 0 && !check_independent(s)) return false;
    return solve(s, iterations) && collect(s, out);
}

az_regression *az_regress(az_ctx *az, const az_tensor *x, const az_tensor *y, const az_regression_how *how)
{
    if (!check_shapes(az, x, y)) return NULL;
    solver s = {.az = az, .how = how ? how : &(az_regression_how){0}, .n = x->shape[0], .p = x->shape[1], .y = az_f64(y)};
    az_tensor *out[4] = {NULL};
    int iterations = 0;
    az_scope_push(az);
    regress(&s, x, &iterations, out);
    az_keep_all(az, out, 4);
    az_regression *result = az_alloc(az, sizeof *result);
    if (!result || !az_ok(az)) return NULL;
    *result = (az_regression){
        .coefficient = out[0], .covariance = out[1], .jacobian = out[2], .residual = out[3], .n = s.n, .p = s.p, .iterations = iterations};
    return result;
}
