/* linf_regression.c - huge least squares from a small dense sketch, with an error bound for each coefficient.
 *
 * Problem: x* = argmin |A x - b|, A [n, d] with n >> d, by x' = argmin |S A x - S b| for a random S of m rows.
 * Identity: x' - x* = (A^T S^T S A)^-1 A^T S^T S r with r = b - A x*.
 * Bound: when S is dense (srht, sign, gauss), m = O(d log^3(n / delta) / eps^2) rows give |x' - x*|_inf <= eps / sqrt(d) |r| |A^+|, that is
 * no coefficient takes more than its share of the error. Sparse sketches (count, osnap) have as small an error in the 2-norm, not in this.
 *
 * Song, Ye, Yin, Zhang: "A nearly-optimal bound for fast regression with l-infinity guarantee", ICML 2023 (arXiv 2302.00248). */
#include "estimate/linf.h"
#include "estimate/estimate_internal.h"

#include "adze/method.h"

#include <math.h>
#include <string.h>

enum { TENSOR_SRHT = AZ_SKETCH_OSNAP + 1, SKETCHES };

typedef struct linf_options {
    int sketch;
    double eps, delta, confidence, tolerance;
    int64_t rows, refine, osnap, block;
    const char *target, *beside;
    bool theory, intercept, exact, minimum_norm;
} linf_options;

static const char *const sketch_names[] = {"srht", "sign", "gauss", "count", "osnap", "tensor-srht", NULL};

static const az_option linf_table[] = {
    {"sketch", AZ_FIELD(AZ_CHOICE, linf_options, sketch), "srht", 0, 0, sketch_names,
     "srht, sign and gauss keep the bound; count and osnap do not"},
    {"eps", AZ_FIELD(AZ_REAL, linf_options, eps), "0.25", 1e-6, 10, NULL, "of the bound eps / sqrt(d) |r| |A^+|"},
    {"delta", AZ_FIELD(AZ_REAL, linf_options, delta), "0.01", 1e-12, 0.999, NULL, "probability that the bound fails"},
    {"rows", AZ_FIELD(AZ_INT, linf_options, rows), "0", 0, 1e9, NULL, "of the sketch; 0 = 2 d log(2 d / delta) / eps^2"},
    {"theory", AZ_FIELD(AZ_BOOL, linf_options, theory), "false", 0, 0, NULL, "rows=0 means d log^3(n / delta) / eps^2"},
    {"refine", AZ_FIELD(AZ_INT, linf_options, refine), "0", 0, 1e6, NULL, "steps of preconditioned conjugate gradients on all rows"},
    {"target", AZ_FIELD(AZ_TEXT, linf_options, target), "", 0, 0, NULL, "column of A's file that is b"},
    {"intercept", AZ_FIELD(AZ_BOOL, linf_options, intercept), "false", 0, 0, NULL, "a column of ones"},
    {"osnap", AZ_FIELD(AZ_INT, linf_options, osnap), "4", 1, 1000, NULL, "entries a column of the osnap sketch"},
    {"block", AZ_FIELD(AZ_INT, linf_options, block), "0", 0, 1e8, NULL,
     "rows read at a time, for files larger than memory; 0 = all (not srht)"},
    {"exact", AZ_FIELD(AZ_BOOL, linf_options, exact), "false", 0, 0, NULL, "solve on all rows too, and tell the errors"},
    {"beside", AZ_FIELD(AZ_TEXT, linf_options, beside), "", 0, 0, NULL,
     "other sketches to compare with the exact solution, joined by +, or all"},
    {"minimum_norm", AZ_FIELD(AZ_BOOL, linf_options, minimum_norm), "false", 0, 0, NULL,
     "of a sketch without full rank, the shortest solution"},
    {"confidence", AZ_FIELD(AZ_REAL, linf_options, confidence), "0.95", 0.5, 0.999999, NULL, "of the intervals"},
    {0},
};
enum { SLOT_A, SLOT_B, SLOT_SECOND };
static const az_input_slot linf_inputs[] = {
    [SLOT_A] = {"a", AZ_INPUT_FILE, 1, 1, "the matrix A, one row an observation"},
    [SLOT_B] = {"b", AZ_INPUT_FILE, 0, 1, "the vector b; or name a column of A's file with target"},
    [SLOT_SECOND] = {"second", AZ_INPUT_FILE, 0, 1, "tensor-srht: the second factor of A = first kron second"},
    {0},
};

/* ---- what is given ---- */

typedef struct problem {
    int64_t n, d;
    az_rows rows; /* (A, b); x is NULL when it was sketched block by block */
    const char **name;
} problem;

/* Where each column of a table goes among the d + 1 of (A, b). */
static bool find_columns(az_ctx *az, const linf_options *o, const az_table *table, problem *p, int *target)
{
    const az_column *named = *o->target ? az_table_find(az, table, o->target) : NULL;
    if (*o->target && !named) return false;
    *target = named ? (int)(named - table->column) : -1;
    p->d = table->columns - (*target >= 0) + o->intercept;
    if (p->d < 1) return az_fail(az, AZ_BAD_INPUT, "no column is left for A");
    if (p->name) return true;
    p->name = az_alloc_array(az, (size_t)p->d, sizeof *p->name);
    int at = 0;
    if (p->name && o->intercept) p->name[at++] = "(Intercept)";
    for (int j = 0; p->name && j < table->columns; j++)
        if (j != *target) p->name[at++] = az_strdup(az, table->column[j].name);
    return p->name != NULL;
}

/* Rows of the table as rows of (A, b); b stays zero without a target. `first` is for messages. */
static bool fill_rows(az_ctx *az, const linf_options *o, const az_table *table, int target, int64_t first, const problem *p, double *rows)
{
    const int64_t width = p->d + 1;
    int64_t at = 0;
    for (int64_t i = 0; o->intercept && i < table->rows; i++) rows[i * width] = 1;
    at += o->intercept;
    for (int j = 0; j < table->columns; j++) {
        const double *value = az_column_numbers(az, table, &table->column[j]);
        if (!value) return false;
        const int64_t column = j == target ? p->d : at++;
        for (int64_t i = 0; i < table->rows; i++) {
            if (!isfinite(value[i]))
                return az_fail(az, AZ_BAD_INPUT, "column '%s', row %lld: a finite number is wanted", table->column[j].name,
                               (long long)(first + i) + 1);
            rows[i * width + column] = value[i];
        }
    }
    return true;
}

static const double *read_vector(az_ctx *az, const az_estimate_job *job, int64_t *n)
{
    const az_input *input = az_job_input(job, SLOT_B, 0);
    if (!input) return az_fail(az, AZ_BAD_INPUT, "b is missing: -d b=FILE, or target=COLUMN of A's file");
    const az_array *array = az_array_read(az, input->path, job->how, false);
    if (!array) return NULL;
    *n = az_count(array->value);
    return az_f64(az_contiguous(az, array->value));
}

static bool check_columns(az_ctx *az, const problem *p)
{
    for (int64_t j = 0; j < p->d; j++) {
        bool zero = true;
        for (int64_t i = 0; zero && i < p->n; i++) zero = p->rows.x[i * p->rows.stride + j] == 0;
        if (zero) return az_fail(az, AZ_BAD_INPUT, "column '%s' is zero: leave it out", p->name[j]);
    }
    if (p->n < p->d) return az_fail(az, AZ_BAD_INPUT, "%lld rows do not determine %lld coefficients", (long long)p->n, (long long)p->d);
    return true;
}

static bool is_npy(const char *path)
{
    const size_t length = strlen(path);
    return length > 4 && strcmp(path + length - 4, ".npy") == 0;
}

/* The names that a table of the matrix would have, without its numbers. */
static az_table *name_columns(az_ctx *az, const az_tensor *matrix)
{
    const int columns = (int)matrix->shape[1];
    az_table *table = az_table_new(az, matrix->shape[0]);
    if (!table) return NULL;
    table->columns = columns;
    table->column = az_alloc_array(az, (size_t)columns + 1, sizeof *table->column);
    for (int j = 0; table->column && j < columns; j++) table->column[j].name = az_format_text(az, "x%d", j + 1);
    return az_ok(az) ? table : NULL;
}

/* Columns of a matrix as A and b where they lie; false when A is not one piece of them. */
static bool view_columns(const linf_options *o, const az_tensor *matrix, int target, problem *p)
{
    const int64_t columns = matrix->shape[1];
    if (o->intercept || (target > 0 && target < columns - 1)) return false;
    const double *x = az_f64(matrix);
    p->rows = (az_rows){.x = target == 0 ? x + 1 : x, .count = p->n, .width = p->d, .stride = columns};
    if (target >= 0) p->rows.last = x + target, p->rows.last_stride = columns;
    return true;
}

/* Columns of a matrix as rows of (A, b), which a table, stored by columns, would turn twice. */
static void copy_columns(const linf_options *o, const az_tensor *matrix, int target, int64_t width, double *to)
{
    const int64_t rows = matrix->shape[0], columns = matrix->shape[1], before = target < 0 ? columns : target;
    const double *from = az_f64(matrix);
    for (int64_t i = 0; i < rows; i++, from += columns, to += width) {
        if (o->intercept) to[0] = 1;
        memcpy(to + o->intercept, from, (size_t)before * sizeof *to);
        if (target >= 0) memcpy(to + o->intercept + before, from + before + 1, (size_t)(columns - before - 1) * sizeof *to);
        to[width - 1] = target >= 0 ? from[target] : 0;
    }
}

static bool read_rows(az_ctx *az, const linf_options *o, const az_estimate_job *job, problem *p, int *target)
{
    const char *path = az_job_input(job, SLOT_A, 0)->path;
    const az_array *array = is_npy(path) ? az_array_read(az, path, job->how, false) : NULL;
    if (is_npy(path) && !array) return false;
    const bool matrix = array && array->value->rank == 2 && !array->complex;
    const az_table *table = matrix ? name_columns(az, array->value) : az_table_read(az, path, job->how);
    if (!table || !find_columns(az, o, table, p, target)) return false;
    p->n = table->rows;
    if (matrix && view_columns(o, array->value, *target, p)) return true;
    double *rows = az_f64_mut(az_new2(az, AZ_F64, p->n, p->d + 1));
    if (!rows) return false;
    p->rows = az_linf_joint(rows, p->n, p->d);
    if (matrix) copy_columns(o, array->value, *target, p->d + 1, rows);
    return matrix || fill_rows(az, o, table, *target, 0, p, rows);
}

static bool read_problem(az_ctx *az, const linf_options *o, const az_estimate_job *job, problem *p)
{
    int target;
    *p = (problem){0};
    if (!read_rows(az, o, job, p, &target)) return false;
    if (target < 0) {
        int64_t count = 0;
        p->rows.last = read_vector(az, job, &count);
        p->rows.last_stride = 1;
        if (!p->rows.last) return false;
        if (count != p->n) return az_fail(az, AZ_BAD_INPUT, "A has %lld rows, b %lld", (long long)p->n, (long long)count);
    }
    return check_columns(az, p);
}

/* ---- solving ---- */

static az_sketch sketch_of(const linf_options *o, uint64_t seed, int kind, int64_t n, int64_t d)
{
    const int64_t wanted = o->rows > 0 ? o->rows : az_linf_rows(n, d, o->eps, o->delta, o->theory);
    return (az_sketch){.kind = (az_sketch_kind)kind, .rows = n, .sketched = wanted < n ? wanted : n, .per_row = o->osnap, .seed = seed};
}

/* One block of rows after the other; n is known at the end. */
static az_linf_fit *solve_stream(az_ctx *az, const linf_options *o, const az_estimate_job *job, problem *p, int64_t *m)
{
    const int64_t block = (o->block + AZ_SKETCH_BLOCK - 1) / AZ_SKETCH_BLOCK * AZ_SKETCH_BLOCK;
    if (o->sketch == AZ_SKETCH_SRHT || !*o->target)
        return az_fail(az, AZ_BAD_INPUT, "block=%lld: reading in blocks wants sketch=sign (or gauss, count, osnap) and target=COLUMN",
                       (long long)o->block);
    if (o->refine > 0 || o->exact || *o->beside)
        return az_fail(az, AZ_BAD_INPUT, "block=%lld: refine, exact and beside need all rows in memory", (long long)o->block);
    az_table_stream *stream = az_table_stream_open(az, az_job_input(job, SLOT_A, 0)->path, job->how, block);
    double *sketched = NULL, *rows = NULL;
    int target = -1;
    *p = (problem){0};
    az_sketch sketch = {0};
    while (stream && az_ok(az)) {
        const az_table *table = az_table_stream_next(stream);
        if (!table) break;
        if (!find_columns(az, o, table, p, &target)) return NULL;
        if (!sketched) {
            sketch = sketch_of(o, az_seed(az), o->sketch, INT64_MAX, p->d);
            sketched = az_alloc_array(az, (size_t)(sketch.sketched * (p->d + 1)), sizeof *sketched);
            rows = az_alloc_array(az, (size_t)(block * (p->d + 1)), sizeof *rows);
        }
        if (!sketched || !rows || !fill_rows(az, o, table, target, p->n, p, rows)) return NULL;
        const az_rows block_rows = az_linf_joint(rows, table->rows, p->d);
        if (!az_sketch_add(az, &sketch, &block_rows, p->n, sketched)) return NULL;
        p->n += table->rows;
        if (!az_progress(az, "reading", p->n, 0, NULL)) return az_fail(az, AZ_INTERRUPTED, "interrupted after %lld rows", (long long)p->n);
    }
    if (az_ok(az) && !sketched) return az_fail(az, AZ_BAD_INPUT, "'%s' holds no rows", az_job_input(job, SLOT_A, 0)->path);
    *m = sketch.sketched;
    if (az_ok(az) && *m > p->n)
        az_note(az, "the sketch has more rows than the file, %lld: without block all rows are used as they are", (long long)p->n);
    const az_rows all = az_linf_joint(sketched, *m, p->d);
    return az_ok(az) ? az_linf_solve_sketch(az, &all, o->minimum_norm) : NULL;
}

static az_linf_fit *solve_kind(az_ctx *az, const linf_options *o, const problem *p, int kind, int64_t *m)
{
    const az_sketch sketch = sketch_of(o, az_seed(az), kind, p->n, p->d);
    *m = sketch.sketched;
    if (*m < p->n) return az_linf_sketch_and_solve(az, &sketch, &p->rows, o->minimum_norm);
    return az_linf_solve(az, &p->rows, o->minimum_norm);
}

/* x towards the solution on all rows, and what is known of it then: its residual, and that it has no error of a sketch any more, or none
 * that can be told. */
static az_sketched_result refine(az_ctx *az, const linf_options *o, const problem *p, az_linf_fit *fit)
{
    const int64_t n = p->n, d = p->d;
    az_sketched_result result = {0};
    az_scope_push(az);
    double *a = az_alloc_array(az, (size_t)(n * d), sizeof *a), *b = az_alloc_array(az, (size_t)n, sizeof *b);
    double *work = az_alloc_array(az, (size_t)(2 * n + 4 * d), sizeof *work);
    if (a && b && work) {
        for (int64_t i = 0; i < n; i++) {
            memcpy(a + i * d, p->rows.x + i * p->rows.stride, (size_t)d * sizeof *a);
            b[i] = p->rows.last[i * p->rows.last_stride];
        }
        const az_sketched_how how = {.tolerance = 1e-14, .most_steps = o->refine};
        result = az_preconditioned_least_squares(a, b, n, d, fit->r, d, fit->x, &how, work);
        fit->residual = az_linf_residual(&p->rows, fit->x);
    }
    az_scope_pop(az);
    if (result.converged)
        memset(fit->se, 0, (size_t)d * sizeof *fit->se);
    else
        fit->se = NULL;
    return result;
}

static az_linf_fit *solve_tensor(az_ctx *az, const linf_options *o, const az_estimate_job *job, problem *p, int64_t *m)
{
    const az_input *second = az_job_input(job, SLOT_SECOND, 0);
    if (!second) return az_fail(az, AZ_BAD_INPUT, "tensor-srht: the second factor is missing: -d second=FILE");
    const az_array *a = az_array_read(az, az_job_input(job, SLOT_A, 0)->path, job->how, false);
    const az_array *c = az_array_read(az, second->path, job->how, false);
    int64_t count = 0;
    const double *b = a && c ? read_vector(az, job, &count) : NULL;
    if (!b) return NULL;
    if (a->value->rank != 2 || c->value->rank != 2) return az_fail(az, AZ_BAD_INPUT, "tensor-srht: both factors are matrices");
    const az_tensor_operands in = {az_f64(az_contiguous(az, a->value)),
                                   az_f64(az_contiguous(az, c->value)),
                                   b,
                                   a->value->shape[0],
                                   a->value->shape[1],
                                   c->value->shape[0],
                                   c->value->shape[1]};
    *p = (problem){.n = in.n1 * in.n2, .d = in.d1 * in.d2};
    if (count != p->n)
        return az_fail(az, AZ_BAD_INPUT, "b has %lld entries, the product of factors of %lld and %lld rows has %lld", (long long)count,
                       (long long)in.n1, (long long)in.n2, (long long)p->n);
    p->name = az_alloc_array(az, (size_t)p->d, sizeof *p->name);
    for (int64_t j = 0; p->name && j < p->d; j++)
        p->name[j] = az_format_text(az, "x%lld:x%lld", (long long)(j / in.d2) + 1, (long long)(j % in.d2) + 1);
    *m = sketch_of(o, 0, AZ_SKETCH_SRHT, p->n, p->d).sketched;
    double *sketch = az_alloc_array(az, (size_t)(*m * (p->d + 1)), sizeof *sketch);
    if (!sketch || !p->name || !in.first || !in.second || !az_linf_tensor_sketch(az, &in, *m, az_seed(az), sketch)) return NULL;
    const az_rows rows = az_linf_joint(sketch, *m, p->d);
    return az_linf_solve_sketch(az, &rows, o->minimum_norm);
}

/* ---- what is told ---- */

/* steps: of refinement. */
static void report_fit(az_report *report, const linf_options *o, const problem *p, const az_linf_fit *fit, int64_t m, int64_t steps)
{
    const double degrees = (double)(m - p->d), root = sqrt((double)p->d);
    const double t = m > p->d ? az_student_quantile(0.5 + 0.5 * o->confidence, degrees) : NAN;
    const bool unique = fit->rank == p->d;
    double largest = 0;
    for (int64_t j = 0; fit->se && j < p->d; j++) largest = fmax(largest, fit->se[j]);
    const double likely = m > p->d && fit->se ? largest * az_student_quantile(1 - o->delta / (2 * (double)p->d), degrees) : NAN;
    az_report_row(report, "fit");
    az_report_text(report, "sketch", m < p->n ? sketch_names[o->sketch] : "none, all rows");
    az_report_count(report, "rows", p->n);
    az_report_count(report, "coefficients", p->d);
    az_report_count(report, "sketch_rows", m);
    az_report_number(report, "residual", fit->residual, "");
    az_report_number(report, "bound", unique ? o->eps / root * fit->residual / fit->least : NAN, "");
    az_report_number(report, "likely_error", m < p->n || !fit->se ? likely : 0, "");
    az_report_number(report, "eps_reached", m < p->n || !fit->se ? likely * root * fit->least / fit->residual : 0, "");
    if (o->refine > 0) az_report_count(report, "refine_steps", steps);
    az_report_number(report, "condition", fit->largest / fit->least, "");
    for (int64_t j = 0; j < p->d; j++) {
        const double se = !fit->se ? NAN : m < p->n ? fit->se[j] : 0, half = se == 0 ? 0 : t * se;
        az_report_row(report, "coefficients");
        az_report_text(report, "name", p->name[j]);
        az_report_number(report, "value", fit->x[j], "");
        az_report_number(report, "se", se, "");
        az_report_number(report, "low", fit->x[j] - half, "");
        az_report_number(report, "high", fit->x[j] + half, "");
    }
}

static void report_errors(az_report *report, const char *name, const problem *p, const az_linf_fit *fit, int64_t m, const double *exact,
                          double seconds)
{
    double most = 0, square = 0;
    for (int64_t j = 0; j < p->d; j++) {
        const double off = fit->x[j] - exact[j];
        most = fmax(most, fabs(off));
        square += off * off;
    }
    az_report_row(report, "errors");
    az_report_text(report, "sketch", name);
    az_report_count(report, "sketch_rows", m);
    az_report_number(report, "largest_error", most, "");
    az_report_number(report, "error_2_norm", sqrt(square), "");
    az_report_number(report, "largest_over_mean", square > 0 ? most * sqrt((double)p->d / square) : 0, "");
    az_report_number(report, "seconds", seconds, "s");
}

/* ---- the method ---- */

static bool compare(az_ctx *az, const linf_options *o, az_report *report, const problem *p, const az_linf_fit *fit, int64_t m,
                    double seconds)
{
    bool wanted[SKETCHES];
    if (!read_beside(az, o->beside, &(alternatives){"sketch", sketch_names, TENSOR_SRHT, o->sketch}, wanted)) return false;
    const double began = az_seconds();
    const az_linf_fit *exact = az_linf_solve(az, &p->rows, o->minimum_norm);
    if (!exact) return false;
    report_errors(report, "exact", p, exact, p->n, exact->x, az_seconds() - began);
    report_errors(report, sketch_names[o->sketch], p, fit, m, exact->x, seconds);
    for (int kind = 0; kind < TENSOR_SRHT; kind++) {
        if (!wanted[kind]) continue;
        az_scope_push(az);
        const double start = az_seconds();
        int64_t rows = 0;
        const az_linf_fit *other = solve_kind(az, o, p, kind, &rows);
        if (other) report_errors(report, sketch_names[kind], p, other, rows, exact->x, az_seconds() - start);
        az_scope_pop(az);
        if (!other) return false;
    }
    return true;
}

static bool hand_over(az_ctx *az, const az_estimate_job *job, const problem *p, const az_linf_fit *fit)
{
    az_results_array(job->results, "x", az_from(az, AZ_F64, 1, (int64_t[]){p->d}, fit->x), p->name, NULL);
    if (fit->se) az_results_array(job->results, "se", az_from(az, AZ_F64, 1, (int64_t[]){p->d}, fit->se), p->name, NULL);
    return az_ok(az);
}

static bool linf_estimate(az_ctx *az, const void *options, az_estimate_job *job)
{
    const linf_options *o = options;
    problem p;
    int64_t m = 0;
    const bool tensor = o->sketch == TENSOR_SRHT, whole = !tensor && o->block == 0;
    if (tensor && (o->block > 0 || o->refine > 0 || o->exact || *o->beside || *o->target))
        return az_fail(az, AZ_BAD_INPUT, "tensor-srht does not form A: block, refine, exact, beside and target are not for it");
    if (*o->target && az_job_input(job, SLOT_B, 0))
        return az_fail(az, AZ_BAD_INPUT, "b is given twice: as column '%s' of A's file and as a file of its own", o->target);
    if (whole && !read_problem(az, o, job, &p)) return false;
    const double began = az_seconds();
    az_linf_fit *fit = tensor  ? solve_tensor(az, o, job, &p, &m)
                       : whole ? solve_kind(az, o, &p, o->sketch, &m)
                               : solve_stream(az, o, job, &p, &m);
    if (!fit) return false;
    const bool refined = o->refine > 0 && fit->r && m < p.n;
    const az_sketched_result done = refined ? refine(az, o, &p, fit) : (az_sketched_result){0};
    const double seconds = az_seconds() - began;
    if (fit->rank < p.d)
        az_note(az, "the columns depend on each other (rank %lld): this is the shortest solution, without a bound", (long long)fit->rank);
    report_fit(job->report, o, &p, fit, m, done.steps);
    if (o->refine > 0 && !fit->r) az_note(az, "refine: the shortest solution of a sketch is not refined, which wants independent columns");
    if (refined && !done.converged)
        az_note(az, "refine=%lld steps have not reached the exact solution: the errors that are left are not known", (long long)o->refine);
    if (whole && (o->exact || *o->beside) && !compare(az, o, job->report, &p, fit, m, seconds)) return false;
    return hand_over(az, job, &p, fit);
}

const az_method az_linf_regression = {
    .name = "linf-regression",
    .family = AZ_ESTIMATE,
    .summary = "least squares on very many rows, from a sketch, with an error bound for each coefficient",
    .paper = "Song, Ye, Yin, Zhang: A nearly-optimal bound for fast regression with l-infinity guarantee, ICML 2023, arXiv 2302.00248",
    .details = "Solves min |A x - b| on m random combinations of the rows. Every coefficient comes with a standard error of what the "
               "sketch cost (not of sampling: the exact solution for these rows is what is estimated). refine=20 goes on to the exact "
               "solution: standard errors are zero when it is reached, and not known (empty) when it is not. exact tells the true errors, "
               "beside=all those of other sketches: sparse ones (count, osnap) are cheap and as good in the 2-norm, but may put all their "
               "error into one coefficient. sketch=sign,block=100000 reads files larger than memory.",
    .example = "adze estimate linf-regression:target=y,intercept,rows=100,exact -d numbers.csv",
    .options = linf_table,
    .options_size = sizeof(linf_options),
    .inputs = linf_inputs,
    .estimate = linf_estimate,
};
