/* SparseGPT: closed forms for a single layer, the published algorithm in numpy, and a whole model. */
#include "adze/linalg.h"
#include "compress/compress_internal.h"
#include "support/matrix.h"
#include "support/small_lm.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

/* With H = I nothing correlates: each block drops its smallest weights and the others stay. */
Test(sparsegpt, with_uncorrelated_inputs_it_is_magnitude_pruning_by_block)
{
    enum { ROWS = 6, COLS = 20, BLOCK = 8 };
    az_ctx *az = az_open(NULL);
    const az_tensor *w = matrix_normal(az, AZ_F32, ROWS, COLS, 1);
    const az_sparsegpt_settings how = {.sparsity = 0.4, .damp = 0.01, .blocksize = BLOCK};
    const az_tensor *pruned = az_sparsegpt_prune(az, w, az_identity(az, AZ_F64, COLS), &how);
    cr_assert_not_null(pruned, "%s", az_error(az));
    for (int first = 0; first < COLS; first += BLOCK) {
        const int64_t width = COLS - first < BLOCK ? COLS - first : BLOCK;
        const az_tensor *part = az_contiguous(az, az_slice(az, w, 1, first, width));
        const az_tensor *mask = az_mask_lowest(az, az_abs(az, part), (az_mask_how){.share = 0.4, .scope = AZ_PER_MATRIX});
        for (int64_t i = 0; i < ROWS * width; i++) {
            const double expected = az_item(mask, i) != 0 ? az_item(part, i) : 0;
            cr_assert_float_eq(az_item(pruned, i / width * COLS + first + i % width), expected, 1e-6);
        }
    }
    az_close(az);
}

/* One weight w_p of a single row goes: the others move by -w_p / [G]_pp G_p: with G the inverse Hessian of what is not yet fixed, the
 * inputs p, p + 1, ... (Hassibi & Stork 1993). */
static void check_closed_form(az_ctx *az, int64_t n, int64_t p)
{
    az_tensor *w = matrix_normal(az, AZ_F32, 1, n, 2), *h = matrix_spd(az, AZ_F64, n, 3);
    az_f32_mut(w)[p] = 0.01f; /* the least loss is that of dropping this one */
    const az_sparsegpt_settings how = {.sparsity = 0.5 / (double)n, .damp = 0, .blocksize = 128};
    const az_tensor *pruned = az_sparsegpt_prune(az, w, h, &how);
    cr_assert_not_null(pruned, "%s", az_error(az));
    const az_tensor *g = az_inverse(az, az_slice(az, az_slice(az, h, 0, p, n - p), 1, p, n - p));
    for (int64_t j = 0; j < n; j++) {
        const double move = j < p ? 0 : az_item(w, p) / az_item(g, 0) * az_item(g, j - p);
        cr_assert_float_eq(az_item(pruned, j), az_item(w, j) - move, 1e-6, "p = %d, j = %d", (int)p, (int)j);
    }
    cr_assert_eq(az_item(pruned, p), 0);
}

Test(sparsegpt, one_pruned_weight_follows_the_optimal_brain_surgeon)
{
    az_ctx *az = az_open(NULL);
    for (int64_t p = 0; p < 9; p++) check_closed_form(az, 9, p);
    az_close(az);
}

/* Inputs x_tj = sin(1 + 0.7 t + 1.3 j) + cos(0.37 t (j + 1)), weights w_rj = cos(1 + 2.1 r + 1.7 j). The expected matrices come from
 * algorithm 1 written in numpy with an explicit inverse, U = cholesky(inv(H)).T, blocks of 4 columns, damp 0.01. */
enum { NUMPY_ROWS = 3, NUMPY_COLS = 8, NUMPY_TOKENS = 24 };

static void check_against_numpy(az_pattern pattern, const double *expected)
{
    az_ctx *az = az_open(NULL);
    az_tensor *x = az_new2(az, AZ_F64, NUMPY_TOKENS, NUMPY_COLS), *w = az_new2(az, AZ_F32, NUMPY_ROWS, NUMPY_COLS);
    for (int t = 0; t < NUMPY_TOKENS; t++)
        for (int j = 0; j < NUMPY_COLS; j++) az_f64_mut(x)[t * NUMPY_COLS + j] = sin(1 + 0.7 * t + 1.3 * j) + cos(0.37 * t * (j + 1));
    for (int r = 0; r < NUMPY_ROWS; r++)
        for (int j = 0; j < NUMPY_COLS; j++) az_f32_mut(w)[r * NUMPY_COLS + j] = (float)cos(1 + 2.1 * r + 1.7 * j);
    const az_sparsegpt_settings how = {.sparsity = 0.5, .pattern = pattern, .damp = 0.01, .blocksize = 4};
    const az_tensor *pruned = az_sparsegpt_prune(az, w, az_matmul(az, az_transpose(az, x), x), &how);
    cr_assert_not_null(pruned, "%s", az_error(az));
    for (int i = 0; i < NUMPY_ROWS * NUMPY_COLS; i++)
        cr_assert_float_eq(az_item(pruned, i), expected[i], 2e-6, "%d: %g", i, az_item(pruned, i));
    az_close(az);
}

Test(sparsegpt, equals_the_published_algorithm_in_numpy)
{
    const double half[NUMPY_ROWS * NUMPY_COLS] = {0,
                                                  -0.739603479,
                                                  0,
                                                  0.909337783,
                                                  0,
                                                  0,
                                                  0,
                                                  0, //
                                                  -0.99913515,
                                                  0,
                                                  0.989221612,
                                                  0,
                                                  -0.999185258,
                                                  0,
                                                  1.077548387,
                                                  -1.14555278, //
                                                  0,
                                                  0.958342131,
                                                  0,
                                                  0,
                                                  1.061782927,
                                                  0,
                                                  -0.694815831,
                                                  0};
    const double two_of_four[NUMPY_ROWS * NUMPY_COLS] = {0,
                                                         -0.739603479,
                                                         0,
                                                         0.909337783,
                                                         0,
                                                         -0.77821357,
                                                         0,
                                                         0.614621182, //
                                                         -0.99913515,
                                                         0,
                                                         0.989221612,
                                                         0,
                                                         0,
                                                         0,
                                                         1.410075333,
                                                         -0.867209906, //
                                                         0,
                                                         0.958342131,
                                                         -0.81199261,
                                                         0,
                                                         0.809941434,
                                                         0,
                                                         -0.625386372,
                                                         0};
    check_against_numpy((az_pattern){0}, half);
    check_against_numpy((az_pattern){2, 4}, two_of_four);
}

/* Sharing an error among correlated inputs can only help: on average the output error falls below that of the same mask without updates. */
Test(sparsegpt, compensation_lowers_the_output_error)
{
    enum { ROWS = 40, COLS = 64, TOKENS = 200 };
    az_ctx *az = az_open(NULL);
    const az_tensor *mix = matrix_normal(az, AZ_F64, COLS, COLS, 1), *x = az_matmul(az, matrix_normal(az, AZ_F64, TOKENS, COLS, 2), mix);
    const az_tensor *gram = az_matmul(az, az_transpose(az, x), x), *w = matrix_normal(az, AZ_F32, ROWS, COLS, 3);
    const az_sparsegpt_settings how = {.sparsity = 0.5, .damp = 0.01, .blocksize = 16};
    const az_tensor *pruned = az_sparsegpt_prune(az, w, gram, &how);
    const az_tensor *masked = az_where(az, pruned, w, az_zeros(az, AZ_F32, 2, w->shape));
    double error[2];
    for (int i = 0; i < 2; i++) {
        const az_tensor *d = az_cast(az, az_sub(az, w, i ? masked : pruned), AZ_F64);
        error[i] = az_to_double(az_dot(az, az_matmul(az, d, gram), d));
    }
    cr_assert_lt(error[0], 0.6 * error[1], "%g against %g", error[0], error[1]);
    az_close(az);
}

Test(sparsegpt, dead_inputs_lose_their_weights_and_hopeless_hessians_are_told)
{
    az_ctx *az = az_open(NULL);
    az_tensor *w = matrix_normal(az, AZ_F32, 3, 4, 1), *h = az_identity(az, AZ_F64, 4);
    az_f64_mut(h)[5] = 0;
    const az_sparsegpt_settings how = {.sparsity = 0, .damp = 0.01, .blocksize = 128};
    const az_tensor *pruned = az_sparsegpt_prune(az, w, h, &how);
    for (int i = 0; i < 12; i++) cr_assert_eq(az_item(pruned, i), i % 4 == 1 ? 0 : az_item(w, i));
    const az_sparsegpt_settings undamped = {.sparsity = 0.5, .blocksize = 128};
    cr_assert_null(az_sparsegpt_prune(az, w, az_full(az, AZ_F64, 2, (int64_t[]){4, 4}, 1), &undamped));
    cr_assert_eq(az_status_of(az), AZ_NUMERIC);
    cr_assert_not_null(strstr(az_error(az), "larger damp"), "%s", az_error(az));
    az_close(az);
}

/* The matrix [70, 200] spans several chunks of rows and blocks of columns; 4:8 groups start afresh in each block. */
Test(sparsegpt, patterns_hold_and_threads_do_not_matter)
{
    az_ctx *az[2];
    const az_tensor *pruned[2][2];
    for (int i = 0; i < 2; i++) {
        az[i] = az_open(&(az_settings){.threads = i + 1});
        const az_tensor *w = matrix_normal(az[i], AZ_F32, 70, 200, 1), *gram = matrix_spd(az[i], AZ_F64, 200, 2);
        for (int pattern = 0; pattern < 2; pattern++) {
            const az_sparsegpt_settings how = {
                .sparsity = 0.6, .damp = 0.01, .blocksize = 60, .pattern = pattern ? (az_pattern){4, 8} : (az_pattern){0}};
            pruned[i][pattern] = az_sparsegpt_prune(az[i], w, gram, &how);
            cr_assert_not_null(pruned[i][pattern], "%s", az_error(az[i]));
        }
    }
    for (int64_t group = 0; group < 70 * 200; group += 8) {
        int nonzero = 0;
        for (int64_t j = group; j < group + 8; j++) nonzero += az_item(pruned[0][1], j) != 0;
        cr_assert_eq(nonzero, 4);
    }
    cr_assert_eq(matrix_difference(pruned[0][0], pruned[1][0]), 0);
    cr_assert_eq(matrix_difference(pruned[0][1], pruned[1][1]), 0);
    az_close(az[0]);
    az_close(az[1]);
}

Test(sparsegpt, prunes_a_whole_model_and_reports_every_layer)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az), *other = az_lm_copy(az, lm);
    const az_documents *text = small_stories(az, 50, 40);
    az_report *report = az_report_new(az, "sparsegpt"), *baseline = az_report_new(az, "wanda");
    cr_assert(small_compress(az, lm, "sparsegpt", "pattern=2:4,nsamples=16", text, report), "%s", az_error(az));
    cr_assert(small_compress(az, other, "wanda", "pattern=2:4,nsamples=16", text, baseline), "%s", az_error(az));
    az_lm_linear **linear;
    const int n = az_lm_linears(az, lm, &linear);
    for (int i = 0; i < n; i++) cr_assert_eq(az_weight_sparsity(az, linear[i]->weight), 0.5);
    cr_assert_eq(az_report_value(report, "layers", "sparsity"), 0.5);
    cr_assert_lt(az_report_value(report, "layers", "error"), az_report_value(baseline, "layers", "error"));
    az_close(az);
}

/* The drive once more, with every layer's factor computed for itself. */
static bool prune_afresh(az_ctx *az, az_lm_linear *linear, const az_lm_statistics *statistics, void *user)
{
    const az_sparsegpt_settings how = {.sparsity = 0.6, .damp = 0.01, .blocksize = 128};
    az_tensor *pruned = az_sparsegpt_prune(az, az_weight_decode(az, linear->weight), statistics->gram, &how);
    az_arena_enter(az, ((az_lm *)user)->arena);
    linear->weight = az_weight_dense(az, az_share(az, pruned));
    az_arena_leave(az);
    return az_ok(az);
}

Test(sparsegpt, layers_that_read_the_same_inputs_share_their_factor)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az), *afresh = az_lm_copy(az, lm);
    const az_documents *text = small_stories(az, 50, 40);
    cr_assert(small_compress(az, lm, "sparsegpt", "sparsity=0.6,nsamples=16,seqlen=64,no-error", text, NULL), "%s", az_error(az));
    cr_assert(az_lm_calibrate(az, afresh, az_lm_sample_sequences(az, afresh, text, 16, 64, 0), AZ_CALIBRATE_GRAM,
                              &(az_lm_visitor){.layer = prune_afresh, .user = afresh}));
    cr_assert_eq(small_difference(az, lm, afresh), 0);
    cr_assert_gt(az_weight_sparsity(az, lm->block[1].down.weight), 0.59);
    az_close(az);
}
