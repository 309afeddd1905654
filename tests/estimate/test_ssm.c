/* Smoothing and learning of state-space models against Kalman's smoother, enumeration and finite differences. */
#include "adze/ssm.h"
#include "claims/splitmix.h"
#include "claims/ssm_data.h"
#include "estimate/ssm/ssm_internal.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

static az_ctx *az;

static void open_context(void)
{
    az = az_open(&(az_settings){.threads = 2});
}

static void close_context(void)
{
    cr_expect(az_ok(az), "%s", az_error(az));
    az_close(az);
}

TestSuite(ssm, .init = open_context, .fini = close_context);

static az_ssm_problem series_problem(const az_ssm *model)
{
    return (az_ssm_problem){.model = model, .n = SSM_DATA_TIMES, .y = ssm_data_series(az, SSM_DATA_TIMES)};
}

static az_ssm_functional *one(az_ssm_functional functional)
{
    az_ssm_functional *f = az_alloc(az, sizeof *f);
    *f = functional;
    return f;
}

static const az_ssm_smoothing *smooth(const az_ssm_problem *problem, az_ssm_how how)
{
    const az_ssm_smoothing *s = az_ssm_smooth(az, problem, &how);
    cr_assert(s, "%s", az_error(az));
    return s;
}

static const double *score_of(az_ssm_problem problem, const double *theta, az_ssm_how how)
{
    az_ssm_score score;
    problem.theta = theta;
    cr_assert(az_ssm_score_new(az, &problem, theta, &score), "%s", az_error(az));
    const az_ssm_functional functional = az_ssm_score_functional(&score);
    problem.functional = &functional, problem.functionals = 1;
    return smooth(&problem, how)->value;
}

static const az_ssm_how exact = {.method = AZ_SSM_KALMAN};
enum { A, C, Q, R, M0, P0 }; /* parameters of one state and one observed number */

/* ---- exact smoothing --------------------------------------------------------------------------------------------------------------- */

Test(ssm, kalman_has_its_known_values)
{
    const az_ssm *model = ssm_data_model(az, .95, .6, 1);
    az_ssm_problem problem = series_problem(model);
    cr_assert_float_eq(problem.y[0], -.07555682, 1e-8);
    cr_assert_float_eq(problem.y[2], -1.02231786, 1e-8);
    const az_ssm_functional functional[] = {az_ssm_sufficient(az, model), az_ssm_moments(az, model, problem.n)};
    problem.functional = functional, problem.functionals = 2;
    const az_ssm_smoothing *s = smooth(&problem, exact);
    cr_assert_float_eq(s->log_likelihood, -93.76875199854, 1e-10);
    cr_assert_float_eq(s->value[0], 116.26471612126, 1e-9);
    cr_assert_float_eq(s->value[2], 567.598383347546, 1e-9);
    cr_assert_float_eq(s->value[3], -.26659490207, 1e-10);
    cr_assert_float_eq(score_of(problem, az_ssm_values(az, model), exact)[A], 36.150626172, 1e-8);
}

/* R 4.2: KalmanRun(y, mod)$values and KalmanSmooth(y, mod) with mod = list(T = matrix(.95), Z = 1, h = 1, V = matrix(.6), a = 0, P = p0, Pn
 * = p0), p0 = .6 / (1 - .95^2): with its (L, s2) the log-likelihood is -n / 2 (log(2 pi) + 2 L - log(s2) + s2). */
Test(ssm, kalman_is_that_of_another_program)
{
    const az_ssm *model = ssm_data_model(az, .95, .6, 1);
    az_ssm_problem problem = series_problem(model);
    const az_ssm_functional moments = az_ssm_moments(az, model, problem.n);
    problem.functional = &moments, problem.functionals = 1;
    const az_ssm_smoothing *s = smooth(&problem, exact);
    const double l = 0.450706614268725, s2 = 1.159126421415294, n = (double)problem.n;
    cr_assert_float_eq(s->log_likelihood, -n / 2 * (log(2 * acos(-1)) + 2 * l - log(s2) + s2), 1e-10);
    double sum = 0;
    for (int t = 0; t < 50; t++) sum += s->value[t];
    cr_assert_float_eq(s->value[0], -0.266594902071408, 1e-12);
    cr_assert_float_eq(sum, 116.264716121259696, 1e-10);
    for (int t = 0; t < 50; t += 49) cr_assert_float_eq(s->value[50 + t] - s->value[t] * s->value[t], 0.515873499311068, 1e-10);
}

static double log_likelihood(az_ssm_problem problem, const double *theta)
{
    problem.theta = theta;
    return az_kalman_smooth(az, &problem)->log_likelihood;
}

/* Two states, three observed numbers, correlated noise, a time that was not seen. */
static az_ssm_problem wide_problem(void)
{
    static const double a[] = {.8, .2, -.3, .7}, c[] = {1, 0, .5, -1, .2, .4}, q[] = {.5, .2, .2, .4}, m0[] = {.3, -.2};
    static const double r[] = {.6, .1, 0, .1, .5, -.2, 0, -.2, .7};
    enum { TIMES = 30 };
    az_ssm *model = az_ssm_linear_gaussian(az, &(az_ssm_linear){2, 3, a, q, m0, NULL, c, r});
    double *x = az_alloc_array(az, 2 * TIMES, sizeof *x), *y = az_alloc_array(az, 3 * TIMES, sizeof *y);
    cr_assert(az_ssm_simulate(az, model, NULL, 7, TIMES, x, y), "%s", az_error(az));
    for (int i = 0; i < 3; i++) y[3 * 11 + i] = NAN;
    return (az_ssm_problem){.model = model, .n = TIMES, .y = y, .missing = true};
}

static void compare_to_differences(const az_ssm_problem *problem)
{
    const az_ssm *model = problem->model;
    double *theta = az_ssm_values(az, model);
    const double *score = score_of(*problem, theta, exact);
    for (int i = 0; i < model->parameters; i++) {
        const double before = theta[i], step = 1e-5;
        theta[i] = before + step;
        const double above = log_likelihood(*problem, theta);
        theta[i] = before - step;
        const double difference = (above - log_likelihood(*problem, theta)) / (2 * step);
        theta[i] = before;
        cr_expect_float_eq(score[i], difference, 1e-5 * (1 + fabs(difference)), "%s: %g, not %g", model->parameter[i].name, score[i],
                           difference);
    }
}

Test(ssm, the_score_is_the_derivative_of_the_likelihood)
{
    const az_ssm_problem narrow = series_problem(ssm_data_model(az, .95, .6, 1)), wide = wide_problem();
    compare_to_differences(&narrow);
    compare_to_differences(&wide);
}

/* All times at once: x and y are one normal vector. */
Test(ssm, kalman_is_the_conditional_law_of_the_joint_normal)
{
    const az_ssm_problem problem = wide_problem();
    const az_kalman *k = az_kalman_smooth(az, &problem);
    double *near = az_ssm_values(az, problem.model); /* the likelihood's derivative by r tends to that of no observation */
    cr_assert(k);
    /* E[x_0] by the derivative of the likelihood: d log p(y) / d m0 = P0^-1 (E[x_0 | y] - m0) */
    const double *score = score_of(problem, near, exact);
    const az_ssm_linear *m = problem.model->linear(az_ssm_law(az, problem.model, NULL));
    int at_m0 = 0;
    while (strcmp(problem.model->parameter[at_m0].name, "m0[1]") != 0) at_m0++;
    for (int i = 0; i < 2; i++) {
        double mean = m->m0[i];
        for (int j = 0; j < 2; j++) mean += m->p0[2 * i + j] * score[at_m0 + j];
        cr_assert_float_eq(k->mean[i], mean, 1e-9);
    }
}

/* ---- built-in models ----------------------------------------------------------------------------------------------------------------- */

/* Scores of the log densities against their differences, along a simulated path. */
static void check_scores(az_ssm *model)
{
    enum { TIMES = 8 };
    double *x = az_alloc_array(az, (size_t)(TIMES * model->states), sizeof *x);
    double *y = az_alloc_array(az, (size_t)(TIMES * model->observed), sizeof *y);
    cr_assert(az_ssm_simulate(az, model, NULL, 3, TIMES, x, y), "%s", az_error(az));
    const az_ssm_problem problem = {.model = model, .n = TIMES, .y = y};
    double *sum[2];
    for (int k = 0; k < 2; k++) {
        az_ssm_score score;
        sum[k] = az_alloc_array(az, (size_t)model->parameters, sizeof(double));
        cr_assert(az_ssm_score_new(az, &problem, az_ssm_values(az, model), &score), "%s", az_error(az));
        const az_ssm_functional f = az_ssm_score_functional(&score);
        f.start(f.user, &(az_ssm_point){.weight = .5, .x = x}, sum[k]);
        for (int64_t t = 0; t + 1 < TIMES; t++)
            f.step(f.user, &(az_ssm_point){.t = t, .weight = .5, .x = x + t * model->states, .next = x + (t + 1) * model->states}, sum[k]);
        model->score_start = model->score_transition = model->score_observation = NULL;
    }
    for (int i = 0; i < model->parameters; i++)
        cr_expect_float_eq(sum[0][i], sum[1][i], 1e-5 * (1 + fabs(sum[1][i])), "%s %s: %g, not %g", model->name, model->parameter[i].name,
                           sum[0][i], sum[1][i]);
}

static az_ssm *small_network(void)
{
    const az_ssm_network network = {
        .states = 3, .observed = 2, .w = splitmix_normal(az, 4, 9), .c = splitmix_normal(az, 5, 6), .q = .3, .r = .4, .p0 = 1};
    return az_ssm_recurrent(az, &network);
}

Test(ssm, scores_are_derivatives_of_the_log_densities)
{
    check_scores(az_ssm_volatility(az, .9, .4, .7));
    check_scores(small_network());
    check_scores((az_ssm *)wide_problem().model);
}

/* ---- particles
 * --------------------------------------------------------------------------------------------------------------------------- */

static const az_ssm_how ppg = {.method = AZ_SSM_PPG, .particles = 64, .draws = 2, .sweeps = 8, .burn = 4};

static void agrees_with_kalman(const az_ssm_problem *given, az_ssm_how how, double bias)
{
    az_ssm_problem problem = *given;
    problem.functional = one(az_ssm_sufficient(az, given->model)), problem.functionals = 1;
    const az_ssm_smoothing *s = smooth(&problem, how), *true_sums = smooth(&problem, exact);
    for (int64_t k = 0; k < s->count; k++)
        cr_expect_float_eq(s->value[k], true_sums->value[k], 4 * s->se[k] + bias * fabs(true_sums->value[k]),
                           "%s, entry %d: %g +- %g, not %g", az_ssm_method_names[how.method], (int)k, s->value[k], s->se[k],
                           true_sums->value[k]);
}

Test(ssm, every_method_comes_near_the_exact_sums)
{
    const az_ssm_problem narrow = series_problem(ssm_data_model(az, .95, .6, 1)), wide = wide_problem();
    az_ssm_how how = ppg;
    how.chains = 16;
    agrees_with_kalman(&narrow, how, 0.002);
    agrees_with_kalman(&wide, how, .005);
    how.method = AZ_SSM_PG;
    agrees_with_kalman(&narrow, how, 0.005);
    how.method = AZ_SSM_PARIS, how.particles = 500;
    agrees_with_kalman(&narrow, how, 0.005);
    agrees_with_kalman(&wide, how, 0.01);
    how.method = AZ_SSM_FFBS;
    agrees_with_kalman(&narrow, how, 0.005);
    how.exact = true, how.particles = 100;
    agrees_with_kalman(&narrow, how, 0.02);
}

Test(ssm, sums_carried_forward_are_those_collected_backward)
{
    const az_ssm *model = ssm_data_model(az, .95, .6, 1);
    az_ssm_problem problem = series_problem(model);
    const az_ssm_functional functional[] = {az_ssm_sufficient(az, model), az_ssm_moments(az, model, problem.n)};
    problem.functional = functional, problem.functionals = 2;
    az_ssm_how how = {.method = AZ_SSM_PARIS, .particles = 50, .draws = 3};
    const az_ssm_smoothing *collected = smooth(&problem, how);
    how.online = true;
    const az_ssm_smoothing *carried = smooth(&problem, how);
    for (int64_t k = 0; k < carried->count; k++) cr_assert_float_eq(carried->value[k], collected->value[k], 1e-9);
    cr_assert_eq(carried->log_likelihood, collected->log_likelihood);
}

Test(ssm, results_do_not_depend_on_threads)
{
    az_ctx *other = az_open(&(az_settings){.threads = 1});
    const az_ssm *model = ssm_data_model(az, .95, .6, 1);
    az_ssm_problem problem = series_problem(model);
    problem.functional = one(az_ssm_sufficient(az, model)), problem.functionals = 1;
    for (int k = 0; k < 2; k++) { /* threads share the particles of a pass, or the chains */
        az_ssm_how how = ppg;
        how.sweeps = 2, how.burn = 0;
        how.particles = k ? 40 : 1500, how.chains = k ? 3 : 1;
        const az_ssm_smoothing *a = az_ssm_smooth(az, &problem, &how), *b = az_ssm_smooth(other, &problem, &how);
        cr_assert_arr_eq(a->value, b->value, 3 * sizeof(double));
    }
    az_close(other);
}

Test(ssm, particle_likelihood_is_unbiased)
{
    const az_ssm_problem problem = series_problem(ssm_data_model(az, .95, .6, 1));
    double mean = 0, square = 0;
    enum { RUNS = 200 };
    for (int k = 0; k < RUNS; k++) {
        const az_ssm_how how = {.method = AZ_SSM_FFBS, .particles = 100, .draws = 2, .seed = (uint64_t)k};
        const double ratio = exp(smooth(&problem, how)->log_likelihood + 93.76875199854);
        mean += ratio / RUNS, square += ratio * ratio / RUNS;
    }
    cr_assert_float_eq(mean, 1, 4 * sqrt((square - mean * mean) / RUNS), "%g", mean);
}

/* ---- backward draws
 * -------------------------------------------------------------------------------------------------------------------------- */

/* Counts of draws among a generation of 12 particles, by rejection or exactly. */
static double count_draws(bool by_rejection, int64_t draws, const double *x, const double *weight, double next, double *count)
{
    enum { N = 12 };
    const az_ssm *model = ssm_data_model(az, .95, .6, 1);
    const void *law = az_ssm_law(az, model, NULL);
    az_urn urn;
    double scratch[N];
    az_urn_new(az, N, &urn);
    az_urn_set(&urn, weight);
    const az_backward backward = {model, law, 0, x, weight, &urn, 2, by_rejection, model->log_bound(law, 0), 4};
    az_rng rng = az_rng_at(11, by_rejection);
    int64_t counter[2] = {0};
    az_pass_status status = AZ_PASS_OK;
    for (int64_t i = 0; i < draws; i++) count[az_backward_draw(&backward, &next, &rng, scratch, counter, &status)]++;
    return (double)counter[0] / (double)counter[1];
}

Test(ssm, draws_by_rejection_and_exact_ones_have_the_same_law)
{
    enum { N = 12, DRAWS = 200000 };
    const double *state = splitmix_normal(az, 31, N), *u = splitmix_uniform(az, 32, N), next = 1.3;
    double x[2 * N], weight[N], p[N], total = 0;
    for (int i = 0; i < N; i++) {
        x[2 * i] = 2 * state[i], x[2 * i + 1] = .95 * x[2 * i];
        weight[i] = i == 5 ? 0 : u[i];
        total += p[i] = weight[i] * exp(-.5 * (next - x[2 * i + 1]) * (next - x[2 * i + 1]) / .6);
    }
    for (int k = 0; k < 2; k++) {
        double count[N] = {0}, statistic = 0;
        const double tries = count_draws(k == 1, DRAWS, x, weight, next, count);
        for (int i = 0; i < N; i++) {
            const double expected = DRAWS * p[i] / total;
            if (expected >= 5) statistic += (count[i] - expected) * (count[i] - expected) / expected;
        }
        cr_expect_eq(count[5], 0);
        cr_expect_lt(statistic, 31.3, "%g", statistic); /* 0.999 quantile of 11 degrees of freedom */
        cr_expect(k == 0 ? tries == 1 : tries > 1 && tries < 5, "%g", tries);
    }
}

Test(ssm, rejection_takes_as_many_tries_for_any_number_of_particles)
{
    az_ssm_problem problem = series_problem(ssm_data_model(az, .95, .6, 1));
    double tries[2];
    for (int k = 0; k < 2; k++)
        tries[k] = smooth(&problem, (az_ssm_how){.method = AZ_SSM_PARIS, .particles = k ? 2000 : 250, .draws = 2})->tries;
    cr_assert_leq(fabs(tries[1] / tries[0] - 1), .25, "%g and %g", tries[0], tries[1]);
}

static double low_bound(const void *law, int64_t t)
{
    (void)law, (void)t;
    return -2;
}

Test(ssm, a_bound_that_is_none_is_found)
{
    az_ssm *model = ssm_data_model(az, .95, .6, 1);
    model->log_bound = low_bound;
    const az_ssm_problem problem = series_problem(model);
    cr_assert_null(az_ssm_smooth(az, &problem, &ppg));
    cr_assert(strstr(az_error(az), "exceeds log_bound at t = 1"), "%s", az_error(az));
    az_clear(az);
}

/* ---- a chain of three states, enumerated
 * ---------------------------------------------------------------------------------------------------- */

enum { STATES = 3, STEPS = 6, PATHS = 729 };
static const double initial[] = {.5, .3, .2}, next_of[][3] = {{.6, .3, .1}, {.2, .5, .3}, {.1, .3, .6}};
static const double emission[][2] = {{.8, .2}, {.4, .6}, {.1, .9}};

static int draw_from(const double *p, az_rng *rng)
{
    const double u = az_uniform(rng);
    return u < p[0] ? 0 : u < p[0] + p[1] ? 1 : 2;
}
static void hmm_start(const void *law, az_rng *rng, double *x)
{
    (void)law;
    *x = draw_from(initial, rng);
}
static void hmm_next(const void *law, int64_t t, const double *x, az_rng *rng, double *next)
{
    (void)law, (void)t;
    *next = draw_from(next_of[(int)*x], rng);
}
static double hmm_transition(const void *law, int64_t t, const double *x, const double *next)
{
    (void)law, (void)t;
    return log(next_of[(int)*x][(int)*next]);
}
static double hmm_observation(const void *law, int64_t t, const double *x, const double *y)
{
    (void)law, (void)t;
    return log(emission[(int)*x][(int)*y]);
}
static double hmm_bound(const void *law, int64_t t)
{
    (void)law, (void)t;
    return log(.6);
}

static const az_ssm hmm = {.name = "hmm",
                           .states = 1,
                           .observed = 1,
                           .draw_start = hmm_start,
                           .draw_next = hmm_next,
                           .log_transition = hmm_transition,
                           .log_observation = hmm_observation,
                           .log_bound = hmm_bound};
static const double seen[STEPS] = {0, 1, 1, 0, 1, 0};

/* Posterior probabilities of all paths, the first state the most significant digit. */
static void enumerate(double *p)
{
    double total = 0;
    for (int k = 0; k < PATHS; k++) {
        int x[STEPS];
        for (int t = STEPS - 1, rest = k; t >= 0; t--, rest /= STATES) x[t] = rest % STATES;
        p[k] = initial[x[0]] * emission[x[0]][(int)seen[0]];
        for (int t = 1; t < STEPS; t++) p[k] *= next_of[x[t - 1]][x[t]] * emission[x[t]][(int)seen[t]];
        total += p[k];
    }
    for (int k = 0; k < PATHS; k++) p[k] /= total;
}

static int number_of(const double *path)
{
    int k = 0;
    for (int t = 0; t < STEPS; t++) k = k * STATES + (int)path[t];
    return k;
}

Test(ssm, paris_gives_the_enumerated_sums)
{
    double p[PATHS], wanted[3] = {0};
    enumerate(p);
    for (int k = 0; k < PATHS; k++) {
        int after = 0;
        for (int t = STEPS - 1, rest = k; t >= 0; t--, rest /= STATES) {
            const int x = rest % STATES;
            wanted[0] += p[k] * x, wanted[1] += p[k] * x * x;
            if (t < STEPS - 1) wanted[2] += p[k] * x * after;
            after = x;
        }
    }
    const az_ssm_problem problem = {.model = &hmm, .n = STEPS, .y = seen, .functional = one(az_ssm_sufficient(az, &hmm)), .functionals = 1};
    for (int systematic = 0; systematic < 2; systematic++) {
        const az_ssm_smoothing *s =
            smooth(&problem, (az_ssm_how){.method = AZ_SSM_PARIS, .particles = 12500, .draws = 2, .chains = 8, .systematic = systematic});
        for (int i = 0; i < 3; i++)
            cr_expect_float_eq(s->value[i], wanted[i], 4 * s->se[i], "%g +- %g, not %g", s->value[i], s->se[i], wanted[i]);
    }
}

/* Frozen paths from the exact posterior, one sweep: the new ones have the posterior as well. */
Test(ssm, a_sweep_leaves_the_posterior_as_it_is)
{
    enum { RUNS = 200000 };
    double p[PATHS], *path = az_alloc_array(az, RUNS * STEPS, sizeof *path), statistic = 0, rare = 0, rare_count = 0;
    double *count = az_alloc_array(az, PATHS, sizeof *count);
    int cells = 0, moved = 0, *first = az_alloc_array(az, RUNS, sizeof *first);
    az_rng rng = az_rng_at(5, 5);
    enumerate(p);
    for (int i = 0; i < RUNS; i++) {
        int k = 0;
        for (double u = az_uniform(&rng) - p[0]; u >= 0 && k < PATHS - 1;) u -= p[++k];
        first[i] = k;
        for (int t = STEPS - 1; t >= 0; t--, k /= STATES) path[i * STEPS + t] = k % STATES;
    }
    const az_ssm_problem problem = {.model = &hmm, .n = STEPS, .y = seen};
    smooth(&problem,
           (az_ssm_how){.method = AZ_SSM_PPG, .particles = 5, .draws = 2, .sweeps = 1, .chains = RUNS, .path = path, .warm = true});
    for (int i = 0; i < RUNS; i++) count[number_of(path + i * STEPS)]++, moved += number_of(path + i * STEPS) != first[i];
    for (int k = 0; k < PATHS; k++) {
        if (p[k] * RUNS < 5) {
            rare += p[k] * RUNS, rare_count += count[k];
        } else {
            statistic += (count[k] - p[k] * RUNS) * (count[k] - p[k] * RUNS) / (p[k] * RUNS), cells++;
        }
    }
    if (rare > 5) statistic += (rare_count - rare) * (rare_count - rare) / rare;
    const double freedom = cells - 1 + (rare > 5);
    cr_expect_lt(statistic, freedom + 4 * sqrt(2 * freedom), "%g with %g degrees of freedom", statistic, freedom);
    cr_expect_gt(moved, RUNS / 2);
}

/* ---- learning
 * ------------------------------------------------------------------------------------------------------------------------------------ */

static az_ssm_learning learning_with(az_ssm_how how, const bool *free)
{
    return (az_ssm_learning){.free = free, .steps = 300, .adam = true, .lr = 1e-2, .gamma0 = .1, .how = how};
}

Test(ssm, exact_scores_climb_to_the_known_maximum)
{
    const az_ssm_problem problem = series_problem(ssm_data_model(az, .9, .8, .9));
    const bool only_a[] = {[A] = true, [P0] = false}, three[] = {[A] = true, [Q] = true, [R] = true, [P0] = false};
    az_ssm_learning how = learning_with(exact, only_a);
    how.steps = 2000, how.lr = 2e-3;
    const az_ssm_problem first = series_problem(ssm_data_model(az, .95, .6, 1));
    const az_ssm_fit *fit = az_ssm_learn(az, &first, &how);
    cr_assert(fit, "%s", az_error(az));
    cr_expect_float_eq(fit->theta[A], .9903161403, 1e-6);
    cr_expect_float_eq(log_likelihood(first, fit->theta), -93.0373427448, 1e-9);
    cr_expect_eq(fit->theta[Q], .6);
    how.free = three;
    fit = az_ssm_learn(az, &problem, &how);
    cr_expect_float_eq(fit->theta[A], .97820488, 1e-4);
    cr_expect_float_eq(fit->theta[Q], .89041623, 1e-3);
    cr_expect_float_eq(fit->theta[R], .93971607, 1e-3);
    cr_expect_float_eq(log_likelihood(problem, fit->theta), -92.7035441191, 1e-6);
}

Test(ssm, ppg_learns_to_the_maximum)
{
    const az_ssm_problem problem = series_problem(ssm_data_model(az, .95, .6, 1));
    const bool three[] = {[A] = true, [Q] = true, [R] = true, [P0] = false};
    az_ssm_how how = ppg;
    how.particles = 20, how.sweeps = 4, how.burn = 2;
    const az_ssm_learning learning = learning_with(how, three);
    const az_ssm_fit *fit = az_ssm_learn(az, &problem, &learning);
    cr_assert(fit, "%s", az_error(az));
    cr_expect_gt(log_likelihood(problem, fit->theta), -92.7035441191 - .1, "%g", log_likelihood(problem, fit->theta));
    az_ssm_learning gain = learning;
    gain.adam = false, gain.steps = 100, gain.gamma0 = .3;
    fit = az_ssm_learn(az, &problem, &gain);
    cr_expect_gt(log_likelihood(problem, fit->theta), -92.9, "%g", log_likelihood(problem, fit->theta));
}

Test(ssm, differences_teach_a_model_without_scores)
{
    const az_ssm_problem problem = series_problem(ssm_data_model(az, .95, .6, 1));
    const bool three[] = {[A] = true, [Q] = true, [R] = true, [P0] = false};
    az_ssm_how how = ppg;
    how.particles = 10, how.sweeps = 2, how.burn = 1;
    az_ssm_learning learning = learning_with(how, three);
    learning.steps = 20;
    const az_ssm_fit *with = az_ssm_learn(az, &problem, &learning);
    az_ssm *model = (az_ssm *)problem.model;
    model->score_start = model->score_transition = model->score_observation = NULL;
    const az_ssm_fit *without = az_ssm_learn(az, &problem, &learning);
    for (int i = 0; i < model->parameters; i++) cr_expect_float_eq(with->theta[i], without->theta[i], 1e-6);
}

/* Exact expectations lead to the exact smoothing law, particles near it. */
static void climb_to_the_smoothing_law(const az_ssm_problem *problem, const az_ssm_learning *learning, double tolerance)
{
    const int d = problem->model->states;
    const az_ssm_path_law *law = az_ssm_climb(az, problem, learning);
    cr_assert(law, "%s", az_error(az));
    const az_kalman *k = az_kalman_smooth(az, problem);
    double off = 0, off_covariance = 0, off_cross = 0;
    for (int64_t i = 0; i < problem->n * d; i++) off = fmax(off, fabs(law->mean[i] - k->mean[i]));
    for (int64_t i = 0; i < problem->n * d * d; i++) off_covariance = fmax(off_covariance, fabs(law->covariance[i] - k->covariance[i]));
    for (int64_t i = 0; i < (problem->n - 1) * d * d; i++) off_cross = fmax(off_cross, fabs(law->cross[i] - k->cross[i]));
    cr_expect(off < tolerance && off_covariance < tolerance && off_cross < tolerance, "%g %g %g", off, off_covariance, off_cross);
}

Test(ssm, climbing_leads_to_the_smoothing_law)
{
    az_ssm_problem narrow = series_problem(ssm_data_model(az, .95, .6, 1)), wide = wide_problem();
    az_ssm_learning learning = learning_with(exact, NULL);
    learning.steps = 1000, learning.lr = 2e-2, learning.average = .1;
    narrow.n = 12, wide.n = 6;
    climb_to_the_smoothing_law(&narrow, &learning, 1e-3);
    climb_to_the_smoothing_law(&wide, &learning, 1e-2);
    learning.how = ppg, learning.how.sweeps = 1, learning.how.burn = 0, learning.average = .5;
    climb_to_the_smoothing_law(&narrow, &learning, .1);
}
