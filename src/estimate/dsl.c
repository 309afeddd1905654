/* dsl.c - design-based supervised learning: regressions on labels that a machine made, with honest intervals.
 *
 * Problem: variables of a regression (its outcome, its covariates, both) are labels. A machine labelled every row, Q, with unknown errors;
 *     people labelled some rows, chosen with known chances pi. Regressing on Q alone is biased, on the labelled rows alone wasteful.
 * Method: predict the people's labels from Q and features by any regression g, fitted on other folds. With R = 1 for labelled rows and s(D;
 * b) = X (Y - m(X'b)) the score of a row, D its true values and D^ those with g in place of labels, solve sum_i s(D^_i; b) + (R_i / pi_i)
 * (s(D_i; b) - s(D^_i; b)) = 0, whose expectation is that of sum s(D; b) whatever g is, since pi is the design's. Variance: sandwich of
 * these sums, by clusters if wanted. Repeated over random folds; medians of coefficients, and of variances that count how far a repetition
 * lies from the median.
 *
 * Egami, Hinck, Stewart, Wei: "Using Imperfect Surrogates for Downstream Inference: Design-based Supervised Learning for Social Science
 * Applications of Large Language Models", NeurIPS 2023 (arXiv 2306.04746), and the general moments of its sequel, "Using Large Language
 * Model Annotations for the Social Sciences: A General Framework of Using Predicted Variables in Downstream Analyses". */
#include "estimate/dsl.h"

#include <string.h>

static const char *const models[] = {"lm", "logit", "felm", NULL};

static const az_option dsl_table[] = {
    {"formula", AZ_FIELD(AZ_TEXT, dsl_options, formula), "", 0, 0, NULL, "the regression, as in R: y ~ x1 + x2 + C(group)"},
    {"gold", AZ_FIELD(AZ_TEXT, dsl_options, gold), "", 0, 0, NULL, "the columns that people labelled; missing = not labelled"},
    {"surrogate", AZ_FIELD(AZ_TEXT, dsl_options, surrogate), "", 0, 0, NULL, "the machine's labels, in the order of gold"},
    {"feature", AZ_FIELD(AZ_TEXT, dsl_options, feature), "", 0, 0, NULL, "further columns to predict labels from"},
    {"model", AZ_FIELD(AZ_CHOICE, dsl_options, model), "lm", 0, 0, models, "linear, logistic, or linear with fixed effects"},
    {"prob", AZ_FIELD(AZ_TEXT, dsl_options, prob), "", 0, 0, NULL,
     "the chance of being labelled: a column or a number; without it the same for every row"},
    {"rescale_prob", AZ_FIELD(AZ_BOOL, dsl_options, rescale_prob), "true", 0, 0, NULL,
     "scale the chances so that their mean is the labelled share"},
    {"labeled", AZ_FIELD(AZ_TEXT, dsl_options, labeled), "", 0, 0, NULL, "a column of 1 and 0 that tells which rows are labelled"},
    {"label_model", AZ_FIELD(AZ_CHOICE, dsl_options, label_model), "auto", 0, 0, label_kind_names,
     "what predicts labels; auto = means of cells if each has 20 labels, else least squares"},
    {"folds", AZ_FIELD(AZ_INT, dsl_options, folds), "5", 2, 1e6, NULL, "folds of cross-fitting"},
    {"splits", AZ_FIELD(AZ_INT, dsl_options, splits), "10", 1, 1e5, NULL, "repetitions with other folds"},
    {"fold", AZ_FIELD(AZ_TEXT, dsl_options, fold), "", 0, 0, NULL, "a column that gives the folds; then there is one repetition"},
    {"cluster", AZ_FIELD(AZ_TEXT, dsl_options, cluster), "", 0, 0, NULL, "a column whose levels are independent units of rows"},
    {"effects", AZ_FIELD(AZ_TEXT, dsl_options, effects), "", 0, 0, NULL, "columns of fixed effects, for model=felm (\"unit,year\")"},
    {"confidence", AZ_FIELD(AZ_REAL, dsl_options, confidence), "0.95", 0.5, 0.9999, NULL, "of the intervals"},
    {"power", AZ_FIELD(AZ_TEXT, dsl_options, power), "", 0, 0, NULL,
     "standard errors to expect with these numbers of labels (\"600,800\")"},
    {0},
};

enum { SLOT_DATA, SLOT_SCORES, SLOT_FIT };
static const az_input_slot dsl_slots[] = {
    {"data", AZ_INPUT_TABLE, 0, 1, "the table; a row is a unit"},
    {"scores", AZ_INPUT_TABLE, 0, 1, "columns to put beside it, such as a model's scores: a table with as many rows"},
    {"fit", AZ_INPUT_FILE, 0, 1, "instead of the table: an earlier result (.npz, .safetensors, .json or a folder), for power=..."},
    {0},
};

/* ---- the report ---- */

static void report_data(const dsl_data *d, const dsl_fit *f, az_report *report)
{
    az_report_row(report, "data");
    az_report_count(report, "rows", d->n);
    az_report_count(report, "dropped", d->dropped);
    az_report_count(report, "labelled", d->labels);
    az_report_number(report, "share", (double)d->labels / (double)d->n, "");
    if (d->clusters < d->n) az_report_count(report, "clusters", d->clusters);
    az_report_text(report, "model", models[d->options->model]);
    az_report_text(report, "label_model", label_kind_names[d->options->label_model]);
    az_report_count(report, "splits", f->splits);
}

/* How well the labels of each fold were predicted from the others: a row for each, over the splits. */
static void report_folds(const dsl_data *d, const dsl_fit *f, int g, az_report *report)
{
    for (int64_t k = 0; k < d->folds; k++) {
        double sum = 0, low = INFINITY, high = 0;
        int64_t n = 0;
        for (int64_t s = 0; s < f->splits; s++) {
            const double rmse = f->split[s].rmse[g * d->folds + k];
            if (isnan(rmse)) continue; /* no labelled row is in it */
            sum += rmse;
            low = fmin(low, rmse);
            high = fmax(high, rmse);
            n++;
        }
        az_report_row(report, "folds");
        az_report_text(report, "gold", d->table->column[d->gold[g]].name);
        az_report_count(report, "fold", k + 1);
        az_report_number(report, "rmse", n > 0 ? sum / (double)n : NAN, "");
        az_report_number(report, "rmse_least", n > 0 ? low : NAN, "");
        az_report_number(report, "rmse_most", n > 0 ? high : NAN, "");
    }
}

/* How well labels were predicted, over splits and folds. */
static void report_labels(const dsl_data *d, const dsl_fit *f, az_report *report)
{
    const int64_t folds = d->folds;
    for (int g = 0; g < d->golds; g++) {
        double sum = 0, low = INFINITY, high = 0;
        int64_t n = 0;
        for (int64_t k = 0; k < f->splits * folds; k++) {
            const double rmse = f->split[k / folds].rmse[g * folds + k % folds];
            if (isnan(rmse)) continue;
            sum += rmse;
            low = fmin(low, rmse);
            high = fmax(high, rmse);
            n++;
        }
        az_report_row(report, "labels");
        az_report_text(report, "gold", d->table->column[d->gold[g]].name);
        az_report_number(report, "rmse", sum / (double)n, "");
        az_report_number(report, "rmse_least", low, "");
        az_report_number(report, "rmse_most", high, "");
        double agree = 0;
        for (int64_t l = 0; d->surrogate[g] && l < d->labels; l++)
            agree += d->surrogate[g][d->labelled[l]] == d->table->column[d->gold[g]].value[d->labelled[l]];
        if (d->surrogate[g]) az_report_number(report, "surrogate_agrees", agree / (double)d->labels, "");
    }
    for (int g = 0; g < d->golds; g++) report_folds(d, f, g, report);
}

static void report_other(az_report *report, const char *name, const az_regression *r, int64_t j)
{
    char se[64];
    snprintf(se, sizeof se, "%s_se", name);
    az_report_number(report, name, r ? az_item(r->coefficient, j) : NAN, "");
    az_report_number(report, se, r ? sqrt(az_item(r->covariance, j * r->p + j)) : NAN, "");
}

static void report_coefficients(const dsl_data *d, const dsl_fit *f, az_report *report)
{
    for (int64_t j = 0; j < f->p; j++) {
        az_report_row(report, "coefficients");
        az_report_text(report, "name", f->name[j]);
        report_normal(report, az_item(f->coefficient, j), f->se[j], d->options->confidence);
        report_other(report, "surrogate_only", f->naive, j);
        report_other(report, "gold_only", f->gold_only, j);
    }
}

/* ---- results ---- */

/* [splits, ...] of one part of all splits. */
static az_tensor *stack_parts(az_ctx *az, const dsl_fit *f, az_tensor *const *first, size_t step)
{
    az_tensor **parts = az_alloc_array(az, (size_t)f->splits, sizeof *parts);
    for (int64_t k = 0; parts && k < f->splits; k++) {
        const az_tensor *part = *(az_tensor *const *)((const char *)first + (size_t)k * step);
        const int64_t shape[] = {1, part->shape[0], part->shape[1]};
        parts[k] = az_reshape(az, part, part->rank + 1, shape);
    }
    return parts ? az_concat(az, parts, (int)f->splits, 0) : NULL;
}

/* [golds, splits, folds] of the root mean squared errors of predicted labels. */
static az_tensor *fold_errors(az_ctx *az, const dsl_data *d, const dsl_fit *f)
{
    az_tensor *out = az_tensor_new(az, AZ_F64, 3, (int64_t[]){d->golds, f->splits, d->folds});
    double *to = az_f64_mut(out);
    for (int g = 0; to && g < d->golds; g++)
        for (int64_t s = 0; s < f->splits; s++, to += d->folds) memcpy(to, f->split[s].rmse + g * d->folds, (size_t)d->folds * sizeof *to);
    return out;
}

static void put_column(az_ctx *az, az_table *table, const char *name, const az_regression *r, const double *values, bool se)
{
    double *column = az_alloc_array(az, (size_t)table->rows + 1, sizeof *column);
    for (int64_t j = 0; column && j < table->rows; j++)
        column[j] = values ? values[j] : !r ? NAN : se ? sqrt(az_item(r->covariance, j * r->p + j)) : az_item(r->coefficient, j);
    az_table_add(az, table, name, column);
}

static void put_results(az_ctx *az, const dsl_data *d, const dsl_fit *f, az_results *results)
{
    az_table *table = az_table_new(az, f->p);
    if (!table) return;
    double *p = az_alloc_array(az, (size_t)f->p, sizeof *p);
    for (int64_t j = 0; p && j < f->p; j++) p[j] = 2 * az_normal_cdf(-fabs(az_item(f->coefficient, j)) / f->se[j]);
    az_table_add_text(az, table, "name", f->name);
    put_column(az, table, "estimate", NULL, az_f64(f->coefficient), false);
    put_column(az, table, "se", NULL, f->se, false);
    put_column(az, table, "p", NULL, p, false);
    put_column(az, table, "surrogate_only", f->naive, NULL, false);
    put_column(az, table, "surrogate_only_se", f->naive, NULL, true);
    put_column(az, table, "gold_only", f->gold_only, NULL, false);
    put_column(az, table, "gold_only_se", f->gold_only, NULL, true);
    const dsl_split *s = f->split;
    az_results_table(results, "coefficients", table);
    az_results_array(results, "covariance", f->covariance, f->name, f->name);
    az_results_array(results, "split_coefficient", stack_parts(az, f, &s->coefficient, sizeof *s), NULL, NULL);
    az_results_array(results, "split_covariance", stack_parts(az, f, &s->covariance, sizeof *s), NULL, NULL);
    az_results_array(results, "split_jacobian", stack_parts(az, f, &s->jacobian, sizeof *s), NULL, NULL);
    az_results_array(results, "split_labelled", stack_parts(az, f, &s->labelled, sizeof *s), NULL, NULL);
    az_results_array(results, "split_rest", stack_parts(az, f, &s->rest, sizeof *s), NULL, NULL);
    az_results_array(results, "fold_rmse", fold_errors(az, d, f), NULL, NULL);
    az_results_array(results, "labels", az_scalar(az, AZ_F64, (double)d->labels), NULL, NULL);
}

/* ---- more labels ---- */

static bool report_power(az_ctx *az, const dsl_options *o, const dsl_split *splits, int64_t count, const char *const *name, double labels,
                         az_report *report)
{
    int64_t *wanted;
    int n;
    if (!read_counts(az, o->power, "power", &wanted, &n)) return false;
    const int64_t p = az_count(splits->coefficient);
    double *se = az_alloc_array(az, (size_t)(n * p) + 1, sizeof *se), *x = az_alloc_array(az, (size_t)n + 1, sizeof *x); /* [n, p] */
    double *y = az_alloc_array(az, (size_t)n + 1, sizeof *y);
    for (int i = 0; se && x && y && i < n; i++) {
        x[i] = (double)wanted[i];
        if (!dsl_power(az, splits, count, x[i] / labels, se + i * p)) return false;
        for (int64_t j = 0; j < p; j++) {
            az_report_row(report, "power");
            az_report_count(report, "labels", wanted[i]);
            az_report_text(report, "name", name ? name[j] : az_format_text(az, "%lld", (long long)j + 1));
            az_report_number(report, "se", se[i * p + j], "");
        }
    }
    for (int64_t j = 0; n > 1 && az_ok(az) && j < p; j++) {
        for (int i = 0; i < n; i++) y[i] = se[i * p + j];
        az_report_curve(report, name ? name[j] : "coefficient", "labelled rows", "standard error", n, x, y);
    }
    return az_ok(az);
}

/* Slice k without its first axis. */
static az_tensor *slice_of(az_ctx *az, const az_tensor *x, int64_t k)
{
    return az_contiguous(az, az_reshape(az, az_slice(az, x, 0, k, 1), x->rank - 1, x->shape + 1));
}

static bool power_of_file(az_ctx *az, const dsl_options *o, const char *path, az_report *report)
{
    const model_file file = {path, "dsl"};
    const az_tensor *labels = model_part(az, &file, "labels", 0), *b = model_part(az, &file, "split_coefficient", 2);
    const az_tensor *v = model_part(az, &file, "split_covariance", 3), *j = model_part(az, &file, "split_jacobian", 3);
    const az_tensor *labelled = model_part(az, &file, "split_labelled", 3), *rest = model_part(az, &file, "split_rest", 3);
    if (!az_ok(az)) return false;
    const int64_t count = b->shape[0], p = b->shape[1];
    dsl_split *splits = az_alloc_array(az, (size_t)count + 1, sizeof *splits);
    const az_tensor *parts[] = {v, j, labelled, rest};
    for (int i = 0; i < 4; i++)
        if (parts[i]->shape[0] != count || parts[i]->shape[1] != p || parts[i]->shape[2] != p)
            return az_fail(az, AZ_BAD_INPUT, "'%s': the arrays do not belong together", path);
    for (int64_t k = 0; splits && k < count; k++)
        splits[k] = (dsl_split){.coefficient = slice_of(az, b, k),
                                .covariance = slice_of(az, v, k),
                                .jacobian = slice_of(az, j, k),
                                .labelled = slice_of(az, labelled, k),
                                .rest = slice_of(az, rest, k)};
    if (!az_ok(az) || count < 1) return az_fail(az, AZ_BAD_INPUT, "'%s' holds no fit", path);
    const az_array *named = az_results_read(az, path, "covariance"); /* .npz and .safetensors have no names */
    const char *const *name = named && named->column_name && named->value->shape[1] == p ? named->column_name : NULL;
    return az_ok(az) && report_power(az, o, splits, count, name, az_to_double(labels), report);
}

/* ---- the method ---- */

/* The columns of both tables. */
static const az_table *joined(az_ctx *az, const az_table *data, const az_table *scores)
{
    if (!scores) return data;
    if (scores->rows != data->rows)
        return az_fail(az, AZ_BAD_INPUT, "'%s' has %lld rows, '%s' %lld", scores->path, (long long)scores->rows, data->path,
                       (long long)data->rows);
    az_table *out = az_alloc(az, sizeof *out);
    az_column *columns = az_alloc_array(az, (size_t)(data->columns + scores->columns), sizeof *columns);
    if (!out || !columns) return NULL;
    memcpy(columns, data->column, (size_t)data->columns * sizeof *columns);
    memcpy(columns + data->columns, scores->column, (size_t)scores->columns * sizeof *columns);
    *out = *data;
    out->column = columns;
    out->columns = out->room = data->columns + scores->columns;
    return out;
}

static bool dsl_run(az_ctx *az, const void *options, az_estimate_job *job)
{
    const dsl_options *o = options;
    const az_input *table = az_job_input(job, SLOT_DATA, 0), *scores = az_job_input(job, SLOT_SCORES, 0),
                   *fit = az_job_input(job, SLOT_FIT, 0);
    if ((table != NULL) == (fit != NULL))
        return az_fail(az, AZ_BAD_INPUT, "either a table is needed (-d FILE) or an earlier fit (-d fit=RESULT)");
    if (fit && !*o->power) return az_fail(az, AZ_BAD_INPUT, "what an earlier fit is for: power=600,800 in double quotes");
    if (fit) return power_of_file(az, o, fit->path, job->report);
    if (!*o->formula || !*o->gold) return az_fail(az, AZ_BAD_INPUT, "formula and gold must be given");
    const az_table *all = joined(az, table->table, scores ? scores->table : NULL);
    const dsl_data *d = all ? dsl_read(az, o, all) : NULL;
    const dsl_fit *f = d ? dsl_estimate(az, d, az_seed(az)) : NULL;
    if (!f) return false;
    report_data(d, f, job->report);
    report_labels(d, f, job->report);
    report_coefficients(d, f, job->report);
    if (job->results) put_results(az, d, f, job->results);
    return !*o->power || report_power(az, o, f->split, f->splits, f->name, (double)d->labels, job->report);
}

const az_method az_dsl = {
    .name = "dsl",
    .family = AZ_ESTIMATE,
    .summary = "regressions on machine-made labels, with valid intervals from a labelled sample",
    .paper = "Egami, Hinck, Stewart, Wei: Using imperfect surrogates for downstream inference: design-based supervised learning for social "
             "science applications of large language models, NeurIPS 2023, arXiv 2306.04746",
    .details =
        "A machine labelled every row of a table, people labelled a random part of it. dsl predicts the people's labels from the "
        "machine's, corrects the regression by what the labelled rows show of the errors, and is unbiased whatever the machine does, as "
        "long as the chance of each row to be labelled is known. Labels may be the outcome, covariates, or both.\n"
        "Beside it stand the fit to the machine's labels alone (surrogate_only: precise, biased) and to the labelled rows alone, weighted "
        "by 1 / prob (gold_only: unbiased, imprecise). Proportions by group: formula='y ~ 0 + C(group)'.\n"
        "-o fit.csv writes the coefficients, fit.json and fit.npz everything; -d fit=fit.npz with power=... tells later what more labels "
        "would give. The effects of felm may be unbalanced: means are taken out until none is left.",
    .example = "adze estimate 'dsl:formula=y ~ person,gold=person,surrogate=machine' -d posts.csv -o fit.csv",
    .options = dsl_table,
    .options_size = sizeof(dsl_options),
    .inputs = dsl_slots,
    .estimate = dsl_run,
};
