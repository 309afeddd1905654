/* ila_sdp.c - clusters of different shapes, without centroids.
 *
 * Problem: points x_i ~ N(mu_k, S_k) for i in G_k; find the partition, S_k unknown.
 * Lift: Z_k = 1_{G_k} 1_{G_k}^T / |G_k| makes the profile log-likelihood linear, sum_k <A_k, Z_k>; relaxed to positive semidefinite Z_k >=
 * 0 with tr Z_k = 1 and sum_k Z_k 1 = 1 it is a semidefinite program, whose dual bounds every partition. Rule: solve it with the S_k of
 * a start, take S_k from Z, and so on (ila.c).
 *
 * Zhuang, Chen, Yang: "Likelihood adjusted semidefinite programs for clustering heterogeneous data", ICML 2023 (arXiv 2209.15097). */
#include "estimate/ila.h"
#include "estimate/estimate_internal.h"

#include "adze/method.h"

#include <math.h>
#include <string.h>

enum { METHOD_ILA, METHOD_SDP, METHOD_KMEANS, METHOD_EM, METHODS };
enum { INIT_KMEANS, INIT_WARD, INIT_RANDOM, INIT_COLUMN };
enum { SOLVER_AUTO, SOLVER_ADMM, SOLVER_LOW_RANK };
enum { COV_AUTO = AZ_COV_SHRINK + 1 };

typedef struct ila_options {
    int method, covariance, init, solver;
    int64_t k, iterations, restarts, program_iterations, rank, max_n, project;
    double tolerance, program_tolerance;
    const char *columns, *truth, *start, *beside;
} ila_options;

static const char *const method_names[] = {
    [METHOD_ILA] = "ila-sdp", [METHOD_SDP] = "sdp", [METHOD_KMEANS] = "kmeans", [METHOD_EM] = "em", NULL};
static const char *const cov_names[] = {
    [AZ_COV_FULL] = "full", [AZ_COV_DIAGONAL] = "diag", [AZ_COV_SHARED] = "shared", [AZ_COV_SHRINK] = "shrink", [COV_AUTO] = "auto", NULL};
static const char *const init_names[] = {
    [INIT_KMEANS] = "kmeans", [INIT_WARD] = "hclust", [INIT_RANDOM] = "random", [INIT_COLUMN] = "column", NULL};
static const char *const solver_names[] = {[SOLVER_AUTO] = "auto", [SOLVER_ADMM] = "admm", [SOLVER_LOW_RANK] = "lowrank", NULL};

static const az_option ila_table[] = {
    {"k", AZ_FIELD(AZ_INT, ila_options, k), NULL, 1, 60, NULL, "clusters"},
    {"method", AZ_FIELD(AZ_CHOICE, ila_options, method), "ila-sdp", 0, 0, method_names,
     "ila-sdp; sdp = the K-means program; kmeans; em = a mixture of Gaussians"},
    {"cov", AZ_FIELD(AZ_CHOICE, ila_options, covariance), "auto", 0, 0, cov_names,
     "structure of the covariances; auto = full, diag from n / (2 k) columns on, shared below 2 k points"},
    {"init", AZ_FIELD(AZ_CHOICE, ila_options, init), "kmeans", 0, 0, init_names, "start of ila-sdp and em; column = start=NAME"},
    {"start", AZ_FIELD(AZ_TEXT, ila_options, start), "", 0, 0, NULL, "column of the table with labels to start from"},
    {"restarts", AZ_FIELD(AZ_INT, ila_options, restarts), "20", 1, 1e5, NULL, "of K-means"},
    {"iterations", AZ_FIELD(AZ_INT, ila_options, iterations), "20", 1, 1000, NULL, "programs, at most"},
    {"tol", AZ_FIELD(AZ_REAL, ila_options, tolerance), "1e-6", 0, 1, NULL, "ends when the objective changes less, relatively"},
    {"solver", AZ_FIELD(AZ_CHOICE, ila_options, solver), "auto", 0, 0, solver_names,
     "admm (exact), lowrank (a local optimum); auto = lowrank above 400 points"},
    {"sdp_tol", AZ_FIELD(AZ_REAL, ila_options, program_tolerance), "1e-5", 1e-12, 1, NULL, "residuals of a program"},
    {"sdp_iterations", AZ_FIELD(AZ_INT, ila_options, program_iterations), "2000", 1, 1e7, NULL, "most iterations of a program"},
    {"rank", AZ_FIELD(AZ_INT, ila_options, rank), "3", 1, 60, NULL, "columns of each V_k of lowrank"},
    {"max_n", AZ_FIELD(AZ_INT, ila_options, max_n), "2000", 10, 20000, NULL,
     "of more points that many are drawn, the others join by likelihood"},
    {"project", AZ_FIELD(AZ_INT, ila_options, project), "0", 0, 10000, NULL,
     "cluster in so many directions of the data whitened within the start's groups; 0 = in the columns"},
    {"columns", AZ_FIELD(AZ_TEXT, ila_options, columns), "", 0, 0, NULL, "columns to use; empty = all but truth and start"},
    {"truth", AZ_FIELD(AZ_TEXT, ila_options, truth), "", 0, 0, NULL, "column with the true groups, to compare with"},
    {"beside", AZ_FIELD(AZ_TEXT, ila_options, beside), "", 0, 0, NULL, "other methods to run and compare, joined by +, or all"},
    {0},
};
static const az_input_slot ila_inputs[] = {
    {"points", AZ_INPUT_TABLE, 1, 1, "one row a point"},
    {0},
};

/* ---- what is given ---- */

typedef struct given {
    az_points all, drawn;            /* all points; those that are clustered; projected where that was asked for */
    az_points given;                 /* all points as they came */
    const az_projection *projection; /* NULL = none */
    const int64_t *row;              /* [drawn.n] of all; NULL = the same */
    const char **name;               /* [p] */
    const int *truth, *start;        /* [all.n] or NULL */
    int groups;                      /* of the truth */
    az_cov_kind covariance;
} given;

/* A column's categories as numbers; at most `most` of them. */
static const int *read_labels(az_ctx *az, const az_table *table, const char *name, int most, int *groups)
{
    const az_column *column = az_table_find(az, table, name), *categories = column ? az_column_categories(az, table, column) : NULL;
    int *label = az_alloc_array(az, (size_t)table->rows, sizeof *label);
    if (!categories || !label) return NULL;
    *groups = categories->levels;
    if (*groups > most) return az_fail(az, AZ_BAD_INPUT, "column '%s' has %d groups, more than %d", name, *groups, most);
    for (int64_t i = 0; i < table->rows; i++) {
        if (categories->code[i] < 0) return az_fail(az, AZ_BAD_INPUT, "column '%s', row %lld: no group", name, (long long)i + 1);
        label[i] = categories->code[i];
    }
    return label;
}

static bool choose_columns(az_ctx *az, const ila_options *o, const az_table *table, const az_column ***column, int *count)
{
    if (*o->columns) return az_table_columns(az, table, o->columns, column, count);
    *column = az_alloc_array(az, (size_t)table->columns, sizeof **column);
    *count = 0;
    for (int j = 0; *column && j < table->columns; j++)
        if (strcmp(table->column[j].name, o->truth) != 0 && strcmp(table->column[j].name, o->start) != 0)
            (*column)[(*count)++] = &table->column[j];
    return *column != NULL;
}

static bool check_points(az_ctx *az, const given *in, int64_t k)
{
    if (k > in->all.n) return az_fail(az, AZ_BAD_INPUT, "k=%lld: there are %lld points", (long long)k, (long long)in->all.n);
    if (in->all.n < 3) return az_fail(az, AZ_BAD_INPUT, "%lld points: at least 3 are wanted", (long long)in->all.n);
    return check_samples(az, in->name, in->all.x, in->all.n, in->all.p);
}

/* Of more than max_n points, that many at random. */
static bool draw_points(az_ctx *az, const ila_options *o, given *in)
{
    in->drawn = in->all;
    if (in->all.n <= o->max_n) return true;
    int64_t *row = az_alloc_array(az, (size_t)in->all.n, sizeof *row);
    double *x = az_alloc_array(az, (size_t)(o->max_n * in->all.p), sizeof *x);
    if (!row || !x) return false;
    for (int64_t i = 0; i < in->all.n; i++) row[i] = i;
    az_rng rng = az_rng_at(az_seed(az), az_stream("points to cluster", 0));
    az_shuffle(&rng, row, in->all.n);
    for (int64_t i = 0; i < o->max_n; i++) memcpy(x + i * in->all.p, in->all.x + row[i] * in->all.p, (size_t)in->all.p * sizeof *x);
    in->drawn = (az_points){.n = o->max_n, .p = in->all.p, .x = x};
    in->row = row;
    az_note(az, "%lld of %lld points are clustered, the others join by likelihood", (long long)o->max_n, (long long)in->all.n);
    return true;
}

static az_cov_kind covariance_of(const ila_options *o, const given *in)
{
    if (o->covariance != COV_AUTO) return (az_cov_kind)o->covariance;
    if (in->drawn.n < 2 * o->k) return AZ_COV_SHARED;
    return in->drawn.p >= (double)in->drawn.n / (2 * (double)o->k) ? AZ_COV_DIAGONAL : AZ_COV_FULL;
}

static bool read_given(az_ctx *az, const ila_options *o, const az_estimate_job *job, given *in)
{
    const az_table *table = az_job_input(job, 0, 0)->table;
    const az_column **column = NULL;
    int count = 0, groups;
    *in = (given){0};
    if (!choose_columns(az, o, table, &column, &count)) return false;
    if (count < 1) return az_fail(az, AZ_BAD_INPUT, "no column is left to cluster by");
    const az_tensor *x = az_table_matrix(az, table, column, count);
    in->name = az_alloc_array(az, (size_t)count, sizeof *in->name);
    if (!x || !in->name) return false;
    for (int j = 0; j < count; j++) in->name[j] = column[j]->name;
    in->all = (az_points){.n = table->rows, .p = count, .x = az_f64(x)};
    if (!check_points(az, in, o->k) || !draw_points(az, o, in)) return false;
    in->covariance = covariance_of(o, in);
    in->given = in->all;
    if (*o->truth && !(in->truth = read_labels(az, table, o->truth, 1000, &in->groups))) return false;
    if (o->init == INIT_COLUMN && !*o->start) return az_fail(az, AZ_BAD_INPUT, "init=column: which? start=NAME");
    if (o->init == INIT_COLUMN && !(in->start = read_labels(az, table, o->start, (int)o->k, &groups))) return false;
    return true;
}

/* ---- clustering ---- */

static int *draw_labels(az_ctx *az, const ila_options *o, const given *in)
{
    const az_points *points = &in->drawn;
    const int k = (int)o->k;
    double cost;
    int *label = NULL;
    if (o->init == INIT_KMEANS) label = az_kmeans(az, points, k, (int)o->restarts, az_seed(az), &cost);
    if (o->init == INIT_WARD) label = az_ward(az, points, k);
    if (o->init == INIT_KMEANS || o->init == INIT_WARD) return label;
    label = az_alloc_array(az, (size_t)points->n, sizeof *label);
    az_rng rng = az_rng_at(az_seed(az), az_stream("random labels", 0));
    for (int64_t i = 0; label && i < points->n; i++)
        label[i] = in->start ? in->start[in->row ? in->row[i] : i] : i < k ? (int)i : (int)az_below(&rng, (uint64_t)k);
    return label;
}

/* A start with points in every group. */
static const int *start_labels(az_ctx *az, const ila_options *o, const given *in)
{
    const int *label = draw_labels(az, o, in);
    for (int c = 0; label && c < o->k; c++) {
        bool empty = true;
        for (int64_t i = 0; i < in->drawn.n && empty; i++) empty = label[i] != c;
        if (empty && o->init == INIT_COLUMN)
            return az_fail(az, AZ_BAD_INPUT, "start=%s: group %d of k=%lld has no points there", o->start, c + 1, (long long)o->k);
        if (empty)
            return az_fail(az, AZ_BAD_INPUT, "k=%lld: a group of the start has no points; are so many of the points different?",
                           (long long)o->k);
    }
    return label;
}

/* Points in the directions that tell the start's groups apart. */
static bool project(az_ctx *az, const ila_options *o, given *in)
{
    if (o->project > in->all.p) return az_fail(az, AZ_BAD_INPUT, "project=%lld: there are %d columns", (long long)o->project, in->all.p);
    const int *label = start_labels(az, o, in);
    in->projection = label ? az_project_points(az, &in->drawn, (int)o->k, label, (int)o->project) : NULL;
    if (!in->projection || !az_project(az, in->projection, &in->given, &in->all)) return false;
    if (!in->row) in->drawn = in->all;
    if (in->row && !az_project(az, in->projection, &(az_points){in->drawn.n, in->drawn.p, in->drawn.x}, &in->drawn)) return false;
    in->covariance = covariance_of(o, in);
    return true;
}

static az_ila_fit *cluster(az_ctx *az, const ila_options *o, const given *in, int method)
{
    const az_points *points = &in->drawn;
    const az_ila_how how = {.k = (int)o->k,
                            .iterations = (int)o->iterations,
                            .tolerance = o->tolerance,
                            .covariance = in->covariance,
                            .low_rank = o->solver == SOLVER_LOW_RANK || (o->solver == SOLVER_AUTO && points->n > 400),
                            .program = {o->program_tolerance, o->program_iterations, az_seed(az), o->rank}};
    const int *start = start_labels(az, o, in);
    double value;
    int floored;
    if (!start) return NULL;
    if (method == METHOD_ILA) return az_ila_sdp(az, points, start, &how);
    if (method == METHOD_SDP) return az_kmeans_sdp(az, points, NULL, start, &how);
    az_ila_fit *fit = az_alloc(az, sizeof *fit);
    if (!fit) return NULL;
    fit->label = method == METHOD_KMEANS ? az_kmeans(az, points, how.k, (int)o->restarts, az_seed(az), &value)
                                         : az_mixture(az, points, how.k, start, 100, 1e-3, &value);
    fit->membership = az_alloc_array(az, (size_t)(points->n * how.k), sizeof(double));
    if (!fit->label || !fit->membership) return NULL;
    for (int64_t i = 0; i < points->n; i++) fit->membership[i * how.k + fit->label[i]] = 1;
    fit->covariance = az_partition_covariances(az, points, how.k, fit->label, in->covariance, &floored);
    fit->likelihood = fit->covariance ? az_partition_likelihood(az, points, how.k, fit->label, fit->covariance) : NAN;
    fit->bound = fit->gap = NAN, fit->exact = fit->integral = true;
    return az_ok(az) ? fit : NULL;
}

/* Labels of all points: those that were not drawn join the group with the highest density. */
static int *extend(az_ctx *az, const given *in, const az_ila_fit *fit, int k)
{
    if (!in->row) return fit->label;
    const int p = in->all.p;
    int *label = az_alloc_array(az, (size_t)in->all.n, sizeof *label);
    double *mean = az_alloc_array(az, (size_t)(k * p), sizeof *mean), *count = az_alloc_array(az, (size_t)k, sizeof *count);
    double *factor = az_alloc_array(az, (size_t)(k * p * p), sizeof *factor), *base = az_alloc_array(az, (size_t)k, sizeof *base);
    double *off = az_alloc_array(az, (size_t)p, sizeof *off);
    if (!label || !mean || !count || !factor || !base || !off) return NULL;
    for (int64_t i = 0; i < in->drawn.n; i++) count[fit->label[i]]++;
    for (int64_t i = 0; i < in->drawn.n; i++)
        for (int j = 0; j < p; j++) mean[fit->label[i] * p + j] += in->drawn.x[i * p + j] / count[fit->label[i]];
    for (int c = 0; c < k; c++)
        if (!az_cov_factor(p, fit->covariance + (size_t)(c * p * p), factor + (size_t)(c * p * p), &base[c]))
            return az_fail(az, AZ_NUMERIC, "the covariance of group %d is not positive definite", c + 1);
    for (int64_t i = 0; i < in->all.n; i++) {
        double best = -INFINITY;
        for (int c = 0; c < k; c++) {
            double density = log(count[c]) - 0.5 * base[c];
            const double *l = factor + (size_t)(c * p * p);
            for (int j = 0; j < p; j++) {
                off[j] = in->all.x[i * p + j] - mean[c * p + j];
                for (int m = 0; m < j; m++) off[j] -= l[j * p + m] * off[m];
                off[j] /= l[j * p + j];
                density -= 0.5 * off[j] * off[j];
            }
            if (density > best) best = density, label[i] = c;
        }
    }
    for (int64_t i = 0; i < in->drawn.n; i++) label[in->row[i]] = fit->label[i];
    return label;
}

/* ---- what is told ---- */

static void report_fit(az_ctx *az, az_report *report, const char *section, int method, const given *in, const az_ila_fit *fit,
                       const int *label, int k, double seconds)
{
    const int groups = in->groups > k ? in->groups : k;
    az_report_row(report, section);
    az_report_text(report, "method", method_names[method]);
    if (in->truth) az_report_number(report, "error", az_label_error(az, label, in->truth, in->all.n, groups), "");
    az_report_number(report, "log_likelihood", fit->likelihood, "");
    if (method == METHOD_ILA || method == METHOD_SDP) {
        az_report_number(report, "bound", fit->bound, "");
        az_report_number(report, "gap", fit->gap, "");
        az_report_count(report, "programs", fit->iterations);
        az_report_count(report, "program_steps", fit->program_steps);
        az_report_bool(report, "solved", fit->exact);
        az_report_bool(report, "integral", fit->integral);
        az_report_count(report, "ambiguous", fit->ambiguous);
        az_report_text(report, "labels_by", fit->by_vectors ? "eigenvectors" : "membership");
        az_report_count(report, "least_points", fit->least);
        az_report_count(report, "eigenvalues_lifted", fit->floored);
    }
    az_report_number(report, "seconds", seconds, "s");
}

static bool hand_over(az_ctx *az, const az_estimate_job *job, const given *in, const az_ila_fit *fit, const int *label, int k)
{
    const int64_t n = in->all.n, shape[] = {k, in->all.p, in->all.p};
    az_table *table = az_table_new(az, n);
    double *value = az_alloc_array(az, (size_t)n, sizeof *value);
    if (!table || !value) return false;
    for (int64_t i = 0; i < n; i++) value[i] = label[i] + 1;
    az_table_add(az, table, "label", value);
    for (int c = 0; c < k && !in->row; c++) {
        for (int64_t i = 0; i < n; i++) value[i] = fit->membership[i * k + c];
        az_table_add(az, table, az_format_text(az, "membership%d", c + 1), value);
    }
    az_results_table(job->results, "labels", table);
    az_results_array(job->results, "covariances", az_from(az, AZ_F64, 3, shape, fit->covariance), NULL, NULL);
    if (in->projection) az_results_array(job->results, "directions", in->projection->direction, in->name, NULL);
    for (int c = 0; c < k; c++) {
        int64_t count = 0;
        for (int64_t i = 0; i < n; i++) count += label[i] == c;
        az_report_row(job->report, "clusters");
        az_report_count(job->report, "cluster", c + 1);
        az_report_count(job->report, "points", count);
        for (int j = 0; j < in->given.p && j < 8; j++) {
            double mean = 0;
            for (int64_t i = 0; i < n; i++) mean += label[i] == c ? in->given.x[i * in->given.p + j] / (double)count : 0;
            az_report_number(job->report, az_format_text(az, "mean_%s", in->name[j]), mean, "");
        }
    }
    double *x = az_alloc_array(az, (size_t)fit->iterations + 1, sizeof *x);
    for (int i = 0; x && i < fit->iterations; i++) x[i] = i + 1;
    if (x && fit->iterations > 0) az_report_curve(job->report, "objective", "program", "objective", fit->iterations, x, fit->objective);
    return az_ok(az);
}

/* ---- the method ---- */

static bool ila_estimate(az_ctx *az, const void *options, az_estimate_job *job)
{
    const ila_options *o = options;
    given in;
    bool wanted[METHODS], first = true;
    const int k = (int)o->k;
    if (!read_beside(az, o->beside, &(alternatives){"method", method_names, METHODS, o->method}, wanted) || !read_given(az, o, job, &in))
        return false;
    if (o->project > 0 && !project(az, o, &in)) return false;
    double own = 0;
    const az_ila_fit *chosen = NULL;
    for (int i = -1; i < METHODS; i++) { /* the chosen one first */
        const int method = i < 0 ? o->method : i;
        if (i >= 0 && !wanted[i]) continue;
        const double began = az_seconds();
        const az_ila_fit *fit = cluster(az, o, &in, method);
        const double seconds = az_seconds() - began;
        const int *label = fit ? extend(az, &in, fit, k) : NULL;
        if (!label) return false;
        if (i < 0) {
            own = seconds, chosen = fit;
            report_fit(az, job->report, "fit", method, &in, fit, label, k, seconds);
            if (!hand_over(az, job, &in, fit, label, k)) return false;
            if (!fit->exact) az_note(az, "a program was not solved to sdp_tol: the bound holds and may be loose; raise sdp_iterations");
            continue;
        }
        if (first) report_fit(az, job->report, "methods", o->method, &in, chosen, extend(az, &in, chosen, k), k, own);
        first = false;
        report_fit(az, job->report, "methods", method, &in, fit, label, k, seconds);
    }
    return az_ok(az);
}

const az_method az_ila_sdp_method = {
    .name = "ila-sdp",
    .family = AZ_ESTIMATE,
    .summary = "cluster data whose groups have different shapes, by semidefinite programs",
    .paper = "Zhuang, Chen, Yang: Likelihood adjusted semidefinite programs for clustering heterogeneous data, ICML 2023, arXiv 2209.15097",
    .details = "Finds k groups with a covariance of their own each. A semidefinite program replaces the search over partitions; it depends "
               "little on where it starts, where expectation-maximisation may end in a bad optimum. 'bound' is a likelihood that no "
               "partition exceeds with these covariances, from the program's dual (so that sdp_tol makes it tight, not true), 'gap' what "
               "it is above the labels' own; with method=sdp both are of the sum of squares between groups, <X X^T, Z>. solver=lowrank "
               "gives no bound. Groups have p + 1 points at least where each has a full covariance of p columns, 2 with diag and shrink. "
               "Where memberships are not clear, K-means on the eigenvectors of Z is tried too, and the more likely labels kept "
               "('labels_by'). Costs k eigenvalue decompositions of n x n an iteration of a program: some hundred points, few groups. "
               "project=r clusters data of many columns in r directions. truth=COLUMN tells the error; beside=all adds the K-means "
               "program, K-means and a mixture. -o labels.csv writes the labels.",
    .example = "adze estimate ila-sdp:k=2 -d points.csv -o labels.csv",
    .options = ila_table,
    .options_size = sizeof(ila_options),
    .inputs = ila_inputs,
    .estimate = ila_estimate,
};
