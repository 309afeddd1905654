/* matrix_completion.c - filling in a low-rank matrix from few entries.
 *
 * Problem: M [m, n], known on Omega, is close to U V^T of rank k; find U and V.
 * Rule: from the leading singular vectors of P_Omega(M) alternate between the regressions of the columns of M on the rows of U, and of its
 *     rows on those of V, with a QR in between (alternating.c). Each regression is solved by conjugate gradients preconditioned by a sketch
 *     (linalg/sketched.c), only as well as the current residual asks: the iteration tolerates errors of the regressions.
 *
 * Gu, Song, Yin, Zhang: "Low rank matrix completion via robust alternating minimization in nearly linear time", ICLR 2024 (arXiv
 * 2302.11068).
 */
#include "estimate/completion_model.h"
#include "estimate/estimate_internal.h"

#include "adze/method.h"

#include <math.h>
#include <string.h>

enum { METHOD_ALTERNATING, METHOD_EXACT, METHOD_SOFTIMPUTE, METHOD_SVD, METHODS };

typedef struct completion_options {
    int method, regression, index, center;
    int64_t rank, iterations, rows, columns, inner, sketch;
    double stop, tolerance, mu, ridge, holdout, lambda, shrinkage;
    bool tighten, split, fill;
    const char *beside;
} completion_options;

static const char *const method_names[] = {
    [METHOD_ALTERNATING] = "alternating", [METHOD_EXACT] = "exact", [METHOD_SOFTIMPUTE] = "softimpute", [METHOD_SVD] = "svd", NULL};
static const char *const regression_names[] = {[AZ_SOLVE_PCG] = "pcg", [AZ_SOLVE_QR] = "qr", [AZ_SOLVE_CHOLESKY] = "cholesky", NULL};
static const char *const index_names[] = {[AZ_INDEX_AUTO] = "auto",     [AZ_INDEX_ZERO] = "zero",     [AZ_INDEX_ONE] = "one",
                                          [AZ_INDEX_LABELS] = "labels", [AZ_INDEX_MATRIX] = "matrix", NULL};
static const char *const center_names[] = {[AZ_EFFECTS_NONE] = "none", [AZ_EFFECTS_MEAN] = "mean", [AZ_EFFECTS_BOTH] = "both", NULL};

static const az_option completion_table[] = {
    {"rank", AZ_FIELD(AZ_INT, completion_options, rank), "0", 0, 1e5, NULL, "of U V^T; a fit wants one"},
    {"method", AZ_FIELD(AZ_CHOICE, completion_options, method), "alternating", 0, 0, method_names,
     "alternating; exact = the same with regression=cholesky; softimpute; svd = one truncated decomposition"},
    {"regression", AZ_FIELD(AZ_CHOICE, completion_options, regression), "pcg", 0, 0, regression_names,
     "of alternating: sketched conjugate gradients, QR, or normal equations"},
    {"iterations", AZ_FIELD(AZ_INT, completion_options, iterations), "50", 1, 1e6, NULL, "at most"},
    {"stop", AZ_FIELD(AZ_REAL, completion_options, stop), "1e-10", 0, 1, NULL,
     "ends when the residual (softimpute: the matrix) changes less, relatively"},
    {"tol", AZ_FIELD(AZ_REAL, completion_options, tolerance), "0.01", 0, 1, NULL, "of each regression by pcg"},
    {"tighten", AZ_FIELD(AZ_BOOL, completion_options, tighten), "true", 0, 0, NULL, "tol times the relative residual so far"},
    {"inner", AZ_FIELD(AZ_INT, completion_options, inner), "50", 0, 1e6, NULL, "most steps of a regression by pcg"},
    {"sketch", AZ_FIELD(AZ_INT, completion_options, sketch), "4", 1, 1000, NULL, "rows of a sketch, times the rank"},
    {"split", AZ_FIELD(AZ_BOOL, completion_options, split), "false", 0, 0, NULL,
     "fresh entries for each half iteration, as the theorem has it"},
    {"mu", AZ_FIELD(AZ_REAL, completion_options, mu), "0", 0, INFINITY, NULL, "incoherence at which the start is clipped; 0 = not"},
    {"ridge", AZ_FIELD(AZ_REAL, completion_options, ridge), "0", 0, INFINITY, NULL, "added to the diagonal of each regression"},
    {"lambda", AZ_FIELD(AZ_REAL, completion_options, lambda), "1", 0, INFINITY, NULL, "softimpute: what singular values lose"},
    {"center", AZ_FIELD(AZ_CHOICE, completion_options, center), "none", 0, 0, center_names,
     "take off the mean, or mean and effects of rows and columns, first"},
    {"shrinkage", AZ_FIELD(AZ_REAL, completion_options, shrinkage), "5", 0, INFINITY, NULL,
     "of center=both: entries of effect zero added to each line"},
    {"holdout", AZ_FIELD(AZ_REAL, completion_options, holdout), "0", 0, 0.9, NULL, "share of the entries kept apart to measure the error"},
    {"fill", AZ_FIELD(AZ_BOOL, completion_options, fill), "false", 0, 0, NULL,
     "the result is the whole matrix: known entries as they are, predictions for the others"},
    {"index", AZ_FIELD(AZ_CHOICE, completion_options, index), "auto", 0, 0, index_names,
     "what the first two columns of a table are; matrix = the table is the matrix; auto = that if they hold fractions or gaps, positions "
     "from 0 if they hold whole numbers, else labels"},
    {"rows", AZ_FIELD(AZ_INT, completion_options, rows), "0", 0, 1e9, NULL, "of the matrix; 0 = as many as are named"},
    {"columns", AZ_FIELD(AZ_INT, completion_options, columns), "0", 0, 1e9, NULL, "of the matrix; 0 = as many as are named"},
    {"beside", AZ_FIELD(AZ_TEXT, completion_options, beside), "", 0, 0, NULL, "other methods to run and compare, joined by +, or all"},
    {0},
};
enum { SLOT_ENTRIES, SLOT_TEST, SLOT_PAIRS, SLOT_MODEL };
static const az_input_slot completion_inputs[] = {
    [SLOT_ENTRIES] = {"entries", AZ_INPUT_FILE, 0, 1, "row, column, value; or a matrix with missing values"},
    [SLOT_TEST] = {"test", AZ_INPUT_FILE, 0, 1, "entries to measure the error on"},
    [SLOT_PAIRS] = {"pairs", AZ_INPUT_FILE, 0, 1, "row, column of entries to predict"},
    [SLOT_MODEL] = {"model", AZ_INPUT_FILE, 0, 1,
                    "an earlier fit (.npz, .safetensors, .json or a folder): predict pairs, measure its error on a test"},
    {0},
};

/* ---- what is given ---- */

typedef struct given {
    az_triples *triples;
    int64_t m, n;
    const az_entries *kept, *held; /* held NULL = none */
} given;

static const char *path_of(const az_estimate_job *job, int slot)
{
    return az_job_input(job, slot, 0) ? az_job_input(job, slot, 0)->path : NULL;
}

/* The test's entries that lie in the matrix. */
static az_entries *read_test(az_ctx *az, const az_estimate_job *job, az_index_base base, const completion_model *matrix)
{
    const char *path = path_of(job, SLOT_TEST);
    az_triples *t = az_triples_read(az, path, job->how, base == AZ_INDEX_AUTO && matrix->first == 1 ? AZ_INDEX_ONE : base);
    completion_places at;
    if (!completion_match(az, matrix, t, path, &at)) return NULL;
    int64_t known = 0;
    for (int64_t e = 0; e < t->count; e++) {
        const int64_t i = at.row[t->row[e]], j = at.column[t->col[e]];
        if (i < 0 || j < 0) continue;
        t->row[known] = i, t->col[known] = j, t->value[known++] = t->value[e];
    }
    if (known < t->count) az_note(az, "%lld entries of the test are in rows or columns without data", (long long)(t->count - known));
    return az_entries_new(az, matrix->places.rows, matrix->places.cols, known, t->row, t->col, t->value);
}

static bool check_sizes(az_ctx *az, const az_triples *t, const char *path)
{
    double largest = 0;
    for (int64_t e = 0; e < t->count; e++) {
        if (!isfinite(t->value[e]))
            return az_fail(az, AZ_BAD_INPUT, "'%s': a known entry (number %lld by rows) is not finite", path, (long long)e + 1);
        largest = fmax(largest, fabs(t->value[e]));
    }
    return check_size(az, "the matrix", largest);
}

static bool read_given(az_ctx *az, const completion_options *o, const az_estimate_job *job, given *in)
{
    const char *path = path_of(job, SLOT_ENTRIES);
    if (!path) return az_fail(az, AZ_BAD_INPUT, "entries are missing: -d FILE, or -d model=FILE of an earlier fit");
    if (o->rank < 1) return az_fail(az, AZ_BAD_INPUT, "rank=K is missing: how many columns have U and V?");
    az_triples *t = az_triples_read(az, path, job->how, (az_index_base)o->index);
    if (!t || !check_sizes(az, t, path)) return false;
    *in = (given){.triples = t, .m = o->rows ? o->rows : t->rows, .n = o->columns ? o->columns : t->cols};
    if (in->m < t->rows || in->n < t->cols)
        return az_fail(az, AZ_BAD_INPUT, "%s has entries of a %lld x %lld matrix, more than the %lld x %lld asked for", path,
                       (long long)t->rows, (long long)t->cols, (long long)in->m, (long long)in->n);
    if ((in->m > t->rows && t->row_name) || (in->n > t->cols && t->col_name))
        return az_fail(az, AZ_BAD_INPUT,
                       "rows=%lld, columns=%lld: a matrix whose rows and columns are named has the %lld x %lld that are named",
                       (long long)in->m, (long long)in->n, (long long)t->rows, (long long)t->cols);
    az_entries *all = az_entries_new(az, in->m, in->n, t->count, t->row, t->col, t->value);
    in->kept = all;
    az_entries *kept, *held;
    if (o->holdout > 0 && !az_entries_hold_out(az, all, o->holdout, az_seed(az), &kept, &held)) return false;
    if (o->holdout > 0) in->kept = kept, in->held = held;
    const completion_model matrix = {.places = {.rows = in->m, .cols = in->n, .row_name = t->row_name, .col_name = t->col_name},
                                     .first = o->index == AZ_INDEX_ONE};
    if (path_of(job, SLOT_TEST)) in->held = read_test(az, job, (az_index_base)o->index, &matrix);
    return az_ok(az);
}

/* ---- completing ---- */

static az_completion *complete(az_ctx *az, const completion_options *o, int method, const az_entries *entries)
{
    if (method == METHOD_SOFTIMPUTE) return az_complete_softimpute(az, entries, o->lambda, o->iterations, o->stop);
    if (method == METHOD_SVD) return az_complete_svd(az, entries, o->rank, az_seed(az));
    const az_completion_how how = {.rank = o->rank,
                                   .iterations = o->iterations,
                                   .stop = o->stop,
                                   .regression = method == METHOD_EXACT ? AZ_SOLVE_CHOLESKY : (az_row_solver)o->regression,
                                   .tolerance = o->tolerance,
                                   .tighten = o->tighten,
                                   .most_steps = o->inner,
                                   .sketch = o->sketch,
                                   .split = o->split,
                                   .mu = o->mu,
                                   .ridge = o->ridge,
                                   .seed = az_seed(az)};
    return az_complete_alternating(az, entries, &how);
}

static void report_method(az_ctx *az, az_report *report, const char *section, const char *name, const given *in, const az_effects *effects,
                          const az_completion *c, double seconds)
{
    const az_entries *kept = az_effects_remove(az, in->kept, effects), *held = in->held ? az_effects_remove(az, in->held, effects) : NULL;
    if (!kept) return;
    az_report_row(report, section);
    az_report_text(report, "method", name);
    az_report_count(report, "rank", c->u->shape[1]);
    az_report_number(report, "rmse", az_completion_error(c, kept, true), "");
    if (held) az_report_number(report, "rmse_held_out", az_completion_error(c, held, true), "");
    if (held) az_report_count(report, "held_out", held->count);
    az_report_count(report, "iterations", c->iterations);
    az_report_number(report, "inner_steps", c->steps, "");
    az_report_bool(report, "converged", c->converged);
    az_report_number(report, "seconds", seconds, "s");
}

static void report_curve(az_ctx *az, az_report *report, const az_completion *c)
{
    double *x = az_alloc_array(az, (size_t)c->iterations, sizeof *x), *y = az_alloc_array(az, (size_t)c->iterations, sizeof *y);
    for (int64_t i = 0; x && y && i < c->iterations; i++) x[i] = (double)(i + 1), y[i] = log10(c->residual[i]);
    if (x && y) az_report_curve(report, "residual", "iteration", "log10 residual", c->iterations, x, y);
}

/* The whole matrix [m, n]: the known entries as they are, predictions for the others. */
static const az_tensor *filled_matrix(az_ctx *az, const given *in, const completion_model *model)
{
    const az_triples *t = in->triples;
    az_tensor *out = az_new2(az, AZ_F64, in->m, in->n);
    double *to = az_f64_mut(out);
    for (int64_t e = 0; to && e < in->m * in->n; e++) to[e] = completion_predict(model, e / in->n, e % in->n);
    for (int64_t e = 0; to && e < t->count; e++) to[t->row[e] * in->n + t->col[e]] = t->value[e];
    return out;
}

/* Predictions of the pairs that were asked for; nothing when none were. */
static bool predict_pairs(az_ctx *az, const completion_options *o, const az_estimate_job *job, const completion_model *model)
{
    int64_t nowhere = 0;
    const char *path = path_of(job, SLOT_PAIRS);
    if (!path) return true;
    const az_table *table = completion_predict_pairs(az, model, path, job, (az_index_base)o->index, &nowhere);
    az_results_table(job->results, "predictions", table);
    if (table && nowhere > 0)
        az_note(az, "%lld of %lld pairs are in rows or columns that the matrix does not have", (long long)nowhere, (long long)table->rows);
    return table != NULL;
}

static bool hand_over(az_ctx *az, const az_estimate_job *job, const given *in, const az_effects *effects, const az_completion *c,
                      const completion_options *o)
{
    completion_model *model = completion_model_new(az, in->triples, in->kept, effects, c);
    if (!model) return false;
    model->first = o->index == AZ_INDEX_ONE;
    if (!predict_pairs(az, o, job, model)) return false;
    if (o->fill) az_results_array(job->results, "filled", filled_matrix(az, in, model), in->triples->row_name, in->triples->col_name);
    completion_put(az, model, job->results);
    return az_ok(az);
}

/* ---- an earlier fit ---- */

static bool use_model(az_ctx *az, const completion_options *o, az_estimate_job *job)
{
    const completion_model *model = completion_read(az, path_of(job, SLOT_MODEL));
    if (!model) return false;
    if (path_of(job, SLOT_ENTRIES) || *o->beside || o->holdout > 0 || o->fill)
        return az_fail(az, AZ_BAD_INPUT, "with a model there is nothing to fit: entries, beside, holdout and fill are for fits");
    if (!path_of(job, SLOT_PAIRS) && !path_of(job, SLOT_TEST))
        return az_fail(az, AZ_BAD_INPUT, "with a model, what to predict: -d pairs=FILE, or -d test=FILE to measure its error");
    const az_entries *held = path_of(job, SLOT_TEST) ? read_test(az, job, (az_index_base)o->index, model) : NULL;
    if (!az_ok(az) || !predict_pairs(az, o, job, model)) return false;
    const az_table *table = az_results_find_table(job->results, "predictions");
    az_report_row(job->report, "predictions");
    az_report_count(job->report, "rank", model->u->shape[1]);
    az_report_count(job->report, "rows", model->places.rows);
    az_report_count(job->report, "columns", model->places.cols);
    if (table) az_report_count(job->report, "pairs", table->rows);
    const az_entries *rest = held ? az_effects_remove(az, held, &model->effects) : NULL;
    if (rest)
        az_report_number(job->report, "rmse_held_out", az_completion_error(&(az_completion){.u = model->u, .v = model->v}, rest, true), "");
    if (rest) az_report_count(job->report, "held_out", rest->count);
    return az_ok(az);
}

/* ---- the method ---- */

static bool run_methods(az_ctx *az, const completion_options *o, az_estimate_job *job, const given *in, const bool wanted[METHODS])
{
    const az_effects *effects = az_effects_fit(az, in->kept, (az_effects_kind)o->center, o->shrinkage);
    const az_entries *rest = effects ? az_effects_remove(az, in->kept, effects) : NULL;
    bool alone = true;
    for (int i = 0; i < METHODS; i++) alone = alone && !wanted[i];
    for (int i = -1; i < METHODS && rest; i++) { /* the chosen one first */
        const int method = i < 0 ? o->method : i;
        if (i >= 0 && !wanted[i]) continue;
        const double began = az_seconds();
        const az_completion *c = complete(az, o, method, rest);
        if (!c) return false;
        if (i < 0) {
            report_method(az, job->report, "fit", method_names[method], in, effects, c, az_seconds() - began);
            az_report_count(job->report, "rows", in->m);
            az_report_count(job->report, "columns", in->n);
            az_report_count(job->report, "entries", in->kept->count);
            az_report_count(job->report, "rows_without_data", c->empty_rows);
            az_report_count(job->report, "columns_without_data", c->empty_columns);
            report_curve(az, job->report, c);
            if (!hand_over(az, job, in, effects, c, o)) return false;
        }
        if (!alone) report_method(az, job->report, "methods", method_names[method], in, effects, c, az_seconds() - began);
    }
    return az_ok(az);
}

static bool completion_estimate(az_ctx *az, const void *options, az_estimate_job *job)
{
    const completion_options *o = options;
    given in;
    bool wanted[METHODS];
    if (path_of(job, SLOT_MODEL)) return use_model(az, o, job);
    return read_beside(az, o->beside, &(alternatives){"method", method_names, METHODS, o->method}, wanted) && read_given(az, o, job, &in) &&
           run_methods(az, o, job, &in, wanted);
}

const az_method az_matrix_completion = {
    .name = "matrix-completion",
    .family = AZ_ESTIMATE,
    .summary = "fill in a low-rank matrix from few of its entries",
    .paper = "Gu, Song, Yin, Zhang: Low rank matrix completion via robust alternating minimization in nearly linear time, ICLR 2024, "
             "arXiv 2302.11068",
    .details = "Finds U and V of the given rank whose product agrees with the known entries, by alternating regressions that need not be "
               "exact. Ratings and other data with noise want center=both and a ridge. -d entries -d pairs=FILE predicts entries (the "
               "first result, so -o p.csv writes them), fill makes the whole matrix (-o filled.csv); -o f.npz (f.safetensors, f.json, a "
               "folder f/) writes the fit, of which -d model=f.npz -d pairs=FILE predicts entries later: row_effect[i] + column_effect[j] "
               "+ u[i] . v[j]. Rows and columns of pairs are named as those of the entries are, or numbered as they are. holdout=0.1 or -d "
               "test=FILE measures the error; beside=all adds exact alternating minimisation, SoftImpute and one truncated decomposition.",
    .example = "adze estimate matrix-completion:rank=2,fill -d matrix.csv -o filled.csv",
    .options = completion_table,
    .options_size = sizeof(completion_options),
    .inputs = completion_inputs,
    .estimate = completion_estimate,
};
