/* regress.c - linear and logistic regression as moment equations, with variances that hold under heteroskedasticity and within clusters.
 *
 * The columns are divided by their root mean squares first, so that pivots and steps can be judged. They are kept in blocks
 * of ROWS rows, within each one column after the other: what a pass makes of a block stays in the cache. */
#include "adze/data.h"
#include "adze/linalg.h"
#include "tensor/kernels/kernels.h"

#include <cblas.h>
#include <math.h>
#include <string.h>

enum { MOST_STEPS = 100, MOST_HALVINGS = 40, ROWS = 512, FEW = 16 };
static const double DEPENDENT = 1e-13; /* squared length of what a column adds to those before it, of 1 */

typedef struct solver {
    az_ctx *az;
    const az_regression_how *how;
    const int64_t *cluster; /* NULL: every row is one */
    int64_t n, p;
    double *z;          /* blocks: columns of root mean square 1 */
    double *scale;      /* [p] x = z scale */
    double *penalty;    /* [p] of the scaled coefficients */
    const double *y;    /* [n] */
    double *b;          /* [p] scaled coefficients */
    double *block;      /* [p, ROWS] scratch */
    double *mean;       /* [n] m(z b), at the b that was evaluated last */
    double *score;      /* [p] Z'w(y - m) - penalty b, there */
    az_tensor *slopes;  /* [p, p] Z' diag(w m') Z + penalty, there */
    bool flat;          /* nearly every mean is 0 or 1 there, so that the equation has lost its slope */
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

/* ---- blocks: [ceil(n / ROWS)][width][ROWS], zero behind the last row ---- */

/* Not cleared but for what lies behind the last row, and the rows of its block. */
static double *new_blocks(const solver *s, int64_t rows, int64_t width)
{
    const int64_t whole = rows / ROWS * ROWS, all = (rows + ROWS - 1) / ROWS * ROWS;
    double *blocks = az_f64_mut(az_new1(s->az, AZ_F64, all * width));
    if (blocks) memset(blocks + whole * width, 0, (size_t)((all - whole) * width) * sizeof *blocks);
    return blocks;
}

/* to [p, p] += a b^T for two blocks whose product is symmetric; line by line where there are too few for a product of matrices to pay. */
static void add_products(int p, const double *a, const double *b, double *to)
{
    const az_kernels_f64 *kernels = &az_kernels_best()->f64;
    if (p > FEW) cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, p, p, ROWS, 1, a, ROWS, b, ROWS, 1, to, p);
    for (int j = 0; p <= FEW && j < p; j++) {
        double line[FEW];
        kernels->mat_vec(j + 1, ROWS, b, ROWS, a + j * ROWS, line);
        for (int k = 0; k <= j; k++) to[j * p + k] += line[k];
        for (int k = 0; k < j; k++) to[k * p + j] = to[j * p + k];
    }
}

/* out = m [rows, p] times a block */
static void map_block(int rows, int p, const double *m, const double *block, double *out)
{
    const az_kernels_f64 *kernels = &az_kernels_best()->f64;
    if (p > FEW) cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, rows, ROWS, p, 1, m, p, block, ROWS, 0, out, ROWS);
    for (int j = 0; p <= FEW && j < rows; j++) {
        kernels->scale(ROWS, m[j * p], block, out + j * ROWS);
        kernels->vec_mat(p - 1, ROWS, m + j * p + 1, block + ROWS, ROWS, out + j * ROWS);
    }
}

/* ---- preparation ---- */

static bool is_zero(const double *x, int64_t n, int64_t p, int64_t j)
{
    for (int64_t i = 0; i < n; i++)
        if (x[i * p + j] != 0) return false;
    return true;
}

static bool scale_columns(solver *s, const az_tensor *x)
{
    const az_kernels_f64 *kernels = &az_kernels_best()->f64;
    const double *from = az_f64(x);
    const int64_t p = s->p;
    for (int64_t first = 0; first < s->n; first += ROWS) {
        const int64_t rows = s->n - first < ROWS ? s->n - first : ROWS;
        for (int64_t j = 0; j < p; j++) {
            double *z = s->z + first * p + j * ROWS;
            for (int64_t i = 0; i < rows; i++) z[i] = from[(first + i) * p + j];
            s->scale[j] += kernels->dot(rows, z, z);
        }
    }
    for (int64_t j = 0; j < p; j++) {
        if (s->scale[j] == 0 && is_zero(from, s->n, p, j))
            return az_fail(s->az, AZ_BAD_INPUT, "column %s is zero in all rows", column_name(s, j));
        if (s->scale[j] < 1e-300 || s->scale[j] > 1e300)
            return az_fail(s->az, AZ_BAD_INPUT, "column %s: its numbers are too %s for their squares; give it another unit",
                           column_name(s, j), s->scale[j] < 1 ? "small" : "large");
        s->scale[j] = sqrt(s->scale[j] / (double)s->n);
    }
    for (int64_t first = 0; first < s->n; first += ROWS)
        for (int64_t j = 0; j < p; j++) {
            double *z = s->z + first * p + j * ROWS;
            kernels->scale(ROWS, 1 / s->scale[j], z, z);
        }
    return true;
}

/* ridge n var(z_j) for columns that vary. */
static void set_penalty(solver *s)
{
    for (int64_t j = 0; j < s->p && s->how->ridge > 0; j++) {
        double mean = 0;
        for (int64_t first = 0; first < s->n; first += ROWS)
            for (int64_t i = 0; i < ROWS; i++) mean += s->z[first * s->p + j * ROWS + i];
        mean /= (double)s->n;
        s->penalty[j] = s->how->ridge * (double)s->n * fmax(1 - mean * mean, 0);
    }
}

/* By the Cholesky factor of Z'Z / n, whose pivots are what each column adds. */
static bool check_independent(solver *s)
{
    const int64_t p = s->p;
    double *g = az_alloc_array(s->az, (size_t)(p * p), sizeof *g); /* [p, p] */
    const char *names = "";
    for (int64_t first = 0; g && first < s->n; first += ROWS) add_products((int)p, s->z + first * p, s->z + first * p, g);
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

/* m' where the mean is `mean` */
static double slope_at(const solver *s, double mean)
{
    return s->how->link == AZ_LINK_LOGIT ? mean * (1 - mean) : 1;
}

/* One block's means, residuals times weights, and weights times slopes m'; adds the slopes. */
static double weigh_rows(const solver *s, int64_t first, double *residual, double *factor)
{
    const int64_t rows = s->n - first < ROWS ? s->n - first : ROWS;
    const double *w = s->how->weight ? s->how->weight + first : NULL;
    const az_kernels_f64 *kernels = &az_kernels_best()->f64;
    double *mean = s->mean + first;
    if (s->how->link == AZ_LINK_LOGIT) kernels->sigmoid(rows, mean, mean);
    for (int64_t i = 0; i < rows; i++) residual[i] = s->y[first + i] - mean[i], factor[i] = slope_at(s, mean[i]);
    const double sum = kernels->sum(rows, factor);
    for (int64_t i = 0; w && i < rows; i++) residual[i] *= w[i], factor[i] *= w[i];
    return sum;
}

/* Means, scores and slopes at b; returns the largest score. The slopes of the linear equation are the same everywhere. */
static double evaluate(solver *s, const double *b)
{
    const int p = (int)s->p;
    const bool slopes = s->how->link == AZ_LINK_LOGIT || !s->slopes;
    const az_kernels_f64 *kernels = &az_kernels_best()->f64;
    double residual[ROWS] = {0}, factor[ROWS] = {0}, steepness = 0, largest = 0;
    if (!s->slopes) s->slopes = az_new2(s->az, AZ_F64, p, p);
    double *to = az_f64_mut(s->slopes);
    if (!to) return INFINITY;
    if (slopes) memset(to, 0, (size_t)(s->p * s->p) * sizeof *to);
    for (int j = 0; j < p; j++) s->score[j] = -s->penalty[j] * b[j];
    for (int j = 0; slopes && j < p; j++) to[j * s->p + j] = s->penalty[j];
    for (int64_t first = 0; first < s->n; first += ROWS) {
        const double *z = s->z + first * s->p;
        map_block(1, p, b, z, s->mean + first);
        if (first + ROWS > s->n) memset(residual, 0, sizeof residual), memset(factor, 0, sizeof factor);
        steepness += weigh_rows(s, first, residual, factor);
        for (int j = 0; j < p; j++) s->score[j] += kernels->dot(ROWS, z + j * ROWS, residual);
        if (!slopes) continue;
        for (int j = 0; j < p; j++)
            for (int i = 0; i < ROWS; i++) s->block[j * ROWS + i] = z[j * ROWS + i] * factor[i];
        add_products(p, s->block, z, to);
    }
    for (int j = 0; j < p; j++) largest = fmax(largest, fabs(s->score[j]));
    s->flat = steepness < 1e-8 * (double)s->n;
    return isfinite(largest) ? largest : INFINITY;
}

/* One step along Newton's direction, halved so often at most until the scores fall. Returns their largest entry after it, the old one when
 * nothing helped.
 */
static double take_step(solver *s, double before, int halvings)
{
    az_ctx *az = s->az;
    az_scope_push(az);
    const double *direction = az_f64(az_solve(az, s->slopes, az_from(az, AZ_F64, 1, &s->p, s->score)));
    double *trial = az_alloc_array(az, (size_t)s->p, sizeof *trial), step = 1, after = before;
    bool better = false;
    for (int halving = 0; direction && trial && !better && halving <= halvings; halving++, step /= 2) {
        for (int64_t j = 0; j < s->p; j++) trial[j] = s->b[j] + step * direction[j];
        after = evaluate(s, trial);
        better = after < before;
    }
    if (better)
        memcpy(s->b, trial, (size_t)s->p * sizeof *trial);
    else
        after = evaluate(s, s->b);
    az_scope_pop(az);
    return after;
}

static bool solve(solver *s, int *iterations)
{
    double now = evaluate(s, s->b), earlier = INFINITY;
    for (*iterations = 0; *iterations < MOST_STEPS && now > 0; (*iterations)++) {
        const double before = now;
        /* One step more, which squares what is left, is as exact as rounding allows; not so where classes are separate and steps do little.
         */
        const bool near = before < 3e-8 * s->score_scale && before < 1e-2 * earlier;
        earlier = before;
        if (s->flat) return az_fail(s->az, AZ_NUMERIC, "the regression has no solution: its columns separate the classes");
        now = take_step(s, before, near ? 0 : MOST_HALVINGS);
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
    double *r = new_blocks(s, s->n, 1);
    for (int64_t i = 0; r && i < s->n; i++) r[i] = s->y[i] - s->mean[i];
    for (int64_t first = 0; r && s->how->variance == AZ_HC3 && first < s->n; first += ROWS) {
        const double *z = s->z + first * s->p;
        map_block((int)s->p, (int)s->p, az_f64(inverse), z, s->block);
        for (int64_t i = 0; i < ROWS && first + i < s->n; i++) {
            double leverage = 0;
            for (int64_t j = 0; j < s->p; j++) leverage += z[j * ROWS + i] * s->block[j * ROWS + i];
            r[first + i] /= 1 - leverage * weight(s, first + i) * slope_at(s, s->mean[first + i]);
        }
    }
    return r;
}

/* The scores of rows, or summed within clusters: blocks of *groups. */
static double *score_blocks(solver *s, const double *residual, int64_t *groups)
{
    const int64_t *cluster = s->cluster, p = s->p;
    *groups = cluster ? 0 : s->n;
    for (int64_t i = 0; cluster && i < s->n; i++)
        if (cluster[i] >= *groups) *groups = cluster[i] + 1;
    double *out = new_blocks(s, *groups, p);
    if (out && cluster) memset(out, 0, (size_t)(*groups / ROWS * ROWS * p) * sizeof *out);
    for (int64_t first = 0; out && first < s->n; first += ROWS) {
        const int64_t rows = s->n - first < ROWS ? s->n - first : ROWS;
        for (int64_t j = 0; j < p; j++) {
            const double *z = s->z + first * p + j * ROWS;
            for (int64_t i = 0; i < rows; i++) {
                const double score = z[i] * weight(s, first + i) * residual[first + i];
                if (cluster)
                    out[cluster[first + i] / ROWS * ROWS * p + j * ROWS + cluster[first + i] % ROWS] += score;
                else
                    out[first * p + j * ROWS + i] = score;
            }
        }
    }
    return out;
}

/* How many clusters have a row. */
static int64_t nonempty(const solver *s, int64_t groups)
{
    bool *seen = s->cluster ? az_alloc_array(s->az, (size_t)groups, sizeof *seen) : NULL;
    int64_t count = 0;
    for (int64_t i = 0; seen && i < s->n; i++) {
        count += !seen[s->cluster[i]];
        seen[s->cluster[i]] = true;
    }
    return count;
}

static az_tensor *robust(solver *s, const az_tensor *inverse)
{
    az_ctx *az = s->az;
    const double n = (double)s->n, p = (double)s->p;
    if (s->how->variance == AZ_HC3 && s->how->cluster) return az_fail(az, AZ_BAD_CALL, "HC3 is not defined with clusters");
    int64_t groups = 0;
    const double *residual = inverse ? scaled_residuals(s, inverse) : NULL, *scores = residual ? score_blocks(s, residual, &groups) : NULL;
    az_tensor *v = scores ? az_zeros(az, AZ_F64, 2, (int64_t[]){s->p, s->p}) : NULL;
    for (int64_t first = 0; v && first < groups; first += ROWS) { /* influences J^-1 s of a block, and their squares */
        map_block((int)s->p, (int)s->p, az_f64(inverse), scores + first * s->p, s->block);
        add_products((int)s->p, s->block, s->block, az_f64_mut(v));
    }
    if (!v || s->how->variance != AZ_HC1) return v;
    const double c = s->cluster ? (double)nonempty(s, groups) : 0;
    return az_affine(az, v, s->cluster ? c / (c - 1) * (n - 1) / (n - p) : n / (n - p), 0);
}

static az_tensor *classical(solver *s, const az_tensor *inverse)
{
    double sum = 0;
    for (int64_t i = 0; i < s->n; i++) sum += weight(s, i) * pow(s->y[i] - s->mean[i], 2);
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
    az_tensor *inverse = az_inverse(az, s->slopes);
    az_tensor *v = s->how->variance == AZ_CLASSICAL ? classical(s, inverse) : robust(s, inverse);
    if (!v) return false;
    out[0] = az_from(az, AZ_F64, 1, &s->p, s->b);
    out[1] = rescaled(s, v, -1);
    out[2] = rescaled(s, s->slopes, 1);
    out[3] = az_from(az, AZ_F64, 1, &s->n, s->y);
    if (!az_ok(az)) return false;
    for (int64_t k = 0; k < s->p; k++) az_f64_mut(out[0])[k] /= s->scale[k];
    double *residual = az_f64_mut(out[3]);
    for (int64_t i = 0; i < s->n; i++) residual[i] -= s->mean[i];
    return true;
}

/* Everything in the current scope; the four results in out. */
static bool regress(solver *s, const az_tensor *x, int *iterations, az_tensor *out[4])
{
    const size_t p = (size_t)s->p;
    s->z = new_blocks(s, s->n, s->p);
    s->block = new_blocks(s, ROWS, s->p);
    s->mean = new_blocks(s, s->n, 1);
    s->score = az_alloc_array(s->az, p, sizeof *s->score);
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

/* Whether some rows share a cluster; those of their own come to the same as none. */
static bool has_clusters(const int64_t *cluster, int64_t n)
{
    int64_t i = 0;
    while (cluster && i < n && cluster[i] == i) i++;
    return cluster && i < n;
}

az_regression *az_regress(az_ctx *az, const az_tensor *x, const az_tensor *y, const az_regression_how *how)
{
    if (!check_shapes(az, x, y)) return NULL;
    solver s = {.az = az, .how = how ? how : &(az_regression_how){0}, .n = x->shape[0], .p = x->shape[1], .y = az_f64(y)};
    if (has_clusters(s.how->cluster, s.n)) s.cluster = s.how->cluster;
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
