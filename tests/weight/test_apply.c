/* Products as recorded operations: values, adjoints, gradients of every format, rows by number. */
#include "adze/grad.h"
#include "adze/weight.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 37, COLS = 96 };

static const char *const names[] = {"f32", "f64", "f16", "bf16", "q8_0", "q4_0"};

static az_tensor *normal(az_ctx *az, az_dtype type, int rank, const int64_t *shape, const char *what)
{
    return az_randn(az, type, rank, shape, 1, 5, az_stream(what, (uint64_t)shape[0]));
}

static az_tensor *normal2(az_ctx *az, az_dtype type, int64_t rows, int64_t cols, const char *what)
{
    return normal(az, type, 2, (const int64_t[]){rows, cols}, what);
}

static az_weight *weight(az_ctx *az, const char *format)
{
    return az_weight_encode(az, az_weight_dense(az, normal2(az, AZ_F32, ROWS, COLS, "w")), az_format_by_name(format), NULL);
}

static az_dtype activation_type(const az_weight *w)
{
    return strcmp(w->format->name, "f64") ? AZ_F32 : AZ_F64;
}

static double norm(const az_tensor *x)
{
    double sum = 0;
    for (int64_t i = 0; i < az_count(x); i++) sum += az_item(x, i) * az_item(x, i);
    return sqrt(sum);
}

static double inner(const az_tensor *a, const az_tensor *b)
{
    double sum = 0;
    for (int64_t i = 0; i < az_count(a); i++) sum += az_item(a, i) * az_item(b, i);
    return sum;
}

/* Largest |a - b| relative to the norm of b. */
static double distance(const az_tensor *a, const az_tensor *b)
{
    cr_assert(az_same_shape(a, b));
    double most = 0;
    for (int64_t i = 0; i < az_count(a); i++) most = fmax(most, fabs(az_item(a, i) - az_item(b, i)));
    return most / norm(b);
}

/* Relative error that rounding activations to bytes allows: half a step of 1/127 of a block's largest (about 2.6 sigma of 32 normal
 * values), as independent errors: 2.6 / 254 / sqrt(3) = 0.006 of a product's scale; below 0.03 for the largest of a few hundred. Others:
 * f32. */
static double tolerance(const az_weight *w)
{
    return w->format->block > 1 ? 0.03 : 1e-5;
}

Test(apply, equals_the_product_with_the_decoded_matrix)
{
    az_ctx *az = az_open(NULL);
    const int64_t counts[] = {1, 3, 12, 100};
    for (int f = 0; f < 6; f++)
        for (int c = 0; c < 4; c++) {
            az_weight *w = weight(az, names[f]);
            az_tensor *x = normal2(az, activation_type(w), counts[c], COLS, "x");
            az_tensor *dense = az_cast(az, az_weight_decode(az, w), x->dtype);
            az_tensor *y = az_weight_apply(az, w, x);
            cr_assert(az_ok(az), "%s", az_error(az));
            cr_assert_lt(distance(y, az_matmul_nt(az, x, dense)), tolerance(w), "%s n=%d", names[f], (int)counts[c]);
            az_tensor *g = normal2(az, x->dtype, counts[c], ROWS, "g");
            cr_assert_lt(distance(az_weight_apply_t(az, w, g), az_matmul(az, g, dense)), 1e-5, "%s n=%d", names[f], (int)counts[c]);
        }
    az_close(az);
}

Test(apply, leading_axes_stay_and_views_are_welcome)
{
    az_ctx *az = az_open(NULL);
    for (int f = 0; f < 6; f++) {
        az_weight *w = weight(az, names[f]);
        az_tensor *x = normal(az, activation_type(w), 3, (const int64_t[]){COLS, 2, 5}, "x");
        az_tensor *view = az_permute(az, x, (const int[]){1, 2, 0}), *y = az_weight_apply(az, w, view);
        cr_assert(az_ok(az), "%s", az_error(az));
        cr_assert(y->rank == 3 && y->shape[0] == 2 && y->shape[1] == 5 && y->shape[2] == ROWS);
        az_tensor *one =
            az_weight_apply(az, w, az_reshape(az, az_slice(az, az_slice(az, view, 0, 1, 1), 1, 3, 1), 1, (const int64_t[]){COLS}));
        cr_assert(one->rank == 1 && one->shape[0] == ROWS);
        for (int r = 0; r < ROWS; r++) cr_assert_float_eq(az_item(one, r), az_item(y, 8 * ROWS + r), 1e-4, "%s", names[f]);
        az_tensor *back = az_weight_apply_t(az, w, one);
        cr_assert(back->rank == 1 && back->shape[0] == COLS);
    }
    az_close(az);
}

/* <W x, g> = <x, W^T g> */
Test(apply, the_transposed_product_is_the_adjoint)
{
    az_ctx *az = az_open(NULL);
    for (int f = 0; f < 6; f++) {
        az_weight *w = weight(az, names[f]);
        az_tensor *x = normal2(az, activation_type(w), 7, COLS, "x"), *g = normal2(az, activation_type(w), 7, ROWS, "g");
        const double left = inner(az_weight_apply(az, w, x), g), right = inner(x, az_weight_apply_t(az, w, g));
        cr_assert_float_eq(left, right, norm(x) * norm(g) * (w->format->block > 1 ? 0.01 : 1e-5), "%s: %g and %g", names[f], left, right);
    }
    az_close(az);
}

Test(apply, gradients_reach_the_operand_of_every_format)
{
    az_ctx *az = az_open(NULL);
    for (int f = 0; f < 6; f++) {
        az_weight *w = weight(az, names[f]);
        const az_tensor *x0 = normal2(az, activation_type(w), 5, COLS, "x"), *g = normal2(az, activation_type(w), 5, ROWS, "g");
        az_tensor *gx, *gg, *second;
        az_tape_open(az);
        az_tensor *x = az_watch(az, x0), *seed = az_watch(az, g);
        az_grad(az, az_weight_apply(az, w, x), g, (const az_tensor *[]){x}, 1, &gx, 0);
        az_grad(az, az_weight_apply_t(az, w, seed), x0, (const az_tensor *[]){seed}, 1, &gg, 0);
        az_tensor *square = az_sum(az, az_square(az, az_weight_apply(az, w, x)), AZ_ALL_AXES, false);
        az_hessian_vector(az, square, (const az_tensor *[]){x}, (const az_tensor *[]){x0}, 1, &second);
        az_tape_close(az);
        cr_assert(az_ok(az), "%s: %s", names[f], az_error(az));
        cr_assert_lt(distance(gx, az_weight_apply_t(az, w, g)), 1e-6, "%s", names[f]);
        cr_assert_lt(distance(gg, az_weight_apply(az, w, x0)), 1e-5, "%s", names[f]);
        az_tensor *twice = az_affine(az, az_weight_apply_t(az, w, az_weight_apply(az, w, x0)), 2, 0);
        cr_assert_lt(distance(second, twice), 1e-5, "%s", names[f]);
    }
    az_close(az);
}

Test(apply, a_trainable_matrix_gets_its_own_gradient)
{
    az_ctx *az = az_open(NULL);
    for (int f = 0; f < 2; f++) {
        az_weight *w = weight(az, names[f]);
        az_tensor *plain = w->part[0], *gw, *rows;
        const az_tensor *x = normal2(az, activation_type(w), 5, COLS, "x"), *g = normal2(az, activation_type(w), 5, ROWS, "g");
        const az_tensor *index = az_from(az, AZ_I32, 1, (const int64_t[]){3}, (const int32_t[]){4, 36, 4});
        const az_tensor *seed = normal2(az, activation_type(w), 3, COLS, "seed");
        az_tape_open(az);
        az_tensor *watched = w->part[0] = az_watch(az, plain);
        az_grad(az, az_weight_apply(az, w, x), g, (const az_tensor *[]){watched}, 1, &gw, 0);
        az_grad(az, az_weight_gather(az, w, index), seed, (const az_tensor *[]){watched}, 1, &rows, 0);
        az_tape_close(az);
        w->part[0] = plain;
        cr_assert(az_ok(az), "%s", az_error(az));
        cr_assert_lt(distance(gw, az_matmul(az, az_transpose(az, g), x)), 1e-5);
        cr_assert_lt(distance(rows, az_scatter_add(az, seed, index, ROWS)), 1e-6);
    }
    az_close(az);
}

/* Taped weights may go with their scope: the tape holds what it needs. */
Test(apply, the_tape_outlives_the_weight)
{
    az_ctx *az = az_open(NULL);
    az_tensor *x0 = normal2(az, AZ_F32, 5, COLS, "x"), *gx;
    az_tape_open(az);
    az_tensor *x = az_watch(az, x0);
    az_scope_push(az);
    az_tensor *y = az_keep(az, az_weight_apply(az, weight(az, "q8_0"), x));
    az_grad(az, az_sum(az, y, AZ_ALL_AXES, false), NULL, (const az_tensor *[]){x}, 1, &gx, 0);
    az_tape_close(az);
    cr_assert(az_ok(az), "%s", az_error(az));
    cr_assert_lt(distance(gx, az_weight_apply_t(az, weight(az, "q8_0"), az_full(az, AZ_F32, 2, (const int64_t[]){5, ROWS}, 1))), 1e-6);
    az_close(az);
}

Test(apply, gather_takes_rows_in_any_order)
{
    az_ctx *az = az_open(NULL);
    const int32_t rows[] = {3, 0, 36, 3};
    const az_tensor *index = az_from(az, AZ_I32, 1, (const int64_t[]){4}, rows);
    for (int f = 0; f < 6; f++) {
        az_weight *w = weight(az, names[f]);
        az_tensor *y = az_weight_gather(az, w, index), *dense = az_weight_decode(az, w);
        cr_assert(az_ok(az), "%s", az_error(az));
        cr_assert_eq(y->dtype, activation_type(w));
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < COLS; j++) cr_assert_eq((float)az_item(y, i * COLS + j), az_f32(dense)[rows[i] * COLS + j]);
        cr_assert_null(az_weight_gather(az, w, az_from(az, AZ_I32, 1, (const int64_t[]){2}, (const int32_t[]){1, ROWS})));
        cr_assert_eq(az_status_of(az), AZ_BAD_CALL);
        az_clear(az);
    }
    az_close(az);
}

static void refused(az_ctx *az, const az_tensor *y, const char *why)
{
    cr_assert_null(y);
    cr_assert_not_null(strstr(az_error(az), why), "%s", az_error(az));
    az_clear(az);
}

Test(apply, operands_that_do_not_fit_are_refused)
{
    az_ctx *az = az_open(NULL);
    az_weight *w = weight(az, "q8_0"), *d = weight(az, "f64");
    az_tensor *x = normal2(az, AZ_F32, 2, COLS, "x"), *narrow = normal2(az, AZ_F32, 2, COLS - 1, "x");
    refused(az, az_weight_apply(az, w, narrow), "[2, 95]");
    refused(az, az_weight_apply_t(az, w, x), "must be 37");
    refused(az, az_weight_apply(az, d, x), "must be f64");
    refused(az, az_weight_apply(az, w, az_cast(az, x, AZ_F64)), "must be f32");
    cr_assert_null(az_weight_apply(az, NULL, x));
    cr_assert_null(az_weight_apply(az, w, NULL));
    az_close(az);
}

/* apply of every format at 1, 34, 67 and 100 vectors with so many threads. */
static void all_products(int threads, float *results)
{
    az_ctx *az = az_open(&(az_settings){.threads = threads});
    for (int f = 0; f < 6; f++)
        for (int64_t n = 1; n <= 100; n += 33) {
            az_weight *w = weight(az, names[f]);
            az_tensor *y = az_weight_apply(az, w, normal2(az, activation_type(w), n, COLS, "x"));
            for (int64_t i = 0; i < az_count(y); i++) *results++ = (float)az_item(y, i);
        }
    cr_assert(az_ok(az), "%s", az_error(az));
    az_close(az);
}

/* The number of threads changes nothing, not even the last bit. */
Test(apply, threads_do_not_change_results)
{
    enum { COUNT = 6 * (1 + 34 + 67 + 100) * ROWS };
    float *one = malloc(COUNT * sizeof *one), *three = malloc(COUNT * sizeof *three);
    all_products(1, one);
    all_products(3, three);
    cr_assert_arr_eq(one, three, COUNT * sizeof *one);
    free(one);
    free(three);
}
