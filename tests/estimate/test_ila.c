/* Clustering by semidefinite programs: brute force over partitions, identities of the lift, another solver's optima, starts. */
#include "claims/splitmix.h"
#include "estimate/ila.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

/* [Gm(11, 5, 2) diag(3, 0.3); Gm(12, 4, 2) diag(0.3, 3) + (0, 6)] */
enum { N = 9 };
static const double shapes[] = {9, 0, 0, 0.09, 0.09, 0, 0, 9};

static az_points nine_points(az_ctx *az)
{
    const double *a = splitmix_normal(az, 11, 10), *b = splitmix_normal(az, 12, 8);
    double *x = az_alloc_array(az, 2 * N, sizeof *x);
    for (int i = 0; i < 5; i++) x[2 * i] = 3 * a[2 * i], x[2 * i + 1] = 0.3 * a[2 * i + 1];
    for (int i = 0; i < 4; i++) x[10 + 2 * i] = 0.3 * b[2 * i], x[11 + 2 * i] = 3 * b[2 * i + 1] + 6;
    return (az_points){.n = N, .p = 2, .x = x};
}

static const az_la_sdp_how precise = {.tolerance = 1e-8, .iterations = 50000};

Test(ila, the_program_finds_the_best_of_all_partitions)
{
    az_ctx *az = az_open(&(az_settings){.threads = 1});
    const az_points points = nine_points(az);
    cr_assert_float_eq(points.x[0], 3 * -0.35331453 / 3, 1e-7);
    double best = -INFINITY, best_gram = -INFINITY;
    int label[N], best_code = 0;
    for (int code = 1; code < (1 << N) - 1; code++) {
        for (int i = 0; i < N; i++) label[i] = code >> i & 1;
        const double value = az_partition_likelihood(az, &points, 2, label, shapes);
        if (value > best) best = value, best_code = code;
        double gram = 0; /* <X X^T, Z> */
        for (int c = 0; c < 2; c++) {
            double sum[2] = {0}, count = 0;
            for (int i = 0; i < N; i++)
                if (label[i] == c) sum[0] += points.x[2 * i], sum[1] += points.x[2 * i + 1], count++;
            gram += (sum[0] * sum[0] + sum[1] * sum[1]) / count;
        }
        best_gram = fmax(best_gram, gram);
    }
    cr_assert_float_eq(best, -3.789164416234, 1e-11);
    cr_assert_eq(best_code, 0x1e0); /* the last four are group 1 */
    cr_assert_float_eq(best_gram, 210.92233884, 1e-7);
    double **a = az_la_sdp_costs(az, &points, 2, shapes);
    const az_la_sdp problem = {.n = N, .blocks = 2, .k = 2, .a = (const double *const *)a};
    const az_la_sdp_fit *fit = az_la_sdp_solve(az, &problem, &precise, NULL);
    cr_assert(fit && fit->converged);
    cr_assert_float_eq(fit->objective, best, 1e-5);
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            cr_assert_float_eq(fit->z[0][i * N + j], i < 5 && j < 5 ? 0.2 : 0, 1e-6);
            cr_assert_float_eq(fit->z[1][i * N + j], i >= 5 && j >= 5 ? 0.25 : 0, 1e-6);
        }
    const az_ila_how how = {.k = 2, .iterations = 1, .program = precise};
    int zeros[N] = {0};
    const az_ila_fit *kmeans = az_kmeans_sdp(az, &points, NULL, zeros, &how);
    cr_assert_float_eq(kmeans->bound, best_gram, 1e-4);
    az_close(az);
}

/* With |x|^2 summed in, the optimum moves by 2 s . sum x + n |s|^2 for points moved by s. */
Test(ila, the_kmeans_program_does_not_see_where_the_points_lie)
{
    enum { SIZE = 16 };
    az_ctx *az = az_open(&(az_settings){.threads = 1});
    double *x = splitmix_normal(az, 5, SIZE * 2), moved[SIZE * 2];
    int label[SIZE] = {0};
    const az_ila_how how = {.k = 2, .iterations = 1, .program = precise};
    const az_points here = {.n = SIZE, .p = 2, .x = x}, there = {.n = SIZE, .p = 2, .x = moved};
    const az_ila_fit *fit = az_kmeans_sdp(az, &here, NULL, label, &how);
    for (double shift = 1e3; shift <= 1e5; shift *= 100) {
        double sum = 0;
        for (int i = 0; i < SIZE * 2; i++) moved[i] = x[i] + shift, sum += x[i];
        const az_ila_fit *again = az_kmeans_sdp(az, &there, NULL, label, &how);
        const double expected = fit->bound + 2 * shift * sum + 2 * SIZE * shift * shift;
        cr_assert_float_eq(again->bound, expected, 1e-12 * expected);
        cr_assert_arr_eq(again->label, fit->label, sizeof label);
    }
    az_close(az);
}

Test(ila, the_lift_is_the_likelihood_of_every_partition)
{
    az_ctx *az = az_open(NULL);
    const az_points points = nine_points(az);
    double **a = az_la_sdp_costs(az, &points, 2, shapes);
    for (uint64_t trial = 0; trial < 100; trial++) {
        int label[N], count[2] = {0};
        for (int i = 0; i < N; i++) label[i] = i < 2 ? i : (int)(splitmix(trial, (uint64_t)i) & 1), count[label[i]]++;
        double lift = 0;
        for (int i = 0; i < N; i++)
            for (int j = 0; j < N; j++)
                if (label[i] == label[j]) lift += a[label[i]][i * N + j] / count[label[i]];
        cr_assert_float_eq(lift, az_partition_likelihood(az, &points, 2, label, shapes), 1e-10);
    }
    az_close(az);
}

Test(ila, the_projection_is_feasible_idempotent_and_orthogonal)
{
    enum { SIZE = 7, K = 3 };
    az_ctx *az = az_open(NULL);
    for (int blocks = 1; blocks <= K; blocks += K - 1) {
        double *z[K], *m[K], *f[K], row[SIZE], slope[SIZE];
        for (int b = 0; b < blocks; b++) {
            z[b] = splitmix_normal(az, 10 + (uint64_t)b, SIZE * SIZE), f[b] = splitmix_normal(az, 20 + (uint64_t)b, SIZE * SIZE);
            for (int i = 0; i < SIZE; i++)
                for (int j = 0; j < i; j++) z[b][i * SIZE + j] = z[b][j * SIZE + i], f[b][i * SIZE + j] = f[b][j * SIZE + i];
            m[b] = az_alloc_array(az, SIZE * SIZE, sizeof(double));
            memcpy(m[b], z[b], SIZE * SIZE * sizeof(double));
        }
        az_la_sdp_project(SIZE, blocks, K, z, row, slope);
        az_la_sdp_project(SIZE, blocks, K, f, row, slope);
        double inner = 0, sums[SIZE] = {0};
        for (int b = 0; b < blocks; b++) {
            double trace = 0;
            for (int i = 0; i < SIZE; i++) trace += z[b][i * SIZE + i];
            cr_assert_float_eq(trace, blocks > 1 ? 1 : K, 1e-12);
            for (int e = 0; e < SIZE * SIZE; e++) {
                sums[e / SIZE] += z[b][e];
                inner += (m[b][e] - z[b][e]) * (z[b][e] - f[b][e]);
            }
        }
        for (int i = 0; i < SIZE; i++) cr_assert_float_eq(sums[i], 1, 1e-12);
        cr_assert_float_eq(inner, 0, 1e-10);
        memcpy(m[0], z[0], SIZE * SIZE * sizeof(double));
        az_la_sdp_project(SIZE, blocks, K, z, row, slope);
        for (int e = 0; e < SIZE * SIZE; e++) cr_assert_float_eq(m[0][e], z[0][e], 1e-12);
    }
    az_close(az);
}

/* Ten overlapping points, whose programs are not integral: CSDP 6.2.0 gives these optima (both programs in SDPA form, entries >= 0 by slack
 * variables; its printed primal and dual objectives agree to all digits). */
Test(ila, fractional_optima_are_those_of_another_solver)
{
    az_ctx *az = az_open(&(az_settings){.threads = 1});
    const az_points points = {.n = 10, .p = 2, .x = splitmix_normal(az, 21, 20)};
    const double covariance[] = {2, 0, 0, 0.5, 0.5, 0, 0, 2};
    double **a = az_la_sdp_costs(az, &points, 2, covariance);
    const az_la_sdp problem = {.n = 10, .blocks = 2, .k = 2, .a = (const double *const *)a};
    const az_la_sdp_fit *fit = az_la_sdp_solve(az, &problem, &precise, NULL);
    cr_assert(fit->converged);
    cr_assert_float_eq(fit->objective, -5.7671312, 2e-6);
    const az_ila_how how = {.k = 2, .iterations = 1, .program = precise};
    int label[10] = {0};
    cr_assert_float_eq(az_kmeans_sdp(az, &points, NULL, label, &how)->bound, 12.513181, 2e-6);
    for (int i = 0; i < 10; i++) label[i] = i % 2;
    const az_la_sdp_how low = {.tolerance = 1e-6, .rank = 3};
    const az_la_sdp_fit *local = az_la_sdp_low_rank(az, &problem, &low, label);
    cr_assert(local && local->converged);
    cr_assert_leq(local->objective, fit->objective + 1e-4); /* the exact optimum is a bound */
    cr_assert_geq(local->objective, fit->objective - 0.5);
    az_close(az);
}

/* Moved, and mapped by an invertible matrix with its covariances: the optimum is the same up to -n log |det|. */
Test(ila, the_optimum_moves_with_the_coordinates)
{
    az_ctx *az = az_open(&(az_settings){.threads = 1});
    const az_points points = nine_points(az);
    const double map[] = {1.2, 0.4, -0.3, 0.8}, det = 1.2 * 0.8 + 0.3 * 0.4;
    double x[2 * N], mapped[8];
    for (int i = 0; i < N; i++)
        for (int r = 0; r < 2; r++) x[2 * i + r] = map[2 * r] * points.x[2 * i] + map[2 * r + 1] * points.x[2 * i + 1] + 5;
    for (int c = 0; c < 2; c++)
        for (int r = 0; r < 2; r++)
            for (int s = 0; s < 2; s++)
                mapped[4 * c + 2 * r + s] = map[2 * r] * shapes[4 * c] * map[2 * s] + map[2 * r + 1] * shapes[4 * c + 3] * map[2 * s + 1];
    const az_points moved = {.n = N, .p = 2, .x = x};
    double **a = az_la_sdp_costs(az, &moved, 2, mapped);
    const az_la_sdp problem = {.n = N, .blocks = 2, .k = 2, .a = (const double *const *)a};
    cr_assert_float_eq(az_la_sdp_solve(az, &problem, &precise, NULL)->objective, -3.789164416234 - N * log(det), 1e-4);
    az_close(az);
}

/* Two clusters of different shapes, 30 points each, as in the claim. */
enum { HALF = 30, P = 2 };

static az_points two_shapes(az_ctx *az, int truth[2 * HALF])
{
    double *x = az_alloc_array(az, 2 * HALF * P, sizeof *x);
    const double *a = splitmix_normal(az, 700, HALF * P), *b = splitmix_normal(az, 701, HALF * P);
    for (int i = 0; i < HALF; i++) {
        x[2 * i] = 2 * a[2 * i], x[2 * i + 1] = 0.5 * a[2 * i + 1];
        x[2 * (HALF + i)] = 0.5 * b[2 * i] + 3, x[2 * (HALF + i) + 1] = sqrt(2) * b[2 * i + 1];
        truth[i] = 0, truth[HALF + i] = 1;
    }
    return (az_points){.n = 2 * HALF, .p = P, .x = x};
}

/* scikit-learn 1.2.1: KMeans(2, n_init=50).fit(X).inertia_, and 60 times the score of GaussianMixture(2, tol=1e-12, reg_covar=0) from its
 * labels' shares, means and covariances; scipy 1.10.1: fcluster(linkage(X, "ward"), 3, "maxclust"). */
Test(ila, what_is_beside_agrees_with_other_programs)
{
    static const char ward_labels[] = "133133131113113133111312113311333233223232332333233333333333";
    az_ctx *az = az_open(NULL);
    int truth[2 * HALF], scipy[2 * HALF];
    const az_points points = two_shapes(az, truth);
    double cost, likelihood;
    const int *means = az_kmeans(az, &points, 2, 50, 0, &cost);
    cr_assert_float_eq(cost, 126.96147514445131, 1e-9);
    const int *mixture = az_mixture(az, &points, 2, means, 10000, 1e-12, &likelihood);
    cr_assert_float_eq(2 * HALF * likelihood, -183.07202978117985, 1e-5, "%.10g", likelihood);
    cr_assert_float_eq(az_label_error(az, mixture, truth, 2 * HALF, 2), 0.1, 1e-12);
    for (int i = 0; i < 2 * HALF; i++) scipy[i] = ward_labels[i] - '1';
    cr_assert_float_eq(az_label_error(az, az_ward(az, &points, 3), scipy, 2 * HALF, 3), 0, 1e-12);
    az_close(az);
}

Test(ila, the_iteration_climbs_and_depends_little_on_its_start)
{
    az_ctx *az = az_open(&(az_settings){.threads = 1});
    double cost;
    int truth[2 * HALF];
    const az_points points = two_shapes(az, truth);
    const int *start = az_kmeans(az, &points, 2, 20, 0, &cost);
    cr_assert_float_eq(az_label_error(az, start, truth, 60, 2), 0.2, 1e-12);
    const az_ila_how how = {.k = 2, .iterations = 20, .tolerance = 1e-6, .program = {.tolerance = 1e-4, .iterations = 2000}};
    const az_ila_fit *fit = az_ila_sdp(az, &points, start, &how);
    cr_assert(fit, "%s", az_error(az));
    for (int i = 1; i < fit->iterations; i++) cr_assert_geq(fit->objective[i], fit->objective[i - 1] - 0.05);
    cr_assert_leq(az_label_error(az, fit->label, truth, 60, 2), 0.12);
    az_close(az);
}

Test(ila, starts_and_mixtures)
{
    az_ctx *az = az_open(NULL);
    double x[40], likelihood, cost;
    const double *g = splitmix_normal(az, 5, 40);
    for (int i = 0; i < 40; i++) x[i] = 0.3 * g[i] + (i < 20 ? 0 : 4);
    const az_points points = {.n = 20, .p = 2, .x = x};
    const int *ward = az_ward(az, &points, 2), *means = az_kmeans(az, &points, 2, 5, 1, &cost);
    const int *mixture = az_mixture(az, &points, 2, means, 100, 1e-6, &likelihood);
    for (int i = 0; i < 20; i++) {
        cr_assert_eq(ward[i] == ward[0], i < 10);
        cr_assert_eq(means[i] == means[0], i < 10);
        cr_assert_eq(mixture[i] == mixture[0], i < 10);
    }
    const int one[] = {0, 0, 1, 1, 2, 2}, other[] = {2, 2, 0, 0, 1, 0};
    cr_assert_float_eq(az_label_error(az, one, other, 6, 3), 1 / 6.0, 1e-12);
    az_close(az);
}

/* Two groups that differ in one of many columns, behind columns of larger spread: a few whitened directions show them. */
Test(ila, a_projection_finds_what_tells_groups_apart)
{
    az_ctx *az = az_open(NULL);
    enum { POINTS = 60, COLUMNS = 80 };
    double *x = splitmix_normal(az, 31, POINTS * COLUMNS);
    int label[POINTS];
    for (int i = 0; i < POINTS; i++) {
        label[i] = i % 2;
        for (int j = 0; j < COLUMNS; j++) x[i * COLUMNS + j] *= j < 10 ? 3 : 1;
        x[i * COLUMNS + 20] += 8 * label[i];
    }
    const az_points points = {.n = POINTS, .p = COLUMNS, .x = x};
    const az_projection *p = az_project_points(az, &points, 2, label, 2);
    cr_assert(p, "%s", az_error(az));
    az_points few;
    cr_assert(az_project(az, p, &points, &few) && few.p == 2);
    double mean[2] = {0, 0}, within = 0; /* along the first direction */
    for (int i = 0; i < POINTS; i++) mean[label[i]] += few.x[2 * i] / (POINTS / 2.0);
    for (int i = 0; i < POINTS; i++) within += pow(few.x[2 * i] - mean[label[i]], 2) / POINTS;
    cr_assert_gt(fabs(mean[1] - mean[0]), 4 * sqrt(within));
    double cost;
    const int *found = az_kmeans(az, &few, 2, 5, 1, &cost);
    cr_assert_eq(az_label_error(az, found, label, POINTS, 2), 0);
    cr_assert_null(az_project_points(az, &points, 2, label, 61));
    az_close(az);
}

/* The largest sum_k <A_k, Z_k> over all labelings with `least` points a group, k <= 3. */
static double best_partition(const az_la_sdp *problem)
{
    const int n = (int)problem->n, k = problem->k;
    double best = -INFINITY;
    int64_t codes = 1;
    for (int i = 0; i < n; i++) codes *= k;
    for (int64_t code = 0; code < codes; code++) {
        int label[10] = {0}, count[3] = {0};
        double value = 0;
        bool enough = true;
        for (int64_t i = 0, rest = code; i < n; i++, rest /= k) count[label[i] = (int)(rest % k)]++;
        for (int c = 0; c < k; c++) enough = enough && count[c] >= (problem->least > 1 ? problem->least : 1);
        for (int i = 0; enough && i < n; i++)
            for (int j = 0; j < n; j++)
                if (label[i] == label[j]) value += problem->a[problem->blocks > 1 ? label[i] : 0][i * n + j] / count[label[i]];
        if (enough) best = fmax(best, value);
    }
    return best;
}

/* After however few steps, and with however few points a group may have, the dual's bound is above the best of all partitions. */
Test(ila, the_bound_is_above_every_partition)
{
    az_ctx *az = az_open(&(az_settings){.threads = 1});
    for (uint64_t set = 0; set < 24; set++) {
        az_scope_push(az);
        const int k = set % 3 == 0 ? 3 : 2, n = k == 3 ? 8 : 10;
        const double unit = set % 4 == 0 ? 1e3 : set % 4 == 1 ? 1e-3 : 1;
        double *x = splitmix_normal(az, 300 + set, 2 * n), shape[12] = {0};
        for (int i = 0; i < 2 * n; i++) x[i] = unit * (x[i] * (i % 4 < 2 ? 1 : 0.4) + (i % 4 == 2) * (double)(set % 5));
        for (int c = 0; c < k; c++) shape[4 * c] = unit * unit * (c + 0.5), shape[4 * c + 3] = unit * unit / (c + 1);
        const az_points points = {.n = n, .p = 2, .x = x};
        double **a = az_la_sdp_costs(az, &points, k, shape);
        for (int blocks = 1; blocks <= k; blocks += k - 1) {
            const az_la_sdp problem = {.n = n, .blocks = blocks, .k = k, .least = (int64_t)(set % 2) * 3, .a = (const double *const *)a};
            const bool feasible = n >= k * problem.least;
            const double best = feasible ? best_partition(&problem) : 0;
            double loose = INFINITY;
            for (int64_t steps = 5; feasible && steps <= 5000; steps *= 10) {
                const az_la_sdp_how how = {.tolerance = 1e-7, .iterations = steps};
                const az_la_sdp_fit *fit = az_la_sdp_solve(az, &problem, &how, NULL);
                cr_assert(fit, "%s", az_error(az));
                cr_assert(fit->bound >= best, "set %d, %d steps: %.17g < %.17g", (int)set, (int)steps, fit->bound, best);
                cr_assert(!fit->converged || fabs(fit->bound - fit->objective) < 1e-4 * (1 + fabs(fit->objective)), "set %d: %g, %g",
                          (int)set, fit->bound, fit->objective);
                loose = fmin(loose, fit->bound - best);
            }
            cr_assert(!feasible || loose < 3, "set %d: %g", (int)set, loose); /* the relaxation's own gap */
        }
        az_scope_pop(az);
    }
    az_close(az);
}

/* One point far away, and all others: of full covariances each group has p + 1 points, in labels as in the program. */
Test(ila, no_group_is_too_small_for_its_covariance)
{
    enum { SIZE = 14 };
    az_ctx *az = az_open(&(az_settings){.threads = 1});
    double *x = splitmix_normal(az, 41, SIZE * P);
    int start[SIZE] = {1};
    x[0] += 30;
    const az_points points = {.n = SIZE, .p = P, .x = x};
    for (int low = 0; low < 2; low++) {
        const az_ila_how how = {.k = 2, .iterations = 5, .low_rank = low, .program = {1e-5, 5000, 1, 3}};
        const az_ila_fit *fit = az_ila_sdp(az, &points, start, &how);
        cr_assert(fit, "%s", az_error(az));
        int count[2] = {0};
        for (int i = 0; i < SIZE; i++) count[fit->label[i]]++;
        cr_assert(fit->least == P + 1 && count[0] >= P + 1 && count[1] >= P + 1, "%d and %d", count[0], count[1]);
        cr_assert(low || fit->gap >= 0, "%g", fit->gap);
    }
    const az_ila_how many = {.k = 6, .iterations = 5, .program = {1e-5, 100, 1, 3}};
    cr_assert_null(az_ila_sdp(az, &points, start, &many));
    cr_assert(strstr(az_error(az), "at least 3 points"), "%s", az_error(az));
    az_close(az);
}

/* Twelve points of each shape. */
enum { FEW = 12 };

static az_points few_points(az_ctx *az)
{
    int truth[2 * HALF];
    double *x = az_alloc_array(az, 2 * FEW * P, sizeof *x);
    const az_points all = two_shapes(az, truth);
    for (int i = 0; i < 2 * FEW * P; i++) x[i] = all.x[(i < FEW * P ? 0 : (HALF - FEW) * P) + i] + (i >= FEW * P && i % P == 0 ? 2 : 0);
    return (az_points){.n = 2 * FEW, .p = P, .x = x};
}

/* With one covariance for all, groups have no identity: the program of one matrix finds them from any start. */
Test(ila, a_shared_covariance_is_one_program)
{
    az_ctx *az = az_open(&(az_settings){.threads = 1});
    const az_points points = few_points(az);
    const az_ila_how how = {.k = 2, .iterations = 10, .tolerance = 1e-6, .covariance = AZ_COV_SHARED, .program = {1e-5, 5000, 1, 3}};
    const int *first = NULL;
    for (uint64_t seed = 0; seed < 4; seed++) {
        int start[2 * FEW];
        for (int i = 0; i < 2 * FEW; i++) start[i] = (int)(splitmix(seed, (uint64_t)i) & 1);
        const az_ila_fit *fit = az_ila_sdp(az, &points, start, &how);
        cr_assert(fit && fit->exact && fit->ambiguous == 0 && fit->gap >= 0, "%s", az_error(az));
        if (!first) first = fit->label;
        cr_assert_eq(az_label_error(az, fit->label, first, 2 * FEW, 2), 0);
    }
    az_close(az);
}

Test(ila, labels_do_not_depend_on_units)
{
    az_ctx *az = az_open(&(az_settings){.threads = 1});
    double cost, likelihood, scaled[2 * FEW * P];
    const az_points points = few_points(az);
    const int *start = az_kmeans(az, &points, 2, 20, 0, &cost), *mixture = az_mixture(az, &points, 2, start, 100, 1e-3, &likelihood);
    const az_ila_how how = {.k = 2, .iterations = 20, .tolerance = 1e-6, .program = {.tolerance = 1e-4, .iterations = 2000}};
    const az_ila_fit *fit = az_ila_sdp(az, &points, start, &how);
    const size_t bytes = 2 * FEW * sizeof(int);
    for (double unit = 1e-6; unit < 1e7; unit *= 1e6) {
        double now;
        for (int i = 0; i < 2 * FEW * P; i++) scaled[i] = unit * points.x[i];
        const az_points other = {.n = points.n, .p = P, .x = scaled};
        cr_assert_arr_eq(az_mixture(az, &other, 2, start, 100, 1e-3, &now), mixture, bytes);
        cr_assert_float_eq(now, likelihood - P * log(unit), 1e-9);
        const az_ila_fit *again = az_ila_sdp(az, &other, start, &how);
        cr_assert_arr_eq(again->label, fit->label, bytes);
        cr_assert_float_eq(again->bound, fit->bound - 2 * FEW * P * log(unit), 1e-6);
    }
    az_close(az);
}

/* One column in units a million times smaller: the floor of the covariances must not see it. */
Test(ila, each_column_has_its_own_unit)
{
    enum { ALL = 2 * FEW };
    const double unit = 1e6;
    az_ctx *az = az_open(&(az_settings){.threads = 1});
    double cost, likelihood, now, scaled[ALL * P];
    const az_points points = few_points(az), other = {.n = ALL, .p = P, .x = scaled};
    for (int i = 0; i < ALL * P; i++) scaled[i] = points.x[i] * (i % P == 0 ? unit : 1);
    const int *start = az_kmeans(az, &points, 2, 20, 0, &cost), *mixture = az_mixture(az, &points, 2, start, 100, 1e-3, &likelihood);
    cr_assert_arr_eq(az_mixture(az, &other, 2, start, 100, 1e-3, &now), mixture, ALL * sizeof *mixture);
    cr_assert_float_eq(now, likelihood - log(unit), 1e-9);
    const az_ila_how how = {.k = 2, .iterations = 20, .tolerance = 1e-6, .program = {.tolerance = 1e-4, .iterations = 2000}};
    const az_ila_fit *fit = az_ila_sdp(az, &points, start, &how), *again = az_ila_sdp(az, &other, start, &how);
    cr_assert(fit && again, "%s", az_error(az));
    cr_assert_eq(again->floored, 0);
    cr_assert_arr_eq(again->label, fit->label, ALL * sizeof(int));
    cr_assert_float_eq(again->bound, fit->bound - ALL * log(unit), 1e-6);
    az_close(az);
}

/* A group a hundred times as wide as others: the narrow ones keep the covariance that they have. */
Test(ila, groups_may_have_very_different_spreads)
{
    enum { SIZE = 36, EACH = 12 };
    az_ctx *az = az_open(&(az_settings){.threads = 1});
    double *x = splitmix_normal(az, 77, SIZE * P);
    int label[SIZE], floored;
    for (int i = 0; i < SIZE; i++) {
        label[i] = i / EACH;
        for (int j = 0; j < P; j++) x[i * P + j] = x[i * P + j] * (label[i] == 0 ? 100 : 1) + 400 * label[i];
    }
    const az_points points = {.n = SIZE, .p = P, .x = x};
    const double *s = az_partition_covariances(az, &points, 3, label, AZ_COV_FULL, &floored);
    cr_assert(s && floored == 0, "%d eigenvalues were lifted", floored);
    for (int c = 1; c < 3; c++)
        for (int j = 0; j < P; j++) cr_assert(s[(c * P + j) * P + j] < 4, "group %d: %g", c, s[(c * P + j) * P + j]);
    const az_ila_how how = {.k = 3, .iterations = 20, .tolerance = 1e-6, .program = {.tolerance = 1e-5, .iterations = 2000}};
    double cost;
    const az_ila_fit *fit = az_ila_sdp(az, &points, az_kmeans(az, &points, 3, 20, 0, &cost), &how);
    cr_assert(fit, "%s", az_error(az));
    cr_assert_float_eq(az_label_error(az, fit->label, label, SIZE, 3), 0, 1e-12);
    az_close(az);
}

Test(ila, a_group_of_the_start_without_points_is_an_error)
{
    az_ctx *az = az_open(&(az_settings){.threads = 1});
    double likelihood;
    const az_points points = few_points(az);
    const int zeros[2 * FEW] = {0};
    cr_assert_null(az_mixture(az, &points, 2, zeros, 100, 1e-3, &likelihood));
    cr_assert(strstr(az_error(az), "group 2 of the start has no points"), "%s", az_error(az));
    az_close(az);
}
