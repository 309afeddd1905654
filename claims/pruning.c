/* pruning.c - comparisons of pruned models on held-out text. */
#include "claims/pruning.h"
#include "cli/cli.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CALIBRATION_STORIES = 400, TEST_STORIES = 200, CALIBRATION_SEED = 9001, TEST_SEED = 9002 };

/* The paper's 128 sequences, of 256 tokens instead of 2048: the stories that these models know are about as long. */
static const char *const calibration_options = "nsamples=128,seqlen=256";

/* A model with text for it: what pruning reads and what it is judged by have no document in common. */
typedef struct subject {
    const char *name;
    az_lm *lm;
    const az_documents *calibration, *test;
} subject;

static az_documents *stories(az_ctx *az, const az_tales *tales, uint64_t seed, int64_t count)
{
    az_documents *documents = az_alloc(az, sizeof *documents);
    az_document *item = az_alloc_array(az, (size_t)count, sizeof *item);
    if (!documents || !item) return NULL;
    for (int64_t i = 0; i < count; i++) {
        const char *text = az_tales_story(az, tales, seed, (uint64_t)i, NULL);
        if (!text) return NULL;
        item[i] = (az_document){.text = text, .length = strlen(text)};
    }
    *documents = (az_documents){.count = count, .item = item, .separated = true, .path = "tales"};
    return documents;
}

static bool contains(const az_documents *documents, const az_document *one)
{
    for (int64_t i = 0; i < documents->count; i++) {
        const az_document *other = &documents->item[i];
        if (other->length == one->length && memcmp(other->text, one->text, one->length) == 0) return true;
    }
    return false;
}

/* Takes documents out of the test text that are also calibration text, and all beyond the first `most`. */
static void keep_unseen(az_documents *test, const az_documents *calibration, int64_t most)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < test->count && kept < most; i++)
        if (!contains(calibration, &test->item[i])) test->item[kept++] = test->item[i];
    test->count = kept;
}

/* The model that comes with adze. */
static bool bundled_subject(az_ctx *az, subject *out)
{
    const char *path = cli_model_path(az, "tales");
    const az_tales *tales = az_tales_new(az);
    const az_documents *calibration = stories(az, tales, CALIBRATION_SEED, CALIBRATION_STORIES);
    az_documents *test = stories(az, tales, TEST_SEED, TEST_STORIES);
    *out = (subject){.name = "tales", .lm = az_lm_load(az, path), .calibration = calibration, .test = test};
    if (!out->lm || !test || !calibration) return false;
    keep_unseen(test, calibration, TEST_STORIES);
    return true;
}

/* stories260K: calibrated on the first part of TinyStories, tested on its validation part. */
static bool stories260k_subject(az_ctx *az, const char *folder, subject *out)
{
    const az_documents *calibration = az_documents_read(az, az_format_text(az, "%s/text/tinystories/tinystories_sample.txt", folder));
    az_documents *test = az_documents_read(az, az_format_text(az, "%s/text/tinystories/tinystories_more.txt.gz", folder));
    az_lm *lm = az_lm_load(az, az_format_text(az, "%s/models/stories260K/stories260K.gguf", folder));
    *out = (subject){.name = "stories260K", .lm = lm, .calibration = calibration, .test = test};
    if (!lm || !test || !calibration) return false;
    keep_unseen(test, calibration, TEST_STORIES);
    return true;
}

/* The score of the subject's model after compression by a method; NULL method = as it is. */
static const az_lm_score *score_after(az_ctx *az, const subject *on, const char *name, const char *options)
{
    az_lm *lm = az_lm_copy(az, on->lm);
    const az_method *method = name ? az_method_by_name(name) : NULL;
    if (method) {
        void *settings = az_alloc(az, method->options_size);
        const char *all = az_format_text(az, "%s,%s", options, calibration_options);
        az_compress_job job = {.lm = lm, .calibration = on->calibration};
        if (!settings || !az_options_parse(az, method->options, name, all, settings) || !method->compress(az, settings, &job)) return NULL;
    }
    const az_lm_score *score = az_lm_score_documents(az, lm, on->test, &(az_lm_score_options){0});
    az_lm_free(az, lm);
    return score;
}

/* One row; returns the upper end of the interval of method - magnitude, NaN after an error. */
static double compare(az_ctx *az, az_report *report, const subject *on, const az_lm_score *dense, const char *method, const char *options)
{
    const az_lm_score *baseline = score_after(az, on, "magnitude", options), *score = score_after(az, on, method, options);
    if (!baseline || !score) return NAN;
    const az_estimate gain = az_paired_ratio_estimate(score->nll, baseline->nll, score->weight, score->documents, 0.95);
    az_report_row(report, "comparisons");
    az_report_text(report, "model", on->name);
    az_report_text(report, "setting", options);
    az_report_count(report, "documents", score->documents);
    az_report_count(report, "tokens", score->tokens);
    az_report_number(report, "perplexity_dense", exp(dense->mean.value), "");
    az_report_number(report, "perplexity_magnitude", exp(baseline->mean.value), "");
    az_report_number(report, az_format_text(az, "perplexity_%s", method), exp(score->mean.value), "");
    az_report_number(report, "difference", gain.value, "nat");
    az_report_number(report, "low", gain.low, "nat");
    az_report_number(report, "high", gain.high, "nat");
    return gain.high;
}

bool claim_beats_magnitude(az_ctx *az, az_report *report, const char *method)
{
    static const char *const settings[] = {"sparsity=0.5", "pattern=2:4"};
    subject subjects[2];
    int n = bundled_subject(az, &subjects[0]) ? 1 : 0;
    const char *folder = getenv("ADZE_DATA");
    if (n && folder && stories260k_subject(az, folder, &subjects[1])) n = 2;
    int comparisons = 0, won = 0;
    for (int i = 0; i < n && az_ok(az); i++) {
        const az_lm_score *dense = score_after(az, &subjects[i], NULL, NULL);
        for (int k = 0; dense && k < 2 && az_ok(az); k++, comparisons++)
            if (compare(az, report, &subjects[i], dense, method, settings[k]) < 0) won++;
    }
    if (!az_ok(az)) return false;
    az_report_row(report, "decision");
    az_report_count(report, "comparisons", comparisons);
    az_report_count(report, "won", won);
    return comparisons > 0 && won == comparisons;
}
