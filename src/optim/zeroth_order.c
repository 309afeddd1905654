/* zeroth_order.c - optimization by losses alone: steps along random directions whose every number can be drawn again from its key.
 *
 * Malladi et al.: Fine-tuning language models with just forward passes, NeurIPS 2023 (MeZO, arXiv 2305.17333)
 * Chen et al.: Enhancing zeroth-order fine-tuning with low-rank structures, ICLR 2025 (LOZO, arXiv 2410.07698)
 * Yu et al.: Zeroth-order fine-tuning of LLMs in random subspaces, 2024 (SubZO, arXiv 2410.08989)
 * Sun et al.: TeZO, 2025 (arXiv 2501.19057) */
#include "optim/zeroth_order.h"

#include "adze/linalg.h"

#include <cblas.h>
#include <math.h>
#include <string.h>

/* ---- making one ---- */

static bool check_options(az_ctx *az, const az_zo_options *o)
{
    const bool renews = o->kind == AZ_ZO_LAZY || o->kind == AZ_ZO_SUBSPACE;
    if (!(o->radius > 0) || !isfinite(o->radius))
        return az_fail(az, AZ_BAD_INPUT, "zeroth order: the radius is %g, not above 0", o->radius);
    if (o->queries < 1 || o->queries > AZ_ZO_MOST_QUERIES)
        return az_fail(az, AZ_BAD_INPUT, "zeroth order: %d queries, not 1 to %d", o->queries, AZ_ZO_MOST_QUERIES);
    if (renews && o->renew < 1) return az_fail(az, AZ_BAD_INPUT, "zeroth order: factors that last %lld steps", (long long)o->renew);
    if (o->rule != AZ_ZO_PLAIN && !(o->beta1 >= 0 && o->beta1 < 1))
        return az_fail(az, AZ_BAD_INPUT, "zeroth order: beta1 is %g, not in [0, 1)", o->beta1);
    if (o->rule == AZ_ZO_ADAM && (!(o->beta2 >= 0 && o->beta2 < 1) || !(o->eps > 0)))
        return az_fail(az, AZ_BAD_INPUT, "zeroth order: beta2 is %g and eps is %g, not in [0, 1) and above 0", o->beta2, o->eps);
    if (!(o->weight_decay >= 0)) return az_fail(az, AZ_BAD_INPUT, "zeroth order: weight decay is %g, below 0", o->weight_decay);
    if (renews && o->rule == AZ_ZO_ADAM)
        return az_fail(az, AZ_BAD_INPUT, "zeroth order: no second moments exist for directions that are renewed");
    if (o->kind == AZ_ZO_SUBSPACE && o->rule == AZ_ZO_MOMENTUM)
        return az_fail(az, AZ_BAD_INPUT, "zeroth order: a subspace that is renewed has no momentum");
    return true;
}

/* Moments: of every entry, or of the numbers that stand for a matrix. */
static bool add_moments(az_ctx *az, const az_zo *zo, int i)
{
    az_zo_slot *s = &zo->slot[i];
    const int64_t count = az_zo_fresh_count(zo, i);
    if (zo->options.rule != AZ_ZO_PLAIN) s->first = az_zeros(az, AZ_F32, 1, &count);
    if (zo->options.rule == AZ_ZO_ADAM) s->second = az_zeros(az, AZ_F32, 1, &count);
    return az_ok(az);
}

static bool add_frame(az_ctx *az, const az_zo *zo, int i)
{
    az_zo_slot *s = &zo->slot[i];
    if (s->rank == 0 || (!zo->options.store && zo->options.kind != AZ_ZO_SUBSPACE)) return true;
    if (zo->options.kind != AZ_ZO_LAZY) s->left = az_new2(az, AZ_F32, s->rows, s->rank);
    s->right = az_new2(az, AZ_F32, s->cols, s->rank);
    return az_zo_keep_frame(az, zo, i, 0);
}

static bool fill_slot(az_ctx *az, const az_zo *zo, int i, const az_tensor *parameter, int64_t rank)
{
    az_zo_slot *s = &zo->slot[i];
    if (!parameter) return az_fail(az, AZ_BAD_CALL, "zeroth order: parameter %d is missing", i);
    if (parameter->dtype != AZ_F32 || !az_is_contiguous(parameter) || parameter->rank < 1 || parameter->rank > 2)
        return az_fail(az, AZ_BAD_CALL, "zeroth order: parameter %d, %s of type %s, is no contiguous f32 matrix or vector", i,
                       az_shape_text(az, parameter), az_dtype_name(parameter->dtype));
    const bool matrix = parameter->rank == 2;
    s->parameter = az_share(az, parameter);
    s->rows = matrix ? parameter->shape[0] : 1;
    s->cols = parameter->shape[matrix];
    s->rank = matrix && zo->options.kind != AZ_ZO_DENSE ? rank : 0;
    s->divisor = rank > 0 && (!matrix || zo->options.kind == AZ_ZO_TEMPORAL || zo->options.kind == AZ_ZO_LAZY) ? (double)rank : 1;
    s->decay = matrix;
    int64_t most = 1 << 20;
    if (zo->options.kind == AZ_ZO_SUBSPACE) most = s->rows < s->cols ? s->rows : s->cols;
    if (matrix && zo->options.kind != AZ_ZO_DENSE && (rank < 1 || rank > most))
        return az_fail(az, AZ_BAD_CALL, "zeroth order: rank %lld for parameter %d of shape %s", (long long)rank, i,
                       az_shape_text(az, parameter));
    if (zo->options.exact) s->saved = az_copy(az, parameter);
    return add_moments(az, zo, i) && add_frame(az, zo, i);
}

az_zo *az_zo_new(az_ctx *az, const az_zo_options *options, az_tensor *const *parameters, int n, const int64_t *rank)
{
    if (!az_ok(az) || !check_options(az, options)) return NULL;
    az_zo *zo = az_alloc(az, sizeof *zo);
    az_zo_slot *slot = az_alloc_array(az, (size_t)n, sizeof *slot);
    if (!zo || !slot) return NULL;
    *zo = (az_zo){.options = *options, .n = n, .slot = slot};
    if (options->kind != AZ_ZO_DENSE && !rank) return az_fail(az, AZ_BAD_CALL, "zeroth order: low-rank directions without ranks");
    for (int i = 0; i < n; i++)
        if (!fill_slot(az, zo, i, parameters[i], rank ? rank[i] : 0)) return NULL;
    return zo;
}

/* ---- renewal ---- */

/* AZ_ZO_LAZY's momentum N V_old^T, seen from V_new: N (V_old^T V_new) / cols. */
static bool carry_momentum(az_ctx *az, const az_zo *zo, int i, int64_t period)
{
    const az_zo_slot *s = &zo->slot[i];
    const int rank = (int)s->rank, rows = (int)s->rows, cols = (int)s->cols;
    az_zo_frame old, new;
    if (!az_zo_frame_of(az, zo, i, zo->period, &old) || !az_zo_frame_of(az, zo, i, period, &new)) return false;
    float *turn = az_alloc_array(az, (size_t)(rank * rank), sizeof *turn), *n = az_f32_mut(s->first);
    float *carried = az_alloc_array(az, (size_t)rows * (size_t)rank, sizeof *carried);
    if (!turn || !carried) return false;
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, rank, rank, cols, 1.0f / (float)cols, old.right, rank, new.right, rank, 0, turn,
                rank);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, rows, rank, rank, 1, n, rank, turn, rank, 0, carried, rank);
    memcpy(n, carried, (size_t)rows * (size_t)rank * sizeof *n);
    return true;
}

/* Before anything of the coming step: what is kept becomes that of the step's period. */
static bool renew(az_ctx *az, az_zo *zo)
{
    const int64_t period = az_zo_period(zo, zo->steps);
    if (period == zo->period || zo->options.kind == AZ_ZO_DENSE) return az_ok(az);
    for (int i = 0; i < zo->n && az_ok(az); i++) {
        const az_zo_slot *s = &zo->slot[i];
        if (s->rank == 0) continue;
        az_scope_push(az);
        const bool carries = zo->options.kind == AZ_ZO_LAZY && s->first;
        if ((!carries || carry_momentum(az, zo, i, period)) && s->right) az_zo_keep_frame(az, zo, i, period);
        az_scope_pop(az);
    }
    zo->period = period;
    return az_ok(az);
}

/* ---- steps ---- */

bool az_zo_perturb(az_ctx *az, az_zo *zo, int query, double scale)
{
    if (!zo || !renew(az, zo)) return false;
    az_zo_pass pass = {.keep = 1};
    pass.weight[query] = scale * zo->options.radius;
    return az_zo_run_pass(az, zo, &pass);
}

static void save(const az_zo *zo)
{
    for (int i = 0; zo->options.exact && i < zo->n; i++)
        memcpy(zo->slot[i].saved->data, zo->slot[i].parameter->data, (size_t)az_count(zo->slot[i].saved) * sizeof(float));
}

static void restore(const az_zo *zo)
{
    for (int i = 0; zo->options.exact && i < zo->n; i++)
        memcpy(zo->slot[i].parameter->data, zo->slot[i].saved->data, (size_t)az_count(zo->slot[i].saved) * sizeof(float));
}

/* From W - rho Z of the last query back to W and on to the step's end. */
static bool finish(az_ctx *az, az_zo *zo, const az_zo_record *record)
{
    const az_zo_options *o = &zo->options;
    az_zo_pass pass = {.keep = 1};
    bool good = az_ok(az);
    if (o->exact)
        restore(zo);
    else
        pass.weight[o->queries - 1] = o->radius;
    for (int q = 0; q < o->queries; q++) {
        good &= isfinite(record->kappa[q]);
        pass.slope[q] = record->kappa[q] / o->queries;
    }
    if (good) {
        pass.rate = record->lr;
        pass.keep = 1 - record->lr * o->weight_decay;
    } else {
        memset(pass.slope, 0, sizeof pass.slope);
    }
    const bool done = az_zo_run_pass(az, zo, &pass);
    zo->steps++;
    return done;
}

/* W becomes W + rho Z_q, then W - rho Z_q, and, when another query follows, W again. Without a loss only the parameters change. */
static void query(az_ctx *az, az_zo *zo, int q, az_zo_loss loss, void *user, double value[2])
{
    az_zo_perturb(az, zo, q, 1);
    value[0] = loss && az_ok(az) ? loss(az, user) : NAN;
    az_zo_perturb(az, zo, q, -2);
    value[1] = loss && az_ok(az) ? loss(az, user) : NAN;
    if (q + 1 == zo->options.queries) return;
    if (zo->options.exact)
        restore(zo);
    else
        az_zo_perturb(az, zo, q, 1);
}

bool az_zo_step(az_ctx *az, az_zo *zo, az_zo_loss loss, void *user, double lr, az_zo_record *record)
{
    if (!zo || !renew(az, zo)) return false;
    const int queries = zo->options.queries;
    *record = (az_zo_record){.lr = lr};
    save(zo);
    for (int q = 0; q < queries; q++) {
        double value[2];
        query(az, zo, q, loss, user, value);
        record->kappa[q] = (value[0] - value[1]) / (2 * zo->options.radius);
        record->loss += (value[0] + value[1]) / (2 * queries);
    }
    return finish(az, zo, record);
}

bool az_zo_replay(az_ctx *az, az_zo *zo, const az_zo_record *record)
{
    if (!zo || !renew(az, zo)) return false;
    double unused[2];
    save(zo);
    for (int q = 0; q < zo->options.queries && !zo->options.exact; q++) query(az, zo, q, NULL, NULL, unused);
    return finish(az, zo, record);
}

/* ---- state ---- */

int64_t az_zo_steps(const az_zo *zo)
{
    return zo ? zo->steps : 0;
}

bool az_zo_set_steps(az_ctx *az, az_zo *zo, int64_t steps)
{
    if (!zo) return false;
    zo->steps = steps;
    zo->period = steps > 0 ? az_zo_period(zo, steps - 1) : 0; /* momentum is still that of the last step's V */
    for (int i = 0; i < zo->n; i++)
        if (zo->slot[i].right) az_zo_keep_frame(az, zo, i, zo->period);
    return az_ok(az);
}

int az_zo_state(az_ctx *az, az_zo *zo, az_tensor ***tensors, const char ***names)
{
    if (!zo) return 0;
    *tensors = az_alloc_array(az, 2 * (size_t)zo->n, sizeof **tensors);
    *names = az_alloc_array(az, 2 * (size_t)zo->n, sizeof **names);
    if (!*tensors || !*names) return 0;
    int count = 0;
    for (int i = 0; i < zo->n; i++) {
        az_tensor *const part[2] = {zo->slot[i].first, zo->slot[i].second};
        for (int k = 0; k < 2; k++) {
            if (!part[k]) continue;
            (*tensors)[count] = part[k];
            (*names)[count++] = az_format_text(az, "zo.%s.%d", k ? "second" : "first", i);
        }
    }
    return az_ok(az) ? count : 0;
}

az_zo_cost az_zo_cost_of(const az_zo *zo)
{
    az_zo_cost cost = {0};
    for (int i = 0; zo && i < zo->n; i++) {
        const az_zo_slot *s = &zo->slot[i];
        const az_tensor *const part[] = {s->first, s->second, s->left, s->right};
        for (int k = 0; k < 4; k++) cost.state_bytes += part[k] ? az_count(part[k]) * (int64_t)sizeof(float) : 0;
        cost.fresh += az_zo_fresh_count(zo, i);
        if (s->rank > 0 && !s->right) cost.redrawn += s->rank * (s->cols + (zo->options.kind == AZ_ZO_TEMPORAL ? s->rows : 0));
    }
    return cost;
}

int64_t az_spectral_rank(az_ctx *az, const az_tensor *matrix, double theta)
{
    az_tensor *values = NULL;
    if (!az_svd(az, matrix, NULL, &values, NULL)) return 1;
    int64_t rank = 0;
    const double largest = az_item(values, 0);
    while (largest > 0 && rank < az_count(values) && az_item(values, rank) >= theta * largest) rank++;
    return rank < 1 ? 1 : rank;
}
