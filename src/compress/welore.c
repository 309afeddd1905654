/* welore.c - low rank by the layers' own spectra.
 *
 * Problem: which rank k_l <= r_l each matrix W_l keeps, when all of them together lose the share `reduction` of their ranks.
 * Symbols: sigma_1 >= ... >= sigma_r, the singular values of W; t_i = (sigma_i - sigma_r) / (sigma_1 - sigma_r).
 * Rule: one threshold c for all matrices, k = #{i : t_i >= c}; c is the lowest that gives the reduction 1 - sum k / sum r.
 *     W' = (U_k sqrt(S_k)) (sqrt(S_k) V_k^T), the best approximation of that rank.
 * Matrices that lose more than `min_ratio` of their ranks are the low-rank components, stored as two factors where those are smaller than
 *     the matrix; they alone learn when the model is tuned on. The others stay as they are, or get the truncated product (others=truncate).
 *
 * Jaiswal et al.: "From low rank gradient subspace stabilization to low-rank weights", 2024 (arXiv 2407.11239). */
#include "compress/compress_internal.h"

#include "adze/linalg.h"

#include <math.h>
#include <stdlib.h>

enum { RANKS_BY_THRESHOLD, RANKS_UNIFORM };
enum { OTHERS_KEEP, OTHERS_TRUNCATE };

typedef struct welore_options {
    double reduction, threshold, min_ratio;
    int ranks, scale, others, svd, zeros;
    int64_t min_rank, multiple;
    const char *type;
    bool error;
    az_calibration calibration;
} welore_options;

static const char *const rank_choices[] = {[RANKS_BY_THRESHOLD] = "threshold", [RANKS_UNIFORM] = "uniform", NULL};
static const char *const scale_choices[] = {[AZ_SCALE_MINMAX] = "minmax", [AZ_SCALE_MAX] = "max", [AZ_SCALE_NONE] = "none", NULL};
static const char *const other_choices[] = {[OTHERS_KEEP] = "keep", [OTHERS_TRUNCATE] = "truncate", NULL};
static const char *const svd_choices[] = {"full", "randomized", NULL};

static const az_option welore_table[] = {
    {"reduction", AZ_FIELD(AZ_REAL, welore_options, reduction), "0.5", 0, 1, NULL, "share of all ranks to remove, below 1"},
    {"threshold", AZ_FIELD(AZ_REAL, welore_options, threshold), "0", 0, INFINITY, NULL,
     "remove what lies below this scaled singular value instead; 0 = by reduction"},
    {"ranks", AZ_FIELD(AZ_CHOICE, welore_options, ranks), "threshold", 0, 0, rank_choices,
     "one threshold for all matrices, or the same share of ranks in each"},
    {"scale", AZ_FIELD(AZ_CHOICE, welore_options, scale), "minmax", 0, 0, scale_choices,
     "how the spectra are made comparable: to [0, 1], by the largest value, not at all"},
    {"min_ratio", AZ_FIELD(AZ_REAL, welore_options, min_ratio), "0", 0, 1, NULL,
     "matrices that lose no more than this share of their ranks are left as they are"},
    {"others", AZ_FIELD(AZ_CHOICE, welore_options, others), "keep", 0, 0, other_choices,
     "of matrices that factors would not make smaller: keep them, or truncate them in place"},
    {"min_rank", AZ_FIELD(AZ_INT, welore_options, min_rank), "1", 1, 1e6, NULL, "rank that every matrix keeps at least"},
    {"multiple", AZ_FIELD(AZ_INT, welore_options, multiple), "1", 1, 4096, NULL,
     "ranks are rounded to a multiple of this (32 lets quantize store both factors in blocks)"},
    {"type", AZ_FIELD(AZ_TEXT, welore_options, type), "f16", 0, 0, NULL, "format of the factors"},
    {"svd", AZ_FIELD(AZ_CHOICE, welore_options, svd), "full", 0, 0, svd_choices, "randomized finds only as many vectors as are kept"},
    {"zeros", AZ_FIELD(AZ_CHOICE, welore_options, zeros), "keep", 0, 0, az_zero_choices,
     "of pruned matrices: keep refuses to factor them, lose fills them"},
    {"error", AZ_FIELD(AZ_BOOL, welore_options, error), "false", 0, 0, NULL, "measure each layer's output error on the calibration text"},
    AZ_CALIBRATION_OPTIONS(welore_options, " (for error)"),
    {0},
};

/* ---- spectra and ranks ---- */

void az_scale_spectrum(double *sigma, int64_t r, az_spectrum_scale scale)
{
    const double low = scale == AZ_SCALE_MINMAX ? sigma[r - 1] : 0, high = sigma[0];
    for (int64_t i = 0; i < r && scale != AZ_SCALE_NONE; i++) sigma[i] = high > low ? (sigma[i] - low) / (high - low) : 1;
}

int64_t az_spectrum_rank(const az_spectrum *spectrum, double threshold)
{
    int64_t kept = 1;
    while (kept < spectrum->r && spectrum->value[kept] >= threshold) kept++;
    return kept;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double az_spectrum_threshold(az_ctx *az, const az_spectrum *spectra, int n, double reduction)
{
    int64_t total = 0, at = 0;
    for (int i = 0; i < n; i++) total += spectra[i].r;
    az_scope_push(az);
    double *pool = az_alloc_array(az, (size_t)total, sizeof *pool), threshold = 0;
    for (int i = 0; pool && i < n; i++)
        for (int64_t k = 0; k < spectra[i].r; k++) pool[at++] = spectra[i].value[k];
    const int64_t pruned = llround(reduction * (double)total);
    if (pool) qsort(pool, (size_t)total, sizeof *pool, ascending);
    if (pool && pruned > 0) threshold = nextafter(pool[pruned - 1], INFINITY);
    az_scope_pop(az);
    return threshold;
}

/* A layer's matrix, what it keeps, and what that costs. */
typedef struct layer {
    const az_lm_linear *linear;
    az_spectrum spectrum;
    int64_t rank;
    double error; /* |W - W'| / |W|, both Frobenius norms */
    bool changed, factored;
} layer;

static bool find_spectrum(az_ctx *az, const az_lm_linear *linear, layer *out, double **sigma)
{
    az_tensor *s = NULL;
    az_scope_push(az);
    az_svd(az, az_weight_decode(az, linear->weight), NULL, &s, NULL);
    s = az_keep(az, az_cast(az, s, AZ_F64));
    az_fail_context(az, "%s", linear->name);
    if (!s) return false;
    *sigma = az_f64_mut(s);
    *out = (layer){.linear = linear, .spectrum = {.r = s->shape[0], .value = *sigma}};
    return true;
}

/* |W - W'| / |W| from the singular values that go. */
static double truncation_error(const double *sigma, int64_t r, int64_t rank)
{
    double lost = 0, all = 0;
    for (int64_t i = r - 1; i >= 0; i--) {
        all += sigma[i] * sigma[i];
        if (i >= rank) lost += sigma[i] * sigma[i];
    }
    return all > 0 ? sqrt(lost / all) : 0;
}

static int64_t round_rank(const welore_options *o, int64_t rank, int64_t full)
{
    int64_t rounded = (rank + o->multiple / 2) / o->multiple * o->multiple;
    if (rounded < o->multiple) rounded = o->multiple;
    if (rounded < o->min_rank) rounded = o->min_rank;
    return rounded < full ? rounded : full;
}

static int64_t parameters(const layer *l)
{
    const az_weight *w = l->linear->weight;
    return l->factored ? l->rank * (w->rows + w->cols) : w->rows * w->cols;
}

static void classify(az_ctx *az, const welore_options *o, layer *l)
{
    const az_weight *w = l->linear->weight;
    const int64_t full = l->spectrum.r;
    const bool low = (double)(full - l->rank) > o->min_ratio * (double)full;
    l->factored = low && l->rank * (w->rows + w->cols) < w->rows * w->cols;
    l->changed = l->factored || (low && o->others == OTHERS_TRUNCATE);
    if (50 * l->rank < full)
        az_note(az, "%s keeps %lld of %lld ranks: a single large singular value may hide the others; see min_rank", l->linear->name,
                (long long)l->rank, (long long)full);
}

typedef struct plan {
    const welore_options *options;
    layer *layer;
    int n;
    double threshold;
} plan;

/* Every layer's spectrum, then every layer's rank. */
static bool make_plan(az_ctx *az, const welore_options *o, az_lm *lm, plan *p)
{
    az_lm_linear **linear;
    *p = (plan){.options = o, .n = az_lm_linears(az, lm, &linear), .threshold = o->threshold};
    p->layer = az_alloc_array(az, (size_t)p->n, sizeof *p->layer);
    double **sigma = az_alloc_array(az, (size_t)p->n, sizeof *sigma);
    az_spectrum *spectra = az_alloc_array(az, (size_t)p->n, sizeof *spectra);
    if (!p->layer || !sigma || !spectra) return false;
    for (int i = 0; i < p->n; i++) {
        if (!find_spectrum(az, linear[i], &p->layer[i], &sigma[i])) return false;
        if (!az_progress(az, "singular values", i + 1, p->n, linear[i]->name))
            return az_fail(az, AZ_INTERRUPTED, "interrupted after %d of %d spectra", i + 1, p->n);
        const int64_t r = p->layer[i].spectrum.r;
        double *scaled = az_alloc_array(az, (size_t)r, sizeof *scaled);
        for (int64_t k = 0; scaled && k < r; k++) scaled[k] = sigma[i][k];
        if (!scaled) return false;
        az_scale_spectrum(scaled, r, (az_spectrum_scale)o->scale);
        spectra[i] = (az_spectrum){.r = r, .value = scaled};
    }
    if (p->threshold == 0) p->threshold = az_spectrum_threshold(az, spectra, p->n, o->reduction);
    for (int i = 0; i < p->n; i++) {
        layer *l = &p->layer[i];
        const int64_t r = l->spectrum.r;
        const int64_t rank =
            o->ranks == RANKS_UNIFORM ? r - llround(o->reduction * (double)r) : az_spectrum_rank(&spectra[i], p->threshold);
        l->rank = rank < r ? round_rank(o, rank, r) : r;
        l->error = truncation_error(sigma[i], r, l->rank);
        classify(az, o, l);
    }
    return az_ok(az);
}

/* ---- the layers ---- */

/* Columns of u, or rows of v, times sqrt(s). */
static az_tensor *times_root(az_ctx *az, const az_tensor *x, const az_tensor *s, bool columns)
{
    const az_tensor *root = az_sqrt(az, s);
    return az_mul(az, x, columns ? root : az_reshape(az, root, 2, (const int64_t[]){-1, 1}));
}

bool az_truncate(az_ctx *az, const az_tensor *w, int64_t rank, bool randomized, az_tensor **u, az_tensor **v)
{
    enum { POWER = 4 };
    az_tensor *left = NULL, *s = NULL, *right = NULL;
    if (randomized)
        az_svd_randomized(az, w, rank, POWER, az_seed(az), &left, &s, &right);
    else
        az_svd(az, w, &left, &s, &right);
    s = az_slice(az, s, 0, 0, rank);
    *u = times_root(az, az_slice(az, left, 1, 0, rank), s, true);
    *v = times_root(az, az_slice(az, right, 0, 0, rank), s, false);
    return az_ok(az);
}

static az_weight *truncate_layer(az_ctx *az, const az_lm_linear *linear, const az_lm_statistics *statistics, const void *user)
{
    (void)statistics;
    const plan *p = user;
    const layer *l = p->layer;
    while (l->linear != linear) l++;
    if (!l->changed) return az_weight_share(az, linear->weight);
    az_tensor *u, *v;
    if (!az_truncate(az, az_weight_decode(az, linear->weight), l->rank, p->options->svd, &u, &v)) return NULL;
    if (!l->factored) return az_prune_result(az, linear->weight, az_weight_dense(az, az_matmul(az, u, v)));
    const az_format *format = az_format_by_name(p->options->type);
    return az_weight_recode(az, az_weight_lowrank(az, az_weight_dense(az, u), az_weight_dense(az, v)), format, NULL);
}

static void report_plan(az_report *report, const plan *p)
{
    int64_t full = 0, kept = 0, before = 0, after = 0;
    for (int i = 0; i < p->n; i++) {
        const layer *l = &p->layer[i];
        const int64_t size = l->linear->weight->rows * l->linear->weight->cols;
        az_report_row(report, "ranks");
        az_report_text(report, "layer", l->linear->name);
        az_report_count(report, "rank", l->rank);
        az_report_count(report, "full_rank", l->spectrum.r);
        az_report_text(report, "class", l->factored ? "low rank" : l->changed ? "truncated" : "other");
        az_report_count(report, "parameters_before", size);
        az_report_count(report, "parameters", parameters(l));
        az_report_number(report, "relative_error", l->changed ? l->error : 0, "");
        full += l->spectrum.r, kept += l->rank, before += size, after += parameters(l);
    }
    az_report_row(report, "low_rank");
    az_report_number(report, "threshold", p->threshold, "");
    az_report_number(report, "rank_reduction", 1 - (double)kept / (double)full, "");
    az_report_number(report, "parameters_kept", (double)after / (double)before, "");
}

static bool welore_check(az_ctx *az, const void *options, az_lm *lm)
{
    (void)lm;
    const welore_options *o = options;
    const az_format *format = az_format_by_name(o->type);
    if (!(o->reduction >= 0 && o->reduction < 1)) return az_fail(az, AZ_BAD_INPUT, "reduction is %g, not in [0, 1)", o->reduction);
    if (o->ranks == RANKS_UNIFORM && o->threshold > 0)
        return az_fail(az, AZ_BAD_INPUT, "ranks=uniform goes by reduction, not by threshold");
    if (format && az_format_encodes(format) && format->ggml_type >= 0) return true;
    return az_fail(az, AZ_BAD_INPUT, "factors cannot be stored as '%s'; choose f32, f16, bf16 or a format of blocks such as q8_0", o->type);
}

static bool welore_compress(az_ctx *az, const void *options, az_compress_job *job)
{
    const welore_options *o = options;
    plan p;
    if (!job->lm || !welore_check(az, o, job->lm)) return false;
    az_scope_push(az);
    bool done = make_plan(az, o, job->lm, &p);
    if (done && job->report) report_plan(job->report, &p);
    done = done && az_compress_layers(az, job,
                                      &(az_layer_walk){.task = "truncating",
                                                       .step = truncate_layer,
                                                       .options = &p,
                                                       .calibrated = o->error,
                                                       .error = o->error,
                                                       .zeros = (az_zero_rule)o->zeros,
                                                       .calibration = o->calibration});
    az_scope_pop(az);
    return done;
}

const az_method az_welore = {
    .name = "welore",
    .family = AZ_COMPRESS,
    .summary = "store matrices as two factors of low rank, the ranks by one threshold on all spectra",
    .paper = "Jaiswal et al.: From low rank gradient subspace stabilization to low-rank weights, 2024, arXiv 2407.11239",
    .details = "Scales the singular values of each linear layer to [0, 1] and drops those below one threshold, chosen so that all layers "
               "together lose the share `reduction` of their ranks: layers whose spectra fall fast lose most. It needs no data. A layer is "
               "stored as two factors where these are smaller than the matrix, k (out + in) < out in; a reduction counts ranks, so half of "
               "the ranks of a square matrix saves nothing, and the report tells both. Other layers stay as they are (others=keep). The "
               "factors are what learns best afterwards: `adze train MODEL --only '*.weight.u,*.weight.v,*norm*'` trains them and the "
               "norms alone (min_ratio=0.4999 for layers that lost half of their ranks at least). quantize after welore rounds the "
               "factors; multiple=32 makes ranks that blocks divide.",
    .example = "adze compress tales welore:reduction=0.6 --eval calibration.txt -o small.gguf\n"
               "adze train small.gguf -d calibration.txt --only '*.weight.u,*.weight.v,*norm*' --steps 20 -o trained.gguf",
    .options = welore_table,
    .options_size = sizeof(welore_options),
    .check = welore_check,
    .compress = welore_compress,
};
