/* claim_welore.c - the headlines of WeLore (Jaiswal et al. 2024): ranks by one threshold lose less than the same share of ranks everywhere,
 * and the low-rank components learn better than the others. */
#include "claims/claims.h"
#include "claims/comparisons.h"
#include "compress/compress_internal.h"

#include "adze/linalg.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- matrices with known spectra ---- */

enum { MATRICES = 8, SIZE = 128 };

/* Spectra exp(-i / tau) for five tau, and those of three Gaussian matrices; each scaled copy beside it. */
static bool make_spectra(az_ctx *az, double sigma[MATRICES][SIZE], double scaled[MATRICES][SIZE], az_spectrum *out)
{
    const double tau[] = {4, 8, 16, 32, 64};
    for (int k = 0; k < MATRICES; k++) {
        az_tensor *s = NULL;
        if (k >= 5) az_svd(az, az_randn(az, AZ_F64, 2, (const int64_t[]){SIZE, SIZE}, 1, 11, (uint64_t)k), NULL, &s, NULL);
        for (int i = 0; i < SIZE; i++) scaled[k][i] = sigma[k][i] = k < 5 ? exp(-i / tau[k]) : az_item(s, i);
        az_scale_spectrum(scaled[k], SIZE, AZ_SCALE_MINMAX);
        out[k] = (az_spectrum){.r = SIZE, .value = scaled[k]};
    }
    return az_ok(az);
}

/* |W - W'| / |W|; a matrix that factors would not make smaller stays whole when `sparing`. */
static double relative_error(const double *sigma, int64_t rank, bool sparing)
{
    double lost = 0, all = 0;
    for (int64_t i = 0; i < SIZE; i++) all += sigma[i] * sigma[i], lost += i >= rank ? sigma[i] * sigma[i] : 0;
    return sparing && 2 * rank >= SIZE ? 0 : sqrt(lost / all);
}

/* One share of ranks: mean relative errors at equal ranks, then at equal numbers of parameters (a uniform rank that gives as many). */
static bool spectra_row(az_ctx *az, az_report *report, double sigma[MATRICES][SIZE], const az_spectrum *spectra, double share)
{
    const double threshold = az_spectrum_threshold(az, spectra, MATRICES, share);
    double one = 0, uniform = 0, one_sparing = 0, uniform_sparing = 0, parameters = 0;
    const int64_t same_rank = SIZE - llround(share * SIZE);
    for (int k = 0; k < MATRICES; k++) {
        const int64_t rank = az_spectrum_rank(&spectra[k], threshold);
        parameters += fmin(2.0 * (double)rank / SIZE, 1) / MATRICES;
        one += relative_error(sigma[k], rank, false) / MATRICES;
        one_sparing += relative_error(sigma[k], rank, true) / MATRICES;
        uniform += relative_error(sigma[k], same_rank, false) / MATRICES;
    }
    for (int k = 0; k < MATRICES; k++) uniform_sparing += relative_error(sigma[k], (int64_t)(parameters * SIZE / 2), false) / MATRICES;
    az_report_row(report, "spectra");
    az_report_number(report, "reduction", share, "");
    az_report_number(report, "error_threshold", one, "");
    az_report_number(report, "error_uniform", uniform, "");
    az_report_number(report, "parameters", parameters, "");
    az_report_number(report, "error_threshold_equal_parameters", one_sparing, "");
    az_report_number(report, "error_uniform_equal_parameters", uniform_sparing, "");
    return one_sparing < uniform_sparing && (share > 0.6 || one < uniform);
}

static int compare_spectra(az_ctx *az, az_report *report)
{
    static const double shares[] = {0.3, 0.5, 0.7};
    double sigma[MATRICES][SIZE], scaled[MATRICES][SIZE];
    az_spectrum spectra[MATRICES];
    int won = 0;
    if (!make_spectra(az, sigma, scaled, spectra)) return 0;
    for (int i = 0; i < 3; i++) won += spectra_row(az, report, sigma, spectra, shares[i]);
    return won;
}

/* ---- models, not tuned ---- */

static const claim_runs *truncated(az_ctx *az, const claim_subject *on, double share, const char *ranks)
{
    return claim_run_chain(az, on, az_format_text(az, "welore:reduction=%g,ranks=%s,others=truncate,type=f32", share, ranks), 1);
}

/* At 20 % and 30 % the threshold must win; 50 % is for the record. */
static int compare_models(az_ctx *az, az_report *report, const claim_subject *on)
{
    static const double shares[] = {0.2, 0.3, 0.5};
    int won = 0;
    for (int i = 0; i < 3 && az_ok(az); i++) {
        const claim_runs *one = truncated(az, on, shares[i], "threshold"), *uniform = truncated(az, on, shares[i], "uniform");
        if (!one || !uniform) return 0;
        const claim_difference difference = claim_compare(az, report, on, one, uniform);
        won += i < 2 && difference.documents.high < 0;
    }
    return won;
}

/* ---- models, tuned ---- */

enum { LOW_HALF, OTHER_HALF, EVERYTHING, NOTHING };
enum { TUNED_SEEDS = 3 };
static const double tuned_share = 0.5;

typedef struct ranked {
    az_lm_linear *linear;
    int64_t rank, full;
} ranked;

static int by_kept_share(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    const int64_t left = x->rank * y->full, right = y->rank * x->full;
    return left != right ? (left > right) - (left < right) : strcmp(x->linear->name, y->linear->name);
}

/* Every layer as two factors, of the ranks that one threshold gives; sorted by the share of ranks that is left. */
static ranked *factor_all(az_ctx *az, az_lm *lm, int *n)
{
    az_lm_linear **linear;
    *n = az_lm_linears(az, lm, &linear);
    az_spectrum *spectra = az_alloc_array(az, (size_t)*n, sizeof *spectra);
    ranked *list = az_alloc_array(az, (size_t)*n, sizeof *list);
    for (int i = 0; spectra && list && i < *n; i++) {
        az_tensor *s = NULL;
        az_svd(az, az_weight_decode(az, linear[i]->weight), NULL, &s, NULL);
        s = az_cast(az, s, AZ_F64);
        if (!s) return NULL;
        az_scale_spectrum(az_f64_mut(s), s->shape[0], AZ_SCALE_MINMAX);
        spectra[i] = (az_spectrum){.r = s->shape[0], .value = az_f64(s)};
    }
    const double threshold = az_spectrum_threshold(az, spectra, *n, tuned_share);
    for (int i = 0; list && i < *n; i++) {
        az_tensor *u, *v;
        list[i] = (ranked){linear[i], az_spectrum_rank(&spectra[i], threshold), spectra[i].r};
        az_arena_enter(az, lm->arena);
        if (az_truncate(az, az_weight_decode(az, linear[i]->weight), list[i].rank, false, &u, &v))
            linear[i]->weight = az_weight_lowrank(az, az_weight_dense(az, u), az_weight_dense(az, v));
        az_arena_leave(az);
    }
    if (list) qsort(list, (size_t)*n, sizeof *list, by_kept_share);
    return az_ok(az) ? list : NULL;
}

/* Factored, then trained for a while in one half of the layers, in all of them, or not. */
static bool tune_part(az_ctx *az, az_lm *lm, const claim_subject *on, int seed, void *user)
{
    const int part = *(const int *)user;
    int n;
    const ranked *list = factor_all(az, lm, &n);
    if (!list) return false;
    const char *only = "";
    for (int i = 0; i < n; i++)
        if (part == EVERYTHING || (i < n / 2) == (part == LOW_HALF))
            only = az_format_text(az, "%s%s%s.weight.u,%s.weight.v", only, *only ? "," : "", list[i].linear->name, list[i].linear->name);
    az_lm_train_settings settings = {0};
    if (part == NOTHING || !az_options_default(az, az_lm_train_options, &settings)) return az_ok(az);
    settings.steps = 60, settings.batch = 8, settings.length = 128, settings.lr = 5e-4, settings.weight_decay = 0;
    settings.seed = seed, settings.only = only;
    return az_lm_train(az, lm, on->calibration, &settings, NULL);
}

/* The low half learns no worse than the other (by 0.0005 nat), and makes good 65 % of what all layers together make good. */
static int compare_tuned(az_ctx *az, az_report *report, const claim_subject *on)
{
    static const char *const labels[] = {"low half tuned", "other half tuned", "all layers tuned", "not tuned"};
    const claim_runs *runs[4];
    for (int part = LOW_HALF; part <= NOTHING; part++) {
        runs[part] = claim_run_change(az, on, labels[part], part == NOTHING ? 1 : TUNED_SEEDS, tune_part, &part);
        if (!runs[part]) return 0;
    }
    const claim_difference halves = claim_compare(az, report, on, runs[LOW_HALF], runs[OTHER_HALF]);
    const double start = log(claim_perplexity(runs[NOTHING]));
    const double share = (start - log(claim_perplexity(runs[LOW_HALF]))) / (start - log(claim_perplexity(runs[EVERYTHING])));
    az_report_row(report, "recovered");
    az_report_text(report, "model", on->name);
    for (int part = LOW_HALF; part <= NOTHING; part++)
        az_report_number(report, az_format_text(az, "perplexity_%s", (const char *[]){"low", "other", "all", "start"}[part]),
                         claim_perplexity(runs[part]), "");
    az_report_number(report, "share", share, "");
    return (halves.documents.high < 0.0005) + (share >= 0.65);
}

static bool run(az_ctx *az, az_report *report)
{
    claim_subject subjects[CLAIM_MOST_SUBJECTS];
    const int n = claim_subjects(az, subjects);
    int won = compare_spectra(az, report), comparisons = 3;
    for (int i = 0; i < n && az_ok(az); i++, comparisons += 4)
        won += compare_models(az, report, &subjects[i]) + compare_tuned(az, report, &subjects[i]);
    return az_ok(az) && claim_decide(az, report, n > 0 ? comparisons : 0, won);
}

const az_claim az_claim_welore = {
    .name = "welore",
    .statement = "ranks by one threshold lose less than equal shares of ranks (at 20 and 30 %), and the layers of lowest rank make good at "
                 "least 65 % of what all layers make good when they are tuned",
    .run = run,
};
