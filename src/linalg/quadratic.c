/* quadratic.c - coordinate descent on quadratic functions with |x| and x >= 0, for many right sides that share one matrix. */
#include "adze/linalg.h"
#include "base/parallel.h"

#include <math.h>

typedef struct right_sides {
    const az_quadratic *problem;
    const double *b; /* [n, r] */
    double *x;       /* [n, r] */
} right_sides;

/* The minimiser along coordinate k, the others staying. */
static double best_at(const az_quadratic *p, const double *b, const double *x, int64_t k)
{
    const double *row = p->q + k * p->r, l1 = p->l1 ? p->l1[k] : 0;
    double slope = b[k] + row[k] * x[k];
    for (int64_t j = 0; j < p->r; j++) slope -= row[j] * x[j];
    if (p->nonnegative && p->nonnegative[k]) return fmax(slope - l1, 0) / row[k];
    return copysign(fmax(fabs(slope) - l1, 0), slope) / row[k];
}

static void descend(const void *job, int64_t i)
{
    const right_sides *sides = job;
    const az_quadratic *p = sides->problem;
    const double *b = sides->b + i * p->r;
    double *x = sides->x + i * p->r;
    for (int64_t turn = 0; turn < p->most_turns; turn++) {
        double moved = 0, largest = 0;
        for (int64_t k = 0; k < p->r; k++) {
            if (!(p->q[k * p->r + k] > 0)) continue;
            const double to = best_at(p, b, x, k);
            moved = fmax(moved, fabs(to - x[k]));
            largest = fmax(largest, fabs(to));
            x[k] = to;
        }
        if (moved <= p->tolerance * largest) break;
    }
}

void az_quadratic_descend(az_ctx *az, const az_quadratic *problem, int64_t n, const double *b, double *x)
{
    const right_sides job = {problem, b, x};
    if (az_ok(az)) az_each(n * problem->r * problem->r > 20000 ? az_threads(az) : 1, n, descend, &job);
}
