/* mezo.c - MeZO: zeroth-order tuning along a normal direction of every weight, drawn again from its key. The baseline of tezo.
 *
 * Malladi et al.: Fine-tuning language models with just forward passes, NeurIPS 2023 (arXiv 2305.17333). */
#include "tune/zeroth.h"

typedef struct mezo_options {
    az_zeroth_options common;
} mezo_options;

static const char *const variants[] = {[AZ_ZO_PLAIN] = "sgd", [AZ_ZO_MOMENTUM] = "m", [AZ_ZO_ADAM] = "adam", NULL};
static const char *const params[] = {"full", "lora", NULL};

static const az_option options_table[] = {
    {"variant", AZ_FIELD(AZ_CHOICE, mezo_options, common.rule), "sgd", 0, 0, variants, "plain steps, momentum, or Adam's"},
    {"params", AZ_FIELD(AZ_CHOICE, mezo_options, common.params), "full", 0, 0, params, "tune the weights, or an adapter as of lora"},
    AZ_ZEROTH_COMMON(mezo_options),
    {"eps", AZ_FIELD(AZ_REAL, mezo_options, common.eps), "1e-8", 1e-30, 1, NULL, "variant=adam: keeps divisors from zero"},
    {.name = NULL},
};

extern const az_method az_mezo;

static bool tune(az_ctx *az, const void *settings, az_tune_job *job)
{
    return az_tune_zeroth(az, job, &(az_zeroth_how){.method = &az_mezo, .settings = settings, .kind = AZ_ZO_DENSE});
}

const az_method az_mezo = {
    .name = "mezo",
    .family = AZ_TUNE,
    .summary = "tune with forward passes alone, along a random direction of every weight",
    .paper = "Malladi et al.: Fine-tuning language models with just forward passes, NeurIPS 2023, arXiv 2305.17333",
    .details = "As tezo, but a direction takes as many random numbers as there are weights, and momentum and Adam hold one and two more "
               "numbers a weight.",
    .example = "adze tune tales mezo -d train.jsonl -o taught.gguf --steps 20 --lr 1e-6 --schedule constant",
    .options = options_table,
    .options_size = sizeof(mezo_options),
    .tune = tune,
    .makes_model = az_zeroth_makes_model,
};
