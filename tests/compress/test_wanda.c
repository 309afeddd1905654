/* Wanda: its score in closed form, and a whole model pruned by it. */
#include "compress/compress_internal.h"
#include "support/matrix.h"
#include "support/small_lm.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

/* With one-hot inputs |X_j|^2 counts how often feature j fires: the score is the magnitude scaled by column, and a feature that never fires
 * goes first. */
Test(wanda, one_hot_inputs_scale_the_magnitudes_by_column)
{
    enum { ROWS = 5, COLS = 8 };
    const double fired[COLS] = {4, 9, 0, 1, 16, 25, 4, 1};
    az_ctx *az = az_open(NULL);
    az_tensor *w = matrix_normal(az, AZ_F32, ROWS, COLS, 1), *score = az_wanda_scores(az, w, fired);
    for (int i = 0; i < ROWS * COLS; i++) cr_assert_float_eq(az_item(score, i), fabs(az_item(w, i)) * sqrt(fired[i % COLS]), 1e-6);
    const az_tensor *mask = az_mask_lowest(az, score, (az_mask_how){.share = 1.0 / COLS, .scope = AZ_PER_ROW});
    for (int i = 0; i < ROWS * COLS; i++) cr_assert_eq(az_item(mask, i) == 0, i % COLS == 2);
    az_close(az);
}

Test(wanda, every_row_of_every_layer_loses_its_share)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az), *pruned = az_lm_copy(az, lm);
    az_report *report = az_report_new(az, "wanda");
    cr_assert(small_compress(az, pruned, "wanda", "sparsity=0.6,nsamples=8,seqlen=32", small_stories(az, 50, 40), report), "%s",
              az_error(az));
    az_lm_linear **before, **after;
    const int n = az_lm_linears(az, lm, &before);
    az_lm_linears(az, pruned, &after);
    cr_assert_eq(n, 14);
    for (int i = 0; i < n; i++) {
        const int64_t rows = before[i]->weight->rows, cols = before[i]->weight->cols;
        const az_tensor *w = az_weight_decode(az, before[i]->weight), *p = az_weight_decode(az, after[i]->weight);
        for (int64_t r = 0; r < rows; r++) {
            int64_t zeros = 0;
            for (int64_t k = r * cols; k < (r + 1) * cols; k++) {
                zeros += az_item(p, k) == 0;
                cr_assert(az_item(p, k) == 0 || az_item(p, k) == az_item(w, k));
            }
            cr_assert_eq(zeros, (int64_t)floor(0.6 * (double)cols));
        }
    }
    const double error = az_report_value(report, "layers", "error");
    cr_assert(error > 0 && error < 0.6, "%g", error); /* of the last layer: less than the share of a random mask */
    az_close(az);
}

Test(wanda, patterns_hold_in_every_group_for_any_number_of_threads)
{
    az_tensor *kept[2];
    az_ctx *az[2];
    for (int i = 0; i < 2; i++) {
        az[i] = az_open(&(az_settings){.threads = i + 1});
        az_lm *lm = small_lm(az[i]);
        cr_assert(small_compress(az[i], lm, "wanda", "pattern=1:4,nsamples=6,no-error", small_stories(az[i], 50, 40), NULL), "%s",
                  az_error(az[i]));
        az_lm_linear **linear;
        const int n = az_lm_linears(az[i], lm, &linear);
        for (int k = 0; k < n; k++) {
            const az_tensor *p = az_weight_decode(az[i], linear[k]->weight);
            for (int64_t group = 0; group < az_count(p); group += 4) {
                int nonzero = 0;
                for (int64_t j = group; j < group + 4; j++) nonzero += az_item(p, j) != 0;
                cr_assert_eq(nonzero, 1);
            }
        }
        kept[i] = az_weight_decode(az[i], linear[n - 1]->weight);
    }
    cr_assert_eq(matrix_difference(kept[0], kept[1]), 0);
    az_close(az[0]);
    az_close(az[1]);
}

Test(wanda, without_calibration_text_it_fails)
{
    az_ctx *az = az_open(NULL);
    cr_assert_not(small_compress(az, small_lm(az), "wanda", "", NULL, NULL));
    cr_assert_eq(az_status_of(az), AZ_BAD_INPUT);
    cr_assert_not_null(strstr(az_error(az), "calibration"), "%s", az_error(az));
    az_close(az);
}
