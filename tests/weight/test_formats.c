/* Formats: layouts against published vectors and another program's encoders, error bounds, round trips, refusals. */
#include "adze/weight.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

/* The pseudo-random values that the checksums below were made from: exact in f32, magnitudes from 8 down to 2^-8 by blocks of 32. */
static void fill(float *x, int n)
{
    uint32_t state = 12345;
    for (int i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = ldexpf((float)((int32_t)(state >> 8) - (1 << 23)), -20 - i / 32 % 12);
    }
}

static az_tensor *matrix(az_ctx *az, int64_t rows, int64_t cols)
{
    az_tensor *x = az_new2(az, AZ_F32, rows, cols);
    fill(az_f32_mut(x), (int)(rows * cols));
    return x;
}

static az_weight *encoded(az_ctx *az, az_tensor *dense, const char *format)
{
    return az_weight_encode(az, az_weight_dense(az, dense), az_format_by_name(format), NULL);
}

/* FNV-1a */
static uint64_t checksum(const az_weight *w)
{
    const unsigned char *bytes = w->part[0]->data;
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0, n = az_weight_bytes(w); i < n; i++) hash = (hash ^ bytes[i]) * 0x100000001b3u;
    return hash;
}

/* The checksums are those of quantize_row_q8_0_ref, quantize_row_q4_0_ref, ggml_fp32_to_fp16_row and ggml_fp32_to_bf16_row_ref of
 * llama.cpp's libggml-base on the 8192 values of fill(). */
Test(formats, encoders_agree_with_llama_cpp_bit_for_bit)
{
    az_ctx *az = az_open(NULL);
    az_tensor *x = matrix(az, 16, 512);
    cr_assert_eq(checksum(encoded(az, x, "q8_0")), 0xc982839129ac25efu);
    cr_assert_eq(checksum(encoded(az, x, "q4_0")), 0x3a18db241d005df5u);
    cr_assert_eq(checksum(encoded(az, x, "f16")), 0x346310cb1a0ba33cu);
    cr_assert_eq(checksum(encoded(az, x, "bf16")), 0xba90e36ac35e4c2cu);
    static const unsigned char q4_0[18] = {230, 187, 175, 31, 167, 22, 1, 94, 152, 135, 182, 147, 95, 228, 240, 47, 181, 249};
    cr_assert_arr_eq(encoded(az, x, "q4_0")->part[0]->data, q4_0, sizeof q4_0);
    cr_assert(az_ok(az));
    az_close(az);
}

/* One block with scale d and payload bytes 37 i + 11 (mod 256). */
static const float *decoded_block(az_ctx *az, const char *name, double d, int payload)
{
    unsigned char block[64];
    const uint16_t scale = az_float_to_half((float)d);
    memcpy(block, &scale, 2);
    for (int i = 0; i < payload; i++) block[2 + i] = (unsigned char)(37 * i + 11);
    az_tensor *part = az_from(az, AZ_U8, 2, (const int64_t[]){1, payload + 2}, block);
    return az_f32(az_weight_decode(az, az_weight_from_parts(az, az_format_by_name(name), 1, 32, &part)));
}

static double sum(const float *x, int n)
{
    double total = 0;
    for (int i = 0; i < n; i++) total += (double)x[i];
    return total;
}

Test(formats, blocks_decode_to_the_published_values)
{
    az_ctx *az = az_open(NULL);
    const float *q4 = decoded_block(az, "q4_0", 0.5, 16), q4_start[] = {1.5f, -4, -1.5f, 1};
    cr_assert_arr_eq(q4, q4_start, sizeof q4_start);
    cr_assert_eq(sum(q4, 32), -15.5);
    const float *q8 = decoded_block(az, "q8_0", 0.25, 32), q8_start[] = {2.75f, 12, 21.25f, 30.5f};
    cr_assert_arr_eq(q8, q8_start, sizeof q8_start);
    cr_assert_eq(sum(q8, 32), 4);
    az_close(az);
}

/* Of each block, in units of its step d = (largest magnitude) / levels, plus the error that rounding d to f16 brings to the largest value:
 * 2^-11 of it for a normal f16, levels 2^-25 for a subnormal one. */
static void check_error(az_ctx *az, const char *format, float levels, float steps)
{
    az_tensor *dense = matrix(az, 8, 256);
    const float *x = az_f32(dense), *y = az_f32(az_weight_decode(az, encoded(az, dense, format)));
    for (int b = 0; b < 8 * 256; b += 32) {
        float largest = 0;
        for (int j = b; j < b + 32; j++) largest = fmaxf(largest, fabsf(x[j]));
        const float bound = largest * (steps / levels + 0x1p-11f) + levels * 0x1p-25f;
        for (int j = b; j < b + 32; j++)
            cr_assert_leq(fabsf(x[j] - y[j]), bound, "%s at %d: %g became %g", format, j, (double)x[j], (double)y[j]);
    }
}

Test(formats, encoding_errors_stay_within_their_steps)
{
    az_ctx *az = az_open(NULL);
    check_error(az, "q8_0", 127, 0.5f);
    check_error(az, "q4_0", 8, 1); /* levels reach from -8 to 7 steps: opposite to the extreme value a whole step is cut off */
    const float *x = az_f32(matrix(az, 8, 256));
    const float *f16 = az_f32(az_weight_decode(az, encoded(az, matrix(az, 8, 256), "f16")));
    const float *bf16 = az_f32(az_weight_decode(az, encoded(az, matrix(az, 8, 256), "bf16")));
    for (int i = 0; i < 8 * 256; i++) {
        cr_assert_leq(fabsf(f16[i] - x[i]), fabsf(x[i]) * 0x1p-11f + 0x1p-25f);
        cr_assert_leq(fabsf(bf16[i] - x[i]), fabsf(x[i]) * 0x1p-8f);
    }
    az_close(az);
}

Test(formats, encoding_what_was_decoded_changes_nothing)
{
    az_ctx *az = az_open(NULL);
    for (const az_format *const *f = az_formats(); *f; f++) {
        const bool searched = (*f)->block > 1 && strcmp((*f)->name, "q8_0") != 0 && strcmp((*f)->name, "q4_0") != 0;
        if (searched || (*f)->ggml_type < 0) continue; /* adze's own have tests of their own */
        az_weight *once = encoded(az, matrix(az, 5, 128), (*f)->name);
        az_weight *twice = encoded(az, az_weight_decode(az, once), (*f)->name);
        cr_assert(az_ok(az), "%s", az_error(az));
        cr_assert_eq(az_weight_bytes(once), az_weight_bytes(twice));
        cr_assert_arr_eq(once->part[0]->data, twice->part[0]->data, az_weight_bytes(once), "%s", (*f)->name);
    }
    az_close(az);
}

Test(formats, f32_and_f64_keep_every_bit)
{
    az_ctx *az = az_open(NULL);
    az_tensor *x = matrix(az, 7, 33);
    for (int i = 0; i < 2; i++) {
        const float *y = az_f32(az_weight_decode(az, encoded(az, x, i ? "f64" : "f32")));
        cr_assert_neq(y, az_f32(x));
        cr_assert_arr_eq(y, az_f32(x), 7 * 33 * sizeof(float));
    }
    az_close(az);
}

/* Weighted squared error of a q4_0 copy. */
static double weighted_error(az_ctx *az, az_tensor *dense, const float *importance, bool told)
{
    az_weight *w = az_weight_encode(az, az_weight_dense(az, dense), az_format_by_name("q4_0"), told ? importance : NULL);
    const float *x = az_f32(dense), *y = az_f32(az_weight_decode(az, w));
    double error = 0;
    for (int64_t i = 0; i < az_count(dense); i++) error += (double)importance[i % dense->shape[1]] * pow((double)(x[i] - y[i]), 2);
    return error;
}

Test(formats, importance_lowers_the_weighted_error_of_q4_0)
{
    az_ctx *az = az_open(NULL);
    az_tensor *x = az_randn(az, AZ_F32, 2, (const int64_t[]){32, 256}, 1, 7, az_stream("weight", 0));
    float importance[256];
    for (int j = 0; j < 256; j++) importance[j] = j % 5 ? 0.1f : 4;
    cr_assert_lt(weighted_error(az, x, importance, true), 0.9 * weighted_error(az, x, importance, false));
    az_close(az);
}

Test(formats, every_half_survives_the_round_trip)
{
    for (uint32_t h = 0; h <= 0xffff; h++) {
        const bool nan16 = (h & 0x7fff) > 0x7c00, nan_bf = (h & 0x7fff) > 0x7f80;
        cr_assert_eq(az_float_to_half(az_half_to_float((uint16_t)h)), nan16 ? h | 0x200 : h);
        cr_assert_eq(az_float_to_bfloat(az_bfloat_to_float((uint16_t)h)), nan_bf ? h | 0x40 : h);
    }
    cr_assert_eq(az_half_to_float(0x3555), 0.333251953125f);
    cr_assert_eq(az_half_to_float(0x0001), 0x1p-24f);
    cr_assert_eq(az_float_to_half(1 + 0x1p-11f), 0x3c00, "a tie goes to the even neighbour");
    cr_assert_eq(az_float_to_half(1 + 3 * 0x1p-11f), 0x3c02);
    cr_assert_eq(az_float_to_bfloat(1 + 0x1p-8f), 0x3f80);
    cr_assert_eq(az_float_to_bfloat(1 + 3 * 0x1p-8f), 0x3f82);
}

Test(formats, blocks_refuse_rows_that_they_do_not_divide)
{
    az_ctx *az = az_open(NULL);
    cr_assert_null(encoded(az, matrix(az, 4, 48), "q8_0"));
    cr_assert_eq(az_status_of(az), AZ_BAD_INPUT);
    cr_assert_not_null(strstr(az_error(az), "[4, 48]"), "%s", az_error(az));
    cr_assert_not_null(strstr(az_error(az), "divisible by 32"), "%s", az_error(az));
    az_close(az);
}

static void refused(az_ctx *az, const az_weight *w, const char *why)
{
    cr_assert_null(w);
    cr_assert_not_null(strstr(az_error(az), why), "%s", az_error(az));
    az_clear(az);
}

Test(formats, parts_of_the_wrong_kind_are_refused)
{
    az_ctx *az = az_open(NULL);
    const az_format *q8 = az_format_by_name("q8_0");
    az_tensor *narrow = az_new2(az, AZ_U8, 4, 33), *floats = az_new2(az, AZ_F32, 4, 34), *none = NULL;
    refused(az, az_weight_from_parts(az, q8, 4, 32, &narrow), "[4, 34]");
    refused(az, az_weight_from_parts(az, q8, 4, 32, &floats), "f32");
    refused(az, az_weight_from_parts(az, q8, 4, 32, &none), "missing");
    refused(az, az_weight_from_parts(az, q8, 0, 32, &narrow), "empty");
    refused(az, az_weight_dense(az, az_new1(az, AZ_F32, 4)), "matrix");
    refused(az, az_weight_dense(az, az_new2(az, AZ_I32, 4, 4)), "i32");
    az_tensor *view = az_share(az, floats);
    view->shape[1] = 20; /* rows with gaps */
    refused(az, az_weight_dense(az, view), "gaps");
    az_close(az);
}

Test(formats, values_out_of_range_are_refused)
{
    az_ctx *az = az_open(NULL);
    az_tensor *x = matrix(az, 2, 64);
    az_f32_mut(x)[70] = 1e6f;
    refused(az, encoded(az, x, "f16"), "row 1, column 6");
    refused(az, encoded(az, x, "q4_0"), "row 1");
    cr_assert_not_null(encoded(az, x, "q8_0"));
    az_f32_mut(x)[70] = NAN;
    refused(az, encoded(az, x, "q8_0"), "row 1, column 6");
    az_close(az);
}

Test(formats, tiny_and_zero_blocks_decode_to_zero)
{
    az_ctx *az = az_open(NULL);
    az_tensor *x = az_zeros(az, AZ_F32, 2, (const int64_t[]){1, 64});
    az_f32_mut(x)[40] = 1e-40f;
    for (int i = 0; i < 2; i++) {
        az_weight *w = encoded(az, x, i ? "q8_0" : "q4_0");
        cr_assert(az_ok(az), "%s", az_error(az));
        cr_assert_eq(az_weight_sparsity(az, w), 1);
    }
    az_close(az);
}

Test(formats, exact_zeros_stay_where_a_format_says_so)
{
    az_ctx *az = az_open(NULL);
    az_tensor *x = matrix(az, 4, 512);
    for (int64_t i = 0; i < az_count(x); i++)
        if (i % 3) az_f32_mut(x)[i] = 0;
    for (const az_format *const *f = az_formats(); *f; f++) {
        if (!az_format_encodes(*f)) continue;
        const az_tensor *mask = az_mask_of(az, az_weight_encode(az, az_weight_dense(az, x), *f, NULL));
        cr_assert_not_null(mask, "%s: %s", (*f)->name, az_error(az));
        bool kept = true;
        for (int64_t i = 0; i < az_count(x); i++) kept = kept && (i % 3 == 0 || az_item(mask, i) == 0);
        cr_assert_eq(kept, (*f)->keeps_zeros, "%s", (*f)->name);
    }
    az_close(az);
}

Test(formats, names_and_numbers_find_each_other)
{
    for (const az_format *const *f = az_formats(); *f; f++) {
        cr_assert_eq(az_format_by_name((*f)->name), *f);
        if ((*f)->ggml_type >= 0) cr_assert_eq(az_format_by_ggml((*f)->ggml_type), *f);
    }
    cr_assert_eq(az_format_by_ggml(8), az_format_by_name("q8_0"));
    cr_assert_null(az_format_by_name("q9"));
    cr_assert_null(az_format_by_name(NULL));
    cr_assert_null(az_format_by_ggml(-1));
}

Test(formats, some_rows_are_a_weight_of_their_own)
{
    az_ctx *az = az_open(NULL);
    az_tensor *x = matrix(az, 20, 256);
    for (int i = 0; i < 20 * 256; i++) az_f32_mut(x)[i] = i % 4 < 2 ? az_f32(x)[i] : 0;
    for (const az_format *const *f = az_formats(); *f; f++) {
        if (!az_format_encodes(*f)) continue;
        az_weight *whole = encoded(az, x, (*f)->name), *some = az_weight_rows(az, whole, 9, 10);
        cr_assert(some && some->rows == 10, "%s: %s", (*f)->name, az_error(az));
        cr_assert(some->format == ((*f)->block_bytes > 0 ? *f : az_format_by_name("f32")), "%s", (*f)->name);
        const az_tensor *expected = az_slice(az, az_weight_decode(az, whole), 0, 9, 10);
        cr_assert_arr_eq(az_f32(az_weight_decode(az, some)), az_f32(expected), 10 * 256 * sizeof(float), "%s", (*f)->name);
    }
    cr_assert_null(az_weight_rows(az, encoded(az, x, "f16"), 11, 10));
    cr_assert_not_null(strstr(az_error(az), "no rows 11 .. 20"), "%s", az_error(az));
    az_close(az);
}

Test(formats, sizes_sparsity_and_shares)
{
    az_ctx *az = az_open(NULL);
    az_tensor *x = matrix(az, 3, 64);
    for (int i = 0; i < 48; i++) az_f32_mut(x)[i] = 0;
    az_weight *w = az_weight_dense(az, x), *q = encoded(az, x, "q4_0");
    cr_assert_eq(az_weight_bytes(w), 3 * 64 * 4);
    cr_assert_eq(az_weight_bytes(q), 3 * 2 * 18);
    cr_assert_eq(az_weight_sparsity(az, w), 0.25);
    cr_assert(az_weight_is_dense(w) && az_weight_is_trainable(w));
    cr_assert(!az_weight_is_dense(q) && !az_weight_is_trainable(q));
    az_scope_push(az);
    az_weight *inner = encoded(az, x, "f16");
    cr_assert(az_weight_is_dense(inner) && !az_weight_is_trainable(inner));
    az_arena *arena = az_arena_new(az);
    az_arena_enter(az, arena);
    az_weight *kept = az_weight_share(az, inner);
    az_arena_leave(az);
    const void *data = inner->part[0]->data;
    az_scope_pop(az);
    cr_assert_eq(kept->part[0]->data, data);
    cr_assert_eq(az_half_to_float(((const uint16_t *)kept->part[0]->data)[0]), 0);
    cr_assert_eq(az_weight_sparsity(az, kept), 0.25);
    az_close(az);
}
