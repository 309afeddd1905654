/* dag_samples.c - samples of a random linear structural equation model, with the graph that they come from.
 *
 * Graphs: Erdos-Renyi, each pair joined with the probability that gives the expected number of edges; or scale-free (Barabasi, Albert
 * 1999), each new node joined to earlier ones in proportion to their degrees. Weights +-U[low, high]; noise of the given variance, or of
 * variances U[0.5, 10]. */
#include "estimate/dag.h"

#include "adze/method.h"

#include <math.h>

enum { GRAPH_ER, GRAPH_SF };
enum { NOISE_NORMAL, NOISE_EXPONENTIAL, NOISE_LAPLACE, NOISE_GUMBEL };

typedef struct sample_options {
    int64_t nodes, edges, samples;
    int graph, noise;
    double variance, low, high;
    bool unequal;
} sample_options;

static const char *const graph_names[] = {[GRAPH_ER] = "er", [GRAPH_SF] = "sf", NULL};
static const char *const noise_names[] = {
    [NOISE_NORMAL] = "normal", [NOISE_EXPONENTIAL] = "exponential", [NOISE_LAPLACE] = "laplace", [NOISE_GUMBEL] = "gumbel", NULL};

static const az_option sample_table[] = {
    {"nodes", AZ_FIELD(AZ_INT, sample_options, nodes), "20", 2, 5000, NULL, "variables"},
    {"edges", AZ_FIELD(AZ_INT, sample_options, edges), "80", 0, 1e7, NULL, "expected number of edges"},
    {"samples", AZ_FIELD(AZ_INT, sample_options, samples), "1000", 1, 1e8, NULL, "rows"},
    {"graph", AZ_FIELD(AZ_CHOICE, sample_options, graph), "er", 0, 0, graph_names, "random, or scale-free"},
    {"noise", AZ_FIELD(AZ_CHOICE, sample_options, noise), "normal", 0, 0, noise_names, "law of the noise"},
    {"variance", AZ_FIELD(AZ_REAL, sample_options, variance), "1", 1e-300, INFINITY, NULL, "of the noise of each variable"},
    {"unequal", AZ_FIELD(AZ_BOOL, sample_options, unequal), "false", 0, 0, NULL, "each variable has its own variance, from 0.5 to 10"},
    {"low", AZ_FIELD(AZ_REAL, sample_options, low), "0.5", 0, INFINITY, NULL, "smallest size of a weight"},
    {"high", AZ_FIELD(AZ_REAL, sample_options, high), "2", 0, INFINITY, NULL, "largest size of a weight"},
    {0},
};

static double draw_weight(const sample_options *o, az_rng *rng)
{
    const double size = o->low + (o->high - o->low) * az_uniform(rng);
    return az_uniform(rng) < 0.5 ? size : -size;
}

/* Edges run from earlier to later places of order. */
static void draw_random_graph(const sample_options *o, const int64_t *order, az_rng *rng, double *w)
{
    const int64_t d = o->nodes;
    const double share = 2.0 * (double)o->edges / ((double)d * (double)(d - 1));
    for (int64_t a = 0; a < d; a++)
        for (int64_t b = a + 1; b < d; b++)
            if (az_uniform(rng) < share) w[order[a] * d + order[b]] = draw_weight(o, rng);
}

static void draw_scale_free_graph(const sample_options *o, const int64_t *order, az_rng *rng, double *w, double *degree)
{
    const int64_t d = o->nodes, each = (o->edges + d - 1) / d;
    for (int64_t b = 1; b < d; b++) {
        for (int64_t k = 0; k < each && k < b; k++) {
            double total = 0;
            for (int64_t a = 0; a < b; a++) total += w[order[a] * d + order[b]] == 0 ? degree[a] + 1 : 0;
            double at = az_uniform(rng) * total;
            int64_t a = -1;
            while (at >= 0 && a + 1 < b) at -= w[order[++a] * d + order[b]] == 0 ? degree[a] + 1 : 0;
            w[order[a] * d + order[b]] = draw_weight(o, rng);
            degree[a]++, degree[b]++;
        }
    }
}

static double draw_noise(int kind, az_rng *rng)
{
    const double pi = acos(-1);
    if (kind == NOISE_NORMAL) return az_normal(rng);
    const double u = az_uniform(rng), v = 1 - u; /* v > 0 */
    if (kind == NOISE_EXPONENTIAL) return -log(v);
    if (kind == NOISE_LAPLACE) return (az_uniform(rng) < 0.5 ? 1 : -1) * -log(v) / sqrt(2);
    return -log(-log(u > 0 ? u : 0x1p-54)) * sqrt(6) / pi;
}

static void draw_samples(const sample_options *o, uint64_t seed, const int64_t *order, const double *w, const double *sigma, double *x)
{
    const int64_t d = o->nodes;
    for (int64_t i = 0; i < o->samples; i++) {
        az_rng rng = az_rng_at(seed, az_stream("sample of a graph", (uint64_t)i));
        double *row = x + i * d;
        for (int64_t b = 0; b < d; b++) {
            const int64_t j = order[b];
            row[j] += sigma[j] * draw_noise(o->noise, &rng);
            for (int64_t c = b + 1; c < d; c++) row[order[c]] += w[j * d + order[c]] * row[j];
        }
    }
}

/* Graph and noise levels. */
static bool draw_model(az_ctx *az, const sample_options *o, int64_t *order, double *w, double *sigma)
{
    const int64_t d = o->nodes;
    az_rng rng = az_rng_at(az_seed(az), az_stream("random graph", 0));
    double *degree = az_alloc_array(az, (size_t)d, sizeof *degree);
    if (!order || !w || !sigma || !degree) return false;
    for (int64_t i = 0; i < d; i++) order[i] = i;
    az_shuffle(&rng, order, d);
    if (o->graph == GRAPH_ER)
        draw_random_graph(o, order, &rng, w);
    else
        draw_scale_free_graph(o, order, &rng, w, degree);
    for (int64_t j = 0; j < d; j++) sigma[j] = sqrt(o->unequal ? 0.5 + 9.5 * az_uniform(&rng) : o->variance);
    return true;
}

static bool check(az_ctx *az, const sample_options *o)
{
    if (o->high < o->low) return az_fail(az, AZ_BAD_INPUT, "weights from %g to %g: high must not be below low", o->low, o->high);
    const int64_t most = o->nodes * (o->nodes - 1) / 2;
    if (o->edges > most)
        return az_fail(az, AZ_BAD_INPUT, "%lld edges: %lld nodes have %lld pairs", (long long)o->edges, (long long)o->nodes,
                       (long long)most);
    return true;
}

static bool sample_graph(az_ctx *az, const void *options, az_estimate_job *job)
{
    const sample_options *o = options;
    const int64_t d = o->nodes, square[] = {d, d}, shape[] = {o->samples, d};
    if (!check(az, o)) return false;
    az_tensor *w = az_zeros(az, AZ_F64, 2, square), *sigma = az_zeros(az, AZ_F64, 1, square), *x = az_zeros(az, AZ_F64, 2, shape);
    int64_t *order = az_alloc_array(az, (size_t)d, sizeof *order);
    const char **name = az_alloc_array(az, (size_t)d, sizeof *name);
    if (!x || !name || !draw_model(az, o, order, az_f64_mut(w), az_f64_mut(sigma))) return false;
    draw_samples(o, az_seed(az), order, az_f64(w), az_f64(sigma), az_f64_mut(x));
    for (int64_t j = 0; j < d; j++) name[j] = az_format_text(az, "x%lld", (long long)j + 1);
    az_report_row(job->report, "samples");
    az_report_count(job->report, "variables", d);
    az_report_count(job->report, "edges", az_dag_edges((int)d, az_f64(w)));
    az_report_count(job->report, "samples", o->samples);
    az_results_array(job->results, "samples", x, NULL, name);
    az_results_array(job->results, "truth", w, name, name);
    az_results_array(job->results, "sigma", sigma, name, NULL);
    return az_ok(az);
}

const az_method az_dag_samples = {
    .name = "dag-samples",
    .family = AZ_ESTIMATE,
    .summary = "draw samples of a random linear structural equation model",
    .paper = "Zheng, Aragam, Ravikumar, Xing: DAGs with NO TEARS, NeurIPS 2018, arXiv 1803.01422 (section 5)",
    .details = "Draws an acyclic graph, its weights and noise levels by --seed, and samples of it: -o folder/ writes samples.csv, the true "
               "weights truth.csv and sigma.csv. Reads no files. For trying colide: -d folder/samples.csv -d folder/truth.csv.",
    .example = "adze estimate dag-samples:nodes=10,edges=20 -o sem/ --seed 1",
    .options = sample_table,
    .options_size = sizeof(sample_options),
    .estimate = sample_graph,
};
