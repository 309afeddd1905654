/* Magnitude pruning on a whole model: what is dropped, what stays, what is refused. */
#include "support/small_lm.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

/* Numbers of zeros in each row: least and most. */
static void zeros_per_row(az_ctx *az, const az_weight *w, int64_t *least, int64_t *most)
{
    const az_tensor *dense = az_weight_decode(az, w);
    *least = w->cols, *most = 0;
    for (int64_t r = 0; r < w->rows; r++) {
        int64_t zeros = 0;
        for (int64_t c = 0; c < w->cols; c++) zeros += az_item(dense, r * w->cols + c) == 0;
        *least = zeros < *least ? zeros : *least;
        *most = zeros > *most ? zeros : *most;
    }
}

Test(magnitude, drops_the_smallest_of_each_layer_and_keeps_the_rest)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az), *pruned = az_lm_copy(az, lm);
    cr_assert(small_compress(az, pruned, "magnitude", "sparsity=0.7", NULL, NULL), "%s", az_error(az));
    az_lm_linear **before, **after;
    const int n = az_lm_linears(az, lm, &before);
    az_lm_linears(az, pruned, &after);
    for (int i = 0; i < n; i++) {
        const az_tensor *w = az_weight_decode(az, before[i]->weight), *p = az_weight_decode(az, after[i]->weight);
        double largest_dropped = 0, smallest_kept = INFINITY;
        int64_t dropped = 0;
        for (int64_t k = 0; k < az_count(w); k++) {
            if (az_item(p, k) == 0) {
                largest_dropped = fmax(largest_dropped, fabs(az_item(w, k)));
                dropped++;
            } else {
                smallest_kept = fmin(smallest_kept, fabs(az_item(w, k)));
                cr_assert_eq(az_item(p, k), az_item(w, k));
            }
        }
        cr_assert_leq(largest_dropped, smallest_kept);
        cr_assert_eq(dropped, (int64_t)floor(0.7 * (double)az_count(w)) + 1); /* the threshold itself goes too */
    }
    az_close(az);
}

Test(magnitude, values_that_are_not_finite_are_refused_by_every_pruning)
{
    static const char *const methods[] = {"magnitude", "wanda", "sparsegpt"};
    static const float values[] = {INFINITY, -INFINITY, NAN};
    for (int i = 0; i < 9; i++) {
        az_ctx *az = az_open(NULL);
        az_lm *lm = small_lm(az);
        const az_documents *text = strcmp(methods[i % 3], "magnitude") == 0 ? NULL : small_stories(az, 0, 4);
        az_f32_mut(lm->block[1].down.weight->part[0])[lm->block[1].down.weight->cols + 3] = values[i / 3];
        cr_assert_not(small_compress(az, lm, methods[i % 3], "", text, NULL));
        const char *says = text ? "" : "the weight at row 1, column 3 is"; /* the inputs may be told first */
        cr_assert_not_null(strstr(az_error(az), says), "%s: %s", methods[i % 3], az_error(az));
        az_close(az);
    }
}

Test(magnitude, by_row_every_row_loses_the_same_number)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az);
    cr_assert(small_compress(az, lm, "magnitude", "sparsity=0.3,scope=row", NULL, NULL), "%s", az_error(az));
    az_lm_linear **linear;
    const int n = az_lm_linears(az, lm, &linear);
    for (int i = 0; i < n; i++) {
        int64_t least, most;
        zeros_per_row(az, linear[i]->weight, &least, &most);
        cr_assert_eq(least, (int64_t)floor(0.3 * (double)linear[i]->weight->cols));
        cr_assert_eq(most, least);
    }
    az_close(az);
}

Test(magnitude, sparsity_0_changes_nothing_and_half_precision_stays)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az), *pruned = az_lm_copy(az, lm);
    cr_assert(small_compress(az, pruned, "magnitude", "sparsity=0", NULL, NULL), "%s", az_error(az));
    cr_assert_eq(small_difference(az, lm, pruned), 0);
    cr_assert(small_compress(az, lm, "quantize", "type=bf16", NULL, NULL), "%s", az_error(az));
    cr_assert(small_compress(az, lm, "magnitude", "pattern=2:4", NULL, NULL), "%s", az_error(az));
    cr_assert_str_eq(lm->block[0].q.weight->format->name, "bf16");
    cr_assert_eq(az_weight_sparsity(az, lm->block[0].q.weight), 0.5);
    az_close(az);
}

Test(magnitude, what_makes_no_sense_is_refused)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az);
    cr_assert_not(small_compress(az, lm, "magnitude", "sparsity=1", NULL, NULL));
    cr_assert_eq(az_status_of(az), AZ_BAD_INPUT);
    az_clear(az);
    cr_assert_not(small_compress(az, lm, "magnitude", "sparsity=-0.1", NULL, NULL));
    az_clear(az);
    cr_assert_not(small_compress(az, lm, "magnitude", "pattern=2:5", NULL, NULL));
    cr_assert_eq(az_status_of(az), AZ_BAD_INPUT);
    cr_assert_not_null(strstr(az_error(az), "blocks.0.attn.q has 32 inputs"), "%s", az_error(az));
    az_close(az);
}
