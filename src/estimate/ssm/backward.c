/* backward.c - ancestors drawn with probability proportional to w_J q(x_J, next): by rejection from the weights, or exactly.
 *
 * A proposal J ~ w is kept with probability q(x_J, next) / bound. After some refusals the draw is exact, from the same law, so that a far
 * away `next` costs no more than O(particles). The number of tries has a heavy tail (Dau, Chopin 2022), P(tries > k) ~ 1 / k: stopping
 * after k costs log k + particles / k, least when k is in proportion to the particles. */
#include "estimate/ssm/ssm_internal.h"

#include <math.h>

/* A try takes as long as four terms of an exact draw. */
static int64_t most_tries(int64_t particles)
{
    const int64_t root = (int64_t)ceil(sqrt((double)particles));
    return root > particles / 4 ? root : particles / 4;
}

az_backward az_backward_at(const az_pass *pass, int64_t t)
{
    const az_ssm *model = pass->problem->model;
    const bool by_rejection = model->log_bound && !pass->how->exact;
    return (az_backward){.model = model,
                         .law = pass->law,
                         .t = t,
                         .x = az_pass_x(pass, t),
                         .weight = az_pass_weight(pass, t),
                         .urn = &pass->urn,
                         .width = pass->width,
                         .by_rejection = by_rejection,
                         .log_bound = by_rejection ? model->log_bound(pass->law, t) : INFINITY,
                         .most_tries = most_tries(pass->particles)};
}

static bool beyond(const az_backward *b, double log_density)
{
    return log_density > b->log_bound + 1e-9 * (1 + fabs(b->log_bound));
}

static int64_t draw_exactly(const az_backward *b, const double *next, az_rng *rng, double *scratch, az_pass_status *status)
{
    const int64_t n = b->urn->n;
    double largest = -INFINITY, total = 0;
    for (int64_t i = 0; i < n; i++) {
        scratch[i] = b->weight[i] > 0 ? b->model->log_transition(b->law, b->t, b->x + i * b->width, next) : -INFINITY;
        if (scratch[i] > largest) largest = scratch[i];
        if (isnan(scratch[i])) largest = NAN;
    }
    if (beyond(b, largest)) return *status = AZ_PASS_ABOVE_BOUND, -1;
    if (!isfinite(largest)) return *status = isnan(largest) ? AZ_PASS_NOT_A_NUMBER : AZ_PASS_NO_ANCESTOR, -1;
    for (int64_t i = 0; i < n; i++) scratch[i] = total += b->weight[i] * exp(scratch[i] - largest);
    const double at = az_uniform(rng) * total;
    int64_t low = 0, high = n - 1; /* the first whose running sum exceeds `at` */
    while (low < high) {
        const int64_t middle = (low + high) / 2;
        if (scratch[middle] > at)
            high = middle;
        else
            low = middle + 1;
    }
    return low <= b->urn->last ? low : b->urn->last;
}

/* Two uniforms of one block of random bits. */
static void draw_pair(az_rng *rng, double u[2])
{
    uint32_t word[4];
    az_philox(rng->seed, rng->stream, rng->index++, word);
    for (int i = 0; i < 2; i++) u[i] = (double)(((uint64_t)word[2 * i] << 32 | word[2 * i + 1]) >> 11) * 0x1p-53;
}

/* u < exp(-x) for x >= 0, by 1 - x <= exp(-x) <= 1 / (1 + x + x^2 / 2) where they decide. */
static bool below_exponential(double u, double x)
{
    if (u < 1 - x) return true;
    return u * (1 + x + 0.5 * x * x) < 1 && u < exp(-x);
}

int64_t az_backward_draw(const az_backward *b, const double *next, az_rng *rng, double *scratch, int64_t *counter, az_pass_status *status)
{
    counter[1]++;
    for (int64_t i = 0; b->by_rejection && i < b->most_tries; i++) {
        double u[2];
        draw_pair(rng, u);
        const int64_t j = az_urn_draw(b->urn, u[0]);
        const double log_density = b->model->log_transition(b->law, b->t, b->x + j * b->width, next);
        counter[0]++;
        if (beyond(b, log_density)) return *status = AZ_PASS_ABOVE_BOUND, -1;
        if (isnan(log_density)) return *status = AZ_PASS_NOT_A_NUMBER, -1;
        if (below_exponential(u[1], b->log_bound - log_density)) return j;
    }
    counter[0]++;
    return draw_exactly(b, next, rng, scratch, status);
}
