/* claim.c - adze claim: runs the executable claims and prints their verdicts. */
#include "cli/cli.h"

#include <string.h>

typedef struct claim_settings {
    bool all, list;
} claim_settings;

static const az_option claim_options[] = {
    {"all", AZ_FIELD(AZ_BOOL, claim_settings, all), "false", 0, 0, NULL, "run every claim"},
    {"list", AZ_FIELD(AZ_BOOL, claim_settings, list), "false", 0, 0, NULL, "print the names of the claims, one a line"},
    {0},
};
static const cli_group claim_groups[] = {{"options", claim_options, 0}, {0}};

static const az_claim *find_claim(az_ctx *az, const char *name)
{
    const char *names[256];
    int n = 0;
    for (const az_claim *const *claim = az_claims(); *claim && n < 256; claim++) {
        if (strcmp((*claim)->name, name) == 0) return *claim;
        names[n++] = (*claim)->name;
    }
    const char *nearest = az_nearest(name, names, n);
    if (nearest) return az_fail(az, AZ_BAD_INPUT, "claim: nothing is claimed of '%s'; did you mean '%s'?", name, nearest);
    return az_fail(az, AZ_BAD_INPUT, "claim: nothing is claimed of '%s'; `adze claim --list` names the claims", name);
}

/* Runs a claim in a scope of its own. The verdict joins the row that the claim filled last, so that it stands with its numbers. */
static bool run_claim(cli_job *job, const az_claim *claim)
{
    az_ctx *az = job->az;
    az_scope_push(az);
    az_report *report = az_report_new(az, claim->statement);
    double began = az_seconds();
    bool holds = claim->run(az, report);
    if (az_ok(az) && !az_interrupted(az)) {
        if (az_report_is_empty(report)) az_report_row(report, "claim");
        az_report_text(report, "claim", claim->name);
        if (job->common->json) az_report_text(report, "statement", claim->statement);
        az_report_number(report, "seconds", az_seconds() - began, "s");
        az_report_text(report, "verdict", holds ? "holds" : "fails");
        if (job->common->json)
            az_report_json(report, stdout);
        else
            az_report_print(report, stdout);
        if (*job->common->plot) job->plotted = az_report_plot(report, job->common->plot);
        fflush(stdout);
    }
    az_scope_pop(az);
    return holds;
}

/* Every claim, also when one cannot be run: that is told, and the worst outcome is the exit code. */
static int run_all(cli_job *job)
{
    int code = CLI_OK;
    for (const az_claim *const *claim = az_claims(); *claim && !az_interrupted(job->az); claim++) {
        bool holds = run_claim(job, *claim);
        if (az_ok(job->az)) {
            if (!holds && code == CLI_OK) code = CLI_NEGATIVE;
            continue;
        }
        cli_complain("claim %s: %s", (*claim)->name, az_error(job->az));
        az_clear(job->az);
        code = CLI_BAD;
    }
    return code;
}

static void list_claims(const cli_job *job)
{
    for (const az_claim *const *claim = az_claims(); *claim; claim++) {
        if (!job->common->json) {
            puts((*claim)->name);
            continue;
        }
        az_report_row(job->report, "claims");
        az_report_text(job->report, "claim", (*claim)->name);
        az_report_text(job->report, "statement", (*claim)->statement);
    }
}

static int claim_verb(cli_job *job, const void *settings)
{
    const claim_settings *options = settings;
    int code = CLI_OK;
    if (options->all) return run_all(job);
    if (options->list || job->words == 0) {
        list_claims(job);
        return CLI_OK;
    }
    for (int i = 0; i < job->words; i++) {
        const az_claim *claim = find_claim(job->az, job->word[i]);
        if (!claim) return CLI_BAD;
        if (!run_claim(job, claim)) code = CLI_NEGATIVE;
    }
    return code;
}

const cli_verb cli_claim = {
    .name = "claim",
    .summary = "reproduce the claim of a method's paper, here and now",
    .usage = "NAME... | --all | --list",
    .details = "A claim runs on generated data, the bundled model, and the folder that the variable ADZE_DATA names when it is there. It "
               "ends in a verdict, \"holds\" or \"fails\"; the exit status is 1 when a claim fails. With --json the last object of each "
               "claim carries \"claim\", \"verdict\" and the numbers that decided.",
    .groups = claim_groups,
    .settings_size = sizeof(claim_settings),
    .max_words = -1,
    .run = claim_verb,
};
