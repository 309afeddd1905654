/* Kronecker-structured sparse Bayesian learning: posterior and updates against known values and dense formulas, complex data, the cost. */
#include "claims/kron_data.h"
#include "claims/splitmix.h"
#include "estimate/kro_sbl.h"

#include <criterion/criterion.h>
#include <lapacke.h>
#include <math.h>

static const int64_t small[] = {3, 4, 4};

static void start_gamma(az_ctx *az, double *gamma[3])
{
    for (uint64_t f = 0; f < 3; f++) {
        gamma[f] = splitmix_uniform(az, 91 + f, 5);
        for (int i = 0; i < 5; i++) gamma[f][i] += 0.3;
    }
}

Test(kro_sbl, the_posterior_and_both_updates_have_their_known_values)
{
    az_ctx *az = az_open(NULL);
    const kron_data *data = kron_data_new(az, 81, 5, small, 2, 20);
    double *gamma[3], size = 0, norm = 0, variances = 0;
    start_gamma(az, gamma);
    for (int i = 0; i < 48; i++) size += creal(data->y[i] * conj(data->y[i]));
    cr_assert_float_eq(sqrt(size), 26.05086981407, 1e-10);
    cr_assert_float_eq(data->noise, 0.13950841600787, 1e-13);
    az_sbl_posterior post;
    cr_assert(az_sbl_posterior_of(az, &data->a, data->y, gamma, data->noise, &post));
    for (int j = 0; j < 125; j++) norm += creal(post.mean[j] * conj(post.mean[j])), variances += post.variance[j];
    cr_assert_float_eq(sqrt(norm), 3.240610922574, 1e-10);
    cr_assert_float_eq(variances, 70.32428689112, 1e-9);
    const double mean[] = {0.2843943623, 0.1704163629, -0.1423934967};
    for (int j = 0; j < 3; j++) cr_assert_float_eq(creal(post.mean[j]), mean[j], 1e-9);

    const int64_t n[] = {5, 5, 5};
    const double first[] = {0.3418113901, 0.2113687155, 0.6865233513, 0.3260051999, 0.5107783644};
    const double last[] = {3.8901133687, 3.1084713619, 3.0513152409, 3.3388310406, 4.4973196668};
    const double leading[] = {0.3487550614, 0.2182702957, 0.6872705732, 0.3206241567, 0.5055564207};
    az_sbl_alternate(az, 3, n, post.moment, gamma, 200, 1e-14);
    for (int i = 0; i < 5; i++) cr_assert_float_eq(gamma[0][i], first[i], 1e-9);
    for (int i = 0; i < 5; i++) cr_assert_float_eq(gamma[2][i], last[i], 1e-8);
    for (int f = 0; f < 3; f++) { /* stationary: gamma_f is the mean of moment / the others */
        double *inverse[3];
        for (int g = 0; g < 3; g++) {
            inverse[g] = az_alloc_array(az, 5, sizeof(double));
            for (int i = 0; i < 5; i++) inverse[g][i] = 1 / gamma[g][i];
        }
        const double *sum = az_kron_contract(az, 3, n, post.moment, inverse, f);
        for (int i = 0; i < 5; i++) cr_assert_float_eq(sum[i] / 25, gamma[f][i], 1e-12 * 5);
    }
    az_sbl_rank_one(az, 3, n, post.moment, gamma);
    for (int i = 0; i < 5; i++) cr_assert_float_eq(gamma[0][i], leading[i], 1e-9);
    az_close(az);
}

/* Mean and variances by (A^H A / s + Gamma^-1)^-1 for complex factors of different sizes. */
Test(kro_sbl, the_posterior_of_complex_data_is_the_dense_one)
{
    enum { M = 2 * 3 * 2, N = 3 * 4 * 2 };
    az_ctx *az = az_open(NULL);
    const int64_t rows[] = {2, 3, 2}, columns[] = {3, 4, 2};
    az_kron a = {.factors = 3};
    double *gamma[3];
    for (int f = 0; f < 3; f++) {
        const double *g = splitmix_normal(az, 300 + (uint64_t)f, 2 * rows[f] * columns[f]);
        az_complex *value = az_alloc_array(az, (size_t)(rows[f] * columns[f]), sizeof *value);
        for (int64_t i = 0; i < rows[f] * columns[f]; i++) value[i] = g[2 * i] + g[2 * i + 1] * I;
        a.factor[f] = (az_kron_factor){rows[f], columns[f], value};
        gamma[f] = splitmix_uniform(az, 400 + (uint64_t)f, columns[f]);
        for (int64_t i = 0; i < columns[f]; i++) gamma[f][i] += 0.2;
    }
    const double *g = splitmix_normal(az, 500, 2 * M), *prior = az_kron_vectors(az, 3, columns, gamma), noise = 0.3;
    az_complex y[M], dense[M * N], precision[N * N] = {0}, right[N] = {0}, inverse[N * N] = {0};
    for (int i = 0; i < M; i++) y[i] = g[2 * i] + g[2 * i + 1] * I;
    for (int j = 0; j < N; j++) az_kron_column(&a, j, dense + j * M);
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < N; j++)
            for (int r = 0; r < M; r++) precision[i * N + j] += conj(dense[i * M + r]) * dense[j * M + r] / noise;
        for (int r = 0; r < M; r++) right[i] += conj(dense[i * M + r]) * y[r] / noise;
        precision[i * N + i] += 1 / prior[i];
        inverse[i * N + i] = 1;
    }
    int pivot[N];
    az_complex copy[N * N];
    for (int i = 0; i < N * N; i++) copy[i] = precision[i];
    cr_assert_eq(LAPACKE_zgesv(LAPACK_ROW_MAJOR, N, 1, precision, N, pivot, right, 1), 0);
    cr_assert_eq(LAPACKE_zgesv(LAPACK_ROW_MAJOR, N, N, copy, N, pivot, inverse, N), 0);
    az_sbl_posterior post;
    cr_assert(az_sbl_posterior_of(az, &a, y, gamma, noise, &post));
    for (int j = 0; j < N; j++) {
        cr_assert_lt(cabs(post.mean[j] - right[j]), 1e-10);
        cr_assert_float_eq(post.variance[j], creal(inverse[j * N + j]), 1e-10);
    }
    az_close(az);
}

static az_sbl_how usual(az_sbl_kind kind, const kron_data *data)
{
    az_sbl_how how = {.kind = kind,
                      .noise = data->noise,
                      .iterations = 150,
                      .sweeps = 100,
                      .tolerance = 1e-4,
                      .inner_tolerance = 1e-5,
                      .alpha = 0.8,
                      .beta = 0.8,
                      .truth = data->x};
    for (int f = 0; f < 3; f++) how.prune[f] = kind == AZ_SBL_AM || kind == AZ_SBL_KSBL ? 1e-2 : 1e-3;
    return how;
}

Test(kro_sbl, the_cost_never_rises_without_pruning_and_kronecker_moments_are_returned)
{
    az_ctx *az = az_open(NULL);
    const kron_data *data = kron_data_new(az, 81, 5, small, 2, 20);
    az_sbl_how how = usual(AZ_SBL_AM, data);
    how.prune[0] = how.prune[1] = how.prune[2] = 0, how.iterations = 40, how.tolerance = 0;
    const az_sbl_fit *fit = az_sbl_solve(az, &data->a, data->y, &how);
    cr_assert(fit, "%s", az_error(az));
    for (int i = 1; i < fit->iterations; i++) cr_assert_leq(fit->costs[i], fit->costs[i - 1] + 1e-9);
    double *gamma[3], *wanted[3];
    const int64_t n[] = {5, 5, 5};
    start_gamma(az, wanted);
    const double *moment = az_kron_vectors(az, 3, n, wanted);
    for (int kind = 0; kind < 2; kind++) {
        for (int f = 0; f < 3; f++) gamma[f] = splitmix_uniform(az, 70 + (uint64_t)f, 5);
        if (kind)
            az_sbl_rank_one(az, 3, n, moment, gamma);
        else
            az_sbl_alternate(az, 3, n, moment, gamma, 100, 1e-14);
        const double *got = az_kron_vectors(az, 3, n, gamma);
        for (int j = 0; j < 125; j++) cr_assert_float_eq(got[j], moment[j], 1e-12);
    }
    az_close(az);
}

Test(kro_sbl, a_turn_of_the_phase_turns_the_estimate)
{
    az_ctx *az = az_open(NULL);
    kron_data *data = kron_data_new(az, 81, 5, small, 2, 20);
    const az_sbl_how how = usual(AZ_SBL_SVD, data);
    const az_sbl_fit *fit = az_sbl_solve(az, &data->a, data->y, &how);
    const az_complex turn = cexp(0.7 * I);
    for (int i = 0; i < 48; i++) data->y[i] *= turn;
    const az_sbl_fit *turned = az_sbl_solve(az, &data->a, data->y, &how);
    for (int j = 0; j < 125; j++) cr_assert_lt(cabs(turned->x[j] - turn * fit->x[j]), 1e-9);
    az_close(az);
}

/* scikit-learn 1.2.1: orthogonal_mp(kron(A1, kron(A2, A3)), y, tol=48) with columns of unit length. */
Test(kro_sbl, matching_pursuit_is_that_of_another_program)
{
    static const int place[] = {42, 82, 92, 118};
    static const double want[] = {-5.144048531386, 11.103315123324, 21.6278346445, 4.292676562102};
    az_ctx *az = az_open(NULL);
    kron_data *data = kron_data_new(az, 81, 5, small, 2, 20);
    for (int f = 0; f < 3; f++) {
        az_complex *a = (az_complex *)data->a.factor[f].value;
        for (int j = 0; j < 5; j++) {
            double square = 0;
            for (int i = 0; i < small[f]; i++) square += creal(a[i * 5 + j]) * creal(a[i * 5 + j]);
            for (int i = 0; i < small[f]; i++) a[i * 5 + j] /= sqrt(square);
        }
    }
    az_sbl_how how = usual(AZ_SBL_OMP, data);
    how.noise = 1;
    const az_sbl_fit *fit = az_sbl_solve(az, &data->a, data->y, &how);
    cr_assert(fit, "%s", az_error(az));
    cr_assert_eq(fit->support, 4);
    for (int k = 0; k < 4; k++) cr_assert_float_eq(creal(fit->x[place[k]]), want[k], 1e-9);
    az_close(az);
}

/* One instance at 20 dB: structure helps; every method runs. */
Test(kro_sbl, structure_helps)
{
    az_ctx *az = az_open(&(az_settings){.threads = 1});
    const int64_t m[] = {5, 7, 8};
    const kron_data *data = kron_data_new(az, 8100, 10, m, 2, 20);
    double error[AZ_SBL_KINDS];
    for (az_sbl_kind kind = AZ_SBL_SVD; kind < AZ_SBL_KINDS; kind++) {
        az_sbl_how how = usual(kind, data);
        if (kind == AZ_SBL_OMP) how.noise *= 30; /* ends before it has taken half of the columns */
        if (kind == AZ_SBL_BLOCK) how.prune[0] = how.prune[2] = 1e-2, how.prune[1] = 1e-1, how.sweeps = 9;
        if (kind == AZ_SBL_CLASSIC || kind == AZ_SBL_COUPLED) how.iterations = 10;
        const az_sbl_fit *fit = az_sbl_solve(az, &data->a, data->y, &how);
        cr_assert(fit, "%s: %s", az_sbl_names[kind], az_error(az));
        error[kind] = kron_error(data, fit->x);
        cr_assert(isfinite(error[kind]));
    }
    cr_assert_lt(error[AZ_SBL_SVD], 0.01);
    cr_assert_lt(error[AZ_SBL_AM], 0.02);
    cr_assert_lt(error[AZ_SBL_ORACLE], error[AZ_SBL_CLASSIC]);
    cr_assert_lt(error[AZ_SBL_SVD], error[AZ_SBL_OMP]);
    az_sbl_how how = usual(AZ_SBL_SVD, data);
    how.noise = -1;
    for (int f = 0; f < 3; f++) how.prune[f] = 5e-4;
    const az_sbl_fit *fit = az_sbl_solve(az, &data->a, data->y, &how);
    cr_assert_lt(kron_error(data, fit->x), 0.01);
    cr_assert(fit->noise > 0.4 * data->noise && fit->noise < 2.5 * data->noise, "%g, not %g", fit->noise, data->noise);
    az_close(az);
}

/* y and a factor in other units: x, noise, gamma and cost turn with them, by every method. */
Test(kro_sbl, estimates_turn_with_the_units)
{
    az_ctx *az = az_open(NULL);
    const kron_data *data = kron_data_new(az, 81, 5, small, 2, 20);
    enum { ROWS = 48, COLUMNS = 125 };
    const double units[][2] = {{1e3, 1}, {1e-3, 1}, {1e6, 1e-4}, {1e-6, 1e5}};
    for (int kind = 0; kind < AZ_SBL_KINDS; kind++)
        for (int known = 0; known < 2; known++) {
            az_sbl_how how = {.kind = (az_sbl_kind)kind, .iterations = 40, .sweeps = 9, .tolerance = 1e-4, .inner_tolerance = 1e-5};
            how.prune[0] = how.prune[1] = how.prune[2] = 1e-3, how.alpha = how.beta = 0.5, how.truth = data->x;
            how.noise = known ? data->noise : -1;
            const az_sbl_fit *fit = az_sbl_solve(az, &data->a, data->y, &how);
            cr_assert(fit, "%s", az_error(az));
            double size = 0;
            for (int j = 0; j < COLUMNS; j++) size = fmax(size, cabs(fit->x[j]));
            for (int u = 0; u < 4; u++) {
                const double of_y = units[u][0], of_a = units[u][1];
                az_complex y[ROWS], value[15];
                az_kron a = data->a;
                for (int i = 0; i < ROWS; i++) y[i] = of_y * data->y[i];
                for (int i = 0; i < 15; i++) value[i] = of_a * a.factor[0].value[i];
                a.factor[0].value = value;
                how.noise = known ? data->noise * of_y * of_y : -1;
                const az_sbl_fit *again = az_sbl_solve(az, &a, y, &how);
                cr_assert(again && again->converged == fit->converged, "%s", az_error(az));
                for (int j = 0; j < COLUMNS; j++)
                    cr_assert_float_eq(creal(again->x[j] * of_a / of_y), creal(fit->x[j]), 1e-6 * size, "%s", az_sbl_names[kind]);
                cr_assert_float_eq(again->noise / of_y / of_y, fit->noise, 1e-6 * fit->noise + 1e-12);
                if (!isnan(fit->cost)) cr_assert_float_eq(again->cost - 2 * ROWS * log(of_y), fit->cost, 1e-5 * (1 + fabs(fit->cost)));
                const int last = fit->gamma[2] ? 2 : 0;
                if (fit->gamma[last])
                    cr_assert_float_eq(again->gamma[last][0] * pow(of_a / of_y, 2), fit->gamma[last][0], 1e-6 * (1 + fit->gamma[last][0]));
            }
        }
    az_close(az);
}

Test(kro_sbl, equal_measurements_have_a_noise_to_start_from)
{
    az_ctx *az = az_open(NULL);
    const kron_data *data = kron_data_new(az, 81, 2, small, 1, 20); /* 48 measurements of 8 entries */
    az_complex y[48];
    for (int i = 0; i < 48; i++) y[i] = 1;
    for (int kind = 0; kind <= AZ_SBL_COUPLED; kind++) {
        const az_sbl_how how = {.kind = (az_sbl_kind)kind, .noise = -1, .iterations = 20, .sweeps = 9, .tolerance = 1e-4};
        const az_sbl_fit *fit = az_sbl_solve(az, &data->a, y, &how);
        cr_assert(fit && fit->noise > 0.1 && isfinite(fit->cost), "%s: %s", az_sbl_names[kind], az_error(az));
    }
    az_close(az);
}
