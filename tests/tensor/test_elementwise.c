/* Elementwise operations: f32 functions against the C library in f64, instruction sets against each other, broadcasting against a plain
 * loop, values at the edges, and independence of the number of threads. */
#include "adze/tensor.h"
#include "tensor/kernels/elementwise.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

/* ---- accuracy ---- */

static double gelu(double x)
{
    return x * 0.5 * erfc(-x / sqrt(2));
}

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static double silu(double x)
{
    return x * sigmoid(x);
}

static double softplus(double x)
{
    return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
}

static double gelu_tanh(double x)
{
    return x * sigmoid(2 * sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x));
}

typedef struct accuracy {
    az_unary kind;
    double (*exact)(double x);
    double low, high; /* where */
    double ulps;      /* largest error in units in the last place of the result */
} accuracy;

static const accuracy accuracies[] = {
    {AZ_UNARY_EXP, exp, -103, 88.7, 2},
    {AZ_UNARY_EXP, exp, -1, 1, 2},
    {AZ_UNARY_LOG, log, 1e-30, 1e30, 2},
    {AZ_UNARY_LOG, log, 0.5, 2, 2},
    {AZ_UNARY_TANH, tanh, -10, 10, 3},
    {AZ_UNARY_TANH, tanh, -0.7, 0.7, 3},
    {AZ_UNARY_SIGMOID, sigmoid, -80, 80, 3},
    {AZ_UNARY_SIGMOID, sigmoid, -3, 3, 3},
    {AZ_UNARY_ERF, erf, -5, 5, 3},
    {AZ_UNARY_ERF, erf, -1, 1, 3},
    {AZ_UNARY_SOFTPLUS, softplus, -80, 80, 4},
    {AZ_UNARY_SOFTPLUS, softplus, -3, 3, 4},
    {AZ_UNARY_SILU, silu, -80, 80, 4},
    {AZ_UNARY_SILU, silu, -2, 2, 4},
    {AZ_UNARY_GELU, gelu, -2, 8, 12},
    {AZ_UNARY_GELU_TANH, gelu_tanh, -1, 8, 12},
};

/* Distance of a float from the true value in units of the float nearest to it. */
static double ulps(float value, double exact)
{
    float nearest = fabsf((float)exact);
    double unit = (double)(nextafterf(nearest, INFINITY) - nearest);
    return fabs((double)value - exact) / unit;
}

static void check_accuracy(const az_elementwise *kernels, const char *name)
{
    enum { N = 40001 };
    static float x[N], y[N];
    for (size_t c = 0; c < sizeof accuracies / sizeof *accuracies; c++) {
        const accuracy *a = &accuracies[c];
        bool logarithmic = a->low == 1e-30;
        for (int i = 0; i < N; i++) {
            double t = (double)i / (N - 1);
            x[i] = (float)(logarithmic ? a->low * pow(a->high / a->low, t) : a->low + (a->high - a->low) * t);
        }
        kernels[0].unary((int)a->kind, (double[2]){0}, (az_lane[]){{y, 1}, {x, 1}}, N);
        double worst = 0, where = 0;
        for (int i = 0; i < N; i++) {
            double error = ulps(y[i], a->exact((double)x[i]));
            if (!(error <= worst)) {
                worst = error;
                where = (double)x[i];
            }
        }
        cr_expect_leq(worst, a->ulps, "%s, function %d: %g ulp at %g", name, (int)a->kind, worst, where);
    }
}

Test(elementwise, f32_functions_are_accurate)
{
    check_accuracy(az_elementwise_portable(), "portable");
    if (az_elementwise_for(AZ_F32) != az_elementwise_portable()) check_accuracy(az_elementwise_for(AZ_F32), "this processor");
}

/* Both tables on the same rows: every function, slope and arithmetic operation, with every combination of strides. */
Test(elementwise, instruction_sets_agree)
{
    enum { N = 1003 };
    static float x[2 * N], g[2 * N], y[2][2 * N];
    static double xd[2 * N], gd[2 * N], yd[2][2 * N];
    for (int i = 0; i < 2 * N; i++) {
        xd[i] = 0.05 + 3 * fabs(sin(i * 0.7));
        gd[i] = cos(i * 1.3);
        x[i] = (float)xd[i];
        g[i] = (float)gd[i];
    }
    const az_elementwise *tables[] = {az_elementwise_portable(), az_elementwise_for(AZ_F32)};
    const double param[] = {0.4, 1.7};
    for (int kind = 0; kind < AZ_UNARY_KINDS + AZ_BINARY_KINDS; kind++) {
        for (int strides = 0; strides < 8; strides++) {
            int64_t s0 = 1 + (strides & 1), s1 = strides & 2 ? 2 : 1, s2 = strides & 4 ? 0 : 1;
            for (int t = 0; t < 2; t++) {
                az_lane f32[] = {{y[t], s0}, {x, s1}, {g, s2}}, f64[] = {{yd[t], s0}, {xd, s1}, {gd, s2}};
                bool unary = kind < AZ_UNARY_KINDS;
                if (unary && s2) tables[t][0].unary(kind, param, f32, N);
                if (unary && s2) tables[t][1].unary(kind, param, f64, N);
                if (unary && !s2) tables[t][0].slope(kind, param, f32, N);
                if (unary && !s2) tables[t][1].slope(kind, param, f64, N);
                if (!unary) tables[t][0].binary(kind - AZ_UNARY_KINDS, NULL, f32, N);
                if (!unary) tables[t][1].binary(kind - AZ_UNARY_KINDS, NULL, f64, N);
            }
            for (int64_t i = 0; i < N * s0; i++) {
                cr_assert_float_eq(y[0][i], y[1][i], 4e-6 * fmax(1, fabs((double)y[0][i])), "f32, kind %d, strides %d", kind, strides);
                cr_assert_float_eq(yd[0][i], yd[1][i], 1e-14 * fmax(1, fabs(yd[0][i])), "f64, kind %d, strides %d", kind, strides);
            }
        }
    }
}

/* ---- edges ---- */

static void assert_function(az_tensor *(*f)(az_ctx *az, const az_tensor *x), double x, double expected)
{
    az_ctx *az = az_open(NULL);
    for (int type = AZ_F32; type <= AZ_F64; type++) {
        double y = az_to_double(f(az, az_scalar(az, (az_dtype)type, x)));
        cr_assert(isnan(expected) ? isnan(y) : y == expected, "f(%g) = %g, not %g, in %s", x, y, expected, az_dtype_name((az_dtype)type));
    }
    az_close(az);
}

Test(elementwise, infinities_and_nan)
{
    assert_function(az_exp, -INFINITY, 0);
    assert_function(az_exp, INFINITY, INFINITY);
    assert_function(az_exp, 1000, INFINITY);
    assert_function(az_log, 0, -INFINITY);
    assert_function(az_log, INFINITY, INFINITY);
    assert_function(az_log, -1, NAN);
    assert_function(az_tanh, INFINITY, 1);
    assert_function(az_tanh, -INFINITY, -1);
    assert_function(az_sigmoid, INFINITY, 1);
    assert_function(az_sigmoid, -INFINITY, 0);
    assert_function(az_softplus, INFINITY, INFINITY);
    assert_function(az_softplus, -INFINITY, 0);
    assert_function(az_erf, INFINITY, 1);
    assert_function(az_erf, -INFINITY, -1);
    assert_function(az_gelu, INFINITY, INFINITY);
    assert_function(az_gelu, -INFINITY, 0);
    assert_function(az_relu, -INFINITY, 0);
    assert_function(az_sign, -0.5, -1);
    assert_function(az_sign, 0, 0);
    assert_function(az_sqrt, 2.25, 1.5);
    az_tensor *(*const all[])(az_ctx * az, const az_tensor *x) = {az_exp,  az_log,  az_sqrt, az_square,   az_abs,     az_sign,
                                                                  az_sin,  az_cos,  az_erf,  az_tanh,     az_sigmoid, az_softplus,
                                                                  az_relu, az_silu, az_gelu, az_gelu_tanh};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) assert_function(all[i], NAN, NAN);
}

Test(elementwise, nan_wins_in_maxima_and_clips)
{
    az_ctx *az = az_open(NULL);
    const az_tensor *a = az_from(az, AZ_F64, 1, (int64_t[]){4}, (double[]){1, NAN, 3, NAN}),
                    *b = az_from(az, AZ_F64, 1, (int64_t[]){4}, (double[]){2, 2, NAN, NAN});
    cr_assert_eq(az_item(az_maximum(az, a, b), 0), 2);
    cr_assert_eq(az_item(az_minimum(az, a, b), 0), 1);
    for (int i = 1; i < 4; i++) cr_assert(isnan(az_item(az_maximum(az, a, b), i)) && isnan(az_item(az_minimum(az, a, b), i)));
    cr_assert(isnan(az_item(az_clip(az, a, 0, 1), 1)));
    cr_assert_null(az_clip(az, a, 1, 0));
    cr_assert_eq(az_status_of(az), AZ_BAD_CALL);
    az_close(az);
}

/* ---- broadcasting ---- */

/* Position in x of element i of the frame that x broadcasts to. */
static int64_t source_position(const az_tensor *x, const az_tensor *frame, int64_t i)
{
    int64_t position = 0, step = 1;
    for (int back = 1; back <= frame->rank; back++) {
        int64_t index = i % frame->shape[frame->rank - back];
        i /= frame->shape[frame->rank - back];
        if (back > x->rank) continue;
        int64_t extent = x->shape[x->rank - back];
        position += (extent == 1 ? 0 : index) * step;
        step *= extent;
    }
    return position;
}

Test(elementwise, broadcasting_is_numpys)
{
    az_ctx *az = az_open(NULL);
    const struct {
        int rank;
        int64_t shape[6];
    } shapes[] = {{0, {0}},          {1, {1}},
                  {1, {4}},          {2, {3, 4}},
                  {2, {3, 1}},       {3, {2, 1, 4}},
                  {3, {2, 3, 1}},    {6, {2, 1, 2, 1, 3, 4}},
                  {4, {1, 1, 1, 1}}, {5, {1, 2, 1, 3, 1}}};
    for (int i = 0; i < 10; i++) {
        for (int j = 0; j < 10; j++) {
            az_scope_push(az);
            const az_tensor *a = az_randn(az, AZ_F64, shapes[i].rank, shapes[i].shape, 1, 1, (uint64_t)i);
            const az_tensor *b = az_randn(az, AZ_F64, shapes[j].rank, shapes[j].shape, 1, 2, (uint64_t)j);
            const az_tensor *mask = az_cast(az, az_affine(az, b, 1, 0.5), AZ_I8);
            const az_tensor *y = az_sub(az, a, b), *chosen = az_where(az, mask, a, b);
            cr_assert_eq(y->rank, a->rank > b->rank ? a->rank : b->rank);
            cr_assert(az_same_shape(y, chosen));
            for (int64_t k = 0; k < az_count(y); k++) {
                double left = az_item(a, source_position(a, y, k)), right = az_item(b, source_position(b, y, k));
                cr_assert_eq(az_item(y, k), left - right);
                cr_assert_eq(az_item(chosen, k), az_item(mask, source_position(b, y, k)) != 0 ? left : right);
            }
            az_scope_pop(az);
        }
    }
    cr_assert_null(az_add(az, az_new2(az, AZ_F32, 3, 4), az_new1(az, AZ_F32, 5)));
    cr_assert_str_eq(az_error(az), "az_add: shapes [3, 4] and [5] do not broadcast");
    az_clear(az);
    cr_assert_null(az_mul(az, az_new1(az, AZ_F32, 3), az_new1(az, AZ_F64, 3)));
    cr_assert_str_eq(az_error(az), "az_mul: operands of types f32 and f64");
    az_clear(az);
    cr_assert_null(az_exp(az, az_new1(az, AZ_I32, 3)));
    cr_assert_str_eq(az_error(az), "az_exp: an operand of type i32; f32 and f64 are possible (see az_cast)");
    az_clear(az);
    cr_assert_eq(az_count(az_add(az, az_new2(az, AZ_F32, 0, 3), az_new1(az, AZ_F32, 3))), 0);
    cr_assert(az_ok(az));
    az_close(az);
}

Test(elementwise, addition_in_place)
{
    az_ctx *az = az_open(NULL);
    az_tensor *y = az_full(az, AZ_F32, 2, (int64_t[]){300, 400}, 1);
    const az_tensor *row = az_randn(az, AZ_F32, 1, (int64_t[]){400}, 1, 1, 1);
    az_add_into(az, az_slice(az, y, 0, 100, 200), row, -2);
    for (int64_t i = 0; i < 120000; i += 7) {
        float expected = i / 400 < 100 ? 1 : 1 - 2 * az_f32(row)[i % 400];
        cr_assert_eq(az_f32(y)[i], expected);
    }
    az_add_into(az, y, az_new1(az, AZ_F32, 7), 1);
    cr_assert_str_eq(az_error(az), "az_add_into: shapes [300, 400] and [7] do not broadcast");
    az_clear(az);
    az_add_into(az, az_new1(az, AZ_F32, 1), row, 1);
    cr_assert_str_eq(az_error(az), "az_add_into: shape [400] does not broadcast to [1]");
    az_close(az);
}

/* Large tensors are shared among threads in pieces; the result is that of one thread, bit for bit, for views too. */
Test(elementwise, results_do_not_depend_on_threads)
{
    const az_tensor *y[3][3];
    az_ctx *az[3];
    for (int t = 0; t < 3; t++) {
        az[t] = az_open(&(az_settings){.threads = t + 1});
        const az_tensor *a = az_randn(az[t], AZ_F32, 2, (int64_t[]){501, 333}, 1, 1, 1),
                        *b = az_randn(az[t], AZ_F32, 2, (int64_t[]){333, 501}, 1, 1, 2);
        y[t][0] = az_gelu(az[t], a);
        y[t][1] = az_div(az[t], az_transpose(az[t], b), az_slice(az[t], a, 0, 7, 1));
        y[t][2] = az_copy(az[t], az_transpose(az[t], b));
        for (int k = 0; k < 3 && t > 0; k++) cr_assert_arr_eq(az_f32(y[t][k]), az_f32(y[0][k]), (size_t)az_count(y[0][k]) * 4);
    }
    for (int t = 0; t < 3; t++) az_close(az[t]);
}
