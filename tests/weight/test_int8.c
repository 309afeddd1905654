/* Bytes for weights and activations: kernels against whole numbers, products against their definition, outlier columns, refusals. */
#include "weight/int8.h"

#include "adze/weight.h"
#include "support/matrix.h"
#include "weight/kernels/int8.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

enum { ROWS = 37, COLS = 83, VECTORS = 9 };

/* ---- kernels ---- */

static void expect_exact(const int8_t *w, int64_t rows, const int8_t *x, int64_t n, int64_t cols)
{
    az_int8_kernel *const kernels[] = {az_int8_portable, az_int8_here()};
    static int32_t sum[ROWS * VECTORS];
    for (int k = 0; k < 2; k++) {
        kernels[k](w, rows, x, n, cols, sum);
        for (int64_t j = 0; j < n; j++)
            for (int64_t r = 0; r < rows; r++) {
                int64_t want = 0;
                for (int64_t c = 0; c < cols; c++) want += (int64_t)w[r * cols + c] * x[j * cols + c];
                cr_assert_eq(sum[j * rows + r], want, "kernel %d, row %lld, vector %lld", k, (long long)r, (long long)j);
            }
    }
}

Test(int8, kernels_give_exact_sums_of_any_shape)
{
    static int8_t w[ROWS * 300], x[VECTORS * 300];
    az_rng rng = az_rng_at(1, 2);
    for (size_t i = 0; i < sizeof w; i++) w[i] = (int8_t)((int)az_below(&rng, 255) - 127);
    for (size_t i = 0; i < sizeof x; i++) x[i] = (int8_t)((int)az_below(&rng, 255) - 127);
    static const int64_t cols[] = {1, 31, 32, 33, 64, 83, 300};
    for (size_t c = 0; c < sizeof cols / sizeof *cols; c++)
        for (int64_t n = 1; n <= VECTORS; n++)
            for (int64_t rows = 1; rows <= ROWS; rows += 6) expect_exact(w, rows, x, n, cols[c]);
}

Test(int8, kernels_do_not_saturate_at_the_ends)
{
    static int8_t w[ROWS * 300], x[VECTORS * 300];
    for (int signs = 0; signs < 4; signs++) {
        memset(w, signs & 1 ? 127 : -128, sizeof w);
        memset(x, signs & 2 ? 127 : -127, sizeof x);
        expect_exact(w, ROWS, x, VECTORS, 300);
    }
}

/* ---- products ---- */

static az_tensor *normal(az_ctx *az, int64_t rows, int64_t cols, uint64_t seed)
{
    return az_cast(az, matrix_normal(az, AZ_F64, rows, cols, seed), AZ_F32);
}

static az_weight *bytes(az_ctx *az, az_tensor *dense, az_int8_settings settings)
{
    return az_weight_int8(az, az_weight_dense(az, dense), &settings);
}

static float most_of(const float *x, int64_t n)
{
    float most = 0;
    for (int64_t i = 0; i < n; i++) most = fmaxf(most, fabsf(x[i]));
    return most;
}

Test(int8, vectorwise_products_follow_the_definition)
{
    az_ctx *az = az_open(NULL);
    az_tensor *dense = normal(az, ROWS, COLS, 1);
    const az_tensor *x = normal(az, VECTORS, COLS, 2), *y = az_weight_apply(az, bytes(az, dense, (az_int8_settings){0}), x);
    cr_assert_not_null(y, "%s", az_error(az));
    for (int64_t j = 0; j < VECTORS; j++)
        for (int64_t r = 0; r < ROWS; r++) {
            const float *xs = az_f32(x) + j * COLS, *ws = az_f32(dense) + r * COLS;
            const float s = most_of(xs, COLS), c = most_of(ws, COLS);
            int64_t sum = 0;
            for (int64_t k = 0; k < COLS; k++) sum += (int64_t)(rintf(xs[k] * (127 / s)) * rintf(ws[k] * (127 / c)));
            const double want = (double)s * c / (127.0 * 127.0) * (double)sum;
            cr_assert_float_eq(az_item(y, j * ROWS + r), want, 1e-5 * (1 + fabs(want)));
        }
    az_close(az);
}

Test(int8, products_err_less_than_the_bound)
{
    static const az_int8_scheme schemes[] = {AZ_INT8_VECTORWISE, AZ_INT8_ROWWISE, AZ_INT8_ABSMAX, AZ_INT8_ZEROPOINT};
    az_ctx *az = az_open(NULL);
    az_tensor *dense = az_affine(az, normal(az, ROWS, COLS, 1), 1, 0.5);
    const az_tensor *x = az_affine(az, normal(az, VECTORS, COLS, 2), 1, -0.3), *exact = az_matmul_nt(az, x, dense);
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        const bool whole_x = schemes[i] >= AZ_INT8_ABSMAX, whole_w = schemes[i] >= AZ_INT8_ROWWISE;
        const az_tensor *y = az_weight_apply(az, bytes(az, dense, (az_int8_settings){.scheme = schemes[i]}), x);
        cr_assert_not_null(y, "%s", az_error(az));
        for (int64_t j = 0; j < VECTORS; j++)
            for (int64_t r = 0; r < ROWS; r++) {
                const float *xs = az_f32(x) + j * COLS, *ws = az_f32(dense) + r * COLS;
                const double s = whole_x ? most_of(az_f32(x), VECTORS * COLS) : most_of(xs, COLS);
                const double c = whole_w ? most_of(az_f32(dense), ROWS * COLS) : most_of(ws, COLS);
                double sx = 0, sw = 0;
                for (int64_t k = 0; k < COLS; k++) sx += fabsf(xs[k]), sw += fabsf(ws[k]);
                const double bound = s / 254 * sw + c / 254 * sx + COLS * s * c / (254.0 * 254.0) + 1e-4;
                cr_assert_leq(fabs(az_item(y, j * ROWS + r) - az_item(exact, j * ROWS + r)), bound);
            }
    }
    az_close(az);
}

static void expect_same(const az_tensor *a, const az_tensor *b, double scale)
{
    cr_assert(a && b);
    for (int64_t i = 0; i < az_count(a); i++) cr_assert_eq((float)az_item(a, i), (float)(scale * az_item(b, i)));
}

Test(int8, a_threshold_that_nothing_reaches_changes_nothing)
{
    az_ctx *az = az_open(NULL);
    az_tensor *dense = normal(az, ROWS, COLS, 1);
    const az_tensor *x = normal(az, VECTORS, COLS, 2), *plain = az_weight_apply(az, bytes(az, dense, (az_int8_settings){0}), x);
    for (int paper = 0; paper < 2; paper++) {
        const az_int8_settings high = {.threshold = 100, .paper = paper};
        expect_same(az_weight_apply(az, bytes(az, dense, high), x), plain, 1);
    }
    az_close(az);
}

Test(int8, powers_of_two_change_the_scales_alone)
{
    az_ctx *az = az_open(NULL);
    az_tensor *dense = normal(az, ROWS, COLS, 1);
    const az_tensor *x = normal(az, VECTORS, COLS, 2), *y = az_weight_apply(az, bytes(az, dense, (az_int8_settings){0}), x);
    expect_same(az_weight_apply(az, bytes(az, dense, (az_int8_settings){0}), az_affine(az, x, 0.25, 0)), y, 0.25);
    expect_same(az_weight_apply(az, bytes(az, az_affine(az, dense, 8, 0), (az_int8_settings){0}), x), y, 8);
    az_close(az);
}

Test(int8, outlier_columns_everywhere_give_the_product_in_half_precision)
{
    az_ctx *az = az_open(NULL);
    az_tensor *dense = normal(az, ROWS, COLS, 1);
    az_weight *half = az_weight_encode(az, az_weight_dense(az, dense), az_format_by_name("f16"), NULL);
    const az_tensor *x = normal(az, VECTORS, COLS, 2), *want = az_matmul_nt(az, x, az_weight_decode(az, half));
    int32_t column[COLS];
    for (int i = 0; i < COLS; i++) column[i] = i;
    const az_int8_settings settings[] = {{.fixed = true, .column = column, .listed = COLS},
                                         {.threshold = 1e-6, .column = column, .listed = COLS},
                                         {.threshold = 1e-6, .live = true},
                                         {.threshold = 1e-6, .live = true, .paper = true}};
    for (int i = 0; i < 4; i++) {
        const az_tensor *y = az_weight_apply(az, bytes(az, dense, settings[i]), x);
        cr_assert_not_null(y, "%s", az_error(az));
        cr_assert(matrix_difference(y, want) < 1e-4, "%d", i);
    }
    az_close(az);
}

static double relative_error(az_ctx *az, const az_tensor *y, const az_tensor *exact)
{
    return sqrt(az_to_double(az_sum(az, az_square(az, az_sub(az, y, exact)), AZ_ALL_AXES, false)) /
                az_to_double(az_sum(az, az_square(az, exact), AZ_ALL_AXES, false)));
}

Test(int8, decomposition_saves_the_precision_that_outliers_cost)
{
    enum { N = 64, WIDTH = 512, OUTLIERS = 6 };
    az_ctx *az = az_open(NULL);
    az_tensor *dense = normal(az, 128, WIDTH, 1), *x = normal(az, N, WIDTH, 2);
    int32_t column[OUTLIERS];
    for (int i = 0; i < OUTLIERS; i++) {
        column[i] = 7 + 40 * i;
        for (int64_t j = 0; j < N; j++) az_f32_mut(x)[j * WIDTH + column[i]] *= (float)(20 + 8 * i);
    }
    const az_tensor *exact = az_matmul_nt(az, x, dense);
    const az_int8_settings settings[] = {{0},
                                         {.threshold = 6},
                                         {.threshold = 6, .paper = true, .live = true},
                                         {.threshold = 6, .paper = true, .fixed = true, .column = column, .listed = OUTLIERS}};
    double error[4];
    for (int i = 0; i < 4; i++) error[i] = relative_error(az, az_weight_apply(az, bytes(az, dense, settings[i]), x), exact);
    cr_assert(az_ok(az), "%s", az_error(az));
    cr_assert_gt(error[0], 4 * error[1]);
    cr_assert_gt(error[0], 10 * error[2]);
    cr_assert_gt(error[0], 10 * error[3]);
    az_close(az);
}

/* A matrix that changes keeps how it was stored: scheme, threshold, columns in half precision. */
Test(int8, matrices_are_stored_again_as_they_were)
{
    static const int32_t column[] = {3, 17};
    static const az_int8_settings settings[] = {{.scheme = AZ_INT8_ZEROPOINT, .threshold = 2},
                                                {.threshold = 5, .paper = true, .live = true},
                                                {.threshold = 6, .paper = true, .fixed = true, .column = column, .listed = 2},
                                                {.scheme = AZ_INT8_ABSMAX}};
    az_ctx *az = az_open(NULL);
    az_tensor *before = normal(az, 16, 48, 1), *after = normal(az, 16, 48, 2), *x = normal(az, 4, 48, 3);
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        const az_weight *like = bytes(az, before, settings[i]), *wanted = bytes(az, after, settings[i]);
        cr_assert(az_weight_encodes_as(like));
        const az_weight *w = az_weight_encode_as(az, az_weight_dense(az, after), like);
        cr_assert(w, "%s", az_error(az));
        cr_assert_eq(w->format, like->format);
        const az_tensor *y = az_weight_apply(az, w, x), *z = az_weight_apply(az, wanted, x);
        cr_assert_arr_eq(y->data, z->data, (size_t)az_count(y) * sizeof(float), "%zu", i);
    }
    az_close(az);
}

Test(int8, zeros_give_zeros)
{
    az_ctx *az = az_open(NULL);
    for (int scheme = 0; scheme < 4; scheme++) {
        az_tensor *dense = normal(az, ROWS, COLS, 1), *x = normal(az, VECTORS, COLS, 2);
        memset(az_f32_mut(dense) + 3 * COLS, 0, COLS * sizeof(float));
        memset(az_f32_mut(x) + 2 * COLS, 0, COLS * sizeof(float));
        const az_tensor *y = az_weight_apply(az, bytes(az, dense, (az_int8_settings){.scheme = (az_int8_scheme)scheme}), x);
        for (int64_t r = 0; r < ROWS; r++) cr_assert_eq(az_item(y, 2 * ROWS + r), 0, "%d", scheme);
        for (int64_t j = 0; j < VECTORS; j++) cr_assert_eq(az_item(y, j * ROWS + 3), 0, "%d", scheme);
        const az_tensor *zero = az_zeros(az, AZ_F32, 2, (const int64_t[]){2, COLS});
        const az_weight *w = bytes(az, az_copy(az, az_zeros(az, AZ_F32, 2, (const int64_t[]){4, COLS})),
                                   (az_int8_settings){.scheme = (az_int8_scheme)scheme, .threshold = 6});
        expect_same(az_weight_apply(az, w, zero), az_zeros(az, AZ_F32, 2, (const int64_t[]){2, 4}), 1);
    }
    az_close(az);
}

Test(int8, results_do_not_depend_on_threads)
{
    az_tensor *y[2];
    az_ctx *az[2];
    for (int t = 0; t < 2; t++) {
        az[t] = az_open(&(az_settings){.threads = t + 1});
        const az_tensor *x = normal(az[t], 40, 300, 2);
        y[t] = az_weight_apply(az[t], bytes(az[t], normal(az[t], 200, 300, 1), (az_int8_settings){.threshold = 2.5}), x);
    }
    cr_assert_arr_eq(y[0]->data, y[1]->data, 40 * 200 * sizeof(float));
    for (int t = 0; t < 2; t++) az_close(az[t]);
}

Test(int8, decoding_gives_the_nearest_codes)
{
    az_ctx *az = az_open(NULL);
    az_tensor *dense = normal(az, ROWS, COLS, 1);
    for (int scheme = 0; scheme < 4; scheme++) {
        const az_tensor *back = az_weight_decode(az, bytes(az, dense, (az_int8_settings){.scheme = (az_int8_scheme)scheme}));
        const double step = most_of(az_f32(dense), ROWS * COLS) / 254.0;
        cr_assert(matrix_difference(back, dense) <= step * 1.01 + 1e-6);
    }
    az_close(az);
}

/* ---- refusals ---- */

Test(int8, activations_that_are_not_finite_are_errors)
{
    az_ctx *az = az_open(NULL);
    for (int i = 0; i < 2; i++) {
        az_tensor *x = normal(az, 3, COLS, 2);
        az_f32_mut(x)[COLS + 5] = i ? NAN : INFINITY;
        cr_assert_null(az_weight_apply(az, bytes(az, normal(az, ROWS, COLS, 1), (az_int8_settings){0}), x));
        cr_assert_eq(az_status_of(az), AZ_NUMERIC);
        cr_assert_not_null(strstr(az_error(az), "input 5 of vector 1"), "%s", az_error(az));
        az_clear(az);
    }
    az_close(az);
}

static void refused(az_ctx *az, const az_weight *w, const char *why)
{
    cr_assert_null(az_weight_from_parts(az, w->format, w->rows, w->cols, w->part));
    cr_assert_eq(az_status_of(az), AZ_BAD_INPUT);
    cr_assert_not_null(strstr(az_error(az), why), "%s", az_error(az));
    az_clear(az);
}

Test(int8, broken_parts_are_refused)
{
    az_ctx *az = az_open(NULL);
    const int32_t column[] = {3, 9};
    const az_weight *w = bytes(az, normal(az, ROWS, COLS, 1), (az_int8_settings){.threshold = 6, .column = column, .listed = 2});
    cr_assert_str_eq(w->format->name, "int8_columns");
    int8_t *code = w->part[0]->data, before = code[COLS];
    code[COLS] = -128;
    refused(az, w, "-128");
    code[COLS] = before;
    float *scale = az_f32_mut(w->part[1]);
    scale[2] = -1;
    refused(az, w, "scale of row 2");
    scale[2] = 1;
    int32_t *listed = w->part[3]->data;
    listed[1] = 3;
    refused(az, w, "ascend");
    listed[1] = COLS;
    refused(az, w, "below 83");
    listed[1] = 9;
    az_f64_mut(w->part[2])[0] = 7;
    refused(az, w, "scheme 7");
    az_f64_mut(w->part[2])[0] = 0;
    cr_assert_not_null(az_weight_from_parts(az, w->format, ROWS, COLS, w->part), "%s", az_error(az));
    cr_assert_null(bytes(az, az_affine(az, normal(az, 2, 3, 1), INFINITY, 0), (az_int8_settings){0}));
    az_close(az);
}
