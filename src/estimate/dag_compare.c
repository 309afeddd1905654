/* dag_compare.c - how far one directed acyclic graph is from another. */
#include "estimate/dag.h"
#include "estimate/dag_file.h"

#include "adze/method.h"

#include <math.h>

typedef struct compare_options {
    double threshold;
    bool cut;
} compare_options;

enum { SLOT_WEIGHTS, SLOT_TRUTH, SLOT_SIGMA, SLOT_TRUE_SIGMA };

static const az_option compare_table[] = {
    {"threshold", AZ_REAL, offsetof(compare_options, threshold), "0", 0, INFINITY, NULL, "edges with no larger weight are dropped first"},
    {"cut", AZ_BOOL, offsetof(compare_options, cut), "false", 0, 0, NULL,
     "where cycles are left the weakest edges are taken away until there are none; otherwise a cycle is an error"},
    {0},
};
static const az_input_slot compare_inputs[] = {
    {"weights", AZ_INPUT_ARRAY, 1, 1, "a matrix of weights, such as colide writes"},
    {"truth", AZ_INPUT_FILE, 1, 1, "the true graph: a matrix of weights, or a table of edges from, to, weight"},
    {"sigma", AZ_INPUT_ARRAY, 0, 1, "estimated noise levels, in the order of the variables"},
    {"true-sigma", AZ_INPUT_ARRAY, 0, 1, "the true ones"},
    {0},
};

/* d positive noise levels; NULL, without an error, when no file is given. */
static const az_tensor *levels_of(az_ctx *az, const az_estimate_job *job, int slot, int d)
{
    const az_input *input = az_job_input(job, slot, 0);
    if (!input) return NULL;
    const az_tensor *levels = input->array->value;
    if (az_count(levels) != d || input->array->complex)
        return az_fail(az, AZ_BAD_INPUT, "%s holds %lld numbers; one noise level for each of the %d variables is wanted", input->path,
                       (long long)az_count(levels), d);
    for (int j = 0; j < d; j++)
        if (!(az_item(levels, j) > 0))
            return az_fail(az, AZ_BAD_INPUT, "%s: the noise level of variable %d is %g: must be positive", input->path, j + 1,
                           az_item(levels, j));
    return levels;
}

/* An estimate with a cycle has no order of its variables, and counts of its edges mean little. */
static bool check_acyclic(az_ctx *az, const char *path, int d, const double *w, const char *const *name)
{
    const char *cycle = az_dag_cycle(az, d, w, name);
    return !cycle || az_fail(az, AZ_BAD_INPUT,
                             "%s is no acyclic graph: %s; a larger threshold drops weak edges, cut=true the weakest until no cycle is left",
                             path, cycle);
}

static bool compare(az_ctx *az, const void *options, az_estimate_job *job)
{
    const compare_options *o = options;
    const az_input *weights = az_job_input(job, SLOT_WEIGHTS, 0);
    const az_array *given = weights->array;
    const az_tensor *m = given->value;
    if (m->rank != 2 || m->shape[0] != m->shape[1] || m->shape[0] > 5000 || given->complex)
        return az_fail(az, AZ_BAD_INPUT, "%s is %s: a square matrix of at most 5000 rows is wanted", weights->path, az_shape_text(az, m));
    const int d = (int)m->shape[0];
    const char **name = given->column_name ? given->column_name : az_alloc_array(az, (size_t)d, sizeof *name);
    for (int j = 0; name && !given->column_name && j < d; j++) name[j] = az_format_text(az, "x%d", j + 1);
    az_tensor *w = az_copy(az, m);
    const double *truth = name ? az_dag_read(az, az_job_input(job, SLOT_TRUTH, 0)->path, job->how, d, name) : NULL;
    const az_tensor *sigma = levels_of(az, job, SLOT_SIGMA, d), *true_sigma = levels_of(az, job, SLOT_TRUE_SIGMA, d);
    if (!w || !truth || !az_ok(az)) return false;
    if (!sigma != !true_sigma)
        return az_fail(az, AZ_BAD_INPUT, "noise levels are compared with true ones: -d sigma=FILE -d true-sigma=FILE, both");
    az_dag_drop(d, az_f64_mut(w), o->threshold);
    if (!o->cut && !check_acyclic(az, weights->path, d, az_f64(w), name)) return false;
    const int64_t removed = az_dag_prune(az, d, az_f64_mut(w), 0);
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
    if (sigma) az_report_number(job->report, "sigma2_error", az_dag_noise_error(d, sigma, true_sigma), "");
    if (o->cut) az_report_count(job->report, "cyclic_edges_removed", removed);
    return az_ok(az);
}

const az_method az_dag_compare_files = {
    .name = "dag-compare",
    .family = AZ_ESTIMATE,
    .summary = "count the differences between two directed acyclic graphs",
    .paper = "Zheng, Aragam, Ravikumar, Xing: DAGs with NO TEARS, NeurIPS 2018, arXiv 1803.01422 (metrics)",
    .details = "shd counts adjacencies that only one graph has, and reversed edges; tpr = correct / true edges, fdr = (reversed + extra) / "
               "edges, fpr = the same / pairs that are not joined; weight_error = |W - truth| / |truth| (Frobenius); with noise levels, "
               "sigma2_error = mean (sigma^2 / true sigma^2 - 1)^2. Graphs with a cycle are refused, and the cycle is named.",
    .example = "adze estimate colide -d sem/samples.csv -o w.csv\n"
               "adze estimate dag-compare -d w.csv -d sem/truth.csv",
    .options = compare_table,
    .options_size = sizeof(compare_options),
    .inputs = compare_inputs,
    .estimate = compare,
};
