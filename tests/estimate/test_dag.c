/* Directed graphs: order, cycles, comparison by hand, refit by the normal equations. */
#include "claims/sem_data.h"
#include "estimate/dag.h"
#include "estimate/sem.h"

#include <criterion/criterion.h>
#include <math.h>

Test(dag, order_or_a_cycle)
{
    az_ctx *az = az_open(NULL);
    const sem_data *data = sem_data_new(az, 7, 30, 3, 1, 1);
    int order[30], place[30], cycle = 0;
    cr_assert(az_dag_order(az, 30, data->w, order, &cycle));
    for (int i = 0; i < 30; i++) place[order[i]] = i;
    for (int i = 0; i < 900; i++) cr_assert(data->w[i] == 0 || place[i / 30] < place[i % 30]);
    double w[25] = {0};
    w[0 * 5 + 1] = w[1 * 5 + 2] = w[2 * 5 + 4] = w[4 * 5 + 1] = w[4 * 5 + 3] = 1; /* 0 -> 1 -> 2 -> 4 -> 1, 4 -> 3 */
    cr_assert_not(az_dag_order(az, 5, w, order, &cycle));
    cr_assert_eq(cycle, 3);
    for (int i = 0; i < 3; i++) cr_assert(w[order[i] * 5 + order[(i + 1) % 3]] != 0);
    az_close(az);
}

Test(dag, pruning_takes_the_weak_and_then_breaks_cycles)
{
    az_ctx *az = az_open(NULL);
    double w[9] = {0, 0.9, 0.1, 0.4, 0, -0.8, 0.5, 0, 0.35}; /* a loop at 2, cycles 0-1 and 0-1-2 */
    cr_assert_eq(az_dag_prune(az, 3, w, 0.3), 3);
    const double want[9] = {0, 0.9, 0, 0, 0, -0.8, 0, 0, 0};
    for (int i = 0; i < 9; i++) cr_assert_eq(w[i], want[i]);
    az_close(az);
}

Test(dag, comparison_counts_each_kind_of_error)
{
    double truth[16] = {0}, w[16] = {0};
    truth[0 * 4 + 1] = truth[1 * 4 + 2] = truth[0 * 4 + 3] = 1;
    w[0 * 4 + 1] = 1; /* right */
    w[2 * 4 + 1] = 1; /* reversed */
    w[2 * 4 + 3] = 1; /* extra; 0 -> 3 is missing */
    const az_dag_comparison c = az_dag_compare(4, w, truth);
    cr_assert(c.predicted == 3 && c.truth == 3 && c.correct == 1 && c.reversed == 1 && c.extra == 1 && c.missing == 1);
    cr_assert_eq(c.shd, 3);
    cr_assert_float_eq(c.tpr, 1 / 3.0, 1e-15);
    cr_assert_float_eq(c.fdr, 2 / 3.0, 1e-15);
    cr_assert_float_eq(c.fpr, 2 / 3.0, 1e-15);
    cr_assert_float_eq(c.weight_error, sqrt(4 / 3.0), 1e-15);
}

/* Fewer samples than parents: their covariance is singular up to rounding, and a regression on them says nothing. */
Test(dag, collinear_parents_keep_their_weights)
{
    az_ctx *az = az_open(NULL);
    enum { N = 4, D = 6 };
    for (int seed = 0; seed < 20; seed++) {
        double x[N * D], w[D * D] = {0};
        az_rng rng = az_rng_at((uint64_t)seed, 0);
        for (int i = 0; i < N * D; i++) x[i] = az_normal(&rng);
        for (int i = 0; i < D - 1; i++) w[D * i + D - 1] = 0.4 + i;
        const double *cov = az_sem_covariance(az, x, N, D), *refit = az_dag_refit(az, D, w, cov);
        for (int i = 0; i < D - 1; i++) cr_assert_eq(refit[D * i + D - 1], w[D * i + D - 1], "%d: %g", i, refit[D * i + D - 1]);
        for (int i = 2; i < D - 1; i++) w[D * i + D - 1] = 0; /* two parents determine the regression */
        refit = az_dag_refit(az, D, w, cov);
        double product[D * D], r[D];
        az_sem_residuals(&(az_sem_problem){.d = D, .cov = cov}, refit, product, r);
        for (int i = 0; i < 2; i++) cr_assert_lt(fabs(product[D * i + D - 1]), 1e-11);
    }
    az_close(az);
}

/* In a least-squares fit what is left of a variable does not correlate with its parents: C (I - W) vanishes on the edges. */
Test(dag, refit_satisfies_the_normal_equations)
{
    az_ctx *az = az_open(NULL);
    const sem_data *data = sem_data_new(az, 41, 10, 2, 1000, 1);
    const az_sem_problem problem = {.d = 10, .cov = az_sem_covariance(az, data->x, data->n, 10)};
    const double *refit = az_dag_refit(az, 10, data->w, problem.cov);
    double product[100], r[10];
    az_sem_residuals(&problem, refit, product, r);
    for (int i = 0; i < 100; i++) {
        cr_assert_eq(refit[i] != 0, data->w[i] != 0);
        cr_assert(refit[i] == 0 || fabs(product[i]) < 1e-10);
    }
    cr_assert_lt(az_dag_compare(10, refit, data->w).weight_error, 0.1);
    az_close(az);
}
