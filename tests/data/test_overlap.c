/* Overlaps against a plain scan of all pairs, and by hand; Wilson's interval. */
#include "adze/data.h"

#include <criterion/criterion.h>
#include <string.h>

Test(overlap, whole_texts_and_words_in_a_row)
{
    az_ctx *az = az_open(NULL);
    az_overlap *o = az_overlap_new(az, 4);
    az_overlap_add(o, "first", "Find all  primes p\nsuch that p + 2 is prime.");
    az_overlap_add(o, "short", "2 + 2");
    az_overlap_hit hit;
    cr_assert(az_overlap_find(o, "Easy: FIND ALL primes p such that p + 2 is prime. Thanks!", &hit));
    cr_assert(hit.whole);
    cr_assert_str_eq(hit.source, "first");
    cr_assert(az_overlap_find(o, "we want primes p such that p + 4 is a square", &hit));
    cr_assert_not(hit.whole);
    cr_assert_str_eq(hit.shared, "primes p such that");
    cr_assert_not(az_overlap_find(o, "what is 2 + 2 ?", NULL)); /* too short to say anything */
    cr_assert_not(az_overlap_find(o, "all primes q such that q + 2 is prime", NULL));
    cr_assert_not(az_overlap_find(o, "", NULL));
    az_close(az);
}

/* Words of an alphabet of three letters: short runs are shared often, longer ones seldom. */
static char *random_words(az_ctx *az, az_rng *rng, int n)
{
    char *text = az_alloc(az, (size_t)(2 * n) + 1);
    for (int i = 0; i < n; i++) text[2 * i] = "abc"[az_below(rng, 3)], text[2 * i + 1] = ' ';
    text[2 * n - 1] = '\0';
    return text;
}

static bool plain_scan(const char *a, const char *b, int n)
{
    const size_t span = (size_t)(2 * n - 1);
    if (strlen(b) >= AZ_OVERLAP_BYTES && strstr(a, b)) return true;
    for (size_t i = 0; i + span <= strlen(a); i += 2)
        for (size_t j = 0; j + span <= strlen(b); j += 2)
            if (memcmp(a + i, b + j, span) == 0) return true;
    return false;
}

Test(overlap, equals_a_plain_scan)
{
    enum { TEXTS = 12, QUERIES = 300, N = 8 };
    az_ctx *az = az_open(NULL);
    az_rng rng = az_rng_at(1, 1);
    az_overlap *o = az_overlap_new(az, N);
    char *text[TEXTS];
    int hits = 0;
    for (int i = 0; i < TEXTS; i++) az_overlap_add(o, "t", text[i] = random_words(az, &rng, 5 + (int)az_below(&rng, 30)));
    for (int q = 0; q < QUERIES; q++) {
        const char *query = random_words(az, &rng, 5 + (int)az_below(&rng, 40));
        bool expected = false;
        for (int i = 0; i < TEXTS; i++) expected = expected || plain_scan(query, text[i], N);
        cr_assert_eq(az_overlap_find(o, query, NULL), expected, "%s", query);
        hits += expected;
    }
    cr_assert(hits > QUERIES / 10 && hits < QUERIES * 9 / 10, "%d", hits);
    az_close(az);
}

Test(overlap, wilson_interval)
{
    const az_estimate e = az_share_estimate(7, 20, 0.95); /* 0.1812, 0.5671: statsmodels 0.14, proportion_confint(7, 20, method="wilson") */
    cr_assert_float_eq(e.low, 0.18119, 1e-4);
    cr_assert_float_eq(e.high, 0.56714, 1e-4);
    cr_assert_float_eq(az_share_estimate(0, 10, 0.95).low, 0, 1e-12);
}
