/* evaluate.c - adze evaluate: perplexity of models on a text, and their paired differences. */
#include "cli/cli.h"

#include <math.h>

typedef struct evaluate_settings {
    const char *data;
    az_lm_score_options score;
} evaluate_settings;

static const az_option evaluate_options[] = {
    {"data", AZ_TEXT, offsetof(evaluate_settings, data), NULL, 0, 0, NULL,
     "the text: documents that end at <|endoftext|>, or JSON lines with \"text\""},
    {0},
};
static const cli_group evaluate_groups[] = {
    {"options", evaluate_options, 0},
    {"scoring", cli_score_options, offsetof(evaluate_settings, score)},
    {0},
};

/* Scores one model and frees it again, so that many models need no more memory than one. */
static const az_lm_score *score_model(cli_job *job, const char *name, const az_documents *documents, const evaluate_settings *options)
{
    double began = az_seconds();
    az_lm *lm = cli_load(job, name);
    const az_lm_score *score = lm ? az_lm_score_documents(job->az, lm, documents, &options->score) : NULL;
    if (score) {
        az_report_row(job->report, "models");
        az_report_text(job->report, "model", name);
        cli_report_score(job->report, score);
        az_report_number(job->report, "bytes", (double)az_lm_bytes(lm), "B");
        az_report_number(job->report, "seconds", az_seconds() - began, "s");
    }
    if (lm) az_lm_free(job->az, lm);
    az_fail_context(job->az, "evaluating '%s'", name);
    return score;
}

/* Every model against the first one. */
static void report_differences(cli_job *job, const az_documents *documents, const az_lm_score *const *score)
{
    for (int i = 1; i < job->words; i++) {
        cli_difference difference;
        if (!cli_score_difference(job->az, documents, score[i], score[0], &difference)) {
            az_note(job->az, "'%s' and '%s' cut the text into different pieces, so their difference cannot be paired", job->word[i],
                    job->word[0]);
            continue;
        }
        const az_estimate *d = &difference.estimate;
        az_report_row(job->report, "differences");
        az_report_text(job->report, "model", job->word[i]);
        az_report_text(job->report, "minus", job->word[0]);
        cli_report_difference(job->report, &difference);
        az_report_text(job->report, "verdict", d->low > 0 ? "worse" : d->high < 0 ? "better" : "no difference shown");
    }
}

static int evaluate(cli_job *job, const void *settings)
{
    const evaluate_settings *options = settings;
    const az_documents *documents = az_documents_read(job->az, options->data);
    const az_lm_score **score = az_alloc_array(job->az, (size_t)job->words, sizeof(void *));
    if (!documents || !score) return CLI_BAD;
    for (int i = 0; i < job->words; i++) {
        score[i] = score_model(job, job->word[i], documents, options);
        if (!score[i]) return CLI_BAD;
    }
    report_differences(job, documents, score);
    return CLI_OK;
}

const cli_verb cli_evaluate = {
    .name = "evaluate",
    .summary = "measure models on a text, with error bars",
    .usage = "MODEL... -d TEXT [--context N] [--stride N] [--limit N]",
    .details = "Section \"models\": perplexity = exp(nll), where nll is the mean negative log-likelihood of a token; its standard error is "
               "over documents.\n"
               "Several models: section \"differences\" compares each with the first on the same documents (model minus first, paired, "
               "with a 95 %\n"
               "interval), which is far sharper than comparing the two error bars.",
    .groups = evaluate_groups,
    .settings_size = sizeof(evaluate_settings),
    .min_words = 1,
    .max_words = -1,
    .run = evaluate,
};
