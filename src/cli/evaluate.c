/* evaluate.c - adze evaluate: perplexity of models on a text, and their paired differences. */
#include "cli/cli.h"

#include <math.h>
#include <string.h>

typedef struct evaluate_settings {
    const char *data, *adapter;
    az_lm_score_options score;
} evaluate_settings;

static const az_option evaluate_options[] = {
    {"data", AZ_TEXT, offsetof(evaluate_settings, data), NULL, 0, 0, NULL,
     "the text: documents that end at <|endoftext|>, or JSON lines with \"text\""},
    {"adapter", AZ_TEXT, offsetof(evaluate_settings, adapter), "", 0, 0, NULL,
     "folders of adapters, separated by commas: each model is also measured with each of them"},
    {0},
};
static const cli_group evaluate_groups[] = {
    {"options", evaluate_options, 0},
    {"scoring", cli_score_options, offsetof(evaluate_settings, score)},
    {0},
};

/* What is measured: a model, perhaps with an adapter beside it. */
typedef struct subject {
    const char *name; /* of the row */
    const char *model, *adapter;
} subject;

/* Scores one subject and frees its model again, so that many need no more memory than one. */
static const az_lm_score *score_subject(cli_job *job, const subject *what, const az_documents *documents, const evaluate_settings *options)
{
    double began = az_seconds();
    az_lm *lm = cli_load(job, what->model);
    az_lm_score_options how = options->score;
    how.adapter = cli_load_adapter(job, lm, what->adapter);
    const az_lm_score *score = lm ? az_lm_score_documents(job->az, lm, documents, &how) : NULL;
    if (score) {
        az_report_row(job->report, "models");
        az_report_text(job->report, "model", what->name);
        cli_report_score(job->report, score);
        az_report_number(job->report, "bytes", (double)az_lm_bytes(lm), "B");
        az_report_number(job->report, "seconds", az_seconds() - began, "s");
    }
    if (lm) az_lm_free(job->az, lm);
    az_fail_context(job->az, "evaluating '%s'", what->name);
    return score;
}

/* Every subject against the first one. */
static void report_differences(cli_job *job, const az_documents *documents, const subject *what, int n, const az_lm_score *const *score)
{
    for (int i = 1; i < n; i++) {
        cli_difference difference;
        if (!cli_score_difference(job->az, documents, score[i], score[0], &difference)) {
            az_note(job->az, "'%s' and '%s' cut the text into different pieces, so their difference cannot be paired", what[i].name,
                    what[0].name);
            continue;
        }
        const az_estimate *d = &difference.estimate;
        az_report_row(job->report, "differences");
        az_report_text(job->report, "model", what[i].name);
        az_report_text(job->report, "minus", what[0].name);
        cli_report_difference(job->report, &difference);
        az_report_text(job->report, "verdict", d->low > 0 ? "worse" : d->high < 0 ? "better" : "no difference shown");
    }
}

/* Each model alone, then with each adapter. */
static int list_subjects(cli_job *job, const char *adapters, subject **out)
{
    int each = *adapters ? 2 : 1, n = 0;
    for (const char *c = adapters; *c; c++) each += *c == ',';
    *out = az_alloc_array(job->az, (size_t)(each * job->words), sizeof **out);
    for (int i = 0; *out && i < job->words; i++) {
        (*out)[n++] = (subject){.name = job->word[i], .model = job->word[i], .adapter = ""};
        char *rest = az_strdup(job->az, adapters);
        for (char *folder; rest && (folder = strsep(&rest, ","));)
            if (*folder)
                (*out)[n++] =
                    (subject){.name = az_format_text(job->az, "%s + %s", job->word[i], folder), .model = job->word[i], .adapter = folder};
    }
    return az_ok(job->az) ? n : 0;
}

static int evaluate(cli_job *job, const void *settings)
{
    const evaluate_settings *options = settings;
    const az_documents *documents = az_documents_read(job->az, options->data);
    subject *what;
    const int n = documents ? list_subjects(job, options->adapter, &what) : 0;
    const az_lm_score **score = n > 0 ? az_alloc_array(job->az, (size_t)n, sizeof(void *)) : NULL;
    if (!score) return CLI_BAD;
    for (int i = 0; i < n; i++) {
        score[i] = score_subject(job, &what[i], documents, options);
        if (!score[i]) return CLI_BAD;
    }
    report_differences(job, documents, what, n, score);
    return CLI_OK;
}

const cli_verb cli_evaluate = {
    .name = "evaluate",
    .summary = "measure models on a text, with error bars",
    .usage = "MODEL... -d TEXT [--adapter FOLDER,...] [--context N] [--stride N] [--limit N]",
    .details = "Section \"models\": perplexity = exp(nll), where nll is the mean negative log-likelihood of a token; its standard error is "
               "over documents. Several models: section \"differences\" compares each with the first on the same documents (model minus "
               "first, paired, with a 95 % interval), which is far sharper than comparing the two error bars.",
    .groups = evaluate_groups,
    .settings_size = sizeof(evaluate_settings),
    .min_words = 1,
    .max_words = -1,
    .run = evaluate,
};
