/* comparisons.c - paired comparisons of compressed models on held-out text. */
#include "claims/comparisons.h"
#include "cli/cli.h"

#include <math.h>
#include <string.h>

/* ---- runs ---- */

/* The second run gave the numbers of the first: the seed does not matter. */
static bool repeats(const claim_runs *runs, int seed)
{
    return seed == 1 && memcmp(runs->nll, runs->nll + runs->documents, (size_t)runs->documents * sizeof *runs->nll) == 0;
}

static claim_runs *runs_new(az_ctx *az, const char *label, int seeds, int64_t documents)
{
    claim_runs *runs = az_alloc(az, sizeof *runs);
    if (!runs) return NULL;
    *runs = (claim_runs){.label = az_strdup(az, label), .seeds = seeds, .documents = documents};
    runs->nll = az_alloc_array(az, (size_t)(seeds * documents), sizeof *runs->nll);
    runs->weight = az_alloc_array(az, (size_t)documents, sizeof *runs->weight);
    return az_ok(az) ? runs : NULL;
}

static bool run_once(az_ctx *az, const claim_subject *on, int seed, claim_change change, void *user, claim_runs *runs)
{
    az_lm *lm = az_lm_copy(az, on->lm);
    const double began = az_seconds();
    if (!lm || !change(az, lm, on, seed, user)) return false;
    runs->seconds += az_seconds() - began;
    const az_lm_score *score = az_lm_score_documents(az, lm, on->test, NULL);
    if (!score) return false;
    memcpy(runs->nll + seed * runs->documents, score->nll, (size_t)runs->documents * sizeof *runs->nll);
    memcpy(runs->weight, score->weight, (size_t)runs->documents * sizeof *runs->weight);
    runs->tokens = score->tokens;
    runs->bytes = (double)az_lm_bytes(lm);
    az_lm_free(az, lm);
    return true;
}

const claim_runs *claim_run_change(az_ctx *az, const claim_subject *on, const char *label, int seeds, claim_change change, void *user)
{
    claim_runs *runs = runs_new(az, label, seeds, on->test->count);
    for (int seed = 0; runs && seed < seeds; seed++) {
        az_scope_push(az);
        const bool good = run_once(az, on, seed, change, user, runs);
        az_scope_pop(az);
        az_fail_context(az, "%s on %s", label, on->name);
        if (!good) return NULL;
        if (repeats(runs, seed)) runs->seeds = seeds = 1;
    }
    if (runs) runs->seconds /= seeds;
    return runs;
}

/* ---- chains ---- */

enum { MOST_STEPS = 8 };
typedef struct chain {
    const char *word[MOST_STEPS]; /* "wanda:pattern=2:4" */
    int n;
} chain;

static bool split_chain(az_ctx *az, const char *text, chain *out)
{
    *out = (chain){0};
    char *rest = az_strdup(az, text);
    for (char *word = rest ? strtok_r(rest, " ", &rest) : NULL; word; word = strtok_r(NULL, " ", &rest)) {
        if (out->n == MOST_STEPS) return az_fail(az, AZ_BAD_CALL, "the chain '%s' has more than %d steps", text, MOST_STEPS);
        out->word[out->n++] = word;
    }
    return az_ok(az);
}

static bool has_option(const az_method *method, const char *name)
{
    for (const az_option *option = method->options; option && option->name; option++)
        if (strcmp(option->name, name) == 0) return true;
    return false;
}

/* The word with "name=value" added, if the method has that option and the word does not say it. */
static const char *with_option(az_ctx *az, const az_method *method, const char *word, const char *name, int value)
{
    if (!word || !has_option(method, name) || strstr(word, az_format_text(az, "%s=", name))) return word;
    return az_format_text(az, "%s%c%s=%d", word, strchr(word, ':') ? ',' : ':', name, value);
}

/* The method with the calibration that claims use: the papers' 128 sequences, of 256 tokens instead of 2048, since the stories that these
 * models know are about as long. */
static const az_method *step_of(az_ctx *az, const char *word, int seed, void **settings)
{
    const az_method *method = cli_method(az, word, settings);
    if (!method) return NULL;
    word = with_option(az, method, word, "nsamples", 128);
    word = with_option(az, method, word, "seqlen", 256);
    word = with_option(az, method, word, "seed", seed);
    return word ? cli_method(az, word, settings) : NULL;
}

static bool apply_chain(az_ctx *az, az_lm *lm, const claim_subject *on, int seed, void *user)
{
    const chain *steps = user;
    for (int i = 0; i < steps->n; i++) {
        void *settings = NULL;
        const az_method *method = step_of(az, steps->word[i], seed, &settings);
        az_compress_job job = {.lm = lm, .original = on->lm, .calibration = on->calibration};
        if (!method || (method->check && !method->check(az, settings, lm)) || !method->compress(az, settings, &job)) return false;
    }
    return true;
}

const claim_runs *claim_run_chain(az_ctx *az, const claim_subject *on, const char *text, int seeds)
{
    chain steps;
    if (!split_chain(az, text, &steps)) return NULL;
    return claim_run_change(az, on, *text ? text : "as it is", seeds, apply_chain, &steps);
}

/* ---- comparisons ---- */

static const double *nll_of(const claim_runs *runs, int seed)
{
    return runs->nll + seed % runs->seeds * runs->documents;
}

static double mean_loss(const claim_runs *runs, int seed)
{
    double sum = 0, weight = 0;
    for (int64_t i = 0; i < runs->documents; i++) sum += nll_of(runs, seed)[i], weight += runs->weight[i];
    return sum / weight;
}

double claim_perplexity(const claim_runs *runs)
{
    double sum = 0;
    for (int s = 0; s < runs->seeds; s++) sum += mean_loss(runs, s);
    return exp(sum / runs->seeds);
}

/* [documents] log-losses averaged over the seeds. */
static const double *mean_nll(az_ctx *az, const claim_runs *runs)
{
    double *mean = az_alloc_array(az, (size_t)runs->documents, sizeof *mean);
    for (int s = 0; mean && s < runs->seeds; s++)
        for (int64_t i = 0; i < runs->documents; i++) mean[i] += nll_of(runs, s)[i] / runs->seeds;
    return mean;
}

static claim_difference difference(az_ctx *az, const claim_runs *a, const claim_runs *b)
{
    const int seeds = a->seeds > b->seeds ? a->seeds : b->seeds;
    const double *x = mean_nll(az, a), *y = mean_nll(az, b);
    double *by_seed = az_alloc_array(az, (size_t)seeds, sizeof *by_seed);
    if (!x || !y || !by_seed) return (claim_difference){.documents = {.high = NAN}, .seeds = {.high = NAN}};
    for (int s = 0; s < seeds; s++) by_seed[s] = mean_loss(a, s) - mean_loss(b, s);
    return (claim_difference){.documents = az_paired_ratio_estimate(x, y, a->weight, a->documents, 0.95),
                              .seeds = az_mean_estimate(by_seed, seeds, 0.95)};
}

claim_difference claim_compare(az_ctx *az, az_report *report, const claim_subject *on, const claim_runs *a, const claim_runs *b)
{
    if (!a || !b) return (claim_difference){.documents = {.high = NAN}, .seeds = {.high = NAN}};
    const claim_difference d = difference(az, a, b);
    az_report_row(report, "comparisons");
    az_report_text(report, "model", on->name);
    az_report_text(report, "method", a->label);
    az_report_text(report, "against", b->label);
    az_report_count(report, "documents", a->documents);
    az_report_count(report, "seeds", a->seeds > b->seeds ? a->seeds : b->seeds);
    az_report_number(report, "perplexity", claim_perplexity(a), "");
    az_report_number(report, "perplexity_against", claim_perplexity(b), "");
    az_report_number(report, "difference", d.documents.value, "nat");
    az_report_number(report, "low", d.documents.low, "nat");
    az_report_number(report, "high", d.documents.high, "nat");
    az_report_number(report, "seeds_low", d.seeds.low, "nat");
    az_report_number(report, "seeds_high", d.seeds.high, "nat");
    return d;
}

bool claim_is_better(const claim_difference *d)
{
    return d->documents.high < 0 && (d->seeds.n < 2 || d->seeds.high < 0);
}

bool claim_decide(az_ctx *az, az_report *report, int comparisons, int won)
{
    if (!az_ok(az)) return false;
    az_report_row(report, "decision");
    az_report_count(report, "comparisons", comparisons);
    az_report_count(report, "won", won);
    return comparisons > 0 && won == comparisons;
}

bool claim_beats(az_ctx *az, az_report *report, const char *method, const char *baseline, const char *const *options)
{
    claim_subject subjects[CLAIM_MOST_SUBJECTS];
    const int n = claim_subjects(az, subjects);
    int comparisons = 0, won = 0;
    for (int i = 0; i < n; i++) {
        for (const char *const *o = options; *o && az_ok(az); o++, comparisons++) {
            const claim_runs *a = claim_run_chain(az, &subjects[i], az_format_text(az, "%s:%s", method, *o), CLAIM_SEEDS);
            const claim_runs *b = claim_run_chain(az, &subjects[i], az_format_text(az, "%s:%s", baseline, *o), CLAIM_SEEDS);
            const claim_difference d = claim_compare(az, report, &subjects[i], a, b);
            won += claim_is_better(&d);
        }
    }
    return claim_decide(az, report, comparisons, won);
}
