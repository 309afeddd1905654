/* Matrices that store the kept values of a pattern n:m: layout, products, refusals. */
#include "adze/weight.h"
#include "support/matrix.h"
#include "weight/kernels/expand.h"
#include "weight/kernels/kernels.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

/* Normal entries pruned to n of every m, rounded to f16. */
static az_tensor *pruned(az_ctx *az, int64_t rows, int64_t cols, int n, int m)
{
    const az_tensor *x = az_cast(az, matrix_normal(az, AZ_F64, rows, cols, 3), AZ_F16);
    az_tensor *f32 = az_cast(az, x, AZ_F32);
    const az_tensor *mask = az_mask_lowest(az, az_abs(az, f32), (az_mask_how){.pattern = {n, m}});
    return az_weight_decode(az, az_mask_apply(az, az_weight_dense(az, f32), mask));
}

static az_weight *packed(az_ctx *az, az_tensor *dense, const char *format)
{
    return az_weight_encode(az, az_weight_dense(az, dense), az_format_by_name(format), NULL);
}

static const struct {
    int n, m;
    int64_t cols;
} patterns[] = {{2, 4, 64}, {1, 4, 36}, {1, 2, 22}, {4, 8, 40}, {3, 8, 24}, {3, 5, 35}, {7, 16, 48}, {13, 16, 32}, {2, 4, 12}, {1, 16, 16}};
enum { PATTERNS = sizeof patterns / sizeof *patterns };

Test(nm, keeps_every_value_and_no_more)
{
    az_ctx *az = az_open(NULL);
    for (int p = 0; p < PATTERNS; p++) {
        const int64_t rows = 7, cols = patterns[p].cols;
        az_tensor *x = pruned(az, rows, cols, patterns[p].n, patterns[p].m);
        const az_weight *w = packed(az, x, "nm_f16");
        cr_assert_not_null(w, "%s", az_error(az));
        cr_assert_eq(matrix_difference(x, az_weight_decode(az, w)), 0, "%d:%d", patterns[p].n, patterns[p].m);
        const int64_t kept = cols / patterns[p].m * patterns[p].n;
        cr_assert_eq(az_weight_bytes(w), (size_t)(rows * (2 * kept + (cols + 7) / 8)), "%d:%d", patterns[p].n, patterns[p].m);
    }
    az_close(az);
}

/* Columns 1 and 2 of the first group, 0 and 3 of the second. */
Test(nm, lies_in_memory_as_described)
{
    az_ctx *az = az_open(NULL);
    az_tensor *x = az_from(az, AZ_F32, 2, (const int64_t[]){1, 8}, (const float[]){0, 1, -2, 0, 0.5f, 0, 0, 4});
    const az_weight *w = packed(az, x, "nm_bf16");
    cr_assert_not_null(w, "%s", az_error(az));
    cr_assert_arr_eq(w->part[0]->data, ((const uint16_t[]){0x3f80, 0xc000, 0x3f00, 0x4080}), 8);
    cr_assert_eq(*(const unsigned char *)w->part[1]->data, 0x96);
    az_close(az);
}

Test(nm, groups_with_more_zeros_are_filled_up)
{
    az_ctx *az = az_open(NULL);
    az_tensor *x = az_from(az, AZ_F32, 2, (const int64_t[]){2, 4}, (const float[]){0, 0, 0, 0, 1, 0, 2, 0});
    const az_weight *w = packed(az, x, "nm_f16");
    cr_assert_not_null(w, "%s", az_error(az));
    cr_assert_eq(w->part[0]->shape[2] * 2, w->cols / w->part[0]->shape[1]);
    cr_assert_eq(matrix_difference(x, az_weight_decode(az, w)), 0);
    az_close(az);
}

Test(nm, the_table_of_places_follows_its_definition)
{
    for (int mask = 0; mask < 256; mask++)
        for (int c = 0, rank = 0; c < 8; c++) {
            const int place = (int)(az_expand[mask][c / 4] >> 16 * (c % 4) & 0xffff);
            cr_assert_eq(place, mask >> c & 1 ? 2 * rank | (2 * rank + 1) << 8 : 0x8080);
            rank += mask >> c & 1;
        }
}

static const az_weight_kernels *const *kernel_sets(void)
{
    static const az_weight_kernels *sets[3] = {&az_weight_kernels_portable};
    if (az_weight_kernels_here() != sets[0]) sets[1] = az_weight_kernels_here();
    return sets;
}

static az_kept_rows rows_of(const az_weight *w, int per_byte)
{
    const int64_t per_row = w->part[0]->shape[1] * w->part[0]->shape[2];
    const uint16_t *value = w->part[0]->data;
    return (az_kept_rows){.value = value,
                          .end = value + w->rows * per_row,
                          .mask = w->part[1]->data,
                          .count = w->rows,
                          .per_row = per_row,
                          .per_byte = per_byte,
                          .bf16 = w->part[0]->dtype == AZ_BF16};
}

Test(nm, products_are_those_of_the_decoded_matrix)
{
    az_ctx *az = az_open(NULL);
    enum { MOST = 7, ROWS = 19 };
    for (int p = 0; p < PATTERNS; p++)
        for (int bf16 = 0; bf16 < 2; bf16++)
            for (const az_weight_kernels *const *set = kernel_sets(); *set; set++) {
                const int m = patterns[p].m, n = patterns[p].n;
                const int64_t cols = patterns[p].cols;
                const az_weight *w = packed(az, pruned(az, ROWS, cols, n, m), bf16 ? "nm_bf16" : "nm_f16");
                const az_tensor *x = az_cast(az, matrix_normal(az, AZ_F64, MOST, cols, 4), AZ_F32);
                const az_columns columns = {.n = MOST, .cols = cols, .value = az_f32(x)};
                const az_kept_rows rows = rows_of(w, 8 % m == 0 && 8 / m * n <= 4 ? 8 / m * n : 0);
                float y[MOST * ROWS], alone[ROWS];
                (*set)->kept(&rows, &columns, y, ROWS);
                const az_tensor *want = az_matmul_nt(az, x, az_weight_decode(az, w));
                for (int i = 0; i < MOST * ROWS; i++) cr_assert_float_eq(y[i], az_item(want, i), 1e-4, "%d:%d", n, m);
                const az_columns last = {.n = 1, .cols = cols, .value = az_f32(x) + (MOST - 1) * cols};
                (*set)->kept(&rows, &last, alone, ROWS); /* bit for bit */
                cr_assert_arr_eq(alone, y + (MOST - 1) * ROWS, sizeof alone);
            }
    cr_assert(az_ok(az), "%s", az_error(az));
    az_close(az);
}

/* The kernel for 2:4 against that for all patterns, and each vector alone, bit for bit. */
Test(nm, two_of_four_has_a_kernel_of_its_own)
{
    static const int64_t widths[] = {4, 12, 256, 260, 516, 1036};
    const az_weight_kernels *kernels = az_weight_kernels_here();
    if (!kernels->two_of_four) return;
    az_ctx *az = az_open(NULL);
    enum { MOST = 7, ROWS = 11 };
    for (size_t k = 0; k < sizeof widths / sizeof *widths; k++)
        for (int bf16 = 0; bf16 < 2; bf16++) {
            const int64_t cols = widths[k];
            const az_weight *w = packed(az, pruned(az, ROWS, cols, 2, 4), bf16 ? "nm_bf16" : "nm_f16");
            const az_tensor *x = az_cast(az, matrix_normal(az, AZ_F64, MOST, cols, 4), AZ_F32);
            const az_kept_rows rows = rows_of(w, 4);
            float want[MOST * ROWS], y[MOST * ROWS], alone[ROWS];
            float *arranged = az_alloc_array(az, (size_t)(MOST * az_fours(cols)), sizeof *arranged);
            az_kept_portable(&rows, &(az_columns){.n = MOST, .cols = cols, .value = az_f32(x)}, want, ROWS);
            for (int n = 1; n <= MOST; n++) {
                az_arrange_fours(az_f32(x), n, cols, arranged);
                kernels->two_of_four(&rows, &(az_columns){.n = n, .cols = cols, .value = arranged}, y, ROWS);
                for (int i = 0; i < n * ROWS; i++) cr_assert_float_eq(y[i], want[i], 1e-4);
                az_arrange_fours(az_f32(x) + (n - 1) * cols, 1, cols, arranged);
                kernels->two_of_four(&rows, &(az_columns){.n = 1, .cols = cols, .value = arranged}, alone, ROWS);
                cr_assert_arr_eq(alone, y + (n - 1) * ROWS, sizeof alone, "%d vectors", n);
            }
        }
    cr_assert(az_ok(az), "%s", az_error(az));
    az_close(az);
}

Test(nm, rows_are_widened_alike_by_all_sets)
{
    az_ctx *az = az_open(NULL);
    for (int p = 0; p < PATTERNS; p++) {
        enum { ROWS = 5 };
        const int64_t cols = patterns[p].cols;
        const int n = patterns[p].n, m = patterns[p].m;
        const az_weight *w = packed(az, pruned(az, ROWS, cols, n, m), p % 2 ? "nm_bf16" : "nm_f16");
        const az_kept_rows rows = rows_of(w, 8 % m == 0 && 8 / m * n <= 4 ? 8 / m * n : 0);
        float here[ROWS * 64], there[ROWS * 64];
        az_weight_kernels_here()->widen_kept(&rows, cols, here);
        az_widen_kept_portable(&rows, cols, there);
        cr_assert_arr_eq(here, there, (size_t)(ROWS * cols) * sizeof *here, "%d:%d", n, m);
    }
    az_close(az);
}

Test(nm, few_and_many_vectors)
{
    az_ctx *az = az_open(NULL);
    const az_weight *w = packed(az, pruned(az, 50, 64, 2, 4), "nm_f16");
    for (int64_t n = 1; n <= 40; n += 13) {
        const az_tensor *x = az_cast(az, matrix_normal(az, AZ_F64, n, 64, 6), AZ_F32);
        const az_tensor *want = az_matmul_nt(az, x, az_weight_decode(az, w));
        cr_assert(matrix_difference(az_weight_apply(az, w, x), want) < 1e-4);
    }
    az_close(az);
}

Test(nm, a_dense_matrix_is_refused)
{
    az_ctx *az = az_open(NULL);
    cr_assert_null(packed(az, az_cast(az, matrix_normal(az, AZ_F64, 4, 32, 3), AZ_F32), "nm_f16"));
    cr_assert_eq(az_status_of(az), AZ_BAD_INPUT);
    cr_assert_not_null(strstr(az_error(az), "prune"), "%s", az_error(az));
    az_close(az);
}

Test(nm, masks_that_break_the_pattern_are_refused)
{
    az_ctx *az = az_open(NULL);
    const az_weight *w = packed(az, pruned(az, 3, 12, 2, 4), "nm_f16");
    unsigned char *mask = w->part[1]->data;
    mask[2] ^= 1; /* row 1, first column */
    cr_assert_null(az_weight_from_parts(az, w->format, 3, 12, w->part));
    cr_assert_not_null(strstr(az_error(az), "row 1"), "%s", az_error(az));
    az_clear(az);
    mask[2] ^= 1, mask[1] |= 0x80; /* behind the last column of row 0 */
    cr_assert_null(az_weight_from_parts(az, w->format, 3, 12, w->part));
    az_clear(az);
    mask[1] &= 0x0f;
    cr_assert_not_null(az_weight_from_parts(az, w->format, 3, 12, w->part), "%s", az_error(az));
    cr_assert_null(az_weight_from_parts(az, az_format_by_name("nm_bf16"), 3, 12, w->part));
    cr_assert_eq(az_status_of(az), AZ_BAD_INPUT);
    az_close(az);
}
