/* The guard of a holdout: guarantees worked out elsewhere, the attack it is for, mechanisms question by question, privacy, and the ledger.
 */
#include "claims/splitmix.h"
#include "estimate/guard.h"
#include "support/folder.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static guard_settings settings(guard_mechanism mechanism, int64_t n, int64_t queries)
{
    return (guard_settings){.mechanism = mechanism,
                            .n = n,
                            .n_train = n,
                            .queries = queries,
                            .budget = 10,
                            .beta = 0.05,
                            .threshold = 4 / sqrt((double)n),
                            .sigma = 1 / sqrt((double)n),
                            .levels = 1000,
                            .alpha = 0.1,
                            .eps = 1,
                            .seed = 7};
}

static guard start(az_ctx *az, guard_settings s, const int64_t *row)
{
    guard g;
    cr_assert(guard_start(az, &s, row, &g), "%s", az_error(az));
    return g;
}

static double answer_of(az_ctx *az, guard *g, const double *holdout)
{
    guard_reply reply;
    cr_assert(guard_answer(az, g, &(guard_query){.holdout = holdout}, &reply), "%s", az_error(az));
    return reply.answer;
}

static guard_reply ask(az_ctx *az, guard *g, const guard_query *q)
{
    guard_reply reply;
    cr_assert(guard_answer(az, g, q, &reply), "%s", az_error(az));
    return reply;
}

/* check is without theta and rounding here. */
Test(guard, tolerances_worked_out_elsewhere)
{
    static const struct {
        int64_t n, m;
        double naive, split, laplace, check;
    } cases[] = {{1000000, 100, .00204, .0204, .0419, .00734}, {100000, 10000, .00803, .803, NAN, .0282}};
    for (int i = 0; i < 2; i++) {
        const guard_settings s = settings(GUARD_NAIVE, cases[i].n, cases[i].m);
        double scale;
        cr_assert_float_eq(guard_tolerance(&s, GUARD_NAIVE, NULL), cases[i].naive, 5e-6);
        cr_assert_float_eq(guard_tolerance(&s, GUARD_SPLIT, NULL), cases[i].split, 5e-4);
        cr_assert_float_eq(guard_tolerance(&s, GUARD_CHECK, NULL) - 0.0005, cases[i].check, 5e-5);
        const double laplace = guard_tolerance(&s, GUARD_LAPLACE, &scale);
        if (i == 0) {
            cr_assert_float_eq(laplace, cases[i].laplace, 5e-5);
            cr_assert_float_eq(scale, 0.0025, 1e-4);
        } else {
            cr_assert_geq(laplace, 0.5);
        }
    }
}

/* More questions never help, more rows never harm. */
Test(guard, tolerances_are_monotone)
{
    for (int m = 0; m < GUARD_MECHANISMS; m++) {
        guard_settings a = settings(GUARD_NAIVE, 200000, 50), b = a, c = a;
        a.domain = b.domain = c.domain = 16;
        b.queries = 500;
        c.n = 2000000;
        cr_assert_leq(guard_tolerance(&a, (guard_mechanism)m, NULL), guard_tolerance(&b, (guard_mechanism)m, NULL), "%s",
                      guard_mechanism_names[m]);
        cr_assert_geq(guard_tolerance(&a, (guard_mechanism)m, NULL), guard_tolerance(&c, (guard_mechanism)m, NULL), "%s",
                      guard_mechanism_names[m]);
    }
}

/* The closed form sqrt(2 k / pi) / n / sqrt(1 / n + s^2) of asking for k means with noise s and adding up their signs; X and noise are
 * given, so the number itself is known. */
Test(guard, the_attack_that_overfits_a_holdout)
{
    enum { N = 1000, K = 500 };
    static const double noise[] = {0, 0.05}, expected[] = {.5870125654532, .3122445323781};
    az_ctx *az = az_open(NULL);
    const double *u = splitmix_uniform(az, 5000, (int64_t)N * K), *g = splitmix_normal(az, 9000, K);
    for (int s = 0; s < 2; s++) {
        double sum = 0;
        for (int j = 0; j < K; j++) {
            double mean = 0;
            for (int i = 0; i < N; i++) mean += (u[i * K + j] < 0.5 ? -1.0 : 1.0) / N;
            sum += (mean + noise[s] * g[j] < 0 ? -1 : 1) * mean / sqrt(K);
        }
        cr_assert_float_eq(sum, expected[s], 1e-12);
    }
    az_close(az);
}

Test(guard, plain_mechanisms_answer_what_they_say)
{
    az_ctx *az = az_open(NULL);
    const double *v = splitmix_uniform(az, 1, 100), *w = splitmix_uniform(az, 2, 100);
    double mean = 0, first = 0, second = 0;
    for (int i = 0; i < 100; i++) mean += v[i] / 100, first += i < 25 ? v[i] / 25 : 0, second += i >= 25 && i < 50 ? w[i] / 25 : 0;
    guard g = start(az, settings(GUARD_NAIVE, 100, 4), NULL);
    const double naive = answer_of(az, &g, v);
    cr_assert_float_eq(naive, mean, 1e-15);
    g = start(az, settings(GUARD_SPLIT, 100, 4), NULL);
    const double one = answer_of(az, &g, v), two = answer_of(az, &g, w);
    cr_assert_float_eq(one, first, 1e-15);
    cr_assert_float_eq(two, second, 1e-15);
    for (int i = 0; i < 2; i++) ask(az, &g, &(guard_query){.holdout = v});
    const guard_reply last = ask(az, &g, &(guard_query){.holdout = v});
    cr_assert(last.exhausted && isnan(last.answer));
    cr_assert_eq(g.asked, 4, "an unanswered question is not charged");
    az_close(az);
}

Test(guard, check_confirms_or_rounds_and_pays)
{
    az_ctx *az = az_open(NULL);
    guard_settings s = settings(GUARD_CHECK, 200, 100);
    s.theta = 0.05;
    s.levels = 10;
    s.budget = 2;
    guard g = start(az, s, NULL);
    double v[200];
    for (int i = 0; i < 200; i++) v[i] = i < 63; /* mean 0.315 */
    guard_reply r = ask(az, &g, &(guard_query){.holdout = v, .guess = 0.29});
    cr_assert(r.answer == 0.29 && !r.paid);
    r = ask(az, &g, &(guard_query){.holdout = v, .guess = 0.4});
    cr_assert(r.paid);
    cr_assert_float_eq(r.answer, 0.35, 1e-15, "the middle of a tenth, not the mean");
    ask(az, &g, &(guard_query){.holdout = v, .guess = 0.9});
    cr_assert(ask(az, &g, &(guard_query){.holdout = v, .guess = 0.3}).exhausted, "after two failures it answers no more");
    s.mechanism = GUARD_ROUNDS;
    g = start(az, s, NULL);
    r = ask(az, &g, &(guard_query){.holdout = v, .guess = 0.1});
    cr_assert_float_eq(r.answer, 0.63, 1e-15, "the mean of the first half");
    r = ask(az, &g, &(guard_query){.holdout = v, .guess = 0.01});
    cr_assert(!r.paid && r.answer == 0.01, "the second half is asked now");
    az_close(az);
}

/* Agreement costs nothing, overfitting is found out and paid for; answers stay near the holdout. */
Test(guard, thresholdout_pays_for_disagreement_only)
{
    enum { N = 10000 };
    az_ctx *az = az_open(NULL);
    double *same = az_alloc_array(az, N, sizeof *same), *fitted = az_alloc_array(az, N, sizeof *fitted);
    for (int i = 0; i < N; i++) same[i] = i % 2, fitted[i] = i % 10 < 8;
    for (int gaussian = 0; gaussian < 2; gaussian++) {
        guard_settings s = settings(GUARD_THRESHOLDOUT, N, 1000);
        s.gaussian = s.redraw = gaussian;
        s.sigma = 0.002;
        guard g = start(az, s, NULL);
        for (int k = 0; k < 50; k++) {
            const guard_reply r = ask(az, &g, &(guard_query){.holdout = same, .train = same});
            cr_assert(!r.paid && r.answer == 0.5, "question %d", k);
        }
        for (int k = 0; k < 10; k++) {
            const guard_reply r = ask(az, &g, &(guard_query){.holdout = same, .train = fitted});
            cr_assert(r.paid);
            cr_assert_float_eq(r.answer, 0.5, 0.05);
        }
        cr_assert(ask(az, &g, &(guard_query){.holdout = same, .train = same}).exhausted);
        cr_assert_eq(g.paid, 10);
    }
    az_close(az);
}

/* Its answers stay within the threshold and three times the noise, its updates below their bound, and it does not ask the holdout again
 * about what it has just learnt. */
Test(guard, multiplicative_weights)
{
    enum { X = 256, N = 2000000, QUESTIONS = 400 };
    az_ctx *az = az_open(NULL);
    guard_settings s = settings(GUARD_PMW, N, 1000);
    s.domain = X;
    s.eps = 8; /* the threshold is half of alpha then */
    int64_t *row = az_alloc_array(az, N, sizeof *row);
    for (int64_t i = 0; i < N; i++) row[i] = i * i % 97; /* far from uniform */
    guard g = start(az, s, row);
    cr_assert_eq(guard_pmw_updates(&s), 2219); /* 4 log 256 / 0.01 = 2218.07 */
    const double threshold = guard_pmw_threshold(&s), noise = 2 * 2219 / (8.0 / 9 * s.eps) / N, tell = 9 * 2 * 2219 / s.eps / N;
    const double *u = splitmix_uniform(az, 3, (int64_t)QUESTIONS * X);
    for (int k = 0; k < QUESTIONS; k++) {
        double phi[X], mean = 0;
        for (int x = 0; x < X; x++) {
            phi[x] = g.histogram[x] > g.belief[x] ? u[k * X + x] < 0.9 : u[k * X + x] < 0.1; /* what it errs about most */
            mean += phi[x] * g.histogram[x];
        }
        const guard_reply r = ask(az, &g, &(guard_query){.domain = phi});
        cr_assert_lt(fabs(r.answer - mean), threshold + 12 * fmax(noise, tell), "question %d", k);
    }
    cr_assert(g.paid > 0 && g.paid < 300, "%d updates", (int)g.paid);
    az_close(az);
}

/* Two holdouts that differ in one row: no interval of answers is more than exp(eps) times as likely under one as under the other. */
Test(guard, laplace_answers_are_private)
{
    enum { DRAWS = 200000, BINS = 20 };
    az_ctx *az = az_open(NULL);
    guard_settings s = settings(GUARD_LAPLACE, 10, DRAWS);
    s.scale = 0.1; /* eps = 1 for each answer */
    double a[10] = {0}, b[10] = {1};
    int64_t count[2][BINS] = {{0}};
    for (int side = 0; side < 2; side++) {
        s.seed = (uint64_t)side;
        guard g = start(az, s, NULL);
        for (int k = 0; k < DRAWS; k++) {
            const double answer = ask(az, &g, &(guard_query){.holdout = side ? b : a}).answer;
            const int bin = (int)floor((answer + 0.3) / 0.7 * BINS);
            count[side][bin < 0 ? 0 : bin >= BINS ? BINS - 1 : bin]++;
        }
    }
    for (int bin = 0; bin < BINS; bin++) {
        const double ratio = fabs(log((double)count[0][bin] / (double)count[1][bin]));
        const double slack = 4 * sqrt(1.0 / (double)count[0][bin] + 1.0 / (double)count[1][bin]);
        cr_assert_leq(ratio, 1 + slack, "bin %d: %g", bin, ratio);
    }
    az_close(az);
}

/* ---- the ledger ---- */

Test(guard, the_ledger_carries_on_and_survives_a_crash)
{
    az_ctx *az = az_open(NULL);
    const char *path = test_path(az, test_folder(az), "g.state");
    const double *v = splitmix_uniform(az, 1, 100), *w = splitmix_uniform(az, 2, 100);
    guard_settings s = settings(GUARD_THRESHOLDOUT, 100, 20);
    s.threshold = 0.001;
    guard g = start(az, s, NULL), straight = g;
    cr_assert(guard_file_new(az, path, &g), "%s", az_error(az));
    for (int k = 0; k < 4; k++) {
        const guard_query q = {.holdout = k % 2 ? v : w, .train = k < 2 ? v : w};
        const guard_reply expected = ask(az, &straight, &q);
        az_scope_push(az);
        guard_file *file = guard_file_open(az, path, &g);
        cr_assert_not_null(file, "%s", az_error(az));
        const guard_reply r = ask(az, &g, &q);
        cr_assert_eq(r.answer, expected.answer, "question %d", k);
        cr_assert(guard_file_append(file, &g, &r, NULL), "%s", az_error(az));
        az_scope_pop(az);
        if (k == 1) { /* a crash in the middle of a line */
            FILE *half = fopen(path, "a");
            fputs("{\"query\":3,\"ans", half);
            fclose(half);
        }
    }
    cr_assert_eq(g.asked, 4);
    cr_assert_eq(g.paid, straight.paid);
    cr_assert_not(guard_file_new(az, path, &g));
    cr_assert_not_null(strstr(az_error(az), "there is a guard"), "%s", az_error(az));
    az_close(az);
}

Test(guard, a_damaged_ledger_is_refused)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"", "it holds no guard"},
        {"hello\n", "line 1 is not JSON"},
        {"{}\n", "its first line is no guard's"},
        {"{\"guard\":1,\"mechanism\":\"naive\",\"n\":-3}\n", "its first line is no guard's"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        az_ctx *az = az_open(NULL);
        const char *path = test_path(az, test_folder(az), "g.state");
        FILE *file = fopen(path, "w");
        fputs(cases[i].text, file);
        fclose(file);
        guard g;
        cr_assert_null(guard_file_open(az, path, &g));
        cr_assert_not_null(strstr(az_error(az), cases[i].says), "case %d said: %s", (int)i, az_error(az));
        az_close(az);
    }
}
