/* Whole-number products with steps known beforehand: against their definition, zero points, shifts, files that do not fit. */
#include "weight/int8_static.h"

#include "support/matrix.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

enum { ROWS = 37, COLS = 83, VECTORS = 19 };

/* Random codes, zeros, steps and shifts. */
static az_int8_codes random_codes(az_ctx *az, int bits, bool by_channel)
{
    const int half = 1 << (bits - 1);
    az_rng rng = az_rng_at(4, (uint64_t)bits);
    az_int8_codes c = {.codes = az_new2(az, AZ_I8, ROWS, COLS),
                       .scales = az_new1(az, AZ_F32, ROWS),
                       .zeros = az_new1(az, AZ_I32, ROWS),
                       .weight_bits = bits,
                       .activation_bits = bits};
    for (int i = 0; i < ROWS * COLS; i++) ((int8_t *)c.codes->data)[i] = (int8_t)((int)az_below(&rng, (uint64_t)(2 * half)) - half);
    for (int r = 0; r < ROWS; r++) {
        az_f32_mut(c.scales)[r] = (float)(0.01 + az_uniform(&rng));
        ((int32_t *)c.zeros->data)[r] = (int32_t)az_below(&rng, (uint64_t)(2 * half)) - half;
    }
    if (!by_channel) return c;
    c.channels = az_new2(az, AZ_F32, 2, COLS);
    for (int k = 0; k < COLS; k++) {
        az_f32_mut(c.channels)[k] = (float)(0.02 + az_uniform(&rng));
        az_f32_mut(c.channels)[COLS + k] = (float)(20 * az_normal(&rng));
    }
    return c;
}

/* What x becomes, by the definition, in double. */
static double rounded(const az_int8_codes *c, const float *x, int k)
{
    const int most = (1 << (c->activation_bits - 1)) - 1, least = c->activation_bits == 8 ? -most : -most - 1;
    if (c->channels) {
        const float step = az_f32(c->channels)[k], shift = az_f32(c->channels)[COLS + k];
        const float q = rintf((x[k] - shift) / step);
        return (double)step * (q > (float)most ? most : q < (float)least ? least : q) + shift;
    }
    float largest = 0;
    for (int i = 0; i < COLS; i++) largest = fmaxf(largest, fabsf(x[i]));
    const float step = largest / (float)most;
    return (double)step * rintf(x[k] / step);
}

Test(int8_static, products_are_those_of_rounded_operands)
{
    az_ctx *az = az_open(NULL);
    for (int bits = 2; bits <= 8; bits++)
        for (int by_channel = 0; by_channel < 2; by_channel++) {
            const az_int8_codes c = random_codes(az, bits, by_channel);
            const az_weight *w = az_weight_int8_static(az, &c);
            cr_assert_not_null(w, "%s", az_error(az));
            const az_tensor *x = az_affine(az, az_cast(az, matrix_normal(az, AZ_F64, VECTORS, COLS, 2), AZ_F32), 20, 0);
            const az_tensor *y = az_weight_apply(az, w, x), *dense = az_weight_decode(az, w);
            cr_assert_not_null(y, "%s", az_error(az));
            for (int j = 0; j < VECTORS; j++)
                for (int r = 0; r < ROWS; r++) {
                    double want = 0, size = 0;
                    for (int k = 0; k < COLS; k++) {
                        const double term = rounded(&c, az_f32(x) + j * COLS, k) * az_f32(dense)[r * COLS + k];
                        want += term, size += fabs(term);
                    }
                    cr_assert_float_eq(az_item(y, j * ROWS + r), want, 1e-5 * size, "%d bits, row %d", bits, r);
                }
        }
    az_close(az);
}

Test(int8_static, what_lies_on_the_grid_is_exact)
{
    az_ctx *az = az_open(NULL);
    az_int8_codes c = random_codes(az, 8, true);
    for (int k = 0; k < COLS; k++) az_f32_mut(c.channels)[k] = 0.25f, az_f32_mut(c.channels)[COLS + k] = (float)(k % 7);
    for (int r = 0; r < ROWS; r++) az_f32_mut(c.scales)[r] = 0.125f;
    const az_weight *w = az_weight_int8_static(az, &c);
    az_tensor *x = az_new2(az, AZ_F32, 1, COLS);
    for (int k = 0; k < COLS; k++) az_f32_mut(x)[k] = 0.25f * (float)(k * 37 % 255 - 127) + (float)(k % 7);
    cr_assert_eq(matrix_difference(az_weight_apply(az, w, x),
                                   az_matmul_nt(az, az_cast(az, x, AZ_F64), az_cast(az, az_weight_decode(az, w), AZ_F64))),
                 0);
    az_close(az);
}

Test(int8_static, values_beyond_the_range_are_its_ends)
{
    static const float x[] = {1000, -1000, 3.5f, -3.5f, 0.5f, 1.5f}, step[] = {1, 1, 1, 1, 1, 1}, shift[6] = {0};
    int8_t q[6];
    az_static_round(x, 6, step, shift, 8, q);
    cr_assert_arr_eq(q, ((int8_t[]){127, -127, 4, -4, 0, 2}), 6);
    az_static_round(x, 6, step, shift, 6, q);
    cr_assert_arr_eq(q, ((int8_t[]){31, -32, 4, -4, 0, 2}), 6);
}

/* The norm that gives (x - z) / s at once, against a division behind the norm: they differ where a value lies between two steps. */
Test(int8_static, a_norm_with_folded_steps_gives_the_same_numbers)
{
    enum { N = 200 };
    az_ctx *az = az_open(NULL);
    const az_tensor *x = az_cast(az, matrix_normal(az, AZ_F64, N, COLS, 5), AZ_F32);
    az_tensor *gamma = az_new1(az, AZ_F32, COLS), *folded = az_new1(az, AZ_F32, COLS), *bias = az_new1(az, AZ_F32, COLS);
    float step[COLS], shift[COLS];
    const float one[COLS], none[COLS] = {0};
    az_rng rng = az_rng_at(3, 3);
    for (int c = 0; c < COLS; c++) {
        az_f32_mut(gamma)[c] = (float)(1 + az_uniform(&rng));
        step[c] = (float)(0.02 + 0.1 * az_uniform(&rng)), shift[c] = (float)az_normal(&rng);
        az_f32_mut(folded)[c] = az_f32(gamma)[c] / step[c], az_f32_mut(bias)[c] = -shift[c] / step[c];
        ((float *)(uintptr_t)one)[c] = 1;
    }
    const az_tensor *plain = az_rms_norm(az, x, gamma, 1e-5), *direct = az_add(az, az_rms_norm(az, x, folded, 1e-5), bias);
    int differ = 0;
    for (int j = 0; j < N; j++) {
        int8_t a[COLS], b[COLS];
        az_static_round(az_f32(plain) + j * COLS, COLS, step, shift, 8, a);
        az_static_round(az_f32(direct) + j * COLS, COLS, one, none, 8, b);
        for (int c = 0; c < COLS; c++) {
            cr_assert_leq(abs(a[c] - b[c]), 1);
            differ += a[c] != b[c];
        }
    }
    cr_assert_leq(differ, N * COLS / 1000);
    az_close(az);
}

Test(int8_static, outputs_may_be_rounded_too)
{
    az_ctx *az = az_open(NULL);
    az_int8_codes c = random_codes(az, 8, true);
    const az_tensor *x = az_cast(az, matrix_normal(az, AZ_F64, 3, COLS, 2), AZ_F32);
    const az_tensor *plain = az_weight_apply(az, az_weight_int8_static(az, &c), x);
    c.output_bits = 4;
    const az_tensor *y = az_weight_apply(az, az_weight_int8_static(az, &c), x);
    for (int j = 0; j < 3; j++) {
        double most = 0;
        for (int r = 0; r < ROWS; r++) most = fmax(most, fabs(az_item(plain, j * ROWS + r)));
        for (int r = 0; r < ROWS; r++) {
            const double steps = az_item(y, j * ROWS + r) / (most / 7);
            cr_assert_float_eq(steps, rint(steps), 1e-4);
            cr_assert_leq(fabs(az_item(y, j * ROWS + r) - az_item(plain, j * ROWS + r)), 0.5001 * most / 7);
        }
    }
    az_close(az);
}

Test(int8_static, parts_that_do_not_fit_are_refused)
{
    az_ctx *az = az_open(NULL);
    for (int way = 0; way < 8; way++) {
        const az_int8_codes c = random_codes(az, 4, true);
        const az_weight *w = az_weight_int8_static(az, &c);
        az_tensor *part[AZ_WEIGHT_PARTS];
        for (int i = 0; i < AZ_WEIGHT_PARTS; i++) part[i] = az_copy(az, w->part[i]);
        switch (way) {
        case 0: part[0] = az_new2(az, AZ_I8, ROWS, COLS - 1); break;
        case 1: ((int8_t *)part[0]->data)[5] = 9; break;
        case 2: az_f32_mut(part[1])[3] = NAN; break;
        case 3: ((int32_t *)part[2]->data)[2] = 8; break;
        case 4: az_f32_mut(part[3])[1] = 0; break;
        case 5: az_f32_mut(part[3])[COLS + 1] = INFINITY; break;
        case 6: az_f32_mut(part[4])[0] = NAN; break;
        default: ((int32_t *)part[5]->data)[1] = 9; break;
        }
        cr_assert_null(az_weight_from_parts(az, w->format, ROWS, COLS, part), "%d", way);
        cr_assert_eq(az_status_of(az), AZ_BAD_INPUT, "%d", way);
        az_clear(az);
    }
    const az_int8_codes c = random_codes(az, 8, true);
    az_tensor *x = az_zeros(az, AZ_F32, 2, (const int64_t[]){2, COLS});
    az_f32_mut(x)[COLS + 3] = NAN;
    cr_assert_null(az_weight_apply(az, az_weight_int8_static(az, &c), x));
    cr_assert_eq(az_status_of(az), AZ_NUMERIC);
    az_close(az);
}
