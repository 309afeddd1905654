/* krosbl.c - sparse vectors with Kronecker-structured support from Kronecker-structured measurements.
 *
 * Problem: y = (A_1 kron ... kron A_F) x + n, x sparse with a support that is a product of supports of the factors.
 * Prior: x ~ N(0, diag(gamma_1 kron ... kron gamma_F)); the evidence is maximised by expectation-maximisation, whose M-step keeps the
 * Kronecker form by alternating minimisation (am: the cost never rises) or by rank-one approximations of the moments (svd: usually better).
 *
 * He, Joseph: "Bayesian algorithms for Kronecker-structured sparse vector recovery with application to IRS-MIMO channel estimation", IEEE
 * Trans. Signal Processing 2025 (arXiv 2307.14719). */
#include "estimate/kro_sbl.h"
#include "estimate/estimate_internal.h"

#include "adze/method.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct krosbl_options {
    int method;
    double noise, tolerance, inner_tolerance, prune, alpha, beta;
    int64_t iterations, sweeps;
    const char *beside;
} krosbl_options;

static const az_option krosbl_table[] = {
    {"method", AZ_FIELD(AZ_CHOICE, krosbl_options, method), "svd", 0, 0, az_sbl_names,
     "svd, am, am-block (neighbours coupled), ksbl (one sweep); without structure sbl, pcsbl, omp; greedy komp; oracle"},
    {"noise", AZ_FIELD(AZ_REAL, krosbl_options, noise), "-1", -1, INFINITY, NULL, "variance of the noise; -1 = unknown, estimated"},
    {"iterations", AZ_FIELD(AZ_INT, krosbl_options, iterations), "150", 1, 1e6, NULL, "at most"},
    {"tol", AZ_FIELD(AZ_REAL, krosbl_options, tolerance), "1e-4", 0, 1, NULL, "ends when gamma changes less, relatively"},
    {"sweeps", AZ_FIELD(AZ_INT, krosbl_options, sweeps), "0", 0, 1e6, NULL, "of am in each iteration; 0 = 100, am-block 9"},
    {"inner_tol", AZ_FIELD(AZ_REAL, krosbl_options, inner_tolerance), "1e-5", 0, 1, NULL, "sweeps end when no gamma_f moves more"},
    {"prune", AZ_FIELD(AZ_REAL, krosbl_options, prune), "-1", -1, 0.999, NULL,
     "entries below this share of the largest are dropped; -1 = 0.01 (am), 0.001 (svd, sbl), half with unknown noise"},
    {"alpha", AZ_FIELD(AZ_REAL, krosbl_options, alpha), "0.8", 0, 1, NULL, "am-block: coupling of neighbours in the first factor"},
    {"beta", AZ_FIELD(AZ_REAL, krosbl_options, beta), "0.8", 0, 1, NULL, "am-block: in the last factor; pcsbl: in the whole vector"},
    {"beside", AZ_FIELD(AZ_TEXT, krosbl_options, beside), "", 0, 0, NULL, "other methods to run and compare, joined by +, or all"},
    {0},
};
enum { SLOT_FACTOR, SLOT_Y, SLOT_TRUTH };
static const az_input_slot krosbl_inputs[] = {
    [SLOT_FACTOR] = {"factor", AZ_INPUT_ARRAY, 1, AZ_KRON_MOST, "the matrices A_1, A_2, ... in their order"},
    [SLOT_Y] = {"y", AZ_INPUT_ARRAY, 1, 1, "the measurements, the last factor's index the fastest"},
    [SLOT_TRUTH] = {"truth", AZ_INPUT_ARRAY, 0, 1, "the true x, to compare with"},
    {0},
};

/* ---- what is given ---- */

typedef struct problem {
    az_kron a;
    const az_complex *y, *truth; /* truth may be NULL */
    bool complex;
} problem;

/* The elements of an array as complex numbers. */
static const az_complex *elements(az_ctx *az, const az_array *array, int64_t *count, bool *complex)
{
    const az_tensor *x = az_contiguous(az, array->value);
    if (!x) return NULL;
    const int64_t n = az_count(x) / (array->complex ? 2 : 1);
    az_complex *out = az_alloc_array(az, (size_t)n, sizeof *out);
    for (int64_t i = 0; out && i < n; i++) out[i] = array->complex ? az_item(x, 2 * i) + az_item(x, 2 * i + 1) * I : az_item(x, i);
    *count = n;
    *complex = *complex || array->complex;
    return out;
}

static bool check_sizes(az_ctx *az, const char *what, const az_complex *x, int64_t n)
{
    double largest = 0;
    for (int64_t i = 0; i < n; i++) largest = fmax(largest, cabs(x[i]));
    return check_size(az, what, largest);
}

static bool read_factors(az_ctx *az, const az_estimate_job *job, problem *p)
{
    p->a.factors = job->inputs[SLOT_FACTOR].count;
    for (int f = 0; f < p->a.factors; f++) {
        const az_input *input = az_job_input(job, SLOT_FACTOR, f);
        const az_array *array = input->array;
        int64_t count;
        if (array->value->rank != 2 + array->complex)
            return az_fail(az, AZ_BAD_INPUT, "%s is %s: each factor is a matrix", input->path, az_shape_text(az, array->value));
        const int64_t rows = array->value->shape[0], columns = array->value->shape[1];
        if (rows < 1 || columns < 1 || rows > 4096 || columns > 65536)
            return az_fail(az, AZ_BAD_INPUT, "%s: a factor of %lld x %lld is beyond 4096 x 65536", input->path, (long long)rows,
                           (long long)columns);
        p->a.factor[f] = (az_kron_factor){rows, columns, elements(az, array, &count, &p->complex)};
        if (!p->a.factor[f].value || !check_sizes(az, input->path, p->a.factor[f].value, count)) return false;
    }
    if (az_kron_columns(&p->a) > 1 << 28) return az_fail(az, AZ_BAD_INPUT, "the product of the factors has more than 2^28 columns");
    return az_ok(az);
}

static bool read_problem(az_ctx *az, const az_estimate_job *job, problem *p)
{
    int64_t count = 0;
    *p = (problem){0};
    if (!read_factors(az, job, p)) return false;
    p->y = elements(az, az_job_input(job, SLOT_Y, 0)->array, &count, &p->complex);
    if (!p->y) return false;
    if (!check_sizes(az, "y", p->y, count)) return false;
    if (count != az_kron_rows(&p->a))
        return az_fail(az, AZ_BAD_INPUT, "y has %lld entries, the product of the factors %lld rows: the factors come first, y last",
                       (long long)count, (long long)az_kron_rows(&p->a));
    if (!az_job_input(job, SLOT_TRUTH, 0)) return true;
    az_array truth = *az_job_input(job, SLOT_TRUTH, 0)->array;
    if (p->complex && truth.value->rank == 2 && truth.value->shape[1] == 2) truth.complex = true; /* pairs, as this method writes them */
    bool complex = false;
    p->truth = elements(az, &truth, &count, &complex);
    if (p->truth && count != az_kron_columns(&p->a))
        return az_fail(az, AZ_BAD_INPUT, "the truth has %lld entries, the product of the factors %lld columns", (long long)count,
                       (long long)az_kron_columns(&p->a));
    return az_ok(az);
}

/* ---- solving ---- */

static az_sbl_how how_of(const krosbl_options *o, const problem *p, az_sbl_kind kind)
{
    const double usual = kind == AZ_SBL_AM || kind == AZ_SBL_KSBL || kind == AZ_SBL_BLOCK ? 1e-2 : 1e-3;
    az_sbl_how how = {.kind = kind,
                      .noise = o->noise,
                      .iterations = o->iterations,
                      .sweeps = o->sweeps > 0          ? o->sweeps
                                : kind == AZ_SBL_BLOCK ? 9
                                                       : 100,
                      .tolerance = o->tolerance,
                      .inner_tolerance = o->inner_tolerance,
                      .alpha = o->alpha,
                      .beta = o->beta,
                      .truth = p->truth};
    for (int f = 0; f < p->a.factors; f++) {
        const double own = kind == AZ_SBL_BLOCK && f > 0 && f < p->a.factors - 1 ? 0.1 : usual;
        how.prune[f] = o->prune >= 0 ? o->prune : o->noise < 0 ? own / 2 : own;
    }
    return how;
}

static void report_quality(az_report *report, const problem *p, const az_complex *x)
{
    double off = 0, size = 0, largest = 0;
    int64_t both = 0, either = 0;
    const int64_t n = az_kron_columns(&p->a);
    for (int64_t j = 0; j < n; j++) largest = fmax(largest, cabs(x[j]));
    for (int64_t j = 0; j < n; j++) {
        const bool own = cabs(x[j]) > 1e-3 * largest, real = p->truth[j] != 0;
        off += creal((x[j] - p->truth[j]) * conj(x[j] - p->truth[j]));
        size += creal(p->truth[j] * conj(p->truth[j]));
        both += own && real, either += own || real;
    }
    az_report_number(report, "nmse", off / size, "");
    az_report_number(report, "support_rate", either > 0 ? (double)both / (double)either : NAN, "");
}

static void report_fit(az_report *report, const char *section, az_sbl_kind kind, const problem *p, const az_sbl_fit *fit, double seconds)
{
    az_report_row(report, section);
    az_report_text(report, "method", az_sbl_names[kind]);
    if (p->truth) report_quality(report, p, fit->x);
    az_report_count(report, "kept", fit->support);
    az_report_number(report, "noise", fit->noise, "");
    az_report_number(report, "cost", fit->cost, "");
    az_report_count(report, "iterations", fit->iterations);
    az_report_bool(report, "converged", fit->converged);
    az_report_number(report, "seconds", seconds, "s");
}

/* Entries of x that are not small, with their index in each factor. */
static void report_support(az_ctx *az, az_report *report, const problem *p, const az_complex *x)
{
    enum { MOST_ROWS = 100 };
    double largest = 0;
    int rows = 0;
    const int64_t n = az_kron_columns(&p->a);
    for (int64_t j = 0; j < n; j++) largest = fmax(largest, cabs(x[j]));
    for (int64_t j = 0; j < n && rows < MOST_ROWS; j++) {
        if (!(cabs(x[j]) > 1e-3 * largest)) continue;
        const char *index = "";
        for (int64_t f = p->a.factors - 1, rest = j; f >= 0 && index; f--) {
            index = az_format_text(az, "%lld%s%s", (long long)(rest % p->a.factor[f].columns), *index ? "," : "", index);
            rest /= p->a.factor[f].columns;
        }
        az_report_row(report, "support");
        az_report_count(report, "position", j);
        az_report_text(report, "index", index);
        az_report_number(report, "real", creal(x[j]), "");
        if (p->complex) az_report_number(report, "imaginary", cimag(x[j]), "");
        rows++;
    }
    if (rows == MOST_ROWS) az_note(az, "only the first %d entries of the support are listed; -o writes x", MOST_ROWS);
}

static bool hand_over(az_ctx *az, const az_estimate_job *job, const problem *p, az_sbl_kind kind, const az_sbl_fit *fit)
{
    const int64_t n = az_kron_columns(&p->a), shape[] = {n, 2};
    double *parts = az_alloc_array(az, (size_t)(2 * n), sizeof *parts);
    for (int64_t j = 0; parts && j < n; j++) {
        parts[p->complex ? 2 * j : j] = creal(fit->x[j]);
        if (p->complex) parts[2 * j + 1] = cimag(fit->x[j]);
    }
    if (!parts) return false;
    az_results_array(job->results, "x", az_from(az, AZ_F64, p->complex ? 2 : 1, shape, parts), NULL, NULL);
    const bool whole = kind == AZ_SBL_CLASSIC || kind == AZ_SBL_COUPLED;
    for (int f = 0; f < (whole ? 1 : p->a.factors) && fit->gamma[f]; f++)
        az_results_array(job->results, az_format_text(az, "gamma%d", f + 1),
                         az_from(az, AZ_F64, 1, whole ? &n : &p->a.factor[f].columns, fit->gamma[f]), NULL, NULL);
    if (fit->costs) {
        double *x = az_alloc_array(az, (size_t)fit->iterations, sizeof *x);
        for (int64_t i = 0; x && i < fit->iterations; i++) x[i] = (double)(i + 1);
        if (x) az_report_curve(job->report, "cost", "iteration", "cost", fit->iterations, x, fit->costs);
    }
    return az_ok(az);
}

/* ---- the method ---- */

/* All are those that can run: the oracle knows the true support. */
static bool choose_methods(az_ctx *az, const krosbl_options *o, const problem *p, bool wanted[AZ_SBL_KINDS])
{
    if (!read_beside(az, o->beside, &(alternatives){"method", az_sbl_names, AZ_SBL_KINDS, o->method}, wanted)) return false;
    if (strcmp(o->beside, "all") == 0 && !p->truth) wanted[AZ_SBL_ORACLE] = false;
    if ((o->method == AZ_SBL_ORACLE || wanted[AZ_SBL_ORACLE]) && !p->truth)
        return az_fail(az, AZ_BAD_INPUT, "method=oracle knows the support: -d truth=FILE is missing");
    return true;
}

static bool krosbl_estimate(az_ctx *az, const void *options, az_estimate_job *job)
{
    const krosbl_options *o = options;
    problem p;
    bool wanted[AZ_SBL_KINDS], first = true;
    if (!read_problem(az, job, &p) || !choose_methods(az, o, &p, wanted)) return false;
    if (o->noise > -1 && !(o->noise > 0)) return az_fail(az, AZ_BAD_INPUT, "noise=%g: a positive variance, or -1 for unknown", o->noise);
    double largest = 0;
    for (int64_t i = 0; i < az_kron_rows(&p.a); i++) largest = fmax(largest, cabs(p.y[i]));
    if (largest == 0) {
        az_note(az, "y is zero, and so is x");
        az_results_array(job->results, "x", az_zeros(az, AZ_F64, p.complex ? 2 : 1, (int64_t[]){az_kron_columns(&p.a), 2}), NULL, NULL);
        az_report_row(job->report, "fit");
        az_report_count(job->report, "kept", 0);
        return az_ok(az);
    }
    double own = 0;
    for (int i = -1; i < AZ_SBL_KINDS; i++) { /* the chosen one first */
        const az_sbl_kind kind = (az_sbl_kind)(i < 0 ? o->method : i);
        if (i >= 0 && !wanted[i]) continue;
        const az_sbl_how how = how_of(o, &p, kind);
        const double began = az_seconds();
        const az_sbl_fit *fit = az_sbl_solve(az, &p.a, p.y, &how);
        const double seconds = az_seconds() - began;
        if (!fit) return false;
        if (i < 0) {
            own = seconds;
            report_fit(job->report, "fit", kind, &p, fit, own);
            report_support(az, job->report, &p, fit->x);
            if (!hand_over(az, job, &p, kind, fit)) return false;
            for (int k = 0; k < AZ_SBL_KINDS && first; k++)
                if (wanted[k]) report_fit(job->report, "methods", kind, &p, fit, own), first = false;
        } else {
            report_fit(job->report, "methods", kind, &p, fit, seconds);
        }
    }
    return az_ok(az);
}

const az_method az_krosbl = {
    .name = "krosbl",
    .family = AZ_ESTIMATE,
    .summary = "recover a sparse vector whose support is a Kronecker product, from Kronecker-structured measurements",
    .paper = "He, Joseph: Bayesian algorithms for Kronecker-structured sparse vector recovery with application to IRS-MIMO channel "
             "estimation, arXiv 2307.14719",
    .details = "Solves y = (A_1 kron A_2 kron ...) x + noise for a sparse x, real or complex: -d A1.npy -d A2.npy -d A3.npy -d y.npy. The "
               "large matrix is never formed. Noise of unknown variance is estimated. -d truth=x.npy tells the error; beside=all runs the "
               "other methods too, also those that form the matrix (sbl, pcsbl, omp). -o x.npy writes x, complex numbers as pairs, "
               "as which the truth may come too. The estimate turns with the units of y and of the factors: inner_tol is in those in which "
               "their entries have a mean square of one.",
    .example = "printf '1,0,1\\n0,1,1\\n' > a1.csv; printf '1,1,0\\n0,1,1\\n' > a2.csv; printf '1\\n1\\n1\\n1\\n' > y.csv\n"
               "adze estimate krosbl -d a1.csv -d a2.csv -d y.csv -o x.npy",
    .options = krosbl_table,
    .options_size = sizeof(krosbl_options),
    .inputs = krosbl_inputs,
    .estimate = krosbl_estimate,
};
