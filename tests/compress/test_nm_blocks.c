/* Random N:M masks: probabilities, gradients and draws against enumeration, published numbers and plain formulas. */
#include "compress/nm_blocks.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

static int size_of(unsigned set)
{
    return __builtin_popcount(set);
}

static void random_logits(uint64_t seed, int m, double scale, float *logit)
{
    az_rng rng = az_rng_at(seed, 1);
    for (int j = 0; j < m; j++) logit[j] = (float)(scale * az_normal(&rng));
}

/* ---- probabilities ---- */

static const float known_logits[4] = {1.0F, 0.2F, -0.5F, 0.7F};

/* Expected values: the sum over both orders of each pair, in numpy. */
Test(nm_blocks, probabilities_and_gradient_of_a_known_block)
{
    const az_pattern pattern = {2, 4};
    static const struct {
        unsigned set;
        double p;
    } known[] = {{3, 0.22654778}, {5, 0.10763804}, {9, 0.40075629}, {6, 0.04012255}, {10, 0.15270589}, {12, 0.07222945}};
    static const double h_of_9[4] = {0.31177555, -0.48155839, -0.23913482, 0.40891765};
    double p[4], h[4], sum = 0;
    az_nm_softmax(known_logits, 4, p);
    for (int i = 0; i < 6; i++) {
        const double found = az_nm_probability(p, pattern, known[i].set);
        cr_assert_float_eq(found, known[i].p, 1e-8);
        sum += found;
    }
    cr_assert_float_eq(sum, 1, 1e-12);
    az_nm_gradient(p, pattern, 1e-8, 9, h);
    for (int j = 0; j < 4; j++) cr_assert_float_eq(h[j], h_of_9[j], 1e-7);
}

/* The sum over all orders in which the set can be taken. */
static double over_orders(const double *p, int m, unsigned left_to_take, double left)
{
    if (!left_to_take) return 1;
    double sum = 0;
    for (int j = 0; j < m; j++)
        if (left_to_take >> j & 1) sum += p[j] / left * over_orders(p, m, left_to_take & ~(1U << j), left - p[j]);
    return sum;
}

Test(nm_blocks, the_recursion_over_subsets_is_the_sum_over_orders)
{
    for (int m = 2; m <= 8; m++)
        for (int n = 1; n < m && n <= 5; n++) {
            float logit[8];
            double p[8], all = 0;
            random_logits((uint64_t)(10 * m + n), m, 1, logit);
            az_nm_softmax(logit, m, p);
            for (unsigned set = 0; set < 1U << m; set++) {
                if (size_of(set) != n) continue;
                const double found = az_nm_probability(p, (az_pattern){n, m}, set);
                cr_assert_float_eq(found, over_orders(p, m, set, 1), 1e-12, "%d:%d", n, m);
                all += found;
            }
            cr_assert_float_eq(all, 1, 1e-12);
        }
}

/* ---- gradients ---- */

static double log_probability(const double *logit, int m, az_pattern pattern, unsigned set)
{
    double p[AZ_NM_MOST], sum = 0;
    for (int j = 0; j < m; j++) sum += p[j] = exp(logit[j]);
    for (int j = 0; j < m; j++) p[j] /= sum;
    return log(az_nm_probability(p, pattern, set));
}

static void check_gradient(int n, int m, unsigned set)
{
    const az_pattern pattern = {n, m};
    float logit[AZ_NM_MOST];
    double p[AZ_NM_MOST], wide[AZ_NM_MOST], h[AZ_NM_MOST], any[AZ_NM_MOST], sum = 0;
    random_logits(set, m, 1, logit);
    az_nm_softmax(logit, m, p);
    az_nm_gradient(p, pattern, 0, set, h);
    az_nm_gradient_any(p, pattern, 0, set, any);
    for (int j = 0; j < m; j++) wide[j] = logit[j];
    for (int j = 0; j < m; j++) {
        const double step = 1e-5, kept = wide[j];
        wide[j] = kept + step;
        const double up = log_probability(wide, m, pattern, set);
        wide[j] = kept - step;
        const double down = log_probability(wide, m, pattern, set);
        wide[j] = kept;
        cr_assert_float_eq(h[j], (up - down) / (2 * step), 1e-6 * fmax(1, fabs(h[j])), "%d:%d set %x", n, m, set);
        cr_assert_float_eq(h[j], any[j], 1e-12);
        sum += h[j];
    }
    cr_assert_float_eq(sum, 0, 1e-12);
}

Test(nm_blocks, gradients_are_those_of_central_differences_and_sum_to_zero)
{
    for (int m = 2; m <= 8; m++)
        for (int n = 1; n < m && n <= 5; n++)
            for (unsigned set = 0; set < 1U << m; set++)
                if (size_of(set) == n) check_gradient(n, m, set);
    check_gradient(8, 16, 0x5a5a);
}

Test(nm_blocks, the_expected_gradient_of_the_log_probability_is_zero)
{
    const az_pattern patterns[] = {{2, 4}, {1, 4}, {4, 8}, {3, 5}};
    for (int k = 0; k < 4; k++) {
        float logit[8];
        double p[8], h[8], mean[8] = {0};
        random_logits((uint64_t)k, patterns[k].m, 1.5, logit);
        az_nm_softmax(logit, patterns[k].m, p);
        for (unsigned set = 0; set < 1U << patterns[k].m; set++) {
            if (size_of(set) != patterns[k].n) continue;
            az_nm_gradient(p, patterns[k], 0, set, h);
            for (int j = 0; j < patterns[k].m; j++) mean[j] += az_nm_probability(p, patterns[k], set) * h[j];
        }
        for (int j = 0; j < patterns[k].m; j++) cr_assert_float_eq(mean[j], 0, 1e-12);
    }
}

/* Three blocks of 2:4, 216 joint masks, a loss that is quadratic in them: E[(f - constant) h] is the gradient of E[f], whatever the
 * constant. */
enum { BLOCKS = 3, JOINT = 12 };

static double quadratic_loss(const unsigned *set)
{
    double x = 0, y = 0;
    for (int i = 0; i < JOINT; i++) {
        const int kept = set[i / 4] >> i % 4 & 1;
        x += kept * sin(1 + 1.7 * i);
        y += kept * cos(2 + 0.9 * i);
    }
    return x * x + 0.5 * x * y + y * y + x;
}

static double expected_loss(const double *logit, double constant, double *gradient)
{
    const az_pattern pattern = {2, 4};
    static const unsigned pair[6] = {3, 5, 9, 6, 10, 12};
    double p[BLOCKS][4], value = 0;
    memset(gradient, 0, JOINT * sizeof *gradient);
    for (int b = 0; b < BLOCKS; b++) {
        double sum = 0;
        for (int j = 0; j < 4; j++) sum += p[b][j] = exp(logit[4 * b + j]);
        for (int j = 0; j < 4; j++) p[b][j] /= sum;
    }
    for (int joint = 0; joint < 216; joint++) {
        const unsigned set[BLOCKS] = {pair[joint % 6], pair[joint / 6 % 6], pair[joint / 36]};
        double weight = 1, h[4];
        for (int b = 0; b < BLOCKS; b++) weight *= az_nm_probability(p[b], pattern, set[b]);
        const double f = quadratic_loss(set);
        value += weight * f;
        for (int b = 0; b < BLOCKS; b++) {
            az_nm_gradient(p[b], pattern, 0, set[b], h);
            for (int j = 0; j < 4; j++) gradient[4 * b + j] += weight * (f - constant) * h[j];
        }
    }
    return value;
}

Test(nm_blocks, the_policy_gradient_is_unbiased_for_any_baseline)
{
    double logit[JOINT], plain[JOINT], shifted[JOINT], unused[JOINT];
    az_rng rng = az_rng_at(4, 2);
    for (int i = 0; i < JOINT; i++) logit[i] = az_normal(&rng);
    expected_loss(logit, 0, plain);
    expected_loss(logit, 17.3, shifted);
    for (int i = 0; i < JOINT; i++) {
        const double step = 1e-5, kept = logit[i];
        logit[i] = kept + step;
        const double up = expected_loss(logit, 0, unused);
        logit[i] = kept - step;
        const double down = expected_loss(logit, 0, unused);
        logit[i] = kept;
        cr_assert_float_eq(plain[i], shifted[i], 1e-10);
        cr_assert_float_eq(plain[i], (up - down) / (2 * step), 1e-7 * fmax(1, fabs(plain[i])));
    }
}

/* ---- draws ---- */

/* Draws one element after the other, each among what is left. */
static unsigned naive_draw(const double *p, az_pattern pattern, az_rng *rng)
{
    unsigned set = 0;
    for (int kept = 0; kept < pattern.n; kept++) {
        double left = 0, at;
        for (int j = 0; j < pattern.m; j++) left += set >> j & 1 ? 0 : p[j];
        at = az_uniform(rng) * left;
        int next = -1;
        for (int j = 0; j < pattern.m; j++) {
            if (set >> j & 1) continue;
            next = j;
            at -= p[j];
            if (at < 0) break;
        }
        set |= 1U << next;
    }
    return set;
}

/* Chi-squared of counts against p(S); the degrees of freedom are the number of sets - 1. */
static double chi_squared(const double *p, az_pattern pattern, const int *count, int draws)
{
    double sum = 0;
    for (unsigned set = 0; set < 1U << pattern.m; set++) {
        if (size_of(set) != pattern.n) {
            cr_assert_eq(count[set], 0);
            continue;
        }
        const double expected = draws * az_nm_probability(p, pattern, set);
        sum += (count[set] - expected) * (count[set] - expected) / expected;
    }
    return sum;
}

/* 5 and 69 degrees of freedom: the 0.999 quantiles are 20.5 and 111. */
Test(nm_blocks, draws_have_the_probabilities_of_draws_without_replacement)
{
    static const struct {
        az_pattern pattern;
        int draws;
        double limit;
    } cases[] = {{{2, 4}, 1000000, 20.5}, {{4, 8}, 200000, 111}};
    for (int k = 0; k < 2; k++) {
        float logit[8];
        double p[8];
        int fast[256] = {0}, naive[256] = {0};
        random_logits(5, cases[k].pattern.m, 0.7, logit);
        az_nm_softmax(k == 0 ? known_logits : logit, cases[k].pattern.m, p);
        az_rng rng = az_rng_at(3, 9);
        for (int i = 0; i < cases[k].draws; i++) {
            fast[az_nm_draw(p, cases[k].pattern, 1e-8, (az_nm_key){7, 3, (uint64_t)i})]++;
            naive[naive_draw(p, cases[k].pattern, &rng)]++;
        }
        cr_assert_lt(chi_squared(p, cases[k].pattern, fast, cases[k].draws), cases[k].limit);
        cr_assert_lt(chi_squared(p, cases[k].pattern, naive, cases[k].draws), cases[k].limit);
    }
}

Test(nm_blocks, every_draw_keeps_n_whatever_the_logits)
{
    static const float extreme[][4] = {{1e4F, -1e4F, 0, 0}, {-1e4F, -1e4F, -1e4F, 1e4F}, {0, 0, 0, 0}, {1e4F, 1e4F, 1e4F, 1e4F}};
    for (size_t k = 0; k < sizeof extreme / sizeof *extreme; k++) {
        double p[4], h[4];
        az_nm_softmax(extreme[k], 4, p);
        for (uint64_t i = 0; i < 1000; i++) {
            const unsigned set = az_nm_draw(p, (az_pattern){2, 4}, 1e-8, (az_nm_key){1, 2, i});
            cr_assert_eq(size_of(set), 2);
            az_nm_gradient(p, (az_pattern){2, 4}, 1e-8, set, h);
            for (int j = 0; j < 4; j++) cr_assert(isfinite(h[j]));
        }
        cr_assert_eq(size_of(az_nm_top(extreme[k], (az_pattern){3, 4})), 3);
    }
    cr_assert_eq(az_nm_top(known_logits, (az_pattern){2, 4}), 9);
}

Test(nm_blocks, the_rate_of_flips_is_that_of_the_formula_and_can_be_inverted)
{
    az_ctx *az = az_open(NULL);
    const double c[] = {10, 5, 3};
    for (int i = 0; i < 3; i++) {
        const double q = exp(-c[i]), expected = 1 - 1 / ((1 + q) * (1 + 2 * q));
        cr_assert_float_eq(az_nm_flip_rate((az_pattern){2, 4}, c[i]), expected, 1e-12);
        cr_assert_float_eq(az_nm_logit_for(az, (az_pattern){2, 4}, expected), c[i], 1e-6);
    }
    const float logit[8] = {2, 2, 2, 2, 0, 0, 0, 0};
    double p[8];
    az_nm_softmax(logit, 8, p);
    cr_assert_float_eq(1 - az_nm_probability(p, (az_pattern){4, 8}, 15), az_nm_flip_rate((az_pattern){4, 8}, 2), 1e-12);
    cr_assert(isnan(az_nm_logit_for(az, (az_pattern){2, 4}, 0.9)));
    cr_assert_eq(az_status_of(az), AZ_BAD_INPUT);
    az_close(az);
}

/* ---- matrices ---- */

enum { MOVE_ROWS = 21, MOVE_COLS = 12, MOVE_ELEMENTS = MOVE_ROWS * MOVE_COLS };

typedef struct moved {
    float logit[MOVE_ELEMENTS], value[MOVE_ELEMENTS], masked[MOVE_ELEMENTS];
    unsigned char kept[(MOVE_ELEMENTS + 7) / 8];
    int64_t flips;
} moved;

static void move_some(int threads, az_pattern pattern, moved *out)
{
    az_ctx *az = az_open(&(az_settings){.threads = threads});
    memset(out, 0, sizeof *out);
    const az_nm_matrix x = {.pattern = pattern,
                            .clamp = 1e-8,
                            .rows = MOVE_ROWS,
                            .cols = MOVE_COLS,
                            .logit = out->logit,
                            .kept = out->kept,
                            .value = (const unsigned char *)out->value,
                            .masked = (unsigned char *)out->masked,
                            .size = sizeof(float)};
    unsigned char start[sizeof out->kept] = {0};
    for (int i = 0; i < MOVE_ELEMENTS; i++) {
        out->value[i] = 1 + (float)i;
        if (i % pattern.m < pattern.n) az_bits_put(start, i, 1, 1), out->logit[i] = 2;
    }
    az_nm_set(&x, start);
    for (uint64_t step = 0; step < 20; step++) out->flips += az_nm_move(az, &x, step % 3 ? 0.05 : -0.05, 9, step);
    az_close(az);
}

Test(nm_blocks, moves_do_not_depend_on_threads_and_matrices_follow_their_masks)
{
    const az_pattern patterns[] = {{2, 4}, {1, 3}, {3, 6}};
    for (int k = 0; k < 3; k++) {
        static moved one, two;
        move_some(1, patterns[k], &one);
        move_some(2, patterns[k], &two);
        cr_assert_eq(memcmp(&one, &two, sizeof one), 0);
        cr_assert_gt(one.flips, 10);
        for (int at = 0; at < MOVE_ELEMENTS; at += patterns[k].m)
            cr_assert_eq(size_of(az_bits_get(one.kept, at, patterns[k].m)), patterns[k].n);
        for (int i = 0; i < MOVE_ELEMENTS; i++) cr_assert_eq(one.masked[i], az_bits_get(one.kept, i, 1) ? one.value[i] : 0);
    }
}
