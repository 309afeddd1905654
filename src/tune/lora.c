/* lora.c - LoRA (Hu et al., ICLR 2022), with rank-stabilized scales (Kalajdzievski 2023) and DoRA (Liu et al., ICML 2024).
 *
 * A layer y = W x + b keeps its weight W and gets y = W x + b + s B A x, A [r, in] and B [out, r] alone being trained; s = alpha / r, or
 * alpha / sqrt(r). B = 0 at the start, so training begins at the model as it is. DoRA also trains the norm m of each row:
 * y = m / |V| * (V x) + b with V = W + s B A. */
#include "tune/tune_internal.h"

typedef struct lora_options {
    int64_t rank;
    double alpha, dropout;
    bool rslora, dora;
    int init, bias; /* index into inits; az_adapter_bias */
    const char *targets, *exclude, *save, *ranks, *alphas;
} lora_options;

static const char *const inits[] = {"uniform", "gaussian", NULL};
static const char *const biases[] = {[AZ_BIAS_NONE] = "none", [AZ_BIAS_ALL] = "all", [AZ_BIAS_ADAPTED] = "adapted", NULL};

static const az_option options_table[] = {
    {"rank", AZ_FIELD(AZ_INT, lora_options, rank), "8", 1, 1 << 16, NULL, "rank r of the change of a layer"},
    {"alpha", AZ_FIELD(AZ_REAL, lora_options, alpha), "16", 0, 1e9, NULL, "the change is scaled by alpha / r"},
    {"dropout", AZ_FIELD(AZ_REAL, lora_options, dropout), "0", 0, 0.999, NULL, "share of the inputs of A that are dropped in training"},
    {"targets", AZ_FIELD(AZ_TEXT, lora_options, targets), "", 0, 0, NULL,
     "layers, by the ends of their names (\"q_proj,v_proj\"), a /regular expression/ of whole names, or all-linear; without it q and v"},
    {"exclude", AZ_FIELD(AZ_TEXT, lora_options, exclude), "", 0, 0, NULL, "layers that targets names but that are left alone"},
    {"save", AZ_FIELD(AZ_TEXT, lora_options, save), "", 0, 0, NULL,
     "layers and norms that are trained whole (\"lm_head\", \"model.norm\")"},
    {"ranks", AZ_FIELD(AZ_TEXT, lora_options, ranks), "", 0, 0, NULL, "other ranks for some layers: \"q_proj=4,down_proj=16\""},
    {"alphas", AZ_FIELD(AZ_TEXT, lora_options, alphas), "", 0, 0, NULL, "other alphas for some layers"},
    {"rslora", AZ_FIELD(AZ_BOOL, lora_options, rslora), "false", 0, 0, NULL, "scale by alpha / sqrt(r)"},
    {"dora", AZ_FIELD(AZ_BOOL, lora_options, dora), "false", 0, 0, NULL, "train the norms of the rows as well"},
    {"init", AZ_FIELD(AZ_CHOICE, lora_options, init), "uniform", 0, 0, inits, "of A: +-1/sqrt(in), or normal with deviation 1/r"},
    {"bias", AZ_FIELD(AZ_CHOICE, lora_options, bias), "none", 0, 0, biases,
     "train biases too: of all layers and norms, or of layers with a change"},
    {.name = NULL},
};

extern const az_method az_lora;

static bool tune(az_ctx *az, const void *settings, az_tune_job *job)
{
    const lora_options *o = settings;
    const az_adapter_how how = {.rank = o->rank,
                                .alpha = o->alpha,
                                .dropout = o->dropout,
                                .rank_stabilized = o->rslora,
                                .dora = o->dora,
                                .gaussian = o->init == 1,
                                .targets = o->targets,
                                .exclude = o->exclude,
                                .save = o->save,
                                .ranks = o->ranks,
                                .alphas = o->alphas,
                                .bias = (az_adapter_bias)o->bias,
                                .seed = (uint64_t)job->settings->training.seed};
    az_tuning tuning;
    if (!az_tuning_begin(az, job, 0, &tuning)) return false;
    tuning.adapter = az_adapter_new(az, job->lm, &how);
    job->adapter = tuning.adapter;
    return tuning.adapter && az_tune_adapter(az, &tuning, az_method_text(az, &az_lora, settings));
}

const az_method az_lora = {
    .name = "lora",
    .family = AZ_TUNE,
    .summary = "train a change of low rank beside the layers",
    .paper = "LoRA: Low-Rank Adaptation of Large Language Models, ICLR 2022, arXiv 2106.09685",
    .details = "The weights stay as they are, in any format; beside each chosen layer y = W x an adapter of two thin matrices is trained: "
               "y = W x + alpha/r B A x. B is zero at first, so training starts from the model itself. rslora scales by alpha/sqrt(r) "
               "(arXiv 2312.03732), which lets large ranks learn; dora (arXiv 2402.09353) trains each row's norm apart from its direction.",
    .example = "adze tune tales lora:rank=8 -d train.jsonl -o adapter/ --steps 20 --lr 2e-3\n"
               "adze run tales --adapter adapter/ -p 'Is Green a color?' -n 4 --temperature 0\n"
               "adze adapter merge tales adapter/ -o taught.gguf",
    .options = options_table,
    .options_size = sizeof(lora_options),
    .needs_data = true,
    .tune = tune,
};
