/* Large products by packed panels: the kernels and the whole against sums in double, for all layouts; the same bits in any company. */
#include "adze/tensor.h"
#include "tensor/gemm.h"
#include "tensor/kernels/panels.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

static float *normal(az_ctx *az, int64_t n, uint64_t stream)
{
    return az_f32_mut(az_randn(az, AZ_F32, 1, &n, 1, 31, stream));
}

/* A matrix whose neighbours in memory are neighbours in a row or, when turned, in a column; lines lie `gap` further apart than they must.
 */
static az_matrix_f32 matrix(az_ctx *az, int64_t rows, int64_t columns, bool turned, int64_t gap)
{
    const int64_t line = (turned ? rows : columns) + gap;
    const float *data = normal(az, line * (turned ? columns : rows), (uint64_t)(rows * 1000 + columns));
    return (az_matrix_f32){.data = data, .row = turned ? 1 : line, .column = turned ? line : 1};
}

static double sum_of(const az_gemm *p, int64_t i, int64_t j)
{
    double sum = 0;
    for (int64_t k = 0; k < p->k; k++)
        sum += (double)p->a.data[i * p->a.row + k * p->a.column] * (double)p->b.data[k * p->b.row + j * p->b.column];
    return sum;
}

/* The sets that this processor runs. */
static int sets_here(const az_panel_kernels *out[4])
{
    int n = 0;
#if defined(__x86_64__)
    const az_cpu *cpu = az_cpu_features();
    if (cpu->avx2 && cpu->fma) out[n++] = &az_panel_kernels_avx2;
    if (cpu->avx512) out[n++] = &az_panel_kernels_avx512;
    for (int parts = 1; parts <= 2 && cpu->amx; parts++) out[n++] = &az_panel_kernels_amx[parts - 1];
#else
    (void)out;
#endif
    return n;
}

static char *panels_of(az_ctx *az, const az_panel_kernels *kernels, int64_t lines, int64_t width, int64_t depth, int64_t *bytes)
{
    *bytes = az_panel_bytes(kernels, (lines + width - 1) / width * width, depth);
    char *to = az_alloc_array(az, (size_t)*bytes + 1, 1);
    to[*bytes] = 77;
    return to;
}

/* m rows and n columns packed and multiplied panel by panel: the sums, and zeros where there is no line. Factors reach 4.5, so that two
 * roundings of one product may add up to 40 times that of a packed value. */
static void check_panels(az_ctx *az, const az_panel_kernels *kernels, int64_t m, int64_t n, int64_t depth, int form)
{
    az_matrix_f32 a = matrix(az, 2 * m, 2 * depth, form == 1, 3), b = matrix(az, 2 * depth, 2 * n, form == 1, 3);
    if (form == 2) a.row *= 2, a.column *= 2, b.row *= 2, b.column *= 2; /* no neighbours at all */
    int64_t row_bytes, column_bytes;
    char *rows = panels_of(az, kernels, m, kernels->rows, depth, &row_bytes);
    char *columns = panels_of(az, kernels, n, kernels->columns, depth, &column_bytes);
    kernels->pack_rows(m, depth, a, rows);
    kernels->pack_columns(depth, n, b, columns);
    cr_assert(rows[row_bytes] == 77 && columns[column_bytes] == 77, "%s, %d x %d x %d", kernels->name, (int)m, (int)n, (int)depth);
    const az_gemm p = {.k = depth, .a = a, .b = b};
    az_panel_begin(kernels);
    for (int64_t i = 0; i < m; i += kernels->rows)
        for (int64_t j = 0; j < n; j += kernels->columns) {
            float c[AZ_PANEL_MOST * AZ_PANEL_MOST];
            kernels->product(depth, rows + az_panel_bytes(kernels, i, depth), columns + az_panel_bytes(kernels, j, depth), false, c,
                             AZ_PANEL_MOST);
            for (int64_t r = 0; r < kernels->rows; r++)
                for (int64_t k = 0; k < kernels->columns; k++) {
                    const double expected = i + r < m && j + k < n ? sum_of(&p, i + r, j + k) : 0;
                    cr_assert_float_eq((double)c[r * AZ_PANEL_MOST + k], expected,
                                       1e-6 * (10 + (double)depth) + kernels->rounding * (40 + 8 * sqrt((double)depth)),
                                       "%s, %d x %d x %d, form %d", kernels->name, (int)m, (int)n, (int)depth, form);
                }
        }
    az_panel_end(kernels);
}

Test(gemm, panels_hold_the_matrix_and_zeros)
{
    static const int64_t depths[] = {1, 7, 8, 21, 40};
    const az_panel_kernels *sets[4];
    const int count = sets_here(sets);
    if (count == 0) cr_skip_test("large products are left to BLAS here");
    az_ctx *az = az_open(NULL);
    for (int i = 0; i < count; i++)
        for (int64_t n = 1; n < 70; n += n % 5 + 1)
            for (int d = 0; d < 5; d++)
                for (int form = 0; form < 3; form++) {
                    az_scope_push(az);
                    check_panels(az, sets[i], n, n + 3, depths[d], form);
                    az_scope_pop(az);
                }
    az_close(az);
}

/* What is infinite or no number does not become one; large and small ones are kept. */
Test(gemm, extreme_factors_keep_their_meaning)
{
    static const float extreme[] = {INFINITY, -INFINITY, NAN, 3.38e38F, -1e-30F, 0.1F};
    const az_panel_kernels *sets[4];
    const int count = sets_here(sets);
    if (count == 0) cr_skip_test("large products are left to BLAS here");
    for (int i = 0; i < count; i++)
        for (size_t k = 0; k < sizeof extreme / sizeof *extreme; k++) {
            const float one[2] = {1, 0}, value[2] = {extreme[k], 0};
            static _Alignas(64) char rows[1 << 14], columns[1 << 14];
            float c[AZ_PANEL_MOST * AZ_PANEL_MOST];
            sets[i]->pack_rows(1, 2, (az_matrix_f32){value, 2, 1}, rows);
            sets[i]->pack_columns(2, 1, (az_matrix_f32){one, 1, 2}, columns);
            az_panel_begin(sets[i]);
            sets[i]->product(2, rows, columns, false, c, AZ_PANEL_MOST);
            az_panel_end(sets[i]);
            if (!isfinite(extreme[k]))
                cr_assert(!isfinite(c[0]), "%s: %g", sets[i]->name, (double)c[0]);
            else
                cr_assert_float_eq((double)(c[0] / extreme[k]), 1, sets[i]->rounding + 1e-7, "%s: %g", sets[i]->name, (double)c[0]);
        }
}

static void check_product(az_ctx *az, const int64_t shape[3], int form)
{
    const int64_t m = shape[0], n = shape[1], k = shape[2], ldc = n + 5;
    az_scope_push(az);
    az_gemm p = {.m = m, .n = n, .k = k, .ldc = ldc, .add = form & 4};
    p.a = matrix(az, m, k, form & 1, 2);
    p.b = matrix(az, k, n, form & 2, 3);
    p.c = normal(az, m * ldc, 5);
    const float *before = az_f32(az_from(az, AZ_F32, 1, (int64_t[]){m * ldc}, p.c));
    cr_assert(az_gemm_run(az, &p), "%s", az_error(az));
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < ldc; j++) {
            const double was = (double)before[i * ldc + j], expected = j >= n ? was : sum_of(&p, i, j) + (p.add ? was : 0);
            cr_assert_float_eq((double)p.c[i * ldc + j], expected, j >= n ? 0 : 1e-6 * (10 + (double)k),
                               "[%d, %d] of %d x %d x %d, form %d", (int)i, (int)j, (int)m, (int)n, (int)k, form);
        }
    az_scope_pop(az);
}

Test(gemm, products_of_all_layouts_are_the_sums)
{
    if (!az_panel_kernels_here(AZ_EXACT_F32)) cr_skip_test("large products are left to BLAS here");
    static const int64_t shapes[][3] = {{1, 1, 1},   {6, 16, 8},    {7, 17, 9},     {5, 100, 320},  {48, 256, 321},
                                        {50, 33, 5}, {97, 70, 650}, {13, 2100, 10}, {201, 48, 1000}};
    for (int threads = 1; threads <= 3; threads += 2) {
        az_ctx *az = az_open(&(az_settings){.threads = threads});
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
            for (int form = 0; form < 8; form++) check_product(az, shapes[i], form);
        az_close(az);
    }
}

/* Rows first .. first + m - 1 of a product by themselves, or by other threads: the same bits. */
Test(gemm, bits_depend_on_neither_company_nor_threads)
{
    enum { M = 150, N = 300, K = 700 };
    if (!az_panel_kernels_here(AZ_EXACT_F32)) cr_skip_test("large products are left to BLAS here");
    az_ctx *az = az_open(&(az_settings){.threads = 1});
    az_gemm whole = {.m = M, .n = N, .k = K, .ldc = N, .c = normal(az, M * N, 1)};
    whole.a = matrix(az, M, K, false, 0);
    whole.b = matrix(az, K, N, true, 0);
    cr_assert(az_gemm_run(az, &whole));
    for (int threads = 2; threads <= 5; threads++) {
        az_ctx *other = az_open(&(az_settings){.threads = threads});
        az_gemm part = whole;
        const int64_t first = 7 * (threads - 1), column = 11 * (threads - 2);
        part.m = M - 2 * first;
        part.n = N - column;
        part.a.data += first * part.a.row;
        part.b.data += column * part.b.column;
        part.c = normal(other, M * N, 2);
        cr_assert(az_gemm_run(other, &part));
        for (int64_t i = 0; i < part.m; i++)
            cr_assert_arr_eq(part.c + i * N, whole.c + (first + i) * N + column, (size_t)part.n * sizeof(float));
        az_close(other);
    }
    az_close(az);
}

Test(gemm, memory_that_does_not_suffice_is_an_error)
{
    if (!az_panel_kernels_here(AZ_EXACT_F32)) cr_skip_test("large products are left to BLAS here");
    az_ctx *az = az_open(&(az_settings){.memory_limit = 8 << 20, .threads = 1});
    az_tensor *a = az_full(az, AZ_F32, 2, (int64_t[]){300, 2000}, 1), *b = az_full(az, AZ_F32, 2, (int64_t[]){2000, 500}, 1);
    cr_assert(a && b);
    cr_assert_not_null(az_matmul(az, a, b));
    az_tensor *rest = az_new1(az, AZ_U8, 512 << 10); /* leaves room for the result, not for what is packed */
    cr_assert_not_null(rest);
    cr_assert_null(az_matmul(az, a, b));
    cr_assert_eq(az_status_of(az), AZ_NO_MEMORY);
    az_close(az);
}
