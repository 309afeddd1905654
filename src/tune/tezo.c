/* tezo.c - TeZO: zeroth-order tuning whose directions differ from step to step by a few numbers only.
 *
 * Problem: minimise f(W) over all weights with no more memory than reading takes: without gradients, activations or moments of every
 *     weight.
 * Direction: Z_t = U diag(tau_t) V^T for each matrix [m, n], U [m, r] and V [n, r] normal and the same in every step, tau_t [r] normal and
 *     fresh: the steps' directions together are a tensor of rank r (canonical polyadic form), and time only has r numbers to draw.
 * Estimate: kappa = (f(W + rho Z) - f(W - rho Z)) / (2 rho), ghat = kappa Z / r; unbiased over U, V and tau.
 * Rules: W -= lr ghat; momentum and Adam of tau instead of W: M = U diag(tau_M) V^T is exact, and V = (U o U) diag(tau_V) (V o V)^T is the
 *     mean of the squares for given U and V.
 * Rank: of the matrices of a block the least number of singular values that reach theta times the largest, because no gradient in the
 *     chain has a larger one.
 *
 * TeZO: Empowering the low-rankness on the temporal dimension in the zeroth-order optimization for fine-tuning LLMs (arXiv 2501.19057). */
#include "tune/zeroth.h"

typedef struct tezo_options {
    az_zeroth_options common;
    int64_t rank, most;
    double theta;
    bool store;
} tezo_options;

static const char *const variants[] = {[AZ_ZO_PLAIN] = "sgd", [AZ_ZO_MOMENTUM] = "m", [AZ_ZO_ADAM] = "adam", NULL};
static const char *const roots[] = {"corrected", "paper", NULL};

static const az_option options_table[] = {
    {"variant", AZ_FIELD(AZ_CHOICE, tezo_options, common.rule), "sgd", 0, 0, variants, "plain steps, momentum, or Adam's"},
    {"rank", AZ_FIELD(AZ_INT, tezo_options, rank), "0", 0, 1 << 16, NULL, "numbers of a matrix; 0 = as many as its block's spectra say"},
    {"theta", AZ_FIELD(AZ_REAL, tezo_options, theta), "0.25", 0, 1, NULL, "rank=0: singular values count from this share of the largest"},
    {"most", AZ_FIELD(AZ_INT, tezo_options, most), "64", 4, 1 << 16, NULL, "rank=0: largest rank"},
    {"params", AZ_FIELD(AZ_CHOICE, tezo_options, common.params), "full", 0, 0, az_zeroth_params_names,
     "tune the weights, an adapter as of lora, or the numbers alone beside weights of any format (fold; the result is an adapter)"},
    AZ_ZEROTH_COMMON(tezo_options),
    {"store", AZ_FIELD(AZ_BOOL, tezo_options, store), "false", 0, 0, NULL,
     "hold U and V, r (m + n) numbers, instead of drawing them again"},
    {"eps", AZ_FIELD(AZ_REAL, tezo_options, common.eps), "1e-8", 1e-30, 1, NULL, "variant=adam: keeps divisors from zero"},
    {"adam", AZ_FIELD(AZ_CHOICE, tezo_options, common.adam), "corrected", 0, 0, roots,
     "variant=adam: with bias correction and sqrt(V) + eps, or M / sqrt(V + eps) as the paper writes it"},
    {.name = NULL},
};

extern const az_method az_tezo;

static bool tune(az_ctx *az, const void *settings, az_tune_job *job)
{
    const tezo_options *o = settings;
    const az_zeroth_how how = {.method = &az_tezo,
                               .settings = settings,
                               .kind = AZ_ZO_TEMPORAL,
                               .store = o->store,
                               .rank = o->rank,
                               .most = o->most,
                               .theta = o->theta};
    return az_tune_zeroth(az, job, &how);
}

const az_method az_tezo = {
    .name = "tezo",
    .family = AZ_TUNE,
    .summary = "tune with forward passes alone, along directions of a few numbers a matrix",
    .paper = "TeZO: Empowering the low-rankness on the temporal dimension in zeroth-order optimization, 2025, arXiv 2501.19057",
    .details = "Two losses tell how steep the loss is along a random direction, and the weights move along it: no gradient exists and no "
               "activation is kept. For each matrix the direction is U diag(tau) V^T with U and V fixed for the run and r fresh numbers "
               "tau a step; moments are those of tau, so variant=adam takes a third of the memory of mezo's. Thousands of steps are usual; "
               "schedule=constant and rates of 1e-7 to 1e-4 (sgd, m) or 3e-6 to 1e-4 (adam) are a start. Zeros stay zero. params=fold "
               "leaves the weights as they are, in any format, and makes an adapter; with variant=adam its second moments are those of the "
               "numbers, not of the weights. log=FILE and replay=FILE: a few bytes a step make the result again from the model.",
    .example = "adze tune tales tezo:variant=adam -d train.jsonl -o taught.gguf --steps 20 --lr 1e-5 --schedule constant",
    .options = options_table,
    .options_size = sizeof(tezo_options),
    .tune = tune,
    .makes_model = az_zeroth_makes_model,
};
