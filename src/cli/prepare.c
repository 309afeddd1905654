/* prepare.c - adze prepare: data for tuning, made with the help of language models. */
#include "cli/cli.h"

#include <string.h>

typedef struct prepare_settings {
    const char *output, *backend, *second;
    az_backend_settings how;
} prepare_settings;

static const az_option prepare_options[] = {
    {"output", AZ_TEXT, offsetof(prepare_settings, output), NULL, 0, 0, NULL, "folder of the results, and of what is done so far"},
    {"backend", AZ_TEXT, offsetof(prepare_settings, backend), NULL, 0, 0, NULL,
     "the model that is asked: local:MODEL, http://HOST/v1#MODEL, replay:FILE or exec:PROGRAM"},
    {"second", AZ_TEXT, offsetof(prepare_settings, second), "", 0, 0, NULL, "another model: who judges, or who checks"},
    {0},
};
static const cli_group prepare_groups[] = {
    {"options", prepare_options, 0},
    {"the backend", az_backend_options, offsetof(prepare_settings, how)},
    {0},
};

static const az_method *find_method(cli_job *job, void **options)
{
    const az_method *method = cli_method(job->az, job->word[1], options);
    if (method && !method->prepare)
        return az_fail(job->az, AZ_BAD_INPUT, "prepare: '%s' prepares nothing; it is a method of `adze %s`", method->name,
                       az_family_name(method->family));
    return method;
}

static az_backend *open_backend(cli_job *job, const char *spec, const az_backend_settings *how)
{
    const char *path = cli_backend_spec(job->az, spec);
    return path ? az_backend_open(job->az, path, how) : NULL;
}

static int prepare(cli_job *job, const void *settings)
{
    const prepare_settings *o = settings;
    az_ctx *az = job->az;
    void *options = NULL;
    const az_method *method = find_method(job, &options);
    if (!method || !az_make_folder(az, o->output)) return CLI_BAD;
    az_prepare_job work = {.input = job->word[0],
                           .folder = o->output,
                           .seed = job->common->seed,
                           .report = job->report,
                           .backend = open_backend(job, o->backend, &o->how)};
    if (work.backend && *o->second) work.second = open_backend(job, o->second, &o->how);
    if (!az_ok(az)) return CLI_BAD;
    const bool done = method->prepare(az, options, &work);
    if (!done && (az_backend_exhausted(work.backend) || az_backend_exhausted(work.second))) {
        az_backend_report(work.backend, job->report);
        return cli_out_of_budget(job);
    }
    az_fail_context(az, "%s", method->name);
    az_backend_report(work.backend, job->report);
    if (work.second) az_backend_report(work.second, job->report);
    return done ? CLI_OK : CLI_BAD;
}

const cli_verb cli_prepare = {
    .name = "prepare",
    .summary = "make data for tuning with the help of language models",
    .usage = "INPUT.jsonl METHOD[:options] --backend SPEC [--second SPEC] -o FOLDER",
    .details = "Methods: `adze methods` lists those of the family tune; `adze help METHOD` tells what one reads and writes. What was asked "
               "is kept in the folder (and with --cache in a file that several runs share), so that the same command goes on where it was "
               "stopped. The exit status is 3 when a budget ends the work.",
    .groups = prepare_groups,
    .settings_size = sizeof(prepare_settings),
    .min_words = 2,
    .max_words = 2,
    .run = prepare,
};
