/* Views, joins and rows by index against element access; what does not fit is refused with a message that names the shapes. */
#include "adze/tensor.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

/* 0, 1, 2, ... in the given shape. */
static az_tensor *counting(az_ctx *az, int rank, const int64_t *shape)
{
    az_tensor *x = az_tensor_new(az, AZ_F32, rank, shape);
    for (int64_t i = 0; i < az_count(x); i++) az_f32_mut(x)[i] = (float)i;
    return x;
}

static void assert_items(const az_tensor *x, int64_t n, const double *expected)
{
    cr_assert_eq(az_count(x), n);
    for (int64_t i = 0; i < n; i++)
        cr_assert_eq(az_item(x, i), expected[i], "element %d is %g, not %g", (int)i, az_item(x, i), expected[i]);
}

static void assert_error(az_ctx *az, const void *result, const char *text)
{
    cr_assert_null(result);
    cr_assert_str_eq(az_error(az), text);
    az_clear(az);
}

Test(views, reshape)
{
    az_ctx *az = az_open(NULL);
    az_tensor *x = counting(az, 2, (int64_t[]){3, 4});
    const az_tensor *y = az_reshape(az, x, 3, (int64_t[]){2, -1, 3});
    cr_assert_str_eq(az_shape_text(az, y), "[2, 2, 3]");
    cr_assert_eq(y->data, x->data);
    const az_tensor *turned = az_reshape(az, az_transpose(az, x), 1, (int64_t[]){-1});
    assert_items(turned, 12, (double[]){0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11});
    cr_assert_eq(az_reshape(az, az_slice(az, x, 0, 1, 1), 0, NULL), NULL);
    az_clear(az);
    assert_error(az, az_reshape(az, x, 2, (int64_t[]){5, -1}), "az_reshape: [3, 4] cannot become [5, -1]");
    assert_error(az, az_reshape(az, x, 2, (int64_t[]){-1, -1}), "az_reshape: [3, 4] cannot become [-1, -1]");
    assert_error(az, az_reshape(az, x, 9, NULL), "az_reshape: [3, 4] cannot become a tensor of that rank");
    const az_tensor *empty = az_reshape(az, az_new2(az, AZ_F32, 0, 4), 2, (int64_t[]){4, 0});
    cr_assert_eq(az_count(empty), 0);
    cr_assert(az_ok(az));
    az_close(az);
}

Test(views, permute_and_transpose)
{
    az_ctx *az = az_open(NULL);
    const az_tensor *x = counting(az, 3, (int64_t[]){2, 3, 4}), *y = az_permute(az, x, (int[]){2, 0, -2});
    cr_assert_str_eq(az_shape_text(az, y), "[4, 2, 3]");
    for (int64_t a = 0; a < 4; a++)
        for (int64_t b = 0; b < 2; b++)
            for (int64_t c = 0; c < 3; c++) cr_assert_eq(az_item(y, (a * 2 + b) * 3 + c), (double)((b * 3 + c) * 4 + a));
    assert_error(az, az_permute(az, x, (int[]){0, 1, 1}),
                 "az_permute: the axes of [2, 3, 4] must be named once each; axis 2 of the result is 1");
    assert_error(az, az_transpose(az, az_new1(az, AZ_F32, 3)), "az_transpose: shape [3] has no two axes");
    az_close(az);
}

Test(views, slice_pad_and_broadcast)
{
    az_ctx *az = az_open(NULL);
    const az_tensor *x = counting(az, 2, (int64_t[]){3, 4});
    assert_items(az_slice(az, az_slice(az, x, 0, 1, 2), -1, 2, 2), 4, (double[]){6, 7, 10, 11});
    cr_assert_eq(az_count(az_slice(az, x, 0, 3, 0)), 0);
    assert_error(az, az_slice(az, x, 1, 3, 2), "az_slice: 2 from 3 on along axis 1 of shape [3, 4]");
    assert_error(az, az_slice(az, x, 1, INT64_MAX, INT64_MAX),
                 "az_slice: 9223372036854775807 from 9223372036854775807 on along axis 1 of shape [3, 4]");
    assert_error(az, az_slice(az, x, 2, 0, 1), "az_slice: axis 2 of shape [3, 4]");
    assert_items(az_pad(az, az_slice(az, x, 0, 0, 1), 1, 1, 2), 7, (double[]){0, 0, 1, 2, 3, 0, 0});
    assert_error(az, az_pad(az, x, 0, 1, -1), "az_pad: 1 before and -1 after axis 0 of shape [3, 4]");
    assert_error(az, az_pad(az, x, 0, INT64_MAX, 1), "az_pad: 9223372036854775807 before and 1 after axis 0 of shape [3, 4]");
    const az_tensor *stretched = az_broadcast(az, counting(az, 2, (int64_t[]){2, 1}), 3, (int64_t[]){2, 2, 2});
    assert_items(stretched, 8, (double[]){0, 0, 1, 1, 0, 0, 1, 1});
    assert_error(az, az_broadcast(az, x, 2, (int64_t[]){3, 8}), "az_broadcast: shape [3, 4] to [3, 8]");
    assert_error(az, az_broadcast(az, x, 1, (int64_t[]){4}), "az_broadcast: shape [3, 4] to rank 1");
    az_close(az);
}

Test(views, concat)
{
    az_ctx *az = az_open(NULL);
    az_tensor *x = counting(az, 2, (int64_t[]){2, 2}), *y = counting(az, 2, (int64_t[]){2, 1});
    assert_items(az_concat(az, (az_tensor *[]){x, y, az_transpose(az, x)}, 3, 1), 10, (double[]){0, 1, 0, 0, 2, 2, 3, 1, 1, 3});
    assert_items(az_concat(az, (az_tensor *[]){x, x}, 2, -2), 8, (double[]){0, 1, 2, 3, 0, 1, 2, 3});
    assert_error(az, az_concat(az, (az_tensor *[]){x, y}, 2, 0),
                 "az_concat: part 1, f32 [2, 1], does not continue f32 [2, 2] along axis 0");
    assert_error(az, az_concat(az, NULL, 0, 0), "az_concat: no parts");
    az_close(az);
}

Test(views, rows_by_index)
{
    az_ctx *az = az_open(NULL);
    const az_tensor *x = counting(az, 2, (int64_t[]){3, 2}), *index = az_from(az, AZ_I32, 2, (int64_t[]){2, 2}, (int32_t[]){2, 0, 2, 1});
    const az_tensor *picked = az_gather(az, x, index);
    cr_assert_str_eq(az_shape_text(az, picked), "[2, 2, 2]");
    assert_items(picked, 8, (double[]){4, 5, 0, 1, 4, 5, 2, 3});
    assert_items(az_gather(az, x, az_transpose(az, index)), 8, (double[]){4, 5, 4, 5, 0, 1, 2, 3});
    assert_items(az_scatter_add(az, picked, index, 4), 8, (double[]){0, 1, 2, 3, 8, 10, 0, 0});
    cr_assert_eq(az_item(az_gather(az, az_cast(az, x, AZ_F16), index), 1), 5);
    assert_error(az, az_gather(az, x, az_full(az, AZ_I32, 1, (int64_t[]){2}, 3)), "az_gather: index 3 at position 0; there are 3 rows");
    assert_error(az, az_gather(az, x, az_full(az, AZ_I32, 1, (int64_t[]){2}, -1)), "az_gather: index -1 at position 0; there are 3 rows");
    assert_error(az, az_gather(az, x, az_full(az, AZ_I64, 1, (int64_t[]){2}, 0)), "az_gather: an index of type i64; i32 is needed");
    assert_error(az, az_scatter_add(az, x, index, 4), "az_scatter_add: index of shape [2, 2] for rows of shape [3, 2]");
    az_close(az);
}

/* Sums of many rows at few places, in parallel over columns: exact in f64 for integers. */
Test(views, large_scatter_add)
{
    az_ctx *az = az_open(NULL);
    enum { ROWS = 500, WIDTH = 700 };
    az_tensor *y = az_new2(az, AZ_F64, ROWS, WIDTH), *index = az_new1(az, AZ_I32, ROWS);
    for (int64_t i = 0; i < ROWS * WIDTH; i++) az_f64_mut(y)[i] = (double)(i % 1013);
    for (int i = 0; i < ROWS; i++) ((int32_t *)index->data)[i] = i * i % 7;
    const double *sum = az_f64(az_scatter_add(az, y, index, 7));
    for (int64_t j = 0; j < WIDTH; j++) {
        double expected[7] = {0};
        for (int64_t i = 0; i < ROWS; i++) expected[i * i % 7] += (double)((i * WIDTH + j) % 1013);
        for (int k = 0; k < 7; k++) cr_assert_eq(sum[k * WIDTH + j], expected[k]);
    }
    az_close(az);
}

Test(views, missing_operands_are_reported_once)
{
    az_ctx *az = az_open(NULL);
    cr_assert_null(az_add(az, az_reshape(az, NULL, 1, (int64_t[]){1}), az_scalar(az, AZ_F32, 1)));
    cr_assert_str_eq(az_error(az), "az_reshape: an operand is missing (NULL)");
    cr_assert_null(az_exp(az, NULL));
    cr_assert_null(az_sum_to(az, az_mean(az, az_softmax(az, NULL), 0, true), 0, NULL));
    cr_assert_str_eq(az_error(az), "az_reshape: an operand is missing (NULL)");
    az_close(az);
}
