/* m_fac.c - pruning by the optimal brain surgeon's rule, with the inverse of the empirical Fisher matrix of a few gradients: the rule
 * itself, for any set of matrices whose gradients somebody can give. m_fac_lm.c applies it to language models.
 *
 * Problem: drop weights of all matrices together so that the loss rises least, to second order.
 * Symbols: F = damp I + (1/m) sum_i g_i g_i^T over m gradients g_i of the mean loss at the present weights; `block` > 0 keeps the
 *     diagonal blocks of F of that many consecutive weights.
 * Score: rho_j = w_j^2 / (2 [F^-1]_jj), the rise of the loss when w_j goes and all others make up for it.
 * Rule: drop the lowest scores of the whole model; add the corrections of all dropped weights to the kept ones,
 *     w += F^-1 t with t_j = -w_j / [F^-1]_jj for dropped j, 0 otherwise; set the dropped weights to exactly 0.
 * The way from density p0 to p1 is taken in R steps of equal ratio, p0 (p1/p0)^(r/R), each with new gradients: the quadratic
 * model holds nearby only.
 *
 * Frantar, Kurtic, Alistarh: "M-FAC: efficient matrix-free approximations of second-order information", NeurIPS 2021
 * (arXiv 2107.03356). The algebra is in src/linalg/fisher.c. */
#include "compress/m_fac.h"

#include "adze/linalg.h"
#include "adze/weight.h"

#include <math.h>

/* All weights of all matrices form one vector of d entries. */
typedef struct pruning {
    const az_m_fac_problem *problem;
    const az_m_fac_settings *how;
    int64_t *first; /* [n + 1] entry of the vector that each matrix begins at */
    int64_t d;
    unsigned char *alive; /* [d] not dropped yet */
    az_tensor *gradients; /* [grads, d] */
} pruning;

static float *weights_of(const pruning *p, int matrix)
{
    return az_f32_mut(p->problem->weight[matrix]);
}

static int64_t count_alive(const pruning *p)
{
    int64_t count = 0;
    for (int64_t j = 0; j < p->d; j++) count += p->alive[j];
    return count;
}

static bool begin(az_ctx *az, pruning *p)
{
    const int n = p->problem->n;
    p->first = az_alloc_array(az, (size_t)n + 1, sizeof *p->first);
    if (!p->first) return false;
    for (int i = 0; i < n; i++) p->first[i + 1] = p->first[i] + az_count(p->problem->weight[i]);
    p->d = p->first[n];
    p->alive = az_alloc_array(az, (size_t)p->d, 1);
    for (int i = 0; p->alive && i < n; i++)
        for (int64_t j = p->first[i]; j < p->first[i + 1]; j++) p->alive[j] = weights_of(p, i)[j - p->first[i]] != 0;
    const az_dtype dtype = p->how->half ? AZ_BF16 : AZ_F32;
    p->gradients = p->alive ? az_fisher_gradients(az, p->how->grads, p->d, dtype, p->how->scratch) : NULL;
    return p->gradients != NULL;
}

/* Puts the gradients of the matrices, zero for dropped weights, into row i of G. */
static void store_gradient(az_ctx *az, const pruning *p, az_tensor *const *gradient, int64_t i)
{
    for (int l = 0; l < p->problem->n; l++) {
        const float *g = az_f32(gradient[l]);
        const int64_t count = p->first[l + 1] - p->first[l];
        az_tensor *masked = az_new1(az, AZ_F32, count);
        if (!masked) return;
        for (int64_t j = 0; j < count; j++) az_f32_mut(masked)[j] = p->alive[p->first[l] + j] ? g[j] : 0;
        az_tensor *row = az_reshape(az, az_slice(az, p->gradients, 0, i, 1), 1, (int64_t[]){p->d});
        az_copy_into(az, az_slice(az, row, 0, p->first[l], count), masked);
    }
}

/* Fills G with the gradients of a round. Returns the mean loss, NaN on errors. */
static double fill_gradients(az_ctx *az, const pruning *p, int64_t round)
{
    const int64_t grads = p->how->grads;
    double sum = 0;
    for (int64_t i = 0; i < grads && az_ok(az); i++) {
        double loss = 0;
        az_scope_push(az);
        az_tensor **gradient = az_alloc_array(az, (size_t)p->problem->n, sizeof *gradient);
        if (gradient && p->problem->gradient(az, round, i, gradient, &loss, p->problem->user)) store_gradient(az, p, gradient, i);
        az_scope_pop(az);
        if (!isfinite(loss)) az_fail(az, AZ_NUMERIC, "the loss is not finite");
        sum += loss;
        if (!az_progress(az, "gradients", round * grads + i + 1, p->how->recompute * grads, NULL))
            az_fail(az, AZ_INTERRUPTED, "interrupted: nothing has changed");
    }
    return az_ok(az) ? sum / (double)grads : NAN;
}

/* rho of the weights alive, -1 of the dropped ones: [1, d]. */
static az_tensor *scores_of(az_ctx *az, const pruning *p, const az_tensor *inverse)
{
    az_tensor *score = az_new2(az, AZ_F32, 1, p->d);
    const double *v = az_f64(inverse);
    for (int l = 0; score && v && l < p->problem->n; l++) {
        const float *w = weights_of(p, l);
        for (int64_t j = p->first[l]; j < p->first[l + 1]; j++) {
            const double x = w[j - p->first[l]];
            az_f32_mut(score)[j] = p->alive[j] ? (float)(x * x / (2 * v[j])) : -1;
        }
    }
    return v ? score : NULL;
}

/* Lifts the highest scores of each layer out of reach, as many as the layer must keep. */
static void protect(az_ctx *az, const pruning *p, az_tensor *score)
{
    for (int l = 0; p->how->min_density > 0 && score && l < p->problem->n; l++) {
        const int64_t count = p->first[l + 1] - p->first[l], least = (int64_t)ceil(p->how->min_density * (double)count);
        az_tensor *part = az_slice(az, score, 1, p->first[l], count);
        const az_tensor *low = az_mask_lowest_count(az, az_contiguous(az, part), count - least);
        const unsigned char *high = low ? low->data : NULL;
        float *s = part ? part->data : NULL;
        for (int64_t j = 0; high && j < count; j++)
            if (high[j] && s[j] >= 0) s[j] = INFINITY;
    }
}

/* Drops weights until `target` are alive. */
static bool prune_step(az_ctx *az, pruning *p, int64_t target)
{
    az_scope_push(az);
    const az_fisher *fisher = az_fisher_new(az, p->gradients, p->how->damp, p->how->block);
    const az_tensor *inverse = az_fisher_inverse_diagonal(az, fisher);
    az_tensor *score = scores_of(az, p, inverse), *t = az_zeros(az, AZ_F64, 1, &p->d);
    protect(az, p, score);
    const az_tensor *mask = az_mask_lowest_count(az, score, p->d - target);
    if (mask && t) {
        const unsigned char *keep = mask->data;
        for (int l = 0; l < p->problem->n; l++)
            for (int64_t j = p->first[l]; j < p->first[l + 1]; j++)
                if (p->alive[j] && !keep[j]) az_f64_mut(t)[j] = -(double)weights_of(p, l)[j - p->first[l]] / az_f64(inverse)[j];
        const az_tensor *change = az_fisher_solve(az, fisher, t);
        for (int l = 0; change && l < p->problem->n; l++)
            for (int64_t j = p->first[l]; j < p->first[l + 1]; j++) {
                float *w = &weights_of(p, l)[j - p->first[l]];
                *w = keep[j] && p->alive[j] ? (float)(*w + az_f64(change)[j]) : 0;
                p->alive[j] = keep[j] && p->alive[j];
            }
    }
    az_scope_pop(az);
    return az_ok(az);
}

bool az_m_fac_prune(az_ctx *az, const az_m_fac_problem *problem, const az_m_fac_settings *how, double sparsity)
{
    if (!az_ok(az)) return false;
    pruning p = {.problem = problem, .how = how};
    az_scope_push(az);
    const bool begun = begin(az, &p);
    const double from = begun ? (double)count_alive(&p) / (double)p.d : 1, to = 1 - sparsity;
    if (begun && to >= from)
        az_note(az, "%.4g %% of the weights are zero already: nothing to drop for a sparsity of %g", 100 * (1 - from), sparsity);
    for (int64_t r = 0; begun && to < from && r < how->recompute && az_ok(az); r++) {
        const double density = from * pow(to / from, (double)(r + 1) / (double)how->recompute), start = az_seconds();
        const double loss = fill_gradients(az, &p, r);
        if (!az_ok(az) || !prune_step(az, &p, (int64_t)llround(density * (double)p.d))) break;
        az_report_row(problem->report, "steps");
        az_report_number(problem->report, "sparsity", 1 - (double)count_alive(&p) / (double)p.d, "");
        az_report_number(problem->report, "loss_before", loss, "nat");
        az_report_number(problem->report, "seconds", az_seconds() - start, "s");
    }
    az_scope_pop(az);
    return az_ok(az);
}
