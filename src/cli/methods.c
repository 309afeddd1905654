/* methods.c - adze methods: the catalogue. */
#include "cli/cli.h"

#include <string.h>

static bool is_family(const char *name)
{
    for (int family = 0; family < AZ_FAMILIES; family++)
        if (strcmp(az_family_name((az_family)family), name) == 0) return true;
    return false;
}

static int methods(cli_job *job, const void *settings)
{
    (void)settings;
    const char *family = job->words > 0 ? job->word[0] : NULL;
    if (family && !is_family(family)) {
        az_fail(job->az, AZ_BAD_INPUT, "methods: there is no family '%s'", family);
        return CLI_BAD;
    }
    for (const az_method *const *method = az_methods(); *method; method++) {
        const char *of = az_family_name((*method)->family);
        if (family && strcmp(of, family) != 0) continue;
        if (job->common->json) {
            cli_method_json(job->az, *method, stdout);
            continue;
        }
        az_report_row(job->report, of);
        az_report_text(job->report, "method", (*method)->name);
        az_report_text(job->report, "summary", (*method)->summary);
        az_report_text(job->report, "paper", (*method)->paper);
    }
    return CLI_OK;
}

const cli_verb cli_methods = {
    .name = "methods",
    .summary = "list the methods",
    .usage = "[FAMILY]",
    .details =
        "With --json each method is an object with name, family, summary, paper, example, needs_data, files and options (name, type, "
        "default, range, choices, help).",
    .max_words = 1,
    .run = methods,
};
