/* The allocator of AdaLoRA: the published schedule, importance and masks against plain sums, ties, the penalty's derivative. */
#include "support/matrix.h"
#include "tune/adalora.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

Test(adalora_rank, the_budget_falls_with_the_third_power)
{
    const az_budget b = {.before = 288, .after = 192, .warm = 50, .settle = 100, .every = 1, .steps = 300};
    static const int64_t at[][2] = {{1, 288},   {50, 288},  {51, 286},  {60, 270},  {100, 220},
                                    {125, 204}, {150, 195}, {199, 192}, {201, 192}, {300, 192}};
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) cr_assert_eq(az_budget_at(&b, at[i][0]), at[i][1], "step %d", (int)at[i][0]);
}

enum { MATRICES = 3, RANK = 4, IN = 5, OUT = 6 };

static void fill(az_ctx *az, az_triplets *list, az_dtype dtype, uint64_t seed)
{
    for (int i = 0; i < MATRICES; i++) {
        list[i] = (az_triplets){.a = matrix_normal(az, dtype, RANK, IN + i, seed + (uint64_t)(3 * i)),
                                .b = matrix_normal(az, dtype, OUT, RANK, seed + (uint64_t)(3 * i) + 1),
                                .e = az_reshape(az, matrix_normal(az, dtype, 1, RANK, seed + (uint64_t)(3 * i) + 2), 1, (int64_t[]){RANK})};
    }
}

static const az_budget small = {
    .before = MATRICES * RANK, .after = MATRICES, .warm = 2, .settle = 4, .every = 3, .steps = 20, .beta1 = 0.85, .beta2 = 0.7};

/* One parameter's importance after the first `steps` gradients, from the definition. */
static double by_definition(double w, const double *gradient, int steps)
{
    double average = 0, uncertainty = 0;
    for (int t = 0; t < steps; t++) {
        const double now = fabs(w * gradient[t]);
        average = 0.85 * average + 0.15 * now;
        uncertainty = 0.7 * uncertainty + 0.3 * fabs(now - average);
    }
    return average * uncertainty;
}

static double mean_importance(const az_tensor *w, az_tensor *const gradient[], int steps, int64_t first, int64_t stride, int64_t n)
{
    double sum = 0;
    for (int64_t i = first; i < first + n * stride; i += stride) {
        double g[32];
        for (int t = 0; t < steps; t++) g[t] = az_item(gradient[t], i);
        sum += by_definition(az_item(w, i), g, steps);
    }
    return sum / (double)n;
}

static int descending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

Test(adalora_rank, keeps_the_most_important_triplets)
{
    enum { STEPS = 6 }; /* the first choice is at step 3, the second at 6 */
    az_ctx *az = az_open(NULL);
    az_triplets value[MATRICES], gradient[STEPS][MATRICES];
    fill(az, value, AZ_F64, 1);
    double score[MATRICES * RANK], sorted[MATRICES * RANK];
    az_allocator *allocator = az_allocator_new(az, &small, value, MATRICES);
    for (int t = 0; t < STEPS; t++) {
        fill(az, gradient[t], AZ_F64, 100 + 20 * (uint64_t)t);
        if (t == 3) /* lambda moved on between the choices: what was masked came to life again */
            for (int i = 0; i < MATRICES; i++) az_copy_into(az, value[i].e, az_full(az, AZ_F64, 1, (int64_t[]){RANK}, 0.5));
        az_triplets halved[MATRICES];
        for (int i = 0; i < MATRICES; i++)
            halved[i] = (az_triplets){.a = az_affine(az, gradient[t][i].a, 0.5, 0),
                                      .b = az_affine(az, gradient[t][i].b, 0.5, 0),
                                      .e = az_affine(az, gradient[t][i].e, t == 3 ? 0.5 : 0, 0)};
        cr_assert(az_allocator_step(az, allocator, halved, 2, t + 1), "%s", az_error(az));
    }
    for (int i = 0; i < MATRICES; i++) {
        az_tensor *a[STEPS], *b[STEPS];
        for (int t = 0; t < STEPS; t++) a[t] = gradient[t][i].a, b[t] = gradient[t][i].b;
        for (int k = 0; k < RANK; k++) {
            double only[STEPS] = {0};
            only[3] = az_item(gradient[3][i].e, k);
            score[i * RANK + k] = by_definition(0.5, only, STEPS) + mean_importance(value[i].b, b, STEPS, k, RANK, OUT) +
                                  mean_importance(value[i].a, a, STEPS, k * (IN + i), 1, IN + i);
        }
    }
    memcpy(sorted, score, sizeof score);
    qsort(sorted, MATRICES * RANK, sizeof *sorted, descending);
    const int64_t budget = az_budget_at(&small, STEPS);
    int64_t kept = 0;
    for (int i = 0; i < MATRICES * RANK; i++) {
        const bool keeps = az_allocator_kept(allocator)[i] > 0;
        cr_assert_eq(keeps, score[i] >= sorted[budget - 1], "triplet %d of score %g", i, score[i]);
        cr_assert_eq(az_item(value[i / RANK].e, i % RANK), keeps ? 0.5 : 0);
        kept += keeps;
    }
    cr_assert_eq(kept, budget);
    cr_assert_float_eq(az_allocator_threshold(allocator), sorted[budget - 1], 1e-6 * sorted[0]);
    az_close(az);
}

/* Before any gradient all importance is zero; the count is right all the same, and the last choice holds to the end. */
Test(adalora_rank, ties_keep_the_count_and_the_last_choice_stays)
{
    az_ctx *az = az_open(NULL);
    az_triplets value[MATRICES], gradient[MATRICES];
    fill(az, value, AZ_F32, 1);
    for (int i = 0; i < MATRICES; i++)
        gradient[i] = (az_triplets){.a = az_zeros(az, AZ_F32, 2, value[i].a->shape),
                                    .b = az_zeros(az, AZ_F32, 2, value[i].b->shape),
                                    .e = az_zeros(az, AZ_F32, 1, value[i].e->shape)};
    az_allocator *allocator = az_allocator_new(az, &small, value, MATRICES);
    for (int64_t t = 1; t <= small.steps; t++) {
        for (int i = 0; i < MATRICES; i++) az_copy_into(az, value[i].e, az_full(az, AZ_F32, 1, (int64_t[]){RANK}, 1));
        cr_assert(az_allocator_step(az, allocator, gradient, 1, t), "%s", az_error(az));
        int64_t alive = 0, kept = 0;
        for (int i = 0; i < MATRICES; i++) {
            kept += az_allocator_rank(allocator, i);
            for (int k = 0; k < RANK; k++) alive += az_item(value[i].e, k) > 0;
        }
        const bool chooses = (t > small.warm && t % small.every == 0 && t < small.steps - small.settle) || t == small.steps - small.settle;
        if (chooses) cr_assert_eq(kept, az_budget_at(&small, t));
        cr_assert_eq(alive, chooses || t >= small.steps - small.settle ? kept : MATRICES * RANK, "step %d", (int)t);
    }
    cr_assert_eq(az_allocator_rank(allocator, MATRICES - 1), MATRICES, "of equal triplets the first leave first");
    az_close(az);
}

Test(adalora_rank, a_budget_that_does_not_fall_masks_nothing)
{
    az_ctx *az = az_open(NULL);
    az_triplets value[MATRICES], gradient[MATRICES];
    fill(az, value, AZ_F32, 1);
    fill(az, gradient, AZ_F32, 50);
    az_budget b = small;
    b.after = b.before;
    b.every = 1;
    az_allocator *allocator = az_allocator_new(az, &b, value, MATRICES);
    for (int64_t t = 1; t <= b.steps; t++) az_allocator_step(az, allocator, gradient, 1, t);
    for (int i = 0; i < MATRICES * RANK; i++) cr_assert_neq(az_item(value[i / RANK].e, i % RANK), 0);
    az_close(az);
}

/* A run that goes on from its state chooses as one that never stopped. */
Test(adalora_rank, its_state_is_all_it_remembers)
{
    enum { BREAK = 7 };
    az_ctx *az = az_open(NULL);
    az_triplets value[2][MATRICES], gradient[MATRICES];
    az_allocator *allocator[3];
    for (int run = 0; run < 2; run++) {
        fill(az, value[run], AZ_F32, 1);
        allocator[run] = az_allocator_new(az, &small, value[run], MATRICES);
    }
    for (int64_t t = 1; t <= small.steps; t++) {
        fill(az, gradient, AZ_F32, 50 + 10 * (uint64_t)t);
        for (int run = 0; run < 2; run++) cr_assert(az_allocator_step(az, allocator[run], gradient, 1, t), "%s", az_error(az));
        if (t != BREAK) continue;
        az_tensor **from, **to;
        const char **name;
        allocator[2] = az_allocator_new(az, &small, value[1], MATRICES);
        const int n = az_allocator_state(az, allocator[1], &from, &name);
        cr_assert_eq(az_allocator_state(az, allocator[2], &to, &name), n);
        for (int i = 0; i < n; i++) az_copy_into(az, to[i], from[i]);
        allocator[1] = allocator[2];
    }
    cr_assert_arr_eq(az_allocator_kept(allocator[0]), az_allocator_kept(allocator[1]), MATRICES * RANK * sizeof(float));
    for (int i = 0; i < MATRICES; i++) cr_assert_eq(matrix_difference(value[0][i].e, value[1][i].e), 0);
    az_close(az);
}

Test(adalora_rank, the_penalty_has_the_derivative_of_its_value)
{
    az_ctx *az = az_open(NULL);
    for (int which = 0; which < 4; which++) {
        const bool rows = which & 1, squared = which & 2;
        az_tensor *x = matrix_normal(az, AZ_F64, rows ? 3 : 5, rows ? 5 : 3, 1), *g = az_zeros(az, AZ_F64, 2, x->shape);
        az_orthogonality(az, x, rows, squared, 0.5, g);
        for (int i = 0; i < 15; i++) {
            const double was = az_f64(x)[i], h = 1e-6;
            az_f64_mut(x)[i] = was + h;
            const double up = az_orthogonality(az, x, rows, squared, 0, NULL);
            az_f64_mut(x)[i] = was - h;
            const double down = az_orthogonality(az, x, rows, squared, 0, NULL);
            az_f64_mut(x)[i] = was;
            cr_assert_float_eq(az_item(g, i), 0.5 * (up - down) / (2 * h), 1e-6);
        }
    }
    az_tensor *q, *none = az_zeros(az, AZ_F64, 2, (int64_t[]){2, 2});
    q = az_from(az, AZ_F64, 2, (int64_t[]){2, 2}, (double[]){0, 1, 1, 0});
    cr_assert_eq(az_orthogonality(az, q, true, false, 1, none), 0);
    for (int i = 0; i < 4; i++) cr_assert_eq(az_item(none, i), 0);
    az_close(az);
}

Test(adalora_rank, refuses_schedules_that_leave_no_time)
{
    az_ctx *az = az_open(NULL);
    az_triplets value[MATRICES];
    fill(az, value, AZ_F32, 1);
    az_budget b = small;
    b.warm = 16;
    cr_assert_null(az_allocator_new(az, &b, value, MATRICES));
    cr_assert_not_null(strstr(az_error(az), "no steps are left for pruning"), "%s", az_error(az));
    az_clear(az);
    b = small;
    b.beta1 = 1;
    cr_assert_null(az_allocator_new(az, &b, value, MATRICES));
    cr_assert_eq(az_status_of(az), AZ_BAD_INPUT);
    az_close(az);
}
