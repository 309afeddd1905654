/* full.c - fine-tuning of the weights themselves: all of them, or those whose names match. The baseline of the family. */
#include "tune/tune_internal.h"

typedef struct full_options {
    const char *only;
} full_options;

static const az_option options_table[] = {
    {"only", AZ_FIELD(AZ_TEXT, full_options, only), "", 0, 0, NULL,
     "train the parameters whose names match one of these globs, such as \"*.attn.*,*norm*\"; without it all"},
    {.name = NULL},
};

extern const az_method az_full_tuning;

static bool tune(az_ctx *az, const void *settings, az_tune_job *job)
{
    const full_options *o = settings;
    az_tuning tuning;
    if (!az_tuning_begin(az, job, 0, &tuning)) return false;
    const bool f64 = az_weight_is_dense(job->lm->embedding) && job->lm->embedding->part[0]->dtype == AZ_F64;
    az_lm_parameter *parameter;
    const int n = az_lm_choose_parameters(az, job->lm, f64 ? AZ_F64 : AZ_F32, o->only, &parameter);
    if (n == 0) return false;
    const az_lm_fit_plan plan = az_tuning_plan(az, &tuning, parameter, n, az_method_text(az, &az_full_tuning, settings));
    return plan.identity && az_lm_fit_run(az, &plan, job->report);
}

static bool makes_model(const void *settings)
{
    (void)settings;
    return true;
}

const az_method az_full_tuning = {
    .name = "full",
    .family = AZ_TUNE,
    .summary = "train the weights themselves",
    .paper = "the baseline that every method of this family is measured against",
    .details = "Every weight becomes f32 and is trained, with a gradient and two moments of its own: four times the memory of the model at "
               "least. The result is a model, not an adapter. A learning rate of a tenth of an adapter's is a good start.",
    .example = "adze tune tales full:only='*.attn.*' -d train.jsonl -o taught.gguf --steps 20 --lr 2e-4",
    .options = options_table,
    .options_size = sizeof(full_options),
    .needs_data = true,
    .tune = tune,
    .makes_model = makes_model,
};
