/* The fused steps against PyTorch 1.13's numbers and against the update rules written out in double, for both types and any number of
 * threads. */
#include "adze/linalg.h"
#include "adze/optim.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

static const az_optimizer_options adamw = {.kind = AZ_ADAMW, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1};

/* The fixture: four weights sin(i + 1), three gradients cos(i (t + 1)) - 0.3 t, lr 0.05, weight decay on. Made in PyTorch 1.13 by
 *     w = torch.tensor([math.sin(i + 1) for i in range(4)], requires_grad=True)
 *     opt = torch.optim.AdamW([w], lr=0.05, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)       or torch.optim.SGD([w], lr=0.05, ...)
 *     for t in range(3): w.grad = torch.tensor([math.cos(i * (t + 1)) - 0.3 * t for i in range(4)]); opt.step() */
static void check_against_torch(az_dtype dtype, const az_optimizer_options *options, const double *expected, double tolerance)
{
    az_ctx *az = az_open(NULL);
    az_tensor *w = az_new1(az, dtype, 4), *g = az_new1(az, dtype, 4);
    double value[4];
    for (int i = 0; i < 4; i++) value[i] = sin(i + 1);
    az_copy_into(az, w, az_from(az, AZ_F64, 1, (int64_t[]){4}, value));
    az_optimizer *optimizer = az_optimizer_new(az, options, &w, 1, (bool[]){true});
    for (int t = 0; t < 3; t++) {
        for (int i = 0; i < 4; i++) value[i] = cos(i * (t + 1)) - 0.3 * t;
        az_copy_into(az, g, az_from(az, AZ_F64, 1, (int64_t[]){4}, value));
        cr_assert(az_optimizer_step(az, optimizer, &g, 0.05), "%s", az_error(az));
    }
    cr_assert_eq(az_optimizer_steps(optimizer), 3);
    for (int i = 0; i < 4; i++) cr_assert_float_eq(az_item(w, i), expected[i], tolerance, "%d: %.16g", i, az_item(w, i));
    az_close(az);
}

Test(optimizer, adamw_matches_torch)
{
    const double expected[4] = {0.6842741711413145, 0.8866029236787835, 0.25964588553839496, -0.6604868518680087};
    check_against_torch(AZ_F64, &adamw, expected, 1e-14);
    check_against_torch(AZ_F32, &adamw, expected, 1e-6);
}

Test(optimizer, sgd_matches_torch)
{
    const double plain[4] = {0.7245856751757654, 0.9841083394980175, 0.1890488186976483, -0.6537882160594245};
    const double momentum[4] = {0.5970923450183387, 0.9585568229926855, 0.26552080438002673, -0.5894548006713435};
    const double nesterov[4] = {0.5062955192795348, 1.0289403903742405, 0.30012009624946895, -0.5042184034706017};
    az_optimizer_options sgd = {.kind = AZ_SGD, .weight_decay = 0.1};
    check_against_torch(AZ_F64, &sgd, plain, 1e-14);
    check_against_torch(AZ_F32, &sgd, plain, 1e-6);
    sgd.beta1 = 0.9;
    check_against_torch(AZ_F64, &sgd, momentum, 1e-14);
    check_against_torch(AZ_F32, &sgd, momentum, 1e-6);
    sgd.nesterov = true;
    check_against_torch(AZ_F64, &sgd, nesterov, 1e-14);
    check_against_torch(AZ_F32, &sgd, nesterov, 1e-6);
}

/* AdamW as the paper writes it, one weight at a time. */
static void reference_adamw(double *w, double *m, double *v, double g, int t, double lr, double decay)
{
    *m = adamw.beta1 * *m + (1 - adamw.beta1) * g;
    *v = adamw.beta2 * *v + (1 - adamw.beta2) * g * g;
    const double mhat = *m / (1 - pow(adamw.beta1, t)), vhat = *v / (1 - pow(adamw.beta2, t));
    *w -= lr * (mhat / (sqrt(vhat) + adamw.eps) + decay * *w);
}

/* A matrix of three blocks (which decays) and a vector (which does not), five steps; leaves the final matrix in out. */
enum { ROWS = 37, COLS = 1111, WIDTH = 5 };

static void run_two_parameters(int threads, bool compare, float *out /* [ROWS * COLS] */)
{
    static double w[ROWS * COLS + WIDTH], m[ROWS * COLS + WIDTH], v[ROWS * COLS + WIDTH];
    az_ctx *az = az_open(&(az_settings){.threads = threads});
    az_tensor *parameter[2] = {az_randn(az, AZ_F32, 2, (int64_t[]){ROWS, COLS}, 0.1, 1, 0),
                               az_randn(az, AZ_F32, 1, (int64_t[]){WIDTH}, 0.1, 1, 1)};
    const int matrix = ROWS * COLS, all = matrix + WIDTH;
    for (int i = 0; i < all; i++) {
        w[i] = i < matrix ? az_item(parameter[0], i) : az_item(parameter[1], i - matrix);
        m[i] = v[i] = 0;
    }
    az_optimizer *optimizer = az_optimizer_new(az, &adamw, parameter, 2, NULL);
    for (int t = 1; t <= 5; t++) {
        az_tensor *g[2] = {az_randn(az, AZ_F32, 2, (int64_t[]){ROWS, COLS}, 1, 2, (uint64_t)t),
                           az_randn(az, AZ_F32, 1, (int64_t[]){WIDTH}, 1, 3, (uint64_t)t)};
        cr_assert(az_optimizer_step(az, optimizer, g, 0.01 / t));
        for (int i = 0; compare && i < all; i++) {
            const double slope = i < matrix ? az_item(g[0], i) : az_item(g[1], i - matrix);
            reference_adamw(&w[i], &m[i], &v[i], slope, t, 0.01 / t, i < matrix ? 0.1 : 0);
        }
    }
    for (int i = 0; compare && i < all; i++) {
        const double value = i < matrix ? az_item(parameter[0], i) : az_item(parameter[1], i - matrix);
        cr_assert_float_eq(value, w[i], 1e-6, "%d: %.9g against %.9g", i, value, w[i]);
    }
    memcpy(out, az_f32(parameter[0]), sizeof(float) * ROWS * COLS);
    az_close(az);
}

Test(optimizer, adamw_matches_a_reference_and_does_not_depend_on_threads)
{
    static float one[ROWS * COLS], two[ROWS * COLS];
    run_two_parameters(1, true, one);
    run_two_parameters(2, false, two);
    cr_assert_arr_eq(one, two, sizeof one);
}

Test(optimizer, a_restored_state_goes_on_bit_for_bit)
{
    az_ctx *az = az_open(NULL);
    const int64_t shape[2] = {8, 9};
    az_tensor *start = az_randn(az, AZ_F32, 2, shape, 1, 1, 0), *a = az_copy(az, start), *b;
    az_optimizer *first = az_optimizer_new(az, &adamw, &a, 1, NULL), *second;
    for (int t = 0; t < 4; t++) az_optimizer_step(az, first, (az_tensor *[]){az_randn(az, AZ_F32, 2, shape, 1, 2, (uint64_t)t)}, 0.01);
    b = az_copy(az, a);
    second = az_optimizer_new(az, &adamw, &b, 1, NULL);
    az_tensor **from, **to;
    const char **name, **again;
    cr_assert_eq(az_optimizer_state(az, first, &from, &name), 2);
    cr_assert_eq(az_optimizer_state(az, second, &to, &again), 2);
    cr_assert_str_eq(name[0], "adamw.m.0");
    cr_assert_str_eq(name[1], "adamw.v.0");
    for (int i = 0; i < 2; i++) az_copy_into(az, to[i], from[i]);
    az_optimizer_set_steps(second, az_optimizer_steps(first));
    for (int t = 4; t < 8; t++) {
        az_tensor *g = az_randn(az, AZ_F32, 2, shape, 1, 2, (uint64_t)t);
        cr_assert(az_optimizer_step(az, first, &g, 0.01) && az_optimizer_step(az, second, &g, 0.01));
    }
    cr_assert_arr_eq(az_f32(a), az_f32(b), sizeof(float) * 72);
    az_close(az);
}

Test(optimizer, a_gradient_that_is_a_view_counts_by_its_elements)
{
    az_ctx *az = az_open(NULL);
    az_tensor *w = az_zeros(az, AZ_F32, 2, (int64_t[]){2, 3});
    az_tensor *g = az_from(az, AZ_F32, 2, (int64_t[]){3, 2}, (float[]){1, 4, 2, 5, 3, 6});
    az_optimizer *optimizer = az_optimizer_new(az, &(az_optimizer_options){.kind = AZ_SGD}, &w, 1, NULL);
    az_tensor *view = az_share(az, g); /* the transpose */
    view->shape[0] = 2, view->shape[1] = 3;
    view->stride[0] = 1, view->stride[1] = 2;
    cr_assert(az_optimizer_step(az, optimizer, &view, 1));
    for (int i = 0; i < 6; i++) cr_assert_eq(az_item(w, i), -(i + 1));
    az_close(az);
}

Test(optimizer, what_does_not_fit_is_refused)
{
    az_ctx *az = az_open(NULL);
    az_tensor *w = az_zeros(az, AZ_F32, 1, (int64_t[]){3});
    az_optimizer *optimizer = az_optimizer_new(az, &adamw, &w, 1, NULL);
    cr_assert_not(az_optimizer_step(az, optimizer, (az_tensor *[]){az_zeros(az, AZ_F32, 1, (int64_t[]){4})}, 1));
    cr_assert_eq(az_status_of(az), AZ_BAD_CALL);
    cr_assert_eq(az_optimizer_steps(optimizer), 0);
    az_clear(az);
    cr_assert_null(az_optimizer_new(az, &(az_optimizer_options){.kind = AZ_ADAMW, .beta1 = 0.9, .beta2 = 1, .eps = 1e-8}, &w, 1, NULL));
    cr_assert_eq(az_status_of(az), AZ_BAD_INPUT);
    az_clear(az);
    az_tensor *integers = az_zeros(az, AZ_I32, 1, (int64_t[]){3});
    cr_assert_null(az_optimizer_new(az, &adamw, &integers, 1, NULL));
    cr_assert_eq(az_status_of(az), AZ_BAD_CALL);
    az_close(az);
}

/* ---- GaLore ---- */

static const az_optimizer_options galore = {
    .kind = AZ_GALORE, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .weight_decay = 0.1, .rank = 2, .refresh = 3, .scale = 0.5};

/* A gradient [m, n] of rank 2, so that every range finder has its subspace to the last bits. */
static az_tensor *low_rank_gradient(az_ctx *az, int64_t m, int64_t n, int step)
{
    const int64_t left[] = {m, 2}, right[] = {2, n};
    return az_matmul(az, az_randn(az, AZ_F64, 2, left, 1, 5, (uint64_t)step), az_randn(az, AZ_F64, 2, right, 1, 6, (uint64_t)step));
}

/* Five steps on a tall and on a wide matrix against the formulas with an exact decomposition; the subspace changes at steps 0 and 3. */
Test(optimizer, galore_matches_its_formulas)
{
    const int64_t shapes[][2] = {{7, 5}, {4, 9}};
    az_ctx *az = az_open(NULL);
    for (int k = 0; k < 2; k++) {
        const int64_t m = shapes[k][0], n = shapes[k][1];
        const bool tall = m >= n;
        az_tensor *w = az_randn(az, AZ_F64, 2, shapes[k], 1, 7, 0), *expected = az_copy(az, w), *basis = NULL;
        az_optimizer *optimizer = az_optimizer_new(az, &galore, &w, 1, NULL);
        az_tensor *first = NULL, *second = NULL;
        for (int step = 0; step < 5; step++) {
            az_tensor *g = low_rank_gradient(az, m, n, step), *u, *s, *vt;
            az_svd(az, g, &u, &s, &vt);
            if (step % 3 == 0) basis = tall ? az_slice(az, az_transpose(az, vt), 1, 0, 2) : az_slice(az, u, 1, 0, 2);
            /* singular vectors have no sign, and moments of squares know none */
            az_tensor **state, *r;
            const char **names;
            cr_assert(az_optimizer_step(az, optimizer, &g, 0.01), "%s", az_error(az));
            const int count = az_optimizer_state(az, optimizer, &state, &names);
            cr_assert_str_eq(names[count - 1], "galore.basis.0");
            az_tensor *found = state[count - 1], *overlap = az_matmul(az, az_transpose(az, basis), found);
            for (int i = 0; i < 2; i++) cr_assert_float_eq(fabs(az_item(overlap, i * 3)), 1, 1e-9);
            r = tall ? az_matmul(az, g, found) : az_matmul(az, az_transpose(az, found), g);
            if (!first) first = az_zeros(az, AZ_F64, 2, r->shape), second = az_zeros(az, AZ_F64, 2, r->shape);
            az_tensor *d = az_copy(az, r);
            for (int64_t i = 0; i < az_count(r); i++) {
                double *at = az_f64_mut(first) + i, *square = az_f64_mut(second) + i;
                *at = 0.9 * *at + 0.1 * az_item(r, i), *square = 0.99 * *square + 0.01 * az_item(r, i) * az_item(r, i);
                az_f64_mut(d)[i] = -0.01 * (*at / (1 - pow(0.9, step + 1))) / (sqrt(*square / (1 - pow(0.99, step + 1))) + 1e-8);
            }
            const az_tensor *moved = tall ? az_matmul(az, d, az_transpose(az, found)) : az_matmul(az, found, d);
            for (int64_t i = 0; i < m * n; i++) az_f64_mut(expected)[i] = (1 - 0.01 * 0.1) * az_item(expected, i) + 0.5 * az_item(moved, i);
            for (int64_t i = 0; i < m * n; i++) cr_assert_float_eq(az_item(w, i), az_item(expected, i), 1e-12);
        }
    }
    az_close(az);
}

/* Matrices that are no larger than the subspace, those that should have none, and vectors are AdamW's, to the bit. */
Test(optimizer, galore_leaves_small_matrices_to_adamw)
{
    az_ctx *az = az_open(NULL);
    const bool project[] = {true, false, true};
    az_optimizer_options how = galore, plain = galore;
    how.project = project, plain.kind = AZ_ADAMW;
    az_tensor *w[2][3];
    az_optimizer *optimizer[2];
    for (int k = 0; k < 2; k++) {
        w[k][0] = az_randn(az, AZ_F32, 2, (int64_t[]){2, 6}, 1, 1, 0);
        w[k][1] = az_randn(az, AZ_F32, 2, (int64_t[]){6, 5}, 1, 2, 0);
        w[k][2] = az_randn(az, AZ_F32, 1, (int64_t[]){6}, 1, 3, 0);
        optimizer[k] = az_optimizer_new(az, k == 0 ? &how : &plain, w[k], 3, NULL);
    }
    for (int step = 0; step < 4; step++)
        for (int k = 0; k < 2; k++) {
            az_tensor *g[3];
            for (int i = 0; i < 3; i++) g[i] = az_randn(az, AZ_F32, w[k][i]->rank, w[k][i]->shape, 1, 4, (uint64_t)(3 * step + i));
            cr_assert(az_optimizer_step(az, optimizer[k], g, 0.1), "%s", az_error(az));
        }
    for (int i = 0; i < 3; i++)
        for (int64_t j = 0; j < az_count(w[0][i]); j++) cr_assert_eq(az_item(w[0][i], j), az_item(w[1][i], j));
    az_close(az);
}

Test(optimizer, galore_goes_on_from_its_state_and_refuses_bad_gradients)
{
    az_ctx *az = az_open(NULL);
    az_tensor *w[2], *g = NULL, **from, **to;
    const char **names;
    az_optimizer *optimizer[2];
    for (int i = 0; i < 2; i++) {
        w[i] = az_randn(az, AZ_F32, 2, (int64_t[]){8, 6}, 1, 1, 0);
        optimizer[i] = az_optimizer_new(az, &galore, &w[i], 1, NULL);
    }
    for (int step = 0; step < 4; step++) {
        g = az_randn(az, AZ_F32, 2, (int64_t[]){8, 6}, 1, 3, (uint64_t)step);
        az_optimizer_step(az, optimizer[0], &g, 0.1);
    }
    const int n = az_optimizer_state(az, optimizer[0], &from, &names);
    cr_assert_eq(az_optimizer_state(az, optimizer[1], &to, &names), n);
    for (int i = 0; i < n; i++) az_copy_into(az, to[i], from[i]);
    az_optimizer_set_steps(optimizer[1], 4);
    az_copy_into(az, w[1], w[0]);
    for (int step = 4; step < 6; step++)
        for (int i = 0; i < 2; i++) cr_assert(az_optimizer_step(az, optimizer[i], &g, 0.1));
    for (int64_t j = 0; j < 48; j++) cr_assert_eq(az_item(w[0], j), az_item(w[1], j));
    az_f32_mut(g)[5] = NAN;
    cr_assert_not(az_optimizer_step(az, optimizer[0], &g, 0.1));
    cr_assert_eq(az_status_of(az), AZ_NUMERIC);
    for (int64_t j = 0; j < 48; j++) cr_assert_eq(az_item(w[0], j), az_item(w[1], j));
    cr_assert_eq(az_optimizer_steps(optimizer[0]), 6);
    az_close(az);
}

/* ---- M-FAC ---- */

static const az_optimizer_options m_fac = {.kind = AZ_MFAC, .window = 3, .damp = 0.1};

/* Two parameters, five steps against w -= lr (damp I + G^T G / m)^-1 g with dense matrices; the window holds the last three gradients,
 * zeros at first, decay is part of the gradient of the matrix, and velocity averages the steps. */
Test(optimizer, m_fac_matches_dense_solves)
{
    enum { D = 10 };
    az_ctx *az = az_open(NULL);
    az_tensor *w[] = {az_randn(az, AZ_F32, 2, (int64_t[]){2, 3}, 1, 1, 0), az_randn(az, AZ_F32, 1, (int64_t[]){4}, 1, 2, 0)};
    az_optimizer_options how = m_fac;
    how.weight_decay = 0.2, how.beta1 = 0.4;
    az_optimizer *optimizer = az_optimizer_new(az, &how, w, 2, NULL);
    cr_assert(optimizer, "%s", az_error(az));
    double expected[D], velocity[D] = {0};
    for (int j = 0; j < D; j++) expected[j] = az_item(w[j / 6], j % 6);
    az_tensor *window = az_zeros(az, AZ_F64, 2, (int64_t[]){3, D});
    for (int step = 0; step < 5; step++) {
        az_tensor *g[] = {az_randn(az, AZ_F32, 2, (int64_t[]){2, 3}, 1, 3, (uint64_t)step),
                          az_randn(az, AZ_F32, 1, (int64_t[]){4}, 1, 4, (uint64_t)step)};
        double *row = az_f64_mut(window) + step % 3 * D;
        for (int j = 0; j < D; j++) row[j] = az_item(g[j / 6], j % 6) + (j < 6 ? 0.2 * expected[j] : 0);
        const az_tensor *f = az_add(az, az_affine(az, az_matmul(az, az_transpose(az, window), window), 1.0 / 3, 0),
                                    az_affine(az, az_identity(az, AZ_F64, D), 0.1, 0));
        const az_tensor *u = az_solve(az, f, az_from(az, AZ_F64, 1, (int64_t[]){D}, row));
        for (int j = 0; j < D; j++) {
            velocity[j] = 0.4 * velocity[j] + 0.6 * az_item(u, j);
            expected[j] -= 0.05 * velocity[j];
        }
        cr_assert(az_optimizer_step(az, optimizer, g, 0.05), "%s", az_error(az));
    }
    for (int j = 0; j < D; j++) cr_assert_float_eq(az_item(w[j / 6], j % 6), expected[j], 1e-5);
    az_close(az);
}

Test(optimizer, m_fac_goes_on_from_its_state_and_refuses_bad_gradients)
{
    az_ctx *az = az_open(NULL);
    az_tensor *w[2], *g = az_zeros(az, AZ_F32, 1, (int64_t[]){6});
    az_optimizer *optimizer[2];
    for (int i = 0; i < 2; i++) {
        w[i] = az_randn(az, AZ_F32, 1, (int64_t[]){6}, 1, 1, 0);
        optimizer[i] = az_optimizer_new(az, &m_fac, &w[i], 1, NULL);
    }
    for (int step = 0; step < 4; step++) {
        g = az_randn(az, AZ_F32, 1, (int64_t[]){6}, 1, 3, (uint64_t)step);
        az_optimizer_step(az, optimizer[0], &g, 0.1);
    }
    az_tensor **from, **to;
    const char **names;
    const int n = az_optimizer_state(az, optimizer[0], &from, &names);
    cr_assert_eq(az_optimizer_state(az, optimizer[1], &to, &names), n);
    for (int i = 0; i < n; i++) az_copy_into(az, to[i], from[i]);
    az_optimizer_set_steps(optimizer[1], 4);
    az_copy_into(az, w[1], w[0]);
    for (int i = 0; i < 2; i++) az_optimizer_step(az, optimizer[i], &g, 0.1);
    for (int j = 0; j < 6; j++) cr_assert_eq(az_item(w[0], j), az_item(w[1], j));
    az_f32_mut(g)[2] = NAN;
    cr_assert_not(az_optimizer_step(az, optimizer[0], &g, 0.1));
    cr_assert_eq(az_status_of(az), AZ_NUMERIC);
    for (int j = 0; j < 6; j++) cr_assert_eq(az_item(w[0], j), az_item(w[1], j));
    cr_assert_eq(az_optimizer_steps(optimizer[0]), 5);
    az_close(az);
}

Test(optimizer, m_fac_keeps_zeros_and_starts_plainly_where_asked)
{
    az_ctx *az = az_open(NULL);
    az_tensor *w = az_from(az, AZ_F32, 1, (int64_t[]){4}, (float[]){1, 0, -1, 0}), *g = az_full(az, AZ_F32, 1, (int64_t[]){4}, 0.5);
    az_optimizer_options how = m_fac;
    how.keep_zeros = true, how.plain_steps = 1;
    az_optimizer *optimizer = az_optimizer_new(az, &how, &w, 1, NULL);
    cr_assert(az_optimizer_step(az, optimizer, &g, 0.1));
    cr_assert_float_eq(az_item(w, 0), 0.95, 1e-6);
    cr_assert_float_eq(az_item(w, 2), -1.05, 1e-6);
    for (int step = 0; step < 3; step++) az_optimizer_step(az, optimizer, &g, 0.1);
    cr_assert(az_item(w, 1) == 0 && az_item(w, 3) == 0 && az_item(w, 0) < 0.95);
    az_close(az);
}
