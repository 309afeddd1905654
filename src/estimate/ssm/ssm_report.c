/* ssm_report.c - tables, curves and results of smoothing and learning. */
#include "estimate/ssm/ssm_report.h"
#include "estimate/ssm/spec.h"

enum { MOST_ROWS = 20, MOST_CURVES = 8 };

/* ---- states ----------------------------------------------------------------------------------------------------------------------------
 */

/* Means [n, d] and standard deviations [n, d] of the states. */
typedef struct states {
    int64_t n;
    int d;
    const double *mean, *sd;
} states;

static void report_states(az_ctx *az, const states *s, az_report *report)
{
    for (int64_t t = 0; t < s->n && t < MOST_ROWS; t++) {
        az_report_row(report, "states");
        az_report_count(report, "t", t);
        for (int i = 0; i < s->d && i < 4; i++) {
            az_report_number(report, az_ssm_label(az, "x", i, s->d), s->mean[t * s->d + i], "");
            az_report_number(report, az_ssm_label(az, "sd", i, s->d), s->sd[t * s->d + i], "");
        }
    }
    if (s->n > MOST_ROWS || s->d > 4) az_note(az, "the table of states is cut; -o writes it whole");
}

static double *column(az_ctx *az, const states *s, const double *from, int i)
{
    double *out = az_alloc_array(az, (size_t)s->n, sizeof *out);
    for (int64_t t = 0; out && t < s->n; t++) out[t] = from[t * s->d + i];
    return out;
}

static void draw_states(az_ctx *az, const states *s, az_report *report)
{
    double *time = az_alloc_array(az, (size_t)s->n, sizeof *time), *low = column(az, s, s->mean, 0), *high = column(az, s, s->mean, 0);
    const double *mean = column(az, s, s->mean, 0);
    if (!az_ok(az)) return;
    for (int64_t t = 0; t < s->n; t++) {
        time[t] = (double)t;
        low[t] -= 2 * s->sd[t * s->d];
        high[t] += 2 * s->sd[t * s->d];
    }
    const char *label = az_ssm_label(az, "state x", 0, s->d);
    az_report_curve(report, "mean", "t", label, s->n, time, mean);
    az_report_curve(report, "mean - 2 sd", "t", label, s->n, time, low);
    az_report_curve(report, "mean + 2 sd", "t", label, s->n, time, high);
}

static bool give_states(az_ctx *az, const states *s, az_results *results)
{
    az_table *table = az_table_new(az, s->n);
    double *time = az_alloc_array(az, (size_t)s->n, sizeof *time);
    for (int64_t t = 0; time && t < s->n; t++) time[t] = (double)t;
    bool ok = time && az_table_add(az, table, "t", time);
    for (int i = 0; ok && i < s->d; i++) ok = az_table_add(az, table, az_ssm_label(az, "x", i, s->d), column(az, s, s->mean, i));
    for (int i = 0; ok && i < s->d; i++) ok = az_table_add(az, table, az_ssm_label(az, "sd", i, s->d), column(az, s, s->sd, i));
    if (ok) az_results_table(results, "states", table);
    return ok;
}

static bool tell_states(az_ctx *az, const states *s, az_estimate_job *job)
{
    report_states(az, s, job->report);
    draw_states(az, s, job->report);
    return give_states(az, s, job->results);
}

/* From the moments that az_ssm_moments sums. */
static bool states_of_moments(az_ctx *az, const az_ssm_problem *problem, const double *moments, states *s)
{
    const int d = problem->model->states;
    const int64_t n = problem->n;
    double *sd = az_alloc_array(az, (size_t)(n * d), sizeof *sd);
    for (int64_t i = 0; sd && i < n * d; i++) {
        const double square = moments[n * d + i / d * d * d + i % d * (d + 1)] - moments[i] * moments[i];
        sd[i] = sqrt(fmax(0, square));
    }
    *s = (states){n, d, moments, sd};
    return sd != NULL;
}

/* ---- smoothing
 * --------------------------------------------------------------------------------------------------------------------------- */

bool az_ssm_run_study(az_ctx *az, az_ssm_study *study)
{
    const double began = az_seconds();
    study->smoothing = az_ssm_smooth(az, study->problem, &study->how);
    study->seconds = az_seconds() - began;
    return study->smoothing != NULL;
}

static const char *sum_name(az_ctx *az, const az_ssm_study *study, int64_t k)
{
    static const char *const format[] = {"sum %s(t)", "sum %s(t)^2", "sum %s(t) %s(t+1)"};
    const az_ssm *model = study->problem->model;
    if (study->score) return model->parameter[k].name;
    const char *x = az_ssm_label(az, "x", (int)(k % model->states), model->states);
    return az_format_text(az, k / model->states == 2 ? format[2] : format[k / model->states], x, x);
}

static void report_run(const az_ssm_study *study, az_report *report, const char *section)
{
    const az_ssm_smoothing *s = study->smoothing;
    const bool exact = study->how.method == AZ_SSM_KALMAN, gibbs = study->how.method == AZ_SSM_PPG || study->how.method == AZ_SSM_PG;
    az_report_row(report, section);
    az_report_text(report, "method", az_ssm_method_names[study->how.method]);
    az_report_count(report, "times", study->problem->n);
    az_report_count(report, "particles", exact ? 0 : study->how.particles);
    az_report_count(report, "sweeps", gibbs ? s->sweeps : 1);
    az_report_count(report, "chains", s->chains);
    az_report_number(report, "log_likelihood", s->log_likelihood, "nat");
    az_report_number(report, "tries", s->tries, "");
    az_report_number(report, "seconds", study->seconds, "s");
}

static bool report_sums(az_ctx *az, const az_ssm_study *study, az_report *report)
{
    const az_ssm_smoothing *s = study->smoothing, *exact = NULL;
    if (study->problem->model->linear && study->how.method != AZ_SSM_KALMAN) {
        exact = az_ssm_smooth(az, study->problem, &(az_ssm_how){.method = AZ_SSM_KALMAN});
        if (!exact) return false;
    }
    for (int64_t k = 0; k < study->problem->functional[0].count; k++) {
        az_report_row(report, study->score ? "score" : "sums");
        az_report_text(report, study->score ? "parameter" : "sum", sum_name(az, study, k));
        az_report_number(report, "value", s->value[k], "");
        az_report_number(report, "se", s->se[k], "");
        if (exact) az_report_number(report, "exact", exact->value[k], "");
    }
    return true;
}

bool az_ssm_report_study(az_ctx *az, const az_ssm_study *study, az_estimate_job *job)
{
    const int64_t count = study->problem->functional[0].count;
    const char **name = az_alloc_array(az, (size_t)count, sizeof *name);
    states s;
    report_run(study, job->report, "smoothing");
    if (!name || !report_sums(az, study, job->report)) return false;
    for (int64_t k = 0; k < count; k++) name[k] = sum_name(az, study, k);
    if (study->states) {
        const double *moments = study->smoothing->value + count;
        if (!states_of_moments(az, study->problem, moments, &s) || !tell_states(az, &s, job)) return false;
    }
    az_results_array(job->results, study->score ? "score" : "sums", az_from(az, AZ_F64, 1, &count, study->smoothing->value), name, NULL);
    return az_ok(az);
}

void az_ssm_report_method(az_ctx *az, const az_ssm_study *study, az_report *report)
{
    report_run(study, report, "methods");
    for (int64_t k = 0; k < study->problem->functional[0].count && k < 6; k++)
        az_report_number(report, az_format_text(az, "value%lld", (long long)k + 1), study->smoothing->value[k], "");
}

/* ---- learning
 * ------------------------------------------------------------------------------------------------------------------------------ */

static void report_learning(const az_ssm_problem *problem, const az_ssm_learning *learning, double seconds, az_report *report)
{
    az_report_row(report, "learning");
    az_report_text(report, "method", az_ssm_method_names[learning->how.method]);
    az_report_count(report, "times", problem->n);
    az_report_count(report, "steps", learning->steps);
    az_report_number(report, "seconds", seconds, "s");
}

/* Of the likelihood at theta: exact, or by a pass with many particles. */
static double log_likelihood(az_ctx *az, const az_ssm_problem *problem, const double *theta)
{
    az_ssm_problem here = *problem;
    here.theta = theta, here.functionals = 0;
    const az_ssm_how how = {
        .method = here.model->linear ? AZ_SSM_KALMAN : AZ_SSM_PARIS, .particles = 1000, .draws = 1, .online = true, .seed = az_seed(az)};
    const az_ssm_smoothing *s = az_ssm_smooth(az, &here, &how);
    return s ? s->log_likelihood : NAN;
}

static void draw_trace(az_ctx *az, const az_ssm *model, const az_ssm_learning *learning, const az_ssm_fit *fit, az_report *report)
{
    const int64_t n = learning->steps + 1, p = model->parameters;
    double *step = az_alloc_array(az, (size_t)n, sizeof *step), *value = az_alloc_array(az, (size_t)n, sizeof *value);
    int curves = 0;
    for (int64_t i = 0; step && value && i < p && curves < MOST_CURVES; i++) {
        if (learning->free && !learning->free[i]) continue;
        for (int64_t k = 0; k < n; k++) step[k] = (double)k, value[k] = fit->trace[k * p + i];
        az_report_curve(report, model->parameter[i].name, "step", "parameter", n, step, value);
        curves++;
    }
}

bool az_ssm_report_fit(az_ctx *az, const az_ssm_problem *problem, const az_ssm_learning *learning, const az_ssm_fit *fit, double seconds,
                       az_estimate_job *job)
{
    const az_ssm *model = problem->model;
    const int64_t p = model->parameters, shape[] = {learning->steps + 1, p};
    const char **name = az_alloc_array(az, (size_t)p, sizeof *name);
    if (!name) return false;
    report_learning(problem, learning, seconds, job->report);
    az_report_number(job->report, "log_likelihood", log_likelihood(az, problem, fit->theta), "nat");
    az_report_number(job->report, "at_start", log_likelihood(az, problem, fit->trace), "nat");
    for (int64_t i = 0; i < p; i++) {
        name[i] = model->parameter[i].name;
        if (i >= MOST_ROWS) continue;
        az_report_row(job->report, "parameters");
        az_report_text(job->report, "parameter", name[i]);
        az_report_number(job->report, "start", fit->trace[i], "");
        az_report_number(job->report, "value", fit->theta[i], "");
        az_report_bool(job->report, "free", !learning->free || learning->free[i]);
    }
    if (p > MOST_ROWS) az_note(az, "the table of parameters is cut; -o writes it whole");
    draw_trace(az, model, learning, fit, job->report);
    az_results_array(job->results, "parameters", az_from(az, AZ_F64, 1, &p, fit->theta), name, NULL);
    az_results_array(job->results, "trace", az_from(az, AZ_F64, 2, shape, fit->trace), NULL, name);
    return az_ok(az);
}

/* How far the law is from the exact one, where that is known: largest differences of means and standard deviations. */
static bool report_distance(az_ctx *az, const az_ssm_problem *problem, const states *s, az_report *report)
{
    const az_kalman *exact = problem->model->linear ? az_kalman_smooth(az, problem) : NULL;
    double mean = 0, sd = 0;
    if (!exact) return az_ok(az);
    for (int64_t i = 0; i < s->n * s->d; i++) {
        mean = fmax(mean, fabs(s->mean[i] - exact->mean[i]));
        sd = fmax(sd, fabs(s->sd[i] - sqrt(exact->covariance[i / s->d * s->d * s->d + i % s->d * (s->d + 1)])));
    }
    az_report_number(report, "mean_off", mean, "");
    az_report_number(report, "sd_off", sd, "");
    return true;
}

bool az_ssm_report_path_law(az_ctx *az, const az_ssm_problem *problem, const az_ssm_learning *learning, const az_ssm_path_law *law,
                            double seconds, az_estimate_job *job)
{
    const int d = law->states;
    double *sd = az_alloc_array(az, (size_t)(law->n * d), sizeof *sd), *step = az_alloc_array(az, (size_t)learning->steps, sizeof *step);
    if (!sd || !step) return false;
    for (int64_t i = 0; i < law->n * d; i++) sd[i] = sqrt(law->covariance[i / d * d * d + i % d * (d + 1)]);
    for (int64_t k = 0; k < learning->steps; k++) step[k] = (double)(k + 1);
    const states s = {law->n, d, law->mean, sd};
    report_learning(problem, learning, seconds, job->report);
    if (!report_distance(az, problem, &s, job->report) || !tell_states(az, &s, job)) return false;
    az_report_curve(job->report, "score", "step", "norm of the score", learning->steps, step, law->score_size);
    const int64_t shape[] = {law->n, d, d};
    az_results_array(job->results, "covariance", az_from(az, AZ_F64, 3, shape, law->covariance), NULL, NULL);
    return az_ok(az);
}
