/* Structural equation models: scores against known values, gradients against differences, the central path against another program's
 * results, the earlier estimators on the same data. */
#include "claims/sem_data.h"
#include "claims/splitmix.h"
#include "estimate/dag.h"
#include "estimate/sem.h"

#include <criterion/criterion.h>
#include <math.h>

enum { D = 10 };

static az_sem_problem problem_of(az_ctx *az, const sem_data *data, az_sem_score score)
{
    return (az_sem_problem){.d = data->d, .cov = az_sem_covariance(az, data->x, data->n, data->d), .lambda = 0.05, .score = score};
}

/* Small weights without self-loops. */
static double *small_weights(az_ctx *az)
{
    double *w = splitmix_normal(az, 51, D * D);
    for (int i = 0; i < D * D; i++) w[i] = i % (D + 1) ? 0.1 * w[i] : 0;
    return w;
}

Test(sem, samples_and_scores_have_their_known_values)
{
    az_ctx *az = az_open(NULL);
    const sem_data *data = sem_data_new(az, 41, D, 2, 1000, 1);
    az_sem_problem problem = problem_of(az, data, AZ_SEM_COLIDE_EV);
    cr_assert_eq(az_dag_edges(D, data->w), 19);
    const double x[] = {15.50094952, 0.33698926, -3.70849929}, roots[] = {7.07524423, 4.12739007, 3.39012928};
    for (int j = 0; j < 3; j++) cr_assert_float_eq(data->x[j], x[j], 1e-8);
    cr_assert_float_eq(problem.cov[0], 68.92101749, 1e-8);
    const double *w = small_weights(az);
    double product[D * D], r[D], sigma[D], inverse[D * D], work[64 * D];
    int pivot[D];
    az_sem_residuals(&problem, w, product, r);
    for (int j = 0; j < 3; j++) cr_assert_float_eq(sqrt(r[j]), roots[j], 1e-8);
    az_sem_noise(&problem, r, sigma);
    cr_assert_float_eq(sigma[4], 5.936271783956, 1e-11);
    cr_assert_float_eq(az_sem_smooth(&problem, r, sigma), 59.36271783956, 1e-10);
    problem.score = AZ_SEM_COLIDE_NV;
    az_sem_noise(&problem, r, sigma);
    cr_assert_float_eq(az_sem_smooth(&problem, r, sigma), 47.786777689729, 1e-11);
    cr_assert_float_eq(az_sem_l1(w, D * D), 7.371790924965, 1e-11);
    cr_assert_float_eq(az_sem_log_det(D, w, 1, inverse, pivot, work), 0.009974883467, 1e-11);
    az_close(az);
}

static double smooth_at(const az_sem_problem *problem, const double *w, const double *sigma)
{
    double product[D * D], r[D];
    az_sem_residuals(problem, w, product, r);
    return az_sem_smooth(problem, r, sigma);
}

static double log_det_at(const double *w)
{
    double inverse[D * D], work[64 * D];
    int pivot[D];
    return az_sem_log_det(D, w, 0.9, inverse, pivot, work);
}

Test(sem, gradients_agree_with_differences)
{
    az_ctx *az = az_open(NULL);
    const sem_data *data = sem_data_new(az, 41, D, 2, 1000, 0);
    const az_sem_problem problem = problem_of(az, data, AZ_SEM_COLIDE_NV);
    double *w = small_weights(az), product[D * D], r[D], sigma[D], inverse[D * D], work[64 * D], exponential[D * D];
    int pivot[D];
    az_sem_residuals(&problem, w, product, r);
    az_sem_noise(&problem, r, sigma);
    az_sem_log_det(D, w, 0.9, inverse, pivot, work);
    az_sem_trace_exp(az, D, w, exponential);
    const double step = 1e-5;
    for (int at = 0; at < D * D; at += 7) {
        const double kept = w[at], h = 2 * kept * inverse[at % D * D + at / D];
        double value[3][2];
        for (int side = 0; side < 2; side++) {
            w[at] = kept + (side ? step : -step);
            value[0][side] = smooth_at(&problem, w, sigma);
            value[1][side] = log_det_at(w);
            value[2][side] = az_sem_trace_exp(az, D, w, NULL);
        }
        w[at] = kept;
        cr_assert_float_eq((value[0][1] - value[0][0]) / (2 * step), -product[at] / sigma[at % D], 1e-6);
        cr_assert_float_eq((value[1][1] - value[1][0]) / (2 * step), h, 1e-6);
        cr_assert_float_eq((value[2][1] - value[2][0]) / (2 * step), exponential[at], 1e-6);
    }
    az_close(az);
}

Test(sem, acyclicity_vanishes_on_acyclic_graphs_alone)
{
    az_ctx *az = az_open(NULL);
    double inverse[D * D], work[64 * D];
    int pivot[D];
    for (uint64_t seed = 0; seed < 20; seed++) {
        const sem_data *data = sem_data_new(az, 100 + 10 * seed, D, 2, 1, 1);
        cr_assert_float_eq(az_sem_log_det(D, data->w, 1, inverse, pivot, work), 0, 1e-10);
        cr_assert_float_eq(az_sem_trace_exp(az, D, data->w, NULL), 0, 1e-8);
    }
    double loop[D * D] = {0};
    loop[1] = 0.6, loop[D] = 0.5; /* det(I - W o W) = 1 - 0.36 * 0.25 */
    cr_assert_float_eq(az_sem_log_det(D, loop, 1, inverse, pivot, work), -log(1 - 0.09), 1e-14);
    loop[1] = 3, loop[D] = 2;
    cr_assert(isnan(az_sem_log_det(D, loop, 1, inverse, pivot, work)));
    az_close(az);
}

static az_dag_comparison judge(az_ctx *az, const sem_data *data, az_sem_score score, az_sem_fit **out)
{
    const az_sem_problem problem = problem_of(az, data, score);
    az_sem_path path = az_sem_paper_path;
    path.last_iterations = 40000;
    az_sem_fit *fit = az_sem_estimate(az, &problem, &path);
    cr_assert(fit, "%s", az_error(az));
    az_dag_prune(az, data->d, fit->w, 0.3);
    if (out) *out = fit;
    return az_dag_compare(data->d, fit->w, data->w);
}

/* The reference implementation (github.com/SAMiatto/colide) reaches these on the same data. */
Test(sem, the_central_path_ends_where_the_reference_does)
{
    az_ctx *az = az_open(NULL);
    const sem_data *data = sem_data_new(az, 41, D, 2, 1000, 1);
    az_sem_fit *fit;
    az_dag_comparison c = judge(az, data, AZ_SEM_COLIDE_EV, &fit);
    cr_assert_float_eq(fit->sigma[0], 1.0001, 1e-3);
    cr_assert_float_eq(fit->w[9], -1.4019, 1e-2);
    cr_assert_float_eq(fit->w[D], -1.1663, 1e-2);
    cr_assert_eq(c.shd, 1);
    cr_assert_eq(c.predicted, 18);
    cr_assert_float_eq(c.tpr, 0.947, 1e-3);
    cr_assert_eq(c.fdr, 0);
    c = judge(az, data, AZ_SEM_COLIDE_NV, &fit);
    cr_assert_eq(c.shd, 3);
    const double sigma[] = {0.9890, 1.0599, 1.3285};
    for (int j = 0; j < 3; j++) cr_assert_float_eq(fit->sigma[j], sigma[j], 1e-3);
    az_close(az);
}

Test(sem, graphs_of_twenty_variables_are_found)
{
    az_ctx *az = az_open(NULL);
    const sem_data *data = sem_data_new(az, 44, 20, 2, 1000, 0);
    cr_assert_eq(judge(az, data, AZ_SEM_COLIDE_EV, NULL).shd, 0);
    cr_assert_leq(judge(az, data, AZ_SEM_COLIDE_NV, NULL).shd, 1);
    cr_assert_leq(judge(az, data, AZ_SEM_LS, NULL).shd, 4);
    az_close(az);
}

Test(sem, earlier_estimators_find_small_graphs)
{
    az_ctx *az = az_open(NULL);
    const sem_data *data = sem_data_new(az, 41, D, 1, 1000, 1);
    const az_sem_score scores[] = {AZ_SEM_NOTEARS, AZ_SEM_GOLEM_EV};
    for (int i = 0; i < 2; i++) {
        az_sem_fit *fit;
        const az_dag_comparison c = judge(az, data, scores[i], &fit);
        cr_assert_leq(c.shd, 1, "%s: %d", az_sem_score_names[scores[i]], (int)c.shd);
        cr_assert_lt(fit->h, scores[i] == AZ_SEM_NOTEARS ? 1e-8 : 1e-2);
    }
    az_close(az);
}
