/* alternating.c - matrix completion by alternating least squares whose regressions may be inexact (arXiv 2302.11068).
 *
 * U_0: leading left singular vectors of P_Omega(M) / p, clipped at 2 mu sqrt(k / m).
 * V <- argmin |P_Omega(U V^T - M)|, one regression a column on the rows of U in Omega_j; V <- Q of its QR; then U in the same way. The last
 * factor is returned as it comes. */
#include "base/parallel.h"
#include "estimate/completion.h"

#include "adze/linalg.h"

#include <cblas.h>
#include <lapacke.h>
#include <math.h>
#include <omp.h>
#include <string.h>

/* One half step: a regression for each line, on rows of the fixed factor. */
typedef struct half_step {
    const az_lines *lines;
    const double *fixed; /* [others, k] */
    double *out;         /* [lines, k] */
    int64_t k;
    const az_completion_how *how;
    double tolerance;
    uint64_t stream;
    double *work; /* [threads, room] */
    int64_t room, longest;
    int64_t *steps, *operations; /* [lines] */
    bool *deficient;             /* [lines] */
} half_step;

/* Rows of the fixed factor at the line's entries and their values, then sqrt(ridge) I. */
static int64_t gather(const half_step *p, int64_t line, double *a, double *b)
{
    const int64_t first = p->lines->start[line], count = p->lines->start[line + 1] - first, k = p->k;
    for (int64_t e = 0; e < count; e++) {
        memcpy(a + e * k, p->fixed + p->lines->other[first + e] * k, (size_t)k * sizeof *a);
        b[e] = p->lines->value[first + e];
    }
    if (p->how->ridge == 0) return count;
    memset(a + count * k, 0, (size_t)(k * k) * sizeof *a);
    for (int64_t j = 0; j < k; j++) a[(count + j) * k + j] = sqrt(p->how->ridge), b[count + j] = 0;
    return count + k;
}

/* (A^T A) x = A^T b; false when A^T A is not positive definite. */
static bool solve_normal(const double *a, const double *b, int64_t m, int64_t k, double *x, double *gram)
{
    cblas_dsyrk(CblasRowMajor, CblasUpper, CblasTrans, (int)k, (int)m, 1, a, (int)k, 0, gram, (int)k);
    cblas_dgemv(CblasRowMajor, CblasTrans, (int)m, (int)k, 1, a, (int)k, b, 1, 0, x, 1);
    return LAPACKE_dposv_work(LAPACK_COL_MAJOR, 'L', (int)k, 1, gram, (int)k, x, (int)k) == 0;
}

static void turn_regression(const void *job, int64_t line)
{
    const half_step *p = job;
    const int64_t k = p->k;
    double *a = p->work + omp_get_thread_num() * p->room, *b = a + p->longest * k, *rest = b + p->longest, *x = p->out + line * k;
    if (p->lines->start[line + 1] == p->lines->start[line]) return; /* x stays zero */
    const int64_t m = gather(p, line, a, b);
    if (p->how->regression == AZ_SOLVE_CHOLESKY) {
        p->deficient[line] = !solve_normal(a, b, m, k, x, rest);
        p->operations[line] = m * k * (k + 1) / 2 + m * k + k * k * k / 6 + k * k;
        return;
    }
    /* a sketch of a short column costs more than it saves */
    const bool whole = p->how->regression == AZ_SOLVE_QR || m < 2 * p->how->sketch * k;
    const az_sketched_how how = {.rows = whole ? m : p->how->sketch * k,
                                 .tolerance = p->tolerance,
                                 .most_steps = p->how->most_steps,
                                 .seed = p->how->seed,
                                 .stream = p->stream + (uint64_t)line};
    const az_sketched_result result = az_sketched_least_squares(a, b, m, k, x, &how, rest);
    p->deficient[line] = !result.full_rank;
    p->steps[line] = result.steps;
    p->operations[line] = result.operations;
}

static int64_t longest_line(const az_lines *lines)
{
    int64_t longest = 0;
    for (int64_t i = 0; i < lines->lines; i++)
        longest = lines->start[i + 1] - lines->start[i] > longest ? lines->start[i + 1] - lines->start[i] : longest;
    return longest;
}

/* argmin over the factor of these lines, [lines, k]; NULL with an error when a regression has no unique solution. */
static az_tensor *regress(az_ctx *az, const az_lines *lines, const az_tensor *fixed, const char *what, half_step p, az_completion *out)
{
    az_scope_push(az);
    const size_t n = (size_t)lines->lines;
    az_tensor *result = az_zeros(az, AZ_F64, 2, (int64_t[]){lines->lines, p.k});
    p.lines = lines, p.fixed = az_f64(fixed), p.out = az_f64_mut(result);
    p.longest = longest_line(lines) + (p.how->ridge > 0 ? p.k : 0);
    p.room = p.longest * (p.k + 1) + az_sketched_workspace(p.longest, p.k, p.longest);
    p.work = az_alloc_array(az, (size_t)az_threads(az) * (size_t)p.room, sizeof *p.work);
    p.steps = az_alloc_array(az, n, sizeof *p.steps), p.operations = az_alloc_array(az, n, sizeof *p.operations);
    p.deficient = az_alloc_array(az, n, sizeof *p.deficient);
    enum { WORTH_SHARING = 1 << 18 };
    const int threads = lines->start[lines->lines] * p.k * p.k < WORTH_SHARING ? 1 : az_threads(az);
    if (az_ok(az)) az_each_uneven(threads, lines->lines, turn_regression, &p);
    int64_t steps = 0;
    for (int64_t i = 0; az_ok(az) && i < lines->lines; i++) {
        if (p.deficient[i])
            az_fail(az, AZ_NUMERIC, "the %lld entries of %s %lld do not determine its %lld coefficients: lower the rank or set a ridge",
                    (long long)(lines->start[i + 1] - lines->start[i]), what, (long long)i, (long long)p.k);
        steps += p.steps[i];
        out->operations += p.operations[i];
    }
    out->steps += (double)steps;
    out->regressions += lines->lines;
    return az_keep(az, az_ok(az) ? result : NULL);
}

/* ---- the iteration ---- */

static int64_t count_empty(const az_lines *lines)
{
    int64_t empty = 0;
    for (int64_t i = 0; i < lines->lines; i++) empty += lines->start[i] == lines->start[i + 1];
    return empty;
}

/* Without a ridge each row and column that has entries needs k of them. */
static bool check_counts(az_ctx *az, const az_lines *lines, const char *what, const az_completion_how *how)
{
    for (int64_t i = 0; how->ridge == 0 && i < lines->lines; i++) {
        const int64_t count = lines->start[i + 1] - lines->start[i];
        if (count > 0 && count < how->rank)
            return az_fail(az, AZ_BAD_INPUT,
                           "%s %lld has %lld entries%s, fewer than the rank %lld: lower the rank, leave it out or set a ridge", what,
                           (long long)i, (long long)count, how->split ? " in one part of the split" : "", (long long)how->rank);
    }
    return true;
}

static az_tensor *orthonormal(az_ctx *az, const az_tensor *x)
{
    az_tensor *q = NULL, *r = NULL;
    az_qr(az, x, &q, &r);
    return q;
}

static az_tensor *start(az_ctx *az, const az_entries *entries, const az_completion_how *how)
{
    az_tensor *u = NULL, *s = NULL, *v = NULL;
    if (!az_entries_svd(az, entries, how->rank, how->seed, &u, &s, &v) || how->mu == 0) return u;
    const double bound = 2 * how->mu * sqrt((double)how->rank / (double)entries->rows.lines);
    double *value = az_f64_mut(u);
    for (int64_t i = 0; i < az_count(u); i++)
        if (fabs(value[i]) > bound) value[i] = 0;
    return orthonormal(az, u);
}

typedef struct sweep {
    const az_entries *all, **part; /* part [2 T + 1], each the whole set when not split */
    const az_completion_how *how;
    az_completion *out;
    double norm, residual;
} sweep;

/* V from U, then U from Q of V: out->u and out->v. */
static bool run_sweep(az_ctx *az, sweep *p, int64_t t)
{
    const int64_t total = p->how->iterations;
    half_step step = {.k = p->how->rank,
                      .how = p->how,
                      .tolerance = p->how->tolerance * (p->how->tighten ? fmin(1, p->residual) : 1),
                      .stream = az_stream("completion", (uint64_t)(2 * t))};
    az_scope_push(az);
    const az_tensor *v = regress(az, &p->part[t + 1]->columns, p->out->u, "column", step, p->out);
    az_tensor *result[2] = {0};
    result[1] = orthonormal(az, v);
    step.stream = az_stream("completion", (uint64_t)(2 * t + 1));
    result[0] = result[1] ? regress(az, &p->part[total + t + 1]->rows, result[1], "row", step, p->out) : NULL;
    az_keep_all(az, result, 2);
    p->out->u = result[0], p->out->v = result[1];
    return az_ok(az);
}

static bool iterate(az_ctx *az, sweep *p)
{
    const az_completion_how *how = p->how;
    az_completion *out = p->out;
    while (out->iterations < how->iterations) {
        if (out->iterations > 0) out->u = orthonormal(az, out->u);
        if (!run_sweep(az, p, out->iterations)) return false;
        const double before = p->residual;
        p->residual = az_completion_error(out, p->all, false) / p->norm;
        out->residual[out->iterations++] = p->residual;
        out->converged = fabs(before - p->residual) <= how->stop * before || p->residual < 1e-15;
        if (!az_progress(az, "alternating", out->iterations, how->iterations, az_format_text(az, "residual %.3g", p->residual)))
            return az_fail(az, AZ_INTERRUPTED, "interrupted after %lld iterations", (long long)out->iterations);
        if (out->converged) break;
    }
    if (out->regressions > 0) out->steps /= (double)out->regressions;
    return true;
}

static double norm_of(const az_entries *entries)
{
    return cblas_dnrm2((int)entries->count, entries->rows.value, 1);
}

az_completion *az_complete_alternating(az_ctx *az, const az_entries *entries, const az_completion_how *how)
{
    if (!entries || !az_entries_check_rank(az, entries, how->rank)) return NULL;
    const int parts = (int)(2 * how->iterations + 1);
    az_completion *out = az_alloc(az, sizeof *out);
    az_entries **part = az_alloc_array(az, (size_t)parts, sizeof *part);
    sweep p = {.all = entries, .how = how, .out = out, .norm = norm_of(entries), .residual = 1};
    if (!out || !part || !(out->residual = az_alloc_array(az, (size_t)how->iterations, sizeof(double)))) return NULL;
    if (p.norm == 0) return az_fail(az, AZ_BAD_INPUT, entries->count > 0 ? "all known entries are zero" : "no entry is known");
    if (how->split && !az_entries_split(az, entries, parts, how->seed, part)) return NULL;
    for (int i = 0; i < parts && !how->split; i++) part[i] = (az_entries *)entries;
    for (int i = 1; i < (how->split ? parts : 2); i++)
        if (!check_counts(az, &part[i]->columns, "column", how) || !check_counts(az, &part[i]->rows, "row", how)) return NULL;
    p.part = (const az_entries **)part;
    out->empty_rows = count_empty(&entries->rows), out->empty_columns = count_empty(&entries->columns);
    out->u = start(az, part[0], how);
    return out->u && iterate(az, &p) ? out : NULL;
}

double az_completion_value(const az_completion *completion, int64_t i, int64_t j)
{
    const int64_t k = completion->u->shape[1];
    return cblas_ddot((int)k, az_f64(completion->u) + i * k, 1, az_f64(completion->v) + j * k, 1);
}

double az_completion_error(const az_completion *completion, const az_entries *entries, bool mean)
{
    double sum = 0;
    for (int64_t i = 0; i < entries->rows.lines; i++) {
        for (int64_t e = entries->rows.start[i]; e < entries->rows.start[i + 1]; e++) {
            const double off = az_completion_value(completion, i, entries->rows.other[e]) - entries->rows.value[e];
            sum += off * off;
        }
    }
    return sqrt(mean ? sum / (double)entries->count : sum);
}
