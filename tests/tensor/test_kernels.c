/* Every table of kernels against references in double, over sizes that hit all remainders. */
#include "tensor/kernels/kernels.h"

#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <string.h>

enum { LONGEST = 131 };

/* The tables that this processor can run; returns how many. */
static int tables(const az_kernels *list[3])
{
    int n = 0;
    list[n++] = az_kernels_portable();
#if defined(__x86_64__)
    if (az_cpu_features()->avx512) list[n++] = az_kernels_avx2();
#endif
    if (az_kernels_best() != list[0]) list[n++] = az_kernels_best();
    return n;
}

static double ulp_error(float got, double exact)
{
    if (got == (float)exact) return 0;
    double unit = nextafterf(fabsf((float)exact), INFINITY) - fabsf((float)exact);
    return fabs(got - exact) / unit;
}

Test(kernels, exp_is_within_two_units_over_the_whole_range)
{
    const az_kernels *list[3];
    for (int t = tables(list); t-- > 0;) {
        double worst = 0;
        for (float x = -103.5f; x < 88.7f; x += 0.00371f) {
            float y;
            list[t]->f32.exp(1, &x, &y);
            double error = ulp_error(y, exp(x));
            if (error > worst) worst = error;
        }
        cr_assert_leq(worst, 2.0, "table %d: %g units", t, worst);
    }
}

Test(kernels, exp_keeps_its_limits)
{
    const az_kernels *list[3];
    const float x[9] = {-INFINITY, -1e4f, -200, 0, 89, 1e4f, INFINITY, NAN, -0.0f};
    for (int t = tables(list); t-- > 0;) {
        float y[9];
        list[t]->f32.exp(9, x, y);
        for (int i = 0; i < 3; i++) cr_assert_eq(y[i], 0);
        cr_assert_eq(y[3], 1);
        for (int i = 4; i < 7; i++) cr_assert(isinf(y[i]) && y[i] > 0);
        cr_assert(isnan(y[7]));
        cr_assert_eq(y[8], 1);
    }
}

Test(kernels, exp_of_doubles_is_within_a_unit)
{
    const az_kernels *list[3];
    enum { N = 64 };
    for (int t = tables(list); t-- > 0;) {
        double worst = 0, x[N], y[N], x0 = -745.2;
        for (; x0 < 709.8; x0 += N * 0.001237) {
            for (int i = 0; i < N; i++) x[i] = fmin(x0 + i * 0.001237, 709.78);
            list[t]->f64.exp(N, x, y);
            for (int i = 0; i < N; i++) {
                const long double exact = expl((long double)x[i]);
                const double unit = nextafter((double)exact, INFINITY) - (double)exact;
                worst = fmax(worst, (double)(fabsl((long double)y[i] - exact) / (long double)unit));
            }
        }
        cr_assert_leq(worst, 1.0, "table %d: %g units", t, worst);
    }
}

Test(kernels, exp_and_sigmoid_of_doubles_keep_their_limits)
{
    const az_kernels *list[3];
    const double x[9] = {-INFINITY, -1e9, -800, 0, 710, 1e9, INFINITY, NAN, -0.0};
    for (int t = tables(list); t-- > 0;) {
        double y[9], s[9];
        list[t]->f64.exp(9, x, y);
        list[t]->f64.sigmoid(9, x, s);
        for (int i = 0; i < 3; i++) cr_assert(y[i] == 0 && s[i] == 0, "%d", i);
        cr_assert(y[3] == 1 && s[3] == 0.5 && y[8] == 1 && s[8] == 0.5);
        for (int i = 4; i < 7; i++) cr_assert(isinf(y[i]) && y[i] > 0 && s[i] == 1, "%d", i);
        cr_assert(isnan(y[7]) && isnan(s[7]));
    }
}

typedef void (*row_kernel)(int64_t n, const float *x, float *y);

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static double silu(double x)
{
    return x * sigmoid(x);
}

/* `units` is the error allowed, in units in the last place of the exact value. */
static void check_row(row_kernel kernel, double (*exact)(double), double units, const char *name)
{
    float x[LONGEST], y[LONGEST + 1];
    az_rng rng = az_rng_at(3, 5);
    for (int n = 0; n <= LONGEST; n++) {
        for (int i = 0; i < n; i++) x[i] = (float)(az_normal(&rng) * (n % 3 ? 1 : 20));
        y[n] = 77;
        kernel(n, x, y);
        for (int i = 0; i < n; i++)
            cr_assert_leq(ulp_error(y[i], exact(x[i])), units, "%s(%.9g) = %.9g, not %.9g", name, x[i], y[i], exact(x[i]));
        cr_assert_eq(y[n], 77, "%s wrote past its row of %d", name, n);
    }
}

Test(kernels, activations_match_double)
{
    const az_kernels *list[3];
    for (int t = tables(list); t-- > 0;) {
        check_row(list[t]->f32.exp, exp, 2, "exp");
        check_row(list[t]->f32.sigmoid, sigmoid, 4, "sigmoid");
        check_row(list[t]->f32.tanh, tanh, 4, "tanh");
        check_row(list[t]->f32.silu, silu, 5, "silu");
    }
}

Test(kernels, swiglu_and_its_gradient_match_double)
{
    const az_kernels *list[3];
    az_rng rng = az_rng_at(3, 6);
    for (int t = tables(list); t-- > 0;)
        for (int n = 0; n <= LONGEST; n++) {
            float g[LONGEST], u[LONGEST], y[LONGEST], gg[LONGEST], gu[LONGEST], gy[LONGEST];
            for (int i = 0; i < n; i++) {
                g[i] = (float)az_normal(&rng) * 4, u[i] = (float)az_normal(&rng);
                gy[i] = gu[i] = (float)az_normal(&rng);
            }
            list[t]->f32.swiglu(n, g, u, y);
            list[t]->f32.swiglu_gradient(n, g, u, gg, gu);
            for (int i = 0; i < n; i++) {
                double s = sigmoid(g[i]);
                cr_assert_float_eq(y[i], g[i] * s * u[i], 1e-6 * (1 + fabs(y[i])));
                cr_assert_float_eq(gu[i], gy[i] * g[i] * s, 1e-6 * (1 + fabs(gu[i])));
                cr_assert_float_eq(gg[i], gy[i] * u[i] * s * (1 + g[i] * (1 - s)), 2e-6 * (1 + fabs(gg[i])));
            }
        }
}

Test(kernels, reductions_match_double)
{
    const az_kernels *list[3];
    az_rng rng = az_rng_at(3, 7);
    for (int t = tables(list); t-- > 0;)
        for (int n = 1; n <= LONGEST; n++) {
            float x[LONGEST], y[LONGEST], e[LONGEST], p[LONGEST];
            double sum = 0, dot = 0, most = -INFINITY, exps = 0;
            for (int i = 0; i < n; i++) {
                x[i] = (float)az_normal(&rng), y[i] = (float)az_normal(&rng);
                sum += x[i], dot += (double)x[i] * y[i], most = fmax(most, x[i]), exps += exp(x[i] - 0.5);
            }
            const az_kernels_f32 *k = &list[t]->f32;
            cr_assert_eq(k->max(n, x), most);
            cr_assert_float_eq(k->sum(n, x), sum, 1e-5);
            cr_assert_float_eq(k->dot(n, x, y), dot, 1e-5);
            cr_assert_float_eq(k->sum_exp(n, x, 0.5f), exps, 2e-6 * exps);
            cr_assert_float_eq(k->exp_shift(n, x, 0.5f, e), exps, 2e-6 * exps);
            k->softmax(n, x, p);
            for (int i = 0; i < n; i++) {
                cr_assert_float_eq(e[i], exp(x[i] - 0.5), 1e-6 * (1 + e[i]));
                cr_assert_float_eq(p[i], exp(x[i] - 0.5) / exps, 1e-6);
            }
            k->axpy(n, 0.25f, x, y);
            k->scale(n, 3, x, e);
            cr_assert_float_eq(k->dot(n, x, y) - 0.25 * k->dot(n, x, x), dot, 1e-4);
            for (int i = 0; i < n; i++) cr_assert_eq(e[i], 3 * x[i]);
        }
}

/* Products of random m, n, k with strided operands; what lies beside the result stays as it was. */
#include "tensor/kernels/real_f32.h"
#include "tensor/block_cases.h"
#include "tensor/kernels/real_f64.h"
#include "tensor/block_cases.h"

Test(kernels, blocks_match_naive_products)
{
    const az_kernels *list[3];
    for (int t = tables(list); t-- > 0;)
        for (int m = 1; m < 15; m++)
            for (int n = 1; n < 70; n += n < 20 ? 1 : 7) {
                block_case_f32(&list[t]->f32, m, n, (m * n) % 13);
                block_case_f64(&list[t]->f64, m, n, (m * n) % 13);
            }
}

Test(kernels, packing_fills_panels)
{
    const az_kernels *list[3];
    float a[40 * 40], panels[40 * 48];
    for (int i = 0; i < 40 * 40; i++) a[i] = (float)i;
    for (int t = tables(list); t-- > 0;)
        for (int columns = 1; columns < 40; columns += 5)
            for (int turn = 0; turn < 2; turn++) {
                const az_matrix_f32 from = {.data = a, .row = turn ? 1 : 40, .column = turn ? 40 : 1};
                const int rows = 7, width = list[t]->f32.panel;
                list[t]->f32.pack(rows, columns, from, 2, panels);
                for (int j = 0; j < (columns + width - 1) / width * width; j++)
                    for (int i = 0; i < rows; i++)
                        cr_assert_eq(panels[(j / width * rows + i) * width + j % width],
                                     j < columns ? 2 * a[i * from.row + j * from.column] : 0);
            }
}

Test(kernels, rows_of_norms_and_softmax_match_double)
{
    const az_kernels *list[3];
    az_rng rng = az_rng_at(3, 8);
    for (int t = tables(list); t-- > 0;)
        for (int n = 1; n <= LONGEST; n++) {
            const az_kernels_f32 *k = &list[t]->f32;
            float x[LONGEST], w[LONGEST], b[LONGEST], g[LONGEST], y[LONGEST], gx[LONGEST], gw[LONGEST], e[LONGEST], sums[2];
            for (int i = 0; i < n; i++) {
                x[i] = (float)az_normal(&rng), w[i] = (float)az_normal(&rng), b[i] = (float)az_normal(&rng), g[i] = (float)az_normal(&rng);
                gw[i] = b[i];
            }
            const az_norm_row_f32 row = {.x = x, .weight = w, .bias = b, .shift = 0.25f, .scale = 1.5f};
            double squares = 0, plain = 0, with_z = 0;
            for (int i = 0; i < n; i++) {
                double z = (x[i] - 0.25) * 1.5;
                squares += (x[i] - 0.25) * (x[i] - 0.25), plain += (double)w[i] * g[i], with_z += (double)w[i] * g[i] * z;
            }
            k->norm(n, &row, y);
            k->norm_sums(n, &row, g, sums);
            k->norm_gradient(n, &row, g, (float[]){0.5f, -0.125f}, gx, gw);
            k->exp_scaled(n, x, 0.5f, 3, e);
            cr_assert_float_eq(k->sum_squares(n, x, 0.25f), squares, 1e-6 * (1 + squares));
            cr_assert_float_eq(sums[0], plain, 2e-5);
            cr_assert_float_eq(sums[1], with_z, 5e-5);
            for (int i = 0; i < n; i++) {
                double z = (x[i] - 0.25) * 1.5;
                cr_assert_float_eq(y[i], z * w[i] + b[i], 2e-6 * (1 + fabs(y[i])));
                cr_assert_float_eq(gx[i], 1.5 * ((double)w[i] * g[i] - 0.5 + 0.125 * z), 3e-6 * (1 + fabs(gx[i])));
                cr_assert_float_eq(gw[i], b[i] + g[i] * z, 3e-6 * (1 + fabs(gw[i])));
                cr_assert_float_eq(e[i], 3 * exp(x[i] - 0.5), 2e-6 * (1 + e[i]));
            }
            k->softmax_gradient(n, w, 0.75f, memcpy(y, g, sizeof g));
            for (int i = 0; i < n; i++) cr_assert_float_eq(y[i], (double)w[i] * (g[i] - 0.75), 1e-6 * (1 + fabs(y[i])));
        }
}
