/* 4-bit NormalFloat: the table, the layout, blocks across rows, what is refused. */
#include "adze/weight.h"
#include "weight/kernels/nf4.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

static az_weight *encoded(az_ctx *az, az_tensor *dense)
{
    return az_weight_encode(az, az_weight_dense(az, dense), az_format_by_name("nf4"), NULL);
}

/* The published levels, to the digits that are printed. */
static const double levels[16] = {-1,         -0.6961928, -0.52507305, -0.39491749, -0.28444138, -0.18477343, -0.09105004, 0,
                                  0.07958030, 0.16093020, 0.24611230,  0.33791524,  0.44070983,  0.56261700,  0.72295684,  1};

Test(nf4, levels_survive_and_are_packed_as_bitsandbytes_does)
{
    az_ctx *az = az_open(NULL);
    az_tensor *x = az_new2(az, AZ_F32, 1, 16);
    for (int i = 0; i < 16; i++) az_f32_mut(x)[i] = (float)(3 * levels[i]);
    az_weight *w = encoded(az, x);
    cr_assert(az_ok(az), "%s", az_error(az));
    static const unsigned char codes[8] = {0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef};
    cr_assert_arr_eq(w->part[0]->data, codes, 8);
    cr_assert_eq(az_item(w->part[1], 0), 3);
    const az_tensor *y = az_weight_decode(az, w);
    for (int i = 0; i < 16; i++) cr_assert_float_eq(az_item(y, i), 3 * levels[i], 1e-7);
    const az_tensor *again = az_weight_decode(az, encoded(az, az_weight_decode(az, w)));
    cr_assert_arr_eq(again->data, y->data, 16 * sizeof(float));
    az_close(az);
}

Test(nf4, each_value_goes_to_the_nearest_level_of_its_block)
{
    enum { ROWS = 7, COLS = 43, N = ROWS * COLS }; /* blocks go across rows; the last is short and its number of values odd */
    az_ctx *az = az_open(NULL);
    const az_tensor *x = az_randn(az, AZ_F32, 2, (const int64_t[]){ROWS, COLS}, 1, 5, 1);
    az_weight *w = encoded(az, (az_tensor *)x);
    cr_assert(az_ok(az), "%s", az_error(az));
    cr_assert_eq(az_count(w->part[0]), (N + 1) / 2);
    cr_assert_eq(az_count(w->part[1]), (N + 63) / 64);
    const az_tensor *y = az_weight_decode(az, w);
    for (int i = 0; i < N; i++) {
        double largest = 0, best = INFINITY;
        for (int j = i / 64 * 64; j < i / 64 * 64 + 64 && j < N; j++) largest = fmax(largest, fabs(az_item(x, j)));
        for (int l = 0; l < 16; l++) best = fmin(best, fabs(az_item(x, i) - largest * levels[l]));
        cr_assert_float_eq(fabs(az_item(x, i) - az_item(y, i)), best, 1e-6 * largest);
    }
    az_close(az);
}

Test(nf4, blocks_of_zeros_and_zeros_in_blocks_stay_zero)
{
    az_ctx *az = az_open(NULL);
    az_tensor *x = az_zeros(az, AZ_F32, 2, (const int64_t[]){2, 64});
    for (int i = 64; i < 128; i += 3) az_f32_mut(x)[i] = (float)i;
    az_weight *w = encoded(az, x);
    cr_assert_eq(az_item(w->part[1], 0), 0);
    cr_assert_eq(((const unsigned char *)w->part[0]->data)[0], 0x77);
    const az_tensor *y = az_weight_decode(az, w);
    for (int i = 0; i < 128; i++) cr_assert_eq(az_item(y, i) == 0, az_item(x, i) == 0);
    az_close(az);
}

Test(nf4, products_are_those_of_the_decoded_matrix)
{
    az_ctx *az = az_open(NULL);
    az_weight *w = encoded(az, az_randn(az, AZ_F32, 2, (const int64_t[]){40, 90}, 1, 5, 2));
    const az_tensor *x = az_randn(az, AZ_F32, 2, (const int64_t[]){3, 90}, 1, 5, 3);
    const az_tensor *y = az_weight_apply(az, w, x), *wanted = az_matmul_nt(az, x, az_weight_decode(az, w));
    for (int i = 0; i < 120; i++) cr_assert_float_eq(az_item(y, i), az_item(wanted, i), 1e-4);
    az_close(az);
}

/* What a kernel may be off by: half a step of the activations' bytes (1/254 of the largest of 32) times |w|, 1/4094 of a block's scale
 * times |x| for the levels, and rounding. */
static double bound(const float *w, const float *scale, const float *x, int64_t cols)
{
    double sum = 0;
    for (int64_t b = 0; b < cols; b += 32) {
        double largest = 0, magnitude = 0, inputs = 0;
        for (int64_t i = b; i < b + 32; i++) {
            largest = fmax(largest, fabs((double)x[i]));
            magnitude += fabs((double)w[i]), inputs += fabs((double)x[i]);
        }
        sum += 1.001 * (magnitude * largest / 254 + inputs * (double)scale[b / 64] / 4094);
    }
    return sum + 1e-5;
}

/* Rows of whole blocks, few vectors; each by itself gives the same bits as in company. */
Test(nf4, kernels_are_off_by_no_more_than_the_rounding)
{
    static const int64_t heights[] = {1, 6, 70};
    for (int h = 0; h < 3; h++)
        for (int64_t n = 1; n < 9; n += 2) {
            enum { COLS = 704 };
            az_ctx *az = az_open(NULL);
            const az_weight *w = encoded(az, az_randn(az, AZ_F32, 2, (const int64_t[]){heights[h], COLS}, 1, 5, 2));
            const az_tensor *x = az_randn(az, AZ_F32, 2, (const int64_t[]){n, COLS}, 1, 5, 3), *dense = az_weight_decode(az, w);
            const az_tensor *y = az_weight_apply(az, w, x), *wanted = az_matmul_nt(az, x, dense);
            for (int64_t j = 0; j < n; j++) {
                const az_tensor *alone = az_weight_apply(az, w, az_slice(az, x, 0, j, 1));
                cr_assert_arr_eq(alone->data, az_f32(y) + j * heights[h], (size_t)heights[h] * sizeof(float));
                for (int64_t r = 0; r < heights[h]; r++) {
                    const double off = az_item(y, j * heights[h] + r) - az_item(wanted, j * heights[h] + r);
                    const float *scale = az_f32(w->part[1]) + r * COLS / 64;
                    cr_assert_leq(fabs(off), bound(az_f32(dense) + r * COLS, scale, az_f32(x) + j * COLS, COLS), "%g", off);
                }
            }
            az_close(az);
        }
}

Test(nf4, all_sets_of_kernels_decode_alike)
{
    enum { BLOCKS = 8 };
    uint8_t code[BLOCKS * 32];
    float scale[BLOCKS], values[2][BLOCKS * 64];
    for (int i = 0; i < BLOCKS * 32; i++) code[i] = (uint8_t)i;
    for (int b = 0; b < BLOCKS; b++) scale[b] = 0.3f + (float)b;
    az_nf4_kernels_portable.widen(code, scale, BLOCKS, values[0]);
    az_nf4_kernels_here()->widen(code, scale, BLOCKS, values[1]);
    cr_assert_arr_eq(values[0], values[1], sizeof values[0]);
}

Test(nf4, refuses_values_and_parts_that_do_not_fit)
{
    az_ctx *az = az_open(NULL);
    az_tensor *x = az_zeros(az, AZ_F32, 2, (const int64_t[]){2, 5});
    az_f32_mut(x)[7] = NAN;
    cr_assert_null(encoded(az, x));
    cr_assert_not_null(strstr(az_error(az), "row 1, column 2"), "%s", az_error(az));
    az_clear(az);
    az_tensor *const parts[AZ_WEIGHT_PARTS] = {az_new1(az, AZ_U8, 4), az_new1(az, AZ_F32, 1)};
    cr_assert_null(az_weight_from_parts(az, az_format_by_name("nf4"), 2, 5, parts));
    cr_assert_eq(az_status_of(az), AZ_BAD_INPUT);
    az_close(az);
}
