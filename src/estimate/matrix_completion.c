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
#include "estimate/completion.h"
#include "estimate/estimate_internal.h"
#include "estimate/effects.h"

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
    {"rank", AZ_INT, offsetof(completion_options, rank), NULL, 1, 1e5, NULL, "of U V^T"},
    {"method", AZ_CHOICE, offsetof(completion_options, method), "alternating", 0, 0, method_names,
     "alternating; exact = the same with regression=cholesky; softimpute; svd = one truncated decomposition"},
    {"regression", AZ_CHOICE, offsetof(completion_options, regression), "pcg", 0, 0, regression_names,
     "of alternating: sketched conjugate gradients, QR, or normal equations"},
    {"iterations", AZ_INT, offsetof(completion_options, iterations), "50", 1, 1e6, NULL, "at most"},
    {"stop", AZ_REAL, offsetof(completion_options, stop), "1e-10", 0, 1, NULL,
     "ends when the residual (softimpute: the matrix) changes less, relatively"},
    {"tol", AZ_REAL, offsetof(completion_options, tolerance), "0.01", 0, 1, NULL, "of each regression by pcg"},
    {"tighten", AZ_BOOL, offsetof(completion_options, tighten), "true", 0, 0, NULL, "tol times the relative residual so far"},
    {"inner", AZ_INT, offsetof(completion_options, inner), "50", 0, 1e6, NULL, "most steps of a regression by pcg"},
    {"sketch", AZ_INT, offsetof(completion_options, sketch), "4", 1, 1000, NULL, "rows of a sketch, times the rank"},
    {"split", AZ_BOOL, offsetof(completion_options, split), "false", 0, 0, NULL,
     "fresh entries for each half iteration, as the theorem has it"},
    {"mu", AZ_REAL, offsetof(completion_options, mu), "0", 0, INFINITY, NULL, "incoherence at which the start is clipped; 0 = not"},
    {"ridge", AZ_REAL, offsetof(completion_options, ridge), "0", 0, INFINITY, NULL, "added to the diagonal of each regression"},
    {"lambda", AZ_REAL, offsetof(completion_options, lambda), "1", 0, INFINITY, NULL, "softimpute: what singular values lose"},
    {"center", AZ_CHOICE, offsetof(completion_options, center), "none", 0, 0, center_names,
     "take off the mean, or mean and effects of rows and columns, first"},
    {"shrinkage", AZ_REAL, offsetof(completion_options, shrinkage), "5", 0, INFINITY, NULL,
     "of center=both: entries of effect zero added to each line"},
    {"holdout", AZ_REAL, offsetof(completion_options, holdout), "0", 0, 0.9, NULL, "share of the entries kept apart to measure the error"},
    {"fill", AZ_BOOL, offsetof(completion_options, fill), "false", 0, 0, NULL,
     "the result is the whole matrix: known entries as they are, predictions for the others"},
    {"index", AZ_CHOICE, offsetof(completion_options, index), "auto", 0, 0, index_names,
     "what the first two columns of a table are; matrix = the table is the matrix; auto = that if they hold fractions or gaps, positions "
     "from 0 if they hold whole numbers, else labels"},
    {"rows", AZ_INT, offsetof(completion_options, rows), "0", 0, 1e9, NULL, "of the matrix; 0 = as many as are named"},
    {"columns", AZ_INT, offsetof(completion_options, columns), "0", 0, 1e9, NULL, "of the matrix; 0 = as many as are named"},
    {"beside", AZ_TEXT, offsetof(completion_options, beside), "", 0, 0, NULL, "other methods to run and compare, joined by +, or all"},
    {0},
};
enum { SLOT_ENTRIES, SLOT_TEST, SLOT_PAIRS };
static const az_input_slot completion_inputs[] = {
    [SLOT_ENTRIES] = {"entries", AZ_INPUT_FILE, 1, 1, "row, column, value; or a matrix with missing values"},
    [SLOT_TEST] = {"test", AZ_INPUT_FILE, 0, 1, "entries to measure the error on"},
    [SLOT_PAIRS] = {"pairs", AZ_INPUT_FILE, 0, 1, "row, column of entries to predict"},
    {0},
};

/* ---- what is given ---- */

typedef struct given {
    az_triples *triples;
    int64_t m, n;
    az_entries *kept, *held; /* held NULL = none */
    az_triples *pairs; /* as they were asked for; their rows and columns lie at pair_row[] and pair_column[] of the matrix, -1 = nowhere */
    const int64_t *pair_row, *pair_column;
} given;

/* Position of each name of `other` among those of `own`; -1 where it is not. NULL names are their own positions. */
static int64_t *match(az_ctx *az, const char **own, int64_t size, const char **other, int64_t count)
{
    int64_t *at = az_alloc_array(az, (size_t)count, sizeof *at);
    for (int64_t i = 0; at && i < count; i++) {
        at[i] = own || other ? -1 : i < size ? i : -1;
        for (int64_t low = 0, high = own && other ? size : 0; low < high;) {
            const int64_t middle = (low + high) / 2;
            const int order = strcmp(own[middle], other[i]);
            if (order == 0) at[i] = middle;
            low = order < 0 ? middle + 1 : low;
            high = order > 0 ? middle : order == 0 ? low : high;
        }
    }
    return at;
}

/* Where the rows and columns of a second file lie in the first: by name if they have names, else by number. */
static bool match_places(az_ctx *az, const given *in, const az_triples *t, const char *path, const int64_t **row, const int64_t **column)
{
    if (!t) return false;
    if (!in->triples->row_name != !t->row_name || !in->triples->col_name != !t->col_name)
        return az_fail(az, AZ_BAD_INPUT, "%s numbers its rows and columns, %s names them: give both in the same way",
                       t->row_name ? "the entries" : path, t->row_name ? path : "the entries");
    *row = match(az, in->triples->row_name, in->m, t->row_name, t->rows);
    *column = match(az, in->triples->col_name, in->n, t->col_name, t->cols);
    return *row && *column;
}

static bool read_pairs(az_ctx *az, const az_estimate_job *job, const completion_options *o, given *in)
{
    const char *path = az_job_input(job, SLOT_PAIRS, 0)->path;
    in->pairs = az_places_read(az, path, job->how, (az_index_base)o->index);
    return match_places(az, in, in->pairs, path, &in->pair_row, &in->pair_column);
}

/* The test's entries with their places in the matrix; -1 = not there. */
static az_triples *read_test(az_ctx *az, const az_estimate_job *job, const completion_options *o, const given *in)
{
    const char *path = az_job_input(job, SLOT_TEST, 0)->path;
    az_triples *t = az_triples_read(az, path, job->how, (az_index_base)o->index);
    const int64_t *row, *column;
    if (!match_places(az, in, t, path, &row, &column)) return NULL;
    for (int64_t e = 0; e < t->count; e++) t->row[e] = row[t->row[e]], t->col[e] = column[t->col[e]];
    return t;
}

static bool check_sizes(az_ctx *az, const az_triples *t)
{
    double largest = 0;
    for (int64_t e = 0; e < t->count; e++) largest = fmax(largest, fabs(t->value[e]));
    return check_size(az, "the matrix", largest);
}

static bool read_given(az_ctx *az, const completion_options *o, const az_estimate_job *job, given *in)
{
    const char *path = az_job_input(job, SLOT_ENTRIES, 0)->path;
    az_triples *t = az_triples_read(az, path, job->how, (az_index_base)o->index);
    if (!t || !check_sizes(az, t)) return false;
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
    if (o->holdout > 0 && !az_entries_hold_out(az, all, o->holdout, az_seed(az), &in->kept, &in->held)) return false;
    if (az_job_input(job, SLOT_PAIRS, 0) && !read_pairs(az, job, o, in)) return false;
    if (!az_job_input(job, SLOT_TEST, 0)) return az_ok(az);
    const az_triples *test = read_test(az, job, o, in);
    if (!test) return false;
    int64_t known = 0;
    for (int64_t e = 0; e < test->count; e++) {
        if (test->row[e] < 0 || test->col[e] < 0) continue;
        test->row[known] = test->row[e], test->col[known] = test->col[e], test->value[known++] = test->value[e];
    }
    if (known < test->count) az_note(az, "%lld entries of the test are in rows or columns without data", (long long)(test->count - known));
    in->held = az_entries_new(az, in->m, in->n, known, test->row, test->col, test->value);
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

static double prediction(const az_effects *effects, const az_completion *c, int64_t i, int64_t j)
{
    return effects->row[i] + effects->column[j] + az_completion_value(c, i, j);
}

static const char *name_of(az_ctx *az, const char **names, int64_t i, int64_t first)
{
    return names ? names[i] : az_format_text(az, "%lld", (long long)(i + first));
}

/* A line for each pair that was asked for, in that order and in its words; rows and columns are counted from `first`. */
static az_table *predicted_pairs(az_ctx *az, const given *in, const az_effects *effects, const az_completion *c, int64_t first)
{
    const az_triples *p = in->pairs;
    az_table *table = az_table_new(az, p->count);
    const char **row = az_alloc_array(az, (size_t)p->count, sizeof *row), **column = az_alloc_array(az, (size_t)p->count, sizeof *column);
    double *value = az_alloc_array(az, (size_t)p->count, sizeof *value), *known = az_alloc_array(az, (size_t)p->count, sizeof *known);
    for (int64_t e = 0; known && e < p->count; e++) {
        const int64_t i = in->pair_row[p->row[e]], j = in->pair_column[p->col[e]];
        known[e] = i >= 0 && j >= 0 && in->kept->rows.start[i] < in->kept->rows.start[i + 1] &&
                   in->kept->columns.start[j] < in->kept->columns.start[j + 1];
        value[e] = i < 0 || j < 0 ? NAN : prediction(effects, c, i, j);
        row[e] = name_of(az, p->row_name, p->row[e], first);
        column[e] = name_of(az, p->col_name, p->col[e], first);
    }
    const bool good = az_table_add_text(az, table, "row", row) && az_table_add_text(az, table, "column", column) &&
                      az_table_add(az, table, "value", value) && az_table_add(az, table, "has_data", known);
    return good ? table : NULL;
}

/* The whole matrix [m, n]: the known entries as they are, predictions for the others. */
static const az_tensor *filled_matrix(az_ctx *az, const given *in, const az_effects *effects, const az_completion *c)
{
    const az_triples *t = in->triples;
    az_tensor *out = az_new2(az, AZ_F64, in->m, in->n);
    double *to = az_f64_mut(out);
    for (int64_t e = 0; to && e < in->m * in->n; e++) to[e] = prediction(effects, c, e / in->n, e % in->n);
    for (int64_t e = 0; to && e < t->count; e++) to[t->row[e] * in->n + t->col[e]] = t->value[e];
    return out;
}

static bool hand_over(az_ctx *az, const az_estimate_job *job, const given *in, const az_effects *effects, const az_completion *c,
                      const completion_options *o)
{
    const az_triples *t = in->triples;
    az_results *to = job->results;
    if (in->pairs) az_results_table(to, "predictions", predicted_pairs(az, in, effects, c, o->index == AZ_INDEX_ONE));
    if (o->fill) az_results_array(to, "filled", filled_matrix(az, in, effects, c), t->row_name, t->col_name);
    az_results_array(to, "u", c->u, t->row_name, NULL);
    az_results_array(to, "v", c->v, t->col_name, NULL);
    az_results_array(to, "row_effect", az_from(az, AZ_F64, 1, (int64_t[]){in->m}, effects->row), t->row_name, NULL);
    az_results_array(to, "column_effect", az_from(az, AZ_F64, 1, (int64_t[]){in->n}, effects->column), t->col_name, NULL);
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
               "first result, so -o p.csv writes them), fill makes the whole matrix (-o filled.csv); -o f.safetensors writes u, v, "
               "row_effect and column_effect, the prediction being "
               "row_effect[i] + column_effect[j] + u[i] . v[j]. holdout=0.1 or -d test=FILE measures the error; beside=all adds exact "
               "alternating minimisation, SoftImpute and one truncated decomposition.",
    .example = "adze estimate matrix-completion:rank=2,fill -d matrix.csv -o filled.csv",
    .options = completion_table,
    .options_size = sizeof(completion_options),
    .inputs = completion_inputs,
    .estimate = completion_estimate,
};
