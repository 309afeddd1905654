/* la_sdp_low_rank.c - the clustering program with Z_k = V_k V_k^T, V_k [n, r] >= 0 (Burer & Monteiro 2003).
 *
 * Augmented Lagrangian of the constraints sum_k V_k V_k^T 1 = 1, |V_k|_F^2 = 1 (tr Z = K for one block) and |V_k^T 1|^2 >= m, minimised by
 * projected L-BFGS. */
#include "estimate/la_sdp.h"

#include "adze/optim.h"

#include <cblas.h>
#include <math.h>
#include <string.h>

typedef struct lagrangian {
    const az_la_sdp *problem;
    int64_t r;
    double shift, scale, beta;
    double *row_multiplier, *trace_multiplier, *mass_multiplier; /* [n], [blocks], [blocks] */
    double *row, *trace, *mass; /* violations: [n], [blocks], [blocks]; of an inequality, negative where it holds */
    double *sums, *product;     /* [blocks, r] 1^T V; [n, r] A V */
} lagrangian;

static void find_violations(lagrangian *p, const double *v)
{
    const int64_t n = p->problem->n, r = p->r;
    const double want = p->problem->blocks > 1 ? 1 : p->problem->k;
    for (int64_t i = 0; i < n; i++) p->row[i] = -1;
    for (int b = 0; b < p->problem->blocks; b++) {
        const double *own = v + b * n * r;
        double *sum = p->sums + b * r;
        memset(sum, 0, (size_t)r * sizeof *sum);
        p->trace[b] = cblas_ddot((int)(n * r), own, 1, own, 1) - want;
        for (int64_t i = 0; i < n; i++)
            for (int64_t a = 0; a < r; a++) sum[a] += own[i * r + a];
        cblas_dgemv(CblasRowMajor, CblasNoTrans, (int)n, (int)r, 1, own, (int)r, sum, 1, 1, p->row, 1);
        p->mass[b] = p->problem->blocks > 1 && p->problem->least > 1 ? (double)p->problem->least - cblas_ddot((int)r, sum, 1, sum, 1) : -1;
    }
}

/* -<(A - shift) / scale, V V^T> + multipliers and beta/2 squares of the violations. */
static double value(az_ctx *az, const double *v, double *gradient, void *user)
{
    (void)az;
    lagrangian *p = user;
    const int64_t n = p->problem->n, r = p->r;
    double sum = 0;
    find_violations(p, v);
    for (int64_t i = 0; i < n; i++) sum += (p->row_multiplier[i] + 0.5 * p->beta * p->row[i]) * p->row[i];
    for (int b = 0; b < p->problem->blocks; b++) {
        const double *own = v + b * n * r;
        double *g = gradient + b * n * r, across[64];
        const double force = p->trace_multiplier[b] + p->beta * p->trace[b];
        const double lift = fmax(p->mass_multiplier[b] + p->beta * p->mass[b], 0);
        sum += (p->trace_multiplier[b] + 0.5 * p->beta * p->trace[b]) * p->trace[b];
        sum += (lift * lift - p->mass_multiplier[b] * p->mass_multiplier[b]) / (2 * p->beta);
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)n, (int)r, (int)n, 1 / p->scale, p->problem->a[b], (int)n, own, (int)r,
                    0, p->product, (int)r);
        for (int64_t i = 0; i < n; i++)
            for (int64_t a = 0; a < r; a++) p->product[i * r + a] -= p->shift / p->scale * p->sums[b * r + a];
        sum -= cblas_ddot((int)(n * r), p->product, 1, own, 1);
        memset(across, 0, sizeof across);
        for (int64_t i = 0; i < n; i++)
            for (int64_t a = 0; a < r; a++) across[a] += (p->row_multiplier[i] + p->beta * p->row[i]) * own[i * r + a];
        for (int64_t i = 0; i < n; i++) {
            const double push = p->row_multiplier[i] + p->beta * p->row[i];
            for (int64_t a = 0; a < r; a++)
                g[i * r + a] = 2 * (force * own[i * r + a] - p->product[i * r + a]) + (push - 2 * lift) * p->sums[b * r + a] + across[a];
        }
    }
    return sum;
}

/* Groups as columns, a little spread so that no gradient vanishes: V_k = 1_{G_k} / sqrt|G_k|; one block has a column a group. */
static void start(const lagrangian *p, const int *label, uint64_t seed, double *v)
{
    const int64_t n = p->problem->n, r = p->r;
    az_rng rng = az_rng_at(seed, az_stream("low-rank clustering", 0));
    for (int b = 0; b < p->problem->blocks; b++) {
        for (int64_t i = 0; i < n; i++) {
            for (int64_t a = 0; a < r; a++) {
                const bool own = p->problem->blocks > 1 ? label[i] == b && a == 0 : label[i] == a;
                double size = 0;
                for (int64_t j = 0; own && j < n; j++) size += label[j] == label[i];
                v[(b * n + i) * r + a] = (own ? 1 / sqrt(size) : 0) + 0.1 * az_uniform(&rng) / sqrt((double)n);
            }
        }
    }
}

static bool fill_blocks(az_ctx *az, const lagrangian *p, const double *v, az_la_sdp_fit *fit)
{
    const int n = (int)p->problem->n, r = (int)p->r;
    fit->z = az_alloc_array(az, (size_t)p->problem->blocks, sizeof *fit->z);
    for (int b = 0; fit->z && b < p->problem->blocks; b++) {
        const double *own = v + (int64_t)b * n * r;
        fit->z[b] = az_alloc_array(az, (size_t)n * (size_t)n, sizeof(double));
        if (!fit->z[b]) return false;
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, n, n, r, 1, own, r, own, r, 0, fit->z[b], n);
        fit->objective += cblas_ddot(n * n, p->problem->a[b], 1, fit->z[b], 1);
    }
    return az_ok(az);
}

az_la_sdp_fit *az_la_sdp_low_rank(az_ctx *az, const az_la_sdp *problem, const az_la_sdp_how *how, const int *label)
{
    enum { MOST_ROUNDS = 60, MOST_RANK = 64 };
    const size_t n = (size_t)problem->n, blocks = (size_t)problem->blocks;
    const int64_t r = problem->blocks > 1 ? how->rank : how->rank > problem->k ? how->rank : problem->k;
    if (r > MOST_RANK) return az_fail(az, AZ_BAD_INPUT, "low rank: %lld columns, at most %d", (long long)r, MOST_RANK);
    lagrangian p = {.problem = problem, .r = r, .beta = 1};
    az_la_sdp_fit *fit = az_alloc(az, sizeof *fit);
    double *v = az_alloc_array(az, blocks * n * (size_t)r, sizeof *v);
    p.row_multiplier = az_alloc_array(az, n, sizeof(double)), p.trace_multiplier = az_alloc_array(az, blocks, sizeof(double));
    p.row = az_alloc_array(az, n, sizeof(double)), p.trace = az_alloc_array(az, blocks, sizeof(double));
    p.mass_multiplier = az_alloc_array(az, blocks, sizeof(double)), p.mass = az_alloc_array(az, blocks, sizeof(double));
    p.sums = az_alloc_array(az, blocks * (size_t)r, sizeof(double)), p.product = az_alloc_array(az, n * (size_t)r, sizeof(double));
    if (!fit || !v || !p.product) return NULL;
    fit->bound = NAN;
    az_la_sdp_units(problem, &p.shift, &p.scale);
    start(&p, label, how->seed, v);
    double before = INFINITY;
    const az_lbfgs_options steps = {.memory = 10, .iterations = 200, .gradient_tolerance = 1e-7, .nonnegative = true};
    for (int round = 0; round < MOST_ROUNDS && !fit->converged && az_ok(az); round++) {
        fit->iterations += az_lbfgs(az, value, &p, (int64_t)(blocks * n) * r, v, &steps).iterations;
        find_violations(&p, v);
        fit->primal = pow(cblas_dnrm2((int)n, p.row, 1), 2) + pow(cblas_dnrm2((int)blocks, p.trace, 1), 2);
        for (size_t b = 0; b < blocks; b++) fit->primal += pow(fmax(p.mass[b], 0), 2);
        fit->primal = sqrt(fit->primal);
        fit->converged = fit->primal < how->tolerance;
        for (size_t i = 0; i < n; i++) p.row_multiplier[i] += p.beta * p.row[i];
        for (size_t b = 0; b < blocks; b++) {
            p.trace_multiplier[b] += p.beta * p.trace[b];
            p.mass_multiplier[b] = fmax(p.mass_multiplier[b] + p.beta * p.mass[b], 0);
        }
        if (fit->primal > 0.25 * before) p.beta *= 2;
        before = fit->primal;
        if (!az_progress(az, "low-rank program", round + 1, MOST_ROUNDS, NULL)) return az_fail(az, AZ_INTERRUPTED, "interrupted");
    }
    return az_ok(az) && fill_blocks(az, &p, v, fit) ? fit : NULL;
}
