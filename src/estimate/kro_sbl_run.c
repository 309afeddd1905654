/* kro_sbl_run.c - the iteration of Kronecker-structured sparse Bayesian learning: posterior, noise, hyperparameters, pruning. */
#include "estimate/kro_sbl.h"

#include "adze/optim.h"

#include <cblas.h>
#include <math.h>
#include <string.h>

/* What is kept of the grid: factor f has kept[f] columns, number place[f][i] of the original. */
typedef struct learner {
    const az_kron *full;
    const az_complex *y;
    const az_sbl_how *how;
    az_kron a;
    int64_t n[AZ_KRON_MOST];      /* kept columns */
    int64_t *place[AZ_KRON_MOST]; /* [full columns] */
    double *gamma[AZ_KRON_MOST];  /* [kept] what the prior is made of; with coupling C times `raw` */
    double *raw[AZ_KRON_MOST];    /* [kept] coupled kinds only */
    double *before[AZ_KRON_MOST]; /* [full columns] gamma of the last iteration, scattered */
    az_complex *value[AZ_KRON_MOST];
    double noise, lowest_noise;
} learner;

static double power(const az_complex *y, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += creal(y[i] * conj(y[i]));
    return sum;
}

double az_sbl_spread(const az_complex *y, int64_t n)
{
    az_complex mean = 0;
    for (int64_t i = 0; i < n; i++) mean += y[i] / (double)n;
    const double square = power(y, n) / (double)n, variance = square - creal(mean * conj(mean));
    return variance > 1e-12 * square ? variance : square;
}

/* gamma_f = 1 / sqrt(n_f), the last one the inverse of their product: a prior of ones. */
static bool begin(az_ctx *az, learner *p, const az_kron *a, const az_complex *y, const az_sbl_how *how)
{
    *p = (learner){.full = a, .y = y, .how = how, .a = *a};
    const double spread = az_sbl_spread(y, az_kron_rows(a));
    p->noise = how->noise >= 0 ? how->noise : 0.1 * spread;
    p->lowest_noise = 1e-12 * spread;
    double product = 1;
    for (int f = 0; f < a->factors; f++) {
        const int64_t n = p->n[f] = a->factor[f].columns;
        p->place[f] = az_alloc_array(az, (size_t)n, sizeof **p->place);
        p->gamma[f] = az_alloc_array(az, (size_t)n, sizeof(double)), p->raw[f] = az_alloc_array(az, (size_t)n, sizeof(double));
        p->before[f] = az_alloc_array(az, (size_t)n, sizeof(double));
        p->value[f] = az_alloc_array(az, (size_t)(n * a->factor[f].rows), sizeof(az_complex));
        if (!az_ok(az)) return false;
        for (int64_t i = 0; i < n; i++) {
            p->place[f][i] = i;
            p->gamma[f][i] = p->raw[f][i] = p->before[f][i] = f + 1 < a->factors ? 1 / sqrt((double)n) : product;
        }
        product *= sqrt((double)n);
    }
    return true;
}

/* ---- coupled neighbours ---- */

/* Factors that are coupled, and how strongly. */
static double coupling(const learner *p, int f)
{
    if (p->how->kind != AZ_SBL_BLOCK) return 0;
    return f == 0 ? p->how->alpha : f == p->a.factors - 1 ? p->how->beta : 0;
}

typedef struct coupled_fit {
    const learner *p;
    int f;
    double strength;
    const double *target;
    double *off; /* [kept] */
} coupled_fit;

/* (C x)_i = x_i + strength (its neighbours on the original grid). */
static double couple(const learner *p, int f, double strength, const double *x, int64_t i)
{
    double sum = x[i];
    if (i > 0 && p->place[f][i - 1] == p->place[f][i] - 1) sum += strength * x[i - 1];
    if (i + 1 < p->n[f] && p->place[f][i + 1] == p->place[f][i] + 1) sum += strength * x[i + 1];
    return sum;
}

/* |C x - target|^2 / 2 */
static double coupled_distance(az_ctx *az, const double *x, double *gradient, void *user)
{
    (void)az;
    coupled_fit *c = user;
    double sum = 0;
    for (int64_t i = 0; i < c->p->n[c->f]; i++) {
        c->off[i] = couple(c->p, c->f, c->strength, x, i) - c->target[i];
        sum += 0.5 * c->off[i] * c->off[i];
    }
    for (int64_t i = 0; i < c->p->n[c->f]; i++) gradient[i] = couple(c->p, c->f, c->strength, c->off, i);
    return sum;
}

static double total_of(const learner *p)
{
    double total = 1;
    for (int f = 0; f < p->a.factors; f++) total *= (double)p->n[f];
    return total;
}

/* One factor of the alternating minimisation: the raw one by non-negative least squares, then the coupled one. */
static void update_coupled(az_ctx *az, learner *p, const double *moment, int f)
{
    const az_lbfgs_options how = {.memory = 8, .iterations = 500, .gradient_tolerance = 1e-10, .nonnegative = true};
    double *inverse[AZ_KRON_MOST];
    az_scope_push(az);
    for (int g = 0; g < p->a.factors; g++) {
        inverse[g] = az_alloc_array(az, (size_t)p->n[g], sizeof(double));
        for (int64_t i = 0; inverse[g] && i < p->n[g]; i++) inverse[g][i] = 1 / p->gamma[g][i];
    }
    double *target = az_ok(az) ? az_kron_contract(az, p->a.factors, p->n, moment, inverse, f) : NULL;
    coupled_fit fit = {.p = p, .f = f, .strength = coupling(p, f), .target = target};
    fit.off = az_alloc_array(az, (size_t)p->n[f], sizeof(double));
    if (target && fit.off) {
        for (int64_t i = 0; i < p->n[f]; i++) target[i] *= (double)p->n[f] / total_of(p);
        if (fit.strength > 0)
            az_lbfgs(az, coupled_distance, &fit, p->n[f], p->raw[f], &how);
        else
            memcpy(p->raw[f], target, (size_t)p->n[f] * sizeof *target);
        for (int64_t i = 0; i < p->n[f]; i++)
            p->gamma[f][i] = fit.strength > 0 ? 1e-5 + couple(p, f, fit.strength, p->raw[f], i) : fmax(target[i], 1e-300);
    }
    az_scope_pop(az);
}

static void alternate_coupled(az_ctx *az, learner *p, const double *moment)
{
    const int last = p->a.factors - 1;
    for (int64_t sweep = 0; sweep < p->how->sweeps && az_ok(az); sweep++) {
        for (int f = 0; f <= last; f++) update_coupled(az, p, moment, f);
        for (int f = 0; f < last; f++) {
            const double norm = cblas_dnrm2((int)p->n[f], p->gamma[f], 1);
            if (!(norm > 0)) continue;
            cblas_dscal((int)p->n[f], 1 / norm, p->gamma[f], 1), cblas_dscal((int)p->n[f], 1 / norm, p->raw[f], 1);
            cblas_dscal((int)p->n[last], norm, p->gamma[last], 1), cblas_dscal((int)p->n[last], norm, p->raw[last], 1);
        }
    }
}

/* ---- one iteration ---- */

static void update_gamma(az_ctx *az, learner *p, const double *moment)
{
    switch (p->how->kind) {
    case AZ_SBL_SVD: az_sbl_rank_one(az, p->a.factors, p->n, moment, p->gamma); break;
    case AZ_SBL_BLOCK: alternate_coupled(az, p, moment); break;
    case AZ_SBL_KSBL: az_sbl_alternate(az, p->a.factors, p->n, moment, p->gamma, 1, 0); break;
    default: az_sbl_alternate(az, p->a.factors, p->n, moment, p->gamma, p->how->sweeps, p->how->inner_tolerance); break;
    }
}

/* sigma^2 = (|y - A mean|^2 + sigma^2 sum_j (1 - variance_j / gamma_j)) / M */
static void update_noise(az_ctx *az, learner *p, const az_sbl_posterior *post)
{
    const double *prior = az_kron_vectors(az, p->a.factors, p->n, p->gamma);
    double free = 0;
    for (int64_t j = 0; prior && j < az_kron_columns(&p->a); j++) free += 1 - post->variance[j] / prior[j];
    if (prior) p->noise = fmax((post->fit + p->noise * free) / (double)az_kron_rows(&p->a), p->lowest_noise);
}

/* |gamma - gamma of the iteration before| / |the latter| on the whole grid, from inner products of the factors. */
static double change(learner *p)
{
    double own = 1, old = 1, both = 1;
    for (int f = 0; f < p->a.factors; f++) {
        const int64_t n = p->full->factor[f].columns;
        double a = 0, b = 0, c = 0;
        for (int64_t i = 0; i < n; i++) b += p->before[f][i] * p->before[f][i];
        for (int64_t i = 0; i < p->n[f]; i++) {
            a += p->gamma[f][i] * p->gamma[f][i];
            c += p->gamma[f][i] * p->before[f][p->place[f][i]];
        }
        own *= a, old *= b, both *= c;
        memset(p->before[f], 0, (size_t)n * sizeof(double));
        for (int64_t i = 0; i < p->n[f]; i++) p->before[f][p->place[f][i]] = p->gamma[f][i];
    }
    return old > 0 ? sqrt(fmax(own + old - 2 * both, 0) / old) : INFINITY;
}

/* Drops small entries and the columns that belong to them. */
static void prune(learner *p)
{
    for (int f = 0; f < p->a.factors; f++) {
        const az_kron_factor *full = &p->full->factor[f];
        double largest = 0;
        int64_t kept = 0;
        for (int64_t i = 0; i < p->n[f]; i++) largest = fmax(largest, p->gamma[f][i]);
        for (int64_t i = 0; i < p->n[f]; i++) {
            if (!(p->gamma[f][i] >= p->how->prune[f] * largest) || !(p->gamma[f][i] > 0)) continue;
            p->gamma[f][kept] = p->gamma[f][i], p->raw[f][kept] = p->raw[f][i];
            p->place[f][kept++] = p->place[f][i];
        }
        p->n[f] = kept;
        for (int64_t r = 0; r < full->rows; r++)
            for (int64_t i = 0; i < kept; i++) p->value[f][r * kept + i] = full->value[r * full->columns + p->place[f][i]];
        p->a.factor[f] = (az_kron_factor){full->rows, kept, p->value[f]};
    }
}

/* Position on the whole grid of entry j of what is kept. */
static int64_t original(const learner *p, int64_t j)
{
    int64_t at = 0, stride = 1;
    for (int f = p->a.factors - 1; f >= 0; f--) {
        at += stride * p->place[f][j % p->n[f]];
        j /= p->n[f];
        stride *= p->full->factor[f].columns;
    }
    return at;
}

static bool finish(az_ctx *az, learner *p, az_sbl_fit *fit)
{
    az_sbl_posterior post;
    fit->x = az_alloc_array(az, (size_t)az_kron_columns(p->full), sizeof *fit->x);
    fit->support = az_kron_columns(&p->a);
    if (!fit->x || !az_sbl_posterior_of(az, &p->a, p->y, p->gamma, p->noise, &post)) return false;
    for (int64_t j = 0; j < fit->support; j++) fit->x[original(p, j)] = post.mean[j];
    for (int f = 0; f < p->a.factors; f++) fit->gamma[f] = p->before[f];
    fit->noise = p->noise, fit->cost = post.cost;
    return true;
}

static az_sbl_fit *learn(az_ctx *az, const az_kron *a, const az_complex *y, const az_sbl_how *how)
{
    learner p;
    az_sbl_fit *fit = az_alloc(az, sizeof *fit);
    if (!fit || !begin(az, &p, a, y, how) || !(fit->costs = az_alloc_array(az, (size_t)how->iterations, sizeof(double)))) return NULL;
    while (fit->iterations < how->iterations && !fit->converged) {
        az_sbl_posterior post;
        az_scope_push(az);
        const bool done = az_sbl_posterior_of(az, &p.a, y, p.gamma, p.noise, &post);
        if (done) {
            if (how->noise < 0) update_noise(az, &p, &post);
            fit->costs[fit->iterations++] = post.cost;
            update_gamma(az, &p, post.moment);
            prune(&p);
        }
        az_scope_pop(az);
        if (!done || !az_ok(az)) return NULL;
        if (az_kron_columns(&p.a) == 0) return az_fail(az, AZ_NUMERIC, "nothing is left of the dictionary: lower prune");
        fit->converged = change(&p) <= how->tolerance;
        if (!az_progress(az, az_sbl_names[how->kind], fit->iterations, how->iterations, NULL))
            return az_fail(az, AZ_INTERRUPTED, "interrupted after %lld iterations", (long long)fit->iterations);
    }
    return finish(az, &p, fit) ? fit : NULL;
}

/* ---- units ---- */

/* The problem in units in which the entries of y and of each factor have a mean square of one: there gamma starts at ones, which is wide of
 * the moments that it will have, and on no account too narrow. x is `step` times that of these units, y `size` times. */
typedef struct units {
    az_kron a;
    az_complex *y;
    double size, step;
} units;

static bool choose_units(az_ctx *az, const az_kron *a, const az_complex *y, units *u)
{
    const int64_t rows = az_kron_rows(a);
    *u = (units){.a = *a, .y = az_alloc_array(az, (size_t)rows, sizeof *u->y), .size = 1, .step = 1};
    for (int f = 0; u->y && f < a->factors; f++) {
        const int64_t cells = a->factor[f].rows * a->factor[f].columns;
        const double root = cblas_dznrm2((int)cells, a->factor[f].value, 1) / sqrt((double)cells);
        az_complex *value = az_alloc_array(az, (size_t)cells, sizeof *value);
        for (int64_t i = 0; value && i < cells; i++) value[i] = root > 0 ? a->factor[f].value[i] / root : 0;
        u->a.factor[f].value = value;
        u->step /= root > 0 ? root : 1;
    }
    if (!az_ok(az)) return false;
    const double root = cblas_dznrm2((int)rows, y, 1) / sqrt((double)rows);
    u->size = root > 0 ? root : 1;
    u->step *= u->size;
    for (int64_t i = 0; i < rows; i++) u->y[i] = y[i] / u->size;
    return true;
}

/* The fit in the units that were given; gamma's scale is its last factor's. */
static void restore_units(const az_kron *a, const units *u, az_sbl_fit *fit)
{
    const double logs = 2 * (double)az_kron_rows(a) * log(u->size);
    int last = a->factors - 1;
    while (last > 0 && !fit->gamma[last]) last--;
    const int64_t n = last > 0 || a->factors == 1 ? a->factor[last].columns : az_kron_columns(a);
    for (int64_t j = 0; j < az_kron_columns(a); j++) fit->x[j] *= u->step;
    for (int64_t i = 0; fit->gamma[last] && i < n; i++) fit->gamma[last][i] *= u->step * u->step;
    for (int64_t i = 0; fit->costs && i < fit->iterations; i++) fit->costs[i] += logs;
    fit->noise *= u->size * u->size;
    fit->cost += logs;
}

az_sbl_fit *az_sbl_solve(az_ctx *az, const az_kron *a, const az_complex *y, const az_sbl_how *how)
{
    units u;
    if (!az_ok(az) || !choose_units(az, a, y, &u)) return NULL;
    az_sbl_how scaled = *how;
    if (how->noise >= 0) scaled.noise = how->noise / u.size / u.size;
    az_sbl_fit *fit = NULL;
    switch (how->kind) {
    case AZ_SBL_KOMP:
    case AZ_SBL_OMP:
    case AZ_SBL_ORACLE: fit = az_sbl_greedy(az, &u.a, u.y, &scaled); break;
    case AZ_SBL_CLASSIC:
    case AZ_SBL_COUPLED: fit = az_sbl_dense(az, &u.a, u.y, &scaled); break;
    default: fit = learn(az, &u.a, u.y, &scaled); break;
    }
    if (fit) restore_units(a, &u, fit);
    return fit;
}
