/* Supervised dictionary learning: known objectives, limits, gradients, signs, predictions. */
#include "claims/sdl_data.h"
#include "claims/splitmix.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

static const sdl_how lpgd = {.rank = 3, .xi = 5, .nu = 2};

static double norm(az_ctx *az, const az_tensor *x)
{
    return sqrt(az_to_double(az_dot(az, x, x)));
}

static void check_steps(az_ctx *az, const sdl_samples *s, const sdl_how *how, const double want[3], const double gamma[2], double a)
{
    static const int at[] = {1, 10, 400};
    sdl_lifted st;
    cr_assert(sdl_lifted_start(az, s, how, &st), "%s", az_error(az));
    for (int i = 0, k = 0; i < 3; i++) {
        for (; k < at[i]; k++) cr_assert(sdl_lifted_step(az, &st), "%s", az_error(az));
        cr_assert_float_eq(sdl_lifted_objective(az, &st), want[i], 1e-8, "%d steps: %.10f", at[i], sdl_lifted_objective(az, &st));
    }
    for (int i = 0; i < 2; i++) cr_assert_float_eq(az_item(st.gamma, i), gamma[i], 1e-7);
    cr_assert_float_eq(norm(az, st.a), a, 1e-9 * a + 1e-10, "%.12f", norm(az, st.a));
}

Test(sdl, projected_gradients_have_their_known_objectives)
{
    az_ctx *az = az_open(NULL);
    const sdl_samples *s = sdl_fixture(az);
    sdl_how how = lpgd;
    sdl_lifted st;
    cr_assert(sdl_lifted_start(az, s, &how, &st));
    cr_assert_float_eq(1 / st.tau, 34.2834674264, 1e-8);
    check_steps(az, s, &how, (double[]){71.577504082, 68.275902839, 68.270277983}, (double[]){.55838471, .95822959}, .0905319188);
    how.kind = SDL_FEATURE, how.tau = 1 / 34.2834674264;
    check_steps(az, s, &how, (double[]){70.950665341, 65.890990242, 65.698163398}, (double[]){.56017342, .95106605}, 1.1146203602);
    az_close(az);
}

/* The rank, the factors, and the same end from anywhere. */
Test(sdl, factors_give_the_lifted_matrices_and_a_random_start_the_same_end)
{
    az_ctx *az = az_open(NULL);
    const sdl_samples *s = sdl_fixture(az);
    for (int kind = SDL_FILTER; kind <= SDL_FEATURE; kind++) {
        sdl_how how = lpgd;
        sdl_lifted st[2];
        how.kind = (sdl_kind)kind;
        for (int k = 0; k < 2; k++) {
            how.random_start = k == 1;
            cr_assert(sdl_lifted_start(az, s, &how, &st[k]));
            for (int i = 0; i < 300; i++) cr_assert(sdl_lifted_step(az, &st[k]));
        }
        cr_assert_float_eq(norm(az, az_sub(az, st[0].a, st[1].a)), 0, 1e-11);
        const sdl_fit *fit = sdl_lifted_factors(az, &st[0]);
        cr_assert(fit, "%s", az_error(az));
        const az_tensor *a = az_matmul(az, kind == SDL_FILTER ? fit->dictionary : fit->code, fit->beta);
        const az_tensor *ub = kind == SDL_FILTER ? st[0].u : az_slice(az, st[0].u, 0, 1, s->p);
        const az_tensor *b = az_matmul(az, st[0].code, az_transpose(az, ub));
        cr_assert_float_eq(norm(az, az_sub(az, a, st[0].a)), 0, 1e-12);
        cr_assert_float_eq(norm(az, az_sub(az, az_matmul(az, fit->code, az_transpose(az, fit->dictionary)), b)), 0, 1e-12);
        cr_assert_float_eq(norm(az, fit->dictionary), 1, 1e-12);
    }
    az_close(az);
}

/* With a xi that outweighs the labels, B is the best approximation of rank 3. */
Test(sdl, a_large_xi_gives_the_truncated_decomposition)
{
    az_ctx *az = az_open(NULL);
    const sdl_samples *s = sdl_fixture(az);
    sdl_how how = lpgd;
    how.xi = 1e4, how.kind = SDL_FEATURE;
    sdl_lifted st;
    cr_assert(sdl_lifted_start(az, s, &how, &st));
    for (int i = 0; i < 2; i++) cr_assert(sdl_lifted_step(az, &st));
    az_tensor *u, *d, *vt;
    cr_assert(az_svd(az, s->x->dense, &u, &d, &vt));
    const az_tensor *best = az_matmul(az, az_mul(az, az_slice(az, u, 1, 0, 3), az_slice(az, d, 0, 0, 3)), az_slice(az, vt, 0, 0, 3));
    const az_tensor *b = az_matmul(az, st.code, az_transpose(az, az_slice(az, st.u, 0, 1, s->p)));
    cr_assert_float_eq(norm(az, az_sub(az, best, b)), 0, 2e-5); /* the labels pull by 1 / xi */
    how.kind = SDL_FILTER, how.nu = 1e4;
    cr_assert(sdl_lifted_start(az, s, &how, &st));
    for (int i = 0; i < 200; i++) cr_assert(sdl_lifted_step(az, &st));
    cr_assert_float_eq(norm(az, az_sub(az, best, az_matmul(az, st.code, az_transpose(az, st.u)))), 0, 1e-7);
    az_close(az);
}

/* F at A, B (in full), gamma. */
static double plain_objective(az_ctx *az, const sdl_samples *s, const sdl_how *how, const double *a, const az_tensor *b,
                              const double *gamma)
{
    const int64_t rows = how->kind == SDL_FILTER ? s->p : s->n, kappa = s->classes - 1;
    const az_tensor *at = az_from(az, AZ_F64, 2, (int64_t[]){rows, kappa}, a), *g = az_from(az, AZ_F64, 2, (int64_t[]){s->q, kappa}, gamma);
    const az_tensor *score = az_add(az, how->kind == SDL_FILTER ? az_matrix_times(az, s->x, at) : at, az_matmul(az, s->z, g));
    double loss = 0;
    for (int64_t i = 0; i < s->n; i++) {
        double sum = 1;
        for (int64_t c = 0; c < kappa; c++) sum += exp(az_item(score, i * kappa + c));
        loss += log(sum) - (s->label[i] ? az_item(score, i * kappa + s->label[i] - 1) : 0);
    }
    const az_tensor *left = az_sub(az, s->x->dense, b);
    return loss + how->xi * az_to_double(az_dot(az, left, left)) + how->nu * (pow(norm(az, at), 2) + pow(norm(az, g), 2));
}

/* Of full rank nothing is cut: a step is minus tau times the gradient. */
static void check_gradient(az_ctx *az, const sdl_samples *s, sdl_kind kind)
{
    const int64_t kappa = s->classes - 1;
    sdl_how how = {.kind = kind, .rank = s->p, .xi = 0.7, .nu = 0.3, .tau = 1e-3, .random_start = true, .seed = 3};
    sdl_lifted st;
    cr_assert(sdl_lifted_start(az, s, &how, &st), "%s", az_error(az));
    cr_assert(sdl_lifted_step(az, &st)); /* gamma leaves zero */
    double *a = az_alloc_array(az, (size_t)az_count(st.a), sizeof *a), gamma[8];
    memcpy(a, az_f64(st.a), (size_t)az_count(st.a) * sizeof *a);
    memcpy(gamma, az_f64(st.gamma), (size_t)az_count(st.gamma) * sizeof *gamma);
    const az_tensor *ub = kind == SDL_FILTER ? st.u : az_slice(az, st.u, 0, kappa, s->p);
    az_tensor *b = az_copy(az, az_matmul(az, st.code, az_transpose(az, ub)));
    cr_assert_float_eq(sdl_lifted_objective(az, &st), plain_objective(az, s, &how, a, b, gamma), 1e-9);
    cr_assert(sdl_lifted_step(az, &st));
    const double h = 1e-5;
    for (int k = 0; k < 5; k++) {
        const int64_t at = k * (az_count(st.a) - 1) / 4;
        const double kept = a[at];
        double side[2];
        for (int d = 0; d < 2; d++) a[at] = kept + (d ? h : -h), side[d] = plain_objective(az, s, &how, a, b, gamma);
        a[at] = kept;
        if (kind == SDL_FILTER) cr_assert_float_eq((kept - az_item(st.a, at)) / how.tau, (side[1] - side[0]) / (2 * h), 1e-5);
    }
    for (int64_t at = 0; at < az_count(st.gamma); at++) {
        const double kept = gamma[at];
        double side[2];
        for (int d = 0; d < 2; d++) gamma[at] = kept + (d ? h : -h), side[d] = plain_objective(az, s, &how, a, b, gamma);
        gamma[at] = kept;
        cr_assert_float_eq((kept - az_item(st.gamma, at)) / how.tau, (side[1] - side[0]) / (2 * h), 1e-5);
    }
    const az_tensor *after =
        az_copy(az, az_matmul(az, st.code, az_transpose(az, kind == SDL_FILTER ? st.u : az_slice(az, st.u, 0, kappa, s->p))));
    for (int k = 0; kind == SDL_FILTER && k < 5; k++) {
        const int64_t at = k * (az_count(b) - 1) / 4;
        const double want = 2 * how.xi * (az_item(b, at) - az_item(s->x->dense, at));
        cr_assert_float_eq((az_item(b, at) - az_item(after, at)) / how.tau, want, 1e-8);
    }
}

Test(sdl, steps_are_gradients)
{
    az_ctx *az = az_open(NULL);
    sdl_samples *s = sdl_fixture(az);
    check_gradient(az, s, SDL_FILTER);
    check_gradient(az, s, SDL_FEATURE);
    int32_t *label = az_alloc_array(az, (size_t)s->n, sizeof *label); /* three classes: the same beside a softmax by hand */
    for (int64_t i = 0; i < s->n; i++) label[i] = (int32_t)(i % 3);
    s->label = label, s->classes = 3;
    check_gradient(az, s, SDL_FILTER);
    check_gradient(az, s, SDL_FEATURE);
    az_close(az);
}

/* Sparse and dense, by the Gram matrix and by block iteration: the same numbers. */
Test(sdl, sparse_data_and_many_features_take_the_same_steps)
{
    az_ctx *az = az_open(NULL);
    enum { N = 90, P = 80 };
    const double *u = splitmix_uniform(az, 5, N * P), *v = splitmix_normal(az, 6, N * P);
    az_tensor *dense = az_zeros(az, AZ_F64, 2, (int64_t[]){N, P});
    int64_t start[N + 1] = {0}, *other = az_alloc_array(az, N * P, sizeof *other);
    double *value = az_alloc_array(az, N * P, sizeof *value);
    int32_t label[N];
    for (int i = 0; i < N; i++) {
        start[i + 1] = start[i];
        label[i] = i % 2;
        for (int j = 0; j < P; j++) {
            if (u[i * P + j] > 0.2) continue;
            other[start[i + 1]] = j;
            value[start[i + 1]++] = az_f64_mut(dense)[i * P + j] = v[i * P + j] + (j < 3) * label[i];
        }
    }
    const az_matrix *sparse = az_matrix_sparse(az, N, P, &(az_sparse_lines){start, other, value});
    const az_tensor *z = az_full(az, AZ_F64, 2, (int64_t[]){N, 1}, 1);
    const sdl_how how = {.rank = 4, .iterations = 60, .xi = 0.5, .nu = 0.1};
    double value_of[2];
    for (int k = 0; k < 2; k++) {
        const sdl_samples s = {.n = N, .p = P, .q = 1, .x = k ? sparse : az_matrix_dense(az, dense), .z = z, .label = label, .classes = 2};
        const sdl_fit *fit = sdl_fit_lifted(az, &s, &how);
        cr_assert(fit, "%s", az_error(az));
        value_of[k] = fit->objective;
        const sdl_fit *descent = sdl_fit_descent(az, &s, &(sdl_how){.rank = 4, .iterations = 5, .xi = 0.5, .subsample = 1});
        cr_assert(descent, "%s", az_error(az));
    }
    cr_assert_float_eq(value_of[0], value_of[1], 1e-8, "%.12f %.12f", value_of[0], value_of[1]);
    /* against the decomposition of M in full */
    const sdl_samples s = {.n = N, .p = P, .q = 1, .x = sparse, .z = z, .label = label, .classes = 2};
    sdl_lifted st;
    sdl_how full = how;
    cr_assert(sdl_lifted_start(az, &s, &full, &st));
    for (int i = 0; i < 5; i++) cr_assert(sdl_lifted_step(az, &st));
    const az_tensor *a = az_copy(az, st.a), *b = az_copy(az, az_matmul(az, st.u, az_transpose(az, st.code))),
                    *gamma = az_copy(az, st.gamma);
    az_tensor *e = az_new2(az, AZ_F64, N, 1), *uu, *ss, *vt;
    const az_tensor *score = az_add(az, az_matmul(az, dense, a), az_matmul(az, z, gamma));
    az_multinomial_loss(az_f64(score), label, N, 2, az_f64_mut(e));
    const az_tensor *ga = az_add(az, az_matmul(az, az_transpose(az, dense), e), az_affine(az, a, 2 * how.nu, 0));
    const az_tensor *gb = az_affine(az, az_sub(az, b, az_transpose(az, dense)), 2 * how.xi, 0);
    az_tensor *m =
        az_concat(az, (az_tensor *[]){az_sub(az, a, az_affine(az, ga, st.tau, 0)), az_sub(az, b, az_affine(az, gb, st.tau, 0))}, 2, 1);
    cr_assert(az_svd(az, m, &uu, &ss, &vt));
    const az_tensor *cut = az_matmul(az, az_mul(az, az_slice(az, uu, 1, 0, 4), az_slice(az, ss, 0, 0, 4)), az_slice(az, vt, 0, 0, 4));
    cr_assert(sdl_lifted_step(az, &st));
    cr_assert_float_eq(norm(az, az_sub(az, st.a, az_slice(az, cut, 1, 0, 1))), 0, 1e-5);
    az_close(az);
}

Test(sdl, strong_directions_that_say_little_are_left_for_weak_ones_as_xi_falls)
{
    az_ctx *az = az_open(NULL);
    sdl_samples *test, *train = sdl_discrepancy(az, &test);
    const double xis[] = {10, 0.1}, accuracy[] = {0.44, 0.865}, reconstruction[] = {0.0356191, 0.239709};
    for (int i = 0; i < 2; i++) {
        const sdl_how how = {.rank = 2, .iterations = 3000, .xi = xis[i], .nu = 1e-3};
        const sdl_fit *fit = sdl_fit_lifted(az, train, &how);
        cr_assert(fit, "%s", az_error(az));
        sdl_model model = {.threshold = 0.5, .xi = 1, .classes = 2, .dictionary = fit->dictionary, .beta = fit->beta, .gamma = fit->gamma};
        const sdl_prediction *p = sdl_predict(az, &model, test);
        cr_assert_float_eq(sdl_score_of(az, test, p).accuracy, accuracy[i], 0.011);
        cr_assert_float_eq(sdl_reconstruction(az, train->x, fit->dictionary, fit->code), reconstruction[i], 1e-4);
    }
    az_close(az);
}

Test(sdl, the_lifted_matrix_stays_in_its_ball)
{
    az_ctx *az = az_open(NULL);
    const sdl_samples *s = sdl_fixture(az);
    const double balls[] = {0.5, 1e6};
    for (int kind = SDL_FILTER; kind <= SDL_FEATURE; kind++) {
        for (int i = 0; i < 2; i++) {
            sdl_how how = lpgd;
            sdl_lifted st;
            how.kind = (sdl_kind)kind, how.ball = balls[i], how.random_start = i == 0;
            cr_assert(sdl_lifted_start(az, s, &how, &st));
            for (int k = 0; k < 60; k++) cr_assert(sdl_lifted_step(az, &st));
            const az_tensor *ub = kind == SDL_FILTER ? st.u : az_slice(az, st.u, 0, 1, s->p);
            const double b = norm(az, az_matmul(az, st.code, az_transpose(az, ub)));
            const double size = sqrt(b * b + pow(norm(az, st.a), 2));
            if (i == 0) cr_assert(size <= 0.5 * (1 + 1e-12) && size > 0.49, "%g", size); /* it wants to be larger */
            if (i == 1) cr_assert_float_eq(sdl_lifted_objective(az, &st), kind == SDL_FILTER ? 68.270277983 : 65.698163398, 1e-3);
        }
    }
    az_close(az);
}

/* ---- block coordinate descent ---- */

static void check_descent(az_ctx *az, const sdl_samples *s, const sdl_how *how)
{
    const sdl_fit *fit = sdl_fit_descent(az, s, how);
    cr_assert(fit, "%s", az_error(az));
    for (int64_t i = 1; i < fit->trace.count; i++)
        cr_assert_leq(fit->trace.objective[i], fit->trace.objective[i - 1] * (1 + 1e-12), "turn %lld", (long long)i + 1);
    for (int64_t i = 0; how->dictionary.nonnegative && i < az_count(fit->dictionary); i++) cr_assert_geq(az_item(fit->dictionary, i), 0);
    for (int64_t i = 0; how->code.nonnegative && i < az_count(fit->code); i++) cr_assert_geq(az_item(fit->code, i), 0);
    cr_assert_leq(norm(az, fit->dictionary), 1 + 1e-12);
    cr_assert_float_eq(sdl_objective(az, s, how, fit), fit->objective, 1e-8 * fit->objective);
    cr_assert_lt(fit->stationarity, 0.05, "%g", fit->stationarity);
}

Test(sdl, descent_never_rises_and_keeps_signs)
{
    az_ctx *az = az_open(NULL);
    const sdl_samples *s = sdl_fixture(az);
    for (int kind = SDL_FILTER; kind <= SDL_FEATURE; kind++) {
        sdl_how how = {.kind = (sdl_kind)kind, .rank = 3, .iterations = 300, .xi = 5, .subsample = 1, .beta = {.l2 = 0.5}};
        check_descent(az, s, &how);
        how.dictionary.nonnegative = how.code.nonnegative = true;
        check_descent(az, s, &how);
        how.radius = 1, how.code.l1 = 0.01, how.dictionary.l2 = 0.01, how.beta.l1 = 0.1;
        check_descent(az, s, &how);
        how.subsample = 0.1, how.beta.nonnegative = true;
        check_descent(az, s, &how);
    }
    az_close(az);
}

/* The slope is zero, up to the rest that is told, within what the constraints allow: no small feasible move gains. */
Test(sdl, descent_ends_where_no_move_gains)
{
    az_ctx *az = az_open(NULL);
    const sdl_samples *s = sdl_fixture(az);
    sdl_how how = {.kind = SDL_FEATURE,
                   .rank = 2,
                   .iterations = 500,
                   .xi = 5,
                   .subsample = 1,
                   .tolerance = 1e-7,
                   .beta = {.l2 = 0.5},
                   .dictionary = {.nonnegative = true},
                   .code = {.l1 = 0.01, .nonnegative = true}};
    const sdl_fit *fit = sdl_fit_descent(az, s, &how);
    cr_assert(fit && fit->stationarity < 1e-2, "%g", fit ? fit->stationarity : NAN);
    const double *draws = splitmix_normal(az, 1, 4000);
    for (int t = 0; t < 20; t++) {
        sdl_fit moved = *fit;
        moved.code = az_copy(az, fit->code), moved.dictionary = az_copy(az, fit->dictionary);
        for (int64_t i = 0; i < az_count(moved.code); i++)
            az_f64_mut(moved.code)[i] = fmax(az_item(fit->code, i) + 1e-4 * draws[(t * 97 + i) % 4000], 0);
        double square = 0;
        for (int64_t i = 0; i < az_count(moved.dictionary); i++) {
            az_f64_mut(moved.dictionary)[i] = fmax(az_item(fit->dictionary, i) + 1e-4 * draws[(t * 89 + 7 * i) % 4000], 0);
            square += pow(az_item(moved.dictionary, i), 2);
        }
        if (square > 1) moved.dictionary = az_affine(az, moved.dictionary, 1 / sqrt(square), 0);
        cr_assert_geq(sdl_objective(az, s, &how, &moved), fit->objective - 1e-5);
    }
    az_close(az);
}

/* xi follows the residuals: 1 / (2 s^2). */
Test(sdl, xi_is_updated_by_the_residuals)
{
    az_ctx *az = az_open(NULL);
    const sdl_samples *s = sdl_fixture(az);
    const sdl_how how = {.rank = 3, .iterations = 50, .xi = 5, .subsample = 1, .update_xi = true, .beta = {.l2 = 0.5}};
    const sdl_fit *fit = sdl_fit_descent(az, s, &how);
    cr_assert(fit, "%s", az_error(az));
    const double square = sdl_reconstruction(az, s->x, fit->dictionary, fit->code) * az_matrix_square(s->x);
    cr_assert_float_eq(fit->xi * 2 * square / (double)(s->n * s->p), 1, 1e-6);
    az_close(az);
}

/* ---- predictions ---- */

/* Exhaustive codes minimise what they say, found here by a fine grid of one code. */
Test(sdl, exhaustive_codes_are_the_cheapest)
{
    az_ctx *az = az_open(NULL);
    const double w[] = {0.6, 0.8}, beta[] = {1.5}, gamma[] = {-0.3}, x[] = {0.5, 0.2, -0.4, 0.9};
    sdl_model m = {.kind = SDL_FEATURE, .coding = SDL_EXHAUSTIVE, .xi = 0.8, .threshold = 0.5, .classes = 2};
    m.dictionary = az_from(az, AZ_F64, 2, (int64_t[]){2, 1}, w);
    m.beta = az_from(az, AZ_F64, 2, (int64_t[]){1, 1}, beta), m.gamma = az_from(az, AZ_F64, 2, (int64_t[]){1, 1}, gamma);
    const az_tensor *data = az_from(az, AZ_F64, 2, (int64_t[]){2, 2}, x);
    const sdl_samples s = {
        .n = 2, .p = 2, .q = 1, .x = az_matrix_dense(az, data), .z = az_full(az, AZ_F64, 2, (int64_t[]){2, 1}, 1), .classes = 2};
    const sdl_prediction *p = sdl_predict(az, &m, &s);
    cr_assert(p, "%s", az_error(az));
    for (int i = 0; i < 2; i++) {
        double least[2] = {INFINITY, INFINITY}, at[2] = {0, 0};
        for (int g = -40000; g <= 40000; g++) {
            const double c = g * 1e-4, score = c * beta[0] + gamma[0];
            const double fit = 0.8 * (pow(x[2 * i] - c * w[0], 2) + pow(x[2 * i + 1] - c * w[1], 2));
            for (int a = 0; a < 2; a++) {
                const double cost = fit + log(1 + exp(score)) - a * score;
                if (cost < least[a]) least[a] = cost, at[a] = c;
            }
        }
        const int best = least[1] < least[0];
        cr_assert_float_eq(az_item(p->probability, 2 * i + 1), 1 / (1 + exp(least[1] - least[0])), 1e-7);
        cr_assert_float_eq(az_item(p->code, i), at[best], 2e-4);
        cr_assert_eq(p->called[i], best);
    }
    az_close(az);
}

/* scikit-learn 1.2.1: LogisticRegression(C=1, solver="newton-cg", tol=1e-9) on the features and the covariate of the fixture. */
Test(sdl, the_regression_beside_is_that_of_another_program)
{
    static const double want[] = {0.058599444577, 0.041175784834, -0.037149411691};
    az_ctx *az = az_open(NULL);
    const sdl_samples *s = sdl_fixture(az);
    const sdl_how how = {.rank = 3, .beta = {.l2 = 0.5}};
    const sdl_model *m = sdl_baseline(az, SDL_LOGISTIC, s, &how, &(sdl_model){.classes = 2, .threshold = 0.5, .xi = 1});
    cr_assert(m, "%s", az_error(az));
    for (int j = 0; j < 3; j++) cr_assert_float_eq(az_item(m->beta, j), want[j], 1e-7);
    cr_assert_float_eq(az_item(m->beta, 29), 0.03191426665, 1e-7);
    cr_assert_float_eq(az_item(m->gamma, 0), 0.682128164195, 1e-7);
    cr_assert_float_eq(az_item(m->gamma, 1), 1.167519671317, 1e-7);
    az_close(az);
}
