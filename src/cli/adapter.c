/* adapter.c - adze adapter: what is in an adapter, into the weights with it and out again, and one adapter out of several. */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

typedef struct adapter_settings {
    const char *output, *weights;
    int how, save_as; /* az_adapter_mix; index into types */
    int64_t rank;
    double scale;
    bool layers;
} adapter_settings;

static const char *const mixes[] = {[AZ_MIX_CAT] = "cat", [AZ_MIX_LINEAR] = "linear", [AZ_MIX_SVD] = "svd", NULL};
static const char *const types[] = {"f32", "f16", "bf16", NULL};
static const az_dtype dtypes[] = {AZ_F32, AZ_F16, AZ_BF16};

static const az_option adapter_options[] = {
    {"output", AZ_FIELD(AZ_TEXT, adapter_settings, output), "", 0, 0, NULL,
     "merge, unmerge: the GGUF file to write; add, convert: the adapter's folder"},
    {"weights", AZ_FIELD(AZ_TEXT, adapter_settings, weights), "", 0, 0, NULL, "add: a weight for each adapter (\"0.5,0.5\"); without it 1"},
    {"how", AZ_FIELD(AZ_CHOICE, adapter_settings, how), "cat", 0, 0, mixes,
     "add: cat is exactly the sum, of the summed rank; linear adds the factors; svd is the sum cut to a rank"},
    {"rank", AZ_FIELD(AZ_INT, adapter_settings, rank), "0", 0, 1 << 16, NULL, "add, svd: that rank; 0 = the largest of theirs"},
    {"scale", AZ_FIELD(AZ_REAL, adapter_settings, scale), "1", -1e6, 1e6, NULL, "merge, convert: the change times this"},
    {"save_as", AZ_FIELD(AZ_CHOICE, adapter_settings, save_as), "f32", 0, 0, types, "add, convert: type of the adapter's tensors"},
    {"layers", AZ_FIELD(AZ_BOOL, adapter_settings, layers), "false", 0, 0, NULL, "info: each layer (always with --json)"},
    {0},
};
static const cli_group adapter_groups[] = {{"options", adapter_options, 0}, {0}};

/* The change of each layer times `scale`. */
static bool rescale(az_ctx *az, az_adapter *adapter, double scale)
{
    if (scale != 1 && adapter->virtual_tokens > 0)
        return az_fail(az, AZ_BAD_INPUT, "adapter: '%s' has virtual tokens, which cannot be scaled", adapter->name);
    for (int i = 0; i < adapter->layers; i++) {
        az_adapter_layer *layer = &adapter->layer[i];
        if (scale != 1 && (layer->magnitude || layer->bias || layer->weight || layer->gain))
            return az_fail(az, AZ_BAD_INPUT, "%s: magnitudes, biases and whole weights cannot be scaled", layer->name);
        layer->scale *= scale;
        layer->alpha *= scale;
    }
    return true;
}

static int write_model(cli_job *job, const adapter_settings *o, const az_lm *lm)
{
    if (!cli_save_model(job->az, lm, o->output, NULL)) return CLI_BAD;
    az_report_row(job->report, "result");
    az_report_text(job->report, "output", o->output);
    az_report_number(job->report, "bytes", (double)az_lm_bytes(lm), "B");
    return CLI_OK;
}

/* The norms that DoRA divides by are those of the model before the merge, which no file holds. */
static bool can_be_unmerged(az_ctx *az, const az_adapter *adapter)
{
    for (int i = 0; i < adapter->layers; i++)
        if (adapter->layer[i].magnitude)
            return az_fail(az, AZ_BAD_INPUT,
                           "%s: the norms that DoRA divided by are not known any more; keep the model from before the merge",
                           adapter->layer[i].name);
    return true;
}

static int merge(cli_job *job, const adapter_settings *o, az_lm *lm, az_adapter **adapter, int n)
{
    const bool out = strcmp(job->word[0], "unmerge") == 0;
    for (int i = 0; adapter && i < n && az_ok(job->az); i++) {
        if (!rescale(job->az, adapter[i], o->scale) || (out && !can_be_unmerged(job->az, adapter[i]))) break;
        (out ? az_adapter_unmerge : az_adapter_merge)(job->az, lm, adapter[i], job->report);
    }
    return az_ok(job->az) ? write_model(job, o, lm) : CLI_BAD;
}

static void report_layers(cli_job *job, const az_adapter *adapter)
{
    for (int i = 0; i < adapter->layers; i++) {
        const az_adapter_layer *l = &adapter->layer[i];
        az_report_row(job->report, "layers");
        az_report_text(job->report, "layer", l->name);
        az_report_count(job->report, "outputs", l->out);
        az_report_count(job->report, "inputs", l->in);
        az_report_count(job->report, "rank", l->rank);
        az_report_number(job->report, "scale", l->scale, "");
        az_report_bool(job->report, "magnitude", l->magnitude != NULL);
        az_report_bool(job->report, "bias", l->bias != NULL || l->b_bias != NULL);
        az_report_bool(job->report, "whole", l->weight != NULL || l->gain != NULL);
    }
}

static int info(cli_job *job, const adapter_settings *o, az_adapter **adapter, int n)
{
    for (int i = 0; adapter && i < n; i++) {
        int64_t least = 0, most = 0;
        for (int k = 0; k < adapter[i]->layers; k++) {
            const int64_t rank = adapter[i]->layer[k].rank;
            least = k == 0 || rank < least ? rank : least;
            most = rank > most ? rank : most;
        }
        az_report_row(job->report, "adapters");
        az_report_text(job->report, "adapter", adapter[i]->name);
        az_report_text(job->report, "kind", adapter[i]->kind);
        az_report_count(job->report, "layers", adapter[i]->layers);
        az_report_count(job->report, "least_rank", least);
        az_report_count(job->report, "largest_rank", most);
        az_report_count(job->report, "virtual_tokens", adapter[i]->virtual_tokens);
        az_report_bool(job->report, "only_these_weights", adapter[i]->base != NULL);
        az_report_count(job->report, "parameters", az_adapter_parameter_count(adapter[i]));
        az_generators_report(job->az, adapter[i]->generators, job->report);
        if (o->layers || job->common->json) report_layers(job, adapter[i]);
    }
    return CLI_OK;
}

static bool read_weights(cli_job *job, const char *text, int n, double *weight)
{
    for (int i = 0; i < n; i++) weight[i] = 1;
    if (!*text) return true;
    char *rest = az_strdup(job->az, text);
    int count = 0;
    for (char *item; rest && (item = strsep(&rest, ","));) {
        char *end;
        const double value = strtod(item, &end);
        if (end == item || *end) return az_fail(job->az, AZ_BAD_INPUT, "adapter: '%s' in --weights is no number", item);
        if (count < n) weight[count] = value;
        count++;
    }
    if (count != n) return az_fail(job->az, AZ_BAD_INPUT, "adapter: %d weights for %d adapters", count, n);
    return true;
}

static int write_adapter(cli_job *job, const adapter_settings *o, const az_lm *lm, const az_adapter *adapter)
{
    if (!az_adapter_write(job->az, lm, adapter, o->output, job->word[1], dtypes[o->save_as])) return CLI_BAD;
    az_report_row(job->report, "result");
    az_report_text(job->report, "output", o->output);
    az_report_count(job->report, "parameters", az_adapter_parameter_count(adapter));
    return CLI_OK;
}

static int add(cli_job *job, const adapter_settings *o, const az_lm *lm, az_adapter **adapter, int n)
{
    double *weight = az_alloc_array(job->az, (size_t)n, sizeof *weight);
    if (!weight || !read_weights(job, o->weights, n, weight)) return CLI_BAD;
    const az_adapter *sum = az_adapter_combine(job->az, lm, (const az_adapter *const *)adapter, weight, n, (az_adapter_mix)o->how, o->rank);
    return sum ? write_adapter(job, o, lm, sum) : CLI_BAD;
}

static int convert(cli_job *job, const adapter_settings *o, const az_lm *lm, az_adapter **adapter, int n)
{
    if (n != 1) az_fail(job->az, AZ_BAD_INPUT, "adapter: convert takes one adapter, not %d", n);
    if (!az_ok(job->az) || !rescale(job->az, adapter[0], o->scale)) return CLI_BAD;
    return write_adapter(job, o, lm, adapter[0]);
}

typedef enum action { MERGE, UNMERGE, INFO, ADD, CONVERT } action;
static const char *const actions[] = {
    [MERGE] = "merge", [UNMERGE] = "unmerge", [INFO] = "info", [ADD] = "add", [CONVERT] = "convert", NULL};

/* Where the result goes, and no options that this action does not read. */
static bool check_options(cli_job *job, const adapter_settings *o, action which)
{
    const bool model = which == MERGE || which == UNMERGE;
    const struct {
        const char *name;
        bool given, read;
    } options[] = {
        {"output", *o->output, which != INFO},
        {"weights", *o->weights, which == ADD},
        {"how", o->how != AZ_MIX_CAT, which == ADD},
        {"rank", o->rank > 0, which == ADD && o->how == AZ_MIX_SVD},
        {"scale", o->scale != 1, model || which == CONVERT},
        {"save-as", o->save_as > 0, which == ADD || which == CONVERT},
    };
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (options[i].given && !options[i].read)
            return az_fail(job->az, AZ_BAD_INPUT, "adapter: %s has no use for --%s%s", actions[which], options[i].name,
                           which == ADD && strcmp(options[i].name, "rank") == 0 ? " without --how=svd" : "");
    if (which == INFO) return true;
    if (!*o->output) return az_fail(job->az, AZ_BAD_INPUT, "adapter: where does the result go? -o %s", model ? "NAME.gguf" : "FOLDER");
    return model ? cli_check_model(job, o->output) : cli_check_unread(job, o->output) && cli_check_folder(job->az, o->output);
}

static int run(cli_job *job, const void *settings)
{
    const adapter_settings *o = settings;
    const char *word = job->word[0];
    int which = 0;
    while (actions[which] && strcmp(actions[which], word) != 0) which++;
    if (!actions[which]) az_fail(job->az, AZ_BAD_INPUT, "adapter: '%s' is none of merge, unmerge, info, add, convert", word);
    if (!az_ok(job->az) || !check_options(job, o, (action)which)) return CLI_BAD;
    const int n = job->words - 2;
    az_lm *lm = cli_load(job, job->word[1]);
    az_adapter **adapter = az_alloc_array(job->az, (size_t)n, sizeof *adapter);
    for (int i = 0; lm && adapter && i < n && az_ok(job->az); i++) adapter[i] = az_adapter_read(job->az, lm, job->word[i + 2]);
    if (!lm || !az_ok(job->az)) return CLI_BAD;
    switch ((action)which) {
    case MERGE:
    case UNMERGE: return merge(job, o, lm, adapter, n);
    case INFO: return info(job, o, adapter, n);
    case ADD: return add(job, o, lm, adapter, n);
    default: return convert(job, o, lm, adapter, n);
    }
}

const cli_verb cli_adapter = {
    .name = "adapter",
    .summary = "merge adapters into a model, take them out, add them up, look inside",
    .usage = "merge|unmerge|info|add|convert MODEL ADAPTER... [-o RESULT]",
    .details = "An adapter is a folder with adapter_config.json and adapter_model.safetensors, as PEFT writes it (LoRA, AdaLoRA, prompt "
               "and prefix tuning), or of iapt, whose activations info shows (--plot: as curves). merge puts the changes into the weights: "
               "dense ones are rounded once to their type; sparse ones keep their zeros; of low rank grow by the adapter's rank; other "
               "formats are decoded, changed and encoded again. unmerge takes them out of dense weights, up to rounding, but no magnitudes "
               "of DoRA. add makes one adapter of several; convert writes one anew, scaled or in another type.",
    .groups = adapter_groups,
    .settings_size = sizeof(adapter_settings),
    .min_words = 3,
    .max_words = -1,
    .words = "merge unmerge info add convert",
    .run = run,
};
