/* Quantization of whole models: which matrices change, into what, and how far they move. */
#include "support/matrix.h"
#include "support/small_lm.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

Test(quantize, encodes_the_blocks_and_leaves_the_embedding)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az), *small = az_lm_copy(az, lm);
    const az_weight *embedding = small->embedding;
    cr_assert(small_compress(az, small, "quantize", "type=q8_0", NULL, NULL), "%s", az_error(az));
    cr_assert_str_eq(small->block[1].attn_norm.weight ? small->block[1].q.weight->format->name : "", "q8_0");
    cr_assert_eq(small->embedding, embedding);
    const double largest =
        az_to_double(az_max(az, az_reshape(az, az_abs(az, az_weight_decode(az, lm->block[0].q.weight)), 1, (int64_t[]){-1}), 0, false));
    const double moved = matrix_difference(az_weight_decode(az, lm->block[0].q.weight), az_weight_decode(az, small->block[0].q.weight));
    cr_assert(moved > 0 && moved <= largest / 127 / 2 * 1.01, "%g of %g", moved, largest); /* half a step of the scale */
    az_close(az);
}

Test(quantize, rows_that_are_not_whole_blocks_become_f16)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az);
    cr_assert(small_compress(az, lm, "quantize", "type=q4_0", NULL, NULL), "%s", az_error(az));
    cr_assert_str_eq(lm->block[0].up.weight->format->name, "q4_0");
    cr_assert_str_eq(lm->block[0].down.weight->format->name, "f16"); /* 48 inputs */
    az_close(az);
}

Test(quantize, a_tied_head_follows_the_embedding)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az);
    az_report *report = az_report_new(az, "quantize");
    cr_assert(small_compress(az, lm, "quantize", "type=f16,embedding", NULL, report), "%s", az_error(az));
    cr_assert_str_eq(lm->embedding->format->name, "f16");
    cr_assert_eq(lm->head.weight, lm->embedding);
    az_close(az);
}

/* Remembers the squares of the first layer's inputs and ends the drive. */
static bool first_squares(az_ctx *az, az_lm_linear *linear, const az_lm_statistics *statistics, void *user)
{
    (void)az;
    memcpy(user, statistics->square, sizeof(double) * (size_t)linear->weight->cols);
    return false;
}

/* sum over all weights of square[j] (w_rj - w'_rj)^2 */
static double weighted_error(az_ctx *az, const az_weight *a, const az_weight *b, const double *square)
{
    const az_tensor *d = az_sub(az, az_weight_decode(az, a), az_weight_decode(az, b));
    double sum = 0;
    for (int64_t i = 0; i < az_count(d); i++) sum += square[i % a->cols] * az_item(d, i) * az_item(d, i);
    return sum;
}

Test(quantize, importance_lowers_the_error_that_it_weighs)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az), *plain = az_lm_copy(az, lm), *weighted = az_lm_copy(az, lm);
    for (int64_t j = 0; j < 32; j++) az_f32_mut(lm->block[0].attn_norm.weight)[j] = j % 8 ? 0.1f : 3; /* inputs of very different size */
    const az_documents *text = small_stories(az, 50, 40);
    double square[32] = {0};
    az_lm_calibrate(az, lm, az_lm_sample_sequences(az, lm, text, 16, 64, 0), 0, &(az_lm_visitor){.layer = first_squares, .user = square});
    cr_assert(small_compress(az, plain, "quantize", "type=q4_0", NULL, NULL), "%s", az_error(az));
    cr_assert(small_compress(az, weighted, "quantize", "type=q4_0,importance,nsamples=16", text, NULL), "%s", az_error(az));
    const az_weight *q = lm->block[0].q.weight;
    const double before = weighted_error(az, q, plain->block[0].q.weight, square),
                 after = weighted_error(az, q, weighted->block[0].q.weight, square);
    cr_assert(after < 0.9 * before, "%g against %g", after, before);
    az_close(az);
}

Test(quantize, unknown_formats_are_refused_with_the_list)
{
    az_ctx *az = az_open(NULL);
    cr_assert_not(small_compress(az, small_lm(az), "quantize", "type=q9_9", NULL, NULL));
    cr_assert_eq(az_status_of(az), AZ_BAD_INPUT);
    cr_assert_not_null(strstr(az_error(az), "q8_0"), "%s", az_error(az));
    az_close(az);
}
