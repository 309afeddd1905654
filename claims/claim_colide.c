/* claim_colide.c - the headline of CoLiDE (Saboksayr, Mateos, Tepper 2024): one lambda serves for every noise level, with fewer and less
 * variable errors than least squares on the same path. */
#include "claims/claims.h"
#include "claims/comparisons.h"
#include "claims/sem_data.h"
#include "estimate/dag.h"
#include "estimate/sem.h"

#include <math.h>

enum { GRAPHS = 10, D = 20, DEGREE = 4, SAMPLES = 1000 };

/* Over the graphs of one noise level. */
typedef struct summary {
    double shd[GRAPHS], tpr, sigma_error; /* mean; mean (sigma^2 / true - 1)^2 */
    double mean, sd;                      /* of shd */
} summary;

static bool fit_all(az_ctx *az, az_sem_score score, double variance, summary *out)
{
    *out = (summary){0};
    for (int g = 0; g < GRAPHS; g++) {
        az_scope_push(az);
        const sem_data *data = sem_data_new(az, (uint64_t)(10000 + 10 * g), D, DEGREE, SAMPLES, variance);
        const az_sem_problem problem = {
            .d = D, .cov = data ? az_sem_covariance(az, data->x, SAMPLES, D) : NULL, .lambda = 0.05, .score = score};
        const az_sem_fit *fit = problem.cov ? az_sem_estimate(az, &problem, &az_sem_paper_path) : NULL;
        if (fit) {
            az_dag_prune(az, D, fit->w, 0.3);
            const az_dag_comparison c = az_dag_compare(D, fit->w, data->w);
            out->shd[g] = (double)c.shd;
            out->tpr += c.tpr / GRAPHS;
            for (int j = 0; j < D; j++) out->sigma_error += pow(pow(fit->sigma[j] / data->sigma[j], 2) - 1, 2) / (D * GRAPHS);
        }
        az_scope_pop(az);
        if (!fit || !az_progress(az, "colide", g + 1, GRAPHS, az_sem_score_names[score])) return false;
    }
    for (int g = 0; g < GRAPHS; g++) out->mean += out->shd[g] / GRAPHS;
    for (int g = 0; g < GRAPHS; g++) out->sd += pow(out->shd[g] - out->mean, 2);
    out->sd = sqrt(out->sd / GRAPHS);
    return az_ok(az);
}

static void tell(az_ctx *az, az_report *report, az_sem_score score, double variance, const summary *s)
{
    az_report_row(report, "errors");
    az_report_text(report, "noise_variance", variance > 0 ? az_format_text(az, "%g", variance) : "0.5 to 10");
    az_report_text(report, "score", az_sem_score_names[score]);
    az_report_number(report, "shd", s->mean, "");
    az_report_number(report, "shd_sd", s->sd, "");
    az_report_number(report, "tpr", s->tpr, "");
    az_report_number(report, "sigma2_error", s->sigma_error, "");
}

static bool run(az_ctx *az, az_report *report)
{
    static const double variances[] = {0.5, 1, 5, 10, 0}; /* 0: each variable has its own */
    int won = 0;
    for (int i = 0; i < 5; i++) {
        summary equal, unequal, least_squares;
        if (!fit_all(az, AZ_SEM_COLIDE_EV, variances[i], &equal) || !fit_all(az, AZ_SEM_LS, variances[i], &least_squares)) return false;
        tell(az, report, AZ_SEM_COLIDE_EV, variances[i], &equal);
        tell(az, report, AZ_SEM_LS, variances[i], &least_squares);
        if (variances[i] == 10 || variances[i] == 0) {
            if (!fit_all(az, AZ_SEM_COLIDE_NV, variances[i], &unequal)) return false;
            tell(az, report, AZ_SEM_COLIDE_NV, variances[i], &unequal);
            won += (equal.mean <= least_squares.mean + 0.5) + (equal.sd <= 0.7 * least_squares.sd);
        }
        won += variances[i] == 10 && equal.sigma_error <= 0.01;
    }
    return claim_decide(az, report, 5, won);
}

const az_claim az_claim_colide = {
    .name = "colide",
    .statement =
        "with one lambda, graphs of 20 variables found by colide-ev have no more errors than by least squares, vary less from graph "
        "to graph (0.7 times), and the noise variance is right to 10 %",
    .run = run,
};
