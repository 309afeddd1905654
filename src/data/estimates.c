/* estimates.c - means and ratios with standard errors and t intervals. */
#include "adze/data.h"

#include <math.h>

/* Adds the interval value -+ t se to an estimate from n items whose squared deviations sum to `squares`; se = sqrt(n / (n - 1) squares) /
 * scale. */
static az_estimate with_interval(double value, double squares, double scale, int64_t n, double confidence)
{
    az_estimate out = {.value = value, .se = NAN, .low = NAN, .high = NAN, .n = n};
    if (n < 2) return out;
    out.se = sqrt((double)n / (double)(n - 1) * squares) / fabs(scale);
    double reach = az_student_quantile(0.5 + 0.5 * confidence, (double)(n - 1)) * out.se;
    out.low = value - reach;
    out.high = value + reach;
    return out;
}

static double sum(const double *x, int64_t n)
{
    double total = 0, lost = 0; /* Kahan's compensation: corpora are long */
    for (int64_t i = 0; i < n; i++) {
        double item = x[i] - lost, next = total + item;
        lost = (next - total) - item;
        total = next;
    }
    return total;
}

az_estimate az_mean_estimate(const double *x, int64_t n, double confidence)
{
    double mean = n > 0 ? sum(x, n) / (double)n : NAN, squares = 0;
    for (int64_t i = 0; i < n; i++) squares += (x[i] - mean) * (x[i] - mean);
    return with_interval(mean, squares, (double)n, n, confidence);
}

az_estimate az_ratio_estimate(const double *a, const double *w, int64_t n, double confidence)
{
    double weight = sum(w, n), ratio = sum(a, n) / weight, squares = 0;
    for (int64_t i = 0; i < n; i++) squares += (a[i] - ratio * w[i]) * (a[i] - ratio * w[i]);
    return with_interval(ratio, squares, weight, n, confidence);
}

az_estimate az_paired_ratio_estimate(const double *a, const double *b, const double *w, int64_t n, double confidence)
{
    double weight = sum(w, n), ratio_a = sum(a, n) / weight, ratio_b = sum(b, n) / weight, squares = 0;
    for (int64_t i = 0; i < n; i++) {
        double deviation = (a[i] - ratio_a * w[i]) - (b[i] - ratio_b * w[i]);
        squares += deviation * deviation;
    }
    return with_interval(ratio_a - ratio_b, squares, weight, n, confidence);
}

az_estimate az_share_estimate(int64_t k, int64_t n, double confidence)
{
    if (n < 1) return (az_estimate){.value = NAN, .se = NAN, .low = NAN, .high = NAN};
    const double p = (double)k / (double)n, z = az_normal_quantile(0.5 + confidence / 2), size = (double)n;
    const double centre = (p + z * z / (2 * size)) / (1 + z * z / size);
    const double half = z / (1 + z * z / size) * sqrt(p * (1 - p) / size + z * z / (4 * size * size));
    return (az_estimate){.value = p, .se = sqrt(p * (1 - p) / size), .low = centre - half, .high = centre + half, .n = n};
}
