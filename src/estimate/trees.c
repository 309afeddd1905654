/* trees.c - regression trees (Breiman et al. 1984) for labels: a bagged forest (Breiman 2001), and boosted stumps (Friedman 2001). */
#include "estimate/label_model.h"

#include "adze/base.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TREES = 200, LEAF = 5, DEPTH = 12, ROUNDS = 100, MAX_NODES = 1 << (DEPTH + 1) };
static const double SHRINKAGE = 0.1; /* of each stump */

typedef struct node {
    int64_t feature; /* -1 = a leaf */
    double cut, value;
    int left, right;
} node;

typedef struct pair {
    double x, y;
    int64_t row;
} pair;

typedef struct grower {
    const double *x;  /* [n, q] */
    const double *y;  /* [n], read at the rows */
    int64_t q, tried; /* features; how many of them each node looks at */
    int depth;
    az_rng *rng;
    pair *pairs;       /* [rows] room for one node */
    int64_t *features; /* [q] */
    node *nodes;
    int count;
} grower;

static int by_x(const void *a, const void *b)
{
    const pair *p = a, *r = b;
    if (p->x != r->x) return p->x < r->x ? -1 : 1;
    return (p->row > r->row) - (p->row < r->row);
}

/* The best cut of one feature: how much the sum of squares falls, 0 when there is none that leaves LEAF rows on both sides. */
static double best_cut(grower *g, const int64_t *row, int64_t n, int64_t feature, double *cut)
{
    double sum = 0, left = 0, best = 0;
    for (int64_t i = 0; i < n; i++) {
        g->pairs[i] = (pair){.x = g->x[row[i] * g->q + feature], .y = g->y[row[i]], .row = i};
        sum += g->pairs[i].y;
    }
    qsort(g->pairs, (size_t)n, sizeof *g->pairs, by_x);
    const double whole = sum * sum / (double)n;
    for (int64_t i = 0; i + LEAF < n; i++) {
        left += g->pairs[i].y;
        if (i + 1 < LEAF || g->pairs[i].x == g->pairs[i + 1].x) continue;
        const double right = sum - left, m = (double)(i + 1), rest = (double)(n - i - 1);
        const double gain = left * left / m + right * right / rest - whole;
        if (gain <= best * (1 + 1e-12)) continue;
        best = gain;
        *cut = (g->pairs[i].x + g->pairs[i + 1].x) / 2;
    }
    return best > 1e-12 * (fabs(whole) + 1e-300) ? best : 0;
}

/* Brings the rows that go left to the front; returns their number. */
static int64_t partition(const grower *g, int64_t *row, int64_t n, int64_t feature, double cut)
{
    int64_t left = 0;
    for (int64_t i = 0; i < n; i++) {
        if (g->x[row[i] * g->q + feature] > cut) continue;
        const int64_t moved = row[i];
        row[i] = row[left];
        row[left++] = moved;
    }
    return left;
}

static int grow(grower *g, int64_t *row, int64_t n, int depth)
{
    const int self = g->count++;
    double sum = 0, best = 0, cut = 0;
    for (int64_t i = 0; i < n; i++) sum += g->y[row[i]];
    g->nodes[self] = (node){.feature = -1, .value = sum / (double)n};
    if (depth == g->depth || n < 2 * LEAF) return self;
    if (g->tried < g->q) az_shuffle(g->rng, g->features, g->q);
    int64_t feature = -1;
    for (int64_t k = 0; k < g->tried; k++) {
        double here;
        const double gain = best_cut(g, row, n, g->features[k], &here);
        if (gain <= best) continue;
        best = gain;
        cut = here;
        feature = g->features[k];
    }
    if (feature < 0) return self;
    const int64_t left = partition(g, row, n, feature, cut);
    const int l = grow(g, row, left, depth + 1), r = grow(g, row + left, n - left, depth + 1);
    g->nodes[self].feature = feature;
    g->nodes[self].cut = cut;
    g->nodes[self].left = l;
    g->nodes[self].right = r;
    return self;
}

static double walk(const grower *g, const double *x)
{
    const node *at = g->nodes;
    while (at->feature >= 0) at = &g->nodes[x[at->feature] <= at->cut ? at->left : at->right];
    return at->value;
}

static bool prepare(az_ctx *az, const label_fit *fit, grower *g)
{
    g->x = az_f64(fit->x);
    g->q = fit->x->shape[1];
    g->pairs = az_alloc_array(az, (size_t)fit->trains, sizeof *g->pairs);
    g->features = az_alloc_array(az, (size_t)g->q, sizeof *g->features);
    g->nodes = az_alloc_array(az, MAX_NODES, sizeof *g->nodes);
    for (int64_t j = 0; g->features && j < g->q; j++) g->features[j] = j;
    return az_ok(az);
}

bool forest_predict(az_ctx *az, const label_fit *fit, double *prediction)
{
    az_rng rng = az_rng_at(fit->seed, az_stream("label forest", fit->stream));
    grower g = {.y = fit->y, .depth = DEPTH, .rng = &rng};
    int64_t *row = az_alloc_array(az, (size_t)fit->trains, sizeof *row);
    if (!row || !prepare(az, fit, &g)) return false;
    g.tried = g.q > 3 ? (g.q + 2) / 3 + 1 : g.q;
    for (int64_t i = 0; i < fit->tests; i++) prediction[fit->test[i]] = 0;
    for (int tree = 0; tree < TREES; tree++) {
        for (int64_t i = 0; i < fit->trains; i++) row[i] = fit->train[az_below(&rng, (uint64_t)fit->trains)];
        g.count = 0;
        grow(&g, row, fit->trains, 0);
        for (int64_t i = 0; i < fit->tests; i++) prediction[fit->test[i]] += walk(&g, g.x + fit->test[i] * g.q) / TREES;
    }
    return true;
}

bool stumps_predict(az_ctx *az, const label_fit *fit, double *prediction)
{
    const int64_t n = fit->x->shape[0];
    double *rest = az_alloc_array(az, (size_t)n, sizeof *rest), mean = 0; /* labels less what is fitted */
    int64_t *row = az_alloc_array(az, (size_t)fit->trains, sizeof *row);
    grower g = {.y = rest, .depth = 1};
    if (!rest || !row || !prepare(az, fit, &g)) return false;
    g.tried = g.q;
    for (int64_t i = 0; i < fit->trains; i++) mean += fit->y[fit->train[i]] / (double)fit->trains;
    for (int64_t i = 0; i < fit->trains; i++) rest[fit->train[i]] = fit->y[fit->train[i]] - mean;
    for (int64_t i = 0; i < fit->tests; i++) prediction[fit->test[i]] = mean;
    for (int round = 0; round < ROUNDS; round++) {
        memcpy(row, fit->train, (size_t)fit->trains * sizeof *row);
        g.count = 0;
        grow(&g, row, fit->trains, 0);
        for (int64_t i = 0; i < fit->trains; i++) rest[fit->train[i]] -= SHRINKAGE * walk(&g, g.x + fit->train[i] * g.q);
        for (int64_t i = 0; i < fit->tests; i++) prediction[fit->test[i]] += SHRINKAGE * walk(&g, g.x + fit->test[i] * g.q);
    }
    return true;
}
