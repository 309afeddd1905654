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

Test(gemm, panels_hold_the_matrix_and_zeros)
{
    const az_panel_kernels *kernels = az_panel_kernels_here();
    if (!kernels) cr_skip_test("large products are left to BLAS here");
    az_ctx *az = az_open(NULL);
    const int64_t depths[] = {1, 7, 8, 21};
    for (int64_t n = 1; n < 40; n++)
        for (int d = 0; d < 4; d++)
            for (int form = 0; form < 3; form++) { /* 2: no neighbours at all */
                const int64_t depth = depths[d], rows = (n + 5) / 6, columns = (n + 15) / 16;
                az_matrix_f32 lines = matrix(az, 2 * n, 2 * depth, form == 1, 3);
                if (form == 2) lines.row *= 2, lines.column *= 2;
                float *to = az_alloc_array(az, (size_t)(columns * 16 * depth + 1), sizeof *to);
                to[rows * 6 * depth] = 77;
                kernels->pack_rows(n, depth, lines, to);
                cr_assert_eq(to[rows * 6 * depth], 77);
                for (int64_t i = 0; i < rows * 6; i++)
                    for (int64_t p = 0; p < depth; p++)
                        cr_assert_eq(to[(i / 6 * depth + p) * 6 + i % 6], i < n ? lines.data[i * lines.row + p * lines.column] : 0);
                to[columns * 16 * depth] = 77;
                kernels->pack_columns(depth, n, (az_matrix_f32){lines.data, lines.column, lines.row}, to);
                cr_assert_eq(to[columns * 16 * depth], 77);
                for (int64_t i = 0; i < columns * 16; i++)
                    for (int64_t p = 0; p < depth; p++)
                        cr_assert_eq(to[(i / 16 * depth + p) * 16 + i % 16], i < n ? lines.data[i * lines.row + p * lines.column] : 0);
            }
    az_close(az);
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
    if (!az_panel_kernels_here()) cr_skip_test("large products are left to BLAS here");
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
    if (!az_panel_kernels_here()) cr_skip_test("large products are left to BLAS here");
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
    if (!az_panel_kernels_here()) cr_skip_test("large products are left to BLAS here");
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
