/* Planes of bits: every kernel against whole numbers, codes taken over without loss, products against their definition, refusals. */
#include "weight/bipolar.h"

#include "adze/weight.h"
#include "support/matrix.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

/* ---- kernels ---- */

enum { VECTORS = AZ_PLANE_VECTORS };

typedef struct operands {
    int n, m; /* bits of weights and activations */
    int64_t cols;
    uint8_t *w, *x; /* [32, cols], [VECTORS, cols] codes */
} operands;

static operands random_operands(az_ctx *az, int n, int m, int64_t cols)
{
    operands o = {.n = n, .m = m, .cols = cols, .w = az_alloc(az, (size_t)(AZ_STRIP * cols)), .x = az_alloc(az, (size_t)(VECTORS * cols))};
    az_rng rng = az_rng_at((uint64_t)(100 * n + m), (uint64_t)cols);
    for (int64_t i = 0; i < AZ_STRIP * cols; i++) o.w[i] = (uint8_t)az_below(&rng, 1u << n);
    for (int64_t i = 0; i < VECTORS * cols; i++) o.x[i] = (uint8_t)az_below(&rng, 1u << m);
    return o;
}

/* sum over k of v_w v_x from what the kernels give. */
static void expect_products(const operands *o, const uint32_t *different, const int64_t *want, const char *kernel)
{
    const int64_t all = o->cols * ((1 << o->n) - 1) * ((1 << o->m) - 1);
    for (int i = 0; i < VECTORS * AZ_STRIP; i++)
        cr_assert_eq(all - 2 * (int64_t)different[i], want[i], "%s: %d x %d bits, %lld inputs, %d", kernel, o->n, o->m, (long long)o->cols,
                     i);
}

static void check_kernels(az_ctx *az, const operands *o)
{
#if defined(__x86_64__)
    const az_plane_kernels *middle = az_cpu_features()->avx2 ? &az_plane_kernels_avx2 : &az_plane_kernels_portable;
#else
    const az_plane_kernels *middle = &az_plane_kernels_portable;
#endif
    const az_plane_kernels *const sets[] = {&az_plane_kernels_portable, middle, az_plane_kernels_here()};
    const az_bipolar_layout l = az_bipolar_layout_of(AZ_STRIP, o->cols, o->n, 1);
    const int64_t widths[] = {l.chunks * o->m, l.chunks * 32 * az_plane_digits(o->m)};
    uint8_t *strip = az_alloc(az, (size_t)l.strip_bytes), *laid[2];
    int64_t want[VECTORS * AZ_STRIP] = {0}, products[VECTORS * AZ_STRIP] = {0};
    uint32_t sum[VECTORS * AZ_STRIP];
    for (int r = 0; r < AZ_STRIP; r++) az_bipolar_set_row(&l, strip, r, o->cols, o->w + r * o->cols);
    for (int v = 0; v < VECTORS; v++)
        for (int r = 0; r < AZ_STRIP; r++)
            for (int64_t c = 0; c < o->cols; c++) {
                const int w = o->w[r * o->cols + c], x = o->x[v * o->cols + c];
                want[v * AZ_STRIP + r] += (int64_t)(2 * w - (1 << o->n) + 1) * (2 * x - (1 << o->m) + 1);
                products[v * AZ_STRIP + r] += w * x;
            }
    for (int i = 0; i < 2; i++) {
        laid[i] = az_alloc(az, (size_t)(VECTORS * widths[i]));
        for (int v = 0; v < VECTORS; v++)
            (i ? az_bipolar_lay_tables : az_bipolar_lay_planes)(o->x + v * o->cols, o->cols, o->m, laid[i] + v * widths[i]);
    }
    const az_plane_strip w = {.bits = strip, .planes = o->n, .chunks = l.chunks, .block = l.block};
    for (int s = 0; s < 3; s++) {
        for (int n = 1; n <= VECTORS; n += 1 + (n > 2)) {
            const az_plane_input bits = {.data = laid[0], .stride = widths[0], .n = n, .planes = o->m};
            const az_plane_input tables = {.data = laid[1], .stride = widths[1], .n = n, .planes = o->m};
            if (n < VECTORS) {
                sets[s]->popcount(&w, &bits, sum);
                sets[s]->lookup(&w, &tables, sum);
                continue;
            }
            sets[s]->popcount(&w, &bits, sum);
            expect_products(o, sum, want, "popcount");
            sets[s]->lookup(&w, &tables, sum);
            expect_products(o, sum, want, "lookup");
        }
        sets[s]->codes(&(az_code_rows){o->w, AZ_STRIP, o->cols}, &(az_code_rows){o->x, VECTORS, o->cols}, o->cols, sum);
        for (int i = 0; i < VECTORS * AZ_STRIP; i++) cr_assert_eq(sum[i], (uint32_t)products[i]);
    }
}

Test(bipolar, kernels_give_exact_products_of_all_widths)
{
    static const int64_t cols[] = {1, 63, 64, 255, 256, 257, 1300};
    az_ctx *az = az_open(NULL);
    for (int n = 1; n <= 8; n++)
        for (int m = 1; m <= 8; m++)
            for (size_t c = 0; c < sizeof cols / sizeof *cols; c++) {
                az_scope_push(az);
                const operands o = random_operands(az, n, m, cols[c]);
                check_kernels(az, &o);
                az_scope_pop(az);
            }
    const operands o = random_operands(az, 3, 7, 4096);
    check_kernels(az, &o);
    az_close(az);
}

/* Nothing overflows where every bit differs. */
Test(bipolar, counters_hold_the_largest_sums)
{
    az_ctx *az = az_open(NULL);
    for (int bits = 1; bits <= 8; bits++) {
        az_scope_push(az);
        operands o = random_operands(az, bits, bits, bits == 8 ? 8 * AZ_MOST_CHUNKS : 8192);
        memset(o.w, 0, (size_t)(AZ_STRIP * o.cols));
        memset(o.x, (1 << bits) - 1, (size_t)(VECTORS * o.cols));
        check_kernels(az, &o);
        az_scope_pop(az);
    }
    az_close(az);
}

/* ---- codes ---- */

Test(bipolar, codes_stand_for_odd_numbers)
{
    az_ctx *az = az_open(NULL);
    for (int bits = 1; bits <= 8; bits++) {
        const int64_t cols = 1 << bits;
        az_tensor *w = az_new2(az, AZ_F32, 2, cols);
        for (int64_t c = 0; c < 2 * cols; c++) az_f32_mut(w)[c] = (float)(2 * (c % cols) - cols + 1);
        const az_weight *b =
            az_weight_bipolar(az, az_weight_dense(az, w), &(az_bipolar_settings){.weight_bits = bits, .activation_bits = 8});
        cr_assert_not_null(b, "%s", az_error(az));
        cr_assert_eq(matrix_difference(az_weight_decode(az, b), w), 0, "%d bits", bits);
        uint8_t code[256];
        const az_bipolar_layout l = az_bipolar_layout_of_weight(b);
        az_bipolar_get_row(&l, b->part[BIPOLAR_PLANES]->data, 1, cols, code);
        for (int64_t c = 0; c < cols; c++) cr_assert_eq(code[c], c);
    }
    az_close(az);
}

static az_weight *random_grid(az_ctx *az, int64_t rows, int64_t cols, int bits, int64_t groups)
{
    az_weight *w = az_grid_new(az, rows, cols, bits, groups);
    az_rng rng = az_rng_at(2, (uint64_t)bits);
    for (int64_t i = 0; i < rows * cols; i++)
        az_grid_set_code(w, i / cols, i % cols, (int)(i < 1 << bits ? i : (int64_t)az_below(&rng, 1u << bits)));
    for (int64_t i = 0; i < rows * groups; i++) {
        az_f32_mut(w->part[1])[i] = (float)(0.01 + az_uniform(&rng));
        az_f32_mut(w->part[2])[i] = (float)az_below(&rng, 1u << bits);
    }
    return w;
}

/* Whatever the zero point; the values agree to the last bits of f32. */
Test(bipolar, grids_are_taken_over_without_loss)
{
    az_ctx *az = az_open(NULL);
    for (int bits = 1; bits <= 8; bits++)
        for (int64_t groups = 1; groups <= 4; groups *= 4) {
            const az_weight *w = random_grid(az, 37, 320, bits, groups);
            const az_weight *b = az_weight_bipolar_recode(az, w, &(az_bipolar_settings){.activation_bits = 8});
            cr_assert_not_null(b, "%s", az_error(az));
            cr_assert_leq(matrix_difference(az_weight_decode(az, b), az_weight_decode(az, w)), 1e-6 * (1 << bits), "%d bits", bits);
        }
    az_close(az);
}

/* All codes of signed formats, the lowest of which has no opposite: bit for bit. */
Test(bipolar, blocks_are_taken_over_bit_for_bit)
{
    static const char *const formats[] = {"q8_0", "q5_0", "q4_0"};
    az_ctx *az = az_open(NULL);
    for (int f = 0; f < 3; f++) {
        const az_format *format = az_format_by_name(formats[f]);
        const int half = 1 << (az_format_level_bits(format) - 1);
        az_tensor *level = az_new2(az, AZ_I8, 40, 256), *scale = az_new2(az, AZ_F16, 40, 8);
        for (int i = 0; i < 40 * 256; i++) ((int8_t *)level->data)[i] = (int8_t)(i * 7 % (2 * half) - half);
        for (int i = 0; i < 40 * 8; i++) ((uint16_t *)scale->data)[i] = az_float_to_half(0.001f * (float)(i + 1));
        const az_weight *w = az_weight_from_levels(az, format, level, scale);
        const az_weight *b = az_weight_bipolar_recode(az, w, &(az_bipolar_settings){.activation_bits = 8});
        cr_assert_not_null(b, "%s", az_error(az));
        cr_assert_eq(b->part[BIPOLAR_SCALES]->dtype, AZ_F16);
        cr_assert_eq(matrix_difference(az_weight_decode(az, b), az_weight_decode(az, w)), 0, "%s", formats[f]);
        const az_weight *again = az_weight_bipolar_recode(az, b, &(az_bipolar_settings){.activation_bits = 3});
        cr_assert_eq(matrix_difference(az_weight_decode(az, again), az_weight_decode(az, w)), 0);
    }
    az_close(az);
}

static double squared_error(az_ctx *az, const az_tensor *dense, const az_bipolar_settings *s)
{
    const az_weight *b = az_weight_bipolar(az, az_weight_dense(az, (az_tensor *)(uintptr_t)dense), s);
    return az_to_double(az_sum(az, az_square(az, az_sub(az, az_weight_decode(az, b), dense)), AZ_ALL_AXES, false));
}

Test(bipolar, scales_are_those_that_were_asked_for)
{
    az_ctx *az = az_open(NULL);
    const az_tensor *w = az_cast(az, matrix_normal(az, AZ_F64, 33, 256, 3), AZ_F32);
    for (int bits = 1; bits <= 8; bits++) {
        az_bipolar_settings s = {.weight_bits = bits, .activation_bits = 8};
        const az_weight *b = az_weight_bipolar(az, az_weight_dense(az, (az_tensor *)(uintptr_t)w), &s);
        double most = 0, mean = 0;
        for (int c = 0; c < 256; c++) most = fmax(most, fabs(az_item(w, c))), mean += fabs(az_item(w, c)) / 256;
        cr_assert_float_eq(az_item(b->part[BIPOLAR_SCALES], 0), bits == 1 ? mean : most / ((1 << bits) - 1), 1e-6);
        const double plain = squared_error(az, w, &s);
        s.search = true;
        cr_assert_leq(squared_error(az, w, &s), plain + 1e-9, "%d", bits);
        s.group = 32;
        cr_assert_leq(squared_error(az, w, &s), plain + 1e-9, "%d", bits);
    }
    az_close(az);
}

Test(bipolar, offsets_keep_exact_zeros)
{
    az_ctx *az = az_open(NULL);
    az_tensor *w = az_affine(az, az_cast(az, matrix_normal(az, AZ_F64, 33, 256, 3), AZ_F32), 1, 0.3);
    for (int i = 0; i < 33 * 256; i += 2) az_f32_mut(w)[i] = 0;
    for (int bits = 1; bits <= 8; bits++) {
        const az_bipolar_settings s = {.weight_bits = bits, .activation_bits = 8, .offset = true, .search = bits > 4};
        const az_tensor *d = az_weight_decode(az, az_weight_bipolar(az, az_weight_dense(az, w), &s));
        for (int i = 0; i < 33 * 256; i += 2) cr_assert_eq(az_item(d, i), 0, "%d", bits);
    }
    az_close(az);
}

/* ---- products ---- */

/* W' x' of the decoded weight and the rounded vector, in double. */
static void expect_product(az_ctx *az, const az_weight *w, const az_tensor *x)
{
    const az_bipolar_how how = az_bipolar_how_of(w);
    const int64_t n = x->shape[0], cols = w->cols;
    const int most = (1 << how.activation_bits) - 1;
    const az_tensor *y = az_weight_apply(az, w, x), *d = az_weight_decode(az, w);
    az_bipolar_vectors v;
    cr_assert(y && az_bipolar_round(az, &how, az_f32(x), n, cols, &v), "%s", az_error(az));
    for (int64_t j = 0; j < n; j++)
        for (int64_t r = 0; r < w->rows; r++) {
            double want = 0, size = 0;
            for (int64_t c = 0; c < cols; c++) {
                const double value = (double)v.scale[j] * (2 * v.code[j * cols + c] - most) + v.offset[j];
                want += value * az_item(d, r * cols + c);
                size += fabs(value * az_item(d, r * cols + c));
            }
            cr_assert_float_eq(az_item(y, j * w->rows + r), want, 1e-6 * size + 1e-12, "%lld %lld", (long long)j, (long long)r);
        }
}

Test(bipolar, products_are_those_of_rounded_operands)
{
    static const int64_t groups[] = {0, 8, 32, 64, 256, 512};
    az_ctx *az = az_open(NULL);
    az_tensor *dense = az_affine(az, az_cast(az, matrix_normal(az, AZ_F64, 37, 1024, 1), AZ_F32), 1, 0.2);
    const az_tensor *x = az_affine(az, az_cast(az, matrix_normal(az, AZ_F64, 9, 1024, 2), AZ_F32), 1, -0.3);
    for (size_t g = 0; g < sizeof groups / sizeof *groups; g++)
        for (int way = 0; way < 4; way++) {
            const az_bipolar_settings s = {.weight_bits = 1 + (int)g,
                                           .activation_bits = 1 + 2 * way,
                                           .group = groups[g],
                                           .offset = way % 2,
                                           .activation_offset = way > 1,
                                           .kernel = (az_bipolar_kernel)way};
            expect_product(az, az_weight_bipolar(az, az_weight_dense(az, dense), &s), x);
        }
    az_close(az);
}

Test(bipolar, all_kernels_give_the_same_bits)
{
    az_ctx *az = az_open(NULL);
    az_tensor *dense = az_cast(az, matrix_normal(az, AZ_F64, 70, 333, 1), AZ_F32);
    const az_tensor *x = az_cast(az, matrix_normal(az, AZ_F64, 11, 333, 2), AZ_F32);
    for (int bits = 1; bits <= 8; bits++) {
        const az_tensor *y[4];
        for (int k = 0; k < 4; k++) {
            const az_bipolar_settings s = {.weight_bits = bits, .activation_bits = 9 - bits, .kernel = (az_bipolar_kernel)k};
            y[k] = az_weight_apply(az, az_weight_bipolar(az, az_weight_dense(az, dense), &s), x);
        }
        for (int k = 1; k < 4; k++) cr_assert_eq(matrix_difference(y[k], y[0]), 0);
        const az_tensor *one = az_weight_apply(
            az, az_weight_bipolar(az, az_weight_dense(az, dense), &(az_bipolar_settings){.weight_bits = bits, .activation_bits = 9 - bits}),
            az_contiguous(az, az_slice(az, x, 0, 5, 1)));
        for (int r = 0; r < 70; r++) cr_assert_eq(az_item(one, r), az_item(y[0], 5 * 70 + r)); /* company does not matter */
    }
    az_close(az);
}

Test(bipolar, zero_is_zero_and_padding_is_nothing)
{
    az_ctx *az = az_open(NULL);
    az_tensor *dense = az_cast(az, matrix_normal(az, AZ_F64, 33, 77, 1), AZ_F32),
              *x = az_cast(az, matrix_normal(az, AZ_F64, 3, 77, 2), AZ_F32);
    memset(az_f32_mut(dense) + 32 * 77, 0, 77 * sizeof(float));
    memset(az_f32_mut(x) + 77, 0, 77 * sizeof(float));
    const az_weight *w = az_weight_bipolar(az, az_weight_dense(az, dense), &(az_bipolar_settings){.weight_bits = 3, .activation_bits = 4});
    const az_tensor *y = az_weight_apply(az, w, x), *d = az_weight_decode(az, w);
    for (int r = 0; r < 33; r++) cr_assert_eq(az_item(y, 33 + r), 0);
    for (int c = 0; c < 77; c++) cr_assert_eq(az_item(d, 32 * 77 + c), 0);
    for (int j = 0; j < 3; j++) cr_assert_eq(az_item(y, j * 33 + 32), 0);
    az_close(az);
}

/* ---- refusals ---- */

Test(bipolar, parts_that_do_not_fit_are_refused)
{
    az_ctx *az = az_open(NULL);
    az_tensor *dense = az_cast(az, matrix_normal(az, AZ_F64, 33, 77, 1), AZ_F32);
    const az_weight *w = az_weight_bipolar(az, az_weight_dense(az, dense), &(az_bipolar_settings){.weight_bits = 3, .activation_bits = 4});
    for (int way = 0; way < 9; way++) {
        az_tensor *part[AZ_WEIGHT_PARTS] = {NULL};
        for (int i = 0; i < 4; i++) part[i] = az_copy(az, w->part[i]);
        int32_t *how = part[BIPOLAR_HOW]->data;
        switch (way) {
        case 0: part[BIPOLAR_PLANES] = az_zeros(az, AZ_U8, 2, (const int64_t[]){1, w->part[0]->shape[1]}); break;
        case 1: part[BIPOLAR_PLANES] = az_zeros(az, AZ_U8, 2, (const int64_t[]){2, w->part[0]->shape[1] - 32}); break;
        case 2: az_f32_mut(part[BIPOLAR_SCALES])[3] = NAN; break;
        case 3: az_f32_mut(part[BIPOLAR_OFFSETS])[3] = INFINITY; break;
        case 4: how[0] = 9; break;
        case 5: how[1] = 0; break;
        case 6: how[2] = 4; break;
        case 7: memset(part[BIPOLAR_PLANES]->data, 255, (size_t)az_count(part[BIPOLAR_PLANES])); break;
        default: part[BIPOLAR_SCALES] = az_zeros(az, AZ_F32, 2, (const int64_t[]){33, 7}); break;
        }
        cr_assert_null(az_weight_from_parts(az, w->format, 33, 77, part), "%d", way);
        cr_assert_eq(az_status_of(az), AZ_BAD_INPUT, "%d", way);
        az_clear(az);
    }
    cr_assert_null(
        az_weight_bipolar(az, az_weight_dense(az, dense), &(az_bipolar_settings){.weight_bits = 3, .activation_bits = 4, .group = 7}));
    cr_assert_not_null(strstr(az_error(az), "groups"));
    az_clear(az);
    cr_assert_null(az_weight_bipolar_recode(az, az_weight_dense(az, dense), &(az_bipolar_settings){.activation_bits = 4}));
    cr_assert_not_null(strstr(az_error(az), "no codes"));
    az_clear(az);
    az_tensor *x = az_zeros(az, AZ_F32, 2, (const int64_t[]){1, 77});
    az_f32_mut(x)[3] = NAN;
    cr_assert_null(az_weight_apply(az, w, x));
    cr_assert_eq(az_status_of(az), AZ_NUMERIC);
    az_clear(az);
    az_f32_mut(dense)[5] = INFINITY;
    cr_assert_null(az_weight_bipolar(az, az_weight_dense(az, dense), &(az_bipolar_settings){.weight_bits = 3, .activation_bits = 4}));
    cr_assert_eq(az_status_of(az), AZ_NUMERIC);
    az_close(az);
}
