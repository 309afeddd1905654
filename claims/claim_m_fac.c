/* claim_m_fac.c - what M-FAC (Frantar, Kurtic, Alistarh 2021) is for: second-order information prunes better than magnitude, recomputing it
 * on the way prunes better than one shot, and as an optimizer it wins where the curvature is uneven. */
#include "claims/claims.h"
#include "claims/comparisons.h"
#include "claims/digits.h"

#include "adze/linalg.h"
#include "adze/optim.h"
#include "compress/m_fac.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SEEDS = 3 };

/* ---- a network for digits, pruned at once ---- */

enum { TRAIN_STEPS = 1500, TRAIN_BATCH = 64, PRUNE_BATCH = 16 };

typedef struct digit_problem {
    const claim_mlp *mlp;
    const claim_digits *train;
    uint64_t seed;
} digit_problem;

static bool train_mlp(az_ctx *az, const claim_mlp *mlp, const claim_digits *train, uint64_t seed)
{
    const az_optimizer_options adam = {.kind = AZ_ADAMW, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8};
    az_tensor *parameter[2 * DIGIT_LAYERS], *gradient[2 * DIGIT_LAYERS];
    for (int l = 0; l < DIGIT_LAYERS; l++) {
        parameter[l] = mlp->weight[l];
        parameter[DIGIT_LAYERS + l] = mlp->bias[l];
    }
    az_optimizer *optimizer = az_optimizer_new(az, &adam, parameter, 2 * DIGIT_LAYERS, NULL);
    for (uint64_t step = 0; step < TRAIN_STEPS && az_ok(az); step++) {
        double loss;
        az_scope_push(az);
        if (claim_mlp_gradient(az, mlp, train, TRAIN_BATCH, seed, step, gradient, &loss)) az_optimizer_step(az, optimizer, gradient, 2e-3);
        az_scope_pop(az);
    }
    return az_ok(az);
}

static bool digit_gradient(az_ctx *az, int64_t round, int64_t i, az_tensor **gradient, double *loss, void *user)
{
    const digit_problem *p = user;
    az_tensor *all[2 * DIGIT_LAYERS];
    const uint64_t draw = (uint64_t)(1 << 20) + (uint64_t)round * 1024 + (uint64_t)i;
    if (!claim_mlp_gradient(az, p->mlp, p->train, PRUNE_BATCH, p->seed, draw, all, loss)) return false;
    for (int l = 0; l < DIGIT_LAYERS; l++) gradient[l] = all[l];
    return true;
}

/* Test accuracy after pruning a copy; a damp beyond all gradients is magnitude pruning. */
static double pruned_accuracy(az_ctx *az, const digit_problem *p, const claim_digits *test, double sparsity, az_m_fac_settings how)
{
    az_scope_push(az);
    const claim_mlp copy = claim_mlp_copy(az, p->mlp);
    digit_problem mine = *p;
    mine.mlp = &copy;
    const az_m_fac_problem problem = {.weight = copy.weight, .n = DIGIT_LAYERS, .gradient = digit_gradient, .user = &mine};
    const double accuracy = az_m_fac_prune(az, &problem, &how, sparsity) ? claim_mlp_accuracy(az, &copy, test) : NAN;
    az_scope_pop(az);
    return accuracy;
}

static const struct {
    const char *name;
    az_m_fac_settings how;
} ways[] = {
    {"magnitude", {.damp = 1e9, .grads = 1, .recompute = 1}},
    {"m-fac, 256 gradients, at once", {.damp = 1e-5, .grads = 256, .recompute = 1}},
    {"m-fac, 256 gradients, 8 steps", {.damp = 1e-5, .grads = 256, .recompute = 8}},
    {"m-fac, 64 gradients, 8 steps", {.damp = 1e-5, .grads = 64, .recompute = 8}},
};
enum { WAYS = sizeof ways / sizeof *ways };
static const double sparsities[] = {0.7, 0.8, 0.9, 0.95};
enum { SPARSITIES = sizeof sparsities / sizeof *sparsities };

/* Mean test accuracies over the seeds. */
static bool measure_digits(az_ctx *az, const char *folder, double accuracy[WAYS][SPARSITIES])
{
    claim_digits train, test;
    if (!claim_digits_read(az, az_format_text(az, "%s/vision/optdigits/optdigits.tra", folder), &train)) return false;
    if (!claim_digits_read(az, az_format_text(az, "%s/vision/optdigits/optdigits.tes", folder), &test)) return false;
    for (uint64_t seed = 0; seed < SEEDS && az_ok(az); seed++) {
        const claim_mlp mlp = claim_mlp_new(az, seed);
        if (!train_mlp(az, &mlp, &train, seed)) return false;
        const digit_problem p = {.mlp = &mlp, .train = &train, .seed = seed};
        for (int w = 0; w < WAYS; w++)
            for (int s = 0; s < SPARSITIES; s++) accuracy[w][s] += pruned_accuracy(az, &p, &test, sparsities[s], ways[w].how) / SEEDS;
    }
    return az_ok(az);
}

/* 8 steps beat magnitude by 0.2 at 80 % and by 0.4 at 90 %, are no worse than one, and 256 gradients no worse than 64 less 0.02. */
static int digits_won(az_ctx *az, az_report *report, const char *folder, int *asked)
{
    double accuracy[WAYS][SPARSITIES] = {{0}};
    if (!measure_digits(az, folder, accuracy)) return 0;
    for (int w = 0; w < WAYS; w++) {
        az_report_row(report, "digits");
        az_report_text(report, "way", ways[w].name);
        for (int s = 0; s < SPARSITIES; s++)
            az_report_number(report, az_format_text(az, "accuracy_at_%g", 100 * sparsities[s]), accuracy[w][s], "");
    }
    int won = accuracy[2][1] - accuracy[0][1] >= 0.2;
    won += accuracy[2][2] - accuracy[0][2] >= 0.4;
    for (int s = 0; s < SPARSITIES; s++) won += (accuracy[2][s] >= accuracy[1][s]) + (accuracy[2][s] >= accuracy[3][s] - 0.02);
    *asked += 2 + 2 * SPARSITIES;
    return won;
}

/* ---- ill-conditioned logistic regression ---- */

enum { FEATURES = 100, EXAMPLES = 4000, BATCH = 64, STEPS = 1500 };

/* Labels drawn from a logistic model of features whose covariance has eigenvalues from 1 to 1e-4, in directions of no axis. */
typedef struct logistic {
    float x[EXAMPLES][FEATURES];
    float y[EXAMPLES];
} logistic;

/* Deviation of the j-th principal component. */
static double deviation(int j)
{
    return pow(10, -2.0 * j / (FEATURES - 1));
}

/* The data in the coordinates of their principal components. */
static logistic *draw_components(az_ctx *az, uint64_t seed)
{
    logistic *data = az_alloc(az, sizeof *data);
    if (!data) return NULL;
    az_rng rng = az_rng_at(seed, az_stream("logistic", 0));
    double truth[FEATURES];
    for (int j = 0; j < FEATURES; j++) truth[j] = 0.3 * az_normal(&rng) / deviation(j);
    for (int i = 0; i < EXAMPLES; i++) {
        double margin = 0;
        for (int j = 0; j < FEATURES; j++) {
            data->x[i][j] = (float)(az_normal(&rng) * deviation(j));
            margin += truth[j] * data->x[i][j];
        }
        data->y[i] = az_uniform(&rng) < 1 / (1 + exp(-margin)) ? 1 : 0;
    }
    return data;
}

/* The same in a random basis. */
static logistic *rotated(az_ctx *az, const logistic *components, uint64_t seed)
{
    logistic *data = az_alloc(az, sizeof *data);
    az_tensor *q;
    const az_tensor *normal = az_randn(az, AZ_F32, 2, (int64_t[]){FEATURES, FEATURES}, 1, seed, az_stream("rotation", 0));
    if (!data || !az_qr(az, normal, &q, NULL)) return NULL;
    *data = *components;
    const az_tensor *x = az_matmul(az, az_from(az, AZ_F32, 2, (int64_t[]){EXAMPLES, FEATURES}, components->x), q);
    if (x) memcpy(data->x, az_f32(x), sizeof data->x);
    return x ? data : NULL;
}

static double margin_of(const logistic *data, int i, const float *w)
{
    double margin = 0;
    for (int j = 0; j < FEATURES; j++) margin += (double)w[j] * data->x[i][j];
    return margin;
}

static double logistic_loss(const logistic *data, const float *w)
{
    double sum = 0;
    for (int i = 0; i < EXAMPLES; i++) {
        const double m = margin_of(data, i, w) * (data->y[i] > 0 ? 1 : -1);
        sum += m > 0 ? log1p(exp(-m)) : log1p(exp(m)) - m;
    }
    return sum / EXAMPLES;
}

static void add_example(const logistic *data, int i, const float *w, double share, float *gradient)
{
    const double excess = 1 / (1 + exp(-margin_of(data, i, w))) - data->y[i];
    for (int j = 0; j < FEATURES; j++) gradient[j] += (float)(share * excess * data->x[i][j]);
}

/* The least loss there is, by gradient descent on components scaled to unit variance, long enough to converge. */
static double least_loss(const logistic *data)
{
    float w[FEATURES] = {0};
    for (int step = 0; step < 3000; step++) {
        float gradient[FEATURES] = {0};
        for (int i = 0; i < EXAMPLES; i++) add_example(data, i, w, 1.0 / EXAMPLES, gradient);
        for (int j = 0; j < FEATURES; j++) w[j] -= (float)(2 / (deviation(j) * deviation(j))) * gradient[j];
    }
    return logistic_loss(data, w);
}

/* Loss after STEPS steps whose rate falls to zero. */
static double trained_loss(az_ctx *az, const logistic *data, const az_optimizer_options *how, double lr, uint64_t seed)
{
    az_scope_push(az);
    const int64_t d = FEATURES;
    az_tensor *w = az_zeros(az, AZ_F32, 1, &d);
    az_optimizer *optimizer = az_optimizer_new(az, how, &w, 1, NULL);
    az_rng rng = az_rng_at(seed, az_stream("minibatch", 0));
    for (int step = 0; optimizer && step < STEPS && az_ok(az); step++) {
        az_scope_push(az);
        az_tensor *g = az_zeros(az, AZ_F32, 1, &d);
        for (int i = 0; g && i < BATCH; i++) add_example(data, (int)az_below(&rng, EXAMPLES), az_f32(w), 1.0 / BATCH, az_f32_mut(g));
        az_optimizer_step(az, optimizer, &g, lr * (1 - (double)step / STEPS));
        az_scope_pop(az);
    }
    const double loss = az_ok(az) ? logistic_loss(data, az_f32(w)) : INFINITY;
    az_clear(az); /* a rate that is too high for an optimizer only loses */
    az_scope_pop(az);
    return isfinite(loss) ? loss : INFINITY;
}

static const struct {
    const char *name;
    az_optimizer_options how;
    double rate[5];
} optimizers[] = {
    {"m-fac", {.kind = AZ_MFAC, .window = 256, .damp = 1e-4, .plain_steps = 32}, {0.003, 0.01, 0.03, 0.1, 0.3}},
    {"sgd", {.kind = AZ_SGD, .beta1 = 0.9}, {0.1, 0.3, 1, 3, 10}},
    {"adam", {.kind = AZ_ADAMW, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8}, {0.003, 0.01, 0.03, 0.1, 0.3}},
};
enum { OPTIMIZERS = 3 };

/* Excess training loss, each with its best rate: at most half of SGD's and a quarter of Adam's. */
static int logistic_won(az_ctx *az, az_report *report, int *asked)
{
    int won = 0;
    for (uint64_t seed = 0; seed < SEEDS && az_ok(az); seed++) {
        az_scope_push(az);
        const logistic *components = draw_components(az, seed), *data = components ? rotated(az, components, seed) : NULL;
        double excess[OPTIMIZERS];
        const double least = data ? least_loss(components) : NAN;
        az_report_row(report, "logistic");
        az_report_count(report, "seed", (int64_t)seed);
        for (int o = 0; data && o < OPTIMIZERS; o++) {
            double best = INFINITY;
            for (int r = 0; r < 5; r++) best = fmin(best, trained_loss(az, data, &optimizers[o].how, optimizers[o].rate[r], seed));
            excess[o] = best - least;
            az_report_number(report, optimizers[o].name, excess[o], "nat");
        }
        if (data) won += (excess[0] <= 0.5 * excess[1]) + (excess[0] <= 0.25 * excess[2]);
        *asked += 2;
        az_scope_pop(az);
    }
    return won;
}

/* ---- language models ---- */

/* Better than magnitude on every subject; wanda and sparsegpt stand beside. */
static int models_won(az_ctx *az, az_report *report, int *asked)
{
    static const char *const shares[] = {"sparsity=0.6", "sparsity=0.7"};
    static const char *const others[] = {"magnitude", "wanda", "sparsegpt"};
    claim_subject subjects[CLAIM_MOST_SUBJECTS];
    const int n = claim_subjects(az, subjects);
    int won = 0;
    for (int i = 0; i < n; i++)
        for (int s = 0; s < 2 && az_ok(az); s++) {
            const claim_runs *mine = claim_run_chain(az, &subjects[i], az_format_text(az, "m-fac:%s,recompute=4", shares[s]), SEEDS);
            for (int o = 0; o < 3; o++) {
                const claim_runs *other = claim_run_chain(az, &subjects[i], az_format_text(az, "%s:%s", others[o], shares[s]), SEEDS);
                const claim_difference d = claim_compare(az, report, &subjects[i], mine, other);
                if (o == 0) won += claim_is_better(&d);
            }
            ++*asked;
        }
    return won;
}

static bool run(az_ctx *az, az_report *report)
{
    const char *folder = getenv("ADZE_DATA");
    int asked = 0;
    int won = logistic_won(az, report, &asked);
    if (folder && *folder) won += digits_won(az, report, folder, &asked);
    won += models_won(az, report, &asked);
    return claim_decide(az, report, asked, won);
}

const az_claim az_claim_m_fac = {
    .name = "m-fac",
    .statement =
        "pruned by m-fac a model loses less than by magnitude, more steps on the way lose less than one, and as an optimizer m-fac "
        "comes closer to the optimum of an ill-conditioned problem than sgd and adam",
    .run = run,
};
