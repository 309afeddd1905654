/* Making and reading tensors, lifetimes of headers and data, conversions between types. */
#include "adze/tensor.h"
#include "tensor/half.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

Test(tensor, shapes_strides_and_elements)
{
    az_ctx *az = az_open(NULL);
    const float data[] = {1, 2, 3, 4, 5, 6};
    const az_tensor *x = az_from(az, AZ_F32, 2, (int64_t[]){2, 3}, data);
    cr_assert_eq(az_count(x), 6);
    cr_assert_eq(x->stride[0], 3);
    cr_assert_eq(x->stride[1], 1);
    cr_assert_str_eq(az_shape_text(az, x), "[2, 3]");
    const az_tensor *turned = az_transpose(az, x);
    cr_assert(!az_is_contiguous(turned));
    cr_assert_null(az_f32(turned));
    cr_assert_null(az_f64(x));
    const double expected[] = {1, 4, 2, 5, 3, 6};
    for (int i = 0; i < 6; i++) cr_assert_eq(az_item(turned, i), expected[i]);
    cr_assert(isnan(az_item(x, 6)) && isnan(az_item(x, -1)) && isnan(az_item(NULL, 0)));
    cr_assert_eq(az_to_double(az_scalar(az, AZ_I8, 7)), 7);
    cr_assert_str_eq(az_shape_text(az, az_scalar(az, AZ_F64, 0)), "[]");
    const az_tensor *full = az_full(az, AZ_I64, 3, (int64_t[]){2, 1, 2}, -3);
    for (int i = 0; i < 4; i++) cr_assert_eq(((const int64_t *)full->data)[i], -3);
    cr_assert_eq(az_count(az_new3(az, AZ_F32, 2, 0, 5)), 0);
    cr_assert(az_ok(az));
    az_close(az);
}

Test(tensor, random_tensors_depend_on_their_key_only)
{
    az_ctx *az = az_open(NULL);
    for (int type = AZ_F32; type <= AZ_F64; type++) {
        const az_tensor *a = az_randn(az, (az_dtype)type, 2, (int64_t[]){100, 200}, 2, 5, 7);
        const az_tensor *b = az_randn(az, (az_dtype)type, 1, (int64_t[]){300}, 2, 5, 7);
        const az_tensor *u = az_rand(az, (az_dtype)type, 1, (int64_t[]){20000}, -1, 3, 5, 7);
        double sum = 0, square = 0, mean = 0;
        for (int64_t i = 0; i < 20000; i++) {
            if (i < 300) cr_assert_eq(az_item(a, i), az_item(b, i));
            sum += az_item(a, i);
            square += az_item(a, i) * az_item(a, i);
            mean += az_item(u, i) / 20000;
            cr_assert(az_item(u, i) >= -1 && az_item(u, i) < 3);
        }
        cr_assert_float_eq(sum / 20000, 0, 5 * 2 / sqrt(20000));
        cr_assert_float_eq(square / 20000, 4, 5 * 4 * sqrt(2.0 / 20000));
        cr_assert_float_eq(mean, 1, 5 * 4 / sqrt(12.0 * 20000));
    }
    az_close(az);
}

Test(tensor, impossible_shapes_are_refused)
{
    az_ctx *az = az_open(NULL);
    cr_assert_null(az_tensor_new(az, AZ_F32, 7, (int64_t[]){1, 1, 1, 1, 1, 1, 1}));
    cr_assert_eq(az_status_of(az), AZ_BAD_CALL);
    az_clear(az);
    cr_assert_null(az_new2(az, AZ_F32, 2, -1));
    cr_assert_not_null(strstr(az_error(az), "[2, -1]"));
    az_clear(az);
    cr_assert_null(az_new3(az, AZ_F32, INT64_MAX / 2, 4, 1));
    cr_assert_eq(az_status_of(az), AZ_NO_MEMORY);
    az_clear(az);
    cr_assert_null(az_new3(az, AZ_F64, (int64_t)1 << 31, (int64_t)1 << 31, 0x7fff));
    cr_assert_eq(az_status_of(az), AZ_NO_MEMORY);
    az_clear(az);
    cr_assert_not_null(az_new3(az, AZ_F64, (int64_t)1 << 40, 0, 3)); /* empty */
    cr_assert(az_ok(az));
    az_close(az);
}

Test(tensor, keep_carries_a_result_out_of_its_scope)
{
    az_ctx *az = az_open(NULL);
    size_t before = az_memory_now(az);
    az_scope_push(az);
    az_scope_push(az);
    for (int i = 0; i < 10; i++) az_new1(az, AZ_F32, 100000);
    az_tensor *a = az_full(az, AZ_F32, 1, (int64_t[]){100000}, 3), *b = az_full(az, AZ_F32, 1, (int64_t[]){10}, 4);
    az_tensor *both[] = {a, b, NULL};
    az_keep_all(az, both, 3);
    cr_assert_eq(az_item(both[0], 99999), 3);
    cr_assert_eq(az_item(both[1], 9), 4);
    cr_assert_null(both[2]);
    cr_assert_lt(az_memory_now(az), before + 500000);
    az_scope_push(az);
    cr_assert_null(az_keep(az, NULL));
    az_scope_pop(az);
    cr_assert_eq(az_memory_now(az), before);
    az_close(az);
}

Test(tensor, views_and_shares_keep_data_alive)
{
    az_ctx *az = az_open(NULL);
    az_arena *arena = az_arena_new(az);
    az_scope_push(az);
    az_tensor *x = az_full(az, AZ_F64, 2, (int64_t[]){100, 100}, 2);
    az_arena_enter(az, arena);
    az_tensor *row = az_slice(az, x, 0, 50, 1);
    az_arena_leave(az);
    az_scope_pop(az);
    cr_assert_eq(az_item(row, 99), 2);
    size_t with = az_memory_now(az);
    az_arena_free(az, arena);
    cr_assert_leq(az_memory_now(az), with - 80000);
    az_close(az);
}

static void count_release(az_buffer *buffer)
{
    ++*(int *)buffer->owner;
}

Test(tensor, wrapped_memory_is_released_with_its_last_tensor)
{
    az_ctx *az = az_open(NULL);
    int released = 0;
    float data[] = {1, 2, 3};
    az_scope_push(az);
    az_buffer *buffer = az_buffer_wrap(az, data, sizeof data, count_release, &released);
    az_tensor *x = az_wrap(az, AZ_F32, 1, (int64_t[]){3}, data, buffer);
    az_buffer_drop(buffer);
    az_share(az, az_slice(az, x, 0, 1, 1));
    cr_assert_eq(released, 0);
    az_scope_pop(az);
    cr_assert_eq(released, 1);
    az_close(az);
}

Test(tensor, nonfinite_values_are_found)
{
    az_ctx *az = az_open(NULL);
    for (int type = AZ_F32; type <= AZ_BF16; type++) {
        az_tensor *x = az_full(az, (az_dtype)type, 2, (int64_t[]){30, 40}, 1);
        cr_assert_eq(az_first_nonfinite(x), -1);
        az_copy_into(az, az_slice(az, az_slice(az, x, 0, 20, 1), 1, 3, 1), az_full(az, AZ_F64, 2, (int64_t[]){1, 1}, -INFINITY));
        cr_assert_eq(az_first_nonfinite(x), 803);
        az_copy_into(az, az_slice(az, az_slice(az, x, 0, 20, 1), 1, 2, 1), az_full(az, AZ_F64, 2, (int64_t[]){1, 1}, NAN));
        cr_assert_eq(az_first_nonfinite(x), 802);
    }
    cr_assert_eq(az_first_nonfinite(az_full(az, AZ_I32, 0, NULL, 5)), -1);
    az_close(az);
}

/* ---- conversions ---- */

/* Each of the 65536 halves widens to its value and rounds back to itself; what lies between two neighbours goes to the nearer one. */
Test(conversion, f16_is_exact_and_rounds_to_nearest_even)
{
    for (uint32_t bits = 0; bits < 65536; bits++) {
        uint32_t exponent = bits >> 10 & 31, fraction = bits & 1023;
        float value = az_f16_widen((uint16_t)bits);
        if (exponent == 31) {
            cr_assert(fraction ? isnan(value) : isinf(value));
            cr_assert_eq(az_f16_round(value), fraction ? bits | 0x200 : bits); /* a NaN becomes quiet */
            continue;
        }
        double expected = exponent ? ldexp(1024 + fraction, (int)exponent - 25) : ldexp(fraction, -24);
        cr_assert_eq((double)value, bits & 0x8000 ? -expected : expected);
        cr_assert_eq(az_f16_round(value), bits);
        if ((bits & 0x7fff) == 0x7bff) continue;
        float next = az_f16_widen((uint16_t)(bits + 1)), middle = (value + next) / 2;
        cr_assert_eq(az_f16_round(middle), bits + (bits & 1));
        cr_assert_eq(az_f16_round(nextafterf(middle, value)), bits);
        cr_assert_eq(az_f16_round(nextafterf(middle, next)), bits + 1);
    }
    cr_assert_eq(az_f16_round(65519.996f), 0x7bff);
    cr_assert_eq(az_f16_round(65520.0f), 0x7c00);
    cr_assert_eq(az_f16_round(1e30f), 0x7c00);
}

Test(conversion, bf16_rounds_to_nearest_even)
{
    for (uint32_t bits = 0; bits < 0x7f80; bits++) {
        float value = az_bf16_widen((uint16_t)bits), next = az_bf16_widen((uint16_t)(bits + 1));
        cr_assert_eq(az_bf16_round(value), bits);
        if (isinf(next)) continue;
        float middle = az_float_of_bits(bits << 16 | 0x8000);
        cr_assert_eq(az_bf16_round(middle), bits + (bits & 1));
        cr_assert_eq(az_bf16_round(nextafterf(middle, value)), bits);
        cr_assert_eq(az_bf16_round(-nextafterf(middle, next)), (bits + 1) | 0x8000);
    }
    cr_assert_eq(az_bf16_round(NAN) & 0x7fc0, 0x7fc0);
}

Test(conversion, f64_to_16_bits_rounds_once)
{
    az_ctx *az = az_open(NULL);
    /* Just above the middle of 1 and 1 + 2^-10: rounding to f32 first would land on the middle and then go down. */
    const double above = 1 + 0x1p-11 + 0x1p-40, below = 1 + 3 * 0x1p-11 - 0x1p-40;
    const double data[] = {above, -above, below, 1e300, 0x1p-24 * 0.5 + 0x1p-60, 0x1p-149};
    const double expected[] = {1 + 0x1p-10, -1 - 0x1p-10, 1 + 0x1p-10, INFINITY, 0x1p-24, 0};
    const az_tensor *half = az_cast(az, az_from(az, AZ_F64, 1, (int64_t[]){6}, data), AZ_F16);
    for (int i = 0; i < 6; i++) cr_assert_eq(az_item(half, i), expected[i], "%d: %a", i, az_item(half, i));
    az_close(az);
}

Test(conversion, integers_round_and_saturate)
{
    az_ctx *az = az_open(NULL);
    const double data[] = {0.5, 1.5, -2.5, 300, -300, 1e20, -1e20, NAN};
    const double i8[] = {0, 2, -2, 127, -128, 127, -128, 0}, u8[] = {0, 2, 0, 255, 0, 255, 0, 0},
                 i32[] = {0, 2, -2, 300, -300, INT32_MAX, INT32_MIN, 0};
    const az_tensor *x = az_from(az, AZ_F64, 1, (int64_t[]){8}, data);
    for (int i = 0; i < 8; i++) {
        cr_assert_eq(az_item(az_cast(az, x, AZ_I8), i), i8[i]);
        cr_assert_eq(az_item(az_cast(az, x, AZ_U8), i), u8[i]);
        cr_assert_eq(az_item(az_cast(az, x, AZ_I32), i), i32[i]);
    }
    cr_assert_eq(((const int64_t *)az_cast(az, x, AZ_I64)->data)[5], INT64_MAX);
    cr_assert_eq(((const int64_t *)az_cast(az, x, AZ_I64)->data)[6], INT64_MIN);
    az_close(az);
}

/* Every pair of types carries small integers without loss, through views on both sides. */
Test(conversion, every_pair_of_types)
{
    az_ctx *az = az_open(NULL);
    const double values[] = {0, 1, 2, 3, 5, 7, 11, 13, 17, 19, 23, 29};
    const az_tensor *exact = az_from(az, AZ_F64, 2, (int64_t[]){3, 4}, values);
    for (int from = 0; from < AZ_DTYPES; from++) {
        const az_tensor *x = az_transpose(az, az_cast(az, exact, (az_dtype)from));
        for (int to = 0; to < AZ_DTYPES; to++) {
            const az_tensor *y = az_cast(az, x, (az_dtype)to);
            az_tensor *wide = az_zeros(az, (az_dtype)to, 2, (int64_t[]){4, 6});
            az_copy_into(az, az_slice(az, wide, 1, 2, 3), x);
            for (int i = 0; i < 12; i++) {
                cr_assert_eq(az_item(y, i), values[i % 3 * 4 + i / 3], "%s to %s", az_dtype_name(x->dtype), az_dtype_name(y->dtype));
                cr_assert_eq(az_item(wide, i / 3 * 6 + 2 + i % 3), az_item(y, i));
            }
        }
    }
    cr_assert(az_ok(az));
    az_copy_into(az, az_new1(az, AZ_F32, 3), az_new1(az, AZ_F32, 4));
    cr_assert_str_eq(az_error(az), "az_copy_into: shapes [3] and [4] differ");
    az_close(az);
}

/* Transposed copies go by tiles: against element access, around the tile size, for every element size. */
Test(conversion, transposed_copies)
{
    az_ctx *az = az_open(NULL);
    const int64_t sizes[] = {3, 5, 31, 32, 33, 70};
    for (int type = 0; type < AZ_DTYPES; type++) {
        for (int a = 0; a < 6; a++) {
            az_scope_push(az);
            int64_t shape[] = {2, sizes[a], sizes[5 - a]};
            az_tensor *x = az_cast(az, az_rand(az, AZ_F64, 3, shape, 0, 100, 1, (uint64_t)a), (az_dtype)type);
            const az_tensor *views[] = {az_transpose(az, x), az_permute(az, x, (int[]){1, 0, 2}), az_permute(az, x, (int[]){2, 1, 0})};
            for (int v = 0; v < 3; v++) {
                const az_tensor *copy = az_copy(az, views[v]);
                for (int64_t i = 0; i < az_count(x); i++) cr_assert_eq(az_item(copy, i), az_item(views[v], i));
            }
            az_scope_pop(az);
        }
    }
    az_close(az);
}
