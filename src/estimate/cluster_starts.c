/* cluster_starts.c - K-means, Ward's hierarchical clustering and Gaussian mixtures: starts for others, and methods of their own. */
#include "estimate/clusters.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double distance(const double *a, const double *b, int p)
{
    double sum = 0;
    for (int j = 0; j < p; j++) sum += (a[j] - b[j]) * (a[j] - b[j]);
    return sum;
}

/* ---- K-means ---- */

/* k-means++ (Arthur & Vassilvitskii 2007): each centre a point drawn in proportion to its squared distance to the centres before. */
static void draw_centres(const az_points *points, int k, az_rng *rng, double *centre, double *nearest)
{
    const int p = points->p;
    int64_t chosen = (int64_t)az_below(rng, (uint64_t)points->n);
    for (int64_t i = 0; i < points->n; i++) nearest[i] = INFINITY;
    for (int c = 0; c < k; c++) {
        memcpy(centre + c * p, points->x + chosen * p, (size_t)p * sizeof *centre);
        double total = 0;
        for (int64_t i = 0; i < points->n; i++) {
            nearest[i] = fmin(nearest[i], distance(points->x + i * p, centre + c * p, p));
            total += nearest[i];
        }
        double at = az_uniform(rng) * total;
        chosen = 0;
        while (chosen + 1 < points->n && (at -= nearest[chosen]) >= 0) chosen++;
    }
}

/* Labels of the nearest centres; the sum of squared distances. */
static double assign(const az_points *points, int k, const double *centre, int *label, double *nearest)
{
    const int p = points->p;
    double cost = 0;
    for (int64_t i = 0; i < points->n; i++) {
        nearest[i] = INFINITY;
        for (int c = 0; c < k; c++) {
            const double d = distance(points->x + i * p, centre + c * p, p);
            if (d < nearest[i]) nearest[i] = d, label[i] = c;
        }
        cost += nearest[i];
    }
    return cost;
}

/* Means of the groups; an empty one moves to the point that is farthest from its centre. */
static void move_centres(const az_points *points, int k, const int *label, const double *nearest, double *centre, double *count)
{
    const int p = points->p;
    memset(centre, 0, (size_t)(k * p) * sizeof *centre);
    memset(count, 0, (size_t)k * sizeof *count);
    for (int64_t i = 0; i < points->n; i++) {
        count[label[i]]++;
        for (int j = 0; j < p; j++) centre[label[i] * p + j] += points->x[i * p + j];
    }
    int64_t farthest = 0;
    for (int64_t i = 1; i < points->n; i++)
        if (nearest[i] > nearest[farthest]) farthest = i;
    for (int c = 0; c < k; c++)
        for (int j = 0; j < p; j++) centre[c * p + j] = count[c] > 0 ? centre[c * p + j] / count[c] : points->x[farthest * p + j];
}

int *az_kmeans(az_ctx *az, const az_points *points, int k, int restarts, uint64_t seed, double *cost)
{
    enum { MOST_TURNS = 300 };
    const size_t n = (size_t)points->n;
    int *best = az_alloc_array(az, n, sizeof *best);
    az_scope_push(az);
    int *label = az_alloc_array(az, n, sizeof *label);
    double *centre = az_alloc_array(az, (size_t)(k * points->p), sizeof *centre), *nearest = az_alloc_array(az, n, sizeof *nearest);
    double *count = az_alloc_array(az, (size_t)k, sizeof *count);
    *cost = INFINITY;
    for (int r = 0; best && label && centre && nearest && count && r < restarts; r++) {
        az_rng rng = az_rng_at(seed, az_stream("k-means", (uint64_t)r));
        draw_centres(points, k, &rng, centre, nearest);
        double now = INFINITY, before;
        int turn = 0;
        do {
            before = now;
            now = assign(points, k, centre, label, nearest);
            move_centres(points, k, label, nearest, centre, count);
        } while (now < before && ++turn < MOST_TURNS);
        if (now >= *cost) continue;
        *cost = now;
        memcpy(best, label, n * sizeof *best);
    }
    az_scope_pop(az);
    return az_ok(az) ? best : NULL;
}

/* ---- Ward's linkage ---- */

typedef struct merge {
    double height;
    int a, b; /* points that stand for the two groups */
} merge;

static int lower(const void *a, const void *b)
{
    const merge *x = a, *y = b;
    return (x->height > y->height) - (x->height < y->height);
}

static int root(int *parent, int i)
{
    while (parent[i] != i) i = parent[i] = parent[parent[i]];
    return i;
}

/* The nearest other group of `from`, the one before in the chain when it is as near. */
static int nearest_group(const double *d, const double *size, int64_t n, int from, int previous)
{
    int best = previous;
    for (int j = 0; j < n; j++)
        if (size[j] > 0 && j != from && (best < 0 || d[from * n + j] < d[from * n + best])) best = j;
    return best;
}

/* Distances of the merged group, which takes b's place (Lance & Williams for Ward). */
static void merge_groups(double *d, double *size, int64_t n, int a, int b)
{
    for (int j = 0; j < n; j++) {
        if (size[j] == 0 || j == a || j == b) continue;
        const double total = size[a] + size[b] + size[j];
        const double joined = ((size[a] + size[j]) * d[a * n + j] + (size[b] + size[j]) * d[b * n + j] - size[j] * d[a * n + b]) / total;
        d[b * n + j] = d[j * n + b] = joined;
    }
    size[b] += size[a];
    size[a] = 0;
}

int *az_ward(az_ctx *az, const az_points *points, int k)
{
    const int64_t n = points->n;
    int *label = az_alloc_array(az, (size_t)n, sizeof *label);
    az_scope_push(az);
    double *d = az_alloc_array(az, (size_t)(n * n), sizeof *d), *size = az_alloc_array(az, (size_t)n, sizeof *size);
    int *chain = az_alloc_array(az, (size_t)n, sizeof *chain), *parent = az_alloc_array(az, (size_t)n, sizeof *parent);
    merge *merges = az_alloc_array(az, (size_t)n, sizeof *merges);
    int length = 0, done = 0, first = 0, groups = 0;
    if (label && d && size && chain && parent && merges) {
        for (int64_t i = 0; i < n; i++) {
            size[i] = 1, parent[i] = (int)i;
            for (int64_t j = 0; j < n; j++) d[i * n + j] = distance(points->x + i * points->p, points->x + j * points->p, points->p);
        }
        while (done < n - 1) { /* a chain of nearest neighbours ends in two that are each other's */
            if (length == 0) {
                while (size[first] == 0) first++;
                chain[length++] = first;
            }
            const int tip = chain[length - 1], before = length > 1 ? chain[length - 2] : -1, next = nearest_group(d, size, n, tip, before);
            if (next != before) {
                chain[length++] = next;
                continue;
            }
            merges[done++] = (merge){d[tip * n + before], tip, before};
            merge_groups(d, size, n, tip, before);
            length -= 2;
        }
        qsort(merges, (size_t)done, sizeof *merges, lower);
        for (int i = 0; i < n - k; i++) parent[root(parent, merges[i].a)] = root(parent, merges[i].b);
        for (int64_t i = 0; i < n; i++) label[i] = -1;
        for (int64_t i = 0; i < n; i++) {
            const int r = root(parent, (int)i);
            if (label[r] < 0) label[r] = groups++;
            label[i] = label[r];
        }
    }
    az_scope_pop(az);
    return az_ok(az) ? label : NULL;
}

/* ---- mixtures of Gaussians ---- */

typedef struct mixture {
    const az_points *points;
    int k;
    const double *sd;                                      /* [p] of the columns */
    double *weight, *mean, *covariance, *factor, *log_det; /* [k], [k, p], [k, p, p] twice, [k] */
    double *share;                                         /* [n, k] responsibilities */
} mixture;

/* Weights, means and covariances (with a ridge on the diagonal) from the responsibilities. */
static bool maximise(az_ctx *az, mixture *m)
{
    const int p = m->points->p, k = m->k;
    const int64_t n = m->points->n;
    for (int c = 0; c < k; c++) {
        double mass = 1e-15, *mean = m->mean + c * p, *s = m->covariance + (size_t)c * (size_t)(p * p);
        memset(mean, 0, (size_t)p * sizeof *mean);
        memset(s, 0, (size_t)(p * p) * sizeof *s);
        for (int64_t i = 0; i < n; i++) mass += m->share[i * k + c];
        for (int64_t i = 0; i < n; i++)
            for (int j = 0; j < p; j++) mean[j] += m->share[i * k + c] / mass * m->points->x[i * p + j];
        for (int64_t i = 0; i < n; i++)
            for (int a = 0; a < p; a++)
                for (int b = 0; b < p; b++)
                    s[a * p + b] += m->share[i * k + c] / mass * (m->points->x[i * p + a] - mean[a]) * (m->points->x[i * p + b] - mean[b]);
        for (int a = 0; a < p; a++) s[a * p + a] += 1e-6 * m->sd[a] * m->sd[a];
        m->weight[c] = mass / (double)n;
        if (!az_cov_factor(p, s, m->factor + (size_t)c * (size_t)(p * p), &m->log_det[c]))
            return az_fail(az, AZ_NUMERIC, "expectation-maximisation: the covariance of group %d has collapsed", c + 1);
    }
    return true;
}

/* Responsibilities; the mean log density. */
static double expect(mixture *m, double *off, double *logs)
{
    const int p = m->points->p, k = m->k;
    double sum = 0;
    for (int64_t i = 0; i < m->points->n; i++) {
        double most = -INFINITY, total = 0;
        for (int c = 0; c < k; c++) {
            const double *factor = m->factor + (size_t)c * (size_t)(p * p);
            logs[c] = log(m->weight[c]) - 0.5 * (m->log_det[c] + p * log(2 * acos(-1)));
            for (int j = 0; j < p; j++) {
                off[j] = m->points->x[i * p + j] - m->mean[c * p + j];
                for (int l = 0; l < j; l++) off[j] -= factor[j * p + l] * off[l];
                off[j] /= factor[j * p + j];
                logs[c] -= 0.5 * off[j] * off[j];
            }
            most = fmax(most, logs[c]);
        }
        for (int c = 0; c < k; c++) total += exp(logs[c] - most);
        for (int c = 0; c < k; c++) m->share[i * k + c] = exp(logs[c] - most) / total;
        /* cppcheck-suppress invalidFunctionArg ; there is a component, so that total is at least 1 */
        sum += most + log(total);
    }
    return sum / (double)m->points->n;
}

int *az_mixture(az_ctx *az, const az_points *points, int k, const int *start, int iterations, double tolerance, double *likelihood)
{
    const size_t n = (size_t)points->n, p = (size_t)points->p, groups = (size_t)k;
    int *label = az_alloc_array(az, n, sizeof *label);
    az_scope_push(az);
    mixture m = {.points = points, .k = k, .sd = az_points_spread(az, points)};
    double *off = az_alloc_array(az, p, sizeof *off), *logs = az_alloc_array(az, groups, sizeof *logs);
    m.weight = az_alloc_array(az, groups, sizeof(double)), m.mean = az_alloc_array(az, groups * p, sizeof(double));
    m.covariance = az_alloc_array(az, groups * p * p, sizeof(double)), m.factor = az_alloc_array(az, groups * p * p, sizeof(double));
    m.log_det = az_alloc_array(az, groups, sizeof(double)), m.share = az_alloc_array(az, n * groups, sizeof(double));
    *likelihood = -INFINITY;
    if (az_ok(az)) {
        for (size_t i = 0; i < n; i++) m.share[i * groups + (size_t)start[i]] = 1;
        for (int c = 0; c < k; c++) {
            bool empty = true;
            for (size_t i = 0; i < n && empty; i++) empty = start[i] != c;
            if (empty) az_fail(az, AZ_BAD_INPUT, "expectation-maximisation: group %d of the start has no points", c + 1);
        }
        for (int turn = 0; az_ok(az) && turn < iterations && maximise(az, &m); turn++) {
            const double before = *likelihood;
            *likelihood = expect(&m, off, logs);
            if (fabs(*likelihood - before) < tolerance) break;
        }
        for (size_t i = 0; i < n; i++)
            for (int c = 1; c < k; c++)
                if (m.share[i * groups + (size_t)c] > m.share[i * groups + (size_t)label[i]]) label[i] = c;
    }
    az_scope_pop(az);
    return az_ok(az) ? label : NULL;
}
