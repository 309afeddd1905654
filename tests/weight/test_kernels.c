/* Kernels: every set of every format against sums in double over the decoded matrix, and against each other. */
#include "weight/kernels/kernels.h"
#include "weight/weight_internal.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

enum { MOST = 9, MANY = 131 }; /* vectors of activations; more than a kernel takes at once */

static const az_weight_kernels *const *kernel_sets(void)
{
    static const az_weight_kernels *sets[3];
    sets[0] = &az_weight_kernels_portable;
    sets[1] = az_weight_kernels_here() == sets[0] ? NULL : az_weight_kernels_here();
    return sets;
}

static az_tensor *normal(az_ctx *az, int64_t rows, int64_t cols, const char *what)
{
    return az_randn(az, AZ_F32, 2, (const int64_t[]){rows, cols}, 1, 11, az_stream(what, (uint64_t)(rows * 10007 + cols)));
}

static az_weight *weight(az_ctx *az, const char *format, int64_t rows, int64_t cols)
{
    return az_weight_encode(az, az_weight_dense(az, normal(az, rows, cols, "w")), az_format_by_name(format), NULL);
}

static const char *const names[] = {"f32",    "f16",  "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1",
                                    "iq4_nl", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "q8_k"};
enum { NAMES = sizeof names / sizeof *names };

/* NULL when the set leaves the format to decoding. */
static az_rows_kernel *kernel_of(const az_weight_kernels *set, const char *format)
{
    if (strcmp(format, "f32") == 0) return set->f32;
    if (strcmp(format, "f16") == 0) return set->f16;
    if (strcmp(format, "bf16") == 0) return set->bf16;
    return set->blocks[az_format_by_name(format)->ggml_type].rows;
}

static az_columns columns(az_ctx *az, const az_weight_kernels *set, const az_tensor *x, bool bytes)
{
    az_columns c = {.n = x->shape[0], .cols = x->shape[1], .value = az_f32(x)};
    if (!bytes) return c;
    const size_t blocks = (size_t)(c.n * (c.cols / 32));
    c.q = az_alloc(az, blocks * 32);
    c.scale = az_alloc_array(az, blocks, sizeof *c.scale), c.total = az_alloc_array(az, blocks, sizeof *c.total);
    c.halves = az_alloc_array(az, blocks, 2 * sizeof *c.halves);
    c.less8 = az_alloc_array(az, blocks, sizeof *c.less8), c.less32 = az_alloc_array(az, blocks, 2 * sizeof *c.less32);
    c.pairs8 = az_alloc_array(az, blocks, 2 * sizeof *c.pairs8), c.pairs32 = az_alloc_array(az, blocks, 4 * sizeof *c.pairs32);
    set->round_to_bytes(&c, 0, c.cols / AZ_BLOCK);
    return c;
}

/* |y - reference| may be: for rounded activations half a step (1/254 of the block's largest) times sum |w|; and f32 sums of cols terms, 4
 * cols eps of sum |w x| being far more than any order of summation needs. */
static double bound(const float *w, const float *x, int64_t cols, bool bytes)
{
    double sums = 0, rounding = 0;
    for (int64_t b = 0; b < cols; b += 32) {
        double largest = 0, magnitude = 0;
        for (int64_t i = b; i < b + 32 && i < cols; i++) {
            largest = fmax(largest, fabs((double)x[i]));
            magnitude += fabs((double)w[i]);
            sums += fabs((double)w[i] * (double)x[i]);
        }
        rounding += magnitude * largest / 254;
    }
    return sums * 4 * (double)cols * 0x1p-24 + (bytes ? rounding * 1.0001 : 0);
}

static double reference(const float *w, const float *x, int64_t cols)
{
    double sum = 0;
    for (int64_t i = 0; i < cols; i++) sum += (double)w[i] * (double)x[i];
    return sum;
}

static void check_product(az_ctx *az, const az_weight_kernels *set, const az_weight *w, const az_tensor *x)
{
    const bool bytes = w->format->block > 1;
    az_rows_kernel *kernel = kernel_of(set, w->format->name);
    if (!kernel) return;
    const float *dense = az_f32(az_weight_decode(az, w)), *xs = az_f32(x);
    const az_columns c = columns(az, set, x, bytes);
    float *y = az_alloc_array(az, (size_t)(c.n * w->rows), sizeof *y);
    kernel(w->part[0]->data, w->rows, &c, y, w->rows);
    for (int64_t j = 0; j < c.n; j++)
        for (int64_t r = 0; r < w->rows; r++) {
            const float *row = dense + r * c.cols, *vector = xs + j * c.cols;
            const double want = reference(row, vector, c.cols), got = (double)y[j * w->rows + r];
            cr_assert_leq(fabs(got - want), bound(row, vector, c.cols, bytes), "%s %s [%d, %d] row %d vector %d: %g, not %g", set->name,
                          w->format->name, (int)w->rows, (int)c.cols, (int)r, (int)j, got, want);
        }
}

Test(kernels, products_are_those_of_the_decoded_matrix)
{
    az_ctx *az = az_open(NULL);
    for (const az_weight_kernels *const *set = kernel_sets(); *set; set++)
        for (int f = 0; f < NAMES; f++)
            for (int64_t n = 1; n <= MOST; n++)
                for (int shape = 0; shape < 3; shape++) {
                    const int64_t rows = (const int64_t[]){1, 7, 18}[shape], blocks = (const int64_t[]){1, 9, 4}[shape];
                    const int64_t block = az_format_by_name(names[f])->block, cols = block == 1 ? blocks * 37 - 6 : blocks * block;
                    az_scope_push(az);
                    check_product(az, *set, weight(az, names[f], rows, cols), normal(az, n, cols, "x"));
                    az_scope_pop(az);
                }
    for (const az_weight_kernels *const *set = kernel_sets(); *set; set++)
        for (int f = 0; f < NAMES; f++) check_product(az, *set, weight(az, names[f], 9, 512), normal(az, MANY, 512, "x"));
    cr_assert(az_ok(az), "%s", az_error(az));
    az_close(az);
}

/* Bit for bit: however many vectors share a pass over a row, and however many rows one over a vector. */
Test(kernels, a_product_does_not_depend_on_its_company)
{
    az_ctx *az = az_open(NULL);
    enum { R = 11 };
    for (const az_weight_kernels *const *set = kernel_sets(); *set; set++)
        for (int f = 0; f < NAMES; f++) {
            az_rows_kernel *kernel = kernel_of(*set, names[f]);
            if (!kernel) continue;
            const int64_t cols = 256 * 3;
            const az_weight *w = weight(az, names[f], R, cols);
            const int64_t row_bytes = cols / w->format->block * w->format->block_bytes;
            const az_tensor *x = normal(az, MANY, cols, "x");
            const az_columns all = columns(az, *set, x, w->format->block > 1);
            float together[MANY * R];
            kernel(w->part[0]->data, R, &all, together, R);
            for (int64_t j = 0; j < MANY; j += j < MOST ? 1 : 40)
                for (int64_t r = 0; r < R; r++) {
                    const az_columns one = columns(az, *set, az_slice(az, x, 0, j, 1), w->format->block > 1);
                    float alone;
                    kernel((const char *)w->part[0]->data + r * row_bytes, 1, &one, &alone, 1);
                    cr_assert_eq(alone, together[j * R + r], "%s %s row %d vector %d", (*set)->name, names[f], (int)r, (int)j);
                }
        }
    cr_assert(az_ok(az), "%s", az_error(az));
    az_close(az);
}

/* A weight as az_weight_arrange lays it out has the products of its rows, bit for bit, by every set. */
Test(kernels, arranged_rows_have_the_same_products)
{
    az_ctx *az = az_open(NULL);
    enum { R = 48 };
    for (const az_weight_kernels *const *set = kernel_sets(); *set; set++)
        for (int f = 0; f < NAMES; f++)
            for (int64_t blocks = 1; blocks <= 17; blocks += 8) {
                const az_format *format = az_format_by_name(names[f]);
                const az_blocks_kernels *kernels = format->block == 1 ? NULL : &(*set)->blocks[format->ggml_type];
                if (!kernels || !kernels->arranged || !az_weight_kernels_here()->blocks[format->ggml_type].arranged) continue;
                az_scope_push(az);
                az_weight *w = weight(az, names[f], R, blocks * format->block);
                cr_assert(az_weight_arrange(az, w) && w->arranged, "%s", names[f]);
                for (int64_t n = 1; n <= MOST; n += n < 5 ? 1 : 3) {
                    const az_columns x = columns(az, *set, normal(az, n, w->cols, "x"), true);
                    float rows[MOST * R], arranged[MOST * R];
                    kernels->rows(w->part[0]->data, R, &x, rows, R);
                    kernels->arranged(w->arranged->data, R, &x, arranged, R);
                    for (int64_t i = 0; i < n * R; i++)
                        cr_assert_eq(rows[i], arranged[i], "%s %s, %d vectors: %d", (*set)->name, names[f], (int)n, (int)i);
                }
                az_scope_pop(az);
            }
    cr_assert(az_ok(az), "%s", az_error(az));
    az_close(az);
}

/* Whatever is left of rows beyond sixteens is multiplied as before; a shared weight shares its arrangement. */
Test(kernels, arranged_weights_are_applied_alike)
{
    az_ctx *az = az_open(NULL);
    for (int64_t rows = 5; rows <= 150; rows += 29)
        for (int64_t n = 1; n <= MOST; n += 4) {
            const az_weight *plain = weight(az, "q5_1", rows, 96);
            az_weight *arranged = az_weight_share(az, plain);
            cr_assert(az_weight_arrange(az, arranged));
            const az_weight *shared = az_weight_share(az, arranged);
            const az_tensor *x = normal(az, n, 96, "x"), *y = az_weight_apply(az, plain, x), *z = az_weight_apply(az, shared, x);
            for (int64_t i = 0; i < n * rows; i++) cr_assert_eq(az_f32(y)[i], az_f32(z)[i], "%d rows: %d", (int)rows, (int)i);
        }
    cr_assert(az_ok(az), "%s", az_error(az));
    az_close(az);
}

/* Extreme bytes of q8_0: -128 (which no encoder writes, but a file may hold) times 127, where 16-bit intermediates are tightest. */
Test(kernels, no_sum_of_pairs_overflows)
{
    az_ctx *az = az_open(NULL);
    float ones[64];
    for (int i = 0; i < 64; i++) ones[i] = i % 3 ? 1 : -1;
    az_tensor *x = az_from(az, AZ_F32, 2, (const int64_t[]){1, 64}, ones);
    for (const az_weight_kernels *const *set = kernel_sets(); *set; set++)
        for (int value = 0; value < 256; value += 1) {
            unsigned char q8[68], q4[36];
            memset(q8, value, sizeof q8), memset(q4, value, sizeof q4);
            const uint16_t one = az_float_to_half(1);
            for (int b = 0; b < 2; b++) memcpy(q8 + 34 * b, &one, 2), memcpy(q4 + 18 * b, &one, 2);
            const az_columns c = columns(az, *set, x, true);
            float y8, y4;
            (*set)->blocks[AZ_GGML_Q8_0].rows(q8, 1, &c, &y8, 1);
            (*set)->blocks[AZ_GGML_Q4_0].rows(q4, 1, &c, &y4, 1);
            double want8 = 0, want4 = 0;
            for (int i = 0; i < 64; i++) {
                want8 += (double)(int8_t)value * (double)ones[i];
                want4 += (i % 32 < 16 ? (value & 15) - 8 : (value >> 4) - 8) * (double)ones[i];
            }
            cr_assert_float_eq((double)y8, want8, 1e-3, "%s %d", (*set)->name, value);
            cr_assert_float_eq((double)y4, want4, 1e-3, "%s %d", (*set)->name, value);
        }
    az_close(az);
}

/* Any bytes may stand in a file: the extreme scales and levels of the k formats, with d = m = 1. */
Test(kernels, every_byte_of_the_k_formats_multiplies_like_its_decoded_value)
{
    az_ctx *az = az_open(NULL);
    static const char *const k_names[] = {"q2_k", "q3_k", "q4_k", "q5_k", "q6_k"};
    static const int half[5][2] = {{80, 82}, {108, 108}, {0, 2}, {0, 2}, {208, 208}}; /* where d and m lie */
    const uint16_t one = az_float_to_half(1);
    az_tensor *x = normal(az, 3, 256, "x");
    for (int i = 0; i < 256; i++) az_f32_mut(x)[256 + i] = 1, az_f32_mut(x)[512 + i] = i % 4 < 2 ? 1 : -1; /* the largest sums */
    for (const az_weight_kernels *const *set = kernel_sets(); *set; set++)
        for (int value = 0; value < 256; value++)
            for (int f = 0; f < 5; f++) {
                unsigned char block[210];
                for (int i = 0; i < 210; i++) block[i] = (unsigned char)(i % 3 ? value : 255 - value);
                memcpy(block + half[f][0], &one, 2), memcpy(block + half[f][1], &one, 2);
                const az_format *format = az_format_by_name(k_names[f]);
                az_scope_push(az);
                az_tensor *part = az_from(az, AZ_U8, 2, (const int64_t[]){1, format->block_bytes}, block);
                check_product(az, *set, az_weight_from_parts(az, format, 1, 256, &part), x);
                az_scope_pop(az);
            }
    cr_assert(az_ok(az), "%s", az_error(az));
    az_close(az);
}

Test(kernels, sets_round_activations_alike)
{
    const az_weight_kernels *here = az_weight_kernels_here();
    az_ctx *az = az_open(NULL);
    az_tensor *x = normal(az, 4, 256, "x");
    for (int i = 0; i < 32; i++) az_f32_mut(x)[i] = 0, az_f32_mut(x)[32 + i] = 1e-41f * (float)i, az_f32_mut(x)[64 + i] *= 1e37f;
    const az_columns a = columns(az, &az_weight_kernels_portable, x, true), b = columns(az, here, x, true);
    cr_assert_arr_eq(a.q, b.q, 4 * 256);
    cr_assert_arr_eq(a.scale, b.scale, 4 * 8 * sizeof(float));
    cr_assert_arr_eq(a.total, b.total, 4 * 8 * sizeof(float));
    cr_assert_arr_eq(a.halves, b.halves, 4 * 16 * sizeof(float));
    cr_assert_arr_eq(a.less8, b.less8, 4 * 8 * sizeof(int32_t));
    cr_assert_arr_eq(a.less32, b.less32, 4 * 16 * sizeof(int32_t));
    cr_assert_arr_eq(a.pairs8, b.pairs8, 4 * 16 * sizeof(int16_t));
    cr_assert_arr_eq(a.pairs32, b.pairs32, 4 * 32 * sizeof(int16_t));
    for (int j = 0; j < 4; j++)
        for (int i = 0; i < 256; i++) {
            const int at = i / 32 * 4 + j;
            const float scale = a.scale[at], rounded = scale * (float)a.q[at * 32 + i % 32];
            cr_assert_leq(fabsf(az_f32(x)[j * 256 + i] - rounded), scale * 0.5001f + 1e-38f);
        }
    az_close(az);
}

/* A NaN or an infinity among the activations must not come out as an ordinary number. */
Test(kernels, what_is_not_finite_stays_so)
{
    az_ctx *az = az_open(NULL);
    for (const az_weight_kernels *const *set = kernel_sets(); *set; set++)
        for (int f = 0; f < NAMES; f++)
            for (int bad = 0; bad < 3; bad++) {
                az_rows_kernel *kernel = kernel_of(*set, names[f]);
                if (!kernel) continue;
                az_tensor *x = normal(az, 1, 512, "x");
                az_f32_mut(x)[41] = (const float[]){NAN, INFINITY, -INFINITY}[bad];
                const az_columns c = columns(az, *set, x, true);
                float y;
                kernel(weight(az, names[f], 1, 512)->part[0]->data, 1, &c, &y, 1);
                cr_assert(!isfinite(y), "%s %s", (*set)->name, names[f]);
            }
    az_close(az);
}

Test(kernels, sets_widen_alike)
{
    const az_weight_kernels *here = az_weight_kernels_here(), *plain = &az_weight_kernels_portable;
    az_ctx *az = az_open(NULL);
    uint16_t *halves = az_alloc(az, 0x10000 * 2);
    float *a = az_alloc(az, 0x10000 * 4), *b = az_alloc(az, 0x10000 * 4);
    for (uint32_t h = 0; h < 0x10000; h++) halves[h] = (uint16_t)h;
    plain->widen_f16(halves, 0x10000, a), here->widen_f16(halves, 0x10000, b);
    cr_assert_arr_eq(a, b, 0x10000 * 4);
    plain->widen_bf16(halves, 0x10000 - 3, a), here->widen_bf16(halves, 0x10000 - 3, b);
    cr_assert_arr_eq(a, b, (0x10000 - 3) * 4);
    for (int f = 0; f < 2; f++) {
        const unsigned char *blocks = weight(az, f ? "q8_0" : "q4_0", 3, 320)->part[0]->data;
        (f ? plain->widen_q8_0 : plain->widen_q4_0)(blocks, 960, a);
        (f ? here->widen_q8_0 : here->widen_q4_0)(blocks, 960, b);
        cr_assert_arr_eq(a, b, 960 * 4);
    }
    az_close(az);
}

/* Halves between two levels, subnormal scales, scales that f16 cannot hold, zeros and negative zeros. */
Test(kernels, sets_encode_alike)
{
    const az_weight_kernels *here = az_weight_kernels_here(), *plain = &az_weight_kernels_portable;
    az_rng rng = az_rng_at(5, 0);
    for (int k = 0; k < 3000; k++) {
        float x[32];
        const float top = k == 0 ? 0 : ldexpf(1 + (float)az_uniform(&rng), k % 60 - 40);
        for (int j = 0; j < 32; j++) {
            const float level = k % 2 ? (float)((double)az_below(&rng, 508) - 254) / 2 : (float)(254 * az_uniform(&rng) - 127);
            x[j] = j == k % 32 ? -top : level * (top / 127);
        }
        unsigned char a[34], b[34];
        cr_assert_eq(plain->encode_q8_0(x, a), here->encode_q8_0(x, b), "block %d", k);
        cr_assert_arr_eq(a, b, 34, "block %d", k);
    }
}
