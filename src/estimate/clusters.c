/* clusters.c - covariances and likelihood of a partition, and the distance between two labelings. */
#include "estimate/clusters.h"

#include <lapacke.h>
#include <math.h>
#include <string.h>

/* ---- covariances ---- */

double *az_points_spread(az_ctx *az, const az_points *points)
{
    double *sd = az_alloc_array(az, (size_t)points->p, sizeof *sd);
    for (int j = 0; sd && j < points->p; j++) {
        double mean = 0, square = 0;
        for (int64_t i = 0; i < points->n; i++) mean += points->x[i * points->p + j] / (double)points->n;
        for (int64_t i = 0; i < points->n; i++) square += (points->x[i * points->p + j] - mean) * (points->x[i * points->p + j] - mean);
        sd[j] = square > 0 ? sqrt(square / (double)points->n) : 1;
    }
    return sd;
}

/* Raises the eigenvalues of s [p, p] to `least`; how many there were below. */
static int lift_eigenvalues(az_ctx *az, int p, double *s, double least)
{
    int lifted = 0;
    az_scope_push(az);
    double *q = az_alloc_array(az, (size_t)(p * p), sizeof *q), *values = az_alloc_array(az, (size_t)p, sizeof *values);
    if (q && values) {
        memcpy(q, s, (size_t)(p * p) * sizeof *q);
        if (LAPACKE_dsyevd(LAPACK_ROW_MAJOR, 'V', 'L', p, q, p, values) != 0)
            az_fail(az, AZ_NUMERIC, "the eigenvalues of a covariance were not found");
        for (int a = 0; a < p && az_ok(az); a++) {
            if (values[a] >= least) continue;
            lifted++;
            for (int i = 0; i < p; i++)
                for (int j = 0; j < p; j++) s[i * p + j] += (least - values[a]) * q[i * p + a] * q[j * p + a];
        }
    }
    az_scope_pop(az);
    return lifted;
}

/* Ledoit & Wolf's (2004) weight of the scaled identity for the covariance s of `mass` points, with Gaussian fourth moments. */
static double shrinkage(int p, const double *s, double mass)
{
    double trace = 0, square = 0;
    for (int i = 0; i < p; i++) trace += s[i * p + i];
    for (int i = 0; i < p * p; i++) square += s[i] * s[i];
    const double spread = square - trace * trace / p;
    return spread > 0 ? fmin((square + trace * trace) / mass / spread, 1) : 1;
}

static void share_covariances(int k, int p, const double *mass, double *covariance)
{
    double total = 0;
    for (int c = 0; c < k; c++) total += mass[c];
    for (int i = 0; i < p * p; i++) {
        double mean = 0;
        for (int c = 0; c < k; c++) mean += mass[c] / total * covariance[c * p * p + i];
        for (int c = 0; c < k; c++) covariance[c * p * p + i] = mean;
    }
}

/* The ridge, and no eigenvalue far below the mean of all, as the columns' standard deviations measure s [p, p]; how many there were. */
static int hold_up(az_ctx *az, int p, const double *sd, double *s)
{
    double mean = 0;
    for (int i = 0; i < p; i++) {
        for (int j = 0; j < p; j++) s[i * p + j] /= sd[i] * sd[j];
        mean += s[i * p + i] / p;
    }
    for (int i = 0; i < p; i++) s[i * p + i] += 1e-6 * mean + 1e-10;
    const int lifted = lift_eigenvalues(az, p, s, 1e-4 * mean + 1e-8);
    for (int i = 0; i < p; i++)
        for (int j = 0; j < p; j++) s[i * p + j] *= sd[i] * sd[j];
    return lifted;
}

void az_restrain_covariances(az_ctx *az, const az_points *points, int k, az_cov_kind kind, const double *mass, double *covariance,
                             int *floored)
{
    const int p = points->p;
    const double *sd = az_points_spread(az, points);
    *floored = 0;
    if (kind == AZ_COV_SHARED) share_covariances(k, p, mass, covariance);
    for (int c = 0; c < k && az_ok(az); c++) {
        double *s = covariance + (size_t)c * (size_t)(p * p), trace = 0;
        const double share = kind == AZ_COV_SHRINK ? shrinkage(p, s, fmax(mass[c], 1)) : 0;
        for (int i = 0; i < p; i++) trace += s[i * p + i];
        for (int i = 0; i < p * p; i++) {
            const bool diagonal = i % (p + 1) == 0;
            if (kind == AZ_COV_DIAGONAL && !diagonal) s[i] = 0;
            s[i] = (1 - share) * s[i] + (diagonal ? share * trace / p : 0);
        }
        *floored += hold_up(az, p, sd, s);
    }
}

double *az_partition_covariances(az_ctx *az, const az_points *points, int k, const int *label, az_cov_kind kind, int *floored)
{
    const int p = points->p;
    double *covariance = az_alloc_array(az, (size_t)(k * p * p), sizeof *covariance);
    az_scope_push(az);
    double *mean = az_alloc_array(az, (size_t)(k * p), sizeof *mean), *mass = az_alloc_array(az, (size_t)k, sizeof *mass);
    if (covariance && mean && mass) {
        for (int64_t i = 0; i < points->n; i++) mass[label[i]]++;
        for (int64_t i = 0; i < points->n; i++)
            for (int j = 0; j < p; j++) mean[label[i] * p + j] += points->x[i * p + j] / mass[label[i]];
        for (int64_t i = 0; i < points->n; i++) {
            const int c = label[i];
            for (int a = 0; a < p; a++)
                for (int b = 0; b < p; b++)
                    covariance[(c * p + a) * p + b] +=
                        (points->x[i * p + a] - mean[c * p + a]) * (points->x[i * p + b] - mean[c * p + b]) / mass[c];
        }
        az_restrain_covariances(az, points, k, kind, mass, covariance, floored);
    }
    az_scope_pop(az);
    return az_ok(az) ? covariance : NULL;
}

bool az_cov_factor(int p, const double *covariance, double *factor, double *log_det)
{
    memcpy(factor, covariance, (size_t)(p * p) * sizeof *factor);
    if (LAPACKE_dpotrf(LAPACK_ROW_MAJOR, 'L', p, factor, p) != 0) return false;
    *log_det = 0;
    for (int i = 0; i < p; i++) *log_det += 2 * log(factor[i * p + i]);
    return true;
}

double az_partition_likelihood(az_ctx *az, const az_points *points, int k, const int *label, const double *covariance)
{
    const int p = points->p;
    double sum = 0;
    az_scope_push(az);
    double *mean = az_alloc_array(az, (size_t)p, sizeof *mean), *off = az_alloc_array(az, (size_t)p, sizeof *off);
    double *factor = az_alloc_array(az, (size_t)(p * p), sizeof *factor);
    for (int c = 0; mean && off && factor && c < k; c++) {
        double count = 0, log_det;
        memset(mean, 0, (size_t)p * sizeof *mean);
        for (int64_t i = 0; i < points->n; i++) count += label[i] == c;
        for (int64_t i = 0; i < points->n; i++)
            for (int j = 0; label[i] == c && j < p; j++) mean[j] += points->x[i * p + j] / count;
        if (!az_cov_factor(p, covariance + (size_t)c * (size_t)(p * p), factor, &log_det)) {
            sum = NAN;
            break;
        }
        sum -= 0.5 * count * log_det;
        for (int64_t i = 0; i < points->n; i++) {
            for (int j = 0; label[i] == c && j < p; j++) { /* off = L^-1 (x - mean) */
                off[j] = points->x[i * p + j] - mean[j];
                for (int l = 0; l < j; l++) off[j] -= factor[j * p + l] * off[l];
                off[j] /= factor[j * p + j];
                sum -= 0.5 * off[j] * off[j];
            }
        }
    }
    az_scope_pop(az);
    return sum;
}

/* ---- comparing labelings ---- */

/* By shortest augmenting paths (Kuhn 1955; Jonker & Volgenant's form); 1-based inside. */
double az_match(az_ctx *az, const double *cost, int k, int *match)
{
    az_scope_push(az);
    const size_t size = (size_t)k + 1;
    double *row = az_alloc_array(az, size, sizeof *row), *column = az_alloc_array(az, size, sizeof *column);
    double *least = az_alloc_array(az, size, sizeof *least), total = 0;
    int *owner = az_alloc_array(az, size, sizeof *owner), *way = az_alloc_array(az, size, sizeof *way);
    bool *used = az_alloc_array(az, size, sizeof *used);
    for (int i = 1; row && column && least && owner && way && used && i <= k; i++) {
        int at = 0;
        owner[0] = i;
        for (int j = 0; j <= k; j++) least[j] = INFINITY, used[j] = false;
        do {
            int next = 0;
            double step = INFINITY;
            used[at] = true;
            for (int j = 1; j <= k; j++) {
                if (used[j]) continue;
                const double reduced = cost[(owner[at] - 1) * k + j - 1] - row[owner[at]] - column[j];
                if (reduced < least[j]) least[j] = reduced, way[j] = at;
                if (least[j] < step) step = least[j], next = j;
            }
            for (int j = 0; j <= k; j++) {
                if (used[j])
                    row[owner[j]] += step, column[j] -= step;
                else
                    least[j] -= step;
            }
            at = next;
        } while (owner[at] != 0);
        for (; at != 0; at = way[at]) owner[at] = owner[way[at]];
    }
    for (int j = 1; az_ok(az) && j <= k; j++) total += cost[(owner[j] - 1) * k + j - 1], match[owner[j] - 1] = j - 1;
    az_scope_pop(az);
    return total;
}

double az_label_error(az_ctx *az, const int *a, const int *b, int64_t n, int k)
{
    az_scope_push(az);
    double *cost = az_alloc_array(az, (size_t)(k * k), sizeof *cost);
    int *match = az_alloc_array(az, (size_t)k, sizeof *match);
    for (int64_t i = 0; cost && i < n; i++) cost[a[i] * k + b[i]]--;
    const double agree = cost && match ? -az_match(az, cost, k, match) : NAN;
    az_scope_pop(az);
    return 1 - agree / (double)n;
}
