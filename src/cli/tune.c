/* tune.c - adze tune: a method of the family makes an adapter beside a model, or a changed model, from examples. */
#include "cli/cli.h"

#include <string.h>
#include <unistd.h>

typedef struct tune_settings {
    const char *data, *valid, *output;
    double valid_share;
    int save_as;
    az_tune_settings tuning;
} tune_settings;

static const char *const types[] = {"f32", "f16", "bf16", NULL};
static const az_dtype dtypes[] = {AZ_F32, AZ_F16, AZ_BF16};

static const az_option tune_options[] = {
    {"data", AZ_FIELD(AZ_TEXT, tune_settings, data), "", 0, 0, NULL,
     "the examples: JSON lines with \"prompt\" and \"response\", with \"messages\", or with \"text\""},
    {"output", AZ_FIELD(AZ_TEXT, tune_settings, output), "", 0, 0, NULL,
     "the folder to write the adapter to; a GGUF file for methods that change the model"},
    {"valid", AZ_FIELD(AZ_TEXT, tune_settings, valid), "", 0, 0, NULL, "measure on these examples"},
    {"valid_share", AZ_FIELD(AZ_REAL, tune_settings, valid_share), "0.1", 0, 0.9, NULL,
     "without --valid: on this share of the examples, kept from training; 0 = no measuring"},
    {"save_as", AZ_FIELD(AZ_CHOICE, tune_settings, save_as), "f32", 0, 0, types, "type of the adapter's tensors"},
    {0},
};
static const cli_group tune_groups[] = {
    {"options", tune_options, 0},
    {"training", az_tune_options, offsetof(tune_settings, tuning)},
    {0},
};

static bool read_examples(cli_job *job, const tune_settings *o, az_tune_job *work)
{
    az_examples *all = *o->data ? az_examples_read(job->az, o->data) : NULL, *train = all, *valid = NULL;
    if (*o->valid)
        valid = az_examples_read(job->az, o->valid);
    else if (all && o->valid_share > 0 && !az_examples_split(job->az, all, o->valid_share, az_seed(job->az), &train, &valid))
        return false;
    if (az_ok(job->az) && valid && train && (valid->count == 0 || train->count == 0)) {
        az_note(job->az, "'%s' has too few examples to keep some for measuring; give --valid FILE", o->data);
        train = all;
        valid = NULL;
    }
    work->train = train;
    work->valid = valid;
    return az_ok(job->az);
}

static const az_method *tune_method(cli_job *job, const tune_settings *o, void **settings)
{
    const az_method *method = cli_method(job->az, job->word[1], settings);
    if (!method) return NULL;
    if (method->prepare && !method->tune)
        return az_fail(job->az, AZ_BAD_INPUT, "tune: '%s' makes examples, it does not learn them: adze prepare INPUT %s --backend ...",
                       method->name, method->name);
    if (method->family != AZ_TUNE || !method->tune)
        return az_fail(job->az, AZ_BAD_INPUT, "tune: '%s' is a method of the family %s, not of tune", method->name,
                       az_family_name(method->family));
    if (method->needs_data && !*o->data) return az_fail(job->az, AZ_BAD_INPUT, "tune: %s needs examples: -d FILE", method->name);
    if (!*o->output) return az_fail(job->az, AZ_BAD_INPUT, "tune: where does the result go? -o FOLDER");
    return method;
}

/* A result that cannot be written must not cost the training. */
static bool check_output(cli_job *job, const az_method *method, const void *settings, const char *path)
{
    const bool model = method->makes_model && method->makes_model(settings);
    return model ? cli_check_model(job, path) : cli_check_unread(job, path) && cli_check_folder(job->az, path);
}

static bool write_result(cli_job *job, const tune_settings *o, const az_tune_job *work)
{
    if (work->adapter) return az_adapter_write(job->az, work->lm, work->adapter, o->output, work->model, dtypes[o->save_as]);
    return cli_save_model(job->az, work->lm, o->output, NULL);
}

static void report_result(cli_job *job, const tune_settings *o, const az_tune_job *work)
{
    az_report_row(job->report, "result");
    az_report_text(job->report, "output", o->output);
    if (work->adapter) az_report_count(job->report, "adapter_parameters", az_adapter_parameter_count(work->adapter));
    az_report_bool(job->report, "interrupted", az_interrupted(job->az));
}

static int tune(cli_job *job, const void *settings)
{
    tune_settings options = *(const tune_settings *)settings;
    void *method_settings;
    const az_method *method = tune_method(job, &options, &method_settings);
    cli_reads(job, options.data);
    cli_reads(job, options.valid);
    if (!method || !check_output(job, method, method_settings, options.output)) return CLI_BAD;
    options.tuning.training.seed = (int64_t)az_seed(job->az);
    az_tune_job work = {.settings = &options.tuning, .model = job->word[0], .report = job->report};
    if (!read_examples(job, &options, &work)) return CLI_BAD;
    const az_lm *given = cli_load(job, job->word[0]);
    work.lm = given ? az_lm_copy(job->az, given) : NULL;
    if (!work.lm) return CLI_BAD;
    const bool good = method->tune(job->az, method_settings, &work);
    if (az_status_of(job->az) == AZ_INTERRUPTED) {
        az_clear(job->az); /* the steps that are done are kept */
        cli_remark(job, "interrupted: writing what is there");
    } else if (!good) {
        az_fail(job->az, AZ_NUMERIC, "the method failed without a reason");
        az_fail_context(job->az, "%s", method->name);
    }
    job->found = az_ok(job->az);
    if (!az_ok(job->az) || !write_result(job, &options, &work)) return CLI_BAD;
    report_result(job, &options, &work);
    return CLI_OK;
}

const cli_verb cli_tune = {
    .name = "tune",
    .summary = "teach a model by examples",
    .usage = "MODEL METHOD[:option=value,...] -d EXAMPLES.jsonl -o FOLDER [--steps N] [--lr X] ...",
    .details =
        "Only responses are learnt (unless --whole): the loss is the mean over their tokens. An example is a prompt with its response, a "
        "conversation, which the model's chat template puts into words, or a text. Most methods make an adapter: a folder as PEFT has it, "
        "for --adapter of run, evaluate and adapter; the weights, in any format, stay as they are. Ctrl-C ends the run after the present "
        "step and writes what is there. With --resume=FOLDER the state is kept there, and the same command goes on from it bit for bit, "
        "also after a kill. `adze methods tune` lists the methods, `adze help METHOD` their options.",
    .groups = tune_groups,
    .settings_size = sizeof(tune_settings),
    .min_words = 2,
    .max_words = 2,
    .words = cli_bundled,
    .run = tune,
};
