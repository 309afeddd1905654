/* sem_scores.c - scores of structural equation models and functions that vanish on acyclic weights (sem.h has the formulas). */
#include "estimate/sem.h"

#include "adze/linalg.h"

#include <cblas.h>
#include <lapacke.h>
#include <math.h>

const char *const az_sem_score_names[AZ_SEM_SCORES + 1] = {"colide-nv", "colide-ev", "ls", "golem-ev", "golem-nv", "notears", NULL};

az_sem_fit *az_sem_fit_new(az_ctx *az, int64_t room)
{
    az_sem_fit *fit = az_alloc(az, sizeof *fit);
    if (!fit) return NULL;
    *fit = (az_sem_fit){.room = room,
                        .trace_iteration = az_alloc_array(az, (size_t)room, sizeof(double)),
                        .trace_score = az_alloc_array(az, (size_t)room, sizeof(double))};
    return az_ok(az) ? fit : NULL;
}

void az_sem_trace(az_sem_fit *fit, int64_t iteration, double score)
{
    if (fit->traced == fit->room) return;
    fit->trace_iteration[fit->traced] = (double)iteration;
    fit->trace_score[fit->traced++] = score;
}

double *az_sem_covariance(az_ctx *az, const double *x, int64_t n, int d)
{
    double *cov = az_alloc_array(az, (size_t)d * (size_t)d, sizeof *cov);
    az_scope_push(az);
    double *mean = az_alloc_array(az, (size_t)d, sizeof *mean), *centred = az_alloc_array(az, (size_t)n * (size_t)d, sizeof *centred);
    if (cov && mean && centred) {
        for (int64_t i = 0; i < n; i++)
            for (int j = 0; j < d; j++) mean[j] += x[i * d + j] / (double)n;
        for (int64_t i = 0; i < n; i++)
            for (int j = 0; j < d; j++) centred[i * d + j] = x[i * d + j] - mean[j];
        cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, d, d, (int)n, 1 / (double)n, centred, d, centred, d, 0, cov, d);
    }
    az_scope_pop(az);
    return cov;
}

void az_sem_residuals(const az_sem_problem *problem, const double *w, double *product, double *r)
{
    const int d = problem->d;
    for (int64_t i = 0; i < (int64_t)d * d; i++) product[i] = problem->cov[i];
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, d, d, d, -1, problem->cov, d, w, d, 1, product, d);
    for (int j = 0; j < d; j++) r[j] = product[j * d + j];
    for (int i = 0; i < d; i++)
        for (int j = 0; j < d; j++) r[j] -= w[i * d + j] * product[i * d + j];
}

void az_sem_noise(const az_sem_problem *problem, const double *r, double *sigma)
{
    double sum = 0;
    for (int j = 0; j < problem->d; j++) sum += r[j];
    const double common = fmax(sqrt(sum / problem->d), problem->sigma_floor);
    for (int j = 0; j < problem->d; j++)
        sigma[j] = problem->score == AZ_SEM_COLIDE_EV   ? common
                   : problem->score == AZ_SEM_COLIDE_NV ? fmax(sqrt(r[j]), problem->sigma_floor)
                                                        : 1;
}

double az_sem_smooth(const az_sem_problem *problem, const double *r, const double *sigma)
{
    const double penalty = problem->score == AZ_SEM_LS || problem->score == AZ_SEM_NOTEARS ? 0 : 0.5;
    double sum = 0;
    for (int j = 0; j < problem->d; j++) sum += 0.5 * r[j] / sigma[j] + penalty * sigma[j];
    return sum;
}

double az_sem_l1(const double *w, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += fabs(w[i]);
    return sum;
}

double az_sem_log_det(int d, const double *w, double s, double *inverse, int *pivot, double *work)
{
    for (int i = 0; i < d; i++)
        for (int j = 0; j < d; j++) inverse[i * d + j] = (i == j ? s : 0) - w[i * d + j] * w[i * d + j];
    /* LAPACK reads the transpose and leaves the transpose of its inverse: rows stay rows. */
    if (LAPACKE_dgetrf_work(LAPACK_COL_MAJOR, d, d, inverse, d, pivot) != 0) return NAN;
    double log_det = 0;
    for (int i = 0; i < d; i++) log_det += log(fabs(inverse[i * d + i]));
    if (LAPACKE_dgetri_work(LAPACK_COL_MAJOR, d, inverse, d, pivot, work, 64 * d) != 0) return NAN;
    for (int64_t i = 0; i < (int64_t)d * d; i++)
        if (!(inverse[i] >= -1e-6)) return NAN; /* also when it is NaN */
    return d * log(s) - log_det;
}

double az_sem_trace_exp(az_ctx *az, int d, const double *w, double *gradient)
{
    az_scope_push(az);
    az_tensor *square = az_new2(az, AZ_F64, d, d);
    double *a = az_f64_mut(square), trace = NAN;
    for (int64_t i = 0; a && i < (int64_t)d * d; i++) a[i] = w[i] * w[i];
    const double *e = a && az_first_nonfinite(square) < 0 ? az_f64(az_exponential(az, square)) : NULL;
    if (e) {
        trace = -d;
        for (int i = 0; i < d; i++) trace += e[i * d + i];
        for (int i = 0; gradient && i < d; i++)
            for (int j = 0; j < d; j++) gradient[i * d + j] = 2 * w[i * d + j] * e[j * d + i];
    }
    az_scope_pop(az);
    return trace;
}
