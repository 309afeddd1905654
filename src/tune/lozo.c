/* lozo.c - LOZO: zeroth-order tuning along U V^T, U fresh in every step and V kept for some. A baseline of tezo.
 *
 * Chen et al.: Enhancing zeroth-order fine-tuning for language models with low-rank structures, ICLR 2025 (arXiv 2410.07698). */
#include "tune/zeroth.h"

typedef struct lozo_options {
    az_zeroth_options common;
    int64_t rank, renew;
    bool store;
} lozo_options;

static const char *const variants[] = {[AZ_ZO_PLAIN] = "sgd", [AZ_ZO_MOMENTUM] = "m", NULL};
static const char *const params[] = {"full", "lora", NULL};

static const az_option options_table[] = {
    {"variant", AZ_FIELD(AZ_CHOICE, lozo_options, common.rule), "sgd", 0, 0, variants, "plain steps, or momentum"},
    {"rank", AZ_FIELD(AZ_INT, lozo_options, rank), "2", 1, 1 << 16, NULL, "rank of the direction of a matrix"},
    {"renew", AZ_FIELD(AZ_INT, lozo_options, renew), "50", 1, 1e9, NULL, "steps that a V lasts"},
    {"params", AZ_FIELD(AZ_CHOICE, lozo_options, common.params), "full", 0, 0, params, "tune the weights, or an adapter as of lora"},
    AZ_ZEROTH_COMMON(lozo_options),
    {"store", AZ_FIELD(AZ_BOOL, lozo_options, store), "false", 0, 0, NULL, "hold V, r n numbers, instead of drawing it again"},
    {.name = NULL},
};

extern const az_method az_lozo;

static bool tune(az_ctx *az, const void *settings, az_tune_job *job)
{
    const lozo_options *o = settings;
    const az_zeroth_how how = {
        .method = &az_lozo, .settings = settings, .kind = AZ_ZO_LAZY, .store = o->store, .renew = o->renew, .rank = o->rank};
    return az_tune_zeroth(az, job, &how);
}

const az_method az_lozo = {
    .name = "lozo",
    .family = AZ_TUNE,
    .summary = "tune with forward passes alone, along low-rank directions that are renewed by halves",
    .paper = "Chen et al.: Enhancing zeroth-order fine-tuning for language models with low-rank structures, ICLR 2025, arXiv 2410.07698",
    .details = "As tezo, with directions U V^T: U is fresh in every step, V is renewed every `renew` steps. The estimate is divided by the "
               "rank, so rates are rank times those of programs that do not divide. Momentum is kept as N V^T, and projected on a new V.",
    .example = "adze tune tales lozo -d train.jsonl -o taught.gguf --steps 20 --lr 1e-6 --schedule constant",
    .options = options_table,
    .options_size = sizeof(lozo_options),
    .tune = tune,
    .makes_model = az_zeroth_makes_model,
};
