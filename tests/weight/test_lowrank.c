/* Low-rank weights: the product of factors in every format that a factor may have, its derivatives, and re-encoded factors. */
#include "adze/grad.h"
#include "adze/weight.h"
#include "support/layers.h"

#include <criterion/criterion.h>
#include <string.h>

enum { ROWS = 40, RANK = 32, COLS = 64 };

static az_tensor *normal(az_ctx *az, az_dtype type, int64_t rows, int64_t cols, uint64_t stream)
{
    return az_randn(az, type, 2, (const int64_t[]){rows, cols}, 1, 8, stream);
}

static az_weight *encoded(az_ctx *az, az_tensor *dense, const char *format)
{
    return az_weight_encode(az, az_weight_dense(az, dense), az_format_by_name(format), NULL);
}

static az_weight *lowrank(az_ctx *az, const char *u, const char *v)
{
    return az_weight_lowrank(az, encoded(az, normal(az, AZ_F32, ROWS, RANK, 1), u), encoded(az, normal(az, AZ_F32, RANK, COLS, 2), v));
}

/* The product of the decoded factors. */
static az_tensor *product(az_ctx *az, const az_weight *w)
{
    az_weight u, v;
    cr_assert(az_weight_factors(w, &u, &v));
    return az_matmul(az, az_weight_decode(az, &u), az_weight_decode(az, &v));
}

Test(lowrank, is_the_product_of_its_factors_in_any_format)
{
    static const char *const formats[][2] = {{"f32", "f32"}, {"f16", "bf16"}, {"q8_0", "q4_0"}, {"f64", "f64"}, {"f32", "q8_0"}};
    az_ctx *az = az_open(NULL);
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        const az_weight *w = lowrank(az, formats[i][0], formats[i][1]);
        cr_assert(az_ok(az), "%s", az_error(az));
        cr_assert_eq(az_weight_rank(w), RANK);
        const az_tensor *dense = product(az, w);
        cr_assert_lt(test_difference(az_weight_decode(az, w), dense), 1e-5);
        const az_dtype type = i == 3 ? AZ_F64 : AZ_F32;
        const az_tensor *x = normal(az, type, 3, COLS, 3), *g = normal(az, type, 3, ROWS, 4);
        const bool rounds = i == 2 || i == 4; /* activations of block formats are rounded to bytes */
        cr_assert_lt(test_difference(az_weight_apply(az, w, x), az_matmul_nt(az, x, az_cast(az, dense, type))), rounds ? 0.7 : 1e-4);
        cr_assert_lt(test_difference(az_weight_apply_t(az, w, g), az_matmul(az, g, az_cast(az, dense, type))), 1e-4);
    }
    az_close(az);
}

Test(lowrank, long_rows_and_high_ranks_decode_in_pieces)
{
    az_ctx *az = az_open(NULL);
    az_weight *u = az_weight_dense(az, normal(az, AZ_F32, 11, 1030, 1)), *v = az_weight_dense(az, normal(az, AZ_F32, 1030, 2050, 2));
    const az_weight *w = az_weight_lowrank(az, u, v);
    cr_assert_lt(test_difference(az_weight_decode(az, w), product(az, w)), 1e-3);
    az_close(az);
}

/* inputs: x, U, V */
static az_tensor *apply(az_ctx *az, az_tensor *const *inputs, int n, void *user)
{
    (void)n, (void)user;
    const az_weight *w = az_weight_lowrank(az, az_weight_dense(az, inputs[1]), az_weight_dense(az, inputs[2]));
    return az_weight_apply(az, w, inputs[0]);
}

static az_tensor *apply_t(az_ctx *az, az_tensor *const *inputs, int n, void *user)
{
    (void)n, (void)user;
    const az_weight *w = az_weight_lowrank(az, az_weight_dense(az, inputs[1]), az_weight_dense(az, inputs[2]));
    return az_weight_apply_t(az, w, inputs[0]);
}

Test(lowrank, gradients_reach_the_operand_and_both_factors)
{
    test_derivatives(&(test_layer){.f = apply, .n = 3, .input = {{2, {4, 6}}, {2, {5, 3}}, {2, {3, 6}}}});
    test_derivatives(&(test_layer){.f = apply_t, .n = 3, .input = {{2, {4, 5}}, {2, {5, 3}}, {2, {3, 6}}}});
}

Test(lowrank, factors_are_encoded_again_and_the_structure_stays)
{
    az_ctx *az = az_open(NULL);
    const az_weight *w = lowrank(az, "f32", "f32"), *small = az_weight_recode(az, w, az_format_by_name("q8_0"), NULL);
    cr_assert_str_eq(small->format->name, "lowrank");
    cr_assert_eq(az_weight_bytes(small), (ROWS * RANK + RANK * COLS) / 32 * 34 + 8);
    cr_assert_lt(test_difference(az_weight_decode(az, small), az_weight_decode(az, w)), 0.2);
    cr_assert_eq(az_weight_plain_parts(w), 2);
    cr_assert_eq(az_weight_plain_parts(small), 0);
    const az_weight *thin =
        az_weight_lowrank(az, az_weight_dense(az, normal(az, AZ_F32, ROWS, 5, 1)), az_weight_dense(az, normal(az, AZ_F32, 5, COLS, 2)));
    az_weight u, v;
    cr_assert(az_weight_factors(az_weight_recode(az, thin, az_format_by_name("q4_0"), NULL), &u, &v));
    cr_assert_str_eq(u.format->name, "f16"); /* rows of 5 are no whole blocks */
    cr_assert_str_eq(v.format->name, "q4_0");
    const az_weight *wide = az_weight_encode(az, w, az_format_by_name("f16"), NULL);
    cr_assert_str_eq(wide->format->name, "f16");
    az_close(az);
}

static void refused(az_ctx *az, int64_t rows, int64_t cols, az_tensor *const *parts, const char *why)
{
    cr_assert_null(az_weight_from_parts(az, az_format_by_name("lowrank"), rows, cols, parts));
    cr_assert_not_null(strstr(az_error(az), why), "'%s' does not say '%s'", az_error(az), why);
    az_clear(az);
}

Test(lowrank, parts_that_do_not_fit_are_refused)
{
    az_ctx *az = az_open(NULL);
    const az_weight *w = lowrank(az, "f32", "q8_0");
    az_tensor *const u = w->part[0], *const v = w->part[1], *const types = w->part[2];
    refused(az, ROWS + 1, COLS, (az_tensor *[AZ_WEIGHT_PARTS]){u, v, types}, "factor u");
    refused(az, ROWS, COLS + 32, (az_tensor *[AZ_WEIGHT_PARTS]){u, v, types}, "factor v");
    refused(az, ROWS, COLS, (az_tensor *[AZ_WEIGHT_PARTS]){u, v, az_from(az, AZ_I32, 1, (int64_t[]){2}, (int32_t[]){0, 999})}, "999");
    refused(az, ROWS, COLS, (az_tensor *[AZ_WEIGHT_PARTS]){u, v, az_from(az, AZ_I32, 1, (int64_t[]){2}, (int32_t[]){-1, 0})}, "-1");
    refused(az, ROWS, COLS, (az_tensor *[AZ_WEIGHT_PARTS]){u, v, az_new1(az, AZ_I32, 3)}, "i32 [2]");
    refused(az, ROWS, COLS, (az_tensor *[AZ_WEIGHT_PARTS]){u, az_new1(az, AZ_F32, 3), types}, "matrix");
    az_weight *narrow = encoded(az, normal(az, AZ_F32, RANK - 1, COLS, 2), "f32");
    cr_assert_null(az_weight_lowrank(az, encoded(az, u, "f32"), narrow));
    cr_assert_eq(az_status_of(az), AZ_BAD_CALL);
    az_close(az);
}
