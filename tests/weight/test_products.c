/* Products of whole weights: many vectors at once (tiles) against one at a time (rows), tiles against sums in double. */
#include "tensor/kernels/panels.h"
#include "weight/weight_internal.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

/* y [n, rows] = x [n, cols] W^T. */
static void multiply(az_ctx *az, const az_weight *w, const float *x, int64_t n, float *y)
{
    const az_tensor *product = az_weight_apply(az, w, az_from(az, AZ_F32, 2, (int64_t[]){n, w->cols}, x));
    cr_assert_not_null(product, "%s", az_error(az));
    memcpy(y, product->data, (size_t)(n * w->rows) * sizeof *y);
}

static az_tensor *normal(az_ctx *az, int64_t rows, int64_t cols, const char *what)
{
    return az_randn(az, AZ_F32, 2, (const int64_t[]){rows, cols}, 1, 21, az_stream(what, (uint64_t)(rows * 10007 + cols)));
}

static az_weight *weight(az_ctx *az, const char *format, int64_t rows, int64_t cols)
{
    return az_weight_encode(az, az_weight_dense(az, normal(az, rows, cols, "w")), az_format_by_name(format), NULL);
}

/* sum |w x|, the scale of a sum's rounding */
static double magnitude(const float *w, const float *x, int64_t cols)
{
    double sum = 0;
    for (int64_t i = 0; i < cols; i++) sum += fabs((double)w[i] * (double)x[i]);
    return sum;
}

static void check_many(az_ctx *az, const char *format, int64_t rows, int64_t cols, int64_t n)
{
    az_weight *w = weight(az, format, rows, cols);
    const float *x = az_f32(normal(az, n, cols, "x")), *dense = az_f32(az_weight_decode(az, w));
    float *many = az_alloc_array(az, (size_t)(n * rows), sizeof *many), *one = az_alloc_array(az, (size_t)rows, sizeof *one);
    const bool panels = n > AZ_FEW && az_panel_kernels_for(w);
    const double rounding = 1e-5 + (panels ? 2 * az_panel_kernels_for(w)->rounding : 0);
    multiply(az, w, x, n, many);
    for (int64_t j = 0; j < n; j++) {
        multiply(az, w, x + j * cols, 1, one);
        for (int64_t r = 0; r < rows; r++)
            cr_assert_leq(fabs((double)(many[j * rows + r] - one[r])), rounding * magnitude(dense + r * cols, x + j * cols, cols),
                          "%s [%d, %d], %d vectors: row %d of vector %d is %g, alone %g", format, (int)rows, (int)cols, (int)n, (int)r,
                          (int)j, (double)many[j * rows + r], (double)one[r]);
    }
}

/* Where kernels take only a few vectors of block formats, many vectors are multiplied without rounding them, and differ from one by more.
 */
Test(products, many_vectors_equal_one_at_a_time)
{
    az_ctx *az = az_open(NULL);
    static const char *const names[] = {"f32", "f16", "bf16", "q8_0", "q4_0", "q5_1", "iq4_nl"};
    for (int f = 0; f < 7; f++) {
        if (f >= 3 && !az_worth_rounding(100)) continue;
        for (int64_t n = AZ_FEW - 1; n <= AZ_FEW + 4; n++) check_many(az, names[f], 37, 96, n);
        check_many(az, names[f], 37, 96, 150);
        check_many(az, names[f], 16, 32, 30);
        check_many(az, names[f], 1, 320, 31);
        check_many(az, names[f], 600, 64, 26);
    }
    cr_assert(az_ok(az), "%s", az_error(az));
    az_close(az);
}

Test(products, tiles_are_the_decoded_matrix)
{
    az_ctx *az = az_open(NULL);
    static const char *const names[] = {"f32", "f16", "bf16", "q8_0", "q4_0"};
    enum { R = 1050, C = 64, N = 5 }; /* more rows than a tile has */
    for (int f = 0; f < 5; f++) {
        az_weight *w = weight(az, names[f], R, C);
        const float *dense = az_f32(az_weight_decode(az, w)), *x = az_f32(normal(az, N, C, "x")), *g = az_f32(normal(az, N, R, "g"));
        float *y = az_alloc(az, N * R * sizeof *y), *gx = az_alloc(az, N * C * sizeof *gx);
        az_tiles_matmul(az, w, x, N, y);
        az_tiles_matmul_t(az, w, g, N, gx);
        for (int j = 0; j < N; j++) {
            double back[C] = {0}, scale[C] = {0};
            for (int r = 0; r < R; r++) {
                double sum = 0;
                for (int c = 0; c < C; c++) {
                    sum += (double)dense[r * C + c] * (double)x[j * C + c];
                    back[c] += (double)dense[r * C + c] * (double)g[j * R + r];
                    scale[c] += fabs((double)dense[r * C + c] * (double)g[j * R + r]);
                }
                cr_assert_float_eq((double)y[j * R + r], sum, 1e-5 * magnitude(dense + r * C, x + j * C, C), "%s", names[f]);
            }
            for (int c = 0; c < C; c++) cr_assert_float_eq((double)gx[j * C + c], back[c], 1e-5 * scale[c], "%s", names[f]);
        }
    }
    cr_assert(az_ok(az), "%s", az_error(az));
    az_close(az);
}

/* The largest values that 16-bit sums of q4_0 meet: level 15 in every place, activations that all round to 127 or -127. */
/* Rows, columns and vectors at the edges of panels; one thread and several, which share rows among them or vectors. */
static void check_panels(az_ctx *az, az_ctx *several, const char *format, const int64_t shape[3])
{
    const int64_t rows = shape[0], cols = shape[1], n = shape[2];
    const az_weight *w = weight(az, format, rows, cols);
    const double rounding = 1e-5 + 2 * az_panel_kernels_for(w)->rounding; /* of both factors */
    const float *x = az_f32(normal(az, n, cols, "x")), *dense = az_f32(az_weight_decode(az, w));
    float *y = az_alloc_array(az, (size_t)(n * rows), sizeof *y), *shared = az_alloc_array(az, (size_t)(n * rows), sizeof *y);
    az_panels_matmul(az, w, x, n, y);
    az_panels_matmul(several, w, x, n, shared);
    cr_assert_eq(memcmp(y, shared, (size_t)(n * rows) * sizeof *y), 0, "%s [%d, %d], %d vectors", format, (int)rows, (int)cols, (int)n);
    for (int64_t i = 0; i < n * rows; i++) {
        const float *row = dense + i % rows * cols, *vector = x + i / rows * cols;
        double sum = 0;
        for (int64_t c = 0; c < cols; c++) sum += (double)row[c] * (double)vector[c];
        cr_assert_leq(fabs(sum - (double)y[i]), rounding * magnitude(row, vector, cols), "%s [%d, %d], %d vectors: %d", format, (int)rows,
                      (int)cols, (int)n, (int)i);
    }
}

Test(products, panels_are_the_decoded_matrix)
{
    static const int64_t shapes[][3] = {{1, 1, 13},   {16, 8, 6},   {15, 7, 5},     {17, 255, 14},  {64, 256, 18},
                                        {65, 257, 1}, {130, 9, 97}, {48, 513, 100}, {16, 40, 1160}, {200, 33, 31}};
    if (!az_panel_kernels_here(AZ_EXACT_F32)) cr_skip_test("these kernels leave such products to BLAS");
    az_ctx *az = az_open(&(az_settings){.threads = 1}), *several = az_open(&(az_settings){.threads = 3});
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int f = 0; f < 2; f++) check_panels(az, several, f ? "f16" : "f32", shapes[i]);
    check_panels(az, several, "q6_k", (const int64_t[]){70, 512, 40});
    az_close(several);
    az_close(az);
}

Test(products, sums_of_extreme_levels_do_not_overflow)
{
    az_ctx *az = az_open(NULL);
    enum { R = 16, N = 30 };
    for (int value = 0; value < 256; value += 15)
        for (int f = 0; f < 2; f++) {
            const int payload = f ? 32 : 16;
            unsigned char blocks[R * 34];
            const uint16_t one = az_float_to_half(1);
            for (int r = 0; r < R; r++)
                for (int i = -2; i < payload; i++) blocks[r * (payload + 2) + 2 + i] = (unsigned char)(i < 0 ? one >> 8 * (i + 2) : value);
            az_tensor *part = az_from(az, AZ_U8, 2, (const int64_t[]){R, payload + 2}, blocks);
            az_weight *w = az_weight_from_parts(az, az_format_by_name(f ? "q8_0" : "q4_0"), R, 32, &part);
            const float *dense = az_f32(az_weight_decode(az, w));
            float x[N * 32], y[N * R];
            for (int i = 0; i < N * 32; i++) x[i] = i / 32 % 2 ? 3 : -3;
            multiply(az, w, x, N, y);
            for (int j = 0; j < N; j++)
                for (int r = 0; r < R; r++) {
                    double sum = 0;
                    for (int c = 0; c < 32; c++) sum += (double)dense[r * 32 + c] * (double)x[j * 32 + c];
                    cr_assert_float_eq((double)y[j * R + r], sum, 1e-4 * fabs(sum) + 1e-3);
                }
        }
    az_close(az);
}

/* Weights of any formats that read the same x, in one pass: the bits that each gives alone. */
Test(products, weights_together_give_what_each_gives_alone)
{
    enum { WEIGHTS = 5, COLS = 256 };
    const char *const format[WEIGHTS] = {"q4_0", "f32", "q8_0", "q6_k", "f16"};
    const int64_t rows[WEIGHTS] = {130, 7, 64, 33, 200}, vectors[] = {1, 3, 12, 40};
    for (int threads = 1; threads <= 3; threads += 2) {
        az_ctx *az = az_open(&(az_settings){.threads = threads});
        const az_weight *w[WEIGHTS];
        for (int i = 0; i < WEIGHTS; i++) {
            az_tensor *dense = az_randn(az, AZ_F32, 2, (int64_t[]){rows[i], COLS}, 1, 9, (uint64_t)i);
            w[i] = az_weight_encode(az, az_weight_dense(az, dense), az_format_by_name(format[i]), NULL);
        }
        for (int k = 0; k < 4; k++) {
            const az_tensor *x = az_randn(az, AZ_F32, 2, (int64_t[]){vectors[k], COLS}, 1, 9, 77);
            az_tensor *y[WEIGHTS];
            cr_assert(az_weight_apply_many(az, w, WEIGHTS, x, y), "%s", az_error(az));
            for (int i = 0; i < WEIGHTS; i++) {
                const az_tensor *alone = az_weight_apply(az, w[i], x);
                cr_assert_arr_eq(az_f32(y[i]), az_f32(alone), (size_t)az_count(alone) * sizeof(float), "%s", format[i]);
            }
        }
        az_tensor *y[WEIGHTS];
        cr_assert_not(az_weight_apply_many(az, w, WEIGHTS, az_zeros(az, AZ_F32, 1, (int64_t[]){COLS - 1}), y));
        cr_assert_eq(az_status_of(az), AZ_BAD_CALL);
        az_close(az);
    }
}
