/* corpus.c - adze corpus tales: text from a grammar, with its exact probability. */
#include "cli/cli.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

typedef struct corpus_settings {
    int64_t stories, first;
    const char *output, *score;
    bool entropy;
} corpus_settings;

static const az_option corpus_options[] = {
    {"stories", AZ_FIELD(AZ_INT, corpus_settings, stories), "100", 1, 1e9, NULL, "how many stories to write"},
    {"first", AZ_FIELD(AZ_INT, corpus_settings, first), "0", 0, 1e15, NULL, "number of the first story of the corpus named by --seed"},
    {"output", AZ_FIELD(AZ_TEXT, corpus_settings, output), "", 0, 0, NULL,
     "the file to write; without it the text goes to the standard output"},
    {"score", AZ_FIELD(AZ_TEXT, corpus_settings, score), "", 0, 0, NULL,
     "tell the exact log-probability of the documents of this file instead"},
    {"entropy", AZ_FIELD(AZ_BOOL, corpus_settings, entropy), "false", 0, 0, NULL, "tell the exact entropy of a story instead"},
    {0},
};
static const cli_group corpus_groups[] = {{"options", corpus_options, 0}, {0}};

static void report_entropy(cli_job *job, const az_tales *tales)
{
    double bytes = 0, entropy = az_tales_entropy(job->az, tales, &bytes);
    az_report_row(job->report, "entropy");
    az_report_text(job->report, "corpus", "tales");
    az_report_number(job->report, "entropy", entropy, "nat/story");
    az_report_number(job->report, "mean_bytes", bytes, "");
    az_report_number(job->report, "entropy_per_byte", entropy / bytes, "nat/byte");
}

/* A row for each document; documents that the grammar cannot produce have no log-probability, but the place where they leave it. */
static void report_scores(cli_job *job, const az_tales *tales, const char *path)
{
    const az_documents *documents = az_documents_read(job->az, path);
    double sum = 0;
    int64_t bytes = 0, outside = 0;
    for (int64_t i = 0; documents && i < documents->count && az_ok(job->az); i++) {
        const az_document *document = &documents->item[i];
        size_t where = 0;
        double p = az_tales_log_probability(job->az, tales, document->text, document->length, &where);
        az_report_row(job->report, "documents");
        az_report_count(job->report, "document", i);
        az_report_number(job->report, "log_probability", isinf(p) ? NAN : p, "nat");
        az_report_count(job->report, "bytes", (int64_t)document->length);
        if (isinf(p)) az_report_count(job->report, "left_at", (int64_t)where);
        outside += isinf(p) != 0; /* glibc answers -1 for -inf */
        if (isfinite(p)) sum += p, bytes += (int64_t)document->length;
        if (!az_progress(job->az, "scoring", i + 1, documents->count, NULL)) return;
    }
    if (!documents) return;
    az_report_row(job->report, "sum");
    az_report_count(job->report, "documents", documents->count);
    az_report_count(job->report, "outside", outside);
    az_report_number(job->report, "log_probability", sum, "nat");
    az_report_number(job->report, "entropy_per_byte", -sum / (double)bytes, "nat/byte");
}

static void print_story_json(int64_t number, const char *text, double log_probability)
{
    json_t *line = json_object();
    json_object_set_new(line, "story", json_integer(number));
    json_object_set_new(line, "text", json_string(text));
    json_object_set_new(line, "log_probability", json_real(log_probability));
    json_dumpf(line, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER);
    putchar('\n');
    json_decref(line);
}

/* To `out` as text, each story closed by a mark of its own line; with --json also, or only, as objects on the standard output. */
static bool write_stories(cli_job *job, const az_tales *tales, const corpus_settings *options, FILE *out)
{
    for (int64_t i = 0; i < options->stories && az_ok(job->az); i++) {
        az_scope_push(job->az);
        int64_t number = options->first + i;
        double log_probability = 0;
        const char *text = az_tales_story(job->az, tales, az_seed(job->az), (uint64_t)number, &log_probability);
        if (text && out) fprintf(out, "%s\n<|endoftext|>\n", text);
        if (text && job->common->json) print_story_json(number, text, log_probability);
        az_scope_pop(job->az);
        if (!az_progress(job->az, "writing stories", i + 1, options->stories, NULL)) return false;
    }
    return az_ok(job->az);
}

static int corpus(cli_job *job, const void *settings)
{
    const corpus_settings *options = settings;
    if (strcmp(job->word[0], "tales") != 0) {
        az_fail(job->az, AZ_BAD_INPUT, "corpus: there is no corpus '%s'; there is: tales", job->word[0]);
        return CLI_BAD;
    }
    const bool measures = options->entropy || *options->score;
    if (measures && *options->output) az_fail(job->az, AZ_BAD_INPUT, "corpus: -o is for stories; --entropy and --score write none");
    const az_tales *tales = az_tales_new(job->az);
    if (!tales) return CLI_BAD;
    if (options->entropy) report_entropy(job, tales);
    if (*options->score) report_scores(job, tales, options->score);
    if (measures) return CLI_OK;
    if (!*options->output) {
        write_stories(job, tales, options, job->common->json ? NULL : stdout);
        return CLI_OK;
    }
    az_out *out = az_create(job->az, options->output);
    if (out && write_stories(job, tales, options, az_out_stream(out))) az_commit(out);
    return CLI_OK;
}

const cli_verb cli_corpus = {
    .name = "corpus",
    .summary = "write synthetic text whose exact probability is known",
    .usage = "tales [--seed=int] [--stories=int] [-o FILE] | --score FILE | --entropy",
    .details = "tales: short English stories from a probabilistic grammar with long-range agreement. Story i of seed s is the same text "
               "for ever. Every text has exactly one derivation, so its log-probability is exact: it is what a perfect language model "
               "would reach. With --json each story is an object with story, text and log_probability (nats).",
    .groups = corpus_groups,
    .settings_size = sizeof(corpus_settings),
    .min_words = 1,
    .max_words = 1,
    .words = "tales",
    .streams = true,
    .run = corpus,
};
