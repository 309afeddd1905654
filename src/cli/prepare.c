/* prepare.c - adze prepare: data for tuning, made with the help of language models. */
#include "cli/cli.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

typedef struct prepare_settings {
    const char *output, *backend, *second;
    az_backend_settings how;
} prepare_settings;

static const az_option prepare_options[] = {
    {"output", AZ_FIELD(AZ_TEXT, prepare_settings, output), NULL, 0, 0, NULL, "folder of the results, and of what is done so far"},
    {"backend", AZ_FIELD(AZ_TEXT, prepare_settings, backend), NULL, 0, 0, NULL,
     "the model that is asked: local:MODEL, http://HOST/v1#MODEL, replay:FILE or exec:PROGRAM"},
    {"second", AZ_FIELD(AZ_TEXT, prepare_settings, second), "", 0, 0, NULL,
     "another model: who judges, or who checks; several, for a method that asks them together (lacie), separated by semicolons"},
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

/* The models of --second. */
static bool open_second(cli_job *job, const az_method *method, const prepare_settings *o, const char *replies, az_prepare_job *work)
{
    int n = 1, opened = 0;
    for (const char *c = o->second; *c; c++) n += *c == ';';
    if (n > 1 && !method->many) return az_fail(job->az, AZ_BAD_INPUT, "prepare: %s asks one second model, not %d", method->name, n);
    az_backend **all = az_alloc_array(job->az, (size_t)n, sizeof *all);
    char *rest = az_strdup(job->az, o->second);
    for (char *spec; all && rest && (spec = strsep(&rest, ";"));) {
        spec += strspn(spec, " ");
        if (!*spec) return az_fail(job->az, AZ_BAD_INPUT, "prepare: --second has an empty model");
        if (!(all[opened++] = cli_open_backend(job->az, spec, &o->how, replies))) return false;
    }
    if (!az_ok(job->az)) return false;
    work->second = all[0];
    work->more = all + 1;
    work->others = n - 1;
    return true;
}

/* All models of a run, the one that is asked first. */
static az_backend *model_of(const az_prepare_job *work, int i)
{
    return i == 0 ? work->backend : i == 1 ? work->second : work->more[i - 2];
}

static bool is_exhausted(const az_prepare_job *work)
{
    bool any = false;
    for (int i = 0; i < 2 + work->others; i++) any = any || az_backend_exhausted(model_of(work, i));
    return any;
}

/* What is asked and counted stands in the folder beside the results. */
static bool record_run(cli_job *job, const az_method *method, const prepare_settings *o, const void *options, const az_prepare_job *work)
{
    az_ctx *az = job->az;
    const az_run_settings settings[] = {
        {"options", prepare_options, o}, {"backend", az_backend_options, &o->how}, {method->name, method->options, options}};
    const az_backend **backend = az_alloc_array(az, (size_t)work->others + 2, sizeof *backend);
    for (int i = 0; backend && i < 2 + work->others; i++) backend[i] = model_of(work, i);
    if (!backend) return false;
    const az_run_record record = {.task = az_format_text(az, "prepare %s", method->name),
                                  .status = is_exhausted(work) ? "budget" : "done",
                                  .input = work->input,
                                  .settings = settings,
                                  .n_settings = sizeof settings / sizeof *settings,
                                  .backend = backend,
                                  .backends = 2 + work->others,
                                  .seed = work->seed};
    return az_run_record_add(az, &record, az_format_text(az, "%s/run.json", work->folder));
}

static void report_calls(cli_job *job, const az_prepare_job *work)
{
    for (int i = 0; i < 2 + work->others; i++)
        if (model_of(work, i)) az_backend_report(model_of(work, i), job->report);
}

/* A folder of results; for a dry run an empty one, or a copy of those that there are. */
static const char *result_folder(az_ctx *az, const prepare_settings *o)
{
    if (!o->how.dry_run) return az_make_folder(az, o->output) ? o->output : NULL;
    if (az_is_folder(o->output)) return cli_scratch_copy(az, o->output);
    const char *inside = cli_scratch_copy(az, "results");
    return inside && az_make_folder(az, inside) ? inside : NULL;
}

static int prepare(cli_job *job, const void *settings)
{
    const prepare_settings *o = settings;
    az_ctx *az = job->az;
    void *options = NULL;
    const az_method *method = find_method(job, &options);
    if (method && strcmp(job->word[0], "-") != 0 && access(job->word[0], R_OK) != 0) /* before a folder is made for it */
        az_fail(az, AZ_BAD_INPUT, "prepare: cannot read '%s': %s", job->word[0], strerror(errno));
    const char *folder = method ? result_folder(az, o) : NULL;
    if (!folder) return CLI_BAD;
    const char *replies = az_format_text(az, "%s/replies.db", folder); /* so that a run may end at any moment */
    az_prepare_job work = {.input = job->word[0],
                           .folder = folder,
                           .dry_run = o->how.dry_run,
                           .seed = job->common->seed,
                           .report = o->how.dry_run ? az_report_new(az, NULL) : job->report,
                           .backend = cli_open_backend(az, o->backend, &o->how, replies)};
    if (work.backend && *o->second) open_second(job, method, o, replies, &work);
    if (!az_ok(az)) return CLI_BAD;
    const bool done = method->prepare(az, options, &work);
    const bool ended = !done && is_exhausted(&work);
    const int code = done ? CLI_OK : ended ? cli_out_of_budget(job) : CLI_BAD;
    az_fail_context(az, "%s", method->name);
    report_calls(job, &work);
    if (code != CLI_BAD && !o->how.dry_run && !record_run(job, method, o, options, &work)) return CLI_BAD;
    return code;
}

const cli_verb cli_prepare = {
    .name = "prepare",
    .summary = "make data for tuning with the help of language models",
    .usage = "INPUT.jsonl METHOD[:options] --backend SPEC [--second SPEC[;SPEC...]] -o FOLDER",
    .details = "`adze methods prepare` lists the methods, `adze help METHOD` tells what one reads and writes. Every reply "
               "is kept in the folder, in replies.db (with --cache in another file, which several runs may share), so that the same "
               "command goes on where it was stopped, and asks nothing twice. The exit status is 3 when a budget ends the work. run.json "
               "in the folder lists the runs: settings, models, calls, tokens and costs. --dry-run asks nothing and leaves the folder as "
               "it is: it counts the calls that are left and what they would take at most, as far as they do not depend on replies.",
    .groups = prepare_groups,
    .settings_size = sizeof(prepare_settings),
    .min_words = 2,
    .max_words = 2,
    .run = prepare,
};
