/* dsl_solve.c - the moment equation of one split, its variance in two parts, fixed effects, and the variance of more labels.
 *
 * A row i contributes w_i s(D_i) + (1 - w_i) s(D^_i), with D the row with its labels, D^ with predicted ones, w_i = labelled / prob. That
 * is the score of a regression on the rows D^ of all units and D of the labelled ones, one below the other, with these weights, in which
 * the two rows of a unit form one cluster. */
#include "estimate/dsl.h"

#include <string.h>

enum { MOST_SWEEPS = 10000 };

/* ---- fixed effects ---- */

/* Takes the means out for one effect; returns the largest of them against the column's scale. */
static double sweep(const dsl_data *d, int e, const int64_t *row, int64_t n, const double *weight, double *column, double *sum,
                    double *mass)
{
    const int64_t levels = d->effect_levels[e];
    double largest = 0;
    memset(sum, 0, (size_t)levels * sizeof *sum);
    memset(mass, 0, (size_t)levels * sizeof *mass);
    for (int64_t i = 0; i < n; i++) {
        const int64_t level = d->effect[e][row ? row[i] : i];
        const double w = weight ? weight[i] : 1;
        sum[level] += w * column[i];
        mass[level] += w;
    }
    for (int64_t l = 0; l < levels; l++) {
        sum[l] = mass[l] > 0 ? sum[l] / mass[l] : 0;
        largest = fmax(largest, fabs(sum[l]));
    }
    for (int64_t i = 0; i < n; i++) column[i] -= sum[d->effect[e][row ? row[i] : i]];
    return largest;
}

bool dsl_demean(az_ctx *az, const dsl_data *d, const int64_t *row, int64_t n, const double *weight, double *v, int64_t cols)
{
    int64_t levels = 1;
    for (int e = 0; e < d->effects; e++) levels = d->effect_levels[e] > levels ? d->effect_levels[e] : levels;
    az_scope_push(az);
    double *sum = az_alloc_array(az, (size_t)levels, sizeof *sum), *mass = az_alloc_array(az, (size_t)levels, sizeof *mass);
    double *column = az_alloc_array(az, (size_t)n + 1, sizeof *column);
    for (int64_t c = 0; sum && mass && column && c < cols; c++) {
        double scale = 0, largest = INFINITY;
        for (int64_t i = 0; i < n; i++) {
            column[i] = v[i * cols + c];
            scale = fmax(scale, fabs(column[i]));
        }
        int turn = 0;
        for (; turn < MOST_SWEEPS && largest > 1e-13 * scale; turn++) { /* alternating projections; one turn is enough for one effect */
            largest = 0;
            for (int e = 0; e < d->effects; e++) largest = fmax(largest, sweep(d, e, row, n, weight, column, sum, mass));
            if (d->effects == 1) break;
        }
        if (turn == MOST_SWEEPS) az_fail(az, AZ_NUMERIC, "the fixed effects do not separate: taking out their means does not end");
        for (int64_t i = 0; i < n; i++) v[i * cols + c] = column[i];
    }
    az_scope_pop(az);
    return az_ok(az);
}

/* ---- the stacked regression ---- */

/* Rows 0 .. n-1 with predicted labels, then those of the labelled units. */
typedef struct stack {
    az_tensor *x, *y; /* [n + labels, p], [n + labels] */
    double *weight;
    int64_t *cluster;
    int64_t n, labels, p;
} stack;

/* Designs drop rows with missing values, of which none must be left. */
static bool complete(az_ctx *az, const az_design *design, int64_t rows)
{
    if (!design) return false;
    if (design->n == rows) return true;
    return az_fail(az, AZ_NUMERIC, "%lld rows have no value in the formula once labels are predicted", (long long)(rows - design->n));
}

static bool make_stack(az_ctx *az, const dsl_data *d, const az_design *predicted, const az_design *gold, stack *s)
{
    *s = (stack){.n = d->n, .labels = d->labels, .p = predicted->p};
    if (s->n < s->p) return az_fail(az, AZ_BAD_INPUT, "%lld rows do not determine %lld coefficients", (long long)s->n, (long long)s->p);
    const int64_t rows = s->n + s->labels;
    s->x = az_concat(az, (az_tensor *[]){predicted->x, gold->x}, 2, 0);
    s->y = az_concat(az, (az_tensor *[]){predicted->y, gold->y}, 2, 0);
    s->weight = az_alloc_array(az, (size_t)rows, sizeof *s->weight);
    s->cluster = az_alloc_array(az, (size_t)rows, sizeof *s->cluster);
    if (!az_ok(az)) return false;
    for (int64_t i = 0; i < s->n; i++) {
        s->weight[i] = 1 - d->weight[i];
        s->cluster[i] = d->cluster[i];
    }
    for (int64_t l = 0; l < s->labels; l++) {
        s->weight[s->n + l] = d->weight[d->labelled[l]];
        s->cluster[s->n + l] = d->cluster[d->labelled[l]];
    }
    return true;
}

/* Takes out of every row what the effects explain of its unit's adjusted values, predicted + w (gold - predicted); the moment equation of
 * the rest has the solution and the variance of the one with an indicator for each level. */
static bool take_effects_out(az_ctx *az, const dsl_data *d, double *v, int64_t cols)
{
    double *adjusted = az_alloc_array(az, (size_t)(d->n * cols), sizeof *adjusted),
           *left = az_alloc_array(az, (size_t)(d->n * cols), sizeof *left);
    if (!adjusted || !left) return false;
    memcpy(adjusted, v, (size_t)(d->n * cols) * sizeof *v);
    for (int64_t l = 0; l < d->labels; l++) {
        const int64_t i = d->labelled[l];
        for (int64_t c = 0; c < cols; c++) adjusted[i * cols + c] += d->weight[i] * (v[(d->n + l) * cols + c] - v[i * cols + c]);
    }
    memcpy(left, adjusted, (size_t)(d->n * cols) * sizeof *v);
    if (!dsl_demean(az, d, NULL, d->n, NULL, left, cols)) return false;
    for (int64_t i = 0; i < (d->n + d->labels) * cols; i++) {
        const int64_t row = i / cols, unit = row < d->n ? row : d->labelled[row - d->n], at = unit * cols + i % cols;
        v[i] -= adjusted[at] - left[at];
    }
    return true;
}

/* Without the intercept, which the effects hold. */
static bool drop_intercept(az_ctx *az, stack *s)
{
    s->x = az_contiguous(az, az_slice(az, s->x, 1, 1, s->p - 1));
    s->p--;
    return s->x != NULL;
}

/* The sums over clusters of w (s(D) - s(D^)), whose squares are what labelling only some rows adds: [clusters, p]. */
static az_tensor *label_scores(az_ctx *az, const dsl_data *d, const stack *s, const az_regression *r)
{
    az_tensor *out = az_zeros(az, AZ_F64, 2, (int64_t[]){d->clusters, s->p});
    const double *x = az_f64(s->x), *e = az_f64(r->residual);
    double *to = az_f64_mut(out);
    for (int64_t l = 0; to && l < s->labels; l++) {
        const int64_t i = d->labelled[l], g = s->n + l;
        double *row = to + d->cluster[i] * s->p;
        for (int64_t j = 0; j < s->p; j++) row[j] += d->weight[i] * (x[g * s->p + j] * e[g] - x[i * s->p + j] * e[i]);
    }
    return out;
}

/* J V J' is the sum of squared scores; the part of the labels is known, the rest is what remains. */
static bool split_variance(az_ctx *az, const dsl_data *d, const stack *s, const az_regression *r, dsl_split *out)
{
    const az_tensor *scores = label_scores(az, d, s, r);
    out->coefficient = r->coefficient;
    out->covariance = r->covariance;
    out->jacobian = r->jacobian;
    out->labelled = az_matmul(az, az_transpose(az, scores), scores);
    out->rest = az_sub(az, az_matmul(az, r->jacobian, az_matmul(az, r->covariance, az_transpose(az, r->jacobian))), out->labelled);
    return out->rest != NULL;
}

/* The design of all rows: later splits change what reads a label in that of the first, which makes that of the labelled rows too. */
static const az_design *predicted_design(az_ctx *az, const dsl_data *d, double *const *prediction, dsl_designs *first)
{
    const az_table *table = dsl_replace(az, d->table, d->gold, prediction, d->golds);
    if (first->predicted) return az_design_again(az, first->predicted, table, d->gold, d->golds);
    const az_design *design = az_design_new(az, d->options->formula, table);
    if (!complete(az, design, d->n)) return NULL;
    if (!design->y) return az_fail(az, AZ_BAD_INPUT, "'%s' has no left side", d->options->formula);
    first->predicted = design;
    first->gold = az_design_like(az, design, az_table_rows(az, d->table, d->labelled, d->labels), true);
    return complete(az, first->gold, d->labels) ? design : NULL;
}

bool dsl_solve(az_ctx *az, const dsl_data *d, double *const *prediction, dsl_designs *first, const double *start, dsl_split *out)
{
    const az_design *predicted = predicted_design(az, d, prediction, first);
    stack s;
    if (!predicted || !make_stack(az, d, predicted, first->gold, &s)) return false;
    const bool effects = d->options->model == DSL_FELM;
    if (effects && predicted->intercept && !drop_intercept(az, &s)) return false;
    if (effects && (!take_effects_out(az, d, az_f64_mut(s.x), s.p) || !take_effects_out(az, d, az_f64_mut(s.y), 1))) return false;
    const az_regression *r = az_regress(az, s.x, s.y,
                                        &(az_regression_how){.link = d->options->model == DSL_LOGIT ? AZ_LINK_LOGIT : AZ_LINK_LINEAR,
                                                             .weight = s.weight,
                                                             .cluster = s.cluster,
                                                             .start = start,
                                                             .name = predicted->name + (predicted->p - s.p)});
    return r && split_variance(az, d, &s, r, out);
}

/* ---- more labels ---- */

bool dsl_power(az_ctx *az, const dsl_split *splits, int64_t count, double ratio, double *out)
{
    const int64_t p = az_count(splits->coefficient);
    double *se = az_alloc_array(az, (size_t)(count * p), sizeof *se); /* [p, splits] */
    for (int64_t k = 0; se && k < count; k++) {
        const az_tensor *inverse = az_inverse(az, splits[k].jacobian);
        const az_tensor *meat = az_add(az, az_affine(az, splits[k].labelled, 1 / ratio, 0), splits[k].rest);
        const az_tensor *v = az_matmul(az, inverse, az_matmul(az, meat, az_transpose(az, inverse)));
        for (int64_t j = 0; v && j < p; j++) {
            const double variance = az_item(v, j * p + j);
            se[j * count + k] = variance > 0 ? sqrt(variance) : sqrt(az_item(splits[k].covariance, j * p + j) / ratio);
        }
    }
    for (int64_t j = 0; se && az_ok(az) && j < p; j++) out[j] = median_of(se + j * count, count);
    return se && az_ok(az);
}
