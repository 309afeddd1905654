/* The sampler: which tokens each filter leaves, in which order filters apply, and that draws follow the probabilities. */
#include "adze/lm.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WORDS = 8, DRAWS = 20000 };

/* Logarithms of probabilities that sum to 1, in no particular order. */
static const double probability[WORDS] = {0.10, 0.30, 0.02, 0.20, 0.05, 0.25, 0.03, 0.05};

static void logits_of(float logits[WORDS])
{
    for (int i = 0; i < WORDS; i++) logits[i] = (float)(log(probability[i]) + 3);
}

/* How often each word is drawn. */
static void count_draws(const az_sampler *sampler, int64_t count[WORDS])
{
    az_ctx *az = az_open(NULL);
    float logits[WORDS];
    logits_of(logits);
    memset(count, 0, WORDS * sizeof *count);
    for (int64_t step = 0; step < DRAWS; step++) {
        const int32_t id = az_sample(az, sampler, logits, WORDS, NULL, step);
        cr_assert(id >= 0 && id < WORDS, "%s", az_error(az));
        count[id]++;
    }
    az_close(az);
}

/* Pearson's statistic against weights (normalised here; 0 = must not occur), compared with a generous quantile of its law. */
static void assert_frequencies(const az_sampler *sampler, const double weight[WORDS])
{
    int64_t count[WORDS];
    count_draws(sampler, count);
    double sum = 0, statistic = 0;
    int cells = 0;
    for (int i = 0; i < WORDS; i++) sum += weight[i];
    for (int i = 0; i < WORDS; i++) {
        const double expected = DRAWS * weight[i] / sum;
        if (expected == 0) {
            cr_assert_eq(count[i], 0, "word %d was drawn %lld times", i, (long long)count[i]);
            continue;
        }
        cells++;
        statistic += ((double)count[i] - expected) * ((double)count[i] - expected) / expected;
    }
    const double degrees = cells - 1; /* mean of the law; its variance is twice that */
    cr_assert_leq(statistic, degrees + 5 * sqrt(2 * degrees) + 1e-9, "chi-square %g on %g degrees", statistic, degrees);
}

Test(sampler, without_filters_draws_follow_the_softmax)
{
    assert_frequencies(&(az_sampler){.temperature = 1}, probability);
}

Test(sampler, temperature_raises_probabilities_to_its_inverse)
{
    double weight[WORDS];
    for (int i = 0; i < WORDS; i++) weight[i] = pow(probability[i], 1 / 0.7);
    assert_frequencies(&(az_sampler){.temperature = 0.7}, weight);
    for (int i = 0; i < WORDS; i++) weight[i] = pow(probability[i], 1 / 2.0);
    assert_frequencies(&(az_sampler){.temperature = 2}, weight);
}

Test(sampler, top_k_keeps_the_k_most_likely)
{
    const double three[WORDS] = {0, 0.30, 0, 0.20, 0, 0.25, 0, 0};
    assert_frequencies(&(az_sampler){.temperature = 1, .top_k = 3}, three);
    assert_frequencies(&(az_sampler){.temperature = 1, .top_k = WORDS}, probability);
    assert_frequencies(&(az_sampler){.temperature = 1, .top_k = 1000}, probability);
}

/* Words 4 and 7 are equally likely: the smaller number wins the last place. */
Test(sampler, ties_go_to_the_smaller_token)
{
    const double five[WORDS] = {0.10, 0.30, 0, 0.20, 0.05, 0.25, 0, 0};
    assert_frequencies(&(az_sampler){.temperature = 1, .top_k = 5}, five);
}

Test(sampler, top_p_keeps_the_smallest_set_that_reaches_the_mass)
{
    const double two[WORDS] = {0, 0.30, 0, 0, 0, 0.25, 0, 0}, three[WORDS] = {0, 0.30, 0, 0.20, 0, 0.25, 0, 0};
    assert_frequencies(&(az_sampler){.temperature = 1, .top_p = 0.54}, two);
    assert_frequencies(&(az_sampler){.temperature = 1, .top_p = 0.56}, three);
    const double one[WORDS] = {0, 1};
    assert_frequencies(&(az_sampler){.temperature = 1, .top_p = 1e-9}, one);
}

Test(sampler, min_p_drops_what_is_unlikely_beside_the_best)
{
    const double four[WORDS] = {0.10, 0.30, 0, 0.20, 0, 0.25, 0, 0};
    assert_frequencies(&(az_sampler){.temperature = 1, .min_p = 0.3}, four); /* 0.09 and more */
}

/* Entropy 1.743 nats; distances |-log p - H|: 0.560, 0.539, 2.169, 0.133, 1.253, 0.357, 1.764, 1.253. */
Test(sampler, typical_keeps_what_is_nearest_to_the_entropy)
{
    const double two[WORDS] = {0, 0, 0, 0.20, 0, 0.25, 0, 0}, three[WORDS] = {0, 0.30, 0, 0.20, 0, 0.25, 0, 0};
    assert_frequencies(&(az_sampler){.temperature = 1, .typical = 0.44}, two);
    assert_frequencies(&(az_sampler){.temperature = 1, .typical = 0.5}, three);
}

/* top-k leaves 0.30, 0.25, 0.20 (renormalised 0.40, 0.33, 0.27), of which top-p 0.7 needs two; before top-k it would have needed three. */
Test(sampler, filters_work_on_what_those_before_them_left)
{
    const double two[WORDS] = {0, 0.30, 0, 0, 0, 0.25, 0, 0};
    assert_frequencies(&(az_sampler){.temperature = 1, .top_k = 3, .top_p = 0.7}, two);
    /* at temperature 0.5 the best three have 0.92 of the mass; at temperature 1 they have 0.75 */
    const double three[WORDS] = {0, 0.09, 0, 0.04, 0, 0.0625, 0, 0};
    assert_frequencies(&(az_sampler){.temperature = 0.5, .top_p = 0.85}, three);
}

Test(sampler, the_penalty_weakens_recent_tokens_once)
{
    az_ctx *az = az_open(NULL);
    const float logits[3] = {2, 1.5f, -1};
    int32_t id[4] = {0, 0, 0, 1};
    const az_tokens history = {id, 4};
    const az_sampler greedy = {.repeat_penalty = 1.2};
    cr_assert_eq(az_sample(az, &greedy, logits, 3, NULL, 0), 0);
    cr_assert_eq(az_sample(az, &greedy, logits, 3, &(az_tokens){id, 3}, 0), 0, "2 / 1.2 is still above 1.5");
    const az_sampler strong = {.repeat_penalty = 1.5};
    cr_assert_eq(az_sample(az, &strong, logits, 3, &(az_tokens){id, 3}, 0), 1, "2 / 1.5 is below 1.5");
    cr_assert_eq(az_sample(az, &strong, logits, 3, &history, 0), 0, "both are divided");
    const az_sampler forgetful = {.repeat_penalty = 1.5, .repeat_last = 1};
    cr_assert_eq(az_sample(az, &forgetful, logits, 3, &history, 0), 0, "only token 1 is remembered");
    const float negative[2] = {-1, -1.2f};
    cr_assert_eq(az_sample(az, &strong, negative, 2, &(az_tokens){id, 1}, 0), 1, "negative logits are multiplied");
    az_close(az);
}

Test(sampler, zero_temperature_takes_the_first_of_the_best)
{
    az_ctx *az = az_open(NULL);
    cr_assert_eq(az_sample(az, &(az_sampler){0}, (float[]){1, 3, 2, 3}, 4, NULL, 5), 1);
    cr_assert_eq(az_sample(az, &(az_sampler){0}, (float[]){-INFINITY, -INFINITY, -5}, 3, NULL, 5), 2);
    az_close(az);
}

Test(sampler, draws_are_a_function_of_seed_and_step)
{
    az_ctx *az = az_open(NULL);
    float logits[WORDS];
    logits_of(logits);
    int differ_by_seed = 0, differ_by_step = 0;
    for (int64_t step = 0; step < 200; step++) {
        const az_sampler a = {.temperature = 1, .seed = 1}, b = {.temperature = 1, .seed = 2};
        const int32_t id = az_sample(az, &a, logits, WORDS, NULL, step);
        cr_assert_eq(id, az_sample(az, &a, logits, WORDS, NULL, step));
        differ_by_seed += id != az_sample(az, &b, logits, WORDS, NULL, step);
        differ_by_step += id != az_sample(az, &a, logits, WORDS, NULL, step + 1);
    }
    cr_assert(differ_by_seed > 100 && differ_by_step > 100);
    az_close(az);
}

Test(sampler, impossible_tokens_are_never_drawn)
{
    az_ctx *az = az_open(NULL);
    const float logits[4] = {-INFINITY, 0, -INFINITY, 0};
    for (int64_t step = 0; step < 1000; step++) {
        const int32_t id = az_sample(az, &(az_sampler){.temperature = 1, .typical = 0.9, .top_p = 0.99}, logits, 4, NULL, step);
        cr_assert(id == 1 || id == 3);
    }
    az_close(az);
}

Test(sampler, logits_that_are_no_numbers_are_an_error)
{
    const float bad[3][3] = {{0, NAN, 1}, {INFINITY, 0, 0}, {-INFINITY, -INFINITY, -INFINITY}};
    for (int i = 0; i < 3; i++) {
        az_ctx *az = az_open(NULL);
        cr_assert_eq(az_sample(az, &(az_sampler){.temperature = 1}, bad[i], 3, NULL, 0), -1);
        cr_assert_eq(az_status_of(az), AZ_NUMERIC);
        az_close(az);
    }
}

Test(sampler, its_options_have_sane_defaults)
{
    az_ctx *az = az_open(NULL);
    az_sampler sampler;
    cr_assert(az_options_parse(az, az_sampler_options, "sampler", "top_k=7", &sampler), "%s", az_error(az));
    cr_assert_eq(sampler.top_k, 7);
    cr_assert_float_eq(sampler.temperature, 0.8, 1e-12);
    cr_assert_float_eq(sampler.repeat_penalty, 1, 1e-12);
    az_close(az);
}
