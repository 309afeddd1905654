/* dag.c - order, pruning, comparison and refit of directed acyclic graphs. */
#include "estimate/dag.h"

#include <lapacke.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Every node that is left after Kahn's algorithm has a parent that is left: walking to parents must come back. */
static int find_cycle(int d, const double *w, const int *parents_left, int *nodes, int *seen_at)
{
    int node = 0, steps = 0;
    while (parents_left[node] <= 0) node++;
    for (int i = 0; i < d; i++) seen_at[i] = -1;
    while (seen_at[node] < 0) {
        seen_at[node] = steps;
        nodes[steps++] = node;
        int parent = 0;
        while (w[parent * d + node] == 0 || parents_left[parent] <= 0) parent++;
        node = parent;
    }
    const int length = steps - seen_at[node];
    memmove(nodes, nodes + seen_at[node], (size_t)length * sizeof *nodes);
    for (int i = 0; i < length / 2; i++) { /* from parents to children */
        const int swap = nodes[i];
        nodes[i] = nodes[length - 1 - i], nodes[length - 1 - i] = swap;
    }
    return length;
}

bool az_dag_order(az_ctx *az, int d, const double *w, int *order, int *cycle)
{
    az_scope_push(az);
    int *parents = az_alloc_array(az, (size_t)d, sizeof *parents), *seen = az_alloc_array(az, (size_t)d, sizeof *seen), placed = 0;
    if (parents && seen) {
        for (int i = 0; i < d * d; i++) parents[i % d] += w[i] != 0;
        for (int j = 0; j < d; j++)
            if (parents[j] == 0) order[placed++] = j;
        for (int at = 0; at < placed; at++)
            for (int j = 0; j < d; j++)
                if (w[order[at] * d + j] != 0 && --parents[j] == 0) order[placed++] = j;
        if (placed < d && cycle) *cycle = find_cycle(d, w, parents, order, seen);
    }
    az_scope_pop(az);
    return placed == d;
}

typedef struct edge {
    double weight;
    int at;
} edge;

static int weaker(const void *a, const void *b)
{
    const edge *x = a, *y = b;
    if (x->weight != y->weight) return x->weight < y->weight ? -1 : 1;
    return (x->at > y->at) - (x->at < y->at);
}

int64_t az_dag_edges(int d, const double *w)
{
    int64_t n = 0;
    for (int i = 0; i < d * d; i++) n += w[i] != 0;
    return n;
}

void az_dag_threshold(int d, double *w, double threshold)
{
    for (int i = 0; i < d * d; i++)
        if (!(fabs(w[i]) > threshold)) w[i] = 0;
}

int64_t az_dag_prune(az_ctx *az, int d, double *w, double threshold)
{
    az_dag_threshold(d, w, threshold);
    int64_t removed = 0, n = 0;
    az_scope_push(az);
    edge *edges = az_alloc_array(az, (size_t)az_dag_edges(d, w), sizeof *edges);
    int *order = az_alloc_array(az, (size_t)d, sizeof *order);
    for (int i = 0; edges && i < d * d; i++)
        if (w[i] != 0) edges[n++] = (edge){fabs(w[i]), i};
    if (edges && order) {
        qsort(edges, (size_t)n, sizeof *edges, weaker);
        while (az_ok(az) && !az_dag_order(az, d, w, order, NULL)) w[edges[removed++].at] = 0;
    }
    az_scope_pop(az);
    return removed;
}

az_dag_comparison az_dag_compare(int d, const double *w, const double *truth)
{
    az_dag_comparison c = {0};
    double error = 0, norm = 0;
    for (int i = 0; i < d; i++) {
        for (int j = 0; j < d; j++) {
            const bool there = w[i * d + j] != 0, back = w[j * d + i] != 0;
            const bool real = truth[i * d + j] != 0, real_back = truth[j * d + i] != 0;
            c.predicted += there;
            c.truth += real;
            c.correct += there && real;
            c.reversed += there && !real && real_back;
            c.extra += i < j && (there || back) && !real && !real_back;
            c.missing += i < j && (real || real_back) && !there && !back;
            error += (w[i * d + j] - truth[i * d + j]) * (w[i * d + j] - truth[i * d + j]);
            norm += truth[i * d + j] * truth[i * d + j];
        }
    }
    const int64_t wrong = c.predicted - c.correct, absent = (int64_t)d * (d - 1) / 2 - c.truth;
    c.shd = c.extra + c.missing + c.reversed;
    c.tpr = c.truth > 0 ? (double)c.correct / (double)c.truth : NAN;
    c.fdr = c.predicted > 0 ? (double)wrong / (double)c.predicted : 0;
    c.fpr = absent > 0 ? (double)wrong / (double)absent : NAN;
    c.weight_error = sqrt(error / norm);
    return c;
}

/* Solves gram b = right, gram [n, n] symmetric, in units in which its diagonal is 1. False where a variable adds less than a 1e-6th of its
 * length to those before it: what is left of it then is rounding. */
static bool solve_moments(int n, double *gram, double *right, double *scale)
{
    for (int a = 0; a < n; a++) scale[a] = sqrt(gram[a * n + a]);
    for (int a = 0; a < n; a++) {
        right[a] /= scale[a];
        for (int b = 0; b < n; b++) gram[a * n + b] /= scale[a] * scale[b];
    }
    if (n == 0 || LAPACKE_dpotrf(LAPACK_COL_MAJOR, 'L', n, gram, n) != 0) return false;
    for (int a = 0; a < n; a++)
        if (!(gram[a * n + a] > 1e-6)) return false;
    if (LAPACKE_dpotrs(LAPACK_COL_MAJOR, 'L', n, 1, gram, n, right, n) != 0) return false;
    for (int a = 0; a < n; a++) right[a] /= scale[a];
    return true;
}

double *az_dag_refit(az_ctx *az, int d, const double *w, const double *cov)
{
    double *out = az_alloc_array(az, (size_t)d * (size_t)d, sizeof *out);
    az_scope_push(az);
    double *gram = az_alloc_array(az, (size_t)d * (size_t)d, sizeof *gram), *right = az_alloc_array(az, (size_t)d, sizeof *right);
    double *scale = az_alloc_array(az, (size_t)d, sizeof *scale);
    int *parent = az_alloc_array(az, (size_t)d, sizeof *parent);
    for (int j = 0; out && gram && right && scale && parent && j < d; j++) {
        int n = 0;
        for (int i = 0; i < d; i++)
            if (w[i * d + j] != 0) parent[n++] = i;
        for (int a = 0; a < n; a++) {
            right[a] = cov[parent[a] * d + j];
            for (int b = 0; b < n; b++) gram[a * n + b] = cov[parent[a] * d + parent[b]];
        }
        const bool solved = solve_moments(n, gram, right, scale);
        for (int a = 0; a < n; a++) out[parent[a] * d + j] = solved ? right[a] : w[parent[a] * d + j];
    }
    az_scope_pop(az);
    return out;
}
