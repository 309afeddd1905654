/* score.c - perplexities and their paired differences as rows of a report, for evaluate, compress and train. */
#include "cli/cli.h"

#include <math.h>
#include <string.h>

static const double CONFIDENCE = 0.95;

const az_option cli_score_options[] = {
    {"context", AZ_FIELD(AZ_INT, az_lm_score_options, context), "0", 0, 1 << 26, NULL,
     "tokens a prediction may look back on; 0 = the model's context"},
    {"stride", AZ_FIELD(AZ_INT, az_lm_score_options, stride), "0", 0, 1 << 26, NULL,
     "by how many tokens the windows of a long document advance; 0 = by the context"},
    {"limit", AZ_FIELD(AZ_INT, az_lm_score_options, limit), "0", 0, 1e15, NULL, "use the first documents only; 0 = all"},
    {0},
};

void cli_note_context(az_ctx *az, const az_lm *lm, const az_lm_score_options *how)
{
    if (lm && how->context > lm->config.context)
        az_note(az, "'%s' looks back on %lld tokens at most, not on %lld", lm->name, (long long)lm->config.context,
                (long long)how->context);
}

void cli_report_score(az_report *report, const az_lm_score *score)
{
    const az_estimate *nll = &score->mean;
    az_report_number(report, "perplexity", exp(nll->value), "");
    az_report_number(report, "perplexity_low", exp(nll->low), "");
    az_report_number(report, "perplexity_high", exp(nll->high), "");
    az_report_number(report, "nll", nll->value, "nat");
    az_report_number(report, "nll_se", nll->se, "nat");
    az_report_count(report, "tokens", score->tokens);
    az_report_count(report, "documents", score->documents);
}

/* Whether both models cut every document into the same number of scored tokens. */
static bool same_weights(const az_lm_score *a, const az_lm_score *b)
{
    if (a->documents != b->documents) return false;
    for (int64_t i = 0; i < a->documents; i++)
        if (a->weight[i] != b->weight[i]) return false;
    return true;
}

/* The sizes of the documents (or NULL) in bytes, for models whose tokens differ; NULL when the scored pieces are not whole documents. */
static const double *document_bytes(az_ctx *az, const az_documents *documents, const az_lm_score *a, const az_lm_score *b)
{
    if (!documents || a->documents != b->documents || a->documents > documents->count) return NULL;
    double *bytes = az_alloc_array(az, (size_t)a->documents, sizeof *bytes);
    for (int64_t i = 0; bytes && i < a->documents; i++) bytes[i] = (double)documents->item[i].length;
    return bytes;
}

bool cli_score_difference(az_ctx *az, const az_documents *documents, const az_lm_score *a, const az_lm_score *b, cli_difference *out)
{
    bool same = same_weights(a, b);
    const double *weight = same ? a->weight : document_bytes(az, documents, a, b);
    if (!weight) return false;
    out->estimate = az_paired_ratio_estimate(a->nll, b->nll, weight, a->documents, CONFIDENCE);
    out->unit = same ? "nat/token" : "nat/byte";
    return true;
}

void cli_report_difference(az_report *report, const cli_difference *difference)
{
    const az_estimate *d = &difference->estimate;
    az_report_number(report, "difference", d->value, difference->unit);
    az_report_number(report, "se", d->se, difference->unit);
    az_report_number(report, "low", d->low, difference->unit);
    az_report_number(report, "high", d->high, difference->unit);
    if (strcmp(difference->unit, "nat/byte") == 0) az_report_text(report, "per", "byte"); /* JSON shows no units */
}
