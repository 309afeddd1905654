/* Matrix products, inner products, convolutions and pooling: naive sums, views, derivatives, threads. */
#include "support/layers.h"

#include <criterion/criterion.h>
#include <math.h>

static az_tensor *randn(az_ctx *az, az_dtype dtype, int rank, const int64_t *shape, uint64_t stream)
{
    return az_cast(az, az_randn(az, AZ_F64, rank, shape, 1, 11, stream), dtype);
}

/* ---- matrix products ---- */

static double element(const az_tensor *x, int64_t batch, int64_t row, int64_t column)
{
    int64_t rows = x->shape[x->rank - 2], columns = x->shape[x->rank - 1];
    return az_item(x, (batch * rows + row) * columns + column);
}

/* Compares y [batch, m, n] with sums over k; shared says which operand is the same for the whole batch. */
static void check_product(const az_tensor *a, const az_tensor *b, const az_tensor *y, bool a_shared, bool b_shared)
{
    cr_assert_not_null(y);
    int64_t m = y->shape[y->rank - 2], n = y->shape[y->rank - 1], k = a->shape[a->rank - 1];
    for (int64_t batch = 0; batch < az_count(y) / (m * n); batch++)
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < n; j++) {
                double sum = 0;
                for (int64_t p = 0; p < k; p++) sum += element(a, a_shared ? 0 : batch, i, p) * element(b, b_shared ? 0 : batch, p, j);
                cr_assert_float_eq(element(y, batch, i, j), sum, y->dtype == AZ_F32 ? 1e-4 : 1e-12);
            }
}

static az_tensor *turned(az_ctx *az, const az_tensor *x)
{
    return az_transpose(az, az_copy(az, az_transpose(az, x)));
}

Test(matmul, matches_sums_for_all_layouts_and_sizes)
{
    az_ctx *az = az_open(NULL);
    for (int64_t m = 1; m < 12; m += 3)
        for (int64_t n = 1; n < 40; n += 13)
            for (int64_t k = 1; k < 30; k += 7)
                for (int form = 0; form < 8; form++) {
                    az_scope_push(az);
                    az_dtype dtype = form & 4 ? AZ_F64 : AZ_F32;
                    const az_tensor *a = randn(az, dtype, 2, (int64_t[]){m, k}, 1), *b = randn(az, dtype, 2, (int64_t[]){k, n}, 2);
                    if (form & 1) a = turned(az, a);
                    if (form & 2) b = turned(az, b);
                    check_product(a, b, az_matmul(az, a, b), false, false);
                    check_product(a, b, az_matmul_nt(az, a, az_transpose(az, b)), false, false);
                    az_scope_pop(az);
                }
    az_close(az);
}

Test(matmul, leading_axes_broadcast)
{
    az_ctx *az = az_open(NULL);
    az_tensor *a = randn(az, AZ_F64, 3, (int64_t[]){5, 3, 4}, 1), *shared = randn(az, AZ_F64, 2, (int64_t[]){4, 6}, 2);
    az_tensor *b = randn(az, AZ_F64, 3, (int64_t[]){5, 4, 6}, 3), *row = randn(az, AZ_F64, 2, (int64_t[]){3, 4}, 4);
    check_product(a, shared, az_matmul(az, a, shared), false, true);
    check_product(row, b, az_matmul(az, row, b), true, false);
    check_product(a, b, az_matmul(az, a, b), false, false);
    az_tensor *grid = az_matmul(az, az_reshape(az, a, 4, (int64_t[]){5, 1, 3, 4}), az_reshape(az, b, 4, (int64_t[]){1, 5, 4, 6}));
    cr_assert_eq(az_count(grid), 5 * 5 * 3 * 6);
    for (int64_t i = 0; i < 5; i++) {
        az_tensor *one = az_reshape(az, az_slice(az, a, 0, i, 1), 2, (int64_t[]){3, 4});
        az_tensor *rows = az_reshape(az, az_slice(az, grid, 0, i, 1), 3, (int64_t[]){5, 3, 6});
        cr_assert_lt(test_difference(rows, az_matmul(az, one, b)), 1e-13);
    }
    az_close(az);
}

Test(matmul, slices_and_broadcast_operands)
{
    az_ctx *az = az_open(NULL);
    az_tensor *wide = randn(az, AZ_F32, 3, (int64_t[]){4, 7, 10}, 1), *b = randn(az, AZ_F32, 2, (int64_t[]){3, 5}, 2);
    az_tensor *part = az_slice(az, az_slice(az, wide, 2, 4, 3), 1, 2, 4);
    check_product(part, b, az_matmul(az, part, b), false, true);
    az_tensor *stretched = az_broadcast(az, randn(az, AZ_F32, 2, (int64_t[]){1, 3}, 3), 2, (int64_t[]){6, 3});
    check_product(stretched, b, az_matmul(az, stretched, b), false, false);
    az_close(az);
}

Test(matmul, empty_extents_and_misfits)
{
    az_ctx *az = az_open(NULL);
    az_tensor *none = az_zeros(az, AZ_F32, 2, (int64_t[]){3, 0}), *also = az_zeros(az, AZ_F32, 2, (int64_t[]){0, 2});
    az_tensor *y = az_matmul(az, none, also);
    cr_assert_not_null(y, "%s", az_error(az));
    for (int i = 0; i < 6; i++) cr_assert_eq(az_item(y, i), 0);
    cr_assert_eq(az_count(az_matmul(az, az_transpose(az, none), y)), 0);
    cr_assert_null(az_matmul(az, y, y));
    cr_assert_eq(az_status_of(az), AZ_BAD_CALL);
    az_clear(az);
    cr_assert_null(az_matmul_nt(az, y, none));
    cr_assert_null(az_matmul(az, NULL, y));
    az_close(az);
}

static az_tensor *matmul(az_ctx *az, az_tensor *const *in, int n, void *user)
{
    (void)n, (void)user;
    return az_matmul(az, in[0], in[1]);
}

static az_tensor *matmul_nt(az_ctx *az, az_tensor *const *in, int n, void *user)
{
    (void)n, (void)user;
    return az_matmul_nt(az, in[0], in[1]);
}

static az_tensor *dot(az_ctx *az, az_tensor *const *in, int n, void *user)
{
    (void)n, (void)user;
    return az_dot(az, in[0], in[1]);
}

Test(matmul, derivatives_and_threads)
{
    test_layer_fully(&(test_layer){.f = matmul, .n = 2, .input = {{2, {3, 4}}, {2, {4, 5}}}});
    test_layer_fully(&(test_layer){.f = matmul, .n = 2, .input = {{3, {2, 3, 4}}, {2, {4, 5}}}});
    test_layer_fully(&(test_layer){.f = matmul, .n = 2, .input = {{2, {3, 4}}, {3, {2, 4, 5}}}});
    test_layer_fully(&(test_layer){.f = matmul, .n = 2, .input = {{4, {2, 1, 3, 4}}, {3, {2, 4, 1}}}});
    test_layer_fully(&(test_layer){.f = matmul_nt, .n = 2, .input = {{3, {2, 3, 4}}, {2, {5, 4}}}});
    test_layer_fully(&(test_layer){.f = matmul_nt, .n = 2, .input = {{1, {4}}, {2, {5, 4}}}});
    test_layer_fully(&(test_layer){.f = dot, .n = 2, .input = {{2, {3, 4}}, {2, {3, 4}}}});
}

Test(matmul, large_products_do_not_depend_on_threads)
{
    test_threads_agree(&(test_layer){.f = matmul_nt, .n = 2, .input = {{2, {200, 128}}, {2, {384, 128}}}});
    test_threads_agree(&(test_layer){.f = matmul_nt, .n = 2, .input = {{2, {1, 300}}, {2, {700, 300}}}});
    test_threads_agree(&(test_layer){.f = matmul, .n = 2, .input = {{3, {8, 40, 50}}, {3, {8, 50, 60}}}});
}

Test(matmul, dot_of_long_vectors)
{
    az_ctx *az = az_open(NULL);
    az_tensor *x = az_randn(az, AZ_F32, 1, (int64_t[]){10007}, 1, 1, 1);
    double sum = 0;
    for (int64_t i = 0; i < 10007; i++) sum += az_item(x, i) * az_item(x, i);
    cr_assert_float_eq(az_to_double(az_dot(az, x, x)), sum, 1e-6 * sum);
    az_close(az);
}

/* ---- convolution and pooling ---- */

static const az_conv forms[] = {{.stride = {1, 1}}, {.stride = {2, 1}, .padding = {1, 2}}, {.stride = {3, 2}, .padding = {2, 0}}};

static double pixel(const az_tensor *x, int64_t image, int64_t channel, int64_t row, int64_t column)
{
    if (row < 0 || column < 0 || row >= x->shape[2] || column >= x->shape[3]) return 0;
    return az_item(x, ((image * x->shape[1] + channel) * x->shape[2] + row) * x->shape[3] + column);
}

Test(conv, matches_sums)
{
    az_ctx *az = az_open(NULL);
    az_tensor *x = randn(az, AZ_F64, 4, (int64_t[]){2, 3, 7, 8}, 1), *w = randn(az, AZ_F64, 4, (int64_t[]){4, 3, 3, 2}, 2);
    for (int form = 0; form < 3; form++) {
        const az_conv how = forms[form];
        az_tensor *y = az_conv2d(az, x, w, how);
        cr_assert_not_null(y);
        cr_assert_eq(y->shape[2], (7 + 2 * how.padding[0] - 3) / how.stride[0] + 1);
        cr_assert_eq(y->shape[3], (8 + 2 * how.padding[1] - 2) / how.stride[1] + 1);
        for (int64_t at = 0; at < az_count(y); at++) {
            int64_t column = at % y->shape[3], row = at / y->shape[3] % y->shape[2], filter = at / (y->shape[2] * y->shape[3]) % 4,
                    image = at / (y->shape[2] * y->shape[3] * 4);
            double sum = 0;
            for (int e = 0; e < 18; e++)
                sum += az_item(w, filter * 18 + e) * pixel(x, image, e / 6, row * how.stride[0] + e / 2 % 3 - how.padding[0],
                                                           column * how.stride[1] + e % 2 - how.padding[1]);
            cr_assert_float_eq(az_item(y, at), sum, 1e-12);
        }
    }
    az_close(az);
}

static az_tensor *conv(az_ctx *az, az_tensor *const *in, int n, void *user)
{
    (void)n;
    return az_conv2d(az, in[0], in[1], *(const az_conv *)user);
}

static az_tensor *max_pool(az_ctx *az, az_tensor *const *in, int n, void *user)
{
    (void)n, (void)user;
    return az_square(az, az_max_pool2d(az, in[0], 2, 2));
}

static az_tensor *mean_pool(az_ctx *az, az_tensor *const *in, int n, void *user)
{
    (void)n, (void)user;
    return az_square(az, az_mean_pool2d(az, in[0], 3, 2));
}

Test(conv, derivatives_and_threads)
{
    for (int form = 0; form < 3; form++)
        test_layer_fully(&(test_layer){.f = conv, .user = (void *)&forms[form], .n = 2, .input = {{4, {2, 2, 5, 4}}, {4, {3, 2, 3, 2}}}});
    test_layer_fully(&(test_layer){.f = max_pool, .n = 1, .input = {{4, {2, 2, 5, 4}}}});
    test_layer_fully(&(test_layer){.f = mean_pool, .n = 1, .input = {{4, {2, 2, 7, 5}}}});
}

Test(conv, pools_match_windows)
{
    az_ctx *az = az_open(NULL);
    az_tensor *x = randn(az, AZ_F32, 4, (int64_t[]){2, 3, 7, 6}, 1), *most = az_max_pool2d(az, x, 3, 2),
              *mean = az_mean_pool2d(az, x, 3, 2);
    cr_assert_not_null(most);
    cr_assert(az_same_shape(most, mean));
    for (int64_t at = 0; at < az_count(most); at++) {
        int64_t column = at % 2, row = at / 2 % 3, channel = at / 6 % 3, image = at / 18;
        double best = -INFINITY, sum = 0;
        for (int e = 0; e < 9; e++) {
            double value = pixel(x, image, channel, row * 2 + e / 3, column * 2 + e % 3);
            best = fmax(best, value), sum += value;
        }
        cr_assert_eq(az_item(most, at), best);
        cr_assert_float_eq(az_item(mean, at), sum / 9, 1e-6);
    }
    az_close(az);
}

Test(conv, windows_that_do_not_fit_are_refused)
{
    az_ctx *az = az_open(NULL);
    az_tensor *x = az_zeros(az, AZ_F32, 4, (int64_t[]){1, 1, 3, 3}), *w = az_zeros(az, AZ_F32, 4, (int64_t[]){1, 1, 4, 4});
    cr_assert_null(az_conv2d(az, x, w, forms[0]));
    cr_assert_eq(az_status_of(az), AZ_BAD_CALL);
    az_clear(az);
    cr_assert_null(az_max_pool2d(az, x, 2, 0));
    cr_assert_eq(az_status_of(az), AZ_BAD_CALL);
    az_close(az);
}
