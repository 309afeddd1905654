/* estimate.c - adze estimate: a method on tables, matrices and series. */
#include "cli/cli.h"

#include <string.h>

typedef struct estimate_settings {
    az_texts data;
    const char *output;
    az_table_how how;
} estimate_settings;

static const az_option estimate_options[] = {
    {"data", AZ_FIELD(AZ_TEXTS, estimate_settings, data), "", 0, 0, NULL, "a file that the method reads, or SLOT=FILE; once for each file"},
    {"output", AZ_FIELD(AZ_TEXT, estimate_settings, output), "", 0, 0, NULL,
     "where the result goes: .json, .csv, .tsv, .npy, .npz, .safetensors, .mtx, a folder/, or - for JSON"},
    {0},
};
static const cli_group estimate_groups[] = {
    {"options", estimate_options, 0},
    {"reading text files", az_table_options, offsetof(estimate_settings, how)},
    {0},
};

static const az_method *find_method(cli_job *job, void **options)
{
    const az_method *method = cli_method(job->az, job->word[0], options);
    if (method && (method->family != AZ_ESTIMATE || !method->estimate))
        return az_fail(job->az, AZ_BAD_INPUT, "estimate: '%s' is a method of the family %s, not of estimate", method->name,
                       az_family_name(method->family));
    return method;
}

/* "SLOT=NAME" of a model becomes "SLOT=PATH", so that bundled models have their names here too. */
static bool find_models(cli_job *job, const az_method *method, const az_texts *data, const char **path)
{
    for (int i = 0; i < data->count; i++) {
        path[i] = data->item[i];
        for (const az_input_slot *slot = method->inputs; slot && slot->name; slot++) {
            const size_t length = strlen(slot->name);
            if (slot->kind != AZ_INPUT_MODEL || strncmp(path[i], slot->name, length) != 0 || path[i][length] != '=') continue;
            const char *found = cli_model_path(job->az, path[i] + length + 1);
            path[i] = found ? az_format_text(job->az, "%s=%s", slot->name, found) : NULL;
            if (!path[i]) return false;
        }
    }
    return true;
}

static bool check_output(cli_job *job, const char *path)
{
    if (!*path) return true;
    job->streams_out = cli_is_stdout(path);
    if (!az_results_check(job->az, path)) return false;
    return (path[strlen(path) - 1] == '/' ? cli_check_folder : cli_check_output)(job->az, path);
}

static int estimate(cli_job *job, const void *settings)
{
    const estimate_settings *options = settings;
    void *method_options = NULL;
    const az_method *method = find_method(job, &method_options);
    if (!method || !check_output(job, options->output)) return CLI_BAD;
    az_estimate_job work = {.how = &options->how, .report = job->report, .results = az_results_new(job->az)};
    const char *colon = strchr(job->word[0], ':');
    work.given = colon ? colon + 1 : NULL;
    const char **path = az_alloc_array(job->az, (size_t)options->data.count + 1, sizeof *path);
    if (!path || !find_models(job, method, &options->data, path)) return CLI_BAD;
    work.inputs = az_inputs_read(job->az, method, path, options->data.count, &options->how);
    if (!work.inputs) return CLI_BAD;
    const bool ok = method->estimate(job->az, method_options, &work);
    if (az_interrupted(job->az))
        az_fail(job->az, AZ_INTERRUPTED, "interrupted");
    else if (!ok)
        az_fail(job->az, AZ_NUMERIC, "the method failed without a reason");
    job->found = ok && az_ok(job->az);
    if (ok && *options->output) az_results_write(job->az, work.results, options->output);
    az_fail_context(job->az, "%s", method->name);
    return az_ok(job->az) ? CLI_OK : CLI_BAD;
}

const cli_verb cli_estimate = {
    .name = "estimate",
    .summary = "estimate models on tables, matrices and series",
    .usage = "METHOD[:options] -d FILE... [-o RESULT]",
    .details = "Runs a method of the family estimate and prints what it found; -o writes the result itself. A method reads one file or "
               "several: they fill its slots in order, and -d SLOT=FILE names one (`adze help METHOD` lists slots and options). Tables are "
               "CSV and the like (gzip is undone), arrays .npy, .npz, .safetensors and Matrix Market, \"file.npz:name\" one of several. "
               "Values of options that hold a comma are written in double quotes: 'dsl:feature=\"x1,x2\"'.",
    .groups = estimate_groups,
    .settings_size = sizeof(estimate_settings),
    .min_words = 1,
    .max_words = 1,
    .run = estimate,
};
