/* methods.c - adze methods: the catalogue. */
#include "cli/cli.h"

#include <string.h>

const char *const cli_method_verbs[] = {"compress", "tune", "prepare", "estimate", NULL};

bool cli_takes(const char *verb, const az_method *method)
{
    return (strcmp(verb, "compress") == 0 && method->compress) || (strcmp(verb, "tune") == 0 && method->tune) ||
           (strcmp(verb, "prepare") == 0 && method->prepare) || (strcmp(verb, "estimate") == 0 && method->estimate);
}

void cli_print_method_verbs(const az_method *method, FILE *out)
{
    const char *between = "";
    for (const char *const *verb = cli_method_verbs; *verb; verb++) {
        if (!cli_takes(*verb, method)) continue;
        fprintf(out, "%s%s", between, *verb);
        between = ", ";
    }
}

static bool takes_methods(const char *verb)
{
    for (const char *const *at = cli_method_verbs; *at; at++)
        if (strcmp(*at, verb) == 0) return true;
    return false;
}

/* A section for each verb. */
static void list_methods(cli_job *job, const char *verb)
{
    for (const az_method *const *method = az_methods(); *method; method++) {
        if (!cli_takes(verb, *method)) continue;
        az_report_row(job->report, verb);
        az_report_text(job->report, "method", (*method)->name);
        az_report_text(job->report, "summary", (*method)->summary);
        az_report_text(job->report, "paper", (*method)->paper);
    }
}

static int methods(cli_job *job, const void *settings)
{
    (void)settings;
    const char *only = job->words > 0 ? job->word[0] : NULL;
    if (only && !takes_methods(only)) {
        az_fail(job->az, AZ_BAD_INPUT, "methods: '%s' is no verb that takes methods; compress, tune, prepare and estimate are", only);
        return CLI_BAD;
    }
    if (job->common->json) {
        for (const az_method *const *method = az_methods(); *method; method++)
            if (!only || cli_takes(only, *method)) cli_method_json(job->az, *method, stdout);
        return CLI_OK;
    }
    for (const char *const *verb = cli_method_verbs; *verb; verb++)
        if (!only || strcmp(only, *verb) == 0) list_methods(job, *verb);
    return CLI_OK;
}

const cli_verb cli_methods = {
    .name = "methods",
    .summary = "list the methods",
    .usage = "[compress | tune | prepare | estimate]",
    .details = "The methods of each verb, or of one. With --json each method is an object with name, family, summary, paper, example, "
               "needs_data, files and options (name, type, default, range, choices, help).",
    .max_words = 1,
    .words = "compress tune prepare estimate",
    .run = methods,
};
