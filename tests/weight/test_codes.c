/* Formats of codes: additive codebooks and grids against their definitions, table products, refusals. */
#include "support/layers.h"
#include "weight/kernels/tables.h"
#include "weight/weight_internal.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

/* A random aq weight. */
static az_weight *random_aq(az_ctx *az, const int64_t shape[2], int64_t books, int64_t entries, int64_t og, int64_t ig)
{
    const int64_t codes_shape[] = {shape[1] / ig, books, shape[0] / og};
    az_tensor *codes = az_tensor_new(az, entries <= 256 ? AZ_U8 : AZ_I16, 3, codes_shape);
    az_rng rng = az_rng_at(3, (uint64_t)(books * 1000 + entries));
    for (int64_t i = 0; i < az_count(codes); i++) {
        const uint64_t code = az_below(&rng, (uint64_t)entries);
        if (entries <= 256)
            ((uint8_t *)codes->data)[i] = (uint8_t)code;
        else
            ((uint16_t *)codes->data)[i] = (uint16_t)code;
    }
    az_tensor *const parts[AZ_WEIGHT_PARTS] = {codes, az_randn(az, AZ_F32, 4, (const int64_t[]){books, entries, og, ig}, 1, 4, 1),
                                               az_randn(az, AZ_F32, 1, &codes_shape[2], 1, 4, 2)};
    return az_weight_from_parts(az, az_format_by_name("aq"), shape[0], shape[1], parts);
}

/* Element (r, col) from the definition. */
static double aq_element(const az_weight *w, int64_t r, int64_t col)
{
    const az_tensor *codes = w->part[0], *books = w->part[1];
    const int64_t og = books->shape[2], ig = books->shape[3], entries = books->shape[1], j = col / ig, o = r / og;
    double sum = 0;
    for (int64_t c = 0; c < codes->shape[1]; c++) {
        const int64_t at = (j * codes->shape[1] + c) * codes->shape[2] + o;
        const int64_t code = codes->dtype == AZ_U8 ? ((uint8_t *)codes->data)[at] : ((uint16_t *)codes->data)[at];
        sum += az_item(books, ((c * entries + code) * og + r % og) * ig + col % ig);
    }
    return sum * az_item(w->part[2], o);
}

Test(codes, additive_codebooks_decode_as_defined)
{
    az_ctx *az = az_open(NULL);
    const int64_t tile[][2] = {{1, 8}, {1, 4}, {2, 4}, {4, 2}, {3, 1}};
    for (int64_t books = 1; books <= 4; books++)
        for (size_t t = 0; t < sizeof tile / sizeof *tile; t++) {
            const az_weight *w = random_aq(az, (const int64_t[]){24, 16}, books, t == 1 ? 700 : 50, tile[t][0], tile[t][1]);
            const az_tensor *dense = az_weight_decode(az, w);
            cr_assert(az_ok(az), "%s", az_error(az));
            for (int64_t i = 0; i < 24 * 16; i++) cr_assert_float_eq(az_item(dense, i), aq_element(w, i / 16, i % 16), 1e-5);
        }
    az_close(az);
}

Test(codes, table_products_equal_the_decoded_ones)
{
    az_ctx *az = az_open(NULL);
    for (int64_t books = 1; books <= 3; books++)
        for (int64_t n = 1; n <= 9; n++) {
            const az_weight *w = random_aq(az, (const int64_t[]){1061, 136}, books, books == 2 ? 256 : 64, 1, 8);
            const az_tensor *x = az_randn(az, AZ_F32, 2, (const int64_t[]){n, 136}, 1, 9, (uint64_t)n);
            const az_tensor *dense = az_weight_decode(az, w);
            cr_assert_lt(test_difference(az_weight_apply(az, w, x), az_matmul_nt(az, x, dense)), 1e-4);
            const az_tensor *g = az_randn(az, AZ_F32, 2, (const int64_t[]){n, 1061}, 1, 9, (uint64_t)n);
            cr_assert_lt(test_difference(az_weight_apply_t(az, w, g), az_matmul(az, g, dense)), 1e-4);
        }
    az_close(az);
}

Test(codes, kernels_agree_with_the_portable_one)
{
    enum { TABLES = 4, COUNT = 77, DEPTH = 5, SIZE = TABLES * AZ_TABLE * AZ_TABLE_LANES };
    static float table[2][SIZE], all[2][SIZE], column[DEPTH * AZ_TABLE];
    float x[2][DEPTH];
    uint8_t code[TABLES * COUNT];
    for (int i = 0; i < DEPTH * AZ_TABLE; i++) column[i] = cosf((float)i);
    for (int i = 0; i < DEPTH; i++) x[0][i] = sinf((float)i), x[1][i] = cosf(0.5f * (float)i);
    for (int i = 0; i < TABLES * COUNT; i++) code[i] = (uint8_t)(i * 37);
    const az_table_kernels *const set[2] = {az_table_kernels_here(), &az_table_kernels_portable};
    for (int lanes = 1; lanes <= AZ_TABLE_LANES; lanes += AZ_TABLE_LANES - 1) {
        float sum[2][COUNT * AZ_TABLE_LANES] = {{0}};
        for (int s = 0; s < 2; s++) {
            for (int k = 0; k < TABLES * AZ_TABLE_LANES; k += 2)
                set[s]->dot_two(column + k, DEPTH - 1, (const float *const[]){x[0], x[1]},
                                (float *const[]){table[s] + k * AZ_TABLE, table[s] + (k + 1) * AZ_TABLE});
            for (int k = 0; k < TABLES; k++) set[s]->interleave(table[0] + k * AZ_TABLE * 4, all[s] + k * AZ_TABLE * 4);
            for (int i = 0; i < SIZE; i++) cr_assert_float_eq(table[s][i], table[0][i], 1e-5);
            cr_assert_arr_eq(all[s], all[0], sizeof all[0]);
            set[s]->look_up(&(az_tables){.lanes = lanes, .tables = TABLES, .table = all[0], .code = code, .stride = COUNT}, COUNT, sum[s]);
            for (int i = 0; i < COUNT * lanes; i++) cr_assert_float_eq(sum[s][i], sum[0][i], 1e-5);
        }
    }
}

Test(codes, a_grid_holds_any_width_of_codes)
{
    enum { ROWS = 3, COLS = 24, GROUPS = 3 };
    az_ctx *az = az_open(NULL);
    for (int bits = 1; bits <= 8; bits++) {
        az_weight *w = az_grid_new(az, ROWS, COLS, bits, GROUPS);
        az_rng rng = az_rng_at(1, (uint64_t)bits);
        int code[ROWS * COLS];
        for (int i = 0; i < ROWS * GROUPS; i++) {
            az_f32_mut(w->part[1])[i] = (float)az_normal(&rng);
            az_f32_mut(w->part[2])[i] = (float)az_normal(&rng);
        }
        for (int turn = 0; turn < 2; turn++) /* the second time over other codes */
            for (int i = 0; i < ROWS * COLS; i++)
                az_grid_set_code(w, i / COLS, i % COLS, code[i] = (int)az_below(&rng, (uint64_t)1 << bits));
        const az_tensor *dense = az_weight_decode(az, w);
        for (int i = 0; i < ROWS * COLS; i++) {
            cr_assert_eq(az_grid_code(w, i / COLS, i % COLS), code[i]);
            const int at = i / COLS * GROUPS + i % COLS / (COLS / GROUPS);
            cr_assert_float_eq(az_item(dense, i), az_item(w->part[1], at) * (code[i] - az_item(w->part[2], at)), 2e-4);
        }
        cr_assert_eq(az_weight_bytes(w), ROWS * ((COLS * bits + 7) / 8) + 2 * ROWS * GROUPS * 4 + 4);
    }
    az_close(az);
}

Test(codes, sizes_are_what_the_shape_says)
{
    az_ctx *az = az_open(NULL);
    const az_weight *w = random_aq(az, (const int64_t[]){64, 128}, 2, 16, 1, 8);
    cr_assert_eq(az_weight_bytes(w), 64 * 16 * 2 + 2 * 16 * 8 * 4 + 64 * 4);
    az_close(az);
}

static void refused(az_ctx *az, const az_weight *w, int part, az_tensor *instead, const char *why)
{
    az_tensor *parts[AZ_WEIGHT_PARTS];
    for (int i = 0; i < AZ_WEIGHT_PARTS; i++) parts[i] = i == part ? instead : w->part[i];
    cr_assert_null(az_weight_from_parts(az, w->format, w->rows, w->cols, parts));
    cr_assert_not_null(strstr(az_error(az), why), "'%s' does not say '%s'", az_error(az), why);
    az_clear(az);
}

Test(codes, parts_that_do_not_fit_are_refused)
{
    az_ctx *az = az_open(NULL);
    const az_weight *w = random_aq(az, (const int64_t[]){8, 16}, 1, 16, 1, 8), *grid = az_grid_new(az, 4, 8, 2, 2);
    az_tensor *codes = az_copy(az, w->part[0]);
    ((uint8_t *)codes->data)[3] = 16;
    refused(az, w, 0, codes, "code 16 at 3");
    refused(az, w, 0, az_new3(az, AZ_U8, 1, 1, 8), "do not fit");
    refused(az, w, 1, az_new3(az, AZ_F32, 1, 16, 8), "do not fit");
    refused(az, w, 2, az_new1(az, AZ_F32, 7), "do not fit");
    refused(az, grid, 3, az_from(az, AZ_I32, 1, (const int64_t[]){1}, &(int32_t){9}), "1 to 8 bits");
    refused(az, grid, 1, az_new2(az, AZ_F32, 4, 3), "do not fit");
    refused(az, grid, 0, az_new2(az, AZ_U8, 4, 3), "do not fit");
    az_close(az);
}
