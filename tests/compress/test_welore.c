/* WeLore: ranks from spectra against their definitions, the truncated product, whole models, and training of the factors alone. */
#include "adze/linalg.h"
#include "compress/compress_internal.h"
#include "support/matrix.h"
#include "support/small_lm.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

enum { N = 64, SPECTRA = 4 };

/* 1 / (1 + i / a) for a = 2, 5, 12, and from 1 down to 0.2 in equal steps; scaled to [0, 1]. */
static void fill_spectra(double value[SPECTRA][N], az_spectrum *out, az_spectrum_scale scale)
{
    const double a[] = {2, 5, 12};
    for (int s = 0; s < SPECTRA; s++) {
        for (int i = 0; i < N; i++) value[s][i] = s < 3 ? 1 / (1 + i / a[s]) : 1 - 0.8 * i / (N - 1);
        az_scale_spectrum(value[s], N, scale);
        out[s] = (az_spectrum){.r = N, .value = value[s]};
    }
}

static double reduction_at(const az_spectrum *spectra, double threshold)
{
    int64_t kept = 0;
    for (int s = 0; s < SPECTRA; s++) kept += az_spectrum_rank(&spectra[s], threshold);
    return 1 - (double)kept / (SPECTRA * N);
}

Test(welore, one_threshold_gives_the_known_ranks)
{
    const struct {
        double threshold;
        int64_t rank[SPECTRA];
        double reduction;
    } known[] = {{0.1, {14, 26, 38, 57}, 0.47265625}, {0.2, {7, 15, 25, 51}, 0.6171875}};
    double value[SPECTRA][N];
    az_spectrum spectra[SPECTRA];
    fill_spectra(value, spectra, AZ_SCALE_MINMAX);
    for (size_t i = 0; i < 2; i++) {
        for (int s = 0; s < SPECTRA; s++) cr_assert_eq(az_spectrum_rank(&spectra[s], known[i].threshold), known[i].rank[s]);
        cr_assert_float_eq(reduction_at(spectra, known[i].threshold), known[i].reduction, 1e-12);
    }
}

Test(welore, the_threshold_meets_its_target_and_grows_with_it)
{
    az_ctx *az = az_open(NULL);
    double value[SPECTRA][N], before = 0;
    az_spectrum spectra[SPECTRA];
    fill_spectra(value, spectra, AZ_SCALE_MINMAX);
    for (double target = 0.02; target < 0.98; target += 0.01) {
        const double threshold = az_spectrum_threshold(az, spectra, SPECTRA, target);
        cr_assert(threshold >= before);
        cr_assert(fabs(reduction_at(spectra, threshold) - target) <= 1.0 / (SPECTRA * N), "%g", target);
        before = threshold;
    }
    cr_assert_eq(reduction_at(spectra, az_spectrum_threshold(az, spectra, SPECTRA, 0)), 0);
    az_close(az);
}

Test(welore, the_smallest_and_the_largest_threshold)
{
    double value[SPECTRA][N], flat[3] = {2, 2, 2}, tied[4] = {5, 5, 3, 1};
    az_spectrum spectra[SPECTRA];
    fill_spectra(value, spectra, AZ_SCALE_MINMAX);
    for (int s = 0; s < SPECTRA; s++) cr_assert_eq(az_spectrum_rank(&spectra[s], 1e-300), N - 1); /* the last one is always 0 */
    az_scale_spectrum(tied, 4, AZ_SCALE_MINMAX);
    cr_assert_eq(az_spectrum_rank(&(az_spectrum){.r = 4, .value = tied}, 1), 2);
    az_scale_spectrum(flat, 3, AZ_SCALE_MINMAX);
    cr_assert_eq(az_spectrum_rank(&(az_spectrum){.r = 3, .value = flat}, 1), 3);
    double largest[4] = {8, 4, 2, 0};
    az_scale_spectrum(largest, 4, AZ_SCALE_MAX);
    cr_assert_eq(largest[1], 0.5);
}

static double square(const az_tensor *x)
{
    double sum = 0;
    for (int64_t i = 0; i < az_count(x); i++) sum += az_item(x, i) * az_item(x, i);
    return sum;
}

Test(welore, truncation_is_the_best_approximation_with_balanced_factors)
{
    enum { ROWS = 30, COLS = 20, RANK = 7 };
    az_ctx *az = az_open(NULL);
    const az_tensor *w = matrix_normal(az, AZ_F32, ROWS, COLS, 3);
    az_tensor *s, *u, *v;
    cr_assert(az_svd(az, w, NULL, &s, NULL));
    cr_assert(az_truncate(az, w, RANK, false, &u, &v));
    double lost = 0;
    for (int i = RANK; i < COLS; i++) lost += az_item(s, i) * az_item(s, i);
    cr_assert_float_eq(square(az_sub(az, w, az_matmul(az, u, v))), lost, 1e-5 * lost);
    const az_tensor *uu = az_matmul(az, az_transpose(az, u), u), *vv = az_matmul(az, v, az_transpose(az, v));
    for (int i = 0; i < RANK * RANK; i++) { /* both Gram matrices are diag(sigma) */
        const double sigma = i % (RANK + 1) == 0 ? az_item(s, i / (RANK + 1)) : 0;
        cr_assert_float_eq(az_item(uu, i), sigma, 1e-4);
        cr_assert_float_eq(az_item(vv, i), sigma, 1e-4);
    }
    az_tensor *ru, *rv; /* the randomized one comes close */
    cr_assert(az_truncate(az, w, RANK, true, &ru, &rv));
    cr_assert_float_eq(square(az_sub(az, w, az_matmul(az, ru, rv))), lost, 0.05 * lost);
    az_close(az);
}

/* A model whose layers' spectra fall at different speeds: q and k of each block fast, the others slowly. */
static az_lm *uneven_lm(az_ctx *az)
{
    az_lm *lm = small_lm(az);
    az_lm_linear **linear;
    const int n = az_lm_linears(az, lm, &linear);
    for (int i = 0; i < n; i++) {
        const int64_t rows = linear[i]->weight->rows, cols = linear[i]->weight->cols, r = rows < cols ? rows : cols;
        az_tensor *u, *s, *vt;
        az_svd(az, az_weight_decode(az, linear[i]->weight), &u, &s, &vt);
        const double speed = i % 7 < 2 ? 3 : 30;
        for (int64_t k = 0; k < r; k++) az_f32_mut(s)[k] = (float)exp(-(double)k / speed);
        az_arena_enter(az, lm->arena);
        linear[i]->weight = az_weight_dense(az, az_matmul(az, az_mul(az, u, s), vt));
        az_arena_leave(az);
    }
    cr_assert(az_ok(az), "%s", az_error(az));
    return lm;
}

static int64_t rank_of(const az_weight *w)
{
    return az_weight_rank(w) ? az_weight_rank(w) : w->rows < w->cols ? w->rows : w->cols;
}

Test(welore, layers_that_decay_fast_are_factored_and_others_left_alone)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = uneven_lm(az), *small = az_lm_copy(az, lm);
    az_report *report = az_report_new(az, "welore");
    cr_assert(small_compress(az, small, "welore", "reduction=0.3,type=f32", NULL, report), "%s", az_error(az));
    for (int b = 0; b < 2; b++) {
        cr_assert_str_eq(small->block[b].q.weight->format->name, "lowrank");
        cr_assert_str_eq(small->block[b].k.weight->format->name, "lowrank");
        cr_assert_lt(rank_of(small->block[b].q.weight), 16);
        cr_assert_eq(small->block[b].up.weight->part[0]->data, lm->block[b].up.weight->part[0]->data); /* untouched */
    }
    cr_assert_lt(fabs(az_report_value(report, "low_rank", "rank_reduction") - 0.3), 0.03);
    cr_assert_lt(az_report_value(report, "low_rank", "parameters_kept"), 1);
    cr_assert_lt(az_lm_bytes(small), az_lm_bytes(lm));
    az_close(az);
}

Test(welore, scaling_or_transposing_a_layer_changes_no_rank)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = uneven_lm(az), *scaled = az_lm_copy(az, lm);
    for (int b = 0; b < 2; b++) {
        az_lm_block *block = &scaled->block[b];
        block->q.weight = az_weight_dense(az, az_affine(az, az_weight_decode(az, block->q.weight), 7, 0));
        block->o.weight = az_weight_dense(az, az_contiguous(az, az_transpose(az, az_weight_decode(az, block->o.weight))));
    }
    cr_assert(small_compress(az, lm, "welore", "reduction=0.4,others=truncate", NULL, NULL), "%s", az_error(az));
    cr_assert(small_compress(az, scaled, "welore", "reduction=0.4,others=truncate", NULL, NULL), "%s", az_error(az));
    az_lm_linear **a, **b;
    const int n = az_lm_linears(az, lm, &a);
    az_lm_linears(az, scaled, &b);
    for (int i = 0; i < n; i++) cr_assert_eq(rank_of(a[i]->weight), rank_of(b[i]->weight), "%s", a[i]->name);
    az_close(az);
}

Test(welore, multiples_and_uniform_ranks)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = uneven_lm(az), *uniform = az_lm_copy(az, lm);
    cr_assert(small_compress(az, lm, "welore", "reduction=0.6,multiple=4,min_rank=4", NULL, NULL), "%s", az_error(az));
    cr_assert(small_compress(az, uniform, "welore", "reduction=0.75,ranks=uniform", NULL, NULL), "%s", az_error(az));
    az_lm_linear **a, **b;
    const int n = az_lm_linears(az, lm, &a);
    az_lm_linears(az, uniform, &b);
    for (int i = 0; i < n; i++) {
        cr_assert_eq(rank_of(a[i]->weight) % 4, 0);
        cr_assert_eq(4 * rank_of(b[i]->weight), b[i]->weight->rows < b[i]->weight->cols ? b[i]->weight->rows : b[i]->weight->cols);
    }
    az_close(az);
}

Test(welore, quantize_rounds_the_factors)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = uneven_lm(az);
    cr_assert(small_compress(az, lm, "welore", "reduction=0.3,type=f32", NULL, NULL), "%s", az_error(az));
    const az_tensor *before = az_weight_decode(az, lm->block[0].q.weight);
    cr_assert(small_compress(az, lm, "quantize", "type=q8_0", NULL, NULL), "%s", az_error(az));
    az_weight u, v;
    cr_assert(az_weight_factors(lm->block[0].q.weight, &u, &v));
    cr_assert_str_eq(v.format->name, "q8_0");
    cr_assert_lt(matrix_difference(before, az_weight_decode(az, lm->block[0].q.weight)), 0.01);
    az_close(az);
}

/* ---- training ---- */

static bool has_suffix(const char *name, const char *suffix)
{
    const size_t n = strlen(name), m = strlen(suffix);
    return n >= m && strcmp(name + n - m, suffix) == 0;
}

Test(welore, the_gradient_of_the_loss_reaches_the_factors)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = uneven_lm(az);
    cr_assert(small_compress(az, lm, "welore", "reduction=0.3", NULL, NULL), "%s", az_error(az));
    cr_assert(az_lm_make_trainable(az, lm, AZ_F64));
    az_lm_parameter *all;
    int n = az_lm_parameters(az, lm, &all), factors = 0;
    for (int i = 0; i < n; i++)
        if (has_suffix(all[i].name, ".u") || has_suffix(all[i].name, ".v")) all[factors++] = all[i];
    cr_assert(factors >= 8);
    const az_lm_sequences *text = az_lm_sample_sequences(az, lm, small_stories(az, 50, 10), 2, 12, 0);
    const az_lm_objective objective = {.lm = lm, .lesson = az_lm_lesson_of(az, text, 0, 2), .scale = 1};
    az_tensor *gradient[64];
    cr_assert(az_lm_gradient(az, &objective, all, factors, gradient, NULL), "%s", az_error(az));
    for (int i = 0; i < factors; i++) {
        double *value = az_f64_mut(*all[i].slot) + 5, kept = *value, loss[2];
        for (int k = 0; k < 2; k++) {
            *value = kept + (k ? 1e-5 : -1e-5);
            loss[k] = az_to_double(az_lm_loss(az, lm, &objective.lesson, NULL));
        }
        *value = kept;
        cr_assert_float_eq(az_item(gradient[i], 5), (loss[1] - loss[0]) / 2e-5, 1e-5, "%s", all[i].name);
    }
    az_close(az);
}

Test(welore, training_only_the_factors_leaves_everything_else_bit_for_bit)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = uneven_lm(az);
    cr_assert(small_compress(az, lm, "welore", "reduction=0.3", NULL, NULL), "%s", az_error(az));
    cr_assert(small_compress(az, lm, "quantize", "type=q8_0", NULL, NULL), "%s", az_error(az));
    az_lm *before = az_lm_copy(az, lm);
    az_lm_train_settings settings;
    cr_assert(az_options_default(az, az_lm_train_options, &settings));
    settings.steps = 20, settings.batch = 4, settings.length = 32, settings.lr = 0.01, settings.only = "*.weight.u,*.weight.v";
    az_report *report = az_report_new(az, "training");
    const az_documents *text = small_stories(az, 0, 8);
    const double start = az_lm_score_documents(az, lm, text, NULL)->mean.value;
    cr_assert(az_lm_train(az, lm, text, &settings, report), "%s", az_error(az));
    cr_assert_lt(az_lm_score_documents(az, lm, text, NULL)->mean.value, start - 0.002);
    cr_assert_eq(lm->embedding, lm->head.weight);
    az_lm_linear **a, **b;
    const int n = az_lm_linears(az, lm, &a);
    az_lm_linears(az, before, &b);
    double factors = 0;
    for (int i = 0; i < n; i++) {
        const int64_t rank = az_weight_rank(a[i]->weight);
        factors += (double)(rank * (a[i]->weight->rows + a[i]->weight->cols));
        cr_assert_eq(a[i]->weight->part[0]->data == b[i]->weight->part[0]->data, rank == 0, "%s", a[i]->name);
        if (rank == 0)
            cr_assert_str_eq(a[i]->weight->format->name, a[i]->weight->cols % 32 ? "f16" : "q8_0");
        else
            cr_assert_gt(matrix_difference(az_weight_decode(az, a[i]->weight), az_weight_decode(az, b[i]->weight)), 0);
    }
    cr_assert_eq(az_report_value(report, "training", "trained"), factors);
    cr_assert_eq(matrix_difference(lm->block[0].attn_norm.weight, before->block[0].attn_norm.weight), 0);
    az_close(az);
}

Test(welore, a_choice_that_nothing_matches_is_refused)
{
    az_ctx *az = az_open(NULL);
    az_lm_parameter *list;
    cr_assert_eq(az_lm_choose_parameters(az, small_lm(az), AZ_F32, "*.weight.u", &list), 0);
    cr_assert_eq(az_status_of(az), AZ_BAD_INPUT);
    cr_assert_not_null(strstr(az_error(az), "*.weight.u"), "%s", az_error(az));
    az_close(az);
}

/* ---- bad input ---- */

Test(welore, what_cannot_be_done_is_refused)
{
    const struct {
        const char *options, *why;
    } wrong[] = {{"reduction=1", "reduction"}, {"type=q9", "q9"}, {"type=lowrank", "lowrank"}, {"ranks=uniform,threshold=0.1", "uniform"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        az_ctx *az = az_open(NULL);
        cr_assert_not(small_compress(az, small_lm(az), "welore", wrong[i].options, NULL, NULL));
        cr_assert_eq(az_status_of(az), AZ_BAD_INPUT);
        cr_assert_not_null(strstr(az_error(az), wrong[i].why), "%s", az_error(az));
        az_close(az);
    }
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az);
    az_f32_mut(lm->block[1].o.weight->part[0])[3] = NAN;
    cr_assert_not(small_compress(az, lm, "welore", "", NULL, NULL));
    cr_assert_eq(az_status_of(az), AZ_NUMERIC);
    cr_assert_not_null(strstr(az_error(az), "blocks.1.attn.o"), "%s", az_error(az));
    az_close(az);
}

Test(welore, pruned_matrices_are_factored_only_when_their_zeros_may_go)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = uneven_lm(az);
    cr_assert(small_compress(az, lm, "magnitude", "sparsity=0.5", NULL, NULL));
    az_lm *other = az_lm_copy(az, lm);
    cr_assert(small_compress(az, other, "welore", "reduction=0.5,zeros=lose", NULL, NULL), "%s", az_error(az));
    cr_assert_not(small_compress(az, lm, "welore", "reduction=0.5", NULL, NULL));
    cr_assert_not_null(strstr(az_error(az), "zero"), "%s", az_error(az));
    az_close(az);
}
