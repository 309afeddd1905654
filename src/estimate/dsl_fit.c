/* dsl_fit.c - cross-fitting, the repetitions with other folds and their medians, and the two fits that dsl is compared to. */
#include "estimate/dsl.h"

#include <stdlib.h>
#include <string.h>

/* ---- folds ---- */

/* Which fold each row is in, and the rows by fold. */
typedef struct fold_rows {
    const int64_t *fold; /* [n] */
    int64_t *row;        /* [n] those of fold k are row[start[k]] .. row[start[k + 1] - 1], ascending */
    int64_t *start;      /* [folds + 1] */
} fold_rows;

static bool sort_by_fold(az_ctx *az, const dsl_data *d, const int64_t *fold, fold_rows *out)
{
    *out = (fold_rows){.fold = fold,
                       .row = az_alloc_array(az, (size_t)d->n, sizeof *out->row),
                       .start = az_alloc_array(az, (size_t)d->folds + 2, sizeof *out->start)};
    if (!fold || !out->row || !out->start) return false;
    int64_t *next = out->start + 1; /* counts, then where the next row of each fold goes, at last where it ends */
    for (int64_t i = 0; i < d->n; i++) next[fold[i] + 1]++;
    for (int64_t k = 0; k < d->folds; k++) next[k + 1] += next[k];
    for (int64_t i = 0; i < d->n; i++) out->row[next[fold[i]]++] = i;
    return true;
}

/* The fold of every row: clusters are dealt out at random, so that folds differ by one cluster at most. */
static int64_t *draw_folds(az_ctx *az, const dsl_data *d, uint64_t seed, int64_t split)
{
    int64_t *order = az_alloc_array(az, (size_t)d->clusters, sizeof *order),
            *of_cluster = az_alloc_array(az, (size_t)d->clusters, sizeof *of_cluster);
    int64_t *fold = az_alloc_array(az, (size_t)d->n, sizeof *fold);
    if (!order || !of_cluster || !fold) return NULL;
    az_rng rng = az_rng_at(seed, az_stream("dsl folds", (uint64_t)split));
    for (int64_t c = 0; c < d->clusters; c++) order[c] = c;
    az_shuffle(&rng, order, d->clusters);
    for (int64_t c = 0; c < d->clusters; c++) of_cluster[order[c]] = c % d->folds;
    for (int64_t i = 0; i < d->n; i++) fold[i] = of_cluster[d->cluster[i]];
    return fold;
}

/* ---- predictions ---- */

/* Root mean squared error on the labelled rows of a fold. */
static double fold_error(const dsl_data *d, const double *gold, const double *prediction, const int64_t *fold, int64_t k)
{
    double sum = 0;
    int64_t n = 0;
    for (int64_t l = 0; l < d->labels; l++) {
        const int64_t i = d->labelled[l];
        if (fold[i] != k) continue;
        sum += (gold[i] - prediction[i]) * (gold[i] - prediction[i]);
        n++;
    }
    return n > 0 ? sqrt(sum / (double)n) : NAN;
}

/* Every gold column predicted for the rows of fold k from the labelled rows of the others. */
static bool predict_fold(az_ctx *az, const dsl_data *d, const fold_rows *folds, int64_t k, label_fit fit, double *const *prediction)
{
    int64_t *train = az_alloc_array(az, (size_t)d->labels, sizeof *train);
    if (!train) return false;
    for (int64_t l = 0; l < d->labels; l++)
        if (folds->fold[d->labelled[l]] != k) train[fit.trains++] = d->labelled[l];
    if (fit.trains == 0)
        return az_fail(az, AZ_BAD_INPUT, "all labelled rows are in fold %lld, so nothing is left to predict it from; use fewer folds",
                       (long long)k + 1);
    fit.train = train;
    fit.test = folds->row + folds->start[k];
    fit.tests = folds->start[k + 1] - folds->start[k];
    for (int g = 0; g < d->golds; g++) {
        fit.y = d->table->column[d->gold[g]].value;
        if (!label_predict(az, &fit, prediction[g])) return false;
    }
    return true;
}

static bool run_split(az_ctx *az, const dsl_data *d, uint64_t seed, int64_t number, dsl_designs *first, const double *start, dsl_split *out)
{
    double *prediction[DSL_MOST_GOLDS];
    for (int g = 0; g < d->golds; g++) prediction[g] = az_alloc_array(az, (size_t)d->n, sizeof(double));
    fold_rows folds;
    if (!sort_by_fold(az, d, d->fold ? d->fold : draw_folds(az, d, seed, number), &folds) || !az_ok(az)) return false;
    for (int64_t k = 0; k < d->folds; k++) {
        const label_fit fit = {
            .kind = (label_kind)d->options->label_model, .x = d->features, .seed = seed, .stream = (uint64_t)(number * d->folds + k)};
        if (!predict_fold(az, d, &folds, k, fit, prediction)) return false;
        for (int g = 0; g < d->golds; g++)
            out->rmse[g * d->folds + k] = fold_error(d, d->table->column[d->gold[g]].value, prediction[g], folds.fold, k);
    }
    return dsl_solve(az, d, prediction, first, start, out);
}

/* ---- over the splits ---- */

static double median_over(dsl_fit *f, double *room, double (*value)(const dsl_fit *f, int64_t k, int64_t i, int64_t j), int64_t i,
                          int64_t j)
{
    for (int64_t k = 0; k < f->splits; k++) room[k] = value(f, k, i, j);
    return median_of(room, f->splits);
}

static double coefficient_at(const dsl_fit *f, int64_t k, int64_t i, int64_t j)
{
    (void)j;
    return az_f64(f->split[k].coefficient)[i];
}

/* The split's covariance, and how far it lies from the medians. */
static double covariance_at(const dsl_fit *f, int64_t k, int64_t i, int64_t j)
{
    const double *b = az_f64(f->split[k].coefficient), *m = az_f64(f->coefficient);
    return az_f64(f->split[k].covariance)[i * f->p + j] + (b[i] - m[i]) * (b[j] - m[j]);
}

/* The nearest matrix without negative eigenvalues, with its diagonal kept. */
static bool mend_covariance(az_ctx *az, dsl_fit *f)
{
    az_tensor *values, *q;
    if (!az_eigh(az, f->covariance, &values, &q)) return false;
    const double least = az_f64(values)[0], most = az_f64(values)[f->p - 1];
    if (least > 0) return true;
    const az_tensor *v = az_matmul(az, az_mul(az, q, az_clip(az, values, 1e-12 * most, INFINITY)), az_transpose(az, q));
    double *to = az_f64_mut(f->covariance);
    for (int64_t i = 0; v && i < f->p; i++)
        for (int64_t j = 0; j < f->p; j++) {
            const double scale =
                sqrt(f->se[i] * f->se[i] / az_item(v, i * f->p + i)) * sqrt(f->se[j] * f->se[j] / az_item(v, j * f->p + j));
            to[i * f->p + j] = az_item(v, i * f->p + j) * scale;
        }
    return v != NULL;
}

static bool combine(az_ctx *az, dsl_fit *f)
{
    double *room = az_alloc_array(az, (size_t)f->splits, sizeof *room);
    f->coefficient = az_new1(az, AZ_F64, f->p);
    f->covariance = az_new2(az, AZ_F64, f->p, f->p);
    f->se = az_alloc_array(az, (size_t)f->p, sizeof *f->se);
    if (!room || !f->covariance || !f->se) return false;
    for (int64_t i = 0; i < f->p; i++) az_f64_mut(f->coefficient)[i] = median_over(f, room, coefficient_at, i, 0);
    for (int64_t i = 0; i < f->p; i++)
        for (int64_t j = 0; j < f->p; j++) az_f64_mut(f->covariance)[i * f->p + j] = median_over(f, room, covariance_at, i, j);
    for (int64_t i = 0; i < f->p; i++) f->se[i] = sqrt(az_f64(f->covariance)[i * f->p + i]);
    return mend_covariance(az, f);
}

/* ---- the two other fits ---- */

static az_regression *plain_fit(az_ctx *az, const dsl_data *d, const dsl_fit *f, const az_design *design, const int64_t *row)
{
    az_tensor *x = design->x, *y = design->y;
    const int64_t n = design->n;
    double *weight = row ? az_alloc_array(az, (size_t)n, sizeof *weight) : NULL;
    int64_t *cluster = az_alloc_array(az, (size_t)n, sizeof *cluster);
    if ((row && !weight) || !cluster) return NULL;
    for (int64_t i = 0; i < n; i++) {
        if (row) weight[i] = d->weight[row[i]];
        cluster[i] = d->cluster[row ? row[i] : i];
    }
    if (d->options->model == DSL_FELM) {
        if (design->intercept) x = az_contiguous(az, az_slice(az, x, 1, 1, design->p - 1));
        x = az_copy(az, x);
        y = az_copy(az, y);
        if (!x || !y || !dsl_demean(az, d, row, n, weight, az_f64_mut(x), x->shape[1]) ||
            !dsl_demean(az, d, row, n, weight, az_f64_mut(y), 1))
            return NULL;
    }
    return az_regress(az, x, y,
                      &(az_regression_how){.link = d->options->model == DSL_LOGIT ? AZ_LINK_LOGIT : AZ_LINK_LINEAR,
                                           .weight = weight,
                                           .cluster = cluster,
                                           .name = f->name});
}

/* A comparison that cannot be made is no error of dsl. */
static az_regression *without_error(az_ctx *az, az_regression *fit, const char *what)
{
    if (az_ok(az) || az_status_of(az) == AZ_NO_MEMORY) return fit;
    az_note(az, "%s: %s", what, az_error(az));
    az_clear(az);
    return NULL;
}

static void compare(az_ctx *az, const dsl_data *d, dsl_fit *f)
{
    double *surrogate[DSL_MOST_GOLDS];
    bool all = true;
    for (int g = 0; g < d->golds; g++) {
        surrogate[g] = (double *)d->surrogate[g];
        all = all && surrogate[g];
    }
    if (all) {
        const az_table *table = dsl_replace(az, d->table, d->gold, surrogate, d->golds);
        const az_design *design = az_design_again(az, f->designs.predicted, table, d->gold, d->golds);
        f->naive = without_error(az, design ? plain_fit(az, d, f, design, NULL) : NULL, "the fit to the surrogates alone");
    }
    f->gold_only = without_error(az, plain_fit(az, d, f, f->designs.gold, d->labelled), "the fit to the labelled rows alone");
}

/* ---- all of it ---- */

static bool run_splits(az_ctx *az, const dsl_data *d, uint64_t seed, dsl_fit *f)
{
    for (int64_t k = 0; k < f->splits; k++) {
        dsl_split *s = &f->split[k];
        s->rmse = az_alloc_array(az, (size_t)(d->golds * d->folds), sizeof *s->rmse);
        if (!s->rmse) return false;
        if (k > 0) az_scope_push(az); /* the first makes the design that the others follow */
        const bool ok = run_split(az, d, seed, k, &f->designs, k > 0 ? az_f64(f->split[0].coefficient) : NULL, s);
        az_tensor *kept[] = {s->coefficient, s->covariance, s->jacobian, s->labelled, s->rest};
        if (k > 0) az_keep_all(az, kept, 5);
        s->coefficient = kept[0], s->covariance = kept[1], s->jacobian = kept[2], s->labelled = kept[3], s->rest = kept[4];
        if (!ok || !az_ok(az)) return false;
        if (!az_progress(az, "splits", k + 1, f->splits, NULL)) return az_fail(az, AZ_INTERRUPTED, "interrupted");
    }
    return true;
}

dsl_fit *dsl_estimate(az_ctx *az, const dsl_data *data, uint64_t seed)
{
    dsl_fit *f = data ? az_alloc(az, sizeof *f) : NULL;
    if (!f) return NULL;
    f->splits = data->fold ? 1 : data->options->splits;
    f->split = az_alloc_array(az, (size_t)f->splits, sizeof *f->split);
    if (!f->split || !run_splits(az, data, seed, f)) return NULL;
    f->p = az_count(f->split[0].coefficient);
    f->name = f->designs.predicted->name + (f->designs.predicted->p - f->p);
    if (!combine(az, f)) return NULL;
    compare(az, data, f);
    return az_ok(az) ? f : NULL;
}
