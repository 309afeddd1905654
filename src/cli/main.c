/* main.c - the command: finds the verb, reads its line, runs it, prints its report, and turns the outcome into an exit code. */
#include "cli/cli.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

const cli_verb *const cli_verbs[] = {
    &cli_run,      &cli_train,   &cli_tune,   &cli_adapter,  &cli_tokenize, &cli_corpus, &cli_info, &cli_convert, &cli_evaluate,
    &cli_compress, &cli_prepare, &cli_prompt, &cli_estimate, &cli_methods,  &cli_claim,  &cli_help, NULL,
};

const cli_verb *cli_verb_by_name(const char *name)
{
    for (const cli_verb *const *verb = cli_verbs; *verb; verb++)
        if (strcmp((*verb)->name, name) == 0) return *verb;
    return NULL;
}

static int unknown_verb(const char *name)
{
    const char *names[CLI_MOST_VERBS];
    int n = 0;
    for (const cli_verb *const *verb = cli_verbs; *verb && n < CLI_MOST_VERBS; verb++) names[n++] = (*verb)->name;
    const char *nearest = az_nearest(name, names, n);
    if (nearest)
        cli_complain("there is no verb '%s'; did you mean '%s'?", name, nearest);
    else
        cli_complain("there is no verb '%s'; `adze help` lists them", name);
    return CLI_BAD;
}

/* What the verb found is printed, and its curves go to --plot. */
static void publish(const cli_job *job)
{
    if (job->common->json)
        az_report_json(job->report, cli_report_stream(job));
    else
        az_report_print(job->report, cli_report_stream(job));
    if (*job->common->plot && !job->plotted) az_report_plot(job->report, job->common->plot);
}

/* Fails when something that was printed did not arrive, be it long ago. */
static void check_output(az_ctx *az)
{
    if (fflush(stdout) != 0)
        az_fail(az, AZ_IO, "cannot write to the standard output: %s", strerror(errno));
    else if (ferror(stdout))
        az_fail(az, AZ_IO, "cannot write to the standard output");
}

/* Whose limit it was. */
static void explain_memory(const cli_job *job)
{
    if (az_status_of(job->az) == AZ_NO_MEMORY && job->common->memory > 0)
        az_fail_context(job->az, "--memory=%g GiB is too little", job->common->memory);
}

static int finish(const cli_job *job, int code)
{
    if (az_ok(job->az) || job->found) publish(job);
    check_output(job->az);
    explain_memory(job);
    if (az_status_of(job->az) == AZ_INTERRUPTED)
        cli_complain("interrupted");
    else if (!az_ok(job->az))
        cli_complain("%s", az_error(job->az));
    if (az_interrupted(job->az)) return CLI_INTERRUPTED;
    return az_ok(job->az) ? code : CLI_BAD;
}

static int run_verb(const cli_verb *verb, const cli_line *line)
{
    az_settings settings = {
        .threads = (int)line->common.threads,
        .seed = (uint64_t)line->common.seed,
        .memory_limit = (size_t)(line->common.memory * 0x1p30),
        .progress = cli_progress_sink(&line->common, verb->streams),
    };
    az_ctx *az = az_open(&settings);
    if (!az) {
        cli_complain("out of memory");
        return CLI_BAD;
    }
    az_catch_interrupts();
    cli_job job = {.az = az, .verb = verb, .common = &line->common, .word = line->word, .words = line->words};
    job.report = az_report_new(az, NULL);
    const char *plot = line->common.plot; /* checked first: a long run must not end at a wrong name */
    int code = CLI_BAD;
    if (!*plot || (az_plot_check(az, plot) && cli_check_output(az, plot))) code = verb->run(&job, line->settings);
    code = finish(&job, code);
    az_close(az);
    return code;
}

/* What is printed without running a verb. */
static int printed(az_ctx *az)
{
    check_output(az);
    if (!az_ok(az)) cli_complain("%s", az_error(az));
    return az_ok(az) ? CLI_OK : CLI_BAD;
}

static int dispatch(az_ctx *az, int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    if (strcmp(name, "--version") == 0) {
        cli_print_version(stdout);
        return printed(az);
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) name = "help";
    if (!*name) {
        cli_print_usage(stderr);
        return CLI_BAD;
    }
    const cli_verb *verb = cli_verb_by_name(name);
    if (!verb) return unknown_verb(name);
    cli_line line = {0};
    if (!cli_parse(az, verb, argc - 2, argv + 2, &line)) {
        cli_complain("%s", az_error(az));
        return CLI_BAD;
    }
    if (line.common.help) {
        if (line.common.json)
            cli_verb_json(az, verb, stdout);
        else
            cli_print_verb(verb, stdout);
        return printed(az);
    }
    return run_verb(verb, &line);
}

int main(int argc, char **argv)
{
    cli_prepare_environment(argv);
    signal(SIGPIPE, SIG_DFL); /* `adze ... | head` ends quietly */
    az_ctx *az = az_open(&(az_settings){.threads = 1});
    if (!az) {
        cli_complain("out of memory");
        return CLI_BAD;
    }
    int code = dispatch(az, argc, argv);
    az_close(az);
    return code;
}
