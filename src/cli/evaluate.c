/* evaluate.c - adze evaluate: perplexity of models on a text, and their paired differences; or, for a holdout behind a guard, its answers
 * alone. */
#include "cli/cli.h"

#include "adze/guard.h"

#include <math.h>
#include <string.h>

typedef struct evaluate_settings {
    const char *data, *adapter;
    const char *guard, *train;
    double clip;
    const char *labels;
    bool examples, classify, per_token;
    az_lm_score_options score;
} evaluate_settings;

static const az_option evaluate_options[] = {
    {"data", AZ_FIELD(AZ_TEXT, evaluate_settings, data), NULL, 0, 0, NULL,
     "the text: documents that end at <|endoftext|>, or JSON lines with \"text\""},
    {"adapter", AZ_FIELD(AZ_TEXT, evaluate_settings, adapter), "", 0, 0, NULL,
     "folders of adapters, separated by commas: each model is also measured with each of them"},
    {"examples", AZ_FIELD(AZ_BOOL, evaluate_settings, examples), "false", 0, 0, NULL,
     "the text is examples as `adze tune` reads them: responses are scored, each behind its prompt, "
     "in the templates of an adapter that has some"},
    {"classify", AZ_FIELD(AZ_BOOL, evaluate_settings, classify), "false", 0, 0, NULL,
     "with --examples: responses are labels, of which the likeliest is chosen for each prompt"},
    {"labels", AZ_FIELD(AZ_TEXT, evaluate_settings, labels), "", 0, 0, NULL,
     "with --classify: the labels to choose among, separated by commas; without it those of the file"},
    {"per_token", AZ_FIELD(AZ_BOOL, evaluate_settings, per_token), "false", 0, 0, NULL,
     "with --classify: compare labels by their log-likelihood per token, so that short ones have no advantage"},
    {0},
};
static const az_option guard_options[] = {
    {"guard", AZ_FIELD(AZ_TEXT, evaluate_settings, guard), "", 0, 0, NULL,
     "the text is a holdout behind the guard in this file (adaptive-analysis), which answers in its place"},
    {"guard_train", AZ_FIELD(AZ_TEXT, evaluate_settings, train), "", 0, 0, NULL,
     "the text of the training set, for a guard that compares the two"},
    {"guard_clip", AZ_FIELD(AZ_REAL, evaluate_settings, clip), "8", 1e-6, 1e6, NULL,
     "nat per token beyond which a document counts no further"},
    {0},
};
static const cli_group evaluate_groups[] = {
    {"options", evaluate_options, 0},
    {"a holdout behind a guard", guard_options, 0},
    {"scoring", cli_score_options, offsetof(evaluate_settings, score)},
    {0},
};

/* What is measured: a model, perhaps with an adapter beside it. */
typedef struct subject {
    const char *name; /* of the row */
    const char *model, *adapter;
} subject;

typedef struct texts {
    const az_documents *data, *train; /* train: NULL unless a guard wants it */
    const az_examples *examples;      /* instead of data, or NULL */
    const az_lm_labels *labels;       /* to choose among; or NULL */
} texts;

/* The share of `clip` that each document's mean loss reaches. */
static const double *clipped_loss(az_ctx *az, const az_lm *lm, const az_documents *documents, const az_lm_score_options *how, double clip,
                                  int64_t *n)
{
    const az_lm_score *score = documents ? az_lm_score_documents(az, lm, documents, how) : NULL;
    double *value = score ? az_alloc_array(az, (size_t)score->documents, sizeof *value) : NULL;
    for (int64_t i = 0; value && i < score->documents; i++)
        value[i] = score->weight[i] > 0 ? fmin(score->nll[i] / score->weight[i], clip) / clip : 0;
    *n = value ? score->documents : 0;
    return value;
}

/* One question to the guard: the mean over documents of the loss of a token, cut at `clip`. Nothing else of the holdout is told. */
static bool ask_guard(cli_job *job, const subject *what, const az_lm *lm, const texts *text, const evaluate_settings *options,
                      const az_lm_score_options *how)
{
    az_guard_question question = {0};
    az_guard_answer answer;
    question.holdout = clipped_loss(job->az, lm, text->data, how, options->clip, &question.n);
    question.train = clipped_loss(job->az, lm, text->train, how, options->clip, &question.n_train);
    if (!az_guard_ask(job->az, options->guard, &question, &answer)) return false;
    if (answer.tolerance >= 0.5)
        az_note(job->az, "this guard guarantees nothing about its answers: adze estimate adaptive-analysis plans one");
    az_report_row(job->report, "guarded");
    az_report_text(job->report, "model", what->name);
    az_report_number(job->report, "document_nll", options->clip * answer.value, "nat");
    az_report_number(job->report, "tolerance", isfinite(answer.tolerance) ? options->clip * answer.tolerance : NAN, "nat");
    az_report_bool(job->report, "paid", answer.paid);
    az_report_count(job->report, "question", answer.asked);
    az_report_count(job->report, "questions_left", answer.left);
    return true;
}

static const az_lm_score *score_model(cli_job *job, const subject *what, const az_lm *lm, const texts *on, const az_lm_score_options *how)
{
    const double began = az_seconds();
    const az_lm_score *score =
        on->examples ? az_lm_score_examples(job->az, lm, on->examples, how) : az_lm_score_documents(job->az, lm, on->data, how);
    if (!score) return NULL;
    az_report_row(job->report, "models");
    az_report_text(job->report, "model", what->name);
    cli_report_score(job->report, score);
    az_report_number(job->report, "bytes", (double)az_lm_bytes(lm), "B");
    az_report_number(job->report, "seconds", az_seconds() - began, "s");
    return score;
}

/* The share of prompts behind which the likeliest label is the example's. */
static bool classify_model(cli_job *job, const subject *what, const az_lm *lm, const texts *on, const az_lm_score_options *how,
                           bool per_token)
{
    const az_lm_classify_options options = {.adapter = how->adapter, .limit = how->limit, .per_token = per_token};
    const az_lm_classification *c = az_lm_classify(job->az, lm, on->examples, on->labels, &options);
    if (!c) return false;
    if (c->unknown > 0) az_note(job->az, "the responses of %lld examples are none of the labels and count as wrong", (long long)c->unknown);
    az_report_row(job->report, "classification");
    az_report_text(job->report, "model", what->name);
    az_report_number(job->report, "accuracy", c->accuracy.value, "");
    az_report_number(job->report, "accuracy_low", c->accuracy.low, "");
    az_report_number(job->report, "accuracy_high", c->accuracy.high, "");
    az_report_count(job->report, "right", c->right);
    az_report_count(job->report, "examples", c->count);
    az_report_count(job->report, "labels", on->labels->n);
    return true;
}

/* Scores one subject, or has the guard do it, and frees its model again, so that many need no more memory than one. */
static bool measure(cli_job *job, const subject *what, const texts *on, const evaluate_settings *options, const az_lm_score **score)
{
    az_lm *lm = cli_load(job, what->model);
    az_lm_score_options how = options->score;
    cli_note_context(job->az, lm, &how);
    how.adapter = cli_load_adapter(job, lm, what->adapter);
    if (how.adapter && how.adapter->form && !on->examples)
        az_note(job->az, "'%s' was tuned on examples in templates, which stand around examples alone (--examples)", what->adapter);
    if (how.adapter && !how.adapter->form && strcmp(how.adapter->kind, "CPT") == 0)
        az_note(job->az, "'%s' does not tell the templates that it was tuned with (adze_form); prompts and responses stand without any",
                what->adapter);
    bool done = lm && az_ok(job->az);
    if (done && *options->guard)
        done = ask_guard(job, what, lm, on, options, &how);
    else if (done)
        done = (*score = score_model(job, what, lm, on, &how)) != NULL &&
               (!on->labels || classify_model(job, what, lm, on, &how, options->per_token));
    if (lm) az_lm_free(job->az, lm);
    az_fail_context(job->az, "evaluating '%s'", what->name);
    return done;
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

/* Those that --labels names, or every response of the file. */
static const az_lm_labels *labels_of(az_ctx *az, const evaluate_settings *options, const az_examples *examples)
{
    if (!*options->labels) return az_lm_labels_of(az, examples);
    az_lm_labels *labels = az_alloc(az, sizeof *labels);
    char *rest = az_strdup(az, options->labels);
    if (!labels || !rest) return NULL;
    *labels = (az_lm_labels){.text = az_alloc_array(az, strlen(rest) + 1, sizeof(void *))};
    for (char *label; labels->text && (label = strsep(&rest, ","));) {
        if (!*label || az_lm_label_place(labels, label) >= 0)
            return az_fail(az, AZ_BAD_INPUT, "evaluate: --labels has %s",
                           *label ? az_format_text(az, "'%s' twice", label) : "an empty one");
        labels->text[labels->n++] = label;
    }
    if (labels->n < 2) az_fail(az, AZ_BAD_INPUT, "evaluate: --labels has one label only; there is nothing to choose");
    return az_ok(az) ? labels : NULL;
}

static texts read_texts(az_ctx *az, const evaluate_settings *options)
{
    texts on = {0};
    if (*options->guard && options->examples) az_fail(az, AZ_BAD_INPUT, "evaluate: a guard answers about documents, not about --examples");
    if (!*options->guard && *options->train) az_fail(az, AZ_BAD_INPUT, "evaluate: --guard-train goes with --guard");
    if (options->classify && !options->examples) az_fail(az, AZ_BAD_INPUT, "evaluate: --classify goes with --examples");
    if (*options->labels && !options->classify) az_fail(az, AZ_BAD_INPUT, "evaluate: --labels goes with --classify");
    if (options->per_token && !options->classify) az_fail(az, AZ_BAD_INPUT, "evaluate: --per-token goes with --classify");
    if (!az_ok(az)) return on;
    if (options->examples)
        on.examples = az_examples_read(az, options->data);
    else
        on.data = az_documents_read(az, options->data);
    if (options->classify && on.examples) on.labels = labels_of(az, options, on.examples);
    if (*options->train) on.train = az_documents_read(az, options->train);
    return on;
}

static int evaluate(cli_job *job, const void *settings)
{
    const evaluate_settings *options = settings;
    const texts on = read_texts(job->az, options);
    subject *what;
    const int n = az_ok(job->az) ? list_subjects(job, options->adapter, &what) : 0;
    const az_lm_score **score = n > 0 ? az_alloc_array(job->az, (size_t)n, sizeof(void *)) : NULL;
    if (!score) return CLI_BAD;
    for (int i = 0; i < n; i++)
        if (!measure(job, &what[i], &on, options, &score[i])) return CLI_BAD;
    if (!*options->guard) report_differences(job, on.data, what, n, score);
    return CLI_OK;
}

const cli_verb cli_evaluate = {
    .name = "evaluate",
    .summary = "measure models on a text, with error bars",
    .usage = "MODEL... -d TEXT [--adapter FOLDER,...] [--examples [--classify] | --guard FILE] [--context N] [--stride N] [--limit N]",
    .details = "Section \"models\": perplexity = exp(nll), where nll is the mean negative log-likelihood of a token; its standard error is "
               "over documents. Several models: section \"differences\" compares each with the first on the same documents (model minus "
               "first, paired, with a 95 % interval), which is far sharper than comparing the two error bars. Models with different tokens "
               "are compared in nats a byte (\"per\": byte). With --classify the section \"classification\" has the share of the examples "
               "whose response is the likeliest of all labels, with its 95 % interval (Wilson). With --guard nothing of the "
               "text is shown but the guard's answers, one for each model: the mean over documents of the loss of a token.",
    .groups = evaluate_groups,
    .settings_size = sizeof(evaluate_settings),
    .min_words = 1,
    .max_words = -1,
    .words = cli_bundled,
    .run = evaluate,
};
