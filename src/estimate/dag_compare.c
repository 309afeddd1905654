/* dag_compare.c - how far one directed acyclic graph is from another. */
#include "estimate/dag.h"
#include "estimate/dag_file.h"

#include "adze/method.h"

#include <math.h>
#include <string.h>

typedef struct compare_options {
    double threshold;
    bool cut;
} compare_options;

static const az_option compare_table[] = {
    {"threshold", AZ_FIELD(AZ_REAL, compare_options, threshold), "0", 0, INFINITY, NULL, "edges with no larger weight are dropped first"},
    {"cut", AZ_FIELD(AZ_BOOL, compare_options, cut), "false", 0, 0, NULL,
     "of weights with cycles the weakest edges are taken out until none is left; otherwise a cycle is an error"},
    {0},
};
static const az_input_slot compare_inputs[] = {
    {"weights", AZ_INPUT_ARRAY, 1, 1, "a matrix of weights, such as colide writes"},
    {"truth", AZ_INPUT_FILE, 1, 1, "the true graph: a matrix of weights, or a table of edges from, to, weight"},
    {"sigma", AZ_INPUT_FILE, 0, 1, "noise levels, such as colide writes"},
    {"true_sigma", AZ_INPUT_FILE, 0, 1, "the true noise levels"},
    {0},
};

/* The names of the variables: those of the columns, which the rows must have too. */
static const char **names_of(az_ctx *az, const az_array *given, const char *path, int d)
{
    const char **name = given->column_name ? given->column_name : given->row_name;
    if (!name) {
        name = az_alloc_array(az, (size_t)d, sizeof *name);
        for (int j = 0; name && j < d; j++) name[j] = az_format_text(az, "x%d", j + 1);
        return name;
    }
    for (int j = 0; given->row_name && j < d; j++)
        if (strcmp(given->row_name[j], name[j]) != 0)
            return az_fail(az, AZ_BAD_INPUT, "%s: row %d is called '%s', column %d '%s': rows and columns are the same variables", path,
                           j + 1, given->row_name[j], j + 1, name[j]);
    return az_dag_check_names(az, path, d, name) ? name : NULL;
}

static bool compare(az_ctx *az, const void *options, az_estimate_job *job)
{
    const compare_options *o = options;
    const az_array *given = az_job_input(job, 0, 0)->array;
    const char *path = az_job_input(job, 0, 0)->path;
    const az_input *sigma = az_job_input(job, 2, 0), *true_sigma = az_job_input(job, 3, 0);
    const az_tensor *m = given->value;
    if (m->rank != 2 || m->shape[0] != m->shape[1] || m->shape[0] > 5000 || given->complex)
        return az_fail(az, AZ_BAD_INPUT, "%s is %s: a square matrix of at most 5000 rows is wanted", path, az_shape_text(az, m));
    const int64_t bad = az_first_nonfinite(m);
    if (bad >= 0) return az_fail(az, AZ_BAD_INPUT, "%s: weight %lld is not finite", path, (long long)bad + 1);
    if ((sigma != NULL) != (true_sigma != NULL))
        return az_fail(az, AZ_BAD_INPUT, "noise levels are compared with true ones: both -d sigma=FILE and -d true_sigma=FILE");
    const int d = (int)m->shape[0];
    const char **name = names_of(az, given, path, d);
    az_tensor *w = az_copy(az, m);
    const double *truth = name ? az_dag_read(az, az_job_input(job, 1, 0)->path, job->how, d, name) : NULL;
    const double *levels = truth && sigma ? az_dag_read_noise(az, sigma->path, job->how, d, name) : NULL;
    const double *true_levels = levels ? az_dag_read_noise(az, true_sigma->path, job->how, d, name) : NULL;
    if (!w || !truth || !az_ok(az)) return false;
    az_dag_threshold(d, az_f64_mut(w), o->threshold);
    const char *cycle = o->cut ? NULL : az_dag_cycle(az, d, az_f64(w), name);
    if (cycle)
        return az_fail(az, AZ_BAD_INPUT, "%s is no acyclic graph: %s; a larger threshold drops weak edges, cut=true the weakest of cycles",
                       path, cycle);
    const int64_t removed = az_dag_cut(az, d, az_f64_mut(w), name, path, job->report);
    const az_dag_comparison c = az_dag_compare(d, az_f64(w), truth);
    az_report_row(job->report, "comparison");
    az_report_count(job->report, "edges", c.predicted);
    az_report_count(job->report, "true_edges", c.truth);
    az_report_count(job->report, "shd", c.shd);
    az_report_count(job->report, "reversed", c.reversed);
    az_report_count(job->report, "extra", c.extra);
    az_report_count(job->report, "missing", c.missing);
    az_report_number(job->report, "tpr", c.tpr, "");
    az_report_number(job->report, "fdr", c.fdr, "");
    az_report_number(job->report, "fpr", c.fpr, "");
    az_report_number(job->report, "weight_error", c.weight_error, "");
    if (levels) az_report_number(job->report, "sigma_error", az_dag_noise_error(d, levels, true_levels), "");
    az_report_count(job->report, "cyclic_edges_removed", removed);
    return az_ok(az);
}

const az_method az_dag_compare_files = {
    .name = "dag-compare",
    .family = AZ_ESTIMATE,
    .summary = "count the differences between two directed acyclic graphs",
    .paper = "Zheng, Aragam, Ravikumar, Xing: DAGs with NO TEARS, NeurIPS 2018, arXiv 1803.01422 (metrics)",
    .details =
        "shd counts adjacencies that only one graph has, and reversed edges; tpr = correct / true edges, fdr = (reversed + extra) / "
        "edges, fpr = the same / pairs that are not joined; weight_error = |W - truth| / |truth| (Frobenius), sigma_error "
        "the same of noise levels. Weights with a cycle are refused, and the cycle is named; with cut=true the weakest edges are taken "
        "out until none is left, and a note and the section \"cut\" say which.",
    .example = "adze estimate colide -d sem/samples.csv -o fit/\n"
               "adze estimate dag-compare -d fit/weights.csv -d sem/truth.csv -d fit/sigma.csv -d sem/sigma.csv",
    .options = compare_table,
    .options_size = sizeof(compare_options),
    .inputs = compare_inputs,
    .estimate = compare,
};
