/* adalora_rank.c - the allocator of AdaLoRA: importance of triplets, the falling budget, masks; and the penalty that keeps P and Q near
 * orthonormal columns and rows. */
#include "tune/adalora.h"

#include "adze/linalg.h"
#include "adze/weight.h"

#include <math.h>

enum { TENSORS = 3 }; /* a, b, e */

typedef struct tracked {
    az_tensor *value[TENSORS];
    az_tensor *average[TENSORS], *uncertainty[TENSORS]; /* of |w dL/dw| */
    int64_t rank, first;                                /* triplets, and their place among all */
} tracked;

struct az_allocator {
    az_budget budget;
    int n;
    tracked *matrix;   /* [n] */
    az_tensor *kept;   /* [before] f32: 1 or 0 */
    az_tensor *lowest; /* [1] f64: importance of the least important triplet that was kept */
};

int64_t az_budget_at(const az_budget *b, int64_t t)
{
    const int64_t end = b->steps - b->settle;
    if (t <= b->warm) return b->before;
    if (t >= end) return b->after;
    const double left = 1 - (double)(t - b->warm) / (double)(end - b->warm);
    return (int64_t)((double)b->after + (double)(b->before - b->after) * left * left * left);
}

static bool check_budget(az_ctx *az, const az_budget *b, int64_t triplets)
{
    if (b->before != triplets || b->after < 0 || b->after > b->before)
        return az_fail(az, AZ_BAD_CALL, "a budget that falls from %lld to %lld for %lld triplets", (long long)b->before,
                       (long long)b->after, (long long)triplets);
    if (b->warm < 0 || b->settle < 0 || b->every < 1 || b->warm >= b->steps - b->settle)
        return az_fail(az, AZ_BAD_INPUT,
                       "no steps are left for pruning: the first %lld and the last %lld of %lld steps do not change the budget",
                       (long long)b->warm, (long long)b->settle, (long long)b->steps);
    if (b->beta1 > 0 && b->beta1 < 1 && b->beta2 > 0 && b->beta2 < 1) return true;
    return az_fail(az, AZ_BAD_INPUT, "beta1 = %g and beta2 = %g of the importance must lie between 0 and 1", b->beta1, b->beta2);
}

az_allocator *az_allocator_new(az_ctx *az, const az_budget *budget, const az_triplets *matrix, int n)
{
    if (!az_ok(az)) return NULL;
    az_allocator *allocator = az_alloc(az, sizeof *allocator);
    tracked *list = az_alloc_array(az, (size_t)n, sizeof *list);
    int64_t all = 0;
    for (int i = 0; list && i < n; i++) {
        az_tensor *const value[TENSORS] = {matrix[i].a, matrix[i].b, matrix[i].e};
        list[i].rank = az_count(matrix[i].e);
        list[i].first = all;
        all += list[i].rank;
        for (int k = 0; k < TENSORS; k++) {
            list[i].value[k] = az_share(az, value[k]);
            list[i].average[k] = az_zeros(az, value[k]->dtype, value[k]->rank, value[k]->shape);
            list[i].uncertainty[k] = az_zeros(az, value[k]->dtype, value[k]->rank, value[k]->shape);
        }
    }
    if (!allocator || !list || !check_budget(az, budget, all)) return NULL;
    *allocator = (az_allocator){.budget = *budget,
                                .n = n,
                                .matrix = list,
                                .kept = az_full(az, AZ_F32, 1, &all, 1),
                                .lowest = az_full(az, AZ_F64, 1, (int64_t[]){1}, NAN)};
    return az_ok(az) ? allocator : NULL;
}

/* ---- importance ---- */

/* new average = beta1 average + (1 - beta1) I; new uncertainty = beta2 uncertainty + (1 - beta2) |I - new average| */
static bool observe(az_ctx *az, const az_budget *b, tracked *m, const az_triplets *gradient, double unscale)
{
    const double beta1 = b->importance == AZ_IMPORTANCE_SMOOTHED ? b->beta1 : 0;
    const az_tensor *const g[TENSORS] = {gradient->a, gradient->b, gradient->e};
    az_scope_push(az);
    for (int k = 0; k < TENSORS; k++) {
        const az_tensor *now = az_affine(az, az_abs(az, az_mul(az, m->value[k], g[k])), unscale, 0);
        const az_tensor *average = az_add(az, az_affine(az, m->average[k], beta1, 0), az_affine(az, now, 1 - beta1, 0));
        const az_tensor *apart = az_affine(az, az_abs(az, az_sub(az, now, average)), 1 - b->beta2, 0);
        const az_tensor *uncertainty = az_add(az, az_affine(az, m->uncertainty[k], b->beta2, 0), apart);
        if (!az_ok(az)) break;
        az_copy_into(az, m->average[k], average);
        az_copy_into(az, m->uncertainty[k], uncertainty);
    }
    az_scope_pop(az);
    return az_ok(az);
}

/* Importance of each triplet of a matrix [rank]: that of lambda, and the means over its column of P and its row of Q. */
static az_tensor *importance(az_ctx *az, const az_budget *b, const tracked *m)
{
    enum { A, B, E };
    if (b->importance == AZ_IMPORTANCE_MAGNITUDE) return az_abs(az, m->value[E]);
    az_tensor *s[TENSORS];
    for (int k = 0; k < TENSORS; k++)
        s[k] = b->importance == AZ_IMPORTANCE_SMOOTHED ? az_mul(az, m->average[k], m->uncertainty[k]) : m->average[k];
    return az_add(az, s[E], az_add(az, az_mean(az, s[B], 0, false), az_mean(az, s[A], 1, false)));
}

/* ---- masks ---- */

/* Sets lambda to zero where the last choice says so. */
static void apply_mask(az_ctx *az, az_allocator *allocator)
{
    az_scope_push(az);
    for (int i = 0; i < allocator->n; i++) {
        tracked *m = &allocator->matrix[i];
        const az_tensor *kept = az_slice(az, allocator->kept, 0, m->first, m->rank);
        const az_tensor *masked = az_where(az, kept, m->value[2], az_scalar(az, m->value[2]->dtype, 0));
        if (masked) az_copy_into(az, m->value[2], masked);
    }
    az_scope_pop(az);
}

/* Keeps the `budget` most important triplets; of equal ones those of higher number. */
static bool choose(az_ctx *az, az_allocator *allocator, int64_t budget)
{
    const int64_t all = allocator->budget.before;
    az_scope_push(az);
    az_tensor **part = az_alloc_array(az, (size_t)allocator->n, sizeof *part);
    for (int i = 0; part && i < allocator->n; i++) part[i] = az_cast(az, importance(az, &allocator->budget, &allocator->matrix[i]), AZ_F32);
    const az_tensor *score = part ? az_concat(az, part, allocator->n, 0) : NULL;
    const int64_t bad = score ? az_first_nonfinite(score) : -1;
    if (bad >= 0) az_fail(az, AZ_NUMERIC, "the importance of triplet %lld is not finite", (long long)bad);
    const az_tensor *mask = az_mask_lowest_count(az, az_reshape(az, score, 2, (int64_t[]){1, all}), all - budget);
    double lowest = INFINITY;
    for (int64_t i = 0; mask && i < all; i++) {
        az_f32_mut(allocator->kept)[i] = ((const uint8_t *)mask->data)[i] ? 1 : 0;
        if (((const uint8_t *)mask->data)[i]) lowest = fmin(lowest, (double)az_f32(score)[i]);
    }
    if (mask) az_f64_mut(allocator->lowest)[0] = lowest;
    az_scope_pop(az);
    if (az_ok(az)) apply_mask(az, allocator);
    return az_ok(az);
}

bool az_allocator_step(az_ctx *az, az_allocator *allocator, const az_triplets *gradient, double unscale, int64_t t)
{
    if (!allocator || !az_ok(az)) return false;
    const az_budget *b = &allocator->budget;
    const int64_t end = b->steps - b->settle;
    for (int i = 0; t < end && i < allocator->n; i++)
        if (!observe(az, b, &allocator->matrix[i], &gradient[i], unscale)) return false;
    if (t == end || (t > b->warm && t < end && t % b->every == 0)) return choose(az, allocator, az_budget_at(b, t));
    if (t > end) apply_mask(az, allocator);
    return az_ok(az);
}

const float *az_allocator_kept(const az_allocator *allocator)
{
    return az_f32(allocator->kept);
}

int64_t az_allocator_rank(const az_allocator *allocator, int i)
{
    int64_t rank = 0;
    for (int64_t k = 0; k < allocator->matrix[i].rank; k++) rank += az_f32(allocator->kept)[allocator->matrix[i].first + k] > 0;
    return rank;
}

double az_allocator_threshold(const az_allocator *allocator)
{
    return az_f64(allocator->lowest)[0];
}

int az_allocator_state(az_ctx *az, az_allocator *allocator, az_tensor ***tensor, const char ***name)
{
    const size_t most = 2 + (size_t)allocator->n * TENSORS * 2;
    *tensor = az_alloc_array(az, most, sizeof **tensor);
    *name = az_alloc_array(az, most, sizeof **name);
    if (!*tensor || !*name) return 0;
    int n = 0;
    for (int i = 0; i < allocator->n; i++) {
        for (int k = 0; k < TENSORS; k++) {
            (*name)[n] = az_format_text(az, "importance.average.%d.%d", i, k);
            (*tensor)[n++] = allocator->matrix[i].average[k];
            (*name)[n] = az_format_text(az, "importance.uncertainty.%d.%d", i, k);
            (*tensor)[n++] = allocator->matrix[i].uncertainty[k];
        }
    }
    (*name)[n] = "importance.kept";
    (*tensor)[n++] = allocator->kept;
    (*name)[n] = "importance.lowest";
    (*tensor)[n++] = allocator->lowest;
    return az_ok(az) ? n : 0;
}

/* ---- orthogonality ---- */

double az_orthogonality(az_ctx *az, const az_tensor *x, bool rows, bool squared, double weight, az_tensor *gradient)
{
    if (!x || !az_ok(az)) return NAN;
    const int64_t r = x->shape[rows ? 0 : 1];
    az_scope_push(az);
    const az_tensor *gap = rows ? az_matmul_nt(az, x, x) : az_matmul(az, az_transpose(az, x), x); /* [r, r] */
    gap = az_sub(az, gap, az_identity(az, x->dtype, r));
    const double square = az_to_double(az_dot(az, gap, gap)), norm = sqrt(square);
    const double factor = squared ? 4 * weight : norm > 0 ? 2 * weight / norm : 0;
    if (gradient) az_add_into(az, gradient, rows ? az_matmul(az, gap, x) : az_matmul(az, x, gap), factor);
    az_scope_pop(az);
    return squared ? square : norm;
}
