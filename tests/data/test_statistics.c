/* Distribution functions against 40-digit values (mpmath: betainc, ncdf, and its roots), estimates against scipy and closed forms. */
#include "adze/data.h"

#include <criterion/criterion.h>
#include <math.h>

static void check(const char *what, double value, double expected, double tolerance)
{
    cr_assert(fabs(value - expected) <= tolerance * fabs(expected) || value == expected, "%s: %.17g, expected %.17g", what, value,
              expected);
}

Test(statistics, beta_cdf)
{
    static const struct {
        double x, a, b, p;
    } rows[] = {
        {0.3, 2, 3, 0.34829999999999998},           {0.01, 0.5, 0.5, 0.063768560858519849},
        {0.5, 20, 30, 0.92379611401926098},         {0.4, 300, 400, 0.062612475398540976},
        {1e-06, 0.5, 10000.0, 0.11246154751590962}, {0.2, 0.001, 2, 0.99919057002345435},
        {0.7, 1, 1, 0.69999999999999996},           {0.9, 12, 3, 0.84164001871338008},
        {1e-10, 3, 4, 1.9999999995500002e-29},      {0.5, 5e5, 5e5, 0.5},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        check("beta", az_beta_cdf(rows[i].x, rows[i].a, rows[i].b), rows[i].p, 1e-12);
        double mirrored = az_beta_cdf(1 - rows[i].x, rows[i].b, rows[i].a);
        cr_assert_float_eq(mirrored, 1 - rows[i].p, 1e-9); /* 1 - x is rounded */
    }
    cr_assert_eq(az_beta_cdf(0, 2, 3), 0);
    cr_assert_eq(az_beta_cdf(1, 2, 3), 1);
    cr_assert(isnan(az_beta_cdf(0.5, 0, 1)) && isnan(az_beta_cdf(NAN, 1, 1)));
}

Test(statistics, student_cdf)
{
    static const struct {
        double t, degrees, p;
    } rows[] = {
        {0.5, 3, 0.6742760175759245},       {-2.1, 7, 0.036935598106461341},     {1e-08, 4, 0.50000000375},
        {-30, 2.5, 0.00014553235457869771}, {4, 1, 0.92202086962263067},         {-1000000.0, 1, 3.1830988618368457e-7},
        {-3, 30.5, 0.0026692045481373461},  {12, 5, 0.99996455253741419},        {-8, 200, 4.9396004546653196e-14},
        {0.1, 0.3, 0.52276898239793205},    {-1000.0, 3, 1.1026538212882963e-9}, {1.96, 10000.0, 0.97498823988408348},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) check("student", az_student_cdf(rows[i].t, rows[i].degrees), rows[i].p, 1e-13);
    cr_assert_eq(az_student_cdf(0, 5), 0.5);
    cr_assert_eq(az_student_cdf(-INFINITY, 5), 0);
    check("infinite degrees", az_student_cdf(1.5, INFINITY), az_normal_cdf(1.5), 0);
    cr_assert(isnan(az_student_cdf(1, 0)) && isnan(az_student_cdf(NAN, 1)));
}

Test(statistics, student_quantile)
{
    static const struct {
        double p, degrees, t;
    } rows[] = {
        {0.975, 1, 12.706204736174693},    {0.975, 2, 4.3026527297494618},        {0.975, 7, 2.3646242515927847},
        {0.975, 10, 2.2281388519862742},   {0.995, 29, 2.7563859036706051},       {0.6, 3, 0.27667066233268985},
        {1e-10, 4, -416.17514032960412},   {0.025, 10000.0, -1.9602012398906262}, {0.0001, 0.7, -97570.040178768839},
        {0.95, 100.5, 1.6601570923680057},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        check("student quantile", az_student_quantile(rows[i].p, rows[i].degrees), rows[i].t, 1e-13);
    check("Cauchy", az_student_quantile(0.75, 1), 1, 1e-14);
    cr_assert_eq(az_student_quantile(0.5, 3), 0);
    cr_assert_eq(az_student_quantile(1, 3), INFINITY);
    cr_assert(isnan(az_student_quantile(1.5, 3)) && isnan(az_student_quantile(0.5, -1)));
}

Test(statistics, normal)
{
    static const struct {
        double p, x;
    } quantiles[] = {
        {0.5, 0},
        {0.975, 1.959963984540054},
        {0.6, 0.25334710313579972},
        {1e-3, -3.0902323061678132},
        {1e-10, -6.3613409024040557},
        {1e-100, -21.273453560965322},
        {1e-300, -37.047096299361201},
        {0.3, -0.52440051270804089},
        {0.01, -2.3263478740408408},
    };
    static const struct {
        double x, p;
    } cdf[] = {
        {-37, 5.7255712225239266e-300}, {-10, 7.6198530241604696e-24}, {-1.5, 0.066807201268858071}, {0, 0.5},
        {0.3, 0.61791142218895256},     {2, 0.97724986805182079},      {6, 0.9999999990134123},
    };
    for (size_t i = 0; i < sizeof quantiles / sizeof *quantiles; i++)
        cr_assert_float_eq(az_normal_quantile(quantiles[i].p), quantiles[i].x, 1e-14 * (1 + fabs(quantiles[i].x)), "%g", quantiles[i].p);
    for (size_t i = 0; i < sizeof cdf / sizeof *cdf; i++) check("normal", az_normal_cdf(cdf[i].x), cdf[i].p, 1e-13);
    cr_assert_eq(az_normal_quantile(0), -INFINITY);
    cr_assert_eq(az_normal_quantile(1), INFINITY);
    cr_assert(isnan(az_normal_quantile(-0.1)) && isnan(az_normal_quantile(NAN)));
}

/* scipy: stats.sem and stats.t.interval of the same numbers. */
Test(statistics, mean)
{
    static const double x[] = {3.1, 2.2, 5.7, 4.4, 1.9, 3.3, 6.2, 2.8};
    az_estimate e = az_mean_estimate(x, 8, 0.95);
    check("mean", e.value, 3.7, 1e-15);
    check("se", e.se, 0.5599744892148468, 1e-13);
    check("low", e.low, 3.7 - 2.36462425159278534 * e.se, 1e-13);
    check("high", e.high, 5.024129257144532, 1e-9); /* its quantile has 10 digits */
    cr_assert_eq(e.n, 8);
    az_estimate one = az_mean_estimate(x, 1, 0.95), none = az_mean_estimate(x, 0, 0.95);
    cr_assert(one.value == 3.1 && isnan(one.se) && isnan(one.low) && isnan(one.high));
    cr_assert(isnan(none.value));
}

/* With equal weights a ratio is a mean, and a paired difference of ratios is the mean of the differences. */
Test(statistics, ratios_with_equal_weights_are_means)
{
    enum { N = 200 };
    double a[N], b[N], w[N], difference[N];
    az_rng rng = az_rng_at(1, 2);
    for (int i = 0; i < N; i++) {
        w[i] = 4;
        a[i] = 4 * az_normal(&rng);
        b[i] = a[i] + az_normal(&rng) + 0.5;
        difference[i] = (a[i] - b[i]) / 4;
        a[i] += 100;
        b[i] += 100;
    }
    az_estimate paired = az_paired_ratio_estimate(a, b, w, N, 0.9), mean = az_mean_estimate(difference, N, 0.9);
    cr_assert_float_eq(paired.value, mean.value, 1e-12);
    cr_assert_float_eq(paired.se, mean.se, 1e-13);
    cr_assert_float_eq(paired.low, mean.low, 1e-12);
    cr_assert_lt(paired.se, 0.3 * az_ratio_estimate(a, w, N, 0.9).se);
}

/* The interval of a ratio covers the true ratio about as often as it says: 2000 samples, so three standard errors are 0.015. */
Test(statistics, ratio_interval_covers)
{
    enum { N = 60, TRIALS = 2000 };
    int covered = 0;
    az_rng rng = az_rng_at(5, 0);
    for (int trial = 0; trial < TRIALS; trial++) {
        double a[N], w[N];
        for (int i = 0; i < N; i++) {
            w[i] = 20 + (double)az_below(&rng, 100);
            a[i] = 2 * w[i] + sqrt(w[i]) * az_normal(&rng) * 3;
        }
        az_estimate e = az_ratio_estimate(a, w, N, 0.95);
        covered += e.low <= 2 && 2 <= e.high;
    }
    cr_assert_float_eq((double)covered / TRIALS, 0.95, 0.015, "%d of %d", covered, TRIALS);
}
