/* subzo.c - SubZO: zeroth-order tuning in random subspaces that are renewed now and then. A baseline of tezo.
 *
 * Yu et al.: Zeroth-order fine-tuning of LLMs in random subspaces, 2024 (arXiv 2410.08989). */
#include "tune/zeroth.h"

typedef struct subzo_options {
    az_zeroth_options common;
    int64_t rank, renew;
} subzo_options;

static const char *const params[] = {"full", "lora", NULL};

static const az_option options_table[] = {
    {"rank", AZ_FIELD(AZ_INT, subzo_options, rank), "8", 1, 1 << 16, NULL, "dimensions of the subspaces of rows and of columns"},
    {"renew", AZ_FIELD(AZ_INT, subzo_options, renew), "2000", 1, 1e9, NULL, "steps that a subspace lasts"},
    {"params", AZ_FIELD(AZ_CHOICE, subzo_options, common.params), "full", 0, 0, params, "tune the weights, or an adapter as of lora"},
    AZ_ZEROTH_COMMON(subzo_options),
    {.name = NULL},
};

extern const az_method az_subzo;

static bool tune(az_ctx *az, const void *settings, az_tune_job *job)
{
    const subzo_options *o = settings;
    const az_zeroth_how how = {.method = &az_subzo, .settings = settings, .kind = AZ_ZO_SUBSPACE, .renew = o->renew, .rank = o->rank};
    return az_tune_zeroth(az, job, &how);
}

const az_method az_subzo = {
    .name = "subzo",
    .family = AZ_TUNE,
    .summary = "tune with forward passes alone, in random subspaces that are renewed",
    .paper = "Yu et al.: Zeroth-order fine-tuning of LLMs in random subspaces, 2024, arXiv 2410.08989",
    .details =
        "As tezo, with directions U z V^T sqrt(m n)/r: U and V orthonormal bases that last `renew` steps, z [r, r] normal and fresh.",
    .example = "adze tune tales subzo -d train.jsonl -o taught.gguf --steps 20 --lr 1e-6 --schedule constant",
    .options = options_table,
    .options_size = sizeof(subzo_options),
    .tune = tune,
    .makes_model = az_zeroth_makes_model,
};
