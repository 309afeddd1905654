/* planted_ranks.c - regressions with matrices of known ranks. */
#include "claims/planted_ranks.h"

#include "adze/grad.h"
#include "adze/linalg.h"
#include "adze/optim.h"
#include "tune/adalora.h"

enum { SIZE = 16, MOST = 4, SAMPLES = 64, STEPS = 800, TENSORS = 3 * PLANTED_MATRICES };

const int planted_rank[PLANTED_MATRICES] = {4, 3, 1, 0, 0, 0, 0, 0};

typedef struct regressions {
    az_tensor *truth[PLANTED_MATRICES]; /* [SIZE, SIZE] */
    az_tensor *value[TENSORS];          /* Q, P, lambda of each matrix */
    double scale;
    uint64_t seed;
} regressions;

static az_tensor *orthonormal(az_ctx *az, uint64_t seed, uint64_t number, int64_t columns)
{
    az_tensor *q = NULL;
    az_qr(az, az_randn(az, AZ_F32, 2, (int64_t[]){SIZE, columns}, 1, seed, az_stream("planted", number)), &q, NULL);
    return q;
}

static void begin(az_ctx *az, regressions *r, uint64_t seed, int64_t rank)
{
    *r = (regressions){.seed = seed, .scale = (double)rank / ((double)rank + 1e-5)};
    for (int k = 0; k < PLANTED_MATRICES; k++) {
        const uint64_t number = 8 * (uint64_t)k;
        r->truth[k] = az_zeros(az, AZ_F32, 2, (int64_t[]){SIZE, SIZE});
        if (planted_rank[k] > 0)
            r->truth[k] =
                az_matmul_nt(az, orthonormal(az, seed, number, planted_rank[k]), orthonormal(az, seed, number + 1, planted_rank[k]));
        r->value[3 * k] = az_randn(az, AZ_F32, 2, (int64_t[]){rank, SIZE}, 0.02, seed, az_stream("planted", number + 2));
        r->value[3 * k + 1] = az_randn(az, AZ_F32, 2, (int64_t[]){SIZE, rank}, 0.02, seed, az_stream("planted", number + 3));
        r->value[3 * k + 2] = az_zeros(az, AZ_F32, 1, &rank);
    }
}

static az_tensor *change(az_ctx *az, const regressions *r, az_tensor *const *value)
{
    return az_affine(az, az_matmul(az, az_mul(az, value[1], value[2]), value[0]), r->scale, 0);
}

/* Of the sum of the mean squared errors, on fresh samples. */
static bool gradient_of(az_ctx *az, const regressions *r, uint64_t step, az_tensor **gradient)
{
    az_tensor *watched[TENSORS], *loss = az_scalar(az, AZ_F32, 0);
    az_tape_open(az);
    for (int i = 0; i < TENSORS; i++) watched[i] = az_watch(az, r->value[i]);
    for (int k = 0; k < PLANTED_MATRICES; k++) {
        const int64_t shape[] = {SAMPLES, SIZE};
        const uint64_t number = step * PLANTED_MATRICES + (uint64_t)k;
        const az_tensor *x = az_randn(az, AZ_F32, 2, shape, 1, r->seed, az_stream("planted inputs", number));
        const az_tensor *noise = az_randn(az, AZ_F32, 2, shape, 0.05, r->seed, az_stream("planted noise", number));
        const az_tensor *y = az_add(az, az_matmul_nt(az, x, r->truth[k]), noise);
        const az_tensor *guess = az_matmul_nt(az, x, change(az, r, watched + 3 * k));
        loss = az_add(az, loss, az_mean(az, az_square(az, az_sub(az, guess, y)), AZ_ALL_AXES, false));
    }
    const bool good = az_grad(az, loss, NULL, (const az_tensor *const *)watched, TENSORS, gradient, AZ_GRAD_FREE);
    az_tape_close(az);
    return good;
}

/* What the allocator is told: P, Q and lambda of each matrix among 3 n tensors. */
static void triplets_of(az_tensor *const *tensor, az_triplets *out)
{
    for (int k = 0; k < PLANTED_MATRICES; k++) out[k] = (az_triplets){tensor[3 * k], tensor[3 * k + 1], tensor[3 * k + 2]};
}

static bool train(az_ctx *az, regressions *r, az_allocator *allocator)
{
    const double share = 0.1 / (2 * PLANTED_MATRICES);
    const az_optimizer_options adam = {.kind = AZ_ADAMW, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8};
    const az_schedule schedule = {.kind = AZ_LINEAR, .peak = 2e-2, .total = STEPS};
    az_optimizer *optimizer = az_optimizer_new(az, &adam, r->value, TENSORS, NULL);
    for (int64_t step = 0; step < STEPS && az_ok(az); step++) {
        az_tensor *gradient[TENSORS];
        az_triplets triplets[PLANTED_MATRICES];
        az_scope_push(az);
        if (gradient_of(az, r, (uint64_t)step, gradient)) {
            for (int k = 0; k < PLANTED_MATRICES; k++) {
                az_orthogonality(az, r->value[3 * k], true, false, share, gradient[3 * k]);
                az_orthogonality(az, r->value[3 * k + 1], false, false, share, gradient[3 * k + 1]);
            }
            az_optimizer_step(az, optimizer, gradient, az_learning_rate(&schedule, step));
            triplets_of(gradient, triplets);
            if (allocator) az_allocator_step(az, allocator, triplets, 1, step + 1);
        }
        az_scope_pop(az);
    }
    return az_ok(az);
}

bool planted_regressions(az_ctx *az, uint64_t seed, bool uniform, planted_result *out)
{
    const az_budget budget = {.before = MOST * PLANTED_MATRICES,
                              .after = PLANTED_MATRICES,
                              .warm = 100,
                              .settle = 250,
                              .every = 10,
                              .steps = STEPS,
                              .beta1 = 0.85,
                              .beta2 = 0.85};
    regressions r;
    az_triplets triplets[PLANTED_MATRICES];
    az_scope_push(az);
    begin(az, &r, seed, uniform ? 1 : MOST);
    triplets_of(r.value, triplets);
    az_allocator *allocator = uniform ? NULL : az_allocator_new(az, &budget, triplets, PLANTED_MATRICES);
    *out = (planted_result){0};
    if (train(az, &r, allocator)) {
        for (int k = 0; k < PLANTED_MATRICES; k++) {
            const az_tensor *apart = az_sub(az, change(az, &r, r.value + 3 * k), r.truth[k]);
            out->rank[k] = uniform ? 1 : az_allocator_rank(allocator, k);
            out->error += az_to_double(az_dot(az, apart, apart));
        }
    }
    az_scope_pop(az);
    return az_ok(az);
}
