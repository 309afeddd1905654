/* op_gamma.c - log Gamma(x) and its derivatives psi^(n)(x), for x > 0.
 *
 * Both stand on the asymptotic series at large x, reached by the recurrence psi^(n)(x) = psi^(n)(x + 1) - (-1)^n n! x^-(n+1)
 * (Abramowitz and Stegun 6.3.18, 6.4.6, 6.4.11). The derivative of each is the next one, so there are derivatives of every order. */
#include "base/parallel.h"
#include "tensor/layer.h"

#include <math.h>

enum {
    SERIES_FROM = 15, /* the series is used at and above this x, higher for higher orders */
    SERIES_TERMS = 10
};

/* B_2, B_4, ..., B_20 */
static const double bernoulli[SERIES_TERMS] = {1.0 / 6,       -1.0 / 30, 1.0 / 42,      -1.0 / 30,       5.0 / 66,
                                               -691.0 / 2730, 7.0 / 6,   -3617.0 / 510, 43867.0 / 798.0, -174611.0 / 330};

/* psi^(order)(x) for large x: order 0 is log x - 1/(2x) - sum B_2k / (2k x^2k); above, (-1)^(n+1) [(n-1)! / x^n + n! / (2 x^(n+1)) +
 * sum B_2k (2k+n-1)! / ((2k)! x^(2k+n))]. */
static double series(int order, double x)
{
    const double start = order == 0 ? -log(x) : tgamma(order) * pow(x, -order);
    double sum = start + tgamma(order + 1) / 2 * pow(x, -order - 1);
    for (int k = 1; k <= SERIES_TERMS; k++) {
        double ratio = order == 0 ? 1.0 / (2 * k) : 1; /* (2k + n - 1)! / (2k)! */
        for (int j = 1; j < order; j++) ratio *= 2 * k + j;
        sum += bernoulli[k - 1] * ratio * pow(x, -2 * k - order);
    }
    return order % 2 == 0 ? -sum : sum;
}

static double polygamma(int order, double x)
{
    if (!(x > 0)) return NAN;
    double below = 0; /* what the recurrence adds for the steps up to the series */
    const double from = SERIES_FROM + order;
    while (x < from) {
        below += pow(x, -order - 1);
        x += 1;
    }
    below *= tgamma(order + 1);
    return series(order, x) + (order % 2 == 0 ? -below : below);
}

/* order -1 is log Gamma itself */
static double value(int order, double x)
{
    int sign;
    if (order >= 0) return polygamma(order, x);
    return x > 0 ? lgamma_r(x, &sign) : NAN;
}

typedef struct gamma_job {
    const az_tensor *x;
    az_tensor *y;
    int order;
} gamma_job;

static void element(const void *all, int64_t i)
{
    const gamma_job *job = all;
    az_store(job->y->dtype, job->y->data, i, value(job->order, az_load(job->x->dtype, job->x->data, i)));
}

typedef struct gamma_saved {
    int order;
} gamma_saved;

static void gamma_gradient(az_ctx *az, const az_node *node, const az_tensor *gy, az_tensor **gx)
{
    const gamma_saved *saved = node->saved;
    gx[0] = az_mul(az, gy, az_polygamma(az, saved->order + 1, node->input[0]));
}

static const az_op gamma_op = {.name = "gamma", .gradient = gamma_gradient, .forgets = AZ_FORGETS_OUTPUT};

static az_tensor *gamma_function(az_ctx *az, const char *name, int order, const az_tensor *x)
{
    enum { WORK = 64 }; /* of one element, in additions */
    if (!az_real(az, name, x)) return NULL;
    az_tensor *y = az_tensor_new(az, x->dtype, x->rank, x->shape);
    if (!y) return NULL;
    az_scope_push(az);
    const az_tensor *packed = az_packed(az, x);
    const int64_t n = az_count(y);
    if (packed) az_each(n * WORK > AZ_PARALLEL_WORK ? az_threads(az) : 1, n, element, &(gamma_job){packed, y, order});
    az_scope_pop(az);
    const gamma_saved saved = {.order = order};
    return az_ok(az) ? az_record(az, &gamma_op, y, (const az_tensor *[]){x}, 1, &saved, sizeof saved) : NULL;
}

az_tensor *az_lgamma(az_ctx *az, const az_tensor *x)
{
    return gamma_function(az, "az_lgamma", -1, x);
}

az_tensor *az_polygamma(az_ctx *az, int order, const az_tensor *x)
{
    enum { MOST = 100 }; /* factorials beyond are near the end of doubles */
    if (order < 0 || order > MOST) return az_fail(az, AZ_BAD_CALL, "az_polygamma: order %d is not in 0 .. %d", order, MOST);
    return gamma_function(az, "az_polygamma", order, x);
}
