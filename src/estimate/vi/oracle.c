/* oracle.c - exact gradients of the objectives: what gradient estimators are checked against.
 *
 * With x_1 .. x_K the draws of the guide, w_k = log p(x_k, y) - log q(x_k) and s = softmax(w), the expected objective is an integral over
 * all of them,
 *     elbo, iwelbo    int prod_k q(x_k)           (log mean_k exp w_k)
 *     qwake, pwake    int (prod_k q(x_k) s held)  sum_k s_k (-log q(x_k), or -log p(x_k, y))
 * On a grid with weights it is a sum that needs no draws, and its derivative is that of the sum. Axes: both values of a flip; the
 * trapezoidal rule over the real line, whose error is exponentially small for analytic integrands that decay; the same after v = 1 / (1 +
 * exp(-pi sinh t)) on the unit interval (Takahasi and Mori 1974). Weights of several particles have sharp edges where one of them takes
 * over; therefore the grid is as fine as it may be, and its result counts only when a coarser one agrees. */
#include "estimate/vi/vi_internal.h"
#include "estimate/vi/worked.h"

#include <math.h>

enum { MOST_NODES = 1 << 18, MOST_ON_AXIS = 321, LEAST_ON_AXIS = 81 };
static const double AGREEMENT = 1e-6; /* of a fine and a coarse grid, relative to the gradient or 1 */

typedef struct rule {
    int n;
    double node[MOST_ON_AXIS], weight[MOST_ON_AXIS];
} rule;

/* mean +- 10 standard deviations */
static void real_line(rule *r, int n, double mean, double sd)
{
    const double step = 20.0 / (n - 1);
    r->n = n;
    for (int i = 0; i < n; i++) {
        r->node[i] = mean + sd * (i * step - 10);
        r->weight[i] = sd * step;
    }
}

/* |t| <= 3.1, behind which 1 - v is lost in rounding */
static void unit_interval(rule *r, int n)
{
    const double pi = 3.14159265358979323846, step = 6.2 / (n - 1);
    r->n = n;
    for (int i = 0; i < n; i++) {
        const double t = i * step - 3.1, v = 1 / (1 + exp(-pi * sinh(t)));
        r->node[i] = v;
        r->weight[i] = step * pi * cosh(t) * v * (1 - v);
    }
}

static void rule_of(const vi_latent *latent, const az_vi_problem *problem, int n, rule *r)
{
    if (latent->axis == VI_TWO_VALUES)
        *r = (rule){.n = 2, .node = {0, 1}, .weight = {1, 1}};
    else if (latent->axis == VI_UNIT_INTERVAL)
        unit_interval(r, n);
    else
        real_line(r, n, az_to_double(problem->variable[latent->mean].value), exp(az_to_double(problem->variable[latent->log_sd].value)));
}

typedef struct integral {
    const az_vi_problem *problem;
    int particles;
    az_vi_trace **x;   /* [particles]: values [nodes] by address */
    az_tensor *weight; /* [nodes], times their number: the gradient is a mean over copies, which are the nodes */
} integral;

/* Every combination of the axes' nodes for every particle. */
static bool lay_grid(az_ctx *az, const vi_worked *worked, const rule *r, int64_t nodes, integral *out)
{
    out->x = az_alloc_array(az, (size_t)out->particles, sizeof(az_vi_trace *));
    out->weight = az_full(az, AZ_F64, 1, &nodes, (double)nodes);
    int64_t stride = 1;
    for (int k = 0; out->x && k < out->particles; k++) {
        out->x[k] = az_vi_trace_new(az);
        for (int d = 0; d < worked->latents; stride *= r[d++].n) {
            az_tensor *value = az_new1(az, AZ_F64, nodes);
            for (int64_t i = 0; value && out->weight && i < nodes; i++) {
                const int64_t at = i / stride % r[d].n;
                az_f64_mut(value)[i] = r[d].node[at];
                az_f64_mut(out->weight)[i] *= r[d].weight[at];
            }
            if (!az_vi_trace_set(out->x[k], worked->latent[d].address, value)) return false;
        }
    }
    return az_ok(az);
}

static az_tensor *column(az_vi *vi, const az_tensor *x)
{
    return x ? az_reshape(vi->az, x, 2, (int64_t[]){vi->copies, 1}) : NULL;
}

/* The integrand at every node, times its weight. */
static az_tensor *integrand(az_vi *vi, void *user)
{
    const integral *over = user;
    const az_vi_inference *how = over->problem->user;
    az_ctx *az = vi->az;
    const int n = over->particles;
    az_tensor **p = az_alloc_array(az, (size_t)n, sizeof *p), **q = az_alloc_array(az, (size_t)n, sizeof *q);
    for (int k = 0; p && q && k < n; k++) {
        q[k] = column(vi, az_vi_density(vi, how->guide, over->x[k]));
        p[k] = column(vi, az_vi_density(vi, how->model, az_vi_trace_join(az, over->x[k], how->data)));
        if (!p[k] || !q[k]) return NULL;
    }
    if (!p || !q) return NULL;
    az_tensor *log_p = az_concat(az, p, n, 1), *log_q = az_concat(az, q, n, 1), *ratio = az_sub(az, log_p, log_q);
    az_tensor *path = az_exp(az, az_sum(az, log_q, 1, false)), *value;
    if (over->problem->objective == az_vi_elbo || over->problem->objective == az_vi_iwelbo) {
        value = az_affine(az, az_logsumexp(az, ratio, 1, false), 1, -log((double)n));
    } else {
        az_tensor *last = over->problem->objective == az_vi_qwake ? log_q : log_p;
        path = az_detach(az, path);
        value = az_neg(az, az_sum(az, az_mul(az, az_detach(az, az_softmax(az, ratio)), last), 1, false));
    }
    return az_mul(az, az_mul(az, path, value), over->weight);
}

/* On a grid of n nodes on each continuous axis. */
static bool integrate(az_ctx *az, const vi_worked *worked, integral *over, int n, double *gradient)
{
    const az_vi_problem *problem = over->problem;
    rule r[VI_MOST_LATENTS];
    int64_t nodes = 1;
    for (int d = 0; d < worked->latents; d++) rule_of(&worked->latent[d], problem, n, &r[d]);
    for (int k = 0; k < over->particles * worked->latents; k++) nodes *= r[k % worked->latents].n;
    az_scope_push(az);
    az_tensor **g = az_alloc_array(az, (size_t)problem->variables, sizeof *g);
    const az_vi_problem sum = {
        .objective = integrand, .user = over, .variable = problem->variable, .variables = problem->variables, .copies = nodes};
    const bool good = g && lay_grid(az, worked, r, nodes, over) && az_vi_gradient(az, &sum, 0, NULL, g);
    for (int i = 0; good && i < problem->variables; i++) gradient[i] = az_to_double(g[i]);
    az_scope_pop(az);
    return good;
}

/* How many nodes fit on each continuous axis, 1 where there is none; 0 = too few. */
static int nodes_on_axis(const vi_worked *worked, int particles)
{
    double finite = 1;
    int continuous = 0;
    for (int d = 0; d < worked->latents; d++) {
        if (worked->latent[d].axis == VI_TWO_VALUES)
            finite *= pow(2, particles);
        else
            continuous += particles;
    }
    if (continuous == 0) return finite <= MOST_NODES;
    const double room = floor(pow(MOST_NODES / finite, 1.0 / continuous) + 1e-9);
    return room < LEAST_ON_AXIS ? 0 : (int)fmin(room, MOST_ON_AXIS);
}

bool vi_exact_gradient(az_ctx *az, const vi_worked *worked, const az_vi_problem *problem, double *gradient)
{
    const az_vi_inference *how = problem->user;
    integral over = {.problem = problem, .particles = problem->objective == az_vi_elbo || how->particles < 1 ? 1 : how->particles};
    const int n = worked->latents > 0 ? nodes_on_axis(worked, over.particles) : 0;
    double *coarse = az_alloc_array(az, (size_t)problem->variables + 1, sizeof *coarse);
    if (!coarse || n == 0 || !integrate(az, worked, &over, n, gradient)) return false;
    if (n == 1) return true;
    if (!integrate(az, worked, &over, 3 * n / 4, coarse)) return false;
    for (int i = 0; i < problem->variables; i++)
        if (!(fabs(gradient[i] - coarse[i]) <= AGREEMENT * fmax(1, fabs(gradient[i])))) return false;
    return true;
}
