/* Formats of blocks: decoding and encoding beside llama.cpp's, published vectors, what is extreme, products. */
#include "adze/weight.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

enum { ROWS = 16, COLS = 512, COUNT = ROWS * COLS };

static uint32_t next(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

/* Sum of 12 uniform numbers - 6: nearly normal. */
static float normal(uint32_t *state)
{
    float sum = -6;
    for (int i = 0; i < 12; i++) sum += (float)next(state) * 0x1p-24f;
    return sum;
}

typedef enum kind { NORMAL, HEAVY_TAILED, KINDS } kind;

static az_tensor *matrix(az_ctx *az, kind what)
{
    az_tensor *x = az_new2(az, AZ_F32, ROWS, COLS);
    uint32_t state = 12345 + (uint32_t)what;
    for (int i = 0; i < COUNT; i++) {
        const float g = normal(&state);
        az_f32_mut(x)[i] = what == NORMAL ? 0.05f * g : 0.02f * g * g * g;
    }
    return x;
}

static void fill_importance(float importance[COLS])
{
    uint32_t state = 12444;
    for (int j = 0; j < COLS; j++) {
        const float u = (float)next(&state) * 0x1p-24f;
        importance[j] = 0.01f + 10 * u * u * u * u;
    }
}

/* Of llama.cpp's libggml-base (version 0.25): the FNV-1a checksum of what dequantize_row_* makes of ROWS rows of random bytes (next() >> 7
 * from the state 777; any NaN as 0x7fc00000), and the squared errors of quantize_* on matrix(kind): without and with fill_importance,
 * NORMAL then HEAVY_TAILED. */
static const struct {
    const char *format;
    uint64_t decoded;
    double error[KINDS][2];
} llama_cpp[] = {
    {"q8_0", 0x81f0beec6f8094d5u, {{0}}},
    {"q4_0", 0xab3364a7f0dd45e8u, {{0.148385, 0.222277}, {0.494933, 0.820318}}},
    {"q4_1", 0x9b6d2ee530713d46u, {{0.124143, 0.145474}, {0.500256, 0.487595}}},
    {"q5_0", 0x653f4eff893883f9u, {{0.0360572, 0.0551769}, {0.148995, 0.259752}}},
    {"q5_1", 0x5d5bb3f6b38eaee6u, {{0.0291249, 0.0359818}, {0.126912, 0.126799}}},
    {"iq4_nl", 0x5a00b992ecbd03f9u, {{0.116218, 0.177077}, {0.348915, 0.5298}}},
    {"q2_k", 0xc909c37f83631d55u, {{1.76967, 1.86635}, {6.18751, 4.1788}}},
    {"q3_k", 0x9725ee4206f6ee4du, {{0.467954, 0.65584}, {0.934233, 1.35611}}},
    {"q4_k", 0xac613c374d96e562u, {{0.103882, 0.152229}, {0.332706, 0.548646}}},
    {"q5_k", 0x74ebc8e7149baf44u, {{0.0267288, 0.0421283}, {0.103564, 0.171121}}},
    {"q6_k", 0xbac0f3b19a025bc2u, {{0.00643786, 0.00979166}, {0.0240269, 0.0408689}}},
    {"q8_k", 0xf6e7ba8a93d1e55du, {{0}}},
};
enum { FORMATS = sizeof llama_cpp / sizeof *llama_cpp };

/* A weight of given bytes. */
static az_weight *from_bytes(az_ctx *az, const char *name, int64_t rows, int64_t cols, const void *bytes)
{
    const az_format *format = az_format_by_name(name);
    az_tensor *part = az_from(az, AZ_U8, 2, (const int64_t[]){rows, cols / format->block * format->block_bytes}, bytes);
    return az_weight_from_parts(az, format, rows, cols, &part);
}

static uint64_t checksum(const float *x, int n)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (int i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        if (isnan(x[i])) bits = 0x7fc00000;
        for (int k = 0; k < 4; k++) hash = (hash ^ (bits >> 8 * k & 255)) * 0x100000001b3u;
    }
    return hash;
}

Test(blocks, decode_to_what_llama_cpp_makes_of_them)
{
    az_ctx *az = az_open(NULL);
    static unsigned char bytes[COUNT * 2];
    for (int f = 0; f < FORMATS; f++) {
        uint32_t state = 777;
        for (int i = 0; i < COUNT * 2; i++) bytes[i] = (unsigned char)(next(&state) >> 7);
        const az_weight *w = from_bytes(az, llama_cpp[f].format, ROWS, COLS, bytes);
        cr_assert_eq(checksum(az_f32(az_weight_decode(az, w)), COUNT), llama_cpp[f].decoded, "%s", llama_cpp[f].format);
    }
    az_close(az);
}

/* A block with payload bytes 37 i + 11 (mod 256), i counting from the first byte that is not one of the f16 numbers. */
Test(blocks, decode_to_the_published_values)
{
    static const struct {
        const char *format;
        int halves, at; /* number of f16 numbers and the byte where they begin */
        float half[2], first[4];
        double sum;
    } cases[] = {
        {"q4_k", 2, 0, {0.5f, 0.25f}, {30.75f, 58.25f, -2.25f, 25.25f}, 22252},
        {"q5_k", 2, 0, {0.5f, 0.25f}, {118.75f, 58.25f, 85.75f, 25.25f}, 46164},
        {"q6_k", 1, 208, {0.125f}, {-178.875f, 212, 72.875f, -66.25f}, 576.5},
    };
    az_ctx *az = az_open(NULL);
    for (int c = 0; c < 3; c++) {
        unsigned char block[256];
        const int start = cases[c].at ? 0 : 2 * cases[c].halves;
        for (int i = start; i < 256; i++) block[i] = (unsigned char)(37 * (i - start) + 11);
        for (int h = 0; h < cases[c].halves; h++) {
            const uint16_t half = az_float_to_half(cases[c].half[h]);
            memcpy(block + cases[c].at + 2 * h, &half, 2);
        }
        const float *x = az_f32(az_weight_decode(az, from_bytes(az, cases[c].format, 1, 256, block)));
        double sum = 0;
        for (int i = 0; i < 256; i++) sum += (double)x[i];
        cr_assert_arr_eq(x, cases[c].first, sizeof cases[c].first, "%s", cases[c].format);
        cr_assert_eq(sum, cases[c].sum, "%s: %g", cases[c].format, sum);
    }
    az_close(az);
}

/* ---- encoding -------------------------------------------------------------------------------------------------------------------- */

static az_weight *encoded(az_ctx *az, az_tensor *x, const char *format, const float *importance)
{
    return az_weight_encode(az, az_weight_dense(az, x), az_format_by_name(format), importance);
}

/* sum importance (x - y)^2 */
static double error_of(const float *x, const float *y, int n, const float *importance)
{
    double error = 0;
    for (int i = 0; i < n; i++) error += (importance ? (double)importance[i % COLS] : 1) * pow((double)x[i] - (double)y[i], 2);
    return error;
}

/* The constants have six digits. */
Test(blocks, encode_with_no_more_error_than_llama_cpp)
{
    az_ctx *az = az_open(NULL);
    float importance[COLS];
    fill_importance(importance);
    for (int f = 0; f < FORMATS; f++)
        for (kind what = 0; what < KINDS; what++)
            for (int weighted = 0; weighted < 2; weighted++) {
                const float *told = weighted ? importance : NULL;
                az_tensor *x = matrix(az, what);
                const float *y = az_f32(az_weight_decode(az, encoded(az, x, llama_cpp[f].format, told)));
                cr_assert(az_ok(az), "%s", az_error(az));
                const double error = error_of(az_f32(x), y, COUNT, told), theirs = llama_cpp[f].error[what][weighted];
                if (theirs > 0) cr_assert_leq(error, theirs * 1.00001, "%s %d %d: %g", llama_cpp[f].format, what, weighted, error);
            }
    az_close(az);
}

/* What was decoded is nearly representable: a second encoding adds less than a tenth of the first one's error. */
Test(blocks, encode_what_was_decoded_almost_without_loss)
{
    az_ctx *az = az_open(NULL);
    for (int f = 0; f < FORMATS; f++)
        for (kind what = 0; what < KINDS; what++) {
            az_tensor *x = matrix(az, what), *once = az_weight_decode(az, encoded(az, x, llama_cpp[f].format, NULL));
            const float *twice = az_f32(az_weight_decode(az, encoded(az, once, llama_cpp[f].format, NULL)));
            const double first = error_of(az_f32(x), az_f32(once), COUNT, NULL), second = error_of(az_f32(once), twice, COUNT, NULL);
            cr_assert_leq(second, first / 10, "%s: %g after %g", llama_cpp[f].format, second, first);
        }
    az_close(az);
}

Test(blocks, of_zeros_and_of_tiny_values_decode_to_zeros)
{
    az_ctx *az = az_open(NULL);
    for (int f = 0; f < FORMATS; f++) {
        az_tensor *x = az_zeros(az, AZ_F32, 2, (const int64_t[]){1, COLS});
        for (int i = 256; i < COLS; i++) az_f32_mut(x)[i] = 1e-42f * (float)(i % 5);
        cr_assert_eq(az_weight_sparsity(az, encoded(az, x, llama_cpp[f].format, NULL)), 1, "%s", llama_cpp[f].format);
    }
    az_close(az);
}

/* f16 scales and minima have 11 bits; six-bit multiples of them are chosen to be whole at the extreme. */
Test(blocks, of_equal_values_keep_them)
{
    az_ctx *az = az_open(NULL);
    for (int f = 0; f < FORMATS; f++)
        for (int sign = -1; sign <= 1; sign += 2) {
            az_tensor *x = az_new2(az, AZ_F32, 1, COLS);
            for (int i = 0; i < COLS; i++) az_f32_mut(x)[i] = (float)sign * 0.7f;
            const float *y = az_f32(az_weight_decode(az, encoded(az, x, llama_cpp[f].format, NULL)));
            for (int i = 0; i < COLS; i++)
                cr_assert_float_eq((double)y[i], sign * 0.7, 0.7 * 0x1p-10, "%s: %g", llama_cpp[f].format, (double)y[i]);
        }
    az_close(az);
}

static void refused(az_ctx *az, const az_weight *w, const char *why)
{
    cr_assert_null(w, "%s", why);
    cr_assert_not_null(strstr(az_error(az), why), "%s", az_error(az));
    az_clear(az);
}

Test(blocks, refuse_what_they_cannot_hold)
{
    az_ctx *az = az_open(NULL);
    for (int f = 0; f < FORMATS; f++) {
        const char *format = llama_cpp[f].format;
        az_tensor *x = matrix(az, NORMAL);
        az_f32_mut(x)[5 * COLS + 7] = 3e38f;
        if (strcmp(format, "q8_k") == 0)
            cr_assert_not_null(encoded(az, x, format, NULL), "%s", az_error(az));
        else
            refused(az, encoded(az, x, format, NULL), "row 5");
        az_f32_mut(x)[5 * COLS + 7] = -INFINITY;
        refused(az, encoded(az, x, format, NULL), "row 5, column 7");
        az_f32_mut(x)[5 * COLS + 7] = NAN;
        refused(az, encoded(az, x, format, NULL), "row 5, column 7");
    }
    float importance[COLS] = {0};
    importance[3] = -1;
    refused(az, encoded(az, matrix(az, NORMAL), "q4_k", importance), "input 3");
    importance[3] = NAN;
    refused(az, encoded(az, matrix(az, NORMAL), "q4_k", importance), "input 3");
    refused(az, encoded(az, az_zeros(az, AZ_F32, 2, (const int64_t[]){2, 128}), "q6_k", NULL), "divisible by 256");
    az_close(az);
}

/* No importance anywhere is no worse than none given; none for single inputs leaves the others well off. */
Test(blocks, importance_may_be_zero)
{
    az_ctx *az = az_open(NULL);
    for (int f = 0; f < FORMATS; f++) {
        const char *format = llama_cpp[f].format;
        float importance[COLS] = {0};
        az_tensor *x = matrix(az, NORMAL);
        const float *plain = az_f32(az_weight_decode(az, encoded(az, x, format, NULL)));
        const float *none = az_f32(az_weight_decode(az, encoded(az, x, format, importance)));
        cr_assert_leq(error_of(az_f32(x), none, COUNT, NULL), error_of(az_f32(x), plain, COUNT, NULL), "%s", format);
        for (int j = 0; j < COLS; j += 3) importance[j] = 1;
        const float *y = az_f32(az_weight_decode(az, encoded(az, x, format, importance)));
        cr_assert_leq(error_of(az_f32(x), y, COUNT, importance), error_of(az_f32(x), plain, COUNT, importance), "%s", format);
    }
    az_close(az);
}

/* ---- products -------------------------------------------------------------------------------------------------------------------- */

/* Few vectors may be rounded to bytes: an error of half a step, 1/254 of the largest value in a block, in each, with random signs; six
 * standard deviations of their sum pass. */
static void check_product(az_ctx *az, const char *format, int64_t n)
{
    const az_weight *w = encoded(az, matrix(az, NORMAL), format, NULL);
    const az_tensor *x = az_randn(az, AZ_F32, 2, (const int64_t[]){n, COLS}, 1, 3, az_stream("blocks", (uint64_t)n));
    const float *y = az_f32(az_weight_apply(az, w, x)), *rows = az_f32(az_weight_decode(az, w));
    cr_assert(az_ok(az), "%s", az_error(az));
    for (int64_t j = 0; j < n; j += 37)
        for (int r = 0; r < ROWS; r++) {
            double want = 0, square = 0;
            for (int i = 0; i < COLS; i++) {
                want += (double)rows[r * COLS + i] * (double)az_f32(x)[j * COLS + i];
                square += pow((double)rows[r * COLS + i], 2);
            }
            const double bound = 6 * sqrt(square) * 3.5 / 254;
            cr_assert_float_eq((double)y[j * ROWS + r], want, bound, "%s, %d vectors: %g, not %g", format, (int)n, (double)y[j * ROWS + r],
                               want);
        }
}

Test(blocks, multiply_one_and_many_vectors)
{
    az_ctx *az = az_open(NULL);
    for (int f = 0; f < FORMATS; f++) {
        check_product(az, llama_cpp[f].format, 1);
        check_product(az, llama_cpp[f].format, 9);
        check_product(az, llama_cpp[f].format, 512);
    }
    az_close(az);
}
