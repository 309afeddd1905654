/* oracle.c - exact gradients of the objectives: what gradient estimators are checked against.
 *
 * One particle is a draw x of the guide together with the draws u that the guide integrates out by N of them. On a grid over (x, u) it is a
 * law of finitely many values, and with w the weight of a particle, p(x, y) / mean_i q(x | u_i), every expected objective has a gradient of
 * the form
 *     sum over nodes  c_q d log q(x, u) + c_p d log p(x, y)
 * whose factors follow from E log(w + S) and r = E[K w / (w + S)], S the sum of the K - 1 other weights (shares.h); m is a node's mass:
 *     elbo, iwelbo    c_q = m (K E log(w + S) - r)            c_p = m r
 *     qwake           c_q = -(sum_u m r) v                    c_p = 0
 *     pwake           c_q = 0                                 c_p = -m r
 * Here log w = log p + log N - E log(sum of N densities), and v = (1/n) E[N q / (sum of N densities)] for n nodes u of equal probability.
 * Both sums are never both of several: then the law of the weights has more dimensions than the grid.
 *
 * Axes: both values of a flip; the trapezoidal rule over the real line, whose error is exponentially small for analytic integrands that
 * decay; the same over a period, and after v = 1 / (1 + exp(-pi sinh t)) on the unit interval (Takahasi and Mori 1974). Weights of several
 * particles have sharp edges; therefore grids grow until two agree. */
#include "estimate/vi/shares.h"
#include "estimate/vi/vi_internal.h"
#include "estimate/vi/worked.h"

#include <math.h>
#include <string.h>

enum { MOST_NODES = 1 << 21, LEAST_NODES = 1 << 10, LEAST_ON_AXIS = 48, MOST_ON_AXIS = 2048, MOST_ON_PERIOD = 128, PART = 1 << 16 };
static const double GROWTH = 1.4142135623730951, WIDTH = 8.5 /* standard deviations */;
static const double AGREEMENT = 1e-6; /* of a grid and the next coarser one, relative to the gradient or 1 */

typedef struct rule {
    int n;
    double *node, *weight;
} rule;

/* Node i and its weight on an axis of n nodes. */
static void place(const vi_latent *latent, const az_vi_problem *problem, rule *r, int i)
{
    const double pi = 3.14159265358979323846, at = (double)i / (r->n - 1) * 2 - 1, step = 2.0 / (r->n - 1);
    if (latent->axis == VI_TWO_VALUES) {
        r->node[i] = i;
        r->weight[i] = 1;
    } else if (latent->axis == VI_PERIOD) {
        r->node[i] = (i + .5) / r->n;
        r->weight[i] = 1.0 / r->n;
    } else if (latent->axis == VI_UNIT_INTERVAL) {
        const double reach = 3.1, t = reach * at, v = 1 / (1 + exp(-pi * sinh(t))); /* behind which 1 - v is lost in rounding */
        r->node[i] = v;
        r->weight[i] = reach * step * pi * cosh(t) * v * (1 - v);
    } else {
        const az_vi_inference *how = problem->user;
        const bool around = latent->axis == VI_AROUND_RING; /* the means lie within the ring's radius of 0 */
        const double mean = around ? 0 : az_to_double(problem->variable[latent->mean].value);
        const double half = WIDTH * exp(az_to_double(problem->variable[latent->log_sd].value)) +
                            (around ? ((const vi_worked_user *)how->guide->user)->radius : 0);
        r->node[i] = mean + half * at;
        r->weight[i] = half * step;
    }
}

/* The product of the axes. Latents that the guide integrates out are the first and vary fastest. */
typedef struct grid {
    const vi_worked *worked;
    const az_vi_problem *problem;
    rule axis[VI_MOST_LATENTS];
    int64_t nodes, inner;                /* all; those of equal kept values, which are consecutive */
    double *log_p, *log_q, *of_p, *of_q; /* [nodes]: log densities, and the factors of their derivatives */
    int64_t from, to;                    /* the part that is being run */
} grid;

static const az_vi_inference *inference_of(const grid *g)
{
    return g->problem->user;
}

static bool is_kept(const vi_worked *worked, int latent)
{
    for (const char *const *name = worked->keep; name && *name; name++)
        if (strcmp(*name, worked->latent[latent].address) == 0) return true;
    return !worked->keep;
}

static int nodes_on(vi_axis axis, int n)
{
    if (axis == VI_TWO_VALUES) return 2;
    return axis == VI_PERIOD && n > MOST_ON_PERIOD ? MOST_ON_PERIOD : n;
}

static int64_t nodes_of(const vi_worked *worked, int n)
{
    int64_t nodes = 1;
    for (int d = 0; d < worked->latents; d++) nodes *= nodes_on(worked->latent[d].axis, n);
    return nodes;
}

static bool lay_grid(az_ctx *az, int n, grid *g)
{
    g->inner = 1;
    g->nodes = nodes_of(g->worked, n);
    for (int d = 0; d < g->worked->latents; d++) {
        rule *r = &g->axis[d];
        r->n = nodes_on(g->worked->latent[d].axis, n);
        r->node = az_alloc_array(az, (size_t)r->n, sizeof *r->node);
        r->weight = az_alloc_array(az, (size_t)r->n, sizeof *r->weight);
        for (int i = 0; az_ok(az) && i < r->n; i++) place(&g->worked->latent[d], g->problem, r, i);
        if (!is_kept(g->worked, d)) g->inner *= r->n;
    }
    g->log_p = az_alloc_array(az, (size_t)g->nodes, sizeof *g->log_p);
    g->log_q = az_alloc_array(az, (size_t)g->nodes, sizeof *g->log_q);
    g->of_p = az_alloc_array(az, (size_t)g->nodes, sizeof *g->of_p);
    g->of_q = az_alloc_array(az, (size_t)g->nodes, sizeof *g->of_q);
    return az_ok(az);
}

static double weight_of(const grid *g, int64_t node)
{
    double weight = 1;
    for (int d = 0; d < g->worked->latents; node /= g->axis[d++].n) weight *= g->axis[d].weight[node % g->axis[d].n];
    return weight;
}

/* ---- densities at the nodes ---- */

/* The values of the part's nodes: those that the model makes too, or all. */
static az_vi_trace *values_of(az_ctx *az, const grid *g, bool all)
{
    az_vi_trace *trace = az_vi_trace_new(az);
    int64_t stride = 1;
    for (int d = 0; d < g->worked->latents; stride *= g->axis[d++].n) {
        if (!all && !is_kept(g->worked, d)) continue;
        az_tensor *value = az_new1(az, AZ_F64, g->to - g->from);
        for (int64_t i = g->from; value && i < g->to; i++) az_f64_mut(value)[i - g->from] = g->axis[d].node[i / stride % g->axis[d].n];
        if (!az_vi_trace_set(trace, g->worked->latent[d].address, value)) return NULL;
    }
    return trace;
}

static bool densities(az_vi *vi, const grid *g, az_tensor **log_p, az_tensor **log_q)
{
    const az_vi_inference *how = inference_of(g);
    const az_vi_law joint = {.program = how->guide->program, .user = how->guide->user};
    az_vi_trace *x = values_of(vi->az, g, false), *all = values_of(vi->az, g, true);
    if (!x || !all) return false;
    *log_p = az_vi_density(vi, how->model, az_vi_trace_join(vi->az, x, how->data));
    *log_q = az_vi_density(vi, &joint, all);
    return *log_p && *log_q;
}

static az_tensor *tabulate(az_vi *vi, void *user)
{
    grid *g = user;
    az_tensor *log_p, *log_q;
    if (!densities(vi, g, &log_p, &log_q)) return NULL;
    for (int64_t i = g->from; i < g->to; i++) {
        g->log_p[i] = az_item(log_p, i - g->from);
        g->log_q[i] = az_item(log_q, i - g->from);
    }
    return log_p;
}

/* Its mean over the nodes of the part has the part's gradient. */
static az_tensor *linear_form(az_vi *vi, void *user)
{
    const grid *g = user;
    const int64_t n = g->to - g->from;
    az_tensor *log_p, *log_q, *of_p = az_new1(vi->az, AZ_F64, n), *of_q = az_new1(vi->az, AZ_F64, n);
    if (!of_p || !of_q || !densities(vi, g, &log_p, &log_q)) return NULL;
    for (int64_t i = 0; i < n; i++) {
        az_f64_mut(of_p)[i] = (double)n * g->of_p[g->from + i];
        az_f64_mut(of_q)[i] = (double)n * g->of_q[g->from + i];
    }
    return az_add(vi->az, az_mul(vi->az, of_p, log_p), az_mul(vi->az, of_q, log_q));
}

/* Runs a program over all nodes, in parts; gradient NULL: without derivatives. */
static bool run_nodes(az_ctx *az, grid *g, az_vi_program *program, double *gradient)
{
    const int variables = g->problem->variables;
    az_vi_problem run = {.objective = program, .user = g, .variable = g->problem->variable, .variables = variables};
    for (g->from = 0; g->from < g->nodes; g->from = g->to) {
        az_tensor *part[VI_MOST_VARIABLES + 1];
        az_vi_value value;
        g->to = g->from + PART < g->nodes ? g->from + PART : g->nodes;
        run.copies = g->to - g->from;
        az_scope_push(az);
        const bool good = az_vi_gradient(az, &run, 0, &value, gradient ? part : NULL);
        for (int i = 0; good && gradient && i < variables; i++) gradient[i] += az_to_double(part[i]);
        az_scope_pop(az);
        if (!good) return false;
    }
    return true;
}

/* ---- factors ---- */

/* Several of both sums have no grid here. */
static int particles_of(const grid *g)
{
    return g->problem->objective == az_vi_elbo || inference_of(g)->particles < 1 ? 1 : inference_of(g)->particles;
}

static int inner_particles_of(const grid *g)
{
    return g->inner == 1 || inference_of(g)->guide->particles < 1 ? 1 : inference_of(g)->guide->particles;
}

/* For the densities q(x | u) that the guide sums: log_sum and share [nodes], as vi_shares. */
static bool share_densities(az_ctx *az, const grid *g, double *log_sum, double *share)
{
    vi_weights w = {.n = g->inner, .particles = inner_particles_of(g)};
    double *equal = az_alloc_array(az, (size_t)g->inner, sizeof *equal);
    for (int64_t u = 0; equal && u < g->inner; u++) equal[u] = 1.0 / (double)g->inner;
    w.mass = equal;
    for (int64_t first = 0; equal && first < g->nodes; first += g->inner) {
        w.log_weight = &g->log_q[first];
        if (!vi_shares(az, &w, &log_sum[first], &share[first])) return false;
    }
    return equal;
}

/* For the weights of particles of known mass: the same. */
static bool share_weights(az_ctx *az, const grid *g, const double *mass, double *log_sum, double *share)
{
    const double several = log(inner_particles_of(g));
    double *log_weight = az_alloc_array(az, (size_t)g->nodes, sizeof *log_weight);
    if (!log_weight || !share_densities(az, g, log_sum, share)) return false;
    for (int64_t i = 0; i < g->nodes; i++) log_weight[i] = g->log_p[i] + several - log_sum[i];
    if (particles_of(g) > 1) {
        const vi_weights w = {.mass = mass, .log_weight = log_weight, .n = g->nodes, .particles = particles_of(g)};
        return vi_shares(az, &w, log_sum, share);
    }
    for (int64_t i = 0; i < g->nodes; i++) {
        log_sum[i] = log_weight[i];
        share[i] = 1;
    }
    return true;
}

/* Of qwake: a draw from the posterior keeps x, and the guide's density there has draws u of its own. */
static bool spread_over_inner(az_ctx *az, const grid *g)
{
    double *log_sum = az_alloc_array(az, (size_t)g->nodes, sizeof *log_sum), *share = az_alloc_array(az, (size_t)g->nodes, sizeof *share);
    if (!log_sum || !share || !share_densities(az, g, log_sum, share)) return false;
    for (int64_t first = 0; first < g->nodes; first += g->inner) {
        double sum = 0;
        for (int64_t u = 0; u < g->inner; u++) sum += g->of_q[first + u];
        for (int64_t u = 0; u < g->inner; u++) g->of_q[first + u] = sum * share[first + u] / (double)g->inner;
    }
    return true;
}

static bool find_factors(az_ctx *az, grid *g)
{
    az_vi_program *const objective = g->problem->objective;
    double *mass = az_alloc_array(az, (size_t)g->nodes, sizeof *mass), *log_sum = az_alloc_array(az, (size_t)g->nodes, sizeof *log_sum);
    double *share = az_alloc_array(az, (size_t)g->nodes, sizeof *share);
    if (!mass || !log_sum || !share) return false;
    for (int64_t i = 0; i < g->nodes; i++) mass[i] = weight_of(g, i) * exp(g->log_q[i]);
    if (!share_weights(az, g, mass, log_sum, share)) return false;
    for (int64_t i = 0; i < g->nodes; i++) {
        const double r = mass[i] * share[i];
        const bool bound = objective == az_vi_elbo || objective == az_vi_iwelbo;
        g->of_p[i] = bound ? r : objective == az_vi_pwake ? -r : 0;
        g->of_q[i] = bound ? mass[i] * particles_of(g) * log_sum[i] - r : objective == az_vi_qwake ? -r : 0;
    }
    return objective != az_vi_qwake || spread_over_inner(az, g);
}

/* ---- grids that grow ---- */

static bool integrate(az_ctx *az, const vi_worked *worked, const az_vi_problem *problem, int n, double *gradient)
{
    grid g = {.worked = worked, .problem = problem};
    for (int i = 0; i < problem->variables; i++) gradient[i] = 0;
    az_scope_push(az);
    const bool good =
        lay_grid(az, n, &g) && run_nodes(az, &g, tabulate, NULL) && find_factors(az, &g) && run_nodes(az, &g, linear_form, gradient);
    az_scope_pop(az);
    return good;
}

static bool agree(const double *fine, const double *coarse, int n)
{
    for (int i = 0; i < n; i++)
        if (!(fabs(fine[i] - coarse[i]) <= AGREEMENT * fmax(1, fabs(fine[i])))) return false;
    return true;
}

const char *vi_exact_gradient(az_ctx *az, const vi_worked *worked, const az_vi_problem *problem, double *gradient)
{
    const grid g = {.worked = worked, .problem = problem, .inner = worked->keep ? 2 : 1};
    double coarse[VI_MOST_VARIABLES + 1];
    if (particles_of(&g) > 1 && inner_particles_of(&g) > 1)
        return "several particles whose guide integrates by several draws have weights of more dimensions than a grid can have: set "
               "particles=1 or inner=1";
    const bool finite = nodes_of(worked, 1) == nodes_of(worked, 2);
    bool first = true;
    for (double n = LEAST_ON_AXIS; n <= MOST_ON_AXIS && nodes_of(worked, (int)n) <= MOST_NODES; n *= GROWTH) {
        if (!finite && nodes_of(worked, (int)n) < LEAST_NODES) continue;
        if (!integrate(az, worked, problem, (int)n, gradient)) return "the weights span too many orders of magnitude";
        if (finite || (!first && agree(gradient, coarse, problem->variables))) return NULL;
        memcpy(coarse, gradient, (size_t)problem->variables * sizeof *coarse);
        first = false;
    }
    return "the finest grid does not agree with a coarser one to six digits: the posterior is too narrow for it";
}
