/* colide.c - learning a directed acyclic graph and its noise levels from samples of a linear structural equation model.
 *
 * Problem: x = W^T x + z with independent z_j of standard deviation sigma_j; W, whose non-zero entries form an acyclic graph, from samples.
 * Symbols: C the covariance of the samples, r_j = [(I - W)^T C (I - W)]_jj.
 * Score: sum_j r_j / (2 sigma_j) + sigma_j / 2 + lambda |W|_1, jointly convex in W and sigma; one sigma for all variables (EV) or one each
 *     (NV). Since sigma scales the residuals, lambda need not know the noise.
 * Rule: along a central path minimise mu score + h with h = d log s - log det(sI - W o W), mu falling to zero (sem_path.c). Then edges of
 *     |w| <= threshold go, and the weakest others until no cycle is left.
 *
 * Saboksayr, Mateos, Tepper: "CoLiDE: concomitant linear DAG estimation", ICLR 2024 (arXiv 2310.02895). */
#include "estimate/dag.h"
#include "estimate/estimate_internal.h"
#include "estimate/dag_file.h"
#include "estimate/sem.h"

#include "adze/method.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct colide_options {
    int score;
    const char *beside, *columns, *s;
    double lambda, mu, mu_factor, lr, beta1, beta2, tolerance, threshold, sigma_floor, acyclicity;
    int64_t stages, warm_iterations, iterations, checkpoint;
    bool standardize;
} colide_options;

static const az_option colide_table[] = {
    {"score", AZ_FIELD(AZ_CHOICE, colide_options, score), "colide-nv", 0, 0, az_sem_score_names,
     "what is minimised; colide-ev if all variables have the same noise"},
    {"beside", AZ_FIELD(AZ_TEXT, colide_options, beside), "", 0, 0, NULL, "other scores to fit and compare, joined by +, or all"},
    {"columns", AZ_FIELD(AZ_TEXT, colide_options, columns), "", 0, 0, NULL, "columns of the table to use; empty = all"},
    {"lambda", AZ_FIELD(AZ_REAL, colide_options, lambda), "0.05", 0, INFINITY, NULL, "factor of the sum of |W|"},
    {"threshold", AZ_FIELD(AZ_REAL, colide_options, threshold), "0.3", 0, INFINITY, NULL, "edges with no larger weight are dropped"},
    {"standardize", AZ_FIELD(AZ_BOOL, colide_options, standardize), "false", 0, 0, NULL,
     "divide each column by its standard deviation first; the result is not that of the data as they are"},
    {"stages", AZ_FIELD(AZ_INT, colide_options, stages), "4", 1, AZ_SEM_MOST_STAGES, NULL, "stages of the central path"},
    {"mu", AZ_FIELD(AZ_REAL, colide_options, mu), "1", 1e-300, INFINITY, NULL, "weight of the score in the first stage"},
    {"alpha", AZ_FIELD(AZ_REAL, colide_options, mu_factor), "0.1", 1e-300, 1, NULL, "factor of mu from stage to stage"},
    {"s", AZ_FIELD(AZ_TEXT, colide_options, s), "1,0.9,0.8,0.7", 0, 0, NULL, "domain of h in each stage; the last one repeats"},
    {"warm", AZ_FIELD(AZ_INT, colide_options, warm_iterations), "20000", 1, 1e9, NULL, "most iterations of each stage but the last"},
    {"iterations", AZ_FIELD(AZ_INT, colide_options, iterations), "70000", 1, 1e9, NULL, "most iterations of the last stage"},
    {"lr", AZ_FIELD(AZ_REAL, colide_options, lr), "0.0003", 1e-15, 1, NULL, "step size of Adam; golem takes ten times as much"},
    {"beta1", AZ_FIELD(AZ_REAL, colide_options, beta1), "0.99", 0, 0.999999, NULL, "decay of Adam's first moment"},
    {"beta2", AZ_FIELD(AZ_REAL, colide_options, beta2), "0.999", 0, 0.9999999, NULL, "decay of Adam's second moment"},
    {"checkpoint", AZ_FIELD(AZ_INT, colide_options, checkpoint), "1000", 1, 1e9, NULL, "iterations between looks at the objective"},
    {"tol", AZ_FIELD(AZ_REAL, colide_options, tolerance), "1e-6", 0, 1, NULL, "a stage ends when the objective moves less, relatively"},
    {"floor", AZ_FIELD(AZ_REAL, colide_options, sigma_floor), "0.01", 0, 1, NULL, "lowest noise level, in root mean squares of the data"},
    {"acyclicity", AZ_FIELD(AZ_REAL, colide_options, acyclicity), "5", 0, INFINITY, NULL, "factor of golem's penalty on cycles"},
    {0},
};
static const az_input_slot colide_inputs[] = {
    {"samples", AZ_INPUT_TABLE, 1, 1, "one row a sample, one column a variable"},
    {"truth", AZ_INPUT_FILE, 0, 1, "the true graph, to compare with: a matrix of weights, or a table of edges from, to, weight"},
    {"sigma", AZ_INPUT_FILE, 0, 1, "the true noise levels, to compare with"},
    {0},
};

/* ---- what is given ---- */

typedef struct samples {
    int d;
    int64_t n;
    const char **name;   /* [d] */
    double *cov, *scale; /* [d, d]; [d] what columns were divided by */
    double *truth;       /* [d, d] or NULL */
    double *noise;       /* [d] true noise levels or NULL */
} samples;

/* C becomes the matrix of correlations, and what it is compared with is told in the same units. */
static void standardize(samples *in)
{
    for (int j = 0; j < in->d; j++) in->scale[j] = sqrt(in->cov[j * in->d + j]);
    for (int i = 0; i < in->d; i++) {
        for (int j = 0; j < in->d; j++) {
            in->cov[i * in->d + j] /= in->scale[i] * in->scale[j];
            if (in->truth) in->truth[i * in->d + j] *= in->scale[i] / in->scale[j];
        }
        if (in->noise) in->noise[i] /= in->scale[i];
    }
}

static bool read_samples(az_ctx *az, const colide_options *o, const az_estimate_job *job, samples *in)
{
    const az_table *table = az_job_input(job, 0, 0)->table;
    const az_column **column = NULL;
    int count = table->columns;
    if (*o->columns && !az_table_columns(az, table, o->columns, &column, &count)) return false;
    if (count < 2) return az_fail(az, AZ_BAD_INPUT, "%d column%s: a graph needs at least 2 variables", count, count == 1 ? "" : "s");
    if (table->rows < 2) return az_fail(az, AZ_BAD_INPUT, "%lld row: at least 2 samples are wanted", (long long)table->rows);
    *in = (samples){.d = count, .n = table->rows, .name = az_alloc_array(az, (size_t)count, sizeof *in->name)};
    in->scale = az_alloc_array(az, (size_t)count, sizeof *in->scale);
    const az_tensor *x = az_table_matrix(az, table, column, count);
    if (!x || !in->name || !in->scale) return false;
    for (int j = 0; j < count; j++) in->name[j] = column ? column[j]->name : table->column[j].name, in->scale[j] = 1;
    if (!az_dag_check_names(az, table->path, in->d, in->name) || !check_samples(az, in->name, az_f64(x), in->n, in->d)) return false;
    const az_input *truth = az_job_input(job, 1, 0), *noise = az_job_input(job, 2, 0);
    if (truth && !(in->truth = az_dag_read(az, truth->path, job->how, in->d, in->name))) return false;
    if (noise && !(in->noise = az_dag_read_noise(az, noise->path, job->how, in->d, in->name))) return false;
    if (!(in->cov = az_sem_covariance(az, az_f64(x), in->n, in->d))) return false;
    if (o->standardize) standardize(in);
    return true;
}

/* "1,0.9,0.8" */
static bool read_domains(az_ctx *az, const char *text, az_sem_path *path)
{
    int n = 0;
    for (const char *at = text; n < AZ_SEM_MOST_STAGES; at++) {
        char *end;
        path->s[n++] = strtod(at, &end);
        if (end == at || !(path->s[n - 1] > 0) || (*end && *end != ','))
            return az_fail(az, AZ_BAD_INPUT, "s=%s: positive numbers are wanted, joined by commas", text);
        at = end;
        if (!*at) break;
    }
    for (; n < AZ_SEM_MOST_STAGES; n++) path->s[n] = path->s[n - 1];
    return true;
}

/* ---- fits ---- */

typedef struct fitted {
    const az_sem_fit *fit;
    double *w, *refit; /* [d, d] after pruning */
    int64_t edges, removed;
    double seconds;
} fitted;

static double *copy(az_ctx *az, const double *from, int64_t n)
{
    double *to = az_alloc_array(az, (size_t)n, sizeof *to);
    if (to) memcpy(to, from, (size_t)n * sizeof *to);
    return to;
}

static bool fit_score(az_ctx *az, const colide_options *o, const samples *in, az_sem_score score, az_report *report, fitted *out)
{
    const int64_t cells = (int64_t)in->d * in->d;
    double power = 0;
    for (int j = 0; j < in->d; j++) power += in->cov[j * in->d + j] / in->d;
    const bool golem = score == AZ_SEM_GOLEM_EV || score == AZ_SEM_GOLEM_NV;
    const az_sem_problem problem = {
        .d = in->d, .cov = in->cov, .lambda = o->lambda, .sigma_floor = o->sigma_floor * sqrt(power), .score = score};
    az_sem_path path = {.stages = (int)o->stages,
                        .mu = o->mu,
                        .mu_factor = o->mu_factor,
                        .warm_iterations = o->warm_iterations,
                        .last_iterations = o->iterations,
                        .checkpoint = o->checkpoint,
                        .lr = golem ? 10 * o->lr : o->lr,
                        .beta1 = o->beta1,
                        .beta2 = o->beta2,
                        .tolerance = o->tolerance,
                        .acyclicity = o->acyclicity};
    if (!read_domains(az, o->s, &path)) return false;
    const double began = az_seconds();
    *out = (fitted){.fit = az_sem_estimate(az, &problem, &path)};
    out->seconds = az_seconds() - began;
    if (!out->fit || !(out->w = copy(az, out->fit->w, cells))) return false;
    az_dag_threshold(in->d, out->w, o->threshold);
    out->removed = az_dag_cut(az, in->d, out->w, in->name, az_format_text(az, "the graph of %s", az_sem_score_names[score]), report);
    if (out->removed > 0)
        az_note(az,
                "%s did not end in a graph without cycles (h = %.3g), and other edges may be missing; columns of another unit, nearer to "
                "1, may help",
                az_sem_score_names[score], out->fit->h);
    out->edges = az_dag_edges(in->d, out->w);
    out->refit = az_dag_refit(az, in->d, out->w, in->cov);
    return az_ok(az);
}

/* ---- what is told ---- */

static void report_comparison(az_report *report, const samples *in, const fitted *out)
{
    if (in->noise) az_report_number(report, "sigma_error", az_dag_noise_error(in->d, out->fit->sigma, in->noise), "");
    if (!in->truth) return;
    const az_dag_comparison c = az_dag_compare(in->d, out->w, in->truth);
    az_report_count(report, "shd", c.shd);
    az_report_number(report, "tpr", c.tpr, "");
    az_report_number(report, "fdr", c.fdr, "");
    az_report_number(report, "fpr", c.fpr, "");
    az_report_count(report, "reversed", c.reversed);
    az_report_number(report, "weight_error", c.weight_error, "");
}

static void report_fit(az_report *report, const char *section, const samples *in, az_sem_score score, const fitted *out)
{
    az_report_row(report, section);
    az_report_text(report, "score", az_sem_score_names[score]);
    az_report_count(report, "edges", out->edges);
    report_comparison(report, in, out);
    az_report_number(report, "objective", out->fit->score, "");
    az_report_number(report, "h", out->fit->h, "");
    az_report_count(report, "cyclic_edges_removed", out->removed);
    az_report_count(report, "iterations", out->fit->iterations);
    az_report_number(report, "seconds", out->seconds, "s");
}

static void report_details(az_report *report, const samples *in, const fitted *out)
{
    for (int i = 0; i < in->d; i++) {
        for (int j = 0; j < in->d; j++) {
            const int64_t at = (int64_t)i * in->d + j;
            if (out->w[at] == 0) continue;
            az_report_row(report, "edges");
            az_report_text(report, "from", in->name[i]);
            az_report_text(report, "to", in->name[j]);
            az_report_number(report, "weight", out->w[at], "");
            az_report_number(report, "refit", out->refit[at], "");
        }
    }
    for (int j = 0; j < in->d; j++) {
        az_report_row(report, "noise");
        az_report_text(report, "variable", in->name[j]);
        az_report_number(report, "sigma", out->fit->sigma[j], "");
        if (!in->noise) continue;
        az_report_number(report, "true_sigma", in->noise[j], "");
        az_report_number(report, "relative_error", out->fit->sigma[j] / in->noise[j] - 1, "");
    }
    for (int k = 0; k < out->fit->stages; k++) {
        const az_sem_stage *stage = &out->fit->stage[k];
        az_report_row(report, "stages");
        az_report_number(report, "mu", stage->mu, "");
        az_report_number(report, "s", stage->s, "");
        az_report_count(report, "iterations", stage->iterations);
        az_report_number(report, "objective", stage->objective, "");
        az_report_number(report, "h", stage->h, "");
    }
    az_report_curve(report, "score", "iteration", "score", out->fit->traced, out->fit->trace_iteration, out->fit->trace_score);
}

static void hand_over(az_ctx *az, az_results *results, const samples *in, const fitted *out)
{
    const int64_t shape[] = {in->d, in->d};
    az_results_array(results, "weights", az_from(az, AZ_F64, 2, shape, out->w), in->name, in->name);
    az_results_array(results, "refit", az_from(az, AZ_F64, 2, shape, out->refit), in->name, in->name);
    az_results_array(results, "unpruned", az_from(az, AZ_F64, 2, shape, out->fit->w), in->name, in->name);
    az_results_array(results, "sigma", az_from(az, AZ_F64, 1, shape, out->fit->sigma), in->name, NULL);
    az_results_text(results, "graph.dot", az_dag_dot(az, in->d, out->w, in->name));
}

/* ---- the method ---- */

static bool colide_estimate(az_ctx *az, const void *options, az_estimate_job *job)
{
    const colide_options *o = options;
    samples in;
    fitted best, other;
    bool beside[AZ_SEM_SCORES];
    if (!read_beside(az, o->beside, &(alternatives){"score", az_sem_score_names, AZ_SEM_SCORES, o->score}, beside) ||
        !read_samples(az, o, job, &in))
        return false;
    if (!fit_score(az, o, &in, (az_sem_score)o->score, job->report, &best)) return false;
    if (o->standardize) az_note(az, "weights and noise levels are in standard deviations of the columns");
    report_fit(job->report, "fit", &in, (az_sem_score)o->score, &best);
    report_details(job->report, &in, &best);
    hand_over(az, job->results, &in, &best);
    bool first = true;
    for (int i = 0; i < AZ_SEM_SCORES; i++) {
        if (!beside[i]) continue;
        if (first) report_fit(job->report, "scores", &in, (az_sem_score)o->score, &best);
        first = false;
        if (!fit_score(az, o, &in, (az_sem_score)i, job->report, &other)) return false;
        report_fit(job->report, "scores", &in, (az_sem_score)i, &other);
    }
    return az_ok(az);
}

const az_method az_colide = {
    .name = "colide",
    .family = AZ_ESTIMATE,
    .summary = "learn a directed acyclic graph and its noise levels from samples",
    .paper = "Saboksayr, Mateos, Tepper: CoLiDE: concomitant linear DAG estimation, ICLR 2024, arXiv 2310.02895",
    .details = "Fits x = W^T x + z to a table of samples (one column a variable): W is sparse and acyclic, W[i, j] the weight of the edge "
               "i -> j. Weights and noise levels are estimated together, so that one lambda serves for quiet and loud data. Weights are "
               "shrunk; 'refit' is the least-squares fit on the graph that was found (collinear parents keep their weights). The result "
               "depends on the scale of the columns: do not rescale them without a reason. With -d truth=FILE the graph is compared with a "
               "known one, with -d sigma=FILE the noise levels (sigma_error = |sigma - truth| / |truth|); beside=all adds the earlier "
               "estimators (ls = DAGMA, GOLEM, NOTEARS). -o W.csv writes the weights, -o graph.dot a drawing for dot.",
    .example = "adze estimate colide -d sem/samples.csv -d sem/truth.csv -d sem/sigma.csv -o graph.dot",
    .options = colide_table,
    .options_size = sizeof(colide_options),
    .inputs = colide_inputs,
    .estimate = colide_estimate,
};
