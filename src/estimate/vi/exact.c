/* exact.c - an objective and its gradient without chance, to compare estimators with: choices take all their values at once.
 *
 * The program runs with one copy for each combination of values. With nodes v_k of weights w_k (1 for discrete choices),
 *     E[L] = sum over copies of prod_k w_k p(v_k) L,
 * and the derivative of the sum with the v_k held fixed is that of E[L], as long as the integrals converge; p of a frozen choice is held
 * too. Normals and betas use the trapezoidal rule (betas in the logit of the value), whose error falls exponentially for analytic
 * functions that vanish at both ends, uniforms Gauss-Legendre. The result counts when the weights sum to 1 and fewer nodes agree. */
#include "adze/grad.h"
#include "estimate/vi/vi_internal.h"

#include <math.h>

enum { MOST_VALUES = 1 << 18, GRID_VALUES = 1 << 16, MOST_NODES = 2001, FEWEST_NODES = 32 };

/* ---- what choices there are ---- */

bool vi_survey(az_ctx *az, const az_vi_problem *problem, vi_site **site, int *sites)
{
    az_vi_problem single = *problem;
    single.each = false;
    az_vi vi = {.az = az, .problem = &single, .watched = vi_watch(az, &single, false), .copies = 1, .seed = problem->seed, .plain = true};
    if (!vi.watched || !vi_perform(&vi)) return false;
    *site = vi.site;
    *sites = vi.sites;
    return true;
}

static bool has_rule(const vi_site *site)
{
    if (site->rows || site->support > 0) return true;
    return site->size == 0 && (site->family == AZ_VI_NORMAL || site->family == AZ_VI_UNIFORM || site->family == AZ_VI_BETA);
}

/* How many nodes each choice gets, `fewer` those of a second, coarser look; why not, if it cannot be. */
static const char *plan(az_ctx *az, const vi_site *site, int sites, bool fewer, vi_grid *grid, vi_exact *out)
{
    int continuous = 0;
    double discrete = 1;
    for (int k = 0; k < sites; k++) {
        if (!has_rule(&site[k]))
            return az_format_text(az, "there is no quadrature for '%s' (%s)", site[k].address, vi_site_text(az, &site[k]));
        if (site[k].support > 0)
            discrete *= (double)site[k].support;
        else
            continuous++;
    }
    double each = continuous > 0 ? floor(pow(GRID_VALUES / discrete, 1.0 / continuous) + 1e-9) : 1;
    if (discrete > MOST_VALUES || each < (continuous > 0 ? FEWEST_NODES : 1))
        return az_format_text(az, "its %d choices have too many values together", sites);
    each = fmin(each, MOST_NODES);
    if (fewer) each = floor(0.75 * each);
    int64_t values = 1;
    for (int k = 0; k < sites; k++) {
        grid->stride[k] = values;
        grid->nodes[k] = site[k].support > 0 ? site[k].support : (int64_t)each;
        values *= grid->nodes[k];
    }
    out->quadrature = continuous > 0;
    out->values = values;
    return NULL;
}

/* ---- nodes ---- */

/* Node i of n on (-1, 1) and its weight: a zero of the Legendre polynomial, by Newton's method. */
static void legendre(int64_t n, int64_t i, double *node, double *weight)
{
    double x = cos(acos(-1) * ((double)i + 0.75) / ((double)n + 0.5)), slope = 0;
    for (int step = 0; step < 20; step++) {
        double p = 1, before = 0;
        for (int64_t k = 1; k <= n; k++) {
            const double next = ((2 * (double)k - 1) * x * p - ((double)k - 1) * before) / (double)k;
            before = p;
            p = next;
        }
        slope = (double)n * (x * p - before) / (x * x - 1);
        x -= p / slope;
        if (fabs(p / slope) < 1e-15) break;
    }
    *node = x;
    *weight = 2 / ((1 - x * x) * slope * slope);
}

/* Bounds of the logit of a beta variable beyond which it has no mass that counts; both ends have exponential tails of rates a and b. */
static void beta_bounds(double a, double b, double *low, double *high)
{
    const double centre = log(a / b), width = 10 * sqrt(1 / a + 1 / b), furthest = 36; /* where 1 - v is lost */
    *low = fmax(centre - width - 40 / a, -furthest);
    *high = fmin(centre + width + 40 / b, furthest);
}

static void node_of(az_vi_family family, double a, double b, int64_t n, int64_t i, double *value, double *log_weight)
{
    enum { REACH = 9 }; /* standard deviations */
    double weight = 1;
    const double share = n > 1 ? (double)i / (double)(n - 1) : 0;
    if (family == AZ_VI_NORMAL) {
        *value = a + b * REACH * (2 * share - 1);
        weight = b * 2 * REACH / (double)(n - 1);
    } else if (family == AZ_VI_UNIFORM) {
        double x;
        legendre(n, i, &x, &weight);
        *value = a + (b - a) * (1 + x) / 2;
        weight *= (b - a) / 2;
    } else if (family == AZ_VI_BETA) {
        double low, high;
        beta_bounds(a, b, &low, &high);
        const double v = 1 / (1 + exp(-(low + (high - low) * share)));
        *value = v;
        weight = (high - low) / (double)(n - 1) * v * (1 - v);
    } else {
        *value = (double)i;
    }
    *log_weight = log(weight);
}

static int64_t digit(const vi_grid *grid, int k, int64_t copy)
{
    return copy / grid->stride[k] % grid->nodes[k];
}

/* A parameter repeated for the copies; zeros where there is none. */
static const double *per_copy(az_vi *vi, const az_tensor *parameter)
{
    const az_tensor *held = parameter ? az_detach(vi->az, parameter) : az_zeros(vi->az, AZ_F64, 1, &vi->copies);
    const az_tensor *wide = az_contiguous(vi->az, az_broadcast(vi->az, held, 1, &vi->copies));
    return wide ? az_f64(wide) : NULL;
}

static bool next_site(az_vi *vi, bool rows)
{
    vi_grid *grid = vi->grid;
    if (grid->at < grid->sites && grid->site[grid->at].rows == rows) return ++grid->at > 0;
    return az_fail(vi->az, AZ_BAD_CALL, "the program makes other choices when they have other values");
}

az_tensor *vi_grid_value(az_vi *vi, const az_vi_distribution *d, az_tensor **log_weight)
{
    const vi_grid *grid = vi->grid;
    if (!next_site(vi, false)) return NULL;
    const int k = grid->at - 1;
    const bool discrete = vi_is_discrete(d->family);
    const double *a = per_copy(vi, discrete ? NULL : d->a), *b = per_copy(vi, discrete ? NULL : d->b);
    az_tensor *value = az_new1(vi->az, AZ_F64, vi->copies), *weight = az_new1(vi->az, AZ_F64, vi->copies);
    if (!a || !b || !value || !weight) return NULL;
    for (int64_t c = 0; c < vi->copies; c++)
        node_of(d->family, a[c], b[c], grid->nodes[k], digit(grid, k, c), &az_f64_mut(value)[c], &az_f64_mut(weight)[c]);
    *log_weight = weight;
    return value;
}

az_tensor *vi_grid_rows(az_vi *vi)
{
    vi_grid *grid = vi->grid;
    if (!next_site(vi, true)) return NULL;
    const int k = grid->at - 1;
    az_tensor *index = az_tensor_new(vi->az, AZ_I32, 1, &vi->copies);
    for (int64_t c = 0; index && c < vi->copies; c++) ((int32_t *)index->data)[c] = (int32_t)digit(grid, k, c);
    grid->log_weight[k] = az_full(vi->az, AZ_F64, 1, &vi->copies, -log((double)grid->nodes[k]));
    return index;
}

/* ---- the sum ---- */

/* sum over copies of prod_k (w_k p_k) L: [], on the tape; the sum of the weights in *mass. */
static az_tensor *weighted_sum(az_vi *vi, double *mass)
{
    az_ctx *az = vi->az;
    az_tensor *value = vi_perform(vi), *log_weight = NULL;
    if (value && vi->grid->at < vi->grid->sites)
        return az_fail(az, AZ_BAD_CALL, "the program makes other choices when they have other values");
    for (int k = 0; value && k < vi->grid->sites; k++) log_weight = vi_plus(az, log_weight, vi->grid->log_weight[k]);
    az_tensor *weight = log_weight ? az_exp(az, log_weight) : value ? az_full(az, AZ_F64, 1, &vi->copies, 1) : NULL;
    const double *w = weight ? az_f64(weight) : NULL;
    *mass = 0;
    for (int64_t c = 0; w && c < vi->copies; c++) *mass += w[c];
    return az_sum(az, az_mul(az, weight, value), 0, false);
}

/* One look, with the gradient's entries one after the other in out [size + 1], the value first. */
static bool look(az_ctx *az, const az_vi_problem *problem, vi_grid *grid, int64_t values, double *out, double *mass)
{
    const int n = problem->variables;
    az_scope_push(az);
    az_tape_open(az);
    az_tensor **g = az_alloc_array(az, (size_t)n + 1, sizeof *g);
    az_vi vi = {
        .az = az, .problem = problem, .watched = vi_watch(az, problem, true), .copies = values, .seed = problem->seed, .grid = grid};
    grid->at = 0;
    const az_tensor *sum = g && vi.watched ? weighted_sum(&vi, mass) : NULL;
    const bool good = sum && az_grad(az, sum, NULL, (const az_tensor *const *)vi.watched, n, g, 0);
    if (good) *out++ = az_to_double(sum);
    for (int i = 0; good && i < n; i++)
        for (int64_t k = 0; k < az_count(g[i]); k++) *out++ = az_item(g[i], k);
    az_tape_close(az);
    az_scope_pop(az);
    return good && az_ok(az);
}

static void give_gradient(az_ctx *az, const az_vi_problem *problem, const double *from, az_tensor **gradient)
{
    for (int i = 0; i < problem->variables; i++) {
        const az_tensor *value = problem->variable[i].value;
        gradient[i] = az_from(az, AZ_F64, value->rank, value->shape, from);
        from += az_count(value);
    }
}

bool vi_integrate(az_ctx *az, const az_vi_problem *problem, vi_exact *out, az_tensor **gradient)
{
    az_vi_problem once = *problem;
    vi_grid grid = {0};
    int64_t size = 1;
    once.each = false;
    *out = (vi_exact){0};
    if (!az_ok(az) || !vi_survey(az, &once, (vi_site **)&grid.site, &grid.sites)) return false;
    for (int i = 0; i < once.variables; i++) size += az_count(once.variable[i].value);
    grid.nodes = az_alloc_array(az, (size_t)grid.sites + 1, sizeof *grid.nodes);
    grid.stride = az_alloc_array(az, (size_t)grid.sites + 1, sizeof *grid.stride);
    grid.log_weight = az_alloc_array(az, (size_t)grid.sites + 1, sizeof *grid.log_weight);
    double *sums[2] = {az_alloc_array(az, (size_t)size, sizeof(double)), az_alloc_array(az, (size_t)size, sizeof(double))};
    if (!az_ok(az)) return false;
    for (int coarse = 1; coarse >= 0; coarse--) {
        double mass = 0;
        if ((out->why = plan(az, grid.site, grid.sites, coarse != 0, &grid, out))) return true;
        if (!out->quadrature && coarse) continue;
        if (!look(az, &once, &grid, out->values, sums[coarse], &mass)) return false;
        if (fabs(mass - 1) > 1e-9) out->why = az_format_text(az, "the quadrature reaches a share of %.10g of its values", mass);
        if (out->why) return true;
    }
    for (int64_t k = 0; out->quadrature && k < size; k++)
        if (fabs(sums[0][k] - sums[1][k]) > 1e-7 * (1 + fabs(sums[0][k]))) out->why = "the quadrature does not settle";
    if (out->why) return true;
    out->value = sums[0][0];
    give_gradient(az, problem, sums[0] + 1, gradient);
    return az_ok(az);
}
